"""Geometry on the unit sphere; angles in degrees at the surface, unit vectors inside."""

from __future__ import annotations

import numpy as np

__all__ = ["field_of_view", "from_vectors", "rotate", "separation", "solid_angles", "to_vectors"]


def to_vectors(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return unit vectors of positions in degrees, shape (..., 3).

    In memory all x come first, then all y, all z: every operation runs over neighbours.
    """
    lon, lat = np.deg2rad(lon), np.deg2rad(lat)
    cos_lat = np.cos(lat)
    return np.moveaxis(np.stack([cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)]), 0, -1)


def from_vectors(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude in [0, 360) and latitude in degrees of vectors of shape (..., 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    lon = np.rad2deg(np.arctan2(y, x)) % 360.0
    return lon, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def separation(vectors: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the angle in degrees between unit vectors (..., 3) and a unit vector (3,) or (..., 3).

    Half the chord is the sine of half the angle: exact for small angles, where the scalar product
    loses half of the digits.
    """
    difference = vectors - center
    half_chord = 0.5 * np.sqrt(_dot(difference, difference))
    return np.rad2deg(2.0 * np.arcsin(np.minimum(half_chord, 1.0)))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products of vectors (..., 3), written out: einsum takes them three numbers at a time."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def field_of_view(vectors: np.ndarray, lon: float, lat: float) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude in degrees in the frame whose origin is the pointing (`lon`, `lat`).

    Parameters
    ----------
    vectors
        Unit vectors, shape (..., 3), in the frame of `lon` and `lat`.
    lon, lat
        Pointing in degrees.
    """
    a, b = np.deg2rad(lon), np.deg2rad(lat)
    axes = np.array(
        [
            [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)],
            [-np.sin(a), np.cos(a), 0.0],
            [-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)],
        ]
    )
    x, y, z = np.moveaxis(rotate(vectors, axes.T), -1, 0)
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def rotate(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``vectors @ matrix`` for row vectors of shape (..., 3).

    Written out: a matrix product would wake a pool of BLAS threads for three multiplications, and its last
    bits would depend on their number.
    """
    x, y, z = np.moveaxis(vectors, -1, 0)
    result = np.empty((3, *vectors.shape[:-1]))
    for j in range(3):
        result[j] = x * matrix[0, j] + y * matrix[1, j] + z * matrix[2, j]
    return np.moveaxis(result, 0, -1)


def solid_angles(corners: np.ndarray) -> np.ndarray:
    """Return the solid angle in sr of the spherical quadrangles between the corners of a pixel grid.

    Parameters
    ----------
    corners
        Unit vectors of the pixel corners, shape (ny + 1, nx + 1, 3).

    Returns
    -------
    numpy.ndarray
        Shape (ny, nx), NaN where a corner is NaN.

    Notes
    -----
    Each pixel is two spherical triangles, the excess of which follows from the triple product [1]_.
    The product is taken of differences of corners, so that small pixels keep all digits.

    References
    ----------
    .. [1] A. van Oosterom, J. Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125.
    """
    a, b = corners[:-1, :-1], corners[:-1, 1:]
    c, d = corners[1:, 1:], corners[1:, :-1]
    return np.abs(_triangle(a, b, c) + _triangle(a, c, d))


def _triangle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    u, v = b - a, c - a
    cross = (
        u[..., 1] * v[..., 2] - u[..., 2] * v[..., 1],
        u[..., 2] * v[..., 0] - u[..., 0] * v[..., 2],
        u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0],
    )
    triple = a[..., 0] * cross[0] + a[..., 1] * cross[1] + a[..., 2] * cross[2]
    return 2.0 * np.arctan2(triple, 1.0 + _dot(a, b) + _dot(b, c) + _dot(c, a))
