"""Pictures of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xgamma.coords.sky import grid_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xgamma.fitting.result import FitResult

__all__ = ["draw_distribution", "draw_light_curve", "draw_maps", "draw_residuals", "draw_sed", "draw_spectrum"]

#: Width in inches of a pair of maps, of each map in it, and what a row needs beside the height of the map.
PAIR, MAP, BESIDE = 12.0, 3.5, 1.1
#: Most inches of a row, for maps that are high and narrow.
HIGHEST = 6.0
#: Most pixels of a picture along its height; renderers refuse 2**16.
MOST_PIXELS = 12000


def draw_maps(maps: xr.Dataset, path: Path, *, regions: Any = None, exclusion: xr.DataArray | None = None) -> None:
    """Write a picture of the excess and the significance, a row for each energy bin.

    Parameters
    ----------
    maps
        ``excess`` and ``sqrt_ts``, dims ([energy,] y, x).
    path
        PNG file.
    regions
        Sky regions drawn on top.
    exclusion
        True outside of the sources, bool, dims (y, x): its edge is drawn.
    """
    from xgamma.plot.canvas import sky_axes
    from xgamma.plot.sky import plot_map

    planes = [maps.isel(energy=[i]) for i in range(maps.sizes["energy"])] if "energy" in maps.dims else [maps]
    figure = _figure(PAIR, _row_height(maps) * len(planes))
    places = figure.add_gridspec(len(planes), 2, wspace=0.12)
    # colour bars stand where the layout does not see them: room for the rightmost
    figure.get_layout_engine().set(rect=(0.01, 0.0, 0.93, 1.0))  # type: ignore[union-attr,call-arg]
    edge = None if exclusion is None or bool(exclusion.all()) else (exclusion.astype(float), [0.5])
    for row, plane in enumerate(planes):
        for column, name in enumerate(("excess", "sqrt_ts")):
            image = plane[name]
            axes = sky_axes(image, figure, places[row, column])
            if not bool(image.notnull().any()):
                axes.set_title(f"{image.attrs['long_name']}: no pixel has a value")
                continue
            plot_map(image, axes, regions=regions, contours=edge)
    _save(figure, path, maps)


def draw_distribution(maps: xr.Dataset, path: Path, exclusion: xr.DataArray | None = None) -> None:
    """Write a picture of the distribution of significances, outside of the exclusion where there is one.

    Raises
    ------
    ValueError
        If no pixel is left, or no Gaussian describes them.
    """
    from xgamma.plot.distribution import plot_significance_distribution

    figure = _figure(7, 5)
    plot_significance_distribution(maps["sqrt_ts"], exclusion=exclusion, ax=figure.add_subplot())
    _save(figure, path, maps)


def draw_residuals(residuals: xr.DataArray, path: Path, attrs: Mapping[Any, Any]) -> None:
    """Write a picture of the significance of what a fit left in a map, and of its distribution.

    Parameters
    ----------
    residuals
        Significances, dims ([energy,] y, x).
    path
        PNG file.
    attrs
        Attributes of the cube, for the metadata of the picture.
    """
    from xgamma.plot.canvas import sky_axes
    from xgamma.plot.distribution import plot_significance_distribution
    from xgamma.plot.sky import plot_map

    image = residuals.squeeze(drop=True)
    image.attrs = {"units": "", "long_name": "Significance of the residual"}
    figure = _figure(PAIR, _row_height(image.to_dataset(name="residuals")))
    places = figure.add_gridspec(1, 2, wspace=0.3, width_ratios=(3, 2))
    plot_map(image, sky_axes(image, figure, places[0, 0]))
    axes = figure.add_subplot(places[0, 1])
    plot_significance_distribution(image, ax=axes)
    _save(figure, path, xr.Dataset(attrs=dict(attrs)))


def draw_spectrum(cube: xr.Dataset, path: Path, fit: FitResult | None = None) -> None:
    """Write a picture of the counts of spectra, with what a fit predicts and the residuals."""
    from xgamma.plot.spectrum import plot_spectrum

    figure = _figure(7, 6)
    plot_spectrum(cube, fit, figure)
    _save(figure, path, cube)


def draw_sed(points: xr.Dataset, path: Path, fit: FitResult, source: str) -> None:
    """Write a picture of flux points and the model that they belong to."""
    from xgamma.plot.sed import plot_sed

    figure = _figure(7, 5)
    axes = plot_sed(points, figure.add_subplot(), models=fit, source=source)
    axes.set_title(source)
    _save(figure, path, points)


def draw_light_curve(curve: xr.Dataset, path: Path, source: str) -> None:
    """Write a picture of a light curve."""
    from xgamma.plot.light_curve import plot_light_curve

    figure = _figure(8, 4.5)
    axes = plot_light_curve(curve, figure.add_subplot(), quantity="flux")
    axes.set_title(source)
    _save(figure, path, curve)


def _row_height(maps: xr.Dataset) -> float:
    grid = grid_of(maps)
    height, width = (n * size for n, size in zip(grid.shape, grid.frame.binsize, strict=True))
    return min(MAP * height / width + BESIDE, HIGHEST)


def _figure(width: float, height: float) -> Figure:
    """Figure that no backend with windows knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path, maps: xr.Dataset) -> None:
    dpi = min(110.0, MOST_PIXELS / figure.get_size_inches()[1])
    names = {"Software": "creator", "Creation Time": "created", "Source": "obs_ids", "Comment": "settings"}
    metadata = {name: str(maps.attrs[key]) for name, key in names.items() if key in maps.attrs}
    figure.savefig(path, dpi=dpi, format="png", metadata=metadata)
