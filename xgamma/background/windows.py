"""Maps made window by window: each tile of the results from the pixels that it needs, all results in one task."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any

import numpy as np
import xarray as xr

from xgamma.kernels.convolve import tile_chunks

__all__ = ["Span", "Window", "map_windows", "sky_chunks", "spans", "split_again", "tile_sizes"]

#: What all results of one task may take; larger tiles are cut.
TASK_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Span:
    """A range of a result along one dimension, and the range of the input that it is made of.

    Attributes
    ----------
    start, stop
        Of the result.
    first, last
        Of the input; `last` is not part of it.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def inner(self) -> slice:
        """The range of the result, counted from the first of the input: for dims that both have."""
        return slice(self.start - self.first, self.stop - self.first)


#: A span for each dimension.
Window = Mapping[str, Span]
#: ``function(arrays, window, **settings)`` returns a numpy array for each result, of the shape of the window.
WindowFunction = Callable[..., Sequence[np.ndarray]]


def spans(sizes: Sequence[int], depth: int = 0) -> tuple[Span, ...]:
    """Return the spans of tiles that see `depth` pixels of their neighbours.

    Parameters
    ----------
    sizes
        Lengths of the tiles.
    depth
        Pixels beyond an edge; there is nothing beyond the ends.

    Returns
    -------
    tuple of Span

    Examples
    --------
    >>> spans((4, 3), 1)
    (Span(start=0, stop=4, first=0, last=5), Span(start=4, stop=7, first=3, last=7))
    """
    edges = list(itertools.accumulate(sizes, initial=0))
    return tuple(
        Span(a, b, max(0, a - depth), min(edges[-1], b + depth)) for a, b in itertools.pairwise(edges) if b > a
    )


def tile_sizes(
    chunks: tuple[Sequence[int], Sequence[int]], depth: tuple[int, int], bytes_per_pixel: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tiles along (y, x) in which results are made: the chunks of the input, joined or cut.

    Chunks smaller than what is needed beyond their edges are joined; too large ones are cut into equal parts.

    Parameters
    ----------
    chunks
        Chunks of the input along (y, x).
    depth
        Pixels that are needed beyond an edge: tiles are not cut to less than four times that.
    bytes_per_pixel
        What all results of a pixel take.

    Returns
    -------
    tuple of two tuples of int

    Examples
    --------
    >>> tile_sizes(((500, 500), (500, 300)), (5, 5), 500.0)
    ((250, 250, 250, 250), (250, 250, 250, 50))
    """
    wide = tuple(tile_chunks(tuple(c), d) for c, d in zip(chunks, depth, strict=True))
    sizes = [max(c) for c in wide]
    while bytes_per_pixel * math.prod(sizes) > TASK_BYTES:
        # the longer side first; equal parts if there are such, so that a regular tiling remains one
        for axis in sorted((0, 1), key=lambda a: -sizes[a]):
            half = (sizes[axis] + 1) // 2
            if half >= max(4 * depth[axis], 1) and half < sizes[axis]:
                sizes[axis] = half
                break
        else:
            break
    rows, columns = (_cut_chunks(c, size) for c, size in zip(wide, sizes, strict=True))
    return rows, columns


def sky_chunks(arrays: Iterable[xr.Variable]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the chunks along (y, x) of the first lazy array that has the dim, the whole length where none is lazy.

    Examples
    --------
    >>> import dask.array as da
    >>> sky_chunks([xr.Variable(("y", "x"), np.ones((4, 6))), xr.Variable("x", da.ones(6, chunks=3))])
    ((4,), (3, 3))
    """
    found = list(arrays)
    rows, columns = (
        next((a.chunksizes[d] for a in found if d in a.chunksizes), next((a.sizes[d],) for a in found if d in a.dims))
        for d in ("y", "x")
    )
    return tuple(rows), tuple(columns)


def split_again(
    maps: dict[str, xr.Variable], chunks: tuple[tuple[int, ...], tuple[int, ...]]
) -> dict[str, xr.Variable]:
    """Split maps along (y, x) into the chunks of the input where these had been joined for the work.

    Examples
    --------
    >>> import dask.array as da
    >>> joined = {"a": xr.Variable(("y", "x"), da.ones((4, 4), chunks=4))}
    >>> split_again(joined, ((2, 2), (4,)))["a"].chunks
    ((2, 2), (4,))
    """
    result = {}
    for name, array in maps.items():
        finer = {d: c for d, c in zip(("y", "x"), chunks, strict=True) if len(array.chunksizes.get(d, c)) < len(c)}
        result[name] = array.chunk(finer) if finer else array
    return result


def _cut_chunks(chunks: tuple[int, ...], size: int) -> tuple[int, ...]:
    if size >= max(chunks):
        return chunks
    if len(set(chunks[:-1])) > 1 or chunks[0] % size:
        # cutting each chunk would leave unequal tiles, which Zarr cannot hold: a tiling of its own
        chunks = (sum(chunks),)
    return tuple(min(size, chunk - start) for chunk in chunks for start in range(0, chunk, size))


def map_windows(
    function: WindowFunction,
    arrays: Mapping[str, xr.Variable],
    names: Sequence[str],
    plan: Mapping[str, Sequence[Span]],
    extra: Mapping[str, Callable[[Window], Span]] | None = None,
    **settings: Any,
) -> dict[str, xr.Variable]:
    """Make several maps of one shape out of arrays that share dimensions.

    Parameters
    ----------
    function
        ``function(arrays, window, **settings)``: gets the arrays of a window by name, as Variables in memory, and a
        `Window`; returns an array for each name.
    arrays
        Input; dims are some of those of `plan` and `extra`.
    names
        What is returned.
    plan
        For each dimension of the results, in their order, the spans of the tiles.
    extra
        For dimensions that the input has beside them, as those of a coarser grid: which range of the input a window of
        the others needs. The function finds it in its window.
    **settings
        Small arguments, the same for all tiles.

    Returns
    -------
    dict of xarray.Variable
        float64. In memory if all input is, else lazy: one task a tile makes all results, out of tiles of the input
        and strips of their neighbours.

    Examples
    --------
    >>> def double(arrays, window):
    ...     return [2.0 * arrays["a"].values[window["x"].inner]]
    >>> map_windows(double, {"a": xr.Variable("x", [1, 2, 3])}, ["b"], {"x": spans((3,))})["b"].values
    array([2., 4., 6.])
    """
    dims = tuple(plan)
    if all(isinstance(a.data, np.ndarray) for a in arrays.values()):
        whole = {d: _joined(s) for d, s in plan.items()}
        whole |= {d: along(whole) for d, along in (extra or {}).items()}
        made = function(dict(arrays), whole, **settings)
        return {n: xr.Variable(dims, m) for n, m in zip(names, made, strict=True)}
    return _lazy(function, arrays, names, plan, extra or {}, settings)


def _joined(parts: Sequence[Span]) -> Span:
    return Span(parts[0].start, parts[-1].stop, min(p.first for p in parts), max(p.last for p in parts))


def _lazy(
    function: WindowFunction,
    arrays: Mapping[str, xr.Variable],
    names: Sequence[str],
    plan: Mapping[str, Sequence[Span]],
    extra: Mapping[str, Callable[[Window], Span]],
    settings: dict[str, Any],
) -> dict[str, xr.Variable]:
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    dims = tuple(plan)
    inputs = {n: (tuple(map(str, a.dims)), _as_dask(a, plan)) for n, a in arrays.items()}
    words = [(n, d, a.name) for n, (d, a) in inputs.items()]
    base = f"windows-{tokenize(function, words, list(names), [(d, list(s)) for d, s in plan.items()], settings)}"
    call = functools.partial(_call, function, tuple((n, d) for n, (d, _) in inputs.items()), settings)
    tasks: dict[Any, Any] = {}
    for index in np.ndindex(*(len(plan[d]) for d in dims)):
        window = {d: plan[d][i] for d, i in zip(dims, index, strict=True)}
        window |= {d: along(window) for d, along in extra.items()}
        pieces = [_pieces(a, d, window, base, tasks) for d, a in inputs.values()]
        places = tuple(tuple(place for place, _ in p) for p in pieces)
        tasks[(base, *index)] = (functools.partial(call, window, places), *([key for _, key in p] for p in pieces))
    graph = HighLevelGraph.from_collections(base, tasks, dependencies=[a for _, a in inputs.values()])
    chunks = tuple(tuple(s.stop - s.start for s in plan[d]) for d in dims)
    result = {}
    for number, name in enumerate(names):
        layer = f"{name}-{base}"
        take: Any = {(layer, *i): (getitem, (base, *i), number) for i in np.ndindex(*map(len, chunks))}
        part = HighLevelGraph({**graph.layers, layer: take}, {**graph.dependencies, layer: {base}})
        result[name] = xr.Variable(dims, da.Array(part, layer, chunks, meta=np.empty((0,) * len(dims))))
    return result


def _as_dask(array: xr.Variable, plan: Mapping[str, Sequence[Span]]) -> Any:
    import dask.array as da

    if not isinstance(array.data, np.ndarray):
        return array.data
    sizes = {d: tuple(s.stop - s.start for s in p) for d, p in plan.items()}
    # along a dim that the results have not or divide in another way, as energies into groups, one chunk
    chunks = tuple(sizes[str(d)] if sum(sizes.get(str(d), ())) == n else (n,) for d, n in array.sizes.items())
    return da.from_array(np.asarray(array.data), chunks=chunks)


def _pieces(
    array: Any, dims: tuple[str, ...], window: Window, base: str, tasks: dict[Any, Any]
) -> list[tuple[tuple[tuple[int, int], ...], Hashable]]:
    """Where in the window each block of the input goes, and the key of the block or of the part that is needed.

    Parts are cut out by tasks of their own and copied: the block can go, and a cluster moves strips only.
    """
    found = []
    along = [list(_overlaps(c, window[d])) for d, c in zip(dims, array.chunks, strict=True)]
    for blocks in itertools.product(*along):
        key: Hashable = (array.name, *(number for number, _, _, _ in blocks))
        part = tuple((start, stop) for _, start, stop, _ in blocks)
        place = tuple((offset, offset + stop - start) for _, start, stop, offset in blocks)
        if any(stop - start < c[b[0]] for (start, stop), c, b in zip(part, array.chunks, blocks, strict=True)):
            cut = (f"cut-{array.name}-{base}", *(b[0] for b in blocks), *itertools.chain(*part))
            tasks[cut] = (functools.partial(_cut, part), key)
            key = cut
        found.append((place, key))
    return found


def _overlaps(chunks: Sequence[int], span: Span) -> Iterator[tuple[int, int, int, int]]:
    """Blocks that a span touches: number, start and stop inside the block, place inside the span."""
    edge = 0
    for number, size in enumerate(chunks):
        start, stop = max(span.first, edge), min(span.last, edge + size)
        if start < stop:
            yield number, start - edge, stop - edge, start - span.first
        edge += size


def _cut(part: tuple[tuple[int, int], ...], block: np.ndarray) -> np.ndarray:
    return np.array(block[tuple(slice(a, b) for a, b in part)])


def _call(
    function: WindowFunction,
    inputs: tuple[tuple[str, tuple[str, ...]], ...],
    settings: dict[str, Any],
    window: Window,
    places: tuple[tuple[tuple[tuple[int, int], ...], ...], ...],
    *blocks: list[np.ndarray],
) -> list[np.ndarray]:
    arrays = {
        name: xr.Variable(dims, _assemble([window[d] for d in dims], place, parts))
        for (name, dims), place, parts in zip(inputs, places, blocks, strict=True)
    }
    return list(function(arrays, window, **settings))


def _assemble(
    window: Sequence[Span], places: tuple[tuple[tuple[int, int], ...], ...], parts: list[np.ndarray]
) -> np.ndarray:
    if len(parts) == 1:
        return np.asarray(parts[0])
    result = np.empty([s.last - s.first for s in window], dtype=np.result_type(*parts))
    for place, part in zip(places, parts, strict=True):
        result[tuple(slice(a, b) for a, b in place)] = part
    return result
