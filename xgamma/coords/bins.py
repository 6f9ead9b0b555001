"""Binned axes: one index that owns centre, lower and upper edge."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import IndexSelResult
from xarray.indexes import Index

from xgamma.coords.units import to_value

__all__ = ["BinIndex", "bin_axis", "bin_edges", "energy_axis", "restore_bins"]

#: Two edges are the same edge if they agree to this relative precision.
EDGE_RTOL = 1e-6


class BinIndex(Index):
    """Index of a binned axis: ``sel`` finds the bin that contains a value, alignment compares edges.

    Parameters
    ----------
    lo, hi
        Lower and upper edges, shape (n,), ascending. ``lo == hi`` marks nodes instead of bins.
    center
        Bin centres, shape (n,).
    dim
        Name of the dimension; the coordinates are `dim`, ``{dim}_min`` and ``{dim}_max``.
    """

    def __init__(self, lo: np.ndarray, hi: np.ndarray, center: np.ndarray, dim: Hashable) -> None:
        self.lo, self.hi, self.center = (np.asarray(v, dtype=float) for v in (lo, hi, center))
        self.dim = dim

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the three coordinates."""
        return str(self.dim), f"{self.dim}_min", f"{self.dim}_max"

    def __len__(self) -> int:
        return len(self.lo)

    @classmethod
    def from_variables(cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]) -> Self:
        """Build the index from the three coordinates."""
        dim = next((n for n in variables if f"{n}_min" in variables and f"{n}_max" in variables), None)
        if dim is None or len(variables) != 3:
            msg = f"a BinIndex needs 'name', 'name_min' and 'name_max', not {sorted(map(str, variables))}"
            raise ValueError(msg)
        return cls(variables[f"{dim}_min"].values, variables[f"{dim}_max"].values, variables[dim].values, dim)

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Any, xr.Variable]:
        """Return the three coordinate variables, with the attributes that they had."""
        old = variables or {}
        return {
            name: xr.Variable((self.dim,), values, attrs=old[name].attrs if name in old else None)
            for name, values in zip(self.names, (self.center, self.lo, self.hi), strict=True)
        }

    def _take(self, key: Any) -> Self:
        return type(self)(self.lo[key], self.hi[key], self.center[key], self.dim)

    def isel(self, indexers: Mapping[Any, Any]) -> Self | None:
        """Return the index of the selected bins, None for a single bin."""
        key = indexers[self.dim]
        key = key.values if isinstance(key, xr.Variable) else key
        if not isinstance(key, slice) and np.ndim(key) != 1:
            return None
        return self._take(key)

    def sel(self, labels: Mapping[Any, Any], method: str | None = None, tolerance: Any = None) -> IndexSelResult:
        """Find bins: by a value inside, or by a slice that covers them fully."""
        extra = set(labels) - {self.dim}
        if extra:
            msg = f"select bins by {self.dim!r}, not by {sorted(map(str, extra))}"
            raise KeyError(msg)
        if method not in (None, "nearest"):
            msg = f"method={method!r} is not for bins; leave it out or use 'nearest'"
            raise ValueError(msg)
        label = labels[self.dim]
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
        if np.isnan(values).any():
            msg = f"NaN has no bin of {self.dim!r}"
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
            and len(self) == len(other)
            and np.allclose(self.lo, other.lo, rtol=EDGE_RTOL, atol=0)
            and np.allclose(self.hi, other.hi, rtol=EDGE_RTOL, atol=0)
        )

    def join(self, other: Self, how: str = "inner") -> Self:
        """Common bins of two axes; raise where there are none."""
        match = other._match(self)
        if how == "inner" and (match >= 0).any():
            return self._take(match >= 0)
        if how == "outer":
            extra = self._match(other) < 0
            if not extra.any():
                return self
            if len(other) and not extra.all():
                lo = np.concatenate([self.lo, other.lo[extra]])
                order = np.argsort(lo)
                hi = np.concatenate([self.hi, other.hi[extra]])
                center = np.concatenate([self.center, other.center[extra]])
                return type(self)(lo[order], hi[order], center[order], self.dim)
        msg = f"{self.dim!r} axes have different bin edges; rebin one onto the other first"
        raise ValueError(msg)

    def reindex_like(self, other: Self) -> dict[Hashable, Any]:
        """Positions of the bins of `other` in this axis."""
        return {self.dim: self._match(other)}

    @classmethod
    def concat(cls, indexes: Sequence[Self], dim: Hashable, positions: Iterable[Iterable[int]] | None = None) -> Self:
        """Join axes one after the other."""
        parts = [np.concatenate([getattr(i, name) for i in indexes]) for name in ("lo", "hi", "center")]
        return cls(*parts, dim=indexes[0].dim)

    def rename(self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]) -> Self:
        """Rename the axis; all three names have to follow."""
        dim = dims_dict.get(self.dim, name_dict.get(self.dim, self.dim))
        return type(self)(self.lo, self.hi, self.center, dim)

    def to_pandas_index(self) -> pd.Index:
        """Return the centres, for plotting and for tools that know no bins."""
        return pd.Index(self.center, name=self.dim)

    def _repr_inline_(self, max_width: int) -> str:
        if not len(self):
            return "BinIndex (0 bins)"
        return f"BinIndex ({len(self)} bins, {self.lo[0]:g} to {self.hi[-1]:g})"


def bin_axis(
    name: str, lo: Any, hi: Any, units: str, interp: str = "log", center: Any = None, long_name: str | None = None
) -> xr.DataArray:
    """Build a binned axis from lower and upper edges.

    Parameters
    ----------
    name
        Name of the dimension.
    lo, hi
        Edges, shape (n,), ascending, numbers in `units`; ``lo == hi`` marks nodes.
    units
        Unit of the numbers.
    interp
        ``"log"`` puts the centre at the geometric mean, ``"lin"`` at the arithmetic mean.
    center
        Centres, where they are known better.
    long_name
        Label for plots.

    Returns
    -------
    xarray.DataArray
        The centres, dims (`name`,), with coordinates `name`, ``{name}_min``, ``{name}_max``.

    Raises
    ------
    ValueError
        If the edges are not finite, not ascending, or not positive on a log axis.

    Examples
    --------
    >>> axis = bin_axis("offset", [0, 1], [1, 2], "deg", interp="lin")
    >>> axis.values
    array([0.5, 1.5])
    """
    lo, hi = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (lo, hi))
    _check_edges(name, lo, hi, interp)
    if center is None:
        center = np.sqrt(lo * hi) if interp == "log" else 0.5 * (lo + hi)
    coords = xr.Coordinates.from_xindex(BinIndex(lo, hi, np.asarray(center, dtype=float), name))
    axis = xr.DataArray(coords[name].values, dims=name, coords=coords, name=name)
    label = long_name or name.replace("_", " ")
    for key, text in (
        (name, label),
        (f"{name}_min", f"lower edge of {label}"),
        (f"{name}_max", f"upper edge of {label}"),
    ):
        axis[key].attrs.update(units=units, long_name=text)
    axis[name].attrs["interp"] = interp
    axis.attrs = dict(axis[name].attrs)
    return axis


def _check_edges(name: str, lo: np.ndarray, hi: np.ndarray, interp: str) -> None:
    if interp not in ("log", "lin"):
        msg = f"interp={interp!r} must be 'log' or 'lin'"
        raise ValueError(msg)
    if lo.shape != hi.shape or lo.ndim != 1 or len(lo) == 0:
        msg = f"axis {name!r} needs as many lower as upper edges and at least one bin"
        raise ValueError(msg)
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        msg = f"axis {name!r} has edges that are not finite"
        raise ValueError(msg)
    if (hi < lo).any() or (np.diff(lo) <= 0).any() or (np.diff(hi) <= 0).any():
        msg = f"edges of axis {name!r} must ascend"
        raise ValueError(msg)
    if interp == "log" and (lo <= 0).any():
        msg = f"axis {name!r} with log spacing needs positive edges, the lowest is {lo.min():g}"
        raise ValueError(msg)


def energy_axis(
    energy_min: Any = None,
    energy_max: Any = None,
    nbin: int | None = None,
    *,
    per_decade: bool = False,
    edges: Any = None,
    interp: str = "log",
    name: str = "energy",
) -> xr.DataArray:
    """Build an energy axis, equally spaced in log or linear energy, or from its edges.

    Parameters
    ----------
    energy_min, energy_max
        Range, as quantities or strings (``"0.5 TeV"``).
    nbin
        Number of bins; with `per_decade` the number per decade, rounded up to whole bins.
    per_decade
        Read `nbin` as bins per decade.
    edges
        The edges themselves, shape (nbin + 1,), instead of range and number.
    interp
        ``"log"`` or ``"lin"`` spacing.
    name
        Name of the dimension, ``"energy"`` or ``"energy_true"``.

    Returns
    -------
    xarray.DataArray
        Bin centres in TeV, dims (`name`,), with coordinates `name`, ``{name}_min``, ``{name}_max``.

    Raises
    ------
    ValueError
        If units are missing or wrong, the range is empty or negative, or `nbin` is below 1.

    Examples
    --------
    >>> energy = energy_axis("0.1 TeV", "10 TeV", nbin=2)
    >>> energy.energy_min.values.round(6)
    array([0.1, 1. ])
    """
    if edges is None:
        if energy_min is None or energy_max is None or nbin is None:
            msg = "give energy_min, energy_max and nbin, or edges"
            raise ValueError(msg)
        values = _spaced_edges(
            to_value(energy_min, "TeV", "energy_min"),
            to_value(energy_max, "TeV", "energy_max"),
            nbin,
            per_decade,
            interp,
        )
    else:
        if energy_min is not None or energy_max is not None or nbin is not None:
            msg = "give either edges or energy_min, energy_max and nbin, not both"
            raise ValueError(msg)
        values = np.atleast_1d(to_value(edges, "TeV", "edges"))
        if len(values) < 2:
            msg = "an energy axis needs at least two edges"
            raise ValueError(msg)
    long_name = "True energy" if name == "energy_true" else "Energy"
    return bin_axis(name, values[:-1], values[1:], "TeV", interp=interp, long_name=long_name)


def _spaced_edges(lo: float, hi: float, nbin: int, per_decade: bool, interp: str) -> np.ndarray:
    if int(nbin) != nbin or nbin < 1:
        msg = f"nbin={nbin!r} must be a whole number of at least 1"
        raise ValueError(msg)
    if not hi > lo:
        msg = f"energy_max ({hi:g} TeV) must lie above energy_min ({lo:g} TeV)"
        raise ValueError(msg)
    if interp == "lin":
        if per_decade:
            msg = "per_decade needs interp='log'"
            raise ValueError(msg)
        return np.linspace(lo, hi, int(nbin) + 1)
    if lo <= 0:
        msg = f"energy_min ({lo:g} TeV) must be positive on a log axis"
        raise ValueError(msg)
    # a range of 2.9999999 decades is one of 3: rounding first keeps the number of bins stable
    number = int(np.ceil(round(np.log10(hi / lo) * nbin, 6))) if per_decade else int(nbin)
    return np.geomspace(lo, hi, number + 1)


def rename_axis(axis: xr.DataArray, name: str) -> xr.DataArray:
    """Return the same bins under another name, for example ``energy`` as ``energy_true``."""
    old = str(axis.name)
    if old == name:
        return axis
    lo, hi = (axis[f"{old}_{end}"].values for end in ("min", "max"))
    long_name = "True energy" if name == "energy_true" else None
    return bin_axis(
        name, lo, hi, axis[old].attrs["units"], axis[old].attrs.get("interp", "log"), axis[old].values, long_name
    )


def axis_of(obj: xr.Dataset | xr.DataArray, name: str) -> xr.DataArray:
    """Return the binned axis `name` of a cube as `bin_axis` would make it."""
    missing = [n for n in (name, f"{name}_min", f"{name}_max") if n not in obj.coords]
    if missing:
        msg = f"the object has no binned axis {name!r}: coordinates {missing} are missing"
        raise ValueError(msg)
    lo, hi, center = (np.atleast_1d(obj[n].values) for n in (f"{name}_min", f"{name}_max", name))
    attrs = obj[name].attrs
    return bin_axis(name, lo, hi, attrs.get("units", ""), attrs.get("interp", "log"), center, attrs.get("long_name"))


def bin_edges(obj: xr.Dataset | xr.DataArray, name: str = "energy") -> np.ndarray:
    """Return the n + 1 edges of a contiguous binned axis.

    Raises
    ------
    ValueError
        If the axis is missing or has gaps between its bins.

    Examples
    --------
    >>> bin_edges(energy_axis("1 TeV", "100 TeV", nbin=2)).round(6)
    array([  1.,  10., 100.])
    """
    axis = axis_of(obj, name)
    lo, hi = axis[f"{name}_min"].values, axis[f"{name}_max"].values
    if not np.allclose(lo[1:], hi[:-1], rtol=EDGE_RTOL, atol=1e-12):
        msg = f"the bins of {name!r} have gaps; select a contiguous range first"
        raise ValueError(msg)
    return np.append(lo, hi[-1])


XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)


def restore_bins(obj: XarrayT) -> XarrayT:
    """Give every ``name``, ``name_min``, ``name_max`` triple on one dimension its `BinIndex` back.

    Files keep variables but not indexes; this is the decoding half. Axes that have their index
    already are left alone.
    """
    for dim in list(obj.dims):
        names = [str(dim), f"{dim}_min", f"{dim}_max"]
        if any(n not in obj.coords or obj[n].dims != (dim,) for n in names):
            continue
        if isinstance(obj.xindexes.get(dim), BinIndex):
            continue
        if dim in obj.xindexes:
            obj = obj.drop_indexes(dim)
        obj = obj.set_xindex(names, BinIndex)
    return obj
