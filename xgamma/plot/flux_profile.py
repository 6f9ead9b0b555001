"""Flux profiles over distance, with their regions on the map."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

from xgamma.coords.sky import grid_of
from xgamma.plot.canvas import new_axes
from xgamma.plot.series import SeriesAxis, plot_series
from xgamma.plot.sky import plot_map
from xgamma.plot.style import axis_label

__all__ = ["plot_flux_profile", "plot_flux_profile_map"]


def plot_flux_profile(
    points: xr.Dataset,
    ax: Axes | None = None,
    *,
    quantity: str = "flux",
    profiles: bool = False,
    label: str | None = None,
    color: str | None = None,
    marker: str = "o",
) -> Axes:
    """Draw a flux profile over distance: a colour for each energy.

    Parameters
    ----------
    points
        Flux profile, dims (region, energy), with the coordinates ``distance``, ``distance_min`` and ``distance_max``.
    ax
        Axes to draw on, by default a new figure.
    quantity, profiles, label, color, marker
        As for `xgamma.plot_light_curve`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the points have no distances, or do not hold the quantity or the profiles.

    Examples
    --------
    >>> points = xr.Dataset({"counts": ("region", [5.0, 3.0])}, attrs={"sed_type": "flux"})
    >>> edges = {"distance": [0.1, 0.3], "distance_min": [0.0, 0.2], "distance_max": [0.2, 0.4]}
    >>> points = points.assign_coords({n: ("region", v, {"units": "deg"}) for n, v in edges.items()})
    >>> plt.close(plot_flux_profile(points, quantity="counts").figure)
    """
    missing = [n for n in ("distance", "distance_min", "distance_max") if n not in points.coords]
    if missing:
        msg = f"a profile needs the coordinates {missing}; make one with cube.gamma.flux_profile(...)"
        raise ValueError(msg)
    center, low, high = (points[n].values for n in ("distance", "distance_min", "distance_max"))
    axis = SeriesAxis("region", center, low, high, axis_label("Distance", points["distance"].attrs.get("units", "deg")))
    return plot_series(points, axis, ax, quantity, profiles=profiles, label=label, color=color, marker=marker)


def plot_flux_profile_map(
    points: xr.Dataset, image: xr.DataArray, *, quantity: str = "flux", profiles: bool = False, **kwargs: Any
) -> tuple[Axes, Axes]:
    """Draw the map that a profile was taken from with its regions, and the profile below.

    Parameters
    ----------
    points
        Flux profile with the coordinate ``region`` (DS9 texts).
    image
        Map, dims (y, x).
    quantity, profiles
        As for `plot_flux_profile`.
    **kwargs
        Passed to `xgamma.plot_map`: ``stretch``, ``vmax``, ``title``, ...

    Returns
    -------
    tuple of matplotlib.axes.Axes
        Those of the map and of the profile.

    Raises
    ------
    ValueError
        If the points do not hold their regions, or as `plot_flux_profile`.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg")
    >>> image = xg.separation(grid, SkyCoord(0, 0, unit="deg"))
    >>> points = xr.Dataset({"counts": ("region", [5.0, 3.0])}, attrs={"sed_type": "flux"})
    >>> edges = {"distance": [0.1, 0.3], "distance_min": [0.0, 0.2], "distance_max": [0.2, 0.4]}
    >>> points = points.assign_coords({n: ("region", v, {"units": "deg"}) for n, v in edges.items()})
    >>> circles = ["icrs;circle(0, 0, 0.2)", "icrs;annulus(0, 0, 0.2, 0.4)"]
    >>> sky, below = plot_flux_profile_map(points.assign_coords(region=circles), image, quantity="counts")
    >>> plt.close(sky.figure)
    """
    if "region" not in points.coords or points["region"].dtype.kind not in "UO":
        msg = "the points do not hold their regions; draw the map with plot_map(image, regions=...)"
        raise ValueError(msg)
    figure = plt.figure(figsize=(9.0, 8.0), layout="constrained")
    places = figure.add_gridspec(2, 1)
    sky = new_axes(grid_of(image), figure, places[0])
    lower = figure.add_subplot(places[1])
    plot_map(image, sky, regions=[str(t) for t in points["region"].values], **kwargs)
    plot_flux_profile(points, lower, quantity=quantity, profiles=profiles)
    return sky, lower
