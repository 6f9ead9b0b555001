"""Log parabolas: power laws whose index changes with the logarithm of energy."""

from __future__ import annotations

from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.spectra import parabola_integral, safe_exp
from xgamma.models.component import ParameterField
from xgamma.models.power_law import BRIGHTNESS, FLUX
from xgamma.models.spectral_model import SpectralModel

__all__ = [
    "LogParabola2SpectralModel",
    "LogParabolaNormSpectralModel",
    "LogParabolaSpectralModel",
    "log_parabola",
    "log_parabola_integral",
]

FloatArray = NDArray[np.float64]


def log_parabola(energy: FloatArray, reference: float, alpha: float, beta: float) -> FloatArray:
    """Return ``x**-(alpha + beta log(x))`` with ``x = energy / reference``."""
    x = np.log(energy / reference)
    return safe_exp(-(alpha + beta * x) * x)


def log_parabola_integral(
    low: FloatArray, high: FloatArray, reference: float, alpha: float, beta: float, power: float = 0.0
) -> FloatArray:
    """Return the integral over energy of `log_parabola` times ``energy**power``, in closed form."""
    ends = np.log(np.asarray(low) / reference), np.log(np.asarray(high) / reference)
    return reference ** (power + 1.0) * parabola_integral(*ends, power + 1.0 - alpha, beta)


def _peak(reference: float, alpha: float, beta: float) -> u.Quantity:
    """Energy of the maximum of E2 dN/dE; there is none where the parabola opens upwards."""
    return (reference * float(safe_exp((2.0 - alpha) / (2.0 * beta))) if beta > 0 else np.nan) * u.TeV


class LogParabolaSpectralModel(SpectralModel):
    r"""Log parabola, :math:`\phi_0 (E / E_0)^{-\alpha - \beta \log(E / E_0)}` with the natural logarithm.

    Parameters
    ----------
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    alpha
        :math:`\alpha`, the local index at the reference energy.
    beta
        :math:`\beta`; 0 is a power law. From papers with the logarithm to base 10, use `from_log10`.

    References
    ----------
    Massaro et al. 2004, A&A 413, 489.

    Examples
    --------
    >>> model = LogParabolaSpectralModel(alpha=1.8, beta=0.1, reference="1 TeV")
    >>> model.e_peak.round(6)
    <Quantity 2.718282 TeV>
    """

    tag = ("LogParabolaSpectralModel", "lp")
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(10.0, "TeV", frozen=True)
    alpha = ParameterField(2.0)
    beta = ParameterField(1.0)

    @classmethod
    def from_log10(cls, amplitude: Any, reference: Any, alpha: Any, beta: Any) -> Self:
        """Make the model from the parameters of a formula with the logarithm to base 10.

        Examples
        --------
        >>> LogParabolaSpectralModel.from_log10("3e-11 cm-2 s-1 TeV-1", "1 TeV", 2.47, 0.24).beta.value
        0.10423...
        """
        return cls(amplitude=amplitude, reference=reference, alpha=alpha, beta=beta / np.log(10.0))

    def evaluate(self, energy: FloatArray, amplitude: float, reference: float, alpha: float, beta: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return amplitude * log_parabola(energy, reference, alpha, beta)

    def evaluate_integral(  # type: ignore[override]
        self,
        energy_min: FloatArray,
        energy_max: FloatArray,
        amplitude: float,
        reference: float,
        alpha: float,
        beta: float,
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form (error functions)."""
        return amplitude * log_parabola_integral(energy_min, energy_max, reference, alpha, beta)

    def evaluate_energy_flux(  # type: ignore[override]
        self,
        energy_min: FloatArray,
        energy_max: FloatArray,
        amplitude: float,
        reference: float,
        alpha: float,
        beta: float,
    ) -> FloatArray:
        """Return the energy flux in canonical units, in closed form (error functions)."""
        return amplitude * log_parabola_integral(energy_min, energy_max, reference, alpha, beta, 1.0)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none."""
        _, reference, alpha, beta = self.values
        return _peak(reference, alpha, beta)


class LogParabola2SpectralModel(SpectralModel):
    r"""Log parabola with a scale of its own, :math:`\phi_0 (E / E_0)^{-\alpha - \beta \log(E / E_s)}`.

    Parameters
    ----------
    amplitude
        :math:`\phi_0`, the flux at the reference energy, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    alpha, beta
        :math:`\alpha` and :math:`\beta`, natural logarithm.
    escale
        :math:`E_s`, frozen.

    Examples
    --------
    >>> model = LogParabola2SpectralModel(alpha=1.8, beta=0.1, reference="1 TeV", escale="1 TeV")
    >>> model.e_peak.round(6)
    <Quantity 2.718282 TeV>
    """

    tag = ("LogParabola2SpectralModel", "lp2")
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(10.0, "TeV", frozen=True)
    alpha = ParameterField(2.0)
    beta = ParameterField(1.0)
    escale = ParameterField(1.0, "TeV", frozen=True)

    @classmethod
    def from_log10(cls, amplitude: Any, reference: Any, alpha: Any, beta: Any, escale: Any = None) -> Self:
        """Make the model from the parameters of a formula with the logarithm to base 10."""
        scale = {} if escale is None else {"escale": escale}
        return cls(amplitude=amplitude, reference=reference, alpha=alpha, beta=beta / np.log(10.0), **scale)

    def evaluate(  # type: ignore[override]
        self, energy: FloatArray, amplitude: float, reference: float, alpha: float, beta: float, escale: float
    ) -> FloatArray:
        """Return the spectrum in canonical units."""
        return amplitude * log_parabola(energy, reference, _at_reference(alpha, beta, reference, escale), beta)

    def evaluate_integral(  # type: ignore[override]
        self,
        energy_min: FloatArray,
        energy_max: FloatArray,
        amplitude: float,
        reference: float,
        alpha: float,
        beta: float,
        escale: float,
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form (error functions)."""
        index = _at_reference(alpha, beta, reference, escale)
        return amplitude * log_parabola_integral(energy_min, energy_max, reference, index, beta)

    def evaluate_energy_flux(  # type: ignore[override]
        self,
        energy_min: FloatArray,
        energy_max: FloatArray,
        amplitude: float,
        reference: float,
        alpha: float,
        beta: float,
        escale: float,
    ) -> FloatArray:
        """Return the energy flux in canonical units, in closed form (error functions)."""
        index = _at_reference(alpha, beta, reference, escale)
        return amplitude * log_parabola_integral(energy_min, energy_max, reference, index, beta, 1.0)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none."""
        _, reference, alpha, beta, escale = self.values
        return _peak(reference, _at_reference(alpha, beta, reference, escale), beta)


def _at_reference(alpha: float, beta: float, reference: float, escale: float) -> float:
    """Index of the same parabola written around the reference energy."""
    return alpha + beta * float(np.log(reference / escale))


class LogParabolaNormSpectralModel(SpectralModel):
    r"""Factor on another spectrum, :math:`N (E / E_0)^{-\alpha - \beta \log(E / E_0)}` with the natural logarithm.

    Parameters
    ----------
    norm
        :math:`N`.
    reference
        :math:`E_0`, frozen.
    alpha, beta
        :math:`\alpha` and :math:`\beta`.

    Examples
    --------
    >>> LogParabolaNormSpectralModel(norm=2)("3 TeV")
    <Quantity 2.>
    """

    tag = ("LogParabolaNormSpectralModel", "lp-norm")
    norm = ParameterField(1.0)
    reference = ParameterField(10.0, "TeV", frozen=True)
    alpha = ParameterField(0.0)
    beta = ParameterField(0.0)

    @classmethod
    def from_log10(cls, norm: Any, reference: Any, alpha: Any, beta: Any) -> Self:
        """Make the model from the parameters of a formula with the logarithm to base 10."""
        return cls(norm=norm, reference=reference, alpha=alpha, beta=beta / np.log(10.0))

    def evaluate(self, energy: FloatArray, norm: float, reference: float, alpha: float, beta: float) -> FloatArray:  # type: ignore[override]
        """Return the factor."""
        return norm * log_parabola(energy, reference, alpha, beta)

    def evaluate_integral(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, norm: float, reference: float, alpha: float, beta: float
    ) -> FloatArray:
        """Return the integral in TeV, in closed form (error functions)."""
        return norm * log_parabola_integral(energy_min, energy_max, reference, alpha, beta)

    def evaluate_energy_flux(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, norm: float, reference: float, alpha: float, beta: float
    ) -> FloatArray:
        """Return the integral of energy times the factor in TeV2, in closed form (error functions)."""
        return norm * log_parabola_integral(energy_min, energy_max, reference, alpha, beta, 1.0)
