"""Binary tables of plain numbers, read straight from their bytes; anything else is left to astropy.

Parsing headers and columns in general costs several times what the numbers of a run do. Event lists and
responses are tables of plain numbers, so their bytes are a structured array as they are.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits

from xgamma.io.fits_file import CARD, HduSpan, open_source

__all__ = ["FitsColumn", "FitsTable", "FitsTables", "open_tables"]

#: FITS formats of plain numbers -> big-endian numpy types.
TYPES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
#: Cards that change what the bytes of a table mean.
SCALED = re.compile(r"(TSCAL|TZERO|TNULL)\d+$")
VALUE = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^/]*))")
NUMBER = re.compile(r"[+-]?\d+$")


class UnusualError(Exception):
    """The header or table has a feature that is left to astropy."""


@dataclass(frozen=True)
class FitsColumn:
    """Column of a table: name, format, unit, value of missing numbers."""

    name: str
    format: str
    unit: str | None = None
    null: int | None = None


class Columns(dict[str, FitsColumn]):
    """Columns by name."""

    @property
    def names(self) -> list[str]:
        """Names in the order of the table."""
        return list(self)


class FitsTable:
    """A binary table of plain numbers: ``name``, ``header``, ``columns`` and ``data`` as an astropy HDU has them.

    Parameters
    ----------
    header
        Cards.
    read
        Function that reads the bytes of the rows.
    """

    def __init__(self, header: dict[str, Any], read: Any) -> None:
        self.header, self._read = header, read
        self.columns, self.dtype = _layout(header)

    @property
    def name(self) -> str:
        """Name of the HDU."""
        return str(self.header.get("EXTNAME", ""))

    @cached_property
    def data(self) -> np.ndarray:
        """Rows as a structured array, big-endian as in the file, read-only."""
        return np.frombuffer(self._read(self.dtype.itemsize * self.header["NAXIS2"]), dtype=self.dtype)


def parse_header(block: bytes) -> dict[str, Any]:
    """Return the cards of a header as keyword -> value; comments are left out.

    Raises
    ------
    UnusualError
        If a card is not of the fixed format with a plain value.

    Examples
    --------
    >>> parse_header(b"NAXIS1  =                   10 / width".ljust(80) + b"END".ljust(80))
    {'NAXIS1': 10}
    """
    try:
        text = block.decode("ascii")
    except UnicodeDecodeError as error:
        raise UnusualError from error
    header: dict[str, Any] = {}
    for start in range(0, len(text), CARD):
        key = text[start : start + 8].rstrip()
        if key == "END":
            break
        if key in ("HIERARCH", "CONTINUE"):
            raise UnusualError(key)
        if text[start + 8 : start + 10] == "= ":
            header.setdefault(key, _value(text[start + 10 : start + CARD]))
    return header


def _value(text: str) -> Any:
    match = VALUE.match(text)
    if match is None:
        raise UnusualError(text)
    if match.group(1) is not None:
        return match.group(1).rstrip().replace("''", "'")
    word = match.group(2).strip()
    if word in ("T", "F"):
        return word == "T"
    if not word:
        return ""
    try:
        return int(word) if NUMBER.match(word) else float(word.replace("D", "E").replace("d", "e"))
    except ValueError as error:
        raise UnusualError(text) from error


def _layout(header: dict[str, Any]) -> tuple[Columns, np.dtype[Any]]:
    """Return columns and type of the rows.

    Raises
    ------
    UnusualError
        If a column does not hold plain numbers.
    """
    if header.get("XTENSION") != "BINTABLE" or any(SCALED.match(key) for key in header):
        raise UnusualError
    columns, fields = Columns(), []
    for i in range(1, header["TFIELDS"] + 1):
        form, name = str(header[f"TFORM{i}"]).strip(), header.get(f"TTYPE{i}")
        kind = TYPES.get(form[-1:])
        if kind is None or not isinstance(name, str) or not name or name in columns:
            raise UnusualError(form)
        unit = header.get(f"TUNIT{i}")
        columns[name] = FitsColumn(name, form, None if unit is None else str(unit))
        fields.append((name, kind, _shape(form, header.get(f"TDIM{i}"))))
    dtype = np.dtype(fields)
    if dtype.itemsize != header["NAXIS1"]:
        raise UnusualError
    return columns, dtype


def _shape(form: str, dims: Any) -> tuple[int, ...]:
    """Return the shape of a cell in numpy's order."""
    repeat = int(form[:-1] or 1)
    if dims:
        shape = tuple(int(n) for n in str(dims).strip(" ()").split(","))[::-1]
        if math.prod(shape) != repeat:
            raise UnusualError(dims)
        return shape
    return () if repeat == 1 else (repeat,)


class FitsTables:
    """The HDUs of an open file, read when asked for; made by `open_tables`."""

    def __init__(self, source: BinaryIO, spans: list[HduSpan], stack: ExitStack) -> None:
        self._source, self._spans, self._stack = source, spans, stack
        self._hdus: dict[int, Any] = {}
        self._astropy: fits.HDUList | None = None

    @property
    def closed(self) -> bool:
        """True after the end of the block."""
        return self._source.closed

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, number: int) -> Any:
        """Return an HDU: a `FitsTable`, or astropy's where the table holds more than plain numbers."""
        if number not in self._hdus:
            self._hdus[number] = self._make(number)
        return self._hdus[number]

    def _make(self, number: int) -> Any:
        span = self._spans[number]
        self._source.seek(span.header)
        block = self._source.read(span.data - span.header)
        try:
            return FitsTable(parse_header(block), lambda nbytes: self._bytes(span.data, nbytes))
        except (UnusualError, KeyError, TypeError, ValueError):
            if self._astropy is None:
                self._source.seek(0)
                self._astropy = self._stack.enter_context(fits.open(self._source, memmap=False, lazy_load_hdus=True))
            return self._astropy[number]

    def _bytes(self, start: int, nbytes: int) -> bytes:
        self._source.seek(start)
        return self._source.read(nbytes)


@contextmanager
def open_tables(path: str | os.PathLike[str] | Path) -> Iterator[FitsTables]:
    """Open a FITS file for reading tables of plain numbers fast; checks and errors as `open_fits` has them.

    Parameters
    ----------
    path
        File, plain or gzipped; variables and ``~`` are expanded.

    Yields
    ------
    FitsTables

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is a folder, or truncated, or not FITS.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> name = pathlib.Path(tempfile.mkdtemp()) / "a.fits"
    >>> column = fits.Column("ENERGY", "E", unit="TeV", array=[1.0, 2.0])
    >>> fits.BinTableHDU.from_columns([column], name="EVENTS").writeto(name)
    >>> with open_tables(name) as hdus:
    ...     print(hdus[1].name, hdus[1].data["ENERGY"])
    EVENTS [1. 2.]
    """
    with ExitStack() as stack:
        source, spans = stack.enter_context(open_source(path))
        yield FitsTables(source, spans, stack)
