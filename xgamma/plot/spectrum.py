"""Counts of a spectrum beside what a model predicts, with residuals; off regions on the sky."""

from __future__ import annotations

from typing import Any, Literal, get_args

import dask.base
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xgamma.coords.bins import bin_edges
from xgamma.fitting.predict import npred, npred_signal
from xgamma.kernels.limits import cash_errors, wstat_errors
from xgamma.kernels.stats import cash_excess, wstat_excess
from xgamma.models.models import as_models
from xgamma.models.sky_model import SkyModel
from xgamma.plot.style import LINES, axis_label

__all__ = ["plot_off_regions", "plot_spectrum"]

FloatArray = NDArray[np.float64]
Residuals = Literal["diff", "diff/model", "diff/sqrt(model)", "significance"]

#: What stands beside the residuals.
LABELS = {
    "diff": "Counts − model",
    "diff/model": "(Counts − model)\n/ model",
    "diff/sqrt(model)": "(Counts − model)\n" + r"/ $\sqrt{\mathrm{model}}$",
    "significance": "Residual [σ]",
}
#: Standard deviations of the limits that bins without excess show.
LIMIT_SIGMA = 2.0
#: More sources than these are drawn as their sum alone.
MANY_SOURCES = 5
#: Margin around the regions of a picture of the sky, in parts of their extent.
MARGIN = 0.12


def plot_spectrum(
    cube: xr.Dataset, models: Any = None, fig: Figure | None = None, *, residuals: Residuals = "significance"
) -> tuple[Axes, Axes | None]:
    """Draw the excess counts of a spectrum and the predicted ones, with residuals below.

    Parameters
    ----------
    cube
        Spectrum; runs (dim ``obs``) and regions are added up, inside the masks. Lazy cubes are computed here, once.
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

    Notes
    -----
    Errors of the excess are those of its likelihood profile, each side its own. Bins whose excess is not above zero
    show an upper limit of two standard deviations. The background below is that which was subtracted; the model of the
    residuals has the background that fits best beside the sources (WStat).

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
    if "counts" not in cube or "energy" not in cube["counts"].dims or "y" in cube["counts"].dims:
        msg = "plot_spectrum shows spectra, which have counts and no sky pixels; take one from a map with regions first"
        raise ValueError(msg)
    numbers, parts = _numbers(cube, getattr(models, "models", models))
    edges = bin_edges(cube, "energy")
    fig = plt.figure(figsize=(7.0, 4.8 if models is None else 6.2), layout="constrained") if fig is None else fig
    if models is None:
        ax = fig.add_subplot()
        _draw_counts(ax, edges, numbers)
        _energy_axis(ax, edges, numbers["bins"] > 0)
        return ax, None
    ax, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_excess(ax, edges, numbers, parts)
    _draw_residuals(below, edges, numbers, residuals)
    _energy_axis(below, edges, numbers["bins"] > 0)
    ax.grid(visible=True, which="major", color="0.92", linewidth=0.7)
    ax.set_axisbelow(True)
    return ax, below


def _numbers(cube: xr.Dataset, models: Any) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Counts, background and predictions per energy bin inside the masks, and the signal of each of several sources."""
    mask = xr.ones_like(cube["counts"], dtype=bool)
    for name in ("mask_safe", "mask_fit"):
        if name in cube:
            mask = mask & (cube[name] != 0)
    lazy: dict[str, xr.DataArray] = {"counts": cube["counts"]}
    if "counts_off" in cube:
        off = cube["acceptance_off"]
        mask = mask & (off > 0)  # a fit leaves bins without an off region out, too
        alpha = cube["acceptance"] / off.where(off > 0, np.inf)
        lazy |= {"off": cube["counts_off"], "background": alpha * cube["counts_off"], "alpha": alpha}
    elif "background" in cube:
        lazy["background"] = cube["background"]
    lazy["bins"] = mask.astype(float)
    parts: dict[str, xr.DataArray] = {}
    if models is not None:
        chosen = as_models(models)
        lazy |= {"signal": npred_signal(cube, chosen), "npred": npred(cube, chosen)}
        sources = [m for m in chosen if isinstance(m, SkyModel)]
        if 1 < len(sources) <= MANY_SOURCES:
            parts = {m.name: npred_signal(cube, m) for m in sources}

    def total(array: xr.DataArray) -> xr.DataArray:
        kept = array.where(mask, 0.0)
        return kept.sum([d for d in kept.dims if d != "energy"])

    computed = dask.base.compute({n: total(a) for n, a in lazy.items()}, {n: total(a) for n, a in parts.items()})
    numbers, signals = ({n: np.asarray(a.values, float) for n, a in d.items()} for d in computed)
    numbers.setdefault("background", np.zeros_like(numbers["counts"]))
    if "off" in numbers:
        mean = numbers["alpha"] / np.maximum(numbers["bins"], 1.0)
        # one alpha for the sum of the runs: that of their background, where there are off counts
        some = numbers["off"] > 0
        numbers["alpha"] = np.where(some, numbers["background"] / np.where(some, numbers["off"], 1.0), mean)
    return numbers, signals


def _draw_counts(ax: Axes, edges: FloatArray, numbers: dict[str, FloatArray]) -> None:
    counts, shown = numbers["counts"], numbers["bins"] > 0
    _draw_background(ax, edges, numbers)
    down, up = cash_errors(counts)
    seen = shown & (counts > 0)
    _errorbars(ax, edges, counts, (np.minimum(down, 0.999 * counts), up), seen, "Counts")
    ax.set_ylabel("Counts per bin")
    _log_counts(ax, np.concatenate([counts[seen], numbers["background"][shown]]))
    ax.grid(visible=True, which="major", color="0.92", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.legend(fontsize="small")


def _draw_excess(ax: Axes, edges: FloatArray, numbers: dict[str, FloatArray], parts: dict[str, FloatArray]) -> None:
    shown = numbers["bins"] > 0
    excess = numbers["counts"] - numbers["background"]
    (down, up), (_, reach) = _excess_errors(numbers, 1.0), _excess_errors(numbers, LIMIT_SIGMA)
    seen, limit = shown & (excess > 0), excess + reach
    limited = shown & ~seen & (limit > 0)
    _draw_background(ax, edges, numbers)
    signal = np.where(shown, numbers["signal"], np.nan)
    ax.stairs(signal, edges, color=LINES[1], linewidth=1.8, baseline=None, label="Model")
    for color, (name, part) in zip((LINES * 2)[2:], parts.items(), strict=False):
        ax.stairs(np.where(shown, part, np.nan), edges, color=color, linestyle="--", baseline=None, label=name)
    _errorbars(ax, edges, excess, (np.minimum(down, 0.999 * np.abs(excess)), up), seen, "Excess")
    if limited.any():
        _draw_limits(ax, edges, limit, limited)
    ax.set_ylabel("Counts per bin")
    _log_counts(ax, np.concatenate([excess[seen], limit[limited], signal[shown]]), numbers["background"][shown])
    ax.legend(fontsize="small")


def _excess_errors(numbers: dict[str, FloatArray], n_sigma: float) -> tuple[FloatArray, FloatArray]:
    """Distances down and up to where the profile of the excess has risen."""
    if "off" in numbers:
        return wstat_errors(numbers["counts"], numbers["off"], numbers["alpha"], n_sigma)
    return cash_errors(numbers["counts"], n_sigma)


def _draw_background(ax: Axes, edges: FloatArray, numbers: dict[str, FloatArray]) -> None:
    ax.stairs(numbers["background"], edges, color="0.82", label="Background", fill=True, zorder=0.5)


def _draw_limits(ax: Axes, edges: FloatArray, limit: FloatArray, limited: NDArray[np.bool_]) -> None:
    center, width = _centers(edges)
    label = f"Upper limit ({LIMIT_SIGMA:g} σ)"
    ax.errorbar(
        center[limited], limit[limited], yerr=0.45 * limit[limited], uplims=True, xerr=width[:, limited],
        color="0.15", linestyle="none", linewidth=1.0, capsize=2.5, label=label,
    )  # fmt: skip


def _log_counts(ax: Axes, heights: FloatArray, more: FloatArray | None = None) -> None:
    """Make y a logarithm that holds what is shown, not more than five decades of it; of `more` its highest alone."""
    positive = heights[np.isfinite(heights) & (heights > 0)]
    if positive.size:
        top = float(max(positive.max(), np.max(positive if more is None else more, initial=0.0)))
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(max(0.3 * float(positive.min()), 1e-5 * top), 3.0 * top)


def _draw_residuals(ax: Axes, edges: FloatArray, numbers: dict[str, FloatArray], kind: Residuals) -> None:
    values, errors = _residuals(numbers, kind)
    shown = (numbers["bins"] > 0) & np.isfinite(values)
    _errorbars(ax, edges, values, (errors, errors), shown, None)
    ax.axhline(0.0, color=LINES[1], linewidth=1.5, zorder=1)
    ax.grid(visible=True, axis="y", color="0.92", linewidth=0.7)
    ax.set_axisbelow(True)
    least = 3.0 if kind in ("significance", "diff/sqrt(model)") else 0.0
    reach = 1.1 * float(np.max((np.abs(values) + errors)[shown], initial=least))
    if reach > 0:
        ax.set_ylim(-reach, reach)
    ax.set_ylabel(LABELS[kind], fontsize="small" if "\n" in LABELS[kind] else "medium")


def _residuals(numbers: dict[str, FloatArray], kind: Residuals) -> tuple[FloatArray, FloatArray]:
    """Residual in each bin and its error: how far counts scatter around the model."""
    counts, model = numbers["counts"], numbers["npred"]
    positive = np.where(model > 0, model, np.nan)
    difference = counts - model
    if kind == "diff":
        return difference, np.sqrt(np.maximum(model, 0.0))
    if kind == "diff/model":
        return difference / positive, 1.0 / np.sqrt(positive)
    if kind == "diff/sqrt(model)":
        return difference / np.sqrt(positive), np.ones_like(counts)
    if "off" in numbers:
        best = wstat_excess(counts, numbers["off"], numbers["alpha"], numbers["signal"])
    else:
        best = cash_excess(counts, model)
    return np.where(model > 0, best.sqrt_ts, np.nan), np.ones_like(counts)


def _centers(edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middles of the bins on a logarithmic axis, and the distances to their edges."""
    center = np.sqrt(edges[:-1] * edges[1:]) if edges[0] > 0 else 0.5 * (edges[:-1] + edges[1:])
    return center, np.array([center - edges[:-1], edges[1:] - center])


def _errorbars(
    ax: Axes,
    edges: FloatArray,
    values: FloatArray,
    errors: tuple[FloatArray, FloatArray],
    shown: NDArray[np.bool_],
    label: str | None,
) -> None:
    center, width = _centers(edges)
    ax.errorbar(
        center[shown], values[shown], yerr=np.nan_to_num([e[shown] for e in errors]), xerr=width[:, shown],
        color="0.15", linestyle="none", marker="o", markersize=3.5, linewidth=1.0, label=label,
    )  # fmt: skip


def _energy_axis(ax: Axes, edges: FloatArray, shown: NDArray[np.bool_]) -> None:
    """Make x the energies that take part, with some room on both sides."""
    ax.set_xlabel(axis_label("Energy", "TeV"))
    used = np.flatnonzero(shown)
    low, high = (edges[used[0]], edges[used[-1] + 1]) if used.size else (edges[0], edges[-1])
    if low > 0:
        ax.set_xscale("log")
        room = (high / low) ** 0.03
        ax.set_xlim(low / room, high * room)


def plot_off_regions(
    cube: xr.Dataset, ax: Any = None, *, exclusion: Any = None, legend: bool = True, pointings: bool = True
) -> Any:
    r"""Draw the on region and the off regions of each run on the sky, with the pointings.

    Parameters
    ----------
    cube
        Spectrum with ``off_regions``, dims ([obs,] [region]); lazy ones are computed here.
    ax
        Axes with celestial coordinates, by default new ones that show all regions.
    exclusion
        Regions that were excluded, drawn in grey.
    legend
        Name the runs by their colours.
    pointings
        Mark where the runs pointed, with a star.

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes

    Raises
    ------
    ValueError
        If the cube keeps no off regions.

    Examples
    --------
    >>> cube = xr.Dataset(coords={"obs": [7]})
    >>> cube.coords["region"] = "icrs;circle(83.63, 22.01, 0.11)"
    >>> cube.coords["off_regions"] = "obs", ["icrs;circle(84.69, 22.01, 0.11)\nicrs;circle(84.16, 22.51, 0.11)"]
    >>> cube["pointing_lon"], cube["pointing_lat"] = ("obs", [84.16]), ("obs", [22.01])
    >>> ax = plot_off_regions(cube)
    >>> len(ax.patches)  # two off regions and the on region
    3
    >>> plt.close(ax.figure)
    """
    if "off_regions" not in cube.variables:
        msg = "the spectrum keeps no off regions; reduce with background=xgamma.ReflectedRegions(...)"
        raise ValueError(msg)
    from xgamma.coords.regions import as_regions, from_ds9
    from xgamma.plot.canvas import checked_axes
    from xgamma.plot.regions import plot_regions

    on = [from_ds9(str(t)) for t in np.atleast_1d(cube["region"].values)]
    runs = _runs(cube)
    off = {name: [from_ds9(t) for t in texts] for name, (texts, _) in runs.items()}
    places = [p for _, p in runs.values() if pointings and p is not None]
    ax = _sky_around([*on, *(r for rs in off.values() for r in rs)], places) if ax is None else checked_axes(ax)
    if exclusion is not None:
        for artist in plot_regions(as_regions(exclusion), ax, color="0.6", linewidth=1.0, labels=False):
            if hasattr(artist, "set_facecolor"):
                artist.set(facecolor="0.85", fill=True, zorder=0.6)
    for i, (name, (_, place)) in enumerate(runs.items()):
        color = LINES[i % len(LINES)]
        artists = plot_regions(off[name], ax, color=color, linewidth=1.1, labels=False) if off[name] else []
        for artist in artists:
            artist.set_path_effects([])  # rims are for dark maps; many thin circles are clearer without
        if pointings and place is not None:
            ax.plot(*place, "*", color=color, markersize=8, transform=ax.get_transform("icrs"))
        ax.plot([], [], color=color, linewidth=2.0, label=f"{name} ({len(off[name])})")
    plot_regions(on, ax, color="black", linewidth=1.8, labels=False)
    if legend and "obs" in cube.dims and len(runs) <= 3 * len(LINES):
        beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        ax.legend(fontsize="small", title="Run (off regions)", title_fontsize="small", frameon=False, **beside)
    return ax


def _runs(cube: xr.Dataset) -> dict[str, tuple[list[str], tuple[float, float] | None]]:
    """Texts of the off regions of all on regions, and the pointing, of each run."""
    runs: dict[str, tuple[list[str], tuple[float, float] | None]] = {}
    labels = cube["obs"].values if "obs" in cube.dims else [None]
    for label in labels:
        run = cube if label is None else cube.sel(obs=label)
        texts = [t for joined in np.atleast_1d(run["off_regions"].values) for t in str(joined).split("\n") if t]
        place = (float(run["pointing_lon"]), float(run["pointing_lat"])) if "pointing_lon" in run else None
        runs["" if label is None else str(label)] = texts, place
    return runs


def _sky_around(regions: list[Any], places: list[tuple[float, float]]) -> Any:
    """Axes on the sky around regions and pointings."""
    from astropy.coordinates import SkyCoord

    from xgamma.coords.grid import sky_grid
    from xgamma.coords.regions import region_center
    from xgamma.coords.sky import grid_of
    from xgamma.plot.canvas import sky_axes

    step = 0.01
    wcs = grid_of(sky_grid(region_center(regions[0]), "1 deg", f"{step} deg", proj="TAN")).frame.wcs
    x, y = [], []
    for box in (r.to_pixel(wcs).bounding_box for r in regions):
        x += [box.ixmin, box.ixmax - 1]
        y += [box.iymin, box.iymax - 1]
    for place in places:
        pixel = wcs.world_to_pixel(SkyCoord(*place, unit="deg"))
        x.append(float(pixel[0]))
        y.append(float(pixel[1]))
    middle = wcs.pixel_to_world((min(x) + max(x)) / 2, (min(y) + max(y)) / 2).icrs
    sizes = step * (max(x) - min(x)), step * (max(y) - min(y))
    room = MARGIN * max(*sizes, 0.1)
    width, height = (size + 2 * room for size in sizes)
    ax = sky_axes(sky_grid(middle, (f"{width} deg", f"{height} deg"), f"{max(width, height) / 400} deg", proj="TAN"))
    ax.set_facecolor("white")
    return ax
