"""Parameters two by two: samples of a posterior, and the covariance of a fit as ellipses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2, norm

from xgamma.fitting.result import FitResult
from xgamma.kernels.limits import statistic_rise
from xgamma.plot.style import LINES, axis_label

__all__ = ["plot_corner"]

FloatArray = NDArray[np.float64]

#: Bins of the histograms along each axis, and by how many of them those of pairs are smoothed.
BINS, SMOOTH = 40, 1.2
#: Standard deviations that the axes reach to each side.
REACH = 3.6
#: Points of an ellipse.
POINTS = 181


def plot_corner(
    data: FitResult | xr.DataTree | xr.Dataset,
    fig: Figure | None = None,
    *,
    parameters: Sequence[str] | None = None,
    sigma: Sequence[float] = (1.0, 2.0),
    joint: bool = False,
    label: str | None = None,
    color: str = LINES[0],
) -> Figure:
    r"""Draw the distribution of each parameter and of each pair of them, as a triangle of panels.

    Parameters
    ----------
    data
        Result of a fit: its covariance, as curves and ellipses. Or samples, as `sample_posterior` returns them (the
        group ``posterior`` of a DataTree, or a Dataset over ``chain`` and ``draw``): histograms and contours.
    fig
        Figure of an earlier call with the same parameters, to draw on top of it; by default a new one.
    parameters
        Names, in the order of the panels; by default all of them.
    sigma
        Standard deviations, a contour each.
    joint
        What a standard deviation means: False for each parameter alone, as for `FitResult.stat_contour` (the pair
        lies within one in 39 % of cases), True for the pair (68 %).
    label
        Text for the legend.
    color
        Colour of everything.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `data` are neither a result nor samples.
    ValueError
        If a name is not that of a free parameter, one has no spread, or the figure has other panels.

    Notes
    -----
    Contours of samples hold the smallest area with the wanted part of them, in a histogram of 40 x 40 bins along the
    directions without correlation, smoothed by a little more than a bin.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> shape = ("chain", "draw")
    >>> index, scale = rng.normal(2, 0.1, (4, 500)), rng.normal(1, 1, (4, 500))
    >>> samples = xr.Dataset({"index": (shape, index), "norm": (shape, scale)})
    >>> fig = plot_corner(samples, label="samples")
    >>> [ax.get_xlabel() for ax in fig.axes if ax.get_xlabel()]
    ['index', 'norm']
    >>> plt.close(fig)
    """
    kind = _Ellipses(data, parameters) if isinstance(data, FitResult) else _Samples(data, parameters)
    axes, is_new = _panels(fig, len(kind.names))
    figure = axes[0][0].figure
    assert isinstance(figure, Figure)
    levels = [statistic_rise(s, joint) for s in sorted(sigma)]
    for i, name in enumerate(kind.names):
        kind.curve(axes[i][i], i, color)
        axes[i][i].axvline(kind.best[i], color=color, linewidth=0.8, alpha=0.7)
        _reach(axes[i][i].set_xlim, axes[i][i].get_xlim(), kind.best[i], kind.spread[i], is_new)
        for j in range(i):
            kind.contours(axes[i][j], j, i, levels, color)
            axes[i][j].plot(kind.best[j], kind.best[i], "+", color=color, markersize=7, markeredgewidth=1.3)
            _reach(axes[i][j].set_ylim, axes[i][j].get_ylim(), kind.best[i], kind.spread[i], is_new)
        if is_new:
            text = axis_label("\n".join(name.rsplit(".", 1)), kind.units[i])
            axes[-1][i].set_xlabel(text, fontsize="small")
            axes[i][i].set_yticks([])
            if i:
                axes[i][0].set_ylabel(text, fontsize="small")
    _titles(axes, kind, is_new)
    if label is not None:
        _legend(figure, label, color)
    return figure


class _Ellipses:
    """What the covariance of a fit says."""

    def __init__(self, result: FitResult, parameters: Sequence[str] | None) -> None:
        known = list(result.free.names)
        self.names = _chosen(parameters, known)
        places = [known.index(n) for n in self.names]
        matrix = result.covariance.values[np.ix_(places, places)]
        self.units = [result.free[n].unit for n in self.names]
        self.best = np.array([result.free[n].value for n in self.names])
        self.spread = np.sqrt(np.diag(matrix))
        _check_spread(self.names, self.spread)
        self.correlation = matrix / np.outer(self.spread, self.spread)

    def curve(self, ax: Axes, i: int, color: str) -> None:
        x = np.linspace(-REACH, REACH, POINTS)
        ax.plot(self.best[i] + x * self.spread[i], norm.pdf(x) / norm.pdf(0.0), color=color, linewidth=1.6)

    def contours(self, ax: Axes, j: int, i: int, levels: Sequence[float], color: str) -> None:
        turn = np.linspace(0.0, 2.0 * np.pi, POINTS)
        rho = float(np.clip(self.correlation[i, j], -1.0, 1.0))
        x, y = np.cos(turn), rho * np.cos(turn) + np.sqrt(1.0 - rho**2) * np.sin(turn)
        for k, level in enumerate(levels):
            size = np.sqrt(level)
            ax.plot(
                self.best[j] + size * self.spread[j] * x, self.best[i] + size * self.spread[i] * y, color=color,
                linewidth=1.6, alpha=0.55**k,
            )  # fmt: skip


class _Samples:
    """What samples say."""

    def __init__(self, data: Any, parameters: Sequence[str] | None) -> None:
        posterior = _posterior(data)
        self.names = _chosen(parameters, [str(n) for n in posterior.data_vars])
        self.units = [str(posterior[n].attrs.get("units", "")) for n in self.names]
        self.values = np.stack([np.asarray(posterior[n].values, float).ravel() for n in self.names])
        self.best = np.median(self.values, axis=1)
        low, high = np.quantile(self.values, norm.cdf([-1.0, 1.0]), axis=1)
        self.spread = 0.5 * (high - low)
        _check_spread(self.names, self.spread)

    def edges(self, i: int) -> FloatArray:
        return self.best[i] + np.linspace(-REACH, REACH, BINS + 1) * self.spread[i]

    def curve(self, ax: Axes, i: int, color: str) -> None:
        counts, edges = np.histogram(self.values[i], bins=self.edges(i))
        ax.stairs(counts / max(counts.max(), 1), edges, color=color, linewidth=1.4)
        ax.stairs(counts / max(counts.max(), 1), edges, color=color, fill=True, alpha=0.15)

    def contours(self, ax: Axes, j: int, i: int, levels: Sequence[float], color: str) -> None:
        # in coordinates without correlation bins are as narrow as the distribution is
        values = (self.values[[j, i]] - self.best[[j, i], None]) / self.spread[[j, i], None]
        turn = np.linalg.cholesky(np.cov(values) + 1e-9 * np.eye(2))
        edges = np.linspace(-REACH, REACH, BINS + 1)
        straight = np.linalg.solve(turn, values)
        counts = np.histogram2d(straight[0], straight[1], bins=(edges, edges))[0]
        density = gaussian_filter(counts, SMOOTH)
        order = np.argsort(density.ravel())[::-1]
        ordered = density.ravel()[order]
        # the part of all samples, also of those outside of the picture; those that lie there, not where smoothing
        # puts them
        held = np.cumsum(counts.ravel()[order]) / values.shape[1]
        heights = []
        for level in levels:
            place = int(np.searchsorted(held, chi2.cdf(level, 2)))
            heights.append(float(ordered[min(place, ordered.size - 1)]))
        middle = 0.5 * (edges[:-1] + edges[1:])
        flat = turn @ np.stack(np.meshgrid(middle, middle, indexing="ij")).reshape(2, -1)
        x, y = (flat * self.spread[[j, i], None] + self.best[[j, i], None]).reshape(2, BINS, BINS)
        wanted = [h for h in dict.fromkeys(sorted(heights)) if h > 0]
        if wanted:
            ax.contourf(x, y, density, [*wanted, float(density.max()) * 1.01], colors=[color], alpha=0.18)
            ax.contour(x, y, density, wanted, colors=[color], linewidths=1.4)


def _posterior(data: Any) -> xr.Dataset:
    if isinstance(data, xr.DataTree):
        if "posterior" not in data.children:
            msg = f"samples are a DataTree with the group 'posterior'; its groups are {list(data.children)}"
            raise ValueError(msg)
        data = data["posterior"].to_dataset()
    if not isinstance(data, xr.Dataset) or not data.data_vars:
        msg = f"data are the result of a fit, or samples of sample_posterior, not {type(data).__name__}"
        raise TypeError(msg)
    dims = {d for n in data.data_vars for d in map(str, data[n].dims)}
    if dims - {"chain", "draw"}:
        msg = f"samples have the dims 'chain' and 'draw', not {sorted(dims)}"
        raise ValueError(msg)
    return data


def _chosen(parameters: Sequence[str] | None, known: list[str]) -> list[str]:
    """Full names, in their order; short ones where they are unique."""
    if parameters is None:
        return known
    result = []
    for given in [parameters] if isinstance(parameters, str) else parameters:
        found = [n for n in known if given in (n, n.rsplit(".", 1)[-1])]
        if len(found) != 1:
            msg = f"{given!r} is not the name of one parameter; they are {known}"
            raise ValueError(msg)
        result.append(found[0])
    return result


def _check_spread(names: Sequence[str], spread: FloatArray) -> None:
    for name, size in zip(names, spread, strict=True):
        if not (np.isfinite(size) and size > 0):
            msg = f"{name!r} has no spread: it sits at a limit, or its error is not known; leave it out of parameters="
            raise ValueError(msg)


def _panels(fig: Figure | None, number: int) -> tuple[list[list[Axes]], bool]:
    """Panels of the lower triangle; those above stay empty."""
    if fig is None:
        size = max(2.0 * number, 3.2)
        fig = plt.figure(figsize=(size, size), layout="constrained")
        grid = fig.add_gridspec(number, number)
        axes: list[list[Axes]] = []
        for i in range(number):
            row: list[Axes] = []
            for j in range(i + 1):
                share = {"sharex": axes[j][j] if i > j else None, "sharey": row[0] if 0 < j < i else None}
                ax = fig.add_subplot(grid[i, j], **share)
                ax.tick_params(labelbottom=i == number - 1, labelleft=j == 0 and i > 0, labelsize="x-small")
                ax.xaxis.set_major_locator(MaxNLocator(4))
                for axis in (ax.xaxis, ax.yaxis):
                    axis.get_offset_text().set_fontsize("xx-small")
                ax.yaxis.set_major_locator(MaxNLocator(4))
                row.append(ax)
            axes.append(row)
        return axes, True
    if len(fig.axes) != number * (number + 1) // 2:
        msg = f"the figure has {len(fig.axes)} panels, which are not those of {number} parameters: draw the same ones"
        raise ValueError(msg)
    left = iter(fig.axes)
    return [[next(left) for _ in range(i + 1)] for i in range(number)], False


def _reach(setter: Any, present: tuple[float, float], best: float, spread: float, is_new: bool) -> None:
    low, high = best - REACH * spread, best + REACH * spread
    setter(low if is_new else min(low, present[0]), high if is_new else max(high, present[1]))


def _titles(axes: list[list[Axes]], kind: Any, is_new: bool) -> None:
    """Value and error above the curves, of what was drawn first."""
    if not is_new:
        return
    for i in range(len(kind.names)):
        power = int(np.floor(np.log10(max(abs(kind.best[i]), kind.spread[i]))))
        scale = 1.0 if -3 < power < 4 else 10.0**power
        digits = max(1 - int(np.floor(np.log10(kind.spread[i] / scale))), 0)
        value, error = kind.best[i] / scale, kind.spread[i] / scale
        text = f"{value:.{digits}f} ± {error:.{digits}f}"
        text = text if scale == 1.0 else rf"({text}) $\times 10^{{{power}}}$"
        axes[i][i].set_title(text, fontsize="x-small")


def _legend(fig: Figure, label: str, color: str) -> None:
    handles = list(getattr(fig.legends[0], "legend_handles", [])) if fig.legends else []
    for old in fig.legends:
        old.remove()
    fig.legends.clear()
    (line,) = fig.axes[0].plot([], [], color=color, linewidth=2.0, label=label)
    fig.legend(handles=[*handles, line], loc="outside upper right", fontsize="small")
