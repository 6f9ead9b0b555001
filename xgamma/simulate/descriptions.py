"""Spectra and shapes of sources in short descriptions: numbers with units that turn to models, and to text and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.log_parabola import LogParabolaSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.spatial_disk import DiskSpatialModel
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_shapes import GaussianSpatialModel, PointSpatialModel
from xgamma.models.spectral_model import SpectralModel
from xgamma.simulate.sampling import cap_offsets

__all__ = [
    "SHAPES",
    "SPECTRA",
    "Disk",
    "ExponentialCutoff",
    "Gaussian",
    "LogParabola",
    "Point",
    "PowerLaw",
    "Shape",
    "Spectrum",
]

FloatArray = NDArray[np.float64]


def _convert(instance: Any, units: Mapping[str, str], positive: tuple[str, ...]) -> None:
    """Turn the fields of a frozen dataclass into finite floats in canonical units."""
    label = type(instance).__name__
    for name, unit in units.items():
        value = to_value(getattr(instance, name), unit, f"{label}.{name}")
        if np.ndim(value) or not np.isfinite(value):
            msg = f"{label}.{name}={getattr(instance, name)!r} must be one finite number"
            raise ValueError(msg)
        if name in positive and not value > 0:
            msg = f"{label}.{name}={getattr(instance, name)!r} must be positive"
            raise ValueError(msg)
        object.__setattr__(instance, name, value)


class _Described:
    """Values with units, that turn to a dictionary and back."""

    kind: ClassVar[str]
    units: ClassVar[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain text and numbers, for YAML."""
        values = {name: getattr(self, name) for name in self.units}
        texts = {name: f"{values[name]:.12g} {unit}" for name, unit in self.units.items() if unit}
        return {"type": self.kind, **values, **texts}


@dataclass(frozen=True)
class PowerLaw(_Described):
    """Differential flux ``amplitude (E / reference)**-index``.

    Parameters
    ----------
    amplitude
        Flux at the reference energy, converts to cm-2 s-1 TeV-1.
    index
        Spectral index, positive for a falling spectrum.
    reference
        Energy.

    Examples
    --------
    >>> PowerLaw("3e-11 cm-2 s-1 TeV-1", index=2.0)(np.array([1.0, 2.0]))
    array([3.0e-11, 7.5e-12])
    """

    amplitude: Any
    index: Any = 2.0
    reference: Any = "1 TeV"
    kind: ClassVar[str] = "power-law"
    units: ClassVar[dict[str, str]] = {"amplitude": "cm-2 s-1 TeV-1", "index": "", "reference": "TeV"}

    def __post_init__(self) -> None:
        _convert(self, self.units, ("amplitude", "reference"))

    @property
    def model(self) -> SpectralModel:
        """The same as a spectral model."""
        return PowerLawSpectralModel(index=self.index, amplitude=self.amplitude, reference=self.reference)

    def __call__(self, energy: FloatArray) -> FloatArray:
        """Return the differential flux in cm-2 s-1 TeV-1 at energies in TeV."""
        return np.asarray(self.model.evaluate(energy, *self.model.values))


@dataclass(frozen=True)
class ExponentialCutoff(_Described):
    """Differential flux ``amplitude (E / reference)**-index exp(-E / cutoff)``.

    Examples
    --------
    >>> ExponentialCutoff("1e-11 cm-2 s-1 TeV-1", index=2.0, cutoff="10 TeV")(np.array([10.0]))
    array([3.67879441e-14])
    """

    amplitude: Any
    index: Any = 2.0
    cutoff: Any = "10 TeV"
    reference: Any = "1 TeV"
    kind: ClassVar[str] = "exponential-cutoff"
    units: ClassVar[dict[str, str]] = {
        "amplitude": "cm-2 s-1 TeV-1",
        "index": "",
        "cutoff": "TeV",
        "reference": "TeV",
    }

    def __post_init__(self) -> None:
        _convert(self, self.units, ("amplitude", "cutoff", "reference"))

    @property
    def model(self) -> SpectralModel:
        """The same as a spectral model."""
        return ExpCutoffPowerLawSpectralModel(
            index=self.index, amplitude=self.amplitude, lambda_=1.0 / self.cutoff, reference=self.reference
        )

    def __call__(self, energy: FloatArray) -> FloatArray:
        """Return the differential flux in cm-2 s-1 TeV-1 at energies in TeV."""
        return np.asarray(self.model.evaluate(energy, *self.model.values))


@dataclass(frozen=True)
class LogParabola(_Described):
    """Differential flux ``amplitude (E / reference)**(-alpha - beta ln(E / reference))``.

    Examples
    --------
    >>> LogParabola("1e-11 cm-2 s-1 TeV-1", alpha=2.0, beta=0.0)(np.array([2.0]))
    array([2.5e-12])
    """

    amplitude: Any
    alpha: Any = 2.0
    beta: Any = 0.1
    reference: Any = "1 TeV"
    kind: ClassVar[str] = "log-parabola"
    units: ClassVar[dict[str, str]] = {"amplitude": "cm-2 s-1 TeV-1", "alpha": "", "beta": "", "reference": "TeV"}

    def __post_init__(self) -> None:
        _convert(self, self.units, ("amplitude", "reference"))

    @property
    def model(self) -> SpectralModel:
        """The same as a spectral model."""
        return LogParabolaSpectralModel(
            alpha=self.alpha, beta=self.beta, amplitude=self.amplitude, reference=self.reference
        )

    def __call__(self, energy: FloatArray) -> FloatArray:
        """Return the differential flux in cm-2 s-1 TeV-1 at energies in TeV."""
        return np.asarray(self.model.evaluate(energy, *self.model.values))


class _Shape(_Described, ABC):
    """How far photons come from the centre of a source: a distribution of separations."""

    @abstractmethod
    def separations(self, uniform: FloatArray) -> FloatArray:
        """Return separations in deg at cumulative probabilities `uniform`."""

    @abstractmethod
    def model(self, ra: float, dec: float) -> SpatialModel:
        """Return the same as a spatial model around a position (ICRS) in deg."""


@dataclass(frozen=True)
class Point(_Shape):
    """A source without extension.

    Examples
    --------
    >>> Point().to_dict()
    {'type': 'point'}
    """

    kind: ClassVar[str] = "point"
    units: ClassVar[dict[str, str]] = {}

    def separations(self, uniform: FloatArray) -> FloatArray:
        """Return zeros."""
        return np.zeros_like(uniform)

    def model(self, ra: float, dec: float) -> SpatialModel:
        """Return a point."""
        return PointSpatialModel(lon_0=ra, lat_0=dec)


@dataclass(frozen=True)
class Gaussian(_Shape):
    """A Gaussian on the sphere.

    Parameters
    ----------
    sigma
        Width, converts to deg.

    Examples
    --------
    >>> Gaussian("0.2 deg").separations(np.array([0.0]))
    array([0.])
    """

    sigma: Any
    kind: ClassVar[str] = "gaussian"
    units: ClassVar[dict[str, str]] = {"sigma": "deg"}

    def __post_init__(self) -> None:
        _convert(self, self.units, ("sigma",))

    def separations(self, uniform: FloatArray) -> FloatArray:
        """Return separations in deg at cumulative probabilities `uniform`."""
        return cap_offsets(self.sigma, uniform)

    def model(self, ra: float, dec: float) -> SpatialModel:
        """Return a Gaussian."""
        return GaussianSpatialModel(lon_0=ra, lat_0=dec, sigma=self.sigma)


@dataclass(frozen=True)
class Disk(_Shape):
    """A disk of constant brightness.

    Parameters
    ----------
    radius
        Converts to deg, at most 180 deg.

    Examples
    --------
    >>> Disk("0.5 deg").separations(np.array([1.0])).round(9)
    array([0.5])
    """

    radius: Any
    kind: ClassVar[str] = "disk"
    units: ClassVar[dict[str, str]] = {"radius": "deg"}

    def __post_init__(self) -> None:
        _convert(self, self.units, ("radius",))
        if self.radius > 180:
            msg = f"Disk.radius={self.radius} deg must be at most 180 deg"
            raise ValueError(msg)

    def separations(self, uniform: FloatArray) -> FloatArray:
        """Return separations in deg at cumulative probabilities `uniform`."""
        half = np.sin(0.5 * np.deg2rad(self.radius))
        return np.rad2deg(2.0 * np.arcsin(half * np.sqrt(uniform)))

    def model(self, ra: float, dec: float) -> SpatialModel:
        """Return a disk with a sharp edge."""
        return DiskSpatialModel(lon_0=ra, lat_0=dec, r_0=self.radius, edge_width=0.0)


Spectrum = PowerLaw | ExponentialCutoff | LogParabola
Shape = Point | Gaussian | Disk
SPECTRA: dict[str, Callable[..., Spectrum]] = {c.kind: c for c in (PowerLaw, ExponentialCutoff, LogParabola)}
SHAPES: dict[str, Callable[..., Shape]] = {c.kind: c for c in (Point, Gaussian, Disk)}
