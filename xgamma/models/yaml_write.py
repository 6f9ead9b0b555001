"""From models to plain values for YAML."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from xgamma.models.component import Component
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter
from xgamma.models.sky_model import Model

__all__ = ["Writer", "slots"]

#: Attributes of a parameter that are left out where they are the default.
OPTIONAL = ("error", "min", "max", "interp", "scan_min", "scan_max", "scan_n_values", "scan_n_sigma", "scan_values")


def slots(models: Models) -> Iterator[tuple[str, Parameter]]:
    """Yield all places of parameters with names as ``"crab.spectral.index"``; linked ones appear in each place."""
    for model in models:
        for kind, part in model.components.items():
            yield from _slots(part, f"{model.name}.{kind}")


def _slots(component: Component, prefix: str) -> Iterator[tuple[str, Parameter]]:
    for name, parameter in component.own_parameters.items():
        yield f"{prefix}.{name}", parameter
    for key, part in component.parts().items():
        yield from _slots(part, f"{prefix}.{key}")


class Writer:
    """Writes the models of one file.

    Parameters
    ----------
    models
        All models of the file, among which parameters are linked.
    full
        Whether to write limits, errors and scan settings also where they are the defaults.
    folder
        Folder of the file: names of files in it become relative.
    """

    def __init__(self, models: Models, *, full: bool = False, folder: Path | None = None) -> None:
        self._models, self.full, self.folder = models, full, folder
        places = list(slots(models))
        times = Counter(id(p) for _, p in places)
        self._labels: dict[int, str] = {}
        for name, parameter in places:
            if times[id(parameter)] > 1 and id(parameter) not in self._labels:
                digest = hashlib.sha256(name.encode()).hexdigest()[:8]
                self._labels[id(parameter)] = f"{parameter.name}@{digest}"

    def models(self) -> list[dict[str, Any]]:
        """Return the components of the file."""
        twice = [name for name, times in Counter(self._models.names).items() if times > 1]
        if twice:
            msg = f"{twice[0]!r} is the name of several models; names must be unique"
            raise ValueError(msg)
        return [self.model(model) for model in self._models]

    def model(self, model: Model) -> dict[str, Any]:
        """Return a model as a mapping."""
        settings = {key: self._plain(key, value) for key, value in model.settings().items()}
        name = {"name": settings.pop("name")} if "name" in settings else {}
        parts = {kind: self.component(part) for kind, part in model.components.items()}
        return name | {"type": model.tag[0]} | settings | parts

    def component(self, component: Component) -> dict[str, Any]:
        """Return a spectral, spatial or temporal model as a mapping."""
        if not component.tag:
            msg = f"{type(component).__name__} cannot be written: it has no tag, its name in files"
            raise ValueError(msg)
        data: dict[str, Any] = {"type": component.tag[0]}
        if component.own_parameters or not component.parts():
            own = component.own_parameters.items()
            data["parameters"] = [self._parameter(component, name, p) for name, p in own]
        return data | {key: self._plain(key, value) for key, value in component.settings().items()}

    def _plain(self, key: str, value: Any) -> Any:
        if isinstance(value, Component):
            return self.component(value)
        if isinstance(value, u.Quantity):
            return {"data": value.value.tolist(), "unit": str(value.unit)}
        if isinstance(value, (np.ndarray, np.generic)):
            return value.tolist()
        if isinstance(value, (list, tuple)):
            return [self._plain("", item) for item in value]
        if key == "filename" and value is not None:
            return self._filename(str(value))
        return str(value) if isinstance(value, Path) else value

    def _filename(self, filename: str) -> str:
        """Name of a file: relative to the YAML's folder, or to ``$GAMMAPY_DATA``, where it lies in one of them."""
        path = Path(filename)
        if path.is_absolute():
            if self.folder is not None and path.is_relative_to(self.folder):
                return str(path.relative_to(self.folder))
            data = os.environ.get("GAMMAPY_DATA")
            if data and path.is_relative_to(data):
                return f"$GAMMAPY_DATA/{path.relative_to(data)}"
        return filename

    def _parameter(self, component: Component, name: str, parameter: Parameter) -> dict[str, Any]:
        declared = component.parameter_fields().get(name)
        default = declared.create() if declared is not None else Parameter(name, 1.0)
        data: dict[str, Any] = {"name": name, "value": float(parameter.value)}
        if self.full or parameter.unit or default.unit:
            data["unit"] = unit_text(parameter.unit)
        for key in OPTIONAL:
            value = getattr(parameter, key)
            if value is None:
                continue
            if self.full or not np.array_equal(value, getattr(default, key), equal_nan=key != "interp"):
                data[key] = self._plain(key, value)
        if self.full or parameter.frozen or default.frozen:
            data["frozen"] = parameter.frozen
        if id(parameter) in self._labels:
            data["link"] = self._labels[id(parameter)]
        if parameter.prior is not None:
            data["prior"] = _prior(parameter)
        return data


def unit_text(unit: str) -> str:
    """Return a unit as files have it, as ``"TeV-1 s-1 cm-2"``."""
    try:
        text: str = u.Unit(unit).to_string("fits")
    except ValueError:
        text = u.Unit(unit).to_string()
    return text


def _prior(parameter: Parameter) -> dict[str, Any]:
    """A prior with its numbers in the unit of its parameter: gammapy compares them as they are."""
    prior = parameter.prior
    assert prior is not None
    prior = prior.to(parameter.unit)
    numbers = [
        {"name": name, "value": value, "unit": unit_text(parameter.unit) if name in prior.with_unit else ""}
        for name, value in prior.numbers().items()
    ]
    return {"type": prior.tag[0], "parameters": numbers, "weight": prior.weight}
