"""Surveys: many simulated runs as a DL3 store with index tables and the truth beside them."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
import yaml
from astropy.io import fits
from astropy.table import Table

from xgamma.coords.units import to_value
from xgamma.dl3.gti import gti_table, gti_to_hdu
from xgamma.dl3.index import HduIndex, HduLocation, obs_table
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.store import Observations
from xgamma.dl3.times import J2000_HEADER, reference_seconds, to_time, tt_seconds
from xgamma.dl3.write import events_to_hdu, write_fits, write_index
from xgamma.io.fits_file import expand_path, open_fits
from xgamma.irf.read import read_irf
from xgamma.irf.write import irf_to_hdu
from xgamma.simulate.events import check_sources, expected_of_run, make_run, rate_by_offset, simulate_events
from xgamma.simulate.response import Responses, prepare_responses
from xgamma.simulate.sources import Source, sky_position

__all__ = ["Schedule", "simulate_survey"]

RESPONSE_FILE, TRUTH_FILE, TRUTH_TABLE = "responses.fits.gz", "truth.yaml", "truth.ecsv"
HDU_NAMES = {"aeff": "AEFF", "edisp": "EDISP", "psf": "PSF", "bkg": "BKG"}
DAY = 86400.0
#: Runs that one task makes.
BATCH = 32
#: A quick compression: a thorough one takes ten times as long for nothing, as mantissas are random.
GZIP_LEVEL = 5
#: Step to which times are rounded, about a microsecond: a power of two leaves short mantissas.
TIME_STEP = 2.0**-20


@dataclass(frozen=True)
class Schedule:
    """When runs are taken, one after the other.

    Parameters
    ----------
    ontime
        Length of a run.
    start
        When the first run starts: date (UTC) or `~astropy.time.Time`.
    pause
        Time between two runs.
    runs_per_night
        So many runs follow each other, then the next ones begin a day later than these.
    deadtime_fraction
        Part of the time in which no event is taken.
    first_obs_id
        Number of the first run.

    Examples
    --------
    >>> Schedule(ontime="20 min", pause="10 min", runs_per_night=2).starts(3) - Schedule().starts(1)[0]
    array([    0.,  1800., 86400.])
    """

    ontime: Any = "28 min"
    start: Any = "2024-03-01T01:30:00"
    pause: Any = "2 min"
    runs_per_night: int = 12
    deadtime_fraction: float = 0.05
    first_obs_id: int = 1

    def __post_init__(self) -> None:
        for name in ("ontime", "pause"):
            value = to_value(getattr(self, name), "s", name)
            if not 0 <= value < np.inf or (name == "ontime" and value == 0):
                msg = f"{name}={getattr(self, name)!r} must be positive"
                raise ValueError(msg)
            object.__setattr__(self, name, f"{value:.12g} s")
        if not 0 <= self.deadtime_fraction < 1:
            msg = f"deadtime_fraction={self.deadtime_fraction!r} must lie in [0, 1)"
            raise ValueError(msg)
        for name, low in (("runs_per_night", 1), ("first_obs_id", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                msg = f"{name}={value!r} must be a whole number of at least {low}"
                raise ValueError(msg)
        if self.runs_per_night > 1 and self.runs_per_night * self._step > DAY:
            msg = f"{self.runs_per_night} runs of {self.ontime} with pauses of {self.pause} do not fit into a day; lower runs_per_night"
            raise ValueError(msg)
        tt_seconds(self.start, "start")

    @property
    def seconds(self) -> float:
        """Length of a run in seconds."""
        return float(to_value(self.ontime, "s", "ontime"))

    @property
    def _step(self) -> float:
        return self.seconds + float(to_value(self.pause, "s", "pause"))

    def starts(self, number: int) -> np.ndarray:
        """Return the starts of runs in seconds since J2000.0 (TT)."""
        night, run = np.divmod(np.arange(number), self.runs_per_night)
        return float(tt_seconds(self.start, "start")) + night * DAY + run * self._step


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
    sources: tuple[Source, ...]
    energy_range: tuple[float, float]
    seed: int
    deadtime_fraction: float
    suffix: str
    reference: int


@dataclass(frozen=True)
class PlannedRun:
    """One run of a survey: number, pointing, start and length in s, and cards that depend on the time."""

    obs_id: int
    pointing: Pointing
    start: float
    ontime: float
    cards: tuple[tuple[str, Any], ...]


def simulate_survey(
    path: str | PathLike[str],
    pointings: Sequence[Any],
    irfs: Mapping[str, Any],
    sources: Sequence[Source] = (),
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
        What is on the sky.
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
    ``truth.ecsv`` (a row per run). Runs are made in batches by Dask, with the scheduler or client that is set.

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
    check_sources(sources)
    runs = _plan(positions, schedule, location)
    limits = _energy_limits(irfs, energy_range)
    make_run(positions[0], irfs, sources, schedule.ontime, schedule.start, None, schedule.deadtime_fraction, _in_tev(limits), True)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        (draft / "data").mkdir()
        task = _task(draft, irfs, tuple(sources), limits, seed, schedule, compress)
        truth = _simulate(task, runs)
        _warn_unseen(truth)
        _write_tables(task, runs, truth, irfs)
        _write_truth(task, truth, schedule)
        draft.chmod(0o755)
        _move_into_place(draft, target, overwrite)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return truth


def check_target(target: Path, overwrite: bool) -> None:
    """Say if a folder may not be written."""
    if not target.exists():
        return
    if not overwrite:
        msg = f"{target} exists; give overwrite=True to replace it"
        raise FileExistsError(msg)
    if not target.is_dir() or (any(target.iterdir()) and not (target / TRUTH_FILE).is_file()):
        msg = f"{target} is not a simulated survey (it has no {TRUTH_FILE}) and is not overwritten; choose another folder"
        raise FileExistsError(msg)


def _move_into_place(draft: Path, target: Path, overwrite: bool) -> None:
    check_target(target, overwrite)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.replace(old / target.name)
        draft.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        draft.replace(target)


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
        limits = tuple(np.ravel(to_value(list(energy_range), "TeV", "energy_range")).tolist())
        if len(limits) != 2 or not 0 <= limits[0] < limits[1]:
            msg = f"energy_range={energy_range!r} must be two ascending energies"
            raise ValueError(msg)
        return limits[0], limits[1]
    background = irfs.get("bkg")
    if background is None:
        msg = "the responses have no background model ('bkg'), which a survey needs"
        raise ValueError(msg)
    return float(background["energy_min"].values[0]), float(background["energy_max"].values[-1])


def _in_tev(limits: tuple[float, float]) -> list[str]:
    return [f"{value!r} TeV" for value in limits]


def _plan(positions: list[tuple[float, float]], schedule: Schedule, location: Any) -> list[PlannedRun]:
    """Work out pointings and times of all runs at once."""
    starts = schedule.starts(len(positions))
    stops = starts + schedule.seconds
    dates = {key: np.char.partition(to_time(t).utc.isot, "T") for key, t in (("OBS", starts), ("END", stops))}
    pointings = [Pointing("pointing", ra, dec, location=location) for ra, dec in positions]
    if location is not None:
        alt, az = _altaz(positions, 0.5 * (starts + stops), location)
        pointings = [
            Pointing("pointing", ra, dec, a, z, location) for (ra, dec), a, z in zip(positions, alt, az, strict=True)
        ]
    runs = []
    for i, pointing in enumerate(pointings):
        cards = {f"{name}-{key}": str(dates[key][i][part]) for key in ("OBS", "END") for name, part in (("DATE", 0), ("TIME", 2))}
        runs.append(PlannedRun(schedule.first_obs_id + i, pointing, float(starts[i]), schedule.seconds, tuple(cards.items())))
    return runs


def _altaz(positions: list[tuple[float, float]], times: np.ndarray, location: Any) -> tuple[list[float], list[float]]:
    """Altitudes and azimuths of many pointings at once, with a table that has one row per run."""
    order = np.argsort(times, kind="stable")
    rows = tuple((float(times[i]), *positions[i]) for i in order)
    alt, az = Pointing("table", location=tuple(float(v) for v in location), table=rows).altaz(times)
    return np.atleast_1d(alt).tolist(), np.atleast_1d(az).tolist()


def _task(
    draft: Path,
    irfs: Mapping[str, Any],
    sources: tuple[Source, ...],
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
    return Task(str(draft), files, sources, limits, seed, schedule.deadtime_fraction, suffix, reference)


@lru_cache(maxsize=4)
def _load(
    files: tuple[tuple[str, tuple[str, str]], ...], energy_range: tuple[float, float], sources: tuple[Source, ...]
) -> tuple[Responses, dict[str, Any]]:
    """Read and prepare responses, once per process."""
    irfs: dict[str, Any] = {"aeff": None, "psf": None, "edisp": None, "bkg": None}
    for name, (file, hdu) in files:
        with open_fits(file) as hdus:
            irfs[name] = read_irf(hdus[hdu])
    responses = prepare_responses(irfs, energy_range)
    return responses, {source.name: rate_by_offset(responses, source) for source in sources}


def _simulate(task: Task, runs: list[PlannedRun]) -> xr.Dataset:
    batches = [runs[i : i + BATCH] for i in range(0, len(runs), BATCH)]
    make = dask.delayed(simulate_batch, pure=False)
    results = dask.compute(*(make(task, batch) for batch in batches))
    counts = np.concatenate(results)
    components = ["background", *(source.name for source in task.sources)]
    coords = {"obs": [run.obs_id for run in runs], "component": components}
    dims = ("obs", "component")
    variables = {"simulated": (dims, counts[:, 0].astype(np.int64)), "expected": (dims, counts[:, 1])}
    truth = xr.Dataset({n: (d, v, {"units": ""}) for n, (d, v) in variables.items()}, coords=coords)
    pointing = {name: [getattr(run.pointing, name) for run in runs] for name in ("ra", "dec")}
    return truth.assign_coords({f"{n}_pnt": ("obs", v, {"units": "deg"}) for n, v in pointing.items()})


def simulate_batch(task: Task, runs: Sequence[PlannedRun]) -> np.ndarray:
    """Simulate and write some runs; return simulated and expected counts, shape (runs, 2, components)."""
    return np.stack([simulate_run(task, run) for run in runs])


def simulate_run(task: Task, run: PlannedRun) -> np.ndarray:
    """Simulate and write one run; return simulated and expected counts, shape (2, components)."""
    responses, rates = _load(task.responses, task.energy_range, task.sources)
    gti = gti_table([run.start], [run.start + run.ontime])
    events = simulate_events(
        run.pointing,
        responses,
        task.sources,
        gti=gti,
        deadtime_fraction=task.deadtime_fraction,
        seed=task.seed,
        obs_id=run.obs_id,
    )
    full = make_run(run.pointing, responses, task.sources, None, None, gti, task.deadtime_fraction, None, True)
    expected = expected_of_run(full, rates)
    header = {"MJDREFI": task.reference, "MJDREFF": 0.0, "TIMESYS": "TT", "TIMEUNIT": "s", "TIMEREF": "LOCAL"}
    data = _run_bytes(events, gti, {**header, **dict(run.cards)})
    name = Path(task.folder) / "data" / run_file(run.obs_id, task.suffix)
    name.write_bytes(gzip.compress(data, GZIP_LEVEL, mtime=0) if task.suffix.endswith(".gz") else data)
    simulated = np.bincount(events["mc_id"].values, minlength=1 + len(task.sources))
    return np.stack([simulated, np.array(list(expected.values()))])


def run_file(obs_id: int, suffix: str) -> str:
    """Return the name of the file of a run."""
    return f"run_{obs_id:06d}{suffix}"


def _run_bytes(events: xr.Dataset, gti: xr.Dataset, header: Mapping[str, Any]) -> bytes:
    """Return the file of a run: positions and energies in single precision, as the format has them."""
    zero = reference_seconds(header)
    short = {n: events[n].copy(data=events[n].values.astype(np.float32).astype(np.float64)) for n in ("ra", "dec", "energy")}
    # rounded in the file's own seconds, where the mantissa is short
    time = np.round((events["time"].values - zero) / TIME_STEP) * TIME_STEP + zero
    events = events.assign(**short, time=events["time"].copy(data=time))
    ends = {"TSTART": float(gti["gti_start"][0]) - zero, "TSTOP": float(gti["gti_stop"][-1]) - zero}
    hdu = events_to_hdu(events, {**header, **ends, "TELAPSE": ends["TSTOP"] - ends["TSTART"]})
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu, gti_to_hdu(gti, header)]).writeto(buffer)
    return buffer.getvalue()


def _warn_unseen(truth: xr.Dataset) -> None:
    import warnings

    total = truth["expected"].sum("obs")
    unseen = [str(c) for c in truth["component"].values if float(total.sel(component=c)) == 0]
    if unseen:
        msg = f"{unseen} lie outside the effective area of all {truth.sizes['obs']} runs: no events come from there"
        warnings.warn(msg, UserWarning, stacklevel=3)


def _write_tables(task: Task, runs: list[PlannedRun], truth: xr.Dataset, irfs: Mapping[str, Any]) -> None:
    folder = Path(task.folder)
    pairs = []
    kinds = [("events", "events", "EVENTS"), ("gti", "gti", "GTI")]
    shared = [(n, str(irfs[n].attrs["hduclass"]).lower(), file, hdu) for n, (file, hdu) in task.responses]
    for run in runs:
        file = str(folder / "data" / run_file(run.obs_id, task.suffix))
        pairs += [(run.obs_id, HduLocation(kind, cls, file, hdu)) for kind, cls, hdu in kinds]
        pairs += [(run.obs_id, HduLocation(kind, cls, file, hdu)) for kind, cls, file, hdu in shared]
    live = 1.0 - task.deadtime_fraction
    columns: dict[str, tuple[np.ndarray, str]] = {
        "ra_pnt": (np.array([run.pointing.ra for run in runs]), "deg"),
        "dec_pnt": (np.array([run.pointing.dec for run in runs]), "deg"),
        "tstart": (np.array([run.start for run in runs]), "s"),
        "tstop": (np.array([run.start + run.ontime for run in runs]), "s"),
        "ontime": (np.array([run.ontime for run in runs]), "s"),
        "livetime": (np.array([run.ontime * live for run in runs]), "s"),
        "deadc": (np.full(len(runs), live), ""),
        "event_count": (truth["simulated"].sum("component").values, ""),
    }
    if all(np.isfinite(run.pointing.alt) for run in runs):
        columns["alt_pnt"] = np.array([run.pointing.alt for run in runs]), "deg"
        columns["az_pnt"] = np.array([run.pointing.az for run in runs]), "deg"
    cards = {"TELESCOP": irfs["bkg"].attrs.get("telescop", "SIMULATED"), **J2000_HEADER}
    location = runs[0].pointing.location
    if location is not None:
        cards |= dict(zip(("GEOLON", "GEOLAT", "ALTITUDE"), location, strict=True))
    table = obs_table([run.obs_id for run in runs], columns, cards)
    write_index(folder, Observations(table, HduIndex.from_locations(pairs)))


def _write_truth(task: Task, truth: xr.Dataset, schedule: Schedule) -> None:
    folder = Path(task.folder)
    total = truth[["expected", "simulated"]].sum("obs")

    def counts(name: str) -> dict[str, Any]:
        row = total.sel(component=name)
        return {"expected_counts": round(float(row["expected"]), 3), "simulated_counts": int(row["simulated"])}

    sources = [{**source.to_dict(), "mc_id": i, **counts(source.name)} for i, source in enumerate(task.sources, start=1)]
    content = {
        "creator": f"xgamma {_version()}",
        "seed": int(task.seed),
        "runs": truth.sizes["obs"],
        "schedule": {n: _plain(getattr(schedule, n)) for n in Schedule.__dataclass_fields__},
        "energy_range": [f"{v:.12g} TeV" for v in task.energy_range],
        "background": {"mc_id": 0, **counts("background")},
        "sources": sources,
    }
    (folder / TRUTH_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    table = Table({"obs_id": truth["obs"].values, "ra_pnt": truth["ra_pnt"].values, "dec_pnt": truth["dec_pnt"].values})
    for name in map(str, truth["component"].values):
        for kind in ("expected", "simulated"):
            values = truth[kind].sel(component=name).values
            table[f"{name}_{kind}"] = np.round(values, 4) if kind == "expected" else values
    table.write(folder / TRUTH_TABLE, format="ascii.ecsv")


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)


def _version() -> str:
    try:
        return version("xgamma")
    except PackageNotFoundError:
        return "(not installed)"
