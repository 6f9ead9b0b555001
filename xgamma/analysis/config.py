"""The configuration of an analysis, in the layout that users of gammapy have on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xgamma.analysis.schema import angle, build, choice, key, quantity_text, to_mapping, whole_number
from xgamma.io.fits_file import expand_path

__all__ = ["Config", "read_config"]

energy = quantity_text("TeV")
FRAMES = ("icrs", "galactic")


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        msg = f"{where}={value!r} must be a list"
        raise ValueError(msg)
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        msg = f"{where}={value!r} must be a section with keys"
        raise ValueError(msg)
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        msg = f"{where}={value!r} must be true or false"
        raise ValueError(msg)
    return value


def _latitude_longitude(value: Any, where: str) -> str:
    return str(angle(value, where))


@dataclass(frozen=True)
class Log:
    """How much is said while running."""

    level: str = key("info", check=choice("debug", "info", "warning", "error", "DEBUG", "INFO", "WARNING", "ERROR"))
    filename: str | None = key()
    filemode: str | None = key()
    format: str | None = key()
    datefmt: str | None = key()


@dataclass(frozen=True)
class General:
    """Output and logging."""

    log: Log = key(Log)
    outdir: str = key(".")
    n_jobs: int = key(1, check=whole_number)
    datasets_file: str | None = key()
    models_file: str | None = key()


@dataclass(frozen=True)
class Position:
    """Position on the sky."""

    frame: str | None = key(check=choice(*FRAMES))
    lon: str | None = key(check=_latitude_longitude)
    lat: str | None = key(check=_latitude_longitude)


@dataclass(frozen=True)
class Cone(Position):
    """Circle on the sky."""

    radius: str | None = key(check=angle)


@dataclass(frozen=True)
class TimeRange:
    """Range or lists of ranges of time."""

    start: Any = key()
    stop: Any = key()


@dataclass(frozen=True)
class Observations:
    """Which runs."""

    datastore: str = key("$GAMMAPY_DATA/hess-dl3-dr1")
    obs_ids: list[Any] = key([], check=_list)
    obs_file: str | None = key()
    obs_cone: Cone = key(Cone)
    obs_time: TimeRange = key(TimeRange)
    required_irf: list[str] = key(["aeff", "edisp", "psf", "bkg"], check=_list)


@dataclass(frozen=True)
class Width:
    """Size of the map."""

    width: str = key("5 deg", check=angle)
    height: str = key("5 deg", check=angle)


@dataclass(frozen=True)
class Wcs:
    """Sky grid."""

    skydir: Position = key(Position)
    binsize: str = key("0.02 deg", check=angle)
    width: Width = key(Width, old="fov")
    binsize_irf: str = key("0.2 deg", check=angle)
    proj: str = key("CAR")


@dataclass(frozen=True)
class Selection:
    """Selection of events."""

    offset_max: str = key("2.5 deg", check=angle)


@dataclass(frozen=True)
class EnergyAxis:
    """Energy axis, equally spaced in the logarithm."""

    min: str | None = key(check=energy)
    max: str | None = key(check=energy)
    nbins: int | None = key(check=whole_number)


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

    method: str | None = key(check=choice(None, "ring", "adaptive_ring", "fov_background", "reflected"))
    exclusion: Any = key()
    parameters: dict[str, Any] = key({}, check=_mapping)


@dataclass(frozen=True)
class SafeMasks:
    """Safe masks and their options."""

    methods: list[str] = key(["aeff-default"], check=_list)
    parameters: dict[str, Any] = key({}, check=_mapping, old="settings")


@dataclass(frozen=True)
class Datasets:
    """What is reduced."""

    type: str = key("3d", check=choice("1d", "3d"))
    stack: bool = key(True, check=_flag)
    geom: Geom = key(Geom)
    map_selection: list[str] = key(["counts", "exposure", "background", "psf", "edisp"], check=_list)
    background: Background = key(Background)
    safe_mask: SafeMasks = key(SafeMasks)
    on_region: Cone = key(Cone)
    containment_correction: bool = key(True, check=_flag)


@dataclass(frozen=True)
class FitRange:
    """Energies that are fitted."""

    min: str | None = key(check=energy)
    max: str | None = key(check=energy)


@dataclass(frozen=True)
class Fit:
    """Fit."""

    fit_range: FitRange = key(FitRange)


@dataclass(frozen=True)
class FluxPoints:
    """Flux points."""

    energy: EnergyAxis = key(EnergyAxis)
    source: str = key("source")
    parameters: dict[str, Any] = key({}, check=_mapping)


@dataclass(frozen=True)
class ExcessMap:
    """Excess and significance map."""

    correlation_radius: str = key("0.1 deg", check=angle)
    parameters: dict[str, Any] = key({}, check=_mapping)
    energy_edges: EnergyAxis = key(EnergyAxis)


@dataclass(frozen=True)
class LightCurve:
    """Light curve."""

    time_intervals: TimeRange = key(TimeRange)
    energy_edges: EnergyAxis = key(EnergyAxis)
    source: str = key("source")
    parameters: dict[str, Any] = key({}, check=_mapping)


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
    metadata: dict[str, Any] = key({}, check=_mapping)

    def to_yaml(self) -> str:
        """Return the whole configuration, defaults filled in, as YAML."""
        return yaml.safe_dump(to_mapping(self), sort_keys=False, allow_unicode=True)


def read_config(source: str | os.PathLike[str] | dict[str, Any]) -> Config:
    """Read the configuration of an analysis.

    Parameters
    ----------
    source
        Path of a YAML file, YAML text, or nested dicts, in the layout of gammapy's ``AnalysisConfig``.

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

    Examples
    --------
    >>> config = read_config("excess_map: {correlation_radius: 0.2 deg}")
    >>> config.excess_map.correlation_radius
    '0.2 deg'
    """
    if isinstance(source, dict):
        return build(Config, source)
    text = os.fspath(source)
    where = "the configuration"
    if not ("\n" in text or ":" in text) or isinstance(source, Path):
        path = expand_path(source)
        if not path.is_file():
            msg = f"the configuration file {path} does not exist"
            raise FileNotFoundError(msg)
        text, where = path.read_text(), str(path)
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"{where} is not valid YAML: {error}"
        raise ValueError(msg) from error
    return build(Config, data)
