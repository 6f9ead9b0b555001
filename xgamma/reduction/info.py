"""One table of the numbers of a cube."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xgamma.coords.units import conversion_factor
from xgamma.kernels.stats import cash_excess, wstat_excess
from xgamma.reduction.stack import cumulate

__all__ = ["info"]

#: Units and labels of the numbers.
LABELS = {
    "counts": ("", "Counts"),
    "background": ("", "Background"),
    "excess": ("", "Excess"),
    "sqrt_ts": ("", "Significance of the excess"),
    "counts_off": ("", "Off counts"),
    "acceptance": ("", "Acceptance"),
    "acceptance_off": ("", "Off acceptance"),
    "alpha": ("", "Background over off counts"),
    "exposure_min": ("m2 s", "Smallest positive exposure"),
    "exposure_max": ("m2 s", "Largest exposure"),
    "livetime": ("s", "Livetime"),
    "ontime": ("s", "Ontime"),
    "counts_rate": ("s-1", "Counts per livetime"),
    "background_rate": ("s-1", "Background per livetime"),
    "excess_rate": ("s-1", "Excess per livetime"),
    "n_off_regions": ("", "Number of off regions"),
    "n_bins": ("", "Number of bins"),
    "n_fit_bins": ("", "Number of bins inside the masks"),
}


#: Dims that the table keeps.
KEPT = ("obs", "region")


def info(cube: xr.Dataset, *, cumulative: bool = False) -> xr.Dataset:
    """Sum a cube up in one table of named numbers.

    Parameters
    ----------
    cube
        Cube with ``counts``; other variables add to the table.
    cumulative
        Along dim ``obs``: the numbers of the first run, of the first two stacked, and so on.

    Returns
    -------
    xarray.Dataset
        Numbers, along ``obs`` and ``region`` where the cube has them; lazy if the cube is lazy. Sums are over the safe
        voxels, exposures in m2 s, times in s. ``sqrt_ts`` is the significance of all counts over all background:
        Cash for a background model, WStat (Li & Ma) for off counts. No number depends on a model.

    Raises
    ------
    ValueError
        If the cube has no counts, or no dim ``obs`` to accumulate over.

    Notes
    -----
    Row n of a cumulative table is the stack of the first n runs. ``acceptance`` and ``acceptance_off`` are sums over
    safe bins; in each bin of a stack ``acceptance`` is the sum of the runs', and ``acceptance_off`` such that their
    ratio makes the background what the runs had (`stack`). ``alpha`` is the background over the off counts, both
    summed over bins, and the ratio of the acceptances where nothing was counted off. It is the mean of the bins'
    ratios with their off counts as weight, hence not ``acceptance / acceptance_off``.

    gammapy 2.1 agrees bin by bin (but where nothing was counted off: see `stack`), and in all numbers of its
    ``info_dict`` but ``acceptance_off``, for which it quotes ``acceptance / alpha`` there (of four runs of the Crab
    nebula 1698.3, where the bins add up to 1863.7) and the sum where a dataset is printed. gammapy 0.19 set the
    acceptance of a stack to 1 a bin.

    Examples
    --------
    >>> cube = xr.Dataset({"counts": ("energy", [3.0, 2.0]), "background": ("energy", [1.0, 1.0])})
    >>> float(info(cube).excess)
    3.0
    """
    if "counts" not in cube:
        msg = f"a table of numbers needs 'counts'; the object has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    if not cumulative:
        return _table(cube)
    if "obs" not in cube.dims:
        msg = "cumulative=True needs a cube with dim 'obs'; reduce with stack=False"
        raise ValueError(msg)
    return _table(cumulate(cube))


def _table(cube: xr.Dataset) -> xr.Dataset:
    numbers = _events(cube)
    if "exposure" in cube:
        exposure = cube["exposure"] * conversion_factor(cube["exposure"].attrs.get("units", "cm2 s"), "m2 s")
        dims = [d for d in exposure.dims if d not in KEPT]
        numbers["exposure_min"] = exposure.where(exposure > 0).min(dims)
        numbers["exposure_max"] = exposure.max(dims)
    for name in ("livetime", "ontime", "n_off_regions"):
        if name in cube:
            numbers[name] = cube[name]
    if "livetime" in cube:
        for name in ("counts", "background", "excess"):
            if name in numbers:
                numbers[f"{name}_rate"] = numbers[name] / cube["livetime"]
    numbers |= _bins(cube)
    table = xr.Dataset({n: numbers[n].drop_vars(_other_coords(numbers[n])) for n in LABELS if n in numbers})
    for key in table.data_vars:
        units, long_name = LABELS[str(key)]
        table[key].attrs = {"units": units, "long_name": long_name}
    table.attrs = {k: v for k, v in cube.attrs.items() if k in ("name", "creator", "created")}
    return table


def _other_coords(array: xr.DataArray) -> list[str]:
    return [str(n) for n in array.coords if n not in KEPT or n not in array.dims]


def _events(cube: xr.Dataset) -> dict[str, xr.DataArray]:
    mask = cube.get("mask_safe")

    def total(array: xr.DataArray) -> xr.DataArray:
        dims = [d for d in array.dims if d not in KEPT]
        return (array if mask is None else array.where(mask, 0.0)).sum(dims, dtype=float)

    numbers = {"counts": total(cube["counts"])}
    if "counts_off" in cube:
        off = cube["acceptance_off"]
        background = cube["acceptance"] / off.where(off > 0, np.inf) * cube["counts_off"]
        numbers |= {n: total(cube[n]) for n in ("counts_off", "acceptance", "acceptance_off")}
        numbers["background"] = total(background)
        n_off = numbers["counts_off"]
        on_off = numbers["acceptance"] / numbers["acceptance_off"].where(numbers["acceptance_off"] > 0, np.inf)
        numbers["alpha"] = (numbers["background"] / n_off.where(n_off > 0, 1.0)).where(n_off > 0, on_off)
        inputs = [numbers["counts"], n_off, numbers["alpha"]]
    elif "background" in cube:
        numbers["background"] = total(cube["background"])
        inputs = [numbers["counts"], numbers["background"]]
    else:
        return numbers
    numbers["excess"] = numbers["counts"] - numbers["background"]
    numbers["sqrt_ts"] = xr.apply_ufunc(_sqrt_ts, *inputs, dask="parallelized", output_dtypes=[float])
    return numbers


def _sqrt_ts(*inputs: np.ndarray) -> np.ndarray:
    best = wstat_excess(*inputs) if len(inputs) == 3 else cash_excess(*inputs)
    return best.sqrt_ts


def _bins(cube: xr.Dataset) -> dict[str, xr.DataArray]:
    dims = [d for d in cube["counts"].dims if d not in KEPT]
    size = int(np.prod([cube.sizes[d] for d in dims]))
    inside = xr.ones_like(cube["counts"], dtype=bool)
    for name in ("mask_safe", "mask_fit"):
        if name in cube:
            inside = inside & cube[name]
    numbers = {"n_fit_bins": inside.sum(dims)}
    numbers["n_bins"] = xr.full_like(numbers["n_fit_bins"], size) if numbers["n_fit_bins"].dims else xr.DataArray(size)
    return numbers
