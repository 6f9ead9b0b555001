"""The configuration of an analysis, in the layout that users of gammapy have on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import yaml
from astropy.coordinates import Angle
from astropy.time import Time

from xgamma.analysis.schema import (
    angle,
    build,
    choice,
    energy,
    flag,
    key,
    list_of,
    mapping,
    memory,
    positive_angle,
    text,
    times,
    to_mapping,
    whole_number,
)
from xgamma.io.fits_file import expand_path
from xgamma.reduction.settings import MAPS, RESPONSES, SAFE_MASKS

__all__ = ["Config", "read_config"]

LEVELS = tuple(case(level) for level in ("debug", "info", "warning", "error", "critical") for case in (str, str.upper))
HDU_TYPES = ("events", "gti", "aeff", "edisp", "psf", "bkg", "rad_max")
SCHEDULERS = ("threads", "processes", "synchronous", "local", "address")
METHODS = ("ring", "adaptive_ring", "fov_background", "reflected")


def _obs_id(value: Any, where: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        msg = f"{where}={value!r} must be the label of a run, a whole number or a text"
        raise ValueError(msg)
    return value


def _exclusion(value: Any, where: str) -> str | list[str]:
    return list_of(text)(value, where) if isinstance(value, (list, tuple)) else text(value, where)


def _complete(section: Any, names: tuple[str, ...], where: str) -> bool:
    """Return whether all of some keys are there; raise if only some are."""
    missing = [n for n in names if getattr(section, n) is None]
    if missing and len(missing) < len(names):
        msg = f"{where}.{missing[0]} is missing; give all of {list(names)}, or none of them"
        raise ValueError(msg)
    return not missing


def _ascending(low: str | None, high: str | None, where: str) -> None:
    if low is not None and high is not None and not u.Quantity(low) < u.Quantity(high):
        msg = f"{where}: min={low!r} must be smaller than max={high!r}"
        raise ValueError(msg)


@dataclass(frozen=True)
class Log:
    """How much is said while running, and where to."""

    level: str = key("info", check=choice(*LEVELS))
    filename: str | None = key(check=text)
    filemode: str | None = key(check=choice("a", "w"))
    format: str | None = key(check=text)
    datefmt: str | None = key(check=text)


@dataclass(frozen=True)
class General:
    """Output, logging, threads."""

    log: Log = key(Log)
    outdir: str = key(".", check=text)
    #: Threads of Dask; null for one a core. A cluster that is connected has its own workers.
    n_jobs: int | None = key(None, check=whole_number)
    datasets_file: str | None = key(check=text)
    models_file: str | None = key(check=text)


@dataclass(frozen=True)
class Position:
    """Position on the sky."""

    frame: str | None = key(check=choice("icrs", "galactic"))
    lon: str | None = key(check=angle)
    lat: str | None = key(check=angle)

    def validate(self, where: str) -> None:
        """Check that the position is complete and on the sphere."""
        _complete(self, ("frame", "lon", "lat"), where)
        if self.lat is not None and abs(Angle(self.lat).deg) > 90:
            msg = f"{where}.lat={self.lat!r} must lie between -90 and 90 deg"
            raise ValueError(msg)


@dataclass(frozen=True)
class Cone(Position):
    """Circle on the sky."""

    radius: str | None = key(check=positive_angle)

    def validate(self, where: str) -> None:
        """Check that the circle is complete."""
        super().validate(where)
        _complete(self, ("frame", "lon", "lat", "radius"), where)


@dataclass(frozen=True)
class TimeRange:
    """Range of time, or lists of their starts and stops."""

    start: str | list[str] | None = key(check=times)
    stop: str | list[str] | None = key(check=times)

    def validate(self, where: str) -> None:
        """Check that there are as many starts as stops, in order."""
        if _complete(self, ("start", "stop"), where):
            pairs = self.pairs()
            wrong = [f"{a.isot} to {b.isot}" for a, b in pairs if not a < b]
            if wrong or not pairs:
                msg = f"{where}: each start must come before its stop, not {', '.join(wrong) or 'an empty list'}"
                raise ValueError(msg)

    def pairs(self) -> list[tuple[Time, Time]]:
        """Return the ranges, none where no time is given."""
        if self.start is None or self.stop is None:
            return []
        starts, stops = ([v] if isinstance(v, str) else v for v in (self.start, self.stop))
        if len(starts) != len(stops):
            msg = f"obs_time needs as many start as stop times, not {len(starts)} and {len(stops)}"
            raise ValueError(msg)
        return [(Time(a), Time(b)) for a, b in zip(starts, stops, strict=True)]


@dataclass(frozen=True)
class Observations:
    """Which runs."""

    datastore: str = key("$GAMMAPY_DATA/hess-dl3-dr1", check=text)
    obs_ids: list[int | str] = key([], check=list_of(_obs_id))
    obs_file: str | None = key(check=text)
    obs_cone: Cone = key(Cone)
    obs_time: TimeRange = key(TimeRange)
    required_irf: list[str] = key(["aeff", "edisp", "psf", "bkg"], check=list_of(choice(*HDU_TYPES)))

    def validate(self, where: str) -> None:
        """Check that runs are listed once."""
        if self.obs_ids and self.obs_file is not None:
            msg = f"{where}.obs_ids and {where}.obs_file both list runs; give one of them"
            raise ValueError(msg)


@dataclass(frozen=True)
class Width:
    """Size of the map."""

    width: str = key("5 deg", check=positive_angle)
    height: str = key("5 deg", check=positive_angle)


@dataclass(frozen=True)
class Wcs:
    """Sky grid."""

    skydir: Position = key(Position)
    binsize: str = key("0.02 deg", check=positive_angle)
    width: Width = key(Width, old="fov")
    binsize_irf: str = key("0.2 deg", check=positive_angle)
    proj: str = key("CAR", check=text)


@dataclass(frozen=True)
class Selection:
    """Selection of events."""

    offset_max: str = key("2.5 deg", check=positive_angle)


@dataclass(frozen=True)
class EnergyAxis:
    """Energy axis, equally spaced in the logarithm."""

    min: str | None = key(check=energy)
    max: str | None = key(check=energy)
    nbins: int | None = key(check=whole_number)

    def validate(self, where: str) -> None:
        """Check that the axis is complete and ascends."""
        _complete(self, ("min", "max", "nbins"), where)
        _ascending(self.min, self.max, where)


@dataclass(frozen=True)
class RecoAxis(EnergyAxis):
    """Axis of reconstructed energy."""

    min: str | None = key("1 TeV", check=energy)
    max: str | None = key("10 TeV", check=energy)
    nbins: int | None = key(5, check=whole_number)


@dataclass(frozen=True)
class TrueAxis(EnergyAxis):
    """Axis of true energy."""

    min: str | None = key("0.5 TeV", check=energy)
    max: str | None = key("20 TeV", check=energy)
    nbins: int | None = key(16, check=whole_number)


@dataclass(frozen=True)
class Axes:
    """Energy axes."""

    energy: RecoAxis = key(RecoAxis)
    energy_true: TrueAxis = key(TrueAxis)


@dataclass(frozen=True)
class Geom:
    """Grid and selection."""

    wcs: Wcs = key(Wcs)
    selection: Selection = key(Selection)
    axes: Axes = key(Axes)


@dataclass(frozen=True)
class Background:
    """How the background is estimated."""

    method: str | None = key(check=choice(*METHODS))
    exclusion: str | list[str] | None = key(check=_exclusion)
    parameters: dict[str, Any] = key({}, check=mapping)


@dataclass(frozen=True)
class SafeMasks:
    """Safe masks and their options."""

    methods: list[str] = key(["aeff-default"], check=list_of(choice(*SAFE_MASKS)))
    parameters: dict[str, Any] = key({}, check=mapping, old="settings")


@dataclass(frozen=True)
class Datasets:
    """What is reduced."""

    type: str = key("3d", check=choice("1d", "3d"))
    stack: bool = key(True, check=flag)
    geom: Geom = key(Geom)
    map_selection: list[str] = key([*MAPS, *RESPONSES], check=list_of(choice(*MAPS, *RESPONSES)))
    background: Background = key(Background)
    safe_mask: SafeMasks = key(SafeMasks)
    on_region: Cone = key(Cone)
    containment_correction: bool = key(True, check=flag)


@dataclass(frozen=True)
class FitRange:
    """Energies that are fitted."""

    min: str | None = key(check=energy)
    max: str | None = key(check=energy)

    def validate(self, where: str) -> None:
        """Check that the range ascends."""
        _ascending(self.min, self.max, where)


@dataclass(frozen=True)
class Fit:
    """Fit."""

    fit_range: FitRange = key(FitRange)


@dataclass(frozen=True)
class FluxPoints:
    """Flux points."""

    energy: EnergyAxis = key(EnergyAxis)
    source: str = key("source", check=text)
    parameters: dict[str, Any] = key({"selection_optional": "all"}, check=mapping)


@dataclass(frozen=True)
class ExcessMap:
    """Excess and significance map."""

    correlation_radius: str = key("0.1 deg", check=positive_angle)
    parameters: dict[str, Any] = key({}, check=mapping)
    energy_edges: EnergyAxis = key(EnergyAxis)


@dataclass(frozen=True)
class LightCurve:
    """Light curve."""

    time_intervals: TimeRange = key(TimeRange)
    energy_edges: EnergyAxis = key(EnergyAxis)
    source: str = key("source", check=text)
    parameters: dict[str, Any] = key({"selection_optional": "all"}, check=mapping)


@dataclass(frozen=True)
class Scheduler:
    """Where Dask works; null for what is set or connected already."""

    type: str | None = key(check=choice(*SCHEDULERS))
    #: Threads of ``threads``, processes of ``processes`` and ``local``; null for one a core.
    workers: int | None = key(check=whole_number)
    threads_per_worker: int | None = key(check=whole_number)
    memory_limit: str | None = key(check=memory)
    address: str | None = key(check=text)

    def validate(self, where: str) -> None:
        """Check that the keys are those of the type."""
        allowed: dict[str, tuple[str, ...]] = {"threads": ("workers",), "processes": ("workers",)}
        allowed |= {"address": ("address",), "local": ("workers", "threads_per_worker", "memory_limit")}
        for name in ("workers", "threads_per_worker", "memory_limit", "address"):
            if getattr(self, name) is not None and name not in allowed.get(self.type or "", ()):
                types = [t for t, names in allowed.items() if name in names]
                msg = f"{where}.{name} is for {where}.type {' or '.join(types)}, not {self.type!r}; leave it out"
                raise ValueError(msg)
        if self.type == "address" and self.address is None:
            msg = f"{where}.address is missing; give that of the scheduler, for example tcp://127.0.0.1:8786"
            raise ValueError(msg)


@dataclass(frozen=True)
class Config:
    """Configuration of an analysis; every section and key of it is checked by `read_config`."""

    general: General = key(General)
    observations: Observations = key(Observations)
    datasets: Datasets = key(Datasets)
    fit: Fit = key(Fit)
    flux_points: FluxPoints = key(FluxPoints)
    excess_map: ExcessMap = key(ExcessMap)
    light_curve: LightCurve = key(LightCurve)
    scheduler: Scheduler = key(Scheduler)
    metadata: dict[str, Any] = key({}, check=mapping)

    def to_yaml(self) -> str:
        """Return the whole configuration, defaults filled in, as YAML."""
        return yaml.safe_dump(to_mapping(self), sort_keys=False, allow_unicode=True)


def read_config(source: str | os.PathLike[str] | Mapping[str, Any]) -> Config:
    """Read the configuration of an analysis.

    Parameters
    ----------
    source
        Path of a YAML file, YAML text, or nested dicts (which may hold quantities and times), in the
        layout of gammapy's ``AnalysisConfig``, also with its older spellings.

    Returns
    -------
    Config
        Frozen; keys that are absent have their defaults.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it is not YAML, a key is not known, or a value is wrong: the message names the key.

    Notes
    -----
    Defaults are those of gammapy but for three: ``datasets.type`` is ``3d``, ``general.n_jobs`` is null, a thread
    a core, and ``datasets.geom.wcs.proj`` (``CAR``) is a key of its own. So is the section ``scheduler``.

    Examples
    --------
    >>> config = read_config("excess_map: {correlation_radius: 0.2 deg}")
    >>> config.excess_map.correlation_radius
    '0.2 deg'
    """
    if isinstance(source, Mapping):
        return build(Config, source)
    content = os.fspath(source)
    where = "the configuration"
    if isinstance(source, Path) or not _is_yaml(content):
        path = expand_path(source)
        if not path.is_file():
            msg = f"the configuration file {path} does not exist"
            raise FileNotFoundError(msg)
        content, where = _read_text(path), str(path)
    try:
        data = yaml.safe_load(content)
    except yaml.YAMLError as error:
        msg = f"{where} is not valid YAML: {error}"
        raise ValueError(msg) from error
    return build(Config, data)


def _is_yaml(text: str) -> bool:
    """Tell YAML from the name of a file."""
    return "\n" in text or ": " in text or text.rstrip().endswith(":") or text.lstrip().startswith(("{", "["))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"{path} is not a text file: {error}"
        raise ValueError(msg) from error
