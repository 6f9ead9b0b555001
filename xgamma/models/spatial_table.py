"""Maps of the sky as tables: logarithms are interpolated between pixels, over energy and further axes."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any, Self

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import conversion_factor
from xgamma.io.fits_map import read_map
from xgamma.models.power_law import BRIGHTNESS
from xgamma.models.table import canonical_unit, checked_nodes

__all__ = ["SkyTable", "as_map"]

FloatArray = NDArray[np.float64]

#: Values below this one are 0, as in the single precision of files.
TINY = float(np.finfo(np.float32).tiny)
#: Logarithms up to this one are those of zeros.
EMPTY = float(np.log(10.0 * TINY))
#: Parts along each side of a pixel over which its mean is taken; an even number, so that none lies on a peak.
PARTS = 4


@dataclass(frozen=True, eq=False)
class SkyTable:
    """A map of the sky, ready for interpolation; copies of models share it.

    Parameters
    ----------
    grid
        Sky grid of the map.
    logs
        Logarithms of the values, shape (..., [energy,] y, x).
    energy
        Energies in TeV with the edges of the range, None for maps without.
    unit
        Canonical unit of the values.
    """

    grid: SkyGrid
    logs: FloatArray
    energy: tuple[FloatArray, float, float] | None
    unit: str

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @classmethod
    def create(cls, values: xr.DataArray, *, normalize: bool) -> Self:
        """Make the table of a map with dims (..., [energy,] y, x).

        Raises
        ------
        ValueError
            If the map has no sky coordinates, or no value above 0.
        """
        grid = grid_of(values)
        name = next((n for n in ("energy_true", "energy") if n in values.dims), None)
        values = values.transpose(..., *([name] if name else []), "y", "x")
        data = np.array(values.values, dtype=float)
        if np.any(data < 0) or not np.all(np.isfinite(data)):
            warnings.warn("the template has values that are negative or not finite; they count as 0", stacklevel=4)
            data = np.where(np.isfinite(data), np.maximum(data, 0.0), 0.0)
        if not np.any(data > 0):
            msg = "the template has no value above 0"
            raise ValueError(msg)
        units = str(values.attrs.get("units", ""))
        if normalize:
            sums = data.sum(axis=(-2, -1), keepdims=True)
            omega = grid.geometry.solid_angle
            ok = (sums > 0) & (omega > 0)
            data = np.divide(data, sums * omega, out=np.zeros_like(data), where=ok)
            unit = "sr-1"
        else:
            # maps without a unit are taken as distributions
            unit = canonical_unit(units, "sr-1", BRIGHTNESS) or "sr-1"
            data *= conversion_factor(units, unit) if u.Unit(units) != u.dimensionless_unscaled else 1.0
        energy = None if name is None else _energies(values, name)
        return cls(grid, np.log(np.maximum(data, TINY)), energy, unit)

    def pixels(self, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Return positions (y, x) in the array of places in degrees, and whether they lie on the map."""
        with np.errstate(invalid="ignore"):
            y, x = self.grid.sky_to_pixel(lon, lat)
            y, x = y - self.grid.y.start, x - self.grid.x.start
            (ny, nx), edge = self.grid.shape, 0.5 + 1e-9
            inside = (y >= -edge) & (y <= ny - 1 + edge) & (x >= -edge) & (x <= nx - 1 + edge)
        return np.where(inside, y, 0.0), np.where(inside, x, 0.0), inside

    def evaluate(self, lon: FloatArray, lat: FloatArray, energy: FloatArray | None, logs: FloatArray) -> FloatArray:
        """Interpolate at places in degrees of the map's frame, and at energies in TeV.

        Parameters
        ----------
        lon, lat
            Any equal shape.
        energy
            Shape (n,), None for maps without.
        logs
            What is left of `logs` when further axes are taken away, shape ([energy,] y, x).

        Returns
        -------
        numpy.ndarray
            Shape of the places, behind energies; 0 beside the map and beyond its energies.
        """
        y, x, inside = self.pixels(*np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float)))
        return np.where(inside, self._at(y, x, energy, logs), 0.0)

    def conserving(self, lon: FloatArray, lat: FloatArray, energy: FloatArray | None, logs: FloatArray) -> FloatArray:
        """Interpolate like `evaluate`, with the mean over each pixel of the map that the map has there.

        Logarithms interpolated linearly lie below a map at its peaks, and next to zeros they fall off at once:
        integrals of `evaluate` lack two percent of a Gaussian of three pixels, and a ring of half a pixel around a
        disc. Where the mean over a pixel is too high it is scaled, where it is too low the rest is added evenly.
        """
        y, x, inside = self.pixels(*np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float)))
        values = np.where(inside, self._at(y, x, energy, logs), 0.0)
        if not inside.any():
            return values
        (ny, nx), turn = self.grid.shape, self._turn
        row = np.clip(np.rint(y).astype(np.intp), 0, ny - 1)
        column = np.rint(x).astype(np.intp)
        column = column % turn if turn is not None else np.clip(column, 0, nx - 1)
        y0, y1, x0, x1 = (int(f(v[inside])) for v in (row, column) for f in (np.min, np.max))
        rows, columns = np.arange(y0, y1 + 1)[:, None], np.arange(x0, x1 + 1)
        offsets = (np.arange(PARTS) + 0.5) / PARTS - 0.5
        cell_y, cell_x = (v.astype(float) for v in np.broadcast_arrays(rows, columns))
        own = self._at(cell_y, cell_x, energy, logs)
        mean = np.zeros_like(own)
        for dy in offsets:
            for dx in offsets:
                mean += self._at(cell_y + dy, cell_x + dx, energy, logs) / PARTS**2
        scale = np.where(mean > own, np.divide(own, mean, out=np.ones_like(own), where=mean > 0), 1.0)
        rest = np.maximum(own - mean, 0.0)
        place = (..., np.where(inside, row - y0, 0), np.where(inside, column - x0, 0))
        return np.where(inside, values * scale[place] + rest[place], 0.0)

    def _at(self, y: FloatArray, x: FloatArray, energy: FloatArray | None, logs: FloatArray) -> FloatArray:
        """Interpolate at positions in the array, shape of these behind energies; 0 beyond the map's energies."""
        (y0, y1, wy), (x0, x1, wx) = (
            _neighbours(v, n, p) for v, n, p in zip((y, x), self.grid.shape, (None, self._turn), strict=True)
        )
        plane = (
            logs[..., y0, x0] * ((1 - wy) * (1 - wx))
            + logs[..., y0, x1] * ((1 - wy) * wx)
            + logs[..., y1, x0] * (wy * (1 - wx))
            + logs[..., y1, x1] * (wy * wx)
        )
        if self.energy is not None:
            plane = _along_energy(plane, *self.energy, np.atleast_1d(np.asarray(energy, float)))
        values = np.exp(plane)
        return np.where(plane > EMPTY, values, 0.0)

    @property
    def _turn(self) -> int | None:
        """Number of pixels along x of a map that shows a full turn of longitude."""
        period = self.grid.frame.period
        nx = self.grid.shape[1]
        return nx if period is not None and abs(period - nx) < 1e-6 else None

    @property
    def bin_size(self) -> float:
        """Smaller side of a pixel at the reference point, in degrees."""
        return min(self.grid.frame.binsize)

    @property
    def radius(self) -> float:
        """Half of the diagonal of the map in degrees."""
        ny, nx = self.grid.shape
        size_y, size_x = self.grid.frame.binsize
        return 0.5 * float(np.hypot(ny * size_y, nx * size_x))


def as_map(template: Any, what: str) -> tuple[xr.DataArray, str | None]:
    """Return a map and the name of its file from a map or the name of a file."""
    if isinstance(template, (str, os.PathLike)):
        return read_map(template), os.fspath(template)
    if not isinstance(template, xr.DataArray):
        msg = f"{what} needs a map (a DataArray with sky coordinates) or the name of a FITS file, not {template!r}"
        raise TypeError(msg)
    return template, None


def _energies(values: xr.DataArray, name: str) -> tuple[FloatArray, float, float]:
    coordinate = values[name]
    factor = conversion_factor(str(coordinate.attrs.get("units", "TeV")), "TeV")
    nodes = coordinate.values.astype(float) * factor
    low, high = (
        float(values[f"{name}_{end}"].values[i]) * factor if f"{name}_{end}" in values.coords else nodes[i]
        for end, i in (("min", 0), ("max", -1))
    )
    if nodes.size == 1:
        return nodes, low, high
    return checked_nodes(nodes * u.TeV, name), low, high


def _neighbours(
    place: FloatArray, number: int, turn: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Pixels around places along one axis, and the weight of the upper one; the outermost half pixel is constant."""
    if turn is None:
        place = np.clip(place, 0.0, number - 1.0)
    first = np.floor(place).astype(np.intp)
    if turn is not None:
        return first % turn, (first + 1) % turn, place - first
    first = np.minimum(first, max(number - 2, 0))
    return first, np.minimum(first + 1, number - 1), place - first


def _along_energy(plane: FloatArray, nodes: FloatArray, low: float, high: float, energy: FloatArray) -> FloatArray:
    """Interpolate logarithms over the logarithm of energy; 0 beyond the range."""
    if nodes.size == 1:
        mixed = np.repeat(plane, energy.size, axis=0)
    else:
        scale, x = np.log(nodes), np.log(np.clip(energy, low, high))
        i = np.clip(np.searchsorted(scale, x, side="right") - 1, 0, nodes.size - 2)
        weight = ((x - scale[i]) / (scale[i + 1] - scale[i])).reshape(-1, *(1,) * (plane.ndim - 1))
        # the outermost half bins continue the line, but not that to a 0
        first, second = plane[i], plane[i + 1]
        weight = np.where(np.minimum(first, second) > EMPTY, weight, np.clip(weight, 0.0, 1.0))
        mixed = (1.0 - weight) * first + weight * second
    outside = (energy < low * (1 - 1e-9)) | (energy > high * (1 + 1e-9))
    mixed[outside] = -np.inf
    return np.asarray(mixed)
