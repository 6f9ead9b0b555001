"""HEALPix maps in FITS, as the Fermi-LAT tools, gammapy and healpy write them: read lazily."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import rename_axis
from xgamma.coords.healpix import CELLS, HealpixGrid, healpix_coords
from xgamma.io.fits_axes import bands_axes
from xgamma.io.fits_file import expand_path, find_column, open_fits
from xgamma.io.fits_map import COUNTS_UNITS, EXPOSURE_UNIT, TEMPLATE_UNIT

__all__ = ["HealpixLayout", "is_healpix", "load_healpix", "open_healpix"]

#: Celestial frames by the card COORDSYS. Without the card positions are equatorial: so gtexpcube2 writes exposures.
FRAMES = {
    "GAL": "galactic", "G": "galactic", "GALACTIC": "galactic",
    "CEL": "icrs", "EQU": "icrs", "C": "icrs", "Q": "icrs", "ICRS": "icrs", "": "icrs", "CELESTIAL": "icrs",
}  # fmt: skip
#: Value of cells that were not seen (healpy).
UNSEEN = -1.6375e30
#: Columns with the numbers of cells.
PIXELS = ("PIX", "PIXEL", "HPX_INDEX")
CHANNEL = re.compile(r"(CHANNEL|ENERGY|BIN)_?\d+", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class HealpixLayout:
    """What the header of a HEALPix map says: enough to label it, and small enough to send to a worker.

    Parameters
    ----------
    path
        File, absolute.
    index
        Number of the HDU in the file.
    name
        EXTNAME in capitals.
    kind
        ``"columns"`` (one for each plane), ``"vector"`` (many pixels in a row) or ``"sparse"`` (a row for each number).
    grid
        Cells, None for those that `load_healpix` finds by itself.
    columns
        Columns with values.
    axes
        Axes beside the cells in the order of the array: the last one of the file first.
    units
        Unit of the values.
    bands
        Name of the HDU with the axes.
    region
        Card HPX_REG: the part of the sky in words of gammapy.
    """

    path: str
    index: int
    name: str
    kind: str
    grid: HealpixGrid | None
    columns: tuple[str, ...]
    axes: tuple[xr.DataArray, ...]
    units: str
    bands: str
    region: str = ""

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return f"{self.path}, HDU {self.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(axis.size for axis in self.axes)


def is_healpix(hdu: Any) -> bool:
    """Say whether an HDU is a HEALPix map.

    Examples
    --------
    >>> is_healpix(fits.PrimaryHDU())
    False
    """
    return str(hdu.header.get("PIXTYPE", "")).strip().upper() == "HEALPIX"


def open_healpix(path: str | os.PathLike[str], hdu: str | int | None = None) -> xr.DataArray:
    """Open a HEALPix map lazily.

    Parameters
    ----------
    path
        FITS file, plain or gzipped (``$VARIABLES`` expanded): counts, exposure or template of the Fermi-LAT tools, a
        map of gammapy or healpy.
    hdu
        Name or number of the HDU; needed where the file has several maps.

    Returns
    -------
    xarray.DataArray
        Dims (axes..., cells), float64, one Dask chunk; cells that were not seen are NaN. Coordinates: ``cell_ids`` with
        an index of xdggs, the scalar ``frame``, axes in canonical units. ``attrs["units"]`` as the file has it.

    Raises
    ------
    ImportError
        If xdggs is not installed, which comes with ``xgamma[healpix]``.
    FileNotFoundError
        If there is no such file.
    OSError
        If it is truncated or not FITS.
    ValueError
        If it holds no HEALPix map, or several and none was named, or the header contradicts itself.

    Notes
    -----
    Without a card COORDSYS positions are equatorial. Nodes of energy (ENERGIES) are an axis ``energy_true`` of bins
    without width.

    References
    ----------
    .. [1] Gorski et al. 2005, ApJ 622, 759.
    .. [2] GADF, section "HEALPix maps".

    Examples
    --------
    >>> from xgamma.coords.healpix import healpix_coords
    >>> from xgamma.io.healpix_write import write_healpix
    >>> sky = xr.DataArray(np.arange(12.0), dims="cells", coords=healpix_coords(0), attrs={"units": "cm2 s"})
    >>> _ = write_healpix(sky, "sky.fits")
    >>> open_healpix("sky.fits").dggs.grid_info.nside
    1
    """
    layout = find_healpix(path, hdu)
    grid = layout.grid
    assert grid is not None
    coords = healpix_coords(grid.level, nested=grid.nested, frame=grid.frame, cells=grid.cells)
    for axis in layout.axes:
        coords = coords.merge(axis.coords).coords
    dims = [*(str(axis.name) for axis in layout.axes), CELLS]
    name = "map" if layout.name in ("SKYMAP", "XTENSION", "HPXEXPOSURES") else layout.name.lower()
    attrs = {"units": layout.units} | ({"HPX_REG": layout.region} if layout.region else {})
    return xr.DataArray(_lazy(layout), coords, dims, name=name, attrs=attrs)


def find_healpix(path: str | os.PathLike[str], hdu: str | int | None = None) -> HealpixLayout:
    """Return the layout of the HEALPix map of a file; headers, axis tables and numbers of cells are read.

    Raises
    ------
    ValueError
        If there is none, or several and none was named.
    """
    file = os.path.abspath(expand_path(path))
    with open_fits(file) as hdus:
        names = [str(h.name or ("PRIMARY" if i == 0 else f"HDU{i}")).upper() for i, h in enumerate(hdus)]
        maps = [i for i, h in enumerate(hdus) if is_healpix(h)]
        if hdu is not None:
            wanted = [i for i, n in enumerate(names) if (n == hdu.upper() if isinstance(hdu, str) else i == hdu)]
            if not wanted:
                msg = f"{file} has no HDU {hdu!r}; it has {names}"
                raise ValueError(msg)
            maps = [i for i in maps if i in wanted]
        if len(maps) != 1:
            has = f"several HEALPix maps ({', '.join(names[i] for i in maps)}): name one with hdu="
            none = f"no HEALPix map (PIXTYPE='HEALPIX'){f' in HDU {hdu!r}' if hdu is not None else ''}; it has {names}"
            msg = f"{file} has {has if maps else none}"
            raise ValueError(msg)
        return _layout(hdus, maps[0], names, file)


def _layout(hdus: fits.HDUList, index: int, names: list[str], file: str) -> HealpixLayout:
    hdu, where = hdus[index], f"{file}, HDU {names[index]}"
    header = hdu.header
    if not isinstance(hdu, fits.BinTableHDU):
        msg = f"{where}: a HEALPix map is a binary table, this is {type(hdu).__name__}"
        raise ValueError(msg)
    level = _level(header, where)
    nested = _nested(header, where)
    system = str(header.get("COORDSYS", "")).strip().upper()
    if system not in FRAMES:
        msg = f"{where}: COORDSYS={system!r} is not known; it should be GAL, CEL, EQU or ICRS"
        raise ValueError(msg)
    pixel = find_column(hdu, *PIXELS)
    kind, columns = _columns(hdu, pixel, where)
    cells = None if pixel is None else _cell_numbers(hdu, pixel, where)
    if kind == "sparse":
        # a whole sky with zeros where nothing is listed, unless the header speaks of a region
        assert cells is not None
        cells = np.unique(cells) if str(header.get("HPX_REG", "")).strip() else None
    grid = _grid(level, nested, FRAMES[system], cells, where)
    bands = _bands(header, names[index], names, where)
    axes: list[xr.DataArray] = []
    if bands is not None:
        if find_column(hdus[bands], "NSIDE"):
            msg = f"{where}: planes of different NSIDE (column of {names[bands]}) are not supported"
            raise ValueError(msg)
        axes = bands_axes(hdus[bands], header, _axis_shape(hdus[bands], header, columns, kind), where)
        if names[bands] == "ENERGIES" and axes[0].name == "energy":
            axes[0] = rename_axis(axes[0], "energy_true")
    layout = HealpixLayout(
        file, index, names[index], kind, grid, columns, tuple(reversed(axes)), _units(hdu, bands, names),
        "" if bands is None else names[bands], str(header.get("HPX_REG", "")).strip(),
    )  # fmt: skip
    _check_rows(hdu, layout, where)
    return layout


def _level(header: fits.Header, where: str) -> int:
    """Level from NSIDE or ORDER."""
    nside, order = header.get("NSIDE"), header.get("ORDER")
    if nside is None and (order is None or int(order) < 0):
        msg = f"{where}: neither NSIDE nor ORDER says how large the pixels are"
        raise ValueError(msg)
    number = 1 << int(order) if nside is None else int(nside)
    if number < 1 or number & (number - 1):
        msg = f"{where}: NSIDE={number} is not a power of two; such maps (ring only) are not supported"
        raise ValueError(msg)
    level = number.bit_length() - 1
    if order is not None and int(order) >= 0 and int(order) != level:
        msg = f"{where}: ORDER={order} contradicts NSIDE={nside}"
        raise ValueError(msg)
    return level


def _nested(header: fits.Header, where: str) -> bool:
    ordering = str(header.get("ORDERING", "")).strip().upper()
    if ordering not in ("RING", "NEST", "NESTED"):
        what = f"ORDERING={ordering!r} is not known" if ordering else "the card ORDERING is missing"
        msg = f"{where}: {what}; it should be RING or NESTED"
        raise ValueError(msg)
    return ordering.startswith("NEST")


def _columns(hdu: fits.BinTableHDU, pixel: str | None, where: str) -> tuple[str, tuple[str, ...]]:
    """Kind of table, and its columns with values."""
    if pixel is not None and str(hdu.header.get("INDXSCHM", "")).strip().upper() == "SPARSE":
        if find_column(hdu, "VALUE") is None:
            msg = f"{where}: INDXSCHM='SPARSE' needs a column VALUE; the table has {hdu.columns.names}"
            raise ValueError(msg)
        return "sparse", (str(find_column(hdu, "VALUE")),)
    names = [n for n in hdu.columns.names if n != pixel]
    channels = [n for n in names if CHANNEL.fullmatch(n)]
    columns = channels or names
    if not columns:
        msg = f"{where}: the table has no column with values; it has {hdu.columns.names}"
        raise ValueError(msg)
    wrong = [n for n in columns if not re.fullmatch(r"\d*[LBIJKED]", str(hdu.columns[n].format).strip())]
    if wrong:
        msg = f"{where}: the columns {wrong} do not hold plain numbers"
        raise ValueError(msg)
    wide = [n for n in columns if int(re.match(r"\d*", str(hdu.columns[n].format).strip()).group() or 1) > 1]  # type: ignore[union-attr]
    if wide and pixel is not None:
        msg = f"{where}: the column {wide[0]!r} has many numbers in a row, which does not go with {pixel}"
        raise ValueError(msg)
    return ("vector" if wide else "columns"), tuple(columns)


def _cell_numbers(hdu: fits.BinTableHDU, pixel: str, where: str) -> np.ndarray:
    scheme = str(hdu.header.get("INDXSCHM", "EXPLICIT")).strip().upper()
    if scheme == "LOCAL":
        msg = f"{where}: INDXSCHM='LOCAL' counts pixels inside a region that the file does not list; write it EXPLICIT"
        raise ValueError(msg)
    numbers = np.asarray(hdu.data[pixel])
    if numbers.dtype.kind not in "iu":
        msg = f"{where}: the column {pixel} should hold whole numbers"
        raise ValueError(msg)
    return numbers.astype(np.int64)


def _grid(level: int, nested: bool, frame: str, cells: np.ndarray | None, where: str) -> HealpixGrid:
    try:
        return HealpixGrid(level, nested, frame, cells)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error


def _bands(header: fits.Header, name: str, names: list[str], where: str) -> int | None:
    stated = str(header.get("BANDSHDU", "")).strip().upper()
    if stated and stated not in names:
        msg = f"{where}: BANDSHDU names {stated!r}, which the file does not have ({names})"
        raise ValueError(msg)
    return next((names.index(n) for n in (stated, f"{name}_BANDS", "EBOUNDS", "ENERGIES") if n and n in names), None)


def _axis_shape(
    table: fits.BinTableHDU, header: fits.Header, columns: tuple[str, ...], kind: str
) -> tuple[int, ...] | None:
    """Length of the axis where there is one only; several are counted by their values."""
    single = "AXCOLS2" not in header and "AXCOLS2" not in table.header
    if not single:
        return None
    return (len(table.data) if kind == "sparse" else len(columns),)


def _units(hdu: fits.BinTableHDU, bands: int | None, names: list[str]) -> str:
    columns = {str(c.unit or "").strip() for c in hdu.columns if c.name.upper() not in (*PIXELS, "CHANNEL")}
    text = str(hdu.header.get("BUNIT", hdu.header.get("UNIT", "")) or "").strip()
    units = text or (columns.pop() if len(columns) == 1 else "")
    if units.lower() in COUNTS_UNITS:
        return ""
    if not units and bands is not None and names[bands] == "ENERGIES":
        return EXPOSURE_UNIT if "GTI" in names or hdu.name.upper() == "HPXEXPOSURES" else TEMPLATE_UNIT
    return units


def _check_rows(hdu: fits.BinTableHDU, layout: HealpixLayout, where: str) -> None:
    grid, rows = layout.grid, int(hdu.header["NAXIS2"])
    assert grid is not None
    planes = int(np.prod(layout.shape))
    if layout.kind != "sparse" and planes != len(layout.columns):
        tables = f"{layout.name}_BANDS, EBOUNDS, ENERGIES"
        told = f"{layout.bands} tells of {planes}" if layout.bands else f"no table tells their axes ({tables})"
        msg = f"{where}: {len(layout.columns)} columns of values, but {told}"
        raise ValueError(msg)
    if layout.kind == "vector":
        rows *= int(re.match(r"\d*", str(hdu.columns[layout.columns[0]].format)).group() or 1)  # type: ignore[union-attr]
    if layout.kind != "sparse" and rows != grid.size:
        has = f"a part of them needs a column PIX and INDXSCHM='EXPLICIT'; the table has {hdu.columns.names}"
        msg = f"{where}: {rows} pixels, but the sky has {grid.whole} of NSIDE={grid.nside}; {has}"
        raise ValueError(msg)


def load_healpix(layout: HealpixLayout) -> np.ndarray:
    """Read the values: float64, shape (axes..., cells); NaN where nothing was seen."""
    grid = layout.grid
    assert grid is not None
    with open_fits(layout.path) as hdus:
        hdu = hdus[layout.index]
        if layout.kind == "sparse":
            return _dense(hdu, layout, grid)
        values = np.empty((len(layout.columns), grid.size))
        for plane, name in zip(values, layout.columns, strict=True):
            column = np.asarray(hdu.data[name], dtype=np.float64).ravel()
            if column.size != grid.size:
                msg = f"{layout.where}: {column.size} values do not fill {grid.size} cells; has the file changed?"
                raise ValueError(msg)
            plane[:] = column
    values[np.abs(values / UNSEEN - 1.0) < 1e-5] = np.nan
    return values.reshape(*layout.shape, grid.size)


def _dense(hdu: fits.BinTableHDU, layout: HealpixLayout, grid: HealpixGrid) -> np.ndarray:
    """Fill an array from a table of cells that are not zero."""
    numbers = np.asarray(hdu.data[find_column(hdu, *PIXELS)], dtype=np.int64)
    column = find_column(hdu, "CHANNEL")
    channel = np.zeros(numbers.size, int) if column is None else np.asarray(hdu.data[column], dtype=np.int64)
    place = grid.place(numbers)
    planes = int(np.prod(layout.shape))
    if channel.size and (channel.min() < 0 or channel.max() >= planes or (place < 0).any()):
        msg = f"{layout.where}: numbers of cells or channels beyond the map of {planes} planes"
        raise ValueError(msg)
    values = np.zeros((planes, grid.size))
    values[channel, place] = hdu.data[layout.columns[0]]
    return values.reshape(*layout.shape, grid.size)


def _lazy(layout: HealpixLayout) -> Any:
    """Dask array of one chunk that reads the map when it is computed."""
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed

    status = os.stat(layout.path)
    token = tokenize(layout.path, layout.index, status.st_mtime_ns, status.st_size)
    # labels stay here: a worker needs to know where the numbers lie and how many they are
    flat = replace(layout, axes=tuple(xr.DataArray(np.empty(a.size), dims=str(a.name)) for a in layout.axes))
    read = delayed(partial(load_healpix, flat), name=f"healpix-{token}", pure=True, traverse=False)
    assert layout.grid is not None
    values = read(dask_key_name=f"healpix-values-{token}")
    return da.from_delayed(values, shape=(*layout.shape, layout.grid.size), dtype=np.float64)
