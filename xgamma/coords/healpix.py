"""HEALPix maps: coordinates with an index of xdggs, and what they hold, brought onto sky grids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.frame import SkyFrame

__all__ = ["CELLS", "HealpixGrid", "healpix_coords", "healpix_grid_of", "healpix_solid_angle", "load_xdggs"]

#: Dimension of the cells, and coordinate with their numbers, as xdggs calls them.
CELLS, CELL_IDS = "cells", "cell_ids"
#: Frames that a map can be in.
FRAMES = ("galactic", "icrs", "fk5")
#: Finest level whose cells have numbers of 64 bits.
LEVELS = range(30)


def load_xdggs() -> Any:
    """Return the module `xdggs`, an extra that knows the cells.

    Raises
    ------
    ImportError
        If it is not installed, saying how to install it.

    Examples
    --------
    >>> load_xdggs().__name__
    'xdggs'
    """
    try:
        import xdggs
    except ImportError as error:
        msg = "HEALPix maps need the package xdggs: install it with pip install 'xgamma[healpix]'"
        raise ImportError(msg) from error
    return xdggs


@dataclass(frozen=True, eq=False)
class HealpixGrid:
    """Cells of a HEALPix map.

    Parameters
    ----------
    level
        Each of the twelve base cells is divided into ``4**level``; NSIDE is ``2**level``.
    nested
        Whether cells are numbered by the tree of their divisions, or along rings of equal latitude.
    frame
        ``"galactic"``, ``"icrs"`` or ``"fk5"``.
    cells
        Numbers of the cells in the order of the map, None for all in the order of their numbers.

    Examples
    --------
    >>> HealpixGrid(6, False, "icrs").size
    49152
    """

    level: int
    nested: bool
    frame: str
    cells: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        if self.frame not in FRAMES:
            msg = f"frame={self.frame!r} must be one of {FRAMES}"
            raise ValueError(msg)
        if self.level not in LEVELS:
            msg = f"level={self.level!r} must be a whole number from 0 to {LEVELS[-1]} (NSIDE = 2**level)"
            raise ValueError(msg)
        if self.cells is not None:
            cells = self.cells
            if cells.ndim != 1 or not cells.size or cells.dtype.kind not in "iu":
                msg = "cells must be whole numbers, one or more"
                raise ValueError(msg)
            if int(cells.min()) < 0 or int(cells.max()) >= self.whole:
                msg = (
                    f"cells have numbers from {cells.min()} to {cells.max()}; at level {self.level} there are "
                    f"those from 0 to {self.whole - 1}"
                )
                raise ValueError(msg)
            if np.unique(cells).size != cells.size:
                msg = "cells have numbers that occur more than once"
                raise ValueError(msg)

    @property
    def nside(self) -> int:
        """Number of cells along a side of a base cell."""
        return 1 << self.level

    @property
    def whole(self) -> int:
        """Number of cells of the whole sky."""
        return 12 << (2 * self.level)

    @property
    def size(self) -> int:
        """Number of cells of the map."""
        return self.whole if self.cells is None else int(self.cells.size)

    @property
    def numbers(self) -> NDArray[np.uint64]:
        """Numbers of the cells of the map."""
        return np.arange(self.whole, dtype=np.uint64) if self.cells is None else self.cells.astype(np.uint64)

    @property
    def cell_size(self) -> float:
        """Square root of a cell's solid angle, degrees."""
        return math.degrees(math.sqrt(self.solid_angle))

    @property
    def solid_angle(self) -> float:
        """Solid angle of a cell in sr: all are equal."""
        return 4.0 * math.pi / self.whole

    def info(self, nested: bool | None = None) -> Any:
        """Return the description that xdggs has of such cells."""
        scheme = "nested" if (self.nested if nested is None else nested) else "ring"
        return load_xdggs().HealpixInfo(level=self.level, indexing_scheme=scheme)

    def find(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the place in the map of the cell that holds each position (degrees of `frame`), -1 without one."""
        valid = np.isfinite(lon) & np.isfinite(lat)
        numbers = self.info().geographic2cell_ids(
            np.ascontiguousarray(np.where(valid, lon, 0.0), dtype=float).ravel(),
            np.ascontiguousarray(np.where(valid, lat, 0.0), dtype=float).ravel(),
        )
        return np.where(valid, self.place(np.asarray(numbers).reshape(np.shape(lon))), -1)

    def place(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Return where cells of these numbers stand in the map, -1 for those that it lacks."""
        if self.cells is None:
            return numbers.astype(np.int64)
        order = np.argsort(self.cells, kind="stable")
        known = self.cells[order].astype(np.int64)
        at = np.minimum(np.searchsorted(known, numbers.astype(np.int64)), known.size - 1)
        return np.where(known[at] == numbers.astype(np.int64), order[at], -1)

    def from_ring(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where cells numbered along rings stand in the map, -1 for those that it lacks."""
        if not self.nested:
            return self.place(pixels)
        unique, inverse = np.unique(pixels, return_inverse=True)
        lon, lat = self.info(nested=False).cell_ids2geographic(unique.astype(np.uint64))
        return self.place(np.asarray(self.info().geographic2cell_ids(lon, lat)))[inverse].reshape(pixels.shape)

    def centers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude and latitude of the cells' centres in degrees of `frame`."""
        lon, lat = self.info().cell_ids2geographic(self.numbers)
        return np.asarray(lon) % 360.0, np.asarray(lat)

    def from_frame(
        self, sky: SkyFrame, lon: NDArray[np.float64], lat: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Turn positions in degrees of another frame into this map's."""
        if sky.name == self.frame:
            return lon, lat
        own = SkyFrame.create(0.0, 0.0, 1.0, "CAR", self.frame)
        return own.from_icrs(*sky.to_icrs(lon, lat))


def healpix_coords(
    level: int, *, nested: bool = True, frame: str = "galactic", cells: NDArray[Any] | None = None
) -> xr.Coordinates:
    """Return the coordinates of a HEALPix map.

    Parameters
    ----------
    level
        Each of the twelve base cells is divided into ``4**level``; NSIDE is ``2**level``.
    nested
        Whether cells are numbered by the tree of their divisions, or along rings of equal latitude.
    frame
        ``"galactic"``, ``"icrs"`` or ``"fk5"``.
    cells
        Numbers of the cells, dims (cells,); all by default.

    Returns
    -------
    xarray.Coordinates
        ``cell_ids`` on the dim ``cells`` with an index of xdggs, and the scalar ``frame``.

    Raises
    ------
    ImportError
        If xdggs is not installed.
    ValueError
        If level, frame or cells are not valid.

    Examples
    --------
    >>> sky = xr.DataArray(np.arange(48.0), dims="cells", coords=healpix_coords(1))
    >>> sky.dggs.sel_latlon(longitude=[10.0], latitude=[80.0]).values
    array([3.])
    """
    grid = HealpixGrid(level, nested, frame, None if cells is None else np.asarray(cells))
    return _coords(grid)


def _coords(grid: HealpixGrid) -> xr.Coordinates:
    xdggs = load_xdggs()
    scheme = "nested" if grid.nested else "ring"
    attrs = {"grid_name": "healpix", "level": grid.level, "indexing_scheme": scheme}
    plain = xr.Dataset(coords={CELL_IDS: (CELLS, grid.numbers, attrs)})
    return xdggs.decode(plain).assign_coords(frame=((), grid.frame, {"long_name": "Celestial frame"})).coords


def healpix_grid_of(obj: xr.Dataset | xr.DataArray) -> HealpixGrid:
    """Return the cells of a HEALPix map.

    Parameters
    ----------
    obj
        Map with the dim ``cells``, the coordinate ``cell_ids`` with its index, and ``frame``.

    Returns
    -------
    HealpixGrid

    Raises
    ------
    ValueError
        If one of these is missing or the index belongs to no HEALPix map.

    Examples
    --------
    >>> healpix_grid_of(xr.Dataset(coords=healpix_coords(2, frame="icrs"))).nside
    4
    """
    if CELLS not in obj.dims or CELL_IDS not in obj.coords:
        msg = (
            f"the object is no HEALPix map: it has the dims {list(map(str, obj.dims))}, and needs {CELLS!r} with the "
            f"coordinate {CELL_IDS!r}; see xgamma.open_healpix"
        )
        raise ValueError(msg)
    info = getattr(obj.xindexes.get(CELL_IDS), "grid_info", None)
    if info is None or not hasattr(info, "indexing_scheme"):
        msg = f"{CELL_IDS!r} has no HEALPix index of xdggs: restore it with xdggs.decode, or open the file again"
        raise ValueError(msg)
    if info.indexing_scheme not in ("nested", "ring"):
        msg = f"cells numbered as {info.indexing_scheme!r} are not supported; convert them to 'nested' or 'ring'"
        raise ValueError(msg)
    if "frame" not in obj.coords:
        msg = "the HEALPix map does not say its celestial frame: assign_coords(frame='galactic') or 'icrs'"
        raise ValueError(msg)
    numbers = np.asarray(obj[CELL_IDS].values)
    grid = HealpixGrid(int(info.level), info.indexing_scheme == "nested", str(obj["frame"].values))
    all_in_order = numbers.size == grid.whole and np.array_equal(numbers, np.arange(grid.whole))
    return grid if all_in_order else HealpixGrid(grid.level, grid.nested, grid.frame, numbers)


def healpix_solid_angle(obj: xr.Dataset | xr.DataArray) -> float:
    """Return the solid angle of a cell in sr; all cells of a HEALPix map have the same.

    Examples
    --------
    >>> round(healpix_solid_angle(xr.Dataset(coords=healpix_coords(0))) * 12 / np.pi, 12)
    4.0
    """
    return healpix_grid_of(obj).solid_angle
