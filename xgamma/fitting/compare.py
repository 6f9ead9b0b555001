"""Likelihood ratios of nested models: whether the richer one is needed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from html import escape

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln
from scipy.stats import chi2, norm

from xgamma.fitting.result import FitResult
from xgamma.models.systematics import NOMINAL, Systematics

__all__ = ["LikelihoodRatio", "likelihood_ratio"]

#: Statistics of two fits may differ by this where both stopped near the same minimum.
SLACK = 1e-3


@dataclass(frozen=True)
class LikelihoodRatio:
    """Likelihood ratio test of nested models.

    Parameters
    ----------
    ts
        Test statistic: how much lower the statistic of the alternative is (`FitResult.penalized_stat`, and for what it
        frees what priors say of the values in the null hypothesis).
    dof
        How many free parameters it has more.
    p_value
        Chance of a larger `ts` if the null hypothesis is right.
    sigma
        Standard deviations of a Gaussian that are exceeded, to both sides, as often as `ts`: its root for one more
        parameter, as the field counts.
    boundary
        Names of parameters of the alternative on whose limits the null hypothesis may lie; with one, half of the chance
        is taken where `one_sided` says so.
    one_sided
        Whether the chance was halved.
    message
        What limits the meaning of the numbers, in words.
    """

    ts: float
    dof: int
    p_value: float
    sigma: float
    boundary: tuple[str, ...]
    one_sided: bool
    message: str

    def __repr__(self) -> str:
        head = f"TS = {self.ts:.4g} for {self.dof} more free parameter{'s' * (self.dof != 1)}"
        return (
            f"LikelihoodRatio({head}: p = {self.p_value:.3g}, {self.sigma:.2f} sigma; {self.message or 'no remarks'})"
        )

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"


def likelihood_ratio(null: FitResult, alternative: FitResult, *, one_sided: bool = False) -> LikelihoodRatio:
    r"""Test a null hypothesis against an alternative that contains it.

    Parameters
    ----------
    null
        Fit of the simpler models.
    alternative
        Fit of the richer ones, to the same data with the same statistic.
    one_sided
        Whether the one parameter that the alternative has more may only grow from its value in the null hypothesis, as
        the norm of a source from 0: half of all fluctuations then go where no better fit is, and the chance is half as
        large [2]_.

    Returns
    -------
    LikelihoodRatio

    Raises
    ------
    ValueError
        If the fits have not the same bins, the alternative has no more free parameters than the null hypothesis, or
        it fits worse.
    TypeError
        If one is no result of a fit.

    Warns
    -----
    UserWarning
        If a fit has not converged, or a parameter of the alternative sits at a limit.

    Notes
    -----
    If the null hypothesis is right, the data are many, and its values lie inside what the alternative allows, TS
    follows a :math:`\chi^2` distribution with as many degrees of freedom as there are more free parameters [1]_. None
    of this holds where a parameter means nothing in the null hypothesis (the position or index of a source without
    norm): the chance of the best of all positions is larger, and simulations have to tell it [2]_.

    References
    ----------
    .. [1] S. S. Wilks, Annals of Mathematical Statistics 9, 60 (1938).
    .. [2] R. Protassov et al., ApJ 571, 545 (2002); H. Chernoff, Annals of Mathematical Statistics 25, 573 (1954).

    Examples
    --------
    >>> import xarray as xr
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.fitting.fit import fit
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> source = SkyModel(PowerLawSpectralModel(index=2.5), name="source")
    >>> alternative = fit(cube, source)
    >>> source.spectral.index.frozen = True
    >>> test = likelihood_ratio(fit(cube, source), alternative)
    >>> test.dof, round(test.sigma, 3)
    (1, 2.831)
    """
    _check_data(null, alternative)
    dof = len(alternative.problem.names) - len(null.problem.names)
    if dof < 1:
        msg = (
            f"the alternative has {len(alternative.problem.names)} free parameters, the null hypothesis "
            f"{len(null.problem.names)}: it must have more; are the two swapped?"
        )
        raise ValueError(msg)
    more = [n for n in alternative.problem.names if n not in null.problem.names]
    ts = null.penalized_stat + sum(_fixed_prior(n, null, alternative) for n in more) - alternative.penalized_stat
    if ts < -SLACK:
        msg = (
            f"the alternative fits worse, by {-ts:.3g}, which nested models cannot: its fit has stopped in another "
            "minimum (start it from the result of the null hypothesis), or the models are not nested"
        )
        raise ValueError(msg)
    if one_sided and dof != 1:
        msg = f"one_sided is for one more parameter, and there are {dof}"
        raise ValueError(msg)
    ts = max(ts, 0.0)
    notes, boundary = _remarks(null, alternative, more, one_sided)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    tail = float(chi2.sf(ts, dof))
    return LikelihoodRatio(
        ts, dof, tail * (0.5 if one_sided else 1.0), _sigma(ts, dof), boundary, one_sided, "; ".join(notes)
    )


def _check_data(null: FitResult, alternative: FitResult) -> None:
    odd = next((r for r in (null, alternative) if not isinstance(r, FitResult)), None)
    if odd is not None:
        msg = f"two results of fits are compared (xgamma.fit), not {type(odd).__name__}"
        raise TypeError(msg)
    first, second = null.stat_per_dataset, alternative.stat_per_dataset
    constants = null.likelihood.constant, alternative.likelihood.constant
    # sums, not values: likelihoods on workers have none, and models may divide the datasets of one fit further
    one, two = (np.sum([d.data_sums for d in r.likelihood.datasets], axis=0) for r in (null, alternative))
    alike = np.isclose(*constants, rtol=1e-12) and np.allclose(one, two, rtol=1e-9, atol=0.0)
    if null.n_bins != alternative.n_bins or list(first) != list(second) or not alike:
        msg = (
            f"the fits are not of the same data: {null.n_bins} bins of {_some(list(first))} and {alternative.n_bins} "
            f"bins of {_some(list(second))}, or with other counts or another statistic"
        )
        raise ValueError(msg)


def _some(names: list[str]) -> str:
    return str(names) if len(names) <= 4 else f"{names[:4]} and {len(names) - 4} more"


def _fixed_prior(name: str, null: FitResult, alternative: FitResult) -> float:
    """What the prior of a parameter says of the value at which the null hypothesis holds it."""
    parameter = alternative.free[name]
    if parameter.prior is None:
        return 0.0
    prior = parameter.prior.bound(parameter.unit, name)
    if name in null.parameters.names:
        value = null.parameters[name].quantity.to_value(parameter.unit)
    else:
        # errors of an instrument that nobody speaks of are none; of a source that is not there nothing is known
        model, _, key = name.rpartition(".")
        value = NOMINAL[key] if isinstance(alternative.models[model], Systematics) else prior.mode
    return float(prior.above_mode(value))


def _remarks(
    null: FitResult, alternative: FitResult, more: list[str], one_sided: bool
) -> tuple[list[str], tuple[str, ...]]:
    """What limits the meaning of the numbers, and parameters at limits."""
    notes = [
        f"the fit of the {name} has not converged: {r.message}"
        for name, r in (("null hypothesis", null), ("alternative", alternative))
        if not r.success
    ]
    at_limit = tuple(n for n in alternative.problem.names if alternative.free[n].at_limit)
    if at_limit:
        notes.append(
            f"{list(at_limit)} sit at their limits, where TS does not follow a chi-square: the chance is too large"
        )
    known, fixed = set(null.parameters.names), []
    for name in more:
        if name not in known:
            continue
        p, value = alternative.free[name], float(null.parameters[name].value)
        if any(np.isclose(value, limit, rtol=1e-9, atol=1e-300) for limit in (p.min, p.max)):
            fixed.append(name)
    if fixed and not one_sided:
        hint = ": take one_sided=True" if len(more) == 1 else ", and simulations have to tell it"
        notes.append(f"the null hypothesis lies on a limit of {fixed}; the chance is too large{hint}")
    alone = {n.rpartition(".")[0] for n in more} - {n.rpartition(".")[0] for n in known}
    alone -= {m.name for m in alternative.models if isinstance(m, Systematics)}
    if alone and len(more) > 1:
        notes.append(
            f"parameters of {sorted(alone)} beside the norm mean nothing where the norm is 0, as in the null "
            "hypothesis: the chance is an underestimate where several values were tried, such as positions"
        )
    return notes, tuple(dict.fromkeys((*at_limit, *fixed)))


def _sigma(ts: float, dof: int) -> float:
    """Standard deviations of a Gaussian for a chi-square; by logarithms, which go on where chances underflow."""
    if dof == 1:
        return float(np.sqrt(ts))
    log_half = _log_tail(ts, dof) - float(np.log(2.0))
    if log_half > np.log(0.5 - 1e-12):
        return 0.0
    return float(brentq(lambda s: norm.logsf(s) - log_half, 0.0, np.sqrt(ts) + 1.0, xtol=1e-12))


def _log_tail(ts: float, dof: int) -> float:
    tail = float(chi2.sf(ts, dof))
    if tail > 1e-290:
        return float(np.log(tail))
    # Gamma(a, x) = x^(a - 1) exp(-x) (1 + (a - 1) / x + ...) far out
    a, x = 0.5 * dof, 0.5 * ts
    terms = np.cumprod(np.append(1.0, [(a - k) / x for k in range(1, 20)]))
    return float((a - 1.0) * np.log(x) - x + np.log(terms.sum()) - gammaln(a))
