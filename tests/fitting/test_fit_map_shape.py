"""Backgrounds whose factor on the sky is fitted."""

import pickle

import astropy.units as u
import numpy as np
import pytest
from simulated_maps import map_cube, point, slope_of

from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred, npred_background
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.spatial_norm import PiecewiseNormSpatialModel
from xgamma.models.spatial_shapes import GaussianSpatialModel

LON, LAT = [28.9, 31.1, 28.9, 31.1, 30.0], [-0.8, -0.8, 0.8, 0.8, 0.0]


def shape(norms=(0.8, 1.3, 1.0, 0.7, 1.1), interp="lin"):
    return PiecewiseNormSpatialModel(LON * u.deg, LAT * u.deg, norms, interp)


def background(spatial, frozen=True, **kwargs):
    spectral = PowerLawNormSpectralModel(**kwargs)
    spectral.norm.frozen = frozen
    return FoVBackgroundModel(spectral, spatial, name="bkg")


def simulated(models, seed=1, **kwargs):
    cube = map_cube(**kwargs)
    mean = npred(cube, models)
    counts = mean.values if seed is None else np.random.default_rng(seed).poisson(mean.values).astype(float)
    cube["counts"] = mean.dims, counts, {"units": ""}
    return cube


@pytest.mark.parametrize("interp", ["lin", "log"])
def test_the_statistic_is_that_of_the_predicted_counts(interp):
    models = Models([background(shape(interp=interp), frozen=False, tilt=0.2), point()])
    cube = simulated(models)
    cube["mask_safe"][0, :, :20] = False
    likelihood = pickle.loads(pickle.dumps(compile_likelihood(cube, models)))
    mask, values = cube.mask_safe.values, models.parameters.values
    mean = npred(cube, models).values[mask]
    wanted = 2 * np.sum(mean - cube.counts.values[mask] * np.log(mean))
    assert likelihood.stat(values) == pytest.approx(wanted, abs=1e-3)
    signal = likelihood.datasets[0].npred_signal(values)
    np.testing.assert_allclose(
        likelihood.datasets[0].npred(values) - signal, npred_background(cube, models).values[mask], rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["lin", "log", "gauss", "template"])
def test_derivatives_are_those_of_the_statistic(kind):
    spatial = shape(interp="log" if kind == "log" else "lin")
    if kind == "gauss":
        spatial = GaussianSpatialModel(lon_0="30.1 deg", lat_0="0 deg", sigma="1 deg")
    models = Models([background(spatial, frozen=False, norm=1e-3 if kind == "gauss" else 1.0), point()])
    if kind == "template":
        gas = TemplateNPredModel(map_cube().background, PowerLawNormSpectralModel(norm=0.3), spatial, name="gas")
        models = Models([gas, FoVBackgroundModel(name="bkg"), point()])
    cube = simulated(models)
    values = models.parameters.values * 1.03
    for name in ("point.lon_0", "point.lat_0"):
        values[models.parameters.names.index(name)] /= 1.03
    likelihood = compile_likelihood(cube, models)
    steps = {int(i): 1e-6 * (abs(values[i]) or 1.0) for i in likelihood.places}
    found = likelihood.gradient(values, steps)
    for place in likelihood.places:
        wanted = slope_of(likelihood, values, place, 10 * steps[int(place)])
        assert found[place] == pytest.approx(wanted, rel=2e-3, abs=2e-6 / steps[int(place)])


@pytest.mark.parametrize("interp", ["lin", "log"])
def test_a_shape_is_fitted(interp):
    truth = Models([background(shape(interp=interp)), point()])
    start = Models([background(shape([1.0] * 5, interp)), point(amplitude=7e-12)])
    result = fit(simulated(truth, None), start)
    assert result.success
    np.testing.assert_allclose(result.free.values, truth.parameters.free.values, rtol=2e-3)


def test_simulated_shapes_give_back_what_they_were_made_of():
    truth = Models([background(shape())])
    true, pulls = truth.parameters.free.values, []
    for seed in range(30):
        result = fit(simulated(truth, seed), truth)
        assert result.success
        pulls.append([(p.value - t) / p.error for p, t in zip(result.free, true, strict=True)])
    pulls = np.array(pulls)
    # 150 pulls: standard errors of mean and width are 0.08 and 0.06
    assert abs(pulls.mean()) < 0.3
    assert abs(pulls.std() - 1) < 0.2


def test_norm_and_nodes_are_not_told_apart():
    models = Models([background(shape(), frozen=False)])
    with pytest.warns(UserWarning, match="the data do not tell"):
        result = fit(simulated(models), models)
    assert not result.success


def test_runs_share_a_shape_of_the_sky():
    import xarray as xr

    truth = Models([background(shape())])
    cubes = [simulated(truth, seed, background=level) for seed, level in ((1, 3.0), (2, 5.0))]
    runs = xr.concat(cubes, dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    one, both = fit(cubes[0], truth), fit(runs, truth)
    assert both.success
    assert all(a.error > b.error for a, b in zip(one.free, both.free, strict=True))
