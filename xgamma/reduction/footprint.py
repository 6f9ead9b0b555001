"""Which pixels a run fills: the square around its pointing, and the tiles that it touches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xgamma.coords.cutout import cutout_parts
from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid
from xgamma.dl3.observation import Observation
from xgamma.kernels.sphere import from_vectors, separation, to_vectors

__all__ = ["check_plan", "footprint", "footprint_center", "overlap", "plan_pointing", "tiles_of", "tiles_of_runs"]

#: Pointings of the observation table and of the event header may differ in their last digits; the plan
#: of tiles takes this many pixels more, so that no tile is missed.
PLAN_MARGIN = 2
#: Points on the circle of a field of view by which its extent on the map is found.
CIRCLE_POINTS = 256
#: Points by which the extents of many runs are bounded, and how much a curve may reach beyond them.
ROUGH_POINTS = 32
ROUGH_EXCESS = 1.01


def footprint(grid: SkyGrid, lon: float, lat: float, offset_max: float | None) -> list[tuple[slice, slice]]:
    """Return the array slices (y, x) of `grid` that a run fills.

    Parameters
    ----------
    grid
        The whole grid.
    lon, lat
        Pointing in ICRS degrees.
    offset_max
        Half the side of the square in degrees; None for the whole grid.

    Returns
    -------
    list of tuple of slice
        Disjoint parts; empty where the run does not touch the grid.

    Notes
    -----
    At the reference point of the projection the square has sides of twice `offset_max`, rounded to whole pixels.
    Where the projection stretches the sky it grows, so that it holds the circle of radius `offset_max`, to half
    a pixel; a circle that the seam of a map cuts is held by parts on both sides, or by one over the whole width.
    """
    if offset_max is None:
        return [(slice(0, len(grid.y)), slice(0, len(grid.x)))]
    frame_lon, frame_lat = (float(v) for v in grid.frame.from_icrs(lon, lat))
    stretch_y, stretch_x = _stretch(grid.frame, frame_lon, frame_lat, offset_max)
    # wider than the grid is as good as infinite, and a number
    longest_y, longest_x = (
        4.0 * n * size + 4 * offset_max for n, size in zip(grid.shape, grid.frame.binsize, strict=True)
    )
    width = min(2 * offset_max * stretch_x, longest_x), min(2 * offset_max * stretch_y, longest_y)
    return cutout_parts(grid, frame_lon, frame_lat, width)


def _stretch(frame: SkyFrame, lon: float, lat: float, radius: float) -> tuple[float, float]:
    """Extent of a circle on the map over that at the reference point, along (y, x); 1 at least."""
    y, x = (float(v) for v in frame.sky_to_pixel(lon, lat))
    if not np.isfinite([y, x]).all():
        return 1.0, 1.0
    angles = np.linspace(0.0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
    # half the radius too: a pole inside the circle may be the farthest point
    radii = np.deg2rad([[0.5 * radius], [radius]])
    circle = from_vectors(_around(float(np.deg2rad(lon)), float(np.deg2rad(lat)), angles, radii))
    y_around, x_around = frame.sky_to_pixel(*circle, near_x=x)
    extent = np.array([_extent(y_around - y), _extent(x_around - x)])
    stretch_y, stretch_x = np.maximum(extent * frame.binsize / radius, 1.0)
    if frame.period is not None and _pole_distance(frame, lon, lat) <= radius:
        # a circle around a pole of a cylindrical projection has every longitude, and in Mercator no end
        return (np.inf if frame.proj == "MER" else float(stretch_y)), np.inf
    return float(stretch_y), float(stretch_x)


def _extent(distance: np.ndarray) -> float:
    """Largest distance of circles, shape (n, points), from their centre in pixels."""
    # a point that the projection cannot show lies beyond the end of the map
    longest = float(np.nan_to_num(np.abs(distance), nan=np.inf).max())
    if not np.isfinite(longest):
        return np.inf
    # where the circle jumps over a seam, what lies inside of it reaches to the ends of the map
    step = np.abs(np.diff(distance, axis=-1, append=distance[..., :1])).max()
    return np.inf if step > 0.5 * longest else longest


def _around(lon: Any, lat: Any, angles: np.ndarray, radii: Any) -> np.ndarray:
    """Unit vectors at distances from positions, all in radian; shapes are broadcast."""
    lon, lat = np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
    center = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
    radii, angles = np.broadcast_arrays(radii, angles)
    side = np.sin(angles)[..., np.newaxis] * east + np.cos(angles)[..., np.newaxis] * north
    return np.cos(radii)[..., np.newaxis] * center + np.sin(radii)[..., np.newaxis] * side


def _pole_distance(frame: SkyFrame, lon: float, lat: float) -> float:
    """Angle in degrees to the nearer pole of the projection."""
    theta = frame.wcs.wcs.s2p([[lon, lat]], 0)["theta"]
    return 90.0 - abs(float(np.ravel(theta)[0]))


def footprint_center(grid: SkyGrid, parts: list[tuple[slice, slice]]) -> tuple[float, float]:
    """Return the middle of a footprint in ICRS degrees."""
    tile = grid.tile(*max(parts, key=lambda p: (p[0].stop - p[0].start) * (p[1].stop - p[1].start)))
    lon, lat = grid.frame.to_icrs(*tile.center)
    return float(lon), float(lat)


def overlap(parts: Iterable[tuple[slice, slice]], tile: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    """Return the parts of a footprint inside a tile, in array positions of the tile."""
    result = []
    for part in parts:
        cut = []
        for mine, theirs in zip(part, tile, strict=True):
            start, stop = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
            if stop <= start:
                break
            cut.append(slice(start - theirs.start, stop - theirs.start))
        else:
            result.append((cut[0], cut[1]))
    return result


def tiles_of(
    grid: SkyGrid,
    lon: float,
    lat: float,
    offset_max: float | None,
    edges: tuple[np.ndarray, np.ndarray],
    margin: tuple[int, int] = (0, 0),
) -> list[tuple[int, int]]:
    """Return the tiles (row, column) that a run may touch.

    Parameters
    ----------
    grid, lon, lat, offset_max
        As in `footprint`.
    edges
        Array positions of the tile edges along (y, x).
    margin
        Pixels along (y, x) beyond the footprint that count as touched.
    """
    tiles: dict[tuple[int, int], None] = {}
    for part in footprint(grid, lon, lat, offset_max):
        first_last = []
        for cut, edge, more in zip(part, edges, margin, strict=True):
            first = int(np.searchsorted(edge, cut.start - PLAN_MARGIN - more, side="right")) - 1
            last = int(np.searchsorted(edge, cut.stop + PLAN_MARGIN + more, side="left"))
            first_last.append(range(max(first, 0), min(last, len(edge) - 1)))
        tiles.update(dict.fromkeys((j, i) for j in first_last[0] for i in first_last[1]))
    return list(tiles)


def tiles_of_runs(
    grid: SkyGrid,
    lon: np.ndarray,
    lat: np.ndarray,
    offset_max: float | None,
    edges: tuple[np.ndarray, np.ndarray],
    margin: tuple[int, int] = (0, 0),
) -> list[list[tuple[int, int]]]:
    """Return the tiles that each of many runs may touch: what `tiles_of` returns, 50 times as fast.

    Parameters
    ----------
    grid, offset_max, edges, margin
        As in `tiles_of`.
    lon, lat
        Pointings in ICRS degrees, shape (n,).

    Notes
    -----
    A bound from below and one from above on the extent of each field of view usually name the same tiles; only
    the runs where they do not, or that lie at a pole or a seam of the map, are looked at one by one.
    """
    number = len(lon)
    result: list[list[tuple[int, int]]] = [[] for _ in range(number)]
    doubtful = np.ones(number, dtype=bool)
    if offset_max is not None and number > 1 and not any(margin):
        with np.errstate(invalid="ignore"):
            low, high, doubtful = _tile_ranges(grid, lon, lat, offset_max, edges)
        doubtful |= (low != high).any(axis=0)
        ranges = np.where(doubtful, 0, low).T.tolist()
        for k in np.flatnonzero(~doubtful):
            top, bottom, left, right = ranges[k]
            result[k] = [(j, i) for j in range(top, bottom) for i in range(left, right)]
    for k in np.flatnonzero(doubtful):
        result[k] = tiles_of(grid, float(lon[k]), float(lat[k]), offset_max, edges, margin)
    return result


def _tile_ranges(
    grid: SkyGrid, lon: np.ndarray, lat: np.ndarray, radius: float, edges: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranges of tiles (first row, last row, first column, last column; n) that runs touch at least and at most.

    The third array is True where the bounds do not hold.
    """
    frame = grid.frame
    frame_lon, frame_lat = frame.from_icrs(lon, lat)
    y, x = grid.sky_to_pixel(frame_lon, frame_lat)
    least_y, least_x, doubtful = _rough_extents(frame, frame_lon, frame_lat, y, x, radius)
    doubtful |= ~(np.isfinite(y) & np.isfinite(x))
    if frame.period is not None:
        # another turn of the map may show the run, too
        reach = ROUGH_EXCESS * least_x + 2
        doubtful |= x + frame.period - reach < grid.x.stop
        doubtful |= x - frame.period + reach > grid.x.start
    ranges = []
    for grow, more in ((1.0, -0.5), (ROUGH_EXCESS, 0.5)):
        rows = _tile_range(y, grow * least_y + more, grid.y, edges[0])
        columns = _tile_range(x, grow * least_x + more, grid.x, edges[1])
        missed = (rows[1] <= rows[0]) | (columns[1] <= columns[0])
        ranges.append(np.where(missed, 0, np.stack([*rows, *columns])))
    return ranges[0], ranges[1], doubtful


def _tile_range(position: np.ndarray, half: np.ndarray, pixels: range, edges: np.ndarray) -> list[np.ndarray]:
    """First tile and the one after the last that windows of `half` a side around pixel positions touch."""
    # far outside is as good as anywhere outside
    low = np.clip(np.nan_to_num(np.ceil(position - half) - pixels.start), 0, len(pixels) + 1)
    high = np.clip(np.nan_to_num(np.ceil(position + half) - pixels.start), -1, len(pixels))
    first = np.maximum(np.searchsorted(edges, low - PLAN_MARGIN, side="right") - 1, 0)
    last = np.minimum(np.searchsorted(edges, high + PLAN_MARGIN, side="left"), len(edges) - 1)
    return [first, np.where(high <= low, 0, last)]


def _rough_extents(
    frame: SkyFrame, lon: np.ndarray, lat: np.ndarray, y: np.ndarray, x: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half the sides of footprints in pixels along (y, x), from below, and True where that is no bound."""
    angles = np.linspace(0.0, 2 * np.pi, ROUGH_POINTS, endpoint=False)
    size_y, size_x = frame.binsize
    least_y, least_x = (np.full(len(lon), radius / s) for s in (size_y, size_x))
    doubtful = np.zeros(len(lon), dtype=bool)
    for part in (0.5 * radius, radius):
        circle = _around(np.deg2rad(lon)[:, None], np.deg2rad(lat)[:, None], angles, np.deg2rad(part))
        y_around, x_around = frame.sky_to_pixel(*from_vectors(circle))
        if frame.period is not None:
            x_around = x_around - frame.period * np.round((x_around - x[:, None]) / frame.period)
        for least, around, center in ((least_y, y_around, y), (least_x, x_around, x)):
            distance = around - center[:, None]
            longest = np.abs(distance).max(axis=1)
            step = np.abs(np.diff(distance, axis=1, append=distance[:, :1])).max(axis=1)
            # a circle that jumps, or that the projection cannot show
            doubtful |= ~(step < 0.4 * longest)
            np.fmax(least, longest, out=least)
    # where the map stretches the sky that much, between two points anything may happen
    doubtful |= (least_y * size_y > 3 * radius) | (least_x * size_x > 3 * radius)
    if frame.period is not None:
        theta = frame.wcs.wcs.s2p(np.nan_to_num(np.stack([lon, lat], axis=-1)), 0)["theta"]
        doubtful |= 90.0 - np.abs(theta) <= 1.01 * radius
    return least_y, least_x, doubtful


def plan_pointing(run: Observation) -> tuple[float, float]:
    """Return a run's pointing in ICRS degrees from the observation table; from its file where that has none."""
    info: dict[str, Any] = run.info
    lon, lat = info.get("ra_pnt"), info.get("dec_pnt")
    drift = str(info.get("obs_mode", "")).upper().startswith("DRIFT")
    if lon is None or lat is None or drift or not np.isfinite([lon, lat]).all():
        middle = run.tmid
        # a run that has no good time points nowhere
        lon, lat = run.pointing.icrs(middle) if np.isfinite(middle) else (np.nan, np.nan)
    return float(lon), float(lat)


def check_plan(grid: SkyGrid, run: Observation, pointing: tuple[float, float], offset_max: float | None) -> None:
    """Refuse a run whose file points elsewhere than its row of the observation table: tiles would miss it.

    Raises
    ------
    ValueError
        If the two pointings are further apart than the margin with which tiles are planned.
    """
    if offset_max is None or not np.isfinite(pointing).all():
        return
    planned = plan_pointing(run)
    apart = float(separation(to_vectors(*map(np.asarray, pointing)), to_vectors(*map(np.asarray, planned))))
    if apart > PLAN_MARGIN * min(grid.frame.binsize):
        msg = (
            f"run {run.obs_id} points at ICRS ({pointing[0]:.4f}, {pointing[1]:.4f}) deg, its row of the observation "
            f"table says ({planned[0]:.4f}, {planned[1]:.4f}) deg, {apart:.3g} deg away: correct the index (xgamma "
            "check lists all faults)"
        )
        raise ValueError(msg)
