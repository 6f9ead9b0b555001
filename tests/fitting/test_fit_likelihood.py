"""Each statistic against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm, poisson

from xgamma.fitting.likelihood import CashStatistic, ChiSquare, WStatistic

COUNTS = np.array([5.0, 0.0, 3.0, 0.0, 4.0, 2.0, 7.0])
OFF = np.array([3.0, 0.0, 0.0, 4.0, 10.0, 1.0, 0.0])
ALPHA = np.array([0.5, 0.5, 0.2, 0.1, 0.3, 0.25, 0.1])
SIGNAL = np.array([2.0, 1.5, 4.0, 0.3, 0.0, 1e-3, 0.2])
WEIGHTS = np.array([1.0, 0.5, 0.0, 2.0, 1.0, 0.3, 1.0])
# gammapy 2.1: wstat(n_on, n_off, alpha, mu_sig) of these numbers
GAMMAPY_WSTAT = [0.45019823, 3.0, 0.27390757, 1.36248144, 0.22643336, 3.06028893, 29.57053382]
# gammapy 2.1: cash(n_on, mu_sig + alpha * n_off) and cstat(n_on, mu_sig + 0.1)
GAMMAPY_CASH = [-5.52762968, 3.0, -0.31776617, 1.4, -2.78889831, 6.03120936, 22.93213077]
GAMMAPY_CSTAT = [2.87500568, 3.2, 0.32575189, 0.8, 21.71103563, 8.14512777, 30.69836135]


def statistics():
    yield CashStatistic(COUNTS, ALPHA * OFF + 0.1)
    yield CashStatistic(COUNTS, ALPHA * OFF + 0.1, WEIGHTS, with_constants=True)
    yield CashStatistic(COUNTS, ALPHA * OFF + 0.1, WEIGHTS)
    yield WStatistic(COUNTS, OFF, ALPHA)
    yield WStatistic(COUNTS, OFF, ALPHA, WEIGHTS)
    yield ChiSquare(COUNTS, np.sqrt(COUNTS + 1), ALPHA * OFF)
    yield ChiSquare(COUNTS, np.sqrt(COUNTS + 1), ALPHA * OFF, WEIGHTS)


def test_numbers_of_gammapy():
    np.testing.assert_allclose(WStatistic(COUNTS, OFF, ALPHA).per_bin(SIGNAL), GAMMAPY_WSTAT, rtol=1e-7)
    np.testing.assert_allclose(CashStatistic(COUNTS, ALPHA * OFF).per_bin(SIGNAL), GAMMAPY_CASH, rtol=1e-7)
    cstat = CashStatistic(COUNTS, np.full(7, 0.1), with_constants=True)
    np.testing.assert_allclose(cstat.per_bin(SIGNAL), GAMMAPY_CSTAT, rtol=1e-7)


def test_cash_is_the_poisson_likelihood():
    known = ALPHA * OFF + 0.1
    mu = SIGNAL + known
    log_likelihood = poisson.logpmf(COUNTS, mu)
    other = 2.0 * mu
    cash = CashStatistic(COUNTS, known)
    difference = cash.per_bin(SIGNAL) - cash.per_bin(other - known)
    np.testing.assert_allclose(difference, -2 * (log_likelihood - poisson.logpmf(COUNTS, other)), atol=1e-12)


def test_cstat_is_zero_for_a_perfect_model_and_the_likelihood_ratio_elsewhere():
    n = np.array([1.0, 5.0, 100.0])
    statistic = CashStatistic(n, np.zeros(3), with_constants=True)
    assert statistic.deviance(n) == pytest.approx(0.0, abs=1e-12)
    ratio = -2 * (poisson.logpmf(n, n + 2) - poisson.logpmf(n, n))
    # scipy takes the difference of two numbers of order 300
    np.testing.assert_allclose(statistic.per_bin(n + 2), ratio, atol=1e-12)


def test_wstat_is_the_profile_over_the_background():
    for n, m, a, s, found in zip(
        COUNTS, OFF, ALPHA, SIGNAL, WStatistic(COUNTS, OFF, ALPHA).per_bin(SIGNAL), strict=True
    ):

        def ratio(b, n=n, m=m, a=a, s=s):
            best = poisson.logpmf(n, n) + poisson.logpmf(m, m)
            return -2 * (poisson.logpmf(n, s + a * b) + poisson.logpmf(m, b) - best)

        brute = min(
            minimize_scalar(ratio, bounds=(1e-12, 60), method="bounded", options={"xatol": 1e-10}).fun, ratio(1e-12)
        )
        assert found == pytest.approx(brute, abs=1e-8)


def test_chi_square_is_the_gaussian_likelihood():
    error = np.sqrt(COUNTS + 1)
    statistic = ChiSquare(COUNTS, error, ALPHA * OFF)
    expected = -2 * (norm.logpdf(COUNTS, SIGNAL + ALPHA * OFF, error) - norm.logpdf(0, 0, error))
    np.testing.assert_allclose(statistic.per_bin(SIGNAL), expected, atol=1e-12)


@pytest.mark.parametrize("statistic", list(statistics()), ids=lambda s: f"{s.name}-{s.weights is not None}")
def test_deviance_and_constant_are_the_sum_of_the_bins(statistic):
    total = statistic.deviance(SIGNAL) + statistic.constant
    assert total == pytest.approx(statistic.per_bin(SIGNAL).sum(), rel=1e-12)


@pytest.mark.parametrize("statistic", list(statistics()), ids=lambda s: f"{s.name}-{s.weights is not None}")
def test_derivative_against_differences(statistic):
    signal = SIGNAL + 0.2
    step = 1e-5
    expected = [
        (statistic.deviance(signal + d) - statistic.deviance(signal - d)) / (2 * step) for d in step * np.eye(7)
    ]
    np.testing.assert_allclose(statistic.derivative(signal), expected, atol=1e-7)


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.floats(1e-3, 10), st.floats(0, 1e3)),
        min_size=1,
        max_size=6,
    )
)
def test_the_fast_wstat_is_that_of_the_kernel(bins):
    on, off, alpha, signal = (np.array(v, float) for v in zip(*bins, strict=True))
    statistic = WStatistic(on, off, alpha)
    assert statistic.deviance(signal) == pytest.approx(statistic.per_bin(signal).sum(), rel=1e-9, abs=1e-9)


def test_a_negative_signal_is_possible_where_counts_are():
    statistic = WStatistic(COUNTS, OFF, ALPHA)
    signal = -0.1 * ALPHA * OFF
    assert statistic.deviance(signal) == pytest.approx(statistic.per_bin(signal).sum(), rel=1e-12)
    assert np.isfinite(statistic.deviance(signal - 0.01))


def test_predictions_below_zero_are_cut_off_as_the_field_does():
    statistic = CashStatistic(np.array([0.0, 2.0]), np.zeros(2))
    # an empty bin costs nothing, a count 2 * 25 ln 10
    assert statistic.deviance(np.array([-1.0, -1.0])) + statistic.constant == pytest.approx(2 * 2 * 25 * np.log(10))
    np.testing.assert_array_equal(statistic.derivative(np.array([-1.0, -1.0])), [0.0, 0.0])


@pytest.mark.parametrize("kind", [CashStatistic, WStatistic])
def test_small_changes_show_beside_a_billion_counts(kind):
    n = np.full(1000, 1e6)
    statistic = CashStatistic(n, np.zeros(1000)) if kind is CashStatistic else WStatistic(n, 0 * n, 0 * n + 1)
    # a relative shift of e in all bins raises the statistic by sum(n) e^2
    rise = statistic.deviance(n * (1 + 1e-6)) - statistic.deviance(n)
    assert rise == pytest.approx(1e9 * 1e-12, rel=1e-3)
