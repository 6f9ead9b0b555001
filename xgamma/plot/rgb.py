"""Colour pictures of three maps: red for low, green for middle, blue for high energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib import colormaps
from matplotlib.colors import Normalize

from xgamma.coords.bins import axis_of
from xgamma.coords.sky import grid_of
from xgamma.coords.units import canonical_attrs
from xgamma.plot.canvas import Picture, checked_axes, compute_pictures, draw_picture, new_axes, picture_of
from xgamma.plot.sky import decorate
from xgamma.plot.style import ColorScale, bin_label

__all__ = ["RGBStretch", "plot_rgb", "rgb_composite"]

RGBStretch = Literal["linear", "sqrt", "asinh", "lupton"]
#: Names along the dim ``rgb``.
COLORS = ("red", "green", "blue")


def rgb_composite(
    maps: xr.DataArray | Sequence[xr.DataArray],
    *,
    dim: str = "energy",
    stretch: RGBStretch = "asinh",
    softening: float = 0.1,
    vmin: Any = 0.0,
    vmax: Any = None,
) -> xr.DataArray:
    """Make a colour picture of three bands; lazy stays lazy.

    Parameters
    ----------
    maps
        Map with three bins along `dim`, dims (dim, y, x), or three maps (y, x) on one grid: red, green, blue. Smooth
        counts first (`xgamma.coords.smooth.smooth`): single counts make confetti.
    dim
        Dimension of the bands.
    stretch
        How the brightness grows with the value: ``"linear"``, ``"sqrt"``, ``"asinh"`` in each band, or ``"lupton"``,
        where the mean of the bands is stretched by asinh and colours stay as they are, also in bright pixels.
    softening
        Part of the range from which on ``"asinh"`` and ``"lupton"`` grow as a logarithm.
    vmin, vmax
        Values that are black and full, one number or one for each band, in the units of the maps; by default 0 and
        the maximum of each band.

    Returns
    -------
    DataArray
        Brightness from 0 to 1, dims (y, x, rgb), with the coordinate ``rgb`` of names. NaN where any band is.

    Raises
    ------
    ValueError
        If there are not three bands on one grid, or a number makes no sense.

    References
    ----------
    R. Lupton et al., PASP 116, 133 (2004).

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "8 TeV", nbin=3)
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "0.2 deg", "0.1 deg", energy=energy)
    >>> counts = grid.assign(counts=(("energy", "y", "x"), np.arange(12.0).reshape(3, 2, 2))).counts
    >>> rgb_composite(counts, stretch="linear").values[0, 1].round(3)
    array([0.333, 0.714, 0.818])
    """
    if stretch not in get_args(RGBStretch):
        msg = f"stretch={stretch!r} must be one of {list(get_args(RGBStretch))}"
        raise ValueError(msg)
    if not (isinstance(softening, (int, float)) and 0 < softening < np.inf):
        msg = f"softening={softening!r} must be a positive number"
        raise ValueError(msg)
    bands, labels = _bands(maps, dim)
    low, high = _three(vmin, "vmin"), None if vmax is None else _three(vmax, "vmax")
    if high is not None and any(b <= a for a, b in zip(low, high, strict=True)):
        msg = f"vmax={vmax!r} must be above vmin={vmin!r}"
        raise ValueError(msg)
    scaled = []
    for number, band in enumerate(bands):
        values = band.variable.astype(float)
        top = values.max() if high is None else high[number]
        span = top - low[number]
        # a band without anything above its black is black
        positive = span > 0
        scaled.append((values - low[number]).clip(0.0) / (xr.where(positive, span, 1.0) if high is None else span))
    stack = xr.Variable.concat(scaled, "rgb").transpose("y", "x", "rgb")
    if stack.chunks is not None:
        stack = stack.chunk(rgb=3)
    shown = _stretched(stack, stretch, float(softening))
    # where one band is missing there is no colour
    shown = shown.where(np.isfinite(stack).all("rgb"))
    result = xr.DataArray(shown, coords=grid_of(bands[0]).coords(), name="rgb", attrs=canonical_attrs("", "Brightness"))
    result = result.assign_coords(rgb=("rgb", list(COLORS)))
    result.attrs["bands"] = "; ".join(n for n in labels if n)
    return result


def _bands(maps: Any, dim: str) -> tuple[list[xr.DataArray], list[str]]:
    """Three maps with dims (y, x), and what they are."""
    if isinstance(maps, xr.DataArray):
        if maps.sizes.get(dim) != 3:
            msg = (
                f"a colour picture needs three bins along {dim!r}, the map has {dict(maps.sizes)}; join bins with "
                "cube.gamma.rebin(edges) or select three"
            )
            raise ValueError(msg)
        # edges may be lazy, the axis is not
        edges = axis_of(maps, dim) if f"{dim}_min" in maps.coords else maps.coords.get(dim)
        labels = ["" if edges is None else bin_label(edges.isel({dim: i}), dim) for i in range(3)]
        return _bands([maps.isel({dim: i}, drop=True) for i in range(3)], dim)[0], labels
    bands = list(maps)
    if len(bands) != 3 or not all(isinstance(b, xr.DataArray) for b in bands):
        msg = f"a colour picture needs three maps, not {len(bands)}"
        raise ValueError(msg)
    flat = []
    for band in bands:
        extra = [d for d in band.dims if d not in ("y", "x")]
        if not {"y", "x"} <= set(band.dims) or any(band.sizes[d] != 1 for d in extra):
            msg = f"a band has the dims (y, x), not {dict(band.sizes)}"
            raise ValueError(msg)
        flat.append(band.isel(dict.fromkeys(extra, 0)).transpose("y", "x"))
        if grid_of(band) != grid_of(flat[0]):
            msg = "the bands are on several grids; reproject them first"
            raise ValueError(msg)
    return flat, [str(b.name or "") for b in flat]


def _three(value: Any, name: str) -> list[float]:
    numbers = np.asarray(value, dtype=float)
    if numbers.shape not in ((), (3,)) or not np.isfinite(numbers).all():
        msg = f"{name}={value!r} must be a number, or one for each band"
        raise ValueError(msg)
    found: list[float] = np.broadcast_to(numbers, 3).tolist()
    return found


def _stretched(stack: xr.Variable, stretch: RGBStretch, softening: float) -> xr.Variable:
    if stretch == "linear":
        return stack.clip(0.0, 1.0)
    if stretch == "sqrt":
        return np.sqrt(stack.clip(0.0, 1.0))
    if stretch == "asinh":
        return np.arcsinh(stack.clip(0.0, 1.0) / softening) / np.arcsinh(1.0 / softening)
    mean = stack.mean("rgb", skipna=False)
    grown = np.arcsinh(mean / softening) / np.arcsinh(1.0 / softening)
    colored = stack * xr.where(mean > 0, grown / xr.where(mean > 0, mean, 1.0), 0.0)
    # a pixel that is too bright keeps its colour
    brightest = colored.max("rgb")
    return colored / xr.where(brightest > 1.0, brightest, 1.0)


def plot_rgb(
    rgb: xr.DataArray,
    ax: WCSAxes | None = None,
    *,
    regions: Any = None,
    contours: Any = None,
    grid: bool = False,
    title: str | None = None,
    max_pixels: int = 2000,
) -> WCSAxes:
    """Show a colour picture.

    Parameters
    ----------
    rgb
        From `rgb_composite`, dims (y, x, rgb). A lazy one is computed.
    ax
        Axes to draw on, with any celestial projection; by default a new figure.
    regions
        As in `~xgamma.plot.sky.plot_map`.
    contours
        A map, or a pair (map, levels).
    grid
        As in `~xgamma.plot.sky.plot_map`.
    title
        By default the bands.
    max_pixels
        As in `~xgamma.plot.sky.plot_map`.

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes
        Pixels without a colour are blank.

    Raises
    ------
    ValueError
        If `rgb` is not such a picture.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import matplotlib.pyplot as plt
    >>> import xgamma as xg
    >>> omega = xg.solid_angle(xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg"))
    >>> ax = plot_rgb(rgb_composite([omega, omega, 0.5 * omega], vmax=float(omega.max())))
    >>> plt.close(ax.figure)
    """
    if not isinstance(rgb, xr.DataArray) or set(rgb.dims) != {"y", "x", "rgb"} or rgb.sizes["rgb"] != 3:
        msg = "plot_rgb shows pictures of rgb_composite, DataArrays with dims (y, x, rgb)"
        raise ValueError(msg)
    planes = [rgb.isel(rgb=i).transpose("y", "x") for i in range(3)]
    pictures = compute_pictures([picture_of(p, max_pixels) for p in planes])
    colors = np.stack([p.values for p in pictures], axis=-1)
    some = np.isfinite(colors).all(axis=-1)
    values = np.concatenate([np.where(some[..., None], np.clip(colors, 0.0, 1.0), 0.0), some[..., None]], axis=-1)
    picture = Picture(values, pictures[0].grid, pictures[0].factor)
    ax = new_axes(picture.grid) if ax is None else checked_axes(ax)
    draw_picture(ax, picture, ColorScale(Normalize(0.0, 1.0), colormaps["gray"]))
    decorate(ax, planes[0], regions, contours, grid, max_pixels, light=False)
    ax.set_title(str(rgb.attrs.get("bands", "")) if title is None else title)
    return ax
