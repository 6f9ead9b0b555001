"""Index of a binned axis. The one place that uses xarray's index interface for bins."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import IndexSelResult
from xarray.indexes import Index

__all__ = ["EDGE_RTOL", "BinIndex", "bin_coords"]

#: Two edges are the same edge if they agree to this relative precision.
EDGE_RTOL = 1e-6


class BinIndex(Index):
    """Index of a binned axis: ``sel`` finds the bin that contains a value, alignment compares edges.

    Each of the three coordinates of an axis has an index of its own, and each knows all of the
    bins. One index over three coordinates would not do: xarray takes the coordinates that are not
    dimensions off an array before it puts the array into a Dataset (``cube["new"] = array``) and
    refuses to take off a part of an index.

    Parameters
    ----------
    lo, hi
        Lower and upper edges, shape (n,), ascending. ``lo == hi`` marks nodes instead of bins.
    center
        Bin centres, shape (n,).
    dim
        Name of the dimension.
    part
        What the coordinate of this index shows: ``"center"``, ``"min"`` or ``"max"``.
    name
        Name of the coordinate; by default `dim`, ``{dim}_min`` or ``{dim}_max``.
    """

    def __init__(
        self,
        lo: np.ndarray,
        hi: np.ndarray,
        center: np.ndarray,
        dim: Hashable,
        part: str = "center",
        name: Hashable | None = None,
    ) -> None:
        self.lo, self.hi, self.center = (np.asarray(v, dtype=float) for v in (lo, hi, center))
        self.dim, self.part = dim, part
        self.name = name if name is not None else (dim if part == "center" else f"{dim}_{part}")

    def __len__(self) -> int:
        return len(self.lo)

    @classmethod
    def from_variables(cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]) -> Self:
        """Refuse: one coordinate does not say where the edges are."""
        msg = f"a BinIndex cannot be made of {sorted(map(str, variables))} alone; use xgamma.decode or bin_axis"
        raise ValueError(msg)

    @property
    def values(self) -> np.ndarray:
        """What the coordinate of this index shows, shape (n,)."""
        return {"center": self.center, "min": self.lo, "max": self.hi}[self.part]

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Any, xr.Variable]:
        """Return the coordinate variable, with the attributes that it had."""
        old = (variables or {}).get(self.name)
        return {self.name: xr.Variable((self.dim,), self.values, attrs=None if old is None else old.attrs)}

    def _replace(self, lo: np.ndarray, hi: np.ndarray, center: np.ndarray) -> Self:
        return type(self)(lo, hi, center, self.dim, self.part, self.name)

    def _take(self, key: Any) -> Self:
        return self._replace(self.lo[key], self.hi[key], self.center[key])

    def isel(self, indexers: Mapping[Any, Any]) -> Self | None:
        """Return the index of the selected bins, None for a single bin."""
        key = indexers[self.dim]
        if isinstance(key, xr.Variable):
            if key.dims != (self.dim,):
                return None  # points along another dim, not a piece of the axis
            key = key.values
        if not isinstance(key, slice) and np.ndim(key) != 1:
            return None
        # bins that are repeated or out of order are no axis any more
        return self._take(key) if (np.diff(self.lo[key]) > 0).all() else None

    def sel(self, labels: Mapping[Any, Any], method: str | None = None, tolerance: Any = None) -> IndexSelResult:
        """Find bins: by a value inside, or by a slice that covers them fully."""
        if self.part != "center" or set(labels) != {self.name}:
            msg = f"select bins by {self.dim!r}, not by {sorted(map(str, labels))}"
            raise KeyError(msg)
        if method not in (None, "nearest"):
            msg = f"method={method!r} is not for bins; leave it out or use 'nearest'"
            raise ValueError(msg)
        if tolerance is not None:
            msg = f"a tolerance is not for bins of {self.dim!r}: a value lies in a bin or it does not"
            raise ValueError(msg)
        label = labels[self.name]
        ends = (label.start, label.stop) if isinstance(label, slice) else (label,)
        if any(hasattr(v, "unit") or isinstance(v, str) for v in ends):
            # numpy would drop the unit of a Quantity and take GeV for TeV
            msg = f"select bins of {self.dim!r} by plain numbers in the unit of the axis, not by {label!r}"
            raise TypeError(msg)
        if isinstance(label, slice):
            return IndexSelResult({self.dim: self._slice(label)})
        values = np.asarray(getattr(label, "values", label), dtype=float)
        index = self._nearest(values) if method == "nearest" else self._containing(values)
        if isinstance(label, (xr.DataArray, xr.Variable)) and label.ndim:
            return IndexSelResult({self.dim: xr.Variable(label.dims, index)})
        return IndexSelResult({self.dim: int(index) if index.ndim == 0 else index})

    def _slice(self, label: slice) -> slice:
        """Bins that lie inside the slice, edges compared to a rounding."""
        if label.step is not None:
            msg = f"a step is not for bins of {self.dim!r}"
            raise ValueError(msg)
        tolerance = EDGE_RTOL * np.maximum(np.abs(self.lo), np.abs(self.hi))
        start = -np.inf if label.start is None else float(label.start)
        stop = np.inf if label.stop is None else float(label.stop)
        inside = np.flatnonzero((self.lo >= start - tolerance) & (self.hi <= stop + tolerance))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

    def _containing(self, values: np.ndarray) -> np.ndarray:
        if not len(self):
            msg = f"the axis {self.dim!r} has no bins"
            raise KeyError(msg)
        index = np.searchsorted(self.lo, values, side="right") - 1
        clipped = np.clip(index, 0, None)
        with np.errstate(invalid="ignore"):
            # the closing edge belongs to a node axis (lo == hi) but not to a bin
            beyond = (values >= self.hi[clipped]) & (self.lo[clipped] != values)
        outside = (index < 0) | beyond | np.isnan(values)
        if np.any(outside):
            bad = values[outside] if values.ndim else values
            msg = f"{bad} outside the bins of {self.dim!r}, which cover [{self.lo[0]:g}, {self.hi[-1]:g})"
            raise KeyError(msg)
        return index

    def _nearest(self, values: np.ndarray) -> np.ndarray:
        """Bin that contains the value, else the one whose edge is nearest: never a neighbour by its centre."""
        if np.isnan(values).any() or not len(self):
            msg = f"NaN has no bin of {self.dim!r}" if len(self) else f"the axis {self.dim!r} has no bins"
            raise KeyError(msg)
        distance = np.maximum(self.lo - values[..., np.newaxis], values[..., np.newaxis] - self.hi)
        inside = (values[..., np.newaxis] >= self.lo) & (values[..., np.newaxis] < self.hi)
        return np.where(inside, -np.inf, distance).argmin(axis=-1)

    def _match(self, other: BinIndex) -> np.ndarray:
        """Position in self of each bin of other, -1 where there is none; shape (len(other),)."""
        same = np.isclose(self.lo, other.lo[:, None], rtol=EDGE_RTOL, atol=0)
        same &= np.isclose(self.hi, other.hi[:, None], rtol=EDGE_RTOL, atol=0)
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)

    def equals(self, other: Index, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """True for equal bins; edges are compared to a rounding."""
        if exclude is not None and self.dim in exclude:
            return True
        return (
            isinstance(other, BinIndex)
            and self.part == other.part
            and len(self) == len(other)
            and np.allclose(self.lo, other.lo, rtol=EDGE_RTOL, atol=0)
            and np.allclose(self.hi, other.hi, rtol=EDGE_RTOL, atol=0)
        )

    def join(self, other: Self, how: str = "inner") -> Self:
        """Common bins of two axes; raise where there are none, or where bins of one cut those of the other."""
        match = other._match(self)
        self._check_compatible(other, match)
        if how == "inner":
            if not (match >= 0).any():
                raise ValueError(self._message(other))
            return self._take(match >= 0)
        extra = self._match(other) < 0
        if not extra.any():
            return self
        parts = [np.concatenate([a, b[extra]]) for a, b in zip(self._arrays(), other._arrays(), strict=True)]
        order = np.argsort(parts[0], kind="stable")
        return self._replace(parts[0][order], parts[1][order], parts[2][order])

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.lo, self.hi, self.center

    def _message(self, other: BinIndex) -> str:
        spans = [f"{len(i)} bins, {i.lo[0]:g} to {i.hi[-1]:g}" if len(i) else "0 bins" for i in (self, other)]
        return f"{self.dim!r} axes have different bin edges ({spans[0]}; {spans[1]}); rebin one onto the other first"

    def _check_compatible(self, other: BinIndex, match: np.ndarray) -> None:
        """Axes are pieces of one binning if no bin overlaps another than its equal."""
        alone = match < 0
        lo, hi = self.lo[alone, None], self.hi[alone, None]
        tolerance = EDGE_RTOL * np.maximum(np.abs(other.lo), np.abs(other.hi))
        if ((lo < other.hi - tolerance) & (hi > other.lo + tolerance)).any():
            raise ValueError(self._message(other))

    def reindex_like(self, other: Self) -> dict[Hashable, Any]:
        """Positions of the bins of `other` in this axis, -1 where it has none."""
        match = self._match(other)
        other._check_compatible(self, match)
        return {self.dim: match}

    @classmethod
    def concat(cls, indexes: Sequence[Self], dim: Hashable, positions: Iterable[Iterable[int]] | None = None) -> Self:
        """Join axes one after the other."""
        lo, hi, center = (np.concatenate(parts) for parts in zip(*(i._arrays() for i in indexes), strict=True))
        if positions is not None:
            order = np.argsort(np.concatenate([np.asarray(list(p)) for p in positions]))
            lo, hi, center = lo[order], hi[order], center[order]
        return indexes[0]._replace(lo, hi, center)

    def rename(self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]) -> Self:
        """Rename the dimension, the coordinate, or both."""
        dim, name = dims_dict.get(self.dim, self.dim), name_dict.get(self.name, self.name)
        return type(self)(self.lo, self.hi, self.center, dim, self.part, name)

    def to_pandas_index(self) -> pd.Index:
        """Return the values of the coordinate, for plotting and for tools that know no bins."""
        return pd.Index(self.values, name=self.name)

    def __repr__(self) -> str:
        return self._repr_inline_(80)

    def _repr_inline_(self, max_width: int) -> str:
        if self.part != "center":
            return f"BinIndex (edges of {self.dim})"
        span = f", {self.lo[0]:g} to {self.hi[-1]:g}" if len(self) else ""
        return f"BinIndex ({len(self)} bins{span})"


def bin_coords(lo: np.ndarray, hi: np.ndarray, center: np.ndarray, dim: str) -> xr.Coordinates:
    """Return the three coordinates of a binned axis with their indexes.

    Examples
    --------
    >>> sorted(bin_coords(np.array([1.0]), np.array([2.0]), np.array([1.5]), "energy"))
    ['energy', 'energy_max', 'energy_min']
    """
    indexes = [BinIndex(lo, hi, center, dim, part) for part in ("center", "min", "max")]
    variables: dict[Any, xr.Variable] = {}
    for index in indexes:
        variables.update(index.create_variables())
    return xr.Coordinates(variables, indexes={i.name: i for i in indexes})
