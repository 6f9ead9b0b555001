"""Models as YAML, in the layout of gammapy: texts, files, mappings."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.fits_file import expand_path
from xgamma.models.component import Component
from xgamma.models.covariance_file import read_covariance, write_covariance
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model
from xgamma.models.systematics import Systematics
from xgamma.models.yaml_check import checksum_line, read_as_known, verify_checksum
from xgamma.models.yaml_parse import parse
from xgamma.models.yaml_read import Reader
from xgamma.models.yaml_write import Writer

__all__ = [
    "component_from_dict",
    "component_to_dict",
    "model_from_dict",
    "model_to_dict",
    "models_from_yaml",
    "models_to_yaml",
    "read_models",
    "write_models",
]

#: Keys of a file beside the components.
KEYS = ("components", "covariance", "systematics", "systematics_covariance", "metadata", "checksum")


def models_from_yaml(text: str, path: str | Path | None = None, *, checksum: bool = False) -> Models:
    """Read models from YAML text.

    Parameters
    ----------
    text
        Text in the layout of gammapy: a mapping with the key ``components``, or the list of components alone.
    path
        File that the text is from, or its folder: names of other files are relative to it.
    checksum
        Whether to compare the text with the checksum that it holds.

    Returns
    -------
    Models

    Raises
    ------
    ValueError
        If the text is not YAML, or says something that is not known: the message names the place.
    FileNotFoundError
        If the covariance that the text names is not there.

    Examples
    --------
    >>> models = models_from_yaml('''
    ... components:
    ... - name: crab
    ...   type: SkyModel
    ...   spectral:
    ...     type: pl
    ...     parameters:
    ...     - {name: index, value: 2.6}
    ...     - {name: amplitude, value: 3.5e-11, unit: cm-2 s-1 TeV-1}
    ... ''')
    >>> models.parameters["crab.index"].value
    2.6
    """
    folder, name = _folder(path)
    data = _document(parse(text, name), name)
    if checksum:
        verify_checksum(text, name)
    models = read_as_known(
        data, name, lambda: _read(data, folder, "" if path is None else name), 2 if path is None else 3
    )
    # that of all parameters, where there are more than gammapy knows of
    covariance = data.get("systematics_covariance") or data.get("covariance")
    if covariance:
        _set_covariance(models, str(covariance), folder)
    return models


def read_models(path: str | Path, *, checksum: bool = False) -> Models:
    """Read models from a YAML file, with the covariance that lies beside it.

    Parameters
    ----------
    path
        File; ``$VARIABLES`` and ``~`` are expanded.
    checksum
        Whether to compare the text with the checksum that it holds.

    Returns
    -------
    Models

    Raises
    ------
    ValueError
        If the text is not YAML, or says something that is not known: the message names file and place.
    FileNotFoundError
        If the file, or the covariance that it names, is not there.
    """
    file = Path(expand_path(path))
    if not file.is_file():
        msg = f"there is no file {file}"
        raise FileNotFoundError(msg)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"{file} is not a text file"
        raise ValueError(msg) from error
    return models_from_yaml(text, file, checksum=checksum)


def models_to_yaml(models: Any, *, full: bool = False, folder: Path | None = None) -> str:
    """Return models as YAML text.

    Parameters
    ----------
    models
        `Models`, or models.
    full
        Whether to write limits, errors and scan settings also where they are the defaults.
    folder
        Folder of the file that the text is for: names of files in it become relative.

    Returns
    -------
    str
        The same for the same models: without date, and without the covariance, which is a file of its own.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> from xgamma.models.sky_model import SkyModel
    >>> print(models_to_yaml(SkyModel(PowerLawSpectralModel(), name="crab")))
    components:
    -   name: crab
        type: SkyModel
        spectral:
            type: PowerLawSpectralModel
            parameters:
            -   name: index
                value: 2.0
            -   name: amplitude
                value: 1.0e-12
                unit: TeV-1 s-1 cm-2
            -   name: reference
                value: 1.0
                unit: TeV
                frozen: true
    <BLANKLINE>
    """
    return _dump(_content(as_models(models), full=full, folder=folder))


def write_models(
    models: Any,
    path: str | Path,
    *,
    overwrite: bool = False,
    full: bool = False,
    covariance: bool = True,
    checksum: bool = False,
) -> None:
    """Write models to a YAML file, and their covariance beside it as ``<name>_covariance.dat``.

    Each file is written under a temporary name first, so that it is whole or not there.

    Parameters
    ----------
    models
        `Models`, or models.
    path
        File ``<name>.yaml``.
    overwrite
        Whether to replace files that are there.
    full
        Whether to write limits, errors and scan settings also where they are the defaults.
    covariance
        Whether to write the covariance.
    checksum
        Whether to add a checksum of the text.

    Raises
    ------
    FileExistsError
        If one of the files is there and `overwrite` is False.
    """
    given = as_models(models)
    target = check_target(path, overwrite)
    data = _content(given, full=full, folder=target.parent)
    if covariance and len(given.parameters):
        known = [m.name for m in given if not isinstance(m, Systematics)]
        files = {"covariance": given.select(known)}
        # gammapy wants a row for each parameter of the components, and for no other
        files |= {"systematics_covariance": given} if len(known) < len(given) else {}
        for key, chosen in files.items():
            beside = target.with_name(f"{target.stem}_{key}.dat")
            check_target(beside, overwrite)
            with atomic_path(beside, overwrite) as temporary:
                write_covariance(chosen, temporary)
            data[key] = beside.name
    text = _dump(data | {"metadata": _metadata()})
    if checksum:
        text += checksum_line(text)
    with atomic_path(target, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------- mappings
def model_to_dict(model: Model, *, full: bool = False) -> dict[str, Any]:
    """Return a model as a mapping of plain values, as a file holds it."""
    return Writer(Models(model), full=full).model(model)


def model_from_dict(data: Mapping[str, Any], folder: str | Path | None = None) -> Model:
    """Make a model from a mapping, as a file holds it; names of files are relative to a folder.

    Examples
    --------
    >>> data = {"type": "SkyModel", "name": "crab", "spectral": {"type": "pl", "parameters": []}}
    >>> model_from_dict(data).name
    'crab'
    """
    return Reader(_folder(folder)[0]).model(data, "the model")


def component_to_dict(component: Component, *, full: bool = False) -> dict[str, Any]:
    """Return a spectral, spatial or temporal model as a mapping of plain values, as a file holds it."""
    return Writer(Models(), full=full).component(component)


def component_from_dict(kind: str, data: Mapping[str, Any], folder: str | Path | None = None) -> Component:
    """Make a spectral, spatial or temporal model from a mapping, as a file holds it.

    Examples
    --------
    >>> component_from_dict("spectral", {"type": "pl-norm", "parameters": [{"name": "norm", "value": 1.2}]})
    PowerLawNormSpectralModel(tilt=0 (frozen), norm=1.2, reference=1 TeV (frozen))
    """
    return Reader(_folder(folder)[0]).component(kind, data, f"the {kind} model")


# ---------------------------------------------------------------------- pieces
def _content(models: Models, *, full: bool, folder: Path | None = None) -> dict[str, Any]:
    """Models by the keys of a file; systematic errors have one of their own, which gammapy passes over."""
    writer = Writer(models, full=full, folder=folder)
    written = list(zip(models, writer.models(), strict=True))
    systematics = [data for model, data in written if isinstance(model, Systematics)]
    components = [data for model, data in written if not isinstance(model, Systematics)]
    return {"components": components} | ({"systematics": systematics} if systematics else {})


def _folder(path: str | Path | None) -> tuple[Path | None, str]:
    """Folder to which names of files are relative, and what messages call the text."""
    if path is None:
        return None, "the text"
    place = Path(expand_path(path))
    return (place, "the text") if place.is_dir() else (place.parent, str(place))


def _document(data: Any, name: str) -> dict[str, Any]:
    """The mapping of a file: also from a list of components, or a single one."""
    if isinstance(data, list):
        return {"components": data}
    if not isinstance(data, dict):
        msg = f"{name} holds {data!r}, not models: it needs the key 'components' with a list of models"
        raise ValueError(msg)
    if "components" not in data:
        if "spectral" in data or "spatial" in data:
            return {"components": [data]}
        msg = f"{name} has no key 'components' with a list of models; its keys are {list(data)}"
        raise ValueError(msg)
    for key in data:
        if key not in KEYS:
            warnings.warn(f"{name}: the key {key!r} is not read; keys are {list(KEYS)}", stacklevel=4)
    components = data["components"]
    if components is not None and not isinstance(components, list):
        msg = f"'components' in {name} must be a list of models, each starting with '- name:', not {components!r}"
        raise ValueError(msg)
    return data | {"components": components or []}


def _read(data: Mapping[str, Any], folder: Path | None, name: str) -> Models:
    reader = Reader(folder, name)
    models = reader.models(data["components"])
    for model in reader.models(data.get("systematics") or [], "systematics"):
        models.append(model)
    return models


def _set_covariance(models: Models, file: str, folder: Path | None) -> None:
    expanded = Path(expand_path(file))
    path = expanded if folder is None else folder / expanded
    if folder is None and not expanded.is_absolute():
        warnings.warn(f"the covariance {file} is not read: say where it is with path=", stacklevel=4)
        return
    if not path.is_file():
        msg = f"there is no covariance {path}; without it, take the line 'covariance: {file}' out"
        raise FileNotFoundError(msg)
    read_covariance(models, path)


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, indent=4, width=80, default_flow_style=False)


def _metadata() -> dict[str, Any]:
    version = importlib.metadata.version("xgamma")
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    return {"creator": f"xgamma {version}", "date": now.isoformat(), "origin": None}
