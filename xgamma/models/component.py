"""What spectral, spatial and temporal models have in common: named parameters, their covariance, copies."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, overload

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import conversion_factor
from xgamma.models.covariance import Covariance, block_of, covariance_of, set_errors
from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.registry import nearest, register

__all__ = ["Component", "Finished", "ParameterField", "check_attribute"]


class ParameterField:
    """A parameter in the body of a model's class.

    On an instance it is the instance's `Parameter`. Assigning a `Parameter` links it, assigning a number, a
    quantity or text sets its value (and its unit).

    Parameters
    ----------
    value, unit, frozen, min, max
        Defaults of the parameter. `unit` is also the canonical unit that ``evaluate`` gets.
    also
        Other units, of another kind, that the parameter may have; ``evaluate`` gets it in that unit.
        ``None`` among them stands for any unit.
    """

    def __init__(
        self,
        value: float,
        unit: str = "",
        *,
        frozen: bool = False,
        min: float = np.nan,  # noqa: A002
        max: float = np.nan,  # noqa: A002
        also: tuple[str | None, ...] = (),
    ) -> None:
        self.value, self.unit, self.frozen, self.min, self.max, self.also = value, unit, frozen, min, max, also
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> ParameterField: ...
    @overload
    def __get__(self, instance: Component, owner: type) -> Parameter: ...
    def __get__(self, instance: Component | None, owner: type) -> Parameter | ParameterField:
        return self if instance is None else instance._parameters[self.name]

    def __set__(self, instance: Component, value: Any) -> None:
        instance._set_parameter(self.name, value)

    def create(self, value: Any = None) -> Parameter:
        """Return a new parameter with the defaults, or with another value."""
        if isinstance(value, Parameter):
            self.check(value)
            return value
        default = Parameter(self.name, self.value, self.unit, self.min, self.max, self.frozen)
        if value is None:
            return default
        # a bare number is in the default's unit; text and quantities bring theirs
        text = isinstance(value, str)
        parameter = replace(default, value=value, unit="" if text or isinstance(value, u.Quantity) else self.unit)
        self.check(parameter)
        return parameter

    def canonical(self, parameter: Parameter) -> str:
        """Return the unit in which ``evaluate`` gets a parameter."""
        found = _canonical(parameter.unit, (self.unit, *self.also))
        if found is not None:
            return found
        wanted = f"cannot be converted to {self.unit!r}" if self.unit else "should have none"
        msg = f"{self.name} has unit {parameter.unit!r}, which {wanted}"
        raise u.UnitConversionError(msg)

    def check(self, parameter: Parameter) -> None:
        """Raise if the unit of a parameter is of another kind."""
        self.canonical(parameter)


# text is parsed once: models are evaluated more often than their units change
@lru_cache(maxsize=1024)
def _canonical(text: str, candidates: tuple[str | None, ...]) -> str | None:
    """First of some units that is of the kind of another, None without one."""
    unit = u.Unit(text)
    for candidate in candidates:
        if candidate is None:
            return _decomposed(unit)
        if unit.is_equivalent(candidate):
            return candidate
    return None


def _decomposed(unit: u.UnitBase) -> str:
    """Unit in TeV, cm, s, sr without a scale, as text."""
    bases = [u.TeV, u.cm, u.s, u.sr]
    try:
        parts = unit.decompose(bases=bases)
    except u.UnitConversionError:
        parts = unit.decompose()
    text: str = u.CompositeUnit(1.0, parts.bases, parts.powers).to_string()
    return text


class Finished(type):
    """Marks objects that are made, so that a misspelt name is told from an attribute that ``__init__`` adds."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an object and mark it."""
        instance = super().__call__(*args, **kwargs)
        object.__setattr__(instance, "_finished", True)
        return instance


def check_attribute(instance: Any, name: str, known: Iterable[str]) -> None:
    """Refuse a name that a finished object has not: ``model.indx = 3`` would change nothing, without a word.

    Raises
    ------
    AttributeError
        With the nearest of the known names.
    """
    own = vars(instance)
    if "_finished" in own and not (name.startswith("_") or name in own or hasattr(type(instance), name)):
        msg = f"{type(instance).__name__} has no attribute {name!r}{nearest(name, known)}"
        raise AttributeError(msg, name=name, obj=instance)


class Component(metaclass=Finished):
    """A model with named parameters and a pure function of them.

    Parameters
    ----------
    **parameters
        Values of the parameters: numbers in the default units, quantities, text as ``"0.1 TeV-1"``, or
        `Parameter` objects (which links models).

    Raises
    ------
    TypeError
        If a parameter is not one of the model's.
    astropy.units.UnitConversionError
        If a unit is of another kind than that of the parameter.
    """

    #: What the model describes: ``"spectral"``, ``"spatial"``, ``"temporal"``.
    kind: ClassVar[str] = ""
    #: Name in files, and its abbreviation.
    tag: ClassVar[tuple[str, ...]] = ()
    #: Parameters by the names that the model has for them; more than the declared ones where a model makes its own.
    _parameters: dict[str, Parameter]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind and cls.__dict__.get("tag"):
            register(cls.kind, cls)

    def __init__(self, **parameters: Any) -> None:
        fields = self.parameter_fields()
        unknown = [name for name in parameters if name not in fields]
        if unknown:
            raise self._no_parameter(unknown[0], fields)
        self._parameters = {name: field.create(parameters.get(name)) for name, field in fields.items()}
        self._covariance: Covariance | None = None

    @classmethod
    def parameter_fields(cls) -> Mapping[str, ParameterField]:
        """Return the declared parameters in order, those of base classes first."""
        found: dict[str, ParameterField] = {}
        for base in reversed(cls.__mro__):
            found |= {name: value for name, value in vars(base).items() if isinstance(value, ParameterField)}
        return found

    def _no_parameter(self, name: str, known: Mapping[str, Any]) -> TypeError:
        return TypeError(f"{type(self).__name__} has no parameter {name!r}{nearest(name, known)}")

    # ------------------------------------------------------------------ what files hold besides the parameters
    def settings(self) -> dict[str, Any]:
        """Return what describes the model besides its own parameters, by the keys of a file.

        Values are numbers, texts, lists, quantities, arrays, or models (those inside a compound).
        """
        return {}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make a model from its own parameters and what `settings` returned; files of others may hold less."""
        if settings:
            unknown = next(iter(settings))
            msg = f"{cls.__name__} has no key {unknown!r}; it has 'type' and 'parameters' only"
            raise TypeError(msg)
        return cls(**parameters)

    # ------------------------------------------------------------------ parameters
    @property
    def parameters(self) -> Parameters:
        """The parameters in order; one that stands in two places (linked) once."""
        return Parameters(self._parameters.values(), self._parameters)

    def arguments(self) -> Sequence[Parameter]:
        """Return the parameter of each value that ``evaluate`` gets, in order: linked ones may appear twice."""
        return list(self._parameters.values())

    @property
    def own_parameters(self) -> dict[str, Parameter]:
        """The parameters by the names that the model has for them, without those of models inside."""
        return dict(self._parameters)

    def parts(self) -> Mapping[str, Component]:
        """Return the models inside this one whose parameters are its own, too, by the keys of a file."""
        return {}

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of all parameters in their units, shape (n, n); 0 for frozen ones."""
        return self.covariance_over(self.parameters)

    @property
    def has_covariance(self) -> bool:
        """Whether a covariance was set, of the model or of one inside it."""
        return self._covariance is not None or any(part.has_covariance for part in self.parts().values())

    def covariance_over(self, parameters: Sequence[Parameter]) -> NDArray[np.float64]:
        """Return the covariance of some parameters; one that is given twice has two equal rows."""
        return covariance_of(self._covariance, parameters, self.parts().values())

    def set_covariance(self, covariance: Covariance | NDArray[np.float64] | xr.DataArray) -> None:
        """Set the covariance of the parameters, and their errors.

        Parameters
        ----------
        covariance
            Matrix over all parameters of the model, shape (n, n), a labelled one, or a `Covariance` that may hold
            others, too.
        """
        self._covariance = block_of(covariance, self.parameters)
        set_errors(self._covariance)
        for part in self.parts().values():
            part.set_covariance(self._covariance)

    def canonical_units(self) -> dict[str, str]:
        """Return the unit in which ``evaluate`` gets each parameter."""
        fields = self.parameter_fields()
        return {name: fields[name].canonical(p) if name in fields else p.unit for name, p in self._parameters.items()}

    def canonical_factors(self) -> NDArray[np.float64]:
        """Return what turns the value of each of the `arguments` into canonical units, shape (n,)."""
        units = self.canonical_units()
        return np.array([conversion_factor(p.unit, units[name]) for name, p in self._parameters.items()], float)

    def canonical_values(self) -> dict[str, float]:
        """Return the values of the parameters in canonical units (TeV, cm, s, deg)."""
        factors = self.canonical_factors()
        return {n: p.value * f for (n, p), f in zip(self._parameters.items(), factors, strict=True)}

    def replace_parameter(self, old: Parameter, new: Parameter) -> None:
        """Put one parameter in the place of another, which links it to where else it stands."""
        fields = self.parameter_fields()
        for name, parameter in self._parameters.items():
            if parameter is old:
                if name in fields:
                    fields[name].check(new)
                self._parameters[name] = new

    def copy(self, **changes: Any) -> Self:
        """Return an independent copy, with other values for some parameters."""
        new = copy.deepcopy(self)
        for name, value in changes.items():
            new._set_parameter(name, value)
        return new

    def _set_parameter(self, name: str, value: Any) -> None:
        """Link a `Parameter`, or set the value of the one that is there to a number, a quantity or text."""
        if name not in self._parameters:
            raise self._no_parameter(name, self._parameters)
        declared = self.parameter_fields().get(name)
        if isinstance(value, Parameter):
            if declared is not None:
                declared.check(value)
            self._parameters[name] = value
            return
        parameter = self._parameters[name]
        if not isinstance(value, (str, u.Quantity)):
            parameter.value = value
            return
        given = Parameter(name, cast("float", value))
        if declared is not None:
            declared.check(given)
        if declared is None or u.Unit(given.unit).is_equivalent(parameter.unit):
            parameter.quantity = given.quantity
            return
        # an amplitude of another kind, such as a surface brightness: limits and error were those of the old one
        Parameter.__init__(parameter, parameter.name, given.value, given.unit, frozen=parameter.frozen)

    if not TYPE_CHECKING:  # typing knows the declared attributes

        def __getattr__(self, name: str) -> Parameter:
            # parameters that a model makes for itself, as norm_0, norm_1; also before __init__ ran, as in a copy
            try:
                return self.__dict__["_parameters"][name]
            except KeyError:
                msg = f"{type(self).__name__} has no attribute {name!r}"
                raise AttributeError(msg, name=name, obj=self) from None

    def __setattr__(self, name: str, value: Any) -> None:
        own = name in self.__dict__.get("_parameters", ()) and not hasattr(type(self), name)
        if own:
            self._set_parameter(name, value)
            return
        check_attribute(self, name, self.__dict__.get("_parameters", ()))
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters]

    def freeze(self) -> None:
        """Freeze all parameters."""
        for parameter in self.parameters:
            parameter.frozen = True

    def unfreeze(self) -> None:
        """Restore what is frozen by default."""
        fields = self.parameter_fields()
        for name, parameter in self._parameters.items():
            parameter.frozen = fields[name].frozen if name in fields else False

    def __repr__(self) -> str:
        values = ", ".join(
            f"{name}={p.value:g}{' ' if p.unit else ''}{p.unit}{' (frozen)' if p.frozen else ''}"
            for name, p in self._parameters.items()
        )
        return f"{type(self).__name__}({values})"

    def _repr_html_(self) -> str:
        html: str = self.parameters.to_table()._repr_html_()
        return f"<b>{type(self).__name__}</b>{html}"
