"""The reference of the times in a FITS header."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from astropy.time import Time

from xgamma.coords.units import conversion_factor

__all__ = ["DAY", "J2000", "J2000_HEADER", "has_reference", "reference_seconds"]

#: Julian date of J2000.0, on the TT scale: MJD 51544.5.
J2000 = 2451545.0
DAY = 86400.0
#: Header of times that xgamma writes: seconds since J2000.0 (TT).
J2000_HEADER = {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMEUNIT": "s", "TIMESYS": "TT", "TIMEREF": "LOCAL"}
#: FITS names of time systems (FITS standard 4.0, table 30) that astropy calls otherwise.
SCALES = {"tdt": "tt", "et": "tt", "iat": "tai", "gmt": "utc"}
#: TAI - GPS.
GPS_SECONDS = 19.0


def reference_seconds(header: Mapping[str, Any]) -> float:
    """Return the reference time of a header in seconds since J2000.0 (TT).

    Parameters
    ----------
    header
        With MJDREFI and MJDREFF (or MJDREF), TIMESYS, and perhaps TIMEZERO. A header without
        TIMESYS is taken as TT, as the FITS standard's UTC would contradict every GADF writer.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the reference is missing or TIMESYS is not known.

    Examples
    --------
    >>> reference_seconds({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT"})
    0.0
    """
    if not has_reference(header):
        msg = "the header has no MJDREFI (nor MJDREF): its times have no reference"
        raise ValueError(msg)
    whole, fraction = (
        (header["MJDREFI"], header.get("MJDREFF", 0.0)) if "MJDREFI" in header else (header["MJDREF"], 0.0)
    )
    try:
        numbers = float(whole), float(fraction or 0.0), float(header.get("TIMEZERO") or 0.0)
    except (TypeError, ValueError) as error:
        msg = f"MJDREFI={whole!r}, MJDREFF={fraction!r}, TIMEZERO={header.get('TIMEZERO')!r} should be numbers"
        raise ValueError(msg) from error
    zero = numbers[2] * _unit_seconds(header)
    return _reference(numbers[0], numbers[1], str(header.get("TIMESYS") or "TT").strip().lower()) + zero


def has_reference(header: Mapping[str, Any]) -> bool:
    """Say whether a header tells from when its times count.

    Parameters
    ----------
    header
        FITS header.

    Returns
    -------
    bool

    Examples
    --------
    >>> has_reference({"MJDREF": 51544.5})
    True
    """
    return "MJDREFI" in header or "MJDREF" in header


@functools.lru_cache(maxsize=256)
def _reference(whole: float, fraction: float, system: str) -> float:
    shift = 0.0
    scale = SCALES.get(system, system)
    if scale == "gps":
        scale, shift = "tai", GPS_SECONDS
    if scale not in Time.SCALES or scale == "local":
        msg = f"TIMESYS={system.upper()!r} is not a known time system; it should be TT, UTC, TAI, TDB or GPS"
        raise ValueError(msg)
    time = Time(whole, fraction, format="mjd", scale=scale).tt
    return float((time.jd1 - J2000) * DAY + time.jd2 * DAY) + shift


def _unit_seconds(header: Mapping[str, Any]) -> float:
    return conversion_factor(str(header.get("TIMEUNIT") or "s").strip(), "s")
