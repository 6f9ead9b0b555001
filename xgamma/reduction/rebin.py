"""Rebinning in energy: fewer, wider bins, down to an image."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of
from xgamma.coords.energy_groups import energy_groups, sum_groups
from xgamma.coords.sky import grid_of, has_sky
from xgamma.reduction.irf_pixels import nearest_pixels

__all__ = ["rebin", "to_image"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)

#: Variables that are sums over energy of what is safe.
COUNTS = ("counts", "background", "counts_off", "acceptance", "acceptance_off")
MASKS = ("mask_safe", "mask_fit")


def rebin(obj: XarrayT, energy_edges: Any) -> XarrayT:
    """Join bins of reconstructed energy.

    Parameters
    ----------
    obj
        A cube, or a map of counts with dim ``energy``; lazy stays lazy.
    energy_edges
        New edges, quantities or strings, shape (n + 1,); each must be an edge of the cube.

    Returns
    -------
    Dataset or DataArray
        The same with n bins.

    Raises
    ------
    ValueError
        If there is no energy axis, or the edges do not ascend or fall onto the same edge; for a
        DataArray also if it is no sum of events, as a significance or an exposure.

    Warns
    -----
    UserWarning
        If an edge is moved to the nearest edge of the cube.

    Notes
    -----
    Counts, background and acceptance are summed over what ``mask_safe`` lets through; a joint bin is safe
    where any of its bins is. The off background of an on-off cube is kept: acceptance_off follows from it
    (see `stack`). Energy dispersion is summed with the safe bins at the pixel nearest to each of
    its own; exposure and PSF depend on true energy and stay.

    Examples
    --------
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "100 TeV", nbin=4)
    >>> counts = xr.DataArray([4.0, 3.0, 2.0, 1.0], coords=energy.coords, dims="energy")
    >>> rebin(counts, ["1 TeV", "10 TeV", "100 TeV"]).values
    array([7., 3.])
    """
    if "energy" not in obj.dims:
        msg = f"the object has no energy axis to rebin; it has dims {list(map(str, obj.dims))}"
        raise ValueError(msg)
    groups, axis = energy_groups(obj, energy_edges)
    if isinstance(obj, xr.DataArray):
        return _rebin_array(obj, groups, axis)
    return _rebin_cube(obj, groups, axis)


def to_image(obj: XarrayT) -> XarrayT:
    """Join all bins of reconstructed energy into one.

    Parameters
    ----------
    obj
        A cube, or a map of counts with dim ``energy``; lazy stays lazy.

    Returns
    -------
    Dataset or DataArray
        The same with one bin of energy.

    Raises
    ------
    ValueError
        As `rebin`, which has the rules by which variables are joined.

    Examples
    --------
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "100 TeV", nbin=4)
    >>> counts = xr.DataArray([4.0, 3.0, 2.0, 1.0], coords=energy.coords, dims="energy")
    >>> to_image(counts).values
    array([10.])
    """
    if "energy" not in obj.dims:
        msg = f"the object has no energy axis to join; it has dims {list(map(str, obj.dims))}"
        raise ValueError(msg)
    axis = axis_of(obj, "energy")
    edges = [axis["energy_min"].values[0], axis["energy_max"].values[-1]]
    return rebin(obj, [f"{e!r} TeV" for e in map(float, edges)])


def _rebin_array(array: xr.DataArray, groups: list[slice], axis: xr.DataArray) -> xr.DataArray:
    if array.attrs.get("units", "") != "":
        msg = (
            f"{array.name!r} is in {array.attrs['units']!r}: only counts are summed over energy; "
            "rebin the cube, and compute the quantity from that"
        )
        raise ValueError(msg)
    summed = sum_groups(array.variable, groups)
    coords = _new_coords(array.coords.to_dataset(), axis)
    return xr.DataArray(summed, coords=coords.coords, name=array.name)


def _new_coords(coords: xr.Dataset, axis: xr.DataArray) -> xr.Dataset:
    old = [n for n in coords.coords if "energy" in coords[n].dims]
    return coords.drop_vars(old).assign_coords(axis.coords)


def _rebin_cube(cube: xr.Dataset, groups: list[slice], axis: xr.DataArray) -> xr.Dataset:
    variables: dict[str, xr.Variable] = {}
    mask = cube["mask_safe"].variable if "mask_safe" in cube else None
    on_off = "counts_off" in cube
    for key, array in cube.variables.items():
        name = str(key)
        if name not in cube.data_vars or "energy" not in array.dims:
            continue
        if name in COUNTS:
            variables[name] = _sum_safe(array, mask, groups)
        elif name in MASKS:
            variables[name] = sum_groups(array, groups)
        elif name == "edisp":
            variables[name] = _rebin_edisp(cube, groups)
        else:
            msg = f"variable {name!r} depends on energy and cannot be rebinned; drop it first"
            raise ValueError(msg)
    if on_off:
        variables |= _on_off(cube, mask, groups, variables)
    kept = cube.drop_vars([n for n in cube.data_vars if "energy" in cube[n].dims])
    result = _new_coords(kept, axis)
    for name, variable in variables.items():
        result[name] = variable.copy(deep=False)
        result[name].attrs = dict(cube[name].attrs)
    return result[list(cube.data_vars)].assign_attrs(cube.attrs)


def _sum_safe(array: xr.Variable, mask: xr.Variable | None, groups: list[slice]) -> xr.Variable:
    safe = array if mask is None else array.where(mask, 0.0)
    return sum_groups(safe.transpose(*array.dims), groups)


def _on_off(
    cube: xr.Dataset, mask: xr.Variable | None, groups: list[slice], sums: dict[str, xr.Variable]
) -> dict[str, xr.Variable]:
    """Acceptance_off that keeps the sum of the background: acceptance * counts_off / background."""
    off, acceptance = cube["acceptance_off"].variable, cube["acceptance"].variable
    alpha = acceptance / off.where(off > 0, np.inf)
    background = _sum_safe(alpha * cube["counts_off"].variable, mask, groups).transpose(*sums["counts_off"].dims)
    ratio = sums["counts_off"] / background.where(background > 0, np.inf)
    # where nothing was counted off, the mean acceptance is all that is known
    result = {"acceptance_off": (sums["acceptance"] * ratio).where(background > 0, sums["acceptance_off"])}
    if "background" in cube:
        result["background"] = background
    return result


def _rebin_edisp(cube: xr.Dataset, groups: list[slice]) -> xr.Variable:
    """Sum over the safe reconstructed bins, taken at the sky pixel nearest to each pixel of the coarse grid."""
    edisp = cube["edisp"].variable
    if "mask_safe" in cube and "irf_y" not in edisp.dims and not has_sky(cube):
        # a spectrum: its mask has no dim that the energy dispersion has not
        return sum_groups(edisp.where(cube["mask_safe"].variable, 0.0).transpose(*edisp.dims), groups)
    if "mask_safe" not in cube or not has_sky(cube, "irf_"):
        return sum_groups(edisp, groups)
    row, column, inside = nearest_pixels(grid_of(cube), grid_of(cube, "irf_"))
    dims = ("irf_y", "irf_x")
    safe = cube["mask_safe"].variable.isel(y=xr.Variable(dims, row), x=xr.Variable(dims, column))
    safe = safe | ~xr.Variable(dims, inside)
    return sum_groups(edisp.where(safe, 0.0).transpose(*edisp.dims), groups)
