"""Fits of models to cubes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from xgamma.fitting.compile import StatName, compile_likelihood
from xgamma.fitting.distributed import distribute
from xgamma.fitting.minimize import Backend, Options, minimize, rescaled
from xgamma.fitting.norms_first import norms_first
from xgamma.fitting.problem import Minimum, Problem, problem_of
from xgamma.fitting.result import FitResult
from xgamma.models.covariance import Covariance, labelled_covariance
from xgamma.models.models import Models, as_models
from xgamma.models.parameter import Parameters
from xgamma.models.sky_model import Model

__all__ = ["fit"]

#: Minima that differ by less in the statistic are the same.
SAME = 0.01


def fit(
    cubes: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset] | Iterable[xr.Dataset],
    models: Model | Iterable[Model],
    *,
    backend: Backend = "minuit",
    method: str | None = None,
    stat: StatName | Mapping[str, StatName] | None = None,
    strategy: Literal[0, 1, 2] = 1,
    tol: float = 1e-3,
    covariance: Literal["hesse"] | None = "hesse",
    max_calls: int | None = None,
    client: Any = None,
) -> FitResult:
    """Fit models to one cube, or jointly to several.

    Parameters
    ----------
    cubes
        A cube of spectra or maps, with runs and regions along ``obs`` and ``region`` fitted jointly, or flux points;
        several as a mapping from names, a list, or a DataTree. A lazy cube is computed once.
    models
        Models, or one; they are copied. Models with ``datasets_names`` take part in the datasets of these names: those
        of cubes (``attrs["name"]`` or the keys of the mapping) or of runs (the labels of ``obs``).
    backend
        ``"minuit"`` (iminuit) or ``"scipy"``.
    method
        ``"migrad"`` (default) or ``"simplex"``; for scipy ``"L-BFGS-B"`` (default), ``"Nelder-Mead"`` and others.
    stat
        ``"wstat"``, ``"cash"``, ``"cstat"`` or ``"chi2"`` for all cubes; by default wstat for those with off counts,
        chi2 for those with ``counts_error``, cash for others. For flux points ``"chi2"`` (default; limits are left
        out), ``"distrib"`` (an error to each side, and limits) or ``"profile"``. A mapping from names of datasets
        where they differ.
    strategy, tol
        How carefully minuit works, and how close to the minimum it has to get: the estimated distance in the statistic
        is below 0.002 `tol`. Minuit's own default of 0.1 stops within about 1.4 % of the errors, 0.001 within 0.14 %,
        which costs a few evaluations more.
    covariance
        ``"hesse"`` from second derivatives at the minimum, None for none.
    max_calls
        How often the likelihood may be evaluated, about; by default as often as the minimiser thinks right.
    client
        A `distributed.Client`, whose workers then hold the parts of the likelihood: each evaluation sends them the
        values of the parameters and adds what comes back. Lazy cubes are computed there. Runs go on where a worker is
        lost. By default all is done in this process, which is faster unless an evaluation takes more than some
        hundredths of a second.

    Returns
    -------
    FitResult

    Raises
    ------
    TypeError, ValueError
        If nothing is free, all bins are masked, the exposure is zero, bins hold NaN, a parameter starts outside its
        limits or where the statistic is not defined.

    Warns
    -----
    UserWarning
        If the fit has not converged, a model belongs to no dataset, or a free parameter changes none.

    Notes
    -----
    Each dataset adds its statistic, each prior ``-2 log p``. Where a source on a map can move or grow, norms are fitted
    first, then all parameters together (see `xgamma.fitting.norms_first.norms_first`). Parameters are scaled to order
    one; errors come from the inverse of the second derivatives, where the statistic rises by one. A parameter that the
    fit pushes against a limit is put there, named in the message, and left out of the covariance.

    References
    ----------
    F. James, M. Roos, Computer Physics Communications 10, 343 (1975), MINUIT.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> result = fit(cube, SkyModel(PowerLawSpectralModel(index=2.2), name="source"))
    >>> result.models["source"].spectral.amplitude.value * 1e12
    1.0
    """
    options = Options(backend, method, strategy, tol, covariance, max_calls)
    best = as_models(models).copy()
    parameters = best.parameters
    if client is None:
        likelihood = compile_likelihood(cubes, best, stat)
    else:
        likelihood = distribute(cubes, best, stat, client=client)
    problem = problem_of(likelihood, parameters)
    _idle(problem, parameters)
    minimum = _from_afar(problem, best, options)
    matrix = _update(best, parameters, problem, minimum)
    message = "; ".join(minimum.notes) or "the fit converged"
    if not minimum.success:
        warnings.warn(message, UserWarning, stacklevel=2)
    values = problem.values(minimum.x)
    free = Parameters([parameters[int(i)] for i in problem.free], problem.names)
    return FitResult(
        success=minimum.success,
        message=message,
        total_stat=minimum.deviance + likelihood.constant,
        models=best,
        covariance=labelled_covariance(free, matrix),
        stat_per_dataset=likelihood.stat_per_dataset(values),
        prior_stat=likelihood.prior_stat(values),
        n_evaluations=minimum.calls,
        n_bins=likelihood.n_bins,
        options=options,
        problem=rescaled(problem, minimum),
        deviance=minimum.deviance,
    )


def _from_afar(problem: Problem, models: Models, options: Options) -> Minimum:
    """Minimise with norms first; where that does not converge once more from the start as it is, and take the lower."""
    near, calls = norms_first(problem, models, options)
    first = minimize(near, _left(options, calls))
    first = replace(first, calls=calls + first.calls)
    if first.success or near is problem or (options.max_calls is not None and first.calls >= options.max_calls):
        return first
    second = minimize(problem, _left(options, first.calls))
    # at the same depth the one that has converged
    better = second.deviance < first.deviance - (-SAME if second.success else SAME)
    return replace(second if better else first, calls=first.calls + second.calls)


def _left(options: Options, calls: int) -> Options:
    """Return the options with what is left of `max_calls`."""
    return options if options.max_calls is None else replace(options, max_calls=max(1, options.max_calls - calls))


def _idle(problem: Problem, parameters: Parameters) -> None:
    """Warn of free parameters that take no part."""
    names = [n for n in parameters.free.names if n not in problem.names]
    if names:
        warnings.warn(
            f"no dataset depends on the free parameters {names}; they stay as they are", UserWarning, stacklevel=3
        )


def _update(models: Models, parameters: Parameters, problem: Problem, minimum: Minimum) -> Any:
    """Put the minimum into the models; return the covariance in the units of the parameters."""
    values = problem.values(minimum.x)
    free = tuple(parameters[int(i)] for i in problem.free)
    for parameter, place in zip(free, problem.free, strict=True):
        parameter.value = float(values[place])
    scaled = minimum.covariance
    if scaled is None:
        return np.full((len(free), len(free)), np.nan)
    matrix = scaled * np.outer(problem.scale, problem.scale)
    models.set_covariance(Covariance(free, matrix))
    return matrix
