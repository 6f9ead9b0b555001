"""Norms at every pixel against a brute-force minimiser of Cash, window by window; kernels of pixels, peaks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.ndimage import maximum_filter
from scipy.optimize import brentq, minimize_scalar
from scipy.special import erf

from xgamma.kernels.convolve import disc_kernel
from xgamma.kernels.stats import TRUNCATION
from xgamma.kernels.ts_fit import Signal, TSSettings, fit_window, window_sum
from xgamma.kernels.ts_peaks import find_maxima, fit_maxima
from xgamma.kernels.ts_psf import disc_areas, radial_kernel

ALL = TSSettings(("errn-errp", "ul", "scan"), 1.0, 2.0, (-0.5, 0.0, 0.7, 3.0))


def window_of(arrays, kernel, y, x):
    """Voxels and signal in the window of a pixel, cut at the edge of the map; written without any of the code."""
    ky, kx = kernel.shape[1:]
    counts = arrays["counts"]
    rows = [r for r in range(y - ky // 2, y + ky // 2 + 1) if 0 <= r < counts.shape[1]]
    columns = [c for c in range(x - kx // 2, x + kx // 2 + 1) if 0 <= c < counts.shape[2]]
    n, b, s = [], [], []
    for e in range(len(counts)):
        for r in rows:
            for c in columns:
                if arrays["mask"][e, r, c]:
                    n.append(counts[e, r, c])
                    b.append(arrays["background"][e, r, c])
                    at = arrays["exposure"][e, y, x] if arrays["at_source"] else arrays["exposure"][e, r, c]
                    s.append(kernel[e, r - y + ky // 2, c - x + kx // 2] * at)
    return np.array(n), np.array(b), np.array(s)


def half_cash(norm, n, b, s):
    """Half of Cash; where there are counts a prediction that is not positive is impossible."""
    mu = b + norm * s
    some = n > 0
    if (mu[some] <= 0).any():
        return np.inf
    return np.maximum(mu, TRUNCATION).sum() - (n[some] * np.log(mu[some])).sum()


def brute_force(n, b, s):
    """Best norm, TS, error bars and upper limit by scipy alone."""
    f = lambda a: half_cash(a, n, b, s)  # noqa: E731
    some = (n > 0) & (s > 0)
    pole = (-b[some] / s[some]).max()
    top = n.sum() / s[s > 0].sum() * 3 + 10 / s.sum() + abs(pole) * 3
    low = pole + 1e-13 * max(1.0, abs(pole))
    best = minimize_scalar(f, bounds=(low, top), method="bounded", options={"xatol": 1e-13, "maxiter": 2000}).x
    low_side = (
        brentq(lambda a: f(a) - f(best) - 0.5, pole + 1e-15 * abs(pole) + 1e-300, best)
        if f(low) > f(best) + 0.5
        else None
    )
    high = lambda rise: brentq(lambda a: f(a) - f(best) - rise, best, best + 100 * top)  # noqa: E731
    return {
        "norm": best,
        "ts": 2 * (f(0.0) - f(best)),
        "stat_null": 2 * f(0.0),
        "norm_errn": None if low_side is None else best - low_side,
        "norm_errp": high(0.5) - best,
        "norm_ul": high(2.0),
    }


def simulate(seed, bins=3, shape=(24, 31), level=0.2, at_source=False, masked=0.0):
    rng = np.random.default_rng(seed)
    background = level * rng.uniform(0.3, 2.0, (bins, *shape)) * np.geomspace(1, 0.05, bins)[:, None, None]
    exposure = rng.uniform(0.8, 1.2, (bins, *shape)) * np.geomspace(6, 0.5, bins)[:, None, None]
    g = [np.exp(-0.5 * (np.arange(-4, 5) / w) ** 2) for w in np.linspace(2.2, 0.9, bins)]
    kernel = np.stack([np.outer(v, v) / np.outer(v, v).sum() for v in g])
    lam = background.copy()
    if min(shape) > 17:
        lam[:, 6:15, 8:17] += 4 * kernel * np.geomspace(6, 0.5, bins)[:, None, None]
    mask = rng.uniform(size=(bins, *shape)) >= masked
    return {
        "counts": rng.poisson(lam).astype(float),
        "background": background,
        "exposure": exposure,
        "mask": mask,
        "at_source": at_source,
    }, kernel


def fit(arrays, kernel, inner=None, options=ALL, threads=1):
    inner = inner or tuple(slice(0, n) for n in arrays["counts"].shape[1:])
    exposure = arrays["exposure"]
    signal = (
        Signal(kernel, exposure[(slice(None), *inner)], None) if arrays["at_source"] else Signal(kernel, None, exposure)
    )
    return fit_window(arrays["counts"], arrays["background"], arrays["mask"], signal, inner, options, threads)


@pytest.mark.parametrize("at_source", [True, False])
@pytest.mark.parametrize(("level", "masked"), [(0.2, 0.0), (0.02, 0.3), (3.0, 0.1), (0.3, 0.9)])
def test_every_kind_of_pixel_is_a_minimum(at_source, level, masked):
    arrays, kernel = simulate(5, level=level, at_source=at_source, masked=masked)
    maps = fit(arrays, kernel)
    rng = np.random.default_rng(2)
    pixels = [(0, 0), (23, 30), (0, 15), (10, 12), (12, 0), *rng.integers((0, 0), (24, 31), (35, 2)).tolist()]
    compared = negative = 0
    for y, x in pixels:
        if not arrays["mask"][:, y, x].any():
            assert np.isnan(maps["norm"][y, x])
            continue
        n, b, s = window_of(arrays, kernel, y, x)
        assert maps["counts"][y, x] == n.sum()
        assert maps["npred"][y, x] == pytest.approx(b.sum() + maps["norm"][y, x] * s.sum(), rel=1e-10)
        if not n[s > 0].sum():
            continue
        expected = brute_force(n, b, s)
        scale = maps["norm_err"][y, x]
        assert maps["norm"][y, x] == pytest.approx(expected["norm"], abs=2e-6 * scale), (y, x)
        # what the minimiser found is never better
        assert maps["ts"][y, x] >= expected["ts"] - 1e-9
        assert maps["ts"][y, x] == pytest.approx(expected["ts"], abs=1e-6)
        assert maps["stat_null"][y, x] == pytest.approx(expected["stat_null"], rel=1e-12)
        for name in ("norm_errn", "norm_errp", "norm_ul"):
            if expected[name] is not None:
                assert maps[name][y, x] == pytest.approx(expected[name], rel=1e-5, abs=2e-6 * scale), (name, y, x)
        for j, norm in enumerate(ALL.scan):
            value = 2 * half_cash(norm, n, b, s)
            assert maps[f"stat_scan_{j}"][y, x] == (
                value if np.isinf(value) else pytest.approx(value, rel=1e-9, abs=1e-9)
            )
        compared += 1
        negative += expected["norm"] < 0
    assert compared > 5
    assert negative > 1


def test_error_of_curvature_is_that_of_numerical_derivatives():
    arrays, kernel = simulate(1)
    maps = fit(arrays, kernel)
    n, b, s = window_of(arrays, kernel, 10, 12)
    best, h = maps["norm"][10, 12], 1e-4 * maps["norm_err"][10, 12] ** 0
    curvature = (half_cash(best + h, n, b, s) - 2 * half_cash(best, n, b, s) + half_cash(best - h, n, b, s)) / h**2
    assert maps["norm_err"][10, 12] == pytest.approx(1 / np.sqrt(curvature), rel=1e-4)


def test_windows_without_counts_have_their_lowest_norm_and_a_limit():
    arrays, kernel = simulate(3, at_source=True)
    arrays["counts"][:] = 0
    maps = fit(arrays, kernel)
    for y, x in [(0, 0), (11, 14), (23, 30)]:
        _, b, s = window_of(arrays, kernel, y, x)
        lowest = -(b / s).min()
        assert maps["norm"][y, x] == pytest.approx(lowest, rel=1e-12)
        assert maps["ts"][y, x] == pytest.approx(-2 * lowest * s.sum(), rel=1e-10)
        assert maps["norm_ul"][y, x] == pytest.approx(2.0 / s.sum(), rel=1e-10)
        assert maps["norm_errn"][y, x] == 0
        assert maps["norm_errp"][y, x] > 0


def test_no_background_and_no_signal():
    arrays, kernel = simulate(4)
    arrays["background"][:, 10:14, 10:14] = 0.0
    arrays["counts"][:, 12, 12] = 2.0
    arrays["exposure"][:, :, 24:] = 0.0
    maps = fit(arrays, kernel)
    # counts without background are impossible without a source: TS is that of the truncated statistic, and finite
    assert np.isfinite(maps["ts"][:, :24]).all()
    n, b, s = window_of(arrays, kernel, 12, 12)
    best = maps["norm"][12, 12]
    mu = np.maximum(b, TRUNCATION)
    null = mu.sum() - (n * np.log(mu)).sum()
    assert maps["ts"][12, 12] == pytest.approx(2 * (null - half_cash(best, n, b, s)), rel=1e-9)
    # a source whose window sees no exposure is not fitted
    assert np.isnan(maps["norm"][:, 29:]).all()


def test_rows_in_threads_and_parts_of_a_window_are_the_same():
    arrays, kernel = simulate(6, masked=0.2)
    whole = fit(arrays, kernel)
    threads = fit(arrays, kernel, threads=3)
    part = {n: v[:, 3:24, 2:25] if isinstance(v, np.ndarray) else v for n, v in arrays.items()}
    piece = fit(part, kernel, inner=(slice(4, 17), slice(4, 19)))
    for name in ALL.names:
        np.testing.assert_array_equal(threads[name], whole[name], err_msg=name)
        expected = whole[name][7:20, 6:21]
        np.testing.assert_allclose(piece[name], expected, rtol=1e-10, atol=1e-10, err_msg=name)


@given(st.integers(0, 10_000), st.sampled_from([0.003, 0.03, 0.3]))
@settings(max_examples=25)
def test_no_norm_is_better(seed, level):
    arrays, kernel = simulate(seed, bins=2, shape=(7, 8), level=level, masked=0.2)
    maps = fit(arrays, kernel, options=TSSettings())
    rng = np.random.default_rng(seed)
    y, x = rng.integers(7), rng.integers(8)
    n, b, s = window_of(arrays, kernel, y, x)
    if np.isnan(maps["norm"][y, x]) or not n[s > 0].sum():
        return
    best = maps["norm"][y, x]
    at_best = half_cash(best, n, b, s)
    for step in maps["norm_err"][y, x] * np.array([-1.0, -0.1, -1e-2, -1e-4, 1e-4, 1e-2, 0.1, 1.0]):
        assert half_cash(best + step, n, b, s) >= at_best - 1e-11 * abs(at_best)


def test_sums_over_windows():
    rng = np.random.default_rng(0)
    plane = rng.uniform(size=(9, 12))
    sums = window_sum(plane, (2, 3), (slice(1, 8), slice(0, 12)))
    for y in range(1, 8):
        for x in range(12):
            expected = plane[max(0, y - 2) : y + 3, max(0, x - 3) : x + 4].sum()
            assert sums[y - 1, x] == pytest.approx(expected, rel=1e-13)


def test_areas_of_discs_in_pixels():
    radius = np.array([0.03, 0.11, 0.24, 0.5])
    areas = disc_areas(radius, (3, 2), (0.1, 0.15))
    for k, r in enumerate(radius):
        for j in range(4):
            for i in range(3):
                y0, x0 = (j - 0.5) * 0.1, (i - 0.5) * 0.15
                x = x0 + 0.15 * (np.arange(20000) + 0.5) / 20000
                height = np.sqrt(np.maximum(r * r - x * x, 0))
                expected = np.maximum(np.minimum(height, y0 + 0.1) - np.maximum(-height, y0), 0).mean() * 0.15
                assert areas[k, j, i] == pytest.approx(expected, abs=3e-8)


@pytest.mark.parametrize("pixel", [0.02, 0.05, 0.1])
def test_a_gaussian_on_pixels(pixel):
    sigma, edges = 0.07, np.linspace(0, 0.66, 67)
    centers = 0.5 * (edges[1:] + edges[:-1])
    half = int(0.3 / pixel)
    kernel = radial_kernel(np.exp(-0.5 * (centers / sigma) ** 2)[None], centers, edges, (half, half), (pixel, pixel))[0]
    line = np.diff(0.5 * erf((np.arange(-half, half + 2) - 0.5) * pixel / sigma / np.sqrt(2)))
    np.testing.assert_allclose(kernel, np.outer(line, line), atol=5e-4 * line.max() ** 2)
    assert kernel.sum() == pytest.approx(line.sum() ** 2, abs=5e-6)


def test_a_steep_function_against_adaptive_integration():
    edges = np.linspace(0, 0.4, 81)
    centers = 0.5 * (edges[1:] + edges[:-1])
    king = lambda r: (1 + r**2 / 0.02**2) ** -1.8  # noqa: E731
    kernel = radial_kernel(king(centers)[None], centers, edges, (2, 2), (0.1, 0.1), normalise=False)[0]
    for j, i in [(2, 2), (2, 3), (3, 4)]:
        y, x = (j - 2.5) * 0.1, (i - 2.5) * 0.1
        exact = dblquad(lambda b, a: king(np.hypot(a, b)), x, x + 0.1, y, y + 0.1, epsabs=1e-12)[0] * np.deg2rad(1) ** 2
        assert kernel[j, i] == pytest.approx(exact, rel=2e-3)


@given(st.integers(0, 1000), st.floats(1.0, 4.2))
@settings(max_examples=30)
def test_maxima_are_those_of_a_filter(seed, radius):
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(25, 32))
    footprint = disc_kernel(radius) > 0
    expected = (maximum_filter(plane, footprint=footprint, mode="constant", cval=-np.inf) == plane) & (plane >= 1.0)
    np.testing.assert_array_equal(find_maxima(plane, 1.0, footprint), expected)


def test_equal_pixels_have_one_maximum():
    plane = np.zeros((9, 9))
    plane[3:6, 3:6] = 7.0
    found = find_maxima(plane, 5.0, disc_kernel(4.0) > 0)
    assert found.sum() == 1
    assert found[3, 3]
    assert find_maxima(np.full((3, 3), np.nan), -np.inf, disc_kernel(1.0) > 0).sum() == 0


def test_paraboloids():
    y, x = np.mgrid[-4:5, -4:5]
    plane = 30 - 0.5 * (1.2 * (y - 0.3) ** 2 + 0.6 * (x + 0.4) ** 2 + 2 * 0.25 * (y - 0.3) * (x + 0.4))
    dy, dx, *variances = (v[4, 4] for v in fit_maxima(plane))
    assert (dy, dx) == (pytest.approx(0.3), pytest.approx(-0.4))
    expected = 2 * np.linalg.inv([[1.2, 0.25], [0.25, 0.6]])
    assert variances == pytest.approx([expected[0, 0], expected[0, 1], expected[1, 1]])
    saddle = fit_maxima(y**2 - x**2.0)
    assert np.isnan(saddle[0]).all()
