"""Spectra of regions: from runs to one lazy cube without pixels."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import getitem
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xgamma.dl3.observation import Observation
from xgamma.io.provenance import provenance
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.footprint import plan_pointing
from xgamma.reduction.graph import batches
from xgamma.reduction.measured import measured
from xgamma.reduction.region_background import PreparedOff, Usable, check_spectrum_background
from xgamma.reduction.spectrum_settings import SpectrumSettings, spectrum_settings
from xgamma.reduction.spectrum_task import ON_OFF, finish_spectra, reduce_spectra, same_run
from xgamma.reduction.tasks import add

__all__ = ["reduce_to_spectra"]

#: Units and labels.
ATTRS = {
    "counts": ("", "Counts"),
    "counts_off": ("", "Counts in the off regions"),
    "acceptance": ("", "Acceptance"),
    "acceptance_off": ("", "Acceptance in the off regions"),
    "background": ("", "Predicted background counts"),
    "mask_safe": ("", "Safe data range"),
    "exposure": ("cm2 s", "Exposure"),
    "edisp": ("", "Energy dispersion"),
    "n_off_regions": ("", "Number of off regions"),
    "off_regions": ("", "Off regions"),
    "livetime": ("s", "Livetime"),
    "ontime": ("s", "Ontime"),
    "pointing_lon": ("deg", "Right ascension of the pointing"),
    "pointing_lat": ("deg", "Declination of the pointing"),
    "gti_start": ("s", "Start of good time, since J2000.0 (TT)"),
    "gti_stop": ("s", "Stop of good time, since J2000.0 (TT)"),
}
#: Runs in one task at most, and tasks at least where there are enough runs: several cores are kept busy.
LARGEST_BATCH = 32
FEWEST_BATCHES = 8
#: Batches that one task adds up.
SUMMANDS = 8
#: The index table may differ from the event header by this much, deg: no run is left out that a task would use.
POINTING_MARGIN = 0.5


def reduce_to_spectra(
    observations: Sequence[Observation],
    grid: xr.Dataset,
    *,
    background: Any = None,
    stack: bool = True,
    chunks: Mapping[str, int] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Reduce runs to the spectra of regions; see `xgamma.reduce`, which documents all arguments.

    Parameters
    ----------
    observations
        Runs.
    grid
        Coordinates of regions and energies, from `xgamma.region_grid`.
    background
        A background from the events of each run, as `xgamma.ReflectedRegions`.
    stack
        Add all runs up inside their safe masks.
    chunks
        ``{"obs": n}``: runs in one task.
    **options
        The other arguments of `xgamma.reduce`.

    Returns
    -------
    xarray.Dataset
    """
    off = None if background is None else check_spectrum_background(background).prepare_spectrum(grid)
    if not observations:
        msg = "there are no runs to reduce: the selection is empty"
        raise ValueError(msg)
    settings = spectrum_settings(grid, observations, off=off, **options)
    runs = _near(_complete(observations, settings), settings)
    arrays = _arrays(runs, settings, off, _batch_size(chunks, len(runs)), stack=stack, text=_text(grid, settings))
    variables = {name: xr.Variable(_dims(name, settings, stack), a, _attrs(name)) for name, a in arrays.items()}
    coords = _coords(grid, settings, runs, stack=stack)
    # texts label the spectra, they are no numbers
    texts = {name: variables.pop(name) for name in ("off_regions",) if name in variables}
    cube = xr.Dataset(variables, coords=coords.assign(texts))
    cube.attrs = provenance([run.obs_id for run in runs], _described(settings, options, stack, off))
    if off is not None:
        cube.attrs["background_method"] = off.method
    return cube


def _described(
    settings: SpectrumSettings, options: Mapping[str, Any], stack: bool, off: PreparedOff | None
) -> dict[str, Any]:
    return {
        "selection": list(settings.selection),
        "offset_max": None if settings.offset_max is None else f"{settings.offset_max:g} deg",
        "safe_mask": [mask.describe() for mask in settings.masks],
        "stack": stack,
        "containment_correction": settings.containment_correction,
        "use_region_center": bool(options["use_region_center"]),
        "background_oversampling": settings.background_oversampling,
        **({} if off is None else {"background": off.method}),
    }


def _complete(observations: Sequence[Observation], settings: SpectrumSettings) -> list[Observation]:
    """Leave runs out that lack a response."""
    lacking = {}
    for run in observations:
        missing = [t for t in settings.required if t not in run.available and t != "gti"]
        if missing:
            lacking[run.obs_id] = missing
    if not lacking:
        return list(observations)
    kinds = sorted({name for missing in lacking.values() for name in missing})
    if len(lacking) == len(observations):
        msg = (
            f"none of the {len(observations)} runs has all of {list(settings.required)}: "
            f"{kinds} are missing; change the selection"
        )
        raise ValueError(msg)
    msg = f"{len(lacking)} of {len(observations)} runs have no {kinds} and are left out: {_names(list(lacking))}"
    warnings.warn(msg, UserWarning, stacklevel=4)
    return [run for run in observations if run.obs_id not in lacking]


def _near(runs: list[Observation], settings: SpectrumSettings) -> list[Observation]:
    """Leave runs out that point further from every region than the reduction looks."""
    if settings.offset_max is None:
        return runs
    centers = np.stack([region.center for region in settings.regions])
    near: list[Observation] = []
    far: list[Observation] = []
    for run in runs:
        pointing = to_vectors(*(np.asarray(v) for v in plan_pointing(run)))
        offset = separation(centers, pointing)
        # a run that points nowhere is looked at by its task
        (far if (offset > settings.offset_max + POINTING_MARGIN).all() else near).append(run)
    if not near:
        msg = f"no run points within {settings.offset_max:g} deg of a region: {_names([run.obs_id for run in far])}"
        raise ValueError(msg)
    if far:
        names = _names([run.obs_id for run in far])
        msg = f"{len(far)} of {len(runs)} runs point further than offset_max from every region, left out: {names}"
        warnings.warn(msg, UserWarning, stacklevel=4)
    return near


def _names(obs_ids: Sequence[Any], most: int = 20) -> str:
    text = ", ".join(str(i) for i in obs_ids[:most])
    return text if len(obs_ids) <= most else f"{text}, ... ({len(obs_ids)} in all)"


def _batch_size(chunks: Mapping[str, int] | None, number: int) -> int:
    """Runs in one task."""
    if chunks is not None and not isinstance(chunks, Mapping):
        msg = f"chunks={chunks!r} must be a mapping, such as {{'obs': 10}}"
        raise TypeError(msg)
    unknown = sorted(set(chunks or {}) - {"obs", "region", "energy", "energy_true"})
    if unknown:
        msg = (
            f"chunks={chunks!r}: {unknown} are not dims of spectra; give the number of runs in one task, {{'obs': 10}}"
        )
        raise ValueError(msg)
    size = (chunks or {}).get("obs")
    if size in (-1, None):
        size = number if size == -1 else min(LARGEST_BATCH, -(-number // FEWEST_BATCHES))
    if int(size) < 1:
        msg = f"chunks={chunks!r}: a task must have at least one run"
        raise ValueError(msg)
    return int(size)


def _batches(runs: Sequence[Observation], size: int) -> list[list[Observation]]:
    """Put runs into batches of `size` at most; the parts of a run, which share its files, stay together if they can."""
    result: list[list[Observation]] = []
    for _, parts in groupby(runs, key=same_run):
        for group in batches(list(parts), size):
            if result and len(result[-1]) + len(group) <= size:
                result[-1] += group
            else:
                result.append(list(group))
    return result


def _text(grid: xr.Dataset, settings: SpectrumSettings) -> str:
    """What tells the settings from others, also in another process."""
    axes = [settings.energy_edges, settings.energy_true_edges, settings.energy, settings.energy_true]
    numbers = (settings.background_oversampling, settings.max_gti, settings.containment_correction, settings.single)
    weights = [region.weights for region in settings.regions]
    regions = [str(t) for t in np.atleast_1d(grid["region"].values)]
    names = (settings.selection, repr(settings.masks), settings.offset_max)
    return str(tokenize(axes, numbers, weights, regions, names))


def _arrays(
    runs: Sequence[Observation],
    settings: SpectrumSettings,
    off: PreparedOff | None,
    size: int,
    *,
    stack: bool,
    text: str,
) -> dict[str, da.Array]:
    """Return the variables as Dask arrays: one task makes a batch of runs, cheap ones take a variable out."""
    words = [text, "" if off is None else off.token, str(stack), str(size)]
    words += [repr(run.__dask_tokenize__()) for run in runs]
    name = f"reduce-spectra-{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:32]}"
    layer: dict[Any, Any] = {f"{name}-settings": settings}
    usable, graphs = _usable_key(layer, name, None if off is None else off.usable)
    groups = _batches(runs, size)
    first = 0
    work: list[tuple[Any, ...]] = []
    for group in groups:
        rows = (first, len(runs)) if stack else None
        # literals are bound into a partial, where dask does not look for keys
        call = functools.partial(measured, function=reduce_spectra, runs=group, rows=rows)
        work.append((call, f"{name}-settings", *usable))
        first += len(group)
    if stack:
        # the order of the sums is fixed by the graph: every scheduler gives the same bits
        layer[name, 0] = (finish_spectra, _sum(layer, f"{name}-part", work), f"{name}-settings")
    else:
        layer |= {(name, i): task for i, task in enumerate(work)}
    sizes = tuple(len(group) for group in groups)
    return {
        variable: _variable(name, layer, graphs, variable, shape, dtype, sizes, stack=stack)
        for variable, (shape, dtype) in _shapes(settings, len(runs), stack).items()
    }


def _sum(layer: dict[Any, Any], name: str, work: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Put tasks and a tree of their sums into the graph; return the key of the sum. Spectra are small: no sum waits."""
    level = [(name, 0, i) for i in range(len(work))]
    layer |= dict(zip(level, work, strict=True))
    depth = 1
    while len(level) > 1:
        groups = batches(level, SUMMANDS)
        level = [(name, depth, i) for i in range(len(groups))]
        layer.update({key: (add, *group) for key, group in zip(level, groups, strict=True)})
        depth += 1
    return level[0]


def _usable_key(layer: dict[Any, Any], name: str, usable: Usable | None) -> tuple[tuple[Any, ...], list[Any]]:
    """Put the map of usable pixels into the graph; lazy, it is joined to one array by a task."""
    if usable is None:
        return (), []
    if isinstance(usable.values, np.ndarray):
        layer[f"{name}-usable"] = usable
        return (f"{name}-usable",), []
    whole = usable.values.rechunk(-1)
    layer[f"{name}-usable"] = (Usable, usable.grid, (whole.name, 0, 0))
    return (f"{name}-usable",), [whole]


def _variable(
    name: str,
    layer: Mapping[Any, Any],
    graphs: Sequence[da.Array],
    variable: str,
    shape: tuple[int, ...],
    dtype: Any,
    sizes: tuple[int, ...],
    *,
    stack: bool,
) -> da.Array:
    own = f"{variable}-{name}"
    chunks: tuple[tuple[int, ...], ...]
    if stack:
        chunks = tuple((n,) for n in shape)
        blocks: dict[Any, Any] = {(own, *(0,) * len(chunks)): (getitem, (name, 0), variable)}
    else:
        chunks = (sizes, *((n,) for n in shape[1:]))
        blocks = {(own, i, *(0,) * (len(chunks) - 1)): (getitem, (name, i), variable) for i in range(len(sizes))}
    layers: dict[str, Any] = {name: dict(layer), own: blocks}
    dependencies: dict[str, set[str]] = {name: set(), own: {name}}
    for array in graphs:
        layers |= dict(array.dask.layers)
        dependencies |= {key: set(value) for key, value in array.dask.dependencies.items()}
        dependencies[name].add(array.name)
    graph = HighLevelGraph(layers, dependencies)
    return da.Array(graph, own, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype=dtype))


def _shapes(settings: SpectrumSettings, number: int, stack: bool) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of every variable."""
    n_energy = settings.n_energy
    n_true = 0 if settings.energy_true is None else len(settings.energy_true)
    first = () if stack else (number,)
    ahead = first if settings.single else (*first, len(settings.regions))
    spectra: list[str] = [name for name in ("counts", "background") if name in settings.selection]
    spectra += ON_OFF if settings.off is not None else []
    shapes: dict[str, tuple[tuple[int, ...], Any]] = dict.fromkeys(spectra, ((*ahead, n_energy), float))
    shapes["mask_safe"] = (*ahead, n_energy), bool
    if "exposure" in settings.selection:
        shapes["exposure"] = (*ahead, n_true), float
    if "edisp" in settings.selection:
        shapes["edisp"] = (*ahead, n_true, n_energy), float
    if settings.off is not None:
        shapes["n_off_regions"] = ahead, np.int64
        if not stack:
            shapes["off_regions"] = ahead, object
    shapes |= dict.fromkeys(("livetime", "ontime"), (first, float))
    if not stack:
        shapes |= dict.fromkeys(("pointing_lon", "pointing_lat"), (first, float))
    gti = (number * settings.max_gti,) if stack else (number, settings.max_gti)
    return shapes | dict.fromkeys(("gti_start", "gti_stop"), (gti, float))


def _dims(name: str, settings: SpectrumSettings, stack: bool) -> tuple[str, ...]:
    first = () if stack else ("obs",)
    if name.startswith("gti"):
        return (*first, "gti")
    if name in ("livetime", "ontime", "pointing_lon", "pointing_lat"):
        return first
    more = {"exposure": ("energy_true",), "edisp": ("energy_true", "energy"), "n_off_regions": (), "off_regions": ()}
    return (*first, *(() if settings.single else ("region",)), *more.get(name, ("energy",)))


def _attrs(name: str) -> dict[str, str]:
    units, long_name = ATTRS[name]
    return {"units": units, "long_name": long_name}


def _coords(
    grid: xr.Dataset, settings: SpectrumSettings, runs: Sequence[Observation], *, stack: bool
) -> xr.Coordinates:
    """Coordinates of the cube: those of the grid that its variables need."""
    needless = ["rad", "rad_min", "rad_max"]
    if not {"exposure", "edisp"} & set(settings.selection):
        needless += ["energy_true", "energy_true_min", "energy_true_max"]
    coords = grid.drop_vars([n for n in needless if n in grid.variables]).coords
    if stack:
        return coords
    return coords.assign(obs=("obs", [run.obs_id for run in runs], {"long_name": "Run"}))
