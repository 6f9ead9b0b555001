"""How many events a simulation makes on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.kernels.sphere import separation, to_vectors
from xgamma.simulate.response import Responses
from xgamma.simulate.run import Run, make_run, time_nodes
from xgamma.simulate.sources import Source

__all__ = ["expected_counts", "expected_of_run", "rate_by_offset"]

FloatArray = NDArray[np.float64]


def expected_counts(
    pointing: Any,
    irfs: Mapping[str, Any] | Responses,
    sources: Sequence[Source] = (),
    *,
    ontime: Any = "28 min",
    start: Any = "2024-01-01T00:00:00",
    gti: xr.Dataset | None = None,
    deadtime_fraction: float = 0.0,
    energy_range: Any = None,
    background: bool = True,
) -> dict[str, float]:
    """Compute how many events `simulate_events` makes on average.

    Parameters
    ----------
    pointing, irfs, sources, ontime, start, gti, deadtime_fraction, energy_range, background
        As in `simulate_events`.

    Returns
    -------
    dict
        Expected events of the ``"background"`` and of each source by its name, anywhere in the field of view.

    Examples
    --------
    >>> from xgamma.simulate import array
    >>> from xgamma.simulate.sources import PowerLaw, Source
    >>> crab = Source("crab", (83.63, 22.01), PowerLaw("3.5e-11 cm-2 s-1 TeV-1", index=2.6))
    >>> counts = expected_counts((83.63, 22.51), array.responses(), [crab], ontime="10 min")
    >>> 100 < counts["crab"] < 1000
    True
    """
    run = make_run(pointing, irfs, sources, ontime, start, gti, deadtime_fraction, energy_range, background)
    rates = {source.name: rate_by_offset(run.responses, source) for source in run.sources}
    return expected_of_run(run, rates)


def expected_of_run(run: Run, rates: Mapping[str, tuple[FloatArray, FloatArray]]) -> dict[str, float]:
    """Return expected counts from rates that `rate_by_offset` made, which many runs can share."""
    sampler = run.responses.background
    result = {"background": 0.0 if sampler is None else sampler.total * run.ontime}
    times = time_nodes(run)
    pointings = to_vectors(*(np.asarray(v) for v in run.pointing.icrs(times)))
    for source in run.sources:
        offset, rate = rates[source.name]
        nodes = source.shape.nodes(*source.position)
        theta = separation(nodes[np.newaxis], pointings[:, np.newaxis])
        result[source.name] = float(np.interp(theta, offset, rate, right=0.0).mean()) * run.livetime
    return result


def rate_by_offset(responses: Responses, source: Source) -> tuple[FloatArray, FloatArray]:
    """Return offsets in deg and the rate of detected events in s-1 of the spectrum of a source there."""
    energy, offset, area = responses.selected_area()
    if not energy.size:
        return np.array([0.0]), np.array([0.0])
    flux = source.spectrum(energy)[:, np.newaxis] * area
    # the area is linear in the logarithm of the energy between nodes, so the trapezoid in it is right
    log_energy = np.log(energy)[:, np.newaxis]
    flux = flux * energy[:, np.newaxis]
    return offset, (0.5 * (flux[1:] + flux[:-1]) * np.diff(log_energy, axis=0)).sum(axis=0)
