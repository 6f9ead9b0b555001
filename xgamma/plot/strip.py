"""A long strip of the sky, as the Galactic plane, in rows."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid
from xgamma.plot.canvas import compute_pictures, draw_picture, new_axes, picture_of
from xgamma.plot.sky import bar_text, color_center, decorate, flat_map, in_shown_unit, title_of
from xgamma.plot.style import Stretch, color_scale, set_ticks

__all__ = ["plot_strip"]

#: Width of the figure, and room around the rows for labels and between them for ticks, in inches. Placed by hand:
#: the layout engines of matplotlib leave half of a page white around rows of fixed shape.
WIDTH, LEFT, RIGHT, BOTTOM, TOP, GAP = 12.0, 0.85, 1.25, 0.6, 0.45, 0.42
#: Distance and width of the colour bar in inches.
BAR = 0.18
#: Width over height that a figure aims at when it chooses its number of rows.
RATIO = 1.6


def plot_strip(
    da: xr.DataArray,
    rows: int | None = None,
    *,
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
    title: str | None = None,
    max_pixels: int = 2400,
) -> NDArray[Any]:
    """Show a long map in rows of equal width, the left end of the map on top.

    Parameters
    ----------
    da
        Map, dims (y, x); further dims of size 1 are left out. Lazy maps are computed here, this map only.
    rows
        Number of rows; by default such that the figure is not much wider than high.
    stretch, vmin, vmax, cmap, center, label, units, regions, contours, grid, title, max_pixels
        As in `xgamma.plot.sky.plot_map`, with one colour scale for all rows; `max_pixels` along a row.

    Returns
    -------
    numpy.ndarray
        The axes (WCSAxes), shape (rows,), on one scale: the last row ends early where the pixels do not go
        into `rows` equal parts.

    Raises
    ------
    ValueError
        If `rows` is not between 1 and the number of pixels along x, or the map has further dims.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> plane = xg.sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), ("60 deg", "4 deg"), "0.5 deg",
    ...                     frame="galactic")
    >>> axes = plot_strip(xg.solid_angle(plane), rows=3, regions="galactic;circle(0, 0, 1)")
    >>> len(axes)
    3
    >>> plt.close(axes[0].figure)
    """
    image = in_shown_unit(flat_map(da), units)
    rows = _number_of_rows(image, rows)
    length = -(-image.shape[1] // rows)
    parts = [image.isel({image.dims[1]: slice(i, i + length)}) for i in range(0, image.shape[1], length)]
    # blocks of one size in all rows: the last may be shorter
    factor = -(-max(length, image.shape[0]) // max_pixels)
    pictures = compute_pictures([picture_of(part, -(-max(part.shape) // factor)) for part in parts])
    middle = color_center(image, center)
    everything = np.concatenate([p.values.ravel() for p in pictures])
    scale = color_scale(everything, stretch=stretch, vmin=vmin, vmax=vmax, cmap=cmap, center=middle)
    axes = _row_axes([p.grid for p in pictures], length)
    for ax, part, picture in zip(axes, parts, pictures, strict=True):
        artist = draw_picture(ax, picture, scale)
        ax.set_xlim(picture.grid.x.start - 0.5, picture.grid.x.start - 0.5 + length)
        decorate(ax, part, regions, contours, grid, max_pixels, light=middle is not None)
    text = bar_text(image, label, pictures[0].factor)
    set_ticks(axes[0].figure.colorbar(artist, cax=_bar_axes(axes), label=text))
    axes[0].set_title(title_of(da) if title is None else title)
    return axes


def _number_of_rows(image: xr.DataArray, rows: int | None) -> int:
    ny, nx = image.shape
    if rows is None:
        return int(np.clip(round(np.sqrt(nx / ny / RATIO)), 1, nx))
    if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or not 1 <= rows <= nx:
        msg = f"rows={rows!r} must be a whole number between 1 and the {nx} pixels of the map along x"
        raise ValueError(msg)
    # so many pixels a row may leave none for the last: 7 in 4 rows are 2 + 2 + 2 + 1, 9 in 6 are 5 rows of 2
    return int(rows)


def _row_axes(grids: list[SkyGrid], length: int) -> NDArray[Any]:
    size_y, size_x = grids[0].frame.binsize
    width = WIDTH - LEFT - RIGHT
    row = max(width * len(grids[0].y) * size_y / (length * size_x), 0.3)
    height = TOP + BOTTOM + row * len(grids) + GAP * (len(grids) - 1)
    figure = plt.figure(figsize=(WIDTH, height))
    sides = {"left": LEFT / WIDTH, "right": 1 - RIGHT / WIDTH, "bottom": BOTTOM / height, "top": 1 - TOP / height}
    spec = figure.add_gridspec(len(grids), 1, hspace=GAP / row, **sides)
    axes = np.empty(len(grids), dtype=object)
    for i, grid in enumerate(grids):
        axes[i] = new_axes(grid, figure, spec[i, 0])
        if i + 1 < len(grids):
            axes[i].coords[0].set_axislabel("")
        if i != len(grids) // 2:
            axes[i].coords[1].set_axislabel("")
    return axes


def _bar_axes(axes: NDArray[Any]) -> Axes:
    """Make room for a colour bar along all rows."""
    first, last = axes[0].get_position(), axes[-1].get_position()
    unit = 1 / WIDTH
    return axes[0].figure.add_axes((first.x1 + BAR * unit, last.y0, BAR * unit, first.y1 - last.y0))
