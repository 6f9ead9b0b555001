"""What `reduce` has to know of a background model that is scaled to the counts of each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import xarray as xr

from xgamma.dl3.observation import Observation
from xgamma.reduction.observation import Run

__all__ = ["NormTask", "Norms", "PreparedNorm", "RunNorm", "run_key"]


@dataclass(frozen=True, eq=False)
class RunNorm:
    """What was found for one run.

    Parameters
    ----------
    factor
        What the background model is multiplied with in each energy bin, shape (n_energy,).
    success
        False where no factor was found: nothing of the run is safe then.
    numbers
        Numbers of the run for the cube, by the names of their variables.
    message
        Why it failed, in words.
    run
        Which run this is, see `run_key`.
    error
        What went wrong when the run was read; the task that reads it again raises it.
    """

    factor: np.ndarray
    success: bool
    numbers: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    run: str = ""
    error: Exception | None = None


class NormTask(Protocol):
    """The part that travels to the workers: small and plain."""

    def __call__(self, counts: np.ndarray, background: np.ndarray, energy: np.ndarray) -> RunNorm:
        """Return the factors from sums of shape (n_energy,), and the centres of the bins in TeV."""
        ...


@dataclass(frozen=True, eq=False)
class PreparedNorm:
    """Settings of a norm for each run, checked against the grid of a reduction.

    Parameters
    ----------
    task
        What a worker needs.
    variables
        Names, units and labels of the numbers that `task` returns for a run.
    usable
        True where a pixel may be used for the background, dims (y, x) of the grid, in memory or lazy; None for all.
    method
        The settings in words, for the attributes of the cube.
    token
        The same settings and `usable`, told apart from others: equal in another process.
    """

    task: NormTask
    variables: Mapping[str, tuple[str, str]]
    usable: xr.Variable | None
    method: str
    token: str


def run_key(run: Observation) -> str:
    """Return what tells a run from others, also of another store."""
    return repr(run.__dask_tokenize__())


class Norms:
    """The norms of the runs of one task.

    Parameters
    ----------
    norms
        In any order, and of other runs, too; None where backgrounds stay as they are.
    """

    def __init__(self, norms: Iterable[RunNorm] | None) -> None:
        self._norms = None if norms is None else {norm.run: norm for norm in norms}

    def of(self, run: Run) -> RunNorm | None:
        """Return that of a run; raise what went wrong when its norm was measured."""
        if self._norms is None:
            return None
        norm = self._norms[run_key(run.files.observation)]
        if norm.error is not None:
            raise norm.error
        return norm
