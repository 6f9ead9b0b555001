"""Sources that fill a map: the energy dispersion is that of the whole map."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from simulated_maps import CENTER, map_cube

import xgamma as xg
from xgamma.coords.sky import grid_of


@pytest.fixture(scope="module")
def cube():
    """A map whose energies are measured ever lower to one side, with an exposure that rises there."""
    found = map_cube(n_energy=3, n_true=8, sigma=0.1, slope=0.8)
    edges = np.log(np.append(found.energy_min.values, found.energy_max.values[-1]))
    bias = 0.6 * np.linspace(-1, 1, found.sizes["irf_x"]) ** 2
    matrix = np.diff(norm.cdf(edges[:, None], np.log(found.energy_true.values)[:, None, None] - bias, 0.15), axis=1)
    whole = np.broadcast_to(matrix[:, :, None, :], found.edisp.shape)
    return found.assign(edisp=found.edisp.copy(data=whole))


def brute_force(cube, model):
    """Counts pixel by pixel with the energy dispersion there, without point spread function, shape (energy, y, x)."""
    grid = grid_of(cube)
    flux = model.spectral.evaluate_integral(
        cube.energy_true_min.values, cube.energy_true_max.values, *model.spectral.values
    )
    seen = flux[:, None, None] * cube.exposure.values * grid.geometry.solid_angle
    nodes = cube.irf_lon.values[0]
    order = np.argsort(nodes)
    lon = cube.lon.values[0]
    table = cube.edisp.values[:, :, 0][..., order]
    there = np.array([[np.interp(lon, nodes[order], row) for row in rows] for rows in table])
    return np.einsum("tyx,tex->eyx", seen, there)


def isotropic():
    spectrum = xg.PowerLawSpectralModel(index=2.5, amplitude="1e-8 cm-2 s-1 TeV-1")
    return xg.SkyModel(spectrum, xg.ConstantSpatialModel(value="1 sr-1"), name="isotropic", apply_irf={"psf": False})


def test_isotropic_emission_against_the_dispersion_in_each_pixel(cube):
    exact = brute_force(cube, isotropic()).sum(axis=(1, 2))
    found = cube.gamma.npred_signal(isotropic()).sum(("y", "x")).values
    np.testing.assert_allclose(found, exact, rtol=2e-3)
    # that in the middle alone is something else
    there = np.broadcast_to(cube.edisp.values[..., 1:2], cube.edisp.shape)
    middle = cube.assign(edisp=cube.edisp.copy(data=there))
    alone = middle.gamma.npred_signal(isotropic()).sum(("y", "x")).values
    assert np.abs(alone / exact - 1).max() > 0.05


def test_diffuse_templates_as_large_as_the_map_have_it_too(cube):
    wide = xg.sky_grid(CENTER, ("3 deg", "3 deg"), "0.1 deg")
    image = wide.assign(f=(("y", "x"), np.ones((30, 30)), {"units": "sr-1"})).f
    template = isotropic().copy(name="template", spatial=xg.TemplateSpatialModel(image, normalize=False))
    found = cube.gamma.npred_signal(template).values
    np.testing.assert_allclose(found, cube.gamma.npred_signal(isotropic()).values, rtol=1e-6)
