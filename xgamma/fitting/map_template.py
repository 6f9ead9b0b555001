"""What the models of backgrounds and of templates of counts hold, on the grid of a map."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.fitting.map_cubes import Maps
from xgamma.fitting.map_shape import on_pixels
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel

__all__ = ["background_shape", "template_counts"]

FloatArray = NDArray[np.float64]


def background_shape(model: FoVBackgroundModel | TemplateNPredModel, grid: SkyGrid) -> FloatArray | None:
    """Return the present factor on each pixel of a background model with a spatial part, shape (y, x); None without.

    Raises
    ------
    ValueError
        If it depends on energy.
    """
    spatial = model.spatial
    if spatial is None:
        return None
    if spatial.is_energy_dependent:
        msg = f"the spatial part of {model.name!r} depends on energy; a background takes one factor for all energies"
        raise ValueError(msg)
    lon, lat = on_pixels(spatial, grid, *np.indices(grid.shape))
    return np.nan_to_num(spatial.evaluate(lon, lat, *spatial.values))


def template_counts(model: TemplateNPredModel, s: Maps, *, shaped: bool = True) -> xr.Variable:
    """Return the counts of a template in the bins of a map, dims (energy, y, x), lazy if it is; 0 outside of its map.

    With the present factor of its spatial part, if it is to be `shaped`.

    Raises
    ------
    ValueError
        If the template has other energies, or another projection.
    """
    template, dims = model.map, ("energy", "y", "x")
    grid, axis = grid_of(template), axis_of(template, "energy")
    low, high = axis["energy_min"].values, axis["energy_max"].values
    if low.shape != s.axes.low.shape or not np.allclose([low, high], [s.axes.low, s.axes.high], rtol=1e-6):
        msg = f"the energies of template {model.name!r} are not those of {s.name!r}; rebin one of them"
        raise ValueError(msg)
    if grid.frame != s.grid.frame:
        msg = f"template {model.name!r} is a map in {grid.frame}, {s.name!r} in {s.grid.frame}; reproject it"
        raise ValueError(msg)
    slices, padding = [], []
    for own, other in ((s.grid.y, grid.y), (s.grid.x, grid.x)):
        first, last = max(own.start, other.start), min(own.stop, other.stop)
        if last <= first:
            return xr.Variable(dims, np.zeros(s.bins))
        padding.append((first - own.start, own.stop - last))
        slices.append(slice(first - other.start, last - other.start))
    part = template.variable.transpose(*dims).isel(y=slices[0], x=slices[1])
    whole = part.astype(float).fillna(0.0).pad(y=padding[0], x=padding[1], constant_values=0.0)
    shape = background_shape(model, s.grid) if shaped else None
    result: xr.Variable = whole if shape is None else whole * xr.Variable(("y", "x"), shape)
    return result
