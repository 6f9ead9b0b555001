"""How arrays are laid out on disk: chunks and compression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["float_type", "is_table", "netcdf_encoding", "regular_chunks", "zarr_encoding"]

#: Largest chunk on disk of arrays that have no chunks in memory, by dimension; others are not divided.
CHUNKS = {"obs": 1, "region": 256, "time": 64, "y": 256, "x": 256, "irf_y": 64, "irf_x": 64}


def float_type(dtype: Any) -> np.dtype[Any] | None:
    """Return the type in which maps are written, None for the one that they have.

    Raises
    ------
    ValueError
        If it is no type of floating-point numbers: whole numbers would cut fluxes and responses to nothing.

    Examples
    --------
    >>> float_type("float32")
    dtype('float32')
    """
    if dtype is None:
        return None
    try:
        result = np.dtype(dtype)
    except TypeError as error:
        msg = f"dtype={dtype!r} is not a type of numbers; give 'float32', 'float64', or None"
        raise ValueError(msg) from error
    if result.kind != "f":
        msg = f"dtype={dtype!r} cannot hold maps, which are not whole numbers; give 'float32', 'float64', or None"
        raise ValueError(msg)
    return result


def is_table(variable: xr.Variable) -> bool:
    """True for axes, numbers and tables of runs: small, never divided into chunks."""
    return variable.ndim < 2 or set(variable.dims) <= {"obs", "gti"}


def narrow(dataset: xr.Dataset, name: Any, dtype: Any) -> bool:
    """True for variables that are written as `dtype` instead of float64."""
    # times lose their meaning in single precision
    map_like = name in dataset.data_vars and not is_table(dataset[name].variable)
    return dtype is not None and map_like and dataset[name].dtype == np.float64


def common_chunks(dataset: xr.Dataset) -> dict[str, int]:
    """Largest chunk along each dimension, so that all arrays of a store are divided alike."""
    sizes: dict[str, int] = {}
    for variable in dataset.variables.values():
        for dim, pieces in variable.chunksizes.items():
            sizes[str(dim)] = max(sizes.get(str(dim), 0), *pieces)
    return sizes


def regular_chunks(dataset: xr.Dataset, chunks: Mapping[str, int]) -> xr.Dataset:
    """Rechunk where a Zarr array could not have the same chunks."""
    for name, variable in dataset.variables.items():
        if variable.chunks is not None and variable.size:
            dataset[name] = variable.chunk(dict(zip(variable.dims, disk_chunks(variable, chunks), strict=True)))
    return dataset


def disk_chunks(variable: xr.Variable, chunks: Mapping[str, int]) -> tuple[int, ...]:
    """Chunk sizes on disk: as `chunks` has them, else the layout's."""
    if is_table(variable):
        return variable.shape
    sizes = []
    for dim, length in variable.sizes.items():
        size = chunks.get(str(dim), CHUNKS.get(str(dim), length))
        if size == -1:
            size = length
        if size < 1 and length:
            msg = f"chunks={{{str(dim)!r}: {size}}} must be at least 1, or -1 for the whole dimension"
            raise ValueError(msg)
        sizes.append(max(1, min(int(size), length)))
    return tuple(sizes)


def zarr_encoding(dataset: xr.Dataset, dtype: Any, chunks: Mapping[str, int]) -> dict[Any, dict[str, Any]]:
    """Encoding of each variable of a Zarr store."""
    from zarr.codecs import BloscCodec

    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        # a fill value would turn equal numbers into NaN on reading
        encoding[name] = {"_FillValue": None}
        if variable.ndim and variable.size:
            encoding[name]["chunks"] = disk_chunks(variable, chunks)
        if variable.dtype.kind in "biuf":
            # counts are small whole numbers: sorting their bits, not only their bytes, packs them best
            bits = str(name).startswith("counts") or variable.dtype.kind == "b"
            encoding[name]["compressors"] = [
                BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle" if bits else "shuffle")
            ]
        if narrow(dataset, name, dtype):
            encoding[name]["dtype"] = dtype
    return encoding


def netcdf_encoding(dataset: xr.Dataset, dtype: Any) -> dict[Any, dict[str, Any]]:
    """Encoding of each variable of a netCDF file."""
    sizes = common_chunks(dataset)
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        encoding[name] = {"_FillValue": None}
        if variable.ndim and variable.size and variable.dtype.kind in "biuf":
            encoding[name].update(zlib=True, complevel=4, shuffle=True, chunksizes=disk_chunks(variable, sizes))
        if narrow(dataset, name, dtype):
            encoding[name]["dtype"] = dtype
    return encoding
