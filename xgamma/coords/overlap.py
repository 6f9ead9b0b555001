"""Areas that quadrangles share with the cells of a grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["cell_areas", "iter_overlaps"]

#: Below this height an edge counts as level; its area is then right to the square of it.
LEVEL = 1e-7


def cell_areas(corners: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the area that each quadrangle shares with one unit cell.

    Parameters
    ----------
    corners
        Corners in order, shape (n, 4, 2), as (y, x).
    y, x
        Centres of the cells, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,), at most 1.

    Notes
    -----
    At each x the part of a polygon between the heights 0 and 1 is the sum over its edges of their
    heights, cut to that range and signed by their direction; an edge is a straight line, so the integral
    over x is closed. The areas in neighbouring cells add up to the area of the quadrangle.

    Examples
    --------
    >>> square = np.array([[[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]])
    >>> cell_areas(square, np.array([0.0]), np.array([0.0]))
    array([0.25])
    """
    height = corners[..., 0] - (y - 0.5)[:, None]
    side = corners[..., 1] - (x - 0.5)[:, None]
    next_height, next_side = np.roll(height, -1, axis=1), np.roll(side, -1, axis=1)
    # cut each edge to the width of the cell
    run = next_side - side
    start, stop = np.clip(side, 0.0, 1.0), np.clip(next_side, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(run != 0, (next_height - height) / run, 0.0)
    first, last = height + slope * (start - side), height + slope * (stop - side)
    rise = last - first
    level = np.abs(rise) < LEVEL
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (_primitive(last) - _primitive(first)) / rise
    mean = np.where(level, np.clip(0.5 * (first + last), 0.0, 1.0), mean)
    return np.abs((mean * (stop - start)).sum(axis=1))


def _primitive(height: np.ndarray) -> np.ndarray:
    """Integral of the height cut to [0, 1]."""
    inside = np.clip(height, 0.0, 1.0)
    return 0.5 * inside**2 + np.maximum(height - 1.0, 0.0)


def iter_overlaps(
    corners: np.ndarray, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Iterate over the cells of a grid that quadrangles share area with.

    Parameters
    ----------
    corners
        Shape (n, 4, 2), as (y, x) in cells whose centres are whole numbers; NaN shares nothing.
    shape
        Number of cells (ny, nx).

    Yields
    ------
    number, y, x, area : numpy.ndarray
        Equal shapes: quadrangles, cells and areas. Each quadrangle comes once per step.

    Examples
    --------
    >>> strip = np.array([[[-0.25, -0.5], [-0.25, 1.5], [0.25, 1.5], [0.25, -0.5]]])
    >>> [(int(x[0]), float(area[0])) for _, y, x, area in iter_overlaps(strip, (3, 3))]
    [(0, 0.5), (1, 0.5)]
    """
    finite = np.flatnonzero(np.isfinite(corners).all(axis=(1, 2)))
    limits = np.array(shape) - 1
    low = np.maximum(np.floor(corners[finite].min(axis=1) + 0.5), 0).astype(int)
    high = np.minimum(np.ceil(corners[finite].max(axis=1) - 0.5), limits).astype(int)
    inside = (high >= low).all(axis=1)
    number, low, high = finite[inside], low[inside], high[inside]
    for dy in range(int((high - low)[:, 0].max(initial=-1)) + 1):
        rows = np.flatnonzero(low[:, 0] + dy <= high[:, 0])
        for dx in range(int((high - low)[rows, 1].max(initial=-1)) + 1):
            chosen = rows[low[rows, 1] + dx <= high[rows, 1]]
            y, x = low[chosen, 0] + dy, low[chosen, 1] + dx
            area = cell_areas(corners[number[chosen]], y, x)
            yield number[chosen], y, x, area
