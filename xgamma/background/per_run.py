"""Backgrounds that `xgamma.reduce` makes run by run, inside its one pass over the runs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from xgamma.background.correlate import positive_angle
from xgamma.background.ring import RingGeometry, adaptive_block, check_ring, check_threshold, growing_rings
from xgamma.coords.bins import bin_edges
from xgamma.coords.energy_groups import energy_groups
from xgamma.coords.regions import as_regions, to_ds9
from xgamma.coords.sky import grid_of
from xgamma.kernels.convolve import Annulus, convolve
from xgamma.reduction.run_background import OffTask, PreparedBackground

__all__ = ["AdaptiveRingBackground", "RingBackground"]

Tiles = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class RingBackground:
    """Settings of a ring background for `xgamma.reduce`: the ring of each run while the run is open.

    Parameters
    ----------
    r_in, width
        Inner radius and width of the ring, angles.
    exclusion
        Regions whose pixels are excluded; or a bool map, True where a pixel may be used, dims (y, x), on any
        cutout of the same grid, also lazy.
    energy_edges
        ``"image"`` joins all energies of a run before its ring is made; edges join them into groups (each an edge of
        the grid); None makes a ring for each bin of the grid.
    safe_only
        Leave counts and background outside the safe mask out of the ring.

    See Also
    --------
    xgamma.background.ring.ring_background : the same for a cube, with notes and references.

    Notes
    -----
    The result is that of ``reduce(stack=False)``, ``to_image`` (or ``rebin``), ``ring_background`` and ``stack``,
    without a cube of all runs.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.io.sample import sample_path
    >>> runs = xg.open_store(sample_path("survey")).observations
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> grid = xg.sky_grid(SkyCoord(150, -25, unit="deg"), "2 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> ring = RingBackground(r_in="0.3 deg", width="0.2 deg", exclusion="icrs;circle(150, -25, 0.2)")
    >>> xg.reduce(runs, grid, offset_max="2.5 deg", background=ring).counts_off.shape
    (1, 20, 20)
    """

    r_in: Any
    width: Any
    exclusion: Any = None
    energy_edges: Any = "image"
    safe_only: bool = True

    def prepare(self, grid: xr.Dataset, tiles: Tiles) -> PreparedBackground:
        """Check the settings against a grid that is cut into tiles of these sizes along (y, x)."""
        geometry = check_ring(_template(grid, tiles), self.r_in, self.width, self.exclusion)
        ring = Annulus(geometry.r_in, geometry.r_in + geometry.width, geometry.pixel)
        method = f"ring_background(r_in={geometry.r_in:g} deg, width={geometry.width:g} deg)"
        return _prepared(grid, self, functools.partial(_ring_off, ring=ring), ring.depth, geometry, method)


@dataclass(frozen=True, kw_only=True)
class AdaptiveRingBackground:
    """Settings of an adaptive ring background for `xgamma.reduce`: a ring that grows until it holds enough.

    Parameters
    ----------
    r_in, r_out_max, width, stepsize, threshold_alpha, theta, method
        As for `xgamma.background.ring.adaptive_ring_background`.
    exclusion, energy_edges, safe_only
        As for `RingBackground`.

    Examples
    --------
    >>> AdaptiveRingBackground(r_in="0.3 deg", r_out_max="0.8 deg", width="0.2 deg").threshold_alpha
    0.1
    """

    r_in: Any
    r_out_max: Any
    width: Any
    stepsize: Any = "0.02 deg"
    threshold_alpha: float = 0.1
    theta: Any = "0.22 deg"
    method: Literal["fixed_width", "fixed_r_in"] = "fixed_width"
    exclusion: Any = None
    energy_edges: Any = "image"
    safe_only: bool = True

    def prepare(self, grid: xr.Dataset, tiles: Tiles) -> PreparedBackground:
        """Check the settings against a grid that is cut into tiles of these sizes along (y, x)."""
        geometry = check_ring(_template(grid, tiles), self.r_in, self.width, self.exclusion)
        rings = tuple(growing_rings(geometry, self.r_out_max, self.stepsize, self.method))
        check_threshold(self.threshold_alpha)
        disc = Annulus(0.0, positive_angle(self.theta, "theta"), geometry.pixel)
        y, x = (max(ring.depth[axis] for ring in (*rings, disc)) for axis in (0, 1))
        off = functools.partial(_adaptive_off, rings=rings, disc=disc, threshold=float(self.threshold_alpha))
        method = (
            f"adaptive_ring_background(r_in={geometry.r_in:g} deg, width={geometry.width:g} deg, "
            f"method={self.method}, {len(rings)} rings, threshold_alpha={self.threshold_alpha:g}, "
            f"theta={disc.r_out:g} deg)"
        )
        return _prepared(grid, self, off, (y, x), geometry, method)


def _template(grid: xr.Dataset, tiles: Tiles) -> xr.Dataset:
    """Return an empty cube on the grid: regions on many tiles become a lazy mask, on one tile an array."""
    shape = grid_of(grid).shape
    many = any(len(sizes) > 1 for sizes in tiles)
    empty = da.zeros(shape, chunks=tiles) if many else np.broadcast_to(0.0, shape)
    return grid.assign(counts=(("y", "x"), empty), background=(("y", "x"), empty))


def _prepared(
    grid: xr.Dataset,
    settings: RingBackground | AdaptiveRingBackground,
    off: functools.partial[Any],
    depth: tuple[int, int],
    geometry: RingGeometry,
    method: str,
) -> PreparedBackground:
    edges = settings.energy_edges
    if isinstance(edges, str) and edges == "image":
        first, last = (float(e) for e in bin_edges(grid, "energy")[[0, -1]])
        edges = [f"{first!r} TeV", f"{last!r} TeV"]
    found, axis = energy_groups(grid, edges)
    groups = None if edges is None else tuple(found)
    text = _exclusion_text(settings.exclusion, geometry.exclusion)
    token = tokenize(method, repr(off.keywords), repr(groups), settings.safe_only, text)
    return PreparedBackground(OffTask(off, depth, groups, settings.safe_only), axis, geometry.exclusion, method, token)


def _exclusion_text(exclusion: Any, mask: xr.Variable | None) -> str:
    """What tells a lazy mask from others, also in another process; one in memory is told by its pixels."""
    if mask is None or isinstance(mask.data, np.ndarray):
        return ""
    return (
        str(mask.data.name) if isinstance(exclusion, xr.DataArray) else repr([to_ds9(r) for r in as_regions(exclusion)])
    )


def _ring_off(
    counts: np.ndarray, background: np.ndarray, _acceptance: np.ndarray, *, ring: Annulus
) -> tuple[np.ndarray, np.ndarray]:
    return convolve(counts, ring.kernel), convolve(background, ring.kernel)


def _adaptive_off(
    counts: np.ndarray,
    background: np.ndarray,
    acceptance: np.ndarray,
    *,
    rings: tuple[Annulus, ...],
    disc: Annulus,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    finite = np.where(np.isfinite(acceptance), acceptance, 0.0)
    made = adaptive_block(np.stack([counts, background, finite]), rings, disc, threshold)
    return made[0], made[1]
