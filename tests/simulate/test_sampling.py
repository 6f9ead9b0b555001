from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord, SkyOffsetFrame
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from xgamma.kernels.sphere import field_of_view, from_vectors, separation, to_vectors
from xgamma.simulate import sampling
from xgamma.simulate.pointings import grid_pointings, wobble_pointings

N = 20_000
#: The seeds are fixed, so these tests cannot fail by chance; a wrong distribution gives p-values of 1e-10 and less.
PVALUE = 1e-3


def uniform(seed=0, number=N):
    return np.random.default_rng(seed).random(number)


def test_pick_has_the_probabilities_of_the_weights():
    weights = np.array([0.0, 1.0, 0.0, 3.0, 6.0, 0.0])
    counts = np.bincount(sampling.pick(np.cumsum(weights), uniform()), minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    assert stats.chisquare(counts[[1, 3, 4]], N * np.array([0.1, 0.3, 0.6])).pvalue > PVALUE


def test_pick_ends_of_the_unit_interval():
    cumulative = np.cumsum([0.0, 2.0, 0.0, 5.0, 0.0])
    assert sampling.pick(cumulative, np.array([0.0, np.nextafter(1.0, 0.0)])).tolist() == [1, 3]


@pytest.mark.parametrize("index", [0.0, 0.5, 1.0, 1.0 + 1e-12, 2.7, -3.0])
def test_power_law_follows_its_closed_form(index):
    lo, hi = 0.3, 20.0
    drawn = sampling.power_law_between(uniform(), lo, hi, lo**-index, hi**-index)

    def cdf(x):
        g = 1.0 - index
        return np.log(x / lo) / np.log(hi / lo) if abs(g) < 1e-9 else (x**g - lo**g) / (hi**g - lo**g)

    assert stats.kstest(drawn, cdf).pvalue > PVALUE


@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(1e-3, 1e3),
    st.floats(1e-6, 5),
    st.floats(-300, 300),
)
def test_power_law_stays_in_its_interval(u, lo, width, log_ratio):
    hi = lo * np.exp(width)
    drawn = sampling.power_law_between(u, lo, hi, 1.0, np.exp(log_ratio))
    assert lo * (1 - 1e-12) <= drawn <= hi * (1 + 1e-12)


def test_intervals_are_filled_by_their_length():
    start, stop = np.array([0.0, 100.0, 200.0]), np.array([10.0, 130.0, 260.0])
    drawn = sampling.sample_intervals(start, stop, uniform())
    inside = (drawn[:, np.newaxis] >= start) & (drawn[:, np.newaxis] <= stop)
    assert inside.any(axis=1).all()
    assert stats.chisquare(inside.sum(axis=0), N * np.array([0.1, 0.3, 0.6])).pvalue > PVALUE
    last = drawn[inside[:, 2]]
    assert stats.kstest(last, stats.uniform(200, 60).cdf).pvalue > PVALUE


def test_histogram_rows_each_follow_their_own_histogram():
    edges = np.array([0.0, 1.0, 3.0, 4.0])
    rows = np.array([[1.0, 2.0, 0.0], [0.0, -5.0, 1.0], [0.0, 0.0, 0.0]])
    which = np.arange(N) % 3
    drawn = sampling.sample_histogram_rows(edges, rows[which], uniform())
    first = np.histogram(drawn[which == 0], [0.0, 1.0, 2.0, 3.0, 4.0])[0]
    assert first[3] == 0
    assert stats.chisquare(first[:3]).pvalue > PVALUE
    # negative contents count as none
    assert stats.kstest(drawn[which == 1], stats.uniform(3, 1).cdf).pvalue > PVALUE
    assert np.isnan(drawn[which == 2]).all()


def test_king_follows_its_profile():
    gamma, sigma = 1.8, 0.07
    drawn = sampling.sample_king(np.full(N, gamma), np.full(N, sigma), uniform())

    def profile(r):
        return r * (1 + r**2 / (2 * gamma * sigma**2)) ** -gamma

    norm = integrate.quad(profile, 0, np.inf)[0]
    radii = np.array([0.02, 0.07, 0.15, 0.5])
    expected = [integrate.quad(profile, 0, r)[0] / norm for r in radii]
    found = (drawn[:, np.newaxis] < radii).mean(axis=0)
    assert (np.abs(found - expected) < 4 * np.sqrt(np.multiply(expected, np.subtract(1, expected)) / N)).all()


def test_king_without_profile_is_nan():
    drawn = sampling.sample_king(np.array([1.0, 2.0, 0.5]), np.array([0.1, 0.0, 0.1]), np.full(3, 0.5))
    assert np.isnan(drawn).all()


@pytest.mark.parametrize("heights", [(1.0, 0.2, 0.01), (1.0, 0.0, 0.0), (1.0, -0.05, 0.02)])
def test_sum_of_gaussians_follows_its_containment(heights):
    sigma = np.array([0.05, 0.1, 0.3])
    weight = np.array(heights) * sigma**2
    drawn = sampling.sample_multi_gauss(np.tile(heights, (N, 1)), np.tile(sigma, (N, 1)), uniform())

    def cdf(r):
        return (weight * (1 - np.exp(-0.5 * (r[:, np.newaxis] / sigma) ** 2))).sum(axis=1) / weight.sum()

    assert stats.kstest(drawn, cdf).pvalue > PVALUE


def test_sum_of_gaussians_without_width_or_content_is_nan():
    drawn = sampling.sample_multi_gauss(
        np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.1], [0.1, 0.1]]), np.full(2, 0.5)
    )
    assert np.isnan(drawn).all()


@pytest.mark.parametrize("sigma", [0.1, 20.0, 120.0])
def test_gaussian_on_the_sphere_follows_its_density(sigma):
    drawn = sampling.cap_offsets(sigma, uniform())
    scale = 1 - np.cos(np.deg2rad(sigma))

    def density(r):
        r = np.deg2rad(r)
        return np.sin(r) * np.exp(-0.5 * (1 - np.cos(r)) / scale)

    top = min(180.0, 12 * sigma)
    grid = np.linspace(0, top, 20_001)
    cumulative = integrate.cumulative_trapezoid(density(grid), grid, initial=0)
    assert stats.kstest(drawn, lambda r: np.interp(r, grid, cumulative / cumulative[-1])).pvalue > PVALUE


@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 180), st.floats(0, 2 * np.pi))
def test_moving_on_the_sphere_moves_by_the_separation(lon, lat, size, angle):
    start = to_vectors(np.array([lon]), np.array([lat]))
    moved = sampling.move_on_sphere(start, np.array([size]), np.array([angle]))
    assert np.linalg.norm(moved) == pytest.approx(1.0)
    assert separation(moved, start[0])[0] == pytest.approx(size, abs=1e-6)


def test_moving_on_the_sphere_has_no_preferred_direction():
    angle = 2 * np.pi * uniform()
    moved = sampling.move_on_sphere(to_vectors(np.array(40.0), np.array(65.0)), np.full(N, 1.0), angle)
    lon, lat = field_of_view(moved, 40.0, 65.0)
    direction = np.arctan2(lon * np.cos(np.deg2rad(lat)), lat) % (2 * np.pi)
    assert stats.kstest(direction, stats.uniform(0, 2 * np.pi).cdf).pvalue > PVALUE


def test_positions_of_the_field_of_view_agree_with_astropy():
    lon, lat = np.array([0.0, 1.5, -2.0, 0.3]), np.array([0.0, -1.0, 2.5, 2.9])
    found = wobble_pointings((83.6, 22.0), "0.7 deg", 4)
    frame = SkyOffsetFrame(origin=SkyCoord(83.6, 22.0, unit="deg"))
    back = SkyCoord(found, unit="deg").transform_to(frame)
    np.testing.assert_allclose(back.lon.wrap_at("180d").deg, [0, 0, 0.7, -0.7], atol=1e-9)
    np.testing.assert_allclose(back.lat.deg, [0.7, -0.7, 0, 0], atol=1e-9)
    a, b = np.deg2rad([83.6, 22.0])
    axes = np.array(
        [
            [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)],
            [-np.sin(a), np.cos(a), 0],
            [-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)],
        ]
    )
    expected = SkyCoord(lon=lon * u.deg, lat=lat * u.deg, frame=frame).icrs
    ra, dec = from_vectors(sampling.vectors_from_fov(lon, lat, axes))
    np.testing.assert_allclose(ra, expected.ra.deg, atol=1e-9)
    np.testing.assert_allclose(dec, expected.dec.deg, atol=1e-9)
    own = np.tile(axes, (4, 1, 1))
    np.testing.assert_allclose(
        sampling.vectors_from_fov(lon, lat, own), sampling.vectors_from_fov(lon, lat, axes), atol=1e-15
    )


@pytest.mark.parametrize("number", [1, 2, 7, 12, 100])
def test_grid_of_pointings_covers_the_region(number):
    found = np.array(grid_pointings((10.0, 0.0), ["8 deg", "4 deg"], number))
    lon = (found[:, 0] + 180) % 360 - 180
    assert len(found) == number
    assert len(np.unique(found.round(9), axis=0)) == number
    assert np.abs(lon - 10).max() <= 4
    assert np.abs(found[:, 1]).max() <= 2
    assert lon.mean() == pytest.approx(10, abs=1e-6)


def test_random_pointings_are_reproducible_and_inside():
    first = grid_pointings((10.0, -30.0), "4 deg", 50, seed=3)
    assert first == grid_pointings((10.0, -30.0), "4 deg", 50, seed=3)
    assert first != grid_pointings((10.0, -30.0), "4 deg", 50, seed=4)
    lon, lat = field_of_view(to_vectors(*np.array(first).T), 10.0, -30.0)
    assert max(np.abs(lon).max(), np.abs(lat).max()) <= 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wobble_pointings((0, 0), "0.5", 2), "offset"),
        (lambda: wobble_pointings((0, 0), "100 deg", 2), "between 0 and 90"),
        (lambda: wobble_pointings((0, 0), "1 deg", 0), "whole number"),
        (lambda: wobble_pointings((0, 95), "1 deg", 2), "not a position"),
        (lambda: grid_pointings((0, 0), "200 deg", 2), "between 0 and 180"),
        (lambda: grid_pointings((0, 0), "2 deg", 1.5), "whole number"),
        (lambda: grid_pointings("here", "2 deg", 1), "not a position"),
    ],
)
def test_bad_pointings_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
