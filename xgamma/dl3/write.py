"""Writing DL3 files and index tables: whole files appear, or none."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.dl3.gti import gti_duration, gti_to_hdu
from xgamma.dl3.index import HduIndex, HduLocation, ObsId
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.times import J2000_HEADER, from_tt_seconds, has_reference, to_time
from xgamma.io.atomic import atomic_path
from xgamma.io.fits_file import expand_path
from xgamma.irf.write import irf_to_hdu

if TYPE_CHECKING:
    from xgamma.dl3.store import Observations

__all__ = ["copy_runs", "events_to_hdu", "write_index", "write_observation"]

DOCUMENT = "https://gamma-astro-data-formats.readthedocs.io"
#: First columns of an event list, in the order of the format.
FIRST = ("event_id", "time", "ra", "dec", "energy")
TIME_CARDS = ("MJDREFI", "MJDREFF", "TIMESYS", "TIMEUNIT", "TIMEREF")
#: Attributes that are written by us or not at all.
SKIPPED = {
    "simple",
    "extend",
    "bitpix",
    "n_dropped",
    "hduclass",
    "hdudoc",
    "hduvers",
    "hduclas1",
    "timezero",
    "mjdref",
    "timeunit",
}


def write_fits(path: str | os.PathLike[str], hdus: list[Any], overwrite: bool = False) -> Path:
    """Write HDUs to a file, gzipped if its name ends with .gz; equal content makes equal bytes."""
    target = expand_path(path)
    with atomic_path(target, overwrite) as draft:
        buffer = BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer)
        data = buffer.getvalue()
        draft.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)
    return target


def events_to_hdu(events: xr.Dataset, header: Mapping[str, Any] | None = None) -> fits.BinTableHDU:
    """Return the GADF EVENTS extension of an event list.

    Parameters
    ----------
    events
        As `xgamma.dl3.events.read_events` gives it; its attributes become cards.
    header
        Cards that add to those attributes or replace them. Times are written since the reference
        that MJDREFI, MJDREFF and TIMESYS give, J2000.0 (TT) where there is none.

    Returns
    -------
    astropy.io.fits.BinTableHDU
        Numbers that fit into float32 are written as such, the others as float64: nothing is lost.

    Raises
    ------
    ValueError
        If a column of the format is missing.

    Notes
    -----
    GADF, section "EVENTS".

    Examples
    --------
    >>> events = xr.Dataset({name: ("event", [1.0]) for name in ("time", "ra", "dec", "energy")})
    >>> events_to_hdu(events, {"OBS_ID": 7}).columns.names
    ['EVENT_ID', 'TIME', 'RA', 'DEC', 'ENERGY']
    """
    missing = [n for n in FIRST[1:] if n not in events]
    if missing:
        msg = f"the event list has no column {', '.join(missing)}"
        raise ValueError(msg)
    cards = _cards(events.attrs, header)
    reference = {k: cards[k] for k in TIME_CARDS if k in cards}
    names = [n for n in FIRST if n in events] + [str(n) for n in events.data_vars if n not in (*FIRST, "obs_id")]
    columns = []
    if "event_id" not in events:
        columns.append(fits.Column("EVENT_ID", "K", array=np.arange(1, events.sizes["event"] + 1)))
    for name in names:
        values = events[name].values
        if name == "time":
            values = from_tt_seconds(values, reference)
            columns.append(fits.Column("TIME", "D", unit="s", array=values))
        else:
            columns.append(_column(name.upper(), values, events[name].attrs.get("units") or None))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=events.sizes["event"], name="EVENTS")
    hdu.header.update({"HDUCLASS": "GADF", "HDUDOC": DOCUMENT, "HDUVERS": "0.3", "HDUCLAS1": "EVENTS"})
    for key, value in cards.items():
        card = f"HIERARCH {key}" if len(key) > 8 else key
        hdu.header[card] = value
    return hdu


def _column(name: str, values: np.ndarray, unit: str | None) -> fits.Column:
    """Return a FITS column that loses nothing."""
    width = "" if values.ndim == 1 else str(int(np.prod(values.shape[1:])))
    dim = f"({','.join(str(n) for n in values.shape[:0:-1])})" if values.ndim > 2 else None
    kind = values.dtype.kind
    if kind == "b":
        if values.ndim == 2:
            return fits.Column(name, f"{width}X", array=values)
        return fits.Column(name, "L", array=values)
    if kind in "US" or kind == "O":
        texts = np.asarray(values, dtype=str)
        return fits.Column(name, f"{max(1, texts.dtype.itemsize // 4)}A", array=texts)
    if kind in "iu":
        return fits.Column(name, f"{width}K", unit=unit, array=values.astype(np.int64), dim=dim)
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    exact = np.array_equal(short.astype(np.float64), values, equal_nan=True)
    return fits.Column(name, f"{width}{'E' if exact else 'D'}", unit=unit, array=short if exact else values, dim=dim)


def _cards(attrs: Mapping[str, Any], header: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the cards to write: attributes in upper case, then `header`, then the time reference."""
    cards = {str(k).upper(): v for k, v in attrs.items() if str(k).lower() not in SKIPPED}
    cards.update({str(k).upper(): v for k, v in (header or {}).items()})
    cards = {k: v for k, v in cards.items() if isinstance(v, (str, int, float, np.number)) and _printable(v)}
    if not has_reference(cards) or "MJDREFI" not in cards:
        # one reference or the other, never parts of two
        cards = {k: v for k, v in cards.items() if k not in (*TIME_CARDS, "MJDREF")}
        cards.update(J2000_HEADER)
    cards["TIMEUNIT"] = "s"
    cards.setdefault("TIMESYS", "TT")
    cards.setdefault("TIMEREF", "LOCAL")
    cards.setdefault("RADECSYS", "ICRS")
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in cards.items()}


def _printable(value: Any) -> bool:
    return value.isascii() if isinstance(value, str) else bool(np.isfinite(value))


def write_observation(
    path: str | os.PathLike[str],
    events: xr.Dataset,
    gti: xr.Dataset,
    irfs: Mapping[str, xr.DataArray | xr.Dataset] | None = None,
    header: Mapping[str, Any] | None = None,
    pointing: Pointing | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one run as one GADF DL3 file.

    Parameters
    ----------
    path
        File; gzipped if the name ends with ``.gz``.
    events
        Event list; its attributes become cards.
    gti
        Good time intervals.
    irfs
        Responses by type: ``"aeff"``, ``"edisp"``, ``"psf"``, ``"bkg"``, ``"rad_max"``.
    header
        Cards of EVENTS that add to the attributes: OBS_ID and DEADC have to be in one of them, and
        a pointing, unless `pointing` is given. TSTART, TSTOP, ONTIME and LIVETIME follow from `gti`.
    pointing
        Fixed pointing, drift, or a table (written as POINTING HDU).
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is not set.
    ValueError
        If cards or columns are missing, or `gti` is empty.

    Examples
    --------
    >>> import tempfile
    >>> from xgamma.dl3.store import open_store
    >>> from xgamma.io.sample import sample_path
    >>> run = open_store(sample_path("survey")).get(1)
    >>> path = write_observation(tempfile.mkdtemp() + "/run.fits", run.events, run.gti, {"aeff": run.aeff})
    >>> path.name
    'run.fits'
    """
    if not gti.sizes["gti"]:
        msg = "a run needs at least one good time interval"
        raise ValueError(msg)
    cards = _cards(events.attrs, {**(header or {}), **_pointing_cards(pointing)})
    missing = [n for n in ("OBS_ID", "DEADC") if n not in cards]
    if missing:
        msg = f"the header needs {' and '.join(missing)}; give header={{...}}"
        raise ValueError(msg)
    ends = [float(gti["gti_start"].min()), float(gti["gti_stop"].max())]
    start, stop = from_tt_seconds(ends, cards).tolist()
    ontime = gti_duration(gti)
    cards.update({"TSTART": start, "TSTOP": stop, "TELAPSE": stop - start, "ONTIME": ontime})
    cards["LIVETIME"] = ontime * float(cards["DEADC"])
    for key, seconds in zip(("OBS", "END"), ends, strict=True):
        cards[f"DATE-{key}"], cards[f"TIME-{key}"] = to_time(seconds).utc.isot.split("T")
    Pointing.from_header(cards)
    hdus = [events_to_hdu(events, cards), gti_to_hdu(gti, cards)]
    if pointing is not None and pointing.mode == "table":
        hdus.append(_pointing_hdu(pointing, cards))
    for hdu_type, irf in (irfs or {}).items():
        try:
            hdu = irf_to_hdu(irf)
        except ValueError as error:
            msg = f"response {hdu_type!r}: {error}"
            raise ValueError(msg) from error
        hdus.append(hdu)
    return write_fits(path, hdus, overwrite)


def _pointing_cards(pointing: Pointing | None) -> dict[str, Any]:
    if pointing is None:
        return {}
    values = {"RA_PNT": pointing.ra, "DEC_PNT": pointing.dec, "ALT_PNT": pointing.alt, "AZ_PNT": pointing.az}
    cards: dict[str, Any] = {k: v for k, v in values.items() if np.isfinite(v)}
    cards["OBS_MODE"] = "DRIFT" if pointing.mode == "drift" else "POINTING"
    if pointing.location is not None:
        cards.update(zip(("GEOLON", "GEOLAT", "ALTITUDE"), pointing.location, strict=True))
    return cards


def _pointing_hdu(pointing: Pointing, cards: Mapping[str, Any]) -> fits.BinTableHDU:
    time, ra, dec = np.array(pointing.table).T
    columns = [
        fits.Column("TIME", "D", unit="s", array=from_tt_seconds(time, cards)),
        fits.Column("RA_PNT", "D", unit="deg", array=ra),
        fits.Column("DEC_PNT", "D", unit="deg", array=dec),
    ]
    if pointing.location is not None:
        alt, az = pointing.altaz(time)
        columns += [fits.Column(n, "D", unit="deg", array=v) for n, v in (("ALT_PNT", alt), ("AZ_PNT", az))]
    hdu = fits.BinTableHDU.from_columns(columns, name="POINTING")
    hdu.header.update({"HDUCLASS": "GADF", "HDUDOC": DOCUMENT, "HDUVERS": "0.3", "HDUCLAS1": "POINTING"})
    for key in (*TIME_CARDS, "GEOLON", "GEOLAT", "ALTITUDE"):
        if key in cards:
            hdu.header[key] = cards[key]
    return hdu


def write_index(folder: str | os.PathLike[str], runs: Observations, overwrite: bool = False) -> Path:
    """Write ``hdu-index.fits.gz`` and ``obs-index.fits.gz`` of runs; paths are relative to `folder`.

    Parameters
    ----------
    folder
        Where the index files go, usually the folder above the runs.
    runs
        For example ``Store.from_files(files).observations``.
    overwrite
        Replace existing index files.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        If an index exists and `overwrite` is not set.

    Examples
    --------
    >>> import tempfile
    >>> from xgamma.dl3.store import open_store
    >>> from xgamma.io.sample import sample_path
    >>> runs = open_store(sample_path("survey")).select([1, 2])
    >>> len(open_store(write_index(tempfile.mkdtemp(), runs)))
    2
    """
    place = expand_path(folder)
    for name in ("hdu-index.fits.gz", "obs-index.fits.gz"):
        if (place / name).exists() and not overwrite:
            msg = f"{place / name} exists; give overwrite=True to replace it"
            raise FileExistsError(msg)
    pairs = [(label, location) for label in runs.obs_ids for location in runs.index.locations(label)]
    write_fits(place / "obs-index.fits.gz", [_obs_index_hdu(runs.table)], overwrite)
    write_fits(place / "hdu-index.fits.gz", [_hdu_index_hdu(pairs, place)], overwrite)
    return place


def _hdu_index_hdu(pairs: list[tuple[ObsId, HduLocation]], folder: Path) -> fits.BinTableHDU:
    base = folder.absolute()
    files = [Path(os.path.relpath(Path(location.file).absolute(), base)) for _, location in pairs]
    columns = {
        "OBS_ID": np.array([label for label, _ in pairs]),
        "HDU_TYPE": np.array([location.hdu_type for _, location in pairs], dtype=str),
        "HDU_CLASS": np.array([location.hdu_class for _, location in pairs], dtype=str),
        "FILE_DIR": np.array(["" if str(f.parent) == "." else f.parent.as_posix() for f in files], dtype=str),
        "FILE_NAME": np.array([f.name for f in files], dtype=str),
        "HDU_NAME": np.array([str(location.hdu) for _, location in pairs], dtype=str),
    }
    hdu = fits.BinTableHDU.from_columns(
        [_column(name, values, None) for name, values in columns.items()], name="HDU_INDEX"
    )
    hdu.header.update(
        {"HDUCLASS": "GADF", "HDUDOC": DOCUMENT, "HDUVERS": "0.3", "HDUCLAS1": "INDEX", "HDUCLAS2": "HDU"}
    )
    return hdu


def _obs_index_hdu(table: xr.Dataset) -> fits.BinTableHDU:
    columns = [_column("OBS_ID", table["obs"].values, None)]
    for name, column in table.data_vars.items():
        values = column.values
        if column.attrs.get("reference"):
            values = from_tt_seconds(values, J2000_HEADER)
        columns.append(_column(str(name).upper(), values, column.attrs.get("units") or None))
    hdu = fits.BinTableHDU.from_columns(columns, name="OBS_INDEX")
    hdu.header.update(
        {"HDUCLASS": "GADF", "HDUDOC": DOCUMENT, "HDUVERS": "0.3", "HDUCLAS1": "INDEX", "HDUCLAS2": "OBS"}
    )
    hdu.header.update(J2000_HEADER)
    for key in ("geolon", "geolat", "altitude", "telescop", "instrume", "dataset", "observer"):
        if key in table.attrs:
            hdu.header[key.upper()] = table.attrs[key]
    return hdu


def copy_runs(runs: Observations, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Copy the files of runs to ``folder/data`` and write the index tables of what was copied.

    Parameters
    ----------
    runs
        Runs of a store.
    folder
        Made if it does not exist.
    overwrite
        Replace files that exist.

    Returns
    -------
    pathlib.Path
        The folder, a store of its own.

    Raises
    ------
    FileExistsError
        If a file exists and `overwrite` is not set; nothing is copied then.
    FileNotFoundError
        If a file of a run is missing; nothing is copied then.

    Examples
    --------
    >>> import tempfile
    >>> from xgamma.dl3.store import open_store
    >>> from xgamma.io.sample import sample_path
    >>> folder = copy_runs(open_store(sample_path("survey")).select(1), tempfile.mkdtemp())
    >>> open_store(folder).obs_ids
    (1,)
    """
    place = expand_path(folder)
    pairs = [(label, location) for label in runs.obs_ids for location in runs.index.locations(label)]
    targets = _targets([location.file for _, location in pairs], place / "data")
    missing = [f for f in targets if not Path(f).is_file()]
    if missing:
        msg = f"{len(missing)} files of these runs are missing, the first is {missing[0]}"
        raise FileNotFoundError(msg)
    wanted = [*targets.values(), place / "hdu-index.fits.gz", place / "obs-index.fits.gz"]
    existing = [f for f in wanted if f.exists()]
    if existing and not overwrite:
        msg = f"{existing[0]} exists; give overwrite=True to replace it"
        raise FileExistsError(msg)
    (place / "data").mkdir(parents=True, exist_ok=True)
    for source, target in targets.items():
        with atomic_path(target, overwrite) as draft:
            shutil.copyfile(source, draft)
    moved = [(label, HduLocation(h.hdu_type, h.hdu_class, str(targets[h.file]), h.hdu)) for label, h in pairs]
    copied = type(runs)(runs.table, HduIndex.from_locations(moved))
    return write_index(place, copied, overwrite)


def _targets(files: list[str], folder: Path) -> dict[str, Path]:
    """Return where each file goes: its own name, with a number where two have the same."""
    targets: dict[str, Path] = {}
    taken: set[str] = set()
    for file in dict.fromkeys(files):
        name, number = Path(file).name, 1
        while name in taken:
            number += 1
            name = f"{number}_{Path(file).name}"
        taken.add(name)
        targets[file] = folder / name
    return targets
