"""What a simulated survey says about itself: index tables, and the truth to compare results with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from astropy.table import Table

from xgamma.coords.units import to_value
from xgamma.dl3.index import HduIndex, HduLocation, obs_table
from xgamma.dl3.store import Observations
from xgamma.dl3.times import J2000_HEADER
from xgamma.dl3.write import write_index
from xgamma.io.fits_file import expand_path
from xgamma.models.sky_model import Model, SkyModel
from xgamma.simulate.schedule import PlannedRun, Schedule
from xgamma.simulate.sources import Source, source_from_dict

__all__ = ["Truth", "read_truth"]

TRUTH_FILE, TRUTH_TABLE = "truth.yaml", "truth.ecsv"
SOURCE_KEYS = ("name", "position", "spectrum", "shape")


@dataclass(frozen=True)
class Truth:
    """What a simulated survey holds.

    Parameters
    ----------
    sources
        What is on the sky, as it was given: descriptions or sky models; the first one has MC_ID 1, and so on.
        Models whose templates have no file are missing.
    expected, simulated
        Events of the ``"background"`` (MC_ID 0) and of each source by name, expected and in the files.
    energy_range
        Lowest and highest reconstructed energy in TeV.
    seed
        Seed of the survey.
    runs
        Number of runs.
    """

    sources: tuple[Source | SkyModel, ...]
    expected: dict[str, float]
    simulated: dict[str, int]
    energy_range: tuple[float, float]
    seed: int
    runs: int


def read_truth(folder: str | PathLike[str]) -> Truth:
    """Read what a simulated survey holds.

    Parameters
    ----------
    folder
        The survey.

    Returns
    -------
    Truth

    Raises
    ------
    FileNotFoundError
        If the folder holds no simulated survey.
    ValueError
        If its ``truth.yaml`` is damaged.

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> truth = read_truth(sample_path("survey"))
    >>> [source.name for source in truth.sources]
    ['bright', 'extended', 'faint']
    """
    file = expand_path(folder) / TRUTH_FILE
    if not file.is_file():
        msg = f"{expand_path(folder)} is not a simulated survey: it has no {TRUTH_FILE}"
        raise FileNotFoundError(msg)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        parts = {"background": content["background"], **{s["name"]: s for s in content["sources"]}}
        made = [_source(s, expand_path(folder)) for s in content["sources"]]
        sources = tuple(s for s in made if s is not None)
        low, high = (float(to_value(v, "TeV", "energy_range")) for v in content["energy_range"])
        expected = {name: float(part["expected_counts"]) for name, part in parts.items()}
        simulated = {name: int(part["simulated_counts"]) for name, part in parts.items()}
        return Truth(sources, expected, simulated, (low, high), int(content["seed"]), int(content["runs"]))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        msg = f"{file} is damaged ({error!r}); simulate the survey again"
        raise ValueError(msg) from error


def _source(values: Mapping[str, Any], folder: Path) -> Source | SkyModel | None:
    if "model" not in values:
        return source_from_dict({k: v for k, v in values.items() if k in SOURCE_KEYS})
    return None if values["model"] is None else SkyModel.from_dict(values["model"], folder)


def described_source(source: Source | Model) -> dict[str, Any]:
    """Return what ``truth.yaml`` says of a source; no model where a file cannot hold it."""
    if isinstance(source, Source):
        return source.to_dict()
    try:
        return {"name": source.name, "model": source.to_dict(full=True)}
    except ValueError as error:
        return {"name": source.name, "model": None, "why": str(error)}


def described_factors(factors: Sequence[Model]) -> dict[str, Any]:
    """Return what ``truth.yaml`` says of the models that scale the background."""
    return {"models": [described_source(m) for m in factors]} if factors else {}


def write_tables(
    folder: Path,
    runs: Sequence[PlannedRun],
    files: Sequence[str],
    responses: Sequence[HduLocation],
    truth: xr.Dataset,
    schedule: Schedule,
    telescope: str,
) -> None:
    """Write the index tables of runs that share their responses."""
    pairs: list[tuple[Any, HduLocation]] = []
    for run, file in zip(runs, files, strict=True):
        own = [HduLocation(name.lower(), name.lower(), file, name) for name in ("EVENTS", "GTI")]
        pairs += [(run.obs_id, location) for location in (*own, *responses)]
    live = 1.0 - schedule.deadtime_fraction
    ontime = np.array([run.ontime for run in runs])
    start = np.array([run.start for run in runs])
    columns: dict[str, tuple[np.ndarray, str]] = {
        "ra_pnt": (np.array([run.pointing.ra for run in runs]), "deg"),
        "dec_pnt": (np.array([run.pointing.dec for run in runs]), "deg"),
        "tstart": (start, "s"),
        "tstop": (start + ontime, "s"),
        "ontime": (ontime, "s"),
        "livetime": (ontime * live, "s"),
        "deadc": (np.full(len(runs), live), ""),
        "event_count": (truth["simulated"].sum("component").values, ""),
    }
    cards: dict[str, Any] = {"TELESCOP": telescope, **J2000_HEADER}
    location = runs[0].pointing.location
    if location is not None:
        columns["alt_pnt"] = np.array([run.pointing.alt for run in runs]), "deg"
        columns["az_pnt"] = np.array([run.pointing.az for run in runs]), "deg"
        cards |= dict(zip(("GEOLON", "GEOLAT", "ALTITUDE"), location, strict=True))
    table = obs_table([run.obs_id for run in runs], columns, cards)
    write_index(folder, Observations(table, HduIndex.from_locations(pairs)))


def write_truth(
    folder: Path,
    truth: xr.Dataset,
    sources: Sequence[Source | Model],
    factors: Sequence[Model],
    seed: int,
    schedule: Schedule,
    energy_range: tuple[float, float],
) -> None:
    """Write ``truth.yaml`` and ``truth.ecsv`` of a survey."""
    plan = {name: _plain(getattr(schedule, name)) for name in Schedule.__dataclass_fields__}
    about = {"seed": int(seed), "runs": truth.sizes["obs"], "schedule": plan}
    write_components(folder, truth, sources, factors, about, energy_range)


def write_components(
    folder: Path,
    truth: xr.Dataset,
    sources: Sequence[Source | Model],
    factors: Sequence[Model],
    about: Mapping[str, Any],
    energy_range: tuple[float, float],
) -> None:
    """Write ``truth.yaml`` (sources and sums) and ``truth.ecsv`` (a row per run)."""
    total = truth[["expected", "simulated"]].sum("obs")

    def counts(name: str) -> dict[str, Any]:
        row = total.sel(component=name)
        return {"expected_counts": round(float(row["expected"]), 3), "simulated_counts": int(row["simulated"])}

    described = [described_source(source) for source in sources]
    content = {
        "creator": f"xgamma {_version()}",
        **about,
        "energy_range": [f"{v:.12g} TeV" for v in energy_range],
        "background": {"mc_id": 0, **counts("background"), **described_factors(factors)},
        "sources": [{**values, "mc_id": i, **counts(values["name"])} for i, values in enumerate(described, start=1)],
    }
    (folder / TRUTH_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    table = Table({"obs_id": truth["obs"].values, "ra_pnt": truth["ra_pnt"].values, "dec_pnt": truth["dec_pnt"].values})
    for name in map(str, truth["component"].values):
        table[f"{name}_expected"] = np.round(truth["expected"].sel(component=name).values, 4)
        table[f"{name}_simulated"] = truth["simulated"].sel(component=name).values
    table.write(folder / TRUTH_TABLE, format="ascii.ecsv")


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)


def _version() -> str:
    try:
        return version("xgamma")
    except PackageNotFoundError:
        return "(not installed)"
