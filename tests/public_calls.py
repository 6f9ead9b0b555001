"""A call of every public function that returns labelled data, on the sample survey: what the walks over them share."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xgamma
from xgamma.background.fov import FoVBackground
from xgamma.background.per_run import RingBackground
from xgamma.background.reflected import ReflectedRegions, WobbleRegions
from xgamma.coords.bins import axis_of, bin_axis, restore_bins
from xgamma.coords.grid import region_grid, separation, sky_grid, solid_angle
from xgamma.coords.nodes import bins_around_nodes
from xgamma.coords.smooth import smooth
from xgamma.coords.units import to_unit
from xgamma.dl3 import gti, select
from xgamma.dl3.events import stack_events
from xgamma.dl3.theta2 import theta2_table
from xgamma.estimators.correlation import discrete_correlation
from xgamma.estimators.light_curve import light_curve
from xgamma.estimators.phase import phase_axis
from xgamma.estimators.profile import flux_profile
from xgamma.estimators.rebin_points import rebin_points
from xgamma.estimators.sed import flag_upper_limits, reference_fluxes
from xgamma.estimators.sensitivity import expected_spectrum, sensitivity
from xgamma.estimators.variability import (
    bayesian_blocks,
    doubling_time,
    fractional_variance,
    point_to_point_variance,
    variability_test,
)
from xgamma.io.cube import to_zarr
from xgamma.io.flux_layout import limit_flags
from xgamma.io.flux_tables import flux_points_from_table
from xgamma.io.marker import read_log
from xgamma.irf import aeff, background, edisp, evaluate, psf
from xgamma.irf.axes import response_array, response_axis
from xgamma.reduction.map_spectrum import to_spectrum
from xgamma.reduction.stack import cumulate

CENTER = SkyCoord(150.0, -25.0, unit="deg")
#: Runs of the sample survey that overlap each other.
RUNS = (1, 2, 3)


#: A source, and bands in which its flux is looked for: edges of the grid's energies.
SOURCE = xgamma.SkyModel(xgamma.PowerLawSpectralModel(index=2.3, amplitude="3e-12 cm-2 s-1 TeV-1"), name="source")
BANDS = np.geomspace(1, 10, 3) * u.TeV
#: The same with a shape on the sky.
SKY_SOURCE = SOURCE.copy(spatial=xgamma.GaussianSpatialModel(position=CENTER, sigma="0.2 deg"))
#: Regions on the map.
BOXES = ["icrs;circle(150.0, -25.0, 0.3)", "icrs;box(149.6, -24.6, 0.5, 0.3, 30)"]


class World:
    """The sample survey reduced, lazy or loaded.

    Parameters
    ----------
    lazy
        Keep maps in Dask arrays, in four tiles.
    """

    def __init__(self, lazy: bool) -> None:
        self.lazy = lazy

    def _as_wanted(self, obj: Any) -> Any:
        return obj if self.lazy else obj.compute()

    @cached_property
    def observations(self) -> xgamma.Observations:
        return xgamma.open_store(xgamma.sample_path("survey")).select(list(RUNS))

    @cached_property
    def grid(self) -> xr.Dataset:
        energy = xgamma.energy_axis("1 TeV", "10 TeV", nbin=4)
        true = xgamma.energy_axis("0.5 TeV", "20 TeV", nbin=5, name="energy_true")
        return sky_grid(CENTER, "2 deg", "0.1 deg", energy=energy, energy_true=true, irf_binsize="0.5 deg")

    def reduced(self, **options: Any) -> xr.Dataset:
        tiles = {"y": 10, "x": 10} if self.lazy else None
        options = {"selection": "all", "safe_mask": "offset-max", "chunks": tiles, **options}
        return xgamma.reduce(self.observations, self.grid, offset_max="2 deg", **options)

    def spectra(self, **options: Any) -> xr.Dataset:
        """Spectra of the runs in two regions; lazy, a run a task or all in one."""
        grid = xgamma.region_grid(
            ["icrs;circle(150.6, -25.3, 0.2)", "icrs;box(149.6, -24.5, 0.4, 0.2, 30)"], **_cut(self)
        )
        options = {"safe_mask": "aeff-max", "background": ReflectedRegions(), "stack": False, **options}
        return xgamma.reduce(self.observations, grid, chunks={"obs": 1 if self.lazy else -1}, **options)

    @cached_property
    def region_runs(self) -> xr.Dataset:
        """The same, in memory where nothing is lazy."""
        return self._as_wanted(self.spectra())

    @cached_property
    def points(self) -> xr.Dataset:
        """Flux points of the two regions, everything asked for."""
        return xgamma.flux_points(self.region_runs, SOURCE, energy_edges=BANDS, selection="all")

    @cached_property
    def curve(self) -> xr.Dataset:
        """Light curve of the first region; good times, which tell the bins, are in memory: one for each run."""
        runs = self.region_runs.isel(region=0)
        good = [run.gti for run in self.observations]
        tables = {n: (("obs", "gti"), [g[n].values[:1] for g in good], {"units": "s"}) for n in good[0] if n in runs}
        return light_curve(runs.drop_vars(list(tables)).assign(tables), SOURCE, energy_edges=BANDS, selection="all")

    @cached_property
    def runs(self) -> xr.Dataset:
        return self._as_wanted(self.reduced(stack=False))

    @cached_property
    def cube(self) -> xr.Dataset:
        return self._as_wanted(self.reduced())

    @cached_property
    def onoff(self) -> xr.Dataset:
        """Runs with off counts."""
        return xgamma.ring_background(self.runs, "0.3 deg", "0.2 deg")

    @cached_property
    def maps(self) -> xr.Dataset:
        return xgamma.excess_map(self.cube, "0.2 deg", selection="all")

    @cached_property
    def offset(self) -> xr.DataArray:
        """Angles at which responses are asked for: the grid's, lazy where the maps are."""
        return separation(self.cube, CENTER)

    @cached_property
    def folded(self) -> list[xgamma.Observation]:
        """Runs with phases of a pulsar that is not there."""
        return xgamma.assign_phases(self.observations, xgamma.Ephemeris(51544.5, (0.01,)))

    @cached_property
    def phases(self) -> xr.Dataset:
        """Spectra of a region in three bins of phase."""
        grid = region_grid("icrs;circle(150.6, -25.3, 0.2)", **_cut(self))
        cube = xgamma.reduce_phases(self.folded, grid, 3, background=ReflectedRegions(), safe_mask="aeff-max")
        return self._as_wanted(cube)

    @cached_property
    def healpix(self) -> xr.DataArray:
        """A map of two planes of the whole sky."""
        axes = xgamma.healpix_coords(4)
        array = xr.DataArray(np.ones((2, 3072)), axes, ("energy", "cells"), name="exposure", attrs={"units": "cm2 s"})
        return self._as_wanted(array.chunk(energy=1))

    @property
    def run(self) -> xgamma.Observation:
        return self.observations[0]

    @property
    def region(self) -> CircleSkyRegion:
        return CircleSkyRegion(CENTER, 0.4 * u.deg)


def _cut(world: World) -> dict[str, Any]:
    return {"energy": world.grid.energy, "energy_true": world.grid.energy_true}


#: Functions from maps to maps, by ``module:name``, with a word in brackets where a function is called twice.
ON_MAPS: dict[str, Callable[[World], Any]] = {
    "background.fov:fov_background": lambda w: xgamma.fov_background(w.runs, "fit", w.region),
    "background.ring:ring_background": lambda w: xgamma.ring_background(w.runs, "0.3 deg", "0.2 deg", w.region),
    "background.ring:adaptive_ring_background": lambda w: xgamma.adaptive_ring_background(
        w.runs, "0.3 deg", "0.9 deg", "0.2 deg", stepsize="0.1 deg"
    ),
    "coords.cutout:cutout": lambda w: xgamma.cutout(w.cube, CENTER, "1 deg"),
    "coords.downsample:downsample": lambda w: xgamma.downsample(w.cube, 2),
    "coords.grid:separation": lambda w: separation(w.cube, CENTER),
    "coords.grid:solid_angle": lambda w: solid_angle(w.cube),
    "coords.regions:region_mask": lambda w: xgamma.region_mask(w.cube, w.region),
    "coords.reproject:reproject": lambda w: xgamma.reproject(w.cube, sky_grid(CENTER, "1.5 deg", "0.15 deg")),
    "coords.smooth:smooth": lambda w: smooth(w.cube, "0.2 deg"),
    "coords.units:to_unit": lambda w: to_unit(w.cube.exposure, "m2 s"),
    "coords.sky:encode": lambda w: xgamma.encode(w.cube),
    "coords.sky:decode": lambda w: xgamma.decode(xgamma.encode(w.cube)),
    "coords.bins:restore_bins": lambda w: restore_bins(w.cube),
    "estimators.excess:excess_map": lambda w: xgamma.excess_map(w.onoff, "0.2 deg", selection="all"),
    "estimators.excess:excess_map (background model)": lambda w: xgamma.excess_map(w.cube, "0.2 deg", selection="all"),
    "reduction.info:info": lambda w: xgamma.info(w.onoff),
    "reduction.info:info (cumulative)": lambda w: xgamma.info(w.runs, cumulative=True),
    "reduction.rebin:rebin": lambda w: xgamma.rebin(w.onoff, ["1 TeV", f"{10**0.5!r} TeV", "10 TeV"]),
    "reduction.rebin:rebin (map)": lambda w: xgamma.rebin(w.cube.counts, ["1 TeV", f"{10**0.5!r} TeV", "10 TeV"]),
    "reduction.rebin:to_image": lambda w: xgamma.to_image(w.cube),
    "reduction.stack:stack": lambda w: xgamma.stack(w.onoff),
    "reduction.survey:reduce": lambda w: w.reduced(),
    "reduction.survey:reduce (runs)": lambda w: w.reduced(stack=False),
    "reduction.survey:reduce (spectra)": lambda w: w.spectra(),
    "reduction.survey:reduce (stacked spectra)": lambda w: w.spectra(stack=True),
    "reduction.survey:reduce (spectra with a background model)": lambda w: w.spectra(background=None),
    "reduction.spectrum:reduce_to_spectra": lambda w: w.spectra(background=WobbleRegions(n_off_regions=1)),
    "reduction.stack:stack (spectra)": lambda w: xgamma.stack(w.region_runs),
    "reduction.stack:cumulate": lambda w: cumulate(w.region_runs),
    "reduction.info:info (spectra)": lambda w: xgamma.info(w.region_runs),
    "reduction.info:info (cumulative, spectra)": lambda w: xgamma.info(w.region_runs, cumulative=True),
    "reduction.rebin:to_image (spectra)": lambda w: xgamma.to_image(w.region_runs),
    "reduction.survey:reduce (ring)": lambda w: w.reduced(
        selection=("counts", "exposure", "background"), background=RingBackground(r_in="0.3 deg", width="0.2 deg")
    ),
    "reduction.survey:reduce (field of view)": lambda w: w.reduced(background=FoVBackground(method="fit")),
    "fitting.predict:npred": lambda w: xgamma.npred(w.region_runs, SOURCE),
    "fitting.predict:npred_signal": lambda w: xgamma.npred_signal(w.region_runs, SOURCE),
    "fitting.predict:npred_background": lambda w: xgamma.npred_background(w.region_runs, SOURCE),
    "estimators.flux_points:flux_points": lambda w: w.points,
    "fitting.predict:npred_signal (map)": lambda w: xgamma.npred_signal(w.cube, SKY_SOURCE),
    "estimators.adaptive_smooth:adaptive_smooth": lambda w: xgamma.adaptive_smooth(w.cube, ["0.1 deg", "0.2 deg"]),
    "estimators.residuals:residuals": lambda w: xgamma.residuals(w.cube, radius="0.2 deg"),
    "estimators.sensitivity_map:sensitivity_map": lambda w: xgamma.sensitivity_map(w.cube, "0.2 deg"),
    "estimators.phase:phasogram": lambda w: xgamma.phasogram(w.folded, 5),
    "estimators.phase:periodicity": lambda w: xgamma.periodicity(
        w._as_wanted(xr.DataArray(np.linspace(0, 1, 50, endpoint=False), dims="event").chunk(event=20))
    ),
    "estimators.phase_curve:phase_curve": lambda w: xgamma.phase_curve(w.phases, SOURCE, energy_edges=BANDS),
    "estimators.phase_curve:reduce_phases": lambda w: w.phases,
    "plot.rgb:rgb_composite": lambda w: xgamma.rgb_composite([w.cube.counts.isel(energy=0)] * 3),
    "simulate.counts:asimov_counts": lambda w: xgamma.asimov_counts(w.region_runs, SOURCE),
    "simulate.counts:simulate_counts": lambda w: xgamma.simulate_counts(w.region_runs, SOURCE, seed=1),
    "simulate.counts:simulate_counts (map)": lambda w: xgamma.simulate_counts(w.cube, SKY_SOURCE, seed=1),
    "coords.healpix_project:healpix_to_wcs": lambda w: xgamma.healpix_to_wcs(w.healpix, w.grid),
    "estimators.ts_map:ts_map": lambda w: xgamma.ts_map(w.cube, kernel_width="0.5 deg", selection=["ul"]),
    "models.spatial_map:evaluate_model": lambda w: SKY_SOURCE.spatial.evaluate_on(w.cube),
    "models.spatial_map:integrate_model": lambda w: SKY_SOURCE.spatial.integrate(w.cube),
    "estimators.light_curve:light_curve": lambda w: w.curve,
    "estimators.profile:flux_profile": lambda w: flux_profile(w.cube, BOXES, energy_edges=BANDS, selection="all"),
    "estimators.rebin_points:rebin_points": lambda w: rebin_points(w.curve, "time", group_size=2),
    "estimators.sensitivity:sensitivity": lambda w: sensitivity(w.region_runs),
    "estimators.correlation:discrete_correlation": lambda w: discrete_correlation(w.curve, width="1 h"),
    "estimators.variability:doubling_time": lambda w: doubling_time(w.curve),
    "estimators.variability:fractional_variance": lambda w: fractional_variance(w.curve),
    "estimators.variability:point_to_point_variance": lambda w: point_to_point_variance(w.curve),
    "estimators.variability:variability_test": lambda w: variability_test(w.curve),
    "reduction.map_spectrum:to_spectrum": lambda w: to_spectrum(w.cube, BOXES),
    "reduction.map_spectrum:to_spectrum (off counts)": lambda w: to_spectrum(w.onoff, BOXES, use_region_center=False),
    "estimators.sed:flag_upper_limits": lambda w: flag_upper_limits(w.points, 3),
    "estimators.sed:recompute_ul": lambda w: xgamma.recompute_ul(w.points, 3),
    "estimators.sed:to_sed_type": lambda w: xgamma.to_sed_type(w.points, "e2dnde"),
    "io.flux_layout:limit_flags": lambda w: limit_flags(w.points),
    "irf.evaluate:background_rate": lambda w: evaluate.background_rate(w.run.bkg, w.grid.energy, w.offset, w.offset),
    "irf.evaluate:edisp_kernel": lambda w: evaluate.edisp_kernel(
        w.run.edisp, w.grid.energy_true, w.grid.energy, w.offset
    ),
    "irf.evaluate:effective_area": lambda w: evaluate.effective_area(w.run.aeff, w.grid.energy_true, w.offset),
    "irf.evaluate:point_spread_function": lambda w: evaluate.point_spread_function(
        w.run.psf, w.grid.energy_true, w.offset
    ),
}

#: Functions that make axes, tables, events and responses, which are small and in memory.
IN_MEMORY: dict[str, Callable[[World], Any]] = {
    "coords.bins:axis_of": lambda w: axis_of(w.cube, "energy"),
    "coords.bins:bin_axis": lambda w: bin_axis("time", [0.0], [1.0], "s", interp="lin"),
    "coords.bins:energy_axis": lambda w: xgamma.energy_axis("1 TeV", "10 TeV", nbin=2),
    "coords.grid:region_grid": lambda w: region_grid([w.region], **_cut(w)),
    "coords.grid:sky_grid": lambda w: w.grid,
    "estimators.phase:phase_axis": lambda w: phase_axis(4),
    "estimators.sed:reference_fluxes": lambda w: reference_fluxes(w.points, 2.0),
    "estimators.sensitivity:expected_spectrum": lambda w: expected_spectrum(
        {n: getattr(w.run, n) for n in ("aeff", "edisp", "psf", "bkg")}, livetime="1 h", acceptance_off=5, **_cut(w)
    ),
    "estimators.variability:bayesian_blocks": lambda w: bayesian_blocks(w.curve.isel(energy=[0]).compute()),
    "coords.healpix:healpix_coords": lambda w: xr.Dataset(coords=xgamma.healpix_coords(2)),
    "coords.nodes:bins_around_nodes": lambda w: bins_around_nodes(axis_of(w.cube, "energy")),
    "estimators.significance:significance_distribution": lambda w: xgamma.significance_distribution(w.maps.sqrt_ts),
    "dl3.events:read_events": lambda w: w.run.events,
    "dl3.ephemeris:event_phases": lambda w: xgamma.event_phases(w.run.events, xgamma.Ephemeris(51544.5, (0.01,))),
    "dl3.events:stack_events": lambda w: stack_events([run.events for run in w.observations]),
    "dl3.gti:read_gti": lambda w: w.run.gti,
    "dl3.gti:gti_table": lambda w: gti.gti_table([0.0], [1.0]),
    "dl3.gti:gti_from_time": lambda w: gti.gti_from_time("2020-01-01", "2020-01-02"),
    "dl3.gti:gti_union": lambda w: gti.gti_union(*(run.gti for run in w.observations)),
    "dl3.gti:gti_intersection": lambda w: gti.gti_intersection(w.run.gti, w.run.gti),
    "dl3.gti:gti_delete": lambda w: gti.gti_delete(w.run.gti, (0.0, 1.0)),
    "dl3.gti:gti_select_time": lambda w: gti.gti_select_time(w.run.gti, (0.0, 1e10)),
    "dl3.index:read_obs_index": lambda w: w.observations.table,
    "dl3.select:event_offset": lambda w: select.event_offset(w.run.events),
    "dl3.select:event_separation": lambda w: select.event_separation(w.run.events, CENTER),
    "dl3.select:select_energy": lambda w: select.select_energy(w.run.events, "1 TeV", "5 TeV"),
    "dl3.select:select_mask": lambda w: select.select_mask(w.run.events, w.run.events.energy.values > 1),
    "dl3.select:select_offset": lambda w: select.select_offset(w.run.events, "0 deg", "1 deg"),
    "dl3.select:select_range": lambda w: select.select_range(w.run.events, "energy", 1.0, 2.0),
    "dl3.select:select_rad_max": lambda w: select.select_rad_max(w.run.events, _rad_max(), CENTER),
    "dl3.select:select_region": lambda w: select.select_region(w.run.events, w.region),
    "dl3.select:select_time": lambda w: select.select_time(w.run.events, (0.0, 1e10)),
    "dl3.theta2:theta2_table": lambda w: theta2_table(w.run.events, CENTER, np.linspace(0, 0.3, 4) * u.deg**2),
    "irf.aeff:from_parametrization": lambda w: aeff.from_parametrization(),
    "irf.background:constant_background": lambda w: background.constant_background(),
    "irf.background:powerlaw_background": lambda w: background.powerlaw_background(),
    "irf.background:pad_offset": lambda w: background.pad_offset(background.constant_background()),
    "irf.background:prepare_background": lambda w: background.prepare_background(w.run.bkg),
    "irf.edisp:from_gauss": lambda w: edisp.from_gauss(),
    "irf.edisp:diagonal_response": lambda w: edisp.diagonal_response(w.grid.energy_true, w.grid.energy),
    "irf.axes:response_axis": lambda w: response_axis("offset", [0.0, 1.0], [1.0, 2.0]),
    "irf.psf:from_gauss": lambda w: psf.from_gauss(),
    "irf.psf:default_rad_axis": lambda w: psf.default_rad_axis(),
    "reduction.rad:containment_rad_axis": lambda w: xgamma.containment_rad_axis(w.observations, w.grid.energy_true),
    "irf.read:read_irf": lambda w: [w.run.aeff, w.run.edisp, w.run.psf, w.run.bkg],
}

#: Functions that bring back what was put into a file; ``path`` is a new folder.
THROUGH_FILES: dict[str, Callable[[World, Path], Any]] = {
    "io.cube:open_cube": lambda w, path: xgamma.open_cube(xgamma.write_cube(w.cube, path / "a.zarr")),
    "io.cube:open_cube (netCDF)": lambda w, path: xgamma.open_cube(xgamma.write_cube(w.cube, path / "a.nc")),
    "io.fits_cube:read_fits": lambda w, path: xgamma.open_cube(xgamma.write_cube(w.cube, path / "a.fits")[0]),
    "io.marker:read_log": lambda w, path: read_log(_in_pieces(w, path)),
    "io.ogip:read_ogip": lambda w, path: xgamma.read_ogip(
        xgamma.to_ogip(w.region_runs.isel(region=0).compute(), path / "ogip")
    ),
    "io.flux_tables:read_flux_points": lambda w, path: xgamma.read_flux_points(
        w.points.isel(region=0).gamma.to_fits(path / "points.fits", sed_type="dnde")
    ),
    "io.flux_tables:flux_points_from_table": lambda w, path: flux_points_from_table(
        w.points.isel(region=0).gamma.to_table()
    ),
    "io.healpix_fits:open_healpix": lambda w, path: xgamma.open_healpix(
        xgamma.write_healpix(w.healpix.isel(energy=0), path / "healpix.fits")
    ),
    "io.fits_map:read_map": lambda w, path: xgamma.read_map(xgamma.write_map(w.cube.counts, path / "b.fits")),
}

#: Functions that return labelled data and are steps inside of others that are called here, or need more than a call.
INSIDE = {
    "analysis.backgrounds:read_exclusion": "a file of the user, tested with the configuration",
    "coords.bin_index:bin_coords": "coordinates without attributes, for bin_axis",
    "coords.energy_groups:energy_groups": "slices and an axis, for rebin and excess_map",
    "coords.sky:sky_coords": "coordinates, for sky_grid",
    "dl3.scan:scan_files": "the table of a store without index",
    "dl3.scan:scan_folder": "the table of a store without index",
    "dl3.scan:table_of_headers": "the table of a store without index",
    "io.attrs:decode_attrs": "what files hold",
    "io.attrs:encode_attrs": "what files hold",
    "io.encoding:regular_chunks": "chunks alone",
    "estimators.reoptimize:reoptimized_points": "flux_points with reoptimize=True",
    "fitting.cubes:named_cubes": "the cubes that a fit is given",
    "fitting.map_compile:compile_map": "the likelihood of a fit",
    "fitting.own_axes:on_axes_of_cube": "cubes of other programs, for a fit",
    "fitting.points:compile_points": "the likelihood of a fit",
    "fitting.tree:flux_pred": "flux points of a DataTree, tested with it",
    "fitting.tree:info_tree": "info of a DataTree, tested with it",
    "models.spatial_table:as_map": "the map of a template",
    "fitting.profile:surface": "profiles of a fit's result, tested with it",
    "io.fits_axes:bands_axes": "axes of read_map",
    "io.fits_region:with_off_regions": "off regions of read_ogip",
    "io.flux_axes:energy_of": "axis of read_flux_points",
    "models.covariance:labelled_covariance": "covariance of a fit's result, whose units differ from row to row",
    "io.fits_map:map_array": "read_map",
    "irf.axes:response_array": "builds what read_irf returns",
    "irf.rad_max:rad_max_from_aeff": "needs a point-like response, which the sample has not",
    "simulate.config:simulate_from_config": "its table is tested with the simulation",
    "simulate.events:simulate_events": "its events are tested with the simulation",
    "io.fermi:open_fermi": "its cubes are tested on files of the Fermi-LAT tools",
    "io.fermi:open_fermi_file": "open_cube of such files",
    "io.fermi_maps:counts_map": "open_fermi",
    "io.fermi_maps:event_counts": "open_fermi",
    "io.fermi_maps:exposure_map": "open_fermi",
    "io.fermi_maps:finite": "open_fermi",
    "io.fermi_maps:on_nodes": "open_fermi",
    "io.fermi_psf:psf_variables": "open_fermi",
    "estimators.sensitivity:described": "sensitivity and sensitivity_map",
    "simulate.observations:simulate_observations": "its table is tested with the simulation",
    "estimators.groups:points_in_groups": "light_curve and phase_curve",
    "estimators.groups:with_bins": "light_curve and phase_curve",
    "fitting.distributed:split_cubes": "fits on workers",
    "fitting.file_runs:join_runs": "read_datasets",
    "fitting.file_runs:run_of": "write_datasets",
    "io.tree:open_groups": "open_tree, tested with trees",
    "simulate.region:simulate_region": "its table is tested with the simulation",
    "simulate.store:labelled_counts": "nothing of it is lazy; its table is tested with the simulation",
    "simulate.survey:simulate_survey": "its table is tested with the simulation",
}


def _in_pieces(world: World, path: Path) -> Path:
    to_zarr(world.cube.chunk(y=10), path / "pieces.zarr", resume=True)
    return path / "pieces.zarr"


def _rad_max() -> xr.DataArray:
    axis = bin_axis("energy", [0.1], [100.0], "TeV")
    offset = bin_axis("offset", [0.0], [5.0], "deg", interp="lin")
    return response_array([[0.5]], [axis, offset], "rad_max", "deg", "Radius of the selection")


def labelled_functions() -> list[str]:
    """``module:name`` of every function in an ``__all__`` that says that it returns labelled data."""
    found = []
    for module in pkgutil.walk_packages(xgamma.__path__, "xgamma."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name in getattr(loaded, "__all__", ()):
            function = getattr(loaded, name)
            if not inspect.isfunction(function) or function.__module__ != module.name:
                continue
            returns = str(inspect.signature(function).return_annotation)
            if any(word in returns for word in ("DataArray", "Dataset", "XarrayT", "Coordinates")):
                found.append(f"{module.name.removeprefix('xgamma.')}:{name}")
    return found


def arrays_of(result: Any) -> dict[str, xr.DataArray]:
    """All arrays of a result, data and coordinates, by name."""
    if isinstance(result, dict):
        result = list(result.values())
    results = result if isinstance(result, (list, tuple)) else [result]
    arrays: dict[str, xr.DataArray] = {}
    for part in results:
        if isinstance(part, xr.DataArray):
            arrays[str(part.name)] = part
        arrays.update({str(n): part[n] for n in part.coords})
        if isinstance(part, xr.Dataset):
            arrays.update({str(n): part[n] for n in part.data_vars})
    return arrays
