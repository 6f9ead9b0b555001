"""Point spread functions integrated over pixels, of sources anywhere inside a pixel.

Pixels are sampled at Gauss-Legendre points. The core of a function, where it changes quickly, is split off by a smooth
factor and sampled more finely; it ends before the pixels do that are sampled so, and nothing jumps when a source moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xgamma.coords.frame import SkyFrame, pixel_solid_angle
from xgamma.coords.sky import SkyGrid
from xgamma.kernels.radial import RadialNodes, pixel_matrix
from xgamma.kernels.sphere import from_vectors, separation
from xgamma.models.spatial_geometry import axes_at
from xgamma.models.spatial_sky import SkyPixels

__all__ = ["PsfPixels", "PsfShape"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Points along a side of a pixel, outside the core: one panel of two.
POINTS = 2
#: Points along a side for each ratio of pixel to width of the narrowest function, and their largest number.
FINE, FINEST = 3.0, 24
#: Pixels from the source where the core begins to fade, and where it ends.
FADE, END = 3.0, 6.0
#: Pixels by which a source may move before the pixels around it are looked up again.
ROOM = 4.0


def _side(points: int) -> tuple[FloatArray, FloatArray]:
    """Positions within (-0.5, 0.5) and weights of panels of two Gauss-Legendre points."""
    panels = points // 2
    centers = (np.arange(panels) + 0.5) / panels - 0.5
    half = 0.5 / (panels * np.sqrt(3.0))
    return (centers[:, None] + [-half, half]).ravel(), np.full(points, 1.0 / points)


@dataclass(frozen=True, eq=False)
class _Points:
    """Points in pixels: unit vectors (n, p, 3), solid angles (n, p)."""

    vectors: FloatArray
    weight: FloatArray


def _points(frame: SkyFrame, y: IntArray, x: IntArray, solid_angle: FloatArray, number: int) -> _Points:
    place, weight = _side(number)
    at_y, at_x = np.broadcast_arrays(y[:, None, None] + place[:, None], x[:, None, None] + place)
    vectors = frame.icrs_vectors(*frame.pixel_to_sky(*(v.reshape(y.size, number**2) for v in (at_y, at_x))))
    area = solid_angle[:, None] * np.outer(weight, weight).ravel()
    # beyond the edge of the sky there is no point: far away, it gets nothing
    outside = np.isnan(vectors[..., 0])
    vectors[outside], area[outside] = 10.0, 0.0
    return _Points(vectors, area)


@dataclass(frozen=True, eq=False)
class PsfShape:
    """Integrals of radial functions over pixels, for one position of the source.

    Parameters
    ----------
    rows, columns
        Array positions of the pixels that the functions reach, shape (n,).
    active
        Which these are among those that were looked up.
    whole
        From the coefficients of the functions without their core to the integrals, shape (n, size).
    core
        The same of the core, for some of the pixels.
    inner
        Which these are among the n.
    """

    rows: IntArray
    columns: IntArray
    active: IntArray
    whole: csr_array
    core: csr_array
    inner: IntArray

    def integrals(self, outer: FloatArray, core: FloatArray) -> FloatArray:
        """Return the integrals of functions from the coefficients (size, m) of both their parts, shape (n, m)."""
        result = np.asarray(self.whole @ outer)
        result[self.inner] += self.core @ core
        return result


class PsfPixels:
    """Pixels of a grid around a source, ready for point spread functions of some nodes.

    Parameters
    ----------
    grid
        Grid whose pixels are filled.
    nodes
        Nodes of the functions.
    width
        Width in deg of the narrowest of them, as a sigma.
    """

    def __init__(self, grid: SkyGrid, nodes: RadialNodes, width: float) -> None:
        self.grid, self.nodes = grid, nodes
        self.size = max(grid.frame.binsize)
        wanted = 2 * int(np.ceil(0.5 * FINE * self.size / max(width, 1e-9)))
        #: Points along a side of a pixel in the core.
        self.number = int(np.clip(wanted, POINTS, FINEST))
        # where the core is as smooth as the rest, nothing is split off
        self.fade, self.end = (FADE * self.size, END * self.size) if self.number > POINTS else (0.0, 0.0)
        self._center: FloatArray | None = None

    def split(self, values: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the coefficients of functions given at the nodes, without and with their core only, (..., size)."""
        nodes = self.nodes
        if not self.end:
            outer = nodes.coefficients(values, slopes)
            return outer, np.zeros_like(outer)
        t = np.clip((nodes.radius - self.fade) / (self.end - self.fade), 0.0, 1.0)
        factor, rise = t * t * (3.0 - 2.0 * t), 6.0 * t * (1.0 - t) / (self.end - self.fade)
        core = nodes.coefficients(values * (1.0 - factor), slopes * (1.0 - factor) - values * rise)
        return nodes.coefficients(values * factor, slopes * factor + values * rise), core

    @property
    def core_end(self) -> float:
        """Separation in deg beyond which the core is zero: that of a node."""
        nodes = self.nodes.radius
        return float(nodes[min(int(np.searchsorted(nodes, self.end)), nodes.size - 1)]) if self.end else 0.0

    def shape(self, vector: FloatArray) -> PsfShape:
        """Return the integrals for a source at an ICRS unit vector."""
        if self._center is None or float(separation(vector, self._center)) > ROOM * self.size:
            self._look_up(vector)
        reach = self.half + np.asarray([self.nodes.last, self.core_end])
        distance = separation(self._middle, vector)
        active = np.flatnonzero(distance < reach[0])
        place = np.full(distance.size, -1)
        place[active] = np.arange(active.size)
        near = np.flatnonzero(distance[self._inner] < reach[1]) if self.end else np.zeros(0, np.intp)
        whole, core = self._whole, self._core
        matrices = [
            pixel_matrix(self.nodes, separation(p.vectors[k], vector), p.weight[k])
            for p, k in ((whole, active), (core, near))
        ]
        rows, columns = self._rows[active], self._columns[active]
        return PsfShape(rows, columns, active, matrices[0], matrices[1], place[self._inner[near]])

    @property
    def looked_up(self) -> tuple[IntArray, IntArray]:
        """Array positions of the pixels around the last position; other arrays when these change."""
        return self._rows, self._columns

    def _look_up(self, vector: FloatArray) -> None:
        """Find the pixels around a position, with room for it to move."""
        self._center = vector.copy()
        frame, room = self.grid.frame, ROOM * self.size
        ys, xs, columns = self._window(vector, self.nodes.last + room)
        lon, lat = frame.pixel_to_sky(*np.meshgrid(np.asarray(ys), np.asarray(xs), indexing="ij"))
        middle = np.nan_to_num(frame.icrs_vectors(lon, lat), nan=10.0)
        area = pixel_solid_angle(frame, ys, xs) if len(ys) and len(xs) else np.zeros((len(ys), len(xs)))
        #: Half of the diagonal of the largest pixel in deg, and more, since pixels need not be squares.
        self.half = float(np.rad2deg(np.sqrt(area.max(initial=0.0)))) + self.size
        distance = separation(middle, vector)
        iy, ix = np.nonzero((distance < self.nodes.last + self.half + room) & (area > 0) & (columns >= 0))
        self._middle = middle[iy, ix]
        self._rows, self._columns = iy + (ys.start - self.grid.y.start), columns[ix]
        near = distance[iy, ix] < self.core_end + self.half + room
        self._inner = np.flatnonzero(near) if self.end else np.zeros(0, np.intp)
        y, x = np.asarray(ys)[iy], np.asarray(xs)[ix]
        self._whole = _points(frame, y, x, area[iy, ix], POINTS)
        k = self._inner
        self._core = _points(frame, y[k], x[k], area[iy, ix][k], self.number)

    def _window(self, vector: FloatArray, radius: float) -> tuple[range, range, IntArray]:
        """Pixel numbers around a position, and the columns of the grid that those along x have, -1 for none."""
        grid = self.grid
        lon, lat = from_vectors(vector)
        box = SkyPixels(grid).box(axes_at(float(lon), float(lat)), radius)
        if box is None:
            return grid.y, grid.x, np.arange(len(grid.x))
        y0, y1 = max(int(np.floor(box.y[0])) - 1, grid.y.start), min(int(np.ceil(box.y[1])) + 2, grid.y.stop)
        xs = range(int(np.floor(box.x[0])) - 1, int(np.ceil(box.x[1])) + 2)
        columns = np.asarray(xs) - grid.x.start
        period = grid.frame.period
        if period is not None and abs(period - round(period)) < 1e-6 and len(xs) <= round(period):
            columns = columns % round(period)  # over the seam of a map of the whole sky
        columns = np.where((columns >= 0) & (columns < len(grid.x)), columns, -1)
        return range(y0, max(y1, y0)), xs, columns
