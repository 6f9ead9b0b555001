"""The statistic of a norm sorted into its three kinds of bins, with slope and curvature; what the solvers work on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from xgamma.kernels.norm_problem import NormProblem, wstat_state

__all__ = ["NormTerms", "sort_terms"]


@dataclass(frozen=True)
class NormTerms:
    """Half of the statistic of m fits as a function of the norm; made by `sort_terms`.

    Attributes
    ----------
    cash_counts, cash_ratio
        Cash bins with counts, and their background divided by their signal at norm 1, shape (m, i); padded with
        zero counts and an infinite ratio.
    cash_shape
        Sum of the signal of these bins, shape (m,).
    counts, counts_off, alpha, other, shape
        WStat bins with counts in the on or the off region, shape (m, j); padded with zeros.
    corner, right, left
        Norms at which the signal of an empty bin is zero, ascending, and the slopes to both sides (`left` is the
        downward one), shape (m, l); padded with zeros.
    n_corners
        How many there are, shape (m,).
    low, high
        Norms between which the minimum lies, shape (m,).
    start
        A norm near the minimum; never above it in a fit without WStat bins, where Newton's method then converges
        from below without a step too far, shape (m,).
    total_shape
        Signal of all bins at norm 1, shape (m,).
    pole
        Norm at which the statistic becomes infinite, -inf where there is none, shape (m,).
    bounded
        False for Cash fits without a single count, whose statistic has no minimum but falls until nothing is
        predicted any more, shape (m,).
    """

    cash_counts: np.ndarray
    cash_ratio: np.ndarray
    cash_shape: np.ndarray
    counts: np.ndarray
    counts_off: np.ndarray
    alpha: np.ndarray
    other: np.ndarray
    shape: np.ndarray
    corner: np.ndarray
    right: np.ndarray
    left: np.ndarray
    n_corners: np.ndarray
    low: np.ndarray
    high: np.ndarray
    start: np.ndarray
    total_shape: np.ndarray
    pole: np.ndarray
    bounded: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def take(self, rows: np.ndarray) -> NormTerms:
        """Return some of the fits."""
        return self if len(rows) == len(self) else NormTerms(*(getattr(self, f.name)[rows] for f in fields(self)))

    @cached_property
    def corner_slopes(self) -> np.ndarray:
        """Slope of all empty bins left of each corner and right of the last one, shape (m, l + 1)."""
        jumps = np.cumsum(self.right + self.left, axis=-1)
        first = -self.left.sum(axis=-1, keepdims=True)
        return np.concatenate([first, first + jumps], axis=-1)

    def smooth_slope(self, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slope and curvature of all bins with counts; the slope is -inf at and below the pole."""
        slope, curvature = self.cash_shape, np.zeros(len(self))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.cash_counts.shape[-1]:
                inverse = 1.0 / (self.cash_ratio + norm[:, None])
                weighted = self.cash_counts * inverse
                slope = np.where(norm > self.pole, slope - weighted.sum(axis=-1), -np.inf)
                curvature = (weighted * inverse).sum(axis=-1)
            if self.counts.shape[-1]:
                mu, y = self.wstat_state(norm)
                slope = slope + self._wstat_slope(mu, y)
                # 0 / 0 stands for a prediction that is held at zero: it has no variance
                variance = np.where(mu > 0, mu * mu / self.counts, 0.0) + np.where(y > 0, y * y / self.counts_off, 0.0)
                curvature = curvature + np.where(self.shape > 0, self.shape**2 / variance, 0.0).sum(axis=-1)
        return slope, curvature

    def wstat_state(self, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return prediction and best background of the on region in all WStat bins with counts, shape (m, j)."""
        return wstat_state(self.counts, self.counts_off, self.alpha, self.other + norm[:, None] * self.shape)

    def _wstat_slope(self, mu: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Slope of the profile likelihood.

        By the envelope theorem the slope with respect to the signal is ``1 - n / mu``. Where nothing is predicted in an
        on region without counts, the background is tied to the signal and the other equation of the two counts.
        """
        slope = 1.0 - self.counts / mu
        tied = mu == 0
        if tied.any():
            slope = np.where(tied, (self.alpha * self.counts_off / y - 1.0) / self.alpha, slope)
        return np.asarray(np.where(self.shape > 0, slope * self.shape, 0.0).sum(axis=-1))

    def slope(self, norm: np.ndarray) -> np.ndarray:
        """Return the slope of half of the statistic, its right-hand value at a corner, shape (m,)."""
        return self.smooth_slope(norm)[0] + self._corner_slope(norm)

    def _corner_slope(self, norm: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(norm[:, None] >= self.corner, self.right, -self.left).sum(axis=-1))

    def rise(
        self, norm: np.ndarray, best: np.ndarray, best_state: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return half of the statistic at `norm` above that at `best`, and its slope; inf at and below the pole.

        `best_state` is what `wstat_state` gives at `best`.
        """
        step = norm - best
        rise, slope = self.cash_shape * step, self.cash_shape
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.cash_counts.shape[-1]:
                ratio = step[:, None] / (self.cash_ratio + best[:, None])
                rise = rise - (self.cash_counts * np.log1p(ratio)).sum(axis=-1)
                slope = slope - (self.cash_counts / (self.cash_ratio + norm[:, None])).sum(axis=-1)
                rise, slope = np.where(norm > self.pole, rise, np.inf), np.where(norm > self.pole, slope, -np.inf)
            if self.counts.shape[-1]:
                mu, y = self.wstat_state(norm)
                rise = rise + self._wstat_rise(mu, y, *best_state)
                slope = slope + self._wstat_slope(mu, y)
        if self.corner.shape[-1]:
            slope = slope + self._corner_slope(norm)
            here, there = norm[:, None] - self.corner, best[:, None] - self.corner
            right = self.right * (np.maximum(here, 0) - np.maximum(there, 0))
            rise = rise + (right + self.left * (np.maximum(-here, 0) - np.maximum(-there, 0))).sum(axis=-1)
        return rise, slope

    def _wstat_rise(self, mu: np.ndarray, y: np.ndarray, mu0: np.ndarray, y0: np.ndarray) -> np.ndarray:
        rise = np.where(self.shape > 0, (mu - mu0) + (y - y0) / self.alpha, 0.0)
        rise -= np.where(self.counts > 0, self.counts * np.log(mu / mu0), 0.0)
        rise -= np.where(self.counts_off > 0, self.counts_off * np.log(y / y0), 0.0)
        return np.asarray(rise.sum(axis=-1))


def sort_terms(problem: NormProblem) -> NormTerms:
    """Sort the bins of a problem by kind; bins without signal play no part.

    Parameters
    ----------
    problem
        Fits along one leading dimension, all of them valid and with some signal.

    Returns
    -------
    NormTerms

    Examples
    --------
    >>> from xgamma.kernels.norm_problem import cash_problem
    >>> terms = sort_terms(cash_problem(np.array([[3.0, 0.0]]), np.array([[1.0, 1.0]]), np.array([[2.0, 4.0]])))
    >>> terms.cash_ratio, terms.corner
    (array([[0.5]]), array([[-0.25]]))
    """
    n, off, alpha, other, shape = (getattr(problem, f) for f in ("counts", "counts_off", "alpha", "other", "shape"))
    signal, measured = shape > 0, alpha > 0
    empty = signal & (n == 0) & (off == 0)
    cash = signal & ~measured & (n > 0)
    divisor = np.where(signal, shape, 1.0)
    ratio = other / divisor
    own = (n - alpha * off - other) / divisor  # each bin's own best norm

    corner_bins = _gather(
        empty, (np.where(empty, -ratio, np.inf), shape, _left_slope(shape, alpha)), (np.inf, 0.0, 0.0)
    )
    order = np.argsort(corner_bins[0], axis=-1, kind="stable")
    corner, right, left = (np.take_along_axis(v, order, axis=-1) for v in corner_bins)
    cash_counts, cash_ratio = _gather(cash, (n, ratio), (0.0, np.inf))
    wstat = _gather(signal & measured & ~empty, (n, off, alpha, other, shape), (0.0,) * 5)

    flat = empty & ~measured  # right of nothing their slope is zero: they say nothing about an upper bound
    pole = np.where(cash, -ratio, -np.inf).max(axis=-1)
    low = np.maximum(np.where(signal, own, np.inf).min(axis=-1), pole)
    high = np.where(signal & ~flat, own, -np.inf).max(axis=-1)
    total = shape.sum(axis=-1)
    start = np.where(
        (signal & measured).any(axis=-1),
        np.where(signal, n - alpha * off - other, 0.0).sum(axis=-1) / total,
        _start_from_below(np.where(cash, n, 0.0), ratio, total),
    )
    return NormTerms(
        cash_counts=cash_counts,
        cash_ratio=cash_ratio,
        cash_shape=np.where(cash, shape, 0.0).sum(axis=-1),
        **dict(zip(("counts", "counts_off", "alpha", "other", "shape"), wstat, strict=True)),
        corner=np.where(np.isfinite(corner), corner, 0.0),
        right=right,
        left=left,
        n_corners=empty.sum(axis=-1),
        low=low,
        high=high,
        start=start,
        total_shape=total,
        pole=pole,
        bounded=(signal & ~flat).any(axis=-1),
    )


def _left_slope(shape: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Downward slope of an empty bin left of its corner: a background, if measured, has to make up for the signal."""
    return np.divide(shape, alpha, out=np.zeros(np.broadcast_shapes(shape.shape, alpha.shape)), where=alpha > 0)


def _start_from_below(n: np.ndarray, ratio: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Norm at or below the root of ``sum(n / (ratio + a)) = total``: Jensen's inequality, and each term by itself."""
    some = n > 0
    counts = n.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(some, n * ratio, 0.0).sum(axis=-1) / counts
        jensen = counts / total - mean
        single = np.where(some, n / total[:, None] - ratio, -np.inf).max(axis=-1)
    return np.where(counts > 0, np.fmax(jensen, single), 0.0)


def _gather(mask: np.ndarray, arrays: tuple[np.ndarray, ...], fills: tuple[float, ...]) -> list[np.ndarray]:
    """Move the bins of a mask to the front of each row and cut what no row needs."""
    width = int(mask.sum(axis=-1).max(initial=0))
    if width == mask.shape[-1]:
        return [np.where(mask, v, fill) for v, fill in zip(arrays, fills, strict=True)]
    order = np.argsort(~mask, axis=-1, kind="stable")[:, :width]
    picked = np.take_along_axis(mask, order, axis=-1)
    return [
        np.where(picked, np.take_along_axis(np.broadcast_to(v, mask.shape), order, axis=-1), fill)
        for v, fill in zip(arrays, fills, strict=True)
    ]
