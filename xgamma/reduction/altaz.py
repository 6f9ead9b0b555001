"""Field-of-view coordinates of responses that are aligned with the horizon."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import astropy.units as u
import numpy as np
from astropy.coordinates import AltAz, SkyCoord

from xgamma.dl3.pointing import Pointing, bundled_iers
from xgamma.dl3.times import to_time
from xgamma.kernels.sphere import field_of_view, from_vectors, rotate, to_vectors

__all__ = ["field_of_view_altaz"]

#: Largest turn in degrees of the field of view against the sky within one step of time.
ROTATION_STEP = 1.0
#: Step in seconds at which the turn is followed before steps are joined.
TIME_STEP = 60.0


def field_of_view_altaz(
    vectors: np.ndarray, pointing: Pointing, gti: np.ndarray
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield (weight, longitude, latitude) of positions in the horizontal frame centred on the pointing.

    The field turns against the sky during a run: there is one item for each step in which it turns
    by one degree at most, weighted with the step's part of the good time.

    Parameters
    ----------
    vectors
        ICRS unit vectors, shape (..., 3).
    pointing
        Pointing of the run, with the location of the telescopes.
    gti
        Good time intervals, shape (n, 2), seconds since J2000.0 (TT).
    """
    total = float((gti[:, 1] - gti[:, 0]).sum())
    for start, stop in gti:
        for first, last in _steps(pointing, float(start), float(stop)):
            middle = 0.5 * (first + last)
            matrix, az, alt = _horizontal(pointing, middle)
            lon, lat = field_of_view(rotate(vectors, matrix), az, alt)
            yield (last - first) / total, lon, lat


def _steps(pointing: Pointing, start: float, stop: float) -> list[tuple[float, float]]:
    """Split an interval so that the field turns by ROTATION_STEP at most in each part."""
    number = max(2, int(np.ceil((stop - start) / TIME_STEP)) + 1)
    times = np.linspace(start, stop, number)
    angles = np.array([_rotation_angle(pointing, t) for t in times])
    turned = np.abs(np.cumsum((np.diff(angles) + 180.0) % 360.0 - 180.0)).max(initial=0.0)
    parts = max(1, int(np.ceil(turned / ROTATION_STEP)))
    edges = np.linspace(start, stop, parts + 1)
    return [(float(a), float(b)) for a, b in itertools.pairwise(edges)]


def _rotation_angle(pointing: Pointing, time: float) -> float:
    """Angle in degrees between celestial north and the zenith at the pointing."""
    matrix, az, alt = _horizontal(pointing, time)
    ra, dec = pointing.icrs(time)
    north = to_vectors(np.asarray(ra), np.asarray(min(dec + 0.1, 90.0)))
    lon, lat = field_of_view(rotate(north, matrix), az, alt)
    return float(np.rad2deg(np.arctan2(lon, lat)))


def _horizontal(pointing: Pointing, time: float) -> tuple[np.ndarray, float, float]:
    """Return the matrix from ICRS to horizontal row vectors near the pointing, and its azimuth and altitude.

    Aberration, precession and the turn of the Earth are one linear map over a field of view: it is
    fixed by what they do to the pointing and to two directions one degree away.
    """
    ra, dec = pointing.icrs(time)
    directions = _around(ra, dec)
    lon, lat = from_vectors(directions)
    with bundled_iers():
        frame = AltAz(obstime=to_time(time), location=pointing.earth_location)
        sky = SkyCoord(ra=lon * u.deg, dec=lat * u.deg, frame="icrs").transform_to(frame)
    horizontal = to_vectors(sky.az.deg, sky.alt.deg)
    return np.linalg.solve(directions, horizontal), float(sky.az.deg[0]), float(sky.alt.deg[0])


def _around(ra: float, dec: float) -> np.ndarray:
    """Unit vectors of the pointing and of two directions one degree away, shape (3, 3)."""
    center = to_vectors(np.asarray(ra), np.asarray(dec))
    a, b = np.deg2rad(ra), np.deg2rad(dec)
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.array([-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)])
    step = np.deg2rad(1.0)
    return np.stack([center, *(np.cos(step) * center + np.sin(step) * v for v in (east, north))])
