"""The likelihood of one norm: many fits at once, several bins each, Cash and WStat bins in any mixture.

A fit asks which norm a makes ``other + a * shape`` (plus the background, where it is measured in an off region)
describe the counts best. The statistic is a sum over bins, each of them convex in a. Bins of three
kinds enter it differently:

- Cash bins with counts (``alpha = 0``): the statistic goes to infinity where the prediction goes to zero, a pole.
- WStat bins with on or off counts: smooth, defined for every a, since the background makes up for a negative signal.
- Empty bins: two straight lines that meet in a corner, where the predicted signal is zero. To the right the statistic
  rises by twice the signal. To the left nothing happens in a Cash bin (a negative prediction counts as zero, as in
  `xgamma.kernels.stats.cash`), while in a WStat bin the off region would have to hold background: a steep wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xgamma.kernels.stats import deviance, wstat

__all__ = [
    "NormProblem",
    "cash_problem",
    "join_problems",
    "norm_deviance",
    "norm_predictions",
    "norm_statistic",
    "wstat_problem",
]


@dataclass(frozen=True)
class NormProblem:
    """Data of many fits of one norm, made by `cash_problem`, `wstat_problem` and `join_problems`.

    Attributes
    ----------
    counts, counts_off, alpha, other, shape
        Shape (..., k): one fit for each leading element, k bins. Bins that do not take part hold zeros. Cash bins have
        ``alpha = 0`` and their background in `other`.
    constant
        What the statistic of the field has beyond twice the deviance, shape (...).
    valid
        False where an input was unusable, shape (...).
    """

    counts: np.ndarray
    counts_off: np.ndarray
    alpha: np.ndarray
    other: np.ndarray
    shape: np.ndarray
    constant: np.ndarray
    valid: np.ndarray

    @property
    def fits(self) -> tuple[int, ...]:
        """Leading shape: one element a fit."""
        return self.counts.shape[:-1]

    @cached_property
    def has_signal(self) -> np.ndarray:
        """True where some bin expects a signal, shape (...)."""
        return np.asarray((self.shape > 0).any(axis=-1))

    def take(self, rows: slice | np.ndarray) -> NormProblem:
        """Return some of the fits of a problem with one leading dimension."""
        return NormProblem(**{name: getattr(self, name)[rows] for name in _FIELDS})

    def flat(self) -> NormProblem:
        """Return the fits along one leading dimension."""
        bins = self.counts.shape[-1]
        arrays = {n: np.ascontiguousarray(getattr(self, n)).reshape(-1, bins) for n in _FIELDS[:5]}
        return NormProblem(**arrays, constant=self.constant.ravel(), valid=self.valid.ravel())


_FIELDS = ("counts", "counts_off", "alpha", "other", "shape", "constant", "valid")


def cash_problem(
    counts: np.ndarray, background: np.ndarray, shape: np.ndarray, mask: np.ndarray | None = None
) -> NormProblem:
    """Pose fits of a norm over a known background.

    Parameters
    ----------
    counts
        Measured counts, shape (..., k).
    background
        Everything that does not scale with the norm, shape (..., k).
    shape
        Signal counts at norm 1, not negative, shape (..., k).
    mask
        Bins that take part, shape (..., k); others may hold anything.

    Returns
    -------
    NormProblem
        Fits with NaN, negative counts or a negative shape are not `valid`.

    Examples
    --------
    >>> problem = cash_problem(np.array([[3.0, 5.0]]), np.array([[1.0, 1.0]]), np.array([2.0, 3.0]))
    >>> problem.fits
    (1,)
    """
    n, b, s = _bins(mask, counts, background, shape)
    zero = np.zeros_like(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        valid = (np.isfinite(n) & np.isfinite(b) & np.isfinite(s) & (n >= 0) & (s >= 0)).all(axis=-1)
        # 2 (mu - n ln mu) against 2 (mu - n + n ln(n / mu))
        constant = 2.0 * np.where(n > 0, n - n * np.log(np.where(n > 0, n, 1.0)), 0.0).sum(axis=-1)
    return NormProblem(n, zero, zero, b, s, constant, valid)


def wstat_problem(
    counts: np.ndarray,
    counts_off: np.ndarray,
    alpha: np.ndarray,
    shape: np.ndarray,
    other: np.ndarray | float = 0.0,
    mask: np.ndarray | None = None,
) -> NormProblem:
    """Pose fits of a norm over a background that is measured in an off region.

    Parameters
    ----------
    counts, counts_off
        Counts in the on and the off region, shape (..., k).
    alpha
        Ratio of on to off exposure, shape (..., k); zero makes Cash bins with the background `other`.
    shape
        Signal counts in the on region at norm 1, not negative, shape (..., k).
    other
        Signal counts of other sources in the on region, which do not scale with the norm.
    mask
        Bins that take part, shape (..., k); others may hold anything.

    Returns
    -------
    NormProblem
        Fits with NaN, negative counts, negative `alpha` or a negative shape are not `valid`.

    Examples
    --------
    >>> problem = wstat_problem(np.array([5.0]), np.array([3.0]), np.array([0.5]), np.array([2.0]))
    >>> bool(problem.valid)
    True
    """
    n, off, a, s, e = _bins(mask, counts, counts_off, alpha, shape, other)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(n) & np.isfinite(off) & np.isfinite(a) & np.isfinite(s) & np.isfinite(e)
        valid = (finite & (n >= 0) & (off >= 0) & (a >= 0) & (s >= 0)).all(axis=-1)
    # the off region of a bin without exposure ratio is described exactly, whatever the norm
    off = np.where(a > 0, off, 0.0)
    return NormProblem(n, off, a, e, s, np.zeros(n.shape[:-1]), np.asarray(valid))


def _bins(mask: np.ndarray | None, *arrays: np.ndarray | float) -> list[np.ndarray]:
    """Broadcast; zero where the mask is False."""
    values = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in arrays))
    if values[0].ndim == 0:
        msg = "a fit of a norm needs arrays with a last dimension of bins; give one bin as [value]"
        raise ValueError(msg)
    if mask is None:
        return [np.asarray(v) for v in values]
    mask = np.asarray(mask, dtype=bool)
    return [np.where(mask, v, 0.0) for v in values]


def join_problems(problems: Sequence[NormProblem]) -> NormProblem:
    """Join problems of several datasets into fits over all their bins.

    Parameters
    ----------
    problems
        Problems whose leading shapes broadcast; the numbers of bins may differ.

    Returns
    -------
    NormProblem
        Bins in the order of the problems.

    Raises
    ------
    ValueError
        If there is none, or the leading shapes do not fit.

    Examples
    --------
    >>> one = cash_problem(np.array([3.0]), np.array([1.0]), np.array([2.0]))
    >>> two = wstat_problem(np.array([5.0]), np.array([3.0]), np.array([0.5]), np.array([2.0]))
    >>> join_problems([one, two]).counts
    array([3., 5.])
    """
    if not problems:
        msg = "there is no problem to join: give at least one dataset"
        raise ValueError(msg)
    try:
        fits = np.broadcast_shapes(*(p.fits for p in problems))
    except ValueError as error:
        msg = f"the datasets hold different numbers of fits: {[p.fits for p in problems]}"
        raise ValueError(msg) from error
    bins = [
        np.concatenate(
            [np.broadcast_to(v, (*fits, v.shape[-1])) for v in (getattr(p, name) for p in problems)], axis=-1
        )
        for name in _FIELDS[:5]
    ]
    constant = np.zeros(fits)
    valid = np.ones(fits, dtype=bool)
    for problem in problems:
        constant = constant + problem.constant
        valid = valid & problem.valid
    return NormProblem(**dict(zip(_FIELDS[:5], bins, strict=True)), constant=constant, valid=valid)


def norm_predictions(problem: NormProblem, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the counts that a norm predicts in each bin.

    Parameters
    ----------
    problem
        The fits.
    norm
        Shape (...).

    Returns
    -------
    npred
        Signal, other components and background, where measured with its best fit, shape (..., k).
    npred_excess
        Signal of the norm, shape (..., k).
    npred_background
        `npred` without any signal, shape (..., k); zero in Cash bins, whose background is part of `other`.

    Examples
    --------
    >>> problem = cash_problem(np.array([3.0, 5.0]), np.array([1.0, 1.0]), np.array([2.0, 3.0]))
    >>> norm_predictions(problem, np.array(2.0))[0]
    array([5., 7.])
    """
    excess = np.asarray(norm, dtype=float)[..., None] * problem.shape
    total = problem.other + excess
    if not problem.alpha.any():
        return total, excess, np.zeros_like(total)
    on, background = wstat_state(problem.counts, problem.counts_off, problem.alpha, total)
    measured = problem.alpha > 0
    return np.where(measured, on, total), excess, np.where(measured, background, 0.0)


def norm_statistic(problem: NormProblem, norm: np.ndarray) -> np.ndarray:
    """Return the statistic of the field (Cash, WStat, or their sum) at given norms.

    Parameters
    ----------
    problem
        The fits.
    norm
        Shape (...).

    Returns
    -------
    numpy.ndarray
        Shape (...). Cash bins whose prediction is not positive are truncated as in `xgamma.kernels.stats.cash`; NaN
        where the norm is NaN or the fit not valid.

    Examples
    --------
    >>> problem = cash_problem(np.array([3.0]), np.array([1.0]), np.array([2.0]))
    >>> float(norm_statistic(problem, np.array(1.0)).round(6))
    -0.591674
    """
    return norm_deviance(problem, norm) + problem.constant


def norm_deviance(problem: NormProblem, norm: np.ndarray) -> np.ndarray:
    """Return the statistic without the constants of Cash: zero where the prediction is perfect, shape (...).

    Examples
    --------
    >>> problem = cash_problem(np.array([3.0]), np.array([1.0]), np.array([2.0]))
    >>> float(norm_deviance(problem, np.array(1.0)))
    0.0
    """
    total = problem.other + np.asarray(norm, dtype=float)[..., None] * problem.shape
    twice = 2.0 * deviance(problem.counts, total)
    if problem.alpha.any():
        measured = problem.alpha > 0
        on_off = wstat(problem.counts, problem.counts_off, np.where(measured, problem.alpha, 1.0), total)
        twice = np.where(measured, on_off, twice)
    return np.where(problem.valid, twice.sum(axis=-1), np.nan)


def wstat_state(n: np.ndarray, off: np.ndarray, alpha: np.ndarray, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return prediction and background of the on region, ``(signal + y, y)``, with the background that fits best.

    The same as `xgamma.kernels.stats.wstat_predictions` at a third of the cost: for a negative signal on and off
    exchange their roles, so that one formula of positive terms serves both signs.

    Examples
    --------
    >>> on, background = wstat_state(np.array([5.0]), np.array([3.0]), np.array([0.5]), np.array([0.0]))
    >>> on.round(6), background.round(6)
    (array([2.666667]), array([2.666667]))
    """
    positive = signal >= 0
    size = np.abs(signal)
    above = 1.0 + alpha
    c = alpha * (n + off) - above * size
    product = alpha * size * np.where(positive, off, n)
    root = np.sqrt(c * c + 4.0 * above * product) + np.abs(c)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(c >= 0, root / (2.0 * above), 2.0 * product / root)
    high = low + size
    return np.where(positive, high, low), np.where(positive, low, high)
