"""Predicted counts: lazy, and the same as in a fit."""

import dask
import numpy as np
import pytest
import xarray as xr
from simulated_spectra import cube

from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.predict import npred, npred_background, npred_signal
from xgamma.kernels.stats import wstat_background
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.models import Models
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel


def raising(*args, **kwargs):
    msg = "something was computed while the graph was built"
    raise AssertionError(msg)


def models():
    power_law = PowerLawSpectralModel(index=2.1, amplitude="3e-12 cm-2 s-1 TeV-1")
    cutoff = ExpCutoffPowerLawSpectralModel(index=1.7, amplitude="2e-12 cm-2 s-1 TeV-1", lambda_="0.2 TeV-1")
    return Models([SkyModel(power_law, name="a"), SkyModel(cutoff, name="b", datasets_names="12")])


@pytest.mark.parametrize("on_off", [True, False])
@pytest.mark.parametrize("edisp", [True, False])
def test_prediction_is_that_of_the_fit(on_off, edisp):
    data = cube(on_off) if edisp else cube(on_off).drop_vars("edisp")
    dataset = compile_likelihood(data, models()).datasets[0]
    at = models().parameters.values
    np.testing.assert_allclose(npred_signal(data, models()).values[dataset.kept], dataset.npred_signal(at), rtol=1e-12)
    np.testing.assert_allclose(npred(data, models()).values[dataset.kept], dataset.npred(at), rtol=1e-12)


@pytest.mark.parametrize("function", [npred, npred_signal, npred_background])
@pytest.mark.parametrize("chunks", [{"obs": 1}, {"obs": 2, "energy": 3, "energy_true": 7}])
@pytest.mark.parametrize("on_off", [True, False])
def test_lazy_stays_lazy_and_is_the_same(function, chunks, on_off):
    whole = cube(on_off)
    lazy = whole.chunk(chunks)
    with dask.config.set(scheduler=raising):
        result = function(lazy, models())
    assert dask.is_dask_collection(result.data)
    expected = function(whole, models())
    xr.testing.assert_allclose(result.compute(), expected, rtol=1e-12)
    assert result.dims == whole.counts.dims
    assert result.attrs["units"] == ""
    assert result.name == function.__name__
    assert list(result.xindexes) == list(whole.counts.xindexes)


def test_background_of_an_on_off_cube_is_the_best_one():
    data = cube()
    signal = npred_signal(data, models()).values
    expected = 0.1 * wstat_background(data.counts.values, data.counts_off.values, 0.1, signal)
    np.testing.assert_allclose(npred_background(data, models()).values, expected, rtol=1e-12)
    np.testing.assert_allclose(npred(data, models()).values, signal + expected, rtol=1e-12)
    # without models: what on and off counts say together
    both = 0.1 * (data.counts + data.counts_off) / 1.1
    np.testing.assert_allclose(npred(data).values, both.values, rtol=1e-12)


def test_no_off_exposure_gives_no_background():
    data = cube()
    data["acceptance_off"] = data.acceptance_off.where(data.obs != 12, 0.0)
    assert np.all(npred_background(data, models()).sel(obs=12) == 0)


def test_a_model_background():
    data = cube(on_off=False)
    np.testing.assert_array_equal(npred(data).values, data.background.values)
    np.testing.assert_array_equal(npred(data.drop_vars("background")).values, 0 * data.counts.values)


def test_the_name_of_the_cube_chooses_models():
    model = models()["a"].copy(datasets_names="hess")
    data = cube()
    assert np.all(npred_signal(data, model, name="hess").values > 0)
    with pytest.warns(UserWarning, match="belongs to"):
        assert np.all(npred_signal(data, model).values == 0)


def test_measured_bins_beyond_the_true_energies_are_nan():
    data = cube().drop_vars("edisp").isel(energy_true=slice(6, None))
    result = npred_signal(data, models())
    low = data.energy_true_min.values[0]
    np.testing.assert_array_equal(np.isnan(result.isel(obs=0).values), data.energy_min.values < low * (1 - 1e-9))


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="has no 'exposure'"):
        npred(cube().drop_vars("exposure"), models())
    with pytest.raises(ValueError, match="needs \\['acceptance'\\]"):
        npred(cube().drop_vars("acceptance"), models())
    unlabelled = cube()
    unlabelled["exposure"].attrs = {}
    with pytest.raises(ValueError, match="units"):
        npred(unlabelled, models())


def test_shared_responses_broadcast():
    data = cube()
    shared = data.assign(exposure=data.exposure.isel(obs=0, drop=True), edisp=data.edisp.isel(obs=0, drop=True))
    result = npred_signal(shared, models()["a"])
    assert result.dims == ("obs", "energy")
    np.testing.assert_allclose(result.values[1], result.values[0])
