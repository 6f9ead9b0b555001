"""Flux points with all other free parameters fitted again: a full fit in each band."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xgamma.estimators.norm_points import NormSettings, dataset_names, estimate, variable_dims
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.cubes import Spectra, spectra_of
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred, npred_background, npred_signal
from xgamma.fitting.result import FitResult
from xgamma.fitting.systematics import background_factor, without_systematics
from xgamma.kernels.norm_fit import fit_norm
from xgamma.kernels.norm_limits import norm_sensitivity
from xgamma.kernels.norm_problem import NormProblem, cash_problem, join_problems, norm_predictions, wstat_problem
from xgamma.models.models import Models
from xgamma.models.norm import ScaleSpectralModel
from xgamma.models.sky_model import SkyModel

__all__ = ["reoptimized_points"]

#: How the norm of the source is called in these fits.
NORM = "norm"


def reoptimized_points(
    spectra: Sequence[Spectra],
    models: Models,
    source: SkyModel,
    slices: Sequence[list[slice]],
    settings: NormSettings,
) -> xr.Dataset:
    """Fit the norm of a source in each band together with the free parameters of all other models.

    Parameters
    ----------
    spectra
        Cubes, computed here where they are lazy.
    models
        All models.
    source
        The one whose norm is looked for.
    slices
        Bins of each cube that make up each band.
    settings
        What is estimated.

    Returns
    -------
    xarray.Dataset
        Dims ([region,] band[, dataset or scan]).
    """
    cubes = [s.cube.compute() for s in spectra]
    regions = next((s.cube.sizes["region"] for s in spectra if "region" in s.lead), None)
    names = [s.name for s in spectra]
    scaled = _scaled(models, source)
    rows = []
    for region in range(regions or 1):
        own = [c.isel(region=region) if "region" in c.dims else c for c in cubes]
        bands = zip(*slices, strict=True)
        rows.append([_band(dict(zip(names, own, strict=True)), band, scaled, source.name, settings) for band in bands])
    points = {}
    for name, dims in variable_dims(settings).items():
        values = np.array([[band[name] for band in row] for row in rows])
        points[name] = (dims, values[0]) if regions is None else (["region", *dims], values)
    # regions have points of their own: their datasets are the runs
    number = len(dataset_names(spectra))
    return xr.Dataset(points).isel(dataset=slice(0, number))


def _scaled(models: Models, source: SkyModel) -> Models:
    """The models with the spectrum of the source as it is, times a norm."""
    spectral = ScaleSpectralModel(source.spectral)
    return Models([m.copy(spectral=spectral) if m is source else m for m in models]).copy()


def _band(
    cubes: dict[str, xr.Dataset], band: Sequence[slice], models: Models, source: str, settings: NormSettings
) -> dict[str, Any]:
    """All numbers of one band."""
    inside = {name: _inside(cube, bins) for (name, cube), bins in zip(cubes.items(), band, strict=True)}
    empty: dict[str, Any] = dict.fromkeys(variable_dims(settings), np.nan) | {"success": False}
    per_dataset = _counts(inside)
    number = per_dataset.size
    empty |= {"npred": np.full(number, np.nan), "npred_excess": np.full(number, np.nan), "counts": per_dataset}
    if "scan" in settings.selection:
        empty["stat_scan"] = np.full(settings.norms.size, np.nan)
    if not any(bool(c["mask_fit"].any()) for c in inside.values()):
        return empty
    free = f"{source}.{NORM}"
    fixed, lowest = _with_others_fixed(models, inside, source, settings)
    if not per_dataset.any():
        # without a single count no other model can be told from the source
        return empty | fixed
    models = models.copy()
    # empty bins forbid lower norms
    models.parameters[free].min = lowest
    with warnings.catch_warnings():
        # what does not converge is told by `success`
        warnings.simplefilter("ignore", UserWarning)
        try:
            best = fit(inside, models)
        except ValueError:
            return empty
        null = _without(inside, best.models, free)
        result = empty | _numbers(best, null, free) | _asked(best, inside, source, free, settings)
    signal = Models([best.models[source], *without_systematics(best.models)[1]])
    result["npred"] = np.concatenate([_sums(npred(c, best.models, name=n), c) for n, c in inside.items()])
    result["npred_excess"] = np.concatenate([_sums(npred_signal(c, signal, name=n), c) for n, c in inside.items()])
    return result


def _inside(cube: xr.Dataset, bins: slice) -> xr.Dataset:
    """The cube with only one band to be fitted."""
    chosen = xr.zeros_like(cube["energy"], dtype=bool).drop_vars(["energy_min", "energy_max"], errors="ignore")
    chosen[{"energy": bins}] = True
    mask = xr.ones_like(cube["counts"], dtype=bool) & chosen.variable
    for name in ("mask_safe", "mask_fit"):
        if name in cube:
            mask = mask & (cube[name] != 0)
    if "acceptance_off" in cube:
        mask = mask & (cube["acceptance_off"] > 0) & (cube["acceptance"] > 0)
    return cube.assign(mask_fit=mask)


def _sums(array: xr.DataArray, cube: xr.Dataset) -> np.ndarray:
    """Sum inside the mask for each run."""
    return np.atleast_1d(array.where(cube["mask_fit"], 0.0).sum("energy").values).ravel()


def _counts(cubes: dict[str, xr.Dataset]) -> np.ndarray:
    return np.concatenate([_sums(c["counts"], c) for c in cubes.values()])


def _without(cubes: dict[str, xr.Dataset], models: Models, name: str) -> float:
    """Statistic of the best fit without the source."""
    empty = models.copy()
    parameter = empty.parameters[name]
    parameter.value, parameter.frozen = 0.0, True
    if len(empty.parameters.free):
        return fit(cubes, empty, covariance=None).total_stat
    return compile_likelihood(cubes, empty).stat(empty.parameters.values)


def _numbers(best: FitResult, null: float, name: str) -> dict[str, Any]:
    """What every band has."""
    parameter = best.models.parameters[name]
    ts = max(null - best.total_stat, 0.0)
    return {
        "norm": parameter.value,
        "norm_err": parameter.error if parameter.error > 0 else np.nan,
        "ts": ts,
        "sqrt_ts": float(np.sign(parameter.value) * np.sqrt(ts)),
        "stat": best.total_stat,
        "stat_null": null,
        "n_dof": float(best.dof),
        "success": best.success,
    }


def _asked(
    best: FitResult, cubes: dict[str, xr.Dataset], source: str, name: str, settings: NormSettings
) -> dict[str, Any]:
    """Errors, limit, profile and sensitivity."""
    result: dict[str, Any] = {}
    value = best.models.parameters[name].value
    error = best.models.parameters[name].error
    if "errn-errp" in settings.selection:
        interval = best.confidence(name, settings.n_sigma)
        result |= {"norm_errn": interval.errn, "norm_errp": interval.errp}
    result["norm_err"] = settings.n_sigma * error if error > 0 else np.nan
    if "ul" in settings.selection:
        result["norm_ul"] = value + best.confidence(name, settings.n_sigma_ul).errp
    if "scan" in settings.selection:
        profile = best.stat_profile(name, settings.norms)
        result["stat_scan"] = np.asarray(profile["stat"].values, float)
    if "sensitivity" in settings.selection:
        problem, _ = _problem(best.models, cubes, source)
        result["norm_sensitivity"] = float(norm_sensitivity(problem, settings.n_sigma_sensitivity))
    return result


def _with_others_fixed(
    models: Models, cubes: dict[str, xr.Dataset], source: str, settings: NormSettings
) -> tuple[dict[str, Any], float]:
    """Estimate the norm with the other models as they are; and the lowest norm, NaN where there is none."""
    problem, part = _problem(models, cubes, source)
    result: dict[str, Any] = dict(estimate(problem, settings))
    npred, excess, _ = norm_predictions(problem, result["norm"])
    for name, values in (("npred", npred), ("npred_excess", excess)):
        result[name] = np.bincount(part, values, minlength=int(part.max()) + 1)
    result["n_dof"] = problem.counts.size - 1.0
    corner = bool(fit_norm(problem, errors=False, upper_limit=False).corner)
    return {n: v if np.ndim(v) else v.item() for n, v in ((n, np.asarray(v)) for n, v in result.items())}, (
        float(result["norm"]) if corner else np.nan
    )


def _problem(models: Models, cubes: dict[str, xr.Dataset], source: str) -> tuple[NormProblem, np.ndarray]:
    """Fit of the norm with the other models as they are, and the number of the dataset of each bin."""
    unit = models.copy()
    unit.parameters[f"{source}.{NORM}"].value = 1.0
    others = Models([m for m in unit if m.name != source])
    systematics = without_systematics(others)[1]
    problems: list[NormProblem] = []
    parts: list[np.ndarray] = []
    for name, cube in cubes.items():
        mask = cube["mask_fit"].values.ravel()
        shape = npred_signal(cube, [unit[source], *systematics], name=name).values.ravel()[mask]
        other = npred_signal(cube, others, name=name).values.ravel()[mask] if len(others) else np.zeros_like(shape)
        counts = cube["counts"].values.ravel()[mask]
        if "counts_off" in cube:
            ratio = cube["acceptance"].variable / cube["acceptance_off"].variable
            ratio = ratio * background_factor(spectra_of(name, cube), systematics)
            alpha = ratio.transpose(*cube["counts"].dims).values.ravel()[mask]
            problems.append(wstat_problem(counts, cube["counts_off"].values.ravel()[mask], alpha, shape, other))
        else:
            known = npred_background(cube, systematics, name=name).values.ravel()[mask]
            problems.append(cash_problem(counts, other + known, shape))
        first = 0 if not parts else int(parts[-1].max(initial=-1)) + 1
        runs = cube["mask_fit"].transpose(..., "energy").values.reshape(-1, cube.sizes["energy"])
        parts.append(first + np.repeat(np.arange(len(runs)), runs.sum(axis=1)))
    return join_problems(problems), np.concatenate(parts)
