"""Stacking: the runs of a cube added up inside their safe masks."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xgamma.coords.sky import grid_of, has_sky
from xgamma.reduction.irf_pixels import nearest_pixels

__all__ = ["cumulate", "stack"]

#: Numbers of runs that add up.
SUMS = ("livetime", "ontime", "n_off_regions")
#: What belongs to single runs and means nothing for their sum.
SINGLE = ("pointing_lon", "pointing_lat", "off_regions")
#: Numbers of runs that stay what they are: how the background model of each run was scaled.
NORMS = "fov_"
#: Sums over what is safe.
COUNTS = ("counts", "background", "counts_off", "acceptance", "acceptance_off")


def stack(cube: xr.Dataset, dim: str = "obs") -> xr.Dataset:
    """Add up the runs of a cube inside their safe masks.

    Parameters
    ----------
    cube
        Cube with dim `dim`; lazy stays lazy.
    dim
        Dimension to add up.

    Returns
    -------
    xarray.Dataset
        The same without `dim`.

    Raises
    ------
    ValueError
        If the cube has no such dim, or a variable that cannot be added up.

    Notes
    -----
    Counts, off counts, background and acceptance are summed per safe voxel, exposure per pixel that is safe at
    any energy; a voxel is safe where it is safe in any run. The acceptance of the off counts is set such that
    the background stays the sum of the runs' backgrounds::

        acceptance_off = acceptance * counts_off / sum(acceptance_i / acceptance_off_i * counts_off_i)

    where off counts are left, and is the sum of the runs' elsewhere (gammapy 2.1 there takes the background over the
    off counts of all bins together, whatever their energy). PSF and energy dispersion are averaged with their
    exposure as weight, where the nearest pixel of the map is safe at any energy.

    The energy dispersion of spectra is averaged with the exposure of the spectrum itself, and each bin of
    reconstructed energy is taken from the runs in which it is safe: exposure times energy dispersion then predicts the
    counts that were summed. The coordinate ``off_regions``, which belongs to single runs, is dropped,
    ``n_off_regions`` summed.

    Examples
    --------
    >>> cube = xr.Dataset({"counts": (("obs", "energy"), [[1.0, 2.0], [3.0, 4.0]])})
    >>> cube["mask_safe"] = ("obs", "energy"), [[True, True], [False, True]]
    >>> stack(cube).counts.values
    array([1., 6.])
    """
    if dim not in cube.dims:
        msg = f"the cube has no dimension {dim!r} to stack over; it has {list(map(str, cube.dims))}"
        raise ValueError(msg)
    mask = cube["mask_safe"].variable if "mask_safe" in cube else None
    variables: dict[str, xr.Variable] = {}
    for key in cube.data_vars:
        name, array = str(key), cube[key].variable
        if dim not in array.dims:
            variables[name] = array
        elif name in COUNTS:
            variables[name] = _sum_safe(array, mask, dim)
        elif name in ("mask_safe", "mask_fit"):
            variables[name] = array.any(dim)
        elif name == "exposure":
            variables[name] = _sum_safe(array, None if mask is None else mask.any("energy"), dim)
        elif name in SUMS:
            variables[name] = array.sum(dim)
        elif name in ("gti_start", "gti_stop"):
            variables[name] = xr.Variable("gti", array.transpose(dim, "gti").data.reshape(-1))
        elif name.startswith(NORMS):
            # they stay, run by run
            variables[name] = xr.Variable(["run"], array.data)
        elif name not in ("psf", "edisp", "irf_exposure", *SINGLE):
            msg = f"variable {name!r} has no rule to be stacked over {dim!r}; drop it first"
            raise ValueError(msg)
    variables |= _off(cube, mask, dim, variables) | _responses(cube, mask, dim)
    for name, variable in variables.items():
        variable.attrs = dict(cube[name].attrs)
    coords = cube.drop_vars([n for n in cube.variables if dim in cube[n].dims]).coords
    if any("run" in v.dims for v in variables.values()) and "run" not in coords and dim in cube.coords:
        coords = coords.assign(run=("run", cube[dim].values, cube[dim].attrs))
    return xr.Dataset({n: variables[n] for n in map(str, cube.data_vars) if n in variables}, coords, cube.attrs)


def cumulate(cube: xr.Dataset, dim: str = "obs") -> xr.Dataset:
    """Return what `stack` makes of the first run, of the first two, and so on, along the same dim.

    Parameters
    ----------
    cube
        Cube with dim `dim`; lazy stays lazy. Responses, intervals and pointings are left out.

    Returns
    -------
    xarray.Dataset
        Running sums inside the safe masks: one pass over the runs, not one for each of them.

    Examples
    --------
    >>> cube = xr.Dataset({"counts": (("obs", "energy"), [[1.0, 2.0], [3.0, 4.0]])})
    >>> cumulate(cube).counts.values
    array([[1., 2.],
           [4., 6.]])
    """
    mask = cube["mask_safe"].variable if "mask_safe" in cube else None
    variables: dict[str, xr.Variable] = {}
    for key in cube.data_vars:
        name, array = str(key), cube[key].variable
        if name in COUNTS:
            variables[name] = _sum_safe(array, mask, dim, running=True)
        elif name in ("mask_safe", "mask_fit"):
            variables[name] = _running(array.astype(int), dim) > 0
        elif name == "exposure":
            variables[name] = _sum_safe(array, None if mask is None else mask.any("energy"), dim, running=True)
        elif name in SUMS:
            variables[name] = _running(array, dim)
    variables |= _off(cube, mask, dim, variables, running=True)
    for name, variable in variables.items():
        variable.attrs = dict(cube[name].attrs)
    return xr.Dataset(variables, cube.drop_vars(["off_regions"], errors="ignore").coords, cube.attrs)


def _running(array: xr.Variable, dim: str) -> xr.Variable:
    """Running sum along a dim."""
    return array.cumsum(dim).transpose(*array.dims)


def _sum_safe(array: xr.Variable, mask: xr.Variable | None, dim: str, *, running: bool = False) -> xr.Variable:
    safe = array if mask is None else array.where(mask, 0.0).transpose(*array.dims)
    return _running(safe, dim) if running else safe.sum(dim)


def _off(
    cube: xr.Dataset, mask: xr.Variable | None, dim: str, sums: dict[str, xr.Variable], *, running: bool = False
) -> dict[str, xr.Variable]:
    """Background of an on-off cube, and the acceptance_off that belongs to it."""
    if "counts_off" not in cube:
        return {}
    acceptance, off = cube["acceptance"].variable, cube["acceptance_off"].variable
    alpha = acceptance / off.where(off > 0, np.inf)
    background = _sum_safe(alpha * cube["counts_off"].variable, mask, dim, running=running)
    ratio = sums["counts_off"] / background.where(background > 0, np.inf)
    result = {"acceptance_off": (sums["acceptance"] * ratio).where(background > 0, sums["acceptance_off"])}
    if "background" in cube:
        result["background"] = background
    return result


def _responses(cube: xr.Dataset, mask: xr.Variable | None, dim: str) -> dict[str, xr.Variable]:
    """Responses averaged with their exposure as weight."""
    names = [n for n in ("psf", "edisp") if n in cube and dim in cube[n].dims]
    if not names and "irf_exposure" not in cube:
        return {}
    if names == ["edisp"] and "irf_exposure" not in cube and "irf_y" not in cube["edisp"].dims:
        return {"edisp": _spectral_edisp(cube, mask, dim)}
    if "irf_exposure" not in cube:
        msg = f"stacking {names} needs 'irf_exposure', the weight of each run; reduce with it, or drop {names}"
        raise ValueError(msg)
    weight = cube["irf_exposure"].variable
    if mask is not None and has_sky(cube) and has_sky(cube, "irf_"):
        row, column, inside = nearest_pixels(grid_of(cube), grid_of(cube, "irf_"))
        dims = ("irf_y", "irf_x")
        safe = mask.any("energy").isel(y=xr.Variable(dims, row), x=xr.Variable(dims, column))
        weight = weight.where(safe & xr.Variable(dims, inside), 0.0).transpose(*weight.dims)
    total = weight.sum(dim)
    result = {"irf_exposure": total}
    for name in names:
        array = cube[name].variable
        mean = (array * weight).sum(dim) / total.where(total > 0, np.inf)
        result[name] = mean.transpose(*(d for d in array.dims if d != dim))
    return result


def _spectral_edisp(cube: xr.Dataset, mask: xr.Variable | None, dim: str) -> xr.Variable:
    """Energy dispersion of spectra, averaged with their exposure; alike where there is none to weight it with.

    A bin that is safe in some runs only has counts of these alone, so the others' part is left out of its column.
    """
    edisp = cube["edisp"].variable
    weight = cube["exposure"].variable if "exposure" in cube else xr.ones_like(edisp.isel(energy=0))
    if mask is not None:
        weight = weight.where(mask.any("energy"), 0.0)
        edisp = edisp.where(mask, 0.0).transpose(*edisp.dims)
    total = weight.sum(dim)
    mean = (edisp * weight).sum(dim) / total.where(total > 0, np.inf)
    return mean.transpose(*(d for d in edisp.dims if d != dim))
