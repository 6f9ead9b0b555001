"""Spectra with simple responses, as plain arrays and as cubes."""

from __future__ import annotations

import numpy as np
from scipy.special import erf

#: Edges in TeV.
ENERGY = np.geomspace(0.5, 50.0, 11)
ENERGY_TRUE = np.geomspace(0.2, 200.0, 31)


def arrays(n_obs=3, seed=1, index=2.3, amplitude=4e-12, alpha=0.1, asimov=False):
    """Counts of a power law in a background ten times measured, through a log-normal energy dispersion."""
    rng = np.random.default_rng(seed)
    low, high = ENERGY_TRUE[:-1], ENERGY_TRUE[1:]
    true, centre = np.sqrt(low * high), np.sqrt(ENERGY[:-1] * ENERGY[1:])
    run = 1.0 + np.arange(n_obs)[:, None]
    exposure = 4e12 * run * np.sqrt(true)
    x = (np.log(ENERGY) - np.log(true)[:, None]) / (0.12 * np.sqrt(2))
    edisp = np.repeat(0.5 * np.diff(erf(x))[None], n_obs, axis=0)
    flux = amplitude * (low ** (1 - index) - high ** (1 - index)) / (index - 1)
    signal = np.einsum("ot,t,ote->oe", exposure, flux, edisp)
    background = 3.0 * run * centre**-1.2
    draw = (lambda mean: mean) if asimov else (lambda mean: rng.poisson(mean).astype(float))
    return {
        "counts": draw(signal + background),
        "counts_off": draw(background / alpha),
        "acceptance": np.ones_like(signal),
        "acceptance_off": np.full_like(signal, 1.0 / alpha),
        "mask_safe": np.broadcast_to(centre > 0.7, signal.shape).copy(),
        "background": background,
        "exposure": exposure,
        "edisp": edisp,
    }


def cube(on_off=True, **kwargs):
    """The arrays as a cube with runs 11, 12, ..., on-off or with a background model."""
    import astropy.units as u
    import xarray as xr

    from xgamma.coords.bins import energy_axis

    values = arrays(**kwargs)
    axes = energy_axis(edges=ENERGY * u.TeV), energy_axis(edges=ENERGY_TRUE * u.TeV, name="energy_true")
    runs = np.arange(11, 11 + len(values["counts"]))
    result = xr.Dataset(coords={"obs": runs}, attrs={"name": "simulated"})
    result = result.assign_coords(axes[0].coords).assign_coords(axes[1].coords)
    off = ("counts_off", "acceptance", "acceptance_off")
    dims = {"exposure": ("energy_true",), "edisp": ("energy_true", "energy")}
    for name, array in values.items():
        if on_off or name not in off:
            units = "cm2 s" if name == "exposure" else ""
            result[name] = ("obs", *dims.get(name, ("energy",))), array, {"units": units}
    if on_off:
        del result["background"]
    return result
