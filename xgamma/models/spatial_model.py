"""What spatial models have in common: frame, position, and the values that maps need of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from xgamma.coords.frame import check_frame
from xgamma.coords.units import to_value
from xgamma.models.component import Component
from xgamma.models.parameter import Parameter
from xgamma.models.spatial_geometry import Axes, Offsets, Planes, axes_at, planes_of

if TYPE_CHECKING:
    from regions import EllipseSkyRegion, SkyRegion

__all__ = ["CenteredModel", "RadialModel", "SpatialModel"]

FloatArray = NDArray[np.float64]

#: Radius that holds 95 % of a two-dimensional Gaussian, in its standard deviations.
R95 = float(np.sqrt(-2.0 * np.log(0.05)))


class SpatialModel(Component):
    """A distribution on the sky, in sr-1, or a factor on one.

    A spatial model is written by its declared parameters and one pure function, ``evaluate(lon, lat, *values)``, in
    canonical units (deg), with the values in the order of the parameters. Everything else follows.

    Parameters
    ----------
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    **parameters
        Values of the parameters.
    """

    kind = "spatial"
    #: Whether files hold the frame: models that are the same everywhere have none.
    has_frame: ClassVar[bool] = True
    #: Whether values change slowly over the smallest bin, so that the mean over a pixel follows from its neighbours.
    is_smooth: ClassVar[bool] = False

    def __init__(self, *, frame: str | None = None, **parameters: Any) -> None:
        super().__init__(**parameters)
        frame = "icrs" if frame is None else frame
        check_frame(frame)
        #: Celestial frame of the coordinates.
        self.frame = frame

    # ------------------------------------------------------------------ pure functions on floats
    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the model at positions in degrees of its `frame`, for values in canonical units, in `unit`.

        `energy` in TeV, shape (n,), is needed by models that depend on it: the result has shape (n, ...) then.
        """
        msg = f"{type(self).__name__} must define evaluate(lon, lat, *values)"
        raise NotImplementedError(msg)

    def evaluate_integrand(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return what integrals over pixels add up: `evaluate`, unless that loses flux (templates)."""
        return self.evaluate(lon, lat, *values, energy=energy)

    def evaluation_radius(self, *values: float) -> float:
        """Return the radius in degrees beyond which the model is negligible; infinite for models without an end."""
        return np.inf

    def bin_size_min(self, *values: float) -> float:
        """Return the size in degrees of the bins that resolve the model; infinite for constants, 0 for points."""
        return np.inf

    def total(self, *values: float) -> float:
        """Return the integral of `evaluate` over the whole sky; pixels hold what is divided by it."""
        return 1.0

    def center(self, *values: float) -> tuple[float, float] | None:
        """Return longitude and latitude in degrees of the centre in `frame`, None without one."""
        return None

    # ------------------------------------------------------------------ present values
    @property
    def unit(self) -> str:
        """Unit of the model as text."""
        return "sr-1"

    @property
    def is_energy_dependent(self) -> bool:
        """Whether the model changes with energy."""
        return False

    @property
    def values(self) -> tuple[float, ...]:
        """Present values of the parameters in canonical units, in order."""
        return tuple(self.canonical_values().values())

    @property
    def position(self) -> SkyCoord | None:
        """Centre of the model as a SkyCoord in its frame, None without one."""
        center = self.center(*self.values)
        return None if center is None else SkyCoord(*center, unit="deg", frame=self.frame)

    def __call__(self, lon: Any, lat: Any = None, energy: Any = None) -> u.Quantity:
        """Return the model at positions.

        Parameters
        ----------
        lon
            SkyCoord of any frame; or longitudes in the model's frame, quantity or text.
        lat
            Latitudes, with longitudes.
        energy
            Quantity or text, shape (n,): of models that depend on energy.

        Returns
        -------
        astropy.units.Quantity
            Shape of the positions, with energies in front.
        """
        if isinstance(lon, SkyCoord):
            spherical = lon.transform_to(self.frame).spherical
            place = np.asarray(spherical.lon.deg, float), np.asarray(spherical.lat.deg, float)
        else:
            place = np.asarray(to_value(lon, "deg", "lon"), float), np.asarray(to_value(lat, "deg", "lat"), float)
        places = np.broadcast_arrays(*place)
        result = self.evaluate(places[0], places[1], *self.values, **self.energy_argument(energy))
        return result * u.Unit(self.unit)

    def energy_argument(self, energy: Any) -> dict[str, FloatArray]:
        """Return the keyword ``energy`` of `evaluate` where the model depends on energy."""
        if not self.is_energy_dependent:
            return {}
        if energy is None:
            msg = f"{type(self).__name__} depends on energy: give energy="
            raise ValueError(msg)
        values = energy if isinstance(energy, np.ndarray) and not isinstance(energy, u.Quantity) else None
        return {"energy": np.atleast_1d(np.asarray(to_value(energy, "TeV", "energy") if values is None else values))}

    # ------------------------------------------------------------------ on maps
    def integrate(self, grid: xr.Dataset | xr.DataArray) -> xr.DataArray:
        """Return the integral of the model over each pixel; see `xgamma.models.spatial_map.integrate_model`."""
        from xgamma.models.spatial_map import integrate_model

        return integrate_model(self, grid)

    def evaluate_on(self, grid: xr.Dataset | xr.DataArray) -> xr.DataArray:
        """Return the model at the centre of each pixel; see `xgamma.models.spatial_map.evaluate_model`."""
        from xgamma.models.spatial_map import evaluate_model

        return evaluate_model(self, grid)

    def to_region(self) -> SkyRegion:
        """Return the outline of the model as a sky region."""
        from regions import RectangleSkyRegion

        return RectangleSkyRegion(SkyCoord(0, 0, unit="deg", frame=self.frame), width=360 * u.deg, height=180 * u.deg)

    # ------------------------------------------------------------------ files
    def settings(self) -> dict[str, Any]:
        """Return the frame by the key of a file."""
        return {"frame": self.frame} if self.has_frame else {}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the frame."""
        other = [key for key in settings if key != "frame"]
        if other:
            msg = f"{cls.__name__} has no key {other[0]!r}; it has 'type', 'frame' and 'parameters' only"
            raise TypeError(msg)
        given: dict[str, Any] = {**parameters, **settings}
        return cls(**given)

    def __repr__(self) -> str:
        frame = [f"frame={self.frame!r}"] if self.has_frame else []
        values = super().__repr__().partition("(")[2].removesuffix(")")
        return f"{type(self).__name__}({', '.join([p for p in [values] if p] + frame)})"


class CenteredModel(SpatialModel):
    """A model with a centre, whose first two parameters are ``lon_0`` and ``lat_0``.

    Parameters
    ----------
    position
        Centre as a SkyCoord, in place of ``lon_0`` and ``lat_0``; the model has its frame unless `frame` says another.
    frame
        Frame of ``lon_0`` and ``lat_0``, ``"icrs"`` by default.
    **parameters
        Values of the parameters.
    """

    def __init__(self, *, position: SkyCoord | None = None, frame: str | None = None, **parameters: Any) -> None:
        if position is not None:
            if "lon_0" in parameters or "lat_0" in parameters:
                msg = f"the centre of {type(self).__name__} is given twice: by position, and by lon_0 and lat_0"
                raise TypeError(msg)
            frame = _frame_of(position) if frame is None else frame
            parameters |= _lonlat(position, frame)
        super().__init__(frame=frame, **parameters)

    def center(self, *values: float) -> tuple[float, float]:
        """Return longitude and latitude in degrees of the centre in `frame`."""
        return values[0], values[1]

    @property
    def position(self) -> SkyCoord:
        """Centre of the model as a SkyCoord in its frame; set it with one of any frame."""
        return SkyCoord(*self.center(*self.values), unit="deg", frame=self.frame)

    @position.setter
    def position(self, position: SkyCoord) -> None:
        _frame_of(position)
        for name, value in _lonlat(position, self.frame).items():
            # the unit stays, and with it limits and errors
            parameter = self.parameters[name]
            parameter.value = value.to_value(parameter.unit)

    @property
    def position_error(self) -> EllipseSkyRegion:
        """Ellipse around the centre that holds the true position with 95 %, from the covariance of the centre.

        Notes
        -----
        The covariance is turned into one of angles on the sky (longitude times the cosine of latitude); the semi-axes
        are the roots of its eigenvalues times 2.448, the radius that holds 95 % of a two-dimensional Gaussian.
        """
        from regions import EllipseSkyRegion

        chosen = [self.parameters[name] for name in ("lon_0", "lat_0")]
        if not self.has_covariance or any(p.frozen for p in chosen):
            msg = f"the position of {type(self).__name__} has no ellipse: fit it with both lon_0 and lat_0 free"
            raise ValueError(msg)
        scale = np.array([u.Unit(p.unit).to("deg") for p in chosen])
        scale[0] *= np.cos(np.deg2rad(self.center(*self.values)[1]))
        variances, axes = np.linalg.eigh(self.covariance_over(chosen) * np.outer(scale, scale))
        minor, major = 2.0 * R95 * np.sqrt(np.maximum(variances, 0.0)) * u.deg
        angle = np.arctan2(axes[0, 1], axes[1, 1]) * u.rad  # of the longer axis, from north to east
        return EllipseSkyRegion(self.position, width=minor, height=major, angle=angle.to("deg"))


class RadialModel(CenteredModel):
    """A model that depends on separation and, where it is elongated, on direction."""

    def evaluate_offsets(self, offsets: Offsets, *values: float) -> FloatArray:
        """Return the model in sr-1 at points as seen from its centre."""
        msg = f"{type(self).__name__} must define evaluate_offsets(offsets, *values)"
        raise NotImplementedError(msg)

    def cell_average(self, offsets: Offsets, size: float, *values: float) -> FloatArray:
        """Return means in sr-1 over cells of a size in degrees, of the model that integrates to 1 over the sky.

        Models with sharp edges override it: sums over cells then change smoothly with all parameters.
        """
        return self.evaluate_offsets(offsets, *values) / self.total(*values)

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the model in sr-1 at positions in degrees of its `frame`."""
        return self.evaluate_offsets(Offsets(planes_of(lon, lat), axes_at(*self.center(*values))), *values)

    def axes(self, *values: float) -> Axes:
        """Return the axes at the centre, in ICRS."""
        return axes_at(*self.center(*values), self.frame)

    def evaluate_planes(self, planes: Planes, size: float, *values: float) -> FloatArray:
        """Return means over cells around ICRS unit vectors, see `cell_average`."""
        return self.cell_average(Offsets(planes, self.axes(*values)), size, *values)


def _frame_of(position: SkyCoord) -> str:
    if not isinstance(position, SkyCoord) or not position.isscalar:
        msg = f"position={position!r} must be one astropy SkyCoord"
        raise TypeError(msg)
    name = str(position.frame.name)
    check_frame(name)
    return name


def _lonlat(position: SkyCoord, frame: str) -> dict[str, u.Quantity]:
    spherical = position.transform_to(frame).spherical
    return {"lon_0": spherical.lon.deg * u.deg, "lat_0": spherical.lat.deg * u.deg}
