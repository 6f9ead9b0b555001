"""Sky regions in FITS: the REGION table of region maps."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.table import QTable
from astropy.units import UnitsWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from xgamma.coords.frame import SkyFrame
from xgamma.coords.regions import from_ds9, region_center, to_ds9
from xgamma.kernels.sphere import separation, to_vectors

if TYPE_CHECKING:
    from regions import PixelRegion, SkyRegion

__all__ = [
    "join_regions",
    "read_region",
    "read_regions",
    "region_coords",
    "region_hdu",
    "split_region",
    "with_off_regions",
]

#: Pixel size in degrees of the projection that a written region stands in.
BINSIZE = 0.01
#: Step in degrees from which the size of a pixel is taken.
STEP = 0.0005


def read_region(hdu: fits.BinTableHDU, where: str) -> str | None:
    """Return the region of a REGION table as one DS9 text, None for an empty table.

    Parameters
    ----------
    hdu
        Columns SHAPE, X, Y, R, ROTANG in pixels, and a WCS in the header.
    where
        File and HDU, for messages.

    Returns
    -------
    str or None
        Several rows are the parts of one region, joined by ``|``.

    Raises
    ------
    ValueError
        If a shape is not known.
    """
    return join_regions(read_regions(hdu, where)) or None


def join_regions(parts: Sequence[str]) -> str:
    """Return the union of regions as one text that `xgamma.coords.regions.from_ds9` reads.

    Parameters
    ----------
    parts
        DS9 texts.

    Returns
    -------
    str
        ``""`` where there are none.

    Examples
    --------
    >>> join_regions(["icrs;circle(1,1,0.5)", "icrs;circle(2,1,0.5)"])
    '(icrs;circle(1,1,0.5)) | (icrs;circle(2,1,0.5))'
    """
    text = ""
    for part in parts:
        text = f"({text}) | ({part})" if text else part
    return text


def split_region(text: str) -> list[str]:
    """Return the parts of a union; a region that is none is its only part.

    Examples
    --------
    >>> len(split_region("(icrs;circle(1,1,0.5)) | (icrs;circle(2,1,0.5))"))
    2
    """
    return [to_ds9(shape) for shape in _united(from_ds9(text))] if " | " in text else [text]


def read_regions(hdu: fits.BinTableHDU, where: str) -> list[str]:
    """Return the rows of a REGION table as DS9 texts.

    Parameters
    ----------
    hdu
        Columns SHAPE, X, Y, R, ROTANG in pixels, and a WCS in the header.
    where
        File and HDU, for messages.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If a shape is not known.

    Examples
    --------
    >>> read_regions(region_hdu(["icrs;circle(1,1,0.5)", "icrs;circle(2,1,0.5)"], "REGION"), "a.fits")[1]
    'icrs;circle(2.0000000000,1.0000000000,0.5000000000)'
    """
    from regions import Regions

    if hdu.data is None or len(hdu.data) == 0:
        return []
    keys = {
        k: v for k, v in hdu.header.items() if k[:5] in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") or k == "RADESYS"
    }
    keys.update(
        {k: hdu.header[k] for k in ("LONPOLE", "LATPOLE", "PC1_1", "PC1_2", "PC2_1", "PC2_2") if k in hdu.header}
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
            table = QTable.read(hdu)  # the parser wants angles with their unit
        wcs = WCS(fits.Header(keys))
        return [to_ds9(_to_sky(r, wcs)) for r in Regions.parse(table, format="fits")]
    except Exception as error:  # the parsers raise many kinds
        msg = f"{where}: the region table {hdu.name} cannot be read: {error}"
        raise ValueError(msg) from error


def region_coords(text: str) -> dict[str, Any]:
    """Return the coordinates of the region that a spectrum was taken from.

    Examples
    --------
    >>> region_coords("icrs;circle(83.63, 22.01, 0.1)")["region_lat"][1]
    22.01
    """
    center = region_center(from_ds9(text)).icrs
    attrs = {"units": "deg"}
    return {
        "region": ((), text),
        "region_lon": ((), float(center.ra.deg), {**attrs, "long_name": "Right ascension of the region"}),
        "region_lat": ((), float(center.dec.deg), {**attrs, "long_name": "Declination of the region"}),
    }


def with_off_regions(cube: xr.Dataset, texts: Sequence[str]) -> xr.Dataset:
    """Add the regions in which the background of a spectrum was counted: their texts, and how many they are.

    Examples
    --------
    >>> with_off_regions(xr.Dataset(), ["icrs;circle(1,1,0.5)", "icrs;circle(2,1,0.5)"]).n_off_regions.item()
    2
    """
    attrs = {"units": "", "long_name": "Number of off regions"}
    return cube.assign_coords(off_regions="\n".join(texts)).assign(n_off_regions=((), len(texts), attrs))


def region_hdu(text: str | Sequence[str], name: str) -> fits.BinTableHDU:
    """Return the REGION table of a region given as DS9 text, a row for each of its parts.

    Parameters
    ----------
    text
        For example ``"icrs;circle(83.63, 22.01, 0.1)"``, a union ``"(...) | (...)"``, or a list of texts.
    name
        Name of the extension, ``"COUNTS_REGION"``.

    Returns
    -------
    astropy.io.fits.BinTableHDU
        Pixels of a tangential projection around the first part.

    Raises
    ------
    ValueError
        If a region is an intersection or a difference, which this table has no row for.

    Examples
    --------
    >>> region_hdu("icrs;circle(83.63, 22.01, 0.1)", "COUNTS_REGION").data["SHAPE"].tolist()
    ['circle']
    """
    from regions import Regions

    texts = [text] if isinstance(text, str) else list(text)
    shapes = [shape for part in texts for shape in _shapes(part)]
    center = region_center(shapes[0])
    frame = center.frame.name if center.frame.name in ("icrs", "galactic", "fk5") else "icrs"
    position = center.transform_to(frame).spherical
    sky = SkyFrame.create(position.lon.deg, position.lat.deg, BINSIZE, "TAN", frame)
    table = Regions([_to_pixel(shape, sky.wcs, frame) for shape in shapes]).serialize(format="fits")
    _pad_polygons(table, shapes)
    hdu = fits.BinTableHDU(table, name=name)
    hdu.header.update({"WCSAXES": 2})
    hdu.header.update(sky.header(0, 0))
    extent = int(np.ceil(1.0 / BINSIZE))
    hdu.header["WCSSHAPE"] = f"({extent},{extent})"
    return hdu


def _shapes(text: str) -> list[SkyRegion]:
    """Parts of a union."""
    try:
        return _united(from_ds9(text))
    except ValueError as error:
        msg = (
            f"the region {text!r} is not a shape or a union of shapes; a FITS region table holds circles, ellipses, "
            "boxes, polygons, points"
        )
        raise ValueError(msg) from error


def _united(region: SkyRegion) -> list[SkyRegion]:
    from regions import CompoundSkyRegion

    if not isinstance(region, CompoundSkyRegion):
        return [region]
    if region.operator is not operator.or_:
        msg = "only unions can be divided into rows"
        raise ValueError(msg)
    return _united(region.region1) + _united(region.region2)


def _to_sky(region: PixelRegion, wcs: WCS) -> SkyRegion:
    from regions import CirclePixelRegion, CircleSkyRegion

    if isinstance(region, CirclePixelRegion):
        radius = region.radius * _scale(wcs, region.center.x, region.center.y) * u.deg
        return CircleSkyRegion(region.center.to_sky(wcs), radius, meta=region.meta)
    return _without_padding(region).to_sky(wcs)


def _to_pixel(region: SkyRegion, wcs: WCS, frame: str) -> PixelRegion:
    from regions import CirclePixelRegion, CircleSkyRegion, PixCoord

    if isinstance(region, CircleSkyRegion):
        if region.center.frame.name == frame:
            # off regions are many: without the detour over SkyCoord
            sky = region.center.spherical
            x, y = (float(v) for v in wcs.wcs_world2pix(sky.lon.deg, sky.lat.deg, 0))
        else:
            x, y = PixCoord.from_sky(region.center, wcs).xy
        return CirclePixelRegion(PixCoord(x, y), region.radius.to_value("deg") / _scale(wcs, x, y))
    return region.to_pixel(wcs)


def _scale(wcs: WCS, x: float, y: float) -> float:
    """Mean size of a pixel in degrees at a position.

    The regions package takes it from steps of a whole pixel, by which radii change in the sixth digit.
    """
    step = STEP / float(np.mean(np.abs(proj_plane_pixel_scales(wcs))))
    sides = []
    for dx, dy in ((step, 0.0), (0.0, step)):
        lon, lat = wcs.wcs_pix2world(x + dx * np.array([-1.0, 1.0]), y + dy * np.array([-1.0, 1.0]), 0)
        ends = to_vectors(np.asarray(lon), np.asarray(lat))
        sides.append(float(separation(ends[0], ends[1])) / (2 * step))
    return float(np.sqrt(sides[0] * sides[1]))


def _pad_polygons(table: QTable, shapes: list[SkyRegion]) -> None:
    """Fill the rows of polygons up with their last corner: zeros would be a corner of their own."""
    for row, shape in enumerate(shapes):
        count = len(getattr(shape, "vertices", ()))
        for column in ("X", "Y") if count else ():
            table[column][row][count:] = table[column][row][count - 1]


def _without_padding(region: PixelRegion) -> PixelRegion:
    """Polygon without the repetitions of its last corner."""
    from regions import PixCoord, PolygonPixelRegion

    if not isinstance(region, PolygonPixelRegion):
        return region
    x, y = (np.asarray(v, dtype=float) for v in region.vertices.xy)
    count = len(x)
    while count > 3 and x[count - 1] == x[count - 2] and y[count - 1] == y[count - 2]:
        count -= 1
    return PolygonPixelRegion(PixCoord(x[:count], y[:count]), meta=region.meta)
