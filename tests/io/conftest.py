"""A small cube with every variable, for the tests of reading and writing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.bins import energy_axis
from xgamma.coords.grid import sky_grid

SKY = ("energy", "y", "x")


def make_cube(seed: int = 3, proj: str = "TAN") -> xr.Dataset:
    rng = np.random.default_rng(seed)
    grid = sky_grid(
        SkyCoord(83.63, 22.01, unit="deg"),
        ("0.5 deg", "0.4 deg"),
        "0.1 deg",
        energy=energy_axis("1 TeV", "10 TeV", nbin=2),
        energy_true=energy_axis("0.5 TeV", "20 TeV", nbin=3, name="energy_true"),
        irf_binsize="0.2 deg",
        proj=proj,
    )

    def variable(dims, units):
        return dims, 10 * rng.random([grid.sizes[d] for d in dims]), {"units": units}

    def mask():
        return SKY, rng.random([grid.sizes[d] for d in SKY]) > 0.5, {"units": ""}

    cube = grid.assign(
        counts=(SKY, rng.poisson(3, [grid.sizes[d] for d in SKY]).astype(float), {"units": ""}),
        exposure=variable(("energy_true", "y", "x"), "cm2 s"),
        background=variable(SKY, ""),
        mask_safe=mask(),
        mask_fit=mask(),
        edisp=variable(("energy_true", "energy", "irf_y", "irf_x"), ""),
        irf_exposure=variable(("energy_true", "irf_y", "irf_x"), "cm2 s"),
        psf=variable(("energy_true", "irf_y", "irf_x", "rad"), "sr-1"),
        livetime=((), 1234.5, {"units": "s"}),
        ontime=((), 1300.0, {"units": "s"}),
        gti_start=("gti", np.array([3e8, 3.1e8]), {"units": "s"}),
        gti_stop=("gti", np.array([3e8 + 100, 3.1e8 + 50]), {"units": "s"}),
    )
    provenance = {"versions": {"xgamma": "0.1"}, "inputs": ["a.fits", None], "é": [1, 2.5]}
    cube.attrs = {"name": "crab", "provenance": provenance}
    return cube


@pytest.fixture
def cube() -> xr.Dataset:
    return make_cube()


@pytest.fixture
def onoff(cube) -> xr.Dataset:
    rng = np.random.default_rng(5)
    names = ("counts_off", "acceptance", "acceptance_off")
    new = {n: (SKY, 5 * rng.random(cube.counts.shape), {"units": ""}) for n in names}
    return cube.drop_vars("background").assign(new)


@pytest.fixture
def runs(cube) -> xr.Dataset:
    """Cube of three runs in Dask chunks."""
    parts = [cube.drop_vars(["gti_start", "gti_stop"]) * k for k in (1, 2, 3)]
    for part in parts:
        for name in ("mask_safe", "mask_fit"):
            part[name] = cube[name]
    obs = xr.Variable("obs", ["a", "bb", "ccc"])
    result = xr.concat(parts, obs, coords="minimal", compat="override", join="override")
    for name, variable in cube.data_vars.items():
        if name in result:
            result[name].attrs = dict(variable.attrs)
    result["gti_start"] = (("obs", "gti"), [[1.0, 5.0], [3.0, np.nan], [7.0, 9.0]], {"units": "s"})
    result["gti_stop"] = (("obs", "gti"), [[2.0, 6.0], [4.0, np.nan], [8.0, 10.0]], {"units": "s"})
    return result.chunk({"obs": 1, "y": 2})
