"""Sets of sky regions that share a shape: boxes along a line, rings around a point, boxes that tile a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from xgamma.coords.regions import as_regions, is_one_region
from xgamma.coords.sky import grid_of
from xgamma.coords.units import angle_pair, to_value

if TYPE_CHECKING:
    from regions import RectangleSkyRegion, SkyRegion

    from xgamma.coords.sky import SkyGrid

__all__ = ["concentric_annuli", "region_boxes", "regions_along_line", "regions_on_grid"]


def regions_along_line(
    start: SkyCoord, end: SkyCoord, height: Any, nbin: int = 1, grid: xr.Dataset | xr.DataArray | None = None
) -> list[RectangleSkyRegion]:
    """Return boxes of equal width along a line, each perpendicular to it.

    Parameters
    ----------
    start, end
        Ends of the line: the outer sides of the first and of the last box pass through them.
    height
        Size of the boxes across the line, an angle.
    nbin
        Number of boxes.
    grid
        Map, cube or grid: the line is straight in its pixels. None for the great circle between the ends.

    Returns
    -------
    list of regions.RectangleSkyRegion
        In order from `start` to `end`. In the frame of `grid`, or of `start` without one.

    Raises
    ------
    TypeError
        If `start` or `end` is not one SkyCoord.
    ValueError
        If the ends are the same, `height` is not a positive angle, `nbin` is below 1, or the projection cannot show
        the line.

    Examples
    --------
    >>> start, end = (SkyCoord(lon, 0, unit="deg", frame="galactic") for lon in (2, -2))
    >>> boxes = regions_along_line(start, end, height="1 deg", nbin=4)
    >>> [round(float(box.center.l.wrap_at("180d").deg), 6) for box in boxes]
    [1.5, 0.5, -0.5, -1.5]
    >>> round(float(boxes[0].width.to_value("deg")), 6)
    1.0
    """
    from regions import RectangleSkyRegion

    for name, position in (("start", start), ("end", end)):
        _check_position(name, position)
    size = _positive(height, "height")
    number = _count(nbin, "nbin")
    length = float(start.separation(end).deg)
    if not length > 0:
        msg = f"start and end are the same position, {start.to_string('decimal')}: a line needs two"
        raise ValueError(msg)
    sky = grid_of(grid) if grid is not None else None
    centers, angles = _along_great_circle(start, end, number) if sky is None else _along_pixels(sky, start, end, number)
    return [
        RectangleSkyRegion(center, width=length / number * u.deg, height=size * u.deg, angle=angle * u.deg)
        for center, angle in zip(centers, angles, strict=True)
    ]


def concentric_annuli(center: SkyCoord, radius_max: Any, nbin: int, radius_min: Any = "0 deg") -> list[SkyRegion]:
    """Return rings of equal width around a position.

    Parameters
    ----------
    center
        Middle of all rings.
    radius_max
        Outer radius of the last ring, an angle.
    nbin
        Number of rings.
    radius_min
        Inner radius of the first ring; at 0 it is a circle.

    Returns
    -------
    list of regions.SkyRegion
        From the inside out.

    Raises
    ------
    TypeError
        If `center` is not one SkyCoord.
    ValueError
        If the radii are not angles in ascending order, or `nbin` is below 1.

    Examples
    --------
    >>> rings = concentric_annuli(SkyCoord(83.63, 22.01, unit="deg"), "0.4 deg", nbin=4)
    >>> [type(ring).__name__ for ring in rings[:2]], float(rings[1].outer_radius.value)
    (['CircleSkyRegion', 'CircleAnnulusSkyRegion'], 0.2)
    """
    from regions import CircleAnnulusSkyRegion, CircleSkyRegion

    _check_position("center", center)
    outer = _positive(radius_max, "radius_max")
    inner = float(to_value(radius_min, "deg", "radius_min"))
    if not 0 <= inner < outer:
        msg = f"radius_min={radius_min!r} must be an angle from 0 up to below radius_max, {outer:g} deg"
        raise ValueError(msg)
    edges = np.linspace(inner, outer, _count(nbin, "nbin") + 1)
    rings: list[SkyRegion] = []
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        rings.append(
            CircleAnnulusSkyRegion(center, a * u.deg, b * u.deg) if a > 0 else CircleSkyRegion(center, b * u.deg)
        )
    return rings


def region_boxes(grid: xr.Dataset | xr.DataArray, size: Any) -> list[RectangleSkyRegion]:
    """Divide a map into boxes of whole pixels.

    Parameters
    ----------
    grid
        Map, cube or grid.
    size
        Wanted size of a box, an angle or a pair (along x, along y), rounded to whole pixels.

    Returns
    -------
    list of regions.RectangleSkyRegion
        Row by row from the first pixel. Pixels that are left at the ends of rows and columns, too few for a box,
        belong to none.

    Raises
    ------
    ValueError
        If the map is smaller than one box, or the size is not a positive angle.

    Notes
    -----
    Sides of boxes lie on the edges of pixels, in the plane of the projection at the middle of each box.

    Examples
    --------
    >>> from xgamma.coords.grid import sky_grid
    >>> grid = sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), ("3 deg", "2 deg"), "0.1 deg", proj="CAR")
    >>> len(region_boxes(grid, "0.5 deg"))
    24
    """
    from regions import RectangleSkyRegion

    sky = grid_of(grid)
    width_x, width_y = angle_pair(size, "size")
    scale_y, scale_x = sky.frame.binsize
    ny, nx = max(1, round(width_y / scale_y)), max(1, round(width_x / scale_x))
    rows, columns = sky.shape[0] // ny, sky.shape[1] // nx
    if rows < 1 or columns < 1:
        msg = (
            f"a box of {nx} x {ny} pixels does not fit into the map of {sky.shape[1]} x {sky.shape[0]}; make it smaller"
        )
        raise ValueError(msg)
    y, x = (
        v.ravel()
        for v in np.meshgrid(
            sky.y.start + (np.arange(rows) + 0.5) * ny - 0.5,
            sky.x.start + (np.arange(columns) + 0.5) * nx - 0.5,
            indexing="ij",
        )
    )
    forward = sky_jacobian(sky, y, x)
    centers = _positions(sky, y, x, "the middle of a box")
    sizes = np.hypot(forward[:, 0], forward[:, 1]) * [nx, ny]
    angles = _angles(forward, np.array([1.0, 0.0]))
    return [
        RectangleSkyRegion(c, width=w * u.deg, height=h * u.deg, angle=a * u.deg)
        for c, (w, h), a in zip(centers, sizes.tolist(), angles.tolist(), strict=True)
    ]


def regions_on_grid(grid: SkyGrid, regions: Any) -> list[SkyRegion]:
    """Return sky regions, also of regions in pixels of a map.

    Parameters
    ----------
    grid
        Sky grid of the map.
    regions
        What `as_regions` takes, and pixel regions of the `regions` package: x and y count pixels from the first of the
        map, as ``isel`` does.

    Returns
    -------
    list of regions.SkyRegion

    Raises
    ------
    TypeError, ValueError
        As `as_regions`.

    Examples
    --------
    >>> from regions import CirclePixelRegion, PixCoord
    >>> from xgamma.coords.grid import sky_grid
    >>> grid = grid_of(sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg"))
    >>> [circle] = regions_on_grid(grid, CirclePixelRegion(PixCoord(4.5, 4.5), 2.0))
    >>> round(float(circle.radius.to_value("deg")), 4)
    0.2
    """
    from regions import PixelRegion

    items = [regions] if is_one_region(regions) else list(regions)
    if any(isinstance(r, PixelRegion) for r in items):
        wcs = WCS(grid.frame.header(grid.y.start, grid.x.start))
        items = [r.to_sky(wcs) if isinstance(r, PixelRegion) else r for r in items]
    return as_regions(items)


def sky_jacobian(grid: SkyGrid, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return how the sky moves with the pixel numbers, in degrees a pixel.

    Parameters
    ----------
    grid
        Sky grid.
    y, x
        Pixel positions, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n, 2, 2): towards east and north (of the grid's frame) for a step along x and y. At the limb of a
        projection from the side that has sky; NaN where there is none.
    """
    from xgamma.kernels.sphere import to_vectors

    steps = np.array([(0.0, 0.0), (0.0, -0.5), (0.0, 0.5), (-0.5, 0.0), (0.5, 0.0)])
    lon, lat = grid.frame.pixel_to_sky(y[:, None] + steps[:, 0], x[:, None] + steps[:, 1])
    vectors = to_vectors(lon, lat)
    middle, ends = vectors[:, 0], vectors[:, 1:].reshape(-1, 2, 2, 3)
    low = np.where(np.isfinite(ends[:, :, 0]), ends[:, :, 0], middle[:, None])
    high = np.where(np.isfinite(ends[:, :, 1]), ends[:, :, 1], middle[:, None])
    span = 0.5 * np.isfinite(ends[..., 0]).sum(axis=2)
    lon0, lat0 = np.deg2rad(lon[:, 0]), np.deg2rad(lat[:, 0])
    east = np.stack([-np.sin(lon0), np.cos(lon0), np.zeros_like(lon0)], axis=-1)
    north = np.stack([-np.sin(lat0) * np.cos(lon0), -np.sin(lat0) * np.sin(lon0), np.cos(lat0)], axis=-1)
    delta = np.rad2deg(high - low) / np.where(span > 0, span, np.nan)[..., None]
    return np.stack([(delta * axis[:, None]).sum(axis=-1) for axis in (east, north)], axis=1)


def _angles(forward: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Angles in degrees of a direction (x, y) in pixels, as the regions package counts them: from west to north."""
    east, north = (forward[:, i] @ direction for i in (0, 1))
    angle = np.rad2deg(np.arctan2(north, -east))
    # a box looks the same when it is turned round
    return np.asarray((angle + 90.0) % 180.0 - 90.0)


def _along_pixels(grid: SkyGrid, start: SkyCoord, end: SkyCoord, number: int) -> tuple[list[SkyCoord], list[float]]:
    frame = grid.frame
    (y0, x0), (y1, x1) = ((float(v) for v in grid.sky_to_pixel(*frame.position(p))) for p in (start, end))
    if not np.isfinite([y0, x0, y1, x1]).all():
        msg = f"the projection {frame} does not show both start and end of the line; choose others, or grid=None"
        raise ValueError(msg)
    if frame.period is not None:
        # the shorter way round
        x1 -= frame.period * round((x1 - x0) / frame.period)
    part = (np.arange(number) + 0.5) / number
    y, x = y0 + part * (y1 - y0), x0 + part * (x1 - x0)
    angles = _angles(sky_jacobian(grid, y, x), np.array([x1 - x0, y1 - y0]))
    return _positions(grid, y, x, "part of the line"), angles.tolist()


def _positions(grid: SkyGrid, y: np.ndarray, x: np.ndarray, what: str) -> list[SkyCoord]:
    lon, lat = grid.frame.pixel_to_sky(y, x)
    if not np.isfinite(lon).all():
        msg = f"{what} lies where the projection {grid.frame} has no sky"
        raise ValueError(msg)
    return list(SkyCoord(lon, lat, unit="deg", frame=grid.frame.celestial))


def _along_great_circle(start: SkyCoord, end: SkyCoord, number: int) -> tuple[list[SkyCoord], list[float]]:
    end = end.transform_to(start.frame)
    length, towards = start.separation(end), start.position_angle(end)
    centers = start.directional_offset_by(towards, length * (np.arange(number) + 0.5) / number)
    # away from the start the direction of a great circle is that from the start, seen from the other side
    angles = centers.position_angle(start).deg - 90.0
    return list(centers), ((np.asarray(angles) + 90.0) % 180.0 - 90.0).tolist()


def _check_position(name: str, position: Any) -> None:
    if not isinstance(position, SkyCoord) or not position.isscalar:
        msg = f"{name}={position!r} must be one astropy SkyCoord"
        raise TypeError(msg)


def _positive(value: Any, name: str) -> float:
    number = to_value(value, "deg", name)
    if not (isinstance(number, float) and 0 < number < np.inf):
        msg = f"{name}={value!r} must be one positive angle"
        raise ValueError(msg)
    return number


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        msg = f"{name}={value!r} must be a whole number of at least 1"
        raise ValueError(msg)
    return int(value)
