"""Units: canonical inside, converted once at the public boundary."""

from __future__ import annotations

import functools
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr

__all__ = ["angle_pair", "canonical_attrs", "conversion_factor", "quantity", "to_unit", "to_value"]


@functools.lru_cache(maxsize=512)
def conversion_factor(unit: str, target: str) -> float:
    """Return the factor that turns numbers in `unit` into numbers in `target`.

    Parameters
    ----------
    unit, target
        Unit strings that astropy understands, for example ``"m2 s"``.

    Returns
    -------
    float
        ``value_in_target = factor * value_in_unit``.

    Raises
    ------
    ValueError
        If a unit is not known or the two do not measure the same thing.

    Examples
    --------
    >>> conversion_factor("m2", "cm2")
    10000.0
    """
    try:
        return float(_parse_unit(unit).to(_parse_unit(target)))
    except u.UnitConversionError as error:
        msg = f"unit {unit!r} cannot be converted to {target!r}"
        raise ValueError(msg) from error


@functools.lru_cache(maxsize=512)
def _parse_unit(unit: str) -> u.UnitBase:
    try:
        return u.Unit(unit)
    except (ValueError, TypeError) as error:
        msg = f"unit {unit!r} is not a known unit"
        raise ValueError(msg) from error


def to_value(value: Any, unit: str, name: str = "value") -> Any:
    """Convert a quantity, a string such as ``"0.1 deg"`` or a labelled array to floats in `unit`.

    Parameters
    ----------
    value
        `~astropy.units.Quantity`, string, list of strings, a DataArray with a ``units``
        attribute, or a plain number where `unit` is dimensionless.
    unit
        Target unit.
    name
        Name of the argument, for messages.

    Returns
    -------
    float or numpy.ndarray

    Raises
    ------
    ValueError
        If the unit is missing or wrong, or a value is NaN.

    Examples
    --------
    >>> to_value("0.5 TeV", "GeV")
    500.0
    """
    try:
        result = _as_quantity(value, unit).to_value(unit)
    except (u.UnitConversionError, TypeError, ValueError) as error:
        msg = f"{name}={value!r} must be given in a unit that converts to {unit!r}, for example '1 {unit}'"
        raise ValueError(msg) from error
    result = np.asarray(result, dtype=float)
    if np.isnan(result).any():
        msg = f"{name}={value!r} holds NaN"
        raise ValueError(msg)
    return result.item() if result.ndim == 0 else result


def angle_pair(value: Any, name: str) -> tuple[float, float]:
    """Return an angle, or a pair of angles along (x, y), as two positive numbers in degrees.

    Parameters
    ----------
    value
        Angle with a unit, or a pair of them.
    name
        Name of the argument, for messages.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If it is not one angle or two, or one is not positive and finite.

    Examples
    --------
    >>> angle_pair("0.5 deg", "width")
    (0.5, 0.5)
    """
    values = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        msg = f"{name}={value!r} must be one angle or a pair"
        raise ValueError(msg)
    first, second = (to_value(v, "deg", name) for v in values)
    if not all(isinstance(v, float) and np.isfinite(v) and v > 0 for v in (first, second)):
        msg = f"{name}={value!r} must be positive and finite"
        raise ValueError(msg)
    return first, second


def _as_quantity(value: Any, unit: str) -> u.Quantity:
    if isinstance(value, u.Quantity):
        return value
    if isinstance(value, xr.DataArray):
        return u.Quantity(value.values, value.attrs.get("units", ""))
    if isinstance(value, str):
        return u.Quantity(value)
    if isinstance(value, (list, tuple)) and any(isinstance(v, (str, u.Quantity)) for v in value):
        return u.Quantity([u.Quantity(v) for v in value])
    if _parse_unit(unit) != u.dimensionless_unscaled:
        msg = "a number without a unit"
        raise ValueError(msg)
    return u.Quantity(value, "")


def canonical_attrs(units: str, long_name: str | None = None) -> dict[str, str]:
    """Return the attributes that every output of xgamma carries.

    Parameters
    ----------
    units
        Unit of the values, ``""`` for numbers.
    long_name
        Label for plots.

    Returns
    -------
    dict

    Examples
    --------
    >>> canonical_attrs("cm2 s", "Exposure")
    {'units': 'cm2 s', 'long_name': 'Exposure'}
    """
    attrs = {"units": units}
    if long_name is not None:
        attrs["long_name"] = long_name
    return attrs


def units_of(array: xr.DataArray) -> str:
    """Return the unit string of an array.

    Parameters
    ----------
    array
        Any shape.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the array has no ``attrs["units"]``.

    Examples
    --------
    >>> units_of(xr.DataArray([1.0], dims="x", attrs={"units": "m2"}))
    'm2'
    """
    try:
        return str(array.attrs["units"])
    except KeyError:
        msg = f"array {array.name!r} has no attrs['units']; set it, for example to 'cm2 s'"
        raise ValueError(msg) from None


def to_unit(array: xr.DataArray, unit: str) -> xr.DataArray:
    """Convert a DataArray to another unit; lazy if `array` is lazy.

    Parameters
    ----------
    array
        Any shape, with ``attrs["units"]``.
    unit
        Target unit.

    Returns
    -------
    xarray.DataArray
        Same dims and coordinates.

    Raises
    ------
    ValueError
        If the array has no unit, or one that does not convert.

    Examples
    --------
    >>> import xarray as xr
    >>> area = xr.DataArray([1.0], dims="x", attrs={"units": "m2"})
    >>> to_unit(area, "cm2").values
    array([10000.])
    """
    factor = conversion_factor(units_of(array), unit)
    result = array.copy(data=array.data * factor)
    result.attrs = {**array.attrs, "units": unit}
    return result


def quantity(array: xr.DataArray) -> u.Quantity:
    """Return the values as an astropy Quantity; this computes a lazy array.

    Parameters
    ----------
    array
        Any shape, with ``attrs["units"]``.

    Returns
    -------
    astropy.units.Quantity

    Examples
    --------
    >>> import xarray as xr
    >>> quantity(xr.DataArray([1.0, 2.0], dims="x", attrs={"units": "m2"}))
    <Quantity [1., 2.] m2>
    """
    return u.Quantity(np.asarray(array.values), units_of(array))
