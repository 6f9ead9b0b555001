from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from xgamma.irf.axes import response_array, response_axis
from xgamma.irf.background import evaluate_background, integrate_background, powerlaw_background, prepare_background
from xgamma.simulate import array
from xgamma.simulate.background import background_sampler

PVALUE = 1e-3


def energy_axis(lo=0.5, hi=50.0, number=16):
    edges = np.geomspace(lo, hi, number + 1)
    return response_axis("energy", edges[:-1], edges[1:])


def test_rate_of_a_gaussian_field_of_view_has_its_closed_form():
    # bins of 0.02 deg, so that the table follows the Gaussian; the padded bin adds what lies beyond 6 deg: 1e-4
    bkg = powerlaw_background("3 s-1 TeV-1 sr-1", 2.5, energy_axis(), "6 deg", "1.4 deg", bins=300)
    found = background_sampler(bkg).total
    sky = 2 * np.pi * integrate.quad(lambda t: np.sin(t) * np.exp(-0.5 * (np.rad2deg(t) / 1.4) ** 2), 0, 0.2)[0]
    assert found == pytest.approx(3 * (0.5**-1.5 - 50**-1.5) / 1.5 * sky, rel=5e-4)


def test_rate_of_a_3d_model_equals_a_sum_over_fine_pixels():
    bkg = array.responses()["bkg"]
    steps = np.linspace(-3, 3, 1201)
    middle = 0.5 * (steps[1:] + steps[:-1])
    lon, lat = np.meshgrid(middle, middle, indexing="ij")
    plane = evaluate_background(bkg, [1.0], lon, lat)[0]
    pixels = np.deg2rad(0.005) * np.diff(np.sin(np.deg2rad(steps)))
    # the model is a product of a spectrum and a plane
    spectrum = integrate_background(bkg, np.geomspace(0.3, 100.0, 401), 0.5, 0.5).sum()
    expected = (plane * pixels).sum() * spectrum / evaluate_background(bkg, [1.0], 0.5, 0.5)[0]
    assert background_sampler(bkg).total == pytest.approx(expected, rel=2e-5)


def test_energies_follow_the_power_law():
    sampler = background_sampler(powerlaw_background("1 s-1 TeV-1 sr-1", 2.7, energy_axis(), "3 deg"), (0.8, 20.0))
    energy, _, _ = sampler.sample(20_000, np.random.default_rng(1))

    def cdf(x):
        return (x**-1.7 - 0.8**-1.7) / (20.0**-1.7 - 0.8**-1.7)

    assert stats.kstest(energy, cdf).pvalue > PVALUE


def test_energies_of_a_curved_spectrum_follow_the_interpolated_model():
    axis = energy_axis(number=8)
    bkg = powerlaw_background("1 s-1 TeV-1 sr-1", 2.0, axis, "3 deg")
    bkg.values[:] *= np.exp(-axis.values / 5)[:, np.newaxis]
    energy, _, _ = background_sampler(bkg).sample(20_000, np.random.default_rng(1))
    edges = np.geomspace(0.5, 50, 30)
    # one bin of the model spans several of these, which shows the shape within
    rate = integrate_background(prepare_background(bkg), edges, 0.0, 0.5, oversampling=20)
    counts = np.histogram(energy, edges)[0]
    expected = 20_000 * rate / rate.sum()
    group = expected > 10
    counts, expected = (
        np.append(counts[group], counts[~group].sum()),
        np.append(expected[group], expected[~group].sum()),
    )
    assert stats.chisquare(counts, expected).pvalue > PVALUE


@pytest.mark.parametrize("three_d", [False, True])
def test_positions_follow_the_model(three_d):
    bkg = powerlaw_background("1 s-1 TeV-1 sr-1", 2.5, energy_axis(), "3 deg", "1.2 deg", bins=12, three_d=three_d)
    _, lon, lat = background_sampler(bkg).sample(40_000, np.random.default_rng(2))
    edges = np.linspace(-3, 3, 13)
    counts = np.histogram2d(lon, lat, [edges, edges])[0]
    # 20 x 20 points in each bin of the histogram
    fine = np.linspace(-3, 3, 241)
    middle = 0.5 * (fine[1:] + fine[:-1])
    x, y = np.meshgrid(middle, middle, indexing="ij")
    rate = evaluate_background(prepare_background(bkg), [1.0], x, y)[0] * np.diff(np.sin(np.deg2rad(fine)))
    expected = rate.reshape(12, 20, 12, 20).sum(axis=(1, 3))
    expected *= counts.sum() / expected.sum()
    use = expected > 8
    pulls = (counts - expected)[use] / np.sqrt(expected[use])
    assert abs(pulls.mean()) < 4 / np.sqrt(use.sum())
    assert stats.chi2.sf((pulls**2).sum(), use.sum()) > PVALUE


def lopsided(alignment):
    lon, lat = (response_axis(n, np.arange(-3.0, 3.0), np.arange(-2.0, 4.0)) for n in ("fov_lon", "fov_lat"))
    data = np.zeros((16, 6, 6))
    data[:, 4, 2] = 1.0
    return response_array(
        data, [energy_axis(), lon, lat], "background", "s-1 TeV-1 sr-1", "", {"fov_alignment": alignment}
    )


@pytest.mark.parametrize(("alignment", "sign"), [("RADEC", 1), ("REVERSE_LON_RADEC", -1)])
def test_reversed_longitude_turns_the_field_of_view(alignment, sign):
    sampler = background_sampler(lopsided(alignment))
    _, lon, lat = sampler.sample(2000, np.random.default_rng(0))
    # the only filled bin lies at longitude 1 to 2; its flanks fall to nothing steeply
    assert np.median(sign * lon) == pytest.approx(1.5, abs=0.05)
    assert np.median(lat) == pytest.approx(-0.5, abs=0.05)
    assert sampler.total == pytest.approx(background_sampler(lopsided("RADEC")).total)


def test_positions_far_from_the_axis_keep_their_solid_angle():
    # a flat field of 60 deg: the density per solid angle is constant, not that per square degree
    flat = powerlaw_background("1 s-1 TeV-1 sr-1", 2.0, energy_axis(), "60 deg", bins=10, three_d=True)
    sampler = background_sampler(flat, cell=2.0)
    rate = sampler.total / (1 / 0.5 - 1 / 50)
    assert rate == pytest.approx(np.deg2rad(120) * 2 * np.sin(np.deg2rad(60)))
    _, _, lat = sampler.sample(20_000, np.random.default_rng(3))
    top = np.sin(np.deg2rad(60))
    assert stats.kstest(np.sin(np.deg2rad(lat)), stats.uniform(-top, 2 * top).cdf).pvalue > PVALUE


def test_gaps_in_energy_are_filled_as_in_the_reduction():
    bkg = powerlaw_background("1 s-1 TeV-1 sr-1", 2.0, energy_axis(), "3 deg")
    total = background_sampler(bkg).total
    bkg.values[5] = 0.0
    assert background_sampler(bkg).total == pytest.approx(total)


def test_range_of_energies_outside_of_the_model():
    bkg = powerlaw_background("1 s-1 TeV-1 sr-1", 2.0, energy_axis(), "3 deg")
    with pytest.raises(ValueError, match=r"covers \[0.5, 50\] TeV, nothing of the energies"):
        background_sampler(bkg, (60.0, 100.0))


def test_model_with_wrong_units_or_without_axis():
    bkg = powerlaw_background("1 s-1 TeV-1 sr-1", 2.0, energy_axis(), "3 deg")
    with pytest.raises(ValueError, match="units"):
        background_sampler(bkg.assign_attrs(units="s-1 MeV-1 sr-1"))
    with pytest.raises(ValueError, match=r"has dims \(energy, offset\)"):
        background_sampler(bkg.isel(energy=0, drop=True))
