"""Sections of the configuration as arguments of the library's functions, checked before anything is read."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import Angle, SkyCoord

from xgamma.analysis.config import Background, Config, EnergyAxis, ExcessMap, Position, SafeMasks
from xgamma.analysis.schema import build, nearest
from xgamma.background.ring import adaptive_ring_background, ring_background
from xgamma.coords.regions import as_regions, region_mask
from xgamma.coords.reproject import reproject
from xgamma.coords.sky import grid_of
from xgamma.coords.units import to_value
from xgamma.estimators.excess import OPTIONAL
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_map import read_map
from xgamma.reduction.settings import SAFE_MASKS, parse_safe_mask

__all__ = [
    "check_config",
    "excess_options",
    "group_edges",
    "read_exclusion",
    "ring_options",
    "safe_masks",
    "sky_position",
]

log = logging.getLogger("xgamma")

#: Methods of the background section that a map analysis can use.
RING_METHODS: dict[str, Callable[..., xr.Dataset]] = {
    "ring": ring_background,
    "adaptive_ring": adaptive_ring_background,
}
#: gammapy's names of the options of an excess map -> those of `xgamma.estimators.excess.excess_map`.
EXCESS_OPTIONS = {
    "n_sigma": "n_sigma",
    "n_sigma_ul": "n_sigma_ul",
    "n_sigma_sensitivity": "significance",
    "correlate_off": "correlate_off",
    "selection_optional": "selection",
    "index": "index",
}
#: What gammapy's excess maps have and ours do otherwise.
OTHER_OPTIONS = {
    "correlation_radius": "it is the key excess_map.correlation_radius",
    "energy_edges": "it is the section excess_map.energy_edges",
    "sum_over_energy_groups": "the bins of excess_map.energy_edges are summed in any case",
    "spectral_model": "the spectrum of norm and flux is a power law; give its 'index'",
    "gamma_min_sensitivity": "the sensitivity asks for a significance alone",
    "bkg_syst_fraction_sensitivity": "the sensitivity asks for a significance alone",
    "apply_threshold_sensitivity": "the sensitivity asks for a significance alone",
}
SELECTIONS = {"acceptance_on": "acceptance"}


def check_config(config: Config) -> None:
    """Raise in words if an analysis cannot do what a configuration asks for; tell what it does not use.

    Parameters
    ----------
    config
        From `read_config`, which has checked each value on its own.

    Raises
    ------
    ValueError
        The message names the key.
    """
    section = config.datasets
    if section.type != "3d":
        msg = f"datasets.type={section.type!r}: this version reduces maps; set datasets.type to '3d'"
        raise ValueError(msg)
    if section.geom.wcs.skydir.lon is None:
        msg = "datasets.geom.wcs.skydir, the centre of the map, is missing, as {frame: icrs, lon: 5 deg, lat: 9 deg}"
        raise ValueError(msg)
    method = section.background.method
    if method is not None and method not in RING_METHODS:
        msg = (
            f"datasets.background.method={method!r} comes with a later version; "
            f"choose one of {list(RING_METHODS)}, or null for the background model of the responses"
        )
        raise ValueError(msg)
    if method is not None:
        ring_options(section.background)
        missing = [n for n in ("counts", "background") if n not in section.map_selection]
        if missing:
            msg = f"datasets.map_selection lacks {missing}, which the method {method!r} needs"
            raise ValueError(msg)
    elif section.background.exclusion is None and section.background.parameters:
        msg = f"datasets.background.parameters={section.background.parameters} are given without a method"
        raise ValueError(msg)
    safe_masks(section.safe_mask)
    excess_options(config.excess_map, on_off=method is not None)
    _check_exclusion(section.background)
    _tell_unused(config)


def _tell_unused(config: Config) -> None:
    """Log the sections that hold something and that nobody reads."""
    parts = {"general": ("datasets_file", "models_file"), "datasets": ("on_region", "containment_correction")}
    unused = [
        f"{name}.{key}"
        for name, keys in parts.items()
        for key in keys
        if getattr(getattr(config, name), key) != getattr(type(getattr(config, name))(), key)
    ]
    unused += [n for n in ("fit", "flux_points", "light_curve") if getattr(config, n) != getattr(Config(), n)]
    if unused:
        log.info("not used by a map analysis: %s", ", ".join(unused))


def ring_options(section: Background) -> dict[str, Any]:
    """Return the arguments of the ring that ``parameters`` gives; missing and unknown ones raise."""
    assert section.method is not None
    where = "datasets.background.parameters"
    signature = inspect.signature(RING_METHODS[section.method]).parameters
    known = {n: p for n, p in signature.items() if n not in ("cube", "exclusion")}
    for name in section.parameters:
        if name in ("exclusion", "exclusion_mask"):
            msg = f"{where}.{name}: put it into datasets.background.exclusion"
            raise ValueError(msg)
        if name not in known:
            msg = f"{where}.{name} is not known to the method {section.method!r}{nearest(name, list(known))}"
            raise ValueError(msg)
    options = {n: v for n, v in section.parameters.items() if v is not None}
    missing = [n for n, p in known.items() if p.default is p.empty and n not in options]
    if missing:
        msg = f"{where}.{missing[0]} is missing; the method {section.method!r} needs {missing}, for example '0.5 deg'"
        raise ValueError(msg)
    for name in sorted({"r_in", "width", "r_out_max", "stepsize", "theta"} & set(options)):
        to_value(options[name], "deg", f"{where}.{name}")
    return options


def safe_masks(section: SafeMasks) -> dict[str, dict[str, Any]]:
    """Distribute the common options of the safe masks over those that know them."""
    where = "datasets.safe_mask.parameters"
    known = sorted(set().union(*SAFE_MASKS.values()))
    for name in section.parameters:
        if name not in known:
            msg = f"{where}.{name} is not known{nearest(name, known)}"
            raise ValueError(msg)
    options = {k: v for k, v in section.parameters.items() if v is not None}
    if isinstance(options.get("position"), Mapping):
        place = f"{where}.position"
        options["position"] = sky_position(build(Position, options["position"], place), place)
    elif "position" in options:
        msg = f"{where}.position={options['position']!r} must be {{frame: icrs, lon: 83.63 deg, lat: 22.01 deg}}"
        raise ValueError(msg)
    masks = {name: {k: v for k, v in options.items() if k in SAFE_MASKS[name]} for name in section.methods}
    try:
        parse_safe_mask(masks)
    except (ValueError, TypeError) as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error
    return masks


def excess_options(section: ExcessMap, *, on_off: bool) -> dict[str, Any]:
    """Return the arguments of the excess map, which ``parameters`` gives by gammapy's names."""
    where = "excess_map.parameters"
    options: dict[str, Any] = {}
    for name, value in section.parameters.items():
        if name in OTHER_OPTIONS:
            msg = f"{where}.{name} has no place here: {OTHER_OPTIONS[name]}"
            raise ValueError(msg)
        if name not in EXCESS_OPTIONS:
            msg = f"{where}.{name} is not known{nearest(name, list(EXCESS_OPTIONS))}"
            raise ValueError(msg)
        if value is not None:
            options[EXCESS_OPTIONS[name]] = value
    for name in ("n_sigma", "n_sigma_ul", "n_sigma_sensitivity", "index"):
        number = section.parameters.get(name)
        wrong = isinstance(number, bool) or not isinstance(number, (int, float)) or not np.isfinite(number)
        if number is not None and (wrong or (name != "index" and number <= 0)):
            msg = f"{where}.{name}={number!r} must be a {'' if name == 'index' else 'positive '}number"
            raise ValueError(msg)
    if not isinstance(options.get("correlate_off", True), bool):
        msg = f"{where}.correlate_off={options['correlate_off']!r} must be true or false"
        raise ValueError(msg)
    if "selection" in options:
        options["selection"] = _selection(options["selection"], f"{where}.selection_optional", on_off=on_off)
    return options


def _selection(value: Any, where: str, *, on_off: bool) -> str | list[str]:
    if value == "all":
        return "all"
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        msg = f"{where}={value!r} must be 'all' or a list of names"
        raise ValueError(msg)
    known = [*OPTIONAL, *SELECTIONS]
    for name in names:
        if name not in known:
            msg = f"{where}: {name!r} is not known{nearest(name, known)}"
            raise ValueError(msg)
    names = [SELECTIONS.get(n, n) for n in names]
    ring_only = [n for n in names if n in ("alpha", "acceptance", "acceptance_off", "counts_off")]
    if ring_only and not on_off:
        msg = f"{where}: {ring_only} need off counts; set datasets.background.method to 'ring'"
        raise ValueError(msg)
    return names


def sky_position(section: Position, where: str) -> SkyCoord:
    """Return a position as a SkyCoord; it has to be there."""
    if section.lon is None or section.lat is None:
        msg = f"{where} is missing"
        raise ValueError(msg)
    return SkyCoord(Angle(section.lon), Angle(section.lat), frame=section.frame)


def group_edges(section: EnergyAxis) -> list[str] | None:
    """Return the edges of the energy groups of the excess map, None for one group of all energies."""
    if section.min is None or section.max is None or section.nbins is None:
        return None
    edges = np.geomspace(to_value(section.min, "TeV"), to_value(section.max, "TeV"), section.nbins + 1)
    return [f"{float(e)!r} TeV" for e in edges]


def _check_exclusion(section: Background) -> None:
    """Look at files and regions as far as that needs no map."""
    where = "datasets.background.exclusion"
    if section.exclusion is None:
        return
    if section.method is None:
        log.info("%s is used for the distribution of significances alone: there is no ring", where)
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
        msg = f"datasets.background.exclusion: the file {path} does not exist{hint}"
        raise FileNotFoundError(msg)
    return path


def _read_regions(path: Path) -> list[Any]:
    """Sky regions of a DS9 file."""
    from regions import Regions, SkyRegion

    where = f"datasets.background.exclusion: {path}"
    try:
        regions = list(Regions.read(str(path), format="ds9"))
    except Exception as error:  # the parser raises whatever its parts raise
        msg = f"{where} is not a region file of DS9: {error}"
        raise ValueError(msg) from error
    if not regions or not all(isinstance(r, SkyRegion) for r in regions):
        msg = f"{where} must hold regions on the sky (icrs, galactic, ...), not in pixels, and at least one"
        raise ValueError(msg)
    return regions


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
    where = "datasets.background.exclusion"
    if isinstance(section.exclusion, list):
        return ~region_mask(image, section.exclusion)
    path = _exclusion_file(section.exclusion)
    if path.suffix.lower() == ".reg":
        return ~region_mask(image, _read_regions(path))
    mask = read_map(path).squeeze(drop=True)
    if mask.dims != ("y", "x"):
        msg = f"{where}: {path} must hold one plane of pixels; it has the dims {mask.dims}"
        raise ValueError(msg)
    # what is turned over is False outside of the file's map, so that nothing is excluded there
    excluded = (mask == 0) | mask.isnull()
    if grid_of(excluded) != grid_of(image):
        excluded = reproject(excluded.astype(bool), grid_of(image))
    return ~excluded.astype(bool)
