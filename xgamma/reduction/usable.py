"""The pixels that a background may use, cut for each tile and its halo."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.base import optimize

from xgamma.reduction.graph import Key
from xgamma.reduction.on_off import halo

__all__ = ["UsableTiles", "usable_tiles"]


@dataclass(frozen=True, eq=False)
class UsableTiles:
    """Masks of tiles in a graph; tiles are named by the array positions (y, x) of their first pixels.

    Parameters
    ----------
    tasks
        Tasks that make them.
    keys
        Key of each tile's mask; none for a tile of which all pixels may be used.
    hashes
        What the masks in memory hold.
    """

    tasks: dict[Key, Any]
    keys: dict[tuple[int, int], Key]
    hashes: dict[tuple[int, int], str]


def usable_tiles(
    usable: xr.Variable | None,
    tiles: Collection[tuple[int, int]],
    edges: tuple[np.ndarray, np.ndarray],
    depth: tuple[int, int],
    name: str,
) -> UsableTiles:
    """Cut a mask, in memory or lazy, into tiles with a halo.

    Parameters
    ----------
    usable
        Dims (y, x) of the whole grid; None if all pixels may be used.
    tiles
        Rows and columns of the tiles that are wanted.
    edges
        Array positions of the tile edges along (y, x).
    depth
        Pixels of the halo.
    name
        First part of the keys.
    """
    result = UsableTiles({}, {}, {})
    if usable is None:
        return result
    for j, i in sorted(tiles):
        tile = slice(int(edges[0][j]), int(edges[0][j + 1])), slice(int(edges[1][i]), int(edges[1][i + 1]))
        place = tile[0].start, tile[1].start
        part = usable.data[halo(tile, depth, usable.shape)]  # type: ignore[arg-type]
        if isinstance(part, np.ndarray):
            if part.all():
                continue
            key: Key = (name, j, i)
            result.tasks[key] = _unpack, np.packbits(part), part.shape
            result.hashes[place] = hashlib.sha256(np.packbits(part).tobytes()).hexdigest()[:32]
        else:
            # one block, and of the mask's graph what it needs
            (block,) = optimize(part.rechunk(part.shape))
            result.tasks.update(dict(block.__dask_graph__()))
            key = block.__dask_keys__()[0][0]
        result.keys[place] = key
    return result


def _unpack(bits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
