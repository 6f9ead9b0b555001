"""What `reduce` has to know of a background that is made run by run, from the counts around each pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from xgamma.reduction.run_norm import PreparedNorm

__all__ = ["OffMaps", "OffTask", "PreparedBackground", "RunBackground"]

#: ``off(counts, usable_background, acceptance)``, all of shape (n, ny, nx): counts and acceptance of the off
#: regions. Pixels that may not be used hold zeros in the first two; what is outside the arrays is outside the map.
OffMaps = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class OffTask:
    """The part that travels to the workers: small and plain.

    Parameters
    ----------
    off
        Counts and acceptance of the off regions, see `OffMaps`.
    depth
        Pixels along (y, x) that `off` looks beyond a tile.
    groups
        Energy bins that are joined before; None for each bin as it is, also outside the safe mask.
    safe_only
        Leave counts and background outside the safe mask out of the off regions.
    """

    off: OffMaps
    depth: tuple[int, int]
    groups: tuple[slice, ...] | None
    safe_only: bool = True


@dataclass(frozen=True, eq=False)
class PreparedBackground:
    """A background that has been checked against the grid of a reduction.

    Parameters
    ----------
    task
        What a worker needs.
    axis
        Energy axis of the result.
    usable
        True where a pixel may be used for the background, dims (y, x) of the grid, in memory or lazy; None for all.
    method
        The settings in words, for the attributes of the cube.
    token
        The same settings and a lazy `usable`, told apart from others: equal in another process.
    """

    task: OffTask
    axis: xr.DataArray
    usable: xr.Variable | None
    method: str
    token: str


@runtime_checkable
class RunBackground(Protocol):
    """A background that `reduce` makes for each run while it is open."""

    def prepare(
        self, grid: xr.Dataset, tiles: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> PreparedBackground | PreparedNorm:
        """Check the settings against a grid that is cut into tiles of these sizes along (y, x)."""
        ...


def check_background(background: Any) -> RunBackground:
    """Refuse what is no background that can be made run by run.

    Raises
    ------
    TypeError
        If `background` is something else.
    """
    if isinstance(background, RunBackground) and not isinstance(background, type):
        return background
    if hasattr(background, "prepare_spectrum"):
        msg = f"{type(background).__name__} is a background of spectra; reduce on xgamma.region_grid(...), not on a map"
        raise TypeError(msg)
    msg = (
        f"background={background!r} is no background that reduce can make run by run; give a "
        "xgamma.FoVBackground(...) or xgamma.RingBackground(...), or leave it out and take the background model of the "
        "runs"
    )
    raise TypeError(msg)
