"""Spectral energy distributions: flux points, limits, likelihood profiles, models with their bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from xgamma.coords.units import to_value
from xgamma.estimators.sed import reference_fluxes, to_sed_type
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import SkyModel
from xgamma.plot.style import LINES, axis_label, color_bar

if TYPE_CHECKING:
    from xgamma.models.spectral_model import SpectralModel

__all__ = ["plot_sed", "plot_spectral_model"]

FloatArray = NDArray[np.float64]
CurveType = Literal["dnde", "e2dnde"]

#: Units and names on the vertical axis.
LABELS = {
    "dnde": ("cm-2 s-1 TeV-1", "dN/dE"),
    "e2dnde": ("erg cm-2 s-1", r"$E^2$ dN/dE"),
    "flux": ("cm-2 s-1", "Flux"),
    "eflux": ("erg cm-2 s-1", "Energy flux"),
    "norm": ("", "Norm"),
}

#: Colours of models beside points.
MODEL_COLORS = (LINES[0], *LINES[2:])
#: Rise of the statistic up to which profiles are shaded: four standard deviations.
DEEPEST = 16.0
#: Steps of a profile along the flux.
STEPS = 200


def plot_spectral_model(
    model: SpectralModel | SkyModel,
    energy_bounds: Any = ("0.1 TeV", "100 TeV"),
    ax: Axes | None = None,
    *,
    sed_type: CurveType = "e2dnde",
    error: bool = True,
    n_points: int = 200,
    **kwargs: Any,
) -> Axes:
    r"""Draw a spectral model as a line, with the band of its 1 sigma error.

    Parameters
    ----------
    model
        Spectral model, or a source that has one.
    energy_bounds
        Lowest and highest energy.
    ax
        Axes to draw on, by default a new figure.
    sed_type
        ``"dnde"`` or ``"e2dnde"``; models without unit are drawn as they are.
    error
        Draw the band, where the parameters have errors.
    n_points
        Number of energies of the line.
    **kwargs
        Passed to ``Axes.plot``: ``label``, ``color``, ``linestyle``, ...

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the type is not known, or the bounds are not two ascending energies.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> ax = plot_spectral_model(PowerLawSpectralModel(index=2.6), ("1 TeV", "10 TeV"), label="a power law")
    >>> ax.get_xlabel()
    'Energy [$\\mathrm{TeV}$]'
    >>> plt.close(ax.figure)
    """
    if sed_type not in get_args(CurveType):
        msg = f"sed_type={sed_type!r} of a model must be one of {get_args(CurveType)}"
        raise ValueError(msg)
    spectral = model.spectral if isinstance(model, SkyModel) else model
    low, high = _bounds(energy_bounds)
    energy = np.geomspace(low, high, n_points)
    value, sigma = spectral.evaluate_error(energy * u.TeV)
    y, dy, kind = _curve(energy, value, sigma, sed_type)
    ax = _new_axes() if ax is None else ax
    (line,) = ax.plot(energy, y, **{"linewidth": 1.8} | kwargs)
    if error and np.any(dy > 0):
        _draw_band(ax, energy, y, dy, line.get_color(), logarithmic=kind != "norm")
    _finish(ax, kind)
    return ax


def plot_sed(
    points: xr.Dataset,
    ax: Axes | None = None,
    *,
    sed_type: str = "e2dnde",
    models: Any = None,
    source: str | None = None,
    profiles: bool = False,
    label: str | None = None,
    color: str = LINES[1],
) -> Axes:
    """Draw flux points: values with errors, arrows where there are only upper limits, and the model they come from.

    Parameters
    ----------
    points
        Flux points, dims (energy,).
    ax
        Axes to draw on, by default a new figure.
    sed_type
        ``"dnde"``, ``"e2dnde"``, ``"flux"``, ``"eflux"`` or ``"norm"``.
    models
        Spectral model, source, models or the result of a fit, to draw over the range of the points: with error bands,
        or for ``"flux"`` and ``"eflux"`` the sum in each band.
    source
        Name of the one of several models.
    profiles
        Draw the likelihood profile of each point: how far the statistic rises, as shades, up to 4 sigma.
    label
        Text for the legend.
    color
        Colour of the points.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the points have other dims than energy, no value of the type, or no profile where one is asked for.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> points = xr.Dataset(coords=energy_axis("1 TeV", "10 TeV", nbin=2).coords, attrs={"sed_type": "dnde"})
    >>> points["dnde"] = "energy", [1e-12, 1e-13], {"units": "TeV-1 s-1 cm-2"}
    >>> points["dnde_err"] = "energy", [1e-13, 3e-14], {"units": "TeV-1 s-1 cm-2"}
    >>> plt.close(plot_sed(points, sed_type="dnde").figure)
    """
    if sed_type not in LABELS:
        msg = f"sed_type={sed_type!r} must be one of {list(LABELS)}"
        raise ValueError(msg)
    shown = to_sed_type(points, "likelihood" if sed_type == "norm" else sed_type)
    if sed_type not in shown and f"{sed_type}_ul" in shown:
        # limits alone, as tables of other instruments bring them
        shown = shown.assign({sed_type: xr.full_like(shown[f"{sed_type}_ul"], np.nan)})
    if sed_type not in shown:
        msg = f"the flux points hold no {sed_type!r}; they hold {sorted(map(str, shown.data_vars))}"
        raise ValueError(msg)
    shown = shown.squeeze([d for d in shown[sed_type].dims if d != "energy" and shown.sizes[d] == 1])
    extra = [str(d) for d in shown[sed_type].dims if d != "energy"]
    if extra:
        msg = f"flux points with dims {extra} are several spectra; take one of them: points.isel({extra[0]}=0)"
        raise ValueError(msg)
    if models is not None and sed_type == "norm":
        msg = "norms are relative to their model, which is 1 everywhere; give models= with another sed_type"
        raise ValueError(msg)
    shown = shown.compute()
    ax = _new_axes() if ax is None else ax
    if profiles:
        _draw_profiles(ax, shown, sed_type)
    _draw_points(ax, shown, sed_type, label, color)
    if models is not None:
        _draw_models(ax, shown, sed_type, _spectra(models, source))
    _finish(ax, sed_type)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="small")
    return ax


def _bounds(bounds: Any) -> tuple[float, float]:
    values = [float(v) for v in np.atleast_1d([to_value(b, "TeV", "energy_bounds") for b in bounds])]
    if len(values) != 2 or not 0 < values[0] < values[1]:
        msg = f"energy_bounds={bounds!r} must be two ascending positive energies"
        raise ValueError(msg)
    return values[0], values[1]


def _draw_models(ax: Axes, points: xr.Dataset, kind: str, spectra: dict[str, Any]) -> None:
    """Draw curves, or the sums over the bands of the points."""
    low, high = points["energy_min"].values, points["energy_max"].values
    for i, (name, model) in enumerate(spectra.items()):
        style: dict[str, Any] = {"color": MODEL_COLORS[i % len(MODEL_COLORS)], "label": name or None}
        if kind in get_args(CurveType):
            curve = cast("CurveType", kind)
            plot_spectral_model(model, [low.min(), high.max()] * u.TeV, ax, sed_type=curve, **style)
            continue
        steps = _numbers(reference_fluxes(points, model), f"ref_{kind}", kind)
        for label, a, b, y in zip([style["label"], *[None] * (len(low) - 1)], low, high, steps, strict=True):
            ax.plot([a, b], [y, y], color=style["color"], linewidth=1.8, label=label)


def _draw_band(ax: Axes, energy: FloatArray, y: FloatArray, dy: FloatArray, color: Any, *, logarithmic: bool) -> None:
    """Shade one standard deviation; where a logarithm has no lower end, the band reaches out of the picture."""
    lower, upper = y - dy, y + dy
    good = np.isfinite(lower) & np.isfinite(upper)
    if logarithmic:
        smallest = np.min(y[good & (y > 0)], initial=np.inf)
        lower = np.maximum(lower, 1e-6 * smallest) if np.isfinite(smallest) else lower
    outline = [*zip(energy[good], lower[good], strict=True), *zip(energy[good][::-1], upper[good][::-1], strict=True)]
    band = PolyCollection([outline], facecolor=color, alpha=0.25, linewidth=0)
    # the scale follows the line and the upper side: a lower side at zero would take the scale along
    ax.add_collection(band, autolim=False)
    ax.update_datalim(np.column_stack([energy[good], upper[good]]))
    ax.autoscale_view()


def _curve(
    energy: FloatArray, value: u.Quantity, sigma: u.Quantity, sed_type: str
) -> tuple[FloatArray, FloatArray, str]:
    """Line and half width of the band in the unit of the axis."""
    if value.unit.is_equivalent(u.dimensionless_unscaled):
        return value.to_value(""), sigma.to_value(""), "norm"
    unit = u.Unit(LABELS[sed_type][0])
    factor = energy**2 * u.TeV**2 if sed_type == "e2dnde" else np.ones_like(energy)
    return (value * factor).to_value(unit), (sigma * factor).to_value(unit), sed_type


def _spectra(models: Any, source: str | None) -> dict[str, Any]:
    """Spectral models by the names they get in the legend."""
    models = getattr(models, "models", models)  # of the result of a fit
    if not isinstance(models, (SkyModel, Models, list, tuple)):
        return {"": models} if source is None else {source: models}
    chosen = as_models(models)
    found = {m.name: m.spectral for m in chosen if isinstance(m, SkyModel) and source in (None, m.name)}
    if not found:
        msg = f"there is no source {source!r} among the models {chosen.names}"
        raise ValueError(msg)
    return found


def _new_axes() -> Axes:
    return plt.figure(figsize=(7.0, 4.8), layout="constrained").add_subplot()


def _finish(ax: Axes, kind: str) -> None:
    units, name = LABELS[kind]
    ax.set_xscale("log")
    ax.set_yscale("linear" if kind == "norm" else "log")
    ax.set_xlabel(axis_label("Energy", "TeV"))
    ax.set_ylabel(axis_label(name, units))
    ax.grid(visible=True, which="major", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def _draw_points(ax: Axes, points: xr.Dataset, kind: str, label: str | None, color: str) -> None:
    energy, low, high = (points[n].values for n in ("energy", "energy_min", "energy_max"))
    value, error, limit = (_numbers(points, name, kind) for name in (kind, f"{kind}_err", f"{kind}_ul"))
    down, up = (_numbers(points, f"{kind}_{side}", kind) for side in ("errn", "errp"))
    down, up = np.where(np.isfinite(down), down, error), np.where(np.isfinite(up), up, error)
    is_limit = np.asarray(points["is_ul"].values, bool) if "is_ul" in points else ~np.isfinite(value)
    is_limit = (is_limit | ~np.isfinite(value)) & np.isfinite(limit)
    shown = np.isfinite(value) & ~is_limit
    if kind != "norm":
        # on a logarithmic axis an error bar may not reach zero
        down = np.minimum(np.nan_to_num(down), 0.999 * np.abs(value))
    x_error = np.array([energy - low, high - energy])
    style: dict[str, Any] = {"color": color, "linestyle": "none", "capsize": 0, "linewidth": 1.3}
    if shown.any():
        ax.errorbar(
            energy[shown], value[shown], yerr=np.nan_to_num([down[shown], up[shown]]), xerr=x_error[:, shown],
            marker="o", markersize=4.5, label=label, **style,
        )  # fmt: skip
    if is_limit.any():
        text = None if label is None or shown.any() else label
        # a quarter of a decade down, or a tenth of the picture
        length = 0.45 * limit[is_limit] if kind != "norm" else 0.1 * np.nanmax(np.abs(np.append(limit, value)))
        ax.errorbar(
            energy[is_limit], limit[is_limit], yerr=length, uplims=True, xerr=x_error[:, is_limit], label=text,
            **style | {"capsize": 2.5},
        )  # fmt: skip


def _numbers(points: Any, name: str, kind: str) -> FloatArray:
    """Values in the unit of the axis, NaN where there are none."""
    if name not in points:
        return np.full(points["energy"].size, np.nan)
    array = points[name]
    return np.asarray(array.values, float) * u.Unit(array.attrs.get("units", "")).to(LABELS[kind][0])


def _draw_profiles(ax: Axes, points: xr.Dataset, kind: str) -> None:
    """Shade how far the statistic lies above its minimum, bin by bin."""
    if "stat_scan" not in points or "norm_scan" not in points.variables:
        msg = "the flux points hold no likelihood profiles: compute them with selection='all' or ['scan']"
        raise ValueError(msg)
    reference = np.ones(points.sizes["energy"]) if kind == "norm" else _numbers(points, f"ref_{kind}", kind)
    if not np.isfinite(reference).all():
        msg = f"profiles are over norms, and the flux points hold no ref_{kind} that turns norms into {kind}"
        raise ValueError(msg)
    scans = points["stat_scan"].transpose("energy", "scan").values
    norms = np.broadcast_to(points["norm_scan"].transpose(..., "scan").values, scans.shape)
    best = _numbers(points, "stat", "norm")
    at = _numbers(points, kind, kind) / reference
    # not darker than half, so that points and curves are seen on it
    shades = ListedColormap(plt.get_cmap("Greys")(np.linspace(0.6, 0.0, 256)), name="profile")
    image = None
    for i, energies in enumerate(zip(points["energy_min"].values, points["energy_max"].values, strict=True)):
        edges, rise = _profile(norms[i], scans[i], at[i], best[i], logarithmic=kind != "norm")
        if edges.size > 1:
            shown = np.ma.masked_greater(rise, DEEPEST)[:, None]
            image = ax.pcolormesh(
                energies, edges * reference[i], shown, cmap=shades, vmin=0, vmax=DEEPEST, zorder=0.7, rasterized=True
            )
    if image is not None:
        color_bar(image, ax, r"$\Delta$ stat")


def _profile(
    norms: FloatArray, scan: FloatArray, at: float, best: float, *, logarithmic: bool
) -> tuple[FloatArray, FloatArray]:
    """Edges of steps in norm, and the rise of the statistic in them, from a scan of a few norms."""
    good = np.isfinite(scan) & (norms > 0 if logarithmic else True)
    norms, scan = norms[good], scan[good]
    if norms.size < 2:
        return np.empty(0), np.empty(0)
    if not np.isfinite([at, best]).all():
        at, best = norms[np.argmin(scan)], scan.min()
    # the root of the rise is close to linear in the norm, with the sign of the distance from the minimum
    root = np.sqrt(np.clip(scan - min(best, scan.min()), 0.0, None)) * np.sign(norms - at)
    nodes, first = np.unique(np.append(norms, at), return_index=True)
    roots = np.append(root, 0.0)[first]
    edges = (np.geomspace if logarithmic else np.linspace)(norms.min(), norms.max(), STEPS + 1)
    middle = np.sqrt(edges[:-1] * edges[1:]) if logarithmic else 0.5 * (edges[:-1] + edges[1:])
    return edges, PchipInterpolator(nodes, roots)(middle) ** 2
