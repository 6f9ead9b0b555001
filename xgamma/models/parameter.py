"""Parameters of models: a value with a unit, limits, an error and what a fit may do with it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast, overload

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.models.registry import nearest

if TYPE_CHECKING:
    from astropy.table import Table

    from xgamma.models.prior import Prior

__all__ = ["Parameter", "Parameters"]


# astropy parses a unit in a tenth of a millisecond, and models are made of few different ones
@lru_cache(maxsize=1024)
def _unit_name(text: str) -> str:
    """Unit as astropy writes it."""
    return str(u.Unit(text).to_string())


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[float, str]:
    """Value and unit of a quantity as text."""
    quantity = u.Quantity(text)
    return float(quantity.value), str(quantity.unit.to_string())


@dataclass(eq=False, repr=False)
class Parameter:
    """A number of a model that a fit may change.

    Two models that hold the same `Parameter` object are linked: a fit sees one parameter. Comparison is by
    identity for that reason.

    Parameters
    ----------
    name
        Name inside its model, as ``"index"``.
    value
        Number in `unit`; a quantity or text as ``"1e-12 cm-2 s-1 TeV-1"`` sets both.
    unit
        Unit as text.
    min, max
        Limits in `unit`, NaN for none.
    frozen
        Whether a fit leaves the parameter as it is.
    error
        Standard deviation in `unit`.
    prior
        Prior on the value in `unit`, from `xgamma.models.prior`.
    scan_min, scan_max, scan_n_values, scan_n_sigma, scan_values
        Values of a likelihood profile: `scan_values`, else `scan_n_values` between the limits, else within
        `scan_n_sigma` errors around the value.
    interp
        Spacing of the scan, ``"lin"`` or ``"log"``.

    Raises
    ------
    ValueError
        If the value is not a finite number, the unit is not known, or the limits are the wrong way round.

    Examples
    --------
    >>> amplitude = Parameter("amplitude", "3e-11 cm-2 s-1 TeV-1")
    >>> amplitude.value, amplitude.unit
    (3e-11, '1 / (TeV s cm2)')
    """

    name: str
    value: float
    unit: str = ""
    min: float = np.nan
    max: float = np.nan
    frozen: bool = False
    error: float = 0.0
    prior: Prior | None = None
    scan_min: float = np.nan
    scan_max: float = np.nan
    scan_n_values: int = 11
    scan_n_sigma: float = 2.0
    scan_values: NDArray[np.float64] | None = field(default=None, repr=False)
    interp: str = "lin"

    def __post_init__(self) -> None:
        given: Any = self.value
        if isinstance(given, str):
            try:
                self.value, self.unit = _parsed(given)
            except (TypeError, ValueError) as error:
                msg = f"{self.name}={given!r} is not a number with a unit, such as '1e-12 cm-2 s-1 TeV-1'"
                raise ValueError(msg) from error
        elif isinstance(given, u.Quantity):
            self.value, self.unit = float(given.value), given.unit.to_string()
        for name in ("unit", *_CHECKED):
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))
        object.__setattr__(self, "_ready", True)

    def __setattr__(self, name: str, value: Any) -> None:
        # what is set later is checked as what is given at first; a misspelt name would change nothing
        if not hasattr(self, name) and getattr(self, "_ready", False):
            known = [f.name for f in fields(self)]
            msg = f"a Parameter has no attribute {name!r}{nearest(name, [*known, 'quantity'])}"
            raise AttributeError(msg, name=name, obj=self)
        object.__setattr__(self, name, self._checked(name, value) if getattr(self, "_ready", False) else value)

    def _checked(self, name: str, value: Any) -> Any:
        check = _CHECKED.get(name)
        return value if check is None else check(self, name, value)

    def _number(self, what: str, value: Any) -> float:
        if isinstance(value, (u.Quantity, str)) and getattr(self, "_ready", False):
            msg = f"{what} of {self.name} is a number in {self.unit!r}, not {value!r}: set quantity to change the unit"
            raise ValueError(msg)
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            msg = f"{what}={value!r} of {self.name} is not a number"
            raise ValueError(msg) from error
        if what in _FINITE and not np.isfinite(number):
            msg = f"{what}={number} of {self.name} must be finite"
            raise ValueError(msg)
        return number

    def _limit(self, what: str, value: Any) -> float:
        number = self._number(what, value)
        low, high = (number, self.max) if what == "min" else (self.min, number)
        if low > high:
            msg = f"the limits of {self.name} are the wrong way round: min={low:g}, max={high:g}"
            raise ValueError(msg)
        return number

    def _flag(self, what: str, value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            msg = f"{what}={value!r} of {self.name} must be true or false"
            raise TypeError(msg)
        return bool(value)

    def _spacing(self, what: str, value: Any) -> str:
        if value not in ("lin", "log"):
            msg = f"{what}={value!r} of {self.name} must be 'lin' or 'log'"
            raise ValueError(msg)
        return str(value)

    def _unit_text(self, what: str, value: Any) -> str:
        try:
            return _unit_name(value) if isinstance(value, str) else str(u.Unit(value).to_string())
        except (ValueError, TypeError) as error:
            msg = f"{what}={value!r} of {self.name} is not a unit"
            raise ValueError(msg) from error

    def _prior(self, what: str, value: Any) -> Prior | None:
        if value is None:
            return None
        bound = getattr(value, "bound", None)
        if bound is None:
            msg = f"{what}={value!r} of {self.name} is not a prior, such as xgamma.models.prior.GaussianPrior(2, 0.1)"
            raise TypeError(msg)
        return cast("Prior", bound(self.unit, self.name))

    @property
    def quantity(self) -> u.Quantity:
        """The value with its unit; set it with a quantity or text in any unit of the same kind.

        In another unit, limits, error, prior and scan settings follow.
        """
        return self.value * u.Unit(self.unit)

    @quantity.setter
    def quantity(self, value: Any) -> None:
        try:
            quantity = u.Quantity(value)
            factor = float(u.Unit(self.unit).to(quantity.unit))
        except (u.UnitConversionError, TypeError, ValueError) as error:
            msg = f"{self.name}={value!r} must be in a unit that converts to {self.unit!r}"
            raise u.UnitConversionError(msg) from error
        number = self._number("value", quantity.value)
        unit = quantity.unit.to_string()
        if unit != self.unit:
            for name in ("error", "min", "max", "scan_min", "scan_max"):
                object.__setattr__(self, name, getattr(self, name) * factor)
            if self.scan_values is not None:
                self.scan_values = self.scan_values * factor
            if self.prior is not None:
                object.__setattr__(self, "prior", self.prior.to(unit))
        object.__setattr__(self, "unit", unit)
        self.value = number

    def __repr__(self) -> str:
        text = (
            f"{self.value:g}"
            + (f" +- {self.error:.2g}" if self.error > 0 else "")
            + (f" {self.unit}" * bool(self.unit))
        )
        parts = [f"{name}={value:g}" for name in ("min", "max") if np.isfinite(value := getattr(self, name))]
        parts += ["frozen"] if self.frozen else []
        parts += [f"prior={self.prior!r}"] if self.prior is not None else []
        return f"Parameter({', '.join([f'{self.name}: {text}', *parts])})"

    def prior_stat(self, value: Any = None) -> NDArray[np.float64]:
        """Return the term of the prior, ``-2 log p``, at the present value or at others in `unit`; 0 without one."""
        values = np.asarray(self.value if value is None else value, float)
        if self.prior is None:
            return np.zeros_like(values)
        prior_unit = self.unit if self.prior.unit is None else self.prior.unit
        factor = 1.0 if prior_unit == self.unit else u.Unit(self.unit).to(prior_unit)
        return self.prior(values * factor)

    @property
    def at_limit(self) -> bool:
        """Whether the value lies on one of the limits (to a millionth of their size)."""
        limits = [limit for limit in (self.min, self.max) if np.isfinite(limit)]
        return any(np.isclose(self.value, limit, rtol=1e-6, atol=1e-300) for limit in limits)

    def scan(self) -> NDArray[np.float64]:
        """Return the values of a likelihood profile, in `unit`.

        Returns
        -------
        numpy.ndarray
            Shape (n,).

        Raises
        ------
        ValueError
            If the parameter has neither values, limits nor an error to scan over.
        """
        if self.scan_values is not None:
            return np.asarray(self.scan_values, float)
        low, high = self.scan_min, self.scan_max
        if not (np.isfinite(low) and np.isfinite(high)):
            if not (np.isfinite(self.error) and self.error > 0):
                msg = f"{self.name} has no error to scan over: set scan_min and scan_max, scan_values, or fit first"
                raise ValueError(msg)
            reach = self.scan_n_sigma * self.error
            low = self.value - reach if not np.isfinite(low) else low
            high = self.value + reach if not np.isfinite(high) else high
        if self.interp == "log":
            if low <= 0:
                msg = f"{self.name} is scanned on a logarithmic scale, which needs scan_min > 0, not {low:g}"
                raise ValueError(msg)
            return np.geomspace(low, high, self.scan_n_values)
        return np.linspace(low, high, self.scan_n_values)


def _scan_values(parameter: Parameter, what: str, value: Any) -> NDArray[np.float64] | None:
    if value is None:
        return None
    values = np.atleast_1d(np.asarray(value, float))
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        msg = f"{what} of {parameter.name} must be finite numbers in a row, not {value!r}"
        raise ValueError(msg)
    return values


def _scan_number(parameter: Parameter, what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 2:
        msg = f"{what}={value!r} of {parameter.name} must be a whole number from 2"
        raise ValueError(msg)
    return int(value)


_FINITE = ("value", "scan_n_sigma")
_CHECKED: dict[str, Callable[[Parameter, str, Any], Any]] = {
    "unit": Parameter._unit_text,
    "value": Parameter._number,
    "min": Parameter._limit,
    "max": Parameter._limit,
    "frozen": Parameter._flag,
    "error": Parameter._number,
    "prior": Parameter._prior,
    "scan_min": Parameter._number,
    "scan_max": Parameter._number,
    "scan_n_values": _scan_number,
    "scan_n_sigma": Parameter._number,
    "scan_values": _scan_values,
    "interp": Parameter._spacing,
}


class Parameters(Sequence[Parameter]):
    """Parameters of a model or of several, in order; by position or by name.

    Parameters
    ----------
    parameters
        The parameters; one that appears twice (linked models) is kept once.
    names
        Full names, as ``"crab.index"``; by default those of the parameters.

    Examples
    --------
    >>> parameters = Parameters([Parameter("index", 2.0), Parameter("reference", "1 TeV", frozen=True)])
    >>> parameters["index"].value, parameters.free.names
    (2.0, ['index'])
    """

    def __init__(self, parameters: Iterable[Parameter], names: Iterable[str] | None = None) -> None:
        given = list(parameters)
        labels = [p.name for p in given] if names is None else list(names)
        unique: dict[int, tuple[Parameter, str]] = {}
        for parameter, label in zip(given, labels, strict=True):
            unique.setdefault(id(parameter), (parameter, label))
        self._parameters = [p for p, _ in unique.values()]
        #: Names, in order; a second ``amplitude``, as in a sum of two power laws, is called ``amplitude_2``.
        self.names: list[str] = _distinct([label for _, label in unique.values()])

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters)

    @overload
    def __getitem__(self, key: int | str) -> Parameter: ...
    @overload
    def __getitem__(self, key: slice) -> Parameters: ...
    def __getitem__(self, key: int | str | slice) -> Parameter | Parameters:
        if isinstance(key, slice):
            return Parameters(self._parameters[key], self.names[key])
        if not isinstance(key, str):
            return self._parameters[operator.index(key)]
        found = [i for i, name in enumerate(self.names) if name == key]
        found = found or [i for i, p in enumerate(self._parameters) if p.name == key]
        if len(found) == 1:
            return self._parameters[found[0]]
        if not found:
            msg = f"there is no parameter {key!r}{nearest(key, self.names)}"
            raise KeyError(msg)
        msg = f"{key!r} is the name of several parameters: {[self.names[i] for i in found]}"
        raise KeyError(msg)

    def __contains__(self, key: object) -> bool:
        return key in self.names if isinstance(key, str) else any(key is p for p in self._parameters)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(self.names)})"

    def index_of(self, parameter: Parameter) -> int:
        """Return the position of a parameter, by identity."""
        for i, mine in enumerate(self._parameters):
            if mine is parameter:
                return i
        msg = f"{parameter.name!r} is not one of {self.names}"
        raise ValueError(msg)

    @property
    def free(self) -> Parameters:
        """The parameters that a fit may change."""
        kept = [i for i, p in enumerate(self._parameters) if not p.frozen]
        return Parameters([self._parameters[i] for i in kept], [self.names[i] for i in kept])

    @property
    def values(self) -> NDArray[np.float64]:
        """Values in the units of the parameters, shape (n,)."""
        return np.array([p.value for p in self], float)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Standard deviations in the units of the parameters, shape (n,)."""
        return np.array([p.error for p in self], float)

    def prior_stat(self) -> float:
        """Return the sum of the priors' terms, ``-2 log p``, at the present values."""
        return float(sum(p.prior_stat() for p in self))

    def to_table(self) -> Table:
        """Return the parameters as an astropy table: one row each, numbers to four digits."""
        from astropy.table import Table

        columns = ("value", "unit", "error", "min", "max", "frozen")
        rows = {name: [getattr(p, name) for p in self] for name in columns}
        table = Table({"name": self.names} | rows)
        if any(p.prior is not None for p in self):
            table["prior"] = ["" if p.prior is None else repr(p.prior) for p in self]
        return readable(table)

    def _repr_html_(self) -> str:
        html: str = self.to_table()._repr_html_()
        return html


def _distinct(names: list[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        candidates = chain([name], (f"{name}_{number}" for number in count(2)))
        found[next(c for c in candidates if c not in found)] = None
    return list(found)


def readable(table: Table) -> Table:
    """Show the numbers of a table of parameters to four digits; the values stay as they are."""
    for name in ("value", "error", "min", "max"):
        table[name].format = ".4g"
    return table
