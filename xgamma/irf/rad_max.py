"""Radius of the directional selection that a point-like response was made for."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.irf.axes import TableAxis, response_array, response_axis, table_axis

__all__ = ["evaluate_rad_max", "rad_max_from_aeff"]


def evaluate_rad_max(rad_max: xr.DataArray, energy: ArrayLike, offset: ArrayLike) -> NDArray[np.float64]:
    """Evaluate the radius of the selection at all energies times all offsets.

    Parameters
    ----------
    rad_max
        Radius in deg, dims (energy, offset), over reconstructed energy.
    energy
        Reconstructed energies in TeV, shape (n,).
    offset
        Offsets of the region from the pointing in deg, shape (...).

    Returns
    -------
    numpy.ndarray
        Radius in deg, shape (n, ...); 0 outside the axes, where the response does not hold: nothing is selected.

    Notes
    -----
    The radius is that of the bin in which energy and offset lie, since the selection of the simulated events was made
    bin by bin. `xgamma.dl3.select.select_rad_max` takes the same. gammapy 2.1 selects events so, too, while its
    ``RadMax2D.evaluate`` interpolates between the centres of the bins.

    Examples
    --------
    >>> from xgamma.irf.aeff import from_parametrization
    >>> rad_max = rad_max_from_aeff(from_parametrization().assign_attrs(rad_max=0.14, is_pointlike=1))
    >>> evaluate_rad_max(rad_max, [1.0], [0.5])
    array([[0.14]])
    """
    table = rad_max.transpose("energy", "offset").values
    row, in_energy = _bin(table_axis(rad_max, "energy"), np.atleast_1d(np.asarray(energy, dtype=float)))
    column, in_offset = _bin(table_axis(rad_max, "offset"), np.asarray(offset, dtype=float))
    shape = (-1, *(1,) * column.ndim)
    return np.where(in_energy.reshape(shape) & in_offset, table[row.reshape(shape), column], 0.0)


def _bin(axis: TableAxis, points: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Number of the bin that holds each point, and whether there is one."""
    index = np.clip(np.searchsorted(axis.edges, points, side="right") - 1, 0, len(axis.center) - 1)
    return index, axis.weights(points).valid


def rad_max_from_aeff(aeff: xr.DataArray) -> xr.DataArray | None:
    """Make a table from the RAD_MAX keyword of a point-like effective area.

    Parameters
    ----------
    aeff
        Effective area with the attributes ``is_pointlike`` and ``rad_max`` (deg).

    Returns
    -------
    xarray.DataArray or None
        One radius for all energies and offsets, dims (energy, offset) with one bin each; None where the
        response is not point-like or has no such keyword.

    Examples
    --------
    >>> from xgamma.irf.aeff import from_parametrization
    >>> rad_max_from_aeff(from_parametrization()) is None
    True
    """
    if not aeff.attrs.get("is_pointlike") or "rad_max" not in aeff.attrs:
        return None
    axes = [response_axis("energy", [1e-6], [1e6]), response_axis("offset", [0.0], [180.0])]
    attrs = {"hduclass": "RAD_MAX_2D", "is_pointlike": 1}
    data = np.full((1, 1), float(aeff.attrs["rad_max"]))
    return response_array(data, axes, "rad_max", "deg", "Radius of the selection", attrs)
