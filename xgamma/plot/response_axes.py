"""Shared by the pictures of responses: offsets to show, curves over energy, images over two axes."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.irf.axes import TableAxis
from xgamma.plot.style import axis_label, color_bar, color_scale

__all__ = ["curves", "decades", "energy_scale", "image", "offset_labels", "one_offset", "some_offsets"]

FloatArray = NDArray[np.float64]

#: Number of curves by default.
CURVES = 5


def plain_axes(ax: Axes | None) -> Axes:
    """Axes given, else those of a new figure."""
    return plt.figure(layout="constrained").add_subplot() if ax is None else ax


def check_kind(kind: str, known: tuple[str, ...]) -> None:
    """Say which pictures there are."""
    if kind not in known:
        msg = f"kind={kind!r} must be one of {known}"
        raise ValueError(msg)


def given_offsets(offsets: Any) -> FloatArray:
    """Angles in deg."""
    return np.atleast_1d(to_value(offsets, "deg", "offsets"))


def some_offsets(axis: TableAxis, offsets: Any) -> FloatArray:
    """Angles given, else up to five of the table."""
    if offsets is not None:
        return given_offsets(offsets)
    number = len(axis.center)
    return axis.center[np.unique(np.linspace(0, number - 1, min(CURVES, number)).round().astype(int))]


def one_offset(axis: TableAxis, offset: Any) -> float:
    """Angle given, else that of the table nearest to 0.5 deg."""
    if offset is not None:
        return float(to_value(offset, "deg", "offset"))
    return float(axis.center[np.abs(axis.center - 0.5).argmin()])


def decades(axis: TableAxis, energies: Any) -> FloatArray:
    """Energies given, else the decades inside the table."""
    if energies is not None:
        return np.atleast_1d(to_value(energies, "TeV", "energies"))
    lo, hi = (np.log10(v) for v in axis.center[[0, -1]])
    decades = 10.0 ** np.arange(np.ceil(lo), np.floor(hi) + 1)
    return decades if len(decades) else axis.center[[len(axis.center) // 2]]


def offset_labels(angles: FloatArray) -> list[str]:
    """Angles as text."""
    return [f"{a:.3g}°" for a in angles]


def family_colors(number: int) -> list[Any]:
    """Colours of an ordered family of curves."""
    return list(plt.get_cmap("viridis")(np.linspace(0.0, 0.88, max(number, 1))))[:number]


def curves(ax: Axes, x: FloatArray, values: FloatArray, labels: list[str] | None, **style: Any) -> None:
    """Draw one curve per column; where there is nothing there is no point."""
    for i, color in zip(range(values.shape[1]), family_colors(values.shape[1]), strict=True):
        label = labels[i] if labels else None
        ax.plot(x, values[:, i], color=color, **{"linewidth": 1.5, "label": label, **style})
    if labels:
        ax.legend(title="Offset", fontsize="small", title_fontsize="small")


def energy_scale(ax: Axes, name: str, axis: TableAxis, ylabel: str, *, logy: bool = False) -> Axes:
    """Make x the logarithm of the energy over the whole table."""
    ax.set_xscale("log")
    ax.set_xlim(axis.edges[0], axis.edges[-1])
    ax.set_xlabel(axis_label(name, "TeV"))
    ax.set_ylabel(ylabel)
    if logy:
        heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
        positive = heights[np.isfinite(heights) & (heights > 0)]
        if positive.size:
            # six decades hold what matters; tables end in numbers that are zero in all but name
            ax.set_yscale("log", nonpositive="mask")
            top = float(positive.max())
            ax.set_ylim(max(float(positive.min()) / 1.5, top / 1e7), 2 * top)
    ax.grid(alpha=0.3)
    return ax


def _wide_edges(axis: TableAxis) -> FloatArray:
    """Edges of the axis; a single node gets a width."""
    edges = axis.edges
    return edges if edges[0] < edges[-1] else edges + np.array([-0.5, 0.5]) * max(abs(float(edges[0])), 1.0) * 0.1


def image(ax: Axes, x: TableAxis, y: TableAxis, values: FloatArray, label: str, stretch: Any = "linear") -> Axes:
    """Draw values (x, y) over two axes of a response; the logarithm spans seven decades at most."""
    stretch = stretch if (values > 0).any() else "linear"
    shown = np.where(values > 0, values, np.nan) if stretch == "log" else values
    top = float(np.nanmax(shown)) if np.isfinite(shown).any() else 1.0
    floor = max(float(np.nanmin(shown)), top * 1e-7) if stretch == "log" else None
    scale = color_scale(shown, stretch=stretch, vmin=floor if floor is None or floor < top else None)
    mesh = ax.pcolormesh(_wide_edges(x), _wide_edges(y), shown.T, norm=scale.norm, cmap=scale.cmap, rasterized=True)
    color_bar(mesh, ax, label)
    labels = {
        "energy": axis_label("Energy", "TeV"),
        "energy_true": axis_label("True energy", "TeV"),
        "offset": axis_label("Offset", "deg"),
        "migra": "Energy migration",
    }
    ax.set(xlabel=labels[x.name], ylabel=labels[y.name])
    ax.set_xscale("log" if x.scale == "log" else "linear")
    ax.set_yscale("log" if y.scale == "log" else "linear")
    ax.set_xlim(*_wide_edges(x)[[0, -1]])
    ax.set_ylim(*_wide_edges(y)[[0, -1]])
    return ax
