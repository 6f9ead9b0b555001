"""Flux points, flux profiles and light curves: datasets into tables and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time, TimeDelta
from scipy.stats import norm as normal

from xgamma.coords.bins import axis_of
from xgamma.io.atomic import atomic_path
from xgamma.io.attrs import to_json
from xgamma.io.fits_extras import ATTRS_HDU, gti_hdu
from xgamma.io.fits_time import DAY, J2000
from xgamma.io.flux_layout import COMMON, PER_DATASET, REFERENCES, VECTORS, limit_flags, sed_type_of, value_names
from xgamma.io.flux_tables import EXTRA, LAYOUTS

__all__ = ["flux_points_table", "write_flux_points"]

#: MJD of J2000.0 (TT).
MJD_J2000 = J2000 - 2400000.5


def flux_points_table(points: xr.Dataset, format: str | None = None) -> Table:  # noqa: A002
    """Make a table of flux points in the SED type that they have; this computes lazy points.

    Parameters
    ----------
    points
        Flux points, dims (energy,), (region, energy) or (time, energy), and ``dataset`` or ``scan`` behind.
    format
        ``"gadf-sed"``, ``"profile"``, ``"lightcurve"`` or ``"binned-time-series"``; by default by the dims.

    Returns
    -------
    astropy.table.Table
        A row for each energy, or for each region or time with vectors over energy.

    Raises
    ------
    ValueError
        If the layout does not fit the dims.

    Examples
    --------
    >>> from xgamma.io.flux_tables import flux_points_from_table
    >>> points = flux_points_from_table(Table({"e_ref": [1.0] * u.TeV, "dnde": [3e-12] * u.Unit("TeV-1 cm-2 s-1")}))
    >>> flux_points_table(points).colnames
    ['e_ref', 'dnde', 'is_ul']
    """
    sed_type = sed_type_of(points)
    layout = _layout(points, format)
    # all at once: columns one by one would read and solve everything again for each of them
    points = points.compute()
    outer = LAYOUTS[layout]
    table = Table()
    table.meta.update(_meta(points, sed_type))
    if layout == "binned-time-series":
        _time_bins(points, table)
    elif outer == "time":
        for name in ("time_min", "time_max"):
            table[name] = MJD_J2000 + points[name].values / DAY
        table.meta.update(MJDREFI=0, MJDREFF=0.0, TIMESYS="tt", TIMEUNIT="d")
    elif outer == "region":
        for column, name in (("x_min", "distance_min"), ("x_max", "distance_max"), ("x_ref", "distance")):
            table[column] = u.Quantity(points[name].values, points[name].attrs.get("units", "deg"))
    if layout != "binned-time-series":
        _energies(points, table, outer)
        points = _one_dataset(points)
    for name in (*REFERENCES, *value_names(sed_type), *COMMON):
        if name in points.variables:
            _column(table, points, name, outer, squeeze=layout == "binned-time-series")
    if "is_ul" not in points:
        _column(table, points.assign(is_ul=limit_flags(points)), "is_ul", outer, layout == "binned-time-series")
    return table


def write_flux_points(
    points: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    overwrite: bool = False,
) -> Path:
    """Write flux points to a FITS or ECSV file, in the SED type that they have.

    Parameters
    ----------
    points
        Flux points; see `flux_points_table`.
    path
        File that ends with ``.fits``, ``.fits.gz`` or ``.ecsv``.
    format
        Layout of the table, as for `flux_points_table`.
    overwrite
        Replace a file that is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If the name ends otherwise, or the layout does not fit.
    FileExistsError
        If the file exists and `overwrite` is False.

    Examples
    --------
    >>> from xgamma.io.flux_tables import flux_points_from_table, read_flux_points
    >>> points = flux_points_from_table(Table({"e_ref": [1.0] * u.TeV, "dnde": [3e-12] * u.Unit("TeV-1 cm-2 s-1")}))
    >>> read_flux_points(write_flux_points(points, "points.fits")).identical(points)
    True
    """
    name = Path(path).name.lower()
    table = flux_points_table(points, format)
    if name.endswith(".ecsv"):
        with atomic_path(path, overwrite) as temporary:
            table.write(temporary, format="ascii.ecsv")
        return Path(path)
    if not name.endswith((".fits", ".fits.gz", ".fit", ".fit.gz")):
        msg = f"{name!r} ends neither with .fits or .fits.gz nor with .ecsv; flux points are written as these"
        raise ValueError(msg)
    if "time_bin_start" in table.colnames:
        msg = "a binned-time-series is written as ECSV; give a name that ends with .ecsv, or format='lightcurve'"
        raise ValueError(msg)
    extra = table.meta.pop(EXTRA)
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="FLUXPOINTS")])
    if "gti_start" in points.variables:
        hdus.append(gti_hdu(points))
    column = fits.Column("JSON", f"{len(extra)}A", array=[extra])
    hdus.append(fits.BinTableHDU.from_columns([column], name=ATTRS_HDU))
    with atomic_path(path, overwrite) as temporary:
        hdus.writeto(temporary)
    return Path(path)


def _layout(points: xr.Dataset, asked: str | None) -> str:
    dims = {str(d) for d in points[_any_value(points)].dims}
    layout = asked or ("lightcurve" if "time" in dims else "profile" if "region" in dims else "gadf-sed")
    if layout not in LAYOUTS:
        msg = f"format={asked!r} is not known; it must be one of {list(LAYOUTS)}"
        raise ValueError(msg)
    wanted = {"energy"} | {d for d in (LAYOUTS[layout],) if d is not None}
    if dims != wanted:
        more = sorted(dims - wanted)
        hint = f"; select one of {more}, for example points.isel({more[0]}=0)" if more else ""
        msg = f"the layout {layout!r} is for flux points with the dims {sorted(wanted)}, not {sorted(dims)}{hint}"
        raise ValueError(msg)
    if layout == "profile" and "distance" not in points.coords:
        msg = (
            "the layout 'profile' needs the coordinates distance, distance_min and distance_max on the dim 'region'; "
            "points of regions that lie anywhere are written one by one: points.isel(region=0)"
        )
        raise ValueError(msg)
    return layout


def _any_value(points: xr.Dataset) -> str:
    names = value_names(sed_type_of(points))
    return names[0] if names[0] in points else names[4]


def _meta(points: xr.Dataset, sed_type: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"SED_TYPE": sed_type}
    n_sigma_ul = points.attrs.get("n_sigma_ul")
    if n_sigma_ul is not None:
        meta["UL_CONF"] = round(float(1.0 - 2.0 * normal.sf(n_sigma_ul)), 7)
    extra: dict[str, Any] = {"attrs": {str(k): v for k, v in points.attrs.items()}, "coords": _labels(points)}
    if _summed(points):
        extra["summed"] = _summed(points)
    if "time" in points.dims:
        # a Julian date in a column is a microsecond wide
        extra["seconds"] = {n: points[n].values.tolist() for n in ("time_min", "time_max", "time")}
    meta[EXTRA] = to_json(extra, "attrs")
    return meta


def _summed(points: xr.Dataset) -> list[str]:
    """Numbers that are summed over datasets, which gammapy expects for each dataset."""
    if "dataset" in points.dims:
        return []
    return [n for n in PER_DATASET if n in points.data_vars]


def _one_dataset(points: xr.Dataset) -> xr.Dataset:
    """Give sums over datasets the dim of one dataset: otherwise gammapy takes the energies for datasets."""
    return points.assign({n: points[n].expand_dims("dataset", axis=-1) for n in _summed(points)})


def _labels(points: xr.Dataset) -> dict[str, Any]:
    """Coordinates that no column holds: names of datasets, regions, labels of a single run."""
    held = {"energy", "energy_min", "energy_max", "time", "time_min", "time_max", "norm_scan"}
    held |= {"distance", "distance_min", "distance_max"} | ({"energy"} & set(points.dims))
    result = {}
    for name, c in points.coords.items():
        if str(name) in held or c.ndim > 1 or c.dtype.kind not in "biufUO" or str(name).startswith("gti"):
            continue
        values = c.values.tolist()
        result[str(name)] = {"dims": [str(d) for d in c.dims], "values": values, "attrs": c.attrs}
    return result


def _energies(points: xr.Dataset, table: Table, outer: str | None) -> None:
    axis = axis_of(points, "energy")
    columns = {"e_ref": axis.values, "e_min": axis["energy_min"].values, "e_max": axis["energy_max"].values}
    if not (columns["e_max"] > columns["e_min"]).all():
        columns = {"e_ref": columns["e_ref"]}
    for name, values in columns.items():
        cells = values if outer is None else np.broadcast_to(values, (points.sizes[outer], len(values)))
        table[name] = u.Quantity(cells, axis.attrs["units"])


def _column(table: Table, points: xr.Dataset, name: str, outer: str | None, squeeze: bool) -> None:
    """Add a variable with the dims (rows, energy, vector)."""
    variable = points.variables[name]
    dims = [d for d in (outer, "energy") if d is not None]
    behind = [d for d in variable.dims if d not in dims]
    if behind and (len(behind) > 1 or name not in VECTORS):
        msg = f"{name!r} has the dims {variable.dims}, for which the table has no place; select along {behind}"
        raise ValueError(msg)
    sizes = {d: points.sizes[d] for d in dims} | {d: variable.sizes[d] for d in behind}
    # what is the same for all rows stands in each of them
    values = np.asarray(variable.set_dims(sizes).transpose(*dims, *behind).values)
    if squeeze:
        values = values[:, 0]
    unit = variable.attrs.get("units", "")
    table[name] = u.Quantity(values, unit) if unit else values


def _time_bins(points: xr.Dataset, table: Table) -> None:
    """Add the columns of astropy's BinnedTimeSeries, and the energies to the meta."""
    if points.sizes["energy"] != 1:
        msg = (
            f"the layout 'binned-time-series' has one value for each time, not {points.sizes['energy']}: "
            "select one with isel(energy=[0]), or write format='lightcurve'"
        )
        raise ValueError(msg)
    start = points["time_min"].values
    table["time_bin_start"] = Time(J2000, start / DAY, format="jd", scale="tt")
    table["time_bin_size"] = TimeDelta((points["time_max"].values - start) / DAY, format="jd", scale="tt")
    axis = axis_of(points, "energy")
    for name, values in (("e_ref", axis), ("e_min", axis["energy_min"]), ("e_max", axis["energy_max"])):
        table.meta[name] = f"{float(values.values[0])!r} {axis.attrs['units']}"
