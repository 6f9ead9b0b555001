"""The scheduler that a configuration asks for, for as long as an analysis runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask

from xgamma.analysis.config import Scheduler

__all__ = ["scheduled"]

log = logging.getLogger("xgamma")
#: Seconds to wait for a scheduler that should be there.
TIMEOUT = 20


@contextmanager
def scheduled(section: Scheduler, n_jobs: int | None = None) -> Iterator[None]:
    """Let Dask work where a configuration says, and leave it as it was.

    Parameters
    ----------
    section
        Section ``scheduler``.
    n_jobs
        ``general.n_jobs``: threads, where the section does not say another type.

    Raises
    ------
    ValueError
        If both say how many there are.
    ConnectionError
        If there is no scheduler at the address.

    Examples
    --------
    >>> with scheduled(Scheduler(type="threads", workers=2)):
    ...     dask.config.get("num_workers")
    2
    """
    if n_jobs is not None and section.type is not None:
        msg = f"general.n_jobs={n_jobs} and scheduler.type={section.type!r} both say who works; leave one of them out"
        raise ValueError(msg)
    if section.type == "local":
        with _local(section):
            yield
    elif section.type == "address":
        with _connected(str(section.address)):
            yield
    elif section.type is None:
        if n_jobs is not None:
            log.info("%d thread%s (general.n_jobs)", n_jobs, "" if n_jobs == 1 else "s")
        with dask.config.set({} if n_jobs is None else {"num_workers": n_jobs}):
            yield
    else:
        settings: dict[str, Any] = {"scheduler": section.type}
        if section.workers is not None:
            settings["num_workers"] = section.workers
        log.info("Dask works with %s", " ".join(str(v) for v in reversed(settings.values())))
        with dask.config.set(settings):
            yield


@contextmanager
def _local(section: Scheduler) -> Iterator[None]:
    from distributed import Client, LocalCluster

    options = {
        "n_workers": section.workers,
        "threads_per_worker": section.threads_per_worker,
        "memory_limit": section.memory_limit or "auto",
    }
    with LocalCluster(**options, dashboard_address=":0") as cluster, Client(cluster) as client:
        log.info("a cluster of %d workers; dashboard at %s", len(cluster.workers), client.dashboard_link)
        yield


@contextmanager
def _connected(address: str) -> Iterator[None]:
    from distributed import Client

    try:
        client = Client(address, timeout=TIMEOUT)
    except (OSError, TimeoutError) as error:
        msg = f"scheduler.address: there is no Dask scheduler at {address} ({error}); start one, or correct the address"
        raise ConnectionError(msg) from error
    with client:
        log.info("%d threads of the cluster at %s", sum(client.nthreads().values()), address)
        yield
