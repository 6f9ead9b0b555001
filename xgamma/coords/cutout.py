"""Cutouts: the part of a map around a position, by whole pixels."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import angle_pair

__all__ = ["cutout", "cutout_parts", "cutout_slices"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)


def cutout_slices(
    grid: SkyGrid, lon: float, lat: float, width_deg: float | tuple[float, float]
) -> tuple[slice, slice] | None:
    """Return the array slices (y, x) of a cutout, trimmed at the edges of the grid.

    Parameters
    ----------
    grid
        The grid that is cut.
    lon, lat
        Position of the middle in degrees of the frame of `grid`.
    width_deg
        Size in degrees, a number or a pair (along x, along y).

    Returns
    -------
    tuple of slice, or None
        None where the cutout does not touch the grid, or the projection cannot show the position.

    Notes
    -----
    The size in pixels is the size over the pixel size at the reference point, rounded, at least 1.
    A pixel of number p is inside if ``ceil(c - n/2) <= p < ceil(c + n/2)`` for the position c: the
    convention of `astropy.nddata.Cutout2D` and so of gammapy.

    On a cylindrical projection the turn of longitude nearest to the middle of the grid is taken;
    `cutout_parts` finds the parts on both sides of the seam of an all-sky map.

    Examples
    --------
    >>> frame = SkyFrame.create(0.0, 0.0, 0.1, proj="CAR", frame="galactic")
    >>> grid = SkyGrid(frame, range(-20, 21), range(-50, 51))
    >>> cutout_slices(grid, 0.0, 0.0, 1.0)
    (slice(15, 25, None), slice(45, 55, None))
    >>> cutout_slices(grid, 90.0, 0.0, 1.0) is None
    True
    """
    y, x = (float(v) for v in grid.sky_to_pixel(lon, lat))
    return _window(grid, y, x, _cutout_shape(grid.frame, width_deg))


def cutout_parts(
    grid: SkyGrid, lon: float, lat: float, width_deg: float | tuple[float, float]
) -> list[tuple[slice, slice]]:
    """Return the array slices of every part of a cutout: two where it crosses the seam of an all-sky map.

    Parameters
    ----------
    grid, lon, lat, width_deg
        As in `cutout_slices`.

    Returns
    -------
    list of tuple of slice
        Disjoint parts in the order of x; empty where the cutout does not touch the grid.

    Examples
    --------
    >>> frame = SkyFrame.create(0.0, 0.0, 1.0, proj="CAR", frame="galactic")
    >>> grid = SkyGrid(frame, range(-90, 91), range(-180, 180))
    >>> [x for _, x in cutout_parts(grid, 180.0, 0.0, 4.0)]
    [slice(0, 2, None), slice(358, 360, None)]
    """
    y, x = (float(v) for v in grid.sky_to_pixel(lon, lat))
    shape = _cutout_shape(grid.frame, width_deg)
    period = grid.frame.period
    parts: list[tuple[slice, slice]] = []
    reached = 0
    for turn in (0.0,) if period is None else (-period, 0.0, period):
        part = _window(grid, y, x + turn, shape)
        if part is None or part[1].stop <= reached:
            continue
        # a cutout wider than a turn meets itself
        parts.append((part[0], slice(max(part[1].start, reached), part[1].stop)))
        reached = part[1].stop
    return parts


def _cutout_shape(frame: SkyFrame, width_deg: float | tuple[float, float]) -> tuple[int, int]:
    """Size of a cutout in pixels (ny, nx)."""
    width_x, width_y = width_deg if isinstance(width_deg, tuple) else (width_deg, width_deg)
    size_y, size_x = frame.binsize
    return max(1, round(width_y / size_y)), max(1, round(width_x / size_x))


def _window(grid: SkyGrid, y: float, x: float, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    if not (math.isfinite(y) and math.isfinite(x)):
        return None
    slices = []
    for position, number, pixels in ((y, shape[0], grid.y), (x, shape[1], grid.x)):
        start = max(math.ceil(position - number / 2) - pixels.start, 0)
        stop = min(math.ceil(position + number / 2) - pixels.start, len(pixels))
        if stop <= start:
            return None
        slices.append(slice(start, stop))
    return slices[0], slices[1]


def cutout(obj: XarrayT, position: SkyCoord, width: Any) -> XarrayT:
    """Cut out the part of a map or cube around a position, trimmed at its edges.

    Parameters
    ----------
    obj
        Map, cube or grid with dims y, x; lazy stays lazy.
    position
        Middle of the cutout.
    width
        Size on the sky, an angle or a pair (along x, along y), in units of the pixel size at the
        reference point of the projection.

    Returns
    -------
    Dataset or DataArray
        The same with fewer pixels. The coarse grid of the responses (``irf_y``, ``irf_x``) is kept
        whole: a pixel near the edge of the cutout interpolates between responses that may lie
        outside of it, so results inside are those of the whole map, and the grid is small.

    Raises
    ------
    TypeError
        If `position` is not one SkyCoord.
    ValueError
        If the cutout does not touch the map, or `width` is not a positive angle.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> center = SkyCoord(83.63, 22.01, unit="deg")
    >>> grid = xg.sky_grid(center, width="3 deg", binsize="0.02 deg")
    >>> dict(cutout(grid, center, ("1 deg", "0.5 deg")).sizes)
    {'y': 25, 'x': 50, 'irf_y': 15, 'irf_x': 15}
    """
    if not isinstance(position, SkyCoord) or not position.isscalar:
        msg = f"position={position!r} must be one astropy SkyCoord"
        raise TypeError(msg)
    grid = grid_of(obj)
    width_deg = angle_pair(width, "width")
    lon, lat = grid.frame.position(position)
    slices = cutout_slices(grid, lon, lat, width_deg)
    if slices is None:
        msg = (
            f"a cutout of {width_deg[0]:g} x {width_deg[1]:g} deg around {grid.frame.name} ({lon:.4f}, {lat:.4f}) deg "
            f"does not touch the map ({grid.shape[1]} x {grid.shape[0]} pixels, {grid.frame})"
        )
        raise ValueError(msg)
    return obj.isel(y=slices[0], x=slices[1])
