"""Integral fluxes of spectral models as a fit needs them: from a vector of values, remembered, without units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.quadrature import PANEL, POINTS
from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.spectral_model import SpectralModel

__all__ = ["SpectralFlux"]

FloatArray = NDArray[np.float64]

#: Names of parameters that scale a spectrum; whether they do is tried.
SCALES = ("amplitude", "norm", "const")
#: How many results are remembered: a gradient goes back and forth between a point and its neighbours.
REMEMBERED = 4


class SpectralFlux:
    """Flux of a spectral model in bins of energy, as a function of the values of all parameters of a fit.

    What was computed last is remembered by the values of the model's own parameters; a parameter that only scales the
    spectrum is no part of the memory's key.

    Parameters
    ----------
    model
        Spectral model. Values change, the model does not.
    parameters
        All parameters of the fit; their order is that of the values.
    low, high
        Edges of the bins in TeV, shape (n,).

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> model = PowerLawSpectralModel(index=2, amplitude="1e-9 cm-2 s-1 GeV-1")
    >>> flux = SpectralFlux(model, model.parameters, np.array([1.0]), np.array([10.0]))
    >>> scale, key = flux.split(model.parameters.values)
    >>> scale * flux.shape(*key)
    array([9.e-07])
    """

    def __init__(self, model: SpectralModel, parameters: Parameters, low: FloatArray, high: FloatArray) -> None:
        self.model, self.low, self.high = model, low, high
        self.factors = np.asarray(model.canonical_factors(), float)
        own = list(model.arguments())
        #: Place of each of the model's values among those of the fit.
        self.places = np.array([parameters.index_of(p) for p in own], np.intp)
        #: Flux for canonical values, not remembered; with `stretch` all energies are this factor lower.
        self.integral = self._function()
        #: Which value only scales the spectrum, None if none does.
        self.scale = self._find_scale(own)
        #: Whether all values but the scaling one are frozen.
        self.fixed_shape = all(p.frozen for i, p in enumerate(own) if i != self.scale)
        self._remember()

    def _remember(self) -> None:
        #: Flux for canonical values, the scaling one at 1.
        self.shape: Callable[..., FloatArray] = lru_cache(maxsize=REMEMBERED)(self.integral)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("shape", "integral")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.integral = self._function()
        self._remember()

    def _function(self) -> Callable[..., FloatArray]:
        return _integrator(self.model, self.low, self.high)

    @property
    def center(self) -> FloatArray:
        """Middle of the bins in TeV, where effective areas are known."""
        return np.sqrt(self.low * self.high)

    @property
    def scale_place(self) -> int | None:
        """Place of the scaling value among those of the fit."""
        return None if self.scale is None else int(self.places[self.scale])

    @property
    def scale_factor(self) -> float:
        """What turns the scaling value into canonical units."""
        return 1.0 if self.scale is None else float(self.factors[self.scale])

    def split(self, values: FloatArray) -> tuple[float, tuple[float, ...]]:
        """Return the scale, and the canonical values that give the shape.

        Parameters
        ----------
        values
            Values of all parameters of the fit in their units.
        """
        own = (values[self.places] * self.factors).tolist()
        if self.scale is None:
            return 1.0, tuple(own)
        scale = own[self.scale]
        own[self.scale] = 1.0
        return scale, tuple(own)

    def add_gradient(self, total: FloatArray, back: FloatArray, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the energies of a slope times the derivatives of the flux by the values with steps.

        Exact for a value that scales the spectrum; for others from the difference over a step to both sides.

        Parameters
        ----------
        total
            Derivatives by all values, changed in place.
        back
            Slope of what is minimised by the flux in each bin, shape (n,).
        values
            Values of all parameters of the fit.
        steps
            Steps by the places that have one.
        """
        # nothing is remembered of passing points
        for place in set(self.places.tolist()) & set(steps):
            if place == self.scale_place:
                total[place] += float(back @ self.shape(*self.split(values)[1])) * self.scale_factor
                continue
            step, ends = steps[place], []
            for side in (step, -step):
                moved = values.copy()
                moved[place] += side
                scale, key = self.split(moved)
                ends.append(scale * self.integral(*key))
            total[place] += float(back @ (ends[0] - ends[1])) / (2.0 * step)

    def _find_scale(self, own: list[Parameter]) -> int | None:
        """Find a value that scales the flux: by its name, and by trying it at the present values."""
        values = [p.value * f for p, f in zip(own, self.factors, strict=True)]
        for i, parameter in enumerate(own):
            # a value that stands in several places (linked) scales only if it does so in one
            if parameter.name not in SCALES or sum(p is parameter for p in own) > 1 or not self.low.size:
                continue
            with np.errstate(all="ignore"):
                one, two, none = (self.integral(*values[:i], x, *values[i + 1 :]) for x in (1.0, 2.0, 0.0))
            if (
                np.all(np.isfinite(one))
                and np.any(one != 0)
                and not np.any(none)
                and np.allclose(two, 2.0 * one, 1e-12, 0.0)
            ):
                return i
        return None


def _integrator(model: SpectralModel, low: FloatArray, high: FloatArray) -> Callable[..., FloatArray]:
    """Return the integral over fixed bins as a function of the values, with the nodes of a quadrature made once.

    With `stretch`, the bins are those of an instrument which sees all energies higher by this factor.
    """
    if type(model).evaluate_integral is not SpectralModel.evaluate_integral or not low.size:
        return lambda *values, stretch=1.0: model.evaluate_integral(low / stretch, high / stretch, *values)
    energy, weights = _nodes(low, high)

    def integral(*values: float, stretch: float = 1.0) -> FloatArray:
        if len(model.kinks(*values)):
            return model.evaluate_integral(low / stretch, high / stretch, *values)
        total = (model.evaluate(energy / stretch, *values) * weights).sum(axis=1)
        return np.asarray(total / stretch)

    return integral


def _nodes(low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Energies and weights of the quadrature of `xgamma.kernels.quadrature.log_integral`, shape (n, nodes)."""
    x, w = np.polynomial.legendre.leggauss(POINTS)
    span = np.log(high / low)
    number = max(1, int(np.ceil(np.max(span, initial=0.0) / PANEL)))
    position = ((np.arange(number)[:, None] + 0.5 * (x + 1.0)) / number).ravel()
    energy = low[:, None] * np.exp(span[:, None] * position)
    return energy, energy * (span[:, None] / number) * np.tile(0.5 * w, number)
