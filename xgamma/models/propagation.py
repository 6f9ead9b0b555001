"""Errors of functions of parameters, from the covariance of the parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["linear_error", "sampled_error"]

FloatArray = NDArray[np.float64]
Function = Callable[..., FloatArray]


def linear_error(
    function: Function, values: FloatArray, covariance: FloatArray, limits: FloatArray | None = None
) -> FloatArray:
    """Return the standard deviation of a function of parameters, propagated linearly.

    Parameters
    ----------
    function
        Function of the parameters that returns an array.
    values
        Parameters, shape (n,).
    covariance
        Their covariance, shape (n, n).
    limits
        Lower and upper limits of the parameters, NaN for none, shape (n, 2): the function is not called beyond them.

    Returns
    -------
    numpy.ndarray
        Shape of the function's result.

    Notes
    -----
    Derivatives are central differences over a thousandth of each standard deviation: small against the error that is
    propagated, large against rounding. At a limit the difference is one-sided.

    Examples
    --------
    >>> linear_error(lambda a, b: np.array([a * b]), np.array([2.0, 3.0]), np.diag([0.01, 0.0])).round(9)
    array([0.3])
    """
    sigma = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    gradient = np.zeros((values.size, *np.shape(function(*values))))
    for i in np.flatnonzero(sigma > 0):
        low, high = values.copy(), values.copy()
        ends = values[i] - 1e-3 * sigma[i], values[i] + 1e-3 * sigma[i]
        low[i], high[i] = ends if limits is None else np.fmin(np.fmax(ends, limits[i, 0]), limits[i, 1])
        if high[i] <= low[i]:  # the value itself lies beyond a limit
            low[i], high[i] = ends
        gradient[i] = (function(*high) - function(*low)) / (high[i] - low[i])
    return np.sqrt(np.clip(np.einsum("i...,ij,j...->...", gradient, covariance, gradient), 0.0, None))


def sampled_error(
    function: Function,
    values: FloatArray,
    covariance: FloatArray,
    limits: FloatArray | None = None,
    n_samples: int = 3500,
    seed: int = 42,
) -> tuple[FloatArray, FloatArray]:
    """Return median and half the width of the central 68.3 % of a function of parameters drawn from their covariance.

    Parameters
    ----------
    function, values, covariance, limits
        As for `linear_error`; draws beyond a limit are moved onto it.
    n_samples, seed
        Number of draws, and the seed of the random numbers.

    Returns
    -------
    median, error : numpy.ndarray
        Shape of the function's result.

    Raises
    ------
    ValueError
        If the covariance is no covariance: a combination of parameters has a negative variance.

    Examples
    --------
    >>> sampled_error(lambda a: np.array([a]), np.array([2.0]), np.array([[0.01]]))[1].round(2)
    array([0.1])
    """
    if n_samples < 2:
        msg = f"n_samples={n_samples} must be at least 2"
        raise ValueError(msg)
    sigma = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    scale = np.where(sigma > 0, sigma, 1.0)
    # the correlation, not the covariance: amplitudes have variances of 1e-26 beside indices of 1e-2
    variances, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    if np.any(variances < -1e-6):
        msg = "the covariance of the parameters is not positive: errors cannot be sampled, fit again or use 'linear'"
        raise ValueError(msg)
    normal = np.random.default_rng(seed).standard_normal((n_samples, values.size))
    draws = values + sigma * ((normal * np.sqrt(np.clip(variances, 0.0, None))) @ axes.T)
    if limits is not None:
        draws = np.fmin(np.fmax(draws, limits[:, 0]), limits[:, 1])
    with np.errstate(all="ignore"):  # draws may lie where the model is not defined
        sample = np.array([function(*draw) for draw in draws])
    low, median, high = np.nanpercentile(sample, [15.865525, 50.0, 84.134475], axis=0)
    return median, 0.5 * (high - low)
