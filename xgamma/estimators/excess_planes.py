"""Excess and significance of one window of a cube in memory, one energy group after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xgamma.background.correlate import convolve_all
from xgamma.background.windows import Window
from xgamma.coords.energy_groups import sum_groups
from xgamma.kernels.convolve import Annulus
from xgamma.kernels.limits import (
    cash_errors,
    cash_sensitivity,
    cash_upper_limit,
    wstat_errors,
    wstat_sensitivity,
    wstat_upper_limit,
)
from xgamma.kernels.stats import cash_excess, wstat_excess

__all__ = ["MASKS", "ON_OFF_ONLY", "ExcessSettings", "excess_of_window"]

ON_OFF_ONLY = ("alpha", "acceptance", "acceptance_off", "counts_off")
#: Names of the masks among the arrays of a window.
MASKS = ("mask_safe", "mask_fit", "mask")


@dataclass(frozen=True)
class ExcessSettings:
    """What an excess map is to be; small enough to be sent along with every tile.

    Attributes
    ----------
    selection
        Maps that are asked for beside those that are always made.
    on_off
        True if the background is measured in off counts.
    disc
        Disc over which counts are summed.
    n_sigma, n_sigma_ul, significance
        Standard deviations of errors, upper limit and sensitivity.
    correlate_off
        Sum the off counts over the disc, too.
    groups
        Bins (start, stop) of each energy group; none where the cube has no energies.
    flux
        Flux of the reference spectrum in each group, for ``"flux"``.
    """

    selection: tuple[str, ...]
    on_off: bool
    disc: Annulus
    n_sigma: float = 1.0
    n_sigma_ul: float = 2.0
    significance: float = 5.0
    correlate_off: bool = True
    groups: tuple[tuple[int, int], ...] = ()
    flux: tuple[float, ...] = ()

    @property
    def statistic(self) -> tuple[str, ...]:
        """Maps that the statistic gives, in the order in which they are made."""
        names = ["excess", "ts", "sqrt_ts", "excess_err"]
        if "errn-errp" in self.selection:
            names += ["excess_errn", "excess_errp"]
        if "ul" in self.selection:
            names.append("excess_ul")
        if "sensitivity" in self.selection:
            names.append("excess_sensitivity")
        return tuple(names)

    @property
    def endings(self) -> tuple[str, ...]:
        """What follows ``excess``, ``norm`` or ``flux`` in the names of maps."""
        return tuple(n.removeprefix("excess") for n in self.statistic if n.startswith("excess"))

    @property
    def names(self) -> tuple[str, ...]:
        """All maps."""
        sums = ("counts", "background", *(n for n in ON_OFF_ONLY if n in self.selection))
        scaled = (f"{kind}{end}" for end in self.endings for kind in ("norm", "flux") if kind in self.selection)
        return (*sums, *self.statistic, *scaled)


def excess_of_window(arrays: Mapping[str, xr.Variable], window: Window, settings: ExcessSettings) -> list[np.ndarray]:
    """Return all maps of a window.

    Parameters
    ----------
    arrays
        In memory: ``counts`` and ``background`` or the variables of an on-off cube, masks, and ``expected`` (counts of
        the reference spectrum) for norm and flux. The dims of the counts are those of the window.
    window
        Where the maps lie in the cube, and what of the cube the arrays are.
    settings
        See `ExcessSettings`.

    Returns
    -------
    list of numpy.ndarray
        One for each of ``settings.names``, float64, NaN where the mask is False or there is no answer.

    Notes
    -----
    Energy groups are made one after the other: what is needed on the way takes as much as one plane.
    """
    dims = tuple(window)
    shape = [s.stop - s.start for s in window.values()]
    results = [np.empty(shape) for _ in settings.names]
    for index, flux, part in _groups(arrays, window, settings):
        place = tuple(slice(index, index + 1) if d == "energy" and settings.groups else slice(None) for d in dims)
        maps = _maps(part, window, settings, flux)
        for name, result in zip(settings.names, results, strict=True):
            result[place] = maps[name].transpose(*dims).values
    return results


def _groups(
    arrays: Mapping[str, xr.Variable], window: Window, settings: ExcessSettings
) -> Iterator[tuple[int, float, dict[str, xr.Variable]]]:
    """Place of each energy group in the window, its flux, and its bins of all arrays, float64."""
    if not settings.groups:
        yield 0, 0.0, _as_float(arrays)
        return
    span = window["energy"]
    for number in range(span.start, span.stop):
        start, stop = (edge - span.first for edge in settings.groups[number])
        part = {n: a.isel(energy=slice(start, stop)) if "energy" in a.dims else a for n, a in arrays.items()}
        yield number - span.start, settings.flux[number] if settings.flux else 0.0, _as_float(part)


def _as_float(arrays: Mapping[str, xr.Variable]) -> dict[str, xr.Variable]:
    """Sums are made in double precision, in whatever the cube is stored."""
    return {n: a if n in MASKS else a.astype(float) for n, a in arrays.items()}


def _maps(
    arrays: Mapping[str, xr.Variable], window: Window, settings: ExcessSettings, flux: float
) -> dict[str, xr.Variable]:
    keep = _mask(arrays)
    sums = _sums(arrays, keep, settings.on_off)
    inside = _sum(keep)
    inner = {d: window[d].inner for d in ("y", "x")}
    parts = _on_off_parts(sums, inner, settings) if settings.on_off else _model_parts(sums, inner, settings)
    here = inside.isel(inner)
    maps = _statistic(parts, here, settings)
    for name in settings.names:
        if name in parts:
            maps[name] = parts[name].where(here)
    if "expected" in arrays:
        expected = _sum(arrays["expected"].where(keep, 0.0).transpose(*keep.dims))
        area, total = _discs([inside.astype(float), expected], inner, settings)
        mean = total / area.where(area > 0)
        mean = mean.where(mean > 0)
        for end in settings.endings:
            norm = maps[f"excess{end}"] / mean
            maps[f"norm{end}"], maps[f"flux{end}"] = norm, norm * flux
    return maps


def _mask(arrays: Mapping[str, xr.Variable]) -> xr.Variable:
    """Return the pixels that count, with all dims of the counts."""
    counts = arrays["counts"]
    keep: xr.Variable = counts.copy(data=np.isfinite(counts.values))
    # one NaN would spread over its whole plane
    for name in ("counts_off", "acceptance", "acceptance_off") if "counts_off" in arrays else ("background",):
        array = arrays[name]
        keep = keep & array.copy(data=np.isfinite(array.values))
    for name in MASKS:
        if name in arrays:
            keep = keep & arrays[name]
    return keep.transpose(*counts.dims)


def _sum(array: xr.Variable) -> xr.Variable:
    """Sum over the bins of the group."""
    return sum_groups(array, [slice(0, array.sizes["energy"])]) if "energy" in array.dims else array


def _sums(arrays: Mapping[str, xr.Variable], keep: xr.Variable, on_off: bool) -> dict[str, xr.Variable]:
    """Masked sums over the energy group."""
    names = ("counts", "counts_off", "acceptance", "acceptance_off") if on_off else ("counts", "background")
    found = {n: arrays[n] for n in names}
    if on_off:
        off = arrays["acceptance_off"]
        if "background" in arrays:
            background = arrays["background"]
        else:
            background = arrays["acceptance"] / off.where(off > 0, np.inf) * arrays["counts_off"]
        # without acceptance there is no background: whatever stands there must not enter a sum
        found["background"] = background.where(off > 0, 0.0).fillna(0.0)
    sums = {n: _sum(a.where(keep, 0.0).transpose(*keep.dims)) for n, a in found.items()}
    if on_off and keep.sizes.get("energy", 1) > 1:
        # bins of unlike alpha: the off acceptance that keeps the sum of the background
        total = sums["background"]
        scaled = sums["acceptance"] * sums["counts_off"] / total.where(total > 0, 1.0)
        sums["acceptance_off"] = scaled.where((total > 0) & (sums["counts_off"] > 0), sums["acceptance_off"])
    return sums


def _discs(arrays: list[xr.Variable], inner: Mapping[str, slice], settings: ExcessSettings) -> list[xr.Variable]:
    return [a.isel(inner) for a in convolve_all(arrays, settings.disc)]


def _model_parts(
    sums: dict[str, xr.Variable], inner: Mapping[str, slice], settings: ExcessSettings
) -> dict[str, xr.Variable]:
    names = ["counts", "background"]
    return dict(zip(names, _discs([sums[n] for n in names], inner, settings), strict=True))


def _on_off_parts(
    sums: dict[str, xr.Variable], inner: Mapping[str, slice], settings: ExcessSettings
) -> dict[str, xr.Variable]:
    names = ["counts", "acceptance"]
    if settings.correlate_off:
        names += ["counts_off", "acceptance_off", "background"]
    discs = dict(zip(names, _discs([sums[n] for n in names], inner, settings), strict=True))
    here = {n: sums[n].isel(inner) for n in ("counts_off", "acceptance", "acceptance_off")}
    counts, acceptance = discs["counts"], discs["acceptance"]
    if settings.correlate_off:
        counts_off, off, background = (discs[n] for n in ("counts_off", "acceptance_off", "background"))
        measured = background / counts_off.where(counts_off > 0, 1.0)
        alpha = measured.where(counts_off > 0, acceptance / off.where(off > 0))
    else:
        counts_off, off = here["counts_off"], here["acceptance_off"]
        alpha = acceptance / off.where(off > 0)
        background = alpha * counts_off
    return {
        "counts": counts,
        "background": background,
        "alpha": alpha,
        "counts_off": counts_off,
        "acceptance": here["acceptance"],
        "acceptance_off": here["acceptance_off"],
    }


def _statistic(parts: dict[str, xr.Variable], here: xr.Variable, settings: ExcessSettings) -> dict[str, xr.Variable]:
    inside = here.values
    n = parts["counts"].values[inside]
    if settings.on_off:
        values = _wstat(n, parts["counts_off"].values[inside], parts["alpha"].values[inside], settings)
    else:
        values = _cash(n, parts["background"].values[inside], settings)
    maps = {}
    for name, value in zip(settings.statistic, values, strict=True):
        filled = np.full(inside.shape, np.nan)
        filled[inside] = value
        maps[name] = xr.Variable(here.dims, filled)
    return maps


def _cash(n: np.ndarray, mu: np.ndarray, settings: ExcessSettings) -> list[np.ndarray]:
    best = cash_excess(n, mu)
    values = [best.excess, best.ts, best.sqrt_ts, settings.n_sigma * best.error]
    if "errn-errp" in settings.selection:
        values += cash_errors(n, settings.n_sigma)
    if "ul" in settings.selection:
        values.append(cash_upper_limit(n, mu, settings.n_sigma_ul))
    if "sensitivity" in settings.selection:
        values.append(cash_sensitivity(mu, settings.significance))
    return values


def _wstat(n: np.ndarray, off: np.ndarray, alpha: np.ndarray, settings: ExcessSettings) -> list[np.ndarray]:
    best = wstat_excess(n, off, alpha)
    values = [best.excess, best.ts, best.sqrt_ts, settings.n_sigma * best.error]
    if "errn-errp" in settings.selection:
        values += wstat_errors(n, off, alpha, settings.n_sigma)
    if "ul" in settings.selection:
        values.append(wstat_upper_limit(n, off, alpha, settings.n_sigma_ul))
    if "sensitivity" in settings.selection:
        values.append(wstat_sensitivity(off, alpha, settings.significance))
    return values
