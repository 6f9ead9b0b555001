"""Beyond the minimum: confidence intervals, likelihood profiles, surfaces and contours."""

from __future__ import annotations

import pickle
import uuid
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi2

from xgamma.fitting.minimize import Options, minimize, minuit_of
from xgamma.fitting.problem import Problem

__all__ = ["Confidence", "confidence_interval", "contour", "profile", "surface"]

FloatArray = NDArray[np.float64]

#: How far, in units of the first step, an end of an interval is looked for.
REACH = 2.0**10
#: How far off its rise, as a part of it, a point of a contour may be.
ASTRAY = 0.05


@dataclass(frozen=True)
class Confidence:
    """Confidence interval of a parameter from its likelihood profile.

    Parameters
    ----------
    name
        Name of the parameter.
    value
        Best value.
    errn, errp
        Distances to the lower and the upper end, positive, in the unit of the parameter; NaN where there is no end.
    unit
        Unit of the numbers.
    sigma
        Standard deviations that the interval stands for.
    success
        Whether both ends were found.
    message
        What is wrong with them.
    n_evaluations
        Number of evaluations.
    """

    name: str
    value: float
    errn: float
    errp: float
    unit: str
    sigma: float
    success: bool
    message: str
    n_evaluations: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.value - self.errn, self.value + self.errp


def confidence_interval(
    problem: Problem, options: Options, name: str, best: float, sigma: float
) -> tuple[float, float, list[str], int]:
    """Return the distances to both ends of an interval, in units of the parameter, with notes and calls.

    Parameters
    ----------
    problem
        Problem at its minimum, with standard deviations as steps.
    options
        Backend: MINOS for minuit, a root of the profile for scipy.
    name
        Name of a free parameter.
    best
        Deviance of the minimum.
    sigma
        The profile has risen by its square at the ends.

    Returns
    -------
    errn, errp, notes, calls
    """
    if not sigma > 0:
        msg = f"sigma={sigma!r} must be positive"
        raise ValueError(msg)
    if options.backend == "minuit":
        return _minos(problem, options, name, sigma)
    return _roots(problem, options, name, best, sigma)


def _minos(problem: Problem, options: Options, name: str, sigma: float) -> tuple[float, float, list[str], int]:
    minuit = minuit_of(problem, options)
    minuit.migrad()
    # iminuit takes numbers below one as probabilities, others as standard deviations
    minuit.minos(name, cl=sigma if sigma >= 1 else float(chi2.cdf(sigma**2, 1)))
    error = minuit.merrors[name]
    place = problem.names.index(name)
    scale, best = float(problem.scale[place]), float(problem.start[place])
    notes, ends = [], []
    for side, good, at_limit, new, value, limit in (
        ("lower", error.lower_valid, error.at_lower_limit, error.lower_new_min, -error.lower, problem.lower[place]),
        ("upper", error.upper_valid, error.at_upper_limit, error.upper_new_min, error.upper, problem.upper[place]),
    ):
        ends.append(value * scale if good and not at_limit else np.nan)
        if at_limit or (not good and np.isclose(best, limit, rtol=1e-6, atol=1e-9)):
            notes.append(f"the {side} end lies beyond the limit of {name}")
        elif new:
            notes.append(f"a new minimum was found on the way to the {side} end: fit again from other values")
        elif not good:
            notes.append(f"the {side} end was not found")
    return ends[0], ends[1], notes, int(error.nfcn)


def _roots(
    problem: Problem, options: Options, name: str, best: float, sigma: float
) -> tuple[float, float, list[str], int]:
    place = problem.names.index(name)
    scale, start, step = (float(v[place]) for v in (problem.scale, problem.start, problem.steps))
    quiet = replace(options, covariance=None)
    calls, notes, ends = 0, [], []

    def rise(x: float) -> float:
        nonlocal calls
        found = minimize(problem.fixed(**{name: x * scale}), quiet)
        calls += found.calls
        return found.deviance - best - sigma**2

    for side, sign, limit in (("lower", -1.0, problem.lower[place]), ("upper", 1.0, problem.upper[place])):
        room = abs(float(limit) - start)
        far = min(sigma * step, room)
        end = rise(start + sign * far)
        while end < 0 and far < min(room, REACH * step):
            far = min(2.0 * far, room)
            end = rise(start + sign * far)
        if end < 0:
            ends.append(np.nan)
            beyond = f"the {side} end lies beyond the limit of {name}"
            notes.append(beyond if far >= room else f"the {side} end was not found")
            continue
        root = brentq(rise, start, start + sign * far, xtol=1e-7 * step)
        ends.append(abs(float(root) - start) * scale)
    return ends[0], ends[1], notes, calls


def profile(
    problem: Problem, options: Options, scans: dict[str, FloatArray], reoptimize: bool
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return the deviance on a grid of values of some parameters, the others minimised.

    Parameters
    ----------
    problem
        Problem at its minimum, with standard deviations as steps.
    options
        Backend and its settings.
    scans
        Values of each scanned parameter, in its unit.
    reoptimize
        False leaves the other parameters at their best values.

    Returns
    -------
    deviance
        Shape of the grid.
    values
        Values of all free parameters in their units, shape (..., m).
    success
        Whether the minimiser converged.
    """
    quiet = replace(options, covariance=None)
    shape = tuple(v.size for v in scans.values())
    deviance, success = np.empty(shape), np.ones(shape, bool)
    values = np.empty((*shape, len(problem.names)))
    nearest: dict[tuple[int, ...], Problem] = {}
    for index in np.ndindex(shape):
        # the neighbour's result is a good start
        before = next((nearest[i] for i in _neighbours(index) if i in nearest), problem)
        fixed = before.fixed(**{name: float(v[i]) for (name, v), i in zip(scans.items(), index, strict=True)})
        if reoptimize:
            found = minimize(fixed, quiet)
            deviance[index], success[index] = found.deviance, found.success
            fixed = fixed.at(found.x)
            nearest[index] = replace(before, base=fixed.base)
        else:
            deviance[index] = fixed.likelihood.deviance(fixed.base)
        values[index] = fixed.base[problem.free]
    return deviance, values, success


def _neighbours(index: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(n - (k == axis) for k, n in enumerate(index)) for axis in reversed(range(len(index)))]


def profile_lazy(
    problem: Problem, options: Options, scans: dict[str, FloatArray], reoptimize: bool
) -> tuple[da.Array, da.Array, da.Array]:
    """Return what `profile` does as Dask arrays: each value of the first parameter is a task of its own.

    Parameters
    ----------
    problem, options, scans, reoptimize
        As for `profile`.

    Notes
    -----
    A task works on a copy of the likelihood, as it was at the minimum: the numbers do not depend on the scheduler.
    """
    blob = delayed(pickle.dumps(replace(problem, likelihood=_sendable(problem))), name=f"likelihood-{uuid.uuid4()}")
    first, *others = scans
    rows = []
    for value in scans[first]:
        own = {first: np.array([value])} | {name: scans[name] for name in others}
        rows.append(delayed(_profile_of_copy, pure=False)(blob, options, own, reoptimize))
    shape = tuple(v.size for v in scans.values())
    result = []
    for i, (extra, dtype) in enumerate([((), float), ((len(problem.names),), float), ((), bool)]):
        parts = [da.from_delayed(row[i], (1, *shape[1:], *extra), dtype) for row in rows]
        result.append(da.concatenate(parts))
    return result[0], result[1], result[2]


def _sendable(problem: Problem) -> Any:
    """The likelihood, if a task can have a copy of it."""
    likelihood = problem.likelihood
    if hasattr(likelihood, "client"):
        msg = "workers hold the parts of this likelihood, which other tasks cannot have: leave lazy=True out"
        raise ValueError(msg)
    return likelihood


def _profile_of_copy(
    blob: bytes, options: Options, scans: dict[str, FloatArray], reoptimize: bool
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    return profile(pickle.loads(blob), options, scans, reoptimize)  # noqa: S301 - made above, not read from a file


def contour_along_rays(
    problem: Problem, options: Options, pair: tuple[str, str], rise: float, n: int, covariance: FloatArray
) -> da.Array:
    """Return a contour as a Dask array of shape (n + 1, 2), closed: each direction from the minimum is a task.

    Parameters
    ----------
    problem, options, pair, rise, n
        As for `contour`.
    covariance
        Of the two parameters, shape (2, 2): directions are equally far apart on its ellipse.

    Notes
    -----
    Along each direction the profile over both parameters is followed to where it has risen: points lie on the contour
    to a millionth of their distance. A contour that a direction crosses twice is not of this kind.
    """
    size = np.sqrt(np.diag(covariance))
    if not np.all(np.isfinite(size) & (size > 0)) or np.linalg.eigvalsh(covariance / np.outer(size, size))[0] <= 0:
        msg = f"no contour of {pair[0]} and {pair[1]}: their covariance is not positive definite"
        raise ValueError(msg)
    blob = delayed(pickle.dumps(replace(problem, likelihood=_sendable(problem))), name=f"likelihood-{uuid.uuid4()}")
    root = np.linalg.cholesky(covariance)
    angles = 2.0 * np.pi * np.arange(n) / n
    rays = (root @ np.array([np.cos(angles), np.sin(angles)])).T
    points = [delayed(_on_ray, pure=False)(blob, options, pair, rise, ray) for ray in rays]
    return da.stack([da.from_delayed(p, (2,), float) for p in [*points, points[0]]])


def _on_ray(blob: bytes, options: Options, pair: tuple[str, str], rise: float, ray: FloatArray) -> FloatArray:
    """Where the profile has risen along a direction; NaN where it does not within the limits."""
    problem: Problem = pickle.loads(blob)  # noqa: S301 - made above, not read from a file
    quiet = replace(options, covariance=None)
    place = [problem.names.index(name) for name in pair]
    best = problem.start[place] * problem.scale[place]
    lowest = minimize(problem, quiet).deviance
    low, high = problem.lower[place] * problem.scale[place], problem.upper[place] * problem.scale[place]
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(ray > 0, (high - best) / ray, np.where(ray < 0, (low - best) / ray, np.inf))
    last = float(np.min(room)) * (1.0 - 1e-9)

    def above(t: float) -> float:
        values = dict(zip(pair, (best + t * ray).tolist(), strict=True))
        return minimize(problem.fixed(**values), quiet).deviance - lowest - rise

    far = min(float(np.sqrt(rise)), last)
    while above(far) < 0:
        if far >= last or far > REACH:
            return np.full(2, np.nan)
        far = min(1.5 * far, last)
    t = float(brentq(above, 0.0, far, xtol=1e-6 * far, rtol=1e-6))
    return np.asarray(best + t * ray)


def surface(
    deviance: Any, values: Any, success: Any, scans: dict[str, FloatArray],
    names: dict[str, str], units: dict[str, str], best: float, constant: float,
) -> xr.Dataset:  # fmt: skip
    """Label the result of `profile`.

    Parameters
    ----------
    deviance, values, success
        As `profile` or `profile_lazy` returns them.
    scans
        Values of each scanned parameter.
    names
        Dimension of each scanned parameter.
    units
        Unit of each free parameter, in order.
    best
        Deviance of the minimum.
    constant
        What the statistic has beyond the deviance.

    Returns
    -------
    xarray.Dataset
        ``stat``, ``delta_stat`` (above the minimum), ``success``; and ``values`` of all free parameters.
    """
    dims = tuple(names[n] for n in scans)
    coords: dict[str, Any] = {names[n]: (names[n], v, {"units": units[n], "long_name": n}) for n, v in scans.items()}
    coords["parameter"] = "parameter", list(units)
    coords["unit"] = "parameter", list(units.values())
    variables = {
        "stat": (dims, deviance + constant, {"units": "", "long_name": "Fit statistic"}),
        "delta_stat": (dims, deviance - best, {"units": "", "long_name": "Fit statistic above its minimum"}),
        "success": (dims, success, {"units": "", "long_name": "Converged"}),
        "values": ((*dims, "parameter"), values, {"units": "", "long_name": "Values, each in its unit"}),
    }
    return xr.Dataset(variables, coords)


def contour(
    problem: Problem, options: Options, pair: tuple[str, str], rise: float, n: int, covariance: FloatArray
) -> FloatArray:
    """Return points where the profile over two parameters has risen by an amount, shape (n + 1, 2), closed.

    Parameters
    ----------
    problem
        Problem at its minimum, with standard deviations as steps.
    options
        Settings of minuit, which is used for all backends.
    pair
        Names of two free parameters.
    rise
        Rise of the deviance.
    n
        Number of points.
    covariance
        Of the two parameters, shape (2, 2).

    Raises
    ------
    ValueError
        If there is no such contour.

    Notes
    -----
    MINUIT walks along the contour, and may leave it where another parameter jumps to a second minimum. Each of its
    points is looked at; if one does not lie on the contour, that of `contour_along_rays` is taken.
    """
    # MNCONTOUR takes the probability that belongs to the rise in two dimensions
    minuit = minuit_of(problem, options)
    minuit.migrad()
    points = np.asarray(minuit.mncontour(*pair, cl=float(chi2.cdf(rise, 2)), size=n), float)
    if points.ndim != 2 or len(points) < 4 or not np.all(np.isfinite(points)):
        msg = f"no contour of {pair[0]} and {pair[1]} was found: is one at its limit, or do the data not tell it?"
        raise ValueError(msg)
    points *= np.array([problem.scale[problem.names.index(name)] for name in pair])
    quiet = replace(options, covariance=None)
    lowest = minimize(problem, quiet).deviance
    held = [dict(zip(pair, point, strict=True)) for point in points[:-1].tolist()]
    risen = [minimize(problem.fixed(**values), quiet).deviance - lowest for values in held]
    if np.max(np.abs(np.array(risen) - rise)) > ASTRAY * rise:
        points = contour_along_rays(problem, options, pair, rise, n, covariance).compute(scheduler="synchronous")
        if not np.all(np.isfinite(points)):
            msg = f"no contour of {pair[0]} and {pair[1]} was found: does it reach their limits?"
            raise ValueError(msg)
    return points


def scan_values(values: ArrayLike | int | None, low: float, high: float, default: FloatArray | None) -> FloatArray:
    """Return the values of a scan: those given, a number of them between two ends, or the default ones."""
    if values is None and default is not None:
        return default
    if values is None or isinstance(values, (int, np.integer)):
        number = 11 if values is None else int(values)
        if number < 1:
            msg = f"values={values!r} must be the values of the scan, or how many"
            raise ValueError(msg)
        return np.linspace(low, high, number)
    result = np.atleast_1d(np.asarray(values, float))
    if result.ndim != 1 or not np.all(np.isfinite(result)):
        msg = "the values of a scan must be finite numbers in one dimension"
        raise ValueError(msg)
    return result
