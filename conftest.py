"""Settings for the tests and for the examples in the docstrings."""

from __future__ import annotations

import os

import numpy as np
import pytest
from astropy.utils import iers
from hypothesis import settings

# how long one example takes says more about the machine than about the code
settings.register_profile("xgamma", deadline=None)
settings.load_profile("xgamma")

# several folders have a conftest.py; as a source of examples they would clash by their name
collect_ignore_glob = ["conftest.py", "*/conftest.py"]

# no test fetches anything: the tables of earth rotation are those that come with astropy
iers.conf.auto_download = False

# no window opens in a test; set before matplotlib is imported by anybody
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _doctest_environment(request, tmp_path_factory, monkeypatch):
    """Examples print the same numbers everywhere and leave no files behind."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    monkeypatch.chdir(tmp_path_factory.mktemp("doctest"))
    with np.printoptions(precision=8, suppress=False, threshold=1000, linewidth=75):
        yield
