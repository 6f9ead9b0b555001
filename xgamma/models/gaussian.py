"""Lines: Gaussians over energy and over its logarithm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.spectra import normal_integral
from xgamma.models.component import ParameterField
from xgamma.models.spectral_model import SpectralModel

__all__ = ["GaussianSpectralModel", "LogGaussianSpectralModel"]

FloatArray = NDArray[np.float64]

#: Distances from the centre, in standard deviations, between which quadratures look for a narrow line.
REACH = (-9.0, -5.0, -2.5, 0.0, 2.5, 5.0, 9.0)


class GaussianSpectralModel(SpectralModel):
    r"""Gaussian over energy, :math:`\frac{N_0}{\sigma \sqrt{2 \pi}} \exp(-(E - \bar E)^2 / 2 \sigma^2)`.

    Parameters
    ----------
    amplitude
        :math:`N_0`, the integral over all energies from minus to plus infinity, cm-2 s-1 (also per sr).
    mean
        :math:`\bar E`.
    sigma
        :math:`\sigma`.

    Examples
    --------
    >>> model = GaussianSpectralModel(amplitude="1e-12 cm-2 s-1", mean="1 TeV", sigma="0.01 TeV")
    >>> model.integral("0.1 TeV", "10 TeV")
    <Quantity 1.e-12 1 / (s cm2)>
    """

    tag = ("GaussianSpectralModel", "gauss")
    amplitude = ParameterField(1e-12, "s-1 cm-2", also=("s-1 cm-2 sr-1",))
    mean = ParameterField(1.0, "TeV")
    sigma = ParameterField(2.0, "TeV")

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return f"TeV-1 {self.canonical_units()['amplitude']}"

    def evaluate(self, energy: FloatArray, amplitude: float, mean: float, sigma: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return amplitude / (sigma * np.sqrt(2.0 * np.pi)) * np.exp(-0.5 * ((energy - mean) / sigma) ** 2)

    def evaluate_integral(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, amplitude: float, mean: float, sigma: float
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form (error functions)."""
        low, high = ((np.asarray(e) - mean) / (np.sqrt(2.0) * sigma) for e in (energy_min, energy_max))
        # a sigma below 0 means the same line
        return 0.5 * amplitude * np.sign(sigma) * normal_integral(np.minimum(low, high), np.maximum(low, high))

    def kinks(self, *values: float) -> Sequence[float]:
        """Return energies around the line: where it is narrow, quadratures have to find it."""
        _, mean, sigma = values
        return [e for e in (mean + r * sigma for r in REACH) if e > 0]


class LogGaussianSpectralModel(SpectralModel):
    r"""Gaussian over the logarithm of energy.

    .. math:: \phi(E) = \frac{L}{E w \sqrt{2 \pi}} \exp\left( -\frac{(\log(E / E_p))^2}{2 w^2} \right)

    Parameters
    ----------
    L
        :math:`L`, the integral over all energies, cm-2 s-1 (also per sr).
    Ep
        :math:`E_p`, the median energy.
    w
        :math:`w`, the width in the natural logarithm.

    References
    ----------
    Bernlöhr et al. 2013, Astropart. Phys. 43, 171: the bump in their spectrum of cosmic electrons.

    Examples
    --------
    >>> model = LogGaussianSpectralModel(L="1e-12 cm-2 s-1", Ep="1 TeV", w=0.1)
    >>> model.integral("0.1 TeV", "10 TeV")
    <Quantity 1.e-12 1 / (s cm2)>
    """

    tag = ("LogGaussianSpectralModel", "log-gauss")
    L = ParameterField(1e-12, "s-1 cm-2", also=("s-1 cm-2 sr-1",))
    Ep = ParameterField(0.107, "TeV")
    w = ParameterField(0.776)

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return f"TeV-1 {self.canonical_units()['L']}"

    def evaluate(self, energy: FloatArray, amplitude: float, peak: float, width: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        x = np.log(energy / peak) / width
        return amplitude / (energy * width * np.sqrt(2.0 * np.pi)) * np.exp(-0.5 * x**2)

    def evaluate_integral(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, amplitude: float, peak: float, width: float
    ) -> FloatArray:
        """Return the integral in canonical units, in closed form (error functions)."""
        low, high = (np.log(np.asarray(e) / peak) / (np.sqrt(2.0) * width) for e in (energy_min, energy_max))
        return 0.5 * amplitude * np.sign(width) * normal_integral(np.minimum(low, high), np.maximum(low, high))

    def kinks(self, *values: float) -> Sequence[float]:
        """Return energies around the bump: where it is narrow, quadratures have to find it."""
        _, peak, width = values
        return [float(peak * np.exp(r * width)) for r in REACH]
