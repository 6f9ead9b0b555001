"""The voxels of a window, as the compiled loops of `xgamma.kernels.ts_pixels` see them.

Importing this module imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PART",
    "Scratch",
    "Strip",
    "Voxels",
    "below_zero",
    "compiled",
    "corners_between",
    "fill_strip",
    "gather",
    "inlined",
    "largest",
    "least",
    "room",
    "rows_in_reach",
]

#: Sums may be made in any order, which lets the processor add several terms at once; infinities stay infinities.
FAST = {"reassoc", "contract", "arcp", "nsz"}
#: Columns of a window that share a lower bound of their background.
PART = 16

FloatArray = NDArray[np.float64]
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """Compile a function when it is first called, and keep the result on disk."""
    return cast(FunctionT, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)(function))


def inlined(function: FunctionT) -> FunctionT:
    """Compile a function as part of those that call it.

    A call counts the references of each array that it hands over, which takes longer than loops over a few voxels.
    """
    options: dict[str, Any] = {"inline": "always", "error_model": "numpy", "fastmath": FAST}
    return cast(FunctionT, numba.njit(nogil=True, **options)(function))


def several(function: FunctionT) -> FunctionT:
    """Compile a function of values none of which is NaN: the processor then compares several at once."""
    options = FAST | {"nnan"}
    return cast(FunctionT, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=options)(function))


@several
def least(number: int, values: FloatArray) -> float:
    """Return the least value."""
    result = values[0]
    for k in range(number):
        result = values[k] if values[k] < result else result
    return result


@several
def largest(number: int, values: FloatArray) -> float:
    """Return the largest."""
    result = values[0]
    for k in range(number):
        result = values[k] if values[k] > result else result
    return result


class Voxels(NamedTuple):
    """The voxels of a window: those with counts as a list, empty ones as maps; wy, wx are the window's sides.

    Attributes
    ----------
    pointer
        First listed voxel of each row of pixels, shape (wy + 1,).
    bins, columns, counts, background, signal
        Energy bin, column, counts, background (not zero) and factor of the signal of each voxel with counts.
    log_background
        Counts times the logarithm of their background.
    empty
        Background of empty voxels, shape (bins, wy, wx); infinite where there are counts or no measurement.
    smallest
        Least background over factor of the signal of the empty voxels in parts of `PART` columns, shape
        (bins, wy, parts).
    kernel, flat
        Signal around a source, shape (bins, ky, kx), and the same in one row.
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
    flat: FloatArray
    largest: FloatArray


class Strip(NamedTuple):
    """The voxels with counts in the rows under the kernel of a row of pixels, sorted by column, row and bin.

    Those of a pixel lie together, and the loops over them run without a jump.

    Attributes
    ----------
    start
        First voxel of each column, shape (wx + 1,).
    place
        Element of the flat kernel, counted from that of a source in column 0.
    bins, counts, background, signal, log_background
        As of `Voxels`.
    """

    start: NDArray[np.intp]
    place: NDArray[np.intp]
    bins: NDArray[np.intp]
    counts: FloatArray
    background: FloatArray
    signal: FloatArray
    log_background: FloatArray


class Scratch(NamedTuple):
    """Room for one pixel.

    Attributes
    ----------
    ratio, weight
        Background over signal, and counts, of voxels with counts and a signal.
    place, size
        Corners, and the signal of their voxels.
    bins, rows, reach
        Rows of the window with empty voxels that a negative norm may predict negative: energy bin, row, and the
        least absolute value of such a norm.
    bound, least
        The same of all rows under the kernel and of all bins, without the factor of the source, shapes (bins, ky) and
        (bins,); for the parts of columns from ``parts[0]`` to ``parts[1]``.
    """

    ratio: FloatArray
    weight: FloatArray
    place: FloatArray
    size: FloatArray
    bins: NDArray[np.intp]
    rows: NDArray[np.intp]
    reach: FloatArray
    bound: FloatArray
    least: FloatArray
    parts: NDArray[np.intp]


@compiled
def room(voxels: Voxels) -> tuple[Strip, Scratch]:
    """Allocate what the pixels of a window need, one after the other."""
    bins, ky, kx = voxels.kernel.shape
    wy, wx = voxels.empty.shape[1:]
    most = 0
    for y in range(wy):
        most = max(most, voxels.pointer[min(wy, y + ky // 2 + 1)] - voxels.pointer[max(0, y - ky // 2)])
    strip = Strip(
        np.zeros(wx + 2, np.intp), np.empty(most, np.intp), np.empty(most, np.intp),
        np.empty(most), np.empty(most), np.empty(most), np.empty(most),
    )  # fmt: skip
    # logarithms take eight at a time
    scratch = Scratch(
        np.empty(most), np.empty(most), np.empty(max(bins * ky * kx, most + 8)), np.empty(bins * ky * kx),
        np.empty(bins * ky, np.intp), np.empty(bins * ky, np.intp), np.empty(bins * ky),
        np.empty((bins, ky)), np.empty(bins), np.empty(2, np.intp),
    )  # fmt: skip
    return strip, scratch


@compiled
def fill_strip(y: int, voxels: Voxels, strip: Strip) -> None:
    """Collect the voxels of a row of pixels."""
    _, ky, kx = voxels.kernel.shape
    first = max(0, y - ky // 2)
    last = min(voxels.empty.shape[1], y + ky // 2 + 1)
    # where each column begins; one element ahead, so that it is right when all have been placed
    strip.start[:] = 0
    for k in range(voxels.pointer[first], voxels.pointer[last]):
        strip.start[voxels.columns[k] + 2] += 1
    for column in range(2, len(strip.start)):
        strip.start[column] += strip.start[column - 1]
    for row in range(first, last):
        for k in range(voxels.pointer[row], voxels.pointer[row + 1]):
            e, column = voxels.bins[k], voxels.columns[k]
            n = strip.start[column + 1]
            strip.start[column + 1] += 1
            strip.place[n] = (e * ky + row - y + ky // 2) * kx + column + kx // 2
            strip.bins[n], strip.counts[n], strip.background[n] = e, voxels.counts[k], voxels.background[k]
            strip.signal[n], strip.log_background[n] = voxels.signal[k], voxels.log_background[k]


@inlined
def _ratios(
    background: FloatArray, place: NDArray[np.intp], bins: NDArray[np.intp], flat: FloatArray, scale: FloatArray,
    x: int, ratio: FloatArray,
) -> None:  # fmt: skip
    """Background over signal. Arrays are arguments of their own: of those in a tuple the compiler makes slow loops."""
    for k in range(len(place)):
        ratio[k] = background[k] / (flat[np.uintp(place[k] - x)] * scale[np.uintp(bins[k])])


@inlined
def _sum(values: FloatArray) -> float:
    result = 0.0
    for k in range(len(values)):
        result += values[k]
    return result


@inlined
def gather(
    x: int, voxels: Voxels, strip: Strip, factor: FloatArray | None, scale: FloatArray, scratch: Scratch
) -> tuple[int, FloatArray, float]:
    """Collect the voxels with counts and a signal under the kernel of a pixel; returns how many, and their counts."""
    wx, half = voxels.empty.shape[2], voxels.kernel.shape[2] // 2
    here = slice(strip.start[max(0, x - half)], strip.start[min(wx, x + half + 1)])
    weight, ratio = strip.counts[here], scratch.ratio
    number = len(weight)
    _ratios(strip.background[here], strip.place[here], strip.bins[here], voxels.flat, scale, x, ratio)
    if factor is not None:
        for k in range(number):
            ratio[k] /= strip.signal[here.start + k]
    log_background = _sum(strip.log_background[here])
    if number and not (least(number, ratio) > 0.0 and largest(number, ratio) < np.inf):
        kept = 0
        for k in range(number):
            if 0.0 < ratio[k] < np.inf:
                ratio[kept], scratch.weight[kept] = ratio[k], weight[k]
                kept += 1
        number, weight = kept, scratch.weight
    return number, weight, log_background


@compiled
def _bounds(y: int, first: int, last: int, voxels: Voxels, scratch: Scratch) -> None:
    """Fill `Scratch.bound` and `Scratch.least`."""
    bins, ky, _ = voxels.kernel.shape
    for e in range(bins):
        lowest = np.inf
        for line in range(ky):
            row = y + line - ky // 2
            bound = np.inf
            if 0 <= row < voxels.empty.shape[1] and voxels.largest[e, line] > 0.0:
                for k in range(first, last + 1):
                    bound = min(bound, voxels.smallest[e, row, k] / voxels.largest[e, line])
            scratch.bound[e, line] = bound
            lowest = min(lowest, bound)
        scratch.least[e] = lowest
    scratch.parts[0], scratch.parts[1] = first, last


@inlined
def rows_in_reach(limit: float, y: int, x: int, voxels: Voxels, scale: FloatArray, scratch: Scratch) -> int:
    """Collect rows of the window that hold empty voxels predicted negative at norms above `-limit`; how many."""
    bins, ky, kx = voxels.kernel.shape
    first, last = max(0, x - kx // 2) // PART, (min(voxels.empty.shape[2], x + kx // 2 + 1) - 1) // PART
    if first != scratch.parts[0] or last != scratch.parts[1]:
        _bounds(y, first, last, voxels, scratch)
    number = 0
    for e in range(bins):
        most = limit * scale[e]
        if most <= scratch.least[e]:
            continue
        for line in range(ky):
            if most > scratch.bound[e, line]:
                scratch.bins[number], scratch.rows[number] = e, y + line - ky // 2
                scratch.reach[number] = scratch.bound[e, line] / scale[e]
                number += 1
    return number


@compiled
def below_zero(
    norm: float, y: int, x: int, voxels: Voxels, factor: FloatArray | None, scale: FloatArray, scratch: Scratch,
    lines: int,
) -> tuple[float, float]:  # fmt: skip
    """Sum of the signal of empty voxels predicted negative at a negative norm, and the correction C."""
    signal = correction = 0.0
    wx = voxels.empty.shape[2]
    _, ky, kx = voxels.kernel.shape
    half_y, half_x = ky // 2, kx // 2
    left, right = max(0, x - half_x), min(wx, x + half_x + 1)
    for number in range(lines):
        if -norm <= scratch.reach[number]:
            continue
        e, row = scratch.bins[number], scratch.rows[number]
        empty = voxels.empty[e, row, left:right]
        kernel = voxels.kernel[e, row - y + half_y, left - x + half_x : right - x + half_x]
        for k in range(right - left):
            s = kernel[k] * scale[e]
            if factor is not None:
                s *= factor[e, row, left + k]
            mu = empty[k] + norm * s
            signal += s if mu < 0.0 else 0.0
            correction -= mu if mu < 0.0 else 0.0
    return signal, correction


@compiled
def corners_between(
    low: float, high: float, y: int, x: int, voxels: Voxels, factor: FloatArray | None, scale: FloatArray,
    scratch: Scratch, lines: int,
) -> tuple[int, float, float]:  # fmt: skip
    """Collect the corners between two negative norms; returns how many, and signal and background of all above."""
    above = background = 0.0
    number = 0
    wx = voxels.empty.shape[2]
    _, ky, kx = voxels.kernel.shape
    half_y, half_x = ky // 2, kx // 2
    left, right = max(0, x - half_x), min(wx, x + half_x + 1)
    for line in range(lines):
        if -low < scratch.reach[line]:
            continue
        e, row = scratch.bins[line], scratch.rows[line]
        for column in range(left, right):
            s = voxels.kernel[e, row - y + half_y, column - x + half_x] * scale[e]
            if factor is not None:
                s *= factor[e, row, column]
            b = voxels.empty[e, row, column]
            if s > 0.0 and b + low * s <= 0.0:
                if b + high * s < 0.0:
                    above += s
                    background += b
                else:
                    scratch.place[number], scratch.size[number] = -b / s, s
                    number += 1
    return number, above, background
