"""Phasograms, and tests whether events are periodic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from scipy.stats import chi2

from xgamma.background.phase import phase_intervals
from xgamma.coords.bins import bin_axis
from xgamma.coords.regions import as_regions
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.dl3.observation import Observation
from xgamma.dl3.phases import PHASE_LABEL, phases_within, turned
from xgamma.dl3.select import region_contains
from xgamma.kernels.periodicity import h_statistic, harmonic_powers

__all__ = ["periodicity", "phase_axis", "phasogram"]


def phase_axis(edges: Any) -> xr.DataArray:
    """Return bins of the phase.

    Parameters
    ----------
    edges
        Number of equal bins, or their edges in turns, ascending inside 0 to 1.

    Returns
    -------
    xarray.DataArray
        Middles, dims (phase,), with coordinates ``phase_min``, ``phase_max``.

    Raises
    ------
    ValueError
        If edges do not ascend inside 0 to 1.

    Examples
    --------
    >>> phase_axis(4).phase_max.values
    array([0.25, 0.5 , 0.75, 1.  ])
    """
    if np.ndim(edges) == 0:
        if isinstance(edges, bool) or not float(edges).is_integer() or edges < 1:
            msg = f"{edges!r} bins of the phase: give a whole number of at least 1, or edges"
            raise ValueError(msg)
        edges = np.linspace(0.0, 1.0, int(edges) + 1)
    values = np.asarray(to_value(edges, "", "phase_edges"), dtype=float)
    if values.ndim != 1 or values.size < 2 or not (np.diff(values) > 0).all() or values[0] < 0 or values[-1] > 1:
        msg = f"phase_edges={edges!r} must ascend inside 0 to 1"
        raise ValueError(msg)
    return bin_axis("phase", values[:-1], values[1:], "", interp="lin", long_name=PHASE_LABEL)


def phasogram(
    events: xr.Dataset | Iterable[Observation],
    phase_edges: Any = 20,
    *,
    region: Any = None,
    energy_edges: Any = None,
    off_phase: Any = None,
    column: str = "phase",
) -> xr.Dataset:
    """Count events in bins of the phase.

    Parameters
    ----------
    events
        An event list, lazy or not; or runs, which are read by a task each when the result is computed.
    phase_edges
        Number of equal bins, or edges in turns.
    region
        Count inside this region: what `xgamma.region_grid` takes, one region.
    energy_edges
        Count in bins of energy, shape (n + 1,); by default at all energies.
    off_phase
        Interval of the phase without pulsed events, or a list: adds what it predicts in each bin.
    column
        Column of the phases.

    Returns
    -------
    xarray.Dataset
        ``counts``, dims ([obs,] [energy,] phase). With `off_phase` also ``background``, the counts off scaled with the
        width of the bin, and ``counts_off``, dims ([obs,] [energy]), with ``acceptance`` and ``acceptance_off``, the
        widths on and off.

    Raises
    ------
    ValueError
        If events have no such column, or phases lie outside of 0 to 1; edges do not ascend; there are several regions.
    TypeError
        If `events` are neither an event list nor runs.

    See Also
    --------
    periodicity : is there a pulsation?

    Examples
    --------
    >>> events = xr.Dataset({"phase": ("event", [0.1, 0.2, 0.9])})
    >>> phasogram(events, 2, off_phase=(0.75, 1.0)).counts.values
    array([2., 1.])
    """
    axis = phase_axis(phase_edges)
    off = () if off_phase is None else phase_intervals(off_phase, "off_phase")
    regions = [] if region is None else list(as_regions(region))
    if len(regions) > 1:
        msg = f"{len(regions)} regions; a phasogram counts in one"
        raise ValueError(msg)
    energy = None
    if energy_edges is not None:
        edges = np.asarray(to_value(energy_edges, "TeV", "energy_edges"), dtype=float)
        if edges.ndim != 1 or edges.size < 2:
            msg = f"energy_edges={energy_edges!r} must be two or more edges"
            raise ValueError(msg)
        energy = bin_axis("energy", edges[:-1], edges[1:], "TeV", long_name="Energy")
    count = _Count(axis, energy, off, regions[0] if regions else None, column.lower())
    first: tuple[str, ...] = ()
    coords: dict[str, Any] = {}
    if isinstance(events, xr.Dataset):
        arrays = count.of_events(events)
    else:
        runs = [events] if isinstance(events, Observation) else list(events)
        odd = next((run for run in runs if not isinstance(run, Observation)), None)
        if odd is not None:
            msg = f"{odd!r} is not a run: give those of a store, xgamma.open_store(...).select(...), or an event list"
            raise TypeError(msg)
        if not runs:
            msg = "there are no runs to count"
            raise ValueError(msg)
        arrays, first = da.stack([count.lazily(count.of_run, run) for run in runs]), ("obs",)
        coords = {"obs": ("obs", [run.obs_id for run in runs], {"long_name": "Run"})}
    return count.labelled(arrays, first, coords)


class _Count:
    """Counts in bins of the phase, and off."""

    def __init__(self, axis: xr.DataArray, energy: Any, off: Any, region: Any, column: str) -> None:
        self.axis, self.energy, self.off, self.region, self.column = axis, energy, off, region, column
        self.edges = np.append(axis["phase_min"].values, axis["phase_max"].values[-1])
        self.energy_edges = None
        if energy is not None:
            self.energy_edges = np.append(energy["energy_min"].values, energy["energy_max"].values[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n_energy, n_phase + 1): the last column is that of the off phase."""
        return (1 if self.energy is None else self.energy.size, self.axis.size + 1)

    @property
    def columns(self) -> list[str]:
        """Columns that are needed."""
        more = ["energy"] if self.energy is not None else []
        return [self.column, *more, *(["ra", "dec"] if self.region is not None else [])]

    def lazily(self, function: Any, *arguments: Any) -> da.Array:
        """Return what a function counts as an array that is computed later."""
        return da.from_delayed(delayed(function, pure=True)(*arguments), self.shape, float)

    def of_run(self, run: Observation) -> np.ndarray:
        """Read and count the events of a run."""
        events = run.events
        self._check(events, f"run {run.obs_id}")
        return self.of_arrays(*(events[name].values for name in self.columns), where=f"run {run.obs_id}")

    def of_events(self, events: xr.Dataset) -> Any:
        """Count the events of a list."""
        self._check(events, "the event list")
        arrays = [events[name].data for name in self.columns]
        if any(isinstance(a, da.Array) for a in arrays):
            return self.lazily(self.of_arrays, *arrays)
        return self.of_arrays(*arrays)

    def _check(self, events: xr.Dataset, where: str) -> None:
        missing = [name for name in self.columns if name not in events]
        if missing:
            msg = (
                f"{where} has no column {missing[0]!r}, but {sorted(map(str, events.data_vars))}; times make phases: "
                "xgamma.dl3.ephemeris.assign_phases"
            )
            raise ValueError(msg)

    def of_arrays(self, phases: np.ndarray, *more: np.ndarray, where: str = "") -> np.ndarray:
        """Count, shape (n_energy, n_phase + 1)."""
        rest = [np.asarray(v) for v in more]
        keep = np.ones(len(phases), dtype=bool)
        if self.region is not None:
            keep &= region_contains(self.region, rest[-2], rest[-1])
        plane = np.zeros(len(phases), dtype=int)
        if self.energy_edges is not None:
            plane = np.searchsorted(self.energy_edges, rest[0], side="right") - 1
            keep &= (plane >= 0) & (plane < self.shape[0])
        turns, plane = turned(np.asarray(phases)[keep], where), plane[keep]
        column = np.searchsorted(self.edges, turns, side="right") - 1
        inside = (column >= 0) & (column < self.axis.size)
        result = np.zeros(self.shape)
        np.add.at(result, (plane[inside], column[inside]), 1.0)
        result[:, -1] = np.bincount(plane[phases_within(turns, self.off)], minlength=self.shape[0])
        return result

    def labelled(self, arrays: Any, first: tuple[str, ...], coords: Any) -> xr.Dataset:
        """Give counts their names and coordinates."""
        arrays = arrays if self.energy is not None else arrays[..., 0, :]
        lead = (*first, *(("energy",) if self.energy is not None else ()))
        data = {"counts": xr.Variable((*lead, "phase"), arrays[..., :-1], canonical_attrs("", "Counts"))}
        width = np.diff(self.edges)
        if self.off:
            off = sum(stop - start for start, stop in self.off)
            data["counts_off"] = xr.Variable(lead, arrays[..., -1], canonical_attrs("", "Counts in the off phase"))
            data["acceptance"] = xr.Variable("phase", width, canonical_attrs("", "Width of the bin"))
            data["acceptance_off"] = xr.Variable((), off, canonical_attrs("", "Width of the off phase"))
            data["background"] = data["counts_off"] * data["acceptance"] / off
            data["background"].attrs = canonical_attrs("", "Background")
        axes = self.axis.coords if self.energy is None else {**self.axis.coords, **self.energy.coords}
        return xr.Dataset(data, coords=xr.Dataset(coords=axes).assign_coords(coords).coords)


def periodicity(
    phases: xr.DataArray | xr.Dataset, *, weights: xr.DataArray | None = None, n_harmonics: int = 20
) -> xr.Dataset:
    r"""Test phases of events for a pulsation.

    Parameters
    ----------
    phases
        Phases in turns, dims (..., event), lazy or not: further dims are tests of their own, such as trial frequencies.
        An event list stands for its column ``phase``. Phases that are not finite are left out.
    weights
        Probability of each event to be of the source, dims (event,) or as the phases; 1 by default.
    n_harmonics
        Harmonics that are looked at; 20 is usual for H.

    Returns
    -------
    xarray.Dataset
        ``z2`` and its ``z2_p_value``, dims (..., harmonic), for the sums over the first harmonics; ``h``, ``h_p_value``
        and ``h_harmonic``, the number of harmonics of H, dims (...). The first ``z2`` is the Rayleigh test. A p value
        is the chance that events without a pulsation do as well.

    Raises
    ------
    ValueError
        If there is no dim ``event`` or no phase, the number of harmonics is not positive, or a weight is negative or
        not finite (of lazy ones when they are computed).

    Notes
    -----
    :math:`Z^2_n = \frac{2}{\sum w_i^2} \sum_{k=1}^n |\sum_i w_i e^{2 \pi i k \phi_i}|^2` [1]_ is distributed as
    :math:`\chi^2` with 2n degrees of freedom, for many events. :math:`H = \max_m (Z^2_m - 4 m + 4)` [2]_ chooses the
    number of harmonics itself; its p value is :math:`e^{-0.4 H}` [3]_, for 20 harmonics and many events. Weights as in
    [4]_. Each frequency that was tried is a trial more.

    References
    ----------
    .. [1] Buccheri et al. 1983, A&A 128, 245.
    .. [2] de Jager, Raubenheimer & Swanepoel 1989, A&A 221, 180.
    .. [3] de Jager & Buesching 2010, A&A 517, L9.
    .. [4] Kerr 2011, ApJ 732, 38.

    Examples
    --------
    >>> result = periodicity(xr.DataArray([0.1, 0.12, 0.1, 0.11, 0.09], dims="event"))
    >>> float(result.h_p_value) < 1e-3
    True
    """
    if isinstance(phases, xr.Dataset):
        if "phase" not in phases:
            msg = f"the event list has no column 'phase', but {sorted(map(str, phases.data_vars))}"
            raise ValueError(msg)
        phases = phases["phase"]
    if "event" not in phases.dims:
        msg = f"phases need the dim 'event'; they have {phases.dims}"
        raise ValueError(msg)
    if isinstance(n_harmonics, bool) or int(n_harmonics) != n_harmonics or n_harmonics < 1:
        msg = f"n_harmonics={n_harmonics!r} must be a whole number of at least 1"
        raise ValueError(msg)
    given = [phases] if weights is None else [phases, weights]
    whole = [a.variable.chunk({"event": -1}) if a.chunks is not None else a.variable for a in given]
    names = ("z2", "z2_p_value", "h", "h_p_value", "h_harmonic")
    results = xr.apply_ufunc(
        _tests,
        *whole,
        input_core_dims=[["event"]] * len(given),
        output_core_dims=[["harmonic"], ["harmonic"], [], [], []],
        kwargs={"n_harmonics": int(n_harmonics)},
        dask="parallelized",
        output_dtypes=[float] * 4 + [int],
        dask_gufunc_kwargs={"output_sizes": {"harmonic": int(n_harmonics)}},
    )
    texts = ("Z^2", "Probability of Z^2 by chance", "H", "Probability of H by chance", "Harmonics of H")
    coords = phases.drop_vars([n for n, c in phases.coords.items() if "event" in c.dims]).coords
    number = {"harmonic": ("harmonic", np.arange(1, int(n_harmonics) + 1), canonical_attrs("", "Harmonics"))}
    result = xr.Dataset(dict(zip(names, results, strict=True)), coords=coords).assign_coords(number)
    for name, text in zip(names, texts, strict=True):
        result[name].attrs = canonical_attrs("", text)
    return result


def _tests(phases: np.ndarray, weights: np.ndarray | None = None, *, n_harmonics: int) -> tuple[np.ndarray, ...]:
    if weights is not None:
        bad = int((~(np.isfinite(weights) & (weights >= 0))).sum())
        if bad:
            msg = f"{bad} of {weights.size} weights are negative or not finite: give each event's probability, 0 to 1"
            raise ValueError(msg)
    z2 = np.cumsum(harmonic_powers(phases, weights, n_harmonics), axis=-1)
    h, harmonic = h_statistic(z2)
    return z2, np.asarray(chi2.sf(z2, 2 * np.arange(1, n_harmonics + 1))), h, np.exp(-0.4 * h), harmonic
