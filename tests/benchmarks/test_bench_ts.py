"""TS maps beside gammapy: the Fermi cube of the Galactic centre, as a cube with energy bins and as an image.

Run with ``XGAMMA_GAMMAPY_PYTHON=/path/to/python pytest tests/benchmarks/test_bench_ts.py -s``. Times are those of the
work without imports and after one call that compiles or reads what was compiled; that call stands beside as ``first``.
"""

from __future__ import annotations

import sys

import pytest
from beside import peer, run_work, table

ROUNDS = 3


@pytest.mark.parametrize("kind", ["cube", "image"])
def test_ts_map_beside_gammapy(kind, gammapy_data, benchmark, capsys):
    python = peer()
    ours, theirs = [], []

    def both() -> None:
        ours.append(run_work(sys.executable, "ts_xgamma.py", kind))
        theirs.append(run_work(python, "ts_gammapy.py", kind))

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    with capsys.disabled():
        benchmark.extra_info["ratios"] = table(f"400 x 200 pixels, {kind}", ours, theirs)
        print(f"  first call of xgamma in a process: {ours[0]['first']:.2f} s")
    # what must hold is that both did the same work: kernels differ by a percent
    assert ours[0]["check"] == pytest.approx(theirs[0]["check"], rel=0.02)
