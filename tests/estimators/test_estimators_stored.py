"""Estimators over a cube on disk: tile by tile, equal to the same in memory, reading no more than they need."""

from __future__ import annotations

import os
import re
import sys

import dask
import dask.array as da
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")
TILE = 20

#: Chunks opened since the list was emptied; None while nobody looks.
opened: list[str] | None = None


def watch(event, args):
    if event == "open" and opened is not None and isinstance(args[0], (str, bytes)):
        opened.append(os.fsdecode(args[0]))


sys.addaudithook(watch)


@pytest.fixture
def chunks():
    """Sky chunks (variable, row, column) that were opened during the test."""
    global opened
    opened = []
    pattern = re.compile(r"store\.zarr/(\w+)/c/0/(\d+)/(\d+)$")
    yield lambda: {(m[1], int(m[2]), int(m[3])) for f in opened or [] if (m := pattern.search(f))}
    opened = None


def make_cube(on_off):
    rng = np.random.default_rng(3)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    cube = xg.sky_grid(CENTER, ("12 deg", "6 deg"), "0.1 deg", frame="galactic", energy=energy, energy_true=energy)
    cube = cube.drop_vars([n for n in cube.coords if str(n).startswith(("irf_", "rad"))])
    shape = tuple(cube.sizes[d] for d in ("energy", "y", "x"))
    dims = ("energy", "y", "x")
    cube["counts"] = dims, rng.poisson(1.0, shape).astype(float), {"units": ""}
    cube["background"] = dims, rng.uniform(0.5, 1.5, shape), {"units": ""}
    cube["exposure"] = ("energy_true", "y", "x"), rng.uniform(1e13, 2e13, shape), {"units": "cm2 s"}
    cube["mask_safe"] = dims, rng.uniform(size=shape) > 0.05
    if on_off:
        cube["counts_off"] = dims, rng.poisson(20.0, shape).astype(float), {"units": ""}
        cube["acceptance"] = dims, rng.uniform(0.5, 1.5, shape), {"units": ""}
        cube["acceptance_off"] = dims, rng.uniform(15, 25, shape), {"units": ""}
        cube["background"] = cube.counts_off * cube.acceptance / cube.acceptance_off
    return cube


@pytest.fixture(params=[False, True], ids=["model", "on-off"])
def stored(request, tmp_path):
    """A cube of 3 x 6 tiles on disk, and the same in memory."""
    cube = make_cube(request.param)
    cube.chunk(y=TILE, x=TILE).gamma.to_zarr(tmp_path / "store.zarr", resume=True, dtype="float64")
    return tmp_path / "store.zarr", xg.open_cube(tmp_path / "store.zarr").load()


def assert_same(actual, expected):
    assert set(actual.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        scale = float(abs(expected[name]).max())
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-9, atol=1e-11 * scale, err_msg=name)


@pytest.mark.parametrize("selection", [(), ("errn-errp", "ul", "flux")])
def test_maps_of_a_survey_stream_to_disk(stored, tmp_path, selection):
    store, cube = stored

    def maps():
        image = xg.open_cube(store).gamma.to_image()
        return image.gamma.excess_map("0.3 deg", selection=selection)

    lazy = maps()
    assert all(isinstance(v.data, da.Array) and v.data.chunksize[-2:] == (TILE, TILE) for v in lazy.data_vars.values())
    written = lazy.gamma.to_zarr(tmp_path / "maps.zarr", resume=True, dtype="float64")
    assert written.n_written == written.n_pieces == 18
    assert maps().gamma.to_zarr(tmp_path / "maps.zarr", resume=True, dtype="float64").n_written == 0
    expected = cube.gamma.to_image().gamma.excess_map("0.3 deg", selection=selection)
    assert_same(xg.open_cube(tmp_path / "maps.zarr").load(), expected)


def test_ring_of_a_survey(stored, tmp_path):
    store, cube = stored
    if "counts_off" in cube:
        return
    ring = {"r_in": "0.8 deg", "width": "0.4 deg", "exclusion": "galactic;circle(0, 0, 0.5)"}
    lazy = xg.open_cube(store).gamma.ring_background(**ring).gamma.excess_map("0.3 deg")
    lazy.gamma.to_zarr(tmp_path / "maps.zarr", resume=True, dtype="float64")
    expected = cube.gamma.ring_background(**ring).gamma.excess_map("0.3 deg")
    assert_same(xg.open_cube(tmp_path / "maps.zarr").load(), expected)


VIEWS = {
    "cutout": lambda cube: cube.gamma.cutout(SkyCoord(3, 1, unit="deg", frame="galactic"), "1.5 deg"),
    "rebin": lambda cube: cube.gamma.rebin(["1 TeV", "10 TeV"]).isel(y=slice(0, 19), x=slice(3, 19)),
    "downsample": lambda cube: cube.gamma.downsample(2).isel(y=slice(0, 9), x=slice(2, 9)),
    "pixel": lambda cube: cube.sel(lon=3.0, lat=1.0, method="nearest"),
    "reproject": lambda cube: cube[["counts"]].gamma.reproject(
        xg.sky_grid(SkyCoord(266.4, -28.9, unit="deg"), "0.6 deg", "0.1 deg")
    ),
    "maps": lambda cube: cube.gamma.excess_map("0.3 deg").isel(y=slice(5, 15), x=slice(5, 15)),
    "maps at an edge": lambda cube: cube.gamma.excess_map("0.3 deg").isel(y=slice(5, 15), x=slice(5, 20)),
}
#: Tiles (row, column) that each view needs, found from its pixels by hand.
NEEDED = {
    # columns count from the left, where longitudes are large: 2.25 to 3.75 deg are pixels 22 to 37, rows 32 to 47
    "cutout": {(1, 1), (2, 1)},
    "rebin": {(0, 0)},
    "downsample": {(0, 0)},
    "pixel": {(1, 1), (2, 1)},
    "reproject": {(1, 2), (1, 3)},
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_read_only_the_tiles_that_they_touch(stored, chunks, name):
    store, cube = stored

    def refuse(*args, **kwargs):
        msg = "computed while the graph was built"
        raise AssertionError(msg)

    with dask.config.set(scheduler=refuse):
        view = VIEWS[name](xg.open_cube(store))
    assert not chunks()
    result = view.load()
    tiles = {(row, column) for _, row, column in chunks()}
    if name in NEEDED:
        assert tiles <= NEEDED[name]
    else:
        # of a map its own tile and, for the disc, the neighbours of that: never all
        assert (0, 0) in tiles
        assert tiles <= {(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)}
    assert tiles
    expected = VIEWS[name](cube)
    for variable in expected.data_vars:
        np.testing.assert_allclose(result[variable], expected[variable], rtol=1e-9, atol=1e-9, err_msg=str(variable))


def test_one_variable_reads_one_variable(stored, chunks):
    store, cube = stored
    total = xg.open_cube(store).counts.sum("energy").compute()
    assert {variable for variable, _, _ in chunks()} == {"counts"}
    np.testing.assert_array_equal(total, cube.counts.sum("energy"))
