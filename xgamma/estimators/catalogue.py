"""From a cube to a table of sources: TS map, peaks, positions, fluxes, tile by tile."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.table import Table

from xgamma.estimators.peaks import find_peaks
from xgamma.estimators.sed import to_sed_type
from xgamma.estimators.ts_map import ts_map
from xgamma.fitting.cubes import Cubes

__all__ = ["source_catalogue"]

#: Columns of a source, in order, where they are made; the flux and what belongs to it come behind.
COLUMNS = ("sqrt_ts", "ts", "npred_excess", "counts")
#: Columns of fluxes and their description.
FLUXES = {
    "flux": "Integral flux",
    "flux_err": "Error of the flux, from the curvature of the likelihood",
    "flux_errn": "Lower error of the flux",
    "flux_errp": "Upper error of the flux",
    "flux_ul": "Upper limit of the flux",
}
#: What of a TS map makes them.
NORMS = tuple(name.replace("flux", "norm") for name in FLUXES)
REFERENCES = ("ref_flux",)


def source_catalogue(
    cubes: Cubes,
    model: Any = None,
    *,
    threshold: float = 5.0,
    min_distance: Any = "0.3 deg",
    energy_edges: Any = None,
    acronym: str = "XG",
    selection: Any = ("errn-errp", "ul"),
    **options: Any,
) -> Table:
    """Find the sources of a map and measure their fluxes.

    Parameters
    ----------
    cubes, model
        As for `~xgamma.estimators.ts_map.ts_map`; or TS maps that it made, with one energy group.
    threshold, min_distance
        Least significance of a source and least distance between two, as for `~xgamma.estimators.peaks.find_peaks`.
    energy_edges
        Edges of energy bands, shape (n + 1,), in which fluxes are measured, too; sources are found in all energies
        together.
    acronym
        Begins the names, as ``"XG J1745-2900"``.
    selection, **options
        Passed on to `~xgamma.estimators.ts_map.ts_map`.

    Returns
    -------
    astropy.table.Table
        A row for each source, the most significant first: ``name``, ``ra``, ``dec``, ``glon``, ``glat``, ``pos_err``
        (radius of 68 %, statistical), ``sqrt_ts``, ``ts``, ``npred_excess`` and ``counts`` in the window, ``flux`` with
        its errors and limit in cm-2 s-1. With bands: ``band_sqrt_ts``, ``band_flux``, ..., ``band_emin``,
        ``band_emax`` with one element a band. Writable as FITS or ECSV.

    Raises
    ------
    ValueError
        If TS maps hold several energy groups or none of the arguments fit the cube.

    Notes
    -----
    The map of a lazy cube is made, searched and left behind tile by tile; tiles with sources are read again for their
    fluxes, which are fitted at the peaks alone. All fluxes are those of the pixel next to the
    position, with each source as if it was alone: neighbours within the window of the kernel raise them. Fit
    crowded fields with the sources found here as the start of a model; TS maps take known ones as ``models=``.

    Examples
    --------
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> center = SkyCoord(266.4, -29.0, unit="deg")
    >>> cube = xg.sky_grid(center, "1.1 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> cube["background"] = ("energy", "y", "x"), np.full((1, 11, 11), 0.5)
    >>> cube["exposure"] = ("energy_true", "y", "x"), np.full((1, 11, 11), 1e13)
    >>> cube["psf"] = ("energy_true", "rad"), [np.exp(-0.5 * (cube.rad.values / 0.1) ** 2)]
    >>> cube["counts"] = cube.background.round() * 0
    >>> cube["counts"][0, 4:7, 4:7] = 3
    >>> source_catalogue(cube, kernel_width="0.7 deg")["name"][0]
    np.str_('XG J1745-2900')
    """
    maps = _detection(cubes, model, options, energy_edges)
    peaks = find_peaks(maps, threshold, min_distance)
    icrs = SkyCoord(peaks["ra"].quantity, peaks["dec"].quantity)
    low, high = (float(maps[f"energy_{end}"].values[0]) for end in ("min", "max"))
    # keys that FITS takes as they are
    table = Table(meta={"THRESH": float(threshold), "MIN_DIST": str(min_distance), "E_MIN": low, "E_MAX": high})
    table.meta["MODEL"] = str(maps.attrs.get("model", ""))
    table["name"] = np.array([f"{acronym} {_designation(p)}".strip() for p in icrs], dtype=np.str_)
    for name, values, text in (
        ("ra", icrs.ra, "Right ascension (ICRS)"),
        ("dec", icrs.dec, "Declination (ICRS)"),
        ("glon", icrs.galactic.l, "Galactic longitude"),
        ("glat", icrs.galactic.b, "Galactic latitude"),
        ("pos_err", peaks["pos_err"].quantity, "Radius of 68 % of the position, statistical"),
    ):
        table[name] = values.to(u.deg)
        table[name].description = text
    pixels = _pixels(peaks)
    if maps is cubes:
        _add(table, _at(maps, pixels), "")
        return table
    where = _where(pixels, maps)
    _add(table, _at(ts_map(cubes, model, selection=selection, where=where, **options), pixels), "")
    if energy_edges is not None:
        bands = ts_map(cubes, model, selection=selection, where=where, energy_edges=energy_edges, **options)
        _add(table, _at(bands, pixels), "band_")
        for end in ("min", "max"):
            edges = np.broadcast_to(bands[f"energy_{end}"].values, (len(table), bands.sizes["energy"]))
            table[f"band_e{end}"] = edges.copy() * u.TeV
    return table


def _detection(cubes: Any, model: Any, options: dict[str, Any], energy_edges: Any) -> xr.Dataset:
    """TS map of all energies."""
    if isinstance(cubes, xr.Dataset) and "sqrt_ts" in cubes:
        if model is not None or options or energy_edges is not None:
            msg = "these are TS maps already: model, energy_edges and options of the map need the cube"
            raise ValueError(msg)
        maps = cubes
    else:
        maps = ts_map(cubes, model, **options)
        maps = maps[["ts", "sqrt_ts"]]
    if "ts" not in maps or maps["ts"].sizes.get("energy") != 1:
        msg = "a catalogue needs 'ts' and 'sqrt_ts' with one energy group: ts_map(cube) without energy_edges"
        raise ValueError(msg)
    return maps


def _pixels(peaks: Table) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the arrays of the pixels that hold the peaks."""
    return np.asarray(peaks["row"]), np.asarray(peaks["column"])


def _where(pixels: tuple[np.ndarray, np.ndarray], maps: xr.Dataset) -> xr.DataArray:
    where = np.zeros((maps.sizes["y"], maps.sizes["x"]), dtype=bool)
    where[pixels] = True
    return maps["ts"].isel(energy=0, drop=True).copy(data=where)


def _at(maps: xr.Dataset, pixels: tuple[np.ndarray, np.ndarray]) -> xr.Dataset:
    """Fluxes and counts at pixels, dims (energy, source); of a lazy map only tiles with sources are computed."""
    names = [n for n in (*COLUMNS, *NORMS, *REFERENCES) if n in maps]
    place = {d: xr.Variable("source", p) for d, p in zip(("y", "x"), pixels, strict=True)}
    chosen = maps[names].drop_vars([n for n in ("y", "x", "lon", "lat", "wcs") if n in maps.coords]).isel(place)
    return to_sed_type(chosen.load(), "flux")


def _add(table: Table, values: xr.Dataset, prefix: str) -> None:
    for name in (*COLUMNS, *FLUXES):
        if name in values:
            column = values[name].transpose("source", "energy").values
            units = values[name].attrs.get("units", "")
            table[f"{prefix}{name}"] = u.Quantity(column if prefix else column[:, 0], units) if units else (
                column if prefix else column[:, 0]
            )  # fmt: skip
            table[f"{prefix}{name}"].description = FLUXES.get(name, values[name].attrs.get("long_name", name))


def _designation(position: SkyCoord) -> str:
    """Name of a position as IAU recommends it, truncated and not rounded: ``J1745-2900``."""
    hours, degrees = float(position.ra.hour), float(position.dec.deg)
    # angles of whole minutes come out a rounding error short of them
    minutes = int(np.floor(hours * 60 + 1e-9)) % 1440
    arcmin = int(np.floor(abs(degrees) * 60 + 1e-9))
    sign = "-" if degrees < 0 else "+"
    return f"J{minutes // 60:02d}{minutes % 60:02d}{sign}{arcmin // 60:02d}{arcmin % 60:02d}"
