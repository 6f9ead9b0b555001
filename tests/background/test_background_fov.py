"""Norms of background models beside independent answers: closed forms, minimisers of scipy, gammapy's numbers."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import xgamma as xg
from xgamma.background.fov import FoVBackground, fov_background
from xgamma.background.fov_model import fov_task
from xgamma.reduction.run_norm import RunNorm

ENERGY = np.geomspace(0.2, 20, 6)
BACKGROUND = 900 * ENERGY**-1.7


def tilted(**values):
    model = xg.PowerLawNormSpectralModel(**values)
    model.tilt.frozen = False
    return model


def task(method="scale", spectral=None, min_counts=0, min_npred=0, n=6):
    return fov_task(method, spectral, min_counts, min_npred, n)


def cash(norm, tilt, counts, background, other=0.0, energy=ENERGY):
    """Statistic of all bins, energies along the first axis."""
    factor = norm * energy**-tilt
    npred = background * factor.reshape(-1, *(1,) * (np.ndim(background) - 1)) + other
    if not (npred > 0).all():
        return np.inf
    return 2 * (npred - counts * np.log(npred)).sum()


def second_derivatives(function, x, step):
    result = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            a, b = np.eye(2)[i] * step[i], np.eye(2)[j] * step[j]
            result[i, j] = (
                (function(x + a + b) - function(x + a - b) - function(x - a + b) + function(x - a - b))
                / 4
                / step[i]
                / step[j]
            )
    return result


def check(found: RunNorm, counts, background, other=0.0):
    """The parameters lie at scipy's minimum, the errors are those of the second derivatives."""

    def stat(x):
        return cash(x[0], x[1], counts, background, other)

    best = minimize(stat, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000})
    x = np.array([found.numbers["fov_norm"], found.numbers["fov_tilt"]])
    errors = np.array([found.numbers["fov_norm_err"], found.numbers["fov_tilt_err"]])
    assert np.all(abs(x - best.x) < 1e-5 * errors + 1e-8)
    assert stat(x) <= best.fun + 1e-9
    covariance = np.linalg.inv(0.5 * second_derivatives(stat, x, 0.02 * errors))
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-3)


def test_norm_in_closed_form():
    counts = np.round(1.2 * BACKGROUND)
    found = task()(counts, BACKGROUND, ENERGY)
    total = BACKGROUND.sum()
    assert found.success
    assert found.numbers["fov_norm"] == pytest.approx(counts.sum() / total, rel=1e-14)
    assert found.numbers["fov_norm_err"] == pytest.approx(np.sqrt(counts.sum()) / total, rel=1e-14)
    assert (found.numbers["fov_tilt"], found.numbers["fov_tilt_err"]) == (0.0, 0.0)
    np.testing.assert_allclose(found.factor, counts.sum() / total, rtol=1e-14)
    # events of other models are no background
    other = 0.1 * BACKGROUND
    found = task()(counts, BACKGROUND, ENERGY, other)
    assert found.numbers["fov_norm"] == pytest.approx((counts - other).sum() / total, rel=1e-14)
    assert found.numbers["fov_norm_err"] == pytest.approx(np.sqrt((counts - other).sum()) / total, rel=1e-14)


@given(st.lists(st.integers(0, 3000), min_size=6, max_size=6).filter(sum))
@settings(deadline=None, max_examples=40)
def test_fit_of_a_norm_alone_is_the_ratio_of_sums(counts):
    """Cash's statistic of a common factor has its minimum there."""
    counts = np.array(counts, dtype=float)
    scale, fit = (task(method)(counts, BACKGROUND, ENERGY) for method in ("scale", "fit"))
    assert fit.success
    for name in ("fov_norm", "fov_norm_err"):
        assert fit.numbers[name] == pytest.approx(scale.numbers[name], rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_fit_of_norm_and_tilt(seed):
    rng = np.random.default_rng(seed)
    norm, tilt = rng.uniform(0.3, 3), rng.uniform(-0.6, 0.6)
    counts = rng.poisson(0.3 * norm * BACKGROUND * ENERGY**-tilt).astype(float)
    background = 0.3 * BACKGROUND
    found = task("fit", tilted())(counts, background, ENERGY)
    check(found, counts, background)
    assert abs(found.numbers["fov_norm"] - norm) < 5 * found.numbers["fov_norm_err"]
    np.testing.assert_allclose(
        found.factor, found.numbers["fov_norm"] * ENERGY ** -found.numbers["fov_tilt"], rtol=1e-13
    )


@pytest.mark.parametrize("seed", range(4))
def test_fit_beside_other_events_looks_at_every_pixel(seed):
    """A source that fills one pixel: sums over pixels would not do."""
    rng = np.random.default_rng(seed)
    background = np.repeat(BACKGROUND[:, np.newaxis] / 20, 8, axis=1)
    other = np.zeros_like(background)
    other[:, 3] = 3 * BACKGROUND / 20
    counts = rng.poisson(1.3 * background * ENERGY[:, np.newaxis] ** 0.2 + other).astype(float)
    found = task("fit", tilted())(counts, background, ENERGY, other)
    check(found, counts, background, other)


def test_reference_and_frozen_tilt():
    """A frozen tilt is part of the model that is scaled; the reference moves the norm."""
    counts = np.round(1.2 * BACKGROUND * ENERGY**-0.3)
    fixed = xg.PowerLawNormSpectralModel(tilt=0.3)
    for method in ("scale", "fit"):
        found = task(method, fixed)(counts, BACKGROUND, ENERGY)
        assert found.numbers["fov_norm"] == pytest.approx(counts.sum() / (BACKGROUND * ENERGY**-0.3).sum(), rel=1e-12)
        assert found.numbers["fov_tilt"] == 0.3
    one, two = (task("fit", tilted(reference=e))(counts, BACKGROUND, ENERGY) for e in ("1 TeV", "2 TeV"))
    assert two.numbers["fov_norm"] == pytest.approx(one.numbers["fov_norm"] * 2 ** -one.numbers["fov_tilt"], rel=1e-9)
    np.testing.assert_allclose(one.factor, two.factor, rtol=1e-9)


def test_other_norm_models():
    """One norm for each of two halves of the energies is what each half asks for; derivatives are numerical."""
    counts = np.round(BACKGROUND * np.array([1.5, 1.5, 1.5, 0.8, 0.8, 0.8]))
    nodes = xg.PiecewiseNormSpectralModel(ENERGY * xg_unit("TeV"), norms=np.ones(6))
    found = task("fit", nodes)(counts, BACKGROUND, ENERGY)
    assert found.success
    np.testing.assert_allclose(found.factor, counts / BACKGROUND, rtol=1e-6)
    # each bin has a node of its own: errors are those of the counts
    errors = [found.numbers[f"fov_norm_{i}_err"] for i in range(6)]
    np.testing.assert_allclose(errors, np.sqrt(counts) / BACKGROUND, rtol=1e-4)
    with pytest.raises(ValueError, match="method='scale' needs a model with a norm"):
        task("scale", nodes)


def xg_unit(name):
    import astropy.units as u

    return u.Unit(name)


@pytest.mark.parametrize(
    ("counts", "background", "other", "options", "message"),
    [
        (5.0, 100.0, 0.0, {"min_counts": 30}, r"there are 30 counts .*\(min_counts=30\)"),
        (50.0, 1.0, 0.0, {"min_npred": 6}, r"predicts 6 background events .*\(min_npred=6\)"),
        (5.0, 10.0, 5.0, {}, r"the other models predict 30 events .*, there are 30 counts"),
        (0.0, 10.0, 0.0, {}, r"there are 0 counts in safe pixels outside the exclusion"),
        (5.0, 0.0, 0.0, {}, r"the model predicts 0 background events"),
        (5.0, np.nan, 0.0, {}, r"the model predicts nan background events"),
    ],
)
@pytest.mark.parametrize("method", ["scale", "fit"])
def test_what_makes_no_norm(counts, background, other, options, message, method):
    """What is asked for is more than the sum, not as much."""
    arrays = [np.full(6, v) for v in (counts, background, other)]
    found = task(method, **options)(arrays[0], arrays[1], ENERGY, arrays[2])
    assert not found.success
    assert found.factor.tolist() == [1.0] * 6
    assert "fov_norm" not in found.numbers
    import re

    assert re.search(message, found.message)


def test_counts_in_one_bin_fix_no_tilt():
    counts = np.array([0, 0, 40, 0, 0, 0.0])
    background = np.where(counts > 0, 30.0, 0.0)
    found = task("fit", tilted())(counts, background, ENERGY)
    assert not found.success
    assert "the fit of tilt, norm to 40 counts did not converge" in found.message
    assert task("scale")(counts, background, ENERGY).numbers["fov_norm"] == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "ring"}, ValueError, "method='ring' must be 'scale' or 'fit'"),
        ({"spectral": "pl-norm"}, TypeError, "spectral='pl-norm' must be a spectral model"),
        ({"spectral": xg.PowerLawSpectralModel()}, ValueError, "is no factor on another spectrum"),
        ({"spectral": tilted()}, ValueError, r"finds the norm alone, but \['tilt'\] are free"),
        ({"min_counts": -1}, ValueError, "min_counts=-1 must be a number that is not negative"),
        ({"min_npred": "many"}, ValueError, "min_npred='many' must be a number"),
        ({"min_npred": True}, ValueError, "min_npred=True must be a number"),
        (
            {"method": "fit", "spectral": tilted(), "n": 1},
            ValueError,
            "2 free parameters .* too many for 1 energy bins",
        ),
    ],
)
def test_wrong_settings(arguments, error, message):
    with pytest.raises(error, match=message):
        task(**arguments)


def test_nothing_free():
    frozen = xg.PowerLawNormSpectralModel()
    frozen.norm.frozen = True
    with pytest.raises(ValueError, match="has no free parameter"):
        task("fit", frozen)
    compound = xg.PowerLawNormSpectralModel() * xg.PowerLawNormSpectralModel()
    with pytest.raises(ValueError, match="is made of other models"):
        task("fit", compound)


# ---------------------------------------------------------------------- cubes
def make_cube(runs=(1, 2, 3), seed=0, chunks=None):
    rng = np.random.default_rng(seed)
    axis = xg.energy_axis("0.2 TeV", "20 TeV", nbin=4)
    cube = xg.sky_grid(SkyCoord(83.6, 22, unit="deg"), ("2 deg", "1.6 deg"), "0.1 deg", energy=axis)
    dims = ("obs", "energy", "y", "x")
    shape = (len(runs), 4, 16, 20)
    level = np.array([8.0, 2.0, 0.5, 0.1])[:, np.newaxis, np.newaxis]
    background = level * rng.uniform(0.5, 1.5, shape)
    cube["counts"] = dims, rng.poisson(1.4 * background).astype(float), {"units": ""}
    cube["background"] = dims, background, {"units": "", "long_name": "Predicted background counts"}
    cube["mask_safe"] = dims, rng.uniform(size=shape) > 0.2
    cube = cube.assign_coords(obs=list(runs))
    return cube.chunk(chunks) if chunks else cube


SOURCE = "icrs;circle(83.6, 22, 0.3)"


@pytest.mark.parametrize("method", ["scale", "fit"])
def test_cube_by_loops(method):
    cube = make_cube()
    cube["background"][0, 0, 2, 3] = np.nan
    cube["background"][1, 1, 2, 3] = 0.0
    result = fov_background(cube, method, SOURCE)
    use = ~cube.gamma.region_mask(SOURCE).values
    for k in range(3):
        inside = cube.mask_safe.values[k] & use & (cube.background.values[k] > 0)
        norm = cube.counts.values[k][inside].sum() / cube.background.values[k][inside].sum()
        assert float(result.fov_norm[k]) == pytest.approx(norm, rel=1e-12)
        assert float(result.fov_counts[k]) == cube.counts.values[k][inside].sum()
        np.testing.assert_allclose(result.background[k], norm * cube.background[k], rtol=1e-12)
    assert result.fov_success.values.all()
    assert result.fov_norm.dims == ("obs",)
    assert result.background.attrs == cube.background.attrs
    assert result.attrs["background_method"].startswith(f"fov_background(method={method}, free=['norm']")
    np.testing.assert_array_equal(result.mask_safe, cube.mask_safe)
    # the cube that was given is as it was
    assert "fov_norm" not in cube


@pytest.mark.parametrize("chunks", [{"obs": 1}, {"obs": 2, "y": 5, "x": 7}, {"energy": 2, "x": 10}])
@pytest.mark.parametrize("spectral", [None, tilted()])
def test_lazy_stays_lazy_and_is_the_same(chunks, spectral):
    def refuse(*_, **__):
        pytest.fail("computed")

    expected = fov_background(make_cube(), "fit", SOURCE, spectral=spectral)
    with dask.config.set(scheduler=refuse):
        lazy = fov_background(make_cube(chunks=chunks), "fit", SOURCE, spectral=spectral)
    for name in ("background", "mask_safe", "fov_norm", "fov_success"):
        assert lazy[name].chunks is not None, name
    lazy = lazy.load()
    for name in expected.data_vars:
        np.testing.assert_allclose(lazy[name], expected[name], rtol=1e-12, atol=1e-13, err_msg=str(name))


def test_masks_count():
    cube = make_cube()
    fit = (cube.energy > 1) & xr.ones_like(cube.counts, dtype=bool)
    cube["mask_fit"] = fit.transpose(*cube.counts.dims)
    inside = cube.mask_safe & cube.mask_fit
    expected = (cube.counts.where(inside).sum(["energy", "y", "x"])) / cube.background.where(inside).sum(
        ["energy", "y", "x"]
    )
    np.testing.assert_allclose(fov_background(cube).fov_norm, expected, rtol=1e-12)
    usable = ~cube.gamma.region_mask(SOURCE)
    by_map, by_region = fov_background(cube, exclusion=usable), fov_background(cube, exclusion=SOURCE)
    xr.testing.assert_equal(by_map, by_region)


@pytest.mark.parametrize("chunks", [None, {"obs": 1, "y": 8}])
def test_events_of_sources_are_no_background(chunks):
    cube = make_cube(chunks=chunks)
    source = xr.zeros_like(cube.counts)
    inside = cube.gamma.region_mask(SOURCE)
    source = source + inside * 5.0
    cube["counts"] = (cube.counts + source).transpose(*cube.counts.dims)
    plain = fov_background(make_cube()).fov_norm
    scale, fit = (fov_background(cube, method, models=source).load() for method in ("scale", "fit"))
    np.testing.assert_allclose(scale.fov_norm, plain, rtol=1e-12)
    # the likelihood knows better than the sums, not much
    assert np.all(abs(fit.fov_norm - plain) < fit.fov_norm_err)
    for k in range(3):
        safe = cube.mask_safe.values[k]
        arrays = [np.asarray(a)[k][safe] for a in (cube.counts, cube.background, source)]
        best = minimize(
            lambda x, a=arrays: (a[1] * x[0] + a[2] - a[0] * np.log(a[1] * x[0] + a[2])).sum(),
            [1.0],
            bounds=[(0.1, 10)],
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        assert float(fit.fov_norm[k]) == pytest.approx(best.x[0], rel=1e-5)


@pytest.mark.parametrize("chunks", [None, {"obs": 1}])
def test_a_run_without_success_is_marked_and_named(chunks):
    cube = make_cube(runs=(11, "12b", 13), chunks=chunks)
    low = cube.counts.where(cube.obs != "12b", 0.0)
    cube["counts"] = low.transpose(*cube.counts.dims)
    with pytest.warns(UserWarning, match="run 12b: no background could be made: there are 0 counts"):
        result = fov_background(cube).load()
    assert result.fov_success.values.tolist() == [True, False, True]
    assert np.isnan(result.fov_norm.values[1])
    assert not result.mask_safe[1].any()
    np.testing.assert_array_equal(result.background[1], cube.background[1])
    # a stack has nothing of it, and still says so
    stacked = result.gamma.stack("obs")
    assert stacked.fov_success.dims == ("run",)
    assert stacked.run.values.tolist() == ["11", "12b", "13"]
    others = result.isel(obs=[0, 2]).gamma.stack("obs")
    np.testing.assert_allclose(stacked.background, others.background)
    np.testing.assert_array_equal(stacked.mask_safe, others.mask_safe)


def test_one_cube_without_runs():
    cube = make_cube(runs=(1,)).isel(obs=0, drop=True)
    result = fov_background(cube)
    assert result.fov_norm.dims == ()
    assert float(result.background.where(cube.mask_safe).sum()) == pytest.approx(
        float(cube.counts.where(cube.mask_safe).sum())
    )
    with pytest.warns(UserWarning, match="the cube: no background could be made"):
        fov_background(cube, min_counts=1e9)


def test_bad_cubes():
    cube = make_cube()
    for change, message in (
        (cube.drop_vars("background"), "needs 'background'"),
        (cube.assign(counts_off=cube.counts), "the cube has off counts"),
        (cube.isel(x=0), "needs a map"),
        (fov_background(cube), "was scaled before"),
    ):
        with pytest.raises(ValueError, match=message):
            fov_background(change)
    with pytest.raises(ValueError, match="covers the whole map"):
        fov_background(cube, exclusion="icrs;circle(83.6, 22, 5)")


def test_settings_are_refused_when_a_reduction_begins(small_grid):
    with pytest.raises(ValueError, match="min_counts=-3"):
        FoVBackground(min_counts=-3).prepare(small_grid, ((16,), (20,)))


@pytest.fixture
def small_grid():
    axis = xg.energy_axis("0.2 TeV", "20 TeV", nbin=4)
    return xg.sky_grid(SkyCoord(83.6, 22, unit="deg"), ("2 deg", "1.6 deg"), "0.1 deg", energy=axis)
