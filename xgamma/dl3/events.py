"""Event lists: a Dataset along `event` with positions, energies and times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.units import canonical_attrs, conversion_factor
from xgamma.dl3.gti import TIME_ATTRS
from xgamma.dl3.times import to_tt_seconds
from xgamma.io.fits_file import find_column, read_column, read_values

__all__ = ["header_attrs", "read_events", "stack_events"]

#: Columns with a fixed unit: FITS name -> (name, unit, label).
FIXED = {
    "RA": ("ra", "deg", "Right ascension (ICRS)"),
    "DEC": ("dec", "deg", "Declination (ICRS)"),
    "ENERGY": ("energy", "TeV", "Energy"),
    "TIME": ("time", "s", "Time"),
}
#: Cards that describe the FITS table and not the observation.
STRUCTURE = ("NAXIS", "TTYPE", "TFORM", "TUNIT", "TDIM", "TSCAL", "TZERO", "TNULL", "TDISP", "TCOMM", "TUCD", "TBCOL")
NO_ATTRS = {
    "XTENSION",
    "BITPIX",
    "PCOUNT",
    "GCOUNT",
    "TFIELDS",
    "EXTNAME",
    "COMMENT",
    "HISTORY",
    "",
    "CHECKSUM",
    "DATASUM",
}


def header_attrs(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cards of a header as attributes: lower-case names, plain values, nothing of the table's structure.

    Examples
    --------
    >>> header_attrs({"NAXIS1": 8, "OBS_ID": 23523, "TELESCOP": "HESS"})
    {'obs_id': 23523, 'telescop': 'HESS'}
    """
    attrs: dict[str, Any] = {}
    for key, value in header.items():
        if key in NO_ATTRS or (key.startswith(STRUCTURE) and key[-1].isdigit()) or key == "NAXIS":
            continue
        if isinstance(value, bool):
            attrs[key.lower()] = int(value)
        elif isinstance(value, (int, float)):
            attrs[key.lower()] = value
        elif isinstance(value, str):
            attrs[key.lower()] = value.strip()
        elif isinstance(value, (dt.date, np.generic)):
            attrs[key.lower()] = str(value)
    return attrs


def read_events(
    hdu: fits.BinTableHDU, columns: Sequence[str] | None = None, on_bad: str = "raise", where: str = ""
) -> xr.Dataset:
    """Read an EVENTS HDU.

    Parameters
    ----------
    hdu
        GADF EVENTS extension.
    columns
        Lower-case names of the columns to read; all by default.
    on_bad
        Events with NaN or infinite values, or energies that are not positive: ``"raise"``, or ``"drop"`` them.
    where
        File, for messages.

    Returns
    -------
    xarray.Dataset
        Dims (event,): ``ra`` (0 to 360) and ``dec`` in deg (ICRS), ``energy`` in TeV, ``time`` in seconds since
        J2000.0 (TT); any other column under its lower-case name in its own unit. The cards of the
        header are attributes; ``n_dropped`` counts dropped events.

    Raises
    ------
    ValueError
        If a column is missing, a unit is missing or wrong (TIME without unit is taken in seconds),
        or events are bad.

    Notes
    -----
    GADF, section "EVENTS".

    Examples
    --------
    >>> units = {"TIME": "s", "RA": "deg", "DEC": "deg", "ENERGY": "GeV"}
    >>> columns = [fits.Column(name, "D", unit=unit, array=np.ones(2)) for name, unit in units.items()]
    >>> hdu = fits.BinTableHDU.from_columns(columns)
    >>> hdu.header.update({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT"})
    >>> read_events(hdu).energy.values
    array([0.001, 0.001])
    """
    if on_bad not in ("raise", "drop"):
        msg = f"on_bad={on_bad!r} must be 'raise' or 'drop'"
        raise ValueError(msg)
    header = hdu.header
    have = {name.lower(): name for name in hdu.columns.names}
    names = (
        list(dict.fromkeys(c.lower() for c in columns))
        if columns is not None
        else [
            *(name for name, _, _ in FIXED.values()),
            *(n for n in have if n.upper() not in FIXED),
        ]
    )
    variables: dict[str, tuple[Any, ...]] = {}
    for name in names:
        fixed = FIXED.get(name.upper())
        if fixed is not None:
            assume = "s" if name == "time" else None
            values = read_column(hdu, name.upper(), unit=fixed[1], assume=assume, where=where)
            if name == "time":
                values = to_tt_seconds(values, header)
            elif name == "ra":
                # some writers count from -180 to 180 deg
                values = np.where((values < 0) | (values >= 360), values % 360.0, values)
            attrs = {**canonical_attrs(fixed[1], fixed[2]), **(TIME_ATTRS if name == "time" else {})}
            variables[name] = ("event", values, attrs)
        elif name in have:
            variables[name] = _other_column(hdu, have[name])
        else:
            msg = f"EVENTS{f' of {where}' if where else ''} has no column {name.upper()}; it has {hdu.columns.names}"
            raise ValueError(msg)
    return _without_bad(xr.Dataset(variables, attrs=header_attrs(header)), on_bad, where)


def _other_column(hdu: fits.BinTableHDU, column: str) -> tuple[Any, ...]:
    values = read_values(hdu, column)
    name = column.lower()
    dims = ("event", *(f"{name}_{i}" for i in range(values.ndim - 1)))
    unit = hdu.columns[find_column(hdu, column)].unit
    return dims, values, {"units": (unit or "").strip()} if values.dtype.kind in "fiu" else {}


def _without_bad(events: xr.Dataset, on_bad: str, where: str) -> xr.Dataset:
    """Find events with NaN or with energies that are not positive."""
    bad = np.zeros(events.sizes.get("event", 0), dtype=bool)
    reasons = []
    for name, _, _ in FIXED.values():
        if name in events:
            values = events[name].values
            wrong = ~np.isfinite(values)
            reasons += [f"{int(wrong.sum())} with {name} NaN or infinite"] if wrong.any() else []
            if name == "energy":
                low = values <= 0
                reasons += [f"{int(low.sum())} with energy <= 0"] if low.any() else []
                wrong |= low
            bad |= wrong
    if not bad.any():
        return events
    if on_bad == "raise":
        place = f" in {where}" if where else ""
        msg = (
            f"{int(bad.sum())} of {bad.size} events{place} are bad: {', '.join(reasons)}; on_bad='drop' leaves them out"
        )
        raise ValueError(msg)
    return events.isel(event=~bad).assign_attrs(n_dropped=int(bad.sum()))


def stack_events(lists: Iterable[xr.Dataset]) -> xr.Dataset:
    """Join event lists one after the other.

    Parameters
    ----------
    lists
        Event lists, for example of several runs. Columns that not all of them have are left out.

    Returns
    -------
    xarray.Dataset
        With a column ``obs_id`` that says where each event is from, where the lists know it;
        attributes are kept where all lists agree.

    Raises
    ------
    ValueError
        If there is nothing to stack, or a column has different units.

    Examples
    --------
    >>> import xarray as xr
    >>> runs = [xr.Dataset({"energy": ("event", [1.0])}, attrs={"obs_id": i}) for i in (1, 2)]
    >>> stack_events(runs).obs_id.values
    array([1, 2])
    """
    parts = list(lists)
    if not parts:
        msg = "there are no event lists to stack"
        raise ValueError(msg)
    common = [name for name in parts[0].data_vars if all(name in part for part in parts)]
    for name in common:
        units = [part[name].attrs.get("units") for part in parts]
        if any(unit != units[0] for unit in units):
            parts = [_in_unit(part, str(name), units[0]) for part in parts]
    labelled = [_with_obs_id(part[common]) for part in parts]
    if not all("obs_id" in part for part in labelled):
        labelled = [part.drop_vars("obs_id", errors="ignore") for part in labelled]
    return xr.concat(
        labelled, dim="event", combine_attrs="drop_conflicts", data_vars="all", coords="minimal", compat="override"
    )


def _in_unit(events: xr.Dataset, name: str, unit: str | None) -> xr.Dataset:
    given = events[name].attrs.get("units")
    if unit is None or given is None:
        msg = f"column {name!r} has units {unit!r} in one event list and {given!r} in another"
        raise ValueError(msg)
    column = events[name]
    attrs = {**column.attrs, "units": unit}
    return events.assign({name: column.copy(data=column.data * conversion_factor(given, unit)).assign_attrs(attrs)})


def _with_obs_id(events: xr.Dataset) -> xr.Dataset:
    if "obs_id" in events or "obs_id" not in events.attrs:
        return events
    return events.assign(obs_id=("event", np.full(events.sizes["event"], events.attrs["obs_id"])))
