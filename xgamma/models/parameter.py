"""Parameters of models: a value with a unit, limits, an error and what a fit may do with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.table import Table

    from xgamma.models.prior import Prior

__all__ = ["Parameter", "Parameters"]


@dataclass(eq=False)
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
                given = u.Quantity(given)
            except (TypeError, ValueError) as error:
                msg = f"{self.name}={given!r} is not a number with a unit, such as '1e-12 cm-2 s-1 TeV-1'"
                raise ValueError(msg) from error
        if isinstance(given, u.Quantity):
            self.value, self.unit = float(given.value), given.unit.to_string()
        self.value = self._number("value", self.value)
        self.error = self._number("error", self.error)
        self.min, self.max = float(self.min), float(self.max)
        if self.min > self.max:
            msg = f"the limits of {self.name} are the wrong way round: min={self.min:g}, max={self.max:g}"
            raise ValueError(msg)
        if self.interp not in ("lin", "log"):
            msg = f"interp={self.interp!r} of {self.name} must be 'lin' or 'log'"
            raise ValueError(msg)
        try:
            self.unit = u.Unit(self.unit).to_string()
        except ValueError as error:
            msg = f"unit={self.unit!r} of {self.name} is not a unit"
            raise ValueError(msg) from error

    def _number(self, what: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            msg = f"{what}={value!r} of {self.name} is not a number"
            raise ValueError(msg) from error
        if not np.isfinite(number) and what == "value":
            msg = f"{what}={number} of {self.name} must be finite"
            raise ValueError(msg)
        return number

    @property
    def quantity(self) -> u.Quantity:
        """The value with its unit; set it with a quantity or text in any unit of the same kind."""
        return self.value * u.Unit(self.unit)

    @quantity.setter
    def quantity(self, value: Any) -> None:
        quantity = u.Quantity(value)
        self.value, self.unit = float(quantity.value), quantity.unit.to_string()

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
        #: Full names, in order.
        self.names: list[str] = [label for _, label in unique.values()]

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
        if isinstance(key, int):
            return self._parameters[key]
        found = [i for i, name in enumerate(self.names) if name == key or self._parameters[i].name == key]
        if len(found) == 1:
            return self._parameters[found[0]]
        if not found:
            msg = f"there is no parameter {key!r}; there are {self.names}"
            raise KeyError(msg)
        msg = f"{key!r} is the name of several parameters: {[self.names[i] for i in found]}"
        raise KeyError(msg)

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

    def to_table(self) -> Table:
        """Return the parameters as an astropy table."""
        from astropy.table import Table

        columns = ("value", "unit", "error", "min", "max", "frozen")
        rows = {name: [getattr(p, name) for p in self] for name in columns}
        return Table({"name": self.names} | rows)

    def _repr_html_(self) -> str:
        html: str = self.to_table()._repr_html_()
        return html
