"""Point sources on maps: the point spread function integrated over pixels at the true position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.flux import SpectralFlux
from xgamma.fitting.map_irf import EnergyFolding, MapResponse, PointSpread
from xgamma.fitting.psf_pixels import PsfPixels, PsfShape
from xgamma.kernels.sphere import separation
from xgamma.models.parameter import Parameters
from xgamma.models.spatial_geometry import axes_at
from xgamma.models.spatial_model import SpatialModel

__all__ = ["KeptBins", "MapContribution", "PointContribution", "SpatialValues"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: How many positions or shapes are remembered: a gradient goes to both sides along each of some parameters.
REMEMBERED = 8
#: Degrees that a source may move before its point spread function ends elsewhere.
FAR = 0.5


class SpatialValues:
    """Canonical values of a spatial model from the values of all parameters of a fit."""

    def __init__(self, model: SpatialModel, parameters: Parameters) -> None:
        self.model = model
        self.factors = np.asarray(model.canonical_factors(), float)
        own = list(model.arguments())
        #: Place of each of the model's values among those of the fit.
        self.places = np.array([parameters.index_of(p) for p in own], np.intp)
        #: Whether all of them stay as they are.
        self.frozen = all(p.frozen for p in own)

    def of(self, values: FloatArray) -> tuple[float, ...]:
        """Return the canonical values."""
        return tuple((values[self.places] * self.factors).tolist())


@dataclass(frozen=True, eq=False)
class KeptBins:
    """Bins of a map that take part in a fit.

    Parameters
    ----------
    index
        Number of each bin among those that take part, -1 for others, shape (energy, y, x).
    size
        How many take part.
    """

    index: NDArray[np.int32]
    size: int

    @classmethod
    def of(cls, kept: NDArray[np.bool_]) -> KeptBins:
        """Return the bins of a mask, shape (energy, y, x)."""
        index = np.full(kept.shape, -1, np.int32)
        size = int(np.count_nonzero(kept))
        index[kept] = np.arange(size, dtype=np.int32)
        return cls(index, size)

    def select(self, rows: IntArray, columns: IntArray) -> tuple[NDArray[np.bool_], IntArray]:
        """Return which bins of some pixels take part, shape (energy, n), and their numbers."""
        found = self.index[:, rows, columns]
        inside = found >= 0
        return inside, found[inside].astype(np.intp)


class MapContribution:
    """A model in a map: what it adds to some of the bins."""

    #: Whether it fills a large part of the map.
    dense = False
    name: str
    places: IntArray

    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the bins that are filled, each once, and what is added to them."""
        raise NotImplementedError(type(self).__name__)

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add what is predicted to the bins of the dataset, in place."""
        bins, counts = self.signal(values)
        total[bins] += counts

    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps.

        `slope` is an array, or anything that gives its values at an array of bins.
        """
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A point source at one position."""

    shape: PsfShape
    #: Coefficients of the functions times exposure, both parts, shape (size, k).
    outer: FloatArray
    core: FloatArray
    #: Part of each flux in each measured bin, shape (k, energy).
    matrix: FloatArray
    inside: NDArray[np.bool_]
    bins: IntArray


class PointContribution(MapContribution):
    """A point source folded through the responses at its position.

    Parameters
    ----------
    name
        Name of the model.
    flux
        Flux in the bins of `folding`.
    spatial
        Position.
    response
        Responses; they have a point spread function.
    folding
        Energies.
    kept
        Bins that take part.
    """

    def __init__(
        self,
        name: str,
        flux: SpectralFlux,
        spatial: SpatialValues,
        response: MapResponse,
        folding: EnergyFolding,
        kept: KeptBins,
    ) -> None:
        self.name, self.flux, self.spatial = name, flux, spatial
        self.response, self.folding, self.kept = response, folding, kept
        self.places = np.unique(np.concatenate([flux.places, spatial.places]))
        self._pixels: tuple[FloatArray, PsfPixels | None] | None = None
        self._remember()

    def _remember(self) -> None:
        self._placed: Callable[..., _Placed | None] = lru_cache(maxsize=REMEMBERED)(self._place)
        self._folded: Callable[..., FloatArray] = lru_cache(maxsize=REMEMBERED)(self._fold)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_placed", "_folded")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

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
        outer, core = pixels.split(*response.psf.functions(pixels.nodes, vector))
        exposure = response.exposure_at(vector)[:, None]
        shape = pixels.shape(vector)
        true = self.folding.true
        matrix = self.folding.matrix(response.edisp, vector, len(self.kept.index))
        inside, bins = self.kept.select(shape.rows, shape.columns)
        return _Placed(shape, (outer * exposure)[true].T, (core * exposure)[true].T, matrix, inside, bins)

    def _fold(self, position: tuple[float, ...], key: tuple[float, ...]) -> FloatArray:
        """Counts in the bins for a flux of scale 1."""
        placed = self._placed(*position)
        if placed is None:
            return np.zeros(0)
        weight = self.flux.shape(*key)[:, None] * placed.matrix
        # these are too small for the threads of a matrix product
        outer, core = (np.einsum("sk,ke->se", part, weight) for part in (placed.outer, placed.core))
        counts = placed.shape.integrals(outer, core)
        return counts.T[placed.inside]

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
            outer, core = placed.shape.transposed(np.ascontiguousarray(back.T))
            sums = np.einsum("sk,se->ke", placed.outer, outer) + np.einsum("sk,se->ke", placed.core, core)
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
