"""Joint fits of what does not belong together: words that name the dataset, the model or the parameter."""

import astropy.units as u
import pytest
import xarray as xr
from simulated_spectra import cube as spectrum_cube

import xgamma as xg
from xgamma.fitting.fit import fit


@pytest.fixture
def source():
    return xg.SkyModel(xg.PowerLawSpectralModel(index=2.2, amplitude="1e-12 cm-2 s-1 TeV-1"), name="a")


@pytest.fixture
def one():
    return spectrum_cube(n_obs=2).isel(obs=0, drop=True)


def test_datasets_that_are_not_there(one, source):
    tree = xr.DataTree.from_dict({"hess": one})
    source.datasets_names = ["veritas"]
    with (
        pytest.warns(UserWarning, match=r"'a' belongs to \['veritas'\], none of the datasets \['hess'\]"),
        pytest.raises(ValueError, match="no free parameter to fit"),
    ):
        tree.gamma.fit(source)
    source.datasets_names = ["hess", "veritas"]
    # one alone may be a part of what the models are for
    assert tree.gamma.fit(source).success
    two = xr.DataTree.from_dict({"hess": one, "magic": one})
    with pytest.warns(UserWarning, match=r"belongs to \['veritas'\], none of .*; it takes part in the others"):
        assert two.gamma.fit(source).success


def test_names_of_runs_and_groups_are_known(source):
    tree = xr.DataTree.from_dict({"hess": spectrum_cube(n_obs=2), "magic": spectrum_cube(n_obs=2)})
    source.datasets_names = ["hess/11", "12", "magic"]
    assert tree.gamma.fit(source).success


def test_two_groups_of_the_same_name(one, source, tmp_path):
    twice = [one.assign_attrs(name="crab"), one.assign_attrs(name="crab")]
    with pytest.raises(ValueError, match="two cubes 'crab'"):
        fit(twice, source)
    with pytest.raises(ValueError, match="two cubes 'crab'"):
        xg.write_datasets(twice, tmp_path)


def test_no_common_energy_range(one, source):
    low, high = one.isel(energy=slice(0, 4)), one.isel(energy=slice(4, None))
    tree = xr.DataTree.from_dict({"low": low, "high": high})
    # a fit needs none
    assert tree.gamma.fit(source).success
    with pytest.raises(ValueError, match=r"the bands of 'high' end at .* those of 'low' at"):
        tree.gamma.flux_points(source, "a")
    with pytest.raises(ValueError, match="outside of the energies of the cube"):
        tree.gamma.flux_points(source, "a", energy_edges=[1000, 2000] * u.TeV)
    nothing = low.assign(mask_fit=low.energy < 0)
    with pytest.warns(UserWarning, match=r"no bin of \['low'\] is inside the masks"):
        assert xr.DataTree.from_dict({"low": nothing, "high": high}).gamma.fit(source).success
    with pytest.raises(ValueError, match=r"no bin of \['low'\] is inside"):
        xr.DataTree.from_dict({"low": nothing}).gamma.fit(source)


def test_links_in_a_circle(source):
    models = xg.Models([source, source.copy(name="b")])
    with pytest.raises(ValueError, match=r"a\.index and a\.index are one parameter already"):
        models.link("a.index", "a.index")
    models.link("a.index", "b.index")
    with pytest.raises(ValueError, match=r"a\.index and b\.index are one parameter already"):
        models.link("b.index", "a.index")


def test_links_of_other_units_in_a_file():
    text = """
components:
- name: a
  type: SkyModel
  spectral:
    type: PowerLawSpectralModel
    parameters:
    - {name: index, value: 2.0, link: x}
    - {name: amplitude, value: 1.0e-12, unit: cm-2 s-1 TeV-1, link: x}
"""
    with pytest.raises(ValueError, match="parameter 'amplitude' is linked, 'x', to 'index' in ''"):
        xg.Models.from_yaml(text)


def test_degenerate_parameters_are_named(one, source):
    source.parameters["index"].frozen = True
    models = xg.Models([source, source.copy(name="b")])
    words = r"the data do not tell \['a\.amplitude', 'b\.amplitude'\]; freeze or link some of them"
    with pytest.warns(UserWarning, match=words):
        result = xr.DataTree.from_dict({"hess": one}).gamma.fit(models)
    assert not result.success
    # what they sum up to is known
    alone = xr.DataTree.from_dict({"hess": one}).gamma.fit(source)
    assert result.total_stat == pytest.approx(alone.total_stat, abs=1e-3)
    total = sum(m.spectral.amplitude.value for m in result.models)
    assert total == pytest.approx(alone.models["a"].spectral.amplitude.value, rel=2e-3)
