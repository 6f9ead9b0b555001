"""Energy dispersion: real responses against gammapy, closed forms, bias and resolution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from xgamma.coords.bins import energy_axis
from xgamma.irf.axes import response_array, response_axis, table_axis
from xgamma.irf.edisp import (
    bias,
    bias_energy,
    diagonal_response,
    energy_threshold_edisp_bias,
    evaluate_edisp,
    evaluate_edisp_kernel,
    from_gauss,
    mean_energy,
    resolution,
)

# gammapy 2.1: edisp.to_edisp_kernel(0.3 deg, energy_axis_true=[0.5, 0.8, 2] TeV, energy_axis=[0.3, 0.6, 1, 3] TeV)
KERNELS = {
    "hess": [[0.1118018164, 0.7893392269, 0.0986898163], [0.0054106285, 0.1720790152, 0.8075993691]],
    "cta": [[0.2668625095, 0.7331374905, 0.0], [0.0, 0.0128422828, 0.9871577172]],
    "prod5": [[0.3168528914, 0.6831471086, 0.0], [0.0, 0.0074005902, 0.9925994098]],
}
# gammapy 2.1, at 0.3 deg on the axis of the response: get_bias and get_resolution at the centres nearest to 1 and
# 5 TeV, get_bias_energy(0.1) and (0.3)
CURVES = {
    "hess": ([0.0710770202, 0.0145778901], [0.3606598637, 0.3316279225], 0.9107682267, 0.7653327409),
    "cta": ([-0.0077598287, -0.0248787165], [0.0832619528, 0.0663596103], 0.0101491807, 0.0119940582),
    "prod5": ([-0.0146905147, -0.0178937799], [0.0806045915, 0.0835323647], 0.0750995825, 0.0610631422),
}


@pytest.mark.parametrize("name", list(KERNELS))
def test_kernels_of_gammapy(responses, name):
    # CTA: 0.3 deg lies below the first centre at 0.5 deg, where the line is continued and cut at 0
    true = np.sqrt([0.5 * 0.8, 0.8 * 2])
    kernel = evaluate_edisp_kernel(responses[name]["edisp"], 0.3, true, [0.3, 0.6, 1, 3])
    np.testing.assert_allclose(kernel, KERNELS[name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", list(CURVES))
def test_bias_and_resolution_of_gammapy(responses, name):
    edisp = responses[name]["edisp"]
    true = table_axis(edisp, "energy_true")
    kernel = evaluate_edisp_kernel(edisp, 0.3, true.center, true.edges)
    index = [int(np.argmin(abs(true.center - e))) for e in (1, 5)]
    expected_bias, expected_resolution, low, high = CURVES[name]
    np.testing.assert_allclose(bias(kernel, true.center, true.center)[index], expected_bias, rtol=1e-7)
    np.testing.assert_allclose(resolution(kernel, true.center, true.center)[index], expected_resolution, rtol=1e-7)
    for value, expected in ((0.1, low), (0.3, high)):
        # its root finder stops at 1e-2 of the energy at worst
        assert bias_energy(kernel, true.center, true.center, value) == pytest.approx(expected, rel=1e-3)
    threshold = energy_threshold_edisp_bias(edisp, 10, "0.3 deg")
    assert threshold == bias_energy(kernel, true.center, true.center, 0.1)


def test_offsets_in_blocks_and_both_ways(responses, monkeypatch):
    # beyond the outermost centres the table itself has to be interpolated, inside its sums are enough; both agree
    edisp = responses["cta"]["edisp"]
    offset = np.linspace(0, 6.2, 24).reshape(4, 6)
    true, edges = np.geomspace(0.003, 600, 12), np.geomspace(0.01, 200, 20)
    kernel = evaluate_edisp_kernel(edisp, offset, true, edges)
    assert kernel.shape == (12, 19, 4, 6)
    monkeypatch.setattr("xgamma.irf.edisp.BLOCK_SIZE", 9000)
    np.testing.assert_allclose(evaluate_edisp_kernel(edisp, offset, true, edges), kernel, rtol=1e-12, atol=1e-15)
    monkeypatch.setattr("xgamma.irf.edisp._inside", lambda weights, number: np.zeros_like(weights.valid))
    np.testing.assert_allclose(evaluate_edisp_kernel(edisp, offset, true, edges), kernel, rtol=1e-9, atol=1e-12)
    assert (kernel[..., offset > 6] == 0).all()


def test_negative_densities_are_cut_after_interpolation():
    # a few tables of H.E.S.S. DR1 dip below zero; the cut comes after the interpolation, before the sum
    axes = [
        response_axis("energy_true", [1.0, 2.0], [2.0, 4.0]),
        response_axis("migra", [0.0, 0.5, 1.0], [0.5, 1.0, 1.5]),
        response_axis("offset", [0.0, 1.0], [0.0, 1.0]),
    ]
    table = np.zeros((2, 3, 2))
    table[..., 0], table[..., 1] = [-0.4, 1.0, 1.0], [0.2, 1.0, 1.0]
    edisp = response_array(table, axes, "edisp", "", "")
    kernel = evaluate_edisp_kernel(edisp, [0.5, 0.9], [2.0], [0.1, 1.0, 2.0, 3.0])[0]
    np.testing.assert_allclose(kernel[:, 0], [0, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(kernel[:, 1], np.array([0.9 * 0.14, 1, 1]) / 2.14, atol=1e-12)


def test_run_with_negative_densities(gammapy_data):
    from astropy.io import fits

    from xgamma.irf.read import read_irf

    with fits.open(gammapy_data / "hess-dl3-dr1/data/hess_dl3_dr1_obs_id_020517.fits.gz") as hdus:
        edisp = read_irf(hdus["EDISP"])
    assert float(edisp.min()) < 0
    # gammapy 2.1: obs 20517, to_edisp_kernel(2.329484768917964 deg) with 15 true bins from 0.1 to 100 TeV and 10
    # bins from 0.3 to 50 TeV, first row
    kernel = evaluate_edisp_kernel(edisp, 2.329484768917964, [0.12589254117941673], np.geomspace(0.3, 50, 11))
    np.testing.assert_allclose(kernel[0, :3], [0.07071385, 0.00091464, 0], atol=5e-9)


def test_gaussian_kernel():
    migra_edges = np.linspace(0.2, 2.0, 3601)
    edisp = from_gauss(0.1, 0.05, migra=response_axis("migra", migra_edges[:-1], migra_edges[1:]), threshold=0)
    true, edges = np.array([0.5, 1.0, 5.0]), np.geomspace(0.3, 10, 30)
    kernel = evaluate_edisp_kernel(edisp, 0.5, true, edges)
    expected = np.diff(norm.cdf(edges / true[:, None], 1.05, 0.1), axis=1)
    # a sum that is linear within a bin of width h is off by h^2 / 8 times the slope of the density, 24, per edge
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=2 * 0.0005**2 / 8 * 24.2)
    assert (kernel[expected < 1e-9] == 0).all()


def test_gaussian_kernel_of_gammapy():
    # gammapy 2.1: EDispKernel.from_gauss(3 true bins, 4 bins from 1 to 10 TeV, sigma=0.2, bias=0.1)
    expected = [
        [6.93280436e-01, 2.88612412e-01, 2.83769256e-08, 0.0],
        [3.53754786e-03, 3.04956294e-01, 6.91156296e-01, 3.49862119e-04],
        [0.0, 6.77873379e-04, 8.41838814e-02, 8.82155531e-01],
    ]
    true, edges = np.geomspace(1, 10, 4), np.geomspace(1, 10, 5)
    energy = response_axis("energy_true", true[:-1], true[1:])
    kernel = evaluate_edisp_kernel(from_gauss(0.2, 0.1, energy), 0.5, energy.values, edges)
    np.testing.assert_allclose(kernel, expected, rtol=1e-6, atol=1e-12)


def test_rows_sum_to_one_where_covered(responses):
    kernel = evaluate_edisp_kernel(responses["hess"]["edisp"], [0.0, 1.2], [1.0, 3.0], np.geomspace(0.01, 100, 200))
    np.testing.assert_allclose(kernel.sum(axis=1), 1.0, rtol=1e-6)


def test_evaluation_beyond_the_axes():
    edges = np.array([1.0, 2.0, 4.0])
    axes = [
        response_axis("energy_true", edges[:-1], edges[1:]),
        response_axis("migra", [0.0, 0.5, 1.0], [0.5, 1.0, 1.5]),
        response_axis("offset", [0.0], [2.0]),
    ]
    edisp = response_array(np.array([[0, 1, 1], [0, 1, 1.0]])[..., None], axes, "edisp", "", "")
    # beyond one of energy and migration the table is continued, beyond both it is empty; negative values are cut
    assert evaluate_edisp(edisp, [1.5, 10.0], [0.5, 2.0], 0.5).tolist() == [[0.5, 1.0], [0.5, 0.0]]
    assert evaluate_edisp(edisp, [1.5], [-1.0], 0.5).item() == 0
    assert evaluate_edisp(edisp, [1.5], [0.5], 3.0).item() == 0


def test_moments():
    kernel = np.array([[0.5, 0.5], [0.0, 0.0], [0.0, 0.2]])
    np.testing.assert_allclose(mean_energy(kernel, [1.0, 3.0]), [2, np.nan, 3])
    np.testing.assert_allclose(bias(kernel, [1.0, 1.0, 2.0], [1.0, 3.0]), [1, np.nan, 0.5])
    np.testing.assert_allclose(resolution(kernel, [2.0, 1.0, 1.0], [1.0, 3.0]), [0.5, np.nan, 0], atol=1e-12)
    stacked = np.stack([kernel, kernel[::-1]], axis=-1)
    np.testing.assert_allclose(resolution(stacked, [2.0, 1.0, 2.0], [1.0, 3.0])[:, 1], [0, np.nan, 0.5], atol=1e-12)


def test_bias_energy_on_a_power_law():
    # bias = E^-1 exactly at the centres: 0.25 is crossed at 4 TeV
    true = np.array([1.0, 2.0, 8.0, 16.0])
    kernel = np.eye(4)
    assert bias_energy(kernel, true, true * (1 + 1 / true), 0.25) == pytest.approx(4 * 1.25)
    # never above, never below: the energy of the maximum
    assert bias_energy(kernel, true, true * (1 + 1 / true), 2.0) == pytest.approx(3.0)
    assert bias_energy(kernel, true, true * (1 + 1 / true), 0.01) == pytest.approx(1.01)
    with pytest.raises(ValueError, match="bias_value=0"):
        bias_energy(kernel, true, true, 0)
    with pytest.raises(ValueError, match="energy dispersion is empty"):
        bias_energy(kernel * 0, true, true, 0.1)


def test_diagonal_response():
    true, reco = energy_axis("1 TeV", "16 TeV", nbin=4, name="energy_true"), energy_axis("1 TeV", "16 TeV", nbin=4)
    np.testing.assert_allclose(diagonal_response(true, reco), np.eye(4), atol=1e-12)
    coarse = energy_axis("2 TeV", "32 TeV", nbin=2)
    result = diagonal_response(true, coarse)
    assert result.dims == ("energy_true", "energy")
    np.testing.assert_allclose(result, [[0, 0], [1, 0], [1, 0], [0, 1]], atol=1e-12)


def test_width_must_be_positive():
    with pytest.raises(ValueError, match="sigma=0 must be positive"):
        from_gauss(0)
