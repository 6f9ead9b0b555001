"""Integrals of templates: their flux is that of the map, on all grids."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from simulated_template import disc, gauss, grid_at

import xgamma as xg


@pytest.mark.parametrize("sigma", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("size", [0.025, 0.04, 0.06, 0.1, 0.15, 0.3])
@pytest.mark.parametrize("shift", [0.0, 0.37])
def test_the_flux_is_one_on_all_grids(sigma, size, shift):
    model = xg.TemplateSpatialModel(gauss(sigma))
    total = float(model.integrate(grid_at(size, shift)).sum())
    # interpolated logarithms lack 1 / 12 sigma^2 along each axis
    assert total == pytest.approx(1.0, abs=4e-3)
    plain = xg.TemplateSpatialModel(gauss(sigma) / gauss(sigma).sum(), normalize=False)
    area = np.deg2rad(0.1) ** 2
    fine = float(plain.integrate(grid_at(0.025, shift)).sum()) / area
    assert fine == pytest.approx(1.0 - 1 / (6 * sigma**2), abs=2.5e-3)


@pytest.mark.parametrize("image", [gauss(2.0), disc(3.2), disc(0.5)])
def test_on_its_own_grid_it_is_the_map(image):
    model = xg.TemplateSpatialModel(image)
    own = model.integrate(image)
    np.testing.assert_allclose(own, image / image.sum(), rtol=1e-4, atol=1e-12)
    # eight by eight pixels in each of the map's, whose means were taken at four by four places
    fine = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "2.1 deg", "0.0125 deg")
    parts = model.integrate(fine).values.reshape(21, 8, 21, 8).sum(axis=(1, 3))
    np.testing.assert_allclose(parts, (image / image.sum()).values, rtol=1.5e-2, atol=1e-6)


def test_smooth_maps_stay_as_they_are_inside():
    """A Gaussian of ten pixels, against its closed form."""
    model = xg.TemplateSpatialModel(gauss(10.0, number=101))
    grid = grid_at(0.04, 0.2)
    away = np.hypot((grid.lon.values + 180) % 360 - 180, grid.lat.values)
    exact = np.exp(-0.5 * away**2) / (2 * np.pi) * 0.04**2
    near = away < 1.4
    np.testing.assert_allclose(model.integrate(grid).values[near], exact[near], rtol=3e-3)


def test_a_pixel_without_flux_keeps_none():
    image = gauss(4.0)
    image[10, 8] = 0.0
    own = xg.TemplateSpatialModel(image).integrate(grid_at(0.025, 0.0, "2.1 deg")).values
    parts = own.reshape(21, 4, 21, 4).sum(axis=(1, 3))
    assert parts[10, 8] == 0.0
    assert parts.min() >= 0.0
    assert parts.sum() == pytest.approx(1.0, abs=2e-3)


def test_each_energy_keeps_its_flux():
    axis = xg.energy_axis("1 TeV", "100 TeV", nbin=2, name="energy_true")
    cube = xr.concat([gauss(3.0), gauss(2.0)], dim="energy_true").assign_coords(axis.coords)
    total = xg.TemplateSpatialModel(cube).integrate(grid_at(0.06, 0.3).assign_coords(axis.coords)).sum(("y", "x"))
    np.testing.assert_allclose(total, 1.0, atol=5e-3)
