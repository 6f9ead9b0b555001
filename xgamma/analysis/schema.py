"""From nested mappings to frozen dataclasses, with words that name the key."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any, TypeVar

from xgamma.coords.units import to_value

__all__ = ["angle", "build", "choice", "key", "quantity_text", "to_mapping", "whole_number"]

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


def build(cls: type[T], data: Any, where: str = "") -> T:
    """Build a dataclass of `key` fields from a mapping.

    Parameters
    ----------
    cls
        Dataclass whose fields come from `key`.
    data
        Mapping, as YAML gives it; None for all defaults.
    where
        Path of the section, for messages.

    Raises
    ------
    ValueError
        If the section is no mapping, a key is not known, or a value is wrong.
    """
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
            raise ValueError(_unknown(str(name), list(known), where))
        if target in values:
            msg = f"{_path(where, target)} is given twice: {name!r} is its older name"
            raise ValueError(msg)
        values[target] = _clean(known[target], value, _path(where, target))
    return cls(**values)


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _unknown(name: str, known: list[str], where: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; there are {sorted(known)}"
    return f"configuration key {_path(where, name)!r} is not known{hint}"


def _clean(item: dataclasses.Field[Any], value: Any, where: str) -> Any:
    section, check = item.metadata["section"], item.metadata["check"]
    if section is not None:
        return build(section, value, where)
    if value is None:
        return item.default_factory() if item.default_factory is not MISSING else item.default
    return value if check is None else check(value, where)


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dicts, for YAML."""
    return dataclasses.asdict(config)


def choice(*names: str | None) -> Check:
    """Return a check that the value is one of `names`."""

    def check(value: Any, where: str) -> Any:
        if value not in names:
            msg = f"{where}={value!r} must be one of {[n for n in names if n is not None]}"
            raise ValueError(msg)
        return value

    return check


def quantity_text(unit: str) -> Check:
    """Return a check that the value is a quantity that converts to `unit`; it stays text."""

    def check(value: Any, where: str) -> str:
        number = to_value(value if not isinstance(value, (int, float)) else f"{value}", unit, where)
        if isinstance(number, float):
            return str(value)
        msg = f"{where}={value!r} must be one quantity, for example '1 {unit}'"
        raise ValueError(msg)

    return check


angle = quantity_text("deg")


def whole_number(value: Any, where: str) -> int:
    """Check a count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{where}={value!r} must be a whole number of at least 1"
        raise ValueError(msg)
    return value
