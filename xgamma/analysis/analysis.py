"""`Analysis`: from a configuration to a cube, maps, fits and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr
from astropy.coordinates import Angle

from xgamma.analysis.backgrounds import (
    RING_METHODS,
    STACKED,
    fov_settings,
    read_exclusion,
    reflected_settings,
    ring_options,
    with_backgrounds,
)
from xgamma.analysis.config import Config
from xgamma.analysis.options import (
    check_config,
    excess_options,
    fitted_bins,
    flux_point_options,
    group_edges,
    safe_masks,
    sky_position,
)
from xgamma.analysis.runs import select_runs
from xgamma.analysis.scheduler import scheduled
from xgamma.coords.bins import bin_edges, energy_axis
from xgamma.coords.grid import region_grid, sky_grid
from xgamma.dl3.observation import Observation
from xgamma.dl3.store import Observations
from xgamma.estimators.excess import excess_map
from xgamma.estimators.flux_points import flux_points
from xgamma.estimators.light_curve import light_curve, split_runs
from xgamma.fitting.fit import fit
from xgamma.fitting.result import FitResult
from xgamma.io.fits_file import expand_path
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model
from xgamma.reduction.plan import SurveyPlan, plan_survey
from xgamma.reduction.rebin import rebin, to_image
from xgamma.reduction.stack import stack
from xgamma.reduction.survey import reduce

__all__ = ["Analysis", "Products"]


@dataclass(frozen=True)
class Products:
    """What an analysis has written.

    Parameters
    ----------
    files
        Name of each product and its file.
    info
        Table of numbers of the stacked cube.
    fit
        Result of the fit, where there were models.
    flux_points, light_curve
        Flux points and a light curve, where the configuration asks for them.
    """

    files: Mapping[str, Path]
    info: xr.Dataset
    fit: FitResult | None = None
    flux_points: xr.Dataset | None = None
    light_curve: xr.Dataset | None = None


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
    _models: Models | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_config(self.config)

    @property
    def observations(self) -> Observations:
        """The selected runs; index tables only are read. Runs that lack a required response are left out and named."""
        if self._observations is None:
            self._observations = select_runs(self.config.observations)
        return self._observations

    def grid(self) -> xr.Dataset:
        """Return the grid of the ``geom`` section, or that of the ``on_region`` for spectra."""
        geom = self.config.datasets.geom
        axes = {
            name: energy_axis(axis.min, axis.max, nbin=axis.nbins, name=name)
            for name, axis in (("energy", geom.axes.energy), ("energy_true", geom.axes.energy_true))
        }
        if self.is_spectral:
            from regions import CircleSkyRegion

            section = self.config.datasets.on_region
            circle = CircleSkyRegion(sky_position(section, "datasets.on_region"), Angle(section.radius))
            return region_grid(circle, **axes)
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

    @property
    def is_spectral(self) -> bool:
        """Whether the analysis is one of spectra (``datasets.type: 1d``), not of maps."""
        return self.config.datasets.type == "1d"

    @property
    def _has_ring(self) -> bool:
        return self.config.datasets.background.method in RING_METHODS

    def reduce(self) -> xr.Dataset:
        """Return the lazy cube: reduced, with background, stacked if the configuration says so.

        A ring is made run by run in the energy bins of the excess map, which are all energies as one where
        ``excess_map.energy_edges`` says nothing. A fit range becomes ``mask_fit``. A stacked cube has the name
        ``stacked``, by which models are assigned to it.
        """
        return self._reduce(self.observations, self.config.datasets.stack)

    def _reduce(self, observations: Observations | Sequence[Observation], stacked: bool) -> xr.Dataset:
        grid = self.grid()
        cube = reduce(observations, grid, stack=stacked and not self._has_ring, **self._reduce_options(grid))
        if self._has_ring:
            cube = self._ring(cube)
            cube = stack(cube, "obs") if stacked else cube
        if stacked:
            cube.attrs["name"] = STACKED
        return self._with_fit_range(cube)

    def _with_fit_range(self, cube: xr.Dataset) -> xr.Dataset:
        """Add the energies that a fit uses, as gammapy's do."""
        section = self.config.fit.fit_range
        if section.min is None and section.max is None:
            return cube
        inside = xr.Variable("energy", fitted_bins(section, bin_edges(cube, "energy")))
        counts = cube["counts"].variable
        mask = (xr.ones_like(counts, dtype=bool) & inside).transpose(*counts.dims)
        return cube.assign(mask_fit=(mask.dims, mask.data, {"units": "", "long_name": "Fit range"}))

    def _reduce_options(self, grid: xr.Dataset) -> dict[str, Any]:
        section = self.config.datasets
        method = section.background.method
        options: dict[str, Any] = {"safe_mask": safe_masks(section.safe_mask)}
        if self.is_spectral:
            background = reflected_settings(section.background) if method == "reflected" else None
            return options | {"containment_correction": section.containment_correction, "background": background}
        # rings count events and need no responses; those that nobody uses are not computed
        options["selection"] = [n for n in section.map_selection if not (self._has_ring and n in ("psf", "edisp"))]
        options["offset_max"] = section.geom.selection.offset_max
        if method == "fov_background":
            options["background"] = fov_settings(section.background, section, self.exclusion(grid))
        return options

    def plan(self, calibrate: int = 0) -> SurveyPlan:
        """Return what the reduction would take; see `xgamma.reduction.plan.plan_survey`.

        Parameters
        ----------
        calibrate
            Runs to reduce for the time of a tile and a run; with 0 nothing is computed.

        Raises
        ------
        ValueError
            For an analysis of spectra, which are small.
        """
        if self.is_spectral:
            msg = "a plan is for maps; datasets.type is '1d', and spectra take next to nothing"
            raise ValueError(msg)
        with scheduled(self.config.scheduler, self.config.general.n_jobs):
            plan = plan_survey(
                self.observations,
                self.grid(),
                calibrate=calibrate,
                kernel_radius=self.config.excess_map.correlation_radius,
                **self._reduce_options(self.grid()),
            )
            if not self._has_ring:
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
        """Return the lazy excess and significance map of a cube, by default of `reduce`, all runs stacked.

        Raises
        ------
        ValueError
            For an analysis of spectra.
        """
        if self.is_spectral:
            msg = "an excess map needs maps; datasets.type is '1d'"
            raise ValueError(msg)
        cube = self.reduce() if cube is None else cube
        # the range is one of fits
        cube = cube.drop_vars("mask_fit", errors="ignore")
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

    @property
    def models(self) -> Models | None:
        """The models: those of `set_models`, else of the file that ``general.models_file`` names."""
        if self._models is None and self.config.general.models_file is not None:
            self.set_models(Path(self.config.general.models_file))
        return self._models

    def set_models(self, models: str | Path | Model | Iterable[Model]) -> None:
        """Say which models are fitted.

        Parameters
        ----------
        models
            `xgamma.Models`, a model, YAML text, or the path of a YAML file.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the text holds no models.
        """
        if isinstance(models, Path) or (isinstance(models, str) and "\n" not in models and ":" not in models):
            path = expand_path(models)
            if not path.is_file():
                key = " (general.models_file)" if str(models) == self.config.general.models_file else ""
                msg = f"the file of models {path}{key} does not exist"
                raise FileNotFoundError(msg)
            self._models = Models.read(path)
        elif isinstance(models, str):
            self._models = Models.from_yaml(models)
        else:
            self._models = as_models(models)

    def fit(self, cube: xr.Dataset | None = None, models: Any = None) -> FitResult:
        """Fit the models to a cube, by default of `reduce`; runs that are not stacked are fitted jointly.

        Parameters
        ----------
        cube
            From `reduce`.
        models
            As `set_models` takes them; by default those of the analysis. Maps with a background model whose models have
            no background get one, a `FoVBackgroundModel` with a free norm for each dataset.

        Raises
        ------
        ValueError
            If there are no models, or they cannot be fitted.
        """
        if models is not None:
            self.set_models(models)
        if self.models is None:
            msg = "there are no models to fit: name a file in general.models_file, or call set_models"
            raise ValueError(msg)
        cube = self.reduce() if cube is None else cube
        return fit(cube, with_backgrounds(self.models, cube))

    def flux_points(self, cube: xr.Dataset | None = None, models: Any = None) -> xr.Dataset:
        """Return the lazy flux points that the configuration describes.

        Parameters
        ----------
        cube
            From `reduce`.
        models
            The fitted models, or the result of the fit; by default `fit` is called.

        Raises
        ------
        ValueError
            If ``flux_points.source`` is not among the models.
        """
        cube = self.reduce() if cube is None else cube
        section = self.config.flux_points
        best = self._with_source(self.fit(cube) if models is None else models, section.source, "flux_points")
        options = flux_point_options(section)
        return flux_points(cube, best, section.source, energy_edges=group_edges(section.energy), **options)

    def light_curve(self, models: Any = None) -> xr.Dataset:
        """Return the light curve that the configuration describes, of runs that are reduced one by one.

        Where ``light_curve.time_intervals`` says nothing, each run is a bin of time; runs are cut at the ends of
        intervals. In the energies where ``light_curve.energy_edges`` says nothing there is one bin.

        Parameters
        ----------
        models
            The fitted models, or the result of the fit; by default `fit` is called.

        Raises
        ------
        ValueError
            If ``light_curve.source`` is not among the models, or no run lies in an interval.
        """
        section = self.config.light_curve
        best = self._with_source(self.fit() if models is None else models, section.source, "light_curve")
        intervals = section.time_intervals.pairs() or None
        runs = self.observations if intervals is None else split_runs(self.observations, intervals)
        cube = self._reduce(runs, stacked=False)
        if self.config.datasets.stack:
            # models that belong to the stacked cube belong to each of its runs
            cube = cube.assign_attrs(name=STACKED)
        options = flux_point_options(section, "light_curve")
        edges = group_edges(section.energy_edges)
        return light_curve(cube, best, section.source, time_intervals=intervals, energy_edges=edges, **options)

    @staticmethod
    def _with_source(models: Any, source: str, section: str) -> Models:
        """Return the models, among which the source of a section must be."""
        best = models.models if isinstance(models, FitResult) else as_models(models)
        if source not in best.names:
            msg = f"{section}.source={source!r} is none of the models {best.names}"
            raise ValueError(msg)
        return best

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
