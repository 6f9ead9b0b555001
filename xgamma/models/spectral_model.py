"""What all spectral models can do: values, integrals, their errors, indices, inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.bins import axis_of
from xgamma.coords.units import to_value
from xgamma.kernels.quadrature import log_integral
from xgamma.models.component import Component
from xgamma.models.propagation import linear_error, sampled_error
from xgamma.models.search import crossings, lowest

if TYPE_CHECKING:
    from xgamma.models.compound import CompoundSpectralModel

__all__ = ["SpectralModel"]

FloatArray = NDArray[np.float64]
ErrorMethod = Literal["linear", "sampling"]

#: Half of the step in log(E) over which slopes are taken.
STEP = 1e-5


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
        return self.evaluate(_energies(energy), *self.values) * _unit(self.unit)

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
        return self.evaluate_integral(*_range(energy_min, energy_max), *self.values) * (_unit(self.unit) * u.TeV)

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
        return self.evaluate_energy_flux(*_range(energy_min, energy_max), *self.values) * (_unit(self.unit) * u.TeV**2)

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
        unit = _unit(self.unit)
        value, error = self._with_error(lambda *p: self.evaluate(e, *p), method, n_samples, seed)
        return value * unit, error * unit

    def integral_error(
        self, energy_min: Any, energy_max: Any, method: ErrorMethod = "linear", n_samples: int = 3500, seed: int = 42
    ) -> tuple[u.Quantity, u.Quantity]:
        """Return the integral and its standard deviation; parameters as for `integral` and `evaluate_error`."""
        low, high = _range(energy_min, energy_max)
        unit = _unit(self.unit) * u.TeV
        value, error = self._with_error(lambda *p: self.evaluate_integral(low, high, *p), method, n_samples, seed)
        return value * unit, error * unit

    def energy_flux_error(
        self, energy_min: Any, energy_max: Any, method: ErrorMethod = "linear", n_samples: int = 3500, seed: int = 42
    ) -> tuple[u.Quantity, u.Quantity]:
        """Return the energy flux and its standard deviation; parameters as for `energy_flux` and `evaluate_error`."""
        low, high = _range(energy_min, energy_max)
        unit = _unit(self.unit) * u.TeV**2
        value, error = self._with_error(lambda *p: self.evaluate_energy_flux(low, high, *p), method, n_samples, seed)
        return value * unit, error * unit

    def spectral_index_error(
        self, energy: Any, method: ErrorMethod = "linear", n_samples: int = 3500, seed: int = 42
    ) -> tuple[FloatArray, FloatArray]:
        """Return the local index and its standard deviation; parameters as for `evaluate_error`."""
        e = _energies(energy)
        return self._with_error(lambda *p: self._index(e, STEP, *p), method, n_samples, seed)

    def _with_error(
        self, function: Callable[..., FloatArray], method: str, n_samples: int, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """Value and standard deviation of a function of the canonical values."""
        values = np.array(self.values)
        factors = self.canonical_factors()
        arguments = self.arguments()
        covariance = self.covariance_over(arguments) * np.outer(factors, factors)
        limits = np.array([(p.min, p.max) for p in arguments]).reshape(-1, 2) * factors[:, None]
        if method == "linear":
            return function(*values), linear_error(function, values, covariance, limits)
        if method != "sampling":
            msg = f"method={method!r} must be 'linear' or 'sampling'"
            raise ValueError(msg)
        return sampled_error(function, values, covariance, limits, n_samples, seed)

    # ------------------------------------------------------------------ shape
    def spectral_index(self, energy: Any, epsilon: float = STEP) -> FloatArray:
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
            NaN where the spectrum is 0.
        """
        return self._index(_energies(energy), epsilon, *self.values)

    def _index(self, energy: FloatArray, epsilon: float, *values: float) -> FloatArray:
        low, high = (self.evaluate(energy * np.exp(step), *values) for step in (-epsilon, epsilon))
        with np.errstate(divide="ignore", invalid="ignore"):  # where the spectrum is 0
            return np.asarray(-np.log(high / low) / (2.0 * epsilon))

    def inverse(self, value: Any, energy_min: Any = "1 MeV", energy_max: Any = "10 PeV") -> u.Quantity:
        """Return the energies at which the spectrum takes values: the lowest where there are several.

        Parameters
        ----------
        value
            Quantity or text in a unit of the spectrum, any shape.
        energy_min, energy_max
            Range that is searched.

        Returns
        -------
        astropy.units.Quantity
            TeV, shape of `value`; NaN where the spectrum does not take the value inside the range.
        """
        wanted = np.asarray(to_value(value, self.unit, "value"), float)
        found = [self.inverse_all(v * _unit(self.unit), energy_min, energy_max).value for v in wanted.ravel()]
        return np.reshape([f[0] if f.size else np.nan for f in found], wanted.shape) * u.TeV

    def inverse_all(self, value: Any, energy_min: Any = "1 MeV", energy_max: Any = "10 PeV") -> u.Quantity:
        """Return all energies at which the spectrum takes one value.

        Parameters
        ----------
        value
            Quantity or text in a unit of the spectrum.
        energy_min, energy_max
            Range that is searched.

        Returns
        -------
        astropy.units.Quantity
            TeV, ascending, shape (n,); empty where the spectrum does not take the value inside the range.
        """
        target = float(np.asarray(to_value(value, self.unit, "value")))
        low, high = (float(v) for v in _range(energy_min, energy_max))
        values = self.values
        found = crossings(lambda e: self.evaluate(e, *values), target, low, high, self.kinks(*values))
        return found * u.TeV

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
        center = self.canonical_values().get("reference", 1.0)
        low = center * 1e-3 if energy_min is None else float(_energies(energy_min))
        high = center * 1e3 if energy_max is None else float(_energies(energy_max))

        def relative(energy: FloatArray) -> FloatArray:
            value, error = self._with_error(lambda *p: self.evaluate(energy, *p), "linear", 0, 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(error / np.abs(value))

        return lowest(relative, low, high) * u.TeV

    def reference_fluxes(self, energy: Any) -> dict[str, FloatArray]:
        """Return the fluxes in energy bins to which norms of flux points refer.

        Parameters
        ----------
        energy
            Anything with an energy axis (an axis, a cube), or edges as a quantity, shape (n + 1,).

        Returns
        -------
        dict
            ``ref_dnde`` and ``ref_e2dnde`` at the geometric mean of the edges, ``ref_flux`` and ``ref_eflux`` between
            them, shape (n,), for a differential flux in TeV-1 s-1 cm-2, TeV s-1 cm-2, s-1 cm-2 and TeV s-1 cm-2.

        Examples
        --------
        >>> from xgamma.models.power_law import PowerLawSpectralModel
        >>> PowerLawSpectralModel(index=2).reference_fluxes(["1 TeV", "10 TeV"])["ref_flux"]
        array([9.e-13])
        """
        if isinstance(energy, (xr.DataArray, xr.Dataset)):
            name = "energy" if "energy" in energy.coords else "energy_true"
            axis = axis_of(energy, name)
            low, high = _range(*(axis[f"{name}_{end}"].values * u.Unit(axis.attrs["units"]) for end in ("min", "max")))
        else:
            edges = np.atleast_1d(_energies(energy))
            low, high = _range(edges[:-1] * u.TeV, edges[1:] * u.TeV)
        center, values = np.sqrt(low * high), self.values
        dnde = self.evaluate(center, *values)
        return {
            "ref_dnde": dnde,
            "ref_flux": self.evaluate_integral(low, high, *values),
            "ref_eflux": self.evaluate_energy_flux(low, high, *values),
            "ref_e2dnde": center**2 * dnde,
        }

    # ------------------------------------------------------------------ arithmetic
    def __add__(self, other: Any) -> CompoundSpectralModel:
        return self._compound(other, "+")

    def __sub__(self, other: Any) -> CompoundSpectralModel:
        return self._compound(other, "-")

    def __mul__(self, other: Any) -> CompoundSpectralModel:
        return self._compound(other, "*")

    __radd__, __rmul__ = __add__, __mul__

    def _compound(self, other: Any, sign: str) -> CompoundSpectralModel:
        from xgamma.models.compound import CompoundSpectralModel
        from xgamma.models.power_law import ConstantSpectralModel

        if isinstance(other, (int, float, np.number, u.Quantity)):
            other = ConstantSpectralModel(const=u.Quantity(other))
            other.freeze()
        if not isinstance(other, SpectralModel):
            return NotImplemented
        return CompoundSpectralModel(self, other, sign)

    #: Quantities leave arithmetic with models to the models.
    __array_ufunc__ = None


@lru_cache(maxsize=256)
def _unit(text: str) -> u.UnitBase:
    """Parse the text of a unit, once."""
    return u.Unit(text)


def _energies(energy: Any) -> FloatArray:
    values = np.asarray(to_value(energy, "TeV", "energy"), float)
    if not np.all((values > 0) & (values < np.inf)):
        msg = "energies must be positive and finite"
        raise ValueError(msg)
    return values


def _range(energy_min: ArrayLike, energy_max: ArrayLike) -> tuple[FloatArray, FloatArray]:
    low, high = np.broadcast_arrays(_energies(energy_min), _energies(energy_max))
    if np.any(low > high):
        msg = "energy_min must not lie above energy_max"
        raise ValueError(msg)
    return low, high
