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
    """Return the tasks that do `work`, all at the same time, and add the results one after the other.

    The sum has the key ``(name, *place)``. The order of the additions is fixed by the graph: every scheduler gives
    the same bits.
    """
    if not work:
        return {(name, *place): empty}
    if len(work) == 1:
        return {(name, *place): work[0]}
    # names that differ, for schedulers judge tasks by them: sums are no tasks to begin with
    parts: list[Key] = [(f"{name}-part", *place, k) for k in range(len(work))]
    graph: dict[Key, Any] = dict(zip(parts, work, strict=True))
    total = parts[0]
    for k, part in enumerate(parts[1:], start=1):
        key = (name, *place) if k == len(parts) - 1 else (f"{name}-total", *place, k)
        graph[key] = (add, total, part)
        total = key
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
