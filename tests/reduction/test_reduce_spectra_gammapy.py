"""Spectra of real runs beside gammapy 2.1, at equal inputs and bin by bin.

Known differences, all others are rounding:

- Solid angles of regions: gammapy takes their area in the plane, here they are spherical: 1e-5 of the background for a
  radius of 0.5 deg.
- Background of a region over its area (``use_region_center=False``): gammapy sums parts of pixels, whose area is off by
  1e-3, here the mean rate is multiplied with the solid angle of the region.
- Energy dispersion averaged over a region (``use_region_center=False``): gammapy takes that of the centre.
- Energy dispersion of stacked spectra: gammapy's weight is the exposure without the containment correction, here it is
  the exposure of the spectrum.
- gammapy stacks in single precision: 1e-7.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import xgamma as xg
from xgamma.background.reflected import ReflectedRegions, WobbleRegions

CRAB = [23523, 23526, 23559, 23592]
PKS = [33787, 33788, 33789, 33790, 33791, 33792]
GC = [110380, 111140, 111159]
EXCLUSION = "galactic;circle(183.604, -8.708, 0.5)"
HESS = {"store": "hess-dl3-dr1", "energy": [0.1, 40, 26], "energy_true": [0.05, 100, 66]}
CTA = {"store": "cta-1dc/index/gps", "energy": [0.05, 50, 15], "energy_true": [0.02, 100, 37], "obs_ids": GC}
ALL = ["counts", "exposure", "edisp"]
CASES = {
    "crab": HESS
    | {
        "obs_ids": CRAB,
        "region": "icrs;circle(83.63, 22.01, 0.11)",
        "reflected": True,
        "exclusion": [EXCLUSION],
        "maker": {"containment_correction": True},
        "masks": ["aeff-max"],
    },
    "crab, model": HESS
    | {
        "obs_ids": CRAB,
        "region": "icrs;circle(83.63, 22.01, 0.2)",
        "selection": [*ALL, "background"],
        "masks": ["aeff-max", "offset-max", "bkg-peak"],
    },
    "crab, ellipse": HESS
    | {
        "obs_ids": CRAB,
        "region": "icrs;ellipse(83.63, 22.01, 0.15, 0.08, 30)",
        "reflected": True,
        "exclusion": [EXCLUSION],
        "finder": {"min_distance": "0.05 rad", "angle_increment": "0.03 rad"},
        "masks": ["edisp-bias"],
    },
    "crab, box": HESS
    | {
        "obs_ids": CRAB,
        "region": "icrs;box(83.63, 22.01, 0.2, 0.1, 70)",
        "reflected": True,
        "finder": {"max_region_number": 5},
        "masks": ["aeff-default"],
    },
    "crab, wobble": HESS
    | {"obs_ids": CRAB, "region": "icrs;circle(83.63, 22.01, 0.11)", "wobble": 3, "masks": ["aeff-max", "bkg-peak"]},
    "pks": HESS
    | {
        "obs_ids": PKS,
        "region": "icrs;circle(329.71693, -30.22559, 0.11)",
        "reflected": True,
        "masks": ["aeff-max", "offset-max"],
    },
    "gc": CTA
    | {
        "region": "galactic;circle(0, 0, 0.2)",
        "reflected": True,
        "exclusion": [
            "galactic;circle(0, 0, 0.6)",
            "galactic;circle(0.9, 0.1, 0.3)",
            "galactic;circle(359.4, -0.1, 0.3)",
        ],
        "maker": {"containment_correction": True},
        "masks": ["aeff-default", "aeff-max"],
    },
    "gc, model": CTA
    | {
        "region": "galactic;circle(0.5, 0.2, 0.5)",
        "selection": [*ALL, "background"],
        "maker": {"use_region_center": False},
        "masks": ["edisp-bias", "offset-max"],
    },
    "rxj1713": HESS
    | {
        "obs_ids": [20326, 20327, 20349],
        "region": "icrs;circle(258.3883, -39.7619, 0.5)",
        "reflected": True,
        "maker": {"use_region_center": False},
        "masks": ["aeff-max"],
    },
    "annulus": HESS
    | {
        "obs_ids": CRAB,
        "region": "icrs;annulus(83.63, 22.01, 0.3, 0.4)",
        "selection": [*ALL, "background"],
        "maker": {"use_region_center": False},
        "masks": ["aeff-max"],
    },
    "magic": {
        "store": "magic/rad_max/data",
        "obs_ids": [5029747, 5029748],
        "region": "icrs;point(83.63, 22.01)",
        "energy": [0.05, 100, 16],
        "energy_true": [0.01, 100, 40],
        "required_irf": "point-like",
        "wobble": 3,
        "masks": ["aeff-max"],
    },
}


def background_of(case):
    if case.get("wobble"):
        return WobbleRegions(n_off_regions=case["wobble"])
    if case.get("reflected"):
        return ReflectedRegions(exclusion=case.get("exclusion"), **case.get("finder", {}))
    return None


def reduce_case(case, folder, **options):
    axes = {
        n: xg.energy_axis(f"{case[n][0]} TeV", f"{case[n][1]} TeV", nbin=case[n][2], name=n)
        for n in ("energy", "energy_true")
    }
    runs = xg.open_store(folder / case["store"]).select(obs_id=case["obs_ids"])
    grid = xg.region_grid(case["region"], **axes)
    arguments = {"selection": case.get("selection", ALL), "background": background_of(case), "safe_mask": case["masks"]}
    return xg.reduce(runs, grid, **arguments, **case.get("maker", {}), **{"stack": False, **options})


#: Counts, off counts and number of off regions of each run by gammapy 2.1, made by peer_gammapy_spectra.py.
NUMBERS = {
    "crab": [[192.0, 201.0, 166.0, 141.0], [224.0, 228.0, 520.0, 502.0], [12, 12, 41, 36]],
    "crab, ellipse": [[187.0, 197.0, 159.0, 138.0], [162.0, 157.0, 391.0, 399.0], [9, 9, 31, 29]],
    "crab, box": [[127.0, 127.0, 104.0, 93.0], [57.0, 62.0, 34.0, 42.0], [5, 5, 5, 5]],
    "crab, wobble": [[192.0, 201.0, 166.0, 141.0], [58.0, 47.0, 36.0, 45.0], [3, 3, 3, 3]],
    "pks": [
        [262.0, 868.0, 1761.0, 1835.0, 1694.0, 1649.0],
        [233.0, 276.0, 302.0, 335.0, 313.0, 368.0],
        [12, 12, 12, 12, 12, 12],
    ],
    "gc": [[733.0, 612.0, 603.0], [6290.0, 8406.0, 8374.0], [16, 27, 27]],
    "rxj1713": [[1242.0, 1188.0, 1233.0], [2102.0, 2175.0, 2032.0], [2, 2, 2]],
    "magic": [[791.0, 837.0], [1178.0, 1255.0], [3, 3]],
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if background_of(case) is not None])
def test_counts_and_numbers_of_regions(gammapy_data, name):
    cube = reduce_case(CASES[name], gammapy_data).load(scheduler="sync")
    found = [cube[n].sum("energy").values.tolist() for n in ("counts", "counts_off")]
    assert [*found, cube.n_off_regions.values.tolist()] == NUMBERS[name]


@pytest.mark.gammapy
@pytest.mark.real_data
@pytest.mark.parametrize("name", list(CASES))
def test_bin_by_bin(gammapy_data, gammapy_python, tmp_path, name):
    case = {"selection": ALL} | CASES[name]
    (tmp_path / "case.json").write_text(json.dumps(case | {"store": str(gammapy_data / case["store"])}))
    program = Path(__file__).with_name("peer_gammapy_spectra.py")
    environment = os.environ | {"GAMMAPY_DATA": str(gammapy_data), "CALDB": str(gammapy_data / "cta-1dc/caldb")}
    command = [gammapy_python, "-W", "ignore", str(program), "case.json", "out.npz"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    cube = reduce_case(case, gammapy_data).load(scheduler="sync")
    with np.load(tmp_path / "out.npz") as peer:
        for obs_id in case["obs_ids"]:
            tolerances = {"exposure": 1e-10, "edisp": 1e-8, "background": 2e-5}
            compare(cube.sel(obs=obs_id), peer, obs_id, tolerances if at_center(case) else averaged(tolerances))
            if background_of(case) is not None:
                found = centers(cube.sel(obs=obs_id).off_regions.item())
                np.testing.assert_allclose(found, peer[f"{obs_id}_off_centers"], atol=1e-8)
        tolerances = {"exposure": 1e-6, "background": 2e-5, "edisp": 1e-6}
        if case.get("maker", {}).get("containment_correction"):
            del tolerances["edisp"]
        tolerances = tolerances if at_center(case) else averaged(tolerances)
        compare(cube.gamma.stack("obs"), peer, "stacked", tolerances)


def at_center(case):
    return case.get("maker", {}).get("use_region_center", True)


def averaged(tolerances):
    """Tolerances where responses are averaged over a region."""
    return {kind: 2e-3 if kind == "background" else rtol for kind, rtol in tolerances.items() if kind != "edisp"}


def compare(cube, peer, prefix, tolerances):
    for kind in ("mask_safe", "counts", "counts_off", "acceptance"):
        if kind in cube and f"{prefix}_{kind}" in peer:
            np.testing.assert_array_equal(cube[kind], peer[f"{prefix}_{kind}"], err_msg=f"{prefix} {kind}")
    if "counts_off" in cube:
        np.testing.assert_allclose(cube.acceptance_off, peer[f"{prefix}_acceptance_off"], rtol=1e-6)
    for kind, rtol in tolerances.items():
        if kind in cube and f"{prefix}_{kind}" in peer:
            expected = peer[f"{prefix}_{kind}"]
            atol = 1e-8 * np.nanmax(expected)
            np.testing.assert_allclose(cube[kind], expected, rtol=rtol, atol=atol, err_msg=f"{prefix} {kind}")


def centers(text):
    """Centres of the regions in a text of DS9, one a line."""
    lines = (line.split("(")[1].rstrip(")").split(",")[:2] for line in text.split("\n"))
    return [[float(number) for number in pair] for pair in lines]
