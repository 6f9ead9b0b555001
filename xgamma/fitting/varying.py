r"""Sources that vary in time: their mean over the good time intervals of each run.

.. math::

    F(E) = \phi(E) \; \frac{\sum_i \int_{a_i}^{b_i} T(t) \, \mathrm{d}t}{\sum_i (b_i - a_i)}

with the spectrum :math:`\phi`, the temporal model :math:`T` and good time intervals from :math:`a_i` to :math:`b_i`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.fitting.cubes import Spectra
from xgamma.fitting.flux import REMEMBERED
from xgamma.models.parameter import Parameters
from xgamma.models.sky_model import SkyModel
from xgamma.models.temporal_model import TemporalModel

__all__ = [
    "GTI", "UNKNOWN_TIME", "GoodTime", "TemporalFactor", "VaryingContribution", "VaryingFlux", "check_steady",
    "gti_of_models", "mean_over_runs", "varying_flux",
]  # fmt: skip

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Variables that hold good time intervals, padded with NaN.
GTI = ("gti_start", "gti_stop")


class GoodTime(NamedTuple):
    """Good time intervals of a run: its name for words, and arrays among which are those that `GTI` names."""

    label: str
    values: Mapping[str, FloatArray]


#: Good time that sources which do not vary do not need.
UNKNOWN_TIME = GoodTime("", {})


def varies(model: Any) -> bool:
    """Return whether a model is a source that varies in time."""
    return isinstance(model, SkyModel) and model.temporal is not None


def check_steady(s: Spectra, models: Iterable[SkyModel]) -> None:
    """Raise ValueError for a source that varies where there are flux points: nothing tells when they were measured."""
    for model in models:
        if varies(model) and s.rows(model).any():
            msg = (
                f"{model.name!r} varies in time, and the flux points {s.name!r} do not tell when they were measured; "
                "fit model.copy(temporal=None)"
            )
            raise ValueError(msg)


def gti_of_models(s: Spectra, models: Iterable[Any]) -> dict[str, xr.Variable]:
    """Return the good time intervals of a cube where one of its models varies, see `gti_arrays`; nothing else."""
    return next((gti_arrays(s, m.name) for m in models if varies(m) and s.rows(m).any()), {})


def gti_arrays(s: Spectra, name: str) -> dict[str, xr.Variable]:
    """Return the good time intervals of a cube for a model that varies, dims (*lead, gti); lazy stays lazy.

    Parameters
    ----------
    s
        Cube; the dims of runs have size 1 where runs share their intervals.
    name
        Name of the model.

    Raises
    ------
    ValueError
        If the cube has none, or those of runs that its counts do not tell apart.
    """
    missing = [n for n in GTI if n not in s.cube]
    if missing:
        msg = (
            f"{name!r} varies in time, and {s.name!r} has no good time intervals ({missing}) to take its mean over; "
            "reduce with them, or fit model.copy(temporal=None)"
        )
        raise ValueError(msg)
    result = {}
    for key in GTI:
        array = s.cube[key]
        dims = (*s.lead, "gti")
        odd = [str(d) for d in array.dims if d not in dims]
        if odd or "gti" not in array.dims:
            msg = f"{key!r} of {s.name!r} has dims {tuple(array.dims)}, where its counts need {dims}"
            raise ValueError(msg)
        result[key] = array.variable.set_dims({d: array.sizes.get(d, 1) for d in dims}).transpose(*dims)
    return result


class TemporalFactor:
    """Mean of a temporal model over good time intervals, as a function of the values of all parameters of a fit.

    Parameters
    ----------
    model
        Temporal model.
    parameters
        All parameters of the fit.
    start, stop
        Good time intervals in seconds since J2000.0 (TT), shape (n,); pairs with NaN count nothing.
    energy
        Energies in TeV for a model that depends on them, shape (k,).
    label
        Name of the run, for words.

    Examples
    --------
    >>> from xgamma.models.temporal_shapes import LinearTemporalModel
    >>> model = LinearTemporalModel(beta="1 d-1", t_ref=51544.5, scale="tt")
    >>> factor = TemporalFactor(model, model.parameters, [0.0, 43200.0], [21600.0, 86400.0], np.ones(1))
    >>> factor(model.parameters.values)
    array([1.54166667])
    """

    def __init__(
        self, model: TemporalModel, parameters: Parameters, start: Any, stop: Any, energy: FloatArray, label: str = ""
    ) -> None:
        self.model, self.energy = model, energy
        start, stop = np.ravel(np.asarray(start, float)), np.ravel(np.asarray(stop, float))
        good = np.isfinite(start) & np.isfinite(stop) & (stop > start)
        if not good.any():
            msg = f"the good time intervals of {label!r} have no length: the mean of a model over them is not defined"
            raise ValueError(msg)
        self.start, self.stop = start[good], stop[good]
        own = list(model.arguments())
        self.places = np.array([parameters.index_of(p) for p in own], np.intp)
        self.factors = np.asarray(model.canonical_factors(), float)
        self.frozen = all(p.frozen for p in own)
        self._remember()

    def _remember(self) -> None:
        self._mean: Callable[..., FloatArray] = lru_cache(maxsize=2 * REMEMBERED)(self._average)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_mean"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def _average(self, *values: float) -> FloatArray:
        length = float(np.sum(self.stop - self.start))
        if self.model.is_energy_dependent:
            integral: Any = self.model.evaluate_integral
            return np.asarray(integral(self.start, self.stop, *values, energy=self.energy).sum(axis=-1)) / length
        return np.full(1, np.sum(self.model.evaluate_integral(self.start, self.stop, *values)) / length)

    def own(self, values: FloatArray) -> tuple[float, ...]:
        """Return the canonical values of the temporal model."""
        return tuple((values[self.places] * self.factors).tolist())

    def of(self, own: tuple[float, ...]) -> FloatArray:
        """Return the factor for canonical values, shape (1,), or (k,) where it depends on energy."""
        return self._mean(*own) if np.all(np.isfinite(own)) else np.full(1, np.nan)

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the factor for the values of all parameters, shape (1,), or (k,) where it depends on energy."""
        return self.of(self.own(values))

    def slopes(self, values: FloatArray, steps: Mapping[int, float]) -> dict[int, FloatArray]:
        """Return the derivatives of the factor by the values with steps, from both sides."""
        result = {}
        for place in set(self.places.tolist()) & set(steps):
            ends = []
            for side in (steps[place], -steps[place]):
                moved = values.copy()
                moved[place] += side
                ends.append(self(moved))
            result[place] = (ends[0] - ends[1]) / (2.0 * steps[place])
        return result


def mean_over_runs(s: Spectra, model: SkyModel) -> xr.Variable:
    """Return the mean of a source's temporal model over the good time of each run, lazy where these are.

    Parameters
    ----------
    s
        Cube.
    model
        Source that varies.

    Returns
    -------
    xarray.Variable
        Dims ``(*lead,)``, and ``energy_true`` where it depends on energy.
    """
    temporal = model.copy().temporal  # a lazy prediction is that of the values at this moment
    assert temporal is not None
    energy = np.sqrt(s.axes.true_low * s.axes.true_high)
    by_energy = temporal.is_energy_dependent

    def mean(start: FloatArray, stop: FloatArray) -> FloatArray:
        factor = TemporalFactor(temporal, temporal.parameters, start, stop, energy, s.name)
        result = factor(temporal.parameters.values)
        return result if by_energy else np.asarray(result[0])

    result: xr.Variable = xr.apply_ufunc(
        mean,
        *(v.chunk({"gti": -1}) if v.chunks else v for v in gti_arrays(s, model.name).values()),
        input_core_dims=[["gti"], ["gti"]],
        output_core_dims=[["energy_true"] if by_energy else []],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"energy_true": energy.size}} if by_energy else None,
    )
    return result


class VaryingFlux:
    """Flux of a source that varies, in the mean over the good time intervals of one run; used as `SpectralFlux`.

    Parameters
    ----------
    flux
        Flux at a factor of 1.
    factor
        Mean of the temporal model.
    """

    def __init__(self, flux: Any, factor: TemporalFactor) -> None:
        self.flux, self.factor = flux, factor
        #: Places among the values on which it depends.
        self.places = np.concatenate([flux.places, factor.places])
        self._by_energy = factor.model.is_energy_dependent
        #: Whether all values but those that only scale are frozen.
        self.fixed_shape = flux.fixed_shape and not (self._by_energy and not factor.frozen)

    def split(self, values: FloatArray) -> tuple[float, tuple[Any, ...]]:
        """Return the scale, and the values that give the shape."""
        scale, key = self.flux.split(values)
        if self._by_energy:
            return scale, (key, self.factor.own(values))
        return scale * float(self.factor(values)[0]), key

    def shape(self, *key: Any) -> FloatArray:
        """Return the flux at a scale of 1 for the values that `split` returned."""
        if self._by_energy:
            return np.asarray(self.flux.shape(*key[0]) * self.factor.of(key[1]))
        return np.asarray(self.flux.shape(*key))

    def add_gradient(self, total: FloatArray, back: FloatArray, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the energies of a slope times the derivatives of the flux by the values with steps."""
        self.flux.add_gradient(total, back * self.factor(values), values, steps)
        slopes = self.factor.slopes(values, steps)
        if slopes:
            scale, key = self.flux.split(values)
            steady = back * scale * self.flux.shape(*key)
            for place, slope in slopes.items():
                total[place] += float((steady * slope).sum())


def varying_flux(flux: Any, model: SkyModel, parameters: Parameters, energy: FloatArray, intervals: GoodTime) -> Any:
    """Return the flux of a source in the mean over good time intervals; as it is where it does not vary.

    Parameters
    ----------
    flux
        Flux without variation.
    model
        Source.
    parameters
        All parameters of the fit.
    energy
        Middle of the bins of the flux in TeV, shape (k,).
    intervals
        Good time of one run, for a source that varies.
    """
    if model.temporal is None:
        return flux
    start, stop = (intervals.values[n] for n in GTI)
    return VaryingFlux(flux, TemporalFactor(model.temporal, parameters, start, stop, energy, intervals.label))


class VaryingContribution:
    """A spectrum that varies, folded through a response: a factor of its own for each run.

    Parameters
    ----------
    name
        Name of the model.
    flux
        Flux in the bins of energy of the response, at a factor of 1 (`SpectralFlux`).
    matrix
        Response, shape (n, k), cm2 s.
    factors
        Mean of the temporal model over the good time intervals of each run; None where the source does not belong.
    part
        Run of each bin, shape (n,).
    """

    def __init__(
        self, name: str, flux: Any, matrix: FloatArray, factors: Sequence[TemporalFactor | None], part: IntArray
    ) -> None:
        self.name, self.flux, self.matrix, self.factors, self.part = name, flux, matrix, factors, part
        self.places = np.unique(np.concatenate([flux.places, *(f.places for f in factors if f is not None)]))

    def _weights(self, rows: list[Any]) -> FloatArray:
        """Factors of the runs as weights of the response, shape (n, 1) or (n, k)."""
        return np.stack(np.broadcast_arrays(*(0.0 if r is None else r for r in rows)))[self.part]

    def _means(self, values: FloatArray) -> FloatArray:
        return self._weights([None if f is None else f(values) for f in self.factors])

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add what is predicted to the bins of the dataset, in place."""
        scale, key = self.flux.split(values)
        weights = self._means(values)
        total += scale * ((self.matrix * weights) @ self.flux.shape(*key))

    def add_gradient(
        self, total: FloatArray, slope: FloatArray, values: FloatArray, steps: Mapping[int, float]
    ) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps."""
        weights = self._means(values)
        self.flux.add_gradient(total, slope @ (self.matrix * weights), values, steps)
        by_run = [{} if f is None else f.slopes(values, steps) for f in self.factors]
        scale, key = self.flux.split(values)
        shape = scale * self.flux.shape(*key)
        for place in {p for slopes in by_run for p in slopes}:
            change = self._weights([slopes.get(place) for slopes in by_run])
            total[place] += float(slope @ ((self.matrix * change) @ shape))
