"""Radiation of electrons and protons, computed by the package naima."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import astropy.constants as const
import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.models.parameter import Parameter
from xgamma.models.power_law import FLUX
from xgamma.models.registry import nearest
from xgamma.models.spectral_model import SpectralModel

__all__ = ["NaimaSpectralModel"]

FloatArray = NDArray[np.float64]

#: Energies of the synchrotron photons that electrons scatter, and the mean over a sphere of the density of photons
#: made uniformly in it, in units of L / (4 pi R2 c).
SYNCHROTRON = (-7.0, 9.0, 100)
SPHERE = 2.24
#: Number of energies that naima gets at once.
BLOCK = 64


class NaimaSpectralModel(SpectralModel):
    """Spectrum of a radiative model of naima: inverse Compton, synchrotron, bremsstrahlung or pion decay.

    Parameters
    ----------
    radiative_model
        ``naima.models.InverseCompton`` or another of its radiative models; a copy is kept.
    distance
        Distance of the source; at 0 the model is the luminosity, in TeV-1 s-1.
    seed
        Name of a photon field of the inverse Compton model, or several, to which the spectrum is restricted.
    nested_models
        ``{"SSC": {"B": ..., "radius": ...}}`` adds the synchrotron photons of the same electrons, in a magnetic field
        `B` in a sphere of a `radius`, to the photon fields of an inverse Compton model.

    Raises
    ------
    TypeError
        If it is no radiative model of naima.
    ValueError
        If a photon field is not one of the model's.

    Notes
    -----
    The parameters are those of the particle distribution under naima's names, then ``B`` for synchrotron radiation;
    with synchrotron self-Compton radiation ``B`` and ``radius`` (frozen). They keep the units that they are given in.
    Needs naima (``pip install xgamma[naima]``). A model cannot be written to YAML, but a table of it can:
    ``TemplateSpectralModel(energy, model(energy))``.

    References
    ----------
    Zabalza 2015, Proc. ICRC 34, 922 (naima); Atoyan & Aharonian 1996, MNRAS 278, 525 (density of photons).

    Examples
    --------
    >>> import pytest
    >>> naima = pytest.importorskip("naima")
    >>> electrons = naima.models.PowerLaw(1e34 / u.eV, 10 * u.TeV, 3.0)
    >>> model = NaimaSpectralModel(naima.models.InverseCompton(electrons, ["CMB"]), distance=2 * u.kpc)
    >>> model.parameters.names
    ['amplitude', 'e_0', 'alpha']
    """

    tag = ("NaimaSpectralModel", "naima")

    def __init__(
        self,
        radiative_model: Any,
        distance: Any = "1 kpc",
        seed: str | Sequence[str] | None = None,
        nested_models: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        if not hasattr(radiative_model, "particle_distribution") or not hasattr(radiative_model, "flux"):
            msg = f"radiative_model={radiative_model!r} is not a radiative model of naima, such as InverseCompton"
            raise TypeError(msg)
        self._radiative = copy.deepcopy(radiative_model)
        self.distance = u.Quantity(distance)
        if self.distance.value and not self.distance.unit.is_equivalent("kpc"):
            msg = f"distance={distance!r} must be a length, for example '2 kpc'"
            raise u.UnitConversionError(msg)
        self.nested_models = dict(nested_models or {})
        self._check_nested()
        self.seed = self._seeds(seed)
        particles = self._radiative.particle_distribution
        # a table of particles has an amplitude and no names
        names = list(getattr(particles, "param_names", ["amplitude"]))
        made = [Parameter(name, getattr(particles, name)) for name in names]
        self._particle_names = tuple(names)
        if "B" in getattr(self._radiative, "param_names", ()):
            made.append(Parameter("B", self._radiative.B))
        if self.include_ssc:
            fields = self.nested_models["SSC"]
            made += [Parameter("B", u.Quantity(fields["B"])), Parameter("radius", u.Quantity(fields["radius"]))]
            made[-1].frozen = True
        self._parameters = {p.name: p for p in made}
        # naima gets the values in the units in which they were given
        self._units = {p.name: p.unit for p in made}

    @property
    def radiative_model(self) -> Any:
        """The radiative model as it was given."""
        return self._radiative

    @property
    def include_ssc(self) -> bool:
        """Whether synchrotron photons of the same electrons are scattered."""
        return "SSC" in self.nested_models

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return FLUX if self.distance.value else "TeV-1 s-1"

    def canonical_units(self) -> dict[str, str]:
        """Return the units in which naima gets the parameters."""
        return dict(self._units)

    def evaluate(self, energy: FloatArray, *values: float) -> FloatArray:
        """Return the spectrum in canonical units."""
        model = copy.deepcopy(self._radiative)
        given = {name: value * u.Unit(unit) for (name, unit), value in zip(self._units.items(), values, strict=True)}
        for name in self._particle_names:
            value = given[name]
            setattr(model.particle_distribution, name, value if value.unit != u.dimensionless_unscaled else value.value)
        if self.include_ssc:
            model.seed_photon_fields["SSC"] = self._synchrotron(model, given["B"], given["radius"])
        elif "B" in given:
            model.B = given["B"]
        if self.seed is not None:
            fields = model.seed_photon_fields
            model.seed_photon_fields = type(fields)((name, fields[name]) for name in self.seed)
        # naima takes energies in one dimension, and for each some 1e5 numbers of memory
        flat = np.ravel(np.asarray(energy, float))
        distance = self.distance if self.distance.value else 0
        blocks = [flat[i : i + BLOCK] * u.TeV for i in range(0, flat.size, BLOCK)]
        flux = [model.flux(block, distance=distance).to_value(self.unit) for block in blocks]
        return np.reshape(np.concatenate([np.zeros(0), *flux]), np.shape(energy))

    @staticmethod
    def _synchrotron(model: Any, field: u.Quantity, radius: u.Quantity) -> Any:
        """Photon field of the synchrotron radiation of a model's own electrons, as naima holds one."""
        import naima.models as naima_models  # an extra without types

        models: Any = naima_models

        electrons = model.particle_distribution
        ranges = {"Eemin": model.Eemin, "Eemax": model.Eemax, "nEed": model.nEed}
        photons = np.logspace(*SYNCHROTRON) * u.eV
        luminosity = models.Synchrotron(electrons, B=field, **ranges).flux(photons, distance=0 * u.cm)
        density = (SPHERE * luminosity / (4.0 * np.pi * radius**2 * const.c)).to("eV-1 cm-3")
        return models.InverseCompton(electrons, seed_photon_fields=[["SSC", photons, density]]).seed_photon_fields[
            "SSC"
        ]

    def _check_nested(self) -> None:
        unknown = [name for name in self.nested_models if name != "SSC"]
        if unknown:
            msg = f"nested_models has no {unknown[0]!r}{nearest(unknown[0], ['SSC'])}"
            raise ValueError(msg)
        if not self.include_ssc:
            return
        missing = [name for name in ("B", "radius") if name not in self.nested_models["SSC"]]
        if missing or not hasattr(self._radiative, "seed_photon_fields"):
            what = f"needs {missing[0]!r}" if missing else "needs an inverse Compton model"
            msg = f"nested_models['SSC'] {what}: synchrotron photons in a field B in a sphere of a radius"
            raise ValueError(msg)

    def _seeds(self, seed: str | Sequence[str] | None) -> list[str] | None:
        if seed is None:
            return None
        names = [seed] if isinstance(seed, str) else list(seed)
        known = [*getattr(self._radiative, "seed_photon_fields", ()), *(["SSC"] if self.include_ssc else [])]
        for name in names:
            if name not in known:
                msg = f"seed={name!r} is no photon field of the model{nearest(name, known)}"
                raise ValueError(msg)
        return names

    def settings(self) -> dict[str, Any]:
        """Refuse: models of naima cannot be written."""
        msg = "a NaimaSpectralModel cannot be written: write TemplateSpectralModel(energy, model(energy)) instead"
        raise ValueError(msg)

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Refuse: files do not hold what the model is made of."""
        msg = "a NaimaSpectralModel cannot be read from a file: make it from its radiative model"
        raise ValueError(msg)

    def __repr__(self) -> str:
        inside = super().__repr__().removeprefix(f"{type(self).__name__}(")
        return f"{type(self).__name__}({type(self._radiative).__name__}, {inside}"
