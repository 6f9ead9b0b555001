"""Sensitivity: the flux of a source that is just seen, and the spectrum that responses promise for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import axis_of
from xgamma.coords.energy_groups import energy_groups, sum_groups
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.fitting.predict import npred_signal
from xgamma.io.fits_file import expand_path
from xgamma.io.flux_layout import flux_attrs
from xgamma.irf.evaluate import background_rate, edisp_kernel, effective_area
from xgamma.irf.psf import containment, containment_radius
from xgamma.irf.read import irf_class_of, read_irf
from xgamma.kernels.limits import cash_sensitivity, wstat_sensitivity
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel

if TYPE_CHECKING:
    from xgamma.models.spectral_model import SpectralModel

__all__ = ["checked_criteria", "described", "expected_spectrum", "needed_fluxes", "sensitivity"]

#: What limits the sensitivity in a bin.
CRITERIA = ("significance", "gamma", "bkg")
#: erg in a TeV.
ERG = 1.602176634
KINDS = {"aeff": "aeff", "edis": "edisp", "psf_": "psf", "bkg_": "bkg"}


def sensitivity(
    cube: xr.Dataset,
    spectral_model: SpectralModel | None = None,
    *,
    energy_edges: Any = None,
    n_sigma: float = 5.0,
    gamma_min: float = 10.0,
    bkg_syst_fraction: float = 0.05,
) -> xr.Dataset:
    """Compute the flux in each bin of energy that a source needs to be seen.

    Parameters
    ----------
    cube
        Cube of spectra, dims (..., energy), lazy or not: ``exposure``, ``edisp`` where energies are not exact, and
        ``background``, which is known exactly, or ``acceptance`` and ``acceptance_off``, by which it is measured in off
        regions (their ``counts_off``, or as many as the background promises). ``counts`` do not matter.
    spectral_model
        Spectrum of the source; by default a power law of index 2.
    energy_edges
        Edges of the bins, moved to those of the cube with a warning; None takes the bins of the cube.
    n_sigma
        Significance of the source.
    gamma_min
        Excess counts that it must have at least.
    bkg_syst_fraction
        Part of the background that its excess must exceed: systematic errors of the background.

    Returns
    -------
    xarray.Dataset
        Dims (..., energy), lazy where the cube is: ``e2dnde`` (erg s-1 cm-2), ``dnde`` (TeV-1 s-1 cm-2), ``flux``
        (s-1 cm-2, in the bin), ``excess`` and ``background`` (counts), and ``criterion``: 0 where the significance
        limits, 1 the number of counts (``gamma``), 2 the systematics (``bkg``); the words are its attribute
        ``meanings``. NaN in bins without signal, as outside the safe mask.

    Raises
    ------
    ValueError
        If the cube lacks its background or exposure, or a number is out of range.

    Notes
    -----
    The excess is the smallest for which an expected measurement (Asimov) with an off region has the significance of
    Li & Ma, the flux that with which the spectrum predicts this excess in the bin. The middle of a bin is its
    geometric mean.

    References
    ----------
    T.-P. Li, Y.-Q. Ma, ApJ 272, 317 (1983).

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["background"] = "energy", [100.0, 0.1]
    >>> cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    >>> curve = sensitivity(cube)
    >>> curve.excess.values.round(2), curve.criterion.values
    (array([54.01, 10.  ]), array([0, 1]))
    """
    numbers = checked_criteria(n_sigma, gamma_min, bkg_syst_fraction)
    model = PowerLawSpectralModel() if spectral_model is None else spectral_model
    groups, axis = energy_groups(cube, energy_edges)
    sums = _sums(cube, model, groups)
    values = needed_fluxes(sums, model, axis, numbers)
    coords = cube.drop_vars([n for n, c in cube.coords.items() if {"energy", "energy_true"} & set(c.dims)]).coords
    dims = [d for d in sums["signal"].dims if d != "energy"]
    result = xr.Dataset({n: v.transpose(*dims, "energy") for n, v in values.items()}, coords=coords)
    return described(result.assign_coords(axis.coords), numbers)


def checked_criteria(n_sigma: float, gamma_min: float, bkg_syst_fraction: float) -> dict[str, float]:
    """Return the numbers that a detection needs by name, after checking them."""
    numbers = {"n_sigma": n_sigma, "gamma_min": gamma_min, "bkg_syst_fraction": bkg_syst_fraction}
    for name, value in numbers.items():
        if not (np.isfinite(value) and value >= 0) or (name == "n_sigma" and value == 0):
            msg = f"{name}={value!r} must be a {'positive' if name == 'n_sigma' else 'finite'} number, not below 0"
            raise ValueError(msg)
    return numbers


def needed_fluxes(
    sums: Mapping[str, xr.Variable], model: SpectralModel, axis: xr.DataArray, numbers: Mapping[str, float]
) -> dict[str, xr.Variable]:
    """Return excess, criterion and fluxes from the sums of each bin: signal, background, off counts and alpha."""
    excess, criterion = xr.apply_ufunc(
        _needed,
        *(sums[n] for n in ("background", "off", "alpha")),
        kwargs=dict(numbers),
        output_core_dims=[[], []],
        dask="parallelized",
        output_dtypes=[float, int],
    )
    signal = sums["signal"]
    factor = excess / signal.where(signal > 0, np.nan)
    center, low, high = (axis[n].values for n in ("energy", "energy_min", "energy_max"))
    dnde = xr.Variable("energy", np.asarray(model.evaluate(center, *model.values), dtype=float))
    flux = xr.Variable("energy", np.asarray(model.evaluate_integral(low, high, *model.values), dtype=float))
    return {
        "e2dnde": factor * dnde * xr.Variable("energy", ERG * center**2),
        "dnde": factor * dnde,
        "flux": factor * flux,
        "excess": excess,
        "background": sums["background"],
        "criterion": criterion,
    }


def described(result: xr.Dataset, numbers: Mapping[str, float]) -> xr.Dataset:
    """Give the variables of a sensitivity their units and texts."""
    texts = {"excess": "Excess counts needed", "background": "Background counts", "criterion": "What limits"}
    for name in result.data_vars:
        result[name].attrs = canonical_attrs("", texts[str(name)]) if name in texts else flux_attrs(str(name))
    result["flux"].attrs["units"] = "cm-2 s-1"
    result["criterion"].attrs["meanings"] = " ".join(CRITERIA)
    result.attrs = {k: float(v) for k, v in numbers.items()}
    return result


def _sums(cube: xr.Dataset, model: SpectralModel, groups: list[slice]) -> dict[str, xr.Variable]:
    """Signal, background, off counts and alpha in each bin; alpha is 0 for a background that is known."""
    on_off = {"acceptance", "acceptance_off"} <= set(cube.data_vars)
    if "background" not in cube and not (on_off and "counts_off" in cube):
        found = sorted(map(str, cube.data_vars))
        msg = f"a sensitivity needs 'background', or counts_off with both acceptances; the cube has {found}"
        raise ValueError(msg)
    if "exposure" not in cube:
        msg = "a sensitivity needs 'exposure'"
        raise ValueError(msg)
    ratio = None
    if on_off:
        off = cube["acceptance_off"].variable
        ratio = cube["acceptance"].variable / off.where(off > 0, np.nan)
    if "counts_off" in cube and ratio is not None:
        n_off = cube["counts_off"].variable
        background = (n_off * ratio).fillna(0.0)
    else:
        background = cube["background"].variable
        n_off = background / ratio if ratio is not None else xr.zeros_like(background)
    template = cube.assign(counts=background)
    signal = npred_signal(template, SkyModel(spectral=model, name="source")).variable
    arrays = {"signal": signal, "background": background, "off": n_off}
    if "mask_safe" in cube:
        arrays = {n: v.where(cube["mask_safe"].variable, 0.0) for n, v in arrays.items()}
    summed = {n: sum_groups(v.set_dims(dict(signal.sizes)), groups) for n, v in arrays.items()}
    # several bins together have the alpha that keeps their background
    off = summed["off"]
    mean = None if ratio is None else sum_groups(ratio.set_dims(dict(signal.sizes)), groups)
    alpha = xr.zeros_like(off)
    if mean is not None:
        number = xr.Variable("energy", np.array([g.stop - g.start for g in groups], dtype=float))
        alpha = (summed["background"] / off.where(off > 0, np.nan)).fillna(mean / number)
    dims = [d for d in signal.dims if d != "energy"]
    return {n: v.transpose(*dims, "energy") for n, v in (summed | {"alpha": alpha}).items()}


def _needed(
    background: np.ndarray,
    off: np.ndarray,
    alpha: np.ndarray,
    *,
    n_sigma: float,
    gamma_min: float,
    bkg_syst_fraction: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Excess counts, and the number of the criterion that sets them."""
    known = alpha == 0
    excess = np.where(
        known,
        # without background any excess is significant
        np.where(background == 0, 0.0, cash_sensitivity(background, n_sigma)),
        wstat_sensitivity(off, np.where(known, 1.0, alpha), n_sigma),
    )
    criterion = np.where(excess < gamma_min, 1, 0)
    excess = np.maximum(excess, gamma_min)
    criterion = np.where(excess < bkg_syst_fraction * background, 2, criterion)
    return np.maximum(excess, bkg_syst_fraction * background), criterion


def expected_spectrum(
    responses: Mapping[str, Any] | str | os.PathLike[str],
    *,
    livetime: Any,
    energy: xr.DataArray,
    energy_true: xr.DataArray,
    offset: Any = "0.5 deg",
    radius: Any = None,
    containment_fraction: float = 0.68,
    acceptance_off: float | None = None,
) -> xr.Dataset:
    """Return the spectrum cube that a point source would be seen in, from responses alone.

    Parameters
    ----------
    responses
        ``aeff``, ``edisp``, ``psf`` and ``bkg`` as `xgamma.read_irf` gives them, or a FITS file that holds them.
    livetime
        Time of observation.
    energy, energy_true
        Axes of reconstructed and true energy, from `xgamma.energy_axis`.
    offset
        Separation of the source from the pointing.
    radius
        Radius of the on region; None takes, at each energy, the one that contains `containment_fraction`.
    containment_fraction
        Part of the source inside the on region where `radius` is None.
    acceptance_off
        How much larger the off region is than the on region; None for a background that is known exactly.

    Returns
    -------
    xarray.Dataset
        ``exposure`` (with the part of the source inside), ``edisp``, ``background`` and, with `acceptance_off`,
        ``acceptance``, ``acceptance_off`` and ``counts_off`` as expected; ``livetime``.

    Raises
    ------
    ValueError
        If a response is missing, or an argument out of range.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.irf import aeff, background, edisp, psf
    >>> responses = {"aeff": aeff.from_parametrization("CTAO"), "edisp": edisp.from_gauss(sigma=0.1)}
    >>> responses |= {"psf": psf.from_gauss("0.1 deg"), "bkg": background.constant_background()}
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> cube = expected_spectrum(responses, livetime="50 h", energy=energy, energy_true=energy, acceptance_off=5)
    >>> bool((cube.counts_off.values.round(6) == (5 * cube.background.values).round(6)).all())
    True
    """
    tables = _responses(responses)
    seconds = to_value(livetime, "s", "livetime")
    if not (isinstance(seconds, float) and 0 < seconds < np.inf):
        msg = f"livetime={livetime!r} must be one positive time"
        raise ValueError(msg)
    angle = float(to_value(offset, "deg", "offset"))
    area = effective_area(tables["aeff"], energy_true, offset)
    true, reco = area["energy_true"].values, axis_of(energy, "energy").values
    if radius is None:
        radii = containment_radius(tables["psf"], containment_fraction, reco, angle)
        inside = np.full(len(true), containment_fraction)
    else:
        size = float(to_value(radius, "deg", "radius"))
        radii = np.full(len(reco), size)
        inside = containment(tables["psf"], true, angle, [size])[..., 0]
    omega = 2 * np.pi * (1 - np.cos(np.deg2rad(np.nan_to_num(radii))))
    rate = background_rate(tables["bkg"], energy, "0 deg", offset)
    cube = xr.Dataset(coords={**rate.coords, **area.coords})
    cube["exposure"] = "energy_true", area.values * inside * seconds, canonical_attrs("cm2 s", "Exposure")
    kernel = edisp_kernel(tables["edisp"], energy_true, energy, offset)
    cube["edisp"] = ("energy_true", "energy"), kernel.values, canonical_attrs("", "Energy dispersion")
    background = rate.values * omega * seconds
    cube["background"] = "energy", background, canonical_attrs("", "Predicted background counts")
    cube["livetime"] = (), seconds, canonical_attrs("s", "Livetime")
    if acceptance_off is not None:
        if not acceptance_off > 0:
            msg = f"acceptance_off={acceptance_off!r} must be positive"
            raise ValueError(msg)
        ones = np.ones(len(background))
        cube["acceptance"] = "energy", ones, canonical_attrs("", "Acceptance")
        cube["acceptance_off"] = "energy", acceptance_off * ones, canonical_attrs("", "Acceptance in the off regions")
        cube["counts_off"] = "energy", acceptance_off * background, canonical_attrs("", "Counts in the off regions")
    return cube


def _responses(responses: Any) -> dict[str, Any]:
    """The four responses, read where a file is given."""
    tables: dict[str, Any] = {}
    if isinstance(responses, Mapping):
        tables = {str(k): v for k, v in responses.items()}
    else:
        with fits.open(expand_path(responses)) as hdus:
            for hdu in hdus:
                if not isinstance(hdu, fits.BinTableHDU):
                    continue
                try:
                    kind = KINDS.get(irf_class_of(hdu)[:4].lower())
                except ValueError:
                    continue
                if kind is not None and kind not in tables:
                    tables[kind] = read_irf(hdu)
    missing = [n for n in KINDS.values() if n not in tables]
    if missing:
        msg = f"a point source needs the responses {missing}; there are {sorted(tables)}"
        raise ValueError(msg)
    return tables
