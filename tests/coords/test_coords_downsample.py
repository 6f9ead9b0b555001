"""Downsampling: gammapy's numbers, edges that coincide, lazy equals eager."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.coords.cutout import cutout
from xgamma.coords.downsample import downsample, downsample_grid, join_blocks
from xgamma.coords.frame import SkyFrame
from xgamma.coords.grid import solid_angle
from xgamma.coords.sky import SkyGrid, grid_of


def make_cube():
    """Cube of 6 x 8 pixels whose counts are 0 .. 47."""
    axis = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), ("0.8 deg", "0.6 deg"), "0.1 deg", proj="TAN", energy=axis)
    d = np.arange(48.0).reshape(1, 6, 8)
    dims = ("energy", "y", "x")
    data = {
        "counts": d, "counts_off": 3 * d + 1, "acceptance": 1 + d / 10, "acceptance_off": 7 + d[:, ::-1] / 3,
    }  # fmt: skip
    cube = grid.assign({n: (dims, v, {"units": ""}) for n, v in data.items()})
    return cube.assign(exposure=(dims, d, {"units": "cm2 s"}), mask_safe=(dims, (d % 3 == 0) | (d > 20)))


def raising(*args, **kwargs):
    pytest.fail("computed while the graph was built")


class TestNumbersOfGammapy:
    """gammapy 2.1: WcsGeom.create(skydir=(83.63, 22.01), npix=(8, 6), binsz=0.1, proj="TAN"), data 0 .. 47."""

    def test_sum_and_mean(self):
        """Map.downsample(2, preserve_counts=True) and False; gammapy's CRPIX is (2.5, 2), CDELT 0.2."""
        counts = make_cube().counts
        total = downsample(counts, 2)
        assert total.values[0].tolist() == [[18, 26, 34, 42], [82, 90, 98, 106], [146, 154, 162, 170]]
        mean = downsample(counts, 2, how="mean")
        assert mean.values[0].tolist() == [[4.5, 6.5, 8.5, 10.5], [20.5, 22.5, 24.5, 26.5], [36.5, 38.5, 40.5, 42.5]]
        grid = grid_of(total)
        header = grid.frame.header(grid.y.start, grid.x.start)
        assert (header["CRPIX1"], header["CRPIX2"], header["CDELT1"], header["CDELT2"]) == (2.5, 2.0, -0.2, 0.2)

    def test_on_off_cube(self):
        """MapDatasetOnOff.downsample(2) with mask_safe.

        Acceptances differ by a common factor (gammapy averages that of all pixels, here it is the sum over safe
        pixels); their ratio alpha, and so the background, is the same.
        """
        small = downsample(make_cube(), 2)
        assert small.counts.values[0].tolist() == [[9, 3, 12, 21], [49, 71, 78, 106], [146, 154, 162, 170]]
        assert small.counts_off.values[0].tolist() == [[29, 10, 37, 65], [149, 216, 237, 322], [442, 466, 490, 514]]
        assert small.exposure.values[0, 0].tolist() == [4.5, 6.5, 8.5, 10.5]
        assert small.mask_safe.values.all()
        background = small.acceptance / small.acceptance_off * small.counts_off
        expected = [
            [3.004736, 0.609375, 4.28421, 7.111194],
            [41.124324, 54.46171, 60.052431, 77.611308],
            [257.80976, 260.840958, 264.520579, 268.707935],
        ]
        np.testing.assert_allclose(background.values[0], expected, rtol=1e-6)

    def test_masks_are_joined_by_any(self):
        mask = make_cube().mask_safe
        assert downsample(mask, 2).dtype == bool
        assert downsample(mask, 2).values.all()
        assert downsample(mask, 2, how="all").values[0].astype(int).tolist() == [
            [0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]  # fmt: skip


class TestGrid:
    def test_edges_coincide(self):
        grid = grid_of(make_cube())
        for factor in ((2, 2), (3, 4), (6, 8)):
            coarse = downsample_grid(grid, factor)
            for k in range(2):
                fine_edge = grid.frame.pixel_to_sky(
                    grid.y.start - 0.5 + k * factor[0], grid.x.start - 0.5 + k * factor[1]
                )
                edge = coarse.frame.pixel_to_sky(coarse.y.start - 0.5 + k, coarse.x.start - 0.5 + k)
                # CRPIX is kept to 1e-6 pixels
                np.testing.assert_allclose(edge, fine_edge, rtol=0, atol=1e-6)

    def test_solid_angle_is_kept(self):
        cube = make_cube()
        np.testing.assert_allclose(
            solid_angle(downsample(cube, 2)), join_blocks(solid_angle(cube).values, {0: 2, 1: 2}, "sum"), rtol=1e-6
        )

    def test_rotated_map(self):
        frame = SkyFrame.from_cards(
            {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10, "CRVAL2": 20, "CRPIX1": 1, "CRPIX2": 1,
             "CDELT1": -0.1, "CDELT2": 0.1, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}
        )  # fmt: skip
        coarse = downsample_grid(SkyGrid(frame, range(4), range(6)), (2, 3))
        np.testing.assert_allclose(
            coarse.frame.pixel_to_sky(coarse.y.start, coarse.x.start), frame.pixel_to_sky(0.5, 1.0), rtol=0, atol=1e-7
        )

    def test_parts_of_one_map_stay_on_one_frame(self):
        cube = make_cube()
        both = downsample(cube.counts, 2) + downsample(cube.counts.isel(x=slice(4, 8)), 2)
        assert both.sizes["x"] == 2

    def test_parts_that_start_within_a_block_do_not_align(self):
        cube = make_cube()
        with pytest.raises(ValueError, match="different sky grids"):
            downsample(cube.counts, 2) + downsample(cube.counts.isel(x=slice(1, 7)), 2)

    def test_responses_are_kept(self):
        cube = make_cube()
        small = downsample(cube, 2)
        assert grid_of(small, "irf_") == grid_of(cube, "irf_")
        assert list(small.data_vars) == list(cube.data_vars)

    def test_selection_finds_the_large_pixel(self):
        small = downsample(make_cube().counts, (4, 3))
        found = small.sel(lon=83.63 + 0.1, lat=22.01 - 0.1, method="nearest")
        assert float(found.squeeze()) == small.values[0, 0, 0]


class TestLazy:
    @pytest.mark.parametrize("chunks", [{"y": 2, "x": 2}, {"y": 5, "x": 3}, {"y": 1, "x": 8}, {"y": (1, 4, 1), "x": 7}])
    def test_chunked_equals_unchunked(self, chunks):
        cube = make_cube()
        with dask.config.set(scheduler=raising):
            small = downsample(cube.chunk(chunks), 2)
        assert small.counts.chunks is not None
        xr.testing.assert_identical(small.load(), downsample(cube, 2))

    def test_transposed(self):
        counts = make_cube().counts
        assert downsample(counts.transpose("x", "energy", "y"), 2).dims == ("x", "energy", "y")
        xr.testing.assert_identical(
            downsample(counts.transpose("x", "energy", "y"), 2).transpose(*counts.dims), downsample(counts, 2)
        )


class TestRules:
    def test_unsafe_counts_do_not_enter(self):
        cube = make_cube()[["counts", "mask_safe"]]
        assert float(downsample(cube, 2).counts.sum()) == float(cube.counts.where(cube.mask_safe).sum())

    def test_nan_is_left_out(self):
        values = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, np.nan]])
        np.testing.assert_array_equal(join_blocks(values, {1: 2}, "mean"), [[1], [4], [np.nan]])
        np.testing.assert_array_equal(join_blocks(values, {1: 2}, "sum"), [[1], [8], [np.nan]])

    def test_float32_is_summed_in_float64(self):
        values = np.full((1, 10**4), 16777216.0, dtype=np.float32)
        values[0, 1:] = 1.0
        assert join_blocks(values, {1: 10**4}, "sum")[0, 0] == np.float32(16777216.0 + 9999.0)

    def test_whole_numbers(self):
        assert join_blocks(np.array([1, 2, 3, 4]), {0: 2}, "sum").dtype.kind == "i"
        assert join_blocks(np.array([1, 2]), {0: 2}, "mean")[0] == 1.5

    def test_statistics_are_refused(self):
        cube = make_cube().rename(counts="sqrt_ts")[["sqrt_ts"]]
        with pytest.raises(ValueError, match="'sqrt_ts' does not follow"):
            downsample(cube, 2)
        assert downsample(cube, 2, how={"sqrt_ts": "mean"}).sqrt_ts.values[0, 0, 0] == 4.5

    def test_factor_that_does_not_divide(self):
        with pytest.raises(ValueError, match=r"6 pixels along 'y' are not a multiple of 4; .* trim=True"):
            downsample(make_cube(), 4)
        assert downsample(make_cube(), 4, trim=True).counts.shape == (1, 1, 2)

    @pytest.mark.parametrize("factor", [0, -2, 1.5, (2, 2, 2), True])
    def test_bad_factor(self, factor):
        with pytest.raises(ValueError, match="whole number of at least 1"):
            downsample(make_cube(), factor)

    def test_factor_larger_than_the_map(self):
        with pytest.raises(ValueError, match="not a multiple of 7"):
            downsample(make_cube(), 7, trim=True)

    def test_bad_how(self):
        with pytest.raises(ValueError, match="must be 'sum'"):
            downsample(make_cube(), 2, how="median")

    def test_units_are_set(self):
        small = downsample(make_cube(), 2)
        assert {n: a.attrs["units"] for n, a in small.data_vars.items()} == {
            "counts": "", "counts_off": "", "acceptance": "", "acceptance_off": "", "exposure": "cm2 s",
            "mask_safe": "",
        }  # fmt: skip

    def test_bins_without_off_counts_use_the_mean_alpha(self):
        cube = make_cube().assign(counts_off=lambda c: c.counts_off * 0)
        small = downsample(cube.drop_vars("mask_safe"), 2)
        alpha = join_blocks((cube.acceptance / cube.acceptance_off).values, {1: 2, 2: 2}, "mean")
        np.testing.assert_allclose((small.acceptance / small.acceptance_off).values, alpha)

    def test_cutout_then_downsample(self):
        part = cutout(make_cube(), SkyCoord(83.63, 22.01, unit="deg"), "0.4 deg")
        assert downsample(part, 4).counts.shape == (1, 1, 1)
