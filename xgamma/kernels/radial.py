"""Radial functions as smooth piecewise cubics, and their integrals over pixels as a sparse matrix.

A point spread function is a table over the separation. Here it becomes a function with a continuous slope that never
overshoots its table, so that integrals over pixels change smoothly as a source moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.sparse import csr_array

__all__ = ["RadialNodes", "monotone_slopes", "pixel_matrix", "radial_nodes", "radius_of"]

FloatArray = NDArray[np.float64]

SQUARE_DEG = np.deg2rad(1.0) ** 2

#: Part of a step between nodes below which the truncation radius replaces a node.
NEAR = 0.25


@dataclass(frozen=True, eq=False)
class RadialNodes:
    """Nodes of piecewise cubic functions of the separation that end, with their slope, at the last node.

    Parameters
    ----------
    radius
        Separations in deg, ascending from 0 to the truncation radius, shape (m,).
    """

    radius: FloatArray

    @property
    def size(self) -> int:
        """Number of coefficients of a function: four for each interval."""
        return 4 * (self.radius.size - 1)

    @property
    def last(self) -> float:
        """Truncation radius in deg."""
        return float(self.radius[-1])

    def coefficients(self, values: FloatArray, slopes: FloatArray) -> FloatArray:
        """Return the coefficients of powers of the position in each interval, from 0 to 1.

        Parameters
        ----------
        values, slopes
            Values, and their derivatives per deg, at the nodes; shape (..., m).

        Returns
        -------
        numpy.ndarray
            Shape (..., size): intervals, and in each the constant, linear, square and cubic part.
        """
        step = np.diff(self.radius)
        v0, v1 = values[..., :-1], values[..., 1:]
        d0, d1 = slopes[..., :-1] * step, slopes[..., 1:] * step
        parts = (v0, d0, 3.0 * (v1 - v0) - 2.0 * d0 - d1, 2.0 * (v0 - v1) + d0 + d1)
        return np.stack(parts, axis=-1).reshape(*values.shape[:-1], self.size)

    def moments(self) -> FloatArray:
        """Return the integrals over the plane, in sr, of functions whose coefficients are 1 one at a time."""
        step, start = np.diff(self.radius)[:, None], self.radius[:-1, None]
        power = np.arange(4)
        # integral of t^p (start + step t) dt over 0..1, times 2 pi step
        rings = 2.0 * np.pi * step * (start / (power + 1.0) + step / (power + 2.0))
        return SQUARE_DEG * rings.ravel()


def radial_nodes(centers: FloatArray, radius: float) -> RadialNodes:
    """Return the nodes for a table at separations, cut off at a radius.

    Parameters
    ----------
    centers
        Separations of the table in deg, ascending, positive, shape (n,).
    radius
        Where the functions end in deg.

    Examples
    --------
    >>> radial_nodes(np.array([0.05, 0.15, 0.25]), 0.2).radius
    array([0.  , 0.05, 0.15, 0.2 ])
    """
    step = np.diff(centers, prepend=-centers[0])
    inside = centers[centers < radius - NEAR * step]
    return RadialNodes(np.concatenate([[0.0], inside, [radius]]))


def monotone_slopes(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Return slopes of piecewise cubics that are as smooth as splines where that does not make them overshoot.

    Parameters
    ----------
    nodes
        Ascending, shape (m,).
    values
        Shape (..., m).

    Returns
    -------
    numpy.ndarray
        Shape of the values; 0 at both ends.

    References
    ----------
    F. N. Fritsch, R. E. Carlson, SIAM J. Numer. Anal. 17, 238 (1980): a cubic is monotone where its slopes are at most
    three times the secant.

    Examples
    --------
    >>> monotone_slopes(np.array([0.0, 1.0, 2.0, 3.0]), np.array([9.0, 4.0, 0.0, 0.0])).round(3)
    array([ 0. , -6.4,  0. ,  0. ])
    """
    secant = np.diff(values, axis=-1) / np.diff(nodes)
    slopes = CubicSpline(nodes, values, axis=-1, bc_type="clamped").derivative()(nodes)
    left, right = secant[..., :-1], secant[..., 1:]
    most = np.where(left * right > 0, 3.0 * np.minimum(np.abs(left), np.abs(right)), 0.0)
    sign = np.sign(left)
    result = np.zeros(values.shape)
    result[..., 1:-1] = sign * np.clip(sign * slopes[..., 1:-1], 0.0, most) + 0.0
    return result


def radius_of(fraction: float, edges: FloatArray, values: FloatArray) -> FloatArray:
    """Return the separation within which a part of each function of a table lies.

    Parameters
    ----------
    fraction
        Between 0 and 1.
    edges
        Edges of the table's bins in deg, shape (n + 1,).
    values
        Per solid angle, shape (k, n).

    Returns
    -------
    numpy.ndarray
        Degrees, shape (k,); NaN where a function has no content.

    Examples
    --------
    >>> radius_of(0.25, np.array([0.0, 1.0, 2.0]), np.array([[1.0, 1.0]]))
    array([1.])
    """
    square = edges**2
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values * np.diff(square), axis=1)], axis=1)
    wanted = fraction * sums[:, -1:]
    node = np.clip((sums < wanted).sum(axis=1) - 1, 0, edges.size - 2)
    row = np.arange(len(values))
    low, high = sums[row, node], sums[row, node + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (wanted[:, 0] - low) / (high - low)
    radius = np.sqrt(square[node] + part * (square[node + 1] - square[node]))
    return np.where(sums[:, -1] > 0, radius, np.nan)


def pixel_matrix(nodes: RadialNodes, separation: FloatArray, weight: FloatArray) -> csr_array:
    """Return the matrix from the coefficients of radial functions to their integrals over pixels.

    Parameters
    ----------
    nodes
        Nodes of the functions.
    separation
        Separations in deg of the points at which pixels are sampled, shape (pixels, points).
    weight
        Solid angles of the points in sr, same shape.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (pixels, size of the nodes).

    Examples
    --------
    >>> nodes = RadialNodes(np.array([0.0, 1.0, 2.0]))
    >>> flat = nodes.coefficients(np.array([3.0, 3.0, 0.0]), np.zeros(3))
    >>> pixel_matrix(nodes, np.array([[0.5, 5.0]]), np.array([[0.5, 0.5]])) @ flat
    array([1.5])
    """
    pixels, points = separation.shape
    interval = np.searchsorted(nodes.radius, separation.ravel(), side="right") - 1
    outside = interval >= nodes.radius.size - 1
    interval[outside] = 0
    t = (separation.ravel() - nodes.radius[interval]) / np.diff(nodes.radius)[interval]
    data = np.empty((t.size, 4))
    data[:, 0] = np.where(outside, 0.0, weight.ravel())
    for power in (1, 2, 3):
        np.multiply(data[:, power - 1], t, out=data[:, power])
    indices = (4 * interval[:, None] + np.arange(4)).astype(np.int32)
    rows = np.arange(0, 4 * points * (pixels + 1), 4 * points, dtype=np.int32)
    return csr_array((data.ravel(), indices.ravel(), rows), shape=(pixels, nodes.size))
