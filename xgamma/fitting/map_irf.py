"""Responses of a map at the position of a source: exposure, point spread function and energy dispersion.

All of them change smoothly with the position, as a likelihood has to: the exposure is interpolated by cubics, the
coarse maps of the other two by quadratic splines.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid
from xgamma.fitting.response import Axes, intersections
from xgamma.kernels.radial import RadialNodes, monotone_slopes, radial_nodes, radius_of
from xgamma.kernels.sphere import from_vectors, rotate

__all__ = ["CoarseMap", "EnergyDispersion", "EnergyFolding", "Exposure", "MapResponse", "PointSpread", "pixel_of"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Part of the point spread function inside the radius at which it is cut off.
CONTAINMENT = 0.999
#: Neighbourhoods of a coarse map whose radial functions are kept.
KEPT_PIXELS = 8
#: Pixels of a coarse map, about, that tell how wide its functions are.
LOOKED_AT = 100


def pixel_of(grid: SkyGrid, vector: FloatArray) -> tuple[float, float]:
    """Return the pixel numbers (y, x), with fractions, of an ICRS unit vector; NaN where the projection has none."""
    lon, lat = from_vectors(rotate(vector, grid.frame.rotation))
    y, x = grid.sky_to_pixel(lon, lat)
    return float(y), float(x)


def _spline(place: float, number: int) -> tuple[IntArray, FloatArray]:
    """Pixels and weights of a quadratic spline: positive, their sum is 1, lines are exact."""
    middle = int(np.floor(place + 0.5))
    t = place - middle
    weights = np.array([0.5 * (0.5 - t) ** 2, 0.75 - t * t, 0.5 * (0.5 + t) ** 2])
    return np.minimum(np.maximum(np.arange(middle - 1, middle + 2), 0), number - 1), weights


class Blend(NamedTuple):
    """Pixels (n,) of a coarse map, and their weights (energy_true, n): the sum is 1, or 0 where nothing is seen."""

    rows: IntArray
    columns: IntArray
    weight: FloatArray


@dataclass(frozen=True, eq=False)
class CoarseMap:
    """Responses on a coarse grid of the sky, with the exposure as their weight.

    Parameters
    ----------
    grid
        Coarse grid; None for responses that are the same everywhere.
    values
        Shape (energy_true, irf_y, irf_x, ...), without the grid's axes where there is none.
    weight
        Exposure, shape (energy_true, irf_y, irf_x); None for equal weights.
    """

    grid: SkyGrid | None
    values: FloatArray
    weight: FloatArray | None = None

    def blend(self, vector: FloatArray) -> Blend:
        """Return the pixels that make the response at an ICRS unit vector, and their weights."""
        number = self.values.shape[0]
        one = np.zeros(1, np.intp)
        if self.grid is None:
            return Blend(one, one, np.ones((number, 1)))
        y, x = pixel_of(self.grid, vector)
        if not (np.isfinite(y) and np.isfinite(x)):
            return Blend(one, one, np.zeros((number, 1)))
        (iy, wy), (ix, wx) = (_spline(p - r.start, len(r)) for p, r in ((y, self.grid.y), (x, self.grid.x)))
        rows, columns = np.repeat(iy, 3), np.tile(ix, 3)
        weight = np.repeat(wy, 3) * np.tile(wx, 3) * np.ones((number, 1))
        if self.weight is not None:
            weight *= np.nan_to_num(self.weight[:, rows, columns])
        total = weight.sum(axis=1, keepdims=True)
        if not np.any(total > 0):
            return self._nearest(y, x)
        return Blend(rows, columns, np.divide(weight, total, out=np.zeros_like(weight), where=total > 0))

    def _nearest(self, y: float, x: float) -> Blend:
        """The nearest pixel that has an exposure: of sources whose centre lies outside the field of view."""
        assert self.grid is not None
        number, one = self.values.shape[0], np.zeros(1, np.intp)
        if self.weight is None or not np.any(self.weight > 0):
            return Blend(one, one, np.zeros((number, 1)))
        row, column = np.nonzero((self.weight > 0).any(axis=0))
        best = [int(np.argmin((row + self.grid.y.start - y) ** 2 + (column + self.grid.x.start - x) ** 2))]
        return Blend(row[best], column[best], np.ones((number, 1)))

    def pixels(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Return the responses of pixels, shape (energy_true, n, ...); 0 where they are not finite."""
        found = self.values[:, None] if self.grid is None else self.values[:, rows, columns]
        return np.nan_to_num(found)

    def at(self, vector: FloatArray) -> FloatArray:
        """Return the response at an ICRS unit vector, shape (energy_true, ...)."""
        blend = self.blend(vector)
        return np.asarray(np.einsum("kp,kp...->k...", blend.weight, self.pixels(blend.rows, blend.columns)))


@dataclass(frozen=True, eq=False)
class PointSpread:
    """Point spread function over a map.

    Parameters
    ----------
    table
        In sr-1 at the centres of the bins of separation, last axis rad.
    edges
        Edges of these bins in deg, shape (rad + 1,).
    everywhere
        True: it is cut off at one radius for all positions, so that a fit ends in the same minimum wherever it starts.
        False: at the radius of each position, for which the map around it is enough.
    """

    table: CoarseMap
    edges: FloatArray
    everywhere: bool = True
    _known: OrderedDict[tuple[float, bytes, bytes], FloatArray] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    @property
    def centers(self) -> FloatArray:
        """Middle of the bins in deg."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def nodes_at(self, vector: FloatArray) -> RadialNodes | None:
        """Return the nodes for a position: they end where the widest function holds `CONTAINMENT`; None without one."""
        radius = radius_of(CONTAINMENT, self.edges, self._tables(vector))
        if np.all(np.isnan(radius)):
            return None
        # at an edge of the table: positions next to each other have the same
        last = self.edges[min(int(np.searchsorted(self.edges, np.nanmax(radius) * (1 - 1e-9))), self.edges.size - 1)]
        return radial_nodes(self.centers, float(last))

    def width_at(self, vector: FloatArray) -> float:
        """Return the separation in deg within which the narrowest function holds as much as a Gaussian in one sigma."""
        return float(np.nanmin(radius_of(1.0 - np.exp(-0.5), self.edges, self._tables(vector))))

    def _tables(self, vector: FloatArray) -> FloatArray:
        """Functions at a position, or everywhere, shape (n, rad)."""
        table = self.table
        if not self.everywhere or table.grid is None:
            return table.at(vector)
        rows, columns = table.grid.shape
        step = max(1, int(np.ceil(np.sqrt(rows * columns / LOOKED_AT))))
        part = np.nan_to_num(table.values[:, step // 2 :: step, step // 2 :: step])
        result = part.reshape(-1, part.shape[-1])
        return result if result.any() else table.at(vector)

    def functions(self, nodes: RadialNodes, vector: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return values in sr-1 and slopes at the nodes, for each true energy; each integrates to 1.

        Energies without a function get that of the nearest energy that has one.
        """
        blend = self.table.blend(vector)
        both = np.einsum("kp,kpcm->ckm", blend.weight, self._at_pixels(nodes, blend))
        values, slopes = both
        total = nodes.coefficients(values, slopes) @ nodes.moments()
        filled = np.flatnonzero(total > 0)
        if not filled.size:
            return values, slopes
        if filled.size < total.size:
            source = filled[np.abs(np.arange(total.size)[:, None] - filled).argmin(axis=1)]
            values, slopes, total = values[source], slopes[source], total[source]
        scale = 1.0 / total[:, None]
        return values * scale, slopes * scale

    def _at_pixels(self, nodes: RadialNodes, blend: Blend) -> FloatArray:
        """Values and slopes at the nodes, in the pixels of a blend, shape (energy_true, n, 2, nodes)."""
        key = (nodes.last, blend.rows.tobytes(), blend.columns.tobytes())
        if key not in self._known:
            while len(self._known) >= KEPT_PIXELS:
                self._known.popitem(last=False)
            self._known[key] = _radial(nodes, self.centers, self.table.pixels(blend.rows, blend.columns))
        return self._known[key]


def _radial(nodes: RadialNodes, centers: FloatArray, table: FloatArray) -> FloatArray:
    """Values and slopes at the nodes of functions that are tables at separations, shape (..., 2, nodes)."""
    inside = nodes.radius.size - 2
    values = np.zeros((*table.shape[:-1], nodes.radius.size))
    values[..., 1:-1] = table[..., :inside]
    # a function is even: a parabola through the first two separations gives its value at 0
    if inside > 1:
        r1, r2 = centers[:2] ** 2
        rise = (values[..., 1] - values[..., 2]) * r1 / (r2 - r1)
        values[..., 0] = values[..., 1] + np.clip(rise, 0.0, values[..., 1])
    else:
        values[..., 0] = table[..., 0]
    return np.stack([values, monotone_slopes(nodes.radius, values)], axis=-2)


@dataclass(frozen=True, eq=False)
class EnergyDispersion:
    """Energy dispersion over a map.

    Parameters
    ----------
    table
        Probability per measured bin, last axis energy; or density per migration, last axis migra.
    migra
        Edges of the migration, for such a density.
    true_energy
        Middle of the bins of true energy in TeV, for such a density.
    edges
        Edges of the measured bins in TeV, for such a density.
    """

    table: CoarseMap
    migra: FloatArray | None = None
    true_energy: FloatArray | None = None
    edges: FloatArray | None = None

    def at(self, vector: FloatArray) -> FloatArray:
        """Return the probability at an ICRS unit vector, shape (energy_true, energy)."""
        values = self.table.at(vector)
        if self.migra is None or self.true_energy is None or self.edges is None:
            return values
        sums = np.cumsum(values * np.diff(self.migra), axis=1)
        sums = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
        total = sums[:, -1:]
        sums = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
        ratios = self.edges / self.true_energy[:, None]
        return np.diff([np.interp(r, self.migra, s) for r, s in zip(ratios, sums, strict=True)], axis=1)


@dataclass(frozen=True, eq=False)
class EnergyFolding:
    """Energies between which fluxes are integrated, and where these go.

    Parameters
    ----------
    low, high
        Edges in TeV, shape (k,).
    true
        Bin of true energy whose exposure and point spread function each has, shape (k,).
    measured
        Measured bin of each, where energies are exact; None with an energy dispersion.
    """

    low: FloatArray
    high: FloatArray
    true: IntArray
    measured: IntArray | None

    @classmethod
    def of(cls, axes: Axes, exact: bool) -> EnergyFolding:
        """Return the energies for axes, exact or with an energy dispersion."""
        if not exact:
            return cls(axes.true_low, axes.true_high, np.arange(axes.true_low.size), None)
        true, measured, low, high = intersections(axes)
        return cls(low, high, true, measured)

    def matrix(self, edisp: EnergyDispersion | None, vector: FloatArray, number: int) -> FloatArray:
        """Return the part of each flux that goes to each of the measured bins, shape (k, number)."""
        if self.measured is None:
            assert edisp is not None
            return edisp.at(vector)
        return np.asarray(self.measured[:, None] == np.arange(number), float)


class Exposure(NamedTuple):
    """Exposure at pixels, and its rise from a pixel to the next, (energy_true, ...).

    The rise is that of the side where it is flatter. Where a run ends, the exposure of a sum of runs has a step: counts
    are missing beyond it, whatever the run saw of a source on its near side. Over the reach of a point spread function
    the exposure of those runs that see a pixel goes on with this rise.
    """

    values: FloatArray
    along_y: NDArray[np.float32]
    along_x: NDArray[np.float32]


#: Points along each side of a map at which a mean over it is taken.
MEAN = 12


@dataclass(frozen=True, eq=False)
class MapResponse:
    """What turns a model into counts of a map.

    Parameters
    ----------
    grid
        Grid of the map.
    axes
        Bins of measured and true energy.
    exposure
        cm2 s, shape (energy_true, y, x) on `exposure_grid`; None for models without it alone.
    exposure_grid
        Its grid, which may be larger than that of the map, of the same frame.
    psf, edisp
        The other responses; None where there are none.
    """

    grid: SkyGrid
    axes: Axes
    exposure: FloatArray | None
    exposure_grid: SkyGrid
    psf: PointSpread | None = None
    edisp: EnergyDispersion | None = None

    def mean_edisp(self) -> FloatArray:
        """Return the mean energy dispersion over the map, weighted with the exposure, shape (energy_true, energy).

        That of a source that fills the map: at low energies the dispersion in its middle is not that at its edge.
        """
        assert self.edisp is not None
        # the middles of equal parts
        rows, columns = (np.unique(((np.arange(MEAN) + 0.5) * n / MEAN).astype(int)) for n in self.grid.shape)
        y, x = (v.ravel() for v in np.meshgrid(rows, columns, indexing="ij"))
        omega = self.grid.geometry.solid_angle[y, x]
        lon, lat = self.grid.frame.pixel_to_sky(y + self.grid.y.start, x + self.grid.x.start)
        vectors = self.grid.frame.icrs_vectors(lon, lat)
        weight = np.ones((self.axes.true_low.size, y.size))
        if self.exposure is not None:
            own = self.exposure_grid
            weight = self.exposure[:, y + (self.grid.y.start - own.y.start), x + (self.grid.x.start - own.x.start)]
        known = np.isfinite(vectors).all(axis=-1) & (omega > 0)
        weight = np.where(known, np.nan_to_num(weight) * np.nan_to_num(omega), 0.0)
        total, sums = np.zeros((len(weight), 1)), np.zeros(())
        for i in np.flatnonzero(weight.any(axis=0)):
            sums = sums + weight[:, i, None] * self.edisp.at(vectors[i])
            total += weight[:, i, None]
        middle = self.edisp.at(np.asarray(self.grid.frame.icrs_vectors(*self.grid.center)))
        return np.divide(sums, total, out=middle.copy(), where=total > 0)

    def exposure_around(self, rows: IntArray, columns: IntArray) -> Exposure:
        """Return the exposure at pixels of the map and how it rises there.

        Parameters
        ----------
        rows, columns
            Array positions on the map: of pixels, shape (n,); or of a block, shapes (m, 1) and (n,).
        """
        assert self.exposure is not None
        own = self.exposure_grid
        y, x = rows + (self.grid.y.start - own.y.start), columns + (self.grid.x.start - own.x.start)
        values = _part(self.exposure, y, x)
        # at an edge the other side tells
        up_y, down_y, up_x, down_x = (
            np.where(inside, step, -step) if number > 1 else np.zeros_like(place)
            for place, number in ((y, own.shape[0]), (x, own.shape[1]))
            for inside, step in ((place + 1 < number, 1), (place > 0, -1))
        )
        # plane by plane for blocks: little memory; the rise is needed to few digits
        parts: list[Any] = list(range(len(values))) if y.ndim == 2 else [slice(None)]
        along_y, along_x = np.zeros(values.shape, np.float32), np.zeros(values.shape, np.float32)
        for part in parts:
            plane, here = self.exposure[part], values[part]
            along_y[part] = _flatter(
                (plane[..., y + up_y, x] - here) * up_y, (plane[..., y + down_y, x] - here) * down_y
            )
            along_x[part] = _flatter(
                (plane[..., y, x + up_x] - here) * up_x, (plane[..., y, x + down_x] - here) * down_x
            )
        return Exposure(values, along_y, along_x)


def _flatter(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.where(np.abs(one) < np.abs(other), one, other)


def _part(array: FloatArray, y: IntArray, x: IntArray) -> FloatArray:
    """Values at pixels; blocks of neighbours are not copied."""
    block = y.ndim == 2 and y.size and x.size
    if block and int(y[-1, 0] - y[0, 0]) + 1 == y.size and int(x[-1] - x[0]) + 1 == x.size:
        return array[:, int(y[0, 0]) : int(y[-1, 0]) + 1, int(x[0]) : int(x[-1]) + 1]
    return np.asarray(array[:, y, x])
