"""Checking a DL3 store: every fault that it has, not only the first."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.dl3.events import FIXED, header_attrs
from xgamma.dl3.gti import gti_contains, gti_duration, read_gti
from xgamma.dl3.index import HduLocation, ObsId
from xgamma.dl3.observation import IRF_TYPES, find_hdu
from xgamma.dl3.pointing import Pointing, read_pointing
from xgamma.dl3.query import REQUIRED
from xgamma.dl3.store import Store, open_store
from xgamma.dl3.times import has_reference, reference_seconds, to_tt_seconds
from xgamma.io.fits_file import find_column, open_fits, read_column
from xgamma.irf.read import irf_class_of, read_irf

__all__ = ["Fault", "check_store"]

#: Cards that an EVENTS header should have, and what is lost without them.
CARDS = {
    "OBS_ID": "error",
    "TSTART": "error",
    "TSTOP": "error",
    "MJDREFI": "error",
    "TIMESYS": "warning",
    "DEADC": "error",
    "ONTIME": "warning",
    "LIVETIME": "warning",
    "TELESCOP": "warning",
}
#: Agreement of index table and header: float32 columns hold no more.
POSITION_TOLERANCE = 1e-4  # deg
TIME_TOLERANCE = 64.0  # s


@dataclass(frozen=True)
class Fault:
    """One fault of a store.

    Parameters
    ----------
    obs_id
        Run, None for a fault of the store as a whole.
    hdu
        Type of HDU, empty for a fault of the run as a whole.
    file
        File, empty where there is none.
    severity
        ``"error"`` (the run cannot be analysed as it is) or ``"warning"``.
    message
        What is wrong.

    Examples
    --------
    >>> print(Fault(1, "gti", "run.fits", "error", "the table is empty"))
    error: run 1, gti, run.fits: the table is empty
    """

    obs_id: ObsId | None
    hdu: str
    file: str
    severity: str
    message: str

    def __str__(self) -> str:
        place = ", ".join(
            p for p in (f"run {self.obs_id}" if self.obs_id is not None else "", self.hdu, self.file) if p
        )
        return f"{self.severity}: {place or 'store'}: {self.message}"


#: What a single check finds: severity and message.
Finding = tuple[str, str]


def check_store(path: str | os.PathLike[str]) -> list[Fault]:
    """Check all index rows, files, HDUs, columns, units, values and headers of a DL3 store.

    Parameters
    ----------
    path
        What `xgamma.dl3.store.open_store` takes.

    Returns
    -------
    list of Fault
        Empty for a store without faults. A fault does not stop the check; responses that many runs
        share are checked once.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> check_store(sample_path("survey"))
    []
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            store = open_store(path)
        except FileNotFoundError:
            raise
        except (ValueError, OSError) as error:
            return [Fault(None, "", str(path), "error", str(error))]
    faults = [Fault(None, "", "", "warning", str(w.message)) for w in caught if issubclass(w.category, UserWarning)]
    faults += [Fault(None, "", "", s, m) for s, m in _check_tables(store)]
    seen: set[tuple[str, ObsId, str]] = set()
    table = store.obs_table
    for label in dict.fromkeys([*store.obs_ids, *store.index.obs_ids]):
        row = dict(table.sel(obs=label).data_vars) if label in store.obs_ids else {}
        faults += _check_run(label, _locations(store, label), {str(k): v.values for k, v in row.items()}, seen)
    return faults


def _locations(store: Store, label: ObsId) -> tuple[HduLocation, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return store.index.locations(label)


def _check_tables(store: Store) -> Iterator[Finding]:
    in_table, in_index = set(store.obs_ids), set(store.index.obs_ids)
    for label in sorted(in_table - in_index, key=str):
        yield "error", f"run {label} is in the observation index but not in the HDU index"
    for label in sorted(in_index - in_table, key=str):
        yield "error", f"run {label} is in the HDU index but not in the observation index"
    for label in store.index.obs_ids:
        every = [t for t, o in zip(store.index.hdu_type, store.index.obs_id, strict=True) if o == label]
        for hdu_type in sorted({t for t in every if every.count(t) > 1}):
            yield "warning", f"run {label} has {every.count(hdu_type)} rows for {hdu_type!r}; the first is used"
    for name in ("ra_pnt", "dec_pnt", "tstart", "tstop"):
        column = store.obs_table.get(name)
        if column is None:
            yield "warning", f"the observation index has no column {name.upper()}"
        elif "note" in column.attrs:
            yield "warning", f"{name.upper()}: {column.attrs['note']}"
        elif not np.isfinite(column.values.astype(float)).all():
            yield "warning", f"{name.upper()} of the observation index holds NaN"


def _check_run(
    label: ObsId, locations: tuple[HduLocation, ...], row: Mapping[str, Any], seen: set[tuple[str, ObsId, str]]
) -> list[Fault]:
    """Check the files of one run, each opened once."""
    faults: list[Fault] = []
    types = [h.hdu_type for h in locations]
    known = {*REQUIRED["full-enclosure"], "rad_max", "pointing"}
    missing = [name for name in ("events", "gti") if name not in types]
    faults += [Fault(label, name, "", "error", "the index names no such HDU") for name in missing]
    unknown = sorted(set(types) - known)
    faults += [Fault(label, name, "", "warning", f"HDU_TYPE {name!r} is not known") for name in unknown]
    by_file: dict[str, list[HduLocation]] = {}
    for location in locations:
        by_file.setdefault(location.file, []).append(location)
    context: dict[str, Any] = {"row": row, "obs_id": label}
    # events and good time intervals first: the others are compared with them
    for file, group in sorted(by_file.items(), key=lambda item: "events" not in [h.hdu_type for h in item[1]]):
        wanted = [h for h in group if (h.file, h.hdu, h.hdu_type) not in seen]
        seen |= {(h.file, h.hdu, h.hdu_type) for h in wanted if h.hdu_type in IRF_TYPES}
        if not wanted:
            continue
        try:
            with open_fits(file) as hdus:
                for location in sorted(
                    wanted, key=lambda h: ("events", "gti").index(h.hdu_type) if h.hdu_type in ("events", "gti") else 2
                ):
                    findings = _check_hdu(hdus, location, context)
                    faults += [Fault(label, location.hdu_type, file, s, m) for s, m in findings]
        except (OSError, ValueError) as error:
            faults += [Fault(label, h.hdu_type, file, "error", str(error)) for h in wanted]
    return faults


def _check_hdu(hdus: fits.HDUList, location: HduLocation, context: dict[str, Any]) -> list[Finding]:
    hdu = find_hdu(hdus, location)
    if hdu is None:
        return [("error", f"the file has no HDU {location.hdu!r}; it has {[h.name for h in hdus]}")]
    if not isinstance(hdu, fits.BinTableHDU):
        return [("error", f"HDU {location.hdu!r} is no table")]
    if location.hdu_type == "events":
        return list(_check_events(hdu, context))
    if location.hdu_type == "gti":
        return list(_check_gti(hdu, context))
    if location.hdu_type == "pointing":
        return list(_check_pointing(hdu, context))
    return list(_check_irf(hdu, location)) if location.hdu_type in IRF_TYPES else []


def _check_events(hdu: fits.BinTableHDU, context: dict[str, Any]) -> Iterator[Finding]:
    header = {k.upper(): v for k, v in header_attrs(hdu.header).items()}
    context["header"] = header
    yield from _check_cards(header, context)
    values: dict[str, np.ndarray] = {}
    for column, (name, unit, _) in FIXED.items():
        try:
            found = find_column(hdu, column)
            if found and not (hdu.columns[found].unit or "").strip():
                yield "warning" if name == "time" else "error", f"column {column} states no unit"
            values[name] = read_column(hdu, column, unit=unit, assume=unit)
        except ValueError as error:
            yield "error", str(error)
    if find_column(hdu, "EVENT_ID") is None:
        yield "warning", "there is no column EVENT_ID"
    for name, numbers in values.items():
        bad = int((~np.isfinite(numbers)).sum())
        if bad:
            yield "error", f"{bad} of {numbers.size} events have {name} NaN or infinite"
    with np.errstate(invalid="ignore"):
        ra = values.get("ra", np.empty(0))
        turned = int(((ra < 0) | (ra >= 360)).sum())
        if turned:
            yield "warning", f"{turned} events have a ra outside 0 to 360 deg, which is read modulo 360 deg"
        for name, low, high in (("ra", -360, 720), ("dec", -90, 90)):
            outside = int(((values.get(name, np.empty(0)) < low) | (values.get(name, np.empty(0)) > high)).sum())
            if outside:
                yield "error", f"{outside} events have {name} outside {low} to {high} deg"
        low = int((values.get("energy", np.empty(0)) <= 0).sum())
    if low:
        yield "error", f"{low} events have an energy that is not positive"
    if not len(hdu.data):
        yield "warning", "there are no events"
    if "time" in values and has_reference(header):
        yield from _check_event_times(values["time"], header, context)


def _check_event_times(seconds: np.ndarray, header: Mapping[str, Any], context: dict[str, Any]) -> Iterator[Finding]:
    if (np.diff(seconds) < 0).any():
        yield "warning", "the events are not sorted by time"
    try:
        context["time"] = to_tt_seconds(seconds, header)
        start, stop = float(header["TSTART"]), float(header["TSTOP"])
    except (KeyError, TypeError, ValueError):
        return  # said with the cards
    # a microsecond is the rounding of large numbers of seconds
    outside = int(((seconds < start - 1e-6) | (seconds > stop + 1e-6)).sum())
    if outside:
        yield "warning", f"{outside} events lie outside TSTART to TSTOP"


def _check_cards(header: Mapping[str, Any], context: dict[str, Any]) -> Iterator[Finding]:
    for card, severity in CARDS.items():
        if card not in header and not (card == "MJDREFI" and "MJDREF" in header):
            yield severity, f"the header has no {card}"
    if "OBS_ID" in header and str(header["OBS_ID"]).strip() != str(context["obs_id"]):
        yield "warning", f"OBS_ID is {header['OBS_ID']!r} in the header, {context['obs_id']!r} in the index"
    try:
        pointing = Pointing.from_header(header)
        yield from _compare_pointing(pointing, context["row"])
    except ValueError as error:
        yield "error", str(error)
    try:
        reference_seconds(header) if has_reference(header) else None
        deadc = float(header.get("DEADC", 1.0))
        if not 0 < deadc <= 1:
            yield "error", f"DEADC is {deadc:g}, it should lie in (0, 1]"
        start, stop = float(header.get("TSTART", 0)), float(header.get("TSTOP", 1))
        if not stop > start:
            yield "error", f"TSTOP ({stop}) does not lie after TSTART ({start})"
        table_start = float(context["row"].get("tstart", np.nan))
        if has_reference(header) and abs(table_start - float(to_tt_seconds(start, header))) > TIME_TOLERANCE:
            yield "warning", "TSTART of the header and of the observation index differ by more than a minute"
    except (TypeError, ValueError) as error:
        yield "error", f"a card is not valid: {error}"


def _compare_pointing(pointing: Pointing, row: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in (("ra_pnt", pointing.ra), ("dec_pnt", pointing.dec)):
        other = float(row.get(name, np.nan))
        difference = abs((value - other + 180) % 360 - 180)
        if difference > POSITION_TOLERANCE:
            yield "warning", f"{name.upper()} is {value:.5f} in the header, {other:.5f} in the observation index"


def _check_gti(hdu: fits.BinTableHDU, context: dict[str, Any]) -> Iterator[Finding]:
    header = context.get("header")
    if not has_reference(hdu.header):
        yield "warning", "the header has no MJDREFI; that of the events is used"
    try:
        gti = read_gti(hdu, header)
    except ValueError as error:
        yield "error", str(error)
        return
    if not gti.sizes["gti"]:
        yield "error", "the table is empty"
        return
    start, stop = gti["gti_start"].values, gti["gti_stop"].values
    if (stop == start).any():
        yield "warning", f"{int((stop == start).sum())} intervals have no length"
    if (np.diff(start) < 0).any():
        yield "warning", "the intervals are not sorted"
    order = np.argsort(start, kind="stable")
    if (np.maximum.accumulate(stop[order])[:-1] > start[order][1:]).any():
        yield "error", "intervals overlap: their summed length counts time twice"
    if "time" in context:
        outside = int((~gti_contains(_widened(gti), context["time"])).sum())
        if outside:
            yield "warning", f"{outside} of {context['time'].size} events lie outside the good time intervals"
    if header and "ONTIME" in header:
        try:
            ontime = float(header["ONTIME"])
        except (TypeError, ValueError):
            yield "warning", f"ONTIME is {header['ONTIME']!r}, no number"
            return
        if abs(gti_duration(gti) - ontime) > max(1.0, 1e-3 * ontime):
            yield "warning", f"ONTIME of the header is {ontime:g} s, the intervals sum up to {gti_duration(gti):g} s"


def _widened(gti: xr.Dataset) -> xr.Dataset:
    """Return intervals longer by the rounding of the times."""
    return gti.assign(gti_start=gti["gti_start"] - 1e-6, gti_stop=gti["gti_stop"] + 1e-6)


def _check_pointing(hdu: fits.BinTableHDU, context: dict[str, Any]) -> Iterator[Finding]:
    try:
        read_pointing(hdu, context.get("header"))
    except ValueError as error:
        yield "error", str(error)


def _check_irf(hdu: fits.BinTableHDU, location: HduLocation) -> Iterator[Finding]:
    if not str(hdu.header.get("HDUCLAS2", "")).strip():
        yield "warning", "the header has no HDUCLAS2"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            own = irf_class_of(hdu).lower()
            if location.hdu_class and own != location.hdu_class:
                yield "warning", f"HDU_CLASS of the index is {location.hdu_class!r}, the HDU is {own!r}"
            response = read_irf(hdu, location.hdu_class or None)
        except (ValueError, KeyError, IndexError) as error:
            yield "error", str(error)
            return
    for warning in caught:
        yield "warning", str(warning.message)
    parts = response.data_vars.values() if isinstance(response, xr.Dataset) else [response]
    if not any(np.any(part.values != 0) for part in parts):
        yield "warning", "all values are zero"


def summary(faults: list[Fault]) -> str:
    """Return one line that counts faults.

    Examples
    --------
    >>> summary([])
    'no faults'
    """
    if not faults:
        return "no faults"
    errors = sum(f.severity == "error" for f in faults)
    runs = {f.obs_id for f in faults if f.obs_id is not None}
    files = {Path(f.file).name for f in faults if f.file}
    return f"{errors} errors and {len(faults) - errors} warnings in {len(runs)} runs and {len(files)} files"
