"""Instrument responses: curves over energy, images over energy and offset, the field of view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.irf.aeff import evaluate_aeff
from xgamma.irf.axes import TableAxis, table_axis
from xgamma.irf.background import evaluate_background
from xgamma.irf.edisp import bias, evaluate_edisp, evaluate_edisp_kernel, resolution
from xgamma.irf.psf import containment, containment_radius, evaluate_psf
from xgamma.plot.response_axes import (
    CURVES,
    check_kind,
    curves,
    decades,
    energy_scale,
    family_colors,
    given_offsets,
    image,
    offset_labels,
    one_offset,
    plain_axes,
    some_offsets,
)
from xgamma.plot.style import LINES, axis_label, color_bar, color_scale, unit_label

__all__ = ["peek_irf", "plot_aeff", "plot_background", "plot_edisp", "plot_psf", "plot_rad_max"]

FloatArray = NDArray[np.float64]
Response = xr.DataArray | xr.Dataset

#: Largest number of bins of a matrix along each side.
MATRIX_BINS = 60
#: Directions over which a background that is not round is averaged.
DIRECTIONS = np.arange(0.0, 360.0, 10.0)


def plot_aeff(
    aeff: xr.DataArray, ax: Axes | None = None, *, kind: Literal["energy", "image"] = "energy", offsets: Any = None
) -> Axes:
    r"""Show the effective area.

    Parameters
    ----------
    aeff
        Effective area, dims (energy_true, offset), cm2.
    ax
        Axes to draw on, by default a new figure.
    kind
        ``"energy"``: a curve over energy for each offset; ``"image"``: over energy and offset.
    offsets
        Angles of the curves, by default up to five of the table.

    Returns
    -------
    matplotlib.axes.Axes
        Areas are shown in m2.

    Examples
    --------
    >>> from xgamma.irf.aeff import from_parametrization
    >>> ax = plot_aeff(from_parametrization("CTAO"), offsets="0.5 deg")
    >>> ax.get_xlabel()
    'True energy [$\\mathrm{TeV}$]'
    >>> plt.close(ax.figure)
    """
    check_kind(kind, ("energy", "image"))
    ax = plain_axes(ax)
    energy, offset = table_axis(aeff, "energy_true"), table_axis(aeff, "offset")
    label = axis_label("Effective area", "m2")
    if kind == "image":
        values = 1e-4 * evaluate_aeff(aeff, energy.center, offset.center)
        return image(ax, energy, offset, values, label, stretch="log")
    angles = some_offsets(offset, offsets)
    curves(ax, energy.center, 1e-4 * evaluate_aeff(aeff, energy.center, angles), offset_labels(angles))
    return energy_scale(ax, "True energy", energy, ylabel=label, logy=True)


def plot_edisp(
    edisp: xr.DataArray,
    ax: Axes | None = None,
    *,
    kind: Literal["bias", "migra", "matrix"] = "bias",
    offset: Any = None,
    offsets: Any = None,
) -> Axes:
    r"""Show the energy dispersion.

    Parameters
    ----------
    edisp
        Density per migration, dims (energy_true, migra, offset).
    ax
        Axes to draw on, by default a new figure.
    kind
        ``"bias"``: relative shift (lines) and standard deviation (dashed) of the reconstructed energy over true
        energy; ``"migra"``: the density at one offset; ``"matrix"``: the probability per bin of reconstructed
        energy at one offset, with bins of the true energy (60 at most). The colours of both images end at
        the 99.5th percentile.
    offset
        Angle of the image, by default that of the table nearest to 0.5 deg.
    offsets
        Angles of the curves, by default up to five of the table.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from xgamma.irf.edisp import from_gauss
    >>> ax = plot_edisp(from_gauss(sigma=0.2), kind="matrix")
    >>> ax.get_ylabel()
    'Energy [$\\mathrm{TeV}$]'
    >>> plt.close(ax.figure)
    """
    check_kind(kind, ("bias", "migra", "matrix"))
    ax = plain_axes(ax)
    energy, migra, theta = (table_axis(edisp, n) for n in ("energy_true", "migra", "offset"))
    if kind == "bias":
        return _plot_bias(edisp, ax, energy, migra, some_offsets(theta, offsets))
    where = one_offset(theta, offset)
    ax.set_title(f"offset {where:.3g}°")
    if kind == "migra":
        values = evaluate_edisp(edisp, energy.center, migra.center, where)
        total = values @ np.diff(migra.edges)
        density = np.divide(values, total[:, np.newaxis], out=np.zeros_like(values), where=total[:, np.newaxis] > 0)
        return image(ax, energy, migra, _without_spikes(density), "Density per migration", stretch="sqrt")
    bins = _coarse(energy)
    kernel = evaluate_edisp_kernel(edisp, where, bins.center, bins.edges)
    image(ax, bins, bins._replace(name="energy"), _without_spikes(kernel), "Probability per bin", stretch="sqrt")
    ax.plot(energy.edges[[0, -1]], energy.edges[[0, -1]], color="white", linestyle=":", linewidth=1.0)
    return ax


def _without_spikes(values: FloatArray) -> FloatArray:
    """Cut the few bins that a single simulated event fills: they would set the scale of all others."""
    positive = values[values > 0]
    return np.minimum(values, np.percentile(positive, 99.5)) if positive.size else values


def _coarse(axis: TableAxis) -> TableAxis:
    """At most `MATRIX_BINS` bins: more than that are finer than a screen and than any resolution."""
    if len(axis.center) <= MATRIX_BINS:
        return axis
    edges = np.geomspace(axis.edges[0], axis.edges[-1], MATRIX_BINS + 1)
    return axis._replace(lo=edges[:-1], hi=edges[1:], center=np.sqrt(edges[:-1] * edges[1:]))


def _plot_bias(edisp: xr.DataArray, ax: Axes, energy: TableAxis, migra: TableAxis, angles: FloatArray) -> Axes:
    density = evaluate_edisp(edisp, energy.center, migra.center, angles)
    content = density * np.diff(migra.edges)[:, np.newaxis]
    # of a ratio the true value is 1
    ones = np.ones(len(energy.center))
    curves(ax, energy.center, bias(content, ones, migra.center), offset_labels(angles))
    for i, color in zip(range(len(angles)), family_colors(len(angles)), strict=True):
        width = resolution(content[..., i], ones, migra.center)
        ax.plot(energy.center, width, color=color, linestyle="--", linewidth=1.2)
    ax.axhline(0.0, color="0.5", linewidth=0.8)
    energy_scale(ax, "True energy", energy, ylabel="Bias (lines), resolution (dashed)")
    ax.set_ylim(*np.clip(ax.get_ylim(), -1.0, 2.0))
    return ax


def plot_psf(
    psf: Response,
    ax: Axes | None = None,
    *,
    kind: Literal["energy", "image", "profile"] = "energy",
    fraction: float | Sequence[float] = (0.68, 0.95),
    offsets: Any = None,
    offset: Any = None,
    energies: Any = None,
) -> Axes:
    """Show the point spread function.

    Parameters
    ----------
    psf
        Table (energy_true, offset, rad) in sr-1, or Dataset of parameters (three Gaussians, King).
    ax
        Axes to draw on, by default a new figure.
    kind
        ``"energy"``: containment radius over energy for each offset; ``"image"``: over energy and offset;
        ``"profile"``: fraction of the photons within a separation, at one offset.
    fraction
        Containment; for an image the first.
    offsets
        Angles of the curves over energy, by default up to five of the table.
    offset
        Angle of the profiles, by default that of the table nearest to 0.5 deg.
    energies
        True energies of the profiles, by default whole decades inside the table.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from xgamma.irf.psf import from_gauss
    >>> ax = plot_psf(from_gauss("0.1 deg"), fraction=0.68, offsets="0.5 deg")
    >>> float(ax.lines[0].get_ydata()[0].round(3))
    0.151
    >>> plt.close(ax.figure)
    """
    check_kind(kind, ("energy", "image", "profile"))
    ax = plain_axes(ax)
    energy, theta = table_axis(psf, "energy_true"), table_axis(psf, "offset")
    fractions = np.atleast_1d(np.asarray(fraction, dtype=float)).tolist()
    if kind == "profile":
        return _plot_profiles(psf, ax, energy, one_offset(theta, offset), energies)
    if kind == "image":
        radius = containment_radius(psf, fractions[0], energy.center, theta.center)
        return image(ax, energy, theta, radius, f"{fractions[0]:.0%} containment radius [{unit_label('deg')}]")
    angles = some_offsets(theta, offsets)
    for number, part in enumerate(fractions):
        radius = containment_radius(psf, part, energy.center, angles)
        style = ("-", "--", ":", "-.")[number % 4]
        curves(ax, energy.center, radius, offset_labels(angles) if number == 0 else None, linestyle=style)
    text = ", ".join(f"{part:.0%}" for part in fractions)
    energy_scale(ax, "True energy", energy, ylabel=axis_label(f"Containment radius ({text})", "deg"))
    ax.set_ylim(bottom=0.0)
    return ax


def _plot_profiles(psf: Response, ax: Axes, energy: TableAxis, offset: float, energies: Any) -> Axes:
    """Integral of the point spread function over the separation."""
    values = decades(energy, energies)
    largest = containment_radius(psf, 0.99, values, offset)
    reach = float(np.nanmax(largest)) if np.isfinite(largest).any() else 1.0
    rad = np.linspace(0.0, reach, 301)
    parts = containment(psf, values, offset, rad)
    for value, color, part in zip(values, family_colors(len(values)), parts, strict=True):
        if evaluate_psf(psf, [value], offset, [0.0]).max() > 0 or part.max() > 0:
            ax.plot(rad, part, color=color, linewidth=1.5, label=f"{value:.3g} TeV")
    ax.set(xlim=(0.0, reach), ylim=(0.0, 1.02), title=f"offset {offset:.3g}°")
    ax.set_xlabel(axis_label("Separation", "deg"))
    ax.set_ylabel("Fraction of photons inside")
    if ax.lines:
        ax.legend(fontsize="small")
    return ax


def plot_background(
    bkg: xr.DataArray,
    ax: Axes | None = None,
    *,
    kind: Literal["energy", "image"] = "energy",
    offsets: Any = None,
    energy: Any = None,
) -> Axes:
    """Show the background rate.

    Parameters
    ----------
    bkg
        Background, dims (energy, offset) or (energy, fov_lon, fov_lat), s-1 TeV-1 sr-1.
    ax
        Axes to draw on, by default a new figure.
    kind
        ``"energy"``: spectra at offsets (a background over the field of view is averaged over 36 directions);
        ``"image"``: the field of view at one energy.
    offsets
        Angles of the spectra, by default up to five.
    energy
        Energy of the image, by default 1 TeV or, where that is outside, the middle of the table.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from xgamma.irf.background import constant_background
    >>> ax = plot_background(constant_background("2 s-1 TeV-1 sr-1"), offsets="0.5 deg")
    >>> float(ax.lines[0].get_ydata()[0].round(6))
    2.0
    >>> plt.close(ax.figure)
    """
    check_kind(kind, ("energy", "image"))
    ax = plain_axes(ax)
    axis = table_axis(bkg, "energy")
    label = axis_label("Background rate", bkg.attrs.get("units"))
    if kind == "image":
        return _plot_field_of_view(bkg, ax, axis, energy, label)
    if "offset" in bkg.dims:
        angles = some_offsets(table_axis(bkg, "offset"), offsets)
    else:
        reach = min(abs(v) for n in ("fov_lon", "fov_lat") for v in table_axis(bkg, n).edges[[0, -1]])
        angles = given_offsets(offsets) if offsets is not None else np.linspace(0.0, reach, CURVES + 1)[:-1]
    turn = np.deg2rad(DIRECTIONS) if "fov_lon" in bkg.dims else np.zeros(1)
    lon, lat = np.outer(angles, np.cos(turn)), np.outer(angles, np.sin(turn))
    separation = np.broadcast_to(angles[:, np.newaxis], lon.shape)
    rate = evaluate_background(bkg, axis.center, lon, lat, separation).mean(axis=-1)
    curves(ax, axis.center, rate, offset_labels(angles))
    return energy_scale(ax, "Energy", axis, ylabel=label, logy=True)


def _plot_field_of_view(bkg: xr.DataArray, ax: Axes, axis: TableAxis, energy: Any, label: str) -> Axes:
    inside = axis.limits[0] <= 1.0 <= axis.limits[1]
    value = (1.0 if inside else float(np.sqrt(axis.center[0] * axis.center[-1]))) if energy is None else None
    value = float(to_value(energy, "TeV", "energy")) if value is None else value
    if "offset" in bkg.dims:
        reach = table_axis(bkg, "offset").edges[-1]
        edges = [np.linspace(-reach, reach, 121)] * 2
    else:
        edges = [table_axis(bkg, n).edges for n in ("fov_lon", "fov_lat")]
    lon, lat = np.meshgrid(*(0.5 * (e[1:] + e[:-1]) for e in edges), indexing="ij")
    rate = evaluate_background(bkg, [value], lon, lat, np.hypot(lon, lat))[0]
    # what the table does not reach is blank
    rate = np.where(rate > 0, rate, np.nan)
    scale = color_scale(rate, vmin=0.0 if not np.isfinite(rate).any() else None)
    mesh = ax.pcolormesh(*edges, rate.T, norm=scale.norm, cmap=scale.cmap, rasterized=True)
    color_bar(mesh, ax, label)
    ax.set_aspect("equal")
    ax.set_title(f"{value:.3g} TeV")
    alignment = bkg.attrs.get("fov_alignment")
    ax.set_xlabel(axis_label("Field of view longitude", "deg") + (f"  ({alignment})" if alignment else ""))
    ax.set_ylabel(axis_label("Field of view latitude", "deg"))
    return ax


def plot_rad_max(rad_max: xr.DataArray, ax: Axes | None = None, *, offsets: Any = None) -> Axes:
    r"""Show the radius of the point-like selection of events over energy.

    Parameters
    ----------
    rad_max
        Radius in deg, dims (energy, offset), or a single number.
    ax
        Axes to draw on, by default a new figure.
    offsets
        Angles of the curves, those of the table nearest to them; by default up to five.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> ax = plot_rad_max(xr.DataArray(0.1, attrs={"units": "deg"}, name="rad_max"))
    >>> ax.get_ylabel()
    'Radius of the selection [$\\mathrm{{}^{\\circ}}$]'
    >>> plt.close(ax.figure)
    """
    ax = plain_axes(ax)
    label = axis_label("Radius of the selection", "deg")
    if not rad_max.dims:
        ax.axhline(float(rad_max), color=LINES[0], label=f"{float(rad_max):.4g}° at all energies and offsets")
        ax.set(xlabel=axis_label("Energy", "TeV"), ylabel=label, xscale="log", ylim=(0.0, 1.5 * float(rad_max) or 1.0))
        ax.legend(fontsize="small")
        return ax
    energy, theta = table_axis(rad_max, "energy"), table_axis(rad_max, "offset")
    angles = some_offsets(theta, offsets)
    nearest = np.abs(theta.center[:, np.newaxis] - angles).argmin(axis=0)
    values = rad_max.transpose("energy", "offset").values[:, nearest]
    texts = offset_labels(theta.center[nearest])
    for column, color, text in zip(values.T, family_colors(len(angles)), texts, strict=True):
        ax.stairs(column, energy.edges, baseline=None, color=color, linewidth=1.5, label=text)
    ax.legend(fontsize="small")
    energy_scale(ax, "Energy", energy, ylabel=label)
    ax.set_ylim(0.0, 1.1 * float(np.max(values)) or 1.0)
    return ax


def peek_irf(irf: Response) -> Figure:
    """Show a response of any class: what it is over energy, and over the field of view.

    Parameters
    ----------
    irf
        What `xgamma.irf.read.read_irf` gives; ``attrs["hduclass"]`` says which it is.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the response is of an unknown class.

    Examples
    --------
    >>> from xgamma.irf.psf import from_gauss
    >>> fig = peek_irf(from_gauss("0.1 deg"))
    >>> [ax.get_ylabel() for ax in fig.axes][-1]
    'Fraction of photons inside'
    >>> plt.close(fig)
    """
    family = str(irf.attrs.get("hduclass", "")).split("_")[0]
    drawings: dict[str, list[tuple[Any, dict[str, Any]]]] = {
        "AEFF": [(plot_aeff, {"kind": "energy"}), (plot_aeff, {"kind": "image"})],
        "EDISP": [(plot_edisp, {"kind": k}) for k in ("bias", "migra", "matrix")],
        "PSF": [(plot_psf, {"kind": k}) for k in ("energy", "image", "profile")],
        "BKG": [(plot_background, {"kind": "energy"}), (plot_background, {"kind": "image"})],
        "RAD": [(plot_rad_max, {})],
    }
    if family not in drawings:
        have = irf.attrs.get("hduclass")
        msg = f"attrs['hduclass']={have!r} is no class of response that xgamma shows: {list(drawings)}"
        raise ValueError(msg)
    chosen = drawings[family]
    if irf.sizes.get("offset") == 1 and family in ("AEFF", "PSF"):
        # nothing to see along one offset
        chosen = [(draw, options) for draw, options in chosen if options["kind"] != "image"]
    fig, axes = plt.subplots(1, len(chosen), figsize=(5.2 * len(chosen), 4.2), layout="constrained", squeeze=False)
    for ax, (draw, options) in zip(axes[0], chosen, strict=True):
        draw(irf, ax, **options)
    names = [str(irf.attrs[k]) for k in ("telescop", "instrume", "hduclass") if irf.attrs.get(k)]
    fig.suptitle(" ".join(dict.fromkeys(names)))
    return fig
