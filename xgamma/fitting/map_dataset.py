"""The likelihood of a map: bins that no source reaches cost nothing.

The Cash statistic of a map is that of its background alone, in closed form for each energy, plus the change that
sources make in the bins that they reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.dataset import BinnedDataset
from xgamma.fitting.flux import REMEMBERED
from xgamma.fitting.likelihood import CashStatistic
from xgamma.fitting.map_background import ScaledCounts
from xgamma.fitting.map_contribution import MapContribution
from xgamma.kernels.stats import TRUNCATION

__all__ = ["MapDataset"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Base:
    """What fills the map, before the sources that reach a part of it.

    Either `counts` in all bins; or, for a scaled background alone, its factor in each bin of energy.
    """

    deviance: float
    counts: FloatArray | None
    factor: FloatArray | None
    scaled: ScaledCounts | None

    def at(self, bins: IntArray) -> FloatArray:
        """Return the counts in some bins."""
        if self.counts is not None:
            return self.counts[bins]
        assert self.scaled is not None
        assert self.factor is not None
        return np.asarray(self.factor[self.scaled.energy[bins]] * self.scaled.counts[bins])


class _Slope:
    """Derivative of the Cash statistic by the prediction, in the bins that are asked for."""

    def __init__(self, base: _Base, counts: FloatArray, added: FloatArray | None) -> None:
        self._base, self._counts, self._added = base, counts, added

    def __getitem__(self, bins: Any) -> FloatArray:
        where = np.arange(self._counts.size) if isinstance(bins, slice) else bins
        mu = self._base.at(where)
        if self._added is not None:
            mu = mu + self._added[where]
        positive = mu > TRUNCATION
        return np.where(positive, 2.0 - 2.0 * self._counts[where] / np.where(positive, mu, 1.0), 0.0)


@dataclass(eq=False)
class MapDataset(BinnedDataset):
    r"""Bins of a map; parameters as for `BinnedDataset`, contributions are those of maps.

    Notes
    -----
    With a background :math:`f_E b` the statistic is
    :math:`2 \sum_E (f_E B_E - N_E \ln f_E) + \mathrm{const} + 2 \sum (s - n \ln(1 + s / f b))`, where the second
    sum is over bins that a source reaches. Other statistics, weights, and factors that are not positive go the long
    way.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        own: list[MapContribution] = [c for c in self.contributions if isinstance(c, MapContribution)]
        cash = isinstance(self.statistic, CashStatistic) and self.statistic.weights is None
        self._fast = cash and len(own) == len(self.contributions) and not self.background
        self._sort()

    def _sort(self) -> None:
        """Tell sources that fill the map from those that reach a part of it."""
        own = [c for c in self.contributions if isinstance(c, MapContribution)]
        self._dense = [c for c in own if c.dense]
        self._sparse = [c for c in own if not c.dense]
        places = [c.places for c in self._dense]
        self._dense_places = np.unique(np.concatenate(places)) if places else np.array([], np.intp)
        self._remember()
        self._scaled: ScaledCounts | None = None
        if self._fast:
            assert isinstance(self.statistic, CashStatistic)
            alone = self._dense[0] if len(self._dense) == 1 else None
            if isinstance(alone, ScaledCounts) and not self.statistic.known.any() and alone.counts.min(initial=0) >= 0:
                self._scaled = alone
                n, b = self.statistic.counts, alone.counts
                filled = np.flatnonzero(n)
                n, b = n[filled], b[filled]
                self._logs = float(np.sum(n * np.log(n / np.maximum(b, TRUNCATION))))
                #: Counts where there is a background: only they see its factor.
                seen = np.where(b > TRUNCATION, n, 0.0)
                self._seen = np.bincount(alone.energy[filled], seen, minlength=alone.sums.size)

    def _remember(self) -> None:
        super()._remember()
        self._zeros: FloatArray | None = None
        self._base: Callable[[bytes], _Base] = lru_cache(maxsize=REMEMBERED)(self._base_of)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k not in ("_base", "_zeros")}

    # ------------------------------------------------------------------ predictions
    def _npred_models(self, values: FloatArray) -> FloatArray:
        return super().npred_signal(values)

    def npred_signal(self, values: FloatArray) -> FloatArray:
        """Return the counts that sources predict in the bins, without scaled backgrounds, shape (n,)."""
        total = np.zeros(self.part.size)
        for contribution in self.contributions:
            if not getattr(contribution, "is_background", False):
                contribution.add_to(total, values)
        return total

    def npred(self, values: FloatArray) -> FloatArray:
        """Return the predicted counts with the background, shape (n,)."""
        signal = self._npred_models(values)
        return signal + self.statistic_at(values).background(signal)

    def stat_per_bin(self, values: FloatArray) -> FloatArray:
        """Return the statistic of each bin, shape (n,)."""
        return self.statistic_at(values).per_bin(self._npred_models(values))

    def stat_per_label(self, values: FloatArray) -> dict[str, float]:
        """Return the statistic by the name of the map."""
        if len(self.labels) == 1:
            return {self.labels[0]: self.stat(values)}
        return super().stat_per_label(values)

    # ------------------------------------------------------------------ statistic
    def _deviance_of(self, own: bytes) -> float:
        values = np.zeros(int(self.places.max(initial=-1)) + 1)
        values[self.places] = np.frombuffer(own)
        if not self._fast:
            return self.statistic_at(values).deviance(self._npred_models(values))
        base = self._base(values[self._dense_places].tobytes())
        result = base.deviance + self._walk(base, values)[0]
        if any(c.dense for c in self._sparse):  # one has grown
            self._sort()
        return result

    def _base_of(self, own: bytes) -> _Base:
        """Statistic and counts of what fills the map."""
        assert isinstance(self.statistic, CashStatistic)
        values = np.zeros(int(self._dense_places.max(initial=-1)) + 1)
        values[self._dense_places] = np.frombuffer(own)
        if self._scaled is not None:
            factor = self._scaled.factor(values)
            if np.all(factor > 0):
                change = factor @ self._scaled.sums - self._seen @ np.log(factor)
                deviance = 2.0 * float(change - self.statistic.counts.sum() + self._logs)
                return _Base(deviance, None, factor, self._scaled)
        total = np.zeros(self.part.size)
        for contribution in self._dense:
            contribution.add_to(total, values)
        return _Base(self.statistic.deviance(total), total + self.statistic.known, None, None)

    def _walk(self, base: _Base, values: FloatArray, keep: bool = False) -> tuple[float, FloatArray | None, FloatArray]:
        """Add sources one after the other.

        Returns
        -------
        change
            What they add to the deviance.
        added
            Their counts in all bins; None where these were not needed.
        lost
            Change of the sum over each measured bin of ``n b / mu`` for a scaled background.
        """
        assert isinstance(self.statistic, CashStatistic)
        added = self._scratch() if keep or len(self._sparse) > 1 else None
        touched: list[IntArray] = []
        change, lost = 0.0, np.zeros(0 if base.scaled is None else base.scaled.sums.size)
        for contribution in self._sparse:
            bins, signal = contribution.signal(values)
            before = base.at(bins)
            if added is not None:
                before += added[bins]
                added[bins] += signal
                touched.append(bins)
            after = before + signal
            low, high = np.maximum(before, TRUNCATION), np.maximum(after, TRUNCATION)
            n = self.statistic.counts[bins]
            filled = np.flatnonzero(n)
            n, low_n, high_n = n[filled], low[filled], high[filled]
            # sums, not products: threads of BLAS would start for each of them
            change += 2.0 * float(high.sum() - low.sum() - (n * np.log(high_n / low_n)).sum())
            if base.scaled is not None:
                where = bins[filled]
                # where the prediction is cut off nothing depends on the background
                one, two = (np.where(mu > TRUNCATION, 1.0 / mu, 0.0) for mu in (low_n, high_n))
                slopes = n * (two - one)
                lost += np.bincount(base.scaled.energy[where], slopes * base.scaled.counts[where], minlength=lost.size)
        if added is not None and not keep:
            for bins in touched:
                added[bins] = 0.0
        return change, added, lost

    def _scratch(self) -> FloatArray:
        """An array of zeros for all bins, the same each time: who fills it makes it zero again."""
        if self._zeros is None or self._zeros.size != self.part.size:
            self._zeros = np.zeros(self.part.size)
        return self._zeros

    def gradient(self, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
        """Return the derivative of the deviance by all values; by steps for the places that have one, 0 elsewhere."""
        result = np.zeros(values.size)
        if not self._fast:
            signal = self._npred_models(values)
            slope: Any = self.statistic_at(values).derivative(signal)
            for contribution in self.contributions:
                contribution.add_gradient(result, slope, values, steps)
            self.add_background_gradient(result, signal, values, steps)
            return result
        assert isinstance(self.statistic, CashStatistic)
        base = self._base(values[self._dense_places].tobytes())
        _, added, lost = self._walk(base, values, keep=True)
        self._zeros = None  # what was filled is not zero again
        slope = _Slope(base, self.statistic.counts, added)
        for contribution in self._sparse:
            contribution.add_gradient(result, slope, values, steps)
        if base.scaled is not None and base.factor is not None:
            back = 2.0 * (base.scaled.sums - self._seen / base.factor - lost)
            base.scaled.add_energy_gradient(result, back, values, steps)
            return result
        if any(set(c.places.tolist()) & set(steps) for c in self._dense):
            whole = slope[:]
            for contribution in self._dense:
                contribution.add_gradient(result, whole, values, steps)
        return result
