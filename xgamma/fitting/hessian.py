"""Covariance from the second derivatives of a function."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["covariance_of_hessian", "degenerate", "hessian"]

FloatArray = NDArray[np.float64]

#: Smallest eigenvalue, for a diagonal of ones, that counts as positive.
SMALLEST = 1e-9


def hessian(
    function: Callable[[FloatArray], float],
    x: FloatArray,
    steps: FloatArray,
    many: Callable[[FloatArray], FloatArray] | None = None,
) -> FloatArray:
    """Return the matrix of second derivatives.

    Parameters
    ----------
    function
        Function of an array of shape (m,).
    x
        Where, shape (m,).
    steps
        Steps along each axis, small against the scale on which the second derivative changes, large against rounding:
        those that change the function by about a hundredth near its minimum.
    many
        The function of several points at once, shape (points, m), where that is faster.

    Returns
    -------
    numpy.ndarray
        Shape (m, m), symmetric.

    Notes
    -----
    Central differences of fourth order: the error goes with the fourth power of the steps.

    Examples
    --------
    >>> hessian(lambda p: p[0] ** 2 + p[0] * p[1] ** 3, np.array([1.0, 1.0]), np.array([1e-2, 1e-2])).round(6)
    array([[2., 3.],
           [3., 6.]])
    """
    pairs = list(combinations(range(x.size), 2))
    moves = [np.zeros(x.size, int)]
    moves += [k * _axis(x.size, i) for i in range(x.size) for k in (1, -1, 2, -2)]
    signs = ((1, 1), (-1, -1), (1, -1), (-1, 1))
    moves += [k * (a * _axis(x.size, i) + b * _axis(x.size, j)) for i, j in pairs for k in (1, 2) for a, b in signs]
    points = x + np.array(moves) * steps
    values = many(points) if many is not None else np.array([function(point) for point in points])
    center, rest = values[0], values[1:]
    matrix = np.zeros((x.size, x.size))
    # along a parameter that changes nothing steps grow without end; `degenerate` names what is not a number
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return _differences(matrix, rest, pairs, steps, center)


def _differences(
    matrix: FloatArray, rest: FloatArray, pairs: list[tuple[int, int]], steps: FloatArray, center: float
) -> FloatArray:
    """Fill a Hessian with differences of the values around a point."""
    size = len(matrix)
    for i, (p1, m1, p2, m2) in enumerate(rest[: 4 * size].reshape(-1, 4)):
        matrix[i, i] = (16.0 * (p1 + m1) - (p2 + m2) - 30.0 * center) / (12.0 * steps[i] ** 2)
    for (i, j), corners in zip(pairs, rest[4 * size :].reshape(-1, 2, 4), strict=True):
        near, far = (
            (c[0] + c[1] - c[2] - c[3]) / (4.0 * k**2 * steps[i] * steps[j])
            for k, c in zip((1.0, 2.0), corners, strict=True)
        )
        matrix[i, j] = matrix[j, i] = (4.0 * near - far) / 3.0
    return matrix


def _axis(number: int, i: int) -> NDArray[np.int_]:
    return np.eye(number, dtype=int)[i]


def degenerate(matrix: FloatArray, names: tuple[str, ...]) -> list[str]:
    """Return the names of the parameters along which a Hessian does not curve upwards.

    Parameters
    ----------
    matrix
        Hessian, shape (m, m).
    names
        Names of its rows.

    Examples
    --------
    >>> degenerate(np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), ("a", "b", "c"))
    ['a', 'b']
    """
    if not np.all(np.isfinite(matrix)):
        return [names[i] for i in np.flatnonzero(~np.isfinite(matrix).all(axis=1))]
    flat = np.diag(matrix) <= 0
    if flat.any():
        return [names[i] for i in np.flatnonzero(flat)]
    size = np.sqrt(np.diag(matrix))
    values, vectors = np.linalg.eigh(matrix / np.outer(size, size))
    weak = np.abs(vectors[:, values < SMALLEST])
    return [names[i] for i in np.flatnonzero((weak > 0.1).any(axis=1))] if weak.size else []


def covariance_of_hessian(matrix: FloatArray) -> FloatArray:
    """Return the covariance that belongs to the Hessian of a statistic ``-2 log L``: twice its inverse.

    Parameters
    ----------
    matrix
        Hessian, shape (m, m), positive definite.

    Returns
    -------
    numpy.ndarray
        Shape (m, m).

    Examples
    --------
    >>> covariance_of_hessian(np.array([[2.0, 0.0], [0.0, 8.0]]))
    array([[1.  , 0.  ],
           [0.  , 0.25]])
    """
    size = np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix / np.outer(size, size))
    return 2.0 * 0.5 * (inverse + inverse.T) / np.outer(size, size)
