"""`Analysis`: from a configuration to a cube, maps and files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr

from xgamma.analysis.config import Config
from xgamma.analysis.options import (
    RING_METHODS,
    check_config,
    excess_options,
    group_edges,
    read_exclusion,
    ring_options,
    safe_masks,
    sky_position,
)
from xgamma.analysis.scheduler import scheduled
from xgamma.coords.bins import energy_axis
from xgamma.coords.grid import sky_grid
from xgamma.dl3.store import Observations, open_store
from xgamma.estimators.excess import excess_map
from xgamma.io.fits_file import expand_path
from xgamma.reduction.plan import SurveyPlan, plan_survey
from xgamma.reduction.rebin import rebin, to_image
from xgamma.reduction.stack import stack
from xgamma.reduction.survey import reduce

__all__ = ["Analysis", "Products"]

log = logging.getLogger("xgamma")


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

    Raises
    ------
    ValueError
        If the configuration asks for what this version cannot do; the message names the key.

    Examples
    --------
    >>> from xgamma.analysis.config import read_config
    >>> analysis = Analysis(read_config("datasets: {geom: {wcs: {skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}}}}"))
    >>> analysis.grid().sizes["x"]
    250
    """

    config: Config
    _observations: Observations | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_config(self.config)

    @property
    def observations(self) -> Observations:
        """The selected runs; index tables only are read. Runs that lack a required response are left out and named."""
        if self._observations is None:
            self._observations = self._select()
        return self._observations

    def _select(self) -> Observations:
        section = self.config.observations
        store = open_store(section.datastore)
        labels = section.obs_ids or (None if section.obs_file is None else _read_obs_ids(section.obs_file))
        conditions: dict[str, Any] = {"obs_id": labels or None}
        cone = section.obs_cone
        if cone.lon is not None:
            conditions["cone"] = (sky_position(cone, "observations.obs_cone"), cone.radius)
        times = section.obs_time.pairs()
        if times:
            conditions["time"] = times
        chosen = store.select(**conditions)
        runs = chosen.select(required=("events", *section.required_irf))
        lacking = [str(label) for label in chosen.obs_ids if label not in runs.obs_ids]
        if lacking:
            msg = (
                f"{len(lacking)} of {len(chosen)} runs have not all of observations.required_irf="
                f"{section.required_irf} and are left out: {', '.join(lacking)}"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        log.info("%d runs selected from %s", len(runs), store.path)
        return runs.filter(time=times) if times else runs

    def grid(self) -> xr.Dataset:
        """Return the grid of the ``geom`` section."""
        geom = self.config.datasets.geom
        axes = {
            name: energy_axis(axis.min, axis.max, nbin=axis.nbins, name=name)
            for name, axis in (("energy", geom.axes.energy), ("energy_true", geom.axes.energy_true))
        }
        size = (geom.wcs.width.width, geom.wcs.width.height)
        center = sky_position(geom.wcs.skydir, "datasets.geom.wcs.skydir")
        try:
            return sky_grid(
                center,
                size,
                geom.wcs.binsize,
                proj=geom.wcs.proj,
                irf_binsize=geom.wcs.binsize_irf,
                energy=axes["energy"],
                energy_true=axes["energy_true"],
            )
        except ValueError as error:
            msg = f"datasets.geom.wcs: {error}"
            raise ValueError(msg) from error

    def reduce(self) -> xr.Dataset:
        """Return the lazy cube: reduced, with background, stacked if the configuration says so.

        A ring is made run by run in the energy bins of the excess map, which are all energies as one where
        ``excess_map.energy_edges`` says nothing.
        """
        section = self.config.datasets
        ring = section.background.method is not None
        cube = reduce(self.observations, self.grid(), stack=section.stack and not ring, **self._reduce_options())
        if not ring:
            return cube
        cube = self._ring(cube)
        return stack(cube, "obs") if section.stack else cube

    def _reduce_options(self) -> dict[str, Any]:
        section = self.config.datasets
        ring = section.background.method is not None
        return {
            # rings count events and need no responses; those that nobody uses are not computed
            "selection": [n for n in section.map_selection if not (ring and n in ("psf", "edisp"))],
            "offset_max": section.geom.selection.offset_max,
            "safe_mask": safe_masks(section.safe_mask),
        }

    def plan(self, calibrate: int = 0) -> SurveyPlan:
        """Return what the reduction would take; see `xgamma.reduction.plan.plan_survey`.

        Parameters
        ----------
        calibrate
            Runs to reduce for the time of a tile and a run; with 0 nothing is computed.
        """
        with scheduled(self.config.scheduler, self.config.general.n_jobs):
            plan = plan_survey(
                self.observations,
                self.grid(),
                calibrate=calibrate,
                kernel_radius=self.config.excess_map.correlation_radius,
                **self._reduce_options(),
            )
            if self.config.datasets.background.method is None:
                return plan
            # the ring has tasks of its own
            tasks = sum(1 for task in self.reduce().__dask_graph__() if isinstance(task, tuple))
            return replace(plan, n_tasks=max(plan.n_tasks, tasks))

    def _ring(self, runs: xr.Dataset) -> xr.Dataset:
        """Ring background per run, in the energy bins of the excess map."""
        section = self.config.datasets.background
        assert section.method is not None
        edges = group_edges(self.config.excess_map.energy_edges)
        image = to_image(runs) if edges is None else rebin(runs, edges)
        function = RING_METHODS[section.method]
        try:
            return function(image, exclusion=self.exclusion(self.grid()), **ring_options(section))
        except (ValueError, TypeError) as error:
            msg = f"datasets.background: {error}"
            raise ValueError(msg) from error

    def exclusion(self, obj: xr.Dataset | xr.DataArray) -> xr.DataArray | None:
        """Return the exclusion of the background section on the grid of `obj`: True where pixels may be used."""
        return read_exclusion(self.config.datasets.background, obj)

    def excess_map(self, cube: xr.Dataset | None = None) -> xr.Dataset:
        """Return the lazy excess and significance map of a cube, by default of `reduce`, all runs stacked."""
        cube = self.reduce() if cube is None else cube
        if "obs" in cube.dims:
            cube = stack(cube, "obs")
        section = self.config.excess_map
        edges = group_edges(section.energy_edges)
        on_off = "counts_off" in cube
        if not on_off and edges is None:
            cube = to_image(cube)
        options = excess_options(section, on_off=on_off)
        # an on-off cube has the bins of the map already
        return excess_map(cube, section.correlation_radius, energy_edges=None if on_off else edges, **options)

    def run(
        self,
        outdir: Any = None,
        *,
        overwrite: bool = False,
        regions: Any = None,
        resume: bool = False,
        update: bool = False,
    ) -> Products:
        """Do all that the configuration asks for and write it to a folder.

        Parameters
        ----------
        outdir
            Folder, by default ``general.outdir`` of the configuration.
        overwrite
            Replace products that are there.
        regions
            Sky regions that are drawn on the maps.
        resume, update
            Write the cube piece by piece, and go on with one that was begun; see `write_products`.

        Returns
        -------
        Products
            See `xgamma.analysis.products.write_products`.
        """
        from xgamma.analysis.products import write_products

        folder = self.config.general.outdir if outdir is None else outdir
        return write_products(self, folder, overwrite=overwrite, regions=regions, resume=resume, update=update)


def _read_obs_ids(path: str) -> list[int]:
    """Labels from the first column of a text file; '#' starts a comment."""
    file = expand_path(path)
    if not file.is_file():
        msg = f"observations.obs_file: {file} does not exist"
        raise FileNotFoundError(msg)
    lines = [line.split("#")[0].replace(",", " ").split() for line in file.read_text(encoding="utf-8").splitlines()]
    try:
        labels = [int(words[0]) for words in lines if words]
    except ValueError as error:
        msg = f"observations.obs_file: {file} must begin each line with the number of a run: {error}"
        raise ValueError(msg) from error
    if not labels:
        msg = f"observations.obs_file: {file} lists no run"
        raise ValueError(msg)
    return labels
