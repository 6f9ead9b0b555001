"""Writing a lazy cube piece by piece, so that a stop or a fault costs the pieces in flight only."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.cube import INCOMPLETE, consolidate, prepare
from xgamma.io.encoding import common_chunks, regular_chunks, zarr_encoding
from xgamma.io.location import Location
from xgamma.io.lock import Lock, locked
from xgamma.io.marker import FORMAT, GROUP, MARKER, RECORD, read_markers, token_of
from xgamma.io.pieces import Piece, lazy_arrays, pieces_of
from xgamma.io.progress import compute_pieces

__all__ = ["Written", "write_resumable"]

#: Dims along which a store may have other labels when it is written again.
RUNS = ("obs", "run")


@dataclass(frozen=True)
class Written:
    """What writing a cube piece by piece did.

    Parameters
    ----------
    path
        The store.
    n_written
        Pieces computed and written by this call.
    n_pieces
        Pieces of the whole cube.
    seconds
        Wall time.
    missing
        Runs that could not be read and were left out, and why.
    """

    path: str
    n_written: int
    n_pieces: int
    seconds: float
    missing: Mapping[str, str] = field(default_factory=dict)

    def __fspath__(self) -> str:
        return self.path


def write_resumable(
    cube: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    update: bool = False,
    dtype: Any = "float32",
    chunks: Mapping[str, int] | None = None,
    progress: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    compute: Callable[..., int] = compute_pieces,
) -> Written:
    """Write a lazy cube piece by piece; call it again to go on after a stop.

    Parameters
    ----------
    cube
        Lazy dataset.
    store
        Folder or URL.
    overwrite
        Begin anew where a store is there.
    update
        Accept other runs than the store was begun with: pieces that they touch are made again.
    dtype
        Type on disk of float64 maps; None keeps them.
    chunks
        Chunks on disk, see `xgamma.io.cube.to_zarr`.
    progress
        Show a bar.
    storage_options
        What fsspec needs to open a URL; workers get it, the store does not.
    compute
        Computes the pieces; see `xgamma.io.progress.compute_pieces`.

    Returns
    -------
    Written

    Raises
    ------
    FileExistsError
        If something else than a store of this kind lies at `store`.
    ValueError
        If the cube is not lazy, or the store was begun with other settings, axes or runs.
    BlockingIOError
        If another program is writing the store, see `xgamma.io.lock.Lock`.

    Notes
    -----
    The store gets its name when its metadata and axes are written. A piece is a whole number of chunks: no two
    tasks write the same file. After its chunks a task writes the piece's marker, one chunk of the array
    ``xgamma/done``; Zarr replaces chunks atomically. Until all pieces are marked, `xgamma.open_cube` refuses the store.
    """
    start = time.monotonic()
    place = Location.of(store, storage_options)
    if not place.is_url:
        check_target(place.text, overwrite=True)
    dataset = prepare(cube)
    sizes = {**common_chunks(dataset), **(chunks or {})}
    dataset = regular_chunks(dataset, sizes)
    pieces = pieces_of(dataset)
    if not pieces:
        msg = "resume=True is for lazy cubes, this one is in memory already; write it without"
        raise ValueError(msg)
    encoding = zarr_encoding(dataset, dtype, sizes)
    manifest = _manifest(dataset, pieces, dtype)
    with locked(place) as lock:
        if overwrite or not place.exists():
            _begin(dataset, place, encoding, manifest, overwrite)
        else:
            _check_begun(place, manifest, update)
        todo = _todo(place, pieces)
        if todo:
            _reopen(dataset, place, encoding, manifest, todo)
        number = compute(dataset, place, todo, lock, progress=progress) if todo else 0
        _finish(dataset, place, pieces, lock)
    return Written(place.text, number, len(pieces), time.monotonic() - start)


def _manifest(dataset: xr.Dataset, pieces: Sequence[Piece], dtype: Any) -> dict[str, Any]:
    """What has to agree between the first call and those that go on."""
    axes = {str(n): _hash(v.values) for n, v in dataset.coords.items() if v.chunks is None}
    axes |= {n: _hash(repr(sorted(dataset[n].attrs.items()))) for n in ("wcs", "irf_wcs") if n in dataset.coords}
    variables = {
        name: {"dims": list(map(str, dataset[name].dims)), "chunks": [int(c[0]) for c in array.chunks]}
        for name, array in lazy_arrays(dataset).items()
        if not {"gti", *RUNS} & set(map(str, dataset[name].dims))
    }
    return {
        "format": FORMAT,
        "axes": {n: h for n, h in axes.items() if n not in RUNS},
        "variables": variables,
        "dtype": str(dtype),
        "settings": str(dataset.attrs.get("settings", "")),
        "runs": str(dataset.attrs.get("obs_ids", "")),
        "pieces": [p.name for p in pieces],
    }


def _hash(values: Any) -> str:
    return hashlib.sha256(repr(np.asarray(values).tolist()).encode()).hexdigest()[:16]


def _begin(dataset: xr.Dataset, place: Location, encoding: Any, manifest: dict[str, Any], overwrite: bool) -> None:
    """Write metadata and axes under a temporary name, then give the store its name."""
    marked = dataset.assign_attrs({INCOMPLETE: 1})
    options = {"mode": "w", "zarr_format": 3, "consolidated": False, "encoding": encoding, "compute": False}
    if place.is_url:
        marked.to_zarr(place.text, **options, **place.arguments)
        _write_manifest(place, manifest, {})
        return
    with atomic_path(place.text, overwrite) as temporary:
        marked.to_zarr(temporary, **options)
        _write_manifest(Location(str(temporary)), manifest, {})


def _write_manifest(place: Location, manifest: dict[str, Any], markers: Mapping[str, np.ndarray]) -> None:
    """Write the group of manifest and markers; `markers` are those that stay."""
    group = place.group("r+").require_group(GROUP)
    names = manifest["pieces"]
    # the old markers go first: between the two steps no piece counts as done
    done = group.create_array("done", shape=(len(names), RECORD), chunks=(1, RECORD), dtype="uint8", overwrite=True)
    group.attrs.put(manifest)
    for i, name in enumerate(names):
        if name in markers:
            done[i] = markers[name]


def _check_begun(place: Location, manifest: dict[str, Any], update: bool) -> None:
    """Refuse to go on with a store that was begun with something else."""
    begun = _read_manifest(place)
    if begun is None:
        msg = f"{place.text} exists and was not written with resume=True; choose another name, or pass overwrite=True"
        raise FileExistsError(msg)
    if begun.get("format") != FORMAT:
        msg = (
            f"{place.text} was begun by another version of xgamma (format {begun.get('format')!r}); pass overwrite=True"
        )
        raise ValueError(msg)
    ignored = {"pieces", "runs"} if update else {"pieces"}
    different = [k for k in manifest if k not in ignored and begun.get(k) != manifest[k]]
    if not different:
        return
    words = "; ".join(_difference(k, begun.get(k), manifest[k]) for k in different)
    hint = (
        "pass update=True to make the pieces again that they touch" if different == ["runs"] else "choose another name"
    )
    msg = (
        f"{place.text} was begun with other {' and '.join(different)}: {words}; {hint}, or overwrite=True to begin anew"
    )
    raise ValueError(msg)


def _read_manifest(place: Location) -> dict[str, Any] | None:
    try:
        root = place.group("r")
        return dict(root[GROUP].attrs.asdict()) if GROUP in root else None
    except (FileNotFoundError, ValueError):
        return None


def _difference(name: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        return f"{name} {sorted(k for k in {*old, *new} if old.get(k) != new.get(k))} differ"
    if name == "runs":
        before, now = (set(map(str, json.loads(v or "[]"))) for v in (old, new))
        new_runs, gone = now - before, before - now
        return f"{len(new_runs)} runs are new {_some(new_runs)}, {len(gone)} are gone {_some(gone)}"
    return f"{name} was {old!r} and is {new!r}"


def _some(names: set[str]) -> list[str]:
    return sorted(names)[:10]


def _todo(place: Location, pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces whose marker is not their token."""
    markers = read_markers(place)
    absent = np.zeros(RECORD, dtype=np.uint8)
    return [p for p in pieces if not np.array_equal(markers.get(p.name, absent)[:MARKER], token_of(p))]


def _reopen(
    dataset: xr.Dataset,
    place: Location,
    encoding: Any,
    manifest: dict[str, Any],
    todo: Sequence[Piece],
) -> None:
    """Make the store ready: markers of the pieces that stay, arrays of the right shape."""
    root = place.group("r+")
    root.attrs.put({**root.attrs.asdict(), INCOMPLETE: 1})
    again = {p.name for p in todo}
    markers = read_markers(place)
    # on a first call and after a plain stop nothing has to be forgotten
    if _read_manifest(place) != manifest or any(markers[n].any() for n in again if n in markers):
        _write_manifest(place, manifest, {n: m for n, m in markers.items() if n not in again and m.any()})
    _write_runs(dataset, place, root)
    changed = [n for n in lazy_arrays(dataset) if n not in root or root[n].shape != dataset[n].shape]
    if changed:
        for name in changed:
            if name in root:
                del root[name]
        part = dataset[changed].drop_vars(list(dataset.coords), errors="ignore")
        # xarray replaces the attributes of the store by those of what it writes
        part.attrs = {**root.attrs.asdict(), INCOMPLETE: 1}
        part.to_zarr(
            place.text,
            mode="a",
            zarr_format=3,
            consolidated=False,
            encoding={n: encoding[n] for n in changed},
            compute=False,
            **place.arguments,
        )


def _write_runs(dataset: xr.Dataset, place: Location, root: Any) -> None:
    """Put other labels of runs in place of those that a store was begun with."""
    if "run" not in dataset.coords or ("run" in root and np.array_equal(root["run"][:], dataset["run"].values)):
        return
    for name in ["run", *(n for n in lazy_arrays(dataset) if "run" in dataset[n].dims)]:
        if name in root:
            del root[name]
    labels = xr.Dataset(coords={"run": dataset["run"].variable}, attrs=root.attrs.asdict())
    labels.to_zarr(place.text, mode="a", zarr_format=3, consolidated=False, **place.arguments)


def _finish(dataset: xr.Dataset, place: Location, pieces: Iterable[Piece], lock: Lock) -> None:
    """Declare the store complete, if every piece is."""
    lock.confirm()
    lacking = [p.name for p in _todo(place, list(pieces))]
    if lacking:
        msg = f"{len(lacking)} pieces of {place.text} are not done: {lacking[:10]}; call again to go on"
        raise OSError(msg)
    root = place.group("r+")
    if INCOMPLETE in root.attrs:
        kept = {k: v for k, v in root.attrs.asdict().items() if k != INCOMPLETE}
        root.attrs.put({**kept, **dataset.attrs})
        consolidate(place.text, place.options)
