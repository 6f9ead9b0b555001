"""Reduction, ring background and excess maps beside gammapy: the same work, in turn, each in a process of its own.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks -s``, the interpreter of an environment with
gammapy 2.1. Times are those of the work without imports; ratios of medians are what counts.
"""

from __future__ import annotations

import sys

import pytest
from beside import peer, run_work, table

ROUNDS = 5


@pytest.mark.parametrize("selection", ["maps", "all"])
def test_ring_map_beside_gammapy(selection, gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "ring_xgamma.py", selection))
        theirs.append(run_work(python, "ring_gammapy.py", selection))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table(f"{ours[0]['runs']} runs, {selection}", ours, theirs)
    # no test fails on a clock: what must hold is that both did the same work
    assert ours[0]["check"] == pytest.approx(theirs[0]["check"], abs=1e-4)
