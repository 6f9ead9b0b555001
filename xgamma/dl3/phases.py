"""Phases of events: what may stand in a column of phases, and intervals of them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["PHASE_LABEL", "phases_within", "turned"]

PHASE_LABEL = "Phase"


def turned(phases: Any, where: str = "") -> np.ndarray:
    """Return phases from 0 up to 1.

    Parameters
    ----------
    phases
        Phases in turns, from -0.5 to 1: files count from 0 to 1 or from -0.5 to 0.5, and rounding makes 1 of what is
        just below.
    where
        What they are from, for messages.

    Returns
    -------
    numpy.ndarray
        float64, same shape.

    Raises
    ------
    ValueError
        If there are others, or NaN.

    Examples
    --------
    >>> turned([-0.25, 0.5, 1.0])
    array([0.75, 0.5 , 0.  ])
    """
    values = np.asarray(phases, dtype=np.float64)
    bad = ~((values >= -0.5) & (values <= 1.0))
    if bad.any():
        nan = int(np.isnan(values).sum())
        some = nan < bad.sum()
        what = f"they reach from {np.nanmin(values):g} to {np.nanmax(values):g}" if some else f"{nan} are NaN"
        msg = (
            f"{int(bad.sum())} of {values.size} phases{f' of {where}' if where else ''} lie outside of 0 to 1, {what}: "
            "give phases in turns, or make them from times (xgamma.dl3.ephemeris.assign_phases)"
        )
        raise ValueError(msg)
    fraction = values % 1.0
    return np.where(fraction < 1.0, fraction, 0.0)


def phases_within(phases: np.ndarray, intervals: Any) -> np.ndarray:
    """Say which phases lie in intervals (start, stop); the start belongs to each.

    Examples
    --------
    >>> phases_within(np.array([0.0, 0.5, 0.9]), ((0.0, 0.1), (0.8, 1.0)))
    array([ True, False,  True])
    """
    result = np.zeros(phases.shape, dtype=bool)
    for start, stop in intervals:
        result |= (phases >= start) & (phases < stop)
    return result
