"""A likelihood as minimisers see it: a function of free parameters of order one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.dataset import Likelihood
from xgamma.models.parameter import Parameter, Parameters

__all__ = ["Minimum", "Objective", "Problem", "problem_of", "unit_steps"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: What a minimiser sees where the likelihood is not defined.
PENALTY = 1e30
#: Part of a step over which derivatives are taken.
DERIVATIVE = 1e-4
#: First step of a parameter without error, as a part of its value.
FIRST_STEP = 0.1


@dataclass(frozen=True, eq=False)
class Problem:
    """A likelihood as a function of its free parameters, scaled.

    Parameters
    ----------
    likelihood
        Function of all values.
    base
        Values of all parameters in their units, shape (n,).
    free
        Places of the free ones, shape (m,).
    names
        Their names.
    scale
        What a free value is divided by: powers of two, so that nothing is rounded. Shape (m,).
    lower, upper
        Limits of the scaled values, infinite for none.
    steps
        First steps of the scaled values.
    """

    likelihood: Likelihood
    base: FloatArray
    free: IntArray
    names: tuple[str, ...]
    scale: FloatArray
    lower: FloatArray
    upper: FloatArray
    steps: FloatArray

    @property
    def start(self) -> FloatArray:
        """Scaled values at the start."""
        return self.base[self.free] / self.scale

    def values(self, x: FloatArray) -> FloatArray:
        """Return the values of all parameters for scaled free ones."""
        values = self.base.copy()
        values[self.free] = np.asarray(x) * self.scale
        return values

    def deviance(self, x: FloatArray) -> float:
        """Return the deviance for scaled free values, a large number where it is not defined."""
        with np.errstate(all="ignore"):  # minimisers try values where spectra overflow
            result = self.likelihood.deviance(self.values(x))
        return result if -PENALTY < result < PENALTY else PENALTY

    def deviances(self, points: FloatArray) -> FloatArray:
        """Return the deviance for several scaled free values, shape (points,); for workers that is one message."""
        with np.errstate(all="ignore"):
            result = self.likelihood.deviances(np.array([self.values(x) for x in points]))
        return np.where((result > -PENALTY) & (result < PENALTY), result, PENALTY)

    def gradient(self, x: FloatArray) -> FloatArray:
        """Return the derivative of the deviance by the scaled free values, shape (m,)."""
        steps = dict(zip(self.free.tolist(), (DERIVATIVE * self.steps * self.scale).tolist(), strict=True))
        with np.errstate(all="ignore"):
            result = self.likelihood.gradient(self.values(x), steps)[self.free] * self.scale
        return np.where(np.isfinite(result), result, 0.0)

    def at(self, x: FloatArray) -> Problem:
        """Return the problem with another start."""
        return replace(self, base=self.values(x))

    def fixed(self, **values: float) -> Problem:
        """Return the problem with some of the free parameters fixed, by name, at values in their units."""
        places = {name: int(self.free[i]) for i, name in enumerate(self.names)}
        base = self.base.copy()
        for name, value in values.items():
            base[places[name]] = value
        rest = np.array([name not in values for name in self.names], bool)
        names = tuple(name for name in self.names if name not in values)
        arrays = {key: getattr(self, key)[rest] for key in ("free", "scale", "lower", "upper", "steps")}
        return replace(self, base=base, names=names, **arrays)


class Objective:
    """The function of a problem and its derivatives, counting calls."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.calls = problem, 0

    def __call__(self, x: FloatArray) -> float:
        """Return the deviance."""
        self.calls += 1
        return self.problem.deviance(x)

    def many(self, points: FloatArray) -> FloatArray:
        """Return the deviance at several points, shape (points,)."""
        self.calls += len(points)
        return self.problem.deviances(points)

    def gradient(self, x: FloatArray) -> FloatArray:
        """Return the derivatives; counts as one call."""
        self.calls += 1
        return self.problem.gradient(x)


@dataclass(frozen=True, eq=False)
class Minimum:
    """What a minimiser found.

    Parameters
    ----------
    x
        Scaled free values, shape (m,).
    deviance
        The function there.
    success
        Whether the minimiser says that it has converged.
    notes
        What went wrong, in words.
    calls
        Number of evaluations.
    covariance
        Of the scaled values, shape (m, m); None where it was not asked for, NaN where there is none.
    """

    x: FloatArray
    deviance: float
    success: bool
    notes: tuple[str, ...]
    calls: int
    covariance: FloatArray | None = None


def problem_of(likelihood: Likelihood, parameters: Parameters) -> Problem:
    """Set up the minimisation over the free parameters on which a likelihood depends.

    Parameters
    ----------
    likelihood
        Function of the values of `parameters`.
    parameters
        All parameters.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If nothing is free, a value lies outside its limits, limits leave no room, or the statistic is not a number at
        the start.
    """
    reached = set(likelihood.places.tolist())
    free = [i for i, p in enumerate(parameters) if not p.frozen and i in reached]
    if not free:
        why = "all are frozen" if not parameters.free else f"no dataset depends on {parameters.free.names}"
        why = why if len(parameters) else "there are no models"
        msg = f"there is no free parameter to fit: {why}"
        raise ValueError(msg)
    for i in free:
        _check_limits(parameters[i], parameters.names[i])
    base = parameters.values
    with np.errstate(all="ignore"):
        begin = likelihood.deviance(base)
    if not np.isfinite(begin):
        raise ValueError(_undefined(likelihood, base, parameters, begin))
    scale = np.array([_scale(likelihood, base, i, parameters[i], begin) for i in free])
    limits = [[float(getattr(parameters[i], side)) for i in free] for side in ("min", "max")]
    lower = np.where(np.isnan(limits[0]), -np.inf, limits[0]) / scale
    upper = np.where(np.isnan(limits[1]), np.inf, limits[1]) / scale
    errors = np.array([parameters[i].error for i in free]) / scale
    x = base[free] / scale
    steps = np.where(np.isfinite(errors) & (errors > 0), errors, FIRST_STEP * np.where(x == 0, 1.0, np.abs(x)))
    steps = np.minimum(steps, 0.25 * (upper - lower))
    names = tuple(parameters.names[i] for i in free)
    problem = Problem(likelihood, base, np.array(free, np.intp), names, scale, lower, upper, steps)
    # a minimiser that maps limits onto a sine finds no slope at a limit
    return problem.at(np.clip(x, lower + 0.01 * steps, upper - 0.01 * steps))


def _check_limits(parameter: Parameter, name: str) -> None:
    low, high = parameter.min, parameter.max
    if low == high:
        msg = f"the limits of {name} leave no room (min = max = {low:g}); freeze it"
        raise ValueError(msg)
    if parameter.value < low or parameter.value > high:
        msg = f"{name} starts at {parameter.value:g}, outside its limits from {low:g} to {high:g}"
        raise ValueError(msg)


def _undefined(likelihood: Likelihood, values: FloatArray, parameters: Parameters, found: float) -> str:
    """Say where the statistic is not a number at the start."""
    with np.errstate(all="ignore"):
        bad = list(dict.fromkeys(likelihood.undefined(values)))
        priors = [parameters.names[p.place] for p in likelihood.priors if not np.isfinite(p.stat(values))]
    parts = ([f"datasets {bad}"] if bad else []) + ([f"the priors of {priors}"] if priors else [])
    return f"the statistic of {' and '.join(parts)} is {found} at the start; start from other values"


def _scale(likelihood: Likelihood, base: FloatArray, place: int, parameter: Parameter, begin: float) -> float:
    """Return the order of magnitude of a parameter, as a power of two."""
    size = abs(parameter.value) or (parameter.error if np.isfinite(parameter.error) else 0.0)
    if not size:
        # a start at zero says nothing: look for a step that the likelihood notices
        values = base.copy()
        inward = -1.0 if parameter.max == parameter.value else 1.0
        for power in range(-40, 41):
            values[place] = parameter.value + inward * 10.0**power
            with np.errstate(all="ignore"):
                change = abs(likelihood.deviance(values) - begin)
            if change > 0.1:
                size = 10.0**power
                break
    return float(2.0 ** np.floor(np.log2(size))) if size else 1.0


def unit_steps(objective: Objective, x: FloatArray, steps: FloatArray, change: float = 1.0) -> FloatArray:
    """Return steps along each axis that change a function by about a given amount.

    Parameters
    ----------
    objective
        The function.
    x
        Where, shape (m,).
    steps
        First guess, shape (m,).
    change
        Wanted change; it is met within a factor of four, where steps between 2^-40 and 2^40 of the guess can.

    Returns
    -------
    numpy.ndarray
        Shape (m,), positive.
    """
    here, result = objective(x), steps.copy()
    lower, upper = objective.problem.lower, objective.problem.upper
    for i in range(x.size):
        direction = 0
        for _ in range(40):
            # the mean of both sides, each within the limits: the slope far from a minimum must not blow a step up
            found = 0.0
            for side in (-1.0, 1.0):
                trial = x.copy()
                trial[i] = np.clip(x[i] + side * result[i], lower[i], upper[i])
                found = max(found, abs(objective(trial) - here))
            wanted = -1 if found > 2.0 * change else 1 if found < 0.5 * change else 0
            if wanted == 0 or wanted == -direction:
                break
            direction = wanted
            result[i] *= 2.0**wanted
    return result
