"""What all spectral models can do: values, integrals, their errors, indices, inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.units import to_value
from xgamma.kernels.quadrature import log_integral
from xgamma.models.component import Component
from xgamma.models.covariance import covariance_of

if TYPE_CHECKING:
    from xgamma.models.compound import CompoundSpectralModel

__all__ = ["SpectralModel"]

FloatArray = NDArray[np.float64]
ErrorMethod = Literal["linear", "sampling"]


class SpectralModel(Component):
    """A differential spectrum dN/dE, or a factor on one.

    A spectral model is written by its declared parameters and one pure function, ``evaluate(energy, *values)``, in
    canonical units (TeV, cm, s), with the values in the order of the parameters. Everything else follows; models with
    closed integrals override ``evaluate_integral`` and ``evaluate_energy_flux``.
    """

    kind = "spectral"

    # ------------------------------------------------------------------ pure functions on floats
    def evaluate(self, energy: FloatArray, *values: float) -> FloatArray:
        """Return the spectrum at energies in TeV for values in canonical units, in `unit`."""
        msg = f"{type(self).__name__} must define evaluate(energy, *values)"
        raise NotImplementedError(msg)

    def evaluate_integral(self, energy_min: FloatArray, energy_max: FloatArray, *values: float) -> FloatArray:
        """Return the integral over energy in TeV for values in canonical units, in `unit` times TeV."""
        return log_integral(lambda e: self.evaluate(e, *values), energy_min, energy_max, self.kinks(*values))

    def evaluate_energy_flux(self, energy_min: FloatArray, energy_max: FloatArray, *values: float) -> FloatArray:
        """Return the integral of energy times spectrum for values in canonical units, in `unit` times TeV2."""
        return log_integral(lambda e: e * self.evaluate(e, *values), energy_min, energy_max, self.kinks(*values))

    def kinks(self, *values: float) -> Sequence[float]:
        """Return energies in TeV at which the spectrum is not smooth: no quadrature crosses them."""
        return ()

    # ------------------------------------------------------------------ present values
    @property
    def unit(self) -> str:
        """Unit of the spectrum as text; ``""`` for a factor on another."""
        units = self.canonical_units()
        return units.get("amplitude", units.get("norm", ""))

    @property
    def is_norm(self) -> bool:
        """Whether the model is a factor without unit."""
        return self.unit == ""

    @property
    def values(self) -> tuple[float, ...]:
        """Present values of the parameters in canonical units, in order."""
        return tuple(self.canonical_values().values())

    def __call__(self, energy: Any) -> u.Quantity:
        """Return the spectrum at energies.

        Parameters
        ----------
        energy
            Quantity or text; numbers are TeV.

        Returns
        -------
        astropy.units.Quantity
            Shape of `energy`.
        """
        return self.evaluate(_energies(energy), *self.values) * u.Unit(self.unit)

    def integral(self, energy_min: Any, energy_max: Any) -> u.Quantity:
        """Return the integral of the spectrum between energies.

        Parameters
        ----------
        energy_min, energy_max
            Quantities or text, broadcast against each other; numbers are TeV.

        Returns
        -------
        astropy.units.Quantity
            For a differential flux in s-1 cm-2.
        """
        return self.evaluate_integral(*_range(energy_min, energy_max), *self.values) * (u.Unit(self.unit) * u.TeV)

    def energy_flux(self, energy_min: Any, energy_max: Any) -> u.Quantity:
        """Return the integral of energy times the spectrum between energies.

        Parameters
        ----------
        energy_min, energy_max
            Quantities or text, broadcast against each other; numbers are TeV.

        Returns
        -------
        astropy.units.Quantity
            For a differential flux in TeV s-1 cm-2.
        """
        return self.evaluate_energy_flux(*_range(energy_min, energy_max), *self.values) * (u.Unit(self.unit) * u.TeV**2)

    # ------------------------------------------------------------------ errors
    def evaluate_error(
        self, energy: Any, method: ErrorMethod = "linear", n_samples: int = 3500, seed: int = 42
    ) -> tuple[u.Quantity, u.Quantity]:
        """Return the spectrum and its standard deviation from the covariance of the parameters.

        Parameters
        ----------
        energy
            Quantity or text; numbers are TeV.
        method
            ``"linear"`` propagates the covariance linearly; ``"sampling"`` draws parameters from it and takes
            median and half the width of the central 68.3 %.
        n_samples, seed
            Number of draws, and the seed of the random numbers.

        Returns
        -------
        value, error : astropy.units.Quantity
        """
        e = _energies(energy)
        unit = u.Unit(self.unit)
        value, error = self._with_error(lambda *p: self.evaluate(e, *p), method, n_samples, seed)
        return value * unit, error * unit

    def integral_error(
        self, energy_min: Any, energy_max: Any, method: ErrorMethod = "linear", n_samples: int = 3500, seed: int = 42
    ) -> tuple[u.Quantity, u.Quantity]:
        """Return the integral and its standard deviation; parameters as for `integral` and `evaluate_error`."""
        low, high = _range(energy_min, energy_max)
        unit = u.Unit(self.unit) * u.TeV
        value, error = self._with_error(lambda *p: self.evaluate_integral(low, high, *p), method, n_samples, seed)
        return value * unit, error * unit

    def energy_flux_error(
        self, energy_min: Any, energy_max: Any, method: ErrorMethod = "linear", n_samples: int = 3500, seed: int = 42
    ) -> tuple[u.Quantity, u.Quantity]:
        """Return the energy flux and its standard deviation; parameters as for `energy_flux` and `evaluate_error`."""
        low, high = _range(energy_min, energy_max)
        unit = u.Unit(self.unit) * u.TeV**2
        value, error = self._with_error(lambda *p: self.evaluate_energy_flux(low, high, *p), method, n_samples, seed)
        return value * unit, error * unit

    def _with_error(
        self, function: Callable[..., FloatArray], method: str, n_samples: int, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """Value and standard deviation of a function of the canonical values."""
        values = np.array(self.values)
        factors = self.canonical_factors()
        covariance = covariance_of(self._covariance, self.arguments()) * np.outer(factors, factors)
        if method == "linear":
            return function(*values), linear_error(function, values, covariance)
        if method != "sampling":
            msg = f"method={method!r} must be 'linear' or 'sampling'"
            raise ValueError(msg)
        draws = np.random.default_rng(seed).multivariate_normal(values, covariance, size=n_samples)
        with np.errstate(all="ignore"):  # draws may lie where the model is not defined
            sample = np.array([function(*draw) for draw in draws])
        low, median, high = np.nanpercentile(sample, [15.865525, 50.0, 84.134475], axis=0)
        return median, 0.5 * (high - low)

    # ------------------------------------------------------------------ shape
    def spectral_index(self, energy: Any, epsilon: float = 1e-5) -> FloatArray:
        """Return the local index, minus the slope of log(dN/dE) over log(E).

        Parameters
        ----------
        energy
            Quantity or text; numbers are TeV.
        epsilon
            Half of the step in log(E) over which the slope is taken.

        Returns
        -------
        numpy.ndarray
        """
        e = _energies(energy)
        low, high = (self.evaluate(e * np.exp(step), *self.values) for step in (-epsilon, epsilon))
        return np.asarray(-np.log(high / low) / (2.0 * epsilon))

    def inverse(self, value: Any, energy_min: Any = "1 MeV", energy_max: Any = "10 PeV") -> u.Quantity:
        """Return the energies at which the spectrum takes values: the lowest where there are several.

        Parameters
        ----------
        value
            Quantity or text in a unit of the spectrum.
        energy_min, energy_max
            Range that is searched.

        Returns
        -------
        astropy.units.Quantity
            TeV, shape of `value`; NaN where the spectrum does not take the value inside the range.
        """
        from scipy.optimize import brentq

        wanted = np.atleast_1d(np.asarray(to_value(value, self.unit, "value"), float))
        low, high = _range(energy_min, energy_max)
        grid = np.geomspace(low, high, 2001).ravel()
        curve = self.evaluate(grid, *self.values)
        found = np.full(wanted.shape, np.nan)

        def curve_at(x: float) -> float:
            return float(self.evaluate(np.asarray(np.exp(x)), *self.values))

        for i, target in np.ndenumerate(wanted):
            sign = np.sign(curve - target)
            crossing = np.flatnonzero(sign[:-1] * sign[1:] <= 0)
            if crossing.size:
                left, right = np.log(grid[crossing[0] : crossing[0] + 2])
                found[i] = np.exp(brentq(lambda x, t=target: curve_at(x) - t, left, right, xtol=1e-14))
        shape = np.shape(u.Quantity(value).value if not isinstance(value, (int, float, np.ndarray)) else value)
        return found.reshape(shape) * u.TeV

    def pivot_energy(self, energy_min: Any = None, energy_max: Any = None) -> u.Quantity:
        """Return the energy at which the relative error of the spectrum is smallest.

        Parameters
        ----------
        energy_min, energy_max
            Range that is searched; by default a factor 1000 around the reference energy, or around 1 TeV.

        Returns
        -------
        astropy.units.Quantity
            TeV; NaN where the covariance gives no minimum inside the range.
        """
        from scipy.optimize import minimize_scalar

        center = self.canonical_values().get("reference", 1.0)
        low = center * 1e-3 if energy_min is None else float(_energies(energy_min))
        high = center * 1e3 if energy_max is None else float(_energies(energy_max))

        def relative(x: FloatArray) -> FloatArray:
            value, error = self._with_error(lambda *p: self.evaluate(np.exp(x), *p), "linear", 0, 0)
            return np.asarray(error / value)

        def relative_at(x: float) -> float:
            return float(relative(np.asarray(x)))

        grid = np.linspace(np.log(low), np.log(high), 401)
        errors = np.where(np.isfinite(relative(grid)), relative(grid), np.inf)
        best = int(np.argmin(errors))
        if best in (0, grid.size - 1) or not errors[best] > 0:
            return np.nan * u.TeV
        bounds = (float(grid[best - 1]), float(grid[best + 1]))
        result = minimize_scalar(relative_at, bounds=bounds, method="bounded", options={"xatol": 1e-10})
        return float(np.exp(result.x)) * u.TeV

    # ------------------------------------------------------------------ arithmetic
    def __add__(self, other: Any) -> CompoundSpectralModel:
        return self._compound(other, "+")

    def __sub__(self, other: Any) -> CompoundSpectralModel:
        return self._compound(other, "-")

    def __mul__(self, other: Any) -> CompoundSpectralModel:
        return self._compound(other, "*")

    def _compound(self, other: Any, sign: str) -> CompoundSpectralModel:
        from xgamma.models.compound import CompoundSpectralModel

        if not isinstance(other, SpectralModel):
            return NotImplemented
        return CompoundSpectralModel(self, other, sign)


def linear_error(function: Callable[..., FloatArray], values: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the standard deviation of a function of parameters, propagated linearly.

    Parameters
    ----------
    function
        Function of the parameters that returns an array.
    values
        Parameters, shape (n,).
    covariance
        Their covariance, shape (n, n).

    Returns
    -------
    numpy.ndarray
        Shape of the function's result.

    Notes
    -----
    Derivatives are central differences over a hundredth of each standard deviation: small against the error that is
    propagated, large against rounding.
    """
    sigma = np.sqrt(np.diag(covariance))
    gradient = np.zeros((values.size, *np.shape(function(*values))))
    for i in np.flatnonzero(sigma > 0):
        step = np.zeros_like(values)
        step[i] = 0.01 * sigma[i]
        gradient[i] = (function(*(values + step)) - function(*(values - step))) / (2.0 * step[i])
    return np.sqrt(np.clip(np.einsum("i...,ij,j...->...", gradient, covariance, gradient), 0.0, None))


def _energies(energy: Any) -> FloatArray:
    values = np.asarray(to_value(energy, "TeV", "energy"), float)
    if not np.all(values > 0):
        msg = "energies must be positive"
        raise ValueError(msg)
    return values


def _range(energy_min: ArrayLike, energy_max: ArrayLike) -> tuple[FloatArray, FloatArray]:
    low, high = np.broadcast_arrays(_energies(energy_min), _energies(energy_max))
    if np.any(low > high):
        msg = "energy_min must not lie above energy_max"
        raise ValueError(msg)
    return low, high
