"""Power laws and constants."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.spectra import power_integral, safe_exp
from xgamma.models.component import ParameterField
from xgamma.models.spectral_model import SpectralModel

__all__ = [
    "BRIGHTNESS",
    "FLUX",
    "ConstantSpectralModel",
    "PowerLaw2SpectralModel",
    "PowerLawSpectralModel",
    "power_law",
    "power_law_pivot",
]

FloatArray = NDArray[np.float64]

#: Unit of a differential flux, and other kinds that an amplitude may be of: a surface brightness.
FLUX = "TeV-1 s-1 cm-2"
BRIGHTNESS = "TeV-1 s-1 cm-2 sr-1"


def power_law(energy: FloatArray, index: float, reference: float) -> FloatArray:
    """Return ``(energy / reference)**-index``, infinite without a warning where it overflows."""
    return safe_exp(-index * np.log(energy / reference))


def power_law_pivot(model: SpectralModel, amplitude: str, index: str) -> u.Quantity:
    r"""Return where the relative error of a power law is smallest, in closed form.

    Notes
    -----
    :math:`E_0 \exp(\mathrm{cov}(\phi_0, \Gamma) / (\phi_0 \sigma_\Gamma^2))`; NaN where the index has no error.
    """
    parameters = model.parameters
    norm, slope = parameters[amplitude], parameters[index]
    covariance = model.covariance_over([norm, slope])
    if not covariance[1, 1] > 0:
        return np.nan * u.TeV
    return model.canonical_values()["reference"] * np.exp(covariance[0, 1] / (norm.value * covariance[1, 1])) * u.TeV


class ConstantSpectralModel(SpectralModel):
    r"""The same at all energies, :math:`k`.

    Parameters
    ----------
    const
        :math:`k`, cm-2 s-1 TeV-1, or of any other kind: a number without a unit is a factor on other models.

    Examples
    --------
    >>> ConstantSpectralModel(const="1e-12 cm-2 s-1 TeV-1").integral("1 TeV", "3 TeV")
    <Quantity 2.e-12 1 / (s cm2)>
    """

    tag = ("ConstantSpectralModel", "const")
    const = ParameterField(1e-12, FLUX, also=(BRIGHTNESS, "", None))

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return self.canonical_units()["const"]

    def evaluate(self, energy: FloatArray, const: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return const * np.ones_like(energy)

    def evaluate_integral(self, energy_min: FloatArray, energy_max: FloatArray, const: float) -> FloatArray:  # type: ignore[override]
        """Return the integral in canonical units, in closed form."""
        return const * power_integral(energy_min, energy_max, 0.0)

    def evaluate_energy_flux(self, energy_min: FloatArray, energy_max: FloatArray, const: float) -> FloatArray:  # type: ignore[override]
        """Return the energy flux in canonical units, in closed form."""
        return const * power_integral(energy_min, energy_max, 1.0)


class PowerLawSpectralModel(SpectralModel):
    r"""Power law, :math:`\phi_0 (E / E_0)^{-\Gamma}`.

    Parameters
    ----------
    index
        :math:`\Gamma`.
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.

    Examples
    --------
    >>> model = PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1", reference="1 TeV")
    >>> model.integral("1 TeV", "10 TeV")
    <Quantity 9.e-13 1 / (s cm2)>
    """

    tag = ("PowerLawSpectralModel", "pl")
    index = ParameterField(2.0)
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(1.0, "TeV", frozen=True)

    def evaluate(self, energy: FloatArray, index: float, amplitude: float, reference: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return amplitude * power_law(energy, index, reference)

    def evaluate_integral(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, index: float, amplitude: float, reference: float
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form."""
        return amplitude * reference * power_integral(energy_min / reference, energy_max / reference, -index)

    def evaluate_energy_flux(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, index: float, amplitude: float, reference: float
    ) -> FloatArray:
        """Return the energy flux in canonical units, in closed form."""
        return amplitude * reference**2 * power_integral(energy_min / reference, energy_max / reference, 1.0 - index)

    def pivot_energy(self, energy_min: object = None, energy_max: object = None) -> u.Quantity:
        """Return the energy at which the relative error of the spectrum is smallest, in closed form; no range needed.

        Returns
        -------
        astropy.units.Quantity
            TeV; NaN where the index has no error.
        """
        return power_law_pivot(self, "amplitude", "index")


class PowerLaw2SpectralModel(SpectralModel):
    r"""Power law by its integral between two energies.

    .. math:: \phi(E) = F_0 \frac{1 - \Gamma}{E_{max}^{1 - \Gamma} - E_{min}^{1 - \Gamma}} E^{-\Gamma}

    Parameters
    ----------
    amplitude
        :math:`F_0`, integral flux between `emin` and `emax`, cm-2 s-1 (also per sr).
    index
        :math:`\Gamma`; 1 is no special case.
    emin, emax
        Range of the integral flux, frozen.

    Examples
    --------
    >>> model = PowerLaw2SpectralModel(amplitude="2e-12 cm-2 s-1", index=1, emin="1 TeV", emax="10 TeV")
    >>> model.integral("1 TeV", "10 TeV")
    <Quantity 2.e-12 1 / (s cm2)>
    """

    tag = ("PowerLaw2SpectralModel", "pl-2")
    amplitude = ParameterField(1e-12, "s-1 cm-2", also=("s-1 cm-2 sr-1",))
    index = ParameterField(2.0)
    emin = ParameterField(0.1, "TeV", frozen=True)
    emax = ParameterField(100.0, "TeV", frozen=True)

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return f"TeV-1 {self.canonical_units()['amplitude']}"

    def evaluate(self, energy: FloatArray, amplitude: float, index: float, emin: float, emax: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return self._scale(amplitude, index, emin, emax) * power_law(energy, index, emin)

    def evaluate_integral(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, amplitude: float, index: float, emin: float, emax: float
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form."""
        scale = self._scale(amplitude, index, emin, emax)
        return scale * emin * power_integral(energy_min / emin, energy_max / emin, -index)

    def evaluate_energy_flux(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, amplitude: float, index: float, emin: float, emax: float
    ) -> FloatArray:
        """Return the energy flux in canonical units, in closed form."""
        scale = self._scale(amplitude, index, emin, emax)
        return scale * emin**2 * power_integral(energy_min / emin, energy_max / emin, 1.0 - index)

    @staticmethod
    def _scale(amplitude: float, index: float, emin: float, emax: float) -> FloatArray:
        """Differential flux at `emin`."""
        if not 0 < emin < emax:
            msg = f"emin={emin:g} TeV must lie between 0 and emax={emax:g} TeV"
            raise ValueError(msg)
        return amplitude / (emin * power_integral(1.0, emax / emin, -index))
