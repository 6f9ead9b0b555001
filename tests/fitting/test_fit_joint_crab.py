"""The Crab nebula of many instruments: the joint fit of gammapy's tutorial, and the published one of five."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import xarray as xr

import xgamma as xg
from xgamma.fitting.own_axes import on_axes_of_cube
from xgamma.models.systematics import Systematics

pytestmark = pytest.mark.real_data

#: Bands of gammapy's estimator, which takes the edges of the bins that are nearest to those of the tutorial.
BANDS = {"Fermi-LAT": np.geomspace(10, 2000, 6) * u.GeV, "HESS": np.geomspace(1, 10**1.2, 7) * u.TeV}
# gammapy 2.1: Fit().run of the three datasets, Dataset.stat_sum() of each
TOTAL = -12697.230
STAT = {"Fermi-LAT": -12737.599561667383, "HESS": 34.757396487368446, "HAWC": 5.612126320934476}
# amplitude, alpha, beta, norm of the background; errors of gammapy's HESSE
BEST = np.array([3.973001249608172e-3, 1.2633168533491792, 6.132277785979517e-2, 1.3051259173416816])
ERRORS = np.array([3.122347417895498e-4, 1.705917300341405e-2, 9.444262380758564e-4, 7.638978447132556e-2])
# gammapy 2.1: FluxPointsEstimator(energy_edges, source="Crab Nebula", selection_optional="all"), as dnde
POINTS = {
    "Fermi-LAT": {
        "dnde": [3.37932918e-07, 2.86686054e-08, 3.74586829e-09, 2.75622311e-10, 2.65565783e-11],
        "dnde_err": [7.95921628e-09, 1.31094053e-09, 2.78206854e-10, 4.48477029e-11, 8.8790988e-12],
        "dnde_errn": [7.89785432e-09, 1.29124154e-09, 2.71462367e-10, 4.24841023e-11, 7.94110895e-12],
        "dnde_errp": [8.02085475e-09, 1.33082352e-09, 2.8515488e-10, 4.72725711e-11, 9.91660095e-12],
        "dnde_ul": [3.5409889e-07, 3.1370707e-08, 4.33093169e-09, 3.75132051e-10, 4.85821742e-11],
        "ts": [19356.7235, 5723.77165, 2391.10869, 489.520481, 128.542442],
        "stat": [-10722.561, -1832.62928, -337.283428, 73.6372601, 42.3928219],
    },
    "HESS": {
        "dnde": [1.84126921e-11, 7.42563096e-12, 2.37051218e-12, 6.26753743e-13, 2.29136279e-13, 1.1372229e-14],
        "dnde_err": [2.46278752e-12, 1.06868321e-12, 4.19788507e-13, 1.56029989e-13, 6.85184413e-14, 1.13722262e-14],
        "dnde_errn": [2.36210245e-12, 1.02160181e-12, 3.97332497e-13, 1.44440363e-13, 6.21360382e-14, 7.94180209e-15],
        "dnde_errp": [2.56569841e-12, 1.11691735e-12, 4.42904095e-13, 1.68095318e-13, 7.52346329e-14, 1.54411277e-14],
        "dnde_ul": [2.37541399e-11, 9.75813542e-12, 3.3037764e-12, 9.87933152e-13, 3.93618968e-13, 5.12390228e-14],
        "ts": [185.686901, 159.455458, 100.344827, 51.1121654, 38.7055848, 2.50936089],
        "stat": [1.51167938, 2.30494125, 2.43368532, 0.463052241, 7.52288152, 2.94070861],
    },
}


@pytest.fixture(scope="module")
def tree(gammapy_data):
    fermi = gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_data_Fermi-LAT.fits"
    hess = [gammapy_data / "joint-crab" / "spectra" / "hess" / f"pha_obs{i}.fits" for i in (23523, 23526)]
    hawc = gammapy_data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits"
    parts = {
        "Fermi-LAT": xg.open_cube(fermi).load(),
        "HESS": xg.read_ogip(hess).gamma.stack("obs"),
        "HAWC": xg.read_flux_points(hawc),
    }
    return xr.DataTree.from_dict(parts)


@pytest.fixture(scope="module")
def models(gammapy_data):
    return xg.Models.read(gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_models.yaml")


@pytest.fixture(scope="module")
def joint(tree, models):
    return tree.gamma.fit(models)


@pytest.fixture(scope="module")
def smeared(tree, models):
    """The same with the counts that gammapy predicts for Fermi-LAT; see peer_gammapy_fermi.py."""
    response = np.load(Path(__file__).parents[1] / "data" / "fermi_crab_gammapy.npz")["response"]
    cube = on_axes_of_cube("Fermi-LAT", tree["Fermi-LAT"].to_dataset())
    cube = cube.drop_vars(["psf", "psf_exposure"]).drop_dims("rad")
    cube = cube.assign(exposure=cube.exposure.copy(data=response))
    spectral = models["Crab Nebula"].spectral
    chosen = xg.Models(
        [
            # what each pixel has of a flux of 1 is its exposure
            xg.SkyModel(spectral, xg.ConstantFluxSpatialModel(), name="Fermi", datasets_names=["Fermi-LAT"]),
            xg.SkyModel(spectral, name="Crab Nebula", datasets_names=["HESS", "HAWC"]),
            models["Fermi-LAT-bkg"],
        ]
    )
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    return xr.DataTree.from_dict(groups | {"Fermi-LAT": cube}), chosen


def flux_points(tree, name, models, source):
    data = tree[name].to_dataset().assign_attrs(name=name)
    found = data.gamma.flux_points(models, source=source, energy_edges=BANDS[name], selection="all")
    return found.gamma.to_sed_type("dnde")


def test_the_minimum_at_equal_predicted_counts(smeared):
    data, chosen = smeared
    result = data.gamma.fit(chosen)
    assert result.success
    assert result.total_stat == pytest.approx(TOTAL, abs=2e-3)
    assert result.total_stat < TOTAL + 1e-3
    found = np.array([p.value for p in result.free])
    # MIGRAD of gammapy stops where the expected distance to the minimum is below its tolerance
    assert np.all(np.abs(found - BEST) < 0.01 * np.array([6.3e-4, 0.0369, 2.03e-3, 0.0764]))
    for name, value in STAT.items():
        assert result.stat_per_dataset[name] == pytest.approx(value, abs=0.01), name


def test_the_minimum_is_lower_with_the_source_where_it_is(joint):
    """gammapy spreads a point source bilinearly over four pixels before it convolves; here the PSF is integrated."""
    assert joint.success
    assert joint.total_stat == pytest.approx(-12710.219, abs=2e-3)
    difference = {name: joint.stat_per_dataset[name] - value for name, value in STAT.items()}
    # all of it comes from the map
    assert difference["Fermi-LAT"] == pytest.approx(-12.987, abs=0.01)
    assert abs(difference["HESS"]) + abs(difference["HAWC"]) < 0.003
    errors = np.array([p.error for p in joint.free])
    assert np.all(np.abs(np.array([p.value for p in joint.free]) - BEST) < 0.2 * errors)
    # amplitude, alpha and beta are correlated by more than 0.999, where the errors of HESSE are those of its steps:
    # half the interval of Fit.confidence of gammapy is 6.306e-4 for the amplitude, twice the error of its covariance
    assert errors[0] == pytest.approx(6.306e-4, rel=0.02)
    np.testing.assert_allclose(errors / ERRORS, [2.0, 2.15, 2.15, 1.0], rtol=0.03)


@pytest.mark.parametrize("name", BANDS)
def test_flux_points_at_equal_predicted_counts(smeared, name):
    data, chosen = smeared
    # at the minimum that gammapy has found
    at = chosen.copy()
    for parameter, value in zip(at.parameters.free, BEST, strict=True):
        parameter.value = value
    found = flux_points(data, name, at, "Fermi" if name == "Fermi-LAT" else "Crab Nebula")
    wanted = {key: np.array(values) for key, values in POINTS[name].items()}
    error = wanted["dnde_err"]
    # gammapy's minimiser stops up to 5e-5 above the minimum: 0.7 % of an error away, where the errors differ, too
    short = np.maximum(wanted["stat"] - found.stat.values.ravel(), 0.0)
    assert short.max() < 6e-5
    assert np.all(np.abs(found.stat.values.ravel() - wanted["stat"]) < 6e-5)
    np.testing.assert_allclose(found.ts.values.ravel(), wanted["ts"], rtol=0, atol=6e-5 + 1e-8 * wanted["ts"].max())
    for key in ("dnde", "dnde_err"):
        away = np.abs(found[key].values.ravel() - wanted[key]) / error
        assert np.all(away < 1e-3 + 1.1 * np.sqrt(short)), key
    for key in ("dnde_errn", "dnde_errp", "dnde_ul"):
        away = np.abs(found[key].values.ravel() - wanted[key]) / error
        assert np.all(away < 1e-3), key


def test_flux_points_with_the_source_where_it_is(tree, joint):
    """What the point spread function does to those of Fermi-LAT, in errors; H.E.S.S. has none."""
    found = {name: flux_points(tree, name, joint.models, "Crab Nebula").dnde.values.ravel() for name in BANDS}
    away = {name: (found[name] - POINTS[name]["dnde"]) / np.array(POINTS[name]["dnde_err"]) for name in BANDS}
    np.testing.assert_allclose(away["Fermi-LAT"], [-0.061, -0.017, -0.005, -0.011, 0.006], atol=2e-3)
    assert np.abs(away["HESS"]).max() < 1e-3 + 3e-4


# arXiv:1903.06621, table 3: amplitude in 1e-11 cm-2 s-1 TeV-1 at 1 TeV, index and curvature (log10) with their errors
PUBLISHED = {
    "fermi": (4.04, 1.01, 2.37, 0.24, 0.14, 0.13),
    "magic": (4.15, 0.30, 2.60, 0.10, 0.44, 0.11),
    "veritas": (3.76, 0.36, 2.44, 0.09, 0.26, 0.17),
    "fact": (3.49, 0.30, 2.54, 0.22, 0.42, 0.31),
    "hess": (4.47, 0.29, 2.39, 0.18, 0.37, 0.22),
    "joint": (3.85, 0.11, 2.51, 0.03, 0.24, 0.02),
}
# energies of each instrument in TeV
RANGES = {"fermi": (0.03, 2), "magic": (0.08, 30), "veritas": (0.15, 30), "fact": (0.4, 30), "hess": (0.5, 30)}


@pytest.fixture(scope="module")
def instruments(gammapy_data):
    folder = gammapy_data / "joint-crab" / "spectra"
    groups = {}
    for name, (low, high) in RANGES.items():
        cube = xg.read_ogip(sorted((folder / name).glob("pha_*.fits")))
        groups[name] = cube.assign(mask_fit=(cube.energy_min > 0.999 * low) & (cube.energy_max < 1.001 * high))
    return xr.DataTree.from_dict(groups)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_fit_of_five_instruments(instruments, name):
    spectral = xg.LogParabolaSpectralModel(amplitude="4e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.5, beta=0.1)
    data = instruments if name == "joint" else instruments[name].to_dataset()
    result = data.gamma.fit(xg.SkyModel(spectral, name="crab"))
    assert result.success
    found = result.models["crab"].spectral
    printed = np.array(PUBLISHED[name]).reshape(3, 2)
    # the curvature of the article goes with the logarithm to base ten
    scale = np.array([1e11, 1.0, np.log(10.0)])
    ours = np.array([[p.value, p.error] for p in (found.amplitude, found.alpha, found.beta)]) * scale[:, None]
    # half of the last digit, and a hundredth of the error: fluxes were integrated by the trapezoid rule there
    assert np.all(np.abs(ours[:, 0] - printed[:, 0]) < 0.005 + 0.01 * printed[:, 1])
    assert np.all(np.abs(ours[:, 1] - printed[:, 1]) < 0.005 + 0.01 * printed[:, 1])


def test_the_published_fit_with_an_energy_scale_of_each_instrument(instruments):
    """Table 4 of the article: 3.88 +- 0.35, 2.51 +- 0.04, 0.24 +- 0.03; scales of its file of results."""
    spectral = xg.LogParabolaSpectralModel(amplitude="4e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.5, beta=0.1)
    widths = {name: 0.05 if name == "fermi" else 0.15 for name in RANGES}
    scales = [Systematics(energy_scale=w, name=f"{n}-syst", datasets_names=[n]) for n, w in widths.items()]
    result = instruments.gamma.fit(xg.Models([xg.SkyModel(spectral, name="crab"), *scales]))
    assert result.success
    found = result.models["crab"].spectral
    scale = np.array([1e11, 1.0, np.log(10.0)])
    ours = np.array([[p.value, p.error] for p in (found.amplitude, found.alpha, found.beta)]) * scale[:, None]
    printed = np.array([[3.8810, 0.3539], [2.5109, 0.0376], [0.2424, 0.0276]])
    assert np.all(np.abs(ours[:, 0] - printed[:, 0]) < 0.01 * printed[:, 1])
    np.testing.assert_allclose(ours[:, 1], printed[:, 1], rtol=0.02)
    published = {"fermi": 0.0043, "magic": -0.0029, "veritas": -0.0558, "fact": -0.1030, "hess": 0.0991}
    for name, value in published.items():
        parameter = result.models[f"{name}-syst"].nuisance.energy_scale
        assert parameter.value - 1.0 == pytest.approx(value, abs=0.02 * parameter.error), name
