"""Choosing rows of an observation table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.sky import grid_of
from xgamma.coords.units import to_value
from xgamma.dl3.filters import box_contains, make_box
from xgamma.dl3.index import HduIndex, ObsId
from xgamma.dl3.observation import Observation
from xgamma.dl3.pointing import Pointing, header_location
from xgamma.dl3.times import time_intervals, to_time, to_tt_seconds
from xgamma.kernels.sphere import separation, to_vectors

__all__ = ["REQUIRED", "select_rows"]

#: Named sets of HDU types that a run must have.
REQUIRED = {
    "full-enclosure": ("events", "gti", "aeff", "edisp", "psf", "bkg"),
    "point-like": ("events", "gti", "aeff", "edisp"),
    "all-optional": (),
}


def select_rows(
    table: xr.Dataset,
    index: HduIndex,
    *,
    obs_id: Any = None,
    cone: Any = None,
    box: Any = None,
    time: Any = None,
    inside: xr.Dataset | xr.DataArray | None = None,
    where: Any = None,
    required: str | Iterable[str] = ("events",),
    read: Callable[[int], Observation] | None = None,
    **columns: Any,
) -> np.ndarray:
    """Return the positions of the chosen runs; see `Store.select`.

    `read` opens a run by position, for those whose index row gives no time reference.
    """
    number = table.sizes["obs"]
    if number == 0:
        msg = "there are no runs to select from"
        raise ValueError(msg)
    rows = np.arange(number) if obs_id is None else _rows_of(table, obs_id)
    asked: list[str] = [] if obs_id is None else [f"obs_id={obs_id!r}"]
    keep = np.ones(number, dtype=bool)
    hints: list[str] = []
    for name, condition, test in (
        ("cone", cone, _in_cone),
        ("box", box, _in_box),
        ("inside", inside, _in_grid),
        ("where", where, _in_mask),
    ):
        if condition is not None:
            mask, words, hint = test(table, condition)
            keep &= mask
            asked.append(f"{name}: {words}")
            hints += [hint] if hint and not mask.any() else []
    if time is not None:
        mask, words, hint = _in_time(table, time, rows[keep[rows]], read)
        keep &= mask
        asked.append(f"time: {words}")
        hints += [hint] if not mask.any() else []
    for name, condition in columns.items():
        mask, words, hint = _in_column(table, name, condition)
        keep &= mask
        asked.append(words)
        hints += [hint] if not mask.any() else []
    types = _required(required)
    has = np.array([set(types) <= set(index.types(label)) for label in table["obs"].values.tolist()])
    keep &= has
    if types and not has.any():
        seen = sorted({t for label in table["obs"].values.tolist() for t in index.types(label)})
        hints.append(f"no run has all of the HDU types {list(types)}; the index names {seen}")
    chosen = rows[keep[rows]]
    if chosen.size == 0:
        asked += [f"required={list(types)}"] if types else []
        hint = "; ".join(hints) or "each condition alone is met by some runs, but never all"
        msg = f"none of {number} runs is selected by {'; '.join(asked) or 'these conditions'}. {hint}"
        raise ValueError(msg)
    return np.asarray(chosen)


def _required(required: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(required, str):
        if required in REQUIRED:
            return REQUIRED[required]
        if required not in REQUIRED["full-enclosure"] + ("rad_max", "pointing"):
            msg = f"required={required!r} must be HDU types or one of {sorted(REQUIRED)}"
            raise ValueError(msg)
        return (required,)
    return tuple(str(t).lower() for t in required)


def _rows_of(table: xr.Dataset, obs_id: Any) -> np.ndarray:
    wanted: Sequence[Any] = (
        [obs_id] if isinstance(obs_id, (str, int, np.integer)) else list(np.asarray(obs_id).tolist())
    )
    position: dict[ObsId, int] = {label: i for i, label in enumerate(table["obs"].values.tolist())}
    missing = [label for label in wanted if label not in position]
    if missing or not wanted:
        known = sorted(position, key=str)
        some = f"{known[0]} ... {known[-1]} ({len(known)} runs)" if len(known) > 6 else known
        what = f"runs {missing} are" if missing else "an empty list of runs is"
        msg = f"{what} not in the observation table, which has {some}"
        raise ValueError(msg)
    return np.array([position[label] for label in dict.fromkeys(wanted)])


def pointing_of(table: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return RA and Dec (ICRS, degrees) of all runs, of drift runs in their middle; NaN where not known."""
    number = table.sizes["obs"]
    ra, dec = (
        table[n].values.astype(float).copy() if n in table else np.full(number, np.nan) for n in ("ra_pnt", "dec_pnt")
    )
    if not np.isfinite([ra, dec]).all():
        _drift_pointings(table, ra, dec)
    missing = [n for n in ("ra_pnt", "dec_pnt") if n not in table]
    if missing and not np.isfinite(ra).any():
        msg = f"the observation table has no column {' and '.join(missing)}; it has {sorted(map(str, table.data_vars))}"
        raise ValueError(msg)
    return ra, dec


def _drift_pointings(table: xr.Dataset, ra: np.ndarray, dec: np.ndarray) -> None:
    """Fill in the mid-run pointings of drift runs, for which the table gives a direction on the ground."""
    site = header_location({k.upper(): v for k, v in table.attrs.items()})
    if site is None or not all(n in table for n in ("alt_pnt", "az_pnt", "tstart", "tstop")):
        return
    for i in np.flatnonzero(~(np.isfinite(ra) & np.isfinite(dec))):
        alt, az, start, stop = (float(table[n].values[i]) for n in ("alt_pnt", "az_pnt", "tstart", "tstop"))
        if np.isfinite([alt, az, start, stop]).all():
            ra[i], dec[i] = Pointing("drift", alt=alt, az=az, location=site).icrs(0.5 * (start + stop))


def _nearest(table: xr.Dataset, center: SkyCoord) -> str:
    angle = _separations(table, center)
    if not np.isfinite(angle).any():
        return "no run of the table has a pointing"
    best = int(np.nanargmin(angle))
    ra, dec = (v[best] for v in pointing_of(table))
    label = table["obs"].values[best]
    return (
        f"the nearest run is {label}, which points {angle[best]:.2f} deg away, at ra, dec = ({ra:.3f}, {dec:.3f}) deg"
    )


def _separations(table: xr.Dataset, center: SkyCoord) -> np.ndarray:
    icrs = center.icrs
    vector = to_vectors(np.asarray(float(icrs.ra.deg)), np.asarray(float(icrs.dec.deg)))
    return separation(to_vectors(*pointing_of(table)), vector)


def _in_cone(table: xr.Dataset, cone: Any) -> tuple[np.ndarray, str, str]:
    try:
        center, radius = cone
        if not isinstance(center, SkyCoord) or not center.isscalar:
            raise TypeError
    except (TypeError, ValueError) as error:
        msg = f"cone={cone!r} must be (center, radius): one SkyCoord and an angle such as '2.5 deg'"
        raise ValueError(msg) from error
    limit = to_value(radius, "deg", "radius")
    return _separations(table, center) <= limit, f"within {limit:g} deg of {_place(center)}", _nearest(table, center)


def _place(center: SkyCoord) -> str:
    return f"ra, dec = ({center.icrs.ra.deg:.3f}, {center.icrs.dec.deg:.3f}) deg"


def _in_box(table: xr.Dataset, box: Any) -> tuple[np.ndarray, str, str]:
    shape = make_box(box)
    ra, dec = pointing_of(table)
    known = np.isfinite(ra) & np.isfinite(dec)
    sky = SkyCoord(np.where(known, ra, 0), np.where(known, dec, 0), unit="deg").transform_to(shape.frame).spherical
    mask = known & box_contains(sky.lon.deg, sky.lat.deg, shape.lon, shape.lat, shape.width, shape.height)
    words = f"{shape.width:g} x {shape.height:g} deg around ({shape.lon:.3f}, {shape.lat:.3f}) in {shape.frame}"
    return mask, words, _nearest(table, box[0])


def _in_grid(table: xr.Dataset, grid: xr.Dataset | xr.DataArray) -> tuple[np.ndarray, str, str]:
    sky = grid_of(grid)
    mask = sky.contains(*sky.frame.from_icrs(*pointing_of(table)))
    lon, lat = sky.center
    center = SkyCoord(*(float(v) for v in sky.frame.to_icrs(lon, lat)), unit="deg")
    return mask, f"the grid of {sky.shape[1]} x {sky.shape[0]} pixels around {_place(center)}", _nearest(table, center)


def _in_mask(table: xr.Dataset, where: Any) -> tuple[np.ndarray, str, str]:
    mask = np.asarray(where(table) if callable(where) else where)
    if mask.shape != (table.sizes["obs"],) or mask.dtype != bool:
        msg = f"where must give a bool for each of {table.sizes['obs']} runs, not {mask.dtype} of shape {mask.shape}"
        raise ValueError(msg)
    return mask, "a mask", "the mask of where is False for all runs"


def _in_time(
    table: xr.Dataset, time: Any, rows: np.ndarray, read: Callable[[int], Observation] | None
) -> tuple[np.ndarray, str, str]:
    intervals = time_intervals(time)
    ends = [
        table[n].values.astype(float).copy() if n in table else np.full(table.sizes["obs"], np.nan)
        for n in ("tstart", "tstop")
    ]
    for row in rows:
        if read is not None and not all(np.isfinite(e[row]) for e in ends):
            header = read(int(row)).header
            for end, card in zip(ends, ("TSTART", "TSTOP"), strict=True):
                end[row] = to_tt_seconds(float(header[card]), header)
    start, stop = (e[:, np.newaxis] for e in ends)
    mask = np.asarray(((start < intervals[:, 1]) & (stop > intervals[:, 0])).any(axis=1))
    words = ", ".join(f"{to_time(a).utc.isot} to {to_time(b).utc.isot} (UTC)" for a, b in intervals)
    if np.isfinite(ends[0]).any():
        first, last = to_time(np.nanmin(ends[0])).utc.isot, to_time(np.nanmax(ends[1])).utc.isot
        return mask, words, f"the runs were taken between {first} and {last} (UTC)"
    return mask, words, "no run of the table has a known time"


def _in_column(table: xr.Dataset, name: str, condition: Any) -> tuple[np.ndarray, str, str]:
    lower = name.lower().replace("date_obs", "date-obs").replace("time_obs", "time-obs")
    if lower not in table or table[lower].dims != ("obs",):
        msg = f"the observation table has no column {name!r}; it has {sorted(map(str, table.data_vars))}"
        raise ValueError(msg)
    values, units = table[lower].values, str(table[lower].attrs.get("units", ""))
    text = values.dtype.kind in "US"
    if isinstance(condition, slice) or (isinstance(condition, tuple) and len(condition) == 2):
        ends = (condition.start, condition.stop) if isinstance(condition, slice) else condition
        low, high = (None if e is None else _as_value(e, units, text, name) for e in ends)
        mask = np.ones(values.shape, dtype=bool)
        mask &= True if low is None else values >= low
        mask &= True if high is None else values <= high
        words = f"{name} in [{low}, {high}]"
    else:
        wanted = condition if isinstance(condition, (list, tuple, set, np.ndarray)) else [condition]
        mask = np.isin(values, [_as_value(v, units, text, name) for v in wanted])
        words = f"{name}={condition!r}"
    seen = sorted(set(values.tolist()))[:8] if text else None
    return mask, words, f"{name} is {seen if text else _span(values)} in the table"


def _as_value(value: Any, units: str, text: bool, name: str) -> Any:
    if text or isinstance(value, (bool, int, float, np.number)):
        return str(value) if text else value
    return to_value(value, units, name)


def _span(values: np.ndarray) -> str:
    numbers = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return f"between {numbers.min():g} and {numbers.max():g}" if numbers.size else "not known"
