"""Sums over discs and rings on labelled maps, also across the edges of Dask tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.coords.units import to_value
from xgamma.kernels.convolve import Annulus, convolve, tile_chunks

__all__ = ["convolve_all", "convolve_sky", "map_halo", "positive_angle", "stack_parts"]

LabelledT = TypeVar("LabelledT", xr.DataArray, xr.Variable)


def convolve_sky(array: LabelledT, ring: Annulus) -> LabelledT:
    """Sum a map over a ring or disc around each pixel; zeros outside the map.

    Parameters
    ----------
    array
        Dims (..., y, x) in any order; numbers without NaN (a NaN spreads over its plane).
    ring
        The ring, with radii and pixel size in one unit.

    Returns
    -------
    xarray.DataArray or xarray.Variable
        float64, dims (..., y, x), same chunks; lazy if `array` is lazy. Attributes are kept.

    Examples
    --------
    >>> import xarray as xr
    >>> convolve_sky(xr.DataArray([[0.0, 0.0, 1.0]], dims=("y", "x")), Annulus(0.0, 1.0)).values
    array([[0., 1., 1.]])
    """
    array = array.transpose(..., "y", "x")
    return array.copy(data=map_halo(_convolve_block, array.data, ring.depth, ring=ring))


def _convolve_block(block: np.ndarray, ring: Annulus) -> np.ndarray:
    return convolve(block, ring.kernel)


def convolve_all(arrays: list[xr.Variable], ring: Annulus) -> list[xr.Variable]:
    """Sum several maps over the same ring: as `convolve_sky` of each, with fewer tasks if they are lazy.

    Parameters
    ----------
    arrays
        Dims (..., y, x), which broadcast against each other.
    ring
        The ring, with radii and pixel size in one unit.

    Returns
    -------
    list of xarray.Variable
        float64. Lazy ones have the dims of the largest.

    Examples
    --------
    >>> import xarray as xr
    >>> first, second = convolve_all([xr.Variable(("y", "x"), [[1.0, 0.0]]), xr.Variable("x", [1, 1])], Annulus(0, 1))
    >>> first.values
    array([[1., 1.]])
    """
    if all(isinstance(a.data, np.ndarray) and {"y", "x"} <= set(a.dims) for a in arrays):
        return [convolve_sky(a, ring) for a in arrays]
    parts = convolve_sky(stack_parts(arrays), ring)
    return [parts.isel(_part=i) for i in range(len(arrays))]


def stack_parts(arrays: list[xr.Variable]) -> xr.Variable:
    """Put arrays along a first dimension ``_part``, in one chunk along it.

    Examples
    --------
    >>> import xarray as xr
    >>> stack_parts([xr.Variable(("y", "x"), [[1, 2]]), xr.Variable("x", [3, 4])]).dims
    ('_part', 'y', 'x')
    """
    dims = max((a.dims for a in arrays), key=len)
    shape = {d: a.sizes[d] for a in arrays for d in a.dims}
    parts = [a.set_dims(shape).transpose(*dims) for a in arrays]
    if all(isinstance(p.data, np.ndarray) for p in parts):
        return xr.Variable.concat(parts, "_part")
    import dask.array as da

    # one task a tile; concatenating and joining the chunks along the new dimension would take one for each part
    pairs = [item for p in parts for item in (da.asarray(p.data), dims)]
    data = da.blockwise(_stack_block, ("_part", *dims), *pairs, new_axes={"_part": len(parts)}, dtype=float)
    return xr.Variable(("_part", *dims), data)


def _stack_block(*blocks: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(b, dtype=float) for b in blocks])


def map_halo(function: Callable[..., np.ndarray], data: Any, depth: tuple[int, int], **kwargs: Any) -> Any:
    """Apply a function of planes to an array whose tiles see `depth` pixels of their neighbours.

    Parameters
    ----------
    function
        ``function(block, **kwargs)`` of the same shape, float64; what is outside its block counts as zero.
    data
        Numpy or Dask array, shape (..., ny, nx).
    depth
        Pixels that the function looks beyond an edge in y and x.
    **kwargs
        Small arguments, the same for all blocks.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        Same shape and chunks. Tiles smaller than the halo are joined for the work and split again.

    Examples
    --------
    >>> map_halo(np.negative, np.ones((1, 2)), (0, 0))
    array([[-1., -1.]])
    """
    if isinstance(data, np.ndarray):
        return function(data, **kwargs)
    import dask.array as da

    axes = (data.ndim - 2, data.ndim - 1)
    chunks = data.chunks
    tiles = {axis: tile_chunks(chunks[axis], d) for axis, d in zip(axes, depth, strict=True)}
    joined = data.rechunk(tiles)
    # along an axis of one tile there is no neighbour, and Dask would refuse a halo longer than the map
    halo = {axis: d if len(tiles[axis]) > 1 else 0 for axis, d in zip(axes, depth, strict=True)}
    meta = np.empty((0,) * data.ndim)
    if any(halo.values()):
        result = da.map_overlap(
            function, joined, depth=halo, boundary="none", dtype=float, meta=meta, allow_rechunk=False, **kwargs
        )
    else:
        result = joined.map_blocks(function, dtype=float, meta=meta, **kwargs)
    return result.rechunk({axis: chunks[axis] for axis in axes})


def positive_angle(value: Any, name: str) -> float:
    """Return an angle in degrees.

    Raises
    ------
    ValueError
        If it has no unit, is not one number, or is not positive and finite.

    Examples
    --------
    >>> positive_angle("30 arcmin", "radius")
    0.5
    """
    angle = np.asarray(to_value(value, "deg", name), dtype=float)
    if angle.ndim or not np.isfinite(angle) or angle <= 0:
        msg = f"{name}={value!r} must be one positive angle, such as '0.5 deg'"
        raise ValueError(msg)
    return float(angle)
