"""Around the tasks of a reduction: the time they take, and all the runs that cannot be read, not the first alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xgamma.dl3.observation import Observation
from xgamma.reduction.settings import ReduceSettings

__all__ = ["measured"]


def measured(
    settings: ReduceSettings,
    *others: Any,
    function: Callable[..., dict[str, np.ndarray]],
    runs: Sequence[Observation],
    **kwargs: Any,
) -> dict[str, np.ndarray]:
    """Reduce runs by `function`, and say how long it took.

    Parameters
    ----------
    settings, *others, **kwargs
        What `function` takes.
    function
        Makes arrays of runs, see `xgamma.reduction.tasks`.
    runs
        Runs of this task.

    Returns
    -------
    dict of numpy.ndarray
        What `function` returns, and ``seconds``: a number that adds up with that of other tasks.

    Raises
    ------
    Exception
        The error of the first run that cannot be reduced, with the attribute ``faults``: the words for every such
        run of this task, by its label.
    """
    start = time.perf_counter()
    first: Exception | None = None
    faults: dict[Any, str] = {}
    left = tuple(runs)
    while first is None or left:
        try:
            result = function(settings, *others, runs=left, **kwargs)
        except Exception as error:
            label = getattr(error, "obs_id", None)
            if label is None or label in faults:
                raise
            first = error if first is None else first
            faults[label] = str(error)
            # the others are looked at, too: who goes on without one run wants to know of all
            left = tuple(run for run in left if run.obs_id != label)
        else:
            break
    if first is not None:
        first.faults = faults  # type: ignore[attr-defined]
        raise first
    return result | {"seconds": np.array(time.perf_counter() - start)}
