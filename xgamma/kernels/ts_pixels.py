"""Fits of one norm at every pixel of a map from its non-empty voxels: loops compiled by numba.

Importing this module imports numba, which takes a good part of a second: import it inside functions only. The first
call on a machine compiles for some seconds; what was compiled is kept on disk. The compiled functions hold no lock
(``nogil``) and use one thread, since several of them run beside each other in the threads of Dask.

The norm a of a signal s over a background b is fitted to counts n. Half of the Cash statistic is, without constants,

    f(a) = a T - sum_k n_k log(1 + a / r_k) + C(a),    r_k = b_k / s_k,    T = sum of s over all voxels of the window.

The sum over k runs over voxels with counts: of the empty ones a positive norm sees T alone. A negative norm may predict
less than nothing in empty voxels, which counts as nothing there: C(a) = sum of max(0, -b - a s) takes it back. Each
of these voxels is a corner of the statistic at a = -r, so that f is convex and smooth between corners.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.ts_voxels import Voxels, below_zero, compiled, corners_between, gather, most_voxels

__all__ = ["Fits", "fit_pixels"]

STEPS = 200

FloatArray = NDArray[np.float64]


class Fits(NamedTuple):
    """Results at the pixels of a rectangle, shape (ny, nx); those that are not wanted have the shape (0, 0).

    Attributes
    ----------
    norm, norm_err, ts
        Best norm, its error from the curvature, and the rise of the statistic to norm zero.
    log_null
        Sum of n log b.
    errn, errp, ul
        Distances to where the statistic has risen, and the upper limit.
    stat_scan
        Rise of the statistic from norm zero to given norms, shape (ny, nx, scan).
    """

    norm: FloatArray
    norm_err: FloatArray
    ts: FloatArray
    log_null: FloatArray
    errn: FloatArray
    errp: FloatArray
    ul: FloatArray
    stat_scan: FloatArray


@compiled
def _solve(number: int, ratio: FloatArray, weight: FloatArray, total: float, u: float) -> float:
    """Solve ``sum(w / (r + u)) = total`` from a start left of the root.

    The reciprocal of the sum is concave and rises with u: Newton's method for it runs to the root without a step too
    far.
    """
    for _ in range(STEPS):
        value = slope = 0.0
        for k in range(number):
            t = 1.0 / (ratio[k] + u)
            value += weight[k] * t
            slope += weight[k] * t * t
        step = (value - total) * value / (total * slope)
        u += step
        if step <= 1e-9 * u:
            break
    return u


@compiled
def _from_pole(number: int, ratio: FloatArray, weight: FloatArray, total: float) -> tuple[float, float]:
    """Best norm without the correction C, as distance from the pole at ``-min(ratio)``; `ratio` is counted from there.

    Both starts are lower bounds: what each voxel alone gives, and Jensen's inequality.
    """
    pole = ratio[0]
    for k in range(1, number):
        pole = min(pole, ratio[k])
    events = mean = single = 0.0
    for k in range(number):
        ratio[k] -= pole
        events += weight[k]
        mean += weight[k] * ratio[k]
        single = max(single, weight[k] / total - ratio[k])
    return _solve(number, ratio, weight, total, max(single, events / total - mean / events)), pole


@compiled
def _negative(
    number: int,
    ratio: FloatArray,
    weight: FloatArray,
    total: float,
    u: float,
    pole: float,
    y: int,
    x: int,
    voxels: Voxels,
    factor: FloatArray | None,
    scale: FloatArray,
    place: FloatArray,
    size: FloatArray,
    guess: float,
) -> tuple[float, float]:
    """Best negative norm, as distance from the pole, and its correction C.

    `u` is the distance without the correction, a lower bound; `guess` is a norm near the best one.

    At a trial norm the signal below zero is known; the norm that is best with this signal left out lies on the other
    side of the best one, so that each trial moves both ends of the bracket. What corners are left between the ends
    are decided one by one: the best norm is one of them, or lies between two.
    """
    low, high = u, pole
    close = u < guess + pole < pole
    for k in range(1 if close else 2):
        trial = guess + pole if close else high - (0.3 if k == 0 else 0.5) * (high - low)
        below, _ = below_zero(trial - pole, y, x, voxels, factor, scale)
        other = pole
        if total - below > 0.0:
            other = min(pole, _solve(number, ratio, weight, total - below, low))
        if other > trial:
            low, high = trial, min(high, other)
        else:
            low, high = max(low, other), trial
    left, above, background = corners_between(low - pole, high - pole, y, x, voxels, factor, scale, place, size)
    while left > 0:
        middle = 0.5 * (low + high) - pole
        pivot = 0
        for k in range(1, left):
            if abs(place[k] - middle) < abs(place[pivot] - middle):
                pivot = k
        at = place[pivot]
        slope = total - above
        for k in range(number):
            slope -= weight[k] / (ratio[k] + (at + pole))
        here = 0.0
        for k in range(left):
            slope -= size[k] if place[k] > at else 0.0
            here += size[k] if place[k] == at else 0.0
        if slope >= 0.0 and slope - here <= 0.0:
            # those that end in this corner add nothing
            for k in range(left):
                if place[k] > at:
                    above += size[k]
                    background -= place[k] * size[k]
            return at + pole, -background - at * above
        kept = 0
        for k in range(left):
            if slope < 0.0 and place[k] > at:
                place[kept], size[kept] = place[k], size[k]
                kept += 1
            elif slope >= 0.0:
                if place[k] < at:
                    place[kept], size[kept] = place[k], size[k]
                    kept += 1
                else:
                    above += size[k]
                    background -= place[k] * size[k]
        if slope < 0.0:
            low = at + pole
        else:
            high = at + pole
        left = kept
    best = high
    if total - above > 0.0:
        best = min(high, max(low, _solve(number, ratio, weight, total - above, low)))
    return best, -background - (best - pole) * above


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
def _full_rise(
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
) -> tuple[float, float]:
    """Half of the rise of the statistic over a step from the best norm, and its slope."""
    value, slope = _rise(number, distance, weight, total, step)
    value -= correction
    if best + step < 0.0:
        below, more = below_zero(best + step, y, x, voxels, factor, scale)
        value, slope = value + more, slope - below
    return value, slope


@compiled
def _distance(
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
) -> float:
    """Distance from the best norm at which half of the statistic has risen by `half`, up (sign 1) or down (-1).

    The rise is convex: from a point that lies too far Newton's method returns to the root without a step too far.
    `limit` is where the pole lies.
    """
    inner, d = 0.0, min(guess, 0.5 * limit)
    value = slope = 0.0
    for _ in range(STEPS):
        value, slope = _full_rise(
            number, distance, weight, total, best, correction, sign * d, y, x, voxels, factor, scale
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
        value, slope = _full_rise(
            number, distance, weight, total, best, correction, sign * d, y, x, voxels, factor, scale
        )  # fmt: skip
    return d


@compiled
def fit_pixels(
    first: tuple[int, int],
    voxels: Voxels,
    factor: FloatArray | None,
    scales: FloatArray,
    total: FloatArray,
    inside: NDArray[np.bool_],
    lowest: FloatArray,
    n_sigma: float,
    n_sigma_ul: float,
    scan: FloatArray,
    fits: Fits,
) -> None:
    """Fit the norm of the signal at all pixels of an inner rectangle of a window; results are written in place.

    Parameters
    ----------
    first
        Row and column of the window at which the rectangle begins.
    voxels
        See `Voxels`.
    factor
        Factor of the signal of all voxels, shape (bins, wy, wx), or None for 1.
    scales
        Factor of the signal at the source, shape (ny, nx, bins).
    total
        Sum of the signal over the window of each pixel, shape (ny, nx).
    inside
        Pixels to fit, shape (ny, nx).
    lowest
        Norm at which the first voxel is predicted negative, for pixels without counts, shape (ny, nx).
    n_sigma, n_sigma_ul
        Standard deviations of errors and of the upper limit.
    scan
        Norms at which the statistic is wanted.
    fits
        Results, see `Fits`.
    """
    most = most_voxels(first, voxels, inside)
    ratio, weight = np.empty(most), np.empty(most)
    place, size = np.empty(voxels.kernel.size), np.empty(voxels.kernel.size)
    for j in range(total.shape[0]):
        guess = 0.0  # of the neighbour
        for i in range(total.shape[1]):
            if not inside[j, i]:
                continue
            y, x, t, scale = j + first[0], i + first[1], total[j, i], scales[j, i]
            number, fits.log_null[j, i] = gather(y, x, voxels, scale, ratio, weight)
            correction = 0.0
            if number == 0:
                u, best, sigma = np.inf, lowest[j, i], np.nan
                gain = 0.0
            else:
                u, pole = _from_pole(number, ratio, weight, t)
                if u < pole:
                    u, correction = _negative(
                        number, ratio, weight, t, u, pole, y, x, voxels, factor, scale, place, size, guess
                    )  # fmt: skip
                    guess = u - pole
                best = u - pole
                curvature = gain = 0.0
                product = 1.0
                for k in range(number):
                    step = 1.0 + best / (ratio[k] + pole)
                    ratio[k] += u
                    curvature += weight[k] / (ratio[k] * ratio[k])
                    if weight[k] == 1.0 and 1e-100 < step < 1e100:
                        product *= step
                        if product > 1e200 or product < 1e-200:
                            gain += np.log(product)
                            product = 1.0
                    else:
                        gain += weight[k] * np.log(step)
                gain += np.log(product)
                sigma = 1.0 / np.sqrt(curvature)
            ts = max(0.0, 2.0 * (gain - best * t - correction))
            fits.norm[j, i], fits.norm_err[j, i], fits.ts[j, i] = best, n_sigma * sigma, ts
            if fits.errn.size:
                half = 0.5 * n_sigma**2
                if number == 0:
                    fits.errn[j, i], step = 0.0, half / t
                else:
                    step = n_sigma * sigma
                    fits.errn[j, i] = _distance(
                        number, ratio, weight, t, best, correction, half, step, -1.0, u, y, x, voxels, factor, scale
                    )  # fmt: skip
                fits.errp[j, i] = _distance(
                    number, ratio, weight, t, best, correction, half, 1.2 * step, 1.0, np.inf,
                    y, x, voxels, factor, scale,
                )  # fmt: skip
            if fits.ul.size:
                half = 0.5 * n_sigma_ul**2
                if number == 0:
                    fits.ul[j, i] = half / t
                else:
                    fits.ul[j, i] = best + _distance(
                        number, ratio, weight, t, best, correction, half, 1.2 * n_sigma_ul * sigma, 1.0, np.inf,
                        y, x, voxels, factor, scale,
                    )  # fmt: skip
            for k in range(len(scan)):
                rise = np.inf
                if scan[k] - best > -u:
                    rise, _ = _full_rise(
                        number, ratio, weight, t, best, correction, scan[k] - best, y, x, voxels, factor, scale
                    )  # fmt: skip
                fits.stat_scan[j, i, k] = 2.0 * rise - ts
