"""What runs on a worker: the spectra of a batch of runs, in and out as plain arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from xgamma.dl3.observation import Observation
from xgamma.reduction.containment import circle_containment
from xgamma.reduction.observation import OpenRun
from xgamma.reduction.region_background import OffSpectrum, Usable
from xgamma.reduction.spectrum_mask import spectrum_mask
from xgamma.reduction.spectrum_run import SpectrumRun
from xgamma.reduction.spectrum_settings import SpectrumSettings
from xgamma.reduction.tasks import Arrays, at_rows, opened, run_scalars

__all__ = ["ON_OFF", "finish_spectra", "reduce_spectra", "same_run"]

#: Variables of an on-off spectrum.
ON_OFF = ("counts_off", "acceptance", "acceptance_off", "background")
#: Sums over what is safe.
SUMS = ("counts", *ON_OFF)
#: Variables of a sum that have an axis of the regions.
OF_REGIONS = (*SUMS, "mask_safe", "n_off_regions", "exposure", "edisp")


def reduce_spectra(
    settings: SpectrumSettings,
    usable: Usable | np.ndarray | None = None,
    *,
    runs: Sequence[Observation],
    rows: tuple[int, int] | None = None,
) -> Arrays:
    """Reduce runs to spectra.

    Parameters
    ----------
    settings
        What to make.
    usable
        Map of the pixels that a background may use.
    runs
        Runs of this task.
    rows
        To add the runs up inside their safe masks: position of the first run among all, and their number. Numbers of
        the runs then come at their rows of arrays that are zero elsewhere.

    Returns
    -------
    dict of numpy.ndarray
        Variables of the cube, with a first axis of the runs where they are kept apart, then one of the regions where
        they are a dimension.
    """
    made, scalars = [], []
    columns = () if settings.off is None else settings.off.columns
    # parts of a run, as `split_runs` makes them, share its files and what its pointing tells
    for _, parts in groupby(runs, key=same_run):
        first, *more = parts
        shared: dict[Any, Any] = {}
        # what a task calls a run of a map is all that is needed here
        with opened(first, settings) as run:  # type: ignore[arg-type]
            opens: list[OpenRun] = [run, *(OpenRun(run.files.part(part.cut), settings) for part in more)]
            for part in opens:
                made.append(_of_run(SpectrumRun(part, settings.regions, columns, shared), settings, usable))
                scalars.append(run_scalars(part))  # type: ignore[arg-type]
    if rows is None:
        arrays = {name: np.stack([one[name] for one in made]) for name in made[0]}
        return _single(arrays, settings, axis=1) | at_rows(scalars, (0, len(runs)))
    total = _empty(settings)
    for one in made:
        add_to(total, _weighted(one))
    return total | at_rows(scalars, rows)


def same_run(observation: Observation) -> tuple[Any, ...]:
    """Return what the parts of a run have in common: all but their filters."""
    return observation.obs_id, observation.hdus, observation.on_bad


def _single(arrays: Arrays, settings: SpectrumSettings, axis: int) -> Arrays:
    """Drop the axis of the regions where there is one region without a dimension."""
    return {name: values.take(0, axis=axis) for name, values in arrays.items()} if settings.single else arrays


def _of_run(spectra: SpectrumRun, settings: SpectrumSettings, usable: Any) -> Arrays:
    """Return the variables of one run, each with a first axis of the regions."""
    spectra.check_selection(settings.containment_correction)
    dark = not len(spectra.run.gti)
    beyond = ~spectra.used
    outside = beyond
    result: Arrays = {}
    if "counts" in settings.selection:
        result["counts"] = spectra.counts.copy()
    if "exposure" in settings.selection:
        result["exposure"] = _exposure(spectra, settings)
        outside = outside | ~(result["exposure"] > 0).any(axis=1)
        result["exposure"][beyond] = 0.0
    if "edisp" in settings.selection:
        result["edisp"] = spectra.of_pointing("edisp", lambda: _edisp(spectra)).copy()
    if "background" in settings.selection:
        result["background"] = _background(spectra)
    if settings.off is not None:
        offs = settings.off(spectra, usable) if not dark else [_nothing(settings)] * len(outside)
        result |= _on_off(offs)
    result["mask_safe"] = _mask(spectra, settings, result, outside)
    for name in SUMS:
        if name in result and name not in ("acceptance", "acceptance_off"):
            result[name][beyond] = 0.0
    _warn(spectra, settings, result, outside & ~beyond)
    return {name: np.where(np.isfinite(v), v, 0.0) if dark and v.dtype == float else v for name, v in result.items()}


def _nothing(settings: SpectrumSettings) -> OffSpectrum:
    return OffSpectrum(np.zeros(settings.n_energy), 1.0, 0.0, 0)


def _samples(spectra: SpectrumRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (n, 3) at which the responses of all regions are taken, their weights, and the first of each region."""
    vectors = np.concatenate([region.samples for region in spectra.regions])
    weights = np.concatenate([region.weights for region in spectra.regions])
    first = np.cumsum([0, *(len(region.weights) for region in spectra.regions[:-1])])
    return vectors, weights, first


def _exposure(spectra: SpectrumRun, settings: SpectrumSettings) -> np.ndarray:
    """Exposure in cm2 s, shape (n_region, n_true)."""
    _, weights, first = _samples(spectra)
    values = _area(spectra) * spectra.run.livetime
    exposure = np.add.reduceat(values * weights, first, axis=1).T.copy()
    if settings.containment_correction:
        exposure *= spectra.of_pointing("containment", lambda: _containment(spectra, settings))
    return exposure


def _area(spectra: SpectrumRun) -> np.ndarray:
    """Effective area in cm2 at the samples of all regions, shape (n_true, n)."""
    run = spectra.run
    return spectra.of_pointing("area", lambda: run.effective_area.at(run.offset(_samples(spectra)[0])))


def _containment(spectra: SpectrumRun, settings: SpectrumSettings) -> np.ndarray:
    """Part of the PSF inside each circle, shape (n_region, n_true)."""
    assert settings.energy_true is not None
    psf = spectra.run.files.irf("psf")
    radii = np.array([region.shape.sizes[0] for region in spectra.regions])
    result = np.empty((len(radii), len(settings.energy_true)))
    for radius in np.unique(radii):
        same = radii == radius
        result[same] = circle_containment(psf, settings.energy_true, spectra.offsets[same], float(radius)).T
    return result


def _edisp(spectra: SpectrumRun) -> np.ndarray:
    """Energy dispersion, shape (n_region, n_true, n_energy).

    Over an area it is averaged with the exposure as weight: events of one energy come from where the area is large.
    """
    run = spectra.run
    if _at_centers(spectra):
        return np.moveaxis(run.edisp(spectra.offsets), -1, 0).copy()
    result = []
    for region in spectra.regions:
        offset = run.offset(region.samples)
        # without the livetime, which parts of a run do not share
        weights = run.effective_area.at(offset) * region.weights
        total = weights.sum(axis=1, keepdims=True)
        # without exposure no event comes at all: any weight will do
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), region.weights)
        result.append((run.edisp(offset) * weights[:, np.newaxis]).sum(axis=-1))
    return np.stack(result)


def _at_centers(spectra: SpectrumRun) -> bool:
    """True where the responses are those at the centres of the regions."""
    return all(len(region.weights) == 1 for region in spectra.regions)


def _background(spectra: SpectrumRun) -> np.ndarray:
    """Predicted background events, shape (n_region, n_energy)."""
    vectors, weights, first = _samples(spectra)
    rate = spectra.run.background_rate(vectors, spectra.run.offset(vectors))
    omega = np.array([region.solid_angle for region in spectra.regions])
    mean = np.add.reduceat(rate * weights, first, axis=1).T
    return np.asarray(mean * omega[:, np.newaxis] * spectra.run.background_time)


def _on_off(offs: Sequence[OffSpectrum]) -> Arrays:
    n_energy = len(offs[0].counts_off)
    numbers = {name: np.array([getattr(off, name) for off in offs]) for name in ("acceptance", "acceptance_off")}
    result = {name: np.repeat(v[:, np.newaxis].astype(float), n_energy, axis=1) for name, v in numbers.items()}
    result["counts_off"] = np.stack([off.counts_off for off in offs]).astype(float)
    result["background"] = _alpha(result) * result["counts_off"]
    result["n_off_regions"] = np.array([off.number for off in offs], dtype=np.int64)
    result["off_regions"] = np.array([off.text for off in offs], dtype=object)
    if any(off.counts is not None for off in offs):
        result["counts"] = np.stack([np.zeros(n_energy) if off.counts is None else off.counts for off in offs])
    return result


def _alpha(arrays: Arrays) -> np.ndarray:
    off = arrays["acceptance_off"]
    return np.divide(arrays["acceptance"], off, out=np.zeros_like(off), where=off > 0)


def _mask(spectra: SpectrumRun, settings: SpectrumSettings, made: Arrays, outside: np.ndarray) -> np.ndarray:
    background = made.get("background")
    if settings.off is not None:
        # the mean of the background where nothing but background is assumed, in the on region as well
        alpha = _alpha(made)
        background = alpha * (made["counts"] + made["counts_off"]) / (1 + alpha)
    edisp = made.get("edisp") if _at_centers(spectra) else None
    safe = spectrum_mask(spectra, made.get("exposure"), edisp, background)
    safe &= ~outside[:, np.newaxis]
    if settings.off is None and background is not None:
        with np.errstate(invalid="ignore"):
            safe &= np.isfinite(background) & (background > 0)
    elif settings.off is not None:
        safe &= made["acceptance_off"] > 0
    return safe


def _warn(spectra: SpectrumRun, settings: SpectrumSettings, made: Arrays, outside: np.ndarray) -> None:
    """Name runs that see nothing of a region, or have no room for off regions."""
    where = f"run {spectra.name}"
    if not len(spectra.run.gti):
        warnings.warn(f"{where}: no good time; the run is kept, with nothing safe", UserWarning, stacklevel=2)
        return
    dark = np.flatnonzero(outside)
    if len(dark):
        far = f"{spectra.offsets[dark[0]]:.2f} deg from its pointing"
        msg = f"{where}: no exposure for {_regions(spectra, dark)}, {far}: outside its field of view; nothing is safe"
        warnings.warn(msg, UserWarning, stacklevel=2)
    if settings.off is None:
        return
    lacking = np.flatnonzero((made["n_off_regions"] == 0) & ~outside & spectra.used)
    if len(lacking):
        msg = f"{where}: no off region for {_regions(spectra, lacking)}: the run is kept, with nothing safe"
        warnings.warn(msg, UserWarning, stacklevel=2)


def _regions(spectra: SpectrumRun, which: np.ndarray) -> str:
    more = f" and {len(which) - 1} more" if len(which) > 1 else ""
    return f"{spectra.regions[which[0]].text!r}{more}"


def _weighted(one: Arrays) -> Arrays:
    """Return what a run adds to a sum over runs: values inside its safe mask."""
    safe = one["mask_safe"]
    seen = np.asarray(safe.any(axis=1))[:, np.newaxis]
    result = {name: np.where(safe, one[name], 0.0) for name in SUMS if name in one}
    result["mask_safe"] = safe
    if "n_off_regions" in one:
        result["n_off_regions"] = one["n_off_regions"]
    if "exposure" in one:
        result["exposure"] = np.where(seen, one["exposure"], 0.0)
    if "edisp" in one:
        # without an exposure there is no weight but one
        weight = result.get("exposure", np.where(seen, np.ones(one["edisp"].shape[:2]), 0.0))
        # what is not safe in this run adds nothing to the prediction for that bin
        result["edisp"] = one["edisp"] * weight[..., np.newaxis] * safe[:, np.newaxis]
        result["weight"] = weight
    return result


def _empty(settings: SpectrumSettings) -> Arrays:
    """Return the sum over no runs."""
    n, n_energy = len(settings.regions), settings.n_energy
    n_true = 0 if settings.energy_true is None else len(settings.energy_true)
    names: list[str] = [name for name in ("counts", "background") if name in settings.selection]
    names += ON_OFF if settings.off is not None else []
    result: Arrays = {name: np.zeros((n, n_energy)) for name in names}
    result["mask_safe"] = np.zeros((n, n_energy), dtype=bool)
    if settings.off is not None:
        result["n_off_regions"] = np.zeros(n, dtype=np.int64)
    if "exposure" in settings.selection:
        result["exposure"] = np.zeros((n, n_true))
    if "edisp" in settings.selection:
        result["edisp"], result["weight"] = np.zeros((n, n_true, n_energy)), np.zeros((n, n_true))
    return result


def add_to(total: Arrays, more: Arrays) -> None:
    """Add sums over runs in place."""
    for name, values in more.items():
        combine: Any = np.logical_or if values.dtype == bool else np.add
        combine(total[name], values, out=total[name])


def finish_spectra(total: Arrays, settings: SpectrumSettings) -> Arrays:
    """Make means of sums, and the off acceptance that keeps the sum of the backgrounds."""
    result = {name: values for name, values in total.items() if name != "weight"}
    if "edisp" in result:
        weight = total["weight"][..., np.newaxis]
        result["edisp"] = np.divide(result["edisp"], weight, out=np.zeros_like(result["edisp"]), where=weight > 0)
    if settings.off is not None:
        background = result["background"]
        ratio = np.divide(result["counts_off"], background, out=np.zeros_like(background), where=background > 0)
        result["acceptance_off"] = np.where(background > 0, result["acceptance"] * ratio, result["acceptance_off"])
    of_regions = {name: values for name, values in result.items() if name in OF_REGIONS}
    numbers = {name: total[name].sum() for name in ("livetime", "ontime")}
    intervals = {name: total[name].reshape(-1) for name in ("gti_start", "gti_stop")}
    return _single(of_regions, settings, axis=0) | numbers | intervals
