"""Tangent planes of the sky: gnomonic projection in closed form, without a WCS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["TangentPlane", "tangent_north"]

#: Degrees in a radian: positions in a plane are in degrees, as in a WCS.
DEGREES = 180.0 / np.pi
#: The north pole of ICRS.
NORTH_POLE = np.array([0.0, 0.0, 1.0])


def tangent_north(vectors: np.ndarray, pole: np.ndarray = NORTH_POLE) -> np.ndarray:
    """Return the unit vectors that point north at positions.

    Parameters
    ----------
    vectors
        ICRS unit vectors, shape (..., 3).
    pole
        North pole of the frame that north is meant in, shape (3,).

    Returns
    -------
    numpy.ndarray
        Shape (..., 3); at the poles themselves, where there is no north, some direction.

    Examples
    --------
    >>> tangent_north(np.array([1.0, 0.0, 0.0]))
    array([0., 0., 1.])
    """
    north = pole - (vectors * pole).sum(axis=-1, keepdims=True) * vectors
    length = np.sqrt((north * north).sum(axis=-1, keepdims=True))
    at_pole = length < 1e-12
    if not at_pole.any():
        return np.asarray(north / length)
    other = np.cross(pole, np.eye(3)[np.argmin(np.abs(pole))])
    return np.asarray(np.where(at_pole, other / np.linalg.norm(other), north / np.where(at_pole, 1.0, length)))


@dataclass(frozen=True, eq=False)
class TangentPlane:
    """Plane that touches the sky in `origin`: x grows towards the west, y towards the north, in degrees.

    Parameters
    ----------
    origin, west, north
        Orthogonal ICRS unit vectors, shape (3,).
    pole
        North pole of the frame whose north is up.
    """

    origin: np.ndarray
    west: np.ndarray
    north: np.ndarray
    pole: np.ndarray

    @classmethod
    def at(cls, origin: np.ndarray, pole: np.ndarray = NORTH_POLE) -> TangentPlane:
        """Return the plane at an ICRS unit vector, with the north of the frame that has this pole."""
        north = tangent_north(origin, pole)
        return cls(origin, np.cross(origin, north), north, pole)

    def project(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (x, y) of ICRS unit vectors of shape (..., 3); NaN for the half of the sky behind the plane.

        Examples
        --------
        >>> plane = TangentPlane.at(np.array([1.0, 0.0, 0.0]))
        >>> [float(v) for v in plane.project(np.array([1.0, 0.0, 1.0]) / np.sqrt(2))]
        [0.0, 57.29577951308232]
        """
        depth, x, y = (dot(vectors, axis) for axis in (self.origin, self.west, self.north))
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(depth > 0, DEGREES / depth, np.nan)
            return x * scale, y * scale

    def unproject(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the ICRS unit vectors of positions (...), shape (..., 3)."""
        a, b = (np.asarray(v, dtype=float)[..., np.newaxis] / DEGREES for v in (x, y))
        vectors = self.origin + a * self.west + b * self.north
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))

    def direction(self, at: np.ndarray, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (x, y) of a small step from unit vectors `at` along tangent vectors `towards`, per unit of length.

        The length of the result is the scale of the plane there, in that direction.
        """
        depth = dot(at, self.origin)
        slope = dot(towards, self.origin) / depth**2
        x, y = (dot(towards, axis) / depth - dot(at, axis) * slope for axis in (self.west, self.north))
        return x, y


def dot(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return scalar products of vectors (..., 3) with (3,) or (..., 3); written out, no BLAS (see `sphere.rotate`)."""
    result: np.ndarray = (
        vectors[..., 0] * axis[..., 0] + vectors[..., 1] * axis[..., 1] + vectors[..., 2] * axis[..., 2]
    )
    return result
