"""Drawing directions from spatial models: in closed form, on rings around a centre, or on cells of the sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xgamma.kernels.sphere import from_vectors, rotate, separation
from xgamma.models.spatial_disk import DiskSpatialModel
from xgamma.models.spatial_geometry import Axes, Offsets, axes_at, axis_ratio, frame_rotation, semi_axis
from xgamma.models.spatial_model import RadialModel, SpatialModel
from xgamma.models.spatial_shapes import ConstantFluxSpatialModel, GaussianSpatialModel, PointSpatialModel
from xgamma.simulate.sampling import cap_offsets, move_on_sphere, pick

__all__ = ["Directions", "FieldOfView", "directions_of"]

FloatArray = NDArray[np.float64]

#: Rings around a centre, and directions of an elongated model.
RINGS, SECTORS = 3000, 720
#: Rings of an elongated model, which has them in every direction.
RINGS_OF_SECTOR = 400
#: Rings and directions of the nodes that average over a model with a centre.
NODE_RINGS, NODE_SECTORS = 16, 24
#: Largest cell of the field of view in deg, parts of a model's own bin, and cells along a side at most.
CELL, PARTS, CELLS = 0.05, 4.0, 1000
#: The same for a model that changes with energy, which has a table of cells at every energy.
CELLS_OF_ENERGY = 400
#: Largest radius in deg of a field of view that is divided into cells.
WIDEST = 80.0
#: Energies per decade at which a model that changes with energy is tabulated.
PER_DECADE = 10


@dataclass(frozen=True)
class FieldOfView:
    """Part of the sky that a run sees.

    Parameters
    ----------
    center
        ICRS unit vector, shape (3,).
    radius
        Degrees around it; a pointing that moves makes it larger.
    """

    center: FloatArray
    radius: float


class Directions(Protocol):
    """Distribution of directions, times a norm that may depend on energy."""

    def norm(self, energy: FloatArray) -> FloatArray:
        """Return the integral over the directions at energies in TeV, shape (n,): 1 for a model that is all there."""

    def sample(self, energy: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw an ICRS unit vector for each energy in TeV, shape (n, 3)."""

    def nodes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return ICRS unit vectors, shape (m, 3), their contents, shape (k, m), and the energies of these, shape (k,).

        The energies are empty and k is 1 for models that do not depend on it.
        """


def directions_of(model: SpatialModel, field: FieldOfView, energies: tuple[float, float]) -> Directions | None:
    """Prepare a spatial model for drawing directions.

    Parameters
    ----------
    model
        Any spatial model with finite parameters.
    field
        What the run sees; of models that reach beyond, only what lies inside is drawn.
    energies
        Range of true energies in TeV.

    Returns
    -------
    Directions or None
        None where the field of view sees nothing of the model.

    Raises
    ------
    ValueError
        If values of the model are negative, or it has no distribution on the sky.

    Notes
    -----
    Points, round Gaussians and sharp disks follow closed forms. Other models with a centre are tabulated on rings that
    have their form (constant within a ring of a few thousandths of their radius) and integrate to 1, as on maps.
    All others are tabulated on cells of at most 0.05 deg in the field of view, a quarter of their own bins if
    these are smaller, and at ten energies per decade where they depend on it.

    Examples
    --------
    >>> field = FieldOfView(np.array([1.0, 0.0, 0.0]), 2.0)
    >>> found = directions_of(PointSpatialModel(lon_0="1 deg", lat_0="0 deg"), field, (0.1, 100.0))
    >>> found.sample(np.ones(1), np.random.default_rng(0)).round(4)
    array([[0.9998, 0.0175, 0.    ]])
    """
    values = model.values
    if isinstance(model, ConstantFluxSpatialModel):
        msg = "ConstantFluxSpatialModel is the same in every pixel of a map, and nothing on the sky itself"
        raise ValueError(msg)
    if not isinstance(model, (PointSpatialModel, RadialModel)):
        return _cells(model, values, field, energies)
    axes = axes_at(*model.center(*values), model.frame)
    reach = float(model.evaluation_radius(*values))
    if not 0 <= reach < np.inf:
        msg = f"{type(model).__name__} ends at {reach} deg: its size must be finite and not negative"
        raise ValueError(msg)
    if float(separation(axes.center, field.center)) - reach > field.radius:
        return None
    return _Centred(axes, _profile(model, values, axes))


# ---------------------------------------------------------------------- models with a centre
class _Profile(Protocol):
    def draw(self, first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return separations in deg and position angles in rad from uniform numbers."""


@dataclass(frozen=True)
class _Round:
    """Separations by the inverse of their cumulative."""

    kind: str
    size: float

    def draw(self, first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._separation(first), 2.0 * np.pi * second

    def _separation(self, uniform: FloatArray) -> FloatArray:
        if self.kind == "point" or self.size == 0.0:
            return np.zeros_like(uniform)
        if self.kind == "gaussian":
            return cap_offsets(self.size, uniform)
        half = np.sin(0.5 * np.deg2rad(self.size))
        return np.asarray(np.rad2deg(2.0 * np.arcsin(half * np.sqrt(uniform))))


@dataclass(frozen=True, eq=False)
class _Rings:
    """Rings of the form of an ellipse, in sectors of equal parts of its area.

    Parameters
    ----------
    cumulative
        Running sum of the contents of rings in each sector, shape (sectors, rings) made flat.
    edges
        Edges of the rings in parts of the reach, shape (rings + 1,).
    reach
        Degrees along the major axis.
    ratio, angle
        Minor over major axis, and position angle of the major axis in rad.
    """

    cumulative: FloatArray
    edges: FloatArray
    reach: float
    ratio: float
    angle: float

    def draw(self, first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
        rings = len(self.edges) - 1
        index = pick(self.cumulative, first)
        sector, ring = np.divmod(index, rings)
        # what is left of the number inside its entry is uniform again
        below = np.where(index > 0, self.cumulative[index - 1], 0.0)
        content = self.cumulative[index] - below
        rest = np.clip((first * self.cumulative[-1] - below) / content, 0.0, 1.0)
        turn = 2.0 * np.pi * (sector + second) / (self.cumulative.size // rings)
        direction = np.arctan2(self.ratio * np.sin(turn), np.cos(turn))
        size = self.reach * _radius(self.ratio, direction)
        low, high = (np.sin(0.5 * np.deg2rad(self.edges[ring + k] * size)) ** 2 for k in (0, 1))
        half = np.sqrt(np.asarray(low + rest * (high - low), float))
        return np.rad2deg(2.0 * np.arcsin(np.minimum(half, 1.0))), direction + self.angle


def _radius(ratio: float, direction: FloatArray) -> FloatArray:
    """Distance of an ellipse of major axis 1 from its centre."""
    return semi_axis(ratio, 1.0, np.cos(direction) ** 2)


def _profile(model: SpatialModel, values: tuple[float, ...], axes: Axes) -> _Profile:
    named = dict(zip(model.parameters.names, values, strict=True))
    if isinstance(model, PointSpatialModel):
        return _Round("point", 0.0)
    if isinstance(model, GaussianSpatialModel) and named["e"] == 0:
        return _Round("gaussian", named["sigma"])
    if isinstance(model, DiskSpatialModel) and named["e"] == 0 and named["edge_width"] == 0:
        return _Round("disk", named["r_0"])
    assert isinstance(model, RadialModel)
    ratio = axis_ratio(named.get("e", 0.0))
    angle = float(np.deg2rad(named.get("phi", 0.0)))
    sectors, rings = (1, RINGS) if ratio == 1.0 else (SECTORS, RINGS_OF_SECTOR)
    reach = min(float(model.evaluation_radius(*values)), 180.0)
    edges = np.linspace(0.0, 1.0, rings + 1)
    turn = 2.0 * np.pi * (np.arange(sectors) + 0.5) / sectors
    direction = np.arctan2(ratio * np.sin(turn), np.cos(turn))[:, np.newaxis]
    size = np.minimum(reach * _radius(ratio, direction), 180.0)
    versine = 2.0 * np.sin(0.5 * np.deg2rad(edges * size)) ** 2
    # equal steps of the turn cover equal areas of the ellipse: its rays lie closer where it is long
    width = ratio / _radius(ratio, direction) ** 2
    content = np.zeros((sectors, rings))
    for point in 0.5 + np.array([-0.5, 0.5]) / np.sqrt(3.0):
        middle = 1.0 - (versine[:, :-1] + point * np.diff(versine, axis=1))
        away = np.rad2deg(np.arccos(np.clip(middle, -1.0, 1.0)))
        vectors = _around(axes, away, direction + angle)
        density = model.evaluate_offsets(Offsets(_planes(vectors), axes), *values)
        content += 0.5 * density * np.diff(versine, axis=1) * width
    content = np.nan_to_num(content)
    if (content < 0).any() or not content.sum() > 0:
        msg = f"{type(model).__name__} is negative somewhere or 0 everywhere: it has no distribution of directions"
        raise ValueError(msg)
    return _Rings(np.cumsum(content.ravel()), edges, reach, ratio, angle)


def _planes(vectors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return vectors[..., 0], vectors[..., 1], vectors[..., 2]


def _around(axes: Axes, away: FloatArray, direction: FloatArray) -> FloatArray:
    """Unit vectors at separations in deg and position angles in rad, from north to east."""
    away, direction = (v[..., np.newaxis] for v in np.broadcast_arrays(np.deg2rad(away), direction))
    tangent = np.cos(direction) * axes.north + np.sin(direction) * axes.east
    return np.asarray(np.cos(away) * axes.center + np.sin(away) * tangent)


@dataclass(frozen=True, eq=False)
class _Centred:
    """A model around a centre, all of whose flux is there."""

    axes: Axes
    profile: _Profile

    def norm(self, energy: FloatArray) -> FloatArray:
        return np.ones(np.shape(energy))

    def sample(self, energy: FloatArray, rng: np.random.Generator) -> FloatArray:
        uniform = rng.random((2, len(energy)))
        away, direction = self.profile.draw(uniform[0], uniform[1])
        if isinstance(self.profile, _Round):
            return move_on_sphere(self.axes.center, away, direction)
        return _around(self.axes, away, direction)

    def nodes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        if isinstance(self.profile, _Round) and self.profile.kind == "point":
            return self.axes.center[np.newaxis], np.ones((1, 1)), np.zeros(0)
        # every second ring is turned by half a step, so that the nodes do not line up
        first: FloatArray = np.repeat((np.arange(NODE_RINGS) + 0.5) / NODE_RINGS, NODE_SECTORS)
        turn = 0.5 * np.repeat(np.arange(NODE_RINGS) % 2, NODE_SECTORS)
        second: FloatArray = (np.tile(np.arange(NODE_SECTORS), NODE_RINGS) + turn) / NODE_SECTORS
        if isinstance(self.profile, _Rings) and self.profile.ratio != 1.0:
            # entries run over directions first: low discrepancy in both
            number = 16 * NODE_RINGS * NODE_SECTORS
            first = np.asarray((np.arange(number) + 0.5) / number)
            second = np.asarray(np.arange(number) * 0.6180339887498949 % 1.0)
        away, direction = self.profile.draw(first, second)
        return _around(self.axes, away, direction), np.full((1, away.size), 1.0 / away.size), np.zeros(0)


# ---------------------------------------------------------------------- cells of the field of view
@dataclass(frozen=True, eq=False)
class _Cells:
    """A model on cells of the sky around a middle.

    Parameters
    ----------
    model, values
        The model and its values.
    axes
        Directions of the middle, of growing longitude and of growing latitude, shape (3, 3).
    lon, sine
        Lower edges and widths of the cells, in rad and in the sine of the latitude, shape (2, m).
    energy
        Energies in TeV at which it is tabulated; empty where it does not depend on it.
    norms
        Integrals at these energies, shape (max(k, 1),).
    """

    model: SpatialModel
    values: tuple[float, ...]
    axes: FloatArray
    lon: FloatArray
    sine: FloatArray
    energy: FloatArray
    norms: FloatArray

    def norm(self, energy: FloatArray) -> FloatArray:
        if not self.energy.size:
            return np.full(np.shape(energy), self.norms[0])
        with np.errstate(divide="ignore"):
            logs = np.log(self.norms)
        # beyond the energies of a template there is nothing
        floor = np.where(np.isfinite(logs), logs, -1e3)
        return np.asarray(np.exp(np.interp(np.log(energy), np.log(self.energy), floor)))

    def contents(self, number: int) -> FloatArray:
        """Return the integral over each cell at one of the energies, shape (m,)."""
        return _contents(self.model, self.values, self.axes, self.lon, self.sine, self.energy[number : number + 1])

    def sample(self, energy: FloatArray, rng: np.random.Generator) -> FloatArray:
        uniform = rng.random((3, len(energy)))
        cell = np.zeros(len(energy), np.intp)
        node = self._nearest(energy, rng) if self.energy.size else np.zeros(len(energy), np.intp)
        for number in np.unique(node):
            chosen = node == number
            cell[chosen] = pick(np.cumsum(self.contents(int(number))), uniform[0, chosen])
        lon = self.lon[0, cell] + uniform[1] * self.lon[1, cell]
        sine = self.sine[0, cell] + uniform[2] * self.sine[1, cell]
        return _vectors(lon, sine, self.axes)

    def _nearest(self, energy: FloatArray, rng: np.random.Generator) -> NDArray[np.intp]:
        """One of the two energies of the table around each, by chance: on average the distribution between them."""
        place = np.interp(np.log(energy), np.log(self.energy), np.arange(self.energy.size))
        lower = np.minimum(place.astype(np.intp), self.energy.size - 2)
        share = place - lower
        # the nearer one, and the larger the norm of one, the more of the sum of both is from it
        upper = share * self.norms[lower + 1]
        both = (1.0 - share) * self.norms[lower] + upper
        chance = np.divide(upper, both, out=np.zeros_like(both), where=both > 0)
        return lower + (rng.random(len(energy)) < chance)

    def nodes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        vectors = _vectors(self.lon[0] + 0.5 * self.lon[1], self.sine[0] + 0.5 * self.sine[1], self.axes)
        return vectors, np.stack([self.contents(i) for i in range(self.norms.size)]), self.energy


def _cells(
    model: SpatialModel, values: tuple[float, ...], field: FieldOfView, energies: tuple[float, float]
) -> Directions | None:
    center, reach = model.center(*values), float(model.evaluation_radius(*values))
    middle, radius = field.center, field.radius
    if center is not None and reach < np.inf:
        own = axes_at(*center, model.frame).center
        away = float(separation(own, field.center))
        # a map is a rectangle: its corners lie inside the radius, the fields of view of single pixels may not
        if away - reach > field.radius:
            return None
        if reach < field.radius:
            middle, radius = own, reach
    if radius > WIDEST:
        msg = f"{type(model).__name__} fills a field of view of {radius:g} deg; at most {WIDEST:g} deg can be simulated"
        raise ValueError(msg)
    axes = _axes_of(middle)
    size, most = model.bin_size_min(*values), CELLS_OF_ENERGY if model.is_energy_dependent else CELLS
    step = max(min(size / PARTS, CELL) if size > 0 else CELL, 2.0 * radius / most)
    number = max(int(np.ceil(2.0 * radius / step)), 2)
    edges = np.deg2rad(np.linspace(-radius, radius, number + 1))
    sines = np.sin(edges)
    lon, sine = (v.ravel() for v in np.meshgrid(edges[:-1], sines[:-1], indexing="xy"))
    lon_step, sine_step = (v.ravel() for v in np.meshgrid(np.diff(edges), np.diff(sines), indexing="xy"))
    vectors = _vectors(lon + 0.5 * lon_step, sine + 0.5 * sine_step, axes)
    inside = separation(vectors, field.center) <= field.radius + step
    arrays = np.stack([lon, lon_step])[:, inside], np.stack([sine, sine_step])[:, inside]
    nodes = _energy_nodes(model, energies) if model.is_energy_dependent else np.zeros(0)
    norms = [float(_contents(model, values, axes, *arrays, nodes[i : i + 1]).sum()) for i in range(max(nodes.size, 1))]
    if not max(norms) > 0:
        return None
    return _Cells(model, values, axes, *arrays, nodes, np.array(norms))


def _energy_nodes(model: SpatialModel, energies: tuple[float, float]) -> FloatArray:
    """Energies in TeV at which a model is tabulated: also those of its own."""
    low, high = energies
    nodes = np.geomspace(low, high, max(int(np.ceil(np.log10(high / low) * PER_DECADE)), 1) + 1)
    own = getattr(model, "energy", None)
    own = np.zeros(0) if own is None else own.to_value("TeV")
    return np.union1d(nodes, own[(own > low) & (own < high)])


def _axes_of(middle: FloatArray) -> FloatArray:
    lon, lat = from_vectors(middle)
    return np.stack(axes_at(float(lon), float(lat)))


def _vectors(lon: FloatArray, sine: FloatArray, axes: FloatArray) -> FloatArray:
    across = np.sqrt(np.maximum(1.0 - sine**2, 0.0))
    return rotate(np.stack([across * np.cos(lon), across * np.sin(lon), sine], axis=-1), axes)


def _contents(
    model: SpatialModel,
    values: tuple[float, ...],
    axes: FloatArray,
    lon: FloatArray,
    sine: FloatArray,
    energy: FloatArray,
) -> FloatArray:
    """Integrals over cells by two Gauss points per side, shape (m,)."""
    points = 0.5 + np.array([-0.5, 0.5]) / np.sqrt(3.0)
    matrix = frame_rotation(model.frame)
    total = np.zeros(lon.shape[1])
    keywords = {"energy": energy} if energy.size else {}
    for x in points:
        for y in points:
            vectors = _vectors(lon[0] + x * lon[1], sine[0] + y * sine[1], axes)
            place = from_vectors(rotate(vectors, matrix))
            density = np.nan_to_num(np.reshape(model.evaluate_integrand(*place, *values, **keywords), -1))
            if (density < 0).any():
                msg = f"{type(model).__name__} is negative in the field of view: rates of events cannot be"
                raise ValueError(msg)
            total += 0.25 * density
    return total * lon[1] * sine[1]
