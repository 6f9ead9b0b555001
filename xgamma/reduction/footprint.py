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

__all__ = ["check_plan", "footprint", "footprint_center", "overlap", "plan_pointing", "tiles_of"]

#: Pointings of the observation table and of the event header may differ in their last digits; the plan
#: of tiles takes this many pixels more, so that no tile is missed.
PLAN_MARGIN = 2
#: Points on the circle of a field of view by which its extent on the map is found.
CIRCLE_POINTS = 256


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
    center = np.deg2rad([lon, lat])
    circle = from_vectors(_around(*center, angles, radii))
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


def _around(lon: float, lat: float, angles: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Unit vectors at distances from a position, all in radian."""
    center = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
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
    grid: SkyGrid, lon: float, lat: float, offset_max: float | None, edges: tuple[np.ndarray, np.ndarray]
) -> list[tuple[int, int]]:
    """Return the tiles (row, column) that a run may touch.

    Parameters
    ----------
    grid, lon, lat, offset_max
        As in `footprint`.
    edges
        Array positions of the tile edges along (y, x).
    """
    tiles: dict[tuple[int, int], None] = {}
    for part in footprint(grid, lon, lat, offset_max):
        first_last = []
        for cut, edge in zip(part, edges, strict=True):
            first = int(np.searchsorted(edge, cut.start - PLAN_MARGIN, side="right")) - 1
            last = int(np.searchsorted(edge, cut.stop + PLAN_MARGIN, side="left"))
            first_last.append(range(max(first, 0), min(last, len(edge) - 1)))
        tiles.update(dict.fromkeys((j, i) for j in first_last[0] for i in first_last[1]))
    return list(tiles)


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
