"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
