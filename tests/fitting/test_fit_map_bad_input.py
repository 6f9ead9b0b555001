"""What cannot be fitted or predicted on maps, and the words that say so; hard cases that are handled."""

import dask
import numpy as np
import pytest
import xarray as xr
from simulated_maps import background, expected, gauss, map_cube, point

from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred, npred_signal
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel


def counted(models, seed=1, **kwargs):
    cube = map_cube(**kwargs)
    mean = npred(cube, models)
    cube["counts"] = mean.dims, np.random.default_rng(seed).poisson(mean.values).astype(float), {"units": ""}
    return cube


@pytest.mark.parametrize("call", [npred, compile_likelihood, fit])
def test_a_model_without_spatial_part(call):
    bare = SkyModel(PowerLawSpectralModel(), name="bare")
    with pytest.raises(TypeError, match=r"'bare' has no spatial model, which the map 'map' needs: SkyModel\("):
        call(map_cube(), bare)


def test_a_source_outside_the_map():
    models = Models([point(), background()])
    cube, far = counted(models), point(40.0, 3.0, name="far")
    assert not npred_signal(cube, far).any()
    with pytest.warns(UserWarning, match="'far' lies outside the bins of 'map' that take part; it takes no part there"):
        likelihood = compile_likelihood(cube, Models([far, *models]))
    assert likelihood.stat(Models([far, *models]).parameters.values) == pytest.approx(
        compile_likelihood(cube, models).stat(models.parameters.values)
    )
    with (
        pytest.warns(UserWarning, match="lies outside the bins"),
        pytest.raises(ValueError, match="there is no free parameter to fit: no dataset depends on"),
    ):
        fit(cube, far)


@pytest.mark.parametrize(
    "name", ["point.lon_0", "point.index", "point.amplitude", "gauss.sigma", "gauss.lat_0", "bkg.norm"]
)
def test_parameters_that_are_not_numbers(name):
    models = Models([point(), gauss(), background()])
    cube = counted(models)
    likelihood, values = compile_likelihood(cube, models), models.parameters.values
    values[models.parameters.names.index(name)] = np.nan
    assert np.isnan(likelihood.deviance(values))
    with pytest.raises(ValueError, match=r"nan|NaN|not finite"):
        start_with_nan(cube, models.copy(), name)


def start_with_nan(cube, models, name):
    """Whoever gives such a value is told at once, or when the fit starts."""
    models.parameters[name].value = np.nan
    fit(cube, models)


def test_predicted_counts_below_zero():
    models = Models([point(amplitude=-2e-10), background()])
    cube = counted(Models([point(), background()]))
    assert float(npred_signal(cube, models[0]).min()) < -1
    # a prediction of counts is none below zero, and the statistic stays a number that a fit leaves again
    assert float(npred(cube, models).min()) == 0.0
    likelihood = compile_likelihood(cube, models)
    stat = likelihood.stat(models.parameters.values)
    assert np.isfinite(stat)
    good = compile_likelihood(cube, Models([point(), background()])).stat(
        Models([point(), background()]).parameters.values
    )
    assert stat > good + 1000
    with pytest.raises(ValueError, match="has negative values: predicted counts cannot be negative"):
        TemplateNPredModel(-cube.background, name="gas")


def test_a_negative_source_beside_a_positive_one_is_allowed():
    truth = Models([point(), background()])
    hole = Models([point(), point(29.6, 0.3, amplitude=1e-13, name="hole"), background()])
    cube = counted(truth, 5)
    result = fit(cube, hole)
    assert result.success or "limit" in result.message
    amplitude = result.models["hole"].spectral.amplitude
    assert abs(amplitude.value) < 5 * amplitude.error


def test_a_background_model_that_is_missing():
    models = Models([point(), background()])
    cube = counted(models)
    for call in (fit, npred):
        with pytest.raises(ValueError, match=r"'bkg' scales a background, which \['map'\] lack; name its datasets"):
            call(cube.drop_vars("background"), models)
    # without a model the background of the cube is taken as it is
    alone = compile_likelihood(cube, point())
    mean = npred(cube, point()).values
    wanted = 2 * np.sum(mean - cube.counts.values * np.log(mean))
    assert alone.stat(point().parameters.values) == pytest.approx(wanted, abs=1e-3)
    # a model for another dataset is named
    with pytest.warns(UserWarning, match=r"model 'other' belongs to \['mars'\], none of the datasets \['map'\]"):
        compile_likelihood(cube, Models([point(), FoVBackgroundModel(name="other", datasets_names="mars")]))
    with pytest.raises(TypeError, match="must be a factor without unit"):
        FoVBackgroundModel(PowerLawSpectralModel())


@pytest.mark.parametrize("model", [point(30.0, 0.0), gauss(30.0, 0.0, 0.05), gauss(30.0, 0.0, 0.4)])
def test_a_point_spread_function_broader_than_the_map(model):
    cube = map_cube(width="0.3 deg")
    size = model.spatial.parameters["sigma"].value if "sigma" in model.spatial.parameters.names else 0.0
    values, closed = npred_signal(cube, model).values, expected(cube, model, (size, size))
    assert np.abs(values / closed - 1).max() < 5e-3
    mean = closed + cube.background.values
    cube["counts"] = cube.counts.copy(data=np.random.default_rng(1).poisson(50 * mean).astype(float))
    cube["exposure"], cube["background"] = 50 * cube.exposure, 50 * cube.background
    cube.exposure.attrs["units"] = "cm2 s"
    model = model.copy()
    model.freeze("spatial")
    result = fit(cube, Models([model]))
    assert result.success


@pytest.mark.parametrize("model", [point(), gauss(sigma=0.1)])
def test_a_kernel_larger_than_the_map(model):
    small = map_cube(width="0.5 deg")
    large = map_cube(width="3.5 deg")
    whole = npred_signal(large, model)
    inner = whole.sel(x=small.x, y=small.y)
    values = npred_signal(small, model)
    assert np.abs(values.values - inner.values).max() < 3e-3 * whole.values.max()
    with dask.config.set(scheduler="sync"):
        lazy = npred_signal(small.chunk(x=3, y=4), model).compute()
    np.testing.assert_allclose(lazy, values, rtol=1e-6, atol=1e-9)


def test_energy_dispersion_that_does_not_cover_the_reconstructed_axis():
    cube = counted(Models([point(), background()]), n_energy=4)
    # no true energy leads to the last bin: nothing is predicted there, and the fit says so
    blind = cube.copy(deep=True)
    blind["edisp"][{"energy": 3}] = 0.0
    signal = npred_signal(blind, point())
    assert not signal.isel(energy=3).any()
    assert signal.isel(energy=2).any()
    assert fit(blind, Models([point(amplitude=7e-12), background()])).success
    # exact energies that are not covered are refused by a fit, and unknown in a prediction
    short = cube.drop_vars("edisp").isel(energy_true=slice(1, 3))
    with pytest.raises(ValueError, match=r"without energy dispersion for 'point', energy_true must cover .* reaches"):
        fit(short, point())
    assert np.isnan(npred_signal(short, point()).isel(energy=0)).all()
    # an axis that is not the one of the cube
    wrong = cube.drop_vars("edisp").assign(edisp=cube.edisp.isel(energy=slice(0, 2)).rename(energy="energy_"))
    with pytest.raises(ValueError, match="'edisp' of 'map' has dim 'energy_'"):
        fit(wrong, point())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.assign(exposure=c.exposure.assign_attrs(units="TeV")), "'exposure' of 'map': unit 'TeV' cannot"),
        (lambda c: c.assign(exposure=c.exposure.expand_dims(phase=2)), "'exposure' of 'map' has dim 'phase'"),
        (lambda c: c.assign(mask_safe=c.mask_safe & False), "mask"),
        (lambda c: c.assign(counts=c.counts.where(c.x > c.x[2])), "'counts' of 'map' is not finite in"),
        (lambda c: c.drop_vars("counts"), "counts"),
    ],
)
def test_cubes_that_are_not_complete(change, message):
    cube = change(counted(Models([point(), background()])))
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        fit(cube, Models([point(), background()]))


def test_runs_of_which_one_sees_nothing():
    models = Models([point(), *(FoVBackgroundModel(datasets_names=n) for n in ("11", "12"))])
    cubes = [counted(Models([point(), background()]), seed) for seed in (1, 2)]
    cubes[1]["exposure"] = xr.zeros_like(cubes[1].exposure)
    runs = xr.concat(cubes, dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    runs.exposure.attrs["units"] = "cm2 s"
    with pytest.warns(UserWarning, match="'point' predicts nothing in the bins of '12' that take part"):
        result = fit(runs, models)
    assert result.success


def test_a_spatial_factor_that_depends_on_energy():
    from xgamma.models.spatial_template import TemplateSpatialModel

    cube = map_cube()
    template = TemplateSpatialModel(xr.ones_like(cube.exposure).assign_attrs(units="sr-1"), normalize=False)
    model = FoVBackgroundModel(PowerLawNormSpectralModel(), template, name="bkg")
    with pytest.raises(ValueError, match="the spatial part of 'bkg' depends on energy"):
        npred(cube, model)
