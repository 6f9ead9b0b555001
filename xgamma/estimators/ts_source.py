"""The source whose flux is fitted at each pixel: its spectrum, and its shape on pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from xgamma.coords.frame import SkyFrame
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_shapes import PointSpatialModel
from xgamma.models.spectral_model import SpectralModel

__all__ = ["OVERSAMPLING", "Source", "source_of"]

FloatArray = NDArray[np.float64]

#: Part of an extended model that its pixels must hold.
COMPLETE = 0.99
#: Parts of a pixel along each axis on which extended models are convolved with the point spread function; odd.
OVERSAMPLING = 3


@dataclass(frozen=True, eq=False)
class Source:
    """A source to look for.

    Attributes
    ----------
    spectral
        Spectrum at norm 1.
    shape
        Its integral over parts of pixels around its middle, shape (odd, odd), sum 1; None for a point.
    text
        What it is, for people.
    """

    spectral: SpectralModel
    shape: FloatArray | None
    text: str

    def flux(self, low: FloatArray, high: FloatArray) -> FloatArray:
        """Return the flux between energies in TeV, in cm-2 s-1; 0 for empty ranges."""
        low, high = np.broadcast_arrays(low, high)
        some = high > low
        result = np.zeros(low.shape)
        result[some] = self.spectral.evaluate_integral(low[some], high[some], *self.spectral.values)
        return result


def source_of(model: Any, cube: xr.Dataset) -> Source:
    """Return the source of a TS map.

    Parameters
    ----------
    model
        None, a spectral model, a spatial model, or a SkyModel.
    cube
        Cube with the pixels.

    Returns
    -------
    Source

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If the spectrum is a factor, or the shape has no centre, depends on energy, or is wider than the map.

    Examples
    --------
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg")
    >>> source_of(None, grid).shape is None
    True
    """
    spectral, spatial = _parts(model)
    if spectral.is_norm:
        msg = f"{spectral!r} is a factor without unit; a TS map needs a differential flux"
        raise ValueError(msg)
    if spatial is None or isinstance(spatial, PointSpatialModel):
        return Source(spectral, None, f"point, {spectral!r}")
    return Source(spectral, _shape(spatial, cube), f"{spatial!r}, {spectral!r}")


def _parts(model: Any) -> tuple[SpectralModel, SpatialModel | None]:
    if isinstance(model, SkyModel):
        spatial = model.spatial
        if spatial is None or isinstance(spatial, SpatialModel):
            return model.spectral, spatial
    if model is None or isinstance(model, SpatialModel):
        return PowerLawSpectralModel(index=2.0, amplitude="1e-12 TeV-1 s-1 cm-2", reference="1 TeV"), model
    if isinstance(model, SpectralModel):
        return model, None
    msg = f"model={model!r} must be a spectral model, a spatial model, or a SkyModel"
    raise TypeError(msg)


def _shape(spatial: SpatialModel, cube: xr.Dataset) -> FloatArray:
    """Integrals over parts of pixels of the model at the middle of the map."""
    if spatial.is_energy_dependent or spatial.position is None:
        msg = f"{type(spatial).__name__} has no centre or depends on energy; a TS map needs one shape around a centre"
        raise ValueError(msg)
    moved = spatial.copy()
    if not hasattr(type(moved), "position") or type(moved).position.fset is None:  # type: ignore[attr-defined]
        msg = f"{type(spatial).__name__} cannot be moved; take a shape with lon_0 and lat_0, such as a Gaussian"
        raise ValueError(msg)
    grid = grid_of(cube)
    lon, lat = grid.center
    moved.position = SkyCoord(lon, lat, unit="deg", frame=grid.frame.celestial)  # type: ignore[misc]
    radius = moved.evaluation_radius(*moved.values)
    pixel = pixel_scale(cube)
    if not radius <= min(n * p for n, p in zip(grid.shape, pixel, strict=True)):
        msg = f"{type(spatial).__name__} reaches {radius:g} deg from its centre, farther than the map is wide"
        raise ValueError(msg)
    # around the centre on a plane, as the point spread function is
    half = [int(np.ceil(radius / p * OVERSAMPLING)) for p in pixel]
    frame = SkyFrame.create(lon, lat, (pixel[1] / OVERSAMPLING, pixel[0] / OVERSAMPLING), "TAN", grid.frame.name)
    around = SkyGrid(frame, *(range(-h, h + 1) for h in half))
    image = np.asarray(moved.integrate(xr.Dataset(coords=around.coords())).values, dtype=float)
    total = image.sum()
    if not total > COMPLETE:
        msg = f"only {total:.3f} of {type(spatial).__name__} lies on the pixels around its centre"
        raise ValueError(msg)
    return np.asarray(np.nan_to_num(image))
