"""Significance distribution against scipy and simulations."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import norm

from xgamma.estimators.significance import significance_distribution


def make_map(mean=0.1, std=1.2, size=(100, 80), seed=0):
    return xr.DataArray(np.random.default_rng(seed).normal(mean, std, size), dims=("y", "x"))


def test_moments_are_those_of_the_values():
    values = make_map()
    result = significance_distribution(values)
    assert_allclose(result["mean"], values.mean())
    assert_allclose(result["std"], values.std())
    assert_allclose(result["mean_err"], values.std() / np.sqrt(8000))
    assert result.n_pixels == 8000
    assert result.histogram.sum() == 8000


def test_fit_is_the_maximum_of_the_binned_likelihood():
    values = make_map()
    result = significance_distribution(values, nbin=25, limits=(-3, 3))
    edges = np.append(result.significance_min.values, result.significance_max.values[-1])

    def statistic(parameters):
        probability = np.diff(norm.cdf(edges, *parameters))
        return -(result.histogram.values * np.log(probability / probability.sum())).sum()

    best = minimize(statistic, [0, 1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    assert_allclose([result.fit_mean, result.fit_std], best.x, rtol=1e-5)
    assert_allclose(result.model.sum(), result.histogram.sum())


def test_fit_is_not_biased_by_cut_tails_and_its_errors_are_right():
    pulls = []
    for seed in range(60):
        result = significance_distribution(make_map(seed=seed, size=(30, 40)), limits=(-1.5, 2.0), nbin=30)
        pulls.append([(result.fit_mean - 0.1) / result.fit_mean_err, (result.fit_std - 1.2) / result.fit_std_err])
    pulls = np.array(pulls, dtype=float)
    assert (np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(60)).all()
    assert ((pulls.std(axis=0) > 0.7) & (pulls.std(axis=0) < 1.3)).all()


def test_mask_and_nan_are_left_out():
    values = make_map()
    values[:, :10] = 50.0
    values[0, 20] = np.nan
    mask = xr.DataArray(np.arange(80) >= 10, dims="x")
    result = significance_distribution(values, mask)
    assert result.n_pixels == 100 * 70 - 1
    assert abs(float(result.fit_std) - 1.2) < 0.1


def test_a_constant_map_has_no_fit():
    result = significance_distribution(xr.DataArray(np.zeros((5, 5)), dims=("y", "x")))
    assert np.isnan(result.fit_mean)
    assert result["mean"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mask": xr.DataArray(np.zeros((100, 80), dtype=bool), dims=("y", "x"))}, "no finite significance"),
        ({"mask": xr.DataArray(np.ones(80), dims="x")}, "mask must be bool"),
        ({"mask": xr.DataArray(np.ones(3, dtype=bool), dims="obs")}, "that the map has not"),
        ({"nbin": 0}, "whole number"),
        ({"limits": (2, 1)}, "two ascending numbers"),
        ({"limits": (100, 101)}, "no significance lies between"),
    ],
)
def test_bad_input_raises_in_words(arguments, words):
    with pytest.raises(ValueError, match=words):
        significance_distribution(make_map(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"nbin": "many"}, ValueError, "nbin='many' must be a whole number"),
        ({"limits": 3}, ValueError, "limits=3 must be two ascending numbers"),
        ({"limits": ("a", "b")}, ValueError, "must be two ascending numbers"),
        ({"mask": np.ones((2, 2), dtype=bool)}, TypeError, "mask must be a DataArray of bools"),
        ({"sqrt_ts": xr.Dataset()}, TypeError, "must be a DataArray, such as maps.sqrt_ts, not a Dataset"),
    ],
)
def test_arguments_of_another_kind(arguments, error, words):
    with pytest.raises(error, match=words):
        significance_distribution(**{"sqrt_ts": make_map(), **arguments})
