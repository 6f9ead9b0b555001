"""What a file or store holds, in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from xgamma.coords.sky import PREFIXES, grid_of, has_sky
from xgamma.io.cube import file_kind, open_cube
from xgamma.io.fits_file import expand_path, open_fits
from xgamma.io.ogip import is_spectrum, read_ogip
from xgamma.io.tree import MODELS, is_tree, open_groups

__all__ = ["describe", "describe_dataset"]

KINDS = {"zarr": "Zarr store", "netcdf": "netCDF file", "fits": "FITS file"}
#: Bytes of text of one attribute that are shown.
SHOWN = 300


def describe(path: str | os.PathLike[str]) -> str:
    """Say what a cube, map or FITS file holds; arrays are not read.

    Parameters
    ----------
    path
        Zarr store or netCDF file, of one cube or of a tree; FITS file; an OGIP spectrum with its companions; other
        FITS files by their HDUs.

    Returns
    -------
    str
        Several lines of text.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    OSError
        If the file is truncated or of no known kind.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.io.cube import to_zarr
    >>> _ = to_zarr(xg.energy_axis("1 TeV", "10 TeV", nbin=2), "axis.zarr", overwrite=True)
    >>> print(describe("axis.zarr").splitlines()[1])
    axes:
    """
    kind = file_kind(path)
    lines = [f"{os.fspath(path)}: {KINDS[kind]}{_size(path)}"]
    if is_tree(path):
        return "\n".join([*lines, *_groups(path)])
    if kind != "fits":
        return "\n".join(lines + describe_dataset(open_cube(path)))
    try:
        dataset = open_cube(path)
    except ValueError as error:
        if is_spectrum(path):
            return "\n".join([*lines, *_spectrum(path), *_hdus(path)])
        return "\n".join([*lines, f"not a cube: {error}", *_hdus(path)])
    return "\n".join(lines + describe_dataset(dataset) + _hdus(path))


def _groups(path: str | os.PathLike[str]) -> list[str]:
    """Groups of a tree, each with what it holds, and the names of its models."""
    lines: list[str] = []
    for name, dataset in open_groups(path).items():
        if name == MODELS:
            found = yaml.safe_load(str(dataset["yaml"].values)) if "yaml" in dataset else {}
            lines.append(f"models: {', '.join(str(m['name']) for m in found.get('components') or [])}")
        elif dataset.variables or dataset.attrs:
            lines += [f"group {name}:", *(f"  {line}" for line in describe_dataset(dataset))]
    return lines


def _spectrum(path: str | os.PathLike[str]) -> list[str]:
    """OGIP spectrum with the files that belong to it, or what is wrong with them."""
    try:
        return ["OGIP spectrum (xgamma.read_ogip)", *describe_dataset(read_ogip(path))]
    except (OSError, ValueError) as error:
        return [f"OGIP spectrum that cannot be read: {error}"]


def describe_dataset(dataset: xr.Dataset) -> list[str]:
    """Return lines that tell the axes, sky grids, variables and provenance of a cube."""
    lines = []
    axes = [_axis_line(dataset, str(d)) for d in dataset.dims if str(d) not in _sky_dims(dataset)]
    if axes:
        lines += ["axes:", *axes]
    for prefix in PREFIXES:
        if has_sky(dataset, prefix):
            lines.append(_grid_line(dataset, prefix))
    if dataset.data_vars:
        lines.append("variables:")
        lines += [_variable_line(str(n), v) for n, v in dataset.data_vars.items()]
    scalars = {str(n): c for n, c in dataset.coords.items() if c.ndim == 0 and str(n) not in ("wcs", "irf_wcs")}
    lines += [f"{name}: {value.item()}" for name, value in scalars.items()]
    for name, value in dataset.attrs.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        lines.append(f"{name}: {text if len(text) <= SHOWN else text[:SHOWN] + ' ...'}")
    return lines


def _sky_dims(dataset: xr.Dataset) -> set[str]:
    return {f"{p}{d}" for p in PREFIXES if has_sky(dataset, p) for d in ("y", "x")}


def _axis_line(dataset: xr.Dataset, dim: str) -> str:
    size = dataset.sizes[dim]
    if dim not in dataset.coords:
        return f"  {dim}: {size}"
    values = dataset[dim].values
    unit = str(dataset[dim].attrs.get("units", ""))
    if f"{dim}_min" in dataset.coords and size:
        lo, hi = dataset[f"{dim}_min"].values, dataset[f"{dim}_max"].values
        what = "nodes" if (lo == hi).all() else "bins"
        return f"  {dim}: {size} {what}, {lo[0]:g} to {hi[-1]:g} {unit}".rstrip()
    shown = ", ".join(str(v) for v in values[:4]) + (", ..." if size > 4 else "")
    return f"  {dim}: {size} ({shown}) {unit}".rstrip()


def _grid_line(dataset: xr.Dataset, prefix: str) -> str:
    grid = grid_of(dataset, prefix)
    lon, lat = grid.center
    name = "response grid" if prefix else "sky grid"
    height, width = (n * s for n, s in zip(grid.shape, grid.frame.binsize, strict=True))
    return (
        f"{name}: {grid.frame.name} {grid.frame.proj}, {grid.shape[1]} x {grid.shape[0]} pixels "
        f"of {grid.frame.binsize[1]:g} deg, "
        f"{width:g} x {height:g} deg around ({lon:.4f}, {lat:.4f})"
    )


def _variable_line(name: str, variable: xr.DataArray) -> str:
    dims = ", ".join(f"{d}: {n}" for d, n in variable.sizes.items())
    units = str(variable.attrs.get("units", ""))
    chunks = ""
    if variable.chunks is not None:
        sizes = tuple(max(c, default=0) for c in variable.chunks)
        number = int(np.prod([len(c) for c in variable.chunks]))
        chunks = f", {number} chunk{'s' if number != 1 else ''} of {sizes}"
    value = f" = {variable.item():g}" if variable.ndim == 0 and variable.dtype.kind in "iuf" else ""
    return (
        f"  {name} ({dims}){value} {variable.dtype}{f' [{units}]' if units else ''}, {_bytes(variable.nbytes)}{chunks}"
    )


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _size(path: str | os.PathLike[str]) -> str:
    if "://" in os.fspath(path):
        return ""
    place = expand_path(path)
    files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file()]
    number = f" in {len(files)} files" if place.is_dir() else ""
    return f", {_bytes(sum(Path(f).stat().st_size for f in files))} on disk{number}"


def _hdus(path: str | os.PathLike[str]) -> list[str]:
    lines = ["HDUs:"]
    with open_fits(path) as hdus:
        for number, hdu in enumerate(hdus):
            if hdu.name.endswith("_BANDS"):
                continue  # the axes above
            lines.append(f"  {number} {hdu.name or '(no name)'}: {_hdu_words(hdu)}")
    return lines


def _hdu_words(hdu: Any) -> str:
    if not hdu.is_image:
        columns = ", ".join(f"{c.name}{f' [{c.unit}]' if c.unit else ''}" for c in hdu.columns)
        kind = " ".join(str(hdu.header[k]) for k in ("HDUCLAS1", "HDUCLAS4") if k in hdu.header)
        return f"table{f' ({kind})' if kind else ''} of {hdu.header['NAXIS2']} rows: {columns}"
    shape = tuple(hdu.header[f"NAXIS{i}"] for i in range(int(hdu.header["NAXIS"]), 0, -1))
    return f"image of shape {shape}" if shape else "no data"
