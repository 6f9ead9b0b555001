"""How far from the best norm the statistic has risen: errors, limits and scans of `xgamma.kernels.ts_pixels`.

Importing this module imports numba.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.ts_voxels import Scratch, Voxels, below_zero, compiled

__all__ = ["distance_to", "full_rise"]

STEPS = 200

FloatArray = NDArray[np.float64]


@compiled
def _rise(number: int, distance: FloatArray, weight: FloatArray, total: float, step: float) -> tuple[float, float]:
    """Half of the rise of the statistic over a step from the best norm, and its slope, without the correction C.

    `distance` is that of the best norm from the pole of each voxel. Logarithms are taken of products of many terms.
    """
    slope, logarithm, product = total, 0.0, 1.0
    for k in range(number):
        factor = 1.0 + step / distance[k]
        slope -= weight[k] / (distance[k] + step)
        if weight[k] == 1.0 and 1e-100 < factor < 1e100:
            product *= factor
            if product > 1e200 or product < 1e-200:
                logarithm += np.log(product)
                product = 1.0
        else:
            logarithm += weight[k] * np.log(factor)
    return total * step - logarithm - np.log(product), slope


@compiled
def full_rise(
    number: int,
    distance: FloatArray,
    weight: FloatArray,
    total: float,
    best: float,
    correction: float,
    step: float,
    y: int,
    x: int,
    voxels: Voxels,
    factor: FloatArray | None,
    scale: FloatArray,
    scratch: Scratch,
    lines: int,
) -> tuple[float, float]:
    """Half of the rise of the statistic over a step from the best norm, and its slope."""
    value, slope = _rise(number, distance, weight, total, step)
    value -= correction
    if best + step < 0.0:
        below, more = below_zero(best + step, y, x, voxels, factor, scale, scratch, lines)
        value, slope = value + more, slope - below
    return value, slope


@compiled
def distance_to(
    number: int,
    distance: FloatArray,
    weight: FloatArray,
    total: float,
    best: float,
    correction: float,
    half: float,
    guess: float,
    sign: float,
    limit: float,
    y: int,
    x: int,
    voxels: Voxels,
    factor: FloatArray | None,
    scale: FloatArray,
    scratch: Scratch,
    lines: int,
) -> float:
    """Distance from the best norm at which half of the statistic has risen by `half`, up (sign 1) or down (-1).

    The rise is convex: from a point that lies too far Newton's method returns to the root without a step too far.
    `limit` is where the pole lies.
    """
    inner, d = 0.0, min(guess, 0.5 * limit)
    value = slope = 0.0
    for _ in range(STEPS):
        value, slope = full_rise(
            number, distance, weight, total, best, correction, sign * d, y, x, voxels, factor, scale, scratch, lines
        )  # fmt: skip
        if value >= half:
            break
        inner = d
        d = min(2.0 * d, 0.5 * (d + limit))
    for _ in range(STEPS):
        new = d - (value - half) / (sign * slope)
        if not new > inner:
            new = 0.5 * (inner + d)
        done = abs(new - d) <= 1e-11 * d
        d = new
        if done:
            break
        value, slope = full_rise(
            number, distance, weight, total, best, correction, sign * d, y, x, voxels, factor, scale, scratch, lines
        )  # fmt: skip
    return d
