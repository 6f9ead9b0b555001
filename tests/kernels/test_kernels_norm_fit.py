"""The norm of a signal: against brute force, closed forms of one bin, iminuit, and gammapy's points of the Crab."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from xgamma.kernels.limits import (
    cash_errors,
    cash_sensitivity,
    cash_upper_limit,
    wstat_errors,
    wstat_sensitivity,
    wstat_upper_limit,
)
from xgamma.kernels.norm_fit import fit_norm
from xgamma.kernels.norm_limits import limit_from_scan, norm_sensitivity, scan_norm
from xgamma.kernels.norm_problem import (
    cash_problem,
    join_problems,
    norm_predictions,
    norm_statistic,
    wstat_problem,
    wstat_state,
)
from xgamma.kernels.stats import cash, cash_excess, li_ma_significance, wstat, wstat_excess, wstat_predictions


def poisson(n, mu):
    """Half of Cash, from its definition; a prediction that is not positive gives infinity, without counts zero."""
    if n == 0:
        return max(mu, 0.0)
    return mu - n * np.log(mu) if mu > 0 else np.inf


def on_off(n, off, alpha, signal):
    """Half of the joint statistic of two counts with the background that fits best, tried out among all candidates."""
    roots = np.roots([alpha * (alpha + 1), (1 + alpha) * signal - alpha * (n + off), -off * signal])
    edge = max(0.0, -signal / alpha)
    candidates = [max(float(np.real(r)), edge) for r in roots] + [edge]

    def nll(b):
        on = signal + alpha * b
        if abs(on) < 1e-12 * (abs(signal) + alpha * b):
            on = 0.0  # the edge, up to rounding
        return poisson(n, on) + poisson(off, b)

    return min(nll(b) for b in candidates)


def brute_force(bins):
    """Half of the statistic as a function of the norm, of bins (n, off, alpha, other, shape)."""

    def half(norm):
        return sum(on_off(n, off, a, e + norm * s) if a > 0 else poisson(n, e + norm * s) for n, off, a, e, s in bins)

    return half


def problem_of(bins):
    n, off, a, e, s = np.array(bins, dtype=float).T
    return wstat_problem(n, off, a, s, other=e)


counts = st.integers(0, 12).map(float)
shapes = st.floats(0.05, 5.0)
cash_bin = st.tuples(counts, st.just(0.0), st.just(0.0), st.floats(0.01, 8.0), shapes)
wstat_bin = st.tuples(counts, counts, st.floats(0.02, 2.0), st.just(0.0), shapes)
wstat_bin_other = st.tuples(counts, counts, st.floats(0.02, 2.0), st.floats(0.0, 3.0), shapes)


def check_against_brute_force(bins):
    fit = fit_norm(problem_of(bins))
    half = brute_force(bins)
    best = float(fit.norm)
    assert fit.success
    minimum = half(best)
    # nothing near or far lies lower
    for step in (1e-5, 1e-3, 0.05, 0.5, 3.0, 20.0):
        assert half(best + step) >= minimum - 1e-9
        assert half(best - step) >= minimum - 1e-9
    found = minimize_scalar(
        lambda norm: min(half(norm), 1e6), bounds=(best - 1.0, best + 1.0), method="bounded", options={"xatol": 1e-10}
    )
    assert found.fun >= minimum - 1e-9
    for distance, sign, rise in ((fit.norm_errp, 1, 0.5), (fit.norm_errn, -1, 0.5), (fit.norm_ul - best, 1, 2.0)):
        assert np.isfinite(distance)
        if half(best + sign * distance) == np.inf:  # the pole rises within the last digits
            continue
        assert half(best + sign * float(distance)) - minimum == pytest.approx(rise, rel=1e-6, abs=1e-8)


def has_minimum(bins):
    return any(n > 0 or a > 0 for n, _, a, _, _ in bins)


@settings(max_examples=150, deadline=None)
@given(st.lists(cash_bin, min_size=1, max_size=6).filter(has_minimum))
def test_cash_bins_reach_the_minimum_of_brute_force(bins):
    check_against_brute_force(bins)


@settings(max_examples=150, deadline=None)
@given(st.lists(wstat_bin, min_size=1, max_size=6))
def test_wstat_bins_reach_the_minimum_of_brute_force(bins):
    check_against_brute_force(bins)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(cash_bin, wstat_bin_other), min_size=1, max_size=6).filter(has_minimum))
def test_mixed_bins_reach_the_minimum_of_brute_force(bins):
    check_against_brute_force(bins)


@settings(max_examples=200, deadline=None)
@given(counts, counts, st.floats(0.01, 5.0), st.floats(-30.0, 30.0))
def test_the_fast_background_is_that_of_the_statistic(n, off, alpha, signal):
    on, background = wstat_state(*(np.array([v]) for v in (n, off, alpha, signal)))
    expected_on, expected_off = wstat_predictions(*(np.array([v]) for v in (n, off, alpha, signal)))
    np.testing.assert_allclose(on, expected_on, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(background, alpha * expected_off, rtol=1e-12, atol=1e-13)


def test_one_cash_bin_is_the_closed_form():
    n, b, s = np.arange(9.0), np.full(9, 2.5), 3.0
    fit = fit_norm(cash_problem(n[:, None], b[:, None], np.full((9, 1), s)), n_sigma=1.5, n_sigma_ul=3)
    np.testing.assert_allclose(fit.norm, (n - b) / s, rtol=1e-12)
    errn, errp = cash_errors(n, 1.5)
    np.testing.assert_allclose(fit.norm_errn, errn / s, rtol=1e-10)
    np.testing.assert_allclose(fit.norm_errp, errp / s, rtol=1e-10)
    np.testing.assert_allclose(fit.norm_ul, cash_upper_limit(n, b, 3) / s, rtol=1e-10)
    np.testing.assert_allclose(fit.norm_err[1:], 1.5 * np.sqrt(n[1:]) / s, rtol=1e-12)
    assert np.isnan(fit.norm_err[0])
    excess = cash_excess(n, b)
    np.testing.assert_allclose(fit.sqrt_ts, excess.sqrt_ts, rtol=1e-12)
    np.testing.assert_allclose(fit.stat, np.where(n > 0, cash(n, n), 0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(fit.stat_null, cash(n, b), rtol=1e-12)
    np.testing.assert_allclose(
        norm_sensitivity(cash_problem(n[:, None], b[:, None], np.full((9, 1), s)), 4), cash_sensitivity(b, 4) / s
    )


def test_one_wstat_bin_is_the_closed_form():
    n, off = (v.ravel() for v in np.meshgrid(np.arange(5.0), np.arange(5.0)))
    alpha, s = np.full(25, 0.3), 2.0
    problem = wstat_problem(n[:, None], off[:, None], alpha[:, None], np.full((25, 1), s))
    fit = fit_norm(problem)
    best = wstat_excess(n, off, alpha)
    np.testing.assert_allclose(fit.norm, best.excess / s, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fit.sqrt_ts, li_ma_significance(n, off, alpha), rtol=1e-9, atol=1e-9)
    errn, errp = wstat_errors(n, off, alpha)
    np.testing.assert_allclose(fit.norm_errn, errn / s, rtol=1e-9)
    np.testing.assert_allclose(fit.norm_errp, errp / s, rtol=1e-9)
    np.testing.assert_allclose(fit.norm_ul, wstat_upper_limit(n, off, alpha) / s, rtol=1e-9)
    np.testing.assert_allclose(norm_sensitivity(problem), wstat_sensitivity(off, alpha) / s, rtol=1e-9)
    # where only one of the counts is there the other's prediction has no curvature
    curved = (n > 0) | (off > 0)
    np.testing.assert_allclose(fit.norm_err[curved], best.error[curved] / s, rtol=1e-9)
    np.testing.assert_array_equal(fit.corner, ~curved)


def test_proportional_background_is_the_closed_form_of_the_sum():
    rng = np.random.default_rng(3)
    s = rng.uniform(0.1, 2, 27)
    n = rng.poisson(1.7 * s, (50, 27)).astype(float)
    fit = fit_norm(cash_problem(n, 0.7 * s, s))
    np.testing.assert_allclose(fit.norm, (n.sum(1) - 0.7 * s.sum()) / s.sum(), rtol=1e-12)
    np.testing.assert_allclose(fit.norm_ul, cash_upper_limit(n.sum(1), 0.7 * s.sum()) / s.sum(), rtol=1e-10)


@pytest.mark.parametrize("kind", ["cash", "wstat"])
def test_migrad_hesse_and_minos_find_the_same(kind):
    minuit = pytest.importorskip("iminuit").Minuit
    rng = np.random.default_rng(11)
    s, b, a = rng.uniform(0.5, 3, 8), rng.uniform(0.5, 3, 8), np.full(8, 0.25)
    n, off = rng.poisson(b + s).astype(float), rng.poisson(b / a).astype(float)
    problem = cash_problem(n, b, s) if kind == "cash" else wstat_problem(n, off, a, s)

    def stat(norm):
        return np.sum(cash(n, b + norm * s) if kind == "cash" else wstat(n, off, a, norm * s))

    m = minuit(stat, norm=0.8)
    m.errordef, m.tol, m.strategy = 1, 1e-6, 2
    m.migrad()
    m.hesse()
    m.minos()
    fit = fit_norm(problem)
    assert fit.norm == pytest.approx(m.values[0], abs=1e-4 * m.errors[0])  # migrad stops there
    assert fit.norm_err == pytest.approx(m.errors[0], rel=2e-4)
    assert -fit.norm_errn == pytest.approx(m.merrors[0].lower, rel=1e-3)
    assert fit.norm_errp == pytest.approx(m.merrors[0].upper, rel=1e-3)
    assert fit.stat == pytest.approx(m.fval, abs=1e-8)


#: counts, counts_off, 1 / alpha and signal of bins of the Crab spectra of the H.E.S.S. release, their flux points with
#: gammapy 2.1: FluxPointsEstimator(energy_edges=geomspace(0.7, 30, 11) TeV, selection_optional="all"), best joint fit
CRAB = {
    "bright": (
        [30, 13, 13, 16, 19, 15, 17, 18],
        [13, 14, 16, 9, 35, 30, 42, 36],
        [12, 12, 12, 12, 41, 41, 36, 36],
        [
            22.428143425681494, 18.183249736779317, 23.15183150841687, 19.08733475870357,
            15.74146877235439, 12.690298262240486, 16.295631751334227, 12.683426359221206,
        ],
        {"norm": 0.9472109688292925, "err": 0.0847844610060813, "errn": 0.08243302882163822,
         "errp": 0.08717040252779942, "ul": 1.1263914031616533, "ts": 449.77006298270834, "stat": 12.648710640746387},
        [182.60313205804152, 13.023358421662095, 693.6532636094475],
    ),
    "faint": (
        [8, 2, 3, 2],
        [9, 9, 3, 6],
        [12, 12, 41, 36],
        [6.493593033730647, 6.389040747940648, 3.7532599996778515, 3.951949543057659],
        {"norm": 0.6419640265389287, "err": 0.18886030010873375, "errn": 0.17315807301727715,
         "errp": 0.20528446062849684, "ul": 1.0866780515145986, "ts": 36.23450432700881, "stat": 4.034742651603363},
        [13.593956192507651, 6.772371410732481, 125.091893518126],
    ),
    # gammapy stops at 4.7e-6 with an error of 0.0027: a parabola does not describe the corner
    "without counts": (
        [0] * 8,
        [0, 1, 0, 0, 3, 2, 2, 2],
        [12, 12, 12, 12, 41, 41, 36, 36],
        [
            0.1380298459973708, 0.06260368625494564, 0.12242431387579791, 0.05354678146573248,
            0.0775305533902388, 0.03625447166044382, 0.08518367704087582, 0.03977083783009666,
        ],
        {"norm": 0.0, "err": np.nan, "errn": 0.14423620690321298, "errp": 0.8125534073375348,
         "ul": 3.250218295668772, "ts": 0.0, "stat": 0.6202527246425911},
        [0.866390391648793, 1.8509410596735951, 6.77369439979761],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CRAB)
def test_flux_points_of_the_crab_nebula(name):
    n, off, inverse, s, expected, profile = CRAB[name]
    problem = wstat_problem(np.array(n), np.array(off), 1.0 / np.array(inverse), np.array(s))
    fit = fit_norm(problem)
    assert fit.corner == (name == "without counts")
    for key, value in expected.items():
        ours = getattr(fit, "norm_" + key if key in ("err", "errn", "errp", "ul") else key)
        # gammapy's minimiser stops within 1e-4 of an error
        assert ours == pytest.approx(value, rel=5e-5, abs=1e-5, nan_ok=True), key
    np.testing.assert_allclose(scan_norm(problem, np.array([0.2, 1.0, 5.0])), profile, rtol=1e-12)


def test_bins_without_counts_give_a_finite_limit():
    s = np.array([1.0, 2.0, 4.0])
    fit = fit_norm(cash_problem(np.zeros(3), np.array([0.5, 3.0, 2.0]), s), n_sigma_ul=3)
    assert fit.success
    assert fit.norm == pytest.approx(-0.5)  # the first bin that would be predicted negative
    assert fit.norm_ul == pytest.approx(4.5 / 7)
    assert fit.norm_errn == 0.0
    assert fit.norm_errp == pytest.approx(0.5 / 7)
    fit = fit_norm(wstat_problem(np.zeros(3), np.zeros(3), np.full(3, 0.1), s))
    assert fit.corner
    assert fit.norm == 0.0
    assert fit.norm_ul == pytest.approx(2.0 / 7)
    assert fit.norm_errn == pytest.approx(0.05 / 7)


def test_a_corner_stops_a_deficit():
    # the second bin is empty: below norm zero its off region would have to hold background
    fit = fit_norm(
        wstat_problem(np.array([1.0, 0.0]), np.array([20.0, 0.0]), np.array([0.1, 0.1]), np.array([1.0, 1.0]))
    )
    assert fit.corner
    assert fit.norm == 0.0
    alone = fit_norm(wstat_problem(np.array([1.0]), np.array([20.0]), np.array([0.1]), np.array([1.0])))
    assert alone.norm == pytest.approx(-1.0)
    # with other sources the corner lies where the whole signal is zero
    shifted = fit_norm(
        wstat_problem(np.zeros(2), np.array([20.0, 0.0]), np.array([0.1, 0.1]), np.array([1.0, 2.0]), other=0.3)
    )
    assert shifted.corner
    assert shifted.norm == pytest.approx(-0.15)


def test_an_empty_cash_bin_is_predicted_zero_at_most():
    # the fit of the first bin alone; the empty one has no say where it would be negative
    fit = fit_norm(cash_problem(np.array([2.0, 0.0]), np.array([3.0, 0.01]), np.array([1.0, 1.0])))
    assert fit.norm == pytest.approx(-1.0)
    half = fit_norm(cash_problem(np.array([5.0, 0.0]), np.array([5.5, 0.01]), np.array([1.0, 1.0])))
    assert half.norm == pytest.approx(-0.5)
    kink = fit_norm(cash_problem(np.array([5.0, 0.0]), np.array([4.5, 0.2]), np.array([1.0, 3.0])))
    assert kink.corner
    assert kink.norm == pytest.approx(-0.2 / 3)


def test_masked_and_padded_bins_do_not_count():
    n, b, s = np.array([[4.0, np.nan, 7.0]]), np.array([[1.0, 1.0, np.nan]]), np.array([[2.0, 5.0, 3.0]])
    mask = np.array([[True, False, False]])
    fit = fit_norm(cash_problem(n, b, s, mask))
    assert fit.norm == pytest.approx([1.5])
    assert fit.stat[0] == pytest.approx(float(cash(4.0, 4.0)))
    on_off_fit = fit_norm(wstat_problem(n, n, 0.5 * s, s, mask=mask))
    assert on_off_fit.norm == pytest.approx([(4 - 4.0) / 2])


def test_a_fit_of_nothing_fails():
    zero, one = np.zeros(2), np.ones(2)
    for problem in (
        cash_problem(one, one, zero),
        cash_problem(one, one, one, np.array([False, False])),
        cash_problem(np.array([1.0, np.nan]), one, one),
        cash_problem(-one, one, one),
        cash_problem(one, one, -one),
        wstat_problem(one, -one, one, one),
        wstat_problem(one, one, np.array([np.inf, 1.0]), one),
        wstat_problem(one, one, one, zero),
    ):
        fit = fit_norm(problem)
        assert not fit.success
        assert not fit.corner
        for name in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "stat", "ts"):
            assert np.isnan(getattr(fit, name)), name
        assert np.isnan(norm_sensitivity(problem))


def test_good_fits_stand_beside_bad_ones_in_any_shape():
    rng = np.random.default_rng(5)
    n, b, s = rng.poisson(3.0, (3, 4, 6)).astype(float), np.full((3, 4, 6), 2.0), rng.uniform(0.1, 1, (3, 4, 6))
    n[1, 2, 3] = np.nan
    fit = fit_norm(cash_problem(n, b, s))
    assert fit.norm.shape == (3, 4)
    assert (~fit.success).sum() == 1
    one = fit_norm(cash_problem(n[2, 1], b[2, 1], s[2, 1]))
    for name in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "stat"):
        assert getattr(fit, name)[2, 1] == pytest.approx(float(getattr(one, name)), rel=1e-12)


def test_a_mixture_is_the_sum_of_its_statistics():
    first = cash_problem(np.array([[3.0, 0.0]]), np.array([[1.0, 0.5]]), np.array([[2.0, 1.0]]))
    second = wstat_problem(np.array([4.0]), np.array([6.0]), np.array([0.3]), np.array([1.5]))
    both = join_problems([first, second])
    fit = fit_norm(both)
    assert fit.stat == pytest.approx(norm_statistic(first, fit.norm) + norm_statistic(second, fit.norm))
    norm = np.linspace(-0.3, 3, 7)
    expected = cash(3.0, 1 + 2 * norm) + cash(0.0, 0.5 + norm) + wstat(4.0, 6.0, 0.3, 1.5 * norm)
    np.testing.assert_allclose(scan_norm(both, norm)[0], expected)
    npred, excess, background = norm_predictions(both, np.array([1.0]))
    np.testing.assert_allclose(npred[0, :2], [3.0, 1.5])
    np.testing.assert_allclose(npred[0, 2], wstat_predictions(4.0, 6.0, 0.3, 1.5)[0])
    np.testing.assert_allclose(excess, [[2.0, 1.0, 1.5]])
    np.testing.assert_allclose(background[0, 2], npred[0, 2] - 1.5)
    with pytest.raises(ValueError, match="different numbers of fits"):
        join_problems([cash_problem(np.ones((2, 3)), np.ones(3), np.ones(3)), cash_problem(np.ones((4, 3)), 1.0, 1.0)])
    with pytest.raises(ValueError, match="no problem"):
        join_problems([])


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_extreme_scales_of_the_signal(scale):
    rng = np.random.default_rng(9)
    s, b = rng.uniform(1, 3, 10), rng.uniform(1, 3, 10)
    n, off = rng.poisson(b + s).astype(float), rng.poisson(5 * b).astype(float)
    for make in (lambda k: cash_problem(n, b, k * s), lambda k: wstat_problem(n, off, np.full(10, 0.2), k * s)):
        one, scaled = fit_norm(make(1.0)), fit_norm(make(scale))
        for name in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul"):
            assert getattr(scaled, name) * scale == pytest.approx(float(getattr(one, name)), rel=1e-9)


def test_many_counts_keep_their_digits():
    b, s = np.array([1e9, 2e9, 5e8]), np.array([1e5, 3e5, 2e5])
    n = b + 0.01 * s
    fit = fit_norm(cash_problem(n, b, s))
    assert fit.norm == pytest.approx(0.01, rel=1e-7)
    fisher = np.sum(s**2 / n)
    assert fit.norm_errp == pytest.approx(1 / np.sqrt(fisher), rel=1e-3)
    assert fit.ts == pytest.approx(0.01**2 * fisher, rel=1e-3)


def test_a_tiny_shape_beside_a_large_one():
    n, b = np.array([3.0, 1.0, 0.0]), np.array([1.0, 0.5, 0.5])
    fit = fit_norm(cash_problem(n, b, np.array([2.0, 1e-9, 1e-9])))
    assert fit.norm == pytest.approx(1.0, rel=1e-6)
    fit = fit_norm(wstat_problem(n, np.array([4.0, 1.0, 0.0]), np.full(3, 0.25), np.array([2.0, 1e-9, 1e-9])))
    assert fit.norm == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("n_sigma", [0, -1, np.nan, np.inf])
def test_standard_deviations_must_be_positive(n_sigma):
    problem = cash_problem(np.ones(1), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="n_sigma="):
        fit_norm(problem, n_sigma=n_sigma)
    with pytest.raises(ValueError, match="n_sigma_ul="):
        fit_norm(problem, n_sigma_ul=n_sigma)
    with pytest.raises(ValueError, match="significance="):
        norm_sensitivity(problem, n_sigma)
    with pytest.raises(ValueError, match="n_sigma="):
        limit_from_scan(np.arange(3.0), np.arange(3.0), n_sigma=n_sigma)
    with pytest.raises(ValueError, match="last dimension of bins"):
        cash_problem(1.0, 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(cash_bin, wstat_bin_other), min_size=1, max_size=5), st.floats(1.0, 7.0))
def test_the_sensitivity_is_the_significance_of_its_own_counts(bins, significance):
    problem = problem_of(bins)
    norm = norm_sensitivity(problem, significance)
    _, off, a, e, s = np.array(bins, dtype=float).T
    asimov = wstat_problem(a * np.where(a > 0, off, 0) + e + norm * s, off, a, s, other=e)
    assert fit_norm(asimov).sqrt_ts == pytest.approx(significance, rel=1e-6)


def test_a_limit_from_a_fine_scan_is_that_of_the_fit():
    problem = cash_problem(np.array([[3.0, 5.0], [0.0, 1.0]]), np.full((2, 2), 1.5), np.array([2.0, 1.0]))
    fit = fit_norm(problem, n_sigma_ul=2)
    norms = np.linspace(fit.norm.min() - 0.2, 6, 2000)
    profile = scan_norm(problem, norms)
    limits, better = limit_from_scan(norms, profile), limit_from_scan(norms, profile, fit.norm, fit.stat)
    assert limits[0] == pytest.approx(fit.norm_ul[0], rel=1e-7)
    assert limits[1] == pytest.approx(fit.norm_ul[1], abs=2 * (norms[1] - norms[0]))  # a corner between two norms
    np.testing.assert_allclose(better, fit.norm_ul, rtol=1e-6)
    coarse = np.geomspace(0.2, 5, 11)
    limit = limit_from_scan(coarse, scan_norm(problem, coarse), fit.norm, fit.stat)
    np.testing.assert_allclose(limit[0], fit.norm_ul[0], rtol=5e-4)
    assert np.isnan(limit_from_scan(coarse[:6], profile[:, :6], fit.norm, fit.stat, n_sigma=20)).all()  # ends before
    assert np.isnan(limit_from_scan(norms[:2], np.zeros((1, 2)))).all()  # too few
    assert np.isnan(limit_from_scan(np.arange(5.0), np.full((1, 5), np.nan))).all()
    assert np.isnan(limit_from_scan(np.arange(5.0), -np.arange(5.0)[None])).all()  # the minimum lies at the end


def covered(fit, truth):
    return (fit.norm - fit.norm_errn <= truth) & (truth <= fit.norm + fit.norm_errp)


@pytest.mark.parametrize("kind", ["cash", "wstat"])
def test_coverage_of_two_thousand_spectra(kind):
    """1 sigma intervals hold 68 %, 95 % limits 95 %, pulls have mean 0 and width 1, within their binomial errors."""
    rng, number, truth = np.random.default_rng(20240607), 2000, 1.0
    s = 40.0 * np.geomspace(1, 0.05, 12)
    b, alpha = 10.0 * np.geomspace(1, 0.02, 12), np.full(12, 0.1)
    n = rng.poisson(b + truth * s, (number, 12)).astype(float)
    if kind == "cash":
        problem = cash_problem(n, b, s)
    else:
        problem = wstat_problem(n, rng.poisson(b / alpha, (number, 12)).astype(float), alpha, s)
    fit = fit_norm(problem, n_sigma_ul=1.6448536)  # one-sided 95 %
    pull = (fit.norm - truth) / fit.norm_err
    assert fit.success.all()
    assert abs(pull.mean()) < 3 * (1 / np.sqrt(number)) + 0.02  # the bias of a skewed likelihood: 1 / (2 sqrt(counts))
    assert pull.std() == pytest.approx(1.0, abs=3 / np.sqrt(2 * number) + 0.01)
    assert covered(fit, truth).mean() == pytest.approx(0.6827, abs=3 * np.sqrt(0.68 * 0.32 / number))
    assert (truth <= fit.norm_ul).mean() == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / number))


def test_a_root_finder_of_scipy_agrees_on_the_errors():
    bins = [(4.0, 3.0, 0.2, 0.0, 1.3), (0.0, 5.0, 0.2, 0.0, 0.7), (2.0, 0.0, 0.2, 0.4, 0.9), (1.0, 0.0, 0.0, 0.8, 0.5)]
    fit, half = fit_norm(problem_of(bins)), brute_force(bins)
    best = float(fit.norm)
    minimum = half(best)
    upper = brentq(lambda a: half(a) - minimum - 0.5, best, best + 10, xtol=1e-13)
    lower = brentq(lambda a: min(half(a), 1e3) - minimum - 0.5, -1.6 + 1e-9, best, xtol=1e-13)
    assert fit.norm_errp == pytest.approx(upper - best, rel=1e-9)
    assert fit.norm_errn == pytest.approx(best - lower, rel=1e-9)
