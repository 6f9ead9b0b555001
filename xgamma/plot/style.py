"""Labels, units, colour scales and colour bars that all pictures share."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import astropy.units as u
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import AsinhNorm, Colormap, ListedColormap, LogNorm, Normalize, PowerNorm
from matplotlib.ticker import AsinhLocator, ScalarFormatter
from numpy.typing import NDArray

__all__ = ["ColorScale", "Stretch", "axis_label", "bin_label", "color_bar", "color_scale", "label_of", "unit_label"]

Stretch = Literal["linear", "sqrt", "log", "asinh"]

#: Colour map of quantities that start at zero, perceptually uniform.
SEQUENTIAL = "inferno"
#: Colour map of quantities with two signs: blue below, white at, red above the middle.
DIVERGING = "RdBu_r"
#: What lies under pixels without a value; not white, which is the middle of the diverging map.
BLANK = "0.87"
#: Variables whose sign matters: their colours are centred on zero.
SIGNED = ("sqrt_ts", "significance")
#: Units that people expect in pictures, for the canonical ones.
SHOWN_UNITS = {"cm2": "m2", "cm2 s": "m2 s"}
#: Colours of lines, readable in print and with colour-blind eyes (Okabe and Ito).
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def unit_label(units: str | None) -> str:
    r"""Return a unit as text for a figure; empty where there is none.

    Parameters
    ----------
    units
        Unit string; one that astropy does not know is shown as it stands.

    Returns
    -------
    str

    Examples
    --------
    >>> unit_label("cm-2 s-1")
    '$\\mathrm{s^{-1}\\,cm^{-2}}$'
    >>> unit_label("")
    ''
    """
    text = (units or "").strip()
    try:
        unit = u.Unit(text)
    except (ValueError, TypeError):
        return text.replace("$", r"\$")
    return "" if unit == u.dimensionless_unscaled else str(unit.to_string("latex_inline"))


def axis_label(text: str, units: str | None = None) -> str:
    r"""Return the label of an axis with its unit in brackets.

    Examples
    --------
    >>> axis_label("Energy", "TeV")
    'Energy [$\\mathrm{TeV}$]'
    """
    unit = unit_label(units)
    return f"{text} [{unit}]" if unit else text


def name_of(array: xr.DataArray) -> str:
    """Return how to call an array in a figure: its long name, else its name, with a capital letter."""
    text = str(array.attrs.get("long_name") or ("" if array.name is None else array.name)).replace("_", " ")
    return text[:1].upper() + text[1:]


def label_of(array: xr.DataArray) -> str:
    """Return the label of an array: its long name, else its name, and its unit.

    Examples
    --------
    >>> label_of(xr.DataArray([1.0], name="counts_off", attrs={"units": ""}))
    'Counts off'
    """
    return axis_label(name_of(array), array.attrs.get("units"))


def bin_label(obj: xr.DataArray | xr.Dataset, dim: str) -> str:
    r"""Return what a scalar coordinate stands for: the edges of a bin, or the value of a label.

    Parameters
    ----------
    obj
        Object of which one position along `dim` was taken.
    dim
        Name of the former dimension.

    Returns
    -------
    str
        Empty where the object has no such coordinate.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> bin_label(energy_axis("1 TeV", "10 TeV", nbin=1).isel(energy=0), "energy")
    '1 – 10 $\\mathrm{TeV}$'
    """
    if dim not in obj.coords:
        return ""
    coord = obj.coords[dim]
    unit = unit_label(coord.attrs.get("units"))
    edges = [obj.coords[f"{dim}_{end}"].item() for end in ("min", "max") if f"{dim}_{end}" in obj.coords]
    if len(edges) == 2 and edges[0] != edges[1]:
        return f"{edges[0]:.3g} – {edges[1]:.3g} {unit}".strip()
    value = coord.item()
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{name_of(coord)} {text} {unit}".strip()


class ColorScale(NamedTuple):
    """How values become colours."""

    norm: Normalize
    cmap: Colormap


def color_scale(
    values: NDArray[np.float64],
    *,
    stretch: Stretch = "linear",
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    center: float | None = None,
) -> ColorScale:
    """Choose norm and colour map for an image.

    Parameters
    ----------
    values
        Values to show; those that are not finite are left out.
    stretch
        ``"linear"``, ``"sqrt"`` (of the distance from `vmin`), ``"log"``, or ``"asinh"`` (linear up to a tenth of
        the largest absolute limit, logarithmic beyond).
    vmin, vmax
        Limits of the colours, by default those of the values; with "log" the smallest positive value.
    cmap
        Colour map; ``"inferno"`` by default, ``"RdBu_r"`` with a `center`.
    center
        Value that gets the middle of the colour map. One limit given is mirrored at it; limits that are not
        symmetric cut the colour map, so that equal distances have equally strong colours.

    Returns
    -------
    ColorScale
        Values that are not finite have no colour.

    Raises
    ------
    ValueError
        If the stretch is not known, the limits are not ordered, or a logarithm has nothing positive to show.

    Examples
    --------
    >>> scale = color_scale(np.array([-3.0, 5.0]), center=0.0)
    >>> float(scale.norm.vmin), float(scale.norm.vmax)
    (-5.0, 5.0)
    """
    lo, hi = _limits(np.asarray(values, dtype=float), stretch, vmin, vmax, center)
    norm = _norm(stretch, lo, hi)
    colors = cmap if isinstance(cmap, Colormap) else colormaps[cmap or (SEQUENTIAL if center is None else DIVERGING)]
    if center is not None:
        colors = _centred(colors, float(norm(center)))
    return ColorScale(norm, colors.with_extremes(bad=(1.0, 1.0, 1.0, 0.0)))


def _limits(
    values: NDArray[np.float64], stretch: Stretch, vmin: float | None, vmax: float | None, center: float | None
) -> tuple[float, float]:
    if stretch not in get_args(Stretch):
        msg = f"stretch={stretch!r} must be one of {get_args(Stretch)}"
        raise ValueError(msg)
    shown = values[np.isfinite(values)]
    if stretch == "log":
        if center is not None:
            msg = "stretch='log' cannot be centred; use 'linear' or 'asinh'"
            raise ValueError(msg)
        shown = shown[shown > 0]
        if vmin is None and vmax is None and not shown.size:
            msg = "stretch='log' needs positive values and the map has none; use 'linear', or give vmin and vmax"
            raise ValueError(msg)
    lo, hi = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    if center is not None:
        reach = max(abs(lo - center), abs(hi - center))
        lo = center - reach if vmax is None else 2 * center - vmax
        hi = center + reach if vmin is None else 2 * center - vmin
    given = vmin is not None and vmax is not None
    if not given and lo >= hi:
        # one value only: a scale around it
        lo, hi = (lo / 2, hi * 2) if stretch == "log" else (lo - 0.5, hi + 0.5)
    lo, hi = (lo if vmin is None else float(vmin)), (hi if vmax is None else float(vmax))
    if stretch == "log" and lo <= 0:
        msg = f"stretch='log' needs vmin above 0, not {lo:g}"
        raise ValueError(msg)
    if not lo < hi:
        msg = f"vmin ({lo:g}) must lie below vmax ({hi:g})"
        raise ValueError(msg)
    return lo, hi


def _norm(stretch: Stretch, lo: float, hi: float) -> Normalize:
    if stretch == "linear":
        return Normalize(lo, hi)
    if stretch == "sqrt":
        return PowerNorm(0.5, lo, hi)
    if stretch == "log":
        return LogNorm(lo, hi)
    return AsinhNorm(linear_width=0.1 * max(abs(lo), abs(hi)), vmin=lo, vmax=hi)


def _centred(colors: Colormap, position: float) -> Colormap:
    """Cut a colour map so that its middle falls on `position` of the colour bar."""
    reach = max(abs(position), abs(1 - position))
    ends = 0.5 - 0.5 * position / reach, 0.5 + 0.5 * (1 - position) / reach
    return ListedColormap(colors(np.linspace(*ends, 512)), name=colors.name)


def color_bar(image: ScalarMappable, ax: Axes, label: str = "") -> Colorbar:
    """Put a colour bar beside the axes, exactly as high as the axes whatever their aspect.

    Parameters
    ----------
    image
        What the colours belong to.
    ax
        Axes that hold it.
    label
        Text beside the bar.

    Returns
    -------
    matplotlib.colorbar.Colorbar
    """
    cax = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    bar: Colorbar = ax.figure.colorbar(image, cax=cax, label=label)
    set_ticks(bar)
    return bar


def set_ticks(bar: Colorbar) -> None:
    """Give a colour bar numbers that can be read: an arcsinh has none but powers of ten by default."""
    bar.outline.set_linewidth(0.8)
    if isinstance(bar.norm, AsinhNorm):
        bar.set_ticks(AsinhLocator(bar.norm.linear_width, numticks=9, base=0))
        bar.formatter = ScalarFormatter()
        bar.update_ticks()
