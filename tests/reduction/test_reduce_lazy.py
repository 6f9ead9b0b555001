"""Nothing is read or computed before it is asked for; tiles, threads, processes and clusters give the same numbers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import astropy.units as u
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xgamma as xg
from xgamma.coords.bins import bin_axis
from xgamma.coords.grid import sky_grid
from xgamma.dl3.cache import DEFAULT_BYTES, set_cache_size

CENTER = SkyCoord(150.6, -24.6, unit="deg")
OPTIONS = {
    "selection": "all",
    "offset_max": "1.5 deg",
    "safe_mask": ["offset-max", "aeff-default", "bkg-peak"],
    "max_gti": 2,
}

#: Files opened since the list was emptied; None while nobody looks.
opened: list[str] | None = None


def watch(event, args):
    if event == "open" and opened is not None and isinstance(args[0], (str, bytes)):
        opened.append(os.fsdecode(args[0]))


sys.addaudithook(watch)


@pytest.fixture
def files():
    """Data files that anything in this process opens during the test; what earlier tests read is forgotten."""
    global opened
    set_cache_size(0)
    set_cache_size(DEFAULT_BYTES)
    opened = []
    yield lambda: [f for f in opened if ".fits" in f]
    opened = None


def refuse(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


def make_grid(width="4 deg", binsize="0.1 deg", nbin=3, irf_binsize="0.5 deg", **axes):
    energy = axes.get("energy", xg.energy_axis("0.5 TeV", "50 TeV", nbin=nbin))
    true = axes.get("energy_true", xg.energy_axis("0.4 TeV", "60 TeV", nbin=2, name="energy_true"))
    rad = bin_axis("rad", [0, 0.1], [0.1, 0.3], "deg", "lin")
    return sky_grid(CENTER, width, binsize, energy=energy, energy_true=true, rad=rad, irf_binsize=irf_binsize)


def assert_same(actual, expected, rtol=0.0):
    """Compare all variables, to the last bit by default."""
    assert set(actual.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        largest = float(abs(expected[name]).max()) if expected[name].dtype == float else 0.0
        np.testing.assert_allclose(actual[name], expected[name], rtol=rtol, atol=rtol * largest, err_msg=name)


def ring_analysis(runs):
    image = runs.gamma.to_image()
    exclusion = ~image.gamma.region_mask(CircleSkyRegion(SkyCoord(150, -25, unit="deg"), 0.3 * u.deg))
    onoff = image.gamma.ring_background(r_in="0.5 deg", width="0.3 deg", exclusion=exclusion)
    stacked = onoff.gamma.stack("obs")
    return stacked, stacked.gamma.excess_map(radius="0.2 deg")


@pytest.mark.parametrize("chunks", [None, {"y": 13, "x": 17}])
def test_nothing_is_read_or_computed(survey, files, chunks):
    grid, runs_of_survey = make_grid(), survey.observations[:4]
    with dask.config.set(scheduler=refuse):
        runs = xg.reduce(runs_of_survey, grid, stack=False, chunks=chunks, **OPTIONS)
        cube = xg.reduce(runs_of_survey, grid, chunks=chunks, **OPTIONS)
        # a map of energies is no image: the ring asks for one
        light = xg.reduce(runs_of_survey, grid, stack=False, chunks=chunks, offset_max="1.5 deg")
        stacked, maps = ring_analysis(light)
        results = [
            runs,
            cube,
            stacked,
            maps,
            runs.gamma.to_image(),
            runs.gamma.rebin(["0.5 TeV", "50 TeV"]),
            runs.gamma.stack("obs"),
            runs.gamma.info(),
            runs.gamma.info(cumulative=True),
            cube.gamma.info(),
            runs.gamma.cutout(CENTER, "1 deg"),
            runs.sel(energy=slice(1, 20)).isel(obs=[0, 3]),
        ]
    assert files() == []
    for result in results:
        for name, variable in result.data_vars.items():
            assert isinstance(variable.data, da.Array) or name == "n_bins", name


def test_files_are_opened_once(survey, files):
    runs = xg.reduce(survey.observations[:3], make_grid(), stack=False, offset_max="1.5 deg")
    runs.compute(scheduler="sync")
    events = [f for f in files() if "run_" in f]
    # maps and numbers of a run come from one task: its file is opened once
    assert len(events) == len(set(events)) == 3


def test_tiles_share_what_a_process_has_read(survey, files):
    """Each run touches several tiles; its file is opened for its numbers and for its events, not for each tile."""
    cube = xg.reduce(survey.observations[:3], make_grid(), offset_max="1.5 deg", chunks={"y": 10, "x": 10})
    with dask.config.set(scheduler="sync"):
        cube.load()
    events = [f for f in files() if "run_" in f]
    assert len(set(events)) == 3
    assert len(events) <= 6


def test_what_is_not_asked_for_is_not_read(survey, files):
    runs = xg.reduce(survey.observations, make_grid(), stack=False, offset_max="1.5 deg")
    runs.counts.isel(obs=[4]).compute(scheduler="sync")
    assert {Path(f).name for f in files() if "run_" in f} == {"run_000005.fits.gz"}
    names = {k[0] for k in runs.counts.data.dask if isinstance(k, tuple)}
    assert not any("psf" in n or "edisp" in n for n in names)


@pytest.mark.real_data
def test_all_runs_of_hess(gammapy_data, files):
    store = xg.open_store(gammapy_data / "hess-dl3-dr1")
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10)
    true = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10, name="energy_true")
    grid = sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), "360 deg", "0.5 deg", energy=energy, energy_true=true)
    assert {f.rsplit("/", 1)[-1] for f in files()} <= {"hdu-index.fits.gz", "obs-index.fits.gz"}
    before = len(files())
    with dask.config.set(scheduler=refuse):
        cube = xg.reduce(store.observations, grid, safe_mask="aeff-default", stack=False)
    assert cube.sizes["obs"] == 105
    assert len(files()) == before


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("chunks", [{"y": 13, "x": 17}, {"y": 4}, {"x": 100}])
def test_tiles(survey, stack, chunks):
    grid = make_grid(width=("3 deg", "2 deg"))
    runs = survey.observations[:10]
    whole = xg.reduce(runs, grid, stack=stack, **OPTIONS).compute(scheduler="sync")
    tiled = xg.reduce(runs, grid, stack=stack, chunks=chunks, **OPTIONS)
    assert tiled.counts.chunks[-2][0] == min(chunks.get("y", 20), 20)
    # all variables agree on their chunks
    assert tiled.chunks["x"][0] == min(chunks.get("x", 30), 30)
    assert_same(tiled.compute(scheduler="sync"), whole, rtol=1e-12)


def test_coarse_grids_in_tiles(survey, monkeypatch):
    grid = make_grid(width="5 deg", binsize="0.2 deg", irf_binsize="0.2 deg")
    options = OPTIONS | {"offset_max": "0.8 deg"}
    runs = survey.observations[:4]
    for stack in (True, False):
        whole = xg.reduce(runs, grid, stack=stack, **options).compute(scheduler="sync")
        with monkeypatch.context() as patch:
            patch.setattr("xgamma.reduction.builder.IRF_TILE", 6)
            tiled = xg.reduce(runs, grid, stack=stack, **options)
            assert tiled.psf.data.npartitions >= 25
            assert_same(tiled.compute(scheduler="sync"), whole, rtol=1e-12)


def test_many_runs_are_added_as_a_tree(survey, monkeypatch):
    grid = make_grid(width="2 deg")
    runs = list(survey.observations)
    one = xg.reduce(runs, grid, **OPTIONS).compute(scheduler="sync")
    for batches in (1, 3, 12):
        monkeypatch.setattr("xgamma.reduction.builder.FEWEST_BATCHES", batches)
        assert_same(xg.reduce(runs, grid, **OPTIONS).compute(scheduler="sync"), one, rtol=1e-12)
    assert np.isfinite(one.gti_start.values).sum() == 12


def test_tiles_smaller_than_the_ring(survey):
    grid = make_grid(width=("2 deg", "1.6 deg"))
    options = {"offset_max": "1.5 deg", "safe_mask": "offset-max", "stack": False}
    whole = ring_analysis(xg.reduce(survey.observations[:2], grid, **options))
    tiled = ring_analysis(xg.reduce(survey.observations[:2], grid, chunks={"y": 6, "x": 5}, **options))
    for a, b in zip(tiled, whole, strict=True):
        assert_same(a.compute(scheduler="sync"), b.compute(scheduler="sync"), rtol=1e-9)


def test_threads(survey):
    grid = make_grid()
    for stack in (True, False):
        cube = xg.reduce(survey.observations[:5], grid, stack=stack, chunks={"y": 20, "x": 20}, **OPTIONS)
        expected = cube.compute(scheduler="sync")
        for workers in (2, 5):
            assert_same(cube.compute(scheduler="threads", num_workers=workers), expected)


@pytest.mark.slow
def test_processes_and_clusters(survey):
    from distributed import Client, LocalCluster

    runs = xg.reduce(survey.observations[:3], make_grid(), stack=False, chunks={"y": 20, "x": 20}, **OPTIONS)
    light = xg.reduce(
        survey.observations[:3], make_grid(), stack=False, chunks={"y": 20, "x": 20}, offset_max="1.5 deg"
    )
    cube = xg.reduce(survey.observations[:3], make_grid(), **OPTIONS)
    lazy = [runs, cube, *ring_analysis(light)]
    expected = dask.compute(*lazy, scheduler="sync")
    for actual, truth in zip(dask.compute(*lazy, scheduler="processes", num_workers=2), expected, strict=True):
        assert_same(actual, truth)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True) as cluster,
        Client(cluster) as client,
    ):
        for actual, truth in zip(client.gather(client.compute(lazy)), expected, strict=True):
            assert_same(actual, truth)


def names(cube):
    return {n: v.data.name for n, v in cube.data_vars.items()}


def test_same_inputs_same_tasks(survey):
    a = xg.reduce(survey.observations, make_grid(), **OPTIONS)
    b = xg.reduce(survey.observations, make_grid(), **OPTIONS)
    assert names(a) == names(b)
    assert dict(a.counts.data.dask).keys() == dict(b.counts.data.dask).keys()
    images = [ring_analysis(xg.reduce(survey.observations, make_grid(), stack=False))[1] for _ in range(2)]
    assert names(images[0]) == names(images[1])


@pytest.mark.parametrize(
    "change",
    [
        {"offset_max": "1.6 deg"},
        {"safe_mask": ["offset-max"]},
        {"safe_mask": {"aeff-max": {"aeff_percent": 5}}},
        {"background_oversampling": 2},
        {"max_gti": 3},
        {"stack": False},
        {"chunks": {"y": 20, "x": 20}},
        {"grid": make_grid(width="3.8 deg")},
        {"grid": make_grid(nbin=4)},
        # equal edges, other centres: responses are taken at the centres
        {"grid": make_grid(energy_true=bin_axis("energy_true", [0.4, 5], [5, 60], "TeV", "lin"))},
        {"runs": slice(0, 3)},
        {"cut": "1 TeV"},
    ],
    ids=str,
)
def test_other_settings_other_tasks(survey, change):
    options = OPTIONS | {k: v for k, v in change.items() if k not in ("grid", "runs", "cut")}
    runs = survey.observations[change.get("runs", slice(0, 4))]
    base_grid = make_grid(energy_true=bin_axis("energy_true", [0.4, 5], [5, 60], "TeV", "log"))
    base = xg.reduce(survey.observations[:4], base_grid, **OPTIONS)
    if "cut" in change:
        runs = [run.filter(energy=(change["cut"], None)) for run in runs]
    other = xg.reduce(runs, change.get("grid", base_grid), **options)
    common = set(names(base)) & set(names(other))
    assert common >= {"counts", "exposure"}
    for name in common:
        assert other[name].data.name != base[name].data.name, name
    # computed together, neither takes the other's numbers
    both = dask.compute(base.exposure, other.exposure, scheduler="sync")
    xr.testing.assert_identical(both[1], other.exposure.compute(scheduler="sync"))


def test_small_things_travel(survey):
    import pickle

    cube = xg.reduce(survey.observations, make_grid(), chunks={"y": 20, "x": 20}, **OPTIONS)
    sizes = [len(pickle.dumps(task)) for task in dict(cube.counts.data.dask).values()]
    # paths, cards and numbers: no response, no WCS
    assert max(sizes) < 30_000


def test_memory_of_a_task(survey):
    import tracemalloc

    grid = make_grid(width="20 deg", binsize="0.02 deg", nbin=4)
    cube = xg.reduce(survey.observations, grid, chunks={"y": 250, "x": 250})[["counts", "background", "exposure"]]
    one = cube.isel(y=slice(250, 500), x=slice(250, 500))
    maps = sum(v.nbytes for v in one.data_vars.values())
    one.isel(y=[0], x=[0]).compute(scheduler="sync")
    tracemalloc.start()
    one.compute(scheduler="sync")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # the sum, one run, the pixels of the tile, and what one kernel needs; twelve runs would be more
    assert peak < 6 * maps
