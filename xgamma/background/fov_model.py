"""The spectral part of a field-of-view background: which parameters are free, and what they make of sums."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xgamma.background.fov_norm import fit_norms, scale_norm
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.spectral_model import SpectralModel
from xgamma.reduction.run_norm import RunNorm

__all__ = ["FoVTask", "fov_task"]

FloatArray = NDArray[np.float64]
METHODS = ("scale", "fit")


@dataclass(frozen=True, eq=False)
class FoVTask:
    """Scales a background model to counts: a value that travels to workers.

    Parameters
    ----------
    method
        ``"scale"`` or ``"fit"``.
    model
        The factor as a function of energy.
    min_counts, min_npred
        There have to be more counts, and more predicted background events.
    """

    method: Literal["scale", "fit"]
    model: SpectralModel
    min_counts: float
    min_npred: float

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that the result tells, the energy to which they refer left out."""
        return tuple(p.name for p in self.model.parameters if p.name != "reference")

    @functools.cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters that are looked for."""
        return ("norm",) if self.method == "scale" else tuple(p.name for p in self.model.parameters if not p.frozen)

    @functools.cached_property
    def variables(self) -> dict[str, tuple[str, str]]:
        """Names, units and labels of the numbers of a run."""
        result = {}
        for name in self.names:
            # canonical, as everything in a cube
            units = self.model.canonical_units()[name]
            result[f"fov_{name}"] = units, f"{name.capitalize()} of the background model"
            result[f"fov_{name}_err"] = units, f"Error of the {name} of the background model"
        result["fov_counts"] = "", "Counts from which the background was scaled"
        result["fov_npred"] = "", "Background that the model predicted there"
        return result

    def describe(self) -> str:
        """Return the settings in words."""
        text = f"method={self.method}, free={list(self.free)}, spectral={self.model.tag[0]}"
        return f"{text}, min_counts={self.min_counts:g}, min_npred={self.min_npred:g}"

    def __call__(
        self, counts: FloatArray, background: FloatArray, energy: FloatArray, other: FloatArray | None = None
    ) -> RunNorm:
        """Return the norm of one run.

        Parameters
        ----------
        counts, background, other
            Counts, background model, and predicted events of other models, shape (n_energy,), or (n_energy, n) of
            single pixels, which a fit needs where there are other events.
        energy
            Centres of the bins in TeV, shape (n_energy,).
        """
        other = np.zeros_like(counts) if other is None else other
        factor = self._factor(energy, self._values())
        totals = {"fov_counts": float(counts.sum()), "fov_npred": float((background.T * factor).sum())}
        words = self._refused(totals["fov_counts"], totals["fov_npred"], float(other.sum()))
        if not words:
            found = self._found(counts, background, other, energy)
            if found is not None:
                values, errors = found
                factor = self._factor(energy, values)
                if np.isfinite(factor).all() and (factor >= 0).all():
                    numbers = {f"fov_{name}": values[name] for name in self.names}
                    numbers |= {f"fov_{name}_err": errors.get(name, 0.0) for name in self.names}
                    return RunNorm(factor, success=True, numbers=numbers | totals)
            words = f"the fit of {', '.join(self.free)} to {totals['fov_counts']:g} counts did not converge"
        return RunNorm(np.ones(len(energy)), success=False, numbers=totals, message=words)

    def _refused(self, counts: float, background: float, other: float) -> str:
        """Why these counts make no background, in words; empty where they do."""
        where = "in safe pixels outside the exclusion"
        if not background > 0 or not np.isfinite([counts, background, other]).all():
            return f"the model predicts {background:g} background events {where}"
        if background <= self.min_npred:
            return f"the model predicts {background:.6g} background events {where} (min_npred={self.min_npred:g})"
        if counts <= self.min_counts:
            return f"there are {counts:g} counts {where} (min_counts={self.min_counts:g})"
        if counts - other <= 0:
            return f"the other models predict {other:.6g} events {where}, there are {counts:g} counts"
        return ""

    def _values(self) -> dict[str, float]:
        """Parameters of the model; a norm that is looked for begins at 1."""
        values = {name: float(value) for name, value in self.model.canonical_values().items()}
        return {**values, "norm": 1.0} if "norm" in self.free else values

    def _factor(self, energy: FloatArray, values: Mapping[str, float]) -> FloatArray:
        factor = np.asarray(self.model.evaluate(energy, *values.values()), dtype=float)
        return np.broadcast_to(factor, energy.shape).copy()

    def _found(
        self, counts: FloatArray, background: FloatArray, other: FloatArray, energy: FloatArray
    ) -> tuple[dict[str, float], dict[str, float]] | None:
        """Values and errors of the parameters; None where a fit does not converge."""
        values = self._values()
        base = background.T * self._factor(energy, values)
        norm, error = scale_norm(float(counts.sum()), float(base.sum()), float(other.sum()))
        if "norm" in self.free:
            values["norm"] = norm
        if self.method == "scale":
            return values, {"norm": error}
        # bins of one energy share their factor: a row of bins for each
        bins = [np.reshape(a, (energy.size, -1)) for a in (counts, background, other)]
        rows = np.repeat(np.arange(energy.size), bins[0].shape[1])
        on, model, rest = (a.ravel() for a in bins)
        keep = (on > 0) | (model > 0) | (rest > 0)
        shape = functools.partial(self._shape, energy=energy, rows=rows[keep], fixed=values)
        curvature = functools.partial(self._curvature, energy=energy, rows=rows[keep], fixed=values)
        start = np.array([values[name] for name in self.free])
        fit = fit_norms(on[keep], model[keep], rest[keep], shape, curvature, start)
        if not fit.success:
            return None
        values |= {name: float(v) for name, v in zip(self.free, fit.values, strict=True)}
        errors = np.sqrt(np.diag(fit.covariance))
        return values, {name: float(e) for name, e in zip(self.free, errors, strict=True)}

    def _shape(
        self, free: FloatArray, *, energy: FloatArray, rows: NDArray[np.intp], fixed: Mapping[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        """Return the factor of each bin and its derivatives."""
        # in the order in which the model takes them
        values = {**fixed, **dict(zip(self.free, free.tolist(), strict=True))}
        return self._factor(energy, values)[rows], self._slopes(energy, values)[:, rows]

    def _slopes(self, energy: FloatArray, values: Mapping[str, float]) -> FloatArray:
        """Return derivatives of the factor at each energy, shape (k, n_energy)."""
        if self._is_power_law:
            log_energy = np.log(energy / values["reference"])
            power = np.exp(-values["tilt"] * log_energy)
            exact = {"norm": power, "tilt": -values["norm"] * log_energy * power}
            return np.stack([exact[name] for name in self.free])
        return np.stack([self._difference(self._factor, energy, values, name) for name in self.free])

    def _curvature(
        self, free: FloatArray, *, energy: FloatArray, rows: NDArray[np.intp], fixed: Mapping[str, float]
    ) -> FloatArray:
        """Return second derivatives of the factor of each bin."""
        values = {**fixed, **dict(zip(self.free, free.tolist(), strict=True))}
        if self._is_power_law:
            log_energy = np.log(energy / values["reference"])
            power = np.exp(-values["tilt"] * log_energy)
            both = -log_energy * power
            exact = {
                ("norm", "norm"): np.zeros_like(power),
                ("norm", "tilt"): both,
                ("tilt", "norm"): both,
                ("tilt", "tilt"): values["norm"] * log_energy**2 * power,
            }
            return np.stack([np.stack([exact[a, b] for b in self.free]) for a in self.free])[..., rows]
        curves = np.stack([self._difference(self._slopes, energy, values, name) for name in self.free])
        return 0.5 * (curves + curves.swapaxes(0, 1))[..., rows]

    @property
    def _is_power_law(self) -> bool:
        """Whether derivatives are known in closed form."""
        return type(self.model) is PowerLawNormSpectralModel and set(self.free) <= {"norm", "tilt"}

    @staticmethod
    def _difference(
        function: Callable[[FloatArray, Mapping[str, float]], FloatArray],
        energy: FloatArray,
        values: Mapping[str, float],
        name: str,
    ) -> FloatArray:
        """Return the derivative of a function by a parameter, from values on both sides."""
        step = 1e-4 * max(abs(values[name]), 1e-2)
        above, below = (function(energy, {**values, name: values[name] + sign * step}) for sign in (1, -1))
        return (above - below) / (2 * step)


def fov_task(
    method: str, spectral: SpectralModel | None, min_counts: float, min_npred: float, n_energy: int
) -> FoVTask:
    """Check the settings of a field-of-view background.

    Raises
    ------
    TypeError, ValueError
        If the method is not known, the model is no factor on another spectrum, or there is not enough to fit it to.
    """
    if method not in METHODS:
        msg = f"method={method!r} must be 'scale' or 'fit'"
        raise ValueError(msg)
    model = PowerLawNormSpectralModel() if spectral is None else spectral
    if not isinstance(model, SpectralModel):
        msg = f"spectral={model!r} must be a spectral model such as xgamma.PowerLawNormSpectralModel()"
        raise TypeError(msg)
    if len(model.arguments()) != len(model.own_parameters):
        msg = f"spectral={model.tag[0]} is made of other models; a background takes one with parameters of its own"
        raise ValueError(msg)
    if not model.is_norm:
        msg = f"spectral={model.tag[0]} is no factor on another spectrum; take for example a PowerLawNormSpectralModel"
        raise ValueError(msg)
    for name, value in (("min_counts", min_counts), ("min_npred", min_npred)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not value >= 0:
            msg = f"{name}={value!r} must be a number that is not negative"
            raise ValueError(msg)
    task = FoVTask("fit" if method == "fit" else "scale", model.copy(), float(min_counts), float(min_npred))
    if method == "scale":
        if "norm" not in model.parameters.names:
            msg = f"method='scale' needs a model with a norm, {model.tag[0]} has {model.parameters.names}; take 'fit'"
            raise ValueError(msg)
        freed = [p.name for p in model.parameters if not p.frozen and p.name != "norm"]
        if freed:
            msg = f"method='scale' finds the norm alone, but {freed} are free; take method='fit', or freeze them"
            raise ValueError(msg)
    elif not task.free:
        msg = f"spectral={model.tag[0]} has no free parameter; set model.norm.frozen = False"
        raise ValueError(msg)
    elif len(task.free) > n_energy:
        msg = f"{len(task.free)} free parameters {list(task.free)} are too many for {n_energy} energy bins; freeze some"
        raise ValueError(msg)
    return task
