"""Parameters and covariances: checks, units, links, copies."""

from __future__ import annotations

import copy
import pickle

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xgamma.models.component import Component, ParameterField
from xgamma.models.covariance import Covariance, covariance_of
from xgamma.models.norm import PiecewiseNormSpectralModel
from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior
from xgamma.models.sky_model import SkyModel


# ------------------------------------------------------------------ one parameter
def test_value_and_unit_from_numbers_text_and_quantities():
    for given_value in ("3e-12 cm-2 s-1 TeV-1", 3e-12 * u.Unit("cm-2 s-1 TeV-1")):
        parameter = Parameter("amplitude", given_value)
        assert parameter.value == 3e-12
        assert u.Unit(parameter.unit) == u.Unit("cm-2 s-1 TeV-1")
    assert Parameter("index", np.float32(2.0)).value == 2.0
    assert Parameter("index", "2.5").unit == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"value": np.nan}, "value=nan of index must be finite"),
        ({"value": np.inf}, "must be finite"),
        ({"value": "two"}, "index='two' is not a number with a unit"),
        ({"value": [1, 2]}, "is not a number"),
        ({"value": None}, "value=None of index is not a number"),
        ({"value": 1, "unit": "parsek"}, "unit='parsek' of index is not a unit"),
        ({"value": 1, "min": 2, "max": 1}, "wrong way round: min=2, max=1"),
        ({"value": 1, "interp": "sqrt"}, "must be 'lin' or 'log'"),
        ({"value": 1, "scan_values": [1, np.nan]}, "finite numbers in a row"),
        ({"value": 1, "scan_n_values": 1.5}, "whole number"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        Parameter("index", **arguments)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("value", np.nan, "must be finite"),
        ("value", "2 TeV", "set quantity to change the unit"),
        ("value", 2 * u.TeV, "set quantity to change the unit"),
        ("min", 11, "wrong way round"),
        ("max", -11, "wrong way round"),
        ("unit", "nonsense", "is not a unit"),
        ("interp", 3, "'lin' or 'log'"),
        ("frozen", "no", "must be true or false"),
        ("prior", 3.0, "is not a prior"),
        ("scan_n_values", True, "whole number"),
    ],
)
def test_what_is_set_later_is_checked_as_well(name, value, words):
    parameter = Parameter("index", 2.0, min=-10, max=10)
    before = repr(parameter)
    with pytest.raises((ValueError, TypeError), match=words):
        setattr(parameter, name, value)
    assert repr(parameter) == before


def test_another_unit_takes_limits_errors_and_scan_along():
    parameter = Parameter(
        "energy", 2.0, "TeV", min=1, max=5, error=0.5, scan_min=1.5, scan_max=3, scan_values=[1.0, 2.0]
    )
    parameter.quantity = 3000 * u.GeV
    assert (parameter.value, parameter.unit) == (3000.0, "GeV")
    np.testing.assert_allclose([parameter.min, parameter.max, parameter.error], [1000, 5000, 500])
    np.testing.assert_allclose(parameter.scan(), [1000, 2000])
    assert all(type(getattr(parameter, name)) is float for name in ("value", "min", "max", "error", "scan_min"))


@pytest.mark.parametrize("value", ["3 m", 3 * u.s, "three TeV", 5.0])
def test_quantities_of_another_kind_are_refused(value):
    parameter = Parameter("energy", "2 TeV")
    with pytest.raises(u.UnitConversionError, match="must be in a unit that converts to 'TeV'"):
        parameter.quantity = value
    assert parameter.value == 2.0


def test_scan_values():
    np.testing.assert_allclose(Parameter("a", 2.0, error=0.5, scan_n_values=5).scan(), [1, 1.5, 2, 2.5, 3])
    logarithmic = Parameter("a", 2.0, scan_min=1, scan_max=100, scan_n_values=3, interp="log")
    np.testing.assert_allclose(logarithmic.scan(), [1, 10, 100])
    with pytest.raises(ValueError, match="no error to scan over"):
        Parameter("a", 2.0).scan()
    with pytest.raises(ValueError, match="needs scan_min > 0"):
        Parameter("a", 1.0, error=1.0, interp="log").scan()


def test_at_limit():
    assert Parameter("a", 1.0, min=1.0, max=3.0).at_limit
    assert Parameter("a", 3.0 * (1 - 1e-9), max=3.0).at_limit
    assert not Parameter("a", 2.0, min=1.0, max=3.0).at_limit
    assert not Parameter("a", 2.0).at_limit


def test_repr_says_what_matters():
    parameter = Parameter("index", 2.0, "TeV", min=1, error=0.123, frozen=True, prior=GaussianPrior(2, 1))
    assert (
        repr(parameter)
        == "Parameter(index: 2 +- 0.12 TeV, min=1, frozen, prior=GaussianPrior(mu=2, sigma=1, unit='TeV'))"
    )


# ------------------------------------------------------------------ several
def test_parameters_by_name_and_position():
    a, b, c = Parameter("index", 1.0), Parameter("index", 2.0), Parameter("norm", 3.0, frozen=True)
    parameters = Parameters([a, b, c, a])
    assert parameters.names == ["index", "index_2", "norm"]
    assert parameters["index_2"] is b
    assert parameters[np.int64(-1)] is c
    assert parameters[1:].names == ["index_2", "norm"]
    assert parameters.free.names == ["index", "index_2"]
    assert a in parameters
    assert "norm" in parameters
    assert Parameter("norm", 3.0) not in parameters
    assert parameters.index_of(c) == 2
    with pytest.raises(KeyError, match="did you mean 'norm'"):
        parameters["nrm"]
    with pytest.raises(ValueError, match="is not one of"):
        parameters.index_of(Parameter("norm", 3.0))


def test_names_stay_distinct_where_a_model_uses_such_names_itself():
    parameters = Parameters([Parameter(n, 1.0) for n in ("norm", "norm_2", "norm", "norm")])
    assert parameters.names == ["norm", "norm_2", "norm_3", "norm_4"]


def test_table_shows_priors_where_there_are_some():
    table = Parameters([Parameter("a", 1.0, prior=GaussianPrior(1, 0.1)), Parameter("b", 2.0)]).to_table()
    assert list(table["prior"]) == ["GaussianPrior(mu=1, sigma=0.1)", ""]
    assert "prior" not in Parameters([Parameter("b", 2.0)]).to_table().colnames
    assert "1.235e-11" in str(Parameters([Parameter("a", 1.23456e-11)]).to_table())


# ------------------------------------------------------------------ components
def test_parameters_of_models_are_set_by_number_text_quantity_and_parameter():
    model = PowerLawSpectralModel()
    model.index = 2.5
    model.amplitude = "3e-9 cm-2 s-1 GeV-1"
    model.reference = 500 * u.GeV
    assert model.index.value == 2.5
    assert model.canonical_values() == pytest.approx({"index": 2.5, "amplitude": 3e-6, "reference": 0.5})
    other = PowerLawSpectralModel()
    other.index = model.index
    assert other.index is model.index


def test_wrong_units_and_names_are_said():
    with pytest.raises(u.UnitConversionError, match="index has unit 'TeV', which should have none"):
        PowerLawSpectralModel(index="2 TeV")
    with pytest.raises(u.UnitConversionError, match="reference has unit 'm', which cannot be converted to 'TeV'"):
        PowerLawSpectralModel().reference = Parameter("reference", "1 m")
    with pytest.raises(TypeError, match="no parameter 'indx'; did you mean 'index'"):
        PowerLawSpectralModel(indx=3)
    with pytest.raises(TypeError, match="no parameter 'gamma'; there are"):
        PowerLawSpectralModel().copy(gamma=3)
    with pytest.raises(AttributeError, match="has no attribute 'gamma'"):
        PowerLawSpectralModel().gamma  # noqa: B018
    with pytest.raises(ValueError, match="index must be finite"):
        PowerLawSpectralModel().index = np.nan


def test_a_parameter_of_another_kind_forgets_limits_of_the_old():
    model = PowerLawSpectralModel()
    model.amplitude.min, model.amplitude.error = 1e-14, 1e-13
    model.amplitude = "2e-9 cm-2 s-1 TeV-1 sr-1"
    assert np.isnan(model.amplitude.min)
    assert model.amplitude.error == 0.0
    assert u.Unit(model.unit) == u.Unit("TeV-1 cm-2 s-1 sr-1")


def test_copies_are_independent_and_take_changes():
    model = PowerLawSpectralModel(index=2.0)
    new = model.copy(index=3, amplitude="1e-13 cm-2 s-1 TeV-1")
    assert (new.index.value, model.index.value) == (3.0, 2.0)
    assert new.amplitude.value == 1e-13


def test_parameters_that_a_model_makes_for_itself():
    model = PiecewiseNormSpectralModel([1, 3, 10] * u.TeV, norms=[1.0, 1.2, 0.9])
    assert model.norm_1.value == 1.2
    model.norm_1 = 2.0
    assert model.parameters["norm_1"].value == 2.0
    shared = Parameter("norm_2", 0.5)
    model.norm_2 = shared
    assert model.parameters[2] is shared
    assert model.copy(norm_0=7).norm_0.value == 7.0
    assert model.norm_0.value == 1.0
    assert "norm_2" in dir(model)
    restored = pickle.loads(pickle.dumps(model))
    assert restored.norm_1.value == 2.0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_links_survive_copies_and_pickles(duplicate):
    first, second = PowerLawSpectralModel(index=2.2), PowerLawSpectralModel(reference="1 GeV")
    second.index = first.index
    new = duplicate(first + second)
    assert new.model1.index is new.model2.index
    assert new.model1.index is not first.index
    new.model1.index.value = 3.0
    assert new.model2.index.value == 3.0
    assert first.index.value == 2.2


def test_a_parameter_may_stand_in_two_places_of_one_model():
    class Broken(Component):
        low = ParameterField(1.0)
        high = ParameterField(2.0)

    model = Broken()
    model.high = model.low
    assert model.parameters.names == ["low"]
    assert model.canonical_values() == {"low": 1.0, "high": 1.0}
    model.set_covariance([[0.04]])
    np.testing.assert_allclose(model.covariance_over(model.arguments()), [[0.04, 0.04], [0.04, 0.04]])


def test_error_of_a_sum_with_a_linked_index_is_that_of_the_sum():
    first = PowerLawSpectralModel(index=2.0)
    second = PowerLawSpectralModel(amplitude="3e-12 cm-2 s-1 TeV-1")
    second.index = first.index
    both = first + second
    first.index.error = 0.1
    value, error = both.evaluate_error("5 TeV")
    np.testing.assert_allclose(value.to_value(u.Unit("cm-2 s-1 TeV-1")), 4e-12 * 5.0**-2)
    # dN/dE falls with log(5) for each unit of the index, in both together
    np.testing.assert_allclose((error / value).value, 0.1 * np.log(5.0), rtol=1e-6)


# ------------------------------------------------------------------ covariance
def test_blocks_of_a_covariance():
    a, b, c = Parameter("a", 1.0, error=0.3), Parameter("b", 1.0), Parameter("c", 1.0, error=5.0, frozen=True)
    covariance = Covariance((b, c), np.array([[0.04, 0.01], [0.01, 0.09]]))
    np.testing.assert_allclose(covariance.of([c, a, b]), [[0.09, 0, 0.01], [0, 0.09, 0], [0.01, 0, 0.04]])
    np.testing.assert_allclose(covariance.of([b, b]), [[0.04, 0.04], [0.04, 0.04]])
    np.testing.assert_allclose(Covariance((), np.zeros((0, 0))).of([c]), [[0.0]])
    np.testing.assert_allclose(Covariance((), np.zeros((0, 0))).of([a, a]), [[0.09, 0.09], [0.09, 0.09]])


def test_bad_covariances():
    a, b = Parameter("a", 1.0), Parameter("b", 1.0)
    with pytest.raises(ValueError, match=r"needs shape \(2, 2\), not \(1, 1\)"):
        Covariance((a, b), np.eye(1))
    with pytest.raises(ValueError, match="symmetric"):
        Covariance((a, b), np.array([[1.0, 0.5], [0.4, 1.0]]))
    # a difference that is small beside 1 but not beside the errors
    with pytest.raises(ValueError, match="symmetric"):
        Covariance((a, b), np.array([[1e-24, 5e-25], [4e-25, 1e-24]]))
    # rounding of elements that are nearly 0 is no asymmetry
    Covariance((a, b), np.array([[1e-24, 1e-22], [1.0001e-22, 1e10]]))


def test_a_covariance_does_not_share_memory():
    matrix = np.eye(1)
    covariance = Covariance((Parameter("a", 1.0),), matrix)
    matrix[0, 0] = 7.0
    assert covariance.matrix[0, 0] == 1.0


@given(
    values=st.lists(st.floats(-1, 1), min_size=9, max_size=9),
    scales=st.lists(st.floats(1e-14, 1e3), min_size=3, max_size=3),
    new=st.floats(1e-6, 1e3),
)
def test_errors_and_units_bring_their_rows_along(values, scales, new):
    root = np.array(values).reshape(3, 3) + 2 * np.eye(3)
    matrix = root @ root.T * np.outer(scales, scales)
    parameters = [Parameter(name, 1.0, "TeV") for name in "abc"]
    covariance = Covariance(tuple(parameters), matrix)
    for parameter, variance in zip(parameters, np.diag(matrix), strict=True):
        parameter.error = float(np.sqrt(variance))
    np.testing.assert_array_equal(covariance_of(covariance, parameters), covariance.matrix)
    parameters[1].quantity = "1000 GeV"
    factor = np.array([1.0, 1e3, 1.0])
    np.testing.assert_allclose(covariance_of(covariance, parameters), covariance.matrix * np.outer(factor, factor))
    parameters[2].error = new
    factor[2] = new / np.sqrt(covariance.matrix[2, 2])
    np.testing.assert_allclose(covariance_of(covariance, parameters), covariance.matrix * np.outer(factor, factor))


def test_an_error_that_came_after_the_covariance_counts():
    a, b = Parameter("a", 1.0), Parameter("b", 1.0)
    covariance = Covariance((a, b), np.diag([0.01, 0.0]))
    a.error, b.error = 0.1, 0.5
    np.testing.assert_allclose(covariance_of(covariance, [a, b]), np.diag([0.01, 0.25]))


def test_set_covariance_sets_errors_also_where_a_variance_is_negative():
    model = PowerLawSpectralModel()
    model.set_covariance(np.diag([0.01, -1.0, 0.0]))
    np.testing.assert_array_equal(model.parameters.errors, [0.1, np.nan, 0.0])


def test_a_fitted_spectrum_keeps_its_correlations_inside_a_compound_and_a_source():
    fitted = PowerLawSpectralModel()
    matrix = np.array([[0.01, 2e-14, 0], [2e-14, 1e-25, 0], [0, 0, 0]])
    fitted.set_covariance(matrix)
    compound = fitted * PiecewiseNormSpectralModel([1, 10] * u.TeV)
    np.testing.assert_array_equal(compound.covariance[:3, :3], matrix)
    assert compound.has_covariance
    np.testing.assert_array_equal(SkyModel(compound, name="a").covariance[:3, :3], matrix)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(compound)).covariance[:3, :3], matrix)


def test_misspelt_attributes_do_not_pass_in_silence():
    """`model.indx = 3` on an ordinary object makes a new attribute, and the fit starts elsewhere."""
    model = PowerLawSpectralModel()
    with pytest.raises(AttributeError, match="no attribute 'indx'; did you mean 'index'"):
        model.indx = 3
    with pytest.raises(AttributeError, match="no attribute 'vlaue'; did you mean 'value'"):
        model.index.vlaue = 3
    with pytest.raises(AttributeError, match="no attribute 'fixed'"):
        model.index.fixed = True
    copied = model.copy()
    with pytest.raises(AttributeError, match="no attribute 'indx'"):
        copied.indx = 3
    model.index = 3
    model.index.frozen = True
    assert (model.index.value, model.index.frozen) == (3.0, True)


def test_text_is_parsed_once():
    """Values that came out of one text are apart from each other all the same."""
    first, second = (PowerLawSpectralModel(amplitude="3e-12 cm-2 s-1 TeV-1") for _ in range(2))
    first.amplitude.value = 1e-11
    assert second.amplitude.value == 3e-12
    assert second.amplitude.unit == first.amplitude.unit
    for _ in range(2):
        with pytest.raises(ValueError, match="is not a number with a unit"):
            PowerLawSpectralModel(amplitude="3e-12 parsnip")
