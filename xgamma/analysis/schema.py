"""From nested mappings to frozen dataclasses, with words that name the key."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any, TypeVar

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle
from astropy.time import Time

from xgamma.coords.units import to_value

__all__ = [
    "angle",
    "build",
    "choice",
    "energy",
    "flag",
    "key",
    "list_of",
    "mapping",
    "memory",
    "nearest",
    "positive_angle",
    "text",
    "times",
    "to_mapping",
    "whole_number",
]

T = TypeVar("T")
Check = Callable[[Any, str], Any]


def key(default: Any = None, *, check: Check | None = None, old: str | None = None) -> Any:
    """Return a dataclass field for a key of the configuration.

    Parameters
    ----------
    default
        Value where the key is absent or null; a dataclass type makes a section.
    check
        ``check(value, where)`` returns the clean value or raises in words.
    old
        Name of the key in older files.
    """
    metadata = {"check": check, "old": old, "section": default if is_dataclass(default) else None}
    if is_dataclass(default):
        return field(default_factory=default, metadata=metadata)  # type: ignore[arg-type]
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def build(cls: type[T], data: Any, where: str = "", root: type | None = None) -> T:
    """Build a dataclass of `key` fields from a mapping.

    Parameters
    ----------
    cls
        Dataclass whose fields come from `key`; its method ``validate(where)``, if it has one, checks
        the values against each other.
    data
        Mapping, as YAML gives it; None for all defaults.
    where
        Path of the section, for messages.
    root
        Dataclass of the whole configuration, in which names that are not known are looked for.

    Raises
    ------
    ValueError
        If the section is no mapping, a key is not known, or a value is wrong.
    """
    root = cls if root is None else root
    if data is None:
        return cls()
    if not isinstance(data, Mapping):
        msg = f"{where or 'the configuration'} must be a section with keys, not {data!r}"
        raise ValueError(msg)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    renamed = {f.metadata["old"]: name for name, f in known.items() if f.metadata.get("old")}
    values: dict[str, Any] = {}
    for name, value in data.items():
        target = renamed.get(name, name)
        if target not in known:
            raise ValueError(_unknown(str(name), list(known), where, root))
        if target in values:
            msg = f"{_path(where, target)} is given twice: {name!r} is its older name"
            raise ValueError(msg)
        values[target] = _clean(known[target], value, _path(where, target), root)
    result = cls(**values)
    validate = getattr(result, "validate", None)
    if validate is not None:
        validate(where)
    return result


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _unknown(name: str, known: list[str], where: str, root: type) -> str:
    elsewhere = [path for path in _paths(root) if path.rpartition(".")[2] == name]
    if len(elsewhere) == 1 and not difflib.get_close_matches(name, known, n=1):
        hint = f"; did you mean {elsewhere[0]!r}?"
    else:
        hint = nearest(name, known)
    return f"configuration key {_path(where, name)!r} is not known{hint}"


def _paths(cls: type, where: str = "") -> Iterator[str]:
    for item in fields(cls):
        path = _path(where, item.name)
        yield path
        if item.metadata["section"] is not None:
            yield from _paths(item.metadata["section"], path)


def nearest(name: str, known: list[str]) -> str:
    """Return the end of a message about a name that is not known: the nearest one, or all there are."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {sorted(known)}"


def _clean(item: dataclasses.Field[Any], value: Any, where: str, root: type) -> Any:
    section, check = item.metadata["section"], item.metadata["check"]
    if section is not None:
        return build(section, value, where, root)
    if value is None:
        return item.default_factory() if item.default_factory is not MISSING else item.default
    return value if check is None else check(value, where)


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dicts, for YAML."""
    return dataclasses.asdict(config)


def choice(*names: str) -> Check:
    """Return a check that the value is one of `names`."""

    def check(value: Any, where: str) -> Any:
        if value not in names:
            hint = nearest(value, list(names)) if isinstance(value, str) else f"; there are {list(names)}"
            msg = f"{where}={value!r} is not known{hint}"
            raise ValueError(msg)
        return value

    return check


def list_of(check: Check | None = None) -> Check:
    """Return a check that the value is a list, and of its items."""

    def check_all(value: Any, where: str) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            msg = f"{where}={value!r} must be a list"
            raise ValueError(msg)
        return list(value) if check is None else [check(v, f"{where}[{i}]") for i, v in enumerate(value)]

    return check_all


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Check a section whose keys are the business of somebody else."""
    if not isinstance(value, Mapping):
        msg = f"{where}={value!r} must be a section with keys"
        raise ValueError(msg)
    return {str(k): _plain(v) for k, v in value.items()}


def flag(value: Any, where: str) -> bool:
    """Check a truth value."""
    if not isinstance(value, bool):
        msg = f"{where}={value!r} must be true or false"
        raise ValueError(msg)
    return value


def text(value: Any, where: str) -> str:
    """Check a text that is not empty; paths become text."""
    if hasattr(value, "__fspath__"):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        msg = f"{where}={value!r} must be a text"
        raise ValueError(msg)
    return value


def whole_number(value: Any, where: str) -> int:
    """Check a count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        msg = f"{where}={value!r} must be a whole number of at least 1"
        raise ValueError(msg)
    return int(value)


def memory(value: Any, where: str) -> str:
    """Check a size of memory; it stays text."""
    from dask.utils import parse_bytes

    try:
        if isinstance(value, bool) or not parse_bytes(value) > 0:
            raise ValueError
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{where}={value!r} must be a size of memory, for example '2 GiB'"
        raise ValueError(msg) from error
    return str(value)


def angle(value: Any, where: str) -> str:
    """Check an angle, in degrees as in hours; it stays text."""
    value = _plain(value)
    try:
        if not isinstance(value, str) or not Angle(value).isscalar or not np.isfinite(Angle(value).deg):
            raise ValueError
    except (ValueError, TypeError, u.UnitsError) as error:
        msg = f"{where}={value!r} must be an angle with its unit, for example '1 deg'"
        raise ValueError(msg) from error
    return value


def positive_angle(value: Any, where: str) -> str:
    """Check an angle that is larger than 0."""
    value = angle(value, where)
    if not to_value(value, "deg", where) > 0:
        msg = f"{where}={value!r} must be larger than 0"
        raise ValueError(msg)
    return value


def energy(value: Any, where: str) -> str:
    """Check a positive energy; it stays text."""
    value = _plain(value)
    try:
        number = float(u.Quantity(value).to_value("TeV")) if isinstance(value, str) else np.nan
        if not (np.isfinite(number) and number > 0):
            raise ValueError
    except (ValueError, TypeError, u.UnitsError) as error:
        msg = f"{where}={value!r} must be a positive energy with its unit, for example '1 TeV'"
        raise ValueError(msg) from error
    return value


def times(value: Any, where: str) -> str | list[str]:
    """Check a time (UTC) or a list of times; they become text."""
    if isinstance(value, (list, tuple)):
        return [_time(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, Time) and not value.isscalar:
        return [_time(v, where) for v in value]
    return _time(value, where)


def _time(value: Any, where: str) -> str:
    # YAML makes date objects of plain dates
    value = value.isoformat() if isinstance(value, dt.date) else value
    try:
        if isinstance(value, Time):
            return str(Time(value, precision=9).utc.isot)
        if not isinstance(value, str):
            raise TypeError
        Time(value)
    except (ValueError, TypeError) as error:
        msg = f"{where}={value!r} must be a time (UTC), for example '2024-03-01T22:00:00'"
        raise ValueError(msg) from error
    return value


def _plain(value: Any) -> Any:
    """Quantities as text, arrays as lists: what YAML can hold."""
    if isinstance(value, u.Quantity) and value.isscalar:
        return f"{float(value.value)!r} {value.unit}"
    if isinstance(value, (np.generic, np.ndarray)) and not isinstance(value, u.Quantity):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
