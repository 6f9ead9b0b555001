"""Excess and significance maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xgamma.background.correlate import convolve_all, positive_angle
from xgamma.coords.energy_groups import energy_groups, sum_groups
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import grid_of
from xgamma.coords.units import canonical_attrs
from xgamma.estimators.reference import power_law_flux, reference_counts
from xgamma.kernels.convolve import Annulus
from xgamma.kernels.limits import (
    cash_errors,
    cash_sensitivity,
    cash_upper_limit,
    wstat_errors,
    wstat_sensitivity,
    wstat_upper_limit,
)
from xgamma.kernels.stats import cash_excess, wstat_excess

__all__ = ["excess_map"]

#: What may be asked for beside the maps that are always made; the first three cost root searches.
OPTIONAL = ("errn-errp", "ul", "sensitivity", "norm", "flux", "alpha", "acceptance", "acceptance_off", "counts_off")
ON_OFF_ONLY = ("alpha", "acceptance", "acceptance_off", "counts_off")

LABELS = {
    "counts": "Counts",
    "background": "Background counts",
    "excess": "Excess counts",
    "ts": "TS",
    "sqrt_ts": "Significance",
    "excess_err": "Error of the excess",
    "excess_errn": "Lower error of the excess",
    "excess_errp": "Upper error of the excess",
    "excess_ul": "Upper limit on the excess",
    "excess_sensitivity": "Excess needed for a detection",
    "alpha": "On to off exposure",
    "acceptance": "Acceptance",
    "acceptance_off": "Acceptance of the off region",
    "counts_off": "Off counts",
}


@dataclass(frozen=True)
class _Settings:
    selection: tuple[str, ...]
    n_sigma: float
    n_sigma_ul: float
    significance: float

    @property
    def names(self) -> tuple[str, ...]:
        """Maps that the statistic gives, in the order in which the block returns them."""
        names = ["excess", "ts", "sqrt_ts", "excess_err"]
        if "errn-errp" in self.selection:
            names += ["excess_errn", "excess_errp"]
        if "ul" in self.selection:
            names.append("excess_ul")
        if "sensitivity" in self.selection:
            names.append("excess_sensitivity")
        return tuple(names)


def excess_map(
    cube: xr.Dataset,
    radius: Any = "0.1 deg",
    *,
    energy_edges: Any = None,
    selection: str | Iterable[str] = (),
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    significance: float = 5.0,
    correlate_off: bool = True,
    index: float = 2.0,
    mask: xr.DataArray | None = None,
) -> xr.Dataset:
    """Sum counts and background over a disc around each pixel and say how significant the excess is.

    Parameters
    ----------
    cube
        On-off cube (``counts``, ``counts_off``, ``background``, ``acceptance``, ``acceptance_off``) or cube with a
        background model (``counts``, ``background``), dims (..., y, x). ``mask_safe`` and ``mask_fit`` are used where
        present.
    radius
        Radius of the disc, an angle; pixels whose centre lies inside count fully.
    energy_edges
        Edges of the energy groups; None for a map per bin of the cube.
    selection
        More maps: any of ``"errn-errp"``, ``"ul"``, ``"sensitivity"``, ``"norm"``, ``"flux"``, and for on-off cubes
        ``"alpha"``, ``"acceptance"``, ``"acceptance_off"``, ``"counts_off"``; or ``"all"``.
    n_sigma, n_sigma_ul
        Standard deviations of the errors and of the upper limit.
    significance
        Significance for which the sensitivity is.
    correlate_off
        Sum the off counts over the disc too. False takes those of the pixel itself, and the acceptance over the disc.
    index
        Index of the power law with which the exposure is averaged, for norm and flux.
    mask
        Further pixels to leave out where False, bool, dims (y, x) or (energy, y, x), on the cube's grid.

    Returns
    -------
    xarray.Dataset
        ``counts``, ``background``, ``excess``, ``ts``, ``sqrt_ts``, ``excess_err`` and what `selection` asks for
        (``excess_errn``, ``excess_errp``, ``excess_ul``, ``excess_sensitivity``; ``norm``, ``flux`` with the same
        endings), dims (..., energy, y, x). Lazy if the cube is lazy. NaN outside the mask, where an input is not
        finite, and where the statistic has no answer: no off counts and no acceptance to tell alpha; a sensitivity
        without background.

    Raises
    ------
    ValueError
        If a variable is missing, the radius is not an angle, a name in `selection` is not known or not for this cube,
        or `mask` is on another grid.

    See Also
    --------
    xgamma.kernels.stats.wstat_excess : the statistic of on-off measurements.

    Notes
    -----
    Masked pixels add neither counts nor background. Summing the off counts of a ring background over the
    disc counts them several times: alpha is small then, and the significance close to the one for a known background.
    ``alpha`` is background over off counts in the disc; where it holds no off counts, the ratio of the acceptances.
    With `correlate_off` False it is the acceptance in the disc over the off acceptance of the pixel. ``counts_off``
    are the off counts of the statistic; ``acceptance`` and ``acceptance_off`` are those of the pixel itself. In an
    energy group, off acceptances are added such that the sum of the backgrounds stays.

    ``flux`` is the integral flux of the power law in the energy bin; ``norm`` is relative to
    ``1e-12 (E / TeV)**-index cm-2 s-1 TeV-1``.

    References
    ----------
    T.-P. Li, Y.-Q. Ma, ApJ 272, 317 (1983), for ``sqrt_ts`` of on-off cubes.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.grid import sky_grid
    >>> cube = sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg")
    >>> cube["counts"] = ("y", "x"), np.full((10, 10), 2.0)
    >>> cube["background"] = ("y", "x"), np.ones((10, 10))
    >>> excess_map(cube, "0.1 deg").excess.values[5, 5]
    np.float64(5.0)
    """
    on_off = "counts_off" in cube
    disc = Annulus(0.0, _check(cube, radius), pixel_scale(cube))
    settings = _settings(selection, on_off, n_sigma, n_sigma_ul, significance)
    groups, energy = energy_groups(cube, energy_edges) if "energy" in cube["counts"].dims else ([], None)
    keep = _mask(cube, mask)
    sums = _group_sums(cube, keep, groups, on_off)
    inside = sum_groups(keep, groups)
    parts = _on_off_parts(sums, disc, correlate_off) if on_off else _model_parts(sums, disc)
    maps = _statistic(parts, inside, settings, on_off)
    for name in ("counts", "background", *(n for n in ON_OFF_ONLY if n in settings.selection)):
        maps[name] = parts[name].where(inside)
    result = _wrap(cube, maps, energy)
    if {"norm", "flux"} & set(settings.selection):
        result = _add_flux(result, cube, keep, inside, groups, energy, disc, index, settings)
    result.attrs.update(radius=f"{disc.r_out:g} deg", statistic="wstat" if on_off else "cash")
    result.attrs.update(n_sigma=n_sigma, n_sigma_ul=n_sigma_ul, n_sigma_sensitivity=significance)
    if on_off:
        result.attrs["correlate_off"] = int(correlate_off)
    return result


def _check(cube: xr.Dataset, radius: Any) -> float:
    """Return the radius in degrees, after checking that the cube has what is needed."""
    needed = ["counts", "acceptance", "acceptance_off"] if "counts_off" in cube else ["counts", "background"]
    missing = [n for n in needed if n not in cube]
    if missing:
        msg = f"an excess map needs {needed}; {missing} are missing, the cube has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    grid_of(cube)
    return positive_angle(radius, "radius")


def _settings(
    selection: str | Iterable[str], on_off: bool, n_sigma: float, n_sigma_ul: float, significance: float
) -> _Settings:
    if isinstance(selection, str):
        selection = (selection,)
    names = tuple(dict.fromkeys(selection))
    if names == ("all",):
        names = tuple(n for n in OPTIONAL if on_off or n not in ON_OFF_ONLY)
    unknown = [n for n in names if n not in OPTIONAL]
    if unknown:
        msg = f"selection {unknown} not known; choose from {list(OPTIONAL)} or 'all'"
        raise ValueError(msg)
    wrong = [n for n in names if n in ON_OFF_ONLY and not on_off]
    if wrong:
        msg = f"selection {wrong} is for on-off cubes only; this cube has a background model"
        raise ValueError(msg)
    for name, value in (("n_sigma", n_sigma), ("n_sigma_ul", n_sigma_ul), ("significance", significance)):
        if not (np.isfinite(value) and value > 0):
            msg = f"{name}={value!r} must be a positive number of standard deviations"
            raise ValueError(msg)
    return _Settings(names, float(n_sigma), float(n_sigma_ul), float(significance))


def _mask(cube: xr.Dataset, mask: xr.DataArray | None) -> xr.Variable:
    """Return the pixels that count, with all dims of the counts."""
    counts = cube["counts"].variable.transpose(..., "y", "x")
    keep: xr.Variable = counts.copy(data=np.isfinite(counts.data))
    # one NaN would spread over its whole plane
    for name in ("counts_off", "acceptance", "acceptance_off") if "counts_off" in cube else ("background",):
        array = cube[name].variable
        keep = keep & array.copy(data=np.isfinite(array.data))
    masks = [cube[n].variable for n in ("mask_safe", "mask_fit") if n in cube]
    if mask is not None:
        if not isinstance(mask, xr.DataArray) or mask.dtype != bool:
            msg = "mask must be a DataArray of bools"
            raise ValueError(msg)
        if grid_of(mask) != grid_of(cube):
            msg = "mask is on another grid than the cube; select or reproject it first"
            raise ValueError(msg)
        masks.append(mask.variable)
    for item in masks:
        keep = keep & item
    return keep.transpose(*counts.dims)


def _group_sums(cube: xr.Dataset, keep: xr.Variable, groups: list[slice], on_off: bool) -> dict[str, xr.Variable]:
    """Masked sums over each energy group."""
    arrays = {n: cube[n].variable for n in ("counts", "counts_off", "acceptance", "acceptance_off") if n in cube}
    if not on_off:
        arrays = {"counts": arrays["counts"], "background": cube["background"].variable}
    elif "background" in cube:
        arrays["background"] = cube["background"].variable
    else:
        off = arrays["acceptance_off"]
        arrays["background"] = arrays["acceptance"] / off.where(off > 0, np.inf) * arrays["counts_off"]
    if on_off:
        # without acceptance there is no background: whatever stands there must not enter a sum
        arrays["background"] = arrays["background"].where(arrays["acceptance_off"] > 0, 0.0).fillna(0.0)
    sums = {n: sum_groups(a.where(keep, 0.0).transpose(*keep.dims), groups) for n, a in arrays.items()}
    if on_off and any(g.stop - g.start > 1 for g in groups):
        # bins of unlike alpha: the off acceptance that keeps the sum of the background
        total = sums["background"]
        scaled = sums["acceptance"] * sums["counts_off"] / total.where(total > 0, 1.0)
        sums["acceptance_off"] = scaled.where((total > 0) & (sums["counts_off"] > 0), sums["acceptance_off"])
    return sums


def _model_parts(sums: dict[str, xr.Variable], disc: Annulus) -> dict[str, xr.Variable]:
    names = ["counts", "background"]
    return dict(zip(names, convolve_all([sums[n] for n in names], disc), strict=True))


def _on_off_parts(sums: dict[str, xr.Variable], disc: Annulus, correlate_off: bool) -> dict[str, xr.Variable]:
    names = ["counts", "acceptance"]
    if correlate_off:
        names += ["counts_off", "acceptance_off", "background"]
    discs = dict(zip(names, convolve_all([sums[n] for n in names], disc), strict=True))
    counts, acceptance = discs["counts"], discs["acceptance"]
    if correlate_off:
        counts_off, off, background = (discs[n] for n in ("counts_off", "acceptance_off", "background"))
        measured = background / counts_off.where(counts_off > 0, 1.0)
        alpha = measured.where(counts_off > 0, acceptance / off.where(off > 0))
    else:
        counts_off, off = sums["counts_off"], sums["acceptance_off"]
        alpha = acceptance / off.where(off > 0)
        background = alpha * counts_off
    return {
        "counts": counts,
        "background": background,
        "alpha": alpha,
        "counts_off": counts_off,
        "acceptance": sums["acceptance"],
        "acceptance_off": sums["acceptance_off"],
    }


def _statistic(
    parts: dict[str, xr.Variable], inside: xr.Variable, settings: _Settings, on_off: bool
) -> dict[str, xr.Variable]:
    names = settings.names
    inputs = [parts[n] for n in (("counts", "counts_off", "alpha") if on_off else ("counts", "background"))]
    results = xr.apply_ufunc(
        _wstat_block if on_off else _cash_block,
        inside,
        *inputs,
        kwargs={"settings": settings},
        output_core_dims=[[] for _ in names],
        dask="parallelized",
        output_dtypes=[float] * len(names),
    )
    return dict(zip(names, results, strict=True))


def _cash_block(inside: np.ndarray, n: np.ndarray, mu: np.ndarray, settings: _Settings) -> tuple[np.ndarray, ...]:
    shape = np.broadcast_shapes(inside.shape, n.shape)
    n, mu = n[inside], mu[inside]
    best = cash_excess(n, mu)
    values = [best.excess, best.ts, best.sqrt_ts, settings.n_sigma * best.error]
    if "errn-errp" in settings.selection:
        values += cash_errors(n, settings.n_sigma)
    if "ul" in settings.selection:
        values.append(cash_upper_limit(n, mu, settings.n_sigma_ul))
    if "sensitivity" in settings.selection:
        values.append(cash_sensitivity(mu, settings.significance))
    return _spread(values, inside, shape)


def _wstat_block(
    inside: np.ndarray, n: np.ndarray, off: np.ndarray, alpha: np.ndarray, settings: _Settings
) -> tuple[np.ndarray, ...]:
    n, off, alpha = n[inside], off[inside], alpha[inside]
    best = wstat_excess(n, off, alpha)
    values = [best.excess, best.ts, best.sqrt_ts, settings.n_sigma * best.error]
    if "errn-errp" in settings.selection:
        values += wstat_errors(n, off, alpha, settings.n_sigma)
    if "ul" in settings.selection:
        values.append(wstat_upper_limit(n, off, alpha, settings.n_sigma_ul))
    if "sensitivity" in settings.selection:
        values.append(wstat_sensitivity(off, alpha, settings.significance))
    return _spread(values, inside, inside.shape)


def _spread(values: list[np.ndarray], inside: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Put values back to where the mask is True, NaN elsewhere."""
    results = tuple(np.full(shape, np.nan) for _ in values)
    for result, value in zip(results, values, strict=True):
        result[inside] = value
    return results


def _wrap(cube: xr.Dataset, maps: dict[str, xr.Variable], energy: xr.DataArray | None) -> xr.Dataset:
    """Give the maps the coordinates of the cube, with the energy axis of the groups."""
    coords = cube["counts"].coords.to_dataset()
    if energy is not None:
        names = ["energy", "energy_min", "energy_max"]
        coords = coords.drop_vars([n for n in coords.coords if "energy" in coords[n].dims or n in names])
        coords = coords.assign_coords(energy.coords)
    variables = {}
    for name in LABELS:
        if name in maps:
            array = maps[name]
            variables[name] = xr.Variable(array.dims, array.data, canonical_attrs("", LABELS[name]))
    result = coords.assign(variables)
    result.attrs = dict(cube.attrs)
    return result


def _add_flux(
    result: xr.Dataset,
    cube: xr.Dataset,
    keep: xr.Variable,
    inside: xr.Variable,
    groups: list[slice],
    energy: xr.DataArray | None,
    disc: Annulus,
    index: float,
    settings: _Settings,
) -> xr.Dataset:
    """Divide the excess by the counts of the reference spectrum, averaged over the disc."""
    if energy is None:
        msg = "norm and flux need an energy axis"
        raise ValueError(msg)
    expected = sum_groups(reference_counts(cube, index).where(keep, 0.0), groups)
    area, total = convolve_all([inside.astype(float), expected.transpose(*inside.dims)], disc)
    expected = total / area.where(area > 0)
    expected = expected.where(expected > 0)
    flux = power_law_flux(energy["energy_min"].values, energy["energy_max"].values, index)
    reference = xr.Variable("energy", flux)
    for name in settings.names:
        if name in ("ts", "sqrt_ts"):
            continue
        ending = name.removeprefix("excess")
        norm = result[name].variable / expected
        label = LABELS[name].replace("Excess counts", "{0}").replace("Excess", "{0}").replace("excess", "{1}")
        if "norm" in settings.selection:
            result[f"norm{ending}"] = norm.dims, norm.data, canonical_attrs("", label.format("Norm", "norm"))
        if "flux" in settings.selection:
            value = (norm * reference).transpose(*norm.dims)
            result[f"flux{ending}"] = value.dims, value.data, canonical_attrs("cm-2 s-1", label.format("Flux", "flux"))
    result.attrs["spectrum"] = f"power law of index {index:g}"
    return result
