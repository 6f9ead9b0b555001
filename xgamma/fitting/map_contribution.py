"""What models add to the bins of a map: what all of them have in common, and what sources that are folded have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.map_irf import EnergyFolding, MapResponse
from xgamma.models.parameter import Parameters
from xgamma.models.spatial_model import SpatialModel

__all__ = ["REMEMBERED", "Flux", "FoldedSource", "KeptBins", "MapContribution", "Memory", "SpatialValues"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: How many positions or shapes are remembered: a gradient goes to both sides along each of some parameters.
REMEMBERED = 8


class Memory:
    """A function that remembers its last results, as long as these do not hold too many numbers.

    Parameters
    ----------
    function
        Function of values that are keys of a dictionary; its result's last part, or its result, is an array.
    most
        Number of results.
    numbers
        Numbers in all arrays, beyond which the oldest results but one are forgotten.

    Examples
    --------
    >>> square = Memory(lambda x: np.full(3, x**2), most=2)
    >>> square(2.0), len(square)
    (array([4., 4., 4.]), 1)
    """

    def __init__(self, function: Callable[..., Any], most: int, numbers: int = 1_000_000) -> None:
        self.function, self.most, self.numbers = function, most, numbers
        self._known: OrderedDict[Any, Any] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, *key: Any) -> Any:
        """Return the result, remembered or not."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        result = self._known[key] = self.function(*key)
        self._size += _size_of(result)
        while len(self._known) > self.most or (len(self._known) > 2 and self._size > self.numbers):
            self._size -= _size_of(self._known.popitem(last=False)[1])
        return result


def _size_of(result: Any) -> int:
    return int(np.size(result[-1] if isinstance(result, tuple) else result))


class Flux(Protocol):
    """Flux in bins of energy as a function of the values of all parameters, such as `SpectralFlux`."""

    @property
    def places(self) -> IntArray:
        """Places among the values on which it depends."""

    @property
    def fixed_shape(self) -> bool:
        """Whether all values but those that only scale are frozen."""

    def split(self, values: FloatArray) -> tuple[float, tuple[Any, ...]]:
        """Return the scale, and what gives the shape."""

    def shape(self, *key: Any) -> FloatArray:
        """Return the flux at a scale of 1."""

    def add_gradient(self, total: FloatArray, back: FloatArray, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the energies of a slope times the derivatives of the flux by the values with steps."""


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


class MapContribution(ABC):
    """A model in a map: what it adds to some of the bins."""

    #: Whether it fills a large part of the map.
    dense = False
    name: str
    places: IntArray

    @abstractmethod
    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the bins that are filled, each once, and what is added to them."""

    def add_to(self, total: FloatArray, values: FloatArray) -> None:
        """Add what is predicted to the bins of the dataset, in place."""
        bins, counts = self.signal(values)
        total[bins] += counts

    @abstractmethod
    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps.

        `slope` is an array, or anything that gives its values at an array of bins.
        """


class FoldedSource(MapContribution):
    """A source folded through the responses of a map, which remembers what it computed.

    Parameters
    ----------
    name
        Name of the model.
    flux
        Flux in the bins of `folding`.
    spatial
        Position and shape.
    response
        Responses.
    folding
        Energies.
    kept
        Bins that take part.
    """

    def __init__(
        self,
        name: str,
        flux: Flux,
        spatial: SpatialValues,
        response: MapResponse,
        folding: EnergyFolding,
        kept: KeptBins,
    ) -> None:
        self.name, self.flux, self.spatial = name, flux, spatial
        self.response, self.folding, self.kept = response, folding, kept
        self.places = np.unique(np.concatenate([flux.places, spatial.places]))
        self._remember()

    @abstractmethod
    def memories(self) -> Mapping[str, Any]:
        """Return functions that remember their results, empty, by the attributes that hold them."""

    def _remember(self) -> None:
        self.__dict__.update(self.memories())

    def __getstate__(self) -> dict[str, Any]:
        own = self.memories()
        return {k: v for k, v in self.__dict__.items() if k not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()
