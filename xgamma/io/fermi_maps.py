"""Maps of the Fermi-LAT tools: counts of cubes and event lists, and exposures on other pixels and energies."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of, bin_edges, rename_axis
from xgamma.coords.healpix_project import healpix_to_wcs
from xgamma.coords.reproject import reproject
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import conversion_factor
from xgamma.io.fermi_files import FermiFile
from xgamma.io.fits_cube import lazy_map
from xgamma.io.fits_file import open_fits, read_column
from xgamma.io.fits_map import find_maps, map_array
from xgamma.io.healpix_fits import open_healpix
from xgamma.kernels.histogram import bin_events

__all__ = ["counts_map", "event_counts", "exposure_map", "finite", "log_log", "on_nodes"]

FloatArray = NDArray[np.float64]

LABELS = {"counts": "Counts", "background": "Predicted background counts", "exposure": "Exposure"}
#: Energies may lie outside of their nodes by a rounding.
ROUNDING = 1e-6


def counts_map(file: FermiFile, target: xr.Dataset, name: str) -> xr.DataArray:
    """Return counts in bins of measured energy, dims (energy, y, x), lazy.

    Parameters
    ----------
    file
        Counts cube, or HEALPix counts, which are brought onto the pixels of `target`.
    target
        Sky grid.
    name
        Name of the variable.
    """
    array = _open_map(file)
    dims = [str(d) for d in array.dims if d not in ("y", "x", "cells")]
    if dims != ["energy"]:
        msg = f"{file.path}: {name} should have one axis, 'energy'; the map has {dims}"
        raise ValueError(msg)
    if array.attrs["units"]:
        msg = f"{file.path}: {name} should be numbers without unit, the file says {array.attrs['units']!r}"
        raise ValueError(msg)
    axis = axis_of(array, "energy")
    if (axis["energy_max"].values <= axis["energy_min"].values).any():
        msg = f"{file.path}: {name} needs bins of energy (E_MIN, E_MAX), and the file has nodes"
        raise ValueError(msg)
    bin_edges(axis)
    if file.healpix:
        array = healpix_to_wcs(array, target, conserve="counts")
    result = finite(array, file.path, negative=False).rename(name)
    result.attrs = {"units": "", "long_name": LABELS[name]}
    return result


def _open_map(file: FermiFile) -> xr.DataArray:
    if file.healpix:
        return open_healpix(file.path)
    maps = find_maps(file.path)
    if len(maps) != 1:
        msg = f"{file.path} has several maps ({', '.join(m.name for m in maps)}); gammapy's cubes are read by open_cube"
        raise ValueError(msg)
    return map_array(maps[0], lazy_map(maps[0]))


def finite(array: xr.DataArray, path: str, *, negative: bool = False) -> xr.DataArray:
    """Return the array with a check of its values, made where they are computed."""
    check = partial(_finite, what=f"{path}: {array.name}", negative=negative)
    data = array.data
    checked = data.map_blocks(check, dtype=data.dtype, meta=data._meta) if hasattr(data, "dask") else check(data)
    return array.copy(data=checked)


def _finite(values: FloatArray, *, what: str, negative: bool) -> FloatArray:
    bad = ~np.isfinite(values)
    if bad.any():
        msg = (
            f"{what} holds {int(bad.sum())} NaN or infinite values among {values.size}: the file is damaged, or does "
            "not cover the pixels"
        )
        raise ValueError(msg)
    if not negative and values.size and values.min() < 0:
        msg = f"{what} holds negative values, down to {values.min():g}"
        raise ValueError(msg)
    return values


def event_counts(file: FermiFile, target: xr.Dataset) -> xr.DataArray:
    """Return the events of a list, counted in the pixels and energies of `target`; lazy, one chunk."""
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed

    grid, edges = grid_of(target), bin_edges(target)
    status = os.stat(file.path)
    token = tokenize(file.path, status.st_mtime_ns, status.st_size, dict(grid.frame.cards), grid.y, grid.x, edges)
    read = delayed(partial(_count, file.path, grid, edges), name=f"fermi-events-{token}", pure=True, traverse=False)
    shape = (edges.size - 1, *grid.shape)
    values = da.from_delayed(read(dask_key_name=f"fermi-counts-{token}"), shape=shape, dtype=np.float64)
    coords = grid.coords().merge(axis_of(target, "energy").coords).coords
    attrs = {"units": "", "long_name": LABELS["counts"]}
    return xr.DataArray(values, coords, ("energy", "y", "x"), name="counts", attrs=attrs)


def _count(path: str, grid: SkyGrid, edges: FloatArray) -> FloatArray:
    with open_fits(path) as hdus:
        table = hdus["EVENTS"]
        energy = read_column(table, "ENERGY", unit="TeV", assume="MeV", where=path)
        ra, dec = (read_column(table, n, unit="deg", assume="deg", where=path) for n in ("RA", "DEC"))
    if not (np.isfinite(energy).all() and np.isfinite(ra).all() and np.isfinite(dec).all()):
        msg = f"{path}, HDU EVENTS: ENERGY, RA or DEC hold NaN"
        raise ValueError(msg)
    y, x = grid.sky_to_pixel(*grid.frame.from_icrs(ra, dec))
    return bin_events(energy, y, x, edges, (grid.y.start, grid.x.start), grid.shape)


def on_nodes(file: FermiFile) -> xr.DataArray:
    """Return an exposure as the file has it: at nodes of energy, on its own pixels, cm2 s, lazy."""
    array = _open_map(file)
    dims = [str(d) for d in array.dims if d not in ("y", "x", "cells")]
    if dims not in (["energy_true"], ["energy"]):
        msg = f"{file.path}: an exposure should have one axis of energy; the map has {dims}"
        raise ValueError(msg)
    if dims == ["energy"]:
        axis = rename_axis(axis_of(array, "energy"), "energy_true")
        array = (
            array.drop_vars(["energy", "energy_min", "energy_max"])
            .rename(energy="energy_true")
            .assign_coords(axis.coords)
        )
    # gtexpcube2 states no unit
    unit = file.unit or "cm2 s"
    try:
        factor = conversion_factor(unit, "cm2 s")
    except ValueError as error:
        msg = f"{file.path}: an exposure has a unit that converts to cm2 s, this map is in {unit!r}"
        raise ValueError(msg) from error
    result = (array if factor == 1 else array * factor).rename("exposure")
    result.attrs = {"units": "cm2 s", "long_name": LABELS["exposure"]}
    return result


def exposure_map(file: FermiFile, target: xr.Dataset) -> xr.DataArray:
    """Return the exposure at the pixels and in the middle of the true energies of `target`; lazy.

    Raises
    ------
    ValueError
        If pixels or energies of `target` lie outside of the file's.
    """
    array = on_nodes(file)
    axis = axis_of(target, "energy_true")
    nodes, energy = axis_of(array, "energy_true").values.astype(float), axis.values.astype(float)
    if energy[0] < nodes[0] * (1 - ROUNDING) or energy[-1] > nodes[-1] * (1 + ROUNDING):
        msg = (
            f"{file.path}: the exposure is given from {nodes[0]:g} to {nodes[-1]:g} TeV, which does not cover the true "
            f"energies, with bins in the middle of {energy[0]:g} and {energy[-1]:g} TeV; run gtexpcube2 with emin and "
            "emax beyond them, or choose energy_true"
        )
        raise ValueError(msg)
    wanted = grid_of(target)
    if file.healpix:
        array = healpix_to_wcs(array, target, conserve=None)
    elif grid_of(array) != wanted:
        _check_covered(grid_of(array), wanted, file.path)
        array = reproject(array, target, conserve=None)
    array = finite(array, file.path)
    if "energy_true" in array.chunksizes:
        array = array.chunk(energy_true=-1)
    result = xr.apply_ufunc(
        partial(log_log, nodes=nodes, energy=energy),
        array.variable,
        input_core_dims=[["energy_true"]],
        output_core_dims=[["energy_new"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"energy_new": energy.size}},
    )
    dims = ("energy_true", "y", "x")
    data = result.transpose("energy_new", "y", "x").data
    coords = wanted.coords().merge(axis.coords).coords
    return xr.DataArray(data, coords, dims, name="exposure", attrs={"units": "cm2 s", "long_name": LABELS["exposure"]})


def _check_covered(have: SkyGrid, wanted: SkyGrid, path: str) -> None:
    """Refuse pixels outside of the map: exposure is not guessed."""
    y, x = np.asarray(wanted.y), np.asarray(wanted.x)
    edge_y = np.concatenate([np.full(x.size, y[0]), np.full(x.size, y[-1]), y, y])
    edge_x = np.concatenate([x, x, np.full(y.size, x[0]), np.full(y.size, x[-1])])
    lon, lat = wanted.frame.pixel_to_sky(edge_y, edge_x)
    valid = np.isfinite(lon)
    inside = have.contains(*have.frame.from_icrs(*wanted.frame.to_icrs(lon[valid], lat[valid])))
    if not inside.all():
        msg = (
            f"{path}: the exposure ({have.frame}, {have.shape[1]} x {have.shape[0]} pixels) does not cover "
            f"{int((~inside).sum())} of {int(valid.sum())} pixels at the edge of the counts ({wanted.frame}, "
            f"{wanted.shape[1]} x {wanted.shape[0]} pixels); make it larger, or the counts smaller"
        )
        raise ValueError(msg)


def log_log(values: FloatArray, *, nodes: FloatArray, energy: FloatArray) -> FloatArray:
    """Interpolate along the last axis: logarithms linearly in the logarithm of energy; linearly next to zeros.

    Parameters
    ----------
    values
        At the nodes, shape (..., n_nodes), at least 0.
    nodes, energy
        Energies of the nodes and those wanted, within the nodes.

    Returns
    -------
    numpy.ndarray
        Shape (..., n_energy); the values themselves where an energy is a node.

    Examples
    --------
    >>> log_log(np.array([1.0, 100.0]), nodes=np.array([1.0, 100.0]), energy=np.array([1.0, 10.0]))
    array([ 1., 10.])
    """
    lower = np.clip(np.searchsorted(nodes, energy, side="right") - 1, 0, max(nodes.size - 2, 0))
    if nodes.size == 1:
        return np.repeat(values, energy.size, axis=-1)
    result = np.empty((*values.shape[:-1], energy.size))
    for number, node in enumerate(lower):
        weight = np.log(energy[number] / nodes[node]) / np.log(nodes[node + 1] / nodes[node])
        weight = float(np.clip(weight, 0.0, 1.0))
        low, high = values[..., node], values[..., node + 1]
        if weight in (0.0, 1.0):
            result[..., number] = high if weight else low
            continue
        positive = (low > 0) & (high > 0)
        ratio = np.where(positive, high, 1.0) / np.where(positive, low, 1.0)
        result[..., number] = np.where(positive, low * ratio**weight, (1.0 - weight) * low + weight * high)
    return result
