"""Fits of one norm at every pixel of a map from its non-empty voxels: loops compiled by numba.

Importing this module imports numba, which takes a good part of a second: import it inside functions only. The first call
on a machine compiles for some seconds; what was compiled is kept on disk. The compiled functions hold no lock (``nogil``)
and use one thread, since several of them run beside each other in the threads of Dask.

The norm a of a signal s over a background b is fitted to counts n. Half of the Cash statistic is, without constants,

    f(a) = a T - sum_k n_k log(1 + a / r_k) + C(a),    r_k = b_k / s_k,    T = sum of s over all voxels of the window.

The sum over k runs over voxels with counts: of the empty ones a positive norm sees T alone. A negative norm may predict
less than nothing in empty voxels, which counts as nothing there: C(a) = sum of max(0, -b - a s) takes it back. Each
of these voxels is a corner of the statistic at a = -r, so that f is convex and smooth between corners.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["Fits", "Voxels", "fit_pixels"]

#: Sums may be made in any order, which lets the processor add several terms at once; infinities stay infinities.
FAST = {"reassoc", "contract", "arcp", "nsz"}
STEPS = 200
#: Passes over all voxels that narrow down a negative norm before single corners are looked at.
PASSES = 2
#: Columns of a window that share a lower bound of their background.
PART = 16

FloatArray = NDArray[np.float64]


class Voxels(NamedTuple):
    """The voxels of a window: those with counts as a list, empty ones as maps; wy, wx are the window's sides.

    Attributes
    ----------
    pointer
        First listed voxel of each pixel, shape (wy + 1, wx + 1): row y ends at ``pointer[y, wx]``.
    bins, columns, counts, background, signal
        Energy bin, column, counts, background (not zero) and factor of the signal of each voxel with counts.
    log_background
        Counts times the logarithm of their background.
    empty
        Background of empty voxels, shape (bins, wy, wx); infinite where there are counts or no measurement.
    smallest
        Least background over factor of the signal of the empty voxels in parts of `PART` columns, shape
        (bins, wy, parts).
    kernel
        Signal around a source, shape (bins, ky, kx).
    largest
        Largest element of each row of the kernel, shape (bins, ky).
    """

    pointer: NDArray[np.intp]
    bins: NDArray[np.intp]
    columns: NDArray[np.intp]
    counts: FloatArray
    background: FloatArray
    signal: FloatArray
    log_background: FloatArray
    empty: FloatArray
    smallest: FloatArray
    kernel: FloatArray
    largest: FloatArray


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


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _gather(y, x, voxels, scale, ratio, weight):  # type: ignore[no-untyped-def]
    """Collect the voxels with counts and a signal under the kernel of a pixel; returns how many."""
    ny, nx = voxels.pointer.shape[0] - 1, voxels.pointer.shape[1] - 1
    half_y, half_x = voxels.kernel.shape[1] // 2, voxels.kernel.shape[2] // 2
    left, right = max(0, x - half_x), min(nx, x + half_x + 1)
    number = 0
    log_background = 0.0
    for row in range(max(0, y - half_y), min(ny, y + half_y + 1)):
        for k in range(voxels.pointer[row, left], voxels.pointer[row, right]):
            e = voxels.bins[k]
            log_background += voxels.log_background[k]
            s = voxels.kernel[e, row - y + half_y, voxels.columns[k] - x + half_x] * scale[e] * voxels.signal[k]
            if s > 0.0:
                ratio[number] = voxels.background[k] / s
                weight[number] = voxels.counts[k]
                number += 1
    return number, log_background


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _solve(number, ratio, weight, total, u):  # type: ignore[no-untyped-def]
    """Solve ``sum(w / (r + u)) = total`` from a start left of the root.

    The reciprocal of the sum is concave and rises with u: Newton's method for it runs to the root without a step too far.
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


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _from_pole(number, ratio, weight, total):  # type: ignore[no-untyped-def]
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


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _least(voxels, e, row, left, right):  # type: ignore[no-untyped-def]
    """A lower bound of the background over factor of the empty voxels in a part of a row."""
    least = np.inf
    for k in range(left // PART, (right - 1) // PART + 1):
        least = min(least, voxels.smallest[e, row, k])
    return least


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _below_zero(norm, y, x, voxels, factor, scale):  # type: ignore[no-untyped-def]
    """Sum of the signal of empty voxels predicted negative at a negative norm, and the correction C."""
    signal = correction = 0.0
    bins, wy, wx = voxels.empty.shape
    _, ky, kx = voxels.kernel.shape
    half_y, half_x = ky // 2, kx // 2
    left, right = max(0, x - half_x), min(wx, x + half_x + 1)
    for e in range(bins):
        for row in range(max(0, y - half_y), min(wy, y + half_y + 1)):
            line = row - y + half_y
            if -norm * voxels.largest[e, line] * scale[e] <= _least(voxels, e, row, left, right):
                continue
            empty = voxels.empty[e, row, left:right]
            kernel = voxels.kernel[e, line, left - x + half_x : right - x + half_x]
            for k in range(right - left):
                s = kernel[k] * scale[e]
                if factor is not None:
                    s *= factor[e, row, left + k]
                mu = empty[k] + norm * s
                signal += s if mu < 0.0 else 0.0
                correction -= mu if mu < 0.0 else 0.0
    return signal, correction


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _corners(low, high, y, x, voxels, factor, scale, place, size):  # type: ignore[no-untyped-def]
    """Collect the corners between two negative norms; returns how many, and the signal of all that lie above."""
    above = 0.0
    number = 0
    bins, wy, wx = voxels.empty.shape
    _, ky, kx = voxels.kernel.shape
    half_y, half_x = ky // 2, kx // 2
    left, right = max(0, x - half_x), min(wx, x + half_x + 1)
    for e in range(bins):
        for row in range(max(0, y - half_y), min(wy, y + half_y + 1)):
            line = row - y + half_y
            if -low * voxels.largest[e, line] * scale[e] < _least(voxels, e, row, left, right):
                continue
            for column in range(left, right):
                s = voxels.kernel[e, line, column - x + half_x] * scale[e]
                if factor is not None:
                    s *= factor[e, row, column]
                b = voxels.empty[e, row, column]
                if s > 0.0 and b + low * s <= 0.0:
                    if b + high * s < 0.0:
                        above += s
                    else:
                        place[number], size[number] = -b / s, s
                        number += 1
    return number, above


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _negative(number, ratio, weight, total, u, pole, y, x, voxels, factor, scale, place, size):  # type: ignore[no-untyped-def]
    """Best negative norm, as distance from the pole; `u` is the one without the correction C, a lower bound.

    At a trial norm the signal below zero is known; the norm that is best with this signal left out lies on the other
    side of the best one, so that each trial moves both ends of the bracket. What corners are left between the ends
    are decided one by one: the best norm is one of them, or lies between two.
    """
    low, high = u, pole
    for k in range(PASSES):
        trial = high - (0.3 if k == 0 else 0.5) * (high - low)
        below, _ = _below_zero(trial - pole, y, x, voxels, factor, scale)
        other = pole
        if total - below > 0.0:
            other = min(pole, _solve(number, ratio, weight, total - below, u))
        if other > trial:
            low, high = trial, min(high, other)
        else:
            low, high = max(low, other), trial
    left, above = _corners(low - pole, high - pole, y, x, voxels, factor, scale, place, size)
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
            return at + pole
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
        if slope < 0.0:
            low = at + pole
        else:
            high = at + pole
        left = kept
    if total - above <= 0.0:
        return high
    return min(high, max(low, _solve(number, ratio, weight, total - above, u)))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _rise(number, distance, weight, total, step):  # type: ignore[no-untyped-def]
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


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _full_rise(number, distance, weight, total, best, correction, step, y, x, voxels, factor, scale):  # type: ignore[no-untyped-def]
    """Half of the rise of the statistic over a step from the best norm, and its slope."""
    value, slope = _rise(number, distance, weight, total, step)
    value -= correction
    if best + step < 0.0:
        below, more = _below_zero(best + step, y, x, voxels, factor, scale)
        value, slope = value + more, slope - below
    return value, slope


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _distance(
    number, distance, weight, total, best, correction, half, guess, sign, limit, y, x, voxels, factor, scale
):  # type: ignore[no-untyped-def]  # fmt: skip
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


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _most(first, voxels, inside):  # type: ignore[no-untyped-def]
    """Largest number of voxels with counts under a kernel."""
    half_y, half_x = voxels.kernel.shape[1] // 2, voxels.kernel.shape[2] // 2
    wy, wx = voxels.pointer.shape[0] - 1, voxels.pointer.shape[1] - 1
    most = 1
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            if inside[y, x]:
                x0, x1 = max(0, x + first[1] - half_x), min(wx, x + first[1] + half_x + 1)
                number = 0
                for row in range(max(0, y + first[0] - half_y), min(wy, y + first[0] + half_y + 1)):
                    number += voxels.pointer[row, x1] - voxels.pointer[row, x0]
                most = max(most, number)
    return most


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def fit_pixels(first, voxels, factor, scales, total, inside, lowest, n_sigma, n_sigma_ul, scan, fits):  # type: ignore[no-untyped-def]
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
    most = _most(first, voxels, inside)
    ratio, weight = np.empty(most), np.empty(most)
    place, size = np.empty(voxels.kernel.size), np.empty(voxels.kernel.size)
    for j in range(total.shape[0]):
        for i in range(total.shape[1]):
            if not inside[j, i]:
                continue
            y, x, t, scale = j + first[0], i + first[1], total[j, i], scales[j, i]
            number, fits.log_null[j, i] = _gather(y, x, voxels, scale, ratio, weight)
            correction = 0.0
            if number == 0:
                u, best, sigma = np.inf, lowest[j, i], np.nan
                gain = 0.0
            else:
                u, pole = _from_pole(number, ratio, weight, t)
                if u < pole:
                    u = _negative(number, ratio, weight, t, u, pole, y, x, voxels, factor, scale, place, size)
                best = u - pole
                if best < 0.0:
                    _, correction = _below_zero(best, y, x, voxels, factor, scale)
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
                    number, ratio, weight, t, best, correction, half, 1.2 * step, 1.0, np.inf, y, x, voxels, factor, scale
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
