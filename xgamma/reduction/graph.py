"""Dask graphs of a reduction: fat tasks over (tile, batch of runs), and cheap ones that take a variable out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import getitem
from typing import Any

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from xgamma.reduction.tasks import add, add_onto

__all__ = ["batches", "lanes_sum_graph", "running_sum_graph", "variable"]

Key = tuple[Hashable, ...]


def batches(items: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    """Split a sequence into tuples of `size`."""
    return [tuple(items[i : i + size]) for i in range(0, len(items), size)]


def lanes_sum_graph(
    name: str, place: tuple[int, ...], lanes: Sequence[Sequence[tuple[Any, ...]]], empty: tuple[Any, ...]
) -> dict[Key, Any]:
    """Return the tasks that do the work of lanes and add all results; the sum has the key ``(name, *place)``.

    A lane is a chain: each task adds to its own result that of the task before. Lanes run at the same time, and
    their sums are added one after the other. However many tasks there are, no result but the last of each lane waits
    for another: with independent tasks a cluster would make results faster than it adds them. The order of the
    additions is fixed by the graph: every scheduler gives the same bits.
    """
    lanes = [lane for lane in lanes if lane]
    if not lanes:
        return {(name, *place): empty}
    graph: dict[Key, Any] = {}
    # names that differ, for schedulers judge tasks by them: sums are no tasks to begin with
    ends: list[Key] = (
        [(f"{name}-part", *place, 0, k) for k in range(len(lanes))] if len(lanes) > 1 else [(name, *place)]
    )
    for k, (lane, end) in enumerate(zip(lanes, ends, strict=True)):
        before: Key | None = None
        for i, task in enumerate(lane):
            key: Key = end if i == len(lane) - 1 else (f"{name}-chain", *place, k, i)
            graph[key] = task if before is None else (add_onto, before, task)
            before = key
    total = ends[0]
    for k in range(1, len(ends)):
        key = (name, *place) if k == len(ends) - 1 else (f"{name}-total", *place, k)
        graph[key] = (add, total, ends[k])
        total = key
    return graph


def running_sum_graph(
    name: str, place: tuple[int, ...], work: Sequence[tuple[Any, ...]], empty: tuple[Any, ...]
) -> dict[Key, Any]:
    """Return the tasks that do `work`, all at the same time, and add the results one after the other.

    See `lanes_sum_graph`, for results that are small beside the memory of a worker.
    """
    return lanes_sum_graph(name, place, [[task] for task in work], empty)


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
