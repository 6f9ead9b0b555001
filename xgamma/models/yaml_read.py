"""From plain values, as YAML gives them, to models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import astropy.units as u
import numpy as np

from xgamma.io.fits_file import expand_path
from xgamma.models.component import Component
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter
from xgamma.models.prior import Prior
from xgamma.models.registry import find_class, nearest
from xgamma.models.sky_model import KINDS, Model
from xgamma.models.yaml_old import modern_component, modern_model

__all__ = ["Reader"]

#: Keys of a parameter that set the attribute of that name.
ATTRIBUTES = (
    "unit", "error", "min", "max", "frozen", "interp",
    "scan_min", "scan_max", "scan_n_values", "scan_n_sigma", "scan_values",
)  # fmt: skip
#: Those that are no numbers.
TEXTS = ("interp", "frozen")
#: Further keys of a parameter: how gammapy scales it for a fit, which has no meaning here, and its older value.
OTHER_KEYS = ("name", "value", "link", "prior", "scale_method", "scale_transform", "factor", "scale")


class ModelFileError(ValueError):
    """What is wrong with a file of models: the message says where."""


class Reader:
    """Reads the models of one file: what is linked there is one parameter.

    Parameters
    ----------
    folder
        Folder to which names of files are relative; None for the present one.
    name
        What messages call the file.
    """

    def __init__(self, folder: Path | None = None, name: str = "") -> None:
        self.folder, self.name = folder, name
        self._links: dict[str, Parameter] = {}

    def models(self, components: list[Any], key: str = "components") -> Models:
        """Return the models of a list, which stands under a key of the file."""
        if not isinstance(components, list):
            msg = f"{key!r} must be a list of models, each starting with '- name:', not {components!r}"
            raise ModelFileError(msg)
        models = Models()
        for number, data in enumerate(components):
            named = data.get("name") if isinstance(data, Mapping) else None
            file = f"{self.name}: " if self.name else ""
            where = f"{file}{key}[{number}]" + (f" {named!r}" if named is not None else "")
            with located(where):
                models.append(self.model(data, where))
        return models

    def model(self, data: Any, where: str) -> Model:
        """Return a model from its mapping."""
        given = modern_model(_mapping(data, where))
        with located(where):
            cls = cast("type[Model]", find_class("model", given.pop("type")))
            parts = {
                kind: self.component(kind, given.pop(kind), f"{where}, {kind}")
                for kind in KINDS
                if given.get(kind) is not None
            }
            settings = {key: self._plain("", key, value, where) for key, value in given.items() if value is not None}
            if isinstance(settings.get("name"), int):  # YAML takes the name 23523 for a number
                settings["name"] = str(settings["name"])
            return cls.from_settings(parts, settings)

    def component(self, kind: str, data: Any, where: str) -> Component:
        """Return a spectral, spatial or temporal model from its mapping."""
        given = modern_component(kind, _mapping(data, where))
        if "type" not in given:
            msg = f"{where} has no 'type'; its keys are {list(given)}"
            raise ModelFileError(msg)
        with located(where):
            cls = cast("type[Component]", find_class(kind, given.pop("type")))
        entries = _entries(given.pop("parameters", None), where)
        parameters = {name: self._parameter(cls, name, entry, where) for name, entry in entries.items()}
        settings = {key: self._plain(kind, key, value, where) for key, value in given.items() if value is not None}
        with located(where):
            component = cls.from_settings(parameters, settings)
        _tell_missing(cls, parameters, where)
        return component

    def _plain(self, kind: str, key: str, value: Any, where: str) -> Any:
        """A setting of a model: a quantity, a model inside, the path of a file, or as it is."""
        if isinstance(value, Mapping) and set(value) == {"data", "unit"}:
            with located(f"{where}, {key}"):
                return u.Quantity(np.asarray(value["data"], float), value["unit"] or "")
        if kind and isinstance(value, Mapping) and "type" in value:
            return self.component(kind, value, f"{where}, {key}")
        if key == "filename":
            return self._path(str(value))
        return value

    def _path(self, filename: str) -> str:
        """Path of a file: beside the YAML if it is there, otherwise as it is given."""
        path = Path(expand_path(filename))
        beside = None if self.folder is None else self.folder / path
        return str(beside) if beside is not None and beside.exists() else str(path)

    # ------------------------------------------------------------------ parameters
    def _parameter(self, cls: type[Component], name: str, entry: Mapping[str, Any], where: str) -> Parameter:
        place = f"{where}, parameter {name!r}"
        for key in entry:
            if key not in (*ATTRIBUTES, *OTHER_KEYS):
                msg = f"{place} has no key {key!r}{nearest(str(key), (*ATTRIBUTES, *OTHER_KEYS))}"
                raise ModelFileError(msg)
        declared = cls.parameter_fields().get(name)
        with located(place):
            parameter = declared.create() if declared is not None else Parameter(name, 1.0)
            _set(parameter, entry)
            if entry.get("prior") is not None:
                parameter.prior = _prior(entry["prior"], parameter.unit)
        label = entry.get("link")
        if label is None:
            return parameter
        first = self._links.setdefault(str(label), parameter)
        if first.name != parameter.name and not u.Unit(first.unit).is_equivalent(parameter.unit):
            msg = (
                f"{place} is linked, {label!r}, to {first.name!r} in {first.unit!r}, and is in {parameter.unit!r}: "
                "give one of them another link, or none"
            )
            raise ModelFileError(msg)
        if first.value != parameter.value or first.unit != parameter.unit:
            warnings.warn(
                f"{place} is linked, {label!r}, but has another value than the first of them: "
                f"{first.quantity:g} is taken for all",
                stacklevel=2,
            )
        return first


@contextmanager
def located(where: str) -> Iterator[None]:
    """Say in errors where in the file they come from; the innermost place wins."""
    try:
        yield
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        words = error.args[0] if isinstance(error, KeyError) and error.args else error
        msg = f"{where}: {words}"
        raise ModelFileError(msg) from error


def _mapping(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        msg = f"{where} must be a mapping with the keys of a model, not {data!r}"
        raise ModelFileError(msg)
    return dict(data)


def _entries(data: Any, where: str) -> dict[str, Mapping[str, Any]]:
    """Entries of the parameters by name: from a list of mappings, or from a mapping by name."""
    if isinstance(data, Mapping):
        listed: list[Any] = [{"name": n, **(v if isinstance(v, Mapping) else {"value": v})} for n, v in data.items()]
    else:
        listed = [] if data is None else data
    if not isinstance(listed, list):
        msg = f"{where}: 'parameters' must be a list, each starting with '- name:', not {data!r}"
        raise ModelFileError(msg)
    entries: dict[str, Mapping[str, Any]] = {}
    for entry in listed:
        if not isinstance(entry, Mapping) or "name" not in entry:
            msg = f"{where}: a parameter is a mapping with 'name' and 'value', not {entry!r}"
            raise ModelFileError(msg)
        name = str(entry["name"])
        if name in entries:
            msg = f"{where}: parameter {name!r} is given twice"
            raise ModelFileError(msg)
        entries[name] = entry
    return entries


def _set(parameter: Parameter, entry: Mapping[str, Any]) -> None:
    """Set the attributes of a parameter that has the defaults of its model."""
    unit = entry.get("unit")
    parameter.unit = parameter.unit if unit is None else str(unit)
    value = entry.get("value")
    if value is None and "factor" in entry:
        value = float(entry["factor"]) * float(entry.get("scale", 1.0))
    if value is not None:
        _set_value(parameter, value, unit)
    given = {key: entry[key] for key in ATTRIBUTES if entry.get(key) is not None and key != "unit"}
    # both at once: a new lower limit may lie above the upper one that it had
    limits = {key: _number(key, given.pop(key, getattr(parameter, key))) for key in ("min", "max")}
    parameter.min, parameter.max = np.nan, np.nan
    for key, limit in limits.items():
        setattr(parameter, key, limit)
    for key, number in given.items():
        setattr(parameter, key, _number(key, number) if isinstance(number, str) and key not in TEXTS else number)


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        msg = f"{key}: {value!r} is not a number"
        raise ValueError(msg) from error


def _set_value(parameter: Parameter, value: Any, unit: Any) -> None:
    if not isinstance(value, str):
        parameter.value = value
        return
    # YAML takes 1e-12, without a point, for text
    given = Parameter(parameter.name, cast("float", value))
    if not given.unit:
        parameter.value = given.value
        return
    if unit is not None:
        msg = f"value {value!r} has a unit, and there is unit: {unit}"
        raise ValueError(msg)
    parameter.unit, parameter.value = given.unit, given.value


def _prior(data: Any, unit: str) -> Prior:
    if not isinstance(data, Mapping) or "type" not in data:
        msg = f"a prior is a mapping with 'type' and 'parameters', not {data!r}"
        raise TypeError(msg)
    cls = cast("type[Prior]", find_class("prior", data["type"]))
    numbers: dict[str, Any] = {}
    for name, entry in _entries(data.get("parameters"), "prior").items():
        # without unit a number is in that of the parameter
        own = entry.get("unit") or (unit if name in cls.with_unit else "")
        numbers[name] = u.Quantity(float(entry["value"]), own)
    weight = data.get("weight")
    return cls.from_numbers(numbers, 1.0 if weight is None else float(weight))


def _tell_missing(cls: type[Component], given: Mapping[str, Parameter], where: str) -> None:
    """Warn where a free parameter is not in the file: its default is not what anybody measured."""
    missing = [name for name, field in cls.parameter_fields().items() if name not in given and not field.frozen]
    if missing and given:
        defaults = ", ".join(f"{name} = {cls.parameter_fields()[name].create().quantity:g}" for name in missing)
        warnings.warn(f"{where}: not all parameters are given, so that {defaults}", stacklevel=2)
