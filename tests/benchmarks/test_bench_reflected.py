"""Spectra with reflected regions beside gammapy: the same work, in turn, each in a process of its own.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks -s``, the interpreter of an environment with
gammapy 2.1. CPU times without imports, on one core; ``first`` is in a new process, ``again`` with what that left.
"""

from __future__ import annotations

import sys

from beside import peer, run_work, table

ROUNDS = 5


def test_reflected_regions_beside_gammapy(gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "reflected_xgamma.py"))
        theirs.append(run_work(python, "reflected_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table("four runs, reflected regions", ours, theirs)
    # no test fails on a clock: what must hold is that both did the same work
    assert ours[0]["check"] == theirs[0]["check"]
