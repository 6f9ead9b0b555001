"""Systematic errors in a fit: fluxes and point spread functions as an instrument with shifted responses sees them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.fitting.cubes import Spectra
from xgamma.fitting.flux import REMEMBERED, SpectralFlux
from xgamma.fitting.map_contribution import MapContribution
from xgamma.fitting.map_irf import MapResponse
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.sky_model import Model, SkyModel
from xgamma.models.systematics import NOMINAL, Systematics

__all__ = [
    "NO_SYSTEMATICS",
    "Nuisance",
    "ShiftedFlux",
    "WidenedContribution",
    "background_factor",
    "check_systematics",
    "flux_of",
    "flux_seen",
    "parts_of",
    "systematics_groups",
    "without_systematics",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Nuisance:
    """Places of the systematic errors of one dataset among the values of a fit.

    Parameters
    ----------
    energy_scale, aeff, background, psf
        Places of factors, which multiply.
    aeff_tilt
        Places of exponents, each with its energy in TeV.
    """

    energy_scale: tuple[int, ...] = ()
    aeff: tuple[int, ...] = ()
    background: tuple[int, ...] = ()
    psf: tuple[int, ...] = ()
    aeff_tilt: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, systematics: Iterable[Systematics], parameters: Parameters) -> Nuisance:
        """Return the places of what is uncertain or shifted; factors that are frozen at 1 have none."""
        found: dict[str, list[Any]] = {name: [] for name in NOMINAL}
        for model in systematics:
            factors: Mapping[str, Parameter] = model.nuisance.own_parameters
            for name, nominal in NOMINAL.items():
                if factors[name].frozen and factors[name].value == nominal:
                    continue
                place = parameters.index_of(factors[name])
                reference = float(factors["reference"].quantity.to_value("TeV"))
                found[name].append((place, reference) if name == "aeff_tilt" else place)
        return cls(**{name: tuple(places) for name, places in found.items()})

    @property
    def of_flux(self) -> tuple[int, ...]:
        """Places on which what arrives of a source depends, beside its point spread function."""
        return (*self.energy_scale, *self.aeff, *(place for place, _ in self.aeff_tilt))


NO_SYSTEMATICS = Nuisance()


def factor_of(values: FloatArray, places: Sequence[int]) -> float:
    """Return the product of some values."""
    return float(np.prod([values[p] for p in places])) if places else 1.0


class ShiftedFlux:
    """Flux of a spectral model as an instrument with another energy scale and effective area sees it.

    Parameters
    ----------
    flux
        What arrives, in bins of the energies of the instrument.
    nuisance
        Its systematic errors.

    Notes
    -----
    The flux between the energies :math:`a` and :math:`b` of the instrument is that between :math:`a / s` and
    :math:`b / s`, for an energy scale :math:`s`.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> source = SkyModel(PowerLawSpectralModel(index=3, amplitude="1e-12 cm-2 s-1 TeV-1"), name="source")
    >>> models = Models([source, Systematics(energy_scale=0.1, name="instrument")])
    >>> models.parameters["instrument.energy_scale"].value = 1.1
    >>> plain = SpectralFlux(source.spectral, models.parameters, np.array([1.0]), np.array([10.0]))
    >>> shifted = ShiftedFlux(plain, Nuisance.of([models["instrument"]], models.parameters))
    >>> fluxes = [scale * f.shape(*key) for f in (plain, shifted) for scale, key in [f.split(models.parameters.values)]]
    >>> (fluxes[1] / fluxes[0]).round(6)
    array([1.21])
    """

    def __init__(self, flux: SpectralFlux, nuisance: Nuisance) -> None:
        self.flux, self.nuisance = flux, nuisance
        self.places = np.unique(np.concatenate([flux.places, np.array(nuisance.of_flux, np.intp)]))
        #: Whether all values but those that only scale are frozen.
        self.fixed_shape = flux.fixed_shape and not (nuisance.energy_scale or nuisance.aeff_tilt)
        self._center = flux.center
        self._remember()

    def _remember(self) -> None:
        #: Flux for canonical values, energy scale and tilts, the scaling values at 1.
        self.shape: Callable[..., FloatArray] = lru_cache(maxsize=REMEMBERED)(self.integral)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "shape"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def integral(self, stretch: float, tilts: tuple[float, ...], *own: float) -> FloatArray:
        """Return the flux for an energy scale, tilts and the canonical values of the spectrum, not remembered."""
        if not stretch > 0:
            return np.full(self.flux.low.shape, np.nan)
        result = self.flux.integral(*own, stretch=stretch)
        for tilt, (_, reference) in zip(tilts, self.nuisance.aeff_tilt, strict=True):
            result = result * (self._center / reference) ** tilt
        return result

    def split(self, values: FloatArray) -> tuple[float, tuple[Any, ...]]:
        """Return the scale, and what gives the shape."""
        scale, own = self.flux.split(values)
        tilts = tuple(float(values[place]) for place, _ in self.nuisance.aeff_tilt)
        key = (factor_of(values, self.nuisance.energy_scale), tilts, *own)
        return scale * factor_of(values, self.nuisance.aeff), key

    def add_gradient(self, total: FloatArray, back: FloatArray, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the energies of a slope times the derivatives of the flux by the values with steps."""
        every = [*self.flux.places.tolist(), *self.nuisance.of_flux]
        for place in set(every) & set(steps):
            step, ends = steps[place], []
            # a value that only scales needs no other integral
            scales = every.count(place) == 1 and (place in self.nuisance.aeff or place == self.flux.scale_place)
            function = self.shape if scales else self.integral
            for side in (step, -step):
                moved = values.copy()
                moved[place] += side
                scale, key = self.split(moved)
                ends.append(scale * function(*key))
            total[place] += float(back @ (ends[0] - ends[1])) / (2.0 * step)


def flux_of(flux: SpectralFlux, nuisance: Nuisance) -> Any:
    """Return a flux as an instrument with systematic errors sees it; as it is without any."""
    return ShiftedFlux(flux, nuisance) if nuisance.of_flux else flux


class WidenedContribution(MapContribution):
    """A source seen through a point spread function whose width is a parameter.

    Parameters
    ----------
    make
        Makes the source's contribution for a response.
    response
        Response with the nominal function.
    places
        Places of the factors on the width.

    Notes
    -----
    A function :math:`P(r)` becomes :math:`P(r / w) / w^2`: the edges of its table are multiplied, and it is normalised
    as all are.
    """

    def __init__(self, make: Callable[[MapResponse], Any], response: MapResponse, places: tuple[int, ...]) -> None:
        assert response.psf is not None
        self._make, self._response, self._widths = make, response, places
        self._known: OrderedDict[float, Any] = OrderedDict()
        self._grown = False
        first = self._of_width(1.0)
        self.name = first.name
        self.places: IntArray = np.unique(np.concatenate([first.places, np.array(places, np.intp)]))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": OrderedDict()}

    @property
    def dense(self) -> bool:  # type: ignore[override]
        """Whether it fills a large part of the map; once it did it stays so."""
        self._grown = self._grown or any(c.dense for c in self._known.values())
        return self._grown

    def _of_width(self, width: float) -> Any:
        if width not in self._known:
            while len(self._known) >= REMEMBERED:
                self._known.popitem(last=False)
            psf = self._response.psf
            assert psf is not None
            self._known[width] = self._make(replace(self._response, psf=replace(psf, edges=psf.edges * width)))
        self._known.move_to_end(width)
        return self._known[width]

    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the bins that are filled, each once, and what is added to them."""
        width = factor_of(values, self._widths)
        if not width > 0:
            return np.zeros(1, np.intp), np.full(1, np.nan)
        return self._of_width(width).signal(values)

    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps."""
        own = self._of_width(factor_of(values, self._widths))
        rest = {place: step for place, step in steps.items() if place not in self._widths}
        own.add_gradient(total, slope, values, rest)
        for place in set(self._widths) & set(steps):
            ends = []
            for side in (steps[place], -steps[place]):
                moved = values.copy()
                moved[place] += side
                bins, counts = self.signal(moved)
                ends.append(float((slope[bins] * counts).sum()))
            total[place] += (ends[0] - ends[1]) / (2.0 * steps[place])


# ------------------------------------------------------------------ which belong to what
def without_systematics(models: Iterable[Model]) -> tuple[Models, tuple[Systematics, ...]]:
    """Return the models of sources and backgrounds, and those of systematic errors."""
    given = list(models)
    systematics = tuple(m for m in given if isinstance(m, Systematics))
    return Models([m for m in given if not isinstance(m, Systematics)]), systematics


def systematics_groups(
    s: Spectra, systematics: Sequence[Systematics]
) -> list[tuple[BoolArray, tuple[Systematics, ...]]]:
    """Return parts of a cube that share systematic errors: which spectra or maps, and the models.

    Parameters
    ----------
    s
        The cube.
    systematics
        Models of systematic errors.

    Returns
    -------
    list
        Masks of the shape of the cube's dims in front, each spectrum in one of them, in order.
    """
    if not systematics:
        return [(np.ones(s.shape, bool), ())]
    table = np.array([s.rows(m).ravel() for m in systematics], bool)
    groups: dict[bytes, list[int]] = {}
    for number in range(table.shape[1]):
        groups.setdefault(table[:, number].tobytes(), []).append(number)
    result = []
    for numbers in groups.values():
        rows = np.zeros(table.shape[1], bool)
        rows[numbers] = True
        chosen = tuple(m for m, belongs in zip(systematics, table[:, numbers[0]], strict=True) if belongs)
        result.append((rows.reshape(s.shape), chosen))
    return result


def parts_of(s: Spectra, rows: BoolArray) -> list[Spectra]:
    """Return some of the spectra of a cube as cubes of their own: one for all, or one each behind several dims."""
    places = list(zip(*np.nonzero(rows), strict=True))
    labels = [label for label, chosen in zip(s.labels, rows.ravel(), strict=True) if chosen]
    if len(s.lead) == 1:
        numbers = [int(place[0]) for place in places]
        cube = s.cube.isel({s.lead[0]: numbers})
        return [replace(s, cube=cube, shape=(len(numbers),), labels=tuple(labels))]
    return [
        replace(
            s, cube=s.cube.isel(dict(zip(s.lead, map(int, place), strict=True))), lead=(), shape=(), labels=(label,)
        )
        for place, label in zip(places, labels, strict=True)
    ]


def check_systematics(systematics: Iterable[Systematics], parameters: Parameters, datasets: Iterable[Any]) -> None:
    """Warn of systematic errors that change no dataset."""
    reached = {int(place) for d in datasets for place in d.places}
    for model in systematics:
        free = {n: p for n, p in model.nuisance.own_parameters.items() if not p.frozen}
        idle = [n for n, p in free.items() if parameters.index_of(p) not in reached]
        if idle:
            names = "all datasets" if model.datasets_names is None else str(model.datasets_names)
            why = "are there datasets of these names, with a background, and for 'psf' maps?"
            warnings.warn(
                f"{idle} of {model.name!r} change nothing in {names} and stay at their priors: {why}",
                UserWarning,
                stacklevel=3,
            )


def flux_seen(model: SkyModel, low: FloatArray, high: FloatArray, systematics: Iterable[Systematics]) -> FloatArray:
    """Return the flux of a source at its present values as an instrument sees it, in bins of its energies, shape (n,).

    Models that bring no exposure of the instrument along have none of its errors either.
    """
    spectral, stretch, factor = model.spectral, 1.0, np.ones(low.shape)
    for own in systematics if model.apply_irf["exposure"] else ():
        parameters = own.nuisance
        stretch *= parameters.energy_scale.value
        reference = float(parameters.reference.quantity.to_value("TeV"))
        factor = factor * parameters.aeff.value * (np.sqrt(low * high) / reference) ** parameters.aeff_tilt.value
    return np.asarray(factor * spectral.evaluate_integral(low / stretch, high / stretch, *spectral.values))


def background_factor(s: Spectra, systematics: Sequence[Systematics]) -> xr.Variable:
    """Return the factor on the background of each spectrum or map, dims of the cube in front."""
    result = np.ones(s.shape)
    for model in systematics:
        result = np.where(s.rows(model), result * model.nuisance.background.value, result)
    return xr.Variable(s.lead, result)
