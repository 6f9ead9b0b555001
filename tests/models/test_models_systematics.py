"""Models of systematic errors: what they take, what they say, how they travel in files."""

import numpy as np
import pytest
import yaml

from xgamma.models.models import Models
from xgamma.models.parameter import Parameter
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior, LogNormalPrior, UniformPrior
from xgamma.models.sky_model import SkyModel
from xgamma.models.systematics import NuisanceFactors, Systematics
from xgamma.models.yaml import models_from_yaml


def crab():
    return SkyModel(PowerLawSpectralModel(), name="crab")


def test_widths_become_priors():
    model = Systematics(energy_scale=0.15, aeff=0.1, aeff_tilt=0.05, background=0.02, psf=0.03, name="hess")
    assert model.parameters.free.names == ["energy_scale", "aeff", "aeff_tilt", "background", "psf"]
    for name, width in {"energy_scale": 0.15, "aeff": 0.1, "background": 0.02, "psf": 0.03}.items():
        parameter = model.parameters[name]
        assert parameter.value == 1
        assert (parameter.prior.mu, parameter.prior.sigma) == (1.0, width)
    assert model.nuisance.aeff_tilt.value == model.nuisance.aeff_tilt.prior.mu == 0


def test_priors_and_parameters():
    scale = Parameter("energy_scale", 1.0, prior=GaussianPrior(1, 0.1))
    one = Systematics(energy_scale=scale, aeff=LogNormalPrior(0, 0.1), name="one")
    two = Systematics(energy_scale=scale, aeff=UniformPrior(0.8, 1.2), name="two")
    assert one.nuisance.energy_scale is two.nuisance.energy_scale
    assert Models([one, two]).parameters.free.names == ["one.energy_scale", "one.aeff", "two.aeff"]


def test_freeze_and_unfreeze():
    model = Systematics(aeff=0.1, psf=0.1)
    model.freeze()
    assert not model.parameters.free.names
    model.unfreeze()
    assert model.parameters.free.names == ["aeff", "psf"]
    models = Models([crab(), model])
    models.freeze("nuisance")
    assert models.parameters.free.names == ["crab.index", "crab.amplitude"]


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({}, ValueError, "says of nothing that it is uncertain"),
        ({"aeff": 0.0}, ValueError, "positive width"),
        ({"aeff": -0.1}, ValueError, "positive width"),
        ({"aeff": np.nan}, ValueError, "positive width"),
        ({"aeff": True}, TypeError, "relative width"),
        ({"aeff": "0.1"}, TypeError, "relative width"),
        ({"aeff": 0.1, "nuisance": NuisanceFactors()}, TypeError, "stand instead"),
        ({"nuisance": 3}, TypeError, "must be NuisanceFactors"),
    ],
)
def test_bad_input(given, kind, words):
    with pytest.raises(kind, match=words):
        Systematics(**given)


def joint():
    hess = Systematics(energy_scale=0.15, background=0.02, name="hess-syst", datasets_names=["hess"])
    magic = Systematics(energy_scale=hess.nuisance.energy_scale, aeff_tilt=0.1, reference="500 GeV", name="magic-syst",
                        datasets_names=["magic"])  # fmt: skip
    models = Models([crab(), hess, magic])
    values = np.arange(1.0, 1.0 + len(models.parameters.free))
    matrix = np.zeros((len(models.parameters),) * 2)
    free = [models.parameters.index_of(p) for p in models.parameters.free]
    matrix[np.ix_(free, free)] = 1e-4 * (np.outer(values, values) + np.diag(values))
    models.set_covariance(matrix)
    return models


def test_files(tmp_path):
    models = joint()
    models.write(tmp_path / "models.yaml")
    again = Models.read(tmp_path / "models.yaml")
    assert again.names == models.names
    assert again.parameters.names == models.parameters.names
    assert again.parameters.free.names == models.parameters.free.names
    np.testing.assert_allclose(again.covariance, models.covariance, rtol=1e-12)
    assert again["magic-syst"].nuisance.energy_scale is again["hess-syst"].nuisance.energy_scale
    assert again["hess-syst"].nuisance.background.prior == GaussianPrior(1, 0.02, unit="")
    assert again["magic-syst"].datasets_names == ["magic"]
    assert again["magic-syst"].nuisance.reference.quantity.to_value("TeV") == pytest.approx(0.5)
    assert again.to_yaml() == models.to_yaml()


def test_gammapy_finds_the_sources_alone(tmp_path):
    """What gammapy does not know stands under keys that it passes over; its covariance has the sources' rows alone."""
    models = joint()
    models.write(tmp_path / "models.yaml")
    data = yaml.safe_load((tmp_path / "models.yaml").read_text())
    assert [c["name"] for c in data["components"]] == ["crab"]
    assert [c["name"] for c in data["systematics"]] == ["hess-syst", "magic-syst"]
    rows = (tmp_path / data["covariance"]).read_text().splitlines()
    assert len(rows) == 1 + len(crab().parameters)
    assert len((tmp_path / data["systematics_covariance"]).read_text().splitlines()) > len(rows)


def test_words_of_files():
    text = "components: []\nsystematics:\n- {name: a, type: Systematics}\n"
    with pytest.raises(ValueError, match=r"systematics\[0\] 'a': Systematics: it needs 'nuisance'"):
        models_from_yaml(text)
    with pytest.raises(ValueError, match="'systematics' must be a list"):
        models_from_yaml("components: []\nsystematics: 3\n")
