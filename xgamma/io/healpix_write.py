"""HEALPix maps written to FITS in the layouts of gammapy and of the Fermi-LAT tools."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.coords.healpix import CELLS, HealpixGrid, healpix_grid_of
from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.fits_axes import bands_hdu
from xgamma.kernels.sphere import separation, to_vectors

__all__ = ["write_healpix"]

FloatArray = NDArray[np.float64]

#: Layout -> names of the map's HDU, of its columns, of the HDU with the axes, and what HPX_CONV says.
LAYOUTS = {
    "gadf": ("SKYMAP", "CHANNEL", "SKYMAP_BANDS", "GADF"),
    "gadf-sparse": ("SKYMAP", "CHANNEL", "SKYMAP_BANDS", "GADF"),
    "fermi-counts": ("SKYMAP", "CHANNEL", "EBOUNDS", "FGST-CCUBE"),
    "fermi-exposure": ("HPXEXPOSURES", "ENERGY", "ENERGIES", "FGST-BEXPCUBE"),
    "fermi-template": ("SKYMAP", "ENERGY", "ENERGIES", "FGST-TEMPLATE"),
}
#: Region of a map that has a part of the sky only, as gammapy writes it.
DISK = re.compile(r"\s*DISK\(([^,]+),([^,]+),([^)]+)\)\s*")
COORDSYS = {"galactic": "GAL", "icrs": "CEL", "fk5": "CEL"}
#: Factors from TeV to the unit of the Fermi-LAT tables.
TEV = {"EBOUNDS": ("keV", 1e9), "ENERGIES": ("MeV", 1e6)}


def write_healpix(
    array: xr.DataArray, path: str | os.PathLike[str], overwrite: bool = False, *, layout: str = "gadf"
) -> Path:
    """Write a HEALPix map to a FITS file that gammapy, healpy and the Fermi-LAT tools read.

    Parameters
    ----------
    array
        Map with the dim ``cells`` and any further axes, from `xgamma.io.healpix_fits.open_healpix`; computed if lazy.
    path
        File, ``.fits`` or ``.fits.gz``.
    overwrite
        Replace a file that is there.
    layout
        ``"gadf"`` (any axes), ``"gadf-sparse"`` (the same, only what is not zero), ``"fermi-counts"`` (bins of energy),
        ``"fermi-exposure"`` or ``"fermi-template"`` (nodes of true energy).

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ValueError
        If `array` is no HEALPix map, or has axes that the layout has no place for.

    Notes
    -----
    The part of a sky is written with the numbers of its cells (INDXSCHM EXPLICIT). gammapy 2.1 does not read these
    numbers but makes them from the card HPX_REG, which is written where the map was read from a file with a disc
    and still has the cells of this disc. Any other part of a sky reaches gammapy with ``"gadf-sparse"``, as a whole sky
    that is zero elsewhere. Numbers are float64.

    Examples
    --------
    >>> from xgamma.coords.healpix import healpix_coords
    >>> from xgamma.io.healpix_fits import open_healpix
    >>> sky = xr.DataArray(np.arange(12.0), dims="cells", coords=healpix_coords(0), attrs={"units": "cm2 s"})
    >>> path = write_healpix(sky, "healpix.fits")
    >>> open_healpix(path).identical(sky.chunk().rename("map"))
    True
    """
    if layout not in LAYOUTS:
        msg = f"layout={layout!r} must be one of {list(LAYOUTS)}"
        raise ValueError(msg)
    target = check_target(path, overwrite)
    grid = healpix_grid_of(array)
    ordered = array.transpose(..., CELLS)
    axes = [_axis(ordered, str(d)) for d in reversed(ordered.dims[:-1])]
    if not layout.startswith("gadf") and [str(a.name) for a in axes] not in (["energy"], ["energy_true"]):
        msg = f"layout={layout!r} has energies only, the map has the axes {[str(a.name) for a in axes]}; use 'gadf'"
        raise ValueError(msg)
    hdus = _hdus(ordered, grid, axes, layout)
    with atomic_path(target, overwrite) as temporary:
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(temporary)
    return target


def _axis(array: xr.DataArray, dim: str) -> xr.DataArray:
    if f"{dim}_min" in array.coords:
        return axis_of(array, dim)
    if dim in array.coords:
        return array[dim]
    msg = f"the dimension {dim!r} has no coordinate, so that its axis cannot be written"
    raise ValueError(msg)


def _hdus(array: xr.DataArray, grid: HealpixGrid, axes: list[xr.DataArray], layout: str) -> list[Any]:
    name, column, table_name, convention = LAYOUTS[layout]
    values = np.asarray(array.values, dtype=np.float64).reshape(-1, grid.size)
    sparse = layout == "gadf-sparse"
    columns = _sparse_columns(values, grid, bool(axes)) if sparse else _columns(values, grid, column)
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    scheme = "SPARSE" if sparse else "IMPLICIT" if grid.cells is None else "EXPLICIT"
    cards = {
        "PIXTYPE": "HEALPIX",
        "ORDERING": "NESTED" if grid.nested else "RING",
        "COORDSYS": COORDSYS[grid.frame],
        "ORDER": grid.level,
        "NSIDE": grid.nside,
        "FIRSTPIX": 0,
        "LASTPIX": grid.whole - 1,
        "INDXSCHM": scheme,
        "HPX_CONV": convention,
        "BUNIT": array.attrs.get("units", ""),
    }
    region = str(array.attrs.get("HPX_REG", ""))
    if scheme == "EXPLICIT" and _is_disk(region, grid):
        cards["HPX_REG"] = region
    hdu.header.update(cards)
    if not axes:
        return [hdu]
    if table_name in TEV:
        table = _energies(axes[0], table_name)
    else:
        table, names = bands_hdu(axes, table_name)
        hdu.header.update(names)
    hdu.header["BANDSHDU"] = table_name
    return [hdu, table]


def _columns(values: FloatArray, grid: HealpixGrid, name: str) -> list[fits.Column]:
    cells = [] if grid.cells is None else [fits.Column("PIX", "K", array=grid.numbers.astype(np.int64))]
    return cells + [fits.Column(f"{name}{i + 1}", "D", array=v) for i, v in enumerate(values)]


def _sparse_columns(values: FloatArray, grid: HealpixGrid, with_channel: bool) -> list[fits.Column]:
    channel, place = np.nonzero(values)
    pixels = fits.Column("PIX", "K", array=grid.numbers.astype(np.int64)[place])
    numbers = [fits.Column("CHANNEL", "J", array=channel.astype(np.int32))] if with_channel else []
    return [pixels, *numbers, fits.Column("VALUE", "D", array=values[channel, place])]


def _is_disk(region: str, grid: HealpixGrid) -> bool:
    """Whether the cells are those whose centres lie in a disc, in the order of their numbers."""
    match = DISK.fullmatch(region)
    if match is None or grid.cells is None:
        return False
    try:
        lon, lat, radius = (float(g) for g in match.groups())
    except ValueError:
        return False
    whole = HealpixGrid(grid.level, grid.nested, grid.frame)
    vectors = to_vectors(*whole.centers())
    inside = separation(vectors, to_vectors(np.asarray(lon), np.asarray(lat))) <= radius
    return np.array_equal(np.flatnonzero(inside), grid.cells.astype(np.int64))


def _energies(axis: xr.DataArray, name: str) -> fits.BinTableHDU:
    """Table of energies as the Fermi-LAT tools have it."""
    dim = str(axis.name)
    unit, factor = TEV[name]
    low, high = axis[f"{dim}_min"].values, axis[f"{dim}_max"].values
    if name == "ENERGIES":
        if not np.array_equal(low, high):
            msg = "exposures and templates are given at nodes of energy, and this map has bins; use layout='gadf'"
            raise ValueError(msg)
        return fits.BinTableHDU.from_columns(
            [fits.Column("Energy", "D", unit=unit, array=axis.values * factor)], name=name
        )
    if not (high > low).all():
        msg = "counts are given in bins of energy, and this map has nodes; use layout='gadf'"
        raise ValueError(msg)
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, axis.size + 1)),
        fits.Column("E_MIN", "D", unit=unit, array=low * factor),
        fits.Column("E_MAX", "D", unit=unit, array=high * factor),
    ]
    return fits.BinTableHDU.from_columns(columns, name=name)
