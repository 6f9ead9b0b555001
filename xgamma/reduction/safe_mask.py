"""Safe masks: where the responses of a run can be trusted."""

from __future__ import annotations

import numpy as np

from xgamma.irf.edisp import bias_energy
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.observation import Run
from xgamma.reduction.settings import SafeMask

__all__ = ["energy_mask", "safe_mask"]


def safe_mask(run: Run, offset: np.ndarray, background: np.ndarray | None) -> np.ndarray:
    """Combine the safe masks of a reduction for one run.

    Parameters
    ----------
    run
        The run.
    offset
        Separations from the pointing in degrees, shape (...).
    background
        Predicted background (or its rate), shape (n_energy, ...), where the reduction makes one: bins
        in which it is not a positive number are never safe.

    Returns
    -------
    numpy.ndarray
        True where all masks agree, shape (n_energy, ...).
    """
    energies = energy_mask(run)
    with np.errstate(invalid="ignore"):
        pixels = np.isfinite(offset)
        for mask in run.settings.masks:
            if mask.name == "offset-max":
                pixels = pixels & (offset < mask.offset)
        result = energies.reshape(-1, *(1,) * offset.ndim) & pixels
        if background is not None:
            result &= np.isfinite(background) & (background > 0)
    return result


def energy_mask(run: Run) -> np.ndarray:
    """Return True for the energy bins of which both edges lie in the safe range, shape (n_energy,)."""
    edges = run.settings.energy_edges
    safe = np.ones(len(edges) - 1, dtype=bool)
    for mask in run.settings.masks:
        low, high = _energy_range(run, mask)
        safe &= (edges[:-1] >= low) & (edges[1:] <= high)
    return safe


def _energy_range(run: Run, mask: SafeMask) -> tuple[float, float]:
    """Safe energies in TeV of one mask."""
    if mask.name == "aeff-default":
        return _aeff_default(run)
    if mask.name == "aeff-max":
        return _aeff_max(run, mask)
    if mask.name == "edisp-bias":
        return _edisp_bias(run, mask)
    if mask.name == "bkg-peak":
        return _bkg_peak(run), np.inf
    return -np.inf, np.inf


def _offset_of(run: Run, mask: SafeMask) -> np.ndarray:
    """Offset in degrees at which a threshold is taken, shape (1,)."""
    if mask.offset is not None:
        return np.array([mask.offset])
    position = run.middle if mask.position is None else to_vectors(*(np.asarray(v) for v in mask.position))
    return separation(position, run.center)[np.newaxis]


def _aeff_default(run: Run) -> tuple[float, float]:
    """LO_THRES and HI_THRES of the effective area; a key that is missing or 0 sets no limit."""
    attrs = run.files.irf("aeff").attrs
    low, high = attrs.get("lo_thres"), attrs.get("hi_thres")
    # 0 is what writers put that know no threshold
    return float(low) if low else -np.inf, float(high) if high else np.inf


def _aeff_max(run: Run, mask: SafeMask) -> tuple[float, float]:
    """Energy at which the effective area crosses a part of its maximum."""
    assert mask.percent is not None
    exposure = run.exposure(_offset_of(run, mask))[:, 0]
    assert run.settings.energy_true is not None
    return crossing_energy(run.settings.energy_true, exposure, mask.percent / 100), np.inf


def crossing_energy(energy: np.ndarray, area: np.ndarray, fraction: float) -> float:
    """Return the lowest energy at which `area` rises through a fraction of its maximum, on log-log lines.

    Parameters
    ----------
    energy
        Energies in TeV, shape (n,), ascending.
    area
        Effective area or exposure, shape (n,).
    fraction
        Of the maximum.

    Returns
    -------
    float
        The first energy with a positive area where that lies above the fraction already; infinity
        where the area is zero everywhere: nothing is safe then.

    Examples
    --------
    >>> round(crossing_energy(np.array([1.0, 10.0, 100.0]), np.array([1.0, 10.0, 10.0]), 0.1), 9)
    1.0
    """
    positive = np.flatnonzero(area > 0)
    if not len(positive):
        return np.inf
    first = int(positive[0])
    limit = fraction * area.max()
    above = int(first + np.argmax(area[first:] >= limit))
    if above == first:
        return float(energy[first])
    low, high = np.log(area[above - 1 : above + 1])
    part = (np.log(limit) - low) / (high - low)
    return float(np.exp(np.log(energy[above - 1]) + part * np.log(energy[above] / energy[above - 1])))


def _edisp_bias(run: Run, mask: SafeMask) -> tuple[float, float]:
    """Energy above which the bias of the energy stays below a part of it."""
    assert mask.percent is not None
    settings = run.settings
    kernel = run.edisp(_offset_of(run, mask))[..., 0]
    assert settings.energy_true is not None
    return bias_energy(kernel, settings.energy_true, settings.energy, mask.percent / 100), np.inf


def _bkg_peak(run: Run) -> float:
    """Lower edge of the bin with the most predicted background in the run's whole footprint."""
    spectrum = np.zeros(run.settings.n_energy)
    geometry = run.settings.grid.geometry
    for y, x in run.footprint:
        vectors = geometry.vectors[y, x]
        rate = run.background_rate(vectors, run.offset(vectors))
        spectrum += np.nansum(rate * geometry.solid_angle[y, x], axis=(1, 2))
    return float(run.settings.energy_edges[int(np.argmax(spectrum))])
