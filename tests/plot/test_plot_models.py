"""Spatial models on maps: brightness by pixel, outlines, error ellipses and names where they belong."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.text import Text
from scipy import special

import xgamma as xg
from xgamma.plot.canvas import sky_axes
from xgamma.plot.models import plot_sources, plot_spatial_model

CENTER = SkyCoord(83.63, 22.01, unit="deg")


def grid(width="3 deg", binsize="0.05 deg", **options):
    return xg.sky_grid(CENTER, width, binsize, **options)


def source(spatial, name="crab"):
    return xg.SkyModel(xg.PowerLawSpectralModel(), spatial, name=name)


def shown(ax):
    [image] = ax.images
    return np.ma.filled(image.get_array().astype(float), np.nan)


class TestPicture:
    def test_brightness_is_that_of_the_formula(self):
        sigma = 0.3
        model = xg.GaussianSpatialModel(position=CENTER, sigma=sigma * u.deg)
        values = shown(plot_spatial_model(source(model), grid()))
        # the top of a Gaussian in a plane, per square degree, up to the curvature over a pixel
        assert np.nanmax(values) == pytest.approx(1 / (2 * np.pi * sigma**2), rel=0.01)

    def test_sum_over_the_picture_is_the_whole_model(self):
        sky = grid(binsize="0.1 deg")
        values = shown(plot_spatial_model(xg.DiskSpatialModel(position=CENTER, r_0="0.5 deg"), sky))
        area = xg.solid_angle(sky).values * np.rad2deg(1) ** 2
        assert np.sum(values * area) == pytest.approx(1.0, abs=1e-6)

    def test_a_point_fills_four_pixels(self):
        point = xg.PointSpatialModel(lon_0=CENTER.ra, lat_0=CENTER.dec + 0.01 * u.deg)
        assert 1 <= np.count_nonzero(shown(plot_spatial_model(point, grid()))) <= 4

    def test_axes_of_another_map_and_other_units(self):
        ax = sky_axes(grid())
        model = xg.ConstantSpatialModel()
        assert plot_spatial_model(model, grid(), ax, units="sr-1") is ax
        np.testing.assert_allclose(shown(ax), 1.0)

    def test_models_that_depend_on_energy_show_one(self):
        energy = xg.energy_axis("1 TeV", "100 TeV", nbin=2, name="energy_true")
        cube = grid(binsize="0.1 deg", energy_true=energy)
        values = np.ones((2, 30, 30))
        values[1, :15] = 100.0
        table = cube.assign(table=(("energy_true", "y", "x"), values, {"units": "sr-1"})).table
        model = xg.TemplateSpatialModel(table, normalize=False)
        first, second = (float(v) for v in table.energy_true.values)
        target = grid("2 deg", "0.1 deg")
        low = shown(plot_spatial_model(model, target, energy=first * u.TeV, units="sr-1"))
        high = shown(plot_spatial_model(model, target, energy=second * u.TeV, units="sr-1"))
        np.testing.assert_allclose(low, 1.0)
        assert np.nanmax(high) == pytest.approx(100.0)
        with pytest.raises(ValueError, match="depends on energy"):
            plot_spatial_model(model, target)
        with pytest.raises(ValueError, match="one energy"):
            plot_spatial_model(model, target, energy=[1, 2] * u.TeV)

    def test_beyond_the_edge_of_the_sky_it_is_blank(self):
        sky = xg.sky_grid(SkyCoord(0, 0, unit="deg"), ("400 deg", "200 deg"), "5 deg", proj="AIT")
        values = shown(plot_spatial_model(xg.ConstantSpatialModel(), sky, units="sr-1"))
        assert np.isnan(values[0, 0])
        np.testing.assert_allclose(values[np.isfinite(values)], 1.0)

    def test_without_a_spatial_model(self):
        with pytest.raises(TypeError, match="has no spatial model"):
            plot_spatial_model(xg.SkyModel(xg.PowerLawSpectralModel(), name="crab"), grid())


class TestSources:
    def test_outline_is_the_region_of_the_model(self):
        ax = sky_axes(grid())
        model = xg.GaussianSpatialModel(position=CENTER, sigma="0.4 deg", e=0.8, phi="30 deg")
        ellipse, name = plot_sources(source(model), ax)
        assert isinstance(ellipse, Ellipse)
        # full axes of 2 sigma in pixels of 0.05 deg; axis ratio sqrt(1 - e^2)
        assert ellipse.height == pytest.approx(16.0, rel=1e-3)
        assert ellipse.width == pytest.approx(16.0 * 0.6, rel=1e-3)
        assert name.get_text() == "crab"

    def test_error_ellipse_holds_95_percent(self):
        ax = sky_axes(grid(binsize="0.01 deg"))
        point = xg.PointSpatialModel(position=CENTER)
        errors = np.array([0.02 / np.cos(np.deg2rad(CENTER.dec.deg)), 0.05])
        point.set_covariance(np.diag(errors**2))
        cross, ellipse, _ = plot_sources(source(point), ax)
        assert isinstance(cross, Line2D)
        assert isinstance(ellipse, Ellipse)
        # chi2 with two degrees of freedom, independently of the constant in the model
        reach = np.sqrt(2.0 * special.gammaincinv(1.0, 0.95))
        sizes = sorted([ellipse.width, ellipse.height])
        np.testing.assert_allclose(sizes, 2 * reach * np.array([0.02, 0.05]) / 0.01, rtol=1e-3)
        # latitude is the worse known one: the long axis points up
        long_axis = ellipse.angle if ellipse.width > ellipse.height else ellipse.angle + 90.0
        assert abs(np.cos(np.deg2rad(long_axis))) < 0.01

    @pytest.mark.parametrize("frozen", ["lon_0", "lat_0"])
    def test_a_position_on_a_line_has_no_ellipse(self, frozen):
        point = xg.PointSpatialModel(position=CENTER)
        point.parameters[frozen].frozen = True
        other = {"lon_0": "lat_0", "lat_0": "lon_0"}[frozen]
        variances = [1e-4 if name == other else 0.0 for name in ("lon_0", "lat_0")]
        point.set_covariance(np.diag(variances))
        assert len(plot_sources(source(point), sky_axes(grid()))) == 2

    def test_backgrounds_and_constants_are_left_out(self):
        diffuse = source(xg.ConstantSpatialModel(), "diffuse")
        models = xg.Models([diffuse, xg.FoVBackgroundModel(name="bkg"), source(xg.PointSpatialModel(position=CENTER))])
        artists = plot_sources(models, sky_axes(grid()))
        assert [a.get_text() for a in artists if isinstance(a, Text)] == ["crab"]

    def test_names_only_of_what_the_map_shows(self):
        far = source(xg.PointSpatialModel(lon_0="90 deg", lat_0="22 deg"), "far")
        artists = plot_sources([far], sky_axes(grid()))
        assert not [a for a in artists if isinstance(a, Text)]

    def test_name_of_an_outline_stands_above_it(self):
        point, disk = xg.PointSpatialModel(position=CENTER), xg.DiskSpatialModel(position=CENTER, r_0="0.5 deg")
        ax = sky_axes(grid())
        names = [plot_sources(source(m), ax)[-1] for m in (point, disk)]
        y = ax.wcs.world_to_pixel(CENTER)[1]
        assert names[0].xy[1] == pytest.approx(y)
        # a radius of ten pixels
        assert names[1].xy[1] == pytest.approx(y + 10, abs=1.5)
        # one that is larger than the map stays inside
        [*_, huge] = plot_sources(source(xg.GaussianSpatialModel(position=CENTER, sigma="5 deg")), ax)
        assert huge.xy[1] == ax.get_ylim()[1]

    def test_parts_can_be_left_out(self):
        model = xg.DiskSpatialModel(position=CENTER, r_0="0.3 deg")
        ax = sky_axes(grid())
        assert plot_sources(model, ax, outline=False) == []
        assert len(plot_sources(source(model), ax, labels=False)) == 1
        [circle, _] = plot_sources(source(model), ax, color="red")
        assert circle.get_edgecolor()[:3] == (1.0, 0.0, 0.0)

    @pytest.mark.parametrize("wrong", ["crab", 3, ["crab"], [None]])
    def test_what_is_no_model(self, wrong):
        with pytest.raises(TypeError, match="model"):
            plot_sources(wrong, sky_axes(grid()))

    def test_axes_without_a_sky(self):
        import matplotlib.pyplot as plt

        with pytest.raises(TypeError, match="celestial"):
            plot_sources(source(xg.PointSpatialModel(position=CENTER)), plt.figure().add_subplot())
