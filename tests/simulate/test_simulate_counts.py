"""Counts drawn from predictions."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import xgamma as xg
from xgamma.coords.sky import grid_of
from xgamma.fitting.predict import npred, npred_signal
from xgamma.simulate.counts import asimov_counts, simulate_counts
from xgamma.simulate.poisson import philox_key, poisson_quantile, uniform_at

CENTER = SkyCoord(30.0, 0.0, unit="deg")


def source(amplitude="3e-12 cm-2 s-1 TeV-1", index=2.0, name="star", **kwargs):
    return xg.SkyModel(xg.PowerLawSpectralModel(index=index, amplitude=amplitude), name=name, **kwargs)


def point(lon=30.1, lat=0.1, **kwargs):
    return source(spatial=xg.PointSpatialModel(lon_0=lon, lat_0=lat), **kwargs)


def sky_cube(width=("1.6 deg", "1.2 deg"), n_energy=2, background=1.0, obs=None, level=3e12):
    """A map with an ideal energy resolution, a Gaussian PSF of 0.08 deg and an exposure that falls along y."""
    axes = {
        "energy": xg.energy_axis("1 TeV", "10 TeV", nbin=n_energy),
        "energy_true": xg.energy_axis("1 TeV", "10 TeV", nbin=2 * n_energy),
    }
    grid = xg.sky_grid(CENTER, width, "0.05 deg", irf_binsize="0.4 deg", **axes)
    cube = grid.copy()
    n_true, (ny, nx) = grid.sizes["energy_true"], (grid.sizes["y"], grid.sizes["x"])
    exposure = level * np.linspace(1.2, 0.8, ny)[:, None] * np.ones((n_true, ny, nx))
    cube["exposure"] = ("energy_true", "y", "x"), exposure, {"units": "cm2 s"}
    edges = np.append(grid.rad_min.values, grid.rad_max.values[-1])
    psf = np.exp(-0.5 * (grid.rad.values / 0.08) ** 2)
    psf = psf / (psf * np.pi * np.diff(np.deg2rad(edges) ** 2)).sum()
    shape = (n_true, grid.sizes["irf_y"], grid.sizes["irf_x"], psf.size)
    cube["psf"] = ("energy_true", "irf_y", "irf_x", "rad"), np.broadcast_to(psf, shape).copy(), {"units": "sr-1"}
    cube["background"] = ("energy", "y", "x"), np.full((n_energy, ny, nx), background), {"units": ""}
    cube["counts"] = ("energy", "y", "x"), np.zeros((n_energy, ny, nx)), {"units": ""}
    if obs is not None:
        stacked = {n: cube[n].expand_dims(obs=obs).copy() for n in ("counts", "background")}
        cube = cube.drop_vars(list(stacked)).assign(stacked)
    return cube


def spectrum(n_energy=4, n_off=None):
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=n_energy)
    true = xg.energy_axis("1 TeV", "10 TeV", nbin=2 * n_energy, name="energy_true")
    cube = xr.Dataset(coords={**energy.coords, **true.coords})
    cube["counts"] = "energy", np.zeros(n_energy), {"units": ""}
    cube["exposure"] = "energy_true", np.full(2 * n_energy, 2e13), {"units": "cm2 s"}
    if n_off is None:
        return cube.assign(background=("energy", np.linspace(20.0, 2.0, n_energy), {"units": ""}))
    arrays = {"counts_off": n_off, "acceptance": 1.0, "acceptance_off": 5.0}
    return cube.assign({n: ("energy", np.full(n_energy, float(v)), {"units": ""}) for n, v in arrays.items()})


# --- random numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [1e-3, 0.4, 3.0, 19.9, 20.0, 80.0, 1e3, 1e6])
def test_quantiles_are_those_of_scipy(mean):
    uniform = np.random.default_rng(1).random(20_000)
    found = poisson_quantile(uniform, np.full(uniform.shape, mean))
    expected = stats.poisson.ppf(uniform, mean)
    # a number next to a step of the cumulative may fall on its other side by rounding
    assert (found != expected).sum() <= 1
    assert np.abs(found - expected).max() <= 1


def test_quantiles_at_the_ends():
    last = np.nextafter(1.0, 0.0)
    for mean in (0.1, 5.0, 30.0, 1e5):
        low, high = poisson_quantile([0.0, last], [mean, mean])
        assert low <= stats.poisson.ppf(1e-300, mean)
        assert high == pytest.approx(stats.poisson.ppf(last, mean), abs=0.002 * mean + 2)
    np.testing.assert_array_equal(poisson_quantile([0.0, 0.5, last], 0.0), 0.0)
    assert poisson_quantile(np.zeros((2, 0)), 1.0).shape == (2, 0)


@settings(max_examples=80, deadline=None)
@given(shape=st.lists(st.integers(1, 7), min_size=1, max_size=4), data=st.data())
def test_any_part_of_the_random_numbers_is_that_of_the_whole(shape, data):
    start = [data.draw(st.integers(0, n - 1)) for n in shape]
    stop = [data.draw(st.integers(a, n)) for a, n in zip(start, shape, strict=True)]
    key = philox_key(3, "counts")
    whole = uniform_at(key, shape, [0] * len(shape), shape)
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    np.testing.assert_array_equal(uniform_at(key, shape, start, stop), whole[part])


def test_numbers_are_uniform_and_differ_by_seed_and_name():
    size = (100, 1000)
    arrays = [uniform_at(philox_key(*key), size, (0, 0), size) for key in ((0,), (1,), (0, "a"), (0, "b"))]
    for array in arrays:
        assert stats.kstest(array.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef([a.ravel() for a in arrays])
    assert np.abs(correlation - np.eye(4)).max() < 4 / np.sqrt(arrays[0].size)


# --- cubes ------------------------------------------------------------------------------------------------------


def test_counts_scatter_around_the_prediction_like_poisson():
    cube, models = sky_cube(), [point(), source(name="g", spatial=xg.GaussianSpatialModel(
        lon_0=29.7, lat_0=-0.2, sigma=0.15))]  # fmt: skip
    mean = npred(cube, models).values
    drawn = np.stack([simulate_counts(cube, models, seed=i).counts.values for i in range(300)])
    assert (drawn == np.floor(drawn)).all()
    pulls = (drawn.mean(axis=0) - mean) / np.sqrt(mean / 300)
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * pulls.size))
    ratio = drawn.var(axis=0, ddof=1) / mean
    assert ratio.mean() == pytest.approx(1.0, abs=5 * np.sqrt((2 + 1 / mean).mean() / 300 / mean.size))


def raising(dsk, keys, **kwargs):
    msg = "computed while the graph was made"
    raise AssertionError(msg)


@pytest.mark.parametrize("chunks", [{"y": 7, "x": 32, "energy": 1}, {"y": 24, "x": 5}, {"x": 11}])
def test_lazy_counts_are_those_in_memory_whatever_the_chunks(chunks):
    cube, models = sky_cube(), point()
    expected = simulate_counts(cube, models, seed=4)
    with dask.config.set(scheduler=raising):
        lazy = simulate_counts(cube.chunk(chunks), models, seed=4)
    assert lazy.counts.chunks is not None
    assert lazy.counts.dims == cube.counts.dims
    np.testing.assert_array_equal(lazy.counts.compute(scheduler="sync"), expected.counts)
    assert lazy.counts.attrs["units"] == ""
    assert grid_of(lazy) == grid_of(cube)


def test_background_models_scale_the_background():
    cube = sky_cube(background=5.0)
    model = xg.FoVBackgroundModel(name="bkg", spectral=xg.PowerLawNormSpectralModel(norm=1.4, tilt=0.2))
    mean = asimov_counts(cube, [point(), model])
    np.testing.assert_array_equal(mean.counts, npred(cube, [point(), model]))
    drawn = simulate_counts(cube, [point(), model], seed=2)
    total = float(mean.counts.sum())
    assert abs(float(drawn.counts.sum()) - total) < 4 * np.sqrt(total)


def test_runs_have_counts_of_their_own():
    cube = sky_cube(obs=[11, 12])
    own = xg.FoVBackgroundModel(name="b", spectral=xg.PowerLawNormSpectralModel(norm=3.0), datasets_names="12")
    drawn = simulate_counts(cube, [point(), own], seed=1).counts
    assert drawn.dims == ("obs", "energy", "y", "x")
    first, second = (float(drawn.sel(obs=k).sum()) for k in (11, 12))
    assert second / first > 2.0
    assert not np.array_equal(drawn.sel(obs=11), drawn.sel(obs=12))
    lazy = simulate_counts(cube.chunk(obs=1, y=5), [point(), own], seed=1).counts
    np.testing.assert_array_equal(lazy, drawn)


def test_spectra_and_their_off_counts():
    model = source(amplitude="1e-12 cm-2 s-1 TeV-1")
    cube = spectrum(n_off=50)
    signal = npred_signal(cube, model)
    mean = asimov_counts(cube, model)
    np.testing.assert_allclose(mean.counts, signal + 10.0)
    np.testing.assert_array_equal(mean.counts_off, 50.0)
    many = [simulate_counts(cube, model, seed=i) for i in range(400)]
    for name in ("counts", "counts_off"):
        drawn = np.stack([m[name].values for m in many])
        expected = mean[name].values
        assert (np.abs(drawn.mean(axis=0) - expected) < 4 * np.sqrt(expected / 400)).all()
        assert (np.abs(drawn.var(axis=0) / expected - 1) < 4 * np.sqrt((2 + 1 / expected) / 400)).all()
    on, off = (np.stack([m[n].values for m in many]).ravel() for n in ("counts", "counts_off"))
    by_bin = np.tile(np.arange(4), 400)
    residual = [v - np.array([v[by_bin == k].mean() for k in range(4)])[by_bin] for v in (on, off)]
    assert abs(np.corrcoef(residual)[0, 1]) < 4 / np.sqrt(on.size)
    lazy = simulate_counts(cube.chunk(energy=2), model, seed=3)
    assert lazy.counts_off.chunks is not None
    assert lazy.compute().equals(many[3])


def test_expected_background_of_an_on_off_spectrum_may_be_given():
    cube = spectrum(n_off=0)
    given_one = xr.DataArray([8.0, 4.0, 2.0, 1.0], dims="energy")
    mean = asimov_counts(cube, source(), background=given_one)
    np.testing.assert_allclose(mean.counts_off, 5 * given_one)
    np.testing.assert_allclose(mean.counts - npred_signal(cube, source()), given_one)
    without = cube.assign(acceptance_off=cube.acceptance_off * [1, 1, 1, 0])
    assert float(asimov_counts(without, source(), background=given_one).counts_off[-1]) == 0.0


def test_groups_of_a_tree_have_numbers_of_their_own():
    tree = xr.DataTree.from_dict({"a": spectrum(), "b": spectrum(), "map": sky_cube()})
    models = [point(name="star"), source(name="only-b", amplitude="1e-11 cm-2 s-1 TeV-1", datasets_names="b")]
    drawn = simulate_counts(tree, models, seed=5)
    assert set(drawn.children) == {"a", "b", "map"}
    assert float(drawn["b/counts"].sum()) > 2 * float(drawn["a/counts"].sum())
    same = simulate_counts(xr.DataTree.from_dict({"a": spectrum(), "c": spectrum()}), models[0], seed=5)
    np.testing.assert_array_equal(same["a/counts"], drawn["a/counts"])
    assert not np.array_equal(same["a/counts"], same["c/counts"])
    assert float(tree["a/counts"].sum()) == 0.0
    mean = asimov_counts(tree, models)
    np.testing.assert_array_equal(mean["map/counts"], npred(sky_cube(), models[0]))


def test_asimov_fit_gives_the_models_back():
    truth = xg.Models([point(amplitude="2e-11 cm-2 s-1 TeV-1"), xg.FoVBackgroundModel(name="bkg")])
    cube = asimov_counts(sky_cube(background=2.0), truth)
    start = truth.copy()
    start["star"].spectral.index.value = 2.2
    start["star"].spatial.lon_0.value += 0.01
    result = cube.gamma.fit(start)
    assert result.success
    errors = np.array([p.error for p in result.free])
    assert (np.abs(result.free.values - truth.parameters.free.values) < 0.01 * errors).all()


def test_fits_of_simulated_cubes_recover_the_truth():
    """Pulls of 25 cubes; the works of the benchmarks make 200."""
    truth = xg.Models(
        [
            point(amplitude="2e-11 cm-2 s-1 TeV-1"),
            source("2e-11 cm-2 s-1 TeV-1", 2.3, "cloud", spatial=xg.GaussianSpatialModel(
                lon_0=29.7, lat_0=-0.15, sigma=0.12)),
            xg.FoVBackgroundModel(name="bkg"),
        ]
    )  # fmt: skip
    cube, pulls = sky_cube(level=3e13), []
    for seed in range(25):
        result = simulate_counts(cube, truth, seed=seed).gamma.fit(truth)
        assert result.success
        pulls.append((result.free.values - truth.parameters.free.values) / [p.error for p in result.free])
    table = np.array(pulls)
    assert table.shape == (25, 10)
    assert (np.abs(table.mean(axis=0)) < 3.5 / np.sqrt(25)).all()
    assert ((table.std(axis=0) > 0.5) & (table.std(axis=0) < 1.6)).all()
    assert table.std() == pytest.approx(1.0, abs=0.2)


# --- bad input --------------------------------------------------------------------------------------------------


def test_bins_without_prediction_must_be_masked():
    cube = spectrum()
    low = xg.energy_axis("2 TeV", "10 TeV", nbin=3, name="energy_true")
    cut = cube.drop_dims("energy_true").assign_coords(low.coords)
    cut["exposure"] = "energy_true", np.full(3, 1e13), {"units": "cm2 s"}
    with pytest.raises(ValueError, match=r"expected counts of 'cube' are not finite in 2 bins.*mask_safe"):
        simulate_counts(cut, source())
    cut["mask_safe"] = "energy", [False, False, True, True]
    drawn = simulate_counts(cut, source())
    assert (drawn.counts.values[:2] == 0).all()
    assert (drawn.counts.values[2:] > 0).all()
    lazy = simulate_counts(cut.drop_vars("mask_safe").chunk(energy=2), source())
    with pytest.raises(ValueError, match="not finite in 2 bins"):
        lazy.counts.compute(scheduler="sync")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"seed": 1.5}, ValueError, "whole number"),
        ({"cube": 3}, TypeError, "not int"),
        ({"cube": xr.Dataset({"a": 1})}, ValueError, "no 'counts'"),
        ({"models": "crab"}, TypeError, "crab"),
        ({"models": source(amplitude="-1e-9 cm-2 s-1 TeV-1")}, ValueError, "are negative in 4 bins"),
        ({"background": xr.DataArray([1.0], dims="energy")}, ValueError, "has a background of its own"),
        ({"cube": spectrum(n_off=3).drop_vars("acceptance")}, ValueError, r"needs \['acceptance'\]"),
        ({"cube": spectrum(n_off=3), "background": xr.DataArray([1.0], dims="k")}, ValueError, "dim 'k'"),
        ({"cube": xr.DataTree.from_dict({"a": spectrum()}), "name": "a"}, TypeError, "one cube"),
        ({"cube": xr.DataTree.from_dict({"a": spectrum().drop_vars("counts")})}, ValueError, "no 'counts'"),
        ({"cube": xr.Dataset({"dnde": ("energy", [1.0])}, coords=xg.energy_axis("1 TeV", "2 TeV", nbin=1).coords)},
         TypeError, "flux points"),
        ({"cube": sky_cube()}, TypeError, "spatial"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_wrong(change, error, words):
    arguments = {"cube": spectrum(), "models": source(), **change}
    with pytest.raises(error, match=words):
        simulate_counts(arguments.pop("cube"), arguments.pop("models"), **arguments)
