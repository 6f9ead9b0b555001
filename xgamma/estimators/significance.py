"""Distribution of the significances of a map: a Gaussian of mean 0 and width 1 where there is no signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtr

from xgamma.coords.bins import bin_axis
from xgamma.coords.units import canonical_attrs

__all__ = ["significance_distribution"]


def significance_distribution(
    sqrt_ts: xr.DataArray,
    mask: xr.DataArray | None = None,
    *,
    nbin: int = 100,
    limits: tuple[float, float] | None = None,
) -> xr.Dataset:
    """Return the histogram of a significance map and the Gaussian that describes it.

    Parameters
    ----------
    sqrt_ts
        Significances, any dims; NaN is left out. This computes a lazy array.
    mask
        True for the pixels to use, for example those outside all sources; bool, broadcasts against `sqrt_ts`.
    nbin
        Number of bins of the histogram.
    limits
        Range of the histogram and of both estimates; by default all values.

    Returns
    -------
    xarray.Dataset
        ``histogram`` (pixels, dims (significance,)), ``model`` (the fitted Gaussian), and the scalars ``mean``,
        ``std``, ``mean_err``, ``std_err`` (of the values themselves), ``fit_mean``, ``fit_std``, ``fit_mean_err``,
        ``fit_std_err`` (maximum likelihood fit to the histogram), ``n_pixels``. The fit is NaN where values lie in
        fewer than three bins.

    Raises
    ------
    ValueError
        If no finite value is left, the mask is not bool, or the binning is not valid.
    TypeError
        If significances or mask are no DataArrays.

    Notes
    -----
    Errors are those of independent pixels. Neighbours within a correlation radius share their counts, so that the true
    errors are larger, by about the root of the number of pixels in the disc.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> result = significance_distribution(xr.DataArray(rng.normal(size=(100, 100)), dims=("y", "x")))
    >>> bool(abs(result.fit_std - 1) < 4 * result.fit_std_err)
    True
    """
    values = _values(sqrt_ts, mask)
    if not isinstance(nbin, (int, float, np.number)) or nbin < 1 or int(nbin) != nbin:
        msg = f"nbin={nbin!r} must be a whole number of at least 1"
        raise ValueError(msg)
    lo, hi = (float(values.min()), float(values.max())) if limits is None else _limits(limits)
    if limits is None and lo == hi:
        lo, hi = lo - 0.5, hi + 0.5
    values = values[(values >= lo) & (values <= hi)]
    if not len(values):
        msg = f"no significance lies between {lo:g} and {hi:g}"
        raise ValueError(msg)
    histogram, edges = np.histogram(values, bins=int(nbin), range=(lo, hi))
    mean, std = float(values.mean()), float(values.std())
    fit, errors, model = _fit_gaussian(histogram, edges, mean, std)
    axis = bin_axis("significance", edges[:-1], edges[1:], "", interp="lin", long_name="Significance")
    scalars = {
        "mean": mean,
        "std": std,
        "mean_err": std / np.sqrt(len(values)),
        "std_err": std / np.sqrt(2 * len(values)),
        "fit_mean": fit[0],
        "fit_std": fit[1],
        "fit_mean_err": errors[0],
        "fit_std_err": errors[1],
        "n_pixels": len(values),
    }
    variables: dict[str, Any] = {
        "histogram": ("significance", histogram, canonical_attrs("", "Pixels per bin")),
        "model": ("significance", model, canonical_attrs("", "Gaussian fit")),
    }
    variables |= {n: ((), v, canonical_attrs("", n.replace("_", " "))) for n, v in scalars.items()}
    return xr.Dataset(variables, coords=axis.coords)


def _limits(limits: Any) -> tuple[float, float]:
    try:
        lo, hi = (float(value) for value in limits)
    except (TypeError, ValueError):
        lo = hi = np.nan
    if not (np.isfinite([lo, hi]).all() and hi > lo):
        msg = f"limits={limits!r} must be two ascending numbers"
        raise ValueError(msg)
    return lo, hi


def _values(sqrt_ts: xr.DataArray, mask: xr.DataArray | None) -> np.ndarray:
    if not isinstance(sqrt_ts, xr.DataArray):
        msg = f"the significances must be a DataArray, such as maps.sqrt_ts, not a {type(sqrt_ts).__name__}"
        raise TypeError(msg)
    if mask is not None:
        if not isinstance(mask, xr.DataArray):
            msg = f"mask must be a DataArray of bools with dims of the map, not a {type(mask).__name__}"
            raise TypeError(msg)
        if mask.dtype != bool:
            msg = f"mask must be bool (True: use the pixel), not {mask.dtype}"
            raise ValueError(msg)
        extra = [d for d in mask.dims if d not in sqrt_ts.dims]
        if extra:
            msg = f"mask has the dims {extra} that the map has not"
            raise ValueError(msg)
        sqrt_ts = sqrt_ts.where(mask)
    values = np.asarray(sqrt_ts.values, dtype=float).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        msg = "no finite significance is left: check the mask"
        raise ValueError(msg)
    return values


def _fit_gaussian(
    histogram: np.ndarray, edges: np.ndarray, mean: float, std: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit mean and width by Fisher scoring on the multinomial likelihood of the bins.

    Probabilities are normalised to the range of the histogram, so that cutting off tails does not bias the width.
    """
    nothing = np.full(2, np.nan)
    if np.count_nonzero(histogram) < 3 or std == 0:
        return nothing, nothing, np.full(len(histogram), np.nan)
    total = float(histogram.sum())
    parameters = np.array([mean, np.log(std)])
    for _ in range(200):
        probability, gradient = _bin_probabilities(edges, parameters)
        positive = probability > 1e-300
        ratio = gradient[:, positive] / probability[positive]
        information = total * (ratio * probability[positive]) @ ratio.T
        try:
            step = np.linalg.solve(information, ratio @ histogram[positive])
        except np.linalg.LinAlgError:
            return nothing, nothing, np.full(len(histogram), np.nan)
        # a width never changes by more than a factor of about 1.6 in one step
        step *= min(1.0, 0.5 / max(abs(step[1]), abs(step[0]) / np.exp(parameters[1]), 1e-300))
        parameters = parameters + step
        if np.abs(step).max() < 1e-12:
            break
    else:
        return nothing, nothing, np.full(len(histogram), np.nan)
    width = float(np.exp(parameters[1]))
    errors = np.sqrt(np.diag(np.linalg.inv(information))) * np.array([1.0, width])
    return np.array([parameters[0], width]), errors, total * probability


def _bin_probabilities(edges: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each bin within the range, and its gradient by mean and log(width)."""
    width = np.exp(parameters[1])
    z = (edges - parameters[0]) / width
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    # differences in the upper tail lose their digits: mirror it
    mirrored = np.where(z > 0, -ndtr(-z), ndtr(z))
    part = np.diff(mirrored) + ((z[:-1] <= 0) & (z[1:] > 0))
    slope = np.array([-np.diff(density) / width, -np.diff(density * z)])
    norm = part.sum()
    probability = part / norm
    return probability, slope / norm - probability * slope.sum(axis=1, keepdims=True) / norm
