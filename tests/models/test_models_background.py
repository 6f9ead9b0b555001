"""Models of backgrounds, templates of the sky, and the files of other people that hold them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.io.fits_write import write_map
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel, create_fermi_isotropic_diffuse_model
from xgamma.models.models import Models
from xgamma.models.norm import PiecewiseNormSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_norm import PiecewiseNormSpatialModel
from xgamma.models.spatial_template import TemplateSpatialModel
from xgamma.models.spatial_template_nd import TemplateNDSpatialModel
from xgamma.models.temporal_shapes import ExpDecayTemporalModel
from xgamma.models.yaml import component_from_dict, component_to_dict


def sky(energy=None, width=("2 deg", "1.5 deg")):
    axes = {} if energy is None else {energy: xg.energy_axis("1 TeV", "100 TeV", 2, name=energy)}
    return xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), width, "0.5 deg", **axes)


NUMBERS = np.arange(1, 13.0).reshape(3, 4)
LON, LAT = ["0.1 deg", "-0.3 deg", "0.6 deg"], ["0.2 deg", "-0.1 deg", "0.4 deg"]


@pytest.fixture
def image():
    return sky().assign(image=(("y", "x"), NUMBERS, {"units": "sr-1"})).image


@pytest.fixture
def cube():
    values = np.stack([NUMBERS, NUMBERS[::-1] ** 2])
    grid = sky("energy_true")
    return grid.assign(cube=(("energy_true", "y", "x"), values, {"units": "cm-2 s-1 MeV-1 sr-1"})).cube


# ------------------------------------------------------------------ templates
def test_templates_are_those_of_gammapy(image, cube):
    # gammapy 2.1: TemplateSpatialModel of the same maps; its solid angles of pixels differ by 1e-5
    plain = TemplateSpatialModel(image, normalize=False)
    np.testing.assert_allclose(plain(LON, LAT).value, [7.6543496096, 6.0067673772, 8.2969921829], rtol=1e-9)
    normalised = TemplateSpatialModel(image)
    np.testing.assert_allclose(normalised(LON, LAT).value, [1288.6343307, 1011.2508710, 1396.8465469], rtol=3e-5)
    shifted = TemplateSpatialModel(image, normalize=False, lon_0=0.2, lat_0=-0.1)
    np.testing.assert_allclose(shifted(LON, LAT).value, [8.8591188702, 7.4833147735, 9.688861612], rtol=1e-9)
    model = TemplateSpatialModel(cube, normalize=False)
    assert model.is_energy_dependent
    assert model.unit == "TeV-1 s-1 cm-2 sr-1"
    expected = [
        [6499262.453380636, 3797510.8438179335, 10363061.911385618],
        [9014725.650243465, 9501290.663318103, 6642832.000008766],
        [14788496.533240434, 38050678.14689561, 3389624.27322562],
    ]
    np.testing.assert_allclose(model(LON, LAT, energy=["2 TeV", "5 TeV", "20 TeV"]).value, expected, rtol=1e-9)
    assert np.all(model(LON, LAT, energy=["0.9 TeV", "200 TeV"]).value == 0)
    assert np.all(model("5 deg", "0 deg", energy=["2 TeV"]).value == 0)
    with pytest.raises(ValueError, match="give energy="):
        model(LON, LAT)


def test_integrals_of_templates(image, cube):
    model = TemplateSpatialModel(image)
    np.testing.assert_allclose(model.integrate(sky()), NUMBERS / NUMBERS.sum(), rtol=1e-9)
    # parts of pixels of a coarser map, in another frame; nothing beside the template. Between its pixels the logarithm
    # is interpolated, which does not keep the sum over so few of them
    other = xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), "6 deg", "1.3 deg", frame="icrs", proj="TAN")
    assert float(model.integrate(other).sum()) == pytest.approx(1.0, abs=0.05)
    fine = xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), "3 deg", "0.05 deg")
    assert float(model.integrate(fine).sum()) == pytest.approx(1.0, abs=0.03)
    away = xg.sky_grid(SkyCoord(50, 0, unit="deg", frame="galactic"), "3 deg", "0.5 deg")
    assert float(model.integrate(away).sum()) == 0
    grid = sky("energy_true")
    whole = TemplateSpatialModel(cube).integrate(grid)
    assert whole.dims == ("energy_true", "y", "x")
    np.testing.assert_allclose(whole.sum(("y", "x")), [1.0, 1.0], rtol=1e-9)
    assert TemplateSpatialModel(cube, normalize=False).integrate(grid).units == "1 / (TeV s cm2)"
    lazy = TemplateSpatialModel(cube).integrate(cube.chunk(y=2, x=3))
    np.testing.assert_allclose(lazy.compute(), whole, rtol=1e-12)


def test_full_turns_wrap():
    grid = xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), ("360 deg", "20 deg"), "10 deg")
    values = 1.0 + np.cos(np.deg2rad(grid.lon.values)) ** 2
    model = TemplateSpatialModel(grid.assign(m=(("y", "x"), values)).m, normalize=False)
    both = model(["179.9999 deg", "180.0001 deg"], ["0 deg", "0 deg"]).value
    assert both[0] == pytest.approx(both[1], rel=1e-4)


def test_zeros_stay_zeros(image):
    image = image.copy()
    image[:, :2] = 0.0
    model = TemplateSpatialModel(image)
    integral = model.integrate(sky())
    assert (integral[:, :2] == 0).all()
    assert float(integral.sum()) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no value above 0"):
        TemplateSpatialModel(image * 0)
    with pytest.warns(UserWarning, match="count as 0"):
        assert float(TemplateSpatialModel(image - 5).integrate(sky()).sum()) == pytest.approx(1.0)
    with pytest.raises(TypeError, match="needs a map"):
        TemplateSpatialModel(3)
    with pytest.raises(ValueError, match="TemplateNDSpatialModel takes them"):
        TemplateSpatialModel(image.expand_dims(age=[1.0, 2.0]))


def test_templates_in_files(image, tmp_path):
    path = tmp_path / "template.fits"
    write_map(image, path)
    model = TemplateSpatialModel.read(path)
    models = Models([SkyModel(PowerLawSpectralModel(), model, name="cloud")])
    models.write(tmp_path / "models.yaml")
    text = (tmp_path / "models.yaml").read_text()
    assert "filename: template.fits" in text
    back = Models.read(tmp_path / "models.yaml")["cloud"].spatial
    np.testing.assert_allclose(back(LON, LAT).value, model(LON, LAT).value, rtol=1e-9)
    assert copy.deepcopy(model)._table is model._table
    with pytest.raises(ValueError, match="set filename"):
        component_to_dict(TemplateSpatialModel(image))
    assert model.to_region().width.to_value("deg") == pytest.approx(2.0)


def test_templates_with_parameters(tmp_path):
    # gammapy 2.1: TemplateNDSpatialModel of the same map, age = 1.7
    values = np.stack([NUMBERS, NUMBERS[::-1] ** 2])
    table = sky().assign_coords(age=("age", [1.0, 3.0], {"units": "d"})).assign(m=(("age", "y", "x"), values)).m
    model = TemplateNDSpatialModel(table, age=1.7)
    np.testing.assert_allclose(model(LON, LAT).value, [10.2065572676, 13.456837125, 5.6111631292], rtol=1e-9)
    assert (model.age.min, model.age.max) == (1, 3)
    assert model.integrate(sky()).shape == (3, 4)
    with pytest.raises(ValueError, match="at least two numbers that ascend"):
        TemplateNDSpatialModel(table.isel(age=[1, 0]))


def test_fermi_diffuse(gammapy_data):
    model = TemplateSpatialModel(gammapy_data / "fermi-3fhl-gc" / "gll_iem_v06_gc.fits.gz", normalize=False)
    # gammapy 2.1 at l = 0.3, b = 0.2 deg
    energy = np.array([1e-5, 1e-3, 0.1, 1.0])
    found = model.evaluate(np.array(0.3), np.array(0.2), *model.values, energy=energy)
    np.testing.assert_allclose(found, [0, 2.05477320e-01, 3.04328026e-06, 0], rtol=1e-6)
    iso = create_fermi_isotropic_diffuse_model(
        gammapy_data / "fermi_3fhl" / "iso_P8R2_SOURCE_V6_v06.txt", datasets_names="Fermi-LAT"
    )
    assert iso.name == "isotropic_Fermi-LAT"
    assert iso.spectral.unit == "TeV-1 s-1 cm-2"
    assert iso.spatial.unit == "sr-1"
    assert iso.apply_irf == {"exposure": True, "psf": False, "edisp": False}


@pytest.mark.parametrize(
    "name",
    [
        "fermi-3fhl-crab/Fermi-LAT-3FHL_models.yaml",
        "datasets/simulations/simulated_map_dataset_model.yaml",
        "datasets/simulations/simulated_spectrum_dataset_PL_model.yaml",
        "datasets/simulations/simulated_spectrum_dataset_ECPL_model.yaml",
        "estimators/crab_hess_fp/models.yaml",
        "estimators/pks2155_hess_lc/models.yaml",
    ],
)
def test_files_of_gammapy_are_read(gammapy_data, name):
    models = Models.read(gammapy_data / name)
    assert Models.from_yaml(models.to_yaml()).to_yaml() == models.to_yaml()


# ------------------------------------------------------------------ backgrounds
def test_a_factor_on_the_background():
    model = FoVBackgroundModel(name="stacked-bkg")
    assert model.parameters.names == ["tilt", "norm", "reference"]
    assert model.parameters.free.names == ["norm"]
    assert model.datasets_names is None
    assert FoVBackgroundModel(datasets_names="hess").name == "hess-bkg"
    assert FoVBackgroundModel().name == "fov-bkg"
    piecewise = PiecewiseNormSpectralModel(["1 TeV", "10 TeV"])
    nodes = SkyCoord([0, 1, 0, 1], [0, 0, 1, 1], unit="deg", frame="galactic")
    both = FoVBackgroundModel(piecewise, PiecewiseNormSpatialModel(nodes), name="a", datasets_names=["x"])
    assert list(both.components) == ["spectral", "spatial"]
    models = Models([model, both])
    assert Models.from_yaml(models.to_yaml()).to_yaml() == models.to_yaml()
    with pytest.raises(TypeError, match="must be a factor without unit"):
        FoVBackgroundModel(PowerLawSpectralModel())
    with pytest.raises(TypeError, match="is not a spatial model"):
        FoVBackgroundModel(spatial=3)


def test_counts_of_ones_own(tmp_path):
    grid = sky("energy")
    counts = grid.assign(counts=(("energy", "y", "x"), np.stack([NUMBERS] * 2), {"units": ""})).counts
    write_map(counts, tmp_path / "npred.fits")
    model = TemplateNPredModel(name="gas", filename=tmp_path / "npred.fits", datasets_names="a")
    np.testing.assert_array_equal(model.map, counts)
    assert model.copy().map is model.map
    assert abs(model.position.b.deg) < 1e-9
    Models([model]).write(tmp_path / "m.yaml")
    back = Models.read(tmp_path / "m.yaml")["gas"]
    np.testing.assert_array_equal(back.map, counts)
    assert back.datasets_names == ["a"]
    lazy = TemplateNPredModel(counts.chunk())
    assert lazy.map.chunks is not None
    with pytest.raises(ValueError, match="set filename"):
        lazy.to_dict()
    for given, message in (
        (None, "needs a map of counts"),
        (-counts, "negative values"),
        (counts.isel(energy=0), "has dims"),
        (counts.rename(energy="energy_true"), "has dims"),
        (3, "is not a map"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            TemplateNPredModel(given)


def test_parts_of_sources_are_of_their_class():
    source = SkyModel(PowerLawSpectralModel(), temporal=ExpDecayTemporalModel(), name="s")
    assert source.parameters.names[-2:] == ["t0", "t_ref"]
    back = Models.from_yaml(Models([source]).to_yaml())["s"]
    assert back.temporal.scale == "utc"
    for wrong in ({"spatial": PowerLawSpectralModel()}, {"temporal": xr.DataArray(1)}):
        with pytest.raises(TypeError, match="is not a"):
            SkyModel(PowerLawSpectralModel(), **wrong)


def test_the_models_of_an_image_fit():
    models = Models.from_yaml(
        """
components:
- name: GC-1
  type: SkyModel
  spatial:
    type: PointSpatialModel
    frame: galactic
    parameters:
    - {name: lon_0, value: 0.02, unit: deg}
    - {name: lat_0, value: 0.01, unit: deg}
  spectral:
    type: PowerLaw2SpectralModel
    parameters:
    - {name: amplitude, value: 1.0e-12, unit: cm-2 s-1}
    - {name: index, value: 2.0, unit: '', frozen: true}
"""
    )
    models.append(FoVBackgroundModel(name="stacked-bkg"))
    assert models["GC-1"].spatial.position.galactic.l.wrap_at("180d").deg == pytest.approx(0.02)
    assert component_from_dict("spatial", component_to_dict(models["GC-1"].spatial)).frame == "galactic"
