"""Dry runs, the size of graphs, the log of tiles, and progress."""

from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from survey_driver import OPTIONS

import xgamma as xg
from xgamma.dl3.index import HduLocation
from xgamma.dl3.observation import Observation
from xgamma.io.cube import prepare
from xgamma.io.marker import read_log
from xgamma.io.pieces import pieces_of
from xgamma.io.resume import Written
from xgamma.reduction.plan import PROCESS_BYTES, SurveyPlan, plan_survey
from xgamma.reduction.production import write_survey


@pytest.fixture
def runs():
    return xg.open_store(xg.sample_path("survey")).observations


def imaginary_runs(number: int, width: float = 96.0, height: float = 16.0) -> list[Observation]:
    """Runs along the Galactic plane whose files do not exist: whoever reads one fails."""
    rng = np.random.default_rng(1)
    position = SkyCoord(
        rng.uniform(-0.5, 0.5, number) * width,
        rng.uniform(-0.5, 0.5, number) * height,
        unit="deg",
        frame="galactic",
    ).icrs
    kinds = {
        "events": "events",
        "gti": "gti",
        "aeff": "aeff_2d",
        "edisp": "edisp_2d",
        "psf": "psf_table",
        "bkg": "bkg_3d",
    }
    return [
        Observation(
            k,
            tuple(HduLocation(t, c, f"nowhere/run_{k:06d}.fits", t.upper()) for t, c in kinds.items()),
            (("ra_pnt", float(ra)), ("dec_pnt", float(dec)), ("obs_mode", "POINTING")),
        )
        for k, (ra, dec) in enumerate(zip(position.ra.deg, position.dec.deg, strict=True))
    ]


def plane(binsize: str = "0.02 deg"):
    energy = xg.energy_axis("0.5 TeV", "20 TeV", nbin=12)
    true = xg.energy_axis("0.3 TeV", "30 TeV", nbin=16, name="energy_true")
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    return xg.sky_grid(center, ("100 deg", "20 deg"), binsize, frame="galactic", energy=energy, energy_true=true)


OPTIONS_OF_PLANE = {"offset_max": "2.5 deg", "safe_mask": ["offset-max", "aeff-default"]}


def test_ten_thousand_runs_on_a_hundred_tiles_make_a_small_graph():
    """Work grows with pairs of tile and run, but 32 of them share a task; nothing is read."""
    grid = plane("0.1 deg")
    options = {**OPTIONS_OF_PLANE, "chunks": {"y": 40, "x": 50}}
    sizes = {n: plan_survey(imaginary_runs(n), grid, **options) for n in (1000, 10_000)}
    plan = sizes[10_000]
    assert (plan.n_runs, plan.n_tiles) == (10_000, 100)
    assert plan.n_pairs > 20_000
    # (pairs / 32 + a rest a tile) to reduce and a seventh of it to add; a tile has four variables and a piece; for the
    # numbers of 32 runs there is a task that reads, and two for each of the four
    assert plan.n_tasks < 1.2 * plan.n_pairs / 32 + 100 * 9 + 10 * 10_000 / 32
    assert plan.n_tasks < 7 * sizes[1000].n_tasks


def test_every_pair_is_in_the_plan():
    grid = plane("0.1 deg")
    runs = imaginary_runs(200)
    plan = plan_survey(runs, grid, chunks={"y": 100, "x": 250}, **OPTIONS_OF_PLANE)
    alone = [plan_survey([run], grid, chunks={"y": 100, "x": 250}, **OPTIONS_OF_PLANE).n_pairs for run in runs[:40]]
    assert sum(alone) <= plan.n_pairs <= 200 * max(alone)
    assert plan_survey(runs[:40], grid, chunks={"y": 100, "x": 250}, **OPTIONS_OF_PLANE).n_pairs == sum(alone)


def test_a_dry_run_reads_and_computes_nothing(tmp_path):
    def refuse(*args, **kwargs):
        msg = "something was computed"
        raise AssertionError(msg)

    with dask.config.set(scheduler=refuse):
        plan = write_survey(imaginary_runs(50), plane(), tmp_path / "a.zarr", dry_run=True, **OPTIONS_OF_PLANE)
    assert isinstance(plan, SurveyPlan)
    assert plan.seconds is None
    assert "calibrate" in str(plan)
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_the_plan_are_those_of_the_survey(runs, survey_grid, undisturbed):
    plan = plan_survey(runs, survey_grid, **OPTIONS)
    log = read_log(undisturbed)
    assert plan.n_runs == 12
    assert plan.n_tiles == plan.n_touched == 9
    assert plan.n_pieces == log.sizes["piece"] == 10
    assert plan.n_pairs == int(log.runs.sum())
    # scalars of the runs are as long as their number, and in the log with their piece
    assert plan.bytes_on_disk == int(log.bytes.sum())


def test_memory_is_right_to_a_factor_of_two(runs, tmp_path):
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=12)
    true = xg.energy_axis("0.3 TeV", "30 TeV", nbin=12, name="energy_true")
    center = SkyCoord(150.6, -24.5, unit="deg")
    grid = xg.sky_grid(center, ("6 deg", "6 deg"), "0.02 deg", energy=energy, energy_true=true)
    options = {**OPTIONS_OF_PLANE, "chunks": {"y": 150, "x": 150}}
    plan = plan_survey(runs, grid, **options)
    with dask.config.set(scheduler="synchronous"):
        # libraries and responses that stay
        write_survey(runs[:1], grid, tmp_path / "first.zarr", **options)
        tracemalloc.start()
        try:
            write_survey(runs, grid, tmp_path / "a.zarr", **options)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    expected = (plan.memory_per_worker - PROCESS_BYTES) / plan.threads_per_worker
    assert 0.5 < peak / expected < 2.0


def test_the_time_is_that_of_a_pair_times_their_number(runs, survey_grid):
    plan = plan_survey(runs, survey_grid, calibrate=2, **OPTIONS)
    assert 0 < plan.seconds_per_pair < 30
    expected = (plan.n_pairs * plan.seconds_per_pair + plan.n_tasks * 1e-3) / plan.n_threads
    assert plan.seconds == pytest.approx(expected, abs=1e-3)
    assert "ms a pair" in str(plan)
    for number in (-1, 2.5, "2", True):
        with pytest.raises(ValueError, match=f"calibrate={number!r} must be a whole number of runs"):
            plan_survey(runs, survey_grid, calibrate=number, **OPTIONS)
    for radius in ("-1 deg", "0 deg"):
        with pytest.raises(ValueError, match=r"kernel_radius=.* must be one positive angle"):
            plan_survey(runs, survey_grid, kernel_radius=radius, **OPTIONS)
    with pytest.raises(ValueError, match="dtype='int8' cannot hold maps"):
        plan_survey(runs, survey_grid, dtype="int8", **OPTIONS)


def test_warnings_in_words(runs, survey_grid, monkeypatch):
    from xgamma.reduction import plan as module

    small = {**OPTIONS, "chunks": {"y": 6, "x": 6}}
    words = " ".join(plan_survey(runs, survey_grid, kernel_radius="0.5 deg", **small).warnings)
    assert "tiles of 6 x 6 pixels (0.6 deg) are small beside the kernel of 0.5 deg" in words
    assert "give chunks of at least 10 pixels" in words
    assert "its files are opened for each" in words
    assert plan_survey(runs, survey_grid, kernel_radius="0.5 deg", **OPTIONS).warnings == ()
    monkeypatch.setattr(module, "MOST_TASKS", 50)
    monkeypatch.setattr(module, "_workers", lambda: (64, 64, 2**28))
    words = " ".join(plan_survey(runs, survey_grid, **OPTIONS).warnings)
    assert "keep the scheduler busier than the workers (more than 50)" in words
    assert "a worker needs about" in words
    assert "may have 256 MiB" in words
    assert "and 64 threads; smaller chunks let all work" in words


def test_the_log_of_a_survey(runs, survey_grid, undisturbed, tmp_path):
    log = read_log(undisturbed)
    assert log.done.all()
    sky = log.sel(piece=[p for p in log.piece.values if p.startswith("sky")])
    pieces = {p.name: p for p in pieces_of(prepare(xg.reduce(runs, survey_grid, **OPTIONS)))}
    assert [int(n) for n in sky.runs] == [pieces[p].runs for p in sky.piece.values]
    assert (sky.seconds > 0).all()
    assert (sky.write_seconds > 0).all()
    assert (sky.bytes > 0).all()
    assert (np.diff(np.sort(sky.time.values)) >= 0).all()
    assert set(sky.host.values.tolist()) != {""}
    assert log.seconds.attrs["units"] == "s"
    xg.reduce(runs, survey_grid, **OPTIONS).gamma.to_zarr(tmp_path / "plain.zarr")
    for path in (tmp_path / "plain.zarr", tmp_path / "none.zarr"):
        with pytest.raises(FileNotFoundError, match="no store that was written piece by piece"):
            read_log(path)


def test_progress_without_a_terminal_is_a_line_for_each_tenth(runs, survey_grid, tmp_path, capsys):
    fine = {**OPTIONS, "chunks": {"y": 10, "x": 10}}
    written = write_survey(runs, survey_grid, tmp_path / "a.zarr", progress=True, **fine)
    assert isinstance(written, Written)
    lines = capsys.readouterr().out.splitlines()
    assert 5 < len(lines) <= 10
    assert lines[-1].startswith(f"writing {written.n_pieces}/{written.n_pieces} after 0:0")
    assert "left" in lines[0]


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    from xgamma.io.progress import _bar

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with _bar(3, True) as advance:
        for _ in range(3):
            advance()
    assert "3/3" in capsys.readouterr().out
