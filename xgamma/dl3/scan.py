"""Stores without index: the tables are built from the headers of the files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.dl3.events import header_attrs
from xgamma.dl3.index import ANGLES, TIMES, HduIndex, HduLocation, ObsId, obs_table
from xgamma.dl3.times import J2000_HEADER, has_reference, to_tt_seconds
from xgamma.io.fits_file import find_column, open_fits

__all__ = ["hdu_kind", "scan_files", "scan_folder", "table_of_headers"]

SUFFIXES = (".fits", ".fits.gz", ".fit", ".fit.gz", ".fts")
#: HDUCLAS2 -> type of HDU.
TYPES = {"EFF_AREA": "aeff", "EDISP": "edisp", "RPSF": "psf", "BKG": "bkg", "RAD_MAX": "rad_max"}
#: A column that only one class of response has -> its class.
CLASS_COLUMNS = {
    "EFFAREA": "aeff_2d",
    "MATRIX": "edisp_2d",
    "RPSF": "psf_table",
    "AMPL_2": "psf_3gauss",
    "GAMMA": "psf_king",
    "RAD_MAX": "rad_max_2d",
}
#: Cards that become columns of the observation table.
CARDS = (
    *("OBS_MODE", "RA_PNT", "DEC_PNT", "ALT_PNT", "AZ_PNT", "GLON_PNT", "GLAT_PNT", "ZEN_PNT"),
    *("TSTART", "TSTOP", "ONTIME", "LIVETIME", "DEADC", "OBJECT", "RA_OBJ", "DEC_OBJ", "TELESCOP", "INSTRUME"),
    *("DATE-OBS", "TIME-OBS", "DATE-END", "TIME-END", "N_TELS", "TELLIST", "QUALITY", "EVENT_COUNT"),
)
UNITS = {"ontime": "s", "livetime": "s"}


def hdu_kind(hdu: Any) -> tuple[str, str] | None:
    """Return type and class of a DL3 HDU (``("aeff", "aeff_2d")``), None for anything else.

    HDUCLAS1 and HDUCLAS2 tell the type, HDUCLAS4 and the columns tell the class; an HDU without
    HDUCLAS is known by its name, if it is EVENTS, GTI or POINTING.
    """
    if not isinstance(hdu, fits.BinTableHDU):
        return None
    card = {i: str(hdu.header.get(f"HDUCLAS{i}", "")).strip().upper() for i in (1, 2, 4)}
    for name in ("EVENTS", "GTI", "POINTING"):
        if card[1] == name or (not card[1] and hdu.name.upper() == name):
            return name.lower(), name.lower()
    hdu_type = TYPES.get(card[2])
    if hdu_type is None:
        return None
    known = {*CLASS_COLUMNS.values(), "bkg_2d", "bkg_3d"}
    if card[4].lower() in known:
        return hdu_type, card[4].lower()
    if hdu_type == "bkg":
        return hdu_type, "bkg_3d" if find_column(hdu, "DETX_LO") else "bkg_2d"
    found = next((c for column, c in CLASS_COLUMNS.items() if find_column(hdu, column)), None)
    return None if found is None else (hdu_type, found)


def _scan(path: Path) -> tuple[ObsId | None, dict[str, Any], list[HduLocation]]:
    """Return OBS_ID, cards of the EVENTS header, and the HDUs of a file."""
    with open_fits(path) as hdus:
        kinds = [(number, hdu, kind) for number, hdu in enumerate(hdus) if (kind := hdu_kind(hdu)) is not None]
        names = [hdu.name for _, hdu, _ in kinds]
        locations = [
            # a name that occurs once says more than a number
            HduLocation(*kind, str(path), hdu.name if hdu.name and names.count(hdu.name) == 1 else number)
            for number, hdu, kind in kinds
        ]
        events = next((hdu for _, hdu, kind in kinds if kind[0] == "events"), None)
        if events is None:
            return None, {}, locations
        cards = {k.upper(): v for k, v in header_attrs(events.header).items()}
        cards.setdefault("EVENT_COUNT", int(events.header["NAXIS2"]))
    obs_id = cards.get("OBS_ID")
    if obs_id is None or obs_id == "":
        msg = f"the EVENTS header of {path} has no OBS_ID"
        raise ValueError(msg)
    return (int(obs_id) if isinstance(obs_id, float) else obs_id), cards, locations


def scan_files(paths: Iterable[Path], irfs: Path | None = None) -> tuple[HduIndex, xr.Dataset]:
    """Build index and observation table from DL3 files.

    Parameters
    ----------
    paths
        Files with EVENTS.
    irfs
        File of responses for runs without any. Without it the calibration data base is asked, if the
        environment variable CALDB is set and the header has CALDB and IRF:
        ``$CALDB/data/<telescope>/<CALDB>/bcf/<IRF>/``.

    Raises
    ------
    ValueError
        If a file has no EVENTS HDU, two files have the same OBS_ID, or there are no files.
    """
    shared = [] if irfs is None else [h for h in _scan(irfs)[2] if h.hdu_type in TYPES.values()]
    rows: list[tuple[ObsId, HduLocation]] = []
    headers: dict[ObsId, dict[str, Any]] = {}
    files: dict[ObsId, Path] = {}
    for path in paths:
        obs_id, cards, locations = _scan(path)
        if obs_id is None:
            msg = f"{path} has no EVENTS HDU; give event files only, and a file of responses as irfs"
            raise ValueError(msg)
        if obs_id in headers:
            msg = f"run {obs_id} is in {files[obs_id]} and in {path}; leave one out"
            raise ValueError(msg)
        headers[obs_id], files[obs_id] = cards, path
        if not any(h.hdu_type in TYPES.values() for h in locations):
            locations = [*locations, *(shared or _caldb_responses(cards))]
        known = {"events", "gti", "pointing", *TYPES.values()}
        rows += [(obs_id, h) for h in locations if h.hdu_type in known]
    if not headers:
        msg = "there are no DL3 files to make a store of"
        raise ValueError(msg)
    return HduIndex.from_locations(rows), table_of_headers(headers)


def _caldb_responses(cards: Mapping[str, Any]) -> list[HduLocation]:
    """Return the responses that a header names in the calibration data base, none if there is no such file."""
    base = os.environ.get("CALDB")
    names = [str(cards.get(k) or "").strip() for k in ("TELESCOP", "CALDB", "IRF")]
    if not base or not all(names):
        return []
    folder = Path(base) / "data" / names[0].lower() / names[1] / "bcf" / names[2]
    file = next((f for f in sorted(folder.glob("*")) if f.name.lower().endswith(SUFFIXES)), None)
    return [] if file is None else [h for h in _scan(file)[2] if h.hdu_type in TYPES.values()]


def scan_folder(folder: Path) -> tuple[HduIndex, xr.Dataset]:
    """Build index and observation table of a folder (and the folders in it) without index files."""
    files = sorted(p for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.name.lower().endswith(SUFFIXES))
    usable: list[Path] = []
    skipped: list[str] = []
    for path in files:
        try:
            has_events = _scan(path)[0] is not None
        except (OSError, ValueError) as error:
            skipped.append(f"{path.name} ({error})")
            continue
        if has_events:
            usable.append(path)
        else:
            skipped.append(f"{path.name} (no EVENTS)")
    if not usable:
        why = f": {len(skipped)} FITS files, none with EVENTS" if skipped else ""
        msg = f"{folder} holds neither hdu-index.fits.gz nor DL3 files{why}"
        raise FileNotFoundError(msg)
    text = f"{folder} has no HDU index; its tables are built from the headers of {len(usable)} files"
    text += f"; left out: {', '.join(skipped[:5])}" if skipped else ""
    warnings.warn(text, UserWarning, stacklevel=3)
    return scan_files(usable)


def table_of_headers(headers: Mapping[ObsId, Mapping[str, Any]]) -> xr.Dataset:
    """Build an observation table from EVENTS headers; times are brought to seconds since J2000.0 (TT)."""
    columns: dict[str, tuple[np.ndarray, str]] = {}
    rows = list(headers.values())
    for card in CARDS:
        values = [row.get(card) for row in rows]
        if all(v is None for v in values):
            continue
        name = card.lower()
        if name in TIMES:
            values = [_seconds(v, row) for v, row in zip(values, rows, strict=True)]
        columns[name] = _array(values), "s" if name in TIMES else "deg" if name in ANGLES else UNITS.get(name, "")
    first = rows[0] if rows else {}
    site = {k: first[k] for k in ("GEOLON", "GEOLAT", "ALTITUDE", "GEOALT", "TELESCOP", "INSTRUME") if k in first}
    return obs_table(list(headers), columns, {**J2000_HEADER, **site})


def _seconds(value: Any, row: Mapping[str, Any]) -> float:
    if value is None or not has_reference(row):
        return np.nan
    return float(to_tt_seconds(float(value), row))


def _array(values: list[Any]) -> np.ndarray:
    """Return numbers with NaN for what is missing, or text with an empty one."""
    known = [v for v in values if v is not None]
    if all(isinstance(v, int) for v in known) and len(known) == len(values):
        return np.array(values)
    try:
        return np.array([np.nan if v is None or v == "" else float(v) for v in values])
    except (TypeError, ValueError):
        return np.array(["" if v is None else str(v) for v in values])
