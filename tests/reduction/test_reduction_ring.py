"""A ring background inside the pass over the runs: equal to the steps one after the other, in tiles and without."""

from __future__ import annotations

import pickle

import astropy.units as u
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xgamma as xg
from xgamma.background.per_run import AdaptiveRingBackground, RingBackground
from xgamma.background.ring import adaptive_ring_background
from xgamma.io.pieces import pieces_of

CENTER = SkyCoord(150.6, -24.6, unit="deg")
SOURCE = CircleSkyRegion(SkyCoord(150, -25, unit="deg"), 0.3 * u.deg)
OPTIONS = {"offset_max": "1.5 deg", "safe_mask": ["offset-max", "aeff-default"]}
RING = {"r_in": "0.5 deg", "width": "0.3 deg"}
#: Large tiles, and tiles that are smaller than the ring.
TILES = [None, {"y": 32, "x": 25}, {"y": 9, "x": 60}]


def make_grid(width="5 deg", center=CENTER, binsize="0.1 deg", **options):
    energy = xg.energy_axis("0.5 TeV", "50 TeV", nbin=4)
    return xg.sky_grid(center, width, binsize, energy=energy, energy_true=energy, **options)


def steps(runs, grid, *, image=True, exclusion=(SOURCE,), options=OPTIONS, edges=None, **ring):
    """Reduce runs one by one, and make their rings: the answer that one pass has to give."""
    cubes = xg.reduce(runs, grid, stack=False, **options)
    cubes = cubes.gamma.to_image() if image else cubes.gamma.rebin(edges) if edges else cubes
    return cubes.gamma.ring_background(**{**RING, **ring}, exclusion=exclusion).load()


def assert_equal(actual, expected, rtol=1e-12):
    assert set(actual.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        assert actual[name].dims == expected[name].dims, name
        assert actual[name].attrs.get("units") == expected[name].attrs.get("units"), name
        if expected[name].dtype == bool or name.startswith(("counts", "gti")):
            np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
            continue
        # sums of Fourier transforms are good to the largest of their terms
        largest = float(abs(expected[name]).max())
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=rtol * largest, err_msg=name)
    for name in ("energy", "energy_min", "energy_max", "y", "x"):
        np.testing.assert_array_equal(actual[name], expected[name])


@pytest.fixture(scope="module")
def runs(survey):
    # five are enough for a tree and two are at the edge
    return list(survey.observations)[::2]


@pytest.fixture(scope="module")
def by_steps(runs):
    return steps(runs, make_grid())


@pytest.mark.parametrize("chunks", TILES)
def test_stack(runs, by_steps, chunks):
    cube = xg.reduce(runs, make_grid(), background=RingBackground(**RING, exclusion=[SOURCE]), chunks=chunks, **OPTIONS)
    assert_equal(cube.load(), by_steps.gamma.stack("obs"))


@pytest.mark.parametrize("chunks", TILES)
def test_runs_apart(runs, by_steps, chunks):
    background = RingBackground(**RING, exclusion=[SOURCE])
    cube = xg.reduce(runs, make_grid(), background=background, chunks=chunks, stack=False, **OPTIONS).load()
    assert_equal(cube, by_steps)
    # off counts reach beyond what a run fills, and there nothing is safe
    outside = (cube.acceptance == 0) & (cube.counts_off > 0)
    assert bool(outside.any())
    assert not bool((cube.mask_safe & outside).any())
    assert_equal(cube.gamma.stack("obs"), by_steps.gamma.stack("obs"))


def test_one_tile_has_the_same_bits_run_by_run(runs, by_steps):
    cube = xg.reduce(runs, make_grid(), background=RingBackground(**RING, exclusion=[SOURCE]), stack=False, **OPTIONS)
    for name, expected in by_steps.data_vars.items():
        np.testing.assert_array_equal(cube[name], expected, err_msg=str(name))


@pytest.mark.parametrize("edges", [None, ["0.5 TeV", "5 TeV", "50 TeV"]])
def test_energy_bins_and_groups(runs, edges):
    expected = steps(runs[:3], make_grid(), image=False, edges=edges).gamma.stack("obs")
    background = RingBackground(**RING, exclusion=SOURCE, energy_edges=edges)
    cube = xg.reduce(runs[:3], make_grid(), background=background, chunks={"y": 25, "x": 25}, **OPTIONS)
    assert cube.sizes["energy"] == (4 if edges is None else 2)
    assert_equal(cube.load(), expected)


@pytest.mark.parametrize("stack", [True, False])
def test_bins_keep_what_is_not_safe_apart(runs, stack):
    """Without joining, counts outside the mask stay where runs stay apart, as they do step by step."""
    options = {"offset_max": "1.5 deg", "safe_mask": {"offset-max": {"offset_max": "1 deg"}}}
    expected = steps(runs[:2], make_grid(), image=False, options=options)
    background = RingBackground(**RING, exclusion=SOURCE, energy_edges=None)
    cube = xg.reduce(runs[:2], make_grid(), background=background, stack=stack, **options).load()
    assert_equal(cube, expected.gamma.stack("obs") if stack else expected)


@pytest.mark.parametrize("safe_only", [True, False])
def test_safe_only(runs, safe_only):
    options = {"offset_max": "1.5 deg", "safe_mask": {"offset-max": {"offset_max": "0.9 deg"}}}
    expected = steps(runs[:2], make_grid(), image=False, options=options, safe_only=safe_only).gamma.stack("obs")
    background = RingBackground(**RING, exclusion=SOURCE, energy_edges=None, safe_only=safe_only)
    cube = xg.reduce(runs[:2], make_grid(), background=background, chunks={"y": 30, "x": 30}, **options)
    assert_equal(cube.load(), expected)


@pytest.mark.parametrize("chunks", TILES[:2])
@pytest.mark.parametrize("kind", ["regions", "string", "mask", "cutout", "lazy", "none", "all true"])
def test_exclusions(runs, chunks, kind):
    grid = make_grid()
    mask = ~grid.gamma.region_mask(SOURCE)
    exclusion = {
        "regions": [SOURCE, CircleSkyRegion(SkyCoord(151, -24, unit="deg"), 0.4 * u.deg)],
        "string": "icrs;circle(150, -25, 0.3)",
        "mask": mask,
        "cutout": mask.isel(y=slice(5, 33), x=slice(10, 45)),
        "lazy": mask.chunk({"y": 11, "x": 13}),
        "none": None,
        "all true": xr.ones_like(mask),
    }[kind]
    expected = steps(runs[:2], grid, exclusion=exclusion).gamma.stack("obs")
    cube = xg.reduce(runs[:2], grid, background=RingBackground(**RING, exclusion=exclusion), chunks=chunks, **OPTIONS)
    assert_equal(cube.load(), expected)


@pytest.mark.parametrize("method", ["fixed_width", "fixed_r_in"])
@pytest.mark.parametrize("chunks", [None, {"y": 30, "x": 21}])
def test_adaptive_ring(runs, method, chunks):
    ring = {"r_in": "0.4 deg", "width": "0.2 deg", "r_out_max": "1.2 deg", "stepsize": "0.2 deg", "method": method}
    more = {"threshold_alpha": 0.15, "theta": "0.2 deg"}
    images = xg.reduce(runs[:3], make_grid(), stack=False, **OPTIONS).gamma.to_image()
    expected = adaptive_ring_background(images, **ring, **more, exclusion=SOURCE).gamma.stack("obs").load()
    background = AdaptiveRingBackground(**ring, **more, exclusion=SOURCE)
    cube = xg.reduce(runs[:3], make_grid(), background=background, chunks=chunks, **OPTIONS).load()
    assert_equal(cube, expected)
    assert cube.attrs["background_method"].startswith("adaptive_ring_background(")


def test_holes_of_the_ring(runs):
    """Where the exclusion swallows the ring there is no background, and the exposure is left out too."""
    hole = CircleSkyRegion(SkyCoord(150, -25, unit="deg"), 1.0 * u.deg)
    expected = steps(runs[:2], make_grid(), exclusion=hole, r_in="0.2 deg", width="0.2 deg").gamma.stack("obs")
    background = RingBackground(r_in="0.2 deg", width="0.2 deg", exclusion=hole)
    cube = xg.reduce(runs[:2], make_grid(), background=background, chunks={"y": 20, "x": 20}, **OPTIONS).load()
    assert_equal(cube, expected)
    empty = (cube.acceptance_off == 0) & (cube.gamma.region_mask(hole))
    assert bool(empty.any())
    assert float(cube.exposure.where(empty.squeeze()).sum()) == 0


def test_across_the_seam_of_an_all_sky_map(make_store):
    """The footprint is in two parts at both ends of the map; ring and sums treat each as its pixels lie."""
    store = make_store({"ra": 179.8, "dec": -2.0}, {"ra": 180.4, "dec": -1.0})
    grid = make_grid(("360 deg", "12 deg"), SkyCoord(0, 0, unit="deg"), "0.5 deg")
    options = {"offset_max": "2 deg", "safe_mask": "offset-max"}
    ring = {"r_in": "1 deg", "width": "1 deg"}
    expected = steps(store.observations, grid, exclusion=None, options=options, **ring).gamma.stack("obs")
    for chunks in (None, {"y": 24, "x": 50}):
        cube = xg.reduce(store.observations, grid, background=RingBackground(**ring), chunks=chunks, **options).load()
        assert_equal(cube, expected)
    assert float(cube.counts[0, :, 0].sum() + cube.counts[0, :, -1].sum()) > 0


def test_many_runs_are_added_as_a_tree(runs, by_steps, monkeypatch):
    monkeypatch.setattr("xgamma.reduction.builder.LARGEST_BATCH", 1)
    background = RingBackground(**RING, exclusion=[SOURCE])
    cube = xg.reduce(runs * 2, make_grid(), background=background, chunks={"y": 30, "x": 30}, **OPTIONS).load()
    once = by_steps.gamma.stack("obs")
    for name in ("counts", "counts_off", "background", "acceptance", "exposure"):
        np.testing.assert_allclose(cube[name], 2 * once[name], rtol=1e-10, atol=1e-10 * float(once[name].max()))
    ratio = cube.acceptance / cube.acceptance_off.where(cube.acceptance_off > 0) * cube.counts_off
    np.testing.assert_allclose(ratio.fillna(0.0), cube.background, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunks", [None, {"y": 20, "x": 20}])
def test_nothing_is_computed_before(runs, chunks):
    def refuse(*args, **kwargs):
        msg = "computed while the graph was built"
        raise AssertionError(msg)

    lazy = ~make_grid().gamma.region_mask(SOURCE).chunk({"y": 11, "x": 13})
    with dask.config.set(scheduler=refuse):
        for exclusion in (SOURCE, lazy):
            cube = xg.reduce(
                runs, make_grid(), background=RingBackground(**RING, exclusion=exclusion), chunks=chunks, **OPTIONS
            )
            assert all(isinstance(v.data, da.Array) for v in cube.data_vars.values())


def test_written_piece_by_piece(runs, by_steps, tmp_path):
    """A second call finds the pieces; another ring is refused."""

    def write(**ring):
        background = RingBackground(**{**RING, **ring}, exclusion=[SOURCE])
        cube = xg.reduce(runs, make_grid(), background=background, chunks={"y": 25, "x": 25}, **OPTIONS)
        return cube.gamma.to_zarr(tmp_path / "ring.zarr", resume=True, dtype="float64")

    assert write().n_written == 5
    assert write().n_written == 0
    with pytest.raises(ValueError, match="begun with other settings"):
        write(width="0.5 deg")
    assert_equal(xg.open_cube(tmp_path / "ring.zarr").load(), by_steps.gamma.stack("obs"))


@pytest.mark.parametrize("exclusion", ["regions", "mask"])
def test_pieces_know_what_they_are_made_of(runs, exclusion):
    def tokens(center, **ring):
        region = CircleSkyRegion(SkyCoord(center, -25.5, unit="deg"), 0.2 * u.deg)
        grid = make_grid()
        given = region if exclusion == "regions" else ~grid.gamma.region_mask(region)
        background = RingBackground(**{**RING, **ring}, exclusion=given)
        cube = xg.reduce(runs, grid, background=background, chunks={"y": 10, "x": 10}, **OPTIONS)
        return {p.name: p.token for p in pieces_of(cube)}

    first = tokens(150.0)
    assert first == tokens(150.0)
    assert first != tokens(150.0, width="0.4 deg")
    moved = tokens(150.2)
    assert first != moved
    if exclusion == "mask":
        # far away from both circles nothing has changed
        assert first["sky.4.0"] == moved["sky.4.0"]


def test_tasks_are_small(runs):
    """What travels to a worker knows nothing of the whole map."""
    background = RingBackground(**RING, exclusion=~make_grid("20 deg").gamma.region_mask(SOURCE))
    cube = xg.reduce(runs, make_grid("20 deg"), background=background, chunks={"y": 20, "x": 20}, **OPTIONS)
    graph = dict(cube.counts.data.__dask_graph__())
    assert max(len(pickle.dumps(task)) for task in graph.values()) < 40_000


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"background": "ring"}, TypeError, "no background that reduce can make run by run"),
        ({"background": RingBackground}, TypeError, "no background that reduce can make"),
        ({"selection": "counts"}, ValueError, r"needs \['background'\] in the selection"),
        ({"selection": "all"}, ValueError, "reduce the responses by a call of their own"),
        ({"background": RingBackground(r_in="9 deg", width="1 deg")}, ValueError, "larger than the map"),
        ({"background": RingBackground(r_in=0.5, width="1 deg")}, ValueError, "r_in"),
        ({"background": RingBackground(**RING, exclusion=np.ones((50, 50), bool))}, TypeError, "array without sky"),
        ({"background": RingBackground(**RING, energy_edges=["2 TeV", "1 TeV"])}, ValueError, "ascending"),
        (
            {"background": AdaptiveRingBackground(**RING, r_out_max="0.7 deg")},
            ValueError,
            "leaves no room for a ring",
        ),
        (
            {"background": AdaptiveRingBackground(**RING, r_out_max="2 deg", threshold_alpha=0)},
            ValueError,
            "threshold_alpha=0 must be a positive number",
        ),
    ],
)
def test_words(runs, change, error, words):
    with pytest.raises(error, match=words):
        xg.reduce(runs, make_grid(), **{"background": RingBackground(**RING), **OPTIONS, **change})


def test_energies_out_of_place_are_named(runs):
    background = RingBackground(**RING, energy_edges=["0.5 TeV", "4.5 TeV", "50 TeV"])
    with pytest.warns(UserWarning, match=r"4.5 -> 5"):
        xg.reduce(runs, make_grid(), background=background, **OPTIONS)


def test_without_exposure(runs):
    background = RingBackground(**RING)
    cube = xg.reduce(runs, make_grid(), selection=["counts", "background"], background=background, **OPTIONS)
    assert "exposure" not in cube
    assert float(cube.counts_off.sum()) > 0


def test_msh_15_52(gammapy_data):
    """The twenty runs of gammapy's tutorial: its sums, in one pass and in tiles smaller than the ring's halo."""
    target = SkyCoord(228.32, -59.08, unit="deg")
    runs = xg.open_store(gammapy_data / "hess-dl3-dr1").select(cone=(target, "2.5 deg"))
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10)
    grid = xg.sky_grid(target, "3 deg", "0.02 deg", energy=energy, energy_true=energy)
    background = RingBackground(**RING, exclusion=CircleSkyRegion(target, 0.4 * u.deg))
    for chunks in (None, {"y": 75, "x": 75}):
        options = {"offset_max": "2.5 deg", "safe_mask": "aeff-default", "chunks": chunks}
        cube = xg.reduce(runs, grid, background=background, **options).load()
        # gammapy 2.1, see tests/test_programs.py
        sums = {name: float(cube[name].sum()) for name in cube.data_vars if "acc" in name or "count" in name}
        assert sums["counts"] == 41803
        assert sums["counts_off"] == 87621188
        assert float(cube.background.sum()) == pytest.approx(40671.89932626486, rel=1e-7)
        assert sums["acceptance"] == pytest.approx(44754.76198357344, rel=1e-6)
        assert sums["acceptance_off"] == pytest.approx(96374323.43395996, rel=1e-6)


def test_all_runs_of_hess_in_the_plane(gammapy_data):
    """Every run of the release inside a strip of the plane, in tiles of which many are empty."""
    grid = make_grid(("60 deg", "10 deg"), SkyCoord(340, 0, unit="deg", frame="galactic"), "0.1 deg")
    runs = xg.open_store(gammapy_data / "hess-dl3-dr1").select(inside=grid)
    options = {"offset_max": "2.5 deg", "safe_mask": ["offset-max", "aeff-default"]}
    sources = ["galactic;circle(320.33, -1.19, 0.4)", "galactic;circle(347.3, -0.5, 0.8)"]
    background = RingBackground(**RING, exclusion=sources)
    cube = xg.reduce(runs, grid, background=background, chunks={"y": 50, "x": 50}, **options).load()
    assert_equal(cube, steps(runs, grid, exclusion=sources, options=options).gamma.stack("obs"))
    assert (
        float((cube.counts - cube.background).gamma.cutout(SkyCoord(228.5, -59.2, unit="deg"), "0.6 deg").sum()) > 500
    )
