"""Adaptive smoothing: each pixel with the smallest kernel under which it is significant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.background.windows import Span, Window, map_windows, sky_chunks, spans, split_again, tile_sizes
from xgamma.coords.bins import axis_of, bin_axis
from xgamma.coords.energy_groups import energy_groups
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import grid_of
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.estimators.reference import power_law_flux, reference_counts
from xgamma.kernels.convolve import convolve, disc_kernel
from xgamma.kernels.stats import cash_excess

__all__ = ["adaptive_smooth"]

FloatArray = NDArray[np.float64]

METHODS = ("lima", "asmooth")
KERNELS = ("gauss", "disk")
MASKS = ("mask_safe", "mask_fit")
#: Standard deviations at which a Gaussian is cut off.
TRUNCATE = 4.0
LABELS = {
    "counts": ("", "Smoothed counts"),
    "background": ("", "Smoothed background counts"),
    "excess": ("", "Smoothed excess counts"),
    "sqrt_ts": ("", "Significance"),
    "scale": ("deg", "Smoothing scale"),
    "flux": ("cm-2 s-1", "Flux"),
}


@dataclass(frozen=True)
class _Settings:
    scales: tuple[float, ...]
    kernel: str
    method: str
    threshold: float
    pixel: tuple[float, float]
    groups: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    flux: tuple[float, ...]

    def weights(self, scale: float) -> FloatArray:
        """Kernel with 1 in the middle."""
        if self.kernel == "disk":
            return disc_kernel(scale, self.pixel)
        y, x = (np.arange(-(n := math.ceil(TRUNCATE * scale / p)), n + 1) * p for p in self.pixel)
        return np.asarray(np.exp(-0.5 * (y[:, None] ** 2 + x**2) / scale**2))

    @property
    def depth(self) -> tuple[int, int]:
        """Pixels that the widest kernel looks beyond an edge."""
        height, width = self.weights(self.scales[-1]).shape
        return height // 2, width // 2


def adaptive_smooth(
    cube: xr.Dataset,
    scales: Any = None,
    *,
    kernel: str = "gauss",
    method: str = "lima",
    threshold: float = 5.0,
    energy_edges: Any = None,
    index: float = 2.0,
) -> xr.Dataset:
    """Smooth each pixel with the smallest kernel under which its excess is significant.

    Parameters
    ----------
    cube
        ``counts`` and ``background``, dims (energy, y, x), and where present ``mask_safe``, ``mask_fit`` and
        ``exposure``.
    scales
        Widths of the kernels, ascending angles, shape (n,); by default 9 from two pixels on, each a root of two wider.
    kernel
        ``"gauss"``, whose scale is its standard deviation, cut off at four of them; or ``"disk"``, whose scale is its
        radius.
    method
        ``"lima"`` takes the significance of the weighted counts n over the background b from the Cash statistic,
        ``"asmooth"`` takes ``(n - b) / sqrt(n + b)``.
    threshold
        Significance from which a kernel is wide enough.
    energy_edges
        Edges of the energy groups; by default one group of all bins.
    index
        Index of the power law with which the exposure is averaged, for the flux.

    Returns
    -------
    xarray.Dataset
        Dims (energy, y, x), lazy if the cube is: ``counts``, ``background`` and ``excess`` per pixel, ``sqrt_ts``,
        ``scale``, and ``flux`` where the cube has an exposure. Where no scale reaches the threshold, counts,
        background, excess and flux are those of the widest kernel, ``scale`` and ``sqrt_ts`` are NaN. NaN
        outside the masks.

    Raises
    ------
    ValueError
        If a variable is missing, scales do not ascend, reach beyond the map, or an argument is not known.

    Notes
    -----
    Kernels have a maximum of 1, so that n and b are weighted sums of counts; maps are these sums divided by the sum of
    the kernel inside map and masks. Weighted counts are not Poisson distributed under a Gaussian: significances are
    exact for ``kernel="disk"`` only, and in both cases the smallest of several scales is chosen by them.

    References
    ----------
    H. Ebeling, D. A. White, F. V. N. Rangarajan, MNRAS 368, 65 (2006).

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "2.1 deg", "0.1 deg", energy=energy)
    >>> cube["background"] = ("energy", "y", "x"), np.ones((1, 21, 21))
    >>> cube["counts"] = cube.background.copy()
    >>> cube.counts[0, 10, 10] = 30
    >>> maps = adaptive_smooth(cube, ["0.1 deg", "0.2 deg"], kernel="disk")
    >>> maps.counts.values[0, 10, 10].round(3), maps.scale.values[0, 10, 9:14]
    (np.float64(6.8), array([0.1, 0.1, 0.1, 0.2, nan]))
    """
    missing = [n for n in ("counts", "background") if n not in cube]
    if missing:
        msg = f"adaptive smoothing needs counts and background; {missing} are missing"
        raise ValueError(msg)
    if set(cube["counts"].dims) != {"energy", "y", "x"}:
        msg = f"the counts have the dims {cube['counts'].dims}, not (energy, y, x); stack runs first"
        raise ValueError(msg)
    for name, value, known in (("kernel", kernel, KERNELS), ("method", method, METHODS)):
        if value not in known:
            msg = f"{name}={value!r} must be one of {list(known)}"
            raise ValueError(msg)
    if isinstance(threshold, bool) or not np.isfinite(threshold):
        msg = f"threshold={threshold!r} must be a number of standard deviations"
        raise ValueError(msg)
    slices, axis = _groups(cube, energy_edges)
    scaled = "exposure" in cube
    lo, hi = (axis[f"energy_{end}"].values for end in ("min", "max"))
    settings = _Settings(
        scales=_scales(scales, cube),
        kernel=kernel,
        method=method,
        threshold=float(threshold),
        pixel=pixel_scale(cube),
        groups=tuple((g.start, g.stop) for g in slices),
        names=tuple(n for n in LABELS if scaled or n != "flux"),
        flux=tuple(power_law_flux(lo, hi, index).tolist()) if scaled else (),
    )
    arrays = {n: cube[n].variable.transpose("energy", "y", "x") for n in ("counts", "background")}
    arrays |= {n: cube[n].variable for n in MASKS if n in cube}
    if scaled:
        arrays["expected"] = reference_counts(cube, index)
    arrays = {n: _renamed(a) for n, a in arrays.items()}
    tiles = tile_sizes(sky_chunks(arrays.values()), settings.depth, 8.0 * (6 * len(slices) + 4 * cube.sizes["energy"]))
    plan: dict[str, tuple[Span, ...]] = {"energy": (Span(0, len(slices), 0, len(slices)),)}
    plan |= {d: spans(s, n) for d, s, n in zip(("y", "x"), tiles, settings.depth, strict=True)}
    number = cube.sizes["energy"]
    maps = map_windows(
        _smooth_window, arrays, settings.names, plan, {"bin": lambda _: Span(0, number, 0, number)}, settings=settings
    )
    maps = split_again(maps, sky_chunks(arrays.values()))
    result = xr.Dataset(coords=grid_of(cube).coords()).assign_coords(axis.coords)
    for name, array in maps.items():
        result[name] = xr.Variable(array.dims, array.data, canonical_attrs(*LABELS[name]))
    result.attrs = {"kernel": kernel, "method": method, "threshold": float(threshold)}
    return result


def _renamed(array: xr.Variable) -> xr.Variable:
    return xr.Variable(["bin" if d == "energy" else d for d in array.dims], array.data)


def _groups(cube: xr.Dataset, edges: Any) -> tuple[list[slice], xr.DataArray]:
    if edges is not None:
        return energy_groups(cube, edges)
    axis = axis_of(cube, "energy")
    ends = axis["energy_min"].values[:1], axis["energy_max"].values[-1:]
    interp = axis["energy"].attrs.get("interp", "log")
    return [slice(0, axis.sizes["energy"])], bin_axis("energy", *ends, "TeV", interp, long_name="Energy")


def _scales(scales: Any, cube: xr.Dataset) -> tuple[float, ...]:
    pixel = pixel_scale(cube)
    if scales is None:
        values = 2.0 * max(pixel) * np.sqrt(2.0) ** np.arange(9)
        # as many as the map has room for
        values = values[values <= 0.25 * min(n * p for n, p in zip(grid_of(cube).shape, pixel, strict=True))]
    else:
        values = np.atleast_1d(np.asarray(to_value(scales, "deg", "scales"), dtype=float))
    if not values.size or not np.isfinite(values).all() or (values <= 0).any() or (np.diff(values) <= 0).any():
        msg = f"scales={scales!r} must be positive ascending angles, such as ['0.1 deg', '0.2 deg'], within the map"
        raise ValueError(msg)
    size = max(n * p for n, p in zip(grid_of(cube).shape, pixel, strict=True))
    if values[-1] > size:
        msg = f"the largest scale of {values[-1]:g} deg is wider than the map of {size:g} deg"
        raise ValueError(msg)
    return tuple(values.tolist())


def _smooth_window(arrays: Mapping[str, xr.Variable], window: Window, settings: _Settings) -> list[FloatArray]:
    inner = (window["y"].inner, window["x"].inner)
    dims = ("bin", "y", "x")
    counts, background = (arrays[n].transpose(*dims).values.astype(float) for n in ("counts", "background"))
    mask = np.isfinite(counts) & np.isfinite(background)
    for name in MASKS:
        if name in arrays:
            mask &= arrays[name].transpose(*(d for d in dims if d in arrays[name].dims)).values != 0
    planes = {"counts": counts, "background": background}
    if "expected" in arrays:
        planes["expected"] = arrays["expected"].transpose(*dims).values.astype(float)
    found = []
    for number, (start, stop) in enumerate(settings.groups):
        group = mask[start:stop]
        sums = {n: np.where(group, p[start:stop], 0.0).sum(axis=0) for n, p in planes.items()}
        found.append(_smooth(sums, group.any(axis=0), inner, settings, number))
    return [np.stack([f[n] for f in found]) for n in settings.names]


def _smooth(
    sums: Mapping[str, FloatArray],
    inside: NDArray[np.bool_],
    inner: tuple[slice, slice],
    settings: _Settings,
    number: int,
) -> dict[str, FloatArray]:
    """Maps of one energy group."""
    here = inside[inner]
    result = {n: np.full(here.shape, np.nan) for n in (*sums, "sqrt_ts", "scale")}
    open_ = here.copy()
    for scale in settings.scales:
        kernel = settings.weights(scale)
        area = convolve(inside, kernel)[inner]
        parts = {n: convolve(p, kernel)[inner] for n, p in sums.items()}
        n, b = np.maximum(parts["counts"][open_], 0.0), np.maximum(parts["background"][open_], 0.0)
        significance = np.full(here.shape, np.nan)
        significance[open_] = _significance(n, b, settings.method)
        chosen = open_ & (significance > settings.threshold)
        last = scale == settings.scales[-1]
        for name in sums:
            take = open_ if last else chosen
            result[name][take] = parts[name][take] / area[take]
        result["sqrt_ts"][chosen], result["scale"][chosen] = significance[chosen], scale
        open_ &= ~chosen
    result["excess"] = result["counts"] - result["background"]
    if settings.flux:
        expected = result["expected"]
        ratio = np.divide(result["excess"], expected, out=np.full(here.shape, np.nan), where=expected > 0)
        result["flux"] = settings.flux[number] * ratio
    return result


def _significance(n: FloatArray, b: FloatArray, method: str) -> FloatArray:
    if method == "lima":
        return np.asarray(cash_excess(n, b).sqrt_ts)
    total = n + b
    return np.divide(n - b, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
