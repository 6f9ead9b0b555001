"""Point-like responses on a map: the exposure comes with a warning, a background is missing in words."""

from __future__ import annotations

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
