"""The background section of a configuration as settings of the library's backgrounds."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from xgamma.analysis.config import Background, Config, Datasets
from xgamma.analysis.schema import nearest
from xgamma.background.fov import FoVBackground
from xgamma.background.fov_model import fov_task
from xgamma.background.reflected import ReflectedRegions
from xgamma.background.ring import adaptive_ring_background, ring_background
from xgamma.coords.regions import as_regions, region_mask
from xgamma.coords.reproject import reproject
from xgamma.coords.sky import grid_of, has_sky
from xgamma.coords.units import to_value
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_map import read_map
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.models import Models
from xgamma.models.yaml import component_from_dict

__all__ = [
    "RING_METHODS",
    "check_background_section",
    "fov_settings",
    "read_exclusion",
    "reflected_settings",
    "ring_options",
    "with_backgrounds",
]

#: Name of a stacked cube, by which models are assigned to it.
STACKED = "stacked"

log = logging.getLogger("xgamma")

WHERE = "datasets.background"
#: Functions that make a ring of a cube, by their names in a configuration.
RING_METHODS: dict[str, Callable[..., xr.Dataset]] = {
    "ring": ring_background,
    "adaptive_ring": adaptive_ring_background,
}
#: Methods for each type of dataset.
METHODS = {"3d": ("ring", "adaptive_ring", "fov_background"), "1d": ("reflected",)}
#: gammapy's names of options -> ours.
OTHER_NAMES = {
    "fov_background": {"min_npred_background": "min_npred", "spectral_model": "spectral"},
    "reflected": {"binsz": "binsize"},
}
#: What others have and we do otherwise.
ELSEWHERE = {
    "exclusion": "put it into datasets.background.exclusion",
    "exclusion_mask": "put it into datasets.background.exclusion",
    "spatial_model": "the shape over the field of view is that of the responses; a fit may have a spatial model",
    "fit": "the norm has its own minimiser",
    "region_finder": "give the options of the regions themselves, as min_distance",
}
#: Options that are angles.
ANGLES = ("r_in", "width", "r_out_max", "stepsize", "theta")


def check_background_section(config: Config) -> None:
    """Raise in words if the background does not go with the rest of a configuration.

    Raises
    ------
    ValueError
        The message names the key.
    """
    section = config.datasets.background
    method, kind = section.method, config.datasets.type
    if method is not None and method not in METHODS[kind]:
        other = next(k for k, names in METHODS.items() if method in names)
        msg = (
            f"{WHERE}.method={method!r} is for datasets.type {other!r}, not {kind!r}; "
            f"choose one of {list(METHODS[kind])}, or null for the background model of the responses"
        )
        raise ValueError(msg)
    if method in RING_METHODS:
        ring_options(section)
    elif method == "fov_background":
        fov_settings(section, config.datasets, None)
    elif method == "reflected":
        reflected_settings(section)
    elif section.parameters and section.exclusion is None:
        msg = f"{WHERE}.parameters={section.parameters} are given without a method"
        raise ValueError(msg)
    if method is not None and kind == "3d":
        missing = [n for n in ("counts", "background") if n not in config.datasets.map_selection]
        if missing:
            msg = f"datasets.map_selection lacks {missing}, which the method {method!r} needs"
            raise ValueError(msg)
    _check_exclusion(section, kind)


def _options(section: Background, known: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the section by the names of the library; unknown and missing ones raise."""
    where, method = f"{WHERE}.parameters", str(section.method)
    renamed = OTHER_NAMES.get(method, {})
    options = {}
    for name, value in section.parameters.items():
        target = renamed.get(name, name)
        if target in known:
            if target != name and target in section.parameters:
                msg = f"{where}.{name} and {where}.{target} are the same option; give one of them"
                raise ValueError(msg)
            if value is not None:
                options[target] = value
        elif name in ELSEWHERE:
            msg = f"{where}.{name}: {ELSEWHERE[name]}"
            raise ValueError(msg)
        else:
            msg = f"{where}.{name} is not known to the method {method!r}{nearest(name, [*known, *renamed])}"
            raise ValueError(msg)
    missing = [n for n, default in known.items() if default is inspect.Parameter.empty and n not in options]
    if missing:
        msg = f"{where}.{missing[0]} is missing; the method {method!r} needs {missing}, for example '0.5 deg'"
        raise ValueError(msg)
    return options


def ring_options(section: Background) -> dict[str, Any]:
    """Return the arguments of the ring that ``parameters`` gives; missing and unknown ones raise."""
    assert section.method is not None
    signature = inspect.signature(RING_METHODS[section.method]).parameters
    known = {n: p.default for n, p in signature.items() if n not in ("cube", "exclusion")}
    options = _options(section, known)
    for name in sorted(set(ANGLES) & set(options)):
        to_value(options[name], "deg", f"{WHERE}.parameters.{name}")
    return options


def fov_settings(section: Background, datasets: Datasets, exclusion: xr.DataArray | None) -> FoVBackground:
    """Return the settings of a field-of-view background.

    Parameters
    ----------
    section
        ``parameters`` has ``method``, ``min_counts``, ``min_npred`` (or ``min_npred_background``) and ``spectral`` (or
        ``spectral_model``): a tag such as ``pl-norm``, or a model as a file of models holds it.
    datasets
        The section around it.
    exclusion
        True where pixels may be used.
    """
    known = {f.name: f.default for f in dataclasses.fields(FoVBackground) if f.name != "exclusion"}
    options = _options(section, known)
    where = f"{WHERE}.parameters"
    if "spectral" in options:
        given = options["spectral"]
        data = {"type": given} if isinstance(given, str) else given
        try:
            options["spectral"] = component_from_dict("spectral", {"parameters": [], **data})
        except (ValueError, TypeError, KeyError) as error:
            msg = f"{where}: spectral={given!r} is no model such as 'pl-norm': {error}"
            raise ValueError(msg) from error
    settings = FoVBackground(**options, exclusion=exclusion)
    bins = datasets.geom.axes.energy.nbins or 1
    try:
        fov_task(settings.method, settings.spectral, settings.min_counts, settings.min_npred, bins)
    except (ValueError, TypeError) as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error
    return settings


def reflected_settings(section: Background) -> ReflectedRegions:
    """Return the settings of reflected regions, with their exclusion."""
    known = {f.name: f.default for f in dataclasses.fields(ReflectedRegions) if f.name != "exclusion"}
    options = _options(section, known)
    try:
        settings = ReflectedRegions(**options, exclusion=_excluded(section))
        settings.prepare_spectrum(xr.Dataset())
    except (ValueError, TypeError) as error:
        msg = f"{WHERE}: {error}"
        raise ValueError(msg) from error
    return settings


def _excluded(section: Background) -> Any:
    """What is excluded from off regions: regions, or a map of what may be used on its own grid."""
    if section.exclusion is None or isinstance(section.exclusion, list):
        return section.exclusion
    path = _exclusion_file(section.exclusion)
    return _read_regions(path) if path.suffix.lower() == ".reg" else ~_read_mask(path)


def _check_exclusion(section: Background, kind: str) -> None:
    """Look at files and regions as far as that needs no map."""
    where = f"{WHERE}.exclusion"
    if section.exclusion is None:
        return
    if section.method is None:
        used = "is used for the distribution of significances alone" if kind == "3d" else "is not used"
        log.info("%s %s: there is no method", where, used)
    if isinstance(section.exclusion, list):
        try:
            as_regions(section.exclusion)
        except (ValueError, TypeError) as error:
            msg = f"{where}: {error}"
            raise ValueError(msg) from error
        return
    path = _exclusion_file(section.exclusion)
    if path.suffix.lower() == ".reg":
        _read_regions(path)


def _exclusion_file(name: str) -> Path:
    path = expand_path(name)
    if not path.is_file():
        hint = "; write regions as a list" if "(" in name else ""
        msg = f"{WHERE}.exclusion: the file {path} does not exist{hint}"
        raise FileNotFoundError(msg)
    return path


def _read_regions(path: Path) -> list[Any]:
    """Sky regions of a DS9 file."""
    from regions import Regions, SkyRegion

    where = f"{WHERE}.exclusion: {path}"
    try:
        regions = list(Regions.read(str(path), format="ds9"))
    except Exception as error:  # the parser raises whatever its parts raise
        msg = f"{where} is not a region file of DS9: {error}"
        raise ValueError(msg) from error
    if not regions or not all(isinstance(r, SkyRegion) for r in regions):
        msg = f"{where} must hold regions on the sky (icrs, galactic, ...), not in pixels, and at least one"
        raise ValueError(msg)
    return regions


def _read_mask(path: Path) -> xr.DataArray:
    """True where a FITS mask excludes: a pixel of 0; bool, dims (y, x)."""
    mask = read_map(path).squeeze(drop=True)
    if mask.dims != ("y", "x"):
        msg = f"{WHERE}.exclusion: {path} must hold one plane of pixels; it has the dims {mask.dims}"
        raise ValueError(msg)
    # what is turned over is False outside of the file's map, so that nothing is excluded there
    return ((mask == 0) | mask.isnull()).astype(bool)


def read_exclusion(section: Background, image: xr.Dataset | xr.DataArray) -> xr.DataArray | None:
    """Return the exclusion of the background section on the grid of a map.

    Parameters
    ----------
    section
        ``exclusion`` is a FITS mask (0 where excluded; on another grid the nearest pixel counts, and what
        it does not cover may be used), a region file of DS9 or a list of regions in DS9's syntax.
    image
        Map or cube.

    Returns
    -------
    xarray.DataArray or None
        bool, dims (y, x), True where pixels may be used; None without exclusion.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it holds no regions or no single plane.
    """
    if section.exclusion is None:
        return None
    if isinstance(section.exclusion, list):
        return ~region_mask(image, section.exclusion)
    path = _exclusion_file(section.exclusion)
    if path.suffix.lower() == ".reg":
        return ~region_mask(image, _read_regions(path))
    excluded = _read_mask(path)
    if grid_of(excluded) != grid_of(image):
        excluded = reproject(excluded, grid_of(image))
    return ~excluded.astype(bool)


def with_backgrounds(models: Models, cube: xr.Dataset) -> Models:
    """Return the models, and a background model for each dataset of a map that has none."""
    if not has_sky(cube) or "background" not in cube or "counts_off" in cube:
        return models
    labels = [str(label) for label in cube["obs"].values] if "obs" in cube.dims else [cube.attrs.get("name", STACKED)]
    given = [m for m in models if isinstance(m, FoVBackgroundModel)]
    lacking = [n for n in labels if not any(m.datasets_names is None or n in m.datasets_names for m in given)]
    if not lacking:
        return models
    log.info("the norm of the background is fitted, too, in %s", ", ".join(lacking))
    return Models([*models, *(FoVBackgroundModel(name=f"{n}-bkg", datasets_names=[n]) for n in lacking)])
