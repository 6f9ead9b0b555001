"""Phase-resolved cubes and phase curves: flux points in bins of the phase."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xgamma.background.phase import phase_intervals
from xgamma.coords.bins import axis_of
from xgamma.coords.units import canonical_attrs
from xgamma.dl3.observation import Observation
from xgamma.estimators.groups import points_in_groups, whole_cubes, with_bins
from xgamma.estimators.phase import phase_axis
from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.models.models import as_models
from xgamma.reduction.stack import stack as stack_runs
from xgamma.reduction.survey import reduce

__all__ = ["phase_curve", "reduce_phases"]

#: What is the same in all bins of the phase.
OF_RUNS = ("gti_start", "gti_stop", "ontime", "pointing_lon", "pointing_lat")


def reduce_phases(
    observations: Iterable[Observation],
    grid: xr.Dataset,
    phase_edges: Any,
    *,
    off_phase: Any = None,
    stack: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Reduce runs to cubes in bins of the phase of a pulsar.

    Parameters
    ----------
    observations
        Runs whose events have a column ``PHASE``; `assign_phases` makes one.
    grid
        As for `xgamma.reduce`.
    phase_edges
        Number of equal bins, or edges in turns.
    off_phase
        For spectra: an interval ``(start, stop)`` of the phase, or a list, whose events in the on region are the
        background of each bin; takes the place of ``background``.
    stack
        Add up the runs.
    **options
        The other arguments of `xgamma.reduce`.

    Returns
    -------
    xarray.Dataset
        Cube with dims (phase, [obs,] ...), lazy. Exposure and background are those of the part of the time that a bin
        stands for: flux is the flux while the pulsar has this phase.

    Raises
    ------
    ValueError
        If edges do not ascend inside 0 to 1, an on bin overlaps the off phase, or as `xgamma.reduce`.

    Notes
    -----
    The runs are read once, whatever the number of bins. With `off_phase` the acceptances are the widths of the
    intervals, as for `PhaseBackground`; flux is then the excess over that in the off phase.

    See Also
    --------
    phase_curve : flux points in the bins.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.dl3.ephemeris import Ephemeris, assign_phases
    >>> runs = xg.open_store(xg.sample_path("survey")).observations[:2]
    >>> runs = assign_phases(runs, Ephemeris(51544.5, (0.01,)))
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> grid = xg.region_grid("icrs;circle(150, -25, 0.2)", energy=energy, energy_true=energy)
    >>> cube = reduce_phases(runs, grid, 4, offset_max="2 deg", background=xg.ReflectedRegions())
    >>> dict(cube.counts.sizes)
    {'phase': 4, 'energy': 2}
    """
    axis = phase_axis(phase_edges)
    off = () if off_phase is None else phase_intervals(off_phase, "off_phase")
    bins = list(zip(axis["phase_min"].values.tolist(), axis["phase_max"].values.tolist(), strict=True))
    if off:
        _check_off(bins, off, grid, options)
        options = {"selection": ["counts", "exposure", "edisp"], **options}
    cuts: list[Any] = [*bins, *([list(off)] if off else [])]
    parts = [run.filter(phase=cut) for run in observations for cut in cuts]
    made = reduce(parts, grid, stack=False, **options)
    cube = _folded(made, len(cuts))
    if off:
        width = np.array([stop - start for start, stop in bins])
        cube = _with_off(cube, width, sum(stop - start for start, stop in off))
    cube = cube.isel(phase=slice(0, axis.size)).assign_coords(axis.coords)
    return stack_runs(cube) if stack else cube


def _check_off(bins: Sequence[Any], off: Any, grid: xr.Dataset, options: Any) -> None:
    if options.get("background") is not None:
        msg = "off_phase makes the background; leave background out"
        raise ValueError(msg)
    if "x" in grid.dims:
        msg = "off_phase is for spectra: give a grid of regions, xgamma.region_grid(...)"
        raise ValueError(msg)
    both = [(a, b) for a in bins for b in off if a[0] < b[1] - 1e-12 and b[0] < a[1] - 1e-12]
    if both:
        msg = f"the bin {both[0][0]} of the phase overlaps off_phase={list(off)}: give phase_edges that leave it out"
        raise ValueError(msg)


def _folded(cube: xr.Dataset, number: int) -> xr.Dataset:
    """Make two dims (phase, obs) of the parts of runs, which follow each other."""
    # off regions are the same in all bins, too
    cube = cube.drop_vars("off_regions", errors="ignore")
    variables = {}
    for name, array in cube.data_vars.items():
        variable = array.variable
        if "obs" in variable.dims:
            rows = [variable.isel(obs=slice(i, None, number)) for i in range(number)]
            variable = rows[0] if name in OF_RUNS else xr.Variable.concat(rows, "phase")
        variables[name] = variable
    labels = {n: c.variable.isel(obs=slice(0, None, number)) for n, c in cube.coords.items() if "obs" in c.dims}
    coords = cube.drop_vars(labels).coords
    return xr.Dataset(variables, coords=coords, attrs=cube.attrs).assign_coords(labels)


def _with_off(cube: xr.Dataset, width: np.ndarray, off: float) -> xr.Dataset:
    """Take the last bin as the off counts of all others."""
    counts = cube["counts"].variable
    names = {"counts_off": "Counts in the off phase", "acceptance": "Acceptance", "acceptance_off": "Acceptance off"}
    on = counts.isel(phase=slice(0, -1))
    # zeros of their own: acceptances read no events
    empty = xr.zeros_like(on, dtype=float)
    values = {
        "counts_off": empty + counts.isel(phase=-1),
        "acceptance": empty + xr.Variable("phase", width),
        "acceptance_off": empty + off,
    }
    values["background"] = values["counts_off"] * values["acceptance"] / off
    cube = cube.isel(phase=slice(0, -1))
    for name, variable in values.items():
        variable = variable.transpose(*on.dims)
        variable.attrs = canonical_attrs("", names.get(name, "Background"))
        cube[name] = variable
    return cube


def phase_curve(
    cubes: Cubes,
    models: Any,
    source: str | None = None,
    *,
    energy_edges: Any = None,
    selection: Sequence[str] | str = ("errn-errp", "ul"),
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    n_sigma_sensitivity: float = 5.0,
    scan_values: Any = None,
    sqrt_ts_threshold_ul: float = 2.0,
    reoptimize: bool = False,
) -> xr.Dataset:
    """Estimate a phase curve: flux points in each bin of the phase.

    Parameters
    ----------
    cubes
        Cube of spectra or maps with the dim ``phase``, as `reduce_phases` makes it; several, with the same bins, as for
        `xgamma.flux_points`.
    models, source, energy_edges, selection
        As for `xgamma.flux_points`.
    n_sigma, n_sigma_ul, n_sigma_sensitivity, scan_values, sqrt_ts_threshold_ul, reoptimize
        As for `xgamma.flux_points`.

    Returns
    -------
    xarray.Dataset
        Dims (phase, [region,] energy): the variables of `xgamma.flux_points`, with ``npred``, ``npred_excess`` and
        ``counts`` summed over runs.

    Raises
    ------
    ValueError
        If cubes have no bins of the phase, or others; or as `xgamma.flux_points`.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=1)
    >>> axes = {**energy.coords, **rename_axis(energy, "energy_true").coords, **phase_axis(2).coords}
    >>> cube = xr.Dataset(coords=axes)
    >>> cube["counts"] = ("phase", "energy"), [[99.0], [198.0]]
    >>> cube["exposure"] = ("phase", "energy_true"), [[1e14], [1e14]], {"units": "cm2 s"}
    >>> source = SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"), name="source")
    >>> phase_curve(cube, source).norm.values.ravel()
    array([1., 2.])
    """
    named = named_cubes(cubes)
    axis = _common_axis(named)
    flat = {name: _flat(cube) for name, cube in named.items()}
    members = {}
    for name, cube in flat.items():
        n = cube.sizes["obs"] // axis.size
        members[name] = [list(range(i * n, (i + 1) * n)) for i in range(axis.size)]
    settings = {
        "selection": selection,
        "n_sigma": n_sigma,
        "n_sigma_ul": n_sigma_ul,
        "n_sigma_sensitivity": n_sigma_sensitivity,
        "scan_values": scan_values,
        "sqrt_ts_threshold_ul": sqrt_ts_threshold_ul,
        "reoptimize": reoptimize,
    }
    plain = whole_cubes(as_models(models), list(named))
    points = points_in_groups(flat, members, plain, source, energy_edges, stack=False, settings=settings)
    return with_bins(points, axis, flat)


def _common_axis(named: dict[str, xr.Dataset]) -> xr.DataArray:
    axes = {}
    for name, cube in named.items():
        if "phase" not in cube.dims:
            msg = f"a phase curve needs cubes with the dim 'phase', from reduce_phases; {name!r} has {dict(cube.sizes)}"
            raise ValueError(msg)
        axes[name] = axis_of(cube, "phase")
    first = next(iter(axes))
    for name, axis in axes.items():
        for end in ("phase_min", "phase_max"):
            if axis.size != axes[first].size or not np.allclose(axis[end], axes[first][end]):
                msg = f"the bins of the phase of {name!r} are not those of {first!r}"
                raise ValueError(msg)
    return axes[first]


def _flat(cube: xr.Dataset) -> xr.Dataset:
    """One dim obs of the phases and the runs inside them."""
    if "obs" not in cube.dims:
        cube = cube.drop_vars("obs", errors="ignore").expand_dims("obs")
    variables = {}
    sizes = {d: cube.sizes[d] for d in ("phase", "obs")}
    for name, array in cube.data_vars.items():
        variable = array.variable
        if {"phase", "obs"} & set(variable.dims):
            rest = [d for d in variable.dims if d not in sizes]
            full = variable.set_dims(sizes | {d: variable.sizes[d] for d in rest}).transpose("phase", "obs", *rest)
            data = full.data.reshape((-1, *full.shape[2:]))
            variable = xr.Variable(("obs", *rest), data, variable.attrs)
        variables[name] = variable
    drop = [n for n, c in cube.coords.items() if {"phase", "obs"} & set(c.dims)]
    return xr.Dataset(variables, coords=cube.drop_vars(drop).coords, attrs=cube.attrs)
