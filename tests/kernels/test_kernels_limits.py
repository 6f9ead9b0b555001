"""Errors, upper limits and sensitivity against scipy root by root, closed forms, gammapy's numbers, and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.special import lambertw

from xgamma.kernels.limits import (
    cash_errors,
    cash_sensitivity,
    cash_upper_limit,
    wstat_errors,
    wstat_sensitivity,
    wstat_upper_limit,
)
from xgamma.kernels.solve import expand_bracket, find_root
from xgamma.kernels.stats import cash_excess, cstat, wstat, wstat_excess

N_ON = np.array([0, 0, 0, 1, 3, 10, 100, 10, 5, 200.0])
N_OFF = np.array([0, 4, 30, 0, 0, 7, 220, 100, 1, 300.0])
ALPHA = np.array([0.5, 0.5, 0.1, 0.5, 0.2, 1, 0.5, 0.05, 0.1, 0.4])


def test_wstat_errors_and_limits_equal_gammapy():
    # gammapy 2.1: WStatCountsStatistic(...).compute_errn(1), compute_errp(1), compute_upper_limit(2)
    errn, errp = wstat_errors(N_ON, N_OFF, ALPHA)
    expected = [0.25, 1.173164090918, 0.581550842583, 0.700693855666, 1.416025744224, 4.124716435402, 12.304938381836]
    assert_allclose(errn, [*expected, 2.88768643237, 1.919152101216, 15.510927053157], rtol=1e-9)
    expected = [0.5, 0.878139567567, 0.64069460587, 1.357676673946, 2.080236697497, 4.236812855014, 12.616494982661]
    assert_allclose(errp, [*expected, 3.536082910207, 2.582770118244, 15.996693773869], rtol=1e-9)
    expected = [2.0, 0.378139567567, -0.85930539413, 4.505241495793, 7.907658169317, 11.880563688222, 15.607517541968]
    limit = wstat_upper_limit(N_ON, N_OFF, ALPHA, 2)
    assert_allclose(limit, [*expected, 12.77608589802, 10.796373267346, 112.512412822579], rtol=1e-9)


def test_wstat_sensitivity_equals_gammapy():
    # gammapy 2.1: WStatCountsStatistic(...).n_sig_matching_significance(5)
    expected = [11.377990332835, 17.693292913582, 13.733169660158, 11.377990332835, 6.976382831891, 32.439497743626]
    expected += [72.640455957915, 15.630367730851, 6.295030293666, 72.337843301634]
    assert_allclose(wstat_sensitivity(N_OFF, ALPHA, 5), expected, rtol=1e-6)


def test_cash_errors_limits_and_sensitivity_equal_gammapy():
    # gammapy 2.1: CashCountsStatistic(n_on, mu_bkg)
    n, mu = np.array([0, 0, 1, 1, 3, 10, 100, 1e6]), np.array([0, 3.0, 0, 0.5, 5, 5, 120, 9.9e5])
    errn, errp = cash_errors(n)
    expected = [0, 0, 0.6982904373157, 0.6982904373157, 1.416025744224, 2.838105448307, 9.669481706824, 999.6666945237]
    assert_allclose(errn, expected, rtol=1e-9)
    expected = [
        0.5,
        0.5,
        1.357676673946,
        1.357676673946,
        2.080236697497,
        3.504032559772,
        10.33607431118,
        1000.333361156,
    ]
    assert_allclose(errp, expected, rtol=1e-9)
    expected = [2, 2, 4.505241495793, 4.005241495793, 2.907658169317, 12.72249829609, 1.354970715173, 12001.33355553]
    assert_allclose(cash_upper_limit(n, mu, 2), expected, rtol=1e-9)
    expected = [np.nan, 12.221692967127, np.nan, 6.698484101596, 14.836573849281, 14.836573849281, 58.797065339667]
    assert_allclose(cash_sensitivity(mu, 5), [*expected, 4979.102109652458], rtol=1e-9)
    expected = [np.nan, -1.555789280664, np.nan, -0.5, -2.062301933636, -2.062301933636, -10.78648468991]
    assert_allclose(cash_sensitivity(mu, -1), [*expected, -994.8207564644], rtol=1e-9)


def test_cash_errors_are_the_branches_of_lambert_w():
    n = np.array([0.3, 1, 2, 7, 40, 300])
    argument = -np.exp(-0.5 / n - 1)
    errn, errp = cash_errors(n)
    assert_allclose(errn, n * (1 + lambertw(argument, 0).real), rtol=1e-8)
    assert_allclose(errp, -n * (1 + lambertw(argument, -1).real), rtol=1e-8)


@given(st.floats(1e-3, 1e12), st.floats(0.01, 30))
def test_statistic_rises_by_n_sigma_squared_at_the_cash_errors(n, n_sigma):
    errn, errp = cash_errors(n, n_sigma)
    assert 0 < errn <= n
    assert errn < errp
    assert_allclose(cstat(n, n + errp), n_sigma**2, rtol=1e-6)
    if errn < 0.99 * n:  # closer to no prediction at all, n - errn has no digits left
        assert_allclose(cstat(n, n - errn), n_sigma**2, rtol=1e-6)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(1e-6, 100), st.sampled_from([1, 2, 3, 5]))
def test_statistic_rises_by_n_sigma_squared_at_the_wstat_errors(n_on, n_off, alpha, n_sigma):
    errn, errp = wstat_errors(n_on, n_off, alpha, n_sigma)
    excess = float(wstat_excess(n_on, n_off, alpha).excess)
    assert errn > 0
    assert errp > 0
    # a relative rounding of the excess is this large a change of the statistic
    tolerance = 1e-6 + 1e-13 * (abs(excess) + alpha * n_off) / min(errn, errp)
    assert_allclose(wstat(n_on, n_off, alpha, excess + errp), n_sigma**2, rtol=tolerance)
    assert_allclose(wstat(n_on, n_off, alpha, excess - errn), n_sigma**2, rtol=tolerance)


def test_wstat_errors_against_brentq():
    rng = np.random.default_rng(5)
    n_on, n_off, alpha = rng.poisson(4, 60), rng.poisson(6, 60), rng.uniform(0.05, 1.5, 60)
    errn, errp = wstat_errors(n_on, n_off, alpha, 1.5)
    for i in range(60):
        excess = n_on[i] - alpha[i] * n_off[i]

        def rise(signal, v=(n_on[i], n_off[i], alpha[i])):
            return float(wstat(*v, signal)) - 2.25

        assert_allclose(errp[i], brentq(rise, excess, excess + 60, xtol=1e-12) - excess, rtol=1e-9)
        assert_allclose(errn[i], excess - brentq(rise, excess - 60, excess, xtol=1e-12), rtol=1e-9)


@given(st.floats(1e-6, 1e12), st.floats(0.1, 20))
def test_cash_sensitivity_has_the_significance(mu, significance):
    excess = cash_sensitivity(mu, significance)
    assert_allclose(cash_excess(mu + excess, mu).sqrt_ts, significance, rtol=1e-6)


@given(st.integers(0, 10**9), st.floats(1e-6, 100), st.floats(0.1, 20))
def test_wstat_sensitivity_has_the_significance(n_off, alpha, significance):
    n_on = alpha * n_off + wstat_sensitivity(n_off, alpha, significance)
    assert_allclose(wstat_excess(n_on, n_off, alpha).sqrt_ts, significance, rtol=1e-6)


def test_sensitivity_of_a_deficit():
    excess = wstat_sensitivity(np.array([0.0, 4.0, 30.0, 300.0]), np.array([0.5, 0.5, 0.1, 0.4]), -1)
    assert np.isnan(excess[0])
    n_on = np.array([4.0, 30, 300]) * np.array([0.5, 0.1, 0.4]) + excess[1:]
    assert (n_on > 0).all()
    assert_allclose(wstat_excess(n_on, [4, 30, 300], [0.5, 0.1, 0.4]).sqrt_ts, -1, rtol=1e-9)
    assert np.isnan(wstat_sensitivity(4.0, 0.5, -5))


def test_sensitivity_without_off_counts_in_closed_form():
    alpha = np.array([0.1, 1.0, 7.0])
    assert_allclose(wstat_sensitivity(0.0, alpha, 5), 12.5 / np.log1p(1 / alpha), rtol=1e-12)


def test_where_nan_is_the_answer():
    assert np.isnan(cash_sensitivity(0.0))
    assert np.isnan(wstat_sensitivity(5.0, 0.0))
    for bad in (np.nan, np.inf, -1.0):
        assert np.isnan(cash_errors(bad)).all()
        assert np.isnan(cash_upper_limit(bad, 1.0))
        assert np.isnan(cash_sensitivity(bad))
        for args in ((bad, 1.0, 0.5), (1.0, bad, 0.5), (1.0, 1.0, bad)):
            assert np.isnan(wstat_errors(*args)).all()
            assert np.isnan(wstat_upper_limit(*args))
        assert np.isnan(wstat_sensitivity(bad, 0.5))


def test_without_background_the_errors_are_those_of_a_poisson_number():
    n = np.array([0.0, 1.0, 9.0])
    assert_allclose(wstat_errors(n, 5.0, 0.0), cash_errors(n), rtol=1e-12)


@pytest.mark.parametrize("n_sigma", [0, -1, np.nan, np.inf])
def test_number_of_sigmas_must_be_positive(n_sigma):
    for call in (lambda: cash_errors(1.0, n_sigma), lambda: wstat_errors(1.0, 1.0, 1.0, n_sigma)):
        with pytest.raises(ValueError, match="positive number of standard deviations"):
            call()


def test_errors_and_limits_cover_the_truth():
    rng = np.random.default_rng(11)
    size, signal, off, alpha = 4000, 12.0, 100.0, 0.2
    n_on, n_off = rng.poisson(signal + alpha * off, size), rng.poisson(off, size)
    excess = wstat_excess(n_on, n_off, alpha).excess
    errn, errp = wstat_errors(n_on, n_off, alpha)
    inside = ((signal > excess - errn) & (signal < excess + errp)).mean()
    assert abs(inside - 0.6827) < 0.03
    # a two-sided interval of 2 sigma leaves 2.3 % above
    assert abs((signal < wstat_upper_limit(n_on, n_off, alpha, 2)).mean() - 0.9772) < 0.01


def test_find_root_ends_for_a_function_that_is_not_convex():
    root = find_root(
        lambda x, c: (np.arctan(x - c), 1 / (1 + (x - c) ** 2)), np.full(3, -1e3), np.full(3, 1e6), np.arange(3.0)
    )
    assert_allclose(root, [0, 1, 2], atol=1e-9)


def test_find_root_passes_nan_through():
    assert np.isnan(find_root(lambda x: (x, 1 + 0 * x), np.array([np.nan]), np.array([1.0]))).all()
    assert np.isnan(find_root(lambda x: (x * np.nan, x), np.array([-1.0]), np.array([1.0])))[0]


def test_expand_bracket_gives_up_where_there_is_no_sign_change():
    assert np.isnan(expand_bracket(lambda x: (-np.ones_like(x), x), np.zeros(1), np.ones(1)))[0]
