"""Grids: the coordinates that a cube is reduced onto, and what follows from them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.bins import bin_axis, rename_axis
from xgamma.coords.frame import SkyFrame, check_frame, pixel_solid_angle
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import angle_pair
from xgamma.kernels.sphere import separation as vector_separation
from xgamma.kernels.sphere import to_vectors

__all__ = ["pixel_scale", "region_grid", "separation", "sky_grid", "solid_angle"]

#: Size in bytes of one float64 cube above which `sky_grid` says what it would take in memory.
LARGE_CUBE = 64 * 2**30
#: Longest side in pixels: beyond it even the pixel numbers are a burden.
LONGEST_SIDE = 20_000_000


def sky_grid(
    center: SkyCoord,
    width: Any,
    binsize: Any = "0.02 deg",
    *,
    frame: str | None = None,
    proj: str = "CAR",
    energy: xr.DataArray | None = None,
    energy_true: xr.DataArray | None = None,
    rad: xr.DataArray | None = None,
    irf_binsize: Any = "0.2 deg",
) -> xr.Dataset:
    """Build the coordinates of a sky cube.

    Parameters
    ----------
    center
        Position of the middle of the map, which is also the reference point of its projection.
    width
        Size on the sky, an angle or a pair (along longitude, along latitude); the number of pixels
        is the size over `binsize`, rounded.
    binsize
        Pixel size at the centre, an angle or a pair.
    frame
        ``"icrs"``, ``"galactic"`` or ``"fk5"``; by default the frame of `center`.
    proj
        FITS code of the projection (``"CAR"``, ``"TAN"``, ``"AIT"``, ``"ZEA"``, ...).
    energy, energy_true
        Axes of reconstructed and true energy, from `energy_axis`.
    rad
        Axis of the PSF, dims (rad,), degrees; 66 bins from 0 to 0.66 deg by default.
    irf_binsize
        Pixel size of the coarse grid on which PSF and energy dispersion are kept.

    Returns
    -------
    xarray.Dataset
        Coordinates only: ``y``, ``x``, ``lon``, ``lat``, ``wcs``, the same with prefix ``irf_``,
        and the axes given.

    Raises
    ------
    ValueError
        If an angle has no unit or is not positive, the map has no pixel, or the projection
        is not known.

    Warns
    -----
    UserWarning
        If one variable on this grid takes more than 64 GiB in memory; it can still be used lazily.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> grid = sky_grid(SkyCoord(83.63, 22.01, unit="deg"), width="3 deg", binsize="0.02 deg")
    >>> grid.sizes["y"], grid.sizes["x"]
    (150, 150)
    """
    if not isinstance(center, SkyCoord) or not center.isscalar:
        msg = f"center={center!r} must be one astropy SkyCoord"
        raise TypeError(msg)
    frame = str(center.frame.name) if frame is None else frame
    check_frame(frame)
    size_x, size_y = angle_pair(binsize, "binsize")
    width_x, width_y = angle_pair(width, "width")
    nx, ny = (_number(w, s) for w, s in ((width_x, size_x), (width_y, size_y)))
    axes = _axes(energy, energy_true, rad)
    planes = max(axes[n].size if n in axes else 1 for n in ("energy", "energy_true"))
    _check_size((planes, ny, nx))
    position = center.transform_to(frame).spherical
    lon, lat = position.lon.deg, position.lat.deg
    sky = _centred_grid(lon, lat, (ny, nx), (size_x, size_y), proj, frame)
    if sky.frame.period is not None and nx >= sky.frame.period + 1:
        msg = f"width={width!r} is wider than the sky: a {proj} map would show parts of it twice"
        raise ValueError(msg)
    coords = sky.coords()
    irf_x, irf_y = angle_pair(irf_binsize, "irf_binsize")
    # rounding first: 3 deg / 0.2 deg must be 15 pixels and not 16
    irf_shape = tuple(
        max(1, int(np.ceil(round(n * s / i, 6)))) for n, s, i in ((ny, size_y, irf_y), (nx, size_x, irf_x))
    )
    coords = coords.assign(_centred_grid(lon, lat, irf_shape, (irf_x, irf_y), proj, frame).coords("irf_"))
    for axis in axes.values():
        coords = coords.assign(axis.coords)
    return xr.Dataset(coords=coords)


def _number(width: float, size: float) -> int:
    number = round(width / size)
    if number < 1:
        msg = f"a width of {width:g} deg holds no pixel of {size:g} deg; make it larger or the binsize smaller"
        raise ValueError(msg)
    return int(number)


def _centred_grid(
    lon: float, lat: float, shape: tuple[int, ...], size: tuple[float, float], proj: str, frame: str
) -> SkyGrid:
    """Grid whose middle is the reference point: between two pixels where their number is even."""
    crpix = ((shape[1] + 1) / 2, (shape[0] + 1) / 2)
    sky_frame, (y0, x0) = SkyFrame.centred(lon, lat, size, proj, frame, crpix)
    return SkyGrid(sky_frame, range(y0, y0 + shape[0]), range(x0, x0 + shape[1]))


def _axes(
    energy: xr.DataArray | None, energy_true: xr.DataArray | None, rad: xr.DataArray | None
) -> dict[str, xr.DataArray]:
    axes = {}
    for name, axis in (("energy", energy), ("energy_true", energy_true)):
        if axis is None:
            continue
        if f"{getattr(axis, 'name', None)}_min" not in getattr(axis, "coords", ()):
            msg = f"{name} must be an axis from xgamma.energy_axis, not {type(axis).__name__}"
            raise TypeError(msg)
        axes[name] = _alone(rename_axis(axis, name), name)
    if rad is not None:
        axes["rad"] = _alone(rename_axis(rad, "rad"), "rad")
    elif energy_true is not None:
        edges = np.linspace(0.0, 0.66, 67)
        axes["rad"] = bin_axis("rad", edges[:-1], edges[1:], "deg", interp="lin", long_name="Offset from source")
    return axes


def _alone(axis: xr.DataArray, name: str) -> xr.DataArray:
    """Return an axis without other coordinates: one that comes out of a cube brings along the cube's labels."""
    return axis.drop_vars([n for n in axis.coords if n not in (name, f"{name}_min", f"{name}_max")])


def _check_size(shape: tuple[int, int, int]) -> None:
    """Say what one variable takes in memory where that is much; refuse sides that no pixel numbers fit."""
    size = 8 * math.prod(shape)
    if max(shape[1:]) > LONGEST_SIDE:
        msg = (
            f"a map of {shape[2]:.3g} x {shape[1]:.3g} pixels has sides longer than {LONGEST_SIDE:.0e}; a variable of "
            f"{shape[0]} planes would take {size / 2**40:.3g} TiB: make the binsize larger or the width smaller"
        )
        raise ValueError(msg)
    if size > LARGE_CUBE:
        msg = f"one variable of shape {shape} on this grid takes {size / 2**30:.0f} GiB; keep it lazy, write it to Zarr"
        warnings.warn(msg, UserWarning, stacklevel=3)


def region_grid(
    regions: Any,
    *,
    energy: xr.DataArray | None = None,
    energy_true: xr.DataArray | None = None,
    rad: xr.DataArray | None = None,
) -> xr.Dataset:
    """Build the coordinates of spectra taken from one or many sky regions.

    Parameters
    ----------
    regions
        A sky region of the `regions` package, a DS9 string, or a list of them.
    energy, energy_true
        Axes of reconstructed and true energy, from `energy_axis`.
    rad
        Axis of the PSF, dims (rad,).

    Returns
    -------
    xarray.Dataset
        Coordinates only: ``region`` (DS9 strings), ``region_lon``, ``region_lat`` (ICRS degrees of the
        centres), and the axes given. One region makes scalar coordinates, a list (also of one) makes a dim ``region``.

    Raises
    ------
    TypeError
        If something else than sky regions is given.
    ValueError
        If the list is empty.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> circle = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.11 * u.deg)
    >>> region_grid(circle).region.item()
    'icrs;circle(83.6300000000,22.0100000000,0.1100000000)'
    >>> region_grid([circle, circle]).sizes["region"]
    2
    """
    from xgamma.coords.regions import as_regions, is_one_region, region_center, to_ds9

    items = as_regions(regions)
    centers = [region_center(r).icrs for r in items]
    labels: dict[str, Any] = {
        "region": ([to_ds9(r) for r in items], {}),
        "region_lon": ([c.ra.deg for c in centers], {"units": "deg", "long_name": "Right ascension of the region"}),
        "region_lat": ([c.dec.deg for c in centers], {"units": "deg", "long_name": "Declination of the region"}),
    }
    if is_one_region(regions):
        coords: dict[str, Any] = {name: ((), values[0], attrs) for name, (values, attrs) in labels.items()}
    else:
        coords = {name: ("region", values, attrs) for name, (values, attrs) in labels.items()}
    grid = xr.Dataset(coords=coords)
    for axis in _axes(energy, energy_true, rad).values():
        grid = grid.assign_coords(axis.coords)
    return grid


def pixel_scale(obj: xr.Dataset | xr.DataArray) -> tuple[float, float]:
    """Return the pixel size along (y, x) in degrees at the reference point of the projection.

    Parameters
    ----------
    obj
        Map, cube or grid.

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> pixel_scale(sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg"))
    (0.1, 0.1)
    """
    return grid_of(obj).frame.binsize


def solid_angle(obj: xr.Dataset | xr.DataArray, prefix: str = "") -> xr.DataArray:
    """Return the solid angle of each pixel: spherical quadrangles between its corners.

    Parameters
    ----------
    obj
        Map, cube or grid. Where its pixels are Dask chunks, so are those of the result.
    prefix
        ``"irf_"`` for the grid of the responses.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), sr; 0 where the projection has no sky. Pixels on the edge of the sky count
        with the part that is sky.

    Notes
    -----
    The sides are great circles. Against sides along parallels (a plate carree) the difference is
    below 3e-5 of the solid angle for pixels of 1 deg and falls with the square of the pixel size.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> omega = solid_angle(sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "1 deg"))
    >>> omega.values.round(9)
    array([[0.00030461, 0.00030461],
           [0.00030461, 0.00030461]])
    """
    values = per_tile(obj, _solid_angle_tile, prefix)
    return sky_array(obj, values, "solid_angle", "sr", "Solid angle", prefix)


def separation(obj: xr.Dataset | xr.DataArray, position: SkyCoord, prefix: str = "") -> xr.DataArray:
    """Return the angle between each pixel's centre and a position.

    Parameters
    ----------
    obj
        Map, cube or grid. Where its pixels are Dask chunks, so are those of the result.
    position
        One position.
    prefix
        ``"irf_"`` for the grid of the responses.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), degrees; NaN where the projection has no sky.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> center = SkyCoord(0, 0, unit="deg")
    >>> separation(sky_grid(center, "2 deg", "1 deg"), center).values.round(4)
    array([[0.7071, 0.7071],
           [0.7071, 0.7071]])
    """
    lon, lat = grid_of(obj, prefix).frame.position(position)
    values = per_tile(obj, _separation_tile, prefix, lon, lat)
    return sky_array(obj, values, "separation", "deg", "Angular separation", prefix)


def _solid_angle_tile(grid: SkyGrid) -> np.ndarray:
    return pixel_solid_angle(grid.frame, grid.y, grid.x)


def _separation_tile(grid: SkyGrid, lon: float, lat: float) -> np.ndarray:
    center = to_vectors(np.asarray(lon), np.asarray(lat))
    pixels = grid.frame.pixel_to_sky(*np.meshgrid(np.asarray(grid.y), np.asarray(grid.x), indexing="ij"))
    return vector_separation(to_vectors(*pixels), center)


def sky_array(
    obj: xr.Dataset | xr.DataArray, values: Any, name: str, units: str, long_name: str, prefix: str = ""
) -> xr.DataArray:
    """Wrap a (y, x) array in the sky coordinates of `obj`."""
    coords = grid_of(obj, prefix).coords(prefix)
    attrs = {"units": units, "long_name": long_name}
    return xr.DataArray(values, dims=(f"{prefix}y", f"{prefix}x"), coords=coords, name=name, attrs=attrs)


def sky_chunks(obj: xr.Dataset | xr.DataArray, prefix: str = "") -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the Dask chunks along (y, x), None where the pixels of `obj` are not in Dask arrays."""
    arrays = obj.data_vars.values() if isinstance(obj, xr.Dataset) else [obj]
    for array in arrays:
        sizes = array.variable.chunksizes
        if f"{prefix}y" in sizes and f"{prefix}x" in sizes:
            return sizes[f"{prefix}y"], sizes[f"{prefix}x"]
    return None


def per_tile(obj: xr.Dataset | xr.DataArray, function: Any, prefix: str, *args: Any, dtype: Any = float) -> Any:
    """Evaluate ``function(tile, *args)`` on the whole grid, or lazily chunk by chunk."""
    grid = grid_of(obj, prefix)
    chunks = sky_chunks(obj, prefix)
    if chunks is None:
        return function(grid, *args)
    import dask.array as da

    def block(block_info: Any = None) -> np.ndarray:
        (y0, y1), (x0, x1) = block_info[None]["array-location"]
        return np.asarray(function(grid.tile(slice(y0, y1), slice(x0, x1)), *args))

    return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.empty((0, 0), dtype))
