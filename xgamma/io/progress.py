"""Computing pieces with one progress bar, with and without a Dask client."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import xarray as xr

from xgamma.io.location import Location
from xgamma.io.lock import Lock
from xgamma.io.marker import piece_tasks
from xgamma.io.pieces import Piece, lazy_arrays

__all__ = ["compute_pieces", "current_client"]

log = logging.getLogger("xgamma")


def current_client() -> Any:
    """Return the Dask client of this process, None where there is none."""
    if "distributed" not in sys.modules:
        return None
    import distributed

    try:
        return distributed.get_client()
    except ValueError:
        return None


def compute_pieces(
    dataset: xr.Dataset, place: Location, pieces: Sequence[Piece], lock: Lock, *, progress: bool = False
) -> int:
    """Compute and write pieces of a lazy dataset.

    Parameters
    ----------
    dataset
        With the Dask arrays that the pieces point to.
    place
        The Zarr store.
    pieces
        What to do.
    lock
        Lock of the store.
    progress
        Show a bar.

    Returns
    -------
    int
        Number of pieces written.

    Raises
    ------
    ConnectionError
        If the scheduler of a cluster goes away.
    Exception
        That of the first piece that failed. With a client all others are done before; its attribute ``faults``
        then holds the words of every run that failed, by its label.
    """
    from dask.base import tokenize
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    arrays = lazy_arrays(dataset)
    name = f"write-{tokenize(place.text, lock.token, [p.token for p in pieces])}"
    layer: dict[Any, Any] = {(name, i): task for i, task in enumerate(piece_tasks(place, pieces, lock.token))}
    graph = HighLevelGraph.from_collections(name, layer, dependencies=list(arrays.values()))
    items = [Delayed(key, graph, layer=name) for key in layer]
    client = current_client()
    groups = [[items[i] for i in group] for group in _groups(arrays, pieces)]
    with _bar(len(items), progress) as advance:

        def step() -> None:
            lock.check()
            advance()

        if client is None:
            _compute_here(groups, name, step)
        else:
            _compute_there(client, groups, step)
    return len(items)


def _groups(arrays: Mapping[str, Any], pieces: Sequence[Piece]) -> list[list[int]]:
    """Positions of the pieces: first those of the sky, then the numbers of the runs.

    What the tiles have read of a run stays in the process for a while, so its numbers need not be read again. Pieces
    that have tasks in common stay together, lest these be done twice.
    """
    last = [i for i, piece in enumerate(pieces) if piece.name.startswith("rest")]
    first = [i for i in range(len(pieces)) if i not in set(last)]
    tasks = []
    for group in (first, last):
        names = {b.variable for i in group for b in pieces[i].blocks}
        layers = {key: layer for n in names for key, layer in arrays[n].dask.layers.items()}
        tasks.append({k for layer in layers.values() for k in layer.keys() if isinstance(k, tuple)})  # noqa: SIM118
    if not first or not last or tasks[0] & tasks[1]:
        return [list(range(len(pieces)))]
    return [first, last]


def _compute_here(groups: list[list[Any]], name: str, advance: Callable[[], None]) -> None:
    from dask.base import compute
    from dask.callbacks import Callback

    scheduler = _scheduler()

    def posttask(key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and key[0] == name:
            advance()

    with _threads_to_wait_for(scheduler), Callback(posttask=posttask):
        for items in groups:
            compute(*items, scheduler=scheduler)


def _scheduler() -> Any:
    """The scheduler that Dask is configured for, else its threads: asked without a setting, Dask loads distributed."""
    import dask
    from dask.base import get_scheduler
    from dask.threaded import get

    return get_scheduler() if dask.config.get("scheduler", None) else get


def _threads_to_wait_for(scheduler: Any) -> Any:
    """Threads of our own, so that after a fault none goes on writing while somebody else begins."""
    import dask
    from dask.system import CPU_COUNT
    from dask.threaded import get

    if scheduler is not get or dask.config.get("pool", None) is not None:
        return nullcontext()
    number = dask.config.get("num_workers", None) or CPU_COUNT
    return _own_threads(int(number))


@contextmanager
def _own_threads(number: int) -> Iterator[None]:
    from concurrent.futures import ThreadPoolExecutor

    import dask

    pool = ThreadPoolExecutor(number)
    try:
        with dask.config.set(pool=pool):
            yield
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _compute_there(client: Any, groups: list[list[Any]], advance: Callable[[], None]) -> None:
    from distributed import as_completed

    # at once, for a fault in one piece shall not keep another from being done
    futures = [f for i, items in enumerate(groups) for f in client.compute(items, priority=-i)]
    failed: list[BaseException] = []
    try:
        for future in as_completed(futures):
            if future.status == "cancelled":
                raise ConnectionError(_gone(client))
            error = future.exception()
            if error is None:
                advance()
            else:
                failed.append(error)
            future.release()
    except (OSError, TimeoutError) as error:
        if client.status in ("closed", "closing", "connecting"):
            raise ConnectionError(_gone(client)) from error
        raise
    finally:
        for future in futures:
            future.release()
    if failed:
        raise _joined(failed)


def _gone(client: Any) -> str:
    address = getattr(getattr(client, "scheduler", None), "address", "?")
    return (
        f"the Dask scheduler at {address} went away while the store was written; what is done stays done, "
        "start a cluster and call again to go on"
    )


def _joined(errors: Sequence[BaseException]) -> BaseException:
    """One error for all: one that no run is to blame for, else the first, with the faults of all runs."""
    from distributed.scheduler import KilledWorker

    for error in errors:
        if isinstance(error, KilledWorker):
            msg = (
                f"a piece could not be computed, {error.allowed_failures + 1} workers died of it: most likely it needs "
                "more memory than they have; make the tiles smaller (chunks=) or give each worker fewer threads"
            )
            log.debug("%s", error)
            return MemoryError(msg)
    faults: dict[Any, str] = {}
    for error in errors:
        one = getattr(error, "faults", None) or {}
        if not one:
            return error
        faults |= one
    first = errors[0]
    first.faults = faults  # type: ignore[attr-defined]
    return first


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that moves the bar on by one piece."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal or console.is_jupyter:
        # a moving bar makes a mess of logs, and in notebooks needs a package of its own
        yield _Lines(total)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("writing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("writing", total=total)
        yield lambda: bar.advance(task)


class _Lines:
    """Progress in lines, one for each tenth of the way."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()

    def __call__(self) -> None:
        """Count one piece more."""
        before, self.done = self.done, self.done + 1
        if 10 * self.done // self.total == 10 * before // self.total:
            return
        elapsed = time.monotonic() - self.start
        left = elapsed * (self.total - self.done) / self.done
        words = f"writing {self.done}/{self.total} after {_clock(elapsed)}"
        sys.stdout.write(f"{words}, about {_clock(left)} left\n" if self.done < self.total else f"{words}\n")
        sys.stdout.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
