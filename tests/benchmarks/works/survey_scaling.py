"""How a survey on a local cluster grows with runs and workers, and what more workers would make of it.

    python tests/benchmarks/works/survey_scaling.py --runs 100 300 1000 --workers 1 2 --json scaling.json

simulates the runs (or takes the folder that `--folder` names), reduces them onto 6000 x 400 x 24 voxels, each number
of runs and workers in a process of its own, and prints a table. The model replays the tasks of the largest survey,
with their measured times and sizes, on other numbers of workers.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peak import peak_mib

ROOT = Path(__file__).resolve().parents[3]
#: Tasks without work by which the scheduler's own time is measured.
EMPTY_TASKS = 2000
COLUMNS = {
    "runs": ("runs", "d"),
    "workers": ("workers", "d"),
    "pairs": ("pairs", "d"),
    "wall": ("wall s", ".1f"),
    "graph": ("graph s", ".2f"),
    "worker_mib": ("worker MiB", ".0f"),
    "driver_mib": ("driver MiB", ".0f"),
    "tasks": ("tasks", "d"),
    "task_mean": ("s a task", ".3f"),
    "task_sum": ("tasks s", ".1f"),
    "longest_chain": ("chain s", ".1f"),
    "moved_mib": ("moved MiB", ".0f"),
    "overhead": ("overhead", ".1%"),
}


def received(dask_worker: Any) -> int:
    """Bytes that a worker got from others."""
    return sum(int(transfer["total"]) for transfer in dask_worker.transfer_incoming_log)


def recorder() -> Any:
    """Plugin of the scheduler that notes dependencies, times and sizes of all tasks."""
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Recorder(SchedulerPlugin):
        def __init__(self) -> None:
            self.order: dict[Any, Any] = {}
            self.needs: dict[Any, set[Any]] = {}
            self.seconds: dict[Any, float] = {}
            self.nbytes: dict[Any, int] = {}

        def update_graph(self, scheduler: Any, **kwargs: Any) -> None:
            for key in kwargs["tasks"]:
                state = scheduler.tasks.get(key)
                if state is not None:
                    self.needs[key] = {d.key for d in state.dependencies}
                    self.order[key] = state.priority

        def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
            if start == "processing" and finish == "memory":
                steps = kwargs.get("startstops") or ()
                self.seconds[key] = sum(s["stop"] - s["start"] for s in steps if s["action"] == "compute")
                self.nbytes[key] = int(kwargs.get("nbytes") or 0)

    return Recorder()


def longest_chain(tasks: list[dict[str, Any]]) -> float:
    """Seconds of the longest chain of tasks that need each other; tasks come after those that they need."""
    end: list[float] = []
    for task in tasks:
        end.append(task["seconds"] + max((end[k] for k in task["needs"]), default=0.0))
    return max(end, default=0.0)


def in_order(record: Any) -> list[dict[str, Any]]:
    """Tasks as dicts of seconds, bytes, rank in the scheduler's order, and positions of those that they need."""
    position: dict[Any, int] = {}
    todo = [k for k in record.needs if k in record.seconds]
    rank = {key: i for i, key in enumerate(sorted(todo, key=lambda k: record.order[k]))}
    tasks: list[dict[str, Any]] = []
    stack = sorted(todo, key=lambda k: -rank[k])
    while stack:
        key = stack[-1]
        open_needs = [d for d in record.needs[key] if d in rank and d not in position]
        if open_needs:
            stack.extend(open_needs)
            continue
        stack.pop()
        if key in position:
            continue
        position[key] = len(tasks)
        needs = sorted(position[d] for d in record.needs[key] if d in rank)
        tasks.append({"seconds": record.seconds[key], "bytes": record.nbytes[key], "rank": rank[key], "needs": needs})
    return tasks


def replay(
    tasks: list[dict[str, Any]], workers: int, *, per_task: float, bandwidth: float, start: float
) -> dict[str, float]:
    """Return wall time and bytes moved of tasks on a number of workers: the model.

    A worker that is free takes the first task, in the scheduler's order, whose inputs are there; a task with inputs
    goes to the worker that holds most of them, if it is free. What lies elsewhere travels first, at `bandwidth`
    bytes a second. The scheduler hands out one task every `per_task` seconds. `start` goes before the first task.
    """
    missing = [len(t["needs"]) for t in tasks]
    needed_by: list[list[int]] = [[] for _ in tasks]
    for i, task in enumerate(tasks):
        for k in task["needs"]:
            needed_by[k].append(i)
    ready = [(t["rank"], i) for i, t in enumerate(tasks) if not t["needs"]]
    heapq.heapify(ready)
    free, place = set(range(workers)), [-1] * len(tasks)
    running: list[tuple[float, int]] = []
    now, moved = 0.0, 0
    while ready or running:
        while ready and free:
            _, i = heapq.heappop(ready)
            held: dict[int, int] = {}
            for k in tasks[i]["needs"]:
                held[place[k]] = held.get(place[k], 0) + tasks[k]["bytes"]
            best = max(held, key=lambda w: held[w]) if held else -1
            worker = best if best in free else min(free)
            travel = sum(held.values()) - held.get(worker, 0)
            free.discard(worker)
            place[i] = worker
            moved += travel
            now += per_task
            heapq.heappush(running, (now + travel / bandwidth + tasks[i]["seconds"], i))
        end, i = heapq.heappop(running)
        now = max(now, end)
        free.add(place[i])
        for k in needed_by[i]:
            missing[k] -= 1
            if not missing[k]:
                heapq.heappush(ready, (tasks[k]["rank"], k))
    return {"wall": start + now, "moved_mib": moved / 2**20}


def reduce_runs(folder: str, number: int, workers: int, memory_limit: str) -> dict[str, Any]:
    """Reduce `number` runs, spread over the folder's, with `workers` workers of one thread each."""
    import distributed
    from astropy.coordinates import SkyCoord

    import xgamma as xg
    from xgamma.io.marker import read_log

    every = xg.open_store(folder).observations
    runs = [every[int(k)] for k in np.linspace(0, len(every) - 1, number).round()]
    grid = xg.sky_grid(
        SkyCoord(0, 0, unit="deg", frame="galactic"),
        ("60 deg", "4 deg"),
        "0.01 deg",
        energy=xg.energy_axis("0.5 TeV", "50 TeV", nbin=24),
        energy_true=xg.energy_axis("0.3 TeV", "60 TeV", nbin=24),
    )
    size = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": memory_limit}
    with (
        distributed.LocalCluster(**size, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        tempfile.TemporaryDirectory() as target,
    ):
        start = time.perf_counter()
        client.gather(client.map(abs, range(EMPTY_TASKS), pure=False))
        per_task = (time.perf_counter() - start) / EMPTY_TASKS
        client.run(_libraries)
        _libraries()
        record = recorder()
        cluster.scheduler.add_plugin(record)
        start = time.perf_counter()
        masks = ["offset-max", "aeff-default"]
        cube = xg.reduce(runs, grid, offset_max="2.5 deg", safe_mask=masks, chunks={"y": 400, "x": 300})
        graph = time.perf_counter() - start
        written = cube.gamma.to_zarr(f"{target}/survey.zarr", resume=True)
        wall = time.perf_counter() - start
        moved = sum(client.run(received).values())
        peaks = client.run(peak_mib)
        log = read_log(written)
    tasks = in_order(record)
    total = sum(t["seconds"] for t in tasks)
    return {
        "runs": number,
        "workers": workers,
        "pairs": int(log["runs"].sum()),
        "wall": wall,
        "graph": graph,
        "worker_mib": max(peaks.values()),
        "driver_mib": peak_mib(),
        "tasks": len(tasks),
        "task_mean": total / len(tasks),
        "task_sum": total,
        "longest_chain": longest_chain(tasks),
        "moved_mib": moved / 2**20,
        "overhead": 1 - total / (workers * wall),
        "per_task": per_task,
        "reduce_sum": float(log["seconds"].sum()),
        "write_sum": float(log["write_seconds"].sum()),
        "replayed": tasks,
    }


def _libraries() -> None:
    """Import what tasks need, which a cluster that has been running for a while has done."""
    import xgamma.io.resume
    import xgamma.reduction.tasks  # noqa: F401


def measure(folder: str, runs: int, workers: int, memory_limit: str) -> dict[str, Any]:
    """Run `reduce_runs` in a process of its own."""
    order = [sys.executable, __file__, "--one", "--folder", folder, "--runs", str(runs), "--workers", str(workers)]
    done = subprocess.run(
        [*order, "--memory-limit", memory_limit], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    return json.loads(done.stdout.splitlines()[-1])


def simulate(folder: str, number: int) -> None:
    """Simulate runs, unless the folder has them."""
    if not Path(folder, "obs-index.fits.gz").exists():
        order = [sys.executable, "-m", "xgamma", "simulate", "survey", folder, "--runs", str(number), "--seed", "1"]
        subprocess.run(order, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def model(results: list[dict[str, Any]], workers: list[int], bandwidth: float) -> dict[str, Any]:
    """Replay the largest survey on one worker on other numbers of workers."""
    single = min(r["workers"] for r in results)
    base = max((r for r in results if r["workers"] == single), key=lambda r: r["runs"])
    parts = {"per_task": base["per_task"], "bandwidth": bandwidth}
    # what is neither a task nor the scheduler's: the graph, the first and the last steps of the store
    rest = base["wall"] - replay(base["replayed"], single, start=0.0, **parts)["wall"]
    start = max(rest, base["graph"])
    rows = [{"workers": n, **replay(base["replayed"], n, start=start, **parts)} for n in workers]
    for row in rows:
        row["speedup"] = (base["task_sum"] + start) / row["wall"]
    return {"runs": base["runs"], "start": start, **parts, "longest_chain": base["longest_chain"], "rows": rows}


def report(results: list[dict[str, Any]], told: dict[str, Any]) -> str:
    """Return the tables."""
    lines = ["  ".join(f"{title:>10}" for title, _ in COLUMNS.values())]
    lines += ["  ".join(f"{format(r[name], form):>10}" for name, (_, form) in COLUMNS.items()) for r in results]
    walls = {(r["runs"], r["workers"]): r["wall"] for r in results}
    for runs, workers in walls:
        if workers > 1 and (runs, 1) in walls:
            ratio = walls[runs, 1] / walls[runs, workers]
            lines.append(f"{runs} runs: {workers} workers {ratio:.2f} times as fast as 1")
    lines.append(
        f"model, {told['runs']} runs: {1e3 * told['per_task']:.2f} ms of the scheduler a task, longest chain "
        f"{told['longest_chain']:.1f} s, {told['start']:.1f} s around the tasks, {told['bandwidth'] / 1e6:.0f} MB/s"
    )
    lines += [
        f"{row['workers']:>6} workers  wall {row['wall']:8.1f} s  {row['speedup']:6.1f} times one worker"
        f"  moved {row['moved_mib']:8.0f} MiB"
        for row in told["rows"]
    ]
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], told: dict[str, Any], path: str) -> None:
    """Draw wall time, memory and model."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (time_axes, memory_axes, model_axes) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    numbers = sorted({r["workers"] for r in results})
    for n in numbers:
        rows = sorted((r for r in results if r["workers"] == n), key=lambda r: r["runs"])
        runs = np.array([r["runs"] for r in rows])
        wall = np.array([r["wall"] for r in rows])
        label = f"{n} worker{'s' if n > 1 else ''}"
        (line,) = time_axes.plot(runs, wall, "o", label=label)
        if len(runs) > 1:
            slope, offset = np.polyfit(runs, wall, 1)
            more = np.array([0, runs.max()])
            time_axes.plot(more, offset + slope * more, "--", color=line.get_color(), lw=1)
        memory_axes.plot(runs, [r["worker_mib"] for r in rows], "o-", label=f"worker, {label}")
        memory_axes.plot(runs, [r["driver_mib"] for r in rows], "s:", color=line.get_color(), label=f"driver, {label}")
        at = [r for r in rows if r["runs"] == told["runs"]]
        single = [r["wall"] for r in results if r["runs"] == told["runs"] and r["workers"] == 1]
        if at and single:
            model_axes.plot(n, single[0] / at[0]["wall"], "o", color=line.get_color(), label=f"measured, {label}")
    time_axes.set(xlabel="Runs", ylabel="Wall time (s)", xlim=(0, None), ylim=(0, None), title="Wall time")
    memory_axes.axhline(1536, color="0.5", ls="--", lw=1)
    memory_axes.set(xlabel="Runs", ylabel="Peak memory (MiB)", xlim=(0, None), ylim=(0, 1650), title="Memory")
    workers = [row["workers"] for row in told["rows"]]
    model_axes.loglog(workers, [row["speedup"] for row in told["rows"]], "k.-", label=f"model, {told['runs']} runs")
    model_axes.loglog(workers, workers, ":", color="0.5", label="ideal")
    model_axes.set(xlabel="Workers", ylabel="Speed against one worker", title="More workers")
    for axes in (time_axes, memory_axes, model_axes):
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", help="simulated runs, made where there are none; a temporary one by default")
    parser.add_argument("--memory-limit", default="2GiB", help="of a worker")
    parser.add_argument("--model", type=int, nargs="*", default=[1, 2, 4, 10, 30, 100, 300], help="workers")
    parser.add_argument("--bandwidth", type=float, default=1e9, help="between workers in the model, bytes a second")
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--figure", help="file for a picture")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(reduce_runs(given.folder, given.runs[0], given.workers[0], given.memory_limit)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or f"{temporary}/runs"
        simulate(folder, max(given.runs))
        results = []
        for workers in given.workers:
            for runs in given.runs:
                results.append(measure(folder, runs, workers, given.memory_limit))
                print(f"{runs} runs, {workers} workers: {results[-1]['wall']:.1f} s", file=sys.stderr, flush=True)
    told = model(results, given.model, given.bandwidth)
    print(report(results, told))
    if given.json:
        for result in results:
            result.pop("replayed")
        Path(given.json).write_text(json.dumps({"measured": results, "model": told}, indent=1))
    if given.figure:
        draw(results, told, given.figure)


if __name__ == "__main__":
    main()
