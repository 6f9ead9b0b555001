"""`Analysis`: from a configuration to a cube, maps and files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.time import Time

from xgamma.analysis.config import Background, Config, EnergyAxis, Position
from xgamma.background.ring import adaptive_ring_background, ring_background
from xgamma.coords.bins import energy_axis
from xgamma.coords.grid import sky_grid
from xgamma.coords.regions import region_mask
from xgamma.coords.units import to_value
from xgamma.dl3.store import Observations, open_store
from xgamma.estimators.excess import excess_map
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_map import read_map
from xgamma.reduction.rebin import rebin, to_image
from xgamma.reduction.settings import SAFE_MASKS
from xgamma.reduction.stack import stack
from xgamma.reduction.survey import reduce

__all__ = ["Analysis", "Products"]

log = logging.getLogger("xgamma")

#: Methods of the background section that a map analysis can use.
RING_METHODS: dict[str, Callable[..., xr.Dataset]] = {
    "ring": ring_background,
    "adaptive_ring": adaptive_ring_background,
}


@dataclass(frozen=True)
class Products:
    """What an analysis has written.

    Parameters
    ----------
    files
        Name of each product and its file.
    info
        Table of numbers of the stacked cube.
    """

    files: Mapping[str, Path]
    info: xr.Dataset


@dataclass
class Analysis:
    """An analysis as a configuration describes it; each step can be taken on its own.

    Parameters
    ----------
    config
        From `read_config`.

    Examples
    --------
    >>> from xgamma.analysis.config import read_config
    >>> analysis = Analysis(read_config("datasets: {geom: {wcs: {skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}}}}"))
    >>> analysis.grid().sizes["x"]
    250
    """

    config: Config
    _observations: Observations | None = field(default=None, repr=False)

    @property
    def observations(self) -> Observations:
        """The selected runs; index tables only are read."""
        if self._observations is None:
            self._observations = self._select()
        return self._observations

    def _select(self) -> Observations:
        section = self.config.observations
        store = open_store(section.datastore)
        conditions: dict[str, Any] = {"obs_id": section.obs_ids or None}
        if section.obs_file is not None:
            conditions["obs_id"] = [*section.obs_ids, *_read_obs_ids(section.obs_file)]
        cone = section.obs_cone
        if any(v is not None for v in (cone.lon, cone.lat, cone.radius)):
            conditions["cone"] = (
                _position(cone, "observations.obs_cone"),
                _given(cone.radius, "observations.obs_cone.radius"),
            )
        runs = store.select(**conditions)
        log.info("%d runs selected from %s", len(runs), store.path)
        time = section.obs_time
        if time.start is None and time.stop is None:
            return runs
        return runs.filter(time=_intervals(time.start, time.stop))

    def grid(self) -> xr.Dataset:
        """Return the grid of the ``geom`` section."""
        geom = self.config.datasets.geom
        center = _position(geom.wcs.skydir, "datasets.geom.wcs.skydir")
        size = (geom.wcs.width.width, geom.wcs.width.height)
        return sky_grid(
            center,
            size,
            geom.wcs.binsize,
            proj=geom.wcs.proj,
            irf_binsize=geom.wcs.binsize_irf,
            energy=_axis(geom.axes.energy, "energy"),
            energy_true=_axis(geom.axes.energy_true, "energy_true"),
        )

    def reduce(self) -> xr.Dataset:
        """Return the lazy cube: reduced, with background, stacked if the configuration says so."""
        section = self.config.datasets
        if section.type != "3d":
            msg = f"datasets.type={section.type!r}: this version reduces maps, type '3d'"
            raise ValueError(msg)
        method = section.background.method
        if method not in (None, *RING_METHODS):
            msg = f"datasets.background.method={method!r} is not for maps; choose one of {[None, *RING_METHODS]}"
            raise ValueError(msg)
        ring = method is not None
        # rings count events and need no responses; those that nobody uses are not computed
        selection = [n for n in section.map_selection if not (ring and n in ("psf", "edisp"))]
        cube = reduce(
            self.observations,
            self.grid(),
            selection=selection,
            offset_max=section.geom.selection.offset_max,
            safe_mask=_safe_masks(section.safe_mask.methods, section.safe_mask.parameters),
            stack=section.stack and not ring,
        )
        if not ring:
            return cube
        cube = self._ring(cube)
        return stack(cube, "obs") if section.stack else cube

    def _ring(self, runs: xr.Dataset) -> xr.Dataset:
        """Ring background per run, in the energy bins of the excess map."""
        section = self.config.datasets.background
        edges = _edges(self.config.excess_map.energy_edges)
        image = to_image(runs) if edges is None else rebin(runs, edges)
        options = dict(section.parameters)
        unknown = sorted(set(options) & {"exclusion", "exclusion_mask"})
        if unknown:
            msg = f"datasets.background.parameters: put {unknown} into datasets.background.exclusion"
            raise ValueError(msg)
        assert section.method is not None
        function = RING_METHODS[section.method]
        try:
            return function(image, exclusion=self.exclusion(image), **options)
        except TypeError as error:
            msg = f"datasets.background.parameters={options} do not fit the method {section.method!r}: {error}"
            raise ValueError(msg) from error

    def exclusion(self, obj: xr.Dataset | xr.DataArray) -> xr.DataArray | None:
        """Return the exclusion of the background section on the grid of `obj`: True where pixels may be used."""
        return _exclusion(self.config.datasets.background, obj)

    def excess_map(self, cube: xr.Dataset | None = None) -> xr.Dataset:
        """Return the lazy excess and significance map of a cube, by default of `reduce`, all runs stacked."""
        cube = self.reduce() if cube is None else cube
        if "obs" in cube.dims:
            cube = stack(cube, "obs")
        section = self.config.excess_map
        edges = _edges(section.energy_edges)
        options = _excess_options(section.parameters)
        if edges is None and "counts_off" not in cube:
            cube = to_image(cube)
        on_grid = edges is not None and "counts_off" not in cube
        return excess_map(cube, section.correlation_radius, energy_edges=edges if on_grid else None, **options)

    def run(self, outdir: Any = None, *, overwrite: bool = False) -> Products:
        """Do all that the configuration asks for and write it to a folder; see `xgamma.analysis.products`."""
        from xgamma.analysis.products import write_products

        return write_products(self, self.config.general.outdir if outdir is None else outdir, overwrite=overwrite)


def _given(value: Any, where: str) -> Any:
    if value is None:
        msg = f"{where} is missing"
        raise ValueError(msg)
    return value


def _position(section: Position, where: str) -> SkyCoord:
    values = [_given(getattr(section, n), f"{where}.{n}") for n in ("frame", "lon", "lat")]
    lon, lat = (to_value(v, "deg", f"{where}.{n}") for v, n in zip(values[1:], ("lon", "lat"), strict=True))
    return SkyCoord(lon, lat, unit="deg", frame=values[0])


def _axis(section: EnergyAxis, name: str) -> xr.DataArray:
    where = f"datasets.geom.axes.{name}"
    low, high, number = (_given(getattr(section, n), f"{where}.{n}") for n in ("min", "max", "nbins"))
    try:
        return energy_axis(low, high, number, name=name)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error


def _edges(section: EnergyAxis) -> list[str] | None:
    values = (section.min, section.max, section.nbins)
    if all(v is None for v in values):
        return None
    low, high, number = (
        _given(v, f"excess_map.energy_edges.{n}") for v, n in zip(values, ("min", "max", "nbins"), strict=True)
    )
    edges = np.geomspace(to_value(low, "TeV"), to_value(high, "TeV"), number + 1)
    return [f"{float(e)!r} TeV" for e in edges]


def _intervals(start: Any, stop: Any) -> list[tuple[Time, Time]]:
    """Time intervals of the obs_time section: one pair, or lists of the same length."""
    starts, stops = (v if isinstance(v, list) else [v] for v in (start, stop))
    if len(starts) != len(stops) or any(v is None for v in (*starts, *stops)):
        msg = f"observations.obs_time needs as many start as stop times, not {start!r} and {stop!r}"
        raise ValueError(msg)
    try:
        return [(Time(_date(a)), Time(_date(b))) for a, b in zip(starts, stops, strict=True)]
    except ValueError as error:
        msg = f"observations.obs_time: {error}"
        raise ValueError(msg) from error


def _date(value: Any) -> Any:
    # YAML turns plain dates into date objects, which Time does not take
    return value.isoformat() if hasattr(value, "isoformat") else value


def _read_obs_ids(path: str) -> list[int]:
    """Labels from a text file, one a line; '#' starts a comment."""
    file = expand_path(path)
    if not file.is_file():
        msg = f"observations.obs_file: {file} does not exist"
        raise FileNotFoundError(msg)
    words = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    try:
        return [int(w) for w in words if w]
    except ValueError as error:
        msg = f"observations.obs_file: {file} must hold one run number a line: {error}"
        raise ValueError(msg) from error


def _safe_masks(methods: list[str], parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Distribute the common options of the safe masks over those that know them."""
    known = {name: set(SAFE_MASKS.get(name, {})) for name in methods}
    unused = sorted(set(parameters) - set().union(*known.values(), *SAFE_MASKS.values()))
    if unused:
        options = sorted(set().union(*SAFE_MASKS.values()))
        msg = f"datasets.safe_mask.parameters: {unused} are not known; there are {options}"
        raise ValueError(msg)
    return {name: {k: v for k, v in parameters.items() if k in keys} for name, keys in known.items()}


def _exclusion(section: Background, image: xr.Dataset | xr.DataArray) -> xr.DataArray | None:
    """Exclusion of the background section: a FITS mask (0 where excluded), or regions."""
    if section.exclusion is None:
        return None
    where = "datasets.background.exclusion"
    if isinstance(section.exclusion, list):
        return ~region_mask(image, [str(r) for r in section.exclusion])
    path = expand_path(str(section.exclusion))
    if not path.is_file():
        msg = f"{where}: {path} does not exist"
        raise FileNotFoundError(msg)
    if path.suffix == ".reg":
        from regions import Regions

        return ~region_mask(image, list(Regions.read(str(path), format="ds9")))
    mask = read_map(path).squeeze(drop=True)
    if mask.ndim != 2:
        msg = f"{where}: {path} must hold one plane, it has dims {mask.dims}"
        raise ValueError(msg)
    return mask.astype(bool)


def _excess_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the excess map, by gammapy's names."""
    names = {"n_sigma": "n_sigma", "n_sigma_ul": "n_sigma_ul", "correlate_off": "correlate_off"}
    names |= {"n_sigma_sensitivity": "significance", "selection_optional": "selection", "index": "index"}
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        msg = f"excess_map.parameters: {unknown} are not known; there are {sorted(names)}"
        raise ValueError(msg)
    options = {names[k]: v for k, v in parameters.items() if v is not None}
    selection = options.get("selection")
    if selection is not None and selection != "all":
        options["selection"] = [selection] if isinstance(selection, str) else list(selection)
    return options
