"""Power laws with an exponential cutoff: those of ground-based astronomy and of the Fermi-LAT catalogues."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.spectra import exp_difference, safe_exp
from xgamma.models.component import ParameterField
from xgamma.models.power_law import BRIGHTNESS, FLUX
from xgamma.models.spectral_model import SpectralModel

__all__ = [
    "ExpCutoffPowerLaw3FGLSpectralModel",
    "ExpCutoffPowerLawSpectralModel",
    "SuperExpCutoffPowerLaw3FGLSpectralModel",
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel",
    "SuperExpCutoffPowerLaw4FGLSpectralModel",
    "cutoff_power_law",
]

FloatArray = NDArray[np.float64]

#: MeV in a TeV: the exponential factor of 4FGL counts energies in MeV.
MEV = 1e6


def cutoff_power_law(
    energy: FloatArray, index: float, amplitude: float, reference: float, lambda_: float, alpha: float
) -> FloatArray:
    """Return a power law with the cutoff exp(-(lambda E)**alpha); for lambda < 0 the exponent changes sign."""
    x = lambda_ * np.asarray(energy)
    with np.errstate(over="ignore", divide="ignore"):
        exponent = np.sign(x) * np.power(np.abs(x), alpha)
    return amplitude * safe_exp(-index * np.log(energy / reference) - exponent)


def _peak(energy: float, exists: bool) -> u.Quantity:
    return (energy if exists else np.nan) * u.TeV


class ExpCutoffPowerLawSpectralModel(SpectralModel):
    r"""Power law with an exponential cutoff, :math:`\phi_0 (E / E_0)^{-\Gamma} \exp(-(\lambda E)^\alpha)`.

    Parameters
    ----------
    index
        :math:`\Gamma`.
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    lambda_
        :math:`\lambda`, the inverse of the cutoff energy. At 0 the model is a power law; below, it rises, which keeps
        a fit smooth where no cutoff is seen.
    alpha
        :math:`\alpha`, frozen: 1 is the plain cutoff, below 1 it is stretched.

    Examples
    --------
    >>> model = ExpCutoffPowerLawSpectralModel(index=1.5, lambda_="0.1 TeV-1")
    >>> model.e_peak
    <Quantity 5. TeV>
    """

    tag = ("ExpCutoffPowerLawSpectralModel", "ecpl")
    index = ParameterField(1.5)
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(1.0, "TeV", frozen=True)
    lambda_ = ParameterField(0.1, "TeV-1")
    alpha = ParameterField(1.0, frozen=True)

    def evaluate(  # type: ignore[override]
        self, energy: FloatArray, index: float, amplitude: float, reference: float, lambda_: float, alpha: float
    ) -> FloatArray:
        """Return the spectrum in canonical units."""
        return cutoff_power_law(energy, index, amplitude, reference, lambda_, alpha)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none (index of 2 or more)."""
        index, _, _, lambda_, alpha = self.values
        exists = index < 2 and lambda_ > 0 and alpha > 0
        return _peak(((2 - index) / alpha) ** (1 / alpha) / lambda_ if exists else np.nan, exists)


class ExpCutoffPowerLaw3FGLSpectralModel(SpectralModel):
    r"""Cutoff power law of the 3FGL catalogue, :math:`\phi_0 (E / E_0)^{-\Gamma} \exp((E_0 - E) / E_c)`.

    Parameters
    ----------
    index
        :math:`\Gamma`.
    amplitude
        :math:`\phi_0`, the flux at the reference energy, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    ecut
        :math:`E_c`.

    References
    ----------
    Acero et al. 2015, ApJS 218, 23 (3FGL), section 3.3.

    Examples
    --------
    >>> ExpCutoffPowerLaw3FGLSpectralModel(reference="2 TeV")("2 TeV")
    <Quantity 1.e-12 1 / (TeV s cm2)>
    """

    tag = ("ExpCutoffPowerLaw3FGLSpectralModel", "ecpl-3fgl")
    index = ParameterField(1.5)
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(1.0, "TeV", frozen=True)
    ecut = ParameterField(10.0, "TeV")

    def evaluate(self, energy: FloatArray, index: float, amplitude: float, reference: float, ecut: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return amplitude * safe_exp(-index * np.log(energy / reference) + (reference - energy) / ecut)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none (index of 2 or more)."""
        index, _, _, ecut = self.values
        return _peak((2 - index) * ecut, index < 2 and ecut > 0)


class SuperExpCutoffPowerLaw3FGLSpectralModel(SpectralModel):
    r"""Super-exponential cutoff of the 3FGL catalogue.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\Gamma_1}
        \exp\left( \left( \frac{E_0}{E_c} \right)^{\Gamma_2} - \left( \frac{E}{E_c} \right)^{\Gamma_2} \right)

    Parameters
    ----------
    amplitude
        :math:`\phi_0`, the flux at the reference energy, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    ecut
        :math:`E_c`.
    index_1, index_2
        :math:`\Gamma_1` of the power law, :math:`\Gamma_2` of the cutoff.

    References
    ----------
    Acero et al. 2015, ApJS 218, 23 (3FGL), section 3.3.

    Examples
    --------
    >>> SuperExpCutoffPowerLaw3FGLSpectralModel(reference="2 TeV")("2 TeV")
    <Quantity 1.e-12 1 / (TeV s cm2)>
    """

    tag = ("SuperExpCutoffPowerLaw3FGLSpectralModel", "secpl-3fgl")
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(1.0, "TeV", frozen=True)
    ecut = ParameterField(10.0, "TeV")
    index_1 = ParameterField(1.5)
    index_2 = ParameterField(2.0)

    def evaluate(  # type: ignore[override]
        self, energy: FloatArray, amplitude: float, reference: float, ecut: float, index_1: float, index_2: float
    ) -> FloatArray:
        """Return the spectrum in canonical units."""
        exponent = safe_exp(index_2 * np.log(reference / ecut)) - safe_exp(index_2 * np.log(energy / ecut))
        return amplitude * safe_exp(-index_1 * np.log(energy / reference) + exponent)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none."""
        _, _, ecut, index_1, index_2 = self.values
        exists = index_1 < 2 and index_2 > 0
        return _peak(ecut * ((2 - index_1) / index_2) ** (1 / index_2) if exists else np.nan, exists)


class SuperExpCutoffPowerLaw4FGLSpectralModel(SpectralModel):
    r"""Super-exponential cutoff of the 4FGL catalogue (first release, DR1, and DR2).

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\Gamma_1}
        \exp\left( a \left( E_0^{\Gamma_2} - E^{\Gamma_2} \right) \right)

    Parameters
    ----------
    amplitude
        :math:`\phi_0`, the flux at the reference energy, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    expfactor
        :math:`a`, with energies in MeV: its unit would be MeV to the power :math:`-\Gamma_2`, and it has none.
    index_1, index_2
        :math:`\Gamma_1` of the power law, :math:`\Gamma_2` of the cutoff.

    References
    ----------
    Abdollahi et al. 2020, ApJS 247, 33 (4FGL), equation 4.

    Examples
    --------
    >>> SuperExpCutoffPowerLaw4FGLSpectralModel(reference="2 TeV")("2 TeV")
    <Quantity 1.e-12 1 / (TeV s cm2)>
    """

    tag = ("SuperExpCutoffPowerLaw4FGLSpectralModel", "secpl-4fgl")
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(1.0, "TeV", frozen=True)
    expfactor = ParameterField(1e-14)
    index_1 = ParameterField(1.5)
    index_2 = ParameterField(2.0)

    def evaluate(  # type: ignore[override]
        self, energy: FloatArray, amplitude: float, reference: float, expfactor: float, index_1: float, index_2: float
    ) -> FloatArray:
        """Return the spectrum in canonical units."""
        powers = safe_exp(index_2 * np.log(MEV * reference)) - safe_exp(index_2 * np.log(MEV * np.asarray(energy)))
        return amplitude * safe_exp(-index_1 * np.log(energy / reference) + expfactor * powers)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none."""
        _, _, expfactor, index_1, index_2 = self.values
        exists = index_1 < 2 and index_2 > 0 and expfactor > 0
        return _peak(((2 - index_1) / (expfactor * index_2)) ** (1 / index_2) / MEV if exists else np.nan, exists)


class SuperExpCutoffPowerLaw4FGLDR3SpectralModel(SpectralModel):
    r"""Super-exponential cutoff of the 4FGL catalogue from its third release (DR3) on.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\Gamma_1 + d / b}
        \exp\left( \frac{d}{b^2} \left( 1 - \left( \frac{E}{E_0} \right)^b \right) \right)

    Parameters
    ----------
    amplitude
        :math:`\phi_0`, the flux at the reference energy, cm-2 s-1 TeV-1 (also per sr).
    reference
        :math:`E_0`, frozen.
    expfactor
        :math:`d`, the curvature at the reference energy.
    index_1, index_2
        :math:`\Gamma_1`, the local index at the reference energy, and :math:`b` of the cutoff.

    Notes
    -----
    Exact also where :math:`b` is small or 0, where the formula is a log parabola with :math:`\beta = d / 2`.

    References
    ----------
    Abdollahi et al. 2022, ApJS 260, 53 (4FGL-DR3), equation 2.

    Examples
    --------
    >>> model = SuperExpCutoffPowerLaw4FGLDR3SpectralModel(index_1=1.8, expfactor=0.5, index_2=0.7)
    >>> float(model.spectral_index("1 TeV").round(6))
    1.8
    """

    tag = ("SuperExpCutoffPowerLaw4FGLDR3SpectralModel", "secpl-4fgl-dr3")
    amplitude = ParameterField(1e-12, FLUX, also=(BRIGHTNESS,))
    reference = ParameterField(1.0, "TeV", frozen=True)
    expfactor = ParameterField(0.01)
    index_1 = ParameterField(1.5)
    index_2 = ParameterField(2.0)

    def evaluate(  # type: ignore[override]
        self, energy: FloatArray, amplitude: float, reference: float, expfactor: float, index_1: float, index_2: float
    ) -> FloatArray:
        """Return the spectrum in canonical units."""
        x = np.log(energy / reference)
        # d/b x + d/b^2 (1 - exp(b x)) is -d x^2 (exp(z) - 1 - z) / z^2 with z = b x
        with np.errstate(over="ignore"):
            exponent = -index_1 * x - expfactor * x**2 * exp_difference(index_2 * x)
        return amplitude * safe_exp(exponent)

    @property
    def e_peak(self) -> u.Quantity:
        r"""Energy at which :math:`E^2 dN/dE` is largest, TeV; NaN where there is none."""
        _, reference, expfactor, index_1, index_2 = self.values
        if expfactor <= 0:
            return np.nan * u.TeV
        # local index: index_1 + d/b ((E/E0)^b - 1)
        z = index_2 * (2 - index_1) / expfactor
        if z <= -1:
            return np.nan * u.TeV
        x = (2 - index_1) / expfactor * (np.log1p(z) / z if z else 1.0)
        return reference * np.exp(x) * u.TeV
