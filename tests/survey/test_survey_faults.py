"""Faults on the way: killed workers and drivers, a scheduler that goes away, full disks, damaged and vanished files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import pytest
import xarray as xr
from same_store import assert_same_store
from survey_driver import OPTIONS

import xgamma as xg
from xgamma.io.cube import prepare
from xgamma.io.marker import read_log
from xgamma.io.pieces import pieces_of
from xgamma.reduction.measured import measured
from xgamma.reduction.production import write_survey
from xgamma.reduction.settings import reduce_settings
from xgamma.reduction.tasks import reduce_maps

SAMPLE = xg.sample_path("survey")
DRIVER = Path(__file__).with_name("survey_driver.py")
ROOT = Path(__file__).resolve().parents[2]


def pieces_done(store) -> int:
    try:
        return int(read_log(store).done.sum())
    except (OSError, ValueError):
        return 0


def wait_for(condition, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "what the test waits for did not happen"
        time.sleep(0.02)


@pytest.fixture
def cluster():
    """Two workers, and a client of them."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made, Client(made) as client:
        yield made, client


def start_driver(*words) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_killed_workers_cost_nothing(cluster, survey_grid, undisturbed, tmp_path):
    """Two kill -9, one before the first piece is done and one in the middle."""
    _, client = cluster
    store = tmp_path / "a.zarr"
    victims = list(client.run(os.getpid).values())

    def kill() -> None:
        for victim, number in zip(victims, (0, 3), strict=True):
            wait_for(lambda number=number: store.exists() and pieces_done(store) >= number)
            os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    written = write_survey(xg.open_store(SAMPLE).observations, survey_grid, store, **OPTIONS)
    killer.join()
    assert written.n_written == written.n_pieces
    assert_same_store(store, undisturbed)
    assert not Path(f"{store}.lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_driver_goes_on(how, survey_grid, undisturbed, tmp_path):
    store = tmp_path / "a.zarr"
    process = start_driver(SAMPLE, store)
    wait_for(lambda: pieces_done(store) >= 2)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    done = pieces_done(store)
    assert 2 <= done < 10
    with pytest.raises(OSError, match="not finished"):
        xg.open_cube(store)
    assert Path(f"{store}.lock").exists() == (how == signal.SIGKILL)
    written = write_survey(xg.open_store(SAMPLE).observations, survey_grid, store, **OPTIONS)
    assert written.n_written == 10 - done
    assert_same_store(store, undisturbed)


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_named_and_the_survey_goes_on(survey_grid, undisturbed, tmp_path):
    from distributed import Client, LocalCluster

    store = tmp_path / "a.zarr"
    runs = xg.open_store(SAMPLE).observations
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):

        def close() -> None:
            wait_for(lambda: pieces_done(store) >= 1)
            cluster.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(ConnectionError, match="went away while the store was written; what is done stays done"):
            write_survey(runs, survey_grid, store, **OPTIONS)
        closer.join()
    done = pieces_done(store)
    assert 1 <= done < 10
    written = write_survey(runs, survey_grid, store, **OPTIONS)
    assert written.n_written == 10 - done
    assert_same_store(store, undisturbed)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(survey_grid, undisturbed, tmp_path):
    """A limit on the size of files stands in for the full disk: writes fail in the middle of a file."""
    store = tmp_path / "a.zarr"
    process = start_driver(SAMPLE, store, 3000)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "OSError" in error
    assert "File too large" in error
    with pytest.raises(OSError, match="not finished"):
        xg.open_cube(store)
    write_survey(xg.open_store(SAMPLE).observations, survey_grid, store, **OPTIONS)
    assert_same_store(store, undisturbed)


def damage(file: Path, how: str) -> None:
    if how == "vanished":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["vanished", "truncated", "one byte is wrong"])
def test_a_damaged_run_is_left_out_and_named(how, runs_folder, survey_grid, without_run_3, tmp_path):
    store = tmp_path / "a.zarr"
    runs = xg.open_store(runs_folder).observations
    damage(runs_folder / "data" / "run_000003.fits.gz", how)
    with pytest.raises((OSError, ValueError), match="run 3") as caught:
        write_survey(runs, survey_grid, store, **OPTIONS)
    assert list(caught.value.faults) == [3]
    written = write_survey(runs, survey_grid, store, on_fault="leave out", **OPTIONS)
    assert list(written.missing) == ["3"]
    assert "run_000003" in written.missing["3"]
    assert json.loads(xg.open_cube(store).attrs["missing_runs"]) == written.missing
    assert_same_store(store, without_run_3)


def test_a_file_that_vanishes_in_the_middle(runs_folder, survey_grid, without_run_3, tmp_path, monkeypatch):
    """Some tiles hold the run already when its file vanishes: they are made again without it."""
    from xgamma.io import marker

    store = tmp_path / "a.zarr"
    file = runs_folder / "data" / "run_000003.fits.gz"
    runs = xg.open_store(runs_folder).observations
    alone = prepare(xg.reduce(runs.select(obs_id=3), survey_grid, **OPTIONS))
    touched = [p.name for p in pieces_of(alone) if p.runs]
    assert len(touched) > 2
    write = marker.write_piece
    with_run = []

    def write_piece(*args, piece, **kwargs):
        result = write(*args, piece=piece, **kwargs)
        if piece.name in touched:
            with_run.append(piece.name)
            file.unlink(missing_ok=True)
        return result

    monkeypatch.setattr(marker, "write_piece", write_piece)
    with dask.config.set(scheduler="synchronous"):
        written = write_survey(runs, survey_grid, store, on_fault="leave out", **OPTIONS)
    # the first with the run, later without
    assert len(with_run) > len(set(with_run))
    assert list(written.missing) == ["3"]
    assert_same_store(store, without_run_3)


def test_several_faulty_runs_of_a_task_are_named_at_once(runs_folder, survey_grid, tmp_path):
    for number in (3, 4, 9):
        (runs_folder / "data" / f"run_{number:06d}.fits.gz").unlink()
    runs = xg.open_store(runs_folder).observations
    settings = reduce_settings(survey_grid, "counts", None, "1.5 deg", 1, 8)
    tile = (slice(0, 60), slice(0, 60))
    with pytest.raises(OSError, match="run 3") as caught:
        measured(settings, function=reduce_maps, runs=tuple(runs), tile=tile, stack=True)
    assert list(caught.value.faults) == [3, 4, 9]
    written = write_survey(runs, survey_grid, tmp_path / "a.zarr", on_fault="leave out", **OPTIONS)
    assert sorted(written.missing) == ["3", "4", "9"]


@pytest.mark.slow
def test_with_a_client_one_pass_finds_all_faults_and_does_the_rest(cluster, runs_folder, survey_grid, tmp_path):
    for number in (3, 9):
        (runs_folder / "data" / f"run_{number:06d}.fits.gz").unlink()
    runs = xg.open_store(runs_folder).observations
    store = tmp_path / "a.zarr"
    options = {**OPTIONS, "offset_max": "0.8 deg", "chunks": {"y": 12, "x": 12}}
    with pytest.raises(OSError, match="run") as caught:
        write_survey(runs, survey_grid, store, **options)
    assert set(caught.value.faults) == {3, 9}
    # every tile that neither touches is done
    pieces = pieces_of(prepare(xg.reduce(runs, survey_grid, **options)))
    faulty = pieces_of(prepare(xg.reduce(runs.select(obs_id=[3, 9]), survey_grid, **options)))
    free = {p.name for p in pieces} - {p.name for p in faulty if p.runs or p.name == "rest"}
    log = read_log(store)
    assert free
    assert set(log.piece.values[log.done.values].tolist()) == free
    written = write_survey(runs, survey_grid, store, on_fault="leave out", **options)
    assert sorted(written.missing) == ["3", "9"]
    left = [run for run in runs if run.obs_id not in (3, 9)]
    write_survey(left, survey_grid, tmp_path / "left.zarr", **options)
    assert_same_store(store, tmp_path / "left.zarr")


def test_no_run_is_left(runs_folder, survey_grid, tmp_path):
    runs = xg.open_store(runs_folder).observations[:2]
    for file in (runs_folder / "data").glob("run_*.fits.gz"):
        file.unlink()
    with pytest.raises(ValueError, match="no run is left"):
        write_survey(runs, survey_grid, tmp_path / "a.zarr", on_fault="leave out", **OPTIONS)


def test_a_stopped_update_is_refused_until_it_is_complete(survey_grid, undisturbed, tmp_path, monkeypatch):
    """Also where arrays along the good time intervals get another shape."""
    from xgamma.io import marker

    store = tmp_path / "a.zarr"
    runs = xg.open_store(SAMPLE).observations
    write_survey(runs[:-1], survey_grid, store, **OPTIONS)

    def fails(*args, **kwargs):
        msg = "stopped"
        raise KeyboardInterrupt(msg)

    with monkeypatch.context() as patch:
        patch.setattr(marker, "write_piece", fails)
        with pytest.raises(KeyboardInterrupt):
            write_survey(runs, survey_grid, store, update=True, **OPTIONS)
    with pytest.raises(OSError, match="not finished"):
        xg.open_cube(store)
    assert not Path(f"{store}.lock").exists()
    write_survey(runs, survey_grid, store, update=True, **OPTIONS)
    assert_same_store(store, undisturbed)
    # a warning, which is an error here, would say that the metadata are not in one file
    assert xr.open_zarr(store).sizes == xg.open_cube(undisturbed).sizes
