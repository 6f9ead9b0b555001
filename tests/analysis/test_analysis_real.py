"""Configurations that users have, on the public data."""

from __future__ import annotations

import numpy as np
import pytest
from test_analysis_config import GAMMAPY, OLDER

import xgamma as xg
from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import read_config

pytestmark = pytest.mark.real_data


@pytest.fixture
def gammapy_env(gammapy_data, monkeypatch):
    monkeypatch.setenv("GAMMAPY_DATA", str(gammapy_data))


def test_ring_background_of_msh_15_52(gammapy_env, tmp_path):
    """The configuration that gammapy's tutorial prints, with the ring in it, gives the tutorial's numbers."""
    ring = "{method: ring, parameters: {r_in: 0.5 deg, width: 0.3 deg}, exclusion: ['icrs;circle(228.32,-59.08,0.4)']}"
    text = GAMMAPY.replace("{method: null, exclusion: null, parameters: {}}", ring)
    text = text.replace("{min: 0.5 TeV, max: 20.0 TeV, nbins: 16}", "{min: 0.5 TeV, max: 10.0 TeV, nbins: 10}")
    analysis = Analysis(read_config(text))
    assert len(analysis.observations) == 20
    result = analysis.run(tmp_path)
    numbers = {str(n): float(v) for n, v in result.info.data_vars.items()}
    assert numbers["counts"] == 41803
    assert f"{numbers['background']:.2f}" == "40671.90"
    assert f"{numbers['excess']:.2f}" == "1131.10"
    assert f"{numbers['acceptance']:.0f}" == "44755"
    # the tutorial adds in single precision
    assert numbers["counts_off"] == pytest.approx(87621184, rel=1e-6)
    assert numbers["acceptance_off"] == pytest.approx(96374320, rel=1e-6)
    assert f"{numbers['exposure_min']:.2e} {numbers['exposure_max']:.2e}" == "1.15e+09 1.33e+10"
    assert numbers["n_bins"] == numbers["n_fit_bins"] == 22500
    maps = xg.open_cube(result.files["maps"]).load()
    outside = maps.sqrt_ts.where(analysis.exclusion(maps))
    assert abs(float(outside.mean())) < 0.2
    assert float(outside.std()) == pytest.approx(1, abs=0.15)


def test_three_runs_of_cta_1dc(gammapy_env):
    """The older layout with its field-of-view background gives the numbers that its page shows."""
    analysis = Analysis(read_config(OLDER))
    cube = analysis.reduce()
    assert set(cube.data_vars) >= {"counts", "background", "exposure", "psf", "edisp"}
    cube = cube.drop_vars(["psf", "edisp", "irf_exposure"]).load()
    numbers = xg.info(cube)
    assert cube.attrs["name"] == "stacked"
    # the page adds in single precision, and shows 85624.99
    assert float(numbers.background) == pytest.approx(85625, rel=1e-12)
    # gammapy 2.1, FoVBackgroundMaker("scale") run by run, positions of events as float64; its maps are float32
    peer = [1.1180265031348333, 1.1072915143286817, 1.1061032849686072]
    np.testing.assert_allclose(cube.fov_norm, peer, rtol=1e-7)
    assert (float(numbers.counts), int(numbers.n_bins), int(numbers.n_fit_bins)) == (85625, 120000, 96602)
    assert f"{float(numbers.exposure_min):.2e} {float(numbers.exposure_max):.2e}" == "1.57e+08 1.87e+10"
    maps = analysis.excess_map(cube).load()
    np.testing.assert_array_equal(np.isfinite(maps.sqrt_ts), cube.mask_safe)
