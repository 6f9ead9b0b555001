"""Instrument responses as FITS binary tables in the layout of GADF 0.3."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.units import conversion_factor
from xgamma.irf.axes import AXES, table_axis
from xgamma.irf.read import IRF_CLASSES, IrfClass, TableColumn

__all__ = ["irf_to_hdu"]

#: Prefix of the two columns of an axis.
PREFIX = {
    "energy": "ENERG",
    "energy_true": "ENERG",
    "offset": "THETA",
    "rad": "RAD",
    "migra": "MIGRA",
    "fov_lon": "DETX",
    "fov_lat": "DETY",
}

#: Units in files, where the format wants others than ours.
FILE_UNITS = {"cm2": "m2", "s-1 TeV-1 sr-1": "s-1 MeV-1 sr-1"}


def irf_to_hdu(irf: xr.DataArray | xr.Dataset, name: str | None = None, dtype: str | None = None) -> fits.BinTableHDU:
    """Make the FITS table of a response.

    Parameters
    ----------
    irf
        Response as `xgamma.irf.read.read_irf` gives it; a lazy one is computed.
    name
        Name of the HDU, by default that of the format.
    dtype
        ``"float64"``, or ``"float32"`` for files half as large. By default each column is ``"float32"`` where that
        changes no number, as in copies of public files, and ``"float64"`` elsewhere.

    Returns
    -------
    astropy.io.fits.BinTableHDU
        One row of vector columns. Read again, float64 values differ by a rounding of the unit conversion at most.

    Raises
    ------
    ValueError
        If the class is not known or not that of the data, or values are not finite.

    Notes
    -----
    gammapy 2.1 interpolates backgrounds between a rate and a zero differently in float32 and float64 columns: a copy of
    a response in its own type means the same to it as the response.

    References
    ----------
    Data formats for gamma-ray astronomy 0.3, "Instrument response functions".

    Examples
    --------
    >>> from xgamma.irf.aeff import from_parametrization
    >>> hdu = irf_to_hdu(from_parametrization())
    >>> hdu.columns.names
    ['ENERG_LO', 'ENERG_HI', 'THETA_LO', 'THETA_HI', 'EFFAREA']
    """
    if dtype not in (None, "float64", "float32"):
        msg = f"dtype={dtype!r} must be 'float64' or 'float32'"
        raise ValueError(msg)
    known = _class_of(irf)
    columns = []
    for axis in known.axes:
        table = table_axis(irf, axis)
        for end, values in (("LO", table.lo), ("HI", table.hi)):
            columns.append(_column(f"{PREFIX[axis]}_{end}", values, AXES[axis][0], dtype))
    for column in known.columns:
        array = irf if isinstance(irf, xr.DataArray) else irf[column.name]
        columns.append(_data_column(array, known, column, dtype))
    hdu = fits.BinTableHDU.from_columns(columns, name=name or known.extname)
    hdu.header.update(_cards(irf, known))
    return hdu


def _class_of(irf: xr.DataArray | xr.Dataset) -> IrfClass:
    name = irf.attrs.get("hduclass")
    if name not in IRF_CLASSES:
        msg = f"attrs['hduclass'] is {name!r}; to write a response it must be one of {', '.join(IRF_CLASSES)}"
        raise ValueError(msg)
    known = IRF_CLASSES[name]
    if set(irf.dims) != set(known.axes):
        msg = f"a response of class {name} has dims {known.axes}, this one has {tuple(irf.dims)}"
        raise ValueError(msg)
    if isinstance(irf, xr.Dataset):
        missing = [c.name for c in known.columns if c.name not in irf]
        if missing:
            msg = f"a response of class {name} needs the variables {missing}"
            raise ValueError(msg)
    return known


def _data_column(array: xr.DataArray, known: IrfClass, column: TableColumn, dtype: str | None) -> fits.Column:
    units = array.attrs.get("units")
    if units != column.units:
        msg = f"{column.name} has units {units!r} instead of {column.units!r}"
        raise ValueError(msg)
    values = array.transpose(*known.layouts[0]).values
    if not np.isfinite(values).all():
        msg = f"{column.name} holds values that are NaN or infinite; they cannot be written as a response"
        raise ValueError(msg)
    unit = FILE_UNITS.get(column.units, column.units)
    # dividing by the factor that the reader multiplies with gives numbers that came from a file back exactly
    return _column(column.names[0], values / conversion_factor(unit, column.units), unit, dtype)


def _column(name: str, values: np.ndarray, unit: str, dtype: str | None) -> fits.Column:
    if dtype is None:
        with np.errstate(over="ignore", under="ignore"):
            dtype = "float32" if np.array_equal(values.astype("float32"), values) else "float64"
    letter = "D" if dtype == "float64" else "E"
    dim = str(values.shape[::-1]) if values.ndim > 1 else None
    data = values[np.newaxis].astype(dtype)
    return fits.Column(name, format=f"{values.size}{letter}", dim=dim, unit=unit or None, array=data)


def _cards(irf: xr.DataArray | xr.Dataset, known: IrfClass) -> dict[str, Any]:
    attrs = irf.attrs
    cards: dict[str, Any] = {
        "HDUCLASS": "GADF",
        "HDUDOC": "https://github.com/open-gamma-ray-astro/gamma-astro-data-formats",
        "HDUVERS": "0.3",
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": known.hduclas2,
        "HDUCLAS3": "POINT-LIKE" if attrs.get("is_pointlike") else "FULL-ENCLOSURE",
        "HDUCLAS4": attrs["hduclass"],
    }
    if known.kind == "background":
        cards["FOVALIGN"] = attrs.get("fov_alignment", "RADEC")
    for key in ("lo_thres", "hi_thres", "rad_max", "telescop", "instrume"):
        if key in attrs:
            cards[key.upper()] = attrs[key]
    return cards
