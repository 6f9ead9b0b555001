"""Light curves of the flare of PKS 2155-304 beside gammapy: run by run and in 10 minutes, from raw runs and spectra.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_light_curve.py -s``, the interpreter
of an environment with gammapy 2.1. Both programs do the same steps, in a process of its own, and load their libraries
before the clock. "CPU" is the time of all cores, which other programs on the machine change little.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from beside import peer, run_work, table

ROUNDS = 3


def test_flare_beside_gammapy(gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "light_curve_xgamma.py"))
        theirs.append(run_work(python, "light_curve_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table("Flare of PKS 2155-304, 15 runs, 59 parts", ours, theirs)
    # no test fails on a clock: what must hold is that both did the same work
    mine, other = ours[0]["check"], theirs[0]["check"]
    assert mine["parts"] == other["parts"] == 59
    assert mine["counts"] == other["counts"]
    for name in ("short", "runs"):
        norm, expected, error = (
            np.array(v) for v in (mine[f"{name} norm"], other[f"{name} norm"], other[f"{name} norm_err"])
        )
        assert np.abs((norm - expected) / error).max() < 0.1
        assert mine[f"{name} norm_ul"] == pytest.approx(other[f"{name} norm_ul"], rel=1e-6)
