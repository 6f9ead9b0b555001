"""Sky maps on axes with celestial coordinates: images, panels, masks, contours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib.colors import Colormap, ListedColormap
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import to_unit
from xgamma.plot.canvas import (
    checked_axes,
    compute_pictures,
    draw_contours,
    draw_picture,
    new_axes,
    picture_of,
    sky_axes,
    sky_prefix,
)
from xgamma.plot.regions import plot_regions
from xgamma.plot.style import SHOWN_UNITS, SIGNED, Stretch, bin_label, color_bar, color_scale, label_of, set_ticks

__all__ = ["plot_map", "plot_mask", "plot_panels", "plot_regions", "sky_axes"]

#: More panels than this are no picture.
MOST_PANELS = 100
#: Outlines of regions on colour maps with a light middle, where white ones are lost.
DARK = "0.15"


def plot_map(
    da: xr.DataArray,
    ax: WCSAxes | None = None,
    *,
    stretch: Stretch = "linear",
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    center: float | None = None,
    colorbar: bool = True,
    label: str | None = None,
    units: str | None = None,
    regions: Any = None,
    contours: Any = None,
    grid: bool = False,
    title: str | None = None,
    max_pixels: int = 2000,
) -> WCSAxes:
    """Show a sky map.

    Parameters
    ----------
    da
        Map, dims (y, x); further dims of size 1 are left out. Lazy maps are computed here, this map only.
    ax
        Axes to draw on, from `sky_axes` or with any celestial projection; a map on another grid is drawn
        where it lies on the sky. By default a new figure.
    stretch
        ``"linear"``, ``"sqrt"``, ``"log"`` or ``"asinh"``, see `xgamma.plot.style.color_scale`.
    vmin, vmax
        Limits of the colours, in the unit shown.
    cmap
        Colour map.
    center
        Value of the middle of a diverging colour map; 0 for maps named ``sqrt_ts`` or ``significance``.
    colorbar
        Draw a colour bar.
    label
        Text of the colour bar, by default name and unit of the map.
    units
        Unit to show; by default that of the map, with m2 for cm2 in areas and exposures.
    regions
        Sky regions of the `regions` package or DS9 strings, drawn on top: white, or dark on a map with a `center`.
    contours
        Levels of contours of this map, another map, or a pair (map, levels).
    grid
        Draw lines of equal longitude and latitude.
    title
        By default the bin of a dimension of size 1, for example its energies.
    max_pixels
        A map with more pixels along a side is shown in blocks of n x n pixels, each with the mean of its finite
        values; the colour bar says so.

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes
        Pixels without a finite value are blank (grey background).

    Raises
    ------
    TypeError
        If `da` is not a DataArray or `ax` has no celestial coordinates.
    ValueError
        If the map has further dims, or the colour limits make no sense.

    Warns
    -----
    UserWarning
        If all contour levels lie outside the values of the map.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> omega = xg.solid_angle(xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg"))
    >>> ax = plot_map(omega, regions="icrs;circle(83.63, 22.01, 0.5)", grid=True)
    >>> ax.coords[0].get_axislabel()
    'Right ascension'
    >>> plt.close(ax.figure)
    """
    image = in_shown_unit(flat_map(da), units)
    picture = compute_pictures([picture_of(image, max_pixels)])[0]
    scale = color_scale(
        picture.values, stretch=stretch, vmin=vmin, vmax=vmax, cmap=cmap, center=color_center(image, center)
    )
    ax = new_axes(picture.grid) if ax is None else checked_axes(ax)
    artist = draw_picture(ax, picture, scale)
    if colorbar:
        color_bar(artist, ax, bar_text(image, label, picture.factor))
    decorate(ax, image, regions, contours, grid, max_pixels, light=color_center(image, center) is not None)
    ax.set_title(title_of(da) if title is None else title)
    return ax


def plot_panels(
    da: xr.DataArray,
    dim: str = "energy",
    *,
    ncols: int | None = None,
    panel_size: float = 3.0,
    share_limits: bool = True,
    stretch: Stretch = "linear",
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    center: float | None = None,
    label: str | None = None,
    units: str | None = None,
    regions: Any = None,
    contours: Any = None,
    grid: bool = False,
    max_pixels: int = 800,
) -> NDArray[Any]:
    r"""Show a cube as one sky map per bin, on shared axes.

    Parameters
    ----------
    da
        Cube, dims (`dim`, y, x); further dims of size 1 are left out.
    dim
        Dimension of the panels: ``"energy"``, ``"obs"``, ...
    ncols
        Number of panels side by side, by default up to four.
    panel_size
        Width of a panel in inches.
    share_limits
        One colour scale and one colour bar for all panels; otherwise each has its own.
    stretch, vmin, vmax, cmap, center, label, units, regions, contours, grid, max_pixels
        As in `plot_map`. Contours of another map with the dimension `dim` are drawn bin by bin.

    Returns
    -------
    numpy.ndarray
        The axes (WCSAxes), shape (number of bins,), each titled with the edges of its bin.

    Raises
    ------
    ValueError
        If the cube has no dimension `dim`, further ones, or more than 100 bins.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> sky = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg", energy=energy)
    >>> cube = sky.energy * xg.solid_angle(sky)
    >>> axes = plot_panels(cube, stretch="log")
    >>> [ax.get_title() for ax in axes]
    ['1 – 10 $\\mathrm{TeV}$', '10 – 100 $\\mathrm{TeV}$']
    >>> plt.close(axes[0].figure)
    """
    cube = in_shown_unit(flat_map(da, dim), units)
    images = [cube.isel({dim: i}) for i in range(cube.sizes[dim])]
    pictures = compute_pictures([picture_of(image, max_pixels) for image in images])
    scale = {"stretch": stretch, "vmin": vmin, "vmax": vmax, "cmap": cmap, "center": color_center(cube, center)}
    groups = [pictures] * len(pictures) if share_limits else [[p] for p in pictures]
    everything = np.concatenate([p.values.ravel() for p in pictures])
    shared = color_scale(everything, **scale) if share_limits else None  # type: ignore[arg-type]
    ncols = min(len(images), ncols or 4)
    axes = _panel_axes(pictures[0].grid, len(groups), ncols, panel_size)
    for ax, image, picture in zip(axes, images, pictures, strict=True):
        own = shared or color_scale(picture.values, **scale)  # type: ignore[arg-type]
        artist = draw_picture(ax, picture, own)
        if not share_limits:
            color_bar(artist, ax)
        bin_contours = _contours_of_bin(contours, image, dim)
        decorate(ax, image, regions, bin_contours, grid, max_pixels, light=scale["center"] is not None)
        ax.set_title(bin_label(image, dim), fontsize="medium")
    if share_limits:
        text = bar_text(cube, label, pictures[0].factor)
        set_ticks(axes[0].figure.colorbar(artist, ax=list(axes), label=text, shrink=0.9, pad=0.02, aspect=30))
    else:
        axes[0].figure.suptitle(bar_text(cube, label, pictures[0].factor))
    return axes


def plot_mask(
    mask: xr.DataArray,
    ax: WCSAxes | None = None,
    *,
    color: str = "#009E73",
    alpha: float = 0.45,
    outline: bool = True,
    max_pixels: int = 2000,
) -> WCSAxes:
    """Colour the pixels where a mask is True, alone or on top of a map.

    Parameters
    ----------
    mask
        Boolean map, dims (y, x); further dims of size 1 are left out.
    ax
        Axes to draw on, by default a new figure.
    color, alpha
        Colour and opacity.
    outline
        Draw a line around the pixels.
    max_pixels
        As in `plot_map`; of a block of pixels at least half must be True.

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes

    Raises
    ------
    TypeError
        If the map is not boolean.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> sky = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg")
    >>> ax = plot_mask(xg.region_mask(sky, "icrs;circle(83.63, 22.01, 0.5)"))
    >>> plt.close(ax.figure)
    """
    flat = flat_map(mask)
    if flat.dtype != bool:
        msg = f"plot_mask shows boolean maps, not {flat.dtype}; compare first, for example 'counts > 0'"
        raise TypeError(msg)
    picture = compute_pictures([picture_of(flat, max_pixels)])[0]
    inside = picture.values >= 0.5
    ax = new_axes(picture.grid) if ax is None else checked_axes(ax)
    shown = picture._replace(values=np.where(inside, 1.0, np.nan))
    draw_picture(ax, shown, color_scale(np.ones(1), cmap=ListedColormap([color]))).set_alpha(alpha)
    if outline and inside.any() and not inside.all():
        draw_contours(ax, picture._replace(values=inside.astype(float)), [0.5], color)
    return ax


def flat_map(da: Any, dim: str | None = None) -> xr.DataArray:
    """Map with nothing but `dim` and its sky dims, in this order."""
    if not isinstance(da, xr.DataArray):
        names = f" ({', '.join(map(str, da.data_vars))})" if isinstance(da, xr.Dataset) else ""
        msg = f"a map is a DataArray, not a {type(da).__name__}; choose one variable{names}"
        raise TypeError(msg)
    prefix = sky_prefix(da)
    grid_of(da, prefix)
    sky = [f"{prefix}y", f"{prefix}x"]
    if dim is not None and (dim not in da.dims or dim in sky):
        msg = f"the map has no dimension {dim!r} for panels; it has {list(map(str, da.dims))}"
        raise ValueError(msg)
    keep = ([dim] if dim is not None else []) + sky
    extra = {str(d): n for d, n in da.sizes.items() if d not in keep}
    if any(n != 1 for n in extra.values()):
        many = {d: n for d, n in extra.items() if n != 1}
        panels = f"plot_panels(da, dim={next(iter(many))!r})"
        what = panels if dim is None else "plot_panels on one position of the others"
        msg = f"a picture has two dims, but the map also has {many}: select or sum over them, or use {what}"
        raise ValueError(msg)
    if dim is not None and not 1 <= da.sizes[dim] <= MOST_PANELS:
        msg = f"{da.sizes[dim]} panels along {dim!r} are no picture; select between 1 and {MOST_PANELS} bins first"
        raise ValueError(msg)
    return da.isel(dict.fromkeys(extra, 0)).transpose(*keep)


def in_shown_unit(da: xr.DataArray, units: str | None) -> xr.DataArray:
    """Map in the unit to show."""
    own = da.attrs.get("units", "")
    wanted = SHOWN_UNITS.get(own, own) if units is None else units
    return da if wanted == own else to_unit(da, wanted)


def color_center(da: xr.DataArray, center: float | None) -> float | None:
    return 0.0 if center is None and da.name in SIGNED else center


def _panel_axes(grid: SkyGrid, number: int, ncols: int, panel_size: float) -> NDArray[Any]:
    nrows = -(-number // ncols)
    ratio = min(max(len(grid.y) * grid.frame.binsize[0] / (len(grid.x) * grid.frame.binsize[1]), 0.2), 5.0)
    size = (panel_size * ncols + 1.4, panel_size * ratio * nrows + 0.35 * nrows + 0.4)
    fig = plt.figure(figsize=size, layout="compressed")
    spec = fig.add_gridspec(nrows, ncols)
    axes = np.empty(number, dtype=object)
    for i in range(number):
        share = {"sharex": axes[0], "sharey": axes[0]} if i else {}
        axes[i] = ax = new_axes(grid, fig, spec[divmod(i, ncols)], **share)
        lon, lat = ax.coords
        lon.set_ticks(number=4)
        lat.set_ticks(number=5)
        if i + ncols < number:
            lon.set_ticklabel_visible(False)
            lon.set_axislabel("")
        if i % ncols:
            lat.set_ticklabel_visible(False)
            lat.set_axislabel("")
    return axes


def bar_text(image: xr.DataArray, label: str | None, factor: int) -> str:
    text = label_of(image) if label is None else label
    return f"{text}, mean of {factor} × {factor} pixels" if factor > 1 else text


def title_of(da: xr.DataArray) -> str:
    """Bins of the dims of size 1, and of those selected before."""
    names = [str(n) for n in da.coords if f"{n}_min" in da.coords and da.coords[n].size == 1]
    return ", ".join(t for t in (bin_label(da.isel(dict.fromkeys(da[n].dims, 0)), n) for n in names) if t)


def decorate(
    ax: WCSAxes, image: xr.DataArray, regions: Any, contours: Any, grid: bool, max_pixels: int, *, light: bool
) -> None:
    if contours is not None:
        other, levels = _contour_map(contours, image)
        draw_contours(ax, compute_pictures([picture_of(flat_map(other), max_pixels)])[0], levels)
    if regions is not None:
        for artist in plot_regions(regions, ax, default_color=DARK if light else "white"):
            # an outline outside the field must not make room for itself
            artist.set_in_layout(False)
    if grid:
        ax.coords.grid(color="0.5", alpha=0.6, linestyle=":", linewidth=0.8)


def _contour_map(contours: Any, image: xr.DataArray) -> tuple[xr.DataArray, Sequence[float] | None]:
    """Map and levels of what the user gave: levels, a map, or both."""
    if isinstance(contours, xr.DataArray):
        return contours, None
    if isinstance(contours, tuple) and len(contours) == 2 and isinstance(contours[0], xr.DataArray):
        return contours[0], np.atleast_1d(contours[1]).tolist()
    levels = np.atleast_1d(np.asarray(contours, dtype=float))
    return image, np.sort(levels).tolist()


def _contours_of_bin(contours: Any, image: xr.DataArray, dim: str) -> Any:
    """Bin of a contour map that belongs to a panel."""
    if isinstance(contours, tuple) and len(contours) == 2 and isinstance(contours[0], xr.DataArray):
        return _contours_of_bin(contours[0], image, dim), contours[1]
    if isinstance(contours, xr.DataArray) and dim in contours.dims and contours.sizes[dim] > 1:
        return contours.sel({dim: image[dim].item()})
    return contours
