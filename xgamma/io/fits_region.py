"""Sky regions in FITS: the REGION table of region maps."""

from __future__ import annotations

import warnings

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.units import UnitsWarning
from astropy.wcs import WCS

from xgamma.coords.frame import SkyFrame
from xgamma.coords.regions import from_ds9, region_center, to_ds9

__all__ = ["read_region", "region_hdu"]

#: Pixel size in degrees of the projection that a written region stands in.
BINSIZE = 0.01


def read_region(hdu: fits.BinTableHDU, where: str) -> str | None:
    """Return the region of a REGION table as DS9 text, None for an empty table.

    Parameters
    ----------
    hdu
        Columns SHAPE, X, Y, R, ROTANG in pixels, and a WCS in the header.
    where
        File and HDU, for messages.

    Raises
    ------
    ValueError
        If a shape is not known.
    """
    from regions import Regions

    if hdu.data is None or len(hdu.data) == 0:
        return None
    keys = {
        k: v for k, v in hdu.header.items() if k[:5] in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") or k == "RADESYS"
    }
    keys.update(
        {k: hdu.header[k] for k in ("LONPOLE", "LATPOLE", "PC1_1", "PC1_2", "PC2_1", "PC2_2") if k in hdu.header}
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
            table = Table.read(hdu)
        regions = [r.to_sky(WCS(fits.Header(keys))) for r in Regions.parse(table, format="fits")]
    except Exception as error:  # the parsers raise many kinds
        msg = f"{where}: the region table {hdu.name} cannot be read: {error}"
        raise ValueError(msg) from error
    text = None
    for region in regions:
        part = to_ds9(region)
        text = part if text is None else f"({text}) | ({part})"
    return text


def region_hdu(text: str, name: str) -> fits.BinTableHDU:
    """Return the REGION table of a region given as DS9 text.

    Parameters
    ----------
    text
        For example ``"icrs;circle(83.63, 22.01, 0.1)"``.
    name
        Name of the extension, ``"COUNTS_REGION"``.

    Raises
    ------
    ValueError
        If the region is a compound, which this table has no row for.

    Examples
    --------
    >>> region_hdu("icrs;circle(83.63, 22.01, 0.1)", "COUNTS_REGION").data["SHAPE"].tolist()
    ['circle']
    """
    from regions import Regions

    try:
        region = from_ds9(text)
    except ValueError as error:
        msg = f"the region {text!r} is not a single shape; a FITS region table holds circles, ellipses, boxes, polygons"
        raise ValueError(msg) from error
    center = region_center(region)
    frame = center.frame.name if center.frame.name in ("icrs", "galactic", "fk5") else "icrs"
    position = center.transform_to(frame).spherical
    sky = SkyFrame.create(position.lon.deg, position.lat.deg, BINSIZE, "TAN", frame)
    table = Regions([region.to_pixel(sky.wcs)]).serialize(format="fits")
    hdu = fits.BinTableHDU(table, name=name)
    hdu.header.update({"WCSAXES": 2})
    hdu.header.update(sky.header(0, 0))
    extent = int(np.ceil(1.0 / BINSIZE))
    hdu.header["WCSSHAPE"] = f"({extent},{extent})"
    return hdu
