"""What `reduce` has to know of a background of spectra that is made run by run, from the run's own events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from xgamma.coords.sky import SkyGrid
from xgamma.reduction.spectrum_run import SpectrumRun

__all__ = ["OffSpectrum", "OffTask", "PreparedOff", "SpectrumBackground", "Usable", "check_spectrum_background"]


@dataclass(frozen=True, eq=False)
class OffSpectrum:
    """Background of one region in one run.

    Parameters
    ----------
    counts_off
        Off counts, shape (n_energy,).
    acceptance, acceptance_off
        Acceptances of the on and the off region.
    number
        Off regions that were found; 0 where there is no room.
    text
        Off regions as DS9 texts, one a line.
    counts
        On counts, shape (n_energy,), where they are not all events in the on region.
    """

    counts_off: np.ndarray
    acceptance: float
    acceptance_off: float
    number: int
    text: str = ""
    counts: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Usable:
    """Map of the pixels that may be used for a background.

    Parameters
    ----------
    grid
        Its sky grid.
    values
        bool, dims (y, x), in memory or lazy.
    """

    grid: SkyGrid
    values: Any


class OffTask(Protocol):
    """The part of a background that travels to the workers."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the event list that are needed beside position and energy."""
        ...

    def __call__(self, run: SpectrumRun, usable: Usable | None) -> list[OffSpectrum]:
        """Return the background of each region of a run."""
        ...


@dataclass(frozen=True, eq=False)
class PreparedOff:
    """A background that has been checked against the grid of a reduction.

    Parameters
    ----------
    task
        What a worker needs.
    usable
        Pixels that may be used, in memory or lazy; None for all.
    method
        The settings in words, for the attributes of the cube.
    token
        What tells it from others.
    """

    task: OffTask
    usable: Usable | None
    method: str
    token: str


@runtime_checkable
class SpectrumBackground(Protocol):
    """A background that `reduce` makes for the spectrum of each run while the run is open."""

    def prepare_spectrum(self, grid: xr.Dataset) -> PreparedOff:
        """Check the settings against a grid of regions."""
        ...


def check_spectrum_background(background: Any) -> SpectrumBackground:
    """Refuse what is no background of spectra.

    Raises
    ------
    TypeError
        If `background` is something else.
    """
    if isinstance(background, SpectrumBackground) and not isinstance(background, type):
        return background
    msg = (
        f"background={background!r} is no background for the spectra of regions; give a xgamma.ReflectedRegions(...), "
        "xgamma.WobbleRegions(...) or xgamma.PhaseBackground(...), or leave it out and take the background model of "
        "the runs"
    )
    raise TypeError(msg)
