"""What an analysis leaves on disk: the cube, the maps, pictures, and how they were made."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.analysis.analysis import Analysis, Products
from xgamma.analysis.log import logging_to
from xgamma.analysis.pictures import draw_distribution, draw_maps
from xgamma.analysis.scheduler import scheduled
from xgamma.analysis.schema import to_mapping
from xgamma.io.atomic import atomic_path, check_target, remove
from xgamma.io.cube import open_cube, to_zarr
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_write import to_fits, write_map
from xgamma.reduction.info import info
from xgamma.reduction.stack import stack

__all__ = ["FILES", "write_products"]

log = logging.getLogger("xgamma")

#: Product and its file name. The configuration that was read may lie in the same folder under the name that everybody
#: gives it, config.yaml.
FILES = {
    "config": "config_resolved.yaml",
    "cube": "cube.zarr",
    "cube_fits": "cube.fits.gz",
    "maps": "excess_map.zarr",
    "excess": "excess.fits.gz",
    "sqrt_ts": "sqrt_ts.fits.gz",
    "info": "info.json",
    "picture": "maps.png",
    "distribution": "significance_distribution.png",
}


def write_products(
    analysis: Analysis,
    outdir: Any,
    *,
    overwrite: bool = False,
    regions: Any = None,
    resume: bool = False,
    update: bool = False,
) -> Products:
    """Run an analysis and write its products to a folder.

    Parameters
    ----------
    analysis
        The analysis.
    outdir
        Folder, made if it does not exist.
    overwrite
        Replace products that are there.
    regions
        Sky regions that are drawn on the maps, in place of the edge of the exclusion.
    resume
        Write the cube piece by piece, go on with one that was begun, and show a bar.
    update
        As `resume`, and accept other runs than the cube was begun with.

    Returns
    -------
    Products
        ``cube.zarr`` and ``cube.fits.gz`` (stacked cube; gammapy reads the latter), ``excess_map.zarr``,
        ``excess.fits.gz`` and ``sqrt_ts.fits.gz``, ``maps.png`` and ``significance_distribution.png`` (where some pixel
        has a significance), ``info.json`` (numbers and provenance) and ``config_resolved.yaml`` (the whole
        configuration, defaults filled in).

    Raises
    ------
    FileExistsError
        If a product exists and `overwrite` is False; nothing has been computed then.
    ValueError
        If the configuration makes no cube that an excess map can be made of.

    Notes
    -----
    Products get their names when all of them are complete: after an error the folder is as it was. A kill leaves a
    folder ``.xgamma-run-...`` in it, which can be deleted. With `resume` the cube has its name at once and stays after
    a stop; nobody can open it before it is complete.
    """
    config = analysis.config
    missing = [n for n in ("counts", "background") if n not in config.datasets.map_selection]
    if missing:
        msg = f"datasets.map_selection lacks {missing}, which the excess map needs"
        raise ValueError(msg)
    folder = expand_path(outdir).absolute()
    resume = resume or update
    writing = {"resume": True, "update": update, "dtype": "float64", "progress": True} if resume else {}
    # with the log as with Dask's scheduler: what the configuration says holds for this run
    with (
        _folder(folder),
        logging_to(config.general.log),
        scheduled(config.scheduler, config.general.n_jobs),
    ):
        targets = {
            name: check_target(folder / file, overwrite or (resume and name == "cube")) for name, file in FILES.items()
        }
        with _staging(folder) as staging:
            cube = targets["cube"] if resume else staging / FILES["cube"]
            made, table = _make(analysis, staging, regions, cube, writing)
            for name, file in made.items():
                if file == targets[name]:
                    continue
                with atomic_path(targets[name], overwrite) as temporary:
                    file.rename(temporary)
            for name in set(targets) - set(made):
                remove(targets[name])  # of an older run: it does not belong to these
    return Products({name: targets[name] for name in FILES if name in made}, table)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder; after an error it is gone again if it was not there before."""
    if folder.exists() and not folder.is_dir():
        msg = f"general.outdir: {folder} is a file, not a folder"
        raise NotADirectoryError(msg)
    new = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            if not any(path.iterdir()):
                path.rmdir()
        raise


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield a folder inside of `folder` in which products lie until all are complete."""
    staging = Path(tempfile.mkdtemp(prefix=".xgamma-run-", dir=folder))
    try:
        yield staging
    finally:
        remove(staging)


def _make(
    analysis: Analysis, folder: Path, regions: Any, store: Path, writing: dict[str, Any]
) -> tuple[dict[str, Path], xr.Dataset]:
    """Write the cube to a store and all other products to a folder; return them by name, and the table of numbers."""
    files = {name: folder / file for name, file in FILES.items()} | {"cube": store}
    cube = analysis.reduce()
    if "obs" in cube.dims:
        cube = stack(cube, "obs")
    cube.attrs["config"] = json.dumps(to_mapping(analysis.config), default=str)
    log.info("reducing %d runs", len(analysis.observations))
    # with as many digits in pieces as at once
    to_zarr(cube, files["cube"], **writing)
    cube = open_cube(files["cube"])
    to_fits(cube, files["cube_fits"])
    log.info("making excess and significance maps")
    to_zarr(analysis.excess_map(cube), files["maps"])
    maps = open_cube(files["maps"]).load()
    for name in ("excess", "sqrt_ts"):
        write_map(maps[name], files[name])
        _sign(files[name], maps)
    table = info(cube).compute()
    _write_text(files["info"], json.dumps(_numbers(table, cube), indent=1, allow_nan=False))
    _write_text(files["config"], analysis.config.to_yaml())
    log.info("drawing")
    exclusion = analysis.exclusion(maps)
    draw_maps(maps, files["picture"], regions=regions, exclusion=exclusion if regions is None else None)
    try:
        draw_distribution(maps, files["distribution"], exclusion)
    except ValueError as error:
        log.warning("there is no picture of the distribution of significances: %s", error)
        del files["distribution"]
    return files, table


def _sign(file: Path, maps: xr.Dataset) -> None:
    """Say in the header of a FITS map how it was made."""
    with fits.open(file, mode="update") as hdus:
        header = hdus[0].header
        header["CREATOR"] = str(maps.attrs.get("creator", "xgamma"))
        header["DATE"] = str(maps.attrs.get("created", "")).removesuffix("+00:00")
        header["RADIUS"] = (str(maps.attrs["radius"]), "correlation radius")
        header["STATISTI"] = (str(maps.attrs["statistic"]), "statistic of the significance")
        for name in ("obs_ids", "settings"):
            text = f"{name}: {maps.attrs.get(name, '')}"
            header["HISTORY"] = text.encode("ascii", "backslashreplace").decode()


def _numbers(table: xr.Dataset, cube: xr.Dataset) -> dict[str, Any]:
    numbers = {
        str(n): {"value": float(v) if math.isfinite(v) else None, "units": v.attrs.get("units", "")}
        for n, v in table.data_vars.items()
    }
    provenance = {str(k): _from_json(v) for k, v in cube.attrs.items()}
    return {"numbers": numbers, "provenance": provenance}


def _from_json(value: Any) -> Any:
    """Attributes that are JSON as what they mean; others as numbers and text."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _write_text(path: Path, text: str) -> None:
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
