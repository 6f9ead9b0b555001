"""Spectrum of the Crab nebula beside gammapy: reduction, joint fit, flux points, each program in a process of its own.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_spectra.py -s``, the interpreter of
an environment with gammapy 2.1. Both programs do the same steps and load their libraries before the clock. "CPU" is
the time of all cores, which other programs on the machine change little; "again" is a second call in the same process.
"""

from __future__ import annotations

import sys

import pytest
from beside import peer, run_work, table

ROUNDS = 3


def test_crab_beside_gammapy(gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "spectra_xgamma.py"))
        theirs.append(run_work(python, "spectra_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table("Crab nebula, 4 runs", ours, theirs)
    # no test fails on a clock: what must hold is that both did the same work
    mine, other = ours[0]["check"], theirs[0]["check"]
    assert mine["counts"] == other["counts"] == 550
    assert mine["stat"] == pytest.approx(other["stat"], abs=1e-3)
    assert mine["index"] == pytest.approx(other["index"], abs=1e-3)
    assert mine["ts"] == pytest.approx(other["ts"], abs=0.02)
    assert mine["ul"] == pytest.approx(other["ul"], rel=2e-3)
    assert len(mine["sensitivity"]) == len(other["sensitivity"])
