"""Times: seconds since J2000.0 (TT) inside, any FITS time system at the border."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.time import Time

from xgamma.io.fits_time import DAY, J2000, J2000_HEADER, has_reference, reference_seconds

__all__ = [
    "J2000_HEADER",
    "from_tt_seconds",
    "has_reference",
    "reference_seconds",
    "time_intervals",
    "to_time",
    "to_tt_seconds",
    "tt_seconds",
]


def to_tt_seconds(values: Any, header: Mapping[str, Any]) -> np.ndarray:
    """Convert times of a file to seconds since J2000.0 (TT).

    The numbers of a file are elapsed (SI) seconds since the reference, also where the reference
    is given in UTC: leap seconds enter through the reference alone. The times in the headers of
    MAGIC (DATE-OBS, TIME-OBS) confirm this.

    Parameters
    ----------
    values
        Times in seconds since the reference of the header, any shape.
    header
        See `reference_seconds`.

    Returns
    -------
    numpy.ndarray
        float64, same shape; rounded to 1e-7 s for times of this century.

    Examples
    --------
    >>> header = {"MJDREFI": 51910, "MJDREFF": 7.428703703703703e-4, "TIMESYS": "TT"}
    >>> to_tt_seconds([0.0], header).round(3)
    array([31579264.184])
    """
    return np.asarray(values, dtype=np.float64) + reference_seconds(header)


def from_tt_seconds(values: Any, header: Mapping[str, Any]) -> np.ndarray:
    """Convert seconds since J2000.0 (TT) to the seconds of a file; the inverse of `to_tt_seconds`.

    Parameters
    ----------
    values
        Seconds since J2000.0 (TT), any shape.
    header
        See `reference_seconds`.

    Returns
    -------
    numpy.ndarray
        Seconds since the reference of the header.

    Examples
    --------
    >>> from_tt_seconds([10.0], {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT"})
    array([10.])
    """
    return np.asarray(values, dtype=np.float64) - reference_seconds(header)


def to_time(seconds: Any) -> Time:
    """Return an astropy `~astropy.time.Time` (scale TT) of seconds since J2000.0 (TT).

    Parameters
    ----------
    seconds
        Any shape.

    Returns
    -------
    astropy.time.Time

    Examples
    --------
    >>> to_time(0.0).iso
    '2000-01-01 12:00:00.000'
    """
    values = np.asarray(seconds, dtype=np.float64)
    days = np.floor(values / DAY)
    return Time(J2000 + days, (values - days * DAY) / DAY, format="jd", scale="tt")


def tt_seconds(time: Any, name: str = "time") -> np.ndarray:
    """Convert astropy times or date strings to seconds since J2000.0 (TT).

    Parameters
    ----------
    time
        `~astropy.time.Time`, an ISO string (UTC, as strings are read by astropy), a list of
        them, or plain numbers, which are seconds since J2000.0 (TT) already.
    name
        Name of the argument, for messages.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    ValueError
        If a string is not a date.

    Examples
    --------
    >>> float(tt_seconds("2000-01-01T12:00:00").round(3))
    64.184
    """
    if not isinstance(time, Time):
        if isinstance(time, (list, tuple)) and any(isinstance(t, Time) for t in time):
            return np.array([tt_seconds(t, name) for t in time])
        values = np.asarray(time)
        if values.dtype.kind in "fiu":
            return values.astype(np.float64)
        try:
            time = Time(time)
        except (ValueError, TypeError) as error:
            msg = f"{name}={time!r} is not a time; give an astropy Time or a date such as '2004-03-26T03:00:00'"
            raise ValueError(msg) from error
    tt = time.tt
    return np.asarray((tt.jd1 - J2000) * DAY + tt.jd2 * DAY, dtype=np.float64)


def time_intervals(time: Any, name: str = "time") -> np.ndarray:
    """Return intervals as an array of shape (n, 2) in seconds since J2000.0 (TT), sorted by start.

    Parameters
    ----------
    time
        One ``(start, stop)`` or a list of them; the ends are what `tt_seconds` takes. A Time of
        two elements is one interval.
    name
        Name of the argument, for messages.

    Returns
    -------
    numpy.ndarray
        Shape (n, 2).

    Raises
    ------
    ValueError
        If a stop does not lie after its start.

    Examples
    --------
    >>> time_intervals((0.0, 10.0))
    array([[ 0., 10.]])
    """
    pairs = [time] if _is_pair(time) else list(time)
    if not pairs or not all(_is_pair(pair) for pair in pairs):
        msg = f"{name}={time!r} must be (start, stop) or a list of such pairs"
        raise ValueError(msg)
    result = np.array([[float(tt_seconds(pair[0], name)), float(tt_seconds(pair[1], name))] for pair in pairs])
    if not (result[:, 1] > result[:, 0]).all():
        msg = f"{name}={time!r}: each stop must lie after its start"
        raise ValueError(msg)
    return result[np.argsort(result[:, 0], kind="stable")]


def _is_pair(value: Any) -> bool:
    try:
        return (
            len(value) == 2 and not isinstance(value, str) and all(isinstance(v, str) or np.ndim(v) == 0 for v in value)
        )
    except TypeError:
        return False
