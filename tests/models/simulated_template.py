"""Small maps as templates."""

from __future__ import annotations

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg


def _made(function, number: int) -> xr.DataArray:
    grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), f"{number * 0.1} deg", "0.1 deg")
    y, x = np.meshgrid(*(np.arange(grid.sizes[d]) - (grid.sizes[d] - 1) / 2 for d in ("y", "x")), indexing="ij")
    return grid.assign(f=(("y", "x"), function(np.hypot(x, y)))).f


def gauss(sigma: float, number: int = 21) -> xr.DataArray:
    """Return a Gaussian of some pixels in the middle of a map of 0.1 deg."""
    return _made(lambda r: np.exp(-0.5 * (r / sigma) ** 2), number)


def disc(radius: float, number: int = 21) -> xr.DataArray:
    """Return a disc of some pixels, zero around it."""
    return _made(lambda r: (r < radius) * 1.0, number)


def grid_at(size: float, shift: float, width: str | None = None) -> xr.Dataset:
    """Return a grid around these maps, its middle moved by a part of its pixels."""
    center = SkyCoord(shift * size, shift * size, unit="deg")
    return xg.sky_grid(center, width or f"{np.ceil(3 / size) * size} deg", f"{size} deg")
