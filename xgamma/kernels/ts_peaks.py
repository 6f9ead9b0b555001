"""Maxima of planes: which pixels they are, and where between the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_maxima", "fit_maxima"]

FloatArray = NDArray[np.float64]


def find_maxima(plane: FloatArray, threshold: float, footprint: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pixels are higher than all others within a footprint around them.

    Parameters
    ----------
    plane
        Shape (ny, nx); NaN is lower than everything.
    threshold
        Least value of a maximum.
    footprint
        Odd rectangle, symmetric about its middle.

    Returns
    -------
    numpy.ndarray
        Bool, shape (ny, nx). Of equal pixels the first in order of rows is the maximum.

    Examples
    --------
    >>> find_maxima(np.array([[1.0, 3.0, 3.0, 2.0, 4.0]]), 2.0, np.ones((1, 3), bool))
    array([[False,  True, False, False,  True]])
    """
    values = np.where(np.isnan(plane), -np.inf, plane)
    result = np.zeros(values.shape, dtype=bool)
    half = footprint.shape[0] // 2, footprint.shape[1] // 2
    # few pixels are above the threshold and not below their neighbours; only these look around
    candidates = (values >= threshold) & (values > -np.inf) & _not_below_neighbours(values, footprint)
    for y, x in zip(*np.nonzero(candidates), strict=True):
        top, left = y - half[0], x - half[1]
        rows = slice(max(0, top), min(values.shape[0], y + half[0] + 1))
        columns = slice(max(0, left), min(values.shape[1], x + half[1] + 1))
        part = footprint[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        around = np.where(part, values[rows, columns], -np.inf)
        own = values[y, x]
        place = (y - rows.start) * around.shape[1] + x - columns.start
        flat = around.ravel()
        result[y, x] = not ((flat > own).any() or (flat[:place] == own).any())
    return result


def _not_below_neighbours(values: FloatArray, footprint: NDArray[np.bool_]) -> NDArray[np.bool_]:
    ny, nx = values.shape
    padded = np.pad(values, 1, constant_values=-np.inf)
    result = np.ones(values.shape, dtype=bool)
    middle = footprint.shape[0] // 2, footprint.shape[1] // 2
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if abs(dy) > middle[0] or abs(dx) > middle[1] or not footprint[middle[0] + dy, middle[1] + dx]:
                continue
            result &= values >= padded[1 + dy : 1 + dy + ny, 1 + dx : 1 + dx + nx]
    return result


def fit_maxima(planes: FloatArray) -> tuple[FloatArray, ...]:
    """Fit a paraboloid to the 3 x 3 pixels around each pixel.

    Parameters
    ----------
    planes
        Shape (..., ny, nx).

    Returns
    -------
    tuple of numpy.ndarray
        Offset of the maximum along y and x in pixels, and, for planes of TS, variance along y, covariance, variance
        along x of its position: twice the negative inverse of the second derivatives. Shape of `planes`; NaN where
        there is no maximum within a pixel, at the edge, and beside NaN.

    Notes
    -----
    Least squares of six coefficients to nine values, in closed form.

    Examples
    --------
    >>> y, x = np.mgrid[-2:3, -2:3]
    >>> [float(v[2, 2].round(6)) for v in fit_maxima(5.0 - (y - 0.25) ** 2 - (x + 0.125) ** 2)]
    [0.25, -0.125, 1.0, 0.0, 1.0]
    """
    values = np.asarray(planes, dtype=float)
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(1, 1), (1, 1)], constant_values=np.nan)
    ny, nx = values.shape[-2:]
    v = {(a, b): padded[..., 1 + a : 1 + a + ny, 1 + b : 1 + b + nx] for a in (-1, 0, 1) for b in (-1, 0, 1)}
    with np.errstate(all="ignore"):
        gy = sum(a * v[a, b] for a, b in v) / 6.0
        gx = sum(b * v[a, b] for a, b in v) / 6.0
        hyx = sum(a * b * v[a, b] for a, b in v) / 4.0
        hyy = sum((3 * a * a - 2) * v[a, b] for a, b in v) / 3.0
        hxx = sum((3 * b * b - 2) * v[a, b] for a, b in v) / 3.0
        determinant = hyy * hxx - hyx**2
        dy, dx = (hyx * gx - hxx * gy) / determinant, (hyx * gy - hyy * gx) / determinant
        found = (hyy < 0) & (determinant > 0) & (np.abs(dy) <= 1) & (np.abs(dx) <= 1)
        parts = (dy, dx, -2.0 * hxx / determinant, 2.0 * hyx / determinant, -2.0 * hyy / determinant)
        return tuple(np.where(found, p, np.nan) for p in parts)
