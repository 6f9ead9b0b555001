"""Programs of the kind that users write, run as they stand: public names, command line, numbers on real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

#: Where programs lie in a developer's checkout.
PROGRAMS = Path(__file__).resolve().parents[2] / "shared" / "programs"
DATA = Path(__file__).with_name("data")

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def ring(gammapy_data, tmp_path_factory):
    """Result of the ring analysis of MSH 15-52: numbers, and its last significance map."""
    program = PROGRAMS / "ring_background_map.py"
    if not program.is_file():
        pytest.skip("needs the example programs beside the repository")
    output = tmp_path_factory.mktemp("ring") / "result.json"
    environment = os.environ | {"GAMMAPY_DATA": str(gammapy_data)}
    command = [sys.executable, "-W", "error", str(program), str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text()), np.load(f"{output}.sqrt_ts.npy")


def test_numbers_of_the_ring_analysis(ring):
    # gammapy 2.1: MapDatasetOnOff.info_dict() of the stacked dataset, float32 maps
    result, _ = ring
    info = result["info"]
    assert result["n_obs"] == 20
    assert info["counts"] == result["counts_sum"] == 41803
    assert info["background"] == pytest.approx(40671.90, abs=0.01)
    assert info["excess"] == pytest.approx(1131.10, abs=0.01)
    assert info["acceptance"] == pytest.approx(44755, abs=0.5)
    # sums of 22500 float32 numbers: 87621184 there, whole numbers here
    assert info["counts_off"] == pytest.approx(87621184, rel=1e-7)
    assert info["acceptance_off"] == pytest.approx(96374320, rel=1e-6)
    assert info["exposure_min"] == pytest.approx(1.15e9, rel=0.005)
    assert info["exposure_max"] == pytest.approx(1.33e10, rel=0.005)
    assert info["n_bins"] == info["n_fit_bins"] == 22500
    # gammapy 2.1: sums in float64 over the float32 maps
    assert result["background_sum"] == pytest.approx(40671.89932626486, rel=1e-7)
    assert result["acceptance_sum"] == pytest.approx(44754.76198357344, rel=1e-6)
    assert result["counts_off_sum"] == pytest.approx(87621188.0, rel=1e-9)
    assert result["acceptance_off_sum"] == pytest.approx(96374323.43395996, rel=1e-6)


def test_significance_of_the_ring_analysis(ring):
    result, sqrt_ts = ring
    with np.load(DATA / "ring_msh1552.npz") as reference:
        small, large = reference["sqrt_ts_0.04"], reference["sqrt_ts_0.1"]
    np.testing.assert_allclose(sqrt_ts, large, rtol=0, atol=1e-4)
    assert result["0.1 deg"]["sqrt_ts_max"] == pytest.approx(float(large.max()), abs=1e-4)
    assert result["0.04 deg"]["sqrt_ts_max"] == pytest.approx(float(small.max()), abs=1e-4)
    # 0.04 and 0.1 deg: correlated pixels, a source that the exclusion does not hold entirely
    for radius, mean, width in (("0.04 deg", 0.03, 0.05), ("0.1 deg", 0.08, 0.12)):
        measured = result[radius]["sqrt_ts_outside_mean_std"]
        assert measured[0] == pytest.approx(0, abs=mean)
        assert measured[1] == pytest.approx(1, abs=width)
    lon, lat = result["0.1 deg"]["peak_lon_lat"]
    # the pulsar wind nebula, elongated over 0.2 deg
    assert np.hypot((lon - 228.53) * np.cos(np.deg2rad(lat)), lat + 59.16) < 0.05


def test_significance_at_both_radii(gammapy_data):
    """The calls of the program, for the map that it does not write."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from regions import CircleSkyRegion

    import xgamma as xg

    target = SkyCoord(228.32, -59.08, unit="deg")
    observations = xg.open_store(gammapy_data / "hess-dl3-dr1").select(cone=(target, "2.5 deg"))
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10)
    grid = xg.sky_grid(center=target, width="3 deg", binsize="0.02 deg", energy=energy, energy_true=energy)
    runs = xg.reduce(observations, grid, offset_max="2.5 deg", safe_mask="aeff-default", stack=False)
    image = runs.gamma.to_image()
    exclusion = ~image.gamma.region_mask(CircleSkyRegion(target, 0.4 * u.deg))
    onoff = image.gamma.ring_background(r_in="0.5 deg", width="0.3 deg", exclusion=exclusion)
    stacked = onoff.gamma.stack("obs").load()
    with np.load(DATA / "ring_msh1552.npz") as reference:
        for radius in ("0.04", "0.1"):
            maps = stacked.gamma.excess_map(radius=f"{radius} deg")
            np.testing.assert_allclose(maps.sqrt_ts.squeeze(), reference[f"sqrt_ts_{radius}"], rtol=0, atol=1e-4)
