"""Event lists from a pointing, good time intervals, responses and sources."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import canonical_attrs
from xgamma.dl3.times import J2000_HEADER
from xgamma.kernels.interp import log_log_integral
from xgamma.kernels.sphere import from_vectors, separation
from xgamma.simulate.background_events import draw_background
from xgamma.simulate.directions import Directions
from xgamma.simulate.emission import Emission, refined
from xgamma.simulate.observed import run_of
from xgamma.simulate.response import Responses, warn_lost
from xgamma.simulate.run import Run, pointing_vectors, random_streams
from xgamma.simulate.sampling import move_on_sphere, pick, power_law_between

__all__ = ["simulate_events"]

FloatArray = NDArray[np.float64]


def simulate_events(
    observation: Any,
    models: Any = (),
    irfs: Mapping[str, Any] | Responses | None = None,
    *,
    ontime: Any = "28 min",
    start: Any = "2024-01-01T00:00:00",
    gti: xr.Dataset | None = None,
    deadtime_fraction: float | None = None,
    energy_range: Any = None,
    seed: int = 0,
    obs_id: int | str | None = None,
    background: bool = True,
    truth: bool = False,
    name: str | None = None,
    header: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Simulate the event list of one run from models.

    Parameters
    ----------
    observation
        `~xgamma.dl3.observation.Observation`, whose pointing, good time intervals, dead time and responses are taken;
        or a `~xgamma.dl3.pointing.Pointing`, `~astropy.coordinates.SkyCoord`, or (ra, dec) in degrees.
    models
        What is on the sky: `~xgamma.models.sky_model.SkyModel` with any spectral, spatial and temporal model, also as
        fitted, `~xgamma.models.background_model.FoVBackgroundModel` for the background, and short descriptions
        (`~xgamma.simulate.sources.Source`).
    irfs
        Responses by name (``aeff``, ``psf``, ``edisp``, ``bkg``), see `xgamma.simulate.response.prepare_responses`;
        those given replace those of an observation.
    ontime, start
        Length of the run, and when it starts; together one good time interval. Not of an observation.
    gti
        Good time intervals (`xgamma.dl3.gti.gti_table`) instead.
    deadtime_fraction
        Part of the time in which no event is taken, in [0, 1); by default that of the observation, or 0. It thins out
        sources; background models hold the rate per ontime.
    energy_range
        Lowest and highest reconstructed energy, for example ``("0.3 TeV", "100 TeV")``; all by default.
        With responses that are prepared already their own range holds.
    seed
        Seed of the random numbers. Together with `obs_id` it fixes every event, whatever other runs are made.
    obs_id
        Number or label of the run; by default that of the observation, or 1.
    background
        False leaves the background out.
    truth
        Add the columns ``ra_true``, ``dec_true`` and ``energy_true``, NaN for background events.
    name
        Name of the dataset that the run stands for, for models with ``datasets_names``; its label by default.
    header
        More cards for the header, for example ``{"OBJECT": "Crab"}``.

    Returns
    -------
    xarray.Dataset
        Dims (event,), in order of time: ``event_id``, ``time`` (s since J2000.0 (TT)), ``ra``, ``dec``
        (deg, ICRS), ``energy`` (TeV), ``mc_id`` (0 for background, 1 for the first source, ...). Attributes are
        the cards of a GADF header; ``mid00001`` and ``mmn00001`` say that events of 1 are from the source of that name.

    Raises
    ------
    TypeError
        If a model is of a kind that has no events.
    ValueError
        If a response is missing, there is no background model, a source has no spatial model, a rate is negative or
        not finite, a model belongs to other datasets, or an argument is wrong.

    Warns
    -----
    UserWarning
        For a source of which the run sees nothing.

    See Also
    --------
    xgamma.simulate.observations.simulate_observations : for many runs, as a DL3 store.

    Notes
    -----
    The background is drawn from the model per ontime, times the norm, tilt and spatial factor of models for it;
    sources from flux times effective area per livetime, so that the number of events is that of ``npred``.
    Positions are moved by the point spread function, energies by the energy dispersion, all at the true energy and
    the offset of the true direction, where ``apply_irf`` does not switch them off. Times follow the temporal model in
    the good time intervals. Number and values of events come from random streams of their own for the background and
    for each source (`numpy.random.SeedSequence`), so that adding a source leaves the others as they are.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.simulate import array
    >>> crab = xg.SkyModel(
    ...     xg.PowerLawSpectralModel(index=2.6, amplitude="3.5e-11 cm-2 s-1 TeV-1"),
    ...     xg.PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg"),
    ...     name="crab",
    ... )
    >>> events = simulate_events((83.63, 22.51), crab, array.responses(), ontime="10 min", seed=1)
    >>> bool((events.mc_id == 1).sum() > 100)
    True
    """
    run, label, cards = run_of(
        observation, models, irfs, ontime, start, gti, deadtime_fraction, energy_range, obs_id, background, name
    )
    unseen = [e.name for e in run.emissions if e.directions is None and e.name not in run.absent]
    if unseen:
        msg = f"{unseen} lie outside the field of view ({run.responses.offset_max:g} deg): no events come from there"
        warnings.warn(msg, UserWarning, stacklevel=2)
    return draw_events(run, seed, label, truth=truth, header={**cards, **(header or {})})


def draw_events(
    run: Run, seed: int, obs_id: int | str, *, truth: bool = False, header: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Draw the events of a run that was checked; see `simulate_events`."""
    streams = random_streams(seed, obs_id, 1 + len(run.sources))
    parts = [_columns(*draw_background(run, streams[0]), 0)]
    parts += [_source_events(run, i, streams[1 + i]) for i in range(len(run.sources))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns["time"], kind="stable")
    columns = {"event_id": np.arange(1, len(order) + 1), **{n: v[order] for n, v in columns.items()}}
    return _label(columns, run, obs_id, truth, header or {})


def _columns(
    time: FloatArray,
    vectors: FloatArray,
    energy: FloatArray,
    mc_id: int,
    true: tuple[FloatArray, FloatArray] | None = None,
) -> dict[str, FloatArray]:
    ra, dec = from_vectors(vectors)
    nothing = np.full(len(time), np.nan)
    ra_true, dec_true = (nothing, nothing) if true is None else from_vectors(true[0])
    return {
        "time": time,
        "ra": ra,
        "dec": dec,
        "energy": energy,
        "mc_id": np.full(len(time), mc_id, dtype=np.int16),
        "ra_true": ra_true,
        "dec_true": dec_true,
        "energy_true": nothing if true is None else true[1],
    }


def _source_events(run: Run, number: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Draw photons from flux times the largest effective area, keep those that the true area takes."""
    emission, responses = run.emissions[number], run.responses
    if emission.directions is None:
        return _columns(np.empty(0), np.empty((0, 3)), np.empty(0), number + 1)
    time, true, vectors, offset = _photons(run, emission, emission.directions, rng)
    applied = emission.model.apply_irf
    reconstructed = responses.reconstruct(true, offset, rng)
    moved = responses.separations(true, offset, rng)
    angle = 2.0 * np.pi * rng.random(len(true))
    if not applied["edisp"]:
        reconstructed = true.copy()
    if not applied["psf"]:
        moved = np.zeros_like(moved)
    valid = np.isfinite(reconstructed) & np.isfinite(moved)
    warn_lost(int((~valid).sum()), emission.name)
    low, high = responses.energy_range
    with np.errstate(invalid="ignore"):
        keep = valid & (reconstructed >= low) & (reconstructed <= high) & (reconstructed > 0)
    final = move_on_sphere(vectors[keep], moved[keep], angle[keep])
    return _columns(time[keep], final, reconstructed[keep], number + 1, (vectors[keep], true[keep]))


def _photons(run: Run, emission: Emission, directions: Directions, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    """Draw detected photons: times, true energies, true directions, offsets."""
    responses = run.responses
    nodes, largest = responses.energy_nodes, responses.area_bound
    energy = refined(emission.flux, nodes)
    flux = emission.flux(energy)
    if len(energy) > len(nodes):
        # between nodes the area is linear in the logarithm
        largest = np.interp(np.log(energy), np.log(nodes), largest)
    # so that its maximum over an interval lies at one of the ends
    bound = np.maximum(largest[1:], largest[:-1])
    with np.errstate(divide="ignore"):
        cumulative = np.cumsum(bound * log_log_integral(np.log(flux), energy))
    drawn = int(rng.poisson(cumulative[-1] * run.livetime))
    uniform = rng.random((4, drawn))
    if not drawn:
        return np.empty(0), np.empty(0), np.empty((0, 3)), np.empty(0)
    interval = pick(cumulative, uniform[0])
    true = power_law_between(uniform[1], energy[interval], energy[interval + 1], flux[interval], flux[interval + 1])
    time = emission.arrival.sample(true, uniform[2], rng)
    vectors = directions.sample(true, rng)
    offset = separation(vectors, pointing_vectors(run, time))
    keep = uniform[3] * bound[interval] < responses.area(true, offset)
    return time[keep], true[keep], vectors[keep], offset[keep]


ATTRS = {
    "time": ("s", "Time"),
    "ra": ("deg", "Right ascension (ICRS)"),
    "dec": ("deg", "Declination (ICRS)"),
    "energy": ("TeV", "Energy"),
    "mc_id": ("", "Source that the event is from, 0 for background"),
    "event_id": ("", "Number of the event"),
    "ra_true": ("deg", "True right ascension (ICRS)"),
    "dec_true": ("deg", "True declination (ICRS)"),
    "energy_true": ("TeV", "True energy"),
}


def _label(
    columns: dict[str, FloatArray], run: Run, obs_id: int | str, truth: bool, header: Mapping[str, Any]
) -> xr.Dataset:
    names = [n for n in columns if truth or not n.endswith("_true")]
    variables = {n: ("event", columns[n], canonical_attrs(*ATTRS[n])) for n in names}
    events = xr.Dataset(variables)
    events["time"].attrs["reference"] = "J2000.0 (TT)"
    cards = {**_cards(run, obs_id), **{str(k).upper(): v for k, v in header.items()}}
    events.attrs = {k.lower(): v for k, v in cards.items()}
    return events


def _cards(run: Run, obs_id: int | str) -> dict[str, Any]:
    """Cards of a GADF EVENTS header."""
    start, stop = run.intervals
    pointing = run.pointing
    cards: dict[str, Any] = {"OBS_ID": obs_id, "OBS_MODE": "DRIFT" if pointing.mode == "drift" else "POINTING"}
    ra, dec = pointing.icrs(0.5 * (start.min() + stop.max()))
    cards |= {"RA_PNT": ra, "DEC_PNT": dec, "RADECSYS": "ICRS", "EQUINOX": 2000.0}
    if np.isfinite([pointing.alt, pointing.az]).all():
        cards |= {"ALT_PNT": pointing.alt, "AZ_PNT": pointing.az}
    if pointing.location is not None:
        cards |= dict(zip(("GEOLON", "GEOLAT", "ALTITUDE"), pointing.location, strict=True))
    cards |= J2000_HEADER
    cards |= {"TSTART": float(start.min()), "TSTOP": float(stop.max()), "ONTIME": run.ontime, "LIVETIME": run.livetime}
    cards |= {"DEADC": 1.0 - run.deadtime_fraction}
    cards |= {"TELESCOP": str(run.responses.attrs.get("telescop", "SIMULATED"))}
    cards |= {"INSTRUME": str(run.responses.attrs.get("instrume", "SIMULATED")), "CREATOR": "xgamma"}
    cards |= {"NMCIDS": len(run.sources) + 1, "MID00000": 0, "MMN00000": "background"}
    for i, source in enumerate(run.sources, start=1):
        cards |= {f"MID{i:05d}": i, f"MMN{i:05d}": source.name}
    return cards
