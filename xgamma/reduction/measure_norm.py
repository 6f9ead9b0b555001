"""Norms of background models: sums over each run's footprint first, then tiles multiply.

A task of its own adds up a run's counts and background over all tiles that it touches, bin by bin of energy and where
the background may be measured. What it finds is a factor for each energy bin, which the tasks of the tiles apply.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xgamma.dl3.observation import Observation
from xgamma.reduction.event_voxels import add_counts
from xgamma.reduction.footprint import check_plan, overlap
from xgamma.reduction.graph import Key
from xgamma.reduction.observation import Run
from xgamma.reduction.run_norm import NormTask, PreparedNorm, RunNorm, run_key
from xgamma.reduction.safe_mask import safe_mask
from xgamma.reduction.settings import ReduceSettings
from xgamma.reduction.tasks import Arrays, Tile, opened
from xgamma.reduction.usable import UsableTiles

__all__ = ["measure_norm", "norm_graph", "norm_table"]


def measure_norm(
    settings: ReduceSettings,
    usable: Sequence[np.ndarray | None],
    *,
    run: Observation,
    tiles: Sequence[Tile],
    task: NormTask,
) -> RunNorm:
    """Scale the background of a run to its counts, over all tiles that it touches.

    Parameters
    ----------
    settings
        What is reduced.
    usable
        For each tile True where a pixel may be used, None for all.
    run
        The run.
    tiles
        Array slices (y, x) of the tiles in the whole grid.
    task
        Makes a factor of the sums.

    Returns
    -------
    RunNorm
        Also where the run cannot be read: the tasks that need it raise the error then, with those of other runs.

    Warns
    -----
    UserWarning
        Names the run for which no factor was found.
    """
    key = run_key(run)
    try:
        with opened(run, settings) as files:
            counts, background = _sums(files, usable, tiles)
    except Exception as error:  # noqa: BLE001
        return RunNorm(np.ones(settings.n_energy), success=False, run=key, error=error)
    made = task(counts, background, settings.energy)
    if not made.success:
        msg = f"run {run.obs_id}: no background could be made: {made.message}; nothing of the run is safe"
        warnings.warn(msg, UserWarning, stacklevel=2)
    return dataclasses.replace(made, run=key)


def _sums(run: Run, usable: Sequence[np.ndarray | None], tiles: Sequence[Tile]) -> tuple[np.ndarray, np.ndarray]:
    """Counts and background of each energy bin in safe voxels that may be used."""
    settings = run.settings
    counts, background = np.zeros(settings.n_energy), np.zeros(settings.n_energy)
    for tile, mask in zip(tiles, usable, strict=True):
        part = settings.grid.tile(*tile)
        if part.shape != settings.grid.shape:
            check_plan(settings.grid, run.files.observation, run.pointing, settings.offset_max)
        for window in overlap(run.footprint, tile):
            geometry = part.geometry.window(*window)
            offset = run.offset(geometry.vectors)
            model = run.background(geometry, offset)
            keep = safe_mask(run, offset, model)
            if mask is not None:
                keep &= mask[window]
            found = np.zeros(model.shape)
            add_counts(run, part.tile(*window), found, keep)
            counts += found.sum(axis=(1, 2))
            # where, not a product: outside the mask there may be numbers that are not finite
            background += np.sum(model, axis=(1, 2), where=keep)
    return counts, background


def norm_table(norms: Sequence[RunNorm], *, names: Sequence[str]) -> Arrays:
    """Return the numbers of runs as arrays of shape (n,), ``fov_success`` among them as bool."""
    for norm in norms:
        if norm.error is not None:
            raise norm.error
    table = {name: np.array([norm.numbers.get(name, np.nan) for norm in norms]) for name in names}
    return table | {"fov_success": np.array([norm.success for norm in norms])}


def norm_graph(
    name: str,
    prepared: PreparedNorm,
    runs: Sequence[Observation],
    tiles: Mapping[tuple[int, int], Sequence[int]],
    edges: tuple[np.ndarray, np.ndarray],
    usable: UsableTiles,
    settings_key: str,
) -> dict[Key, Any]:
    """Return a task for each run, with the key ``(name, position)``.

    Parameters
    ----------
    name
        First part of the keys.
    prepared
        The settings.
    runs, tiles, edges
        As `xgamma.reduction.builder.Builder` takes them.
    usable
        Masks of the tiles, without halo.
    settings_key
        Key of the settings of the reduction.
    """
    touched: dict[int, list[tuple[int, int]]] = {}
    for tile in sorted(tiles):
        for k in tiles[tile]:
            touched.setdefault(k, []).append(tile)
    graph: dict[Key, Any] = {}
    for k, run in enumerate(runs):
        places = touched.get(k, [])
        slices = tuple(
            (slice(int(edges[0][j]), int(edges[0][j + 1])), slice(int(edges[1][i]), int(edges[1][i + 1])))
            for j, i in places
        )
        masks = [usable.keys.get((tile[0].start, tile[1].start)) for tile in slices]
        # literals are bound into a partial, where dask does not look for keys
        call = functools.partial(measure_norm, run=run, tiles=slices, task=prepared.task)
        graph[name, k] = call, settings_key, masks
    return graph
