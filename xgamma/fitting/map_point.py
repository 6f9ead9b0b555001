"""Point sources on maps: the point spread function integrated over pixels at the true position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.map_contribution import REMEMBERED, FoldedSource
from xgamma.fitting.map_irf import PointSpread, pixel_of
from xgamma.fitting.psf_pixels import PsfPixels, PsfShape
from xgamma.kernels.sphere import separation
from xgamma.models.spatial_geometry import axes_at

__all__ = ["PointContribution"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Degrees that a source may move before its point spread function ends elsewhere.
FAR = 0.5


@dataclass(frozen=True, eq=False)
class _Placed:
    """A point source at one position: counts for each flux, shape (n, k), and the part of each flux in each bin."""

    unit: FloatArray
    matrix: FloatArray
    inside: NDArray[np.bool_]
    bins: IntArray


class PointContribution(FoldedSource):
    """A point source folded through the responses at its position; they have a point spread function."""

    _placed: Callable[..., _Placed | None]
    _folded: Callable[..., FloatArray]
    #: Where the pixels around the source were looked up, and these.
    _pixels: tuple[FloatArray, PsfPixels | None] | None = None
    #: Pixels around the source, and the exposure and its rise there, shape (n, energy_true).
    _around: tuple[IntArray, list[NDArray[Any]]] | None = None

    def memories(self) -> Mapping[str, Any]:
        """Return functions that remember their results, empty, by the attributes that hold them."""
        return {f"_{n}": lru_cache(maxsize=REMEMBERED)(f) for n, f in (("placed", self._place), ("folded", self._fold))}

    def _spread(self, vector: FloatArray) -> PsfPixels | None:
        """Pixels around the source. Where the function ends is decided once, unless the source moves far away."""
        if self._pixels is None or float(separation(vector, self._pixels[0])) > FAR:
            psf = self.response.psf
            assert isinstance(psf, PointSpread)
            nodes = psf.nodes_at(vector)
            pixels = None if nodes is None else PsfPixels(self.response.grid, nodes, psf.width_at(vector))
            self._pixels = vector, pixels
        return self._pixels[1]

    def _place(self, *position: float) -> _Placed | None:
        """Geometry and responses for a position in degrees, None where nothing is seen of it."""
        vector = axes_at(position[0], position[1], self.spatial.model.frame).center
        pixels, response = self._spread(vector), self.response
        if pixels is None:
            return None
        assert response.psf is not None
        shape = pixels.shape(vector)
        unit = shape.integrals(*(part.T for part in pixels.split(*response.psf.functions(pixels.nodes, vector))))
        if response.exposure is not None:
            unit *= self._exposure(pixels, shape, vector)
        if self.folding.measured is not None:
            unit = unit[:, self.folding.true]
        matrix = self.folding.matrix(response.edisp, vector, len(self.kept.index))
        inside, bins = self.kept.select(shape.rows, shape.columns)
        return _Placed(np.ascontiguousarray(unit), matrix, inside, bins)

    def _exposure(self, pixels: PsfPixels, shape: PsfShape, vector: FloatArray) -> FloatArray:
        """Exposure to the source of the runs that see each pixel, shape (n, energy_true)."""
        grid, (rows, columns) = self.response.grid, pixels.looked_up
        if self._around is None or self._around[0] is not rows:
            found = self.response.exposure_around(rows, columns)
            self._around = rows, [np.ascontiguousarray(part.T) for part in found]
        exposure, along_y, along_x = (part[shape.active] for part in self._around[1])
        y, x = pixel_of(grid, vector)
        distance_y, distance_x = y - grid.y.start - shape.rows, x - grid.x.start - shape.columns
        if grid.frame.period is not None:
            period = grid.frame.period
            distance_x = distance_x - period * np.round(distance_x / period)
        if not (np.isfinite(y) and np.isfinite(x)):
            return np.asarray(exposure)
        exposure += along_y * distance_y[:, None]
        exposure += along_x * distance_x[:, None]
        return np.maximum(exposure, 0.0, out=exposure)

    def _fold(self, position: tuple[float, ...], key: tuple[Any, ...]) -> FloatArray:
        """Counts in the bins for a flux of scale 1."""
        placed = self._placed(*position)
        if placed is None:
            return np.zeros(0)
        # too small for the threads of a matrix product
        counts = np.einsum("nk,ke->en", placed.unit, self.flux.shape(*key)[:, None] * placed.matrix)
        return counts[placed.inside]

    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the bins that are filled, each once, and what is added to them."""
        position = self.spatial.of(values)
        if not np.all(np.isfinite(position)):
            return np.zeros(1, np.intp), np.full(1, np.nan)
        scale, key = self.flux.split(values)
        placed = self._placed(*position)
        if placed is None:
            return np.zeros(0, np.intp), np.zeros(0)
        return placed.bins, scale * self._folded(position, key)

    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps."""
        position = self.spatial.of(values)
        if not np.all(np.isfinite(position)):
            return
        placed = self._placed(*position)
        spatial, spectral = set(self.spatial.places.tolist()), set(self.flux.places.tolist())
        if placed is not None and spectral & set(steps):
            back = np.zeros(placed.inside.shape)
            back[placed.inside] = slope[placed.bins]
            sums = np.einsum("nk,en->ke", placed.unit, back)
            self.flux.add_gradient(total, np.sum(sums * placed.matrix, axis=1), values, steps)
        for place in spatial & set(steps):
            ends = []
            for side in (steps[place], -steps[place]):
                moved = values.copy()
                moved[place] += side
                if place in spectral:  # the flux of a linked value has been moved above
                    moved_position, here = self.spatial.of(moved), self.flux.split(values)
                    at = self._placed(*moved_position)
                    bins = np.zeros(0, np.intp) if at is None else at.bins
                    counts = here[0] * self._folded(moved_position, here[1])
                else:
                    bins, counts = self.signal(moved)
                ends.append(float((slope[bins] * counts).sum()))
            total[place] += (ends[0] - ends[1]) / (2.0 * steps[place])
