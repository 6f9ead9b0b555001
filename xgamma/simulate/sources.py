"""Short descriptions of sources: a name, a position, a spectrum and a shape make a sky model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.log_parabola import LogParabolaSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_disk import DiskSpatialModel
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_shapes import GaussianSpatialModel, PointSpatialModel
from xgamma.models.spectral_model import SpectralModel
from xgamma.simulate.sampling import cap_offsets

__all__ = [
    "Disk",
    "ExponentialCutoff",
    "Gaussian",
    "LogParabola",
    "Point",
    "PowerLaw",
    "Shape",
    "Source",
    "Spectrum",
    "sky_position",
    "source_from_dict",
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


def sky_position(value: Any, name: str = "position") -> tuple[float, float]:
    """Return right ascension and declination (ICRS) in degrees.

    Parameters
    ----------
    value
        `~astropy.coordinates.SkyCoord`, a mapping with ``lon``, ``lat`` and ``frame`` (default ICRS), or
        (ra, dec) as plain numbers in degrees.
    name
        Name of the argument, for messages.

    Raises
    ------
    ValueError
        If it is none of these, or not a position on the sphere.

    Examples
    --------
    >>> sky_position({"lon": "0 deg", "lat": "0 deg", "frame": "galactic"})
    (266.40498829, -28.93617776)
    """
    try:
        if isinstance(value, Mapping):
            check_keys(value, {"lon", "lat"}, {"frame"}, name)
            lon, lat = (to_value(value[n], "deg", f"{name}.{n}") for n in ("lon", "lat"))
            value = SkyCoord(lon, lat, unit="deg", frame=str(value.get("frame", "icrs")))
        if not isinstance(value, SkyCoord):
            ra, dec = (float(v) for v in value)
            value = SkyCoord(ra, dec, unit="deg", frame="icrs")
        sky = value.icrs
        position = float(sky.ra.deg), float(sky.dec.deg)
    except (TypeError, ValueError) as error:
        msg = f"{name}={value!r} is not a position: give a SkyCoord, (ra, dec) in deg or {{lon, lat, frame}} ({error})"
        raise ValueError(msg) from error
    if not np.isfinite(position).all():
        msg = f"{name}={value!r} holds NaN or infinite angles"
        raise ValueError(msg)
    return position


@dataclass(frozen=True)
class Source:
    """A source of gamma rays, constant in time, as a file describes it; `model` is what is simulated.

    Parameters
    ----------
    name
        Unique within a simulation.
    position
        See `sky_position`; kept as (ra, dec) in degrees.
    spectrum
        `PowerLaw`, `ExponentialCutoff` or `LogParabola`.
    shape
        `Point` (default), `Gaussian` or `Disk`.

    Examples
    --------
    >>> source = Source("crab", (83.63, 22.01), PowerLaw("3.5e-11 cm-2 s-1 TeV-1", index=2.6))
    >>> source.shape
    Point()
    """

    name: str
    position: Any
    spectrum: Spectrum
    shape: Shape = field(default_factory=Point)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            msg = f"a source needs a name, not {self.name!r}"
            raise ValueError(msg)
        if not isinstance(self.spectrum, Spectrum) or not isinstance(self.shape, Shape):
            msg = f"source {self.name!r}: spectrum must be one of {list(SPECTRA)} and shape one of {list(SHAPES)}"
            raise TypeError(msg)
        object.__setattr__(self, "position", sky_position(self.position, f"source {self.name!r}: position"))

    @property
    def model(self) -> SkyModel:
        """The source as a sky model."""
        return SkyModel(self.spectrum.model, self.shape.model(*self.position), name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the description that `source_from_dict` reads."""
        ra, dec = self.position
        position = {"lon": f"{ra:.10g} deg", "lat": f"{dec:.10g} deg", "frame": "icrs"}
        return {
            "name": self.name,
            "position": position,
            "spectrum": self.spectrum.to_dict(),
            "shape": self.shape.to_dict(),
        }


def check_keys(values: Any, required: set[str], optional: set[str], where: str) -> None:
    """Say which keys of a description are missing or not known."""
    if not isinstance(values, Mapping):
        msg = f"{where} must be a mapping with {sorted(required | optional)}, not {values!r}"
        raise ValueError(msg)
    unknown = sorted(str(k) for k in set(values) - required - optional)
    if unknown:
        msg = f"{where} has unknown keys {unknown}; known are {sorted(required | optional)}"
        raise ValueError(msg)
    missing = sorted(required - set(values))
    if missing:
        msg = f"{where} lacks {missing}"
        raise ValueError(msg)


def source_from_dict(values: Mapping[str, Any]) -> Source:
    """Build a source from its description.

    Parameters
    ----------
    values
        ``name``, ``position`` (``lon``, ``lat``, ``frame``), ``spectrum`` (``type`` and its parameters) and
        optionally ``shape``.

    Raises
    ------
    ValueError
        If a key is not known or missing, a type is not known, or a value is wrong.

    Examples
    --------
    >>> spectrum = {"type": "power-law", "amplitude": "1e-12 cm-2 s-1 TeV-1", "index": 2.3}
    >>> source = source_from_dict({"name": "a", "position": {"lon": "1 deg", "lat": "2 deg"}, "spectrum": spectrum})
    >>> source.spectrum.index
    2.3
    """
    label = f"source {values.get('name', '?')!r}" if isinstance(values, Mapping) else "a source"
    check_keys(values, {"name", "position", "spectrum"}, {"shape"}, label)
    spectrum = _part(values["spectrum"], SPECTRA, f"{label}: spectrum")
    shape = _part(values.get("shape", {"type": "point"}), SHAPES, f"{label}: shape")
    return Source(values["name"], values["position"], spectrum, shape)


def _part(values: Any, kinds: Mapping[str, Callable[..., Any]], where: str) -> Any:
    kind = values.get("type") if isinstance(values, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        msg = f"{where} needs a type, one of {list(kinds)}, not {kind!r}"
        raise ValueError(msg)
    make = kinds[kind]
    allowed = {f.name for f in fields(make)}  # type: ignore[arg-type]
    required = {"amplitude"} if "amplitude" in allowed else allowed
    check_keys(values, {"type", *required}, allowed, where)
    try:
        return make(**{k: v for k, v in values.items() if k != "type"})
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error
