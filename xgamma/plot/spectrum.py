"""Counts of a spectrum beside what a model predicts, with residuals; off regions on the sky."""

from __future__ import annotations

from typing import Any, Literal, get_args

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xgamma.coords.bins import bin_edges
from xgamma.fit.predict import npred, npred_signal
from xgamma.kernels.stats import cash_excess, wstat_excess
from xgamma.plot.style import LINES, axis_label

__all__ = ["plot_off_regions", "plot_spectrum"]

Residuals = Literal["diff", "diff/model", "diff/sqrt(model)", "significance"]

#: What stands beside the residuals.
LABELS = {
    "diff": "Data - model",
    "diff/model": "(Data - model) / model",
    "diff/sqrt(model)": r"(Data - model) / $\sqrt{model}$",
    "significance": r"Residual significance",
}


def plot_spectrum(
    cube: xr.Dataset, models: Any = None, fig: Figure | None = None, *, residuals: Residuals = "significance"
) -> tuple[Axes, Axes | None]:
    """Draw the excess counts of a spectrum and the predicted ones, with residuals below.

    Parameters
    ----------
    cube
        Spectrum; runs (dim ``obs``) and regions are added up. Lazy cubes are computed here.
    models
        Models to compare with, or the result of a fit; without them counts and background are drawn.
    fig
        Figure to draw in, by default a new one.
    residuals
        ``"diff"``, ``"diff/model"``, ``"diff/sqrt(model)"``, or ``"significance"``: how many standard deviations the
        counts lie above what is predicted, from the statistic of the spectrum.

    Returns
    -------
    spectrum, residuals : matplotlib.axes.Axes
        The second is None without models.

    Raises
    ------
    ValueError
        If the cube is a map, has no counts, or the kind of residuals is not known.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> cube = xr.Dataset(coords=energy_axis("1 TeV", "10 TeV", nbin=3).coords)
    >>> cube["counts"] = "energy", [30.0, 20.0, 3.0]
    >>> cube["background"] = "energy", [10.0, 4.0, 1.0]
    >>> axes = plot_spectrum(cube)
    >>> plt.close(axes[0].figure)
    """
    if residuals not in get_args(Residuals):
        msg = f"residuals={residuals!r} must be one of {get_args(Residuals)}"
        raise ValueError(msg)
    if "counts" not in cube or "y" in cube["counts"].dims:
        msg = "plot_spectrum shows spectra, which have counts and no sky pixels; take one from a map with regions first"
        raise ValueError(msg)
    fig = plt.figure(figsize=(7.0, 5.2 if models is None else 6.2), layout="constrained") if fig is None else fig
    numbers = _numbers(cube, getattr(models, "models", models))
    edges = bin_edges(cube, "energy")
    if models is None:
        ax = fig.add_subplot()
        _draw_counts(ax, edges, numbers)
        _energy_axis(ax, edges)
        return ax, None
    ax, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_excess(ax, edges, numbers)
    _draw_residuals(below, edges, numbers, residuals)
    _energy_axis(below, edges)
    return ax, below


def _numbers(cube: xr.Dataset, models: Any) -> dict[str, NDArray[np.float64]]:
    """Counts, background and predictions per energy bin inside the masks, runs and regions added up."""
    mask = xr.ones_like(cube["counts"], dtype=bool)
    for name in ("mask_safe", "mask_fit"):
        if name in cube:
            mask = mask & cube[name]

    def total(array: xr.DataArray) -> NDArray[np.float64]:
        kept = array.where(mask, 0.0)
        return np.asarray(kept.sum([d for d in kept.dims if d != "energy"]).values, float)

    numbers = {"counts": total(cube["counts"]), "bins": total(mask.astype(float))}
    if "counts_off" in cube:
        off = cube["acceptance_off"]
        alpha = cube["acceptance"] / off.where(off > 0, np.inf)
        numbers["off"] = total(cube["counts_off"])
        numbers["background"] = total(alpha * cube["counts_off"])
        mean = total(alpha) / np.maximum(numbers["bins"], 1.0)
        # one alpha for the sum of the runs: that of their background, where there are off counts
        some = numbers["off"] > 0
        numbers["alpha"] = np.where(some, numbers["background"] / np.where(some, numbers["off"], 1.0), mean)
    elif "background" in cube:
        numbers["background"] = total(cube["background"])
    else:
        numbers["background"] = np.zeros_like(numbers["counts"])
    if models is not None:
        numbers["signal"] = total(npred_signal(cube, models))
        numbers["npred"] = total(npred(cube, models))
    return numbers


def _draw_counts(ax: Axes, edges: NDArray[np.float64], numbers: dict[str, NDArray[np.float64]]) -> None:
    ax.stairs(numbers["background"], edges, color=LINES[1], label="Background", fill=True, alpha=0.35)
    _errorbars(ax, edges, numbers["counts"], np.sqrt(numbers["counts"]), numbers["bins"] > 0, "Counts")
    ax.set_ylabel("Counts per bin")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.3)
    ax.legend(fontsize="small")


def _draw_excess(ax: Axes, edges: NDArray[np.float64], numbers: dict[str, NDArray[np.float64]]) -> None:
    excess = numbers["counts"] - numbers["background"]
    variance = numbers["counts"] + (numbers["alpha"] ** 2 * numbers["off"] if "off" in numbers else 0.0)
    _errorbars(ax, edges, excess, np.sqrt(variance), numbers["bins"] > 0, "Excess counts")
    signal = np.where(numbers["bins"] > 0, numbers["signal"], np.nan)
    ax.stairs(signal, edges, color=LINES[1], linewidth=1.8, baseline=None, label="Model")
    ax.axhline(0.0, color="0.6", linewidth=0.8)
    ax.set_ylabel("Excess counts per bin")
    ax.set_yscale("symlog", linthresh=1.0)
    ax.legend(fontsize="small")


def _draw_residuals(
    ax: Axes, edges: NDArray[np.float64], numbers: dict[str, NDArray[np.float64]], kind: Residuals
) -> None:
    values, errors = _residuals(numbers, kind)
    _errorbars(ax, edges, values, errors, (numbers["bins"] > 0) & np.isfinite(values), None)
    ax.axhline(0.0, color=LINES[1], linewidth=1.5)
    reach = 1.15 * np.nanmax(np.abs(values) + errors, where=np.isfinite(values), initial=1.0)
    ax.set_ylim(-reach, reach)
    ax.set_ylabel(LABELS[kind], fontsize="small")


def _residuals(
    numbers: dict[str, NDArray[np.float64]], kind: Residuals
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residual and its error in each bin."""
    counts, model = numbers["counts"], numbers["npred"]
    positive = np.where(model > 0, model, np.nan)
    difference = counts - model
    if kind == "diff":
        return difference, np.sqrt(counts)
    if kind == "diff/model":
        return difference / positive, np.sqrt(counts) / positive
    if kind == "diff/sqrt(model)":
        return difference / np.sqrt(positive), np.ones_like(counts)
    if "off" in numbers:
        best = wstat_excess(counts, numbers["off"], numbers["alpha"], numbers["signal"])
    else:
        best = cash_excess(counts, model)
    return np.where(model > 0, best.sqrt_ts, np.nan), np.ones_like(counts)


def _errorbars(
    ax: Axes,
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    shown: NDArray[np.bool_],
    label: str | None,
) -> None:
    center = np.sqrt(edges[:-1] * edges[1:])
    width = np.array([center - edges[:-1], edges[1:] - center])
    ax.errorbar(
        center[shown], values[shown], yerr=errors[shown], xerr=width[:, shown], color="0.15", linestyle="none",
        marker="o", markersize=3.5, linewidth=1.0, label=label,
    )  # fmt: skip


def _energy_axis(ax: Axes, edges: NDArray[np.float64]) -> None:
    ax.set_xscale("log")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(axis_label("Energy", "TeV"))


def plot_off_regions(cube: xr.Dataset, ax: Any = None, *, exclusion: Any = None, legend: bool = True) -> Any:
    """Draw the on region and the off regions of each run on the sky, with the pointings.

    Parameters
    ----------
    cube
        Spectrum with ``off_regions``, dims ([obs]); lazy ones are computed here.
    ax
        Axes with celestial coordinates, by default new ones that show all regions.
    exclusion
        Regions that were excluded, drawn in grey.
    legend
        Name the runs by their colours.

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes

    Raises
    ------
    ValueError
        If the cube keeps no off regions.
    """
    if "off_regions" not in cube.variables:
        msg = "the spectrum keeps no off regions; reduce with background=xgamma.ReflectedRegions(...)"
        raise ValueError(msg)
    from xgamma.coords.grid import sky_grid
    from xgamma.coords.regions import as_regions, from_ds9, region_center
    from xgamma.plot.canvas import sky_axes
    from xgamma.plot.regions import plot_regions

    on = from_ds9(str(cube["region"].values))
    center = region_center(on)
    runs = [(None, cube)] if "obs" not in cube.dims else [(str(o), cube.sel(obs=o)) for o in cube["obs"].values]
    texts = [(name, [t for t in str(run["off_regions"].values).split("\n") if t], run) for name, run in runs]
    regions = [from_ds9(t) for _, lines, _ in texts for t in lines]
    if ax is None:
        reach = max([float(region_center(r).separation(center).deg) for r in regions], default=0.5)
        grid = sky_grid(center, f"{2.6 * reach + 0.4:.3f} deg", "0.01 deg")
        ax = sky_axes(grid)
    if exclusion is not None:
        plot_regions(as_regions(exclusion), ax, color="0.55", linewidth=1.0)
    for i, (name, lines, run) in enumerate(texts):
        color = LINES[i % len(LINES)]
        if lines:
            plot_regions([from_ds9(t) for t in lines], ax, color=color)
        if "pointing_lon" in run:
            lon, lat = float(run["pointing_lon"]), float(run["pointing_lat"])
            ax.plot(lon, lat, "+", color=color, markersize=9, transform=ax.get_transform("icrs"), label=name)
    plot_regions([on], ax, color="black")
    if legend and len(texts) > 1:
        ax.legend(fontsize="small", title="Run")
    return ax
