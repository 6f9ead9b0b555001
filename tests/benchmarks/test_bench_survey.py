"""A strip of the Galactic plane, reduced to disk, beside gammapy's stack in memory; see test_bench_ring.py."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from beside import peer, run_work, table

ROUNDS = 3


def timed(*command: str) -> dict[str, Any]:
    """Run a work, with the time of its whole process: imports, and the start of a cluster."""
    start = time.perf_counter()
    result = run_work(*command)
    result["seconds"]["whole program"] = time.perf_counter() - start
    return result


@pytest.mark.parametrize("scheduler", ["threads", "cluster"])
def test_survey_beside_gammapy(scheduler, gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(timed(sys.executable, "survey_xgamma.py", scheduler))
        theirs.append(timed(python, "survey_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table(f"{ours[0]['runs']} runs, 3000 x 500 x 12, {scheduler}", ours, theirs)
    assert ours[0]["check"]["counts"] == theirs[0]["check"]["counts"]
    for name in ("background", "exposure"):
        assert ours[0]["check"][name] == pytest.approx(theirs[0]["check"][name], rel=1e-6)
