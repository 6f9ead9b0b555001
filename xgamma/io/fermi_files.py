"""Files of the Fermi-LAT tools: what each is, and its small tables (good times, PSF, energy dispersion)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from numpy.typing import NDArray

from xgamma.coords.bins import bin_axis
from xgamma.io.fits_file import expand_path, find_column, open_fits, read_column
from xgamma.io.fits_map import CELESTIAL
from xgamma.io.fits_time import has_reference, reference_seconds
from xgamma.io.healpix_fits import is_healpix
from xgamma.io.ogip_matrix import unpack_matrix

__all__ = ["DrmTable", "FermiFile", "PsfTable", "fermi_file", "read_drm", "read_good_times", "read_psf"]

FloatArray = NDArray[np.float64]

#: What files are called in messages.
KINDS = {
    "counts": "a counts cube (gtbin: EBOUNDS)",
    "background": "predicted counts (gtmodel: EBOUNDS)",
    "events": "an event list (EVENTS)",
    "exposure": "an exposure cube (gtexpcube2: ENERGIES and GTI)",
    "template": "a template of diffuse emission (ENERGIES)",
    "psf": "a point spread function (gtpsf: PSF and THETA)",
    "edisp": "an energy dispersion (gtdrm: DRM)",
    "map": "a single map",
}
#: Epoch of the times of Fermi-LAT, 2001-01-01 00:00:00 UTC, where a header does not state it.
MISSION_EPOCH = {"MJDREFI": 51910, "MJDREFF": 7.428703703703703e-4, "TIMESYS": "TT"}
#: Rows of a matrix of probabilities may exceed 1 by this: files hold float32.
MOST = 1.001


@dataclass(frozen=True)
class FermiFile:
    """What a file of the Fermi-LAT tools is.

    Parameters
    ----------
    path
        File, absolute.
    kind
        One of ``"counts"``, ``"background"``, ``"events"``, ``"exposure"``, ``"template"``, ``"psf"``, ``"edisp"``,
        ``"map"`` (any single map), and ``""`` for something else.
    healpix
        Whether its pixels are those of HEALPix.
    irfs
        Names of the response functions (DSS keyword IRF_VERSION), ``""`` where the file does not say.
    names
        Names of its HDUs.
    unit
        Unit that the header of the map states.
    """

    path: str
    kind: str
    healpix: bool
    irfs: str
    names: tuple[str, ...]
    unit: str = ""


def fermi_file(path: str | os.PathLike[str]) -> FermiFile:
    """Say what a file is, by its HDUs.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is truncated or not FITS.
    """
    file = os.path.abspath(expand_path(path))
    with open_fits(file) as hdus:
        names = tuple(str(h.name or ("PRIMARY" if i == 0 else f"HDU{i}")).upper() for i, h in enumerate(hdus))
        healpix = any(is_healpix(h) for h in hdus)
        header = next((h.header for h in hdus if is_healpix(h)), hdus[0].header)
        kind = _kind(hdus, names, healpix)
        irfs = next((v for v in (_irfs(h.header) for h in hdus) if v), "")
        return FermiFile(file, kind, healpix, irfs, names, str(header.get("BUNIT", "") or "").strip())


def _kind(hdus: fits.HDUList, names: tuple[str, ...], healpix: bool) -> str:
    if {"PSF", "THETA"} <= set(names):
        return "psf"
    if "DRM" in names:
        return "edisp"
    primary = hdus[0].header
    image = int(primary.get("NAXIS", 0)) >= 2 and all(
        CELESTIAL.match(str(primary.get(f"CTYPE{i}", ""))) for i in (1, 2)
    )
    if not image and not healpix:
        return "events" if "EVENTS" in names else ""
    if "EBOUNDS" in names:
        made = {str(h.header.get("CREATOR", "")).strip().lower() for h in hdus}
        return "background" if "gtmodel" in made else "counts"
    if "ENERGIES" in names:
        return "exposure" if "GTI" in names or "HPXEXPOSURES" in names else "template"
    return "map"


def _irfs(header: fits.Header) -> str:
    for number in range(1, 20):
        if str(header.get(f"DSTYP{number}", "")).strip().upper() == "IRF_VERSION":
            return str(header.get(f"DSVAL{number}", "")).strip()
    return ""


@dataclass(frozen=True, eq=False)
class PsfTable:
    """Point spread function over energy and separation.

    Parameters
    ----------
    energy
        TeV, shape (n_energy,).
    theta
        Separations in degrees, shape (n_theta,).
    values
        sr-1, shape (n_energy, n_theta).
    exposure
        cm2 s, shape (n_energy,).
    """

    energy: FloatArray
    theta: FloatArray
    values: FloatArray
    exposure: FloatArray


def read_psf(path: str) -> PsfTable:
    """Read a file of gtpsf.

    Raises
    ------
    ValueError
        If columns are missing or wrong, or numbers are no point spread function.
    """
    with open_fits(path) as hdus:
        table, angles = hdus["PSF"], hdus["THETA"]
        energy = read_column(table, "Energy", unit="TeV", assume="MeV", where=path)
        exposure = read_column(table, "Exposure", unit="cm2 s", assume="cm2 s", where=path)
        values = read_column(table, "Psf", unit="sr-1", assume="sr-1", where=path)
        theta = read_column(angles, "Theta", unit="deg", assume="deg", where=path)
    where = f"{path}, HDU PSF"
    if values.shape != (energy.size, theta.size) or theta.size < 3:
        msg = f"{where}: Psf has the shape {values.shape}, for {energy.size} energies and {theta.size} angles of THETA"
        raise ValueError(msg)
    _check_ascending(energy, f"{where}: Energy", positive=True)
    _check_ascending(theta, f"{path}, HDU THETA: Theta", positive=False)
    for name, numbers in (("Psf", values), ("Exposure", exposure)):
        if not np.isfinite(numbers).all() or (numbers < 0).any():
            what = "negative numbers" if np.isfinite(numbers).all() else "NaN or infinite numbers"
            msg = f"{where}: the column {name} holds {what}"
            raise ValueError(msg)
    if (values.max(axis=1) == 0).any():
        empty = 1e6 * energy[values.max(axis=1) == 0]
        msg = f"{where}: the point spread function is 0 at {np.array2string(empty, precision=4)} MeV"
        raise ValueError(msg)
    return PsfTable(energy, theta, values, exposure)


def _check_ascending(values: FloatArray, what: str, positive: bool) -> None:
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        msg = f"{what} must be finite numbers that ascend"
        raise ValueError(msg)
    if values[0] < 0 or (positive and values[0] == 0):
        msg = f"{what} must be {'positive' if positive else 'at least 0'}, the first is {values[0]:g}"
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class DrmTable:
    """Energy dispersion.

    Parameters
    ----------
    energy_true
        Axis of true energy.
    low, high
        Edges of the measured energies in TeV, shape (n,).
    matrix
        Probabilities, shape (n_true, n).
    """

    energy_true: xr.DataArray
    low: FloatArray
    high: FloatArray
    matrix: FloatArray


def read_drm(path: str) -> DrmTable:
    """Read a file of gtdrm.

    Raises
    ------
    ValueError
        If columns are missing or wrong, or numbers are no probabilities.
    """
    with open_fits(path) as hdus:
        names = [str(h.name).upper() for h in hdus]
        table = hdus["DRM"]
        low, high = (
            read_column(table, n, unit="TeV", assume="MeV", where=path).ravel() for n in ("ENERG_LO", "ENERG_HI")
        )
        matrix = _matrix(table, path)
        ebounds = hdus["EBOUNDS"] if "EBOUNDS" in names else None
        measured = None if ebounds is None else tuple(
            read_column(ebounds, n, unit="TeV", assume="keV", where=path).ravel() for n in ("E_MIN", "E_MAX")
        )  # fmt: skip
    where = f"{path}, HDU DRM"
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        msg = f"{where}: MATRIX holds {'negative' if np.isfinite(matrix).all() else 'NaN or infinite'} numbers"
        raise ValueError(msg)
    if matrix.sum(axis=1).max() > MOST:
        most = matrix.sum(axis=1).max()
        msg = (
            f"{where}: rows of MATRIX sum up to {most:g}, and probabilities to at most 1; a response with area "
            "(gtrspgen) belongs to a spectrum: read it with xgamma.read_ogip"
        )
        raise ValueError(msg)
    if measured is None:
        more = low.size - matrix.shape[1]
        if more < 0 or more % 2:
            msg = (
                f"{where}: {matrix.shape[1]} measured and {low.size} true energies, and no EBOUNDS tells which is which"
            )
            raise ValueError(msg)
        inner = slice(more // 2, low.size - more // 2)
        measured = (low[inner], high[inner])
    if measured[0].size != matrix.shape[1]:
        msg = f"{where}: MATRIX has {matrix.shape[1]} columns, EBOUNDS {measured[0].size} energies"
        raise ValueError(msg)
    try:
        axis = bin_axis("energy_true", low, high, "TeV", long_name="True energy")
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error
    return DrmTable(axis, measured[0], measured[1], matrix)


def _matrix(table: fits.BinTableHDU, path: str) -> FloatArray:
    """Rows of MATRIX: whole ones, or groups of channels."""
    where = f"{path}, HDU DRM"
    name = find_column(table, "MATRIX")
    if name is None:
        msg = f"{where} has no column MATRIX; it has {table.columns.names}"
        raise ValueError(msg)
    rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)).ravel() for row in table.data[name]]
    channels = int(table.header.get("DETCHANS", 0) or max((r.size for r in rows), default=0))
    if all(row.size == channels for row in rows):
        return np.array(rows)
    first, count = (find_column(table, n) for n in ("F_CHAN", "N_CHAN"))
    if first is None or count is None:
        msg = f"{where}: rows of MATRIX have other lengths than DETCHANS={channels}, and no F_CHAN, N_CHAN say why"
        raise ValueError(msg)
    number = table.columns.names.index(first) + 1
    offset = int(table.header.get(f"TLMIN{number}", 1))
    starts = [np.atleast_1d(np.asarray(r, dtype=int)).ravel() - offset for r in table.data[first]]
    counts = [np.atleast_1d(np.asarray(r, dtype=int)).ravel() for r in table.data[count]]
    return unpack_matrix(starts, counts, rows, channels, where)


def read_good_times(path: str) -> dict[str, Any]:
    """Return ``gti_start`` and ``gti_stop`` in seconds since J2000.0 (TT), and their sum ``ontime``.

    Nothing without a table GTI.
    The time reference is that of the table or of the first HDU, else the epoch of the mission.
    """
    with open_fits(path) as hdus:
        table = next((h for h in hdus if str(h.name).upper() == "GTI"), None)
        if table is None or not len(table.data):
            return {}
        start, stop = (read_column(table, n, unit="s", assume="s", where=path) for n in ("START", "STOP"))
        header = next((h for h in (table.header, hdus[0].header) if has_reference(h)), MISSION_EPOCH)
        zero = reference_seconds(header)
    if not (np.isfinite(start).all() and np.isfinite(stop).all()) or (stop < start).any():
        msg = f"{path}, HDU GTI: intervals must be finite and end after they start"
        raise ValueError(msg)
    ends = {"gti_start": ("Start", start), "gti_stop": ("Stop", stop)}
    times: dict[str, Any] = {
        name: ("gti", values + zero, {"units": "s", "long_name": f"{end} of good time, since J2000.0 (TT)"})
        for name, (end, values) in ends.items()
    }
    times["ontime"] = ((), float((stop - start).sum()), {"units": "s", "long_name": "Ontime"})
    return times
