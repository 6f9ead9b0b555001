"""Beyond the minimum: priors, profiles and contours as tasks, nested models, criteria, what data do not tell."""

import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize_scalar
from scipy.stats import chi2, norm
from simulated_maps import gauss, map_cube, point
from simulated_spectra import cube as spectrum_cube

from xgamma.coords.bins import energy_axis
from xgamma.fitting.compare import likelihood_ratio
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred
from xgamma.models.log_parabola import LogParabolaSpectralModel
from xgamma.models.models import Models
from xgamma.models.power_law import ConstantSpectralModel, PowerLawSpectralModel
from xgamma.models.prior import (
    GaussianPrior,
    GeneralizedGaussianPrior,
    LogNormalPrior,
    LogUniformPrior,
    UniformPrior,
)
from xgamma.models.sky_model import SkyModel


def source(**kwargs):
    return SkyModel(PowerLawSpectralModel(index=2.2, amplitude="5e-12 cm-2 s-1 TeV-1"), name="crab", **kwargs)


def measurement(value=3.0, error=0.5):
    """One flux point: the likelihood of a constant spectrum is a Gaussian of that value and error."""
    axis = energy_axis("1 TeV", "10 TeV", nbin=1)
    return xr.Dataset({"dnde": ("energy", [value * 1e-12]), "dnde_err": ("energy", [error * 1e-12])}, axis.coords)


def constant(prior=None, start=2.5, **limits):
    """A constant spectrum in units of 1e-12."""
    model = SkyModel(ConstantSpectralModel(const="1e-12 cm-2 s-1 TeV-1"), name="c")
    model.spectral.const.quantity = f"{start} 1e-12 cm-2 s-1 TeV-1"
    for name, value in limits.items():
        setattr(model.spectral.const, name, value)
    if prior is not None:
        model.spectral.const.prior = prior
    return model


# ---------------------------------------------------------------------- priors
PRIORS = {
    "gaussian": GaussianPrior(2.0, 0.4),
    "weighted": GaussianPrior(2.0, 0.4, weight=3.0),
    "box": GeneralizedGaussianPrior(2.0, 0.6, eta=0.25),
    "generalized gaussian": GeneralizedGaussianPrior(2.0, 0.4, eta=0.5),
    "uniform": UniformPrior(1.0, 5.0),
    "log-uniform": LogUniformPrior(0.5, 20.0),
    "log-normal": LogNormalPrior(0.7, 0.3),
}
#: -2 log p by other means, up to a constant.
TERMS = {
    "gaussian": lambda x: -2 * norm.logpdf(x, 2.0, 0.4),
    "weighted": lambda x: -6 * norm.logpdf(x, 2.0, 0.4),
    "box": lambda x: 2 * (np.abs(x - 2.0) / (0.6 * np.sqrt(2))) ** 4,
    "generalized gaussian": lambda x: ((x - 2.0) / 0.4) ** 2,
    "uniform": lambda x: 0.0 * x,
    "log-uniform": lambda x: 2 * np.log(x),
    "log-normal": lambda x: ((np.log(x) - 0.7) / 0.3) ** 2 + 2 * np.log(x),
}


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
@pytest.mark.parametrize("name", PRIORS)
def test_a_measurement_and_a_prior(name, backend):
    def whole(x):
        return ((x - 3.0) / 0.5) ** 2 + TERMS[name](x)

    best = minimize_scalar(whole, bounds=(1.0, 4.0), method="bounded", options={"xatol": 1e-10}).x
    h = 1e-3
    curvature = (-whole(best - 2 * h) + 16 * whole(best - h) - 30 * whole(best) + 16 * whole(best + h)
                 - whole(best + 2 * h)) / (12 * h**2)  # fmt: skip
    result = fit(measurement(), constant(PRIORS[name]), backend=backend, tol=1e-5)
    found = result.free["c.const"]
    # MIGRAD stops where the statistic is within 2e-8 of the minimum
    away = 2e-8**0.5 * found.error if backend == "minuit" else 1e-5
    assert found.value == pytest.approx(best, abs=away)
    assert found.error == pytest.approx(np.sqrt(2 / curvature), rel=2e-4)
    assert result.prior_stat == pytest.approx(float(PRIORS[name](found.value)), abs=1e-9)


def test_two_gaussians_make_one():
    """In closed form: precisions add, and values are averaged with them."""
    result = fit(measurement(), constant(GaussianPrior(2.0, 0.4)), backend="scipy")
    precision = 0.5**-2 + 0.4**-2
    found = result.free["c.const"]
    assert found.value == pytest.approx((3.0 / 0.25 + 2.0 / 0.16) / precision, rel=1e-7)
    assert found.error == pytest.approx(precision**-0.5, rel=1e-6)
    assert result.penalized_stat == pytest.approx(1.0 / (0.25 + 0.16), rel=1e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_most_probable_values(name):
    prior = PRIORS[name]
    values = np.linspace(1.001, 4.999, 4001)
    rise = prior.above_mode(values)
    assert np.nanmin(rise) > -1e-9
    assert prior(prior.mode) <= prior(values).min() + 1e-9
    assert np.isfinite(prior.mode)


def test_a_prior_of_ones_own_has_a_mode():
    from dataclasses import dataclass

    from xgamma.models.prior import Prior

    @dataclass(frozen=True, repr=False)
    class Cosh(Prior):
        mu: float = 1.5

        def stat(self, value):
            return np.cosh(value - self.mu)

    assert Cosh(mu=2.5).mode == pytest.approx(2.5, abs=1e-6)


# ---------------------------------------------------------------------- profiles and contours
@pytest.fixture(scope="module")
def result():
    curved = LogParabolaSpectralModel(amplitude="4e-12 cm-2 s-1 TeV-1", alpha=2.3, beta=0.05, reference="2 TeV")
    return fit(spectrum_cube(n_obs=8), SkyModel(curved, name="crab"))


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_lazy_profiles_are_the_same(result, scheduler):
    with dask.config.set(scheduler=raising):
        lazy = result.stat_profile("alpha", 7, lazy=True)
        surface = result.stat_surface("alpha", "beta", 3, 4, lazy=True)
    assert isinstance(lazy.stat.data, da.Array)
    wanted = result.stat_profile("alpha", 7)
    with dask.config.set(scheduler=scheduler):
        found, plane = lazy.compute(), surface.compute()
    np.testing.assert_allclose(found.stat, wanted.stat, atol=2e-5)
    np.testing.assert_allclose(found.alpha, wanted.alpha)
    np.testing.assert_allclose(found["values"], wanted["values"], rtol=2e-3)
    assert found.success.all()
    np.testing.assert_allclose(plane.stat, result.stat_surface("alpha", "beta", 3, 4).stat, atol=2e-5)
    assert plane["values"].dims == ("alpha", "beta", "parameter")


def test_the_numbers_do_not_depend_on_the_scheduler(result):
    lazy = result.stat_profile("alpha", 5, lazy=True)
    one, two = (lazy.compute(scheduler=s) for s in ("synchronous", "threads"))
    xr.testing.assert_identical(one, two)


def test_scans_over_any_parameters(result):
    scan = result.stat_scan({"alpha": 3, "beta": [0.0, 0.1], "amplitude": None})
    assert scan.stat.dims == ("alpha", "beta", "amplitude")
    assert scan.stat.shape == (3, 2, 11)
    # nothing is left to be fitted: the likelihood itself
    values = result.parameters.values
    at = {name: result.parameters.index_of(result.free[f"crab.{name}"]) for name in ("alpha", "beta", "amplitude")}
    values[[at["alpha"], at["beta"], at["amplitude"]]] = [scan[n].values[k] for n, k in
                                                         (("alpha", 1), ("beta", 1), ("amplitude", 4))]  # fmt: skip
    assert float(scan.stat[1, 1, 4]) == pytest.approx(result.likelihood.stat(values), rel=1e-12)
    plain = result.stat_scan(["alpha"], reoptimize=False)
    xr.testing.assert_identical(plain, result.stat_profile("alpha", reoptimize=False))
    with pytest.raises(ValueError, match="each once"):
        result.stat_scan({})
    with pytest.raises(ValueError, match="is not the name of one free parameter"):
        result.stat_scan({"gamma": 3})


@pytest.mark.parametrize("joint", [False, True])
def test_lazy_contours(result, joint):
    with dask.config.set(scheduler=raising):
        lazy = result.stat_contour("alpha", "beta", n=8, joint=joint, lazy=True)
    points = lazy.compute(scheduler="synchronous")
    assert points.sizes["point"] == 9
    rise = points.attrs["delta_stat"]
    assert rise == pytest.approx(chi2.isf(chi2.sf(1, 1), 2) if joint else 1.0)
    for a, b in zip(points.alpha.values, points.beta.values, strict=True):
        at = result.stat_surface("alpha", "beta", [a], [b])
        assert at.delta_stat.item() == pytest.approx(rise, abs=2e-5)
    # MINUIT's contour has the same extent
    other = result.stat_contour("alpha", "beta", n=40, joint=joint)
    many = result.stat_contour("alpha", "beta", n=40, joint=joint, lazy=True).compute(scheduler="synchronous")
    for name in ("alpha", "beta"):
        size = float(other[name].max() - other[name].min())
        assert float(many[name].max()) == pytest.approx(float(other[name].max()), abs=0.02 * size)
        assert float(many[name].min()) == pytest.approx(float(other[name].min()), abs=0.02 * size)


def test_contours_end_at_limits():
    model = constant(start=2.9)
    two = SkyModel(ConstantSpectralModel(const="1e-12 cm-2 s-1 TeV-1"), name="d", datasets_names="b")
    model.datasets_names = ["a"]
    model.spectral.const.max = 3.1
    found = fit({"a": measurement(), "b": measurement(1.0, 0.1)}, [model, two])
    points = found.stat_contour("c.const", "d.const", n=8, lazy=True).compute(scheduler="synchronous")
    assert np.isnan(points["c.const"]).any()
    assert np.isfinite(points["c.const"]).any()


def test_maps_in_threads():
    """A task has a copy of the likelihood: what one remembers does not disturb the others."""
    cube = map_cube()
    models = [point(amplitude=1e-10), gauss()]
    cube["counts"] = np.floor(npred(cube, models))
    models[1].freeze("spatial")
    result = fit(cube, models)
    lazy = result.stat_profile("point.lon_0", 6, lazy=True)
    xr.testing.assert_identical(lazy.compute(scheduler="threads"), lazy.compute(scheduler="synchronous"))
    np.testing.assert_allclose(lazy.stat, result.stat_profile("point.lon_0", 6).stat, atol=1e-3)


# ---------------------------------------------------------------------- nested models
def nested(cube=None):
    cube = spectrum_cube(n_obs=8) if cube is None else cube
    curved = SkyModel(LogParabolaSpectralModel(amplitude="4e-12 cm-2 s-1 TeV-1", alpha=2.3, beta=0.0), name="crab")
    rich = fit(cube, curved)
    curved.spectral.beta.frozen = True
    return fit(cube, curved), rich


def test_likelihood_ratio():
    null, rich = nested()
    test = likelihood_ratio(null, rich)
    assert test.ts == pytest.approx(null.total_stat - rich.total_stat)
    assert test.dof == 1
    assert test.p_value == pytest.approx(chi2.sf(test.ts, 1))
    assert test.sigma == pytest.approx(np.sqrt(test.ts))
    assert test.message == ""
    assert "more free parameter:" in repr(test)
    assert test._repr_html_()
    half = likelihood_ratio(null, rich, one_sided=True)
    assert half.p_value == pytest.approx(test.p_value / 2)


def test_test_statistics_follow_a_chi_square():
    """Wilks: in data of the null hypothesis, the chances are uniform."""
    rng = np.random.default_rng(3)
    cube = spectrum_cube(n_obs=8, asimov=True)
    mean, off = cube.counts.values.sum(axis=0), cube.counts_off.values.sum(axis=0)
    one = cube.isel(obs=0, drop=True)
    exposure = (one.exposure.dims, cube.exposure.values.sum(axis=0), one.exposure.attrs)
    chances = []
    for _ in range(60):
        drawn = one.assign(
            counts=("energy", rng.poisson(mean).astype(float)),
            counts_off=("energy", rng.poisson(off).astype(float)),
            exposure=exposure,
        )
        chances.append(likelihood_ratio(*nested(drawn)).p_value)
    # mean and standard deviation of uniform numbers: 1/2, and 1 / sqrt(12 n) for the mean
    assert np.mean(chances) == pytest.approx(0.5, abs=3 / np.sqrt(12 * len(chances)))
    assert np.mean(np.array(chances) < 0.1) == pytest.approx(0.1, abs=3 * np.sqrt(0.09 / len(chances)))


def test_words_of_the_likelihood_ratio():
    null, rich = nested()
    with pytest.raises(ValueError, match="are the two swapped"):
        likelihood_ratio(rich, null)
    with pytest.raises(TypeError, match="not str"):
        likelihood_ratio(null, "rich")
    # fewer runs, and as many with other counts
    for other in (spectrum_cube(n_obs=3), spectrum_cube(n_obs=8, seed=5)):
        with pytest.raises(ValueError, match="not of the same data"):
            likelihood_ratio(null, nested(other)[1])
    # an alternative that does not hold the null hypothesis
    far = rich.models.copy()
    far.parameters["crab.beta"].value, far.parameters["crab.beta"].min = 0.6, 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worse = fit(spectrum_cube(n_obs=8), far)
    assert worse.total_stat > null.total_stat + 1
    with pytest.raises(ValueError, match="fits worse"):
        likelihood_ratio(null, worse)


def test_boundaries_are_told():
    """A norm that may not be negative: the null hypothesis lies on its limit."""
    cube = spectrum_cube(n_obs=4)
    extra = SkyModel(PowerLawSpectralModel(index=4.0, amplitude="1e-14 cm-2 s-1 TeV-1"), name="extra")
    extra.spectral.index.frozen = True
    extra.spectral.amplitude.min = 0.0
    models = Models([source(), extra])
    rich = fit(cube, models)
    models.parameters["extra.amplitude"].value = 0.0
    models.parameters["extra.amplitude"].frozen = True
    null = fit(cube, models)
    with pytest.warns(UserWarning, match="limit"):
        test = likelihood_ratio(null, rich)
    assert "extra.amplitude" in test.boundary
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = likelihood_ratio(null, rich, one_sided=True)
    assert half.p_value == pytest.approx(test.p_value / 2)


def test_criteria():
    null, rich = nested()
    n = null.n_bins
    for found, k in ((null, 2), (rich, 3)):
        assert found.n_free == k
        assert found.aic == pytest.approx(found.total_stat + 2 * k)
        assert found.aicc == pytest.approx(found.aic + 2 * k * (k + 1) / (n - k - 1))
        assert found.bic == pytest.approx(found.total_stat + k * np.log(n))
    assert np.isnan(fit(measurement(), constant()).aicc)


# ---------------------------------------------------------------------- what data do not tell
def test_degenerate_parameters_are_named():
    two = Models([source(), source().copy(name="twin")])
    for model in two:
        model.spectral.index.frozen = True
    with pytest.warns(UserWarning, match=r"the data do not tell \['crab.amplitude', 'twin.amplitude'\]"):
        result = fit(spectrum_cube(), two)
    assert not result.success
    assert np.isnan(result.covariance).all()


def test_links_to_itself_and_in_a_circle():
    models = Models([source(), source().copy(name="twin"), source().copy(name="third")])
    with pytest.raises(ValueError, match=r"crab.index and crab.index are one parameter already"):
        models.link("crab.index", "crab.index")
    models.link("crab.index", "twin.index")
    models.link("twin.index", "third.index")
    with pytest.raises(ValueError, match="one parameter already"):
        models.link("third.index", "crab.index")
    assert models["crab"].spectral.index is models["third"].spectral.index
