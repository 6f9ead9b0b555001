"""`ObservationFilter`: selections that travel with a run and are applied when its files are read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.units import to_value
from xgamma.dl3.gti import gti_intersection, gti_table
from xgamma.dl3.phases import phases_within, turned
from xgamma.dl3.select import event_offset, region_contains, select_mask, select_range
from xgamma.dl3.times import time_intervals

if TYPE_CHECKING:
    from regions import SkyRegion

    from xgamma.dl3.pointing import Pointing

__all__ = [
    "BoxFilter",
    "ColumnFilter",
    "EventFilter",
    "ObservationFilter",
    "OffsetFilter",
    "PhaseFilter",
    "RegionFilter",
]


class EventFilter(Protocol):
    """What a filter of events has to have."""

    @property
    def livetime_fraction(self) -> float:
        """Part of the livetime that it keeps."""

    def __call__(self, events: xr.Dataset) -> xr.Dataset:
        """Return the selected events."""


@dataclass(frozen=True)
class ColumnFilter:
    """Keep events with ``lower <= column < upper``, bounds in the unit of the column.

    Examples
    --------
    >>> ColumnFilter("energy", 1.0, 10.0).livetime_fraction
    1.0
    """

    column: str
    lower: float | str | None = None
    upper: float | str | None = None
    livetime_fraction: float = 1.0

    def __call__(self, events: xr.Dataset) -> xr.Dataset:
        """Return the selected events."""
        return select_range(events, self.column, self.lower, self.upper)


@dataclass(frozen=True)
class BoxFilter:
    """Keep events inside a box of longitude and latitude in a frame.

    Parameters
    ----------
    lon, lat
        Centre, degrees.
    width, height
        Full size in coordinate degrees.
    frame
        ``"icrs"`` or ``"galactic"``.

    Examples
    --------
    >>> events = xr.Dataset({"ra": ("event", [10.0, 12.0]), "dec": ("event", [0.0, 0.0])})
    >>> BoxFilter(10.0, 0.0, 1.0, 1.0)(events).ra.values
    array([10.])
    """

    lon: float
    lat: float
    width: float
    height: float
    frame: str = "icrs"
    livetime_fraction: float = 1.0

    def __call__(self, events: xr.Dataset) -> xr.Dataset:
        """Return the selected events."""
        sky = SkyCoord(events["ra"].values, events["dec"].values, unit="deg").transform_to(self.frame).spherical
        return select_mask(events, box_contains(sky.lon.deg, sky.lat.deg, self.lon, self.lat, self.width, self.height))


def box_contains(
    lon: np.ndarray, lat: np.ndarray, lon_0: float, lat_0: float, width: float, height: float
) -> np.ndarray:
    """Say whether positions lie in a box; longitude wraps at 360 deg."""
    delta = (np.asarray(lon) - lon_0 + 180.0) % 360.0 - 180.0
    return (np.abs(delta) <= width / 2) & (np.abs(np.asarray(lat) - lat_0) <= height / 2)


@dataclass(frozen=True)
class RegionFilter:
    """Keep events inside (or outside) a sky region of the `regions` package.

    Examples
    --------
    >>> import astropy.units as u
    >>> from regions import CircleSkyRegion
    >>> events = xr.Dataset({"ra": ("event", [10.0, 12.0]), "dec": ("event", [0.0, 0.0])})
    >>> RegionFilter(CircleSkyRegion(SkyCoord(10, 0, unit="deg"), 1 * u.deg), inverted=True)(events).ra.values
    array([12.])
    """

    region: SkyRegion
    inverted: bool = False
    livetime_fraction: float = 1.0

    def __call__(self, events: xr.Dataset) -> xr.Dataset:
        """Return the selected events."""
        inside = region_contains(self.region, events["ra"].values, events["dec"].values)
        return select_mask(events, ~inside if self.inverted else inside)


@dataclass(frozen=True)
class OffsetFilter:
    """Keep events with ``offset_min <= offset < offset_max`` (degrees) from the pointing.

    Examples
    --------
    >>> events = xr.Dataset({"ra": ("event", [10.0, 12.0]), "dec": ("event", [0.0, 0.0])})
    >>> OffsetFilter(offset_max=1.0)(events.assign_attrs(ra_pnt=10.0, dec_pnt=0.0)).ra.values
    array([10.])
    """

    offset_min: float = 0.0
    offset_max: float = np.inf
    livetime_fraction: float = 1.0

    def __call__(self, events: xr.Dataset, pointing: Pointing | None = None) -> xr.Dataset:
        """Return the selected events; `pointing` replaces the position in the header."""
        offset = event_offset(events, pointing).values
        return select_mask(events, (offset >= self.offset_min) & (offset < self.offset_max))


@dataclass(frozen=True)
class PhaseFilter:
    """Keep events whose phase lies in intervals of [0, 1]; the livetime shrinks with them.

    Parameters
    ----------
    intervals
        Pairs (start, stop) with 0 <= start < stop <= 1, not overlapping.
    column
        Name of the column.

    Examples
    --------
    >>> PhaseFilter(((0.1, 0.2), (0.5, 0.7))).livetime_fraction
    0.3
    """

    intervals: tuple[tuple[float, float], ...]
    column: str = "phase"

    def __post_init__(self) -> None:
        pairs = sorted(self.intervals)
        good = bool(pairs) and all(0 <= lo < hi <= 1 for lo, hi in pairs)
        if not good or any(b[0] < a[1] for a, b in itertools.pairwise(pairs)):
            msg = f"phase intervals {self.intervals!r} must be pairs inside [0, 1] that do not overlap"
            raise ValueError(msg)

    @property
    def livetime_fraction(self) -> float:
        """Summed length of the intervals."""
        return float(round(sum(hi - lo for lo, hi in self.intervals), 12))

    def __call__(self, events: xr.Dataset) -> xr.Dataset:
        """Return the selected events."""
        if self.column not in events:
            msg = f"the event list has no column {self.column!r} for the phase"
            raise ValueError(msg)
        phases = turned(events[self.column].values, f"column {self.column!r}")
        return select_mask(events, phases_within(phases, self.intervals))


@dataclass(frozen=True)
class ObservationFilter:
    """Time intervals and event filters of a run, applied when events and good time intervals are read.

    Parameters
    ----------
    time
        Pairs (start, stop) in seconds since J2000.0 (TT), empty for no cut.
    events
        Event filters, applied one after the other.

    Examples
    --------
    >>> cut = ObservationFilter.create(energy=("1 TeV", "10 TeV"), phase=(0.0, 0.25))
    >>> cut.livetime_fraction
    0.25
    """

    time: tuple[tuple[float, float], ...] = ()
    events: tuple[EventFilter, ...] = ()

    @classmethod
    def create(
        cls,
        time: Any = None,
        box: Any = None,
        region: SkyRegion | None = None,
        offset: Any = None,
        phase: Any = None,
        **columns: Any,
    ) -> ObservationFilter:
        """Build a filter.

        Parameters
        ----------
        time
            ``(start, stop)`` or a list of such pairs: astropy Time, dates (UTC) or seconds since J2000.0 (TT).
        box
            ``(center, width, height)``: SkyCoord and two angles.
        region
            Sky region.
        offset
            ``(min, max)`` from the pointing, or the maximum alone.
        phase
            ``(start, stop)`` or a list of such pairs.
        **columns
            Any column of the event list: ``(lower, upper)``; bounds with units, or numbers in the
            unit of the column; None leaves an end open.

        Raises
        ------
        ValueError
            If a bound has no unit or a wrong one, or is empty.
        """
        filters: list[EventFilter] = []
        for name, bounds in columns.items():
            filters.append(_column_filter(name, bounds))
        if box is not None:
            filters.append(make_box(box))
        if region is not None:
            filters.append(RegionFilter(region))
        if offset is not None:
            lo, hi = offset if isinstance(offset, (tuple, list)) else (None, offset)
            low = 0.0 if lo is None else float(to_value(lo, "deg", "offset"))
            filters.append(OffsetFilter(low, np.inf if hi is None else float(to_value(hi, "deg", "offset"))))
        if phase is not None:
            pairs = [phase] if np.ndim(phase) == 1 else phase
            filters.append(PhaseFilter(tuple((float(a), float(b)) for a, b in pairs)))
        times = () if time is None else tuple((float(a), float(b)) for a, b in time_intervals(time))
        return cls(times, tuple(filters))

    def __and__(self, other: ObservationFilter) -> ObservationFilter:
        """Return a filter that does both."""
        if self.time and other.time:
            both = gti_intersection(*(gti_table(*np.array(f.time).T) for f in (self, other)))
            times = tuple(zip(both["gti_start"].values.tolist(), both["gti_stop"].values.tolist(), strict=True))
            # no common time: an interval in which nothing lies
            times = times or ((-1e15, -1e15),)
        else:
            times = self.time or other.time
        return replace(self, time=times, events=self.events + other.events)

    @property
    def livetime_fraction(self) -> float:
        """Part of the livetime within the good time intervals that the event filters keep."""
        return float(np.prod([f.livetime_fraction for f in self.events]))

    def filter_events(self, events: xr.Dataset, pointing: Pointing | None = None) -> xr.Dataset:
        """Return the events that pass.

        Parameters
        ----------
        events
            Event list.
        pointing
            For cuts on the offset of runs that drift or have a pointing table; otherwise the header is enough.
        """
        if self.time:
            time = events["time"].values
            keep = np.zeros(time.shape, dtype=bool)
            for start, stop in self.time:
                # half open, so that neighbouring intervals share no event
                keep |= (time >= start) & (time < stop)
            events = select_mask(events, keep)
        for one in self.events:
            events = one(events, pointing) if isinstance(one, OffsetFilter) else one(events)
        return events

    def filter_gti(self, gti: xr.Dataset) -> xr.Dataset:
        """Return the good time intervals inside the time cut."""
        return gti_intersection(gti, gti_table(*np.array(self.time).T)) if self.time else gti


def _column_filter(name: str, bounds: Any) -> ColumnFilter:
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        msg = f"{name}={bounds!r} must be (lower, upper); None leaves an end open"
        raise ValueError(msg)
    if name == "energy":
        low, high = (None if b is None else float(to_value(b, "TeV", "energy")) for b in bounds)
        return ColumnFilter(name, low, high)
    lower, upper = (_as_bound(b) for b in bounds)
    return ColumnFilter(name, lower, upper)


def _as_bound(bound: Any) -> float | str | None:
    """Return a bound that travels well: a quantity as text, converted when the unit of the column is known."""
    if bound is None or isinstance(bound, str):
        return bound
    return float(bound) if isinstance(bound, (int, float, np.number)) else str(bound)


def make_box(box: Any) -> BoxFilter:
    """Return the filter of ``(center, width, height)``."""
    try:
        center, width, height = box
        frame = center.frame.name
        sky = center.spherical
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"box={box!r} must be (center, width, height): a SkyCoord and two angles"
        raise ValueError(msg) from error
    size = float(to_value(width, "deg", "width")), float(to_value(height, "deg", "height"))
    return BoxFilter(float(sky.lon.deg), float(sky.lat.deg), *size, frame)
