"""Light curves: flux points in bins of time, from the runs of cubes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr

from xgamma.coords.bins import bin_axis
from xgamma.dl3.observation import Observation
from xgamma.estimators.flux_points import flux_points
from xgamma.estimators.time_bins import TOLERANCE, bins_of_time, rows_inside, used_bins
from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.fitting.map_cubes import is_map
from xgamma.models.models import Models, as_models
from xgamma.reduction.stack import stack as stack_runs

__all__ = ["light_curve", "split_runs"]

LABEL = "Time since J2000.0 (TT)"
PER_DATASET = ("npred", "npred_excess", "counts")


def light_curve(
    cubes: Cubes,
    models: Any,
    source: str | None = None,
    *,
    time_intervals: Any = None,
    energy_edges: Any = None,
    selection: Sequence[str] | str = ("errn-errp", "ul"),
    stack: bool = False,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    n_sigma_sensitivity: float = 5.0,
    scan_values: Any = None,
    sqrt_ts_threshold_ul: float = 2.0,
    reoptimize: bool = False,
) -> xr.Dataset:
    """Estimate a light curve: flux points of the runs in each bin of time.

    Parameters
    ----------
    cubes
        Cube of spectra or maps with the dim ``obs``, as `xgamma.reduce` makes it with ``stack=False``; several as for
        `xgamma.flux_points`. A cube without ``obs`` is one run. Good time intervals (``gti_start``, ``gti_stop``) tell
        when; where they are lazy they are computed, and with them the spectra, which come from the same tasks.
    models, source
        As for `xgamma.flux_points`.
    time_intervals
        None for a bin of each run; ``"night"`` for runs without longer gaps than 6 h between them; a duration
        (``"10 min"``) for bins of this width from the first run on; or a list of ``(start, stop)``, astropy times,
        dates (UTC) or seconds since J2000.0 (TT). A run lies inside with all its good time: `split_runs` cuts runs
        at the ends of intervals before they are reduced.
    energy_edges, selection
        As for `xgamma.flux_points`.
    stack
        Add up the runs of each bin, rather than fit them jointly.
    n_sigma, n_sigma_ul, n_sigma_sensitivity, scan_values, sqrt_ts_threshold_ul, reoptimize
        As for `xgamma.flux_points`.

    Returns
    -------
    xarray.Dataset
        Dims (time, [region,] energy): the variables of `xgamma.flux_points`, with ``npred``, ``npred_excess`` and
        ``counts`` summed over runs. ``time`` is the middle of each bin, with ``time_min`` and ``time_max``, in seconds
        since J2000.0 (TT); ``n_runs`` the number of runs; ``gti_start``, ``gti_stop`` all good time that was used.

    Raises
    ------
    ValueError
        If cubes have no good time intervals, intervals overlap or cut a run, no run lies inside any, or as
        `xgamma.flux_points`.

    Warns
    -----
    UserWarning
        If intervals that were given hold no run, or runs lie inside none; if energies are moved to edges of the cube.

    Notes
    -----
    Flux is averaged over the good time in a bin, not over the bin.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=1)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords, "obs": [11, 12]})
    >>> cube["counts"] = ("obs", "energy"), [[99.0], [198.0]]
    >>> cube["exposure"] = ("obs", "energy_true"), [[1e14], [1e14]], {"units": "cm2 s"}
    >>> cube["gti_start"] = ("obs", "gti"), [[0.0], [1000.0]]
    >>> cube["gti_stop"] = ("obs", "gti"), [[900.0], [1900.0]]
    >>> source = SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"), name="source")
    >>> curve = light_curve(cube, source)
    >>> curve.norm.values.ravel(), curve.time.values
    (array([1., 2.]), array([ 450., 1450.]))
    """
    named = {name: _runs(name, cube) for name, cube in named_cubes(cubes).items()}
    intervals, given = bins_of_time(np.concatenate([r.spans for r in named.values()]), time_intervals)
    members = {name: rows_inside(r.spans, intervals, r.labels) for name, r in named.items()}
    intervals, members = used_bins(intervals, members, given, sum(len(r.spans) for r in named.values()))
    plain = _everywhere(as_models(models), list(named))
    settings = {
        "selection": selection,
        "n_sigma": n_sigma,
        "n_sigma_ul": n_sigma_ul,
        "n_sigma_sensitivity": n_sigma_sensitivity,
        "scan_values": scan_values,
        "sqrt_ts_threshold_ul": sqrt_ts_threshold_ul,
        "reoptimize": reoptimize,
    }
    make = _one_by_one if any(is_map(r.cube) for r in named.values()) else _at_once
    points = make(named, members, plain, source, energy_edges, stack, settings)
    with_regions = [r.cube for r in named.values() if "region" in r.cube.dims]
    result = _with_time(points, intervals, with_regions[0] if with_regions else None)
    number = sum((np.array([len(rows) for rows in m]) for m in members.values()), np.zeros(len(intervals), dtype=int))
    result = result.assign_coords(n_runs=("time", number, {"units": "", "long_name": "Number of runs"}))
    runs = [r.gti[row] for name, r in named.items() for rows in members[name] for row in rows]
    gti = np.concatenate(runs)
    gti = gti[np.lexsort(gti.T[::-1])]
    for name, values in zip(("gti_start", "gti_stop"), gti.T, strict=True):
        text = f"{'Start' if name == 'gti_start' else 'Stop'} of good time, since J2000.0 (TT)"
        result[name] = "gti", np.ascontiguousarray(values), {"units": "s", "long_name": text}
    return result


def split_runs(observations: Iterable[Observation], time_intervals: Any) -> list[Observation]:
    """Cut runs at the ends of intervals, so that each part lies inside one: for bins of time shorter than a run.

    Parameters
    ----------
    observations
        Runs.
    time_intervals
        Intervals as for `light_curve`: a duration, or a list of ``(start, stop)``.

    Returns
    -------
    list of Observation
        Parts of runs in the order of runs and intervals, for `xgamma.reduce` with ``stack=False``; the parts of a run
        have its label. Parts without good time are left out.

    Raises
    ------
    ValueError
        If intervals overlap, or no run lies inside any.

    Examples
    --------
    >>> import xgamma as xg
    >>> runs = xg.open_store(xg.sample_path("survey")).observations[:1]
    >>> start = runs[0].tstart
    >>> [round(part.ontime) for part in split_runs(runs, [(start, start + 60), (start + 60, start + 180)])]
    [60, 120]
    """
    runs = list(observations)
    good = [np.stack([run.gti["gti_start"].values, run.gti["gti_stop"].values], axis=-1) for run in runs]
    spans = np.array([[g[:, 0].min(), g[:, 1].max()] for g in good if len(g)]).reshape(-1, 2)
    intervals, _ = bins_of_time(spans, time_intervals)
    parts = []
    for run, gti in zip(runs, good, strict=True):
        for start, stop in intervals.tolist():
            if (np.minimum(gti[:, 1], stop) - np.maximum(gti[:, 0], start) > TOLERANCE).any():
                parts.append(run.select_time((start, stop)))
    if not parts:
        msg = f"none of the {len(runs)} runs has good time inside the {len(intervals)} intervals"
        raise ValueError(msg)
    return parts


def _at_once(
    named: Mapping[str, _Runs],
    members: Mapping[str, list[list[int]]],
    models: Models,
    source: str | None,
    energy_edges: Any,
    stack: bool,
    settings: Mapping[str, Any],
) -> xr.Dataset:
    """Flux points of spectra in all bins of time, which count as regions: one fit of everything."""
    binned = {name: _binned(r.cube, members[name], stack) for name, r in named.items()}
    return _summed(flux_points(binned, models, source, energy_edges=energy_edges, **settings))


def _one_by_one(
    named: Mapping[str, _Runs],
    members: Mapping[str, list[list[int]]],
    models: Models,
    source: str | None,
    energy_edges: Any,
    stack: bool,
    settings: Mapping[str, Any],
) -> xr.Dataset:
    """Flux points of maps, bin after bin: each run has responses of its own."""
    if any("region" in r.cube.dims for r in named.values()):
        msg = "spectra with the dim 'region' have light curves of their own: give them apart from maps"
        raise ValueError(msg)
    curve = []
    for i in range(len(next(iter(members.values())))):
        cubes = {name: r.cube.isel(obs=members[name][i]) for name, r in named.items() if members[name][i]}
        if stack:
            cubes = {name: stack_runs(cube) for name, cube in cubes.items()}
        points = _summed(flux_points(cubes, models, source, energy_edges=energy_edges, **settings))
        if energy_edges is not None:
            # moved edges are told once
            energy_edges = np.append(points["energy_min"].values, points["energy_max"].values[-1]) * u.TeV
        curve.append(points)
    # what the model says is the same in all bins
    same = [n for n in curve[0].data_vars if str(n).startswith("ref_") or n == "norm_scan"]
    parts = [points.drop_vars(same) for points in curve]
    joined = xr.concat(parts, "region", data_vars="all", coords="minimal", compat="override", join="override")
    return joined.assign({n: curve[0][n].variable for n in same}).assign_attrs(curve[0].attrs)


def _summed(points: xr.Dataset) -> xr.Dataset:
    """Sum what each dataset has: bins of time have datasets of different number."""
    sums = {n: points[n].sum("dataset", skipna=False, keep_attrs=True) for n in PER_DATASET}
    return points.drop_vars(["dataset", *sums]).assign(sums)


@dataclass(frozen=True, eq=False)
class _Runs:
    """A cube, and when its runs took place.

    Parameters
    ----------
    cube
        Cube of spectra with the dim obs.
    gti
        Good time of each run, shape (n, 2).
    """

    cube: xr.Dataset
    gti: list[np.ndarray]

    @property
    def labels(self) -> list[Any]:
        """Names of the runs."""
        return list(self.cube["obs"].values if "obs" in self.cube.coords else range(self.cube.sizes["obs"]))

    @property
    def spans(self) -> np.ndarray:
        """Start of the first and stop of the last good time of each run, shape (n, 2); NaN without."""
        spans = [(g[:, 0].min(), g[:, 1].max()) if len(g) else (np.nan, np.nan) for g in self.gti]
        return np.array(spans).reshape(-1, 2)


def _runs(name: str, cube: xr.Dataset) -> _Runs:
    missing = [n for n in ("gti_start", "gti_stop") if n not in cube]
    if missing:
        msg = (
            f"a light curve needs {missing}, the good time intervals of each run; {name!r} has {sorted(map(str, cube))}"
        )
        raise ValueError(msg)
    if "obs" not in cube.dims:
        cube = cube.drop_vars("obs", errors="ignore").expand_dims("obs")
    if any(cube[n].chunks is not None for n in ("gti_start", "gti_stop")):
        # those of spectra come from the tasks that make the spectra
        cube = cube.assign(cube[["gti_start", "gti_stop"]].compute()) if is_map(cube) else cube.compute()
    start, stop = (cube[n].transpose("obs", "gti").values for n in ("gti_start", "gti_stop"))
    gti = [np.stack([a, b], axis=-1)[np.isfinite(a) & np.isfinite(b)] for a, b in zip(start, stop, strict=True)]
    return _Runs(cube.drop_vars(["gti_start", "gti_stop"]), gti)


def _everywhere(models: Models, names: Sequence[str]) -> Models:
    """Models that belong to whole cubes: bins of time have no names."""
    for model in models:
        single = [n for n in model.datasets_names or () if n not in names]
        if single:
            hint = f"in a light curve models belong to whole cubes: {list(names)}"
            msg = f"model {model.name!r} belongs to {single}; {hint}"
            raise ValueError(msg)
    return models


def _binned(cube: xr.Dataset, members: Sequence[Sequence[int]], stack: bool) -> xr.Dataset:
    """Spectra with the dims (region, run, energy), where ``region`` counts bins of time (and regions behind them)."""
    rows = [list(m) for m in members]
    if stack:
        empty = cube.isel(obs=[0])
        empty["mask_safe"] = xr.zeros_like(_mask(empty))
        parts = [_spectral(stack_runs(cube.isel(obs=m) if m else empty)) for m in rows]
        cube = xr.concat(parts, "obs", data_vars="all", coords="minimal", compat="override", join="override")
        rows = [[i] for i in range(len(rows))]
    size = max(len(m) for m in rows)
    index = np.array([m + [-1] * (size - len(m)) for m in rows])
    known = index >= 0
    cube = _spectral(cube)
    if not known.all():
        cube = cube.assign(mask_safe=_mask(cube))
    return _regrouped(cube, np.where(known, index, 0), known)


def _mask(cube: xr.Dataset) -> xr.DataArray:
    return cube["mask_safe"] if "mask_safe" in cube else xr.ones_like(cube["counts"], dtype=bool)


def _spectral(cube: xr.Dataset) -> xr.Dataset:
    """What the fit of a spectrum needs."""
    names = ("counts", "background", "counts_off", "acceptance", "acceptance_off", "mask_safe", "mask_fit")
    return cube[[n for n in (*names, "exposure", "edisp") if n in cube]]


def _regrouped(cube: xr.Dataset, index: np.ndarray, known: np.ndarray) -> xr.Dataset:
    """Take runs into bins of time; bins of time and regions become one dim, of which each has points of its own."""
    n_time, n_run = index.shape
    n_region = cube.sizes.get("region", 1)
    variables = {}
    for name, array in cube.data_vars.items():
        variable = array.variable
        if not {"obs", "region"} & set(variable.dims):
            variables[name] = variable
            continue
        if "obs" in variable.dims:
            variable = variable.isel(obs=index.ravel())
            rest = [d for d in variable.dims if d not in ("obs", "region")]
            variable = variable.transpose("obs", *(d for d in ("region",) if d in variable.dims), *rest)
            shape = (n_time, n_run, *variable.shape[1:])
            variable = xr.Variable(("time", "run", *variable.dims[1:]), variable.data.reshape(shape), variable.attrs)
        if name == "mask_safe":
            variable = variable & xr.Variable(("time", "run"), known)
        rest = [str(d) for d in variable.dims if d not in ("time", "run", "region")]
        sizes = {"time": n_time, "region": n_region} | ({"run": n_run} if "run" in variable.dims else {})
        full = variable.set_dims(sizes | {d: variable.sizes[d] for d in rest})
        full = full.transpose("time", "region", *(d for d in ("run",) if d in full.dims), *rest)
        data = full.data.reshape((n_time * n_region, *full.shape[2:]))
        variables[name] = xr.Variable(("region", *full.dims[2:]), data, variable.attrs)
    drop = [n for n, c in cube.coords.items() if {"obs", "region"} & set(c.dims) or n == "region"]
    return xr.Dataset(variables, coords=cube.drop_vars(drop).coords, attrs=cube.attrs)


def _with_time(points: xr.Dataset, intervals: np.ndarray, regional: xr.Dataset | None) -> xr.Dataset:
    """Give the points their bins of time back, and their regions."""
    axis = bin_axis("time", intervals[:, 0], intervals[:, 1], "s", interp="lin", long_name=LABEL)
    n_time = len(intervals)
    variables = {}
    for name, array in points.data_vars.items():
        variable = array.variable
        if "region" in variable.dims:
            variable = variable.transpose("region", ...)
            shape: tuple[int, ...] = (n_time, *variable.shape[1:])
            dims: tuple[Any, ...] = ("time", *variable.dims[1:])
            if regional is not None:
                shape, dims = (n_time, -1, *variable.shape[1:]), ("time", "region", *variable.dims[1:])
            variable = xr.Variable(dims, variable.data.reshape(shape), variable.attrs)
        variables[name] = variable
    coords = points.drop_vars([n for n, c in points.coords.items() if "region" in c.dims]).coords
    result = xr.Dataset(variables, coords=coords, attrs=points.attrs).assign_coords(axis.coords)
    if regional is not None:
        labels = {n: c.variable for n, c in regional.coords.items() if c.dims == ("region",)}
        result = result.assign_coords(labels)
    return result
