"""From maps and models to their likelihood."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.flux import SpectralFlux
from xgamma.fitting.likelihood import CashStatistic, Statistic
from xgamma.fitting.map_background import EnergyFactor, FactorOfValues, ScaledCounts
from xgamma.fitting.map_contribution import FoldedSource, KeptBins, MapContribution, SpatialValues
from xgamma.fitting.map_cubes import Maps, ResponseAxes, at_row, map_response
from xgamma.fitting.map_dataset import MapDataset
from xgamma.fitting.map_extended import ExtendedContribution
from xgamma.fitting.map_irf import EnergyFolding, MapResponse
from xgamma.fitting.map_point import PointContribution
from xgamma.fitting.map_shape import ShapedCounts, SkyFactor
from xgamma.fitting.map_template import background_shape, template_counts
from xgamma.fitting.systematics import NO_SYSTEMATICS, Nuisance, WidenedContribution, flux_of
from xgamma.fitting.varying import UNKNOWN_TIME, GoodTime, varying_flux
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.parameter import Parameters
from xgamma.models.sky_model import Model, SkyModel
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_shapes import PointSpatialModel
from xgamma.models.systematics import Systematics

__all__ = ["compile_map", "source_contribution"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
#: Bins that take part and their statistic, from a cube, its statistic and its arrays.
StatisticOf = Callable[[Maps, Mapping[str, FloatArray]], tuple[BoolArray, Statistic]]


@dataclass(frozen=True, eq=False)
class _Row:
    """One map in memory: arrays without the dims of the runs, and its bins that take part."""

    maps: Maps
    axes: ResponseAxes
    responses: Mapping[str, FloatArray]
    kept: BoolArray
    bins: KeptBins
    nuisance: Nuisance


def compile_map(
    s: Maps,
    models: Models,
    parameters: Parameters,
    values: Mapping[str, FloatArray],
    responses: Mapping[str, FloatArray],
    statistic_of: StatisticOf,
    systematics: Sequence[Systematics] = (),
) -> list[MapDataset]:
    """Prepare the likelihood of each map of a cube.

    Parameters
    ----------
    s
        The cube.
    models
        Models; those that belong to a map take part in it.
    parameters
        All parameters of the fit.
    values
        Counts, background, masks and what else the statistic needs, dims (..., energy, y, x).
    responses
        Exposure, psf, edisp, irf_exposure with the dims of `response_arrays`.
    statistic_of
        Makes the statistic of one map.
    systematics
        Systematic errors; those that belong to a map take part in it.

    Returns
    -------
    list of MapDataset
        One for each run.
    """
    result, axes = [], ResponseAxes.of(s)
    for place in np.ndindex(*s.shape) if s.shape else [()]:
        number = int(np.ravel_multi_index(place, s.shape)) if place else 0
        own = replace(s, lead=(), shape=(), labels=(s.labels[number],))
        arrays = {n: at_row(v, place) for n, v in values.items()}
        kept, statistic = statistic_of(own, arrays)
        own_responses = {n: at_row(v, place) for n, v in responses.items()}
        nuisance = Nuisance.of([m for m in systematics if s.rows(m)[place]], parameters)
        row = _Row(own, axes, own_responses, kept, KeptBins.of(kept), nuisance)
        chosen = [m for m in models if s.rows(m)[place]]
        _check_exposure(row, chosen, s.labels[number])
        contributions: list[MapContribution] = []
        known = _known(row, chosen, parameters, statistic, s.labels[number])
        if known is not None:
            statistic, background = known
            contributions.append(background)
        contributions += [c for m in chosen if (c := _contribution(row, m, parameters, s.labels[number])) is not None]
        part = np.zeros(row.bins.size, np.intp)
        # where the background is no model, the statistic scales it
        factors = () if known is not None else nuisance.background
        result.append(MapDataset(s.labels[number], own.labels, part, statistic, tuple(contributions), kept, factors))
    return result


def _check_exposure(row: _Row, models: list[Model], label: str) -> None:
    """Complain of an exposure that is not finite where bins take part."""
    if "exposure" not in row.responses or not any(isinstance(m, SkyModel) for m in models):
        return
    own = row.responses["exposure"]
    if np.isfinite(own.sum()):
        return
    bad = ~np.isfinite(own).all(axis=0) & row.kept.any(axis=0)
    if bad.any():
        msg = f"exposure of {label!r} is not finite in {int(bad.sum())} pixels where bins take part; mask them"
        raise ValueError(msg)


def _energy(s: Maps) -> FloatArray:
    return np.sqrt(s.axes.low * s.axes.high)


def _measured(kept: BoolArray) -> NDArray[np.intp]:
    """Measured bin of energy of each bin that takes part."""
    return np.repeat(np.arange(len(kept)), np.count_nonzero(kept, axis=(1, 2)))


def _known(
    row: _Row, models: list[Model], parameters: Parameters, statistic: Statistic, label: str
) -> tuple[Statistic, ScaledCounts | ShapedCounts] | None:
    """Statistic without the background, and the background as a model that scales it, where there is one."""
    found = [m for m in models if isinstance(m, FoVBackgroundModel)]
    places = row.nuisance.background
    if not found:
        if not places or not isinstance(statistic, CashStatistic) or not statistic.known.any():
            return None
        own = FactorOfValues(places, _energy(row.maps))
        return _as_model(f"{label}-bkg", own, statistic, statistic.known, row)
    if len(found) > 1:
        msg = f"{label!r} has two background models, {[m.name for m in found]}; name their datasets"
        raise ValueError(msg)
    model = found[0]
    if not isinstance(statistic, CashStatistic):
        msg = f"{model.name!r} scales a background, which fits of {label!r} with {statistic.name} do not have"
        raise ValueError(msg)
    factor = EnergyFactor(model.spectral, parameters, _energy(row.maps))
    both = FactorOfValues(places, factor.energy, factor) if places else factor
    shape = background_shape(model, row.maps.grid)
    if _is_free(model):
        background = _shaped(row, model, parameters, both, statistic.known)
        background.is_background = True
        return _without_background(statistic), background
    counts = statistic.known
    if shape is not None:
        counts = counts * np.broadcast_to(shape, row.kept.shape)[row.kept]
    return _as_model(model.name, both, statistic, counts, row)


def _as_model(
    name: str, factor: EnergyFactor | FactorOfValues, statistic: CashStatistic, counts: FloatArray, row: _Row
) -> tuple[Statistic, ScaledCounts]:
    """Statistic without a background, and the background as a model."""
    background = ScaledCounts(name, factor, counts, _measured(row.kept))
    background.is_background = True
    return _without_background(statistic), background


def _without_background(statistic: CashStatistic) -> CashStatistic:
    empty = np.zeros(statistic.counts.size)
    return CashStatistic(statistic.counts, empty, statistic.weights, statistic.with_constants)


def _is_free(model: FoVBackgroundModel | TemplateNPredModel) -> bool:
    """Whether the shape of a background is fitted."""
    return model.spatial is not None and any(not p.frozen for p in model.spatial.parameters)


def _shaped(
    row: _Row,
    model: FoVBackgroundModel | TemplateNPredModel,
    parameters: Parameters,
    factor: EnergyFactor | FactorOfValues,
    counts: FloatArray,
) -> ShapedCounts:
    """Counts times a factor on the sky that is fitted."""
    assert model.spatial is not None
    seen = row.kept.any(axis=0)
    sky = SkyFactor(model.spatial, parameters, row.maps.grid, *np.nonzero(seen))
    numbers = np.cumsum(seen.ravel()).reshape(seen.shape) - 1
    pixel = np.broadcast_to(numbers, row.kept.shape)[row.kept]
    return ShapedCounts(model.name, factor, sky, counts, _measured(row.kept), pixel)


def _contribution(row: _Row, model: Model, parameters: Parameters, label: str) -> MapContribution | None:
    """A model in one map, None where nothing of it reaches bins that take part."""
    if isinstance(model, FoVBackgroundModel):
        return None
    if isinstance(model, TemplateNPredModel):
        factor = EnergyFactor(model.spectral, parameters, _energy(row.maps))
        counts = template_counts(model, row.maps, shaped=not _is_free(model)).values[row.kept]
        if _is_free(model):
            background_shape(model, row.maps.grid)  # complains of what cannot be one
            return _shaped(row, model, parameters, factor, counts)
        return ScaledCounts(model.name, factor, counts, _measured(row.kept))
    assert isinstance(model, SkyModel)
    response = map_response(row.axes, row.responses, model, row.maps.grid)
    nuisance = row.nuisance if model.apply_irf["exposure"] else NO_SYSTEMATICS
    intervals = GoodTime(label, row.responses)
    result = source_contribution(model, parameters, response, row.bins, row.kept, nuisance, intervals)
    with np.errstate(all="ignore"):
        bins, counts = result.signal(parameters.values)
    if row.bins.size and (not bins.size or not np.any(counts)):
        why = "lies outside" if not bins.size else "predicts nothing in"
        warnings.warn(
            f"model {model.name!r} {why} the bins of {label!r} that take part; it takes no part there",
            UserWarning,
            stacklevel=2,
        )
        return None
    return result


def source_contribution(
    model: SkyModel,
    parameters: Parameters,
    response: MapResponse,
    bins: KeptBins,
    kept: BoolArray | None = None,
    nuisance: Nuisance = NO_SYSTEMATICS,
    intervals: GoodTime = UNKNOWN_TIME,
) -> MapContribution:
    """Return what a source adds to a map.

    Parameters
    ----------
    model
        Source with a spatial model.
    parameters
        All parameters of the fit.
    response
        Responses that it wants.
    bins
        Bins that take part.
    kept
        The same as a mask, to check that their energies are covered; None not to check.
    nuisance
        Systematic errors of the instrument.
    intervals
        Good time of the map, for a source that varies.
    """
    exact = response.edisp is None
    if exact and kept is not None:
        check_coverage(response, np.asarray(kept.any(axis=(1, 2))), model.name)
    folding = EnergyFolding.of(response.axes, exact)
    flux = flux_of(SpectralFlux(model.spectral, parameters, folding.low, folding.high), nuisance)
    flux = varying_flux(flux, model, parameters, np.sqrt(folding.low * folding.high), intervals)
    assert isinstance(model.spatial, SpatialModel)
    spatial = SpatialValues(model.spatial, parameters)
    point = isinstance(model.spatial, PointSpatialModel) and response.psf is not None
    make = partial(_folded_source, PointContribution if point else ExtendedContribution, model.name, flux, spatial)
    if nuisance.psf and response.psf is not None:
        return WidenedContribution(partial(make, folding, bins), response, nuisance.psf)
    return make(folding, bins, response)


def _folded_source(
    kind: type[FoldedSource],
    name: str,
    flux: Any,
    spatial: SpatialValues,
    folding: EnergyFolding,
    bins: KeptBins,
    response: MapResponse,
) -> FoldedSource:
    return kind(name, flux, spatial, response, folding, bins)


def check_coverage(response: MapResponse, used: BoolArray, name: str) -> None:
    """Without energy dispersion, all measured energies that are used must have a true one."""
    axes = response.axes
    if not used.any():
        return
    low, high = axes.low[used].min(), axes.high[used].max()
    least, most = axes.true_low.min(), axes.true_high.max()
    if low < least * (1 - 1e-9) or high > most * (1 + 1e-9):
        msg = (
            f"without energy dispersion for {name!r}, energy_true must cover the bins that are fitted: it reaches "
            f"from {least:g} to {most:g} TeV, they from {low:g} to {high:g} TeV"
        )
        raise ValueError(msg)
