"""Random numbers from tabulated distributions by the inverse of their cumulative: numpy in, numpy out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cap_offsets",
    "move_on_sphere",
    "pick",
    "power_law_between",
    "row_cdf",
    "sample_histogram_rows",
    "sample_intervals",
    "sample_king",
    "sample_multi_gauss",
    "vectors_from_fov",
]

FloatArray = NDArray[np.float64]

#: Below this exponent a power law over one interval is flat to double precision.
FLAT = 1e-9
#: Exponents beyond this would overflow; the whole interval is then one of its ends.
STEEP = 700.0
#: Halvings of an interval of ten widths: the rest is 1e-12 of a width.
BISECTIONS = 43


def pick(cumulative: FloatArray, uniform: FloatArray) -> NDArray[np.intp]:
    """Choose entries of a table with probabilities given by its running sum.

    Parameters
    ----------
    cumulative
        Running sum of weights that are not negative, shape (m,); the last one is positive.
    uniform
        Random numbers in [0, 1), shape (n,).

    Returns
    -------
    numpy.ndarray
        Positions, shape (n,); an entry of weight 0 is never chosen.

    Examples
    --------
    >>> pick(np.array([0.0, 1.0, 1.0, 4.0]), np.array([0.0, 0.2, 0.9]))
    array([1, 1, 3])
    """
    return np.searchsorted(cumulative, uniform * cumulative[-1], side="right")


def power_law_between(uniform: ArrayLike, lo: ArrayLike, hi: ArrayLike, f_lo: ArrayLike, f_hi: ArrayLike) -> FloatArray:
    """Draw from the power law that passes through the values at both ends of an interval.

    Parameters
    ----------
    uniform
        Random numbers in [0, 1), shape (n,).
    lo, hi
        Positive ends of the interval of each draw, shape (n,).
    f_lo, f_hi
        Positive densities at the ends, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,), within [lo, hi].

    Notes
    -----
    In ``t = ln x`` the density is ``exp(k t)`` with ``k`` from the values of ``x f(x)`` at the ends, so
    that ``t = ln(1 + u (exp(k L) - 1)) / k`` on an interval of length L.

    Examples
    --------
    >>> power_law_between(np.array([0.5]), 1.0, 100.0, 1.0, 1e-4).round(6)
    array([1.980198])
    """
    length = np.log(hi) - np.log(lo)
    exponent = np.clip(np.log(f_hi) - np.log(f_lo) + length, -STEEP, STEEP)
    flat = np.abs(exponent) < FLAT
    safe = np.where(flat, 1.0, exponent)
    fraction = np.where(flat, uniform, np.log1p(uniform * np.expm1(safe)) / safe)
    return np.asarray(lo * np.exp(fraction * length))


def sample_intervals(start: FloatArray, stop: FloatArray, uniform: FloatArray) -> FloatArray:
    """Draw uniformly from a union of intervals.

    Parameters
    ----------
    start, stop
        Ends of the intervals, shape (m,).
    uniform
        Random numbers in [0, 1), shape (n,).

    Examples
    --------
    >>> sample_intervals(np.array([0.0, 100.0]), np.array([10.0, 130.0]), np.array([0.125, 0.5]))
    array([  5., 110.])
    """
    length = np.cumsum(stop - start)
    passed = uniform * length[-1]
    index = np.minimum(np.searchsorted(length, passed, side="right"), len(start) - 1)
    return stop[index] - (length[index] - passed)


def row_cdf(weights: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the running sum of each row from 0 to 1, and which rows have anything to draw from.

    Parameters
    ----------
    weights
        Probability per bin, shape (n, m); negative values (of a line that is continued beyond the outermost
        node) count as 0.

    Returns
    -------
    tuple of numpy.ndarray
        Shapes (n, m + 1) and (n,).

    Examples
    --------
    >>> row_cdf(np.array([[1.0, 3.0], [0.0, 0.0]]))
    (array([[0.  , 0.25, 1.  ],
           [0.  , 0.  , 0.  ]]), array([ True, False]))
    """
    cdf = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(np.maximum(weights, 0.0), axis=1, out=cdf[:, 1:])
    total = cdf[:, -1]
    valid = np.isfinite(total) & (total > 0)
    cdf /= np.where(valid, total, 1.0)[:, np.newaxis]
    return cdf, valid


def sample_histogram_rows(edges: FloatArray, weights: FloatArray, uniform: FloatArray) -> FloatArray:
    """Draw one value from each of n histograms on common bins; uniform inside a bin.

    Parameters
    ----------
    edges
        Shape (m + 1,).
    weights
        Probability per bin of each histogram, any norm, shape (n, m).
    uniform
        Random numbers in [0, 1), shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN for a histogram without contents.

    Examples
    --------
    >>> sample_histogram_rows(np.array([0.0, 1.0, 3.0]), np.array([[1.0, 1.0]]), np.array([0.75]))
    array([2.])
    """
    cdf, valid = row_cdf(weights)
    rows = np.arange(len(cdf))
    # the number of edges that the draw has passed is the bin it lies in
    index = np.clip((cdf[:, 1:] <= uniform[:, np.newaxis]).sum(axis=1), 0, weights.shape[1] - 1)
    low, high = cdf[rows, index], cdf[rows, index + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = np.where(high > low, (uniform - low) / (high - low), 0.0)
    result = edges[index] + fraction * (edges[index + 1] - edges[index])
    result[~valid] = np.nan
    return result


def sample_king(gamma: FloatArray, sigma: FloatArray, uniform: FloatArray) -> FloatArray:
    """Draw separations from King profiles, the containment of which inverts in closed form.

    Parameters
    ----------
    gamma, sigma
        Index (above 1) and width, shape (n,).
    uniform
        Random numbers in [0, 1), shape (n,).

    Returns
    -------
    numpy.ndarray
        Separation in the unit of `sigma`; NaN where the parameters make no profile.

    Examples
    --------
    >>> sample_king(np.array([2.0]), np.array([0.1]), np.array([0.5]))
    array([0.2])
    """
    valid = (gamma > 1) & (sigma > 0)
    index = np.where(valid, gamma, 2.0)
    growth = np.expm1(np.log1p(-uniform) / (1.0 - index))
    return np.where(valid, sigma * np.sqrt(2.0 * index * growth), np.nan)


def sample_multi_gauss(amplitude: FloatArray, sigma: FloatArray, uniform: FloatArray) -> FloatArray:
    """Draw separations from sums of two-dimensional Gaussians.

    Parameters
    ----------
    amplitude
        Height of each Gaussian, shape (n, m); one may be negative as long as the sum is not.
    sigma
        Width of each, shape (n, m); a width of 0 leaves a Gaussian out.
    uniform
        Random numbers in [0, 1), shape (n,).

    Returns
    -------
    numpy.ndarray
        Separation in the unit of `sigma`, shape (n,); NaN where a sum has no positive contents.

    Examples
    --------
    >>> sample_multi_gauss(np.array([[1.0, 0.0]]), np.array([[0.1, 0.0]]), np.array([0.5])).round(6)
    array([0.117741])
    """
    width = np.where(sigma > 0, sigma, 1.0)
    weight = np.where(sigma > 0, amplitude * sigma**2, 0.0)
    total = weight.sum(axis=1)
    valid = np.isfinite(total) & (total > 0)
    weight = weight / np.where(valid, total, 1.0)[:, np.newaxis]

    low = np.zeros(len(total))
    high = np.full(len(total), 10.0) * width.max(axis=1, initial=0.0)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        inside = -(weight * np.expm1(-0.5 * (middle[:, np.newaxis] / width) ** 2)).sum(axis=1)
        below = inside < uniform
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(valid, 0.5 * (low + high), np.nan)


def cap_offsets(sigma: float, uniform: FloatArray) -> FloatArray:
    """Draw separations in degrees from a Gaussian on the sphere.

    Parameters
    ----------
    sigma
        Width in degrees.
    uniform
        Random numbers in [0, 1), shape (n,).

    Notes
    -----
    The density is ``exp(-(1 - cos r) / (2 (1 - cos(sigma))) )``: in ``1 - cos r`` an exponential that ends at
    the antipode, and for small sigma the plane Gaussian.

    Examples
    --------
    >>> cap_offsets(0.1, np.array([0.0, 0.5])).round(6)
    array([0.      , 0.117741])
    """
    scale = 4.0 * np.sin(0.5 * np.deg2rad(sigma)) ** 2
    versine = -scale * np.log1p(uniform * np.expm1(-2.0 / scale))
    return np.rad2deg(2.0 * np.arcsin(np.sqrt(np.minimum(0.5 * versine, 1.0))))


def move_on_sphere(vectors: FloatArray, separation: FloatArray, angle: FloatArray) -> FloatArray:
    """Move unit vectors by a separation in degrees in the direction of an angle in radians.

    Parameters
    ----------
    vectors
        Shape (n, 3) or (3,).
    separation, angle
        Shape (n,); the angle counts from an arbitrary direction, so it should be uniform.

    Returns
    -------
    numpy.ndarray
        Unit vectors, shape (n, 3).

    Examples
    --------
    >>> moved = move_on_sphere(np.array([1.0, 0.0, 0.0]), np.array([90.0]), np.array([0.0]))
    >>> float(np.abs(moved[0, 0]).round(12))
    0.0
    """
    start = np.broadcast_to(vectors, (len(separation), 3))
    # any axis that is not parallel to the vector spans the tangent plane with it
    helper = np.where(np.abs(start[:, 2:]) < 0.9, np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]))
    east = np.cross(helper, start)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    north = np.cross(start, east)
    size = np.deg2rad(separation)[:, np.newaxis]
    direction = np.cos(angle)[:, np.newaxis] * north + np.sin(angle)[:, np.newaxis] * east
    result: FloatArray = np.cos(size) * start + np.sin(size) * direction
    return result


def vectors_from_fov(fov_lon: FloatArray, fov_lat: FloatArray, axes: FloatArray) -> FloatArray:
    """Return unit vectors on the sky of positions in the field of view.

    Parameters
    ----------
    fov_lon, fov_lat
        Degrees, shape (n,).
    axes
        Unit vectors of the pointing, of growing longitude and of growing latitude: shape (3, 3), rows, or
        (n, 3, 3) where each event has its own.

    Returns
    -------
    numpy.ndarray
        Shape (n, 3).
    """
    lon, lat = np.deg2rad(fov_lon), np.deg2rad(fov_lat)
    cos_lat = np.cos(lat)
    local = np.stack([cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)], axis=-1)
    if axes.ndim == 2:
        return local @ axes
    return np.einsum("ni,nij->nj", local, axes)
