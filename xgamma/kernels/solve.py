"""Vectorised root finding: many one-dimensional equations at once, without a loop over elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["expand_bracket", "find_root"]

#: ``function(x, *args) -> (value, derivative)``, all arrays of one shape.
Equation = Callable[..., tuple[np.ndarray, np.ndarray]]


def find_root(
    function: Equation,
    inner: np.ndarray,
    outer: np.ndarray,
    *args: np.ndarray,
    rtol: float = 4e-16,
    max_iterations: int = 200,
) -> np.ndarray:
    """Solve ``function(x, *args) == 0`` for each element by Newton steps kept inside a bracket.

    The search starts at `outer`. For a convex function with a positive value there, which is what likelihood
    ratios are, Newton steps run monotonically to the root; whenever a step would leave the bracket
    or does not shrink it, the bracket is halved instead, so that the search always ends.

    Parameters
    ----------
    function
        Returns value and derivative; called with the elements that are not solved yet.
    inner, outer
        Ends of the bracket, shape (n,): the value is <= 0 at `inner` and >= 0 at `outer`; `outer` may be
        the lower or the upper end.
    *args
        Further arrays, shape (n,).
    rtol
        The search of an element ends when a step is below `rtol` of the root or of the bracket's width.
    max_iterations
        Limit that only protects from an endless loop: halving alone ends earlier.

    Returns
    -------
    numpy.ndarray
        Roots, shape (n,). NaN where a value of the function is NaN.

    Examples
    --------
    >>> find_root(lambda x, c: (x**2 - c, 2 * x), np.zeros(2), np.full(2, 9.0), np.array([4.0, 16.0]))
    array([2., 4.])
    """
    inner, x = np.array(inner, dtype=float), np.array(outer, dtype=float)
    result = np.full(x.shape, np.nan)
    index = np.flatnonzero(np.isfinite(inner) & np.isfinite(x))
    inner, x, args = inner[index], x[index], tuple(a[index] for a in args)
    outer = x.copy()
    scale = rtol * np.abs(outer - inner)
    for _ in range(max_iterations):
        if not len(index):
            break
        value, slope = function(x, *args)
        outside = value >= 0
        outer, inner = np.where(outside, x, outer), np.where(outside, inner, x)
        new = _newton_or_half(x, value, slope, inner, outer)
        done = (np.abs(new - x) <= np.maximum(rtol * np.abs(new), scale)) | (value == 0)
        broken = np.isnan(value)
        done &= ~broken
        result[index[done]] = np.where(value == 0, x, new)[done]
        go = ~(done | broken)
        index, x, inner, outer, scale = index[go], new[go], inner[go], outer[go], scale[go]
        args = tuple(a[go] for a in args)
    result[index] = x
    return result


def _newton_or_half(
    x: np.ndarray, value: np.ndarray, slope: np.ndarray, inner: np.ndarray, outer: np.ndarray
) -> np.ndarray:
    with np.errstate(all="ignore"):
        step = x - value / slope
    low, high = np.minimum(inner, outer), np.maximum(inner, outer)
    # an infinite slope would stay where it is
    usable = np.isfinite(slope) & (step >= low) & (step <= high)
    return np.where(usable, step, 0.5 * (inner + outer))


def expand_bracket(function: Equation, start: np.ndarray, step: np.ndarray, *args: np.ndarray) -> np.ndarray:
    """Walk away from `start` in doubling steps until the function is not negative.

    Parameters
    ----------
    function
        As for `find_root`; only the value is used.
    start, step
        First point and first step (negative to walk down), shape (n,).
    *args
        Further arrays, shape (n,).

    Returns
    -------
    numpy.ndarray
        Points with a value >= 0, shape (n,); NaN where a value is NaN or none was found in 200 doublings.

    Examples
    --------
    >>> expand_bracket(lambda x, c: (x - c, 1 + 0 * x), np.zeros(1), np.ones(1), np.array([5.0]))
    array([8.])
    """
    result = np.full(np.shape(start), np.nan)
    index = np.flatnonzero(np.isfinite(start) & np.isfinite(step))
    step = np.asarray(step, dtype=float)
    for _ in range(200):
        if not len(index):
            break
        trial = start[index] + step[index]
        value, _slope = function(trial, *(a[index] for a in args))
        result[index[value >= 0]] = trial[value >= 0]
        index = index[value < 0]
        step = 2.0 * step
    return result
