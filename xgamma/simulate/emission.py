"""What a run sees of a source: its flux, directions and times, from any sky model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model, SkyModel
from xgamma.simulate.arrival import Arrival, arrival_of
from xgamma.simulate.directions import Directions, FieldOfView, directions_of
from xgamma.simulate.sources import Source

__all__ = ["Emission", "check_models", "emission_of", "refined", "split_models"]

FloatArray = NDArray[np.float64]

#: Part of the sum by which the power law between two energies may miss the flux between them.
FLUX_TOLERANCE = 1e-6
#: Rounds of halving intervals that miss it.
ROUNDS = 14


def split_models(models: Any) -> tuple[tuple[SkyModel, ...], tuple[FoVBackgroundModel, ...]]:
    """Return the sources and the background models among models and descriptions of sources, in order, checked.

    Raises
    ------
    TypeError
        If one is of another kind.
    ValueError
        If a source has no spatial model or no exposure, two have one name, or one is called background.
    """
    given = [models] if isinstance(models, (Source, Model)) else models
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        as_models(models)  # says what it takes
    made = [m.model if isinstance(m, Source) else m for m in given]
    names = [getattr(m, "name", None) for m in made]
    double = sorted({str(n) for n in names if names.count(n) > 1} | ({"background"} & {str(n) for n in names}))
    if double:
        msg = f"source names {double} are used more than once ('background' is taken); each needs its own"
        raise ValueError(msg)
    own = as_models(made)
    check_models(own)
    return (
        tuple(m for m in own if isinstance(m, SkyModel)),
        tuple(m for m in own if isinstance(m, FoVBackgroundModel)),
    )


def check_models(models: Models) -> None:
    """Say which models cannot be simulated as events, and why; parameters as for `split_models`."""
    for model in models:
        if isinstance(model, FoVBackgroundModel):
            continue
        if not isinstance(model, SkyModel):
            kind = type(model).__name__
            msg = (
                f"{model.name!r} is a {kind}, which has counts in the bins of a cube and no events; draw counts with "
                "xgamma.simulate_counts, or leave it out"
            )
            raise TypeError(msg)
        if model.spatial is None:
            msg = (
                f"{model.name!r} has no spatial model, so its events have no directions: "
                f"SkyModel(spectral=..., spatial=xgamma.PointSpatialModel(...), name={model.name!r})"
            )
            raise ValueError(msg)
        if not model.apply_irf["exposure"]:
            msg = f"{model.name!r} has apply_irf exposure: false; events come at flux times effective area times time"
            raise ValueError(msg)
        product = {model.spectral.unit, model.spatial.unit}
        if model.spectral.is_norm == (model.spatial.unit == "sr-1"):
            msg = f"spectrum and shape of {model.name!r} have the units {sorted(product)}: their product is no flux"
            raise ValueError(msg)
        wrong = [
            n for p in (model.spectral, model.spatial) for n, v in p.canonical_values().items() if not np.isfinite(v)
        ]
        if wrong:
            msg = f"parameters {wrong} of {model.name!r} are not finite"
            raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Emission:
    """A source as one run sees it; made by `emission_of`.

    Parameters
    ----------
    model
        The source.
    directions
        Where its photons come from, None where the run sees nothing of it.
    arrival
        When they come.
    """

    model: SkyModel
    directions: Directions | None
    arrival: Arrival

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.model.name

    def flux(self, energy: FloatArray) -> FloatArray:
        """Return the flux inside the field of view in cm-2 s-1 TeV-1, averaged over the run, shape of `energy`.

        Raises
        ------
        ValueError
            If it is negative or not finite somewhere.
        """
        spectral = self.model.spectral
        if self.directions is None:
            return np.zeros(np.shape(energy))
        flux = np.asarray(spectral.evaluate(energy, *spectral.values), float)
        flux = flux * self.directions.norm(energy) * self.arrival.norm(energy)
        wrong = ~(np.isfinite(flux) & (flux >= 0))
        if wrong.any():
            first = float(energy[wrong][0])
            what = "negative" if (flux[wrong] < 0).any() else "not finite"
            msg = f"the flux of {self.name!r} is {what}, for example at {first:g} TeV: no events can be drawn from it"
            raise ValueError(msg)
        return flux


def emission_of(
    model: SkyModel, field: FieldOfView | None, intervals: tuple[FloatArray, FloatArray], energies: tuple[float, float]
) -> Emission:
    """Prepare a source for one run.

    Parameters
    ----------
    model
        Source with a spatial model, which `check_models` has seen.
    field
        What the run sees; None for a source that does not belong to it.
    intervals
        Starts and stops of the good time intervals in seconds since J2000.0 (TT).
    energies
        Range of true energies in TeV.

    Raises
    ------
    ValueError
        If values of its spatial or temporal model are negative, or make no distribution.
    """
    assert model.spatial is not None
    try:
        directions = None if field is None else directions_of(model.spatial, field, energies)
        arrival = arrival_of(model.temporal, *intervals, energies)
    except ValueError as error:
        msg = f"source {model.name!r}: {error}"
        raise ValueError(msg) from error
    return Emission(model, directions, arrival)


def refined(function: Callable[[FloatArray], FloatArray], nodes: FloatArray) -> FloatArray:
    """Add energies between nodes until power laws between them follow a function.

    Parameters
    ----------
    function
        Flux at energies.
    nodes
        Ascending energies in TeV, shape (n,).

    Returns
    -------
    numpy.ndarray
        Energies, among them all nodes; the nodes themselves where they do.

    Examples
    --------
    >>> nodes = np.geomspace(0.1, 10, 11)
    >>> refined(lambda energy: energy**-2.0, nodes).size
    11
    >>> refined(lambda energy: np.exp(-0.5 * ((energy - 1) / 0.1) ** 2), nodes).size > 50
    True
    """
    for _ in range(ROUNDS):
        middle = np.sqrt(nodes[1:] * nodes[:-1])
        values, between = function(nodes), function(middle)
        width = np.diff(nodes)
        missed = np.abs(between - np.sqrt(values[1:] * values[:-1])) * width
        more = missed > FLUX_TOLERANCE * np.sum((0.25 * (values[1:] + values[:-1]) + 0.5 * between) * width)
        if not more.any():
            break
        nodes = np.union1d(nodes, middle[more])
    return nodes
