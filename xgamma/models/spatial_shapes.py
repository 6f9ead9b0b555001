"""Points, constants and Gaussians on the sky."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy import special

from xgamma.models.component import ParameterField
from xgamma.models.spatial_geometry import Offsets, axis_ratio, ellipse_directions, semi_axis
from xgamma.models.spatial_model import CenteredModel, RadialModel, SpatialModel

if TYPE_CHECKING:
    from regions import EllipseSkyRegion, PointSkyRegion

__all__ = [
    "ConstantFluxSpatialModel",
    "ConstantSpatialModel",
    "EllipticalModel",
    "GaussianSpatialModel",
    "GeneralizedGaussianSpatialModel",
    "PointSpatialModel",
]

FloatArray = NDArray[np.float64]

#: Terms of the series of sin(theta) in integrals over the sphere.
TERMS = 6


class PointSpatialModel(CenteredModel):
    """A point source.

    Parameters
    ----------
    lon_0, lat_0
        Position, deg.
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    position
        Position as a SkyCoord, in place of `lon_0`, `lat_0` and `frame`.

    Notes
    -----
    `evaluate` is a delta function: 0 beside the position, infinite on it. On a map without a PSF the source is
    divided among the four nearest pixels such that its centroid stays, as in gammapy; predictions with a PSF take the
    PSF at the true position.

    Examples
    --------
    >>> PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg").position.to_string()
    '83.63 22.01'
    """

    tag = ("PointSpatialModel", "point")
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0)

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return infinity at the position and 0 elsewhere."""
        same = (np.asarray(lon) - values[0]) % 360.0 == 0
        return np.where(same & (np.asarray(lat) == values[1]), np.inf, 0.0)

    def evaluation_radius(self, *values: float) -> float:
        """Return 0."""
        return 0.0

    def bin_size_min(self, *values: float) -> float:
        """Return 0."""
        return 0.0

    def to_region(self) -> PointSkyRegion:
        """Return the position as a sky region."""
        from regions import PointSkyRegion

        return PointSkyRegion(self.position)


class ConstantSpatialModel(SpatialModel):
    """The same everywhere on the sky.

    Parameters
    ----------
    value
        Value, sr-1, frozen.

    Examples
    --------
    >>> ConstantSpatialModel()("10 deg", "20 deg")
    <Quantity 1. 1 / sr>
    """

    tag = ("ConstantSpatialModel", "const")
    has_frame = False
    value = ParameterField(1.0, "sr-1", frozen=True)

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the value in sr-1."""
        return np.full(np.broadcast_shapes(np.shape(lon), np.shape(lat)), values[0])


class ConstantFluxSpatialModel(SpatialModel):
    """The same in every pixel of a map, whatever its size: each holds the flux of the spectrum.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "1 deg")
    >>> ConstantFluxSpatialModel().integrate(grid).values
    array([[1., 1.],
           [1., 1.]])
    """

    tag = ("ConstantFluxSpatialModel", "const-flux")
    has_frame = False

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return 1 sr-1."""
        return np.ones(np.broadcast_shapes(np.shape(lon), np.shape(lat)))


class EllipticalModel(RadialModel):
    """What models in the form of an ellipse have in common: the outline."""

    def _outline(self, major: float, e: float, phi: float) -> EllipseSkyRegion:
        from regions import EllipseSkyRegion

        width = 2.0 * major * axis_ratio(e) * u.deg
        return EllipseSkyRegion(self.position, width=width, height=2.0 * major * u.deg, angle=phi * u.deg)


class GaussianSpatialModel(EllipticalModel):
    r"""Two-dimensional Gaussian on the sphere, round or elongated.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    sigma
        :math:`\sigma`, standard deviation along the major axis, deg.
    e
        Eccentricity :math:`e`, frozen.
    phi
        Position angle of the major axis from north to east, deg, frozen.
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    position
        Centre as a SkyCoord, in place of `lon_0`, `lat_0` and `frame`.

    Notes
    -----
    :math:`N \exp(-(1 - \cos\theta) / 2a)` with :math:`a = 1 - \cos\sigma` and :math:`N = 1 / (4 \pi a (1 - e^{-1/a}))`,
    which integrates to 1 over the sphere. Where it is elongated, :math:`\sigma` is that of an ellipse in the direction
    of the point, and :math:`N = 1 / (2 \pi \sigma^2 \sqrt{1 - e^2})`, as in a plane: the integral over the sphere
    falls short of 1 by about :math:`\sigma^2 (2 - e^2) / 24` (2.5e-5 for 1 deg); `total` is that integral, and on maps
    the model is divided by it.

    Examples
    --------
    >>> GaussianSpatialModel(sigma="0.2 deg")("0 deg", "0 deg").round(2)
    <Quantity 13061.88 1 / sr>
    """

    tag = ("GaussianSpatialModel", "gauss")
    is_smooth = True
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0)
    sigma = ParameterField(1.0, "deg", min=0.0)
    e = ParameterField(0.0, min=0.0, max=1.0, frozen=True)
    phi = ParameterField(0.0, "deg", min=-180.0, max=180.0, frozen=True)

    def evaluate_offsets(self, offsets: Offsets, *values: float) -> FloatArray:
        """Return the model in sr-1."""
        sigma, e, phi = np.deg2rad(values[2]), values[3], values[4]
        if e == 0:
            a = 2.0 * np.sin(0.5 * sigma) ** 2
            return np.asarray(np.exp(offsets.versine * (-0.5 / a)) * _round_norm(a))
        minor = sigma * axis_ratio(e)
        a = 2.0 * np.sin(0.5 * semi_axis(minor, sigma, offsets.cos2(phi))) ** 2
        return np.asarray(np.exp(-0.5 * offsets.versine / a) / (2.0 * np.pi * sigma * minor))

    def total(self, *values: float) -> float:
        """Return the integral over the sphere: 1 where the model is round."""
        sigma, e = np.deg2rad(values[2]), values[3]
        if e == 0:
            return 1.0
        minor = sigma * axis_ratio(e)
        a = 2.0 * np.sin(0.5 * ellipse_directions(minor, sigma)) ** 2
        return float(np.mean(2.0 * a * -np.expm1(-1.0 / a)) / (sigma * minor))

    def evaluation_radius(self, *values: float) -> float:
        """Return five standard deviations."""
        return 5.0 * values[2]

    def bin_size_min(self, *values: float) -> float:
        """Return a third of the standard deviation along the minor axis."""
        return values[2] * axis_ratio(values[3]) / 3.0

    def to_region(self) -> EllipseSkyRegion:
        """Return the ellipse of one standard deviation: 39 % of the model."""
        return self._outline(*self.values[2:])


class GeneralizedGaussianSpatialModel(EllipticalModel):
    r"""Two-dimensional generalized Gaussian, from a disk over a Gaussian to an exponential, round or elongated.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    r_0
        :math:`r_0`, radius along the major axis, deg.
    eta
        :math:`\eta`: towards 0 a disk, 0.5 a Gaussian of :math:`\sigma = r_0 / \sqrt 2`, 1 an exponential.
    e
        Eccentricity, frozen.
    phi
        Position angle of the major axis from north to east, deg, frozen.
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    position
        Centre as a SkyCoord, in place of `lon_0`, `lat_0` and `frame`.

    Notes
    -----
    :math:`N \exp(-(\theta / r)^{1/\eta})` with :math:`r` the distance of the ellipse in the direction of the point and
    :math:`N = 1 / (2 \pi r_0^2 \sqrt{1 - e^2} \, \eta \Gamma(2\eta))`, which integrates to 1 in a plane; `total` is
    the integral over the sphere, by which the model is divided on maps.

    Examples
    --------
    >>> GeneralizedGaussianSpatialModel(r_0="0.2 deg", eta=1)("0 deg", "0 deg").round(2)
    <Quantity 13061.87 1 / sr>
    """

    tag = ("GeneralizedGaussianSpatialModel", "gauss-general")
    is_smooth = True
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0)
    r_0 = ParameterField(1.0, "deg")
    eta = ParameterField(0.5, min=0.01, max=1.0)
    e = ParameterField(0.0, min=0.0, max=1.0, frozen=True)
    phi = ParameterField(0.0, "deg", min=-180.0, max=180.0, frozen=True)

    def evaluate_offsets(self, offsets: Offsets, *values: float) -> FloatArray:
        """Return the model in sr-1."""
        r_0, eta, e, phi = np.deg2rad(values[2]), values[3], values[4], values[5]
        minor = r_0 * axis_ratio(e)
        radius = r_0 if e == 0 else semi_axis(minor, r_0, offsets.cos2(phi))
        with np.errstate(over="ignore"):  # far outside a steep edge
            power = (offsets.separation / radius) ** (1.0 / eta)
        return np.asarray(np.exp(-power) / (2.0 * np.pi * minor * r_0 * eta * special.gamma(2.0 * eta)))

    def total(self, *values: float) -> float:
        """Return the integral over the sphere, by the series of the sine."""
        r_0, eta, e = np.deg2rad(values[2]), values[3], values[4]
        minor = r_0 * axis_ratio(e)
        radius = ellipse_directions(minor, r_0)
        norm = minor * r_0 * special.gamma(2.0 * eta)
        powers = 2.0 * np.arange(TERMS) + 2.0
        terms = special.gamma(powers * eta) / special.gamma(powers) * np.mean(radius[:, None] ** powers, axis=0)
        # with long tails the series is asymptotic: it is cut where its terms no longer fall
        last = int(np.argmax(np.append(np.diff(terms) > 0, True))) + 1
        return float(np.sum((terms * (-1.0) ** np.arange(TERMS))[:last]) / norm)

    def evaluation_radius(self, *values: float) -> float:
        """Return ``r_0 (1 + 8 eta)``, or the radius that holds all but 1e-6 where that is larger (from 0.6 on)."""
        eta = values[3]
        return float(values[2] * max(1.0 + 8.0 * eta, special.gammainccinv(2.0 * eta, 1e-6) ** eta))

    def bin_size_min(self, *values: float) -> float:
        """Return ``r_0 / (3 + 8 eta)`` along the minor axis; less where the edge is steep, down to ``r_0 / 30``."""
        return values[2] * axis_ratio(values[4]) * min(1.0 / (3.0 + 8.0 * values[3]), max(0.4 * values[3], 1.0 / 30.0))

    def to_region(self) -> EllipseSkyRegion:
        """Return the ellipse of the radius `r_0`."""
        values: Any = self.canonical_values()
        return self._outline(values["r_0"], values["e"], values["phi"])


def _round_norm(a: float) -> float:
    return float(1.0 / (4.0 * np.pi * a * -np.expm1(-1.0 / a)))
