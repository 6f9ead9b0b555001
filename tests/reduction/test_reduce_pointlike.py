"""Point-like responses on a map: the exposure comes with a warning, a background is missing in words."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg


@pytest.mark.real_data
def test_point_like_runs_warn_and_lack_a_background(gammapy_data):
    runs = xg.open_store(gammapy_data / "magic/rad_max/data").observations
    energy = xg.energy_axis("0.1 TeV", "10 TeV", nbin=2)
    grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.1 deg", energy=energy, energy_true=energy)
    with pytest.raises(ValueError, match=r"\['bkg'\] are missing"):
        xg.reduce(runs, grid)
    cube = xg.reduce(runs, grid, selection=["counts", "exposure"])
    with pytest.warns(UserWarning, match="point-like selection"):
        total = float(cube.compute(scheduler="sync").exposure.max())
    assert total > 0


@pytest.mark.real_data
def test_points_further_than_offset_max_need_no_radius(gammapy_data):
    """MAGIC's responses hold at one offset; a list of sources holds others, which a run does not look at."""
    runs = xg.open_store(gammapy_data / "magic/rad_max/data").observations
    energy, true = (xg.energy_axis("0.1 TeV", "10 TeV", nbin=4, name=n) for n in ("energy", "energy_true"))
    points = ["icrs;point(83.63333, 22.01444)", "icrs;point(86, 22)"]
    background = xg.WobbleRegions(3)
    both = xg.region_grid(points, energy=energy, energy_true=true)
    cube = xg.reduce(runs, both, background=background, offset_max="1 deg", stack=False).load()
    alone = xg.reduce(
        runs, xg.region_grid(points[0], energy=energy, energy_true=true), background=background, stack=False
    ).load()
    np.testing.assert_array_equal(cube.counts.isel(region=0), alone.counts)
    np.testing.assert_array_equal(cube.counts_off.isel(region=0), alone.counts_off)
    assert not cube.mask_safe.isel(region=1).any()
    assert not cube.counts.isel(region=1).any()
    with pytest.raises(ValueError, match=r"lies \d\.\d+ deg from the pointing, its point-like responses hold from"):
        xg.reduce(runs, both, background=background, offset_max="3 deg", stack=False).load()
