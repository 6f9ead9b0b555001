"""Correlation of light curves that are not sampled alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.estimators.variability import TIME, curve_values, other_coords

__all__ = ["discrete_correlation"]


def discrete_correlation(points: xr.Dataset, other: xr.Dataset | None = None, *, width: Any = None) -> xr.Dataset:
    """Correlate light curves that are not sampled alike, in bins of their time difference.

    Parameters
    ----------
    points
        Light curve with dims (time, ...).
    other
        A second one, with the same other dims; None for the autocorrelation.
    width
        Width of the bins of time difference; by default twice the mean spacing of the first curve.

    Returns
    -------
    xarray.Dataset
        ``dcf`` and ``dcf_err``, dims (lag, ...); ``lag`` in s is positive where the first curve comes later; one bin is
        centred on 0. ``n_pairs`` in each bin; NaN in bins without pairs, errors also in those with one.

    Raises
    ------
    ValueError
        If there is no dim ``time`` or no error, or the width is not a positive time.

    Notes
    -----
    The normalisation takes the mean squared error out of the variances. Curves that vary less than their errors have no
    correlation: NaN.

    References
    ----------
    R. A. Edelson, J. H. Krolik, ApJ 333, 646 (1988).

    Examples
    --------
    >>> from xgamma.coords.bins import bin_axis
    >>> time = bin_axis("time", np.arange(6.0), np.arange(1.0, 7.0), "s", interp="lin")
    >>> flux = ("time", [1.0, 2.0, 3.0, 1.0, 2.0, 3.0])
    >>> curve = xr.Dataset({"flux": flux, "flux_err": ("time", np.full(6, 1e-3))}, time.coords, {"sed_type": "flux"})
    >>> discrete_correlation(curve, width="1 s").dcf.sel(lag=[0.0, 3.0]).values.round(3)
    array([1., 1.])
    """
    other = points if other is None else other
    (flux, err, _), (flux2, err2, _) = curve_values(points), curve_values(other)
    t1, t2 = (axis_of(p, TIME).values for p in (points, other))
    size = (t1[-1] - t1[0]) / (0.5 * len(t1)) if width is None else to_value(width, "s", "width")
    if not (np.ndim(size) == 0 and 0 < size < np.inf):
        msg = f"width={width!r} must be one positive time"
        raise ValueError(msg)
    difference = t1[:, None] - t2
    # the bin in the middle has no lag
    number = np.floor(difference / size + 0.5).astype(int)
    low = int(number.min())
    count = int(number.max()) - low + 1
    second = [xr.Variable(["time2" if d == TIME else d for d in v.dims], v.data) for v in (flux2, err2)]
    dcf, error, pairs = xr.apply_ufunc(
        _correlate,
        flux,
        err,
        *second,
        input_core_dims=[[TIME], [TIME], ["time2"], ["time2"]],
        output_core_dims=[["lag"]] * 3,
        kwargs={"number": number - low, "count": count},
        dask="parallelized",
        output_dtypes=[float, float, float],
        dask_gufunc_kwargs={"output_sizes": {"lag": count}},
    )
    lag = (np.arange(count) + low) * float(size)
    coords = {"lag": ("lag", lag, canonical_attrs("s", "Time difference"))}
    values = {"dcf": dcf, "dcf_err": error, "n_pairs": pairs}
    texts = {"dcf": "Discrete correlation", "dcf_err": "Error of the correlation", "n_pairs": "Number of pairs"}
    result = xr.Dataset({n: v.transpose("lag", ...) for n, v in values.items()}, coords)
    for name, text in texts.items():
        result[name].attrs = canonical_attrs("", text)
    return result.assign_coords(other_coords(points))


def _correlate(
    flux: np.ndarray, err: np.ndarray, flux2: np.ndarray, err2: np.ndarray, *, number: np.ndarray, count: int
) -> tuple[np.ndarray, ...]:
    """Mean product of scaled deviations in bins of lag, shape (..., lag), with error and number of pairs."""
    first, second = _scaled(flux, err), _scaled(flux2, err2)
    product = first[..., :, None] * second[..., None, :]
    shape = product.shape[:-2]
    flat, bins = product.reshape(-1, number.size), number.ravel()
    result = np.full((3, len(flat), count), np.nan)
    for i, row in enumerate(flat):
        good = np.isfinite(row)
        n = np.bincount(bins[good], minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(bins[good], row[good], minlength=count) / n
            squares = np.bincount(bins[good], (row[good] - mean[bins[good]]) ** 2, minlength=count)
            result[:, i] = mean, np.where(n > 1, np.sqrt(squares) / (n - 1), np.nan), n
    return tuple(part.reshape(*shape, count) for part in result)


def _scaled(flux: np.ndarray, err: np.ndarray) -> np.ndarray:
    known = np.isfinite(flux)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = known.sum(axis=-1, keepdims=True)
        mean = np.where(known, flux, 0.0).sum(axis=-1, keepdims=True) / n
        variance = np.where(known, (flux - mean) ** 2, 0.0).sum(axis=-1, keepdims=True) / n
        good = np.isfinite(err)
        noise = np.where(good, err**2, 0.0).sum(axis=-1, keepdims=True) / good.sum(axis=-1, keepdims=True)
        return np.asarray((flux - mean) / np.sqrt(variance - noise))
