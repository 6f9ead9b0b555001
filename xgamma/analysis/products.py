"""What an analysis leaves on disk: the cube, maps or spectra, fits, pictures, and how they were made."""

from __future__ import annotations

import dataclasses
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
from xgamma.analysis.options import wants_light_curve
from xgamma.analysis.pictures import (
    draw_distribution,
    draw_light_curve,
    draw_maps,
    draw_residuals,
    draw_sed,
    draw_spectrum,
)
from xgamma.analysis.scheduler import scheduled
from xgamma.analysis.schema import to_mapping
from xgamma.estimators.files import to_fits as fits_of_points
from xgamma.estimators.residuals import residuals
from xgamma.fitting.result import FitResult
from xgamma.io.atomic import atomic_path, check_target, remove
from xgamma.io.cube import open_cube, to_zarr
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_write import to_fits, write_map
from xgamma.io.ogip_write import to_ogip
from xgamma.reduction.info import info
from xgamma.reduction.stack import stack

__all__ = ["FILES", "FIT_FILES", "SPECTRUM_FILES", "write_products"]

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
#: The same of an analysis of spectra.
SPECTRUM_FILES = {
    "config": "config_resolved.yaml",
    "cube": "cube.zarr",
    "ogip": "ogip",
    "info": "info.json",
    "spectrum": "spectrum.png",
}
#: What a fit adds. The models that were read may lie in the same folder as models.yaml.
FIT_FILES = {
    "models": "fitted_models.yaml",
    "covariance": "fitted_models_covariance.dat",
    "fit": "fit.ecsv",
}
#: What the fit of a map with a background model adds.
RESIDUAL_FILES = {"residuals": "residuals.png"}
POINTS_FILES = {"flux_points": "flux_points.fits", "sed": "sed.png"}
CURVE_FILES = {"light_curve": "light_curve.fits", "light_curve_picture": "light_curve.png"}


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
        configuration, defaults filled in). Of spectra ``cube.zarr``, a folder ``ogip``, ``spectrum.png``, ``info.json``
        and ``config_resolved.yaml``. Where there are models also ``fitted_models.yaml`` with their covariance beside
        it, ``fit.ecsv`` (parameters, statistic), and ``residuals.png`` of stacked maps; with ``flux_points.energy``
        ``flux_points.fits`` and ``sed.png``; with ``light_curve.energy_edges`` or ``light_curve.time_intervals``
        ``light_curve.fits`` and ``light_curve.png``.

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
    if missing and not analysis.is_spectral:
        msg = f"datasets.map_selection lacks {missing}, which the excess map needs"
        raise ValueError(msg)
    folder = expand_path(outdir).absolute()
    resume = resume or update
    if resume and analysis.is_spectral:
        msg = "spectra are written at once; resume and update are for maps"
        raise ValueError(msg)
    names = _wanted(analysis)
    writing = {"resume": True, "update": update, "dtype": "float64", "progress": True} if resume else {}
    # with the log as with Dask's scheduler: what the configuration says holds for this run
    with (
        _folder(folder),
        logging_to(config.general.log),
        scheduled(config.scheduler, config.general.n_jobs),
    ):
        targets = {
            name: check_target(folder / file, overwrite or (resume and name == "cube")) for name, file in names.items()
        }
        with _staging(folder) as staging:
            cube = targets["cube"] if resume else staging / FILES["cube"]
            products = _make(analysis, staging, regions, cube, writing)
            made = products.files
            for name, file in made.items():
                if file == targets[name]:
                    continue
                with atomic_path(targets[name], overwrite) as temporary:
                    file.rename(temporary)
            for name in set(targets) - set(made):
                remove(targets[name])  # of an older run: it does not belong to these
            if overwrite:
                everything = {**FILES, **SPECTRUM_FILES, **FIT_FILES, **RESIDUAL_FILES, **POINTS_FILES, **CURVE_FILES}
                for other in set(everything.values()) - set(names.values()):
                    remove(folder / other)
    files = {name: targets[name] for name in names if name in made}
    return dataclasses.replace(products, files=files)


def _wanted(analysis: Analysis) -> dict[str, str]:
    """Products of an analysis and their file names."""
    names = dict(SPECTRUM_FILES if analysis.is_spectral else FILES)
    config = analysis.config
    wanted = {"flux_points": config.flux_points.energy.min is not None, "light_curve": wants_light_curve(config)}
    if analysis.models is None:
        for name in (n for n, asked in wanted.items() if asked):
            log.info("%s: nothing is made, there are no models (general.models_file)", name)
        return names
    names |= FIT_FILES
    if config.datasets.stack and config.datasets.background.method in (None, "fov_background"):
        names |= {} if analysis.is_spectral else RESIDUAL_FILES
    for name, files in (("flux_points", POINTS_FILES), ("light_curve", CURVE_FILES)):
        if not wanted[name]:
            continue
        source = getattr(config, name).source
        if source not in analysis.models.names:
            msg = f"{name}.source={source!r} is none of the models {analysis.models.names}"
            raise ValueError(msg)
        names |= files
    return names


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


def _make(analysis: Analysis, folder: Path, regions: Any, store: Path, writing: dict[str, Any]) -> Products:
    """Write the cube to a store and all other products to a folder."""
    files = {name: folder / file for name, file in _wanted(analysis).items()} | {"cube": store}
    cube = analysis.reduce()
    runs = cube if "obs" in cube.dims else None
    if runs is not None and not analysis.is_spectral:
        cube = stack(cube, "obs")
    cube.attrs["config"] = json.dumps(to_mapping(analysis.config), default=str)
    log.info("reducing %d runs", len(analysis.observations))
    # with as many digits in pieces as at once
    to_zarr(cube, files["cube"], **writing)
    cube = open_cube(files["cube"])
    if analysis.is_spectral:
        cube = cube.load()
        to_ogip(cube, files["ogip"])
    else:
        to_fits(cube, files["cube_fits"])
    table = info(stack(cube, "obs") if "obs" in cube.dims else cube).compute()
    _write_text(files["info"], json.dumps(_numbers(table, cube), indent=1, allow_nan=False))
    _write_text(files["config"], analysis.config.to_yaml())
    if not analysis.is_spectral:
        files = _make_maps(analysis, cube, files, regions)
    # runs that are kept apart are fitted jointly, whatever of them is written
    fit, points = _make_fit(analysis, cube if analysis.is_spectral or runs is None else runs, files)
    if analysis.is_spectral:
        draw_spectrum(cube, files["spectrum"], fit)
    curve = _make_light_curve(analysis, fit, files) if "light_curve" in files else None
    return Products(files, table, fit, points, curve)


def _make_maps(analysis: Analysis, cube: xr.Dataset, files: dict[str, Path], regions: Any) -> dict[str, Path]:
    """Write excess and significance maps and their pictures; return the files that there are."""
    log.info("making excess and significance maps")
    to_zarr(analysis.excess_map(cube), files["maps"])
    maps = open_cube(files["maps"]).load()
    for name in ("excess", "sqrt_ts"):
        write_map(maps[name], files[name])
        _sign(files[name], maps)
    log.info("drawing")
    exclusion = analysis.exclusion(maps)
    draw_maps(maps, files["picture"], regions=regions, exclusion=exclusion if regions is None else None)
    try:
        draw_distribution(maps, files["distribution"], exclusion)
    except ValueError as error:
        log.warning("there is no picture of the distribution of significances: %s", error)
        return {name: file for name, file in files.items() if name != "distribution"}
    return files


def _make_fit(
    analysis: Analysis, cube: xr.Dataset, files: dict[str, Path]
) -> tuple[FitResult | None, xr.Dataset | None]:
    """Fit the models, make flux points, and write both."""
    if analysis.models is None:
        return None, None
    log.info("fitting %s", ", ".join(analysis.models.names))
    cube = cube.load()
    fit = analysis.fit(cube)
    fit.models.write(files["models"])
    _write_fit(fit, files["fit"], cube)
    if "residuals" in files:
        radius = analysis.config.excess_map.correlation_radius
        draw_residuals(residuals(cube, fit.models, radius=radius).load(), files["residuals"], cube.attrs)
    if "flux_points" not in files:
        return fit, None
    source = analysis.config.flux_points.source
    log.info("making flux points of %s", source)
    points = analysis.flux_points(cube, fit).load()
    points.attrs["config"] = json.dumps(to_mapping(analysis.config), default=str)
    fits_of_points(points, files["flux_points"])
    draw_sed(points, files["sed"], fit, source)
    return fit, points


def _make_light_curve(analysis: Analysis, fit: FitResult | None, files: dict[str, Path]) -> xr.Dataset:
    """Write a light curve and its picture."""
    section = analysis.config.light_curve
    log.info("making a light curve of %s", section.source)
    curve = analysis.light_curve(fit).load()
    curve.attrs["config"] = json.dumps(to_mapping(analysis.config), default=str)
    fits_of_points(curve, files["light_curve"], sed_type="flux", format="lightcurve")
    draw_light_curve(curve, files["light_curve_picture"], section.source)
    return curve


def _write_fit(fit: FitResult, file: Path, cube: xr.Dataset) -> None:
    """Write the table of parameters, and beside it what the fit says of itself."""
    table = fit.to_table()
    table.meta |= {
        "success": fit.success,
        "message": fit.message,
        "total_stat": fit.total_stat,
        "n_bins": fit.n_bins,
        "n_free": len(fit.free),
        "n_evaluations": fit.n_evaluations,
        "backend": fit.backend,
        "stat_per_dataset": dict(fit.stat_per_dataset),
        "creator": str(cube.attrs.get("creator", "xgamma")),
        "created": str(cube.attrs.get("created", "")),
        "obs_ids": _from_json(cube.attrs.get("obs_ids", "[]")),
    }
    table.write(file, format="ascii.ecsv")


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
