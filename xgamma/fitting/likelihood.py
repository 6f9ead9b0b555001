"""Fit statistics of flat arrays of bins, prepared once and evaluated many times.

Each statistic splits into a *deviance*, which depends on the model and is small where the model fits, and a *constant*.
Minimisers see the deviance alone: beside the 10^10 of the Cash statistic of a large map, the changes that tell a
minimum would drown in rounding. What users see is their sum, in the conventions of the field (as gammapy's).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.stats import TRUNCATION, cash, cstat, wstat, wstat_background, wstat_predictions

__all__ = ["CashStatistic", "ChiSquare", "Statistic", "WStatistic"]

FloatArray = NDArray[np.float64]


class Statistic(Protocol):
    """A fit statistic of n bins as a function of the predicted signal, shape (n,)."""

    @property
    def name(self) -> str:
        """Name of the statistic, as ``"wstat"``."""

    @property
    def constant(self) -> float:
        """What the sum of `per_bin` has beyond `deviance`."""

    @property
    def measured(self) -> FloatArray:
        """What the prediction is compared with: counts, or excess counts."""

    def deviance(self, signal: FloatArray) -> float:
        """Return the sum over the bins without the terms that no model changes."""

    def derivative(self, signal: FloatArray) -> FloatArray:
        """Return the derivative of the deviance by the signal in each bin."""

    def per_bin(self, signal: FloatArray) -> FloatArray:
        """Return the statistic of each bin."""

    def background(self, signal: FloatArray) -> FloatArray:
        """Return the background in each bin that goes with a signal."""

    def scaled(self, factor: float) -> Self:
        """Return the statistic with the background multiplied by a factor."""


@dataclass(frozen=True, eq=False)
class CashStatistic:
    r"""Poisson counts against signal plus a known background.

    Parameters
    ----------
    counts, known
        Measured counts and known background, shape (n,).
    weights
        Factor on each bin; None for 1.
    with_constants
        True for ``2 (mu - n + n ln(n / mu))`` (CStat), False for ``2 (mu - n ln mu)`` (Cash).

    Notes
    -----
    Predictions at or below zero are raised to 1e-25, as the field does: a count where nothing is predicted costs
    about 115.

    References
    ----------
    W. Cash, ApJ 228, 939 (1979).

    Examples
    --------
    >>> statistic = CashStatistic(np.array([3.0, 0.0]), np.array([1.0, 1.0]))
    >>> signal = np.array([2.0, 0.5])
    >>> round(statistic.deviance(signal) + statistic.constant, 6), statistic.per_bin(signal).round(6)
    (2.408326, array([-0.591674,  3.      ]))
    """

    counts: FloatArray
    known: FloatArray
    weights: FloatArray | None = None
    with_constants: bool = False
    constant: float = field(init=False)
    _filled: NDArray[np.intp] = field(init=False, repr=False)
    _n: FloatArray = field(init=False, repr=False)
    _total: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        filled = np.flatnonzero(self.counts > 0)
        n, weight = self.counts[filled], 1.0 if self.weights is None else self.weights[filled]
        constant = 0.0 if self.with_constants else float(np.sum(2.0 * weight * (n - n * np.log(n))))
        for name, value in {
            "_filled": filled,
            "_n": n,
            "_total": float(np.sum(weight * n)),
            "constant": constant,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """``"cstat"`` or ``"cash"``."""
        return "cstat" if self.with_constants else "cash"

    @property
    def measured(self) -> FloatArray:
        """The counts."""
        return self.counts

    def deviance(self, signal: FloatArray) -> float:
        """Return ``2 sum w (mu - n + n ln(n / mu))``."""
        mu = np.maximum(signal + self.known, TRUNCATION)
        terms = self._n * np.log(self._n / mu[self._filled])
        if self.weights is None:
            return float(2.0 * (mu.sum() - self._total + terms.sum()))
        return float(2.0 * (self.weights @ mu - self._total + self.weights[self._filled] @ terms))

    def derivative(self, signal: FloatArray) -> FloatArray:
        """Return ``2 w (1 - n / mu)``; 0 where the prediction is cut off."""
        mu = signal + self.known
        positive = mu > TRUNCATION
        slope = np.where(positive, 2.0 - 2.0 * self.counts / np.where(positive, mu, 1.0), 0.0)
        return slope if self.weights is None else slope * self.weights

    def per_bin(self, signal: FloatArray) -> FloatArray:
        """Return the statistic of each bin, weighted."""
        values = (cstat if self.with_constants else cash)(self.counts, signal + self.known)
        return values if self.weights is None else values * self.weights

    def background(self, signal: FloatArray) -> FloatArray:
        """Return the known background."""
        return self.known

    def scaled(self, factor: float) -> Self:
        """Return the statistic with the known background multiplied by a factor."""
        return replace(self, known=self.known * factor)


@dataclass(frozen=True, eq=False)
class WStatistic:
    """Poisson counts in an on and an off region, the background in each bin fitted away.

    Parameters
    ----------
    counts, counts_off
        Counts of the on and of the off region, shape (n,).
    alpha
        Ratio of on to off exposure, positive, shape (n,).
    weights
        Factor on each bin; None for 1.

    References
    ----------
    W. A. Rolke, A. M. Lopez, J. Conrad, NIM A 551, 493 (2005), profile likelihood.

    Examples
    --------
    >>> statistic = WStatistic(np.array([5.0]), np.array([3.0]), np.array([0.5]))
    >>> round(statistic.deviance(np.array([2.0])), 6), statistic.background(np.array([2.0])).round(6)
    (0.450198, array([2.]))
    """

    counts: FloatArray
    counts_off: FloatArray
    alpha: FloatArray
    weights: FloatArray | None = None
    name: str = field(default="wstat", init=False)
    constant: float = field(default=0.0, init=False)
    _terms: tuple[FloatArray, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        on, off, a = self.counts, self.counts_off, self.alpha
        # everything that no signal changes; empty bins have a logarithm of 1 and a factor of 0
        terms = (a * (on + off), 1.0 + a, 4.0 * a * (a + 1.0) * off, 0.5 / (a * (a + 1.0)), on + off,
                 np.where(on > 0, on, 1.0), np.where(off > 0, off, 1.0))  # fmt: skip
        object.__setattr__(self, "_terms", terms)

    @property
    def measured(self) -> FloatArray:
        """The excess counts."""
        return self.counts - self.alpha * self.counts_off

    def _predictions(self, signal: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Predictions of the on and the off region."""
        if signal.size and not signal.min() >= 0:
            return wstat_predictions(self.counts, self.counts_off, self.alpha, signal)
        c0, a1, q, inverse = self._terms[:4]
        c = c0 - a1 * signal
        t = np.abs(c) + np.sqrt(c * c + q * signal)
        # two forms of one root: each is a sum of positive terms
        mu_bkg = np.where(c >= 0, t * inverse, 2.0 * self.counts_off * signal / np.where(c >= 0, 1.0, t))
        return signal + self.alpha * mu_bkg, mu_bkg

    def deviance(self, signal: FloatArray) -> float:
        """Return the statistic, which has no terms that no model changes."""
        mu_on, mu_off = self._predictions(signal)
        both, on, off = self._terms[4:]
        values = mu_on + mu_off - both
        # the logarithms of empty bins have a factor of 0
        values += self.counts * np.log(on / np.maximum(mu_on, TRUNCATION))
        values += self.counts_off * np.log(off / np.maximum(mu_off, TRUNCATION))
        return float(2.0 * (values.sum() if self.weights is None else self.weights @ values))

    def derivative(self, signal: FloatArray) -> FloatArray:
        """Return ``2 w (1 - n_on / mu_on)``: the background is the best one, so that its change does not count."""
        mu_on = np.maximum(self._predictions(signal)[0], TRUNCATION)
        slope = 2.0 - 2.0 * self.counts / mu_on
        return slope if self.weights is None else slope * self.weights

    def per_bin(self, signal: FloatArray) -> FloatArray:
        """Return the statistic of each bin, weighted."""
        values = wstat(self.counts, self.counts_off, self.alpha, signal)
        return values if self.weights is None else values * self.weights

    def background(self, signal: FloatArray) -> FloatArray:
        """Return the background of the on region that fits best beside a signal."""
        return self.alpha * wstat_background(self.counts, self.counts_off, self.alpha, signal)

    def scaled(self, factor: float) -> Self:
        """Return the statistic with the ratio of on to off exposure multiplied by a factor."""
        return replace(self, alpha=self.alpha * factor)


@dataclass(frozen=True, eq=False)
class ChiSquare:
    """Measured values with Gaussian errors.

    Parameters
    ----------
    values, errors
        Measured values and their standard deviations, shape (n,).
    known
        Known background in the values.
    weights
        Factor on each bin; None for 1.

    Examples
    --------
    >>> statistic = ChiSquare(np.array([3.0]), np.array([0.5]), np.array([0.0]))
    >>> statistic.deviance(np.array([2.0]))
    4.0
    """

    values: FloatArray
    errors: FloatArray
    known: FloatArray
    weights: FloatArray | None = None
    name: str = field(default="chi2", init=False)
    constant: float = field(default=0.0, init=False)

    @property
    def measured(self) -> FloatArray:
        """The values."""
        return self.values

    def deviance(self, signal: FloatArray) -> float:
        """Return the weighted sum of squared residuals."""
        return float(self.per_bin(signal).sum())

    def derivative(self, signal: FloatArray) -> FloatArray:
        """Return the derivative by the signal in each bin."""
        slope = 2.0 * (signal + self.known - self.values) / self.errors**2
        return slope if self.weights is None else slope * self.weights

    def per_bin(self, signal: FloatArray) -> FloatArray:
        """Return the squared residual of each bin, weighted."""
        squares = ((signal + self.known - self.values) / self.errors) ** 2
        return squares if self.weights is None else squares * self.weights

    def background(self, signal: FloatArray) -> FloatArray:
        """Return the known background."""
        return self.known

    def scaled(self, factor: float) -> Self:
        """Return the statistic with the known background multiplied by a factor."""
        return replace(self, known=self.known * factor)
