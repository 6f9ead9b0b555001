"""Fit statistics and the significance of an excess against closed forms, other formulas and gammapy's numbers."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import minimize_scalar

from xgamma.kernels.stats import (
    TRUNCATION,
    cash,
    cash_excess,
    cstat,
    deviance,
    li_ma_significance,
    wstat,
    wstat_background,
    wstat_excess,
    x_minus_log1p,
)

COUNTS = st.integers(0, 10**6)
ALPHA = st.floats(1e-4, 10.0)
SIGNAL = st.floats(-100.0, 1e5)

#: On counts, off counts, alpha of the comparisons below.
N_ON = np.array([0, 0, 0, 1, 3, 10, 100, 10, 5, 200.0])
N_OFF = np.array([0, 4, 30, 0, 0, 7, 220, 100, 1, 300.0])
ALPHAS = np.array([0.5, 0.5, 0.1, 0.5, 0.2, 1, 0.5, 0.05, 0.1, 0.4])


def naive_li_ma(n_on, n_off, alpha):
    """Equation 17 of Li & Ma as it is printed."""
    total = n_on + n_off
    on = n_on * np.log((1 + alpha) / alpha * n_on / total)
    off = n_off * np.log((1 + alpha) * n_off / total)
    return np.sqrt(2 * np.maximum(on + off, 0)) * np.sign(n_on - alpha * n_off)


@pytest.mark.parametrize("x", [-0.9999, -0.5, -0.021, -0.019, -1e-5, 1e-12, 0.019, 0.021, 3.0, 1e9])
def test_x_minus_log1p_keeps_its_digits(x):
    with localcontext(prec=50):
        expected = float(Decimal(x) - (1 + Decimal(x)).ln())
    assert_allclose(x_minus_log1p(np.array(x)), expected, rtol=2e-14)


def test_cash_is_twice_the_poisson_log_probability_up_to_a_constant():
    n, mu = np.array([0, 1, 7, 1000]), np.array([0.2, 3.0, 7.0, 950.0])
    difference = cash(n, mu) + 2 * stats.poisson.logpmf(n, mu)
    assert_allclose(difference, cash(n, np.maximum(n, 1)) + 2 * stats.poisson.logpmf(n, np.maximum(n, 1)), rtol=1e-12)


def test_cstat_differs_from_cash_by_its_value_at_the_data():
    n, mu = np.array([1.0, 7.0, 1000.0]), np.array([3.0, 7.0, 950.0])
    assert_allclose(cstat(n, mu), cash(n, mu) - cash(n, n), rtol=1e-9, atol=1e-10)


def test_statistics_truncate_predictions_at_zero_as_gammapy_does():
    # gammapy 2.1: gammapy.stats.cash / cstat
    n, mu = np.array([5, 0, 5, 0, 5.0]), np.array([3, 3, 0, 0, -1.0])
    expected_cash = [-4.986122886681098, 6.0, 575.6462732485114, 2e-25, 575.6462732485114]
    assert_allclose(cash(n, mu), expected_cash, rtol=1e-12)
    assert_allclose(cstat(n, mu), [1.108256237659905, 6.0, 581.7406523728525, 0.0, 581.7406523728525], rtol=1e-12)


def test_wstat_equals_gammapy():
    # gammapy 2.1: gammapy.stats.wstat and get_wstat_mu_bkg
    n_on, n_off = np.array([5, 0, 5, 5, 0, 5, 5.0]), np.array([3, 3, 0, 0, 0, 3, 3.0])
    signal = np.array([2, 2, 2, 1, 2, 0, -0.5])
    expected = [0.4501982346480453, 6.432790648648988, 3.16290731874155, 6.986122886681097, 4.0, 2.83390172480237]
    assert_allclose(wstat(n_on, n_off, 0.5, signal), [*expected, 3.77258872223978], rtol=1e-12)
    background = [3.5725992956937827, 2.0, 0.0, 1.3333333333333333, 0.0, 5.333333333333333, 6.0]
    assert_allclose(wstat_background(n_on, n_off, 0.5, signal), background, rtol=1e-12)


@given(COUNTS, COUNTS, ALPHA, SIGNAL)
def test_wstat_background_maximises_the_likelihood(n_on, n_off, alpha, signal):
    best = float(wstat_background(n_on, n_off, alpha, signal))
    lowest = max(0.0, -signal / alpha)
    assert best >= lowest * (1 - 1e-9)

    def statistic(mu):
        return float(deviance(n_on, signal + alpha * mu) + deviance(n_off, mu))

    at_best = 0.5 * float(wstat(n_on, n_off, alpha, signal))
    assert at_best >= 0
    for other in (best * 1.01 + 1e-3, lowest + 0.99 * (best - lowest), lowest):
        assert statistic(other) >= at_best * (1 - 1e-6) - 1e-6


def test_wstat_background_against_a_minimiser():
    rng = np.random.default_rng(3)
    for _ in range(50):
        n_on, n_off = rng.poisson(5), rng.poisson(8)
        alpha, signal = rng.uniform(0.05, 2), rng.uniform(0, 20)
        found = minimize_scalar(
            lambda mu, v=(n_on, n_off, alpha, signal): float(deviance(v[0], v[3] + v[2] * mu) + deviance(v[1], mu)),
            bounds=(0, 100),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert_allclose(0.5 * wstat(n_on, n_off, alpha, signal), found.fun, atol=2e-7)


def test_without_off_exposure_wstat_is_cstat():
    n_on, signal = np.array([0.0, 3.0, 5.0]), np.array([2.0, 3.0, 0.5])
    assert_allclose(wstat(n_on, 4.0, 0.0, signal), cstat(n_on, signal), rtol=1e-12, atol=1e-15)


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.floats(1e-3, 5.0))
def test_significance_is_the_formula_of_li_and_ma(n_on, n_off, alpha):
    assert_allclose(li_ma_significance(n_on, n_off, alpha), naive_li_ma(n_on, n_off, alpha), rtol=1e-6, atol=1e-3)


def test_published_examples_of_li_and_ma():
    # their formula for small and for large samples
    assert_allclose(li_ma_significance(200, 300, 0.4), 5.475112999895, rtol=1e-11)
    assert_allclose(li_ma_significance(10, 7, 1.0), 0.729516543871, rtol=1e-11)


def test_wstat_excess_equals_gammapy():
    # gammapy 2.1: WStatCountsStatistic(n_on, n_off, alpha)
    result = wstat_excess(N_ON, N_OFF, ALPHAS)
    sqrt_ts = [0, -1.801033277001, -2.39136170168, 1.482303807368, 3.278804174599, 0.729516543871, -0.794874572406]
    assert_allclose(result.sqrt_ts, [*sqrt_ts, 1.904872744181, 4.3316092369, 5.475112999895], rtol=1e-11)
    p_value = [0.5, 3.584881756044e-02, 8.393003345623e-03, 6.912973784974e-02, 5.212397441463e-04, 2.328428758161e-01]
    p_value += [2.133432333854e-01, 2.839830749599e-02, 7.401173852178e-06, 2.186162556435e-08]
    assert_allclose(result.p_value, p_value, rtol=1e-10)
    error = [0, 1, 0.547722557505, 1, 1.732050807569, 4.123105625618, 12.449899597989, 3.201562118716, 2.23830292856]
    assert_allclose(result.error, [*error, 15.748015748024], rtol=1e-11)
    assert_allclose(result.excess, [0, -2, -3, 1, 3, 3, -10, 5, 4.9, 80], rtol=1e-12)


def test_cash_excess_equals_gammapy():
    # gammapy 2.1: CashCountsStatistic(n_on, mu_bkg)
    n, mu = np.array([0, 0, 1, 1, 3, 10, 100, 1e6]), np.array([0, 3.0, 0, 0.5, 5, 5, 120, 9.9e5])
    sqrt_ts = [0, -2.449489742783, 10.636223702504, 0.621525833027, -0.966977899129, 1.965437256999]
    result = cash_excess(n, mu)
    assert_allclose(result.sqrt_ts, [*sqrt_ts, -1.880342692492, 10.033529139868], rtol=1e-8)
    assert_allclose(result.error, np.sqrt(n))


def test_known_signal_belongs_to_the_null_hypothesis():
    result = wstat_excess(np.array(12.0), np.array(10.0), np.array(0.5), mu_sig=7.0)
    assert result.excess == 0
    assert_allclose(result.ts, 0, atol=1e-12)


def test_a_well_known_background_is_the_limit_of_many_off_counts():
    off = 1e12
    assert_allclose(wstat_excess(30.0, off, 20 / off).sqrt_ts, cash_excess(30.0, 20.0).sqrt_ts, rtol=1e-7)


def test_significance_keeps_its_digits_at_large_counts():
    # with n = 10^9 and a 3 sigma excess a sum of the printed terms is good to 1e-7 only
    n = 1e9 + 3 * np.sqrt(2e9)
    with localcontext(prec=50):
        on, off = Decimal(n), Decimal("1e9")
        exact = float((2 * (on * (2 * on / (on + off)).ln() + off * (2 * off / (on + off)).ln())).sqrt())
    assert_allclose(wstat_excess(n, 1e9, 1.0).sqrt_ts, exact, rtol=1e-10)


@given(COUNTS, st.floats(0, 1e6))
def test_likelihood_ratios_are_never_negative_nor_nan(n, mu):
    result = cash_excess(n, mu)
    assert result.ts >= 0
    assert 0 <= result.p_value <= 0.5
    assert np.sign(result.sqrt_ts) in (0, np.sign(n - mu))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_invalid_measurements_give_nan(bad):
    for args in ((bad, 1.0, 0.5), (1.0, bad, 0.5), (1.0, 1.0, bad)):
        result = wstat_excess(*args)
        assert np.isnan(result.ts)
        assert np.isnan(result.excess)
        assert np.isnan(result.error)
    assert np.isnan(cash(bad, 1.0)) or bad == np.inf
    assert np.isnan(deviance(bad, 1.0))
    assert np.isnan(cash_excess(bad, 1.0).ts)
    assert np.isnan(wstat_background(1.0, 1.0, 0.0, -1.0))


def test_shapes_broadcast_and_scalars_pass():
    assert wstat_excess(np.ones((2, 1)), np.ones(3), 0.1).ts.shape == (2, 3)
    assert cash_excess(3, 2).sqrt_ts.shape == ()
    assert TRUNCATION == 1e-25


def test_significances_of_simulated_backgrounds_are_standard_normal():
    rng = np.random.default_rng(7)
    size = 20000
    result = wstat_excess(rng.poisson(40, size), rng.poisson(200, size), 0.2)
    assert abs(result.sqrt_ts.mean()) < 4 / np.sqrt(size) + 0.02
    assert abs(result.sqrt_ts.std() - 1) < 0.03
