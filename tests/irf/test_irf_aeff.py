"""Effective area: real responses against gammapy, brute force, thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from xgamma.irf.aeff import (
    energy_threshold_aeff_max,
    energy_thresholds_aeff_default,
    evaluate_aeff,
    from_parametrization,
    rising_energy,
)
from xgamma.irf.axes import response_array, response_axis, table_axis

# gammapy 2.1: aeff.evaluate(energy_true=[0.3, 1, 99] TeV, offset=[0, 0.7, 2.6] deg).to("cm2")
REFERENCE = {
    "hess": [
        [0.0, 0.0, 0.0],
        [2.2820754459e09, 2.2601255872e09, 9.5272722472e07],
        [5.8105520168e09, 5.9627441243e09, 3.3212251989e09],
    ],
    "cta": [
        [3.9507540596e09, 3.7921038575e09, 2.8672341212e09],
        [9.1056040747e09, 8.7454339482e09, 6.4369116795e09],
        [3.2319247768e10, 4.0761358501e10, 4.0214138546e10],
    ],
    "prod5": [
        [2.9730490225e09, 2.9876461487e09, 2.6675977707e09],
        [7.4998087613e09, 7.3033318858e09, 5.7857856497e09],
        [2.9318380848e10, 2.9343415759e10, 2.8148883848e10],
    ],
}


@pytest.mark.parametrize("name", list(REFERENCE))
def test_values_of_gammapy(responses, name):
    result = evaluate_aeff(responses[name]["aeff"], [0.3, 1.0, 99.0], [0.0, 0.7, 2.6])
    np.testing.assert_allclose(result, REFERENCE[name], rtol=1e-9)


def test_limits_are_those_of_gammapy(responses):
    # gammapy 2.1: 0 below 0.01 TeV and above 100 TeV; nodes in offset reach half a step beyond 2.5 deg
    hess = responses["hess"]["aeff"]
    energy = table_axis(hess, "energy_true")
    inside = evaluate_aeff(hess, [energy.lo[0], energy.hi[-1]], 0.5)
    assert inside[1] == pytest.approx(639588.9475330433e4)
    assert (evaluate_aeff(hess, [energy.hi[-1] * 1.001, energy.lo[0] * 0.999, np.nan, -1.0], 0.5) == 0).all()
    np.testing.assert_allclose(
        evaluate_aeff(hess, [1.0], [2.5, 2.6, 2.7499, 2.76, 3.0])[0],
        [22534.51353475797e4, 9527.272247214045e4, 0, 0, 0],
    )


def test_one_offset_bin(responses):
    magic = responses["magic"]["aeff"]
    # gammapy 2.1: 93296.97118332876 m2 from 0.39 to 0.41 deg, 0 elsewhere
    np.testing.assert_allclose(evaluate_aeff(magic, [1.0], [0.3, 0.4, 0.42])[0], [0, 93296.97118332876e4, 0])


def test_grid_against_an_interpolator():
    rng = np.random.default_rng(3)
    edges = np.geomspace(0.1, 100, 11)
    energy, offset = response_axis("energy_true", edges[:-1], edges[1:]), response_axis("offset", [0, 1, 2], [1, 2, 4])
    table = rng.uniform(1, 2, (10, 3))
    aeff = response_array(table, [energy, offset], "aeff", "cm2", "Effective area")
    e, theta = np.geomspace(0.1, 99, 7), rng.uniform(0, 4, (5, 6))
    brute = RegularGridInterpolator((np.log(energy.values), offset.values), table, bounds_error=False, fill_value=None)
    points = np.stack(np.broadcast_arrays(np.log(e)[:, None, None], theta), axis=-1)
    np.testing.assert_allclose(evaluate_aeff(aeff, e, theta), np.maximum(brute(points), 0), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(evaluate_aeff(aeff.transpose("offset", ...), e, theta), evaluate_aeff(aeff, e, theta))


def test_wrong_units_and_axes():
    aeff = from_parametrization()
    with pytest.raises(ValueError, match="has units 'm2'; convert it to 'cm2'"):
        evaluate_aeff(aeff.assign_attrs(units="m2"), [1.0], 0.5)
    with pytest.raises(ValueError, match="has no binned axis 'energy_true'"):
        evaluate_aeff(aeff.isel(energy_true=3), [1.0], 0.5)


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        # gammapy 2.1: EffectiveAreaTable2D.from_parametrization(instrument=...).evaluate([0.1, 1, 10] TeV, 0.5 deg)
        ("HESS", [1.70725204e7, 1.21256616e9, 1.54967662e9]),
        ("HESS2", [2.70293883e8, 5.41567701e8, 4.82734389e8]),
        ("CTAO", [2.25464654e10, 4.51746717e10, 4.02671125e10]),
    ],
)
def test_parametrizations(instrument, expected):
    np.testing.assert_allclose(evaluate_aeff(from_parametrization(instrument), [0.1, 1, 10], 0.5), expected, rtol=1e-8)
    with pytest.raises(ValueError, match="must be one of HESS, HESS2, CTAO"):
        from_parametrization("VERITAS")


def test_threshold_at_edges(responses):
    hess = responses["hess"]["aeff"]
    edges = table_axis(hess, "energy_true").edges
    area = evaluate_aeff(hess, edges, 0.0)
    threshold = energy_threshold_aeff_max(hess, 10)
    below, at = area[edges < threshold], area[edges == threshold]
    assert (below <= 0.1 * area.max()).all()
    assert at.item() > 0.1 * area.max()
    # the crossing lies between this edge and the one below; gammapy 2.1 finds 0.55736914 TeV
    crossing = rising_energy(edges, area, 10)
    assert crossing == pytest.approx(0.55736914, rel=1e-3)
    assert edges[edges < threshold].max() <= crossing <= threshold


@pytest.mark.parametrize(
    # gammapy 2.1: TemplateSpectralModel(energy=edges, values=aeff).inverse(percent / 100 * aeff.max(), ...)
    ("name", "offset", "percent", "expected"),
    [
        ("hess", 2.1, 50, 4.47421375),
        ("cta", 0.4, 5, 0.18280819),
        ("cta", 2.1, 50, 3.46123747),
        ("magic", 0.4, 10, 0.07828567),
    ],
)
def test_crossings_of_gammapy(responses, name, offset, percent, expected):
    aeff = responses[name]["aeff"]
    edges = table_axis(aeff, "energy_true").edges
    # its root finder stops at 1e-2 of the energy at worst
    assert rising_energy(edges, evaluate_aeff(aeff, edges, offset), percent) == pytest.approx(expected, rel=1e-3)


def test_threshold_errors(responses):
    with pytest.raises(ValueError, match="zero at all energies at an offset of 2 deg"):
        energy_threshold_aeff_max(responses["magic"]["aeff"], offset="2 deg")
    with pytest.raises(ValueError, match="percent=100"):
        energy_threshold_aeff_max(from_parametrization(), 100)
    with pytest.raises(ValueError, match="zero at all energies"):
        rising_energy([1.0, 2.0], [0.0, 0.0], 10)
    with pytest.raises(ValueError, match="percent=0"):
        rising_energy([1.0, 2.0], [1.0, 1.0], 0)


def test_crossing_of_a_curve_that_starts_above():
    assert rising_energy([1.0, 2.0, 4.0], [0.0, 5.0, 5.0], 10) == pytest.approx(2.0)


def test_default_thresholds(responses):
    low, high = energy_thresholds_aeff_default(responses["hess"]["aeff"])
    assert (low, high) == (pytest.approx(0.870963589956081), 100.0)
    assert energy_thresholds_aeff_default(responses["magic"]["aeff"]) == (pytest.approx(0.08576008), None)
