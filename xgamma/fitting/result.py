"""What a fit returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from xgamma.coords.units import to_value
from xgamma.fitting.dataset import Likelihood
from xgamma.fitting.minimize import Options
from xgamma.fitting.problem import Problem
from xgamma.fitting.profile import (
    Confidence,
    confidence_interval,
    contour,
    contour_along_rays,
    profile,
    profile_lazy,
    scan_values,
    surface,
)
from xgamma.kernels.limits import statistic_rise
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter, Parameters

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["FitResult"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitResult:
    """Result of a fit: the best models, their covariance, and the likelihood to ask further.

    Parameters
    ----------
    success
        Whether the minimiser converged and, where asked for, the covariance is positive definite.
    message
        What happened, in words.
    total_stat
        The fit statistic at the minimum, priors included.
    models
        Copies of the models with the best values, errors and covariance.
    covariance
        Covariance of the free parameters in their units, dims ``(parameter, parameter_)``; NaN where it is not positive
        definite, zero for parameters at a limit.
    stat_per_dataset
        The statistic of each dataset, run by run where a cube has runs.
    prior_stat
        What priors add to it.
    n_evaluations
        How often the likelihood was evaluated.
    n_bins
        Number of bins that took part.
    options
        How the fit was done.
    problem
        The likelihood at the minimum, as the minimiser sees it.
    deviance
        The part of `total_stat` that the models change.

    Examples
    --------
    >>> from xgamma.fitting.fit import fit
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> result = fit(cube, SkyModel(PowerLawSpectralModel(index=2.2), name="source"))
    >>> result.success, round(result.models["source"].spectral.index.value, 3)
    (True, 2.0)
    >>> result.correlation.dims
    ('parameter', 'parameter_')
    """

    success: bool
    message: str
    total_stat: float
    models: Models
    covariance: xr.DataArray
    stat_per_dataset: dict[str, float]
    prior_stat: float
    n_evaluations: int
    n_bins: int
    options: Options
    problem: Problem = field(repr=False)
    deviance: float = field(repr=False)

    # ------------------------------------------------------------------ numbers
    @property
    def backend(self) -> str:
        """Which minimiser was used."""
        return self.options.backend

    @property
    def likelihood(self) -> Likelihood:
        """The compiled likelihood, a function of the values of `parameters`."""
        return self.problem.likelihood

    @property
    def parameters(self) -> Parameters:
        """All parameters of the models."""
        return self.models.parameters

    @property
    def free(self) -> Parameters:
        """The parameters that the fit changed."""
        parameters = self.parameters
        return Parameters([parameters[int(i)] for i in self.problem.free], self.problem.names)

    @property
    def correlation(self) -> xr.DataArray:
        """Correlation of the free parameters, dims ``(parameter, parameter_)``; NaN where there is no error."""
        error = np.sqrt(np.diag(self.covariance.values))
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self.covariance.values / np.outer(error, error)
        result = self.covariance.copy(data=values).rename("correlation")
        result.attrs = {"units": "", "long_name": "Correlation"}
        return result

    @property
    def dof(self) -> int:
        """Number of bins minus number of free parameters."""
        return self.n_bins - len(self.problem.names)

    @property
    def goodness(self) -> float:
        """Chance of a worse fit if the models are right, from the deviance as a chi-square of `dof`.

        An approximation, good where most bins hold more than some ten counts; NaN without degrees of freedom.
        """
        return float(chi2.sf(self.deviance - self.prior_stat, self.dof)) if self.dof > 0 else float("nan")

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return len(self.problem.names)

    @property
    def penalized_stat(self) -> float:
        """The statistic with priors above their most probable values, 0 there: as a chi-square of what they know.

        In `total_stat` their normalisation counts, which depends on units and on how many there are.
        """
        return self.total_stat - sum(float(term.prior(term.prior.mode)) for term in self.likelihood.priors)

    @property
    def aic(self) -> float:
        r"""Akaike's information criterion, :math:`S + 2 k` with `k` free parameters; lower is better.

        `S` is `penalized_stat`. Only differences between fits of the same data with the same statistic mean something.
        """
        return self.penalized_stat + 2.0 * self.n_free

    @property
    def aicc(self) -> float:
        r"""Akaike's criterion for few bins, :math:`S + 2 k n / (n - k - 1)`; NaN where bins are too few for it."""
        rest = self.n_bins - self.n_free - 1
        return self.penalized_stat + 2.0 * self.n_free * self.n_bins / rest if rest > 0 else float("nan")

    @property
    def bic(self) -> float:
        r"""Schwarz's criterion, :math:`S + k \ln n` with `n` bins."""
        return self.penalized_stat + self.n_free * float(np.log(self.n_bins))

    # ------------------------------------------------------------------ texts
    def to_table(self) -> Table:
        """Return the parameters of the models as an astropy table, with values, errors, limits and links."""
        return self.models.to_table()

    def _head(self) -> dict[str, str]:
        head = {"success": str(self.success), "message": self.message, "total stat": f"{self.total_stat:.6g}"}
        if self.prior_stat:
            head["of which priors"] = f"{self.prior_stat:.6g}"
        head["bins, free parameters"] = f"{self.n_bins}, {len(self.problem.names)}"
        method = self.options.method or {"minuit": "migrad", "scipy": "L-BFGS-B"}[self.backend]
        return head | {"backend": f"{self.backend} ({method}), {self.n_evaluations} evaluations"}

    def __repr__(self) -> str:
        lines = [f"  {key:22}: {text}" for key, text in self._head().items()]
        width = max(len(n) for n in self.problem.names)
        for name, p in zip(self.problem.names, self.free, strict=True):
            lines.append(f"  {name:{max(width, 22)}}: {_digits(p)} +- {p.error:.2g} {p.unit}".rstrip())
        return "\n".join(["FitResult", *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in self._head().items())
        rows = "".join(
            f"<tr><td>{escape(n)}</td><td>{_digits(p)}</td><td>{p.error:.2g}</td><td>{escape(p.unit)}</td></tr>"
            for n, p in zip(self.problem.names, self.free, strict=True)
        )
        titles = "".join(f"<th>{t}</th>" for t in ("free parameter", "value", "error", "unit"))
        return f"<b>FitResult</b><table>{head}</table><table><tr>{titles}</tr>{rows}</table>"

    # ------------------------------------------------------------------ further questions
    def confidence(self, parameter: str | Parameter, sigma: float = 1.0) -> Confidence:
        """Return the confidence interval of a parameter from its likelihood profile.

        Parameters
        ----------
        parameter
            Free parameter, or its name, as ``"crab.index"``.
        sigma
            The profile has risen by its square at the ends.

        Returns
        -------
        Confidence
            ``errn`` and ``errp`` in the unit of the parameter.

        Notes
        -----
        MINOS for fits by minuit; for those by scipy the root of the profile, re-minimised at each step.
        """
        name = self._name(parameter)
        errn, errp, notes, calls = confidence_interval(self.problem, self.options, name, self.deviance, sigma)
        best = float(self.problem.base[self.problem.free[self.problem.names.index(name)]])
        return Confidence(name, best, errn, errp, self.free[name].unit, sigma, not notes, "; ".join(notes), calls)

    def stat_profile(
        self, parameter: str | Parameter, values: Any = None, *, reoptimize: bool = True, lazy: bool = False
    ) -> xr.Dataset:
        """Return the likelihood profile of a parameter.

        Parameters
        ----------
        parameter
            Free parameter, or its name.
        values
            Values as a quantity or as numbers in the unit of the parameter; how many between the ends of its scan; by
            default those of its scan (`Parameter.scan`): 11 within two standard deviations.
        reoptimize
            False leaves the other parameters at their best values, which gives a slice instead of a profile.
        lazy
            True for Dask arrays, a task for each value: ``compute()`` works on them in threads, processes, or on the
            workers of the active client.

        Returns
        -------
        xarray.Dataset
            ``stat``, ``delta_stat`` (above the minimum), ``success`` and the ``values`` of all free parameters, over a
            dim of the parameter's name.
        """
        return self._scan({self._name(parameter): values}, reoptimize, lazy)

    def stat_scan(
        self, parameters: Mapping[str, Any] | Iterable[str], *, reoptimize: bool = True, lazy: bool = False
    ) -> xr.Dataset:
        """Return the likelihood profile over any number of parameters.

        Parameters
        ----------
        parameters
            Values of each free parameter by name, as for `stat_profile` (also None); or names alone.
        reoptimize, lazy
            As for `stat_profile`.

        Returns
        -------
        xarray.Dataset
            As for `stat_profile`, with a dim for each parameter.
        """
        given = dict(parameters) if isinstance(parameters, Mapping) else dict.fromkeys(parameters)
        wanted = {self._name(name): values for name, values in given.items()}
        if not wanted or len(wanted) < len(given):
            msg = f"parameters={list(given)!r} must be names of free parameters, each once"
            raise ValueError(msg)
        return self._scan(wanted, reoptimize, lazy)

    def stat_surface(
        self,
        parameter_1: str | Parameter,
        parameter_2: str | Parameter,
        values_1: Any = None,
        values_2: Any = None,
        *,
        reoptimize: bool = True,
        lazy: bool = False,
    ) -> xr.Dataset:
        """Return the likelihood profile over two parameters; arguments and result as for `stat_profile`."""
        first, second = self._pair(parameter_1, parameter_2)
        return self._scan({first: values_1, second: values_2}, reoptimize, lazy)

    def stat_contour(
        self,
        parameter_1: str | Parameter,
        parameter_2: str | Parameter,
        *,
        sigma: float = 1.0,
        n: int = 20,
        joint: bool = False,
        lazy: bool = False,
    ) -> xr.Dataset:
        """Return a contour of the likelihood profile over two parameters.

        Parameters
        ----------
        parameter_1, parameter_2
            Free parameters, or their names.
        sigma
            Standard deviations.
        n
            Number of points.
        joint
            False: the statistic has risen by ``sigma**2``, so that the contour's extent along each axis is the
            confidence interval of that parameter alone (the pair lies inside in 39 % of cases for sigma = 1). True: the
            pair lies inside as often as a single parameter in its interval of `sigma` (68 %, a rise of 2.30).
        lazy
            False: MINUIT walks along the contour. True: a task for each direction from the minimum, as Dask arrays;
            points are NaN where a limit of a parameter comes first.

        Returns
        -------
        xarray.Dataset
            A variable for each parameter over dim ``point``; the last point closes the contour.
        """
        first, second = self._pair(parameter_1, parameter_2)
        if n < 4:
            msg = f"n={n!r} must be at least 4 points"
            raise ValueError(msg)
        rise = statistic_rise(sigma, joint)
        block = self.covariance.sel(parameter=[first, second], parameter_=[first, second]).values
        function: Any = contour_along_rays if lazy else contour
        points = function(self.problem, self.options, (first, second), rise, n, block)
        labels = self._labels([first, second])
        variables = {
            labels[name]: ("point", points[:, i], {"units": self.free[name].unit, "long_name": name})
            for i, name in enumerate((first, second))
        }
        return xr.Dataset(variables, attrs={"sigma": sigma, "delta_stat": rise})

    def _scan(self, wanted: dict[str, Any], reoptimize: bool, lazy: bool) -> xr.Dataset:
        scans = {name: self._values(name, values) for name, values in wanted.items()}
        function: Any = profile_lazy if lazy else profile
        deviance, values, success = function(self.problem, self.options, scans, reoptimize)
        units = {name: p.unit for name, p in zip(self.problem.names, self.free, strict=True)}
        constant = self.likelihood.constant
        return surface(deviance, values, success, scans, self._labels(list(scans)), units, self.deviance, constant)

    def _values(self, name: str, values: Any) -> FloatArray:
        """Values of a scan, inside the limits where they were not asked for."""
        p = self.free[name]
        if values is not None and not isinstance(values, (int, np.integer)):
            plain: ArrayLike = to_value(values, p.unit, name) if _has_unit(values) else values
            return scan_values(plain, np.nan, np.nan, None)
        default = p.scan()
        low, high = np.nanmax([default.min(), p.min]), np.nanmin([default.max(), p.max])
        inside = default[(default >= low) & (default <= high)]
        return scan_values(values, low, high, inside)

    def _labels(self, names: list[str]) -> dict[str, str]:
        """Dimensions of parameters: their own names, with that of the model where they would be the same."""
        short = [self.free[n].name for n in names]
        taken = {"parameter", "unit", "stat", "delta_stat", "success", "values", "point"}
        plain = len(set(short)) == len(short) and not taken & set(short)
        return {n: s if plain else n for n, s in zip(names, short, strict=True)}

    def _pair(self, first: str | Parameter, second: str | Parameter) -> tuple[str, str]:
        names = self._name(first), self._name(second)
        if names[0] == names[1]:
            msg = f"two parameters are needed, not {names[0]!r} twice"
            raise ValueError(msg)
        return names

    def _name(self, parameter: str | Parameter) -> str:
        """Full name of a free parameter."""
        free = self.free
        if isinstance(parameter, Parameter):
            found = [n for n, p in zip(free.names, free, strict=True) if p is parameter]
            return found[0] if found else self._unknown(parameter.name)
        try:
            return free.names[free.index_of(free[parameter])]
        except KeyError:
            self._unknown(parameter)

    def _unknown(self, name: str) -> NoReturn:
        msg = f"{name!r} is not the name of one free parameter of this fit; they are {list(self.problem.names)}"
        raise ValueError(msg)


def _digits(parameter: Parameter) -> str:
    """Value with the digits that its error leaves: two of them, and five where there is none."""
    value, error = abs(parameter.value), parameter.error
    known = np.isfinite(error) and error > 0 and value > 0
    digits = int(np.floor(np.log10(value)) - np.floor(np.log10(error))) + 2 if known else 5
    return f"{parameter.value:.{min(max(digits, 2), 12)}g}"


def _has_unit(values: Any) -> bool:
    """Whether values are quantities or text."""
    parts = values if isinstance(values, (list, tuple)) else [values]
    return any(hasattr(v, "unit") or isinstance(v, str) for v in parts)
