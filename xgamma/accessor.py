"""`.gamma` on DataArray, Dataset and DataTree: an index of the library's functions, a line each; no state, no logic."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import MethodType
from typing import Any

import xarray as xr

__all__ = ["GammaDataArray", "GammaDataTree", "GammaDataset"]


class Function:
    """A function of the library as a method: imported when it is first asked for, documented where it is defined.

    Parameters
    ----------
    path
        ``"module:name"`` inside the package.
    """

    def __init__(self, path: str) -> None:
        module, self.name = path.split(":")
        self.module = f"xgamma.{module}"

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(importlib.import_module(self.module), self.name)
        return function if instance is None else MethodType(function, instance._obj)


class _Accessor:
    """What maps and cubes have in common."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    # the sky
    grid = Function("coords.sky:grid_of")
    cutout = Function("coords.cutout:cutout")
    downsample = Function("coords.downsample:downsample")
    reproject = Function("coords.reproject:reproject")
    smooth = Function("coords.smooth:smooth")
    region_mask = Function("coords.regions:region_mask")
    separation = Function("coords.grid:separation")
    solid_angle = Function("coords.grid:solid_angle")
    # energy
    rebin = Function("reduction.rebin:rebin")
    to_image = Function("reduction.rebin:to_image")


@xr.register_dataarray_accessor("gamma")
class GammaDataArray(_Accessor):
    """Functions for one map."""

    # units
    to_unit = Function("coords.units:to_unit")
    quantity = Function("coords.units:quantity")
    # files
    to_fits = Function("io.fits_write:write_map")
    write_healpix = Function("io.healpix_write:write_healpix")
    # HEALPix
    to_wcs = Function("coords.healpix_project:healpix_to_wcs")
    # pictures
    plot = Function("plot.sky:plot_map")
    plot_panels = Function("plot.sky:plot_panels")
    plot_strip = Function("plot.strip:plot_strip")
    plot_mask = Function("plot.sky:plot_mask")
    plot_rgb = Function("plot.rgb:plot_rgb")
    plot_significance_distribution = Function("plot.distribution:plot_significance_distribution")
    rgb_composite = Function("plot.rgb:rgb_composite")
    significance_distribution = Function("estimators.significance:significance_distribution")
    find_peaks = Function("estimators.peaks:find_peaks")


@xr.register_dataset_accessor("gamma")
class GammaDataset(_Accessor):
    """Functions for a cube."""

    # runs
    info = Function("reduction.info:info")
    stack = Function("reduction.stack:stack")
    to_spectrum = Function("reduction.map_spectrum:to_spectrum")
    # background
    fov_background = Function("background.fov:fov_background")
    ring_background = Function("background.ring:ring_background")
    adaptive_ring_background = Function("background.ring:adaptive_ring_background")
    # models
    fit = Function("fitting.fit:fit")
    npred = Function("fitting.predict:npred")
    npred_signal = Function("fitting.predict:npred_signal")
    npred_background = Function("fitting.predict:npred_background")
    asimov_counts = Function("simulate.counts:asimov_counts")
    simulate_counts = Function("simulate.counts:simulate_counts")
    # estimators
    excess_map = Function("estimators.excess:excess_map")
    flux_points = Function("estimators.flux_points:flux_points")
    flux_profile = Function("estimators.profile:flux_profile")
    light_curve = Function("estimators.light_curve:light_curve")
    phase_curve = Function("estimators.phase_curve:phase_curve")
    rebin_points = Function("estimators.rebin_points:rebin_points")
    sensitivity = Function("estimators.sensitivity:sensitivity")
    sensitivity_map = Function("estimators.sensitivity_map:sensitivity_map")
    ts_map = Function("estimators.ts_map:ts_map")
    find_peaks = Function("estimators.peaks:find_peaks")
    source_catalogue = Function("estimators.catalogue:source_catalogue")
    adaptive_smooth = Function("estimators.adaptive_smooth:adaptive_smooth")
    residuals = Function("estimators.residuals:residuals")
    # flux points
    to_sed_type = Function("estimators.sed:to_sed_type")
    recompute_ul = Function("estimators.sed:recompute_ul")
    to_table = Function("estimators.sed:to_table")
    plot_sed = Function("plot.sed:plot_sed")
    plot_flux_profile = Function("plot.flux_profile:plot_flux_profile")
    plot_light_curve = Function("plot.light_curve:plot_light_curve")
    # files
    to_ogip = Function("io.ogip_write:to_ogip")
    to_zarr = Function("io.cube:to_zarr")
    to_netcdf = Function("io.cube:to_netcdf")
    to_fits = Function("estimators.files:to_fits")
    write = Function("io.cube:write_cube")
    # pictures
    peek = Function("plot.peek:peek_cube")
    plot_spectrum = Function("plot.spectrum:plot_spectrum")
    plot_off_regions = Function("plot.spectrum:plot_off_regions")


@xr.register_datatree_accessor("gamma")
class GammaDataTree:
    """Functions for joint datasets: groups of cubes and flux points."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    info = Function("fitting.tree:info_tree")
    fit = Function("fitting.fit:fit")
    npred = Function("fitting.tree:npred_tree")
    asimov_counts = Function("simulate.counts:asimov_counts")
    simulate_counts = Function("simulate.counts:simulate_counts")
    flux_points = Function("estimators.flux_points:flux_points")
    light_curve = Function("estimators.light_curve:light_curve")
    phase_curve = Function("estimators.phase_curve:phase_curve")
    # files
    to_zarr = Function("fitting.stored:tree_to_zarr")
    to_netcdf = Function("fitting.stored:tree_to_netcdf")
    write = Function("fitting.files:write_datasets")
    # pictures
    plot = Function("plot.joint:plot_joint")
