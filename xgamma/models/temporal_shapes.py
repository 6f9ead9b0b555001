"""Temporal models in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from xgamma.models.component import ParameterField
from xgamma.models.temporal_model import DAY, T_REF, TemporalModel

__all__ = [
    "ConstantTemporalModel",
    "ExpDecayTemporalModel",
    "GaussianTemporalModel",
    "GeneralizedGaussianTemporalModel",
    "LinearTemporalModel",
    "PowerLawTemporalModel",
    "SineTemporalModel",
]

FloatArray = NDArray[np.float64]


class ConstantTemporalModel(TemporalModel):
    """The same at all times, 1.

    Examples
    --------
    >>> ConstantTemporalModel()(["2020-01-01", "2021-01-01"])
    array([1., 1.])
    """

    tag = ("ConstantTemporalModel", "const")

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return 1."""
        return np.ones(np.shape(time))

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the length in seconds."""
        return np.asarray(stop - np.asarray(start))


class LinearTemporalModel(TemporalModel):
    r"""Straight line, :math:`\alpha + \beta (t - t_0)`.

    Parameters
    ----------
    alpha
        :math:`\alpha`.
    beta
        :math:`\beta`, d-1.
    t_ref
        :math:`t_0`, MJD, frozen.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Examples
    --------
    >>> LinearTemporalModel(beta="0.5 d-1", t_ref=58849)("2020-01-03")
    array(2.)
    """

    tag = ("LinearTemporalModel", "linear")
    alpha = ParameterField(1.0)
    beta = ParameterField(0.0, "d-1")
    t_ref = ParameterField(T_REF, "d", frozen=True)

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        alpha, beta, t_ref = values
        return alpha + beta * self.days_since(time, t_ref)

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds."""
        middle = 0.5 * (np.asarray(start) + stop)
        return np.asarray(self.evaluate(middle, *values) * (stop - np.asarray(start)))


class ExpDecayTemporalModel(TemporalModel):
    r"""Exponential decay, :math:`\exp(-(t - t_0) / \tau)`, also before :math:`t_0`.

    Parameters
    ----------
    t0
        :math:`\tau`, d.
    t_ref
        :math:`t_0`, MJD, frozen.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Examples
    --------
    >>> float(ExpDecayTemporalModel(t0="2 d", t_ref=58849)("2020-01-03").round(6))
    0.367879
    """

    tag = ("ExpDecayTemporalModel", "exp-decay")
    t0 = ParameterField(1.0, "d")
    t_ref = ParameterField(T_REF, "d", frozen=True)

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        t0, t_ref = values
        return np.asarray(np.exp(-self.days_since(time, t_ref) / t0))

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds."""
        t0, _ = values
        return np.asarray(-self.evaluate(start, *values) * np.expm1((start - np.asarray(stop)) / (t0 * DAY)) * t0 * DAY)


class GaussianTemporalModel(TemporalModel):
    r"""Gaussian, :math:`\exp(-(t - t_0)^2 / 2 \sigma^2)`.

    Parameters
    ----------
    t_ref
        :math:`t_0`, MJD.
    sigma
        :math:`\sigma`, d.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Examples
    --------
    >>> float(GaussianTemporalModel(t_ref=58849, sigma="1 d")("2020-01-02").round(6))
    0.606531
    """

    tag = ("GaussianTemporalModel", "gauss")
    t_ref = ParameterField(T_REF, "d")
    sigma = ParameterField(1.0, "d")

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        t_ref, sigma = values
        return np.asarray(np.exp(-0.5 * (self.days_since(time, t_ref) / sigma) ** 2))

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds."""
        t_ref, sigma = values
        low, high = (self.days_since(t, t_ref) / sigma for t in (start, stop))
        # on the side of small values, where differences keep their digits
        swap = low > 0
        part = special.ndtr(np.where(swap, -low, high)) - special.ndtr(np.where(swap, -high, low))
        return np.asarray(np.sqrt(2.0 * np.pi) * sigma * DAY * part)


class GeneralizedGaussianTemporalModel(TemporalModel):
    r"""Pulse, :math:`\exp(-(|t - t_0| / \tau)^{1/\eta} / 2)` with :math:`\tau` one before and another after the peak.

    Parameters
    ----------
    t_ref
        :math:`t_0`, peak, MJD.
    t_rise, t_decay
        :math:`\tau` before and after the peak, d.
    eta
        :math:`\eta`: 0.5 for a Gaussian, higher for a sharper peak.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Examples
    --------
    >>> pulse = GeneralizedGaussianTemporalModel(t_ref=58849, t_rise="1 d", t_decay="2 d")
    >>> pulse(["2019-12-31", "2020-01-03"]).round(6)
    array([0.606531, 0.606531])
    """

    tag = ("GeneralizedGaussianTemporalModel", "gengauss")
    t_ref = ParameterField(T_REF, "d")
    t_rise = ParameterField(1.0, "d")
    t_decay = ParameterField(1.0, "d")
    eta = ParameterField(0.5)

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        t_ref, t_rise, t_decay, eta = values
        days = self.days_since(time, t_ref)
        with np.errstate(over="ignore"):  # far from a steep pulse
            return np.asarray(np.exp(-0.5 * (np.abs(days) / np.where(days < 0, t_rise, t_decay)) ** (1.0 / eta)))

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds, by the incomplete gamma function."""
        return self._from_peak(stop, *values) - self._from_peak(start, *values)

    def _from_peak(self, time: FloatArray, *values: float) -> FloatArray:
        t_ref, t_rise, t_decay, eta = values
        days = self.days_since(time, t_ref)
        width = np.where(days < 0, t_rise, t_decay)
        with np.errstate(over="ignore"):
            power = 0.5 * (np.abs(days) / width) ** (1.0 / eta)
        area = width * eta * 2.0**eta * special.gamma(eta) * special.gammainc(eta, power)
        return np.asarray(np.sign(days) * area * DAY)


class PowerLawTemporalModel(TemporalModel):
    r"""Power law, :math:`((t - t_0) / \tau)^\alpha`, for times after :math:`t_0`.

    Parameters
    ----------
    alpha
        :math:`\alpha`, negative for a decay.
    t_ref
        :math:`t_0`, MJD, frozen.
    t0
        :math:`\tau`, d, frozen.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Notes
    -----
    Before `t_ref` the factor is 0 (NaN in gammapy).

    Examples
    --------
    >>> PowerLawTemporalModel(alpha=-1, t_ref=58849)("2020-01-05")
    array(0.25)
    """

    tag = ("PowerLawTemporalModel", "powerlaw")
    alpha = ParameterField(1.0)
    t_ref = ParameterField(T_REF, "d", frozen=True)
    t0 = ParameterField(1.0, "d", frozen=True)

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        alpha, t_ref, t0 = values
        ratio = self.days_since(time, t_ref) / t0
        with np.errstate(divide="ignore"):
            return np.where(ratio < 0, 0.0, np.maximum(ratio, 0.0) ** alpha)

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds; infinite from `t_ref` on for indices from -1 down."""
        alpha, t_ref, t0 = values
        low, high = (np.maximum(self.days_since(t, t_ref), 0.0) / t0 for t in (start, stop))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(high / low)
            # accurate also next to -1, where it is the logarithm
            part = special.exprel((alpha + 1.0) * logs) * logs * low ** (alpha + 1.0)
            from_zero = high ** (alpha + 1.0) / (alpha + 1.0) if alpha > -1 else np.inf
            return np.asarray(np.where(high <= low, 0.0, np.where(low > 0, part, from_zero)) * t0 * DAY)


class SineTemporalModel(TemporalModel):
    r"""Sine around 1, :math:`1 + a \sin(\omega (t - t_0))`.

    Parameters
    ----------
    amp
        :math:`a`.
    omega
        :math:`\omega`, rad d-1.
    t_ref
        :math:`t_0`, MJD.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Notes
    -----
    The integral has the cosine, the antiderivative of the sine; that of gammapy 2.1 has a sine in its place.

    Examples
    --------
    >>> SineTemporalModel(amp=0.5, omega="1.5707963267948966 rad d-1", t_ref=58849)("2020-01-02")
    array(1.5)
    """

    tag = ("SineTemporalModel", "sinus")
    amp = ParameterField(1.0)
    omega = ParameterField(1.0, "rad d-1", also=("d-1",))
    t_ref = ParameterField(T_REF, "d")

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        amp, omega, t_ref = values
        return 1.0 + amp * np.sin(omega * self.days_since(time, t_ref))

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds."""
        amp, omega, t_ref = values
        length = np.asarray(stop - np.asarray(start))
        middle = self.days_since(0.5 * (np.asarray(start) + stop), t_ref)
        # difference of two cosines as a product: also for slow and short ones
        half = 0.5 * omega * length / DAY
        return np.asarray(length * (1.0 + amp * np.sin(omega * middle) * np.sinc(half / np.pi)))

    def step(self, *values: float) -> float:
        """Return a hundredth of the period."""
        return float(2.0 * np.pi / max(abs(values[1]), 1e-300) * DAY / 100.0)
