"""Flux profiles of the Galactic centre beside gammapy: 49 boxes, and 10 rings in two bands with likelihood profiles.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_profiles.py -s``, the interpreter of
an environment with gammapy 2.1. Both programs hold the same cube in memory, make the same quantities of the same
regions, and load their libraries before the clock. "CPU" is the time of all cores; "again" is a second call in the same
process. `works/profile_survey.py` measures profiles of a survey on disk.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from beside import peer, run_work, table

ROUNDS = 3


def test_profiles_beside_gammapy(gammapy_data, benchmark, capsys):
    python = peer()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "profiles_xgamma.py"))
        theirs.append(run_work(python, "profiles_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table("fermi-3fhl-gc, 59 regions", ours, theirs)
    # no test fails on a clock: what must hold is that both did the same work
    mine, other = ({k: np.array(v) for k, v in r["check"].items()} for r in (ours[0], theirs[0]))
    np.testing.assert_array_equal(mine["counts"], other["counts"])
    # minuit with its own tolerance ends up to 0.009 of the error beside the minimum
    assert np.abs((mine["norm"] - other["norm"]) / mine["norm_err"]).max() < 0.01
    np.testing.assert_allclose(mine["norm_ul"], other["norm_ul"], rtol=1e-6)
    np.testing.assert_allclose(mine["stat_scan"], other["stat_scan"], rtol=1e-5, atol=1e-4)
    assert mine["ring_norm"].shape == (20,)
    assert other["ring_norm"].size == 20
