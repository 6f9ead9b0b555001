"""Runs of a store again, with events from models."""

from __future__ import annotations

import json
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.io.sample import sample_path
from xgamma.simulate.events import simulate_events
from xgamma.simulate.observations import simulate_observations
from xgamma.simulate.truth import read_truth

RANGE = ("0.5 TeV", "100 TeV")


def star(amplitude="1e-11 cm-2 s-1 TeV-1", name="star", lon=150.0, lat=-25.0, **kwargs):
    spectrum = xg.PowerLawSpectralModel(index=2.3, amplitude=amplitude)
    return xg.SkyModel(spectrum, xg.PointSpatialModel(lon_0=lon, lat_0=lat), name=name, **kwargs)


def runs(number=3):
    return xg.open_store(sample_path("survey")).select(list(range(1, number + 1)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("again") / "store"
    norm = xg.FoVBackgroundModel(xg.PowerLawNormSpectralModel(norm=1.5), name="run-2", datasets_names="2")
    models = xg.Models([star(), star(name="other", lon=150.5, datasets_names=["1", "3"]), norm])
    truth = simulate_observations(runs(), models, path, seed=5, energy_range=RANGE, truth=True)
    return path, truth, models


def test_store_has_runs_as_they_were(made):
    path, truth, _ = made
    store = xg.open_store(path)
    assert store.obs_ids == (1, 2, 3)
    for real, run in zip(runs(), store, strict=True):
        assert set(run.available) == {"events", "gti", "aeff", "edisp", "psf", "bkg"}
        assert run.livetime == pytest.approx(real.livetime, abs=1e-6)
        assert run.pointing.icrs(run.tmid) == pytest.approx(real.pointing.icrs(real.tmid))
        np.testing.assert_allclose(run.gti.gti_start, real.gti.gti_start, atol=1e-6)
        np.testing.assert_allclose(run.psf["sigma_1"], real.psf["sigma_1"])
        events = run.events
        found = np.bincount(events.mc_id, minlength=3)
        np.testing.assert_array_equal(found, truth.simulated.sel(obs=run.obs_id))
        assert (events.attrs["mmn00001"], events.attrs["mmn00002"]) == ("star", "other")
        assert np.isnan(events.energy_true.values[events.mc_id.values == 0]).all()
        assert float(events.energy.min()) >= 0.5 * (1 - 1e-6)
    # all runs of the sample share one file
    assert len(list(Path(path).glob("responses_*"))) == 1


def test_models_with_names_of_runs_belong_to_these(made):
    _, truth, _ = made
    assert float(truth.expected.sel(obs=2, component="other")) == 0.0
    assert int(truth.simulated.sel(obs=2, component="other")) == 0
    assert int(truth.simulated.sel(obs=3, component="other")) > 10
    background = truth.expected.sel(component="background")
    assert float(background.sel(obs=2) / background.sel(obs=1)) == pytest.approx(1.5, rel=1e-3)
    pulls = (truth.simulated - truth.expected) / np.sqrt(truth.expected.where(truth.expected > 0))
    assert float(abs(pulls).max()) < 4


def test_events_are_those_in_memory_whatever_the_scheduler(made, tmp_path):
    path, _, models = made
    with dask.config.set(scheduler="synchronous"):
        simulate_observations(runs(), models, tmp_path / "s", seed=5, energy_range=RANGE, truth=True)
    for file in sorted(Path(path).rglob("*.fits.gz")):
        assert file.read_bytes() == (tmp_path / "s" / file.relative_to(path)).read_bytes()
    chosen = [m for m in models if m.name != "run-2"]
    alone = simulate_events(runs()[2], chosen, seed=5, energy_range=RANGE)
    stored = xg.open_store(path).get(3).events
    np.testing.assert_array_equal(stored.energy, alone.energy.values.astype(np.float32))
    np.testing.assert_allclose(stored.time, alone.time, atol=2e-6)


def test_truth_reads_the_models_back(made):
    path, counts, models = made
    truth = read_truth(path)
    assert [s.name for s in truth.sources] == ["star", "other"]
    assert isinstance(truth.sources[0], xg.SkyModel)
    assert truth.sources[0].spectral.index.value == models["star"].spectral.index.value
    assert truth.simulated["star"] == int(counts.simulated.sel(component="star").sum())
    assert truth.energy_range == (0.5, 100.0)


def test_fit_of_the_simulated_store_gives_the_truth(made, tmp_path):
    truth = xg.Models([star("4e-11 cm-2 s-1 TeV-1"), xg.FoVBackgroundModel(name="bkg")])
    simulate_observations(runs(2), truth, tmp_path / "s", seed=1, energy_range=RANGE)
    axes = {n: xg.energy_axis("0.5 TeV", "50 TeV", nbin=k, name=n) for n, k in (("energy", 6), ("energy_true", 24))}
    grid = xg.sky_grid(SkyCoord(150, -25, unit="deg"), "2 deg", "0.05 deg", irf_binsize="0.5 deg", **axes)
    cube = xg.reduce(xg.open_store(tmp_path / "s").observations, grid, selection="all").load()
    result = cube.gamma.fit(truth)
    assert result.success
    for parameter, true in zip(result.free, truth.parameters.free.values, strict=True):
        assert abs(parameter.value - true) < 4 * parameter.error, parameter.name


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"observations": []}, ValueError, "there are no runs"),
        ({"observations": [3]}, TypeError, "3 is not a run"),
        ({"models": star(datasets_names="9")}, ValueError, r"\['9'\], to none of the 3 runs"),
        ({"models": xg.SkyModel(xg.PowerLawSpectralModel(), name="a")}, ValueError, "no spatial model"),
        ({"models": star("-1e-11 cm-2 s-1 TeV-1")}, ValueError, "run 1: the flux of 'star' is negative"),
        ({"energy_range": ("2 TeV", "1 TeV")}, ValueError, "ascending"),
        ({"energy_range": ("300 TeV", "400 TeV")}, ValueError, "nothing of the energies"),
        ({"seed": -1}, ValueError, "seed"),
        ({"irfs": {"psf": None, "bkg": None}}, ValueError, "no background model"),
        ({"irfs": {"aeff": None}}, ValueError, "no effective area"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, change, error, words):
    arguments = {"observations": runs(), "models": star(), **change}
    with pytest.raises(error, match=words):
        simulate_observations(arguments.pop("observations"), arguments.pop("models"), tmp_path / "s", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_runs_twice_and_runs_without_a_response(tmp_path):
    run = runs()[0]
    with pytest.raises(ValueError, match="more than once"):
        simulate_observations([run, run], star(), tmp_path / "s")
    lacking = xg.Observation(run.obs_id, tuple(h for h in run.hdus if h.hdu_type != "psf"), run.row)
    with pytest.raises(ValueError, match="run 1: the response 'psf' is missing"):
        simulate_observations(lacking, star(), tmp_path / "s")
    truth = simulate_observations(lacking, star(), tmp_path / "s", irfs={"psf": None}, energy_range=RANGE)
    assert int(truth.simulated.sum()) > 0
    with pytest.raises(FileExistsError, match="overwrite=True"):
        simulate_observations(lacking, star(), tmp_path / "s")
    with pytest.warns(UserWarning, match=r"\['star'\] lie outside"):
        simulate_observations(
            lacking, star(lon=20.0), tmp_path / "s", irfs={"psf": None}, energy_range=RANGE, overwrite=True
        )


def test_runs_do_not_share_a_file(tmp_path):
    labels = [replace(run, obs_id=label) for run, label in zip(runs(2), ("1/2", "1_2"), strict=True)]
    with pytest.raises(ValueError, match=r"'1/2' and '1_2' would both be written to run_1_2\.fits\.gz"):
        simulate_observations(labels, star(), tmp_path / "s", energy_range=RANGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gammapy
@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "obs_ids"), [("cta-1dc/index/gps", [110380, 111140]), ("hess-dl3-dr1", [20136])])
def test_gammapy_reads_the_store(gammapy_data, gammapy_python, tmp_path, folder, obs_ids):
    chosen = xg.open_store(gammapy_data / folder).select(obs_id=obs_ids)
    center = [float(v) for v in chosen[0].pointing.icrs(chosen[0].tmid)]
    models = [star("2e-11 cm-2 s-1 TeV-1", lon=center[0], lat=center[1] + 0.4), xg.FoVBackgroundModel(name="bkg")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*left out")
        truth = simulate_observations(chosen, models, tmp_path / "s", seed=3, energy_range=("0.6 TeV", "30 TeV"))
    case = {"center": center, "width": 4, "binsize": 0.04}
    case |= {"energy": ["0.6 TeV", "30 TeV", 8], "energy_true": ["0.4 TeV", "50 TeV", 16]}
    (tmp_path / "case.json").write_text(json.dumps(case))
    program = Path(__file__).with_name("peer_simulated_gammapy.py")
    command = [gammapy_python, "-W", "ignore", str(program), "s", "case.json", "out.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    axes = {n: xg.energy_axis(*case[n][:2], nbin=case[n][2], name=n) for n in ("energy", "energy_true")}
    grid = xg.sky_grid(SkyCoord(*center, unit="deg"), "4 deg", "0.04 deg", **axes)
    cube = xg.reduce(xg.open_store(tmp_path / "s").observations, grid).compute(scheduler="sync")
    with np.load(tmp_path / "out.npz") as peer:
        np.testing.assert_array_equal(cube.counts, peer["counts"])
        assert float(cube.counts.sum()) > 500
        # its stacked maps are float32
        np.testing.assert_allclose(cube.exposure, peer["exposure"], rtol=1e-6)
        # also where the edge of a field crosses the map: responses are float32 there as in the runs that they are from
        np.testing.assert_allclose(cube.background, peer["background"], rtol=1e-6)
        for run in xg.open_store(tmp_path / "s"):
            assert float(peer[f"{run.obs_id}_livetime"]) == pytest.approx(run.livetime, rel=1e-9)
            assert float(peer[f"{run.obs_id}_gti"]) == pytest.approx(run.ontime, rel=1e-9)
            found = np.bincount(peer[f"{run.obs_id}_mc_id"], minlength=2)
            np.testing.assert_array_equal(found, truth.simulated.sel(obs=run.obs_id))
            np.testing.assert_allclose(peer[f"{run.obs_id}_time"], run.events.time - run.tstart, atol=2e-6)
            assert {"aeff", "edisp", "psf", "bkg"} <= set(peer[f"{run.obs_id}_irfs"].tolist())
