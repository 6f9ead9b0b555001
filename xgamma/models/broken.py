"""Power laws with a break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.spectra import power_integral, safe_exp
from xgamma.models.component import ParameterField
from xgamma.models.power_law import BRIGHTNESS, FLUX, power_law
from xgamma.models.spectral_model import SpectralModel

__all__ = ["BrokenPowerLawSpectralModel", "SmoothBrokenPowerLawSpectralModel"]

FloatArray = NDArray[np.float64]


class BrokenPowerLawSpectralModel(SpectralModel):
    r"""Power law with a sharp break.

    .. math:: \phi(E) = \phi_0 \begin{cases}
        (E / E_b)^{-\Gamma_1} & E < E_b \\
        (E / E_b)^{-\Gamma_2} & E \ge E_b \end{cases}

    Parameters
    ----------
    index1, index2
        :math:`\Gamma_1` below and :math:`\Gamma_2` above the break.
    amplitude
        :math:`\phi_0`, the flux at the break, cm-2 s-1 TeV-1 (also per sr).
    ebreak
        :math:`E_b`.

    Examples
    --------
    >>> model = BrokenPowerLawSpectralModel(index1=1, index2=3, ebreak="1 TeV")
    >>> model(["0.1 TeV", "10 TeV"])
    <Quantity [1.e-11, 1.e-15] 1 / (TeV s cm2)>
    """

    tag = ("BrokenPowerLawSpectralModel", "bpl")
    index1 = ParameterField(2.0)
    index2 = ParameterField(2.0)
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    ebreak = ParameterField(1.0, "TeV")

    def evaluate(self, energy: FloatArray, index1: float, index2: float, amplitude: float, ebreak: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return amplitude * power_law(energy, np.where(energy < ebreak, index1, index2), ebreak)  # type: ignore[arg-type]

    def evaluate_integral(  # type: ignore[override]
        self,
        energy_min: FloatArray,
        energy_max: FloatArray,
        index1: float,
        index2: float,
        amplitude: float,
        ebreak: float,
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form."""
        low, high = np.asarray(energy_min) / ebreak, np.asarray(energy_max) / ebreak
        below = power_integral(np.fmin(low, 1.0), np.fmin(high, 1.0), -index1)
        above = power_integral(np.fmax(low, 1.0), np.fmax(high, 1.0), -index2)
        return amplitude * ebreak * (below + above)

    def evaluate_energy_flux(  # type: ignore[override]
        self,
        energy_min: FloatArray,
        energy_max: FloatArray,
        index1: float,
        index2: float,
        amplitude: float,
        ebreak: float,
    ) -> FloatArray:
        """Return the energy flux in canonical units, in closed form."""
        return ebreak * self.evaluate_integral(energy_min, energy_max, index1 - 1.0, index2 - 1.0, amplitude, ebreak)

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the break."""
        return [values[3]]


class SmoothBrokenPowerLawSpectralModel(SpectralModel):
    r"""Power law with a smooth break.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\Gamma_1}
        \left[ 1 + \left( \frac{E}{E_b} \right)^{(\Gamma_2 - \Gamma_1) / \beta} \right]^{-\beta}

    Parameters
    ----------
    index1, index2
        :math:`\Gamma_1` well below and :math:`\Gamma_2` well above the break.
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1 (also per sr).
    ebreak
        :math:`E_b`.
    reference
        :math:`E_0`, frozen.
    beta
        Width of the break, frozen. In the formula it has the sign of :math:`\Gamma_2 - \Gamma_1`, so that a
        positive number here is right for softening and for hardening spectra.

    Notes
    -----
    With two equal indices the bracket is 1, a power law: the value in the middle between those that the formula
    approaches from both sides, :math:`2^{\pm\beta}`. Computed in logarithms: nothing overflows however small `beta` is.

    Examples
    --------
    >>> model = SmoothBrokenPowerLawSpectralModel(index1=1, index2=3, ebreak="1 TeV", beta=0.5)
    >>> model.spectral_index(["1 MeV", "1 TeV", "1 EeV"]).round(6)
    array([1., 2., 3.])
    """

    tag = ("SmoothBrokenPowerLawSpectralModel", "sbpl")
    index1 = ParameterField(2.0)
    index2 = ParameterField(2.0)
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    ebreak = ParameterField(1.0, "TeV")
    reference = ParameterField(1.0, "TeV", frozen=True)
    beta = ParameterField(1.0, frozen=True)

    def evaluate(  # type: ignore[override]
        self,
        energy: FloatArray,
        index1: float,
        index2: float,
        amplitude: float,
        ebreak: float,
        reference: float,
        beta: float,
    ) -> FloatArray:
        """Return the spectrum in canonical units."""
        if beta == 0:
            msg = "beta=0 of a smooth break has no meaning: take BrokenPowerLawSpectralModel"
            raise ValueError(msg)
        signed = beta * np.sign(index2 - index1)
        bend = signed * np.logaddexp(0.0, abs(index2 - index1) / beta * np.log(energy / ebreak))
        return amplitude * safe_exp(-index1 * np.log(energy / reference) - bend)

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the break: where it is narrow, quadratures have to find it."""
        return [values[3]]
