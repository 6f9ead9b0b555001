"""FITS files: opened safely, read fast, closed always."""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import numpy as np
from astropy.io import fits

from xgamma.coords.units import conversion_factor

__all__ = ["expand_path", "find_column", "open_fits", "read_column", "read_values"]

BLOCK = 2880
CARD = 80
#: Window of zlib, and a gzip header.
GZIP = 31
_CARD_VALUE = re.compile(rb"^([A-Z0-9_-]+) *= *('(?:[^']|'')*'|[^/ ]+)")


def expand_path(path: str | os.PathLike[str]) -> Path:
    """Expand ``$VARIABLES`` and ``~`` in a path.

    Parameters
    ----------
    path
        For example ``"$GAMMAPY_DATA/hess-dl3-dr1"``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the path is empty or names a variable of the environment that is not set.

    Examples
    --------
    >>> expand_path("folder/file.fits").name
    'file.fits'
    """
    text = os.fspath(path)
    if not text:
        msg = "the path is empty"
        raise ValueError(msg)
    expanded = os.path.expanduser(os.path.expandvars(text))
    missing = re.search(r"\$\{?(\w+)", expanded)
    # a file may have a dollar in its name
    if missing and not os.path.lexists(expanded):
        name = missing.group(1)
        msg = (
            f"path {text!r} needs the environment variable {name}, which is not set: export {name}=/folder/of/the/data"
        )
        raise ValueError(msg)
    return Path(expanded)


@contextmanager
def open_fits(path: str | os.PathLike[str]) -> Iterator[fits.HDUList]:
    """Open a FITS file for reading; the file is closed at the end of the ``with`` block.

    A gzipped file is expanded once in memory: astropy would seek in the compressed stream,
    which costs three times as long. The structure of the file (each header, each length) is
    checked before anything is read, so a truncated file raises here and not half way.

    Parameters
    ----------
    path
        File, plain or gzipped (recognised by content, not by name); variables and ``~`` are expanded.

    Yields
    ------
    astropy.io.fits.HDUList
        Arrays read from it stay valid after the file is closed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is a folder, or truncated, or not FITS.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from astropy.io import fits
    >>> name = pathlib.Path(tempfile.mkdtemp()) / "a.fits"
    >>> fits.PrimaryHDU([1, 2, 3]).writeto(name)
    >>> with open_fits(name) as hdus:
    ...     print(hdus[0].data)
    [1 2 3]
    """
    with open_source(path) as (source, _), fits.open(source, memmap=False, lazy_load_hdus=True) as hdus:
        yield hdus


@dataclass(frozen=True)
class HduSpan:
    """Where an HDU lies in a file: first byte of its header and of its data."""

    header: int
    data: int


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, list[HduSpan]]]:
    """Open the bytes of a FITS file, expanded if they are gzipped, and say where its HDUs are; see `open_fits`."""
    file = expand_path(path)
    if file.is_dir():
        msg = f"{file} is a folder, not a FITS file"
        raise IsADirectoryError(msg)
    try:
        stream: BinaryIO = file.open("rb")
    except FileNotFoundError:
        msg = f"there is no file {file}; check the path, or the FILE_DIR and FILE_NAME of the index that names it"
        raise FileNotFoundError(msg) from None
    with stream:
        magic = stream.read(2)
        stream.seek(0)
        shared = _expand(stream, file) if magic == b"\x1f\x8b" else None
        source: BinaryIO = stream if shared is None else BytesIO(shared.data)
        source, spans = _checked(source, file)
        with source:
            yield source, spans


class _Expanded:
    """The bytes of a gzipped file, for as long as somebody has it open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.data = b""


#: Files that are open, by path and state: threads that read one at the same time expand it once.
_OPEN: WeakValueDictionary[tuple[str, int, int, int], _Expanded] = WeakValueDictionary()
_OPEN_LOCK = threading.Lock()


def _expand(stream: BinaryIO, file: Path) -> _Expanded:
    status = os.fstat(stream.fileno())
    with _OPEN_LOCK:
        shared = _OPEN.setdefault((str(file), status.st_ino, status.st_mtime_ns, status.st_size), _Expanded())
    with shared.lock:
        if not shared.data:
            shared.data = _gunzip(stream, file)
    return shared


def _gunzip(stream: BinaryIO, file: Path) -> bytes:
    """Expand all members of a gzip file; the checksums of the standard library's gzip cost a pass of their own."""
    packed, parts, fault = stream.read(), [], ""
    while packed and not fault:
        member = zlib.decompressobj(wbits=GZIP)
        try:
            parts.append(member.decompress(packed))
        except zlib.error as error:
            fault = str(error)
        else:
            fault = "" if member.eof else "it ends before its data do"
        # zeros may follow the last member
        packed = member.unused_data.lstrip(b"\0")
    if fault:
        msg = f"{file} is a damaged or truncated gzip file ({fault}); fetch or make it again"
        raise OSError(msg)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _checked(source: BinaryIO, file: Path) -> tuple[BinaryIO, list[HduSpan]]:
    """Walk over all HDUs and check that the file holds what their headers promise."""
    spans: list[HduSpan] = []
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    if source.read(6) != b"SIMPLE":
        what = "an empty file" if size == 0 else "not a FITS file"
        msg = f"{file} is {what}: it does not start with 'SIMPLE'"
        raise OSError(msg)
    start, number = 0, 0
    while start < size:
        source.seek(start)
        cards = _header_cards(source, file, number)
        if cards is None:
            # what follows the last HDU is no FITS; astropy shall not see it
            source.seek(0)
            return BytesIO(source.read(start)), spans
        spans.append(HduSpan(start, source.tell()))
        end = source.tell() + _data_size(cards, file, number)
        if end > size:
            msg = f"{file} is truncated: HDU {number} ends at byte {end}, the file at {size}; fetch or make it again"
            raise OSError(msg)
        start = -(-end // BLOCK) * BLOCK
        number += 1
    if start > size:
        # the last block was not filled up: harmless, and astropy would warn of it
        source.seek(0)
        source = BytesIO(source.read() + bytes(start - size))
    source.seek(0)
    return source, spans


def _header_cards(source: BinaryIO, file: Path, number: int) -> dict[bytes, bytes] | None:
    """Return keyword -> raw value of the header at the position of `source`; None for bytes that are no header."""
    cards: dict[bytes, bytes] = {}
    first = True
    while True:
        block = source.read(BLOCK)
        if first and number and not b"XTENSION".startswith(block[:8]):
            return None
        if len(block) < BLOCK:
            msg = f"{file} is truncated inside the header of HDU {number}; fetch or make it again"
            raise OSError(msg)
        first = False
        for i in range(0, len(block), CARD):
            card = block[i : i + CARD]
            if card.rstrip() == b"END":
                return cards
            if card[:5] in (b"NAXIS", b"BITPI", b"PCOUN", b"GCOUN", b"GROUP"):
                match = _CARD_VALUE.match(card)
                if match:
                    cards[match.group(1)] = match.group(2)


def _data_size(cards: dict[bytes, bytes], file: Path, number: int) -> int:
    try:
        naxis = int(cards[b"NAXIS"])
        if naxis == 0:
            return 0
        shape = [int(cards[b"NAXIS%d" % (i + 1)]) for i in range(naxis)]
        if shape[0] == 0 and cards.get(b"GROUPS") == b"T":
            shape = shape[1:]
        groups, extra = int(cards.get(b"GCOUNT", b"1")), int(cards.get(b"PCOUNT", b"0"))
        return abs(int(cards[b"BITPIX"])) // 8 * groups * (extra + int(np.prod(shape, dtype=object)))
    except (KeyError, ValueError) as error:
        msg = f"{file} is not a valid FITS file: the header of HDU {number} lacks or spoils {error}"
        raise OSError(msg) from error


def file_name(hdu: Any) -> str:
    """Return words that name the HDU in a message."""
    return f"HDU {hdu.name or hdu.header.get('HDUCLAS1', '?')!r}"


def find_column(hdu: fits.BinTableHDU, *names: str) -> str | None:
    """Return the column of a table whose name is one of `names` in any case, None if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> hdu = fits.BinTableHDU.from_columns([fits.Column("Energy", "D", array=np.ones(2))])
    >>> find_column(hdu, "ENERGY")
    'Energy'
    """
    have = {n.lower(): n for n in hdu.columns.names}
    return next((have[n.lower()] for n in names if n.lower() in have), None)


def read_column(
    hdu: fits.BinTableHDU, *names: str, unit: str, assume: str | None = None, where: str = ""
) -> np.ndarray:
    """Read a column as native float64 numbers in `unit`.

    Parameters
    ----------
    hdu
        Binary table.
    *names
        Name of the column, in any case; further names are alternatives.
    unit
        Unit of the result.
    assume
        Unit of a column that states none; without it such a column raises.
    where
        File, for messages.

    Returns
    -------
    numpy.ndarray
        float64, shape (rows, ...).

    Raises
    ------
    ValueError
        If the column or its unit is missing, or the unit does not convert.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> hdu = fits.BinTableHDU.from_columns([fits.Column("ENERGY", "E", unit="GeV", array=np.array([500.0]))])
    >>> read_column(hdu, "energy", unit="TeV")
    array([0.5])
    """
    place = f"{file_name(hdu)}{f' of {where}' if where else ''}"
    name = find_column(hdu, *names)
    if name is None:
        msg = f"{place} has no column {' or '.join(names)}; it has {hdu.columns.names}"
        raise ValueError(msg)
    given = (hdu.columns[name].unit or "").strip() or assume
    if given is None:
        msg = f"column {name} in {place} states no unit (TUNIT); it should be one that converts to {unit!r}"
        raise ValueError(msg)
    try:
        factor = conversion_factor(given, unit)
    except ValueError as error:
        msg = f"column {name} in {place} has a wrong unit: {error}"
        raise ValueError(msg) from error
    try:
        values = np.array(hdu.data[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"column {name} in {place} does not hold plain numbers ({hdu.columns[name].format})"
        raise ValueError(msg) from error
    # a unit factor of exactly 1 leaves the bits alone
    return values if factor == 1 else values * factor


def read_values(hdu: fits.BinTableHDU, name: str) -> np.ndarray:
    """Read any column as a native array: text stripped, ragged rows padded with NaN, TNULL turned to NaN.

    Parameters
    ----------
    hdu
        Binary table.
    name
        Name of the column as the table has it.

    Returns
    -------
    numpy.ndarray
        Shape (rows, ...); text as ``str``, numbers in their own width.

    Examples
    --------
    >>> from astropy.io import fits
    >>> hdu = fits.BinTableHDU.from_columns([fits.Column("FILE_DIR", "9A", array=["data  "])])
    >>> read_values(hdu, "FILE_DIR").tolist()
    ['data']
    """
    column = hdu.columns[name]
    raw = hdu.data[name]
    if raw.dtype == object:
        return _padded([np.asarray(row) for row in raw])
    values = np.asarray(raw)
    if values.dtype.kind in "SU":
        return np.char.strip(values.astype(str))
    values = values.astype(values.dtype.newbyteorder("="))
    if column.null is not None and values.dtype.kind in "iu":
        return np.where(values == column.null, np.nan, values)
    return values


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    width = max((row.size for row in rows), default=0)
    if any(row.dtype.kind in "SU" for row in rows):
        return np.array([" ".join(np.char.strip(row.astype(str).ravel())) for row in rows])
    result = np.full((len(rows), width), np.nan)
    for target, row in zip(result, rows, strict=True):
        target[: row.size] = row.ravel()
    return result
