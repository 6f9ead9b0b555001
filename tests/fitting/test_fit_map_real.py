"""The Galactic centre in three simulated CTA runs: an image and a cube, beside gammapy."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from xgamma.coords.bins import energy_axis
from xgamma.coords.grid import sky_grid
from xgamma.coords.sky import grid_of
from xgamma.dl3.store import open_store
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred_signal
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.models import Models
from xgamma.models.power_law import PowerLaw2SpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_shapes import GaussianSpatialModel, PointSpatialModel
from xgamma.reduction.info import info
from xgamma.reduction.stack import stack
from xgamma.reduction.survey import reduce

pytestmark = pytest.mark.real_data

# gammapy 2.1, MapDataset of the same reduction (FoVBackgroundMaker "scale" per run): Fit().run from (0.02, 0.01) deg
# ends at 169969.778 with amplitude 2.9700e-11 +- 1.463e-12 at (-0.04884, -0.05238) deg, from (-0.05, -0.05) deg at
# 169967.005 with 2.9810e-11 at (-0.05392, -0.04791) deg. It divides a point among four pixels.
START = {"amplitude": 2.980967e-11, "lon": -0.0539184, "lat": -0.0479083, "norm": 0.99274}
STAT, SUM, PEAK = 169967.0052, 620.7964, 21.5278


def source(lon, lat, amplitude=1e-12):
    spectral = PowerLaw2SpectralModel(amplitude=f"{amplitude} cm-2 s-1", index=2, emin="0.1 TeV", emax="10 TeV")
    spectral.index.frozen = True
    place = PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", frame="galactic")
    return SkyModel(spectral, place, name="source")


@pytest.fixture(scope="module")
def cubes(gammapy_data):
    runs = open_store(gammapy_data / "cta-1dc" / "index" / "gps").select(obs_id=[110380, 111140, 111159])
    result = {}
    for number in (1, 10):
        grid = sky_grid(
            SkyCoord(0, 0, unit="deg", frame="galactic"),
            ("8 deg", "6 deg"),
            "0.02 deg",
            energy=energy_axis("0.1 TeV", "10 TeV", nbin=number),
            energy_true=energy_axis("0.1 TeV", "10 TeV", nbin=30),
        )
        cube = reduce(runs, grid, selection="all", offset_max="2.5 deg", safe_mask="offset-max", stack=False).load()
        sums = [cube[n].where(cube.mask_safe, 0.0).sum(("energy", "y", "x")) for n in ("counts", "background")]
        cube["background"] = (cube.background * (sums[0] / sums[1])).assign_attrs(cube.background.attrs)
        result[number] = stack(cube)
    return result


def test_the_image(cubes):
    numbers = info(cubes[1])
    assert float(numbers.counts) == 85625
    assert float(numbers.background) == pytest.approx(85624.99, abs=0.02)
    assert [float(numbers[n]) for n in ("n_bins", "n_fit_bins")] == [120000, 96602]
    found = []
    for lon, lat in ((0.02, 0.01), (-0.12, 0.0), (-0.05, -0.14), (0.03, -0.1)):
        result = fit(cubes[1], Models([source(lon, lat), FoVBackgroundModel(name="bkg")]))
        assert result.success
        found.append([result.total_stat, *result.free.values])
    found = np.array(found)
    assert np.ptp(found[:, 0]) < 1e-5
    assert np.ptp(found[:, 2:4]) - abs(found[0, 2] - found[0, 3]) < 1e-5
    errors = [p.error for p in result.free]
    for value, error, wanted in zip(found[0, 1:], errors, START.values(), strict=True):
        assert abs(value - wanted) < 1.0 * error
    # four pixels make gammapy's source broader, which suits the emission around the Galactic centre
    assert found[0, 0] - STAT == pytest.approx(3.7, abs=0.5)


def test_counts_beside_gammapy(cubes):
    cube, grid = cubes[1], grid_of(cubes[1])
    true = npred_signal(cube, source(START["lon"], START["lat"], START["amplitude"])).values[0]
    assert true.sum() == pytest.approx(SUM, rel=5e-4)
    # divided among four pixels the peak is gammapy's; it is 4 % higher where the source is not divided
    y, x = (float(v) for v in grid.sky_to_pixel(START["lon"], START["lat"]))
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    divided = np.zeros_like(true)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (1 - abs(y - y0 - row)) * (1 - abs(x - x0 - column))
        lon, lat = (float(v) for v in grid.frame.pixel_to_sky(y0 + row, x0 + column))
        divided += weight * npred_signal(cube, source(lon, lat, START["amplitude"])).values[0]
    assert divided.max() == pytest.approx(PEAK, rel=7e-3)
    assert 1.02 < true.max() / divided.max() < 1.06


def test_the_cube_with_a_point_and_an_extended_source(cubes):
    def start(sigma):
        spectra = [
            ExpCutoffPowerLawSpectralModel(index=2.3, amplitude="3e-12 cm-2 s-1 TeV-1", lambda_="0.05 TeV-1"),
            PowerLaw2SpectralModel(amplitude="1e-11 cm-2 s-1", index=2.3, emin="0.1 TeV", emax="10 TeV"),
        ]
        point = PointSpatialModel(lon_0="-0.05 deg", lat_0="-0.05 deg", frame="galactic")
        gauss = GaussianSpatialModel(lon_0="0.87 deg", lat_0="0.08 deg", sigma=f"{sigma} deg", frame="galactic")
        gauss.lon_0.frozen = gauss.lat_0.frozen = True
        gauss.sigma.max = 0.12
        parts = [SkyModel(s, p, name=n) for s, p, n in zip(spectra, (point, gauss), ("gc", "g09"), strict=True)]
        return Models([*parts, FoVBackgroundModel(name="bkg")])

    results = [fit(cubes[10], start(sigma), covariance=None) for sigma in (0.03, 0.08)]
    assert results[0].total_stat == pytest.approx(results[1].total_stat, abs=0.01)
    assert results[0].models["gc"].spectral.index.value == pytest.approx(2.3, abs=0.15)
