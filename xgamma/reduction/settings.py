"""What a reduction is asked for, checked once and turned into plain numbers that travel to the workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.bins import bin_edges
from xgamma.coords.sky import SkyGrid, grid_of, has_sky
from xgamma.coords.units import to_value

__all__ = [
    "AxisSettings",
    "ReduceSettings",
    "SafeMask",
    "axis_settings",
    "parse_safe_mask",
    "positive_angle",
    "reduce_settings",
]

#: Variables that can be asked for.
MAPS = ("counts", "exposure", "background")
RESPONSES = ("psf", "edisp")
#: What is made by default; PSF and energy dispersion are for fits, and cost nothing unless asked for.
DEFAULT_SELECTION = MAPS

#: Options of each safe mask with their defaults; None means "the reduction's own" or "not used".
SAFE_MASKS: dict[str, dict[str, Any]] = {
    "aeff-default": {},
    "aeff-max": {"aeff_percent": 10.0, "position": None, "fixed_offset": None},
    "edisp-bias": {"bias_percent": 10.0, "position": None, "fixed_offset": None},
    "offset-max": {"offset_max": None},
    "bkg-peak": {},
}
#: Offset of the ``offset-max`` mask where neither the mask nor the reduction names one, deg.
DEFAULT_OFFSET_MAX = 3.0


@dataclass(frozen=True)
class SafeMask:
    """One safe mask: its name and its options as plain numbers.

    Parameters
    ----------
    name
        Key of `SAFE_MASKS`.
    percent
        Of ``aeff-max`` and ``edisp-bias``.
    offset
        Degrees: the limit of ``offset-max``, or the fixed offset at which a threshold is taken.
    position
        ICRS degrees at which a threshold is taken; by default the middle of the run's footprint.
    """

    name: str
    percent: float | None = None
    offset: float | None = None
    position: tuple[float, float] | None = None

    def describe(self) -> str:
        """Return the mask and the options that were set, for the provenance of a cube."""
        options = {"percent": self.percent, "offset": self.offset, "position": self.position}
        text = ", ".join(f"{name}={value}" for name, value in options.items() if value is not None)
        return f"{self.name}({text})" if text else self.name


@dataclass(frozen=True, eq=False, kw_only=True)
class AxisSettings:
    """What a task needs to know of a run's reduction, on the sky or in regions.

    Parameters
    ----------
    energy_edges, energy_true_edges, rad_edges
        Edges in TeV and degrees.
    energy, energy_true
        Centres of the bins in TeV; responses are evaluated at those of true energy.
    selection
        Variables to make.
    masks
        Safe masks to combine.
    offset_max
        How far from its pointing a run is used, in degrees; None for all.
    background_oversampling
        Steps in which the background is integrated over each energy bin.
    max_gti
        Number of good time intervals kept for each run.
    """

    energy_edges: np.ndarray
    energy: np.ndarray
    energy_true_edges: np.ndarray | None
    energy_true: np.ndarray | None
    rad_edges: np.ndarray | None
    selection: tuple[str, ...]
    masks: tuple[SafeMask, ...] = ()
    offset_max: float | None = None
    background_oversampling: int = 1
    max_gti: int = 8

    @property
    def n_energy(self) -> int:
        """Number of bins of reconstructed energy."""
        return len(self.energy_edges) - 1

    @property
    def required(self) -> tuple[str, ...]:
        """HDU types that the reduction reads."""
        needed = {"counts": ("events", "gti"), "exposure": ("aeff",), "background": ("bkg",)}
        needed |= {"psf": ("aeff", "psf"), "edisp": ("aeff", "edisp")}
        names = ["events", "gti", *(h for s in self.selection for h in needed[s])]
        of_mask = {"aeff-default": "aeff", "aeff-max": "aeff", "edisp-bias": "edisp", "bkg-peak": "bkg"}
        names += [of_mask[m.name] for m in self.masks if m.name in of_mask]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReduceSettings(AxisSettings):
    """Everything that a task needs to know beside its runs and its tile of the sky.

    Parameters
    ----------
    grid
        The whole sky grid.
    irf_grid
        The coarse grid of the responses.
    """

    grid: SkyGrid
    irf_grid: SkyGrid | None


def reduce_settings(
    grid: xr.Dataset,
    selection: Sequence[str] | str,
    safe_mask: Any,
    offset_max: Any,
    background_oversampling: int,
    max_gti: int,
) -> ReduceSettings:
    """Check the arguments of `reduce` and return them as plain numbers."""
    limit = None if offset_max is None else positive_angle(offset_max, "offset_max")
    names = _selection(selection)
    if not has_sky(grid):
        msg = "the grid has no sky pixels; make one with xgamma.sky_grid"
        raise ValueError(msg)
    if "energy" not in grid.dims:
        msg = "the grid has no energy axis; pass energy= to xgamma.sky_grid"
        raise ValueError(msg)
    needs_true = {"exposure", "psf", "edisp"} & set(names)
    masks = parse_safe_mask(safe_mask, limit)
    needs_true |= {m.name for m in masks} & {"aeff-max", "edisp-bias"}
    if needs_true and "energy_true" not in grid.dims:
        msg = f"{sorted(needs_true)} need an axis of true energy; pass energy_true= to xgamma.sky_grid"
        raise ValueError(msg)
    if "psf" in names and "rad" not in grid.dims:
        msg = "psf needs an axis of separations; pass rad= or energy_true= to xgamma.sky_grid"
        raise ValueError(msg)
    if {"psf", "edisp"} & set(names) and not has_sky(grid, "irf_"):
        msg = "psf and edisp need the coarse grid (irf_y, irf_x) that xgamma.sky_grid makes"
        raise ValueError(msg)
    return ReduceSettings(
        **axis_settings(grid, background_oversampling, max_gti),
        grid=grid_of(grid),
        irf_grid=grid_of(grid, "irf_") if has_sky(grid, "irf_") else None,
        selection=names,
        masks=masks,
        offset_max=limit,
    )


def axis_settings(grid: xr.Dataset, background_oversampling: int, max_gti: int) -> dict[str, Any]:
    """Return the axes of a grid and two checked numbers, as arguments of `AxisSettings`."""
    for name, value in (("background_oversampling", background_oversampling), ("max_gti", max_gti)):
        if int(value) != value or value < 1:
            msg = f"{name}={value!r} must be a whole number of at least 1"
            raise ValueError(msg)
    true = "energy_true" in grid.dims
    return {
        "energy_edges": bin_edges(grid, "energy"),
        "energy": grid["energy"].values,
        "energy_true_edges": bin_edges(grid, "energy_true") if true else None,
        "energy_true": grid["energy_true"].values if true else None,
        "rad_edges": bin_edges(grid, "rad") if "rad" in grid.dims else None,
        "background_oversampling": int(background_oversampling),
        "max_gti": int(max_gti),
    }


def positive_angle(value: Any, name: str) -> float:
    """Return one positive angle in degrees."""
    number = np.asarray(to_value(value, "deg", name))
    if number.ndim or not number > 0:
        msg = f"{name}={value!r} must be one positive angle"
        raise ValueError(msg)
    return float(number)


def _selection(selection: Sequence[str] | str) -> tuple[str, ...]:
    if selection == "all":
        return (*MAPS, *RESPONSES)
    names = (selection,) if isinstance(selection, str) else tuple(selection)
    unknown = [n for n in names if n not in (*MAPS, *RESPONSES)]
    if unknown or not names:
        msg = f"selection={selection!r}: choose from {[*MAPS, *RESPONSES]}, or 'all'"
        raise ValueError(msg)
    return tuple(n for n in (*MAPS, *RESPONSES) if n in names)


def parse_safe_mask(safe_mask: Any, offset_max: float | None = None) -> tuple[SafeMask, ...]:
    """Turn a name, a list of names or a mapping from names to options into `SafeMask` values.

    Parameters
    ----------
    safe_mask
        ``"aeff-default"``, ``["offset-max", "aeff-max"]``, ``{"aeff-max": {"aeff_percent": 10}}`` or None.
    offset_max
        Degrees: used by ``offset-max`` where the mask has no option of its own.

    Returns
    -------
    tuple of SafeMask

    Raises
    ------
    ValueError
        If a name or an option is not known, or a number is out of range.

    Examples
    --------
    >>> parse_safe_mask({"aeff-max": {"aeff_percent": 5}})
    (SafeMask(name='aeff-max', percent=5.0, offset=None, position=None),)
    """
    if safe_mask is None:
        return ()
    items: Mapping[str, Any]
    if isinstance(safe_mask, str):
        items = {safe_mask: {}}
    elif isinstance(safe_mask, Mapping):
        items = safe_mask
    elif isinstance(safe_mask, Iterable):
        items = {name: {} for name in safe_mask}
    else:
        msg = f"safe_mask={safe_mask!r} must be a name, a list of names, or a mapping from names to options"
        raise TypeError(msg)
    return tuple(_one_mask(name, options or {}, offset_max) for name, options in items.items())


def _one_mask(name: str, options: Mapping[str, Any], offset_max: float | None) -> SafeMask:
    if not isinstance(name, str) or name not in SAFE_MASKS:
        msg = f"safe mask {name!r} is not known; choose from {sorted(SAFE_MASKS)}"
        raise ValueError(msg)
    known = SAFE_MASKS[name]
    unknown = sorted(set(options) - set(known))
    if unknown:
        msg = f"safe mask {name!r} has no option {unknown}; it has {sorted(known) or 'none'}"
        raise ValueError(msg)
    values = {**known, **options}
    percent = values.get("aeff_percent", values.get("bias_percent"))
    if percent is not None and not 0 < float(percent) < 100:
        msg = f"safe mask {name!r}: a percentage of {percent!r} is not between 0 and 100"
        raise ValueError(msg)
    offset = values.get("offset_max", values.get("fixed_offset"))
    if name == "offset-max" and offset is None:
        offset = f"{DEFAULT_OFFSET_MAX if offset_max is None else offset_max!r} deg"
    number = None if offset is None else np.asarray(to_value(offset, "deg", f"safe mask {name!r}"))
    if number is not None and (number.ndim or not number >= 0):
        msg = f"safe mask {name!r}: offset {offset!r} is negative, or not one angle"
        raise ValueError(msg)
    position = values.get("position")
    if position is not None and offset is not None:
        msg = f"safe mask {name!r}: give position or fixed_offset, not both"
        raise ValueError(msg)
    if position is not None and not (isinstance(position, SkyCoord) and position.isscalar):
        msg = f"safe mask {name!r}: position={position!r} must be one astropy SkyCoord"
        raise TypeError(msg)
    where = None if position is None else (float(position.icrs.ra.deg), float(position.icrs.dec.deg))
    return SafeMask(name, None if percent is None else float(percent), None if number is None else float(number), where)
