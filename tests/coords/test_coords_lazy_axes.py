"""Edges that `Dataset.chunk` has turned into Dask arrays are read from their index."""

from __future__ import annotations

import dask
import numpy as np
import pytest

import xgamma as xg
from xgamma.coords.bins import bin_edges


def refuse(*args: object, **kwargs: object) -> None:
    pytest.fail("something was computed")


def test_edges_of_a_chunked_cube_are_not_computed():
    energy = xg.energy_axis("1 TeV", "100 TeV", nbin=4)
    cube = energy.rename("counts").to_dataset().chunk(energy=1)
    assert cube["energy_min"].chunks is not None
    with dask.config.set(scheduler=refuse):
        edges = bin_edges(cube, "energy")
    np.testing.assert_allclose(edges, np.geomspace(1, 100, 5))
