"""Factors on other spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.spectra import power_integral
from xgamma.models.component import ParameterField
from xgamma.models.cutoff import cutoff_power_law
from xgamma.models.parameter import Parameter
from xgamma.models.power_law import power_law, power_law_pivot
from xgamma.models.spectral_model import SpectralModel
from xgamma.models.table import as_quantity, checked_nodes

__all__ = [
    "ExpCutoffPowerLawNormSpectralModel",
    "PiecewiseNormSpectralModel",
    "PowerLawNormSpectralModel",
    "ScaleSpectralModel",
]

FloatArray = NDArray[np.float64]


class PowerLawNormSpectralModel(SpectralModel):
    r"""Factor on another spectrum, :math:`N (E / E_0)^{-\Delta\Gamma}`.

    Parameters
    ----------
    tilt
        :math:`\Delta\Gamma`, frozen: what adds to the index of the other spectrum.
    norm
        :math:`N`.
    reference
        :math:`E_0`, frozen.

    Examples
    --------
    >>> PowerLawNormSpectralModel(norm=2, tilt=1)("10 TeV")
    <Quantity 0.2>
    """

    tag = ("PowerLawNormSpectralModel", "pl-norm")
    tilt = ParameterField(0.0, frozen=True)
    norm = ParameterField(1.0)
    reference = ParameterField(1.0, "TeV", frozen=True)

    def evaluate(self, energy: FloatArray, tilt: float, norm: float, reference: float) -> FloatArray:  # type: ignore[override]
        """Return the factor."""
        return norm * power_law(energy, tilt, reference)

    def evaluate_integral(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, tilt: float, norm: float, reference: float
    ) -> FloatArray:
        """Return the integral in TeV, in closed form."""
        return norm * reference * power_integral(energy_min / reference, energy_max / reference, -tilt)

    def evaluate_energy_flux(  # type: ignore[override]
        self, energy_min: FloatArray, energy_max: FloatArray, tilt: float, norm: float, reference: float
    ) -> FloatArray:
        """Return the integral of energy times the factor in TeV2, in closed form."""
        return norm * reference**2 * power_integral(energy_min / reference, energy_max / reference, 1.0 - tilt)

    def pivot_energy(self, energy_min: object = None, energy_max: object = None) -> u.Quantity:
        """Return the energy at which the relative error is smallest, in closed form; NaN where the tilt has none."""
        return power_law_pivot(self, "norm", "tilt")


class ExpCutoffPowerLawNormSpectralModel(SpectralModel):
    r"""Factor on another spectrum, :math:`N (E / E_0)^{-\Gamma} \exp(-(\lambda E)^\alpha)`.

    Parameters
    ----------
    index
        :math:`\Gamma`.
    norm
        :math:`N`.
    reference
        :math:`E_0`, frozen.
    lambda_
        :math:`\lambda`, the inverse of the cutoff energy.
    alpha
        :math:`\alpha`, frozen.

    Examples
    --------
    >>> ExpCutoffPowerLawNormSpectralModel(norm=2, lambda_="0 TeV-1")("10 TeV")
    <Quantity 2.>
    """

    tag = ("ExpCutoffPowerLawNormSpectralModel", "ecpl-norm")
    index = ParameterField(0.0)
    norm = ParameterField(1.0)
    reference = ParameterField(1.0, "TeV", frozen=True)
    lambda_ = ParameterField(0.1, "TeV-1")
    alpha = ParameterField(1.0, frozen=True)

    def evaluate(  # type: ignore[override]
        self, energy: FloatArray, index: float, norm: float, reference: float, lambda_: float, alpha: float
    ) -> FloatArray:
        """Return the factor."""
        return cutoff_power_law(energy, index, norm, reference, lambda_, alpha)


class PiecewiseNormSpectralModel(SpectralModel):
    r"""Factor on another spectrum that is free at some energies and interpolated between.

    Parameters
    ----------
    energy
        Energies of the nodes, quantity of shape (n,), ascending, at least two.
    norms
        Factors at the nodes, 1 by default: numbers, or `Parameter` objects.
    interp
        ``"log"``: power laws between the nodes; norms must not be negative, and next to a norm of 0 the factor is 0.
        ``"lin"``: straight lines in energy. Beyond the nodes the factor is that of the nearest.

    Notes
    -----
    The parameters are ``norm_0``, ``norm_1``, ...; with ``interp="log"`` they have a lower limit of 0.

    Examples
    --------
    >>> model = PiecewiseNormSpectralModel(["1 TeV", "100 TeV"], norms=[1, 4])
    >>> model("10 TeV")
    <Quantity 2.>
    """

    tag = ("PiecewiseNormSpectralModel", "piecewise-norm")

    def __init__(self, energy: Any, norms: Any = None, interp: str = "log") -> None:
        super().__init__()
        self._nodes = checked_nodes(energy, "energy")
        given = [1.0] * self._nodes.size if norms is None else list(norms)
        if len(given) != self._nodes.size:
            msg = f"there are {len(given)} norms for {self._nodes.size} energies"
            raise ValueError(msg)
        if interp not in ("log", "lin"):
            msg = f"interp={interp!r} must be 'log' or 'lin'"
            raise ValueError(msg)
        self.interp = interp
        low = 0.0 if interp == "log" else np.nan
        made = [n if isinstance(n, Parameter) else Parameter(f"norm_{i}", n, min=low) for i, n in enumerate(given)]
        self._parameters = {f"norm_{i}": parameter for i, parameter in enumerate(made)}
        if interp == "log" and any(p.value < 0 for p in made):
            msg = "norms must not be negative with interp='log'; take interp='lin'"
            raise ValueError(msg)

    @property
    def energy(self) -> u.Quantity:
        """Energies of the nodes."""
        return self._nodes * u.TeV

    @property
    def norms(self) -> FloatArray:
        """Factors at the nodes."""
        return np.array(self.values)

    def evaluate(self, energy: FloatArray, *norms: float) -> FloatArray:
        """Return the factor."""
        if self.interp == "lin":
            return np.asarray(np.interp(energy, self._nodes, norms))
        with np.errstate(divide="ignore"):
            logs = np.log(np.clip(norms, 0.0, None))
        x = np.log(np.clip(energy, self._nodes[0], self._nodes[-1]))
        nodes = np.log(self._nodes)
        i = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, nodes.size - 2)
        weight = (x - nodes[i]) / (nodes[i + 1] - nodes[i])
        with np.errstate(invalid="ignore"):  # 0 times minus infinity where a norm of 0 has no weight
            parts = np.where(weight < 1, (1 - weight) * logs[i], 0.0) + np.where(weight > 0, weight * logs[i + 1], 0.0)
        return np.exp(parts)

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the nodes."""
        return list(self._nodes)

    def settings(self) -> dict[str, Any]:
        """Return the energies and the interpolation by the keys of a file."""
        return {"energy": self.energy, "interp": self.interp}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its norms and what `settings` returned."""
        if "energy" not in settings:
            msg = f"{cls.__name__} needs the key 'energy': the energies of its norms"
            raise ValueError(msg)
        energy = as_quantity(settings["energy"])
        norms = [parameters.get(f"norm_{i}", 1.0) for i in range(np.size(energy))]
        unknown = [name for name in parameters if name not in {f"norm_{i}" for i in range(len(norms))}]
        if unknown:
            msg = f"{cls.__name__} has no parameter {unknown[0]!r}: it has {len(norms)} norms from 'norm_0' on"
            raise TypeError(msg)
        return cls(energy, norms, settings.get("interp", "log"))


class ScaleSpectralModel(SpectralModel):
    """Another spectrum times a norm; the parameters of the other are fixed.

    Parameters
    ----------
    model
        Spectral model; a copy is kept.
    norm
        Factor.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> ScaleSpectralModel(PowerLawSpectralModel(), norm=3)("1 TeV")
    <Quantity 3.e-12 1 / (TeV s cm2)>
    """

    tag = ("ScaleSpectralModel", "scale")
    norm = ParameterField(1.0)

    def __init__(self, model: SpectralModel, norm: Any = 1.0) -> None:
        if not isinstance(model, SpectralModel):
            msg = f"model={model!r} is not a spectral model"
            raise TypeError(msg)
        super().__init__(norm=norm)
        self.model = model.copy()

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return self.model.unit

    def evaluate(self, energy: FloatArray, norm: float) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        return norm * self.model.evaluate(energy, *self.model.values)

    def evaluate_integral(self, energy_min: FloatArray, energy_max: FloatArray, norm: float) -> FloatArray:  # type: ignore[override]
        """Return the integral in canonical units, as the other model has it."""
        return norm * self.model.evaluate_integral(energy_min, energy_max, *self.model.values)

    def evaluate_energy_flux(self, energy_min: FloatArray, energy_max: FloatArray, norm: float) -> FloatArray:  # type: ignore[override]
        """Return the energy flux in canonical units, as the other model has it."""
        return norm * self.model.evaluate_energy_flux(energy_min, energy_max, *self.model.values)

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the kinks of the other model."""
        return self.model.kinks(*self.model.values)

    def settings(self) -> dict[str, Any]:
        """Return the other model by the key of a file."""
        return {"model": self.model}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its norm and what `settings` returned."""
        if "model" not in settings:
            msg = f"{cls.__name__} needs the key 'model': the spectrum that it scales (files of gammapy leave it out)"
            raise ValueError(msg)
        return cls(settings["model"], **parameters)

    def __repr__(self) -> str:
        return f"ScaleSpectralModel({self.model!r}, norm={self.norm.value:g})"
