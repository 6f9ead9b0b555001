"""Reduction, ring background and excess maps beside gammapy: the same work, in turn, each in a process of its own.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks -s``, the interpreter of an environment with
gammapy 2.1. Times are those of the work without imports; ratios of medians are what counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

WORKS = Path(__file__).parent / "works"
ROUNDS = 5


def run_work(python: str, script: str, *args: str) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if "gammapy" in script else dict(os.environ)
    done = subprocess.run(
        [python, str(WORKS / script), *args], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("selection", ["maps", "all"])
def test_ring_map_beside_gammapy(selection, gammapy_data, benchmark, capsys):
    peer = os.environ.get("XGAMMA_GAMMAPY_PYTHON")
    if not peer:
        pytest.skip("set XGAMMA_GAMMAPY_PYTHON to an interpreter with gammapy 2.1")
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "ring_xgamma.py", selection))
        theirs.append(run_work(peer, "ring_gammapy.py", selection))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    rows = []
    for step in ("reduce", "ring", "excess"):
        a, b = (statistics.median(float(r["seconds"][step]) for r in results) for results in (ours, theirs))
        rows.append((step, a, b, b / a))
    peaks = [statistics.median(float(r["peak_mib"]) for r in results) for results in (ours, theirs)]
    rows.append(("peak memory (MiB)", *peaks, peaks[1] / peaks[0]))
    benchmark.extra_info["ratios"] = {row[0]: round(row[3], 2) for row in rows}
    with capsys.disabled():
        print(f"\nselection={selection}, medians of {ROUNDS}, {ours[0]['runs']} runs")
        for name, a, b, ratio in rows:
            print(f"  {name:20} xgamma {a:8.3f}   gammapy {b:8.3f}   ratio {ratio:6.1f}")
    # no test fails on a clock: what must hold is that both did the same work
    assert ours[0]["check"] == pytest.approx(theirs[0]["check"], abs=1e-4)
