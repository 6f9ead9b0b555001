"""Which pixels a run fills: the square around its pointing, and the tiles that it touches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from xgamma.coords.cutout import cutout_parts
from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid
from xgamma.kernels.sphere import separation, to_vectors

__all__ = ["footprint", "footprint_center", "overlap", "tiles_of"]

#: Pointings of the observation table and of the event header may differ in their last digits; the plan
#: of tiles takes this many pixels more, so that no tile is missed.
PLAN_MARGIN = 2


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
    The square is measured in pixels of the size that they have at the pointing, so that it holds the
    circle of radius `offset_max` also where the projection stretches the sky.
    """
    if offset_max is None:
        return [(slice(0, len(grid.y)), slice(0, len(grid.x)))]
    frame_lon, frame_lat = (float(v) for v in grid.frame.from_icrs(lon, lat))
    stretch_y, stretch_x = _stretch(grid.frame, frame_lon, frame_lat)
    # a field of view that holds a pole of the projection fills every longitude
    longest = 2.0 * max(len(grid.x), 1) * grid.frame.binsize[1] + 4 * offset_max
    width_x = min(2 * offset_max * stretch_x, longest)
    return cutout_parts(grid, frame_lon, frame_lat, (width_x, 2 * offset_max * stretch_y))


def _stretch(frame: SkyFrame, lon: float, lat: float) -> tuple[float, float]:
    """Pixel size at the reference point over that at a position, along (y, x)."""
    y, x = (float(v) for v in frame.sky_to_pixel(lon, lat))
    if not np.isfinite([y, x]).all():
        return 1.0, 1.0
    steps_y, steps_x = np.array([0.5, -0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.5, -0.5])
    vectors = to_vectors(*frame.pixel_to_sky(y + steps_y, x + steps_x))
    sizes = separation(vectors[::2], vectors[1::2])
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = np.array(frame.binsize) / sizes
    stretch = np.where(np.isfinite(stretch), np.maximum(stretch, 1.0), 1e6)
    # below a thousandth of a pixel size the projection is flat: whole pixels stay whole
    return float(stretch[0]), float(stretch[1])


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
