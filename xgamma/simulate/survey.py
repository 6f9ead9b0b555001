"""Surveys: many simulated runs as a DL3 store with index tables and the truth beside them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from dask.base import compute
from dask.delayed import delayed

from xgamma.dl3.gti import gti_table, gti_to_hdu
from xgamma.dl3.index import HduLocation
from xgamma.dl3.times import reference_seconds, to_time
from xgamma.dl3.write import events_to_hdu, write_fits
from xgamma.io.fits_file import expand_path
from xgamma.irf.write import irf_to_hdu
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.sky_model import Model, SkyModel
from xgamma.simulate.emission import split_models
from xgamma.simulate.events import draw_events
from xgamma.simulate.expected import expected_of_run
from xgamma.simulate.run import make_run
from xgamma.simulate.schedule import PlannedRun, Schedule, plan_runs
from xgamma.simulate.sources import Source, sky_position
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
from xgamma.simulate.truth import write_tables, write_truth

__all__ = ["simulate_survey"]

RESPONSE_FILE = "responses.fits.gz"
#: Runs that one task makes.
BATCH = 32


@dataclass(frozen=True)
class Task:
    """What a worker needs to make runs: small, apart from the runs themselves.

    Parameters
    ----------
    folder
        Where the store is made.
    responses
        Files and class of each response: pairs of type and (file, HDU).
    sources
        What is on the sky.
    factors
        Models that scale the background.
    energy_range
        Range of reconstructed energies in TeV.
    seed
        Seed of the survey.
    deadtime_fraction
        Part of the time in which no event is taken.
    suffix
        Ending of the files.
    reference
        Whole day (MJD) from which the times of the files count.
    """

    folder: str
    responses: tuple[tuple[str, tuple[str, str]], ...]
    sources: tuple[SkyModel, ...]
    factors: tuple[FoVBackgroundModel, ...]
    energy_range: tuple[float, float]
    seed: int
    deadtime_fraction: float
    suffix: str
    reference: int


def simulate_survey(
    path: str | PathLike[str],
    pointings: Sequence[Any],
    irfs: Mapping[str, Any],
    sources: Any = (),
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    energy_range: Any = None,
    location: tuple[float, float, float] | None = None,
    compress: bool = True,
    overwrite: bool = False,
) -> xr.Dataset:
    """Simulate a survey and write it as a DL3 store.

    Parameters
    ----------
    path
        Folder to make. It appears when all is written, or not at all.
    pointings
        One per run: SkyCoord (also an array of them), or (ra, dec) in degrees; see
        `xgamma.simulate.pointings`.
    irfs
        Responses by name (``aeff``, ``psf``, ``edisp``, ``bkg``), shared by all runs.
    sources
        What is on the sky: sky models, models that scale the background, and short descriptions
        (`~xgamma.simulate.sources.Source`).
    seed
        Fixes every event of every run. A run is the same whatever other runs are made, in whatever order.
    schedule
        When runs are taken, by default 28 minutes each.
    energy_range
        Lowest and highest reconstructed energy; by default that of the background model.
    location
        Longitude and latitude in deg and height in m of the telescopes; with it headers hold ALT_PNT and AZ_PNT.
    compress
        Write gzipped files.
    overwrite
        Replace an older simulated survey. Any other folder is left alone.

    Returns
    -------
    xarray.Dataset
        ``simulated`` and ``expected`` counts, dims (obs, component); the components are ``background`` and the
        sources by name.

    Raises
    ------
    FileExistsError
        If the folder exists and is not to be overwritten, or holds something else than a simulated survey.
    ValueError
        If an argument is wrong; nothing is written then.

    Warns
    -----
    UserWarning
        For a source that lies outside the field of view of all runs.

    Notes
    -----
    The folder holds ``data/run_000001.fits.gz``, ... (EVENTS and GTI), one ``responses.fits.gz`` that all runs share,
    the index tables, ``truth.yaml`` (sources, and the sums of expected and simulated counts) and
    ``truth.ecsv`` (a row per run). Runs are made in batches by Dask, with the scheduler or
    client that is set; workers on other machines have to see the folder.

    Examples
    --------
    >>> from xgamma.simulate import array
    >>> from xgamma.simulate.sources import PowerLaw, Source
    >>> star = Source("star", (150.0, -25.0), PowerLaw("1e-11 cm-2 s-1 TeV-1", index=2.3))
    >>> truth = simulate_survey("survey", [(150, -25.5), (150, -24.5)], array.responses(), [star], seed=7)
    >>> truth.simulated.sel(component="star").values > 20
    array([ True,  True])
    """
    target = expand_path(path)
    check_target(target, overwrite)
    schedule = schedule or Schedule()
    positions = _positions(pointings)
    given = [sources] if isinstance(sources, (Source, Model)) else list(sources)
    chosen, factors = split_models(given)
    models_of_runs(chosen, factors)
    runs = plan_runs(positions, schedule, location)
    limits = _energy_limits(irfs, energy_range)
    # says what is wrong with the responses before anything is written
    dead, energies = schedule.deadtime_fraction, _in_tev(limits)
    checked = make_run(positions[0], irfs, chosen, schedule.ontime, schedule.start, None, dead, energies, True, factors)
    _ = checked.emissions, checked.background
    with new_store(target, overwrite) as draft:
        task = make_task(draft, irfs, given, limits, seed, schedule, compress)
        truth = _simulate(task, runs)
        warn_unseen(truth)
        classes = {name: str(irfs[name].attrs["hduclass"]).lower() for name, _ in task.responses}
        shared = [HduLocation(name, classes[name], *place) for name, place in task.responses]
        telescope = str(irfs["bkg"].attrs.get("telescop", "SIMULATED"))
        files = [run_path(task, run.obs_id) for run in runs]
        write_tables(draft, runs, files, shared, truth, schedule, telescope)
        described = [s for s in given if not isinstance(s, FoVBackgroundModel)]
        write_truth(draft, truth, described, factors, seed, schedule, limits)
    return truth


def _positions(pointings: Sequence[Any]) -> list[tuple[float, float]]:
    try:
        positions = [sky_position(p, f"pointing {i}") for i, p in enumerate(pointings)]
    except TypeError as error:
        msg = f"pointings={pointings!r} must be a list of positions; put a single one in brackets"
        raise ValueError(msg) from error
    if not positions:
        msg = "there are no pointings, so there is nothing to simulate"
        raise ValueError(msg)
    return positions


def _energy_limits(irfs: Mapping[str, Any], energy_range: Any) -> tuple[float, float]:
    if energy_range is not None:
        return chosen_energies(energy_range)
    background = irfs.get("bkg")
    if background is None:
        msg = "the responses have no background model ('bkg'), which a survey needs"
        raise ValueError(msg)
    return float(background["energy_min"].values[0]), float(background["energy_max"].values[-1])


def models_of_runs(sources: Sequence[SkyModel], factors: Sequence[FoVBackgroundModel]) -> None:
    """Say which models belong to datasets: the runs of a survey have no names yet."""
    own = [m for m in (*sources, *factors) if m.datasets_names is not None]
    if own:
        msg = (
            f"model {own[0].name!r} belongs to the datasets {own[0].datasets_names}; a survey takes models of all runs"
        )
        raise ValueError(msg)


def _in_tev(limits: tuple[float, float]) -> list[str]:
    return [f"{value!r} TeV" for value in limits]


def make_task(
    draft: Path,
    irfs: Mapping[str, Any],
    sources: Sequence[Source | Model],
    limits: tuple[float, float],
    seed: int,
    schedule: Schedule,
    compress: bool,
) -> Task:
    """Write the responses, from which all workers read: what is simulated is what the file says."""
    names = [name for name in HDU_NAMES if irfs.get(name) is not None]
    write_fits(draft / RESPONSE_FILE, [irf_to_hdu(irfs[name], HDU_NAMES[name]) for name in names])
    files = tuple((name, (str(draft / RESPONSE_FILE), HDU_NAMES[name])) for name in names)
    suffix = ".fits.gz" if compress else ".fits"
    reference = int(np.floor(to_time(schedule.starts(1)[0]).tt.mjd))
    return Task(str(draft), files, *split_models(sources), limits, seed, schedule.deadtime_fraction, suffix, reference)


def _simulate(task: Task, runs: list[PlannedRun]) -> xr.Dataset:
    batches = [runs[i : i + BATCH] for i in range(0, len(runs), BATCH)]
    make = delayed(simulate_batch, pure=False)
    counts = np.concatenate(compute(*(make(task, batch) for batch in batches)))
    pointings = [(run.pointing.ra, run.pointing.dec) for run in runs]
    return labelled_counts([run.obs_id for run in runs], [s.name for s in task.sources], counts, pointings)


def simulate_batch(task: Task, runs: Sequence[PlannedRun]) -> np.ndarray:
    """Simulate and write some runs; return simulated and expected counts, shape (runs, 2, components)."""
    return np.stack([simulate_run(task, run) for run in runs])


def simulate_run(task: Task, run: PlannedRun) -> np.ndarray:
    """Simulate and write one run; return simulated and expected counts, shape (2, components)."""
    responses = load_responses(task.responses, task.energy_range)
    gti = gti_table([run.start], [run.start + run.ontime])
    full = make_run(
        run.pointing, responses, task.sources, None, None, gti, task.deadtime_fraction, None, True, task.factors
    )
    events = draw_events(full, task.seed, run.obs_id)
    expected = expected_of_run(full)
    header = {"MJDREFI": task.reference, "MJDREFF": 0.0, "TIMESYS": "TT", "TIMEUNIT": "s", "TIMEREF": "LOCAL"}
    data = _run_bytes(events, gti, {**header, **dict(run.cards)})
    if task.suffix.endswith(".gz"):
        data = gzip.compress(data, GZIP_LEVEL, mtime=0)
    Path(run_path(task, run.obs_id)).write_bytes(data)
    simulated = np.bincount(events["mc_id"].values, minlength=1 + len(task.sources))
    return np.stack([simulated, np.array(list(expected.values()))])


def run_path(task: Task, obs_id: int) -> str:
    """Return the file of a run."""
    return str(Path(task.folder) / "data" / f"run_{obs_id:06d}{task.suffix}")


def _run_bytes(events: xr.Dataset, gti: xr.Dataset, header: Mapping[str, Any]) -> bytes:
    """Return the file of a run: positions and energies in single precision, as the format has them."""
    zero = reference_seconds(header)
    # rounded in the file's own seconds, where the mantissa is short
    columns = {"time": np.round((events["time"].values - zero) / TIME_STEP) * TIME_STEP + zero}
    columns |= {n: events[n].values.astype(np.float32).astype(np.float64) for n in ("ra", "dec", "energy")}
    events = events.assign({n: events[n].copy(data=v) for n, v in columns.items()})
    ends = {"TSTART": float(gti["gti_start"][0]) - zero, "TSTOP": float(gti["gti_stop"][-1]) - zero}
    hdu = events_to_hdu(events, {**header, **ends, "TELAPSE": ends["TSTOP"] - ends["TSTART"]})
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu, gti_to_hdu(gti, header)]).writeto(buffer, output_verify="ignore")
    return buffer.getvalue()
