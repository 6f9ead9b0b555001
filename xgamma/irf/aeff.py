"""Effective area: evaluation, thresholds, parametrizations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.units import to_value
from xgamma.irf.axes import TableAxis, response_array, response_axis, table_axis
from xgamma.kernels.interp import interp_points, interp_rows

__all__ = [
    "PreparedAeff",
    "energy_threshold_aeff_max",
    "energy_thresholds_aeff_default",
    "evaluate_aeff",
    "from_parametrization",
    "prepare_aeff",
    "rising_energy",
]


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
    return prepare_aeff(aeff, energy_true).at(offset)


@dataclass(frozen=True, eq=False)
class PreparedAeff:
    """Effective area at some energies, for any offsets: plain arrays, made once for all tiles.

    Parameters
    ----------
    rows
        Effective area in cm2 at the energies, shape (n, m) for m nodes in offset.
    offset
        Axis of the offsets.
    attrs
        Attributes of the response.
    """

    rows: NDArray[np.float64]
    offset: TableAxis
    attrs: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.rows.nbytes + 4 * self.offset.center.nbytes

    def at(self, offset: ArrayLike) -> NDArray[np.float64]:
        """Return the effective area in cm2 at offsets (...) in deg, shape (n, ...); see `evaluate_aeff`."""
        result = interp_points(self.rows, self.offset.weights(offset))
        return np.maximum(result, 0.0, out=result)


def prepare_aeff(aeff: xr.DataArray, energy_true: ArrayLike) -> PreparedAeff:
    """Interpolate the effective area in energy, the first half of `evaluate_aeff`.

    Parameters
    ----------
    aeff, energy_true
        As in `evaluate_aeff`.

    Returns
    -------
    PreparedAeff

    Examples
    --------
    >>> prepare_aeff(from_parametrization("HESS"), [1.0]).at(0.5).round(-6)
    array([1.213e+09])
    """
    _check(aeff)
    energy, theta = table_axis(aeff, "energy_true"), table_axis(aeff, "offset")
    rows = interp_rows(aeff.transpose("energy_true", "offset").values, energy.weights(np.atleast_1d(energy_true)))
    return PreparedAeff(rows, theta, dict(aeff.attrs))


def _check(aeff: xr.DataArray) -> None:
    units = aeff.attrs.get("units")
    if units != "cm2":
        msg = f"the effective area has units {units!r}; convert it to 'cm2' first (xgamma.coords.units.to_unit)"
        raise ValueError(msg)


def energy_thresholds_aeff_default(aeff: xr.DataArray) -> tuple[float | None, float | None]:
    """Range of safe energies that the file of the response gives.

    Parameters
    ----------
    aeff
        Effective area with attributes ``lo_thres`` and ``hi_thres`` in TeV, where its file had them.

    Returns
    -------
    tuple
        Lower and upper threshold in TeV; None where the file gives none.

    Examples
    --------
    >>> aeff = from_parametrization().assign_attrs(lo_thres=0.5)
    >>> energy_thresholds_aeff_default(aeff)
    (0.5, None)
    """
    return aeff.attrs.get("lo_thres"), aeff.attrs.get("hi_thres")


def energy_threshold_aeff_max(aeff: xr.DataArray, percent: float = 10.0, offset: Any = "0 deg") -> float:
    """Lowest edge of the energy axis at which the effective area exceeds some per cent of its maximum.

    Parameters
    ----------
    aeff
        Effective area, dims (energy_true, offset), in cm2.
    percent
        Part of the maximum in per cent, at least 0 and below 100.
    offset
        Offset at which the area is taken.

    Returns
    -------
    float
        Energy in TeV. Where a cube and not the response is at hand, use `rising_energy` on its exposure.

    Raises
    ------
    ValueError
        If `percent` is out of range or the area is zero at this offset.

    Examples
    --------
    >>> round(energy_threshold_aeff_max(from_parametrization("HESS")), 3)
    0.2
    """
    if not 0 <= percent < 100:
        msg = f"percent={percent!r} must be at least 0 and below 100"
        raise ValueError(msg)
    energy = table_axis(aeff, "energy_true").edges
    theta = to_value(offset, "deg", "offset")
    area = evaluate_aeff(aeff, energy, theta)
    if not (area > 0).any():
        msg = f"the effective area is zero at all energies at an offset of {theta:g} deg"
        raise ValueError(msg)
    return float(energy[area > percent / 100 * area.max()].min())


def rising_energy(energy: ArrayLike, values: ArrayLike, percent: float) -> float:
    """Lowest energy at which a curve rises through some per cent of its maximum.

    Parameters
    ----------
    energy
        Energies in TeV, shape (n,), ascending.
    values
        Effective area or exposure, shape (n,); a power law between the energies.
    percent
        Part of the maximum in per cent, above 0 and at most 100.

    Returns
    -------
    float
        Energy in TeV; that of the first positive value if the curve starts at or above the level.

    Raises
    ------
    ValueError
        If `percent` is out of range or no value is positive.

    Examples
    --------
    >>> round(rising_energy([0.1, 1.0, 10.0], [1.0, 100.0, 100.0], 10.0), 3)
    0.316
    """
    if not 0 < percent <= 100:
        msg = f"percent={percent!r} must lie above 0 and at most at 100"
        raise ValueError(msg)
    x, y = np.asarray(energy, dtype=float), np.asarray(values, dtype=float)
    positive = np.flatnonzero(y > 0)
    if not len(positive):
        msg = "the effective area is zero at all energies"
        raise ValueError(msg)
    x, y = np.log(x[positive[0] :]), y[positive[0] :]
    height = np.log(np.maximum(y, np.finfo(np.float32).tiny)) - np.log(percent / 100 * y.max())
    if height[0] >= 0:
        # where it falls below the level again, at the end of the table, no threshold begins
        return float(np.exp(x[0]))
    k = np.flatnonzero((height[:-1] < 0) & (height[1:] >= 0))[0]
    fraction = height[k] / (height[k] - height[k + 1])
    return float(np.exp(x[k] + fraction * (x[k + 1] - x[k])))


#: Coefficients g1 (cm2), g2, g3 (MeV) of ``g1 E**-g2 exp(-g3 / E)`` with E in MeV (arXiv:0806.0559).
PARAMETRIZATIONS = {"HESS": (6.85e9, 0.0891, 5e5), "HESS2": (2.05e9, 0.0891, 1e5), "CTAO": (1.71e11, 0.0891, 1e5)}


def from_parametrization(
    instrument: str = "HESS", energy_true: xr.DataArray | None = None, offset_max: Any = "5 deg"
) -> xr.DataArray:
    """Make the effective area of a simple analytic model, the same at all offsets.

    Parameters
    ----------
    instrument
        ``"HESS"``, ``"HESS2"`` or ``"CTAO"``.
    energy_true
        Axis, by default 20 bins per decade from 2 GeV to 200 TeV.
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
        edges = np.geomspace(0.002, 200, 101)
        energy_true = response_axis("energy_true", edges[:-1], edges[1:])
    g1, g2, g3 = PARAMETRIZATIONS[instrument]
    energy = energy_true.values * 1e6
    area = g1 * energy**-g2 * np.exp(-g3 / energy)
    offset = response_axis("offset", [0.0], [to_value(offset_max, "deg", "offset_max")])
    attrs = {"hduclass": "AEFF_2D", "is_pointlike": 0}
    return response_array(area[:, np.newaxis], [energy_true, offset], "aeff", "cm2", "Effective area", attrs)
