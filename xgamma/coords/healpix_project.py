"""HEALPix maps onto sky grids."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, vstack

from xgamma.coords.downsample import NOT_ADDITIVE
from xgamma.coords.frame import pixel_solid_angle
from xgamma.coords.grid import sky_chunks
from xgamma.coords.healpix import CELL_IDS, CELLS, HealpixGrid, healpix_grid_of
from xgamma.coords.healpix_ring import ring_neighbours
from xgamma.coords.reproject import check_options
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.kernels.sphere import to_vectors

__all__ = ["healpix_to_wcs"]

#: A HEALPix grid as something that a cache can look up, and a matrix (pixels, cells) with the pixels that it covers.
Key = tuple[tuple[int, bool, str], bytes | None, str]
Weights = tuple[csr_array, NDArray[np.bool_]]

METHODS = ("bilinear", "nearest")
#: Points along the smaller of a pixel and a cell, by which counts are shared.
OVERSAMPLING = 4
#: Part by which solid angles of neighbouring pixels differ above which points inside a pixel have their own.
UNEVEN = 0.02
#: Points that are placed at a time.
POINTS = 2**22
#: Weights below this are none: a position on a ring must not ask for the next one.
NO_WEIGHT = 1e-12
#: The number of points in a cell that lies inside the map is that of its solid angle, but for so many along each side.
STRAY = 2.0


def healpix_to_wcs(
    array: xr.DataArray,
    target: xr.Dataset | xr.DataArray,
    method: str = "bilinear",
    *,
    conserve: str | None = "auto",
    oversampling: int = OVERSAMPLING,
) -> xr.DataArray:
    """Bring a HEALPix map onto a sky grid; lazy stays lazy.

    Parameters
    ----------
    array
        Map with the dim ``cells``, from `xgamma.io.healpix_fits.open_healpix`, and any further dims.
    target
        Any object on the wanted sky grid (`sky_grid`, a map, a cube); of its axes only the sky counts.
        A lazy result has its Dask chunks.
    method
        How values are found: ``"bilinear"`` between the nearest cells of the two nearest rings, or ``"nearest"``, the
        value of the cell that holds the pixel's centre.
    conserve
        ``"counts"`` divides what each cell holds among the pixels that it covers, None treats numbers as values.
        ``"auto"`` divides variables without a unit, except statistics (``ts``, ``alpha``, ...).
    oversampling
        Points along a pixel, or along a cell where cells are smaller, by which counts are divided.

    Returns
    -------
    xarray.DataArray
        The dims of `array` with y, x in the place of ``cells`` as last ones, float64; NaN where the map has no cells.

    Raises
    ------
    ImportError
        If xdggs is not installed.
    ValueError
        If `array` is no HEALPix map, or an option is not one of those above.

    Notes
    -----
    Bilinear values are those of healpy and astropy-healpix, exact at the centres of cells. Counts of a cell are spread
    evenly over its solid angle; the shares of a cell that lies inside the grid sum up to 1 to rounding.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.healpix import healpix_coords
    >>> sky = xr.DataArray(np.full(3072, 2.0), dims="cells", coords=healpix_coords(4), attrs={"units": "cm2 s"})
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), "2 deg", "0.5 deg")
    >>> float(healpix_to_wcs(sky, grid).mean())
    2.0
    """
    check_options(method, METHODS, conserve)
    if int(oversampling) != oversampling or oversampling < 1:
        msg = f"oversampling={oversampling!r} must be a whole number of at least 1"
        raise ValueError(msg)
    cells, grid = healpix_grid_of(array), grid_of(target)
    counts_like = not array.attrs.get("units", "") and str(array.name) not in NOT_ADDITIVE
    shared = array.dtype != bool and (conserve == "counts" or (conserve == "auto" and counts_like))
    how = ("counts", int(oversampling)) if shared else (method, 0)
    ordered = array.transpose(..., CELLS)
    values = _values(ordered.variable.data, cells, grid, sky_chunks(target), how)
    own = [n for n, c in array.coords.items() if CELLS in c.dims or n in ("frame", CELL_IDS)]
    coords = array.drop_vars(own).coords.assign(grid.coords())
    attrs = {**array.attrs, "units": array.attrs.get("units", "")}
    return xr.DataArray(values, coords, (*ordered.dims[:-1], "y", "x"), name=array.name, attrs=attrs)


def _values(data: Any, cells: HealpixGrid, grid: SkyGrid, chunks: Any, how: tuple[str, int]) -> Any:
    lazy = hasattr(data, "dask")
    if not lazy and chunks is None:
        return _tile(data, cells=cells, grid=grid, tile=grid, how=how)
    import dask.array as da

    if not lazy:
        data = da.from_array(data, chunks=(*data.shape[:-1], -1))
    data = data.rechunk({data.ndim - 1: -1})
    rows, columns = chunks or ((len(grid.y),), (len(grid.x),))
    return da.concatenate(
        [
            da.concatenate([_lazy_tile(data, cells, grid, grid.tile(y, x), how) for x in _slices(columns)], axis=-1)
            for y in _slices(rows)
        ],
        axis=-2,
    )


def _lazy_tile(data: Any, cells: HealpixGrid, grid: SkyGrid, tile: SkyGrid, how: tuple[str, int]) -> Any:
    import dask.array as da

    last = data.ndim - 1
    return da.map_blocks(
        functools.partial(_tile, cells=cells, grid=grid, tile=tile, how=how),
        data,
        chunks=(*data.chunks[:-1], (tile.shape[0],), (tile.shape[1],)),
        drop_axis=last,
        new_axis=[last, last + 1],
        dtype=np.float64,
        meta=np.empty((0,) * (last + 2)),
    )


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    ends = np.cumsum(sizes)
    return [slice(int(e) - n, int(e)) for e, n in zip(ends, sizes, strict=True)]


def _tile(
    data: NDArray[Any], *, cells: HealpixGrid, grid: SkyGrid, tile: SkyGrid, how: tuple[str, int]
) -> NDArray[np.float64]:
    """Values of (..., cells) on the pixels of a tile of a grid, (..., y, x)."""
    if data.shape[-1] != cells.size:
        msg = f"the HEALPix map has {data.shape[-1]} values for {cells.size} cells"
        raise ValueError(msg)
    numbers = None if cells.cells is None else cells.cells.tobytes()
    dtype = "" if cells.cells is None else cells.cells.dtype.str
    key = ((cells.level, cells.nested, cells.frame), numbers, dtype)
    matrix, seen = _shares(key, grid, tile, how[1]) if how[0] == "counts" else _interpolation(key, tile, how[0])
    flat = np.asarray(data, dtype=np.float64).reshape(-1, data.shape[-1])
    result = np.empty((flat.shape[0], matrix.shape[0]))
    for target, plane in zip(result, flat, strict=True):
        target[:] = matrix @ plane
    result[:, ~seen] = np.nan
    return result.reshape(*data.shape[:-1], *tile.shape)


def _cells(key: Key) -> HealpixGrid:
    kind, numbers, dtype = key
    return HealpixGrid(*kind, None if numbers is None else np.frombuffer(numbers, dtype=dtype))


@functools.lru_cache(maxsize=8)
def _interpolation(key: Key, tile: SkyGrid, method: str) -> Weights:
    """Matrix (pixels, cells) of a tile, shared by all planes, and the pixels that the map covers."""
    cells = _cells(key)
    lon, lat = tile.frame.pixel_to_sky(*np.meshgrid(np.asarray(tile.y), np.asarray(tile.x), indexing="ij"))
    lon, lat = cells.from_frame(tile.frame, lon.ravel(), lat.ravel())
    if method == "nearest":
        place, weight = cells.find(lon, lat)[np.newaxis], np.ones((1, lon.size))
    else:
        pixels, weight = ring_neighbours(cells.nside, lon, lat)
        weight = np.where(np.abs(weight) < NO_WEIGHT, 0.0, weight)
        place = cells.from_ring(pixels)
    seen = np.isfinite(lon) & ~((place < 0) & (weight != 0)).any(axis=0)
    used = (place >= 0) & (weight != 0) & seen
    rows = np.broadcast_to(np.arange(lon.size), place.shape)
    return csr_array((weight[used], (rows[used], place[used])), shape=(lon.size, cells.size)), seen


@functools.lru_cache(maxsize=8)
def _shares(key: Key, grid: SkyGrid, tile: SkyGrid, oversampling: int) -> Weights:
    """Shares of the cells that fall into each pixel of a tile, by points inside the pixels."""
    cells = _cells(key)
    step = _step(cells, grid, oversampling)
    uneven = _uneven(grid)
    matrix = vstack([_strip(cells, strip, step, uneven) for strip in _strips(tile, step)])
    matrix = csr_array(matrix @ diags_array(_scales(key, grid, oversampling)))
    return matrix, np.diff(matrix.indptr) > 0


@functools.lru_cache(maxsize=4)
def _scales(key: Key, grid: SkyGrid, oversampling: int) -> NDArray[np.float64]:
    """Factors by which the shares of each cell sum up to 1.

    They are found on the whole grid, with a margin in which a cell at its edge has room: so tiles make no difference.
    """
    cells = _cells(key)
    step = _step(cells, grid, oversampling)
    total = np.zeros(cells.size)
    for strip in _strips(_widened(grid, 2.0 * cells.cell_size), step):
        total += np.asarray(_strip(cells, strip, step, _uneven(grid)).sum(axis=0)).ravel()
    whole = np.abs(total - 1.0) < STRAY * max(grid.frame.binsize) / (step * cells.cell_size)
    return np.where(whole, 1.0 / np.where(whole, total, 1.0), 1.0)


def _step(cells: HealpixGrid, grid: SkyGrid, oversampling: int) -> int:
    """Points along a side of a pixel."""
    size = max(grid.frame.binsize)
    return max(1, math.ceil(size / min(cells.cell_size, size) * oversampling))


def _strips(grid: SkyGrid, step: int) -> Iterator[SkyGrid]:
    rows = max(1, POINTS // (len(grid.x) * step**2))
    return (SkyGrid(grid.frame, grid.y[i : i + rows], grid.x) for i in range(0, len(grid.y), rows))


def _widened(grid: SkyGrid, margin: float) -> SkyGrid:
    """Grid with a margin in degrees around it; along a parallel no more than one turn."""
    size_y, size_x = grid.frame.binsize
    more_y = math.ceil(margin / size_y)
    lat = max(
        abs(float(v)) for v in grid.frame.pixel_to_sky(np.array([grid.y.start, grid.y.stop - 1]), grid.x.start)[1]
    )
    cylindrical = grid.frame.period is not None
    stretch = 1.0 / max(math.cos(math.radians(min(lat + margin, 89.0))), 0.02) if cylindrical else 1.0
    more_x = math.ceil(margin / size_x * stretch)
    if grid.frame.period is not None:
        more_x = min(more_x, max(0, math.floor((grid.frame.period - len(grid.x)) / 2)))
    return SkyGrid(
        grid.frame,
        range(grid.y.start - more_y, grid.y.stop + more_y),
        range(grid.x.start - more_x, grid.x.stop + more_x),
    )


@functools.lru_cache(maxsize=8)
def _uneven(grid: SkyGrid) -> bool:
    """Whether solid angles change so fast from pixel to pixel that they do inside one, as at poles."""
    omega = pixel_solid_angle(grid.frame, grid.y, grid.x)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = [np.abs(np.diff(omega, axis=a)) / np.minimum(*_neighbours(omega, a)) for a in (0, 1)]
    return any(bool((s[np.isfinite(s)] > UNEVEN).any()) for s in steps)


def _neighbours(values: NDArray[np.float64], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.delete(values, -1, axis=axis), np.delete(values, 0, axis=axis)


def _area(grid: SkyGrid, y: NDArray[np.float64], x: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Solid angle around points of a plane, up to a common factor: small quadrangles, by their diagonals."""
    half = 0.05 / step
    corners = [to_vectors(*grid.frame.pixel_to_sky(y + dy, x + dx)) for dy in (-half, half) for dx in (-half, half)]
    return np.nan_to_num(np.linalg.norm(np.cross(corners[3] - corners[0], corners[2] - corners[1]), axis=-1))


def _strip(cells: HealpixGrid, strip: SkyGrid, step: int, uneven: bool) -> csr_array:
    """Solid angle of each pixel, in units of a cell's, by the cells in which its points lie."""
    offsets = (np.arange(step) + 0.5) / step - 0.5
    y = (np.asarray(strip.y)[:, None] + offsets)[:, None, :, None]
    x = (np.asarray(strip.x)[:, None] + offsets)[None, :, None, :]
    y, x = np.broadcast_arrays(y, x)
    lon, lat = strip.frame.pixel_to_sky(y, x)
    part = np.isfinite(lon).astype(float)
    if uneven:
        part *= _area(strip, y, x, step)
    part = part.reshape(-1, step**2)
    lon, lat = cells.from_frame(strip.frame, lon.reshape(-1, step**2), lat.reshape(-1, step**2))
    place = cells.find(lon, lat)
    number = part.sum(axis=1, keepdims=True)
    omega = pixel_solid_angle(strip.frame, strip.y, strip.x).ravel()[:, None]
    weight = part * (omega / np.where(number > 0, number, 1.0) / cells.solid_angle)
    rows = np.broadcast_to(np.arange(place.shape[0])[:, None], place.shape)
    used = place >= 0
    return csr_array((weight[used], (rows[used], place[used])), shape=(place.shape[0], cells.size))
