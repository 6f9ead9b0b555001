# the public names and where they come from: the one list, read by type checkers and by `lazy_loader` at run time
from .analysis.analysis import Analysis as Analysis
from .analysis.config import Config as Config, read_config as read_config
from .background.fov import FoVBackground as FoVBackground, fov_background as fov_background
from .background.per_run import AdaptiveRingBackground as AdaptiveRingBackground, RingBackground as RingBackground
from .background.phase import PhaseBackground as PhaseBackground
from .background.reflected import ReflectedRegions as ReflectedRegions, WobbleRegions as WobbleRegions
from .background.ring import adaptive_ring_background as adaptive_ring_background, ring_background as ring_background
from .coords.bins import energy_axis as energy_axis
from .coords.cutout import cutout as cutout
from .coords.downsample import downsample as downsample
from .coords.grid import (
    region_grid as region_grid,
    separation as separation,
    sky_grid as sky_grid,
    solid_angle as solid_angle,
)
from .coords.healpix import healpix_coords as healpix_coords
from .coords.healpix_project import healpix_to_wcs as healpix_to_wcs
from .coords.region_shapes import (
    concentric_annuli as concentric_annuli,
    region_boxes as region_boxes,
    regions_along_line as regions_along_line,
)
from .coords.regions import region_mask as region_mask
from .coords.reproject import reproject as reproject
from .coords.sky import decode as decode, encode as encode
from .coords.smooth import smooth as smooth
from .dl3.check import check_store as check_store
from .dl3.download import download as download
from .dl3.ephemeris import Ephemeris as Ephemeris, assign_phases as assign_phases, event_phases as event_phases
from .dl3.observation import Observation as Observation
from .dl3.store import Observations as Observations, Store as Store, open_store as open_store
from .estimators.adaptive_smooth import adaptive_smooth as adaptive_smooth
from .estimators.catalogue import source_catalogue as source_catalogue
from .estimators.correlation import discrete_correlation as discrete_correlation
from .estimators.excess import excess_map as excess_map
from .estimators.flux_points import flux_points as flux_points
from .estimators.light_curve import light_curve as light_curve, split_runs as split_runs
from .estimators.peaks import find_peaks as find_peaks
from .estimators.phase import periodicity as periodicity, phasogram as phasogram
from .estimators.phase_curve import phase_curve as phase_curve, reduce_phases as reduce_phases
from .estimators.profile import flux_profile as flux_profile
from .estimators.rebin_points import rebin_points as rebin_points
from .estimators.residuals import residuals as residuals
from .estimators.sed import recompute_ul as recompute_ul, to_sed_type as to_sed_type
from .estimators.sensitivity import expected_spectrum as expected_spectrum, sensitivity as sensitivity
from .estimators.sensitivity_map import sensitivity_map as sensitivity_map
from .estimators.significance import significance_distribution as significance_distribution
from .estimators.ts_map import ts_map as ts_map
from .estimators.variability import (
    bayesian_blocks as bayesian_blocks,
    doubling_time as doubling_time,
    fractional_variance as fractional_variance,
    point_to_point_variance as point_to_point_variance,
    variability_test as variability_test,
)
from .fitting.compare import likelihood_ratio as likelihood_ratio
from .fitting.files import read_datasets as read_datasets, write_datasets as write_datasets
from .fitting.fit import fit as fit
from .fitting.predict import npred as npred, npred_background as npred_background, npred_signal as npred_signal
from .fitting.result import FitResult as FitResult
from .fitting.sampling import sample_posterior as sample_posterior
from .fitting.stored import open_tree as open_tree, tree_to_netcdf as tree_to_netcdf, tree_to_zarr as tree_to_zarr
from .fitting.tree import flux_pred as flux_pred
from .io.cube import open_cube as open_cube, write_cube as write_cube
from .io.describe import describe as describe
from .io.fermi import open_fermi as open_fermi
from .io.fits_map import read_map as read_map
from .io.fits_write import write_map as write_map
from .io.flux_tables import read_flux_points as read_flux_points
from .io.healpix_fits import open_healpix as open_healpix
from .io.healpix_write import write_healpix as write_healpix
from .io.ogip import read_ogip as read_ogip
from .io.ogip_write import to_ogip as to_ogip
from .io.provenance import __version__ as __version__
from .io.sample import sample_path as sample_path
from .irf.read import read_irf as read_irf
from .models.background_model import (
    FoVBackgroundModel as FoVBackgroundModel,
    TemplateNPredModel as TemplateNPredModel,
    create_fermi_isotropic_diffuse_model as create_fermi_isotropic_diffuse_model,
)
from .models.broken import (
    BrokenPowerLawSpectralModel as BrokenPowerLawSpectralModel,
    SmoothBrokenPowerLawSpectralModel as SmoothBrokenPowerLawSpectralModel,
)
from .models.compound import CompoundSpectralModel as CompoundSpectralModel
from .models.cutoff import (
    ExpCutoffPowerLaw3FGLSpectralModel as ExpCutoffPowerLaw3FGLSpectralModel,
    ExpCutoffPowerLawSpectralModel as ExpCutoffPowerLawSpectralModel,
    SuperExpCutoffPowerLaw3FGLSpectralModel as SuperExpCutoffPowerLaw3FGLSpectralModel,
    SuperExpCutoffPowerLaw4FGLDR3SpectralModel as SuperExpCutoffPowerLaw4FGLDR3SpectralModel,
    SuperExpCutoffPowerLaw4FGLSpectralModel as SuperExpCutoffPowerLaw4FGLSpectralModel,
)
from .models.ebl import EBLAbsorptionNormSpectralModel as EBLAbsorptionNormSpectralModel
from .models.gaussian import (
    GaussianSpectralModel as GaussianSpectralModel,
    LogGaussianSpectralModel as LogGaussianSpectralModel,
)
from .models.log_parabola import (
    LogParabola2SpectralModel as LogParabola2SpectralModel,
    LogParabolaNormSpectralModel as LogParabolaNormSpectralModel,
    LogParabolaSpectralModel as LogParabolaSpectralModel,
)
from .models.models import Models as Models
from .models.naima import NaimaSpectralModel as NaimaSpectralModel
from .models.norm import (
    ExpCutoffPowerLawNormSpectralModel as ExpCutoffPowerLawNormSpectralModel,
    PiecewiseNormSpectralModel as PiecewiseNormSpectralModel,
    PowerLawNormSpectralModel as PowerLawNormSpectralModel,
    ScaleSpectralModel as ScaleSpectralModel,
)
from .models.parameter import Parameter as Parameter
from .models.power_law import (
    ConstantSpectralModel as ConstantSpectralModel,
    PowerLaw2SpectralModel as PowerLaw2SpectralModel,
    PowerLawSpectralModel as PowerLawSpectralModel,
)
from .models.prior import (
    GaussianPrior as GaussianPrior,
    GeneralizedGaussianPrior as GeneralizedGaussianPrior,
    LogNormalPrior as LogNormalPrior,
    LogUniformPrior as LogUniformPrior,
    UniformPrior as UniformPrior,
)
from .models.reference import (
    MeyerCrabSpectralModel as MeyerCrabSpectralModel,
    create_cosmic_ray_spectral_model as create_cosmic_ray_spectral_model,
    create_crab_spectral_model as create_crab_spectral_model,
)
from .models.sky_model import SkyModel as SkyModel
from .models.spatial_disk import (
    DiskSpatialModel as DiskSpatialModel,
    Shell2SpatialModel as Shell2SpatialModel,
    ShellSpatialModel as ShellSpatialModel,
)
from .models.spatial_norm import PiecewiseNormSpatialModel as PiecewiseNormSpatialModel
from .models.spatial_shapes import (
    ConstantFluxSpatialModel as ConstantFluxSpatialModel,
    ConstantSpatialModel as ConstantSpatialModel,
    GaussianSpatialModel as GaussianSpatialModel,
    GeneralizedGaussianSpatialModel as GeneralizedGaussianSpatialModel,
    PointSpatialModel as PointSpatialModel,
)
from .models.spatial_template import TemplateSpatialModel as TemplateSpatialModel
from .models.spatial_template_nd import TemplateNDSpatialModel as TemplateNDSpatialModel
from .models.systematics import Systematics as Systematics
from .models.template import (
    TemplateNDSpectralModel as TemplateNDSpectralModel,
    TemplateSpectralModel as TemplateSpectralModel,
)
from .models.temporal_phase import TemplatePhaseCurveTemporalModel as TemplatePhaseCurveTemporalModel
from .models.temporal_shapes import (
    ConstantTemporalModel as ConstantTemporalModel,
    ExpDecayTemporalModel as ExpDecayTemporalModel,
    GaussianTemporalModel as GaussianTemporalModel,
    GeneralizedGaussianTemporalModel as GeneralizedGaussianTemporalModel,
    LinearTemporalModel as LinearTemporalModel,
    PowerLawTemporalModel as PowerLawTemporalModel,
    SineTemporalModel as SineTemporalModel,
)
from .models.temporal_template import LightCurveTemplateTemporalModel as LightCurveTemplateTemporalModel
from .plot.corner import plot_corner as plot_corner
from .plot.distribution import plot_significance_distribution as plot_significance_distribution
from .plot.fit import plot_contour as plot_contour, plot_profile as plot_profile
from .plot.flux_profile import plot_flux_profile as plot_flux_profile, plot_flux_profile_map as plot_flux_profile_map
from .plot.joint import plot_joint as plot_joint
from .plot.light_curve import plot_light_curve as plot_light_curve
from .plot.models import plot_sources as plot_sources, plot_spatial_model as plot_spatial_model
from .plot.peek_spectrum import plot_edisp_matrix as plot_edisp_matrix, plot_exposure as plot_exposure
from .plot.rgb import plot_rgb as plot_rgb, rgb_composite as rgb_composite
from .plot.sed import plot_sed as plot_sed, plot_spectral_model as plot_spectral_model
from .plot.sky import plot_map as plot_map, plot_mask as plot_mask, plot_panels as plot_panels
from .plot.spectrum import plot_off_regions as plot_off_regions, plot_spectrum as plot_spectrum
from .plot.strip import plot_strip as plot_strip
from .plot.surface import plot_surface as plot_surface
from .reduction.info import info as info
from .reduction.map_spectrum import to_spectrum as to_spectrum
from .reduction.plan import plan_survey as plan_survey
from .reduction.production import write_survey as write_survey
from .reduction.rad import containment_rad_axis as containment_rad_axis
from .reduction.rebin import rebin as rebin, to_image as to_image
from .reduction.stack import stack as stack
from .reduction.survey import reduce as reduce
from .simulate.counts import asimov_counts as asimov_counts, simulate_counts as simulate_counts
from .simulate.events import simulate_events as simulate_events
from .simulate.observations import simulate_observations as simulate_observations
from .simulate.region import simulate_region as simulate_region
from .simulate.survey import simulate_survey as simulate_survey
