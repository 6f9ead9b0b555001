"""What a survey would take: counted from the plan, before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.sky import grid_of
from xgamma.coords.units import to_value
from xgamma.dl3.observation import Observation
from xgamma.dl3.store import Observations
from xgamma.io.cube import prepare
from xgamma.io.encoding import common_chunks, float_type, narrow, regular_chunks
from xgamma.io.pieces import Piece, lazy_arrays, pieces_of
from xgamma.io.progress import current_client
from xgamma.reduction.settings import positive_angle
from xgamma.reduction.survey import reduce, runs_of

__all__ = ["SurveyPlan", "plan_survey"]

#: Seconds of Dask's scheduler for a task.
SECONDS_PER_TASK = 1e-3
#: Bytes of a process before it does anything: the interpreter and the libraries.
PROCESS_BYTES = 300 * 2**20
#: Arrays of the size of a plane of a run's window that are in use beside its maps: directions, offsets, weights.
EXTRA_PLANES = 16
#: Tasks that a scheduler holds without trouble.
MOST_TASKS = 100_000
#: Tiles from which reading the files of a run again and again costs more than the reduction.
MOST_TILES_PER_RUN = 16
#: Part of a worker's memory from which Dask begins to spill.
SPILL = 0.6


@dataclass(frozen=True)
class SurveyPlan:
    """What reducing runs into a store would take.

    Parameters
    ----------
    n_runs
        Runs that touch the grid.
    n_tiles, n_touched
        Tiles of the sky, and those that a run touches.
    n_pairs
        Pairs of a tile and a run that touches it: the work.
    n_pieces, n_tasks
        Pieces that are written, and tasks that Dask holds for all of it.
    bytes_on_disk
        Bytes of the store before compression, which usually saves more than half.
    bytes_per_task
        Bytes that one thread needs for the largest tile.
    memory_per_worker
        Bytes of a worker process at its peak: all its threads, with the sums that wait.
    memory_limit
        Bytes that a worker may have: of the smallest worker of the client, else of this machine.
    n_threads, threads_per_worker
        Threads of all workers and of one; those of this process where there is no client.
    seconds_per_pair
        Measured on a few runs, None where that was not asked for.
    warnings
        What is likely to go wrong, in words.

    Examples
    --------
    >>> SurveyPlan(2, 4, 3, 5, 5, 40, 10**6, 2**20, 2**28, 2**31, 2, 1, 0.2).seconds
    0.52
    """

    n_runs: int
    n_tiles: int
    n_touched: int
    n_pairs: int
    n_pieces: int
    n_tasks: int
    bytes_on_disk: int
    bytes_per_task: int
    memory_per_worker: int
    memory_limit: int
    n_threads: int
    threads_per_worker: int
    seconds_per_pair: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Wall time to expect; None where the time of a pair was not measured."""
        if self.seconds_per_pair is None:
            return None
        threads = max(1, min(self.n_threads, self.n_tasks))
        return round(self.n_pairs * self.seconds_per_pair / threads + self.n_tasks * SECONDS_PER_TASK / threads, 3)

    def __str__(self) -> str:
        memory = f"{_size(self.bytes_per_task)} a task, {_size(self.memory_per_worker)} a worker at its peak"
        lines = [
            f"runs            {self.n_runs}",
            f"tiles           {self.n_tiles}, {self.n_touched} of them with runs",
            f"tile-run pairs  {self.n_pairs}",
            f"tasks           {self.n_tasks} for {self.n_pieces} pieces",
            f"on disk         {_size(self.bytes_on_disk)} before compression",
            f"memory          {memory} ({self.threads_per_worker} threads each, limit {_size(self.memory_limit)})",
        ]
        if self.seconds is None:
            lines.append("time            not measured (calibrate=2 reduces two runs for it)")
        else:
            lines.append(
                f"time            {_duration(self.seconds)} on {self.n_threads} threads "
                f"({1e3 * (self.seconds_per_pair or 0):.0f} ms a pair)"
            )
        return "\n".join([*lines, *(f"Warning: {words}" for words in self.warnings)])


def plan_survey(
    observations: Observations | Sequence[Observation],
    grid: xr.Dataset,
    *,
    calibrate: int = 0,
    kernel_radius: Any = None,
    dtype: Any = "float32",
    **options: Any,
) -> SurveyPlan:
    """Say what reducing runs into a store would take; nothing is computed, and only index tables are read.

    Parameters
    ----------
    observations, grid
        As `xgamma.reduction.survey.reduce` takes them.
    calibrate
        Runs to reduce here, for the time of a tile and a run; two are enough. Their files are read.
    kernel_radius
        Angle over which rings or discs of later maps reach; tiles that are small beside it are warned of.
    dtype
        Type of the maps on disk.
    **options
        Further arguments of `reduce`.

    Returns
    -------
    SurveyPlan
        Its text is a table.

    Raises
    ------
    ValueError
        As `reduce`; also if `calibrate` is no number of runs, or `dtype` no type of floats.

    Notes
    -----
    Memory is the sum of what is known to be in use at once: the maps of a tile, those of one run's window in it with
    what is needed to make them, and the parts of a sum that wait for each other. The time assumes that all threads are
    busy. Both are meant to be right to a factor of two.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> runs = xg.open_store(xg.sample_path("survey")).observations
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> grid = xg.sky_grid(SkyCoord(150.6, -24.5, unit="deg"), "4 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> plan = plan_survey(runs, grid, offset_max="2.5 deg", chunks={"y": 20, "x": 20})
    >>> plan.n_runs, plan.n_tiles, plan.n_pieces
    (12, 4, 5)
    """
    if isinstance(calibrate, bool) or not isinstance(calibrate, (int, np.integer)) or calibrate < 0:
        msg = f"calibrate={calibrate!r} must be a whole number of runs, 0 for none"
        raise ValueError(msg)
    if kernel_radius is not None:
        positive_angle(kernel_radius, "kernel_radius")
    dtype = float_type(dtype)
    observations = runs_of(observations)
    cube = reduce(observations, grid, **options)
    dataset, pieces = _pieces(cube)
    sky = [p for p in pieces if p.name.startswith("sky")]
    threads, per_worker, limit = _workers()
    binsize = grid_of(grid).frame.binsize
    task = _task_bytes(dataset, options.get("offset_max"), binsize)
    parts = _parts(dataset)
    peak = PROCESS_BYTES + per_worker * _peak_bytes(dataset, parts, task)
    labels = set(map(str, _run_labels(cube)))
    touching = [run for run in observations if str(run.obs_id) in labels]
    chosen = touching[:: max(1, len(touching) // max(calibrate, 1))][:calibrate]
    values: dict[str, Any] = {
        "n_runs": len(labels),
        "n_tiles": len(sky),
        "n_touched": sum(p.runs > 0 for p in sky),
        "n_pairs": sum(p.runs for p in sky),
        "n_pieces": len(pieces),
        "n_tasks": len(pieces) + sum(1 for key in dataset.__dask_graph__() if isinstance(key, tuple)),
        "bytes_on_disk": _bytes_on_disk(dataset, dtype),
        "bytes_per_task": task,
        "memory_per_worker": peak,
        "memory_limit": limit,
        "n_threads": threads,
        "threads_per_worker": per_worker,
        "seconds_per_pair": _seconds_per_pair(chosen, grid, options) if chosen else None,
    }
    return SurveyPlan(**values, warnings=tuple(_warnings(dataset, values, parts, binsize, kernel_radius)))


def _pieces(cube: xr.Dataset) -> tuple[xr.Dataset, list[Piece]]:
    dataset = prepare(cube)
    dataset = regular_chunks(dataset, common_chunks(dataset))
    return dataset, pieces_of(dataset)


def _run_labels(cube: xr.Dataset) -> list[Any]:
    labels = cube.attrs.get("obs_ids", [])
    return json.loads(labels) if isinstance(labels, str) else list(labels)


def _sky_maps(dataset: xr.Dataset) -> dict[str, Any]:
    return {n: a for n, a in lazy_arrays(dataset).items() if {"y", "x"} <= set(map(str, dataset[n].dims))}


def _planes(dataset: xr.Dataset) -> tuple[int, int, int]:
    """Bytes of all maps in one pixel, and the sides of the largest tile along (y, x)."""
    maps = _sky_maps(dataset)
    per_pixel = sum(a.dtype.itemsize * int(np.prod([max(c) for c in a.chunks[:-2]])) for a in maps.values())
    any_map = next(iter(maps.values()))
    return per_pixel, max(any_map.chunks[-2]), max(any_map.chunks[-1])


def _task_bytes(dataset: xr.Dataset, offset_max: Any, binsize: tuple[float, float]) -> int:
    """Maps of the largest tile, and what one run needs in it."""
    per_pixel, height, width = _planes(dataset)
    window = height * width
    if offset_max is not None:
        side_y, side_x = (2 * to_value(offset_max, "deg", "offset_max") / s for s in binsize)
        window = int(min(height, side_y) * min(width, side_x))
    return per_pixel * height * width + (2 * per_pixel + 8 * EXTRA_PLANES) * window


def _parts(dataset: xr.Dataset) -> dict[Any, int]:
    """Number of tasks by which a tile is reduced, for tiles that have several."""
    parts: dict[Any, int] = {}
    for key in dataset.__dask_graph__():
        if isinstance(key, tuple) and isinstance(key[0], str) and key[0].endswith("-part") and key[-2] == 0:
            parts[key[:-2]] = parts.get(key[:-2], 0) + 1
    return parts


def _peak_bytes(dataset: xr.Dataset, parts: Mapping[Any, int], task: int) -> int:
    """Bytes of one thread with the sums that wait for the largest tile."""
    per_pixel, height, width = _planes(dataset)
    most = max(parts.values(), default=1)
    # an addition holds the sum so far, a part and the result
    waiting = 0 if most == 1 else 3
    tile = per_pixel * height * width
    return max(task + max(waiting - 2, 0) * tile, waiting * tile)


def _bytes_on_disk(dataset: xr.Dataset, dtype: Any) -> int:
    return sum(
        int(v.size) * (np.dtype(dtype).itemsize if narrow(dataset, n, dtype) else v.dtype.itemsize)
        for n, v in dataset.data_vars.items()
    )


def _workers() -> tuple[int, int, int]:
    """Threads of all workers, threads of the busiest, and bytes of memory of the smallest."""
    client = current_client()
    if client is None:
        import dask
        import psutil
        from dask.system import CPU_COUNT

        number = int(dask.config.get("num_workers", None) or CPU_COUNT)
        return number, number, int(psutil.virtual_memory().total)
    threads = client.nthreads()
    workers = client.scheduler_info()["workers"].values()
    limits = [int(w["memory_limit"]) for w in workers if w.get("memory_limit")]
    return sum(threads.values()), max(threads.values(), default=1), min(limits, default=0)


def _seconds_per_pair(runs: Sequence[Observation], grid: xr.Dataset, options: Mapping[str, Any]) -> float:
    """Reduce runs one after the other here, and return the mean time of a tile and a run.

    The first run also reads the responses that others share, so it counts only if it is the only one.
    """
    times = []
    for run in runs:
        dataset, pieces = _pieces(reduce([run], grid, **options))
        keys = [key for p in pieces if p.runs and p.name.startswith("sky") for key in p.tiles]
        times.append(_seconds(dataset, keys))
    used = times[1:] or times
    return sum(map(sum, used)) / max(1, sum(map(len, used)))


def _seconds(dataset: xr.Dataset, keys: Sequence[tuple[Any, ...]]) -> list[float]:
    from dask.base import compute
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    name = f"seconds-{keys[0][0]}"
    layer: dict[Any, Any] = {(name, i): (getitem, key, "seconds") for i, key in enumerate(keys)}
    graph = HighLevelGraph.from_collections(name, layer, dependencies=list(lazy_arrays(dataset).values()))
    values = compute(*(Delayed(key, graph, layer=name) for key in layer), scheduler="synchronous")
    return [float(v) for v in values]


def _warnings(
    dataset: xr.Dataset,
    values: Mapping[str, Any],
    parts: Mapping[Any, int],
    binsize: tuple[float, float],
    kernel_radius: Any,
) -> list[str]:
    """What is likely to go wrong, in words."""
    words = []
    _, height, width = _planes(dataset)
    size_y, size_x = binsize
    if kernel_radius is not None:
        radius = to_value(kernel_radius, "deg", "kernel_radius")
        side = min(height * size_y, width * size_x)
        least = int(np.ceil(2 * radius / min(size_y, size_x)))
        tiled = values["n_tiles"] > 1
        if tiled and side < 2 * radius:
            more = (1 + 2 * radius / (height * size_y)) * (1 + 2 * radius / (width * size_x))
            words.append(
                f"tiles of {height} x {width} pixels ({side:g} deg) are small beside the kernel of {radius:g} deg: "
                f"each tile of such a map takes {more:.1f} times its own area; give chunks of at least {least} pixels"
            )
    per_run = values["n_pairs"] / max(1, values["n_runs"])
    if per_run > MOST_TILES_PER_RUN:
        words.append(
            f"each run touches {per_run:.0f} tiles and its files are opened for each; give larger chunks, tiles "
            "about as wide as the field of view are best"
        )
    limit = values["memory_limit"]
    if limit and values["memory_per_worker"] > SPILL * limit:
        words.append(
            f"a worker needs about {_size(values['memory_per_worker'])} and may have {_size(limit)}: give smaller "
            "chunks, fewer threads a worker, or more memory"
        )
    if values["n_tasks"] > MOST_TASKS:
        words.append(
            f"{values['n_tasks']} tasks keep the scheduler busier than the workers (more than {MOST_TASKS}): give "
            "larger chunks, or write parts of the grid one after the other"
        )
    work = sum(parts.values()) + max(0, values["n_touched"] - len(parts))
    if work < values["n_threads"] and values["n_pairs"] > work:
        words.append(
            f"there are {work} tasks that reduce runs and {values['n_threads']} threads; smaller chunks let all work"
        )
    return words


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
