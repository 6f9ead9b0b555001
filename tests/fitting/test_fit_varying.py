"""Sources that vary in time: means over good time intervals beside brute force, on maps and spectra."""

import pickle

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from simulated_maps import background, gauss, map_cube, point, slope_of
from simulated_spectra import cube as spectrum_cube

from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred, npred_signal
from xgamma.models.models import Models
from xgamma.models.temporal_shapes import ConstantTemporalModel, ExpDecayTemporalModel, GaussianTemporalModel
from xgamma.models.temporal_template import LightCurveTemplateTemporalModel

DAY = 86400.0
#: Good time of two runs, in seconds; the second has a single interval, and is padded.
START = np.array([[0.0, 3.0e4], [1.2e5, np.nan]])
STOP = np.array([[2.0e4, 6.0e4], [1.9e5, np.nan]])


def runs(counts=None, **kwargs):
    """Two runs of a map with other exposures, and their good time."""
    cubes = [map_cube(slope=slope, **kwargs) for slope in (0.3, -0.3)]
    cube = xr.concat(cubes, dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    for name, values in (("gti_start", START), ("gti_stop", STOP)):
        cube[name] = ("obs", "gti"), values, {"units": "s"}
    return cube if counts is None else cube.assign(counts=(cube.counts.dims, counts, {"units": ""}))


def decay(t0="0.4 d"):
    return ExpDecayTemporalModel(t0=t0, t_ref=51544.5 * u.d, scale="tt")


def brute(model, start, stop, number=20001):
    """Mean over good time by the trapezoidal rule."""
    total = length = 0.0
    for a, b in zip(start, stop, strict=True):
        if np.isfinite(a):
            t = np.linspace(a, b, number)
            total += float(np.sum(0.5 * (model(t)[1:] + model(t)[:-1]) * np.diff(t)))
            length += b - a
    return total / length


def varying(model, temporal=None):
    return model.copy(temporal=decay() if temporal is None else temporal)


@pytest.mark.parametrize("steady", [point(), gauss(sigma=0.1)])
def test_runs_see_the_mean_of_their_own_time(steady):
    cube = runs()
    one, two = npred_signal(cube, steady), npred_signal(cube, varying(steady))
    for i in range(2):
        wanted = brute(decay(), START[i], STOP[i]) * one.values[i]
        np.testing.assert_allclose(two.values[i], wanted, rtol=1e-7, atol=1e-12)
    likelihood = compile_likelihood(cube, [varying(steady)])
    values = varying(steady).parameters.values
    found = [d.npred_signal(values).sum() for d in likelihood.datasets]
    np.testing.assert_allclose(found, two.sum(("energy", "y", "x")), rtol=1e-4)  # ends of the PSF


def test_a_stacked_cube_has_the_mean_of_all_its_time():
    cube = map_cube()
    for name, values in (("gti_start", START), ("gti_stop", STOP)):
        cube[name] = "gti", values.ravel(), {"units": "s"}
    ratio = npred_signal(cube, varying(point())).sum() / npred_signal(cube, point()).sum()
    assert float(ratio) == pytest.approx(brute(decay(), START.ravel(), STOP.ravel()), rel=1e-7)


def test_a_constant_changes_nothing():
    cube = runs()
    model = varying(point(), ConstantTemporalModel())
    np.testing.assert_allclose(npred_signal(cube, model), npred_signal(cube, point()), rtol=1e-12)


def test_lazy_cubes_stay_lazy():
    def raising(*args, **kwargs):
        msg = "something was computed"
        raise AssertionError(msg)

    cube, model = runs(), varying(point())
    whole = npred_signal(cube, model)
    lazy = cube.chunk(obs=1, y=10, gti=1)
    with dask.config.set(scheduler=raising):
        signal = npred_signal(lazy, model)
    model.temporal.t0.value *= 7  # a prediction is that of its moment
    np.testing.assert_allclose(signal.compute(), whole, rtol=1e-7, atol=1e-9)


def light_curve():
    """A flare at low energies, constant at high ones."""
    time = np.array([-1.0, 0.5, 1.0, 4.0]) * DAY
    values = np.stack([[1.0, 3.0, 1.0, 1.0], np.ones(4)])
    coords = {"time": ("time", time, {"units": "s"}), "energy": ("energy", [0.5, 20.0], {"units": "TeV"})}
    return LightCurveTemplateTemporalModel(xr.DataArray(values, coords, ("energy", "time"), attrs={"reference": 0.0}))


@pytest.mark.parametrize("model", [point(), gauss(sigma=0.1)])
def test_a_light_curve_that_depends_on_energy(model):
    cube, temporal = runs(), light_curve()
    energy = np.sqrt(cube.energy_true_min.values * cube.energy_true_max.values)
    found = npred_signal(cube, varying(model, temporal))
    # each true energy by itself, weighted by hand
    wanted = 0.0
    for k, e in enumerate(energy):
        alone = cube.copy()
        alone["exposure"] = cube.exposure.where(cube.energy_true == cube.energy_true[k], 0.0).assign_attrs(
            units="cm2 s"
        )
        means = []
        for i in range(2):
            good = np.isfinite(START[i])
            integral = temporal.evaluate_integral(START[i][good], STOP[i][good], *temporal.values, energy=[e])
            means.append(float(integral.sum() / (STOP[i] - START[i])[good].sum()))
        wanted = wanted + npred_signal(alone, model) * xr.DataArray(means, dims="obs", coords={"obs": cube.obs})
    np.testing.assert_allclose(found, wanted.transpose(*found.dims), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("by_energy", [True, False])
def test_spectra_and_light_curves(by_energy):
    cube = spectra_runs()
    model = varying(point(), light_curve() if by_energy else None)
    dataset = compile_likelihood(cube, model).datasets[0]
    found = dataset.npred_signal(model.parameters.values)
    np.testing.assert_allclose(found, npred_signal(cube, model).values[cube.mask_safe.values], rtol=1e-9)


def spectra_runs():
    """Two spectra with good time."""
    one = spectrum_cube().isel(obs=0, drop=True) if "obs" in spectrum_cube().dims else spectrum_cube()
    cube = xr.concat([one, one], dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    for name, values in (("gti_start", START), ("gti_stop", STOP)):
        cube[name] = ("obs", "gti"), values, {"units": "s"}
    return cube


def test_spectra_see_the_mean_of_their_own_time():
    cube = spectra_runs()
    steady = point()
    one, two = npred_signal(cube, steady), npred_signal(cube, varying(steady))
    for i in range(2):
        np.testing.assert_allclose(two.values[i], brute(decay(), START[i], STOP[i]) * one.values[i], rtol=1e-7)
    model = varying(steady)
    dataset = compile_likelihood(cube, model).datasets[0]
    kept = cube.mask_safe.values
    np.testing.assert_allclose(dataset.npred_signal(model.parameters.values), two.values[kept], rtol=1e-9)
    # a source of one run alone
    other = model.copy(datasets_names="12")
    dataset = compile_likelihood(cube, other).datasets[0]
    found = dataset.npred_signal(other.parameters.values)
    np.testing.assert_allclose(found, npred_signal(cube, other).values[kept], rtol=1e-9)
    assert not found[: kept[0].sum()].any()


@pytest.mark.parametrize("kind", ["point", "gauss", "spectra", "energy"])
def test_derivatives_are_those_of_the_statistic(kind):
    cube = spectra_runs() if kind == "spectra" else runs()
    steady = gauss(29.9, 0.1, 0.1) if kind == "gauss" else point()
    model = varying(steady, light_curve() if kind == "energy" else None)
    for parameter in model.temporal.parameters:
        parameter.frozen = False
    mean = npred(cube, model)
    cube["counts"] = mean.dims, np.random.default_rng(1).poisson(mean.values + 0.5).astype(float), {"units": ""}
    models = Models([model])
    likelihood = pickle.loads(pickle.dumps(compile_likelihood(cube, models)))
    values = models.parameters.values * (1 + 1e-3 * np.arange(len(models.parameters)) % 7e-3)
    values[models.parameters.names.index(f"{model.name}.t_ref")] = model.temporal.t_ref.value + 0.013
    steps = {int(i): 1e-6 * (abs(values[i]) or 1.0) for i in likelihood.places}
    steps[models.parameters.names.index(f"{model.name}.t_ref")] = 1e-5
    found = likelihood.gradient(values, steps)
    for place in likelihood.places:
        wanted = slope_of(likelihood, values, place, 10 * steps[int(place)])
        assert found[place] == pytest.approx(wanted, rel=2e-3, abs=2e-6 / steps[int(place)])


def test_a_decay_is_fitted_through_the_runs():
    truth = varying(point(amplitude=3e-11), decay("1.1 d"))
    truth.temporal.t0.frozen = False
    cube = runs(background=0.5)
    mean = npred(cube, [truth])
    cube["counts"] = mean.dims, np.random.default_rng(3).poisson(mean.values).astype(float), {"units": ""}
    start = truth.copy()
    start.temporal.t0.value, start.spectral.amplitude.value = 2.0, 2e-11
    start.freeze("spatial")
    result = fit(cube, Models([start]))
    assert result.success
    for name in ("t0", "amplitude", "index"):
        parameter = result.parameters[f"point.{name}"]
        assert abs(parameter.value - truth.parameters[name].value) < 4 * parameter.error
    again = fit(runs(cube.counts.values, background=0.5), Models([start.copy(temporal=None)]))
    assert again.total_stat > result.total_stat + 20


def test_words_for_what_is_missing():
    bare = runs().drop_vars(["gti_start", "gti_stop"])
    for call in (npred, compile_likelihood):
        with pytest.raises(ValueError, match="'point' varies in time, and 'map' has no good time intervals"):
            call(bare, varying(point()))
    empty = runs()
    empty["gti_stop"] = empty.gti_start
    with pytest.raises(ValueError, match="good time intervals of '11' have no length"):
        compile_likelihood(empty, varying(point()))
    stacked = map_cube().assign({n: runs()[n] for n in ("gti_start", "gti_stop")})
    with pytest.raises(ValueError, match=r"'gti_start' of 'map' has dims \('obs', 'gti'\)"):
        npred(stacked, varying(point()))
    broken = varying(point(), GaussianTemporalModel(t_ref=51544.5 * u.d, sigma="1 d", scale="tt"))
    likelihood = compile_likelihood(runs(), [broken, background().copy(datasets_names=None)])
    values = Models([broken, background()]).parameters.values
    values[broken.parameters.names.index("sigma")] = np.nan
    assert np.isnan(likelihood.deviance(values))
