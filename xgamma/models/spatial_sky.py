"""Pixels of a sky grid as spatial models need them, and the pixels that a model reaches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.frame import pixel_geometry
from xgamma.coords.sky import SkyGrid
from xgamma.kernels.sphere import from_vectors, rotate
from xgamma.models.spatial_geometry import Axes, Planes, circle, frame_rotation

__all__ = ["WIDEST", "Box", "SkyPixels"]

FloatArray = NDArray[np.float64]
#: Positions (y, x) in the arrays of a grid.
Window = tuple[slice, slice]

#: Points on the circle around a model whose pixels tell which window holds it.
CIRCLE = 48
#: Largest radius in degrees of which the circle is projected: others may reach everywhere.
WIDEST = 60.0
#: Pixels beyond the window of a model: second differences need one.
MARGIN = 2
#: Blocks of pixels whose corners are kept begin and end at multiples of this number.
BLOCK = 16
#: Number of such blocks that are kept, and points of a lattice up to which it is one.
BLOCKS, KEPT = 8, 400_000


@dataclass(frozen=True)
class Box:
    """Pixel numbers that a model reaches, with fractions; those along x may lie on another turn of longitude."""

    y: tuple[float, float]
    x: tuple[float, float]


class SkyPixels:
    """Pixels of a sky grid as models need them: made once, for all values that a fit tries.

    Parameters
    ----------
    grid
        Sky grid, as from `xgamma.coords.sky.grid_of`.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.sky import grid_of
    >>> from xgamma.models.spatial_pixels import spatial_integral
    >>> from xgamma.models.spatial_shapes import GaussianSpatialModel
    >>> pixels = SkyPixels(grid_of(xg.sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "0.02 deg")))
    >>> model = GaussianSpatialModel(sigma="0.05 deg")
    >>> window, values = spatial_integral(model, pixels, model.values)
    >>> values.shape, round(float(values.sum()), 5)
    ((26, 26), 1.0)
    """

    def __init__(self, grid: SkyGrid) -> None:
        self.grid = grid
        self._blocks: OrderedDict[tuple[int, ...], FloatArray] = OrderedDict()
        self._lonlat: dict[str, tuple[FloatArray, FloatArray]] = {}

    @cached_property
    def wide(self) -> SkyGrid:
        """The grid with one more pixel on each side."""
        y, x = self.grid.y, self.grid.x
        return SkyGrid(self.grid.frame, range(y.start - 1, y.stop + 1), range(x.start - 1, x.stop + 1))

    @cached_property
    def planes(self) -> Planes:
        """Components of the ICRS unit vectors of the pixels of `wide`, NaN outside the sky."""
        geometry = pixel_geometry(self.wide.frame, self.wide.y, self.wide.x)
        x, y, z = (np.ascontiguousarray(geometry.vectors[..., i]) for i in range(3))
        return x, y, z

    @cached_property
    def solid_angle(self) -> FloatArray:
        """Solid angles in sr of the pixels of `wide`, 0 outside the sky."""
        return np.asarray(pixel_geometry(self.wide.frame, self.wide.y, self.wide.x).solid_angle)

    @property
    def binsize(self) -> float:
        """Larger side of a pixel at the reference point, in degrees."""
        return max(self.grid.frame.binsize)

    def lonlat(self, frame: str) -> tuple[FloatArray, FloatArray]:
        """Return longitude and latitude in degrees of a frame of the pixels of `wide`."""
        if frame not in self._lonlat:
            vectors = np.stack(self.planes, axis=-1)
            with np.errstate(invalid="ignore"):
                self._lonlat[frame] = from_vectors(rotate(vectors, frame_rotation(frame)))
        return self._lonlat[frame]

    def lattice(self, y: tuple[int, int], x: tuple[int, int], parts: tuple[int, int]) -> FloatArray:
        """Return ICRS unit vectors and solid angles (in pixels) of parts of pixels, shape (4, ny, nx).

        Parameters
        ----------
        y, x
            First and last (excluded) number of the parts, counted from the lower edge of pixel 0.
        parts
            Number of parts of a pixel along (y, x).
        """
        first, last = (y[0] // parts[0], x[0] // parts[1]), (-(-y[1] // parts[0]), -(-x[1] // parts[1]))
        block = tuple(v // BLOCK * BLOCK for v in first) + tuple(-(-v // BLOCK) * BLOCK for v in last)
        nodes = self._kept(block, lambda: _nodes(self.grid, block[0], block[2], block[1], block[3]))
        size = (block[2] - block[0]) * parts[0], (block[3] - block[1]) * parts[1]
        start = block[0] * parts[0], block[1] * parts[1]
        (a, b), (c, d) = (y[0] - start[0], y[1] - start[0]), (x[0] - start[1], x[1] - start[1])
        if size[0] * size[1] > KEPT:
            return _divided(nodes, (a, b), (c, d), parts)
        whole = self._kept((*block, *parts), lambda: _divided(nodes, (0, size[0]), (0, size[1]), parts))
        return whole[:, a:b, c:d]

    def _kept(self, key: tuple[int, ...], make: Callable[[], FloatArray]) -> FloatArray:
        """The array of a key, made if it is not among the last ones."""
        if key not in self._blocks:
            while len(self._blocks) >= BLOCKS:
                self._blocks.popitem(last=False)
            self._blocks[key] = make()
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def box(self, axes: Axes, radius: float) -> Box | None:
        """Return the pixel numbers that a circle in ICRS encloses, None where these are not a rectangle."""
        if not radius <= WIDEST:
            return None
        frame = self.grid.frame
        vectors = np.vstack([axes.center, circle(axes, radius, CIRCLE)])
        lon, lat = from_vectors(rotate(vectors, frame.rotation))
        y, x = frame.sky_to_pixel(lon, lat)
        if not (np.isfinite(y).all() and np.isfinite(x).all()):
            return None
        period = frame.period
        if period is not None:
            x = np.unwrap(x, period=period)
            if abs(x[-1] - x[1]) > 0.5 * period:  # around a pole
                return None
            middle = 0.5 * (self.grid.x.start + self.grid.x.stop - 1)
            x = x - period * np.round((x[0] - middle) / period)
        elif max(np.ptp(y), np.ptp(x)) > 8.0 * radius / min(frame.binsize) + 8.0:  # torn apart by the edge of the map
            return None
        return Box((float(y.min()), float(y.max())), (float(x.min()), float(x.max())))

    def turns(self, box: Box) -> list[float]:
        """Return the shifts along x that bring a box onto the grid, once for each turn that the grid shows it."""
        period = self.grid.frame.period
        if period is None:
            return [0.0]
        low, high = self.grid.x.start - 0.5, self.grid.x.stop - 0.5
        return [k * period for k in (-1, 0, 1) if box.x[1] + k * period >= low and box.x[0] + k * period <= high]

    def window(self, y: tuple[int, int], x: tuple[int, int]) -> Window:
        """Return the part of the grid between pixel numbers (the last excluded), which may be empty."""
        slices = []
        for pixels, (first, last) in ((self.grid.y, y), (self.grid.x, x)):
            start = min(max(first - pixels.start, 0), len(pixels))
            slices.append(slice(start, max(min(last - pixels.start, len(pixels)), start)))
        return slices[0], slices[1]

    def window_of(self, box: Box, turns: list[float]) -> Window:
        """Return the part of the grid that holds a box on all turns, with a margin."""
        y = int(np.floor(box.y[0] + 0.5)) - MARGIN, int(np.ceil(box.y[1] + 0.5)) + MARGIN
        x = int(np.floor(box.x[0] + turns[0] + 0.5)) - MARGIN, int(np.ceil(box.x[1] + turns[-1] + 0.5)) + MARGIN
        return self.window(y, x)


def _nodes(grid: SkyGrid, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
    """Vectors and solid angles at corners, edges and centres of pixels, shape (4, ...)."""
    # two more on each side, for the differences
    y, x = (0.5 * np.arange(2 * a - 2, 2 * b + 3) - 0.5 for a, b in ((y0, y1), (x0, x1)))
    lon, lat = grid.frame.pixel_to_sky(*np.meshgrid(y, x, indexing="ij"))
    vectors = np.moveaxis(grid.frame.icrs_vectors(lon, lat), -1, 0)
    along_y = vectors[:, 2:, 1:-1] - vectors[:, :-2, 1:-1]
    along_x = vectors[:, 1:-1, 2:] - vectors[:, 1:-1, :-2]
    area = np.linalg.norm(np.cross(along_y, along_x, axis=0), axis=0)
    return np.concatenate([vectors[:, 1:-1, 1:-1], area[None]])[:, 1:-1, 1:-1]


def _divided(nodes: FloatArray, y: tuple[int, int], x: tuple[int, int], parts: tuple[int, int]) -> FloatArray:
    """Values at the centres of parts of pixels from those at corners, edges and centres of pixels."""
    return _interpolated(_interpolated(nodes, y, parts[0], axis=1), x, parts[1], axis=2)


def _interpolated(nodes: FloatArray, span: tuple[int, int], parts: int, axis: int) -> FloatArray:
    """Values at the centres of parts of pixels: parabolas through the three nodes of each pixel along an axis."""
    part = np.arange(*span)
    pixel = part // parts
    t = (part - pixel * parts + 0.5) / parts  # from 0 to 1 across the pixel
    weights = (2.0 * (t - 0.5) * (t - 1.0), 4.0 * t * (1.0 - t), 2.0 * t * (t - 0.5))
    shape = [1, 1, 1]
    shape[axis] = -1
    result = np.zeros(())
    for k, weight in enumerate(weights):
        result = result + np.take(nodes, 2 * pixel + k, axis=axis) * weight.reshape(shape)
    return np.asarray(result)
