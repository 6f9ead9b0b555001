"""What the backgrounds of spectra share: exclusion, and the counts of turned regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xgamma.background.regions_geometry import Exclusion, count_turned
from xgamma.coords.regions import as_regions, to_ds9
from xgamma.coords.sky import grid_of, has_sky
from xgamma.kernels.sphere import separation
from xgamma.reduction.region_background import OffSpectrum, Usable
from xgamma.reduction.region_plane import TangentPlane
from xgamma.reduction.region_set import on_region
from xgamma.reduction.region_shape import ds9_texts, to_plane
from xgamma.reduction.spectrum_run import SpectrumRun

__all__ = ["off_spectrum", "prepare_exclusion"]


def prepare_exclusion(exclusion: Any) -> tuple[Exclusion, Usable | None, str]:
    """Check what is excluded: regions, or a map of the pixels that may be used.

    Returns
    -------
    Exclusion
        Excluded regions.
    Usable or None
        The map.
    str
        What tells it from others.

    Raises
    ------
    TypeError
        If it is neither; or regions without an area.
    ValueError
        If the map has other dims than (y, x), or is not bool.
    """
    if exclusion is None:
        return Exclusion(), None, ""
    if isinstance(exclusion, xr.Dataset):
        msg = "exclusion is a Dataset; give one bool map, True where a pixel may be used, or regions"
        raise TypeError(msg)
    if not isinstance(exclusion, xr.DataArray):
        regions = as_regions(exclusion)
        texts = [to_ds9(region) for region in regions]
        found = tuple(on_region(region, text) for region, text in zip(regions, texts, strict=True))
        points = [region.text for region in found if region.is_point]
        if points:
            msg = f"the point {points[0]!r} excludes nothing; give regions with an area"
            raise TypeError(msg)
        return Exclusion(found), None, repr(texts)
    if not has_sky(exclusion) or set(exclusion.dims) != {"y", "x"}:
        msg = f"an exclusion map has dims (y, x) and sky coordinates; this one has {exclusion.dims}"
        raise ValueError(msg)
    if exclusion.dtype != bool:
        msg = f"an exclusion map must be bool, True where a pixel may be used, not {exclusion.dtype}"
        raise ValueError(msg)
    values = exclusion.transpose("y", "x").data
    grid = grid_of(exclusion)
    return Exclusion(), Usable(grid, values), str(tokenize(repr(grid), values))


def off_spectrum(
    run: SpectrumRun, k: int, plane: TangentPlane, turns: np.ndarray, x: np.ndarray, y: np.ndarray
) -> OffSpectrum:
    """Count the events in turns of region `k` of a run.

    Parameters
    ----------
    run
        The run.
    k
        Number of the region.
    plane
        Plane around the pointing.
    turns
        Radian, shape (m,).
    x, y
        Events in the plane, shape (n,).
    """
    events, region = run.events, run.regions[k]
    if not len(turns):
        return OffSpectrum(np.zeros(events.n_energy), 1.0, 0.0, 0)
    text = "\n".join(ds9_texts(region.shape, plane, turns))
    if region.is_point:
        which = _around_points(run, k, plane, turns)
    else:
        which = count_turned(to_plane(region.shape, plane), turns, x, y)
    return OffSpectrum(events.count(which), 1.0, float(len(turns)), len(turns), text)


def _around_points(run: SpectrumRun, k: int, plane: TangentPlane, turns: np.ndarray) -> np.ndarray:
    """Numbers of the events inside the radius at their energy around turned positions."""
    x, y = plane.project(run.regions[k].center)
    cos, sin = np.cos(turns), np.sin(turns)
    centers = plane.unproject(cos * x - sin * y, sin * x + cos * y)
    radii = run.radii(k)
    inside = np.zeros(len(radii), dtype=bool)
    for center in centers:
        inside |= separation(run.events.vectors, center) < radii
    return np.flatnonzero(inside)
