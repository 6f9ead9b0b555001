"""Surveys described in YAML: `xgamma simulate survey.yaml folder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from xgamma.coords.units import to_value
from xgamma.dl3.store import open_store
from xgamma.io.fits_file import expand_path, open_fits
from xgamma.irf.read import IRF_CLASSES, read_irf
from xgamma.simulate import array
from xgamma.simulate.pointings import grid_pointings, wobble_pointings
from xgamma.simulate.schedule import Schedule
from xgamma.simulate.sources import Source, check_keys, sky_position, source_from_dict
from xgamma.simulate.store import check_target
from xgamma.simulate.survey import simulate_survey

__all__ = ["SurveyConfig", "read_responses", "read_survey_config", "simulate_from_config"]

SCHEDULE = {f.name for f in fields(Schedule)}
POINTINGS = {"positions", "wobble", "grid"}
#: Names of responses in a DL3 store, by what a file says.
KINDS = {"aeff": "aeff", "psf": "psf", "edisp": "edisp", "background": "bkg"}


@dataclass(frozen=True)
class SurveyConfig:
    """Description of a survey, checked.

    Parameters
    ----------
    pointings
        (ra, dec) in degrees, one per run.
    sources
        What is on the sky.
    responses
        ``"array"`` for those of `xgamma.simulate.array`, a FITS file, or a DL3 store with a run.
    seed
        Seed of the survey.
    schedule
        When runs are taken.
    energy_range
        Range of reconstructed energies, None for that of the background model.
    location
        Longitude and latitude in deg, height in m; None where not given.
    compress
        Write gzipped files.
    folder
        Folder from which relative paths count.
    """

    pointings: tuple[tuple[float, float], ...]
    sources: tuple[Source, ...]
    responses: Any
    seed: int
    schedule: Schedule
    energy_range: tuple[str, str] | None
    location: tuple[float, float, float] | None
    compress: bool
    folder: Path


def read_survey_config(path: str | PathLike[str]) -> SurveyConfig:
    """Read the description of a survey.

    Parameters
    ----------
    path
        YAML file.

    Returns
    -------
    SurveyConfig

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not valid YAML, a key is not known or missing, or a value is wrong.

    Notes
    -----
    Keys: ``runs`` (one or several of ``positions``, ``wobble`` and ``grid``, and the fields of
    `~xgamma.simulate.schedule.Schedule`), ``sources`` (see `~xgamma.simulate.sources.source_from_dict`), and
    optionally ``seed``, ``responses``, ``energy_range``, ``location`` and ``compress``.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("survey.yaml").write_text(
    ...     '''
    ... seed: 1
    ... runs:
    ...   ontime: 20 min
    ...   wobble:
    ...     - {target: {lon: 150 deg, lat: -25 deg}, offset: 0.5 deg, number: 4}
    ... sources:
    ...   - name: star
    ...     position: {lon: 150 deg, lat: -25 deg}
    ...     spectrum: {type: power-law, amplitude: 1e-11 cm-2 s-1 TeV-1, index: 2.3}
    ... '''
    ... )
    >>> config = read_survey_config("survey.yaml")
    >>> len(config.pointings), config.sources[0].name, config.schedule.ontime
    (4, 'star', '1200 s')
    """
    file = expand_path(path)
    if not file.is_file():
        msg = f"there is no file {file}; give a YAML description of a survey"
        raise FileNotFoundError(msg)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        msg = f"{file} is not valid YAML: {error}"
        raise ValueError(msg) from error
    try:
        return _config(values, file.parent)
    except ValueError as error:
        msg = f"{file}: {error}"
        raise ValueError(msg) from error


def _config(values: Any, folder: Path) -> SurveyConfig:
    check_keys(values, {"runs"}, {"sources", "seed", "responses", "energy_range", "location", "compress"}, "the survey")
    runs = values["runs"]
    check_keys(runs, set(), POINTINGS | SCHEDULE, "runs")
    seed = values.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        msg = f"seed={seed!r} must be a whole number of at least 0"
        raise ValueError(msg)
    energy = values.get("energy_range")
    if energy is not None and (not isinstance(energy, list) or len(energy) != 2):
        msg = f"energy_range={energy!r} must be a list of two energies, for example [0.3 TeV, 100 TeV]"
        raise ValueError(msg)
    compress = values.get("compress", True)
    if not isinstance(compress, bool):
        msg = f"compress={compress!r} must be true or false"
        raise ValueError(msg)
    return SurveyConfig(
        tuple(_pointings(runs)),
        tuple(source_from_dict(v) for v in _list(values.get("sources"), "sources")),
        values.get("responses", "array"),
        seed,
        _schedule(runs),
        None if energy is None else (str(energy[0]), str(energy[1])),
        _location(values.get("location")),
        compress,
        folder,
    )


def _list(values: Any, name: str) -> list[Any]:
    if values is None:
        return []
    if not isinstance(values, list):
        msg = f"{name} must be a list, each entry after a dash, not {values!r}"
        raise ValueError(msg)
    return values


def _pointings(runs: Mapping[str, Any]) -> list[tuple[float, float]]:
    single = _list(runs.get("positions"), "runs.positions")
    positions = [sky_position(v, f"runs.positions[{i}]") for i, v in enumerate(single)]
    for values in _list(runs.get("wobble"), "runs.wobble"):
        check_keys(values, {"target"}, {"offset", "number"}, "runs.wobble")
        positions += wobble_pointings(values["target"], values.get("offset", "0.5 deg"), values.get("number", 4))
    for values in _list(runs.get("grid"), "runs.grid"):
        check_keys(values, {"center", "width", "number"}, {"seed"}, "runs.grid")
        positions += grid_pointings(values["center"], values["width"], values["number"], values.get("seed"))
    if not positions:
        msg = f"runs names no pointings; give one or several of {sorted(POINTINGS)}"
        raise ValueError(msg)
    return positions


def _schedule(runs: Mapping[str, Any]) -> Schedule:
    given = {k: v for k, v in runs.items() if k in SCHEDULE}
    if "start" in given:
        # YAML turns a date without quotes into a datetime
        given["start"] = getattr(given["start"], "isoformat", lambda: given["start"])()
    try:
        return Schedule(**given)
    except (TypeError, ValueError) as error:
        msg = f"runs: {error}"
        raise ValueError(msg) from error


def _location(values: Any) -> tuple[float, float, float] | None:
    if values is None:
        return None
    check_keys(values, {"lon", "lat", "height"}, set(), "location")
    lon, lat = (to_value(values[n], "deg", f"location.{n}") for n in ("lon", "lat"))
    return float(lon), float(lat), float(to_value(values["height"], "m", "location.height"))


def read_responses(source: Any, folder: Path = Path()) -> dict[str, Any]:
    """Read the responses that a survey names.

    Parameters
    ----------
    source
        ``"array"`` for `xgamma.simulate.array.responses`; the path of a FITS file with all responses; or
        ``{"store": path, "obs_id": number}`` for those of a run.
    folder
        Folder from which relative paths count.

    Returns
    -------
    dict
        ``aeff``, ``psf``, ``edisp`` and ``bkg``, as far as there are such.

    Raises
    ------
    ValueError
        If the description is wrong, or a file has no responses.

    Examples
    --------
    >>> sorted(read_responses("array"))
    ['aeff', 'bkg', 'edisp', 'psf']
    """
    if source == "array":
        return array.responses()
    if isinstance(source, Mapping):
        check_keys(source, {"store", "obs_id"}, set(), "responses")
        run = open_store(_absolute(source["store"], folder)).get(source["obs_id"])
        return {name: getattr(run, name) for name in KINDS.values() if name in run.available}
    if not isinstance(source, (str, Path)):
        msg = f"responses={source!r} must be 'array', a FITS file, or {{store: folder, obs_id: number}}"
        raise ValueError(msg)
    file = _absolute(source, folder)
    found: dict[str, Any] = {}
    with open_fits(file) as hdus:
        for hdu in hdus:
            if str(hdu.header.get("HDUCLAS1", "")).strip().upper() != "RESPONSE":
                continue
            response = read_irf(hdu)
            kind = KINDS.get(IRF_CLASSES[response.attrs["hduclass"]].kind)
            if kind is not None:
                found.setdefault(kind, response)
    if not found:
        msg = f"{file} holds no instrument responses (HDUCLAS1 = RESPONSE)"
        raise ValueError(msg)
    return found


def _absolute(path: Any, folder: Path) -> Path:
    expanded = expand_path(str(path))
    return expanded if expanded.is_absolute() else folder / expanded


def simulate_from_config(
    config: str | PathLike[str] | SurveyConfig, path: str | PathLike[str], overwrite: bool = False
) -> xr.Dataset:
    """Simulate the survey that a YAML file describes.

    Parameters
    ----------
    config
        YAML file, see `read_survey_config`, or what that returned.
    path
        Folder to make.
    overwrite
        Replace an older simulated survey.

    Returns
    -------
    xarray.Dataset
        Simulated and expected counts, see `xgamma.simulate.survey.simulate_survey`.

    Raises
    ------
    FileExistsError
        If the folder exists and is not to be overwritten.
    ValueError
        If the description is wrong; nothing is written then.
    """
    survey = config if isinstance(config, SurveyConfig) else read_survey_config(config)
    check_target(expand_path(path), overwrite)
    return simulate_survey(
        path,
        survey.pointings,
        read_responses(survey.responses, survey.folder),
        survey.sources,
        seed=survey.seed,
        schedule=survey.schedule,
        energy_range=survey.energy_range,
        location=survey.location,
        compress=survey.compress,
        overwrite=overwrite,
    )
