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

from xgamma.kernels.ts_rise import distance_to, full_rise
from xgamma.kernels.ts_voxels import (
    Scratch,
    Voxels,
    below_zero,
    compiled,
    corners_between,
    fill_strip,
    gather,
    inlined,
    least,
    room,
    rows_in_reach,
)

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
def _solve(number: int, ratio: FloatArray, weight: FloatArray, total: float, lower: float, guess: float) -> float:
    """Solve ``sum(w / (r + u)) = total`` from a guess, with a lower bound of the root.

    The reciprocal of the sum is concave and rises with u: Newton's method for it runs to the root from below without a
    step too far, and from above comes below with its first step.
    """
    u = max(lower, guess)
    for _ in range(STEPS):
        value = slope = 0.0
        for k in range(number):
            t = 1.0 / (ratio[k] + u)
            value += weight[k] * t
            slope += weight[k] * t * t
        new = max(lower, u + (value - total) * value / (total * slope))
        done = abs(new - u) <= 1e-9 * new
        u = new
        if done:
            break
    return u


@inlined
def _from_pole(number: int, ratio: FloatArray, weight: FloatArray, total: float, guess: float) -> tuple[float, float]:
    """Best norm without the correction C, as distance from the pole at ``-min(ratio)``; `ratio` is counted from there.

    Two lower bounds are what each voxel alone gives, and Jensen's inequality; `guess` is a norm near the best one.
    """
    pole = least(number, ratio)
    events = mean = single = 0.0
    for k in range(number):
        events += weight[k]
        mean += weight[k] * ratio[k]
    for k in range(number):
        ratio[k] -= pole
        alone = weight[k] - total * ratio[k]
        single = alone if alone > single else single
    lower = max(single / total, events / total - (mean / events - pole))
    return _solve(number, ratio, weight, total, lower, guess + pole), pole


@inlined
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
    scratch: Scratch,
    guess: float,
) -> tuple[float, float]:
    """Best negative norm, as distance from the pole, and its correction C.

    `u` is the distance without the correction, a lower bound; `guess` is a norm near the best one.

    At a trial norm the signal below zero is known; the norm that is best with this signal left out lies on the other
    side of the best one, so that each trial moves both ends of the bracket. What corners are left between the ends
    are decided one by one: the best norm is one of them, or lies between two.
    """
    place, size = scratch.place, scratch.size
    lines = rows_in_reach(pole - u, y, x, voxels, scale, scratch)
    low, high = u, pole
    close = u < guess + pole < pole
    for k in range(1 if close else 2):
        trial = guess + pole if close else high - (0.3 if k == 0 else 0.5) * (high - low)
        below, _ = below_zero(trial - pole, y, x, voxels, factor, scale, scratch, lines)
        other = pole
        if total - below > 0.0:
            other = min(pole, _solve(number, ratio, weight, total - below, low, trial))
        if other > trial:
            low, high = trial, min(high, other)
        else:
            low, high = max(low, other), trial
    left, above, background = corners_between(
        low - pole, high - pole, y, x, voxels, factor, scale, scratch, lines
    )  # fmt: skip
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
        best = min(high, max(low, _solve(number, ratio, weight, total - above, low, low)))
    return best, -background - (best - pole) * above


@inlined
def _gain(
    number: int, ratio: FloatArray, weight: FloatArray, pole: float, u: float, room: FloatArray
) -> tuple[float, float]:
    """Sum of n log(1 + a / r) at the best norm, and the curvature there; `u` is its distance from the pole.

    `ratio` is counted from the pole, and from the best norm when this returns. Logarithms are taken of products of
    many terms, which hold voxels of up to three counts.
    """
    others = curvature = 0.0
    for k in range(number):
        distance = ratio[k] + u
        term, w = distance / (ratio[k] + pole), weight[k]
        few = 1.0 if w == 1.0 or w == 2.0 or w == 3.0 else 0.0
        others += 1.0 - few
        room[k] = (term if w == 1.0 else term * term if w == 2.0 else term * term * term) if few else 1.0
        inverse = 1.0 / distance
        curvature += w * inverse * inverse
    gain, product = 0.0, 1.0
    for k in range(number, -(-number // 8) * 8):
        room[k] = 1.0
    for k in range(0, number, 8):
        eight = ((room[k] * room[k + 1]) * (room[k + 2] * room[k + 3])) * (
            (room[k + 4] * room[k + 5]) * (room[k + 6] * room[k + 7])
        )
        if 1e-100 < eight < 1e100:
            product *= eight
            if not 1e-100 < product < 1e100:
                gain += np.log(product)
                product = 1.0
        else:
            for j in range(k, k + 8):
                gain += np.log(room[j])
    gain += np.log(product)
    for k in range(number):
        if others and room[k] == 1.0:
            gain += weight[k] * np.log((ratio[k] + u) / (ratio[k] + pole))
        ratio[k] += u
    return gain, curvature


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
    strip, scratch = room(voxels)
    ratio = scratch.ratio
    reach = 0.0
    for norm in scan:
        reach = max(reach, -norm)
    more = fits.errn.size + fits.ul.size + len(scan) > 0
    for j in range(total.shape[0]):
        if not inside[j].any():
            continue
        fill_strip(j + first[0], voxels, strip)
        scratch.parts[:] = -1
        near = below = 0.0  # norms of the neighbour, without the correction C and with it
        for i in range(total.shape[1]):
            if not inside[j, i]:
                continue
            y, x, t, scale = j + first[0], i + first[1], total[j, i], scales[j, i]
            number, weight, fits.log_null[j, i] = gather(x, voxels, strip, factor, scale, scratch)
            correction = gain = 0.0
            if number == 0:
                u, best, sigma = np.inf, lowest[j, i], np.nan
                pole = reach
            else:
                u, pole = _from_pole(number, ratio, weight, t, near)
                near = u - pole
                if u < pole:
                    u, correction = _negative(
                        number, ratio, weight, t, u, pole, y, x, voxels, factor, scale, scratch, below
                    )  # fmt: skip
                    below = u - pole
                best = u - pole
                gain, curvature = _gain(number, ratio, weight, pole, u, scratch.place)
                sigma = 1.0 / np.sqrt(curvature)
            ts = max(0.0, 2.0 * (gain - best * t - correction))
            fits.norm[j, i], fits.norm_err[j, i], fits.ts[j, i] = best, n_sigma * sigma, ts
            if not more:
                continue
            lines = rows_in_reach(pole, y, x, voxels, scale, scratch)
            if fits.errn.size:
                half = 0.5 * n_sigma**2
                if number == 0:
                    fits.errn[j, i], step = 0.0, half / t
                else:
                    step = n_sigma * sigma
                    fits.errn[j, i] = distance_to(
                        number, ratio, weight, t, best, correction, half, step, -1.0, u,
                        y, x, voxels, factor, scale, scratch, lines,
                    )  # fmt: skip
                fits.errp[j, i] = distance_to(
                    number, ratio, weight, t, best, correction, half, 1.2 * step, 1.0, np.inf,
                    y, x, voxels, factor, scale, scratch, lines,
                )  # fmt: skip
            if fits.ul.size:
                half = 0.5 * n_sigma_ul**2
                if number == 0:
                    fits.ul[j, i] = half / t
                else:
                    fits.ul[j, i] = best + distance_to(
                        number, ratio, weight, t, best, correction, half, 1.2 * n_sigma_ul * sigma, 1.0, np.inf,
                        y, x, voxels, factor, scale, scratch, lines,
                    )  # fmt: skip
            for k in range(len(scan)):
                rise = np.inf
                if scan[k] - best > -u:
                    rise, _ = full_rise(
                        number, ratio, weight, t, best, correction, scan[k] - best,
                        y, x, voxels, factor, scale, scratch, lines,
                    )  # fmt: skip
                fits.stat_scan[j, i, k] = 2.0 * rise - ts
