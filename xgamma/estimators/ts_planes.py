"""TS maps of one window of cubes in memory: kernels of each zone, and the fits of each energy group."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.background.windows import Span, Window
from xgamma.kernels.convolve import convolve
from xgamma.kernels.ts_fit import Signal, TSSettings, fit_window
from xgamma.kernels.ts_psf import radial_kernel

__all__ = ["CubeSettings", "MapSettings", "WindowPart", "Zones", "ts_of_window", "window_parts", "with_halo"]

FloatArray = NDArray[np.float64]
Ranges = tuple[tuple[int, int], ...]

#: Names of masks among the arrays of a cube.
MASKS = ("mask_safe", "mask_fit", "mask")


@dataclass(frozen=True)
class Zones:
    """Rectangles of the map within which the responses are those of their middle: the same however the map is tiled.

    Attributes
    ----------
    y, x
        Edges along each axis in pixels of the array.
    """

    y: tuple[int, ...]
    x: tuple[int, ...]

    def along(self, dim: str, span: Span) -> Iterator[tuple[int, int, int]]:
        """Return number, start and stop of the parts of zones that a range of the results holds."""
        for number, (start, stop) in enumerate(itertools.pairwise(getattr(self, dim))):
            first, last = max(start, span.start), min(stop, span.stop)
            if first < last:
                yield number, first, last


@dataclass(frozen=True)
class CubeSettings:
    """What is known of a cube before anything is computed.

    Attributes
    ----------
    groups
        Energy group of each bin, -1 for none.
    flux
        Flux of the reference spectrum in each bin of true energy, or in the part of it that lies in each bin of
        energy where there is no energy dispersion; shape (true, 1 or bins).
    true_energy, psf_energy
        Centres in TeV.
    rad, rad_edges
        Separations of the point spread function and ends of their steps in deg.
    nodes
        The separations are nodes: the function is not normalised to its bins.
    irf_y, irf_x
        First and last pixel of the responses in each zone along each axis; none where responses are the same
        everywhere.
    """

    groups: tuple[int, ...]
    flux: tuple[tuple[float, ...], ...]
    true_energy: tuple[float, ...]
    psf_energy: tuple[float, ...]
    rad: tuple[float, ...]
    rad_edges: tuple[float, ...]
    nodes: bool
    irf_y: Ranges
    irf_x: Ranges


@dataclass(frozen=True, eq=False)
class MapSettings:
    """What a TS map is to be.

    Attributes
    ----------
    cubes
        The cubes.
    n_groups
        Energy groups.
    half
        Pixels of the kernel beyond its middle along (y, x).
    pixel
        Size of a pixel along (y, x) in deg.
    shape
        Shape of the source on parts of pixels, shape (odd, odd); None for a point.
    parts
        Parts of a pixel along each axis.
    at_source
        Take the exposure at the source; False takes it at the pixel of the counts.
    zones
        Where responses are taken.
    fit
        What is estimated.
    threads
        Threads among which the fits are divided.
    """

    cubes: tuple[CubeSettings, ...]
    n_groups: int
    half: tuple[int, int]
    pixel: tuple[float, float]
    shape: FloatArray | None
    parts: int
    at_source: bool
    zones: Zones
    fit: TSSettings
    threads: int = 1


@dataclass(frozen=True, eq=False)
class WindowPart:
    """One data set on one window: arrays of shape (bins, wy, wx), the exposure where it is needed."""

    counts: FloatArray
    background: FloatArray
    mask: NDArray[np.bool_]
    kernel: FloatArray
    exposure: FloatArray
    groups: NDArray[np.intp]


def ts_of_window(arrays: Mapping[str, xr.Variable], window: Window, settings: MapSettings) -> list[FloatArray]:
    """Return all maps of a window.

    Parameters
    ----------
    arrays
        In memory, the names with the number of the cube in front as ``"0:counts"``, as are their dims but y and x.
    window
        Where the maps lie, and what of the cubes the arrays are.
    settings
        See `MapSettings`.

    Returns
    -------
    list of numpy.ndarray
        Shape (groups, ny, nx) for each of ``settings.fit.names``.
    """
    y, x = window["y"], window["x"]
    results = [np.full((settings.n_groups, y.stop - y.start, x.stop - x.start), np.nan) for _ in settings.fit.names]
    for zone_y, top, bottom in settings.zones.along("y", y):
        for zone_x, left, right in settings.zones.along("x", x):
            rows, columns = with_halo(top, bottom, y, settings.half[0]), with_halo(left, right, x, settings.half[1])
            parts = [
                part
                for number in range(len(settings.cubes))
                for part in window_parts(arrays, window, settings, number, (zone_y, zone_x), (rows, columns))
            ]
            place = (slice(top - y.start, bottom - y.start), slice(left - x.start, right - x.start))
            where = None
            if "where" in arrays:
                where = np.asarray(
                    arrays["where"].values[
                        tuple(slice(r.start - s.first, r.stop - s.first) for r, s in ((rows, y), (columns, x)))
                    ]
                )
                if not where.any():
                    continue
            for group in range(settings.n_groups):
                maps = _fit(parts, group, (rows.inner, columns.inner), settings, where)
                for name, result in zip(settings.fit.names, results, strict=True):
                    result[(group, *place)] = maps[name]
    return results


def with_halo(start: int, stop: int, span: Span, half: int) -> Span:
    """Return a range of pixels with those of the kernel around it, as far as a window holds them."""
    return Span(start, stop, max(span.first, start - half), min(span.last, stop + half))


def _fit(
    parts: list[WindowPart],
    group: int,
    inner: tuple[slice, slice],
    settings: MapSettings,
    where: NDArray[np.bool_] | None,
) -> Mapping[str, FloatArray]:
    chosen = [(p, p.groups == group) for p in parts]
    counts, background, mask, kernel, exposure = (
        np.concatenate([getattr(p, name)[bins] for p, bins in chosen])
        for name in ("counts", "background", "mask", "kernel", "exposure")
    )
    signal = Signal(kernel, exposure, None) if settings.at_source else Signal(kernel, None, exposure)
    return fit_window(counts, background, mask, signal, inner, settings.fit, settings.threads, where)


def window_parts(
    arrays: Mapping[str, xr.Variable],
    window: Window,
    settings: MapSettings,
    number: int,
    zone: tuple[int, int],
    reach: tuple[Span, Span],
) -> Iterator[WindowPart]:
    """Data sets of a cube, one for each run, on the window of a zone."""
    cube = settings.cubes[number]
    names = [n.partition(":")[2] for n in arrays if n.startswith(f"{number}:")]
    given = {n: arrays[f"{number}:{n}"] for n in names}
    obs = f"{number}:obs"
    runs = max([a.sizes[obs] for a in given.values() if obs in a.dims], default=1)
    place = {d: slice(r.first - window[d].first, r.last - window[d].first) for d, r in zip("yx", reach, strict=True)}
    for axis, ranges, index in (("irf_y", cube.irf_y, zone[0]), ("irf_x", cube.irf_x, zone[1])):
        if ranges:
            dim = f"{number}:{axis}"
            place[dim] = slice(*(edge - window[dim].first for edge in ranges[index]))
    for run in range(runs):
        here = {}
        for name, array in given.items():
            here[name] = array.isel({d: s for d, s in (place | {obs: run}).items() if d in array.dims})
        yield _part(here, cube, settings, (reach[0].inner, reach[1].inner), number)


def _part(
    arrays: Mapping[str, xr.Variable],
    cube: CubeSettings,
    settings: MapSettings,
    inner: tuple[slice, slice],
    number: int,
) -> WindowPart:
    def values(name: str) -> FloatArray:
        return np.asarray(arrays[name].transpose(f"{number}:energy", "y", "x").values, dtype=float)

    counts, background = values("counts"), values("background")
    mask = np.isfinite(counts) & np.isfinite(background)
    for name in MASKS:
        if name in arrays:
            dims = [d for d in (f"{number}:energy", "y", "x") if d in arrays[name].dims]
            mask &= arrays[name].transpose(*dims).values != 0
    weights, kernel = _response(arrays, cube, settings, number)
    place = inner if settings.at_source else (slice(None), slice(None))
    true = np.asarray(arrays["exposure"].transpose(f"{number}:energy_true", "y", "x").values[(slice(None), *place)])
    exposure = _folded(weights, np.nan_to_num(true.astype(float)))
    return WindowPart(counts, background, mask, kernel, exposure, np.asarray(cube.groups))


def _response(
    arrays: Mapping[str, xr.Variable], cube: CubeSettings, settings: MapSettings, number: int
) -> tuple[FloatArray, FloatArray]:
    """Counts per exposure of each true energy in each bin, and the distribution around a source in each bin."""
    dims = {n: f"{number}:{n}" for n in ("energy_true", "energy", "irf_y", "irf_x", "rad", "psf_energy_true")}
    coarse = (dims["irf_y"], dims["irf_x"])
    weight = arrays["irf_exposure"].where(np.isfinite(arrays["irf_exposure"]), 0.0)
    weight = weight.transpose(dims["energy_true"], *(d for d in coarse if d in weight.dims))
    mean = {n: _mean(arrays[n], weight, coarse) for n in ("psf", "edisp") if n in arrays}
    flux = np.asarray(cube.flux)
    if "edisp" in mean:
        flux = flux * mean["edisp"].transpose(dims["energy_true"], dims["energy"]).values
    exposure = weight.mean([d for d in coarse if d in weight.dims]).values
    share = flux * exposure[:, None]
    total = share.sum(axis=0)
    share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    return flux, _folded(share, _true_kernels(mean.get("psf"), cube, settings, dims))


def _folded(weights: FloatArray, planes: FloatArray) -> FloatArray:
    """Sums over true energies, shape (bins, y, x): most weights are zero."""
    result = np.zeros((weights.shape[1], *planes.shape[1:]))
    for t, e in zip(*np.nonzero(weights), strict=True):
        result[e] += weights[t, e] * planes[t]
    return result


def _mean(array: xr.Variable, weight: xr.Variable, coarse: tuple[str, ...]) -> xr.Variable:
    """Mean of a response over the pixels of a zone, as the exposure weighs them."""
    over = [d for d in coarse if d in array.dims]
    if not over:
        return array
    if not all(d in weight.dims for d in over) or not set(weight.dims) <= set(array.dims):
        # a response of axes of its own: pixels without it are empty
        weight = array.copy(data=np.ones(array.shape))
    filled = array.where(np.isfinite(array), 0.0)
    number = weight.sum([d for d in over if d in weight.dims])
    total = (filled * weight).sum(over)
    return total / number.where(number > 0, 1.0)


def _true_kernels(
    psf: xr.Variable | None, cube: CubeSettings, settings: MapSettings, dims: Mapping[str, str]
) -> FloatArray:
    """Distribution around a source for each true energy, shape (true, ky, kx)."""
    shape, parts = settings.shape, settings.parts
    # all parts of the pixels of the kernel, and what the shape reaches beyond
    half = tuple(parts * h + parts // 2 for h in settings.half)
    wide = half if shape is None else tuple(h + n // 2 for h, n in zip(half, shape.shape, strict=True))
    if psf is None:
        kernel = np.zeros((len(cube.true_energy), *(2 * h + 1 for h in wide)))
        kernel[:, wide[0], wide[1]] = 1.0
    else:
        energy = dims["psf_energy_true" if dims["psf_energy_true"] in psf.dims else "energy_true"]
        values = psf.transpose(energy, dims["rad"]).values.astype(float)
        if cube.psf_energy:
            logs = np.log(cube.true_energy), np.log(cube.psf_energy)
            values = np.stack([np.interp(*logs, column) for column in values.T], axis=1)
        kernel = radial_kernel(
            values,
            np.asarray(cube.rad),
            np.asarray(cube.rad_edges),
            (wide[0], wide[1]),
            (settings.pixel[0] / parts, settings.pixel[1] / parts),
            normalise=not cube.nodes,
        )
    if shape is None:
        return kernel
    cut = tuple(slice(w - h, w + h + 1) for w, h in zip(wide, half, strict=True))
    spread = np.maximum(convolve(kernel, shape)[(slice(None), *cut)], 0.0)
    ny, nx = (2 * h + 1 for h in settings.half)
    return np.asarray(spread.reshape(-1, ny, parts, nx, parts).sum(axis=(2, 4)))
