"""Rings of a HEALPix map: the pixels between which a position lies, and their weights; numpy in and out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ring_neighbours"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def ring_neighbours(nside: int, lon: FloatArray, lat: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the four pixels around each position, numbered along rings, and their weights.

    Parameters
    ----------
    nside
        Number of pixels along a side of one of the twelve base pixels.
    lon, lat
        Positions in degrees, of one shape.

    Returns
    -------
    pixels : numpy.ndarray
        Shape (4, ...).
    weights : numpy.ndarray
        Shape (4, ...), of sum 1; NaN where a position is not finite.

    Notes
    -----
    Pixels of a HEALPix map lie on rings of equal latitude [1]_. The value at a position is interpolated linearly in
    longitude between the two nearest pixels of the ring above and of that below, and then linearly in latitude between
    the rings; at a pole it is the mean of the four pixels around it. It is exact at the pixels' centres.

    References
    ----------
    .. [1] Gorski et al. 2005, ApJ 622, 759, section 5.

    Examples
    --------
    >>> pixels, weights = ring_neighbours(1, np.array([45.0]), np.array([90.0]))
    >>> sorted(pixels[:, 0].tolist()), weights[:, 0].tolist()
    ([0, 1, 2, 3], [0.25, 0.25, 0.25, 0.25])
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float))
    valid = np.isfinite(lon) & np.isfinite(lat)
    phi = np.deg2rad(np.where(valid, lon, 0.0)) % (2.0 * np.pi)
    theta = np.deg2rad(90.0 - np.where(valid, lat, 0.0))
    above = _ring_above(nside, theta)
    pixels, weights = np.empty((4, *lon.shape), dtype=np.int64), np.empty((4, *lon.shape))
    colatitudes = []
    for k, ring in enumerate((above, above + 1)):
        number, start, shift, colatitude = _ring(nside, np.clip(ring, 1, 4 * nside - 1))
        place = phi / (2.0 * np.pi) * number - shift
        left = np.floor(place)
        pixels[2 * k] = start + left.astype(np.int64) % number
        pixels[2 * k + 1] = start + (left.astype(np.int64) + 1) % number
        weights[2 * k + 1] = place - left
        weights[2 * k] = 1.0 - weights[2 * k + 1]
        colatitudes.append(colatitude)
    north, south = above == 0, above == 4 * nside - 1
    upper = np.where(north, 0.0, colatitudes[0])
    lower = np.where(south, np.pi, colatitudes[1])
    fraction = np.clip((theta - upper) / (lower - upper), 0.0, 1.0)
    weights[:2] *= 1.0 - fraction
    weights[2:] *= fraction
    # the value at a pole is the mean of the four pixels around it, two of which are neighbours already
    last = 12 * nside**2 - 4
    for pole, own, other, share, first in (
        (north, slice(2, 4), slice(0, 2), 1.0 - fraction, 0),
        (south, slice(0, 2), slice(2, 4), fraction, last),
    ):
        pixels[other] = np.where(pole, first + (pixels[own] - first + 2) % 4, pixels[other])
        weights[other] = np.where(pole, 0.25 * share, weights[other])
        weights[own] += np.where(pole, 0.25 * share, 0.0)
    weights[:, ~valid] = np.nan
    return pixels, weights


def _ring_above(nside: int, theta: FloatArray) -> IntArray:
    """Number of the ring whose pixels lie at the same colatitude or next to it towards the north pole, 0 for none."""
    z = np.cos(theta)
    # 1 - |z| without cancellation near the poles
    cap = nside * np.sqrt(6.0) * np.where(z > 0, np.sin(0.5 * theta), np.cos(0.5 * theta))
    belt = np.floor(nside * (2.0 - 1.5 * z))
    polar = np.floor(cap)
    ring = np.where(np.abs(z) <= 2.0 / 3.0, belt, np.where(z > 0, polar, 4 * nside - 1 - polar))
    return np.clip(ring, 0, 4 * nside - 1).astype(np.int64)


def _ring(nside: int, ring: IntArray) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Number of pixels, number of the first, its distance from longitude 0 in pixels, and colatitude of rings."""
    south = ring > 2 * nside
    mirrored = np.where(south, 4 * nside - ring, ring)
    cap = mirrored < nside
    number = 4 * np.minimum(mirrored, nside)
    before = np.where(cap, 2 * mirrored * (mirrored - 1), 2 * nside * (nside - 1) + 4 * nside * (mirrored - nside))
    start = np.where(south, 12 * nside**2 - before - number, before)
    shift = np.where(cap | ((mirrored - nside) % 2 == 0), 0.5, 0.0)
    polar = 2.0 * np.arcsin(np.minimum(mirrored / (np.sqrt(6.0) * nside), 1.0))
    belt = np.arccos(np.clip(4.0 / 3.0 - 2.0 * mirrored / (3.0 * nside), -1.0, 1.0))
    colatitude = np.where(cap, polar, belt)
    return number, start, shift, np.where(south, np.pi - colatitude, colatitude)
