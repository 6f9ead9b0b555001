"""Axes of nodes, at which a quantity is given, as axes of bins around them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of, bin_axis

__all__ = ["bins_around_nodes"]


def bins_around_nodes(axis: xr.DataArray) -> xr.DataArray:
    """Return bins that end half way between the nodes of an axis; an axis of bins is returned as it is.

    Parameters
    ----------
    axis
        Axis from `xgamma.coords.bins.axis_of`; nodes are bins of no width, as the exposure of Fermi-LAT cubes has them.

    Returns
    -------
    xarray.DataArray
        The same centres with edges between them: half way in the logarithm on an axis of ``interp="log"``. The first
        and the last bin are as wide on both sides of their node.

    Raises
    ------
    ValueError
        If there is one node only, or some bins have a width and others not.

    Examples
    --------
    >>> nodes = bin_axis("energy_true", [1.0, 100.0], [1.0, 100.0], "TeV")
    >>> bins_around_nodes(nodes).energy_true_max.values.round(6)
    array([  10., 1000.])
    """
    name = str(axis.name)
    low, high, center = (axis[n].values for n in (f"{name}_min", f"{name}_max", name))
    node = high <= low
    if not node.any():
        return axis
    if not node.all() or len(center) < 2:
        msg = f"axis {name!r} has {int(node.sum())} nodes among {len(center)} bins: edges between them are not known"
        raise ValueError(msg)
    log = axis.attrs.get("interp", "log") == "log"
    place = np.log(center) if log else center
    middle = 0.5 * (place[1:] + place[:-1])
    edges = np.concatenate([[2 * place[0] - middle[0]], middle, [2 * place[-1] - middle[-1]]])
    edges = np.exp(edges) if log else edges
    attrs = axis.attrs
    return bin_axis(
        name,
        edges[:-1],
        edges[1:],
        attrs.get("units", ""),
        attrs.get("interp", "log"),
        center,
        attrs.get("long_name"),
    )


def with_bins(cube: xr.Dataset, name: str = "energy_true") -> xr.Dataset:
    """Return a cube whose axis of nodes, if it is one, has become one of bins.

    Examples
    --------
    >>> nodes = bin_axis("energy_true", [1.0, 100.0], [1.0, 100.0], "TeV")
    >>> with_bins(xr.Dataset(coords=nodes.coords)).energy_true_min.values.round(6)
    array([ 0.1, 10. ])
    """
    if f"{name}_min" not in cube.coords:
        return cube
    axis = axis_of(cube, name)
    bins = bins_around_nodes(axis)
    return cube if bins is axis else cube.drop_vars([name, f"{name}_min", f"{name}_max"]).assign_coords(bins.coords)
