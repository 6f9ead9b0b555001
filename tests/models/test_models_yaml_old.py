"""Files of older versions."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.io.fits_write import write_map
from xgamma.models.yaml import models_from_yaml

# the file of the tutorial of gammapy 0.18, where the background is a component with parameters of its own
FERMI = """
components:
- name: Crab Nebula
  type: SkyModel
  spatial:
    type: PointSpatialModel
    frame: icrs
    parameters:
    - {name: lon_0, value: 83.63310241699219, unit: deg, min: .nan, max: .nan, frozen: true}
    - {name: lat_0, value: 22.019899368286133, unit: deg, min: -90.0, max: 90.0, frozen: true}
  spectral:
    type: LogParabolaSpectralModel
    parameters:
    - {name: amplitude, value: 0.3415498620816483, unit: cm-2 s-1 TeV-1, min: .nan, max: .nan, frozen: false}
    - {name: reference, value: 5.054833602905273e-05, unit: TeV, min: .nan, max: .nan, frozen: true}
    - {name: alpha, value: 2.510798031388936, unit: '', min: .nan, max: .nan, frozen: false}
    - {name: beta, value: -0.022476498188855533, unit: '', min: .nan, max: .nan, frozen: false}
- name: background
  type: BackgroundModel
  datasets_names: [Fermi-LAT]
  parameters:
  - {name: norm, value: 0.9544383244743555, unit: '', min: 0.0, max: .nan, frozen: false}
  - {name: tilt, value: 0.0, unit: '', min: .nan, max: .nan, frozen: true}
  - {name: reference, value: 1.0, unit: TeV, min: .nan, max: .nan, frozen: true}
"""


def test_a_background_with_parameters_of_its_own():
    models = models_from_yaml(FERMI)
    crab, background = models
    assert crab.spatial.lat_0.max == 90
    assert crab.spatial.frame == "icrs"
    assert crab.spectral.alpha.value == 2.510798031388936
    assert background.name == "background"
    assert background.datasets_names == ["Fermi-LAT"]
    assert background.spectral.norm.value == 0.9544383244743555
    assert background.spectral.norm.min == 0.0
    assert models.parameters.free.names[-1] == "background.norm"
    # what is written now comes back
    assert models_from_yaml(models.to_yaml()).to_yaml() == models.to_yaml()
    assert yaml.safe_load(models.to_yaml())["components"][1]["type"] == "FoVBackgroundModel"


def test_the_background_of_a_dataset_has_its_name():
    text = "- {type: FoVBackgroundModel, datasets_names: [stacked], spectral: {type: pl-norm, parameters: []}}"
    assert models_from_yaml(text).names == ["stacked-bkg"]


# the first files of the field: other types, `id`, no type of the component, values as factor and scale
FIRST = """
components:
- id: source0
  spectral_model:
    type: PowerLaw2
    parameters:
    - {name: amplitude, factor: 2.0, scale: 1.0e-11, unit: cm-2 s-1, frozen: false}
    - {name: index, value: 2.5, unit: ''}
    - {name: emin, value: 0.5, unit: TeV, frozen: true}
    - {name: emax, value: 5.0, unit: TeV, frozen: true}
- id: source1
  spectral_model:
    type: ExponentialCutoffPowerLaw
    parameters:
    - {name: index, value: 1.5}
    - {name: amplitude, value: 1.0e-12, unit: cm-2 s-1 TeV-1}
    - {name: reference, value: 1.0, unit: TeV, frozen: true}
    - {name: lambda, value: 0.1, unit: TeV-1}
"""


def test_first_files():
    models = models_from_yaml(FIRST)
    first, second = models
    assert first.spectral.integral("0.5 TeV", "5 TeV").to_value("cm-2 s-1") == pytest.approx(2e-11)
    assert second.spectral("1 TeV").to_value("cm-2 s-1 TeV-1") == pytest.approx(1e-12 * np.exp(-0.1))
    # what is not said is the default
    assert second.spectral.parameters["alpha"].frozen


def test_two_names_of_one_key_are_refused():
    with pytest.raises(ValueError, match="'spectral' is given twice: 'spectral_model' is its older name"):
        models_from_yaml("- {name: a, spectral: {type: pl}, spectral_model: {type: pl}}")


def test_old_absorption_and_templates():
    table = "energy: {data: [0.1, 1.0, 10.0], unit: TeV}"
    text = f"""
components:
- name: absorbed
  type: SkyModel
  spectral:
    type: AbsorbedSpectralModel
    base_model:
      type: PowerLawSpectralModel
      parameters:
      - {{name: index, value: 2.0}}
      - {{name: amplitude, value: 1.0e-12, unit: cm-2 s-1 TeV-1}}
    absorption:
      type: Absorption
      {table}
      param: {{data: [0.1, 0.2], unit: ''}}
      values: {{data: [[0.9, 0.6, 0.2], [0.8, 0.4, 0.1]], unit: ''}}
    parameters:
    - {{name: redshift, value: 0.1}}
    - {{name: alpha_norm, value: 1.0}}
- name: template
  type: SkyModel
  spectral:
    type: TemplateSpectralModel
    {table}
    values: {{data: [3.0, 2.0, 1.0], unit: cm-2 s-1 TeV-1}}
    parameters:
    - {{name: norm, value: 2.0}}
    - {{name: tilt, value: 1.0}}
    - {{name: reference, value: 10.0, unit: TeV}}
"""
    absorbed, template = models_from_yaml(text)
    assert absorbed.spectral.model2.redshift.value == 0.1
    base = absorbed.spectral.model1("1 TeV")
    assert float(absorbed.spectral("1 TeV") / base) == pytest.approx(0.6)
    np.testing.assert_allclose(template.spectral(1 * u.TeV).to_value("cm-2 s-1 TeV-1"), 2.0 * 2.0 * 10.0)


def test_old_names_of_map_types(tmp_path):
    text = """
- name: a
  spatial: {type: SkyPointSource, parameters: {lon_0: 1.0 deg, lat_0: 2.0 deg}}
  spectral: {type: PowerLaw, parameters: []}
"""
    assert models_from_yaml(text)["a"].spatial.lat_0.value == 2.0
    diffuse = "- {name: d, type: SkyDiffuseCube, filename: iem.fits, parameters: [{name: norm, value: 1.1}]}"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*iem\.fits"):
        models_from_yaml(diffuse, tmp_path)
    grid = xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), "2 deg", "1 deg")
    image = grid.assign(iem=(("y", "x"), np.full((2, 2), 3.0), {"units": "TeV-1 s-1 cm-2 sr-1"})).iem
    write_map(image, tmp_path / "iem.fits")
    model = models_from_yaml(diffuse, tmp_path)["d"]
    assert model.spatial.unit == "TeV-1 s-1 cm-2 sr-1"
    assert model.spectral.norm.value == 1.1
    assert model.spatial("0 deg", "0 deg").value == pytest.approx(3.0)
