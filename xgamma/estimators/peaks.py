"""Peaks of maps: where they are, and what maps hold there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.table import Table
from numpy.typing import NDArray

from xgamma.background.correlate import positive_angle
from xgamma.background.windows import Window, map_windows, sky_chunks, spans, split_again, tile_sizes
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.kernels.convolve import Annulus
from xgamma.kernels.ts_peaks import find_maxima, fit_maxima

__all__ = ["find_peaks"]

FloatArray = NDArray[np.float64]

#: Radius that holds 68 % of a two-dimensional Gaussian, in its standard deviations.
R68 = float(np.sqrt(-2.0 * np.log(1.0 - 0.68)))


@dataclass(frozen=True)
class _Settings:
    threshold: float
    disc: Annulus


def find_peaks(
    maps: xr.Dataset | xr.DataArray,
    threshold: float = 5.0,
    min_distance: Any = "0.3 deg",
    *,
    name: str = "sqrt_ts",
    subpixel: bool = True,
) -> Table:
    """Find the maxima of a map; this computes a lazy one tile by tile, and keeps nothing but the peaks.

    Parameters
    ----------
    maps
        Map, or a Dataset of maps that holds it beside others, whose values at the peaks become columns; dims
        (..., y, x).
    threshold
        Least value of a peak.
    min_distance
        Radius around a peak within which no pixel is higher, an angle.
    name
        Which of the maps of a Dataset has the peaks.
    subpixel
        Fit a paraboloid to the 3 x 3 pixels around each peak and return its maximum; False returns the middle of the
        pixel.

    Returns
    -------
    astropy.table.Table
        A row for each peak, the highest first: ``lon``, ``lat`` in the frame of the map, ``ra``, ``dec`` (ICRS), the
        pixel coordinates ``y`` and ``x``, the pixel's ``row`` and ``column`` in the array, the energy where the map has
        several, and the values of all maps at the pixel. A Dataset with ``ts`` has positions from that map, and
        ``pos_err``: the radius of 68 % that follows from its curvature, where the statistic has risen by one in each
        direction (Wilks). ``frame``, ``threshold`` and ``min_distance`` stand in ``meta``.

    Raises
    ------
    ValueError
        If the map is missing, has no sky, or an argument is not valid.

    Notes
    -----
    Of equal pixels within the radius the first in order of rows is the peak. NaN is lower than everything. A peak
    at the edge of the map, or beside NaN, has the position of its pixel, and no error.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.grid import sky_grid
    >>> grid = sky_grid(SkyCoord(0, 0, unit="deg"), "1.1 deg", "0.1 deg")
    >>> hill = 9 - ((grid.y - 2) ** 2 + (grid.x + 1.25) ** 2)
    >>> peaks = find_peaks(grid.assign(hill=hill.transpose("y", "x")).hill, threshold=5)
    >>> peaks["y"].value.round(6), peaks["x"].value.round(6), peaks["lat"].value.round(6)
    (array([2.]), array([-1.25]), array([0.2]))
    """
    dataset, key = _dataset(maps, name)
    if isinstance(threshold, bool) or not np.isfinite(threshold):
        msg = f"threshold={threshold!r} must be a number"
        raise ValueError(msg)
    target = dataset[key].transpose(..., "y", "x")
    radius = positive_angle(min_distance, "min_distance")
    settings = _Settings(float(threshold), Annulus(0.0, radius, pixel_scale(target)))
    shaped = "ts" if subpixel and "ts" in dataset and dataset["ts"].dims == dataset[key].dims else key
    grid = grid_of(target)
    columns = {str(n): a.transpose(..., "y", "x") for n, a in dataset.data_vars.items() if {"y", "x"} <= set(a.dims)}
    rows = _rows(target, columns, settings, subpixel, shaped)
    return _table(rows, target, columns, grid, key, settings, with_error=shaped == "ts")


def _dataset(maps: xr.Dataset | xr.DataArray, name: str) -> tuple[xr.Dataset, str]:
    if isinstance(maps, xr.DataArray):
        key = str(maps.name) if maps.name is not None else "value"
        dataset = maps.rename(key).to_dataset()
    elif isinstance(maps, xr.Dataset):
        dataset, key = maps, name
    else:
        msg = f"peaks are found in a map (DataArray) or in maps (Dataset), not in a {type(maps).__name__}"
        raise TypeError(msg)
    if key not in dataset:
        msg = f"there is no map {key!r}; there are {sorted(map(str, dataset.data_vars))}"
        raise ValueError(msg)
    if not {"y", "x"} <= set(dataset[key].dims):
        msg = f"{key!r} with the dims {dataset[key].dims} is not a map; it needs y and x"
        raise ValueError(msg)
    return dataset, key


def _rows(
    target: xr.DataArray, columns: Mapping[str, xr.DataArray], settings: _Settings, subpixel: bool, shaped: str
) -> list[dict[str, Any]]:
    """Peaks tile by tile: planes and pixels, offsets, covariances, values."""
    variable = target.variable
    depth = settings.disc.depth
    lead = tuple(d for d in variable.dims if d not in ("y", "x"))
    planes = int(np.prod([variable.sizes[d] for d in lead], dtype=int))
    tiles = tile_sizes(sky_chunks([variable]), depth, 8.0 * planes)
    plan = {str(d): spans((variable.sizes[d],)) for d in lead}
    plan |= {d: spans(s, n) for d, s, n in zip(("y", "x"), tiles, depth, strict=True)}
    arrays = {"target": variable}
    made = map_windows(_flags, arrays, ("peak",), plan, settings=settings)
    fitted = _fits(columns[shaped].variable) if subpixel else {}
    found = (
        split_again(made, sky_chunks([variable]))
        | fitted
        | {
            # maps with other dims in front than the one that is searched belong to a row as a whole
            f"{'value' if a.dims == target.dims else 'vector'}:{n}": a.variable
            for n, a in columns.items()
        }
    )
    if all(a.chunks is None for a in found.values()):
        return [_pick({n: np.asarray(a.data) for n, a in found.items()}, (0, 0))]
    return _stream(found, variable)


def _fits(variable: xr.Variable) -> dict[str, xr.Variable]:
    """Offsets and covariances of a paraboloid at each pixel, lazily; made only where peaks are."""
    planes = [str(d) for d in variable.dims]
    sizes = tile_sizes(sky_chunks([variable]), (1, 1), 40.0)
    plan = {d: spans((variable.sizes[d],)) for d in planes[:-2]}
    plan |= {d: spans(s, 1) for d, s in zip(("y", "x"), sizes, strict=True)}
    names = tuple(f"fit:{n}" for n in ("dy", "dx", "var_y", "cov", "var_x"))
    made = map_windows(_paraboloids, {"plane": variable}, names, plan)
    return split_again(made, sky_chunks([variable]))


def _flags(arrays: Mapping[str, xr.Variable], window: Window, settings: _Settings) -> list[FloatArray]:
    values = np.asarray(arrays["target"].values, dtype=float)
    inner = (window["y"].inner, window["x"].inner)
    peaks = [
        find_maxima(v, settings.threshold, settings.disc.kernel > 0)[inner]
        for v in values.reshape(-1, *values.shape[-2:])
    ]
    shape = (*values.shape[:-2], *peaks[0].shape)
    return [np.reshape(np.stack(peaks).astype(float), shape)]


def _paraboloids(arrays: Mapping[str, xr.Variable], window: Window) -> list[FloatArray]:
    values = np.asarray(arrays["plane"].values, dtype=float)
    inner = (..., window["y"].inner, window["x"].inner)
    return [part[inner] for part in fit_maxima(values)]


def _stream(found: Mapping[str, xr.Variable], target: xr.Variable) -> list[dict[str, Any]]:
    """One task a tile, which returns its peaks."""
    import dask.array as da
    from dask.base import compute
    from dask.delayed import delayed

    chunks = dict(zip(("y", "x"), sky_chunks([target]), strict=True))
    blocks = {}
    for name, array in found.items():
        layout = {d: chunks.get(str(d), -1) for d in array.dims}
        data = array.chunk(layout).data if array.chunks is not None else da.from_array(
            np.asarray(array.data), chunks=tuple(layout[d] for d in array.dims)
        )  # fmt: skip
        # without fusing through to_delayed a tile of all maps is made once
        blocks[name] = data.to_delayed(optimize_graph=False)
    edges = [list(itertools.accumulate(chunks[d], initial=0)) for d in ("y", "x")]
    pick = delayed(_pick, pure=True)
    tasks = [
        pick({n: b[(0,) * (b.ndim - 2) + (i, j)] for n, b in blocks.items()}, (edges[0][i], edges[1][j]))
        for i in range(len(chunks["y"]))
        for j in range(len(chunks["x"]))
    ]
    return list(compute(*tasks))


def _pick(arrays: Mapping[str, np.ndarray], first: tuple[int, int]) -> dict[str, Any]:
    """Positions and values of the peaks of a tile."""
    where = np.nonzero(arrays["peak"] > 0)
    result: dict[str, Any] = {
        "plane": np.stack(where[:-2], axis=1) if len(where) > 2 else np.zeros((len(where[0]), 0), int)
    }
    result["y"], result["x"] = where[-2] + first[0], where[-1] + first[1]
    for name, array in arrays.items():
        if name == "peak":
            continue
        if name.startswith("vector:"):
            result[name] = np.moveaxis(array[..., where[-2], where[-1]], -1, 0)
        else:
            result[name] = array[where]
    return result


def _table(
    rows: Sequence[Mapping[str, Any]],
    target: xr.DataArray,
    columns: Mapping[str, xr.DataArray],
    grid: SkyGrid,
    key: str,
    settings: _Settings,
    with_error: bool,
) -> Table:
    joined = {n: np.concatenate([r[n] for r in rows]) for n in rows[0]}
    order = np.lexsort((joined["x"], joined["y"], -joined[f"value:{key}"]))
    joined = {n: v[order] for n, v in joined.items()}
    y, x = (joined[d] + r.start for d, r in (("y", grid.y), ("x", grid.x)))
    fitted = np.isfinite(joined["fit:dy"]) if "fit:dy" in joined else np.zeros(len(y), bool)
    if fitted.any():
        y, x = (p + np.where(fitted, joined[f"fit:d{d}"], 0.0) for d, p in (("y", y), ("x", x)))
    lon, lat = grid.frame.pixel_to_sky(y, x)
    ra, dec = grid.frame.to_icrs(lon, lat)
    table = Table(
        meta={"frame": grid.frame.name, "threshold": settings.threshold, "min_distance": f"{settings.disc.r_out:g} deg"}
    )
    for name, values in (("lon", lon), ("lat", lat), ("ra", ra % 360.0), ("dec", dec)):
        table[name] = np.asarray(values, dtype=float) * u.deg
    if with_error and "fit:dy" in joined:
        table["pos_err"] = np.where(fitted, _radius(joined, settings.disc.pixel), np.nan) * u.deg
    table["y"], table["x"] = np.asarray(y, dtype=float), np.asarray(x, dtype=float)
    table["row"], table["column"] = joined["y"], joined["x"]
    lead = [str(d) for d in target.dims if d not in ("y", "x")]
    for number, dim in enumerate(lead):
        if dim in target.coords and target.sizes[dim] > 1:
            coord = target[dim]
            table[dim] = np.asarray(coord.values)[joined["plane"][:, number]]
            table[dim].unit = coord.attrs.get("units", "") or None
    for name, array in columns.items():
        table[name] = joined[f"{'value' if array.dims == target.dims else 'vector'}:{name}"]
        table[name].unit = array.attrs.get("units", "") or None
    return table


def _radius(joined: Mapping[str, np.ndarray], pixel: tuple[float, float]) -> FloatArray:
    """Radius of 68 % in degrees, of a circle as large as the ellipse."""
    determinant = joined["fit:var_y"] * joined["fit:var_x"] - joined["fit:cov"] ** 2
    with np.errstate(invalid="ignore"):
        return np.asarray(R68 * np.sqrt(pixel[0] * pixel[1]) * np.maximum(determinant, 0.0) ** 0.25)
