"""Flux points as data of a fit: what models predict for them, and how both are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.coords.units import conversion_factor
from xgamma.fitting.cubes import Spectra, labels_of
from xgamma.fitting.dataset import BinnedDataset, SpectralContribution
from xgamma.fitting.flux import SpectralFlux
from xgamma.fitting.likelihood import ChiSquare, Statistic
from xgamma.fitting.point_statistics import AsymmetricChiSquare, ProfileStatistic
from xgamma.fitting.response import Axes
from xgamma.fitting.systematics import NO_SYSTEMATICS, Nuisance, flux_of
from xgamma.io.flux_layout import flux_attrs, limit_flags, sed_type_of, value_names
from xgamma.models.parameter import Parameters
from xgamma.models.sky_model import SkyModel
from xgamma.models.spectral_model import SpectralModel

__all__ = ["POINT_STATISTICS", "SpectralValues", "compile_points", "is_points", "point_stat_name", "points_of"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Statistics of flux points.
POINT_STATISTICS = ("chi2", "distrib", "profile")
#: Masks, as those of cubes.
MASKS = ("mask_safe", "mask_fit", "weights")
#: Dims behind those of the points.
VECTORS = ("scan", "dataset")
ERG = conversion_factor("TeV", "erg")


def is_points(data: Any) -> bool:
    """Return whether a dataset holds flux points.

    Examples
    --------
    >>> is_points(xr.Dataset({"dnde": ("energy", [1e-12])}))
    True
    """
    if not isinstance(data, xr.Dataset) or "energy" not in data.dims:
        return False
    if "sed_type" in data.attrs:
        return True
    if "exposure" in data or "counts_off" in data:
        return False
    names = ("dnde", "e2dnde", "flux", "eflux", "norm")
    return any(n in data or f"{n}_ul" in data for n in names)


def points_of(name: str, points: xr.Dataset, alone: bool = True) -> Spectra:
    """Return what flux points are made of, as a fit needs it.

    Parameters
    ----------
    name
        Name of the points.
    points
        Flux points, dims (..., energy).
    alone
        Whether they are the only dataset; the labels of several bring the name of theirs.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> points = xr.Dataset({"dnde": ("energy", [1e-12])}, energy_axis("1 TeV", "10 TeV", nbin=1).coords)
    >>> points_of("hawc", points).labels
    ('hawc',)
    """
    try:
        sed_type = sed_type_of(points)
        axis = axis_of(points, "energy")
    except ValueError as error:
        msg = f"{name!r} cannot be fitted: {error}"
        raise ValueError(msg) from error
    value, limit = value_names(sed_type)[0], value_names(sed_type)[4]
    dims = tuple(map(str, points[value if value in points else limit].dims))
    lead = tuple(d for d in dims if d != "energy")
    low, high = (axis[f"energy_{end}"].values.astype(float) for end in ("min", "max"))
    return Spectra(
        name, points, lead, tuple(points.sizes[d] for d in lead), labels_of(name, points, lead, alone),
        Axes(low, high, low, high),
    )  # fmt: skip


def point_stat_name(points: xr.Dataset, stat: str | None = None) -> str:
    """Return which statistic flux points are fitted with.

    Parameters
    ----------
    points
        Flux points.
    stat
        ``"chi2"`` (limits are left out), ``"distrib"`` (an error to each side, and limits) or ``"profile"``; by
        default ``attrs["stat_type"]`` of the points, else chi2.

    Examples
    --------
    >>> point_stat_name(xr.Dataset())
    'chi2'
    """
    chosen = points.attrs.get("stat_type", "chi2") if stat is None else stat
    if chosen not in POINT_STATISTICS:
        msg = f"stat={chosen!r} is not one for flux points: {list(POINT_STATISTICS)}; name it dataset by dataset"
        raise ValueError(msg)
    return str(chosen)


class SpectralValues(SpectralFlux):
    """What a spectrum predicts for flux points, as a function of the values of all parameters of a fit.

    Parameters
    ----------
    model
        Spectral model.
    parameters
        All parameters of the fit.
    sed_type
        What the points hold.
    energy, low, high
        Reference energies and edges of the bins in TeV, shape (n,).

    Notes
    -----
    Differential fluxes, and norms of a reference spectrum, are compared at the reference energy; fluxes and energy
    fluxes in bins with the integral over the bin.

    Examples
    --------
    >>> from xgamma.models.power_law import PowerLawSpectralModel
    >>> model = PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1")
    >>> one, ten = np.array([1.0]), np.array([10.0])
    >>> flux = SpectralValues(model, model.parameters, "dnde", np.array([2.0]), one, ten)
    >>> scale, key = flux.split(model.parameters.values)
    >>> scale * flux.shape(*key)
    array([2.5e-13])
    """

    def __init__(
        self,
        model: SpectralModel,
        parameters: Parameters,
        sed_type: str,
        energy: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> None:
        self.sed_type, self.energy = sed_type, energy
        super().__init__(model, parameters, low, high)

    @property
    def center(self) -> FloatArray:
        """Reference energies in TeV."""
        return self.energy

    def _function(self) -> Callable[..., FloatArray]:
        model, energy, low, high = self.model, self.energy, self.low, self.high
        # with a stretch, the instrument that made the points saw all energies higher by this factor
        if self.sed_type == "flux":
            return lambda *v, stretch=1.0: np.asarray(model.evaluate_integral(low / stretch, high / stretch, *v), float)
        if self.sed_type == "eflux":
            return lambda *v, stretch=1.0: (
                ERG * stretch * np.asarray(model.evaluate_energy_flux(low / stretch, high / stretch, *v), float)
            )
        factor = ERG * energy**2 if self.sed_type == "e2dnde" else np.ones(energy.shape)
        return lambda *v, stretch=1.0: factor / stretch * np.asarray(model.evaluate(energy / stretch, *v), float)


def compile_points(
    s: Spectra, models: Iterable[SkyModel], parameters: Parameters, stat: str, nuisance: Nuisance = NO_SYSTEMATICS
) -> BinnedDataset:
    """Prepare the likelihood of models for flux points.

    Parameters
    ----------
    s
        The points, from `points_of`.
    models
        Sources; those that belong to the points add up.
    parameters
        All parameters of the fit.
    stat
        ``"chi2"``, ``"distrib"`` or ``"profile"``.
    nuisance
        Systematic errors of the instrument.

    Returns
    -------
    BinnedDataset
        With the points as its bins, in units of their typical error.

    Raises
    ------
    ValueError
        If errors or profiles are missing, or a model is a template of energies or a factor.
    """
    sed_type = sed_type_of(s.cube)
    values = _arrays(s, sed_type)
    kept, statistic = _statistic(s, values, stat)
    part = np.repeat(np.arange(len(s.labels)), kept.reshape(len(s.labels), -1).sum(axis=1))
    axis = axis_of(s.cube, "energy")
    contributions = []
    for model in models:
        rows = s.rows(model)
        if not rows.any() or not kept.any():
            continue
        _check_model(model, s.name)
        flux = SpectralValues(
            model.spectral, parameters, sed_type, axis.values.astype(float), s.axes.low, s.axes.high
        )  # fmt: skip
        contributions.append(SpectralContribution(model.name, flux_of(flux, nuisance), _matrix(values, kept, rows)))
    return BinnedDataset(s.name, s.labels, part, statistic, tuple(contributions), kept)


def _check_model(model: SkyModel, name: str) -> None:
    if model.spectral.is_norm or getattr(model.spatial, "is_energy_dependent", False):
        msg = f"{model.name!r} has no spectrum of its own (a template of energies), which flux points {name!r} need"
        raise ValueError(msg)


def _matrix(values: Mapping[str, FloatArray], kept: BoolArray, rows: BoolArray) -> FloatArray:
    """Which energy each point has, shape (n, energy); divided by the reference spectrum for norms."""
    number = kept.shape[-1]
    factor = np.broadcast_to(rows[..., None], kept.shape).astype(float)
    if "reference" in values:
        factor = factor / np.broadcast_to(values["reference"], kept.shape)
    energies = np.broadcast_to(np.arange(number), kept.shape)[kept]
    return np.asarray((energies[:, None] == np.arange(number)) * factor[kept][:, None])


def _arrays(s: Spectra, sed_type: str) -> dict[str, FloatArray]:
    """Everything in memory under plain names, dims (*lead, energy), and (..., scan) for profiles."""
    points = s.cube
    wanted = dict(zip(("value", "err", "errn", "errp", "ul", "sensitivity"), value_names(sed_type), strict=True))
    wanted = {k: v for k, v in wanted.items() if k != "sensitivity"}
    wanted |= {n: n for n in ("stat", "stat_scan", "norm_scan", *MASKS)}
    if sed_type == "likelihood":
        wanted["reference"] = "ref_dnde"
    if "is_ul" in points:
        wanted["is_ul"] = "is_ul"
    chosen = points[[n for n in wanted.values() if n in points]].compute()
    result = {}
    for key, name in wanted.items():
        if name not in chosen:
            continue
        variable = _in_unit(chosen[name], name)
        core = ("energy", *(d for d in variable.dims if d in VECTORS))
        odd = [str(d) for d in variable.dims if d not in (*s.lead, *core)]
        if odd:
            msg = f"{name!r} of {s.name!r} has dim {odd[0]!r}, which its points with dims {(*s.lead, 'energy')} lack"
            raise ValueError(msg)
        sizes = dict(zip(variable.dims, variable.shape, strict=True))
        full = {d: points.sizes[d] for d in (*s.lead, "energy")} | {d: sizes[d] for d in core if d in VECTORS}
        result[key] = variable.set_dims(full).transpose(*full).values
    if "is_ul" not in result:
        flags = limit_flags(points).compute().variable
        result["is_ul"] = flags.transpose(*s.lead, "energy").values
    if sed_type == "likelihood" and "reference" not in result:
        msg = f"{s.name!r} are norms of a spectrum that they do not bring (ref_dnde); fit their to_sed_type('dnde')"
        raise ValueError(msg)
    return result


def _in_unit(array: xr.DataArray, name: str) -> xr.Variable:
    """Values in the canonical unit."""
    stem = name.removeprefix("ref_").split("_")[0]
    if stem not in ("dnde", "e2dnde", "flux", "eflux"):
        return array.variable
    wanted = flux_attrs(name)["units"]
    found = str(array.attrs.get("units", wanted))
    return array.variable if found == wanted else array.variable * conversion_factor(found, wanted)


def _statistic(s: Spectra, values: Mapping[str, FloatArray], stat: str) -> tuple[BoolArray, Statistic]:
    """Points that take part, and their statistic."""
    shape = (*s.shape, *s.bins)
    kept, weights = np.ones(shape, bool), None
    for name in (n for n in MASKS if n in values):
        mask = values[name]
        if mask.dtype != bool:
            if not np.all(np.isfinite(mask)) or mask.min(initial=0) < 0:
                msg = f"{name!r} of {s.name!r} must be bool, or weights that are finite and not negative"
                raise ValueError(msg)
            weights = mask.astype(float) if weights is None else weights * mask
        kept = kept & (mask != 0)
    if stat == "profile":
        return _profiles(s, values, kept, weights)
    return _gaussian(s, values, kept, weights, stat)


def _gaussian(
    s: Spectra, values: Mapping[str, FloatArray], kept: BoolArray, weights: FloatArray | None, stat: str
) -> tuple[BoolArray, Statistic]:
    nothing = np.full(kept.shape, np.nan)
    value, err, errn, errp, limit = (values.get(n, nothing) for n in ("value", "err", "errn", "errp", "ul"))
    is_limit = values["is_ul"].astype(bool)
    if stat == "chi2":
        low = high = np.where(np.isfinite(err), err, 0.5 * (errn + errp))
        is_limit_used = np.zeros(kept.shape, bool)
    else:
        low, high = (np.where(np.isfinite(e), e, err) for e in (errn, errp))
        is_limit_used = is_limit & np.isfinite(limit)
    is_value = np.isfinite(value) & ~is_limit
    bad = kept & is_value & ~(np.isfinite(low) & np.isfinite(high) & (low > 0) & (high > 0))
    if bad.any():
        msg = (
            f"{int(bad.sum())} points of {s.name!r} have a value but no positive error; mask them (mask_fit), mark "
            "them as limits (is_ul), or give errors"
        )
        raise ValueError(msg)
    wrong = kept & is_limit_used & ~(limit > 0)
    if wrong.any():
        msg = f"{int(wrong.sum())} upper limits of {s.name!r} are not positive; mask them (mask_fit)"
        raise ValueError(msg)
    kept = kept & (is_value | is_limit_used)
    weight = None if weights is None else weights[kept]
    if stat == "chi2":
        return kept, ChiSquare(value[kept], low[kept], np.zeros(int(kept.sum())), weight)
    limits = np.where(is_limit_used, limit, np.nan)[kept]
    return kept, AsymmetricChiSquare(value[kept], low[kept], high[kept], limits, weight)


def _profiles(
    s: Spectra, values: Mapping[str, FloatArray], kept: BoolArray, weights: FloatArray | None
) -> tuple[BoolArray, Statistic]:
    missing = [n for n in ("stat_scan", "norm_scan", "stat", "value") if n not in values]
    if missing:
        msg = f"profile of {s.name!r} needs {missing}, which the points lack; make them with selection='scan'"
        raise ValueError(msg)
    profile = values["stat_scan"] - values["stat"][..., None]
    kept = kept & np.isfinite(profile).all(axis=-1) & np.isfinite(values["value"])
    scan = values["norm_scan"][kept]
    # norms of points in another quantity are fluxes in units of the reference
    scale = _reference_value(s, values)[kept] if kept.any() else np.ones(0)
    weight = None if weights is None else weights[kept]
    if scan.shape[-1] < 3 or np.any(np.diff(scan, axis=-1) <= 0):
        msg = f"the profiles of {s.name!r} need three or more norms in ascending order, and have {scan.shape[-1]}"
        raise ValueError(msg)
    statistic = ProfileStatistic(values["value"][kept], scan * scale[:, None], np.abs(profile[kept]), weight)
    return kept, statistic


def _reference_value(s: Spectra, values: Mapping[str, FloatArray]) -> FloatArray:
    """Value of a norm of 1 in the quantity of the points."""
    sed_type = sed_type_of(s.cube)
    if sed_type == "likelihood":
        return np.ones(values["value"].shape)
    name = f"ref_{sed_type}"
    if name not in s.cube:
        msg = f"profile of {s.name!r} needs {name!r}, the spectrum that norm_scan scales; fit the points as norms"
        raise ValueError(msg)
    dims = {d: s.cube.sizes[d] for d in (*s.lead, "energy")}
    return np.asarray(_in_unit(s.cube[name].compute(), name).set_dims(dims).transpose(*dims).values)
