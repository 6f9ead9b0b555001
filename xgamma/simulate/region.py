"""Surveys of many runs over a region, quickly: for trying things at scale."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import Angle, SkyCoord

from xgamma.coords.units import to_value
from xgamma.simulate import array
from xgamma.simulate.pointings import grid_pointings
from xgamma.simulate.schedule import Schedule
from xgamma.simulate.sources import Gaussian, PowerLaw, Source
from xgamma.simulate.survey import simulate_survey

__all__ = ["random_sources", "region_positions", "simulate_region"]

#: Range of fluxes at 1 TeV in cm-2 s-1 TeV-1, in which the number of sources falls with the flux.
FLUXES = (2e-12, 4e-11)
#: Range of spectral indices.
INDICES = (1.9, 2.7)
#: Part of the sources that are extended, and the range of their radii in degrees.
EXTENDED, RADII = 0.4, (0.05, 0.3)


def random_sources(center: SkyCoord, width: Any, number: int, seed: int = 0) -> list[Source]:
    """Draw sources with power laws over a region; some are extended.

    Parameters
    ----------
    center
        Middle of the region.
    width
        Width and height of the region along the axes of the frame of `center`.
    number
        Number of sources.
    seed
        Fixes them.

    Returns
    -------
    list of Source
        Fluxes at 1 TeV between 2e-12 and 4e-11 cm-2 s-1 TeV-1, as many in each octave as its inverse.

    Examples
    --------
    >>> [s.name for s in random_sources(SkyCoord(83.6, 22.0, unit="deg"), "4 deg", 2, seed=1)]
    ['source-1', 'source-2']
    """
    if number < 0:
        msg = f"number={number!r} of sources must be at least 0"
        raise ValueError(msg)
    if number == 0:
        return []
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(1,))))
    positions = region_positions(center, width, number, seed=int(rng.integers(2**31)))
    low, high = FLUXES
    flux = 1.0 / (1.0 / low - rng.random(number) * (1.0 / low - 1.0 / high))
    index = rng.uniform(*INDICES, number)
    extended = rng.random(number) < EXTENDED
    radius = rng.uniform(*RADII, number)
    sources = []
    for k, position in enumerate(positions):
        spectrum = PowerLaw(f"{flux[k]:.6g} cm-2 s-1 TeV-1", index=round(float(index[k]), 3))
        shape = (Gaussian(f"{radius[k]:.4f} deg"),) if extended[k] else ()
        sources.append(Source(f"source-{k + 1}", position, spectrum, *shape))
    return sources


def region_positions(center: SkyCoord, width: Any, number: int, seed: int | None = None) -> list[tuple[float, float]]:
    """Cover a region with positions, as `xgamma.simulate.pointings.grid_pointings`, along the axes of its frame.

    Parameters
    ----------
    center
        Middle of the region.
    width
        Width and height of the region along the axes of the frame of `center`.
    number
        Number of positions.
    seed
        Draw positions at random; None for a grid.

    Returns
    -------
    list of tuple
        ICRS (ra, dec) in degrees.

    Examples
    --------
    >>> center = SkyCoord(0, 0, unit="deg", frame="galactic")
    >>> found = SkyCoord(region_positions(center, ("90 deg", "0 deg"), 9), unit="deg").galactic
    >>> bool(abs(found.b.deg).max() < 1e-9), float(found.l.wrap_at("180d").deg.max().round(6))
    (True, 40.0)
    """
    if not isinstance(center, SkyCoord) or not center.isscalar:
        msg = f"center={center!r} must be one SkyCoord; its frame gives the directions of the region"
        raise ValueError(msg)
    spherical = center.spherical
    middle = (float(spherical.lon.deg), float(spherical.lat.deg))
    lon, lat = np.array(grid_pointings(middle, width, number, seed=seed)).T
    frame = center.frame.replicate_without_data()
    icrs = SkyCoord(lon, lat, unit="deg", frame=frame).icrs
    return list(zip(icrs.ra.deg.tolist(), icrs.dec.deg.tolist(), strict=True))


def simulate_region(
    path: str | PathLike[str],
    center: Any,
    width: Any,
    n_runs: int,
    *,
    n_sources: int = 20,
    seed: int = 0,
    ontime: str = "28 min",
    energy_min: str = "0.5 TeV",
    random: bool = False,
    overwrite: bool = False,
) -> xr.Dataset:
    """Simulate many runs over a region, with background and random sources, as a DL3 store.

    Parameters
    ----------
    path
        Folder to make.
    center
        Middle of the region: a SkyCoord, or (frame, lon, lat) as text.
    width
        Width and height of the region that pointings cover, along the axes of that frame.
    n_runs
        Number of runs.
    n_sources
        Number of sources.
    seed
        Fixes pointings, sources and events.
    ontime
        Time of a run.
    energy_min
        Lowest energy. The background falls steeply with energy: it decides on the number of events.
    random
        Point at random instead of row by row.
    overwrite
        Replace an older simulated survey.

    Returns
    -------
    xarray.Dataset
        Simulated and expected counts, see `xgamma.simulate.survey.simulate_survey`.

    Raises
    ------
    ValueError
        If the region, the numbers or the energy are wrong; nothing is written then.

    Notes
    -----
    The responses are those of `xgamma.simulate.array`, from which all runs take the same file. Files are not
    compressed: that would take more time than the rest.

    Examples
    --------
    >>> truth = simulate_region("survey", ("galactic", "0 deg", "0 deg"), ("8 deg", "2 deg"), 4, n_sources=2, seed=1)
    >>> truth.sizes["obs"], truth.sizes["component"]
    (4, 3)
    """
    position = _center(center)
    irfs = array.responses()
    top = float(irfs["bkg"]["energy_max"].values[-1])
    low = to_value(energy_min, "TeV", "energy_min")
    if not 0 < low < top:
        msg = f"energy_min={energy_min!r} must lie between 0 and {top:g} TeV, the end of the background model"
        raise ValueError(msg)
    return simulate_survey(
        path,
        region_positions(position, width, n_runs, seed=seed if random else None),
        irfs,
        random_sources(position, width, n_sources, seed),
        seed=seed,
        schedule=Schedule(ontime=ontime),
        energy_range=[f"{low!r} TeV", f"{top!r} TeV"],
        compress=False,
        overwrite=overwrite,
    )


def _center(center: Any) -> SkyCoord:
    if not (isinstance(center, (tuple, list)) and len(center) == 3):
        return center
    frame, lon, lat = center
    if frame not in ("icrs", "galactic"):
        msg = f"frame={frame!r} of the region must be 'icrs' or 'galactic'"
        raise ValueError(msg)
    try:
        return SkyCoord(Angle(lon), Angle(lat), frame=frame)
    except (ValueError, TypeError) as error:
        msg = f"centre of the region {lon!r}, {lat!r}: {error}; give angles such as '359.5 deg'"
        raise ValueError(msg) from error
