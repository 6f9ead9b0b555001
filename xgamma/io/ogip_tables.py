"""Tables of OGIP spectra: channels and energies, numbers in columns or cards, extensions by their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

from xgamma.coords.bins import EDGE_RTOL
from xgamma.io.exact import invert
from xgamma.io.fits_file import find_column, read_column

__all__ = [
    "Channels",
    "channel_hdu",
    "energy_bins",
    "find_hdu",
    "per_channel",
    "read_channels",
    "same_energies",
]


@dataclass(frozen=True, eq=False)
class Channels:
    """Channels of a spectrum and their energies.

    Parameters
    ----------
    first
        Number of the first channel.
    lo, hi
        Energies in TeV, ascending, shape (n,).
    descending
        Whether the file has the highest energy first.
    """

    first: int
    lo: np.ndarray
    hi: np.ndarray
    descending: bool = False

    @property
    def size(self) -> int:
        """Number of channels."""
        return len(self.lo)

    def ascending(self, values: np.ndarray) -> np.ndarray:
        """Put values by channel (last axis) in the order of `lo`."""
        return values[..., ::-1] if self.descending else values


def find_hdu(hdus: fits.HDUList, names: Sequence[str], kind: str, where: str) -> fits.BinTableHDU:
    """Return the one extension with one of the names, or of a class.

    Parameters
    ----------
    hdus
        Open file.
    names
        Names to look for.
    kind
        HDUCLAS1 or HDUCLAS2 of such an extension.
    where
        File, for messages.

    Raises
    ------
    ValueError
        If there is none, or several.
    """
    tables = [h for h in hdus if isinstance(h, fits.BinTableHDU)]
    found = [h for h in tables if h.name.upper() in names]
    if not found:
        found = [h for h in tables if kind in (_card(h, "HDUCLAS1"), _card(h, "HDUCLAS2"))]
    if len(found) != 1:
        has = f"{len(found)} extensions" if found else "no extension"
        msg = f"{where} has {has} {names[0]}, where one is needed; its HDUs are {[h.name or '(no name)' for h in hdus]}"
        raise ValueError(msg)
    return found[0]


def _card(hdu: Any, key: str) -> str:
    return str(hdu.header.get(key, "")).strip().upper()


def energy_bins(table: fits.BinTableHDU, low: str, high: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Read lower and upper energies in TeV from two columns.

    Raises
    ------
    ValueError
        If a column is missing, has a wrong unit, or numbers that are no energies.

    Notes
    -----
    Columns without unit are in keV, as OGIP has it.
    """
    lo, hi = (read_column(table, n, unit="TeV", assume="keV", where=where).ravel() for n in (low, high))
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()) or (lo < 0).any() or (hi <= lo).any():
        msg = f"{where}, HDU {table.name}: {low} and {high} must be finite, at least 0, and {high} above {low}"
        raise ValueError(msg)
    return lo, hi


def read_channels(table: fits.BinTableHDU, where: str) -> Channels:
    """Read an EBOUNDS extension.

    Raises
    ------
    ValueError
        If channels are missing or not in order, or energies are not.
    """
    lo, hi = energy_bins(table, "E_MIN", "E_MAX", where)
    numbers = channel_numbers(table, where)
    first = 0 if numbers is None else int(numbers[0])
    if numbers is None:
        first = int(table.header.get("TLMIN1", 0))
    descending = len(lo) > 1 and bool((np.diff(lo) < 0).all())
    if descending:
        lo, hi = lo[::-1], hi[::-1]
    return Channels(first, lo, hi, descending)


def channel_numbers(table: fits.BinTableHDU, where: str) -> np.ndarray | None:
    """Return the column CHANNEL, None if there is none.

    Raises
    ------
    ValueError
        If the channels are not consecutive.
    """
    name = find_column(table, "CHANNEL")
    if name is None:
        return None
    numbers = np.asarray(table.data[name])
    if len(numbers) == 0:
        msg = f"{where}, HDU {table.name} has no rows"
        raise ValueError(msg)
    jumps = np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1)
    if jumps.size:
        at = int(jumps[0])
        msg = (
            f"{where}, HDU {table.name}: channels are not consecutive: {numbers[at]} is followed by {numbers[at + 1]}; "
            "write the missing ones with no counts and QUALITY 1"
        )
        raise ValueError(msg)
    return numbers.astype(np.int64)


def per_channel(table: fits.BinTableHDU, name: str, default: float, where: str) -> np.ndarray:
    """Return numbers that a file has in a column, or for all channels in one card, or not at all.

    Raises
    ------
    ValueError
        If the numbers are not finite.
    """
    rows = len(table.data)
    if find_column(table, name):
        values = read_column(table, name, unit="", assume="", where=where)
    else:
        card = table.header.get(name, default)
        # '' and None are written where there is nothing to say
        values = np.full(rows, default if isinstance(card, (str, type(None))) else float(card))
    if values.shape != (rows,):
        msg = f"{where}, HDU {table.name}: {name} has {values.shape[1:]} numbers in a row, not one"
        raise ValueError(msg)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        msg = f"{where}, HDU {table.name}: {name} holds {values[row]} in row {row}"
        raise ValueError(msg)
    return values


def same_energies(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether energies are equal to the rounding of single precision."""
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=EDGE_RTOL, atol=0))


def channel_hdu(lo: np.ndarray, hi: np.ndarray, unit: str, cards: dict[str, Any]) -> fits.BinTableHDU:
    """Return the EBOUNDS extension, channels counted from 0.

    Parameters
    ----------
    lo, hi
        Energies in TeV, shape (n,).
    unit
        Unit in which they are written.
    cards
        Further cards of the header.
    """
    columns = [
        fits.Column("CHANNEL", "J", array=np.arange(len(lo), dtype=np.int32)),
        fits.Column("E_MIN", "D", unit=unit, array=invert(lo, unit, "TeV")),
        fits.Column("E_MAX", "D", unit=unit, array=invert(hi, unit, "TeV")),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="EBOUNDS")
    hdu.header.update(
        {
            "HDUCLASS": "OGIP",
            "HDUCLAS1": "RESPONSE",
            "HDUCLAS2": "EBOUNDS",
            "HDUVERS": "1.2.0",
            "CHANTYPE": "PHA",
            "DETCHANS": len(lo),
            "TLMIN1": 0,
            "TLMAX1": max(len(lo) - 1, 0),
            **cards,
        }
    )
    return hdu
