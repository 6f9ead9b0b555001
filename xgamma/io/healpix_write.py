"""HEALPix maps written to FITS in the layouts of gammapy and of the Fermi-LAT tools."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import axis_of
from xgamma.coords.healpix import CELLS, HealpixGrid, healpix_grid_of
from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.fits_axes import bands_hdu

__all__ = ["write_healpix"]

#: Layout -> names of the map's HDU, of its columns, of the HDU with the axes, and what HPX_CONV says.
LAYOUTS = {
    "gadf": ("SKYMAP", "CHANNEL", "SKYMAP_BANDS", "GADF"),
    "fermi-counts": ("SKYMAP", "CHANNEL", "EBOUNDS", "FGST-CCUBE"),
    "fermi-exposure": ("HPXEXPOSURES", "ENERGY", "ENERGIES", "FGST-BEXPCUBE"),
    "fermi-template": ("SKYMAP", "ENERGY", "ENERGIES", "FGST-TEMPLATE"),
}
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
        ``"gadf"`` (any axes), ``"fermi-counts"`` (bins of energy), ``"fermi-exposure"`` or ``"fermi-template"`` (nodes
        of true energy).

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
    The part of a sky is written with the numbers of its cells (INDXSCHM EXPLICIT). Numbers are float64.

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
    if layout != "gadf" and [str(a.name) for a in axes] not in (["energy"], ["energy_true"]):
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
    whole = grid.cells is None
    columns = [] if whole else [fits.Column("PIX", "K", array=grid.numbers.astype(np.int64))]
    columns += [fits.Column(f"{column}{i + 1}", "D", array=v) for i, v in enumerate(values)]
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header.update(
        {
            "PIXTYPE": "HEALPIX",
            "ORDERING": "NESTED" if grid.nested else "RING",
            "COORDSYS": COORDSYS[grid.frame],
            "ORDER": grid.level,
            "NSIDE": grid.nside,
            "FIRSTPIX": 0,
            "LASTPIX": grid.whole - 1,
            "INDXSCHM": "IMPLICIT" if whole else "EXPLICIT",
            "HPX_CONV": convention,
            "BUNIT": array.attrs.get("units", ""),
        }
    )
    if not axes:
        return [hdu]
    table, cards = bands_hdu(axes, table_name)
    if table_name in TEV:
        table, cards = _energies(axes[0], table_name), {}
    else:
        hdu.header.update(cards)
    hdu.header["BANDSHDU"] = table_name
    return [hdu, table]


def _energies(axis: xr.DataArray, name: str) -> fits.BinTableHDU:
    """Table of energies as the Fermi-LAT tools have it."""
    dim = str(axis.name)
    unit, factor = TEV[name]
    low, high = axis[f"{dim}_min"].values, axis[f"{dim}_max"].values
    if name == "ENERGIES":
        if not np.array_equal(low, high):
            msg = "exposures and templates are given at nodes of energy, and this map has bins; use layout='gadf'"
            raise ValueError(msg)
        return fits.BinTableHDU.from_columns([fits.Column("Energy", "D", unit=unit, array=axis.values * factor)], name=name)
    if not (high > low).all():
        msg = "counts are given in bins of energy, and this map has nodes; use layout='gadf'"
        raise ValueError(msg)
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, axis.size + 1)),
        fits.Column("E_MIN", "D", unit=unit, array=low * factor),
        fits.Column("E_MAX", "D", unit=unit, array=high * factor),
    ]
    return fits.BinTableHDU.from_columns(columns, name=name)
