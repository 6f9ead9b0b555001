"""Minimisers: iminuit, and those of scipy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from iminuit import Minuit  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy import optimize

from xgamma.fitting.hessian import covariance_of_hessian, degenerate, hessian
from xgamma.fitting.problem import PENALTY, Minimum, Objective, Problem, unit_steps

__all__ = ["SCIPY_METHODS", "Backend", "Options", "minimize", "minuit_of", "rescaled"]

FloatArray = NDArray[np.float64]
Backend = Literal["minuit", "scipy"]

#: Methods of `scipy.optimize.minimize` that need no second derivatives, and whether they know limits.
SCIPY_METHODS = {
    "L-BFGS-B": True, "Nelder-Mead": True, "Powell": True, "TNC": True, "SLSQP": True, "trust-constr": True,
    "COBYLA": True, "BFGS": False, "CG": False,
}  # fmt: skip
MINUIT_METHODS = ("migrad", "simplex")
#: A parameter closer to a limit than this part of its scale sits at it, if the function falls towards it.
AT_LIMIT = 1e-4
#: Ratio of the axes' squares of a covariance that is looked at twice, and a rise along the longest that is none.
CONDITION, FLAT = 1e-4, 0.2
#: Ratio of the axes' squares below which a covariance is made again along its axes.
LONG = 1e-2
#: Parameters up to which second derivatives along the axes of a long covariance are worth their number, and their step.
FEW, PART = 12, 0.1
#: A second run of a scipy minimiser, with steps of the minimum's own scale, that gains less than this ends it.
GAIN = 1e-7


@dataclass(frozen=True)
class Options:
    """How to minimise; see `xgamma.fitting.fit.fit`."""

    backend: Backend = "minuit"
    method: str | None = None
    strategy: int = 1
    tol: float = 1e-3
    covariance: str | None = "hesse"
    max_calls: int | None = None

    def __post_init__(self) -> None:
        known = {"minuit": MINUIT_METHODS, "scipy": tuple(SCIPY_METHODS)}
        if self.backend not in known:
            msg = f"backend={self.backend!r} must be 'minuit' or 'scipy'"
            raise ValueError(msg)
        if self.method is not None and self.method not in known[self.backend]:
            msg = f"method={self.method!r} of {self.backend} must be one of {list(known[self.backend])}"
            raise ValueError(msg)
        if self.covariance not in ("hesse", None):
            msg = f"covariance={self.covariance!r} must be 'hesse' or None"
            raise ValueError(msg)
        if self.strategy not in (0, 1, 2):
            msg = f"strategy={self.strategy!r} must be 0, 1 or 2"
            raise ValueError(msg)
        if not self.tol > 0 or (self.max_calls is not None and self.max_calls < 1):
            msg = f"tol={self.tol!r} and max_calls={self.max_calls!r} must be positive"
            raise ValueError(msg)


def minimize(problem: Problem, options: Options) -> Minimum:
    """Minimise a problem.

    Parameters
    ----------
    problem
        Function of scaled free values, with a start.
    options
        Backend and its settings.

    Returns
    -------
    Minimum
    """
    if not problem.names:
        x = np.zeros(0)
        return Minimum(x, problem.deviance(x), True, (), 1, np.zeros((0, 0)))
    return (_minuit if options.backend == "minuit" else _scipy)(problem, options)


# ------------------------------------------------------------------ iminuit
def minuit_of(problem: Problem, options: Options, objective: Objective | None = None) -> Minuit:
    """Return an iminuit object for a problem, at its start."""
    function = objective or Objective(problem)
    # derivatives by norms are free, and all cost less than the differences that MINUIT would take
    minuit = Minuit(function, problem.start, grad=function.gradient, name=problem.names)
    minuit.errordef = Minuit.LEAST_SQUARES  # a statistic of -2 log L rises by 1 at one standard deviation
    minuit.errors = problem.steps
    for name, low, high in zip(problem.names, problem.lower, problem.upper, strict=True):
        if np.isfinite(low) or np.isfinite(high):
            minuit.limits[name] = (low, high)
    minuit.strategy, minuit.tol = options.strategy, options.tol
    return minuit


def _minuit(problem: Problem, options: Options) -> Minimum:
    objective = Objective(problem)
    minuit = minuit_of(problem, options, objective)
    if options.method == "simplex":
        minuit.simplex(ncall=options.max_calls)
    else:
        minuit.migrad(ncall=options.max_calls)
    if not minuit.valid and not _exhausted(minuit):
        # once more, slowly, from what was reached
        minuit.strategy = 2
        minuit.simplex(ncall=options.max_calls).migrad(ncall=options.max_calls)
    notes: list[str] = []
    if not minuit.valid:
        notes.append(_complaint(minuit, objective))
    x = np.array(minuit.values, float)
    success = bool(minuit.valid)
    deviance, x, stuck = _snap(objective, x, float(minuit.fval))
    covariance = None
    if options.covariance:
        covariance, note = _minuit_covariance(minuit, objective, x, stuck)
        notes += note
        success = success and not note
    notes += _limit_notes(problem, x, stuck)
    return Minimum(x, deviance, success, tuple(notes), objective.calls, covariance)


def _exhausted(minuit: Minuit) -> bool:
    fmin = minuit.fmin
    return bool(fmin is None or fmin.has_reached_call_limit)


def _complaint(minuit: Minuit, objective: Objective) -> str:
    fmin = minuit.fmin
    if _exhausted(minuit):
        return f"the fit has not converged after {objective.calls} evaluations: raise max_calls, or start closer"
    assert fmin is not None
    if fmin.is_above_max_edm:
        text = f"the estimated distance to the minimum, {fmin.edm:.2g}, is above the goal of {fmin.edm_goal:.2g}"
        return f"the fit has not converged: {text}; start closer, or freeze parameters that the data do not tell"
    return "the fit has not converged: MIGRAD found no valid minimum; start closer, or freeze parameters"


def _minuit_covariance(
    minuit: Minuit, objective: Objective, x: FloatArray, stuck: NDArray[np.bool_]
) -> tuple[FloatArray, list[str]]:
    """Covariance by HESSE; parameters at their limits are left out and have none."""
    for i in np.flatnonzero(stuck):
        minuit.values[i] = x[i]
        minuit.fixed[i] = True
    rest = np.flatnonzero(~stuck)
    if not rest.size:
        return np.zeros((x.size, x.size)), []
    minuit.hesse()
    fmin = minuit.fmin
    good = fmin is not None and fmin.has_covariance and fmin.has_posdef_covar and not fmin.has_made_posdef_covar
    if not good or minuit.covariance is None:
        return _whole(x, rest, None), [_indefinite(objective, x, rest, np.array(minuit.errors, float))]
    return _checked(objective, x, rest, np.asarray(minuit.covariance, float)[np.ix_(rest, rest)])


# ------------------------------------------------------------------ scipy
def _scipy(problem: Problem, options: Options) -> Minimum:
    method = options.method or "L-BFGS-B"
    limited = bool(np.any(np.isfinite(problem.lower)) or np.any(np.isfinite(problem.upper)))
    if limited and not SCIPY_METHODS[method]:
        named = [
            n for n, a, b in zip(problem.names, problem.lower, problem.upper, strict=True) if np.isfinite([a, b]).any()
        ]
        msg = f"method={method!r} knows no limits, but {named} have some; take 'L-BFGS-B', or remove the limits"
        raise ValueError(msg)
    objective = Objective(problem)
    x, deviance = problem.start, np.inf
    steps = problem.steps
    for _ in range(10):
        before = deviance
        # in steps of equal change all directions look alike; near the minimum these are standard deviations
        steps = unit_steps(objective, x, steps)
        found = _run_scipy(objective, x, steps, method, options, limited)
        trial = np.clip(x + found.x * steps, problem.lower, problem.upper)
        reached = objective(trial)
        if reached < deviance:
            x, deviance = trial, reached
        if before - deviance < GAIN or _spent(objective, options):
            break
    success = bool(found.success) or before - deviance < GAIN
    notes: list[str] = []
    if not success or _spent(objective, options):
        success = False
        notes.append(f"the fit has not converged after {objective.calls} evaluations: {found.message}")
    deviance, x, stuck = _snap(objective, x, deviance)
    covariance = None
    if options.covariance:
        covariance, note = _own_covariance(objective, x, steps, stuck)
        notes += note
        success = success and not note
    return Minimum(x, deviance, success, (*notes, *_limit_notes(problem, x, stuck)), objective.calls, covariance)


def _spent(objective: Objective, options: Options) -> bool:
    return options.max_calls is not None and objective.calls >= options.max_calls


def _run_scipy(
    objective: Objective, x: FloatArray, steps: FloatArray, method: str, options: Options, limited: bool
) -> Any:
    """Run a minimiser in units of the steps."""
    problem = objective.problem

    def function(y: FloatArray) -> float:
        return objective(x + y * steps)

    def gradient(y: FloatArray) -> FloatArray:
        return objective.gradient(x + y * steps) * steps

    arguments: dict[str, Any] = {"method": method, "tol": 1e-1 * GAIN * options.tol}
    if limited:
        arguments["bounds"] = optimize.Bounds((problem.lower - x) / steps, (problem.upper - x) / steps)
    if method in ("L-BFGS-B", "TNC", "SLSQP", "trust-constr", "BFGS", "CG"):
        arguments["jac"] = gradient
    if options.max_calls is not None:
        left = max(1, options.max_calls - objective.calls)
        per_call = 2 if "jac" in arguments else 1
        name = {"L-BFGS-B": "maxfun", "TNC": "maxfun", "Nelder-Mead": "maxfev", "Powell": "maxfev"}.get(
            method, "maxiter"
        )
        arguments["options"] = {name: max(1, left // per_call)}
    return optimize.minimize(function, np.zeros(x.size), **arguments)


def _own_covariance(
    objective: Objective, x: FloatArray, steps: FloatArray, stuck: NDArray[np.bool_]
) -> tuple[FloatArray, list[str]]:
    """Covariance from numerical second derivatives; parameters at their limits are left out and have none."""
    rest = np.flatnonzero(~stuck)
    if not rest.size:
        return np.zeros((x.size, x.size)), []
    matrix = _hessian(objective, x, rest, steps)
    if degenerate(matrix, tuple("" for _ in rest)):
        return _whole(x, rest, None), [_indefinite(objective, x, rest, steps, matrix)]
    return _checked(objective, x, rest, covariance_of_hessian(matrix))


# ------------------------------------------------------------------ both
def _hessian(objective: Objective, x: FloatArray, rest: NDArray[np.intp], steps: FloatArray) -> FloatArray:
    """Second derivatives along some of the parameters, with steps inside the limits."""
    problem = objective.problem
    units = unit_steps(objective, x, steps, change=1e-2)
    # fourth order takes two steps to each side
    room = np.minimum(x - problem.lower, problem.upper - x)
    units = np.minimum(units, np.where(room > 0, 0.5 * room, units))

    def function(part: FloatArray) -> float:
        return float(many(part[None])[0])

    def many(parts: FloatArray) -> FloatArray:
        whole = np.tile(x, (len(parts), 1))
        whole[:, rest] = parts
        return objective.many(whole)

    return hessian(function, x[rest], units[rest], many)


def _whole(x: FloatArray, rest: NDArray[np.intp], covariance: FloatArray | None) -> FloatArray:
    """Covariance of all parameters from that of some: NaN where there is none, 0 for the others."""
    result = np.zeros((x.size, x.size))
    result[np.ix_(rest, rest)] = np.nan if covariance is None else covariance
    return result


def _checked(
    objective: Objective, x: FloatArray, rest: NDArray[np.intp], covariance: FloatArray
) -> tuple[FloatArray, list[str]]:
    """Look whether the function rises along the longest axis of a covariance, where that is very long, or the only one.

    Rounding makes a direction without any curvature look like one with a little; what the covariance claims is then
    found wrong one standard deviation away, where the function ought to have risen by one.
    """
    size = np.sqrt(np.diag(covariance))
    lengths, axes = np.linalg.eigh(covariance / np.outer(size, size))
    # beside an amplitude at its limit of zero, no other parameter changes anything: all axes are rounding alone
    if rest.size == x.size and lengths[0] > CONDITION * lengths[-1]:
        better = covariance if lengths[0] > LONG * lengths[-1] else _refined(objective, x, rest, covariance)
        return _whole(x, rest, better), []
    move = np.zeros(x.size)
    move[rest] = axes[:, -1] * np.sqrt(lengths[-1]) * size
    lower, upper = objective.problem.lower, objective.problem.upper
    here = objective(x)
    rise = max(objective(np.clip(x + side * move, lower, upper)) - here for side in (-1.0, 1.0))
    if rise > FLAT:
        return _whole(x, rest, _refined(objective, x, rest, covariance)), []
    names = [objective.problem.names[i] for i, part in zip(rest, axes[:, -1], strict=True) if abs(part) > 0.1]
    return _whole(x, rest, None), [_untold(names)]


def _refined(objective: Objective, x: FloatArray, rest: NDArray[np.intp], covariance: FloatArray) -> FloatArray:
    """Repeat second derivatives along the axes of a covariance.

    Where parameters are strongly correlated, a step along one of them is far outside in the direction in which the
    function is narrow, and the difference that makes the long axis is lost in the change of the second derivatives.
    """
    if rest.size > FEW:
        return covariance
    problem = objective.problem
    for _ in range(3):
        size = np.sqrt(np.diag(covariance))
        lengths, axes = np.linalg.eigh(covariance / np.outer(size, size))
        if not lengths[0] > 0:
            return covariance
        basis = size[:, None] * axes * np.sqrt(lengths)
        # fourth order takes two steps to each side, along two axes at once
        reach = 2.0 * PART * np.sqrt(2.0) * size
        if np.any(x[rest] - reach < problem.lower[rest]) or np.any(x[rest] + reach > problem.upper[rest]):
            return covariance

        def along(u: FloatArray, basis: FloatArray = basis) -> float:
            return float(many(u[None], basis)[0])

        def many(us: FloatArray, basis: FloatArray = basis) -> FloatArray:
            whole = np.tile(x, (len(us), 1))
            # point by point: a product of matrices would round in another order
            whole[:, rest] += np.array([basis @ u for u in us])
            return objective.many(whole)

        matrix = hessian(along, np.zeros(rest.size), np.full(rest.size, PART), many)
        if degenerate(matrix, tuple("" for _ in rest)):
            return covariance
        better = basis @ covariance_of_hessian(matrix) @ basis.T
        change = float(np.max(np.abs(np.sqrt(np.diag(better)) / size - 1.0)))
        covariance = better
        if change < 1e-3:
            break
    return covariance


def _untold(names: list[str]) -> str:
    return f"the covariance is not positive definite: the data do not tell {names}; freeze or link some of them"


def _indefinite(
    objective: Objective, x: FloatArray, rest: NDArray[np.intp], steps: FloatArray, matrix: FloatArray | None = None
) -> str:
    """Say which parameters the data do not tell apart."""
    names = tuple(objective.problem.names[i] for i in rest)
    matrix = _hessian(objective, x, rest, steps) if matrix is None else matrix
    culprits = degenerate(matrix, names) or list(names)
    return _untold(culprits)


def _snap(objective: Objective, x: FloatArray, deviance: float) -> tuple[float, FloatArray, NDArray[np.bool_]]:
    """Put parameters that lean against a limit onto it."""
    problem, stuck = objective.problem, np.zeros(x.size, bool)
    x = np.clip(x, problem.lower, problem.upper)
    for limits in (problem.lower, problem.upper):
        for i in np.flatnonzero(np.isfinite(limits)):
            if abs(x[i] - limits[i]) > AT_LIMIT * max(1.0, abs(limits[i])):
                continue
            trial = x.copy()
            trial[i] = limits[i]
            value = objective(trial)
            inward = trial.copy()
            inward[i] += (1.0 if limits is problem.lower else -1.0) * AT_LIMIT * max(1.0, abs(limits[i]))
            if value <= min(deviance + 1e-9, PENALTY) and objective(inward) >= value:
                x, deviance, stuck[i] = trial, value, True
    return deviance, x, stuck


def _limit_notes(problem: Problem, x: FloatArray, stuck: NDArray[np.bool_]) -> list[str]:
    return [
        f"{problem.names[i]} sits at its limit {x[i] * problem.scale[i]:g} and has no error"
        for i in np.flatnonzero(stuck)
    ]


def rescaled(problem: Problem, minimum: Minimum) -> Problem:
    """Return the problem at its minimum, with standard deviations as steps."""
    steps = problem.steps
    if minimum.covariance is not None:
        errors = np.sqrt(np.clip(np.diag(minimum.covariance), 0.0, None))
        steps = np.where(np.isfinite(errors) & (errors > 0), errors, steps)
    return replace(problem.at(minimum.x), steps=steps)
