"""Which pixels a run fills: the square around its pointing, on stretched maps, over seams and poles."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import xgamma as xg
from xgamma.coords.grid import sky_grid
from xgamma.coords.sky import grid_of
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.footprint import footprint, overlap, tiles_of, tiles_of_runs

ENERGY = xg.energy_axis("1 TeV", "30 TeV", nbin=1)
TRUE = xg.energy_axis("1 TeV", "30 TeV", nbin=1, name="energy_true")


def make_grid(lon, lat, width, binsize="0.1 deg", proj="CAR", frame="icrs"):
    return sky_grid(
        SkyCoord(lon, lat, unit="deg", frame=frame), width, binsize, proj=proj, energy=ENERGY, energy_true=TRUE
    )


def filled(grid, lon, lat, radius):
    """Mask of a footprint; no pixel may be in two parts."""
    mask = np.zeros(grid.shape, dtype=int)
    for part in footprint(grid, lon, lat, radius):
        mask[part] += 1
    assert mask.max() <= 1
    return mask.astype(bool)


def within(grid, lon, lat, radius):
    return separation(grid.geometry.vectors, to_vectors(np.asarray(lon), np.asarray(lat))) < radius


def test_square_at_the_reference_point():
    # 2 * 1.25 deg / 0.1 deg = 25 pixels around the middle pixel
    grid = grid_of(make_grid(30, 20, "5.1 deg"))
    assert footprint(grid, 30.0, 20.0, 1.25) == [(slice(13, 38), slice(13, 38))]
    # trimmed at the edge, and missed
    assert footprint(grid, 30.0, 23.5, 1.25) == [(slice(48, 51), slice(13, 38))]
    assert footprint(grid, 30.0, 23.9, 1.25) == []
    assert footprint(grid, 210.0, -20.0, 1.25) == []
    assert footprint(grid, 210.0, -20.0, None) == [(slice(0, 51), slice(0, 51))]
    assert footprint(grid, np.nan, np.nan, 1.25) == []


@pytest.mark.parametrize(
    ("proj", "frame", "center", "width"),
    [
        ("CAR", "icrs", (0, 0), ("360 deg", "180 deg")),
        ("CAR", "galactic", (120, 30), ("200 deg", "90 deg")),
        ("AIT", "galactic", (0, 0), ("360 deg", "180 deg")),
        ("MER", "icrs", (40, 0), ("300 deg", "200 deg")),
        ("TAN", "icrs", (10, 80), "100 deg"),
        ("ZEA", "galactic", (0, 90), "120 deg"),
        ("SFL", "icrs", (0, 0), ("360 deg", "180 deg")),
    ],
)
@settings(max_examples=25, deadline=None)
@given(lon=st.floats(0, 360), z=st.floats(-1, 1), radius=st.floats(1.5, 12))
def test_the_square_holds_the_circle(proj, frame, center, width, lon, z, radius):
    grid = grid_of(make_grid(*center, width, "1 deg", proj, frame))
    lat = float(np.rad2deg(np.arcsin(z)))
    inside = within(grid, lon, lat, radius)
    # rounding to whole pixels may cost half a pixel, which the stretched map makes small on the sky
    clear = within(grid, lon, lat, radius - 1.0)
    mask = filled(grid, lon, lat, radius)
    assert not (clear & ~mask).any()
    if not mask.any():
        assert not clear.any()
    assert inside.sum() >= clear.sum()


def test_high_latitude(make_store):
    # at 80 deg from the equator of the map, the field of view is almost six times as wide in pixels
    grid = make_grid(0, 0, ("60 deg", "180 deg"), "0.5 deg")
    run = make_store({"ra": 5.0, "dec": 80.0}).get(1)
    cube = xg.reduce(run, grid, offset_max="2 deg", stack=False, safe_mask="offset-max").compute().isel(obs=0)
    whole = xg.reduce(run, grid, safe_mask={"offset-max": {"offset_max": "2 deg"}}, stack=False).compute().isel(obs=0)
    for name in ("counts", "background", "exposure"):
        safe = whole.mask_safe.any("energy")
        assert_array_equal(cube[name].where(safe), whole[name].where(safe))
    assert_array_equal(cube.mask_safe, whole.mask_safe)
    filled_columns = np.flatnonzero((cube.exposure > 0).any(("energy_true", "y")))
    assert len(filled_columns) > 2 * 2 / 0.5 * 5


@pytest.mark.parametrize("chunks", [None, {"y": 50, "x": 70}])
def test_both_sides_of_the_seam(make_store, chunks):
    grid = make_grid(0, 0, ("360 deg", "20 deg"), "0.25 deg")
    run = make_store({"ra": 179.6, "dec": 3.0}).get(1)
    cube = xg.reduce(run, grid, offset_max="2.5 deg", chunks=chunks).compute()
    assert float(cube.counts[:, :, :20].sum()) > 0
    assert float(cube.counts[:, :, -20:].sum()) > 0
    events = run.events
    energy = (events.energy >= 1) & (events.energy < 30)
    square = (abs(events.ra - 179.6) < 2.4) & (abs(events.dec - 3) < 2.4)
    assert float(cube.counts.sum()) == float((energy & square).sum())
    # the same run on a map that is centred on it
    centred = make_grid(180, 0, ("20 deg", "20 deg"), "0.25 deg")
    other = xg.reduce(run, centred, offset_max="2.5 deg").compute()
    for name in ("counts", "exposure", "background"):
        joined = np.concatenate([cube[name][:, :, -40:], cube[name][:, :, :40]], axis=-1)
        np.testing.assert_allclose(joined, other[name], rtol=1e-9, err_msg=name)


def test_over_the_pole(make_store):
    grid = make_grid(0, 0, ("360 deg", "180 deg"), "1 deg")
    run = make_store({"ra": 40.0, "dec": 89.0}).get(1)
    cube = xg.reduce(run, grid, offset_max="3 deg", stack=False).compute().isel(obs=0)
    offset = SkyCoord(grid.lon.values, grid.lat.values, unit="deg").separation(SkyCoord(40, 89, unit="deg")).deg
    assert_array_equal(cube.exposure[0].values[offset < 2.4] > 0, True)
    keep = (run.events.energy >= 1) & (run.events.energy < 30)
    assert float(cube.counts.sum()) == float(keep.sum())


def test_overlap_of_parts():
    parts = [(slice(0, 10), slice(0, 3)), (slice(0, 10), slice(7, 10))]
    assert overlap(parts, (slice(5, 20), slice(2, 8))) == [(slice(0, 5), slice(0, 1)), (slice(0, 5), slice(5, 6))]
    assert overlap(parts, (slice(5, 20), slice(4, 6))) == []


@settings(max_examples=50, deadline=None)
@given(lon=st.floats(0, 360), lat=st.floats(-89, 89), side=st.integers(3, 40))
def test_tiles_cover_the_footprint(lon, lat, side):
    grid = grid_of(make_grid(0, 0, ("360 deg", "60 deg"), "2 deg"))
    edges = tuple(np.append(np.arange(0, n, side), n) for n in grid.shape)
    tiles = tiles_of(grid, lon, lat, 4.0, edges)
    assert len(set(tiles)) == len(tiles)
    rows, columns = np.nonzero(filled(grid, lon, lat, 4.0))
    row, column = (np.searchsorted(e, k, "right") - 1 for e, k in zip(edges, (rows, columns), strict=True))
    touched = set(zip(row.tolist(), column.tolist(), strict=True))
    assert touched <= set(tiles)


def test_a_table_that_lies_is_refused(survey, make_store):
    run = make_store({"ra": 150.0, "dec": -25.0}).get(1)
    lying = type(run)(run.obs_id, run.hdus, (("ra_pnt", 151.0), ("dec_pnt", -25.0)))
    grid = make_grid(150, -25, "6 deg")
    # one tile: nothing is missed, whatever the table says
    xg.reduce(lying, grid, offset_max="1 deg").compute()
    cube = xg.reduce(lying, grid, offset_max="1 deg", chunks={"y": 20, "x": 20})
    with pytest.raises(
        ValueError, match=r"run 1 points at ICRS \(150.0000, -25.0000\) deg, its row of the observation"
    ):
        cube.compute()


@pytest.mark.parametrize("radius", [2.5, 8.0, None])
@pytest.mark.parametrize(
    ("proj", "frame", "center", "width", "binsize"),
    [
        ("CAR", "galactic", (0, 0), ("360 deg", "180 deg"), "0.5 deg"),
        ("CAR", "galactic", (0, 0), ("130 deg", "20 deg"), "0.1 deg"),
        ("CAR", "icrs", (120, 60), ("200 deg", "50 deg"), "0.3 deg"),
        ("AIT", "galactic", (0, 0), ("360 deg", "180 deg"), "0.5 deg"),
        ("MER", "icrs", (40, 0), ("300 deg", "150 deg"), "0.5 deg"),
        ("TAN", "icrs", (10, 80), "60 deg", "0.2 deg"),
        ("ZEA", "icrs", (10, -90), "100 deg", "0.5 deg"),
        ("SIN", "icrs", (0, 0), "40 deg", "0.1 deg"),
    ],
)
def test_tiles_of_many_runs_are_those_of_each(proj, frame, center, width, binsize, radius):
    grid = grid_of(make_grid(*center, width, binsize, proj, frame))
    edges = tuple(np.append(np.arange(0, n, max(5, n // 13)), n) for n in grid.shape)
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(0, 360, 120), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 120)))
    lon[0] = lat[0] = np.nan
    together = tiles_of_runs(grid, lon, lat, radius, edges)
    assert any(together)
    for tiles, position in zip(together, zip(lon, lat, strict=True), strict=True):
        assert sorted(tiles) == sorted(tiles_of(grid, *position, radius, edges))
