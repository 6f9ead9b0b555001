"""The on regions of a reduction, prepared once: their planes, the samples over their area, their solid angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.region_plane import DEGREES, TangentPlane
from xgamma.reduction.region_shape import PlaneShape, SkyShape, sky_shape, to_plane

if TYPE_CHECKING:
    from regions import SkyRegion

__all__ = ["OnRegion", "events_inside", "on_region", "sample_region", "shape_solid_angle"]

#: Pixels over which responses are averaged, and the steps along each side by which a pixel's weight is found.
PIXEL = 0.1
STEPS = 10
#: Nodes along radius and angle of the integral over an ellipse.
NODES = 24, 48
#: Points along each side of the square in which the area of a compound is sampled.
AREA_POINTS = 2000


@dataclass(frozen=True, eq=False)
class OnRegion:
    """A region from which a spectrum is taken.

    Parameters
    ----------
    text
        DS9 text, for messages.
    shape
        The region on the sky.
    plane, inside
        The plane that touches the sky in its centre, and the region there.
    reach
        Radius in degrees of a circle on the sky that holds it.
    solid_angle
        In sr.
    samples, weights
        ICRS unit vectors (n, 3) over which responses are averaged, and their weights (n,), which sum to 1: the
        centre, or the pixels of the region.
    """

    text: str
    shape: SkyShape
    plane: TangentPlane
    inside: PlaneShape
    reach: float
    solid_angle: float
    samples: np.ndarray
    weights: np.ndarray

    @property
    def center(self) -> np.ndarray:
        """ICRS unit vector of the centre."""
        return self.shape.center

    @property
    def is_point(self) -> bool:
        """True for a position whose size the responses define (RAD_MAX)."""
        return self.shape.kind == "point"

    def contains(self, vectors: np.ndarray) -> np.ndarray:
        """Return True for ICRS unit vectors (..., 3) inside."""
        return self.inside.contains(*self.plane.project(vectors))


def on_region(region: SkyRegion, text: str, *, use_region_center: bool = True) -> OnRegion:
    """Prepare a region of the `regions` package.

    Raises
    ------
    TypeError
        If the region has no area, or is of another kind.
    ValueError
        If the outside of a region is meant, or nothing lies in a compound.
    """
    shape = sky_shape(region)
    plane = shape.plane
    inside = to_plane(shape, plane)
    if not np.isfinite(inside.reach):
        msg = f"region {text!r} is the outside of a shape: a spectrum needs a region with an end"
        raise ValueError(msg)
    reach = float(np.arctan(inside.reach / DEGREES) * DEGREES)
    omega = shape_solid_angle(inside, plane)
    if not omega > 0 and shape.kind != "point":
        msg = f"region {text!r} holds nothing: its parts do not overlap, or it has no area"
        raise ValueError(msg)
    samples, weights = shape.center[np.newaxis], np.ones(1)
    if not use_region_center and shape.kind != "point":
        samples, weights = sample_region(inside, plane)
    return OnRegion(text, shape, plane, inside, reach, omega, samples, weights)


def sample_region(shape: PlaneShape, plane: TangentPlane) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel centres over a region and their weights: the part of each pixel that lies inside.

    Parameters
    ----------
    shape, plane
        The region in its own plane.

    Returns
    -------
    vectors : numpy.ndarray
        ICRS unit vectors, shape (n, 3).
    weights : numpy.ndarray
        Shape (n,), sum 1.

    Notes
    -----
    Pixels of 0.1 deg with the centre of the region in a corner, each divided into 10 x 10.
    """
    number = int(np.ceil(shape.reach / PIXEL)) + 1
    edge = np.arange(-number * STEPS, number * STEPS) + 0.5
    fine = edge * (PIXEL / STEPS)
    inside = shape.contains(shape.x + fine[np.newaxis, :], shape.y + fine[:, np.newaxis])
    part = inside.reshape(2 * number, STEPS, 2 * number, STEPS).mean(axis=(1, 3))
    row, column = np.nonzero(part)
    if not len(row):
        # smaller than a step
        return plane.unproject(np.array([shape.x]), np.array([shape.y])), np.ones(1)
    pixel = (np.arange(2 * number) - number + 0.5) * PIXEL
    weights = part[row, column]
    return plane.unproject(shape.x + pixel[column], shape.y + pixel[row]), weights / weights.sum()


def shape_solid_angle(shape: PlaneShape, plane: TangentPlane) -> float:
    """Return the solid angle in sr of a region in its plane.

    Notes
    -----
    Straight sides are great circles: polygons and rectangles are sums of spherical triangles. Circles and ellipses are
    integrated over the plane, an area of which is smaller on the sky by the cube of the cosine. Compounds are sampled.

    Examples
    --------
    >>> from xgamma.coords.regions import from_ds9
    >>> region = sky_shape(from_ds9("icrs;circle(0, 0, 1)"))
    >>> omega = shape_solid_angle(to_plane(region, region.plane), region.plane)
    >>> round(omega * 1e4, 5), round(float(np.pi * np.deg2rad(1) ** 2) * 1e4, 5)
    (9.56765, 9.56984)
    """
    kind, half = shape.kind, len(shape.sizes) // 2
    if kind == "point":
        return 0.0
    if kind == "compound":
        side = (np.arange(AREA_POINTS) + 0.5) / AREA_POINTS * 2 - 1
        x, y = shape.x + shape.reach * side[np.newaxis, :], shape.y + shape.reach * side[:, np.newaxis]
        inside = shape.contains(x, y)
        area = (2 * shape.reach / DEGREES / AREA_POINTS) ** 2
        return float((inside * (1 + (x**2 + y**2) / DEGREES**2) ** -1.5).sum() * area)
    if kind.endswith("_annulus"):
        inner, outer = shape.sizes[:half], shape.sizes[half:]
        whole = kind.removesuffix("_annulus")
        return _plain_solid_angle(shape, plane, whole, outer) - _plain_solid_angle(shape, plane, whole, inner)
    return _plain_solid_angle(shape, plane, kind, shape.sizes)


def _plain_solid_angle(shape: PlaneShape, plane: TangentPlane, kind: str, sizes: tuple[float, ...]) -> float:
    if kind == "polygon":
        return _polygon_solid_angle(plane.unproject(shape.corner_x, shape.corner_y))
    cos, sin = np.cos(np.deg2rad(shape.angle)), np.sin(np.deg2rad(shape.angle))
    if kind == "rectangle":
        a, b = (0.5 * s * np.array(signs) for s, signs in zip(sizes, ((-1, 1, 1, -1), (-1, -1, 1, 1)), strict=True))
        return _polygon_solid_angle(plane.unproject(shape.x + cos * a - sin * b, shape.y + sin * a + cos * b))
    half = np.array(sizes * 2 if kind == "circle" else sizes) * (1.0 if kind == "circle" else 0.5) / DEGREES
    nodes, weights = np.polynomial.legendre.leggauss(NODES[0])
    rho = 0.5 * (nodes + 1)[:, np.newaxis]
    phi = 2 * np.pi * np.arange(NODES[1]) / NODES[1]
    a, b = half[0] * rho * np.cos(phi), half[1] * rho * np.sin(phi)
    x, y = shape.x / DEGREES + cos * a - sin * b, shape.y / DEGREES + sin * a + cos * b
    density = (1 + x**2 + y**2) ** -1.5 * rho
    mean = (density.mean(axis=1) * 0.5 * weights).sum()
    return float(2 * np.pi * half[0] * half[1] * mean)


def _polygon_solid_angle(corners: np.ndarray) -> float:
    """Sum of the signed triangles between the first corner and each side (van Oosterom and Strackee 1983)."""
    a, b, c = corners[0], corners[1:-1], corners[2:]
    triple = np.einsum("i,ki->k", a, np.cross(b - a, c - a))
    dots = np.einsum("i,ki->k", a, b) + np.einsum("ki,ki->k", b, c) + np.einsum("ki,i->k", c, a)
    return float(abs((2.0 * np.arctan2(triple, 1.0 + dots)).sum()))


def events_inside(vectors: np.ndarray, regions: Sequence[OnRegion]) -> list[np.ndarray]:
    """Return the positions of the events inside each region, in one pass over events that are sorted by declination.

    Parameters
    ----------
    vectors
        ICRS unit vectors of the events, shape (n, 3).
    regions
        On regions; points hold no events.

    Returns
    -------
    list of numpy.ndarray
        Ascending numbers of events, one array a region.
    """
    if len(regions) == 1:
        near = np.flatnonzero(separation(vectors, regions[0].center) <= regions[0].reach * 1.001)
        return [near[regions[0].contains(vectors[near])]]
    order = np.argsort(vectors[:, 2], kind="stable")
    height = vectors[order, 2]
    result = []
    for region in regions:
        latitude = np.arcsin(np.clip(region.center[2], -1, 1))
        reach = np.deg2rad(region.reach * 1.001)
        low, high = np.sin(np.clip([latitude - reach, latitude + reach], -np.pi / 2, np.pi / 2))
        band = order[slice(*np.searchsorted(height, [low - 1e-12, high + 1e-12]))]
        result.append(np.sort(band[region.contains(vectors[band])]))
    return result


def event_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return ICRS unit vectors of events in degrees."""
    return to_vectors(np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))
