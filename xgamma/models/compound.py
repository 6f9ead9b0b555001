"""Sums, differences and products of spectral models."""

from __future__ import annotations

import operator as operators
from collections.abc import Mapping, Sequence
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.spectral_model import SpectralModel

__all__ = ["CompoundSpectralModel"]

FloatArray = NDArray[np.float64]

#: Operators as files name them.
OPERATORS = {"+": operators.add, "-": operators.sub, "*": operators.mul}


class CompoundSpectralModel(SpectralModel):
    """Two spectral models joined by ``+``, ``-`` or ``*``.

    Parameters
    ----------
    model1, model2
        Spectral models; they keep their parameters.
    operator
        ``"+"``, ``"-"`` or ``"*"``.

    Raises
    ------
    ValueError
        If the operator is not known, or spectra of different kinds are added.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> both = PowerLawSpectralModel(index=2) + PowerLawSpectralModel(index=3)
    >>> both("1 TeV")
    <Quantity 2.e-12 1 / (TeV s cm2)>
    """

    tag = ("CompoundSpectralModel", "compound")

    def __init__(self, model1: SpectralModel, model2: SpectralModel, operator: str) -> None:
        if operator not in OPERATORS:
            msg = f"operator={operator!r} must be one of {list(OPERATORS)}"
            raise ValueError(msg)
        super().__init__()
        self.model1, self.model2, self.operator = model1, model2, operator
        if operator in "+-" and not u.Unit(model1.unit).is_equivalent(model2.unit):
            msg = f"spectra in {model1.unit!r} and {model2.unit!r} cannot be joined by {operator!r}"
            raise ValueError(msg)

    def parts(self) -> Mapping[str, SpectralModel]:
        """Return both models by the keys of a file."""
        return {"model1": self.model1, "model2": self.model2}

    @property
    def parameters(self) -> Parameters:
        """Parameters of both models; linked ones once. A second ``amplitude`` is called ``amplitude_2``."""
        both = (self.model1.parameters, self.model2.parameters)
        return Parameters([p for m in both for p in m], [name for m in both for name in m.names])

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        if self.operator in "+-":
            return self.model1.unit
        first, second = self.model1.unit, self.model2.unit
        return first if not second else second if not first else (u.Unit(first) * u.Unit(second)).to_string()

    def evaluate(self, energy: FloatArray, *values: float) -> FloatArray:
        """Return the spectrum in canonical units."""
        first, second = self._split(values)
        joined = OPERATORS[self.operator](self.model1.evaluate(energy, *first), self.model2.evaluate(energy, *second))
        return np.asarray(joined)

    def evaluate_integral(self, energy_min: FloatArray, energy_max: FloatArray, *values: float) -> FloatArray:
        """Return the integral: that of the parts where they add up."""
        if self.operator == "*":
            return super().evaluate_integral(energy_min, energy_max, *values)
        first, second = self._split(values)
        parts = (self.model1.evaluate_integral(energy_min, energy_max, *first),
                 self.model2.evaluate_integral(energy_min, energy_max, *second))  # fmt: skip
        return np.asarray(OPERATORS[self.operator](*parts))

    def evaluate_energy_flux(self, energy_min: FloatArray, energy_max: FloatArray, *values: float) -> FloatArray:
        """Return the energy flux: that of the parts where they add up."""
        if self.operator == "*":
            return super().evaluate_energy_flux(energy_min, energy_max, *values)
        first, second = self._split(values)
        parts = (self.model1.evaluate_energy_flux(energy_min, energy_max, *first),
                 self.model2.evaluate_energy_flux(energy_min, energy_max, *second))  # fmt: skip
        return np.asarray(OPERATORS[self.operator](*parts))

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the energies at which one of the models is not smooth."""
        first, second = self._split(values)
        return [*self.model1.kinks(*first), *self.model2.kinks(*second)]

    def arguments(self) -> Sequence[Parameter]:
        """Return the parameter of each value that ``evaluate`` gets: those of the first model, then of the second."""
        return [*self.model1.arguments(), *self.model2.arguments()]

    def canonical_units(self) -> dict[str, str]:
        """Return the units in which ``evaluate`` gets the parameters, numbered: names may appear twice."""
        units = [*self.model1.canonical_units().values(), *self.model2.canonical_units().values()]
        return {f"{i}": unit for i, unit in enumerate(units)}

    def canonical_factors(self) -> NDArray[np.float64]:
        """Return what turns the value of each of the `arguments` into canonical units, shape (n,)."""
        return np.concatenate([self.model1.canonical_factors(), self.model2.canonical_factors()])

    def canonical_values(self) -> dict[str, float]:
        """Return the values in canonical units, numbered: names may appear twice."""
        values = [*self.model1.canonical_values().values(), *self.model2.canonical_values().values()]
        return {f"{i}": value for i, value in enumerate(values)}

    def settings(self) -> dict[str, Any]:
        """Return the models and the operator by the keys of a file."""
        return {"model1": self.model1, "model2": self.model2, "operator": OPERATORS[self.operator].__name__}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make a compound from `settings`; operators may be names as ``"add"`` or signs."""
        missing = [key for key in ("model1", "model2", "operator") if key not in settings]
        if missing or parameters:
            what = f"needs the key {missing[0]!r}" if missing else "has no parameters of its own"
            msg = f"CompoundSpectralModel {what}: it is 'model1', 'model2' and 'operator'"
            raise ValueError(msg)
        names = {function.__name__: sign for sign, function in OPERATORS.items()}
        operator = str(settings["operator"])
        return cls(settings["model1"], settings["model2"], names.get(operator, operator))

    def replace_parameter(self, old: Parameter, new: Parameter) -> None:
        """Put one parameter in the place of another, in both models."""
        for model in (self.model1, self.model2):
            model.replace_parameter(old, new)

    def freeze(self) -> None:
        """Freeze all parameters."""
        self.model1.freeze()
        self.model2.freeze()

    def unfreeze(self) -> None:
        """Restore what is frozen by default."""
        self.model1.unfreeze()
        self.model2.unfreeze()

    def copy(self, **changes: Any) -> CompoundSpectralModel:
        """Return an independent copy, with other values for parameters whose names are unique."""
        new = super().copy()
        for name, value in changes.items():
            parameter = new.parameters[name]
            parameter.quantity = value if isinstance(value, (str, u.Quantity)) else value * u.Unit(parameter.unit)
        return new

    def _split(self, values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
        """Values of the two models."""
        first = len(self.model1.arguments())
        return values[:first], values[first:]

    def __repr__(self) -> str:
        return f"({self.model1!r} {self.operator} {self.model2!r})"
