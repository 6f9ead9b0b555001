"""The demonstration: the sample survey, from event lists to a table of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.analysis.analysis import Analysis, Products
from xgamma.analysis.config import Config, read_config
from xgamma.coords.grid import separation
from xgamma.coords.sky import grid_of
from xgamma.io.cube import open_cube
from xgamma.io.sample import sample_path
from xgamma.kernels.stats import wstat_excess
from xgamma.simulate.sources import Source
from xgamma.simulate.truth import Truth, read_truth

__all__ = ["Detection", "demo_config", "run_demo"]

#: Radius in degrees that holds nearly all events of a point source.
CAPTURE = 0.25
#: Part of an extended source that its own radius holds.
CONTAINED = 0.98
#: Degrees by which the rings keep away from such a circle: less than one event in a hundred is outside.
MARGIN = 0.1
#: Distance in degrees from a source within which its peak is looked for.
NEAR = 0.3


@dataclass(frozen=True)
class Detection:
    """What was found at the place of a simulated source.

    Parameters
    ----------
    name
        The source.
    simulated
        Its events in the files.
    excess, error
        Excess inside the circle around it, and the error.
    significance
        Li & Ma significance of that excess.
    peak
        Highest significance of the map near by.
    offset
        Distance in degrees of that peak from the source.
    """

    name: str
    simulated: int
    excess: float
    error: float
    significance: float
    peak: float
    offset: float


def demo_config(truth: Truth) -> Config:
    """Return the configuration of the demonstration, as it could stand in a file."""
    sources = _described(truth)
    lon, lat = np.mean([s.position for s in sources], axis=0)
    low, high = truth.energy_range
    exclusion = [_circle(s, _capture(s) + MARGIN) for s in sources]
    axis = {"min": f"{low} TeV", "max": f"{high} TeV", "nbins": 10}
    return read_config(
        {
            "observations": {"datastore": str(sample_path("survey"))},
            "datasets": {
                "stack": True,
                "geom": {
                    "wcs": {
                        "skydir": {"frame": "icrs", "lon": f"{lon:.2f} deg", "lat": f"{lat:.2f} deg"},
                        "width": {"width": "4.4 deg", "height": "4 deg"},
                        "proj": "TAN",
                    },
                    "axes": {"energy": axis, "energy_true": axis},
                },
                "background": {
                    "method": "ring",
                    "parameters": {"r_in": "0.5 deg", "width": "0.3 deg"},
                    "exclusion": exclusion,
                },
            },
            "excess_map": {"correlation_radius": "0.1 deg"},
        }
    )


def run_demo(outdir: Any, *, overwrite: bool = False) -> tuple[Products, list[Detection]]:
    """Reduce the sample survey, make the maps, write them, and compare with what was simulated.

    Parameters
    ----------
    outdir
        Folder for the products.
    overwrite
        Replace products that are there.

    Returns
    -------
    products : Products
        What was written.
    detections : list of Detection
        One for each simulated source.

    Raises
    ------
    FileExistsError
        If a product exists and `overwrite` is False.
    """
    truth = read_truth(sample_path("survey"))
    sources = _described(truth)
    circles = [_circle(s, _capture(s)) for s in sources]
    products = Analysis(demo_config(truth)).run(outdir, overwrite=overwrite, regions=circles)
    cube, maps = (open_cube(products.files[name]).load() for name in ("cube", "maps"))
    found = [detection(source, truth.simulated[source.name], cube, maps) for source in sources]
    return products, found


def _described(truth: Truth) -> list[Source]:
    """Sources that have a position and a size: those of the sample, which is made of short descriptions."""
    return [source for source in truth.sources if isinstance(source, Source)]


def _circle(source: Source, radius: float) -> str:
    lon, lat = source.position
    return f"icrs;circle({lon},{lat},{radius})"


def _extension(source: Source) -> float:
    """Radius in degrees that holds nearly all of the source itself."""
    return float(source.shape.separations(np.array([CONTAINED]))[0])


def _capture(source: Source) -> float:
    # both spread independently
    return float(np.hypot(CAPTURE, _extension(source)))


def detection(source: Source, simulated: int, cube: xr.Dataset, maps: xr.Dataset) -> Detection:
    """Measure a source of known position in a stacked on-off image and its significance map."""
    position = SkyCoord(*source.position, unit="deg", frame="icrs")
    distance = separation(cube, position)
    inside = distance <= _capture(source)
    on, off, background = (float(cube[n].where(inside).sum()) for n in ("counts", "counts_off", "background"))
    # the rings of neighbouring pixels share their events: the off counts of one pixel, not their sum, set the error
    n_off = off / max(int(inside.sum()), 1)
    best = wstat_excess(np.asarray(on), np.asarray(n_off), np.asarray(background / max(n_off, 1.0)))
    near = maps["sqrt_ts"].squeeze(drop=True).where(distance <= NEAR + _extension(source))
    y, x = np.unravel_index(int(near.fillna(-np.inf).values.argmax()), near.shape)
    lon, lat = grid_of(near).frame.pixel_to_sky(near["y"].values[y], near["x"].values[x])
    peak = SkyCoord(lon, lat, unit="deg", frame=grid_of(near).frame.name)
    return Detection(
        source.name,
        simulated,
        float(best.excess),
        float(best.error),
        float(best.sqrt_ts),
        float(near.values[y, x]),
        float(peak.separation(position).deg),
    )
