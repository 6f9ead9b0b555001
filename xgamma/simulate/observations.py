"""Many real runs again, with events from models: as a DL3 store."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from xgamma.dl3.gti import gti_duration
from xgamma.dl3.index import HduIndex, HduLocation, ObsId, obs_table
from xgamma.dl3.observation import Observation
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.store import Observations
from xgamma.dl3.times import J2000_HEADER, to_time
from xgamma.dl3.write import write_fits, write_index, write_observation
from xgamma.io.fits_file import expand_path
from xgamma.irf.write import irf_to_hdu
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.sky_model import SkyModel
from xgamma.simulate.emission import split_models
from xgamma.simulate.events import draw_events
from xgamma.simulate.expected import expected_of_run
from xgamma.simulate.observed import absent_models, kept_cards, responses_of
from xgamma.simulate.response import NAMES, prepare_responses
from xgamma.simulate.run import make_run
from xgamma.simulate.store import (
    GZIP_LEVEL,
    HDU_NAMES,
    TIME_STEP,
    check_target,
    chosen_energies,
    labelled_counts,
    load_responses,
    new_store,
    warn_unseen,
)
from xgamma.simulate.truth import write_components

__all__ = ["simulate_observations"]


#: Type of each response, its file, HDU and class.
Places: TypeAlias = tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class Again:
    """One run to make again: what a worker needs, small.

    Parameters
    ----------
    obs_id
        Label of the run.
    pointing, gti, deadtime_fraction
        As of the real one.
    responses
        Type of each response, its file, HDU and class.
    cards
        Cards of the header.
    absent
        Names of models that do not belong to it.
    file
        File to write.
    """

    obs_id: ObsId
    pointing: Pointing
    gti: xr.Dataset
    deadtime_fraction: float
    responses: Places
    cards: tuple[tuple[str, Any], ...]
    absent: frozenset[str]
    file: str


@dataclass(frozen=True)
class Settings:
    """What all runs share."""

    sources: tuple[SkyModel, ...]
    factors: tuple[FoVBackgroundModel, ...]
    energy_range: tuple[float, float]
    seed: int
    background: bool
    truth: bool


def simulate_observations(
    observations: Observations | Observation | Iterable[Observation],
    models: Any,
    path: str | PathLike[str],
    *,
    irfs: Mapping[str, Any] | None = None,
    seed: int = 0,
    energy_range: Any = None,
    background: bool = True,
    truth: bool = False,
    name: str | None = None,
    compress: bool = True,
    overwrite: bool = False,
) -> xr.Dataset:
    """Simulate runs that were taken, with events from models, and write them as a DL3 store.

    Parameters
    ----------
    observations
        Runs, as ``open_store(...).select(...)`` gives them: their pointings, good time intervals, dead times and
        responses are taken; of their events nothing is read.
    models
        What is on the sky, see `xgamma.simulate.events.simulate_events`; models with ``datasets_names`` belong to the
        runs of these labels.
    path
        Folder to make. It appears when all is written, or not at all.
    irfs
        Responses by name that replace those of all runs, for example ``{"psf": None}`` for an ideal one.
    seed
        Fixes every event of every run, whatever other runs are made.
    energy_range
        Lowest and highest reconstructed energy; all by default.
    background
        False leaves the background out.
    truth
        Write also the columns ``RA_TRUE``, ``DEC_TRUE`` and ``ENERGY_TRUE``.
    name
        Name of the dataset that the runs stand for, for models with ``datasets_names``.
    compress
        Write gzipped files.
    overwrite
        Replace an older simulated store. Any other folder is left alone.

    Returns
    -------
    xarray.Dataset
        ``simulated`` and ``expected`` counts, dims (obs, component); the components are ``background`` and the
        sources by name.

    Raises
    ------
    FileExistsError
        If the folder exists and is not to be overwritten, or holds something else than simulated runs.
    TypeError, ValueError
        If a model or an argument is wrong, or a run lacks a response; nothing is written then.

    Warns
    -----
    UserWarning
        For a source that lies outside the field of view of all runs.

    See Also
    --------
    xgamma.simulate.events.simulate_events : the events of one run, in memory.
    xgamma.simulate.survey.simulate_survey : runs of a survey that is yet to be taken.

    Notes
    -----
    The folder holds ``data/run_<label>.fits.gz`` (EVENTS and GTI), the responses, each of which is written once however
    many runs share it, the index tables, ``truth.yaml`` (models, and the sums of expected and simulated
    counts) and ``truth.ecsv`` (a row per run). ``MC_ID`` is 0 for background and counts the sources from 1, in all runs
    alike; the headers tell their names. Dask makes the runs, with the scheduler or client that is set;
    workers on other machines have to see the folder.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.io.sample import sample_path
    >>> star = xg.SkyModel(
    ...     xg.PowerLawSpectralModel(index=2.3, amplitude="1e-11 cm-2 s-1 TeV-1"),
    ...     xg.PointSpatialModel(lon_0="150 deg", lat_0="-25 deg"),
    ...     name="star",
    ... )
    >>> runs = xg.open_store(sample_path("survey")).select([1, 2])
    >>> made = simulate_observations(runs, star, "again", energy_range=("1 TeV", "100 TeV"), seed=1)
    >>> made.simulated.sel(component="star").values > 10
    array([ True,  True])
    >>> len(xg.open_store("again"))
    2
    """
    target = expand_path(path)
    check_target(target, overwrite)
    runs = _runs(observations)
    sources, factors = split_models(models)
    absent = _absent(runs, sources, factors, name)
    limits = (0.0, np.inf) if energy_range is None else chosen_energies(energy_range)
    settings = Settings(sources, factors, limits, seed, background, truth)
    with new_store(target, overwrite) as draft:
        places = _write_responses(draft, runs, irfs, settings)
        again = [_again(draft, r, absent[r.obs_id], p, compress) for r, p in zip(runs, places, strict=True)]
        _check_files(again)
        make = delayed(simulate_again, pure=False)
        counts = np.stack(compute(*(make(settings, run) for run in again)))
        result = labelled_counts([r.obs_id for r in again], [s.name for s in sources], counts, _pointings(again))
        warn_unseen(result)
        _write_index(draft, again, result)
        write_components(draft, result, sources, factors, {"seed": int(seed), "runs": len(again)}, limits)
    return result


def _runs(observations: Any) -> list[Observation]:
    runs = [observations] if isinstance(observations, Observation) else list(observations)
    wrong = [r for r in runs if not isinstance(r, Observation)]
    if wrong:
        msg = f"{wrong[0]!r} is not a run: give those of a store, xgamma.open_store(...).select(...)"
        raise TypeError(msg)
    if not runs:
        msg = "there are no runs, so there is nothing to simulate"
        raise ValueError(msg)
    labels = [str(r.obs_id) for r in runs]
    double = sorted({label for label in labels if labels.count(label) > 1})
    if double:
        msg = f"runs {double} are given more than once; each label needs to be that of one run"
        raise ValueError(msg)
    return runs


def _absent(
    runs: Sequence[Observation],
    sources: tuple[SkyModel, ...],
    factors: tuple[FoVBackgroundModel, ...],
    name: str | None,
) -> dict[ObsId, frozenset[str]]:
    """Models that do not belong to each run; all must belong to one."""
    absent = {run.obs_id: absent_models(sources, factors, run.obs_id, name) for run in runs}
    never = frozenset.intersection(*absent.values())
    if never:
        first = next(m for m in (*sources, *factors) if m.name in never)
        msg = (
            f"model {first.name!r} belongs to the datasets {first.datasets_names}, to none of the {len(runs)} runs; "
            "give name=, the dataset that the runs stand for"
        )
        raise ValueError(msg)
    return absent


def _write_responses(
    draft: Path, runs: Sequence[Observation], irfs: Mapping[str, Any] | None, settings: Settings
) -> list[Places]:
    """Write the responses of all runs, from which workers read; return where those of each run are."""
    written: dict[tuple[Any, ...], Places] = {}
    result = []
    for run in runs:
        places = tuple(run.location(n) for n in NAMES if n in run.available)
        reversed_ = False
        if "bkg" in run.available:
            with run.open() as files:
                reversed_ = files.reversed_background()
        key = (*((p.hdu_type, p.file, p.hdu) for p in places), reversed_)
        if key not in written:
            found: dict[str, Any] = dict(responses_of(run, irfs, settings.background))
            try:
                # says what is wrong before anything is drawn
                ready = prepare_responses(found, settings.energy_range, background=settings.background)
                _check(run, ready, settings)
            except ValueError as error:
                msg = f"run {run.obs_id}: {error}"
                raise ValueError(msg) from error
            file = draft / f"responses_{len(written) + 1:03d}.fits.gz"
            names = [n for n in HDU_NAMES if found.get(n) is not None and (settings.background or n != "bkg")]
            write_fits(file, [irf_to_hdu(found[n], HDU_NAMES[n]) for n in names])
            written[key] = tuple((n, str(file), HDU_NAMES[n], str(found[n].attrs["hduclass"]).lower()) for n in names)
        result.append(written[key])
    return result


def _check(run: Observation, responses: Any, settings: Settings) -> None:
    checked = make_run(
        run.pointing, responses, settings.sources, None, None, run.gti, run.deadtime_fraction, None,
        settings.background, settings.factors,
    )  # fmt: skip
    for emission in checked.emissions:
        emission.flux(responses.energy_nodes)
    _ = checked.background


def _again(
    draft: Path,
    run: Observation,
    absent: frozenset[str],
    responses: Places,
    compress: bool,
) -> Again:
    gti = run.gti
    if not gti.sizes["gti"]:
        msg = f"run {run.obs_id} has no good time interval left; leave it out"
        raise ValueError(msg)
    reference = int(np.floor(to_time(float(gti["gti_start"].min())).tt.mjd))
    cards = {**kept_cards(run), "MJDREFI": reference, "MJDREFF": 0.0, "TIMESYS": "TT", "TIMEUNIT": "s"}
    label = f"{run.obs_id:06d}" if isinstance(run.obs_id, (int, np.integer)) else str(run.obs_id).replace("/", "_")
    file = draft / "data" / f"run_{label}.fits{'.gz' if compress else ''}"
    return Again(
        run.obs_id, run.pointing, gti, run.deadtime_fraction, responses, tuple(cards.items()), absent, str(file)
    )


def simulate_again(settings: Settings, run: Again) -> np.ndarray:
    """Simulate and write one run; return simulated and expected counts, shape (2, components)."""
    places = tuple((name, (file, hdu)) for name, file, hdu, _ in run.responses)
    responses = load_responses(places, settings.energy_range, settings.background)
    factors = tuple(m for m in settings.factors if m.name not in run.absent)
    full = make_run(
        run.pointing, responses, settings.sources, None, None, run.gti, run.deadtime_fraction, None,
        settings.background, factors, run.absent,
    )  # fmt: skip
    events = draw_events(full, settings.seed, run.obs_id, truth=settings.truth)
    expected = expected_of_run(full)
    # positions and energies in single precision, as the format has them; times to a microsecond
    short = [n for n in ("ra", "dec", "energy", "ra_true", "dec_true", "energy_true") if n in events]
    columns = {n: events[n].copy(data=events[n].values.astype(np.float32).astype(float)) for n in short}
    columns["time"] = events["time"].copy(data=np.round(events["time"].values / TIME_STEP) * TIME_STEP)
    plain = run.file.removesuffix(".gz")
    write_observation(plain, events.assign(columns), run.gti, header=dict(run.cards), pointing=run.pointing)
    if plain != run.file:
        Path(run.file).write_bytes(gzip.compress(Path(plain).read_bytes(), GZIP_LEVEL, mtime=0))
        Path(plain).unlink()
    simulated = np.bincount(events["mc_id"].values, minlength=1 + len(settings.sources))
    return np.stack([simulated, np.array(list(expected.values()))])


def _check_files(runs: Sequence[Again]) -> None:
    """Say if two labels would give one name: no run may overwrite another."""
    first: dict[str, ObsId] = {}
    for run in runs:
        other = first.setdefault(run.file, run.obs_id)
        if other is not run.obs_id:
            msg = f"runs {other!r} and {run.obs_id!r} would both be written to {Path(run.file).name}; rename one"
            raise ValueError(msg)


def _pointings(runs: Sequence[Again]) -> list[tuple[float, float]]:
    """Directions (ICRS) in deg at the middle of each run."""
    middle = [run.pointing.icrs(0.5 * float(run.gti["gti_start"].min() + run.gti["gti_stop"].max())) for run in runs]
    return [(float(ra), float(dec)) for ra, dec in middle]


def _write_index(folder: Path, runs: Sequence[Again], counts: xr.Dataset) -> None:
    pairs: list[tuple[ObsId, HduLocation]] = []
    for run in runs:
        pairs += [(run.obs_id, HduLocation(n.lower(), n.lower(), run.file, n)) for n in ("EVENTS", "GTI")]
        if run.pointing.mode == "table":
            pairs.append((run.obs_id, HduLocation("pointing", "pointing", run.file, "POINTING")))
        pairs += [(run.obs_id, HduLocation(name, kind, file, hdu)) for name, file, hdu, kind in run.responses]
    ontime = np.array([gti_duration(run.gti) for run in runs])
    live = 1.0 - np.array([run.deadtime_fraction for run in runs])
    columns: dict[str, tuple[np.ndarray, str]] = {
        "ra_pnt": (counts["ra_pnt"].values, "deg"),
        "dec_pnt": (counts["dec_pnt"].values, "deg"),
        "tstart": (np.array([float(run.gti["gti_start"].min()) for run in runs]), "s"),
        "tstop": (np.array([float(run.gti["gti_stop"].max()) for run in runs]), "s"),
        "ontime": (ontime, "s"),
        "livetime": (ontime * live, "s"),
        "deadc": (live, ""),
        "event_count": (counts["simulated"].sum("component").values, ""),
    }
    cards: dict[str, Any] = dict(J2000_HEADER)
    cards |= {k: v for k, v in runs[0].cards if k in ("TELESCOP", "INSTRUME")}
    if runs[0].pointing.location is not None:
        cards |= dict(zip(("GEOLON", "GEOLAT", "ALTITUDE"), runs[0].pointing.location, strict=True))
    table = obs_table([run.obs_id for run in runs], columns, cards)
    write_index(folder, Observations(table, HduIndex.from_locations(pairs)))
