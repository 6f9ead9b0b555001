"""Running the scripts in ``works`` in turn, each in a process of its own, and printing their ratios."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKS = Path(__file__).parent / "works"
ROOT = Path(__file__).resolve().parents[2]


def peer() -> str:
    """Interpreter with gammapy 2.1; the benchmark is skipped where none is named."""
    python = os.environ.get("XGAMMA_GAMMAPY_PYTHON")
    if not python:
        pytest.skip("set XGAMMA_GAMMAPY_PYTHON to an interpreter with gammapy 2.1")
    return python


def run_work(python: str, script: str, *args: str) -> dict[str, Any]:
    """Run a script and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} if python == sys.executable else dict(os.environ)
    command = [python, str(WORKS / script), *args]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def table(title: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """Print medians and ratios, return the ratios (gammapy over xgamma)."""
    rows = []
    for step in theirs[0]["seconds"]:
        a, b = (statistics.median(r["seconds"][step] for r in results) for results in (ours, theirs))
        rows.append((f"{step} (s)", a, b))
    rows.append(
        ("peak memory (MiB)", *(statistics.median(r["peak_mib"] for r in results) for results in (ours, theirs)))
    )
    print(f"\n{title}, medians of {len(ours)}")
    for name, a, b in rows:
        print(f"  {name:24} xgamma {a:9.3f}   gammapy {b:9.3f}   ratio {b / a:6.1f}")
    return {name: round(b / a, 2) for name, a, b in rows}
