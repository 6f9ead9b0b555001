"""Light curves: flux points in bins of time, from the runs of cubes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bins import bin_axis
from xgamma.dl3.observation import Observation
from xgamma.estimators.groups import points_in_groups, whole_cubes, with_bins
from xgamma.estimators.time_bins import TOLERANCE, bins_of_time, rows_inside, used_bins
from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.fitting.map_cubes import is_map
from xgamma.models.models import as_models

__all__ = ["light_curve", "split_runs"]

LABEL = "Time since J2000.0 (TT)"


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
    plain = whole_cubes(as_models(models), list(named))
    settings = {
        "selection": selection,
        "n_sigma": n_sigma,
        "n_sigma_ul": n_sigma_ul,
        "n_sigma_sensitivity": n_sigma_sensitivity,
        "scan_values": scan_values,
        "sqrt_ts_threshold_ul": sqrt_ts_threshold_ul,
        "reoptimize": reoptimize,
    }
    cubes_of_runs = {name: r.cube for name, r in named.items()}
    points = points_in_groups(cubes_of_runs, members, plain, source, energy_edges, stack=stack, settings=settings)
    axis = bin_axis("time", intervals[:, 0], intervals[:, 1], "s", interp="lin", long_name=LABEL)
    result = with_bins(points, axis, cubes_of_runs)
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
