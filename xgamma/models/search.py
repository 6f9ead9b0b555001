"""Energies at which a spectrum takes a value, or a function of energy is smallest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

__all__ = ["crossings", "lowest"]

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]

#: Points per decade at which a function is looked at first.
DENSITY = 200


def crossings(function: Function, target: float, low: float, high: float, kinks: Sequence[float] = ()) -> FloatArray:
    """Return all energies between limits at which a function takes a value.

    Parameters
    ----------
    function
        Function of an array of energies.
    target
        Value.
    low, high
        Positive limits.
    kinks
        Energies where the function turns quickly: it is looked at there, too.

    Returns
    -------
    numpy.ndarray
        Ascending, shape (n,). Of a stretch on which the function is constant, its first point.

    Examples
    --------
    >>> crossings(lambda e: (e - 3.0) ** 2, 1.0, 1.0, 10.0).round(9)
    array([2., 4.])
    """
    number = max(2, int(np.ceil(DENSITY * np.log10(high / low))) + 1)
    inside = np.array([k for k in kinks if low < k < high], float)
    grid = np.union1d(np.geomspace(low, high, number), inside)
    with np.errstate(invalid="ignore"):
        sign = np.sign(function(grid) - target)
    # points that hit the value, the first of a stretch; and changes of sign between points
    hit = (sign == 0) & np.append(True, sign[:-1] != 0)
    between = np.flatnonzero(sign[:-1] * sign[1:] < 0)

    def difference(x: float) -> float:
        return float(function(np.asarray(np.exp(x)))) - target

    ends = np.log(grid)
    roots = [brentq(difference, float(ends[i]), float(ends[i + 1]), xtol=1e-14, rtol=1e-15) for i in between]
    return np.sort(np.concatenate([grid[hit], np.exp(roots)]))


def lowest(function: Function, low: float, high: float) -> float:
    """Return the energy between limits at which a function is smallest, NaN where that is at a limit or nowhere.

    Examples
    --------
    >>> round(lowest(lambda e: (e - 3.0) ** 2 + 1.0, 1.0, 10.0), 5)
    3.0
    """
    grid = np.linspace(np.log(low), np.log(high), 401)
    curve = function(np.exp(grid))
    curve = np.where(np.isfinite(curve), curve, np.inf)
    best = int(np.argmin(curve))
    flat = not curve[best] < min(curve[0], curve[-1]) * (1.0 - 1e-12)
    if best in (0, grid.size - 1) or flat:
        return float("nan")
    bounds = (float(grid[best - 1]), float(grid[best + 1]))
    found = minimize_scalar(
        lambda x: float(function(np.asarray(np.exp(x)))), bounds=bounds, method="bounded", options={"xatol": 1e-10}
    )
    return float(np.exp(found.x))
