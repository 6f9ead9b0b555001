"""Surveys written piece by piece: resumed, updated with runs, and without runs that cannot be read."""

from __future__ import annotations

import json
import shutil

import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.io.sample import sample_path
from xgamma.reduction.production import write_survey

OPTIONS = {"offset_max": "1.0 deg", "safe_mask": ["offset-max", "aeff-default"], "chunks": {"y": 12, "x": 15}}


@pytest.fixture
def grid() -> xr.Dataset:
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=2)
    center = SkyCoord(150.6, -24.5, unit="deg")
    return xg.sky_grid(center, ("4.5 deg", "3.6 deg"), "0.1 deg", proj="TAN", energy=energy, energy_true=energy)


@pytest.fixture
def store(tmp_path):
    shutil.copytree(sample_path("survey"), tmp_path / "runs")
    return tmp_path / "runs"


def assert_same(path, cube: xr.Dataset) -> None:
    written, cube = xg.open_cube(path).load(), cube.load()
    for name in cube.data_vars:
        expected = cube[name].astype(written[name].dtype)
        xr.testing.assert_equal(written[name].variable.to_base_variable(), expected.variable.to_base_variable())


def test_written_equals_computed_and_a_second_call_writes_nothing(grid, tmp_path):
    runs = xg.open_store(sample_path("survey")).observations
    first = write_survey(runs, grid, tmp_path / "a.zarr", **OPTIONS)
    assert first.n_written == first.n_pieces == 10
    assert write_survey(runs, grid, tmp_path / "a.zarr", **OPTIONS).n_written == 0
    assert_same(tmp_path / "a.zarr", xg.reduce(runs, grid, **OPTIONS))


def test_new_runs_make_the_tiles_again_that_they_touch(grid, tmp_path):
    runs = xg.open_store(sample_path("survey")).observations
    # the last six runs point at the upper left of the map
    write_survey(runs[:11], grid, tmp_path / "a.zarr", **OPTIONS)
    with pytest.raises(ValueError, match=r"other runs: 1 runs are new \['12'\]"):
        write_survey(runs, grid, tmp_path / "a.zarr", **OPTIONS)
    written = write_survey(runs, grid, tmp_path / "a.zarr", update=True, **OPTIONS)
    assert 1 < written.n_written < 10
    assert_same(tmp_path / "a.zarr", xg.reduce(runs, grid, **OPTIONS))


def test_runs_that_are_gone_are_taken_out(grid, tmp_path):
    runs = xg.open_store(sample_path("survey")).observations
    write_survey(runs, grid, tmp_path / "a.zarr", **OPTIONS)
    written = write_survey(runs[:-1], grid, tmp_path / "a.zarr", update=True, **OPTIONS)
    assert 1 < written.n_written < 10
    assert_same(tmp_path / "a.zarr", xg.reduce(runs[:-1], grid, **OPTIONS))


@pytest.mark.parametrize("fault", ["truncated", "vanished"])
def test_a_run_that_cannot_be_read_is_named_or_left_out(grid, store, tmp_path, fault):
    runs = xg.open_store(store).observations
    file = store / "data" / "run_000003.fits.gz"
    if fault == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        file.unlink()
    with pytest.raises((OSError, ValueError), match="run 3"):
        write_survey(runs, grid, tmp_path / "a.zarr", **OPTIONS)
    written = write_survey(runs, grid, tmp_path / "a.zarr", on_fault="leave out", **OPTIONS)
    assert list(written.missing) == ["3"]
    assert "run_000003" in written.missing["3"]
    left = [run for run in runs if run.obs_id != 3]
    assert_same(tmp_path / "a.zarr", xg.reduce(left, grid, **OPTIONS))
    assert list(json.loads(xg.open_cube(tmp_path / "a.zarr").attrs["missing_runs"])) == ["3"]


def test_a_file_that_vanishes_later_leaves_no_trace_of_its_run(grid, store, tmp_path):
    runs = xg.open_store(store).observations
    write_survey(runs, grid, tmp_path / "a.zarr", **OPTIONS)
    (store / "data" / "run_000007.fits.gz").unlink()
    # one tile has to be made again, and finds the file gone
    other = {**OPTIONS, "chunks": {"y": 12, "x": 15}}
    written = write_survey(runs[:-1], grid, tmp_path / "a.zarr", on_fault="leave out", **other)
    assert list(written.missing) == ["7"]
    left = [run for run in runs if run.obs_id not in (7, 12)]
    assert_same(tmp_path / "a.zarr", xg.reduce(left, grid, **OPTIONS))


def test_options_are_checked(grid, tmp_path):
    with pytest.raises(ValueError, match="on_fault"):
        write_survey([], grid, tmp_path / "a.zarr", on_fault="ignore")
    runs = xg.open_store(sample_path("survey")).observations
    for dtype, words in {"int8": "cannot hold maps", "foo": "not a type of numbers", bool: "cannot hold maps"}.items():
        with pytest.raises(ValueError, match=words):
            write_survey(runs, grid, tmp_path / "a.zarr", dtype=dtype, **OPTIONS)
    for dry_run in (True, False):
        with pytest.raises(ValueError, match="the sum of its runs; stack=False keeps them apart"):
            write_survey(runs, grid, tmp_path / "a.zarr", stack=False, dry_run=dry_run, **OPTIONS)
        for place in (None, "", 3):
            with pytest.raises(TypeError, match=r"is no place for a store; give a folder or a URL"):
                write_survey(runs, grid, place, dry_run=dry_run, **OPTIONS)
    with pytest.raises(TypeError, match="must be runs of a store"):
        write_survey("runs", grid, tmp_path / "a.zarr", **OPTIONS)
    assert not (tmp_path / "a.zarr").exists()


def test_a_single_run_is_a_survey_of_one(grid, tmp_path):
    run = xg.open_store(sample_path("survey")).observations[0]
    assert write_survey(run, grid, tmp_path / "a.zarr", dry_run=True, stack=True, **OPTIONS).n_runs == 1
    assert write_survey(run, grid, tmp_path / "a.zarr", **OPTIONS).n_written > 0
    assert_same(tmp_path / "a.zarr", xg.reduce([run], grid, **OPTIONS))
