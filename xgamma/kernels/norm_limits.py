"""Errors, limits, profile and sensitivity of a fitted norm, for many fits at once."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from xgamma.kernels.norm_problem import NormProblem, norm_statistic, wstat_state
from xgamma.kernels.norm_terms import NormTerms
from xgamma.kernels.solve import expand_bracket, find_root
from xgamma.kernels.stats import TRUNCATION, deviance

__all__ = ["limit_from_scan", "norm_sensitivity", "scan_norm"]


def norm_rise(terms: NormTerms, best: np.ndarray, n_sigma: float, direction: float) -> np.ndarray:
    """Return the distance from the best norm at which the statistic has risen by ``n_sigma**2``, shape (m,).

    Examples
    --------
    >>> from xgamma.kernels.norm_problem import cash_problem
    >>> from xgamma.kernels.norm_terms import sort_terms
    >>> terms = sort_terms(cash_problem(np.array([[10.0]]), np.array([[4.0]]), np.array([[3.0]])))
    >>> norm_rise(terms, np.array([2.0]), 1.0, 1.0).round(6)
    array([1.168011])
    """
    half = 0.5 * n_sigma**2
    slope, curvature = terms.slope(best), terms.smooth_slope(best)[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        step = 1.1 * n_sigma / np.sqrt(curvature)
        # straight lines: the statistic lies above its tangent, so that this step is never too short
        line = half / slope if direction > 0 else np.full(len(best), np.inf)
    step = np.where(slope > 0, np.fmin(step, line), step)
    step = np.where(np.isfinite(step) & (step > 0), step, half / terms.total_shape)
    # in a Cash fit without counts nothing rises below
    index = np.flatnonzero(terms.bounded) if direction < 0 else np.arange(len(best))
    state = terms.wstat_state(best)

    def equation(distance: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        whole = len(index) == len(best)
        part, start, (mu, y) = terms, best, state
        if not whole:
            part, start, mu, y = terms.take(index), best[index], mu[index], y[index]
        rise, slope = part.rise(start + direction * distance, start, (mu, y))
        return rise - half, direction * slope

    result = np.zeros(len(best))
    outer = expand_bracket(equation, np.zeros(len(index)), step[index], index)
    result[index] = find_root(equation, np.zeros(len(index)), outer, index, rtol=1e-13)
    return result


def scan_norm(problem: NormProblem, norms: np.ndarray) -> np.ndarray:
    """Return the statistic at given norms, the profile of the likelihood.

    Parameters
    ----------
    problem
        Data of the fits, shape (..., k).
    norms
        Shape (j,) for the same norms in all fits, or (..., j).

    Returns
    -------
    numpy.ndarray
        Shape (..., j).

    Examples
    --------
    >>> from xgamma.kernels.norm_problem import cash_problem
    >>> scan_norm(cash_problem(np.array([0.0]), np.array([1.0]), np.array([2.0])), np.array([0.0, 1.0]))
    array([2., 6.])
    """
    norms = np.broadcast_to(np.asarray(norms, dtype=float), (*problem.fits, np.shape(norms)[-1]))
    parts = [norm_statistic(problem, norms[..., j]) for j in range(norms.shape[-1])]
    return np.stack(parts, axis=-1) if parts else np.zeros(norms.shape)


def norm_sensitivity(problem: NormProblem, significance: float = 5.0) -> np.ndarray:
    """Return the norm that would be detected with a given significance in data without fluctuations.

    The counts of the problem do not matter: in their place stand background and other components plus the signal of the
    norm that is looked for (an Asimov data set); off counts are the measured ones.

    Parameters
    ----------
    problem
        Data of the fits, shape (..., k).
    significance
        Wanted value of ``sqrt_ts``.

    Returns
    -------
    numpy.ndarray
        Shape (...). NaN for invalid input, where no bin expects a signal, and where none of those that do has a
        background (every count would be infinitely significant).

    Raises
    ------
    ValueError
        If the significance is not positive.

    References
    ----------
    G. Cowan et al., Eur. Phys. J. C 71, 1554 (2011).

    Examples
    --------
    >>> from xgamma.kernels.norm_problem import cash_problem
    >>> norm_sensitivity(cash_problem(np.array([[0.0]]), np.array([[5.0]]), np.array([[2.0]]))).round(6)
    array([7.418287])
    """
    if not (np.isfinite(significance) and significance > 0):
        msg = f"significance={significance!r} must be a positive number of standard deviations"
        raise ValueError(msg)
    flat = problem.flat()
    result = np.full(len(flat.counts), np.nan)
    background = (flat.shape > 0) & ((flat.other > 0) | (flat.alpha > 0))
    good = np.flatnonzero(flat.valid & background.any(axis=-1))
    if len(good):
        result[good] = _sensitivity(flat.take(good), 0.5 * significance**2)
    return result.reshape(problem.fits)


def _sensitivity(problem: NormProblem, half: float) -> np.ndarray:
    off, alpha, other, shape = problem.counts_off, problem.alpha, problem.other, problem.shape
    base = np.maximum(alpha * off + other, 0.0)
    measured = alpha > 0

    def equation(norm: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, signal, is_measured = alpha[index], shape[index], measured[index]
        n = base[index] + norm[:, None] * signal
        mu, y = wstat_state(n, off[index], a, other[index])
        mu = np.where(is_measured, mu, np.maximum(other[index], TRUNCATION))
        with np.errstate(divide="ignore", invalid="ignore"):
            off_part = np.where(is_measured, deviance(off[index], np.where(is_measured, y / a, 1.0)), 0.0)
            slope = np.where(signal > 0, signal * np.log(n / mu), 0.0).sum(axis=-1)
        counted = np.where(signal > 0, deviance(n, mu) + off_part, 0.0)
        return counted.sum(axis=-1) - half, slope

    weight = np.where(shape > 0, shape**2 / np.maximum((1.0 + alpha) * base, 1.0), 0.0).sum(axis=-1)
    step = 1.1 * np.sqrt(2.0 * half / weight) + half / shape.sum(axis=-1)
    index, zero = np.arange(len(base)), np.zeros(len(base))
    outer = expand_bracket(equation, zero, step, index)
    return find_root(equation, zero, outer, index, rtol=1e-13)


def limit_from_scan(
    norms: np.ndarray,
    stat: np.ndarray,
    best: np.ndarray | float = np.nan,
    best_stat: np.ndarray | float = np.nan,
    n_sigma: float = 2.0,
) -> np.ndarray:
    """Return the upper limit that a scanned profile of the statistic implies.

    Parameters
    ----------
    norms
        Ascending norms of the scan, shape (j,) or (..., j).
    stat
        Statistic at these norms, shape (..., j).
    best, best_stat
        The fitted norm and its statistic, shape (...), which make the result more precise; NaN where not known.
    n_sigma
        Number of standard deviations of the limit.

    Returns
    -------
    numpy.ndarray
        Shape (...). Cubic splines give the minimum of the profile, where it is not known, and where it has risen by
        ``n_sigma**2``; NaN where the profile holds NaN, has fewer than three points, or ends before.

    Raises
    ------
    ValueError
        If `n_sigma` is not positive.

    Examples
    --------
    >>> norms = np.linspace(-1, 5, 25)
    >>> float(limit_from_scan(norms, (norms - 1.0) ** 2 / 0.25).round(6))
    2.0
    """
    if not (np.isfinite(n_sigma) and n_sigma > 0):
        msg = f"n_sigma={n_sigma!r} must be a positive number of standard deviations"
        raise ValueError(msg)
    stat = np.asarray(stat, dtype=float)
    fits, points = stat.shape[:-1], stat.shape[-1]
    arrays = (np.broadcast_to(norms, stat.shape).reshape(-1, points), stat.reshape(-1, points))
    single = tuple(np.broadcast_to(np.asarray(v, dtype=float), fits).ravel() for v in (best, best_stat))
    limits = [_limit(x, y, a, b, n_sigma) for x, y, a, b in zip(*arrays, *single, strict=True)]
    return np.array(limits, dtype=float).reshape(fits)


def _limit(x: np.ndarray, y: np.ndarray, best: float, lowest: float, n_sigma: float) -> float:
    """Upper limit of one profile."""
    if len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()) or (np.diff(x) <= 0).any():
        return np.nan
    if not (np.isfinite(best) and np.isfinite(lowest)):
        spline = CubicSpline(x, y)
        inner = spline.derivative().roots(extrapolate=False)
        candidates = np.concatenate([inner[np.isfinite(inner)], x])
        best = float(candidates[np.argmin(spline(candidates))])
        lowest = float(spline(best))
    if best not in x:
        place = int(np.searchsorted(x, best))
        x, y = np.insert(x, place, best), np.insert(y, place, lowest)
    # the root of the rise is nearly a straight line
    root = np.sign(x - best) * np.sqrt(np.maximum(y - lowest, 0.0))
    # beside the minimum the root magnifies how precisely a minimiser has found it
    use = (np.abs(root) > 0.2) | (x == best)
    if use.sum() < 3:
        return np.nan
    roots = CubicSpline(x[use], root[use]).solve(n_sigma, extrapolate=False)
    above = roots[np.isfinite(roots) & (roots > best)]
    return float(above.min()) if len(above) else np.nan
