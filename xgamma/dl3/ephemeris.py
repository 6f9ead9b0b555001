"""Ephemerides of pulsars: from event times to phases."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import factorial
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time

from xgamma.coords.units import canonical_attrs, to_value
from xgamma.dl3.filters import ObservationFilter
from xgamma.dl3.observation import Observation
from xgamma.dl3.phases import PHASE_LABEL
from xgamma.dl3.pointing import bundled_iers
from xgamma.dl3.times import to_time, tt_seconds
from xgamma.io.fits_file import expand_path

__all__ = ["Ephemeris", "PhaseColumn", "assign_phases", "event_phases"]

DAY = 86400.0
#: Nodes in s between which the way to the barycentre is interpolated: the Earth turns by less than 10 m off the chord.
STEP = 30.0
#: Keys of an ephemeris file that mean a longer way from time to phase than a few derivatives.
BEYOND = ("BINARY", "GLEP", "WAVE", "PB", "FB0")
#: Keys of a position in the ecliptic, which is not read.
ECLIPTIC = ("ELONG", "ELAT", "LAMBDA", "BETA")
#: Time scales in which numbers of an ephemeris file may be, and what they are called here.
SCALES = {"TDB": "tdb", "TT": "tt"}


@dataclass(frozen=True, eq=False, repr=False)
class Ephemeris:
    r"""Rotation of a pulsar: a frequency and its derivatives at a reference time.

    Parameters
    ----------
    reference
        Time at which the numbers hold: an astropy Time, or a modified Julian day in `scale`.
    frequency
        Frequency and its derivatives, s-1, s-2, s-3, ...: numbers, or quantities.
    phase
        Phase at the reference time, in turns.
    scale
        Time scale in which the phase is counted, ``"tdb"`` or ``"tt"``.
    position
        Position of the pulsar. Given, times are those of arrival at the barycentre of the solar system; left out, they
        are taken as they are (times in the files have been corrected, or the source rotates slowly). One with proper
        motion (``pm_ra_cosdec``, ``pm_dec``) moves, and has the time ``obstime`` at which it holds.
    location
        Where the telescope stands, for the way to the barycentre; by default the place in the header of the events.

    Raises
    ------
    ValueError
        If there is no frequency, or it is not positive and finite; if the phase is not a finite number, or a position
        moves from an unknown time.

    Notes
    -----
    The phase is the fraction of :math:`\phi_0 + f_0 t + f_1 t^2 / 2 + f_2 t^3 / 6 + \dots` with the seconds :math:`t`
    since the reference. The way to the barycentre is the projection of the telescope's position on the direction of
    the pulsar, with astropy's built-in ephemeris of the Earth (ERFA, better than 50 microseconds); delays in the
    potential of the sun and in binary orbits, and glitches are not part of it: take a column ``PHASE`` that a program
    for pulsar timing (PINT, tempo2) wrote for those.

    References
    ----------
    .. [1] Edwards, Hobbs & Manchester 2006, MNRAS 372, 1549.

    Examples
    --------
    >>> crab = Ephemeris(54000.0, ("29.8 s-1", "-3.7e-10 s-2"))
    >>> crab.phases(crab.reference_seconds + np.array([0.0, 0.25 / 29.8])).round(6)
    array([0.  , 0.25])
    """

    reference: Any
    frequency: tuple[Any, ...]
    phase: float = 0.0
    scale: str = "tdb"
    position: SkyCoord | None = None
    location: EarthLocation | None = None

    def __post_init__(self) -> None:
        if self.scale not in ("tdb", "tt"):
            msg = f"scale={self.scale!r} must be 'tdb' or 'tt'"
            raise ValueError(msg)
        given = self.frequency if isinstance(self.frequency, (tuple, list)) else (self.frequency,)
        terms = tuple(
            float(f) if isinstance(f, (int, float, np.number)) else float(to_value(f, f"s-{n}", f"frequency[{n - 1}]"))
            for n, f in enumerate(given, start=1)
        )
        if not terms or not np.isfinite(terms).all() or not terms[0] > 0:
            msg = f"frequency={self.frequency!r} must be a positive frequency in s-1, followed by its derivatives"
            raise ValueError(msg)
        object.__setattr__(self, "frequency", terms)
        day = self.reference
        if not isinstance(day, Time):
            try:
                day = Time(float(day), format="mjd", scale=self.scale)
            except (TypeError, ValueError) as error:
                msg = f"reference={self.reference!r} must be an astropy Time or a modified Julian day"
                raise ValueError(msg) from error
        object.__setattr__(self, "reference", getattr(day, self.scale))
        if not isinstance(self.phase, (int, float, np.number)) or not np.isfinite(self.phase):
            msg = f"phase={self.phase!r} must be a finite number of turns"
            raise ValueError(msg)
        if self.position is not None and _motion(self.position) and self.position.obstime is None:
            msg = "the position has a proper motion, but no time at which it holds: SkyCoord(..., obstime=Time(...))"
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Return all that the phases depend on: it tells runs with different ephemerides apart."""
        place: tuple[float, ...] | None = None
        if self.position is not None:
            place = float(self.position.icrs.ra.deg), float(self.position.icrs.dec.deg), *_motion(self.position)
            place += (float(tt_seconds(self.position.obstime)),) if len(place) > 2 else ()
        site = None if self.location is None else tuple(float(v.to_value("m")) for v in self.location.to_geocentric())
        numbers = f"{self.reference_seconds!r}, {self.frequency!r}, {self.phase!r}, {self.scale!r}"
        return f"Ephemeris({numbers}, position={place!r}, location={site!r})"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Ephemeris:
        """Read a file in the format of tempo2 (``.par``).

        Parameters
        ----------
        path
            File with ``F0``, ``F1``, ..., ``PEPOCH``; also read are ``RAJ``, ``DECJ``, ``PMRA``, ``PMDEC`` (mas / yr),
            ``POSEPOCH`` (by default ``PEPOCH``) and ``UNITS`` (by default TDB). The phase is 0 at ``PEPOCH``: the
            reference arrival ``TZRMJD`` is not used.

        Returns
        -------
        Ephemeris
            Without a position where the file has none.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If frequency or epoch are missing, a value is no number, the file has a binary orbit or glitches, a
            position in the ecliptic, or numbers in another time scale (TCB).

        Examples
        --------
        >>> from pathlib import Path
        >>> cards = ["F0 11.19 1", "F1 -1.55e-11", "PEPOCH 54000", "RAJ 08:35:20.6", "DECJ -45:10:35"]
        >>> _ = Path("vela.par").write_text(chr(10).join(cards))
        >>> Ephemeris.read("vela.par").frequency
        (11.19, -1.55e-11)
        """
        file = expand_path(path)
        lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
        cards = {words[0].upper(): words[1] for words in lines if len(words) > 1 and not words[0].startswith("#")}
        odd = sorted(key for key in cards if key.startswith(BEYOND))
        if odd:
            msg = f"{file} has {odd[0]}: orbits and glitches need a program for pulsar timing that writes PHASE"
            raise ValueError(msg)
        missing = [key for key in ("F0", "PEPOCH") if key not in cards]
        if missing:
            msg = f"{file} has no {missing[0]}; it has {sorted(cards)}"
            raise ValueError(msg)
        if "RAJ" not in cards and any(key in cards for key in ECLIPTIC):
            msg = f"{file} has a position in the ecliptic; give it as RAJ and DECJ"
            raise ValueError(msg)
        units = cards.get("UNITS", "TDB").upper()
        if units not in SCALES:
            msg = f"{file} has UNITS {units}; convert it to TDB (tempo2 -gr transform, PINT tcb2tdb)"
            raise ValueError(msg)
        numbers = {key: _number(cards[key], key, file) for key in _NUMBERS if key in cards}
        frequency: list[float] = []
        while f"F{len(frequency)}" in numbers:
            frequency.append(numbers[f"F{len(frequency)}"])
        scale = SCALES[units]
        return cls(numbers["PEPOCH"], tuple(frequency), scale=scale, position=_position(cards, numbers, scale))

    @property
    def reference_seconds(self) -> float:
        """Reference time in seconds since J2000.0 (TT)."""
        return float(tt_seconds(self.reference))

    def turns(self, time: Any) -> np.ndarray:
        """Return turns since the reference time at times: astropy Time, dates (UTC) or seconds since J2000.0 (TT)."""
        seconds = np.asarray(tt_seconds(time), dtype=float)
        t = seconds - self.reference_seconds + self._later(seconds) - self._later_at_reference
        total = np.zeros_like(t)
        for n, f in reversed(list(enumerate(self.frequency, start=1))):
            total = (total + f / factorial(n)) * t
        return np.asarray(total + self.phase)

    def phases(self, time: Any) -> np.ndarray:
        """Return phases from 0 up to 1 at the same times."""
        fraction = self.turns(time) % 1.0
        # the remainder of a tiny negative number rounds to 1
        return np.where(fraction == 1.0, 0.0, fraction)

    @property
    def _later_at_reference(self) -> float:
        """What TDB is ahead of TT at the reference time, which is one at the barycentre already."""
        return _ahead(np.array([self.reference_seconds]))[0] if self.scale == "tdb" else 0.0

    def _later(self, seconds: np.ndarray) -> np.ndarray:
        """Seconds to add to a time (TT) at the telescope: to the barycentre, and to the scale of the ephemeris."""
        if self.scale == "tt" and self.position is None:
            return np.zeros_like(seconds)
        known = seconds[np.isfinite(seconds)]
        if not known.size:
            return np.full_like(seconds, np.nan)
        low, high = float(known.min()), float(known.max())
        nodes = np.linspace(low, high, int(min((high - low) // STEP + 2, 10_000_000)))
        if nodes.size >= seconds.size:
            place = np.where(np.isfinite(seconds), seconds, low)
            return np.where(np.isfinite(seconds), self._exactly(place.ravel()).reshape(seconds.shape), np.nan)
        return np.asarray(np.interp(seconds, nodes, self._exactly(nodes)))

    def _exactly(self, seconds: np.ndarray) -> np.ndarray:
        result = _ahead(seconds) if self.scale == "tdb" else np.zeros_like(seconds)
        if self.position is None:
            return result
        if self.location is None:
            msg = "the way to the barycentre needs the place of the telescope: give location=EarthLocation(...)"
            raise ValueError(msg)
        place = _moved(self.position, float(seconds.mean()))
        with bundled_iers():
            way = to_time(seconds).light_travel_time(place, ephemeris="builtin", location=self.location)
        return np.asarray(result + way.to_value("s"))


#: Keys of an ephemeris file that are numbers.
_NUMBERS = ("PEPOCH", "POSEPOCH", "PMRA", "PMDEC", *(f"F{n}" for n in range(13)))
YEAR = 365.25 * DAY


def _number(text: str, key: str, file: os.PathLike[str]) -> float:
    try:
        # exponents are those of Fortran
        return float(text.upper().replace("D", "E"))
    except ValueError as error:
        msg = f"{file} has {key} {text}, which is no number"
        raise ValueError(msg) from error


def _position(cards: dict[str, str], numbers: dict[str, float], scale: str) -> SkyCoord | None:
    """Position in an ephemeris file, with its motion."""
    if not {"RAJ", "DECJ"} <= set(cards):
        return None
    motion: dict[str, Any] = {}
    if numbers.get("PMRA") or numbers.get("PMDEC"):
        motion = {n: numbers.get(k, 0.0) * u.mas / u.yr for n, k in (("pm_ra_cosdec", "PMRA"), ("pm_dec", "PMDEC"))}
        motion["obstime"] = Time(numbers.get("POSEPOCH", numbers["PEPOCH"]), format="mjd", scale=scale)
    return SkyCoord(cards["RAJ"], cards["DECJ"], unit=("hourangle", "deg"), **motion)


def _motion(position: SkyCoord) -> tuple[float, ...]:
    """Proper motion in deg per year, () of a position that stands still."""
    sky = position.icrs
    if "s" not in sky.data.differentials:
        return ()
    return float(sky.pm_ra_cosdec.to_value("deg / yr")), float(sky.pm_dec.to_value("deg / yr"))


def _moved(position: SkyCoord, seconds: float) -> SkyCoord:
    """Where a position is at a time (TT): during a run it does not move."""
    motion, sky = _motion(position), position.icrs
    if not motion:
        return position
    years = (seconds - float(tt_seconds(position.obstime))) / YEAR
    ra = sky.ra.deg + years * motion[0] / np.cos(sky.dec.rad)
    return SkyCoord(ra, sky.dec.deg + years * motion[1], unit="deg")


def _ahead(seconds: np.ndarray) -> np.ndarray:
    """Seconds by which TDB is ahead of TT."""
    tt = to_time(seconds)
    tdb = tt.tdb
    return np.asarray(((tdb.jd1 - tt.jd1) + (tdb.jd2 - tt.jd2)) * DAY)


def event_phases(events: xr.Dataset, ephemeris: Ephemeris, column: str = "phase") -> xr.Dataset:
    """Give events the phases of an ephemeris.

    Parameters
    ----------
    events
        Event list with ``time``, lazy or not.
    ephemeris
        Rotation of the pulsar. With a position and without a location the place of the telescope is that of the
        header (GEOLON, GEOLAT, ALTITUDE).
    column
        Name of the column to make; one of this name is replaced.

    Returns
    -------
    xarray.Dataset
        The events with phases from 0 up to 1, dims (event,).

    Raises
    ------
    ValueError
        If there are no times, or no place of the telescope where it is needed.

    Examples
    --------
    >>> events = xr.Dataset({"time": ("event", [0.0, 0.1, 0.25], {"units": "s"})})
    >>> event_phases(events, Ephemeris(51544.5, (4.0,), scale="tt")).phase.values
    array([0. , 0.4, 0. ])
    """
    if "time" not in events:
        msg = f"phases need the 'time' of events; there are {sorted(map(str, events.data_vars))}"
        raise ValueError(msg)
    placed = ephemeris
    if ephemeris.position is not None and ephemeris.location is None:
        placed = replace(ephemeris, location=_location(events))
    phases = xr.apply_ufunc(placed.phases, events["time"], dask="parallelized", output_dtypes=[float])
    return events.assign({column: phases.assign_attrs(canonical_attrs("", PHASE_LABEL))})


def _location(events: xr.Dataset) -> EarthLocation:
    try:
        lon, lat = (float(events.attrs[key]) for key in ("geolon", "geolat"))
        return EarthLocation.from_geodetic(lon, lat, float(events.attrs.get("altitude", 0.0)))
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            "the way to the barycentre needs the place of the telescope, and the events have no GEOLON and GEOLAT: "
            "Ephemeris(..., location=EarthLocation(...))"
        )
        raise ValueError(msg) from error


@dataclass(frozen=True)
class PhaseColumn:
    """A filter of events that leaves none out and gives each its phase; see `assign_phases`.

    Parameters
    ----------
    ephemeris
        Rotation of the pulsar.
    column
        Name of the column.

    Examples
    --------
    >>> PhaseColumn(Ephemeris(51544.5, (4.0,))).livetime_fraction
    1.0
    """

    ephemeris: Ephemeris
    column: str = "phase"
    livetime_fraction: float = 1.0

    def __call__(self, events: xr.Dataset) -> xr.Dataset:
        """Return the events with their phases."""
        return event_phases(events, self.ephemeris, self.column)


def assign_phases(
    observations: Iterable[Observation], ephemeris: Ephemeris, column: str = "phase"
) -> list[Observation]:
    """Return runs whose events have the phases of an ephemeris whenever they are read.

    Parameters
    ----------
    observations
        Runs; nothing is read.
    ephemeris
        Rotation of the pulsar.
    column
        Name of the column; one of this name in the files is replaced.

    Returns
    -------
    list of Observation
        For `xgamma.reduce` with `xgamma.PhaseBackground`, `reduce_phases`, or a filter on the phase.

    Examples
    --------
    >>> import xgamma as xg
    >>> runs = xg.open_store(xg.sample_path("survey")).observations[:1]
    >>> folded = assign_phases(runs, Ephemeris(51544.5, (0.01,)))
    >>> bool((folded[0].events.phase < 1).all()), folded[0].filter(phase=(0.0, 0.1)).livetime / runs[0].livetime
    (True, 0.1)
    """
    cut = ObservationFilter(events=(PhaseColumn(ephemeris, column),))
    return [run.filter(cut) for run in observations]
