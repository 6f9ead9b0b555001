"""Axes of FITS maps: the BANDS tables of the GADF sky map format, to binned axes and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import EDGE_RTOL, bin_axis
from xgamma.coords.units import conversion_factor
from xgamma.io.fits_file import find_column, read_values
from xgamma.io.fits_time import reference_seconds

__all__ = ["bands_axes", "bands_hdu", "same_axis"]

#: Units that axes have inside; others keep those of the file.
AXIS_UNITS = {"energy": "TeV", "energy_true": "TeV", "rad": "deg", "offset": "deg", "time": "s", "migra": ""}
#: Units of tables that state none, by the kind of their HDU (Fermi-LAT tools).
FERMI_UNITS = {"EBOUNDS": "keV", "ENERGIES": "MeV"}
LABELS = {"energy": "Energy", "energy_true": "True energy", "rad": "Offset from source", "migra": "Energy migration"}
#: FITS names of axes that are called otherwise here.
NAMES = {"e": "energy", "theta": "rad"}
#: FITS maps have at most this many axes beside the two of the sky.
MOST_AXES = 5


def bands_axes(
    table: fits.BinTableHDU, header: Mapping[str, Any], shape: Sequence[int] | None, where: str
) -> list[xr.DataArray]:
    """Return the axes that a BANDS table describes, first axis first.

    Parameters
    ----------
    table
        BANDS, EBOUNDS or ENERGIES extension.
    header
        Of the map; it may hold AXCOLSn and INTERPn.
    shape
        Lengths of the axes, first axis first, where the map tells them.
    where
        File and HDU, for messages.

    Returns
    -------
    list of xarray.DataArray
        From `bin_axis`, or with text labels.

    Raises
    ------
    ValueError
        If the table has planes of different geometry, no unit for energies, or does not fit `shape`.
    """
    differing = [n for n in ("NPIX", "CDELT", "CRPIX") if find_column(table, n)]
    if differing:
        msg = (
            f"{where}: planes of different pixel size or number (columns {differing} of {table.name}) are not supported"
        )
        raise ValueError(msg)
    columns = _axis_columns(table, header, where)
    if len(columns) > MOST_AXES:
        msg = f"{where}: {len(columns)} axes; a FITS map has at most {MOST_AXES}"
        raise ValueError(msg)
    values = [[read_values(table, c) for c in names] for names in columns]
    sizes = tuple(shape) if shape is not None else _count_sizes(values, len(table.data), where)
    if len(sizes) != len(columns):
        msg = f"{where}: the map has {len(sizes)} axes beside the sky, its table {table.name} has {len(columns)}"
        raise ValueError(msg)
    axes = []
    for number, names in enumerate(columns):
        parts = [
            _along(v, sizes, number, f"{where}, column {c} of {table.name}")
            for v, c in zip(values[number], names, strict=True)
        ]
        axes.append(_axis(table, header, names, parts, number, where))
    return axes


def _axis_columns(table: fits.BinTableHDU, header: Mapping[str, Any], where: str) -> list[list[str]]:
    """Columns of each axis: one name for nodes, two for edges."""
    sources = [h for h in (header, table.header) if "AXCOLS1" in h]
    if sources:
        texts = [str(sources[0][f"AXCOLS{i}"]) for i in range(1, MOST_AXES + 2) if f"AXCOLS{i}" in sources[0]]
        wanted = [[n.strip() for n in text.split(",")] for text in texts]
    elif find_column(table, "E_MIN") and find_column(table, "E_MAX") and table.name != "ENERGIES":
        wanted = [["E_MIN", "E_MAX"]]
    elif find_column(table, "ENERGY"):
        wanted = [["ENERGY"]]
    else:
        msg = f"{where}: neither the map nor {table.name} says which columns its axes have (AXCOLS1, AXCOLS2, ...)"
        raise ValueError(msg)
    result = []
    for names in wanted:
        found = [find_column(table, *_alternatives(n)) for n in names]
        if None in found or len(names) not in (1, 2):
            msg = f"{where}: AXCOLS names {names}, but {table.name} has the columns {table.columns.names}"
            raise ValueError(msg)
        result.append([str(f) for f in found])
    return result


def _alternatives(name: str) -> list[str]:
    """Spellings of a column: E_MIN and ENERGY_MIN are the same."""
    upper = name.upper()
    return [name, re.sub(r"^E_", "ENERGY_", upper), re.sub(r"^ENERGY_(MIN|MAX)$", r"E_\1", upper)]


def _count_sizes(values: list[list[np.ndarray]], rows: int, where: str) -> tuple[int, ...]:
    sizes = tuple(_distinct(v[0]) for v in values)
    if int(np.prod(sizes)) != rows:
        msg = f"{where}: axes of {sizes} bins do not make the {rows} rows of the table"
        raise ValueError(msg)
    return sizes


def _distinct(column: np.ndarray) -> int:
    """Number of different values; numbers that differ by a rounding are the same."""
    values = np.unique(column)
    if values.dtype.kind in "SU" or len(values) < 2:
        return len(values)
    numbers = values.astype(np.float64)
    return 1 + int((np.diff(numbers) > EDGE_RTOL * np.abs(numbers[1:])).sum())


def _along(column: np.ndarray, sizes: tuple[int, ...], number: int, where: str) -> np.ndarray:
    """Values along one axis of a column that lists all combinations, in the order of the file.

    Rows have the first axis fastest; numpy's meshgrid of three or more axes leaves another order.
    """
    count = len(sizes)
    swapped = [1, 0, *range(2, count)]
    orders = [list(reversed(range(count)))] + ([swapped] if count > 2 else [])
    if len(column) != int(np.prod(sizes)):
        msg = f"{where}: {len(column)} rows, but the map has {sizes} bins"
        raise ValueError(msg)
    for order in orders:
        cube = np.moveaxis(column.reshape([sizes[i] for i in order]), order.index(number), 0).reshape(sizes[number], -1)
        same = cube == cube[:, :1] if cube.dtype.kind in "SU" else np.isclose(cube, cube[:, :1], rtol=EDGE_RTOL, atol=0)
        if same.all():
            return cube[:, 0]
    msg = f"{where}: the rows are not the product of axes of {sizes} bins"
    raise ValueError(msg)


def _axis(
    table: fits.BinTableHDU,
    header: Mapping[str, Any],
    columns: list[str],
    parts: list[np.ndarray],
    number: int,
    where: str,
) -> xr.DataArray:
    name = re.sub(r"_(min|max)$", "", columns[0].lower()) if len(columns) == 2 else columns[0].lower()
    name = NAMES.get(name, name)
    if parts[0].dtype.kind in "SU":
        return xr.DataArray(parts[0], dims=name, coords={name: parts[0]}, name=name)
    unit = (table.columns[columns[0]].unit or "").strip() or FERMI_UNITS.get(table.name, "")
    values = [_canonical(p, name, unit, header, table, where) for p in parts]
    interp = str(header.get(f"INTERP{number + 1}", table.header.get(f"INTERP{number + 1}", ""))).strip().lower()
    if not interp:
        interp = "log" if name.startswith("energy") else "lin"
    lo, hi = (values[0], values[-1])
    # a square root between nodes is nearer to linear than to logarithmic; the nodes are kept as they are
    interp = interp if interp in ("lin", "log") else "lin"
    try:
        return bin_axis(name, lo, hi, AXIS_UNITS.get(name, unit), interp=interp, long_name=LABELS.get(name))
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error


def _canonical(
    values: np.ndarray, name: str, unit: str, header: Mapping[str, Any], table: fits.BinTableHDU, where: str
) -> np.ndarray:
    target = AXIS_UNITS.get(name)
    numbers = values.astype(np.float64)
    if target is None or unit == target:
        factor = 1.0
    else:
        try:
            factor = conversion_factor(unit, target)
        except ValueError as error:
            have = f"unit {unit!r}" if unit else "no unit"
            msg = f"{where}: axis {name!r} in {table.name} has {have}, it needs one that converts to {target!r}"
            raise ValueError(msg) from error
    numbers = numbers if factor == 1 else numbers * factor
    if name == "time":
        numbers = numbers + reference_seconds(table.header if "MJDREFI" in table.header else header)
    return numbers


def same_axis(first: xr.DataArray, second: xr.DataArray) -> bool:
    """True for equal axes; edges are compared to a rounding (files hold float32)."""
    if first.sizes != second.sizes or first.dtype.kind != second.dtype.kind:
        return False
    name = str(first.name)
    if first.dtype.kind in "SU":
        return bool((first.values == second.values).all())
    return bool(first.xindexes[name].equals(second.xindexes[name]))


def bands_hdu(axes: Sequence[xr.DataArray], name: str) -> tuple[fits.BinTableHDU, dict[str, Any]]:
    """Return the BANDS table of a map and the cards that name its columns.

    Parameters
    ----------
    axes
        First (fastest) axis first: binned axes, numbers without bins, or text labels.
    name
        Name of the extension, ``"COUNTS_BANDS"``.

    Returns
    -------
    table : astropy.io.fits.BinTableHDU
    cards : dict
        AXCOLSn and INTERPn, for the header of the map.

    Examples
    --------
    >>> import xgamma as xg
    >>> table, cards = bands_hdu([xg.energy_axis("1 TeV", "10 TeV", nbin=2)], "COUNTS_BANDS")
    >>> cards
    {'AXCOLS1': 'E_MIN,E_MAX', 'INTERP1': 'log'}
    >>> table.columns.names
    ['CHANNEL', 'ENERGY', 'E_MIN', 'E_MAX']
    """
    if len(axes) > MOST_AXES:
        msg = f"{len(axes)} dimensions beside the sky; a FITS map has at most {MOST_AXES}"
        raise ValueError(msg)
    sizes = [axis.size for axis in axes]
    rows = int(np.prod(sizes))
    columns = [fits.Column("CHANNEL", "K", array=np.arange(rows))]
    cards: dict[str, Any] = {}
    for number, axis in enumerate(axes):
        parts, cards[f"AXCOLS{number + 1}"] = _axis_parts(axis)
        if axis.dtype.kind not in "SUO":
            cards[f"INTERP{number + 1}"] = str(axis.attrs.get("interp", "lin"))
        # rows have the first axis fastest
        repeat, tile = int(np.prod(sizes[:number])), int(np.prod(sizes[number + 1 :]))
        for column, values, fits_format, unit in parts:
            columns.append(fits.Column(column, fits_format, unit=unit, array=np.tile(np.repeat(values, repeat), tile)))
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(cards)
    if any(axis.name == "time" for axis in axes):
        time_cards = {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "tt"}
        table.header.update(time_cards)
        cards.update(time_cards)
    return table, cards


def _axis_parts(axis: xr.DataArray) -> tuple[list[tuple[str, np.ndarray, str, str | None]], str]:
    """Columns of one axis (name, values, format, unit), and what AXCOLS says of them."""
    name = str(axis.name)
    if axis.dtype.kind in "SUO":
        text = axis.values.astype(str)
        return [(name.upper(), text, f"{max(1, text.dtype.itemsize // 4)}A", None)], name.upper()
    center = axis.values.astype(np.float64)
    if f"{name}_min" in axis.coords:
        lo, hi = (axis[f"{name}_{end}"].values.astype(np.float64) for end in ("min", "max"))
    else:
        lo = hi = center
    unit = str(axis.attrs.get("units", "")) or None
    upper = name.upper()
    low, high = ("E_MIN", "E_MAX") if name == "energy" else (f"{upper}_MIN", f"{upper}_MAX")
    nodes = bool((lo == hi).all())
    if nodes:
        lo, hi = _edges_between(center, str(axis.attrs.get("interp", "lin")))
    elif not np.allclose(lo[1:], hi[:-1], rtol=EDGE_RTOL, atol=1e-12) and name != "time":
        msg = f"the bins of {name!r} have gaps, which a FITS map cannot hold; select a contiguous range first"
        raise ValueError(msg)
    parts = [(upper, center, "D", unit), (low, lo, "D", unit), (high, hi, "D", unit)]
    return [(c, v, f, u) for c, v, f, u in parts], upper if nodes else f"{low},{high}"


def _edges_between(nodes: np.ndarray, interp: str) -> tuple[np.ndarray, np.ndarray]:
    """Edges half way between nodes; a single node has no width."""
    if len(nodes) < 2:
        return nodes, nodes
    scaled = np.log(nodes) if interp == "log" else nodes
    middle = 0.5 * (scaled[1:] + scaled[:-1])
    edges = np.concatenate([[2 * scaled[0] - middle[0]], middle, [2 * scaled[-1] - middle[-1]]])
    edges = np.exp(edges) if interp == "log" else edges
    return edges[:-1], edges[1:]
