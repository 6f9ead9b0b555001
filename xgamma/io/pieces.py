"""Pieces of a lazy cube: what one task computes, writes and marks as done."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["Block", "Piece", "TileTokens", "lazy_arrays", "pieces_of"]

#: Dims along which a cube is cut into pieces, for each kind of piece.
KINDS: dict[str, tuple[str, ...]] = {
    "sky": ("obs", "region", "time", "y", "x"),
    "irf": ("obs", "region", "time", "irf_y", "irf_x"),
    "rest": ("obs", "region", "time"),
}
#: Arrays whose blocks are taken out of tasks that are named for what goes into a tile.
TILED = "-reduce-"


@dataclass(frozen=True)
class TileTokens:
    """What each block of a layer of tiles is made of; lies in the layer, where no task asks for it.

    Parameters
    ----------
    tokens
        Hash for each block, by its place.
    runs
        Number of runs that touch it, by its place.
    timed
        True if its tasks return the seconds that they took, as ``"seconds"``.
    """

    tokens: Mapping[tuple[int, ...], str]
    runs: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    timed: bool = False

    @staticmethod
    def key(layer: str) -> str:
        """Key under which the tokens of `layer` lie in it."""
        return f"tokens-{layer}"


@dataclass(frozen=True)
class Block:
    """One Dask block of one variable, and where it goes.

    Parameters
    ----------
    variable
        Name of the variable.
    key
        Key of the Dask block.
    region
        Start and stop along each dim.
    source
        What the block is made of: changes when, and only when, its content may change.
    tile
        Key of the task that makes it together with other variables, where that tells the time it took.
    runs
        Number of runs that touch it.
    """

    variable: str
    key: tuple[Any, ...]
    region: tuple[tuple[int, int], ...]
    source: str
    tile: tuple[Any, ...] | None = None
    runs: int = 0

    @property
    def slices(self) -> tuple[slice, ...]:
        """The region as slices."""
        return tuple(slice(a, b) for a, b in self.region)


@dataclass(frozen=True)
class Piece:
    """Blocks that are computed and written together.

    Parameters
    ----------
    name
        Kind and position, for example ``"sky.3.2"``.
    blocks
        Its blocks.
    """

    name: str
    blocks: tuple[Block, ...]

    @property
    def token(self) -> str:
        """Hash of what the piece is made of."""
        text = repr(sorted((b.variable, b.region, b.source) for b in self.blocks))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def tiles(self) -> list[tuple[Any, ...]]:
        """Keys of the tasks that make its blocks and tell the time they took."""
        return list(dict.fromkeys(b.tile for b in self.blocks if b.tile is not None))

    @property
    def runs(self) -> int:
        """Number of runs that touch it."""
        return max((b.runs for b in self.blocks), default=0)


def lazy_arrays(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the Dask arrays of the data variables."""
    return {str(n): v.data for n, v in dataset.variables.items() if v.chunks is not None and n in dataset.data_vars}


def pieces_of(dataset: xr.Dataset) -> list[Piece]:
    """Cut a lazy dataset into pieces: sky tiles, tiles of the responses, and the rest.

    Parameters
    ----------
    dataset
        With regular Dask chunks.

    Returns
    -------
    list of Piece
        Disjoint, in the order of the tiles; together they hold every Dask block of every data variable.

    Notes
    -----
    Numbers of runs join the piece whose task has the run's file open: that of the run's only tile.
    """
    arrays = lazy_arrays(dataset)
    kinds = {name: _kind(dataset[name].dims) for name in arrays}
    groups: dict[tuple[str, tuple[int, ...]], list[Block]] = {}
    chunked = _chunked_dims(dataset, arrays, kinds)
    for name, array in arrays.items():
        kind, dims = kinds[name], dataset[name].dims
        if kind == "rest" and _single_tile(dataset, arrays, kinds):
            kind = "sky"
        for index in np.ndindex(*array.numblocks):
            at = dict(zip(map(str, dims), index, strict=True))
            place = tuple(at.get(d, 0) for d in chunked[kind])
            groups.setdefault((kind, place), []).append(_block(name, array, index))
    return [
        Piece(".".join([kind, *map(str, place)]), tuple(blocks)) for (kind, place), blocks in sorted(groups.items())
    ]


def _kind(dims: tuple[Any, ...]) -> str:
    if "y" in dims and "x" in dims:
        return "sky"
    return "irf" if "irf_y" in dims and "irf_x" in dims else "rest"


def _chunked_dims(
    dataset: xr.Dataset, arrays: Mapping[str, Any], kinds: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """For each kind the dims along which all its variables that have them are cut in the same chunks."""
    result = {}
    for kind, dims in KINDS.items():
        found = []
        for dim in dims:
            cuts = {
                array.chunks[dataset[name].dims.index(dim)]
                for name, array in arrays.items()
                if kinds[name] == kind and dim in dataset[name].dims
            }
            if len(cuts) == 1 and len(next(iter(cuts))) > 1:
                found.append(dim)
        result[kind] = tuple(found)
    return result


def _single_tile(dataset: xr.Dataset, arrays: Mapping[str, Any], kinds: Mapping[str, str]) -> bool:
    """True if the sky is one tile."""
    sky = [n for n in arrays if kinds[n] == "sky"]
    return bool(sky) and all(
        arrays[n].numblocks[dataset[n].dims.index(d)] == 1 for n, d in itertools.product(sky, ("y", "x"))
    )


def _block(name: str, array: Any, index: tuple[int, ...]) -> Block:
    key = (array.name, *(int(i) for i in index))
    edges = [np.concatenate([[0], np.cumsum(c)]) for c in array.chunks]
    region = tuple((int(e[i]), int(e[i + 1])) for e, i in zip(edges, index, strict=True))
    return Block(name, key, region, *_source(array, key))


def _source(array: Any, key: tuple[Any, ...]) -> tuple[str, tuple[Any, ...] | None, int]:
    """What a block is made of: the task of its tile for a reduced cube, else the name of the array."""
    if TILED not in array.name:
        return str(array.name), None, 0
    layers = array.dask.layers
    # a tuple (getitem, key of the task that makes the tile, name of the variable)
    task = layers[array.name][key] if array.name in layers else None
    if not (isinstance(task, tuple) and len(task) == 3 and isinstance(task[1], tuple)):
        return str(array.name), None, 0
    source, *place = task[1]
    tokens = layers[source].get(TileTokens.key(source)) if source in layers else None
    if not isinstance(tokens, TileTokens):
        return str(array.name), None, 0
    where = tuple(place)
    return tokens.tokens[where], task[1] if tokens.timed else None, tokens.runs.get(where, 0)
