"""Maps onto another sky grid."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.coords.downsample import NOT_ADDITIVE
from xgamma.coords.frame import SkyFrame, pixel_solid_angle
from xgamma.coords.grid import sky_chunks
from xgamma.coords.overlap import iter_overlaps
from xgamma.coords.sky import SkyGrid, grid_of

__all__ = ["reproject"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)

METHODS = ("bilinear", "nearest", "exact")
#: Positions this near to a pixel's centre are the centre: a map onto its own grid must not take up NaN next door.
SNAP = 1e-8
#: Points along each side of an output tile from which the window of the input is found.
SAMPLES = 17


def reproject(
    obj: XarrayT,
    target: xr.Dataset | xr.DataArray | SkyGrid,
    method: str = "bilinear",
    *,
    conserve: str | None = "auto",
) -> XarrayT:
    """Bring maps onto another sky grid; lazy stays lazy, a task needs only its window of the input.

    Parameters
    ----------
    obj
        Map or cube with dims y, x.
    target
        Any object on the wanted sky grid (`sky_grid`, a map, a cube); of its axes only the sky counts.
        The result has its Dask chunks, or chunks of the size of those of `obj` where it has none.
    method
        ``"bilinear"`` and ``"nearest"`` take the value at each new pixel's centre; ``"exact"`` takes the
        mean over the new pixel (the sum, of counts), weighted by the overlap with the old ones (slower).
    conserve
        ``"counts"`` treats values as sums over pixels: their density is reprojected and multiplied by the
        new solid angles. None treats them as values. ``"auto"`` conserves variables without a unit,
        except statistics (``ts``, ``alpha``, ...).

    Returns
    -------
    Dataset or DataArray
        The variables with dims y, x on the new grid, as floats, NaN where the old map shows nothing.
        Masks are taken from the nearest pixel and False outside. The coarse grid of the responses
        and all variables without y, x are kept.

    Raises
    ------
    ValueError
        If `method` or `conserve` is not one of those above, or the grids do not overlap.

    Notes
    -----
    Interpolation and nearest pixels are exact where both grids have their centres in common. An
    all-sky map is continued over its seam.

    The exact method maps the corners of each new pixel into the plane of the old map and takes its
    straight-sided overlap with the old pixels, so counts are kept to rounding wherever the new grid
    covers the old one. New pixels with a corner outside of the sky (the limb of an Aitoff map) are NaN.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> center = SkyCoord(83.63, 22.01, unit="deg")
    >>> grid = xg.sky_grid(center, "2 deg", "0.1 deg")
    >>> exposure = grid.assign(exposure=(("y", "x"), np.full((20, 20), 3.0), {"units": "cm2 s"})).exposure
    >>> finer = xg.sky_grid(center, "1 deg", "0.05 deg", frame="galactic", proj="TAN")
    >>> float(reproject(exposure, finer).mean())
    3.0
    """
    check_options(method, METHODS, conserve)
    old = grid_of(obj)
    new = target if isinstance(target, SkyGrid) else grid_of(target)
    if not _overlap(old, new):
        msg = f"the map ({old.frame}) and the new grid ({new.frame}) do not overlap"
        raise ValueError(msg)
    chunks = None if isinstance(target, SkyGrid) else sky_chunks(target)
    plan = _Plan(old, new, method, chunks)
    if isinstance(obj, xr.DataArray):
        return _to_grid(obj, plan, conserve)
    data = {n: _to_grid(a, plan, conserve) if {"y", "x"} <= set(a.dims) else a for n, a in obj.data_vars.items()}
    coords = _other_coords(obj)
    return xr.Dataset({n: a.variable for n, a in data.items()}, coords.assign(new.coords()), obj.attrs)


@dataclass(frozen=True)
class _Plan:
    """What all variables have in common."""

    old: SkyGrid
    new: SkyGrid
    method: str
    chunks: tuple[tuple[int, ...], tuple[int, ...]] | None


def check_options(method: str, methods: tuple[str, ...], conserve: str | None) -> None:
    """Say if there is no such method, or no such way to conserve counts."""
    if method not in methods:
        msg = f"method={method!r} must be one of {methods}"
        raise ValueError(msg)
    if conserve not in ("auto", "counts", None):
        msg = f"conserve={conserve!r} must be 'auto', 'counts' or None"
        raise ValueError(msg)


def _other_coords(obj: xr.Dataset | xr.DataArray) -> xr.Coordinates:
    """Coordinates that have nothing to do with the pixels."""
    gone = [n for n, c in obj.coords.items() if {"y", "x"} & set(c.dims)] + ["wcs"]
    return obj.drop_vars(gone, errors="ignore").coords


def _to_grid(array: xr.DataArray, plan: _Plan, conserve: str | None) -> xr.DataArray:
    """Reproject one variable; its sky dims keep their places."""
    ordered = array.transpose(..., "y", "x")
    counts_like = not array.attrs.get("units", "") and str(array.name) not in NOT_ADDITIVE
    density = array.dtype != bool and (conserve == "counts" or (conserve == "auto" and counts_like))
    method = "nearest" if array.dtype == bool else plan.method
    data, old = ordered.variable.data, plan.old
    if method != "exact":  # which looks at all turns of the sky by itself
        data, old = _close_seam(data, old)
    job = functools.partial(_reproject_values, method=method, density=density)
    if ordered.variable.chunks is None and plan.chunks is None:
        values = job(data, old, plan.new, plan.old)
    else:
        values = _lazy(data, old, plan, job, _chunks(ordered, plan))
    attrs = {**array.attrs, "units": array.attrs.get("units", "")}
    coords = _other_coords(array).assign(plan.new.coords())
    return xr.DataArray(values, coords, ordered.dims, array.name, attrs).transpose(*array.dims)


def _close_seam(data: Any, grid: SkyGrid) -> tuple[Any, SkyGrid]:
    """Continue an all-sky map by one pixel on both sides, so that nothing special happens at its seam."""
    period = grid.frame.period
    if period is None or abs(period - len(grid.x)) > 1e-6:
        return data, grid
    if isinstance(data, np.ndarray):
        wide: Any = np.concatenate([data[..., -1:], data, data[..., :1]], axis=-1)
    else:
        import dask.array as da

        wide = da.concatenate([data[..., -1:], data, data[..., :1]], axis=-1)
    return wide, SkyGrid(grid.frame, grid.y, range(grid.x.start - 1, grid.x.stop + 1))


def _chunks(array: xr.DataArray, plan: _Plan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if plan.chunks is not None:
        return plan.chunks
    sizes = [max(array.variable.chunksizes[d]) for d in ("y", "x")]
    ny, nx = (
        (*[size] * (n // size), *([n % size] if n % size else []))
        for n, size in zip(plan.new.shape, sizes, strict=True)
    )
    return ny, nx


def _lazy(data: Any, old: SkyGrid, plan: _Plan, job: Any, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    """One task per output tile (and chunk of other dims), with the window of the input that it needs."""
    import dask.array as da

    data = data if not isinstance(data, np.ndarray) else da.from_array(data, chunks=data.shape)
    dtype = _result_type(data.dtype)
    rows = []
    for y0, ny in zip(np.cumsum((0, *chunks[0])), chunks[0], strict=False):
        row = []
        for x0, nx in zip(np.cumsum((0, *chunks[1])), chunks[1], strict=False):
            tile = plan.new.tile(slice(int(y0), int(y0) + ny), slice(int(x0), int(x0) + nx))
            window = _input_window(old, tile)
            if window is None:
                shape, pieces = (*data.shape[:-2], ny, nx), (*data.chunks[:-2], (ny,), (nx,))
                row.append(da.full(shape, _outside(dtype), dtype=dtype, chunks=pieces))
                continue
            part = data[(..., *window)].rechunk({data.ndim - 2: -1, data.ndim - 1: -1})
            pieces = (*part.chunks[:-2], (ny,), (nx,))
            row.append(part.map_blocks(job, old.tile(*window), tile, plan.old, chunks=pieces, dtype=dtype))
        rows.append(da.concatenate(row, axis=-1))
    return da.concatenate(rows, axis=-2)


def _result_type(dtype: np.dtype) -> np.dtype:
    if dtype.kind == "b":
        return np.dtype(bool)
    return dtype if dtype.kind == "f" else np.dtype(float)


def _outside(dtype: np.dtype) -> Any:
    return False if dtype.kind == "b" else np.nan


def _positions(old: SkyFrame, new: SkyFrame, y: Any, x: Any, near_x: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates in `old` of pixel coordinates in `new`; NaN where either has no sky."""
    if old == new:
        period = old.period
        turns = 0.0 if period is None else period * np.round((x - near_x) / period)
        return np.asarray(y, dtype=float), np.asarray(x - turns, dtype=float)
    lon, lat = new.pixel_to_sky(y, x)
    if not np.array_equal(old.rotation, new.rotation):
        lon, lat = old.from_icrs(*new.to_icrs(lon, lat))
    return old.sky_to_pixel(lon, lat, near_x=near_x)


def _middle(grid: SkyGrid) -> float:
    return 0.5 * (grid.x.start + grid.x.stop - 1)


def _input_window(old: SkyGrid, tile: SkyGrid) -> tuple[slice, slice] | None:
    """Array slices of the input that an output tile needs, None where it shows nothing of it."""
    sides = [np.linspace(r.start - 0.5, r.stop - 0.5, SAMPLES) for r in (tile.y, tile.x)]
    mesh = np.meshgrid(*sides, indexing="ij")
    positions = _positions(old.frame, tile.frame, mesh[0], mesh[1], _middle(old))
    if not all(np.isfinite(p).all() for p in positions):
        # the edge of the sky runs through the tile, and may between any two points: take all
        return slice(0, len(old.y)), slice(0, len(old.x))
    slices = []
    for position, pixels in zip(positions, (old.y, old.x), strict=True):
        # between two points the map cannot go further than to the next point
        reach = 2.0 + max(float(np.abs(np.diff(position, axis=axis)).max()) for axis in (0, 1))
        start = max(int(np.floor(position.min() - reach)) - pixels.start, 0)
        stop = min(int(np.ceil(position.max() + reach)) + 1 - pixels.start, len(pixels))
        if stop <= start:
            return None
        slices.append(slice(start, stop))
    return slices[0], slices[1]


def _overlap(old: SkyGrid, new: SkyGrid) -> bool:
    """False if no point of a lattice on either grid lies in the other."""
    for first, second in ((old, new), (new, old)):
        sides = [np.linspace(r.start, r.stop - 1, min(len(r), 65)) for r in (first.y, first.x)]
        mesh = np.meshgrid(*sides, indexing="ij")
        y, x = _positions(second.frame, first.frame, mesh[0], mesh[1], _middle(second))
        with np.errstate(invalid="ignore"):
            if (_within(y, second.y) & _within(x, second.x)).any():
                return True
    return False


def _within(position: np.ndarray, pixels: range) -> np.ndarray:
    return (position >= pixels.start - 0.5) & (position <= pixels.stop - 0.5)


def _reproject_values(
    values: np.ndarray, old: SkyGrid, new: SkyGrid, whole: SkyGrid, *, method: str, density: bool
) -> np.ndarray:
    """Values on `new` of an array on `old`, a window of the map `whole`; shapes (..., y, x)."""
    dtype = _result_type(values.dtype)
    if method == "exact":
        return np.asarray(_exact(values, old, new, whole, density), dtype=dtype)
    if density:
        omega = pixel_solid_angle(old.frame, old.y, old.x)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(omega > 0, values / omega, np.nan)
    mesh = np.meshgrid(np.asarray(new.y), np.asarray(new.x), indexing="ij")
    y, x = _positions(old.frame, new.frame, mesh[0], mesh[1], _middle(whole))
    inside = _within(y, whole.y) & _within(x, whole.x)
    pick = _nearest if method == "nearest" else _bilinear
    result = pick(values, old, np.where(inside, y, old.y.start), np.where(inside, x, old.x.start))
    result = np.where(inside, result, _outside(dtype))
    if density:
        result = result * pixel_solid_angle(new.frame, new.y, new.x)
    return np.asarray(result, dtype=dtype)


def _nearest(values: np.ndarray, old: SkyGrid, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    iy, ix = (
        np.clip(np.floor(v + 0.5).astype(int) - r.start, 0, len(r) - 1)
        for v, r in zip((y, x), (old.y, old.x), strict=True)
    )
    return np.asarray(values[..., iy, ix])


def _bilinear(values: np.ndarray, old: SkyGrid, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolate between the four nearest centres; the outer half of the outer pixels is constant.

    Weights come of pixel numbers, not of positions in the window: they are the same bits in every tile.
    """
    result = np.zeros((*values.shape[:-2], *y.shape))
    sides = []
    for position, pixels in zip((y, x), (old.y, old.x), strict=True):
        position = np.where(np.abs(position - np.round(position)) < SNAP, np.round(position), position)
        position = np.clip(position, pixels.start, pixels.stop - 1)
        whole = np.floor(position)
        low = whole.astype(int) - pixels.start
        weight = position - whole
        sides.append(((low, 1.0 - weight), (np.minimum(low + 1, len(pixels) - 1), weight)))
    for iy, weight_y in sides[0]:
        for ix, weight_x in sides[1]:
            weight = weight_y * weight_x
            # a NaN next door that has no weight is none
            result += np.where(weight > 0, values[..., iy, ix] * weight, 0.0)
    return result


def _exact(values: np.ndarray, old: SkyGrid, new: SkyGrid, whole: SkyGrid, density: bool) -> np.ndarray:
    """Sum (of a density) or mean over each new pixel; NaN where it shares nothing with the old map."""
    corners, turns = _corners(old, new, whole)
    planes = np.asarray(values, dtype=float).reshape(-1, *values.shape[-2:])
    valid = ~np.isnan(planes)
    planes = np.where(valid, planes, 0.0)
    weights = np.ones(old.shape) if density else pixel_solid_angle(old.frame, old.y, old.x)
    total, covered = np.zeros((2, len(planes), len(corners)))
    for turn in turns:
        for number, y, x, area in iter_overlaps(corners + np.array([0.0, turn]), old.shape):
            weight = area * weights[y, x]
            total[:, number] += weight * planes[:, y, x]
            covered[:, number] += weight * valid[:, y, x]
    with np.errstate(invalid="ignore"):
        mean = np.where(covered > 0, total if density else total / np.where(covered > 0, covered, 1.0), np.nan)
    return mean.reshape(*values.shape[:-2], *new.shape)


def _corners(old: SkyGrid, new: SkyGrid, whole: SkyGrid) -> tuple[np.ndarray, tuple[float, ...]]:
    """Corners of the new pixels in array positions of the old grid, (n, 4, 2), and the turns to look at."""
    edges = [np.append(np.asarray(r), r[-1] + 1) - 0.5 for r in (new.y, new.x)]
    mesh = np.meshgrid(*edges, indexing="ij")
    y, x = _positions(old.frame, new.frame, mesh[0], mesh[1], _middle(whole))
    lattice = np.stack([y - old.y.start, x - old.x.start], axis=-1)
    pixels = np.stack([lattice[:-1, :-1], lattice[:-1, 1:], lattice[1:, 1:], lattice[1:, :-1]], axis=2)
    corners = pixels.reshape(-1, 4, 2)
    period = old.frame.period
    if period is None:
        return corners, (0.0,)
    # corners of one pixel belong to one turn
    shift = np.round((corners[..., 1] - corners[:, :1, 1]) / period)
    corners[..., 1] -= period * np.nan_to_num(shift)
    return corners, (-period, 0.0, period)
