"""One open run seen through the regions of a reduction: its events, and which of them lie in which region."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.irf.axes import table_axis
from xgamma.irf.rad_max import evaluate_rad_max
from xgamma.kernels.sphere import separation
from xgamma.reduction.observation import OpenRun
from xgamma.reduction.region_set import OnRegion, event_vectors, events_inside

__all__ = ["RunEvents", "SpectrumRun"]

T = TypeVar("T")

#: How far the radius of an on region may be from that of the responses' own selection, as a part of it.
RADIUS_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class RunEvents:
    """Events of a run inside the energy axis.

    Parameters
    ----------
    vectors
        ICRS unit vectors, shape (n, 3).
    energy
        TeV, shape (n,).
    plane
        Number of the energy bin, shape (n,).
    n_energy
        Number of energy bins.
    columns
        Further columns, shape (n,).
    """

    vectors: np.ndarray
    energy: np.ndarray
    plane: np.ndarray
    n_energy: int
    columns: dict[str, np.ndarray]

    def count(self, which: np.ndarray) -> np.ndarray:
        """Return the counts in bins of energy, shape (n_energy,), of the events that an index or a mask names."""
        return np.bincount(self.plane[which], minlength=self.n_energy).astype(float)


class SpectrumRun:
    """An open run and the regions of a reduction.

    Parameters
    ----------
    run
        The open run.
    regions
        On regions.
    columns
        Columns of the event list to read beside position and energy.
    shared
        What parts of one run have in common; filled here.
    """

    def __init__(
        self,
        run: OpenRun,
        regions: Sequence[OnRegion],
        columns: Sequence[str] = (),
        shared: dict[Hashable, Any] | None = None,
    ) -> None:
        self.run, self.regions, self.extra = run, tuple(regions), tuple(columns)
        self._shared = {} if shared is None else shared

    def of_pointing(self, name: Hashable, make: Callable[[], T]) -> T:
        """Return what depends on responses and pointing alone: made once for the parts of a run that does not drift."""
        key = name, self.run.pointing
        if key not in self._shared:
            self._shared[key] = make()
        value: T = self._shared[key]
        return value

    @property
    def name(self) -> Any:
        """Label of the run."""
        return self.run.files.observation.obs_id

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """Separation of each region's centre from the pointing in degrees, shape (n_region,)."""
        return separation(np.stack([region.center for region in self.regions]), self.run.center)

    @functools.cached_property
    def used(self) -> np.ndarray:
        """True for regions that are close enough to the pointing, shape (n_region,)."""
        limit = self.run.settings.offset_max
        with np.errstate(invalid="ignore"):
            return np.asarray(self.offsets < (np.inf if limit is None else limit))

    @functools.cached_property
    def events(self) -> RunEvents:
        """Events inside the energy axis."""
        edges = self.run.settings.energy_edges
        names = [name.lower() for name in self.extra]
        table = self.run.files.events(["ra", "dec", "energy", *names])
        energy = table["energy"].values
        keep = (energy >= edges[0]) & (energy < edges[-1])
        energy = energy[keep]
        vectors = event_vectors(table["ra"].values[keep], table["dec"].values[keep])
        plane = np.searchsorted(edges, energy, side="right") - 1
        columns = {name: table[name].values[keep] for name in names}
        return RunEvents(vectors, energy, plane, len(edges) - 1, columns)

    @functools.cached_property
    def inside(self) -> list[np.ndarray]:
        """Numbers of the events in each region."""
        events = self.events
        found = events_inside(events.vectors, self.regions)
        for k, region in enumerate(self.regions):
            if region.is_point:
                # further than offset_max from the pointing, responses need not have a radius
                radii = self.radii(k) if self.used[k] else 0.0
                found[k] = np.flatnonzero(separation(events.vectors, region.center) < radii)
        return found

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """On counts, shape (n_region, n_energy)."""
        return np.stack([self.events.count(index) for index in self.inside])

    @functools.cached_property
    def is_pointlike(self) -> bool:
        """True where the responses that are used are those of a selection around the source."""
        return "aeff" in self.run.settings.required and bool(self.run.table("aeff").attrs.get("is_pointlike"))

    @functools.cached_property
    def rad_max(self) -> xr.DataArray:
        """Radius of the selection that point-like responses were made with, dims (energy, offset), degrees."""
        table = self.run.files.irf("rad_max")
        assert isinstance(table, xr.DataArray)
        return table

    def radii(self, k: int, energy: np.ndarray | None = None) -> np.ndarray:
        """Return the radius of the selection in degrees at the offset of region `k`, for each event or energy."""
        energies = self.events.energy if energy is None else energy
        axis = table_axis(self.rad_max, "offset")
        if not axis.weights(self.offsets[k : k + 1]).valid[0]:
            limits = " to ".join(f"{v:.3g}" for v in axis.limits)
            msg = (
                f"region {self.regions[k].text!r} lies {self.offsets[k]:.3f} deg from the pointing, "
                f"its point-like responses hold from {limits} deg"
            )
            raise ValueError(msg)
        return evaluate_rad_max(self.rad_max, energies, self.offsets[k])

    def largest_radius(self, k: int) -> float:
        """Return the largest radius of the selection over the energies of the reduction."""
        edges = self.run.settings.energy_edges
        axis = table_axis(self.rad_max, "energy")
        between = axis.lo[(axis.lo > edges[0]) & (axis.lo < edges[-1])]
        return float(self.radii(k, np.concatenate([edges[:1], between])).max())

    def check_selection(self, containment_correction: bool) -> None:
        """Refuse regions that do not go with the responses of the run.

        Raises
        ------
        ValueError
            A point on a run whose responses have no RAD_MAX; a region of another size than theirs; containment that
            was corrected before.
        """
        if any(region.is_point for region in self.regions):
            try:
                _ = self.rad_max
            except ValueError as error:
                msg = f"{error}: a spectrum from a point needs them; give a circle"
                raise ValueError(msg) from error
        if not self.is_pointlike:
            return
        if containment_correction:
            msg = (
                "the responses are point-like: the effective area is that of the events in their on region; leave "
                "containment_correction out"
            )
            raise ValueError(msg)
        self._check_radius()

    def _check_radius(self) -> None:
        try:
            table = self.rad_max
        except ValueError:
            return  # nobody knows the radius
        low, high = float(table.min()), float(table.max())
        for region in self.regions:
            if region.is_point:
                continue
            radius = region.shape.sizes[0] if region.shape.kind == "circle" else np.nan
            if not (abs(radius - low) <= RADIUS_TOLERANCE * low and abs(radius - high) <= RADIUS_TOLERANCE * high):
                limits = f"{low:.4g} deg" if low == high else f"{low:.4g} to {high:.4g} deg, by energy"
                msg = (
                    f"the responses are point-like, made with a radius of {limits}; they do not hold for the region "
                    f"{region.text!r}: give a PointSkyRegion, which takes the radius of the responses"
                )
                raise ValueError(msg)
