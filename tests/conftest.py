"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from astropy.utils import iers
from hypothesis import settings

# how long one example takes says more about the machine than about the code
settings.register_profile("xgamma", deadline=None)
settings.load_profile("xgamma")

# several folders have a conftest.py; as a source of examples they would clash by their name
# programs that run in gammapy's environment are no tests
collect_ignore_glob = ["conftest.py", "*/conftest.py", "*/peer_*.py"]

# no test fetches anything: the tables of earth rotation are those that come with astropy
iers.conf.auto_download = False

# no window opens in a test; set before matplotlib is imported by anybody
os.environ.setdefault("MPLBACKEND", "Agg")

#: Where the public data sets lie in a developer's checkout, if GAMMAPY_DATA does not say.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "gammapy-data"


def find_gammapy_data() -> Path | None:
    """Return the folder of the public data sets, None where there is none."""
    candidates = [os.environ.get("GAMMAPY_DATA"), SHARED]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


@pytest.fixture(scope="session")
def gammapy_data() -> Path:
    """Folder of the public data sets; the test is skipped where it is absent."""
    path = find_gammapy_data()
    if path is None:
        pytest.skip("needs the public data sets: set GAMMAPY_DATA, or run `xgamma download`")
    os.environ.setdefault("GAMMAPY_DATA", str(path))
    return path


@pytest.fixture(scope="session")
def gammapy_python() -> str:
    """Interpreter of an environment with gammapy 2.1; the test is skipped where none is named."""
    python = os.environ.get("XGAMMA_GAMMAPY_PYTHON")
    if not python:
        pytest.skip("needs gammapy: set XGAMMA_GAMMAPY_PYTHON to the python of an environment that has it")
    return python
