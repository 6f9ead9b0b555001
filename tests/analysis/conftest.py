"""A small analysis of the sample survey."""

from __future__ import annotations

import pytest
from small_analysis import SMALL, merged


@pytest.fixture
def small():
    """Function that gives the small configuration with changes, as nested dicts."""
    return lambda **change: merged(SMALL, change)
