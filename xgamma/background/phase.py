"""On and off by the phase of a pulsar, inside `reduce`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xgamma.dl3.phases import phases_within, turned
from xgamma.reduction.region_background import OffSpectrum, PreparedOff, Usable
from xgamma.reduction.spectrum_run import SpectrumRun

__all__ = ["PhaseBackground"]

Intervals = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PhaseBackground:
    """Settings of a background from the on region at other phases, for `xgamma.reduce` on a grid of regions.

    Parameters
    ----------
    on_phase, off_phase
        An interval ``(start, stop)`` of the phase in [0, 1], or a list of them; one that starts after it stops runs
        over the end of the period. The start belongs to it.
    column
        Column of the event list that holds the phase.

    Raises
    ------
    ValueError
        When it is given to `xgamma.reduce`: intervals outside of [0, 1], empty, or overlapping.

    Notes
    -----
    Acceptances are the summed widths of the intervals. The exposure is that of the whole time: a flux is the mean over
    the whole period of what comes in the on phase above the background.

    Examples
    --------
    >>> PhaseBackground((0.9, 0.1), (0.3, 0.7)).column
    'PHASE'
    """

    on_phase: Any
    off_phase: Any
    column: str = "PHASE"

    def prepare_spectrum(self, grid: xr.Dataset) -> PreparedOff:
        """Check the settings against a grid of regions."""
        on, off = (phase_intervals(getattr(self, name), name) for name in ("on_phase", "off_phase"))
        if not isinstance(self.column, str) or not self.column:
            msg = f"column={self.column!r} must be the name of a column of the event list"
            raise TypeError(msg)
        joined = sorted((*on, *off))
        if any(second[0] < first[1] - 1e-12 for first, second in pairwise(joined)):
            msg = f"on_phase={self.on_phase!r} and off_phase={self.off_phase!r} overlap"
            raise ValueError(msg)
        method = f"phase_background(on_phase={list(on)}, off_phase={list(off)}, column={self.column})"
        return PreparedOff(PhaseTask(on, off, self.column.lower()), None, method, tokenize(method))


@dataclass(frozen=True, eq=False)
class PhaseTask:
    """The part that travels to the workers."""

    on: Intervals
    off: Intervals
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are needed."""
        return (self.column,)

    def __call__(self, run: SpectrumRun, usable: Usable | None) -> list[OffSpectrum]:
        """Return the background of each region of a run."""
        phase = turned(run.events.columns[self.column], f"run {run.name}")
        in_on, in_off = phases_within(phase, self.on), phases_within(phase, self.off)
        widths = [sum(stop - start for start, stop in intervals) for intervals in (self.on, self.off)]
        result = []
        for index in run.inside:
            counts, counts_off = (run.events.count(index[chosen[index]]) for chosen in (in_on, in_off))
            result.append(OffSpectrum(counts_off, widths[0], widths[1], 1, "", counts))
        return result


def phase_intervals(value: Any, name: str) -> Intervals:
    """Return intervals of the phase that start before they stop.

    Examples
    --------
    >>> phase_intervals((0.9, 0.1), "on_phase")
    ((0.0, 0.1), (0.9, 1.0))
    """
    problem = f"{name}={value!r} must be an interval (start, stop) of the phase within [0, 1], or a list of them"
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise TypeError(problem)
    items = list(value)
    pairs = [items] if len(items) == 2 and all(np.ndim(item) == 0 for item in items) else items
    result: list[tuple[float, float]] = []
    for pair in pairs:
        try:
            start, stop = (float(v) for v in pair)
        except (TypeError, ValueError) as error:
            raise ValueError(problem) from error
        if not (0 <= start <= 1 and 0 <= stop <= 1) or start == stop:
            raise ValueError(problem)
        result += [(start, stop)] if start < stop else [(start, 1.0), (0.0, stop)]
    result = sorted(interval for interval in result if interval[0] < interval[1])
    if not result or any(b[0] < a[1] - 1e-12 for a, b in pairwise(result)):
        raise ValueError(problem if not result else f"{name}={value!r}: the intervals overlap")
    return tuple(result)
