"""The axis on which a survey keeps its PSF: no longer than the PSF reaches, fine where it is steep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xgamma.coords.bins import bin_axis
from xgamma.dl3.observation import Observation
from xgamma.dl3.store import Observations
from xgamma.irf.psf import containment_radius

__all__ = ["containment_rad_axis"]

#: Offsets in degrees at which the PSF is looked at, as parts of the largest.
OFFSETS = (0.0, 0.5, 1.0)
#: Part of the events within the first bin of the narrowest PSF.
CORE = 0.15
#: Runs that are looked at, evenly through the list.
MOST_RUNS = 20


def containment_rad_axis(
    observations: Observations | Sequence[Observation],
    energy_true: xr.DataArray,
    *,
    fraction: float = 0.95,
    nbin: int = 24,
    offset_max: float = 2.0,
) -> xr.DataArray:
    """Return an axis of separations that ends where the PSFs of runs hold a part of their events.

    Parameters
    ----------
    observations
        Runs; up to 20 of them, evenly through the list, are looked at.
    energy_true
        Axis of true energy, from `xgamma.energy_axis`.
    fraction
        Part of the events inside the last edge, at the widest of all PSFs.
    nbin
        Number of bins. Their widths grow from the core of the narrowest PSF.
    offset_max
        Largest offset from the pointing in degrees at which the PSF matters.

    Returns
    -------
    xarray.DataArray
        Axis ``rad``, degrees, for ``sky_grid(rad=)``.

    Raises
    ------
    ValueError
        If no run has a PSF, or none holds the part of its events at any energy.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.io.sample import sample_path
    >>> runs = xg.open_store(sample_path("survey")).observations
    >>> containment_rad_axis(runs, xg.energy_axis("1 TeV", "10 TeV", nbin=3), nbin=12).sizes["rad"]
    12
    """
    if not 0 < fraction < 1 or nbin < 2:
        msg = f"fraction={fraction!r} must lie between 0 and 1, and nbin={nbin!r} be at least 2"
        raise ValueError(msg)
    runs = [run for run in observations if "psf" in run.available]
    if not runs:
        msg = "none of the runs has a PSF; leave rad to its default"
        raise ValueError(msg)
    energy, offset = energy_true.values, offset_max * np.asarray(OFFSETS)
    widest, core = [], []
    for k in np.unique(np.linspace(0, len(runs) - 1, min(MOST_RUNS, len(runs))).round().astype(int)):
        psf = runs[k].psf
        widest.append(containment_radius(psf, fraction, energy, offset))
        core.append(containment_radius(psf, CORE, energy, offset))
    with np.errstate(invalid="ignore"):
        outer, inner = (np.stack(r)[np.isfinite(r) & (np.asarray(r) > 0)] for r in (widest, core))
    if not outer.size or not inner.size:
        msg = f"no PSF of the runs holds {fraction:.0%} of its events at these energies; leave rad to its default"
        raise ValueError(msg)
    # sinh: even steps in the core, steps in proportion to the radius in the tail
    last, first = float(outer.max()), float(inner.min())
    stretch = _stretch(last, first, nbin)
    edges = last * np.sinh(stretch * np.arange(nbin + 1) / nbin) / np.sinh(stretch)
    edges[0] = 0.0
    return bin_axis("rad", edges[:-1], edges[1:], "deg", interp="lin", long_name="Offset from source")


def _stretch(last: float, first: float, nbin: int) -> float:
    """Parameter of the sinh for which the first edge is `first`; next to 0 where even bins are fine enough."""
    low, high = 1e-6, 50.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if last * np.sinh(middle / nbin) / np.sinh(middle) > first:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
