"""Instrument responses from FITS binary tables (GADF, and the OGIP-like tables of CTA-1DC)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from numpy.typing import NDArray

from xgamma.coords.units import conversion_factor
from xgamma.irf.axes import AXES, response_array, response_axis

__all__ = ["IRF_CLASSES", "irf_class_of", "read_irf"]

#: Unit of a background table that says none, or one that makes no sense.
DEFAULT_BACKGROUND_UNIT = "s-1 MeV-1 sr-1"

#: Column prefixes under which an axis may appear, in the order in which they are tried.
PREFIXES = {
    "energy": ("ENERG", "ETRUE"),
    "energy_true": ("ENERG", "ETRUE"),
    "offset": ("THETA",),
    "rad": ("RAD",),
    "migra": ("MIGRA",),
    "fov_lon": ("DETX",),
    "fov_lat": ("DETY",),
}


@dataclass(frozen=True)
class TableColumn:
    """A data column: its names in files, our name, unit, label, and whether values below 0 are wrong."""

    names: tuple[str, ...]
    name: str
    units: str
    long_name: str
    positive: bool = True


@dataclass(frozen=True)
class IrfClass:
    """What a class of response consists of.

    Attributes
    ----------
    kind
        Name of the response: ``aeff``, ``edisp``, ``psf``, ``background`` or ``rad_max``.
    axes
        Dimensions of the labelled array.
    layouts
        Orders of the axes in the FITS column (numpy order), the standard one first. The first that fits
        the lengths of the axes is taken.
    columns
        Data columns; several make a Dataset.
    hduclas2, extname
        What a written HDU says.
    """

    kind: str
    axes: tuple[str, ...]
    layouts: tuple[tuple[str, ...], ...]
    columns: tuple[TableColumn, ...]
    hduclas2: str
    extname: str


def _layouts(*axes: str) -> tuple[tuple[str, ...], ...]:
    return axes[::-1], axes


#: The classes of GADF that xgamma reads and writes.
IRF_CLASSES: dict[str, IrfClass] = {
    "AEFF_2D": IrfClass(
        "aeff",
        ("energy_true", "offset"),
        _layouts("energy_true", "offset"),
        (TableColumn(("EFFAREA",), "aeff", "cm2", "Effective area"),),
        "EFF_AREA",
        "EFFECTIVE AREA",
    ),
    "EDISP_2D": IrfClass(
        "edisp",
        ("energy_true", "migra", "offset"),
        _layouts("energy_true", "migra", "offset"),
        (TableColumn(("MATRIX",), "edisp", "", "Energy dispersion per migration"),),
        "EDISP",
        "ENERGY DISPERSION",
    ),
    "PSF_TABLE": IrfClass(
        "psf",
        ("energy_true", "offset", "rad"),
        _layouts("energy_true", "offset", "rad"),
        (TableColumn(("RPSF",), "psf", "sr-1", "Point spread function"),),
        "RPSF",
        "PSF_2D_TABLE",
    ),
    "PSF_3GAUSS": IrfClass(
        "psf",
        ("energy_true", "offset"),
        _layouts("energy_true", "offset"),
        (
            TableColumn(("SCALE",), "scale", "sr-1", "Scale"),
            TableColumn(("SIGMA_1",), "sigma_1", "deg", "Width of the first Gaussian"),
            TableColumn(("AMPL_2",), "ampl_2", "", "Relative amplitude of the second Gaussian", positive=False),
            TableColumn(("SIGMA_2",), "sigma_2", "deg", "Width of the second Gaussian"),
            TableColumn(("AMPL_3",), "ampl_3", "", "Relative amplitude of the third Gaussian", positive=False),
            TableColumn(("SIGMA_3",), "sigma_3", "deg", "Width of the third Gaussian"),
        ),
        "RPSF",
        "PSF_2D_GAUSS",
    ),
    "PSF_KING": IrfClass(
        "psf",
        ("energy_true", "offset"),
        _layouts("energy_true", "offset"),
        (
            TableColumn(("GAMMA",), "gamma", "", "King profile index"),
            TableColumn(("SIGMA",), "sigma", "deg", "King profile width"),
        ),
        "RPSF",
        "PSF_2D_KING",
    ),
    "BKG_2D": IrfClass(
        "background",
        ("energy", "offset"),
        _layouts("energy", "offset"),
        (TableColumn(("BKG", "BGD"), "background", "s-1 TeV-1 sr-1", "Background rate"),),
        "BKG",
        "BACKGROUND",
    ),
    "BKG_3D": IrfClass(
        "background",
        ("energy", "fov_lon", "fov_lat"),
        # files of H.E.S.S. and CTA hold (energy, lon, lat); the last two only tell where lengths differ
        (
            ("fov_lat", "fov_lon", "energy"),
            ("energy", "fov_lon", "fov_lat"),
            ("energy", "fov_lat", "fov_lon"),
            ("fov_lon", "fov_lat", "energy"),
        ),
        (TableColumn(("BKG", "BGD"), "background", "s-1 TeV-1 sr-1", "Background rate"),),
        "BKG",
        "BACKGROUND",
    ),
    "RAD_MAX_2D": IrfClass(
        "rad_max",
        ("energy", "offset"),
        _layouts("energy", "offset"),
        (TableColumn(("RAD_MAX",), "rad_max", "deg", "Radius of the selection"),),
        "RAD_MAX",
        "RAD_MAX",
    ),
}


#: Negative values are noise up to this part of the largest value.
NEGATIVE_PART = 0.05


def irf_class_of(hdu: fits.BinTableHDU, irf_class: str | None = None) -> str:
    """Find the class of a response.

    Parameters
    ----------
    hdu
        Binary table.
    irf_class
        What an index table says (``"aeff_2d"``); any case. It wins over the header.

    Returns
    -------
    str
        A key of `IRF_CLASSES`.

    Raises
    ------
    ValueError
        If neither the argument, nor HDUCLAS4, nor the columns name a known class.

    Notes
    -----
    CTA-1DC writes ``2D``, ``3D`` or ``3GAUSS`` in HDUCLAS4; there the columns decide, which differ from
    class to class.

    Examples
    --------
    >>> column = fits.Column("EFFAREA", "1E", unit="m2", array=[1.0])
    >>> irf_class_of(fits.BinTableHDU.from_columns([column]))
    'AEFF_2D'
    """
    for word in (irf_class, hdu.header.get("HDUCLAS4")):
        name = str(word or "").strip().upper()
        if name in IRF_CLASSES:
            return name
        if word is irf_class and word is not None:
            msg = f"{_label(hdu)}: response class {irf_class!r} is not one of {', '.join(IRF_CLASSES)}"
            raise ValueError(msg)
    present = {str(name).upper() for name in hdu.columns.names}
    for name, known in IRF_CLASSES.items():
        planar = "fov_lon" in known.axes
        if any(c in present for c in known.columns[0].names) and planar == ("DETX_LO" in present):
            return name
    msg = f"{_label(hdu)}: columns {sorted(present)} are not those of a response ({', '.join(IRF_CLASSES)})"
    raise ValueError(msg)


def read_irf(hdu: fits.BinTableHDU, irf_class: str | None = None) -> xr.DataArray | xr.Dataset:
    """Read a response from a FITS table of one row.

    Parameters
    ----------
    hdu
        Binary table of one of the classes AEFF_2D, EDISP_2D, PSF_TABLE, PSF_3GAUSS, PSF_KING, BKG_2D,
        BKG_3D and RAD_MAX_2D.
    irf_class
        Class, where it is known from an index table; by default the header and the columns tell.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Table in canonical units on binned axes: ``aeff`` (energy_true, offset) in cm2, ``edisp``
        (energy_true, migra, offset), ``psf`` (energy_true, offset, rad) in sr-1, ``background``
        (energy, offset) or (energy, fov_lon, fov_lat) in s-1 TeV-1 sr-1, ``rad_max`` (energy, offset) in deg.
        PSF_3GAUSS and PSF_KING give a Dataset with a variable per parameter. Attributes: ``hduclass``,
        ``is_pointlike`` (0 or 1), ``fov_alignment`` (of a background), and where the header has them
        ``lo_thres`` and ``hi_thres`` (TeV), ``rad_max`` (deg), ``telescop``, ``instrume``.

    Raises
    ------
    ValueError
        If the table is empty or has several rows, a column or unit is missing or wrong, values are not
        finite or negative, or their shape does not fit the axes. The message names HDU and column.

    References
    ----------
    Data formats for gamma-ray astronomy 0.3, "Instrument response functions".

    Examples
    --------
    >>> from xgamma.irf.aeff import from_parametrization
    >>> from xgamma.irf.write import irf_to_hdu
    >>> aeff = read_irf(irf_to_hdu(from_parametrization("HESS")))
    >>> aeff.dims, aeff.attrs["units"]
    (('energy_true', 'offset'), 'cm2')
    """
    name = irf_class_of(hdu, irf_class)
    known = IRF_CLASSES[name]
    row = _single_row(hdu)
    axes = [_read_axis(hdu, row, axis) for axis in known.axes]
    attrs = _header_attrs(hdu, name)
    arrays = [
        response_array(_read_data(hdu, row, known, c, axes), axes, c.name, c.units, c.long_name) for c in known.columns
    ]
    if len(arrays) == 1:
        arrays[0].attrs.update(attrs)
        return arrays[0]
    return xr.Dataset({str(a.name): a.variable for a in arrays}, coords=arrays[0].coords, attrs=attrs)


def _label(hdu: fits.BinTableHDU) -> str:
    return f"HDU {hdu.name or '(without a name)'!r}"


def _single_row(hdu: fits.BinTableHDU) -> Any:
    number = 0 if hdu.data is None else len(hdu.data)
    if number != 1:
        msg = f"{_label(hdu)} has {number} rows; a response table has exactly one"
        raise ValueError(msg)
    return hdu.data[0]


def _find_column(hdu: fits.BinTableHDU, names: tuple[str, ...]) -> str:
    present = {str(name).upper(): str(name) for name in hdu.columns.names}
    found = next((present[n] for n in names if n in present), None)
    if found is None:
        msg = f"{_label(hdu)} has no column {' or '.join(names)}; it has {', '.join(present.values()) or 'none'}"
        raise ValueError(msg)
    return found


def _values(hdu: fits.BinTableHDU, row: Any, column: str) -> NDArray[np.float64]:
    try:
        values = np.array(row[column], dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"{_label(hdu)}, column {column}: the values are not numbers"
        raise ValueError(msg) from error
    if values.size == 0:
        msg = f"{_label(hdu)}, column {column} is empty"
        raise ValueError(msg)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        msg = f"{_label(hdu)}, column {column}: {bad} of {values.size} values are NaN or infinite"
        raise ValueError(msg)
    return values


def _read_axis(hdu: fits.BinTableHDU, row: Any, name: str) -> xr.DataArray:
    columns = [_find_column(hdu, tuple(f"{p}_{end}" for p in PREFIXES[name])) for end in ("LO", "HI")]
    lo, hi = (_values(hdu, row, c).ravel() * _factor(hdu, c, AXES[name][0]) for c in columns)
    try:
        return response_axis(name, lo, hi)
    except ValueError as error:
        msg = f"{_label(hdu)}, columns {' and '.join(columns)}: {error}"
        raise ValueError(msg) from error


def _factor(hdu: fits.BinTableHDU, column: str, target: str) -> float:
    """Factor from the unit of a column to the canonical one."""
    unit = str(hdu.columns[column].unit or "").strip()
    if not target:
        # ratios: some files say "1" or leave it out
        return 1.0
    if not unit:
        msg = f"{_label(hdu)}, column {column} has no unit; set TUNIT, for example to {target!r}"
        raise ValueError(msg)
    try:
        return conversion_factor(unit, target)
    except ValueError as error:
        msg = f"{_label(hdu)}, column {column}: {error}"
        raise ValueError(msg) from error


def _background_factor(hdu: fits.BinTableHDU, column: str, target: str) -> float:
    """As `_factor`, but background files with a missing or unreadable unit are common and mean the standard one."""
    unit = str(hdu.columns[column].unit or "").strip()
    # astropy takes only one division in a unit
    parts = [p.strip() for p in unit.split("/")]
    if len(parts) > 2 and parts[0] == "1":
        unit = " ".join(f"{p}-1" for p in parts[1:])
    try:
        return conversion_factor(unit, target)
    except ValueError:
        where = f"{_label(hdu)}, column {column}"
        msg = f"{where}: unit {unit!r} is not that of a background, taken as {DEFAULT_BACKGROUND_UNIT!r}"
        warnings.warn(msg, UserWarning, stacklevel=2)
        return conversion_factor(DEFAULT_BACKGROUND_UNIT, target)


def _read_data(
    hdu: fits.BinTableHDU, row: Any, known: IrfClass, column: TableColumn, axes: list[xr.DataArray]
) -> NDArray[np.float64]:
    name = _find_column(hdu, column.names)
    values = _values(hdu, row, name)
    # responses that a writer interpolated dip below zero at their edges (a hundredth of the maximum in
    # H.E.S.S. DR1); they are kept as they are, and clipped after interpolation as the field does
    if column.positive and values.min(initial=0.0) < -NEGATIVE_PART * values.max(initial=0.0):
        number = int(np.count_nonzero(values < 0))
        msg = f"{_label(hdu)}, column {name}: {number} of {values.size} values are negative, down to {values.min():g}"
        raise ValueError(msg)
    values = _order(hdu, name, values, known, {str(a.name): a.size for a in axes})
    if known.kind == "background":
        factor = _background_factor(hdu, name, column.units)
    elif column.name == "scale":
        # only relative to the other Gaussians: the profile is normalised, and many files give no unit
        factor = 1.0
    else:
        factor = _factor(hdu, name, column.units)
    values *= factor
    return values


def _order(
    hdu: fits.BinTableHDU, column: str, values: NDArray[np.float64], known: IrfClass, sizes: dict[str, int]
) -> NDArray[np.float64]:
    """Bring the axes of a column into our order, whatever order the file has."""
    if values.ndim < len(known.axes) and values.size == math.prod(sizes.values()):
        # FITS drops axes of length 1 where there is no TDIM
        values = values.reshape([sizes[a] for a in known.layouts[0]])
    for layout in known.layouts:
        if values.shape == tuple(sizes[a] for a in layout):
            return np.ascontiguousarray(values.transpose([layout.index(a) for a in known.axes]))
    wanted = " or ".join(str(tuple(sizes[a] for a in layout)) for layout in known.layouts[:2])
    msg = f"{_label(hdu)}, column {column} has shape {values.shape}; with its axes {sizes} it should be {wanted}"
    raise ValueError(msg)


def _header_attrs(hdu: fits.BinTableHDU, name: str) -> dict[str, Any]:
    header = hdu.header
    attrs: dict[str, Any] = {
        "hduclass": name,
        "is_pointlike": int(str(header.get("HDUCLAS3", "")).strip().upper() == "POINT-LIKE"),
    }
    if IRF_CLASSES[name].kind == "background":
        attrs["fov_alignment"] = _alignment(hdu)
    for key in ("LO_THRES", "HI_THRES", "RAD_MAX"):
        value = _number(header.get(key))
        if value is not None:
            attrs[key.lower()] = value
    for key in ("TELESCOP", "INSTRUME"):
        text = str(header.get(key, "")).strip()
        if text:
            attrs[key.lower()] = text
    return attrs


def _alignment(hdu: fits.BinTableHDU) -> str:
    alignment = str(hdu.header.get("FOVALIGN", "RADEC")).strip().upper()
    known = ("RADEC", "ALTAZ", "REVERSE_LON_RADEC")
    if alignment not in known:
        msg = f"{_label(hdu)}: FOVALIGN = {alignment!r} is not one of {', '.join(known)}"
        raise ValueError(msg)
    return alignment


def _number(value: Any) -> float | None:
    """A header value as a number, None where it is missing or says nothing."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
