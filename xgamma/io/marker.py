"""Markers of the pieces of a store: what is done, and what it took."""

from __future__ import annotations

import functools
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from operator import getitem
from typing import Any

import numpy as np
import xarray as xr

from xgamma.io.location import Location
from xgamma.io.lock import check_fence
from xgamma.io.pieces import Piece

__all__ = ["piece_tasks", "read_log", "read_markers", "token_of", "write_piece"]

#: Group inside the store whose attributes say what was begun and whose array ``done`` holds the markers.
GROUP = "xgamma"
FORMAT = 2
#: Bytes of a marker that are the token of the piece; zeros where it is not done.
MARKER = 16
#: Bytes of a whole marker: behind the token a line of JSON says what the piece took.
RECORD = 384
#: Columns of the log: units and type.
COLUMNS: dict[str, tuple[str, type]] = {
    "runs": ("", int),
    "seconds": ("s", float),
    "write_seconds": ("s", float),
    "bytes": ("B", int),
    "time": ("s", float),
    "pid": ("", int),
    "host": ("", str),
}
#: Arrays of the store that this process writes, by the token of its lock: while that is held, metadata stay.
_OPENED: dict[str, dict[str, Any]] = {}


def token_of(piece: Piece) -> np.ndarray:
    """Return the token of a piece as bytes."""
    return np.frombuffer(bytes.fromhex(piece.token)[:MARKER], dtype=np.uint8)


def read_markers(place: Location) -> dict[str, np.ndarray]:
    """Return the markers of a store by the names of the pieces; zeros for a piece that is not done."""
    group = place.group("r")[GROUP]
    return dict(zip(group.attrs["pieces"], np.asarray(group["done"][:]), strict=True))


def write_piece(
    blocks: Sequence[np.ndarray], costs: Sequence[Any], *, place: Location, piece: Piece, number: int, fence: str
) -> dict[str, Any]:
    """Write the blocks of a piece into the store, then mark it as done; runs on a worker."""
    check_fence(place, fence)
    start = time.perf_counter()
    stored = 0
    for block, values in zip(piece.blocks, blocks, strict=True):
        array = _array(place, fence, block.variable)
        values = _as_type(np.asarray(values), array.dtype)
        array[block.slices or ...] = values
        stored += values.nbytes
    line = {
        "runs": piece.runs,
        **({"seconds": round(float(sum(np.sum(c) for c in costs)), 4)} if costs else {}),
        "write_seconds": round(time.perf_counter() - start, 4),
        "bytes": stored,
        "time": round(time.time(), 3),
        "pid": os.getpid(),
        "host": platform.node()[:64],
    }
    _array(place, fence, f"{GROUP}/done")[number] = _record(piece, line)
    return {"piece": piece.name, **line}


def _array(place: Location, fence: str, name: str) -> Any:
    """Return an array of the store; its metadata are read once."""
    opened = _OPENED.get(fence)
    if opened is None:
        _OPENED.clear()
        opened = _OPENED.setdefault(fence, {})
    if name not in opened:
        opened[name] = place.group("r+")[name]
    return opened[name]


def _as_type(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Convert values; where one stands for all along an axis (stride 0, as in an empty tile), that one alone."""
    few = values[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in values.strides)]
    return np.broadcast_to(few.astype(dtype, copy=False), values.shape)


def _record(piece: Piece, line: Mapping[str, Any]) -> np.ndarray:
    text = np.frombuffer(json.dumps(line).encode(), dtype=np.uint8)
    record = np.zeros(RECORD, dtype=np.uint8)
    record[:MARKER] = token_of(piece)
    if len(text) <= RECORD - MARKER:
        record[MARKER : MARKER + len(text)] = text
    return record


def piece_tasks(place: Location, pieces: Sequence[Piece], fence: str) -> list[tuple[Any, ...]]:
    """Return the tasks that write pieces."""
    order = {name: i for i, name in enumerate(place.group("r")[GROUP].attrs["pieces"])}
    return [
        (
            functools.partial(write_piece, place=place, piece=p, number=order[p.name], fence=fence),
            [b.key for b in p.blocks],
            [(getitem, key, "seconds") for key in p.tiles],
        )
        for p in pieces
    ]


def read_log(store: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Read what each piece of a store took that was written piece by piece.

    Parameters
    ----------
    store
        Folder or URL; it need not be complete.
    storage_options
        What fsspec needs to open a URL.

    Returns
    -------
    xarray.Dataset
        Along ``piece`` (names such as ``"sky.3.2"``): ``done``, ``runs`` that touch it, ``seconds`` of reducing them
        (NaN where that is not known), ``write_seconds``, ``bytes`` before compression, ``time`` when it was done
        (seconds since 1970, UTC), ``host`` and ``pid``.

    Raises
    ------
    FileNotFoundError
        If there is no store, or it was not written piece by piece.

    Examples
    --------
    >>> import dask.array as da
    >>> import xgamma as xg
    >>> axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2).coords.to_dataset()
    >>> cube = axis.assign(spectrum=("energy", da.ones(2, chunks=1)))
    >>> _ = cube.gamma.to_zarr("spectrum.zarr", resume=True)
    >>> read_log("spectrum.zarr").done.values
    array([ True])
    """
    place = Location.of(store, storage_options)
    try:
        markers = read_markers(place)
    except (KeyError, FileNotFoundError) as error:
        msg = f"{place.text} is no store that was written piece by piece (to_zarr with resume=True); it has no log"
        raise FileNotFoundError(msg) from error
    lines = [_line(record) for record in markers.values()]
    log = xr.Dataset(coords={"piece": list(markers)})
    log["done"] = ("piece", np.array([bool(record[:MARKER].any()) for record in markers.values()]), {"units": ""})
    for name, (units, kind) in COLUMNS.items():
        empty = {int: 0, float: np.nan, str: ""}[kind]
        log[name] = ("piece", np.array([kind(line.get(name, empty)) for line in lines], dtype=kind), {"units": units})
    return log


def _line(record: np.ndarray) -> dict[str, Any]:
    text = record[MARKER:].tobytes().rstrip(b"\0")
    return json.loads(text) if text else {}
