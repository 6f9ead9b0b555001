"""Temporal models that repeat with a rotation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xgamma.dl3.times import tt_seconds
from xgamma.io.fits_file import expand_path
from xgamma.models.component import ParameterField
from xgamma.models.parameter import Parameter
from xgamma.models.temporal_model import TemporalModel

__all__ = ["TemplatePhaseCurveTemporalModel"]

FloatArray = NDArray[np.float64]

#: Relative change of the frequency over a panel in which the phase counts as uniform, and the number of panels at most.
DRIFT, MOST = 1e-6, 10_000


class TemplatePhaseCurveTemporalModel(TemporalModel):
    r"""Phase curve from a table, with the phase from a frequency and its derivatives.

    Parameters
    ----------
    table
        Astropy table with columns ``PHASE`` (ascending, from 0 to 1) and ``NORM``, or the name of a FITS or ECSV file.
    filename
        File that the table is from, for YAML.
    normalize
        Whether to divide the curve by its mean.
    t_ref
        Reference time, MJD, frozen.
    phi_ref
        Phase at the reference time, frozen.
    f0, f1, f2
        Frequency and its first two derivatives at the reference time, s-1, s-2, s-3, frozen.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Raises
    ------
    ValueError
        If the table has no such columns, or phases do not ascend from 0 to 1.

    Notes
    -----
    :math:`\phi = \phi_0 + \Delta t (f_0 + \Delta t / 2 (f_1 + \Delta t / 3 f_2))`, with :math:`\Delta t` the elapsed
    seconds: the leap seconds since `t_ref` count. gammapy takes the difference of dates, which differs where `scale` is
    UTC; with ``"tt"`` or ``"tdb"`` both agree. Straight lines between the phases; those of the first and the last
    interval go on to 0 and 1.

    Examples
    --------
    >>> from astropy.table import Table
    >>> table = Table({"PHASE": [0.0, 0.5, 1.0], "NORM": [0.0, 2.0, 0.0]})
    >>> curve = TemplatePhaseCurveTemporalModel(table, t_ref=51544.5, f0="0.1 s-1", scale="tt")
    >>> curve([0.0, 2.5, 5.0]).round(6), curve.norm([0.0], [1000.0])
    (array([0., 1., 2.]), 1.0)
    """

    tag = ("TemplatePhaseCurveTemporalModel", "template-phase")
    t_ref = ParameterField(48442.5, "d", frozen=True)
    phi_ref = ParameterField(0.0, frozen=True)
    f0 = ParameterField(29.946923, "s-1", frozen=True)
    f1 = ParameterField(0.0, "s-2", frozen=True)
    f2 = ParameterField(0.0, "s-3", frozen=True)

    def __init__(
        self,
        table: Any,
        *,
        filename: str | None = None,
        normalize: bool = True,
        scale: str = "utc",
        **parameters: Any,
    ) -> None:
        if isinstance(table, (str, os.PathLike)):
            filename = os.fspath(table) if filename is None else filename
            table = _read(table)
        #: File that the table is from.
        self.filename = filename
        if not isinstance(normalize, bool):
            msg = f"normalize={normalize!r} must be true or false"
            raise TypeError(msg)
        self.normalize = normalize
        super().__init__(scale=scale, **parameters)
        self._phase, self._norm = _curve(table)
        if normalize:
            mean = float(np.trapezoid(self._norm, self._phase))
            if not mean > 0:
                msg = "the phase curve has no positive mean to divide by; take normalize=False"
                raise ValueError(msg)
            self._norm = self._norm / mean
        steps = 0.5 * (self._norm[1:] + self._norm[:-1]) * np.diff(self._phase)
        self._sum = np.concatenate([[0.0], np.cumsum(steps)])

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, normalize: bool = True, **parameters: Any) -> Self:
        """Read the phase curve from a file; see the model."""
        return cls(path, normalize=normalize, **parameters)

    def phase(self, time: Any) -> FloatArray:
        """Return the phase from 0 to 1 at times: astropy Time, text (UTC), or seconds since J2000.0 (TT)."""
        return np.asarray(self._turns(tt_seconds(time), *self.values) % 1.0)

    def _turns(self, time: FloatArray, *values: float) -> FloatArray:
        """Turns since the reference time, with the phase as their fraction."""
        t_ref, phi_ref, f0, f1, f2 = values
        dt = np.asarray(time, float) - self.seconds(t_ref)
        return np.asarray(phi_ref + dt * (f0 + dt / 2.0 * (f1 + dt / 3.0 * f2)))

    def _frequency(self, time: FloatArray, *values: float) -> FloatArray:
        t_ref, _, f0, f1, f2 = values
        dt = np.asarray(time, float) - self.seconds(t_ref)
        return np.asarray(f0 + dt * (f1 + dt / 2.0 * f2))

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor."""
        return np.asarray(np.interp(self._turns(time, *values) % 1.0, self._phase, self._norm))

    def evaluate_integral(self, start: FloatArray, stop: FloatArray, *values: float) -> FloatArray:
        """Return the integral in seconds: whole turns and the rest, over the frequency."""
        low, high = np.broadcast_arrays(np.asarray(start, float), np.asarray(stop, float))
        if low.size == 0:
            return np.zeros(low.shape)
        ends = self._frequency(np.stack([low, high]), *values)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.nan_to_num(np.abs(np.diff(ends, axis=0)[0] / ends[0])).max()
        panels = int(np.clip(np.ceil(change / DRIFT), 1, MOST))
        edges = low[..., None] + (high - low)[..., None] * (np.arange(panels + 1) / panels)
        middle = 0.5 * (edges[..., 1:] + edges[..., :-1])
        held = np.diff(self._held(self._turns(edges, *values)), axis=-1)
        frequency = self._frequency(middle, *values)
        if np.any(frequency == 0):
            msg = "the frequency of the phase curve is 0 inside an interval"
            raise ValueError(msg)
        return np.asarray((held / frequency).sum(axis=-1))

    def _held(self, turns: FloatArray) -> FloatArray:
        """Integral of the curve over turns from 0 on."""
        whole = np.floor(turns)
        rest = turns - whole
        i = np.clip(np.searchsorted(self._phase, rest, side="right") - 1, 0, self._phase.size - 2)
        s = rest - self._phase[i]
        slope = (self._norm[i + 1] - self._norm[i]) / (self._phase[i + 1] - self._phase[i])
        return np.asarray(whole * self._sum[-1] + self._sum[i] + s * (self._norm[i] + 0.5 * slope * s))

    def quantile(self, fraction: Any, start: Any, stop: Any) -> FloatArray:
        """Return the times up to which given fractions of what intervals hold has come; see the base class."""
        low, high = np.atleast_1d(tt_seconds(start, "start")), np.atleast_1d(tt_seconds(stop, "stop"))
        known = np.isfinite(low) & np.isfinite(high) & (high > low)
        low, high = low[known], high[known]
        values = self.values
        parts = self.evaluate_integral(low, high, *values)
        if np.any(self._norm < 0) or not np.sum(parts) > 0:
            msg = (
                "the phase curve is negative somewhere, or the intervals hold nothing: it has no distribution of times"
            )
            raise ValueError(msg)
        cumulative = np.concatenate([[0.0], np.cumsum(parts)])
        wanted = np.asarray(fraction, float) * cumulative[-1]
        i = np.clip(np.searchsorted(cumulative, wanted, side="right") - 1, 0, parts.size - 1)
        first, last = (self._held(self._turns(t, *values)) for t in (low, high))
        share = np.clip((wanted - cumulative[i]) / parts[i], 0.0, 1.0)
        turns = self._turns_of(first[i] + share * (last - first)[i])
        time = low[i] + share * (high - low)[i]
        for _ in range(20):  # Newton: the phase is nearly linear in time
            step = (turns - self._turns(time, *values)) / self._frequency(time, *values)
            time = time + step
            if np.all(np.abs(step) < 1e-7):
                break
        return np.asarray(np.clip(time, low[i], high[i]))

    def _turns_of(self, held: FloatArray) -> FloatArray:
        """Turns up to which the integral of the curve has a value, the inverse of `_held`."""
        whole = np.floor(held / self._sum[-1])
        rest = held - whole * self._sum[-1]
        i = np.clip(np.searchsorted(self._sum, rest, side="right") - 1, 0, self._phase.size - 2)
        width, y = self._phase[i + 1] - self._phase[i], self._norm[i]
        slope, missing = (self._norm[i + 1] - y) / width, rest - self._sum[i]
        root = np.sqrt(np.maximum(y**2 + 2.0 * slope * missing, 0.0))
        s = np.divide(2.0 * missing, y + root, out=np.zeros_like(missing), where=y + root > 0)
        return np.asarray(whole + self._phase[i] + np.clip(s, 0.0, width))

    def settings(self) -> dict[str, Any]:
        """Return file, whether it is normalised, and the time scale by the keys of a file."""
        if self.filename is None:
            msg = "a phase curve is written with the name of its file: set filename"
            raise ValueError(msg)
        return super().settings() | {"filename": self.filename, "normalize": self.normalize}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the file that `settings` returned."""
        for key in settings:
            if key not in ("filename", "normalize", "scale"):
                msg = f"{cls.__name__} has no key {key!r}; it has 'filename', 'normalize' and 'scale'"
                raise TypeError(msg)
        if "filename" not in settings:
            msg = f"{cls.__name__} needs the key 'filename': the file of its phase curve"
            raise ValueError(msg)
        given: dict[str, Any] = {key: settings[key] for key in ("normalize", "scale") if key in settings}
        return cls(settings["filename"], **(given | dict(parameters)))


def _read(path: str | os.PathLike[str]) -> Any:
    from astropy.table import Table

    file = expand_path(path)
    if not file.is_file():
        msg = f"there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    return Table.read(file, format="ascii.ecsv" if file.name.lower().endswith(".ecsv") else "fits")


def _curve(table: Any) -> tuple[FloatArray, FloatArray]:
    """Phases from 0 to 1 and values."""
    names = {str(n).lower(): n for n in getattr(table, "colnames", ())}
    missing = [n for n in ("phase", "norm") if n not in names]
    if missing:
        msg = f"the table of a phase curve needs the column {missing[0].upper()!r}; it has {list(names.values())}"
        raise ValueError(msg)
    phase, norm = (np.asarray(table[names[n]], float) for n in ("phase", "norm"))
    if phase.size < 2 or np.any(np.diff(phase) <= 0) or phase[0] < 0 or phase[-1] > 1 or not np.isfinite(norm).all():
        msg = "phases must ascend inside 0 to 1, at least two, with finite values"
        raise ValueError(msg)
    for end, i, j in ((0.0, 0, 1), (1.0, -1, -2)):
        if phase[i] != end:
            slope = (norm[j] - norm[i]) / (phase[j] - phase[i])
            value = norm[i] + slope * (end - phase[i])
            at = 0 if i == 0 else phase.size
            phase, norm = np.insert(phase, at, end), np.insert(norm, at, value)
    return phase, norm
