"""Where the telescopes point: a fixed sky position, a fixed direction on the ground, or a table over time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.utils import iers

from xgamma.dl3.index import header_number
from xgamma.dl3.times import has_reference, to_time, to_tt_seconds
from xgamma.io.fits_file import find_column, read_column
from xgamma.kernels.sphere import from_vectors, to_vectors

__all__ = ["Pointing", "header_location", "read_pointing"]


@dataclass(frozen=True)
class Pointing:
    """Pointing of a run.

    Parameters
    ----------
    mode
        ``"pointing"`` (fixed on the sky), ``"drift"`` (fixed to the ground) or ``"table"``.
    ra, dec
        ICRS in degrees; NaN in drift mode.
    alt, az
        Horizontal direction in degrees (azimuth from north over east); NaN where not known.
    location
        Longitude and latitude in degrees, height in m; None where not known.
    table
        Rows (time in seconds since J2000.0 (TT), ra, dec) in mode ``"table"``.

    Examples
    --------
    >>> Pointing("pointing", 83.63, 22.01).icrs(0.0)
    (83.63, 22.01)
    """

    mode: str
    ra: float = np.nan
    dec: float = np.nan
    alt: float = np.nan
    az: float = np.nan
    location: tuple[float, float, float] | None = None
    table: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Pointing:
        """Read the pointing from the cards of an EVENTS header.

        An OBS_MODE that starts with DRIFT makes a drift (ALT_PNT, AZ_PNT); anything else, or none,
        a pointing (RA_PNT, DEC_PNT).

        Raises
        ------
        ValueError
            If the cards of the mode are missing or not numbers.
        """
        drift = str(header.get("OBS_MODE") or "").strip().upper().startswith("DRIFT")
        numbers = {n: header_number(header, f"{n}_pnt") for n in ("ra", "dec", "alt", "az")}
        needed = ("alt", "az") if drift else ("ra", "dec")
        missing = [f"{n.upper()}_PNT" for n in needed if numbers[n] is None or not np.isfinite(numbers[n] or 0.0)]
        if missing:
            mode = header.get("OBS_MODE", "(none)")
            msg = f"the header has no valid {' and '.join(missing)}, needed for OBS_MODE {mode!r}"
            raise ValueError(msg)
        ra, dec, alt, az = (np.nan if v is None else v for v in numbers.values())
        location = header_location(header)
        if drift and location is None:
            msg = "a drift run needs the location of the telescopes: GEOLON, GEOLAT and ALTITUDE in the header"
            raise ValueError(msg)
        if drift:
            return cls("drift", alt=alt, az=az, location=location)
        return cls("pointing", ra, dec, alt, az, location)

    def icrs(self, time: Any) -> tuple[Any, Any]:
        """Return right ascension and declination (ICRS, degrees) at times in seconds since J2000.0 (TT).

        Returns
        -------
        tuple
            Floats for a scalar time, else arrays of its shape.

        Raises
        ------
        ValueError
            If a time lies outside a pointing table.
        """
        times = np.asarray(time, dtype=np.float64)
        if self.mode == "pointing":
            ra, dec = np.full(times.shape, self.ra), np.full(times.shape, self.dec)
        elif self.mode == "table":
            ra, dec = self._interpolate(times)
        else:
            with bundled_iers():
                frame = AltAz(obstime=to_time(times), location=self.earth_location)
                sky = SkyCoord(az=self.az * u.deg, alt=self.alt * u.deg, frame=frame).icrs
            ra, dec = np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)
        return (ra.item(), dec.item()) if times.ndim == 0 else (ra, dec)

    def altaz(self, time: Any) -> tuple[Any, Any]:
        """Return altitude and azimuth (degrees) at times in seconds since J2000.0 (TT).

        Without a location the direction of the header is returned, which holds for the middle of the run.
        """
        times = np.asarray(time, dtype=np.float64)
        if self.mode == "drift" or self.location is None:
            if not np.isfinite([self.alt, self.az]).all():
                msg = "the run has neither ALT_PNT and AZ_PNT nor a location (GEOLON, GEOLAT, ALTITUDE)"
                raise ValueError(msg)
            alt, az = np.full(times.shape, self.alt), np.full(times.shape, self.az)
        else:
            ra, dec = self.icrs(times)
            with bundled_iers():
                frame = AltAz(obstime=to_time(times), location=self.earth_location)
                sky = SkyCoord(ra=ra * u.deg, dec=dec * u.deg, frame="icrs").transform_to(frame)
            alt, az = np.asarray(sky.alt.deg), np.asarray(sky.az.deg)
        return (alt.item(), az.item()) if times.ndim == 0 else (alt, az)

    @property
    def earth_location(self) -> EarthLocation:
        """The location as astropy has it."""
        if self.location is None:
            msg = "the location of the telescopes is not known: the header has no GEOLON, GEOLAT and ALTITUDE"
            raise ValueError(msg)
        lon, lat, height = self.location
        return EarthLocation.from_geodetic(lon * u.deg, lat * u.deg, height * u.m)

    def _interpolate(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate on the sphere: unit vectors linearly in time, then normalised by their angles."""
        rows = np.array(self.table)
        if np.any((times < rows[0, 0]) | (times > rows[-1, 0])):
            msg = f"a time lies outside the pointing table, which covers {rows[0, 0]:.3f} to {rows[-1, 0]:.3f} s"
            raise ValueError(msg)
        vectors = to_vectors(rows[:, 1], rows[:, 2])
        return from_vectors(np.stack([np.interp(times, rows[:, 0], v) for v in vectors.T], axis=-1))


def header_location(header: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return longitude, latitude (deg) and height (m) of a header, as numbers or as text; None where unknown.

    Examples
    --------
    >>> header_location({"GEOLON": "16.5", "GEOLAT": -23.27, "ALTITUDE": 1835})
    (16.5, -23.27, 1835.0)
    """
    lon, lat = header_number(header, "geolon"), header_number(header, "geolat")
    height = header_number(header, "altitude")
    height = header_number(header, "geoalt") if height is None else height
    if lon is None or lat is None:
        return None
    return lon, lat, 0.0 if height is None else height


def read_pointing(hdu: fits.BinTableHDU, default_header: Mapping[str, Any] | None = None, where: str = "") -> Pointing:
    """Read a POINTING HDU.

    Parameters
    ----------
    hdu
        GADF POINTING extension: TIME, RA_PNT, DEC_PNT.
    default_header
        EVENTS header, for the time reference and location where the HDU's header has none.
    where
        File, for messages.

    Raises
    ------
    ValueError
        If columns are missing, empty, or the times are not strictly ascending.

    Examples
    --------
    >>> data = {"TIME": [0.0, 10.0], "RA_PNT": [83.0, 84.0], "DEC_PNT": [0.0, 0.0]}
    >>> columns = [fits.Column(name, "D", array=values) for name, values in data.items()]
    >>> read_pointing(fits.BinTableHDU.from_columns(columns)).icrs(5.0)
    (83.5, 0.0)
    """
    header: dict[str, Any] = {**(default_header or {}), **dict(hdu.header)}
    time = read_column(hdu, "TIME", unit="s", assume="s", where=where)
    time = to_tt_seconds(time, header) if has_reference(header) else time
    ra, dec = (read_column(hdu, n, unit="deg", assume="deg", where=where) for n in ("RA_PNT", "DEC_PNT"))
    if not time.size or not np.isfinite([time, ra, dec]).all() or (np.diff(time) <= 0).any():
        msg = f"the pointing table{f' of {where}' if where else ''} is empty, holds NaN, or its times do not ascend"
        raise ValueError(msg)
    rows = tuple(map(tuple, np.stack([time, ra, dec], axis=-1).tolist()))
    middle = len(rows) // 2
    alt, az = (
        float(read_column(hdu, n, unit="deg", assume="deg", where=where)[middle]) if find_column(hdu, n) else np.nan
        for n in ("ALT_PNT", "AZ_PNT")
    )
    return Pointing("table", rows[middle][1], rows[middle][2], alt, az, header_location(header), rows)


_IERS_LOCK = threading.RLock()


@contextmanager
def bundled_iers() -> Iterator[None]:
    """Use the Earth orientation table that comes with astropy: no download, no complaint on late dates.

    Its error is below a second of time, or 15 arcsec, for dates that the table does not cover. The
    setting is one of the whole process, so threads take turns.
    """
    with (
        _IERS_LOCK,
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
    ):
        yield
