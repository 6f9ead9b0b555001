"""Small spectra with known numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

import xgamma as xg

MODEL = xg.SkyModel(xg.PowerLawSpectralModel(index=2.2, amplitude="3e-12 cm-2 s-1 TeV-1"), name="source")


def made_spectrum(n_obs=None, on_off=True, seed=3):
    """A power law in a background, [obs,] 6 bins from 1 to 100 TeV, of which the first is not safe."""
    rng = np.random.default_rng(seed)
    energy, true = (xg.energy_axis("1 TeV", "100 TeV", nbin=6, name=n) for n in ("energy", "energy_true"))
    lead = () if n_obs is None else ("obs",)
    shape = (6,) if n_obs is None else (n_obs, 6)
    cube = xr.Dataset(coords=energy.coords).assign_coords(true.coords)
    cube["exposure"] = (*lead, "energy_true"), np.full(shape, 2e13), {"units": "cm2 s"}
    matrix = 0.8 * np.eye(6) + 0.1 * np.eye(6, k=1) + 0.1 * np.eye(6, k=-1)
    cube["edisp"] = (*lead, "energy_true", "energy"), np.broadcast_to(matrix, (*shape[:-1], 6, 6)).copy()
    background = np.broadcast_to(np.geomspace(6.0, 0.2, 6), shape)
    flux = MODEL.spectral.evaluate_integral(energy["energy_min"].values, energy["energy_max"].values,
                                            *MODEL.spectral.values)  # fmt: skip
    cube["counts"] = (*lead, "energy"), rng.poisson(2e13 * flux @ matrix + background).astype(float)
    cube["mask_safe"] = (*lead, "energy"), np.broadcast_to(np.arange(6) > 0, shape).copy()
    if on_off:
        cube["counts_off"] = (*lead, "energy"), rng.poisson(background * 5).astype(float)
        cube["acceptance"] = (*lead, "energy"), np.ones(shape)
        cube["acceptance_off"] = (*lead, "energy"), np.full(shape, 5.0)
    else:
        cube["background"] = (*lead, "energy"), background.copy()
    cube["livetime"] = lead, np.full(shape[:-1], 600.0), {"units": "s"}
    return cube if n_obs is None else cube.assign_coords(obs=np.arange(11, 11 + n_obs))
