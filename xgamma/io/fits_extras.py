"""Tables that stand beside the maps in the file of a cube: good times, attributes, columns of any kind."""

from __future__ import annotations

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.io.attrs import to_json

__all__ = ["ATTRS_HDU", "attrs_hdu", "gti_hdu", "table_column"]

#: Table with the attributes and single numbers of a cube, which gammapy's layout has no place for.
ATTRS_HDU = "XGAMMA"
#: Variables of the good time intervals.
GTI_VARIABLES = ("gti_start", "gti_stop")


def gti_hdu(cube: xr.Dataset) -> fits.BinTableHDU:
    """Good time intervals, seconds since J2000.0 (TT)."""
    start, stop = (np.atleast_1d(cube[n].values).astype(np.float64) for n in GTI_VARIABLES)
    used = np.isfinite(start) & np.isfinite(stop)
    columns = [fits.Column(n, "D", unit="s", array=v[used]) for n, v in (("START", start), ("STOP", stop))]
    hdu = fits.BinTableHDU.from_columns(columns, name="GTI")
    hdu.header.update({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMEUNIT": "s", "TIMESYS": "tt", "TIMEREF": "LOCAL"})
    return hdu


def attrs_hdu(cube: xr.Dataset, singles: dict[str, xr.DataArray]) -> fits.BinTableHDU:
    """Attributes, and single numbers and labels, as JSON in a table of one row."""
    attrs = {str(k): v for k, v in cube.attrs.items() if k not in ("name", "meta_table")}
    skip = ("wcs", "irf_wcs", "region", "region_lon", "region_lat")
    coords = {str(n): c for n, c in cube.coords.items() if c.ndim == 0 and n not in skip and c.dtype.kind in "biufU"}
    coords = {n: c for n, c in coords.items() if not n.startswith(("energy", "lon", "lat"))}
    content = {
        "named": "name" in cube.attrs,
        "attrs": attrs,
        "coords": {n: {"value": c.item(), "attrs": c.attrs} for n, c in coords.items()},
        "variables": {n: {"value": v.item(), "attrs": v.attrs} for n, v in singles.items() if v.dtype.kind in "biufU"},
    }
    text = to_json(content, "attrs")
    return fits.BinTableHDU.from_columns([fits.Column("JSON", f"{len(text)}A", array=[text])], name=ATTRS_HDU)


def table_column(name: str, values: np.ndarray) -> fits.Column:
    """Column of text, flags, whole numbers or float64."""
    if values.dtype.kind in "UO":
        text = values.astype(str)
        return fits.Column(name, f"{max(1, text.dtype.itemsize // 4)}A", array=text)
    if values.ndim > 1:
        size = int(np.prod(values.shape[1:]))
        return fits.Column(name, f"{size}D", array=values.reshape(len(values), size).astype(np.float64))
    code = {"b": "L", "i": "K", "u": "K"}.get(values.dtype.kind, "D")
    return fits.Column(name, code, array=values)
