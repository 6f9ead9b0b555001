"""Priors: against scipy, gammapy 2.1, and their normalisation."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from xgamma.models.parameter import Parameter
from xgamma.models.prior import (
    GaussianPrior,
    GeneralizedGaussianPrior,
    LogNormalPrior,
    LogUniformPrior,
    UniformPrior,
)

# gammapy 2.1: prior(value * u.one) for the prior and value of each row
GAMMAPY = [
    (GaussianPrior(mu=2.1, sigma=0.2), 2.3, -0.3809987584588579),
    (GaussianPrior(mu=2.1, sigma=0.2, weight=2.5), 2.3, -0.9524968961471447),
    (UniformPrior(min=1, max=3), 2.3, 1.3862943611198906),
    (UniformPrior(min=1, max=3), 3.5, np.inf),
    (LogUniformPrior(min=1e-12, max=1e-10), 3e-11, -45.405288216916986),
    (LogUniformPrior(min=1e-12, max=1e-10), 3e-10, np.inf),
    (GeneralizedGaussianPrior(mu=2, sigma=0.3, eta=1), 2.5, 2.028518536983123),
    (GeneralizedGaussianPrior(mu=2, sigma=0.3, eta=0.5), 2.5, 2.2077092355352512),
    (GeneralizedGaussianPrior(mu=2, sigma=0.3, eta=0.1), 2.5, 9.908108355458415),
]


@pytest.mark.parametrize(("prior", "value", "expected"), GAMMAPY, ids=lambda x: repr(x))
def test_values_of_gammapy(prior, value, expected):
    np.testing.assert_allclose(prior(value), expected, rtol=1e-12)


@given(mu=st.floats(-5, 5), sigma=st.floats(1e-3, 10), eta=st.floats(0.1, 3), x=st.floats(-20, 20))
def test_densities_are_those_of_scipy(mu, sigma, eta, x):
    np.testing.assert_allclose(GaussianPrior(mu, sigma)(x), -2 * stats.norm(mu, sigma).logpdf(x), rtol=1e-9)
    general = stats.gennorm(1 / eta, loc=mu, scale=np.sqrt(2) * sigma)
    np.testing.assert_allclose(
        GeneralizedGaussianPrior(mu, sigma, eta)(x), -2 * general.logpdf(x), rtol=1e-7, atol=1e-9
    )
    y = np.exp(x / 4)
    expected = -2 * stats.lognorm(sigma, scale=np.exp(mu)).logpdf(y)
    np.testing.assert_allclose(LogNormalPrior(mu, sigma)(y), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("prior", "low", "high"),
    [
        (GaussianPrior(2.0, 0.3), -1.0, 5.0),
        (GeneralizedGaussianPrior(2.0, 0.3, 0.8), -20.0, 24.0),
        (UniformPrior(1.0, 4.0), 1.0, 4.0),
        (LogUniformPrior(0.1, 10.0), 0.1, 10.0),
        (LogNormalPrior(0.5, 0.4), 1e-3, 60.0),
    ],
)
def test_densities_integrate_to_one(prior, low, high):
    total, _ = integrate.quad(lambda x: np.exp(-0.5 * float(prior(x))), low, high, points=[2.0], limit=200)
    assert total == pytest.approx(1.0, abs=1e-6)


def test_outside_its_support_a_prior_is_infinite_and_without_weight_nothing():
    np.testing.assert_array_equal(LogNormalPrior()([-1.0, 0.0]), [np.inf, np.inf])
    np.testing.assert_array_equal(LogUniformPrior(1, 2)([0.0, -3.0, 3.0]), [np.inf] * 3)
    assert UniformPrior(0, 1, weight=0.0)(2.0) == 0.0


def test_limits_belong_to_the_range():
    np.testing.assert_array_equal(UniformPrior(0, 1)([0.0, 1.0]), [0.0, 0.0])
    assert np.isfinite(LogUniformPrior(1, 2)([1.0, 2.0])).all()


def test_units_of_the_numbers_and_of_the_parameter():
    prior = GaussianPrior("2e-12 cm-2 s-1 TeV-1", "1e-15 cm-2 s-1 GeV-1")
    assert (prior.mu, prior.sigma) == (2e-12, pytest.approx(1e-12))
    parameter = Parameter("amplitude", 3e-15, "cm-2 s-1 GeV-1", prior=prior)
    # numbers and density in the unit of the parameter
    np.testing.assert_allclose([parameter.prior.mu, parameter.prior.sigma], [2e-15, 1e-15])
    assert parameter.prior_stat() == pytest.approx(prior(3e-12) + 2 * np.log(1e-3))
    with pytest.raises(u.UnitConversionError, match="the prior of energy is in"):
        Parameter("energy", "1 TeV", prior=prior)


def test_a_prior_without_unit_takes_that_of_its_parameter_and_follows_it():
    parameter = Parameter("energy", "2 TeV")
    parameter.prior = GaussianPrior(1.0, 0.5)
    before = parameter.prior_stat()
    parameter.quantity = "2000 GeV"
    assert parameter.prior == GaussianPrior(1000.0, 500.0, unit="GeV")
    assert parameter.prior_stat() == pytest.approx(before + 2 * np.log(1e3))


@given(factor=st.floats(1e-3, 1e3))
def test_a_prior_in_another_unit_is_the_same_density(factor):
    unit = (factor * u.TeV).unit.to_string() if factor == 1 else f"{factor!r} TeV"
    scale = float(u.Unit("TeV").to(u.Unit(unit)))
    for prior in (GaussianPrior(1.0, 0.3), UniformPrior(0.5, 2.0), LogUniformPrior(0.5, 2.0), LogNormalPrior(0.1, 0.4)):
        here = prior.bound("TeV")
        there = here.to(unit)
        # a density per other unit differs by the size of the unit
        np.testing.assert_allclose(there(1.2 * scale) - 2 * np.log(scale), here(1.2), rtol=1e-9, atol=1e-9)


def test_priors_are_values():
    assert GaussianPrior(2, 0.1) == GaussianPrior(mu=2.0, sigma=0.1)
    assert repr(GaussianPrior(2, 0.1, weight=2)) == "GaussianPrior(mu=2, sigma=0.1, weight=2)"
    with pytest.raises(AttributeError):
        GaussianPrior().mu = 3.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianPrior(0, 0), "sigma=0 of GaussianPrior must be positive"),
        (lambda: GaussianPrior(np.nan, 1), "mu=nan of GaussianPrior must be finite"),
        (lambda: GaussianPrior("two", 1), "mu='two' of GaussianPrior is not a number"),
        (lambda: GaussianPrior("1 m", "1 s"), "cannot be converted to 'm'"),
        (lambda: UniformPrior(2, 1), "wrong way round: min=2, max=1"),
        (lambda: LogUniformPrior(0, 1), "min=0 of LogUniformPrior must be positive"),
        (lambda: GeneralizedGaussianPrior(0, 1, "0.5 m"), "eta=0.5 m of GeneralizedGaussianPrior has no unit"),
        (lambda: GeneralizedGaussianPrior(0, 1, -1), "eta=-1"),
        (lambda: GaussianPrior(0, 1, weight=-1), "must not be negative"),
        (lambda: GaussianPrior.from_numbers({"mean": 1}), "has no parameter 'mean'"),
    ],
)
def test_bad_numbers(make, words):
    with pytest.raises(ValueError, match=words):
        make()
