"""Drawing reconstructed events from effective area, point spread function and energy dispersion."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.irf.aeff import evaluate_aeff
from xgamma.irf.axes import TableAxis, table_axis
from xgamma.kernels.interp import Weights
from xgamma.simulate.background import BackgroundSampler, background_sampler
from xgamma.simulate.sampling import row_cdf, sample_histogram_rows, sample_king, sample_multi_gauss

__all__ = ["Responses", "interp_pairs", "prepare_responses"]

FloatArray = NDArray[np.float64]

#: Energies per decade at which spectra and effective areas are tabulated.
PER_DECADE = 100
#: Steps per bin of an offset axis at which expected rates are tabulated.
OFFSET_STEPS = 8
#: Steps per bin in separation within which a tabulated point spread function is constant.
RAD_STEPS = 4
#: Events that are interpolated at once, which bounds the memory.
BATCH = 4096
#: Width in deg that stands for one of 0.
EMPTY_SIGMA = 1.0

NAMES = ("aeff", "psf", "edisp", "bkg")


def interp_pairs(table: FloatArray, x: Weights, y: Weights) -> FloatArray:
    """Interpolate a table at n pairs of points on its first two axes (bilinear).

    Parameters
    ----------
    table
        Shape (mx, my, ...).
    x, y
        Weights of the pairs, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n, ...); 0 for pairs off an axis.

    Examples
    --------
    >>> from xgamma.kernels.interp import bin_weights
    >>> weights = bin_weights([0.0, 1.0], [0.5])
    >>> interp_pairs(np.array([[0.0, 1.0], [2.0, 3.0]]), weights, weights)
    array([1.5])
    """
    column = (slice(None),) + (np.newaxis,) * (table.ndim - 2)
    x_next, y_next = (np.minimum(w.node + 1, n - 1) for w, n in ((x, table.shape[0]), (y, table.shape[1])))
    wx, wy = x.weight[column], y.weight[column]
    result: FloatArray = (1 - wx) * ((1 - wy) * table[x.node, y.node] + wy * table[x.node, y_next])
    result += wx * ((1 - wy) * table[x_next, y.node] + wy * table[x_next, y_next])
    result[~(x.valid & y.valid)] = 0.0
    return result


@dataclass(frozen=True, eq=False)
class EventTable:
    """A response over (energy_true, offset, ...) as arrays, with its axes.

    Parameters
    ----------
    kind
        ``"table"``, ``"3gauss"``, ``"king"`` or ``"edisp"``.
    energy, offset
        Axes.
    table
        Values, shape (energies, offsets, k).
    edges
        Edges of the k values of a table; empty for parameters.
    """

    kind: str
    energy: TableAxis
    offset: TableAxis
    table: FloatArray
    edges: FloatArray

    def at(self, energy: FloatArray, offset: FloatArray) -> FloatArray:
        """Return the values for each pair of energy and offset, shape (n, k)."""
        # as in the reduction: parameters are continued beyond their axes, a migration table beyond its energies
        in_energy = self.energy.weights(energy, bounded=self.kind == "table")
        in_offset = self.offset.weights(offset, bounded=self.kind in ("table", "edisp"))
        return interp_pairs(self.table, in_energy, in_offset)


@dataclass(frozen=True, eq=False)
class Responses:
    """Instrument responses, ready for drawing events; made by `prepare_responses`.

    Parameters
    ----------
    aeff, psf, edisp
        Labelled effective area, and tables of the others; None where there is none.
    background
        Sampler of the background, None where there is none.
    energy_range
        Range of reconstructed energies in TeV, outside of which events are left out.
    attrs
        Names of the array and its instrument.
    """

    aeff: xr.DataArray | None
    psf: EventTable | None
    edisp: EventTable | None
    background: BackgroundSampler | None
    energy_range: tuple[float, float]
    attrs: dict[str, Any]

    @property
    def offset_max(self) -> float:
        """Largest offset at which the effective area is defined, in deg."""
        return 0.0 if self.aeff is None else table_axis(self.aeff, "offset").limits[1]

    @cached_property
    def energy_nodes(self) -> FloatArray:
        """True energies in TeV at which effective areas and spectra are tabulated."""
        if self.aeff is None:
            return np.empty(0)
        axis = table_axis(self.aeff, "energy_true")
        low, high = axis.limits
        fine = np.geomspace(low, high, max(int(np.ceil(np.log10(high / low) * PER_DECADE)), 1) + 1)
        # the interpolated area bends at the centres of the bins, so they are nodes too
        nodes = np.unique(np.concatenate([fine, axis.center]))
        return nodes[np.concatenate([[True], np.diff(np.log(nodes)) > 1e-9])]

    @property
    def offset_nodes(self) -> FloatArray:
        """Offsets in deg between which the effective area is linear."""
        if self.aeff is None:
            return np.empty(0)
        axis = table_axis(self.aeff, "offset")
        return np.unique(np.concatenate([np.maximum(axis.limits, 0.0), axis.center]))

    def area(self, energy: FloatArray, offset: FloatArray) -> FloatArray:
        """Return the effective area in cm2 for each pair of energy and offset, shape (n,)."""
        if self.aeff is None:
            return np.zeros_like(energy)
        weights = (table_axis(self.aeff, n).weights(v) for n, v in (("energy_true", energy), ("offset", offset)))
        return np.maximum(interp_pairs(self.aeff.transpose("energy_true", "offset").values, *weights), 0.0)

    def separations(self, energy: FloatArray, offset: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw separations in deg between true and reconstructed direction; NaN where there is no response."""
        uniform = rng.random(len(energy))
        if self.psf is None:
            return np.zeros_like(uniform)
        result = np.empty_like(uniform)
        for i in range(0, len(uniform), BATCH):
            part = slice(i, i + BATCH)
            result[part] = _psf_draw(self.psf, energy[part], offset[part], uniform[part])
        return result

    def reconstruct(self, energy: FloatArray, offset: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw reconstructed energies in TeV; NaN where there is no response."""
        uniform = rng.random(len(energy))
        if self.edisp is None:
            return energy.copy()
        result = np.empty_like(uniform)
        for i in range(0, len(uniform), BATCH):
            part = slice(i, i + BATCH)
            rows = self.edisp.at(energy[part], offset[part])
            result[part] = energy[part] * sample_histogram_rows(self.edisp.edges, rows, uniform[part])
        return result

    def selected(self, energy: FloatArray, offset: float) -> FloatArray:
        """Return the probability that the reconstructed energy lies in the range, for each true energy."""
        low, high = self.energy_range
        if self.edisp is None:
            return ((energy >= low) & (energy <= high)).astype(float)
        cdf, valid = row_cdf(self.edisp.at(energy, np.full_like(energy, offset)))
        below = [_cdf_at(cdf, self.edisp.edges, limit / energy) for limit in (low, high)]
        return np.where(valid, below[1] - below[0], 0.0)

    @cached_property
    def area_nodes(self) -> tuple[FloatArray, FloatArray]:
        """Offsets in deg, and effective areas at `energy_nodes` there in cm2, shape (energies, offsets)."""
        nodes = self.offset_nodes
        if self.aeff is None:
            return np.zeros(1), np.zeros((0, 1))
        steps = np.linspace(0.0, 1.0, OFFSET_STEPS, endpoint=False)
        offset = np.append((nodes[:-1, np.newaxis] + np.diff(nodes)[:, np.newaxis] * steps).ravel(), nodes[-1])
        return offset, evaluate_aeff(self.aeff, self.energy_nodes, offset)

    @cached_property
    def area_bound(self) -> FloatArray:
        """Largest effective area over all offsets in cm2 at `energy_nodes`."""
        energy = self.energy_nodes
        pairs = np.meshgrid(energy, self.offset_nodes, indexing="ij")
        return np.asarray(self.area(pairs[0].ravel(), pairs[1].ravel()).reshape(pairs[0].shape).max(axis=1))

    def selected_area(self, *, edisp: bool = True) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return energies, offsets and the effective area times `selected`, shape (energies, offsets)."""
        offset, area = self.area_nodes
        return self.energy_nodes, offset, area * (self._selected if edisp else self._ideal)

    @cached_property
    def _selected(self) -> FloatArray:
        offset = self.area_nodes[0]
        return np.stack([self.selected(self.energy_nodes, float(theta)) for theta in offset], axis=1)

    @property
    def _ideal(self) -> FloatArray:
        low, high = self.energy_range
        energy = self.energy_nodes
        return ((energy >= low) & (energy <= high)).astype(float)[:, np.newaxis]


def _psf_draw(psf: EventTable, energy: FloatArray, offset: FloatArray, uniform: FloatArray) -> FloatArray:
    rows = psf.at(energy, offset)
    if psf.kind == "3gauss":
        amplitude = np.concatenate([np.ones((len(rows), 1)), rows[:, 1:3]], axis=1)
        return sample_multi_gauss(amplitude * (rows[:, :1] > 0), rows[:, 3:], uniform)
    if psf.kind == "king":
        return np.minimum(sample_king(rows[:, 0], rows[:, 1], uniform), 180.0)
    # a table holds probability per solid angle: uniform in the versine within a step
    versine = 1.0 - np.cos(np.deg2rad(psf.edges))
    drawn = sample_histogram_rows(versine, rows * np.diff(versine), uniform)
    return np.rad2deg(2.0 * np.arcsin(np.sqrt(0.5 * drawn)))


def _cdf_at(cdf: FloatArray, edges: FloatArray, points: FloatArray) -> FloatArray:
    """Interpolate the running sum of each row at its own point."""
    position = np.interp(points, edges, np.arange(len(edges)))
    index = np.minimum(position.astype(int), len(edges) - 2)
    rows = np.arange(len(cdf))
    result: FloatArray = cdf[rows, index] + (position - index) * (cdf[rows, index + 1] - cdf[rows, index])
    return result


def prepare_responses(
    irfs: Mapping[str, Any] | Responses, energy_range: tuple[float, float] | None = None, *, background: bool = True
) -> Responses:
    """Prepare instrument responses for drawing events; do it once where many runs share them.

    Parameters
    ----------
    irfs
        Responses by name: ``aeff``, ``psf``, ``edisp``, ``bkg``, as `xgamma.irf.read.read_irf` gives them. An
        explicit None stands for an ideal ``psf`` or ``edisp``, for no sources (``aeff``), or for no background.
    energy_range
        Lowest and highest reconstructed energy in TeV; events outside are left out.
    background
        False leaves the background out.

    Returns
    -------
    Responses

    Raises
    ------
    ValueError
        If a response is missing, not known, of a wrong kind, or point-like.
    """
    if isinstance(irfs, Responses):
        return irfs
    low, high = (0.0, np.inf) if energy_range is None else energy_range
    if not 0 <= low < high:
        msg = f"energy_range=({low}, {high}) TeV must ascend from at least 0"
        raise ValueError(msg)
    unknown = sorted(set(irfs) - set(NAMES) - {"rad_max", "pointing"})
    if unknown:
        msg = f"responses {unknown} are not known; known are {list(NAMES)}"
        raise ValueError(msg)
    needed = [name for name in NAMES if name != "bkg" or background]
    missing = [name for name in needed if name not in irfs]
    if missing:
        name = missing[0]
        msg = f"the response {name!r} is missing (there are {sorted(irfs)}); give irfs={{{name!r}: None}} to do without"
        raise ValueError(msg)
    for name in needed:
        if irfs[name] is not None and irfs[name].attrs.get("is_pointlike"):
            msg = (
                f"the response {name!r} is point-like (after a cut on direction); give a full-enclosure one to simulate"
            )
            raise ValueError(msg)
    sampler = background_sampler(irfs["bkg"], (low, high)) if background and irfs["bkg"] is not None else None
    given = [irfs[n] for n in needed if irfs[n] is not None]
    attrs = {k: v for irf in reversed(given) for k, v in irf.attrs.items() if k in ("telescop", "instrume")}
    aeff = None if irfs["aeff"] is None else irfs["aeff"].load()
    return Responses(aeff, _psf_table(irfs["psf"]), _edisp_table(irfs["edisp"]), sampler, (low, high), attrs)


def _psf_table(psf: Any) -> EventTable | None:
    if psf is None:
        return None
    energy, offset = (table_axis(psf, n) for n in ("energy_true", "offset"))
    if isinstance(psf, xr.Dataset):
        king = "gamma" in psf
        if king:
            columns = [psf["gamma"], psf["sigma"]]
        else:
            # the other amplitudes are relative to the first, so the scale only says whether there is anything
            columns = [psf[n] for n in ("scale", "ampl_2", "ampl_3", "sigma_1", "sigma_2", "sigma_3")]
        arrays = [c.transpose("energy_true", "offset").values for c in columns]
        widths = [str(c.name).startswith("sigma") for c in columns]
        table = np.stack([_filled(a) if w else a for a, w in zip(arrays, widths, strict=True)], axis=-1)
        return EventTable("king" if king else "3gauss", energy, offset, table, np.empty(0))
    rad = table_axis(psf, "rad")
    edges = rad.edges[rad.edges > 0]
    edges = np.concatenate([[0.0], edges])
    steps = np.linspace(0.0, 1.0, RAD_STEPS, endpoint=False)
    fine = np.append((edges[:-1, np.newaxis] + np.diff(edges)[:, np.newaxis] * steps).ravel(), edges[-1])
    middle = 0.5 * (fine[1:] + fine[:-1])
    index, weight, _ = rad.weights(middle, bounded=False)
    values = psf.transpose("energy_true", "offset", "rad").values
    upper = values[..., np.minimum(index + 1, values.shape[-1] - 1)]
    table = np.maximum(values[..., index] * (1 - weight) + upper * weight, 0.0)
    return EventTable("table", energy, offset, table, fine)


def _filled(sigma: FloatArray) -> FloatArray:
    """Widths of 0, which mark a Gaussian that is not there, as `xgamma.irf.psf` reads them."""
    return np.where(sigma == 0, EMPTY_SIGMA, sigma)


def _edisp_table(edisp: Any) -> EventTable | None:
    if edisp is None:
        return None
    energy, offset, migra = (table_axis(edisp, n) for n in ("energy_true", "offset", "migra"))
    edges = migra.edges
    table = edisp.transpose("energy_true", "offset", "migra").values * np.diff(edges)
    return EventTable("edisp", energy, offset, table, edges)


def warn_lost(lost: int, name: str) -> None:
    """Say that events fell where a response is empty."""
    if lost:
        msg = (
            f"{lost} events of source {name!r} were left out: they have an effective area, but psf or edisp are empty "
            "at their energy and offset"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
