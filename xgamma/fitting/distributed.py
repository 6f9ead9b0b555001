"""Likelihoods whose parts are held by the workers of a Dask cluster: values go out, sums come back."""

from __future__ import annotations

import pickle
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.fitting.compile import StatName, compile_likelihood, dataset_of, prior_terms
from xgamma.fitting.cubes import Cubes, Spectra, match_models, named_cubes
from xgamma.fitting.dataset import Likelihood
from xgamma.fitting.map_cubes import Maps, check_map_models
from xgamma.fitting.systematics import without_systematics
from xgamma.models.models import as_models
from xgamma.models.sky_model import Model

__all__ = ["DistributedLikelihood", "distribute", "split_cubes"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Outline:
    """What the driver knows of a dataset that a worker holds."""

    name: str
    places: IntArray
    n_bins: int
    constant: float
    data_sums: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Held:
    """A part of a likelihood in the memory of a worker, and what was said when it was made."""

    likelihood: Likelihood
    messages: tuple[str, ...]

    @property
    def outlines(self) -> list[_Outline]:
        """The datasets as the driver sees them."""
        return [_Outline(d.name, d.places, d.n_bins, d.constant, d.data_sums) for d in self.likelihood.datasets]


def _hold(payload: bytes) -> _Held:
    """Compile a part, on a worker."""
    cubes, models, stat, alone = pickle.loads(payload)  # noqa: S301 - made by `distribute`, not read from a file
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # a task that waits for others could wait for ever
        likelihood = compile_likelihood(cubes, models, stat, alone=alone, whole=False, scheduler="synchronous")
    return _Held(replace(likelihood, priors=()), tuple(str(w.message) for w in caught if w.category is UserWarning))


def _outlines(held: _Held) -> tuple[list[_Outline], tuple[str, ...]]:
    return held.outlines, held.messages


def _deviances(held: _Held, points: FloatArray) -> FloatArray:
    """Deviance of each dataset at some values, shape (points, datasets)."""
    with np.errstate(all="ignore"):
        return np.array([[d.deviance(values) for d in held.likelihood.datasets] for values in points])


def _gradients(held: _Held, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
    """Derivatives of each dataset, shape (datasets, values)."""
    with np.errstate(all="ignore"):
        return np.array([d.gradient(values, steps) for d in held.likelihood.datasets])


def _stats(held: _Held, values: FloatArray) -> dict[str, float]:
    return held.likelihood.stat_per_dataset(values)


@dataclass(frozen=True, eq=False)
class DistributedLikelihood(Likelihood):
    """A likelihood whose datasets are held by workers.

    Parameters
    ----------
    datasets
        Outlines of all datasets, in order.
    priors
        Priors, which the driver adds.
    client
        Client of the cluster.
    parts
        Futures of what each worker holds, in order. A worker that is lost takes its parts along: the scheduler makes
        them again elsewhere.

    Notes
    -----
    Numbers of single datasets come back and are added in the order of the datasets: the sum does not depend on how many
    workers there are, or on which of them answers first.
    """

    client: Any = None
    parts: tuple[Any, ...] = ()

    def _ask(self, function: Any, *given: Any) -> list[Any]:
        """Call a function on all parts, where they are."""
        # each call is a task of its own: nothing is looked up by a hash of its arguments
        tasks = [self.client.submit(function, part, *given, pure=False) for part in self.parts]
        answers: list[Any] = self.client.gather(tasks)
        return answers

    def deviances(self, points: FloatArray) -> FloatArray:
        """Return the deviance at several values at once, shape (points,): one message to each part."""
        columns = np.concatenate(self._ask(_deviances, np.asarray(points, float)), axis=1)
        sums = [float(sum(row.tolist())) for row in columns]
        if self.priors:
            with np.errstate(all="ignore"):
                sums = [s + self.prior_stat(values) for s, values in zip(sums, points, strict=True)]
        return np.array(sums)

    def deviance(self, values: FloatArray) -> float:
        """Return the statistic without the terms that no model changes: what is minimised."""
        return float(self.deviances(np.asarray(values)[None])[0])

    def undefined(self, values: FloatArray) -> list[str]:
        """Return the names of datasets whose statistic is not a finite number."""
        row = np.concatenate(self._ask(_deviances, values[None]), axis=1)[0]
        return [d.name for d, found in zip(self.datasets, row, strict=True) if not np.isfinite(found)]

    def gradient_of_datasets(self, values: FloatArray, steps: Mapping[int, float]) -> FloatArray:
        """Return the derivative without the priors."""
        return np.asarray(np.sum(np.concatenate(self._ask(_gradients, values, dict(steps))), axis=0))

    def stat_per_dataset(self, values: FloatArray) -> dict[str, float]:
        """Return the statistic of each dataset, run by run where a cube has runs."""
        return {label: stat for part in self._ask(_stats, values) for label, stat in part.items()}

    def __getstate__(self) -> dict[str, Any]:
        msg = "a likelihood that workers hold cannot be copied or sent: fit without client, or profile without lazy"
        raise TypeError(msg)


def distribute(
    cubes: Cubes,
    models: Model | Iterable[Model],
    stat: StatName | Mapping[str, StatName] | None = None,
    *,
    client: Any,
    n_parts: int | None = None,
) -> DistributedLikelihood:
    """Prepare a likelihood whose parts are held by the workers of a cluster.

    Parameters
    ----------
    cubes, models, stat
        As for `xgamma.fitting.compile.compile_likelihood`. Lazy cubes are computed by the workers, and never come to
        the driver; those in memory are sent to the scheduler, which keeps them in order to send them again.
    client
        A `distributed.Client`.
    n_parts
        Number of parts; by default that of the cluster's threads.

    Returns
    -------
    DistributedLikelihood

    Raises
    ------
    TypeError
        If the client is none.
    ValueError
        If the cluster has no workers, or as `compile_likelihood` raises.
    """
    if not hasattr(client, "submit") or not hasattr(client, "scheduler_info"):
        msg = f"client={client!r} must be a distributed.Client"
        raise TypeError(msg)
    workers = dict(client.nthreads())
    if not workers:
        msg = "the cluster of this client has no workers: start some, or wait for them (client.wait_for_workers(1))"
        raise ValueError(msg)
    from distributed.protocol.pickle import dumps  # functions of a notebook, too

    chosen, named = as_models(models), named_cubes(cubes)
    alone = len(named) == 1
    _check(named, chosen, alone)
    pieces = split_cubes(named, sum(workers.values()) if n_parts is None else n_parts)
    payloads = [dumps((piece, chosen, _stat_of(stat, piece), alone)) for piece in pieces]
    # what is held by the scheduler can be computed again; that this is large is meant
    size = f"{max(map(len, payloads)) + 10_000_000} B"
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": size}):
        # bound to no worker: a task that prefers one waits for ever where all are lost at once, and new ones come
        parts = tuple(
            client.submit(_hold, payload, pure=False, key=f"xgamma-likelihood-{uuid.uuid4()}") for payload in payloads
        )
    answers = client.gather([client.submit(_outlines, part, pure=False) for part in parts])
    for message in dict.fromkeys(m for _, messages in answers for m in messages if _concerns_bins(m)):
        warnings.warn(message, UserWarning, stacklevel=3)
    outlines: Any = tuple(outline for found, _ in answers for outline in found)
    if not sum(o.n_bins for o in outlines):
        msg = f"no bin of {list(named)} is inside mask_safe and mask_fit: there is nothing to fit"
        raise ValueError(msg)
    return DistributedLikelihood(outlines, prior_terms(chosen.parameters), client, parts)


def _concerns_bins(message: str) -> bool:
    """Whether a warning is about data; those about models of which a part sees nothing are not meant."""
    return "takes no part" not in message and "change nothing" not in message


def _check(named: Mapping[str, xr.Dataset], models: Any, alone: bool) -> None:
    """Check models and axes, as far as no values are needed."""
    plain, _ = without_systematics(models)
    whole = [dataset_of(n, c, alone) for n, c in named.items()]
    maps = [s for s in whole if isinstance(s, Maps)]
    match_models(plain, [s for s in whole if not isinstance(s, Maps)], maps)
    check_map_models(plain, maps)


def _stat_of(stat: Any, piece: Mapping[str, xr.Dataset]) -> Any:
    return {n: s for n, s in stat.items() if n in piece} if isinstance(stat, Mapping) else stat


def split_cubes(named: Mapping[str, xr.Dataset], number: int) -> list[dict[str, xr.Dataset]]:
    """Split cubes into parts of about equally many bins, in order; runs of one cube may come into several parts.

    Parameters
    ----------
    named
        Cubes by name.
    number
        Number of parts, at most.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords, "obs": [1, 2, 3]})
    >>> cube["counts"] = ("obs", "energy"), np.ones((3, 2))
    >>> [part["crab"].obs.values.tolist() for part in split_cubes({"crab": cube}, 2)]
    [[1], [2, 3]]
    """
    if number < 1:
        msg = f"n_parts={number!r} must be at least 1"
        raise ValueError(msg)
    units: list[tuple[str, int, int]] = []
    whole = {}
    for name, cube in named.items():
        s = dataset_of(name, cube, False)
        whole[name] = _with_labels(s)
        runs = s.shape[0] if s.lead else 1
        bins = int(np.prod([*s.bins, *s.shape[1:]]))
        units += [(name, i, bins) for i in range(runs)]
    ends = np.cumsum([bins for *_, bins in units])
    # each unit goes where its middle lies
    middle = ends - 0.5 * np.array([bins for *_, bins in units])
    group = np.minimum((middle / max(float(ends[-1]), 1.0) * number).astype(int), number - 1)
    result = []
    for k in np.unique(group):
        chosen: dict[str, list[int]] = {}
        for (name, run, _), own in zip(units, group, strict=True):
            if own == k:
                chosen.setdefault(name, []).append(run)
        result.append({name: _runs(whole[name], runs) for name, runs in chosen.items()})
    return result


def _with_labels(s: Spectra) -> Spectra:
    """A cube whose runs have names that stay theirs in a part of it."""
    if not s.lead:
        return s
    dim = s.lead[0]
    found = [str(v) for v in s.cube[dim].values] if dim in s.cube.coords else []
    if found and len(set(found)) == len(found):
        return s
    return replace(s, cube=s.cube.assign_coords({dim: np.arange(s.shape[0])}))


def _runs(s: Spectra, runs: Sequence[int]) -> xr.Dataset:
    if not s.lead or len(runs) == s.shape[0]:
        return s.cube
    return s.cube.isel({s.lead[0]: slice(runs[0], runs[-1] + 1)})
