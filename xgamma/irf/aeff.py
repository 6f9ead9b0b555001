"""Effective area: evaluation, thresholds, parametrizations."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.units import to_value
from xgamma.irf.axes import response_array, response_axis, table_axis
from xgamma.kernels.interp import interp_points, interp_rows

__all__ = ["evaluate_aeff", "from_parametrization"]


def evaluate_aeff(aeff: xr.DataArray, energy_true: ArrayLike, offset: ArrayLike) -> NDArray[np.float64]:
    """Evaluate the effective area at all energies times all offsets.

    Parameters
    ----------
    aeff
        Effective area, dims (energy_true, offset), in cm2, as `xgamma.irf.read.read_irf` gives it.
    energy_true
        True energies in TeV, shape (n,).
    offset
        Separations from the pointing in deg, shape (...).

    Returns
    -------
    numpy.ndarray
        Effective area in cm2, shape (n, ...); 0 outside the axes and where the continued line is negative.

    Notes
    -----
    Linear in the logarithm of the energy and in the offset, between centres of bins; between the outermost
    centre and the edge of its bin the line is continued.

    Examples
    --------
    >>> aeff = from_parametrization("HESS")
    >>> float(evaluate_aeff(aeff, [1.0], 0.5)[0].round(-6))
    1213000000.0
    """
    _check(aeff)
    energy, theta = table_axis(aeff, "energy_true"), table_axis(aeff, "offset")
    rows = interp_rows(aeff.transpose("energy_true", "offset").values, energy.weights(np.atleast_1d(energy_true)))
    result = interp_points(rows, theta.weights(offset))
    return np.maximum(result, 0.0, out=result)


def _check(aeff: xr.DataArray) -> None:
    units = aeff.attrs.get("units")
    if units != "cm2":
        msg = f"the effective area has units {units!r}; convert it to 'cm2' first (xgamma.coords.units.to_unit)"
        raise ValueError(msg)


#: Coefficients g1 (cm2), g2, g3 (MeV) of ``g1 E**-g2 exp(-g3 / E)`` with E in MeV (arXiv:0806.0559).
PARAMETRIZATIONS = {"HESS": (6.85e9, 0.0891, 5e5), "HESS2": (2.05e9, 0.0891, 1e5), "CTAO": (1.71e11, 0.0891, 1e5)}


def from_parametrization(
    instrument: str = "HESS", energy_true: xr.DataArray | None = None, offset_max: Any = "180 deg"
) -> xr.DataArray:
    """Make the effective area of a simple analytic model, the same at all offsets.

    Parameters
    ----------
    instrument
        ``"HESS"``, ``"HESS2"`` or ``"CTAO"``.
    energy_true
        Axis, by default 20 bins per decade from 5 GeV to 50 TeV.
    offset_max
        Largest offset.

    Returns
    -------
    xarray.DataArray
        Effective area in cm2, dims (energy_true, offset), at the centres of the bins.

    References
    ----------
    .. [1] Abramowski et al. 2010, MNRAS 402, 1342 (arXiv:0806.0559), appendix B.

    Examples
    --------
    >>> from_parametrization("CTAO").dims
    ('energy_true', 'offset')
    """
    if instrument not in PARAMETRIZATIONS:
        msg = f"instrument={instrument!r} must be one of {', '.join(PARAMETRIZATIONS)}"
        raise ValueError(msg)
    if energy_true is None:
        edges = np.geomspace(0.005, 50, 81)
        energy_true = response_axis("energy_true", edges[:-1], edges[1:])
    g1, g2, g3 = PARAMETRIZATIONS[instrument]
    energy = energy_true.values * 1e6
    area = g1 * energy**-g2 * np.exp(-g3 / energy)
    offset = response_axis("offset", [0.0], [to_value(offset_max, "deg", "offset_max")])
    attrs = {"hduclass": "AEFF_2D", "is_pointlike": 0}
    return response_array(area[:, np.newaxis], [energy_true, offset], "aeff", "cm2", "Effective area", attrs)
