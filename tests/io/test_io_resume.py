"""Writing piece by piece: stops, faults, refusals, updates; on disk, with and without a client."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.io.pieces import pieces_of
from xgamma.io.resume import Written

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")


class FaultError(RuntimeError):
    """What a block raises that cannot be computed."""


def block_value(j: int, i: int) -> float:
    return 10.0 * j + i + 1


def make_cube(
    log: Path | None = None, bad: tuple[int, int] | None = None, tag: str = "a", slow: float = 0.0
) -> xr.Dataset:
    """Lazy cube of 2 x 3 tiles; each computed tile leaves a line in `log`; the tile `bad` cannot be computed."""
    grid = xg.sky_grid(CENTER, ("3 deg", "2 deg"), "0.1 deg", energy=xg.energy_axis("1 TeV", "10 TeV", nbin=2))

    def block(value: np.ndarray, block_info: object = None) -> np.ndarray:
        j, i = block_info[None]["chunk-location"][1:]
        if log is not None:
            with log.open("a") as stream:
                stream.write(f"{j}.{i}\n")
        if (j, i) == bad:
            msg = "a file is damaged"
            raise FaultError(msg)
        time.sleep(slow)
        return np.full_like(value, block_value(j, i))

    zeros = da.zeros((2, 20, 30), chunks=(2, 10, 10))
    counts = da.map_blocks(block, zeros, dtype=float, meta=np.empty((0, 0, 0)), name=f"counts-{tag}")
    cube = grid.drop_dims(["irf_y", "irf_x"]).assign(
        counts=(("energy", "y", "x"), counts, {"units": ""}),
        exposure=(("energy", "y", "x"), 2 * counts, {"units": "cm2 s"}),
        livetime=((), da.from_array(np.array(1234.56789), name="livetime"), {"units": "s"}),
    )
    return cube.assign_attrs(settings="{}", obs_ids="[1, 2]")


def expected() -> np.ndarray:
    rows = [np.concatenate([np.full((2, 10, 10), block_value(j, i)) for i in range(3)], axis=2) for j in range(2)]
    return np.concatenate(rows, axis=1)


def test_pieces_hold_every_block_once():
    cube = make_cube()
    pieces = pieces_of(cube)
    assert [p.name for p in pieces] == ["rest", *(f"sky.{j}.{i}" for j in range(2) for i in range(3))]
    blocks = [(b.variable, b.region) for p in pieces for b in p.blocks]
    assert len(blocks) == len(set(blocks)) == 13
    assert len({p.token for p in pieces}) == len(pieces)


def test_first_call_writes_all_and_a_second_nothing(tmp_path):
    log = tmp_path / "log"
    first = make_cube(log).gamma.to_zarr(tmp_path / "a.zarr", resume=True)
    again = make_cube(log).gamma.to_zarr(tmp_path / "a.zarr", resume=True)
    assert isinstance(first, Written)
    assert (first.n_written, first.n_pieces, again.n_written) == (7, 7, 0)
    assert len(log.read_text().split()) == 6
    cube = xg.open_cube(first)
    np.testing.assert_array_equal(cube.counts.values, expected())
    assert cube.counts.dtype == np.float32
    assert float(cube.livetime) == 1234.56789
    xr.testing.assert_equal(cube, xg.decode(xr.open_zarr(tmp_path / "a.zarr")))


def test_float64_is_kept_on_demand(tmp_path):
    make_cube().gamma.to_zarr(tmp_path / "a.zarr", resume=True, dtype="float64")
    assert xg.open_cube(tmp_path / "a.zarr").counts.dtype == np.float64


def test_a_fault_costs_its_piece_and_the_store_is_refused_until_done(tmp_path):
    log = tmp_path / "log"
    store = tmp_path / "a.zarr"
    with pytest.raises(FaultError, match="a file is damaged"):
        make_cube(log, bad=(1, 1)).gamma.to_zarr(store, resume=True)
    with pytest.raises(OSError, match="not finished"):
        xg.open_cube(store)
    done = len([m for m in zarr.open_group(store)["xgamma/done"][:] if m.any()])
    log.unlink()
    went_on = make_cube(log).gamma.to_zarr(store, resume=True)
    assert went_on.n_written == 7 - done
    assert "1.1" in log.read_text().split()
    np.testing.assert_array_equal(xg.open_cube(store).counts.values, expected())


def write_slowly(store: Path, log: Path) -> None:
    make_cube(log, slow=0.4).gamma.to_zarr(store, resume=True)


@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_was(tmp_path):
    store, log = tmp_path / "a.zarr", tmp_path / "log"
    process = multiprocessing.get_context("spawn").Process(target=write_slowly, args=(store, log))
    process.start()
    limit = time.monotonic() + 120
    while time.monotonic() < limit and (not log.exists() or len(log.read_text().split()) < 4):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(OSError, match="not finished"):
        xg.open_cube(store)
    log.unlink()
    went_on = make_cube(log).gamma.to_zarr(store, resume=True)
    assert 0 < went_on.n_written < 7
    np.testing.assert_array_equal(xg.open_cube(store).counts.values, expected())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.assign_attrs(settings='{"x": 1}'), "settings"),
        (lambda c: c.assign_attrs(obs_ids="[1, 2, 3]"), r"1 runs are new \['3'\]"),
        (lambda c: c.chunk(x=15), "variables"),
        (lambda c: c.isel(energy=slice(0, 1)), "axes"),
        (lambda c: c.isel(x=slice(0, 20)), "axes"),
        (lambda c: c.drop_vars("exposure"), "variables"),
    ],
)
def test_other_inputs_are_refused_in_words(tmp_path, change, words):
    store = tmp_path / "a.zarr"
    make_cube().gamma.to_zarr(store, resume=True)
    with pytest.raises(ValueError, match=words):
        change(make_cube()).gamma.to_zarr(store, resume=True)
    np.testing.assert_array_equal(xg.open_cube(store).counts.values, expected())


def test_update_makes_changed_pieces_again(tmp_path):
    store, log = tmp_path / "a.zarr", tmp_path / "log"
    make_cube().gamma.to_zarr(store, resume=True)
    other = make_cube(log, tag="b").assign_attrs(obs_ids="[1, 2, 3]")
    written = other.gamma.to_zarr(store, update=True)
    assert written.n_written == 6
    assert len(log.read_text().split()) == 6
    assert xg.open_cube(store).attrs["obs_ids"] == "[1, 2, 3]"


def test_a_store_of_another_kind_is_left_alone(tmp_path):
    store = tmp_path / "a.zarr"
    make_cube().gamma.to_zarr(store)
    with pytest.raises(FileExistsError, match="resume=True"):
        make_cube().gamma.to_zarr(store, resume=True)
    written = make_cube().gamma.to_zarr(store, resume=True, overwrite=True)
    assert written.n_written == 7


def test_a_cube_in_memory_needs_no_resume(tmp_path):
    with pytest.raises(ValueError, match="in memory already"):
        make_cube().load().gamma.to_zarr(tmp_path / "a.zarr", resume=True)
    assert not (tmp_path / "a.zarr").exists()


def test_a_url_is_written_and_read(tmp_path):
    url = f"memory://{tmp_path.name}/a.zarr"
    written = make_cube().gamma.to_zarr(url, resume=True)
    assert written.n_written == 7
    assert make_cube().gamma.to_zarr(url, resume=True).n_written == 0
    np.testing.assert_array_equal(xg.open_cube(url).counts.values, expected())


def test_unstacked_cubes_are_cut_by_run(tmp_path):
    counts = da.from_array(np.arange(24.0).reshape(4, 1, 2, 3), chunks=(1, 1, 2, 3), name="runs")
    livetime = da.from_array(np.arange(4.0), chunks=1, name="livetimes")
    grid = xg.sky_grid(CENTER, ("0.3 deg", "0.2 deg"), "0.1 deg", energy=xg.energy_axis("1 TeV", "10 TeV", nbin=1))
    cube = grid.drop_dims(["irf_y", "irf_x"]).assign(
        counts=(("obs", "energy", "y", "x"), counts, {"units": ""}), livetime=("obs", livetime, {"units": "s"})
    )
    cube = cube.assign_coords(obs=[11, 12, 13, 14])
    assert len(pieces_of(cube)) == 4
    cube.gamma.to_zarr(tmp_path / "a.zarr", resume=True)
    again = xg.open_cube(tmp_path / "a.zarr")
    np.testing.assert_array_equal(again.counts.values, counts.compute())
    np.testing.assert_array_equal(again.livetime.values, np.arange(4.0))


@pytest.mark.slow
def test_with_a_client_and_a_killed_worker(tmp_path):
    from distributed import Client, LocalCluster

    store = tmp_path / "a.zarr"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        pids = client.run(os.getpid)
        log = tmp_path / "log"

        def kill_one() -> None:
            limit = time.monotonic() + 60
            while time.monotonic() < limit and (not log.exists() or len(log.read_text().split()) < 2):
                time.sleep(0.02)
            os.kill(next(iter(pids.values())), signal.SIGKILL)

        killer = multiprocessing.get_context("fork").Process(target=kill_one)
        killer.start()
        written = make_cube(log, slow=0.5).gamma.to_zarr(store, resume=True)
        killer.join()
    assert written.n_written == 7
    np.testing.assert_array_equal(xg.open_cube(store).counts.values, expected())


def test_progress_is_shown(tmp_path, capsys):
    make_cube().gamma.to_zarr(tmp_path / "a.zarr", resume=True, progress=True)
    assert "7/7" in capsys.readouterr().out
