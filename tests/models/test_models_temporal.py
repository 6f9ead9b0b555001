"""Temporal models: against gammapy 2.1 and numerical integrals; means over good times; times of events."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.table import Table
from astropy.time import Time
from scipy.integrate import quad

from xgamma.models.registry import tags
from xgamma.models.temporal_model import TemporalModel
from xgamma.models.temporal_phase import TemplatePhaseCurveTemporalModel
from xgamma.models.temporal_shapes import (
    ConstantTemporalModel,
    ExpDecayTemporalModel,
    GaussianTemporalModel,
    GeneralizedGaussianTemporalModel,
    LinearTemporalModel,
    PowerLawTemporalModel,
    SineTemporalModel,
)
from xgamma.models.temporal_template import LightCurveTemplateTemporalModel
from xgamma.models.yaml import component_from_dict, component_to_dict

TIMES = Time([51544.2, 51545.7, 51549.1], format="mjd", scale="utc")
START = Time([51544.1, 51546.0], format="mjd", scale="utc")
STOP = Time([51545.3, 51550.0], format="mjd", scale="utc")

#: Models, gammapy 2.1's values at TIMES, and its integrals from START to STOP over the sum of both lengths; None where
#: gammapy sums rectangles (up to 1 % off) or, for the sine, has a sine in place of the cosine.
MODELS = {
    "linear": (
        LinearTemporalModel(alpha=1.2, beta=0.3, t_ref=51543),
        [1.56, 2.01, 3.03],
        [0.3946153846, 2.076923077],
    ),
    "decay": (
        ExpDecayTemporalModel(t0=2, t_ref=51543),
        [0.5488116361, 0.2592402606, 0.04735892439],
        [0.1001204004, 0.07420491413],
    ),
    "gauss": (
        GaussianTemporalModel(t_ref=51545, sigma=1.5),
        [0.8674284732, 0.8968300597, 0.02385991188],
        [0.22053985, 0.182258492],
    ),
    "pulse": (
        GeneralizedGaussianTemporalModel(t_ref=51545, t_rise=0.7, t_decay=2, eta=0.7),
        [0.5460285783, 0.8944078201, 0.2480253429],
        None,
    ),
    "power law": (
        PowerLawTemporalModel(alpha=-1.4, t_ref=51543, t0=2),
        [2.044505341, 0.6569506159, 0.2098844313],
        [0.3120390042, 0.2350214428],
    ),
    "power law -1": (
        PowerLawTemporalModel(alpha=-1, t_ref=51543, t0=2),
        [1.666666667, 0.7407407407, 0.3278688525],
        [0.2836919012, 0.3258837925],
    ),
    "sine": (SineTemporalModel(amp=0.4, omega=2.2, t_ref=51543), [1.192329046, 0.8654046566, 1.301468314], None),
    "constant": (ConstantTemporalModel(), [1.0, 1.0, 1.0], [1.2 / 5.2, 4 / 5.2]),
}


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_gammapy(name):
    model, values, integrals = MODELS[name]
    np.testing.assert_allclose(model(TIMES), values, rtol=1e-9)
    if integrals is not None:
        total = (STOP - START).to_value("s").sum()
        np.testing.assert_allclose(model.integral(START, STOP).to_value("s") / total, integrals, rtol=1e-8)
        assert model.norm(START, STOP) == pytest.approx(sum(integrals), rel=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_integrals_are_those_of_a_quadrature(name):
    model = MODELS[name][0]
    values = model.values
    low, high = (model.seconds(d) for d in (51544.1, 51546.9))
    peak = [model.seconds(51545.0)]
    expected = quad(lambda t: float(model.evaluate(t, *values)), low, high, points=peak, epsrel=1e-11)[0]
    assert float(model.evaluate_integral(low, high, *values)) == pytest.approx(expected, rel=1e-9)
    # that of the base class, which own models have
    generic = TemporalModel.evaluate_integral(model, np.array([low]), np.array([high]), *values)[0]
    assert generic == pytest.approx(expected, rel=1e-3 if name == "pulse" else 1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_times_of_events(name):
    model = MODELS[name][0]
    start, stop = (np.array([model.seconds(d) for d in days]) for days in ((51544.1, 51546.0), (51545.3, 51550.0)))
    fractions = np.linspace(0, 1, 41)
    times = model.quantile(fractions, start, stop)
    assert np.all(((times >= start[0]) & (times <= stop[0])) | ((times >= start[1]) & (times <= stop[1])))
    total = model.evaluate_integral(start, stop, *model.values).sum()
    held = [model.evaluate_integral(start, np.clip(t, start, stop), *model.values).sum() / total for t in times]
    np.testing.assert_allclose(held, fractions, atol=1e-5)


def test_leap_seconds_count():
    # from 2016-12-31 to 2017-01-02 there are two days and a second
    model = LinearTemporalModel(alpha=0, beta="1 s-1", t_ref=57753)
    assert model(Time("2017-01-02")) == pytest.approx(2 * 86400 + 1, abs=1e-6)
    assert model.reference_time.isot == "2016-12-31T00:00:00.000"
    model.reference_time = Time("2017-01-01")
    assert model.t_ref.value == 57754
    assert LinearTemporalModel(t_ref=Time("2020-01-01")).t_ref.value == 58849
    assert LinearTemporalModel(t_ref=51544.5, scale="tt").seconds(51544.5) == 0


def test_limits_of_power_laws():
    model = PowerLawTemporalModel(alpha=-0.5, t_ref=51544.5, scale="tt")
    values = model.values
    assert float(model.evaluate(-5.0, *values)) == 0
    assert float(model.evaluate_integral(-100.0, 86400.0, *values)) == pytest.approx(2 * 86400)
    assert float(model.evaluate_integral(-100.0, -50.0, *values)) == 0
    assert float(model.evaluate_integral(0.0, 1.0, -1.0, 51544.5, 1.0)) == np.inf
    near = float(model.evaluate_integral(1.0, 9.0, -1 + 1e-13, 51544.5, 1.0))
    assert near == pytest.approx(float(model.evaluate_integral(1.0, 9.0, -1.0, 51544.5, 1.0)), rel=1e-10)


# ------------------------------------------------------------------ tables
@pytest.fixture
def table():
    meta = {"MJDREFI": 55555, "MJDREFF": 0, "TIMESYS": "tt"}
    return Table({"TIME": [0, 1, 2, 3] * u.d, "NORM": [1, 2, 3, 1.0]}, meta=meta)


def test_light_curves_are_those_of_gammapy(table, tmp_path):
    # gammapy 2.1: LightCurveTemplateTemporalModel.read; its integral with oversampling_factor=100000 is 2.15601
    table.write(tmp_path / "lc.fits")
    model = LightCurveTemplateTemporalModel.read(tmp_path / "lc.fits")
    assert model.t_ref.value == pytest.approx(55554.99923398148, abs=1e-10)
    zero = model.seconds(model.t_ref.value)
    days = np.array([-0.4, 0.3, 1.5, 2.9, 3.3, 3.9])
    np.testing.assert_allclose(model(zero + days * 86400), [0.6, 1.3, 2.5, 1.2, 0.4, 0.0], atol=1e-6)
    assert model.norm(zero + 0.2 * 86400, zero + 2.7 * 86400) == pytest.approx(2.156, rel=1e-7)
    # beyond the table, to where it ends: a triangle on each side
    assert model.integral(zero - 2 * 86400, zero + 9 * 86400).to_value("d") == pytest.approx(0.5 + 6 + 0.25, rel=1e-6)
    np.testing.assert_allclose(model.quantile([0.0, 1.0], zero, zero + 86400.0), [zero, zero + 86400], atol=1e-6)
    back = component_from_dict("temporal", component_to_dict(model))
    np.testing.assert_allclose(back(zero + days * 86400), model(zero + days * 86400), atol=1e-9)
    again = LightCurveTemplateTemporalModel(model.to_table())
    np.testing.assert_allclose(again(zero + days * 86400), model(zero + days * 86400), atol=1e-6)
    # moved by a day
    moved = model.copy(t_ref=model.t_ref.value + 1)
    assert moved(zero + 1.3 * 86400) == pytest.approx(1.3, abs=1e-6)


def test_light_curves_with_energies():
    # gammapy 2.1: the same as a RegionNDMap, evaluate at 3, 10 and 50 TeV
    energy = np.sqrt([10.0, 1000.0])
    times = ("time", np.array([0, 1, 3]) * 86400.0, {"units": "s"})
    coords = {"energy": ("energy", energy, {"units": "TeV"}), "time": times}
    norm = xr.DataArray([[1, 2, 3.0], [4, 2, 1.0]], coords, ("energy", "time"))
    model = LightCurveTemplateTemporalModel(xr.Dataset({"norm": norm}))
    found = model.evaluate(np.array([0.5, 1.7]) * 86400, *model.values, energy=np.array([3, 10, 50.0]))
    expected = [[1.3919633778, 2.3253188587], [2.0, 1.901803826], [3.2466908199, 1.4535936291]]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    held = model.evaluate_integral(0.0, 86400.0, *model.values, energy=energy)
    np.testing.assert_allclose(held, [86400 / np.log(2), 2 * 86400 / np.log(2)], rtol=1e-6)
    with pytest.raises(ValueError, match="give energy="):
        model(0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.remove_column("NORM"), "needs the column 'NORM'"),
        (lambda t: t.meta.clear(), "has no MJDREFI"),
        (lambda t: t.reverse(), "ascend"),
        (lambda t: t["NORM"].__setitem__(1, -1.0), "not negative"),
    ],
)
def test_words_on_light_curves(table, change, message):
    change(table)
    with pytest.raises(ValueError, match=message):
        LightCurveTemplateTemporalModel(table)


def test_phase_curves_are_those_of_gammapy(tmp_path):
    # gammapy 2.1: TemplatePhaseCurveTemporalModel(table, scale="tt", ...)
    Table({"PHASE": np.linspace(0, 1, 21), "NORM": 1 + np.arange(21) % 20.0}).write(tmp_path / "phase.fits")
    settings = {"t_ref": 51544, "phi_ref": 0.3, "f0": "0.01 s-1", "f1": "1e-9 s-2", "scale": "tt"}
    model = TemplatePhaseCurveTemporalModel(tmp_path / "phase.fits", **settings)
    times = (np.array([51544.2, 51545.7, 51549.1]) - 51544.5) * 86400
    np.testing.assert_allclose(model(times), [0.5700937095, 1.7845089475, 1.5843900927], rtol=1e-7)
    low, high = (51544.1 - 51544.5) * 86400, (51544.103 - 51544.5) * 86400
    # gammapy takes the frequency of the start for the whole interval: 1e-5 off
    assert model.norm(low, high) == pytest.approx(0.9822996623, rel=2e-5)
    fine = np.linspace(low, high, 400_001)
    assert model.norm(low, high) == pytest.approx(np.trapezoid(model(fine), fine) / (high - low), rel=1e-6)
    times = model.quantile(np.linspace(0, 1, 30), [low, 0.0], [high, 1000.0])
    held = [
        model.evaluate_integral(np.array([low, 0.0]), np.clip(t, [low, 0.0], [high, 1000.0]), *model.values).sum()
        for t in times
    ]
    np.testing.assert_allclose(np.array(held) / held[-1], np.linspace(0, 1, 30), atol=1e-5)
    back = component_from_dict("temporal", component_to_dict(model))
    np.testing.assert_array_equal(back(times), model(times))
    assert model.phase(model.seconds(51544.0)) == pytest.approx(0.3)


def test_centres_of_phase_bins_are_continued():
    table = Table({"PHASE": [0.25, 0.75], "NORM": [1.0, 3.0]})
    model = TemplatePhaseCurveTemporalModel(table, normalize=False, t_ref=51544.5, f0=1.0, scale="tt")
    np.testing.assert_allclose(model([0.0, 0.5, 0.999999]), [0.0, 2.0, 4.0], atol=1e-5)
    with pytest.raises(ValueError, match="ascend"):
        TemplatePhaseCurveTemporalModel(Table({"PHASE": [0.5, 0.2], "NORM": [1.0, 3.0]}))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        TemplatePhaseCurveTemporalModel("nowhere.fits")


# ------------------------------------------------------------------ files and words
@pytest.mark.parametrize("name", MODELS)
def test_yaml_there_and_back(name):
    model = MODELS[name][0]
    back = component_from_dict("temporal", component_to_dict(model))
    assert type(back) is type(model)
    assert back.scale == "utc"
    np.testing.assert_array_equal(back.values, model.values)


def test_tags_are_those_of_gammapy():
    names = {"const", "linear", "exp-decay", "gauss", "gengauss", "template", "powerlaw", "sinus", "template-phase"}
    assert names <= set(tags("temporal"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearTemporalModel(scale="mars"), "scale='mars' is not a time scale"),
        (lambda: LinearTemporalModel().norm([0.0], [0.0]), "have no length"),
        (lambda: LinearTemporalModel().integral(5.0, 1.0), "must not lie after"),
        (lambda: LinearTemporalModel(beta=-1, t_ref=51544.5).quantile(0.5, 0.0, 9e5), "is negative"),
        (lambda: TemporalModel().evaluate(0.0), "must define evaluate"),
    ],
)
def test_words(make, message):
    with pytest.raises((ValueError, NotImplementedError), match=message):
        make()


def test_padded_good_times_count_nothing():
    model = MODELS["decay"][0]
    padded = model.norm([0.0, 5e4, np.nan], [1e4, 6e4, np.nan])
    assert padded == model.norm([0.0, 5e4], [1e4, 6e4])
