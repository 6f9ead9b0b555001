"""Samples of posteriors whose form is known."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest, lognorm, multivariate_normal, norm

from xgamma.coords.bins import energy_axis
from xgamma.fitting.fit import fit
from xgamma.fitting.sampling import autocorrelation_time, sample_posterior, split_ratio
from xgamma.models.power_law import ConstantSpectralModel, PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior, LogNormalPrior, UniformPrior
from xgamma.models.sky_model import SkyModel

pytest.importorskip("emcee")


def measurement(value=3.0, error=0.5, name="one"):
    axis = energy_axis("1 TeV", "10 TeV", nbin=1)
    return xr.Dataset({"dnde": ("energy", [value * 1e-12]), "dnde_err": ("energy", [error * 1e-12])}, axis.coords)


def constant(prior, name="c", **settings):
    model = SkyModel(ConstantSpectralModel(const="2.5 1e-12 cm-2 s-1 TeV-1"), name=name)
    model.spectral.const.prior = prior
    for key, value in settings.items():
        setattr(model.spectral.const, key, value)
    return model


def thinned(samples, name):
    """Samples that are far enough apart to count as independent."""
    step = int(np.ceil(3 * samples["diagnostics/tau"].sel(parameter=name).item()))
    return samples[f"posterior/{name}"].values[:, ::step].ravel()


def drawn(result, **kwargs):
    return sample_posterior(result, n_draws=1500, n_warmup=200, n_walkers=10, seed=5, **kwargs)


def test_gaussian_times_gaussian():
    samples = drawn(fit(measurement(), constant(GaussianPrior(2.0, 0.4))))
    precision = 0.5**-2 + 0.4**-2
    mean, width = (3.0 / 0.25 + 2.0 / 0.16) / precision, precision**-0.5
    posterior = samples["posterior/c.const"]
    error = width / np.sqrt(samples["diagnostics/ess"].sel(parameter="c.const").item())
    assert posterior.mean().item() == pytest.approx(mean, abs=4 * error)
    assert posterior.std().item() == pytest.approx(width, abs=4 * error)
    assert kstest(thinned(samples, "c.const"), norm(mean, width).cdf).pvalue > 1e-3


def test_a_prior_alone():
    """A measurement that says nothing leaves a log-normal as it was."""
    samples = drawn(fit(measurement(error=1e4), constant(LogNormalPrior(0.7, 0.3))))
    assert kstest(thinned(samples, "c.const"), lognorm(0.3, scale=np.exp(0.7)).cdf).pvalue > 1e-3


def test_limits_and_boxes():
    samples = drawn(fit(measurement(value=2.0, error=0.5), constant(UniformPrior(1.8, 9.0), min=0.0, max=2.6)))
    values = samples["posterior/c.const"].values
    assert values.min() >= 1.8
    assert values.max() <= 2.6
    low, high = norm.cdf([1.8, 2.6], 2.0, 0.5)
    assert kstest(thinned(samples, "c.const"), lambda x: (norm.cdf(x, 2.0, 0.5) - low) / (high - low)).pvalue > 1e-3


def test_two_parameters_that_are_correlated():
    """A sum that is measured well, and one of the two that is known little: closed form by the covariance."""
    one, two = constant(GaussianPrior(2.0, 1.0), "a"), constant(GaussianPrior(1.0, 1.0), "b")
    result = fit(measurement(error=0.1), [one, two])
    samples = drawn(result)
    matrix = np.linalg.inv(np.array([[1.0, 1.0], [1.0, 1.0]]) / 0.1**2 + np.eye(2))
    mean = matrix @ (3.0 / 0.1**2 + np.array([2.0, 1.0]))
    found = np.array([samples[f"posterior/{n}.const"].values.ravel() for n in "ab"])
    np.testing.assert_allclose(found.mean(axis=1), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(found), matrix, atol=0.06)
    # the density that comes along is that of the closed form, up to a constant
    lp = samples["sample_stats/lp"].values.ravel()
    wanted = multivariate_normal(mean, matrix).logpdf(found.T)
    np.testing.assert_allclose(lp - lp[0], wanted - wanted[0], atol=1e-6)


def test_widths_in_several_dimensions():
    """Four measurements of their own: the posterior is the product of four Gaussians, with their widths."""
    names = "abcd"
    tree = {n: measurement(error=0.3 + 0.1 * i) for i, n in enumerate(names)}
    models = [constant(UniformPrior(-20.0, 20.0), n) for n in names]
    for model in models:
        model.datasets_names = [model.name]
    samples = sample_posterior(fit(tree, models), n_draws=2000, n_warmup=300, n_walkers=40, seed=2)
    ratios, errors = [], []
    for i, n in enumerate(names):
        width = 0.3 + 0.1 * i
        posterior = samples[f"posterior/{n}.const"]
        size = samples["diagnostics/ess"].sel(parameter=f"{n}.const").item()
        assert posterior.mean().item() == pytest.approx(3.0, abs=4 * width / np.sqrt(size))
        ratios.append(posterior.std().item() / width)
        errors.append(1 / np.sqrt(2 * size))
    error = np.linalg.norm(errors) / len(errors)
    assert error < 0.008
    assert np.mean(ratios) == pytest.approx(1, abs=3 * error)


def test_layout():
    model = SkyModel(PowerLawSpectralModel(), name="crab")
    model.spectral.index.prior = GaussianPrior(2.0, 0.1)
    model.spectral.amplitude.prior = GaussianPrior("1e-12 cm-2 s-1 TeV-1", "1e-13 cm-2 s-1 TeV-1")
    result = fit(measurement(value=0.1), model)
    samples = sample_posterior(result, n_draws=400, n_warmup=50, n_walkers=10, thin=2, n_ensembles=3, seed=5)
    assert set(samples.children) == {"posterior", "sample_stats", "diagnostics"}
    posterior = samples["posterior"].to_dataset()
    assert dict(posterior.sizes) == {"chain": 30, "draw": 400}
    assert list(posterior.data_vars) == list(result.problem.names)
    assert posterior["crab.amplitude"].attrs["units"] == result.free["crab.amplitude"].unit
    assert posterior.ensemble.values.tolist() == sorted([0, 1, 2] * 10)
    assert set(samples["diagnostics"].data_vars) == {"r_hat", "tau", "ess"}
    assert (samples["diagnostics/r_hat"] < 1.05).all()
    assert "emcee" in str(samples.attrs)
    again = sample_posterior(result, n_draws=400, n_warmup=50, n_walkers=10, thin=2, n_ensembles=3, seed=5)
    xr.testing.assert_identical(again["posterior"].to_dataset(), posterior)


def test_what_is_wrong_is_told():
    result = fit(measurement(), constant(None))
    with pytest.warns(UserWarning, match="neither a prior nor limits"):
        drawn(result)
    result = fit(measurement(), constant(GaussianPrior(2, 0.4)))
    with pytest.warns(UserWarning, match=r"autocorrelation times \(\d+\) of \['c.const'\]"):
        sample_posterior(result, n_draws=20, n_warmup=0, seed=1)
    with pytest.raises(TypeError, match="not of str"):
        sample_posterior("fit")
    for wrong in ({"n_draws": 0}, {"n_walkers": 1}, {"thin": 0.5}, {"n_ensembles": 0}, {"n_warmup": -1}):
        with pytest.raises(ValueError, match="must be a whole number"):
            sample_posterior(result, **wrong)


def test_without_emcee(monkeypatch):
    monkeypatch.setattr("xgamma.fitting.sampling.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'xgamma\[sampling\]'"):
        sample_posterior(fit(measurement(), constant(GaussianPrior(2, 0.4))))


def test_emcee_is_not_imported_before_it_is_needed():
    code = "import sys, xgamma.fitting.sampling; assert 'emcee' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------- diagnostics
def process(phi, shape, seed=1):
    """Autoregressive chains of the first order."""
    rng = np.random.default_rng(seed)
    values = np.empty(shape)
    values[:, 0] = rng.normal(size=values[:, 0].shape) / np.sqrt(1 - phi**2)
    for i in range(1, shape[1]):
        values[:, i] = phi * values[:, i - 1] + rng.normal(size=values[:, 0].shape)
    return values


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_autocorrelation_time(phi):
    found = autocorrelation_time(process(phi, (2, 20000, 5)))
    assert found == pytest.approx((1 + phi) / (1 - phi), rel=0.05)


def test_split_ratio():
    chains = process(0.5, (2, 4000, 5))
    assert split_ratio(chains) < 1.01
    assert split_ratio(chains + np.array([0.0, 1.0])[:, None, None]) > 1.05
    drift = np.linspace(0, 2, 4000)[:, None]
    assert split_ratio(chains + drift) > 1.05
    assert split_ratio(chains[:, :1]) == split_ratio(np.zeros((2, 10, 3))) == np.inf
