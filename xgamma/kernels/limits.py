"""Asymmetric errors, upper limits and sensitivity of an excess, for arrays of any shape.

Errors and limits are where the statistic has risen by ``n_sigma**2`` over its minimum. With a known background this
is one equation in one variable, ``x - log(1 + x) = q``, whose solutions are the two branches of Lambert's W; it is
solved by Newton steps because W near its branch point loses half of its digits at large counts.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from xgamma.kernels.solve import expand_bracket, find_root
from xgamma.kernels.stats import deviance, wstat_excess, wstat_predictions, x_minus_log1p

__all__ = [
    "cash_errors",
    "cash_sensitivity",
    "cash_upper_limit",
    "statistic_rise",
    "wstat_errors",
    "wstat_sensitivity",
    "wstat_upper_limit",
]


def _check_sigma(n_sigma: float) -> float:
    """Return half of the rise of the statistic."""
    if not (np.isfinite(n_sigma) and n_sigma > 0):
        msg = f"n_sigma={n_sigma!r} must be a positive number of standard deviations"
        raise ValueError(msg)
    return 0.5 * float(n_sigma) ** 2


def statistic_rise(n_sigma: float, joint: bool = False) -> float:
    """Return by how much a statistic rises from its minimum to a contour over two parameters.

    Parameters
    ----------
    n_sigma
        Number of standard deviations.
    joint
        False: of each parameter alone. True: with the chance that a Gaussian has within them, for the pair.

    Returns
    -------
    float
        ``n_sigma**2``, or the quantile of chi2 with two degrees of freedom.

    Raises
    ------
    ValueError
        If `n_sigma` is not positive and finite.

    Examples
    --------
    >>> statistic_rise(2.0), round(statistic_rise(1.0, joint=True), 6)
    (4.0, 2.295749)
    """
    rise = 2.0 * _check_sigma(n_sigma)
    # tails keep their digits where chances near 1 have none left
    return float(chi2.isf(chi2.sf(rise, 1), 2)) if joint else rise


def _rise_above(q: np.ndarray) -> np.ndarray:
    """Return the positive x with ``x - log(1 + x) = q``; it is ``-1 - W_-1(-exp(-1 - q))``."""
    start = np.sqrt(2 * q) + q  # never below the solution
    return find_root(lambda x, c: (x_minus_log1p(x) - c, x / (1 + x)), np.zeros_like(q), start, q)


def _rise_below(q: np.ndarray) -> np.ndarray:
    """Return the x in (-1, 0) with ``x - log(1 + x) = q``; it is ``-1 - W_0(-exp(-1 - q))``."""

    def equation(t: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.expm1(t)
        # x close to -1 has no digits left for log(1 + x), which is t
        value = np.where(t < -0.5, x - t, x_minus_log1p(x))
        return value - c, x

    start = -np.minimum(q + 1, np.sqrt(2 * q) + q)
    return np.asarray(np.expm1(find_root(equation, np.zeros_like(q), start, q)))


def cash_errors(n_on: np.ndarray, n_sigma: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the asymmetric errors of an excess over a known background.

    Parameters
    ----------
    n_on
        Measured counts; the background shifts the excess and changes no error.
    n_sigma
        Number of standard deviations.

    Returns
    -------
    errn, errp
        Both positive. Without counts errn is 0 and errp is ``n_sigma**2 / 2``. NaN where counts are negative or not
        finite.

    Raises
    ------
    ValueError
        If `n_sigma` is not positive.

    Examples
    --------
    >>> errn, errp = cash_errors(np.array([0.0, 10.0]))
    >>> errn.round(6), errp.round(6)
    (array([0.      , 2.838105]), array([0.5     , 3.504033]))
    """
    rise = _check_sigma(n_sigma)
    n = np.asarray(n_on, dtype=float)
    errn, errp = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    errn[n == 0], errp[n == 0] = 0.0, rise
    some = np.isfinite(n) & (n > 0)
    q = rise / n[some]
    errn[some], errp[some] = -n[some] * _rise_below(q), n[some] * _rise_above(q)
    return errn, errp


def cash_upper_limit(n_on: np.ndarray, mu_bkg: np.ndarray, n_sigma: float = 2.0) -> np.ndarray:
    """Return the upper limit on an excess over a known background.

    Parameters
    ----------
    n_on, mu_bkg
        Measured and predicted background counts, shapes that broadcast.
    n_sigma
        Rise of the statistic, in standard deviations.

    Returns
    -------
    numpy.ndarray
        Excess plus upper error. Without counts the most likely signal is none at all and the limit is
        ``n_sigma**2 / 2`` whatever the background. NaN where an input is invalid.

    Raises
    ------
    ValueError
        If `n_sigma` is not positive.

    Examples
    --------
    >>> cash_upper_limit(np.array([0.0, 10.0]), np.array([3.0, 5.0])).round(6)
    array([ 2.      , 12.722498])
    """
    n, mu = np.broadcast_arrays(np.asarray(n_on, dtype=float), np.asarray(mu_bkg, dtype=float))
    _errn, errp = cash_errors(n, n_sigma)
    return np.asarray(np.where(n == 0, errp + 0.0 * mu, n - mu + errp))


def cash_sensitivity(mu_bkg: np.ndarray, significance: float = 5.0) -> np.ndarray:
    """Return the excess that has a given significance over a known background.

    Parameters
    ----------
    mu_bkg
        Predicted background counts.
    significance
        Wanted value of ``sqrt_ts``; negative for a deficit.

    Returns
    -------
    numpy.ndarray
        NaN without background (every count is infinitely significant then), for invalid input, and where even zero
        counts are not a deficit of that significance.

    Raises
    ------
    ValueError
        If the significance is zero or not finite.

    Examples
    --------
    >>> cash_sensitivity(np.array([0.0, 5.0, 120.0])).round(6)
    array([      nan, 14.836574, 58.797065])
    """
    half = _check_sigma(abs(significance))
    b = np.asarray(mu_bkg, dtype=float)
    result = np.full(b.shape, np.nan)
    good = np.isfinite(b) & (b > 0)
    if significance < 0:
        good &= half <= b
    q = half / b[good]

    def equation(x: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log1p(x)
            # (1 + x) log(1 + x) - x, whose limit at x = -1 is 1
            return np.where(x > -1, x * log - x_minus_log1p(x), 1.0) - c, log

    start = q / 3 + np.sqrt(q**2 / 9 + 2 * q) if significance > 0 else -np.minimum(np.sqrt(2 * q), 1.0)
    result[good] = b[good] * find_root(equation, np.zeros_like(q), start, q)
    return result


def _wstat_rise(
    s: np.ndarray, n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, rise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Half of the statistic above `rise`, and its slope, for n_on > 0 and alpha > 0."""
    mu_on, mu_bkg = wstat_predictions(n_on, n_off, alpha, s)
    with np.errstate(divide="ignore", invalid="ignore"):
        return deviance(n_on, mu_on) + deviance(n_off, mu_bkg) - rise, 1.0 - n_on / mu_on


def _wstat_errors_empty(n_off: np.ndarray, alpha: np.ndarray, rise: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors without on counts, in closed form.

    A negative signal beyond ``-alpha n_off / (1 + alpha)`` forces the background up (the prediction of the on region
    stays at zero); above, the statistic is linear in the signal.
    """
    some = n_off > 0
    errn, errp = alpha * rise, np.full(n_off.shape, rise)
    off, a = n_off[some], alpha[some]
    q = rise / off
    errn[some] = a * off * _rise_above(q)
    linear = rise - off * np.log1p(a) + a * off
    bent = -a * off * _rise_below(q)
    errp[some] = np.where(rise <= off * (np.log1p(a) - a / (1 + a)), bent, linear)
    return errn, errp


def wstat_errors(
    n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, n_sigma: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the asymmetric errors of an excess over a measured background.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region.
    alpha
        Ratio of on to off exposure.
    n_sigma
        Number of standard deviations.

    Returns
    -------
    errn, errp
        Both positive. With alpha = 0 the errors of a measurement without background. NaN for invalid input.

    Raises
    ------
    ValueError
        If `n_sigma` is not positive.

    Examples
    --------
    >>> errn, errp = wstat_errors(np.array([10.0]), np.array([7.0]), np.array([1.0]))
    >>> errn.round(6), errp.round(6)
    (array([4.124716]), array([4.236813]))
    """
    rise = _check_sigma(n_sigma)
    n_on, n_off, a = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (n_on, n_off, alpha)))
    with np.errstate(invalid="ignore"):
        best = wstat_excess(n_on, n_off, a)
        valid = np.isfinite(best.error)
        empty, blind = valid & (n_on == 0) & (a > 0), valid & (a == 0)
    errn, errp = np.full(n_on.shape, np.nan), np.full(n_on.shape, np.nan)
    errn[empty], errp[empty] = _wstat_errors_empty(n_off[empty], a[empty], rise)
    errn[blind], errp[blind] = cash_errors(n_on[blind], n_sigma)
    full = valid & ~empty & ~blind
    args = (n_on[full], n_off[full], a[full], np.full(int(full.sum()), rise))
    start = best.excess[full]
    for result, sign in ((errn, -1.0), (errp, 1.0)):
        # a step a little beyond the parabola's root saves doublings for all but small counts
        step = sign * (1.1 * n_sigma * best.error[full] + rise)
        outer = expand_bracket(_wstat_rise, start, step, *args)
        result[full] = sign * (find_root(_wstat_rise, start, outer, *args) - start)
    return errn, errp


def wstat_upper_limit(n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, n_sigma: float = 2.0) -> np.ndarray:
    """Return the upper limit on an excess over a measured background.

    Parameters
    ----------
    n_on, n_off
        Counts in the on and the off region.
    alpha
        Ratio of on to off exposure.
    n_sigma
        Rise of the statistic over its minimum, in standard deviations.

    Returns
    -------
    numpy.ndarray
        Excess plus upper error. A large deficit makes it negative: the minimum is not held at a signal of zero. NaN
        for invalid input.

    Raises
    ------
    ValueError
        If `n_sigma` is not positive.

    Examples
    --------
    >>> wstat_upper_limit(np.array([10.0]), np.array([7.0]), np.array([1.0])).round(6)
    array([11.880564])
    """
    _errn, errp = wstat_errors(n_on, n_off, alpha, n_sigma)
    return np.asarray(wstat_excess(n_on, n_off, alpha).excess + errp)


def wstat_sensitivity(n_off: np.ndarray, alpha: np.ndarray, significance: float = 5.0) -> np.ndarray:
    """Return the excess that has a given significance over a measured background.

    Parameters
    ----------
    n_off
        Counts in the off region.
    alpha
        Ratio of on to off exposure.
    significance
        Wanted value of ``sqrt_ts``; negative for a deficit.

    Returns
    -------
    numpy.ndarray
        NaN for alpha = 0 (every count is infinitely significant then), for invalid input, and where even zero counts
        are not a deficit of that significance.

    Raises
    ------
    ValueError
        If the significance is zero or not finite.

    Examples
    --------
    >>> wstat_sensitivity(np.array([0.0, 300.0]), np.array([0.5, 0.4])).round(6)
    array([11.37799 , 72.337843])
    """
    half = _check_sigma(abs(significance))
    n_off, a = np.broadcast_arrays(np.asarray(n_off, dtype=float), np.asarray(alpha, dtype=float))
    result = np.full(n_off.shape, np.nan)
    good = np.isfinite(n_off) & np.isfinite(a) & (n_off >= 0) & (a > 0)
    if significance < 0:
        good &= half <= n_off * np.log1p(np.where(good, a, 0.0))
    off, a = n_off[good], a[good]
    args = (off, a, np.full(off.shape, half))
    start = a * off
    if significance > 0:
        step = 1.1 * abs(significance) * np.sqrt(start + a * start) + half / np.log1p(1 / a)
        outer = expand_bracket(_wstat_asimov, start, step, *args)
    else:
        outer = np.zeros_like(start)
    result[good] = find_root(_wstat_asimov, start, outer, *args) - start
    return result


def _wstat_asimov(
    n_on: np.ndarray, n_off: np.ndarray, alpha: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Half of the likelihood ratio of n_on counts above `half`, and its slope."""
    total = n_on + n_off
    mu_on, mu_off = alpha * total / (1 + alpha), total / (1 + alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        return deviance(n_on, mu_on) + deviance(n_off, mu_off) - half, np.log(n_on / mu_on)
