"""Three CTA runs on the Galactic centre beside gammapy: reduction with field-of-view background, fits of maps.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_maps.py -s``, the interpreter of
an environment with gammapy 2.1. Each program runs in a process of its own, and loads its libraries before the clock.
"CPU" is the time of all cores, which other programs on the machine change little; "again" is a second fit in the same
process. The peak of memory is that of reduction and first fit.
"""

from __future__ import annotations

import sys

import pytest
from beside import peer, run_work, table

ROUNDS = 3
#: Size of the pixels in degrees.
PIXEL = 0.02
#: Bins that take part in the fits.
BINS = {"image": 96602, "cube": 966020}


@pytest.mark.parametrize("what", ["image", "cube"])
def test_maps_beside_gammapy(what, gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "maps_xgamma.py", what))
        theirs.append(run_work(python, "maps_gammapy.py", what))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    mine, other = ours[0]["check"], theirs[0]["check"]
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table(f"Galactic centre, 3 runs, {what}", ours, theirs)
        print(f"  evaluations              xgamma {mine['evaluations']:9}   gammapy {other['evaluations']:9}")
    # no test fails on a clock: what must hold is that both did the same work
    assert mine["counts"] == other["counts"]
    assert mine["bins"] == other["bins"] == BINS[what]
    # gammapy divides a point among four pixels: its statistic has several minima, within a pixel of each other
    assert mine["stat"] == pytest.approx(other["stat"], abs=10.0)
    for name, (value, error) in mine["values"].items():
        assert abs(value - other["values"][name][0]) < (PIXEL if name in ("lon_0", "lat_0") else error), name
