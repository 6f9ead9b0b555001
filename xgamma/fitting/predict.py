"""Counts that models predict, as labelled arrays that stay lazy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import canonical_attrs, to_unit
from xgamma.fitting.cubes import UNNAMED, Spectra, match_models, spectra_of
from xgamma.fitting.map_cubes import is_map, maps_of
from xgamma.fitting.predict_map import background_of_map, signal_of_map
from xgamma.fitting.response import Axes, intersections
from xgamma.fitting.systematics import background_factor, flux_seen, systematics_groups, without_systematics
from xgamma.fitting.varying import mean_over_runs
from xgamma.kernels.stats import wstat_background
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model, SkyModel
from xgamma.models.systematics import Systematics

__all__ = ["npred", "npred_background", "npred_signal"]

FloatArray = NDArray[np.float64]


def npred(cube: xr.Dataset, models: Model | Iterable[Model] = (), *, name: str | None = None) -> xr.DataArray:
    """Predict the counts of a cube: those of the models and of the background, on maps no less than 0.

    Parameters
    ----------
    cube
        Cube of spectra or maps.
    models
        Models, or one; none for the background alone.
    name
        Name of the cube where models are assigned to it by name; by default ``attrs["name"]``.

    Returns
    -------
    xarray.DataArray
        Dims of the counts, lazy where the cube is.

    Raises
    ------
    TypeError, ValueError
        If the cube lacks its exposure or off counts, or a model is not one for spectra.

    See Also
    --------
    npred_signal, npred_background

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [7.0]
    >>> cube["background"] = "energy", [2.0]
    >>> cube["exposure"] = "energy_true", [1e13], {"units": "cm2 s"}
    >>> npred(cube, SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"))).values
    array([11.])
    """
    signal = npred_signal(cube, models, name=name)
    chosen = as_models(models)
    total = signal.variable + _background(cube, signal.variable, chosen, _name(cube, name))
    if is_map(cube):
        total = total.where(~(total < 0), 0.0)
    return _labelled(total, cube, "npred", "Predicted counts")


def npred_signal(cube: xr.Dataset, models: Model | Iterable[Model], *, name: str | None = None) -> xr.DataArray:
    """Predict the counts of models in a cube, without its background.

    Parameters
    ----------
    cube
        Cube of spectra or maps: ``counts``, ``exposure``, ``edisp`` where energies are not exact, and for maps ``psf``.
    models
        Models, or one.
    name
        Name of the cube where models are assigned to it by name; by default ``attrs["name"]``.

    Returns
    -------
    xarray.DataArray
        Dims of the counts, lazy where the responses are.

    Raises
    ------
    TypeError, ValueError
        If the cube lacks its exposure, or a model is not one for spectra.

    See Also
    --------
    npred : with the background.

    Notes
    -----
    The flux in each bin of true energy is multiplied by the exposure and spread over the measured bins by the energy
    dispersion. Without energy dispersion, the flux is integrated over the overlap of each measured bin with those of
    true energy; measured bins that reach beyond all true energies are NaN. A source with a position is taken to lie
    inside the region with all of its flux: how much of it the region contains is part of the exposure.

    On maps the point spread function of a point source is integrated over each pixel at the source's true position, and
    an extended model over pixels before it is convolved. The function is cut off where it holds 99.9 % at its broadest
    energy, and integrates to 1. A source may lie on the edge of a map or outside: what of it the map does not show is
    lost, and the exposure beyond the map is that of its edge.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [7.0]
    >>> cube["exposure"] = "energy_true", [1e13], {"units": "cm2 s"}
    >>> npred_signal(cube, SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"))).values
    array([9.])
    """
    given, own = as_models(models), _name(cube, name)
    chosen, systematics = without_systematics(given)
    if is_map(cube):
        match_models(chosen, [], [maps_of(own, cube)])
        return _labelled(signal_of_map(own, cube, given), cube, "npred_signal", "Predicted counts of sources")
    spectra = spectra_of(own, cube)
    sources = match_models(chosen, [spectra])
    parts = [part for model in sources if (part := _predict(spectra, model, systematics)) is not None]
    counts = cube["counts"].variable
    total = reduce(lambda a, b: a + b, parts) if parts else xr.zeros_like(counts, dtype=float)
    # a cube whose runs share their responses has one prediction for all
    total = total.set_dims(dict(zip(counts.dims, counts.shape, strict=True))).transpose(*counts.dims)
    return _labelled(total, cube, "npred_signal", "Predicted counts of sources")


def npred_background(
    cube: xr.Dataset, models: Model | Iterable[Model] = (), *, name: str | None = None
) -> xr.DataArray:
    """Predict the background of a cube: the one that fits best beside the models where it is measured in off regions.

    Parameters
    ----------
    cube
        Cube of spectra or maps.
    models
        Models, or one; for a cube with a background model they do not matter.
    name
        Name of the cube where models are assigned to it by name; by default ``attrs["name"]``.

    Returns
    -------
    xarray.DataArray
        Dims of the counts, lazy where the cube is; 0 where no off region gives a background.

    References
    ----------
    W. A. Rolke, A. M. Lopez, J. Conrad, NIM A 551, 493 (2005), profile likelihood.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [7.0]
    >>> cube["exposure"] = "energy_true", [1e13], {"units": "cm2 s"}
    >>> for name, value in {"counts_off": 30.0, "acceptance": 1.0, "acceptance_off": 10.0}.items():
    ...     cube[name] = "energy", [value]
    >>> npred_background(cube, SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"))).values
    array([2.88160794])
    """
    signal = npred_signal(cube, models, name=name)
    result = _background(cube, signal.variable, as_models(models), _name(cube, name)) + 0.0 * cube["counts"].variable
    return _labelled(result, cube, "npred_background", "Predicted background")


def _labelled(values: xr.Variable, cube: xr.Dataset, name: str, label: str) -> xr.DataArray:
    counts = cube["counts"]
    result = xr.DataArray(values.transpose(*counts.dims), coords=counts.coords, name=name)
    result.attrs = canonical_attrs("", label)
    return result


def _name(cube: xr.Dataset, name: str | None) -> str:
    return str(cube.attrs.get("name", UNNAMED)) if name is None else name


def _background(cube: xr.Dataset, signal: xr.Variable, models: Models, name: str) -> xr.Variable:
    systematics = without_systematics(models)[1]
    if "counts_off" not in cube:
        if is_map(cube):
            return background_of_map(name, cube, models)
        if "background" not in cube:
            return xr.zeros_like(cube["counts"].variable, dtype=float)
        known = cube["background"].variable
        return known * background_factor(spectra_of(name, cube), systematics) if systematics else known
    missing = [n for n in ("acceptance", "acceptance_off") if n not in cube]
    if missing:
        msg = f"a cube with 'counts_off' needs {missing}, too"
        raise ValueError(msg)
    arrays = [cube[n].variable for n in ("counts", "counts_off", "acceptance", "acceptance_off")]
    if systematics:
        s = maps_of(name, cube) if is_map(cube) else spectra_of(name, cube)
        arrays[2] = arrays[2] * background_factor(s, systematics)
    result: xr.Variable = xr.apply_ufunc(_on_off, *arrays, signal, dask="parallelized", output_dtypes=[float])
    return result


def _on_off(
    on: FloatArray, off: FloatArray, acceptance: FloatArray, acceptance_off: FloatArray, signal: FloatArray
) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = acceptance / acceptance_off
    usable = np.isfinite(alpha) & (alpha > 0)
    alpha = np.where(usable, alpha, 1.0)
    return np.where(usable, alpha * wstat_background(on, off, alpha, signal), 0.0)


def _predict(s: Spectra, model: SkyModel, systematics: Sequence[Systematics]) -> xr.Variable | None:
    """Counts of one model, None if it does not belong to the cube."""
    rows = s.rows(model)
    if not rows.any():
        return None
    cube, axes = s.cube, s.axes
    exposure = xr.Variable("energy_true", np.ones(axes.true_low.size))
    if model.apply_irf["exposure"]:
        if "exposure" not in cube:
            msg = f"{s.name!r} has no 'exposure', which model {model.name!r} needs"
            raise ValueError(msg)
        exposure = to_unit(cube["exposure"], "cm2 s").variable
    if model.temporal is not None:
        exposure = exposure * mean_over_runs(s, model)
    if model.apply_irf["edisp"] and "edisp" in cube:
        edges = axes.true_low, axes.true_high
        flux = _by_rows(s, systematics, lambda own: flux_seen(model, *edges, own), "energy_true")
        exposure, matrix = exposure * flux, cube["edisp"].variable
    else:
        matrix = _by_rows(s, systematics, lambda own: _overlap_flux(axes, model, own), "energy_true", "energy")
    whole = [
        v.chunk(dict.fromkeys(set(v.dims) & {"energy_true", "energy"}, -1)) if v.chunks else v
        for v in (exposure, matrix)
    ]
    result: xr.Variable = xr.apply_ufunc(
        _fold,
        *whole,
        input_core_dims=[["energy_true"], ["energy_true", "energy"]],
        output_core_dims=[["energy"]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"energy": axes.low.size}},
    )
    return result if rows.all() else result * xr.Variable(s.lead, rows.astype(float))


def _by_rows(
    s: Spectra, systematics: Sequence[Systematics], function: Callable[[Sequence[Systematics]], FloatArray], *dims: str
) -> xr.Variable:
    """Return what depends on systematic errors, with the dims of the runs in front where theirs differ."""
    groups = systematics_groups(s, systematics)
    first = function(groups[0][1])
    if len(groups) == 1:
        return xr.Variable(dims, first)
    result = np.empty((*s.shape, *first.shape))
    for rows, own in groups:
        result[rows] = function(own)
    return xr.Variable((*s.lead, *dims), result)


def _overlap_flux(axes: Axes, model: SkyModel, systematics: Sequence[Systematics]) -> FloatArray:
    """Flux in the overlap of true and measured bins; NaN in measured bins that are not covered."""
    true, measured, low, high = intersections(axes)
    flux = np.zeros((axes.true_low.size, axes.low.size))
    flux[true, measured] = flux_seen(model, low, high, systematics)
    beyond = (axes.low < axes.true_low.min() * (1 - 1e-9)) | (axes.high > axes.true_high.max() * (1 + 1e-9))
    flux[:, beyond] = np.nan
    return flux


def _fold(exposure: FloatArray, matrix: FloatArray) -> FloatArray:
    if matrix.ndim == 2:
        return np.asarray(exposure @ matrix)
    return np.einsum("...t,...te->...e", exposure, matrix)
