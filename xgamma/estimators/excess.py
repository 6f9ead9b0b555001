"""Excess and significance maps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from xgamma.background.correlate import positive_angle
from xgamma.background.windows import Span, map_windows, sky_chunks, spans, split_again, tile_sizes
from xgamma.coords.energy_groups import energy_groups
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import grid_of
from xgamma.coords.units import canonical_attrs
from xgamma.estimators.excess_planes import MASKS, ON_OFF_ONLY, ExcessSettings, excess_of_window
from xgamma.estimators.reference import power_law_flux, reference_counts
from xgamma.kernels.convolve import Annulus

__all__ = ["excess_map"]

#: What may be asked for beside the maps that are always made; the first three cost root searches.
OPTIONAL = ("errn-errp", "ul", "sensitivity", "norm", "flux", "alpha", "acceptance", "acceptance_off", "counts_off")

LABELS = {
    "counts": "Counts",
    "background": "Background counts",
    "excess": "Excess counts",
    "ts": "TS",
    "sqrt_ts": "Significance",
    "excess_err": "Error of the excess",
    "excess_errn": "Lower error of the excess",
    "excess_errp": "Upper error of the excess",
    "excess_ul": "Upper limit on the excess",
    "excess_sensitivity": "Excess needed for a detection",
    "alpha": "On to off exposure",
    "acceptance": "Acceptance",
    "acceptance_off": "Acceptance of the off region",
    "counts_off": "Off counts",
}


def excess_map(
    cube: xr.Dataset,
    radius: Any = "0.1 deg",
    *,
    energy_edges: Any = None,
    selection: str | Iterable[str] = (),
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    significance: float = 5.0,
    correlate_off: bool = True,
    index: float = 2.0,
    mask: xr.DataArray | None = None,
) -> xr.Dataset:
    """Sum counts and background over a disc around each pixel and say how significant the excess is.

    Parameters
    ----------
    cube
        On-off cube (``counts``, ``counts_off``, ``background``, ``acceptance``, ``acceptance_off``) or cube with a
        background model (``counts``, ``background``), dims (..., y, x). ``mask_safe`` and ``mask_fit`` are used where
        present.
    radius
        Radius of the disc, an angle; pixels whose centre lies inside count fully.
    energy_edges
        Edges of the energy groups; None for a map per bin of the cube.
    selection
        More maps: any of ``"errn-errp"``, ``"ul"``, ``"sensitivity"``, ``"norm"``, ``"flux"``, and for on-off cubes
        ``"alpha"``, ``"acceptance"``, ``"acceptance_off"``, ``"counts_off"``; or ``"all"``.
    n_sigma, n_sigma_ul
        Standard deviations of the errors and of the upper limit.
    significance
        Significance for which the sensitivity is.
    correlate_off
        Sum the off counts over the disc too. False takes those of the pixel itself, and the acceptance over the disc.
    index
        Index of the power law with which the exposure is averaged, for norm and flux.
    mask
        Further pixels to leave out where False, bool, dims (y, x) or (energy, y, x), on the cube's grid.

    Returns
    -------
    xarray.Dataset
        ``counts``, ``background``, ``excess``, ``ts``, ``sqrt_ts``, ``excess_err`` and what `selection` asks for
        (``excess_errn``, ``excess_errp``, ``excess_ul``, ``excess_sensitivity``; ``norm``, ``flux`` with the same
        endings), dims (..., energy, y, x). Lazy if the cube is lazy. NaN outside the mask, where an input is not
        finite, and where the statistic has no answer: no off counts and no acceptance to tell alpha; a sensitivity
        without background.

    Raises
    ------
    ValueError
        If a variable is missing, the radius is not an angle, a name in `selection` is not known or not for this cube,
        `mask` is on another grid, or a variable has dims that the counts have not.

    See Also
    --------
    xgamma.kernels.stats.wstat_excess : the statistic of on-off measurements.

    Notes
    -----
    Masked pixels add neither counts nor background. Summing the off counts of a ring background over the
    disc counts them several times: alpha is small then, and the significance close to the one for a known background.
    ``alpha`` is background over off counts in the disc; where it holds no off counts, the ratio of the acceptances.
    With `correlate_off` False it is the acceptance in the disc over the off acceptance of the pixel. ``counts_off``
    are the off counts of the statistic; ``acceptance`` and ``acceptance_off`` are those of the pixel itself. In an
    energy group, off acceptances are added such that the sum of the backgrounds stays.

    Sums are made in float64, in whatever type the cube is stored. Tiles of lazy maps are those of the cube; where all
    maps of a tile would take more than 48 MiB, they are equal parts of these: a thread needs no more for its results.

    ``flux`` is the integral flux of the power law in the energy bin; ``norm`` is relative to
    ``1e-12 (E / TeV)**-index cm-2 s-1 TeV-1``.

    References
    ----------
    T.-P. Li, Y.-Q. Ma, ApJ 272, 317 (1983), for ``sqrt_ts`` of on-off cubes.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.grid import sky_grid
    >>> cube = sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg")
    >>> cube["counts"] = ("y", "x"), np.full((10, 10), 2.0)
    >>> cube["background"] = ("y", "x"), np.ones((10, 10))
    >>> excess_map(cube, "0.1 deg").excess.values[5, 5]
    np.float64(5.0)
    """
    on_off = "counts_off" in cube
    disc = Annulus(0.0, _check(cube, radius), pixel_scale(cube))
    names = _selection(selection, on_off)
    _check_sigmas(n_sigma=n_sigma, n_sigma_ul=n_sigma_ul, significance=significance)
    groups, energy = energy_groups(cube, energy_edges) if "energy" in cube["counts"].dims else ([], None)
    scaled = bool({"norm", "flux"} & set(names))
    if scaled and energy is None:
        msg = "norm and flux need an energy axis"
        raise ValueError(msg)
    flux = _group_flux(energy, index) if scaled and energy is not None else ()
    settings = ExcessSettings(
        selection=names,
        on_off=on_off,
        disc=disc,
        n_sigma=float(n_sigma),
        n_sigma_ul=float(n_sigma_ul),
        significance=float(significance),
        correlate_off=bool(correlate_off),
        groups=tuple((g.start, g.stop) for g in groups),
        flux=flux,
    )
    arrays = _arrays(cube, on_off, mask, reference_counts(cube, index) if scaled else None)
    maps = map_windows(excess_of_window, arrays, settings.names, _plan(arrays, settings), settings=settings)
    maps = split_again(maps, sky_chunks(arrays.values()))
    result = _wrap(cube, maps, energy)
    if scaled:
        result.attrs["spectrum"] = f"power law of index {index:g}"
    result.attrs.update(radius=f"{disc.r_out:g} deg", statistic="wstat" if on_off else "cash")
    result.attrs.update(n_sigma=n_sigma, n_sigma_ul=n_sigma_ul, n_sigma_sensitivity=significance)
    if on_off:
        result.attrs["correlate_off"] = int(correlate_off)
    return result


def _check(cube: xr.Dataset, radius: Any) -> float:
    """Return the radius in degrees, after checking that the cube has what is needed."""
    needed = ["counts", "acceptance", "acceptance_off"] if "counts_off" in cube else ["counts", "background"]
    missing = [n for n in needed if n not in cube]
    if missing:
        msg = f"an excess map needs {needed}; {missing} are missing, the cube has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    grid_of(cube)
    return positive_angle(radius, "radius")


def _selection(selection: str | Iterable[str], on_off: bool) -> tuple[str, ...]:
    if isinstance(selection, str):
        selection = (selection,)
    if not isinstance(selection, Iterable):
        msg = f"selection={selection!r} must be names, any of {list(OPTIONAL)}, or 'all'"
        raise TypeError(msg)
    names = tuple(dict.fromkeys(selection))
    if names == ("all",):
        names = tuple(n for n in OPTIONAL if on_off or n not in ON_OFF_ONLY)
    unknown = [n for n in names if n not in OPTIONAL]
    if unknown:
        msg = f"selection {unknown} not known; choose from {list(OPTIONAL)} or 'all'"
        raise ValueError(msg)
    wrong = [n for n in names if n in ON_OFF_ONLY and not on_off]
    if wrong:
        msg = f"selection {wrong} is for on-off cubes only; this cube has a background model"
        raise ValueError(msg)
    return names


def _group_flux(energy: xr.DataArray, index: float) -> tuple[float, ...]:
    if not _is_number(index):
        msg = f"index={index!r} must be a number, 2 for a spectrum that falls with the square of the energy"
        raise ValueError(msg)
    return tuple(power_law_flux(energy["energy_min"].values, energy["energy_max"].values, index).tolist())


def _check_sigmas(**values: float) -> None:
    for name, value in values.items():
        if not _is_number(value) or value <= 0:
            msg = f"{name}={value!r} must be a positive number of standard deviations"
            raise ValueError(msg)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def _arrays(
    cube: xr.Dataset, on_off: bool, mask: xr.DataArray | None, expected: xr.Variable | None
) -> dict[str, xr.Variable]:
    """Return what the maps are made of, with dims among those of the counts, sky dims last."""
    names = ["counts", "counts_off", "acceptance", "acceptance_off"] if on_off else ["counts"]
    arrays = {n: cube[n].variable for n in (*names, "background", *MASKS[:-1]) if n in cube}
    if mask is not None:
        if not isinstance(mask, xr.DataArray) or mask.dtype != bool:
            msg = "mask must be a DataArray of bools"
            raise ValueError(msg)
        if grid_of(mask) != grid_of(cube):
            msg = "mask is on another grid than the cube; select or reproject it first"
            raise ValueError(msg)
        arrays["mask"] = mask.variable
    if expected is not None:
        arrays["expected"] = expected
    counts = arrays["counts"]
    for name, array in arrays.items():
        if any(counts.sizes.get(d) != n for d, n in array.sizes.items()):
            msg = (
                f"{name!r} with {dict(array.sizes)} does not fit the counts with {dict(counts.sizes)}; "
                "it may have some of their dims, with the same lengths"
            )
            raise ValueError(msg)
    return {
        n: a.transpose(*(d for d in counts.transpose(..., "y", "x").dims if d in a.dims)) for n, a in arrays.items()
    }


def _plan(arrays: dict[str, xr.Variable], settings: ExcessSettings) -> dict[str, tuple[Span, ...]]:
    """Return the tiles of the maps for each of their dims: by the chunks of the first lazy array that has it."""
    plan: dict[str, tuple[Span, ...]] = {}
    for dim, length in arrays["counts"].sizes.items():
        lazy = (a.chunksizes[dim] for n, a in arrays.items() if n != "expected" and dim in a.chunksizes)
        plan[str(dim)] = spans(next(lazy, (length,)))
    if settings.groups:
        plan["energy"] = _group_spans(plan["energy"], settings.groups)
    planes = math.prod(max(s.stop - s.start for s in p) for d, p in plan.items() if d not in ("y", "x"))
    depth = settings.disc.depth
    tiles = tile_sizes(sky_chunks(arrays.values()), depth, 8.0 * len(settings.names) * planes)
    return plan | {d: spans(sizes, n) for d, sizes, n in zip(("y", "x"), tiles, depth, strict=True)}


def _group_spans(bins: tuple[Span, ...], groups: tuple[tuple[int, int], ...]) -> tuple[Span, ...]:
    """Tiles of energy groups: those that begin in the same chunk of the cube."""
    found = []
    for chunk in bins:
        numbers = [i for i, (start, _) in enumerate(groups) if chunk.start <= start < chunk.stop]
        if numbers:
            first, last = groups[numbers[0]][0], groups[numbers[-1]][1]
            found.append(Span(numbers[0], numbers[-1] + 1, first, last))
    return tuple(found)


def _wrap(cube: xr.Dataset, maps: dict[str, xr.Variable], energy: xr.DataArray | None) -> xr.Dataset:
    """Give the maps the coordinates of the cube, with the energy axis of the groups."""
    coords = cube["counts"].coords.to_dataset()
    if energy is not None:
        names = ["energy", "energy_min", "energy_max"]
        coords = coords.drop_vars([n for n in coords.coords if "energy" in coords[n].dims or n in names])
        coords = coords.assign_coords(energy.coords)
    variables = {}
    for name in (*(n for n in LABELS if n in maps), *(n for n in maps if n not in LABELS)):
        units = "cm-2 s-1" if name.startswith("flux") else ""
        variables[name] = xr.Variable(maps[name].dims, maps[name].data, canonical_attrs(units, _label(name)))
    result = coords.assign(variables)
    result.attrs = dict(cube.attrs)
    return result


def _label(name: str) -> str:
    if name in LABELS:
        return LABELS[name]
    kind, _, ending = name.partition("_")
    label = LABELS[f"excess_{ending}" if ending else "excess"]
    return label.replace("Excess counts", kind.title()).replace("Excess", kind.title()).replace("excess", kind)
