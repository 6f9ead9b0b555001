"""From an observation or a pointing and models to a run that can be simulated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from xgamma.dl3.observation import Observation
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.sky_model import Model, SkyModel
from xgamma.simulate.emission import split_models
from xgamma.simulate.response import NAMES, Responses
from xgamma.simulate.run import Run, make_run

__all__ = ["absent_models", "kept_cards", "responses_of", "run_of"]

#: Cards of a real run that its simulation keeps.
KEPT = ("OBJECT", "RA_OBJ", "DEC_OBJ", "TELESCOP", "INSTRUME", "TELLIST", "N_TELS")


def run_of(
    observation: Any,
    models: Any,
    irfs: Mapping[str, Any] | Responses | None,
    ontime: Any,
    start: Any,
    gti: xr.Dataset | None,
    deadtime_fraction: float | None,
    energy_range: Any,
    obs_id: int | str | None,
    background: bool,
    name: str | None,
) -> tuple[Run, int | str, dict[str, Any]]:
    """Check the arguments of `xgamma.simulate.events.simulate_events`.

    Returns
    -------
    run : Run
        What is simulated.
    label : int or str
        Number or label of the run.
    cards : dict
        Cards of the header that are those of the observation.
    """
    sources, factors = split_models(models)
    cards: dict[str, Any] = {}
    label: int | str = 1 if obs_id is None else obs_id
    if isinstance(observation, Observation):
        label = observation.obs_id if obs_id is None else obs_id
        irfs = irfs if isinstance(irfs, Responses) else responses_of(observation, irfs, background)
        gti = observation.gti if gti is None else gti
        deadtime_fraction = observation.deadtime_fraction if deadtime_fraction is None else deadtime_fraction
        cards = kept_cards(observation)
        observation = observation.pointing
    elif irfs is None:
        msg = "a pointing has no responses: give irfs={'aeff': ..., 'psf': ..., 'edisp': ..., 'bkg': ...}"
        raise ValueError(msg)
    absent = absent_models(sources, factors, label, name)
    if absent and name is None:
        first = next(m for m in (*sources, *factors) if m.name in absent)
        msg = (
            f"model {first.name!r} belongs to the datasets {first.datasets_names}, not to run {label!r}; give name=, "
            "the dataset that the run stands for"
        )
        raise ValueError(msg)
    dead = 0.0 if deadtime_fraction is None else deadtime_fraction
    factors = tuple(m for m in factors if m.name not in absent)
    run = make_run(
        observation, irfs, sources, ontime, start, gti, dead, energy_range, background, factors, absent
    )  # fmt: skip
    return run, label, cards


def absent_models(
    sources: tuple[SkyModel, ...], factors: tuple[FoVBackgroundModel, ...], obs_id: Any, name: str | None
) -> frozenset[str]:
    """Return the names of models that do not belong to a run, by its label or the name of its dataset."""
    names = {str(obs_id)} | ({name} if name is not None else set())

    def belongs(model: Model) -> bool:
        return model.datasets_names is None or bool(names & set(model.datasets_names))

    return frozenset(m.name for m in (*sources, *factors) if not belongs(m))


def responses_of(observation: Observation, irfs: Mapping[str, Any] | None, background: bool) -> dict[str, Any]:
    """Return the responses of an observation, with those that were given in place of its own."""
    known = {} if irfs is None else dict(irfs)
    available = [n for n in NAMES if n not in known and n in observation.available and (background or n != "bkg")]
    with observation.open() as files:
        return {n: files.irf(n) for n in available} | known


def kept_cards(observation: Observation) -> dict[str, Any]:
    """Return the cards of an observation that its simulation keeps."""
    if "events" not in observation.available:
        return {}
    return {k: v for k, v in observation.header.items() if k in KEPT}
