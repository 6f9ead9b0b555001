"""What runs on a worker: one tile of the sky and a batch of runs, in and out as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xgamma.coords.sky import SkyGrid
from xgamma.dl3.observation import Observation
from xgamma.reduction.allocator import keep_freed_memory
from xgamma.reduction.event_voxels import add_counts
from xgamma.reduction.footprint import check_plan, footprint, overlap
from xgamma.reduction.irf_pixels import nearest_pixels
from xgamma.reduction.observation import Run
from xgamma.reduction.run_norm import Norms, RunNorm
from xgamma.reduction.safe_mask import safe_mask
from xgamma.reduction.settings import ReduceSettings

__all__ = [
    "add",
    "at_rows",
    "join_scalars",
    "opened",
    "reduce_maps",
    "reduce_responses",
    "reduce_scalars",
    "run_scalars",
]

Arrays = dict[str, np.ndarray]
Tile = tuple[slice, slice]


def reduce_maps(
    settings: ReduceSettings,
    norms: Sequence[RunNorm] | None = None,
    *,
    runs: Sequence[Observation],
    tile: Tile,
    stack: bool,
    rows: tuple[int, int] | None = None,
) -> Arrays:
    """Reduce runs onto a tile: counts, exposure, background and safe mask.

    Parameters
    ----------
    settings
        What to make.
    norms
        What the background models of the runs are multiplied with, see `xgamma.reduction.run_norm`.
    runs
        Runs that touch the tile.
    tile
        Array slices (y, x) of the tile in the whole grid.
    stack
        Add the runs up inside their safe masks, or keep them along a first axis.
    rows
        Where this is the only tile: position of the first run among all, and their number. The runs'
        numbers (see `reduce_scalars`) come along, at their rows of arrays that are zero elsewhere.

    Returns
    -------
    dict of numpy.ndarray
        Maps of shape (n_energy | n_true, ny, nx), with a first axis of the runs where not stacked.
    """
    part = settings.grid.tile(*tile)
    result = _empty_maps(settings, part.shape if stack else (max(len(runs), 1), *part.shape))
    if not runs:
        # a tile that no run touches is empty, not missing; one zero stands for all
        return {name: np.broadcast_to(np.zeros((), values.dtype), values.shape) for name, values in result.items()}
    scalars = []
    of_runs = Norms(norms)
    for k, observation in enumerate(runs):
        maps = result if stack else {name: values[k] for name, values in result.items()}
        with opened(observation, settings) as run:
            _fill(run, tile, part, maps, of_runs.of(run), stack=stack)
            scalars.append(run_scalars(run) if rows else {})
    return result | (at_rows(scalars, rows) if rows else {})


@contextmanager
def opened(observation: Observation, settings: ReduceSettings) -> Iterator[Run]:
    """Open the files of a run; whatever fails in them, the error names the run and its files."""
    keep_freed_memory()
    try:
        with observation.open() as files:
            yield Run(files, settings)
    except Exception as error:
        files_of_run = sorted({h.file for h in observation.hdus})
        named = f"run {observation.obs_id}" in str(error) and any(f in str(error) for f in files_of_run)
        if named:
            error.obs_id = observation.obs_id  # type: ignore[attr-defined]
            raise
        msg = f"run {observation.obs_id} cannot be reduced: {error} (files: {', '.join(files_of_run)})"
        kind = next((k for k in (FileNotFoundError, OSError, ValueError) if isinstance(error, k)), RuntimeError)
        fault = kind(msg)
        # for those who want to go on without the run
        fault.obs_id = observation.obs_id  # type: ignore[union-attr]
        raise fault from error


def _empty_maps(settings: ReduceSettings, shape: tuple[int, ...]) -> Arrays:
    """Zeros of shape ([runs,] planes, ny, nx) for `shape` ([runs,] ny, nx)."""
    first, sky = shape[:-2], shape[-2:]
    planes = {"counts": settings.n_energy, "background": settings.n_energy}
    if settings.energy_true is not None:
        planes["exposure"] = len(settings.energy_true)
    maps = {name: np.zeros((*first, planes[name], *sky)) for name in planes if name in settings.selection}
    maps["mask_safe"] = np.zeros((*first, settings.n_energy, *sky), dtype=bool)
    return maps


def _fill(run: Run, tile: Tile, part: SkyGrid, maps: Arrays, norm: RunNorm | None, *, stack: bool) -> None:
    """Add one run to the maps of a tile."""
    if part.shape != run.settings.grid.shape:
        check_plan(run.settings.grid, run.files.observation, run.pointing, run.settings.offset_max)
    for y, x in overlap(run.footprint, tile):
        _fill_window(run, part, (y, x), {name: values[:, y, x] for name, values in maps.items()}, norm, stack=stack)


def _fill_window(run: Run, part: SkyGrid, window: Tile, maps: Arrays, norm: RunNorm | None, *, stack: bool) -> None:
    """Add one run to the maps of a window, one after the other: no two of its own need memory at once."""
    settings = run.settings
    geometry = part.geometry.window(*window)
    offset = run.offset(geometry.vectors)
    background = run.background(geometry, offset) if "background" in settings.selection else None
    safe = safe_mask(run, offset, background)
    if norm is not None:
        safe &= norm.success
        assert background is not None
        np.multiply(background, norm.factor[:, np.newaxis, np.newaxis], out=background)
    np.logical_or(maps["mask_safe"], safe, out=maps["mask_safe"])
    if background is not None:
        np.add(maps["background"], background, out=maps["background"], where=safe if stack else True)
        del background
    if "counts" in settings.selection:
        add_counts(run, part.tile(*window), maps["counts"], safe if stack else None)
    if "exposure" in settings.selection:
        # it has other energies: per pixel
        inside = safe.any(axis=0) if stack else True
        np.add(maps["exposure"], run.exposure(offset), out=maps["exposure"], where=inside)


def reduce_responses(
    settings: ReduceSettings,
    norms: Sequence[RunNorm] | None = None,
    *,
    runs: Sequence[Observation],
    tile: Tile,
    kind: str,
    stack: bool,
) -> Arrays:
    """Reduce a response of runs onto a tile of the coarse grid, weighted by exposure.

    Parameters
    ----------
    settings
        What to make.
    norms
        Norms of the background models: runs without success have no weight.
    runs
        Runs to join.
    tile
        Array slices (y, x) of the tile in the coarse grid.
    kind
        ``"psf"``, ``"edisp"`` or ``"exposure"``.
    stack
        Add the runs up, weighted with their exposure inside the safe mask, or keep them apart.

    Returns
    -------
    dict of numpy.ndarray
        ``irf_exposure`` (n_true, ny, nx) and, unless that alone is asked for, `kind`: weighted sums
        where stacked, else the responses themselves, with a first axis of the runs.
    """
    of_runs = Norms(norms)
    each = (_run_response(run, tile, settings, kind, of_runs, stack=stack) for run in runs)
    result = _empty_responses(settings, tile, kind)
    if stack:
        for one in each:
            _add_to(result, one)
        return result
    # a tile that no run touches is empty, not missing
    arrays = list(each) or [result]
    return {name: np.stack([a[name] for a in arrays]) for name in result}


def _empty_responses(settings: ReduceSettings, tile: Tile, kind: str) -> Arrays:
    assert settings.irf_grid is not None
    assert settings.energy_true is not None
    true, shape = len(settings.energy_true), settings.irf_grid.tile(*tile).shape
    result = {"irf_exposure": np.zeros((true, *shape))}
    if kind == "psf":
        assert settings.rad_edges is not None
        result["psf"] = np.zeros((true, *shape, len(settings.rad_edges) - 1))
    elif kind == "edisp":
        result["edisp"] = np.zeros((true, settings.n_energy, *shape))
    return result


def _run_response(
    observation: Observation, tile: Tile, settings: ReduceSettings, kind: str, norms: Norms, *, stack: bool
) -> Arrays:
    assert settings.irf_grid is not None
    part = settings.irf_grid.tile(*tile)
    with opened(observation, settings) as run:
        offset = run.offset(part.geometry.vectors)
        reached = _reached(run, tile)
        norm = norms.of(run)
        if stack and norm is not None:
            reached &= norm.success
        # responses of pixels that count, and of no other
        there = reached & _safe_pixels(run, part) if stack else reached
        weight = run.exposure(offset[there])
        result = _empty_responses(settings, tile, kind)
        result["irf_exposure"][:, there] = weight
        if kind == "psf":
            values = run.psf(offset[there])
            result["psf"][:, there] = values * weight[..., np.newaxis] if stack else values
        elif kind == "edisp":
            values = run.edisp(offset[there])
            result["edisp"][:, :, there] = values * weight[:, np.newaxis] if stack else values
        return result


def _reached(run: Run, tile: Tile) -> np.ndarray:
    """True for pixels of a tile of the coarse grid inside the run's footprint there."""
    settings = run.settings
    assert settings.irf_grid is not None
    reached = np.zeros(settings.irf_grid.tile(*tile).shape, dtype=bool)
    if len(run.gti):
        for window in overlap(footprint(settings.irf_grid, *run.pointing, settings.offset_max), tile):
            reached[window] = True
    return reached


def _safe_pixels(run: Run, part: SkyGrid) -> np.ndarray:
    """True for coarse pixels whose nearest fine pixel lies in the run's footprint and is safe at any energy."""
    grid = run.settings.grid
    if not run.footprint:
        return np.zeros(part.shape, dtype=bool)
    row, column, inside = nearest_pixels(grid, part)
    filled = np.zeros(part.shape, dtype=bool)
    for y, x in run.footprint:
        filled |= (row >= y.start) & (row < y.stop) & (column >= x.start) & (column < x.stop)
    lon, lat = grid.frame.pixel_to_sky(row + grid.y.start, column + grid.x.start)
    vectors = grid.frame.icrs_vectors(lon, lat)
    offset = run.offset(vectors)
    background = run.background_rate(vectors, offset) if "background" in run.settings.selection else None
    return safe_mask(run, offset, background).any(axis=0) & inside & filled


def reduce_scalars(settings: ReduceSettings, *, runs: Sequence[Observation]) -> Arrays:
    """Return the numbers of runs along a first axis: livetime, ontime, pointing, good time intervals.

    Returns
    -------
    dict of numpy.ndarray
        ``livetime``, ``ontime`` (s), ``pointing_lon``, ``pointing_lat`` (ICRS deg) of shape (n,),
        ``gti_start``, ``gti_stop`` (s since J2000.0 (TT), padded with NaN) of shape (n, max_gti).
    """
    scalars = []
    for observation in runs:
        with opened(observation, settings) as run:
            scalars.append(run_scalars(run))
    return at_rows(scalars, (0, len(scalars)))


def join_scalars(parts: Sequence[Arrays]) -> Arrays:
    """Join the numbers of batches of runs: sums of the times, and all good time intervals in one list."""
    sums = {n: np.asarray(np.sum([p[n].sum() for p in parts])) for n in ("livetime", "ontime")}
    return sums | {n: np.concatenate([p[n].ravel() for p in parts]) for n in ("gti_start", "gti_stop")}


def run_scalars(run: Run) -> Arrays:
    """Return the numbers of a run; see `reduce_scalars`."""
    gti = pad_intervals(run.gti, run.settings.max_gti)
    lon, lat = run.pointing
    numbers = {"livetime": run.livetime, "ontime": run.ontime, "pointing_lon": lon, "pointing_lat": lat}
    return {**{n: np.asarray(v) for n, v in numbers.items()}, "gti_start": gti[:, 0], "gti_stop": gti[:, 1]}


def at_rows(scalars: Sequence[Arrays], rows: tuple[int, int]) -> Arrays:
    """Put the numbers of runs at their rows of arrays that are zero elsewhere."""
    first, number = rows
    result = {}
    for name in scalars[0]:
        values = np.stack([s[name] for s in scalars])
        result[name] = np.zeros((number, *values.shape[1:]))
        result[name][first : first + len(values)] = values
    return result


def pad_intervals(gti: np.ndarray, number: int) -> np.ndarray:
    """Return `number` intervals of shape (number, 2): padded with NaN, or joined over their shortest gaps.

    Examples
    --------
    >>> pad_intervals(np.array([[0.0, 1.0], [1.1, 2.0], [5.0, 6.0]]), 2)
    array([[0., 2.],
           [5., 6.]])
    """
    intervals = gti[np.argsort(gti[:, 0])] if len(gti) else gti.reshape(0, 2)
    while len(intervals) > number:
        gap = int(np.argmin(intervals[1:, 0] - intervals[:-1, 1]))
        joined = [intervals[gap, 0], intervals[gap + 1, 1]]
        intervals = np.concatenate([intervals[:gap], [joined], intervals[gap + 2 :]])
    return np.concatenate([intervals, np.full((number - len(intervals), 2), np.nan)])


def add(first: Arrays, *others: Arrays) -> Arrays:
    """Add stacked results: sums of numbers, union of masks."""
    result = {name: values.copy() for name, values in first.items()}
    for other in others:
        _add_to(result, other)
    return result


def _add_to(result: Arrays, other: Arrays) -> None:
    for name, values in other.items():
        combine: Callable[..., Any] = np.logical_or if values.dtype == bool else np.add
        combine(result[name], values, out=result[name])
