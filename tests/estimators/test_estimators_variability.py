"""Measures of variability against loops and gammapy's numbers."""

import dask
import numpy as np
import pytest
import xarray as xr

import xgamma as xg
from xgamma.coords.bins import bin_axis
from xgamma.estimators.correlation import discrete_correlation
from xgamma.estimators.variability import (
    bayesian_blocks,
    doubling_time,
    fractional_variance,
    point_to_point_variance,
    variability_test,
)


def make_curve(n=40, seed=1, energies=2, gap=True):
    rng = np.random.default_rng(seed)
    start = np.cumsum(rng.uniform(600, 900, n))
    time = bin_axis("time", start, start + 500, "s", interp="lin")
    energy = xg.energy_axis("1 TeV", "100 TeV", nbin=energies)
    flux = 5 + np.cumsum(rng.normal(size=(n, energies)), axis=0) * 0.5
    if gap:
        flux[5, 0] = np.nan
    curve = xr.Dataset(coords={**time.coords, **energy.coords}, attrs={"sed_type": "flux"})
    curve["flux"] = ("time", "energy"), flux, {"units": "s-1 cm-2"}
    curve["flux_err"] = ("time", "energy"), rng.uniform(0.1, 0.3, (n, energies)), {"units": "s-1 cm-2"}
    return curve


def columns(curve):
    for k in range(curve.sizes["energy"]):
        good = np.isfinite(curve.flux.values[:, k])
        yield k, curve.flux.values[good, k], curve.flux_err.values[good, k], curve.time.values[good]


def test_variances_against_a_loop():
    curve = make_curve()
    fvar, fpp = fractional_variance(curve), point_to_point_variance(curve)
    for k, f, e, _ in columns(curve):
        noise, mean = (e**2).mean(), f.mean()
        assert float(fvar.fvar[k]) == pytest.approx(np.sqrt(f.var(ddof=1) - noise) / mean)
        assert float(fpp.fpp[k]) == pytest.approx(
            np.copysign(np.sqrt(abs(0.5 * (np.diff(f) ** 2).mean() - noise)), 0.5 * (np.diff(f) ** 2).mean() - noise)
            / mean
        )
    assert (fvar.energy == curve.energy).all()


def test_numbers_of_gammapy():
    # gammapy 2.1: compute_fvar, compute_flux_doubling of these fluxes (errors 0.2, times 0, 1, ... 7 s)
    flux = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 1.5, 1.0, 2.5])
    time = bin_axis("time", np.arange(8.0) - 0.5, np.arange(8.0) + 0.5, "s", interp="lin")
    curve = xr.Dataset({"flux": ("time", flux), "flux_err": ("time", np.full(8, 0.2))}, time.coords)
    curve.attrs["sed_type"] = "flux"
    result = fractional_variance(curve)
    assert (float(result.fvar), float(result.fvar_err)) == pytest.approx((GAMMAPY["fvar"], GAMMAPY["fvar_err"]))
    fastest = doubling_time(curve)
    found = [float(fastest[n]) for n in ("doubling", "doubling_err", "halving", "halving_err")]
    assert found == pytest.approx(GAMMAPY["doubling"])
    assert (float(fastest.doubling_time), float(fastest.halving_time)) == (6.0, 4.0)


GAMMAPY = {
    "fvar": 0.570112770799,
    "fvar_err": 0.028423163629,
    "doubling": [0.756470797366, 0.177835255728, 0.575716642493, 0.06656471739],
}


def test_a_flat_curve_varies_less_than_its_errors():
    curve = make_curve()
    flat = curve.assign(flux=xr.full_like(curve.flux, 3.0))
    assert (fractional_variance(flat).fvar < 0).all()
    result = variability_test(flat)
    assert np.allclose(result.chi2, 0)
    assert np.allclose(result.p_value, 1)
    assert np.allclose(result["mean"], 3.0)
    assert np.isnan(doubling_time(flat).doubling).all()


def test_chi2_against_a_loop():
    curve = make_curve()
    result = variability_test(curve)
    for k, f, e, _ in columns(curve):
        mean = np.average(f, weights=e**-2)
        assert float(result.chi2[k]) == pytest.approx((((f - mean) / e) ** 2).sum())
        assert int(result.n_dof[k]) == f.size - 1


def test_discrete_correlation_against_a_loop():
    curve, other = make_curve(20), make_curve(15, seed=4, gap=False)
    width = 1000.0
    result = discrete_correlation(curve, other, width="1000 s")
    for k in range(2):
        scaled = []
        for c in (curve, other):
            f, e = c.flux.values[:, k], c.flux_err.values[:, k]
            scaled.append((f - np.nanmean(f)) / np.sqrt(np.nanvar(f) - np.nanmean(e**2)))
        for j, lag in enumerate(result.lag.values):
            products = [
                a * b
                for a, t in zip(scaled[0], curve.time.values, strict=True)
                for b, s in zip(scaled[1], other.time.values, strict=True)
                if lag - width / 2 <= t - s < lag + width / 2 and np.isfinite(a * b)
            ]
            assert int(result.n_pairs[j, k]) == len(products)
            if products:
                assert float(result.dcf[j, k]) == pytest.approx(np.mean(products))
            if len(products) > 1:
                error = np.sqrt(((np.array(products) - np.mean(products)) ** 2).sum()) / (len(products) - 1)
                assert float(result.dcf_err[j, k]) == pytest.approx(error)


def test_a_shift_shows_as_the_lag_of_the_peak():
    n = 60
    t = np.arange(n) * 100.0
    signal = np.exp(-0.5 * ((t - 2000) / 300) ** 2) + 0.1
    time = bin_axis("time", t - 50, t + 50, "s", interp="lin")
    curve = xr.Dataset({"flux": ("time", signal), "flux_err": ("time", np.full(n, 1e-3))}, time.coords)
    curve.attrs["sed_type"] = "flux"
    late = curve.assign(flux=("time", np.exp(-0.5 * ((t - 2500) / 300) ** 2) + 0.1))
    result = discrete_correlation(late, curve, width="100 s")
    assert float(result.lag[int(result.dcf.values.argmax())]) == 500.0


def test_blocks_find_a_step():
    rng = np.random.default_rng(0)
    time = bin_axis("time", np.arange(30.0), np.arange(1.0, 31.0), "s", interp="lin")
    flux = np.where(np.arange(30) < 12, 1.0, 2.0) + rng.normal(0, 0.1, 30)
    curve = xr.Dataset({"flux": ("time", flux), "flux_err": ("time", np.full(30, 0.1))}, time.coords)
    curve.attrs["sed_type"] = "flux"
    blocks = bayesian_blocks(curve)
    assert blocks.time_min.values.tolist() == [0.0, 12.0]
    assert blocks.n_points.values.tolist() == [12, 18]
    assert np.allclose(blocks.flux, [flux[:12].mean(), flux[12:].mean()])
    assert np.allclose(blocks.flux_err, [0.1 / 12**0.5, 0.1 / 18**0.5])
    with pytest.raises(ValueError, match="select one"):
        bayesian_blocks(make_curve())


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


@pytest.mark.parametrize(
    "measure", [fractional_variance, point_to_point_variance, doubling_time, variability_test, discrete_correlation]
)
def test_lazy_and_the_same(measure):
    curve = make_curve()
    lazy = curve.assign({n: curve[n].chunk({"time": 7, "energy": 1}) for n in ("flux", "flux_err")})
    with dask.config.set(scheduler=raising):
        result = measure(lazy)
    assert all(v.chunks is not None for v in result.data_vars.values())
    xr.testing.assert_allclose(result.compute(), measure(curve))


def test_words():
    with pytest.raises(ValueError, match="dim 'time'"):
        fractional_variance(make_curve().isel(time=0))
    with pytest.raises(ValueError, match="flux_err"):
        fractional_variance(make_curve().drop_vars("flux_err"))
    with pytest.raises(ValueError, match="positive time"):
        discrete_correlation(make_curve(), width="0 s")


def test_point_to_point_variance_has_the_half_of_the_paper():
    # white noise has the same fractional and point-to-point variance (Edelson et al. 2002): that needs the 1/2
    rng = np.random.default_rng(0)
    n = 20_000
    time = bin_axis("time", np.arange(n), np.arange(n) + 1.0, "s", interp="lin")
    flux = rng.normal(5, 1, n) + rng.normal(0, 0.5, n)
    curve = xr.Dataset({"flux": ("time", flux), "flux_err": ("time", np.full(n, 0.5))}, time.coords)
    curve.attrs["sed_type"] = "flux"
    fvar, fpp = fractional_variance(curve), point_to_point_variance(curve)
    assert float(fvar.fvar) == pytest.approx(0.2, rel=0.03)
    assert float(fpp.fpp) == pytest.approx(0.2, rel=0.03)
    # gammapy 2.1, compute_fpp of the eight fluxes above: 0.74787317, the mean squared difference without the half
    flux = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 1.5, 1.0, 2.5])
    time = bin_axis("time", np.arange(8.0), np.arange(8.0) + 1.0, "s", interp="lin")
    small = xr.Dataset({"flux": ("time", flux), "flux_err": ("time", np.full(8, 0.2))}, time.coords)
    ours = float(point_to_point_variance(small.assign_attrs(sed_type="flux")).fpp)
    mean, noise = flux.mean(), 0.04
    assert 2 * ((ours * mean) ** 2 + noise) == pytest.approx((0.74787317 * mean) ** 2 + noise, rel=1e-6)
