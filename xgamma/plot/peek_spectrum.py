"""Exposure and energy dispersion of spectra, and a table of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of, bin_edges
from xgamma.plot.style import BLANK, axis_label, color_bar, color_scale

__all__ = ["plot_edisp_matrix", "plot_exposure"]

FloatArray = NDArray[np.float64]

#: More runs or regions than these are drawn as their sum alone.
MANY_CURVES = 12
#: cm2 in a m2.
CM2 = 1e4


def plot_exposure(cube: xr.Dataset, ax: Axes | None = None) -> Axes:
    r"""Draw the exposure of a spectrum over true energy: of each run, and their sum.

    Parameters
    ----------
    cube
        Spectrum with ``exposure``, dims ([obs,] [region,] energy_true); lazy ones are computed here.
    ax
        Axes to draw on, by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Exposures are shown in m2 s. Above 12 runs only the sum is drawn.

    Raises
    ------
    ValueError
        If there is no exposure, or it is a map.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> cube = xr.Dataset(coords=energy_axis("1 TeV", "10 TeV", nbin=2, name="energy_true").coords)
    >>> cube["exposure"] = ("obs", "energy_true"), [[1e13, 2e13], [3e13, 4e13]], {"units": "cm2 s"}
    >>> ax = plot_exposure(cube)
    >>> ax.get_ylabel()
    'Exposure [$\\mathrm{m^{2}\\,s}$]'
    >>> ax.lines[-1].get_ydata()
    array([4.e+09, 6.e+09])
    >>> plt.close(ax.figure)
    """
    return _draw_exposure(_plain(cube, "exposure", "energy_true").compute(), ax)


def plot_edisp_matrix(cube: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the energy dispersion of a spectrum: the probability of each bin of energy for each bin of true energy.

    Parameters
    ----------
    cube
        Spectrum with ``edisp``, dims ([obs,] [region,] energy_true, energy), averaged over runs and regions with the
        exposure as weight; lazy ones are computed here.
    ax
        Axes to draw on, by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no energy dispersion, or it is a map.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> axes = energy_axis("1 TeV", "10 TeV", nbin=2), energy_axis("1 TeV", "10 TeV", nbin=2, name="energy_true")
    >>> cube = xr.Dataset(coords=axes[0].coords).assign_coords(axes[1].coords)
    >>> cube["edisp"] = ("energy_true", "energy"), [[0.8, 0.1], [0.2, 0.8]]
    >>> ax = plot_edisp_matrix(cube)
    >>> ax.get_xscale()
    'log'
    >>> plt.close(ax.figure)
    """
    return _draw_matrix(_mean_matrix(cube).compute(), ax)


def _plain(cube: xr.Dataset, name: str, *dims: str) -> xr.DataArray:
    if name not in cube or not {*dims} <= {*cube[name].dims} <= {*dims, "obs", "region"}:
        found = dict(cube[name].sizes) if name in cube else "there is none"
        msg = f"a spectrum with {name!r} over {', '.join(dims)} is needed; {name}: {found}"
        raise ValueError(msg)
    return cube[name]


def _mean_matrix(cube: xr.Dataset) -> xr.DataArray:
    """Energy dispersion averaged over runs and regions, still lazy."""
    edisp = _plain(cube, "edisp", "energy_true", "energy")
    others = [d for d in edisp.dims if d in ("obs", "region")]
    if not others:
        return edisp
    weight = _plain(cube, "exposure", "energy_true") if "exposure" in cube else xr.ones_like(edisp.isel(energy=0))
    weight = weight.drop_vars("energy", errors="ignore")
    total = weight.sum([d for d in others if d in weight.dims])
    return (edisp * weight).sum(others) / total.where(total > 0)


def response_parts(cube: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return what a spectrum has of exposure and energy dispersion, still lazy."""
    parts: dict[str, xr.DataArray] = {}
    if "exposure" in cube and "energy_true" in cube["exposure"].dims:
        parts["exposure"] = _plain(cube, "exposure", "energy_true")
    if "edisp" in cube and {*cube["edisp"].dims} <= {"energy_true", "energy", "obs", "region"}:
        parts["edisp"] = _mean_matrix(cube)
    return parts


def _draw_exposure(exposure: xr.DataArray, ax: Axes | None) -> Axes:
    ax = _axes(ax)
    axis = axis_of(exposure, "energy_true")
    center = np.asarray(axis.values, float)
    values = exposure.transpose(..., "energy_true")
    others = [str(d) for d in values.dims if d != "energy_true"]
    curves = np.asarray(values.values, float).reshape(-1, center.size) / CM2
    names = [_name(values, others, i) for i in range(len(curves))] if others else ["Exposure"]
    if 1 < len(curves) <= MANY_CURVES:
        for name, curve in zip(names, curves, strict=True):
            ax.plot(center, np.where(curve > 0, curve, np.nan), linewidth=1.1, label=name)
    total = curves.sum(axis=0) if len(curves) == 1 or "region" not in others else None
    if total is not None:
        # of regions that lie apart, the sum has no meaning
        label = "Sum" if len(curves) > 1 else names[0]
        ax.plot(center, np.where(total > 0, total, np.nan), color="0.1", linewidth=1.8, label=label)
    top = float(np.nanmax(curves if total is None else total, initial=0.0))
    ax.set(xscale="log", xlabel=axis_label("True energy", "TeV"), ylabel=axis_label("Exposure", "m2 s"))
    if top > 0:
        ax.set_yscale("log", nonpositive="mask")
        ax.set_ylim(max(float(curves[curves > 0].min()) / 1.5, top / 1e6), 2.0 * top)
    ax.grid(alpha=0.3)
    if 1 < len(curves) <= MANY_CURVES:
        ax.legend(fontsize="small")
    return ax


def _name(values: xr.DataArray, others: list[str], number: int) -> str:
    """Label of a curve: run, region or both."""
    places = np.unravel_index(number, [values.sizes[d] for d in others])
    words = []
    for dim, place in zip(others, places, strict=True):
        long = dim == "region" or dim not in values.coords
        words.append(f"{dim} {place}" if long else str(values[dim].values[place]))
    return ", ".join(words)


def _draw_matrix(matrix: xr.DataArray, ax: Axes | None) -> Axes:
    ax = _axes(ax)
    shown = matrix.transpose("energy", "energy_true").values
    true, measured = bin_edges(matrix, "energy_true"), bin_edges(matrix, "energy")
    finite = shown[np.isfinite(shown)]
    # single bins of the true energy that hold all of their events would take all colours
    top = float(np.quantile(finite, 0.995)) if finite.size and finite.max() > 0 else 1.0
    scale = color_scale(shown, vmin=0.0, vmax=top if top > 0 else float(finite.max()))
    mesh = ax.pcolormesh(true, measured, shown, norm=scale.norm, cmap=scale.cmap, rasterized=True)
    color_bar(mesh, ax, "Probability")
    low, high = max(true[0], measured[0]), min(true[-1], measured[-1])
    if low < high:
        ax.plot([low, high], [low, high], color="white", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log", xlabel=axis_label("True energy", "TeV"), ylabel=axis_label("Energy", "TeV"))
    ax.set_xlim(true[0], true[-1])
    ax.set_ylim(measured[0], measured[-1])
    ax.set_facecolor(BLANK)
    return ax


def _axes(ax: Axes | None) -> Axes:
    return plt.figure(figsize=(6.0, 4.6), layout="constrained").add_subplot() if ax is None else ax


#: How parts of a spectrum are drawn.
DRAW_RESPONSE: dict[str, Callable[[xr.DataArray, Axes | None], Axes]] = {
    "exposure": _draw_exposure,
    "edisp": _draw_matrix,
}


def run_totals(cube: xr.Dataset, spectra: dict[str, xr.DataArray]) -> dict[str, str]:
    """Return the numbers of a spectrum without runs, as texts; `spectra` are sums inside the mask."""
    from xgamma.reduction.info import info

    if "counts" not in spectra or "region" in cube.dims:
        return {}
    table = info(cube).compute()
    formats = {
        "livetime": ("Livetime [min]", 1 / 60.0, "{:.1f}"),
        "counts": ("Counts", 1.0, "{:.0f}"),
        "counts_off": ("Off counts", 1.0, "{:.0f}"),
        "background": ("Background", 1.0, "{:.1f}"),
        "excess": ("Excess", 1.0, "{:.1f}"),
        "sqrt_ts": ("Significance [σ]", 1.0, "{:.1f}"),
        "n_off_regions": ("Off regions", 1.0, "{:.0f}"),
        "n_fit_bins": ("Bins inside the masks", 1.0, "{:.0f}"),
    }
    scalars = {n: float(table[n]) for n in formats if n in table and not table[n].dims}
    return {formats[n][0]: formats[n][2].format(v * formats[n][1]) for n, v in scalars.items() if np.isfinite(v)}


def draw_totals(ax: Axes, totals: dict[str, str]) -> None:
    """Draw numbers as a table of two columns."""
    ax.axis("off")
    rows = [[name, text] for name, text in totals.items()]
    table: Any = ax.table(cellText=rows, loc="upper center", cellLoc="right", edges="horizontal", colWidths=[0.6, 0.3])
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for cell in table.get_celld().values():
        cell.set_height(0.09)
        cell.set_edgecolor("0.8")
