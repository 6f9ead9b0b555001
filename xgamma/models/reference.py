"""Spectra to compare with: the Crab nebula, and cosmic rays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xgamma.models.component import ParameterField
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.gaussian import LogGaussianSpectralModel
from xgamma.models.log_parabola import LogParabolaSpectralModel
from xgamma.models.power_law import FLUX, PowerLawSpectralModel
from xgamma.models.registry import nearest
from xgamma.models.spectral_model import SpectralModel

__all__ = ["MeyerCrabSpectralModel", "create_cosmic_ray_spectral_model", "create_crab_spectral_model"]

FloatArray = NDArray[np.float64]

#: Coefficients of log10(E2 dN/dE / (erg cm-2 s-1)) in powers of log10(E / TeV), from the highest power down.
MEYER = (-0.00449161, 0.0, 0.0473174, -0.179475, -0.53616, -10.2708)
#: erg in a TeV.
ERG = 1.602176634


class MeyerCrabSpectralModel(SpectralModel):
    r"""Crab nebula from 1 GeV to 100 TeV: a polynomial in the logarithms of energy and of :math:`E^2 dN/dE`.

    Parameters
    ----------
    norm
        Factor, frozen.

    References
    ----------
    Meyer, Horns, Zechlin 2010, A&A 523, A2.

    Examples
    --------
    >>> MeyerCrabSpectralModel()("1 TeV")
    <Quantity 3.34572011e-11 1 / (TeV s cm2)>
    """

    tag = ("MeyerCrabSpectralModel", "meyer-crab")
    norm = ParameterField(1.0, frozen=True)

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return FLUX

    def evaluate(self, energy: FloatArray, norm: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        energy = np.asarray(energy)
        return norm * 10.0 ** np.polyval(MEYER, np.log10(energy)) / (ERG * energy**2)


#: Spectra of the Crab nebula by name.
CRAB: dict[str, Callable[[], SpectralModel]] = {
    "meyer": MeyerCrabSpectralModel,
    "hegra": lambda: PowerLawSpectralModel(index=2.62, amplitude=2.83e-11),
    "hess_pl": lambda: PowerLawSpectralModel(index=2.63, amplitude=3.45e-11),
    "hess_ecpl": lambda: ExpCutoffPowerLawSpectralModel(index=2.39, amplitude=3.76e-11, lambda_=1.0 / 14.3),
    "magic_lp": lambda: LogParabolaSpectralModel.from_log10("3.23e-11 cm-2 s-1 TeV-1", "1 TeV", 2.47, 0.24),
    "magic_ecpl": lambda: ExpCutoffPowerLawSpectralModel(index=2.21, amplitude=3.80e-11, lambda_=1.0 / 6.0),
}


def create_crab_spectral_model(reference: str = "meyer") -> SpectralModel:
    """Return a measured spectrum of the Crab nebula.

    Parameters
    ----------
    reference
        ``"meyer"`` (1 GeV to 100 TeV), ``"hegra"``, ``"hess_pl"``, ``"hess_ecpl"``, ``"magic_lp"`` or ``"magic_ecpl"``.

    Returns
    -------
    SpectralModel

    Raises
    ------
    ValueError
        If the name is not known.

    References
    ----------
    Meyer et al. 2010, A&A 523, A2; Aharonian et al. 2000, ApJ 539, 317 (HEGRA); Aharonian et al. 2006, A&A 457, 899
    (H.E.S.S.); Aleksić et al. 2015, JHEAp 5-6, 30 (MAGIC).

    Examples
    --------
    >>> create_crab_spectral_model("hess_pl").integral("1 TeV", "100 TeV")
    <Quantity 2.115...e-11 1 / (s cm2)>
    """
    if reference not in CRAB:
        msg = f"reference={reference!r} is no spectrum of the Crab nebula{nearest(str(reference), CRAB)}"
        raise ValueError(msg)
    return CRAB[reference]()


#: Index and brightness at 1 TeV in TeV-1 m-2 s-1 sr-1 of cosmic rays.
COSMIC_RAYS = {
    "proton": (2.70, 9.6e-2),
    "N": (2.64, 7.19e-2),
    "Si": (2.66, 2.84e-2),
    "Fe": (2.63, 1.34e-2),
    "electron": (3.21, 6.85e-5),
}


def create_cosmic_ray_spectral_model(particle: str = "proton") -> SpectralModel:
    """Return the spectrum of a cosmic ray from 10 GeV to 100 TeV, integrated over the full sphere (4 pi sr).

    Parameters
    ----------
    particle
        ``"proton"``, ``"N"``, ``"Si"``, ``"Fe"`` or ``"electron"``; electrons have a bump near 0.1 TeV.

    Returns
    -------
    SpectralModel
        Flux in m-2 s-1 TeV-1; divided by 4 pi it is per sr.

    Raises
    ------
    ValueError
        If the particle is not known.

    References
    ----------
    Bernlöhr et al. 2013, Astropart. Phys. 43, 171, section 3.

    Examples
    --------
    >>> create_cosmic_ray_spectral_model("proton").amplitude.quantity.round(4)
    <Quantity 1.2064 1 / (TeV s m2)>
    """
    if particle not in COSMIC_RAYS:
        msg = f"particle={particle!r} is not known{nearest(str(particle), COSMIC_RAYS)}"
        raise ValueError(msg)
    index, brightness = COSMIC_RAYS[particle]
    sphere = 4.0 * np.pi
    spectrum = PowerLawSpectralModel(index=index, amplitude=f"{brightness * sphere!r} m-2 s-1 TeV-1")
    if particle != "electron":
        return spectrum
    return spectrum + LogGaussianSpectralModel(L=f"{3.19e-3 * sphere!r} m-2 s-1", Ep="0.107 TeV", w=0.776)
