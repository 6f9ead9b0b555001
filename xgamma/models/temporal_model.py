"""What temporal models have in common: the scale of their times, integrals, means over good time intervals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self

import astropy.units as u
import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from xgamma.dl3.times import tt_seconds
from xgamma.models.component import Component
from xgamma.models.parameter import Parameter

__all__ = ["DAY", "J2000_MJD", "T_REF", "TemporalModel", "between_kinks"]

FloatArray = NDArray[np.float64]

#: J2000.0 as a modified Julian date (TT), and seconds of a day.
J2000_MJD = 51544.5
DAY = 86400.0
#: Default of reference times: 2000-01-01, as a modified Julian date.
T_REF = 51544.0
#: Points and weights of Gauss-Legendre quadrature in each panel of an interval, and the number of panels.
POINTS, PANELS = 8, 16
#: Intervals of a table of a cumulative distribution, at least.
STEPS = 1000


class TemporalModel(Component):
    """A factor on a flux that varies in time.

    A temporal model is written by its declared parameters and one pure function, ``evaluate(time, *values)``, of
    seconds since J2000.0 (TT). Parameters that are times are modified Julian dates in days; times between them are
    elapsed ones, so that leap seconds count (gammapy takes differences of dates).

    Parameters
    ----------
    scale
        Time scale of the dates among the parameters, ``"utc"`` by default.
    **parameters
        Values of the parameters; an astropy Time for a date.
    """

    kind = "temporal"

    def __init__(self, *, scale: str = "utc", **parameters: Any) -> None:
        if scale not in Time.SCALES or scale == "local":
            msg = f"scale={scale!r} is not a time scale; it must be one of {[s for s in Time.SCALES if s != 'local']}"
            raise ValueError(msg)
        #: Time scale of the dates among the parameters.
        self.scale = scale
        dates = {name: getattr(value, scale).mjd * u.d for name, value in parameters.items() if isinstance(value, Time)}
        super().__init__(**{**parameters, **dates})

    # ------------------------------------------------------------------ pure functions on floats
    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor at seconds since J2000.0 (TT), for values in canonical units (days; dates as MJD)."""
        msg = f"{type(self).__name__} must define evaluate(time, *values)"
        raise NotImplementedError(msg)

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds between seconds since J2000.0 (TT), any equal shape."""
        low, high = np.broadcast_arrays(np.asarray(start, float), np.asarray(stop, float))
        kinks = np.asarray(self.kinks(*values), float)
        if kinks.size:
            return between_kinks(lambda t: self.evaluate(t, *values), low, high, kinks)
        return _quadrature(lambda t: self.evaluate(t, *values), low, high)

    def kinks(self, *values: float) -> FloatArray:
        """Return the times in seconds since J2000.0 (TT) where the factor is not smooth: no quadrature crosses them."""
        return np.zeros(0)

    def step(self, *values: float) -> float:
        """Return the time in seconds that resolves the factor; infinite where an interval itself tells."""
        return np.inf

    def days_since(self, time: FloatArray, date: float) -> FloatArray:
        """Return the days between a date (MJD in `scale`) and seconds since J2000.0 (TT)."""
        return np.asarray((np.asarray(time, float) - self.seconds(date)) / DAY)

    def seconds(self, date: float) -> float:
        """Return a date (MJD in `scale`) as seconds since J2000.0 (TT)."""
        whole = np.floor(date)
        return float((whole - J2000_MJD) * DAY + (date - whole) * DAY + _offset(float(whole), self.scale))

    # ------------------------------------------------------------------ present values
    @property
    def values(self) -> tuple[float, ...]:
        """Present values of the parameters in canonical units, in order."""
        return tuple(self.canonical_values().values())

    @property
    def is_energy_dependent(self) -> bool:
        """Whether the factor changes with energy."""
        return False

    @property
    def reference_time(self) -> Time:
        """Reference time; set it with an astropy Time."""
        return Time(self.parameters["t_ref"].quantity.to_value("d"), format="mjd", scale=self.scale)

    @reference_time.setter
    def reference_time(self, time: Time) -> None:
        parameter = self.parameters["t_ref"]
        parameter.value = (getattr(Time(time), self.scale).mjd * u.d).to_value(parameter.unit)

    def __call__(self, time: Any) -> FloatArray:
        """Return the factor at times: astropy Time, text (UTC), or seconds since J2000.0 (TT)."""
        return np.asarray(self.evaluate(tt_seconds(time), *self.values))

    def integral(self, t_min: Any, t_max: Any) -> u.Quantity:
        """Return the integral of the factor over intervals.

        Parameters
        ----------
        t_min, t_max
            Times (astropy, text in UTC, or seconds since J2000.0 in TT) of any equal shape.

        Returns
        -------
        astropy.units.Quantity
            Seconds; gammapy divides by the sum of all intervals, see `norm`.
        """
        low, high = tt_seconds(t_min, "t_min"), tt_seconds(t_max, "t_max")
        if np.any(high < low):
            msg = "t_min must not lie after t_max"
            raise ValueError(msg)
        return self.evaluate_integral(low, high, *self.values) * u.s

    def norm(self, start: Any, stop: Any, values: Any = None) -> float:
        """Return the mean factor over good time intervals: the sum of their integrals over the sum of their lengths.

        Parameters
        ----------
        start, stop
            Times, shape (n,); pairs with NaN, with which cubes pad them, count nothing.
        values
            Values of the parameters in canonical units; the present ones by default.

        Examples
        --------
        >>> from xgamma.models.temporal_shapes import LinearTemporalModel
        >>> LinearTemporalModel(beta="1 d-1", t_ref=51544.5, scale="tt").norm([0.0, 86400.0], [43200.0, 86400.0])
        1.25
        """
        low, high = np.atleast_1d(tt_seconds(start, "start")), np.atleast_1d(tt_seconds(stop, "stop"))
        known = np.isfinite(low) & np.isfinite(high)
        length = float(np.sum(high[known] - low[known]))
        if not length > 0:
            msg = "the good time intervals have no length: the mean of the model over them is not defined"
            raise ValueError(msg)
        numbers = self.values if values is None else tuple(values)
        return float(np.sum(self.evaluate_integral(low[known], high[known], *numbers))) / length

    def quantile(self, fraction: Any, start: Any, stop: Any) -> FloatArray:
        """Return the times up to which given fractions of what intervals hold has come: random ones give events.

        Parameters
        ----------
        fraction
            Numbers from 0 to 1, any shape.
        start, stop
            Intervals in seconds since J2000.0 (TT) or astropy times, shape (n,), in order.

        Returns
        -------
        numpy.ndarray
            Seconds since J2000.0 (TT), shape of `fraction`, inside the intervals.

        Raises
        ------
        ValueError
            If the factor is negative somewhere, or 0 everywhere.

        Examples
        --------
        >>> from xgamma.models.temporal_shapes import ConstantTemporalModel
        >>> ConstantTemporalModel().quantile([0.25, 0.75], [0.0, 100.0], [10.0, 110.0])
        array([  5., 105.])
        """
        low, high = np.atleast_1d(tt_seconds(start, "start")), np.atleast_1d(tt_seconds(stop, "stop"))
        known = np.isfinite(low) & np.isfinite(high) & (high > low)
        low, high = low[known], high[known]
        values = self.values
        edges = [self._edges(a, b, *values) for a, b in zip(low, high, strict=True)]
        first = np.concatenate([e[:-1] for e in edges] or [np.zeros(0)])
        last = np.concatenate([e[1:] for e in edges] or [np.zeros(0)])
        parts = self.evaluate_integral(first, last, *values)
        total = float(np.sum(parts))
        if np.any(parts < -1e-9 * np.abs(parts).max(initial=0.0)) or not total > 0:
            msg = (
                f"{type(self).__name__} is negative inside the intervals, or 0 in all: it has no distribution of times"
            )
            raise ValueError(msg)
        cumulative = np.concatenate([[0.0], np.cumsum(np.maximum(parts, 0.0))])
        wanted = np.asarray(fraction, float) * cumulative[-1]
        i = np.clip(np.searchsorted(cumulative, wanted, side="right") - 1, 0, parts.size - 1)
        share = np.divide(wanted - cumulative[i], parts[i], out=np.zeros(wanted.shape), where=parts[i] > 0)
        return np.asarray(first[i] + np.clip(share, 0.0, 1.0) * (last[i] - first[i]))

    def _edges(self, low: float, high: float, *values: float) -> FloatArray:
        """Steps in which the factor is nearly constant, between its kinks."""
        number = max(STEPS, int(np.ceil((high - low) / self.step(*values))))
        kinks = self.kinks(*values)
        return np.union1d(np.linspace(low, high, number + 1), kinks[(kinks > low) & (kinks < high)])

    # ------------------------------------------------------------------ files
    def settings(self) -> dict[str, Any]:
        """Return the time scale by the key of a file."""
        return {"scale": self.scale}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the time scale."""
        other = [key for key in settings if key != "scale"]
        if other:
            msg = f"{cls.__name__} has no key {other[0]!r}; it has 'type', 'scale' and 'parameters' only"
            raise TypeError(msg)
        given: dict[str, Any] = {**parameters, **settings}
        return cls(**given)


@lru_cache(maxsize=4096)
def _offset(day: float, scale: str) -> float:
    """Seconds by which TT is ahead of a scale at the start of a day."""
    tt = Time(day, format="mjd", scale=scale).tt
    return float(((tt.jd1 - 2400000.5 - day) + tt.jd2) * DAY)


def _nodes() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def _quadrature(function: Any, low: FloatArray, high: FloatArray) -> FloatArray:
    """Integrals over intervals, in panels."""
    nodes, weights = _nodes()
    place = (np.arange(PANELS)[:, None] + nodes) / PANELS
    width = (high - low)[..., None, None]
    values = function(low[..., None, None] + width * place)
    return np.asarray((values @ weights).sum(axis=-1) * (high - low) / PANELS)


def between_kinks(function: Any, low: FloatArray, high: FloatArray, kinks: FloatArray) -> FloatArray:
    """Return integrals over intervals that may hold kinks: panels end there."""
    result = np.zeros(low.shape)
    for place in np.ndindex(low.shape):
        a, b = float(low[place]), float(high[place])
        edges = np.concatenate([[a], np.sort(kinks[(kinks > a) & (kinks < b)]), [b]])
        result[place] = float(_quadrature(function, edges[:-1], edges[1:]).sum())
    return result
