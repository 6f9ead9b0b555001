"""Backgrounds and templates of counts on maps, scaled by a factor that may depend on energy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.map_contribution import MapContribution
from xgamma.models.parameter import Parameters
from xgamma.models.spectral_model import SpectralModel

__all__ = ["EnergyFactor", "FactorOfValues", "ScaledCounts"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


class EnergyFactor:
    """A spectral model without unit as a factor on each measured bin, taken at its central energy.

    Parameters
    ----------
    model
        Spectral model.
    parameters
        All parameters of the fit.
    energy
        Central energies in TeV, shape (n,).
    """

    def __init__(self, model: SpectralModel, parameters: Parameters, energy: FloatArray) -> None:
        self.model, self.energy = model, energy
        self.factors = np.asarray(model.canonical_factors(), float)
        self.places = np.array([parameters.index_of(p) for p in model.arguments()], np.intp)

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the factors for the values of all parameters, shape (n,)."""
        return np.asarray(self.model.evaluate(self.energy, *(values[self.places] * self.factors).tolist()), float)


class FactorOfValues:
    """A product of values of a fit, and of another factor on each measured bin if there is one.

    Parameters
    ----------
    places
        Places of the values.
    energy
        Central energies in TeV, shape (n,).
    other
        The other factor.
    """

    def __init__(self, places: tuple[int, ...], energy: FloatArray, other: EnergyFactor | None = None) -> None:
        self.energy, self._own, self._other = energy, list(places), other
        self.places = np.array([*places, *(() if other is None else other.places.tolist())], np.intp)

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the factors for the values of all parameters, shape (n,)."""
        whole = np.ones(self.energy.shape) if self._other is None else self._other(values)
        return whole * float(np.prod(values[self._own]))


class ScaledCounts(MapContribution):
    """Counts of a background or template, times a factor in each measured bin of energy.

    Parameters
    ----------
    name
        Name of the model.
    factor
        The factor.
    counts
        Counts for a factor of 1 in the bins that take part, shape (n,).
    energy
        Measured bin of each of them, ascending, shape (n,).
    """

    dense = True
    #: Whether it is the background of the cube, which `npred_signal` leaves out.
    is_background = False

    def __init__(self, name: str, factor: EnergyFactor | FactorOfValues, counts: FloatArray, energy: IntArray) -> None:
        self.name, self.factor, self.counts, self.energy = name, factor, counts, energy
        self.places = np.unique(factor.places)
        #: Counts in each measured bin.
        edges = np.searchsorted(energy, np.arange(factor.energy.size + 1))
        self.sums = np.array([counts[a:b].sum() for a, b in pairwise(edges)])

    def at(self, values: FloatArray, bins: Any) -> FloatArray:
        """Return the scaled counts in some bins."""
        return np.asarray(self.factor(values)[self.energy[bins]] * self.counts[bins])

    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all bins, and what is added to them."""
        return np.arange(self.counts.size), self.at(values, slice(None))

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add the scaled counts to the bins of the dataset, in place."""
        total += self.at(values, slice(None))

    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps."""
        weight = np.asarray(np.bincount(self.energy, slope[:] * self.counts, minlength=self.sums.size), float)
        self.add_energy_gradient(total, weight, values, steps)

    def add_energy_gradient(
        self, total: FloatArray, back: FloatArray, values: FloatArray, steps: Mapping[int, float]
    ) -> None:
        """Add the sum over energies of a slope by the factor times the derivatives of the factor."""
        for place in set(self.places.tolist()) & set(steps):
            ends = []
            for side in (steps[place], -steps[place]):
                moved = values.copy()
                moved[place] += side
                ends.append(self.factor(moved))
            total[place] += float(back @ (ends[0] - ends[1])) / (2.0 * steps[place])
