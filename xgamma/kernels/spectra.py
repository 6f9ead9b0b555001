"""Closed forms of integrals that spectra are made of, exact also where the textbook form is 0 / 0 or overflows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import dawsn, erf, erfc, erfcx

__all__ = [
    "exp_difference",
    "normal_integral",
    "parabola_integral",
    "power_integral",
    "safe_exp",
    "table_integral",
    "table_values",
]

FloatArray = NDArray[np.float64]

#: Rule for integrals over which an exponent changes by little.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)


def safe_exp(x: ArrayLike) -> FloatArray:
    """Return exp(x), infinite without a warning where it overflows.

    Examples
    --------
    >>> safe_exp([0.0, 1000.0])
    array([ 1., inf])
    """
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


def power_integral(low: ArrayLike, high: ArrayLike, power: ArrayLike) -> FloatArray:
    """Return the integral of ``x**power`` between positive limits; exact also at power = -1.

    Parameters
    ----------
    low, high, power
        Broadcast against each other; ``low <= high``.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> float(power_integral(1.0, np.e, -1.0).round(12))
    1.0
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    n = np.asarray(power, float) + 1.0
    log_low, log_high = np.log(low), np.log(high)
    span = log_high - log_low
    # from the end where the integrand is largest, so that nothing overflows but the integral itself
    peak = np.where(n > 0, n * log_high, n * log_low)
    z = np.abs(n) * span
    factor = np.where(z < 1e-300, 1.0, -np.expm1(-z) / np.where(z < 1e-300, 1.0, z))
    return np.where(span > 0, safe_exp(peak) * span * factor, 0.0)


def exp_difference(z: ArrayLike) -> FloatArray:
    """Return (exp(z) - 1 - z) / z**2, smooth through z = 0 where it is 1/2.

    Examples
    --------
    >>> exp_difference([0.0, 1.0]).round(6)
    array([0.5     , 0.718282])
    """
    z = np.asarray(z, float)
    small = np.abs(z) < 0.3
    x = np.where(small, z, 0.0)
    # Horner's scheme of sum z**k / (k + 2)!; thirteen terms are exact to rounding below 0.3
    series = np.zeros_like(x)
    for k in range(13, -1, -1):
        series = series * x / (k + 3) + 1.0
    y = np.where(small, 1.0, z)
    with np.errstate(over="ignore", invalid="ignore"):
        closed = (np.expm1(y) - y) / y**2
    return np.where(small, 0.5 * series, closed)


def normal_integral(low: ArrayLike, high: ArrayLike) -> FloatArray:
    """Return the integral of exp(-t**2) * 2 / sqrt(pi): a difference of error functions without cancellation in tails.

    Examples
    --------
    >>> float(normal_integral(0.0, 5.0).round(9))
    1.0
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    # on the negative side the mirror image is taken
    a, b = np.where(high < 0, -high, low), np.where(high < 0, -low, high)
    return np.where(a > 0.5, erfc(a) - erfc(b), erf(b) - erf(a))


def parabola_integral(low: ArrayLike, high: ArrayLike, slope: float, curvature: float) -> FloatArray:
    r"""Return the integral of :math:`e^{s u - c u^2}` between limits of u: of a log parabola over energy.

    Parameters
    ----------
    low, high
        Limits in u, broadcast against each other; ``low <= high``.
    slope, curvature
        s and c, of any sign.

    Returns
    -------
    numpy.ndarray

    Notes
    -----
    Error functions, scaled so that they neither overflow nor vanish: erfcx for c > 0, Dawson's integral for c < 0.
    Where the exponent changes by little between the limits, differences of them would lose digits: there a quadrature
    with ten points is exact to rounding.

    Examples
    --------
    >>> float(parabola_integral(-50.0, 50.0, 0.0, 1.0).round(6))  # the square root of pi
    1.772454
    """
    low, high = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))

    def exponent(u: FloatArray) -> FloatArray:
        return (slope - curvature * u) * u

    root = np.sqrt(abs(curvature))
    gentle = (root * (high - low) < 0.3) & (np.abs(exponent(high) - exponent(low)) < 1.0)
    result = np.zeros(low.shape)
    if np.any(gentle):
        result[gentle] = _gentle(exponent, low[gentle], high[gentle])
    rest = ~gentle
    if np.any(rest):
        u0, u1 = low[rest], high[rest]
        # so straight that the power law is exact to rounding
        straight = abs(curvature) * np.maximum(np.abs(u0), np.abs(u1)).max() ** 2 < 1e-14
        if straight:
            result[rest] = power_integral(np.exp(u0), np.exp(u1), slope - 1.0)
        else:
            t0, t1 = (root * u - 0.5 * np.sign(curvature) * slope / root for u in (u0, u1))
            parts = safe_exp(exponent(u0)), safe_exp(exponent(u1))
            form = _bell if curvature > 0 else _bowl
            result[rest] = form(t0, t1, *parts, slope**2 / (4.0 * curvature)) / root
    return result


def _gentle(exponent: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray) -> FloatArray:
    half = 0.5 * (high - low)
    values = safe_exp(exponent(low[..., None] + half[..., None] * (NODES + 1.0)))
    return np.asarray(half * (values @ WEIGHTS))


def _bell(t0: FloatArray, t1: FloatArray, f0: FloatArray, f1: FloatArray, top: float) -> FloatArray:
    """Integral over t of exp(top - t**2); f0 and f1 are its values at the ends."""
    left = t1 <= 0
    a, b = np.where(left, -t1, t0), np.where(left, -t0, t1)
    fa, fb = np.where(left, f1, f0), np.where(left, f0, f1)
    # both ends on one side of the maximum: scaled complements
    with np.errstate(over="ignore", invalid="ignore"):
        tails = fa * erfcx(np.maximum(a, 0.0)) - fb * erfcx(np.maximum(b, 0.0))
        across = np.where(a < 0, np.exp(top) * (erf(b) - erf(a)), 0.0)
    return 0.5 * np.sqrt(np.pi) * np.where(a < 0, across, tails)


def _bowl(t0: FloatArray, t1: FloatArray, f0: FloatArray, f1: FloatArray, _: float) -> FloatArray:
    """Integral over t of exp(t**2 + constant); f0 and f1 are its values at the ends."""
    return np.asarray(f1 * dawsn(t1) - f0 * dawsn(t0))


def table_values(x: FloatArray, nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Interpolate a table as a power law between nodes, beyond them as in the last interval.

    Parameters
    ----------
    x
        Positive, any shape.
    nodes
        Ascending, shape (n,), at least two.
    values
        Not negative, shape (n,). Next to a 0 the interpolation is 0.

    Returns
    -------
    numpy.ndarray
        Shape of `x`.

    Examples
    --------
    >>> table_values(np.array([2.0, 100.0]), np.array([1.0, 10.0]), np.array([1.0, 0.01]))
    array([2.5e-01, 1.0e-04])
    """
    x = np.asarray(x, float)
    base, slope = _segments(nodes, values)
    i = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, nodes.size - 2)
    result = safe_exp(base[i] + slope[i] * (np.log(x) - np.log(nodes)[i]))
    if np.all(values > 0):
        return result
    # a node next to a zero keeps its value though the interval is 0
    j = np.clip(np.searchsorted(nodes, x), 0, nodes.size - 1)
    return np.where(nodes[j] == x, values[j], result)


def table_integral(
    low: FloatArray, high: FloatArray, nodes: FloatArray, values: FloatArray, power: float
) -> FloatArray:
    """Integrate ``x**power`` times an interpolated table in closed form; see `table_values`.

    Examples
    --------
    >>> float(table_integral(1.0, 10.0, np.array([1.0, 10.0]), np.array([1.0, 0.01]), 0.0).round(12))
    0.9
    """
    low, high = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))
    base, slope = _segments(nodes, values)
    log_nodes = np.log(nodes)
    # the first and the last interval reach to infinity
    left, right = np.append(-np.inf, log_nodes[1:-1]), np.append(log_nodes[1:-1], np.inf)
    x0, x1 = np.log(low)[..., None], np.log(high)[..., None]
    start, stop = np.clip(x0, left, right) - log_nodes[:-1], np.clip(x1, left, right) - log_nodes[:-1]
    covered = (x1 > left) & (x0 < right) & np.isfinite(base)
    start, stop = np.where(covered, start, 0.0), np.where(covered, stop, 0.0)
    n = slope + power + 1.0
    # exp(n u) between start and stop
    span = stop - start
    z = np.abs(n) * span
    factor = np.where(z < 1e-300, 1.0, -np.expm1(-z) / np.where(z < 1e-300, 1.0, z))
    peak = np.where(n > 0, n * stop, n * start)
    scale = np.where(np.isfinite(base), base, 0.0) + (power + 1.0) * log_nodes[:-1]
    return np.asarray(np.sum(np.where(covered, safe_exp(scale + peak) * span * factor, 0.0), axis=-1))


def _segments(nodes: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logarithm of the value at the left node, and slope, of each interval; minus infinity and 0 where it is 0."""
    positive = (values[:-1] > 0) & (values[1:] > 0)
    log_values = np.log(np.where(values > 0, values, 1.0))
    slope = np.diff(log_values) / np.diff(np.log(nodes))
    return np.where(positive, log_values[:-1], -np.inf), np.where(positive, slope, 0.0)
