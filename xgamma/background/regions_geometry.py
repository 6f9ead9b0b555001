"""Where off regions lie: turns of an on region around the pointing, found on a raster of the plane around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xgamma.kernels.sphere import from_vectors
from xgamma.reduction.region_background import Usable
from xgamma.reduction.region_plane import TangentPlane
from xgamma.reduction.region_set import OnRegion
from xgamma.reduction.region_shape import PlaneShape

__all__ = ["Exclusion", "Raster", "angular_size", "count_turned", "excluded_points", "overlapping", "reflected_turns"]

#: Events times turns that are looked at in one go.
BLOCK = 2_000_000


@dataclass(frozen=True, eq=False)
class Exclusion:
    """Regions from which no off event may come.

    Parameters
    ----------
    regions
        Excluded regions; none for all allowed.
    """

    regions: tuple[OnRegion, ...] = ()

    def excluded(self, vectors: np.ndarray, usable: Usable | None) -> np.ndarray:
        """Return True for ICRS unit vectors (n, 3) in an excluded region, or on a pixel that may not be used."""
        result = np.zeros(len(vectors), dtype=bool)
        for region in self.regions:
            result |= region.contains(vectors)
        if usable is not None:
            frame = usable.grid.frame
            lon, lat = frame.from_icrs(*from_vectors(vectors))
            y, x = usable.grid.sky_to_pixel(lon, lat)
            inside = usable.grid.contains(lon, lat)
            row = np.floor(y[inside] + 0.5).astype(int) - usable.grid.y.start
            column = np.floor(x[inside] + 0.5).astype(int) - usable.grid.x.start
            # beyond the map nothing is excluded
            result[inside] |= ~np.asarray(usable.values)[row, column]
        return result


@dataclass(frozen=True)
class Raster:
    """Pixel centres of a square around the pointing.

    Parameters
    ----------
    binsize
        Degrees of the plane.
    number
        Pixels along each side.
    """

    binsize: float
    number: int

    @classmethod
    def around(cls, offset: float, binsize: float) -> Raster:
        """Return the raster for a region at an offset in degrees."""
        return cls(binsize, max(1, round((4 * offset + 0.3) / binsize)))

    def within(self, x: float, y: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixel centres (x, y) in the square around a position."""
        middle = 0.5 * (self.number - 1)
        axes = []
        for center in (x, y):
            low = int(np.floor((center - reach) / self.binsize + middle))
            high = int(np.ceil((center + reach) / self.binsize + middle))
            axes.append((np.arange(max(low, 0), min(high, self.number - 1) + 1) - middle) * self.binsize)
        px, py = np.meshgrid(axes[0], axes[1])
        return px.ravel(), py.ravel()

    def ring(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixel centres (x, y) whose distance from the pointing lies between two radii."""
        axis = (np.arange(self.number) - 0.5 * (self.number - 1)) * self.binsize
        axis = axis[np.abs(axis) <= high]
        square = axis**2
        distance = square[np.newaxis, :] + square[:, np.newaxis]
        row, column = np.nonzero((distance >= max(low, 0.0) ** 2) & (distance <= high**2))
        return axis[column], axis[row]


def angular_size(shape: PlaneShape, raster: Raster) -> float:
    """Return the angle in radian under which a region is seen from the pointing.

    Between the pixel centres that it holds; where it is smaller than a pixel, that of the circle around it. Not a
    number where the pointing lies inside.
    """
    distance = float(np.hypot(shape.x, shape.y))
    if bool(shape.contains(np.zeros(1), np.zeros(1))[0]) or distance == 0:
        return np.nan
    x, y = raster.within(shape.x, shape.y, shape.reach)
    inside = shape.contains(x, y)
    if not inside.any():
        return 2 * float(np.arcsin(min(shape.reach / distance, 1.0)))
    # seen from the centre of the region, no angle jumps
    turned = np.arctan2(y[inside], x[inside]) - np.arctan2(shape.y, shape.x)
    turned = (turned + np.pi) % (2 * np.pi) - np.pi
    return float(turned.max() - turned.min())


def excluded_points(
    shape: PlaneShape, plane: TangentPlane, raster: Raster, exclusion: Exclusion, usable: Usable | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the excluded pixel centres (x, y) that a turned region could hold."""
    if not exclusion.regions and usable is None:
        return np.zeros(0), np.zeros(0)
    distance = float(np.hypot(shape.x, shape.y))
    x, y = raster.ring(distance - shape.reach, distance + shape.reach)
    excluded = exclusion.excluded(plane.unproject(x, y), usable)
    return x[excluded], y[excluded]


def turn_back(x: np.ndarray, y: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in the plane turned clockwise by `turn` in radian; shapes are broadcast."""
    cos, sin = np.cos(turn), np.sin(turn)
    return cos * x + sin * y, cos * y - sin * x


def reflected_turns(
    shape: PlaneShape,
    size: float,
    excluded: tuple[np.ndarray, np.ndarray],
    *,
    min_distance: float,
    min_distance_input: float,
    angle_increment: float,
    max_region_number: int,
) -> list[float]:
    """Return the turns in radian at which a region holds no excluded position, one beside the other.

    Parameters
    ----------
    shape
        On region in the plane around the pointing.
    size
        Its angular size.
    excluded
        Excluded positions (x, y).
    min_distance, min_distance_input
        Gap in radian between off regions, and beside the on region.
    angle_increment
        Step after a turn that is excluded.
    max_region_number
        Off regions at most.
    """
    step = size + min_distance
    turn, last = step + min_distance_input, 2 * np.pi - step - min_distance_input
    turns: list[float] = []
    while turn < last and len(turns) < max_region_number:
        if len(excluded[0]) and shape.contains(*turn_back(*excluded, np.asarray(turn))).any():
            turn += angle_increment
        else:
            turns.append(turn)
            turn += step
    return turns


def overlapping(shape: PlaneShape, turns: np.ndarray, raster: Raster) -> bool:
    """Return True where turned regions share a pixel centre; `turns` in radian, with 0 for the on region."""
    for turn in turns:
        cos, sin = np.cos(turn), np.sin(turn)
        x, y = raster.within(cos * shape.x - sin * shape.y, sin * shape.x + cos * shape.y, shape.reach)
        number = np.zeros(len(x), dtype=int)
        for other in turns:
            number += shape.contains(*turn_back(x, y, np.asarray(other)))
        if (number > 1).any():
            return True
    return False


def count_turned(shape: PlaneShape, turns: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the numbers of the positions that lie in any of the turned regions.

    Parameters
    ----------
    shape
        Region in the plane around the pointing.
    turns
        Radian, shape (m,).
    x, y
        Positions, shape (n,).
    """
    distance = np.hypot(shape.x, shape.y)
    with np.errstate(invalid="ignore"):
        radius = np.hypot(x, y)
        # a little more than the reach: the last digits of a turned position may differ
        near = np.flatnonzero(np.abs(radius - distance) <= shape.reach * (1 + 1e-9))
    found = np.zeros(len(near), dtype=bool)
    rows = max(1, BLOCK // max(len(near), 1))
    for first in range(0, len(turns), rows):
        turned = turn_back(x[near], y[near], turns[first : first + rows, np.newaxis])
        found |= shape.contains(*turned).any(axis=0)
    return near[found]
