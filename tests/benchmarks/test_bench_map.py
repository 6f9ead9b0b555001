"""Fits of maps beside gammapy: an image, and a cube of ten energies, each program in a process of its own.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_map.py -s``, the interpreter of an
environment with gammapy 2.1. "CPU" is the time of all cores, which other programs on the machine change little;
"again" is a second fit in the same process.
"""

from __future__ import annotations

import sys

import pytest
from beside import peer, run_work, table

ROUNDS = 3


def test_maps_beside_gammapy(gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "map_xgamma.py"))
        theirs.append(run_work(python, "map_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table("Galactic centre, 3 runs", ours, theirs)
    mine, other = ours[0]["check"], theirs[0]["check"]
    for name in ("image", "cube"):
        assert mine[name]["counts"] == other[name]["counts"] == 85625
        # gammapy divides a point among four pixels, which broadens it: another statistic, by about 4
        assert mine[name]["stat"] == pytest.approx(other[name]["stat"], abs=6)
        for key in ("lon_0", "lat_0", "amplitude"):
            difference = mine[name]["values"][f"source.{key}"] - other[name]["values"][key]
            assert abs(difference) < 1.5 * mine[name]["errors"][f"source.{key}"]
