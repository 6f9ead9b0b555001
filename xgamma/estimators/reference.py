"""Counts and flux of a reference spectrum, by which an excess becomes a flux."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of

__all__ = ["power_law_flux", "reference_counts"]

#: The reference spectrum is this at 1 TeV, in cm-2 s-1 TeV-1.
AMPLITUDE = 1e-12


def power_law_flux(lo: np.ndarray, hi: np.ndarray, index: float) -> np.ndarray:
    """Return the integral of ``1e-12 (E / TeV)**-index cm-2 s-1 TeV-1`` from `lo` to `hi`.

    Parameters
    ----------
    lo, hi
        Energies in TeV, shapes that broadcast; an empty or negative range gives 0.
    index
        Spectral index.

    Returns
    -------
    numpy.ndarray
        Flux in cm-2 s-1.

    Examples
    --------
    >>> power_law_flux(np.array([1.0]), np.array([2.0]), 2.0)
    array([5.e-13])
    """
    lo, hi = np.broadcast_arrays(np.asarray(lo, dtype=float), np.asarray(hi, dtype=float))
    ratio = np.log(np.maximum(hi, lo) / lo)
    slope = 1.0 - index
    # expm1 keeps its digits for an index near 1, where the power law's integral turns into a logarithm
    factor = ratio if abs(slope) < 1e-12 else np.expm1(slope * ratio) / slope
    return np.asarray(AMPLITUDE * lo**slope * factor)


def reference_counts(cube: xr.Dataset, index: float) -> xr.Variable:
    """Return the counts that the reference spectrum gives at each pixel.

    Parameters
    ----------
    cube
        ``exposure`` with dims (..., energy_true, y, x) in cm2 s, a binned ``energy`` axis and, where known, ``edisp``.
    index
        Spectral index of the power law.

    Returns
    -------
    xarray.Variable
        Dims (..., energy, y, x), lazy if the exposure is lazy.

    Raises
    ------
    ValueError
        If the exposure is missing.

    Notes
    -----
    The flux in each bin of true energy times its exposure is spread over the reconstructed bins by the energy
    dispersion at the middle of the map; without one, energies are taken as exact.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> energy = energy_axis(edges=["1 TeV", "2 TeV"])
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["exposure"] = ("energy_true", "y", "x"), np.full((1, 1, 1), 2e13)
    >>> reference_counts(cube, 2.0).values
    array([[[10.]]])
    """
    if "exposure" not in cube or "energy_true" not in cube["exposure"].dims:
        msg = "norm and flux need 'exposure' with the dim energy_true; add it, or leave them out of the selection"
        raise ValueError(msg)
    energy, true = axis_of(cube, "energy"), axis_of(cube, "energy_true")
    lo, hi = (energy[f"energy_{end}"].values for end in ("min", "max"))
    true_lo, true_hi = (true[f"energy_true_{end}"].values[:, None] for end in ("min", "max"))
    if "edisp" in cube:
        weights = _central_edisp(cube["edisp"].variable) * xr.Variable(
            "energy_true", power_law_flux(true_lo, true_hi, index)[:, 0]
        )
    else:
        overlap = power_law_flux(np.maximum(lo, true_lo), np.minimum(hi, true_hi), index)
        weights = xr.Variable(("energy_true", "energy"), overlap)
    exposure = cube["exposure"].variable
    if exposure.chunks is not None:
        exposure = exposure.chunk({"energy_true": -1})
    result = xr.apply_ufunc(
        _fold,
        exposure,
        weights,
        input_core_dims=[["energy_true"], ["energy_true", "energy"]],
        output_core_dims=[["energy"]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"energy": len(lo)}},
    )
    return result.transpose(..., "energy", "y", "x")


def _fold(exposure: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if weights.ndim == 2:
        return np.tensordot(exposure, weights, axes=1)
    return np.einsum("...t,...te->...e", exposure, weights)


def _central_edisp(edisp: xr.Variable) -> xr.Variable:
    """Energy dispersion at the middle of the map, dims (..., energy_true, energy)."""
    middle = {d: edisp.sizes[d] // 2 for d in ("irf_y", "irf_x") if d in edisp.dims}
    central = edisp.isel(middle).transpose(..., "energy_true", "energy")
    return central.chunk({"energy_true": -1, "energy": -1}) if central.chunks is not None else central
