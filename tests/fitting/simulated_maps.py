"""Small cubes of maps with responses that have closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from scipy.stats import norm

import xgamma as xg
from xgamma.coords.sky import grid_of
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_shapes import GaussianSpatialModel, PointSpatialModel

#: Middle of the maps, on the equator: pixels are squares there.
CENTER = SkyCoord(30.0, 0.0, unit="deg")
SIZE = 0.05


def map_cube(
    n_energy: int = 2,
    n_true: int = 4,
    width: Any = ("2 deg", "1.5 deg"),
    sigma: Any = (0.12, 0.1, 0.08, 0.06),
    slope: float = 0.0,
    background: float = 3.0,
    center: SkyCoord = CENTER,
    frame: str = "icrs",
) -> xr.Dataset:
    """Return a cube without counts: a Gaussian PSF of some widths in deg, and an exposure with a slope along x."""
    grid = xg.sky_grid(
        center,
        width,
        f"{SIZE} deg",
        frame=frame,
        energy=xg.energy_axis("1 TeV", "10 TeV", nbin=n_energy),
        energy_true=xg.energy_axis("0.8 TeV", "12 TeV", nbin=n_true),
        irf_binsize="0.5 deg",
    )
    ny, nx, iy, ix = (grid.sizes[d] for d in ("y", "x", "irf_y", "irf_x"))
    cube = grid.copy()
    x = (grid.x.values - grid.x.values.mean()) / nx
    level = 2e13 * (1.0 + np.arange(n_true))[:, None, None] * (1.0 + slope * x) * np.ones((ny, 1))
    cube["exposure"] = ("energy_true", "y", "x"), level, {"units": "cm2 s"}
    cube["irf_exposure"] = ("energy_true", "irf_y", "irf_x"), np.ones((n_true, iy, ix)), {"units": "cm2 s"}
    edges = np.append(grid.rad_min.values, grid.rad_max.values[-1])
    widths = np.broadcast_to(sigma, n_true)[:, None]
    table = np.exp(-0.5 * (grid.rad.values / widths) ** 2)
    table = table / (table @ (np.pi * np.diff(np.deg2rad(edges) ** 2)))[:, None]
    psf = np.broadcast_to(table[:, None, None], (n_true, iy, ix, table.shape[1])).copy()
    cube["psf"] = ("energy_true", "irf_y", "irf_x", "rad"), psf, {"units": "sr-1"}
    edges = np.log(np.append(grid.energy_min.values, grid.energy_max.values[-1]))
    matrix = np.diff(norm.cdf(edges, np.log(grid.energy_true.values)[:, None], 0.15), axis=1)
    cube["edisp"] = (
        ("energy_true", "energy", "irf_y", "irf_x"),
        np.broadcast_to(matrix[:, :, None, None], (n_true, n_energy, iy, ix)).copy(),
        {"units": ""},
    )
    shape = (n_energy, ny, nx)
    level = background / (1.0 + np.arange(n_energy))[:, None, None] ** 2
    cube["background"] = ("energy", "y", "x"), level * np.ones(shape), {"units": ""}
    cube["counts"] = ("energy", "y", "x"), np.zeros(shape), {"units": ""}
    cube["mask_safe"] = ("energy", "y", "x"), np.ones(shape, bool)
    cube.attrs["name"] = "map"
    return cube


def point(lon: float = 30.013, lat: float = 0.021, amplitude: float = 1e-11, name: str = "point") -> SkyModel:
    """Return a point source."""
    return SkyModel(
        PowerLawSpectralModel(index=2.2, amplitude=f"{amplitude} cm-2 s-1 TeV-1"),
        PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg"),
        name=name,
    )


def gauss(lon: float = 29.7, lat: float = -0.2, sigma: float = 0.15, name: str = "gauss", **shape: Any) -> SkyModel:
    """Return an extended source."""
    return SkyModel(
        PowerLawSpectralModel(index=2.0, amplitude="2e-11 cm-2 s-1 TeV-1"),
        GaussianSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", sigma=f"{sigma} deg", **shape),
        name=name,
    )


def background() -> FoVBackgroundModel:
    """Return a model of the background."""
    return FoVBackgroundModel(name="bkg", datasets_names="map")


def expected(cube: xr.Dataset, model: SkyModel, size: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return the counts of a source in closed form: Gaussians along x and y, integrated over pixels of a plane.

    `size` are the standard deviations of the source along longitude and latitude.
    """
    grid = grid_of(cube)
    lon, lat = model.spatial.values[:2]
    y, x = grid.sky_to_pixel(lon, lat)
    flux = model.spectral.evaluate_integral(
        cube.energy_true_min.values, cube.energy_true_max.values, *model.spectral.values
    )
    edges = np.append(cube.rad_min.values, cube.rad_max.values[-1])
    result = np.zeros((cube.sizes["energy"], *grid.shape))
    matrix = cube.edisp.values[:, :, 0, 0]
    for k, table in enumerate(cube.psf.values[:, 0, 0]):
        # the width that the table was made with
        sigma = np.sqrt(-0.5 * (0.105**2 - 0.005**2) / np.log(table[10] / table[0]))
        assert edges[-1] > 5 * sigma
        parts = []
        for place, pixels, s in ((y, grid.y, size[1]), (x, grid.x, size[0])):
            ends = (np.append(np.asarray(pixels), pixels[-1] + 1) - 0.5 - place) * SIZE
            parts.append(np.diff(norm.cdf(ends, 0.0, np.hypot(sigma, s))))
        # the exposure along x changes as a line
        level = np.interp(x - grid.x.start, np.arange(len(grid.x)), cube.exposure.values[k, 0])
        result += flux[k] * level * matrix[k][:, None, None] * np.outer(*parts)
    return result


def slope_of(likelihood: Any, values: np.ndarray, place: int, step: float) -> float:
    """Derivative of the statistic by one value, from the two ends of a step to both sides."""
    ends = []
    for side in (step, -step):
        moved = values.copy()
        moved[place] += side
        ends.append(likelihood.deviance(moved))
    return (ends[0] - ends[1]) / (2 * step)
