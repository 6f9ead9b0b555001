"""Joint datasets as files: `datasets.yaml`, `models.yaml` and a file for each dataset, in gammapy's layout."""

from __future__ import annotations

import datetime as dt
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from astropy.io import fits
from astropy.table import Table

from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.fitting.file_models import models_for_files, models_from_files, warn_of_names
from xgamma.fitting.file_runs import join_runs, run_of
from xgamma.fitting.points import is_points
from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.cube import open_cube
from xgamma.io.fits_extras import ATTRS_HDU, gti_hdu
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_write import to_fits
from xgamma.io.flux_tables import EXTRA, read_flux_points
from xgamma.io.flux_write import flux_points_table
from xgamma.io.ogip import is_spectrum, read_ogip
from xgamma.io.ogip_write import to_ogip
from xgamma.io.provenance import __version__
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model
from xgamma.models.yaml import read_models, write_models
from xgamma.models.yaml_check import checksum_line, read_as_known, verify_checksum
from xgamma.models.yaml_parse import parse

__all__ = ["read_datasets", "write_datasets"]

#: Names of the files in a folder.
DATASETS, MODELS = "datasets.yaml", "models.yaml"
#: Types of datasets in gammapy's files.
TYPES = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff", "FluxPointsDataset")
#: Keys of a dataset; those after the first three are of old files, or ours.
KEYS = ("name", "type", "filename", "likelihood", "models", "background", "group", "obs")
MASKS = ("mask_fit", "mask_safe")


def write_datasets(
    cubes: Cubes,
    folder: str | os.PathLike[str],
    models: Model | Iterable[Model] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write joint datasets and their models as files that gammapy reads.

    Parameters
    ----------
    cubes
        DataTree of cubes of maps, spectra and flux points; or a mapping from names, a list, one cube.
    folder
        Folder, made if needed: ``datasets.yaml``, ``models.yaml`` with the covariance beside it, and a FITS file for
        each dataset; four (OGIP) for spectra with off counts. Other files in it stay.
    models
        Models, or the result of a fit; none are written if None.
    overwrite
        Replace files that are there.

    Returns
    -------
    pathlib.Path
        ``datasets.yaml``.

    Raises
    ------
    FileExistsError
        If a file is there and `overwrite` is False.
    ValueError
        If two datasets would have the same file, or one has no place in these layouts.

    Notes
    -----
    The folder can be moved: paths in it are relative. Maps and spectra of many runs become a dataset for each run,
    named ``<name>-<run>``, which `read_datasets` joins again. Models of theirs name them, and a background model of
    several datasets becomes one for each, with the same parameters: gammapy knows no other. Each file is written under
    another name and renamed, ``datasets.yaml`` last.

    Examples
    --------
    >>> import astropy.units as u
    >>> from xgamma.io.flux_tables import flux_points_from_table
    >>> table = Table({"e_ref": [1.0] * u.TeV, "dnde": [3e-12] * u.Unit("TeV-1 cm-2 s-1")})
    >>> table["dnde_err"] = 0.2 * table["dnde"]
    >>> write_datasets({"hawc": flux_points_from_table(table)}, "joint").name
    'datasets.yaml'
    >>> tree, models = read_datasets("joint")
    >>> list(tree.children), len(models)
    (['hawc'], 0)
    """
    named = named_cubes(cubes)
    place = expand_path(folder)
    if place.exists() and not place.is_dir():
        msg = f"{place} is a file; datasets are written to a folder"
        raise NotADirectoryError(msg)
    plans = {name: _entries(name, cube) for name, cube in named.items()}
    files = [str(e["filename"]) for entries in plans.values() for e in entries]
    double = sorted({f for f in files if files.count(f) > 1})
    if double:
        msg = f"two datasets would be written to the same file {double[0]!r}; rename one of {list(named)}"
        raise ValueError(msg)
    given = None if models is None else as_models(getattr(models, "models", models))
    place.mkdir(parents=True, exist_ok=True)
    for file in [*files, DATASETS, *([] if given is None else [MODELS])]:
        check_target(place / file, overwrite)
    for name, cube in named.items():
        _write(cube, plans[name], place, overwrite)
    if given is not None:
        written = models_for_files(given, _labels_in_files(plans))
        write_models(written, place / MODELS, overwrite=overwrite, checksum=True)
    text = _dump({"datasets": [e for entries in plans.values() for e in entries], "metadata": _metadata()})
    text += checksum_line(text)
    with atomic_path(place / DATASETS, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return place / DATASETS


def read_datasets(
    path: str | os.PathLike[str], models: str | os.PathLike[str] | None = None, *, checksum: bool = False
) -> tuple[xr.DataTree, Models]:
    """Read joint datasets and their models, as xgamma or gammapy wrote them.

    Parameters
    ----------
    path
        ``datasets.yaml``, or the folder with it.
    models
        ``models.yaml``; None takes that of the folder, if `path` is one and it is there.
    checksum
        Compare both files with the checksums that they hold.

    Returns
    -------
    xarray.DataTree
        A group for each dataset, with its name in ``attrs["name"]``: maps lazily, spectra and flux points in memory.
    Models
        The models; empty without a file.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message says which dataset names it.
    ValueError
        If the YAML is no list of datasets, names one twice, or a type that is not known; runs of a group do not fit
        together; or a checksum is not that of the text. Messages say which version wrote a file that is newer.

    Warns
    -----
    UserWarning
        If a model belongs to datasets that are not there, a key is not read, or a newer version wrote the file.

    Examples
    --------
    See `write_datasets`.
    """
    file = expand_path(path)
    if file.is_dir():
        if models is None and (file / MODELS).exists():
            models = file / MODELS
        file = file / DATASETS
    if not file.exists():
        msg = f"there is no file {file}"
        raise FileNotFoundError(msg)
    entries = _parsed(file, checksum)
    chosen = Models() if models is None else read_models(Path(models), checksum=checksum)
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(str(entry.get("group", entry["name"])), []).append(entry)
    # a group taken out of the tree still knows which models are its own
    read = {name: _read(members, file.parent).assign_attrs(name=name) for name, members in groups.items()}
    tree = xr.DataTree.from_dict(read)
    _assign(chosen, entries)
    labels = _labels_in_files(groups)
    chosen = models_from_files(chosen, labels)
    runs = [n for group, own in labels.items() for label in own if label != group for n in (label, f"{group}/{label}")]
    warn_of_names(chosen, [*groups, *(e["name"] for e in entries), *runs], stacklevel=2)
    return tree, chosen


# ---------------------------------------------------------------------- writing


def _entries(name: str, cube: xr.Dataset) -> list[dict[str, Any]]:
    """What `datasets.yaml` says of a dataset: one entry, or one for each run of spectra."""
    plain = _plain(name)
    if is_points(cube):
        return [{"name": name, "type": "FluxPointsDataset", "filename": f"{plain}.fits"}]
    if "counts" not in cube:
        msg = f"{name!r} is neither a cube with counts nor flux points; it has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    dims = set(map(str, cube["counts"].dims))
    on_map, on_off, runs = {"y", "x"} <= dims, "counts_off" in cube, "obs" in dims
    odd = sorted(dims - {"energy", "y", "x", "obs"})
    if odd:
        msg = (
            f"{name!r} has the dim {odd[0]!r}, for which these files have no place: stack it (cube.gamma.stack("
            f"{odd[0]!r})), give each part a group of its own, or write the native form (tree.gamma.to_zarr)"
        )
        raise ValueError(msg)
    kind = ("MapDataset" if on_map else "SpectrumDataset") + ("OnOff" if on_off else "")
    ogip = on_off and not on_map
    form = "pha_obs{}.fits" if ogip else "{}.fits"
    if not runs:
        return [{"name": name, "type": kind, "filename": form.format(plain)} | (_label(cube) if ogip else {})]
    labels = [_native(v) for v in cube["obs"].values] if "obs" in cube.coords else list(range(cube.sizes["obs"]))
    if len(set(map(str, labels))) < len(labels):
        msg = f"two runs of {name!r} have the same label among {labels}; give them others: cube.assign_coords(obs=...)"
        raise ValueError(msg)
    return [
        {
            "name": f"{name}-{label}",
            "type": kind,
            "filename": form.format(f"{plain}-{_plain(str(label))}"),
            "group": name,
            "obs": label,
        }
        for label in labels
    ]


def _labels_in_files(groups: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[str, str]]:
    """Names of datasets in files by the labels of the runs, by group."""
    return {
        name: {str(e["obs"]) if "group" in e and "obs" in e else name: str(e["name"]) for e in entries}
        for name, entries in groups.items()
    }


def _label(cube: xr.Dataset) -> dict[str, Any]:
    """Label of a cube of one run, in whose place its file has the name of the dataset."""
    return {"obs": _native(cube["obs"].values)} if "obs" in cube.coords else {}


def _native(value: Any) -> int | str:
    item = np.asarray(value).item()
    return item if isinstance(item, int) else str(item)


def _plain(name: str) -> str:
    """Return a name as files may have it."""
    return re.sub(r"[^\w.+-]", "_", name)


def _write(cube: xr.Dataset, entries: list[dict[str, Any]], folder: Path, overwrite: bool) -> None:
    kind = entries[0]["type"]
    if kind == "FluxPointsDataset":
        _write_points(cube, folder / entries[0]["filename"], overwrite)
    elif kind == "SpectrumDatasetOnOff":
        for number, entry in enumerate(entries):
            piece = cube.isel(obs=number) if "group" in entry else cube
            # readers take the name of a spectrum from its OBS_ID
            to_ogip(piece.assign_coords(obs=entry["name"]), folder / entry["filename"], overwrite=overwrite)
    else:
        for number, entry in enumerate(entries):
            piece = run_of(cube, number) if "group" in entry else cube
            to_fits(piece, folder / entry["filename"], overwrite=overwrite)


def _write_points(points: xr.Dataset, target: Path, overwrite: bool) -> None:
    """Write flux points with their masks as columns, of the shape (energy, 1, 1) that gammapy has."""
    table = flux_points_table(points)
    extra = table.meta.pop(EXTRA)
    for name in MASKS:
        mask = points[name].compute() != 0 if name in points else xr.ones_like(points["energy"], dtype=bool)
        if name == "mask_fit" and name not in points and "mask_safe" in points:
            mask = points["mask_safe"].compute() != 0
        shape = (*(points.sizes[d] for d in mask.dims), *(() if mask.ndim > 1 else (1, 1)))
        table[name] = mask.values.reshape(shape)
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="FLUXPOINTS")])
    if "gti_start" in points.variables:
        hdus.append(gti_hdu(points))
    column = fits.Column("JSON", f"{len(extra)}A", array=[extra])
    hdus.append(fits.BinTableHDU.from_columns([column], name=ATTRS_HDU))
    with atomic_path(target, overwrite) as temporary:
        hdus.writeto(temporary)


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, indent=4, width=80, default_flow_style=False)


def _metadata() -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    return {"creator": f"xgamma {__version__}", "date": now.isoformat(), "origin": None}


# ---------------------------------------------------------------------- reading


def _parsed(file: Path, checksum: bool) -> list[dict[str, Any]]:
    """Return the entries of `datasets.yaml`, checked."""
    text = file.read_text(encoding="utf-8")
    data = parse(text, str(file))
    if checksum:
        verify_checksum(text, str(file))
    return read_as_known(data, str(file), lambda: _checked(data, file), 3)


def _checked(data: Any, file: Path) -> list[dict[str, Any]]:
    listed = data.get("datasets") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not listed:
        msg = f"{file} has no list 'datasets' of entries with name, type and filename"
        raise ValueError(msg)
    names: set[str] = set()
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict) or not {"name", "type", "filename"} <= set(entry):
            msg = f"entry {number} of 'datasets' in {file} needs name, type and filename, and is {entry!r}"
            raise ValueError(msg)
        entry["name"] = str(entry["name"])
        if entry["name"] in names:
            msg = f"{file} has two datasets {entry['name']!r}"
            raise ValueError(msg)
        names.add(entry["name"])
        if entry["type"] not in TYPES:
            msg = f"{entry['name']!r} in {file} is of type {entry['type']!r}; known are {list(TYPES)}"
            raise ValueError(msg)
        unread = [k for k in entry if k not in KEYS]
        if unread:
            warnings.warn(f"{file}: {unread} of {entry['name']!r} are not read", UserWarning, stacklevel=4)
    return listed


def _read(entries: list[dict[str, Any]], folder: Path) -> xr.Dataset:
    """Read one group."""
    files = [_found(e, folder) for e in entries]
    kind = entries[0]["type"]
    if kind == "FluxPointsDataset":
        return _read_points(files[0])
    if not is_spectrum(files[0]):
        if "group" in entries[0]:
            return join_runs([open_cube(f) for f in files], [e["obs"] for e in entries], str(entries[0]["group"]))
        return open_cube(files[0])
    if "group" in entries[0]:
        return read_ogip(files).assign_coords(obs=[e["obs"] for e in entries])
    cube = read_ogip(files[0])
    if "obs" in entries[0]:
        return cube.assign_coords(obs=entries[0]["obs"])
    # the label is the name of the dataset
    return cube.drop_vars("obs", errors="ignore")


def _found(entry: Mapping[str, Any], folder: Path) -> Path:
    given = expand_path(str(entry["filename"]))
    candidates = [given] if given.is_absolute() else [folder / given, given]
    for file in candidates:
        if file.exists():
            return file
    msg = f"the file {str(entry['filename'])!r} of dataset {entry['name']!r} is not in {folder}"
    raise FileNotFoundError(msg)


def _read_points(file: Path) -> xr.Dataset:
    """Read flux points with the masks that stand among their columns."""
    points = read_flux_points(file)
    table = Table.read(file, hdu=1) if ".fits" in file.name else Table.read(file)
    order = np.argsort(np.asarray(table["e_ref"]), kind="stable") if table["e_ref"].ndim == 1 else slice(None)
    for name in MASKS:
        if name not in table.colnames:
            continue
        mask = np.asarray(table[name]).astype(bool)[order]
        dims = [d for d in ("time", "region") if d in points.dims]
        mask = mask.reshape([points.sizes[d] for d in (*dims, "energy")])
        if not mask.all():
            points[name] = ((*dims, "energy"), mask)
    return points


def _assign(models: Models, entries: list[dict[str, Any]]) -> None:
    """Give models the datasets that old files list them under."""
    for model in models:
        members = [e["name"] for e in entries if model.name in (*(e.get("models") or ()), e.get("background"))]
        if members and len(members) < len(entries) and model.datasets_names is None:
            models.assign(model.name, members)
