"""Joint datasets with their models in one Zarr store or netCDF file: the native form of a DataTree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.io.fits_file import expand_path
from xgamma.io.location import is_url
from xgamma.io.provenance import __version__
from xgamma.io.tree import MODELS, ROOT, open_groups, write_netcdf_groups, write_zarr_groups
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model
from xgamma.models.yaml import models_from_yaml, models_to_yaml

__all__ = ["open_tree", "tree_to_netcdf", "tree_to_zarr"]

#: Attribute that keeps the name of the tree.
NAME = "xgamma_tree_name"


def tree_to_zarr(
    tree: Cubes,
    store: str | os.PathLike[str],
    models: Model | Iterable[Model] | None = None,
    *,
    overwrite: bool = False,
    dtype: Any = None,
    chunks: Mapping[str, int] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> str | Path:
    """Write joint datasets and their models to one Zarr store (version 3).

    Parameters
    ----------
    tree
        DataTree with groups of any kind: maps, spectra, flux points, side by side or nested; or a mapping from names,
        a list, one cube. Lazy groups are streamed, and what they have in common is computed once.
    store
        Folder (variables and ``~`` expanded) or a URL that fsspec knows. A folder appears under its name when it is
        complete; a store on a server that was not finished is refused when it is opened.
    models
        Models, or the result of a fit, written along with covariance, links and priors.
    overwrite
        Replace a store that is there.
    dtype
        Write float64 maps as this type; by default the numbers come back identical.
    chunks
        Chunk sizes on disk by dimension; by default those of the Dask arrays.
    storage_options
        What fsspec needs to open a URL (endpoint, keys). It is written nowhere.

    Returns
    -------
    pathlib.Path or str
        Where it was written.

    Raises
    ------
    FileExistsError
        If the store exists and `overwrite` is False.
    TypeError
        If a variable or attribute is of a kind that files cannot hold; the message names the group.

    Notes
    -----
    Every group is complete in itself: ``xgamma.open_cube(store, group="hess")`` opens it. Metadata are not
    consolidated, since that of each group would be written again with every group that follows. The models stand in the
    group ``xgamma_models``: their YAML text, and the covariance as an array with the names of the parameters.

    Examples
    --------
    >>> import xgamma as xg
    >>> points = xr.Dataset({"dnde": ("energy", [1e-12, 1e-14])}, xg.energy_axis("1 TeV", "100 TeV", nbin=2).coords)
    >>> tree = xr.DataTree.from_dict({"hawc": points})
    >>> tree_to_zarr(tree, "joint.zarr", xg.SkyModel(xg.PowerLawSpectralModel(), name="crab")).name
    'joint.zarr'
    >>> again, models = open_tree("joint.zarr")
    >>> again.identical(tree), models.names
    (True, ['crab'])
    """
    folder = None if is_url(os.fspath(store)) else Path(os.path.abspath(expand_path(store))).parent
    return write_zarr_groups(
        _groups(tree, models, folder), store, overwrite=overwrite, dtype=dtype, chunks=chunks,
        storage_options=storage_options,
    )  # fmt: skip


def tree_to_netcdf(
    tree: Cubes,
    path: str | os.PathLike[str],
    models: Model | Iterable[Model] | None = None,
    *,
    overwrite: bool = False,
    dtype: Any = None,
) -> Path:
    """Write joint datasets and their models to one netCDF-4 file that other programs can read, too.

    Parameters
    ----------
    tree
        DataTree with groups of any kind; or a mapping from names, a list, one cube.
    path
        File.
    models
        Models, or the result of a fit, written along with covariance, links and priors.
    overwrite
        Replace a file that is there.
    dtype
        Write float64 maps as this type; by default the numbers come back identical.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    TypeError
        If a variable or attribute is of a kind that files cannot hold; the message names the group.

    Examples
    --------
    >>> import xgamma as xg
    >>> points = xr.Dataset({"dnde": ("energy", [1e-12, 1e-14])}, xg.energy_axis("1 TeV", "100 TeV", nbin=2).coords)
    >>> tree_to_netcdf({"hawc": points}, "joint.nc").name
    'joint.nc'
    >>> tree, _ = open_tree("joint.nc")
    >>> tree["hawc"].to_dataset().identical(points)
    True
    """
    folder = Path(os.path.abspath(expand_path(path))).parent
    return write_netcdf_groups(_groups(tree, models, folder), path, overwrite=overwrite, dtype=dtype)


def open_tree(
    path: str | os.PathLike[str], chunks: Any = "auto", *, storage_options: Mapping[str, Any] | None = None
) -> tuple[xr.DataTree, Models]:
    """Open joint datasets and their models; nothing but headers, axes and models is read.

    Parameters
    ----------
    path
        Zarr store or netCDF file that `tree_to_zarr` or `tree_to_netcdf` wrote, or the URL of a Zarr store.
    chunks
        ``"auto"`` takes the chunks on disk, a dict gives their sizes by dimension, None makes no Dask arrays.
    storage_options
        What fsspec needs to open a URL (endpoint, keys).

    Returns
    -------
    xarray.DataTree
        The groups, lazily, with their sky and bin indexes.
    Models
        The models with their covariance; empty where none were written.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    OSError
        If the store was not finished, is truncated, or groups or chunks are missing.
    ValueError
        If it holds no tree, or one of a newer version.

    See Also
    --------
    xgamma.fitting.files.read_datasets : for ``datasets.yaml`` with FITS files.

    Examples
    --------
    See `tree_to_zarr`.
    """
    groups = open_groups(path, chunks, storage_options=storage_options)
    stored = groups.pop(MODELS, None)
    name = groups[ROOT].attrs.pop(NAME, None)
    tree = xr.DataTree.from_dict(groups, name=name)
    folder = None if is_url(os.fspath(path)) else Path(os.path.abspath(expand_path(path))).parent
    return tree, Models() if stored is None else _models(stored, folder, os.fspath(path))


def _groups(tree: Cubes, models: Any, folder: Path | None) -> dict[str, xr.Dataset]:
    """Datasets by path, each with all its coordinates, and the models as one more."""
    groups: dict[str, xr.Dataset]
    if isinstance(tree, xr.DataTree):
        # a subtree is written as a tree of its own
        relative = {(node.path if tree.parent is None else node.relative_to(tree)): node for node in tree.subtree}
        groups = {(ROOT if p in (ROOT, ".", "") else p.strip("/")): n.to_dataset() for p, n in relative.items()}
        if tree.name is not None:
            groups[ROOT] = groups[ROOT].assign_attrs({NAME: tree.name})
    else:
        groups = dict(named_cubes(tree))
    if any(name.split("/")[0] == MODELS for name in groups):
        msg = f"a dataset cannot have the name {MODELS!r}, which is that of the models in the store; rename it"
        raise ValueError(msg)
    if models is not None:
        groups[MODELS] = _dataset(as_models(getattr(models, "models", models)), folder)
    return groups


def _dataset(models: Models, folder: Path | None) -> xr.Dataset:
    """Models as text, and their covariance as an array."""
    text = models_to_yaml(models, folder=folder)
    attrs = {"creator": f"xgamma {__version__}", "long_name": "Models as YAML"}
    dataset = xr.Dataset({"yaml": ((), np.array(text, dtype=str), attrs)})
    if models.has_covariance:
        covariance = models.covariance
        units = [p.unit for p in models.parameters]
        dataset["covariance"] = covariance.dims, covariance.values, {"long_name": "Covariance of the parameters"}
        dataset = dataset.assign_coords(
            parameter=np.array(covariance["parameter"].values, dtype=str),
            unit=("parameter", np.array(units, dtype=str)),
        )
    return dataset


def _models(stored: xr.Dataset, folder: Path | None, where: str) -> Models:
    try:
        text = str(stored["yaml"].values)
        models = models_from_yaml(text, folder)
        if "covariance" in stored:
            errors = [p.error for p in models.parameters]
            covariance = stored["covariance"].compute()
            models.set_covariance(covariance.assign_coords(parameter_=covariance["parameter"].values))
            for parameter, error in zip(models.parameters, errors, strict=True):
                parameter.error = error  # the root of its square may differ in the last digit
    except (KeyError, ValueError) as error:
        words = error.args[0] if error.args else error
        msg = f"the models in {where} cannot be read: {words}"
        raise ValueError(msg) from error
    return models
