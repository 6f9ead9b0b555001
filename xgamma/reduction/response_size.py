"""How much room the responses of a survey take beside its maps."""

from __future__ import annotations

import math
import warnings

import numpy as np

from xgamma.reduction.settings import ReduceSettings

__all__ = ["response_numbers", "warn_large_responses"]

#: Part of the maps that the responses of a survey may take, and the size in bytes below which nobody cares.
SHARE, SMALL = 0.1, 256 * 2**20


def response_numbers(settings: ReduceSettings) -> tuple[int, int]:
    """Return how many numbers a reduction makes in its maps, and in PSF and energy dispersion.

    Parameters
    ----------
    settings
        What is made.

    Returns
    -------
    maps, responses : int
        Numbers of a stack, or of one run.
    """
    true = 0 if settings.energy_true is None else len(settings.energy_true)
    planes = sum(
        {"counts": settings.n_energy, "background": settings.n_energy, "exposure": true}.get(n, 0)
        for n in settings.selection
    )
    per_pixel = 0
    if "psf" in settings.selection and settings.rad_edges is not None:
        per_pixel += true * (len(settings.rad_edges) - 1)
    if "edisp" in settings.selection:
        per_pixel += true * settings.n_energy
    if per_pixel:
        per_pixel += true  # the weight
    coarse = 0 if settings.irf_grid is None else math.prod(settings.irf_grid.shape)
    return planes * math.prod(settings.grid.shape), per_pixel * coarse


def warn_large_responses(settings: ReduceSettings) -> None:
    """Warn where the responses of a survey take more than a tenth of what its maps take.

    Responses change over degrees, as the offset from the pointings does: a coarser grid loses little.
    """
    maps, responses = response_numbers(settings)
    if responses * 8 <= SMALL or responses <= SHARE * maps or not maps:
        return
    assert settings.irf_grid is not None
    size = max(settings.irf_grid.frame.binsize)
    # a binsize of a tenth of a degree or a multiple is easy to remember
    wanted = math.ceil(round(10 * size * np.sqrt(responses / (SHARE * maps)), 6)) / 10
    rad = "" if "psf" not in settings.selection else ", or rad=xgamma.containment_rad_axis(...)"
    msg = (
        f"PSF and energy dispersion take {responses * 8 / 2**30:.2g} GiB, {responses / maps:.0%} of the maps: pass "
        f"irf_binsize='{wanted:g} deg' to xgamma.sky_grid for a tenth{rad}"
    )
    warnings.warn(msg, UserWarning, stacklevel=3)
