"""One OGIP spectrum with its response and background files, as a cube without dimension obs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import bin_axis
from xgamma.io.attrs import from_json
from xgamma.io.fits_cube import read_gti_hdu
from xgamma.io.fits_extras import ATTRS_HDU, GTI_VARIABLES
from xgamma.io.fits_file import find_column, open_fits, read_column
from xgamma.io.fits_region import join_regions, read_regions, region_coords, with_off_regions
from xgamma.io.ogip_counts import Counts, read_counts
from xgamma.io.ogip_matrix import ResponseMatrix, read_matrix
from xgamma.io.ogip_tables import Channels, channel_numbers, energy_bins, find_hdu, read_channels, same_energies

__all__ = ["Spectrum", "read_spectrum", "spectrum_hdu"]

#: What stands in a card that names no file.
NO_FILE = ("", "none", "unknown")
#: Card, argument and content of the files that belong to a spectrum.
COMPANIONS = {
    "ANCRFILE": ("arf", "the effective area"),
    "RESPFILE": ("rmf", "the energy dispersion"),
    "BACKFILE": ("background", "the off counts"),
}
#: Labels and units of the variables that a file gives.
LABELS = {
    "counts": ("", "Counts"),
    "counts_off": ("", "Off counts"),
    "acceptance": ("", "Acceptance"),
    "acceptance_off": ("", "Off acceptance"),
    "background": ("", "Background"),
    "mask_safe": ("", "Safe data range"),
    "exposure": ("cm2 s", "Exposure"),
    "edisp": ("", "Energy dispersion"),
    "livetime": ("s", "Livetime"),
    "ontime": ("s", "Ontime"),
    "pointing_lon": ("deg", "Right ascension of the pointing"),
    "pointing_lat": ("deg", "Declination of the pointing"),
}
#: Cards of the header that become variables where the file has no table of our own.
CARDS = {"ONTIME": "ontime", "RA_PNT": "pointing_lon", "DEC_PNT": "pointing_lat"}


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A spectrum as read: the cube, its name, and what our own table says beyond the cube.

    Parameters
    ----------
    path
        The PHA file.
    cube
        Without dimension obs.
    label
        OBS_ID, or what the file is called.
    layout
        How the cube was cut into files, where xgamma wrote it.
    """

    path: Path
    cube: xr.Dataset
    label: str
    layout: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Pha:
    """Content of the PHA file alone."""

    counts: Counts
    channels: Channels | None
    header: fits.Header
    stored: dict[str, Any]
    columns: dict[str, np.ndarray]
    tables: dict[str, Any]
    regions: list[str]


def spectrum_hdu(hdus: fits.HDUList, where: str) -> fits.BinTableHDU:
    """Return the SPECTRUM extension of an open PHA file."""
    return find_hdu(hdus, ("SPECTRUM",), "SPECTRUM", where)


def read_spectrum(
    path: Path,
    arf: str | os.PathLike[str] | None = None,
    rmf: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
) -> Spectrum:
    """Read a PHA file and the files that it names.

    Parameters
    ----------
    path
        PHA file.
    arf, rmf, background
        Files to take in place of those that its header names.

    Returns
    -------
    Spectrum

    Raises
    ------
    FileNotFoundError
        If one of the files is not there.
    OSError
        If one is truncated or not FITS.
    ValueError
        If the content is not a Poisson spectrum, or the files contradict one another.
    """
    pha = _read_pha(path)
    files = {
        card: _companion(path, pha.header, card, given)
        for card, given in (("ANCRFILE", arf), ("RESPFILE", rmf), ("BACKFILE", background))
    }
    matrix = None if files["RESPFILE"] is None else read_matrix(files["RESPFILE"])
    channels = _channels(pha, matrix, path)
    variables: dict[str, Any] = {
        "counts": ("energy", channels.ascending(pha.counts.values)),
        "mask_safe": ("energy", channels.ascending(pha.counts.good)),
        "acceptance": ("energy", channels.ascending(pha.counts.backscal)),
        "livetime": ((), pha.counts.exposure),
    }
    off_regions: list[str] = []
    if files["BACKFILE"] is not None:
        new, off_regions = _background(pha, files["BACKFILE"], channels)
        variables |= new
    axis, response = _response(pha.counts, files["ANCRFILE"], matrix, channels, path)
    variables |= response
    energy = _axis("energy", channels.lo, channels.hi)
    cube = xr.Dataset(coords=energy.coords).assign_coords(axis.coords).assign(variables)
    for name, (units, label) in LABELS.items():
        if name in cube:
            cube[name].attrs = {"units": units, "long_name": label}
    cube = cube.assign(pha.tables)
    label, names = _label(path, pha.header)
    cube = _own(cube, pha, channels) if pha.stored else _foreign(cube, pha, off_regions, label, names)
    return Spectrum(path, cube, label, pha.stored.get("ogip", {}))


def _read_pha(path: Path) -> _Pha:
    name = os.fspath(path)
    with open_fits(path) as hdus:
        table = spectrum_hdu(hdus, name)
        counts = read_counts(table, name)
        names = {h.name.upper(): h for h in hdus}
        channels = read_channels(names["EBOUNDS"], name) if "EBOUNDS" in names else None
        _same_channels(table, channels, name)
        stored: dict[str, Any] = {}
        if ATTRS_HDU in names:
            stored = from_json(str(names[ATTRS_HDU].data["JSON"][0]), ATTRS_HDU)
        columns = {}
        for variable, said in stored.get("ogip", {}).get("columns", {}).items():
            columns[variable] = read_column(table, said["column"], unit="", assume="", where=name)
        tables = read_gti_hdu(names["GTI"], name) if "GTI" in names else {}
        # our own table has the text itself
        regions = read_regions(names["REGION"], name) if "REGION" in names and not stored else []
        return _Pha(counts, channels, table.header.copy(), stored, columns, tables, regions)


def _same_channels(table: fits.BinTableHDU, channels: Channels | None, where: str) -> None:
    """Check that a spectrum has the channels of EBOUNDS."""
    numbers = channel_numbers(table, where)
    if channels is None:
        return
    rows = len(table.data)
    first = channels.first if numbers is None else int(numbers[0])
    if (first, rows) != (channels.first, channels.size):
        msg = (
            f"{where}: SPECTRUM has channels {first} to {first + rows - 1}, EBOUNDS {channels.first} to "
            f"{channels.first + channels.size - 1}; they must be the same"
        )
        raise ValueError(msg)


def _companion(pha: Path, header: fits.Header, card: str, given: str | os.PathLike[str] | None) -> Path | None:
    """Find a file that the header of a spectrum names, beside the spectrum first."""
    argument, what = COMPANIONS[card]
    if given is not None:
        place = Path(os.path.abspath(os.path.expanduser(os.path.expandvars(given))))
        if not place.is_file():
            msg = f"{argument}={os.fspath(given)!r}: there is no file {place}"
            raise FileNotFoundError(msg)
        return place
    value = re.sub(r"(\[[^\]]*\]|\{\d+\})$", "", str(header.get(card, "") or "").strip())
    if value.lower() in NO_FILE:
        return None
    places = [pha.parent / value, pha.parent / Path(value).name]
    for place in places:
        for candidate in (place, place.with_name(f"{place.name}.gz")):
            if candidate.is_file():
                return candidate
    msg = (
        f"{pha}: its card {card} names {value!r} for {what}, but there is no file {places[0]}; put it there, or pass "
        f"{argument}= with its path"
    )
    raise FileNotFoundError(msg)


def _channels(pha: _Pha, matrix: ResponseMatrix | None, path: Path) -> Channels:
    """Energies of the channels: of the spectrum where it has them, else of its RMF."""
    if pha.channels is None and matrix is None:
        msg = f"{path} has no extension EBOUNDS and names no RESPFILE: the energies of its channels are not known"
        raise ValueError(msg)
    if matrix is None:
        return pha.channels  # type: ignore[return-value]
    if pha.channels is None:
        with open_fits(path) as hdus:
            _same_channels(spectrum_hdu(hdus, os.fspath(path)), matrix.channels, os.fspath(path))
        return matrix.channels
    ours, theirs = pha.channels, matrix.channels
    if not (same_energies(ours.lo, theirs.lo) and same_energies(ours.hi, theirs.hi)):
        msg = (
            f"{path}: its EBOUNDS ({_range(ours.lo, ours.hi)}) differs from that of its RESPFILE "
            f"({_range(theirs.lo, theirs.hi)})"
        )
        raise ValueError(msg)
    return ours


def _range(lo: np.ndarray, hi: np.ndarray) -> str:
    return f"{len(lo)} bins, {lo.min():.6g} to {hi.max():.6g} TeV"


def _axis(name: str, lo: np.ndarray, hi: np.ndarray) -> xr.DataArray:
    # an axis from 0 has no logarithm
    label = "True energy" if name == "energy_true" else "Energy"
    return bin_axis(name, lo, hi, "TeV", interp="log" if lo[0] > 0 else "lin", long_name=label)


def _background(pha: _Pha, path: Path, channels: Channels) -> tuple[dict[str, Any], list[str]]:
    """Variables of the background file, and the regions where it was counted."""
    name, on = os.fspath(path), pha.counts
    with open_fits(path) as hdus:
        table = spectrum_hdu(hdus, name)
        off = read_counts(table, name, background=True)
        _same_channels(table, channels, name)
        regions = [read_regions(h, name) for h in hdus if h.name.upper() == "REGION" and not pha.stored]
    if on.exposure == off.exposure:
        ratio = off.areascal / on.areascal
    elif on.exposure > 0:
        ratio = (off.exposure * off.areascal) / (on.exposure * on.areascal)
    else:
        msg = f"{name}: EXPOSURE is {off.exposure:g} s, but that of the spectrum is 0"
        raise ValueError(msg)
    # OGIP scales by exposure and area, too; here all of it is in the acceptance
    acceptance_off = np.where(ratio == 1, off.backscal, off.backscal * ratio)
    has = acceptance_off > 0
    level = np.where(has, on.backscal / np.where(has, acceptance_off, 1.0) * off.values, 0.0)
    if off.known:
        return {"background": ("energy", channels.ascending(level))}, []
    arrays = {
        "counts_off": off.values,
        "acceptance_off": acceptance_off,
        "background": level,
    }
    return {n: ("energy", channels.ascending(v)) for n, v in arrays.items()}, regions[0] if regions else []


def _response(
    on: Counts, arf: Path | None, matrix: ResponseMatrix | None, channels: Channels, path: Path
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Axis of true energy, exposure and energy dispersion."""
    if arf is None and (matrix is None or not matrix.full):
        has = "names no ANCRFILE" if matrix is None else "names no ANCRFILE, and its RESPFILE holds no effective area"
        msg = f"{path} {has}: its effective area is not known; pass arf= with the path of one"
        raise ValueError(msg)
    if arf is None:
        lo, hi, area = matrix.lo, matrix.hi, np.ones(len(matrix.lo))  # type: ignore[union-attr]
        exact = None
    else:
        lo, hi, area, exact = _read_arf(arf)
    if matrix is None:
        if not (same_energies(lo, channels.lo) and same_energies(hi, channels.hi)):
            msg = (
                f"{path} names no RESPFILE, and its channels ({_range(channels.lo, channels.hi)}) are not the bins of "
                f"true energy ({_range(lo, hi)}): its energy dispersion is not known; pass rmf= with the path of one"
            )
            raise ValueError(msg)
        edisp = np.eye(len(lo))
    else:
        if not (same_energies(lo, matrix.lo) and same_energies(hi, matrix.hi)):
            msg = (
                f"{path}: its ANCRFILE has other bins of true energy ({_range(lo, hi)}) than its RESPFILE "
                f"({_range(matrix.lo, matrix.hi)})"
            )
            raise ValueError(msg)
        edisp = matrix.matrix
        if matrix.full:
            total = edisp.sum(axis=1)
            edisp = edisp / np.where(total > 0, total, 1.0)[:, np.newaxis]
            area = area * total
    exposure = area * on.exposure
    scale = channels.ascending(on.areascal)
    if (scale == scale[0]).all():
        exposure = exposure if scale[0] == 1 else exposure * scale[0]
    else:
        # an area that depends on the channel stands beside the probability to be counted in it
        edisp = edisp * scale
    if exact is not None and np.allclose(exact, exposure, rtol=1e-12, atol=0):
        exposure = exact
    variables = {"exposure": ("energy_true", exposure), "edisp": (("energy_true", "energy"), edisp)}
    return _axis("energy_true", lo, hi), variables


def _read_arf(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Bins of true energy in TeV, effective area in cm2, and the exposure in cm2 s where xgamma wrote it beside."""
    name = os.fspath(path)
    with open_fits(path) as hdus:
        table = find_hdu(hdus, ("SPECRESP",), "SPECRESP", name)
        lo, hi = energy_bins(table, "ENERG_LO", "ENERG_HI", name)
        # gammapy writes the quotient of exposure and livetime as it comes: m2 s h-1
        area = read_column(table, "SPECRESP", unit="cm2", assume="cm2", where=name)
        stored = find_column(table, "EXPOSURE") is not None
        exact = read_column(table, "EXPOSURE", unit="cm2 s", where=name) if stored else None
    if not np.isfinite(area).all() or (area < 0).any():
        what = "negative" if np.isfinite(area).all() else "NaN or infinite"
        msg = f"{name}, HDU {table.name}: SPECRESP holds {what} numbers"
        raise ValueError(msg)
    order = np.argsort(lo, kind="stable")
    return lo[order], hi[order], area[order], None if exact is None else exact[order]


def _label(path: Path, header: fits.Header) -> tuple[str, list[str]]:
    """Name of the spectrum, and all OBS_ID: stacked spectra have several."""
    names = [str(header["OBS_ID", i]).strip() for i in range(header.count("OBS_ID") if "OBS_ID" in header else 0)]
    names = [n for n in names if n]
    if len(names) == 1:
        return names[0], names
    stem = re.sub(r"\.(fits|fit|pha|pi)(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"^pha_?(obs)?", "", stem) or stem, names


def _foreign(cube: xr.Dataset, pha: _Pha, off_regions: list[str], label: str, names: list[str]) -> xr.Dataset:
    """Coordinates and attributes from the header of another program's file."""
    for card, name in CARDS.items():
        value = pha.header.get(card)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            cube[name] = ((), float(value), {"units": LABELS[name][0], "long_name": LABELS[name][1]})
    if len({"pointing_lon", "pointing_lat"} & set(cube.variables)) == 1:
        cube = cube.drop_vars(["pointing_lon", "pointing_lat"], errors="ignore")
    for card in ("TELESCOP", "INSTRUME", "OBJECT"):
        value = str(pha.header.get(card, "") or "").strip()
        if value.lower() not in (*NO_FILE, "dummy"):
            cube.attrs[card.lower()] = value
    if len(names) > 1:
        cube.attrs["obs_id"] = names
    cube = cube.assign_coords(obs=int(label) if re.fullmatch(r"[+-]?\d{1,18}", label) else label)
    if "counts_off" not in cube:
        cube = cube.drop_vars("acceptance")  # a scale of nothing
    if pha.regions:
        cube = cube.assign_coords(region_coords(join_regions(pha.regions)))
    if "counts_off" in cube and off_regions and off_regions != pha.regions:
        cube = with_off_regions(cube, off_regions)
    return cube


def _padded_times(cube: xr.Dataset, layout: dict[str, Any]) -> xr.Dataset:
    """Good times padded with NaN as they were."""
    names = [n for n in GTI_VARIABLES if n in layout.get("names", ())]
    padded = {}
    for name in names:
        values = np.asarray(cube[name].values) if name in cube else np.empty(0)
        if len(values) == len(layout["gti"]["used"]):  # else somebody has changed them
            full = np.full(layout["gti"]["size"], np.nan)
            full[layout["gti"]["used"]] = values
            values = full
        padded[name] = ("gti", values)
    return cube.drop_vars(GTI_VARIABLES, errors="ignore").assign(padded)


def _own(cube: xr.Dataset, pha: _Pha, channels: Channels) -> xr.Dataset:
    """Coordinates, attributes and further variables as xgamma has stored them."""
    layout = pha.stored.get("ogip", {})
    for name, said in layout.get("columns", {}).items():
        values = channels.ascending(pha.columns[name])
        cube[name] = ("energy", values.astype({"b": bool, "i": np.int64, "u": np.int64}.get(said["kind"], float)))
    cube = _padded_times(cube, layout)
    cube = cube.drop_vars([n for n in cube.data_vars if n not in layout.get("names", cube.data_vars)])
    for name, axis in layout.get("axes", {}).items():
        names = [name, f"{name}_min", f"{name}_max"]
        lo, hi = np.array(axis["lo"]), np.array(axis["hi"])
        # the numbers of the tables count, should somebody have changed them
        if all(same_energies(a, cube[n].values) for a, n in ((lo, names[1]), (hi, names[2]))):
            new = bin_axis(name, lo, hi, "TeV", axis["interp"], axis["center"], axis["long_name"])
            cube = cube.drop_vars(names).assign_coords(new.coords)
    scalars = {n: ((), v["value"], v["attrs"]) for n, v in pha.stored["variables"].items()}
    coords = {n: ((), v["value"], v["attrs"]) for n, v in pha.stored["coords"].items()}
    cube = cube.assign(scalars).assign_coords(coords)
    for name, attrs in layout.get("attrs", {}).items():
        if name in cube.variables:
            units = {"units": LABELS[name][0]} if name in ("exposure", "livetime") else {}
            cube[name].attrs = {**attrs, **units}
    cube.attrs = dict(pha.stored["attrs"])
    return cube
