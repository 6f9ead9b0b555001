"""Bins of time of a light curve: from runs, nights, durations or a list, and which runs lie inside."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xgamma.coords.units import to_value
from xgamma.dl3.times import time_intervals as parse_intervals

__all__ = ["bins_of_time", "rows_inside", "used_bins"]

#: Runs that reach beyond an interval by less than this, in seconds, lie inside.
TOLERANCE = 1e-3
#: Runs of one night have gaps shorter than this, in seconds.
NIGHT_GAP = 6 * 3600.0


def bins_of_time(spans: np.ndarray, asked: Any) -> tuple[np.ndarray, bool]:
    """Return the bins of time in order, shape (n, 2), and whether they were given one by one."""
    spans = spans[np.isfinite(spans).all(axis=1)]
    if not len(spans):
        msg = "no run has any good time"
        raise ValueError(msg)
    spans = np.unique(spans, axis=0)
    if asked is None:
        return _checked(spans), False
    if isinstance(asked, str) and asked == "night":
        gaps = np.flatnonzero(spans[1:, 0] - np.maximum.accumulate(spans[:, 1])[:-1] > NIGHT_GAP) + 1
        return np.array([(g[:, 0].min(), g[:, 1].max()) for g in np.split(spans, gaps)]), False
    width = _duration(asked)
    if width is not None:
        number = max(1, int(np.ceil((spans[:, 1].max() - spans[0, 0]) / width - 1e-9)))
        edges = spans[0, 0] + width * np.arange(number + 1)
        return np.stack([edges[:-1], edges[1:]], axis=-1), False
    intervals = parse_intervals(asked, "time_intervals")
    if not np.isfinite(intervals).all():
        msg = f"time_intervals={asked!r} must be finite times"
        raise ValueError(msg)
    return _checked(intervals), True


def _duration(asked: Any) -> float | None:
    """Seconds of a duration, None for something else."""
    if isinstance(asked, (list, tuple, np.ndarray)):
        return None
    try:
        width = to_value(asked, "s", "time_intervals")
    except (ValueError, TypeError):
        return None
    if not (isinstance(width, float) and 0 < width < np.inf):
        msg = f"time_intervals={asked!r} must be a positive duration"
        raise ValueError(msg)
    return width


def _checked(intervals: np.ndarray) -> np.ndarray:
    overlap = np.flatnonzero(intervals[1:, 0] < intervals[:-1, 1] - TOLERANCE)
    if overlap.size:
        first, second = intervals[overlap[0]], intervals[overlap[0] + 1]
        msg = (
            f"intervals {overlap[0]} and {overlap[0] + 1} overlap: {first} and {second} s since J2000.0 (TT); "
            "give time_intervals that end where the next begins, or before"
        )
        raise ValueError(msg)
    return intervals


def rows_inside(spans: np.ndarray, intervals: np.ndarray, labels: Sequence[Any]) -> list[list[int]]:
    """Rows of the runs inside each interval.

    Parameters
    ----------
    spans
        Start and stop of the runs, shape (n, 2), NaN without good time.
    intervals
        Bins of time in order, shape (m, 2).
    labels
        Names of the runs, for messages.

    Raises
    ------
    ValueError
        If an interval cuts a run.

    Examples
    --------
    >>> rows_inside(np.array([[0.0, 9.0], [20.0, 29.0]]), np.array([[0.0, 10.0], [10.0, 30.0]]), [1, 2])
    [[0], [1]]
    """
    start, stop = spans[:, 0], spans[:, 1]
    inside = (start >= intervals[:, :1] - TOLERANCE) & (stop <= intervals[:, 1:] + TOLERANCE)
    touched = (start < intervals[:, 1:] - TOLERANCE) & (stop > intervals[:, :1] + TOLERANCE)
    cut = np.flatnonzero((touched & ~inside).any(axis=0))
    if cut.size:
        row = cut[0]
        bin_ = intervals[np.flatnonzero(touched[:, row] & ~inside[:, row])[0]]
        msg = (
            f"time_intervals cut {cut.size} of {len(spans)} runs: run {labels[row]} lasts from {start[row]:.3f} to "
            f"{stop[row]:.3f}, an interval from {bin_[0]:.3f} to {bin_[1]:.3f} s since J2000.0 (TT). The counts of a "
            "run cannot be divided afterwards: cut the runs before they are reduced, "
            "xgamma.reduce(xgamma.split_runs(observations, time_intervals), ..., stack=False), or leave these runs out"
        )
        raise ValueError(msg)
    return [np.flatnonzero(row).tolist() for row in inside]


def used_bins(
    intervals: np.ndarray, members: Mapping[str, list[list[int]]], given: bool, number: int
) -> tuple[np.ndarray, dict[str, list[list[int]]]]:
    """Leave intervals without runs out; tell what is left out."""
    filled = np.array([any(m[i] for m in members.values()) for i in range(len(intervals))])
    if not filled.any():
        msg = (
            f"none of the {number} runs lies inside one of the {len(intervals)} intervals, which last from "
            f"{intervals[0, 0]:.3f} to {intervals[-1, 1]:.3f} s since J2000.0 (TT)"
        )
        raise ValueError(msg)
    if given and not filled.all():
        empty = int((~filled).sum())
        msg = f"{empty} of {len(intervals)} time intervals hold no run and are left out"
        warnings.warn(msg, UserWarning, stacklevel=3)
    used = sum(len(rows) for m in members.values() for rows in m)
    if used < number:
        msg = f"{number - used} of {number} runs lie inside none of the intervals and are left out"
        warnings.warn(msg, UserWarning, stacklevel=3)
    keep = np.flatnonzero(filled)
    return intervals[keep], {name: [m[i] for i in keep] for name, m in members.items()}
