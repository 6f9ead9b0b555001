"""Confidence surfaces: the rise of the fit statistic over two parameters, with contours."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.interpolate import RectBivariateSpline

from xgamma.kernels.limits import statistic_rise
from xgamma.plot.style import axis_label, color_bar

__all__ = ["plot_surface"]

#: Steps of the interpolated surface along each axis.
STEPS = 200
#: Lines of the contours, from the innermost on.
STYLES = ("-", "--", ":")


def plot_surface(
    surface: xr.Dataset,
    ax: Axes | None = None,
    *,
    sigma: Sequence[float] = (1.0, 2.0, 3.0),
    joint: bool = False,
    cmap: str = "Blues_r",
    color: str = "0.1",
    bar: bool = True,
) -> Axes:
    """Draw a likelihood surface over two parameters as an image, with contours where it has risen by so much.

    Parameters
    ----------
    surface
        What `FitResult.stat_surface` returns: ``delta_stat`` over two parameters.
    ax
        Axes to draw on, by default a new figure.
    sigma
        Standard deviations, a contour each, where the surface reaches so far; none for the image alone.
    joint
        What a standard deviation means: False for each parameter alone (a rise by its square), True for the pair.
    cmap
        Colour map.
    color
        Colour of the contours.
    bar
        Draw a colour bar.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the dataset is no surface over two parameters, or a standard deviation is not positive.

    Notes
    -----
    Contours are those of a bicubic spline through the surface, which is nearly a parabola.

    Examples
    --------
    >>> x, y = np.linspace(-3, 3, 13), np.linspace(-2, 2, 11)
    >>> rise = xr.DataArray(x[:, None] ** 2 + y**2, {"index": x, "norm": y}, name="delta_stat")
    >>> ax = plot_surface(rise.to_dataset())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('index', 'norm')
    >>> plt.close(ax.figure)
    """
    if "delta_stat" not in surface or surface["delta_stat"].ndim != 2:
        dims = surface["delta_stat"].dims if "delta_stat" in surface else "no 'delta_stat'"
        msg = f"a surface has 'delta_stat' over two parameters, as FitResult.stat_surface returns it; this has {dims}"
        raise ValueError(msg)
    rise = surface["delta_stat"]
    first, second = (surface[d] for d in rise.dims)
    x, y = (np.asarray(c.values, float) for c in (first, second))
    values = np.asarray(rise.values, float)
    ax = plt.figure(figsize=(5.8, 4.6), layout="constrained").add_subplot() if ax is None else ax
    levels = [statistic_rise(s, joint) for s in sorted(sigma)]
    deepest = 1.25 * levels[-1] if levels else None
    fine = x, y, values
    if np.isfinite(values).all() and min(values.shape) > 3:
        inside = [np.linspace(c[0], c[-1], STEPS) for c in (x, y)]
        smooth = RectBivariateSpline(x, y, values, kx=3, ky=3)(inside[0], inside[1])
        fine = inside[0], inside[1], np.maximum(smooth, 0.0)
    image = ax.pcolormesh(
        fine[0], fine[1], fine[2].T, cmap=cmap, vmin=0.0, vmax=deepest, shading="nearest", rasterized=True
    )
    if bar:
        color_bar(image, ax, r"$\Delta$ stat")
    for s, level, style in zip(sorted(sigma), levels, STYLES * len(levels), strict=False):
        if np.nanmin(fine[2]) < level < np.nanmax(fine[2]):
            ax.contour(fine[0], fine[1], fine[2].T, [level], colors=color, linewidths=1.4, linestyles=style)
            ax.plot([], [], color=color, linewidth=1.4, linestyle=style, label=f"{s:g} σ")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="small", loc="upper right")
    place = np.unravel_index(int(np.nanargmin(values)), values.shape)
    ax.plot(x[place[0]], y[place[1]], "+", color=color, markersize=9, markeredgewidth=1.5)
    ax.set_xlabel(axis_label(_name(first), first.attrs.get("units")))
    ax.set_ylabel(axis_label(_name(second), second.attrs.get("units")))
    return ax


def _name(parameter: xr.DataArray) -> str:
    """Name of a parameter as it is: that of its model may begin with a small letter."""
    return str(parameter.attrs.get("long_name") or parameter.name)
