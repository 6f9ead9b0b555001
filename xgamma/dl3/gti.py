"""Good time intervals: a Dataset with `gti_start` and `gti_stop` in seconds since J2000.0 (TT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.time import Time

from xgamma.dl3.times import (
    J2000_HEADER,
    from_tt_seconds,
    has_reference,
    time_intervals,
    to_time,
    to_tt_seconds,
    tt_seconds,
)
from xgamma.io.fits_file import read_column

__all__ = [
    "from_tt_seconds",
    "gti_contains",
    "gti_delete",
    "gti_duration",
    "gti_from_time",
    "gti_intersection",
    "gti_select_time",
    "gti_table",
    "gti_to_hdu",
    "gti_to_time",
    "gti_union",
    "read_gti",
    "to_tt_seconds",
]

TIME_ATTRS = {"units": "s", "reference": "J2000.0 (TT)"}


def gti_table(start: Any, stop: Any) -> xr.Dataset:
    """Build good time intervals.

    Parameters
    ----------
    start, stop
        Seconds since J2000.0 (TT), shape (n,); n may be 0.

    Returns
    -------
    xarray.Dataset
        Variables ``gti_start`` and ``gti_stop``, dims (gti,), seconds.

    Raises
    ------
    ValueError
        If shapes differ, a time is not finite, or an interval stops before it starts.

    Examples
    --------
    >>> gti = gti_table([0, 20], [10, 25])
    >>> gti_duration(gti)
    15.0
    """
    lo, hi = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (start, stop))
    if lo.ndim != 1 or lo.shape != hi.shape:
        msg = f"start and stop of good time intervals must be equally long lists, not {lo.shape} and {hi.shape}"
        raise ValueError(msg)
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        msg = "good time intervals hold NaN or infinite times"
        raise ValueError(msg)
    if (hi < lo).any():
        number = int(np.argmax(hi < lo))
        msg = f"good time interval {number} stops ({hi[number]:.6f} s) before it starts ({lo[number]:.6f} s)"
        raise ValueError(msg)
    return xr.Dataset({"gti_start": ("gti", lo, dict(TIME_ATTRS)), "gti_stop": ("gti", hi, dict(TIME_ATTRS))})


def read_gti(hdu: fits.BinTableHDU, default_header: Mapping[str, Any] | None = None, where: str = "") -> xr.Dataset:
    """Read a GTI HDU.

    Parameters
    ----------
    hdu
        GADF GTI extension (columns START, STOP); columns without a unit are in seconds.
    default_header
        Header of the events, which gives the time reference where the GTI header has none.
        Without either the times count from J2000.0 (TT), as xgamma writes them.
    where
        File, for messages.

    Returns
    -------
    xarray.Dataset
        See `gti_table`.

    Raises
    ------
    ValueError
        If columns are missing or in a wrong unit, or an interval is not valid.

    Notes
    -----
    GADF, section "GTI".

    Examples
    --------
    >>> read_gti(gti_to_hdu(gti_table([0.0], [10.0]))).gti_stop.values
    array([10.])
    """
    header: Mapping[str, Any] = hdu.header
    if not has_reference(header):
        header = default_header if default_header is not None and has_reference(default_header) else J2000_HEADER
    try:
        start, stop = (
            to_tt_seconds(read_column(hdu, name, unit="s", assume="s", where=where), header)
            for name in ("START", "STOP")
        )
        return gti_table(start, stop)
    except ValueError as error:
        msg = f"GTI of {where}: {error}" if where else f"GTI: {error}"
        raise ValueError(msg) from error


def gti_to_hdu(gti: xr.Dataset, header: Mapping[str, Any] | None = None) -> fits.BinTableHDU:
    """Return the GADF GTI extension of good time intervals.

    Parameters
    ----------
    gti
        See `gti_table`.
    header
        Time reference to write in (MJDREFI, MJDREFF, TIMESYS); default J2000.0 (TT).

    Returns
    -------
    astropy.io.fits.BinTableHDU
        Columns START and STOP in s.

    Examples
    --------
    >>> gti_to_hdu(gti_table([0.0], [10.0])).header["TIMESYS"]
    'tt'
    """
    reference = {**J2000_HEADER, "MJDREFF": 0.5} if header is None else header
    columns = [
        fits.Column(name, "D", unit="s", array=from_tt_seconds(gti[variable].values, reference))
        for name, variable in (("START", "gti_start"), ("STOP", "gti_stop"))
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="GTI")
    hdu.header.update({"HDUCLASS": "GADF", "HDUVERS": "0.3", "HDUCLAS1": "GTI"})
    hdu.header["HDUDOC"] = "https://gamma-astro-data-formats.readthedocs.io"
    for key in ("MJDREFI", "MJDREFF", "MJDREF"):
        if key in reference:
            hdu.header[key] = reference[key]
    hdu.header["TIMEUNIT"] = "s"
    # some readers know the time systems in lower case only
    hdu.header["TIMESYS"] = str(reference.get("TIMESYS", "TT")).strip().lower()
    hdu.header["TIMEREF"] = str(reference.get("TIMEREF", "LOCAL")).strip()
    return hdu


def gti_from_time(start: Time | Any, stop: Time | Any) -> xr.Dataset:
    """Build good time intervals from astropy times or date strings (UTC).

    Parameters
    ----------
    start, stop
        One time or several, equally many.

    Returns
    -------
    xarray.Dataset
        See `gti_table`.

    Examples
    --------
    >>> gti_duration(gti_from_time("2016-12-31T23:59:00", "2017-01-01T00:00:00"))  # a leap second
    61.0
    """
    lo, hi = (np.atleast_1d(tt_seconds(v, n)) for v, n in ((start, "start"), (stop, "stop")))
    return gti_table(lo, hi)


def gti_to_time(gti: xr.Dataset) -> tuple[Time, Time]:
    """Return starts and stops as astropy times (scale TT).

    Parameters
    ----------
    gti
        See `gti_table`.

    Returns
    -------
    tuple of astropy.time.Time
        Shape (gti,) each.

    Examples
    --------
    >>> gti_to_time(gti_table([0.0], [60.0]))[1].iso.tolist()
    ['2000-01-01 12:01:00.000']
    """
    return to_time(gti["gti_start"].values), to_time(gti["gti_stop"].values)


def gti_duration(gti: xr.Dataset) -> float:
    """Return the summed length of all intervals in seconds; NaN padding counts as nothing.

    Parameters
    ----------
    gti
        See `gti_table`.

    Returns
    -------
    float

    Examples
    --------
    >>> gti_duration(gti_table([0, 5], [1, 7]))
    3.0
    """
    return float(np.nansum(gti["gti_stop"].values - gti["gti_start"].values))


def gti_contains(gti: xr.Dataset, time: Any) -> np.ndarray:
    """Say for each time whether it lies in an interval, start included, stop included.

    Parameters
    ----------
    gti
        See `gti_table`.
    time
        Seconds since J2000.0 (TT) or what `tt_seconds` takes, any shape.

    Returns
    -------
    numpy.ndarray
        bool.

    Examples
    --------
    >>> gti_contains(gti_table([0, 20], [10, 30]), [5.0, 15.0, 30.0])
    array([ True, False,  True])
    """
    values = tt_seconds(time)
    merged = gti_union(gti)
    start, stop = merged["gti_start"].values, merged["gti_stop"].values
    if not start.size:
        return np.zeros(values.shape, dtype=bool)
    index = np.searchsorted(start, values, side="right") - 1
    return (index >= 0) & (values <= stop[np.clip(index, 0, None)])


def gti_union(*gtis: xr.Dataset, merge_equal: bool = True) -> xr.Dataset:
    """Unite intervals; overlapping ones become one, the result is sorted.

    Parameters
    ----------
    *gtis
        Any number of tables.
    merge_equal
        Also join intervals that only touch (stop equals the next start).

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> gti_union(gti_table([0, 20], [10, 30]), gti_table([5], [15])).gti_stop.values
    array([15., 30.])
    """
    start, stop = _arrays(*gtis)
    if not start.size:
        return gti_table([], [])
    order = np.argsort(start, kind="stable")
    start, stop = start[order], stop[order]
    reach = np.maximum.accumulate(stop)
    apart = start[1:] > reach[:-1] if merge_equal else start[1:] >= reach[:-1]
    first = np.concatenate([[True], apart])
    last = np.concatenate([apart, [True]])
    return gti_table(start[first], reach[last])


def _arrays(*gtis: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return all starts and stops without the NaN padding of stacked tables."""
    if not gtis:
        return np.empty(0), np.empty(0)
    start, stop = (np.concatenate([g[name].values.ravel() for g in gtis]) for name in ("gti_start", "gti_stop"))
    good = np.isfinite(start) & np.isfinite(stop)
    return start[good], stop[good]


def gti_intersection(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    """Return the times that lie in both tables; intervals of no length are left out.

    Parameters
    ----------
    first, second
        See `gti_table`.

    Returns
    -------
    xarray.Dataset
        Sorted, without overlaps.

    Examples
    --------
    >>> both = gti_intersection(gti_table([0, 20], [10, 30]), gti_table([5], [22]))
    >>> both.gti_start.values, both.gti_stop.values
    (array([ 5., 20.]), array([10., 22.]))
    """
    start_a, stop_a = _arrays(gti_union(first, merge_equal=False))
    start_b, stop_b = _arrays(gti_union(second, merge_equal=False))
    # both are sorted and without overlaps: an interval meets a run of consecutive ones of the other table
    from_b = np.searchsorted(stop_b, start_a, side="right")
    number = np.searchsorted(start_b, stop_a, side="left") - from_b
    number = np.maximum(number, 0)
    a = np.repeat(np.arange(start_a.size), number)
    b = np.arange(a.size) - np.repeat(np.cumsum(number) - number, number) + np.repeat(from_b, number)
    lo, hi = np.maximum(start_a[a], start_b[b]), np.minimum(stop_a[a], stop_b[b])
    keep = hi > lo
    return gti_table(lo[keep], hi[keep])


def gti_select_time(gti: xr.Dataset, time: Any, inverted: bool = False) -> xr.Dataset:
    """Cut intervals to those times that lie inside (or outside) of given ones.

    Parameters
    ----------
    gti
        See `gti_table`.
    time
        ``(start, stop)`` or a list of such pairs: astropy Time, dates (UTC) or seconds since J2000.0 (TT).
    inverted
        Keep what lies outside.

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> gti_duration(gti_select_time(gti_table([0], [100]), (10.0, 30.0), inverted=True))
    80.0
    """
    wanted = time_intervals(time)
    merged = gti_union(gti_table(wanted[:, 0], wanted[:, 1]))
    if inverted:
        start, stop = _arrays(merged)
        # the gaps between the intervals, up to any time that a table may hold
        merged = gti_table(np.concatenate([[-1e15], stop]), np.concatenate([start, [1e15]]))
    return gti_intersection(gti, merged)


def gti_delete(gti: xr.Dataset, time: Any) -> xr.Dataset:
    """Take one interval or several out of good time intervals; see `gti_select_time`.

    Parameters
    ----------
    gti, time
        As in `gti_select_time`.

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> left = gti_delete(gti_table([0], [100]), (10.0, 30.0))
    >>> left.gti_start.values
    array([ 0., 30.])
    """
    return gti_select_time(gti, time, inverted=True)
