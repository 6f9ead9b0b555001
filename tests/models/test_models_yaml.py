# ruff: noqa: E501  the table is one that gammapy wrote
"""Models as YAML: files of gammapy 2.1, what is written, errors in words."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from xgamma.models import registry
from xgamma.models.component import Component, ParameterField
from xgamma.models.ebl import EBLAbsorptionNormSpectralModel
from xgamma.models.models import Models
from xgamma.models.norm import PiecewiseNormSpectralModel, PowerLawNormSpectralModel, ScaleSpectralModel
from xgamma.models.parameter import Parameter
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior, LogNormalPrior, LogUniformPrior, UniformPrior
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.template import TemplateSpectralModel
from xgamma.models.yaml import (
    component_from_dict,
    component_to_dict,
    model_from_dict,
    model_to_dict,
    models_from_yaml,
    models_to_yaml,
    read_models,
    write_models,
)
from xgamma.models.yaml_read import ModelFileError

# written by gammapy 2.1, Models.write(..., checksum=True): a linked index with a prior, a prior with a unit that is
# not said, a compound, responses that are left out
GAMMAPY_YAML = """\
components:
-   name: crab
    type: SkyModel
    spectral:
        type: PowerLawSpectralModel
        parameters:
        -   name: index
            value: 2.3
            error: 0.1
            min: 1.0
            max: 5.0
            link: index@r8uG4lpK
            prior:
                type: GaussianPrior
                parameters:
                -   name: mu
                    value: 2.1
                    unit: ''
                -   name: sigma
                    value: 0.2
                    unit: ''
                weight: 2
        -   name: amplitude
            value: 3.0e-11
            unit: TeV-1 s-1 cm-2
            error: 2.0e-12
        -   name: reference
            value: 1.0
            unit: TeV
-   name: the pulsar
    type: SkyModel
    apply_irf:
        exposure: true
        psf: false
        edisp: true
    datasets_names:
    - hess
    spectral:
        type: CompoundSpectralModel
        model1:
            type: PowerLawSpectralModel
            parameters:
            -   name: index
                value: 2.3
                error: 0.1
                min: 1.0
                max: 5.0
                link: index@r8uG4lpK
                prior:
                    type: GaussianPrior
                    parameters:
                    -   name: mu
                        value: 2.1
                        unit: ''
                    -   name: sigma
                        value: 0.2
                        unit: ''
                    weight: 2
            -   name: amplitude
                value: 2.0e-18
                unit: MeV-1 s-1 cm-2
                error: 2.0e-19
                min: 1.0e-18
                max: 4.0e-18
                prior:
                    type: UniformPrior
                    parameters:
                    -   name: min
                        value: 1.0e-18
                        unit: ''
                    -   name: max
                        value: 4.0e-18
                        unit: ''
                    weight: 1
            -   name: reference
                value: 1.0
                unit: TeV
        model2:
            type: ExpCutoffPowerLawNormSpectralModel
            parameters:
            -   name: index
                value: 0.5
            -   name: norm
                value: 1.0
            -   name: reference
                value: 1.0
                unit: TeV
            -   name: lambda_
                value: 0.2
                unit: TeV-1
            -   name: alpha
                value: 1.0
        operator: mul
covariance: small_covariance.dat
metadata:
    creator: Gammapy 2.1
    date: '2026-11-20T17:26:32.114221'
    origin: null
checksum: c786afd7b2cd5305b2212d8a39ab5eaa
"""

GAMMAPY_COVARIANCE = """\
|                           Parameters |                      0 |     1 |   2 |                      3 |                      4 |   5 |   6 |   7 |   8 |   9 |  10 |
|                  crab.spectral.index |   0.010000000000000002 | 1e-13 | 0.0 |   0.010000000000000002 | -8.000000000000001e-21 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|              crab.spectral.amplitude |                  1e-13 | 4e-24 | 0.0 |                  1e-13 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|              crab.spectral.reference |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|     the pulsar.spectral.model1.index |   0.010000000000000002 | 1e-13 | 0.0 |   0.010000000000000002 | -8.000000000000001e-21 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
| the pulsar.spectral.model1.amplitude | -8.000000000000001e-21 |   0.0 | 0.0 | -8.000000000000001e-21 |                  4e-38 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
| the pulsar.spectral.model1.reference |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|     the pulsar.spectral.model2.index |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|      the pulsar.spectral.model2.norm |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
| the pulsar.spectral.model2.reference |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|   the pulsar.spectral.model2.lambda_ |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|     the pulsar.spectral.model2.alpha |                    0.0 |   0.0 | 0.0 |                    0.0 |                    0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
"""


@pytest.fixture
def gammapy_file(tmp_path):
    (tmp_path / "small.yaml").write_text(GAMMAPY_YAML)
    (tmp_path / "small_covariance.dat").write_text(GAMMAPY_COVARIANCE)
    return tmp_path / "small.yaml"


def one(text: str, kind: str = "spectral") -> str:
    """A file of one source with this spectrum."""
    indented = "".join(f"    {line}\n" for line in text.strip().splitlines())
    return f"components:\n- name: crab\n  type: SkyModel\n  {kind}:\n{indented}"


# ------------------------------------------------------------------ what gammapy wrote
def test_a_file_of_gammapy(gammapy_file):
    models = read_models(gammapy_file, checksum=True)
    crab, pulsar = models["crab"], models["the pulsar"]
    index = crab.spectral.index
    assert pulsar.spectral.model1.index is index
    assert (index.value, index.error, index.min, index.max, index.frozen) == (2.3, 0.1, 1.0, 5.0, False)
    assert index.prior == GaussianPrior(2.1, 0.2, weight=2, unit="")
    assert crab.spectral.reference.frozen
    assert pulsar.apply_irf == {"exposure": True, "psf": False, "edisp": True}
    assert pulsar.datasets_names == ["hess"]
    # gammapy 2.1: spectral_model([1, 3] * u.TeV) and integral(1 TeV, 10 TeV)
    unit = "TeV-1 cm-2 s-1"
    np.testing.assert_allclose(crab.spectral([1, 3] * u.TeV).to_value(unit), [3e-11, 2.397410311082882e-12], rtol=1e-13)
    values = [1.637461506155964e-12, 5.0642343340988225e-14]
    np.testing.assert_allclose(pulsar.spectral([1, 3] * u.TeV).to_value(unit), values, rtol=1e-13)
    # a logarithmic trapezoidal rule there, good to some 1e-4
    np.testing.assert_allclose(
        pulsar.spectral.integral("1 TeV", "10 TeV").to_value("cm-2 s-1"), 7.64163415e-13, rtol=1e-3
    )


def test_the_covariance_of_gammapy(gammapy_file):
    models = read_models(gammapy_file)
    covariance = models.covariance
    index, norm = "crab.index", "the pulsar.amplitude"
    assert float(covariance.sel(parameter=index, parameter_=norm)) == pytest.approx(-0.4 * 0.1 * 2e-19)
    assert float(covariance.sel(parameter=index, parameter_="crab.amplitude")) == pytest.approx(0.5 * 0.1 * 2e-12)
    assert float(covariance.sel(parameter=norm, parameter_="crab.amplitude")) == 0.0
    assert len(models.parameters) == 10
    np.testing.assert_allclose(models.parameters.errors[:4], [0.1, 2e-12, 0, 2e-19])
    # the error of the file, to the last bit, although the table holds 0.1 squared with a rounding error
    assert models["crab"].spectral.index.error == 0.1


def test_priors_of_gammapy_and_what_they_add(gammapy_file):
    models = read_models(gammapy_file)
    prior = models["the pulsar"].spectral.model1.amplitude.prior
    # there a number without unit is in that of the parameter
    assert prior == UniformPrior(1e-18, 4e-18, unit=models["the pulsar"].spectral.model1.amplitude.unit)
    # gammapy 2.1: prior(parameter) of both; it adds that of a linked parameter once for each place, we once
    assert models.prior_stat() == pytest.approx(-0.7619975169177158 - 80.69583877044943)


def test_a_changed_file_has_another_checksum(gammapy_file):
    gammapy_file.write_text(GAMMAPY_YAML.replace("value: 2.3", "value: 2.4"))
    assert read_models(gammapy_file)["crab"].spectral.index.value == 2.4
    with pytest.raises(ValueError, match=r"checksum of .*small\.yaml is not that of its text"):
        read_models(gammapy_file, checksum=True)
    with pytest.raises(ValueError, match="holds no checksum"):
        models_from_yaml("components: []", checksum=True)


def test_an_unequal_link_takes_the_first_and_says_so(gammapy_file):
    second = GAMMAPY_YAML.rindex("value: 2.3")
    text = GAMMAPY_YAML[:second] + "value: 2.9" + GAMMAPY_YAML[second + 10 :]
    with pytest.warns(UserWarning, match="'the pulsar', spectral, model1, parameter 'index' is linked.*another value"):
        models = models_from_yaml(text, gammapy_file)
    assert models.parameters["crab.index"].value == 2.3


# ------------------------------------------------------------------ there and back
def everything() -> Models:
    """Models with all that a file can hold."""
    crab = SkyModel(
        PowerLawSpectralModel(amplitude="3e-9 cm-2 s-1 GeV-1", index=2.6), name="crab", apply_irf={"psf": False}
    )
    crab.spectral.amplitude.prior = LogUniformPrior("1e-9 cm-2 s-1 TeV-1", "1e-5 cm-2 s-1 TeV-1", weight=0.5)
    crab.spectral.index.prior = LogNormalPrior(0.9, 0.1)
    scan = crab.spectral.index
    scan.scan_min, scan.scan_max, scan.scan_n_values, scan.interp = 1.0, 4.0, 21, "log"
    crab.spectral.amplitude.scan_values = [1e-9, 2e-9]
    crab.spectral.reference.frozen = False
    energy = [0.1, 1, 10] * u.TeV
    table = TemplateSpectralModel(energy, [3, 2, 1] * u.Unit("TeV-1 cm-2 s-1"))
    piecewise = PiecewiseNormSpectralModel(energy, norms=[1.0, 1.1, 0.9])
    both = SkyModel((PowerLawSpectralModel() + table) * piecewise, name="two words: and #", datasets_names=["a", "b"])
    scaled = SkyModel(ScaleSpectralModel(PowerLawSpectralModel(index=3), norm=2), name="scaled")
    ebl = EBLAbsorptionNormSpectralModel(
        [0.1, 1, 10] * u.TeV, [0.1, 0.2], [[0.9, 0.6, 0.2], [0.8, 0.4, 0.1]], redshift=0.15
    )
    models = Models([crab, both, scaled, SkyModel(PowerLawSpectralModel() * ebl, name="far")])
    models.link("crab.index", "far.index", "two words: and #.index")
    free = np.array([not p.frozen for p in models.parameters])
    scale = 0.1 * np.abs(models.parameters.values) * free
    root = np.random.default_rng(3).normal(size=(free.size, free.size)) + 4 * np.eye(free.size)
    models.set_covariance(root @ root.T * np.outer(scale, scale))
    return models


@pytest.mark.parametrize("full", [False, True])
def test_everything_comes_back(tmp_path, full):
    models = everything()
    write_models(models, tmp_path / "m.yaml", full=full, checksum=True)
    back = read_models(tmp_path / "m.yaml", checksum=True)
    assert back.to_yaml(full=True) == models.to_yaml(full=True)
    np.testing.assert_allclose(back.covariance, models.covariance, rtol=1e-12, atol=0)
    assert back.parameters.names == models.parameters.names
    np.testing.assert_array_equal(back.parameters.values, models.parameters.values)
    energy = [0.3, 3] * u.TeV
    for new, old in zip(back, models, strict=True):
        np.testing.assert_array_equal(new.spectral(energy), old.spectral(energy))
    assert back["crab"].spectral.index is back["far"].spectral.model1.index
    assert back.prior_stat() == pytest.approx(models.prior_stat())
    # and once more: nothing drifts
    write_models(back, tmp_path / "m.yaml", full=full, overwrite=True)
    np.testing.assert_array_equal(read_models(tmp_path / "m.yaml").covariance, back.covariance)


def test_the_text_is_that_of_gammapy_and_always_the_same():
    models = everything()
    text = models_to_yaml(models)
    assert text == models_to_yaml(models.copy())
    data = yaml.safe_load(text)["components"]
    assert list(data[0]) == ["name", "type", "apply_irf", "spectral"]
    index, amplitude, reference = data[0]["spectral"]["parameters"]
    assert index["link"].startswith("index@")
    assert amplitude["unit"] == "GeV-1 s-1 cm-2"
    assert reference["frozen"] is False
    assert data[1]["spectral"]["model1"]["operator"] == "add"
    assert data[1]["spectral"]["model2"]["energy"] == {"data": [0.1, 1.0, 10.0], "unit": "TeV"}
    # a prior stands in the unit of its parameter: gammapy compares the numbers as they are
    low = amplitude["prior"]["parameters"][0]
    assert (low["value"], low["unit"]) == (pytest.approx(1e-12), "GeV-1 s-1 cm-2")


def test_written_files(tmp_path):
    models = Models([SkyModel(PowerLawSpectralModel(), name="crab")])
    models.write(tmp_path / "m.yaml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.yaml", "m_covariance.dat"]
    data = yaml.safe_load((tmp_path / "m.yaml").read_text())
    assert data["covariance"] == "m_covariance.dat"
    assert data["metadata"]["creator"].startswith("xgamma")
    with pytest.raises(FileExistsError):
        models.write(tmp_path / "m.yaml")
    models.write(tmp_path / "alone.yaml", covariance=False)
    assert not (tmp_path / "alone_covariance.dat").exists()
    # a file that is in the way keeps everything as it was
    (tmp_path / "n_covariance.dat").write_text("other")
    with pytest.raises(FileExistsError):
        models.write(tmp_path / "n.yaml")
    assert not (tmp_path / "n.yaml").exists()
    Models().write(tmp_path / "none.yaml")
    assert len(read_models(tmp_path / "none.yaml")) == 0


def test_names_of_files_are_relative_where_they_can_be(tmp_path, monkeypatch):
    class Stored(PowerLawNormSpectralModel):
        kind = "spectral"
        tag = ("StoredSpectralModel",)
        filename = ""

        def settings(self):
            return {"filename": self.filename}

        @classmethod
        def from_settings(cls, parameters, settings):
            model = cls(**parameters)
            model.filename = settings["filename"]
            return model

    monkeypatch.setitem(registry._classes, "spectral", registry.tags("spectral"))
    registry.register("spectral", Stored)
    table, data = tmp_path / "table.fits", tmp_path / "data"
    table.write_text("")
    (data / "ebl").mkdir(parents=True)
    (data / "ebl" / "x.fits").write_text("")
    monkeypatch.setenv("GAMMAPY_DATA", str(data))
    model = Stored()
    models = Models([SkyModel(PowerLawSpectralModel() * model, name="a")])
    for place, written in [
        (table, "table.fits"),
        (data / "ebl" / "x.fits", "data/ebl/x.fits"),
        ("elsewhere.fits", "elsewhere.fits"),
    ]:
        model.filename = str(place)
        models.write(tmp_path / "m.yaml", overwrite=True)
        assert (
            yaml.safe_load((tmp_path / "m.yaml").read_text())["components"][0]["spectral"]["model2"]["filename"]
            == written
        )
        # names are resolved beside the YAML, wherever the reader stands
        assert read_models(tmp_path / "m.yaml")["a"].spectral.model2.filename in (str(place), str(tmp_path / written))
    model.filename = str(data / "ebl" / "x.fits")
    assert "filename: $GAMMAPY_DATA/ebl/x.fits" in models.to_yaml()
    assert models_from_yaml(models.to_yaml())["a"].spectral.model2.filename == str(data / "ebl" / "x.fits")


def test_single_models_as_mappings():
    model = SkyModel(PowerLawSpectralModel(index=3), name="crab")
    data = model_to_dict(model)
    assert data == model.to_dict()
    assert repr(model_from_dict(data)) == repr(model)
    assert repr(SkyModel.from_dict(data)) == repr(model)
    part = component_to_dict(model.spectral)
    assert component_from_dict("spectral", part).index.value == 3.0

    class Untagged(PowerLawSpectralModel):
        tag = ()

    with pytest.raises(ValueError, match="Untagged cannot be written: it has no tag"):
        component_to_dict(Untagged())


def test_own_models_are_read_by_their_tag(monkeypatch):
    registry.tags("spatial")  # what is loaded later would be lost with the patch
    monkeypatch.setitem(registry._classes, "spatial", {})

    class MyPlace(SpatialModel):
        tag = ("MyPlace",)
        lon_0 = ParameterField(0.0, "deg")

    text = one("type: MyPlace\nparameters:\n- {name: lon_0, value: 1.4, unit: rad}", "spatial")
    text += "  spectral: {type: pl, parameters: []}\n"
    assert models_from_yaml(text)["crab"].spatial.canonical_values()["lon_0"] == pytest.approx(np.degrees(1.4))
    with pytest.raises(ValueError, match=r"tag 'MyPlace' of .* is that of"):
        type("Other", (Component,), {"kind": "spatial", "tag": ("MyPlace",), "__qualname__": "Other"})


# ------------------------------------------------------------------ lenient where it is clear
def test_short_forms():
    text = """
- name: crab
  spectral:
    type: pl
    parameters:
      index: 2.6
      amplitude: {value: 3e-11, unit: cm-2 s-1 TeV-1, min: 1e-13, max: null, error: 2e-12}
      reference: 500 GeV
"""
    spectral = models_from_yaml(text)["crab"].spectral
    assert spectral.index.value == 2.6
    # YAML takes 3e-11, without a point, for text
    assert (spectral.amplitude.value, spectral.amplitude.min, spectral.amplitude.error) == (3e-11, 1e-13, 2e-12)
    assert np.isnan(spectral.amplitude.max)
    assert spectral.reference.quantity == 500 * u.GeV
    single = models_from_yaml("name: crab\nspectral: {type: pl, parameters: []}")
    assert single.names == ["crab"]


def test_names_that_yaml_takes_for_numbers():
    models = models_from_yaml("- {name: 23523, datasets_names: [1, 2], spectral: {type: pl}}")
    assert models.names == ["23523"]
    assert models[0].datasets_names == ["1", "2"]
    assert models_from_yaml(models.to_yaml()).names == ["23523"]


@given(
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    error=st.floats(0, 1e300),
    frozen=st.booleans(),
    unit=st.sampled_from(["TeV-1 s-1 cm-2", "MeV-1 s-1 m-2", "erg-1 s-1 cm-2 sr-1", "1e-9 GeV-1 s-1 cm-2"]),
)
def test_numbers_come_back_to_the_last_bit(numbers, error, frozen, unit):
    low, value, high = sorted(numbers)
    amplitude = Parameter("amplitude", value, unit, min=low, max=high, error=error, frozen=frozen)
    text = Models(SkyModel(PowerLawSpectralModel(amplitude=amplitude), name="a")).to_yaml()
    back = models_from_yaml(text)["a"].spectral.amplitude
    assert (back.min, back.value, back.max, back.error, back.frozen) == (low, value, high, error, frozen)
    assert float(u.Unit(back.unit).to(u.Unit(unit))) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.gammapy
def test_gammapy_reads_what_is_written(tmp_path):
    modeling = pytest.importorskip("gammapy.modeling.models")
    models = everything()
    del models["scaled"]  # which gammapy can neither write nor read
    index = models.parameters["crab.index"]
    index.prior = GaussianPrior(2.6, 0.1)  # 2.1 has no LogNormalPrior
    index.interp = "lin"  # 2.1 reads others, but cannot write them
    models.write(tmp_path / "m.yaml", checksum=True)
    theirs = modeling.Models.read(tmp_path / "m.yaml", checksum=True)
    for model, other in zip(models, theirs, strict=True):
        energy = [0.3, 3] * u.TeV
        values = np.squeeze(other.spectral_model(energy).to_value(model.spectral.unit))
        np.testing.assert_allclose(model.spectral(energy).value, values, rtol=1e-6)
        assert len(other.parameters.free_parameters) == len(model.parameters.free)
    assert theirs["crab"].spectral_model.index is theirs["far"].spectral_model.model1.index
    theirs.write(tmp_path / "back.yaml")
    assert read_models(tmp_path / "back.yaml").parameters.names == models.parameters.names


def test_limits_beyond_those_of_the_default(monkeypatch):
    registry.tags("spatial")  # what is loaded later would be lost with the patch
    monkeypatch.setitem(registry._classes, "spatial", {})

    class Band(Component):
        kind = "spatial"
        tag = ("Band",)
        lat_0 = ParameterField(0.0, "deg", min=-90, max=90)

    def limits(entry):
        parameter = component_from_dict("spatial", {"type": "Band", "parameters": [{"name": "lat_0"} | entry]}).lat_0
        return parameter.min, parameter.max

    assert limits({"value": 1.0}) == (-90, 90)
    assert limits({"value": 100.0, "min": 95.0, "max": 120.0}) == (95, 120)
    assert limits({"value": 1.0, "min": 0.0}) == (0, 90)
    assert limits({"value": 1.0, "min": None}) == (-90, 90)


def test_missing_parameters_are_told_if_they_are_free():
    text = one("type: pl\nparameters:\n- {name: index, value: 3.0}")
    with pytest.warns(UserWarning, match="not all parameters are given, so that amplitude = 1e-12"):
        models = models_from_yaml(text)
    assert models["crab"].spectral.amplitude.value == 1e-12


def test_what_a_newer_file_holds_besides_is_told():
    with pytest.warns(UserWarning, match="the key 'penalties' is not read"):
        assert len(models_from_yaml("components: []\npenalties: []")) == 0


# ------------------------------------------------------------------ covariance files
def test_a_linked_parameter_keeps_what_it_shares_with_each_model(gammapy_file):
    """gammapy leaves zeros between models: the row of the second place holds the correlation there."""
    table = gammapy_file.with_name("small_covariance.dat")
    lines = table.read_text().splitlines(keepends=True)
    value = "-8.000000000000001e-21"
    # the index of the Crab and the amplitude of the pulsar: both elements become 0
    lines[1] = lines[1].replace(value, "0.0".rjust(len(value)))
    start = lines[5].index(value)
    lines[5] = lines[5][:start] + "0.0".rjust(len(value)) + lines[5][start + len(value) :]
    table.write_text("".join(lines))
    covariance = read_models(gammapy_file).covariance
    assert float(covariance.sel(parameter="crab.index", parameter_="the pulsar.amplitude")) == pytest.approx(-8e-21)


def test_covariances_that_are_not_there_or_not_theirs(gammapy_file):
    table = gammapy_file.with_name("small_covariance.dat")
    text = table.read_text()
    with pytest.warns(UserWarning, match="covariance small_covariance.dat is not read: say where it is with path="):
        assert not models_from_yaml(GAMMAPY_YAML).has_covariance
    table.write_text(text.replace("crab.spectral", "vela.spectral"))  # as many rows: their order counts
    assert read_models(gammapy_file).parameters["crab.index"].error == 0.1
    rows = text.replace("crab.spectral", "vela.spectral").splitlines(keepends=True)
    table.write_text("".join(line.rsplit("|", 2)[0] + "|\n" for line in rows[:-1]))
    with pytest.raises(ValueError, match=r"holds 10 parameters, as 'vela\.spectral\.index', where the models have 11"):
        read_models(gammapy_file)
    table.write_text("".join(text.splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="has 10 rows and 11 columns"):
        read_models(gammapy_file)
    table.write_text("nothing of the kind")
    with pytest.raises(ValueError, match="is not a table of a covariance"):
        read_models(gammapy_file)
    table.unlink()
    with pytest.raises(FileNotFoundError, match=r"take the line 'covariance: small_covariance\.dat' out"):
        read_models(gammapy_file)


def test_errors_stay_where_the_covariance_has_none(tmp_path):
    models = Models([SkyModel(PowerLawSpectralModel(), name="a")])
    models.write(tmp_path / "m.yaml")
    text = (tmp_path / "m.yaml").read_text().replace("value: 2.0\n", "value: 2.0\n            error: 0.3\n", 1)
    (tmp_path / "m.yaml").write_text(text)
    index = read_models(tmp_path / "m.yaml").parameters["a.index"]
    assert index.error == 0.3
    assert read_models(tmp_path / "m.yaml").covariance.values[0, 0] == pytest.approx(0.09)


# ------------------------------------------------------------------ words
PL = "type: PowerLawSpectralModel\nparameters:\n- {name: amplitude, value: 1.0e-12, unit: cm-2 s-1 TeV-1}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the text is empty"),
        ("   \n# only a comment\n", "the text is empty"),
        ("42", "the text holds 42, not models"),
        ("just words", "not models: it needs the key 'components'"),
        ("component: []", r"no key 'components'.*its keys are \['component'\]"),
        ("components: crab", "must be a list of models, each starting with '- name:'"),
        ("components:\n- crab\n", r"components\[0\] must be a mapping"),
        ("components:\n- name: a\n  type: [pl\n", "line 4 of the text: expected ',' or ']'"),
        ("a: 1\nb:\n\tc: 1", "line 3 of the text: found character '\\\\t'"),
        ("components:\n- name: a\n  name: b\n", "line 3 of the text: the key 'name' is given twice"),
        ("a: !!python/object/apply:os.system ['ls']", "line 1 of the text: objects are not made from files"),
        ("components:\n- {name: a}\n", r"components\[0\] 'a': a model needs a 'type'"),
        ("components:\n- {type: SkyModel, spectral: {type: pl}}\n", r"components\[0\]: SkyModel needs a 'name'"),
        ("components:\n- {name: a, type: SkyModell}\n", "model type 'SkyModell' is not known; did you mean 'SkyModel'"),
        ("components:\n- {name: a, type: SkyModel}\n", "'a' needs a spectral model"),
        (
            "components:\n- {name: a, type: SkyModel, spectrum: {type: pl}}\n",
            "no key 'spectrum'; did you mean 'spectral'",
        ),
        (one("type: PowerLawSpectralModell"), "did you mean 'PowerLawSpectralModel'"),
        (one("kind: pl"), "'crab', spectral has no 'type'"),
        (one("[pl]"), "must be a mapping with the keys of a model"),
        (one("type: 3"), "spectral type 3 is not known"),
        (one("type: pl\nparameters: 3"), "'parameters' must be a list"),
        (one("type: pl\nparameters: [index]"), "a parameter is a mapping with 'name' and 'value', not 'index'"),
        (one(PL + "- {name: indx, value: 2.0}"), "no parameter 'indx'; did you mean 'index'"),
        (one(PL + "- {name: index, value: .nan}"), "parameter 'index': value=nan of index must be finite"),
        (one(PL + "- {name: index, value: two}"), "parameter 'index': index='two' is not a number with a unit"),
        (one(PL + "- {name: index, value: [2]}"), "is not a number"),
        (
            one(PL + "- {name: index, value: 2.0, valeu: 3}"),
            "parameter 'index' has no key 'valeu'; did you mean 'value'",
        ),
        (one(PL + "- {name: index, value: 2.0, unit: TeV}"), "index has unit 'TeV', which should have none"),
        (one(PL + "- {name: reference, value: 2.0, unit: tev}"), "unit='tev' of reference is not a unit"),
        (one(PL + "- {name: reference, value: 2 TeV, unit: GeV}"), "has a unit, and there is unit: GeV"),
        (one(PL + "- {name: index, value: 2.0, min: 3, max: 1}"), "limits of index are the wrong way round"),
        (one(PL + "- {name: index, value: 2.0, frozen: 1}"), "frozen=1 of index must be true or false"),
        (one(PL + "- {name: index, value: 2.0}\n- {name: index, value: 3.0}"), "parameter 'index' is given twice"),
        (one(PL + "colour: red"), "has no key 'colour'; it has 'type' and 'parameters' only"),
        (one(PL + "- {name: index, value: 2.0, prior: 3}"), "a prior is a mapping with 'type'"),
        (one(PL + "- {name: index, value: 2.0, prior: {type: Gauss}}"), "did you mean 'GaussianPrior'"),
        (
            one(PL + "- {name: index, value: 2.0, prior: {type: UniformPrior, parameters: [{name: low, value: 1}]}}"),
            "UniformPrior has no parameter 'low'",
        ),
        (one("type: CompoundSpectralModel\nmodel1: {type: pl}"), "needs the key 'model2'"),
        (
            one("type: compound\nmodel1: {type: pl}\nmodel2: {type: pl}\noperator: power"),
            "operator='power' must be one of",
        ),
        (
            one("type: compound\nmodel1: {type: pl}\nmodel2: {type: ql}\noperator: add"),
            "'crab', spectral, model2: spectral type 'ql'",
        ),
        (
            one("type: TemplateSpectralModel\nenergy: {data: [1, a], unit: TeV}\nvalues: 3"),
            "spectral, energy: could not convert",
        ),
        ("- {name: a, spectral: {type: pl}, datasets_names: 3}", "datasets_names=3 of 'a' must be names of datasets"),
        ("- {name: a, spectral: {type: pl}, apply_irf: [psf]}", "must say true or false for"),
        ("- {name: a, spectral: {type: pl}, apply_irf: {aeff: true}}", "apply_irf of 'a' has no 'aeff'"),
        (one("type: pl", "temporal"), "temporal type 'pl'.* is not known"),
        (2 * one("type: pl").removeprefix("components:\n"), "already a model 'crab'"),
    ],
)
def test_errors_say_where_and_what(text, words):
    with pytest.raises(ValueError, match=words):
        models_from_yaml(text)


def test_errors_name_the_file(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text(one("type: nothing"))
    with pytest.raises(ModelFileError, match=r"m.yaml: components\[0\] 'crab', spectral: spectral type 'nothing'"):
        read_models(file)
    file.write_text("a: [")
    with pytest.raises(ValueError, match=r"line 1 of .*m\.yaml: expected"):
        read_models(file)
    file.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="is not a text file"):
        read_models(file)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_models(tmp_path / "other.yaml")
    with pytest.raises(TypeError, match="YAML is a text"):
        models_from_yaml(file)


def test_two_models_of_one_name_are_not_written():
    models = Models([SkyModel(PowerLawSpectralModel(), name=n) for n in "ab"])
    models["a"].name = "b"
    with pytest.raises(ValueError, match="'b' is the name of several models"):
        models.to_yaml()


def test_units_that_fits_does_not_know_are_written_all_the_same():
    class Odd(Component):
        kind = ""
        tag = ("Odd",)
        size = ParameterField(1.0, "cm")

    data = component_to_dict(Odd(size="2 earthRad"))
    assert u.Unit(data["parameters"][0]["unit"]) == u.earthRad


# ------------------------------------------------------------------ public files
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        # gammapy 2.1: Models.read(path)[0].spectral_model.parameters.value and .frozen
        ("datasets/simulations/simulated_spectrum_dataset_PL_model.yaml", "source", [2.0, 1e-12, 1.0]),
        ("datasets/simulations/simulated_spectrum_dataset_ECPL_model.yaml", "source", [1.5, 1e-12, 1.0, 1.0, 1.0]),
        ("estimators/pks2155_hess_lc/models.yaml", "pks2155", [3.4, 2e-11, 1.0]),
    ],
)
def test_public_files(gammapy_data, path, name, values):
    model = read_models(gammapy_data / path)[name]
    assert list(model.parameters.values) == values
    assert model.parameters.free.names == [n for n in model.parameters.names if n not in ("reference", "alpha")]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("frozen: maybe", "frozen='maybe' of index must be true or false"),
        ("min: low", "min: 'low' is not a number"),
        ("error: small", "error: 'small' is not a number"),
        ("interp: cubic", "interp='cubic' of index must be 'lin' or 'log'"),
    ],
)
def test_values_of_keys_that_are_of_another_kind(entry, words):
    text = f"components: [{{name: a, type: SkyModel, spectral: {{type: pl, parameters: [{{name: index, {entry}}}]}}}}]"
    with pytest.raises(ValueError, match=rf"'a', spectral, parameter 'index': {words}"):
        Models.from_yaml(text)
