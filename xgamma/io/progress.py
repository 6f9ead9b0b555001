"""Computing pieces with one progress bar, with and without a Dask client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import xarray as xr

from xgamma.io.pieces import Piece, lazy_arrays

__all__ = ["compute_pieces", "current_client"]


def current_client() -> Any:
    """Return the Dask client of this process, None where there is none."""
    if "distributed" not in sys.modules:
        return None
    import distributed

    try:
        return distributed.get_client()
    except ValueError:
        return None


def compute_pieces(dataset: xr.Dataset, store: str, pieces: Sequence[Piece], *, progress: bool = False) -> int:
    """Compute and write pieces of a lazy dataset.

    Parameters
    ----------
    dataset
        With the Dask arrays that the pieces point to.
    store
        Folder or URL of the Zarr store.
    pieces
        What to do.
    progress
        Show a bar.

    Returns
    -------
    int
        Number of pieces written.

    Raises
    ------
    Exception
        That of the first piece that failed; with a client after all others have been done, else at once.
    """
    from dask.base import tokenize
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    from xgamma.io.resume import piece_tasks

    arrays = lazy_arrays(dataset)
    name = f"write-{tokenize(store, [p.token for p in pieces])}"
    layer: dict[Any, Any] = {(name, i): task for i, task in enumerate(piece_tasks(store, pieces))}
    graph = HighLevelGraph.from_collections(name, layer, dependencies=list(arrays.values()))
    items = [Delayed(key, graph, layer=name) for key in layer]
    client = current_client()
    with _bar(len(items), progress) as advance:
        if client is None:
            _compute_here(items, name, advance)
        else:
            _compute_there(client, items, advance)
    return len(items)


def _compute_here(items: list[Any], name: str, advance: Callable[[], None]) -> None:
    from dask.base import compute
    from dask.callbacks import Callback

    def posttask(key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and key[0] == name:
            advance()

    with Callback(posttask=posttask):
        compute(*items)


def _compute_there(client: Any, items: list[Any], advance: Callable[[], None]) -> None:
    from distributed import as_completed

    futures = client.compute(items)
    failed: BaseException | None = None
    for future in as_completed(futures):
        error = future.exception()
        if error is None:
            advance()
        elif failed is None:
            failed = error
        future.release()
    if failed is not None:
        raise failed


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that moves the bar on by one piece."""
    if not show:
        yield lambda: None
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
    with Progress(*columns) as bar:
        task = bar.add_task("writing", total=total)
        yield lambda: bar.advance(task)
