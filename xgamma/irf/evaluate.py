"""Responses on labelled positions: the functions for users, lazy where their input is lazy."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import bin_axis
from xgamma.coords.units import canonical_attrs, to_unit, to_value
from xgamma.irf.aeff import evaluate_aeff
from xgamma.irf.axes import axis_coords, table_axis
from xgamma.irf.background import integrate_background
from xgamma.irf.edisp import evaluate_edisp_kernel
from xgamma.irf.psf import default_rad_axis, evaluate_psf_bins

__all__ = ["background_rate", "edisp_kernel", "effective_area", "point_spread_function"]

#: Suffix of a table's own dims while it stands beside a result that has dims of the same names.
TABLE = "_of_table"


def effective_area(aeff: xr.DataArray, energy_true: Any, offset: Any) -> xr.DataArray:
    """Effective area at energies and offsets.

    Parameters
    ----------
    aeff
        Effective area, dims (energy_true, offset), in cm2.
    energy_true
        Binned axis, or energies with a unit (``["1 TeV", "10 TeV"]``).
    offset
        Separation from the pointing, any dims, with units; or a value such as ``"0.5 deg"``.

    Returns
    -------
    xarray.DataArray
        Effective area in cm2, dims (energy_true, ...) with the dims of `offset`; lazy if `offset` or `aeff` is.

    Raises
    ------
    ValueError
        If units are missing or wrong.

    Examples
    --------
    >>> from xgamma.irf.aeff import from_parametrization
    >>> effective_area(from_parametrization("CTAO"), ["1 TeV", "10 TeV"], "0.5 deg").dims
    ('energy_true',)
    """
    energy = _axis(energy_true, "energy_true")
    values = energy.values

    def evaluate(table: xr.DataArray, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return evaluate_aeff(table, values, theta)

    result = _apply(evaluate, aeff, [_position(offset, "offset")], [energy])
    return _finish(result, "aeff", canonical_attrs("cm2", "Effective area"))


def background_rate(
    bkg: xr.DataArray, energy: xr.DataArray, fov_lon: Any, fov_lat: Any, oversampling: int = 1
) -> xr.DataArray:
    """Background rate per bin of reconstructed energy, over the field of view.

    Parameters
    ----------
    bkg
        Background in s-1 TeV-1 sr-1, dims (energy, offset) or (energy, fov_lon, fov_lat).
    energy
        Binned axis of reconstructed energy, without gaps.
    fov_lon, fov_lat
        Field-of-view coordinates (`xgamma.irf.background.fov_coordinates`), any dims, with units.
    oversampling
        Number of steps per bin in the integral.

    Returns
    -------
    xarray.DataArray
        Rate in s-1 sr-1, dims (energy, ...) with the dims of the positions; lazy if one of the inputs is.

    Raises
    ------
    ValueError
        If units are missing or wrong.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.irf.background import constant_background
    >>> energy = energy_axis("1 TeV", "3 TeV", nbin=1)
    >>> background_rate(constant_background(), energy, "0 deg", "1 deg").values.round(9)
    array([2.])
    """
    axis = _axis(energy, "energy")
    edges = np.append(axis["energy_min"].values, axis["energy_max"].values[-1])

    def evaluate(table: xr.DataArray, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        return integrate_background(table, edges, lon, lat, oversampling=oversampling)

    positions = [_position(fov_lon, "fov_lon"), _position(fov_lat, "fov_lat")]
    return _finish(
        _apply(evaluate, bkg, positions, [axis]), "background", canonical_attrs("s-1 sr-1", "Background rate")
    )


def point_spread_function(
    psf: xr.DataArray | xr.Dataset, energy_true: Any, offset: Any, rad: xr.DataArray | None = None
) -> xr.DataArray:
    """Point spread function at energies and offsets, normalised on an axis of separations.

    Parameters
    ----------
    psf
        Table or parameters, as `xgamma.irf.read.read_irf` gives them.
    energy_true
        Binned axis, or energies with a unit.
    offset
        Separation from the pointing, any dims, with units; or a value such as ``"0.5 deg"``.
    rad
        Binned axis, by default 66 bins up to 0.66 deg.

    Returns
    -------
    xarray.DataArray
        Probability per solid angle in sr-1, dims (energy_true, ..., rad); lazy if one of the inputs is.

    Examples
    --------
    >>> from xgamma.irf.psf import from_gauss
    >>> point_spread_function(from_gauss(), ["1 TeV"], "0.5 deg").sizes["rad"]
    66
    """
    energy, separation = _axis(energy_true, "energy_true"), _axis(default_rad_axis() if rad is None else rad, "rad")
    values = energy.values
    edges = np.append(separation["rad_min"].values, separation["rad_max"].values[-1])

    def evaluate(table: xr.DataArray | xr.Dataset, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.moveaxis(evaluate_psf_bins(table, values, theta, edges), -1, 1)

    position = _position(offset, "offset")
    result = _apply(evaluate, psf, [position], [energy, separation])
    result = result.transpose("energy_true", *position.dims, "rad")
    return _finish(result, "psf", canonical_attrs("sr-1", "Point spread function"))


def edisp_kernel(edisp: xr.DataArray, energy_true: Any, energy: xr.DataArray, offset: Any) -> xr.DataArray:
    """Probability per bin of reconstructed energy, at offsets.

    Parameters
    ----------
    edisp
        Density per migration, dims (energy_true, migra, offset).
    energy_true
        Binned axis, or energies with a unit.
    energy
        Binned axis of reconstructed energy, without gaps.
    offset
        Separation from the pointing, any dims, with units; or a value such as ``"0.5 deg"``.

    Returns
    -------
    xarray.DataArray
        Probability, dims (energy_true, energy, ...); lazy if one of the inputs is.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.irf.edisp import from_gauss
    >>> energy = energy_axis("0.1 TeV", "10 TeV", nbin=2)
    >>> edisp_kernel(from_gauss(sigma=0.1), ["1 TeV"], energy, "0.5 deg").values.round(3)
    array([[0.5, 0.5]])
    """
    true, reco = _axis(energy_true, "energy_true"), _axis(energy, "energy")
    values = true.values
    edges = np.append(reco["energy_min"].values, reco["energy_max"].values[-1])

    def evaluate(table: xr.DataArray, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return evaluate_edisp_kernel(table, theta, values, edges)

    result = _apply(evaluate, edisp, [_position(offset, "offset")], [true, reco])
    return _finish(result, "edisp", canonical_attrs("", "Energy dispersion"))


def _axis(value: Any, name: str) -> xr.DataArray:
    """A binned axis as it is, or values with a unit as a plain coordinate."""
    if isinstance(value, xr.DataArray) and f"{name}_min" in value.coords:
        table, attrs = table_axis(value, name), value[name].attrs
        if name != "energy_true" and not np.allclose(table.lo[1:], table.hi[:-1], rtol=1e-6, atol=1e-12):
            msg = f"the bins of {name!r} have gaps; select a contiguous range first"
            raise ValueError(msg)
        return bin_axis(
            name, table.lo, table.hi, attrs.get("units", ""), table.scale, table.center, attrs.get("long_name")
        )
    if name != "energy_true":
        msg = f"{name} must be a binned axis, for example from xgamma.coords.bins.energy_axis or bin_axis"
        raise ValueError(msg)
    points = np.atleast_1d(to_value(value, "TeV", name))
    coords = {name: (name, points, {"units": "TeV", "long_name": "True energy"})}
    return xr.DataArray(points, dims=name, coords=coords, name=name)


def _position(value: Any, name: str) -> xr.DataArray:
    """A labelled angle in deg, lazy if the input is."""
    if isinstance(value, xr.DataArray):
        return to_unit(value, "deg").astype(float)
    angles = np.asarray(to_value(value, "deg", name), dtype=float)
    if angles.ndim == 0:
        return xr.DataArray(angles)
    if angles.ndim > 1:
        msg = f"{name} with {angles.ndim} dimensions must be a DataArray, so that the dimensions have names"
        raise ValueError(msg)
    return xr.DataArray(angles, dims=name, coords={name: (name, angles, {"units": "deg"})})


def _apply(
    evaluate: Callable[..., NDArray[np.float64]],
    irf: xr.DataArray | xr.Dataset,
    positions: list[xr.DataArray],
    axes: list[xr.DataArray],
) -> xr.DataArray:
    """Call a function of (table, positions) whose result has the new axes first, block by block of positions."""
    single = isinstance(irf, xr.DataArray)
    tables = [irf] if isinstance(irf, xr.DataArray) else [irf[name] for name in irf.data_vars]
    dims: list[list[Hashable]] = [[f"{d}{TABLE}" for d in t.dims] for t in tables]
    bare = [xr.DataArray(t.variable.data, dims=d) for t, d in zip(tables, dims, strict=True)]
    # labels and axes go into the graph, not the table
    labels, coords = [(str(t.name), t.dims, t.attrs) for t in tables], irf.coords
    names = [str(a.name) for a in axes]

    def on_block(*arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        values, points = arrays[: len(tables)], np.broadcast_arrays(*arrays[len(tables) :])
        variables = {n: (d, v, a) for (n, d, a), v in zip(labels, values, strict=True)}
        table = xr.Dataset(variables, coords=coords)
        values_at = evaluate(table[labels[0][0]] if single else table, *points)
        return np.moveaxis(values_at, range(len(names)), range(-len(names), 0))

    result = xr.apply_ufunc(
        on_block,
        *bare,
        *positions,
        input_core_dims=[*dims, *([] for _ in positions)],
        output_core_dims=[names],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={
            "output_sizes": {n: a.size for n, a in zip(names, axes, strict=True)},
            "allow_rechunk": True,
        },
    )
    return result.transpose(*names, ...).assign_coords(axis_coords(axes))


def _finish(result: xr.DataArray, name: str, attrs: dict[str, str]) -> xr.DataArray:
    result = result.rename(name)
    result.attrs = dict(attrs)
    return result
