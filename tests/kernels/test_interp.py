"""Interpolation with shared weights against scipy, closed forms and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import RegularGridInterpolator

from xgamma.kernels.interp import axis_limits, bin_weights, interp_plane, interp_points, interp_rows, log_log_integral


def test_axis_limits_of_bins_and_nodes():
    assert axis_limits([1.0, 2.0], [2.0, 5.0]) == (1.0, 5.0)
    assert axis_limits([0.0, 0.5, 1.5], [0.0, 0.5, 1.5]) == (-0.25, 2.0)
    np.testing.assert_allclose(axis_limits([1.0, 4.0], [1.0, 4.0], "log"), (0.5, 8.0))
    assert axis_limits([0.4], [0.4]) == (0.4, 0.4)


@pytest.mark.parametrize("scale", ["lin", "log"])
@pytest.mark.parametrize("number", [2, 5, 40])
def test_weights_reproduce_a_line(scale, number):
    rng = np.random.default_rng(number)
    nodes = np.cumsum(rng.uniform(0.1, 1, number))
    points = rng.uniform(nodes[0] * 0.8, nodes[-1] * 1.2, (7, 3))
    node, weight, valid = bin_weights(nodes, points, scale=scale)
    assert node.shape == weight.shape == valid.shape == points.shape
    assert valid.all()
    x = np.log(nodes) if scale == "log" else nodes
    line = 3 * x - 2
    value = (1 - weight) * line[node] + weight * line[node + 1]
    expected = 3 * (np.log(points) if scale == "log" else points) - 2
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_limits_are_inclusive_and_nan_is_invalid():
    valid = bin_weights([0.5, 1.5], [0.0, 2.0, -1e-9, 2.1, np.nan, np.inf], limits=(0.0, 2.0)).valid
    assert valid.tolist() == [True, True, False, False, False, False]
    # 0 and negative energies have no logarithm
    assert bin_weights([1.0, 2.0], [0.0, -1.0, 1.0], scale="log").valid.tolist() == [False, False, True]


def test_edge_that_went_through_a_logarithm_is_inside():
    edge = np.exp(np.log(100.0)) * (1 + 4e-16)
    assert bin_weights([10.0, 50.0], edge, limits=(1.0, 100.0), scale="log").valid


def test_single_node_is_constant():
    weights = bin_weights([0.4], [0.1, 0.39, 0.41], limits=(0.39, 0.41))
    np.testing.assert_array_equal(interp_points(np.array([[7.0]]), weights), [[0, 7, 7]])
    np.testing.assert_array_equal(interp_rows(np.array([[7.0]]), weights), [[0], [7], [7]])


@pytest.mark.parametrize("number", [3, 6, 16, 17, 60])
def test_interp_points_equals_scipy(number):
    # both ways to find the nodes: comparison with few, search among many
    rng = np.random.default_rng(number)
    nodes = np.cumsum(rng.uniform(0.1, 1, number))
    table = rng.normal(size=(4, number))
    points = rng.uniform(nodes[0] - 0.2, nodes[-1] + 0.2, (5, 6))
    expected = [
        RegularGridInterpolator([nodes], row, bounds_error=False, fill_value=None)(points[..., None]) for row in table
    ]
    np.testing.assert_allclose(interp_points(table, bin_weights(nodes, points)), expected, rtol=1e-10, atol=1e-12)


def test_rows_then_points_equals_an_interpolator_in_three_dimensions():
    rng = np.random.default_rng(1)
    energy, x, y = np.geomspace(0.1, 10, 8), np.linspace(-2, 2, 9), np.linspace(-1, 3, 7)
    table = rng.normal(size=(8, 9, 7))
    e, px, py = rng.uniform(0.1, 10, 5), rng.uniform(-2.2, 2.2, (4, 6)), rng.uniform(-1.2, 3.2, (4, 6))
    brute = RegularGridInterpolator((np.log(energy), x, y), table, bounds_error=False, fill_value=None)
    points = np.stack(np.broadcast_arrays(np.log(e)[:, None, None], px, py), axis=-1)
    rows = interp_rows(table, bin_weights(energy, e, scale="log"))
    result = interp_plane(rows, bin_weights(x, px), bin_weights(y, py))
    np.testing.assert_allclose(result, brute(points), rtol=1e-10, atol=1e-12)


def test_plane_fills_outside_and_takes_single_nodes():
    table = np.arange(3.0).reshape(1, 3, 1)
    x = bin_weights([0.0, 1.0, 2.0], [0.5, 5.0], limits=(-0.5, 2.5))
    y = bin_weights([0.0], [0.1, 0.1], limits=(-1, 1))
    np.testing.assert_array_equal(interp_plane(table, x, y, fill=-np.inf), [[0.5, -np.inf]])


@given(index=st.floats(-6, 6), low=st.floats(1e-3, 1e3), ratio=st.floats(1.0001, 1e3))
def test_integral_of_a_power_law(index, low, ratio):
    edges = np.array([low, low * ratio])
    result = log_log_integral(np.log(edges**-index), edges)[0]
    power = 1 - index
    log_ratio = np.log(ratio)
    expected = low**power * (log_ratio if abs(power) < 1e-9 else np.expm1(power * log_ratio) / power)
    assert result == pytest.approx(expected, rel=1e-9)


def test_integral_of_a_curve_by_quadrature():
    def curve(x):
        return x**-2.5 * np.exp(-x / 5)

    edges = np.geomspace(1, 20, 400)
    result = log_log_integral(np.log(curve(edges)), edges).sum()
    assert result == pytest.approx(quad(curve, 1, 20, epsrel=1e-12)[0], rel=1e-4)


def test_integral_with_a_zero_is_zero_and_warns_not():
    log_values = np.array([[-np.inf, 0.0], [0.0, 0.0], [-np.inf, 0.0], [-np.inf, -np.inf]])
    result = log_log_integral(log_values, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(result, [[0, 1], [0, 1], [0, 0]])
