"""A source: its spectrum, where it is and how it varies."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Never, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.models.component import Component, Finished, check_attribute
from xgamma.models.covariance import Covariance, block_of, covariance_of, set_errors
from xgamma.models.parameter import Parameter, Parameters
from xgamma.models.registry import nearest, register
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spectral_model import SpectralModel
from xgamma.models.temporal_model import TemporalModel

__all__ = ["Model", "SkyModel"]

#: Responses that a model may leave out.
RESPONSES = ("exposure", "psf", "edisp")
#: Parts of a model.
KINDS = ("spectral", "spatial", "temporal", "nuisance")


def _dataset_names(model: str, given: Any) -> list[str] | None:
    """Names of datasets as a list; one may be given alone."""
    names = [given] if isinstance(given, str) else given
    if names is not None and not isinstance(names, Iterable):
        msg = f"datasets_names={given!r} of {model!r} must be names of datasets, or None for all"
        raise TypeError(msg)
    return None if names is None else [str(n) for n in names]


class Model(metaclass=Finished):
    """A named model of parts that datasets are fitted with: what `Models` holds.

    Parameters
    ----------
    name
        Name, unique among the models of a fit.
    datasets_names
        Names of the datasets that the model belongs to; None for all.
    """

    #: Name in files.
    tag: ClassVar[tuple[str, ...]] = ()
    #: Keys of a file beside the type and the parts.
    keys: ClassVar[tuple[str, ...]] = ("name", "datasets_names")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("tag"):
            register("model", cls)

    def __init__(self, name: str, datasets_names: str | Iterable[str] | None = None) -> None:
        if not isinstance(name, str) or not name:
            msg = f"name={name!r} of a model must be a text that is not empty"
            raise TypeError(msg)
        self.name = name
        #: Names of the datasets that the model belongs to; None for all.
        self.datasets_names: list[str] | None = datasets_names  # type: ignore[assignment]
        self._covariance: Covariance | None = None

    @property
    def components(self) -> Mapping[str, Component]:
        """The parts of the model by their kind: ``spectral``, ``spatial``, ``temporal``."""
        raise NotImplementedError(type(self).__name__)

    @property
    def parameters(self) -> Parameters:
        """Parameters of all parts."""
        parts = [part.parameters for part in self.components.values()]
        return Parameters([p for part in parts for p in part], [name for part in parts for name in part.names])

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of all parameters in their units, shape (n, n); 0 for frozen ones."""
        return self.covariance_over(self.parameters)

    @property
    def has_covariance(self) -> bool:
        """Whether a covariance was set, of the model or of one of its parts."""
        return self._covariance is not None or any(part.has_covariance for part in self.components.values())

    def covariance_over(self, parameters: Sequence[Parameter]) -> NDArray[np.float64]:
        """Return the covariance of some parameters; one that is given twice has two equal rows."""
        return covariance_of(self._covariance, parameters, self.components.values())

    def set_covariance(self, covariance: Covariance | NDArray[np.float64] | xr.DataArray) -> None:
        """Set the covariance of the parameters, of the parts too, and the parameters' errors."""
        self._covariance = block_of(covariance, self.parameters)
        set_errors(self._covariance)
        for part in self.components.values():
            part.set_covariance(self._covariance)

    if not TYPE_CHECKING:  # typing knows the declared attributes

        def __setattr__(self, name: str, value: Any) -> None:
            check_attribute(self, name, [n for n in vars(self) if not n.startswith("_")])
            # what is set later is checked as what is given at first
            if name == "datasets_names":
                value = _dataset_names(self.name, value)
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> Any:
            kind, _, model = name.rpartition("_")
            hint = f": it is called {kind!r} here" if model == "model" and kind in KINDS else ""
            msg = f"{type(self).__name__} has no attribute {name!r}{hint}"
            raise AttributeError(msg, name=name, obj=self)

    def settings(self) -> dict[str, Any]:
        """Return what describes the model besides its parts, by the keys of a file."""
        datasets = {} if self.datasets_names is None else {"datasets_names": self.datasets_names}
        return {"name": self.name} | datasets

    @classmethod
    def from_settings(cls, components: Mapping[str, Component], settings: Mapping[str, Any]) -> Self:
        """Make a model from its parts by kind and what `settings` returned."""
        for key in settings:
            if key not in cls.keys:
                msg = f"{cls.__name__} has no key {key!r}{nearest(key, ('type', *cls.keys, *KINDS))}"
                raise ValueError(msg)
        if "name" not in settings:
            msg = f"{cls.__name__} needs a 'name'"
            raise ValueError(msg)
        given: dict[str, Any] = {**components, **settings}
        return cls(**given)

    def belongs_to(self, dataset: str | None) -> bool:
        """Return whether the model is one of a dataset's."""
        return self.datasets_names is None or dataset in self.datasets_names

    def copy(self, name: str | None = None, **changes: Any) -> Self:
        """Return an independent copy, with another name or other attributes."""
        new = copy.deepcopy(self)
        for attribute, value in ({"name": name, **changes} if name is not None else changes).items():
            if attribute not in vars(new):
                known = [a for a in vars(new) if not a.startswith("_")]
                msg = f"{type(self).__name__} has no attribute {attribute!r}{nearest(attribute, known)}"
                raise TypeError(msg)
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

    def to_dict(self, *, full: bool = False) -> dict[str, Any]:
        """Return the model as a file holds it; see `xgamma.models.yaml.model_to_dict`."""
        from xgamma.models.yaml import model_to_dict

        return model_to_dict(self, full=full)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: str | Path | None = None) -> Self:
        """Make a model from what a file holds; see `xgamma.models.yaml.model_from_dict`."""
        from xgamma.models.yaml import model_from_dict

        model = model_from_dict(data, folder)
        if not isinstance(model, cls):
            msg = f"the type is {type(model).__name__}, not {cls.__name__}"
            raise TypeError(msg)
        return model

    def __repr__(self) -> str:
        parts = "".join(f", {kind}={part!r}" for kind, part in self.components.items())
        datasets = "" if self.datasets_names is None else f", datasets_names={self.datasets_names}"
        return f"{type(self).__name__}(name={self.name!r}{parts}{datasets})"

    def _repr_html_(self) -> str:
        html: str = self.parameters.to_table()._repr_html_()
        parts = ", ".join(f"{kind}: {type(part).__name__}" for kind, part in self.components.items())
        return f"<b>{type(self).__name__} {escape(self.name)}</b> ({parts}){html}"


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
    keys = ("name", "datasets_names", "apply_irf")

    def __init__(
        self,
        spectral: SpectralModel = None,  # type: ignore[assignment]
        spatial: SpatialModel | None = None,
        temporal: TemporalModel | None = None,
        *,
        name: str = "source",
        apply_irf: Mapping[str, bool] | None = None,
        datasets_names: str | Iterable[str] | None = None,
        **unknown: Never,
    ) -> None:
        for given in unknown:
            kind = given.removesuffix("_model")
            hint = f"{given} is called {kind} here" if kind in KINDS else f"SkyModel has no argument {given!r}"
            msg = f"{hint}: SkyModel(spectral=..., spatial=..., temporal=..., name=...)"
            raise TypeError(msg)
        super().__init__(name, datasets_names)
        if spectral is None:
            msg = f"{name!r} needs a spectral model: SkyModel(spectral=xgamma.PowerLawSpectralModel(), name={name!r})"
            raise TypeError(msg)
        if not isinstance(spectral, SpectralModel):
            msg = f"spectral={spectral!r} of {name!r} is not a spectral model, such as xgamma.PowerLawSpectralModel()"
            raise TypeError(msg)
        for kind, part, base in (("spatial", spatial, SpatialModel), ("temporal", temporal, TemporalModel)):
            if part is not None and not isinstance(part, base):
                msg = f"{kind}={part!r} of {name!r} is not a {kind} model"
                raise TypeError(msg)
        if apply_irf is not None and not isinstance(apply_irf, Mapping):
            msg = f"apply_irf={apply_irf!r} of {name!r} must say true or false for {list(RESPONSES)}"
            raise TypeError(msg)
        others = sorted(set(apply_irf or {}) - set(RESPONSES))
        if others:
            msg = f"apply_irf of {name!r} has no {others[0]!r}; responses are {list(RESPONSES)}"
            raise ValueError(msg)
        for response, applied in dict(apply_irf or {}).items():
            if not isinstance(applied, bool):
                msg = f"apply_irf[{response!r}]={applied!r} of {name!r} must be true or false"
                raise TypeError(msg)
        self.spectral, self.spatial, self.temporal = spectral, spatial, temporal
        #: Which responses are applied.
        self.apply_irf: dict[str, bool] = dict.fromkeys(RESPONSES, True) | dict(apply_irf or {})

    @property
    def components(self) -> Mapping[str, Component]:
        """The parts that the model has: ``spectral``, ``spatial``, ``temporal``."""
        parts = {"spectral": self.spectral, "spatial": self.spatial, "temporal": self.temporal}
        return {kind: part for kind, part in parts.items() if part is not None}

    def settings(self) -> dict[str, Any]:
        """Return what describes the model besides its parts, by the keys of a file."""
        return super().settings() | ({} if all(self.apply_irf.values()) else {"apply_irf": dict(self.apply_irf)})

    @property
    def position(self) -> Any:
        """Position of the spatial model, None without one."""
        return getattr(self.spatial, "position", None)

    def parameter_of(self, name: str) -> Parameter:
        """Return a parameter by name, or by kind and name as ``"spectral.index"``."""
        kind, _, rest = name.partition(".")
        if not rest:
            return self.parameters[name]
        return self._parts(kind)[0].parameters[rest]
