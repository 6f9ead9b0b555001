"""Settings for the examples in the docstrings; not part of the installed package."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from astropy.utils import iers

# as a source of examples a conftest.py would clash with others by its name
collect_ignore_glob = ["conftest.py"]

# no example fetches anything: the tables of earth rotation are those that come with astropy
iers.conf.auto_download = False

# no window opens in an example; set before matplotlib is imported by anybody
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _doctest_environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Examples print the same numbers everywhere and leave no files behind."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    monkeypatch.chdir(tmp_path_factory.mktemp("doctest"))
    with np.printoptions(precision=8, suppress=False, threshold=1000, linewidth=75):
        yield
