"""Drawing times of events from temporal models inside good time intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xgamma.models.temporal_model import TemporalModel
from xgamma.simulate.sampling import sample_intervals

__all__ = ["Arrival", "arrival_of"]

FloatArray = NDArray[np.float64]

#: Energies per decade and steps of time at which a light curve that changes with energy is tabulated.
PER_DECADE, STEPS = 20, 4000
#: Part of the largest value below which a negative one counts as rounding.
ROUNDING = 1e-9


class Arrival(Protocol):
    """Distribution of times, times a norm that may depend on energy."""

    def norm(self, energy: FloatArray) -> FloatArray:
        """Return the mean factor over the intervals at energies in TeV, shape (n,)."""

    def sample(self, energy: FloatArray, uniform: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw a time in seconds since J2000.0 (TT) for each energy, from one uniform number each."""


def arrival_of(
    model: TemporalModel | None, start: FloatArray, stop: FloatArray, energies: tuple[float, float]
) -> Arrival:
    """Prepare a temporal model for drawing times.

    Parameters
    ----------
    model
        Temporal model; None for a constant.
    start, stop
        Good time intervals in seconds since J2000.0 (TT), shape (n,).
    energies
        Range of true energies in TeV.

    Raises
    ------
    ValueError
        If the model is negative or not finite inside the intervals.

    Examples
    --------
    >>> steady = arrival_of(None, np.array([0.0, 100.0]), np.array([10.0, 110.0]), (0.1, 10.0))
    >>> steady.sample(np.ones(2), np.array([0.25, 0.75]), np.random.default_rng(0))
    array([  5., 105.])
    """
    if model is None:
        return _Steady(start, stop)
    if model.is_energy_dependent:
        return _table(model, start, stop, energies)
    edges = np.concatenate([np.linspace(a, b, 101) for a, b in zip(start, stop, strict=True)])
    _check(model, model.evaluate(edges, *model.values))
    mean = model.norm(start, stop)
    if not 0 <= mean < np.inf:
        msg = f"the mean of {type(model).__name__} over the good time intervals is {mean}, not finite or negative"
        raise ValueError(msg)
    return _Varying(model, start, stop, mean)


def _check(model: TemporalModel, values: FloatArray) -> None:
    if not np.isfinite(values).all() or values.min() < -ROUNDING * np.abs(values).max():
        msg = f"{type(model).__name__} is negative or not finite inside the good time intervals: rates cannot be"
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class _Steady:
    start: FloatArray
    stop: FloatArray

    def norm(self, energy: FloatArray) -> FloatArray:
        return np.ones(np.shape(energy))

    def sample(self, energy: FloatArray, uniform: FloatArray, rng: np.random.Generator) -> FloatArray:
        return sample_intervals(self.start, self.stop, uniform)


@dataclass(frozen=True, eq=False)
class _Varying:
    model: TemporalModel
    start: FloatArray
    stop: FloatArray
    mean: float

    def norm(self, energy: FloatArray) -> FloatArray:
        return np.full(np.shape(energy), self.mean)

    def sample(self, energy: FloatArray, uniform: FloatArray, rng: np.random.Generator) -> FloatArray:
        if not uniform.size:
            return uniform
        return self.model.quantile(uniform, self.start, self.stop)


@dataclass(frozen=True, eq=False)
class _Table:
    """A light curve that changes with energy, linear in time between the nodes of a table.

    Parameters
    ----------
    edges
        Steps of time: starts and stops, shape (2, m).
    cumulative
        Running sum over the steps at each energy, shape (k, m).
    energy
        Energies in TeV, shape (k,).
    length
        Sum of the intervals in s.
    """

    edges: FloatArray
    cumulative: FloatArray
    energy: FloatArray
    length: float

    def norm(self, energy: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            logs = np.log(self.cumulative[:, -1] / self.length)
        return np.asarray(np.exp(np.interp(np.log(energy), np.log(self.energy), np.maximum(logs, -1e3))))

    def sample(self, energy: FloatArray, uniform: FloatArray, rng: np.random.Generator) -> FloatArray:
        place = np.interp(np.log(energy), np.log(self.energy), np.arange(self.energy.size))
        row = np.minimum((place + rng.random(len(energy))).astype(int), self.energy.size - 1)
        result = np.empty(len(energy))
        for k in np.unique(row):
            chosen = row == k
            cumulative = np.concatenate([[0.0], self.cumulative[k]])
            wanted = uniform[chosen] * cumulative[-1]
            step = np.minimum(np.searchsorted(cumulative, wanted, side="right") - 1, self.edges.shape[1] - 1)
            content = cumulative[step + 1] - cumulative[step]
            share = np.divide(wanted - cumulative[step], content, out=np.zeros(len(step)), where=content > 0)
            result[chosen] = self.edges[0, step] + share * (self.edges[1, step] - self.edges[0, step])
        return result


def _table(model: TemporalModel, start: FloatArray, stop: FloatArray, energies: tuple[float, float]) -> _Table:
    low, high = energies
    nodes = np.geomspace(low, high, max(int(np.ceil(np.log10(high / low) * PER_DECADE)), 1) + 1)
    length = float((stop - start).sum())
    parts = []
    for a, b in zip(start, stop, strict=True):
        kinks = model.kinks(*model.values)
        steps = np.linspace(a, b, max(int(np.ceil(STEPS * (b - a) / length)), 1) + 1)
        parts.append(np.union1d(steps, kinks[(kinks > a) & (kinks < b)]))
    edges = np.stack([np.concatenate([p[:-1] for p in parts]), np.concatenate([p[1:] for p in parts])])
    values = model.evaluate(edges.mean(axis=0), *model.values, energy=nodes)
    _check(model, values)
    return _Table(edges, np.cumsum(np.maximum(values, 0.0) * np.diff(edges, axis=0)[0], axis=1), nodes, length)
