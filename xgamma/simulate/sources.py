"""Short descriptions of sources: a name, a position, a spectrum and a shape make a sky model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from xgamma.coords.units import to_value
from xgamma.models.sky_model import SkyModel
from xgamma.simulate.descriptions import (
    SHAPES,
    SPECTRA,
    Disk,
    ExponentialCutoff,
    Gaussian,
    LogParabola,
    Point,
    PowerLaw,
    Shape,
    Spectrum,
)

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
