"""Several datasets in one Zarr store or netCDF file: a group each, written at once or not at all, opened lazily."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import xarray as xr

from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.attrs import from_json, to_json
from xgamma.io.cube import GROUPS, INCOMPLETE, file_kind, open_cube, prepare
from xgamma.io.encoding import common_chunks, float_type, netcdf_encoding, regular_chunks, zarr_encoding
from xgamma.io.fits_file import expand_path
from xgamma.io.location import Location, is_url

__all__ = ["is_tree", "open_groups", "write_netcdf_groups", "write_zarr_groups"]

#: Version of this layout.
VERSION = 1
#: How many chunks a store has when it is complete: a chunk that is lost would be read as zeros.
CHUNKS = "xgamma_chunks"
ROOT = "/"
#: Group that holds the models of a tree; no dataset can have this name.
MODELS = "xgamma_models"


def write_zarr_groups(
    groups: Mapping[str, xr.Dataset],
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dtype: Any = None,
    chunks: Mapping[str, int] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> str | Path:
    """Write datasets as groups of one Zarr store; lazy ones are streamed, what they share is computed once.

    Parameters
    ----------
    groups
        Datasets by their path in the store; ``"/"`` is its root.
    store
        Folder or URL.
    overwrite
        Replace a store that is there.
    dtype, chunks
        As in `xgamma.io.cube.to_zarr`.
    storage_options
        What fsspec needs to open a URL.

    Returns
    -------
    pathlib.Path or str

    Examples
    --------
    >>> import xgamma as xg
    >>> axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2).coords.to_dataset()
    >>> write_zarr_groups({"one": axis, "two/deep": axis}, "groups.zarr").name
    'groups.zarr'
    >>> list(open_groups("groups.zarr"))
    ['/', 'one', 'two', 'two/deep']
    """
    place = Location.of(store, storage_options)
    prepared = _prepared(groups)
    if place.is_url:
        fs, path = place.filesystem()
        if fs.exists(path):
            if not overwrite:
                msg = f"{place.text} exists; pass overwrite=True to replace it, or choose another name"
                raise FileExistsError(msg)
            fs.rm(path, recursive=True)
        try:
            _stream(prepared, place, float_type(dtype), chunks)
        except BaseException:
            if fs.exists(path):
                fs.rm(path, recursive=True)
            raise
        return place.text
    target = check_target(store, overwrite)
    with atomic_path(target, overwrite) as temporary:
        _stream(prepared, Location.of(temporary), float_type(dtype), chunks)
    return target


def write_netcdf_groups(
    groups: Mapping[str, xr.Dataset], path: str | os.PathLike[str], *, overwrite: bool = False, dtype: Any = None
) -> Path:
    """Write datasets as groups of one netCDF-4 file; arguments as of `write_zarr_groups`.

    Examples
    --------
    >>> import xgamma as xg
    >>> axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2).coords.to_dataset()
    >>> _ = write_netcdf_groups({"one": axis}, "groups.nc")
    >>> open_groups("groups.nc")["one"].identical(axis)
    True
    """
    target = check_target(path, overwrite)
    prepared = _prepared(groups)
    with atomic_path(target, overwrite) as temporary:
        for number, (name, dataset) in enumerate(prepared.items()):
            with _named(name):
                encoding = netcdf_encoding(dataset, float_type(dtype))
            dataset.to_netcdf(
                temporary, mode="w" if number == 0 else "a", group=name, format="NETCDF4", engine="netcdf4",
                encoding=encoding,
            )  # fmt: skip
    return target


def open_groups(
    path: str | os.PathLike[str], chunks: Any = "auto", *, storage_options: Mapping[str, Any] | None = None
) -> dict[str, xr.Dataset]:
    """Open all groups of a store or file, the root first; nothing but headers and axes is read.

    Parameters
    ----------
    path, chunks, storage_options
        As in `xgamma.io.cube.open_cube`.

    Returns
    -------
    dict
        Datasets by their path.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    OSError
        If it was not finished, or a group or chunks of it are missing.
    ValueError
        If it holds no groups that xgamma wrote, or in a newer layout.

    Examples
    --------
    See `write_zarr_groups`.
    """
    where = os.fspath(path)
    names = _contents(where, storage_options)
    result: dict[str, xr.Dataset] = {}
    for name in names:
        try:
            dataset = open_cube(path, chunks, group=name, storage_options=storage_options)
        except (OSError, ValueError, KeyError) as error:
            msg = f"group {name!r} of {where} cannot be read, though it should be there: {error}"
            raise OSError(msg) from error
        if name == ROOT:
            dataset.attrs = {k: v for k, v in dataset.attrs.items() if k not in (GROUPS, CHUNKS)}
        result[name] = dataset
    return result


def is_tree(path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> bool:
    """Return whether a store or file holds groups that `write_zarr_groups` or `write_netcdf_groups` wrote."""
    return GROUPS in _root_attrs(os.fspath(path), storage_options)


def _prepared(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return what is written, parents before children, with the list of all in the attributes of the root."""
    names = [ROOT]
    for given in groups:
        parts = [p for p in given.split("/") if p]
        names += ["/".join(parts[: i + 1]) for i in range(len(parts))]
    result: dict[str, xr.Dataset] = {}
    for name in dict.fromkeys(names):
        with _named(name):
            result[name] = prepare(groups.get(name, xr.Dataset()))
    result[ROOT].attrs[GROUPS] = to_json({"version": VERSION, "groups": list(result)})
    return result


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say in errors which group they are about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        msg = f"group {name!r}: {error}"
        raise type(error)(msg) from error


def _stream(groups: Mapping[str, xr.Dataset], place: Location, dtype: Any, chunks: Mapping[str, int] | None) -> None:
    lazy: list[tuple[str, Any]] = []
    for name, dataset in groups.items():
        with _named(name):
            sizes = {**common_chunks(dataset), **(chunks or {})}
            # what files keep in another form is small: times of runs
            plain = {n: v.load() for n, v in dataset.variables.items() if v.dtype.kind not in "biuf"}
            regular = regular_chunks(dataset.assign(plain) if plain else dataset, sizes)
            encoding = zarr_encoding(regular, dtype, sizes)
        if name == ROOT:
            regular = regular.assign_attrs({INCOMPLETE: 1})
        # consolidated metadata of every group would be written again for each one that follows
        regular.to_zarr(
            place.text, group=name, mode="w-" if name == ROOT else "a", zarr_format=3, consolidated=False,
            encoding=encoding, compute=False, **place.arguments,
        )  # fmt: skip
        prefix = "" if name == ROOT else f"{name}/"
        lazy += [(f"{prefix}{n}", v.data) for n, v in regular.variables.items() if v.chunks is not None]
    root = place.group("r+")
    if lazy:
        # one call for all groups: a graph of its own for each would compute what they share again
        da.store([array for _, array in lazy], [root[path] for path, _ in lazy], lock=False)
    count = {CHUNKS: _count(place)}
    root.attrs.put({k: v for k, v in root.attrs.asdict().items() if k != INCOMPLETE} | count)


def _count(place: Location) -> int:
    """Number of objects of a store that hold numbers."""
    if place.is_url:
        fs, path = place.filesystem()
        return sum(1 for f in fs.find(path) if not f.endswith("zarr.json"))
    return sum(f != "zarr.json" and not f.startswith(".") for _, _, files in os.walk(place.text) for f in files)


def _contents(path: str, storage_options: Mapping[str, Any] | None) -> list[str]:
    """Return the names of all groups after checking that they can be there."""
    attrs = _root_attrs(path, storage_options)
    if INCOMPLETE in attrs:
        msg = f"the store {path} was not finished when it was written; write it again with overwrite=True"
        raise OSError(msg)
    if GROUPS not in attrs:
        msg = (
            f"{path} holds no tree that xgamma wrote: xgamma.open_cube opens a store of one cube, xarray.open_datatree "
            "groups of other programs"
        )
        raise ValueError(msg)
    table = from_json(str(attrs[GROUPS]), GROUPS)
    if not isinstance(table, dict) or not isinstance(table.get("version"), int) or "groups" not in table:
        msg = f"the list of groups of {path} is damaged: {str(attrs[GROUPS])[:80]!r}"
        raise OSError(msg)
    if table["version"] > VERSION:
        msg = (
            f"{path} was written by a newer xgamma, in version {table['version']} of its layout; this one reads up to "
            f"{VERSION}: install a newer xgamma"
        )
        raise ValueError(msg)
    place = Location.of(path, storage_options) if CHUNKS in attrs else None
    if place is not None:
        found, wanted = _count(place), int(attrs[CHUNKS])
        if found < wanted:
            msg = f"{wanted - found} of {wanted} chunks of {path} are missing; copy it again, or make it again"
            raise OSError(msg)
    return [str(name) for name in table["groups"]]


def _root_attrs(path: str, storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    kind = file_kind(path)
    if kind == "zarr":
        try:
            return dict(Location.of(path, storage_options).group("r").attrs.asdict())
        except (OSError, ValueError, KeyError) as error:
            place = path if is_url(path) else expand_path(path)
            if isinstance(error, FileNotFoundError):
                msg = f"there is no Zarr store {place}; check the path"
                raise FileNotFoundError(msg) from error
            msg = f"the Zarr store {place} is damaged: {error}"
            raise OSError(msg) from error
    if kind == "netcdf":
        import netCDF4

        try:
            with netCDF4.Dataset(expand_path(path)) as file:
                return {name: file.getncattr(name) for name in file.ncattrs()}
        except OSError as error:
            msg = f"{expand_path(path)} is a damaged or truncated netCDF file ({error.strerror}); make it again"
            raise OSError(msg) from error
    return {}
