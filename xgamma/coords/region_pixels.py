"""Pixels of many regions at once, each as windows of the map with a mask."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xgamma.coords.region_shapes import sky_jacobian
from xgamma.coords.regions import region_mask
from xgamma.coords.sky import SkyGrid

if TYPE_CHECKING:
    from regions import SkyRegion

__all__ = ["PixelWindow", "region_pixels"]

#: Shapes that are looked up in the plane of the projection without the regions package, and their sizes.
SIZES = {
    "CircleSkyRegion": ("radius",),
    "CircleAnnulusSkyRegion": ("inner_radius", "outer_radius"),
    "EllipseSkyRegion": ("width", "height"),
    "EllipseAnnulusSkyRegion": ("inner_width", "inner_height", "outer_width", "outer_height"),
    "RectangleSkyRegion": ("width", "height"),
    "RectangleAnnulusSkyRegion": ("inner_width", "inner_height", "outer_width", "outer_height"),
}


@dataclass(frozen=True, eq=False)
class PixelWindow:
    """Part of a region on a map.

    Parameters
    ----------
    y, x
        Position of the window's first pixel in the array; it may lie outside.
    mask
        Pixels inside the region, shape (ny, nx).
    """

    y: int
    x: int
    mask: np.ndarray

    def cut(self, y0: int, y1: int, x0: int, x1: int) -> PixelWindow | None:
        """Return the part inside array positions, None where there is no pixel of the region; counted from there.

        Examples
        --------
        >>> PixelWindow(2, 2, np.ones((2, 2), bool)).cut(0, 3, 0, 9).mask.shape
        (1, 2)
        """
        top, left = max(self.y, y0), max(self.x, x0)
        bottom, right = min(self.y + self.mask.shape[0], y1), min(self.x + self.mask.shape[1], x1)
        if bottom <= top or right <= left:
            return None
        mask = self.mask[top - self.y : bottom - self.y, left - self.x : right - self.x]
        return PixelWindow(top - y0, left - x0, mask) if mask.any() else None


def region_pixels(grid: SkyGrid, regions: Sequence[SkyRegion]) -> list[list[PixelWindow]]:
    """Return the pixels whose centres lie in each region; also those of a rim of one pixel around the map.

    Parameters
    ----------
    grid
        Sky grid of the map.
    regions
        Sky regions.

    Returns
    -------
    list of list of PixelWindow
        For each region disjoint windows, two where it crosses the seam of a map of the whole sky; none where the map
        shows nothing of it. Windows that reach outside the map belong to regions that do so.

    Notes
    -----
    Regions are taken in the plane of the projection, as in `xgamma.coords.regions.region_mask`: circles are circles
    in pixels, with the mean pixel scale at their centre; rectangles and ellipses have their sizes along their own axes.

    Examples
    --------
    >>> from xgamma.coords.frame import SkyFrame
    >>> from xgamma.coords.regions import from_ds9
    >>> grid = SkyGrid(SkyFrame.create(0.0, 0.0, 0.1, "CAR", "galactic"), range(-20, 21), range(-20, 21))
    >>> [[window]] = region_pixels(grid, [from_ds9("galactic;box(0, 0, 0.5, 0.3, 0)")])
    >>> window.y, window.x, int(window.mask.sum())
    (18, 17, 15)
    """
    plain = [i for i, r in enumerate(regions) if type(r).__name__ in SIZES and r.meta.get("include", True)]
    rim = _with_rim(grid)
    result: list[list[PixelWindow]] = [[] for _ in regions]
    shapes = _shapes(rim, [regions[i] for i in plain]) if plain else []
    done = set()
    for i, shape in zip(plain, shapes, strict=True):
        if shape is not None:
            result[i] = _windows(grid, rim, shape)
            done.add(i)
    for i in range(len(regions)):
        if i not in done:
            result[i] = _general(grid, rim, regions[i])
    return result


def _with_rim(grid: SkyGrid) -> SkyGrid:
    """The grid with one more pixel around it; along x not where the map goes all around."""
    period = grid.frame.period
    more = 0 if period is not None and len(grid.x) >= period - 0.5 else 1
    y, x = range(grid.y.start - 1, grid.y.stop + 1), range(grid.x.start - more, grid.x.stop + more)
    return SkyGrid(grid.frame, y, x)


@dataclass(frozen=True, eq=False)
class _Shape:
    """A region in the plane of the projection: a pixel at (dx, dy) from its centre has the position axes @ (dx, dy)."""

    kind: str
    x: float
    y: float
    axes: np.ndarray
    sizes: tuple[float, ...]

    @property
    def reach(self) -> np.ndarray:
        """Half of the box around it, in pixels (x, y)."""
        inverse = np.abs(np.linalg.inv(self.axes))
        half = np.full(2, self.sizes[-1]) if self.kind.startswith("Circle") else 0.5 * np.array(self.sizes[-2:])
        return np.asarray((inverse * half).sum(axis=1))

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """True for pixel numbers (x,) times (y,) inside, shape (y, x)."""
        dx, dy = x - self.x, (y - self.y)[:, None]
        a, b = (row[0] * dx + row[1] * dy for row in self.axes)
        if self.kind.startswith("Circle"):
            distance = np.hypot(a, b)
            inside = distance < self.sizes[-1]
            return inside & (distance >= self.sizes[0]) if "Annulus" in self.kind else inside
        parts = [self._inside(a, b, *s) for s in (self.sizes[-2:], self.sizes[:2])]
        return parts[0] & ~parts[1] if "Annulus" in self.kind else parts[0]

    def _inside(self, a: np.ndarray, b: np.ndarray, width: float, height: float) -> np.ndarray:
        if self.kind.startswith("Ellipse"):
            return np.asarray((2 * a / width) ** 2 + (2 * b / height) ** 2 < 1)
        return np.asarray((np.abs(a) < 0.5 * width) & (np.abs(b) < 0.5 * height))


def _shapes(grid: SkyGrid, regions: Sequence[SkyRegion]) -> list[_Shape | None]:
    """Regions in the plane of the projection; None where it is too distorted to have a scale."""
    lon, lat = np.array([_position(grid, r) for r in regions], dtype=float).T
    y, x = grid.sky_to_pixel(lon, lat)
    forward = sky_jacobian(grid, np.asarray(y), np.asarray(x))
    # what the regions package calls the angle goes from west to north
    forward[:, 0] *= -1.0
    result: list[_Shape | None] = []
    for region, x0, y0, scale in zip(regions, x.tolist(), y.tolist(), forward, strict=True):
        kind = type(region).__name__
        if not (np.isfinite([x0, y0]).all() and np.isfinite(scale).all() and abs(np.linalg.det(scale)) > 0):
            result.append(None)
            continue
        sizes = tuple(float(getattr(region, n).to_value("deg")) for n in SIZES[kind])
        if kind.startswith("Circle"):
            axes = np.eye(2) * np.sqrt(np.hypot(*scale[:, 0]) * np.hypot(*scale[:, 1]))
        else:
            angle = float(region.angle.to_value("rad"))
            axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ scale
        result.append(_Shape(kind, x0, y0, axes, sizes))
    return result


def _position(grid: SkyGrid, region: SkyRegion) -> tuple[float, float]:
    """Longitude and latitude of the centre in degrees of the frame."""
    center = region.center
    celestial = grid.frame.celestial
    if center.frame.name == celestial.name and center.frame.is_equivalent_frame(celestial):
        data = center.frame.spherical
        return float(data.lon.deg), float(data.lat.deg)
    lon, lat = grid.frame.position(center)
    return float(lon), float(lat)


def _windows(grid: SkyGrid, rim: SkyGrid, shape: _Shape) -> list[PixelWindow]:
    half = shape.reach
    period = grid.frame.period
    y0, y1 = int(np.floor(shape.y - half[1])), int(np.ceil(shape.y + half[1])) + 1
    y0, y1 = max(y0, rim.y.start), min(y1, rim.y.stop)
    result = []
    for turn in (0.0,) if period is None else (-period, 0.0, period):
        x0, x1 = int(np.floor(shape.x + turn - half[0])), int(np.ceil(shape.x + turn + half[0])) + 1
        x0, x1 = max(x0, rim.x.start), min(x1, rim.x.stop)
        if y1 <= y0 or x1 <= x0:
            continue
        mask = shape.contains(np.arange(x0, x1) - turn, np.arange(y0, y1))
        if mask.any():
            result.append(PixelWindow(y0 - grid.y.start, x0 - grid.x.start, mask))
    if len(result) > 1:
        return _joined(result, rim, grid)
    return result


def _joined(windows: list[PixelWindow], rim: SkyGrid, grid: SkyGrid) -> list[PixelWindow]:
    """Windows that overlap, since a region is wider than half a turn, become one."""
    ends = sorted((w.x, w.x + w.mask.shape[1]) for w in windows)
    if all(a[1] <= b[0] for a, b in itertools.pairwise(ends)):
        return windows
    dy, dx = rim.y.start - grid.y.start, rim.x.start - grid.x.start
    whole = np.zeros(rim.shape, dtype=bool)
    for w in windows:
        whole[w.y - dy : w.y - dy + w.mask.shape[0], w.x - dx : w.x - dx + w.mask.shape[1]] |= w.mask
    return [PixelWindow(dy, dx, whole)]


def _general(grid: SkyGrid, rim: SkyGrid, region: SkyRegion) -> list[PixelWindow]:
    """Pixels of polygons, points, compounds and outsides, from the mask of the whole map."""
    with warnings.catch_warnings():
        # what the map does not show is told by the caller
        warnings.filterwarnings("ignore", message="no pixel centre lies", category=UserWarning)
        mask = region_mask(xr.Dataset(coords=rim.coords()), region).values
    rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    if not rows.size:
        return []
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    y, x = rim.y.start - grid.y.start + int(rows[0]), rim.x.start - grid.x.start + int(columns[0])
    return [PixelWindow(y, x, part)]
