"""A look at a cube or a run: everything it holds on one page."""

from __future__ import annotations

from typing import Any

import dask.base
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xgamma.coords.bins import axis_of, bin_edges
from xgamma.coords.sky import has_sky
from xgamma.plot.peek_observation import peek_observation
from xgamma.plot.peek_spectrum import DRAW_RESPONSE, draw_totals, response_parts, run_totals
from xgamma.plot.sky import plot_map, sky_axes
from xgamma.plot.style import LINES, axis_label

__all__ = ["peek_cube", "peek_observation"]

#: Rows of the table of runs; more are counted, not listed.
TABLE_ROWS = 24
#: Energy in TeV at which an exposure is shown, where the axis has it.
SHOWN_ENERGY = 1.0


def peek_cube(cube: xr.Dataset, *, radius: Any = None, regions: Any = None) -> Figure:
    """Show what a cube holds: images or responses, the spectrum of counts and background, and its runs.

    Parameters
    ----------
    cube
        Cube with ``counts`` and any of ``background``, ``exposure``, ``mask_safe``, ``counts_off``, ``acceptance``,
        ``acceptance_off``, ``livetime``; dims ([obs,] energy, y, x), or regions instead of pixels. Lazy cubes are
        computed once, down to the images and spectra shown.
    radius
        With a correlation radius, the significance inside it is shown instead of the excess of each pixel.
    regions
        Sky regions drawn on the images.

    Returns
    -------
    matplotlib.figure.Figure
        Counts, background and excess are sums over all energies and runs inside ``mask_safe``; of an on-off cube the
        background is the scaled off counts. The mask is shown as the fraction of energies (and runs) that are safe;
        an image with one energy bin has no spectrum. Spectra show their exposure and energy dispersion instead of
        images, and one without runs a table of its numbers.

    Raises
    ------
    ValueError
        If the cube holds nothing to show, or the significance was asked for and cannot be computed.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg", energy=energy)
    >>> zeros = xr.DataArray(np.zeros((3, 20, 20)), dims=("energy", "y", "x"))
    >>> fig = peek_cube(grid.assign(counts=zeros + 3.0, background=zeros + 1.0))
    >>> [ax.get_title() for ax in fig.axes]
    ['Counts', 'Background', 'Excess', '']
    >>> plt.close(fig)
    """
    _check(cube)
    parts = _inside_mask(cube)
    images = _images(cube, parts, radius) if has_sky(cube) else {}
    spectra = {n: a.sum([d for d in a.dims if d != "energy"]) for n, a in parts.items() if "energy" in a.dims}
    if images and cube.sizes.get("energy") == 1:
        spectra = {}  # an image has no spectrum
    runs = _run_numbers(cube, parts)
    if not images and not spectra:
        msg = f"the cube holds nothing to show; it has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    responses = {} if has_sky(cube) else response_parts(cube)
    images, spectra, runs, responses = dask.base.compute(images, spectra, runs, responses)
    totals = {} if images or runs else run_totals(cube, spectra)
    number = len(images) + bool(spectra) + len(responses) + bool(runs or totals)
    ncols = min(number, 2 if responses else 3)
    nrows = -(-number // ncols)
    fig = plt.figure(figsize=(4.9 * ncols, 4.1 * nrows), layout="compressed")
    places = iter(fig.add_gridspec(nrows, ncols))
    shape = 0.8
    for title, (image, options) in images.items():
        ax = sky_axes(image, fig, next(places))
        plot_map(image, ax, title=title, regions=regions, **options)
        # panels of one shape are laid out side by side without gaps
        shape = float(ax.get_aspect() * image.sizes["y"] / image.sizes["x"])
    if spectra:
        _plot_spectra(fig.add_subplot(next(places), box_aspect=shape), cube, spectra)
    for name, response in responses.items():
        DRAW_RESPONSE[name](response, fig.add_subplot(next(places), box_aspect=shape))
    if totals:
        draw_totals(fig.add_subplot(next(places), box_aspect=shape), totals)
    if runs:
        _draw_table(fig.add_subplot(next(places), box_aspect=shape), cube, runs)
    return fig


def _check(cube: xr.Dataset) -> None:
    if not isinstance(cube, xr.Dataset):
        msg = f"peek_cube shows a cube (Dataset), not a {type(cube).__name__}; use plot_map for one map"
        raise TypeError(msg)


def _inside_mask(cube: xr.Dataset) -> dict[str, xr.DataArray]:
    """Counts and background inside the safe mask, all dims kept, still lazy."""
    parts = {}
    if "counts" in cube:
        parts["counts"] = cube["counts"]
    background = _background(cube)
    if background is not None:
        parts["background"] = background
    if "mask_safe" in cube:
        parts = {n: a.where(cube["mask_safe"], 0.0) for n, a in parts.items()}
    return parts


def _background(cube: xr.Dataset) -> xr.DataArray | None:
    """Predicted background, of an on-off cube the off counts scaled by the acceptances."""
    if all(n in cube for n in ("counts_off", "acceptance", "acceptance_off")):
        filled = cube["acceptance_off"] > 0
        alpha = cube["acceptance"] / cube["acceptance_off"].where(filled, 1.0)
        return (alpha * cube["counts_off"]).where(filled, 0.0)
    return cube.get("background")


def _images(
    cube: xr.Dataset, parts: dict[str, xr.DataArray], radius: Any
) -> dict[str, tuple[xr.DataArray, dict[str, Any]]]:
    """Titles, images still lazy, and how to draw them."""
    flat = {n: _labelled(_over_sky(a, "sum"), n, "", n.capitalize()) for n, a in parts.items()}
    images: dict[str, tuple[xr.DataArray, dict[str, Any]]] = {}
    if "counts" in flat:
        images["Counts"] = flat["counts"], {"stretch": "sqrt", "label": "Counts per pixel", "vmin": 0.0}
    if "background" in flat:
        images["Background"] = flat["background"], {"label": "Counts per pixel"}
    if "sqrt_ts" in cube:
        images["Significance"] = _over_sky(cube["sqrt_ts"], "last"), {"label": r"$\sqrt{TS}$"}
    elif radius is not None:
        images[f"Significance within {radius}"] = _significance(cube, radius), {"label": r"$\sqrt{TS}$"}
    elif len(flat) == 2:
        excess = _labelled(flat["counts"] - flat["background"], "excess", "", "Excess")
        images["Excess"] = excess, {"center": 0.0, "label": "Counts per pixel"}
    if "exposure" in cube:
        exposure, text = _exposure(cube["exposure"])
        images[f"Exposure{text}"] = exposure, {}
    if "mask_safe" in cube:
        share = _labelled(_over_sky(cube["mask_safe"].astype(float), "mean"), "mask_safe", "", "Safe")
        images["Safe mask"] = share, {"vmin": 0.0, "vmax": 1.0, "cmap": "viridis", "label": "Fraction safe"}
    return images


def _over_sky(array: xr.DataArray, how: str) -> xr.DataArray:
    """Reduce all dims but the sky's: their sum, their mean, or the last position."""
    others = [d for d in array.dims if d not in ("y", "x")]
    if how == "last":
        return array.isel(dict.fromkeys(others, -1))
    return array.sum(others) if how == "sum" else array.mean(others)


def _labelled(array: xr.DataArray, name: str, units: str, long_name: str) -> xr.DataArray:
    return array.rename(name).assign_attrs(units=units, long_name=long_name)


def _exposure(exposure: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Exposure of all runs at one energy, and which."""
    text = ""
    if "energy_true" in exposure.dims:
        center = axis_of(exposure, "energy_true").values
        # the bin nearest to 1 TeV, or to the middle of an axis that does not reach it
        wanted = SHOWN_ENERGY if center[0] <= SHOWN_ENERGY <= center[-1] else float(np.sqrt(center[0] * center[-1]))
        index = int(np.abs(np.log(center / wanted)).argmin())
        exposure, text = exposure.isel(energy_true=index), f" at {center[index]:.3g} TeV"
    units = exposure.attrs.get("units", "cm2 s")
    return _labelled(_over_sky(exposure, "sum"), "exposure", units, "Exposure"), text


def _significance(cube: xr.Dataset, radius: Any) -> xr.DataArray:
    """Significance of the excess over all energies within the radius."""
    from xgamma.estimators.excess import excess_map

    if "obs" in cube.dims:
        msg = "the significance of runs side by side is not that of their sum: stack the cube along 'obs' first"
        raise ValueError(msg)
    edges = bin_edges(cube, "energy")[[0, -1]] if "energy" in cube.dims else None
    groups = None if edges is None else [f"{e!r} TeV" for e in edges.tolist()]
    return excess_map(cube, radius, energy_edges=groups)["sqrt_ts"].squeeze(drop=True)


def _run_numbers(cube: xr.Dataset, parts: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Livetime, counts and background of each run."""
    if "obs" not in cube.dims:
        return {}
    numbers = {"livetime": cube["livetime"]} if "livetime" in cube and "obs" in cube["livetime"].dims else {}
    numbers |= {n: a.sum([d for d in a.dims if d != "obs"]) for n, a in parts.items() if "obs" in a.dims}
    return numbers


def _plot_spectra(ax: Axes, cube: xr.Dataset, spectra: dict[str, xr.DataArray]) -> None:
    """Counts with their errors and background, per bin of energy."""
    axis = axis_of(cube, "energy")
    lo, hi, center = axis["energy_min"].values, axis["energy_max"].values, axis.values
    edges = np.append(lo, hi[-1])
    if "background" in spectra:
        ax.stairs(spectra["background"].values, edges, color=LINES[1], linewidth=1.5, label="Background")
    if "counts" in spectra:
        counts = spectra["counts"].values
        shown = counts > 0
        errors = np.sqrt(counts[shown])
        widths = np.array([center - lo, hi - center])[:, shown]
        style: dict[str, Any] = {"fmt": "o", "markersize": 3.5, "color": LINES[0], "linewidth": 1.2}
        # the lower error of one count would end at zero, which a logarithm has not
        down = np.minimum(errors, 0.999 * counts[shown])
        ax.errorbar(center[shown], counts[shown], [down, errors], widths, label="Counts", **style)
    heights = np.concatenate([a.values for a in spectra.values()])
    positive = heights[heights > 0]
    ax.set_xscale("log" if lo[0] > 0 else "linear")
    if positive.size:
        ax.set_yscale("log")
        ax.set_ylim(0.5 * positive.min(), 3 * positive.max())
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(axis_label("Energy", axis.attrs.get("units")))
    ax.set_ylabel("Counts per bin")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")


def _draw_table(ax: Axes, cube: xr.Dataset, runs: dict[str, xr.DataArray]) -> None:
    """Table of the runs: their sum first, then as many as fit."""
    names = cube["obs"].values if "obs" in cube.coords else range(cube.sizes["obs"])
    labels = [str(name) for name in names]
    heads = {"livetime": "Livetime [min]", "counts": "Counts", "background": "Background"}
    columns = {heads[n]: a.values / (60.0 if n == "livetime" else 1.0) for n, a in runs.items()}
    formats = {"Counts": "{:.0f}"}
    rows = [[f"all {len(labels)} runs", *(formats.get(n, "{:.1f}").format(v.sum()) for n, v in columns.items())]]
    for i, label in enumerate(labels[:TABLE_ROWS]):
        rows.append([label, *(formats.get(n, "{:.1f}").format(v[i]) for n, v in columns.items())])
    if len(labels) > TABLE_ROWS:
        rows.append([f"and {len(labels) - TABLE_ROWS} more", *("" for _ in columns)])
    ax.axis("off")
    heading = ["Run", *columns]
    table = ax.table(cellText=rows, colLabels=heading, loc="upper center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for (row, _), cell in table.get_celld().items():
        cell.set_height(1.0 / (TABLE_ROWS + 3))
        cell.set_edgecolor("0.8")
        if row <= 1:
            cell.get_text().set_fontweight("bold")
