"""Sections of the configuration as arguments of the library's functions, checked before anything is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.coordinates import Angle, SkyCoord

from xgamma.analysis.backgrounds import check_background_section
from xgamma.analysis.config import Config, EnergyAxis, ExcessMap, FitRange, FluxPoints, LightCurve, Position, SafeMasks
from xgamma.analysis.schema import build, nearest
from xgamma.coords.units import to_value
from xgamma.estimators.excess import OPTIONAL
from xgamma.estimators.flux_points import SELECTION
from xgamma.reduction.settings import SAFE_MASKS, parse_safe_mask

__all__ = [
    "check_config",
    "excess_options",
    "fitted_bins",
    "flux_point_options",
    "group_edges",
    "safe_masks",
    "sky_position",
    "wants_light_curve",
]

log = logging.getLogger("xgamma")

#: gammapy's names of the options of an excess map -> those of `xgamma.estimators.excess.excess_map`.
EXCESS_OPTIONS = {
    "n_sigma": "n_sigma",
    "n_sigma_ul": "n_sigma_ul",
    "n_sigma_sensitivity": "significance",
    "correlate_off": "correlate_off",
    "selection_optional": "selection",
    "index": "index",
}
#: gammapy's names of the options of flux points -> those of `xgamma.estimators.flux_points.flux_points`.
FLUX_OPTIONS = {
    "n_sigma": "n_sigma",
    "n_sigma_ul": "n_sigma_ul",
    "n_sigma_sensitivity": "n_sigma_sensitivity",
    "selection_optional": "selection",
    "norm_values": "scan_values",
    "reoptimize": "reoptimize",
    "sqrt_ts_threshold_ul": "sqrt_ts_threshold_ul",
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
    if section.type == "3d" and section.geom.wcs.skydir.lon is None:
        msg = "datasets.geom.wcs.skydir, the centre of the map, is missing, as {frame: icrs, lon: 5 deg, lat: 9 deg}"
        raise ValueError(msg)
    if section.type == "1d" and section.on_region.radius is None:
        msg = (
            "datasets.on_region, the region of the spectrum, is missing, as "
            "{frame: icrs, lon: 83.63 deg, lat: 22.01 deg, radius: 0.11 deg}"
        )
        raise ValueError(msg)
    _check_light_curve(config)
    check_background_section(config)
    safe_masks(section.safe_mask)
    if section.type == "3d":
        on_off = section.background.method not in (None, "fov_background")
        excess_options(config.excess_map, on_off=on_off)
    flux_point_options(config.flux_points)
    _check_fit_range(config)
    _tell_unused(config)


def _check_light_curve(config: Config) -> None:
    """A light curve is one of the flux of a source, which maps with rings do not know."""
    flux_point_options(config.light_curve, "light_curve")
    if (
        wants_light_curve(config)
        and config.datasets.type == "3d"
        and config.datasets.background.method not in (None, "fov_background")
    ):
        method = config.datasets.background.method
        msg = (
            f"light_curve asks for fits, which maps with datasets.background.method: {method} do not take; "
            "set it to fov_background, or datasets.type to 1d"
        )
        raise ValueError(msg)


def wants_light_curve(config: Config) -> bool:
    """Tell whether a light curve is asked for: by its energies or its times."""
    section = config.light_curve
    return section.energy_edges.min is not None or bool(section.time_intervals.pairs())


def _check_fit_range(config: Config) -> None:
    """A range in which no bin of the energy axis lies leaves nothing to fit."""
    section, axis = config.fit.fit_range, config.datasets.geom.axes.energy
    if section.min is None and section.max is None:
        return
    edges = np.geomspace(to_value(axis.min, "TeV"), to_value(axis.max, "TeV"), (axis.nbins or 1) + 1)
    if not fitted_bins(section, edges).any():
        msg = (
            f"fit.fit_range: from {section.min} to {section.max} there is no whole bin of datasets.geom.axes.energy "
            f"({axis.nbins} from {axis.min} to {axis.max}); widen it"
        )
        raise ValueError(msg)


def fitted_bins(section: FitRange, edges: np.ndarray) -> np.ndarray:
    """Return True for the bins of energy, edges in TeV, that lie in the fit range with both edges."""
    low = -np.inf if section.min is None else to_value(section.min, "TeV")
    high = np.inf if section.max is None else to_value(section.max, "TeV")
    # edges that are equal but for rounding are equal
    return np.asarray((edges[:-1] >= low * (1 - 1e-9)) & (edges[1:] <= high * (1 + 1e-9)))


def _tell_unused(config: Config) -> None:
    """Log the sections that hold something and that nobody reads."""
    spectra = config.datasets.type == "1d"
    kind = "spectral" if spectra else "map"
    parts = {"general": ("datasets_file",), "datasets": ("on_region", "containment_correction")}
    if spectra:
        parts["datasets"] = ("map_selection",)
    unused = [
        f"{name}.{key}"
        for name, keys in parts.items()
        for key in keys
        if getattr(getattr(config, name), key) != getattr(type(getattr(config, name))(), key)
    ]
    if spectra:
        wcs = config.datasets.geom.wcs
        unused += ["datasets.geom.wcs"] if wcs != type(wcs)() else []
        unused += ["excess_map"] if config.excess_map != ExcessMap() else []
    if unused:
        log.info("not used by a %s analysis: %s", kind, ", ".join(unused))


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


def flux_point_options(section: FluxPoints | LightCurve, name_of: str = "flux_points") -> dict[str, Any]:
    """Return the arguments of flux points or of a light curve, which ``parameters`` gives by gammapy's names."""
    where = f"{name_of}.parameters"
    elsewhere = {"energy_edges": "energy" if isinstance(section, FluxPoints) else "energy_edges", "source": "source"}
    if isinstance(section, LightCurve):
        elsewhere["time_intervals"] = "time_intervals"
    options: dict[str, Any] = {}
    for name, value in section.parameters.items():
        if name in elsewhere:
            msg = f"{where}.{name} has no place here: it is the key {name_of}.{elsewhere[name]}"
            raise ValueError(msg)
        if name not in FLUX_OPTIONS:
            msg = f"{where}.{name} is not known{nearest(name, list(FLUX_OPTIONS))}"
            raise ValueError(msg)
        if value is not None:
            options[FLUX_OPTIONS[name]] = value
    for name in ("n_sigma", "n_sigma_ul", "n_sigma_sensitivity", "sqrt_ts_threshold_ul"):
        number = section.parameters.get(name)
        wrong = isinstance(number, bool) or not isinstance(number, (int, float)) or not np.isfinite(number)
        if number is not None and (wrong or number <= 0):
            msg = f"{where}.{name}={number!r} must be a positive number"
            raise ValueError(msg)
    if not isinstance(options.get("reoptimize", False), bool):
        msg = f"{where}.reoptimize={options['reoptimize']!r} must be true or false"
        raise ValueError(msg)
    if "selection" in options:
        given = options["selection"]
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            msg = f"{where}.selection_optional={given!r} must be 'all' or a list of names"
            raise ValueError(msg)
        for name in names:
            if name not in (*SELECTION, "all"):
                msg = f"{where}.selection_optional: {name!r} is not known{nearest(name, [*SELECTION, 'all'])}"
                raise ValueError(msg)
        options["selection"] = "all" if "all" in names else names
    return options


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
