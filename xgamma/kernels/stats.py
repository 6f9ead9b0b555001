"""Poisson fit statistics and the significance of an excess, for arrays of any shape.

All statistics are computed as deviances, ``d(n, mu) = n ln(n / mu) - n + mu``, through ``x - log(1 + x)``: a sum of
large terms that cancel is never formed, so that a significance keeps its digits at 10^9 counts.

Non-finite input gives NaN. So do a negative number of counts and a negative or missing exposure ratio: those are not
measurements. Predicted counts at or below zero are raised to `TRUNCATION`, which keeps the statistic of a measured
count where nothing is predicted finite (about 115 per count), as the field does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfc

__all__ = [
    "CountsExcess",
    "cash",
    "cash_excess",
    "cstat",
    "deviance",
    "li_ma_significance",
    "wstat",
    "wstat_background",
    "wstat_excess",
    "wstat_predictions",
]

#: Smallest number of predicted counts that enters a logarithm.
TRUNCATION = 1e-25

#: Coefficients of (x - log(1 + x)) / x^2 = 1/2 - x/3 + x^2/4 - ...
_SERIES = [(-1.0) ** k / (k + 2) for k in range(10)]


def x_minus_log1p(x: np.ndarray) -> np.ndarray:
    """Return ``x - log(1 + x)`` to full relative precision, also where x is tiny; inf at x = -1.

    Examples
    --------
    >>> float(x_minus_log1p(np.array(1e-9)))
    4.999999996666667e-19
    """
    x = np.asarray(x, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.asarray(x - np.log1p(x))
    small = np.abs(x) < 0.02
    if small.any():
        near = x[small]
        result[small] = near**2 * np.polynomial.polynomial.polyval(near, _SERIES)
    return result


def deviance(n: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Return ``n ln(n / mu) - n + mu``, half the likelihood ratio of n counts against mu predicted ones.

    Parameters
    ----------
    n, mu
        Measured and predicted counts, shapes that broadcast; `mu` at or below zero counts as `TRUNCATION`.

    Returns
    -------
    numpy.ndarray
        Never negative; `mu` where n is zero; NaN for negative n and where an input is NaN.

    Examples
    --------
    >>> deviance(np.array([0.0, 3.0]), np.array([2.0, 3.0]))
    array([2., 0.])
    """
    n, mu = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(mu, dtype=float))
    truncated = np.maximum(mu, TRUNCATION)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = (truncated - n) / n
        near = np.abs(x) < 0.5
        # far from the prediction nothing cancels, and 1 + x would lose a prediction that is tiny
        result = np.where(near, n * x_minus_log1p(np.where(near, x, 0.0)), n * np.log(n / truncated) + (truncated - n))
    result = np.where(n == 0, np.where(mu > 0, mu, 0.0 * mu), result)
    return np.where(n < 0, np.nan, result)


def cash(n_on: np.ndarray, mu_on: np.ndarray) -> np.ndarray:
    """Return the Cash statistic ``2 (mu - n ln mu)``.

    Parameters
    ----------
    n_on, mu_on
        Measured and predicted counts, shapes that broadcast; `mu_on` is truncated at `TRUNCATION`.

    Returns
    -------
    numpy.ndarray
        Zero counts give ``2 mu``; NaN where an input is NaN or n is negative.

    References
    ----------
    W. Cash, ApJ 228, 939 (1979).

    Examples
    --------
    >>> cash(np.array([0.0, 1.0]), np.array([1.5, 1.0]))
    array([3., 2.])
    """
    n, mu = np.asarray(n_on, dtype=float), np.asarray(mu_on, dtype=float)
    mu = np.where(mu <= TRUNCATION, TRUNCATION, mu)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(n < 0, np.nan, 2.0 * (mu - n * np.log(mu))))


def cstat(n_on: np.ndarray, mu_on: np.ndarray) -> np.ndarray:
    """Return ``2 (mu - n + n ln(n / mu))``: Cash with the terms that make it a goodness of fit.

    Parameters
    ----------
    n_on, mu_on
        Measured and predicted counts, shapes that broadcast; `mu_on` is truncated at `TRUNCATION`.

    Returns
    -------
    numpy.ndarray
        Never negative; zero counts give ``2 mu``; NaN where an input is NaN or n is negative.

    Examples
    --------
    >>> cstat(np.array([0.0, 4.0]), np.array([1.5, 4.0]))
    array([3., 0.])
    """
    return 2.0 * deviance(n_on, mu_on)


def _valid_on_off(n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    finite = np.isfinite(n_on) & np.isfinite(n_off) & np.isfinite(alpha)
    with np.errstate(invalid="ignore"):
        return np.asarray(finite & (n_on >= 0) & (n_off >= 0) & (alpha >= 0))


def wstat_predictions(
    n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, mu_sig: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of the on and the off region with the background that fits best.

    Both are solutions of a quadratic equation; each is written as a sum of positive terms, so that neither loses digits
    where a negative signal nearly cancels the background.

    Parameters
    ----------
    n_on, n_off, alpha, mu_sig
        As for `wstat`.

    Returns
    -------
    mu_on, mu_bkg
        ``mu_on = mu_sig + alpha mu_bkg``; NaN as for `wstat_background`.

    Examples
    --------
    >>> mu_on, mu_bkg = wstat_predictions(np.array([5.0]), np.array([3.0]), np.array([0.5]), np.array([0.0]))
    >>> mu_on.round(6), mu_bkg.round(6)
    (array([2.666667]), array([5.333333]))
    """
    n_on, n_off, a, s = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (n_on, n_off, alpha, mu_sig)))
    negative = s < 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        c = a * (n_on + n_off) - (1 + a) * s
        root = np.sqrt(c**2 + 4 * a * (a + 1) * n_off * s)
        mu_bkg = np.where(c >= 0, (c + root) / (2 * a * (a + 1)), 2 * n_off * s / (root - c))
        mu_bkg = np.where(a == 0, n_off, mu_bkg)
        mu_on = s + a * mu_bkg
        if negative.any():
            c = a * (n_on + n_off) + (1 + a) * s
            root = np.sqrt(c**2 - 4 * a * (a + 1) * n_on * s)
            on = np.where(c >= 0, (c + root) / (2 * (1 + a)), -2 * a * n_on * s / (root - c))
            mu_on, mu_bkg = np.where(negative, on, mu_on), np.where(negative, (on - s) / a, mu_bkg)
    # without exposure of the off region nothing can make up for a negative signal
    valid = _valid_on_off(n_on, n_off, a) & ~np.isnan(s) & ~((a == 0) & negative)
    return np.where(valid, mu_on, np.nan), np.where(valid, mu_bkg, np.nan)


def wstat_background(n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, mu_sig: np.ndarray) -> np.ndarray:
    """Return the background counts in the off region that fit best for a given signal.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region.
    alpha
        Ratio of on to off exposure; zero means that no background reaches the on region.
    mu_sig
        Predicted signal counts in the on region, negative ones included.

    Returns
    -------
    numpy.ndarray
        mu_bkg; the prediction of the on region is ``mu_sig + alpha mu_bkg``. Without off counts it is
        ``n_on / (1 + alpha) - mu_sig / alpha`` where that is positive, else 0. NaN where an input is NaN,
        counts or alpha are negative, or alpha is zero and the signal negative (no prediction is possible).

    References
    ----------
    W. A. Rolke, A. M. Lopez, J. Conrad, NIM A 551, 493 (2005), profile likelihood.

    Examples
    --------
    >>> wstat_background(np.array([5.0]), np.array([3.0]), np.array([0.5]), np.array([0.0])).round(6)
    array([5.333333])
    """
    return wstat_predictions(n_on, n_off, alpha, mu_sig)[1]


def wstat(n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, mu_sig: np.ndarray) -> np.ndarray:
    """Return the WStat statistic: two Poisson measurements with the background fitted away.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region.
    alpha
        Ratio of on to off exposure.
    mu_sig
        Predicted signal counts in the on region.

    Returns
    -------
    numpy.ndarray
        ``2 [d(n_on, mu_sig + alpha mu_bkg) + d(n_off, mu_bkg)]`` with the deviance d; zero for a perfect description.
        With alpha = 0 this is `cstat` of the on region. NaN as for `wstat_background`.

    Examples
    --------
    >>> wstat(np.array([5.0, 0.0]), np.array([3.0, 0.0]), np.array(0.5), np.array(2.0)).round(6)
    array([0.450198, 4.      ])
    """
    mu_on, mu_bkg = wstat_predictions(n_on, n_off, alpha, mu_sig)
    return 2.0 * (deviance(n_on, mu_on) + deviance(n_off, mu_bkg))


def li_ma_significance(n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the significance of Li & Ma, equation 17, negative for a deficit.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region.
    alpha
        Ratio of on to off exposure.

    Returns
    -------
    numpy.ndarray
        Signed square root of the likelihood ratio; NaN for invalid input.

    References
    ----------
    T.-P. Li, Y.-Q. Ma, ApJ 272, 317 (1983).

    Examples
    --------
    >>> li_ma_significance(np.array([200.0]), np.array([300.0]), np.array([0.4])).round(6)
    array([5.475113])
    """
    return wstat_excess(n_on, n_off, alpha).sqrt_ts


@dataclass(frozen=True)
class CountsExcess:
    """Excess of counts over a background and how significant it is; arrays of one shape.

    Attributes
    ----------
    excess
        Counts minus background (minus the signal that is part of the hypothesis).
    background
        Background counts in the on region.
    error
        Symmetric error of the excess.
    ts
        Likelihood ratio of the best description against no excess, never negative.
    """

    excess: np.ndarray
    background: np.ndarray
    error: np.ndarray
    ts: np.ndarray

    @property
    def sqrt_ts(self) -> np.ndarray:
        """Significance in standard deviations, with the sign of the excess."""
        return np.asarray(np.sign(self.excess) * np.sqrt(self.ts))

    @property
    def p_value(self) -> np.ndarray:
        """Chance of a fluctuation at least as large into the direction of the excess (half of a chi-square tail)."""
        return np.asarray(0.5 * erfc(np.sqrt(0.5 * self.ts)))


def cash_excess(n_on: np.ndarray, mu_bkg: np.ndarray) -> CountsExcess:
    """Return excess and significance of counts over a known background.

    Parameters
    ----------
    n_on
        Measured counts.
    mu_bkg
        Predicted background counts; zero gives the truncated statistic of the module's text.

    Returns
    -------
    CountsExcess
        The error is ``sqrt(n_on)``. NaN where an input is NaN or the counts are negative.

    Examples
    --------
    >>> cash_excess(np.array([10.0]), np.array([5.0])).sqrt_ts.round(6)
    array([1.965437])
    """
    n, mu = np.broadcast_arrays(np.asarray(n_on, dtype=float), np.asarray(mu_bkg, dtype=float))
    ts = 2.0 * deviance(n, mu)
    with np.errstate(invalid="ignore"):
        n = np.where(n < 0, np.nan, n)
        return CountsExcess(excess=n - mu, background=np.array(mu), error=np.sqrt(n), ts=ts)


def wstat_excess(
    n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, mu_sig: np.ndarray | float = 0.0
) -> CountsExcess:
    """Return excess and significance of on counts over a background measured in an off region.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region.
    alpha
        Ratio of on to off exposure.
    mu_sig
        Signal counts of known sources that belong to the null hypothesis.

    Returns
    -------
    CountsExcess
        The error is ``sqrt(n_on + alpha^2 n_off)``; ``sqrt_ts`` is the significance of Li & Ma where `mu_sig` is
        zero. NaN where an input is NaN, or counts or alpha are negative.

    Examples
    --------
    >>> result = wstat_excess(np.array(200.0), np.array(300.0), np.array(0.4))
    >>> float(result.excess), float(result.ts.round(6))
    (80.0, 29.976862)
    """
    n_on, n_off, a, s = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (n_on, n_off, alpha, mu_sig)))
    with np.errstate(invalid="ignore"):
        # the best description is exact, its statistic zero: the ratio is the statistic of the null hypothesis
        ts = wstat(n_on, n_off, a, s)
        valid = _valid_on_off(n_on, n_off, a)
        background = np.where(valid, a * n_off, np.nan)
        error = np.sqrt(np.where(valid, n_on + a**2 * n_off, np.nan))
    return CountsExcess(excess=n_on - background - s, background=background, error=error, ts=ts)
