"""The command line for surveys: resumed runs, dry runs, schedulers, and simulated surveys of many runs."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.coordinates import SkyCoord
from typer.testing import CliRunner

import xgamma as xg
from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import read_config
from xgamma.analysis.scheduler import scheduled
from xgamma.cli import app
from xgamma.io.marker import read_log
from xgamma.simulate.region import random_sources, simulate_region

CONFIG = {
    "observations": {"datastore": str(xg.sample_path("survey")), "obs_ids": [1, 2, 3]},
    "datasets": {
        "map_selection": ["counts", "exposure", "background"],
        "geom": {
            "wcs": {
                "skydir": {"frame": "icrs", "lon": "150 deg", "lat": "-25 deg"},
                "width": {"width": "2.4 deg", "height": "2.4 deg"},
                "binsize": "0.1 deg",
            },
            "axes": {"energy": {"nbins": 2}, "energy_true": {"nbins": 2}},
        },
    },
}
RING = {"method": "ring", "parameters": {"r_in": "0.5 deg", "width": "0.4 deg"}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words):
    result = CliRunner().invoke(app, [str(w) for w in words], prog_name="xgamma")
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def write_config(**change):
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG | change))
    return "config.yaml"


@pytest.mark.parametrize("background", [{}, {"background": RING}], ids=["model", "ring"])
def test_run_with_resume_is_run_in_pieces(background, folder):
    config = write_config(datasets=CONFIG["datasets"] | background)
    assert call("run", config, "-o", "plain")[0] == 0
    code, output = call("run", config, "-o", "pieces", "--resume")
    assert code == 0, output
    plain, pieces = (xg.open_cube(folder / name / "cube.zarr").load() for name in ("plain", "pieces"))
    for name in plain.data_vars:
        np.testing.assert_array_equal(plain[name].values, pieces[name].values)
    assert sorted(p.name for p in (folder / "plain").iterdir()) == sorted(p.name for p in (folder / "pieces").iterdir())
    # the products of the first time are in the way, the cube is not made again
    before = read_log("pieces/cube.zarr").time.values
    code, output = call("run", config, "-o", "pieces", "--resume")
    assert code == 1
    assert "exists" in output
    assert call("run", config, "-o", "pieces", "--resume", "--overwrite")[0] == 0
    np.testing.assert_array_equal(read_log("pieces/cube.zarr").time.values, before)


def test_run_with_resume_refuses_other_runs_and_update_takes_them(folder):
    assert call("run", write_config(), "-o", "out", "--resume")[0] == 0
    more = write_config(observations=CONFIG["observations"] | {"obs_ids": [1, 2, 3, 4]})
    code, output = call("run", more, "-o", "out", "--resume", "--overwrite")
    assert code == 1
    assert "1 runs are new ['4']" in output
    assert call("run", more, "-o", "out", "--update", "--overwrite")[0] == 0
    assert "4" in xg.open_cube("out/cube.zarr").attrs["obs_ids"]


@pytest.mark.parametrize("background", [{}, {"background": RING}], ids=["model", "ring"])
def test_dry_run_says_what_it_would_take_and_writes_nothing(background):
    config = write_config(datasets=CONFIG["datasets"] | background)
    code, output = call("run", config, "--dry-run", "-o", "out")
    assert code == 0
    assert "runs            3" in output
    assert "before compression" in output
    assert sorted(str(p) for p in Path().iterdir()) == ["config.yaml"]


@pytest.mark.parametrize(
    ("section", "inside"),
    [
        ({}, {}),
        ({"type": "threads", "workers": 3}, {"scheduler": "threads", "num_workers": 3}),
        ({"type": "processes"}, {"scheduler": "processes"}),
        ({"type": "synchronous"}, {"scheduler": "synchronous"}),
    ],
)
def test_schedulers_of_one_machine(section, inside):
    before = dict(dask.config.config)
    with scheduled(read_config({"scheduler": section}).scheduler):
        assert {k: dask.config.get(k) for k in inside} == inside
    assert dask.config.config == before


@pytest.mark.slow
def test_local_cluster_and_address(folder):
    from distributed import Client, LocalCluster

    from xgamma.io.progress import current_client

    section = {"type": "local", "workers": 1, "threads_per_worker": 2, "memory_limit": "1 GiB"}
    with scheduled(read_config({"scheduler": section}).scheduler):
        client = current_client()
        assert list(client.nthreads().values()) == [2]
        plan = Analysis(read_config(CONFIG)).plan()
        assert (plan.n_threads, plan.threads_per_worker, plan.memory_limit) == (2, 2, 2**30)
    assert current_client() is None
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0", "processes": False}
    with LocalCluster(**options) as cluster:
        config = write_config(scheduler={"type": "address", "address": cluster.scheduler_address})
        code, output = call("run", config, "-o", "out", "--resume")
        assert code == 0, output
        with Client(cluster.scheduler_address) as client:
            assert client.nthreads()
    assert "1 threads of the cluster" in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "thread"}, "scheduler.type='thread' is not known; did you mean 'threads'"),
        ({"type": "threads", "memory_limit": "2 GiB"}, "scheduler.memory_limit is for scheduler.type local"),
        ({"workers": 2}, "scheduler.workers is for scheduler.type threads or processes or local, not None"),
        ({"type": "address"}, "scheduler.address is missing"),
        ({"type": "local", "memory_limit": "much"}, "scheduler.memory_limit='much' must be a size of memory"),
        ({"type": "local", "workers": 0}, "scheduler.workers=0 must be a whole number"),
    ],
)
def test_a_scheduler_that_makes_no_sense_is_refused(change, words):
    code, output = call("run", write_config(scheduler=change))
    assert code == 1
    assert words in output


def test_jobs_and_scheduler_contradict():
    code, output = call("run", write_config(scheduler={"type": "threads"}, general={"n_jobs": 2}), "-o", "out")
    assert code == 1
    assert "both say who works" in output
    assert not Path("out").exists()


def test_no_scheduler_at_the_address(monkeypatch):
    monkeypatch.setattr("xgamma.analysis.scheduler.TIMEOUT", 0.5)
    section = read_config({"scheduler": {"type": "address", "address": "tcp://127.0.0.1:9"}}).scheduler
    with pytest.raises(ConnectionError, match=r"there is no Dask scheduler at tcp://127\.0\.0\.1:9"):
        with scheduled(section):
            pass


def test_simulate_survey_by_command():
    words = ("--runs", "6", "--width", "6 deg", "--height", "2 deg", "--energy-min", "2 TeV", "--sources", "2")
    code, output = call("simulate", "survey", "out", *words, "--ontime", "5 min", "--seed", "3")
    assert code == 0, output
    assert output.startswith("6 runs with ")
    store = xg.open_store("out")
    assert len(store.observations) == 6
    # along the plane
    info = [run.info for run in store.observations]
    plane = SkyCoord([i["ra_pnt"] for i in info], [i["dec_pnt"] for i in info], unit="deg").galactic
    assert np.abs(plane.b.deg).max() < 1.001
    assert np.ptp(plane.l.wrap_at("180d").deg) > 3
    assert call("check", "out")[0] == 0
    assert call("simulate", "survey", "out")[0] == 1
    code, output = call("simulate", "survey", "other", "--frame", "fk5")
    assert (code, "frame='fk5'" in output) == (1, True)
    assert not Path("other").exists()
    code, output = call("simulate", "--help")
    assert code == 0
    assert "survey" in output


def test_simulated_regions_are_seeded():
    options = {"n_sources": 2, "ontime": "3 min", "energy_min": "1 TeV"}
    make = [
        simulate_region(f"s{k}", SkyCoord(266.4, -29.0, unit="deg"), "4 deg", 3, seed=s, **options)
        for k, s in enumerate((1, 1, 2))
    ]
    xr.testing.assert_identical(make[0], make[1])
    assert not make[0].simulated.equals(make[2].simulated)
    events = [xg.open_store(f"s{k}").observations[0].events for k in range(2)]
    np.testing.assert_array_equal(events[0].energy.values, events[1].energy.values)


def test_random_sources_are_in_the_region_with_fluxes_in_their_range():
    sources = random_sources(SkyCoord(180, 0, unit="deg"), ("20 deg", "4 deg"), 200, seed=5)
    ra, dec = np.array([s.position for s in sources]).T
    assert (np.abs(ra - 180) < 10.01).all()
    assert (np.abs(dec) < 2.01).all()
    flux = np.array([s.spectrum.amplitude for s in sources])
    assert ((flux >= 1.99e-12) & (flux <= 4.01e-11)).all()
    # as many above a flux as its inverse: half of them below twice the lowest
    assert 70 < (flux < 4e-12).sum() < 140
    assert random_sources(SkyCoord(0, 0, unit="deg"), "1 deg", 0) == []
    with pytest.raises(ValueError, match="at least 0"):
        random_sources(SkyCoord(0, 0, unit="deg"), "1 deg", -1)


def test_regions_need_a_position_with_a_frame():
    with pytest.raises(ValueError, match="must be one SkyCoord"):
        simulate_region("out", (10.0, 20.0), "4 deg", 2)
    with pytest.raises(ValueError, match="give angles such as"):
        simulate_region("out", ("galactic", "ten", "0 deg"), "4 deg", 2)
    assert not Path("out").exists()
