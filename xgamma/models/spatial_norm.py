"""Factors that vary over the sky."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.models.parameter import Parameter
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.table import as_quantity

__all__ = ["PiecewiseNormSpatialModel"]

FloatArray = NDArray[np.float64]


class PiecewiseNormSpatialModel(SpatialModel):
    """Factor that is free at some positions and interpolated between.

    Parameters
    ----------
    lon, lat
        Positions of the nodes in the frame of the model, quantities of shape (n,), at least four that do not lie on
        one line; or one SkyCoord as `lon`.
    norms
        Factors at the nodes, 1 by default: numbers, or `Parameter` objects.
    interp
        ``"lin"``, or ``"log"`` for the interpolation of logarithms: norms must not be negative then.
    frame
        ``"icrs"`` (by default, or that of the SkyCoord), ``"galactic"`` or ``"fk5"``.

    Raises
    ------
    ValueError
        If there are fewer than four nodes, or all lie on one line, or their numbers differ.

    Notes
    -----
    The interpolation is that of Clough and Tocher: cubic in each triangle of nodes, smooth across their sides.
    Longitudes are counted from the middle of the nodes. Outside of the triangles the factor is that of the nearest
    node, where gammapy has NaN. The parameters are ``norm_0``, ``norm_1``, ...

    Examples
    --------
    >>> model = PiecewiseNormSpatialModel([359, 1, 359, 1] * u.deg, [-1, -1, 1, 1] * u.deg, norms=[1, 1, 3, 3])
    >>> model("0 deg", "0 deg").round(6)
    <Quantity 2.>
    """

    tag = ("PiecewiseNormSpatialModel", "piecewise-norm")

    def __init__(
        self, lon: Any, lat: Any = None, norms: Any = None, interp: str = "lin", *, frame: str | None = None
    ) -> None:
        if isinstance(lon, SkyCoord):
            frame = str(lon.frame.name) if frame is None else frame
            spherical = lon.transform_to(frame).spherical
            lon, lat = spherical.lon.deg * u.deg, spherical.lat.deg * u.deg
        super().__init__(frame=frame)
        self._lon, self._lat = (
            np.atleast_1d(np.asarray(to_value(v, "deg", n), float)) for v, n in ((lon, "lon"), (lat, "lat"))
        )
        if self._lon.shape != self._lat.shape or self._lon.ndim != 1 or self._lon.size < 4:
            msg = f"nodes need at least four longitudes and as many latitudes, not {self._lon.shape}, {self._lat.shape}"
            raise ValueError(msg)
        given = [1.0] * self._lon.size if norms is None else list(norms)
        if len(given) != self._lon.size:
            msg = f"there are {len(given)} norms for {self._lon.size} positions"
            raise ValueError(msg)
        if interp not in ("log", "lin"):
            msg = f"interp={interp!r} must be 'log' or 'lin'"
            raise ValueError(msg)
        self.interp = interp
        low = 0.0 if interp == "log" else np.nan
        made = [n if isinstance(n, Parameter) else Parameter(f"norm_{i}", n, min=low) for i, n in enumerate(given)]
        if interp == "log" and any(p.value < 0 for p in made):
            msg = "norms must not be negative with interp='log'; take interp='lin'"
            raise ValueError(msg)
        self._parameters = {f"norm_{i}": parameter for i, parameter in enumerate(made)}
        direction = np.deg2rad(self._lon)
        self._middle = float(np.rad2deg(np.arctan2(np.sin(direction).mean(), np.cos(direction).mean())))
        self._triangles = _triangles(self._around(self._lon), self._lat)

    def _around(self, lon: FloatArray) -> FloatArray:
        """Longitudes counted from the middle of the nodes, from -180 to 180."""
        return np.asarray((np.asarray(lon) - self._middle + 180.0) % 360.0 - 180.0)

    @property
    def unit(self) -> str:
        """No unit: a factor."""
        return ""

    @property
    def position(self) -> SkyCoord:
        """Middle of the nodes."""
        return SkyCoord(self._middle, self._lat.mean(), unit="deg", frame=self.frame)

    @property
    def nodes(self) -> SkyCoord:
        """Positions of the nodes."""
        return SkyCoord(self._lon, self._lat, unit="deg", frame=self.frame)

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the factor at positions in degrees of its `frame`."""
        from scipy.interpolate import CloughTocher2DInterpolator

        norms = np.array(values)
        with np.errstate(divide="ignore"):
            nodes = np.log(np.maximum(norms, np.finfo(float).tiny)) if self.interp == "log" else norms
        places = np.stack(np.broadcast_arrays(self._around(lon), np.asarray(lat, float)), axis=-1)
        found = np.reshape(CloughTocher2DInterpolator(self._triangles, nodes)(places), places.shape[:-1])
        outside = np.isnan(found) & np.isfinite(places).all(axis=-1)
        if outside.any():
            found = np.where(outside, nodes[self._nearest(np.where(outside[..., None], places, 0.0))], found)
        return np.exp(found) if self.interp == "log" else found

    def _nearest(self, places: FloatArray) -> NDArray[np.intp]:
        from scipy.spatial import cKDTree

        return np.asarray(cKDTree(self._triangles.points).query(places)[1])

    def settings(self) -> dict[str, Any]:
        """Return the nodes by the keys of a file."""
        nodes = {"lon": self._lon * u.deg, "lat": self._lat * u.deg}
        return super().settings() | nodes | ({} if self.interp == "lin" else {"interp": self.interp})

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its norms and what `settings` returned."""
        missing = [key for key in ("lon", "lat") if key not in settings]
        if missing:
            msg = f"{cls.__name__} needs the key {missing[0]!r}: the positions of its norms"
            raise ValueError(msg)
        lon, lat = as_quantity(settings["lon"]), as_quantity(settings["lat"])
        norms = [parameters.get(f"norm_{i}", 1.0) for i in range(np.size(lon))]
        unknown = [name for name in parameters if name not in {f"norm_{i}" for i in range(len(norms))}]
        if unknown:
            msg = f"{cls.__name__} has no parameter {unknown[0]!r}: it has {len(norms)} norms from 'norm_0' on"
            raise TypeError(msg)
        return cls(lon, lat, norms, settings.get("interp", "lin"), frame=settings.get("frame"))


def _triangles(lon: FloatArray, lat: FloatArray) -> Any:
    from scipy.spatial import Delaunay, QhullError

    try:
        return Delaunay(np.stack([lon, lat], axis=-1))
    except QhullError as error:
        msg = "the nodes lie on one line: there are no triangles between them"
        raise ValueError(msg) from error
