"""Grids of maps and regions, separations, solid angles as arrays."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.coords.grid import pixel_scale, region_grid, separation, sky_grid, solid_angle
from xgamma.coords.sky import grid_of

CENTER = SkyCoord(83.63, 22.01, unit="deg")


def raising(*args, **kwargs):
    pytest.fail("computed while the graph was built")


def lazy_grid(**chunks):
    grid = sky_grid(CENTER, ("1.2 deg", "1 deg"), "0.1 deg", proj="TAN")
    return grid.assign(a=(("y", "x"), np.zeros((10, 12)))).chunk(chunks)


class TestSkyGrid:
    @pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT", "ZEA", "SIN", "ARC", "STG"])
    @pytest.mark.parametrize("frame", [None, "icrs", "galactic", "fk5"])
    def test_middle_is_the_center(self, proj, frame):
        grid = grid_of(sky_grid(CENTER, ("3 deg", "2.02 deg"), "0.02 deg", proj=proj, frame=frame))
        assert grid.shape == (101, 150)
        lon, lat = grid.center
        assert SkyCoord(lon, lat, unit="deg", frame=grid.frame.name).separation(CENTER).deg < 1e-6
        assert grid.frame.proj == proj

    def test_axes(self):
        energy = xg.energy_axis("1 TeV", "10 TeV", nbin=4)
        grid = sky_grid(CENTER, "1 deg", "0.1 deg", energy=energy, energy_true=energy)
        assert dict(grid.sizes) == {
            "y": 10, "x": 10, "irf_y": 5, "irf_x": 5, "energy": 4, "energy_true": 4, "rad": 66
        }  # fmt: skip
        assert not grid.data_vars

    def test_rectangular_pixels(self):
        grid = sky_grid(CENTER, "2 deg", ("0.1 deg", "0.2 deg"))
        assert (grid.sizes["x"], grid.sizes["y"]) == (20, 10)
        assert pixel_scale(grid) == pytest.approx((0.2, 0.1))

    @pytest.mark.parametrize(
        ("args", "error", "text"),
        [
            (("Crab", "1 deg", "0.1 deg"), TypeError, "must be one astropy SkyCoord"),
            ((SkyCoord([1, 2], [1, 2], unit="deg"), "1 deg"), TypeError, "must be one astropy SkyCoord"),
            ((CENTER, 3.0), ValueError, "width=3.0 must be given in a unit"),
            ((CENTER, "3 TeV"), ValueError, "width='3 TeV'"),
            ((CENTER, "1 deg", "-0.1 deg"), ValueError, "must be positive and finite"),
            ((CENTER, "0.01 deg", "0.1 deg"), ValueError, "holds no pixel"),
            ((CENTER, "100000 deg", "0.0001 deg"), ValueError, "1 planes would take 7.28e[+]06 TiB: make the binsize"),
            ((CENTER, np.nan * u.deg), ValueError, "holds NaN"),
        ],
    )
    def test_bad_input(self, args, error, text):
        with pytest.raises(error, match=text):
            sky_grid(*args)

    def test_bad_projection_frame_and_axis(self):
        with pytest.raises(ValueError, match="not a FITS projection"):
            sky_grid(CENTER, "1 deg", proj="XYZ")
        with pytest.raises(ValueError, match="frame='altaz'"):
            sky_grid(CENTER, "1 deg", frame="altaz")
        with pytest.raises(TypeError, match=r"axis from xgamma\.energy_axis"):
            sky_grid(CENTER, "1 deg", energy=[1, 2])

    def test_wider_than_the_sky_is_refused_on_cylinders(self):
        with pytest.raises(ValueError, match="wider than the sky"):
            sky_grid(SkyCoord(0, 0, unit="deg"), ("400 deg", "10 deg"), "1 deg")

    def test_absurd_size_warns_and_stays_lazy(self):
        energy = xg.energy_axis("0.1 TeV", "100 TeV", nbin=100)
        with pytest.warns(UserWarning, match=r"takes \d+ GiB"):
            grid = sky_grid(CENTER, "100 deg", "0.001 deg", energy=energy)
        assert grid.sizes["x"] == 100000


class TestSeparation:
    @pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
    def test_equals_skycoord(self, proj):
        grid = sky_grid(CENTER, "20 deg", "1 deg", proj=proj, frame="galactic")
        position = SkyCoord(84, 22.5, unit="deg")
        pixels = SkyCoord(grid.lon.values, grid.lat.values, unit="deg", frame="galactic")
        np.testing.assert_allclose(separation(grid, position), pixels.separation(position).deg, rtol=0, atol=1e-10)

    def test_small_angles_keep_their_digits(self):
        grid = sky_grid(CENTER, "0.00003 deg", "0.00001 deg")
        position = SkyCoord(float(grid.lon[1, 1]), float(grid.lat[1, 1]) + 1e-9, unit="deg")
        assert float(separation(grid, position)[1, 1]) == pytest.approx(1e-9, rel=1e-4)

    def test_gammapy_numbers(self):
        """gammapy 2.1: WcsGeom.create(skydir=(83.63, 22.01), npix=(4, 3), binsz=0.5, proj="TAN").separation(..)."""
        grid = sky_grid(CENTER, ("2 deg", "1.5 deg"), "0.5 deg", proj="TAN")
        expected = [
            [1.07114822, 0.99464602, 1.15375805, 1.4740479],
            [0.63800855, 0.4989405, 0.7686213, 1.19687681],
            [0.4082056, 0.09234288, 0.59190126, 1.09180559],
        ]
        np.testing.assert_allclose(separation(grid, SkyCoord(84, 22.5, unit="deg")), expected, rtol=0, atol=1e-8)

    def test_nan_outside_of_the_sky(self):
        grid = sky_grid(SkyCoord(0, 0, unit="deg"), ("360 deg", "180 deg"), "5 deg", proj="AIT")
        values = separation(grid, SkyCoord(0, 0, unit="deg")).values
        assert np.isnan(values[0, 0])
        assert np.nanmax(values) > 170


class TestArrays:
    @pytest.mark.parametrize("chunks", [{"y": 3, "x": 5}, {"y": 10, "x": 12}])
    def test_chunked_equals_unchunked(self, chunks):
        with dask.config.set(scheduler=raising):
            lazy = [solid_angle(lazy_grid(**chunks)), separation(lazy_grid(**chunks), CENTER)]
        eager = [solid_angle(lazy_grid().load()), separation(lazy_grid().load(), CENTER)]
        for one, two in zip(lazy, eager, strict=True):
            assert one.chunks is not None
            xr.testing.assert_identical(one.load(), two)

    def test_units(self):
        grid = sky_grid(CENTER, "1 deg", "0.1 deg")
        assert solid_angle(grid).attrs["units"] == "sr"
        assert separation(grid, CENTER).attrs["units"] == "deg"
        assert solid_angle(grid, "irf_").dims == ("irf_y", "irf_x")
        assert grid.lon.attrs["units"] == "deg"

    def test_product_with_a_map(self):
        grid = lazy_grid().load()
        assert grid_of(grid.a * solid_angle(grid)) == grid_of(grid)


class TestRegionGrid:
    def test_one_and_many(self):
        energy = xg.energy_axis("1 TeV", "10 TeV", nbin=4)
        grid = region_grid(["icrs;circle(83.63, 22.01, 0.1)", "galactic;circle(0, 0, 1)"], energy=energy)
        assert dict(grid.sizes) == {"region": 2, "energy": 4}
        assert grid.region.values[0].startswith("icrs;circle(83.63")
        np.testing.assert_allclose(grid.region_lon.values, [83.63, 266.40499], atol=1e-4)

    def test_one_region_is_a_label_and_a_list_of_one_is_not(self):
        circle = "icrs;circle(83.63, 22.01, 0.1)"
        one, listed = region_grid(circle), region_grid([circle])
        assert one.region.dims == one.region_lon.dims == one.region_lat.dims == ()
        assert dict(one.sizes) == {}
        assert dict(listed.sizes) == {"region": 1}
        xr.testing.assert_identical(listed.isel(region=0), one)

    def test_an_axis_of_another_grid_brings_its_energies_only(self):
        energy = xg.energy_axis("1 TeV", "10 TeV", nbin=4)
        other = region_grid("icrs;circle(10, 10, 0.1)", energy=energy)
        grid = region_grid("icrs;circle(83.63, 22.01, 0.1)", energy=other.energy)
        assert grid.region.item().startswith("icrs;circle(83.63")
        assert set(sky_grid(CENTER, "1 deg", "0.1 deg", energy=other.energy).coords).isdisjoint(
            {"region", "region_lon"}
        )

    def test_empty(self):
        with pytest.raises(ValueError, match="empty"):
            region_grid([])
