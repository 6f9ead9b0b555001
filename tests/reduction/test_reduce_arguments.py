"""Slips in the arguments of `reduce` are named."""

from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chunks": 10}, "chunks=10 must be a mapping"),
        ({"grid": None}, "must be a grid from xgamma.sky_grid"),
        ({"observations": "foo"}, "must be runs of a store"),
        ({"observations": [1, 2]}, "1 is not a run"),
        ({"observations": 3}, "must be runs of a store"),
    ],
)
def test_wrong_types_are_named(change, words):
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    arguments = {
        "observations": xg.open_store(xg.sample_path("survey")).observations,
        "grid": xg.sky_grid(SkyCoord(150.6, -24.5, unit="deg"), "1 deg", "0.1 deg", energy=energy, energy_true=energy),
        **change,
    }
    with pytest.raises(TypeError, match=words):
        xg.reduce(**arguments)
