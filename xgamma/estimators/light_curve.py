"""Light curves: flux points in bins of time, from the runs of cubes of spectra."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bins import bin_axis
from xgamma.coords.units import to_value
from xgamma.dl3.observation import Observation
from xgamma.dl3.times import time_intervals as parse_intervals
from xgamma.estimators.flux_points import flux_points
from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.models.models import Models, as_models
from xgamma.reduction.stack import stack as stack_runs

__all__ = ["light_curve", "split_runs"]

#: Runs that reach beyond an interval by less than this, in seconds, lie inside.
TOLERANCE = 1e-3
#: Runs of one night have gaps shorter than this, in seconds.
NIGHT_GAP = 6 * 3600.0
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
        Cube of spectra with the dim ``obs``, as `xgamma.reduce` makes it with ``stack=False``; several as for
        `xgamma.flux_points`. A cube without ``obs`` is one run. Good time intervals (``gti_start``, ``gti_stop``) tell
        when; where they are lazy, the spectra are computed.
    models, source
        As for `xgamma.flux_points`.
    time_intervals
        None for a bin of each run; ``"night"`` for runs without longer gaps than 6 h between them; a duration
        (``"10 min"``) for bins of this width from the first run on; or a list of ``(start, stop)``, astropy times,
        dates (UTC) or seconds since J2000.0 (TT). A run takes part where it lies inside with all its good time:
        `split_runs` cuts runs at the ends of intervals before they are reduced.
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
        If cubes have no good time intervals, intervals overlap, no run lies inside any, or as `xgamma.flux_points`.

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
    intervals, given = _intervals(np.concatenate([r.spans for r in named.values()]), time_intervals)
    members = {name: _members(r.spans, intervals) for name, r in named.items()}
    intervals, members = _used(intervals, members, given, sum(len(r.spans) for r in named.values()))
    plain = _everywhere(as_models(models), list(named))
    regions = {r.cube.sizes.get("region") for r in named.values()} - {None}
    binned = {name: _binned(r.cube, members[name], stack) for name, r in named.items()}
    points = flux_points(
        binned,
        plain,
        source,
        energy_edges=energy_edges,
        selection=selection,
        n_sigma=n_sigma,
        n_sigma_ul=n_sigma_ul,
        n_sigma_sensitivity=n_sigma_sensitivity,
        scan_values=scan_values,
        sqrt_ts_threshold_ul=sqrt_ts_threshold_ul,
        reoptimize=reoptimize,
    )
    sums = {n: points[n].sum("dataset", skipna=False, keep_attrs=True) for n in PER_DATASET}
    points = points.drop_vars(["dataset", *sums]).assign(sums)
    result = _with_time(points, intervals, next(iter(named.values())).cube if regions else None)
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
    intervals, _ = _intervals(spans, time_intervals)
    parts = []
    for run, gti in zip(runs, good, strict=True):
        for start, stop in intervals.tolist():
            if (np.minimum(gti[:, 1], stop) - np.maximum(gti[:, 0], start) > TOLERANCE).any():
                parts.append(run.select_time((start, stop)))
    if not parts:
        msg = f"none of the {len(runs)} runs has good time inside the {len(intervals)} intervals"
        raise ValueError(msg)
    return parts


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
        # they come from the same tasks as the spectra
        cube = cube.compute()
    start, stop = (cube[n].transpose("obs", "gti").values for n in ("gti_start", "gti_stop"))
    gti = [np.stack([a, b], axis=-1)[np.isfinite(a) & np.isfinite(b)] for a, b in zip(start, stop, strict=True)]
    return _Runs(cube.drop_vars(["gti_start", "gti_stop"]), gti)


def _intervals(spans: np.ndarray, asked: Any) -> tuple[np.ndarray, bool]:
    """Return the bins of time in order, shape (n, 2), and whether they were given one by one."""
    spans = spans[np.isfinite(spans).all(axis=1)]
    if not len(spans):
        msg = "no run has any good time"
        raise ValueError(msg)
    spans = np.unique(spans, axis=0)
    if asked is None:
        return _checked(spans), False
    if isinstance(asked, str) and asked == "night":
        gaps = np.flatnonzero(spans[1:, 0] - np.maximum.accumulate(spans[:, 1])[:-1] > NIGHT_GAP) + 1
        return np.array([(g[:, 0].min(), g[:, 1].max()) for g in np.split(spans, gaps)]), False
    width = _duration(asked)
    if width is not None:
        number = max(1, int(np.ceil((spans[:, 1].max() - spans[0, 0]) / width - 1e-9)))
        edges = spans[0, 0] + width * np.arange(number + 1)
        return np.stack([edges[:-1], edges[1:]], axis=-1), False
    return _checked(parse_intervals(asked, "time_intervals")), True


def _duration(asked: Any) -> float | None:
    """Seconds of a duration, None for something else."""
    if isinstance(asked, (list, tuple, np.ndarray)):
        return None
    try:
        width = to_value(asked, "s", "time_intervals")
    except (ValueError, TypeError):
        return None
    if not (isinstance(width, float) and 0 < width < np.inf):
        msg = f"time_intervals={asked!r} must be a positive duration"
        raise ValueError(msg)
    return width


def _checked(intervals: np.ndarray) -> np.ndarray:
    overlap = np.flatnonzero(intervals[1:, 0] < intervals[:-1, 1] - TOLERANCE)
    if overlap.size:
        first, second = intervals[overlap[0]], intervals[overlap[0] + 1]
        msg = (
            f"intervals {overlap[0]} and {overlap[0] + 1} overlap: {first} and {second} s since J2000.0 (TT); "
            "give time_intervals that end where the next begins, or before"
        )
        raise ValueError(msg)
    return intervals


def _members(spans: np.ndarray, intervals: np.ndarray) -> list[list[int]]:
    """Rows of the runs inside each interval."""
    inside = (spans[:, 0] >= intervals[:, :1] - TOLERANCE) & (spans[:, 1] <= intervals[:, 1:] + TOLERANCE)
    return [np.flatnonzero(row).tolist() for row in inside]


def _used(
    intervals: np.ndarray, members: Mapping[str, list[list[int]]], given: bool, number: int
) -> tuple[np.ndarray, dict[str, list[list[int]]]]:
    """Leave intervals without runs out; tell what is left out."""
    filled = np.array([any(m[i] for m in members.values()) for i in range(len(intervals))])
    if not filled.any():
        msg = (
            f"none of the {number} runs lies inside one of the {len(intervals)} intervals with all its good time; "
            "cut runs with xgamma.split_runs before they are reduced"
        )
        raise ValueError(msg)
    if given and not filled.all():
        empty = int((~filled).sum())
        msg = f"{empty} of {len(intervals)} time intervals hold no run and are left out"
        warnings.warn(msg, UserWarning, stacklevel=3)
    used = sum(len(rows) for m in members.values() for rows in m)
    if used < number:
        msg = f"{number - used} of {number} runs lie inside none of the intervals with all their good time: left out"
        warnings.warn(msg, UserWarning, stacklevel=3)
    keep = np.flatnonzero(filled)
    return intervals[keep], {name: [m[i] for i in keep] for name, m in members.items()}


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
