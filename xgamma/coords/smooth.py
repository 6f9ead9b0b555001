"""Smoothed maps."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import to_value
from xgamma.kernels.convolve import convolve

__all__ = ["smooth", "smoothing_kernel"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)

#: Radius in standard deviations at which a Gaussian kernel ends; 4e-6 of it lie outside.
GAUSS_REACH = 5.0


def smooth(obj: XarrayT, width: Any, kernel: str = "gauss", *, edge: str = "zero") -> XarrayT:
    """Smooth maps with a kernel whose sum is 1; lazy stays lazy.

    Parameters
    ----------
    obj
        Map or cube with dims y, x. Masks are left as they are.
    width
        Angle: the standard deviation of ``"gauss"``, the radius of ``"disk"``, the full width of ``"box"``.
    kernel
        One of ``"gauss"``, ``"disk"``, ``"box"``.
    edge
        What lies outside of the map and in pixels without a value (NaN). ``"zero"``: zeros, sums of inner counts are
        kept. ``"renormalise"``: nothing; each pixel is the mean over what the kernel sees, and a flat map stays flat.

    Returns
    -------
    Dataset or DataArray
        Same dims, coordinates and units. What is NaN is NaN again in the result.

    Raises
    ------
    ValueError
        If `kernel` or `edge` is not one of those above, or `width` is not a positive angle.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "0.5 deg", "0.1 deg")
    >>> point = np.zeros((5, 5))
    >>> point[2, 2] = 9.0
    >>> cube = grid.assign(counts=(("y", "x"), point, {"units": ""}))
    >>> smooth(cube, "0.3 deg", "box").counts.values[2].round(6).tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    if edge not in ("zero", "renormalise"):
        msg = f"edge={edge!r} must be 'zero' or 'renormalise'"
        raise ValueError(msg)
    pixels = smoothing_kernel(grid_of(obj), width, kernel)
    mean = edge == "renormalise"
    if isinstance(obj, xr.DataArray):
        return _smooth(obj, pixels, mean)
    smoothed = {n: _smooth(a, pixels, mean) for n, a in obj.data_vars.items() if {"y", "x"} <= set(a.dims)}
    return obj.assign(smoothed)


def smoothing_kernel(grid: SkyGrid, width: Any, kernel: str = "gauss") -> np.ndarray:
    """Return a smoothing kernel in pixels, with the pixel size at the reference point.

    Parameters
    ----------
    grid
        Sky grid of the map.
    width, kernel
        As in `smooth`.

    Returns
    -------
    numpy.ndarray
        Odd rectangle whose sum is 1.

    Examples
    --------
    >>> from xgamma.coords.frame import SkyFrame
    >>> grid = SkyGrid(SkyFrame.create(0.0, 0.0, 0.1, "TAN", "icrs"), range(9), range(9))
    >>> smoothing_kernel(grid, "0.1 deg", "disk").tolist()
    [[0.0, 0.2, 0.0], [0.2, 0.2, 0.2], [0.0, 0.2, 0.0]]
    """
    reaches = {"gauss": GAUSS_REACH, "disk": 1.0, "box": 0.5}
    if kernel not in reaches:
        msg = f"kernel={kernel!r} must be one of {sorted(reaches)}"
        raise ValueError(msg)
    size = to_value(width, "deg", "width")
    if not (isinstance(size, float) and 0 < size < np.inf):
        msg = f"width={width!r} must be one positive angle"
        raise ValueError(msg)
    # a pixel whose centre lies on the rim belongs to the kernel, whatever rounding says
    reach = reaches[kernel] * size * (1 + 1e-9)
    y, x = (np.arange(-(n := int(reach / scale)), n + 1) * scale for scale in grid.frame.binsize)
    squared = y[:, None] ** 2 + x**2
    if kernel == "gauss":
        weights = np.exp(-0.5 * squared / size**2)
    elif kernel == "disk":
        weights = (squared <= reach**2).astype(float)
    else:
        weights = np.ones(squared.shape)
    return np.asarray(weights / weights.sum())


def _smooth(array: xr.DataArray, pixels: np.ndarray, mean: bool) -> xr.DataArray:
    if array.dtype == bool:
        return array
    ordered = array.transpose(..., "y", "x")
    data = ordered.variable.data
    job = functools.partial(_smooth_values, pixels=pixels, mean=mean)
    if isinstance(data, np.ndarray):
        values: Any = job(data)
    else:
        import dask.array as da

        depth = {data.ndim - 2: pixels.shape[0] // 2, data.ndim - 1: pixels.shape[1] // 2}
        # chunks smaller than the kernel are joined by map_overlap
        # what is missing is no part of a mean
        outside = np.nan if mean else 0
        data = data.astype(_float(data.dtype))
        values = da.map_overlap(job, data, depth=depth, boundary=outside, dtype=_float(data.dtype), allow_rechunk=True)
    result = ordered.copy(data=values).transpose(*array.dims)
    return result.assign_attrs(units=array.attrs.get("units", ""))


def _float(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "f" else np.dtype(float)


def _smooth_values(values: np.ndarray, pixels: np.ndarray, mean: bool) -> np.ndarray:
    values = np.asarray(values, dtype=_float(values.dtype))
    missing = np.isnan(values)
    smoothed = convolve(np.where(missing, 0.0, values), pixels)
    if mean:
        seen = convolve((~missing).astype(float), pixels)
        smoothed = smoothed / np.where(missing, 1.0, seen)
    return np.where(missing, np.nan, smoothed).astype(values.dtype)
