"""Linear interpolation of small tables at many points, with weights shared by all rows.

Instrument responses are tables over energy and position in the field of view. A cube needs them at
*all* energies times *all* pixels. Linear interpolation on a grid is a product of one-dimensional ones, so
the small table is first interpolated in energy, and the weights of a pixel are found once and used for
every energy, where an N-dimensional interpolator would search them again for every voxel.

Values belong to the *centres* of bins. Between the first (last) centre and the edge of its bin the line
through the two nearest centres is continued; beyond the edge a response is not defined.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Weights",
    "axis_limits",
    "bin_weights",
    "interp_plane",
    "interp_points",
    "interp_rows",
    "log_log_integral",
    "same_edges",
]

FloatArray = NDArray[np.float64]
Scale = Literal["log", "lin"]

#: A point this close to an edge, relative to the length of the axis, still belongs to it: edges come from
#: a logarithm and back, or out of files, and are known to a rounding.
EDGE_TOLERANCE = 1e-12

#: Up to so many nodes comparing with each is faster than a search.
FEW_NODES = 16

#: Values that are interpolated at a time: they stay in the cache, and few points do not make many calls.
BLOCK = 2**14

#: Below this difference of logarithms the logarithmic mean is taken from its series.
SMALL_STEP = 1e-4


class Weights(NamedTuple):
    """Where points lie between the nodes of an axis.

    The value at a point is ``(1 - weight) * value[node] + weight * value[node + 1]``; a weight outside
    0 to 1 continues the line beyond the outermost nodes.

    Attributes
    ----------
    node
        Position of the lower node, any shape.
    weight
        Weight of the upper node, same shape.
    valid
        False where the point lies off the axis, or is not finite; same shape.
    """

    node: NDArray[np.intp]
    weight: FloatArray
    valid: NDArray[np.bool_]

    def take(self, points: Any) -> Weights:
        """Weights of some of the points, by any index of numpy."""
        return Weights(self.node[points], self.weight[points], self.valid[points])


def same_edges(lower: FloatArray, upper: FloatArray) -> bool:
    """True if the lower and upper edges of an axis agree to 1e-5: it is one of nodes."""
    # the last pair tells for nearly all axes
    near = not len(lower) or math.isclose(lower[-1], upper[-1], rel_tol=1e-4, abs_tol=1e-7)
    return near and np.allclose(lower, upper, rtol=1e-5, atol=1e-8)


def axis_limits(lo: ArrayLike, hi: ArrayLike, scale: Scale = "lin") -> tuple[float, float]:
    """Return the range of an axis of bins, or of nodes (``lo == hi``), which reach half a step further.

    Parameters
    ----------
    lo, hi
        Edges, shape (n,), ascending.
    scale
        ``"log"`` measures the half step in the logarithm.

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> axis_limits([0.0, 1.0], [1.0, 3.0])
    (0.0, 3.0)
    >>> axis_limits([0.0, 1.0], [0.0, 1.0])
    (-0.5, 1.5)
    """
    lower, upper = np.asarray(lo, dtype=float), np.asarray(hi, dtype=float)
    if not same_edges(lower, upper) or len(lower) == 1:
        return float(lower[0]), float(upper[-1])
    nodes = np.log(lower) if scale == "log" else lower
    limits = (1.5 * nodes[0] - 0.5 * nodes[1], 1.5 * nodes[-1] - 0.5 * nodes[-2])
    first, last = np.exp(limits) if scale == "log" else limits
    return float(first), float(last)


def bin_weights(
    nodes: ArrayLike, points: ArrayLike, limits: tuple[float, float] | None = None, scale: Scale = "lin"
) -> Weights:
    """Find the weights of linear interpolation between the nodes of an axis.

    Parameters
    ----------
    nodes
        Positions of the table's values, shape (m,), ascending. With one node the value is constant.
    points
        Where values are wanted, any shape.
    limits
        Range in which points are valid, both ends included; all finite points by default.
    scale
        ``"log"`` interpolates in the logarithm of the positions.

    Returns
    -------
    Weights
        Index, weight and validity in the shape of `points`. Weights of invalid points are 0.

    Examples
    --------
    >>> node, weight, valid = bin_weights([0.0, 1.0, 2.0], [0.25, 2.5, 4.0], limits=(-0.5, 2.5))
    >>> node
    array([0, 1, 0])
    >>> weight
    array([0.25, 1.5 , 0.  ])
    >>> valid
    array([ True,  True, False])
    """
    x, grid = np.asarray(points, dtype=float), np.asarray(nodes, dtype=float)
    valid = np.isfinite(x)
    if limits is not None:
        tolerance = EDGE_TOLERANCE * max(abs(limits[0]), abs(limits[1]))
        low = limits[0] * (1 - EDGE_TOLERANCE) if scale == "log" else limits[0] - tolerance
        valid &= (x >= low) & (x <= limits[1] + tolerance)
    if scale == "log":
        valid &= x > 0
    if len(grid) == 1:
        return Weights(np.zeros(x.shape, dtype=np.intp), np.zeros(x.shape), valid)
    # invalid points go to the first node, where they cost nothing and raise no warning
    inside = x if valid.all() else np.where(valid, x, grid[0])
    if scale == "log":
        inside, grid = np.log(inside), np.log(grid)
    index = _lower_node(grid, inside)
    step = 1.0 / np.diff(grid)
    weight = (inside - grid[index]) * step[index]
    return Weights(index, weight, valid)


def _lower_node(grid: FloatArray, points: FloatArray) -> NDArray[np.intp]:
    """Position of the last node at or below each point, at most the last but one."""
    if len(grid) <= FEW_NODES:
        index = np.zeros(points.shape, dtype=np.intp)
        for node in grid[1:-1]:
            index += points >= node
        return index
    index = np.searchsorted(grid, points, side="right") - 1
    return np.clip(index, 0, len(grid) - 2)


def interp_rows(table: FloatArray, weights: Weights) -> FloatArray:
    """Interpolate along the first axis of a table; off the axis the value is 0.

    Parameters
    ----------
    table
        Values, shape (m, ...).
    weights
        Weights of the points, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n, ...).

    Examples
    --------
    >>> interp_rows(np.array([[0.0, 1.0], [2.0, 3.0]]), bin_weights([1.0, 2.0], [1.5]))
    array([[1., 2.]])
    """
    index, weight, valid = weights
    column = (slice(None),) + (np.newaxis,) * (table.ndim - 1)
    upper = table[np.minimum(index + 1, len(table) - 1)]
    lower = table[index]
    result: FloatArray = lower + (upper - lower) * weight[column]
    result[~valid] = 0.0
    return result


def interp_points(table: FloatArray, weights: Weights, fill: float = 0.0) -> FloatArray:
    """Interpolate all rows of a table at the same points, along its last axis.

    Parameters
    ----------
    table
        Values, shape (n, m).
    weights
        Weights of the points, shape (...), on the axis of length m.
    fill
        Value of points off the axis.

    Returns
    -------
    numpy.ndarray
        Shape (n, ...).

    Examples
    --------
    >>> interp_points(np.array([[0.0, 1.0], [0.0, 10.0]]), bin_weights([0.0, 1.0], [0.5, 0.1]))
    array([[0.5, 0.1],
           [5. , 1. ]])
    """
    shape = weights.node.shape
    index, weight, valid = weights.node.ravel(), weights.weight.ravel(), weights.valid.ravel()
    slope = np.diff(table, axis=1, append=table[:, -1:])
    result = np.empty((len(table), len(index)))
    number = max(1, BLOCK // max(len(index), 1))
    lower = np.empty((min(number, len(table)), len(index)))
    # a few rows at a time stay in the cache; a matrix product would bring the threads of BLAS, which fight
    # those of Dask and change the last bits
    for start in range(0, len(table), number):
        rows = slice(start, start + number)
        block = result[rows]
        np.take(slope[rows], index, axis=1, out=block, mode="clip")
        block *= weight
        block += np.take(table[rows], index, axis=1, out=lower[: len(block)], mode="clip")
    if not valid.all():
        result[:, ~valid] = fill
    return result.reshape(table.shape[0], *shape)


def interp_plane(table: FloatArray, x: Weights, y: Weights, fill: float = 0.0) -> FloatArray:
    """Interpolate all planes of a table at the same points of a plane (bilinear).

    Parameters
    ----------
    table
        Values, shape (n, mx, my).
    x, y
        Weights of the points on the two axes, same shape (...).
    fill
        Value of points off one of the axes.

    Returns
    -------
    numpy.ndarray
        Shape (n, ...).

    Examples
    --------
    >>> plane = np.array([[[0.0, 1.0], [10.0, 11.0]]])
    >>> interp_plane(plane, bin_weights([0.0, 1.0], [0.5]), bin_weights([0.0, 1.0], [0.25]))
    array([[5.25]])
    """
    number, nx, ny = table.shape
    result = np.full((number, x.node.size), fill)
    inside = np.flatnonzero(x.valid & y.valid)
    ix, iy = x.node.ravel()[inside], y.node.ravel()[inside]
    wx, wy = x.weight.ravel()[inside], y.weight.ravel()[inside]
    step_x, step_y = min(nx - 1, 1) * ny, min(ny - 1, 1)
    corner = ix * ny + iy
    corners = [
        (corner, (1 - wx) * (1 - wy)),
        (corner + step_y, (1 - wx) * wy),
        (corner + step_x, wx * (1 - wy)),
        (corner + step_x + step_y, wx * wy),
    ]
    everywhere = len(inside) == x.node.size
    total, part = np.empty(len(inside)), np.empty(len(inside))
    # plane by plane everything stays in the cache
    for values, row in zip(np.ascontiguousarray(table).reshape(number, nx * ny), result, strict=True):
        out = row if everywhere else total
        np.take(values, corners[0][0], out=out, mode="clip")
        out *= corners[0][1]
        for index, weight in corners[1:]:
            np.take(values, index, out=part, mode="clip")
            part *= weight
            out += part
        if not everywhere:
            row[inside] = total
    return result.reshape(number, *x.node.shape)


def log_log_integral(log_values: FloatArray, edges: ArrayLike) -> FloatArray:
    """Integrate between edges, taking the function as a power law within each bin.

    Parameters
    ----------
    log_values
        Natural logarithm of the function at the edges, shape (n + 1, ...); ``-inf`` where it is zero.
    edges
        Positive ascending edges, shape (n + 1,).

    Returns
    -------
    numpy.ndarray
        Integral per bin, shape (n, ...); 0 where the function vanishes at either edge.

    Notes
    -----
    With ``g = x f(x)`` the integral of a power law from a to b is ``ln(b/a)`` times the logarithmic mean
    ``(g_b - g_a) / (ln g_b - ln g_a)``, which needs one exponential per edge and no power.

    Examples
    --------
    >>> edges = np.array([1.0, 2.0, 4.0])
    >>> log_log_integral(np.log(edges**-2.0), edges)
    array([0.5 , 0.25])
    """
    log_x = np.log(np.asarray(edges, dtype=float))
    shape = log_values.shape[1:]
    log_values = log_values.reshape(len(log_x), -1)
    result = np.empty((len(log_x) - 1, log_values.shape[1]))
    log_upper, log_lower, step = (np.empty(log_values.shape[1]) for _ in range(3))
    np.add(log_values[0], log_x[0], out=log_upper)
    upper, lower = np.exp(log_upper), np.empty_like(log_upper)
    # bin by bin everything stays in the cache
    for k, row in enumerate(result):
        log_lower, log_upper, lower, upper = log_upper, log_lower, upper, lower
        np.add(log_values[k + 1], log_x[k + 1], out=log_upper)
        np.exp(log_upper, out=upper)
        with np.errstate(invalid="ignore", divide="ignore"):
            np.subtract(log_upper, log_lower, out=step)
            np.subtract(upper, lower, out=row)
            row /= step
        small = np.abs(step) < SMALL_STEP
        if small.any():
            mean = 0.5 * (lower[small] + upper[small])
            row[small] = mean * (1 - step[small] ** 2 / 12)
        # an infinite or undefined step means a zero at an edge
        row[~np.isfinite(step)] = 0.0
        row *= log_x[k + 1] - log_x[k]
    return result.reshape(len(result), *shape)
