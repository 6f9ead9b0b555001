"""What streaming a stored survey takes: measured in processes of their own, small editions of the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "benchmarks" / "works" / "stream_sum.py"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")]


def run(*args):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, args)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def test_sum_over_energy_takes_less_than_the_cube():
    rows = run("--megabytes", 200, "--no-maps", "--json")
    assert [r["way"] for r in rows] == ["xarray.open_zarr", "engine='xgamma'", "xgamma.open_cube"]
    assert len({r["sum"] for r in rows}) == 1
    # importing everything takes 170 MiB, all of the cube 190 MiB
    assert max(r["peak_mib"] for r in rows) < 300


def test_maps_per_energy_take_less_than_their_tiles(tmp_path):
    path = tmp_path / "cube.zarr"
    run("--make", path, 1500, 500, 12, 500, 1)
    # two threads, six maps of 24 MB a tile: 288 MB if all were held at once, and far more with sums and halos
    assert run("--measure", path, "excess_map")["peak_mib"] < 500
