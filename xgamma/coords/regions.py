"""Sky regions of the `regions` package on grids: masks, strings, centres."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.grid import _per_tile, _sky_array
from xgamma.coords.sky import SkyGrid, grid_of

if TYPE_CHECKING:
    from regions import PixelRegion, SkyRegion

__all__ = ["as_regions", "from_ds9", "region_center", "region_mask", "to_ds9"]


def as_regions(regions: Any) -> list[SkyRegion]:
    """Return a list of sky regions from one region, a list, or DS9 strings.

    Raises
    ------
    TypeError
        If an item is not a sky region.
    ValueError
        If there is none.

    Examples
    --------
    >>> len(as_regions("icrs;circle(83.63, 22.01, 0.1)"))
    1
    """
    from regions import SkyRegion

    single = isinstance(regions, (SkyRegion, str)) or not isinstance(regions, Iterable)
    items = [from_ds9(r) if isinstance(r, str) else r for r in ([regions] if single else regions)]
    for item in items:
        if not isinstance(item, SkyRegion):
            msg = f"{item!r} is not a sky region of the regions package (CircleSkyRegion, RectangleSkyRegion, ...)"
            raise TypeError(msg)
    if not items:
        msg = "the list of regions is empty"
        raise ValueError(msg)
    return items


def to_ds9(region: SkyRegion) -> str:
    """Return a region as one line of DS9 text; compound regions keep the names of their parts.

    Examples
    --------
    >>> to_ds9(from_ds9("icrs;circle(83.63, 22.01, 0.1)"))
    'icrs;circle(83.6300000000,22.0100000000,0.1000000000)'
    """
    from regions import CompoundSkyRegion, Regions

    if isinstance(region, CompoundSkyRegion):
        names = {"and_": "&", "or_": "|", "xor": "^"}
        symbol = names.get(region.operator.__name__, region.operator.__name__)
        return f"({to_ds9(region.region1)}) {symbol} ({to_ds9(region.region2)})"
    lines = Regions([region]).serialize(format="ds9", precision=10).splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    return ";".join(line.split(" # ")[0].strip() for line in lines)


def from_ds9(text: str) -> SkyRegion:
    """Return the sky region that a DS9 string describes.

    Raises
    ------
    ValueError
        If the text is not exactly one sky region.
    """
    from regions import Regions, SkyRegion

    parsed = list(Regions.parse(text, format="ds9"))
    if len(parsed) != 1 or not isinstance(parsed[0], SkyRegion):
        msg = f"{text!r} is not one sky region in DS9 format, such as 'icrs;circle(83.63, 22.01, 0.1)'"
        raise ValueError(msg)
    return parsed[0]


def region_center(region: SkyRegion) -> SkyCoord:
    """Return the centre of a region: its own where it has one, else the mean of its vertices or parts."""
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
        If something else than sky regions is given.
    ValueError
        If the list is empty.

    Warns
    -----
    UserWarning
        If no pixel centre lies in any of the regions of a map that is not lazy.

    Notes
    -----
    Regions are taken in the plane of the projection, as the `regions` package does: a circle is a
    circle in pixels with the pixel scale at its centre.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.1 deg")
    >>> int(region_mask(grid, "icrs;circle(83.63, 22.01, 0.11)").sum())
    4
    """
    grid = grid_of(obj)
    pixel_regions = [_to_pixel(r, grid) for r in as_regions(regions)]
    values = _per_tile(obj, _mask_tile, "", pixel_regions, dtype=bool)
    return _sky_array(obj, values, "mask", "", "Pixels in the regions")


def _to_pixel(region: SkyRegion, grid: SkyGrid) -> PixelRegion:
    """Region in the pixel numbers of the frame, on the turn of longitude that the grid shows."""
    return region.to_pixel(grid.frame.wcs)


def _mask_tile(grid: SkyGrid, pixel_regions: list[PixelRegion]) -> np.ndarray:
    from regions import PixCoord

    mask = np.zeros(grid.shape, dtype=bool)
    period = grid.frame.period
    turns = (0.0,) if period is None else (-period, 0.0, period)
    for region in pixel_regions:
        for turn in turns:
            window = _window(region, grid, turn)
            if window is None:
                continue
            y, x = np.meshgrid(np.asarray(grid.y[window[0]]), np.asarray(grid.x[window[1]]), indexing="ij")
            mask[window] |= region.contains(PixCoord(x + turn, y))
    return mask


def _window(region: PixelRegion, grid: SkyGrid, turn: float) -> tuple[slice, slice] | None:
    """Array slices that hold the region, None where it lies outside the grid."""
    try:
        box = region.bounding_box
    except (AttributeError, NotImplementedError, ValueError):
        return slice(None), slice(None)
    y0, y1 = max(box.iymin - grid.y.start, 0), min(box.iymax - grid.y.start, len(grid.y))
    x0, x1 = (int(np.floor(v - turn)) - grid.x.start for v in (box.ixmin, box.ixmax))
    x0, x1 = max(x0 - 1, 0), min(x1 + 2, len(grid.x))
    return (slice(y0, y1), slice(x0, x1)) if y1 > y0 and x1 > x0 else None
