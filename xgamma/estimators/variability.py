"""How much light curves vary, and how fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of
from xgamma.coords.units import canonical_attrs
from xgamma.io.flux_layout import SED_TYPES, sed_type_of, value_names

__all__ = [
    "bayesian_blocks",
    "doubling_time",
    "fractional_variance",
    "point_to_point_variance",
    "variability_test",
]

TIME = "time"


def fractional_variance(points: xr.Dataset) -> xr.Dataset:
    """Compute the fractional excess variance of light curves: how much they vary beyond their errors.

    Parameters
    ----------
    points
        Light curve, dims (time, ...), of any SED type, lazy or not; points that are NaN are left out.

    Returns
    -------
    xarray.Dataset
        ``fvar``, ``fvar_err`` and ``significance`` (their ratio), dims of the points without time. The excess variance
        of a curve that varies less than its errors is negative; ``fvar`` is the root of its absolute value then, with a
        minus sign. NaN with fewer than two points.

    Raises
    ------
    ValueError
        If there is no dim ``time`` or no error.

    Notes
    -----
    ``fvar**2 = (S**2 - <err**2>) / <flux>**2`` with the variance ``S**2`` of the sample.

    References
    ----------
    S. Vaughan et al., MNRAS 345, 1271 (2003), equations 10 and B2.

    Examples
    --------
    >>> curve = xr.Dataset({"flux": ("time", [1.0, 3.0, 1.0, 3.0]), "flux_err": ("time", [0.1, 0.1, 0.1, 0.1])})
    >>> round(float(fractional_variance(curve.assign_attrs(sed_type="flux")).fvar), 4)
    0.5752
    """
    return _excess_variance(points, "fvar", _variance, "Fractional excess variance")


def point_to_point_variance(points: xr.Dataset) -> xr.Dataset:
    """Compute the excess variance between neighbouring points of light curves: variation on the shortest times.

    Parameters
    ----------
    points
        Light curve, as for `fractional_variance`; points that are NaN are left out, what lies on both sides of them
        are neighbours.

    Returns
    -------
    xarray.Dataset
        ``fpp``, ``fpp_err`` and ``significance``, as for `fractional_variance`.

    Raises
    ------
    ValueError
        If there is no dim ``time`` or no error.

    Notes
    -----
    The variance of the sample is replaced by half of the mean squared difference of neighbours. White noise gives the
    value of `fractional_variance`; where variation is slow it is smaller.

    References
    ----------
    R. Edelson et al., ApJ 568, 610 (2002), equation 3.

    Examples
    --------
    >>> curve = xr.Dataset({"flux": ("time", [1.0, 2.0, 3.0, 4.0]), "flux_err": ("time", [0.1, 0.1, 0.1, 0.1])})
    >>> round(float(point_to_point_variance(curve.assign_attrs(sed_type="flux")).fpp), 4)
    0.28
    """
    return _excess_variance(points, "fpp", _step_variance, "Point-to-point excess variance")


def variability_test(points: xr.Dataset) -> xr.Dataset:
    """Test light curves against a constant flux.

    Parameters
    ----------
    points
        Light curve, as for `fractional_variance`.

    Returns
    -------
    xarray.Dataset
        ``chi2`` around the weighted mean, ``n_dof``, ``p_value``, and the mean, dims of the points without time.

    Examples
    --------
    >>> curve = xr.Dataset({"flux": ("time", [1.0, 3.0]), "flux_err": ("time", [0.5, 0.5])})
    >>> float(variability_test(curve.assign_attrs(sed_type="flux")).chi2)
    8.0
    """
    flux, err, units = curve_values(points)
    names = ("chi2", "n_dof", "p_value", "mean")
    texts = ("chi2 of a constant", "Degrees of freedom", "Probability of a constant", "Weighted mean")
    return _over_time(_chi2, (flux, err), names, texts, ("", "", "", units)).assign_coords(other_coords(points))


def doubling_time(points: xr.Dataset) -> xr.Dataset:
    """Find the shortest times in which light curves double or halve between neighbouring points.

    Parameters
    ----------
    points
        Light curve, as for `fractional_variance`; fluxes that are not positive are left out.

    Returns
    -------
    xarray.Dataset
        ``doubling``, ``doubling_err``, ``halving``, ``halving_err`` in s, and the times ``doubling_time`` and
        ``halving_time`` (middle of the first of both points, s since J2000.0 TT) at which they are found, dims of the
        points without time. NaN where the flux never rises or never falls.

    Raises
    ------
    ValueError
        If there is no dim ``time`` or no error.

    Notes
    -----
    ``(t2 - t1) / log2(f2 / f1)``, with errors of both fluxes. Noise makes short times: the error tells.

    References
    ----------
    A. M. Brown, MNRAS 431, 824 (2013).

    Examples
    --------
    >>> from xgamma.coords.bins import bin_axis
    >>> time = bin_axis("time", [0, 100, 200], [100, 200, 300], "s", interp="lin")
    >>> curve = xr.Dataset({"flux": ("time", [1.0, 4.0, 2.0]), "flux_err": ("time", [0.1, 0.1, 0.1])}, time.coords)
    >>> result = doubling_time(curve.assign_attrs(sed_type="flux"))
    >>> float(result.doubling), float(result.halving), float(result.halving_time)
    (50.0, 100.0, 150.0)
    """
    flux, err, _ = curve_values(points)
    middle = xr.Variable(TIME, axis_of(points, TIME).values)
    names = ("doubling", "doubling_err", "doubling_time", "halving", "halving_err", "halving_time")
    texts = (
        "Shortest doubling time",
        "Error of the doubling time",
        "Time of the fastest rise",
        "Shortest halving time",
        "Error of the halving time",
        "Time of the fastest decay",
    )
    result = _over_time(_doubling, (flux, err, middle), names, texts, ("s",) * 6)
    return result.assign_coords(other_coords(points))


def bayesian_blocks(points: xr.Dataset, p0: float = 0.05) -> xr.Dataset:
    """Divide a light curve into blocks of constant flux.

    Parameters
    ----------
    points
        Light curve with time as its only dim of more than one; select an energy first. NaN are left out.
    p0
        Probability of one block too many.

    Returns
    -------
    xarray.Dataset
        Flux and error (weighted means) of each block, dims (time,), with its edges ``time_min`` and ``time_max``,
        half way between points that belong to different blocks; ``n_points``.

    Raises
    ------
    ValueError
        If there are several energies or regions, or fewer than two points.

    References
    ----------
    J. D. Scargle et al., ApJ 764, 167 (2013); `astropy.stats.bayesian_blocks`.

    Examples
    --------
    >>> from xgamma.coords.bins import bin_axis
    >>> edges = np.arange(11.0)
    >>> time = bin_axis("time", edges[:-1], edges[1:], "s", interp="lin")
    >>> flux = np.where(time.values < 5, 1.0, 9.0)
    >>> curve = xr.Dataset({"flux": ("time", flux), "flux_err": ("time", np.full(10, 0.5))}, time.coords)
    >>> bayesian_blocks(curve.assign_attrs(sed_type="flux")).flux.values
    array([1., 9.])
    """
    from astropy.stats import bayesian_blocks as blocks

    from xgamma.coords.bins import bin_axis

    flux, err, units = curve_values(points)
    wide = [str(d) for d in flux.dims if d != TIME and flux.sizes[d] > 1]
    if wide:
        msg = f"blocks are those of one light curve; select one of {wide}, for example points.isel({wide[0]}=[0])"
        raise ValueError(msg)
    value, error = (np.asarray(v.values, dtype=float).ravel() for v in (flux, err))
    axis = axis_of(points, TIME)
    good = np.isfinite(value) & (error > 0)
    if good.sum() < 2:
        msg = f"blocks need at least two points with a flux and an error, there are {int(good.sum())}"
        raise ValueError(msg)
    place = axis.values[good]
    edges = np.asarray(blocks(place, value[good], error[good], fitness="measures", p0=p0), dtype=float)
    low, high = axis["time_min"].values[good], axis["time_max"].values[good]
    number = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, len(edges) - 2)
    _, number = np.unique(number, return_inverse=True)
    count = np.bincount(number)
    weight = error[good] ** -2
    total = np.bincount(number, weight)
    mean = np.bincount(number, weight * value[good]) / total
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    last = np.cumsum(count) - 1
    # blocks end half way between the points on both sides
    between = 0.5 * (high[last[:-1]] + low[first[1:]])
    start, stop = np.concatenate([[low[0]], between]), np.concatenate([between, [high[-1]]])
    attrs = axis.attrs
    result = xr.Dataset(coords=bin_axis(TIME, start, stop, "s", interp="lin", long_name=attrs.get("long_name")).coords)
    name = value_names(sed_type_of(points))[0]
    result[name] = TIME, mean, canonical_attrs(units, "Weighted mean of the block")
    result[f"{name}_err"] = TIME, total**-0.5, canonical_attrs(units, "Error of the mean")
    result["n_points"] = TIME, count, canonical_attrs("", "Number of points")
    result.attrs = {"sed_type": points.attrs.get("sed_type", sed_type_of(points)), "p0": float(p0)}
    return result


def curve_values(points: xr.Dataset) -> tuple[xr.Variable, xr.Variable, str]:
    """Flux, its error (of both sides the mean, if there is no other) and the unit; time is one chunk."""
    sed_type = sed_type_of(points)
    value, err, low, high = value_names(sed_type)[:4]
    if value not in points or TIME not in points[value].dims:
        msg = f"a light curve has {value!r} with the dim 'time'; this has {dict(points.sizes)}"
        raise ValueError(msg)
    if err in points:
        error = points[err].variable
    elif low in points and high in points:
        error = 0.5 * (points[low].variable + points[high].variable)
    else:
        msg = f"the variation of a light curve needs {err!r}"
        raise ValueError(msg)
    flux = points[value].variable
    whole = [v.chunk({TIME: -1}) if v.chunks is not None else v for v in (flux, error)]
    return whole[0], whole[1], SED_TYPES[sed_type][0]


def other_coords(points: xr.Dataset) -> xr.Coordinates:
    """Coordinates of energies and regions, without those of time."""
    drop = [n for n, c in points.coords.items() if TIME in c.dims or "gti" in c.dims or "scan" in c.dims]
    names = {n for d in ("energy", "region") if d in points.dims for n in points.coords if str(n).startswith(d)}
    return points.drop_vars([n for n in points.coords if n in drop or n not in names]).coords


def _over_time(function: Any, arrays: Any, names: Any, texts: Any, units: Any) -> xr.Dataset:
    results = xr.apply_ufunc(
        function,
        *arrays,
        input_core_dims=[[TIME]] * len(arrays),
        output_core_dims=[[]] * len(names),
        dask="parallelized",
        output_dtypes=[float] * len(names),
    )
    labels = [canonical_attrs(unit, text) for text, unit in zip(texts, units, strict=True)]
    values = {n: v.copy(deep=False) for n, v in zip(names, results, strict=True)}
    for variable, attrs in zip(values.values(), labels, strict=True):
        variable.attrs = attrs
    return xr.Dataset(values)


def _excess_variance(points: xr.Dataset, name: str, variance: Any, text: str) -> xr.Dataset:
    flux, err, _ = curve_values(points)

    def both(f: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _fraction(f, e, variance(f))

    names, texts = (name, f"{name}_err"), (text, f"Error of the {text[0].lower()}{text[1:]}")
    result = _over_time(both, (flux, err), names, texts, ("", ""))
    result["significance"] = (result[name] / result[f"{name}_err"]).assign_attrs(canonical_attrs("", "Significance"))
    return result.assign_coords(other_coords(points))


def _variance(flux: np.ndarray) -> np.ndarray:
    known = np.isfinite(flux)
    n = known.sum(axis=-1)
    total = np.where(known, flux, 0.0)
    mean = np.divide(total.sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0)
    squares = np.where(known, (flux - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    return np.divide(squares, n - 1, out=np.full(n.shape, np.nan), where=n > 1)


def _step_variance(flux: np.ndarray) -> np.ndarray:
    """Half of the mean squared difference between neighbours."""
    flat = flux.reshape(-1, flux.shape[-1])
    result = np.full(len(flat), np.nan)
    for i, row in enumerate(flat):
        steps = np.diff(row[np.isfinite(row)])
        if steps.size:
            result[i] = 0.5 * float((steps**2).mean())
    return result.reshape(flux.shape[:-1])


def _fraction(flux: np.ndarray, err: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(flux) & np.isfinite(err)
    n = known.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, flux, 0.0).sum(axis=-1) / n
        noise = np.where(known, err**2, 0.0).sum(axis=-1) / n
        excess = variance - noise
        fraction = np.sqrt(np.abs(excess)) / mean
        error = np.hypot(np.sqrt(2 / n) * noise / mean**2, np.sqrt(noise / n) * 2 * fraction / mean) / (2 * fraction)
    return np.where(excess < 0, -fraction, fraction), np.abs(error)


def _chi2(flux: np.ndarray, err: np.ndarray) -> tuple[np.ndarray, ...]:
    from scipy.stats import chi2

    known = np.isfinite(flux) & (err > 0)
    weight = np.where(known, np.where(known, err, 1.0) ** -2.0, 0.0)
    with np.errstate(invalid="ignore"):
        mean = (weight * np.where(known, flux, 0.0)).sum(axis=-1) / weight.sum(axis=-1)
        value = (weight * (np.where(known, flux, 0.0) - mean[..., None]) ** 2).sum(axis=-1)
    n_dof = known.sum(axis=-1) - 1.0
    value = np.where(n_dof > 0, value, np.nan)
    return value, n_dof, chi2.sf(value, n_dof), mean


def _doubling(flux: np.ndarray, err: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, ...]:
    shape = flux.shape[:-1]
    result = np.full((6, int(np.prod(shape))), np.nan)
    rows = zip(flux.reshape(-1, flux.shape[-1]), err.reshape(-1, flux.shape[-1]), strict=True)
    for i, (f, e) in enumerate(rows):
        good = np.isfinite(f) & (f > 0) & np.isfinite(e)
        f, e, t = f[good], e[good], time[good]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(f[1:] / f[:-1])
            scale = np.diff(t) * np.log(2) / ratio
            error = np.abs(scale / ratio) * np.hypot(e[1:] / f[1:], e[:-1] / f[:-1])
        for k, sign in ((0, 1.0), (3, -1.0)):
            times = np.where(sign * ratio > 0, sign * scale, np.inf)
            if times.size and np.isfinite(times).any():
                best = int(times.argmin())
                result[k : k + 3, i] = times[best], error[best], t[best]
    return tuple(row.reshape(shape) for row in result)
