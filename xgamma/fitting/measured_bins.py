"""What of a cube takes part in a fit: its bins inside the masks, and their statistic."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.cubes import Spectra
from xgamma.fitting.dataset import BinnedDataset
from xgamma.fitting.likelihood import CashStatistic, ChiSquare, Statistic, WStatistic
from xgamma.fitting.varying import GTI

__all__ = ["MASKS", "Loaded", "check_bins", "statistic_of"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Variables that choose bins, or weigh them.
MASKS = ("mask_safe", "mask_fit", "weights")


@dataclass(frozen=True, eq=False)
class Loaded:
    """A cube in memory: dims ``(*lead, energy)``, ``(*lead, energy_true)``, ``(*lead, energy_true, energy)``."""

    spectra: Spectra
    stat: str
    values: Mapping[str, FloatArray]


def statistic_of(loaded: Loaded) -> tuple[BoolArray, Statistic]:
    """Bins that take part, and their statistic."""
    values, s = loaded.values, loaded.spectra
    shape = (*s.shape, *s.bins)
    kept, weights = _kept(loaded, shape)
    wide = {
        n: np.asarray(np.broadcast_to(v, shape), float)
        for n, v in values.items()
        if n not in (*MASKS, "exposure", "edisp", *GTI)
    }
    on_off = loaded.stat == "wstat" or (loaded.stat == "chi2" and "counts_off" in wide)
    if on_off:
        with np.errstate(divide="ignore", invalid="ignore"):
            alpha = wide.pop("acceptance") / wide.pop("acceptance_off")
        usable = np.isfinite(alpha) & (alpha > 0)
        kept = _drop(s, kept, usable, "have no off exposure (acceptance or acceptance_off is zero or missing)")
        wide["alpha"] = np.where(usable, alpha, 1.0)
    bins = {n: v[kept] for n, v in wide.items()}
    for name, array in bins.items():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            msg = f"{name!r} of {s.name!r} is not finite in {bad} of the {array.size} bins inside the masks; mask them"
            raise ValueError(msg)
        if name in ("counts", "counts_off") and loaded.stat != "chi2" and array.min(initial=0.0) < 0:
            msg = f"{name!r} of {s.name!r} are negative in some bins; {loaded.stat} needs counts (chi2 takes any value)"
            raise ValueError(msg)
    if loaded.stat == "chi2":
        return _chi_square(loaded, kept, bins, weights)
    weight = None if weights is None else weights[kept]
    if loaded.stat == "wstat":
        return kept, WStatistic(bins["counts"], bins["counts_off"], bins["alpha"], weight)
    known = bins.get("background", np.zeros(bins["counts"].shape))
    return kept, CashStatistic(bins["counts"], known, weight, with_constants=loaded.stat == "cstat")


def _chi_square(
    loaded: Loaded, kept: BoolArray, bins: dict[str, FloatArray], weights: FloatArray | None
) -> tuple[BoolArray, Statistic]:
    """Gaussian errors: those of the cube, or the square roots of the counts."""
    counts, known = bins["counts"], bins.get("background", np.zeros(bins["counts"].shape))
    if "alpha" in bins:
        known = bins["alpha"] * bins["counts_off"]
    if "counts_error" in bins:
        errors = bins["counts_error"]
    elif "alpha" in bins:
        errors = np.sqrt(counts + bins["alpha"] ** 2 * bins["counts_off"])
    else:
        errors = np.sqrt(counts)
    inside = kept.copy()
    inside[kept] = errors > 0
    _drop(loaded.spectra, kept, inside, "have no error, being empty; chi2 is biased there, prefer cash or wstat")
    good = errors > 0
    weight = None if weights is None else weights[inside]
    return inside, ChiSquare(counts[good], errors[good], known[good], weight)


def _kept(loaded: Loaded, shape: tuple[int, ...]) -> tuple[BoolArray, FloatArray | None]:
    """Bins inside the masks, and their weights where masks are not bool."""
    kept, weights = np.ones(shape, bool), None
    for name in MASKS:
        if name not in loaded.values:
            continue
        mask = np.broadcast_to(loaded.values[name], shape)
        if mask.dtype != bool:
            if not np.all(np.isfinite(mask)) or mask.min(initial=0) < 0:
                msg = f"{name!r} of {loaded.spectra.name!r} must be bool, or weights that are finite and not negative"
                raise ValueError(msg)
            weights = mask.astype(float) if weights is None else weights * mask
        kept &= mask != 0
    return kept, weights


def _drop(s: Spectra, kept: BoolArray, usable: BoolArray, why: str) -> BoolArray:
    """Leave bins out, and say so."""
    lost = kept & ~usable
    if lost.any():
        labels = [s.labels[i] for i in np.flatnonzero(lost.reshape(len(s.labels), -1).any(axis=1))]
        warnings.warn(f"{int(lost.sum())} bins of {labels} {why}; they are left out", UserWarning, stacklevel=2)
    return kept & usable


def check_bins(datasets: list[BinnedDataset], whole: bool = True) -> None:
    """Complain of datasets without bins."""
    numbers = [np.bincount(d.part, minlength=len(d.labels)) for d in datasets]
    empty = [d.labels[i] for d, number in zip(datasets, numbers, strict=True) for i in np.flatnonzero(number == 0)]
    if whole and not sum(d.n_bins for d in datasets):
        msg = f"no bin of {empty} is inside mask_safe and mask_fit: there is nothing to fit"
        raise ValueError(msg)
    if empty:
        warnings.warn(f"no bin of {empty} is inside the masks; they take no part", UserWarning, stacklevel=2)
