"""Backgrounds and templates of counts on maps whose factor on the sky is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid
from xgamma.fitting.map_background import EnergyFactor, FactorOfValues
from xgamma.fitting.map_contribution import REMEMBERED, MapContribution, SpatialValues
from xgamma.kernels.sphere import from_vectors, rotate
from xgamma.models.parameter import Parameters
from xgamma.models.spatial_geometry import frame_rotation
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_norm import PiecewiseNormSpatialModel

__all__ = ["ShapedCounts", "SkyFactor", "on_pixels"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Nodes up to which each one's part in the interpolation is kept for all pixels.
NODES = 64


def on_pixels(model: SpatialModel, grid: SkyGrid, rows: IntArray, columns: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the coordinates in degrees of pixels in the frame of a model; array positions of any equal shape."""
    lon, lat = grid.frame.pixel_to_sky(rows + grid.y.start, columns + grid.x.start)
    return from_vectors(rotate(grid.frame.icrs_vectors(lon, lat), frame_rotation(model.frame)))


class SkyFactor:
    """A spatial model as a factor on pixels, as a function of the values of all parameters of a fit.

    Parameters
    ----------
    model
        Spatial model.
    parameters
        All parameters of the fit.
    grid
        Grid of the map.
    rows, columns
        Array positions of the pixels, shape (n,).

    Notes
    -----
    The interpolation between nodes is linear in their values (or logarithms): the part of each is made once.
    """

    def __init__(
        self, model: SpatialModel, parameters: Parameters, grid: SkyGrid, rows: IntArray, columns: IntArray
    ) -> None:
        self.own = SpatialValues(model, parameters)
        self.places = self.own.places
        self._lon, self._lat = on_pixels(model, grid, rows, columns)
        self._logarithmic = isinstance(model, PiecewiseNormSpatialModel) and model.interp == "log"
        self._parts: FloatArray | None = None
        if isinstance(model, PiecewiseNormSpatialModel) and self.places.size <= NODES:
            nodes = np.eye(self.places.size)
            found = [self._evaluate(*(np.exp(n) if self._logarithmic else n)) for n in nodes]
            self._parts = np.log(found) if self._logarithmic else np.stack(found)
        self._remember()

    def _remember(self) -> None:
        self._at: Callable[..., FloatArray] = lru_cache(maxsize=REMEMBERED)(self._evaluate)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_at"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def _evaluate(self, *values: float) -> FloatArray:
        if self._parts is None:
            return np.nan_to_num(self.own.model.evaluate(self._lon, self._lat, *values))
        norms = np.array(values)
        if not self._logarithmic:
            return np.asarray(norms @ self._parts)
        return np.exp(np.log(np.maximum(norms, np.finfo(float).tiny)) @ self._parts)

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the factor on the pixels for the values of all parameters, shape (n,)."""
        own = self.own.of(values)
        return self._at(*own) if np.all(np.isfinite(own)) else np.full(self._lon.shape, np.nan)


class ShapedCounts(MapContribution):
    """Counts of a background or template, times a factor in each measured bin of energy and one on each pixel.

    Parameters
    ----------
    name
        Name of the model.
    factor
        Factor on energies.
    sky
        Factor on pixels.
    counts
        Counts for factors of 1 in the bins that take part, shape (n,).
    energy, pixel
        Measured bin of energy, and pixel of `sky`, of each of them, shape (n,).
    """

    dense = True
    #: Whether it is the background of the cube, which `npred_signal` leaves out.
    is_background = False

    def __init__(
        self,
        name: str,
        factor: EnergyFactor | FactorOfValues,
        sky: SkyFactor,
        counts: FloatArray,
        energy: IntArray,
        pixel: IntArray,
    ) -> None:
        self.name, self.factor, self.sky = name, factor, sky
        self.counts, self.energy, self.pixel = counts, energy, pixel
        self.places = np.unique(np.concatenate([factor.places, sky.places]))

    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all bins, and what is added to them."""
        scaled = self.factor(values)[self.energy] * self.sky(values)[self.pixel] * self.counts
        return np.arange(self.counts.size), scaled

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add the scaled counts to the bins of the dataset, in place."""
        total += self.signal(values)[1]

    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps."""
        back = slope[:] * self.counts
        factor, sky = self.factor(values), self.sky(values)
        by_energy = np.bincount(self.energy, back * sky[self.pixel], minlength=factor.size)
        by_pixel = np.bincount(self.pixel, back * factor[self.energy], minlength=sky.size)
        for part, weight in ((self.factor, by_energy), (self.sky, by_pixel)):
            for place in set(part.places.tolist()) & set(steps):
                ends = []
                for side in (steps[place], -steps[place]):
                    moved = values.copy()
                    moved[place] += side
                    ends.append(part(moved))
                total[place] += float((weight * (ends[0] - ends[1])).sum()) / (2.0 * steps[place])
