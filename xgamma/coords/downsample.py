"""Fewer, larger pixels: whole blocks of pixels become one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from astropy.wcs import WCS

from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid, grid_of

__all__ = ["downsample", "downsample_grid"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)

#: Statistics and ratios: neither their sum nor their mean is that of the larger pixel.
NOT_ADDITIVE = {"ts", "sqrt_ts", "alpha", "norm", "norm_err", "norm_ul", "norm_errn", "norm_errp", "significance"}
#: What an on-off cube needs so that its background is kept.
ON_OFF = ("counts_off", "acceptance", "acceptance_off")


def downsample(
    obj: XarrayT, factor: int | tuple[int, int], *, how: str | Mapping[str, str] | None = None, trim: bool = False
) -> XarrayT:
    """Join blocks of `factor` by `factor` pixels to one.

    Parameters
    ----------
    obj
        Map or cube with dims y, x; lazy stays lazy.
    factor
        Number of pixels that become one, or a pair (along x, along y).
    how
        ``"sum"``, ``"mean"``, ``"any"`` or ``"all"``, for all variables or by name. By default variables
        without a unit (counts, background) are summed, variables with a unit (exposure, flux) averaged,
        and masks joined by ``"any"``. NaN is left out; a block of NaN is NaN.
    trim
        Drop the last pixels where `factor` does not divide their number.

    Returns
    -------
    Dataset or DataArray
        The same variables on larger pixels, the edges of which are edges of the old ones. The
        coarse grid of the responses is kept. Further coordinates along the pixels are dropped.

    Raises
    ------
    ValueError
        If `factor` is not a whole number of at least 1 or does not divide the number of pixels, or
        a variable is a statistic (``ts``, ``alpha``, ...) and `how` does not name it.

    Notes
    -----
    In a Dataset with ``mask_safe``, what is summed is summed over the safe pixels: the larger
    pixel is safe where any of its pixels is, and unsafe counts must not enter with it. In an on-off
    cube ``acceptance_off`` becomes acceptance * counts_off / background, the rule of stacking, so
    that the background of the larger pixel is the sum of the backgrounds of its pixels.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "0.4 deg", "0.1 deg")
    >>> cube = grid.assign(counts=(("y", "x"), np.ones((4, 4)), {"units": ""}))
    >>> downsample(cube, 2).counts.values
    array([[4., 4.],
           [4., 4.]])
    """
    grid = grid_of(obj)
    factors = _check_factor(grid, factor, trim)
    if isinstance(obj, xr.DataArray):
        # a name that no coordinate has, or the Dataset would refuse it
        name = str(obj.name) if obj.name is not None and obj.name not in obj.coords else "__array__"
        rules = {name: how} if isinstance(how, str) else how
        return _downsample(obj.to_dataset(name=name), grid, factors, rules)[name].rename(obj.name)
    rules = {str(n): how for n in obj.data_vars} if isinstance(how, str) else how
    return _downsample(obj, grid, factors, rules)


def downsample_grid(grid: SkyGrid, factor: tuple[int, int]) -> SkyGrid:
    """Return the grid of larger pixels; pixels that fill no block are left out.

    Parameters
    ----------
    grid
        The grid of small pixels.
    factor
        Pixels to join along (y, x).

    Returns
    -------
    SkyGrid
        The first edges of both grids coincide. Parts of one map have a common frame afterwards if
        their first pixels differ by a multiple of `factor`.

    Examples
    --------
    >>> frame = SkyFrame.create(0.0, 0.0, 0.1, proj="CAR", frame="galactic")
    >>> downsample_grid(SkyGrid(frame, range(4), range(6)), (2, 2)).shape
    (2, 3)
    """
    header = grid.frame.header(grid.y.start, grid.x.start)
    wcs = WCS(header)
    steps = np.array([factor[1], factor[0]], dtype=float)
    wcs.wcs.pc = wcs.wcs.get_pc() * steps  # columns belong to the pixel axes
    wcs.wcs.crpix = (wcs.wcs.crpix - 0.5) / steps + 0.5
    frame, (y0, x0) = SkyFrame.from_wcs(wcs)
    ny, nx = (n // f for n, f in zip(grid.shape, factor, strict=True))
    return SkyGrid(frame, range(y0, y0 + ny), range(x0, x0 + nx))


def _check_factor(grid: SkyGrid, factor: Any, trim: bool) -> tuple[int, int]:
    """Return the factors along (y, x)."""
    pair = tuple(factor) if isinstance(factor, (tuple, list)) else (factor, factor)
    if len(pair) != 2 or any(isinstance(f, bool) or int(f) != f or f < 1 for f in pair):
        msg = f"factor={factor!r} must be a whole number of at least 1, or a pair along (x, y)"
        raise ValueError(msg)
    factors = int(pair[1]), int(pair[0])
    for dim, number, f in zip("yx", grid.shape, factors, strict=True):
        if f > number or (number % f and not trim):
            msg = f"{number} pixels along {dim!r} are not a multiple of {f}; cut the map out first or use trim=True"
            raise ValueError(msg)
    return factors


def _downsample(
    cube: xr.Dataset, grid: SkyGrid, factors: tuple[int, int], rules: Mapping[str, str] | None
) -> xr.Dataset:
    coarse = downsample_grid(grid, factors)
    shape = [n * f for n, f in zip(coarse.shape, factors, strict=True)]
    gone = [n for n, c in cube.coords.items() if {"y", "x"} & set(c.dims)] + ["wcs"]
    cube = cube.drop_vars(gone, errors="ignore").isel(y=slice(shape[0]), x=slice(shape[1]))
    safe = cube.get("mask_safe")
    methods = {n: _method(a, rules) for n, a in cube.data_vars.items() if {"y", "x"} <= set(a.dims)}
    blocks = {
        n: _join(_only_safe(cube[n], safe) if method == "sum" else cube[n], factors, method)
        for n, method in methods.items()
    }
    if all(methods.get(n) == "sum" for n in ON_OFF):
        blocks["acceptance_off"] = _acceptance_off(cube, safe, blocks, factors)
    rest = cube.drop_vars(list(blocks)).assign_coords(coarse.coords())
    data = {n: blocks.get(n, rest.get(n)) for n in cube.data_vars}
    return xr.Dataset({n: a.variable for n, a in data.items() if a is not None}, rest.coords, cube.attrs)


def _method(array: xr.DataArray, rules: Mapping[str, str] | None) -> str:
    name = str(array.name)
    if rules and name in rules:
        method = rules[name]
    elif array.dtype == bool:
        method = "any"
    elif name in NOT_ADDITIVE:
        msg = f"{name!r} does not follow from that of smaller pixels; estimate it again, or say how={{{name!r}: ...}}"
        raise ValueError(msg)
    else:
        method = "mean" if array.attrs.get("units", "") else "sum"
    if method not in ("sum", "mean", "any", "all"):
        msg = f"how={method!r} for {name!r} must be 'sum', 'mean', 'any' or 'all'"
        raise ValueError(msg)
    return method


def _only_safe(array: xr.DataArray, safe: xr.DataArray | None) -> xr.DataArray:
    if safe is None or not set(safe.dims) <= set(array.dims):
        return array
    return array.where(safe, 0).assign_attrs(array.attrs)


def _acceptance_off(
    cube: xr.Dataset, safe: xr.DataArray | None, blocks: Mapping[Any, xr.DataArray], factors: tuple[int, int]
) -> xr.DataArray:
    """Acceptance of the off counts that keeps the background: bins without off counts use the mean alpha."""
    alpha = (cube["acceptance"] / cube["acceptance_off"]).where(cube["acceptance_off"] > 0)
    background = _join(_only_safe((alpha * cube["counts_off"]).fillna(0.0), safe), factors, "sum")
    mean_alpha = _join(alpha if safe is None else alpha.where(safe), factors, "mean")
    off, on = blocks["counts_off"], blocks["acceptance"]
    result = xr.where(background > 0, on * off / background.where(background > 0), on / mean_alpha).fillna(0.0)
    return result.transpose(*cube["acceptance_off"].dims).assign_attrs(cube["acceptance_off"].attrs)


def _join(array: xr.DataArray, factors: tuple[int, int], method: str) -> xr.DataArray:
    """Reduce blocks of pixels; coordinates along them are gone before."""
    axes = array.get_axis_num(("y", "x"))
    by_axis = dict(zip(axes, factors, strict=True))
    variable = array.variable
    if variable.chunks is None:
        data = join_blocks(variable.data, by_axis, method)
    else:
        chunks = tuple(_aligned(c, by_axis[axis]) if axis in by_axis else c for axis, c in enumerate(variable.chunks))
        data = variable.data.rechunk(chunks)
        small = tuple(tuple(c // by_axis.get(axis, 1) for c in sizes) for axis, sizes in enumerate(chunks))
        dtype = join_blocks(np.ones((1,) * variable.ndim, variable.dtype), dict.fromkeys(axes, 1), method).dtype
        data = data.map_blocks(join_blocks, by_axis, method, chunks=small, dtype=dtype)
    attrs = {**array.attrs, "units": array.attrs.get("units", "")}
    return xr.DataArray(data, dims=array.dims, coords=array.coords, name=array.name, attrs=attrs)


def _aligned(chunks: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """Chunks whose limits are moved down to multiples of `factor`; none of them is empty."""
    limits = [limit // factor * factor for limit in itertools.accumulate(chunks)]
    return tuple(b - a for a, b in itertools.pairwise([0, *limits]) if b > a)


def join_blocks(values: np.ndarray, factors: Mapping[int, int], method: str) -> np.ndarray:
    """Reduce blocks of an array.

    Parameters
    ----------
    values
        Any shape.
    factors
        Number of elements that become one, by axis; each divides the length of its axis.
    method
        ``"sum"``, ``"mean"``, ``"any"`` or ``"all"``; NaN is left out, a block of NaN is NaN.

    Returns
    -------
    numpy.ndarray
        Of the type of `values` (bool for any and all, float64 for means of whole numbers), sums made
        in float64.

    Examples
    --------
    >>> join_blocks(np.array([1.0, 3.0, np.nan, 5.0]), {0: 2}, "mean")
    array([2., 5.])
    """
    shape: list[int] = []
    inner: list[int] = []
    for axis, length in enumerate(values.shape):
        factor = factors.get(axis, 1)
        shape += [length // factor, factor]
        inner.append(2 * axis + 1)
    blocks = values.reshape(shape)
    axes = tuple(inner)
    if method in ("any", "all"):
        return np.asarray(getattr(blocks.astype(bool), method)(axis=axes))
    if values.dtype.kind != "f":
        return np.asarray(blocks.sum(axis=axes) if method == "sum" else blocks.mean(axis=axes))
    valid = ~np.isnan(blocks)
    number = valid.sum(axis=axes)
    # element by element in a fixed order: numpy's own sums depend on the shape of the chunk, in the last digit
    total = np.where(np.isnan(values), 0.0, values).astype(np.float64)
    for axis, factor in factors.items():
        parts = [total[(slice(None),) * axis + (slice(i, None, factor),)] for i in range(factor)]
        total = functools.reduce(np.add, parts)
    with np.errstate(invalid="ignore"):
        result = np.where(number > 0, total if method == "sum" else total / np.maximum(number, 1), np.nan)
    return result.astype(values.dtype)
