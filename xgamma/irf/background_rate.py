"""Background rate at positions in the field of view, from a table that is interpolated in energy once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.irf.axes import TableAxis, table_axis
from xgamma.kernels.interp import Weights, interp_plane, interp_points, interp_rows, log_log_integral

__all__ = ["RATE_FLOOR", "PreparedBackground", "check_background_units", "prepare_integral", "prepare_rate"]

#: Rates are interpolated in the logarithm. A rate of zero counts as this one, in s-1 TeV-1 sr-1: the
#: smallest normal number of float32 in the usual s-1 MeV-1 sr-1. Between a filled and an empty node the
#: rate falls steeply instead of linearly, and how steeply depends on this number.
RATE_FLOOR = float(np.finfo(np.float32).tiny) * 1e6


@dataclass(frozen=True, eq=False)
class PreparedBackground:
    """Background at some energies, for any positions: plain arrays, made once for all tiles.

    Parameters
    ----------
    rows
        Logarithm of the rate at `energy`, shape (n + 1, m) over offset or (n + 1, mx, my) over fov_lon, fov_lat.
    weights
        Where the energies lie on the table's axis.
    axes
        Axes over the field of view.
    alignment
        ``fov_alignment`` of the response.
    energy
        Edges of the steps of integration in TeV, shape (n + 1,).
    oversampling
        Steps in one bin.
    """

    rows: NDArray[np.float64]
    weights: Weights
    axes: tuple[TableAxis, ...]
    alignment: str | None
    energy: NDArray[np.float64]
    oversampling: int

    @property
    def radial(self) -> bool:
        """True for a table over offset."""
        return len(self.axes) == 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.rows.nbytes + sum(4 * axis.center.nbytes for axis in self.axes)

    def log_rate(self, fov_lon: ArrayLike, fov_lat: ArrayLike, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the logarithm of the rate, shape (n + 1, ...); -inf outside the axes."""
        if self.radial:
            theta = _separation(fov_lon, fov_lat) if offset is None else offset
            return _empty_rows(interp_points(self.rows, self.axes[0].weights(theta), fill=-np.inf), self.weights)
        lon = np.asarray(fov_lon, dtype=float)
        if self.alignment == "REVERSE_LON_RADEC":
            lon = -lon
        lon, lat = np.broadcast_arrays(lon, np.asarray(fov_lat, dtype=float))
        inside = self.axes[0].weights(lon), self.axes[1].weights(lat)
        return _empty_rows(interp_plane(self.rows, *inside, fill=-np.inf), self.weights)

    def at(self, fov_lon: ArrayLike, fov_lat: ArrayLike, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the rate in s-1 sr-1 per bin of energy, shape (n, ...); see `integrate_background`."""
        result = log_log_integral(self.log_rate(fov_lon, fov_lat, offset), self.energy)
        if self.oversampling > 1:
            result = result.reshape(-1, self.oversampling, *result.shape[1:]).sum(axis=1)
        return result


def prepare_integral(bkg: xr.DataArray, energy_edges: ArrayLike, oversampling: int = 1) -> PreparedBackground:
    """Interpolate a background in energy, the first half of `integrate_background`.

    Parameters
    ----------
    bkg, energy_edges, oversampling
        As in `integrate_background`.

    Returns
    -------
    PreparedBackground

    Raises
    ------
    ValueError
        If the units are not s-1 TeV-1 sr-1, or `oversampling` is not a positive whole number.

    Examples
    --------
    >>> from xgamma.irf.background import constant_background
    >>> prepare_integral(constant_background("2 s-1 TeV-1 sr-1"), [1.0, 2.0, 4.0]).at(0.5, 0.5).round(9)
    array([2., 4.])
    """
    if int(oversampling) != oversampling or oversampling < 1:
        msg = f"oversampling={oversampling!r} must be a whole number of at least 1"
        raise ValueError(msg)
    steps = _subdivide(np.asarray(energy_edges, dtype=float), int(oversampling))
    return prepare_rate(bkg, steps, int(oversampling))


def prepare_rate(bkg: xr.DataArray, energy: NDArray[np.float64], oversampling: int = 1) -> PreparedBackground:
    """Interpolate a background in energy, at `energy` in TeV, shape (n,)."""
    check_background_units(bkg)
    weights = table_axis(bkg, "energy").weights(energy)
    names = ("offset",) if "offset" in bkg.dims else ("fov_lon", "fov_lat")
    table = bkg.transpose("energy", *names).values
    rows = interp_rows(np.log(np.maximum(table, RATE_FLOOR)), weights)
    axes = tuple(table_axis(bkg, name) for name in names)
    return PreparedBackground(rows, weights, axes, bkg.attrs.get("fov_alignment"), energy, oversampling)


def _subdivide(edges: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """Split each bin in `number` steps of equal ratio; the given edges stay as they are."""
    if number == 1:
        return edges
    fraction = np.arange(number) / number
    inner = edges[:-1, np.newaxis] * (edges[1:] / edges[:-1])[:, np.newaxis] ** fraction
    inner[:, 0] = edges[:-1]
    return np.append(inner.ravel(), edges[-1])


def _empty_rows(log_rate: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    if not weights.valid.all():
        log_rate[~weights.valid] = -np.inf
    return log_rate


def _separation(fov_lon: ArrayLike, fov_lat: ArrayLike) -> NDArray[np.float64]:
    """Separation in deg of a position from the origin of its frame."""
    lon, lat = np.deg2rad(fov_lon), np.deg2rad(fov_lat)
    across = np.hypot(np.cos(lat) * np.sin(lon), np.sin(lat))
    return np.asarray(np.rad2deg(np.arctan2(across, np.cos(lat) * np.cos(lon))))


def check_background_units(bkg: xr.DataArray) -> None:
    """Raise ValueError if a background is not in s-1 TeV-1 sr-1."""
    units = bkg.attrs.get("units")
    if units != "s-1 TeV-1 sr-1":
        msg = f"the background has units {units!r}; convert it to 's-1 TeV-1 sr-1' first (xgamma.coords.units.to_unit)"
        raise ValueError(msg)
