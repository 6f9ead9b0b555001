"""Drawing background events from a background model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.irf.axes import TableAxis, table_axis
from xgamma.irf.background import evaluate_background, prepare_background
from xgamma.kernels.interp import log_log_integral
from xgamma.simulate.sampling import pick, power_law_between

__all__ = ["BackgroundSampler", "background_sampler"]

FloatArray = NDArray[np.float64]

#: Bins of the field of view are split into cells of at most this width, within which events are spread evenly.
CELL = 0.05
#: Places on a ring that stand for it.
RING_PLACES = 48
#: Energies per decade at which a factor on the background is taken.
PER_DECADE = 40


@dataclass(frozen=True, eq=False)
class BackgroundSampler:
    """Background model, cut into cells of the field of view and intervals of energy.

    Parameters
    ----------
    energy_edges
        TeV, shape (n + 1,); within an interval the rate is a power law of the energy.
    rate
        Rate at the edges in every cell, s-1 TeV-1 sr-1, shape (n + 1, m).
    cumulative
        Running sum of the rates per interval and cell in s-1, shape (n * m,).
    first, second
        Edges of each cell, shape (m, 2): longitude in deg and sine of the latitude, or (`radial`) cosine of
        the separation and angle around the pointing in rad.
    radial
        Whether the model is one over separations.
    alignment
        ``"RADEC"``, ``"ALTAZ"`` or ``"REVERSE_LON_RADEC"``; the last is dealt with in the table.
    """

    energy_edges: FloatArray
    rate: FloatArray
    cumulative: FloatArray
    first: FloatArray
    second: FloatArray
    radial: bool
    alignment: str

    @property
    def total(self) -> float:
        """Expected events per second of ontime."""
        return float(self.cumulative[-1]) if self.cumulative.size else 0.0

    def scaled(self, factor: Callable[[FloatArray], FloatArray]) -> BackgroundSampler:
        """Return the model times a factor that depends on reconstructed energies in TeV.

        Raises
        ------
        ValueError
            If the factor is negative or not finite.
        """
        low, high = self.energy_edges[[0, -1]]
        fine = np.geomspace(low, high, max(int(np.ceil(np.log10(high / low) * PER_DECADE)), 1) + 1)
        edges = np.union1d(self.energy_edges, fine[1:-1])
        values = np.asarray(factor(edges), float)
        if not np.isfinite(values).all() or (values < 0).any():
            msg = "the factor on the background is negative or not finite: rates of events cannot be"
            raise ValueError(msg)
        own = np.asarray(factor(self.energy_edges), float)
        if (own > 0).all():
            line = np.exp(np.interp(np.log(edges), np.log(self.energy_edges), np.log(own)))
            if np.allclose(line, values, rtol=1e-9, atol=0.0):
                # a power law times a power law
                rate = self.rate * own[:, np.newaxis]
                cumulative = _cumulative(rate, self.energy_edges, self.solid_angle)
                return replace(self, rate=rate, cumulative=cumulative)
        place = np.interp(np.log(edges), np.log(self.energy_edges), np.arange(len(self.energy_edges)))
        below = np.minimum(place.astype(int), len(self.energy_edges) - 2)
        weight = (place - below)[:, np.newaxis]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(self.rate)
            between = np.exp((1.0 - weight) * logs[below] + weight * logs[below + 1])
        # at an edge itself the other end does not matter, also where it is 0
        rate = np.where(
            weight == 0, self.rate[below], np.where(weight == 1, self.rate[below + 1], np.nan_to_num(between))
        )
        rate = rate * values[:, np.newaxis]
        return replace(self, energy_edges=edges, rate=rate, cumulative=_cumulative(rate, edges, self.solid_angle))

    @property
    def solid_angle(self) -> FloatArray:
        """Solid angle of each cell in sr, shape (m,)."""
        size = np.diff(self.first)[:, 0] * np.diff(self.second)[:, 0]
        return size if self.radial else size * np.deg2rad(1.0)

    def cells(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return longitude and latitude in deg of the middle of each cell, and its expected events per second."""
        number = self.rate.shape[1]
        content = np.diff(self.cumulative, prepend=0.0).reshape(-1, number).sum(axis=0)
        if not self.radial:
            return self.first.mean(axis=1), np.rad2deg(np.arcsin(self.second.mean(axis=1))), content
        # a ring stands for some places on it
        turn = 2.0 * np.pi * (np.arange(RING_PLACES) + 0.5) / RING_PLACES
        cosine = self.first.mean(axis=1)[:, np.newaxis]
        across = np.sqrt(np.maximum(1.0 - cosine**2, 0.0))
        lon = np.rad2deg(np.arctan2(across * np.sin(turn), cosine + 0.0 * turn))
        lat = np.rad2deg(np.arcsin(across * np.cos(turn)))
        return lon.ravel(), lat.ravel(), np.repeat(content / RING_PLACES, RING_PLACES)

    def sample(self, number: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Draw events.

        Parameters
        ----------
        number
            How many.
        rng
            Source of random numbers; three per event are used.

        Returns
        -------
        tuple of numpy.ndarray
            Energy in TeV, longitude and latitude in the field of view in deg, shape (number,) each.
        """
        uniform = rng.random((4, number))
        interval, cell = np.divmod(pick(self.cumulative, uniform[0]), self.rate.shape[1])
        energy = power_law_between(
            uniform[1],
            self.energy_edges[interval],
            self.energy_edges[interval + 1],
            self.rate[interval, cell],
            self.rate[interval + 1, cell],
        )
        first = _between(self.first[cell], uniform[2])
        second = _between(self.second[cell], uniform[3])
        if not self.radial:
            return energy, first, np.rad2deg(np.arcsin(second))
        across = np.sqrt(np.maximum(1.0 - first**2, 0.0))
        lon = np.rad2deg(np.arctan2(across * np.sin(second), first))
        return energy, lon, np.rad2deg(np.arcsin(across * np.cos(second)))


def _between(edges: FloatArray, uniform: FloatArray) -> FloatArray:
    return edges[:, 0] + uniform * (edges[:, 1] - edges[:, 0])


def background_sampler(
    background: xr.DataArray, energy_range: tuple[float, float] | None = None, cell: float = CELL
) -> BackgroundSampler:
    """Prepare a background model for drawing events.

    Parameters
    ----------
    background
        Rate in s-1 TeV-1 sr-1, dims (energy, offset) or (energy, fov_lon, fov_lat). The attribute
        ``fov_alignment`` says how the field of view lies on the sky.
    energy_range
        Lowest and highest reconstructed energy in TeV; the whole axis by default.
    cell
        Largest width of a cell in deg.

    Returns
    -------
    BackgroundSampler

    Raises
    ------
    ValueError
        If no energy of the model lies in the range, or it has no rate at all.

    Notes
    -----
    The model is understood as the reduction understands it (`xgamma.irf.background`): gaps filled, a table
    over offsets continued by a bin, the logarithm of the rate interpolated. Energies follow the interpolated
    power laws exactly; over the field of view each cell has
    its mean rate, and events are spread evenly within it.

    Examples
    --------
    >>> from xgamma.irf.background import powerlaw_background
    >>> sampler = background_sampler(powerlaw_background("1 s-1 TeV-1 sr-1", index=2, offset_max="1 deg"), (1, 10))
    >>> energy, lon, lat = sampler.sample(1000, np.random.default_rng(0))
    >>> bool(np.all((energy >= 1) & (energy <= 10)))
    True
    """
    dims = set(background.dims)
    if dims not in ({"energy", "offset"}, {"energy", "fov_lon", "fov_lat"}):
        msg = (
            f"a background model has dims (energy, offset) or (energy, fov_lon, fov_lat), not {tuple(background.dims)}"
        )
        raise ValueError(msg)
    model = prepare_background(background).load()
    edges = _energy_edges(table_axis(model, "energy"), energy_range)
    radial = "offset" in dims
    first, second = _ring_cells(model, cell) if radial else _plane_cells(model, cell)
    rate = _mean_rate(model, edges, first, second, radial)
    if not np.isfinite(rate).all() or not (rate > 0).any():
        msg = "the background model has no rate, or rates that are not finite, in the range of energies asked for"
        raise ValueError(msg)
    solid_angle = np.diff(first)[:, 0] * np.diff(second)[:, 0] * (1.0 if radial else np.deg2rad(1.0))
    alignment = str(model.attrs.get("fov_alignment", "RADEC"))
    return BackgroundSampler(edges, rate, _cumulative(rate, edges, solid_angle), first, second, radial, alignment)


def _cumulative(rate: FloatArray, edges: FloatArray, solid_angle: FloatArray) -> FloatArray:
    """Running sum of the rates per interval of energy and cell in s-1."""
    with np.errstate(divide="ignore"):
        per_cell = log_log_integral(np.log(rate), edges) * solid_angle
    return np.cumsum(per_cell.ravel())


def _energy_edges(axis: TableAxis, energy_range: tuple[float, float] | None) -> FloatArray:
    """Nodes of the interpolation, between which the rate is a power law, and the ends of the range."""
    low, high = axis.limits
    if energy_range is not None:
        low, high = max(low, energy_range[0]), min(high, energy_range[1])
    if not low < high:
        limits = f"[{axis.limits[0]:g}, {axis.limits[1]:g}] TeV"
        msg = f"the background model covers {limits}, nothing of the energies asked for ({energy_range} TeV)"
        raise ValueError(msg)
    inner = axis.center[(axis.center > low) & (axis.center < high)]
    return np.concatenate([[low], inner, [high]])


def _subdivide(axis: TableAxis, cell: float, low: float) -> FloatArray:
    """Edges of cells that are at most `cell` wide and do not cross an edge of a bin; nothing below `low`."""
    edges = axis.edges
    edges = np.concatenate([[low], edges[edges > low]]) if edges[0] < low else edges
    # an even number, as the interpolated rate bends in the middle of a bin
    steps = 2 * np.maximum(np.ceil(np.diff(edges) / (2 * cell)), 1).astype(int)
    parts = [np.linspace(a, b, n, endpoint=False) for (a, b), n in zip(pairwise(edges), steps, strict=True)]
    return np.concatenate([*parts, edges[-1:]])


def _plane_cells(model: xr.DataArray, cell: float) -> tuple[FloatArray, FloatArray]:
    """Edges of the cells in longitude (deg) and sine of the latitude, shape (m, 2) each."""
    lon_edges, lat_edges = (_subdivide(table_axis(model, n), cell, -np.inf) for n in ("fov_lon", "fov_lat"))
    if model.attrs.get("fov_alignment") == "REVERSE_LON_RADEC":
        lon_edges = -lon_edges[::-1]
    sine = np.sin(np.deg2rad(lat_edges))
    shape = len(lon_edges) - 1, len(lat_edges) - 1
    first = np.repeat(np.stack([lon_edges[:-1], lon_edges[1:]], axis=1), shape[1], axis=0)
    second = np.tile(np.stack([sine[:-1], sine[1:]], axis=1), (shape[0], 1))
    return first, second


def _ring_cells(model: xr.DataArray, cell: float) -> tuple[FloatArray, FloatArray]:
    """Edges of rings in the cosine of the separation, and the full turn (rad), shape (m, 2) each."""
    edges = _subdivide(table_axis(model, "offset"), cell, 0.0)
    cosine = np.cos(np.deg2rad(np.minimum(edges, 180.0)))
    first = np.stack([cosine[1:], cosine[:-1]], axis=1)
    return first, np.tile([0.0, 2.0 * np.pi], (len(first), 1))


def _mean_rate(
    model: xr.DataArray, energy: FloatArray, first: FloatArray, second: FloatArray, radial: bool
) -> FloatArray:
    """Average the rate over each cell by two Gauss points per direction, shape (energies, cells)."""
    points = 0.5 + np.array([-0.5, 0.5]) / np.sqrt(3.0)
    total = np.zeros((len(energy), len(first)))
    for x in points:
        across = first[:, 0] + x * (first[:, 1] - first[:, 0])
        if radial:
            total += evaluate_background(model, energy, 0.0, np.rad2deg(np.arccos(np.clip(across, -1.0, 1.0)))) / 2
            continue
        for y in points:
            sine = second[:, 0] + y * (second[:, 1] - second[:, 0])
            total += evaluate_background(model, energy, across, np.rad2deg(np.arcsin(sine))) / 4
    return total
