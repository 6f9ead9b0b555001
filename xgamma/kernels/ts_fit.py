"""TS maps of one window in memory: sums over the window of each pixel, and the fits of `xgamma.kernels.ts_pixels`.

Every voxel (energy bin and pixel) of the window around a pixel enters, as far as it lies inside the map and the mask.
The signal of a source at pixel p in voxel (e, q) is ``source[e, p] * kernel[e, q - p] * voxel[e, q]``. Its sum over
the window is one convolution; only voxels with counts enter logarithms, and of most maps these are a few percent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.convolve import convolve
from xgamma.kernels.stats import TRUNCATION

if TYPE_CHECKING:
    from xgamma.kernels.ts_voxels import Voxels

__all__ = ["Signal", "TSSettings", "fit_window", "total_signal", "window_sum"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Sums of a kernel below this part of it are rounding errors.
NOISE = 1e-14
#: Maps that are always made.
ALWAYS = ("ts", "sqrt_ts", "norm", "norm_err", "stat", "stat_null", "counts", "npred", "npred_excess")
OPTIONAL = {"errn-errp": ("norm_errn", "norm_errp"), "ul": ("norm_ul",)}


@dataclass(frozen=True)
class TSSettings:
    """What is estimated at each pixel.

    Attributes
    ----------
    selection
        ``"errn-errp"``, ``"ul"``, ``"scan"``.
    n_sigma, n_sigma_ul
        Standard deviations of errors and of the upper limit.
    scan
        Norms at which the statistic is wanted.
    """

    selection: tuple[str, ...] = ()
    n_sigma: float = 1.0
    n_sigma_ul: float = 2.0
    scan: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the results, ``stat_scan_0``, ... for the norms of the scan."""
        optional = [n for what, names in OPTIONAL.items() if what in self.selection for n in names]
        return (*ALWAYS, *optional, *(f"stat_scan_{j}" for j in range(len(self.scan))))


@dataclass(frozen=True, eq=False)
class Signal:
    """Signal at norm 1 of a source at any pixel.

    Attributes
    ----------
    kernel
        Distribution around the source, shape (bins, ky, kx), odd, not negative.
    source
        Factor at the pixel of the source, shape (bins, ny, nx) of the inner rectangle; None for 1.
    voxel
        Factor at the pixel of the counts, shape (bins, wy, wx) of the window; None for 1.
    """

    kernel: FloatArray
    source: FloatArray | None
    voxel: FloatArray | None


#: A map for each name of `TSSettings.names`.
Results = dict[str, FloatArray]


def fit_window(
    counts: FloatArray,
    background: FloatArray,
    mask: BoolArray,
    signal: Signal,
    inner: tuple[slice, slice],
    settings: TSSettings,
    threads: int = 1,
    where: BoolArray | None = None,
) -> Results:
    """Fit the norm of a signal at all pixels of an inner rectangle of a window.

    Parameters
    ----------
    counts, background
        Shape (bins, wy, wx); bins are those of all energies and data sets that share a norm.
    mask
        Voxels that take part, shape (bins, wy, wx); others may hold anything.
    signal
        The signal.
    inner
        Rows and columns of the rectangle, shape (ny, nx).
    settings
        What is wanted.
    threads
        Threads among which the rows are divided.
    where
        Pixels at which to fit, shape (ny, nx); None for all.

    Returns
    -------
    dict
        Shape (ny, nx) each, NaN where no bin of the pixel is inside the mask or no signal is expected.

    Examples
    --------
    >>> counts = np.zeros((1, 5, 5))
    >>> counts[0, 2, 2] = 7
    >>> one = Signal(np.ones((1, 1, 1)), None, None)
    >>> found = fit_window(counts, counts * 0 + 1, counts >= 0, one, (slice(2, 3), slice(2, 3)), TSSettings())
    >>> found["norm"], found["ts"].round(6)
    (array([[6.]]), array([[15.242742]]))
    """
    from xgamma.kernels.ts_pixels import Fits, fit_pixels

    counts = np.where(mask, counts, 0.0)
    background = np.where(mask, np.maximum(background, 0.0), 0.0)
    total = total_signal(mask, signal, inner)
    inside = mask[(slice(None), *inner)].any(axis=0) & (total > 0)
    if where is not None:
        inside &= where
    half = signal.kernel.shape[1] // 2, signal.kernel.shape[2] // 2
    n_window, b_window = (window_sum(a.sum(axis=0), half, inner) for a in (counts, background))
    voxels = _voxels(counts, background, mask, signal)
    bins, shape = len(counts), total.shape
    scales = np.ones((*shape, bins))
    if signal.source is not None:
        scales[:] = np.moveaxis(signal.source, 0, -1)
    factor = None if signal.voxel is None else np.ascontiguousarray(signal.voxel, dtype=float)
    lowest = _lowest_norms(background, mask, signal, inner, inside & (n_window == 0))
    wanted = {"errn": "errn-errp", "errp": "errn-errp", "ul": "ul"}
    made = {
        name: np.full(shape if name not in wanted or wanted[name] in settings.selection else (0, 0), np.nan)
        for name in Fits._fields[:-1]
    }
    fits = Fits(**made, stat_scan=np.full((*shape, len(settings.scan)), np.nan))
    scan = np.asarray(settings.scan, dtype=float)

    def rows(part: slice) -> None:
        # rows of every result lie together: one layout, compiled once
        fit_pixels(
            (inner[0].start + part.start, inner[1].start), voxels, factor, scales[part], total[part], inside[part],
            lowest[part], float(settings.n_sigma), float(settings.n_sigma_ul), scan,
            Fits(*(a[part] for a in fits)),
        )  # fmt: skip

    _in_threads(rows, shape[0], threads)
    stat_null = 2.0 * (b_window - fits.log_null)
    excess = fits.norm * total
    maps = {
        "ts": fits.ts,
        "sqrt_ts": np.copysign(np.sqrt(fits.ts), fits.norm),
        "norm": fits.norm,
        "norm_err": fits.norm_err,
        "stat": stat_null - fits.ts,
        "stat_null": stat_null,
        "counts": np.where(inside, n_window, np.nan),
        "npred": b_window + excess,
        "npred_excess": excess,
        "norm_errn": fits.errn,
        "norm_errp": fits.errp,
        "norm_ul": fits.ul,
    }
    maps |= {f"stat_scan_{j}": stat_null + fits.stat_scan[..., j] for j in range(len(scan))}
    return {n: maps[n] for n in settings.names}


def _in_threads(function: Callable[[slice], None], length: int, threads: int) -> None:
    """Call a function of rows for all of them: several parts a thread, since some are harder than others."""
    if threads == 1:
        function(slice(0, length))
        return
    edges = np.linspace(0, length, min(length, 4 * threads) + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, itertools.starmap(slice, itertools.pairwise(edges.tolist()))))


def _voxels(counts: FloatArray, background: FloatArray, mask: BoolArray, signal: Signal) -> Voxels:
    """Voxels with counts sorted by row, column and bin, and maps of the others."""
    from xgamma.kernels.ts_voxels import PART, Voxels

    bins, ny, nx = counts.shape
    kernel = np.ascontiguousarray(signal.kernel, dtype=float)
    rows = np.ascontiguousarray(counts.transpose(1, 2, 0)).ravel()
    flat = np.flatnonzero(rows)
    pixel, e = np.divmod(flat, bins)
    y, x = np.divmod(pixel, nx)
    known = np.maximum(background[e, y, x], TRUNCATION)
    empty = np.where(mask & (counts == 0), background, np.inf)
    ratio = empty
    if signal.voxel is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(signal.voxel > 0, empty / signal.voxel, np.inf)
    return Voxels(
        pointer=np.searchsorted(y, np.arange(ny + 1)),
        bins=e,
        columns=x,
        counts=rows[flat],
        background=known,
        signal=np.ones(len(flat)) if signal.voxel is None else signal.voxel[e, y, x],
        log_background=rows[flat] * np.log(known),
        empty=empty,
        smallest=np.minimum.reduceat(ratio, np.arange(0, nx, PART), axis=2),
        kernel=kernel,
        flat=kernel.ravel(),
        largest=kernel.max(axis=2),
    )


def total_signal(mask: BoolArray, signal: Signal, inner: tuple[slice, slice]) -> FloatArray:
    """Sum of the signal over the window of each pixel, inside the map and the mask, shape (ny, nx)."""
    total = np.zeros([s.stop - s.start for s in inner])
    for e, kernel in enumerate(signal.kernel):
        filled = _rectangle(mask[e]) if signal.voxel is None else None
        if filled is not None:
            part = _inside(kernel, filled, inner)
        else:
            field = mask[e].astype(float) if signal.voxel is None else np.where(mask[e], signal.voxel[e], 0.0)
            part = convolve(field, kernel[::-1, ::-1])[inner]
        total += part if signal.source is None else part * signal.source[e]
    return total


def _rectangle(mask: BoolArray) -> tuple[slice, slice] | None:
    """Rows and columns of a mask that is a rectangle, as most are; None for other shapes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    place = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return place if mask[place].all() else None


def _inside(kernel: FloatArray, place: tuple[slice, slice], inner: tuple[slice, slice]) -> FloatArray:
    """Part of a kernel that lies inside a rectangle, for each pixel of the results."""
    table = np.zeros((kernel.shape[0] + 1, kernel.shape[1] + 1))
    np.cumsum(np.cumsum(kernel, axis=0), axis=1, out=table[1:, 1:])
    low, high = zip(*(_cut(k, p, s) for k, p, s in zip(kernel.shape, place, inner, strict=True)), strict=True)
    result: FloatArray = (
        table[np.ix_(high[0], high[1])] - table[np.ix_(low[0], high[1])]
        - table[np.ix_(high[0], low[1])] + table[np.ix_(low[0], low[1])]
    )  # fmt: skip
    # what is left of a difference of equal sums is no signal
    return np.where(result > NOISE * table[-1, -1], result, 0.0)


def _cut(length: int, place: slice, inner: slice) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of a kernel that lie inside a range, for each pixel."""
    corner = np.arange(inner.start, inner.stop) - length // 2
    low = np.clip(place.start - corner, 0, length)
    return low, np.maximum(low, np.clip(place.stop - corner, 0, length))


def window_sum(plane: FloatArray, half: tuple[int, int], inner: tuple[slice, slice]) -> FloatArray:
    """Sum over a rectangle around each pixel, as far as it lies inside the map.

    Parameters
    ----------
    plane
        Shape (wy, wx).
    half
        Pixels of the rectangle beyond its middle along (y, x).
    inner
        Where the sums are wanted.

    Returns
    -------
    numpy.ndarray
        Sums are made in the same order everywhere: a map in tiles has the same bits.

    Examples
    --------
    >>> window_sum(np.ones((3, 4)), (1, 1), (slice(0, 3), slice(0, 4)))
    array([[4., 6., 6., 4.],
           [6., 9., 9., 6.],
           [4., 6., 6., 4.]])
    """
    rows, columns = inner
    padded = np.pad(np.asarray(plane, dtype=float), [(h, h) for h in half])
    ny, nx = rows.stop - rows.start, columns.stop - columns.start
    lines, result = np.zeros((ny, padded.shape[1])), np.zeros((ny, nx))
    for j in range(rows.start, rows.start + 2 * half[0] + 1):
        lines += padded[j : j + ny]
    for j in range(columns.start, columns.start + 2 * half[1] + 1):
        result += lines[:, j : j + nx]
    return result


def _lowest_norms(
    background: FloatArray, mask: BoolArray, signal: Signal, inner: tuple[slice, slice], wanted: BoolArray
) -> FloatArray:
    """Lowest norm at which no voxel of the window is predicted negative, where it is wanted; NaN elsewhere."""
    result = np.full(wanted.shape, np.nan)
    _, ky, kx = signal.kernel.shape
    _, wy, wx = mask.shape
    for y, x in zip(*np.nonzero(wanted), strict=True):
        top, left = y + inner[0].start - ky // 2, x + inner[1].start - kx // 2
        here = (slice(None), slice(max(0, top), top + ky), slice(max(0, left), left + kx))
        stamp = (slice(None), slice(max(0, -top), min(ky, wy - top)), slice(max(0, -left), min(kx, wx - left)))
        shape = np.where(mask[here], signal.kernel[stamp], 0.0)
        if signal.voxel is not None:
            shape = shape * signal.voxel[here]
        if signal.source is not None:
            shape = shape * signal.source[:, y, x, None, None]
        some = shape > 0
        result[y, x] = -(background[here][some] / shape[some]).min()
    return result
