"""Where the runs of a survey point."""

from __future__ import annotations

from typing import Any

import numpy as np

from xgamma.coords.units import to_value
from xgamma.kernels.sphere import from_vectors, to_vectors
from xgamma.simulate.sampling import vectors_from_fov
from xgamma.simulate.sources import sky_position

__all__ = ["grid_pointings", "wobble_pointings"]


def _axes(ra: float, dec: float) -> np.ndarray:
    """Directions of a position, of growing right ascension and of growing declination there."""
    a, b = np.deg2rad(ra), np.deg2rad(dec)
    east = [-np.sin(a), np.cos(a), 0.0]
    north = [-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)]
    return np.stack([to_vectors(np.asarray(ra), np.asarray(dec)), east, north])


def _positions(center: Any, lon: np.ndarray, lat: np.ndarray) -> list[tuple[float, float]]:
    ra, dec = from_vectors(vectors_from_fov(lon, lat, _axes(*sky_position(center, "center"))))
    return list(zip(ra.tolist(), dec.tolist(), strict=True))


def wobble_pointings(target: Any, offset: Any = "0.5 deg", number: int = 4) -> list[tuple[float, float]]:
    """Point around a target in turn: north, south, east, west of it.

    Parameters
    ----------
    target
        Position, see `xgamma.simulate.sources.sky_position`.
    offset
        Distance from the target.
    number
        Number of runs.

    Returns
    -------
    list of tuple
        (ra, dec) in degrees.

    Examples
    --------
    >>> wobble_pointings((10.0, 0.0), "0.5 deg", 2)
    [(10.0, 0.5), (10.0, -0.5)]
    """
    size = to_value(offset, "deg", "offset")
    count = _count(number, "number")
    if not 0 <= size < 90:
        msg = f"offset={offset!r} must lie between 0 and 90 deg"
        raise ValueError(msg)
    turn = np.arange(count) % 4
    lon = np.choose(turn, [0.0, 0.0, size, -size])
    lat = np.choose(turn, [size, -size, 0.0, 0.0])
    return _positions(target, lon, lat)


def grid_pointings(center: Any, width: Any, number: int, seed: int | None = None) -> list[tuple[float, float]]:
    """Cover a region with pointings, row by row, or at random.

    Parameters
    ----------
    center
        Middle of the region, see `xgamma.simulate.sources.sky_position`.
    width
        Width and height of the region.
    number
        Number of runs.
    seed
        Draw positions at random instead, uniform over the region.

    Returns
    -------
    list of tuple
        (ra, dec) in degrees; the steps of the grid are about equal in both directions.

    Examples
    --------
    >>> len(grid_pointings((10.0, 0.0), ["4 deg", "2 deg"], 8))
    8
    """
    size = np.broadcast_to(to_value(width, "deg", "width"), (2,)).astype(float)
    count = _count(number, "number")
    if not ((size >= 0) & (size <= 180)).all():
        msg = f"width={width!r} must lie between 0 and 180 deg"
        raise ValueError(msg)
    if seed is not None:
        uniform = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(0,)))).random((2, count))
        top = np.sin(0.5 * np.deg2rad(size[1]))
        lat = np.rad2deg(np.arcsin((2.0 * uniform[1] - 1.0) * top))
        return _positions(center, (uniform[0] - 0.5) * size[0], lat)
    wide, high = np.maximum(size, 1e-9)
    columns = int(np.clip(round(np.sqrt(count * wide / high)), 1, count))
    rows = int(np.ceil(count / columns))
    row, column = np.divmod(np.arange(count), columns)
    # the last row may be shorter: its runs are spread over the whole width
    in_row = np.where(row == rows - 1, count - columns * (rows - 1), columns)
    lon = ((column + 0.5) / in_row - 0.5) * size[0]
    lat = ((row + 0.5) / rows - 0.5) * size[1]
    return _positions(center, lon, lat)


def _count(number: Any, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        msg = f"{name}={number!r} must be a whole number of at least 1"
        raise ValueError(msg)
    return int(number)
