"""A source: its spectrum, where it is and how it varies."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xgamma.models.component import Component
from xgamma.models.covariance import Covariance, covariance_of
from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.spectral_model import SpectralModel

__all__ = ["Model", "SkyModel"]

#: Responses that a model may leave out.
RESPONSES = ("exposure", "psf", "edisp")


class Model:
    """A named model of parts that datasets are fitted with: what `Models` holds.

    Parameters
    ----------
    name
        Name, unique among the models of a fit.
    datasets_names
        Names of the datasets that the model belongs to; None for all.
    """

    #: Name in files.
    tag: tuple[str, ...] = ()

    def __init__(self, name: str, datasets_names: str | Iterable[str] | None = None) -> None:
        if not isinstance(name, str) or not name:
            msg = f"name={name!r} of a model must be a text that is not empty"
            raise TypeError(msg)
        self.name = name
        names = [datasets_names] if isinstance(datasets_names, str) else datasets_names
        #: Names of the datasets that the model belongs to; None for all.
        self.datasets_names: list[str] | None = None if names is None else [str(n) for n in names]
        self._covariance: Covariance | None = None

    @property
    def components(self) -> Mapping[str, Component]:
        """The parts of the model by their kind: ``spectral``, ``spatial``, ``temporal``."""
        raise NotImplementedError(type(self).__name__)

    @property
    def parameters(self) -> Parameters:
        """Parameters of all parts."""
        return Parameters(p for part in self.components.values() for p in part.parameters)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of all parameters in their units, shape (n, n); 0 for frozen ones."""
        return covariance_of(self._covariance, list(self.parameters))

    def set_covariance(self, covariance: Covariance | NDArray[np.float64]) -> None:
        """Set the covariance of the parameters, of the parts too, and the parameters' errors."""
        if not isinstance(covariance, Covariance):
            covariance = Covariance(tuple(self.parameters), covariance)
        self._covariance = covariance
        for part in self.components.values():
            part.set_covariance(covariance)

    def belongs_to(self, dataset: str | None) -> bool:
        """Return whether the model is one of a dataset's."""
        return self.datasets_names is None or dataset in self.datasets_names

    def copy(self, name: str | None = None, **changes: Any) -> Self:
        """Return an independent copy, with another name or other attributes."""
        new = copy.deepcopy(self)
        for attribute, value in ({} if name is None else {"name": name}).items() | changes.items():
            setattr(new, attribute, value)
        return new

    def freeze(self, kind: str | None = None) -> None:
        """Freeze all parameters, or those of one part (``"spectral"``, ``"spatial"``, ``"temporal"``)."""
        for part in self._parts(kind):
            part.freeze()

    def unfreeze(self, kind: str | None = None) -> None:
        """Restore what is frozen by default, of all parts or of one."""
        for part in self._parts(kind):
            part.unfreeze()

    def _parts(self, kind: str | None) -> list[Component]:
        if kind is None:
            return list(self.components.values())
        if kind not in self.components:
            msg = f"{self.name!r} has no part {kind!r}; its parts are {list(self.components)}"
            raise ValueError(msg)
        return [self.components[kind]]

    def __repr__(self) -> str:
        parts = ", ".join(f"{kind}={part!r}" for kind, part in self.components.items())
        return f"{type(self).__name__}(name={self.name!r}, {parts})"

    def _repr_html_(self) -> str:
        html: str = self.parameters.to_table()._repr_html_()
        return f"<b>{type(self).__name__} {self.name}</b>{html}"


class SkyModel(Model):
    """A source of gamma rays: spectrum, and for maps its position and shape, and how it varies in time.

    Parameters
    ----------
    spectral
        Spectral model.
    spatial
        Spatial model; needed on maps, not for spectra.
    temporal
        Temporal model; constant by default.
    name
        Name, unique among the models of a fit.
    apply_irf
        Responses that are applied, ``{"exposure": True, "psf": True, "edisp": True}`` by default.
    datasets_names
        Names of the datasets that the model belongs to; None for all.

    Raises
    ------
    TypeError
        If a part is not a model of its kind.
    ValueError
        If `apply_irf` names an unknown response.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> crab = SkyModel(name="crab", spectral=PowerLawSpectralModel(index=2.6))
    >>> crab.parameters.names
    ['index', 'amplitude', 'reference']
    """

    tag = ("SkyModel",)

    def __init__(
        self,
        spectral: SpectralModel,
        spatial: Component | None = None,
        temporal: Component | None = None,
        *,
        name: str = "source",
        apply_irf: Mapping[str, bool] | None = None,
        datasets_names: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(name, datasets_names)
        if not isinstance(spectral, SpectralModel):
            msg = f"spectral={spectral!r} of {name!r} is not a spectral model, such as xgamma.PowerLawSpectralModel()"
            raise TypeError(msg)
        for kind, part in (("spatial", spatial), ("temporal", temporal)):
            if part is not None and (not isinstance(part, Component) or isinstance(part, SpectralModel)):
                msg = f"{kind}={part!r} of {name!r} is not a {kind} model"
                raise TypeError(msg)
        unknown = sorted(set(apply_irf or {}) - set(RESPONSES))
        if unknown:
            msg = f"apply_irf of {name!r} has no {unknown[0]!r}; responses are {list(RESPONSES)}"
            raise ValueError(msg)
        self.spectral, self.spatial, self.temporal = spectral, spatial, temporal
        #: Which responses are applied.
        self.apply_irf: dict[str, bool] = dict.fromkeys(RESPONSES, True) | dict(apply_irf or {})

    @property
    def components(self) -> Mapping[str, Component]:
        """The parts that the model has: ``spectral``, ``spatial``, ``temporal``."""
        parts = {"spectral": self.spectral, "spatial": self.spatial, "temporal": self.temporal}
        return {kind: part for kind, part in parts.items() if part is not None}

    @property
    def position(self) -> Any:
        """Position of the spatial model, None without one."""
        return getattr(self.spatial, "position", None)

    def parameter_of(self, name: str) -> Parameter:
        """Return a parameter by name, or by kind and name as ``"spectral.index"``."""
        kind, _, rest = name.partition(".")
        return self.components[kind].parameters[rest] if rest else self.parameters[name]
