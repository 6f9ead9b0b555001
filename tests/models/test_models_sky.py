"""Sources: their parts, names and words."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from xgamma.models.component import ParameterField
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_model import SpatialModel


class Place(SpatialModel):
    """A spatial model without a tag."""

    has_frame = False
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", frozen=True)

    @property
    def position(self):
        return self.lon_0.value, self.lat_0.value


@pytest.fixture
def crab() -> SkyModel:
    return SkyModel(PowerLawSpectralModel(index=2.5), Place(lon_0="83 deg"), name="crab", datasets_names="hess")


def test_parts_and_parameters(crab):
    assert list(crab.components) == ["spectral", "spatial"]
    assert crab.parameters.names == ["index", "amplitude", "reference", "lon_0", "lat_0"]
    assert crab.parameter_of("spatial.lon_0") is crab.spatial.lon_0
    assert crab.parameter_of("index") is crab.spectral.index
    assert crab.position == (83.0, 0.0)
    assert SkyModel(PowerLawSpectralModel()).position is None
    with pytest.raises(ValueError, match="no part 'temporal'"):
        crab.parameter_of("temporal.t0")


def test_datasets(crab):
    assert crab.datasets_names == ["hess"]
    assert crab.belongs_to("hess")
    assert not crab.belongs_to("magic")
    assert SkyModel(PowerLawSpectralModel()).belongs_to("magic")


def test_freeze_a_part_and_restore_the_defaults(crab):
    crab.freeze()
    assert len(crab.parameters.free) == 0
    crab.unfreeze("spatial")
    assert crab.parameters.free.names == ["lon_0"]
    crab.unfreeze()
    assert crab.parameters.free.names == ["index", "amplitude", "lon_0"]
    with pytest.raises(ValueError, match=r"no part 'spatail'; its parts are \['spectral', 'spatial'\]"):
        crab.freeze("spatail")


def test_copies(crab):
    new = crab.copy("vela", datasets_names=None)
    assert (new.name, new.datasets_names, crab.name) == ("vela", None, "crab")
    new.spectral.index.value = 3.0
    assert crab.spectral.index.value == 2.5
    for other in (copy.deepcopy(crab), pickle.loads(pickle.dumps(crab))):
        assert repr(other) == repr(crab)
    with pytest.raises(TypeError, match="no attribute 'spectrum'; did you mean 'spectral'"):
        crab.copy(spectrum=PowerLawSpectralModel())


def test_covariance_of_the_parts(crab):
    matrix = np.diag([0.01, 1e-26, 0.0, 1e-6, 0.0])
    matrix[0, 3] = matrix[3, 0] = 5e-5
    crab.set_covariance(matrix)
    np.testing.assert_array_equal(crab.covariance, matrix)
    np.testing.assert_array_equal(crab.spectral.covariance, matrix[:3, :3])
    assert crab.spatial.lon_0.error == pytest.approx(1e-3)
    # a part that is fitted again later counts
    crab.spectral.set_covariance(np.diag([0.04, 1e-26, 0.0]))
    np.testing.assert_allclose(crab.covariance[0], [0.04, 0, 0, 1e-4, 0])


def test_prior_through_the_parameters(crab):
    crab.parameters["index"].prior = GaussianPrior(2.5, 0.1)
    assert crab.parameters.prior_stat() == pytest.approx(2 * np.log(0.1) + np.log(2 * np.pi))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spectral_model": PowerLawSpectralModel()}, "spectral_model is called spectral here"),
        ({"spectral": PowerLawSpectralModel(), "spatial_model": 1}, "spatial_model is called spatial here"),
        ({"spectral": PowerLawSpectralModel(), "colour": 1}, "SkyModel has no argument 'colour'"),
        ({}, "needs a spectral model"),
        ({"spectral": 3}, "spectral=3 of 'source' is not a spectral model"),
        ({"spectral": Place()}, "is not a spectral model"),
        ({"spectral": PowerLawSpectralModel(), "spatial": PowerLawSpectralModel()}, "is not a spatial model"),
        ({"spectral": PowerLawSpectralModel(), "temporal": Place()}, "is not a temporal model"),
        ({"spectral": PowerLawSpectralModel(), "name": ""}, "must be a text that is not empty"),
        ({"spectral": PowerLawSpectralModel(), "apply_irf": {"aeff": True}}, "has no 'aeff'; responses are"),
        ({"spectral": PowerLawSpectralModel(), "apply_irf": {"psf": "no"}}, "must be true or false"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        SkyModel(**arguments)


def test_attributes_of_other_names():
    model = SkyModel(PowerLawSpectralModel())
    with pytest.raises(AttributeError, match="'spectral_model': it is called 'spectral' here"):
        model.spectral_model  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'flux'"):
        model.flux  # noqa: B018


def test_what_people_see(crab):
    assert repr(crab) == (
        "SkyModel(name='crab', spectral=PowerLawSpectralModel(index=2.5, amplitude=1e-12 1 / (TeV s cm2), "
        "reference=1 TeV (frozen)), spatial=Place(lon_0=83 deg, lat_0=0 deg (frozen)), datasets_names=['hess'])"
    )
    crab.name = "<b>"
    html = crab._repr_html_()
    assert "<b>SkyModel &lt;b&gt;</b> (spectral: PowerLawSpectralModel, spatial: Place)" in html
    assert "lon_0" in html


def test_attributes_that_are_set_later_are_checked():
    crab = SkyModel(PowerLawSpectralModel(), name="crab")
    both = crab.copy(name="vela", datasets_names=["a", "b"])
    assert (both.name, both.datasets_names) == ("vela", ["a", "b"])
    # not a part of the name
    crab.datasets_names = "stereo"
    assert crab.belongs_to("stereo")
    assert not crab.belongs_to("stereo-2")
    assert not crab.belongs_to("mono")
    assert not crab.copy(datasets_names="stereo").belongs_to("ster")
    with pytest.raises(TypeError, match="datasets_names=3 of 'crab' must be names of datasets"):
        crab.datasets_names = 3
    with pytest.raises(AttributeError, match="no attribute 'dataset_names'; did you mean 'datasets_names'"):
        crab.dataset_names = ["a"]
    with pytest.raises(AttributeError, match="no attribute 'spectral_model'; did you mean 'spectral'"):
        crab.spectral_model = PowerLawSpectralModel()
    crab.spectral = PowerLawSpectralModel(index=3)
    assert crab.parameters["index"].value == 3
