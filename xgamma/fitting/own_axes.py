"""Responses with axes of their own, brought to those of their cube: files of Fermi-LAT have such ones."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of, bin_axis

__all__ = ["on_axes_of_cube"]

FloatArray = NDArray[np.float64]

#: Variables, and the dimension of true energy that each may have for itself.
OWN = {
    "psf": "psf_energy_true",
    "psf_exposure": "psf_energy_true",
    "edisp": "edisp_energy_true",
}


def on_axes_of_cube(name: str, cube: xr.Dataset) -> xr.Dataset:
    """Return a cube whose responses have its bins of true energy, and separations with bins; lazy stays lazy.

    Parameters
    ----------
    name
        Name of the cube.
    cube
        Cube; one whose responses are as they should be comes back as it is.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        If the energies of a response end within the bins of the cube.

    Notes
    -----
    Responses are interpolated linearly in the logarithm of the energy, at the middle of each bin. A point spread
    function known at separations (nodes) is taken to be linear between them; its mean over each ring between two of
    them is what a cube holds, so that its integral stays.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=1, name="energy_true")
    >>> own = bin_axis("psf_energy_true", [1.0, 100.0], [1.0, 100.0], "TeV", interp="log")
    >>> rad = bin_axis("rad", [0.0, 0.1, 0.3], [0.0, 0.1, 0.3], "deg", interp="lin")
    >>> cube = xr.Dataset(coords={**energy.coords, **own.coords, **rad.coords})
    >>> cube["psf"] = ("psf_energy_true", "rad"), [[4.0, 4.0, 4.0], [2.0, 2.0, 2.0]]
    >>> on_axes_of_cube("fermi", cube).psf.values
    array([[3., 3.]])
    """
    result = cube
    for variable, dim in OWN.items():
        if variable in result and dim in result[variable].dims:
            result = result.assign({variable: _interpolated(name, result, variable, dim)})
    if "psf" in result and "rad" in result["psf"].dims and _has_nodes(result):
        result = _with_rings(result)
    return (
        result.drop_dims([d for d in dict.fromkeys(OWN.values()) if d in result.dims]) if result is not cube else cube
    )


def _interpolated(name: str, cube: xr.Dataset, variable: str, dim: str) -> xr.DataArray:
    axis, true = axis_of(cube, dim), axis_of(cube, "energy_true")
    own, wanted = axis.values.astype(float), true.values.astype(float)
    low, high = true["energy_true_min"].values, true["energy_true_max"].values
    first, last = axis[f"{dim}_min"].values[0], axis[f"{dim}_max"].values[-1]
    if wanted[0] < first * (1 - 1e-6) or wanted[-1] > last * (1 + 1e-6):
        msg = (
            f"the energies of {variable!r} of {name!r} reach from {first:g} to {last:g} TeV, which does not cover its "
            f"energy_true from {low[0]:g} to {high[-1]:g} TeV"
        )
        raise ValueError(msg)
    place = np.interp(np.log(wanted), np.log(own), np.arange(own.size))
    weights = np.maximum(1.0 - np.abs(place[:, None] - np.arange(own.size)), 0.0)
    return _product(cube[variable], weights, dim, "energy_true")


def _product(array: xr.DataArray, weights: FloatArray, dim: str, new: str) -> xr.DataArray:
    """Multiply by a matrix along one dim, which gets a new name."""
    dims = tuple(d if d != dim else new for d in array.dims)
    matrix = xr.Variable((new, f"{dim}_"), weights)
    # without coordinates: those of the old axis end here
    plain = xr.DataArray(array.data, dims=[f"{d}_" if d == dim else d for d in array.dims])
    result = xr.dot(plain, xr.DataArray(matrix), dim=f"{dim}_").transpose(*dims)
    result.attrs = dict(array.attrs)
    return result


def _has_nodes(cube: xr.Dataset) -> bool:
    rad = axis_of(cube, "rad")
    return rad.size > 1 and bool(np.all(rad["rad_min"].values == rad["rad_max"].values))


def _with_rings(cube: xr.Dataset) -> xr.Dataset:
    nodes = axis_of(cube, "rad").values.astype(float)
    low, high = nodes[:-1], nodes[1:]
    # mean over a ring of a function that goes linearly from one edge to the other
    upper = (2.0 * high**2 - low * high - low**2) / (3.0 * (high**2 - low**2))
    index = np.arange(low.size)
    weights = np.zeros((low.size, nodes.size))
    weights[index, index], weights[index, index + 1] = 1.0 - upper, upper
    psf = _product(cube["psf"], weights, "rad", "rad")
    axis = bin_axis("rad", low, high, "deg", interp="lin")
    rest = cube.drop_dims("rad")
    return rest.assign_coords(axis.coords).assign(psf=xr.DataArray(psf.variable))
