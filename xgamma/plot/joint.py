"""Spectrum of a source as all instruments see it: flux points, the model with its band, residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xgamma.coords.bins import bin_edges
from xgamma.estimators.flux_points import flux_points
from xgamma.estimators.sed import to_sed_type
from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.fitting.points import is_points
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import SkyModel
from xgamma.plot.sed import plot_sed, plot_spectral_model
from xgamma.plot.style import LINES, axis_label

__all__ = ["plot_joint"]

FloatArray = NDArray[np.float64]

#: Colour of the model; instruments have those of lines.
MODEL = "0.15"
#: Shapes of the points, so that instruments differ in print, too.
MARKERS = ("o", "s", "^", "D", "v", "P")
#: Bands of flux points that are computed without being told how many, in a decade.
PER_DECADE = 5
#: Standard deviations of the residuals that are shown at least, and at most.
LEAST, MOST = 3.0, 8.0
KINDS = ("e2dnde", "dnde")


def plot_joint(
    tree: Cubes,
    models: Any = None,
    fig: Figure | None = None,
    *,
    source: str | None = None,
    points: Mapping[str, Any] | bool = False,
    sed_type: str = "e2dnde",
    residuals: bool = True,
) -> tuple[Axes, Axes | None]:
    """Draw the spectrum of a source as all datasets of a DataTree measure it, with the model and residuals.

    Parameters
    ----------
    tree
        Joint datasets. Groups of flux points are drawn as they are, maps and spectra by the flux points of `points`.
    models
        Models, or the result of a fit: the spectrum of the source, with its error band.
    fig
        Figure to draw in, by default a new one.
    source
        Name of the source, where the models hold several.
    points
        Flux points of maps and spectra by the name of the group, or the energy edges of bands in which they are
        computed here; True computes those of all groups, in five bands a decade.
    sed_type
        ``"e2dnde"`` or ``"dnde"``.
    residuals
        Draw below how many errors each point lies above the model.

    Returns
    -------
    spectrum, residuals : matplotlib.axes.Axes
        The second is None without models, or without residuals.

    Raises
    ------
    ValueError
        If nothing is left to draw, a name is not that of a group, models are needed to compute points, or several
        sources are there and none is named.

    Examples
    --------
    >>> import xgamma as xg
    >>> axis = xg.energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> hawc = xr.Dataset({"dnde": ("energy", [2e-13, 2e-15])}, axis.coords, attrs={"sed_type": "dnde"})
    >>> hawc["dnde_err"] = 0.2 * hawc.dnde
    >>> hawc.dnde.attrs["units"] = hawc.dnde_err.attrs["units"] = "TeV-1 s-1 cm-2"
    >>> model = xg.SkyModel(xg.PowerLawSpectralModel(index=2), name="crab")
    >>> above, below = plot_joint(xr.DataTree.from_dict({"HAWC": hawc}), model)
    >>> [t.get_text() for t in above.get_legend().get_texts()], below.get_ylabel()
    (['crab', 'HAWC'], 'Residual [σ]')
    >>> plt.close(above.figure)
    """
    if sed_type not in KINDS:
        msg = f"sed_type={sed_type!r} must be one of {KINDS}: the model of all instruments has no common bands"
        raise ValueError(msg)
    named = named_cubes(tree)
    chosen = None if models is None else as_models(getattr(models, "models", models))
    model = None if chosen is None else _source(chosen, source)
    measured = _measured(named, points, chosen, model)
    fig = plt.figure(figsize=(7.6, 6.4 if model and residuals else 5.0), layout="constrained") if fig is None else fig
    below: Axes | None = None
    if model is not None and residuals:
        ax, below = fig.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    else:
        ax = fig.add_subplot()
    low, high = _reach(measured)
    if model is not None:
        line = {"color": MODEL, "linewidth": 1.4, "zorder": 1.5, "label": model.name or "Model"}
        plot_spectral_model(model, [low, high] * u.TeV, ax, sed_type=sed_type, **line)  # type: ignore[arg-type]
    top = _draw(ax, measured, sed_type)
    _limits(ax, top, low, high)
    if below is not None and model is not None:
        _residuals(below, measured, model)
        ax.set_xlabel("")
    return ax, below


def _source(models: Models, name: str | None) -> SkyModel:
    sources = [m for m in models if isinstance(m, SkyModel) and name in (None, m.name)]
    if len(sources) != 1:
        names = [m.name for m in models if isinstance(m, SkyModel)]
        msg = f"source={name!r} must name one of the sources {names}"
        raise ValueError(msg)
    return sources[0]


def _measured(
    named: Mapping[str, xr.Dataset], points: Mapping[str, Any] | bool, models: Models | None, source: SkyModel | None
) -> dict[str, xr.Dataset]:
    """Flux points of each group, in the order of the tree."""
    own = {name for name, data in named.items() if is_points(data)}
    if isinstance(points, bool):
        wanted: dict[str, Any] = dict.fromkeys(n for n in named if n not in own) if points else {}
    else:
        wanted = dict(points)
    unknown = sorted(set(wanted) - set(named))
    if unknown:
        msg = f"points={unknown} are no groups of the tree: {list(named)}"
        raise ValueError(msg)
    result: dict[str, xr.Dataset] = {}
    for name, data in named.items():
        if name in wanted and is_points(wanted[name]):
            result[name] = wanted[name]
        elif name in wanted and name not in own:
            if models is None or source is None:
                msg = f"flux points of {name!r} are those of a source: give models, or the points themselves"
                raise ValueError(msg)
            edges = _bands(data) if wanted[name] is None or wanted[name] is True else wanted[name]
            result[name] = flux_points(
                {name: data}, models, source.name, energy_edges=edges, selection=["errn-errp", "ul"]
            )
        elif name in own:
            result[name] = data
    if not result:
        msg = f"none of {list(named)} are flux points: give points=True, or points={{{next(iter(named))!r}: ...}}"
        raise ValueError(msg)
    return {name: data.compute() for name, data in result.items()}


def _bands(cube: xr.Dataset) -> u.Quantity:
    """Edges of a cube's bins, about five of them in a decade, where some bin takes part."""
    edges = bin_edges(cube, "energy")
    used = np.ones(edges.size - 1, bool)
    for name in ("mask_safe", "mask_fit"):
        if name in cube:
            other = [d for d in cube[name].dims if d != "energy"]
            used &= np.asarray((cube[name] != 0).any(other).values)
    places = np.flatnonzero(used)
    if not places.size:
        return edges * u.TeV
    inside = edges[places[0] : places[-1] + 2]
    step = max(round((inside.size - 1) / max(np.log10(inside[-1] / inside[0]) * PER_DECADE, 1.0)), 1)
    chosen = inside[::step]
    return (chosen if chosen[-1] == inside[-1] else np.append(chosen, inside[-1])) * u.TeV


def _draw(ax: Axes, measured: Mapping[str, xr.Dataset], kind: str) -> FloatArray:
    """Draw all points, and return their values and limits."""
    values = []
    for i, (name, data) in enumerate(measured.items()):
        before, first = len(ax.lines), len(ax.containers)
        plot_sed(data, ax, sed_type=kind, label=name, color=LINES[i % len(LINES)])
        for container in ax.containers[first:]:
            if isinstance(container, ErrorbarContainer) and container.lines[0].get_marker() == "o":
                container.lines[0].set_marker(MARKERS[i % len(MARKERS)])
        values += [np.asarray(line.get_ydata(), float) for line in ax.lines[before:]]
    return np.concatenate(values) if values else np.zeros(0)


def _reach(measured: Mapping[str, xr.Dataset]) -> tuple[float, float]:
    """Energies of the points, with some room."""
    low = min(float(d["energy_min"].min()) for d in measured.values())
    high = max(float(d["energy_max"].max()) for d in measured.values())
    room = (high / low) ** 0.03
    return low / room, high * room


def _limits(ax: Axes, values: FloatArray, low: float, high: float) -> None:
    """Show the points: the band of a model may reach far out where there are none."""
    ax.set_xlim(low, high)
    known = values[np.isfinite(values) & (values > 0)]
    lines = [np.asarray(line.get_ydata(), float) for line in ax.lines[:1]]
    curve = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in lines]) if lines else np.zeros(0)
    if known.size:
        bottom = max(min(known.min(), curve.min(initial=np.inf)), 0.05 * known.min())
        ax.set_ylim(0.35 * bottom, 3.0 * max(known.max(), curve.max(initial=0.0)))


def _residuals(ax: Axes, measured: Mapping[str, xr.Dataset], model: SkyModel) -> None:
    reach = LEAST
    for i, data in enumerate(measured.values()):
        shown = to_sed_type(data, "dnde")
        energy, low, high = (shown[n].values.astype(float) for n in ("energy", "energy_min", "energy_max"))
        value, down, up, is_limit = _values(shown)
        predicted = model.spectral(energy * u.TeV).to_value("TeV-1 s-1 cm-2")
        # the error on the side on which the model lies
        error = np.where(value > predicted, down, up)
        with np.errstate(divide="ignore", invalid="ignore"):
            away = (value - predicted) / error
        good = np.isfinite(away) & ~is_limit & (error > 0)
        if good.any():
            reach = max(reach, float(np.abs(away[good]).max()) + 1.3)
        style: dict[str, Any] = {"color": LINES[i % len(LINES)], "linestyle": "none", "markersize": 4.0}
        ax.errorbar(
            energy[good], away[good], yerr=1.0, xerr=np.array([energy - low, high - energy])[:, good], linewidth=1.2,
            marker=MARKERS[i % len(MARKERS)], **style,
        )  # fmt: skip
    ax.axhline(0.0, color=MODEL, linewidth=1.2, zorder=1)
    ax.axhspan(-1.0, 1.0, color="0.93", zorder=0)
    ax.set_ylim(-min(reach, MOST), min(reach, MOST))
    ax.set_xlabel(axis_label("Energy", "TeV"))
    ax.set_ylabel("Residual [σ]")
    ax.grid(visible=True, axis="y", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def _values(points: xr.Dataset) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """Differential fluxes, errors to both sides, and which are limits."""
    size = points["energy"].size

    def numbers(name: str) -> FloatArray:
        if name not in points:
            return np.full(size, np.nan)
        array = points[name].squeeze([d for d in points[name].dims if d != "energy"])
        return np.asarray(array.values, float) * u.Unit(array.attrs.get("units", "")).to("TeV-1 s-1 cm-2")

    value, error, down, up = (numbers(n) for n in ("dnde", "dnde_err", "dnde_errn", "dnde_errp"))
    is_limit = ~np.isfinite(value)
    if "is_ul" in points:
        flags = points["is_ul"].squeeze([d for d in points["is_ul"].dims if d != "energy"])
        is_limit = is_limit | flags.values.astype(bool)
    return value, np.where(np.isfinite(down), down, error), np.where(np.isfinite(up), up, error), is_limit
