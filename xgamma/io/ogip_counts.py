"""Counts of one SPECTRUM extension, with all that OGIP lets stand in columns or cards beside them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from xgamma.io.fits_file import find_column
from xgamma.io.ogip_tables import per_channel

__all__ = ["Counts", "read_counts"]

#: Relative rounding of single precision, in which rates are often written.
SINGLE = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Counts:
    """A spectrum by channel, in the order of the file.

    Parameters
    ----------
    values
        Counts, shape (n,).
    good
        Channels of QUALITY 0, bool, shape (n,).
    backscal, areascal
        Scales of background and area, shape (n,).
    exposure
        EXPOSURE in s.
    known
        Whether the numbers are an expectation without error, not counts.
    """

    values: np.ndarray
    good: np.ndarray
    backscal: np.ndarray
    areascal: np.ndarray
    exposure: float
    known: bool = False


def read_counts(table: fits.BinTableHDU, where: str, background: bool = False) -> Counts:
    """Read a SPECTRUM extension.

    Parameters
    ----------
    table
        Of type I: one spectrum.
    where
        File, for messages.
    background
        Whether it is a background file, which may hold an expected background, too.

    Returns
    -------
    Counts

    Raises
    ------
    ValueError
        If it is of type II, background-subtracted, with Gaussian errors, or holds numbers that are no counts.

    Notes
    -----
    OGIP memo 92-007. GROUPING is not applied: bins of few counts are no trouble for a Poisson likelihood.
    """
    place = f"{where}, HDU {table.name}"
    _check_kind(table, place)
    exposure = _exposure(table, place)
    values = _counts(table, exposure, place)
    known = _check_errors(table, values, exposure, background, place)
    backscal, areascal = (per_channel(table, name, 1.0, where) for name in ("BACKSCAL", "AREASCAL"))
    if (backscal < 0).any() or (areascal <= 0).any():
        msg = (
            f"{place}: BACKSCAL must be at least 0 and AREASCAL above 0; they are {_span(backscal)}, {_span(areascal)}"
        )
        raise ValueError(msg)
    _warn_ignored(table, where, place)
    return Counts(values, _good(table, where), backscal, areascal, exposure, known)


def _span(values: np.ndarray) -> str:
    return f"{values.min():g} to {values.max():g}"


def _check_kind(table: fits.BinTableHDU, place: str) -> None:
    header = table.header
    kind = str(header.get("HDUCLAS4", "")).replace(" ", "").upper()
    name = find_column(table, "COUNTS", "RATE")
    if name is None:
        msg = f"{place} has neither a column COUNTS nor RATE; it has {table.columns.names}"
        raise ValueError(msg)
    vectors = np.ndim(table.data[name]) > 1 or np.asarray(table.data[name]).dtype == object
    if kind.endswith("II") or find_column(table, "SPEC_NUM") or vectors:
        msg = f"{place} holds many spectra in one table (type II), which is not read; divide it into files of type I"
        raise ValueError(msg)
    if str(header.get("HDUCLAS2", "")).strip().upper() == "NET":
        msg = (
            f"{place} is background-subtracted (HDUCLAS2 = NET): what is left is not Poisson distributed; take the "
            "spectrum as it was counted, with its background file"
        )
        raise ValueError(msg)
    if len(table.data) == 0:
        msg = f"{place} has no rows"
        raise ValueError(msg)


def _exposure(table: fits.BinTableHDU, place: str) -> float:
    value = table.header.get("EXPOSURE")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value) or value < 0:
        msg = f"{place}: EXPOSURE={value!r} should be the livetime in seconds, a number of at least 0"
        raise ValueError(msg)
    return float(value)


def _counts(table: fits.BinTableHDU, exposure: float, place: str) -> np.ndarray:
    name = find_column(table, "COUNTS") or find_column(table, "RATE")
    values = np.array(table.data[name], dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        msg = f"{place}: {name} holds {values[row]} in row {row}"
        raise ValueError(msg)
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        msg = f"{place}: {name} holds {values[row]:g} in row {row}; counts are not negative"
        raise ValueError(msg)
    if str(name).upper() == "COUNTS":
        return values
    if exposure == 0 and values.any():
        msg = f"{place} holds rates, but EXPOSURE is 0: the counts are not known"
        raise ValueError(msg)
    counts = values * exposure
    whole = np.round(counts)
    # rates in single precision are counts again when they are rounded
    return whole if (np.abs(counts - whole) <= SINGLE * counts + 1e-9).all() else counts


def _check_errors(table: fits.BinTableHDU, counts: np.ndarray, exposure: float, background: bool, place: str) -> bool:
    """Refuse Gaussian errors; return True where the numbers are known without error."""
    name = find_column(table, "STAT_ERR")
    if table.header.get("POISSERR") is True or name is None:
        return False
    errors = np.array(table.data[name], dtype=np.float64)
    if find_column(table, "COUNTS") is None:
        errors = errors * exposure
    if background and not errors.any():
        return True
    poisson = np.sqrt(counts)
    gehrels = 1 + np.sqrt(counts + 0.75)
    some = counts > 0
    # errors of an empty bin are written as 0, 1 or by Gehrels' formula
    if any(np.allclose(errors[some], p[some], rtol=1e-4) for p in (poisson, gehrels)):
        return False
    msg = (
        f"{place} has errors of its own (POISSERR is not T, STAT_ERR is not the root of the counts): numbers with "
        "Gaussian errors are not counts, which the likelihoods here need"
    )
    raise ValueError(msg)


def _good(table: fits.BinTableHDU, where: str) -> np.ndarray:
    if find_column(table, "QUALITY"):
        column = np.asarray(table.data[find_column(table, "QUALITY")])
        return column == 0
    return per_channel(table, "QUALITY", 0.0, where) == 0


def _warn_ignored(table: fits.BinTableHDU, where: str, place: str) -> None:
    ignored = []
    if find_column(table, "GROUPING") and (np.asarray(table.data[find_column(table, "GROUPING")]) < 0).any():
        ignored.append("GROUPING (the channels stay as they are; rebin the cube where fewer are wanted)")
    if (per_channel(table, "SYS_ERR", 0.0, where) != 0).any():
        ignored.append("SYS_ERR (systematic errors)")
    corrected = str(table.header.get("CORRFILE", "") or "").strip().lower() not in ("", "none")
    if corrected and table.header.get("CORRSCAL") not in (0, 0.0, "", None):
        ignored.append("CORRFILE (a correction to the background)")
    if ignored:
        warnings.warn(f"{place}: not applied: {'; '.join(ignored)}", UserWarning, stacklevel=2)
