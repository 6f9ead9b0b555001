"""Flux points: the norm of a source's spectrum in bands of energy, all bands, regions and runs at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.callers import outer_level
from xgamma.coords.energy_groups import energy_groups
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.estimators.norm_points import Bands, NormSettings, dataset_names, solve_bands, variable_dims
from xgamma.estimators.reoptimize import reoptimized_points
from xgamma.estimators.sed import flag_upper_limits, reference_fluxes
from xgamma.fitting.compile import stat_name
from xgamma.fitting.cubes import Spectra, named_cubes, spectra_of
from xgamma.fitting.map_cubes import Maps, is_map, maps_of
from xgamma.fitting.predict import npred, npred_signal
from xgamma.fitting.systematics import background_factor, without_systematics
from xgamma.io.flux_layout import flux_attrs
from xgamma.io.provenance import provenance
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model, SkyModel

__all__ = ["flux_points"]

#: What can be asked for beyond norm, error and significance.
SELECTION = ("errn-errp", "ul", "scan", "sensitivity")
#: Norms of the likelihood profile by default.
SCAN_NORMS = np.geomspace(0.2, 5.0, 11)
#: Dims of a cube that keep points of their own; over all others a point is joint.
OWN_DIMS = ("region",)


def flux_points(
    cubes: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset] | Iterable[xr.Dataset],
    models: Model | Iterable[Model],
    source: str | None = None,
    *,
    energy_edges: Any = None,
    selection: Sequence[str] | str = ("errn-errp", "ul"),
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    n_sigma_sensitivity: float = 5.0,
    scan_values: Any = None,
    sqrt_ts_threshold_ul: float = 2.0,
    reoptimize: bool = False,
) -> xr.Dataset:
    """Estimate flux points: how much the flux of a source in each band of energy differs from its model.

    Parameters
    ----------
    cubes
        Cube of spectra or maps, lazy or not; several as a mapping from names, a list, or a DataTree, whose bins of
        energy may differ. Runs (dim ``obs``), pixels and cubes share one norm in each band; each ``region`` has points
        of its own.
    models
        Models, as a fit left them: that of the source gives the shape of the spectrum inside the bands.
    source
        Name of the source; may be left out where there is one.
    energy_edges
        Edges of the bands, shape (n + 1,), moved to the nearest edges of each cube with a warning; None takes the
        bins of the first cube.
    selection
        What to make beside norm, error and significance: ``"errn-errp"``, ``"ul"``, ``"scan"``,
        ``"sensitivity"``, or ``"all"``.
    n_sigma, n_sigma_ul, n_sigma_sensitivity
        Number of standard deviations of errors, upper limits, and of the detection that `sensitivity` stands for.
    scan_values
        Norms of the likelihood profile, shape (k,); by default 11 from 0.2 to 5.
    sqrt_ts_threshold_ul
        Points with a lower significance are marked as upper limits.
    reoptimize
        Fit the free parameters of all other models again in each band, and at each end of errors, limits and profile;
        for spectra.

    Returns
    -------
    xarray.Dataset
        Dims ([region,] energy), lazy where the cube is: ``norm``, ``norm_err``, ``norm_errn``, ``norm_errp``,
        ``norm_ul``, ``norm_sensitivity``, ``ts``, ``sqrt_ts``, ``stat``, ``stat_null``, ``n_dof``, ``success``,
        ``is_ul``; ``npred``, ``npred_excess`` and ``counts`` for each dataset (dim ``dataset``);
        ``stat_scan`` (dim ``scan``, norms in the coordinate ``norm_scan``); and the fluxes of the model to which norms
        refer, ``ref_dnde``, ``ref_flux``, ``ref_eflux``, ``ref_e2dnde``. `to_sed_type` turns norms into fluxes.

    Raises
    ------
    ValueError
        If the source is not among the models, the selection is not known, or the cubes cannot be fitted.

    Warns
    -----
    UserWarning
        If edges are moved to the nearest edges of a cube, or the norms that were given for likelihood profiles end
        before a minimum (of points that are not lazy).

    Notes
    -----
    In each band the statistic (Cash or WStat) of all bins inside the masks is minimised over one norm of the source's
    predicted counts, everything else as it is. ``ts`` is the statistic without the source minus that at the minimum,
    errors and limits are where the statistic has risen by ``n_sigma**2``. Norms may be negative, and after a strong
    fluctuation below the background so may upper limits, as often as their coverage demands: compare them with
    ``norm_sensitivity``. A band without counts has its minimum at the lowest norm that predicts no negative counts; its
    upper limit is finite, for a Cash fit ``n_sigma_ul**2 / 2`` predicted counts whatever the background. Bands without
    a bin inside the masks, or without exposure, are NaN and have ``success`` False.

    References
    ----------
    .. [1] Rolke, Lopez & Conrad 2005, NIM A 551, 493 (profile likelihood).
    .. [2] Cash 1979, ApJ 228, 939.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [180.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> source = SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"), name="source")
    >>> flux_points(cube, source).norm.values
    array([2., 1.])
    """
    chosen = as_models(models).copy()
    target = _source(chosen, source)
    named = named_cubes(cubes)
    spectra = [_part(name, cube, len(named) == 1) for name, cube in named.items()]
    on_map = [s.name for s in spectra if isinstance(s, Maps)]
    if reoptimize and on_map:
        msg = f"reoptimize=True is for spectra, and {on_map} are maps; take spectra of them (cube.gamma.to_spectrum)"
        raise ValueError(msg)
    groups = [energy_groups(s.cube, energy_edges) for s in spectra]
    axis = _common_axis(spectra, [a for _, a in groups])
    settings = NormSettings(
        selection=_selection(selection),
        n_sigma=_positive(n_sigma, "n_sigma"),
        n_sigma_ul=_positive(n_sigma_ul, "n_sigma_ul"),
        n_sigma_sensitivity=_positive(n_sigma_sensitivity, "n_sigma_sensitivity"),
        norms=_norms(scan_values),
    )
    slices = [g for g, _ in groups]
    if reoptimize:
        points = reoptimized_points(spectra, chosen, target, slices, settings)
    else:
        points = _fixed_points(spectra, chosen, target, slices, settings)
    points = _finish(points, axis, spectra, target, settings, sqrt_ts_threshold_ul)
    if scan_values is not None:
        _check_scan(points)
    return points


def _part(name: str, cube: xr.Dataset, alone: bool) -> Spectra:
    return maps_of(name, cube, alone) if is_map(cube) else spectra_of(name, cube, alone)


@dataclass(frozen=True, eq=False)
class _Terms:
    """What one cube contributes, labelled."""

    spectra: Spectra
    arrays: Mapping[str, xr.Variable]
    bands: Bands


def _fixed_points(
    spectra: Sequence[Spectra],
    models: Models,
    source: SkyModel,
    slices: Sequence[list[slice]],
    settings: NormSettings,
) -> xr.Dataset:
    """All bands with everything but the norm fixed: one call of the kernel, lazily."""
    others = Models([m for m in models if m is not source])
    terms = [_terms(s, source, others, g, i) for i, (s, g) in enumerate(zip(spectra, slices, strict=True))]
    arrays = [a for t in terms for a in t.arrays.values()]
    core = [[str(d) for d in a.dims if d not in OWN_DIMS] for a in arrays]
    # the labels of regions come back at the end: alignment of a dozen small arrays costs more than the fits
    _check_regions(spectra)
    dims = variable_dims(settings)
    sizes = {"band": len(slices[0]), "dataset": len(dataset_names(spectra)), "scan": settings.norms.size}
    results = xr.apply_ufunc(
        solve_bands,
        *arrays,
        input_core_dims=core,
        output_core_dims=list(dims.values()),
        kwargs={"parts": [(t.bands, list(t.arrays)) for t in terms], "settings": settings},
        dask="parallelized",
        output_dtypes=[bool if name == "success" else float for name in dims],
        dask_gufunc_kwargs={
            "output_sizes": {n: k for n, k in sizes.items() if n != "scan" or "scan" in settings.selection}
        },
    )
    results = results if isinstance(results, tuple) else (results,)
    return xr.Dataset(dict(zip(dims, results, strict=True)))


def _terms(spectra: Spectra, source: SkyModel, others: Models, groups: list[slice], number: int) -> _Terms:
    """Arrays of one cube with dims ([region,] joint dims, energy), the latter with names of their own."""
    cube = spectra.cube
    kind = stat_name(cube)
    if kind not in ("cash", "wstat"):
        msg = f"flux points need counts with a background (Cash) or off counts (WStat); {spectra.name!r} has {kind}"
        raise ValueError(msg)
    template = cube["counts"].variable
    variables = {name: variable.variable for name, variable in cube.data_vars.items()}
    systematics = without_systematics(others)[1]
    seen = [source, *systematics]
    arrays = {"counts": template, "shape": npred_signal(cube, seen, name=spectra.name).variable}
    arrays["other"] = _other(spectra, others, kind, arrays["shape"])
    if kind == "wstat":
        off = variables["acceptance_off"]
        arrays["counts_off"] = variables["counts_off"]
        # 0 marks bins without an off region, which take no part
        arrays["alpha"] = (variables["acceptance"] / off.where(off > 0, np.inf)).fillna(0.0)
        arrays["alpha"] = arrays["alpha"] * background_factor(spectra, systematics) if systematics else arrays["alpha"]
    mask = xr.ones_like(template, dtype=bool)
    for name in ("mask_safe", "mask_fit"):
        if name in variables:
            mask = mask & (variables[name] != 0)
    arrays["mask"] = mask
    own = [d for d in spectra.lead if d in OWN_DIMS]
    pixels = ["y", "x"] if isinstance(spectra, Maps) else []
    joint = [*(d for d in spectra.lead if d not in OWN_DIMS), *pixels]
    sizes = dict(zip(template.dims, template.shape, strict=True))
    names = [*own, *(f"{d}-{number}" for d in (*joint, "energy"))]
    plain = {}
    for name, array in arrays.items():
        data = array.set_dims(sizes).transpose(*own, *joint, "energy").data
        full = xr.Variable(names, data)
        # the bins of a norm are joined in one task
        plain[name] = full.chunk(dict.fromkeys(names[len(own) :], -1)) if full.chunks is not None else full
    inner = int(np.prod([sizes[d] for d in pixels], dtype=int))
    return _Terms(spectra, plain, Bands.of(groups, int(cube.sizes["energy"]), len(joint), inner))


def _other(spectra: Spectra, others: Models, kind: str, shape: xr.Variable) -> xr.Variable:
    """Counts of everything but the source, without the background of on-off cubes."""
    cube = spectra.cube
    own = Models([m for m in others if spectra.rows(m).any()])
    if isinstance(spectra, Maps) and kind == "cash":
        # with the background as its model scales it
        return npred(cube, own, name=spectra.name).variable
    other = npred_signal(cube, own, name=spectra.name).variable if len(own) else xr.zeros_like(shape)
    if kind != "cash" or "background" not in cube:
        return other
    systematics = without_systematics(own)[1]
    known = cube["background"].variable
    return other + (known * background_factor(spectra, systematics) if systematics else known)


def _check_regions(spectra: Sequence[Spectra]) -> None:
    """Refuse cubes of different regions, whose points cannot be joint."""
    labelled = [s for s in spectra if "region" in s.lead and "region" in s.cube.coords]
    for s in labelled[1:]:
        first, other = (list(map(str, c.cube["region"].values)) for c in (labelled[0], s))
        if first != other:
            msg = f"the regions of {s.name!r}, {other}, are not those of {labelled[0].name!r}, {first}"
            raise ValueError(msg)


def _finish(
    points: xr.Dataset,
    axis: xr.DataArray,
    spectra: Sequence[Spectra],
    source: SkyModel,
    settings: NormSettings,
    threshold: float,
) -> xr.Dataset:
    """Coordinates, reference fluxes, flags and attributes."""
    own = [d for d in OWN_DIMS if d in points.dims]
    variables = {}
    for key, variable in points.variables.items():
        renamed = xr.Variable(["energy" if d == "band" else d for d in variable.dims], variable.data)
        variables[str(key)] = renamed.transpose(*own, "energy", ...)
    if "scan" in settings.selection:
        variables["norm_scan"] = xr.Variable("scan", settings.norms)
    variables |= {name: array.variable for name, array in reference_fluxes(axis, source.spectral).items()}
    for name, variable in variables.items():
        variable.attrs = flux_attrs(name)
    first = spectra[0].cube
    coords = axis.coords.assign(dataset=dataset_names(spectra))
    labels = [n for n in first.coords if _is_label(str(n)) and set(first[n].dims) <= set(own)]
    # in one go: each assignment would align all variables anew
    more = {n: first[n].variable for n in labels}
    if "norm_scan" in variables:
        more["norm_scan"] = variables.pop("norm_scan")
    points = xr.Dataset(variables, coords.assign(more))
    points["energy"].attrs.update(canonical_attrs("TeV", "Energy"))
    points = flag_upper_limits(points, threshold)
    obs = [str(o) for s in spectra if "obs" in s.cube.coords for o in np.atleast_1d(s.cube["obs"].values)]
    details = {
        "source": source.name,
        "selection": list(settings.selection),
        "n_sigma_sensitivity": settings.n_sigma_sensitivity,
    }
    points.attrs.update(provenance(obs_ids=obs, settings=details))
    points.attrs |= {
        "sed_type": "likelihood",
        "n_sigma": settings.n_sigma,
        "n_sigma_ul": settings.n_sigma_ul,
        "model": Models([source.copy(datasets_names=None)]).to_yaml(),
    }
    return points


def _is_label(name: str) -> bool:
    """Whether a coordinate says what a region is."""
    return name.startswith("region") or name == "n_pixels"


def _check_scan(points: xr.Dataset) -> None:
    """Warn of likelihood profiles that end before the minimum; of lazy points it is not known yet."""
    if "norm_scan" not in points.variables or points["norm"].chunks is not None:
        return
    norms, best = points["norm_scan"].values, points["norm"].values
    outside = int(((best < norms.min()) | (best > norms.max())).sum())
    if outside:
        msg = (
            f"{outside} of {best.size} norms lie outside of scan_values, {norms.min():g} to {norms.max():g}: "
            "these likelihood profiles do not show their minimum; choose a wider range"
        )
        warnings.warn(msg, UserWarning, stacklevel=outer_level())


def _source(models: Models, name: str | None) -> SkyModel:
    """Model of the source."""
    sources = [m for m in models if isinstance(m, SkyModel)]
    if name is None and len(sources) != 1:
        msg = f"which of the sources {[m.name for m in sources]}? give source=..."
        raise ValueError(msg)
    found = [m for m in sources if name in (None, m.name)]
    if not found:
        msg = f"there is no source {name!r} among the models {models.names}"
        raise ValueError(msg)
    return found[0]


def _common_axis(spectra: Sequence[Spectra], axes: Sequence[xr.DataArray]) -> xr.DataArray:
    """Axis of the bands, which must be the same in all cubes."""
    first = axes[0]
    for s, axis in zip(spectra[1:], axes[1:], strict=True):
        for end in ("energy_min", "energy_max"):
            if axis.shape != first.shape or not np.allclose(axis[end].values, first[end].values, rtol=1e-6):
                msg = (
                    f"the bands of {s.name!r} end at {axis[end].values} TeV, those of {spectra[0].name!r} at "
                    f"{first[end].values} TeV: give energy_edges that are edges of all cubes"
                )
                raise ValueError(msg)
    return first


def _selection(selection: Sequence[str] | str) -> tuple[str, ...]:
    wanted: tuple[str, ...] = (selection,) if isinstance(selection, str) else tuple(selection)
    wanted = SELECTION if wanted == ("all",) else wanted
    unknown = [s for s in wanted if s not in SELECTION]
    if unknown:
        msg = f"selection {unknown[0]!r} is not known; it is 'all' or some of {list(SELECTION)}"
        raise ValueError(msg)
    return tuple(s for s in SELECTION if s in wanted)


def _positive(value: Any, name: str) -> float:
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        msg = f"{name}={value!r} must be a positive number of standard deviations"
        raise ValueError(msg)
    return number


def _norms(values: Any) -> np.ndarray:
    norms = SCAN_NORMS if values is None else np.atleast_1d(np.asarray(to_value(values, "", "scan_values"), float))
    if norms.ndim != 1 or not np.isfinite(norms).all() or (np.diff(norms) <= 0).any():
        msg = f"scan_values={values!r} must be ascending finite norms"
        raise ValueError(msg)
    return norms
