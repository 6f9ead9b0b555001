"""From a cube on disk to a catalogue: chunks read, results that wait, and the same table as in memory."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter

import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from dask.callbacks import Callback

import xgamma as xg
from xgamma.estimators.catalogue import source_catalogue
from xgamma.estimators.sensitivity_map import sensitivity_map
from xgamma.estimators.ts_map import ts_map

CENTER = SkyCoord(30, 1, unit="deg", frame="galactic")
TILE = 20
OPTIONS = {"kernel_width": "1.1 deg", "min_distance": "0.3 deg"}

#: Chunks opened since the counter was emptied; None while nobody looks.
opened: Counter[str] | None = None


def watch(event, args):
    if event == "open" and opened is not None and isinstance(args[0], (str, bytes)):
        opened[os.fsdecode(args[0])] += 1


sys.addaudithook(watch)


@pytest.fixture
def chunks():
    """How often each sky chunk (variable, row, column) was opened."""
    global opened
    opened = Counter()
    pattern = re.compile(r"cube\.zarr/(\w+)/c/0/(\d+)/(\d+)$")

    def count():
        return {(m[1], int(m[2]), int(m[3])): n for f, n in (opened or {}).items() if (m := pattern.search(f))}

    yield count
    opened = None


class Waiting(Callback):
    """Bytes of all results that wait for others, at most."""

    def __init__(self):
        self.most = 0

    def _posttask(self, key, result, dsk, state, worker_id):
        cached = state["cache"].values()
        self.most = max(self.most, sum(v.nbytes for v in cached if isinstance(v, np.ndarray)))


def stored(path, rows, columns):
    """A survey of so many tiles with a bright source in the middle of every third."""
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    width = (f"{columns * TILE / 10} deg", f"{rows * TILE / 10} deg")
    cube = xg.sky_grid(CENTER, width, "0.1 deg", frame="galactic", energy=energy, energy_true=energy)
    cube = cube.drop_vars([n for n in cube.coords if str(n).startswith("irf_")])
    shape = (3, rows * TILE, columns * TILE)
    cube["exposure"] = ("energy_true", "y", "x"), np.full(shape, 1e13), {"units": "cm2 s"}
    cube["psf"] = (
        ("energy_true", "rad"),
        np.tile(np.exp(-0.5 * (cube.rad.values / 0.1) ** 2), (3, 1)),
        {"units": "sr-1"},
    )
    lam = np.full(shape, 0.3)
    cube["background"] = ("energy", "y", "x"), lam.copy(), {"units": ""}
    y, x = np.mgrid[:TILE, :TILE]
    for number in range(0, rows * columns, 3):
        row, column = divmod(number, columns)
        here = (slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE))
        lam[(slice(None), *here)] += 4 * np.exp(-0.5 * ((y - 9) ** 2 + (x - 11) ** 2))
    cube["counts"] = ("energy", "y", "x"), rng.poisson(lam).astype(float), {"units": ""}
    cube.chunk(y=TILE, x=TILE).gamma.to_zarr(path, dtype="float64")
    return cube


def test_each_chunk_is_read_by_its_tile_and_the_neighbours(tmp_path, chunks):
    cube = stored(tmp_path / "cube.zarr", 4, 6)

    def refuse(*args, **kwargs):
        pytest.fail("computed while the graph was built")

    with dask.config.set(scheduler=refuse):
        lazy = ts_map(xg.open_cube(tmp_path / "cube.zarr"), kernel_width="1.1 deg")
    assert not chunks()
    # a tile of the map: its own chunk and its neighbours, none farther away
    lazy.sqrt_ts.isel(y=slice(TILE, 2 * TILE), x=slice(TILE, 2 * TILE)).load()
    assert {(r, c) for name, r, c in chunks() if name in ("counts", "background")} == {
        (r, c) for r in (0, 1, 2) for c in (0, 1, 2)
    }
    opened.clear()
    with dask.config.set(scheduler="threads"):
        table = source_catalogue(xg.open_cube(tmp_path / "cube.zarr"), **OPTIONS)
    seen = chunks()
    assert {(r, c) for _, r, c in seen} == {(r, c) for r in range(4) for c in range(6)}
    # once for the peaks, once for the fluxes, never once for every tile that looks over its edge
    assert max(n for (name, _, _), n in seen.items() if name != "exposure") <= 2
    # without a coarse exposure its mean over the map is the weight of the responses: read on its own
    assert max(seen.values()) <= 4
    assert len(table) == 8
    expected = source_catalogue(cube, **OPTIONS)
    assert list(table["name"]) == list(expected["name"])
    for name in ("ra", "dec", "pos_err", "sqrt_ts", "flux", "flux_errn", "flux_errp", "flux_ul"):
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("what", ["catalogue", "maps", "sensitivity"])
def test_what_waits_grows_slower_than_the_survey(tmp_path, what):
    """What waits are tiles beside the one that is made: of a survey of three times the tiles not three times as many.

    Names of tasks, which hold the path of the store, decide in which order equal ones are taken: in ten stores the
    ratio was 0.9 to 1.4.
    """
    most = []
    for columns in (6, 18):
        path = tmp_path / f"{columns}" / "cube.zarr"
        stored(path, 3, columns)
        waiting = Waiting()
        # in one thread: what other threads hold would come on top
        with dask.config.set(scheduler="sync"), waiting:
            cube = xg.open_cube(path)
            if what == "catalogue":
                assert len(source_catalogue(cube, **OPTIONS)) == columns
            else:
                maps = ts_map(cube, kernel_width="1.1 deg") if what == "maps" else sensitivity_map(cube, "0.3 deg")
                maps.gamma.to_zarr(tmp_path / f"{columns}" / "maps.zarr", resume=True)
        most.append(waiting.most)
    assert 0 < most[1] < 2 * most[0]
