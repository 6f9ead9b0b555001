"""Where points of the sky lie as seen from the centre of a model: separations and directions, from unit vectors."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.frame import SkyFrame
from xgamma.kernels.sphere import rotate, to_vectors

__all__ = ["Axes", "Offsets", "axes_at", "circle", "frame_rotation", "planes_of", "semi_axis"]

FloatArray = NDArray[np.float64]
#: Components x, y, z of unit vectors as arrays of their own: three contiguous planes are faster than one of triples.
Planes = tuple[FloatArray, FloatArray, FloatArray]

#: Smallest ratio of the axes of an ellipse: at an eccentricity of 1 it would be a line without area.
THINNEST = 1e-4


class Axes(NamedTuple):
    """Orthogonal unit vectors at a position: towards it, east and north there, shape (3,) each."""

    center: FloatArray
    east: FloatArray
    north: FloatArray


@lru_cache(maxsize=16)
def frame_rotation(frame: str) -> FloatArray:
    """Return the matrix that turns an ICRS row vector into a frame's: ``v_frame = v_icrs @ matrix``."""
    return SkyFrame.create(0.0, 0.0, 1.0, "CAR", frame).rotation


def axes_at(lon: float, lat: float, frame: str | None = None) -> Axes:
    """Return the axes at a position in degrees; in ICRS if the position's frame is told, else as they are.

    Examples
    --------
    >>> axes_at(0.0, 0.0).north
    array([0., 0., 1.])
    """
    a, b = np.deg2rad(lon), np.deg2rad(lat)
    rows = np.array(
        [
            [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)],
            [-np.sin(a), np.cos(a), 0.0],
            [-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)],
        ]
    )
    if frame not in (None, "icrs"):
        rows = rotate(rows, frame_rotation(frame).T)
    return Axes(*(rows + 0.0))


def planes_of(lon: FloatArray, lat: FloatArray) -> Planes:
    """Return the components of the unit vectors of positions in degrees."""
    x, y, z = np.moveaxis(to_vectors(np.asarray(lon, float), np.asarray(lat, float)), -1, 0)
    return x, y, z


def circle(axes: Axes, radius: float, number: int) -> FloatArray:
    """Return unit vectors on a circle around a position, shape (number, 3); `radius` in degrees."""
    angle = np.linspace(0.0, 2.0 * np.pi, number, endpoint=False)[:, None]
    r = np.deg2rad(radius)
    return np.cos(r) * axes.center + np.sin(r) * (np.cos(angle) * axes.north + np.sin(angle) * axes.east)


def semi_axis(minor: float, major: float, cos2: FloatArray) -> FloatArray:
    """Return the distance of an ellipse from its centre where the squared cosine to its major axis is `cos2`."""
    return np.asarray(major * minor / np.sqrt(major**2 * (1.0 - cos2) + minor**2 * cos2))


class Offsets:
    """Points as seen from a centre.

    Parameters
    ----------
    planes
        Components of the unit vectors of the points.
    axes
        Axes at the centre, in the frame of the points.
    """

    def __init__(self, planes: Planes, axes: Axes) -> None:
        self._planes, self._axes = planes, axes
        # half of the squared chord is 1 - cos: exact for small angles, where scalar products lose half of the digits
        total = np.zeros(np.broadcast_shapes(*(p.shape for p in planes)))
        for plane, c in zip(planes, axes.center, strict=True):
            difference = plane - c
            difference *= difference
            total += difference
        total *= 0.5
        #: 1 - cos(separation).
        self.versine: FloatArray = total

    @property
    def separation(self) -> FloatArray:
        """Great-circle separation in radians."""
        return np.asarray(2.0 * np.arcsin(np.sqrt(np.minimum(0.5 * self.versine, 1.0))))

    def cos2(self, angle: float) -> FloatArray:
        """Return the squared cosine between the direction of each point and a position angle in degrees; 1 at 0."""
        a = np.deg2rad(angle)
        axis = np.cos(a) * self._axes.north + np.sin(a) * self._axes.east
        along = sum((p * c for p, c in zip(self._planes, axis, strict=True)), start=np.zeros(()))
        squared = self.versine * (2.0 - self.versine)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(squared > 0, np.minimum(along**2 / squared, 1.0), 1.0)


def axis_ratio(e: float) -> float:
    """Return the ratio of minor to major axis of an ellipse of an eccentricity."""
    return float(np.sqrt(max((1.0 - e) * (1.0 + e), THINNEST**2)))


@lru_cache(maxsize=1)
def _directions() -> FloatArray:
    """Squared cosines of directions in equal steps of half a turn, the periodic rule for means over an ellipse."""
    return np.asarray(np.cos((np.arange(512) + 0.5) * np.pi / 512) ** 2)


def ellipse_directions(minor: float, major: float) -> FloatArray:
    """Return the distances of an ellipse from its centre in equal steps of angle, shape (n,)."""
    if minor == major:
        return np.array([major])
    return semi_axis(minor, major, _directions())
