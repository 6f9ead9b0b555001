"""What all estimators of fluxes ask: which norm of a signal describes counts best, and how well is it known.

Many fits are solved at once, each over several bins, without a loop over fits. The statistic of a norm is convex (see
`xgamma.kernels.norm_problem`), its slope is piecewise smooth with jumps at the corners of empty bins. The corners
that bracket the minimum are found first, by bisection over their numbers; the minimum is a corner itself, where the
slope changes its sign there, or the root of a smooth function, found by Newton steps inside the bracket.

This is numpy alone. Loops compiled by numba solve 10^6 fits several times faster, but importing and compiling costs
more than two seconds before the first flux point, which numpy has after two milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from xgamma.kernels.norm_limits import norm_rise
from xgamma.kernels.norm_problem import NormProblem, norm_deviance
from xgamma.kernels.norm_terms import NormTerms, sort_terms

__all__ = ["NormFit", "fit_norm"]

#: Bins that are worked on at once: arrays of this size stay in the cache of a processor.
BLOCK = 200_000


@dataclass(frozen=True)
class NormFit:
    """Best norms with errors, limits and significance; arrays of one shape.

    Attributes
    ----------
    norm
        Norm at the minimum of the statistic. In a Cash fit without a single count the statistic falls without end, and
        the norm is the lowest one at which no bin is predicted negative.
    norm_err
        Symmetric error from the curvature at the minimum, times `n_sigma`; NaN at a corner, where there is none.
    norm_errn, norm_errp
        Distances, positive, to where the statistic has risen by ``n_sigma**2``.
    norm_ul
        Norm above the minimum where the statistic has risen by ``n_sigma_ul**2``; in a Cash fit without counts above
        norm zero, so that the limit is ``n_sigma_ul**2 / 2`` signal counts whatever the background.
    stat, stat_null
        Statistic at the minimum and at norm zero.
    ts
        ``stat_null - stat``, never negative.
    corner
        True where the minimum is a corner: empty bins forbid a lower norm, and errors are one-sided in nature.
    success
        False for invalid input and where no bin expects a signal; everything else is NaN then.
    """

    norm: np.ndarray
    norm_err: np.ndarray
    norm_errn: np.ndarray
    norm_errp: np.ndarray
    norm_ul: np.ndarray
    stat: np.ndarray
    stat_null: np.ndarray
    ts: np.ndarray
    corner: np.ndarray
    success: np.ndarray

    @property
    def sqrt_ts(self) -> np.ndarray:
        """Significance in standard deviations, with the sign of the norm."""
        return np.asarray(np.sign(self.norm) * np.sqrt(self.ts))


def fit_norm(
    problem: NormProblem,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    *,
    errors: bool = True,
    upper_limit: bool = True,
) -> NormFit:
    """Fit the norm of a signal to counts, for many fits at once.

    Parameters
    ----------
    problem
        Data from `~xgamma.kernels.norm_problem.cash_problem`, ``wstat_problem`` or ``join_problems``, of any shape
        (..., k) with k bins for each fit.
    n_sigma
        Number of standard deviations of the errors.
    n_sigma_ul
        Number of standard deviations of the upper limit.
    errors, upper_limit
        Whether to solve for ``norm_errn`` and ``norm_errp`` resp. ``norm_ul``; they are NaN otherwise.

    Returns
    -------
    NormFit
        Arrays of shape (...).

    Raises
    ------
    ValueError
        If a number of standard deviations is not positive.

    Examples
    --------
    Ten counts over a background of four, a signal of three at norm one:

    >>> from xgamma.kernels.norm_problem import cash_problem
    >>> fit = fit_norm(cash_problem(np.array([[10.0]]), np.array([[4.0]]), np.array([[3.0]])))
    >>> fit.norm, fit.norm_err.round(6), fit.sqrt_ts.round(6)
    (array([2.]), array([1.054093]), array([2.515117]))
    """
    for name, value in (("n_sigma", n_sigma), ("n_sigma_ul", n_sigma_ul)):
        if not (np.isfinite(value) and value > 0):
            msg = f"{name}={value!r} must be a positive number of standard deviations"
            raise ValueError(msg)
    flat = problem.flat()
    number = len(flat.counts)
    results = {f.name: np.full(number, np.nan) for f in fields(NormFit)}
    good = np.flatnonzero(flat.valid & flat.has_signal)
    rows = max(1, BLOCK // max(1, flat.counts.shape[-1]))
    for first in range(0, len(good), rows):
        index = good[first : first + rows]
        part = _fit_block(flat.take(index), n_sigma if errors else None, n_sigma_ul if upper_limit else None)
        for name, values in part.items():
            results[name][index] = values
        results["norm_err"][index] *= n_sigma
    results["success"] = np.isfinite(results["norm"])
    results["corner"] = results["corner"] == 1.0
    return NormFit(**{name: v.reshape(problem.fits) for name, v in results.items()})


def _fit_block(problem: NormProblem, n_sigma: float | None, n_sigma_ul: float | None) -> dict[str, np.ndarray]:
    terms = sort_terms(problem)
    norm, corner = minimise(terms)
    result = {"norm": norm, "corner": corner.astype(float)}
    curvature = terms.smooth_slope(norm)[1]
    with np.errstate(divide="ignore"):
        result["norm_err"] = np.where(corner | (curvature == 0), np.nan, 1.0 / np.sqrt(curvature))
    stat, null = norm_deviance(problem, norm), norm_deviance(problem, np.zeros_like(norm))
    result["stat"], result["stat_null"] = stat + problem.constant, null + problem.constant
    # before the constants of Cash come in, which are large and would cancel
    result["ts"] = np.maximum(null - stat, 0.0)
    if n_sigma is not None:
        result["norm_errn"] = norm_rise(terms, norm, n_sigma, -1.0)
        result["norm_errp"] = norm_rise(terms, norm, n_sigma, 1.0)
    if n_sigma_ul is not None:
        reference = np.where(terms.bounded, norm, 0.0)
        result["norm_ul"] = reference + norm_rise(terms, norm, n_sigma_ul, 1.0)
    return result


def minimise(terms: NormTerms) -> tuple[np.ndarray, np.ndarray]:
    """Return the norms at the minimum of the statistic, and whether they are corners; shape (m,) each.

    Examples
    --------
    >>> from xgamma.kernels.norm_problem import wstat_problem
    >>> one = wstat_problem(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.full((1, 2), 0.1), np.ones((1, 2)))
    >>> minimise(sort_terms(one))
    (array([0.]), array([ True]))
    """
    first = np.zeros(len(terms), dtype=int)
    norm, corner = np.full(len(terms), np.nan), np.zeros(len(terms), dtype=bool)
    low, high = terms.low.copy(), terms.high.copy()
    if terms.corner.shape[-1]:
        first = _find_corner(terms)
        rows = np.arange(len(terms))
        last = terms.corner.shape[-1] - 1
        below, above = terms.corner[rows, np.maximum(first - 1, 0)], terms.corner[rows, np.minimum(first, last)]
        low = np.where(first > 0, np.maximum(low, below), low)
        high = np.where(first < terms.n_corners, np.minimum(high, above), high)
        some = np.flatnonzero(first < terms.n_corners)
        before = terms.take(some).smooth_slope(above[some])[0] + terms.corner_slopes[some, first[some]]
        at = some[before <= 0]
        norm[at], corner[at] = above[at], True
        norm[~terms.bounded] = terms.corner[~terms.bounded, terms.n_corners[~terms.bounded] - 1]
    go = np.flatnonzero(np.isnan(norm))
    offset = terms.corner_slopes[go, first[go]]
    norm[go] = _newton(terms.take(go), offset, low[go], np.maximum(low, high)[go])
    return norm + 0.0, corner  # no negative zero


def _find_corner(terms: NormTerms) -> np.ndarray:
    """Return the number of the first corner at whose right the statistic does not fall any more, shape (m,)."""
    number = terms.n_corners
    rows = np.flatnonzero(number > 0)
    low, high = np.zeros(len(terms), dtype=int), number.copy()
    trial = number - 1  # most minima lie right of all corners: look there first
    while len(rows):
        part, j = terms.take(rows), trial[rows]
        slope = part.smooth_slope(terms.corner[rows, j])[0] + terms.corner_slopes[rows, j + 1]
        low[rows] = np.where(slope < 0, j + 1, low[rows])
        high[rows] = np.where(slope < 0, high[rows], j)
        rows = rows[low[rows] < high[rows]]
        trial = (low + high) // 2
    return low


def _newton(terms: NormTerms, offset: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the root of the slope inside brackets that hold no corner, shape (m,)."""
    result = np.full(len(terms), np.nan)
    live = np.arange(len(terms))
    x = np.clip(terms.start, low, high)
    for _ in range(200):
        if not len(live):
            break
        slope, curvature = terms.smooth_slope(x)
        slope = slope + offset
        low, high = np.where(slope < 0, x, low), np.where(slope > 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            new = x - slope / curvature
            # a billionth of an error: the next step of Newton's method would be below the last digit
            done = np.abs(new - x) <= 1e-9 / np.sqrt(curvature)
        inside = np.isfinite(new) & (new >= low) & (new <= high)
        middle = 0.5 * (low + high)
        done = (done & inside) | (slope == 0) | (middle <= low) | (middle >= high)
        new = np.where(slope == 0, x, np.where(inside, new, middle))
        result[live[done]] = new[done]
        if done.mean() > 0.25:
            keep = np.flatnonzero(~done)
            live, terms, offset, x, low, high = (
                live[keep], terms.take(keep), offset[keep], new[keep], low[keep], high[keep],
            )  # fmt: skip
        else:
            x = new
    result[live] = x
    return result
