"""Sky regions drawn on maps, where `xgamma.coords.regions.region_mask` finds their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from xgamma.coords.frame import SkyFrame
from xgamma.coords.regions import as_regions
from xgamma.plot.canvas import checked_axes

if TYPE_CHECKING:
    from regions import PixelRegion, SkyRegion

__all__ = ["plot_regions"]

#: Sampling of the outline of a compound region along each side of its box.
OUTLINE_SAMPLES = 600
#: Where regions keep the colour that a DS9 file gives them.
COLOR_KEYS = ("edgecolor", "color", "markeredgecolor")


def plot_regions(
    regions: Any,
    ax: WCSAxes,
    *,
    color: str | None = None,
    default_color: str = "white",
    linewidth: float = 1.6,
    labels: bool = True,
) -> list[Artist]:
    """Draw the outlines of sky regions on a map.

    Parameters
    ----------
    regions
        A sky region of the `regions` package (compound ones too), a DS9 string, or a list of them.
    ax
        Axes of a map.
    color
        Colour of all outlines; by default that which the region brings along (DS9 ``color=``).
    default_color
        Colour of regions that bring none along.
    linewidth
        Width of the lines, which have a dark rim (dark ones a white rim), so that they are seen on any colour map.
    labels
        Write the text that a region brings along (DS9 ``text={}``) beside it.

    Returns
    -------
    list of matplotlib.artist.Artist
        On a cylindrical projection a region is drawn on every turn of longitude that the axes show.

    Raises
    ------
    TypeError
        If something is not a sky region, or the axes have no celestial coordinates.

    Notes
    -----
    Regions are taken in the plane of the projection, as masks are: what the line encloses is what the mask selects.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.plot.canvas import sky_axes
    >>> ax = sky_axes(xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg"))
    >>> [circle] = plot_regions("icrs;circle(83.63, 22.01, 0.5)", ax)
    >>> float(round(circle.radius, 6))
    5.0
    >>> plt.close(ax.figure)
    """
    axes = checked_axes(ax)
    artists: list[Artist] = []
    for region in as_regions(regions):
        own = next((region.visual[k] for k in COLOR_KEYS if k in region.visual), default_color)
        artists += _draw_region(axes, region, color or own, linewidth)
        text = str(region.meta.get("text") or region.meta.get("label") or "")
        if labels and text and artists and not isinstance(artists[-1], Text):
            artists.append(_draw_label(axes, region.to_pixel(axes.wcs), text, color or own))
    return artists


def _draw_region(ax: WCSAxes, region: SkyRegion, color: str, linewidth: float) -> list[Artist]:
    from regions import CompoundPixelRegion, PointPixelRegion

    pixel_region = region.to_pixel(ax.wcs)
    if isinstance(pixel_region, CompoundPixelRegion):
        return _draw_compound(ax, pixel_region, color, linewidth)
    artists = []
    for turn in _turns(ax, pixel_region):
        artist = pixel_region.as_artist()
        _set_style(artist, color, linewidth)
        if isinstance(pixel_region, PointPixelRegion) and "marker" not in region.visual:
            artist.set_marker("+")
        artist.set_transform(_turned(ax, turn))
        ax.add_artist(artist)
        # what lies outside of the axes must neither be seen nor ask for space
        artist.set_clip_path(ax.patch)
        artist.set_in_layout(False)
        artists.append(artist)
    return artists


def _rim(linewidth: float, color: str) -> list[AbstractPathEffect]:
    dark = float(np.mean(to_rgb(color))) < 0.4
    return [withStroke(linewidth=linewidth + 1.4, foreground="white" if dark else "0.1", alpha=0.7)]


def _set_style(artist: Artist, color: str, linewidth: float) -> None:
    artist.set_path_effects(_rim(linewidth, color))
    if isinstance(artist, Patch):
        artist.set(facecolor="none", edgecolor=color, linewidth=linewidth, fill=False)
    elif isinstance(artist, Line2D):
        artist.set(color=color, linewidth=linewidth, markeredgecolor=color, markeredgewidth=linewidth)
        if artist.get_marker() not in (None, "None", "", " "):
            artist.set(markersize=max(float(artist.get_markersize()), 8.0), fillstyle="none")
    elif isinstance(artist, Text):
        artist.set(color=color, clip_on=True)


def _turned(ax: WCSAxes, turn: float) -> Any:
    return Affine2D().translate(turn, 0.0) + ax.transData


def _box(region: PixelRegion) -> tuple[float, float, float, float] | None:
    """Left, right, lower and upper end of a region, None where it has no extent."""
    try:
        box = region.bounding_box
    except (AttributeError, NotImplementedError, ValueError):
        return None
    return box.ixmin - 0.5, box.ixmax - 0.5, box.iymin - 0.5, box.iymax - 0.5


def _turns(ax: WCSAxes, region: PixelRegion) -> list[float]:
    """Pixels by which to move the region along x so that it lies in the view; only where x has a period."""
    try:
        period = SkyFrame.from_wcs(ax.wcs)[0].period
    except ValueError:
        period = None
    box = _box(region)
    if period is None:
        return [0.0]
    left, right = (box[0], box[1]) if box else (region.center.x, region.center.x)
    low, high = sorted(ax.get_xlim())
    turns = [n * period for n in range(-2, 3)]
    return [t for t in turns if right + t >= low and left + t <= high]


def _draw_compound(ax: WCSAxes, region: PixelRegion, color: str, linewidth: float) -> list[Artist]:
    """Draw the outline of a union, intersection or difference as a contour around the points that it contains."""
    from regions import PixCoord

    box = _box(region)
    view = (*sorted(ax.get_xlim()), *sorted(ax.get_ylim()))
    artists: list[Artist] = []
    for turn in _turns(ax, region):
        # no more of the region than can be seen, and a margin in which the outline closes
        seen = view if box is None else _overlap(box, (view[0] - turn, view[1] - turn, view[2], view[3]))
        if seen is None:
            continue
        margin = 2 * max(seen[1] - seen[0], seen[3] - seen[2]) / OUTLINE_SAMPLES
        x = np.linspace(seen[0] - margin, seen[1] + margin, OUTLINE_SAMPLES)
        y = np.linspace(seen[2] - margin, seen[3] + margin, OUTLINE_SAMPLES)
        inside = region.contains(PixCoord(*np.meshgrid(x, y)))
        if inside.any() and not inside.all():
            limits = ax.get_xlim(), ax.get_ylim()
            lines = ax.contour(x + turn, y, inside.astype(float), [0.5], colors=[color], linewidths=linewidth)
            lines.set_path_effects(_rim(linewidth, color))
            ax.set_xlim(*limits[0])
            ax.set_ylim(*limits[1])
            artists.append(lines)
    return artists


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, float, float, float] | None:
    left, right = max(first[0], second[0]), min(first[1], second[1])
    low, high = max(first[2], second[2]), min(first[3], second[3])
    return (left, right, low, high) if right > left and high > low else None


def _draw_label(ax: WCSAxes, region: PixelRegion, text: str, color: str) -> Text:
    """Write above the region."""
    box = _box(region)
    turns = _turns(ax, region) or [0.0]
    x, y = (0.5 * (box[0] + box[1]), box[3]) if box else (region.center.x, region.center.y)
    label = ax.text(x + turns[0], y, text, color=color, ha="center", va="bottom", fontsize="small", clip_on=True)
    label.set_path_effects(_rim(1.0, color))
    label.set_in_layout(False)
    return label
