"""What one run is simulated from, checked, and its random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from zlib import crc32

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.dl3.gti import gti_duration, gti_table
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.times import tt_seconds
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.sky_model import SkyModel
from xgamma.simulate.background import BackgroundSampler
from xgamma.simulate.directions import FieldOfView
from xgamma.simulate.emission import Emission, emission_of
from xgamma.simulate.response import Responses, prepare_responses
from xgamma.simulate.sampling import sample_intervals
from xgamma.simulate.sources import sky_position

__all__ = ["Run", "make_run", "moving_vectors", "pointing_vectors", "random_streams", "time_nodes"]

FloatArray = NDArray[np.float64]

#: Longest step in s between the times at which a turning field of view is computed.
ROTATION_STEP = 30.0
#: Step in s of averages over a run the pointing of which moves on the sky.
AVERAGE_STEP = 5.0


@dataclass(frozen=True, eq=False)
class Run:
    """One run to simulate, checked.

    Parameters
    ----------
    pointing
        Where the telescopes point.
    gti
        Good time intervals.
    responses
        Prepared responses.
    sources
        What is on the sky.
    deadtime_fraction
        Part of the time in which no event is taken.
    factors
        Models that scale the background.
    absent
        Names of sources that keep their number, but give no events here.
    """

    pointing: Pointing
    gti: xr.Dataset
    responses: Responses
    sources: tuple[SkyModel, ...]
    deadtime_fraction: float
    factors: tuple[FoVBackgroundModel, ...] = ()
    absent: frozenset[str] = frozenset()

    @property
    def intervals(self) -> tuple[FloatArray, FloatArray]:
        """Starts and stops in seconds since J2000.0 (TT)."""
        return self.gti["gti_start"].values, self.gti["gti_stop"].values

    @property
    def ontime(self) -> float:
        """Seconds."""
        return gti_duration(self.gti)

    @property
    def livetime(self) -> float:
        """Seconds."""
        return self.ontime * (1.0 - self.deadtime_fraction)

    @cached_property
    def field(self) -> FieldOfView:
        """Part of the sky from which events may come."""
        vectors = np.atleast_2d(to_vectors(*(np.asarray(v) for v in self.pointing.icrs(time_nodes(self)))))
        middle = vectors.mean(axis=0)
        middle = middle / np.linalg.norm(middle)
        if len(vectors) == 1:
            middle = vectors[0]
        return FieldOfView(middle, self.responses.offset_max + float(separation(vectors, middle).max()))

    @cached_property
    def emissions(self) -> tuple[Emission, ...]:
        """Sources as this run sees them."""
        if not self.sources:
            return ()
        energy = self.responses.energy_nodes
        ends = float(energy[0]), float(energy[-1])
        return tuple(
            emission_of(m, None if m.name in self.absent else self.field, self.intervals, ends) for m in self.sources
        )

    @cached_property
    def background(self) -> BackgroundSampler | None:
        """Sampler of the background with all factors on its spectrum."""
        sampler = self.responses.background
        if sampler is None:
            return None
        for model in self.factors:
            try:
                sampler = sampler.scaled(partial(_factor, model))
            except ValueError as error:
                msg = f"background model {model.name!r}: {error}"
                raise ValueError(msg) from error
        return sampler


def _factor(model: FoVBackgroundModel, energy: FloatArray) -> FloatArray:
    return np.asarray(model.spectral.evaluate(energy, *model.spectral.values), float)


def make_run(
    pointing: Any,
    irfs: Mapping[str, Any] | Responses,
    sources: Sequence[SkyModel],
    ontime: Any,
    start: Any,
    gti: xr.Dataset | None,
    deadtime_fraction: float,
    energy_range: Any,
    background: bool,
    factors: Sequence[FoVBackgroundModel] = (),
    absent: frozenset[str] = frozenset(),
) -> Run:
    """Check the arguments of a simulation."""
    if not isinstance(pointing, Pointing):
        ra, dec = sky_position(pointing, "pointing")
        pointing = Pointing("pointing", ra, dec)
    if gti is None:
        length = to_value(ontime, "s", "ontime")
        if not 0 < length < np.inf:
            msg = f"ontime={ontime!r} must be positive"
            raise ValueError(msg)
        first = float(tt_seconds(start, "start"))
        gti = gti_table([first], [first + length])
    if gti_duration(gti) <= 0:
        msg = "the good time intervals have no length"
        raise ValueError(msg)
    if not 0 <= deadtime_fraction < 1:
        msg = f"deadtime_fraction={deadtime_fraction!r} must lie in [0, 1)"
        raise ValueError(msg)
    limits = None if energy_range is None else tuple(np.asarray(to_value(list(energy_range), "TeV", "energy_range")))
    if limits is not None and len(limits) != 2:
        msg = f"energy_range={energy_range!r} must be two energies"
        raise ValueError(msg)
    responses = prepare_responses(irfs, limits, background=background)
    if background and responses.background is None:
        msg = "the responses have no background model ('bkg'); give one, or background=False for sources only"
        raise ValueError(msg)
    if sources and responses.aeff is None:
        msg = "the responses have no effective area ('aeff'), without which a source gives no events"
        raise ValueError(msg)
    return Run(pointing, gti, responses, tuple(sources), float(deadtime_fraction), tuple(factors), absent)


def random_streams(seed: int, obs_id: int | str, number: int) -> list[np.random.Generator]:
    """Return independent random streams of a run: for the background, then for each source."""
    for name, value in (("seed", seed), ("obs_id", obs_id)):
        if name == "obs_id" and isinstance(value, str) and value:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            msg = f"{name}={value!r} must be a whole number of at least 0"
            raise ValueError(msg)
    # labels that are texts do not meet numbers
    run = (int(obs_id),) if not isinstance(obs_id, str) else (crc32(obs_id.encode()), 2**32 - 1)
    keys = [np.random.SeedSequence(int(seed), spawn_key=(*run, i)) for i in range(number)]
    # PCG64 by name: the default of numpy may change, and a seed should not
    return [np.random.Generator(np.random.PCG64(key)) for key in keys]


def time_nodes(run: Run) -> FloatArray:
    """Times that average over the run: only the middle where the pointing is fixed on the sky."""
    start, stop = run.intervals
    if run.pointing.mode == "pointing":
        return np.array([0.5 * (start[0] + stop[-1])])
    number = int(np.clip(np.ceil(run.ontime / AVERAGE_STEP), 8, 2000))
    return sample_intervals(start, stop, (np.arange(number) + 0.5) / number)


def pointing_vectors(run: Run, time: FloatArray) -> FloatArray:
    """Unit vectors of the pointing: shape (3,) where it is fixed on the sky, else (n, 3)."""
    pointing = run.pointing
    if pointing.mode == "pointing":
        return to_vectors(np.asarray(pointing.ra), np.asarray(pointing.dec))
    if pointing.mode == "drift":
        return moving_vectors(run, pointing, time)
    return to_vectors(*(np.asarray(v) for v in pointing.icrs(time)))


def moving_vectors(run: Run, direction: Pointing, time: FloatArray) -> FloatArray:
    """Unit vectors on the sky (ICRS) of a direction that is fixed to the ground, shape (n, 3).

    The turn of the Earth is computed at steps of time and interpolated on the sphere, which is right to 0.2 arcsec.
    """
    start, stop = run.intervals
    first, last = float(start.min()), float(stop.max())
    nodes = np.linspace(first, last, max(int(np.ceil((last - first) / ROTATION_STEP)), 1) + 1)
    vectors = to_vectors(*(np.asarray(v) for v in direction.icrs(nodes)))
    result = np.stack([np.interp(time, nodes, v) for v in vectors.T], axis=-1)
    return result / np.linalg.norm(result, axis=-1, keepdims=True)
