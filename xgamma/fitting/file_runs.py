"""Maps and spectra of many runs as files: a cube for each run, joined again when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.sky import PREFIXES, grid_of, has_sky

__all__ = ["join_runs", "run_of"]

#: Attribute that keeps which variables differ between runs.
PER_RUN = "xgamma_per_run"
#: Padded with NaN to the longest.
PADDED = "gti"


def run_of(cube: xr.Dataset, number: int) -> xr.Dataset:
    """Return the cube of one run, which knows what of it belongs to the run alone.

    Examples
    --------
    >>> cube = xr.Dataset({"counts": ("obs", [3.0, 4.0]), "psf": ((), 1.0)}, {"obs": [7, 8]})
    >>> run_of(cube, 1).attrs
    {'xgamma_per_run': ['counts']}
    """
    names = [str(n) for n, v in cube.variables.items() if "obs" in v.dims and n != "obs"]
    return cube.isel(obs=number).assign_attrs({PER_RUN: names})


def join_runs(pieces: Sequence[xr.Dataset], labels: Sequence[Any], name: str) -> xr.Dataset:
    """Join cubes of runs along ``obs``; lazy ones stay lazy.

    Parameters
    ----------
    pieces
        A cube for each run. Where they do not say what belongs to their run alone, everything does.
    labels
        Labels of the runs.
    name
        Name of the group, for messages.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        If the runs differ in their axes, grids or variables.

    Examples
    --------
    >>> cube = xr.Dataset({"counts": ("obs", [3.0, 4.0]), "psf": ((), 1.0)}, {"obs": [7, 8]})
    >>> join_runs([run_of(cube, 0), run_of(cube, 1)], [7, 8], "crab").identical(cube)
    True
    """
    bare = [p.drop_vars("obs", errors="ignore") for p in pieces]
    first = bare[0]
    for label, piece in zip(labels, bare, strict=True):
        _check_alike(first, piece, f"run {label} of {name!r}", f"run {labels[0]}")
    attrs = dict(first.attrs)
    names = attrs.pop(PER_RUN, None)
    names = [str(n) for n in first.data_vars] if names is None else [n for n in names if n in first.variables]
    joined = {n: _stacked([p[n].variable for p in bare]) for n in names}
    coords = {n: v for n, v in joined.items() if n in first.coords}
    data = {n: v for n, v in joined.items() if n not in coords}
    rest = first.drop_dims(PADDED, errors="ignore").drop_vars(names, errors="ignore")
    result = rest.assign_coords({"obs": list(labels), **coords}).assign(data)
    result.attrs = attrs
    return result[[n for n in first.data_vars if n in result]]


def _stacked(variables: Sequence[xr.Variable]) -> xr.Variable:
    """Put a variable of all runs behind each other, intervals of different number padded."""
    if PADDED in variables[0].dims:
        length = max(v.sizes[PADDED] for v in variables)
        variables = [v.pad({PADDED: (0, length - v.sizes[PADDED])}, constant_values=np.nan) for v in variables]
    return xr.Variable.concat([v.set_dims({"obs": 1, **v.sizes}) for v in variables], "obs")


def _check_alike(first: xr.Dataset, piece: xr.Dataset, this: str, other: str) -> None:
    names = set(first.data_vars) ^ set(piece.data_vars)
    if names:
        msg = f"{this} and {other} do not hold the same: only one of them has {sorted(map(str, names))}"
        raise ValueError(msg)
    for dim in sorted(map(str, set(first.dims) | set(piece.dims))):
        if dim == PADDED:
            continue
        same = first.sizes.get(dim) == piece.sizes.get(dim)
        edges = [n for n in (dim, f"{dim}_min", f"{dim}_max") if n in first.coords]
        if not same or not all(n in piece.coords and np.array_equal(first[n], piece[n]) for n in edges):
            msg = f"{this} and {other} have other {dim!r}; give them groups of their own in datasets.yaml"
            raise ValueError(msg)
    for prefix in PREFIXES:
        if has_sky(first, prefix) and grid_of(first, prefix) != grid_of(piece, prefix):
            msg = f"{this} and {other} lie on other pixels; give them groups of their own in datasets.yaml"
            raise ValueError(msg)
