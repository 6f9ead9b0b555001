"""Energy groups: the bins of a cube that one bin of a result is made of."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bin_index import EDGE_RTOL
from xgamma.coords.bins import axis_of, bin_axis, bin_edges
from xgamma.coords.callers import outer_level
from xgamma.coords.units import to_value

__all__ = ["energy_groups", "sum_groups"]


def energy_groups(cube: xr.Dataset | xr.DataArray, energy_edges: Any = None) -> tuple[list[slice], xr.DataArray]:
    """Return which bins of the cube's energy axis make up each wanted bin.

    Parameters
    ----------
    cube
        Object with a binned ``energy`` axis.
    energy_edges
        Wanted edges, quantities or strings, shape (n + 1,); None for each bin of the cube on its own.

    Returns
    -------
    groups : list of slice
        Positions along ``energy``.
    axis : xarray.DataArray
        The new axis, dims (energy,).

    Raises
    ------
    ValueError
        If the edges do not ascend, or fall onto the same edge of the cube.

    Warns
    -----
    UserWarning
        If an edge is moved to the nearest edge of the cube.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> cube = xr.Dataset(coords=energy_axis("1 TeV", "10000 TeV", nbin=4).coords)
    >>> groups, axis = energy_groups(cube, ["1 TeV", "100 TeV", "10000 TeV"])
    >>> groups, axis.sizes["energy"]
    ([slice(0, 2, None), slice(2, 4, None)], 2)
    """
    if energy_edges is None:
        axis = axis_of(cube, "energy")
        return [slice(i, i + 1) for i in range(axis.sizes["energy"])], axis
    wanted = np.atleast_1d(to_value(energy_edges, "TeV", "energy_edges"))
    if len(wanted) < 2 or not (np.diff(wanted) > 0).all() or not np.isfinite(wanted).all() or wanted[0] <= 0:
        msg = f"energy_edges must be at least two positive ascending energies, not {wanted} TeV"
        raise ValueError(msg)
    edges = bin_edges(cube, "energy")
    index = np.abs(np.log(np.maximum(edges, 1e-300)) - np.log(wanted)[:, None]).argmin(axis=1)
    if wanted[0] >= edges[-1] or wanted[-1] <= edges[0]:
        msg = f"energy_edges {wanted} TeV lie outside of the energies of the cube, {edges[0]:g} to {edges[-1]:g} TeV"
        raise ValueError(msg)
    if (np.diff(index) <= 0).any():
        msg = f"energy_edges {wanted} TeV fall onto the same edges of the cube, {edges} TeV; make the groups wider"
        raise ValueError(msg)
    moved = np.abs(edges[index] / wanted - 1) > EDGE_RTOL
    if moved.any():
        text = ", ".join(f"{a:g} -> {b:g} TeV" for a, b in zip(wanted[moved], edges[index][moved], strict=True))
        warnings.warn(
            f"energy_edges moved to the nearest edges of the cube: {text}", UserWarning, stacklevel=outer_level()
        )
    groups = [slice(int(a), int(b)) for a, b in itertools.pairwise(index)]
    old = cube["energy"].attrs
    interp = old.get("interp", "log")
    return groups, bin_axis(
        "energy", edges[index[:-1]], edges[index[1:]], "TeV", interp, long_name=old.get("long_name")
    )


def sum_groups(array: xr.Variable, groups: list[slice]) -> xr.Variable:
    """Sum over the bins of each group; a bool array tells whether any bin is True.

    Examples
    --------
    >>> sum_groups(xr.Variable("energy", [1.0, 2.0, 4.0]), [slice(0, 1), slice(1, 3)]).values
    array([1., 6.])
    """
    if "energy" not in array.dims or all(g.stop - g.start == 1 for g in groups):
        single = [g.start for g in groups]
        keep = "energy" not in array.dims or single == list(range(array.sizes["energy"]))
        return array if keep else array.isel(energy=single)
    parts = [array.isel(energy=g) for g in groups]
    sums = [p.any("energy") if array.dtype == bool else p.sum("energy", skipna=False) for p in parts]
    return xr.Variable.concat(sums, "energy").transpose(*array.dims)
