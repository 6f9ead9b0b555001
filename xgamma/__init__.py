"""xgamma: gamma-ray astronomy on labelled, lazy xarray objects.

Runs come in with `open_store`, a lazy cube goes out of `reduce`, and everything after that hangs on the cube
as ``cube.gamma``. Importing the package loads neither matplotlib nor a compiler nor a scheduler.
"""

import importlib
from typing import TYPE_CHECKING, Any

from xgamma import accessor as accessor

if TYPE_CHECKING:
    from xgamma.analysis.analysis import Analysis
    from xgamma.analysis.config import Config, read_config
    from xgamma.background.fov import FoVBackground, fov_background
    from xgamma.background.per_run import AdaptiveRingBackground, RingBackground
    from xgamma.background.phase import PhaseBackground
    from xgamma.background.reflected import ReflectedRegions, WobbleRegions
    from xgamma.background.ring import adaptive_ring_background, ring_background
    from xgamma.coords.bins import energy_axis
    from xgamma.coords.cutout import cutout
    from xgamma.coords.downsample import downsample
    from xgamma.coords.grid import region_grid, separation, sky_grid, solid_angle
    from xgamma.coords.region_shapes import concentric_annuli, region_boxes, regions_along_line
    from xgamma.coords.regions import region_mask
    from xgamma.coords.reproject import reproject
    from xgamma.coords.sky import decode, encode
    from xgamma.coords.smooth import smooth
    from xgamma.dl3.check import check_store
    from xgamma.dl3.download import download
    from xgamma.dl3.observation import Observation
    from xgamma.dl3.store import Observations, Store, open_store
    from xgamma.estimators.adaptive_smooth import adaptive_smooth
    from xgamma.estimators.catalogue import source_catalogue
    from xgamma.estimators.correlation import discrete_correlation
    from xgamma.estimators.excess import excess_map
    from xgamma.estimators.flux_points import flux_points
    from xgamma.estimators.light_curve import light_curve, split_runs
    from xgamma.estimators.peaks import find_peaks
    from xgamma.estimators.profile import flux_profile
    from xgamma.estimators.rebin_points import rebin_points
    from xgamma.estimators.residuals import residuals
    from xgamma.estimators.sed import recompute_ul, to_sed_type
    from xgamma.estimators.sensitivity import expected_spectrum, sensitivity
    from xgamma.estimators.significance import significance_distribution
    from xgamma.estimators.ts_map import ts_map
    from xgamma.estimators.variability import (
        bayesian_blocks,
        doubling_time,
        fractional_variance,
        point_to_point_variance,
        variability_test,
    )
    from xgamma.fitting.files import read_datasets, write_datasets
    from xgamma.fitting.fit import fit
    from xgamma.fitting.predict import npred, npred_background, npred_signal
    from xgamma.fitting.result import FitResult
    from xgamma.fitting.tree import flux_pred
    from xgamma.io.cube import open_cube, write_cube
    from xgamma.io.describe import describe
    from xgamma.io.fits_map import read_map
    from xgamma.io.fits_write import write_map
    from xgamma.io.flux_tables import read_flux_points
    from xgamma.io.ogip import read_ogip
    from xgamma.io.ogip_write import to_ogip
    from xgamma.io.sample import sample_path
    from xgamma.irf.read import read_irf
    from xgamma.models.background_model import (
        FoVBackgroundModel,
        TemplateNPredModel,
        create_fermi_isotropic_diffuse_model,
    )
    from xgamma.models.broken import BrokenPowerLawSpectralModel, SmoothBrokenPowerLawSpectralModel
    from xgamma.models.compound import CompoundSpectralModel
    from xgamma.models.cutoff import (
        ExpCutoffPowerLaw3FGLSpectralModel,
        ExpCutoffPowerLawSpectralModel,
        SuperExpCutoffPowerLaw3FGLSpectralModel,
        SuperExpCutoffPowerLaw4FGLDR3SpectralModel,
        SuperExpCutoffPowerLaw4FGLSpectralModel,
    )
    from xgamma.models.ebl import EBLAbsorptionNormSpectralModel
    from xgamma.models.gaussian import GaussianSpectralModel, LogGaussianSpectralModel
    from xgamma.models.log_parabola import (
        LogParabola2SpectralModel,
        LogParabolaNormSpectralModel,
        LogParabolaSpectralModel,
    )
    from xgamma.models.models import Models
    from xgamma.models.naima import NaimaSpectralModel
    from xgamma.models.norm import (
        ExpCutoffPowerLawNormSpectralModel,
        PiecewiseNormSpectralModel,
        PowerLawNormSpectralModel,
        ScaleSpectralModel,
    )
    from xgamma.models.parameter import Parameter
    from xgamma.models.power_law import ConstantSpectralModel, PowerLaw2SpectralModel, PowerLawSpectralModel
    from xgamma.models.prior import (
        GaussianPrior,
        GeneralizedGaussianPrior,
        LogNormalPrior,
        LogUniformPrior,
        UniformPrior,
    )
    from xgamma.models.reference import (
        MeyerCrabSpectralModel,
        create_cosmic_ray_spectral_model,
        create_crab_spectral_model,
    )
    from xgamma.models.sky_model import SkyModel
    from xgamma.models.spatial_disk import DiskSpatialModel, Shell2SpatialModel, ShellSpatialModel
    from xgamma.models.spatial_norm import PiecewiseNormSpatialModel
    from xgamma.models.spatial_shapes import (
        ConstantFluxSpatialModel,
        ConstantSpatialModel,
        GaussianSpatialModel,
        GeneralizedGaussianSpatialModel,
        PointSpatialModel,
    )
    from xgamma.models.spatial_template import TemplateSpatialModel
    from xgamma.models.spatial_template_nd import TemplateNDSpatialModel
    from xgamma.models.template import TemplateNDSpectralModel, TemplateSpectralModel
    from xgamma.models.temporal_phase import TemplatePhaseCurveTemporalModel
    from xgamma.models.temporal_shapes import (
        ConstantTemporalModel,
        ExpDecayTemporalModel,
        GaussianTemporalModel,
        GeneralizedGaussianTemporalModel,
        LinearTemporalModel,
        PowerLawTemporalModel,
        SineTemporalModel,
    )
    from xgamma.models.temporal_template import LightCurveTemplateTemporalModel
    from xgamma.plot.distribution import plot_significance_distribution
    from xgamma.plot.fit import plot_contour, plot_profile
    from xgamma.plot.flux_profile import plot_flux_profile, plot_flux_profile_map
    from xgamma.plot.light_curve import plot_light_curve
    from xgamma.plot.models import plot_sources, plot_spatial_model
    from xgamma.plot.peek_spectrum import plot_edisp_matrix, plot_exposure
    from xgamma.plot.sed import plot_sed, plot_spectral_model
    from xgamma.plot.sky import plot_map, plot_mask, plot_panels
    from xgamma.plot.spectrum import plot_off_regions, plot_spectrum
    from xgamma.plot.strip import plot_strip
    from xgamma.reduction.info import info
    from xgamma.reduction.map_spectrum import to_spectrum
    from xgamma.reduction.plan import plan_survey
    from xgamma.reduction.production import write_survey
    from xgamma.reduction.rad import containment_rad_axis
    from xgamma.reduction.rebin import rebin, to_image
    from xgamma.reduction.stack import stack
    from xgamma.reduction.survey import reduce
    from xgamma.simulate.events import simulate_events
    from xgamma.simulate.region import simulate_region
    from xgamma.simulate.survey import simulate_survey

#: Where the public names live; each is imported when it is first used.
_NAMES = {
    "AdaptiveRingBackground": "background.per_run",
    "Analysis": "analysis.analysis",
    "BrokenPowerLawSpectralModel": "models.broken",
    "CompoundSpectralModel": "models.compound",
    "Config": "analysis.config",
    "ConstantFluxSpatialModel": "models.spatial_shapes",
    "ConstantSpatialModel": "models.spatial_shapes",
    "ConstantSpectralModel": "models.power_law",
    "ConstantTemporalModel": "models.temporal_shapes",
    "DiskSpatialModel": "models.spatial_disk",
    "EBLAbsorptionNormSpectralModel": "models.ebl",
    "ExpCutoffPowerLaw3FGLSpectralModel": "models.cutoff",
    "ExpCutoffPowerLawNormSpectralModel": "models.norm",
    "ExpCutoffPowerLawSpectralModel": "models.cutoff",
    "ExpDecayTemporalModel": "models.temporal_shapes",
    "FitResult": "fitting.result",
    "FoVBackground": "background.fov",
    "FoVBackgroundModel": "models.background_model",
    "GaussianPrior": "models.prior",
    "GaussianSpatialModel": "models.spatial_shapes",
    "GaussianSpectralModel": "models.gaussian",
    "GaussianTemporalModel": "models.temporal_shapes",
    "GeneralizedGaussianPrior": "models.prior",
    "GeneralizedGaussianSpatialModel": "models.spatial_shapes",
    "GeneralizedGaussianTemporalModel": "models.temporal_shapes",
    "LightCurveTemplateTemporalModel": "models.temporal_template",
    "LinearTemporalModel": "models.temporal_shapes",
    "LogGaussianSpectralModel": "models.gaussian",
    "LogNormalPrior": "models.prior",
    "LogParabola2SpectralModel": "models.log_parabola",
    "LogParabolaNormSpectralModel": "models.log_parabola",
    "LogParabolaSpectralModel": "models.log_parabola",
    "LogUniformPrior": "models.prior",
    "MeyerCrabSpectralModel": "models.reference",
    "Models": "models.models",
    "NaimaSpectralModel": "models.naima",
    "Observation": "dl3.observation",
    "Observations": "dl3.store",
    "Parameter": "models.parameter",
    "PhaseBackground": "background.phase",
    "PiecewiseNormSpatialModel": "models.spatial_norm",
    "PiecewiseNormSpectralModel": "models.norm",
    "PointSpatialModel": "models.spatial_shapes",
    "PowerLaw2SpectralModel": "models.power_law",
    "PowerLawNormSpectralModel": "models.norm",
    "PowerLawSpectralModel": "models.power_law",
    "PowerLawTemporalModel": "models.temporal_shapes",
    "ReflectedRegions": "background.reflected",
    "RingBackground": "background.per_run",
    "ScaleSpectralModel": "models.norm",
    "Shell2SpatialModel": "models.spatial_disk",
    "ShellSpatialModel": "models.spatial_disk",
    "SineTemporalModel": "models.temporal_shapes",
    "SkyModel": "models.sky_model",
    "SmoothBrokenPowerLawSpectralModel": "models.broken",
    "Store": "dl3.store",
    "SuperExpCutoffPowerLaw3FGLSpectralModel": "models.cutoff",
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel": "models.cutoff",
    "SuperExpCutoffPowerLaw4FGLSpectralModel": "models.cutoff",
    "TemplateNDSpatialModel": "models.spatial_template_nd",
    "TemplateNDSpectralModel": "models.template",
    "TemplateNPredModel": "models.background_model",
    "TemplatePhaseCurveTemporalModel": "models.temporal_phase",
    "TemplateSpatialModel": "models.spatial_template",
    "TemplateSpectralModel": "models.template",
    "UniformPrior": "models.prior",
    "WobbleRegions": "background.reflected",
    "adaptive_ring_background": "background.ring",
    "adaptive_smooth": "estimators.adaptive_smooth",
    "bayesian_blocks": "estimators.variability",
    "check_store": "dl3.check",
    "concentric_annuli": "coords.region_shapes",
    "containment_rad_axis": "reduction.rad",
    "create_cosmic_ray_spectral_model": "models.reference",
    "create_crab_spectral_model": "models.reference",
    "create_fermi_isotropic_diffuse_model": "models.background_model",
    "cutout": "coords.cutout",
    "decode": "coords.sky",
    "describe": "io.describe",
    "discrete_correlation": "estimators.correlation",
    "doubling_time": "estimators.variability",
    "download": "dl3.download",
    "downsample": "coords.downsample",
    "encode": "coords.sky",
    "energy_axis": "coords.bins",
    "excess_map": "estimators.excess",
    "expected_spectrum": "estimators.sensitivity",
    "find_peaks": "estimators.peaks",
    "fit": "fitting.fit",
    "flux_points": "estimators.flux_points",
    "flux_pred": "fitting.tree",
    "flux_profile": "estimators.profile",
    "fov_background": "background.fov",
    "fractional_variance": "estimators.variability",
    "info": "reduction.info",
    "light_curve": "estimators.light_curve",
    "npred": "fitting.predict",
    "npred_background": "fitting.predict",
    "npred_signal": "fitting.predict",
    "open_cube": "io.cube",
    "open_store": "dl3.store",
    "plan_survey": "reduction.plan",
    "plot_contour": "plot.fit",
    "plot_edisp_matrix": "plot.peek_spectrum",
    "plot_exposure": "plot.peek_spectrum",
    "plot_flux_profile": "plot.flux_profile",
    "plot_flux_profile_map": "plot.flux_profile",
    "plot_light_curve": "plot.light_curve",
    "plot_map": "plot.sky",
    "plot_mask": "plot.sky",
    "plot_off_regions": "plot.spectrum",
    "plot_panels": "plot.sky",
    "plot_profile": "plot.fit",
    "plot_sed": "plot.sed",
    "plot_significance_distribution": "plot.distribution",
    "plot_sources": "plot.models",
    "plot_spatial_model": "plot.models",
    "plot_spectral_model": "plot.sed",
    "plot_spectrum": "plot.spectrum",
    "plot_strip": "plot.strip",
    "point_to_point_variance": "estimators.variability",
    "read_config": "analysis.config",
    "read_datasets": "fitting.files",
    "read_flux_points": "io.flux_tables",
    "read_irf": "irf.read",
    "read_map": "io.fits_map",
    "read_ogip": "io.ogip",
    "rebin": "reduction.rebin",
    "rebin_points": "estimators.rebin_points",
    "recompute_ul": "estimators.sed",
    "reduce": "reduction.survey",
    "region_boxes": "coords.region_shapes",
    "region_grid": "coords.grid",
    "region_mask": "coords.regions",
    "regions_along_line": "coords.region_shapes",
    "reproject": "coords.reproject",
    "residuals": "estimators.residuals",
    "ring_background": "background.ring",
    "sample_path": "io.sample",
    "sensitivity": "estimators.sensitivity",
    "separation": "coords.grid",
    "significance_distribution": "estimators.significance",
    "simulate_events": "simulate.events",
    "simulate_region": "simulate.region",
    "simulate_survey": "simulate.survey",
    "sky_grid": "coords.grid",
    "smooth": "coords.smooth",
    "solid_angle": "coords.grid",
    "source_catalogue": "estimators.catalogue",
    "split_runs": "estimators.light_curve",
    "stack": "reduction.stack",
    "to_image": "reduction.rebin",
    "to_ogip": "io.ogip_write",
    "to_sed_type": "estimators.sed",
    "to_spectrum": "reduction.map_spectrum",
    "ts_map": "estimators.ts_map",
    "variability_test": "estimators.variability",
    "write_cube": "io.cube",
    "write_datasets": "fitting.files",
    "write_map": "io.fits_write",
    "write_survey": "reduction.production",
}

__all__ = [
    "AdaptiveRingBackground",
    "Analysis",
    "BrokenPowerLawSpectralModel",
    "CompoundSpectralModel",
    "Config",
    "ConstantFluxSpatialModel",
    "ConstantSpatialModel",
    "ConstantSpectralModel",
    "ConstantTemporalModel",
    "DiskSpatialModel",
    "EBLAbsorptionNormSpectralModel",
    "ExpCutoffPowerLaw3FGLSpectralModel",
    "ExpCutoffPowerLawNormSpectralModel",
    "ExpCutoffPowerLawSpectralModel",
    "ExpDecayTemporalModel",
    "FitResult",
    "FoVBackground",
    "FoVBackgroundModel",
    "GaussianPrior",
    "GaussianSpatialModel",
    "GaussianSpectralModel",
    "GaussianTemporalModel",
    "GeneralizedGaussianPrior",
    "GeneralizedGaussianSpatialModel",
    "GeneralizedGaussianTemporalModel",
    "LightCurveTemplateTemporalModel",
    "LinearTemporalModel",
    "LogGaussianSpectralModel",
    "LogNormalPrior",
    "LogParabola2SpectralModel",
    "LogParabolaNormSpectralModel",
    "LogParabolaSpectralModel",
    "LogUniformPrior",
    "MeyerCrabSpectralModel",
    "Models",
    "NaimaSpectralModel",
    "Observation",
    "Observations",
    "Parameter",
    "PhaseBackground",
    "PiecewiseNormSpatialModel",
    "PiecewiseNormSpectralModel",
    "PointSpatialModel",
    "PowerLaw2SpectralModel",
    "PowerLawNormSpectralModel",
    "PowerLawSpectralModel",
    "PowerLawTemporalModel",
    "ReflectedRegions",
    "RingBackground",
    "ScaleSpectralModel",
    "Shell2SpatialModel",
    "ShellSpatialModel",
    "SineTemporalModel",
    "SkyModel",
    "SmoothBrokenPowerLawSpectralModel",
    "Store",
    "SuperExpCutoffPowerLaw3FGLSpectralModel",
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel",
    "SuperExpCutoffPowerLaw4FGLSpectralModel",
    "TemplateNDSpatialModel",
    "TemplateNDSpectralModel",
    "TemplateNPredModel",
    "TemplatePhaseCurveTemporalModel",
    "TemplateSpatialModel",
    "TemplateSpectralModel",
    "UniformPrior",
    "WobbleRegions",
    "adaptive_ring_background",
    "adaptive_smooth",
    "bayesian_blocks",
    "check_store",
    "concentric_annuli",
    "containment_rad_axis",
    "create_cosmic_ray_spectral_model",
    "create_crab_spectral_model",
    "create_fermi_isotropic_diffuse_model",
    "cutout",
    "decode",
    "describe",
    "discrete_correlation",
    "doubling_time",
    "download",
    "downsample",
    "encode",
    "energy_axis",
    "excess_map",
    "expected_spectrum",
    "find_peaks",
    "fit",
    "flux_points",
    "flux_pred",
    "flux_profile",
    "fov_background",
    "fractional_variance",
    "info",
    "light_curve",
    "npred",
    "npred_background",
    "npred_signal",
    "open_cube",
    "open_store",
    "plan_survey",
    "plot_contour",
    "plot_edisp_matrix",
    "plot_exposure",
    "plot_flux_profile",
    "plot_flux_profile_map",
    "plot_light_curve",
    "plot_map",
    "plot_mask",
    "plot_off_regions",
    "plot_panels",
    "plot_profile",
    "plot_sed",
    "plot_significance_distribution",
    "plot_sources",
    "plot_spatial_model",
    "plot_spectral_model",
    "plot_spectrum",
    "plot_strip",
    "point_to_point_variance",
    "read_config",
    "read_datasets",
    "read_flux_points",
    "read_irf",
    "read_map",
    "read_ogip",
    "rebin",
    "rebin_points",
    "recompute_ul",
    "reduce",
    "region_boxes",
    "region_grid",
    "region_mask",
    "regions_along_line",
    "reproject",
    "residuals",
    "ring_background",
    "sample_path",
    "sensitivity",
    "separation",
    "significance_distribution",
    "simulate_events",
    "simulate_region",
    "simulate_survey",
    "sky_grid",
    "smooth",
    "solid_angle",
    "source_catalogue",
    "split_runs",
    "stack",
    "to_image",
    "to_ogip",
    "to_sed_type",
    "to_spectrum",
    "ts_map",
    "variability_test",
    "write_cube",
    "write_datasets",
    "write_map",
    "write_survey",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from xgamma.io.provenance import xgamma_version

        return xgamma_version()
    if name not in _NAMES:
        msg = f"module 'xgamma' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"xgamma.{_NAMES[name]}"), name)

    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
