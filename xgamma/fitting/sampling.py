"""Samples of the posterior probability of the parameters of a fit."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.fitting.problem import PENALTY, Problem
from xgamma.fitting.result import FitResult
from xgamma.io.provenance import provenance

__all__ = ["autocorrelation_time", "split_ratio", "sample_posterior"]

FloatArray = NDArray[np.float64]

#: Chains that disagree by more than this have not converged, and autocorrelation times that a chain must hold.
RATIO, TIMES = 1.02, 50.0


def sample_posterior(
    result: FitResult,
    *,
    n_draws: int = 2000,
    n_warmup: int = 500,
    n_walkers: int | None = None,
    n_ensembles: int = 2,
    thin: int = 1,
    seed: int | None = None,
) -> xr.DataTree:
    r"""Draw samples of the posterior probability of the free parameters of a fit, by Markov chains (emcee).

    Parameters
    ----------
    result
        A fit; the chains start around its minimum.
    n_draws, n_warmup
        Steps that are kept, and steps before that are thrown away.
    n_walkers
        Walkers of an ensemble; by default four for each parameter, no fewer than 16.
    n_ensembles
        Independent ensembles, which tell by their agreement whether the chains have converged.
    thin
        Keep each so many-th step.
    seed
        Seed of the random numbers; None for others each time.

    Returns
    -------
    xarray.DataTree
        Groups as those of ArviZ: ``posterior`` with a variable for each parameter (its full name) over dims ``chain``
        (walkers of all ensembles) and ``draw``; ``sample_stats`` with ``lp`` (logarithm of the posterior density up to
        a constant) and ``acceptance_rate``; ``diagnostics`` over ``parameter``: ``r_hat``, autocorrelation time ``tau``
        in steps, and effective number of samples ``ess``.

    Raises
    ------
    ModuleNotFoundError
        If emcee is not installed.
    TypeError
        If `result` is not that of a fit.
    ValueError
        If the numbers are no numbers of steps or walkers.

    Warns
    -----
    UserWarning
        If the chains have not converged, or a parameter has neither a prior nor limits to both sides.

    Notes
    -----
    The density is :math:`\exp(-S / 2)`, with the fit statistic :math:`S` that holds :math:`-2 \ln p` of each prior; a
    parameter without prior has a flat one within its limits. Walkers move along differences of each other (differential
    evolution [1]_): strongly correlated parameters of different units are no harder than others.
    They are not made for more than some thirty parameters, or for several separate maxima.

    References
    ----------
    .. [1] C. J. F. ter Braak, Statistics and Computing 16, 239 (2006); D. Foreman-Mackey et al.,
       PASP 125, 306 (2013), emcee.
    .. [2] A. Gelman, D. B. Rubin, Statistical Science 7, 457 (1992), ``r_hat``.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.fitting.fit import fit
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.prior import UniformPrior
    >>> from xgamma.models.sky_model import SkyModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> source = SkyModel(PowerLawSpectralModel(index=2.2), name="source")
    >>> source.spectral.index.prior = UniformPrior(0, 5)
    >>> source.spectral.amplitude.prior = UniformPrior("0 cm-2 s-1 TeV-1", "1e-10 cm-2 s-1 TeV-1")
    >>> samples = sample_posterior(fit(cube, source), n_draws=1000, n_warmup=100, n_walkers=8, seed=1)
    >>> samples["posterior"].sizes["draw"], bool(abs(samples["posterior/source.index"].mean() - 2.0) < 0.1)
    (1000, True)
    """
    emcee = _emcee()
    if not isinstance(result, FitResult):
        msg = f"samples are drawn around the result of a fit (xgamma.fit), not of {type(result).__name__}"
        raise TypeError(msg)
    problem = result.problem
    number = len(problem.names)
    walkers = max(16, 4 * number) if n_walkers is None else n_walkers
    for name, value, least in (
        ("n_draws", n_draws, 1), ("n_warmup", n_warmup, 0), ("n_walkers", walkers, 2 * number),
        ("n_ensembles", n_ensembles, 1), ("thin", thin, 1),
    ):  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            msg = f"{name}={value!r} must be a whole number, {least} or more"
            raise ValueError(msg)
    _tell_flat(result)
    rng = np.random.default_rng(seed)
    chains, logs, rates = [], [], []
    for _ in range(n_ensembles):
        start = _start(result, walkers, rng)
        # emcee 3 knows the old generators alone
        state = emcee.State(start, random_state=np.random.RandomState(rng.integers(1 << 31)).get_state())
        # every tenth a jump by a whole difference, from one maximum to another; no snooker moves, with which emcee 3.1
        # draws from too narrow a density (a Gaussian in four dimensions comes out 13 % too narrow)
        moves = [(emcee.moves.DEMove(), 0.9), (emcee.moves.DEMove(gamma0=1.0), 0.1)]
        sampler = emcee.EnsembleSampler(walkers, number, _LogDensity(problem), moves=moves, vectorize=True)
        if n_warmup:
            state = sampler.run_mcmc(state, n_warmup, store=False)
            sampler.reset()
        sampler.run_mcmc(state, n_draws, thin_by=thin)
        chains.append(sampler.get_chain() * problem.scale)
        logs.append(sampler.get_log_prob())
        rates.append(sampler.acceptance_fraction)
    return _tree(result, np.array(chains), np.array(logs), np.array(rates), thin)


def _emcee() -> Any:
    if find_spec("emcee") is None:
        msg = "samples of the posterior need emcee: pip install 'xgamma[sampling]'"
        raise ModuleNotFoundError(msg)
    import emcee

    return emcee


class _LogDensity:
    """Logarithm of the posterior density at many points at once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __call__(self, points: FloatArray) -> FloatArray:
        """Return the logarithm at each point, shape (points,)."""
        p = self.problem
        result = np.full(len(points), -np.inf)
        inside = np.flatnonzero(np.all((points >= p.lower) & (points <= p.upper), axis=1))
        if inside.size:
            deviance = p.deviances(points[inside])
            result[inside] = np.where(deviance < PENALTY, -0.5 * deviance, -np.inf)
        return result


def _start(result: FitResult, walkers: int, rng: np.random.Generator) -> FloatArray:
    """Positions around the minimum, inside the limits, where the density is not zero."""
    problem = result.problem
    covariance = result.covariance.values / np.outer(problem.scale, problem.scale)
    errors = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    known = np.isfinite(errors) & (errors > 0)
    spread = np.diag(np.where(known, errors, 0.3 * problem.steps) ** 2)
    if np.all(np.isfinite(covariance)):
        places = np.ix_(known, known)
        spread[places] = covariance[places]
    function = _LogDensity(problem)
    found: list[FloatArray] = []
    center = problem.start
    for attempt in range(50):
        # half an error wide, and narrower where little of that is allowed
        drawn = rng.multivariate_normal(center, 0.25 * 0.7**attempt * spread, size=4 * walkers, check_valid="ignore")
        low = np.where(drawn < problem.lower, 2 * problem.lower - drawn, drawn)
        drawn = np.where(low > problem.upper, 2 * problem.upper - low, low)
        found += list(drawn[np.isfinite(function(drawn))])
        if len(found) >= walkers:
            return np.array(found[:walkers])
    msg = "no values around the minimum are possible: is the minimum where a prior or a limit ends?"
    raise ValueError(msg)


def _tell_flat(result: FitResult) -> None:
    names = [
        n
        for n, p in zip(result.problem.names, result.free, strict=True)
        if p.prior is None and not (np.isfinite(p.min) and np.isfinite(p.max))
    ]
    if names:
        warnings.warn(
            f"{names} have neither a prior nor limits to both sides: theirs is flat and cannot be normalised, which is "
            "only right where the data tell them well",
            UserWarning,
            stacklevel=3,
        )


def _tree(result: FitResult, chains: FloatArray, logs: FloatArray, rates: FloatArray, thin: int) -> xr.DataTree:
    """Label samples of shape (ensembles, draws, walkers, parameters)."""
    ensembles, draws, walkers, number = chains.shape
    names = list(result.problem.names)
    by_chain = chains.transpose(0, 2, 1, 3).reshape(ensembles * walkers, draws, number)
    coords = {
        "chain": np.arange(ensembles * walkers),
        "draw": np.arange(draws),
        "ensemble": ("chain", np.repeat(np.arange(ensembles), walkers)),
    }
    units = [p.unit for p in result.free]
    attrs = [{"units": unit, "long_name": name} for name, unit in zip(names, units, strict=True)]
    posterior = {n: (("chain", "draw"), by_chain[..., i], attrs[i]) for i, n in enumerate(names)}
    lp = logs.transpose(0, 2, 1).reshape(ensembles * walkers, draws)
    stats = {
        "lp": (("chain", "draw"), lp, {"units": "", "long_name": "Logarithm of the posterior density"}),
        "acceptance_rate": ("chain", rates.ravel(), {"units": "", "long_name": "Part of the steps that were taken"}),
    }
    tau = thin * np.array([autocorrelation_time(chains[..., i]) for i in range(number)])
    ratio = np.array([split_ratio(chains[..., i]) for i in range(number)])
    ess = ensembles * walkers * draws * thin / tau
    _judge(names, draws * thin, tau, ratio)
    table = {
        "r_hat": ("parameter", ratio, {"units": "", "long_name": "Spread of all chains over that within them"}),
        "tau": ("parameter", tau, {"units": "", "long_name": "Autocorrelation time in steps"}),
        "ess": ("parameter", ess, {"units": "", "long_name": "Effective number of samples"}),
    }
    common = provenance(settings={"sampler": "emcee", "thin": thin, "walkers": walkers, "ensembles": ensembles})
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=common),
            "posterior": xr.Dataset(posterior, coords),
            "sample_stats": xr.Dataset(stats, coords),
            "diagnostics": xr.Dataset(table, {"parameter": names}),
        }
    )


def _judge(names: list[str], steps: int, tau: FloatArray, ratio: FloatArray) -> None:
    """Warn of chains that have not converged."""
    short = [n for n, t in zip(names, tau, strict=True) if not steps > TIMES * t]
    apart = [n for n, r in zip(names, ratio, strict=True) if not r < RATIO]
    parts = []
    if short:
        parts.append(f"{steps} steps are fewer than {TIMES:g} autocorrelation times ({np.max(tau):.0f}) of {short}")
    if apart:
        parts.append(f"the ensembles disagree about {apart} (r_hat up to {np.max(ratio):.3f})")
    if parts:
        msg = f"the chains have not converged: {'; '.join(parts)}; take more draws (n_draws), or a longer n_warmup"
        warnings.warn(msg, UserWarning, stacklevel=4)


def autocorrelation_time(chains: FloatArray) -> float:
    r"""Return the integrated autocorrelation time of a quantity, in steps.

    Parameters
    ----------
    chains
        Shape (ensembles, steps, walkers).

    Notes
    -----
    :math:`1 + 2 \sum_t \rho(t)` of the mean autocorrelation of all walkers, up to the first window of five times the
    sum itself (A. Sokal, 1996).

    Examples
    --------
    >>> white = np.random.default_rng(1).normal(size=(1, 4000, 10))
    >>> bool(abs(autocorrelation_time(white) - 1.0) < 0.1)
    True
    """
    steps = chains.shape[1]
    centred = chains - chains.mean(axis=(1, 2), keepdims=True)
    size = int(2 ** np.ceil(np.log2(2 * steps)))
    transform = np.fft.rfft(centred, size, axis=1)
    correlation = np.fft.irfft(transform * np.conj(transform), size, axis=1)[:, :steps].mean(axis=(0, 2))
    if not correlation[0] > 0:
        return float(steps)
    rho = correlation / correlation[0]
    sums = 2.0 * np.cumsum(rho) - 1.0
    window = np.arange(steps) >= 5.0 * sums
    place = int(np.argmax(window)) if window.any() else steps - 1
    return float(max(sums[place], 1.0))


def split_ratio(chains: FloatArray) -> float:
    r"""Return how much wider all samples are than those of a part of the run (:math:`\hat R` of halves of ensembles).

    Parameters
    ----------
    chains
        Shape (ensembles, steps, walkers).

    Examples
    --------
    >>> white = np.random.default_rng(1).normal(size=(2, 1000, 10))
    >>> bool(split_ratio(white) < 1.01), bool(split_ratio(white + np.array([0, 1])[:, None, None]) > 1.05)
    (True, True)
    """
    half = chains.shape[1] // 2
    if half < 1:
        return float("inf")
    parts = np.concatenate([chains[:, :half], chains[:, half : 2 * half]]).reshape(2 * len(chains), -1)
    within = float(parts.var(axis=1, ddof=1).mean())
    between = float(parts.mean(axis=1).var(ddof=1))
    return float(np.sqrt(1.0 + between / within)) if within > 0 else float("inf")
