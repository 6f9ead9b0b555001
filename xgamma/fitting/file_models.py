"""Names of datasets in models, as memory and as files have them: in files each run is a dataset of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.models import Models
from xgamma.models.sky_model import Model

__all__ = ["models_for_files", "models_from_files", "warn_of_names"]

#: Names that datasets of a group have in files, by the names that they have in memory.
Groups = Mapping[str, Mapping[str, str]]


def models_for_files(models: Models, groups: Groups) -> Models:
    """Return models as files have them: each run named, a background of many datasets as many linked ones.

    Parameters
    ----------
    models
        Models; they stay as they are.
    groups
        Names of the files' datasets by the labels of the runs, by the name of the cube. Cubes without runs have one
        entry, with their own name.

    Returns
    -------
    Models

    Notes
    -----
    gammapy assigns a field-of-view background to one dataset only. One that belongs to several becomes a model for
    each, with the same parameters; `models_from_files` joins them again.

    Examples
    --------
    >>> groups = {"map": {"1": "map-1", "2": "map-2"}}
    >>> written = models_for_files(Models(FoVBackgroundModel(datasets_names="map", name="bkg")), groups)
    >>> [(m.name, m.datasets_names) for m in written]
    [('bkg', ['map-1']), ('bkg-map-2', ['map-2'])]
    >>> written.parameters.names
    ['bkg.tilt', 'bkg.norm', 'bkg.reference']
    >>> read = models_from_files(written, groups)
    >>> [(m.name, m.datasets_names) for m in read]
    [('bkg', ['map'])]
    """
    result: list[Model] = []
    copied = models.copy()
    for model in copied:
        if model.datasets_names is None:
            result.append(model)
            continue
        names = [file for name in model.datasets_names for file in _in_files(name, groups)]
        model.datasets_names = list(dict.fromkeys(names))
        result += _split(model) if isinstance(model, FoVBackgroundModel) else [model]
    return _same_covariance(copied, result)


def models_from_files(models: Models, groups: Groups) -> Models:
    """Return models as memory has them; arguments as of `models_for_files`."""
    result: list[Model] = []
    for model in models:
        first = next((m for m in result if _is_part(model, m)), None)
        if first is None:
            result.append(model)
        else:
            first.datasets_names = [*(first.datasets_names or ()), *(model.datasets_names or ())]
    for model in result:
        if model.datasets_names is not None:
            model.datasets_names = _in_memory(model.datasets_names, groups)
    return models if len(result) == len(models) else _same_covariance(models, result)


def warn_of_names(models: Iterable[Model], known: Sequence[str], stacklevel: int = 2) -> None:
    """Warn of names in models that no dataset has: the models, or parts of them, would take no part."""
    there = set(known)
    for model in models:
        missing = [n for n in model.datasets_names or () if n not in there]
        if missing:
            some = "takes no part" if len(missing) == len(model.datasets_names or ()) else "takes part in the others"
            shown = list(dict.fromkeys(known))
            msg = f"model {model.name!r} belongs to {missing}, none of the datasets {shown}; it {some}"
            warnings.warn(msg, UserWarning, stacklevel=stacklevel + 1)


def _in_files(name: str, groups: Groups) -> list[str]:
    """Names in files of a cube, of one of its runs as ``"map/7"`` or ``"7"``; others stay."""
    if name in groups:
        return list(groups[name].values())
    for group, runs in groups.items():
        for label, file in runs.items():
            if name in (label, f"{group}/{label}"):
                return [file]
    return [name]


def _in_memory(names: Sequence[str], groups: Groups) -> list[str]:
    back = {file: (group, label) for group, runs in groups.items() for label, file in runs.items()}
    result = []
    for name in names:
        group, label = back.get(name, (name, ""))
        whole = set(groups.get(group, {}).values()) <= set(names)
        result.append(group if whole or not label else f"{group}/{label}")
    return list(dict.fromkeys(result))


def _split(model: Model) -> list[Model]:
    names = list(model.datasets_names or ())
    result = [model]
    for name in names[1:]:
        twin = model.copy(name=f"{model.name}-{name}", datasets_names=[name])
        for kind, part in twin.components.items():
            own = list(zip(part.parameters, model.components[kind].parameters, strict=True))
            for parameter, shared in own:
                part.replace_parameter(parameter, shared)
        result.append(twin)
    model.datasets_names = names[:1]
    return result


def _is_part(model: Model, first: Model) -> bool:
    """Whether a background is what `_split` makes of another."""
    names: Any = model.datasets_names
    return (
        type(model) is type(first) is FoVBackgroundModel
        and names is not None
        and len(names) == 1
        and model.name == f"{first.name}-{names[0]}"
        and [id(p) for p in model.parameters] == [id(p) for p in first.parameters]
    )


def _same_covariance(models: Models, members: Iterable[Model]) -> Models:
    """Return a collection of models with the covariance of another over the same parameters."""
    result = Models(list(members))
    if models.has_covariance:
        errors = [p.error for p in result.parameters]
        matrix = models.covariance_over(list(result.parameters))
        result.set_covariance(matrix)
        for parameter, error in zip(result.parameters, errors, strict=True):
            parameter.error = error  # the root of its square may differ in the last digit
    return result
