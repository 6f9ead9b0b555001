"""xgamma: gamma-ray astronomy on labelled, lazy xarray objects."""

from xgamma.coords.bins import energy_axis
from xgamma.coords.grid import region_grid, sky_grid

__all__ = ["energy_axis", "region_grid", "sky_grid"]
