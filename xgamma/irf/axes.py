"""Axes of response tables: from columns to binned coordinates, and back to plain arrays for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.bins import BinIndex, bin_axis
from xgamma.kernels.interp import Scale, Weights, axis_limits, bin_weights, same_edges

__all__ = ["TableAxis", "response_array", "response_axis", "table_axis"]

#: Unit, spacing and label of each axis of a response.
AXES: dict[str, tuple[str, Scale, str]] = {
    "energy": ("TeV", "log", "Energy"),
    "energy_true": ("TeV", "log", "True energy"),
    "offset": ("deg", "lin", "Offset"),
    "rad": ("deg", "lin", "Separation"),
    "migra": ("", "lin", "Energy migration"),
    "fov_lon": ("deg", "lin", "Field of view longitude"),
    "fov_lat": ("deg", "lin", "Field of view latitude"),
}


class TableAxis(NamedTuple):
    """One axis of a response as plain arrays.

    Attributes
    ----------
    name
        Name of the dimension.
    center, lo, hi
        Centres and edges, shape (m,), in canonical units.
    scale
        Spacing in which values are interpolated, ``"log"`` or ``"lin"``.
    limits
        Range in which the response is defined.
    """

    name: str
    center: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    scale: Scale
    limits: tuple[float, float]

    @property
    def edges(self) -> NDArray[np.float64]:
        """Edges of the bins, shape (m + 1,); nodes reach half a step to each side."""
        if not np.array_equal(self.lo, self.hi):
            return np.append(self.lo, self.hi[-1])
        if len(self.center) == 1:
            return np.repeat(self.center, 2)
        nodes = np.log(self.center) if self.scale == "log" else self.center
        middle = 0.5 * (nodes[1:] + nodes[:-1])
        if self.scale == "log":
            middle = np.exp(middle)
        return np.concatenate([self.limits[:1], middle, self.limits[1:]])

    def weights(self, points: ArrayLike, *, bounded: bool = True) -> Weights:
        """Weights of interpolation at `points`; unbounded, only numbers that are not finite are invalid."""
        return bin_weights(self.center, points, self.limits if bounded else None, self.scale)


def response_axis(name: str, lo: ArrayLike, hi: ArrayLike) -> xr.DataArray:
    """Build an axis of a response, in canonical units.

    Parameters
    ----------
    name
        ``energy``, ``energy_true``, ``offset``, ``rad``, ``migra``, ``fov_lon`` or ``fov_lat``.
    lo, hi
        Edges, shape (m,), ascending, in TeV or deg; where all agree the values are nodes.

    Returns
    -------
    xarray.DataArray
        Binned axis as `xgamma.coords.bins.bin_axis` makes it.

    Examples
    --------
    >>> response_axis("offset", [0.0, 0.5], [0.0, 0.5]).values
    array([0. , 0.5])
    """
    unit, scale, label = AXES[name]
    lower, upper = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (lo, hi))
    if lower.shape == upper.shape and same_edges(lower, upper):
        upper = lower
    return bin_axis(name, lower, upper, unit, interp=scale, long_name=label)


def table_axis(irf: xr.DataArray | xr.Dataset, name: str) -> TableAxis:
    """Return an axis of a response as plain arrays.

    Raises
    ------
    ValueError
        If the response has no such binned axis.
    """
    names = (f"{name}_min", f"{name}_max", name)
    # variables are at hand, a DataArray of each is made anew
    variables = irf.coords.variables
    index = irf.xindexes.get(name)
    if isinstance(index, BinIndex):
        # chunk() makes the coordinates of the edges lazy, but not the index
        lo, hi, center = index.lo, index.hi, index.center
    elif name in irf.dims and all(n in variables for n in names):
        lo, hi, center = (np.atleast_1d(variables[n].values) for n in names)
    else:
        label = irf.attrs.get("hduclass", getattr(irf, "name", None) or "response")
        msg = f"the {label} response has no binned axis {name!r}; its dims are {tuple(irf.dims)}"
        raise ValueError(msg)
    scale: Scale = variables[name].attrs.get("interp", AXES.get(name, ("", "lin", ""))[1])
    return TableAxis(name, center, lo, hi, scale, axis_limits(lo, hi, scale))


def response_array(
    data: Any, axes: Sequence[xr.DataArray], name: str, units: str, long_name: str, attrs: dict[str, Any] | None = None
) -> xr.DataArray:
    """Label the table of a response.

    Parameters
    ----------
    data
        Values in canonical units, one dimension per axis.
    axes
        Binned axes in the order of the dimensions.
    name, units, long_name
        Name and attributes of the result.
    attrs
        Further attributes.

    Returns
    -------
    xarray.DataArray
    """
    result = xr.DataArray(data, dims=[str(a.name) for a in axes], coords=axis_coords(axes), name=name)
    result.attrs = {"units": units, "long_name": long_name, **(attrs or {})}
    return result


def axis_coords(axes: Sequence[xr.DataArray]) -> xr.Coordinates:
    """Join the coordinates of several binned axes, with their indexes."""
    variables: dict[Any, Any] = {}
    indexes: dict[Any, Any] = {}
    for axis in axes:
        variables.update(axis.coords.variables if hasattr(axis.coords, "variables") else axis.coords)
        indexes.update(axis.xindexes)
    return xr.Coordinates(variables, indexes=indexes)
