"""Dask graphs of a reduction: fat tasks over (tile, batch of runs), and cheap ones that take a variable out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import getitem
from typing import Any

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from xgamma.reduction.tasks import add

__all__ = ["batches", "running_sum_graph", "variable"]

Key = tuple[Hashable, ...]


def batches(items: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    """Split a sequence into tuples of `size`."""
    return [tuple(items[i : i + size]) for i in range(0, len(items), size)]


def running_sum_graph(
    name: str, place: tuple[int, ...], work: Sequence[tuple[Any, ...]], empty: tuple[Any, ...]
) -> dict[Key, Any]:
    """Return the tasks that do `work` and add each result to the sum so far; the last has the key ``(name, *place)``.

    Parts are made at the same time by several workers and added as soon as the one before is: however many there are,
    one sum and the parts in flight are all that lies in memory, where a tree holds several on each level. The order of
    the additions is fixed by the graph: every scheduler gives the same bits.
    """
    if not work:
        return {(name, *place): empty}
    if len(work) == 1:
        return {(name, *place): work[0]}
    part = f"{name}-part"
    graph: dict[Key, Any] = {(part, *place, 0, i): task for i, task in enumerate(work)}
    before: Key = (part, *place, 0, 0)
    for i in range(1, len(work)):
        after: Key = (name, *place) if i == len(work) - 1 else (part, *place, 1, i)
        graph[after] = (add, before, (part, *place, 0, i))
        before = after
    return graph


def variable(
    source: str,
    layer: Mapping[Any, Any],
    name: str,
    chunks: tuple[tuple[int, ...], ...],
    dtype: Any,
    place: Callable[[tuple[int, ...]], tuple[int, ...]],
) -> da.Array:
    """Return a Dask array whose blocks are the entry `name` of the dicts that `layer` makes.

    Parameters
    ----------
    source
        Name of the layer, the first part of its keys.
    layer
        Tasks that return dicts of arrays.
    name
        Entry to take.
    chunks
        Chunks of the array.
    dtype
        Its dtype.
    place
        Turns a block's index into the rest of the key in `layer`.
    """
    own = f"{name}-{source}"
    numblocks = tuple(len(c) for c in chunks)
    blocks = {
        (own, *index): (getitem, (source, *place(tuple(int(i) for i in index))), name)
        for index in np.ndindex(*numblocks)
    }
    layers: dict[str, Any] = {source: dict(layer), own: blocks}
    graph = HighLevelGraph(layers, {source: set(), own: {source}})
    return da.Array(graph, own, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype=dtype))
