"""Spatial models on labelled grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.coords.grid import sky_chunks
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import to_value
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_pixels import SkyPixels, integrate_geom

__all__ = ["evaluate_model", "integrate_model"]

FloatArray = NDArray[np.float64]
Tile = Callable[[SkyGrid], FloatArray]


def integrate_model(model: SpatialModel, grid: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the integral of a model over each pixel of a map.

    Parameters
    ----------
    model
        Spatial model.
    grid
        Map, cube or grid; with an axis ``energy_true`` (or ``energy``) where the model depends on energy. Where its
        pixels are Dask chunks, so are those of the result.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), behind the energy where the model depends on it (at the centres of the bins); the unit of the
        model times sr, so that a distribution in sr-1 has none.

    Notes
    -----
    A model whose formula does not integrate to 1 over the sphere (see its notes) is divided by that integral: the flux
    of a source is that of its spectrum.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.models.spatial_disk import DiskSpatialModel
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "0.5 deg")
    >>> float(integrate_model(DiskSpatialModel(r_0="0.4 deg"), grid).sum().round(6))
    1.0
    """
    energy = _energy(model, grid)
    values = model.values

    def tile(part: SkyGrid) -> FloatArray:
        return integrate_geom(model, SkyPixels(part), values, energy)

    units = "" if model.unit == "sr-1" else _times_sr(model.unit)
    return _labelled(model, grid, tile, units, "Integral over the pixel")


def evaluate_model(model: SpatialModel, grid: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return a model at the centre of each pixel of a map.

    Parameters
    ----------
    model
        Spatial model.
    grid
        Map, cube or grid; see `integrate_model`.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), behind the energy where the model depends on it; unit of the model, NaN where the projection has no
        sky.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.models.spatial_shapes import ConstantSpatialModel
    >>> evaluate_model(ConstantSpatialModel(), xg.sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "1 deg")).values
    array([[1., 1.],
           [1., 1.]])
    """
    energy = _energy(model, grid)
    values = model.values

    def tile(part: SkyGrid) -> FloatArray:
        lon, lat = (v[1:-1, 1:-1] for v in SkyPixels(part).lonlat(model.frame))
        keywords = {} if energy is None else {"energy": energy}
        return np.where(np.isnan(lon), np.nan, model.evaluate(lon, lat, *values, **keywords))

    return _labelled(model, grid, tile, model.unit, "Model")


def _times_sr(unit: str) -> str:
    import astropy.units as u

    return (u.Unit(unit) * u.sr).to_string()


def _energy_name(grid: xr.Dataset | xr.DataArray) -> str:
    name = next((n for n in ("energy_true", "energy") if n in grid.coords), None)
    if name is None:
        msg = "the model depends on energy: the grid needs an axis 'energy_true', from xgamma.energy_axis"
        raise ValueError(msg)
    return name


def _energy(model: SpatialModel, grid: xr.Dataset | xr.DataArray) -> FloatArray | None:
    if not model.is_energy_dependent:
        return None
    name = _energy_name(grid)
    return np.asarray(to_value(axis_of(grid, name), "TeV", name), float)


def _labelled(
    model: SpatialModel, grid: xr.Dataset | xr.DataArray, tile: Tile, units: str, long_name: str
) -> xr.DataArray:
    """Evaluate tile by tile and wrap in the coordinates of the grid."""
    sky = grid_of(grid)
    coords = sky.coords()
    dims: tuple[str, ...] = ("y", "x")
    lead: tuple[int, ...] = ()
    if model.is_energy_dependent:
        name = _energy_name(grid)
        axis = axis_of(grid, name)
        coords, dims, lead = coords.merge(axis.coords).coords, (name, *dims), (axis.size,)
    chunks = sky_chunks(grid)
    data: Any = tile(sky) if chunks is None else _lazy(sky, tile, lead, chunks)
    attrs = {"units": units, "long_name": long_name}
    return xr.DataArray(data, dims=dims, coords=coords, name=type(model).__name__, attrs=attrs)


def _lazy(sky: SkyGrid, tile: Tile, lead: tuple[int, ...], chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    import dask.array as da

    def block(block_info: Any = None) -> FloatArray:
        (y0, y1), (x0, x1) = block_info[None]["array-location"][-2:]
        return tile(sky.tile(slice(y0, y1), slice(x0, x1)))

    whole = (*((n,) for n in lead), *chunks)
    return da.map_blocks(block, chunks=whole, dtype=float, meta=np.empty((0,) * len(whole)))
