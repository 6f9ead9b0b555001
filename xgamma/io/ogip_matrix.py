"""Redistribution matrices (RMF) in FITS: groups of channels to a full matrix and back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from xgamma.coords.units import conversion_factor
from xgamma.io.exact import invert
from xgamma.io.fits_file import find_column, open_fits, read_column
from xgamma.io.ogip_tables import Channels, energy_bins, find_hdu, read_channels

__all__ = ["ResponseMatrix", "matrix_hdu", "pack_matrix", "read_matrix", "unpack_matrix"]

#: Names of the extension that holds the matrix.
NAMES = ("MATRIX", "SPECRESP MATRIX", "SPECRESPMATRIX")


@dataclass(frozen=True, eq=False)
class ResponseMatrix:
    """What an RMF holds.

    Parameters
    ----------
    lo, hi
        True energy in TeV, shape (n_true,).
    matrix
        Shape (n_true, n_channels): probability per channel, or with `full` probability times cm2.
    channels
        Energies of the channels.
    full
        Whether the effective area is in the matrix.
    """

    lo: np.ndarray
    hi: np.ndarray
    matrix: np.ndarray
    channels: Channels
    full: bool


def pack_matrix(matrix: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Divide each row of a matrix into groups of neighbouring channels that are not zero.

    Parameters
    ----------
    matrix
        Shape (n_true, n_channels).

    Returns
    -------
    first, count, values : list of numpy.ndarray
        For each row the first channels of its groups (from 0), their lengths, and the numbers in them.

    Examples
    --------
    >>> first, count, values = pack_matrix(np.array([[0.0, 0.3, 0.7, 0.0, 0.1]]))
    >>> first[0].tolist(), count[0].tolist(), values[0].tolist()
    ([1, 4], [2, 1], [0.3, 0.7, 0.1])
    """
    padded = np.pad(matrix != 0, ((0, 0), (1, 1)))
    change = np.diff(padded.astype(np.int8), axis=1)
    first = [np.flatnonzero(row == 1) for row in change]
    count = [np.flatnonzero(row == -1) - start for row, start in zip(change, first, strict=True)]
    return first, count, [row[row != 0] for row in matrix]


def unpack_matrix(
    first: list[np.ndarray], count: list[np.ndarray], values: list[np.ndarray], size: int, where: str = "matrix"
) -> np.ndarray:
    """Return the full matrix of groups of channels.

    Parameters
    ----------
    first, count
        For each row the first channels of its groups, counted from 0, and their lengths.
    values
        For each row the numbers of all its groups, one after the other; more than these are ignored.
    size
        Number of channels.
    where
        File and HDU, for messages.

    Returns
    -------
    numpy.ndarray
        Shape (rows, size).

    Raises
    ------
    ValueError
        If a group reaches beyond the channels or has fewer numbers than channels.

    Examples
    --------
    >>> unpack_matrix([np.array([1, 4])], [np.array([2, 1])], [np.array([0.3, 0.7, 0.1])], 5)
    array([[0. , 0.3, 0.7, 0. , 0.1]])
    """
    matrix = np.zeros((len(first), size))
    for row, (starts, counts, numbers) in enumerate(zip(first, count, values, strict=True)):
        used = counts > 0
        starts, counts = starts[used], counts[used]
        if starts.size and (starts.min() < 0 or (starts + counts).max() > size):
            msg = (
                f"{where}, row {row}: channels {starts.min()} to {(starts + counts).max() - 1} (counted from 0) are "
                f"not all among the {size} channels; do F_CHAN and its TLMIN fit EBOUNDS?"
            )
            raise ValueError(msg)
        if counts.sum() > len(numbers):
            msg = f"{where}, row {row}: N_CHAN promises {counts.sum()} numbers, MATRIX holds {len(numbers)}"
            raise ValueError(msg)
        position = 0
        for start, number in zip(starts, counts, strict=True):
            # groups that overlap add up, as XSPEC has it
            matrix[row, start : start + number] += numbers[position : position + number]
            position += number
    return matrix


def matrix_hdu(
    matrix: np.ndarray, lo: np.ndarray, hi: np.ndarray, unit: str, cards: dict[str, Any]
) -> fits.BinTableHDU:
    """Return the MATRIX extension of an RMF, channels counted from 0.

    Parameters
    ----------
    matrix
        Probability per channel, shape (n_true, n_channels).
    lo, hi
        True energy in TeV, shape (n_true,).
    unit
        Unit in which energies are written.
    cards
        Further cards of the header.
    """
    first, count, values = pack_matrix(matrix)
    groups = max((len(f) for f in first), default=0)
    widest = max((len(v) for v in values), default=0)
    code = "I" if matrix.shape[1] < 2**15 else "J"
    columns = [
        fits.Column("ENERG_LO", "D", unit=unit, array=invert(lo, unit, "TeV")),
        fits.Column("ENERG_HI", "D", unit=unit, array=invert(hi, unit, "TeV")),
        fits.Column("N_GRP", "I", array=np.array([len(f) for f in first], dtype=np.int16)),
        fits.Column("F_CHAN", f"P{code}({groups})", array=_ragged(first, np.int32 if code == "J" else np.int16)),
        fits.Column("N_CHAN", f"P{code}({groups})", array=_ragged(count, np.int32 if code == "J" else np.int16)),
        fits.Column("MATRIX", f"PD({widest})", array=_ragged(values, np.float64)),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="MATRIX")
    hdu.header.update(
        {
            "HDUCLASS": "OGIP",
            "HDUCLAS1": "RESPONSE",
            "HDUCLAS2": "RSP_MATRIX",
            "HDUCLAS3": "REDIST",
            "HDUVERS": "1.3.0",
            "RMFVERSN": "1992a",
            "CHANTYPE": "PHA",
            "DETCHANS": matrix.shape[1],
            "NUMGRP": int(sum(len(f) for f in first)),
            "NUMELT": int(sum(len(v) for v in values)),
            "LO_THRES": 0.0,
            "TLMIN4": 0,
            "TLMAX4": max(matrix.shape[1] - 1, 0),
            **cards,
        }
    )
    return hdu


def _ragged(rows: list[np.ndarray], dtype: Any) -> np.ndarray:
    result = np.empty(len(rows), dtype=object)
    result[:] = [np.asarray(row, dtype=dtype) for row in rows]
    return result


def read_matrix(path: str | os.PathLike[str]) -> ResponseMatrix:
    """Read an RMF.

    Parameters
    ----------
    path
        File, plain or gzipped.

    Returns
    -------
    ResponseMatrix

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is truncated or not FITS.
    ValueError
        If extensions or columns are missing, units are wrong, or numbers are negative or not finite.

    Notes
    -----
    OGIP memo CAL/GEN/92-002. Channels of F_CHAN are counted from its TLMIN; where that is missing, from the first
    channel of EBOUNDS.
    """
    name = os.fspath(path)
    with open_fits(Path(path)) as hdus:
        table = find_hdu(hdus, NAMES, "RSP_MATRIX", name)
        channels = read_channels(find_hdu(hdus, ("EBOUNDS",), "EBOUNDS", name), name)
        where = f"{name}, HDU {table.name}"
        lo, hi = energy_bins(table, "ENERG_LO", "ENERG_HI", name)
        first_name = find_column(table, "F_CHAN")
        if first_name is None or find_column(table, "MATRIX") is None:
            msg = f"{where} has no columns F_CHAN and MATRIX; it has {table.columns.names}"
            raise ValueError(msg)
        number = table.columns.names.index(first_name) + 1
        offset = int(table.header.get(f"TLMIN{number}", channels.first))
        starts, counts = (_rows(table, n) for n in ("F_CHAN", "N_CHAN"))
        groups = read_column(table, "N_GRP", unit="", assume="", where=name).astype(int)
        values, factor = _values(table, where)
        starts = [s[:n].astype(int) - offset for s, n in zip(starts, groups, strict=True)]
        counts = [c[:n].astype(int) for c, n in zip(counts, groups, strict=True)]
        matrix = unpack_matrix(starts, counts, values, channels.size, where)
        kind = str(table.header.get("HDUCLAS3", "")).strip().upper()
    matrix = channels.ascending(matrix * factor if factor != 1 else matrix)
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        msg = f"{where}: MATRIX holds {'NaN or infinite' if not np.isfinite(matrix).all() else 'negative'} numbers"
        raise ValueError(msg)
    order = np.argsort(lo, kind="stable")
    full = kind == "FULL" or (not kind and table.name.startswith("SPECRESP"))
    return ResponseMatrix(lo[order], hi[order], matrix[order], channels, full)


def _rows(table: fits.BinTableHDU, name: str) -> list[np.ndarray]:
    """Rows of a column that has one number, a vector, or a vector of any length in each."""
    column = find_column(table, name)
    if column is None:
        msg = f"HDU {table.name} has no column {name}; it has {table.columns.names}"
        raise ValueError(msg)
    return [np.atleast_1d(np.asarray(row)).ravel() for row in table.data[column]]


def _values(table: fits.BinTableHDU, where: str) -> tuple[list[np.ndarray], float]:
    """Rows of MATRIX, and the factor that turns an area into cm2."""
    column = table.columns[find_column(table, "MATRIX")]
    unit = (column.unit or "").strip()
    rows = [row.astype(np.float64) for row in _rows(table, "MATRIX")]
    if not unit:
        return rows, 1.0
    try:
        return rows, conversion_factor(unit, "")
    except ValueError:
        pass
    try:
        return rows, conversion_factor(unit, "cm2")
    except ValueError as error:
        msg = f"{where}: MATRIX has unit {unit!r}; it holds probabilities (no unit) or areas (cm2)"
        raise ValueError(msg) from error
