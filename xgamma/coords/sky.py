"""Sky coordinates of maps: integer pixel numbers with plain indexes, lazy lon and lat with a `SkyIndex`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
from astropy.wcs import WCS
from xarray.core.indexing import IndexSelResult
from xarray.indexes import CoordinateTransform, CoordinateTransformIndex, Index

from xgamma.coords.bins import restore_bins
from xgamma.coords.frame import PixelGeometry, SkyFrame, pixel_geometry

__all__ = ["SkyGrid", "SkyIndex", "SkyTransform", "decode", "encode", "grid_of", "has_sky", "sky_coords"]

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)

#: Name prefixes of the sky grids that a cube can carry: its own and that of its responses.
PREFIXES = ("", "irf_")


class SkyTransform(CoordinateTransform):
    """Pixel positions to sky coordinates and back, through a `SkyFrame`."""

    def __init__(
        self, frame: SkyFrame, ranges: Mapping[str, range], names: Iterable[Hashable] = ("lon", "lat")
    ) -> None:
        super().__init__(tuple(names), {d: len(r) for d, r in ranges.items()})
        self.frame, self.ranges = frame, dict(ranges)

    def forward(self, dim_positions: dict[str, Any]) -> dict[Hashable, Any]:
        """Return lon and lat in degrees at positions along the two dims."""
        y, x = (r.start + r.step * np.asarray(dim_positions[d], float) for d, r in self.ranges.items())
        return dict(zip(self.coord_names, self.frame.pixel_to_sky(y, x), strict=True))

    def reverse(self, coord_labels: dict[Hashable, Any]) -> dict[str, Any]:
        """Return positions along the two dims of lon and lat in degrees."""
        lon, lat = (np.asarray(coord_labels[n], float) for n in self.coord_names)
        (dim_y, range_y), (dim_x, range_x) = self.ranges.items()
        middle = 0.5 * (range_x.start + range_x.stop - range_x.step)
        y, x = self.frame.sky_to_pixel(lon, lat, near_x=middle)
        return {dim_y: (y - range_y.start) / range_y.step, dim_x: (x - range_x.start) / range_x.step}

    def equals(self, other: CoordinateTransform, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """True for the same frame and the same pixels."""
        skip = exclude or frozenset()
        return (
            isinstance(other, SkyTransform)
            and self.frame == other.frame
            and all(r == other.ranges.get(d) for d, r in self.ranges.items() if d not in skip)
        )


class SkyIndex(CoordinateTransformIndex):
    """Index over lazy ``lon`` and ``lat``: nearest-pixel selection, alignment by whole pixels."""

    transform: SkyTransform

    @property
    def frame(self) -> SkyFrame:
        """The sky projection."""
        return self.transform.frame

    @property
    def ranges(self) -> dict[str, range]:
        """Pixel numbers along each of the two dims."""
        return self.transform.ranges

    def _replace(self, ranges: Mapping[str, range]) -> Self:
        return type(self)(SkyTransform(self.frame, ranges, self.transform.coord_names))

    def isel(self, indexers: Mapping[Any, Any]) -> Self | None:
        """Return the index of a slice of pixels; None (lon and lat become values) for anything else."""
        new = dict(self.ranges)
        for dim, key in indexers.items():
            part = _take_range(new[dim], key.values if isinstance(key, xr.Variable) else key)
            if part is None:
                return None
            new[dim] = part
        return self._replace(new)

    def sel(self, labels: dict[Any, Any], method: str | None = None, tolerance: Any = None) -> IndexSelResult:
        """Find the pixels that contain positions; ``method="nearest"`` as xarray asks for."""
        scalar = all(np.ndim(getattr(v, "values", v)) == 0 for v in labels.values())
        if scalar:
            labels = {n: xr.Variable((), float(getattr(v, "values", v))) for n, v in labels.items()}
        self._check_finite(labels)
        result = super().sel(labels, method=method).dim_indexers
        for dim, value in result.items():
            position = np.asarray(value.values)
            if np.any((position < 0) | (position >= len(self.ranges[dim]))):
                msg = f"position outside the map (dimension {dim!r})"
                raise KeyError(msg)
        return IndexSelResult({d: v.values.item() if scalar else v for d, v in result.items()})

    def _check_finite(self, labels: Mapping[Any, Any]) -> None:
        """A position that the projection cannot show has no pixel; a cast of NaN to int would invent one."""
        if set(labels) != set(self.transform.coord_names):
            return  # xarray says which name is missing
        pixel = self.transform.reverse({n: getattr(v, "values", v) for n, v in labels.items()})
        if not all(np.isfinite(p).all() for p in pixel.values()):
            msg = "position outside the map: NaN, or on the far side of the projection"
            raise KeyError(msg)

    def _check_frame(self, other: SkyIndex) -> None:
        if self.frame != other.frame:
            cards = sorted({k for k, _ in set(self.frame.cards) ^ set(other.frame.cards)})
            msg = f"maps are on different sky grids; reproject one first (they differ in {cards})"
            raise ValueError(msg)

    def join(self, other: Self, how: str = "inner") -> Self:
        """Common or joint pixels of two maps on the same frame."""
        self._check_frame(other)
        lower, upper = (max, min) if how == "inner" else (min, max)
        new = {}
        for dim, mine in self.ranges.items():
            theirs = other.ranges[dim]
            if mine.step != theirs.step or (mine.start - theirs.start) % mine.step:
                msg = "maps have incompatible pixel steps"
                raise ValueError(msg)
            start, stop = lower(mine.start, theirs.start), upper(mine.stop, theirs.stop)
            if stop <= start:
                msg = f"maps do not overlap (dimension {dim!r}: pixels {mine} and {theirs})"
                raise ValueError(msg)
            new[dim] = range(start, stop, mine.step)
        return self._replace(new)

    def reindex_like(self, other: Self) -> dict[Hashable, Any]:
        """Positions of the pixels of `other` in this map, -1 outside."""
        self._check_frame(other)
        result: dict[Hashable, Any] = {}
        for dim, mine in self.ranges.items():
            offset = np.asarray(other.ranges[dim]) - mine.start
            position = offset // mine.step
            inside = (offset % mine.step == 0) & (position >= 0) & (position < len(mine))
            result[dim] = np.where(inside, position, -1)
        return result

    @classmethod
    def concat(cls, indexes: Sequence[Self], dim: Hashable, positions: Iterable[Iterable[int]] | None = None) -> Self:
        """Join neighbouring tiles along one of the two dims."""
        first = indexes[0]
        for other in indexes[1:]:
            first._check_frame(other)
        pieces = [i.ranges[str(dim)] for i in indexes]
        if any(a.stop != b.start or a.step != b.step for a, b in zip(pieces, pieces[1:], strict=False)):
            msg = f"pieces are not adjacent along {dim!r}"
            raise ValueError(msg)
        joined = range(pieces[0].start, pieces[-1].stop, pieces[0].step)
        return first._replace({**first.ranges, str(dim): joined})

    def rename(self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]) -> Self:
        """Rename coordinates or dims."""
        ranges = {str(dims_dict.get(d, d)): r for d, r in self.ranges.items()}
        names = tuple(name_dict.get(n, n) for n in self.transform.coord_names)
        return type(self)(SkyTransform(self.frame, ranges, names))

    def to_pandas_index(self) -> pd.Index:
        """Return a placeholder: map_blocks, combine_by_coords and hvplot ask for one and ignore it."""
        return pd.RangeIndex(0)

    def _repr_inline_(self, max_width: int) -> str:
        return f"SkyIndex({self.frame})"


def _take_range(pixels: range, key: Any) -> range | None:
    """Range that `key` selects, None where the selection is no range."""
    if isinstance(key, slice):
        part = pixels[key]
        return part if part.step > 0 else None
    if np.ndim(key) != 1 or len(key) == 0:
        return None
    key = np.asarray(key)
    key = np.flatnonzero(key) if key.dtype == bool else np.where(key < 0, key + len(pixels), key)
    steps = np.unique(np.diff(key))
    if len(steps) > 1 or (len(steps) == 1 and steps[0] <= 0):
        return None
    step = pixels.step * (int(steps[0]) if len(steps) else 1)
    start = pixels[int(key[0])]
    return range(start, start + step * len(key), step)


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
    """True if `obj` has the pixel dims of a sky map."""
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

    Examples
    --------
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(center="0d 0d galactic", width="1 deg", binsize="0.5 deg")
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
    """
    for prefix in PREFIXES:
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
