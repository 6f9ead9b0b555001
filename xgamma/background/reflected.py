"""Reflected regions: off regions at the offset of the on region, found run by run inside `reduce`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xgamma.background.off_regions import off_spectrum, prepare_exclusion
from xgamma.background.regions_geometry import (
    Exclusion,
    Raster,
    angular_size,
    excluded_points,
    overlapping,
    reflected_turns,
    turn_back,
)
from xgamma.coords.units import to_value
from xgamma.reduction.region_background import OffSpectrum, PreparedOff, Usable
from xgamma.reduction.region_plane import TangentPlane
from xgamma.reduction.region_shape import PlaneShape, to_plane
from xgamma.reduction.spectrum_run import SpectrumRun

__all__ = ["ReflectedRegions", "WobbleRegions"]

#: Finds the turns of an on region: from the region in the plane around the pointing, its angular size, the raster, the
#: excluded positions, the run and the number of the region.
FindTurns = Callable[[PlaneShape, float, Raster, tuple[np.ndarray, np.ndarray], SpectrumRun, int], np.ndarray]
#: Degrees from the pointing at which a tangential plane still makes sense; no telescope sees so far.
LARGEST_OFFSET = 30.0


@dataclass(frozen=True, kw_only=True)
class ReflectedRegions:
    """Settings of a reflected-regions background for `xgamma.reduce` on a grid of regions.

    The on region is turned around the pointing of each run; turns beside each other that hold no excluded position are
    the off regions. All have the offset of the on region, so its acceptance.

    Parameters
    ----------
    exclusion
        Regions in which no off region may lie; or a bool map, True where a pixel may be used, dims (y, x), also lazy.
        Beyond a map nothing is excluded.
    min_distance
        Gap between two off regions, as an angle around the pointing.
    min_distance_input
        Gap between the on region and its neighbours.
    angle_increment
        Step by which a turn grows that is excluded.
    max_region_number
        Off regions at most.
    angle_min
        Angle around the pointing that a region takes at least; by default that under which it is seen.
    binsize
        Pixel of the raster on which the on region's angular size is measured and exclusion is tested.

    Notes
    -----
    The first turn is the angular size of the on region plus both distances; each off region is followed by the next
    after the angular size plus `min_distance`, up to the same distance on the other side of the on region. Sizes and
    exclusion are taken at pixel centres of a tangential plane around the pointing, so that neighbours may overlap by
    less than a pixel; an event in two of them counts once. Regions are turned in that plane, where sizes are scaled
    as the plane scales the meridian at the on region: on the sky their areas differ by less than 4e-4 within 2 deg.

    A run without room for an off region (a pointing on the region, or too close to it; everything excluded) is kept
    with ``n_off_regions`` and ``acceptance_off`` of 0 and nothing safe, and is named in a warning when it is reduced.
    Around a point, which takes the radius of the responses (RAD_MAX), the largest of the radii sets the distances, and
    off events are counted inside the radius at their energy.

    References
    ----------
    .. [1] Berge, Funk and Hinton 2007, A&A 466, 1219, section 4.2.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.io.sample import sample_path
    >>> runs = xg.open_store(sample_path("survey")).observations
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> grid = xg.region_grid("icrs;circle(150, -25, 0.2)", energy=energy, energy_true=energy)
    >>> background = ReflectedRegions(exclusion="icrs;circle(150.5, -25, 0.3)")
    >>> xg.reduce(runs, grid, offset_max="2 deg", background=background).counts_off.dims
    ('energy',)
    """

    exclusion: Any = None
    min_distance: Any = "0 deg"
    min_distance_input: Any = "0.1 rad"
    angle_increment: Any = "0.1 rad"
    max_region_number: int = 10000
    angle_min: Any = "0 deg"
    binsize: Any = "0.01 deg"

    def prepare_spectrum(self, grid: xr.Dataset) -> PreparedOff:
        """Check the settings against a grid of regions."""
        angles: dict[str, Any] = {
            n: _angle(getattr(self, n), n) for n in ("min_distance", "min_distance_input", "angle_min")
        }
        increment, binsize = (_angle(getattr(self, n), n, positive=True) for n in ("angle_increment", "binsize"))
        number = _number(self.max_region_number, "max_region_number")
        find = functools.partial(_reflected, angle_increment=increment, max_region_number=number, **angles)
        words = {**{n: f"{np.rad2deg(v):g} deg" for n, v in angles.items()}, "max_region_number": number}
        words["angle_increment"] = f"{np.rad2deg(increment):g} deg"
        return _prepared("reflected_regions", find, self.exclusion, binsize, words)


@dataclass(frozen=True)
class WobbleRegions:
    """Settings of a background from a fixed number of off regions for `xgamma.reduce` on a grid of regions.

    The off regions and the on region divide the circle around the pointing of each run into equal parts.

    Parameters
    ----------
    n_off_regions
        Number of off regions.
    exclusion
        As for `ReflectedRegions`; off regions that hold an excluded position are left out.
    binsize
        Pixel of the raster on which overlap and exclusion are tested.

    Raises
    ------
    ValueError
        When a run is reduced whose off regions overlap: how many there is room for.

    Notes
    -----
    For responses with RAD_MAX, on a point, regions overlap where two radii are larger than their distance: the largest
    radius over the energies of the grid counts.

    Examples
    --------
    >>> WobbleRegions(3).n_off_regions
    3
    """

    n_off_regions: int
    exclusion: Any = None
    binsize: Any = "0.01 deg"

    def prepare_spectrum(self, grid: xr.Dataset) -> PreparedOff:
        """Check the settings against a grid of regions."""
        number = _number(self.n_off_regions, "n_off_regions")
        find = functools.partial(_wobble, number=number)
        binsize = _angle(self.binsize, "binsize", positive=True)
        return _prepared("wobble_regions", find, self.exclusion, binsize, {"n_off_regions": number})


@dataclass(frozen=True, eq=False)
class TurnedRegions:
    """The part of these backgrounds that travels to the workers.

    Parameters
    ----------
    find
        Finds the turns.
    exclusion
        Excluded regions.
    binsize
        Degrees.
    """

    find: FindTurns
    exclusion: Exclusion
    binsize: float
    columns: tuple[str, ...] = ()

    def __call__(self, run: SpectrumRun, usable: Usable | None) -> list[OffSpectrum]:
        """Return the background of each region of a run."""
        # the axes of a region's own frame: its raster lies along them
        planes: dict[bytes, tuple[TangentPlane, np.ndarray, np.ndarray]] = {}
        result = []
        for k, region in enumerate(run.regions):
            key = region.shape.pole.tobytes()
            if key not in planes:
                plane = TangentPlane.at(run.run.center, region.shape.pole)
                planes[key] = plane, *plane.project(run.events.vectors)
            plane, x, y = planes[key]
            turns = self._turns(run, k, plane, usable) if run.used[k] else np.zeros(0)
            result.append(off_spectrum(run, k, plane, turns, x, y))
        return result

    def _turns(self, run: SpectrumRun, k: int, plane: TangentPlane, usable: Usable | None) -> np.ndarray:
        region, offset = run.regions[k], float(run.offsets[k])
        if not offset < LARGEST_OFFSET:
            return np.zeros(0)
        shape = to_plane(region.shape, plane)
        if region.is_point:
            shape = shape.resized(run.largest_radius(k))
        raster = Raster.around(offset, self.binsize)
        size = angular_size(shape, raster)
        if not np.isfinite(size):
            # the pointing lies in the on region
            return np.zeros(0)
        excluded = excluded_points(shape, plane, raster, self.exclusion, usable)
        return self.find(shape, size, raster, excluded, run, k)


def _reflected(
    shape: PlaneShape,
    size: float,
    _raster: Raster,
    excluded: tuple[np.ndarray, np.ndarray],
    _run: SpectrumRun,
    _k: int,
    *,
    angle_min: float,
    **settings: Any,
) -> np.ndarray:
    return np.array(reflected_turns(shape, max(size, angle_min), excluded, **settings))


def _wobble(
    shape: PlaneShape,
    _size: float,
    raster: Raster,
    excluded: tuple[np.ndarray, np.ndarray],
    run: SpectrumRun,
    k: int,
    *,
    number: int,
) -> np.ndarray:
    region = run.regions[k]

    def overlap(parts: int) -> bool:
        turns = 2 * np.pi * np.arange(parts + 1) / (parts + 1)
        if region.is_point:
            return bool(
                np.sin(np.deg2rad(run.offsets[k])) * np.sin(np.pi / (parts + 1)) < np.sin(np.deg2rad(shape.reach))
            )
        return overlapping(shape, turns, raster)

    if overlap(number):
        room = next((n for n in range(number - 1, 0, -1) if not overlap(n)), 0)
        advice = f"n_off_regions={room} or fewer fit" if room else "not one fits"
        msg = (
            f"{number} off regions of {region.text!r} overlap at its offset of {run.offsets[k]:.3f} deg"
            f"{f' (largest radius {shape.reach:.3g} deg)' if region.is_point else ''}; {advice}"
        )
        raise ValueError(msg)
    turns = 2 * np.pi * np.arange(1, number + 1) / (number + 1)
    return np.array([t for t in turns if not shape.contains(*turn_back(*excluded, np.asarray(t))).any()])


def _number(value: Any, name: str) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.number))
        or not float(value).is_integer()
        or value < 1
    ):
        msg = f"{name}={value!r} must be a whole number of at least 1"
        raise ValueError(msg)
    return int(value)


def _angle(value: Any, name: str, *, positive: bool = False) -> float:
    """Angle around the pointing in radian; that of the raster in degrees."""
    unit = "deg" if name == "binsize" else "rad"
    number = np.asarray(to_value(value, unit, name))
    if number.ndim or not np.isfinite(number) or number < 0 or (positive and number == 0):
        msg = f"{name}={value!r} must be one {'positive angle' if positive else 'angle, not negative'}"
        raise ValueError(msg)
    return float(number)


def _prepared(name: str, find: FindTurns, exclusion: Any, binsize: float, words: dict[str, Any]) -> PreparedOff:
    excluded, usable, text = prepare_exclusion(exclusion)
    method = f"{name}({', '.join(f'{k}={v}' for k, v in words.items())})"
    token = tokenize(method, repr(getattr(find, "keywords", "")), binsize, text)
    return PreparedOff(TurnedRegions(find, excluded, binsize), usable, method, token)
