"""Maps made window by window: any tiling of input and results gives what the whole gives."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import correlate

from xgamma.background.windows import TASK_BYTES, Span, map_windows, spans, tile_sizes


def neighbours(arrays, window, depth):
    """Sums over a box of two arrays; the second one has no rows."""
    total = arrays["a"].astype(float) + arrays["b"]
    kernel = np.ones((2 * depth[0] + 1, 2 * depth[1] + 1))
    summed = np.stack([correlate(plane, kernel, mode="constant") for plane in total.values])
    inner = (slice(None), window["y"].inner, window["x"].inner)
    return [summed[inner], total.values[inner]]


def cut(length):
    """Any way of cutting a length into pieces."""
    edges = st.sets(st.integers(1, length - 1), max_size=5)
    return edges.map(lambda e: tuple(int(n) for n in np.diff([0, *sorted(e), length])))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_tiles_of_input_and_result(data):
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 9, (2, 11, 13)).astype("float32"), rng.integers(0, 9, (2, 13))
    depth = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 14)))
    lazy_b = data.draw(st.booleans())
    arrays = {
        "a": xr.Variable(("e", "y", "x"), da.from_array(a, chunks=((1, 1), data.draw(cut(11)), data.draw(cut(13))))),
        "b": xr.Variable(("e", "x"), da.from_array(b, chunks=((2,), data.draw(cut(13)))) if lazy_b else b),
    }
    plan = {
        "e": spans(data.draw(cut(2))),
        "y": spans(data.draw(cut(11)), depth[0]),
        "x": spans(data.draw(cut(13)), depth[1]),
    }
    lazy = map_windows(neighbours, arrays, ["sum", "total"], plan, depth=depth)
    loaded = {n: v.copy(data=np.asarray(v.data)) for n, v in arrays.items()}
    whole = {"e": spans((2,)), "y": spans((11,), depth[0]), "x": spans((13,), depth[1])}
    expected = map_windows(neighbours, loaded, ["sum", "total"], whole, depth=depth)
    for name in ("sum", "total"):
        assert isinstance(lazy[name].data, da.Array)
        assert lazy[name].chunks == tuple(tuple(s.stop - s.start for s in plan[d]) for d in ("e", "y", "x"))
        assert_array_equal(lazy[name].values, expected[name].values)


def test_graph_is_built_without_computing_and_has_a_name_that_stays():
    array = xr.Variable(("e", "y", "x"), da.zeros((2, 8, 8), chunks=(2, 4, 4)))
    plan = {"e": spans((2,)), "y": spans((4, 4), 1), "x": spans((4, 4), 1)}

    def refuse(*args, **kwargs):
        msg = "computed while the graph was built"
        raise AssertionError(msg)

    with dask.config.set(scheduler=refuse):
        made = [map_windows(neighbours, {"a": array, "b": array}, ["s", "t"], plan, depth=(1, 1)) for _ in range(2)]
        other = map_windows(neighbours, {"a": array, "b": array}, ["s", "t"], plan, depth=(1, 0))
    assert made[0]["s"].data.name == made[1]["s"].data.name != other["s"].data.name
    assert made[0]["s"].data.name != made[0]["t"].data.name


def test_one_tile_asks_for_its_neighbours_only():
    opened = []

    def note(block, block_id=None):
        opened.append(block_id)
        return block

    array = xr.Variable(("e", "y", "x"), da.zeros((1, 40, 40), chunks=(1, 10, 10)).map_blocks(note, dtype=float))
    opened.clear()  # Dask tries the function on nothing
    plan = {"e": spans((1,)), "y": spans((10,) * 4, 2), "x": spans((10,) * 4, 2)}
    made = map_windows(neighbours, {"a": array, "b": array}, ["s", "t"], plan, depth=(2, 2))
    made["s"][:, 12:18, 21:29].compute(scheduler="synchronous")
    assert sorted(opened) == [(0, y, x) for y in (0, 1, 2) for x in (1, 2, 3)]


def test_spans_end_where_the_map_ends():
    assert spans((3, 5), 4) == (Span(0, 3, 0, 7), Span(3, 8, 0, 8))
    assert spans((0, 2), 1) == (Span(0, 2, 0, 2),)
    assert Span(3, 8, 1, 9).inner == slice(2, 7)


@settings(deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 4), st.integers(0, 60), st.floats(8, 5000))
def test_tiles_are_cut_until_they_fit(ny, nx, number, depth, size):
    chunks = (ny,) * number, (*(nx,) * (number - 1), max(1, nx // 2))
    tiles = tile_sizes(chunks, (depth, depth), size)
    for tile, chunk in zip(tiles, chunks, strict=True):
        assert sum(tile) == sum(chunk)
        # what Zarr can hold: all alike but the last; joined chunks are split again later
        if len(tile) >= len(chunk):
            assert len(set(tile[:-1])) <= 1
            assert tile[-1] <= tile[0]
        # no tile is smaller than what makes its halo worth while, unless the chunks are
        assert tile[0] >= min(chunk[0], 4 * depth)
    if max(t[0] for t in tiles) >= max(8 * depth, 2):
        assert size * tiles[0][0] * tiles[1][0] <= TASK_BYTES or min(t[0] for t in tiles) < max(8 * depth, 2)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((500, 500), (250, 250, 250, 250)),
        ((501, 501), (251, 251, 251, 249)),
        ((500, 300), (250, 250, 250, 50)),
        ((500, 550), (275, 275, 275, 225)),
    ],
)
def test_chunks_are_cut_into_equal_parts_where_there_are_such(chunks, expected):
    rows, columns = tile_sizes((chunks, chunks), (5, 5), 600.0)
    assert rows == columns == expected
