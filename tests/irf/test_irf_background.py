"""Background: real responses against gammapy, gaps, padding, orientation."""

from __future__ import annotations

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord, SkyOffsetFrame
from scipy.integrate import quad

from xgamma.irf.axes import response_array, response_axis, table_axis
from xgamma.irf.background import (
    RATE_FLOOR,
    evaluate_background,
    fov_coordinates,
    integrate_background,
    interp_missing_energy,
    pad_offset,
    powerlaw_background,
    prepare_background,
)

# gammapy 2.1: bkg.interp_missing_data("energy"), then bkg.integrate_log_log(
#     energy=[0.5, 1, 5, 60] TeV, fov_lon=[0.32, -1.1, 2.48] deg, fov_lat=[-0.2, 0.9, 0.3] deg, axis_name="energy")
# It takes logarithms in float32, which is good to about 1e-6.
REFERENCE = {
    "hess": [
        [250.5298097349, 167.6352334261, 41.8446337235],
        [353.0831112088, 276.6247657968, 80.801870558],
        [24.3933469947, 38.1703695235, 32.1282092284],
    ],
    "cta": [
        [168.3744687926, 162.2186225994, 140.326360902],
        [104.5464686504, 96.8987428495, 84.0846561198],
        [13.8117800881, 16.5718476221, 17.8099798577],
    ],
    "prod5": [
        [143.6854783663, 143.4211713269, 131.7775343794],
        [72.2759888762, 71.9803966458, 67.33438327],
        [12.4027828312, 12.4393284468, 12.9863803607],
    ],
}
EDGES, LON, LAT = [0.5, 1, 5, 60], np.array([0.32, -1.1, 2.48]), np.array([-0.2, 0.9, 0.3])


@pytest.mark.parametrize("name", list(REFERENCE))
def test_values_of_gammapy(responses, name):
    bkg = prepare_background(responses[name]["background"])
    np.testing.assert_allclose(integrate_background(bkg, EDGES, LON, LAT), REFERENCE[name], rtol=2e-6)


def test_two_dimensional_values_of_gammapy(responses):
    bkg3d = responses["hess"]["background"]
    # gammapy 2.1: obs.bkg.to_2d(), interp_missing_data("energy"), pad(1, mode="edge", axis_name="offset"),
    # integrate_log_log(energy=[0.5, 1, 5, 60] TeV, offset=[0.3, 2.48, 2.55] deg); to_2d takes the row at latitude 0
    expected = [
        [243.3893007177, 45.9387351173, 45.9387351173],
        [362.8808817241, 85.1480872083, 85.1480872083],
        [28.6794162062, 31.354656812, 31.354656812],
    ]
    lon = table_axis(bkg3d, "fov_lon")
    half = lon.lo >= -1e-6
    row = bkg3d.isel(fov_lon=half, fov_lat=int(np.searchsorted(table_axis(bkg3d, "fov_lat").lo, -1e-6)))
    offset = response_axis("offset", lon.lo[half], lon.hi[half])
    energy = response_axis("energy", bkg3d.energy_min, bkg3d.energy_max)
    bkg = response_array(row.values, [energy, offset], "background", "s-1 TeV-1 sr-1", "")
    result = integrate_background(prepare_background(bkg), EDGES, 0, 0, np.array([0.3, 2.48, 2.55]))
    np.testing.assert_allclose(result, expected, rtol=2e-6)


def test_reversed_longitude(responses):
    bkg = responses["hess"]["background"]
    reversed_ = bkg.assign_attrs(fov_alignment="REVERSE_LON_RADEC")
    np.testing.assert_array_equal(
        integrate_background(reversed_, EDGES, -LON, LAT), integrate_background(bkg, EDGES, LON, LAT)
    )
    assert not np.allclose(integrate_background(reversed_, EDGES, LON, LAT), integrate_background(bkg, EDGES, LON, LAT))


def test_bin_with_an_edge_outside_is_empty():
    bkg = powerlaw_background()
    result = integrate_background(bkg, [0.005, 0.02, 50, 200], 0.0, 0.0)
    assert result[0] == 0
    assert result[1] > 0
    assert result[2] == 0
    assert (integrate_background(bkg, [1, 2], 6.0, 0.0) == 0).all()
    assert (integrate_background(powerlaw_background(three_d=True), [1, 2], [5.1, np.nan], 0.0) == 0).all()


@pytest.mark.parametrize("three_d", [False, True])
@pytest.mark.parametrize("oversampling", [1, 4])
def test_power_law_exactly(three_d, oversampling):
    bkg = powerlaw_background("2 s-1 TeV-1 sr-1", index=2.7, three_d=three_d)
    edges = np.geomspace(0.1, 10, 8)
    expected = 2 * -np.diff(edges**-1.7) / 1.7
    lon = np.linspace(-2, 2, 6).reshape(2, 3)
    result = integrate_background(bkg, edges, lon, 0 * lon, oversampling=oversampling)
    np.testing.assert_allclose(result, np.broadcast_to(expected[:, None, None], (7, 2, 3)), rtol=1e-10)


def test_oversampling_approaches_the_integral():
    edges = np.geomspace(0.1, 100, 13)
    energy = response_axis("energy", edges[:-1], edges[1:])
    rng = np.random.default_rng(5)
    bkg = response_array(
        rng.uniform(1, 9, (12, 1)), [energy, response_axis("offset", [0], [3])], "background", "s-1 TeV-1 sr-1", ""
    )

    def rate(e):
        return float(evaluate_background(bkg, e, 0.0, 0.0).item())

    points = energy.values[(energy.values > 0.5) & (energy.values < 20)]
    exact = quad(rate, 0.5, 20, points=points, epsrel=1e-10, limit=200)[0]
    coarse, fine = (integrate_background(bkg, [0.5, 20], 0, 0, oversampling=n).item() for n in (1, 400))
    assert fine == pytest.approx(exact, rel=1e-4)
    assert abs(coarse / exact - 1) > 1e-3
    with pytest.raises(ValueError, match="oversampling=0"):
        integrate_background(bkg, [0.5, 20], 0, 0, oversampling=0)


def test_between_a_filled_and_an_empty_node_the_logarithm_is_interpolated():
    axes = [response_axis("energy", [1, 2], [2, 4]), response_axis("offset", [0, 1], [1, 2])]
    bkg = response_array(np.array([[4.0, 0.0]] * 2), axes, "background", "s-1 TeV-1 sr-1", "")
    expected = 4**0.75 * RATE_FLOOR**0.25
    assert evaluate_background(bkg, [2.0], 0, 0, 0.75).item() == pytest.approx(expected, rel=1e-9)


def test_missing_energies():
    # gammapy 2.1: Background2D(...).interp_missing_data("energy") on bins [1, 2, 5, 10, 20, 100] TeV
    data = np.array([[1, 2, 3], [0, 2, 0], [4, 0, 3], [3, 3, 3], [0, 0, 5]], dtype=float)
    expected = [[1, 2, 3], [2, 2, 3], [4, 6**0.5, 3], [3, 3, 3], [0, 0, 5]]
    edges = np.array([1.0, 2, 5, 10, 20, 100])
    axes = [response_axis("energy", edges[:-1], edges[1:]), response_axis("offset", [0, 1, 2], [1, 2, 4])]
    bkg = response_array(data, axes, "background", "s-1 TeV-1 sr-1", "Rate")
    result = interp_missing_energy(bkg)
    np.testing.assert_allclose(result, expected)
    assert result.attrs == bkg.attrs
    np.testing.assert_array_equal(bkg.values, data)
    # a slightly negative neighbour counts as empty, without a warning
    bkg[0, 0] = -1e-9
    assert np.isfinite(interp_missing_energy(bkg)).all()
    # wide gaps too
    gaps = response_array(np.array([[8.0], [0], [0], [1.0], [0]]), [axes[0], axes[1][:1]], "b", "s-1 TeV-1 sr-1", "")
    np.testing.assert_allclose(interp_missing_energy(gaps)[:, 0], [8, 4, 2, 1, 0])


def test_padding():
    # gammapy 2.1: pad(1, mode="edge", axis_name="offset") of edges [0, 1, 2, 4] gives [-1, 0, 1, 2, 4, 6]
    axes = [response_axis("energy", [1], [2]), response_axis("offset", [0, 1, 2], [1, 2, 4])]
    padded = pad_offset(response_array(np.array([[1.0, 2, 3]]), axes, "background", "s-1 TeV-1 sr-1", ""))
    np.testing.assert_array_equal(table_axis(padded, "offset").edges, [-1, 0, 1, 2, 4, 6])
    np.testing.assert_array_equal(padded.values, [[1, 1, 2, 3, 3]])
    nodes = [axes[0], response_axis("offset", [0, 1, 3], [0, 1, 3])]
    padded = pad_offset(response_array(np.array([[1.0, 2, 3]]), nodes, "background", "s-1 TeV-1 sr-1", ""))
    np.testing.assert_array_equal(padded.offset, [-1, 0, 1, 3, 5])
    single = response_array(np.ones((1, 1)), [axes[0], response_axis("offset", [1], [1])], "b", "s-1 TeV-1 sr-1", "")
    with pytest.raises(ValueError, match="one node without width"):
        pad_offset(single)


def test_preparation_stays_lazy():
    def refuse(*args, **kwargs):
        msg = "computed"
        raise AssertionError(msg)

    bkg = powerlaw_background(sigma="2 deg")
    bkg[5] = 0
    with dask.config.set(scheduler=refuse):
        lazy = prepare_background(bkg.chunk({"energy": 7}))
    xr.testing.assert_identical(lazy.compute(), prepare_background(bkg))


def test_field_of_view_is_minus_the_offset_frame():
    rng = np.random.default_rng(2)
    pointing = SkyCoord(359.0, -70.0, unit="deg")
    lon, lat = rng.uniform(340, 380, 50), rng.uniform(-89, -55, 50)
    offset = SkyCoord(lon, lat, unit="deg").transform_to(SkyOffsetFrame(origin=pointing))
    fov_lon, fov_lat = fov_coordinates(lon, lat, 359.0, -70.0)
    np.testing.assert_allclose(fov_lon, -offset.lon.wrap_at(180 * u.deg).deg, atol=1e-11)
    np.testing.assert_allclose(fov_lat, offset.lat.deg, atol=1e-11)
    # gammapy 2.1: SkyCoord(84 deg, 22.5 deg).transform_to(FoVICRSFrame(origin=SkyCoord(83 deg, 22 deg)))
    np.testing.assert_allclose(fov_coordinates(84.0, 22.5, 83.0, 22.0), (-0.9239082717074, 0.5030202559421), rtol=1e-10)


def test_separation_from_the_field_of_view():
    bkg = powerlaw_background(sigma="2 deg", offset_max="30 deg", bins=300)
    pointing = SkyCoord(10.0, 80.0, unit="deg")
    position = SkyCoord([60.0, 350.0], [78.0, 70.0], unit="deg")
    lon, lat = fov_coordinates(position.ra.deg, position.dec.deg, 10.0, 80.0)
    np.testing.assert_allclose(
        integrate_background(bkg, [1, 2], lon, lat),
        integrate_background(bkg, [1, 2], lon, lat, pointing.separation(position).deg),
        rtol=1e-10,
    )


def test_gaussian_background():
    bkg = powerlaw_background(sigma="1.5 deg", three_d=True)
    ratio = evaluate_background(bkg, [1.0], 1.5, 0.05).item() / evaluate_background(bkg, [1.0], 0.1, 0.1).item()
    assert ratio == pytest.approx(np.exp(-0.5), rel=0.01)
    with pytest.raises(ValueError, match="sigma='0 deg' must be positive"):
        powerlaw_background(sigma="0 deg")
    with pytest.raises(ValueError, match="has units 'm2'"):
        integrate_background(bkg.assign_attrs(units="m2"), [1, 2], 0, 0)
