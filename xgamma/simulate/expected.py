"""How many events a simulation makes on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.irf.aeff import evaluate_aeff
from xgamma.kernels.interp import log_log_integral
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.simulate.background_events import background_cells, field_axes, sky_factor
from xgamma.simulate.emission import Emission, refined
from xgamma.simulate.observed import run_of
from xgamma.simulate.response import Responses
from xgamma.simulate.run import Run, time_nodes
from xgamma.simulate.sampling import sample_intervals, vectors_from_fov

__all__ = ["expected_counts", "expected_of_run"]

FloatArray = NDArray[np.float64]

#: Places times pointings up to which all times of a moving pointing count, and times that count for more.
PLACES, TIMES = 200_000, 16


def expected_counts(
    observation: Any,
    models: Any = (),
    irfs: Mapping[str, Any] | Responses | None = None,
    *,
    ontime: Any = "28 min",
    start: Any = "2024-01-01T00:00:00",
    gti: xr.Dataset | None = None,
    deadtime_fraction: float | None = None,
    energy_range: Any = None,
    obs_id: int | str | None = None,
    background: bool = True,
    name: str | None = None,
) -> dict[str, float]:
    """Compute how many events `simulate_events` makes on average.

    Parameters
    ----------
    observation, models, irfs, ontime, start, gti, deadtime_fraction, energy_range, obs_id, background, name
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
    >>> counts = expected_counts((83.63, 22.51), crab, array.responses(), ontime="10 min")
    >>> 100 < counts["crab"] < 1000
    True
    """
    run, _, _ = run_of(
        observation, models, irfs, ontime, start, gti, deadtime_fraction, energy_range, obs_id, background, name
    )
    return expected_of_run(run)


def expected_of_run(run: Run) -> dict[str, float]:
    """Return the expected counts of a run that was checked."""
    sampler = run.background
    result = {"background": 0.0 if sampler is None else sampler.total * _mean_factor(run) * run.ontime}
    for emission in run.emissions:
        result[emission.name] = 0.0 if emission.directions is None else _rate(run, emission) * run.livetime
    return result


def _mean_factor(run: Run) -> float:
    """Mean of the spatial factors on the background over the field of view."""
    models = [m for m in run.factors if m.spatial is not None]
    if not models or run.background is None:
        return 1.0
    lon, lat, content = background_cells(run)
    total = 0.0
    times = sample_intervals(*run.intervals, (np.arange(TIMES) + 0.5) / TIMES)
    for time in times:
        axes = field_axes(run, np.array([time]), run.background.alignment)
        vectors = vectors_from_fov(lon, lat, axes if axes.ndim == 2 else axes[0])
        total += float(np.sum(sky_factor(models, vectors) * content)) / TIMES
    return total / float(content.sum())


def _rate(run: Run, emission: Emission) -> float:
    """Detected events per second of livetime."""
    energy, offset, area = run.responses.selected_area(edisp=emission.model.apply_irf["edisp"])
    if not energy.size:
        return 0.0
    fine = refined(emission.flux, energy)
    if fine.size > energy.size:
        area = _finer_area(run.responses, fine, offset, emission.model.apply_irf["edisp"])
    flux = emission.flux(fine)
    if fine.size > energy.size:
        # a line or an edge: as it is drawn, a power law in each interval, in which the area hardly changes
        with np.errstate(divide="ignore"):
            low = high = 0.5 * log_log_integral(np.log(flux), fine)
    else:
        # the area is linear in the logarithm of the energy between nodes, so the trapezoid in it is right
        parts = 0.5 * np.diff(np.log(fine)) * np.stack([flux[:-1] * fine[:-1], flux[1:] * fine[1:]])
        low, high = parts
    by_energy = np.zeros_like(area)
    by_energy[:-1] += low[:, np.newaxis] * area[:-1]
    by_energy[1:] += high[:, np.newaxis] * area[1:]
    assert emission.directions is not None
    vectors, contents, nodes = emission.directions.nodes()
    spread = _spread(run, vectors, contents, offset)
    if not nodes.size:
        return float((by_energy.sum(axis=0) * spread[0]).sum()) / float(contents.sum())
    norms = contents.sum(axis=1)
    place = np.interp(np.log(fine), np.log(nodes), np.arange(nodes.size))
    lower = np.minimum(place.astype(int), nodes.size - 2)
    share = (place - lower)[:, np.newaxis]
    # as they are drawn: from one of the two energies around each
    mixed = (1.0 - share) * spread[lower] + share * spread[lower + 1]
    norm = (1.0 - share[:, 0]) * norms[lower] + share[:, 0] * norms[lower + 1]
    return float((by_energy * mixed / np.where(norm > 0, norm, 1.0)[:, np.newaxis]).sum())


def _finer_area(responses: Responses, energy: FloatArray, offset: FloatArray, edisp: bool) -> FloatArray:
    assert responses.aeff is not None
    area = evaluate_aeff(responses.aeff, energy, offset)
    low, high = responses.energy_range
    if not edisp:
        return area * ((energy >= low) & (energy <= high))[:, np.newaxis]
    return area * np.stack([responses.selected(energy, float(theta)) for theta in offset], axis=1)


def _spread(run: Run, vectors: FloatArray, contents: FloatArray, offset: FloatArray) -> FloatArray:
    """Share contents among offsets, with the weights of a linear interpolation; shape (k, offsets)."""
    times = time_nodes(run)
    if len(vectors) * len(times) > PLACES:
        times = times[:: max(len(times) // TIMES, 1)]
    result = np.zeros((len(contents), len(offset)))
    for center in np.atleast_2d(to_vectors(*(np.asarray(v) for v in run.pointing.icrs(times)))):
        theta = separation(vectors, center)
        inside = theta <= offset[-1]
        place = np.interp(theta[inside], offset, np.arange(len(offset)))
        lower = np.minimum(place.astype(int), max(len(offset) - 2, 0))
        share = place - lower
        for row, content in zip(result, contents[:, inside], strict=True):
            row += np.bincount(lower, content * (1.0 - share), len(offset))
            row += np.bincount(np.minimum(lower + 1, len(offset) - 1), content * share, len(offset))
    return result / len(times)
