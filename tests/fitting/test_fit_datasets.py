"""Joint datasets: DataTree, files as gammapy has them, and a map, a spectrum and flux points in one likelihood."""

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy.optimize import brentq, minimize_scalar
from simulated_maps import background, map_cube, point
from simulated_spectra import cube as spectrum_cube

import xgamma as xg
from xgamma.coords.bins import energy_axis
from xgamma.fitting.compile import compile_likelihood

FERMI = "fermi-3fhl-crab"
# gammapy 2.1: Datasets.read of the files that xgamma wrote, and of the original ones; Dataset.stat_sum()
GAMMAPY = {"HESS": 42.525439092418594, "HAWC": 168.2778809184865}
# the same, of Fit().run: amplitude, alpha, beta and the norm of the background
BEST = np.array([3.9730e-03, 1.2633, 0.061323, 1.3051])


def points(mask=True):
    axis = energy_axis("1 TeV", "30 TeV", nbin=3)
    data = xr.Dataset(coords=axis.coords, attrs={"sed_type": "dnde"})
    unit = {"units": "TeV-1 s-1 cm-2"}
    data["dnde"] = "energy", [1.1e-12, 2e-13, np.nan], {**unit, "long_name": "Differential flux"}
    data["dnde_err"] = "energy", [1e-13, 4e-14, np.nan], {**unit, "long_name": "Differential flux, error"}
    data["dnde_ul"] = "energy", [np.nan, np.nan, 5e-14], {**unit, "long_name": "Differential flux, upper limit"}
    data["is_ul"] = "energy", [False, False, True]
    return data.assign(mask_fit=("energy", [True, False, True])) if mask else data


def map_with_counts(seed=1):
    cube = map_cube()
    models = xg.Models([point(), background()])
    rng = np.random.default_rng(seed)
    return cube.assign(counts=cube.counts.copy(data=rng.poisson(cube.gamma.npred(models).values).astype(float)))


@pytest.fixture
def tree():
    runs = spectrum_cube(n_obs=2).assign(livetime=("obs", [1800.0, 1700.0], {"units": "s"}))
    return xr.DataTree.from_dict({"map": map_with_counts(), "runs": runs, "points": points()})


@pytest.fixture
def models():
    return xg.Models([point(), background()])


def stats(tree, models):
    return compile_likelihood(tree, models).stat_per_dataset(models.parameters.values)


def test_one_likelihood_of_three_kinds(tree, models):
    joint = stats(tree, models)
    assert list(joint) == ["map", "runs/11", "runs/12", "points"]
    alone = {}
    for name, group in tree.children.items():
        own = models if name == "map" else xg.Models([models["point"]])
        data = group.to_dataset()
        alone[name] = compile_likelihood(data, own).stat(own.parameters.values)
    assert joint["map"] == pytest.approx(alone["map"], rel=1e-12)
    assert joint["runs/11"] + joint["runs/12"] == pytest.approx(alone["runs"], rel=1e-12)
    assert joint["points"] == pytest.approx(alone["points"], rel=1e-12)


def test_written_and_read_again(tree, models, tmp_path):
    target = tree.gamma.write(tmp_path / "joint", models=models)
    assert target.name == "datasets.yaml"
    again, read = xg.read_datasets(tmp_path / "joint")
    assert list(again.children) == ["map", "runs", "points"]
    assert stats(again, read) == pytest.approx(stats(tree, models), rel=1e-12)
    np.testing.assert_array_equal(again["points/mask_fit"], tree["points/mask_fit"])
    np.testing.assert_array_equal(again["runs/obs"], [11, 12])
    assert again["map"].attrs["name"] == "map"
    entries = yaml.safe_load(target.read_text())["datasets"]
    assert [e["type"] for e in entries] == ["MapDataset", *["SpectrumDatasetOnOff"] * 2, "FluxPointsDataset"]
    # a second time: only where it is allowed, also from the files themselves
    with pytest.raises(FileExistsError):
        again.gamma.write(tmp_path / "joint", models=read)
    again.gamma.write(tmp_path / "joint", models=read, overwrite=True)
    third, _ = xg.read_datasets(tmp_path / "joint" / "datasets.yaml", tmp_path / "joint" / "models.yaml")
    assert stats(third, read) == stats(again, read)


def test_files_that_are_not_as_they_should_be(tree, models, tmp_path):
    tree.gamma.write(tmp_path, models=models)
    (tmp_path / "points.fits").rename(tmp_path / "elsewhere.fits")
    with pytest.raises(FileNotFoundError, match=r"points\.fits.*dataset 'points'"):
        xg.read_datasets(tmp_path)
    text = (tmp_path / "datasets.yaml").read_text()
    for old, new, words in (
        ("name: points", "name: map", "two datasets 'map'"),
        ("type: FluxPointsDataset", "type: NeutrinoDataset", "NeutrinoDataset"),
        ("datasets:", "data:", "no list 'datasets'"),
        ("    filename: points.fits\n", "", "needs name, type and filename"),
    ):
        (tmp_path / "changed.yaml").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=words):
            xg.read_datasets(tmp_path / "changed.yaml")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        xg.read_datasets(tmp_path / "nowhere.yaml")
    with pytest.raises(ValueError, match="same file"):
        xg.write_datasets({"a b": points(), "a_b": points()}, tmp_path / "double")
    with pytest.raises(ValueError, match="neither a cube"):
        xg.write_datasets({"a": xr.Dataset({"x": 1.0})}, tmp_path / "other")


def test_models_of_datasets_that_are_not_there(models, tmp_path):
    xg.write_datasets({"points": points()}, tmp_path, models)
    with pytest.warns(UserWarning, match="none of the datasets"):
        xg.read_datasets(tmp_path)


def test_the_accessor(tree, models):
    table = tree.gamma.info()
    assert table.kind.values.tolist() == ["map", "spectrum on-off", "flux points"]
    assert table.stat.values.tolist() == ["cash", "wstat", "chi2"]
    assert table.counts.values[0] == tree["map/counts"].sum()
    predicted = tree.gamma.npred(models)
    expected = models["point"].spectral(tree["points/energy"].values * u.TeV).to_value("TeV-1 s-1 cm-2")
    np.testing.assert_allclose(predicted["points/dnde"].values, expected, rtol=1e-12)
    xr.testing.assert_allclose(predicted["map/npred"], tree["map"].to_dataset().gamma.npred(models))
    # a spectrum and its points alone tell no position
    models.freeze("spatial")
    result = xr.DataTree.from_dict({"points": points(mask=False)}).gamma.fit(models["point"])
    assert result.success
    assert result.total_stat == pytest.approx(0.0, abs=1e-4)


def test_flux_points_of_a_map_are_those_of_its_likelihood(models):
    cube = map_with_counts()
    found = cube.gamma.flux_points(models, source="point", selection="all")
    lazy = cube.chunk({"y": 20}).gamma.flux_points(models, source="point", selection="all")
    assert lazy.norm.chunks is not None
    np.testing.assert_allclose(lazy.norm.values, found.norm.values, rtol=1e-9)
    assert found.sizes["dataset"] == 1
    np.testing.assert_allclose(found.counts.values[:, 0], cube.counts.sum(("y", "x")).values)
    signal, other = cube.gamma.npred_signal(models["point"]).values, cube.gamma.npred([models["bkg"]]).values
    for band in range(2):
        n, s, b = cube.counts.values[band], signal[band], other[band]

        def cash(norm, n=n, s=s, b=b):
            mu = norm * s + b
            return 2 * np.sum(mu - n * np.log(mu))

        best = minimize_scalar(cash, bounds=(0.01, 5), method="bounded", options={"xatol": 1e-9})
        assert found.norm.values[band] == pytest.approx(best.x, abs=1e-5)
        assert found.ts.values[band] == pytest.approx(cash(0.0) - best.fun, rel=1e-7)
        upper = brentq(lambda x: cash(x) - best.fun - 4.0, best.x, best.x + 5)  # noqa: B023
        assert found.norm_ul.values[band] == pytest.approx(upper, rel=1e-5)
    with pytest.raises(ValueError, match="reoptimize=True is for spectra"):
        cube.gamma.flux_points(models, source="point", reoptimize=True)


@pytest.mark.real_data
def test_the_crab_nebula_of_three_instruments(gammapy_data, tmp_path):
    """Fermi-LAT, H.E.S.S. and HAWC, beside gammapy 2.1."""
    models = xg.Models.read(gammapy_data / FERMI / "Fermi-LAT-3FHL_models.yaml")
    spectra = gammapy_data / "joint-crab" / "spectra" / "hess"
    hess = xg.read_ogip([spectra / f"pha_obs{i}.fits" for i in (23523, 23526)]).gamma.stack("obs")
    tree = xr.DataTree.from_dict(
        {
            "Fermi-LAT": xg.open_cube(gammapy_data / FERMI / "Fermi-LAT-3FHL_data_Fermi-LAT.fits"),
            "HESS": hess,
            "HAWC": xg.read_flux_points(gammapy_data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits"),
        }
    )
    tree.gamma.write(tmp_path, models=models)
    again, read = xg.read_datasets(tmp_path)
    first = stats(again, read)
    assert first == pytest.approx(stats(tree, models), rel=1e-12)
    for name, value in GAMMAPY.items():
        assert first[name] == pytest.approx(value, rel=1e-5)
    # gammapy spreads a point source over the four nearest pixels before it convolves: all of the difference
    signal = tree["Fermi-LAT"].to_dataset().assign_attrs(name="Fermi-LAT").gamma.npred_signal(models)
    gammapy_signal = [1800.07457514, 566.25494451, 152.84853374, 37.64707764, 7.05894293]
    np.testing.assert_allclose(signal.sum(("y", "x")).values, gammapy_signal, rtol=2e-4)
    result = again.gamma.fit(read)
    # -12697.230 for gammapy's blurred source
    assert result.total_stat == pytest.approx(-12710.21863, abs=1e-3)
    free = result.models.parameters.free
    errors = np.array([p.error for p in free])
    assert np.all(np.abs(np.array([p.value for p in free]) - BEST) < 0.25 * errors)
    # half the width of the interval in which the profile of the likelihood rises by one, of gammapy's Fit.confidence,
    # too: 0.5 (6.780e-4 + 5.832e-4); the 3.12e-4 of its covariance are too small
    assert free["Crab Nebula.amplitude"].error == pytest.approx(6.306e-4, rel=0.02)


@pytest.mark.real_data
def test_the_map_of_fermi_is_the_integral_of_its_point_spread_function(gammapy_data):
    """Brute force with astropy's WCS: pixels cut into 20 x 20, tables of the file interpolated as they stand."""
    file = gammapy_data / FERMI / "Fermi-LAT-3FHL_data_Fermi-LAT.fits"
    cube = xg.open_cube(file).assign_attrs(name="Fermi-LAT")
    model = xg.Models.read(gammapy_data / FERMI / "Fermi-LAT-3FHL_models.yaml")["Crab Nebula"]
    position = SkyCoord(model.spatial.lon_0.quantity, model.spatial.lat_0.quantity, frame="icrs")
    sky = WCS(fits.getheader(file, "COUNTS")).celestial
    x0, y0 = (round(float(v)) for v in sky.world_to_pixel(position))
    cut = (np.arange(20) + 0.5) / 20 - 0.5
    signal = cube.gamma.npred_signal(model).values
    flux = model.spectral.integral(cube.energy_true_min.values * u.TeV, cube.energy_true_max.values * u.TeV)
    table = np.stack([np.interp(np.log(cube.energy_true.values), np.log(cube.psf_energy_true.values), row)
                      for row in cube.psf.values.T])  # fmt: skip
    nodes = cube.rad.values
    inside = np.linspace(0, nodes[-1], 200001)
    for band in range(5):
        whole = np.trapezoid(
            2 * np.pi * np.deg2rad(inside) * np.interp(inside, nodes, table[:, band]), np.deg2rad(inside)
        )
        expected = flux[band].to_value("cm-2 s-1") * float(cube.exposure[band, y0, x0]) / whole
        for dy, dx in ((0, 0), (1, 0), (0, -1), (2, 2)):
            x, y = np.meshgrid(x0 + dx + cut, y0 + dy + cut)
            apart = sky.pixel_to_world(x, y).separation(position.galactic).deg
            area = float(cube.gamma.solid_angle()[y0 + dy, x0 + dx])
            part = np.interp(apart, nodes, table[:, band]).mean() * area
            assert signal[band, y0 + dy, x0 + dx] == pytest.approx(expected * part, rel=3e-3)
