"""Likelihood profiles of a fit: of one parameter, and contours of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from xgamma.fitting.result import FitResult
from xgamma.models.parameter import Parameter
from xgamma.plot.style import LINES, axis_label

__all__ = ["plot_contour", "plot_profile"]

FloatArray = NDArray[np.float64]

#: Contours of fewer points are drawn point by point.
MIN_POINTS = 6


def plot_profile(
    result: FitResult,
    parameter: str | Parameter,
    ax: Axes | None = None,
    *,
    values: Any = None,
    sigma: Sequence[float] = (1.0, 2.0),
    label: str | None = None,
    color: str = LINES[0],
) -> Axes:
    """Draw how the statistic rises around the best value of a parameter, all others fitted again.

    Parameters
    ----------
    result
        Result of a fit.
    parameter
        Free parameter, or its name, as ``"crab.index"``.
    ax
        Axes to draw on, by default a new figure.
    values
        Values, or how many; by default 31 over three standard deviations on either side.
    sigma
        Standard deviations whose rise is marked by a line.
    label
        Text for the legend.
    color
        Colour of the curve.

    Returns
    -------
    matplotlib.axes.Axes
        The dashed parabola is what the error of the fit stands for.

    Raises
    ------
    ValueError
        If the parameter is not free in the fit, or not one.

    Examples
    --------
    >>> import xarray as xr
    >>> import xgamma as xg
    >>> cube = xr.Dataset(coords=xg.energy_axis("1 TeV", "100 TeV", nbin=2).coords)
    >>> cube = cube.assign_coords(xg.energy_axis("1 TeV", "100 TeV", nbin=2, name="energy_true").coords)
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> result = cube.gamma.fit(xg.SkyModel(xg.PowerLawSpectralModel(index=2.2), name="source"))
    >>> ax = plot_profile(result, "source.index", values=5)
    >>> ax.get_xlabel()
    'source.index'
    >>> plt.close(ax.figure)
    """
    name = _name(result, parameter)
    free = result.free[name]
    wanted = values
    if values is None or isinstance(values, (int, np.integer)):
        number = 31 if values is None else int(values)
        reach = 3.0 * free.error if np.isfinite(free.error) and free.error > 0 else 0.0
        if reach > 0:
            ends = np.nanmax([free.value - reach, free.min]), np.nanmin([free.value + reach, free.max])
            wanted = np.linspace(*ends, number)
    scan = result.stat_profile(name, wanted)
    dim = str(scan["delta_stat"].dims[0])
    x, y = np.asarray(scan[dim].values, float), np.asarray(scan["delta_stat"].values, float)
    ax = _axes(ax)
    ax.plot(x, y, color=color, linewidth=1.8, label=label)
    if free.error > 0:
        ax.plot(x, ((x - free.value) / free.error) ** 2, color=color, linewidth=1.0, linestyle="--", alpha=0.7)
    ax.axvline(free.value, color=color, linewidth=0.8, alpha=0.6)
    top = float(np.nanmax(y, initial=0.0))
    # three standard deviations, however far a lopsided profile rises
    height = min(max(1.1 * top, 1.0), 1.3 * max(9.0, *(s**2 for s in sigma)))
    ax.set_ylim(0.0, height)
    for s in sigma:
        if s**2 < 0.95 * height:
            ax.axhline(s**2, color="0.6", linewidth=0.8, linestyle=":", zorder=0.5)
            ax.annotate(
                f"{s:g} σ", (1.0, s**2), xycoords=("axes fraction", "data"), xytext=(-3, 2), color="0.4",
                textcoords="offset points", ha="right", va="bottom", fontsize="small",
            )  # fmt: skip
    ax.set_xlabel(axis_label(name, free.unit))
    ax.set_ylabel(r"$\Delta$ stat")
    ax.locator_params(axis="x", nbins=7)
    if label:
        ax.legend(fontsize="small")
    return ax


def plot_contour(
    result: FitResult,
    parameter_1: str | Parameter,
    parameter_2: str | Parameter,
    ax: Axes | None = None,
    *,
    sigma: Sequence[float] = (1.0, 2.0),
    n: int = 30,
    joint: bool = False,
    label: str | None = None,
    color: str = LINES[0],
) -> Axes:
    """Draw contours of the likelihood profile over two parameters, with the best values as a cross.

    Parameters
    ----------
    result
        Result of a fit.
    parameter_1, parameter_2
        Free parameters, or their names: on the horizontal and the vertical axis.
    ax
        Axes to draw on, by default a new figure; contours of several fits may share them.
    sigma
        Standard deviations, a contour each.
    n
        Number of points of a contour.
    joint
        What a standard deviation means, as in `FitResult.stat_contour`: False for each parameter alone (a rise by its
        square), True for the pair.
    label
        Text for the legend, by default the standard deviations.
    color
        Colour of the contours.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the parameters are not free in the fit, or the same.

    Examples
    --------
    >>> import xarray as xr
    >>> import xgamma as xg
    >>> cube = xr.Dataset(coords=xg.energy_axis("1 TeV", "100 TeV", nbin=2).coords)
    >>> cube = cube.assign_coords(xg.energy_axis("1 TeV", "100 TeV", nbin=2, name="energy_true").coords)
    >>> cube["counts"] = "energy", [90.0, 9.0]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> result = cube.gamma.fit(xg.SkyModel(xg.PowerLawSpectralModel(index=2.2), name="source"))
    >>> ax = plot_contour(result, "source.index", "source.amplitude", sigma=[1], n=8)
    >>> ax.get_xlabel(), len(ax.lines)
    ('source.index', 2)
    >>> plt.close(ax.figure)
    """
    names = _name(result, parameter_1), _name(result, parameter_2)
    ax = _axes(ax, square=True)
    for i, s in enumerate(sorted(sigma)):
        contour = result.stat_contour(*names, sigma=s, n=n, joint=joint)
        x, y = _rounded(*(np.asarray(contour[v].values, float) for v in contour.data_vars))
        text = (label if i == 0 else None) if label else f"{s:g} σ"
        ax.plot(x, y, color=color, linewidth=1.8, alpha=0.55**i, label=text)
    ax.plot(*(result.free[name].value for name in names), "+", color=color, markersize=9, markeredgewidth=1.5)
    ax.set_xlabel(axis_label(names[0], result.free[names[0]].unit))
    ax.set_ylabel(axis_label(names[1], result.free[names[1]].unit))
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    return ax


def _rounded(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Put a smooth curve through the points of a closed contour; the points themselves where it is not round."""
    points = np.column_stack([x[:-1], y[:-1]])
    middle = points.mean(axis=0)
    scatter = np.cov(points.T)
    if len(points) < MIN_POINTS or not np.isfinite(scatter).all() or not (np.diag(scatter) > 0).all():
        return x, y
    # in coordinates in which the contour is nearly a circle, its radius is a slow function of the angle
    size = np.sqrt(np.diag(scatter))
    turn = np.linalg.cholesky(scatter / np.outer(size, size))
    circle = np.linalg.solve(turn, ((points - middle) / size).T)
    angle, radius = np.arctan2(circle[1], circle[0]), np.hypot(*circle)
    order = np.argsort(angle)
    if (np.diff(angle[order]) <= 1e-9).any():
        return x, y
    around = np.append(angle[order], angle[order][0] + 2 * np.pi)
    curve = CubicSpline(around, np.append(radius[order], radius[order][0]), bc_type="periodic")
    fine = np.linspace(-np.pi, np.pi, 241)
    smooth = curve(fine) * np.array([np.cos(fine), np.sin(fine)])
    result = middle[:, None] + size[:, None] * (turn @ smooth)
    return result[0], result[1]


def _name(result: FitResult, parameter: str | Parameter) -> str:
    """Full name of a free parameter."""
    free = result.free
    if isinstance(parameter, Parameter):
        found = [name for name, p in zip(free.names, free, strict=True) if p is parameter or p.name == parameter.name]
    else:
        found = [name for name in free.names if parameter in (name, name.rsplit(".", 1)[-1])]
    if len(found) != 1:
        text = parameter.name if isinstance(parameter, Parameter) else parameter
        msg = f"{text!r} is not the name of one free parameter of this fit; they are {list(free.names)}"
        raise ValueError(msg)
    return found[0]


def _axes(ax: Axes | None, *, square: bool = False) -> Axes:
    size = (5.6, 4.6) if square else (6.0, 4.2)
    return plt.figure(figsize=size, layout="constrained").add_subplot() if ax is None else ax
