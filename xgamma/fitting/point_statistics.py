"""Fit statistics of flux points: Gaussian errors to each side, upper limits, likelihood profiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

__all__ = ["AsymmetricChiSquare", "ProfileStatistic"]

FloatArray = NDArray[np.float64]
ROOT2 = float(np.sqrt(2.0))


class _OfPoints(ABC):
    """What both have in common: no background, no terms that no model changes."""

    weights: FloatArray | None
    constant = 0.0

    def deviance(self, signal: FloatArray) -> float:
        """Return the sum over the points."""
        return float(self.per_bin(signal).sum())

    def per_bin(self, signal: FloatArray) -> FloatArray:
        """Return the statistic of each point, weighted."""
        values = self._values(signal)
        return values if self.weights is None else values * self.weights

    def derivative(self, signal: FloatArray) -> FloatArray:
        """Return the derivative by the model at each point."""
        slopes = self._slopes(signal)
        return slopes if self.weights is None else slopes * self.weights

    def background(self, signal: FloatArray) -> FloatArray:
        """Return zeros: fluxes have no background."""
        return np.zeros_like(signal)

    def scaled(self, factor: float) -> Self:
        """Return the statistic as it is: fluxes have no background to be scaled."""
        return self

    @abstractmethod
    def _values(self, signal: FloatArray) -> FloatArray:
        """Statistic of each point, without its weight."""

    @abstractmethod
    def _slopes(self, signal: FloatArray) -> FloatArray:
        """Its derivative by the model."""


@dataclass(frozen=True, eq=False)
class AsymmetricChiSquare(_OfPoints):
    r"""Measured values with an error to each side, and upper limits.

    Parameters
    ----------
    values
        Measured values, shape (n,); what stands at limits does not matter.
    lower, upper
        Errors of values above and below the model: `upper` where the model lies above, `lower` where it does not.
    limits
        Upper limits, NaN for points with a value.
    weights
        Factor on each point; None for 1.

    Notes
    -----
    A limit :math:`u` adds :math:`2 \ln[\mathrm{erfc}((u - m) / u) / \mathrm{erfc}(1)]`, 0 for a model of 0, 3.7 on
    the limit, 5.1 far above.

    Examples
    --------
    >>> nan = np.full(1, np.nan)
    >>> statistic = AsymmetricChiSquare(np.array([3.0]), np.array([1.0]), np.array([2.0]), nan)
    >>> statistic.deviance(np.array([5.0])), statistic.deviance(np.array([1.0]))
    (1.0, 4.0)
    """

    values: FloatArray
    lower: FloatArray
    upper: FloatArray
    limits: FloatArray
    weights: FloatArray | None = None
    name: str = field(default="distrib", init=False)

    @property
    def measured(self) -> FloatArray:
        """The values, NaN where there are limits."""
        return np.where(np.isnan(self.limits), self.values, np.nan)

    def _split(self, signal: FloatArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
        """Points with a limit; residuals in errors, or distances from the limit in limits; and these errors."""
        is_limit = ~np.isnan(self.limits)
        scale = np.where(is_limit, self.limits, np.where(signal >= self.values, self.upper, self.lower))
        residual = np.where(is_limit, self.limits - signal, signal - self.values) / scale
        return is_limit, residual, scale

    def _values(self, signal: FloatArray) -> FloatArray:
        is_limit, x, _ = self._split(signal)
        # erfc(x) = 2 ndtr(-sqrt(2) x), whose logarithm is known also where it underflows
        above = 2.0 * (log_ndtr(-ROOT2 * x) - log_ndtr(-ROOT2))
        return np.where(is_limit, above, x * x)

    def _slopes(self, signal: FloatArray) -> FloatArray:
        is_limit, x, scale = self._split(signal)
        with np.errstate(over="ignore"):  # erfcx is infinite where the slope is zero
            above = 4.0 / np.sqrt(np.pi) / (scale * erfcx(x))
        return np.where(is_limit, above, 2.0 * x / scale)


class ProfileStatistic(_OfPoints):
    """Likelihood profiles of the values: the statistic as it was found when the points were made.

    Parameters
    ----------
    values
        Values at the minima, shape (n,).
    scans
        Values at which the profiles are known, ascending, shape (n, k).
    profiles
        Statistic above the minimum there, shape (n, k).
    weights
        Factor on each point; None for 1.

    Notes
    -----
    Between the scanned values a profile is the interpolating quadratic spline, at both ends continued. At least three
    scanned values are needed.

    Examples
    --------
    >>> scan = np.linspace(0.0, 2.0, 5)[None]
    >>> statistic = ProfileStatistic(np.array([1.0]), scan, ((scan - 1.0) / 0.5) ** 2)
    >>> round(statistic.deviance(np.array([1.3])), 12), round(statistic.deviance(np.array([3.0])), 12)
    (0.36, 16.0)
    """

    name = "profile"

    def __init__(
        self, values: FloatArray, scans: FloatArray, profiles: FloatArray, weights: FloatArray | None = None
    ) -> None:
        from scipy.interpolate import make_interp_spline

        self.values, self.weights = values, weights
        self._splines = [make_interp_spline(x, y, k=2) for x, y in zip(scans, profiles, strict=True)]
        self._derivatives = [spline.derivative() for spline in self._splines]

    @property
    def measured(self) -> FloatArray:
        """The values at the minima."""
        return self.values

    def _values(self, signal: FloatArray) -> FloatArray:
        return np.array([float(f(x)) for f, x in zip(self._splines, signal, strict=True)])

    def _slopes(self, signal: FloatArray) -> FloatArray:
        return np.array([float(f(x)) for f, x in zip(self._derivatives, signal, strict=True)])
