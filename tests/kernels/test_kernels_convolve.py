"""Discs and rings against lists of pixels, and convolution against a direct sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from xgamma.kernels.convolve import Annulus, convolve, disc_kernel, ring_kernel, tile_chunks


def direct_sum(array, kernel):
    """Sum of shifted copies: slow and plain."""
    array = np.asarray(array, dtype=float)
    ny, nx = array.shape[-2:]
    hy, hx = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(hy, hy), (hx, hx)])
    result = np.zeros_like(array)
    for j in range(kernel.shape[0]):
        for i in range(kernel.shape[1]):
            window = padded[..., 2 * hy - j : 2 * hy - j + ny, 2 * hx - i : 2 * hx - i + nx]
            result += kernel[j, i] * window
    return result


# number of pixels in astropy's Tophat2DKernel and Ring2DKernel after normalize("peak")
@pytest.mark.parametrize(
    ("radius", "number"),
    [(0.04, 13), (0.1, 81), (0.11, 97), (0.5, 1961), (0.3, 709), (0.07, 37), (0.06, 29), (0.14, 149), (0.01, 1)],
)
def test_discs_hold_the_pixels_of_astropy(radius, number):
    assert disc_kernel(radius / 0.02).sum() == number
    assert disc_kernel(radius, (0.02, 0.02)).sum() == number


@pytest.mark.parametrize(
    ("r_in", "width", "pixel", "number"),
    [
        (0.5, 0.3, 0.02, 3084),
        (0.5, 0.3, 0.03, 1356),
        (0.7, 0.35, 0.02, 4844),
        (0.11, 0.05, 0.02, 100),
        (0.3, 0.2, 0.1, 56),
    ],
)
def test_rings_hold_the_pixels_of_astropy(r_in, width, pixel, number):
    assert ring_kernel(r_in, width, (pixel, pixel)).sum() == number


@given(st.floats(0.1, 20), st.floats(0.5, 3), st.floats(0.5, 3))
def test_a_disc_is_the_pixels_whose_centres_lie_inside(radius, dy, dx):
    kernel = disc_kernel(radius, (dy, dx))
    hy, hx = kernel.shape[0] // 2, kernel.shape[1] // 2
    expected = {
        (j, i)
        for j in range(-50, 51)
        for i in range(-50, 51)
        if (j * dy) ** 2 + (i * dx) ** 2 <= (radius * (1 + 1e-9)) ** 2
    }
    found = {(int(j) - hy, int(i) - hx) for j, i in zip(*np.nonzero(kernel), strict=True)}
    assert found == expected


def test_a_ring_and_the_disc_inside_make_the_disc():
    whole, ring = disc_kernel(7.3), ring_kernel(3.5, 3.8)
    inner = np.zeros_like(whole)
    inner[4:-4, 4:-4] = disc_kernel(3.4999)
    assert_array_equal(whole, ring + inner)


def test_boundary_pixels_belong_whatever_the_rounding():
    # 0.3 / 0.1 is 2.9999999999999996
    assert disc_kernel(0.3 / 0.1).shape == (7, 7)
    assert ring_kernel(0.3, 0.1, (0.1, 0.1)).sum() == ring_kernel(3, 1).sum()


@pytest.mark.parametrize("call", [
    lambda: disc_kernel(0.0),
    lambda: disc_kernel(np.nan),
    lambda: disc_kernel(1.0, (0.0, 1.0)),
    lambda: ring_kernel(-1.0, 2.0),
    lambda: ring_kernel(1.0, 0.0),
    lambda: ring_kernel(1.1, 0.2),
    lambda: convolve(np.ones(3), disc_kernel(1)),
    lambda: convolve(np.ones((3, 3)), np.ones((2, 3))),
    lambda: convolve(np.ones((3, 3)), np.full((3, 3), np.nan)),
])  # fmt: skip
def test_bad_kernels_raise(call):
    with pytest.raises(ValueError, match=r"positive|odd length|not finite|two axes|no pixel"):
        call()


KERNELS = [disc_kernel(1), disc_kernel(3.3), ring_kernel(2, 2.5), ring_kernel(12, 3), ring_kernel(100, 3)]


@pytest.mark.parametrize("kernel", [*KERNELS, np.arange(15.0).reshape(5, 3)])
@pytest.mark.parametrize("shape", [(2, 17, 13), (1, 9), (3, 3), (2, 1, 5, 24)])
def test_convolution_is_the_direct_sum(kernel, shape):
    rng = np.random.default_rng(1)
    array = rng.random(shape) * (rng.random(shape) < 0.2)
    expected = direct_sum(array, kernel)
    result = convolve(array, kernel)
    assert_allclose(result, expected, rtol=1e-12, atol=1e-13 * max(1, kernel.max()))
    assert_array_equal(result == 0, expected == 0)


@settings(max_examples=30)
@given(hnp.arrays(np.int64, (6, 11), elements=st.integers(0, 10**6)), st.sampled_from(KERNELS))
def test_counts_stay_whole_numbers(counts, kernel):
    assert_array_equal(convolve(counts, kernel), direct_sum(counts, kernel))


def test_sums_next_to_nothing_are_positive_or_exactly_zero():
    array = np.zeros((60, 60))
    array[:, :10] = 1e6
    array[:, 20:30] = 1e-9 * np.pi
    result = convolve(array, disc_kernel(3.0))
    assert_array_equal(result[:, 13:17], 0)
    assert (result[:, 20:30] >= 1e-9 * np.pi).all()
    assert (result[:, 33:] == 0).all()


def test_negative_numbers_and_bools_pass():
    array = np.random.default_rng(2).normal(size=(20, 20))
    assert_allclose(convolve(array, disc_kernel(2)), direct_sum(array, disc_kernel(2)), atol=1e-12)
    mask = array > 0
    assert_array_equal(convolve(mask, disc_kernel(2)), direct_sum(mask, disc_kernel(2)))


def test_nan_fills_its_plane_and_no_other():
    array = np.ones((2, 5, 5))
    array[0, 2, 2] = np.nan
    result = convolve(array, disc_kernel(1))
    assert np.isnan(result[0]).all()
    assert np.isfinite(result[1]).all()


def test_empty_arrays_and_single_pixels():
    assert convolve(np.ones((0, 4, 4)), disc_kernel(2)).shape == (0, 4, 4)
    assert_array_equal(convolve(np.ones((2, 2)), disc_kernel(0.5)), np.ones((2, 2)))
    assert_array_equal(convolve(np.ones((1, 1)), ring_kernel(3, 1)), [[0.0]])


def test_kernels_are_not_writeable_because_they_are_shared():
    with pytest.raises(ValueError, match="read-only"):
        Annulus(0.0, 2.0).kernel[0, 0] = 5


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 40))
def test_tiles_are_joined_until_none_is_smaller_than_the_halo(chunks, depth):
    tiles = tile_chunks(tuple(chunks), depth)
    assert sum(tiles) == sum(chunks)
    assert len(tiles) == 1 or min(tiles) >= depth
    assert set(np.cumsum(tiles)) <= set(np.cumsum(chunks))
