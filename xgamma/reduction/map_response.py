"""Responses of a cube of maps at regions: energy dispersion, and the part of the PSF that a circle holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of
from xgamma.coords.sky import SkyGrid, grid_of

__all__ = ["edisp_of_regions", "psf_containment"]

SKY = ("irf_y", "irf_x")


def edisp_of_regions(
    cube: xr.Dataset, centers: np.ndarray, pixels: Sequence[tuple[np.ndarray, np.ndarray]] | None
) -> xr.Variable:
    """Return the energy dispersion of regions.

    Parameters
    ----------
    cube
        Cube with ``edisp``, and ``irf_exposure`` for averages.
    centers
        Longitude and latitude in degrees of the grid's frame, shape (n, 2).
    pixels
        Pixel numbers (y, x) of the pixels of each region, over which to average; None for the centre.

    Returns
    -------
    xarray.Variable
        Dims (..., energy_true, energy), with the dim ``region`` where it depends on the position.
    """
    edisp = cube["edisp"]
    if not set(SKY) <= set(edisp.dims):
        return _kernel(cube, edisp.variable)
    coarse = grid_of(cube, "irf_")
    if pixels is None:
        row, column = _nearest(coarse, *centers.T)
        return _kernel(cube, _pick(edisp.variable, row, column, ("region",)))
    fine = grid_of(cube)
    row, column, weight = _samples(coarse, fine, pixels)
    dims = ("region", "sample")
    values = _pick(edisp.variable, row, column, dims)
    weights = xr.Variable(dims, weight)
    if "irf_exposure" in cube:
        exposure = _pick(cube["irf_exposure"].variable, row, column, dims)
        total = (exposure * weights).sum("sample")
        # without exposure no event comes: pixels will do as a weight
        weights = (exposure * weights / total.where(total > 0, np.inf)).where(total > 0, weights)
    return _kernel(cube, (values * weights).sum("sample"))


def _pick(array: xr.Variable, row: np.ndarray, column: np.ndarray, dims: tuple[str, ...]) -> xr.Variable:
    """Return the values at pixels of the coarse grid."""
    return array.isel(irf_y=xr.Variable(dims, row), irf_x=xr.Variable(dims, column))


def _nearest(grid: SkyGrid, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Array positions of the pixels nearest to positions; those outside get the pixel at the edge."""
    y, x = grid.sky_to_pixel(lon, lat)
    row, column = np.floor(y + 0.5) - grid.y.start, np.floor(x + 0.5) - grid.x.start
    ny, nx = grid.shape
    return (
        np.clip(np.nan_to_num(row), 0, ny - 1).astype(int),
        np.clip(np.nan_to_num(column), 0, nx - 1).astype(int),
    )


def _between(grid: SkyGrid, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Array positions of the four pixels around positions and their weights, shape (n, 4); the same at the edge."""
    places, parts = [], []
    for value, start, size in zip(grid.sky_to_pixel(lon, lat), (grid.y.start, grid.x.start), grid.shape, strict=True):
        place = np.clip(np.nan_to_num(value - start), 0, size - 1)
        low = np.minimum(place.astype(int), max(size - 2, 0))
        places.append(np.stack([low, np.minimum(low + 1, size - 1)], axis=-1))
        parts.append(np.stack([1 - (place - low), place - low], axis=-1))
    row, column = np.repeat(places[0], 2, axis=-1), np.tile(places[1], 2)
    return row, column, np.repeat(parts[0], 2, axis=-1) * np.tile(parts[1], 2)


def _samples(
    coarse: SkyGrid, fine: SkyGrid, pixels: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of the coarse grid that each region takes part in, and the part of its pixels there, shape (n, k)."""
    found = []
    for y, x in pixels:
        row, column = _nearest(coarse, *fine.frame.pixel_to_sky(y, x))
        places, number = np.unique(row * coarse.shape[1] + column, return_counts=True)
        found.append((places, number / number.sum()))
    size = max(len(p) for p, _ in found)
    place, weight = np.zeros((len(found), size), dtype=int), np.zeros((len(found), size))
    for i, (p, w) in enumerate(found):
        place[i, : len(p)], weight[i, : len(p)] = p, w
    return place // coarse.shape[1], place % coarse.shape[1], weight


def _kernel(cube: xr.Dataset, edisp: xr.Variable) -> xr.Variable:
    """Return the probability per bin of measured energy; files may bring a density per migration."""
    true = "edisp_energy_true" if "edisp_energy_true" in edisp.dims else "energy_true"
    if true != "energy_true":
        msg = "the energy dispersion has bins of true energy of its own; resample it to those of the exposure first"
        raise ValueError(msg)
    if "migra" not in edisp.dims:
        return edisp.transpose(..., "energy_true", "energy")
    migra, energy_true, energy = (axis_of(cube, n) for n in ("migra", "energy_true", "energy"))
    edges = np.append(energy["energy_min"].values, energy["energy_max"].values[-1])
    migra_edges = np.append(migra["migra_min"].values, migra["migra_max"].values[-1])
    if edisp.chunks is not None:
        edisp = edisp.chunk({"energy_true": -1, "migra": -1})
    result: xr.Variable = xr.apply_ufunc(
        _integrate_migra,
        edisp,
        input_core_dims=[["energy_true", "migra"]],
        output_core_dims=[["energy_true", "energy"]],
        kwargs={"migra": migra_edges, "true": energy_true.values, "edges": edges},
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"energy": len(edges) - 1}},
    )
    return result


def _integrate_migra(density: np.ndarray, migra: np.ndarray, true: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Probability per measured bin, shape (..., energy_true, energy), of densities that are constant in each bin."""
    sums = np.cumsum(density * np.diff(migra), axis=-1)
    sums = np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums], axis=-1)
    total = sums[..., -1:]
    sums = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    result = np.empty((*density.shape[:-1], len(edges) - 1))
    for t, energy in enumerate(true):
        place = np.clip(np.interp(edges / energy, migra, np.arange(len(migra))), 0, len(migra) - 1)
        low = np.minimum(place.astype(int), len(migra) - 2)
        part = place - low
        rising = sums[..., t, low] * (1 - part) + sums[..., t, low + 1] * part
        result[..., t, :] = np.diff(rising, axis=-1)
    return result


def psf_containment(cube: xr.Dataset, centers: np.ndarray, radii: np.ndarray) -> xr.Variable:
    """Return the part of the point spread function inside circles around point sources.

    The function at a position is interpolated linearly between the pixels of the coarse grid.

    Parameters
    ----------
    cube
        Cube with ``psf``.
    centers
        Positions in degrees of the grid's frame, shape (n, 2).
    radii
        Radii in degrees, shape (n,).

    Returns
    -------
    xarray.Variable
        Dims (..., region, energy_true).
    """
    psf = cube["psf"].variable
    if set(SKY) <= set(psf.dims):
        row, column, weight = _between(grid_of(cube, "irf_"), *centers.T)
        dims = ("region", "sample")
        psf = (_pick(psf, row, column, dims) * xr.Variable(dims, weight)).sum("sample")
    rad = axis_of(cube, "rad")
    true = "psf_energy_true" if "psf_energy_true" in psf.dims else "energy_true"
    edges = [rad[f"rad_{end}"].values for end in ("min", "max")]
    if psf.chunks is not None:
        psf = psf.chunk({true: -1, "rad": -1})
    result: xr.Variable = xr.apply_ufunc(
        _containment,
        psf,
        xr.Variable("region", radii),
        input_core_dims=[[true, "rad"], []],
        output_core_dims=[["energy_true"]],
        exclude_dims={true},
        kwargs={
            "low": edges[0],
            "high": edges[1],
            "nodes": axis_of(cube, true).values,
            "energy": axis_of(cube, "energy_true").values,
        },
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"energy_true": cube.sizes["energy_true"]}},
    )
    return result


def _containment(
    psf: np.ndarray, radius: np.ndarray, low: np.ndarray, high: np.ndarray, nodes: np.ndarray, energy: np.ndarray
) -> np.ndarray:
    """Part inside a radius, shape (..., energy); densities are constant in rings, or straight between nodes."""
    if (high > low).all():
        edges = np.append(low, high[-1])
        steps = psf * 2 * np.pi * (np.cos(np.deg2rad(low)) - np.cos(np.deg2rad(high)))
    else:
        edges = low
        line = psf * 2 * np.pi * np.sin(np.deg2rad(low))
        steps = 0.5 * (line[..., 1:] + line[..., :-1]) * np.deg2rad(np.diff(low))
    sums = np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
    total = sums[..., -1:]
    sums = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    # the area of a ring grows with the square of its radius
    place = np.interp(np.asarray(radius) ** 2, edges**2, np.arange(len(edges)))[..., None, None]
    index = np.minimum(place.astype(int), len(edges) - 2)
    shape = np.broadcast_shapes(sums.shape[:-2], np.shape(radius))
    sums = np.broadcast_to(sums, (*shape, *sums.shape[-2:]))
    index, part = (np.broadcast_to(v, (*sums.shape[:-1], 1)) for v in (index, place - index))
    below, above = (np.take_along_axis(sums, index + k, axis=-1)[..., 0] for k in (0, 1))
    inside = below * (1 - part[..., 0]) + above * part[..., 0]
    if np.array_equal(nodes, energy):
        return np.asarray(inside)
    place = np.clip(np.interp(np.log(energy), np.log(nodes), np.arange(len(nodes))), 0, len(nodes) - 1)
    first = np.minimum(place.astype(int), max(len(nodes) - 2, 0))
    last = np.minimum(first + 1, len(nodes) - 1)
    return np.asarray(inside[..., first] * (1 - (place - first)) + inside[..., last] * (place - first))
