"""Priors on parameters, as a term that adds to the fit statistic: -2 log of a probability density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from xgamma.models.registry import nearest, register

__all__ = [
    "GaussianPrior",
    "GeneralizedGaussianPrior",
    "LogNormalPrior",
    "LogUniformPrior",
    "Prior",
    "UniformPrior",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Prior:
    """A probability density of a parameter's value.

    Numbers are in the unit of the parameter; quantities and text, as ``"2e-11 cm-2 s-1 TeV-1"``, in any unit of its
    kind. All numbers of a prior are in `unit`, which a parameter fills in when it gets the prior.

    Parameters
    ----------
    weight
        Factor on the term.
    unit
        Unit of the numbers; None until the prior belongs to a parameter.
    """

    #: Name in files.
    tag: ClassVar[tuple[str, ...]] = ()
    #: Which numbers have the unit of the parameter.
    with_unit: ClassVar[tuple[str, ...]] = ()
    weight: float = field(default=1.0, kw_only=True)
    unit: str | None = field(default=None, kw_only=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("tag"):
            register("prior", cls)

    def __post_init__(self) -> None:
        for name in (*self.numbers(), "weight"):
            given = getattr(self, name)
            try:
                value = u.Quantity(given) if isinstance(given, (str, u.Quantity)) else float(given)
            except (TypeError, ValueError) as error:
                msg = f"{name}={given!r} of {type(self).__name__} is not a number"
                raise ValueError(msg) from error
            if isinstance(value, u.Quantity):
                value = self._in_unit(name, value)
            if not np.isfinite(value):
                msg = f"{name}={given} of {type(self).__name__} must be finite"
                raise ValueError(msg)
            object.__setattr__(self, name, float(value))
        if self.weight < 0:
            msg = f"weight={self.weight:g} of {type(self).__name__} must not be negative"
            raise ValueError(msg)
        self._check()

    def _in_unit(self, name: str, value: u.Quantity) -> float:
        if name not in self.with_unit:
            if not value.unit.is_equivalent(""):
                msg = f"{name}={value} of {type(self).__name__} has no unit"
                raise ValueError(msg)
            return float(value.to_value(""))
        if self.unit is None:
            # the first number with a unit sets that of all
            object.__setattr__(self, "unit", value.unit.to_string())
        try:
            return float(value.to_value(self.unit))
        except u.UnitConversionError as error:
            msg = f"{name}={value} of {type(self).__name__} cannot be converted to {self.unit!r}"
            raise ValueError(msg) from error

    def _check(self) -> None:
        """Raise where the numbers do not go together."""

    def numbers(self) -> dict[str, float]:
        """Return the numbers of the prior by name, in `unit`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("weight", "unit")}

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any], weight: float = 1.0) -> Self:
        """Make a prior from its numbers by name."""
        known = [f.name for f in fields(cls) if f.name not in ("weight", "unit")]
        for name in numbers:
            if name not in known:
                msg = f"{cls.__name__} has no parameter {name!r}{nearest(name, known)}"
                raise ValueError(msg)
        return cls(**numbers, weight=weight)

    def bound(self, unit: str, name: str = "parameter") -> Self:
        """Return the prior of a parameter, in the unit of the parameter.

        Parameters
        ----------
        unit
            Unit of the parameter.
        name
            Name of the parameter, for the message.

        Raises
        ------
        astropy.units.UnitConversionError
            If the prior is in a unit of another kind.
        """
        if self.unit is not None and not u.Unit(self.unit).is_equivalent(unit):
            msg = f"the prior of {name} is in {self.unit!r}, which cannot be converted to {unit!r}"
            raise u.UnitConversionError(msg)
        return self.to(unit)

    def to(self, unit: str) -> Self:
        """Return the same prior with its numbers in another unit; its density is per that unit then."""
        if self.unit is None or self.unit == unit:
            return replace(self, unit=unit)
        return replace(self, unit=unit, **self._scaled(float(u.Unit(self.unit).to(unit))))

    def _scaled(self, factor: float) -> dict[str, float]:
        """Numbers of the prior of a value that is multiplied by a factor."""
        return {name: value * factor for name, value in self.numbers().items() if name in self.with_unit}

    def __call__(self, value: ArrayLike) -> FloatArray:
        """Return ``-2 log p`` times the weight at values in `unit`; inf where the density is zero.

        Parameters
        ----------
        value
            Numbers of any shape.

        Returns
        -------
        numpy.ndarray
            Shape of `value`.
        """
        values = np.asarray(value, float)
        # without weight there is no term, also where the density is zero
        return self.weight * self.stat(values) if self.weight else np.zeros_like(values)

    @property
    def mode(self) -> float:
        """Most probable value, in `unit`; of a box its middle."""
        return float(minimize_scalar(lambda value: float(self.stat(np.asarray(value)))).x)

    def above_mode(self, value: ArrayLike) -> FloatArray:
        """Return the term at values in `unit` above its smallest one, without the constants of its normalisation."""
        return self(value) - self(self.mode)

    def __repr__(self) -> str:
        parts = [f"{name}={value:g}" for name, value in self.numbers().items()]
        parts += [f"unit={self.unit!r}"] if self.unit else []
        parts += [f"weight={self.weight:g}"] if self.weight != 1.0 else []
        return f"{type(self).__name__}({', '.join(parts)})"

    def stat(self, value: FloatArray) -> FloatArray:
        """Return ``-2 log p`` at values in `unit`, without the weight."""
        msg = f"{type(self).__name__} must define stat(value)"
        raise NotImplementedError(msg)


def _positive(prior: Prior, *names: str) -> None:
    for name in names:
        if not getattr(prior, name) > 0:
            msg = f"{name}={getattr(prior, name):g} of {type(prior).__name__} must be positive"
            raise ValueError(msg)


def _ordered(prior: UniformPrior | LogUniformPrior) -> None:
    if not prior.min < prior.max:
        msg = f"the limits of {type(prior).__name__} are the wrong way round: min={prior.min:g}, max={prior.max:g}"
        raise ValueError(msg)


@dataclass(frozen=True, repr=False)
class GaussianPrior(Prior):
    r"""Gaussian prior, :math:`((x - \mu) / \sigma)^2 + 2 \log(\sigma \sqrt{2 \pi})`.

    Parameters
    ----------
    mu, sigma
        Mean and standard deviation.
    weight
        Factor on the term.
    unit
        Unit of the numbers; None until the prior belongs to a parameter.

    Examples
    --------
    >>> prior = GaussianPrior(mu=2.0, sigma=0.1)
    >>> float(prior(2.1) - prior(2.0))
    1.0
    """

    tag = ("GaussianPrior",)
    with_unit = ("mu", "sigma")
    mu: float = 0.0
    sigma: float = 1.0

    def _check(self) -> None:
        _positive(self, "sigma")

    @property
    def mode(self) -> float:
        """Most probable value, in `unit`."""
        return self.mu

    def stat(self, value: FloatArray) -> FloatArray:
        """Return ``-2 log p``."""
        return ((value - self.mu) / self.sigma) ** 2 + 2.0 * np.log(self.sigma) + np.log(2.0 * np.pi)


@dataclass(frozen=True, repr=False)
class GeneralizedGaussianPrior(Prior):
    r"""Generalised Gaussian prior, :math:`p \propto \exp(-|(x - \mu) / (\sqrt{2} \sigma)|^{1 / \eta})`.

    Parameters
    ----------
    mu, sigma
        Mean and width.
    eta
        Shape: 0.5 is a Gaussian, 1 a Laplace distribution, small values a box.
    weight
        Factor on the term.
    unit
        Unit of `mu` and `sigma`; None until the prior belongs to a parameter.

    Examples
    --------
    >>> prior = GeneralizedGaussianPrior(mu=2.0, sigma=0.1, eta=0.5)
    >>> bool(np.isclose(prior(2.3), GaussianPrior(mu=2.0, sigma=0.1)(2.3)))
    True
    """

    tag = ("GeneralizedGaussianPrior",)
    with_unit = ("mu", "sigma")
    mu: float = 0.0
    sigma: float = 1.0
    eta: float = 0.5

    def _check(self) -> None:
        _positive(self, "sigma", "eta")

    @property
    def mode(self) -> float:
        """Most probable value, in `unit`."""
        return self.mu

    def stat(self, value: FloatArray) -> FloatArray:
        """Return ``-2 log p``."""
        scale = np.sqrt(2.0) * self.sigma
        distance = np.abs((value - self.mu) / scale) ** (1.0 / self.eta)
        # the norm of exp(-|z|^beta) is 2 Gamma(1 + 1 / beta)
        return 2.0 * (distance + np.log(2.0 * scale) + gammaln(1.0 + self.eta))


@dataclass(frozen=True, repr=False)
class UniformPrior(Prior):
    r"""Uniform prior, :math:`2 \log(max - min)` between its limits and infinite outside.

    Parameters
    ----------
    min, max
        Limits.
    weight
        Factor on the term.
    unit
        Unit of the numbers; None until the prior belongs to a parameter.

    Examples
    --------
    >>> UniformPrior(1.0, 2.0)([1.5, 2.5])
    array([ 0., inf])
    """

    tag = ("UniformPrior",)
    with_unit = ("min", "max")
    min: float = 0.0
    max: float = 1.0

    def _check(self) -> None:
        _ordered(self)

    @property
    def mode(self) -> float:
        """Middle: all values are as probable, in `unit`."""
        return 0.5 * (self.min + self.max)

    def stat(self, value: FloatArray) -> FloatArray:
        """Return ``-2 log p``."""
        inside = (value >= self.min) & (value <= self.max)
        return np.where(inside, 2.0 * np.log(self.max - self.min), np.inf)


@dataclass(frozen=True, repr=False)
class LogUniformPrior(Prior):
    r"""Prior that is uniform in the logarithm, :math:`2 \log(x \log(max / min))` between its limits.

    Parameters
    ----------
    min, max
        Limits, positive.
    weight
        Factor on the term.
    unit
        Unit of the numbers; None until the prior belongs to a parameter.

    Examples
    --------
    >>> prior = LogUniformPrior(1.0, 100.0)
    >>> float(np.exp(prior(20.0) - prior(10.0)))
    4.0
    """

    tag = ("LogUniformPrior",)
    with_unit = ("min", "max")
    min: float = 1e-14
    max: float = 1e-10

    def _check(self) -> None:
        _positive(self, "min", "max")
        _ordered(self)

    @property
    def mode(self) -> float:
        """Most probable value, in `unit`."""
        return self.min

    def stat(self, value: FloatArray) -> FloatArray:
        """Return ``-2 log p``."""
        inside = (value >= self.min) & (value <= self.max)
        clipped = np.clip(value, self.min, self.max)
        return np.where(inside, 2.0 * (np.log(clipped) + np.log(np.log(self.max / self.min))), np.inf)


@dataclass(frozen=True, repr=False)
class LogNormalPrior(Prior):
    r"""Prior whose logarithm is Gaussian, :math:`((\log x - \mu) / \sigma)^2 + 2 \log(x \sigma \sqrt{2 \pi})`.

    Parameters
    ----------
    mu, sigma
        Mean and standard deviation of the natural logarithm of the value in `unit`: the median is ``exp(mu)``.
    weight
        Factor on the term.
    unit
        Unit of the value; None until the prior belongs to a parameter.

    Examples
    --------
    >>> prior = LogNormalPrior(mu=0.0, sigma=0.1)
    >>> float(prior(np.exp(0.1)) - prior(1.0))
    1.2
    """

    tag = ("LogNormalPrior",)
    mu: float = 0.0
    sigma: float = 1.0

    def _check(self) -> None:
        _positive(self, "sigma")

    def _scaled(self, factor: float) -> dict[str, float]:
        return {"mu": self.mu + float(np.log(factor))}

    @property
    def mode(self) -> float:
        """Most probable value, in `unit`."""
        return float(np.exp(self.mu - self.sigma**2))

    def stat(self, value: FloatArray) -> FloatArray:
        """Return ``-2 log p``."""
        inside = value > 0
        log = np.log(np.where(inside, value, 1.0))
        term = ((log - self.mu) / self.sigma) ** 2 + 2.0 * (log + np.log(self.sigma)) + np.log(2.0 * np.pi)
        return np.where(inside, term, np.inf)
