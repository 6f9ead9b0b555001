"""When the runs of a survey are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xgamma.coords.units import to_value
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.times import to_time, tt_seconds

__all__ = ["PlannedRun", "Schedule", "plan_runs"]

DAY = 86400.0


@dataclass(frozen=True)
class Schedule:
    """When runs are taken, one after the other.

    Parameters
    ----------
    ontime
        Length of a run.
    start
        When the first run starts: date (UTC) or `~astropy.time.Time`.
    pause
        Time between two runs.
    runs_per_night
        So many runs follow each other, then the next ones begin a day later than these.
    deadtime_fraction
        Part of the time in which no event is taken.
    first_obs_id
        Number of the first run.

    Examples
    --------
    >>> Schedule(ontime="20 min", pause="10 min", runs_per_night=2).starts(3) - Schedule().starts(1)[0]
    array([    0.,  1800., 86400.])
    """

    ontime: Any = "28 min"
    start: Any = "2024-03-01T01:30:00"
    pause: Any = "2 min"
    runs_per_night: int = 12
    deadtime_fraction: float = 0.05
    first_obs_id: int = 1

    def __post_init__(self) -> None:
        for name in ("ontime", "pause"):
            value = to_value(getattr(self, name), "s", name)
            if not 0 <= value < np.inf or (name == "ontime" and value == 0):
                msg = f"{name}={getattr(self, name)!r} must be positive"
                raise ValueError(msg)
            object.__setattr__(self, name, f"{value:.12g} s")
        if not 0 <= self.deadtime_fraction < 1:
            msg = f"deadtime_fraction={self.deadtime_fraction!r} must lie in [0, 1)"
            raise ValueError(msg)
        for name, low in (("runs_per_night", 1), ("first_obs_id", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                msg = f"{name}={value!r} must be a whole number of at least {low}"
                raise ValueError(msg)
        if self.runs_per_night > 1 and self.runs_per_night * self._step > DAY:
            runs = f"{self.runs_per_night} runs of {self.ontime} with pauses of {self.pause}"
            msg = f"{runs} do not fit into a day; lower runs_per_night"
            raise ValueError(msg)
        tt_seconds(self.start, "start")

    @property
    def seconds(self) -> float:
        """Length of a run in seconds."""
        return float(to_value(self.ontime, "s", "ontime"))

    @property
    def _step(self) -> float:
        return self.seconds + float(to_value(self.pause, "s", "pause"))

    def starts(self, number: int) -> np.ndarray:
        """Return the starts of runs in seconds since J2000.0 (TT)."""
        night, run = np.divmod(np.arange(number), self.runs_per_night)
        return float(tt_seconds(self.start, "start")) + night * DAY + run * self._step


@dataclass(frozen=True)
class PlannedRun:
    """One run of a survey: number, pointing, start and length in s, and cards that depend on the time."""

    obs_id: int
    pointing: Pointing
    start: float
    ontime: float
    cards: tuple[tuple[str, Any], ...]


def plan_runs(positions: list[tuple[float, float]], schedule: Schedule, location: Any) -> list[PlannedRun]:
    """Work out pointings and times of all runs at once."""
    starts = schedule.starts(len(positions))
    stops = starts + schedule.seconds
    dates = {key: np.char.partition(to_time(t).utc.isot, "T") for key, t in (("OBS", starts), ("END", stops))}
    pointings = [Pointing("pointing", ra, dec, location=location) for ra, dec in positions]
    if location is not None:
        alt, az = _altaz(positions, 0.5 * (starts + stops), location)
        pointings = [
            Pointing("pointing", ra, dec, a, z, location) for (ra, dec), a, z in zip(positions, alt, az, strict=True)
        ]
    runs = []
    for i, pointing in enumerate(pointings):
        cards = {f"DATE-{key}": str(text[i][0]) for key, text in dates.items()}
        cards |= {f"TIME-{key}": str(text[i][2]) for key, text in dates.items()}
        obs_id = schedule.first_obs_id + i
        runs.append(PlannedRun(obs_id, pointing, float(starts[i]), schedule.seconds, tuple(cards.items())))
    return runs


def _altaz(positions: list[tuple[float, float]], times: np.ndarray, location: Any) -> tuple[list[float], list[float]]:
    """Altitudes and azimuths of many pointings at once, with a table that has one row per run."""
    order = np.argsort(times, kind="stable")
    rows = tuple((float(times[i]), *positions[i]) for i in order)
    lon, lat, height = (float(v) for v in location)
    alt, az = Pointing("table", location=(lon, lat, height), table=rows).altaz(times)
    return np.atleast_1d(alt).tolist(), np.atleast_1d(az).tolist()
