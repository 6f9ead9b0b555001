"""Events over the squared angle to a source, and to positions without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.bins import bin_axis
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.dl3.select import event_separation

__all__ = ["theta2_table"]


def theta2_table(events: xr.Dataset, position: SkyCoord, theta2_edges: Any, off: SkyCoord | None = None) -> xr.Dataset:
    """Count events over the squared angle to a position, and to positions without source.

    Parameters
    ----------
    events
        Event list of a run.
    position
        The source.
    theta2_edges
        Edges of the bins, shape (n + 1,), in deg2 or with units.
    off
        One position or several; default: the mirror image of `position` about the pointing.

    Returns
    -------
    xarray.Dataset
        Dims (theta2,): ``counts``, ``counts_off``, ``acceptance`` (1), ``acceptance_off`` (number of
        positions), ``excess``; coordinates ``theta2`` (centres), ``theta2_min``, ``theta2_max`` in deg2.

    Raises
    ------
    ValueError
        If edges do not ascend.

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"ra": ("event", [10.1, 10.0]), "dec": ("event", [0.0, 0.9])})
    >>> events.attrs.update(ra_pnt=10.0, dec_pnt=0.5)
    >>> theta2_table(events, SkyCoord(10, 0, unit="deg"), [0, 0.02]).counts_off.values
    array([1.])
    """
    numbers = np.asarray(theta2_edges)
    edges = (
        numbers.astype(float)
        if numbers.dtype.kind in "fi" and not hasattr(theta2_edges, "unit")
        else np.asarray(to_value(theta2_edges, "deg2", "theta2_edges"))
    )
    axis = bin_axis("theta2", edges[:-1], edges[1:], "deg2", interp="lin", long_name="Squared angle")
    positions = _mirror(events, position) if off is None else off.reshape(-1)
    on = np.histogram(event_separation(events, position).values ** 2, edges)[0]
    n_off = sum(np.histogram(event_separation(events, p).values ** 2, edges)[0] for p in positions)
    columns = {
        "counts": on.astype(float),
        "counts_off": np.asarray(n_off, dtype=float),
        "acceptance": np.ones(on.size),
        "acceptance_off": np.full(on.size, float(len(positions))),
    }
    columns["excess"] = columns["counts"] - columns["counts_off"] / columns["acceptance_off"]
    data = {name: ("theta2", values, canonical_attrs("")) for name, values in columns.items()}
    return xr.Dataset(data, coords=axis.coords)


def _mirror(events: xr.Dataset, position: SkyCoord) -> SkyCoord:
    """Return the position on the other side of the pointing, shape (1,)."""
    try:
        pointing = SkyCoord(float(events.attrs["ra_pnt"]), float(events.attrs["dec_pnt"]), unit="deg")
    except (KeyError, TypeError, ValueError) as error:
        msg = "the event list has no RA_PNT and DEC_PNT; give the positions without source as off"
        raise ValueError(msg) from error
    source = position.icrs
    angle = source.separation(pointing)
    direction = source.position_angle(pointing) if angle > 0 else 0.0 * angle
    return pointing.directional_offset_by(direction, angle).reshape(1)
