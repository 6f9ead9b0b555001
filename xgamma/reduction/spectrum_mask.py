"""Safe masks of spectra: as for maps, taken at the centre of the region."""

from __future__ import annotations

import numpy as np

from xgamma.irf.aeff import energy_thresholds_aeff_default, rising_energy
from xgamma.irf.edisp import bias_energy
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.settings import SafeMask
from xgamma.reduction.spectrum_run import SpectrumRun

__all__ = ["spectrum_mask"]

#: Range of energies that holds no bin: where a response is empty, nothing is safe.
NOTHING = (np.inf, -np.inf)


def spectrum_mask(
    spectra: SpectrumRun, exposure: np.ndarray | None, edisp: np.ndarray | None, background: np.ndarray | None
) -> np.ndarray:
    """Combine the safe masks of a reduction for the regions of one run.

    Parameters
    ----------
    spectra
        The run and its regions.
    exposure
        Shape (n_region, n_true), where it was made: with the corrections of the reduction, as the spectrum has it.
    edisp
        Shape (n_region, n_true, n_energy), where it was made.
    background
        Shape (n_region, n_energy), whose peak ``bkg-peak`` takes.

    Returns
    -------
    numpy.ndarray
        Shape (n_region, n_energy).
    """
    settings = spectra.run.settings
    edges = settings.energy_edges
    safe = np.ones((len(spectra.regions), len(edges) - 1), dtype=bool)
    for mask in settings.masks:
        for k in range(len(safe)):
            low, high = _energy_range(spectra, mask, k, exposure, edisp, background)
            safe[k] &= (edges[:-1] >= low) & (edges[1:] <= high)
    return safe


def _energy_range(
    spectra: SpectrumRun,
    mask: SafeMask,
    k: int,
    exposure: np.ndarray | None,
    edisp: np.ndarray | None,
    background: np.ndarray | None,
) -> tuple[float, float]:
    """Safe energies in TeV of one mask for region `k`."""
    run = spectra.run
    settings = run.settings
    offset = spectra.offsets[k]
    elsewhere = mask.position is not None or (mask.offset is not None and mask.name != "offset-max")
    if mask.position is not None:
        offset = separation(to_vectors(*(np.asarray(v) for v in mask.position)), run.center)
    elif elsewhere:
        offset = mask.offset
    if mask.name == "offset-max":
        return (-np.inf, np.inf) if offset < (mask.offset or 0.0) else NOTHING
    if mask.name == "aeff-default":
        low, high = energy_thresholds_aeff_default(run.table("aeff"))
        # 0 is what writers put that know no threshold
        return float(low) if low else -np.inf, float(high) if high else np.inf
    if mask.name == "bkg-peak":
        assert background is not None
        return (float(settings.energy_edges[int(np.argmax(background[k]))]) if background[k].any() else np.inf), np.inf
    assert mask.percent is not None
    assert settings.energy_true is not None
    at = np.atleast_1d(np.asarray(offset, dtype=float))
    if mask.name == "aeff-max":
        values = run.selected_exposure(at)[:, 0] if exposure is None or elsewhere else exposure[k]
        return (rising_energy(settings.energy_true, values, mask.percent), np.inf) if (values > 0).any() else NOTHING
    kernel = run.edisp(at)[..., 0] if edisp is None or elsewhere else edisp[k]
    if not kernel.any():
        return NOTHING
    return bias_energy(kernel, settings.energy_true, settings.energy, mask.percent / 100), np.inf
