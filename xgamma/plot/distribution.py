"""Distribution of the significances of a map, and how normal it is away from the sources."""

from __future__ import annotations

from typing import Any

import dask.base
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.special import ndtr

from xgamma.estimators.significance import significance_distribution
from xgamma.plot.style import LINES

__all__ = ["plot_significance_distribution"]


def plot_significance_distribution(
    sqrt_ts: xr.DataArray,
    mask: xr.DataArray | None = None,
    exclusion: xr.DataArray | None = None,
    ax: Axes | None = None,
    *,
    bins: int | Any = 0.2,
    fit_range: tuple[float, float] | None = None,
    logy: bool = True,
) -> Axes:
    r"""Show how often each significance occurs in a map, beside the normal distribution of a map without sources.

    Parameters
    ----------
    sqrt_ts
        Significance, any dims; NaN is left out. Lazy maps are computed here.
    mask
        True for the pixels to use at all, dims of `sqrt_ts` or fewer.
    exclusion
        True outside of the sources (as for the ring background): a second histogram shows these pixels, and the
        Gaussian is fitted to them; without it, to all pixels.
    ax
        Axes to draw on, by default a new figure.
    bins
        Width of the bins, which have an edge at 0, or the edges themselves.
    fit_range
        Lowest and highest significance that enter the fit, by default all.
    logy
        Logarithmic number of pixels.

    Returns
    -------
    matplotlib.axes.Axes
        The legend gives mean and width of the fit. Their errors would need the correlation between pixels, which an
        oversampled map has, so none are given.

    Raises
    ------
    ValueError
        If the dims or pixels of a mask do not fit, or no Gaussian fits what is left.
    TypeError
        If a mask is not boolean.

    Notes
    -----
    The fit is `xgamma.estimators.significance.significance_distribution`. Both curves are scaled to the number of
    pixels that the fit describes, inside and outside of its range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ax = plot_significance_distribution(xr.DataArray(rng.normal(0, 1, (100, 100)), dims=("y", "x")))
    >>> ax.get_legend().get_texts()[1].get_text()
    'fit: $\\mu$ = 0.01, $\\sigma$ = 1.00'
    >>> plt.close(ax.figure)
    """
    everything, outside = _values(sqrt_ts, mask, exclusion)
    fitted = everything if outside is None else outside
    edges = _edges(everything, bins)
    mean, width = _fit(fitted, fit_range, edges)
    ax = plt.figure(layout="constrained").add_subplot() if ax is None else ax
    ax.hist(everything, edges.tolist(), color="0.75", label=f"all {everything.size} pixels", log=logy)
    if outside is not None:
        label = f"{outside.size} pixels outside the exclusion"
        ax.hist(outside, edges.tolist(), histtype="step", color=LINES[0], linewidth=1.5, label=label, log=logy)
    _draw_curves(ax, edges, _number(fitted, fit_range, mean, width), mean, width)
    counts = np.histogram(everything, edges)[0]
    if logy and counts.max() > 0:
        ax.set_ylim(0.5, 3.0 * counts.max())
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(r"Significance $\sqrt{TS}$")
    ax.set_ylabel("Pixels per bin")
    ax.legend(fontsize="small", loc="upper right")
    return ax


def _values(
    sqrt_ts: xr.DataArray, mask: xr.DataArray | None, exclusion: xr.DataArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Finite values inside the mask, and those of them outside of the sources."""
    masks: list[Any] = []
    for name, given in (("mask", mask), ("exclusion", exclusion)):
        if given is None:
            masks.append(None)
            continue
        if given.dtype != bool:
            msg = f"{name} must be boolean, not {given.dtype}"
            raise TypeError(msg)
        # an image of size 1 in energy fits a map of any energies; alignment of other pixels raises in words
        flat = given.squeeze([d for d in given.dims if d not in sqrt_ts.dims and given.sizes[d] == 1], drop=True)
        extra = [str(d) for d in flat.dims if d not in sqrt_ts.dims]
        if extra:
            msg = f"{name} has dims {extra} that the significance does not have; its dims are {list(sqrt_ts.dims)}"
            raise ValueError(msg)
        _, flat = xr.align(sqrt_ts, flat, join="exact", copy=False)
        masks.append((xr.zeros_like(sqrt_ts, dtype=bool) | flat).transpose(*sqrt_ts.dims).data)
    values, inside, outside = dask.base.compute(sqrt_ts.data, *masks)
    values = np.asarray(values, dtype=float)
    use = np.isfinite(values) if inside is None else np.isfinite(values) & inside
    return values[use], None if outside is None else values[use & outside]


def _fit(
    values: NDArray[np.float64], fit_range: tuple[float, float] | None, edges: NDArray[np.float64]
) -> tuple[float, float]:
    """Mean and width of the most likely Gaussian."""
    nbin = int(np.clip(round(np.ptp(fit_range or values) / np.diff(edges).min()), 20, 2000)) if values.size else 20
    result = significance_distribution(xr.DataArray(values, dims="pixel"), nbin=nbin, limits=fit_range)
    mean, width = float(result.fit_mean), float(result.fit_std)
    if not np.isfinite([mean, width]).all():
        where = "" if fit_range is None else f" inside fit_range={fit_range!r}"
        msg = f"no Gaussian fits the {values.size} significances{where}: they have too few values or no peak there"
        raise ValueError(msg)
    return mean, width


def _number(values: NDArray[np.float64], fit_range: tuple[float, float] | None, mean: float, width: float) -> float:
    """Number of pixels below the whole Gaussian of which `fit_range` was seen."""
    if fit_range is None:
        return float(values.size)
    lo, hi = ndtr((np.asarray(fit_range) - mean) / width)
    return float(((values >= fit_range[0]) & (values <= fit_range[1])).sum() / (hi - lo))


def _edges(values: NDArray[np.float64], bins: Any) -> NDArray[np.float64]:
    if np.ndim(bins) == 1:
        edges = np.asarray(bins, dtype=float)
        if len(edges) < 2 or (np.diff(edges) <= 0).any():
            msg = f"bins={bins!r} must be a width or at least two ascending edges"
            raise ValueError(msg)
        return edges
    width = float(bins)
    if not width > 0:
        msg = f"bins={bins!r} must be a positive width or edges"
        raise ValueError(msg)
    if not values.size:
        msg = "no finite significance is left: check the mask"
        raise ValueError(msg)
    lowest, highest = np.floor(min(values.min(), -5.0) / width), np.ceil(max(values.max(), 5.0) / width)
    if highest - lowest > 100_000:
        number = f"{highest - lowest:.0f}"
        msg = f"bins of {width:g} between {values.min():g} and {values.max():g} are {number}; use wider ones"
        raise ValueError(msg)
    return width * np.arange(lowest, highest + 1)


def _draw_curves(ax: Axes, edges: NDArray[np.float64], number: float, mean: float, width: float) -> None:
    x = np.linspace(edges[0], edges[-1], 1001)
    # per bin: of unequal bins the local width counts
    step = np.diff(edges)[np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)]
    for mu, sigma, color, style, label in (
        (mean, width, LINES[1], "-", rf"fit: $\mu$ = {mean:.2f}, $\sigma$ = {width:.2f}"),
        (0.0, 1.0, "0.2", "--", r"normal: $\mu$ = 0, $\sigma$ = 1"),
    ):
        density = np.exp(-0.5 * ((x - mu) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
        ax.plot(x, number * step * density, color=color, linestyle=style, linewidth=1.5, label=label)
