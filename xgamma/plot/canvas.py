"""Axes with celestial coordinates, and how the values of a map come to lie on them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import dask.base
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from astropy.visualization.wcsaxes import WCSAxes
from astropy.visualization.wcsaxes.frame import EllipticalFrame
from matplotlib.artist import Artist
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.plot.style import BLANK, ColorScale

__all__ = ["Picture", "compute_pictures", "draw_contours", "draw_picture", "new_axes", "picture_of", "sky_axes"]

#: Projections that show the whole sky in an ellipse.
ELLIPTICAL = {"AIT", "MOL"}
#: Colour of contours, seen on dark and on pale colours.
CONTOURS = "#00C8A0"


class Picture(NamedTuple):
    """Values of a map as they are shown.

    Attributes
    ----------
    values
        Numbers, shape (ny, nx), perhaps of a coarser grid, perhaps lazy.
    grid
        Sky grid of the map.
    factor
        Number of map pixels along each side of a shown pixel.
    """

    values: Any
    grid: SkyGrid
    factor: int

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper end in pixel numbers of the frame."""
        ny, nx = self.values.shape[:2]
        x0, y0 = self.grid.x.start - 0.5, self.grid.y.start - 0.5
        return x0, x0 + nx * self.factor, y0, y0 + ny * self.factor


def sky_axes(obj: xr.DataArray | xr.Dataset, fig: Figure | None = None, spec: Any = 111) -> WCSAxes:
    """Make empty axes with the celestial coordinates and the field of a map.

    Parameters
    ----------
    obj
        Map, cube or grid.
    fig
        Figure to draw in, by default a new one.
    spec
        Place in the figure: what ``Figure.add_subplot`` takes.

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes
        Its pixel coordinates are the pixel numbers ``x``, ``y`` of the map.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> ax = sky_axes(xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg"))
    >>> tuple(map(float, ax.get_xlim()))
    (-10.5, 9.5)
    >>> plt.close(ax.figure)
    """
    return new_axes(grid_of(obj, sky_prefix(obj)), fig, spec)


def sky_prefix(obj: xr.DataArray | xr.Dataset) -> str:
    """Prefix of the sky dims: maps of responses have a grid of their own."""
    return "irf_" if "y" not in obj.dims and "irf_y" in obj.dims else ""


def picture_of(image: xr.DataArray, max_pixels: int) -> Picture:
    """Values to show, still lazy; blocks of pixels where there are too many."""
    if max_pixels < 1:
        msg = f"max_pixels={max_pixels!r} must be at least 1"
        raise ValueError(msg)
    grid = grid_of(image, sky_prefix(image))
    factor = -(-max(image.shape) // max_pixels)
    values = image.variable.astype(float)
    if factor > 1:
        # an infinite value must not colour its whole block
        values = values.where(np.isfinite(values))
        values = values.coarsen(dict.fromkeys(values.dims, factor), func="mean", boundary="pad")
    return Picture(values.data, grid, factor)


def compute_pictures(pictures: Sequence[Picture]) -> list[Picture]:
    """Compute all pictures at once: what they share is read once."""
    values = dask.base.compute(*(p.values for p in pictures))
    return [p._replace(values=np.asarray(v)) for p, v in zip(pictures, values, strict=True)]


def new_axes(grid: SkyGrid, fig: Figure | None = None, spec: Any = 111, **kwargs: Any) -> WCSAxes:
    """Make axes with the field of a grid; `fig` and `spec` as in `sky_axes`."""
    fig = plt.figure(figsize=_figure_size(grid), layout="compressed") if fig is None else fig
    lon, _ = grid.frame.pixel_to_sky(*(np.array(c, dtype=float) for c in _corners(grid)))
    if grid.frame.proj in ELLIPTICAL and np.isnan(lon).all():
        kwargs["frame_class"] = EllipticalFrame
    ax = fig.add_subplot(spec, projection=grid.frame.wcs, **kwargs)
    ax.set_xlim(grid.x.start - 0.5, grid.x.stop - 0.5)
    ax.set_ylim(grid.y.start - 0.5, grid.y.stop - 0.5)
    size_y, size_x = grid.frame.binsize
    ax.set_aspect(size_y / size_x)
    ax.set_facecolor(BLANK)
    names = ("Galactic longitude", "Galactic latitude")
    names = names if grid.frame.name == "galactic" else ("Right ascension", "Declination")
    for coord, name in zip(ax.coords, names, strict=True):
        coord.set_axislabel(name)
        coord.display_minor_ticks(True)
    if grid.frame.name == "galactic" or len(grid.x) * size_x > 30:
        ax.coords[0].set_major_formatter("d.d" if len(grid.x) * size_x < 30 else "d")
    return ax


def _figure_size(grid: SkyGrid) -> tuple[float, float]:
    """Size in inches that leaves a map of any shape room for its labels."""
    size_y, size_x = grid.frame.binsize
    ratio = len(grid.y) * size_y / (len(grid.x) * size_x)
    if ratio < 0.6:
        return 10.0, max(8.0 * ratio + 1.2, 2.8)
    return (6.4, 4.8) if ratio < 1.5 else (max(6.4 / ratio + 2.2, 3.4), 7.4)


def _corners(grid: SkyGrid) -> tuple[list[int], list[int]]:
    y, x = (grid.y[0], grid.y[-1]), (grid.x[0], grid.x[-1])
    return [y[0], y[0], y[1], y[1]], [x[0], x[1], x[0], x[1]]


def checked_axes(ax: Any) -> WCSAxes:
    if not isinstance(ax, WCSAxes):
        msg = f"ax is {type(ax).__name__} and has no celestial coordinates; make it with xgamma.plot.sky.sky_axes(map)"
        raise TypeError(msg)
    return ax


def _shift(ax: WCSAxes, grid: SkyGrid) -> tuple[int, int] | None:
    """Pixel numbers (y, x) of the first pixel of the axes where they have the projection of the grid."""
    try:
        frame, first = SkyFrame.from_wcs(ax.wcs)
    except (ValueError, AttributeError, TypeError):
        return None
    return first if frame == grid.frame else None


def draw_picture(ax: WCSAxes, picture: Picture, scale: ColorScale) -> Any:
    """Draw the values where they lie on the sky."""
    values = picture.values
    if isinstance(scale.norm, LogNorm):
        # zero has no logarithm but is no missing value: it gets the lowest colour
        values = np.where(values < scale.norm.vmin, scale.norm.vmin, values)
    left, right, low, high = picture.extent
    view = None if not ax.has_data() and not ax.images else (ax.get_xlim(), ax.get_ylim())
    shift = _shift(ax, picture.grid)
    if shift is None:
        x, y = np.linspace(left, right, values.shape[1] + 1), np.linspace(low, high, values.shape[0] + 1)
        transform = ax.get_transform(picture.grid.frame.wcs)
        return ax.pcolormesh(x, y, values, norm=scale.norm, cmap=scale.cmap, transform=transform, shading="flat")
    y0, x0 = shift
    artist = ax.imshow(
        values,
        extent=(left - x0, right - x0, low - y0, high - y0),
        origin="lower",
        norm=scale.norm,
        cmap=scale.cmap,
        interpolation="nearest",
        aspect=ax.get_aspect(),
    )
    grid = picture.grid
    # blocks may reach over the last pixel; a map drawn on top of another leaves its view alone
    field = tuple((r.start - 0.5 - first, r.stop - 0.5 - first) for r, first in ((grid.x, x0), (grid.y, y0)))
    limits = view or field
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
    return artist


def draw_contours(
    ax: WCSAxes, picture: Picture, levels: Sequence[float] | None, color: str = CONTOURS
) -> Artist | None:
    """Draw contours through the centres of the shown pixels."""
    values, grid = picture.values, picture.grid
    finite = values[np.isfinite(values)]
    if levels is None:
        mask = finite.size and set(np.unique(finite)) <= {0.0, 1.0}
        levels = [0.5] if mask else np.linspace(*_range(finite), 7)[1:-1].tolist()
    inside = [v for v in sorted(levels) if finite.size and finite.min() < v < finite.max()]
    if not inside or min(values.shape) < 2:
        span = f"{finite.min():g} to {finite.max():g}" if finite.size else "nothing finite"
        msg = f"no contour drawn: the levels {[float(v) for v in levels]} lie outside the values of the map ({span})"
        warnings.warn(msg, UserWarning, stacklevel=4)
        return None
    sides = zip(picture.extent[::2], values.shape[::-1], strict=True)
    x, y = (start + picture.factor * (np.arange(n) + 0.5) for start, n in sides)
    shift = _shift(ax, grid)
    where = {} if shift is not None else {"transform": ax.get_transform(grid.frame.wcs)}
    y0, x0 = shift or (0, 0)
    view = ax.get_xlim(), ax.get_ylim()
    shown = np.ma.masked_invalid(values)
    artist = ax.contour(x - x0, y - y0, shown, inside, colors=color, linewidths=1.2, **where)
    ax.set_xlim(*view[0])
    ax.set_ylim(*view[1])
    return artist


def _range(finite: NDArray[np.float64]) -> tuple[float, float]:
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
