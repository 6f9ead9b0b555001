"""Flux points in other terms: SED types, upper limits, tables and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.table import Table

from xgamma.coords.bins import axis_of
from xgamma.coords.units import conversion_factor
from xgamma.io.flux_layout import (
    REFERENCES,
    check_sed_type,
    flux_attrs,
    limit_flags,
    sed_type_of,
    value_names,
)
from xgamma.io.flux_write import flux_points_table, write_flux_points
from xgamma.kernels.norm_limits import limit_from_scan

__all__ = ["flag_upper_limits", "recompute_ul", "reference_fluxes", "to_fits", "to_sed_type", "to_table"]

ERG = conversion_factor("TeV", "erg")


def to_sed_type(points: xr.Dataset, sed_type: str, *, reference: Any = None) -> xr.Dataset:
    """Express flux points as another quantity; lazy if they are.

    Parameters
    ----------
    points
        Flux points, dims (..., energy).
    sed_type
        ``"dnde"`` (differential flux at the reference energy), ``"e2dnde"``, ``"flux"`` (in the bin), ``"eflux"``
        (energy flux in the bin), or ``"likelihood"`` (norm of the reference spectrum).
    reference
        Spectrum inside the bins, for points that do not hold their ``ref_dnde``, ``ref_flux``, ...: a spectral model,
        or the index of a power law. It replaces what the points hold, unless they are norms.

    Returns
    -------
    xarray.Dataset
        Value, errors, limits and sensitivity under their new names in canonical units (TeV-1 s-1 cm-2, s-1 cm-2,
        erg s-1 cm-2); all other variables as they were. The fluxes of the reference spectrum stay with the points.

    Raises
    ------
    ValueError
        If the type is not known, fluxes in bins are asked of points without bins, or there is no reference spectrum
        and the two types differ by more than the energy squared.

    Notes
    -----
    Every value is ``norm * ref``, where ``ref`` is the same quantity of the reference spectrum.

    Examples
    --------
    >>> import astropy.units as u
    >>> from xgamma.io.flux_tables import flux_points_from_table
    >>> table = Table({"e_min": [1.0] * u.TeV, "e_max": [4.0] * u.TeV, "dnde": [1e-12] * u.Unit("TeV-1 cm-2 s-1")})
    >>> points = flux_points_from_table(table)
    >>> to_sed_type(points, "flux", reference=2.0).flux.values
    array([3.e-12])
    """
    old = sed_type_of(points)
    new = check_sed_type(sed_type)
    if reference is not None:
        points = _with_reference(points, old, reference)
    if old == new:
        return points
    factor = _factor(points, old, new)
    names = dict(zip(value_names(old), value_names(new), strict=True))
    # variables alone: arithmetic of arrays would compute the bins of a chunked dataset
    converted = {}
    for before, after in names.items():
        if before in points:
            value = points[before].variable * factor
            converted[after] = xr.Variable(
                points[before].dims, value.transpose(*points[before].dims).data, flux_attrs(after)
            )
    kept = {str(n): v for n, v in points.data_vars.items() if n not in names}
    # values first, as they were
    result = points.drop_vars(list(points.data_vars)).assign(converted).assign(kept)
    result.attrs = {**points.attrs, "sed_type": new}
    return result


def reference_fluxes(points: xr.Dataset | xr.DataArray, reference: Any) -> dict[str, xr.DataArray]:
    """Return the fluxes of a reference spectrum in the bins of flux points.

    Parameters
    ----------
    points
        Anything with the bins ``energy``.
    reference
        Spectral model, or the index of a power law of 1e-12 TeV-1 s-1 cm-2 at 1 TeV.

    Returns
    -------
    dict
        ``ref_dnde`` and ``ref_e2dnde`` at the reference energy of each bin, ``ref_flux`` and ``ref_eflux`` between its
        edges (NaN in bins without width), dims (energy,), in TeV-1 s-1 cm-2, s-1 cm-2 and erg s-1 cm-2.

    Raises
    ------
    ValueError
        If it is neither a model of a differential flux nor a finite number.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> fluxes = reference_fluxes(energy_axis(edges=["1 TeV", "4 TeV"]), 2.0)
    >>> fluxes["ref_dnde"].values, fluxes["ref_flux"].values
    (array([2.5e-13]), array([7.5e-13]))
    """
    model = _model(reference)
    axis = axis_of(points, "energy")
    center, low, high = axis.values, axis["energy_min"].values, axis["energy_max"].values
    values = model.values
    dnde = np.asarray(model.evaluate(center, *values), dtype=float)
    bins = high > low
    flux, eflux = np.full(len(center), np.nan), np.full(len(center), np.nan)
    if bins.any():
        flux[bins] = model.evaluate_integral(low[bins], high[bins], *values)
        eflux[bins] = ERG * np.asarray(model.evaluate_energy_flux(low[bins], high[bins], *values))
    found = {"ref_dnde": dnde, "ref_flux": flux, "ref_eflux": eflux, "ref_e2dnde": ERG * center**2 * dnde}
    return {
        name: xr.DataArray(v, dims="energy", coords=axis.coords, name=name, attrs=flux_attrs(name))
        for name, v in found.items()
    }


def _model(reference: Any) -> Any:
    if hasattr(reference, "evaluate_energy_flux"):
        if getattr(reference, "is_norm", False):
            msg = f"reference={reference!r} is a factor without unit; it should be a differential flux"
            raise ValueError(msg)
        return reference
    if hasattr(getattr(reference, "spectral", None), "evaluate_energy_flux"):
        return reference.spectral  # of a SkyModel
    if isinstance(reference, bool) or not isinstance(reference, (int, float, np.number)) or not np.isfinite(reference):
        msg = f"reference={reference!r} must be a spectral model or the index of a power law, for example 2.0"
        raise ValueError(msg)
    from xgamma.models.power_law import PowerLawSpectralModel

    return PowerLawSpectralModel(index=float(reference), amplitude="1e-12 TeV-1 s-1 cm-2", reference="1 TeV")


def _with_reference(points: xr.Dataset, old: str, reference: Any) -> xr.Dataset:
    """Add the fluxes of a reference spectrum; those of norms keep their scale, given by what the points hold."""
    fluxes = reference_fluxes(points, reference)
    held = [n for n in REFERENCES if n in points]
    if old == "likelihood" and held:
        missing = [n for n in REFERENCES if n not in points]
        scale = points[held[0]] / fluxes[held[0]]
        if not missing:
            msg = "these norms have a reference spectrum, the fluxes ref_dnde, ...; drop these to give another one"
            raise ValueError(msg)
        return points.assign({n: (scale * fluxes[n]).assign_attrs(flux_attrs(n)) for n in missing})
    return points.assign(fluxes)


def _factor(points: xr.Dataset, old: str, new: str) -> xr.Variable:
    """Return what turns values of one type into those of another, dims (energy,) or those of the reference."""
    if (old, new) == ("dnde", "e2dnde"):
        return _energy_squared(points)
    if (old, new) == ("e2dnde", "dnde"):
        return 1.0 / _energy_squared(points)
    return _reference(points, new, old) / _reference(points, old, new)


def _energy_squared(points: xr.Dataset) -> xr.Variable:
    """Reference energies squared, in erg TeV."""
    return xr.Variable("energy", ERG * axis_of(points, "energy").values ** 2)


def _reference(points: xr.Dataset, sed_type: str, other: str) -> xr.Variable:
    """Return the flux of the reference spectrum in a SED type; norms are relative to it already."""
    if sed_type == "likelihood":
        return xr.Variable((), 1.0)
    axis = axis_of(points, "energy")  # knows the bins of a chunked dataset, too
    if sed_type in ("flux", "eflux") and not (axis["energy_max"].values > axis["energy_min"].values).all():
        msg = f"{sed_type!r} is a sum over a bin of energy; these points have energies and no bins (e_min and e_max)"
        raise ValueError(msg)
    name = f"ref_{sed_type}"
    if name in points:
        return points[name].variable
    if sed_type == "e2dnde" and "ref_dnde" in points:
        return points["ref_dnde"].variable * _energy_squared(points)
    if sed_type == "dnde" and "ref_e2dnde" in points:
        return points["ref_e2dnde"].variable / _energy_squared(points)
    msg = (
        f"from {other!r} to or from {sed_type!r} needs the spectrum in the bins; these points hold no {name!r}: "
        "pass reference=, a spectral model or the index of a power law, for example reference=2.0"
    )
    raise ValueError(msg)


def flag_upper_limits(points: xr.Dataset, sqrt_ts_threshold_ul: float = 2.0) -> xr.Dataset:
    """Mark the points that are upper limits only; lazy if they are.

    Parameters
    ----------
    points
        Flux points.
    sqrt_ts_threshold_ul
        Points with a lower significance are limits, and so are those that have a limit and no value.

    Returns
    -------
    xarray.Dataset
        With the flags ``is_ul`` and the threshold among the attributes.

    Raises
    ------
    ValueError
        If the threshold is not a number.

    Examples
    --------
    >>> points = xr.Dataset({"norm": ("energy", [1.0, 0.2]), "sqrt_ts": ("energy", [5.0, 2.5])})
    >>> flag_upper_limits(points, 3).is_ul.values
    array([False,  True])
    """
    if isinstance(sqrt_ts_threshold_ul, bool) or not np.isfinite(sqrt_ts_threshold_ul):
        msg = f"sqrt_ts_threshold_ul={sqrt_ts_threshold_ul!r} must be a number of standard deviations"
        raise ValueError(msg)
    result = points.assign(is_ul=limit_flags(points, sqrt_ts_threshold_ul).variable)
    result.attrs["sqrt_ts_threshold_ul"] = float(sqrt_ts_threshold_ul)
    return result


def recompute_ul(points: xr.Dataset, n_sigma_ul: float = 2.0) -> xr.Dataset:
    """Compute upper limits for another number of standard deviations from the scanned profile; lazy if it is.

    Parameters
    ----------
    points
        Flux points with ``stat_scan`` and ``norm_scan``, of any SED type; types other than norms need the fluxes of the
        reference spectrum.
    n_sigma_ul
        Number of standard deviations by whose square the statistic rises.

    Returns
    -------
    xarray.Dataset
        With new limits; NaN where the profile ends before it has risen that far, which a wider scan cures.

    Raises
    ------
    ValueError
        If there is no profile, or the number is not positive.

    Examples
    --------
    >>> norms = np.linspace(0, 4, 41)
    >>> points = xr.Dataset(
    ...     {"norm": ("energy", [1.0]), "stat_scan": (("energy", "scan"), [(norms - 1) ** 2 / 0.25])},
    ...     coords={"norm_scan": ("scan", norms)},
    ... )
    >>> recompute_ul(points, 3).norm_ul.values.round(6)
    array([2.5])
    """
    old = sed_type_of(points)
    missing = [n for n in ("stat_scan", "norm_scan") if n not in points.variables]
    if missing:
        msg = f"the points have no profile of the statistic ({missing} missing): make them with selection='scan'"
        raise ValueError(msg)
    if isinstance(n_sigma_ul, bool) or not (np.isfinite(n_sigma_ul) and n_sigma_ul > 0):
        msg = f"n_sigma_ul={n_sigma_ul!r} must be a positive number of standard deviations"
        raise ValueError(msg)
    value = value_names(old)[0]
    to_value = xr.Variable((), 1.0) if old == "likelihood" else _factor(points, "likelihood", old)
    scan = points["stat_scan"].variable
    best, stat = (xr.Variable((), np.nan),) * 2
    if value in points and "stat" in points:
        best, stat = points[value].variable / to_value, points["stat"].variable
    limit = xr.apply_ufunc(
        limit_from_scan,
        points["norm_scan"].variable,
        scan,
        best,
        stat,
        input_core_dims=[["scan"], ["scan"], [], []],
        kwargs={"n_sigma": n_sigma_ul},
        dask="parallelized",
        output_dtypes=[float],
    )
    name = value_names(old)[4]
    dims = [d for d in scan.dims if d != "scan"]
    limit = (limit * to_value).transpose(*dims)
    result = points.assign({name: xr.Variable(dims, limit.data, flux_attrs(name))})
    result.attrs["n_sigma_ul"] = float(n_sigma_ul)
    return result


def to_table(
    points: xr.Dataset,
    *,
    sed_type: str | None = None,
    format: str | None = None,  # noqa: A002
    reference: Any = None,
) -> Table:
    """Make an astropy table of flux points, a flux profile or a light curve; this computes lazy points.

    Parameters
    ----------
    points
        Flux points, dims (energy,), (region, energy) or (time, energy).
    sed_type
        SED type of the columns; by default that of the points.
    format
        ``"gadf-sed"``, ``"profile"``, ``"lightcurve"`` or ``"binned-time-series"``; by default by the dims.
    reference
        Spectrum inside the bins, as for `to_sed_type`.

    Returns
    -------
    astropy.table.Table
        Columns of GADF: ``e_ref``, ``e_min``, ``e_max``, values with errors and limits, ``ts``, ...

    Raises
    ------
    ValueError
        If the layout or the SED type does not fit the points.

    Examples
    --------
    >>> import astropy.units as u
    >>> from xgamma.io.flux_tables import flux_points_from_table
    >>> points = flux_points_from_table(Table({"e_ref": [2.0] * u.TeV, "dnde": [1e-12] * u.Unit("TeV-1 cm-2 s-1")}))
    >>> to_table(points, sed_type="e2dnde")["e2dnde"].unit
    Unit("erg / (s cm2)")
    """
    return flux_points_table(_as_type(points, sed_type, reference), format)


def to_fits(
    points: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    sed_type: str | None = None,
    format: str | None = None,  # noqa: A002
    reference: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write flux points, a flux profile or a light curve to a FITS or ECSV file, which gammapy reads, too.

    Parameters
    ----------
    points
        Flux points, dims (energy,), (region, energy) or (time, energy).
    path
        File that ends with ``.fits``, ``.fits.gz`` or ``.ecsv``.
    sed_type, format, reference
        As for `to_table`.
    overwrite
        Replace a file that is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If the name ends otherwise, or the layout or the SED type does not fit the points.
    FileExistsError
        If the file exists and `overwrite` is False.

    Examples
    --------
    >>> import astropy.units as u
    >>> from xgamma.io.flux_tables import flux_points_from_table, read_flux_points
    >>> points = flux_points_from_table(Table({"e_ref": [2.0] * u.TeV, "dnde": [1e-12] * u.Unit("TeV-1 cm-2 s-1")}))
    >>> read_flux_points(to_fits(points, "crab.fits", sed_type="e2dnde")).sed_type
    'e2dnde'
    """
    return write_flux_points(_as_type(points, sed_type, reference), path, format=format, overwrite=overwrite)


def _as_type(points: xr.Dataset, sed_type: str | None, reference: Any) -> xr.Dataset:
    if sed_type is None and reference is None:
        return points
    return to_sed_type(points, sed_type or sed_type_of(points), reference=reference)
