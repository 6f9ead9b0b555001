"""Event lists from a pointing, good time intervals, responses and sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import canonical_attrs
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.times import J2000_HEADER
from xgamma.kernels.interp import log_log_integral
from xgamma.kernels.sphere import from_vectors, separation, to_vectors
from xgamma.simulate.response import Responses, warn_lost
from xgamma.simulate.run import Run, make_run, moving_vectors, pointing_vectors, random_streams
from xgamma.simulate.sampling import move_on_sphere, pick, power_law_between, sample_intervals, vectors_from_fov
from xgamma.simulate.sources import Source

__all__ = ["simulate_events"]

FloatArray = NDArray[np.float64]

#: A source reaches as far as the separation within which this part of it lies.
REACH = 1.0 - 1e-9


def simulate_events(
    pointing: Any,
    irfs: Mapping[str, Any] | Responses,
    sources: Sequence[Source] = (),
    *,
    ontime: Any = "28 min",
    start: Any = "2024-01-01T00:00:00",
    gti: xr.Dataset | None = None,
    deadtime_fraction: float = 0.0,
    energy_range: Any = None,
    seed: int = 0,
    obs_id: int = 1,
    background: bool = True,
    truth: bool = False,
    header: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Simulate the event list of one run.

    Parameters
    ----------
    pointing
        `~xgamma.dl3.pointing.Pointing`, `~astropy.coordinates.SkyCoord`, or (ra, dec) in degrees.
    irfs
        Responses by name (``aeff``, ``psf``, ``edisp``, ``bkg``), see `xgamma.simulate.response.prepare_responses`.
    sources
        What is on the sky.
    ontime, start
        Length of the run, and when it starts; together one good time interval.
    gti
        Good time intervals (`xgamma.dl3.gti.gti_table`) instead of `ontime` and `start`.
    deadtime_fraction
        Part of the time in which no event is taken, in [0, 1). It thins out sources; background models
        hold the rate per ontime.
    energy_range
        Lowest and highest reconstructed energy, for example ``("0.3 TeV", "100 TeV")``; all by default.
        With responses that are prepared already their own range holds.
    seed
        Seed of the random numbers. Together with `obs_id` it fixes every event, whatever other runs are made.
    obs_id
        Number of the run, not negative.
    background
        False leaves the background out.
    truth
        Add the columns ``ra_true``, ``dec_true`` and ``energy_true``, NaN for background events.
    header
        More cards for the header, for example ``{"OBJECT": "Crab"}``.

    Returns
    -------
    xarray.Dataset
        Dims (event,), in order of time: ``event_id``, ``time`` (s since J2000.0 (TT)), ``ra``, ``dec``
        (deg, ICRS), ``energy`` (TeV), ``mc_id`` (0 for background, 1 for the first source, ...). Attributes are
        the cards of a GADF header.

    Raises
    ------
    ValueError
        If a response is missing, there is no background model, or an argument is wrong.

    Notes
    -----
    The background is drawn from the model per ontime, the sources from flux times effective area per livetime;
    positions are moved by the point spread function, energies by the energy dispersion, all at the true energy
    and the offset of the true direction. Times are uniform in the good time intervals. Number and values of
    events come from random streams of their own for the background and for each source
    (`numpy.random.SeedSequence`), so that adding a source leaves the others as they are.

    Examples
    --------
    >>> from xgamma.simulate import array
    >>> from xgamma.simulate.sources import PowerLaw, Source
    >>> crab = Source("crab", (83.63, 22.01), PowerLaw("3.5e-11 cm-2 s-1 TeV-1", index=2.6))
    >>> events = simulate_events((83.63, 22.51), array.responses(), [crab], ontime="10 min", seed=1)
    >>> bool((events.mc_id == 1).sum() > 100)
    True
    """
    run = make_run(pointing, irfs, sources, ontime, start, gti, deadtime_fraction, energy_range, background)
    streams = random_streams(seed, obs_id, 1 + len(run.sources))
    parts = [_background_events(run, streams[0])]
    parts += [_source_events(run, i, streams[1 + i]) for i in range(len(run.sources))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns["time"], kind="stable")
    columns = {"event_id": np.arange(1, len(order) + 1), **{n: v[order] for n, v in columns.items()}}
    return _label(columns, run, int(obs_id), truth, header or {})


def _field_axes(run: Run, time: FloatArray, alignment: str) -> FloatArray:
    """Unit vectors of the pointing, of growing longitude and latitude, shape (3, 3) or (n, 3, 3)."""
    center = pointing_vectors(run, time)
    up = np.array([0.0, 0.0, 1.0]) if alignment != "ALTAZ" else _zenith(run, time)
    east = np.cross(up, center) if alignment != "ALTAZ" else np.cross(center, up)
    length = np.linalg.norm(east, axis=-1, keepdims=True)
    # at the pole right ascension gives the direction, as in any spherical frame
    fallback = np.array([-np.sin(np.deg2rad(run.pointing.ra)), np.cos(np.deg2rad(run.pointing.ra)), 0.0])
    east = np.where(length > 1e-12, east / np.where(length > 1e-12, length, 1.0), fallback)
    north = np.cross(center, east) if alignment != "ALTAZ" else np.cross(east, center)
    return np.stack(np.broadcast_arrays(center, east, north), axis=-2)


def _zenith(run: Run, time: FloatArray) -> FloatArray:
    """Direction of the zenith on the sky (ICRS) at the time of each event, shape (n, 3)."""
    location = run.pointing.location
    if location is None:
        msg = "the background is aligned with altitude and azimuth: give a Pointing with the location of the telescopes"
        raise ValueError(msg)
    return moving_vectors(run, Pointing("drift", alt=90.0, az=0.0, location=location), time)


def _background_events(run: Run, rng: np.random.Generator) -> dict[str, FloatArray]:
    sampler = run.responses.background
    number = 0 if sampler is None else int(rng.poisson(sampler.total * run.ontime))
    time = sample_intervals(*run.intervals, rng.random(number))
    if sampler is None or number == 0:
        return _columns(time, np.empty((0, 3)), np.empty(0), 0)
    energy, lon, lat = sampler.sample(number, rng)
    vectors = vectors_from_fov(lon, lat, _field_axes(run, time, sampler.alignment))
    return _columns(time, vectors, energy, 0)


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
    source, responses = run.sources[number], run.responses
    if _out_of_reach(run, source):
        return _columns(np.empty(0), np.empty((0, 3)), np.empty(0), number + 1)
    time, true, vectors, offset = _photons(run, source, rng)
    reconstructed = responses.reconstruct(true, offset, rng)
    moved = responses.separations(true, offset, rng)
    angle = 2.0 * np.pi * rng.random(len(true))
    valid = np.isfinite(reconstructed) & np.isfinite(moved)
    warn_lost(int((~valid).sum()), source.name)
    low, high = responses.energy_range
    with np.errstate(invalid="ignore"):
        keep = valid & (reconstructed >= low) & (reconstructed <= high) & (reconstructed > 0)
    final = move_on_sphere(vectors[keep], moved[keep], angle[keep])
    return _columns(time[keep], final, reconstructed[keep], number + 1, (vectors[keep], true[keep]))


def _out_of_reach(run: Run, source: Source) -> bool:
    if run.pointing.mode != "pointing":
        return False
    center = to_vectors(np.asarray(run.pointing.ra), np.asarray(run.pointing.dec))
    position = to_vectors(*(np.asarray(v) for v in source.position))
    extent = float(source.shape.separations(np.array([REACH]))[0])
    return bool(separation(position, center) - extent > run.responses.offset_max)


def _photons(run: Run, source: Source, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    """Draw detected photons: times, true energies, true directions, offsets."""
    responses = run.responses
    energy = responses.energy_nodes
    flux = source.spectrum(energy)
    pairs = np.meshgrid(energy, responses.offset_nodes, indexing="ij")
    largest = responses.area(pairs[0].ravel(), pairs[1].ravel()).reshape(pairs[0].shape).max(axis=1)
    # between nodes the area is linear, so its maximum over an interval lies at one of the ends
    bound = np.maximum(largest[1:], largest[:-1])
    with np.errstate(divide="ignore"):
        cumulative = np.cumsum(bound * log_log_integral(np.log(flux), energy))
    drawn = int(rng.poisson(cumulative[-1] * run.livetime))
    uniform = rng.random((4, drawn))
    interval = pick(cumulative, uniform[0])
    true = power_law_between(uniform[1], energy[interval], energy[interval + 1], flux[interval], flux[interval + 1])
    time = sample_intervals(*run.intervals, uniform[2])
    ra, dec = source.position
    vectors = source.shape.sample(ra, dec, drawn, rng)
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


def _label(columns: dict[str, FloatArray], run: Run, obs_id: int, truth: bool, header: Mapping[str, Any]) -> xr.Dataset:
    names = [n for n in columns if truth or not n.endswith("_true")]
    variables = {n: ("event", columns[n], canonical_attrs(*ATTRS[n])) for n in names}
    events = xr.Dataset(variables)
    events["time"].attrs["reference"] = "J2000.0 (TT)"
    cards = {**_cards(run, obs_id), **{str(k).upper(): v for k, v in header.items()}}
    events.attrs = {k.lower(): v for k, v in cards.items()}
    return events


def _cards(run: Run, obs_id: int) -> dict[str, Any]:
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
