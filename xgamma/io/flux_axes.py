"""Axes of a table of flux points: energies, times, distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.table import Table
from astropy.time import Time

from xgamma.coords.bins import bin_axis, energy_axis
from xgamma.coords.units import to_value
from xgamma.io.fits_time import J2000, reference_seconds
from xgamma.io.flux_layout import VECTORS

__all__ = ["Rows", "distance_coords", "energy_of", "time_coords"]

#: Columns of energies.
ENERGIES = ("e_ref", "e_min", "e_max")
#: Relative difference of energies that are the same.
ENERGY_RTOL = 1e-6
TIME_LABEL = "Time since J2000.0 (TT)"


@dataclass(frozen=True)
class Rows:
    """A table whose rows are bins of energy, or of time or distance with vectors over energy in their cells."""

    table: Table
    outer: str | None

    @property
    def one_energy(self) -> bool:
        """True where a row has one energy and no vector of one element either."""
        names = [n for n in ENERGIES if n in self.table.colnames]
        return self.outer is not None and (not names or self.table[names[0]].ndim == 1)

    def cells(self, name: str, unit: str | None = None) -> np.ndarray:
        """Values of a column in canonical units, shape (rows, ...) or (rows, energy, ...)."""
        values = _numbers(self.table[name], name, unit)
        if self.one_energy and (values.ndim == 1 or (values.ndim == 2 and name in VECTORS)):
            values = values[:, None]
        return values


def _numbers(column: Any, name: str, unit: str | None) -> np.ndarray:
    """Values of a column as float64 in `unit`, or in the unit it has; missing ones are NaN."""
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column)).astype(float), np.nan)
    own = getattr(column, "unit", None)
    if unit is None:
        return np.asarray(values)
    if own is None or (own == u.dimensionless_unscaled and unit):
        msg = f"column {name!r} has no unit; it should be one that converts to {unit!r}"
        raise ValueError(msg)
    for candidate in (own, own / u.ph):
        if u.Unit(candidate).is_equivalent(u.Unit(unit)):
            return np.asarray(values * u.Unit(candidate).to(u.Unit(unit)))
    msg = f"column {name!r} has the unit {str(own)!r}, which does not convert to {unit!r}"
    raise ValueError(msg)


def energy_of(rows: Rows, layout: str, given: Any) -> xr.DataArray:
    """Return the energy axis."""
    table = rows.table
    edges: dict[str, np.ndarray] = {}
    if layout == "binned-time-series":
        edges = {n: np.atleast_1d(to_value(table.meta[n], "TeV", n)) for n in ENERGIES if n in table.meta}
    else:
        edges = {n: _common(rows.cells(n, "TeV"), n, rows.outer) for n in ENERGIES if n in table.colnames}
    if "e_ref" not in edges and not {"e_min", "e_max"} <= set(edges):
        if given is None:
            msg = "the table has no energies, neither 'e_ref' nor 'e_min' and 'e_max': add them, or pass energy_edges"
            raise ValueError(msg)
        return energy_axis(edges=given)
    for name, values in edges.items():
        if not (np.isfinite(values) & (values > 0)).all():
            msg = f"column {name!r} holds energies that are not positive numbers: {values[~(values > 0)][:3]}"
            raise ValueError(msg)
    if {"e_min", "e_max"} <= set(edges):
        low, high = edges["e_min"], edges["e_max"]
    else:
        low = high = edges["e_ref"]  # nodes
    center = edges.get("e_ref", np.sqrt(low * high))
    try:
        return bin_axis("energy", low, high, "TeV", center=center, long_name="Energy")
    except ValueError as error:
        msg = f"the energies are not those of one spectrum ({error})"
        raise ValueError(msg) from error


def _common(values: np.ndarray, name: str, outer: str | None) -> np.ndarray:
    """Return the energies of the first row after checking that all rows have them."""
    if outer is None:
        return values
    if not len(values):
        msg = f"the table has no rows of {outer}"
        raise ValueError(msg)
    if not np.allclose(values, values[:1], rtol=ENERGY_RTOL, atol=0, equal_nan=True):
        msg = f"column {name!r} differs between rows; one dataset needs the same energies at all of them"
        raise ValueError(msg)
    return np.asarray(values[0])


def time_coords(table: Table, layout: str) -> Mapping[Any, Any]:
    """Return the coordinates of the time axis; seconds since J2000.0 (TT)."""
    if layout == "binned-time-series":
        missing = [n for n in ("time_bin_start", "time_bin_size") if n not in table.colnames]
        ends: list[np.ndarray] = []
        if not missing:
            begin = Time(table["time_bin_start"]).tt
            lo = (begin - Time(J2000, format="jd", scale="tt")).to_value("s")
            size = table["time_bin_size"]
            ends = [lo, lo + (size.to_value("s") if hasattr(size, "to_value") else u.Quantity(size).to_value("s"))]
    else:
        missing = [n for n in ("time_min", "time_max") if n not in table.colnames]
        ends = [] if missing else [_seconds(table, name) for name in ("time_min", "time_max")]
    if missing:
        msg = f"a {layout} needs the columns {missing}"
        raise ValueError(msg)
    try:
        return bin_axis("time", ends[0], ends[1], "s", interp="lin", long_name=TIME_LABEL).coords
    except ValueError as error:
        msg = f"the times are not those of one light curve ({error})"
        raise ValueError(msg) from error


def _seconds(table: Table, name: str) -> np.ndarray:
    column = table[name]
    if isinstance(column, Time):
        return np.asarray((column.tt - Time(J2000, format="jd", scale="tt")).to_value("s"))
    unit = getattr(column, "unit", None) or u.Unit(str(table.meta.get("TIMEUNIT", "d")).strip())
    values = _numbers(column, name, None) * u.Unit(unit).to("s")
    if not np.isfinite(values).all():
        msg = f"column {name!r} holds times that are not numbers"
        raise ValueError(msg)
    header = {str(k).upper(): v for k, v in table.meta.items()}
    if "MJDREFI" not in header and "MJDREF" not in header:
        header.update(MJDREFI=0, MJDREFF=0.0)  # times of light curves are MJD
    zero = reference_seconds(header)
    return np.asarray(values + zero)


def distance_coords(table: Table) -> dict[str, Any]:
    """Return the coordinates of a profile's regions."""
    missing = [n for n in ("x_min", "x_max") if n not in table.colnames]
    if missing:
        msg = f"a profile needs the columns {missing}"
        raise ValueError(msg)
    lo, hi = (_angle_or_own(table[n], n) for n in ("x_min", "x_max"))
    ref = _angle_or_own(table["x_ref"], "x_ref") if "x_ref" in table.colnames else (0.5 * (lo[0] + hi[0]), lo[1])
    names = {"distance": ref, "distance_min": lo, "distance_max": hi}
    labels = {
        "distance": "Distance",
        "distance_min": "lower edge of distance",
        "distance_max": "upper edge of distance",
    }
    return {
        name: ("region", values, {"units": unit, "long_name": labels[name]}) for name, (values, unit) in names.items()
    }


def _angle_or_own(column: Any, name: str) -> tuple[np.ndarray, str]:
    """Distances in degrees; those that are not angles keep their unit."""
    own = getattr(column, "unit", None)
    if own is None:
        msg = f"column {name!r} has no unit; it should be an angle, for example 'deg'"
        raise ValueError(msg)
    unit = "deg" if u.Unit(own).is_equivalent("deg") else u.Unit(own).to_string()
    return _numbers(column, name, unit), unit
