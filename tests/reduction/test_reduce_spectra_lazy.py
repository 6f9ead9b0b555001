"""Spectra are lazy until they are asked for, and the same whoever computes them."""

from __future__ import annotations

import pickle
import shutil

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.background.phase import PhaseBackground
from xgamma.background.reflected import ReflectedRegions, WobbleRegions
from xgamma.io.sample import sample_path

ENERGY = xg.energy_axis("0.5 TeV", "50 TeV", nbin=4)
TRUE = xg.energy_axis("0.3 TeV", "100 TeV", nbin=6, name="energy_true")
REGIONS = ["icrs;circle(150.3, -25.2, 0.2)", "galactic;box(257.0, 22.8, 0.4, 0.2, 30)"]
EXCLUSION = "icrs;circle(150, -25, 0.2)"
BACKGROUNDS = {
    "model": None,
    "reflected": ReflectedRegions(exclusion=EXCLUSION),
    "wobble": WobbleRegions(n_off_regions=2),
}


def refuse(*args, **kwargs):
    msg = "something was computed while the graph was built"
    raise AssertionError(msg)


def build(runs, background=None, many=False, **options):
    grid = xg.region_grid(REGIONS if many else REGIONS[0], energy=ENERGY, energy_true=TRUE)
    return xg.reduce(runs, grid, background=background, **{"safe_mask": "aeff-max", "stack": False, **options})


def mask_map(lazy=False):
    sky = xg.sky_grid(SkyCoord(150.5, -24.6, unit="deg"), "6 deg", "0.01 deg", proj="TAN")
    values = (xg.separation(sky, SkyCoord(150, -25, unit="deg")) >= 0.2).rename("usable")
    return values.copy(data=da.from_array(values.values, chunks=(200, 150))) if lazy else values


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", list(BACKGROUNDS))
def test_nothing_is_computed_while_it_is_built(survey, name, stacked):
    with dask.config.set(scheduler=refuse):
        cube = build(survey.observations, BACKGROUNDS[name], many=True, stack=stacked)
        lazy = [n for n in (*cube.data_vars, "off_regions") if n in cube.variables]
        assert all(dask.is_dask_collection(cube[n].data) for n in lazy)
        repr(cube)
        cube.gamma.info()
        image = cube.gamma.to_image()
        if not stacked:
            cube.gamma.info(cumulative=True)
            cube.gamma.stack()
            assert image.isel(obs=0).counts.chunks is not None


def test_no_run_is_read_while_it_is_built(tmp_path):
    shutil.copytree(sample_path("survey"), tmp_path / "survey")
    runs = xg.open_store(tmp_path / "survey").observations
    for path in tmp_path.rglob("*.fits*"):
        if "index" not in path.name:
            path.unlink()
    cube = build(runs, BACKGROUNDS["reflected"], offset_max="2 deg")
    with pytest.raises(FileNotFoundError, match="run 1"):
        cube.load(scheduler="sync")


@pytest.mark.parametrize("stacked", [False, True])
def test_batches_make_no_difference(survey, stacked):
    options = {"background": BACKGROUNDS["reflected"], "many": True, "offset_max": "2.2 deg", "stack": stacked}
    whole = build(survey.observations, chunks={"obs": -1}, **options).compute(scheduler="sync")
    for size in (1, 5):
        parts = build(survey.observations, chunks={"obs": size}, **options)
        assert stacked or parts.counts.chunks[0][0] == size
        parts = parts.compute(scheduler="sync")
        for name in whole.variables:
            if whole[name].dtype.kind == "f":
                np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12, atol=1e-15, err_msg=str(name))
            else:
                assert parts[name].values.tolist() == whole[name].values.tolist()


@pytest.mark.parametrize("stacked", [False, True])
def test_every_scheduler_gives_the_same_bits(survey, stacked):
    runs = survey.select(obs_id=[1, 2, 7, 8])
    cube = build(runs, BACKGROUNDS["reflected"], stack=stacked, chunks={"obs": 2})
    one = cube.compute(scheduler="sync")
    for other in (cube.compute(scheduler="threads"), cube.compute(scheduler="processes", num_workers=2)):
        xr.testing.assert_identical(one, other)


def test_exclusion_by_a_map_in_memory_or_lazy(survey):
    runs = survey.select(obs_id=[1, 2, 7])
    by_region = build(runs, BACKGROUNDS["reflected"]).compute(scheduler="sync")
    with dask.config.set(scheduler=refuse):
        lazy = build(runs, ReflectedRegions(exclusion=mask_map(lazy=True)))
    in_memory = build(runs, ReflectedRegions(exclusion=mask_map())).compute(scheduler="sync")
    assert in_memory.off_regions.values.tolist() == by_region.off_regions.values.tolist()
    xr.testing.assert_equal(lazy.compute(scheduler="threads"), in_memory)
    xr.testing.assert_equal(in_memory.counts_off, by_region.counts_off)


def test_settings_and_runs_make_the_names_of_the_tasks(survey):
    runs = survey.select(obs_id=[1, 2])
    same = [build(runs, ReflectedRegions(exclusion=EXCLUSION)).counts.data.name for _ in range(2)]
    assert same[0] == same[1]
    others = [
        build(runs, ReflectedRegions()),
        build(runs, ReflectedRegions(exclusion=EXCLUSION, min_distance="1 deg")),
        build(runs, ReflectedRegions(exclusion=mask_map())),
        build(runs, ReflectedRegions(exclusion=~mask_map())),
        build(runs, WobbleRegions(n_off_regions=2)),
        build(runs, WobbleRegions(n_off_regions=3)),
        build(runs, PhaseBackground((0, 0.1), (0.2, 0.3))),
        build(runs, ReflectedRegions(exclusion=EXCLUSION), containment_correction=True),
        build(runs, ReflectedRegions(exclusion=EXCLUSION), use_region_center=False),
        build(runs, ReflectedRegions(exclusion=EXCLUSION), many=True),
        build(runs, ReflectedRegions(exclusion=EXCLUSION), safe_mask=None),
        build(survey.select(obs_id=[1, 3]), ReflectedRegions(exclusion=EXCLUSION)),
    ]
    names = [same[0], *(cube.counts.data.name for cube in others)]
    assert len(set(names)) == len(names)


def test_a_task_a_batch_and_little_to_send(survey):
    cube = build(survey.observations, BACKGROUNDS["reflected"], chunks={"obs": 4})
    graph = dict(cube.__dask_graph__())
    fat = [key for key in graph if isinstance(key, tuple) and str(key[0]).startswith("reduce-spectra")]
    assert len(fat) == 3
    # beside these, taking a variable out
    assert len(graph) <= 3 + 3 * (len(cube.data_vars) + 1) + 2
    assert len(pickle.dumps(cube)) < 60_000
