"""Joint datasets as a DataTree: what is in it, what models predict for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of
from xgamma.coords.units import canonical_attrs
from xgamma.fitting.compile import stat_name
from xgamma.fitting.cubes import Spectra, named_cubes, spectra_of
from xgamma.fitting.map_cubes import is_map, maps_of
from xgamma.fitting.points import SpectralValues, is_points, points_of
from xgamma.fitting.predict import npred
from xgamma.fitting.systematics import Nuisance, flux_of, without_systematics
from xgamma.io.flux_layout import flux_attrs, sed_type_of, value_names
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model, SkyModel

__all__ = ["flux_pred", "info_tree", "npred_tree"]

#: Sums over the bins of a cube.
SUMS = {
    "counts": "Counts",
    "background": "Background",
    "counts_off": "Off counts",
}


def npred_tree(tree: xr.DataTree, models: Model | Iterable[Model]) -> xr.DataTree:
    """Predict all datasets of a DataTree: counts of cubes, fluxes of flux points.

    Parameters
    ----------
    tree
        Groups of cubes and flux points.
    models
        Models, or one; those with ``datasets_names`` in the groups of these names.

    Returns
    -------
    xarray.DataTree
        The same groups, with ``npred`` for cubes (lazy where they are) and for flux points the quantity that they
        hold, as ``dnde``.

    See Also
    --------
    xgamma.fitting.predict.npred : for one cube.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> axis = energy_axis("1 TeV", "100 TeV", nbin=1)
    >>> points = xr.Dataset({"dnde": ("energy", [2e-14]), "dnde_err": ("energy", [1e-14])}, axis.coords)
    >>> source = SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"), name="source")
    >>> npred_tree(xr.DataTree.from_dict({"hawc": points}), source)["hawc/dnde"].values
    array([1.e-14])
    """
    chosen = as_models(models)
    groups = {}
    for name, cube in named_cubes(tree).items():
        own = _own(name, cube, chosen)
        predicted = flux_pred(cube, own) if is_points(cube) else npred(cube, own, name=name)
        groups[name] = predicted.to_dataset()
    return xr.DataTree.from_dict(groups)


def flux_pred(points: xr.Dataset, models: Model | Iterable[Model]) -> xr.DataArray:
    """Predict flux points: the sum of the sources, in the quantity that the points hold.

    Parameters
    ----------
    points
        Flux points, dims (..., energy).
    models
        Models, or one; backgrounds take no part, systematic errors do.

    Returns
    -------
    xarray.DataArray
        Dims (energy,): differential flux at the reference energies, or flux in the bins; norms of a reference
        spectrum where the points are norms.

    Examples
    --------
    See `npred_tree`.
    """
    sed_type = sed_type_of(points)
    axis = axis_of(points, "energy")
    energy, low, high = (a.values.astype(float) for a in (axis, axis["energy_min"], axis["energy_max"]))
    total = np.zeros(energy.shape)
    systematics = without_systematics(as_models(models))[1]
    for model in as_models(models):
        if not isinstance(model, SkyModel):
            continue
        parameters = Models([model, *systematics]).parameters
        plain = SpectralValues(model.spectral, parameters, sed_type, energy, low, high)
        flux = flux_of(plain, Nuisance.of(systematics, parameters))
        scale, key = flux.split(parameters.values)
        total += scale * flux.shape(*key)
    if sed_type == "likelihood":
        total = total / points["ref_dnde"].values
    name = value_names(sed_type)[0]
    return xr.DataArray(total, dims="energy", coords=axis.coords, name=name, attrs=flux_attrs(name))


def info_tree(tree: xr.DataTree) -> xr.Dataset:
    """Sum up the datasets of a DataTree in one table.

    Parameters
    ----------
    tree
        Groups of cubes and flux points.

    Returns
    -------
    xarray.Dataset
        Dim ``dataset``: ``kind``, ``stat`` (statistic by which it is fitted), ``n_bins`` and ``n_fit_bins`` (inside the
        masks), ``energy_min`` and ``energy_max`` of the latter in TeV; sums of ``counts``, ``background`` and
        ``counts_off`` over them, NaN where a dataset has none.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> axis = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> points = xr.Dataset({"dnde": ("energy", [2e-12, 2e-14])}, axis.coords)
    >>> info_tree(xr.DataTree.from_dict({"hawc": points})).n_bins.values
    array([2])
    """
    named = named_cubes(tree)
    rows = [_row(name, cube) for name, cube in named.items()]
    table = xr.Dataset(coords={"dataset": list(named)})
    labels = {"energy_min": "Lowest energy that is fitted", "energy_max": "Highest energy that is fitted", **SUMS}
    for key in rows[0]:
        unit = "TeV" if key.startswith("energy") else ""
        table[key] = "dataset", [row[key] for row in rows], canonical_attrs(unit, labels.get(key, key))
    return table


def _part(name: str, cube: xr.Dataset) -> Spectra:
    if is_points(cube):
        return points_of(name, cube)
    return maps_of(name, cube) if is_map(cube) else spectra_of(name, cube)


def _own(name: str, cube: xr.Dataset, models: Models) -> Models:
    """Models that belong to a dataset."""
    s = _part(name, cube)
    return Models([m for m in models if s.rows(m).any()])


def _kind(cube: xr.Dataset) -> str:
    if is_points(cube):
        return "flux points"
    return ("map" if is_map(cube) else "spectrum") + (" on-off" if "counts_off" in cube else "")


def _row(name: str, cube: xr.Dataset) -> dict[str, Any]:
    s = _part(name, cube)
    value = cube["counts"] if "counts" in cube and not is_points(cube) else None
    if value is None:
        names = value_names(sed_type_of(cube))
        value = cube[names[0] if names[0] in cube else names[4]]
    mask = xr.ones_like(value, dtype=bool)
    for n in ("mask_safe", "mask_fit"):
        if n in cube:
            mask = mask & (cube[n] != 0)
    sums = {n: cube[n].where(mask).sum() if n in cube and not is_points(cube) else xr.DataArray(np.nan) for n in SUMS}
    table = xr.Dataset({"used": mask, **sums}).compute()
    used = table["used"].any([d for d in mask.dims if d != "energy"]).values
    low, high = s.axes.low[used], s.axes.high[used]
    return {
        "kind": _kind(cube),
        "stat": stat_name(cube),
        "n_bins": int(value.size),
        "n_fit_bins": int(table["used"].sum()),
        "energy_min": float(low.min()) if low.size else np.nan,
        "energy_max": float(high.max()) if high.size else np.nan,
        **{n: float(table[n]) for n in SUMS},
    }
