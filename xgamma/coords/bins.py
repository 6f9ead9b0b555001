"""Binned axes: one index that owns centre, lower and upper edge."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.coords.bin_index import EDGE_RTOL, BinIndex, bin_coords
from xgamma.coords.units import to_value

__all__ = ["EDGE_RTOL", "BinIndex", "axis_of", "bin_axis", "bin_edges", "energy_axis", "restore_bins"]


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
    coords = bin_coords(lo, hi, np.asarray(center, dtype=float), name)
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
        msg = f"axis {name!r} needs as many lower as upper edges and at least one bin, not {lo.size} and {hi.size}"
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
    """Return the same bins under another name.

    Parameters
    ----------
    axis
        Axis from `bin_axis`.
    name
        New name of the dimension.

    Returns
    -------
    xarray.DataArray
        Centres, dims (`name`,), with the edges under their new names.

    Examples
    --------
    >>> sorted(rename_axis(energy_axis("1 TeV", "10 TeV", nbin=2), "energy_true").coords)
    ['energy_true', 'energy_true_max', 'energy_true_min']
    """
    old = str(axis.name)
    if old == name:
        return axis
    lo, hi = (axis[f"{old}_{end}"].values for end in ("min", "max"))
    long_name = "True energy" if name == "energy_true" else None
    return bin_axis(
        name, lo, hi, axis[old].attrs["units"], axis[old].attrs.get("interp", "log"), axis[old].values, long_name
    )


def axis_of(obj: xr.Dataset | xr.DataArray, name: str) -> xr.DataArray:
    """Return a binned axis of a cube as `bin_axis` would make it.

    Parameters
    ----------
    obj
        Anything with the coordinates `name`, ``{name}_min`` and ``{name}_max``; one selected bin, whose
        coordinates are scalars, is an axis of one bin.
    name
        Name of the dimension.

    Returns
    -------
    xarray.DataArray
        Centres, dims (`name`,).

    Raises
    ------
    ValueError
        If coordinates are missing, no bin is left, or they no longer fit the bins (after interpolation or assignment).

    Examples
    --------
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> bin_edges(axis_of(energy.sel(energy=20.0), "energy")).round(6)
    array([ 10., 100.])
    """
    missing = [n for n in (name, f"{name}_min", f"{name}_max") if n not in obj.coords]
    if missing:
        msg = f"the object has no binned axis {name!r}: coordinates {missing} are missing"
        raise ValueError(msg)
    index = obj.xindexes.get(name)
    if isinstance(index, BinIndex) and any(obj[f"{name}{end}"].chunks is not None for end in ("_min", "_max")):
        # Dataset.chunk makes Dask arrays of the edges; the index knows them without computing
        lo, hi, center = index.lo, index.hi, index.center
    else:
        lo, hi, center = (np.atleast_1d(obj[n].values) for n in (f"{name}_min", f"{name}_max", name))
        _check_fresh(obj, name, (lo, hi, center))
    if not lo.size:
        msg = f"the object has no bins of {name!r} left: what was selected lies between or beyond them"
        raise ValueError(msg)
    attrs = obj[name].attrs
    return bin_axis(name, lo, hi, attrs.get("units", ""), attrs.get("interp", "log"), center, attrs.get("long_name"))


def _check_fresh(obj: xr.Dataset | xr.DataArray, name: str, values: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Refuse bins that interpolation or assignment has changed behind the back of their index."""
    indexes = [obj.xindexes.get(n) for n in (name, f"{name}_min", f"{name}_max")]
    # broadcasting and expand_dims replace the index of the centres by a plain one, and the bins are as they were
    known = [i for i in indexes if isinstance(i, BinIndex)]
    if not all(np.array_equal(a, b) for i in known for a, b in zip((i.lo, i.hi, i.center), values, strict=True)):
        msg = f"the coordinates of {name!r} do not fit its bins any more (after interp or assign_coords); rebin instead"
        raise ValueError(msg)


def bin_edges(obj: xr.Dataset | xr.DataArray, name: str = "energy") -> np.ndarray:
    """Return the n + 1 edges of a contiguous binned axis.

    Parameters
    ----------
    obj
        Object with the axis.
    name
        Name of the axis.

    Returns
    -------
    numpy.ndarray
        Ascending, shape (n + 1,), in the unit of the axis.

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

    Parameters
    ----------
    obj
        Dataset or DataArray, for example just read from a file.

    Returns
    -------
    Dataset or DataArray
        The same values and attributes.

    Examples
    --------
    >>> plain = xr.Dataset(coords={n: ("rad", [v]) for n, v in (("rad", 0.5), ("rad_min", 0.0), ("rad_max", 1.0))})
    >>> restore_bins(plain).sel(rad=0.9).rad_max.item()
    1.0
    """
    for dim in list(obj.dims):
        names = [str(dim), f"{dim}_min", f"{dim}_max"]
        if any(n not in obj.coords or obj[n].dims != (dim,) for n in names):
            continue
        if all(isinstance(obj.xindexes.get(n), BinIndex) for n in names):
            continue
        center, lo, hi = (np.asarray(obj[n].values, dtype=float) for n in names)
        coords = bin_coords(lo, hi, center, str(dim))
        for name in names:
            coords[name].attrs.update(obj[name].attrs)
        # one after the other: xarray takes no new index for a coordinate that has one
        obj = obj.drop_vars(names).assign_coords(coords)
    return obj
