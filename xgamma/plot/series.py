"""Flux points along a line: values with errors, limits as arrows, likelihood profiles as an image."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from xgamma.estimators.sed import to_sed_type
from xgamma.io.flux_layout import COMMON, SED_TYPES, flux_attrs, value_names
from xgamma.plot.style import LINES, axis_label, bin_label, color_bar

__all__ = ["SeriesAxis", "plot_series"]

FloatArray = NDArray[np.float64]

#: Rise of the statistic up to which profiles are shown: four standard deviations.
DEEPEST = 16.0
#: Rows of the image of profiles.
ROWS = 240


class SeriesAxis:
    """Bins along the horizontal axis.

    Parameters
    ----------
    dim
        Dimension of the points.
    center, low, high
        Middle and edges, in whatever unit is shown, shape (n,).
    label
        Text below the axis.
    """

    def __init__(self, dim: str, center: FloatArray, low: FloatArray, high: FloatArray, label: str) -> None:
        self.dim, self.center, self.low, self.high, self.label = dim, center, low, high, label


def plot_series(
    points: xr.Dataset,
    axis: SeriesAxis,
    ax: Axes | None,
    quantity: str,
    *,
    profiles: bool = False,
    label: str | None = None,
    color: str | None = None,
    marker: str = "o",
) -> Axes:
    """Draw a quantity of flux points over the bins of an axis, a colour for each energy."""
    shown, name = _quantity(points, quantity)
    shown = shown.compute()
    ax = plt.figure(figsize=(8.0, 4.6), layout="constrained").add_subplot() if ax is None else ax
    more = [str(d) for d in shown[name].dims if d not in (axis.dim, "energy")]
    if more or axis.dim not in shown[name].dims:
        hint = f"select one of {more}, for example points.isel({more[0]}=0)" if more else f"it has no dim {axis.dim!r}"
        msg = f"{quantity!r} with the dims {shown[name].dims} is no curve over {axis.dim!r}: {hint}"
        raise ValueError(msg)
    slices = (
        [shown.isel(energy=[i]).squeeze("energy") for i in range(shown.sizes["energy"])]
        if "energy" in (shown[name].dims)
        else [shown]
    )
    if profiles:
        if len(slices) > 1:
            msg = "likelihood profiles are drawn for one energy: points.isel(energy=[0])"
            raise ValueError(msg)
        _draw_profiles(ax, slices[0], axis, quantity)
    for i, one in enumerate(slices):
        style = color or LINES[(i + 1 if len(slices) == 1 else i) % len(LINES)]
        text = label if label is not None or len(slices) == 1 else bin_label(one, "energy")
        _draw(ax, one, axis, name, text, style, marker)
    _finish(ax, axis, shown[name], signed=name in ("norm", *SED_TYPES))
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="small")
    return ax


def _quantity(points: xr.Dataset, quantity: str) -> tuple[xr.Dataset, str]:
    """Return points that hold a quantity, and its name."""
    if quantity in ("norm", *SED_TYPES):
        sed_type = "likelihood" if quantity in ("norm", "likelihood") else quantity
        return to_sed_type(points, sed_type), value_names(sed_type)[0]
    if quantity not in points:
        known = [*SED_TYPES, *(n for n in COMMON if n in points)]
        msg = f"the points hold no {quantity!r}; give one of {known}"
        raise ValueError(msg)
    return points, quantity


def _draw(ax: Axes, one: xr.Dataset, axis: SeriesAxis, name: str, label: str | None, color: str, marker: str) -> None:
    """Draw one curve."""
    value = np.asarray(one[name].values, dtype=float)
    width = np.stack([axis.center - axis.low, axis.high - axis.center])
    limit_name = f"{name}_ul"
    limits = np.zeros(value.shape, dtype=bool)
    if "is_ul" in one and limit_name in one:
        limits = one["is_ul"].values.astype(bool) & np.isfinite(one[limit_name].values)
    style: dict[str, Any] = {"color": color, "linestyle": "none", "elinewidth": 1.4, "markersize": 5.0}
    good = ~limits & np.isfinite(value)
    ax.errorbar(
        axis.center[good],
        value[good],
        yerr=_errors(one, name)[:, good] if _errors(one, name).size else None,
        xerr=width[:, good],
        marker=marker,
        label=label,
        **style,
    )
    if limits.any():
        top = np.asarray(one[limit_name].values, dtype=float)[limits]
        known = np.concatenate([value[good], top])
        arrow = 0.06 * float(np.ptp(known)) if known.size > 1 and np.ptp(known) > 0 else 0.2 * float(abs(top).max())
        ax.errorbar(axis.center[limits], top, yerr=arrow, xerr=width[:, limits], uplims=True, **style)


def _errors(one: xr.Dataset, name: str) -> FloatArray:
    """Errors below and above, shape (2, n), empty where there are none."""
    if f"{name}_errn" in one and f"{name}_errp" in one:
        both = [np.abs(one[f"{name}_err{end}"].values) for end in "np"]
    elif f"{name}_err" in one:
        both = [one[f"{name}_err"].values] * 2
    else:
        return np.zeros((2, 0))
    # limits have no errors: an error that is not known is none
    return np.nan_to_num(np.array(both, dtype=float))


def _draw_profiles(ax: Axes, one: xr.Dataset, axis: SeriesAxis, quantity: str) -> QuadMesh:
    """Draw how far the statistic rises above its minimum, as shades in the bin of each point."""
    if "stat_scan" not in one or "norm_scan" not in one.variables:
        msg = "the points have no likelihood profiles: make them with selection='scan'"
        raise ValueError(msg)
    norms = one["norm_scan"].values
    scale = np.ones(axis.center.size)
    if quantity not in ("norm", "likelihood"):
        if f"ref_{quantity}" not in one:
            msg = f"profiles over {quantity!r} need ref_{quantity}"
            raise ValueError(msg)
        scale = scale * one[f"ref_{quantity}"].values
    rise = one["stat_scan"].transpose(axis.dim, "scan").values
    lowest = one["stat"].values if "stat" in one else np.full(len(rise), np.nan)
    lowest = np.fmin(np.nanmin(rise, axis=1), lowest)
    shown = np.full((ROWS, len(rise)), np.nan)
    grid = np.linspace(norms.min(), norms.max(), ROWS)
    for i, row in enumerate(rise):
        if np.isfinite(row).all():
            shown[:, i] = _between(norms, row - lowest[i], grid)
    shown = np.where(shown <= DEEPEST, shown, np.nan)
    mesh: QuadMesh | None = None
    for i in range(len(rise)):
        edges = [axis.low[i], axis.high[i]], np.append(grid, 2 * grid[-1] - grid[-2]) * scale[i]
        mesh = ax.pcolormesh(*edges, shown[:, [i]], cmap="Blues_r", norm=Normalize(0, DEEPEST), rasterized=True)
    assert mesh is not None
    color_bar(mesh, ax, "Rise of the fit statistic")
    return mesh


def _between(norms: FloatArray, rise: FloatArray, grid: FloatArray) -> FloatArray:
    """The root of a rise is nearly straight on both sides of its minimum: interpolate it with its sign."""
    from scipy.interpolate import PchipInterpolator

    lowest = int(np.argmin(rise))
    root = np.sqrt(np.maximum(rise, 0.0)) * np.where(np.arange(len(norms)) < lowest, -1.0, 1.0)
    if 0 < lowest < len(norms) - 1 and rise[lowest - 1] > rise[lowest + 1]:
        # the minimum lies beyond the lowest norm
        root[lowest] *= -1.0
    return np.asarray(PchipInterpolator(norms, root)(grid)) ** 2


def _finish(ax: Axes, axis: SeriesAxis, array: xr.DataArray, *, signed: bool) -> None:
    attrs = flux_attrs(str(array.name)) if not array.attrs.get("long_name") else array.attrs
    ax.set_xlabel(axis.label)
    ax.set_ylabel(axis_label(str(attrs.get("long_name", array.name)), str(attrs.get("units", ""))))
    if signed and ax.get_ylim()[0] < 0 < ax.get_ylim()[1]:
        ax.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
    ax.grid(visible=True, color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
