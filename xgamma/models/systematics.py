"""Systematic errors of an instrument: factors on its responses and background, as parameters with priors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from xgamma.models.component import Component, ParameterField
from xgamma.models.parameter import Parameter
from xgamma.models.prior import GaussianPrior, Prior
from xgamma.models.registry import nearest
from xgamma.models.sky_model import Model

__all__ = ["NuisanceFactors", "Systematics"]

#: What may be uncertain, with the value that changes nothing.
NOMINAL = {"energy_scale": 1.0, "aeff": 1.0, "aeff_tilt": 0.0, "background": 1.0, "psf": 1.0}


class NuisanceFactors(Component):
    """Factors on the responses and the background of an instrument, all frozen at the values that change nothing.

    Parameters
    ----------
    energy_scale, aeff, aeff_tilt, background, psf, reference
        See `Systematics`.

    Examples
    --------
    >>> NuisanceFactors(aeff=1.1).parameters.free.names
    []
    """

    kind = "nuisance"
    tag = ("NuisanceFactors",)
    energy_scale = ParameterField(1.0, frozen=True)
    aeff = ParameterField(1.0, frozen=True)
    aeff_tilt = ParameterField(0.0, frozen=True)
    background = ParameterField(1.0, frozen=True)
    psf = ParameterField(1.0, frozen=True)
    reference = ParameterField(1.0, "TeV", frozen=True)

    def unfreeze(self) -> None:
        """Free the parameters that have a prior."""
        for name, parameter in self._parameters.items():
            parameter.frozen = name == "reference" or parameter.prior is None


class Systematics(Model):
    r"""Systematic errors of an instrument as nuisance parameters.

    Each number is the width of a Gaussian prior, relative to what it belongs to: ``energy_scale=0.15`` says that the
    energies of the instrument are right to 15 %. What is not given stays as it is.

    Parameters
    ----------
    energy_scale
        Factor :math:`s` on all energies of the instrument: a photon of energy :math:`E` is seen as one of :math:`s E`.
    aeff
        Factor on the exposure.
    aeff_tilt
        Exponent :math:`t` of a factor :math:`(E / E_0)^t` on the exposure; its prior is centred on 0.
    background
        Factor on the background of a cube, or on the ratio of on to off acceptance where it is measured in off regions.
    psf
        Factor on the width of the point spread function (maps).
    reference
        Energy :math:`E_0` of the tilt.
    name
        Name, unique among the models of a fit.
    datasets_names
        Names of the datasets (or runs) that share these factors: those of one instrument. None for all.

    Raises
    ------
    ValueError
        If nothing is uncertain, or a width is not a positive number.

    Notes
    -----
    Instead of a width, a prior (`xgamma.GaussianPrior` and others, on the factor itself) or a `Parameter` may be given:
    the latter links instruments. Several of these models on one dataset multiply.

    With a shifted energy scale, the instrument sees :math:`\phi_s(E') = \phi(E' / s) / s`; exposure, point spread
    function and energy dispersion stay functions of :math:`E'`, for which they were simulated [1]_.

    References
    ----------
    .. [1] C. Nigro et al., A&A 625, A10 (2019), arXiv:1903.06621, section 4.2.

    Examples
    --------
    >>> magic = Systematics(energy_scale=0.15, aeff=0.1, name="magic-syst", datasets_names=["magic"])
    >>> magic.parameters.free.names
    ['energy_scale', 'aeff']
    >>> magic.nuisance.energy_scale.prior
    GaussianPrior(mu=1, sigma=0.15)
    """

    tag = ("Systematics",)
    keys = ("name", "datasets_names")

    def __init__(
        self,
        energy_scale: float | Prior | Parameter | None = None,
        aeff: float | Prior | Parameter | None = None,
        aeff_tilt: float | Prior | Parameter | None = None,
        background: float | Prior | Parameter | None = None,
        psf: float | Prior | Parameter | None = None,
        *,
        reference: Any = "1 TeV",
        name: str = "systematics",
        datasets_names: str | Iterable[str] | None = None,
        nuisance: NuisanceFactors | None = None,
    ) -> None:
        super().__init__(name, datasets_names)
        given = {"energy_scale": energy_scale, "aeff": aeff, "aeff_tilt": aeff_tilt, "background": background,
                 "psf": psf}  # fmt: skip
        wanted = {key: value for key, value in given.items() if value is not None}
        if nuisance is None:
            if not wanted:
                msg = f"{name!r} says of nothing that it is uncertain: give the width of one of {list(NOMINAL)}, as 0.1"
                raise ValueError(msg)
            nuisance = NuisanceFactors(
                reference=reference, **{k: _parameter(name, k, value) for k, value in wanted.items()}
            )
        elif wanted or not isinstance(nuisance, NuisanceFactors):
            msg = f"nuisance={nuisance!r} of {name!r} must be NuisanceFactors, which stand instead of the widths"
            raise TypeError(msg)
        #: The factors.
        self.nuisance = nuisance

    @property
    def components(self) -> Mapping[str, Component]:
        """The factors, as ``nuisance``."""
        return {"nuisance": self.nuisance}

    @classmethod
    def from_settings(cls, components: Mapping[str, Component], settings: Mapping[str, Any]) -> Self:
        """Make a model from its factors and what `settings` returned."""
        if set(components) != {"nuisance"}:
            other = next((k for k in components if k != "nuisance"), None)
            problem = "it needs 'nuisance'" if other is None else f"no key {other!r}{nearest(other, ['nuisance'])}"
            msg = f"Systematics: {problem}"
            raise ValueError(msg)
        return super().from_settings(components, settings)


def _parameter(model: str, name: str, given: Any) -> Parameter:
    """A free parameter with its prior."""
    if isinstance(given, Parameter):
        return given
    nominal = NOMINAL[name]
    if isinstance(given, Prior):
        return Parameter(name, nominal, prior=given)
    if isinstance(given, bool) or not isinstance(given, (int, float, np.integer, np.floating)):
        msg = f"{name}={given!r} of {model!r} must be a relative width, such as 0.1, a prior or a Parameter"
        raise TypeError(msg)
    if not (np.isfinite(given) and given > 0):
        msg = f"{name}={given!r} of {model!r} must be a positive width, such as 0.1 for 10 %; leave out what is exact"
        raise ValueError(msg)
    return Parameter(name, nominal, prior=GaussianPrior(nominal, float(given)))
