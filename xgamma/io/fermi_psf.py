"""Point spread functions of gtpsf, at nodes of energy and angle, as means over rings in bins of energy."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import bin_axis
from xgamma.coords.nodes import bins_around_nodes
from xgamma.io.fermi_files import PsfTable

__all__ = ["psf_variables", "ring_means"]

FloatArray = NDArray[np.float64]

#: Energies may lie outside of their nodes by a rounding.
ROUNDING = 1e-6
#: Integral over the table beyond which it does not look like a point spread function.
INTEGRAL = (0.9, 1.1)


def psf_variables(
    table: PsfTable, axis: xr.DataArray | None, path: str
) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """Return the variables ``psf`` and ``irf_exposure`` at the middle of bins of true energy, and the axis of rings.

    Parameters
    ----------
    table
        Values at nodes.
    axis
        Axis ``energy_true``; None for bins around the nodes.
    path
        File, for messages.

    Returns
    -------
    variables : dict
    rad : xarray.DataArray

    Raises
    ------
    ValueError
        If the energies reach beyond the nodes.

    Warns
    -----
    UserWarning
        If the table ends before the point spread function does: its integral is far from 1.
    """
    if axis is None:
        axis = bins_around_nodes(bin_axis("energy_true", table.energy, table.energy, "TeV", long_name="True energy"))
    energy = axis.values.astype(float)
    if energy[0] < table.energy[0] * (1 - ROUNDING) or energy[-1] > table.energy[-1] * (1 + ROUNDING):
        msg = (
            f"{path}: the point spread function is given from {table.energy[0]:g} to {table.energy[-1]:g} TeV, which "
            f"does not cover the true energies, with bins in the middle of {energy[0]:g} and {energy[-1]:g} TeV; run "
            "gtpsf with emin and emax beyond them, or choose energy_true"
        )
        raise ValueError(msg)
    edges = table.theta if table.theta[0] == 0 else np.append(0.0, table.theta)
    values = table.values if table.theta[0] == 0 else np.column_stack([table.values[:, :1], table.values])
    rings = ring_means(edges, values)
    area = np.pi * np.deg2rad(1.0) ** 2 * np.diff(edges**2)
    integral = rings @ area
    if integral.min() < INTEGRAL[0] or integral.max() > INTEGRAL[1]:
        msg = (
            f"{path}: the integral of the point spread function up to {edges[-1]:g} deg is {integral.min():.3g} to "
            f"{integral.max():.3g}, and should be 1; it is divided by it. Larger angles (thetamax) or more of them "
            "(ntheta) make it better"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    rings = rings / integral[:, None]
    weights = _weights(table.energy, energy)
    rad = bin_axis("rad", edges[:-1], edges[1:], "deg", interp="lin", long_name="Offset from source")
    psf = xr.DataArray(
        (weights[:, :, None] * rings).sum(axis=1),
        coords={**axis.coords, **rad.coords},
        dims=("energy_true", "rad"),
        attrs={"units": "sr-1", "long_name": "Point spread function"},
    )
    exposure = xr.DataArray(
        (weights * table.exposure).sum(axis=1),
        coords=axis.coords,
        dims=("energy_true",),
        attrs={"units": "cm2 s", "long_name": "Exposure of the responses"},
    )
    return {"psf": psf, "irf_exposure": exposure}, rad


def _weights(nodes: FloatArray, energy: FloatArray) -> FloatArray:
    """Weights (energies, nodes) of an interpolation that is linear in the logarithm of energy."""
    place = np.interp(np.log(energy), np.log(nodes), np.arange(nodes.size))
    return np.maximum(1.0 - np.abs(place[:, None] - np.arange(nodes.size)), 0.0)


def ring_means(edges: FloatArray, values: FloatArray) -> FloatArray:
    """Return the means over rings of functions that go linearly between the edges of the rings.

    Parameters
    ----------
    edges
        Separations, shape (n + 1,).
    values
        At the edges, shape (..., n + 1).

    Returns
    -------
    numpy.ndarray
        Shape (..., n).

    Examples
    --------
    >>> ring_means(np.array([0.0, 3.0]), np.array([3.0, 0.0]))
    array([1.])
    """
    low, high = edges[:-1], edges[1:]
    upper = (2.0 * high**2 - low * high - low**2) / (3.0 * (high**2 - low**2))
    return values[..., :-1] * (1.0 - upper) + values[..., 1:] * upper
