"""Functions of the separation as kernels of pixels: exact areas of thin rings inside each pixel, on a flat sky.

The function is constant within a ring, and rings are thin against pixels and against the steps of the table. Sums over
all pixels are those over all rings to the last digits, whatever the size of the pixels.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

__all__ = ["disc_areas", "fine_rings", "radial_kernel"]

FloatArray = NDArray[np.float64]

SQUARE_DEG = np.deg2rad(1.0) ** 2
#: Rings to a pixel, and at least to a step of a table.
RINGS = 6
PARTS = 4


def disc_areas(radius: FloatArray, half: tuple[int, int], pixel: tuple[float, float]) -> FloatArray:
    """Return the area of discs around the middle of the central pixel in each pixel of one quadrant.

    Parameters
    ----------
    radius
        Shape (r,).
    half
        Pixels beyond the central one along (y, x).
    pixel
        Size of a pixel along (y, x) in the unit of the radii.

    Returns
    -------
    numpy.ndarray
        Shape (r, half_y + 1, half_x + 1); the central pixel comes first along both axes.

    Examples
    --------
    >>> disc_areas(np.array([0.5, 10.0]), (1, 1), (1.0, 1.0)).round(6)
    array([[[0.785398, 0.      ],
            [0.      , 0.      ]],
           [[1.      , 1.      ],
            [1.      , 1.      ]]])
    """
    y, x = (np.asarray((np.arange(h + 1) + 0.5) * size) for h, size in zip(half, pixel, strict=True))
    corner = _corner_areas(np.asarray(radius, dtype=float)[:, None, None], y[:, None], x)
    rows = np.concatenate([2.0 * corner[:, :1], np.diff(corner, axis=1)], axis=1)
    result: FloatArray = np.concatenate([2.0 * rows[..., :1], np.diff(rows, axis=2)], axis=2)
    return result


def _corner_areas(r: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """Area of a disc in the rectangle from its centre to (x, y)."""
    x, y = np.minimum(x, r), np.minimum(y, r)
    inside = x**2 + y**2 <= r**2
    # where the circle leaves the upper side
    start = np.minimum(np.sqrt(np.maximum(r**2 - y**2, 0.0)), x)
    return np.where(inside, x * y, start * y + _segment(x, r) - _segment(start, r))


def _segment(t: FloatArray, r: FloatArray) -> FloatArray:
    """Area under a circle from 0 to t."""
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(r > 0, np.arcsin(np.clip(t / r, 0.0, 1.0)), 0.0)
    return np.asarray(0.5 * (t * np.sqrt(np.maximum(r**2 - t**2, 0.0)) + r**2 * angle))


def fine_rings(edges: FloatArray, pixel: tuple[float, float]) -> FloatArray:
    """Return the edges of rings that are thin against pixels and against the steps of a table.

    Examples
    --------
    >>> fine_rings(np.array([0.0, 2.0, 3.0]), (2.4, 2.4))
    array([0.  , 0.4 , 0.8 , 1.2 , 1.6 , 2.  , 2.25, 2.5 , 2.75, 3.  ])
    """
    step = min(pixel) / RINGS
    parts = np.maximum(np.ceil(np.diff(edges) / step - 1e-9).astype(int), PARTS)
    pieces = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(edges[:-1], edges[1:], parts, strict=True)]
    return np.append(np.concatenate(pieces), edges[-1])


def radial_kernel(
    values: FloatArray,
    centers: FloatArray,
    edges: FloatArray,
    half: tuple[int, int],
    pixel: tuple[float, float],
    *,
    normalise: bool = True,
) -> FloatArray:
    """Integrate functions of the separation from the middle of a pixel over pixels.

    Parameters
    ----------
    values
        Per sr at the separations `centers`, monotone between them, shape (k, n).
    centers
        Separations in deg, ascending, shape (n,).
    edges
        Ends of the table's steps in deg, ascending, shape (m,); functions are 0 beyond the last.
    half
        Pixels of the kernel beyond its middle along (y, x).
    pixel
        Size of a pixel along (y, x) in deg.
    normalise
        Scale each function such that it integrates to 1 over the plane.

    Returns
    -------
    numpy.ndarray
        Shape (k, 2 half_y + 1, 2 half_x + 1). A kernel that is smaller than the function holds less than all of it.

    Examples
    --------
    >>> flat = np.ones((1, 2))
    >>> radial_kernel(flat, np.array([0.25, 0.75]), np.array([0.0, 0.5, 1.0]), (1, 1), (1.0, 1.0)).round(4)
    array([[[0.0251, 0.1453, 0.0251],
            [0.1453, 0.3183, 0.1453],
            [0.0251, 0.1453, 0.0251]]])
    """
    rings = fine_rings(edges, pixel)
    middle = np.sqrt(0.5 * (rings[1:] ** 2 + rings[:-1] ** 2))
    density = _interpolate(np.asarray(values, dtype=float), np.asarray(centers, dtype=float), middle)
    areas = _ring_areas(rings.tobytes(), half, pixel)
    if normalise:
        total = np.einsum("kr,r->k", density, np.pi * np.diff(rings**2))
        density = density * np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)[:, None]
    else:
        density = density * SQUARE_DEG
    quadrant = np.einsum("kr,ryx->kyx", density[:, : len(areas)], areas)
    rows = np.concatenate([quadrant[:, :0:-1], quadrant], axis=1)
    return np.concatenate([rows[..., :0:-1], rows], axis=2)


def _interpolate(values: FloatArray, centers: FloatArray, middle: FloatArray) -> FloatArray:
    """Values between the steps of a table, smooth and never above or below its neighbours; even functions."""
    if len(centers) == 1:
        return np.repeat(values, len(middle), axis=1)
    mirrored = slice(None, 0 if centers[0] == 0 else None, -1)
    nodes = np.concatenate([-centers[mirrored], centers])
    both = np.concatenate([values[:, mirrored], values], axis=1)
    return np.asarray(PchipInterpolator(nodes, both, axis=1)(np.minimum(middle, centers[-1])))


@functools.lru_cache(maxsize=8)
def _ring_areas(rings: bytes, half: tuple[int, int], pixel: tuple[float, float]) -> FloatArray:
    """Area of each ring in each pixel, in square degrees, for the rings that reach into the kernel."""
    radius = np.frombuffer(rings)
    farthest = np.hypot((half[0] + 0.5) * pixel[0], (half[1] + 0.5) * pixel[1])
    radius = radius[: int(np.searchsorted(radius, farthest)) + 1]
    areas: FloatArray = np.diff(disc_areas(radius, half, pixel), axis=0)
    areas.flags.writeable = False
    return areas
