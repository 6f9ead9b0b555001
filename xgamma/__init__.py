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
    from xgamma.background.per_run import AdaptiveRingBackground, RingBackground
    from xgamma.background.ring import adaptive_ring_background, ring_background
    from xgamma.coords.bins import energy_axis
    from xgamma.coords.cutout import cutout
    from xgamma.coords.downsample import downsample
    from xgamma.coords.grid import region_grid, separation, sky_grid, solid_angle
    from xgamma.coords.regions import region_mask
    from xgamma.coords.reproject import reproject
    from xgamma.coords.sky import decode, encode
    from xgamma.coords.smooth import smooth
    from xgamma.dl3.check import check_store
    from xgamma.dl3.download import download
    from xgamma.dl3.observation import Observation
    from xgamma.dl3.store import Observations, Store, open_store
    from xgamma.estimators.excess import excess_map
    from xgamma.estimators.significance import significance_distribution
    from xgamma.io.cube import open_cube, write_cube
    from xgamma.io.describe import describe
    from xgamma.io.fits_map import read_map
    from xgamma.io.fits_write import write_map
    from xgamma.io.sample import sample_path
    from xgamma.irf.read import read_irf
    from xgamma.plot.distribution import plot_significance_distribution
    from xgamma.plot.sky import plot_map, plot_mask, plot_panels
    from xgamma.plot.strip import plot_strip
    from xgamma.reduction.info import info
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
    "Config": "analysis.config",
    "Observation": "dl3.observation",
    "Observations": "dl3.store",
    "RingBackground": "background.per_run",
    "Store": "dl3.store",
    "adaptive_ring_background": "background.ring",
    "check_store": "dl3.check",
    "containment_rad_axis": "reduction.rad",
    "cutout": "coords.cutout",
    "decode": "coords.sky",
    "describe": "io.describe",
    "download": "dl3.download",
    "downsample": "coords.downsample",
    "encode": "coords.sky",
    "energy_axis": "coords.bins",
    "excess_map": "estimators.excess",
    "info": "reduction.info",
    "open_cube": "io.cube",
    "open_store": "dl3.store",
    "plan_survey": "reduction.plan",
    "plot_map": "plot.sky",
    "plot_mask": "plot.sky",
    "plot_panels": "plot.sky",
    "plot_significance_distribution": "plot.distribution",
    "plot_strip": "plot.strip",
    "read_config": "analysis.config",
    "read_irf": "irf.read",
    "read_map": "io.fits_map",
    "rebin": "reduction.rebin",
    "reduce": "reduction.survey",
    "region_grid": "coords.grid",
    "region_mask": "coords.regions",
    "reproject": "coords.reproject",
    "ring_background": "background.ring",
    "sample_path": "io.sample",
    "separation": "coords.grid",
    "significance_distribution": "estimators.significance",
    "simulate_events": "simulate.events",
    "simulate_region": "simulate.region",
    "simulate_survey": "simulate.survey",
    "sky_grid": "coords.grid",
    "smooth": "coords.smooth",
    "solid_angle": "coords.grid",
    "stack": "reduction.stack",
    "to_image": "reduction.rebin",
    "write_cube": "io.cube",
    "write_map": "io.fits_write",
    "write_survey": "reduction.production",
}

__all__ = [
    "AdaptiveRingBackground",
    "Analysis",
    "Config",
    "Observation",
    "Observations",
    "RingBackground",
    "Store",
    "adaptive_ring_background",
    "check_store",
    "containment_rad_axis",
    "cutout",
    "decode",
    "describe",
    "download",
    "downsample",
    "encode",
    "energy_axis",
    "excess_map",
    "info",
    "open_cube",
    "open_store",
    "plan_survey",
    "plot_map",
    "plot_mask",
    "plot_panels",
    "plot_significance_distribution",
    "plot_strip",
    "read_config",
    "read_irf",
    "read_map",
    "rebin",
    "reduce",
    "region_grid",
    "region_mask",
    "reproject",
    "ring_background",
    "sample_path",
    "separation",
    "significance_distribution",
    "simulate_events",
    "simulate_region",
    "simulate_survey",
    "sky_grid",
    "smooth",
    "solid_angle",
    "stack",
    "to_image",
    "write_cube",
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
