"""Flux points and light curves in wider bins, without the events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of, bin_axis
from xgamma.estimators.sed import flag_upper_limits, to_sed_type
from xgamma.io.flux_layout import REFERENCES, THRESHOLD, flux_attrs, sed_type_of

__all__ = ["rebin_points"]

#: Sums over the bins that are joined.
SUMS = ("counts", "npred_background", "stat_null", "n_runs")


def rebin_points(
    points: xr.Dataset, dim: str, *, group_size: int | None = None, min_significance: float | None = None
) -> xr.Dataset:
    """Join neighbouring bins of flux points or of a light curve.

    Parameters
    ----------
    points
        Flux points, dims (..., `dim`), of any SED type with the fluxes of their reference spectrum.
    dim
        ``"energy"`` or ``"time"``.
    group_size
        Number of bins that are joined; the last bin may be made of fewer.
    min_significance
        Join bins until the root of their summed ``ts`` reaches this number; one other energy or region at most. Bins
        that are left at the end are joined with one another. This computes ``ts``.

    Returns
    -------
    xarray.Dataset
        The same SED type and variables as far as they can be joined, lazy where the points are (with `group_size`).

    Raises
    ------
    ValueError
        If `dim` is not a binned dim of the points, or not one of `group_size` and `min_significance` is given.

    Notes
    -----
    One norm is fitted to the norms of the bins, whose statistic is taken as a parabola with ``norm_err``; upper limits
    are ``n_sigma_ul`` errors above. With likelihood profiles (``stat_scan``) norms, errors and limits are those of the
    summed profile instead, where its minimum lies inside and its steps are below two standard deviations: the joint fit
    of all bins. Parabolas weight low fluxes higher, because their errors are smaller; profiles do not. ``stat_null``
    and counts are sums. The flux is taken as constant in all bins, or with the shape of the reference spectrum.

    Examples
    --------
    >>> time = bin_axis("time", np.arange(4.0), np.arange(1.0, 5.0), "s", interp="lin")
    >>> norm = {"norm": ("time", [1.0, 3.0, 5.0, 5.0]), "norm_err": ("time", np.ones(4))}
    >>> joined = rebin_points(xr.Dataset(norm, time.coords, {"sed_type": "likelihood"}), "time", group_size=2)
    >>> joined.norm.values, joined.norm_err.values.round(3), joined.time_max.values
    (array([2., 5.]), array([0.707, 0.707]), array([2., 4.]))
    """
    if dim not in ("energy", "time") or dim not in points.dims:
        msg = f"dim={dim!r} must be 'energy' or 'time' and a dim of the points, which have {dict(points.sizes)}"
        raise ValueError(msg)
    if (group_size is None) == (min_significance is None):
        msg = "give either group_size or min_significance"
        raise ValueError(msg)
    axis = axis_of(points, dim)
    groups = _fixed(axis.size, group_size) if group_size is not None else _significant(points, dim, min_significance)
    old = sed_type_of(points)
    plain = to_sed_type(points, "likelihood") if old != "likelihood" else points
    result = _joined(plain, dim, groups)
    low, high = (axis[f"{dim}_{end}"].values for end in ("min", "max"))
    attrs = axis.attrs
    first, last = [g.start for g in groups], [g.stop - 1 for g in groups]
    wide = bin_axis(dim, low[first], high[last], attrs.get("units", ""), attrs.get("interp", "log"))
    wide[dim].attrs.update(attrs)
    keep = [n for n, c in plain.coords.items() if dim not in c.dims and "dataset" not in c.dims]
    result = result.assign_coords({n: plain[n].variable for n in keep}).assign_coords(wide.coords)
    if dim == "energy":
        result = result.assign(_references(plain, wide, groups))
    result = result.set_coords([n for n in result.data_vars if n in plain.coords])
    result.attrs = dict(plain.attrs)
    result = flag_upper_limits(result, float(points.attrs.get("sqrt_ts_threshold_ul", THRESHOLD)))
    return to_sed_type(result, old) if old != "likelihood" else result


def _fixed(number: int, size: Any) -> list[slice]:
    if isinstance(size, bool) or int(size) != size or size < 1:
        msg = f"group_size={size!r} must be a whole number of at least 1"
        raise ValueError(msg)
    return [slice(i, min(i + int(size), number)) for i in range(0, number, int(size))]


def _significant(points: xr.Dataset, dim: str, least: Any) -> list[slice]:
    if not (np.isfinite(least) and least > 0):
        msg = f"min_significance={least!r} must be a positive number"
        raise ValueError(msg)
    wide = [d for d in points["ts"].dims if d != dim and points.sizes[d] > 1] if "ts" in points else ["ts"]
    if wide:
        msg = f"min_significance needs 'ts' of one curve: select one of {wide} first"
        raise ValueError(msg)
    ts = np.nan_to_num(points["ts"].values.ravel())
    edges, total = [0], 0.0
    for i, value in enumerate(ts):
        total += value
        if total >= least**2:
            edges.append(i + 1)
            total = 0.0
    if edges[-1] < ts.size:
        edges.append(ts.size)
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _joined(points: xr.Dataset, dim: str, groups: Sequence[slice]) -> xr.Dataset:
    """Join norms, and sum what adds up."""
    missing = [n for n in ("norm", "norm_err") if n not in points]
    if missing:
        msg = f"bins are joined by their norms and errors; {missing} are missing"
        raise ValueError(msg)
    names = ["norm", "norm_err", *(n for n in ("stat", "stat_null", "norm_ul") if n in points)]
    variables = {n: points[n].variable for n in names}
    scan = "stat_scan" in points and "norm_scan" in points.variables and points["norm_scan"].ndim == 1
    if scan:
        variables |= {n: points[n].variable for n in ("stat_scan", "norm_scan")}
    core = [[d for d in v.dims if d in (dim, "scan")] for v in variables.values()]
    core = [sorted(c, key=lambda d: d == "scan") for c in core]
    whole = [
        v.chunk(dict.fromkeys(set(v.dims) & {dim, "scan"}, -1)) if v.chunks is not None else v
        for v in variables.values()
    ]
    output = ["norm", "norm_err", "norm_ul", "stat", *(["stat_scan"] if scan else [])]
    dims = [[f"{dim}_new", "scan"] if n == "stat_scan" else [f"{dim}_new"] for n in output]
    results = xr.apply_ufunc(
        _join,
        *whole,
        input_core_dims=core,
        output_core_dims=dims,
        kwargs={"names": list(variables), "groups": groups, "n_sigma_ul": float(points.attrs.get("n_sigma_ul", 2.0))},
        dask="parallelized",
        output_dtypes=[float] * len(output),
        dask_gufunc_kwargs={"output_sizes": {f"{dim}_new": len(groups)}},
    )
    found = dict(zip(output, results, strict=True))
    result = {n: _renamed(v, dim) for n, v in found.items() if n != "stat" or "stat" in points}
    if "norm_ul" not in points and not scan:
        del result["norm_ul"]
    for name in SUMS:
        if name in points.variables and dim in points[name].dims:
            result[name] = _sum(points[name].variable, dim, groups)
    if "npred_background" not in points and {"npred", "npred_excess"} <= set(points.data_vars):
        background = points["npred"].variable - points["npred_excess"].variable
        result["npred_background"] = _sum(background, dim, groups)
    if "npred_excess" in points:
        norm = points["norm"].variable
        one = points["npred_excess"].variable / norm.where(norm != 0, np.nan)
        result["npred_excess"] = _sum(one, dim, groups) * result["norm"]
        result["npred"] = result["npred_excess"] + result["npred_background"]
    if "stat" in result and "stat_null" in result:
        result["ts"] = result["stat_null"] - result["stat"]
        result["sqrt_ts"] = (result["ts"] * (result["ts"] > 0)) ** 0.5 * (2.0 * (result["norm"] >= 0) - 1.0)
    else:
        result["sqrt_ts"] = result["norm"] / result["norm_err"]
        result["ts"] = result["sqrt_ts"] ** 2
    if "success" in points:
        done = [points["success"].variable.isel({dim: g}).any(dim) for g in groups]
        result["success"] = xr.Variable.concat(done, dim)
    order = points["norm"].dims
    dataset = xr.Dataset({n: v.transpose(*(d for d in order if d in v.dims), ...) for n, v in result.items()})
    for key in dataset.data_vars:
        dataset[key].attrs = dict(points[key].attrs) if key in points else flux_attrs(str(key))
    fixed = [n for n in (*REFERENCES,) if n in points and dim not in points[n].dims]
    return dataset.assign({n: points[n].variable for n in fixed})


def _renamed(variable: xr.Variable, dim: str) -> xr.Variable:
    return xr.Variable([dim if d == f"{dim}_new" else d for d in variable.dims], variable.data)


def _sum(variable: xr.Variable, dim: str, groups: Sequence[slice]) -> xr.Variable:
    return xr.Variable.concat([variable.isel({dim: g}).sum(dim) for g in groups], dim)


def _join(*arrays: np.ndarray, names: Sequence[str], groups: Sequence[slice], n_sigma_ul: float) -> tuple[Any, ...]:
    """Join norms of shape (..., bin) in groups; profiles have the shape (..., bin, scan)."""
    given = dict(zip(names, arrays, strict=True))
    norm, err = given["norm"], given["norm_err"]
    stat = given.get("stat", np.zeros(norm.shape))
    known = np.isfinite(norm) & (err > 0)
    weight = np.where(known, np.where(known, err, 1.0) ** -2.0, 0.0)
    value = np.where(known, norm, 0.0)
    results = []
    for g in groups:
        total = weight[..., g].sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weight * value)[..., g].sum(axis=-1) / total
            error = np.where(total > 0, total, np.nan) ** -0.5
            rise = (weight[..., g] * (value[..., g] - mean[..., None]) ** 2).sum(axis=-1)
        best = np.where(total > 0, np.where(known, stat, 0.0)[..., g].sum(axis=-1) + rise, np.nan)
        results.append([mean, error, mean + n_sigma_ul * error, best])
    joined = [np.stack([r[k] for r in results], axis=-1) for k in range(4)]
    if "stat_scan" not in given:
        return tuple(joined)
    sums = np.stack([given["stat_scan"][..., g, :].sum(axis=-2) for g in groups], axis=-2)
    for place in np.ndindex(*sums.shape[:-1]):
        found = _profile(given["norm_scan"], sums[place], n_sigma_ul, float(joined[1][place]))
        if found is not None:
            for k, number in enumerate(found):
                if np.isfinite(number):
                    joined[k][place] = number
    return (*joined, sums)


def _profile(
    norms: np.ndarray, stat: np.ndarray, n_sigma_ul: float, error: float
) -> tuple[float, float, float, float] | None:
    """Norm, error, limit and minimum of a profile; None where its minimum is not inside, or its steps are too wide."""
    from scipy.interpolate import CubicSpline

    lowest = int(np.argmin(stat)) if np.isfinite(stat).all() else 0
    if len(norms) < 4 or lowest in (0, len(norms) - 1):
        return None
    curve = CubicSpline(norms, stat)
    if not norms[lowest + 1] - norms[lowest - 1] < 4 * error:
        return None
    turns = [t for t in curve.derivative().roots(extrapolate=False) if norms[lowest - 1] <= t <= norms[lowest + 1]]
    if not turns:
        return None
    best = min(turns, key=lambda t: float(curve(t)))
    least = float(curve(best))
    bend = float(curve(best, 2))
    above = [t for t in curve.solve(least + n_sigma_ul**2, extrapolate=False) if t > best]
    return float(best), (2.0 / bend) ** 0.5 if bend > 0 else np.nan, min(above) if above else np.nan, least


def _references(points: xr.Dataset, wide: xr.DataArray, groups: Sequence[slice]) -> dict[str, xr.Variable]:
    """Fluxes of the reference spectrum: sums over bins; at the new middles from the power laws between the old ones."""
    result = {}
    for name in ("ref_flux", "ref_eflux"):
        if name in points:
            result[name] = _sum(points[name].variable, "energy", groups)
    old, new = np.log(axis_of(points, "energy").values), np.log(wide.values)
    for name in ("ref_dnde", "ref_e2dnde"):
        if name in points:
            values = np.log(points[name].values)
            at = np.interp(new, old, values) if len(old) > 1 else values
            result[name] = xr.Variable("energy", np.exp(at))
    for name, variable in result.items():
        variable.attrs = flux_attrs(name)
    return result
