"""Flux points, flux profiles and light curves: tables and files into datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.table import Table
from scipy.stats import norm as normal

from xgamma.coords.bins import bin_axis
from xgamma.io.attrs import from_json
from xgamma.io.fits_cube import read_gti_hdu
from xgamma.io.fits_extras import ATTRS_HDU
from xgamma.io.fits_file import expand_path, open_fits
from xgamma.io.flux_axes import Rows, distance_coords, energy_of, time_coords
from xgamma.io.flux_layout import (
    COMMON,
    FLAGS,
    REFERENCES,
    THRESHOLD,
    VECTORS,
    check_sed_type,
    flux_attrs,
    guess_sed_type,
    limit_flags,
    value_names,
)

__all__ = ["LAYOUTS", "flux_points_from_table", "read_flux_points"]

#: Layouts of tables -> what makes the rows, if it is not energy.
LAYOUTS = {"gadf-sed": None, "profile": "region", "lightcurve": "time", "binned-time-series": "time"}
#: Entry of a table's `meta` with what the layouts have no place for, as JSON.
EXTRA = "xgamma"
#: Difference in seconds of times that are the same.
TIME_ATOL = 1e-4


def read_flux_points(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    sed_type: str | None = None,
    energy_edges: Any = None,
) -> xr.Dataset:
    """Read flux points, a flux profile or a light curve from a FITS or ECSV file.

    Parameters
    ----------
    path
        FITS file (table ``FLUXPOINTS``, or the first table) or ECSV file, recognised by content.
    format
        ``"gadf-sed"``, ``"profile"``, ``"lightcurve"`` or ``"binned-time-series"``; by default found from the columns.
    sed_type
        ``"dnde"``, ``"e2dnde"``, ``"flux"``, ``"eflux"`` or ``"likelihood"``; by default what the file says, or what
        its columns suggest.
    energy_edges
        Edges of the energy bins, quantities, where the file does not hold them (a binned-time-series of gammapy).

    Returns
    -------
    xarray.Dataset
        Dims (energy,), (region, energy) or (time, energy), in the SED type of the file; see `flux_points_from_table`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no flux points, or their energies, units or SED type are missing or contradict each other.

    Notes
    -----
    Layouts: `GADF <https://gamma-astro-data-formats.readthedocs.io/en/latest/spectra/flux_points/>`_ for spectra, and
    those of gammapy for light curves and profiles. Columns ``loglike`` are multiplied by two.

    Examples
    --------
    >>> import pathlib
    >>> _ = pathlib.Path("points.ecsv").write_text('''# %ECSV 1.0
    ... # ---
    ... # datatype:
    ... # - {name: e_ref, unit: GeV, datatype: float64}
    ... # - {name: dnde, unit: TeV-1 cm-2 s-1, datatype: float64}
    ... e_ref dnde
    ... 1000 1e-11
    ... ''')
    >>> read_flux_points("points.ecsv").dnde.sel(energy=1.0).item()
    1e-11
    """
    file = expand_path(path)
    if not file.exists():
        msg = f"there is no file {file}"
        raise FileNotFoundError(msg)
    if file.is_dir():
        msg = f"{file} is a folder; give the file with the flux points"
        raise IsADirectoryError(msg)
    with file.open("rb") as stream:
        start = stream.read(80)
    gti: dict[str, Any] = {}
    if start.lstrip().startswith(b"# %ECSV"):
        table = Table.read(file, format="ascii.ecsv")
    elif start.startswith((b"SIMPLE", b"\x1f\x8b")):
        table, gti = _read_fits(file)
    else:
        msg = f"{file} is neither a FITS nor an ECSV file; flux points are read from these"
        raise ValueError(msg)
    try:
        points = flux_points_from_table(table, format=format, sed_type=sed_type, energy_edges=energy_edges)
    except ValueError as error:
        msg = f"{file}: {error}"
        raise ValueError(msg) from error
    return points.assign(gti)


def _read_fits(file: Path) -> tuple[Table, dict[str, Any]]:
    """Return the table of flux points, and the good time intervals."""
    with open_fits(file) as hdus:
        tables = [h for h in hdus if h.header.get("XTENSION", "").strip() == "BINTABLE"]
        named = [h for h in tables if h.name == "FLUXPOINTS"]
        rest = [h for h in tables if h.name not in ("GTI", ATTRS_HDU) and not h.name.endswith("_BANDS")]
        if not named and not rest:
            msg = f"{file} holds no table of flux points, but {[h.name for h in hdus]}"
            raise ValueError(msg)
        # NaN stays NaN: a mask would not tell it from a missing flag
        table = Table.read((named or rest)[0], mask_invalid=False)
        names = [h.name for h in hdus]
        gti = read_gti_hdu(hdus["GTI"], str(file)) if "GTI" in names else {}
        if ATTRS_HDU in names:
            table.meta[EXTRA] = str(hdus[ATTRS_HDU].data["JSON"][0])
    return table, gti


def flux_points_from_table(
    table: Table,
    *,
    format: str | None = None,  # noqa: A002
    sed_type: str | None = None,
    energy_edges: Any = None,
) -> xr.Dataset:
    """Make a dataset of a table of flux points, of a flux profile or of a light curve.

    Parameters
    ----------
    table
        Columns ``e_ref``, or ``e_min`` and ``e_max``, with the values of a SED type. A profile has ``x_min`` and
        ``x_max`` for each row and vectors over energy, a light curve ``time_min`` and ``time_max``.
    format
        ``"gadf-sed"``, ``"profile"``, ``"lightcurve"`` or ``"binned-time-series"``; by default found from the columns.
    sed_type
        By default what ``meta["SED_TYPE"]`` says, or what the columns suggest.
    energy_edges
        Edges of the energy bins, quantities, for a table without energies.

    Returns
    -------
    xarray.Dataset
        Dims ([region or time,] energy): values in canonical units, ``ts``, ``sqrt_ts``, ``is_ul`` and what else is
        there; ``npred``, ``npred_excess`` and ``counts`` may have the dim ``dataset``, ``stat_scan`` has the dim
        ``scan`` with the norms as coordinate ``norm_scan``. Points without bins of energy have bins of no width.
        Profiles have the coordinates ``distance``, ``distance_min`` and ``distance_max`` on the dim ``region``; times
        are seconds since J2000.0 (TT). Rows come in order of energy or time.

    Raises
    ------
    ValueError
        If energies, values, units or times are missing, or the SED type does not fit the columns.

    Examples
    --------
    >>> import astropy.units as u
    >>> table = Table({"e_ref": [1.0, 2.0] * u.TeV, "e2dnde_ul": [3e-12, 2e-12] * u.Unit("erg cm-2 s-1")})
    >>> points = flux_points_from_table(table)
    >>> points.sed_type, points.is_ul.values
    ('e2dnde', array([ True,  True]))
    """
    table = _lower_case(table)
    layout = _layout(table, format)
    rows = Rows(_sorted(table, layout), LAYOUTS[layout])
    axis = energy_of(rows, layout, energy_edges)
    found = _find_sed_type(table, sed_type, bins=bool((axis["energy_max"] > axis["energy_min"]).all()))
    extra = from_json(str(table.meta.get(EXTRA, "{}")), f"meta[{EXTRA!r}]")
    points = xr.Dataset(coords=axis.coords)
    if rows.outer == "time":
        points = points.assign_coords(time_coords(rows.table, layout))
    elif rows.outer == "region":
        points = points.assign_coords(distance_coords(rows.table))
    points = points.assign(_variables(rows, found))
    if "norm_scan" in points:
        points = points.set_coords("norm_scan")
    points.attrs = {"sed_type": found, "sqrt_ts_threshold_ul": THRESHOLD, **_sigma_of_limit(table.meta)}
    return _with_extra(_complete(points), extra)


def _lower_case(table: Table) -> Table:
    result = table.copy(copy_data=False)
    for name in table.colnames:
        if name != name.lower() and name.lower() not in table.colnames:
            result.rename_column(name, name.lower())
    return result


def _sorted(table: Table, layout: str) -> Table:
    """Return the rows in ascending order of energy or time."""
    key = {"gadf-sed": "e_ref" if "e_ref" in table.colnames else "e_min", "lightcurve": "time_min"}.get(layout)
    if key not in table.colnames or getattr(table[key], "ndim", 1) != 1:
        return table
    return table[np.argsort(table[key], kind="stable")]


def _layout(table: Table, asked: str | None) -> str:
    if asked is not None:
        if asked not in LAYOUTS:
            msg = f"format={asked!r} is not known; it must be one of {list(LAYOUTS)}"
            raise ValueError(msg)
        return asked
    for column, layout in (("time_bin_start", "binned-time-series"), ("time_min", "lightcurve"), ("x_min", "profile")):
        if column in table.colnames:
            return layout
    return "gadf-sed"


def _find_sed_type(table: Table, asked: str | None, bins: bool) -> str:
    names = set(table.colnames)
    guess = guess_sed_type(names, bins)
    stated = asked if asked is not None else table.meta.get("SED_TYPE")
    if stated is None:
        if guess is None:
            msg = f"no values of a SED type among the columns {table.colnames}: dnde, e2dnde, flux, eflux or norm"
            raise ValueError(msg)
        return guess
    sed_type = check_sed_type(str(stated).strip(), "sed_type" if asked is not None else "SED_TYPE")
    value, limit = value_names(sed_type)[0], value_names(sed_type)[4]
    if value not in names and limit not in names:
        hint = "" if guess is None else f"; the columns are those of {guess!r}: pass sed_type={guess!r}"
        msg = f"SED type {sed_type!r} needs a column {value!r} or {limit!r}{hint}"
        raise ValueError(msg)
    return sed_type


def _variables(rows: Rows, sed_type: str) -> dict[str, xr.Variable]:
    """Return all variables of the table that have a place in flux points."""
    base = ("energy",) if rows.outer is None else (rows.outer, "energy")
    result: dict[str, xr.Variable] = {}
    for name in (*value_names(sed_type), *REFERENCES, *COMMON):
        if name in rows.table.colnames:
            attrs = flux_attrs(name)
            result[name] = _variable(name, rows.cells(name, attrs["units"] or None), base, attrs)
    for name, source in (("stat", "loglike"), ("stat_null", "loglike_null")):
        if name not in result and source in rows.table.colnames:
            result[name] = _variable(name, 2.0 * rows.cells(source), base, flux_attrs(name))
    return _drop_rows(_scan(rows, base, result), rows.outer)


def _variable(name: str, values: np.ndarray, base: tuple[str, ...], attrs: dict[str, str]) -> xr.Variable:
    vector = values.ndim - len(base)
    if vector not in (0, 1) or (vector == 1 and name not in VECTORS):
        msg = f"column {name!r} has cells of shape {values.shape[1:]}; it should have one number for each energy"
        raise ValueError(msg)
    dims = (*base, VECTORS[name]) if vector else base
    if name in FLAGS:
        return xr.Variable(dims, np.nan_to_num(values) != 0, attrs)
    return xr.Variable(dims, np.ascontiguousarray(values, dtype=float), attrs)


def _scan(rows: Rows, base: tuple[str, ...], result: dict[str, xr.Variable]) -> dict[str, xr.Variable]:
    """Complete the profile of the statistic: norms that are the same for all points stand once."""
    if "stat_scan" not in result and "dloglike_scan" in rows.table.colnames and "stat" in result:
        # writers differ in the sign of the difference; the statistic rises on both sides of its minimum
        rise = 2.0 * np.abs(rows.cells("dloglike_scan"))
        result["stat_scan"] = _variable(
            "stat_scan", rise + result["stat"].values[..., None], base, flux_attrs("stat_scan")
        )
    norms = result.get("norm_scan")
    if norms is None or "scan" not in norms.dims:
        return {n: v for n, v in result.items() if n not in ("norm_scan", "stat_scan")}
    flat = norms.values.reshape(-1, norms.shape[-1])
    if len(flat) and np.array_equal(flat, np.broadcast_to(flat[0], flat.shape)):
        result["norm_scan"] = xr.Variable(("scan",), flat[0].copy(), norms.attrs)
    return result


def _drop_rows(result: dict[str, xr.Variable], outer: str | None) -> dict[str, xr.Variable]:
    """Give the fluxes of the reference, which are the same in all rows, the dim of energies alone."""
    if outer is not None:
        for name in REFERENCES:
            if name in result and len(result[name]):
                values = result[name].values
                same = np.allclose(values, values[:1], rtol=1e-12, atol=0, equal_nan=True)
                result[name] = result[name][0] if same else result[name]
    return result


def _sigma_of_limit(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the standard deviations of the limits; the confidence in a header has seven digits."""
    confidence = meta.get("UL_CONF")
    if confidence is None:
        return {}
    if not 0 < float(confidence) < 1:
        msg = f"UL_CONF={confidence!r} must be a probability between 0 and 1"
        raise ValueError(msg)
    return {"n_sigma_ul": round(float(normal.isf(0.5 * (1.0 - float(confidence)))), 1)}


def _complete(points: xr.Dataset) -> xr.Dataset:
    """Add significance and flags of limits, where they follow from the rest."""
    value = value_names(points.attrs["sed_type"])[0]
    if "sqrt_ts" not in points and "ts" in points:
        size = points["ts"].clip(min=0.0) ** 0.5
        signed = size.copy(data=np.copysign(size.values, points[value].values)) if value in points else size
        points["sqrt_ts"] = signed.assign_attrs(flux_attrs("sqrt_ts"))
    if "is_ul" not in points:
        points["is_ul"] = limit_flags(points)
    return points


def _with_extra(points: xr.Dataset, extra: Mapping[str, Any]) -> xr.Dataset:
    """Put back what xgamma wrote beside the columns: attributes, labels, scalar coordinates."""
    points.attrs.update(extra.get("attrs", {}))
    summed = [n for n in extra.get("summed", ()) if n in points and points[n].sizes.get("dataset") == 1]
    points = points.assign({n: points[n].variable.isel(dataset=0) for n in summed})
    coords = {
        name: xr.Variable(tuple(item["dims"]), np.array(item["values"]), item["attrs"])
        for name, item in extra.get("coords", {}).items()
        if all(d in points.sizes and points.sizes[d] == len(item["values"]) for d in item["dims"])
    }
    return _exact_times(points, extra.get("seconds", {})).assign_coords(coords)


def _exact_times(points: xr.Dataset, seconds: Mapping[str, Any]) -> xr.Dataset:
    """Put back times that the columns hold to a microsecond, where the rows are still those that were written."""
    names = ("time_min", "time_max", "time")
    exact = {n: np.array(seconds.get(n, [])) for n in names}
    if not all(exact[n].shape == points[n].shape for n in names if n in points.coords) or "time" not in points.dims:
        return points
    if not all(np.allclose(exact[n], points[n].values, rtol=0, atol=TIME_ATOL) for n in names):
        return points
    attrs = points["time"].attrs
    axis = bin_axis("time", exact["time_min"], exact["time_max"], "s", "lin", exact["time"], attrs.get("long_name"))
    return points.drop_vars(names).assign_coords(axis.coords)
