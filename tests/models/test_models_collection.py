"""Collections of models: names, links, covariances, choices."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import xarray as xr

from xgamma.models.covariance import Covariance
from xgamma.models.models import Models, as_models
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior, UniformPrior
from xgamma.models.sky_model import SkyModel


def source(name: str, **values) -> SkyModel:
    return SkyModel(PowerLawSpectralModel(**values), name=name)


@pytest.fixture
def models() -> Models:
    return Models([source("crab", index=2.6), source("vela", index=2.0)])


def matrix_of(models: Models, seed: int = 1) -> np.ndarray:
    """A covariance over all parameters, 0 for frozen ones."""
    free = np.array([not p.frozen for p in models.parameters])
    scale = np.abs(models.parameters.values) * 0.1 * free
    root = np.random.default_rng(seed).normal(size=(free.size, free.size)) + 3 * np.eye(free.size)
    return root @ root.T * np.outer(scale, scale)


# ------------------------------------------------------------------ a sequence
def test_a_sequence_by_name_and_position(models):
    assert models.names == ["crab", "vela"]
    assert models["vela"] is models[1] is models[-1]
    assert models[1:].names == ["vela"]
    assert "crab" in models
    assert models["crab"] in models
    del models["crab"]
    assert models.names == ["vela"]
    models[0] = source("new")
    models.append(source("other"))
    assert models.names == ["new", "other"]
    assert as_models(models) is models
    assert as_models(source("one")).names == ["one"]


def test_names_must_be_unique_and_things_models(models):
    with pytest.raises(ValueError, match="already a model 'crab'"):
        models.append(source("crab"))
    with pytest.raises(ValueError, match="already a model 'vela'"):
        models["crab"] = source("vela")
    models["crab"] = source("crab")
    with pytest.raises(TypeError, match=r"is not a model of a source.*give xgamma\.SkyModel"):
        models.append(PowerLawSpectralModel())
    with pytest.raises(KeyError, match="no model 'carb'; did you mean 'crab'"):
        models["carb"]


def test_names_of_parameters_are_full_and_distinct():
    both = SkyModel(PowerLawSpectralModel() + PowerLawSpectralModel(), name="sum")
    names = Models([both]).parameters.names
    assert names == ["sum.index", "sum.amplitude", "sum.reference", "sum.index_2", "sum.amplitude_2", "sum.reference_2"]
    assert both.spectral.parameters["amplitude_2"] is both.spectral.model2.amplitude


# ------------------------------------------------------------------ links
def test_links(models):
    models.link("crab.index", "vela.index")
    assert models["vela"].spectral.index is models["crab"].spectral.index
    assert models.parameters.names == [
        "crab.index",
        "crab.amplitude",
        "crab.reference",
        "vela.amplitude",
        "vela.reference",
    ]
    assert list(models.to_table()["link"]) == ["crab.index", "", "", "crab.index", "", ""]
    models.unlink("vela.index")
    assert models["vela"].spectral.index is not models["crab"].spectral.index
    assert models["vela"].spectral.index.value == 2.6


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (("crab.index", "crab.index"), ValueError, "are one parameter already"),
        (("crab.index", "vela.amplitude"), ValueError, "cannot be linked to crab.index in ''"),
        (("crab.index", "vela.index", "vela.amplitude"), ValueError, "cannot be linked"),
        (("crab.gamma", "vela.index"), KeyError, "no parameter 'crab.gamma'"),
        (("crab.index", "vela.indx"), KeyError, "did you mean 'vela.index'"),
    ],
)
def test_links_that_cannot_be(models, names, error, words):
    with pytest.raises(error, match=words):
        models.link(*names)
    # a call that fails links nothing
    assert len(models.parameters) == 6


def test_links_inside_compounds():
    absorbed = SkyModel(PowerLawSpectralModel() * PowerLawNormSpectralModel(), name="a")
    models = Models([absorbed, source("b")])
    models.link("b.index", "a.index")
    assert absorbed.spectral.model1.index is models["b"].spectral.index


@pytest.mark.parametrize("duplicate", [Models.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_links_and_covariances_survive_copies(models, duplicate):
    models.link("crab.index", "vela.index")
    models.set_covariance(matrix_of(models))
    new = duplicate(models)
    assert new["crab"].spectral.index is new["vela"].spectral.index
    assert new["crab"].spectral.index is not models["crab"].spectral.index
    xr.testing.assert_identical(new.covariance, models.covariance)
    new["crab"].spectral.index.value = 9.0
    assert models["crab"].spectral.index.value == 2.6


# ------------------------------------------------------------------ covariance
def test_covariance_with_names(models):
    matrix = matrix_of(models)
    models.set_covariance(matrix)
    covariance = models.covariance
    assert covariance.dims == ("parameter", "parameter_")
    assert float(covariance.sel(parameter="crab.index", parameter_="vela.amplitude")) == matrix[0, 4]
    assert list(covariance["unit"].values) == [p.unit for p in models.parameters]
    np.testing.assert_array_equal(covariance, matrix)
    np.testing.assert_array_equal(models["vela"].covariance, matrix[3:, 3:])
    np.testing.assert_array_equal(models["vela"].spectral.covariance, matrix[3:, 3:])
    np.testing.assert_allclose(models.parameters.errors, np.sqrt(np.diag(matrix)))


def test_covariance_of_linked_parameters_is_one_for_all(models):
    models.link("crab.index", "vela.index")
    matrix = matrix_of(models)
    models.set_covariance(matrix)
    rows = [0, 3, 4]
    np.testing.assert_array_equal(models["vela"].covariance, matrix[np.ix_(rows, rows)])
    np.testing.assert_array_equal(models.covariance, matrix)


def test_covariance_over_the_free_ones_and_with_labels(models):
    matrix = matrix_of(models)
    free = models.parameters.free
    keep = [i for i, p in enumerate(models.parameters) if not p.frozen]
    block = matrix[np.ix_(keep, keep)]
    models.set_covariance(Covariance(tuple(free), block))
    np.testing.assert_array_equal(models.covariance, matrix)
    labels = xr.DataArray(
        block[::-1, ::-1],
        dims=("parameter", "parameter_"),
        coords={"parameter": free.names[::-1], "parameter_": free.names[::-1]},
    )
    other = models.copy()
    other.set_covariance(labels)
    xr.testing.assert_identical(other.covariance, models.covariance)
    with pytest.raises(ValueError, match="labelled covariance has the dims"):
        models.set_covariance(xr.DataArray(np.eye(2), dims=("a", "b")))
    with pytest.raises(ValueError, match="needs shape"):
        models.set_covariance(np.eye(2))


def test_models_that_were_fitted_apart_bring_their_covariances():
    first, second = Models([source("a"), source("b")]), Models([source("c"), source("d")])
    first.set_covariance(matrix_of(first, 1))
    second.set_covariance(matrix_of(second, 2))
    both = first + second
    expected = np.zeros((12, 12))
    expected[:6, :6], expected[6:, 6:] = first.covariance, second.covariance
    np.testing.assert_array_equal(both.covariance, expected)
    np.testing.assert_array_equal(Models(first).covariance, first.covariance)
    np.testing.assert_array_equal(first.select(["b", "a"]).covariance, first.covariance)
    np.testing.assert_array_equal(Models([first["b"], second["c"]]).covariance[:3, :3], first.covariance[3:, 3:])


# ------------------------------------------------------------------ choices
def test_select():
    third = SkyModel(
        PowerLawSpectralModel() * PowerLawNormSpectralModel(), name="crab nebula", datasets_names=["fermi"]
    )
    models = Models([source("crab"), source("vela"), third])
    models["vela"].datasets_names = ["hess"]
    assert models.select("crab").names == ["crab", "crab nebula"]
    assert models.select(["vela"]).names == ["vela"]
    assert models.select(tag="pl-norm").names == ["crab nebula"]
    assert models.select(tag="SkyModel").names == models.names
    assert models.select(dataset="hess").names == ["crab", "vela"]
    assert models.select("crab", dataset="fermi").names == ["crab", "crab nebula"]
    assert models.select("crab")[0] is models["crab"]
    with pytest.raises(KeyError, match="no model 'M1'"):
        models.select(["M1"])


def test_assign(models):
    models.assign("crab", ["hess", "magic"])
    models.assign(["vela"], "fermi")
    assert models["crab"].datasets_names == ["hess", "magic"]
    assert models["vela"].datasets_names == ["fermi"]
    models.assign(None, None)
    assert models["crab"].datasets_names is None
    with pytest.raises(KeyError, match="no model 'M1'"):
        models.assign("M1", "hess")


def test_freeze(models):
    models.freeze("spectral")
    assert len(models.parameters.free) == 0
    models.unfreeze()
    assert models.parameters.free.names == ["crab.index", "crab.amplitude", "vela.index", "vela.amplitude"]
    models.freeze("temporal")  # none has one
    with pytest.raises(ValueError, match="kind='spectrum' of parts is not known"):
        models.freeze("spectrum")


def test_priors_add_up_and_a_linked_parameter_has_one(models):
    models.link("crab.index", "vela.index")
    models["crab"].spectral.index.prior = GaussianPrior(2.6, 0.1)
    models["vela"].spectral.amplitude.prior = UniformPrior(0, 1e-11)
    expected = 2 * np.log(0.1) + np.log(2 * np.pi) + 2 * np.log(1e-11)
    assert models.prior_stat() == pytest.approx(expected)
    models["vela"].spectral.amplitude.value = 2e-11
    assert models.prior_stat() == np.inf


def test_what_people_see(models):
    text = repr(models)
    assert text.startswith("Models(2: 6 parameters, 4 free)\n  SkyModel(name='crab', ")
    models["crab"].spectral.index.prior = GaussianPrior(2.6, 0.1)
    html = models._repr_html_()
    assert "GaussianPrior(mu=2.6, sigma=0.1)" in html
    assert html.count("<td>crab</td>") == 3
    assert repr(Models()) == "Models(0: 0 parameters, 0 free)"
    assert Models()._repr_html_()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("crab", "'crab' is not a model: give"),
        (3, "3 is not a model: give"),
        (PowerLawSpectralModel(), "PowerLawSpectralModel is not a model of a source, but the spectral part of one"),
        ([PowerLawSpectralModel()], "but the spectral part of one"),
    ],
)
def test_what_is_no_model_is_named_as_a_whole(given, words):
    with pytest.raises(TypeError, match=words):
        Models(given)
