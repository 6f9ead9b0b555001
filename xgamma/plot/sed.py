"""Spectral energy distributions: flux points, limits, likelihood profiles, models with their bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.estimators.sed import to_sed_type
from xgamma.models.models import Models
from xgamma.models.sky_model import SkyModel
from xgamma.plot.style import LINES, axis_label

if TYPE_CHECKING:
    from xgamma.models.spectral_model import SpectralModel

__all__ = ["plot_sed", "plot_spectral_model"]

CurveType = Literal["dnde", "e2dnde"]

#: Units and names on the vertical axis.
LABELS = {
    "dnde": ("cm-2 s-1 TeV-1", "dN/dE"),
    "e2dnde": ("erg cm-2 s-1", r"$E^2$ dN/dE"),
    "flux": ("cm-2 s-1", "Flux"),
    "eflux": ("erg cm-2 s-1", "Energy flux"),
    "norm": ("", "Norm"),
}


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
        lower = np.maximum(y - dy, np.min(y[y > 0], initial=np.inf) * 1e-3) if np.any(y > 0) else y - dy
        ax.fill_between(energy, lower, y + dy, color=line.get_color(), alpha=0.25, linewidth=0)
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
        Spectral model, source or models to draw with their error bands over the range of the points.
    source
        Name of the one of several models.
    profiles
        Draw the likelihood profile of each point: stat difference as shades, up to 4 sigma.
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
    extra = [str(d) for d in points["energy"].dims if d != "energy"] + [
        str(d) for d in points.sizes if d not in ("energy", "dataset", "norm_scan", "obs")
    ]
    if extra:
        msg = f"flux points with dims {extra} are several spectra; take one of them: points.isel({extra[0]}=0)"
        raise ValueError(msg)
    shown = to_sed_type(points, "likelihood" if sed_type == "norm" else sed_type)
    if sed_type not in shown:
        msg = f"the flux points hold no {sed_type!r}; they hold {sorted(map(str, shown.data_vars))}"
        raise ValueError(msg)
    ax = _new_axes() if ax is None else ax
    if profiles:
        _draw_profiles(ax, shown, points, sed_type)
    _draw_points(ax, shown, sed_type, label, color)
    if models is not None:
        bounds = float(points["energy_min"].min()), float(points["energy_max"].max())
        for i, (name, model) in enumerate(_spectra(models, source).items()):
            line = LINES[0] if i == 0 else LINES[(i + 1) % len(LINES)]
            plot_spectral_model(
                model, bounds, ax, sed_type="dnde" if sed_type == "dnde" else "e2dnde", color=line, label=name
            )
    _finish(ax, sed_type)
    if label or models is not None:
        ax.legend(fontsize="small")
    return ax


def _bounds(bounds: Any) -> tuple[float, float]:
    values = [float(v) for v in np.atleast_1d([to_value(b, "TeV", "energy_bounds") for b in bounds])]
    if len(values) != 2 or not 0 < values[0] < values[1]:
        msg = f"energy_bounds={bounds!r} must be two ascending positive energies"
        raise ValueError(msg)
    return values[0], values[1]


def _curve(
    energy: NDArray[np.float64], value: u.Quantity, sigma: u.Quantity, sed_type: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Line and half width of the band in the unit of the axis."""
    if value.unit.is_equivalent(u.dimensionless_unscaled):
        return value.to_value(""), sigma.to_value(""), "norm"
    unit = u.Unit(LABELS[sed_type][0])
    factor = energy**2 * u.TeV**2 if sed_type == "e2dnde" else np.ones_like(energy)
    if value.unit.is_equivalent("TeV-1 s-1 cm-2 sr-1"):
        unit = unit / u.sr
    return (value * factor).to_value(unit), (sigma * factor).to_value(unit), sed_type


def _spectra(models: Any, source: str | None) -> dict[str, Any]:
    """Spectral models by the names they get in the legend."""
    if not isinstance(models, (SkyModel, Models, list, tuple)):
        return {"": models} if source is None else {source: models}
    chosen = Models([models] if isinstance(models, SkyModel) else models)
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
    unit = LABELS[kind][0]

    def numbers(name: str) -> NDArray[np.float64]:
        if name not in points:
            return np.full(points.sizes["energy"], np.nan)
        array = points[name].transpose("energy", ...)
        factor = u.Unit(array.attrs.get("units", "")).to(unit)
        return np.asarray(array.values, float).reshape(points.sizes["energy"], -1)[:, 0] * factor

    energy, low, high = (points[n].values for n in ("energy", "energy_min", "energy_max"))
    value, error, limit = numbers(kind), numbers(f"{kind}_err"), numbers(f"{kind}_ul")
    down, up = (numbers(f"{kind}_{side}") for side in ("errn", "errp"))
    down, up = np.where(np.isfinite(down), down, error), np.where(np.isfinite(up), up, error)
    is_limit = np.asarray(points["is_ul"].values, bool) if "is_ul" in points else ~np.isfinite(value)
    is_limit = (is_limit | ~np.isfinite(value)) & np.isfinite(limit)
    shown = np.isfinite(value) & ~is_limit
    if kind != "norm":
        # on a logarithmic axis an error bar may not reach zero
        down = np.minimum(np.nan_to_num(down), 0.999 * np.abs(value))
    x_error = np.array([energy - low, high - energy])
    style = {"color": color, "linestyle": "none", "capsize": 0, "linewidth": 1.3}
    ax.errorbar(
        energy[shown], value[shown], yerr=np.nan_to_num([down[shown], up[shown]]), xerr=x_error[:, shown],
        marker="o", markersize=4.5, label=label, **style,
    )  # fmt: skip
    if is_limit.any():
        text = None if label is None or shown.any() else label
        length = 0.4 * limit[is_limit] if kind != "norm" else 0.15 * np.nanmax(np.abs(limit))
        ax.errorbar(
            energy[is_limit], limit[is_limit], yerr=length, uplims=True, xerr=x_error[:, is_limit], label=text,
            **style | {"capsize": 2.5},
        )  # fmt: skip


def _draw_profiles(ax: Axes, shown: xr.Dataset, points: xr.Dataset, kind: str) -> None:
    """Shade the stat difference of each bin."""
    if "stat_scan" not in points or "norm_scan" not in points:
        msg = "the flux points hold no likelihood profiles: compute them with selection='all' or ['scan']"
        raise ValueError(msg)
    reference = np.ones(points.sizes["energy"])
    if kind != "norm":
        array = shown[f"ref_{kind}"] if f"ref_{kind}" in shown else points[f"ref_{kind}"]
        reference = array.values * u.Unit(array.attrs.get("units", "")).to(LABELS[kind][0])
    scan, norm = points["stat_scan"].transpose("energy", "norm_scan"), points["norm_scan"]
    norms = np.broadcast_to(norm.values if norm.ndim == 1 else norm.transpose("energy", "norm_scan").values, scan.shape)
    limits = ax.get_ylim() if ax.has_data() else None
    best = np.fmin(scan.min("norm_scan").values, points["stat"].values if "stat" in points else np.inf)
    image = None
    for i in range(points.sizes["energy"]):
        edges = points["energy_min"].values[i], points["energy_max"].values[i]
        fine = np.linspace(norms[i].min(), norms[i].max(), 200)
        # the root of a likelihood difference is close to linear in the norm, and can be interpolated
        root = np.sqrt(np.clip(scan.values[i] - best[i], 0.0, None))
        signed = np.where(norms[i] < norms[i][np.argmin(root)], -root, root)
        delta = np.interp(fine, norms[i], signed) ** 2
        y = fine * reference[i]
        values = np.ma.masked_greater(delta, 16.0)[:, None]
        step = 0.5 * np.diff(y, prepend=y[0], append=y[-1])
        border = np.append(y - step[:-1], y[-1])
        if kind != "norm":
            border, values = border[border > 0], values[-(np.count_nonzero(border > 0) - 1) :]
        if values.size and border.size > 1:
            image = ax.pcolormesh(edges, border, values, cmap="Blues_r", vmin=0, vmax=16, zorder=0.5, rasterized=True)
    if image is not None:
        ax.figure.colorbar(image, ax=ax, label=r"$\Delta$ stat", pad=0.01)
    if limits is not None:
        ax.set_ylim(limits)
