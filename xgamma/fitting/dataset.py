"""Compiled datasets: plain arrays and functions of a vector of values, the parts of a joint likelihood.

A dataset of another kind (maps, flux points, or many datasets kept by a worker) needs no more than what
`CompiledDataset` names. A model in a dataset is a `Contribution`, which may fill a part of the bins only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.flux import REMEMBERED, SpectralFlux
from xgamma.fitting.likelihood import Statistic
from xgamma.models.prior import Prior

__all__ = ["BinnedDataset", "CompiledDataset", "Contribution", "Likelihood", "PriorTerm", "SpectralContribution"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


class CompiledDataset(Protocol):
    """A part of a likelihood. `values` are those of all parameters of the fit, in their units, shape (n,)."""

    @property
    def name(self) -> str:
        """Name of the dataset."""

    @property
    def places(self) -> IntArray:
        """Places among the values on which the dataset depends."""

    @property
    def n_bins(self) -> int:
        """Number of bins that take part."""

    @property
    def constant(self) -> float:
        """What `stat` has beyond `deviance`."""

    @property
    def data_sums(self) -> tuple[float, float]:
        """Sums of the absolute measured values and of their squares, which tell other data apart."""

    def deviance(self, values: FloatArray) -> float:
        """Return the statistic without the terms that no model changes."""

    def gradient(self, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
        """Return the derivative of the deviance by all values; by steps for the places that have one, 0 elsewhere."""

    def stat_per_label(self, values: FloatArray) -> dict[str, float]:
        """Return the statistic of each part that has a name of its own, such as a run."""


class Contribution(Protocol):
    """A model in a dataset."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def places(self) -> IntArray:
        """Places among the values on which it depends."""

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add what is predicted to the bins of the dataset, in place."""

    def add_gradient(
        self, total: FloatArray, slope: FloatArray, values: FloatArray, steps: Mapping[int, float]
    ) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps."""


class SpectralContribution:
    """A spectrum folded through a response.

    Parameters
    ----------
    name
        Name of the model.
    flux
        Flux in the bins of energy of the response.
    matrix
        Response, shape (n, k), cm2 s.
    """

    def __init__(self, name: str, flux: SpectralFlux, matrix: FloatArray) -> None:
        self.name, self.flux, self.matrix = name, flux, matrix
        self._remember()

    def _remember(self) -> None:
        # a parameter that only scales the spectrum does not fold it again
        self._folded: Callable[..., FloatArray] = lru_cache(maxsize=REMEMBERED)(self._fold)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_folded"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def _fold(self, *key: float) -> FloatArray:
        return np.asarray(self.matrix @ self.flux.shape(*key))

    @property
    def places(self) -> IntArray:
        """Places among the values on which it depends."""
        return self.flux.places

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add what is predicted to the bins of the dataset, in place."""
        scale, key = self.flux.split(values)
        total += scale * self._folded(*key)

    def add_gradient(
        self, total: FloatArray, slope: FloatArray, values: FloatArray, steps: Mapping[int, float]
    ) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps.

        Exact for a value that scales the spectrum; for others from the difference over a step to both sides.
        """
        # fold the slope back, not the flux of each step: one product
        self.flux.add_gradient(total, slope @ self.matrix, values, steps)


@dataclass(eq=False)
class BinnedDataset:
    """Measured bins, the models that reach them, and the statistic that compares both.

    Parameters
    ----------
    name
        Name of the dataset.
    labels
        Names of its parts (runs, regions), in the order of the cube; the name of the dataset if it has none.
    part
        To which part each bin belongs, shape (n,).
    statistic
        Fit statistic of the bins.
    contributions
        The models.
    kept
        Bins of the cube that take part, dims of its counts.
    background
        Places of factors on the background, which multiply.
    """

    name: str
    labels: tuple[str, ...]
    part: IntArray
    statistic: Statistic
    contributions: tuple[Contribution, ...]
    kept: NDArray[np.bool_]
    background: tuple[int, ...] = ()
    places: IntArray = field(init=False)

    def __post_init__(self) -> None:
        own = [c.places for c in self.contributions]
        self.places = np.unique(np.concatenate([*own, np.array(self.background, np.intp)]))
        self._remember()

    def _remember(self) -> None:
        self._scaled_statistic: Callable[[float], Statistic] = lru_cache(maxsize=REMEMBERED)(self._statistic_of)
        # in a joint fit a step of one parameter leaves most datasets as they are
        self._deviance: Callable[[bytes], float] = lru_cache(maxsize=REMEMBERED)(self._deviance_of)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_deviance", "_scaled_statistic")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def _statistic_of(self, factor: float) -> Statistic:
        return self.statistic.scaled(factor)

    def statistic_at(self, values: FloatArray) -> Statistic:
        """Return the statistic with the background as the values scale it."""
        if not self.background:
            return self.statistic
        return self._scaled_statistic(float(np.prod([values[place] for place in self.background])))

    @property
    def n_bins(self) -> int:
        """Number of bins that take part."""
        return int(self.part.size)

    @property
    def constant(self) -> float:
        """What `stat` has beyond `deviance`."""
        return self.statistic.constant

    @property
    def data_sums(self) -> tuple[float, float]:
        """Sums of the absolute measured values and of their squares, which tell other data apart."""
        measured = np.nan_to_num(self.statistic.measured)  # upper limits have no value
        return float(np.abs(measured).sum()), float((measured**2).sum())

    def npred_signal(self, values: FloatArray) -> FloatArray:
        """Return the counts that the models predict in the bins, shape (n,)."""
        total = np.zeros(self.part.size)
        for contribution in self.contributions:
            contribution.add_to(total, values)
        return total

    def npred(self, values: FloatArray) -> FloatArray:
        """Return the predicted counts with the background, for on-off counts the best one, shape (n,)."""
        signal = self.npred_signal(values)
        return signal + self.statistic_at(values).background(signal)

    def deviance(self, values: FloatArray) -> float:
        """Return the statistic without the terms that no model changes."""
        return self._deviance(values[self.places].tobytes())

    def _deviance_of(self, own: bytes) -> float:
        values = np.zeros(int(self.places.max(initial=-1)) + 1)
        values[self.places] = np.frombuffer(own)
        return self.statistic_at(values).deviance(self.npred_signal(values))

    def gradient(self, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
        """Return the derivative of the deviance by all values; by steps for the places that have one, 0 elsewhere."""
        result = np.zeros(values.size)
        signal = self.npred_signal(values)
        slope = self.statistic_at(values).derivative(signal)
        for contribution in self.contributions:
            contribution.add_gradient(result, slope, values, steps)
        self.add_background_gradient(result, signal, values, steps)
        return result

    def add_background_gradient(
        self, total: FloatArray, signal: FloatArray, values: FloatArray, steps: Mapping[int, float]
    ) -> None:
        """Add the derivatives of the deviance by the factors on the background that have steps."""
        for place in set(self.background) & set(steps):
            ends = []
            for side in (steps[place], -steps[place]):
                moved = values.copy()
                moved[place] += side
                ends.append(self.statistic_at(moved).deviance(signal))
            total[place] += (ends[0] - ends[1]) / (2.0 * steps[place])

    def stat(self, values: FloatArray) -> float:
        """Return the statistic."""
        return self.deviance(values) + self.constant

    def stat_per_bin(self, values: FloatArray) -> FloatArray:
        """Return the statistic of each bin, shape (n,)."""
        return self.statistic_at(values).per_bin(self.npred_signal(values))

    def stat_per_label(self, values: FloatArray) -> dict[str, float]:
        """Return the statistic of each part that has a name of its own, such as a run."""
        sums = np.bincount(self.part, self.stat_per_bin(values), minlength=len(self.labels))
        return dict(zip(self.labels, sums.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class PriorTerm:
    """Prior of the parameter at one place; `factor` turns its values into the unit of the prior."""

    place: int
    prior: Prior
    factor: float

    def stat(self, values: FloatArray) -> float:
        """Return ``-2 log p``, inf where the density is zero."""
        return float(self.prior(values[self.place] * self.factor))


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Sum of datasets and priors, as a function of the values of all parameters of a fit.

    Parameters
    ----------
    datasets
        The parts of the sum.
    priors
        Priors of free parameters.

    Notes
    -----
    The statistic is ``-2 log L`` up to a constant: that of each dataset in the convention of its kind, plus
    ``-2 log p`` of each prior.
    """

    datasets: tuple[CompiledDataset, ...]
    priors: tuple[PriorTerm, ...] = ()

    @property
    def places(self) -> IntArray:
        """Places among the values on which the likelihood depends."""
        own: Iterable[IntArray] = [d.places for d in self.datasets]
        return np.unique(np.concatenate([*own, np.array([p.place for p in self.priors], np.intp)]))

    @property
    def n_bins(self) -> int:
        """Number of bins that take part."""
        return sum(d.n_bins for d in self.datasets)

    @property
    def constant(self) -> float:
        """What `stat` has beyond `deviance`."""
        return float(sum(d.constant for d in self.datasets))

    def deviance(self, values: FloatArray) -> float:
        """Return the statistic without the terms that no model changes: what is minimised."""
        total = sum(d.deviance(values) for d in self.datasets)
        return total + self.prior_stat(values) if self.priors else float(total)

    def gradient(self, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
        """Return the derivative of the deviance by all values; by steps for the places that have one, 0 elsewhere."""
        result = self.gradient_of_datasets(values, steps)
        for term in self.priors:
            if term.place in steps:
                step = steps[term.place]
                ends = [float(term.prior((values[term.place] + side) * term.factor)) for side in (step, -step)]
                result[term.place] += (ends[0] - ends[1]) / (2.0 * step)
        return np.asarray(result)

    def gradient_of_datasets(self, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
        """Return the derivative without the priors."""
        return np.asarray(np.sum([d.gradient(values, steps) for d in self.datasets], axis=0))

    def deviances(self, points: FloatArray) -> FloatArray:
        """Return the deviance at several values, shape (points,)."""
        return np.array([self.deviance(values) for values in points])

    def undefined(self, values: FloatArray) -> list[str]:
        """Return the names of datasets whose statistic is not a finite number."""
        return [d.name for d in self.datasets if not np.isfinite(d.deviance(values))]

    def prior_stat(self, values: FloatArray) -> float:
        """Return the sum of the priors."""
        return float(sum(p.stat(values) for p in self.priors))

    def stat(self, values: FloatArray) -> float:
        """Return the statistic."""
        return self.deviance(values) + self.constant

    def stat_per_dataset(self, values: FloatArray) -> dict[str, float]:
        """Return the statistic of each dataset, run by run where a cube has runs."""
        return {label: stat for d in self.datasets for label, stat in d.stat_per_label(values).items()}
