"""Safe masks: where the responses of a run can be trusted."""

from __future__ import annotations

import numpy as np

from xgamma.dl3.cache import cache, file_key
from xgamma.irf.aeff import rising_energy
from xgamma.irf.edisp import bias_energy
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.footprint import overlap
from xgamma.reduction.observation import Run
from xgamma.reduction.settings import SafeMask

__all__ = ["energy_mask", "safe_mask"]

#: Range of energies that holds no bin: where a response is empty, nothing is safe.
NOTHING = (np.inf, -np.inf)
#: Side in pixels of the blocks in which a sum over a run's whole footprint is made.
BLOCK = 512


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
    result = np.zeros((len(energies), *offset.shape), dtype=bool)
    with np.errstate(invalid="ignore"):
        pixels = np.isfinite(offset)
        for mask in run.settings.masks:
            if mask.name == "offset-max":
                pixels &= offset < mask.offset
        for k in np.flatnonzero(energies):
            if background is None:
                result[k] = pixels
            else:
                # plane by plane everything stays in the cache; a number that is not finite is not below infinity
                np.less(0.0, background[k], out=result[k, ...])
                result[k] &= background[k] < np.inf
                result[k] &= pixels
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
    attrs = run.aeff_attrs
    low, high = attrs.get("lo_thres"), attrs.get("hi_thres")
    # 0 is what writers put that know no threshold
    return float(low) if low else -np.inf, float(high) if high else np.inf


def _aeff_max(run: Run, mask: SafeMask) -> tuple[float, float]:
    """Energy at which the effective area rises through a part of its maximum."""
    assert mask.percent is not None
    assert run.settings.energy_true is not None
    exposure = run.exposure(_offset_of(run, mask))[:, 0]
    if not (exposure > 0).any():
        return NOTHING
    return rising_energy(run.settings.energy_true, exposure, mask.percent), np.inf


def _edisp_bias(run: Run, mask: SafeMask) -> tuple[float, float]:
    """Energy above which the bias of the energy stays below a part of it."""
    assert mask.percent is not None
    settings = run.settings
    assert settings.energy_true is not None
    kernel = run.edisp(_offset_of(run, mask))[..., 0]
    if not kernel.any():
        return NOTHING
    return bias_energy(kernel, settings.energy_true, settings.energy, mask.percent / 100), np.inf


def _bkg_peak(run: Run) -> float:
    """Lower edge of the bin with the most predicted background in the run's whole footprint.

    Every tile that the run touches needs this number: it is kept in the cache of the process.
    """
    settings, observation = run.settings, run.files.observation
    axis = settings.energy_edges.tobytes(), settings.background_oversampling
    files = tuple(file_key(h.file) for h in observation.hdus if h.hdu_type in ("bkg", "gti"))
    key = ("bkg-peak", observation.__dask_tokenize__(), settings.grid, settings.offset_max, axis, files)
    spectrum = cache().get(key, lambda: _background_spectrum(run), lambda values: values.nbytes + 1000)
    return float(settings.energy_edges[int(np.argmax(spectrum))])


def _background_spectrum(run: Run) -> np.ndarray:
    """Background rate in s-1 over the run's whole footprint, shape (n_energy,); block by block of the grid."""
    spectrum = np.zeros(run.settings.n_energy)
    grid = run.settings.grid
    for y, x in np.ndindex(*(-(-n // BLOCK) for n in grid.shape)):
        block = (slice(y * BLOCK, (y + 1) * BLOCK), slice(x * BLOCK, (x + 1) * BLOCK))
        for window in overlap(run.footprint, block):
            geometry = grid.tile(*block).geometry.window(*window)
            rate = run.background_rate(geometry.vectors, run.offset(geometry.vectors))
            spectrum += np.nansum(rate * geometry.solid_angle, axis=(1, 2))
    return spectrum
