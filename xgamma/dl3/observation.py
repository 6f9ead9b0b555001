"""`Observation`: one run; small to send, opens its files when asked and closes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.dl3.cache import cache, file_key
from xgamma.dl3.events import header_attrs, read_events
from xgamma.dl3.filters import ObservationFilter, OffsetFilter
from xgamma.dl3.gti import gti_duration, gti_table, read_gti
from xgamma.dl3.index import HduLocation, ObsId
from xgamma.dl3.pointing import Pointing, read_pointing
from xgamma.dl3.times import has_reference, to_tt_seconds
from xgamma.io.fits_table import FitsTable, FitsTables, open_tables
from xgamma.irf.rad_max import rad_max_from_aeff
from xgamma.irf.read import read_irf

__all__ = ["Observation", "ObservationFiles"]

IRF_TYPES = ("aeff", "edisp", "psf", "bkg", "rad_max")
#: Writer of the first public H.E.S.S. release, whose 3D backgrounds have their longitude reversed.
REVERSED_BACKGROUND = {"CREATOR": "SASH FITS::EventListWriter", "HDUVERS": "0.2"}
#: How IRF HDUs are found where the index gives no HDU name.
HDUCLAS2 = {"aeff": "EFF_AREA", "edisp": "EDISP", "psf": "RPSF", "bkg": "BKG", "rad_max": "RAD_MAX"}

T = TypeVar("T")
Response = xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class Observation:
    """One run of a store.

    Nothing is read before it is asked for, and files are closed after each access. What is parsed
    (headers, good time intervals, responses; not events) is kept in a bounded cache of the process.

    Parameters
    ----------
    obs_id
        Label of the run.
    hdus
        Where its HDUs are.
    row
        Its row of the observation table: pairs of name and value.
    cut
        Filter that is applied to events and good time intervals.
    on_bad
        ``"raise"`` or ``"drop"`` for events with NaN, or energies that are not positive.

    Examples
    --------
    >>> run = Observation(1, (), (("ra_pnt", 83.6),))
    >>> run.info["ra_pnt"], run.available
    (83.6, ())
    """

    obs_id: ObsId
    hdus: tuple[HduLocation, ...]
    row: tuple[tuple[str, Any], ...] = ()
    cut: ObservationFilter | None = None
    on_bad: str = "raise"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return what identifies the run in a Dask graph."""
        return type(self).__name__, self.obs_id, self.hdus, repr(self.cut), self.on_bad

    @property
    def info(self) -> dict[str, Any]:
        """Row of the observation table."""
        return dict(self.row)

    @property
    def available(self) -> tuple[str, ...]:
        """Types of HDU that the index names for this run."""
        return tuple(h.hdu_type for h in self.hdus)

    def location(self, hdu_type: str) -> HduLocation:
        """Return where an HDU is.

        Raises
        ------
        ValueError
            If the run has no such HDU.
        """
        for hdu in self.hdus:
            if hdu.hdu_type == hdu_type:
                return hdu
        msg = f"run {self.obs_id} has no {hdu_type!r} HDU; its index names {list(self.available)}"
        raise ValueError(msg)

    @contextmanager
    def open(self) -> Iterator[ObservationFiles]:
        """Open the files of the run for several reads: each file is opened once at most, and closed at the end."""
        with ExitStack() as stack:
            yield ObservationFiles(self, stack)

    def _read(self, read: Callable[[ObservationFiles], T]) -> T:
        with self.open() as files:
            return read(files)

    @property
    def events(self) -> xr.Dataset:
        """Event list, read from disk at each access; see `xgamma.dl3.events.read_events`."""
        return self._read(lambda files: files.events())

    @property
    def gti(self) -> xr.Dataset:
        """Good time intervals inside the time cut of the filter."""
        return self._read(lambda files: files.gti())

    @property
    def header(self) -> dict[str, Any]:
        """Cards of the EVENTS header."""
        return self._read(lambda files: files.header("events"))

    @property
    def pointing(self) -> Pointing:
        """Pointing: from the POINTING HDU if the run has one, else from the EVENTS header."""
        return self._read(lambda files: files.pointing())

    @property
    def aeff(self) -> Response:
        """Effective area."""
        return self._read(lambda files: files.irf("aeff"))

    @property
    def edisp(self) -> Response:
        """Energy dispersion."""
        return self._read(lambda files: files.irf("edisp"))

    @property
    def psf(self) -> Response:
        """Point spread function."""
        return self._read(lambda files: files.irf("psf"))

    @property
    def bkg(self) -> Response:
        """Background model, with the true alignment in ``attrs["fov_alignment"]``."""
        return self._read(lambda files: files.irf("bkg"))

    @property
    def rad_max(self) -> Response:
        """Radius of the point-like selection: a table, or one bin with the RAD_MAX keyword."""
        return self._read(lambda files: files.irf("rad_max"))

    @property
    def tstart(self) -> float:
        """Start in seconds since J2000.0 (TT): of the first good time interval inside the time cut."""
        return float(self.gti["gti_start"].min()) if self.gti.sizes["gti"] else np.nan

    @property
    def tstop(self) -> float:
        """Stop in seconds since J2000.0 (TT)."""
        return float(self.gti["gti_stop"].max()) if self.gti.sizes["gti"] else np.nan

    @property
    def tmid(self) -> float:
        """Middle between start and stop, seconds since J2000.0 (TT)."""
        return 0.5 * (self.tstart + self.tstop)

    @property
    def ontime(self) -> float:
        """Summed length of the good time intervals in seconds."""
        return gti_duration(self.gti)

    @property
    def deadtime_fraction(self) -> float:
        """Part of the time in which the telescopes could not take events."""
        return self._read(lambda files: files.deadtime_fraction())

    @property
    def livetime(self) -> float:
        """Ontime without dead time, in seconds, times the part of the livetime that event filters keep."""
        return self._read(lambda files: files.livetime())

    @property
    def telescope(self) -> str:
        """TELESCOP of the EVENTS header."""
        return str(self.header.get("TELESCOP", "")).strip()

    def select_time(self, time: Any) -> Observation:
        """Return the run cut to time intervals; see `ObservationFilter.create`."""
        return self.filter(time=time)

    def filter(self, cut: ObservationFilter | None = None, **cuts: Any) -> Observation:
        """Return the run with one more filter: `cut`, or one made of `cuts` (see `ObservationFilter.create`)."""
        new = ObservationFilter.create(**cuts) if cut is None else cut
        return replace(self, cut=new if self.cut is None else self.cut & new)

    def __repr__(self) -> str:
        cut = "" if self.cut is None else ", filtered"
        return f"<xgamma.Observation {self.obs_id}: {', '.join(self.available) or 'no HDUs'}{cut}>"


class ObservationFiles:
    """The open files of a run; made by `Observation.open`."""

    def __init__(self, observation: Observation, stack: ExitStack) -> None:
        self.observation = observation
        self._stack = stack
        self._open: dict[str, FitsTables] = {}
        # event lists as they are read, for parts of a run; not kept for a run that is read once
        self._lists: dict[tuple[str, ...] | None, xr.Dataset] | None = None

    def part(self, cut: ObservationFilter | None) -> ObservationFiles:
        """Return the same open files with another filter of the run; its event list is read once for all parts."""
        other = ObservationFiles(replace(self.observation, cut=cut), self._stack)
        self._lists = {} if self._lists is None else self._lists
        other._open, other._lists = self._open, self._lists
        return other

    def hdu(self, hdu_type: str) -> Any:
        """Return an HDU (`~xgamma.io.fits_table.FitsTable`, or astropy's), for reading inside the ``with`` block.

        Raises
        ------
        FileNotFoundError, OSError
            If the file that the index names is missing, truncated or no FITS file.
        ValueError
            If the file has no such HDU.
        """
        location = self.observation.location(hdu_type)
        file = location.file
        if file not in self._open:
            try:
                self._open[file] = self._stack.enter_context(open_tables(file))
            except FileNotFoundError as error:
                msg = f"run {self.observation.obs_id}, {hdu_type!r}: {error}"
                raise FileNotFoundError(msg) from None
        found = find_hdu(self._open[file], location)
        if found is None:
            names = [h.name for h in self._open[file]]
            msg = (
                f"run {self.observation.obs_id}: the index names HDU {location.hdu!r} for {hdu_type!r} in {file}, "
                f"which has {names}; correct the index (xgamma check lists all faults)"
            )
            raise ValueError(msg)
        if not isinstance(found, (FitsTable, fits.BinTableHDU)):
            msg = f"run {self.observation.obs_id}: HDU {location.hdu!r} ({hdu_type!r}) of {file} is no table"
            raise ValueError(msg)
        return found

    def _cached(self, kind: str, hdu_type: str, make: Callable[[], T]) -> T:
        location = self.observation.location(hdu_type)
        try:
            key = (kind, location.hdu, location.hdu_type, *file_key(location.file))
        except OSError:
            return make()  # opening the file says what is wrong
        return cache().get(key, make, _nbytes)

    def header(self, hdu_type: str) -> dict[str, Any]:
        """Return the cards of an HDU's header."""
        return dict(self._cached("header", hdu_type, lambda: _cards(self.hdu(hdu_type))))

    def events(self, columns: Sequence[str] | None = None) -> xr.Dataset:
        """Return the event list, filtered; `columns` names those to read (all by default)."""
        run = self.observation
        cut = run.cut
        needed = (
            None if columns is None or (cut and cut.events) else [*columns, *(["time"] if cut and cut.time else [])]
        )
        key = None if needed is None else tuple(needed)
        if self._lists is not None and key in self._lists:
            events = self._lists[key].copy()
        else:
            events = read_events(self.hdu("events"), needed, run.on_bad, where=run.location("events").file)
            events.attrs["obs_id"] = run.obs_id
            if self._lists is not None:
                self._lists[key] = events.copy()
        if cut is not None:
            moving = self.pointing() if any(isinstance(f, OffsetFilter) for f in cut.events) else None
            events = cut.filter_events(events, moving)
        return events if columns is None else events[[c.lower() for c in columns]]

    def gti(self) -> xr.Dataset:
        """Return the good time intervals; TSTART to TSTOP of the EVENTS header for a run without GTI HDU."""
        if "gti" in self.observation.available:
            gti = self._cached("gti", "gti", self._parse_gti).copy(deep=True)
        else:
            header = self.header("events")
            gti = gti_table(*(to_tt_seconds([float(header[n])], header) for n in ("TSTART", "TSTOP")))
        cut = self.observation.cut
        return gti if cut is None else cut.filter_gti(gti)

    def _parse_gti(self) -> xr.Dataset:
        hdu = self.hdu("gti")
        # a GTI header without time reference borrows that of the events
        borrow = not has_reference(hdu.header) and "events" in self.observation.available
        default = self.header("events") if borrow else None
        return read_gti(hdu, default, where=self.observation.location("gti").file)

    def pointing(self) -> Pointing:
        """Return the pointing."""
        if "pointing" in self.observation.available:
            return self._cached("pointing", "pointing", self._parse_pointing)
        try:
            return Pointing.from_header(self.header("events"))
        except ValueError as error:
            msg = f"run {self.observation.obs_id}: {error}"
            raise ValueError(msg) from error

    def _parse_pointing(self) -> Pointing:
        default = self.header("events") if "events" in self.observation.available else None
        return read_pointing(self.hdu("pointing"), default, where=self.observation.location("pointing").file)

    def irf(self, hdu_type: str) -> Response:
        """Return a response (`hdu_type` one of aeff, edisp, psf, bkg, rad_max); its arrays are read-only."""
        if hdu_type not in IRF_TYPES:
            msg = f"{hdu_type!r} is not a response; choose one of {IRF_TYPES}"
            raise ValueError(msg)
        if hdu_type == "rad_max" and "rad_max" not in self.observation.available:
            return self._fixed_rad_max()
        response = self._cached("irf", hdu_type, lambda: self._parse_irf(hdu_type)).copy(deep=False)
        if hdu_type == "bkg" and "fov_lon" in response.dims and self.reversed_background():
            response.attrs["fov_alignment"] = "REVERSE_LON_RADEC"
        return response

    def _parse_irf(self, hdu_type: str) -> Response:
        location = self.observation.location(hdu_type)
        try:
            response = read_irf(self.hdu(hdu_type), location.hdu_class or None)
        except ValueError as error:
            msg = f"run {self.observation.obs_id}, {location.file}: {error}"
            raise ValueError(msg) from error
        for array in _arrays(response):
            array.setflags(write=False)
        return response

    def _fixed_rad_max(self) -> xr.DataArray:
        aeff = self.irf("aeff") if "aeff" in self.observation.available else None
        table = rad_max_from_aeff(aeff) if isinstance(aeff, xr.DataArray) else None
        if table is None:
            msg = f"run {self.observation.obs_id} has neither a RAD_MAX table nor a point-like response with RAD_MAX"
            raise ValueError(msg)
        return table

    def reversed_background(self) -> bool:
        """True if the longitudes of the run's background are reversed, which only the writer of its events tells."""
        if "events" not in self.observation.available:
            return False
        header = self.header("events")
        return all(str(header.get(k, "")).strip() == v for k, v in REVERSED_BACKGROUND.items())

    def deadtime_fraction(self) -> float:
        """Return the dead time as a part of the ontime, from DEADC (or LIVETIME and ONTIME)."""
        cards = self.header("events") if "events" in self.observation.available else {}
        known = {n: cards.get(n, self.observation.info.get(n.lower())) for n in ("DEADC", "LIVETIME", "ONTIME")}
        try:
            if known["DEADC"] is not None:
                alive = float(known["DEADC"])
            else:
                alive = float(known["LIVETIME"] or "") / float(known["ONTIME"] or "")
        except (TypeError, ValueError, ZeroDivisionError) as error:
            msg = f"run {self.observation.obs_id}: the EVENTS header gives no DEADC, nor LIVETIME and ONTIME: {known}"
            raise ValueError(msg) from error
        if not 0 <= alive <= 1:
            msg = f"run {self.observation.obs_id}: DEADC is the part of time that counts, in [0, 1], not {alive!r}"
            raise ValueError(msg)
        return 1.0 - alive

    def livetime(self) -> float:
        """Return ontime without dead time in seconds, times what event filters keep."""
        cut = self.observation.cut
        fraction = 1.0 if cut is None else cut.livetime_fraction
        return gti_duration(self.gti()) * (1.0 - self.deadtime_fraction()) * fraction


def find_hdu(hdus: fits.HDUList | FitsTables, location: HduLocation) -> Any:
    """Return the HDU of a location: by number, by name in any case, or by its class; None if there is none."""
    wanted = location.hdu
    if isinstance(wanted, int):
        return hdus[wanted] if 0 <= wanted < len(hdus) else None
    for hdu in hdus:
        if wanted and hdu.name.upper() == wanted.upper():
            return hdu
        if not wanted and _has_class(hdu.header, location.hdu_type):
            return hdu
    return hdus[int(wanted)] if wanted.isdigit() and int(wanted) < len(hdus) else None


def _has_class(header: Any, hdu_type: str) -> bool:
    if hdu_type in HDUCLAS2:
        return str(header.get("HDUCLAS2", "")).strip().upper() == HDUCLAS2[hdu_type]
    return hdu_type.upper() in (
        str(header.get("HDUCLAS1", "")).strip().upper(),
        str(header.get("EXTNAME", "")).strip().upper(),
    )


def _cards(hdu: FitsTable | fits.BinTableHDU) -> dict[str, Any]:
    """Return the cards of a header that say something of the run, in upper case."""
    return {k.upper(): v for k, v in header_attrs(hdu.header).items()}


def _arrays(obj: Response) -> list[np.ndarray]:
    parts = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    return [part.data for part in parts if isinstance(part.data, np.ndarray)]


def _nbytes(value: Any) -> int:
    if isinstance(value, (xr.DataArray, xr.Dataset)):
        return int(value.nbytes) + 1000
    return 100 * len(value) if isinstance(value, dict) else 1000 + 100 * len(getattr(value, "table", ()))
