"""Reprojection: against astropy's reproject, conservation, seams, tiles."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

import xgamma as xg
from xgamma.coords.frame import SkyFrame
from xgamma.coords.grid import solid_angle
from xgamma.coords.overlap import iter_overlaps
from xgamma.coords.reproject import reproject
from xgamma.coords.sky import SkyGrid, grid_of

CENTER = SkyCoord(83.63, 22.01, unit="deg")


def raising(*args, **kwargs):
    pytest.fail("computed while the graph was built")


def gaussian_map(units="", name="counts", size="0.1 deg", **kwargs):
    """A smooth map of 40 x 60 pixels of 0.1 deg, with two energies."""
    axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    grid = xg.sky_grid(CENTER, ("6 deg", "4 deg"), size, energy=axis, **kwargs)
    y, x = np.meshgrid(grid.y.values, grid.x.values, indexing="ij")
    data = np.exp(-0.5 * ((y - 3) ** 2 + (x + 4) ** 2) / 6**2)
    return grid.assign({name: (("energy", "y", "x"), np.stack([data, 3 * data]), {"units": units})})[name]


def header_wcs(obj):
    grid = grid_of(obj)
    return WCS(grid.frame.header(grid.y.start, grid.x.start))


def assert_same(tiles: xr.DataArray, whole: xr.DataArray) -> None:
    """Equal to rounding: with the length of an array numpy changes which of its loops a pixel falls into."""
    xr.testing.assert_allclose(tiles, whole, rtol=1e-12, atol=0)
    assert tiles.attrs == whole.attrs
    assert tiles.name == whole.name


class TestValues:
    @pytest.mark.parametrize(("method", "order"), [("bilinear", "bilinear"), ("nearest", "nearest-neighbor")])
    def test_equals_reproject_interp(self, method, order):
        reproject_package = pytest.importorskip("reproject")
        old = gaussian_map("cm2 s", "exposure", proj="TAN")
        target = xg.sky_grid(CENTER, "3 deg", "0.07 deg", frame="galactic", proj="CAR")
        ours = reproject(old, target, method)
        theirs, _ = reproject_package.reproject_interp(
            (old.values, header_wcs(old)), header_wcs(target), shape_out=(2, *grid_of(target).shape), order=order
        )
        np.testing.assert_array_equal(np.isnan(ours.values), np.isnan(theirs))
        np.testing.assert_allclose(ours.values, theirs, rtol=0, atol=1e-9)

    def test_own_grid_is_exact_also_beside_nan(self):
        old = gaussian_map("cm2 s", "exposure")
        old.values[:, 10, 10] = np.nan
        for method in ("bilinear", "nearest"):
            np.testing.assert_array_equal(reproject(old, old, method).values, old.values)

    def test_shifted_cutout_is_exact(self):
        old = gaussian_map("cm2 s", "exposure")
        part = old.isel(y=slice(5, 20), x=slice(7, 30))
        np.testing.assert_array_equal(reproject(old, part).values, part.values)
        back = reproject(part, old)
        np.testing.assert_array_equal(back.values[:, 5:20, 7:30], part.values)
        assert np.isnan(back.values[:, 0, 0]).all()

    def test_plane_is_reproduced(self):
        """Bilinear interpolation is exact on a plane in pixels."""
        old = gaussian_map("cm2 s", "exposure", proj="TAN")
        y, x = np.meshgrid(old.y.values, old.x.values, indexing="ij")
        old = old.copy(data=np.stack([2.0 * y - 3.0 * x + 1.0] * 2))
        new = reproject(old, xg.sky_grid(CENTER, "2 deg", "0.031 deg", frame="galactic"))
        grid, parent = grid_of(new), grid_of(old)
        lon, lat = parent.frame.from_icrs(*grid.frame.to_icrs(new.lon.values, new.lat.values))
        py, px = parent.sky_to_pixel(lon, lat)
        np.testing.assert_allclose(new.values[0], 2 * py - 3 * px + 1, rtol=0, atol=1e-9)

    def test_units_coordinates_and_dtype(self):
        old = gaussian_map("cm2 s", "exposure").astype(np.float32)
        new = reproject(old, xg.sky_grid(CENTER, "2 deg", "0.05 deg"))
        assert new.attrs["units"] == "cm2 s"
        assert new.dtype == np.float32
        assert new.dims == ("energy", "y", "x")
        assert {"energy", "energy_min", "energy_max"} <= set(new.xindexes)
        assert new.name == "exposure"

    def test_masks_are_nearest_and_false_outside(self):
        mask = gaussian_map("", "mask_safe") > 0.5
        new = reproject(mask, xg.sky_grid(CENTER, "9 deg", "0.1 deg"))
        assert new.dtype == bool
        assert int(new.sum()) == int(mask.sum())

    def test_dataset_keeps_what_has_no_pixels(self):
        cube = gaussian_map().to_dataset().assign(livetime=((), 3.0, {"units": "s"}))
        new = reproject(cube, xg.sky_grid(CENTER, "2 deg", "0.1 deg"))
        assert float(new.livetime) == 3.0
        assert grid_of(new).shape == (20, 20)
        assert list(new.data_vars) == ["counts", "livetime"]

    def test_dims_in_other_order(self):
        old = gaussian_map()
        target = xg.sky_grid(CENTER, "2 deg", "0.07 deg")
        flipped = reproject(old.transpose("x", "energy", "y"), target)
        assert flipped.dims == ("x", "energy", "y")
        xr.testing.assert_identical(flipped.transpose(*old.dims), reproject(old, target))


class TestCounts:
    @pytest.mark.parametrize("method", ["bilinear", "exact"])
    def test_counts_are_kept(self, method):
        """The exact method keeps them to rounding, interpolation to its order."""
        old = gaussian_map()
        new = reproject(old, xg.sky_grid(CENTER, "9 deg", "0.15 deg", frame="galactic", proj="TAN"), method)
        tolerance = {"bilinear": 2e-3, "exact": 1e-11}[method]
        np.testing.assert_allclose(new.sum(("y", "x")), old.sum(("y", "x")), rtol=tolerance)

    def test_density_of_flat_counts(self):
        flat = gaussian_map().copy(data=np.ones((2, 40, 60)))
        flat = flat * solid_angle(flat)
        flat.attrs["units"] = ""
        target = xg.sky_grid(CENTER, "2 deg", "0.03 deg", proj="TAN")
        new = reproject(flat, target)
        np.testing.assert_allclose(new.values[0], solid_angle(target).values, rtol=1e-10)

    def test_conserve_is_an_option(self):
        old, target = gaussian_map(), xg.sky_grid(CENTER, "2 deg", "0.05 deg")
        as_value, as_counts = (reproject(old, target, conserve=c) for c in (None, "counts"))
        ratio = float((as_counts / as_value).mean())
        assert ratio == pytest.approx(0.25, rel=1e-3)
        assert reproject(old, target).identical(as_counts)
        exposure = gaussian_map("cm2 s", "exposure")
        assert reproject(exposure, target).identical(reproject(exposure, target, conserve=None))

    def test_statistics_are_values(self):
        old, target = gaussian_map(name="sqrt_ts"), xg.sky_grid(CENTER, "2 deg", "0.05 deg")
        assert reproject(old, target).identical(reproject(old, target, conserve=None))


class TestExact:
    def test_equals_the_reproject_package(self):
        """Its polygons have great circles as sides, and its overlaps are known to be off by some 1e-5 (here 1e-4)."""
        package = pytest.importorskip("reproject")
        old = gaussian_map("cm2 s", "exposure", proj="TAN")
        target = xg.sky_grid(CENTER, "2 deg", "0.25 deg", frame="galactic")
        theirs, _ = package.reproject_exact(
            (old.values[0], header_wcs(old)), header_wcs(target), shape_out=grid_of(target).shape, parallel=False
        )
        np.testing.assert_allclose(reproject(old, target, "exact").values[0], theirs, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("name", ["counts", "exposure"])
    def test_equals_brute_force(self, name):
        """40 x 40 points in each new pixel."""
        old = gaussian_map("" if name == "counts" else "cm2 s", name, proj="TAN")
        target = grid_of(xg.sky_grid(CENTER, "2 deg", "0.25 deg", frame="galactic"))
        points = (np.arange(40) + 0.5) / 40 - 0.5
        fine_y, fine_x = (np.add.outer(np.asarray(r), points).ravel() for r in (target.y, target.x))
        lon, lat = target.frame.pixel_to_sky(*np.meshgrid(fine_y, fine_x, indexing="ij"))
        grid = grid_of(old)
        y, x = grid.sky_to_pixel(*grid.frame.from_icrs(*target.frame.to_icrs(lon, lat)))
        values = old.values[0, np.rint(y).astype(int) - grid.y.start, np.rint(x).astype(int) - grid.x.start]
        mean = values.reshape(target.shape[0], 40, target.shape[1], 40).mean(axis=(1, 3))
        if name == "counts":
            mean = mean * solid_angle(xr.Dataset(coords=target.coords())).values / float(solid_angle(old).mean())
        np.testing.assert_allclose(reproject(old, target, "exact").values[0], mean, rtol=0, atol=0.01 * mean.max())

    def test_mean_of_whole_blocks(self):
        """Four pixels in one: the mean of the four, but for their slightly different solid angles."""
        old = gaussian_map("cm2 s", "exposure")
        coarse = xg.sky_grid(CENTER, ("6 deg", "4 deg"), "0.2 deg")
        blocks = old.values[0].reshape(20, 2, 30, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(reproject(old, coarse, "exact").values[0], blocks, rtol=1e-3)
        counts = gaussian_map()
        np.testing.assert_allclose(reproject(counts, coarse, "exact").values[0], 4 * blocks, rtol=1e-9)

    def test_constant_stays_constant(self):
        old = gaussian_map("cm2 s", "exposure").copy(data=np.full((2, 40, 60), 7.0))
        new = reproject(old, xg.sky_grid(CENTER, "9 deg", "0.17 deg", frame="galactic", proj="TAN"), "exact")
        np.testing.assert_allclose(new.values[~np.isnan(new.values)], 7.0, rtol=1e-12)

    @pytest.mark.parametrize("units", ["", "cm2 s"])
    def test_over_the_seam_of_the_sky(self, units):
        grid = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic"), range(-90, 91), range(-180, 180))
        old = xr.DataArray(np.ones(grid.shape), grid.coords(), ("y", "x"), name="counts", attrs={"units": units})
        target = xg.sky_grid(SkyCoord(180, 0, unit="deg", frame="galactic"), ("20 deg", "10 deg"), "2.5 deg")
        new = reproject(old, target, "exact")
        np.testing.assert_allclose(new.values, 1.0 if units else 6.25, rtol=1e-9)

    def test_plane_beyond_half_a_turn(self):
        grid = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic"), range(-3, 4), range(-200, -160))
        old = xr.DataArray(np.ones(grid.shape), grid.coords(), ("y", "x"), attrs={"units": "cm2 s"})
        target = xg.sky_grid(SkyCoord(180, 0, unit="deg", frame="galactic"), ("10 deg", "3 deg"), "0.5 deg")
        np.testing.assert_allclose(reproject(old, target, "exact").values, 1.0, rtol=1e-9)

    @settings(max_examples=100, deadline=None)
    @given(
        center=st.tuples(st.floats(0, 5), st.floats(0, 5)), size=st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)),
        angle=st.floats(0, 6.3),
    )  # fmt: skip
    def test_areas_add_up(self, center, size, angle):
        square = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2 * size
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = (square @ turn + np.array(center) + 3)[None]
        total = sum(float(area.sum()) for *_, area in iter_overlaps(corners, (12, 12)))
        assert total == pytest.approx(size[0] * size[1], abs=1e-6)


class TestTiles:
    @pytest.mark.parametrize("method", ["bilinear", "nearest", "exact"])
    @pytest.mark.parametrize("name", ["counts", "exposure"])
    def test_chunked_equals_unchunked(self, method, name):
        old = gaussian_map("" if name == "counts" else "cm2 s", name, proj="TAN")
        target = xg.sky_grid(CENTER, ("9 deg", "5 deg"), "0.2 deg", frame="galactic", proj="CAR")
        with dask.config.set(scheduler=raising):
            new = reproject(old.chunk(energy=1, y=9, x=13), target, method)
        assert new.chunks is not None
        assert max(new.chunksizes["x"]) == 13
        whole = reproject(old, target, method)
        if method == "exact":  # sums of a window start elsewhere
            xr.testing.assert_allclose(new.load(), whole, rtol=1e-10)
        else:
            assert_same(new.load(), whole)

    def test_chunks_of_the_target(self):
        target = xg.sky_grid(CENTER, "2 deg", "0.1 deg")
        lazy = target.assign(a=(("y", "x"), np.zeros((20, 20)))).chunk(y=7, x=20)
        new = reproject(gaussian_map(), lazy)
        assert new.chunksizes["y"] == (7, 7, 6)
        assert_same(new.load(), reproject(gaussian_map(), target))

    def test_a_task_gets_its_window_only(self):
        """No task holds an array larger than some chunks, nor a WCS."""
        import pickle

        old = gaussian_map().chunk(y=5, x=5)
        target = xg.sky_grid(CENTER, ("6 deg", "4 deg"), "0.1 deg")
        new = reproject(old, target)
        corner = new.data.blocks[0, 0, 0]
        needed = corner.dask.cull(corner.__dask_keys__()) if hasattr(corner.dask, "cull") else corner.dask
        names = {k[0] for k in needed if isinstance(k, tuple) and k[0].startswith(old.data.name)}
        blocks = [k for k in needed if isinstance(k, tuple) and k[0] in names]
        assert 0 < len(blocks) < old.data.npartitions / 4
        assert b"astropy.wcs" not in pickle.dumps(grid_of(old))

    def test_tiles_that_show_nothing(self):
        new = reproject(gaussian_map().chunk(y=10, x=10), xg.sky_grid(CENTER, "20 deg", "0.5 deg"))
        assert np.isnan(new[0, 0, 0].values)
        assert_same(new.load(), reproject(gaussian_map(), xg.sky_grid(CENTER, "20 deg", "0.5 deg")))


class TestWholeSky:
    @pytest.fixture
    def sky(self):
        grid = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic"), range(-90, 91), range(-180, 180))
        lon, lat = (np.deg2rad(v) for v in (grid.coords()["lon"].values, grid.coords()["lat"].values))
        values = 2 + np.cos(lat) * np.cos(lon - 2.5)
        return xr.DataArray(values, grid.coords(), ("y", "x"), name="flux", attrs={"units": "cm-2 s-1"})

    @pytest.mark.parametrize("lon", [180.0, 0.0, 90.0])
    @pytest.mark.parametrize("method", ["bilinear", "nearest"])
    def test_no_hole_at_the_seam(self, sky, lon, method):
        center = SkyCoord(lon, 3, unit="deg", frame="galactic")
        target = xg.sky_grid(center, "10 deg", "0.3 deg", frame="icrs", proj="TAN")
        new = reproject(sky, target, method)
        there = SkyCoord(new.lon.values, new.lat.values, unit="deg").galactic
        expected = 2 + np.cos(there.b.rad) * np.cos(there.l.rad - 2.5)
        assert np.abs(new.values - expected).max() < {"bilinear": 1e-4, "nearest": 0.02}[method]

    def test_chunked_equals_unchunked_over_the_seam(self, sky):
        target = xg.sky_grid(SkyCoord(180, 0, unit="deg", frame="galactic"), "30 deg", "0.5 deg", proj="TAN")
        assert_same(reproject(sky.chunk(y=50, x=70), target).load(), reproject(sky, target))

    def test_onto_aitoff_is_nan_outside_of_the_sky(self, sky):
        frame = SkyFrame.create(0.0, 0.0, 2.0, "AIT", "icrs")
        target = SkyGrid(frame, range(-45, 46), range(-90, 91))
        new = reproject(sky, target)
        nan = np.isnan(new.values)
        np.testing.assert_array_equal(nan, np.isnan(new.lon.values))
        assert nan[0, 0]
        assert not nan[45, 90]
        tiles = reproject(sky.chunk(y=40, x=40), target)
        assert_same(tiles.load(), new)


class TestRefusals:
    def test_no_overlap(self):
        with pytest.raises(ValueError, match="do not overlap"):
            reproject(gaussian_map(), xg.sky_grid(SkyCoord(200, 0, unit="deg"), "2 deg", "0.1 deg"))

    @pytest.mark.parametrize(
        ("options", "text"), [({"method": "cubic"}, "method='cubic'"), ({"conserve": 1}, "conserve=1")]
    )
    def test_bad_options(self, options, text):
        with pytest.raises(ValueError, match=text):
            reproject(gaussian_map(), gaussian_map(), **options)

    def test_spectra(self):
        with pytest.raises(ValueError, match="not a sky map"):
            reproject(gaussian_map().sum(("y", "x")), gaussian_map())
