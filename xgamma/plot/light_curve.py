"""Light curves over time."""

from __future__ import annotations

from typing import Literal

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.dl3.times import to_time
from xgamma.plot.series import SeriesAxis, plot_series

__all__ = ["plot_light_curve"]

FloatArray = NDArray[np.float64]
TimeFormat = Literal["iso", "mjd"]


def plot_light_curve(
    points: xr.Dataset,
    ax: Axes | None = None,
    *,
    quantity: str = "flux",
    time_format: TimeFormat = "iso",
    profiles: bool = False,
    label: str | None = None,
    color: str | None = None,
    marker: str = "o",
) -> Axes:
    """Draw a light curve over time: a colour for each energy, arrows where there are only upper limits.

    Parameters
    ----------
    points
        Light curve, dims (time, energy).
    ax
        Axes to draw on, by default a new figure.
    quantity
        ``"dnde"``, ``"e2dnde"``, ``"flux"``, ``"eflux"``, ``"norm"``, or another variable: ``"counts"``, ``"ts"``, ...
    time_format
        ``"iso"`` for dates (UTC), ``"mjd"`` for numbers (TT).
    profiles
        Draw likelihood profiles as an image below the points, up to 4 sigma; one energy.
    label
        Text for the legend; by default the energies, where there are several.
    color, marker
        Colour and marker of the points.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the points have no bins of time, or do not hold the quantity or the profiles.

    Examples
    --------
    >>> from xgamma.coords.bins import bin_axis
    >>> time = bin_axis("time", [0, 3600], [3000, 7000], "s", interp="lin")
    >>> points = xr.Dataset({"counts": ("time", [5.0, 3.0])}, time.coords, {"sed_type": "flux"})
    >>> plot_light_curve(points, quantity="counts").get_xlabel()
    'Time (UTC)'
    """
    if time_format not in ("iso", "mjd"):
        msg = f"time_format={time_format!r} must be 'iso' or 'mjd'"
        raise ValueError(msg)
    bins = axis_of(points, "time")
    seconds = [bins[n].values for n in ("time", "time_min", "time_max")]
    dates = time_format == "iso"
    center, low, high = (_dates(s) if dates else to_time(s).mjd for s in seconds)
    axis = SeriesAxis("time", center, low, high, "Time (UTC)" if dates else "Time [MJD, TT]")
    ax = plot_series(points, axis, ax, quantity, profiles=profiles, label=label, color=color, marker=marker)
    if dates:
        # it brings a locator and a formatter of its own, so it goes first
        ax.xaxis_date()
        locator = mdates.AutoDateLocator()
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    else:
        ax.ticklabel_format(axis="x", useOffset=False)
        ax.tick_params(axis="x", labelrotation=30)
    return ax


def _dates(seconds: FloatArray) -> FloatArray:
    """Days since the epoch of matplotlib."""
    return np.asarray(mdates.date2num(to_time(seconds).utc.datetime64))
