"""Attributes: what xarray holds in memory against what files can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["decode_attrs", "encode_attrs", "from_json", "to_json"]

#: Attribute that lists the names of those that are written as JSON text.
JSON_NAMES = "xgamma_json"
#: Attribute of the root of a file: version of the layout.
FORMAT = "xgamma_format"
FORMAT_VERSION = 1


def to_json(value: Any, name: str = "value") -> str:
    """Return `value` as one line of JSON.

    Raises
    ------
    TypeError
        If it holds something that JSON has no word for.

    Examples
    --------
    >>> to_json({"versions": {"xgamma": "0.1"}, "inputs": ["a.fits"]})
    '{"versions": {"xgamma": "0.1"}, "inputs": ["a.fits"]}'
    """
    try:
        return json.dumps(value, default=_plain)
    except TypeError as error:
        msg = f"attribute {name!r} cannot be written ({error}); turn it into text, numbers, lists and dicts of these"
        raise TypeError(msg) from error


def from_json(text: str, name: str = "value") -> Any:
    """Return what `to_json` wrote.

    Raises
    ------
    ValueError
        If the text is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"attribute {name!r} is not valid JSON ({error}): {text[:60]!r}"
        raise ValueError(msg) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    msg = f"it holds a {type(value).__name__}"
    raise TypeError(msg)


def _native(value: Any) -> bool:
    """True for what both Zarr and netCDF keep as it is: text, and finite numbers of 64 bits."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float) and math.isfinite(value)


def _encode(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    names = []
    for key, value in attrs.items():
        name, item = str(key), _plain(value) if isinstance(value, np.generic) else value
        if _native(item):
            result[name] = item
        else:
            result[name] = to_json(item, name)
            names.append(name)
    if names:
        result[JSON_NAMES] = json.dumps(names)
    return result


def _decode(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    names = from_json(str(attrs.get(JSON_NAMES, "[]")), JSON_NAMES)
    return {
        key: from_json(value, str(key)) if key in names else value.item() if isinstance(value, np.generic) else value
        for key, value in attrs.items()
        if key not in (JSON_NAMES, FORMAT)
    }


def encode_attrs(dataset: xr.Dataset) -> xr.Dataset:
    """Return a copy whose attributes are text and numbers only; nested ones become JSON text.

    Examples
    --------
    >>> import xarray as xr
    >>> encode_attrs(xr.Dataset(attrs={"versions": {"xgamma": "0.1"}})).attrs["versions"]
    '{"xgamma": "0.1"}'
    """
    result = dataset.copy()
    result.attrs = {**_encode(dataset.attrs), FORMAT: FORMAT_VERSION}
    for variable in result.variables.values():
        variable.attrs = _encode(variable.attrs)
    return result


def decode_attrs(dataset: xr.Dataset) -> xr.Dataset:
    """Undo `encode_attrs`.

    Examples
    --------
    >>> import xarray as xr
    >>> dataset = xr.Dataset(attrs={"versions": {"xgamma": "0.1"}})
    >>> decode_attrs(encode_attrs(dataset)).attrs
    {'versions': {'xgamma': '0.1'}}
    """
    result = dataset.copy()
    result.attrs = _decode(dataset.attrs)
    for variable in result.variables.values():
        variable.attrs = _decode(variable.attrs)
    return result
