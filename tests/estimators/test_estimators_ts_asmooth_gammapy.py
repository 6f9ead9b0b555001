"""Adaptive smoothing of the Fermi cube of the Galactic centre beside gammapy 2.1's ASmoothMapEstimator, bin by bin.

With kernels at the centres of pixels, maps are equal to rounding. Known differences:

- gammapy's default kernels are means over pixels, scaled to 1 at the peak: the sum that multiplies the significance is
  0.2 to 1 % larger. Smoothed counts are the same, since there the sum cancels.
- Near the edges gammapy divides by the whole kernel, here it is the part inside the map.
- Where no scale reaches the threshold, gammapy fills in the mean of the map, here it is the widest kernel.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import xgamma as xg
from xgamma.estimators.adaptive_smooth import adaptive_smooth

SCALES = ["0.1 deg", "0.15 deg", "0.2 deg", "0.3 deg"]
#: Pixels that the widest kernel keeps inside the map.
INNER = (slice(24, -24), slice(24, -24))

#: gammapy 2.1, made by peer_gammapy_asmooth.py with kernels at the centres: pixels with a scale in the whole map, and
#: of those in the inner part the sums of counts, background, significance and scale.
SUMS: dict[str, tuple[float, ...]] = {
    "lima": (4218, 6282.8867735, 3134.3311714, 23217.62686, 828.55),
    "asmooth": (2712, 4863.8343428, 2137.4943398, 13528.715361, 560.45),
}


def smoothed(gammapy_data, method):
    cube = xg.open_cube(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz").load().drop_vars("mask_safe")
    maps = adaptive_smooth(cube, SCALES, method=method, threshold=4)
    return {n: maps[n].values[0] for n in ("counts", "background", "sqrt_ts", "scale")}


@pytest.mark.real_data
@pytest.mark.parametrize("method", list(SUMS))
def test_sums(gammapy_data, method):
    maps = smoothed(gammapy_data, method)
    found = np.isfinite(maps["scale"])
    here = np.isfinite(maps["scale"][INNER])
    number, *sums = SUMS[method]
    assert found.sum() == number
    for (name, values), expected in zip(maps.items(), sums, strict=True):
        assert values[INNER][here].sum() == pytest.approx(expected, rel=1e-9), name


@pytest.mark.gammapy
@pytest.mark.real_data
def test_pixel_by_pixel(gammapy_data, gammapy_python, tmp_path):
    program = Path(__file__).with_name("peer_gammapy_asmooth.py")
    environment = os.environ | {"GAMMAPY_DATA": str(gammapy_data)}
    command = [gammapy_python, "-W", "ignore", str(program), "out.npz"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    with np.load(tmp_path / "out.npz") as peer:
        for method in SUMS:
            maps = smoothed(gammapy_data, method)
            equal = {n: peer[f"centres_{method}_{n}"] for n in maps}
            means = {n: peer[f"means_{method}_{n}"] for n in maps}
            found = np.isfinite(maps["scale"])
            np.testing.assert_array_equal(found, np.isfinite(equal["scale"]) & (equal["scale"] > 0))
            here = np.isfinite(maps["scale"][INNER])
            for name, values in maps.items():
                np.testing.assert_allclose(values[INNER][here], equal[name][INNER][here], rtol=1e-11, err_msg=name)
            # gammapy's own kernels: counts under the same scale are equal, significances up to 1.1 % higher
            same = here & np.isclose(maps["scale"][INNER], means["scale"][INNER])
            assert same.sum() > 0.99 * here.sum()
            np.testing.assert_allclose(maps["counts"][INNER][same], means["counts"][INNER][same], rtol=1e-11)
            ratio = means["sqrt_ts"][INNER][same] / maps["sqrt_ts"][INNER][same]
            assert 1.001 < ratio.min() < ratio.max() < 1.011
