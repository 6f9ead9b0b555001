"""Disks and shells on the sky."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy import special

from xgamma.models.component import ParameterField
from xgamma.models.spatial_geometry import Offsets, axis_ratio, ellipse_directions, semi_axis
from xgamma.models.spatial_model import RadialModel
from xgamma.models.spatial_shapes import EllipticalModel

if TYPE_CHECKING:
    from regions import CircleAnnulusSkyRegion, EllipseSkyRegion

__all__ = ["DiskSpatialModel", "ProjectedShell", "Shell2SpatialModel", "ShellSpatialModel"]

FloatArray = NDArray[np.float64]

#: Standard deviation of an edge in its widths: an error function falls from 95 to 5 % over a width of 3.29 sigma.
EDGE = 1.0 / (2.0 * special.ndtri(0.95))
#: Bins in a radius, in the minor one of an ellipse and in the width of a shell: what the edges need.
BINS_IN_RADIUS = 40.0
BINS_IN_MINOR = 15.0
BINS_IN_SHELL = 3.0


class DiskSpatialModel(EllipticalModel):
    r"""Disk of constant brightness, round or elongated, with a smooth edge.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    r_0
        :math:`r_0`, radius along the major axis, deg.
    e
        Eccentricity, frozen.
    phi
        Position angle of the major axis from north to east, deg, frozen.
    edge_width
        Width of the edge, in which the brightness falls from 95 to 5 %, in units of the radius, frozen.
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    position
        Centre as a SkyCoord, in place of `lon_0`, `lat_0` and `frame`.

    Notes
    -----
    :math:`N (1 - \mathrm{erf}((\theta - r) / \sqrt 2 s)) / 2` with :math:`r` the distance of the ellipse in the
    direction of the point and :math:`s = 0.304 w r` for an edge of width :math:`w`. :math:`N` is the inverse of the
    solid angle of a sharp disk, as in gammapy, so that the integral over the sphere exceeds 1 by :math:`0.092 w^2`
    (9e-6 by default); `total` is that integral, by which the model is divided on maps.

    Examples
    --------
    >>> disk = DiskSpatialModel(r_0="0.5 deg")
    >>> bool(disk("0.2 deg", "0 deg") == disk("0.4 deg", "0.1 deg"))
    True
    """

    tag = ("DiskSpatialModel", "disk")
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0)
    r_0 = ParameterField(1.0, "deg", min=0.0)
    e = ParameterField(0.0, min=0.0, max=1.0, frozen=True)
    phi = ParameterField(0.0, "deg", min=-180.0, max=180.0, frozen=True)
    edge_width = ParameterField(0.01, min=0.0, max=1.0, frozen=True)

    def evaluate_offsets(self, offsets: Offsets, *values: float) -> FloatArray:
        """Return the model in sr-1."""
        r_0, e = np.deg2rad(values[2]), values[3]
        minor = r_0 * axis_ratio(e)
        return _inside(offsets, 0.0, *values[2:]) / _solid_angle(np.sin(minor), np.sin(r_0), sines=True)

    def cell_average(self, offsets: Offsets, size: float, *values: float) -> FloatArray:
        """Return means over cells in sr-1: the edge is widened by the standard deviation of the cells."""
        return _inside(offsets, size, *values[2:]) / _sky_integral(size, values[2], values[3], values[5])

    def total(self, *values: float) -> float:
        """Return the integral over the sphere."""
        r_0, e = np.deg2rad(values[2]), values[3]
        norm = _solid_angle(np.sin(r_0 * axis_ratio(e)), np.sin(r_0), sines=True)
        return _sky_integral(0.0, values[2], e, values[5]) / norm

    def evaluation_radius(self, *values: float) -> float:
        """Return the radius with a margin for the edge."""
        return 1.1 * values[2] * (1.0 + values[5])

    def bin_size_min(self, *values: float) -> float:
        """Return a 40th of the radius, at most a 15th of that along the minor axis."""
        return values[2] * min(1.0 / BINS_IN_RADIUS, axis_ratio(values[3]) / BINS_IN_MINOR)

    def to_region(self) -> EllipseSkyRegion:
        """Return the outline of the disk."""
        return self._outline(*self.values[2:5])


def _inside(offsets: Offsets, size: float, r_0: float, e: float, phi: float, edge_width: float) -> FloatArray:
    """Part of each cell of a size in degrees that lies inside the disk."""
    major = np.deg2rad(r_0)
    radius = major if e == 0 else semi_axis(major * axis_ratio(e), major, offsets.cos2(phi))
    distance = offsets.separation - radius
    spread = np.sqrt((EDGE * edge_width * radius) ** 2 + np.deg2rad(size) ** 2 / 12.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(distance == 0, 0.0, distance / spread)  # of a sharp edge: plus or minus infinity
    return np.asarray(special.ndtr(-scaled))


def _solid_angle(minor: float, major: float, *, sines: bool) -> float:
    """Solid angle of a sharp disk of two semi-axes in radians, or of their sines."""
    radius = ellipse_directions(minor, major)
    cosine = np.sqrt(1.0 - radius**2) if sines else np.cos(radius)
    return float(2.0 * np.pi * np.mean(np.sin(np.arccos(cosine)) ** 2 / (1.0 + cosine)))


def _sky_integral(size: float, r_0: float, e: float, edge_width: float) -> float:
    """Integral over the sphere of `_inside`: that of an edge smoothed by a Gaussian, direction by direction."""
    major = np.deg2rad(r_0)
    radius = ellipse_directions(major * axis_ratio(e), major)
    variance = (EDGE * edge_width * radius) ** 2 + np.deg2rad(size) ** 2 / 12.0
    half = 0.5 * variance
    return float(2.0 * np.pi * np.mean(2.0 * np.sin(0.5 * radius) ** 2 * np.exp(-half) - np.expm1(-half)))


class ProjectedShell(RadialModel):
    """A homogeneously emitting shell, seen in projection; subclasses say what its radii are."""

    def radii(self, *values: float) -> tuple[float, float]:
        """Return the inner and the outer radius in degrees."""
        raise NotImplementedError(type(self).__name__)

    def evaluate_offsets(self, offsets: Offsets, *values: float) -> FloatArray:
        """Return the model in sr-1."""
        inner, outer = np.deg2rad(self.radii(*values))
        squared = offsets.separation**2
        depth = np.sqrt(np.maximum(outer**2 - squared, 0.0)) - np.sqrt(np.maximum(inner**2 - squared, 0.0))
        return depth * _shell_norm(inner, outer)

    def cell_average(self, offsets: Offsets, size: float, *values: float) -> FloatArray:
        """Return means over cells in sr-1: those over rings of their width."""
        inner, outer = np.deg2rad(self.radii(*values))
        separation, half = offsets.separation, 0.5 * np.deg2rad(size)
        low, high = np.maximum(separation - half, 0.0), np.minimum(separation + half, outer)
        # radii inside the cell: what of it lies beyond the shell counts as empty
        area = 0.5 * ((separation + half) ** 2 - low**2)
        flux = _enclosed(high, inner, outer) - _enclosed(np.minimum(low, outer), inner, outer)
        return np.asarray(flux / area) * (_shell_norm(inner, outer) / self.total(*values))

    def total(self, *values: float) -> float:
        """Return the integral over the sphere, by the series of the sine."""
        inner, outer = np.deg2rad(self.radii(*values))
        factors = ((3, 1.0 / 3.0), (5, -2.0 / 90.0), (7, 8.0 / 12600.0))
        return float(2.0 * np.pi * _shell_norm(inner, outer) * sum(f * (outer**n - inner**n) for n, f in factors))

    def evaluation_radius(self, *values: float) -> float:
        """Return the outer radius."""
        return self.radii(*values)[1]

    def bin_size_min(self, *values: float) -> float:
        """Return a third of the width of the shell, at most a 40th of its radius."""
        inner, outer = self.radii(*values)
        return min((outer - inner) / BINS_IN_SHELL, outer / BINS_IN_RADIUS)

    def to_region(self) -> CircleAnnulusSkyRegion:
        """Return the ring between both radii."""
        from regions import CircleAnnulusSkyRegion

        inner, outer = self.radii(*self.values)
        return CircleAnnulusSkyRegion(self.position, inner * u.deg, outer * u.deg)


def _shell_norm(inner: float, outer: float) -> float:
    return float(3.0 / (2.0 * np.pi * (outer**3 - inner**3)))


def _enclosed(radius: FloatArray, inner: float, outer: float) -> FloatArray:
    """Integral of depth times radius from the centre."""
    squared = radius**2
    rest = np.maximum(outer**2 - squared, 0.0) ** 1.5 - np.maximum(inner**2 - squared, 0.0) ** 1.5
    return (outer**3 - inner**3 - rest) / 3.0


class ShellSpatialModel(ProjectedShell):
    r"""Shell that emits homogeneously, seen in projection.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    radius
        :math:`r`, inner radius, deg.
    width
        :math:`w`, deg; the outer radius is :math:`R = r + w`.
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    position
        Centre as a SkyCoord, in place of `lon_0`, `lat_0` and `frame`.

    Notes
    -----
    :math:`3 / (2 \pi (R^3 - r^3)) (\sqrt{R^2 - \theta^2} - \sqrt{r^2 - \theta^2})`, each root 0 beyond its radius. This
    integrates to 1 in a plane; on the sphere it falls short by about :math:`R^2 / 15` (2e-5 for 1 deg): `total` is
    that integral, by which the model is divided on maps.

    Examples
    --------
    >>> shell = ShellSpatialModel(radius="0.4 deg", width="0.1 deg")
    >>> bool(shell("0.4 deg", "0 deg") > shell("0 deg", "0 deg"))
    True
    """

    tag = ("ShellSpatialModel", "shell")
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0)
    radius = ParameterField(1.0, "deg")
    width = ParameterField(0.2, "deg")

    def radii(self, *values: float) -> tuple[float, float]:
        """Return the inner and the outer radius in degrees."""
        return values[2], values[2] + values[3]


class Shell2SpatialModel(ProjectedShell):
    r"""Shell as `ShellSpatialModel`, by its outer radius and relative width.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    r_0
        :math:`r_0`, outer radius, deg.
    eta
        :math:`\eta`, width in units of the outer radius: the inner radius is :math:`(1 - \eta) r_0`.
    frame
        ``"icrs"`` (by default), ``"galactic"`` or ``"fk5"``.
    position
        Centre as a SkyCoord, in place of `lon_0`, `lat_0` and `frame`.

    Examples
    --------
    >>> one, other = Shell2SpatialModel(r_0="0.5 deg", eta=0.2), ShellSpatialModel(radius="0.4 deg", width="0.1 deg")
    >>> bool(abs(one("0.1 deg", "0 deg") / other("0.1 deg", "0 deg") - 1) < 1e-12)
    True
    """

    tag = ("Shell2SpatialModel", "shell2")
    lon_0 = ParameterField(0.0, "deg")
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0)
    r_0 = ParameterField(1.0, "deg")
    eta = ParameterField(0.2, min=0.02, max=1.0)

    def radii(self, *values: float) -> tuple[float, float]:
        """Return the inner and the outer radius in degrees."""
        return (1.0 - values[3]) * values[2], values[2]
