"""The voxels of a window, as the compiled loops of `xgamma.kernels.ts_pixels` see them.

Importing this module imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["PART", "Voxels", "below_zero", "compiled", "corners_between", "gather", "most_voxels"]

#: Sums may be made in any order, which lets the processor add several terms at once; infinities stay infinities.
FAST = {"reassoc", "contract", "arcp", "nsz"}
#: Columns of a window that share a lower bound of their background.
PART = 16

FloatArray = NDArray[np.float64]
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """Compile a function when it is first called, and keep the result on disk."""
    return cast(FunctionT, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)(function))


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


@compiled
def gather(
    y: int, x: int, voxels: Voxels, scale: FloatArray, ratio: FloatArray, weight: FloatArray
) -> tuple[int, float]:
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


@compiled
def _least(voxels: Voxels, e: int, row: int, left: int, right: int) -> float:
    """A lower bound of the background over factor of the empty voxels in a part of a row."""
    least = np.inf
    for k in range(left // PART, (right - 1) // PART + 1):
        least = min(least, voxels.smallest[e, row, k])
    return least


@compiled
def below_zero(
    norm: float, y: int, x: int, voxels: Voxels, factor: FloatArray | None, scale: FloatArray
) -> tuple[float, float]:
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


@compiled
def corners_between(
    low: float,
    high: float,
    y: int,
    x: int,
    voxels: Voxels,
    factor: FloatArray | None,
    scale: FloatArray,
    place: FloatArray,
    size: FloatArray,
) -> tuple[int, float, float]:
    """Collect the corners between two negative norms; returns how many, and signal and background of all above."""
    above = background = 0.0
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
                        background += b
                    else:
                        place[number], size[number] = -b / s, s
                        number += 1
    return number, above, background


@compiled
def most_voxels(first: tuple[int, int], voxels: Voxels, inside: NDArray[np.bool_]) -> int:
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
