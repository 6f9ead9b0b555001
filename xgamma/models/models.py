"""The models of a fit, by name."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.models.component import Component
from xgamma.models.covariance import Covariance, block_of, covariance_of, labelled_covariance, set_errors
from xgamma.models.parameter import Parameter, Parameters, readable
from xgamma.models.registry import nearest
from xgamma.models.sky_model import KINDS, Model

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Models", "as_models"]


class Models(MutableSequence[Model]):
    """Models of sources and backgrounds, in order; by position or by name.

    Parameters
    ----------
    models
        A model, or several.

    Raises
    ------
    TypeError
        If something else than a model is given.
    ValueError
        If two models have the same name.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> models = Models([SkyModel(PowerLawSpectralModel(), name="crab")])
    >>> models["crab"].spectral.index.value, models.parameters.names
    (2.0, ['crab.index', 'crab.amplitude', 'crab.reference'])
    """

    def __init__(self, models: Model | Iterable[Model] = ()) -> None:
        self._models: list[Model] = []
        self._covariance: Covariance | None = None
        if not isinstance(models, Iterable) or isinstance(models, (str, bytes, Component)):
            if not isinstance(models, Model):
                raise _no_model(models)
            models = [models]
        for model in models:
            self.append(model)
        if isinstance(models, Models):
            self._covariance = models._covariance

    # ------------------------------------------------------------------ a sequence
    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __contains__(self, key: object) -> bool:
        return key in self.names if isinstance(key, str) else any(key is m for m in self._models)

    @overload
    def __getitem__(self, key: int | str) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Models: ...
    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return self._some(self._models[key])
        return self._models[self._place(key)]

    def _some(self, models: Iterable[Model]) -> Models:
        """Some of the models with what is known of their covariance."""
        chosen = Models(models)
        chosen._covariance = self._covariance
        return chosen

    def __setitem__(self, key: Any, model: Any) -> None:
        place = self._place(key)
        self._check(model, [m for i, m in enumerate(self._models) if i != place])
        self._models[place] = model

    def __delitem__(self, key: Any) -> None:
        del self._models[self._place(key)]

    def insert(self, index: int, model: Model) -> None:
        """Insert a model; its name must be new."""
        self._check(model, self._models)
        self._models.insert(index, model)

    def _place(self, key: int | str) -> int:
        if isinstance(key, str):
            if key not in self.names:
                msg = f"there is no model {key!r}{nearest(key, self.names)}"
                raise KeyError(msg)
            return self.names.index(key)
        return operator.index(key)

    @staticmethod
    def _check(model: Any, others: Iterable[Model]) -> None:
        if not isinstance(model, Model):
            raise _no_model(model)
        if model.name in [m.name for m in others]:
            msg = f"there is already a model {model.name!r}; names must be unique: model.copy(name=...)"
            raise ValueError(msg)

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return [m.name for m in self._models]

    # ------------------------------------------------------------------ parameters
    @property
    def parameters(self) -> Parameters:
        """All parameters, linked ones once, with names as ``"crab.index"``."""
        given = [(p, f"{m.name}.{name}") for m in self._models for p, name in _named(m.parameters)]
        return Parameters([p for p, _ in given], [name for _, name in given])

    @property
    def covariance(self) -> xr.DataArray:
        """Covariance of all parameters in their units, with their names; 0 for frozen ones."""
        parameters = self.parameters
        return labelled_covariance(parameters, self.covariance_over(parameters))

    @property
    def has_covariance(self) -> bool:
        """Whether a covariance was set, of all or of a model."""
        return self._covariance is not None or any(m.has_covariance for m in self._models)

    def covariance_over(self, parameters: Sequence[Parameter]) -> NDArray[np.float64]:
        """Return the covariance of some parameters; one that is given twice has two equal rows."""
        return covariance_of(self._covariance, parameters, self._models)

    def set_covariance(self, covariance: Covariance | NDArray[np.float64] | xr.DataArray) -> None:
        """Set the covariance of all parameters, in all models and their parts, and the parameters' errors.

        Parameters
        ----------
        covariance
            Matrix over `parameters`, shape (n, n); or a labelled one or a `Covariance` over some of them, where the
            others keep their errors and frozen ones have none.
        """
        self._covariance = block_of(covariance, self.parameters)
        set_errors(self._covariance)
        for model in self._models:
            model.set_covariance(self._covariance)

    def prior_stat(self) -> float:
        """Return what the priors add to the fit statistic, ``-2 log p``, at the present values."""
        return self.parameters.prior_stat()

    def link(self, target: str, *others: str) -> None:
        """Link parameters: the others become the target.

        Parameters
        ----------
        target, others
            Names as ``"crab.index"``.

        Raises
        ------
        KeyError
            If there is no such parameter.
        ValueError
            If a parameter is linked to itself, or to one with a unit of another kind.
        """
        wanted = self._parameter(target)
        old = [self._parameter(name) for name in others]
        for parameter, name in zip(old, others, strict=True):
            if parameter is wanted:
                msg = f"{name} and {target} are one parameter already"
                raise ValueError(msg)
            if not u.Unit(parameter.unit).is_equivalent(wanted.unit):
                msg = f"{name} in {parameter.unit!r} cannot be linked to {target} in {wanted.unit!r}"
                raise ValueError(msg)
        for parameter in old:
            for part in self._components():
                part.replace_parameter(parameter, wanted)

    def _parameter(self, name: str) -> Parameter:
        """Return a parameter by its name, also by the one that it had before it was linked."""
        parameters = self.parameters
        model, _, own = name.rpartition(".")
        if name not in parameters.names and model in self.names and own in self[model].parameters.names:
            found: Parameter = self[model].parameters[own]
            return found
        return parameters[name]

    def unlink(self, name: str) -> None:
        """Give a model, or a part of one, a parameter of its own again, with the values that it has now.

        Parameters
        ----------
        name
            Name as ``"vela.index"``: that of the model whose parameter becomes independent.
        """
        model_name, _, parameter_name = name.rpartition(".")
        model = self._models[self._place(model_name)]
        old = model.parameters[parameter_name]
        new = copy.deepcopy(old)
        for part in model.components.values():
            part.replace_parameter(old, new)

    def _components(self) -> Iterator[Component]:
        for model in self._models:
            yield from model.components.values()

    def to_table(self) -> Table:
        """Return the parameters of all models as an astropy table."""
        from astropy.table import Table

        rows = [
            (model.name, kind, name, p)
            for model in self._models
            for kind, part in model.components.items()
            for p, name in _named(part.parameters)
        ]
        table = Table()
        table["model"] = [model for model, _, _, _ in rows]
        table["type"] = [kind for _, kind, _, _ in rows]
        table["name"] = [name for _, _, name, _ in rows]
        for column in ("value", "unit", "error", "min", "max", "frozen"):
            table[column] = [getattr(p, column) for *_, p in rows]
        labels: dict[int, list[str]] = {}
        for model, _, name, p in rows:
            labels.setdefault(id(p), []).append(f"{model}.{name}")
        # linked parameters name the first that shares them
        table["link"] = [labels[id(p)][0] if len(labels[id(p)]) > 1 else "" for *_, p in rows]
        if any(p.prior is not None for *_, p in rows):
            table["prior"] = ["" if p.prior is None else repr(p.prior) for *_, p in rows]
        return readable(table)

    # ------------------------------------------------------------------ choices
    def select(
        self, names: str | Iterable[str] | None = None, *, tag: str | None = None, dataset: str | None = None
    ) -> Models:
        """Return some of the models: the same objects, not copies.

        Parameters
        ----------
        names
            Names of models, or a part of one: ``"3FHL"`` selects all whose names hold it.
        tag
            Type of the model or of one of its parts, also inside a compound, as ``"pl"`` or ``"PointSpatialModel"``.
        dataset
            Name of a dataset that the models belong to.
        """
        chosen = list(self._models)
        if isinstance(names, str):
            chosen = [m for m in chosen if names in m.name]
        elif names is not None:
            wanted = list(names)
            for name in wanted:
                self._place(name)
            chosen = [m for m in chosen if m.name in wanted]
        if tag is not None:
            chosen = [m for m in chosen if tag in m.tag or any(_has_tag(c, tag) for c in m.components.values())]
        if dataset is not None:
            chosen = [m for m in chosen if m.belongs_to(dataset)]
        return self._some(chosen)

    def assign(self, names: str | Iterable[str] | None, datasets: str | Iterable[str] | None) -> None:
        """Assign models to datasets by name; None stands for all models resp. all datasets."""
        given = [datasets] if isinstance(datasets, str) else datasets
        wanted = None if given is None else [str(d) for d in given]
        chosen = [names] if isinstance(names, str) else (self.names if names is None else list(names))
        for name in chosen:
            self[name].datasets_names = None if wanted is None else list(wanted)

    def freeze(self, kind: str | None = None) -> None:
        """Freeze all parameters, or those of one kind of parts (``"spectral"``, ``"spatial"``, ``"temporal"``)."""
        for model in self._with_parts(kind):
            model.freeze(kind)

    def unfreeze(self, kind: str | None = None) -> None:
        """Restore what is frozen by default, for all parts or one kind."""
        for model in self._with_parts(kind):
            model.unfreeze(kind)

    def _with_parts(self, kind: str | None) -> list[Model]:
        if kind is not None and kind not in KINDS:
            msg = f"kind={kind!r} of parts is not known; there are {list(KINDS)}"
            raise ValueError(msg)
        return [m for m in self._models if kind is None or kind in m.components]

    def copy(self) -> Self:
        """Return independent copies; what is linked stays linked, among the copies."""
        return copy.deepcopy(self)

    def __add__(self, other: Any) -> Models:
        second = as_models(other)
        both = self._some([*self._models, *second])
        if both.has_covariance or second.has_covariance:
            parameters = both.parameters
            matrix = covariance_of(self._covariance, parameters, [second])
            both._covariance = Covariance(tuple(parameters), matrix)
        return both

    # ------------------------------------------------------------------ files
    @classmethod
    def from_yaml(cls, text: str, path: str | Path | None = None) -> Models:
        """Read models from YAML text; see `xgamma.models.yaml.models_from_yaml`."""
        from xgamma.models.yaml import models_from_yaml

        return models_from_yaml(text, path)

    @classmethod
    def read(cls, path: str | Path, *, checksum: bool = False) -> Models:
        """Read models from a YAML file; see `xgamma.models.yaml.read_models`."""
        from xgamma.models.yaml import read_models

        return read_models(path, checksum=checksum)

    def to_yaml(self, *, full: bool = False) -> str:
        """Return the models as YAML text; see `xgamma.models.yaml.models_to_yaml`."""
        from xgamma.models.yaml import models_to_yaml

        return models_to_yaml(self, full=full)

    def write(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        full: bool = False,
        covariance: bool = True,
        checksum: bool = False,
    ) -> None:
        """Write the models to a YAML file, with their covariance beside it; see `xgamma.models.yaml.write_models`."""
        from xgamma.models.yaml import write_models

        write_models(self, path, overwrite=overwrite, full=full, covariance=covariance, checksum=checksum)

    def __repr__(self) -> str:
        parameters = self.parameters
        head = f"Models({len(self)}: {len(parameters)} parameters, {len(parameters.free)} free)"
        return "\n  ".join([head, *(repr(m) for m in self._models)])

    def _repr_html_(self) -> str:
        html: str = self.to_table()._repr_html_()
        return html


def _no_model(given: Any) -> TypeError:
    if isinstance(given, Component) and given.kind:
        what = f"{type(given).__name__} is not a model of a source, but the {given.kind} part of one"
        return TypeError(f"{what}: give xgamma.SkyModel({given.kind}=..., name=...)")
    return TypeError(f"{given!r} is not a model: give xgamma.SkyModel(spectral=..., name=...)")


def _has_tag(part: Component, tag: str) -> bool:
    return tag in part.tag or any(_has_tag(inner, tag) for inner in part.parts().values())


def _named(parameters: Parameters) -> list[tuple[Parameter, str]]:
    return list(zip(parameters, parameters.names, strict=True))


def as_models(models: Any) -> Models:
    """Return `Models` from a model, several, or `Models` as they are."""
    return models if isinstance(models, Models) else Models(models)
