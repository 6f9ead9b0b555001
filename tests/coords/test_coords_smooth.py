"""Smoothing against scipy.ndimage, tiles, kernels."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from scipy import ndimage

import xgamma as xg
from xgamma.coords.sky import grid_of
from xgamma.coords.smooth import smooth, smoothing_kernel


def make_cube():
    grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), ("3 deg", "2 deg"), "0.05 deg", proj="TAN")
    counts = np.random.default_rng(3).poisson(0.3, (2, 40, 60)).astype(float)
    return grid.assign(
        counts=(("energy", "y", "x"), counts, {"units": ""}), mask_safe=(("energy", "y", "x"), counts > 0)
    )


@pytest.mark.parametrize(
    ("kernel", "width", "oracle"),
    [
        ("gauss", "0.1 deg", lambda v: ndimage.gaussian_filter(v, 2.0, mode="constant", truncate=5.0)),
        ("box", "0.25 deg", lambda v: ndimage.uniform_filter(v, 5, mode="constant")),
    ],
)
def test_equals_scipy(kernel, width, oracle):
    """The Gaussian of scipy ends in a square, ours too: the product of the two sides."""
    counts = make_cube().counts
    expected = np.stack([oracle(plane) for plane in counts.values])
    np.testing.assert_allclose(smooth(counts, width, kernel).values, expected, rtol=0, atol=1e-12)


def test_disk_is_the_mean_of_its_pixels():
    kernel = smoothing_kernel(grid_of(make_cube()), "0.15 deg", "disk")
    y, x = np.mgrid[-3:4, -3:4]
    np.testing.assert_allclose(kernel, (y**2 + x**2 <= 9) / 29)


@pytest.mark.parametrize("kernel", ["gauss", "disk", "box"])
@pytest.mark.parametrize("chunks", [{"y": 15, "x": 17}, {"y": 3, "x": 60, "energy": 1}])
def test_chunked_equals_unchunked(kernel, chunks):
    def raising(*args, **kwargs):
        pytest.fail("computed while the graph was built")

    cube = make_cube()
    with dask.config.set(scheduler=raising):
        lazy = smooth(cube.chunk(chunks), "0.2 deg", kernel)
    xr.testing.assert_allclose(lazy.load(), smooth(cube, "0.2 deg", kernel), rtol=1e-11, atol=1e-13)


def test_inner_counts_are_kept_and_masks_left():
    cube = make_cube()
    cube["counts"] = cube.counts.where((abs(cube.x) < 10) & (abs(cube.y) < 5), 0.0)
    smoothed = smooth(cube, "0.05 deg")
    assert float(smoothed.counts.sum()) == pytest.approx(float(cube.counts.sum()), rel=1e-12)
    assert smoothed.mask_safe.identical(cube.mask_safe)
    assert smoothed.counts.attrs["units"] == ""
    assert grid_of(smoothed) == grid_of(cube)


def test_nan_stays_where_it_was():
    counts = make_cube().counts
    counts[0, 10, 10] = np.nan
    smoothed = smooth(counts, "0.1 deg")
    np.testing.assert_array_equal(np.isnan(smoothed.values), np.isnan(counts.values))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": "0.1 deg", "kernel": "ring"}, "kernel='ring'"),
        ({"width": 0.1}, "width=0.1"),
        ({"width": "-1 deg"}, "width="),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        smooth(make_cube(), **options)


@pytest.mark.parametrize(("kernel", "width"), [("gauss", "0.1 deg"), ("disk", "0.2 deg"), ("box", "0.35 deg")])
@pytest.mark.parametrize("chunks", [None, {"y": 15, "x": 17}, {"y": 3, "x": 60, "energy": 1}])
def test_renormalised_edges(kernel, width, chunks):
    """Against scipy: the sum over what is there over the sum of the kernel there."""
    cube = make_cube()
    counts = cube.counts
    counts[1, 5:9, 10:20] = np.nan
    pixels = smoothing_kernel(grid_of(cube), width, kernel)
    there = np.isfinite(counts.values)
    planes = zip(np.nan_to_num(counts.values), there.astype(float), strict=True)
    expected = np.stack(
        [ndimage.convolve(n, pixels, mode="constant") / ndimage.convolve(t, pixels, mode="constant") for n, t in planes]
    )
    found = smooth(counts if chunks is None else counts.chunk(chunks), width, kernel, edge="renormalise")
    assert (found.chunks is None) == (chunks is None)
    np.testing.assert_allclose(found.values[there], expected[there], rtol=1e-9, atol=1e-12)
    assert np.isnan(found.values[~there]).all()
    flat = smooth(counts * 0 + 3.0, width, kernel, edge="renormalise")
    np.testing.assert_allclose(flat.values[there], 3.0, rtol=1e-10)


@pytest.mark.parametrize("kernel", ["gauss", "disk", "box"])
def test_zero_edges_as_scipy(kernel):
    cube = make_cube()
    pixels = smoothing_kernel(grid_of(cube), "0.2 deg", kernel)
    expected = np.stack([ndimage.convolve(p, pixels, mode="constant") for p in cube.counts.values])
    np.testing.assert_allclose(smooth(cube.counts, "0.2 deg", kernel).values, expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="'renormalise'"):
        smooth(cube, "0.2 deg", kernel, edge="mirror")
