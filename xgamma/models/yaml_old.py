"""Older layouts of model files, brought to the present one.

From the first YAML files of the field (2019) to gammapy 0.20: other names of types and keys, a background model that
was a component with parameters of its own, absorption as a model around another one, templates with norm and tilt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["modern_component", "modern_model"]

#: Older names of keys of a component.
KEYS = {
    "id": "name",
    "spectral_model": "spectral",
    "spatial_model": "spatial",
    "temporal_model": "temporal",
    "dataset_name": "datasets_names",
    "dataset_names": "datasets_names",
}

#: Older names of types.
TYPES = {
    "spectral": {
        "ConstantModel": "ConstantSpectralModel",
        "PowerLaw": "PowerLawSpectralModel",
        "PowerLaw2": "PowerLaw2SpectralModel",
        "ExponentialCutoffPowerLaw": "ExpCutoffPowerLawSpectralModel",
        "ExponentialCutoffPowerLawSpectralModel": "ExpCutoffPowerLawSpectralModel",
        "ExponentialCutoffPowerLaw3FGL": "ExpCutoffPowerLaw3FGLSpectralModel",
        "PLSuperExpCutoff3FGL": "SuperExpCutoffPowerLaw3FGLSpectralModel",
        "LogParabola": "LogParabolaSpectralModel",
        "SpectralGaussian": "GaussianSpectralModel",
        "TableModel": "TemplateSpectralModel",
        "AbsorptionSpectralModel": "EBLAbsorptionNormSpectralModel",
        "Absorption": "EBLAbsorptionNormSpectralModel",
        "EBLAbsorptionSpectralModel": "EBLAbsorptionNormSpectralModel",
        "CompoundModel": "CompoundSpectralModel",
    },
    "spatial": {
        "SkyPointSource": "PointSpatialModel",
        "SkyGaussian": "GaussianSpatialModel",
        "SkyDisk": "DiskSpatialModel",
        "SkyEllipse": "DiskSpatialModel",
        "SkyShell": "ShellSpatialModel",
        "SkyDiffuseConstant": "ConstantSpatialModel",
        "SkyDiffuseMap": "TemplateSpatialModel",
    },
    "temporal": {
        "PhaseCurveTableModel": "TemplatePhaseCurveTemporalModel",
        "LightCurveTableModel": "LightCurveTemplateTemporalModel",
        "LightCurveTableTemporalModel": "LightCurveTemplateTemporalModel",
    },
}  # fmt: skip

#: Older names of parameters by the present type.
PARAMETERS = {
    "ExpCutoffPowerLawSpectralModel": {"lambda": "lambda_"},
    "ConstantSpectralModel": {"value": "const"},
    "PowerLaw2SpectralModel": {"e_min": "emin", "e_max": "emax"},
}


def modern_model(data: dict[str, Any]) -> dict[str, Any]:
    """Return a component of a file in the present layout.

    Examples
    --------
    >>> modern_model({"name": "crab", "spectral_model": {"type": "PowerLaw"}})
    {'name': 'crab', 'type': 'SkyModel', 'spectral': {'type': 'PowerLaw'}}
    """
    new: dict[str, Any] = {}
    for key, value in data.items():
        target = KEYS.get(key, key)
        if target in new or (target != key and target in data):
            msg = f"{target!r} is given twice: {key!r} is its older name"
            raise ValueError(msg)
        new[target] = value
    if "type" not in new and ("spectral" in new or "spatial" in new):
        new = {k: new[k] for k in ("name",) if k in new} | {"type": "SkyModel"} | new
    if "type" not in new:
        msg = f"a model needs a 'type', as SkyModel; its keys are {list(new)}"
        raise ValueError(msg)
    if new["type"] == "BackgroundModel":
        new = _background(new)
    if new["type"] == "SkyDiffuseCube":
        new = _diffuse(new)
    # gammapy leaves the name of a background to its dataset
    datasets = new.get("datasets_names")
    if new["type"] == "FoVBackgroundModel" and "name" not in new and datasets:
        new["name"] = f"{datasets if isinstance(datasets, str) else datasets[0]}-bkg"
    return new


def _background(data: dict[str, Any]) -> dict[str, Any]:
    """A background model had norm, tilt and reference itself, or a spectrum with them."""
    kept = {key: value for key, value in data.items() if key not in ("parameters", "filename", "map")}
    spectrum = {"type": "PowerLawNormSpectralModel", "parameters": data.get("parameters", [])}
    return {"spectral": spectrum} | kept | {"type": "FoVBackgroundModel"}


def _diffuse(data: dict[str, Any]) -> dict[str, Any]:
    """A diffuse cube was a component with norm, tilt and reference: now a template with such a spectrum."""
    template = {key: data[key] for key in ("filename", "normalize") if key in data}
    kept = {key: value for key, value in data.items() if key not in ("parameters", "filename", "normalize")}
    spectrum = {"type": "PowerLawNormSpectralModel", "parameters": data.get("parameters", [])}
    spatial = {"type": "TemplateSpatialModel", "parameters": [], "normalize": False} | template
    return kept | {"type": "SkyModel", "spectral": spectrum, "spatial": spatial}


def modern_component(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return a spectral, spatial or temporal model of a file in the present layout.

    Examples
    --------
    >>> modern_component("spectral", {"type": "PowerLaw", "parameters": []})
    {'type': 'PowerLawSpectralModel', 'parameters': []}
    """
    if data.get("type") in ("AbsorbedSpectralModel", "AbsorbedModel"):
        return _absorbed(data)
    new = dict(data)
    if "type" in new:
        new["type"] = TYPES.get(kind, {}).get(str(new["type"]), new["type"])
    renamed = PARAMETERS.get(str(new.get("type")), {})
    if renamed and isinstance(new.get("parameters"), list):
        new["parameters"] = [_renamed(entry, renamed) for entry in new["parameters"]]
    if new.get("type") == "TemplateSpectralModel" and new.get("parameters"):
        return _template(new)
    return new


def _renamed(entry: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(entry, Mapping) or entry.get("name") not in names:
        return entry
    return {**entry, "name": names[str(entry["name"])]}


def _template(data: dict[str, Any]) -> dict[str, Any]:
    """A template had norm, tilt and reference itself: now it is multiplied by such a spectrum."""
    norm = {"type": "PowerLawNormSpectralModel", "parameters": data["parameters"]}
    template = data | {"parameters": []}
    return {"type": "CompoundSpectralModel", "model1": template, "model2": norm, "operator": "mul"}


def _absorbed(data: dict[str, Any]) -> dict[str, Any]:
    """An absorbed spectrum held the spectrum, the table and two parameters: now it is a product."""
    own = {str(entry.get("name")): entry for entry in data.get("parameters", []) if isinstance(entry, Mapping)}
    parameters = [own[name] for name in ("redshift", "alpha_norm") if name in own]
    base, table = data.get("base_model", {}), dict(data.get("absorption", {}))
    spectrum = dict(base)
    # its parameters could be told beside those of the absorption
    if not spectrum.get("parameters"):
        spectrum["parameters"] = [entry for name, entry in own.items() if name not in ("redshift", "alpha_norm")]
    absorption = table | {"type": "EBLAbsorptionNormSpectralModel", "parameters": parameters}
    return {"type": "CompoundSpectralModel", "model1": spectrum, "model2": absorption, "operator": "mul"}
