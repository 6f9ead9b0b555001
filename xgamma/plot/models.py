"""Spatial models on maps: their brightness, and where sources are and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from xgamma.coords.sky import grid_of
from xgamma.coords.units import to_value
from xgamma.fitting.result import FitResult
from xgamma.models.models import Models
from xgamma.models.sky_model import Model
from xgamma.models.spatial_model import CenteredModel, SpatialModel
from xgamma.models.spatial_pixels import integrate_geom
from xgamma.models.spatial_sky import SkyPixels
from xgamma.plot.canvas import checked_axes
from xgamma.plot.regions import plot_regions
from xgamma.plot.sky import plot_map

__all__ = ["plot_sources", "plot_spatial_model"]

#: Pixels between a source and its name.
GAP = 6


def plot_spatial_model(
    model: SpatialModel | Model,
    grid: xr.Dataset | xr.DataArray,
    ax: WCSAxes | None = None,
    *,
    energy: Any = None,
    units: str | None = None,
    **kwargs: Any,
) -> WCSAxes:
    """Show the brightness of a spatial model, without responses.

    Parameters
    ----------
    model
        Spatial model, or a source that has one.
    grid
        Map, cube or grid whose pixels are shown; further dims do not matter.
    ax
        Axes to draw on, by default a new figure.
    energy
        Energy of models that depend on it, one quantity or text.
    units
        Unit to show; by default deg-2, or that of the model where it is no sr-1.
    **kwargs
        Passed to `~xgamma.plot.sky.plot_map`: ``stretch``, ``vmin``, ``regions``, ...

    Returns
    -------
    astropy.visualization.wcsaxes.WCSAxes
        Each pixel has the mean of the model over it, as on maps that are fitted: a point fills four pixels.

    Raises
    ------
    TypeError
        If there is no spatial model.
    ValueError
        If a model depends on energy and none is given.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.05 deg")
    >>> shell = xg.ShellSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", radius="0.5 deg", width="0.1 deg")
    >>> ax = plot_spatial_model(shell, grid)
    >>> plt.close(ax.figure)
    """
    spatial = _spatial(model)
    pixels = SkyPixels(grid_of(grid))
    tev = None if energy is None else np.atleast_1d(np.asarray(to_value(energy, "TeV", "energy"), float))
    at = spatial.energy_argument(tev).get("energy")
    if at is not None and at.size != 1:
        msg = f"energy={energy!r} must be one energy: a picture shows one"
        raise ValueError(msg)
    integral = integrate_geom(spatial, pixels, spatial.values, at)
    solid_angle = pixels.solid_angle[1:-1, 1:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        # pixels beyond the edge of the sky are blank
        mean = np.where(solid_angle > 0, integral.reshape(solid_angle.shape) / solid_angle, np.nan)
    attrs = {"units": spatial.unit, "long_name": "Brightness" if spatial.unit else "Factor"}
    image = xr.DataArray(mean, dims=("y", "x"), coords=pixels.grid.coords(), name="model", attrs=attrs)
    if units is None and spatial.unit == "sr-1":
        units = "deg-2"
    return plot_map(image, ax, units=units, **kwargs)


def plot_sources(
    models: FitResult | Models | Model | SpatialModel | Iterable[Model],
    ax: WCSAxes,
    *,
    color: str | None = None,
    outline: bool = True,
    error: bool = True,
    labels: bool = True,
    linewidth: float = 1.6,
) -> list[Artist]:
    """Draw on a map where models are: outline or position, the error of the position, and the name.

    Parameters
    ----------
    models
        Result of a fit, models, one model, or a spatial model alone; those without a centre are left out.
    ax
        Axes of a map.
    color
        Colour of everything, white by default.
    outline
        Draw what `to_region` returns: a cross for a point, one standard deviation of a Gaussian, the edge of a disk.
    error
        Draw the ellipse that holds the position with 95 %, where longitude and latitude have errors.
    labels
        Write the names, beside points and above outlines, where the centre lies on the map.
    linewidth
        Width of the lines.

    Returns
    -------
    list of matplotlib.artist.Artist
        Outlines, ellipses and names, model by model.

    Raises
    ------
    TypeError
        If something is not a model, or the axes have no celestial coordinates.

    See Also
    --------
    xgamma.plot.regions.plot_regions : how outlines are drawn.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.plot.canvas import sky_axes
    >>> crab = SkyCoord(83.63, 22.01, unit="deg")
    >>> ax = sky_axes(xg.sky_grid(crab, "2 deg", "0.05 deg"))
    >>> shape = xg.GaussianSpatialModel(position=crab, sigma="0.2 deg")
    >>> nebula = xg.SkyModel(xg.PowerLawSpectralModel(), shape, name="crab")
    >>> ellipse, name = plot_sources(nebula, ax)
    >>> float(round(ellipse.width, 6)), name.get_text()
    (8.0, 'crab')
    >>> plt.close(ax.figure)
    """
    axes = checked_axes(ax)
    drawn: list[Artist] = []
    for name, spatial in _centred(models):
        regions = [spatial.to_region()] if outline else []
        if error and _has_error(spatial):
            regions.append(spatial.position_error)
        for region in regions:
            drawn += plot_regions(region, axes, color=color, linewidth=linewidth)
        above = outline and spatial.evaluation_radius(*spatial.values) > 0
        if labels and name:
            text = _draw_name(axes, spatial, name, color or "white", above=above)
            drawn += [] if text is None else [text]
    return drawn


def _spatial(model: Any) -> SpatialModel:
    spatial = model if isinstance(model, SpatialModel) else getattr(model, "spatial", None)
    if not isinstance(spatial, SpatialModel):
        msg = f"{model!r} has no spatial model"
        raise TypeError(msg)
    return spatial


def _centred(models: Any) -> list[tuple[str, CenteredModel]]:
    """Names and spatial models that have a centre."""
    listed = models.models if isinstance(models, FitResult) else models
    listed = [listed] if isinstance(listed, Model | SpatialModel) else listed
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        msg = f"models={models!r} must be models, or the result of a fit"
        raise TypeError(msg)
    result = []
    for model in listed:
        if not isinstance(model, Model | SpatialModel):
            msg = f"{model!r} is not a model of a source"
            raise TypeError(msg)
        spatial = model if isinstance(model, SpatialModel) else getattr(model, "spatial", None)
        if isinstance(spatial, CenteredModel):
            result.append((model.name if isinstance(model, Model) else "", spatial))
    return result


def _has_error(spatial: CenteredModel) -> bool:
    """Whether both coordinates of the centre have an error, so that it is an ellipse."""
    chosen = [spatial.parameters[name] for name in ("lon_0", "lat_0")]
    if not spatial.has_covariance or any(p.frozen for p in chosen):
        return False
    matrix = spatial.covariance_over(chosen)
    # fully correlated, or without an error, it has no width
    return bool(np.isfinite(matrix).all() and np.all(np.diag(matrix) > 0) and np.linalg.det(matrix) > 0)


def _draw_name(ax: WCSAxes, spatial: CenteredModel, name: str, color: str, *, above: bool) -> Text | None:
    """Write the name right of a point, or above an outline, if the axes show the centre."""
    x, y = (float(v) for v in ax.wcs.world_to_pixel(spatial.position))
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    if not (left <= x <= right and low <= y <= high):
        return None
    place, align = (GAP, GAP), "left"
    if above:
        # on the outline where that is higher than the map: not beside it
        top = spatial.to_region().to_pixel(ax.wcs).bounding_box.iymax - 0.5
        y, place, align = min(top, high), (0, 2 if top <= high else -12), "center"
    text = ax.annotate(name, (x, y), place, textcoords="offset points", ha=align, color=color, fontsize="small")
    rim = "white" if float(np.mean(to_rgb(color))) < 0.4 else "0.1"
    text.set_path_effects([withStroke(linewidth=2.4, foreground=rim, alpha=0.7)])
    text.set(clip_on=True, in_layout=False)
    return text
