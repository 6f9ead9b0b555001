"""What an analysis leaves on disk: the cube, the maps, pictures, and how they were made."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from xgamma.analysis.analysis import Analysis, Products
from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.cube import open_cube, to_zarr
from xgamma.io.fits_file import expand_path
from xgamma.io.fits_write import to_fits, write_map
from xgamma.reduction.info import info
from xgamma.reduction.stack import stack

__all__ = ["write_products"]

log = logging.getLogger("xgamma")

#: Product and its file name.
FILES = {
    "config": "config.yaml",
    "cube": "cube.zarr",
    "cube_fits": "cube.fits.gz",
    "maps": "excess_map.zarr",
    "excess": "excess.fits.gz",
    "sqrt_ts": "sqrt_ts.fits.gz",
    "info": "info.json",
    "picture": "maps.png",
    "distribution": "significance_distribution.png",
}


def write_products(analysis: Analysis, outdir: Any, *, overwrite: bool = False) -> Products:
    """Run an analysis and write its products to a folder.

    Parameters
    ----------
    analysis
        The analysis.
    outdir
        Folder, made if it does not exist.
    overwrite
        Replace products that are there.

    Returns
    -------
    Products
        ``cube.zarr`` and ``cube.fits.gz`` (stacked cube; gammapy reads the latter), ``excess_map.zarr``,
        ``excess.fits.gz`` and ``sqrt_ts.fits.gz``, ``maps.png`` and ``significance_distribution.png``,
        ``info.json`` (numbers and provenance) and ``config.yaml`` (the whole configuration, defaults filled in).

    Raises
    ------
    FileExistsError
        If a product exists and `overwrite` is False; nothing has been computed then.
    """
    folder = expand_path(outdir)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: check_target(folder / file, overwrite) for name, file in FILES.items()}
    cube = analysis.reduce()
    if "obs" in cube.dims:
        cube = stack(cube, "obs")
    log.info("reducing %d runs", len(analysis.observations))
    to_zarr(cube, files["cube"], overwrite=overwrite)
    cube = open_cube(files["cube"])
    to_fits(cube, files["cube_fits"], overwrite)
    log.info("making excess and significance maps")
    to_zarr(analysis.excess_map(cube), files["maps"], overwrite=overwrite)
    maps = open_cube(files["maps"])
    for name in ("excess", "sqrt_ts"):
        write_map(maps[name], files[name], overwrite)
    table = info(cube).compute()
    _write_text(files["info"], json.dumps(_numbers(table, cube), indent=1), overwrite)
    _write_text(files["config"], analysis.config.to_yaml(), overwrite)
    log.info("drawing")
    exclusion = analysis.exclusion(maps)
    _draw(files["picture"], overwrite, lambda path: draw_maps(maps, path))
    _draw(files["distribution"], overwrite, lambda path: draw_distribution(maps, path, exclusion))
    return Products(files, table)


def _numbers(table: xr.Dataset, cube: xr.Dataset) -> dict[str, Any]:
    numbers = {str(n): {"value": float(v), "units": v.attrs.get("units", "")} for n, v in table.data_vars.items()}
    return {"numbers": numbers, "provenance": {str(k): v for k, v in cube.attrs.items()}}


def _write_text(path: Path, text: str, overwrite: bool) -> None:
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _draw(path: Path, overwrite: bool, draw: Callable[[Path], None]) -> None:
    with atomic_path(path, overwrite) as temporary:
        draw(temporary)


def draw_maps(maps: xr.Dataset, path: Path, regions: Any = None) -> None:
    """Write a picture of the excess and the significance of the first energy bin."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from xgamma.plot.canvas import sky_axes
    from xgamma.plot.sky import plot_map

    first = maps.isel(energy=0, drop=True) if "energy" in maps.dims else maps
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in ((121, "excess"), (122, "sqrt_ts")):
        plot_map(
            first[name],
            sky_axes(first[name], figure, place),
            regions=regions,
            title=str(first[name].attrs["long_name"]),
        )
    figure.savefig(path, dpi=110, format="png")


def draw_distribution(maps: xr.Dataset, path: Path, exclusion: xr.DataArray | None = None) -> None:
    """Write a picture of the distribution of significances, outside of the exclusion where there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from xgamma.plot.distribution import plot_significance_distribution

    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    plot_significance_distribution(maps["sqrt_ts"], exclusion=exclusion, ax=figure.add_subplot())
    figure.savefig(path, dpi=110, format="png")
