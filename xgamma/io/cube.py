"""Cubes in Zarr stores and netCDF files: written atomically, opened lazily with their indexes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xgamma.coords.sky import PREFIXES, decode, encode, grid_of, has_sky
from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.attrs import decode_attrs, encode_attrs
from xgamma.io.encoding import common_chunks, float_type, is_table, netcdf_encoding, regular_chunks, zarr_encoding
from xgamma.io.fits_file import expand_path
from xgamma.io.location import Location, is_url

if TYPE_CHECKING:
    from xgamma.io.resume import Written

__all__ = ["file_kind", "open_cube", "to_netcdf", "to_zarr", "write_cube"]

#: Attribute of a store on a server while it is being written.
INCOMPLETE = "xgamma_incomplete"
#: Attribute of the root of a tree: what its groups are, see `xgamma.io.tree`.
GROUPS = "xgamma_groups"


def to_zarr(
    cube: xr.Dataset | xr.DataArray,
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    update: bool = False,
    progress: bool = False,
    dtype: Any = None,
    chunks: Mapping[str, int] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> str | Path | Written:
    """Write a cube to a Zarr store (version 3).

    A lazy cube is streamed chunk by chunk: memory stays at a few chunks a worker. A store in a
    folder appears under its name when it is complete, see `xgamma.io.atomic.atomic_path`.

    Parameters
    ----------
    cube
        Dataset, or a DataArray with a name. Lazy sky coordinates are left out; opening makes them again.
    store
        Folder (variables and ``~`` expanded) or a URL that fsspec knows, such as ``"s3://bucket/cube.zarr"``.
        On a server nothing can be renamed: there a store that was not finished is refused when opened.
    overwrite
        Replace a store that is there.
    resume
        Write a lazy cube piece by piece, and go on with a store that an earlier call has begun; see
        `xgamma.io.resume.write_resumable`.
    update
        As `resume`, and accept other runs than the store was begun with: what they touch is made again.
    progress
        Show a bar, with `resume` or `update`.
    dtype
        Write float64 maps as this type. By default the numbers come back identical; with `resume` or
        `update` the default is ``"float32"``, which is half the size.
    chunks
        Chunk sizes on disk by dimension. By default those of the Dask arrays, the largest where
        they differ, and for arrays in memory 256 pixels along y and x and one run along obs.
    storage_options
        What fsspec needs to open a URL (endpoint, keys). It is written nowhere.

    Returns
    -------
    pathlib.Path or str
        Where it was written; with `resume` or `update` a `xgamma.io.resume.Written`.

    Raises
    ------
    FileExistsError
        If the store exists and `overwrite` is False.
    TypeError
        If a variable or attribute is of a kind that files cannot hold.
    ValueError
        If the sky coordinates are broken (see `xgamma.coords.sky.grid_of`).

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.1 deg")
    >>> to_zarr(grid, "grid.zarr").name
    'grid.zarr'
    >>> open_cube("grid.zarr").identical(grid)
    True
    """
    dtype = float_type(dtype)
    if resume or update:
        from xgamma.io.resume import write_resumable

        dataset = (
            cube if isinstance(cube, xr.Dataset) else cube.to_dataset(name="map" if cube.name is None else cube.name)
        )
        return write_resumable(
            dataset,
            store,
            overwrite=overwrite,
            update=update,
            progress=progress,
            dtype="float32" if dtype is None else dtype,
            chunks=chunks,
            storage_options=storage_options,
        )
    place = Location.of(store, storage_options)
    if not place.is_url:
        check_target(store, overwrite)
    dataset = prepare(cube)
    sizes = {**common_chunks(dataset), **(chunks or {})}
    dataset = regular_chunks(dataset, sizes)
    encoding = zarr_encoding(dataset, dtype, sizes)
    if place.is_url:
        return _to_remote_zarr(dataset, place, encoding, overwrite)
    target = check_target(store, overwrite)
    with atomic_path(target, overwrite) as temporary:
        dataset.to_zarr(temporary, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
        consolidate(str(temporary))
    return target


def to_netcdf(
    cube: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], overwrite: bool = False, *, dtype: Any = None
) -> Path:
    """Write a cube to a netCDF-4 file that other programs can read, too.

    Parameters
    ----------
    cube
        Dataset, or a DataArray with a name; a lazy one is streamed.
    path
        File.
    overwrite
        Replace a file that is there.
    dtype
        Write float64 data variables as this type, for example ``"float32"``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    TypeError
        If a variable or attribute is of a kind that files cannot hold.

    Examples
    --------
    >>> import xgamma as xg
    >>> axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> to_netcdf(axis, "axis.nc").name
    'axis.nc'
    """
    target = check_target(path, overwrite)
    dataset = prepare(cube)
    encoding = netcdf_encoding(dataset, float_type(dtype))
    with atomic_path(target, overwrite) as temporary:
        dataset.to_netcdf(temporary, mode="w", format="NETCDF4", engine="netcdf4", encoding=encoding)
    return target


def write_cube(cube: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], overwrite: bool = False) -> Any:
    """Write a cube in the form that the suffix of `path` names.

    Parameters
    ----------
    cube
        Dataset or DataArray.
    path
        ``*.zarr`` (Zarr), ``*.nc`` (netCDF), ``*.fits`` or ``*.fits.gz`` (gammapy's layout).
    overwrite
        Replace what is there.

    Returns
    -------
    pathlib.Path or list of them
        What was written.

    Raises
    ------
    ValueError
        If the suffix is none of these.

    Examples
    --------
    >>> import xgamma as xg
    >>> write_cube(xg.energy_axis("1 TeV", "10 TeV", nbin=2), "axis.zarr").name
    'axis.zarr'
    """
    from xgamma.io.fits_cube import to_fits

    text = os.fspath(path).rstrip("/").lower()
    if text.endswith(".zarr"):
        return to_zarr(cube, path, overwrite=overwrite)
    if text.endswith((".nc", ".nc4", ".netcdf")):
        return to_netcdf(cube, path, overwrite=overwrite)
    if text.endswith((".fits", ".fits.gz")):
        return to_fits(cube, path, overwrite=overwrite)
    msg = f"{os.fspath(path)!r} has a suffix of no known format; use .zarr, .nc, .fits or .fits.gz"
    raise ValueError(msg)


def open_cube(
    path: str | os.PathLike[str],
    chunks: Any = "auto",
    *,
    drop_variables: str | Iterable[str] | None = None,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open a cube or map with its sky and bin indexes; nothing but headers and axes is read.

    Parameters
    ----------
    path
        Zarr store, netCDF file, MapDataset or map in FITS (``$VARIABLES`` expanded), or the URL of a Zarr store. A file
        of the Fermi-LAT tools is opened on its own axes; `xgamma.open_fermi` makes one cube of several.
    chunks
        ``"auto"`` takes the chunks on disk (one a variable for FITS), a dict gives their sizes by
        dimension, None makes no Dask arrays.
    drop_variables
        Names that are not read.
    group
        Group of a Zarr store or netCDF file that holds several, as ``"hess"``; see `xgamma.open_tree`.
    storage_options
        What fsspec needs to open a URL (endpoint, keys).

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`, or not this group.
    OSError
        If the file is truncated, or the folder or file is of no known kind.
    ValueError
        If the content contradicts itself (axes, units, grids), or it holds several groups and none is named.

    Examples
    --------
    >>> import xgamma as xg
    >>> _ = to_zarr(xg.energy_axis("1 TeV", "10 TeV", nbin=2), "axis.zarr")
    >>> open_cube("axis.zarr").sel(energy=2).energy_min.item()
    1.0
    """
    dataset = open_any(path, drop_variables, cache=chunks is None, storage_options=storage_options, group=group)
    if chunks is None:
        return decode(encode(dataset).compute()) if file_kind(path) == "fits" else dataset
    result = _chunked(dataset, {} if isinstance(chunks, str) and chunks == "auto" else chunks, path, group)
    result.set_close(dataset.close)
    return result


def _chunked(dataset: xr.Dataset, chunks: Any, path: str | os.PathLike[str], group: str | None) -> xr.Dataset:
    """Make Dask arrays of all but axes and tables, by the chunks on disk where `chunks` names no size."""
    from dask.base import tokenize

    status = None if is_url(path) else os.stat(expand_path(path)).st_mtime_ns
    token = tokenize(os.fspath(path), status, chunks, group)
    result = dataset.copy()
    for name, variable in dataset.variables.items():
        if is_table(variable) or name in dataset.xindexes:
            continue
        stored = variable.chunksizes or variable.encoding.get("preferred_chunks", {})
        sizes = {
            d: chunks.get(d, stored.get(d, n)) if isinstance(chunks, Mapping) else chunks
            for d, n in variable.sizes.items()
        }
        result[name] = variable.chunk(sizes, name=f"open_cube-{name}-{token}")
    return result


def open_any(
    path: str | os.PathLike[str],
    drop_variables: str | Iterable[str] | None = None,
    cache: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    group: str | None = None,
) -> xr.Dataset:
    """Open by kind of file: FITS as Dask arrays, others as arrays that xarray reads when they are used."""
    if storage_options:
        Location.of(path, storage_options)
    kind = file_kind(path)
    if kind == "fits":
        if group is not None:
            msg = f"{os.fspath(path)} is a FITS file, which has no groups; leave group={group!r} out"
            raise ValueError(msg)
        from xgamma.io.fits_cube import read_fits

        return read_fits(path, drop_variables=drop_variables)
    options: dict[str, Any] = {
        "chunks": None,
        "cache": cache,
        "drop_variables": drop_variables,
        "decode_timedelta": False,
        "group": group,
    }
    if kind == "zarr":
        # a folder is read as it is now; on a server one file with all metadata saves many requests
        place = Location.of(path, storage_options)
        with warnings.catch_warnings():
            # what was not finished has no such file; it is refused below
            warnings.filterwarnings("ignore", message="Failed to open Zarr store with consolidated")
            consolidated = None if place.is_url and group is None else False
            try:
                raw = xr.open_dataset(
                    place.text, engine="zarr", consolidated=consolidated, **options, **place.arguments
                )
            except FileNotFoundError as error:
                if group is None:
                    raise
                raise FileNotFoundError(_no_group(path, group)) from error
    else:
        try:
            raw = xr.open_dataset(expand_path(path), engine="netcdf4", **options)
        except OSError as error:
            if str(error.args[0]).startswith("group not found"):
                raise FileNotFoundError(_no_group(path, str(group))) from error
            # of the HDF5 library: a number and two words
            msg = (
                f"{expand_path(path)} is a damaged or truncated netCDF file ({error.strerror}); fetch or make it again"
            )
            raise OSError(msg) from error
    if INCOMPLETE in raw.attrs:
        msg = f"the store {os.fspath(path)} was not finished when it was written; write it again with overwrite=True"
        raise OSError(msg)
    if GROUPS in raw.attrs and group is None:
        msg = f"{os.fspath(path)} holds a tree of several groups: xgamma.open_tree opens it, group= one of them"
        raise ValueError(msg)
    result = decode(_restore_coords(decode_attrs(raw)))
    result.set_close(raw.close)
    return result


def file_kind(path: str | os.PathLike[str]) -> str:
    """Return ``"zarr"``, ``"netcdf"`` or ``"fits"``, by what is in the file.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    OSError
        If it is something else.
    """
    if is_url(path):
        if os.fspath(path).lower().endswith((".fits", ".fits.gz", ".nc")):
            msg = f"{os.fspath(path)} must be copied to a local disk first; only Zarr stores are read from a URL"
            raise OSError(msg)
        return "zarr"
    file = expand_path(path)
    if not file.exists():
        msg = f"there is no file or store {file}; check the path"
        raise FileNotFoundError(msg)
    if file.is_dir():
        if any((file / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            return "zarr"
        hint = "a DL3 data store is opened with xgamma.open_store"
        msg = f"{file} is a folder but no Zarr store (no zarr.json in it); {hint}"
        raise IsADirectoryError(msg)
    with file.open("rb") as stream:
        head = stream.read(8)
    if head.startswith((b"\x89HDF", b"CDF")):
        return "netcdf"
    if head.startswith((b"SIMPLE", b"\x1f\x8b")):
        return "fits"
    what = "is empty" if not head else "is neither FITS nor netCDF nor a Zarr store"
    msg = f"{file} {what}; it may be damaged, fetch or make it again"
    raise OSError(msg)


def prepare(cube: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Return what is written: no lazy coordinates, plain attributes, no encodings of earlier files."""
    if isinstance(cube, xr.DataArray):
        name = "map" if cube.name is None else cube.name
        cube = cube.coords.to_dataset() if name in cube.coords else cube.to_dataset(name=name)
    for prefix in PREFIXES:
        if has_sky(cube, prefix):
            grid_of(cube, prefix)
    dataset = encode(cube).drop_encoding()
    for name, variable in dataset.variables.items():
        kind = variable.dtype.kind
        if kind in "mcV":
            hint = "; store durations as float seconds" if kind == "m" else ""
            msg = f"variable {name!r} is of type {variable.dtype}, which files cannot hold{hint}"
            raise TypeError(msg)
        if kind in "UTO":
            # labels and regions are few; neither format can stream text of unknown length
            dataset[name] = variable.compute().astype(object)
    return encode_attrs(dataset)


def _no_group(path: str | os.PathLike[str], group: str) -> str:
    return f"{os.fspath(path)} has no group {group!r}; xgamma.describe(path) tells what it holds"


def _restore_coords(dataset: xr.Dataset) -> xr.Dataset:
    """Load axes and tables of runs, and give text its numpy type back."""
    for name, variable in dataset.variables.items():
        if is_table(variable):
            variable.load()
        if variable.dtype.kind in "OT":
            dataset[name] = xr.Variable(
                variable.dims, np.asarray(variable.values.astype(object), dtype=str), variable.attrs
            )
    return dataset


def consolidate(store: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Copy all metadata into one file: fewer requests, and plain `xarray.open_zarr` has nothing to warn of."""
    import zarr

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        if storage_options is None:
            zarr.consolidate_metadata(store)
        else:
            zarr.consolidate_metadata(zarr.storage.FsspecStore.from_url(store, storage_options=dict(storage_options)))


def _to_remote_zarr(dataset: xr.Dataset, place: Location, encoding: dict[Any, dict[str, Any]], overwrite: bool) -> str:
    fs, path = place.filesystem()
    if fs.exists(path):
        if not overwrite:
            msg = f"{place.text} exists; pass overwrite=True to replace it, or choose another name"
            raise FileExistsError(msg)
        fs.rm(path, recursive=True)
    marked = dataset.assign_attrs({INCOMPLETE: 1})
    try:
        marked.to_zarr(place.text, mode="w-", zarr_format=3, consolidated=False, encoding=encoding, **place.arguments)
        root = place.group("r+")
        root.attrs.put({k: v for k, v in root.attrs.asdict().items() if k != INCOMPLETE})
        consolidate(place.text, place.options)
    except BaseException:
        if fs.exists(path):
            fs.rm(path, recursive=True)
        raise
    return place.text
