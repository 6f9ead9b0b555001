"""From cubes and models to a likelihood of plain arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import astropy.units as u
import numpy as np
import xarray as xr
from dask.base import compute
from numpy.typing import NDArray

from xgamma.coords.units import to_unit
from xgamma.fitting.cubes import Cubes, Spectra, match_models, named_cubes, spectra_of
from xgamma.fitting.dataset import BinnedDataset, Contribution, Likelihood, PriorTerm, SpectralContribution
from xgamma.fitting.flux import SpectralFlux
from xgamma.fitting.likelihood import Statistic
from xgamma.fitting.map_compile import compile_map
from xgamma.fitting.map_cubes import Maps, at_row, check_map_models, is_map, maps_of, response_arrays
from xgamma.fitting.measured_bins import MASKS, Loaded, check_bins, statistic_of
from xgamma.fitting.points import POINT_STATISTICS, compile_points, is_points, point_stat_name, points_of
from xgamma.fitting.response import Response, response
from xgamma.fitting.systematics import (
    NO_SYSTEMATICS,
    Nuisance,
    check_systematics,
    flux_of,
    parts_of,
    systematics_groups,
    without_systematics,
)
from xgamma.fitting.varying import GTI, TemporalFactor, VaryingContribution, check_steady, gti_of_models
from xgamma.models.models import Models, as_models
from xgamma.models.parameter import Parameters
from xgamma.models.sky_model import Model, SkyModel
from xgamma.models.systematics import Systematics

__all__ = ["StatName", "compile_likelihood", "stat_name"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
StatName = Literal["cash", "cstat", "wstat", "chi2", "distrib", "profile"]

#: Variables of each statistic; those in brackets may be missing.
NEEDED: dict[str, tuple[str, ...]] = {
    "cash": ("counts", "(background)"),
    "cstat": ("counts", "(background)"),
    "wstat": ("counts", "counts_off", "acceptance", "acceptance_off"),
    "chi2": ("counts", "(background)", "(counts_error)", "(counts_off)", "(acceptance)", "(acceptance_off)"),
}
#: Variables that are responses of maps.
RESPONSES = ("exposure", "psf", "edisp", "irf_exposure", "psf_exposure", *GTI)


def stat_name(cube: xr.Dataset, stat: str | None = None) -> str:
    """Return which statistic a cube is fitted with.

    Parameters
    ----------
    cube
        Cube, or flux points.
    stat
        ``"cash"``, ``"cstat"``, ``"wstat"`` or ``"chi2"``; by default wstat where there are off counts, chi2 where
        there is ``counts_error``, else cash. For flux points see `xgamma.fitting.points.point_stat_name`.

    Examples
    --------
    >>> stat_name(xr.Dataset({"counts": 1.0, "counts_off": 3.0}))
    'wstat'
    """
    if is_points(cube):
        return point_stat_name(cube, stat)
    if stat is None:
        return "wstat" if "counts_off" in cube else "chi2" if "counts_error" in cube else "cash"
    if stat not in NEEDED:
        known = f"must be one of {list(NEEDED)}"
        msg = f"stat={stat!r} {f'is for flux points; that of cubes {known}' if stat in POINT_STATISTICS else known}"
        raise ValueError(msg)
    if stat in ("cash", "cstat") and "counts_off" in cube and "background" not in cube:
        msg = (
            f"stat={stat!r} takes the background as known, and a cube with off counts has no 'background'; take 'wstat'"
        )
        raise ValueError(msg)
    return stat


def compile_likelihood(
    cubes: Cubes,
    models: Model | Iterable[Model],
    stat: StatName | Mapping[str, StatName] | None = None,
    *,
    alone: bool | None = None,
    whole: bool = True,
    scheduler: str | None = None,
) -> Likelihood:
    """Prepare the likelihood of models for cubes of spectra and maps, and for flux points.

    Parameters
    ----------
    cubes
        A cube or flux points; several as a mapping, a list or a DataTree. Lazy ones are computed once, all together,
        and only what the likelihood needs of them.
    models
        Models, or one.
    stat
        Fit statistic for all datasets, or a mapping from the names of some; by default that of each one's content
        (see `stat_name`).
    alone
        Whether the labels of runs go without the name of their cube; by default where there is one cube.
    whole
        False for a part of a fit, which may have no bins.
    scheduler
        Of Dask, for lazy cubes; by default the active one.

    Returns
    -------
    Likelihood
        A function of the values of ``models.parameters``, in their units.

    Raises
    ------
    TypeError, ValueError
        If a cube lacks what the statistic needs, holds NaN inside its masks, has no exposure, or no bin of any cube is
        inside its masks; if a model is not one for spectra.

    Notes
    -----
    Bins inside ``mask_safe`` and ``mask_fit`` take part. Masks that are not bool, and a variable ``weights``, are
    factors on the statistic of each bin. A spectrum integrated over the bins of true energy is multiplied by the
    exposure and the energy dispersion; without energy dispersion, energies count as exact. A source with a position is
    taken to lie inside the region with all of its flux: how much of it the region contains is part of the exposure.
    On maps the flux is multiplied by the integral of the model over the pixels, and convolved with the point spread
    function; see `xgamma.fitting.predict_map`. Each run of a map is a dataset of its own.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [7.0]
    >>> cube["exposure"] = "energy_true", [1e13], {"units": "cm2 s"}
    >>> source = SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"))
    >>> likelihood = compile_likelihood(cube, source)
    >>> likelihood.datasets[0].npred(source.parameters.values)
    array([9.])
    """
    given = as_models(models)
    parameters = given.parameters
    chosen, systematics = without_systematics(given)
    named = named_cubes(cubes)
    alone = len(named) == 1 if alone is None else alone
    found: dict[str, Spectra] = {n: dataset_of(n, c, alone) for n, c in named.items()}
    if not whole:
        # models of the other parts, which may be of kinds that these cubes do not take
        chosen = Models([m for m in chosen if any(s.rows(m).any() for s in found.values())])
    maps = [s for s in found.values() if isinstance(s, Maps)]
    sources = match_models(chosen, [s for s in found.values() if not isinstance(s, Maps)], maps)
    check_map_models(chosen, maps)
    stats = _stat_names(named, stat)
    parts = [part for s in found.values() for part in _parts(s, systematics)]
    of_cubes = [s for s, _ in parts if not is_points(s.cube)]
    arrays = _load(of_cubes, [stats[s.name] for s in of_cubes], chosen, scheduler)
    loaded = {id(s): v for s, v in zip(of_cubes, arrays, strict=True)}
    fluxes: dict[Any, Any] = {}
    datasets: list[BinnedDataset] = []
    for s, own in parts:
        name = stats[s.name]
        if id(s) not in loaded:
            check_steady(s, sources)
            datasets.append(compile_points(s, sources, parameters, name, Nuisance.of(own, parameters)))
        elif isinstance(s, Maps):
            responses = {n: v for n, v in loaded[id(s)].items() if n in RESPONSES}
            values = {n: v for n, v in loaded[id(s)].items() if n not in RESPONSES}
            statistic = partial(_map_statistic, name)
            datasets += compile_map(s, chosen, parameters, values, responses, statistic, systematics)
        else:
            nuisance = Nuisance.of(own, parameters)
            datasets.append(_compile(Loaded(s, name, loaded[id(s)]), sources, parameters, fluxes, nuisance))
    check_bins(datasets, whole)
    check_systematics(systematics, parameters, datasets)
    return Likelihood(tuple(datasets), prior_terms(parameters))


def _parts(s: Spectra, systematics: Sequence[Systematics]) -> list[tuple[Spectra, tuple[Systematics, ...]]]:
    """A cube, or its parts where systematic errors differ between its runs; maps are one dataset a run anyway."""
    groups = systematics_groups(s, systematics)
    if isinstance(s, Maps) or len(groups) == 1:
        return [(s, groups[0][1])]
    return [(part, own) for rows, own in groups for part in parts_of(s, rows)]


def dataset_of(name: str, cube: xr.Dataset, alone: bool = True) -> Spectra:
    """Return what a cube of spectra or maps, or flux points, are made of, as a fit needs it.

    Parameters
    ----------
    name
        Name of the dataset.
    cube
        Cube, or flux points.
    alone
        Whether it is the only one; the labels of several bring the name of theirs.
    """
    if is_points(cube):
        return points_of(name, cube, alone)
    return maps_of(name, cube, alone) if is_map(cube) else spectra_of(name, cube, alone)


def _stat_names(named: Mapping[str, xr.Dataset], stat: StatName | Mapping[str, StatName] | None) -> dict[str, str]:
    """Statistic of each dataset."""
    if stat is None or isinstance(stat, str):
        return {n: stat_name(c, stat) for n, c in named.items()}
    unknown = [n for n in stat if n not in named]
    if unknown:
        msg = f"stat names {unknown}, which are none of the datasets {list(named)}"
        raise ValueError(msg)
    return {n: stat_name(c, stat.get(n)) for n, c in named.items()}


def _map_statistic(name: str, s: Maps, values: Mapping[str, FloatArray]) -> tuple[BoolArray, Statistic]:
    return statistic_of(Loaded(s, name, values))


def prior_terms(parameters: Parameters) -> tuple[PriorTerm, ...]:
    """Return the priors of the free parameters."""
    terms = []
    for place, parameter in enumerate(parameters):
        if parameter.prior is not None and not parameter.frozen:
            prior = parameter.prior.bound(parameter.unit, parameters.names[place])
            terms.append(PriorTerm(place, prior, float(u.Unit(parameter.unit).to(prior.unit or ""))))
    return tuple(terms)


def _load(
    spectra: Sequence[Spectra], names: list[str], models: Iterable[Model], scheduler: str | None = None
) -> list[dict[str, FloatArray]]:
    """Compute what the likelihood needs of all cubes, together."""
    lazy: list[dict[str, Any]] = []
    for s, name in zip(spectra, names, strict=True):
        wanted = {n.strip("()"): not n.startswith("(") for n in NEEDED[name]}
        missing = [n for n, needed in wanted.items() if needed and n not in s.cube]
        if missing:
            msg = f"{name} of {s.name!r} needs {missing}, which the cube lacks"
            raise ValueError(msg)
        if isinstance(s, Maps):
            on_map = dict.fromkeys((*wanted, *MASKS), ("energy", "y", "x"))
            own = {n: _aligned(s, n, dims).data for n, dims in on_map.items() if n in s.cube}
            lazy.append(own | {n: v.data for n, v in response_arrays(s, models).items()})
            continue
        core = dict.fromkeys((*wanted, *MASKS), ("energy",)) | {
            "exposure": ("energy_true",), "edisp": ("energy_true", "energy")}  # fmt: skip
        own = {n: _aligned(s, n, dims).data for n, dims in core.items() if n in s.cube}
        lazy.append(own | {n: v.data for n, v in gti_of_models(s, models).items()})
    computed: tuple[list[dict[str, Any]]] = compute(lazy, scheduler=scheduler) if scheduler else compute(lazy)
    return [{n: np.asarray(v) for n, v in values.items()} for values in computed[0]]


def _aligned(s: Spectra, name: str, core: tuple[str, ...]) -> xr.Variable:
    """Return a variable with dims (*lead, *core), of size 1 where it does not have them."""
    array = to_unit(s.cube[name], "cm2 s") if name == "exposure" else s.cube[name]
    dims = (*s.lead, *core)
    odd = [str(d) for d in array.dims if d not in dims]
    if odd:
        msg = f"{name!r} of {s.name!r} has dim {odd[0]!r}, which its counts with dims {(*s.lead, 'energy')} do not have"
        raise ValueError(msg)
    return array.variable.set_dims({d: array.sizes.get(d, 1) for d in dims}).transpose(*dims)


def _compile(
    loaded: Loaded,
    models: list[SkyModel],
    parameters: Parameters,
    fluxes: dict[Any, Any],
    nuisance: Nuisance = NO_SYSTEMATICS,
) -> BinnedDataset:
    s = loaded.spectra
    kept, statistic = statistic_of(loaded)
    part = np.repeat(np.arange(len(s.labels)), kept.reshape(len(s.labels), -1).sum(axis=1))
    responses: dict[Any, Response] = {}
    contributions: list[Contribution] = []
    for model in models:
        rows = s.rows(model)
        if not rows.any() or not kept.any():
            continue
        key = (model.apply_irf["exposure"], model.apply_irf["edisp"], rows.tobytes())
        if key not in responses:
            responses[key] = _response(loaded, kept, model, rows)
        folding = responses[key]
        # spectra with the same energies share the flux of a model
        own = nuisance if model.apply_irf["exposure"] else NO_SYSTEMATICS
        where = (id(model.spectral), folding.low.tobytes(), folding.high.tobytes(), own)
        if where not in fluxes:
            fluxes[where] = flux_of(SpectralFlux(model.spectral, parameters, folding.low, folding.high), own)
        if model.temporal is None:
            contributions.append(SpectralContribution(model.name, fluxes[where], folding.matrix))
        else:
            means = _means(loaded, model, parameters, np.sqrt(folding.low * folding.high))
            contributions.append(VaryingContribution(model.name, fluxes[where], folding.matrix, means, part))
    # a background that is not there cannot be scaled
    factors = nuisance.background if np.any(statistic.background(np.ones(part.size))) else ()
    return BinnedDataset(s.name, s.labels, part, statistic, tuple(contributions), kept, factors)


def _means(loaded: Loaded, model: SkyModel, parameters: Parameters, energy: FloatArray) -> list[TemporalFactor | None]:
    """Means of a source that varies over the good time intervals of each spectrum to which it belongs."""
    s, found = loaded.spectra, []
    rows = s.rows(model).ravel()
    assert model.temporal is not None
    for i, place in enumerate(np.ndindex(*s.shape) if s.shape else [()]):
        start, stop = (at_row(loaded.values[n], place) for n in GTI)
        own = TemporalFactor(model.temporal, parameters, start, stop, energy, s.labels[i]) if rows[i] else None
        found.append(own)
    return found


def _response(loaded: Loaded, kept: BoolArray, model: SkyModel, rows: BoolArray) -> Response:
    s, values = loaded.spectra, loaded.values
    exposure = np.ones(s.axes.true_low.size)
    if model.apply_irf["exposure"]:
        if "exposure" not in values:
            msg = f"{s.name!r} has no 'exposure', which model {model.name!r} needs"
            raise ValueError(msg)
        exposure = values["exposure"]
    edisp = values.get("edisp") if model.apply_irf["edisp"] else None
    if edisp is None:
        _check_coverage(s, kept)
    chosen = None if rows.all() else rows
    result = response(s.axes, kept, exposure, edisp, chosen)
    if np.isnan(result.matrix).any():
        culprits = [n for n in ("exposure", "edisp") if n in values and np.isnan(values[n]).any()]
        msg = f"{' and '.join(culprits)} of {s.name!r} hold NaN where bins take part; set them to 0, or mask the bins"
        raise ValueError(msg)
    _check_exposure(s, kept & rows[..., None], kept, result)
    return result


def _check_coverage(s: Spectra, kept: BoolArray) -> None:
    """Without energy dispersion, all measured energies must have a true one."""
    used = kept.reshape(-1, kept.shape[-1]).any(axis=0)
    low, high = s.axes.low[used].min(), s.axes.high[used].max()
    least, most = s.axes.true_low.min(), s.axes.true_high.max()
    if low < least * (1 - 1e-9) or high > most * (1 + 1e-9):
        msg = (
            f"without energy dispersion, energy_true of {s.name!r} must cover the bins that are fitted: it reaches "
            f"from {least:g} to {most:g} TeV, they from {low:g} to {high:g} TeV"
        )
        raise ValueError(msg)


def _check_exposure(s: Spectra, wanted: BoolArray, kept: BoolArray, folding: Response) -> None:
    """Complain of spectra whose bins see nothing."""
    seen = np.zeros(kept.shape, bool)
    seen[kept] = np.any(folding.matrix != 0, axis=1)
    has, sees = (m.reshape(len(s.labels), -1).any(axis=1) for m in (wanted, seen))
    blind = [s.labels[i] for i in np.flatnonzero(has & ~sees)]
    if blind and len(blind) == int(has.sum()):
        msg = f"the exposure of {s.name!r} is zero in all bins that are fitted: no model can be told there"
        raise ValueError(msg)
    if blind:
        warnings.warn(f"the exposure of {blind} is zero in all bins that are fitted", UserWarning, stacklevel=2)
