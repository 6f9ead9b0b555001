"""Sky coordinates of maps: integer pixel numbers with plain indexes, lazy lon and lat with a `SkyIndex`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from astropy.wcs import WCS

from xgamma.coords.bins import restore_bins
from xgamma.coords.frame import PixelGeometry, SkyFrame, pixel_geometry
from xgamma.coords.sky_index import SkyIndex, SkyTransform

__all__ = ["SkyGrid", "SkyIndex", "SkyTransform", "decode", "encode", "grid_of", "has_sky", "sky_coords"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)

#: Name prefixes of the sky grids that a cube can carry: its own and that of its responses.
PREFIXES = ("", "irf_")


@dataclass(frozen=True)
class SkyGrid:
    """Frame and pixel numbers of a map: what a worker needs to know of the sky.

    Parameters
    ----------
    frame
        The projection.
    y, x
        Pixel numbers, of step 1.
    """

    frame: SkyFrame
    y: range
    x: range

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pixels (ny, nx)."""
        return len(self.y), len(self.x)

    @property
    def geometry(self) -> PixelGeometry:
        """Positions and solid angles, made once a process."""
        return pixel_geometry(self.frame, self.y, self.x)

    def tile(self, y: slice, x: slice) -> SkyGrid:
        """Return the part at array positions `y`, `x`."""
        return SkyGrid(self.frame, self.y[y], self.x[x])

    def contains(self, lon: Any, lat: Any) -> np.ndarray:
        """True for positions in degrees of the frame that lie inside the grid."""
        y, x = self.sky_to_pixel(lon, lat)
        with np.errstate(invalid="ignore"):
            inside = (y >= self.y.start - 0.5) & (y < self.y.stop - 0.5)
            return inside & (x >= self.x.start - 0.5) & (x < self.x.stop - 0.5)

    def sky_to_pixel(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel coordinates (y, x) on the turn of longitude that this grid shows."""
        return self.frame.sky_to_pixel(lon, lat, near_x=0.5 * (self.x.start + self.x.stop - 1))

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude in degrees of the middle of the grid."""
        middle = (0.5 * (r.start + r.stop - 1) for r in (self.y, self.x))
        lon, lat = self.frame.pixel_to_sky(*middle)
        return float(lon), float(lat)

    def coords(self, prefix: str = "") -> xr.Coordinates:
        """Return the xarray coordinates of this grid."""
        dims = (f"{prefix}y", f"{prefix}x")
        ranges = dict(zip(dims, (self.y, self.x), strict=True))
        coords = xr.Coordinates({d: np.arange(r.start, r.stop, dtype=np.int64) for d, r in ranges.items()})
        names = (f"{prefix}lon", f"{prefix}lat")
        lonlat = xr.Coordinates.from_xindex(SkyIndex(SkyTransform(self.frame, ranges, names)))
        coords = coords.assign(lonlat)
        for name, label in zip(names, _labels(self.frame), strict=True):
            coords[name].attrs.update(units="deg", long_name=label)
        return coords.assign({f"{prefix}wcs": ((), np.int32(0), dict(self.frame.cards))})


def _labels(frame: SkyFrame) -> tuple[str, str]:
    if frame.name == "galactic":
        return "Galactic longitude", "Galactic latitude"
    return "Right ascension", "Declination"


def sky_coords(wcs: WCS, shape: tuple[int, int], prefix: str = "") -> xr.Coordinates:
    """Return the coordinates of a map from its astropy WCS.

    Parameters
    ----------
    wcs
        Celestial WCS, or one with a celestial part.
    shape
        Number of pixels (ny, nx).
    prefix
        Put before all names; ``"irf_"`` for the grid of the responses.

    Returns
    -------
    xarray.Coordinates
        ``y``, ``x`` (pixel numbers), ``lon``, ``lat`` (lazy, degrees), ``wcs`` (FITS cards).

    Raises
    ------
    ValueError
        If the WCS is not celestial or has a distortion.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> wcs = WCS(naxis=2)
    >>> wcs.wcs.ctype, wcs.wcs.cdelt = ["GLON-CAR", "GLAT-CAR"], [-0.1, 0.1]
    >>> wcs.wcs.crpix = [2.0, 1.0]
    >>> sky_coords(wcs, (1, 3))["lon"].values.round(3)
    array([[1.0e-01, 0.0e+00, 3.6e+02]])
    """
    frame, (y0, x0) = SkyFrame.from_wcs(wcs)
    return SkyGrid(frame, range(y0, y0 + shape[0]), range(x0, x0 + shape[1])).coords(prefix)


def has_sky(obj: xr.Dataset | xr.DataArray, prefix: str = "") -> bool:
    """Return whether `obj` has the pixel dims and the projection of a sky map.

    Parameters
    ----------
    obj
        Any Dataset or DataArray.
    prefix
        ``"irf_"`` for the grid of the responses.

    Returns
    -------
    bool

    Examples
    --------
    >>> has_sky(xr.Dataset())
    False
    """
    return f"{prefix}y" in obj.dims and f"{prefix}x" in obj.dims and f"{prefix}wcs" in obj.coords


def grid_of(obj: xr.Dataset | xr.DataArray, prefix: str = "") -> SkyGrid:
    """Return the sky grid of an object, after checking that its coordinates are true.

    Parameters
    ----------
    obj
        A map, cube or grid.
    prefix
        ``"irf_"`` for the grid of the responses.

    Returns
    -------
    SkyGrid

    Raises
    ------
    ValueError
        If there is no sky grid, the pixels are not neighbours, or interpolation or assignment
        has left pixel numbers that no longer fit the sky index.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid_of(xg.sky_grid(SkyCoord(0, 0, unit="deg"), width="1 deg", binsize="0.1 deg")).shape
    (10, 10)
    """
    names = {n: f"{prefix}{n}" for n in ("y", "x", "lon", "wcs")}
    missing = [n for n in (names["y"], names["x"]) if n not in obj.dims]
    if missing:
        msg = f"the object is not a sky map: dims {missing} are missing, it has {list(map(str, obj.dims))}"
        raise ValueError(msg)
    index = obj.xindexes.get(names["lon"])
    if not isinstance(index, SkyIndex):
        msg = (
            f"the object has no sky index on {names['lon']!r}: open files with xgamma.open_cube or engine='xgamma', "
            "or restore it with xgamma.decode"
        )
        raise ValueError(msg)
    for dim, pixels in index.ranges.items():
        if pixels.step != 1:
            msg = f"dimension {dim!r} takes every {pixels.step}th pixel; use .gamma.downsample to change the pixel size"
            raise ValueError(msg)
        if dim not in obj.coords or not np.array_equal(obj[dim].values, np.asarray(pixels)):
            msg = (
                f"the pixel numbers of {dim!r} do not fit the sky index any more (after interp, pad, rolling "
                "construct or assign_coords); use .gamma.reproject to change the grid of a map"
            )
            raise ValueError(msg)
    if names["wcs"] in obj.coords and SkyFrame.from_cards(obj[names["wcs"]].attrs) != index.frame:
        msg = f"the cards of {names['wcs']!r} do not fit the sky index; reproject, or rebuild with xgamma.decode"
        raise ValueError(msg)
    y, x = (index.ranges[names[d]] for d in ("y", "x"))
    return SkyGrid(index.frame, y, x)


def encode(obj: XarrayT) -> XarrayT:
    """Drop what files do not hold: the lazy lon and lat, which `decode` makes again.

    Parameters
    ----------
    obj
        Map, cube or grid.

    Returns
    -------
    Dataset or DataArray
        The same with pixel numbers and ``wcs`` only.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), width="1 deg", binsize="0.5 deg")
    >>> sorted(encode(grid).coords)
    ['irf_wcs', 'irf_x', 'irf_y', 'wcs', 'x', 'y']
    """
    names = [n for p in PREFIXES for n in (f"{p}lon", f"{p}lat") if isinstance(obj.xindexes.get(n), SkyIndex)]
    return obj.drop_vars(names)


def decode(obj: XarrayT) -> XarrayT:
    """Give an object read from a file its sky and bin indexes back.

    Parameters
    ----------
    obj
        Dataset or DataArray with ``y``, ``x`` and ``wcs``, or binned axes, or both.

    Returns
    -------
    Dataset or DataArray
        The same values with `SkyIndex` and `BinIndex`.

    Raises
    ------
    ValueError
        If the ``wcs`` cards are incomplete or the pixel numbers have gaps.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), width="1 deg", binsize="0.5 deg")
    >>> decode(encode(grid)).identical(grid)
    True
    """
    for prefix in PREFIXES:
        if f"{prefix}wcs" in getattr(obj, "data_vars", ()):
            obj = obj.set_coords(f"{prefix}wcs")  # some readers take it for data
        if has_sky(obj, prefix) and not isinstance(obj.xindexes.get(f"{prefix}lon"), SkyIndex):
            frame = SkyFrame.from_cards(obj[f"{prefix}wcs"].attrs)
            ranges = [_pixel_range(obj, f"{prefix}{d}") for d in ("y", "x")]
            obj = obj.drop_vars([n for n in (f"{prefix}lon", f"{prefix}lat") if n in obj.coords])
            obj = obj.assign_coords(SkyGrid(frame, *ranges).coords(prefix))
    return restore_bins(obj)


def _pixel_range(obj: xr.Dataset | xr.DataArray, dim: str) -> range:
    if dim not in obj.coords:
        msg = f"the object has no pixel numbers {dim!r}"
        raise ValueError(msg)
    pixels = obj[dim].values
    if len(pixels) == 0 or not np.array_equal(pixels, np.arange(int(pixels[0]), int(pixels[0]) + len(pixels))):
        msg = f"the pixel numbers {dim!r} are not consecutive whole numbers"
        raise ValueError(msg)
    return range(int(pixels[0]), int(pixels[0]) + len(pixels))
