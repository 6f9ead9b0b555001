"""Sky regions as plain numbers: what a task needs to say which positions lie in a region, without any WCS."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.coordinates import SkyCoord

from xgamma.coords.regions import OPERATORS, region_center
from xgamma.kernels.sphere import from_vectors, to_vectors
from xgamma.reduction.region_plane import TangentPlane, tangent_north

if TYPE_CHECKING:
    from regions import SkyRegion

__all__ = ["PlaneShape", "SkyShape", "ds9_texts", "sky_shape", "to_plane"]

#: Sizes of each shape, by the names that the regions package gives them.
SIZES = {
    "CircleSkyRegion": ("circle", ("radius",)),
    "EllipseSkyRegion": ("ellipse", ("width", "height")),
    "RectangleSkyRegion": ("rectangle", ("width", "height")),
    "CircleAnnulusSkyRegion": ("circle_annulus", ("inner_radius", "outer_radius")),
    "EllipseAnnulusSkyRegion": ("ellipse_annulus", ("inner_width", "inner_height", "outer_width", "outer_height")),
    "RectangleAnnulusSkyRegion": ("rectangle_annulus", ("inner_width", "inner_height", "outer_width", "outer_height")),
    "PointSkyRegion": ("point", ()),
    "PolygonSkyRegion": ("polygon", ()),
}


@dataclass(frozen=True, eq=False)
class SkyShape:
    """A sky region as numbers.

    Parameters
    ----------
    kind
        ``circle``, ``ellipse``, ``rectangle``, the same with ``_annulus``, ``polygon``, ``point`` or ``compound``.
    center
        ICRS unit vector, shape (3,).
    pole
        North pole of the region's own frame as an ICRS unit vector: angles are counted from there.
    vertices
        ICRS unit vectors of the corners of a polygon, shape (n, 3); the centre alone for other shapes.
    sizes
        Degrees, in the order of `SIZES`.
    angle
        Degrees, from the axis of longitude.
    parts, operator
        Two shapes and how a compound joins them: ``&``, ``|`` or ``^``.
    included
        False for a region whose outside is meant.
    """

    kind: str
    center: np.ndarray
    pole: np.ndarray
    vertices: np.ndarray
    sizes: tuple[float, ...] = ()
    angle: float = 0.0
    parts: tuple[SkyShape, ...] = ()
    operator: str = ""
    included: bool = True

    @property
    def plane(self) -> TangentPlane:
        """The plane that touches the sky in the centre, north up in the region's own frame."""
        return TangentPlane.at(self.center, self.pole)


def sky_shape(region: SkyRegion) -> SkyShape:
    """Return a region of the `regions` package as numbers.

    Parameters
    ----------
    region
        Circle, ellipse, rectangle, annulus, polygon, point, or two of them joined.

    Returns
    -------
    SkyShape

    Raises
    ------
    TypeError
        If the region has no area, or is of another kind.
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> from xgamma.coords.regions import from_ds9
    >>> sky_shape(from_ds9("icrs;circle(83.63, 22.01, 0.1)")).kind
    'circle'
    """
    from regions import CompoundSkyRegion

    included = bool(region.meta.get("include", True))
    center = region_center(region)
    vector, pole = (
        _vectors(center),
        _vectors(SkyCoord(0.0, 90.0, unit="deg", frame=center.frame.replicate_without_data())),
    )
    if isinstance(region, CompoundSkyRegion):
        symbol = next((s for s, function in OPERATORS.items() if function is region.operator), None)
        if symbol is None:
            msg = f"a compound region must join its parts by one of {list(OPERATORS)}"
            raise ValueError(msg)
        parts = sky_shape(region.region1), sky_shape(region.region2)
        return SkyShape("compound", vector, pole, vector[np.newaxis], (), 0.0, parts, symbol, included)
    name = type(region).__name__
    if name not in SIZES:
        msg = f"a spectrum cannot be taken from a {name}; give a circle, ellipse, rectangle, annulus, polygon or point"
        raise TypeError(msg)
    kind, names = SIZES[name]
    sizes = tuple(float(getattr(region, n).to_value("deg")) for n in names)
    if not all(np.isfinite(s) and s > 0 for s in sizes):
        msg = f"{region!r}: sizes must be positive angles"
        raise ValueError(msg)
    angle = float(region.angle.to_value("deg")) if hasattr(region, "angle") else 0.0
    vertices = _vectors(region.vertices) if kind == "polygon" else vector[np.newaxis]
    return SkyShape(kind, vector, pole, vertices, sizes, angle, (), "", included)


def _vectors(position: SkyCoord) -> np.ndarray:
    icrs = position.icrs
    return to_vectors(np.asarray(icrs.ra.deg), np.asarray(icrs.dec.deg))


@dataclass(frozen=True, eq=False)
class PlaneShape:
    """A region in a tangent plane, in degrees of the plane; see `SkyShape` for what is not described here.

    Parameters
    ----------
    x, y
        Centre.
    corner_x, corner_y
        Corners of a polygon, shape (n,); the centre alone for other shapes.
    angle
        Degrees, counterclockwise from the x axis.
    """

    kind: str
    x: float
    y: float
    corner_x: np.ndarray
    corner_y: np.ndarray
    sizes: tuple[float, ...] = ()
    angle: float = 0.0
    parts: tuple[PlaneShape, ...] = ()
    operator: str = ""
    included: bool = True

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return True for positions inside, shape of `x` and `y`; NaN is outside."""
        with np.errstate(invalid="ignore"):
            if self.kind == "compound":
                first, second = (part.contains(x, y) for part in self.parts)
                inside = np.asarray(OPERATORS[self.operator](first, second))
            else:
                inside = _CONTAINS[self.kind](self, x, y)
        return inside if self.included else ~inside & np.isfinite(x)

    @property
    def reach(self) -> float:
        """Radius of a circle around the centre that holds the shape; infinite where the outside is meant."""
        if not self.included:
            return np.inf
        if self.kind == "compound":
            return max(np.hypot(p.x - self.x, p.y - self.y) + p.reach for p in self.parts)
        if self.kind == "polygon":
            return float(np.hypot(self.corner_x - self.x, self.corner_y - self.y).max())
        if self.kind.startswith("circle"):
            return self.sizes[-1]
        if self.kind.startswith("ellipse"):
            return 0.5 * max(self.sizes)
        return 0.5 * math.hypot(*self.sizes[-2:]) if self.sizes else 0.0

    def resized(self, radius: float) -> PlaneShape:
        """Return the circle of this radius around the centre."""
        return replace(self, kind="circle", sizes=(radius,), included=True)


def to_plane(shape: SkyShape, plane: TangentPlane) -> PlaneShape:
    """Return a shape in a plane, which should not lie far away.

    Sizes are scaled as the plane scales its own meridian through the centre: a plane stretches the sky by
    ``1 / cos(distance)`` along circles around its origin and by the square of it away from there, which is 4e-5 and
    8e-5 half a degree away.

    Parameters
    ----------
    shape
        The region.
    plane
        Any tangent plane; in that of the shape itself the scale is 1.

    Returns
    -------
    PlaneShape
    """
    x, y = plane.project(shape.center)
    corner_x, corner_y = plane.project(shape.vertices)
    step_x, step_y = plane.direction(shape.center, tangent_north(shape.center, shape.pole))
    scale = float(np.hypot(*plane.direction(shape.center, tangent_north(shape.center, plane.pole))))
    angle = shape.angle + float(np.rad2deg(np.arctan2(step_y, step_x))) - 90.0
    sizes = tuple(size * scale for size in shape.sizes)
    parts = tuple(to_plane(part, plane) for part in shape.parts)
    return PlaneShape(
        shape.kind, float(x), float(y), corner_x, corner_y, sizes, angle, parts, shape.operator, shape.included
    )


def _turned(shape: PlaneShape, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the axes of a shape."""
    cos, sin = np.cos(np.deg2rad(shape.angle)), np.sin(np.deg2rad(shape.angle))
    dx, dy = x - shape.x, y - shape.y
    return cos * dx + sin * dy, cos * dy - sin * dx


def _in_circle(shape: PlaneShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(x - shape.x, y - shape.y) < shape.sizes[0])


def _in_ellipse(shape: PlaneShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = _turned(shape, x, y)
    return np.asarray((2 * a / shape.sizes[0]) ** 2 + (2 * b / shape.sizes[1]) ** 2 < 1)


def _in_rectangle(shape: PlaneShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = _turned(shape, x, y)
    return np.asarray((np.abs(a) < 0.5 * shape.sizes[0]) & (np.abs(b) < 0.5 * shape.sizes[1]))


def _in_annulus(shape: PlaneShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    whole = _CONTAINS[shape.kind.removesuffix("_annulus")]
    half = len(shape.sizes) // 2
    inner, outer = (replace(shape, sizes=sizes) for sizes in (shape.sizes[:half], shape.sizes[half:]))
    return whole(outer, x, y) & ~whole(inner, x, y)


def _in_polygon(shape: PlaneShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Even-odd rule: how often a ray from the position crosses the sides."""
    inside = np.zeros(np.broadcast(x, y).shape, dtype=bool)
    corners = zip(shape.corner_x, shape.corner_y, np.roll(shape.corner_x, -1), np.roll(shape.corner_y, -1), strict=True)
    for x0, y0, x1, y1 in corners:
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    return inside


def _in_point(_shape: PlaneShape, x: np.ndarray, _y: np.ndarray) -> np.ndarray:
    return np.zeros(np.shape(x), dtype=bool)


_CONTAINS: dict[str, Callable[[PlaneShape, Any, Any], np.ndarray]] = {
    "circle": _in_circle,
    "ellipse": _in_ellipse,
    "rectangle": _in_rectangle,
    "circle_annulus": _in_annulus,
    "ellipse_annulus": _in_annulus,
    "rectangle_annulus": _in_annulus,
    "polygon": _in_polygon,
    "point": _in_point,
}

#: How DS9 names the shapes, and whether its sizes are halves.
DS9_NAMES = {
    "circle": ("circle", 1.0),
    "ellipse": ("ellipse", 0.5),
    "rectangle": ("box", 1.0),
    "circle_annulus": ("annulus", 1.0),
    "ellipse_annulus": ("ellipse", 0.5),
    "rectangle_annulus": ("box", 1.0),
    "point": ("point", 1.0),
}


def ds9_texts(shape: SkyShape, plane: TangentPlane, turns: np.ndarray) -> list[str]:
    """Return DS9 texts of a shape that is turned around the origin of a plane, in ICRS.

    Parameters
    ----------
    shape
        The region.
    plane
        Plane around whose origin it is turned.
    turns
        Radian, counterclockwise in the plane, shape (n,).

    Returns
    -------
    list of str
        As `xgamma.coords.regions.to_ds9` writes them.

    Examples
    --------
    >>> from xgamma.coords.regions import from_ds9
    >>> shape = sky_shape(from_ds9("icrs;circle(10, 0, 0.1)"))
    >>> ds9_texts(shape, TangentPlane.at(np.array([1.0, 0.0, 0.0])), np.array([np.pi]))
    ['icrs;circle(350.0000000000,0.0000000000,0.1000000000)']
    """
    if shape.kind == "compound":
        first, second = (ds9_texts(part, plane, turns) for part in shape.parts)
        return [f"({a}) {shape.operator} ({b})" for a, b in zip(first, second, strict=True)]
    vectors = _turn(shape.vertices, plane, np.asarray(turns, dtype=float)[:, np.newaxis])
    numbers = np.stack(from_vectors(vectors), axis=-1).reshape(len(vectors), -1)
    sign = "" if shape.included else "-"
    if shape.kind == "polygon":
        return [f"icrs;{sign}polygon({_join(row)})" for row in numbers]
    name, factor = DS9_NAMES[shape.kind]
    columns = [numbers, np.tile(np.array(shape.sizes) * factor, (len(vectors), 1))]
    if shape.kind.startswith(("ellipse", "rectangle")):
        before = to_plane(shape, plane).angle + np.rad2deg(turns)
        step_x, step_y = plane.direction(vectors[:, 0], tangent_north(vectors[:, 0]))
        # the same direction as an angle from the parallel through the new centre
        columns.append(((before - np.rad2deg(np.arctan2(step_y, step_x)) + 90.0) % 360.0)[:, np.newaxis])
    return [f"icrs;{sign}{name}({_join(row)})" for row in np.concatenate(columns, axis=1)]


def _turn(vectors: np.ndarray, plane: TangentPlane, turn: np.ndarray) -> np.ndarray:
    x, y = plane.project(vectors)
    cos, sin = np.cos(turn), np.sin(turn)
    return plane.unproject(cos * x - sin * y, sin * x + cos * y)


def _join(numbers: np.ndarray) -> str:
    # adding 0 turns a negative zero round
    return ",".join(f"{round(n, 10) + 0.0:.10f}" for n in numbers.tolist())
