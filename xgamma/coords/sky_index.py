"""Index over the lazy longitude and latitude of a map. The one place that uses xarray's index interface for the sky."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import CoordinateTransformIndexingAdapter, IndexSelResult
from xarray.indexes import CoordinateTransform, CoordinateTransformIndex

from xgamma.coords.frame import SkyFrame

__all__ = ["SkyIndex", "SkyTransform"]


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


class SkyVariable(xr.Variable):
    """A lon or lat that stays lazy when the map is loaded.

    Loading would make two numbers a pixel, and a dozen on the way, with every ``compute`` of a plane that has one.
    """

    def load(self, **kwargs: Any) -> Self:
        """Compute what Dask holds; leave the transform, which ``values`` evaluates."""
        return self if self.chunks is None else super().load(**kwargs)


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

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Hashable, xr.Variable]:
        """Return lon and lat, with the attributes of `variables`."""
        result: dict[Hashable, xr.Variable] = {}
        for name in self.transform.coord_names:
            old = (variables or {}).get(name)
            # lon of a transposed map stays transposed
            swapped = old is not None and set(old.dims) == set(self.transform.dims)
            dims = tuple(map(str, old.dims)) if old is not None and swapped else self.transform.dims
            lazy = CoordinateTransformIndexingAdapter(self.transform, name, dims)
            result[name] = SkyVariable(dims, lazy, None if old is None else old.attrs)
        return result

    def _replace(self, ranges: Mapping[str, range]) -> Self:
        return type(self)(SkyTransform(self.frame, ranges, self.transform.coord_names))

    def isel(self, indexers: Mapping[Any, Any]) -> Self | None:
        """Return the index of a slice of pixels; None (lon and lat become values) for anything else."""
        new = dict(self.ranges)
        for dim, key in indexers.items():
            if isinstance(key, xr.Variable):
                if key.dims != (dim,):
                    return None  # points along another dim, not a piece of the map
                key = key.values
            part = _take_range(new[dim], key)
            if part is None:
                return None
            new[dim] = part
        return self._replace(new)

    def sel(self, labels: dict[Any, Any], method: str | None = None, tolerance: Any = None) -> IndexSelResult:
        """Find the pixels that contain positions; ``method="nearest"`` as xarray asks for."""
        self._check_labels(labels, method, tolerance)
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

    def _check_labels(self, labels: Mapping[Any, Any], method: str | None, tolerance: Any) -> None:
        names = self.transform.coord_names
        missing = [n for n in names if n not in labels]
        if missing:
            msg = f"select positions by both {names[0]!r} and {names[1]!r}; {missing} missing"
            raise ValueError(msg)
        if any(isinstance(v, slice) for v in labels.values()):
            msg = f"{names} cannot be sliced, pixels do not follow them; use .gamma.cutout(position, width)"
            raise ValueError(msg)
        if any(hasattr(v, "unit") for v in labels.values()):
            msg = f"give {names} as plain numbers in degrees, not as quantities"
            raise TypeError(msg)
        if method != "nearest" or tolerance is not None:
            msg = "positions are selected by the pixel that contains them: method='nearest', without a tolerance"
            raise ValueError(msg)
        shapes = {np.shape(getattr(v, "values", v)) for v in labels.values()}
        if len(shapes) > 1 or (shapes != {()} and not all(hasattr(v, "dims") for v in labels.values())):
            msg = f"several positions need DataArrays of one shape for {names}, for example dims ('source',)"
            raise ValueError(msg)

    def _check_finite(self, labels: Mapping[Any, Any]) -> None:
        """A position that the projection cannot show has no pixel; a cast of NaN to int would invent one."""
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
        if any(i.ranges[d] != first.ranges[d] for i in indexes for d in first.ranges if d != dim):
            msg = (
                f"pieces that are joined along {dim!r} must have the same pixels along the other dim; align them first"
            )
            raise ValueError(msg)
        pieces = [i.ranges[str(dim)] for i in indexes]
        follows = [a.start + a.step * len(a) == b.start and a.step == b.step for a, b in itertools.pairwise(pieces)]
        if not all(follows) or (positions is not None and not _in_order(positions)):
            msg = f"pieces are not adjacent along {dim!r}: pixels {[(p.start, p.stop) for p in pieces]}"
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


def _in_order(positions: Iterable[Iterable[int]]) -> bool:
    flat = [int(p) for part in positions for p in part]
    return flat == list(range(len(flat)))


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
