"""Sky regions of the `regions` package on grids: masks, strings, centres."""

from __future__ import annotations

import operator
import reprlib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.frame import SkyFrame
from xgamma.coords.grid import per_tile, sky_array
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.kernels.sphere import separation, to_vectors

if TYPE_CHECKING:
    from regions import PixelRegion, RectangleAnnulusSkyRegion, RectangleSkyRegion, SkyRegion

__all__ = ["as_regions", "from_ds9", "is_one_region", "region_center", "region_mask", "to_ds9"]

#: Ways to join two regions, and the signs that `to_ds9` writes for them.
OPERATORS = {"&": operator.and_, "|": operator.or_, "^": operator.xor}


def as_regions(regions: Any) -> list[SkyRegion]:
    """Return a list of sky regions from one region, a list, or DS9 strings.

    Parameters
    ----------
    regions
        Sky region of the `regions` package, a DS9 string, or an iterable of them.

    Returns
    -------
    list of regions.SkyRegion

    Raises
    ------
    TypeError
        If an item is not a sky region.
    ValueError
        If there is none, or a string is not a region.

    Examples
    --------
    >>> len(as_regions("icrs;circle(83.63, 22.01, 0.1)"))
    1
    """
    from regions import SkyRegion

    items = [from_ds9(r) if isinstance(r, str) else r for r in ([regions] if is_one_region(regions) else regions)]
    for item in items:
        if not isinstance(item, SkyRegion):
            found = f"{reprlib.repr(item)} ({type(item).__name__})"
            msg = f"{found} is not a sky region of the regions package (CircleSkyRegion, RectangleSkyRegion, ...)"
            raise TypeError(msg)
    if not items:
        msg = "the list of regions is empty"
        raise ValueError(msg)
    return items


def is_one_region(regions: Any) -> bool:
    """Return True for what `as_regions` takes as one region, False for a list of them.

    Examples
    --------
    >>> is_one_region("icrs;circle(83.63, 22.01, 0.1)"), is_one_region(["icrs;circle(83.63, 22.01, 0.1)"])
    (True, False)
    """
    from regions import SkyRegion

    # positions and arrays are iterable, but never lists of regions
    one = (SkyRegion, str, SkyCoord, np.ndarray, xr.DataArray, xr.Dataset)
    return isinstance(regions, one) or not isinstance(regions, Iterable)


def to_ds9(region: SkyRegion) -> str:
    """Return a region as one line of DS9 text.

    Parameters
    ----------
    region
        Sky region. Names and colours are not kept, the sign of an excluded region is.

    Returns
    -------
    str
        ``"frame;shape(...)"`` in degrees to 10 digits; a compound region becomes
        ``"(first) & (second)"`` (or ``|``, ``^``), which is not DS9 but which `from_ds9` reads.

    Examples
    --------
    >>> to_ds9(from_ds9("icrs;circle(83.63, 22.01, 0.1)"))
    'icrs;circle(83.6300000000,22.0100000000,0.1000000000)'
    """
    from regions import CompoundSkyRegion, Regions, TextSkyRegion

    sign = "" if region.meta.get("include", True) else "-"
    if isinstance(region, CompoundSkyRegion):
        symbol = next((s for s, function in OPERATORS.items() if function is region.operator), None)
        if symbol is None or sign:
            msg = f"a compound region must join its parts by one of {list(OPERATORS)} and not be excluded as a whole"
            raise ValueError(msg)
        return f"({to_ds9(region.region1)}) {symbol} ({to_ds9(region.region2)})"
    lines = Regions([region]).serialize(format="ds9", precision=10).splitlines()
    frame, shape = [line.split(" # ")[0].strip() for line in lines if line and not line.startswith(("#", "global"))]
    text = f" # text={{{region.text}}}" if isinstance(region, TextSkyRegion) else ""
    return f"{frame};{sign}{shape.lstrip('+-')}{text}"


def from_ds9(text: str) -> SkyRegion:
    """Return the sky region that a DS9 string describes.

    Parameters
    ----------
    text
        One region in DS9 format, or two in brackets joined by ``&``, ``|`` or ``^``.

    Returns
    -------
    regions.SkyRegion

    Raises
    ------
    ValueError
        If the text is not exactly one sky region.

    Examples
    --------
    >>> float(from_ds9("galactic;circle(0, 0, 0.5)").radius.value)
    0.5
    >>> from_ds9("(icrs;circle(1, 1, 0.5)) | (icrs;circle(2, 1, 0.5))").operator.__name__
    'or_'
    """
    from regions import CompoundSkyRegion, Regions, SkyRegion

    if text.lstrip().startswith("("):
        first, symbol, second = _split_compound(text.strip())
        return CompoundSkyRegion(from_ds9(first), from_ds9(second), OPERATORS[symbol])
    problem = f"{text!r} is not one sky region in DS9 format, such as 'icrs;circle(83.63, 22.01, 0.1)'"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what cannot be read is an error here, in words
            parsed = list(Regions.parse(text, format="ds9"))
    except Exception as error:
        raise ValueError(problem) from error
    if len(parsed) != 1 or not isinstance(parsed[0], SkyRegion):
        raise ValueError(problem)
    return parsed[0]


def _split_compound(text: str) -> tuple[str, str, str]:
    """Split ``(first) & (second)`` at the operator between the outer brackets."""
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            rest = text[i + 1 :].strip()
            symbol, second = rest[:1], rest[1:].strip()
            if symbol in OPERATORS and second.startswith("(") and second.endswith(")"):
                return text[1:i], symbol, second[1:-1]
            break
    msg = f"{text!r} is not '(region) & (region)'; operators are {list(OPERATORS)}"
    raise ValueError(msg)


def region_center(region: SkyRegion) -> SkyCoord:
    """Return the centre of a region: its own where it has one, else the mean of its vertices or parts.

    Parameters
    ----------
    region
        Sky region.

    Returns
    -------
    astropy.coordinates.SkyCoord

    Raises
    ------
    TypeError
        If the region has neither centre nor vertices.

    Examples
    --------
    >>> region_center(from_ds9("icrs;polygon(359, -1, 1, -1, 1, 1, 359, 1)")).to_string(precision=3)
    '0.000 0.000'
    """
    from regions import CompoundSkyRegion

    if isinstance(region, CompoundSkyRegion):
        return _mean_position([region_center(region.region1), region_center(region.region2)])
    if hasattr(region, "center"):
        return region.center
    if hasattr(region, "vertices"):
        return _mean_position(list(region.vertices))
    if hasattr(region, "start") and hasattr(region, "end"):
        return _mean_position([region.start, region.end])
    msg = f"a region of type {type(region).__name__} has no centre"
    raise TypeError(msg)


def _mean_position(positions: list[SkyCoord]) -> SkyCoord:
    vectors = np.array([p.icrs.cartesian.xyz.value for p in positions]).mean(axis=0)
    x, y, z = vectors / np.linalg.norm(vectors)
    mean = SkyCoord(x=x, y=y, z=z, representation_type="cartesian", frame="icrs")
    return SkyCoord(mean.spherical.lon, mean.spherical.lat, frame="icrs")


def region_mask(obj: xr.Dataset | xr.DataArray, regions: Any) -> xr.DataArray:
    """Return True for the pixels whose centres lie in one of the regions.

    Parameters
    ----------
    obj
        Map, cube or grid. Where its pixels are Dask chunks, so are those of the mask.
    regions
        A sky region of the `regions` package, a DS9 string, or a list of them.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), bool.

    Raises
    ------
    TypeError
        If something else than sky regions is given, or a region has no area (line, text).
    ValueError
        If the list is empty, or a polygon has corners that the projection cannot show.

    Warns
    -----
    UserWarning
        If no pixel centre lies in any of the regions of a map that is not lazy.

    Notes
    -----
    Regions are taken in the plane of the projection, as the `regions` package does: a circle is a
    circle in pixels with the mean pixel scale at its centre. A point region is the one pixel that
    contains it. On cylindrical projections regions may cross the seam of the map.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.1 deg")
    >>> int(region_mask(grid, "icrs;circle(83.63, 22.01, 0.11)").sum())
    4
    """
    grid = grid_of(obj)
    pixel_regions = [_to_pixel(r, grid.frame) for r in as_regions(regions)]
    values = per_tile(obj, _mask_tile, "", pixel_regions, dtype=bool)
    if isinstance(values, np.ndarray) and not values.any():
        msg = (
            f"no pixel centre lies in the regions: the map shows {grid.shape[1]} x {grid.shape[0]} pixels, {grid.frame}"
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    return sky_array(obj, values, "mask", "", "Pixels in the regions")


def _to_pixel(region: SkyRegion, frame: SkyFrame) -> PixelRegion:
    """Region in the pixel numbers of the frame; a task needs no WCS then."""
    from regions import (
        CirclePixelRegion,
        CircleSkyRegion,
        CompoundPixelRegion,
        CompoundSkyRegion,
        LineSkyRegion,
        PixCoord,
        PolygonPixelRegion,
        PolygonSkyRegion,
        RectangleAnnulusSkyRegion,
        RectangleSkyRegion,
        TextSkyRegion,
    )

    if isinstance(region, CompoundSkyRegion):
        parts = (_to_pixel(r, frame) for r in (region.region1, region.region2))
        return CompoundPixelRegion(*parts, region.operator, meta=region.meta)
    if isinstance(region, (LineSkyRegion, TextSkyRegion)):
        msg = f"a {type(region).__name__} has no area; give circles, polygons, ..., or points"
        raise TypeError(msg)
    points = region.vertices if isinstance(region, PolygonSkyRegion) else region_center(region)
    sky = points.transform_to(frame.celestial).spherical
    y, x = (np.atleast_1d(v) for v in frame.sky_to_pixel(sky.lon.deg, sky.lat.deg))
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        # no pixel shows any of it: a region too small to hold one, far away
        return CirclePixelRegion(PixCoord(-1e12, -1e12), 1e-12, meta=region.meta)
    if isinstance(region, CircleSkyRegion):
        radius = region.radius.to_value("deg") / _local_scale(frame, float(y[0]), float(x[0]))
        return CirclePixelRegion(PixCoord(float(x[0]), float(y[0])), radius, meta=region.meta)
    if isinstance(region, (RectangleSkyRegion, RectangleAnnulusSkyRegion)):
        return _box_to_pixel(region, frame, float(y[0]), float(x[0]))
    if not isinstance(region, PolygonSkyRegion):
        return region.to_pixel(frame.wcs)
    if not finite.all():
        msg = f"some corners of {to_ds9(region)!r} lie on the far side of the {frame.proj} projection"
        raise ValueError(msg)
    if frame.period is not None:
        # corners on the turn of the first one, or the polygon would span the whole sky
        x = x - frame.period * np.round((x - x[0]) / frame.period)
    return PolygonPixelRegion(PixCoord(x, y), meta=region.meta)


def _box_to_pixel(
    region: RectangleSkyRegion | RectangleAnnulusSkyRegion, frame: SkyFrame, y: float, x: float
) -> PixelRegion:
    """Box in pixels, each side turned and scaled as the sky is at its centre.

    Taken here, because the regions package takes the main axes of the mapping, which a box that is square in pixels
    leaves open: it came out turned by 45 degrees.
    """
    from regions import PixCoord, RectangleAnnulusPixelRegion, RectanglePixelRegion, RectangleSkyRegion

    from xgamma.coords.region_shapes import sky_jacobian

    forward = sky_jacobian(SkyGrid(frame, range(1), range(1)), np.array([y]), np.array([x]))[0]
    # what the regions package calls the angle goes from west to north
    forward[0] *= -1.0
    if not (np.isfinite(forward).all() and abs(np.linalg.det(forward)) > 0):
        return region.to_pixel(frame.wcs)
    turn = float(region.angle.to_value("rad"))
    sides = np.linalg.inv(forward) @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    along, across = np.hypot(*sides)
    center, angle = PixCoord(x, y), np.arctan2(sides[1, 0], sides[0, 0]) * u.rad

    def pixels(name: str) -> float:
        return float(getattr(region, name).to_value("deg") * (along if name.endswith("width") else across))

    if isinstance(region, RectangleSkyRegion):
        return RectanglePixelRegion(center, pixels("width"), pixels("height"), angle, meta=region.meta)
    sizes = (pixels(f"{end}_{side}") for side in ("width", "height") for end in ("inner", "outer"))
    return RectangleAnnulusPixelRegion(center, *sizes, angle, meta=region.meta)


def _local_scale(frame: SkyFrame, y: float, x: float) -> float:
    """Mean pixel size in degrees at a pixel position: the root of its solid angle.

    Taken here, because versions of the regions package differ in it, and newer ones refuse the seam of a map.
    """
    sides = []
    for step_y, step_x in ((0.5, 0.0), (0.0, 0.5)):
        ends = to_vectors(*frame.pixel_to_sky(y + step_y * np.array([-1, 0, 1]), x + step_x * np.array([-1, 0, 1])))
        halves = 2.0 * separation(ends[:-1], ends[1:])
        # at the limb of a projection one half has no sky
        sides.append(float(np.nanmean(halves)) if np.isfinite(halves).any() else np.nan)
    mean = float(np.sqrt(np.prod(sides)))
    return mean if np.isfinite(mean) and mean > 0 else float(np.sqrt(np.prod(frame.binsize)))


def _mask_tile(grid: SkyGrid, pixel_regions: list[PixelRegion]) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    for region in pixel_regions:
        mask |= _shape_mask(region, grid)
    return mask


def _shape_mask(region: PixelRegion, grid: SkyGrid) -> np.ndarray:
    """Mask of one region, shape (ny, nx), on every turn of longitude."""
    from regions import CompoundPixelRegion, PixCoord, PointPixelRegion, RegionMeta

    included = bool(region.meta.get("include", True))
    if isinstance(region, CompoundPixelRegion):
        joined = region.operator(_shape_mask(region.region1, grid), _shape_mask(region.region2, grid))
        return joined if included else ~joined
    # versions of the package differ in whether contains() of an excluded region is turned round: here it is once
    bare = region.copy(meta=RegionMeta())
    period = grid.frame.period
    inside = np.zeros(grid.shape, dtype=bool)
    for turn in (0.0,) if period is None else (-period, 0.0, period):
        if isinstance(region, PointPixelRegion):
            x, y = (int(np.floor(v + 0.5)) for v in (region.center.x - turn, region.center.y))
            if x in grid.x and y in grid.y:
                inside[y - grid.y.start, x - grid.x.start] = True
            continue
        window = _window(region, grid, turn)
        if window is not None:
            y, x = np.meshgrid(np.asarray(grid.y[window[0]]), np.asarray(grid.x[window[1]]), indexing="ij")
            inside[window] |= bare.contains(PixCoord(x + turn, y))
    return inside if included else ~inside


def _window(region: PixelRegion, grid: SkyGrid, turn: float) -> tuple[slice, slice] | None:
    """Array slices that hold the region, None where it lies outside the grid."""
    box = region.bounding_box
    y0, y1 = max(box.iymin - grid.y.start - 1, 0), min(box.iymax - grid.y.start + 1, len(grid.y))
    x0, x1 = (int(np.floor(v - turn)) - grid.x.start for v in (box.ixmin, box.ixmax))
    x0, x1 = max(x0 - 1, 0), min(x1 + 2, len(grid.x))
    return (slice(y0, y1), slice(x0, x1)) if y1 > y0 and x1 > x0 else None
