"""gammapy reads what was written and finds the same likelihood, and what it writes is read here.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python``, the interpreter of an environment with gammapy 2.1.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from simulated_maps import map_cube
from simulated_spectra import cube as spectrum_cube

import xgamma as xg
from xgamma.coords.bins import energy_axis
from xgamma.fitting.compile import compile_likelihood

pytestmark = pytest.mark.gammapy
PEER = Path(__file__).with_name("peer_gammapy_datasets.py")


@pytest.fixture
def peer(gammapy_python, tmp_path):
    def run(folder):
        target = tmp_path / "of gammapy"
        command = [gammapy_python, str(PEER), str(folder), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout), target

    return run


def stats(tree, models):
    return compile_likelihood(tree, models).stat_per_dataset(models.parameters.values)


def points():
    data = xr.Dataset(coords=energy_axis("1 TeV", "30 TeV", nbin=3).coords, attrs={"sed_type": "dnde"})
    unit = {"units": "TeV-1 s-1 cm-2"}
    data["dnde"] = "energy", [2e-12, 2e-13, 6e-14], unit
    data["dnde_err"] = "energy", [4e-13, 4e-14, 1e-14], unit
    return data.assign(mask_fit=("energy", [True, False, True]))


def joint():
    """Maps of runs with one background model for all, spectra of runs, flux points; a link, a prior, a covariance."""
    rng = np.random.default_rng(3)
    maps = []
    for level in (2.0, 4.0):
        cube = map_cube(background=level)
        maps.append(cube.assign(counts=cube.counts.copy(data=rng.poisson(cube.background.values * 1.1).astype(float))))
    along = xr.concat(maps, xr.Variable("obs", [7, 8]))
    along["livetime"] = "obs", [90.0, 45.0], {"units": "s"}
    runs = spectrum_cube(n_obs=2).assign(livetime=("obs", [1800.0, 1700.0], {"units": "s"}))
    spectral = xg.PowerLawSpectralModel(index=2.2, amplitude="3e-12 cm-2 s-1 TeV-1")
    source = xg.SkyModel(spectral, name="source", datasets_names=["runs", "hawc"])
    other = xg.SkyModel(
        xg.ExpCutoffPowerLawSpectralModel(index=2.2, amplitude="1e-13 cm-2 s-1 TeV-1", lambda_="0.1 TeV-1"),
        name="other",
        datasets_names=["hawc"],
    )
    background = xg.FoVBackgroundModel(name="bkg", datasets_names="map")
    background.parameters["norm"].value = 1.07
    models = xg.Models([source, other, background])
    # gammapy links parameters of one name only
    models.link("source.index", "other.index")
    # gammapy counts the prior of a linked parameter once for each of its places
    models.parameters["other.lambda_"].prior = xg.GaussianPrior(mu="0.2 TeV-1", sigma="0.05 TeV-1")
    free = np.array([not p.frozen for p in models.parameters])
    root = rng.normal(size=(free.size, free.size)) * np.abs(models.parameters.values)[:, None]
    models.set_covariance(1e-3 * (root @ root.T) * np.outer(free, free))
    return xr.DataTree.from_dict({"map": along, "runs": runs, "hawc": points()}), models


def test_gammapy_finds_the_same_likelihood(peer, tmp_path):
    tree, models = joint()
    tree.gamma.write(tmp_path / "ours", models=models)
    mine = stats(tree, models)
    found, target = peer(tmp_path / "ours")
    assert list(found["stat"]) == ["map-7", "map-8", "runs-11", "runs-12", "hawc"]
    for name, value in mine.items():
        # gammapy's maps are in single precision
        assert found["stat"][name.replace("/", "-")] == pytest.approx(value, rel=2e-6), name
    assert found["free"] == len(models.parameters.free)
    assert found["priors"] == pytest.approx(models.prior_stat(), rel=1e-12)
    assert found["total"] == pytest.approx(sum(mine.values()) + models.prior_stat(), rel=2e-6)
    errors = {f"{m.name}.{p.name}": p.error for m in models for p in m.parameters}
    for name, variance in zip(found["names"], found["variances"], strict=True):
        if name in errors:
            assert np.sqrt(variance) == pytest.approx(errors[name], rel=1e-6), name
    # what it writes: names of runs, no groups
    again, read = xg.read_datasets(target, checksum=True)
    assert list(again.children) == list(found["stat"])
    assert stats(again, read) == pytest.approx(found["stat"], rel=2e-6)
    assert read.prior_stat() == pytest.approx(models.prior_stat(), rel=1e-12)
    assert len(read.parameters.free) == len(models.parameters.free)
    assert read["other"].spectral.index is read["source"].spectral.index
    # gammapy names backgrounds after their datasets
    assert set(read.names) == {"source", "other", "map-7-bkg", "map-8-bkg"}
    assert read["map-7-bkg"].spectral.norm is read["map-8-bkg"].spectral.norm


@pytest.mark.real_data
def test_the_crab_nebula_in_gammapy(peer, gammapy_data, tmp_path):
    fermi = gammapy_data / "fermi-3fhl-crab"
    models = xg.Models.read(fermi / "Fermi-LAT-3FHL_models.yaml")
    spectra = gammapy_data / "joint-crab" / "spectra" / "hess"
    parts = {
        "Fermi-LAT": xg.open_cube(fermi / "Fermi-LAT-3FHL_data_Fermi-LAT.fits"),
        "HESS": xg.read_ogip([spectra / f"pha_obs{i}.fits" for i in (23523, 23526)]).gamma.stack("obs"),
        "HAWC": xg.read_flux_points(gammapy_data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits"),
    }
    tree = xr.DataTree.from_dict(parts)
    tree.gamma.write(tmp_path / "ours", models=models)
    found, target = peer(tmp_path / "ours")
    mine = stats(tree, models)
    assert found["stat"]["HESS"] == pytest.approx(mine["HESS"], rel=1e-5)
    assert found["stat"]["HAWC"] == pytest.approx(mine["HAWC"], rel=1e-9)
    # MapDataset.read(...).stat_sum() of gammapy 2.1 with these models, of the original file
    assert found["stat"]["Fermi-LAT"] == pytest.approx(-12756.57415532529, rel=1e-9)
    again, read = xg.read_datasets(target)
    assert stats(again, read) == pytest.approx(mine, rel=1e-5)
