"""Power laws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xgamma.models.component import ParameterField
from xgamma.models.spectral_model import SpectralModel

__all__ = ["PowerLawSpectralModel", "power_integral"]

FloatArray = NDArray[np.float64]

#: Unit of a differential flux, and other kinds that an amplitude may be of: a surface brightness.
FLUX = "TeV-1 s-1 cm-2"
BRIGHTNESS = "TeV-1 s-1 cm-2 sr-1"


def power_integral(low: FloatArray, high: FloatArray, power: float | FloatArray) -> FloatArray:
    """Return the integral of ``x**power`` between positive limits; exact also at power = -1.

    Examples
    --------
    >>> power_integral(np.array(1.0), np.array(np.e), -1.0).round(12)
    1.0
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    n = np.asarray(power, float) + 1.0
    log_ratio = np.log(high / low)
    z = n * log_ratio
    # expm1(z) / z, which is 1 where the power is -1
    small = np.abs(z) < 1e-300
    factor = np.where(small, 1.0, np.expm1(z) / np.where(small, 1.0, z))
    return np.asarray(low**n * log_ratio * factor)


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
        return np.asarray(amplitude * np.power(energy / reference, -index))

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
