"""Flux points of groups of runs: bins of time or of phase, each with a fit of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr

from xgamma.estimators.flux_points import flux_points
from xgamma.fitting.map_cubes import is_map
from xgamma.models.models import Models
from xgamma.reduction.stack import stack as stack_runs

__all__ = ["points_in_groups", "whole_cubes", "with_bins"]

PER_DATASET = ("npred", "npred_excess", "counts")


def points_in_groups(
    cubes: Mapping[str, xr.Dataset],
    members: Mapping[str, list[list[int]]],
    models: Models,
    source: str | None,
    energy_edges: Any,
    *,
    stack: bool,
    settings: Mapping[str, Any],
) -> xr.Dataset:
    """Return the flux points of groups of runs.

    Parameters
    ----------
    cubes
        Cubes of spectra or maps with the dim obs, by name.
    members
        Rows of the runs in each group, for each cube.
    models, source, energy_edges
        As for `xgamma.flux_points`.
    stack
        Add up the runs of each group, rather than fit them jointly.
    settings
        Further arguments of `xgamma.flux_points`.

    Returns
    -------
    xarray.Dataset
        Dims (region, energy): groups, and inside them regions; see `with_bins`. What each dataset has is summed.
    """

    def estimate(group: Mapping[str, xr.Dataset], edges: Any) -> xr.Dataset:
        return _summed(flux_points(group, models, source, energy_edges=edges, **settings))

    if any(is_map(cube) for cube in cubes.values()):
        return _one_by_one(cubes, members, stack, energy_edges, estimate)
    # spectra of all groups count as regions: one fit of everything
    return estimate({name: _binned(cube, members[name], stack) for name, cube in cubes.items()}, energy_edges)


def _one_by_one(
    cubes: Mapping[str, xr.Dataset],
    members: Mapping[str, list[list[int]]],
    stack: bool,
    energy_edges: Any,
    estimate: Callable[[Mapping[str, xr.Dataset], Any], xr.Dataset],
) -> xr.Dataset:
    """Flux points of maps, group after group: each run has responses of its own."""
    if any("region" in cube.dims for cube in cubes.values()):
        msg = "spectra with the dim 'region' have light curves of their own: give them apart from maps"
        raise ValueError(msg)
    curve = []
    for i in range(len(next(iter(members.values())))):
        group = {name: cube.isel(obs=members[name][i]) for name, cube in cubes.items() if members[name][i]}
        if stack:
            group = {name: stack_runs(cube) for name, cube in group.items()}
        points = estimate(group, energy_edges)
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
    """Sum what each dataset has: groups have datasets of different number."""
    sums = {n: points[n].sum("dataset", skipna=False, keep_attrs=True) for n in PER_DATASET}
    return points.drop_vars(["dataset", *sums]).assign(sums)


def _binned(cube: xr.Dataset, members: Sequence[Sequence[int]], stack: bool) -> xr.Dataset:
    """Spectra with the dims (region, run, energy), where ``region`` counts groups (and regions behind them)."""
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
    """Take runs into groups; groups and regions become one dim, of which each has points of its own."""
    n_group, n_run = index.shape
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
            shape = (n_group, n_run, *variable.shape[1:])
            variable = xr.Variable(("group", "run", *variable.dims[1:]), variable.data.reshape(shape), variable.attrs)
        if name == "mask_safe":
            variable = variable & xr.Variable(("group", "run"), known)
        rest = [str(d) for d in variable.dims if d not in ("group", "run", "region")]
        sizes = {"group": n_group, "region": n_region} | ({"run": n_run} if "run" in variable.dims else {})
        full = variable.set_dims(sizes | {d: variable.sizes[d] for d in rest})
        full = full.transpose("group", "region", *(d for d in ("run",) if d in full.dims), *rest)
        data = full.data.reshape((n_group * n_region, *full.shape[2:]))
        variables[name] = xr.Variable(("region", *full.dims[2:]), data, variable.attrs)
    drop = [n for n, c in cube.coords.items() if {"obs", "region"} & set(c.dims) or n == "region"]
    return xr.Dataset(variables, coords=cube.drop_vars(drop).coords, attrs=cube.attrs)


def with_bins(points: xr.Dataset, axis: xr.DataArray, cubes: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Give points of groups the axis that the groups are the bins of, and their regions.

    Parameters
    ----------
    points
        From `points_in_groups`.
    axis
        Bins, dims (n,).
    cubes
        The cubes, whose regions come back.

    Returns
    -------
    xarray.Dataset
        Dims (n, [region,] energy).
    """
    regional = next((cube for cube in cubes.values() if "region" in cube.dims), None)
    dim, number = str(axis.name), axis.size
    variables = {}
    for name, array in points.data_vars.items():
        variable = array.variable
        if "region" in variable.dims:
            variable = variable.transpose("region", ...)
            shape: tuple[int, ...] = (number, *variable.shape[1:])
            dims: tuple[Any, ...] = (dim, *variable.dims[1:])
            if regional is not None:
                shape, dims = (number, -1, *variable.shape[1:]), (dim, "region", *variable.dims[1:])
            variable = xr.Variable(dims, variable.data.reshape(shape), variable.attrs)
        variables[name] = variable
    coords = points.drop_vars([n for n, c in points.coords.items() if "region" in c.dims]).coords
    result = xr.Dataset(variables, coords=coords, attrs=points.attrs).assign_coords(axis.coords)
    if regional is not None:
        labels = {n: c.variable for n, c in regional.coords.items() if c.dims == ("region",)}
        result = result.assign_coords(labels)
    return result


def whole_cubes(models: Models, names: Sequence[str]) -> Models:
    """Return models that belong to whole cubes: groups of runs have no names.

    Raises
    ------
    ValueError
        If a model belongs to a single run.
    """
    for model in models:
        single = [n for n in model.datasets_names or () if n not in names]
        if single:
            hint = f"models in bins of time or phase belong to whole cubes: {list(names)}"
            msg = f"model {model.name!r} belongs to {single}; {hint}"
            raise ValueError(msg)
    return models
