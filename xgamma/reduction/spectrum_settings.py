"""What a reduction of spectra is asked for, checked once and turned into plain numbers that travel to the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.regions import from_ds9
from xgamma.coords.sky import has_sky
from xgamma.dl3.observation import Observation
from xgamma.reduction.region_background import OffTask, PreparedOff
from xgamma.reduction.region_set import OnRegion, on_region
from xgamma.reduction.settings import AxisSettings, axis_settings, parse_safe_mask, positive_angle

__all__ = ["SpectrumSettings", "is_region_grid", "spectrum_settings"]

#: Variables that can be asked for.
SPECTRA = ("counts", "exposure", "background", "edisp")


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectrumSettings(AxisSettings):
    """Everything that a task needs to know beside its runs.

    Parameters
    ----------
    regions
        On regions.
    single
        One region without a dimension.
    containment_correction
        Exposure times the part of the PSF inside the circle.
    off
        A background from the events of each run.
    """

    regions: tuple[OnRegion, ...]
    single: bool
    containment_correction: bool = False
    off: OffTask | None = None

    @property
    def required(self) -> tuple[str, ...]:
        """HDU types that the reduction reads."""
        # with off counts, the peak of the background is that of the events
        more = ["psf"] if self.containment_correction else []
        needed = [*super().required, *more]
        if self.off is not None and "background" not in self.selection:
            needed = [name for name in needed if name != "bkg"]
        return tuple(dict.fromkeys(needed))


def is_region_grid(grid: xr.Dataset) -> bool:
    """Return True for the coordinates of spectra, as `xgamma.region_grid` makes them."""
    return "region" in grid.coords and not has_sky(grid)


def spectrum_settings(
    grid: xr.Dataset,
    observations: Sequence[Observation],
    *,
    selection: Sequence[str] | str | None,
    safe_mask: Any,
    offset_max: Any,
    background_oversampling: int,
    max_gti: int,
    containment_correction: bool,
    use_region_center: bool,
    off: PreparedOff | None,
) -> SpectrumSettings:
    """Check the arguments of `reduce` for a grid of regions and return them as plain numbers.

    Raises
    ------
    ValueError
        If an axis is missing or empty, an option is not known, or does not go with the regions.
    """
    if "energy" not in grid.dims:
        msg = "the grid has no energy axis; pass energy= to xgamma.region_grid"
        raise ValueError(msg)
    for name in ("energy", "energy_true"):
        if name in grid.dims and not grid.sizes[name]:
            msg = f"the {name} axis of the grid is empty: nothing was selected"
            raise ValueError(msg)
    limit = None if offset_max is None else positive_angle(offset_max, "offset_max")
    names = _selection(selection, observations, off)
    masks = parse_safe_mask(safe_mask, limit)
    needs_true = {"exposure", "edisp"} & set(names) | {m.name for m in masks} & {"aeff-max", "edisp-bias"}
    if needs_true and "energy_true" not in grid.dims:
        msg = f"{sorted(needs_true)} need an axis of true energy; pass energy_true= to xgamma.region_grid"
        raise ValueError(msg)
    if any(m.name == "bkg-peak" for m in masks) and off is None and "background" not in names:
        msg = "safe mask 'bkg-peak' needs a background: put it into the selection, or give one of the runs' events"
        raise ValueError(msg)
    texts = [str(t) for t in np.atleast_1d(grid["region"].values)]
    regions = tuple(on_region(from_ds9(t), t, use_region_center=use_region_center) for t in texts)
    _check_regions(regions, names, containment_correction, use_region_center)
    return SpectrumSettings(
        **axis_settings(grid, background_oversampling, max_gti),
        selection=names,
        masks=masks,
        offset_max=limit,
        regions=regions,
        single="region" not in grid.dims,
        containment_correction=bool(containment_correction),
        off=None if off is None else off.task,
    )


def _selection(
    selection: Sequence[str] | str | None, observations: Sequence[Observation], off: PreparedOff | None
) -> tuple[str, ...]:
    if selection is None or selection == "all":
        # the model of the runs where all of them have one, and nothing else is asked for
        modelled = off is None and all("bkg" in run.available for run in observations)
        return tuple(name for name in SPECTRA if name != "background" or modelled)
    names = (selection,) if isinstance(selection, str) else tuple(selection)
    if "psf" in names:
        msg = "a spectrum has no psf: containment_correction=True corrects its exposure, a map from sky_grid has one"
        raise ValueError(msg)
    unknown = [name for name in names if name not in SPECTRA]
    if unknown or not names:
        msg = f"selection={selection!r}: choose from {list(SPECTRA)}, or 'all'"
        raise ValueError(msg)
    if off is not None:
        if "counts" not in names:
            msg = "a background from the events of each run needs 'counts' in the selection"
            raise ValueError(msg)
        # what the off counts make takes the place of a model
        names = tuple(name for name in names if name != "background")
    return tuple(name for name in SPECTRA if name in names)


def _check_regions(
    regions: tuple[OnRegion, ...], names: tuple[str, ...], containment_correction: bool, use_region_center: bool
) -> None:
    points = [region.text for region in regions if region.is_point]
    if points and "background" in names:
        msg = f"a background model cannot be integrated over the point {points[0]!r}; leave 'background' out"
        raise ValueError(msg)
    if points and not use_region_center:
        msg = f"use_region_center=False averages over an area, which the point {points[0]!r} has not"
        raise ValueError(msg)
    if not containment_correction:
        return
    other = [region.text for region in regions if region.shape.kind != "circle"]
    if other:
        msg = f"containment_correction is for circles; {other[0]!r} is none"
        raise ValueError(msg)
    if "exposure" not in names:
        msg = "containment_correction corrects the exposure, which the selection leaves out"
        raise ValueError(msg)
