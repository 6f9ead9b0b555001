"""The start of a fit: norms before positions and shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.flux import SCALES
from xgamma.fitting.minimize import Options, minuit_of
from xgamma.fitting.problem import Objective, Problem
from xgamma.models.models import Models
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_model import CenteredModel

__all__ = ["norms_first"]

BoolArray = NDArray[np.bool_]

#: Part of its norm at the start that a source keeps whose position or shape is free.
KEPT = 0.5
#: Distance to the minimum, in the statistic, at which the norms are near enough.
NEAR = 0.1


def norms_first(problem: Problem, models: Models, options: Options) -> tuple[Problem, int]:
    """Move the start of a fit on maps to where its norms fit best, all else as it is.

    Parameters
    ----------
    problem
        The fit at its start.
    models
        Its models, whose parameters are those of the problem.
    options
        How the fit is done: what it may cost.

    Returns
    -------
    problem
        At a start that is no worse; the same where no position or shape of a source is free, or no norm.
    calls
        How often the likelihood was evaluated.

    Notes
    -----
    A minimiser moves along all parameters at once. Where the norm of the diffuse emission is far off, its first steps
    are as long as that takes, and carry a source away from its photons by several widths of the point spread function,
    where its norm may fall below zero and nothing brings it back. In norms alone the statistic is convex. A source that
    can move keeps at least half of its norm: beside its true position it fits best without any photons, and would
    have nothing to find the position with.

    Examples
    --------
    >>> import xarray as xr
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.fitting.compile import compile_likelihood
    >>> from xgamma.fitting.problem import problem_of
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> models = Models([SkyModel(PowerLawSpectralModel(index=2.2), name="source")])
    >>> problem = problem_of(compile_likelihood(cube, models), models.parameters)
    >>> norms_first(problem, models, Options())[1]  # nothing can move
    0
    """
    norm, kept = _kinds(problem, models)
    start = problem.start
    if not kept.any() or not norm.any() or norm.all():
        return problem, 0
    bound = KEPT * start
    lower = np.where(kept & (start > 0), np.maximum(problem.lower, bound), problem.lower)
    upper = np.where(kept & (start < 0), np.minimum(problem.upper, bound), problem.upper)
    others = {problem.names[i]: float(problem.base[problem.free[i]]) for i in np.flatnonzero(~norm)}
    objective = Objective(replace(problem, lower=lower, upper=upper).fixed(**others))
    before = objective(start[norm])
    # the goal of MINUIT is 0.002 times its tolerance
    minuit = minuit_of(objective.problem, Options(strategy=0, tol=NEAR / 0.002), objective)
    minuit.migrad(ncall=options.max_calls)
    x = start.copy()
    x[norm] = np.clip(np.array(minuit.values, float), lower[norm], upper[norm])
    better = bool(np.all(np.isfinite(x))) and minuit.fval is not None and minuit.fval < before
    return (problem.at(x) if better else problem), objective.calls


def _kinds(problem: Problem, models: Models) -> tuple[BoolArray, BoolArray]:
    """Which free parameters are norms, and which belong to sources on maps that can move or grow, shape (m,)."""
    parameters = models.parameters
    free = [parameters[int(place)] for place in problem.free]
    moving = {
        id(p)
        for model in models
        if isinstance(model, SkyModel) and isinstance(model.spatial, CenteredModel) and model.spatial.parameters.free
        for p in model.parameters
    }
    norm = np.array([p.name in SCALES for p in free], bool)
    return norm, np.array([id(p) in moving for p in free], bool)
