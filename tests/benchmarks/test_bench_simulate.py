"""Events of a CTA run from models beside gammapy's MapDatasetEventSampler, each in a process of its own.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_simulate.py -s``, the interpreter of
an environment with gammapy 2.1. gammapy draws from a dataset on a grid (5 x 5 deg of 0.02 deg here), which has to be
made first; xgamma draws from the responses themselves, over the whole field of view. "CPU" is the time of all cores.
"""

from __future__ import annotations

import sys

import numpy as np
from beside import peer, run_work, table

ROUNDS = 3


def test_events_beside_gammapy(gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "simulate_xgamma.py"))
        theirs.append(run_work(python, "simulate_gammapy.py"))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    mine, other = (np.array(r[0]["check"]["counts"], float) for r in (ours, theirs))
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table("Events of a CTA run, two sources and background", ours, theirs)
        print(f"  counts within 2.4 deg    xgamma {mine}   gammapy {other}")
    # no test fails on a clock: what must hold is that both drew from the same expectation (gammapy takes the
    # background at the centres of its bins of energy and pixels: a percent)
    assert (np.abs(mine - other) < 5 * np.sqrt(mine + other) + 0.02 * mine).all()
