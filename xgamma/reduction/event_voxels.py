"""Events of a run in the voxels of a grid: few beside the voxels, so they are added one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xgamma.coords.sky import SkyGrid
from xgamma.dl3.cache import cache, file_key
from xgamma.reduction.observation import Run

__all__ = ["EventVoxels", "add_counts", "event_voxels"]


@dataclass(frozen=True, eq=False)
class EventVoxels:
    """Where the events of a run lie: bin of energy and pixel coordinates.

    Parameters
    ----------
    plane
        Number of the energy bin, shape (n,); events outside all bins are left out.
    y, x
        Pixel coordinates in the frame of the grid, shape (n,); NaN outside the projection.
    """

    plane: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.plane.nbytes + self.y.nbytes + self.x.nbytes

    def inside(self, window: SkyGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return bin, row and column in a window, of the events in it."""
        x = self.x
        if window.frame.period is not None:
            # the turn of longitude that the window shows
            middle = 0.5 * (window.x.start + window.x.stop - 1)
            x = x - window.frame.period * np.round((x - middle) / window.frame.period)
        ny, nx = window.shape
        with np.errstate(invalid="ignore"):
            row, column = np.floor(self.y + 0.5) - window.y.start, np.floor(x + 0.5) - window.x.start
            found = np.flatnonzero((row >= 0) & (row < ny) & (column >= 0) & (column < nx))
        return self.plane[found], row[found].astype(np.intp), column[found].astype(np.intp)


def event_voxels(run: Run) -> EventVoxels:
    """Find the voxels of a run's events; they stay in the cache of the process for other tiles."""
    observation, grid, edges = run.files.observation, run.settings.grid, run.settings.energy_edges

    def find() -> EventVoxels:
        events = run.files.events(["ra", "dec", "energy"])
        energy = events["energy"].values
        keep = (energy >= edges[0]) & (energy < edges[-1])
        plane = np.searchsorted(edges, energy[keep], side="right") - 1
        lon, lat = grid.frame.from_icrs(events["ra"].values[keep], events["dec"].values[keep])
        y, x = grid.frame.sky_to_pixel(lon, lat)
        return EventVoxels(plane.astype(np.int32), y, x)

    try:
        # filters of events may look at the pointing and the good time
        files = dict.fromkeys(h.file for h in observation.hdus if h.hdu_type in ("events", "gti", "pointing"))
        states = [file_key(file) for file in files]
    except OSError:
        return find()  # opening the file says what is wrong
    key = ("event voxels", observation.__dask_tokenize__(), *states, grid.frame, edges.tobytes())
    return cache().get(key, find, lambda voxels: 1000 + voxels.nbytes)


def add_counts(run: Run, window: SkyGrid, target: np.ndarray, safe: np.ndarray | None = None) -> None:
    """Add the events of a run to a window of a map.

    Parameters
    ----------
    run
        The open run.
    window
        The pixels of the window.
    target
        Counts, shape (n_energy, ny, nx) of the window; changed.
    safe
        True where events count, same shape; everywhere by default.
    """
    plane, row, column = event_voxels(run).inside(window)
    if safe is not None:
        keep = safe[plane, row, column]
        plane, row, column = plane[keep], row[keep], column[keep]
    np.add.at(target, (plane, row, column), 1.0)
