"""Fits of maps: the statistic, its derivatives, joint fits, simulations, bad input."""

import pickle

import numpy as np
import pytest
import xarray as xr
from simulated_maps import background, gauss, map_cube, point, slope_of
from simulated_spectra import cube as spectrum_cube

from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.dataset import BinnedDataset
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel


def simulated(models, seed=1, **kwargs):
    """A cube with counts drawn from models; `seed` None for the mean."""
    cube = map_cube(**kwargs)
    mean = npred(cube, models)
    counts = mean.values if seed is None else np.random.default_rng(seed).poisson(mean.values).astype(float)
    cube["counts"] = mean.dims, counts, {"units": ""}
    return cube


def field():
    """A point, an extended source over it, a background with a tilt."""
    models = Models([point(), gauss(29.913, 0.107, 0.123), background()])
    models["bkg"].spectral.tilt.frozen = False
    return models


def steps_of(likelihood, values, size=1e-5):
    return {int(i): size * max(abs(values[i]), 0.1 * (values[i] == 0)) for i in likelihood.places}


def cash(counts, mean):
    mean = np.maximum(mean, 1e-25)
    return 2 * np.sum(mean - counts * np.log(mean))


def test_the_statistic_is_that_of_the_predicted_counts():
    models = field()
    cube = simulated(models)
    cube["mask_safe"][0, :, :20] = False
    models["bkg"].spectral.norm.value, models["point"].spectral.index.value = 1.07, 2.4
    likelihood = compile_likelihood(cube, models)
    mean, mask = npred(cube, models).values, cube.mask_safe.values
    # the prediction of a fit cuts all PSFs off at one radius
    wanted = cash(cube.counts.values[mask], mean[mask])
    assert likelihood.stat(models.parameters.values) == pytest.approx(wanted, abs=1e-3)
    dataset = likelihood.datasets[0]
    values = models.parameters.values
    assert dataset.n_bins == mask.sum()
    assert dataset.stat_per_bin(values).sum() == pytest.approx(likelihood.stat(values), abs=1e-6)
    assert likelihood.stat_per_dataset(values) == {"map": pytest.approx(likelihood.stat(values))}
    signal = dataset.npred(values) - dataset.npred_signal(values)
    np.testing.assert_allclose(signal[:9], 1.07 * cube.background.values[mask][:9], rtol=1e-9)


@pytest.mark.parametrize("tag", ["cash", "cstat", "chi2", "weighted"])
def test_the_short_way_is_the_long_way(tag):
    models = field()
    cube = simulated(models)
    if tag == "weighted":
        cube["weights"] = xr.ones_like(cube.counts) * 0.7
    if tag == "chi2":
        models = Models(list(models)[:2])
        cube["counts_error"] = np.sqrt(cube.counts + 1.0)
    likelihood = compile_likelihood(cube, models, None if tag == "weighted" else tag)
    short = likelihood.datasets[0]
    arguments = (short.name, short.labels, short.part, short.statistic, short.contributions, short.kept)
    long = BinnedDataset(*arguments)
    rng = np.random.default_rng(3)
    for _ in range(6):
        values = models.parameters.values * (1 + 0.02 * rng.normal(size=len(models.parameters)))
        assert short.deviance(values) == pytest.approx(long.deviance(values), rel=1e-11)
        steps = steps_of(likelihood, values)
        np.testing.assert_allclose(short.gradient(values, steps), long.gradient(values, steps), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, -0.3])
def test_derivatives_are_those_of_the_statistic(factor):
    models = field()
    cube = simulated(models, slope=0.6)
    models["gauss"].spectral.amplitude.value *= factor
    models["point"].spectral.index.value = 2.5
    likelihood = compile_likelihood(cube, models)
    values = models.parameters.values
    steps = steps_of(likelihood, values, 1e-6)
    found = likelihood.gradient(values, steps)
    for place in likelihood.places:
        wanted = slope_of(likelihood, values, place, 10 * steps[int(place)])
        assert found[place] == pytest.approx(wanted, rel=1e-3, abs=1e-6 / steps[int(place)])


def test_what_is_remembered_changes_nothing():
    models = field()
    cube = simulated(models)
    likelihood = compile_likelihood(cube, models)
    rng = np.random.default_rng(5)
    values = models.parameters.values
    for _ in range(12):
        values = values.copy()
        values[rng.integers(values.size)] *= 1 + 0.01 * rng.normal()
        fresh = compile_likelihood(cube, models)
        assert likelihood.deviance(values) == pytest.approx(fresh.deviance(values), abs=1e-6)
    again = pickle.loads(pickle.dumps(likelihood))
    assert again.deviance(values) == pytest.approx(likelihood.deviance(values), abs=1e-9)


@pytest.mark.parametrize("model", [point(), gauss(sigma=0.02), gauss(sigma=0.1)])
def test_the_statistic_is_smooth_in_position(model):
    models = Models([model, background()])
    cube = simulated(models)
    likelihood = compile_likelihood(cube, models)
    place = models.parameters.names.index(f"{model.name}.lon_0")
    values = models.parameters.values
    center, kinks = values[place], []
    # over two pixels and their edges: second differences of the slope fade with the step, those of a kink would not
    for number in (101, 401):
        x = center + np.linspace(-0.05, 0.05, number)
        found = []
        for lon in x:
            values[place] = lon
            found.append(likelihood.deviance(values))
        slope = np.diff(found) / np.diff(x)
        kinks.append(np.abs(np.diff(slope, n=2)).max() / np.abs(slope).max())
    assert kinks[1] < 5e-4
    # an extended model ends at its evaluation radius, which changes as pixels enter it: of the order of 1e-4
    if model.name == "point":
        assert kinks[1] < 0.3 * kinks[0]


def test_ten_starts_end_in_one_minimum():
    cube = simulated(Models([point(), background()]), seed=4)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        start = point(*(np.array([30.013, 0.021]) + rng.uniform(-0.1, 0.1, 2)), amplitude=5e-12)
        start.spectral.index.frozen = True
        result = fit(cube, Models([start, background()]))
        assert result.success
        found.append([result.total_stat, *result.free.values / [1e-11, 1, 1, 1]])
    assert np.ptp(np.array(found)[:, 0]) < 1e-5
    assert np.ptp(np.array(found), axis=0).max() < 2e-4


def test_a_background_alone_has_a_closed_form():
    cube = simulated(Models([background()]))
    cube["mask_safe"][1, 3:9] = False
    result = fit(cube, background())
    mask = cube.mask_safe
    counts, level = (float(cube[n].where(mask, 0.0).sum()) for n in ("counts", "background"))
    parameter = result.models["bkg"].spectral.norm
    assert parameter.value == pytest.approx(counts / level, rel=1e-6)
    assert parameter.error == pytest.approx(np.sqrt(counts) / level, rel=1e-4)


def test_simulated_cubes_give_back_what_they_were_made_of():
    truth = Models([point(amplitude=2e-11), gauss(29.6, -0.2, 0.15), background()])
    names = ["point.index", "point.amplitude", "point.lon_0", "point.lat_0", "gauss.index", "gauss.amplitude",
             "gauss.lon_0", "gauss.lat_0", "gauss.sigma", "bkg.norm"]  # fmt: skip
    true = np.array([truth.parameters[n].value for n in names])
    pulls = []
    for seed in range(50):
        result = fit(simulated(truth, seed, background=1.0), truth)
        assert result.success, result.message
        pulls.append(
            [(result.parameters[n].value - t) / result.parameters[n].error for n, t in zip(names, true, strict=True)]
        )
    pulls = np.array(pulls)
    # standard errors of mean and width of 50 pulls are 0.14 and 0.10
    assert np.abs(pulls.mean(axis=0)).max() < 0.5
    assert np.abs(pulls.std(axis=0) - 1).max() < 0.35
    assert abs(pulls.std() - 1) < 0.1


def test_the_mean_gives_back_the_truth():
    truth = Models([point(), gauss(), background()])
    cube = simulated(truth, None)
    start = truth.copy()
    start["point"].spectral.amplitude.value *= 0.7
    start["gauss"].spatial.sigma.value = 0.1
    start["point"].spatial.lon_0.value += 0.04
    result = fit(cube, start)
    # the prediction and the fit cut the PSF off at slightly other radii
    np.testing.assert_allclose(result.free.values, truth.parameters.free.values, rtol=2e-3)


def test_runs_are_fitted_jointly():
    truth = point()
    cubes = [simulated(Models([truth]), seed, slope=slope) for seed, slope in ((1, 0.3), (2, -0.3))]
    runs = xr.concat(cubes, dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    models = Models([point(amplitude=7e-12), *(FoVBackgroundModel(datasets_names=str(n)) for n in (11, 12))])
    one = fit(runs, models)
    other = fit({"11": cubes[0], "12": cubes[1]}, models)
    assert list(one.stat_per_dataset) == ["11", "12"]
    assert one.total_stat == pytest.approx(other.total_stat, abs=1e-6)
    np.testing.assert_allclose(one.free.values, other.free.values, rtol=1e-6)
    single = fit(cubes[0], Models([point(amplitude=7e-12), FoVBackgroundModel(datasets_names="map")]))
    ratio = one.models["point"].spectral.amplitude.error / single.models["point"].spectral.amplitude.error
    assert ratio == pytest.approx(np.sqrt(0.5), rel=0.2)


def test_maps_beside_spectra():
    spectra, cube = spectrum_cube(), simulated(Models([point(amplitude=4e-12)]))
    model = point(amplitude=4e-12)
    likelihood = compile_likelihood({"crab": spectra, "map": cube}, Models([model, background()]))
    alone = [
        compile_likelihood({"crab": spectra}, model),
        compile_likelihood({"map": cube}, Models([model, background()])),
    ]
    for offset in (0.0, 0.1):
        values = Models([model, background()]).parameters.values
        values[0] += offset
        assert likelihood.stat(values) == pytest.approx(sum(part.stat(values) for part in alone), rel=1e-12)
    assert fit({"crab": spectra, "map": cube}, Models([model, background()])).success


def test_on_and_off_counts_on_maps():
    cube = simulated(Models([point()])).drop_vars("background")
    rng = np.random.default_rng(2)
    cube["counts_off"] = cube.counts.copy(data=rng.poisson(10.0 * map_cube().background.values).astype(float))
    for name, value in (("acceptance", 1.0), ("acceptance_off", 10.0)):
        cube[name] = xr.full_like(cube.counts, value)
    result = fit(cube, point(amplitude=8e-12))
    assert result.success
    amplitude = result.models["point"].spectral.amplitude
    assert abs(amplitude.value - 1e-11) < 4 * amplitude.error < 1e-11
    with pytest.raises(ValueError, match="off regions"):
        fit(cube.assign(background=cube.counts), Models([point(), background()]))


def test_templates_are_fitted():
    cube = simulated(Models([point()]), 3)
    shape = cube.background * (1.0 + 0.5 * np.sin(cube.x))
    cube["counts"] = cube.counts + shape.transpose(*cube.counts.dims)
    gas = TemplateNPredModel(shape, PowerLawNormSpectralModel(norm=0.5), name="gas")
    result = fit(cube, Models([point(amplitude=7e-12), background(), gas]))
    assert result.success
    assert result.models["gas"].spectral.norm.value == pytest.approx(
        1.0, abs=5 * result.models["gas"].spectral.norm.error
    )


def test_masks_may_cut_a_source():
    cube = simulated(Models([point(), background()]))
    cube["mask_fit"] = cube.mask_safe & (cube.x > cube.x.values[18]).broadcast_like(cube.mask_safe)
    result = fit(cube, Models([point(amplitude=7e-12), background()]))
    assert result.success
    assert result.models["point"].spectral.amplitude.value == pytest.approx(1e-11, rel=0.3)


def test_a_lazy_cube_is_fitted():
    cube = simulated(Models([point(), background()]))
    models = Models([point(amplitude=7e-12), background()])
    one, two = fit(cube, models), fit(cube.chunk(y=10), models)
    assert one.total_stat == two.total_stat


def test_words_for_what_cannot_be_fitted():
    models = Models([point(), background()])
    cube = simulated(models)
    with pytest.warns(UserWarning, match="lies outside the bins"):
        compile_likelihood(cube, Models([point(40.0, 3.0, name="far"), point(), background()]))
    with pytest.raises(TypeError, match="has no spatial model"):
        fit(cube, SkyModel(PowerLawSpectralModel(), name="bare"))
    with pytest.raises(ValueError, match="two background models"):
        fit(cube, Models([FoVBackgroundModel(name="a"), FoVBackgroundModel(name="b")]))
    with pytest.raises(ValueError, match="scales a background, which"):
        fit(cube.drop_vars("background"), models)
    bad = cube.copy(deep=True)
    bad["exposure"][0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite in 1 pixels"):
        fit(bad, models)
    with pytest.raises(ValueError, match="energy_true must cover"):
        fit(cube.drop_vars("edisp").isel(energy_true=slice(1, 3)), models)
    with pytest.raises(ValueError, match="'background' of 'map' is not finite"):
        fit(cube.assign(background=cube.background.where(cube.x > cube.x[0])), models)
    likelihood, values = compile_likelihood(cube, models), models.parameters.values
    for name in ("point.lon_0", "point.index"):
        broken = values.copy()
        broken[models.parameters.names.index(name)] = np.nan
        assert np.isnan(likelihood.deviance(broken))
    tiny = simulated(models, 1)
    tiny["exposure"] = 0.0 * tiny.exposure
    tiny.exposure.attrs["units"] = "cm2 s"
    with pytest.warns(UserWarning, match="predicts nothing in"):
        compile_likelihood(tiny, models)
