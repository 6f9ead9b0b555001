"""xarray backend: ``xr.open_dataset(path, engine="xgamma")`` gives a cube with its indexes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from xgamma.io.attrs import FORMAT
from xgamma.io.cube import open_any

__all__ = ["XgammaBackend"]


class XgammaBackend(BackendEntrypoint):
    """Zarr stores, netCDF files and FITS maps with sky and bin indexes restored.

    Arrays are read when they are used, and are Dask arrays if `xarray.open_dataset` is called with
    ``chunks``; a map of a FITS file is always read as a whole.

    Examples
    --------
    >>> import xarray as xr
    >>> import xgamma as xg
    >>> from xgamma.io.cube import to_zarr
    >>> _ = to_zarr(xg.energy_axis("1 TeV", "10 TeV", nbin=2), "axis.zarr", overwrite=True)
    >>> xr.open_dataset("axis.zarr", engine=XgammaBackend).sel(energy=2).energy_max.item().__round__(6)
    3.162278
    """

    description: ClassVar[str] = "Cubes and maps of gamma-ray astronomy, with sky and bin indexes"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables")

    def open_dataset(self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None) -> xr.Dataset:
        """Open a file or store.

        Parameters
        ----------
        filename_or_obj
            Path or URL.
        drop_variables
            Names that are not read.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        TypeError
            If something else than a path is given.
        """
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            msg = f"engine 'xgamma' opens paths and URLs, not {type(filename_or_obj).__name__}"
            raise TypeError(msg)
        return open_any(filename_or_obj, drop_variables)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True for FITS files, which no other engine reads, and for Zarr stores that xgamma wrote."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        text = os.fspath(filename_or_obj)
        if text.lower().endswith((".fits", ".fits.gz")):
            return "://" not in text
        try:
            content = json.loads((Path(text) / "zarr.json").read_text())
        except (OSError, ValueError):
            return False
        return isinstance(content, dict) and FORMAT in (content.get("attributes") or {})
