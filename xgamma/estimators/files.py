"""FITS files of whatever a Dataset holds: a cube, or flux points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import xarray as xr

from xgamma.estimators import sed
from xgamma.io import fits_write

__all__ = ["to_fits"]


def to_fits(
    data: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False, **options: Any
) -> list[Path] | Path:
    """Write a cube or flux points as FITS.

    Parameters
    ----------
    data
        Cube, or flux points, which have ``attrs["sed_type"]``.
    path
        File.
    overwrite
        Replace a file that is there.
    **options
        For flux points ``sed_type``, ``format`` and ``reference`` of `xgamma.estimators.sed.to_fits`; a cube has none
        (see `xgamma.io.fits_write.to_fits`).

    Returns
    -------
    list of pathlib.Path, or pathlib.Path
        The files of a cube, or the file of the flux points.

    Raises
    ------
    TypeError
        If options are given that belong to the other kind.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> from xgamma.io.flux_tables import flux_points_from_table
    >>> table = Table({"e_ref": [1.0] * u.TeV, "dnde": [3e-12] * u.Unit("TeV-1 cm-2 s-1")})
    >>> to_fits(flux_points_from_table(table), "points.fits").name
    'points.fits'
    """
    if "sed_type" in data.attrs:
        return sed.to_fits(data, path, overwrite=overwrite, **options)
    if options:
        found = sorted(map(str, data.data_vars))
        msg = f"{sorted(options)} are options of flux points; this Dataset is a cube with {found}"
        raise TypeError(msg)
    return fits_write.to_fits(data, path, overwrite)
