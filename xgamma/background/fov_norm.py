"""Norms of a background model: how much of it the counts ask for, in closed form or by Cash's likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NormFit", "fit_norms", "scale_norm"]

FloatArray = NDArray[np.float64]

#: ``shape(values)`` of free parameters (k,): the factor in each bin, shape (n,), and its derivatives, shape (k, n).
Shape = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
#: ``curvature(values)``: second derivatives of the factor, shape (k, k, n).
Curvature = Callable[[FloatArray], FloatArray]
#: Steps of the iteration; five are usual.
MOST_STEPS = 100
#: Halvings of a step that makes the statistic larger.
MOST_HALVINGS = 40
#: Decrease of the statistic that one more step is expected to bring, below which the minimum is found.
CONVERGED = 1e-18
#: The same where rounding stops the iteration: a ten-thousandth of the errors.
ROUNDING = 1e-8


@dataclass(frozen=True, eq=False)
class NormFit:
    """Free parameters of a norm at the maximum of the likelihood.

    Parameters
    ----------
    values
        Shape (k,).
    covariance
        Shape (k, k).
    success
        False where there is no such maximum.
    """

    values: FloatArray
    covariance: FloatArray
    success: bool


def scale_norm(counts: float, background: float, other: float = 0.0) -> tuple[float, float]:
    """Return the norm that makes background and other events as many as the counts, and its error.

    Examples
    --------
    >>> scale_norm(110.0, 50.0, 10.0)
    (2.0, 0.2)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.float64(counts) - other
        return float(left / background), float(np.sqrt(left) / background)


def fit_norms(
    counts: FloatArray,
    background: FloatArray,
    other: FloatArray,
    shape: Shape,
    curvature: Curvature,
    start: FloatArray,
) -> NormFit:
    r"""Minimise Cash's statistic of ``background * f + other`` over the parameters of the factor f.

    Parameters
    ----------
    counts, background, other
        Shape (n,), of bins that belong together: single voxels, or their sums where `other` is zero, which changes
        the statistic by a constant.
    shape
        The factor and its derivatives.
    curvature
        Its second derivatives, for the covariance.
    start
        Where to begin, shape (k,).

    Returns
    -------
    NormFit

    Notes
    -----
    Fisher's scoring; steps that make the statistic larger are halved. The covariance is the inverse of half the
    observed second derivatives.

    References
    ----------
    W. Cash, ApJ 228, 939 (1979). P. McCullagh, J. Nelder, Generalized Linear Models (1989), section 2.5.

    Examples
    --------
    >>> def one_norm(values):
    ...     return np.full(2, values[0]), np.ones((1, 2))
    >>> counts, background = np.array([30.0, 6.0]), np.array([10.0, 2.0])
    >>> fit = fit_norms(counts, background, np.zeros(2), one_norm, lambda values: np.zeros((1, 1, 2)), np.array([1.0]))
    >>> fit.values.round(12), np.sqrt(fit.covariance).round(12)
    (array([3.]), array([[0.5]]))
    """
    problem = _Problem(counts, background, other, shape, curvature)
    failed = NormFit(np.full(len(start), np.nan), np.full((len(start),) * 2, np.nan), success=False)
    values = np.array(start, dtype=float)
    stat = problem.stat(values)
    if not np.isfinite(stat):
        return failed
    for _ in range(MOST_STEPS):
        gradient, fisher = problem.derivatives(values)
        step = _solve(fisher, -gradient)
        if step is None:
            return failed
        decrease = -float((gradient * step).sum())
        if decrease < CONVERGED:
            return _finished(problem, values + step, failed)
        following = _walk(problem, values, step, stat)
        if following is None:
            # rounding allows no further decrease
            return _finished(problem, values, failed) if decrease < ROUNDING else failed
        values, stat = following
    return failed


class _Problem:
    """Cash's statistic over the parameters of the factor."""

    def __init__(
        self, counts: FloatArray, background: FloatArray, other: FloatArray, shape: Shape, curvature: Curvature
    ) -> None:
        self.counts, self.background, self.other, self.shape, self.curvature = (
            counts,
            background,
            other,
            shape,
            curvature,
        )

    def stat(self, values: FloatArray) -> float:
        """Statistic, up to a constant; infinite where events are predicted that cannot be."""
        factor, _ = self.shape(values)
        npred = self.background * factor + self.other
        if not (np.isfinite(npred).all() and (npred >= 0).all() and (factor >= 0).all()):
            return np.inf
        has = self.counts > 0
        with np.errstate(divide="ignore"):
            return float(2 * (npred.sum() - (self.counts[has] * np.log(npred[has])).sum()))

    def derivatives(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient, shape (k,), and its expected slope, shape (k, k)."""
        factor, slopes = self.shape(values)
        npred = self.background * factor + self.other
        safe = np.where(npred > 0, npred, np.inf)
        weighted = slopes * self.background
        gradient = 2 * (weighted * (1 - self.counts / safe)).sum(axis=-1)
        # sums, no products of matrices: the same bits with every number of threads
        fisher = 2 * (weighted[:, np.newaxis] * weighted[np.newaxis] / safe).sum(axis=-1)
        return gradient, fisher

    def hessian(self, values: FloatArray) -> FloatArray:
        """Observed second derivatives, shape (k, k)."""
        factor, slopes = self.shape(values)
        npred = self.background * factor + self.other
        safe = np.where(npred > 0, npred, np.inf)
        weighted = slopes * self.background
        squares = weighted[:, np.newaxis] * weighted[np.newaxis] * self.counts / safe**2
        curves = self.curvature(values) * self.background * (1 - self.counts / safe)
        return np.asarray(2 * (squares + curves).sum(axis=-1))


def _solve(matrix: FloatArray, vector: FloatArray) -> FloatArray | None:
    """Solve a positive definite system, None where it is none."""
    scale = np.sqrt(np.diag(matrix))
    if not (np.isfinite(matrix).all() and np.isfinite(vector).all() and (scale > 0).all()):
        return None
    scaled = matrix / np.outer(scale, scale)
    if np.linalg.eigvalsh(scaled)[0] < 1e-12:
        return None
    return np.asarray(np.linalg.solve(scaled, vector / scale) / scale)


def _walk(problem: _Problem, values: FloatArray, step: FloatArray, stat: float) -> tuple[FloatArray, float] | None:
    """First of a step, half of it, and so on, after which the statistic is not larger."""
    for halving in range(MOST_HALVINGS):
        there = values + 0.5**halving * step
        found = problem.stat(there)
        # rounding of a sum is no increase
        if found <= stat + 1e-14 * abs(stat):
            return there, found
    return None


def _finished(problem: _Problem, values: FloatArray, failed: NormFit) -> NormFit:
    """Add the covariance from the observed second derivatives."""
    hessian = problem.hessian(values)
    columns = [_solve(hessian, unit) for unit in np.eye(len(values))]
    if any(column is None for column in columns):
        return failed
    covariance = 2 * np.array(columns)
    return NormFit(values, 0.5 * (covariance + covariance.T), success=True)
