"""Energy dispersion: from migration tables to matrices of reconstructed energy, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from xgamma.coords.bins import bin_edges
from xgamma.coords.units import to_value
from xgamma.irf.axes import TableAxis, response_array, response_axis, table_axis
from xgamma.kernels.interp import Weights, bin_weights, interp_points, interp_rows

__all__ = [
    "bias",
    "bias_energy",
    "diagonal_response",
    "energy_threshold_edisp_bias",
    "evaluate_edisp",
    "evaluate_edisp_kernel",
    "from_gauss",
    "mean_energy",
    "resolution",
]

FloatArray = NDArray[np.float64]

#: Probabilities below this are set to 0: they come from rounding and cost time in every product.
KERNEL_THRESHOLD = 1e-8

#: A density that sums to less is what rounding leaves where a continued line ends, not a distribution.
EMPTY_TOTAL = 1e-9

#: Largest number of values of an intermediate table; more positions are done in blocks.
BLOCK_SIZE = 2_000_000


def evaluate_edisp(edisp: xr.DataArray, energy_true: ArrayLike, migra: ArrayLike, offset: ArrayLike) -> FloatArray:
    """Evaluate the migration density at all energies, migrations and offsets.

    Parameters
    ----------
    edisp
        Density per migration, dims (energy_true, migra, offset).
    energy_true
        True energies in TeV, shape (n,).
    migra
        Ratio of reconstructed to true energy, shape (k,).
    offset
        Offsets in deg, shape (...).

    Returns
    -------
    numpy.ndarray
        Density per migration, shape (n, k, ...), not normalised; 0 off the offset axis, and where energy and
        migration are both off their axes. Beyond one of these two axes the table is continued, not below 0.

    Examples
    --------
    >>> evaluate_edisp(from_gauss(sigma=0.1), [1.0], [1.0], 0.5).round(1)
    array([[4.]])
    """
    energy, ratio = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (energy_true, migra))
    axes = _axes(edisp)
    in_energy, in_migra = axes[0].weights(energy, bounded=False), axes[1].weights(ratio, bounded=False)
    table = interp_rows(_table(edisp), in_energy)
    table = interp_rows(table.swapaxes(0, 1), in_migra).swapaxes(0, 1)
    off_both = ~axes[0].weights(energy).valid[:, np.newaxis] & ~axes[1].weights(ratio).valid
    table[off_both] = 0.0
    rows = np.ascontiguousarray(table).reshape(-1, table.shape[-1])
    result = interp_points(rows, axes[2].weights(offset))
    np.maximum(result, 0.0, out=result)
    return result.reshape(len(energy), len(ratio), *np.shape(offset))


def evaluate_edisp_kernel(
    edisp: xr.DataArray,
    offset: ArrayLike,
    energy_true: ArrayLike,
    energy_edges: ArrayLike,
    threshold: float = KERNEL_THRESHOLD,
) -> FloatArray:
    """Probability per bin of reconstructed energy, at all offsets.

    Parameters
    ----------
    edisp
        Density per migration, dims (energy_true, migra, offset).
    offset
        Offsets in deg, shape (...).
    energy_true
        True energies in TeV, shape (n,): the centres of the bins of the cube.
    energy_edges
        Edges of the bins of reconstructed energy in TeV, shape (k + 1,).
    threshold
        Probabilities below it are set to 0.

    Returns
    -------
    numpy.ndarray
        Probability, shape (n, k, ...). The migration density is normalised to 1 before, so that rows sum to 1
        where the reconstructed energies cover it. 0 off the offset axis, or where there is no density.

    Notes
    -----
    The density is summed over the bins of migration; the sum is linear in between, is taken at
    ``energy_edges / energy_true``, and its differences are the probabilities.

    Examples
    --------
    >>> kernel = evaluate_edisp_kernel(from_gauss(sigma=0.1), 0.5, [1.0], [0.1, 1.0, 10.0])
    >>> kernel.round(3)
    array([[0.5, 0.5]])
    """
    energy, edges = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (energy_true, energy_edges))
    theta = np.asarray(offset, dtype=float)
    axes = _axes(edisp)
    in_energy, in_offset = axes[0].weights(energy, bounded=False), axes[2].weights(theta.ravel())
    table = interp_rows(_table(edisp), in_energy)
    result = np.zeros((len(energy), len(edges) - 1, theta.size))
    # between nodes without negative values nothing has to be cut, so that sums of the table can be interpolated
    # instead of the table
    rows, points = (_inside(w, len(a.center)) for w, a in ((in_energy, axes[0]), (in_offset, axes[2])))
    rows &= table.min(axis=(1, 2)) >= 0
    ratios = edges / energy[:, np.newaxis]
    _fill(result, rows, points, table, in_offset, axes[1], ratios, exact=False)
    _fill(result, rows, in_offset.valid & ~points, table, in_offset, axes[1], ratios, exact=True)
    _fill(result, ~rows, in_offset.valid, table, in_offset, axes[1], ratios, exact=True)
    result[result < threshold] = 0.0
    return result.reshape(*result.shape[:2], *theta.shape)


def _inside(weights: Weights, number: int) -> NDArray[np.bool_]:
    """True for points between the outermost nodes."""
    if number == 1:
        return weights.valid
    return weights.valid & (weights.weight >= 0) & (weights.weight <= 1)


def _fill(
    result: FloatArray,
    rows: NDArray[np.bool_],
    points: NDArray[np.bool_],
    table: FloatArray,
    in_offset: Weights,
    migra: TableAxis,
    ratios: FloatArray,
    *,
    exact: bool,
) -> None:
    """Fill the selected rows and points of the kernel, in blocks of points."""
    row, point = np.flatnonzero(rows), np.flatnonzero(points)
    if not len(row) or not len(point):
        return
    width = np.diff(migra.edges)
    block = max(1, BLOCK_SIZE // (len(row) * (table.shape[1] if exact else ratios.shape[1])))
    select = table[row] if exact else _cumulative(table[row], width, migra.edges, ratios[row])
    for start in range(0, len(point), block):
        some = point[start : start + block]
        weights = in_offset.take(some)
        values = interp_points(select.reshape(-1, select.shape[-1]), weights).reshape(*select.shape[:2], -1)
        if exact:
            values = _cumulative(np.maximum(values, 0.0, out=values), width, migra.edges, ratios[row])
        # the last entry is the whole
        total = values[:, -1:]
        part = np.maximum(np.diff(values[:, :-1], axis=1), 0.0)
        result[np.ix_(row, np.arange(result.shape[1]), some)] = np.divide(
            part, total, out=np.zeros_like(part), where=total > EMPTY_TOTAL
        )


def _cumulative(density: FloatArray, width: FloatArray, edges: FloatArray, ratios: FloatArray) -> FloatArray:
    """Sum of a density (n, k, m) up to the ratios (n, r) and in total, shape (n, r + 1, m)."""
    cumulative = np.zeros((density.shape[0], len(edges), density.shape[2]))
    np.cumsum(density * width[:, np.newaxis], axis=1, out=cumulative[:, 1:])
    index, weight, _ = bin_weights(edges, np.clip(ratios, edges[0], edges[-1]))
    lower = np.take_along_axis(cumulative, index[..., np.newaxis], axis=1)
    upper = np.take_along_axis(cumulative, index[..., np.newaxis] + 1, axis=1)
    at = lower + weight[..., np.newaxis] * (upper - lower)
    return np.concatenate([at, cumulative[:, -1:]], axis=1)


def _axes(edisp: xr.DataArray) -> tuple[TableAxis, TableAxis, TableAxis]:
    return table_axis(edisp, "energy_true"), table_axis(edisp, "migra"), table_axis(edisp, "offset")


def _table(edisp: xr.DataArray) -> FloatArray:
    values: FloatArray = edisp.transpose("energy_true", "migra", "offset").values
    return values


def mean_energy(kernel: ArrayLike, energy: ArrayLike) -> FloatArray:
    """Mean reconstructed energy for each true energy.

    Parameters
    ----------
    kernel
        Probability per bin of reconstructed energy, shape (n, k, ...).
    energy
        Centres of these bins in TeV, shape (k,).

    Returns
    -------
    numpy.ndarray
        Energy in TeV, shape (n, ...); NaN where the row is empty.

    Examples
    --------
    >>> mean_energy([[0.5, 0.5]], [1.0, 3.0])
    array([2.])
    """
    matrix, center = np.asarray(kernel, dtype=float), np.asarray(energy, dtype=float)
    total = matrix.sum(axis=1)
    first = np.tensordot(np.moveaxis(matrix, 1, -1), center, axes=1)
    return np.asarray(np.divide(first, total, out=np.full(total.shape, np.nan), where=total > 0))


def bias(kernel: ArrayLike, energy_true: ArrayLike, energy: ArrayLike) -> FloatArray:
    """Relative difference between the mean reconstructed energy and the true energy.

    Parameters
    ----------
    kernel
        Probability per bin of reconstructed energy, shape (n, k, ...).
    energy_true, energy
        Centres of the bins in TeV, shapes (n,) and (k,).

    Returns
    -------
    numpy.ndarray
        ``(<E> - E_true) / E_true``, shape (n, ...); NaN where the row is empty.

    Examples
    --------
    >>> bias([[0.5, 0.5]], [1.0], [1.0, 2.0])
    array([0.5])
    """
    mean = mean_energy(kernel, energy)
    true = np.asarray(energy_true, dtype=float).reshape(-1, *(1,) * (mean.ndim - 1))
    return np.asarray((mean - true) / true)


def resolution(kernel: ArrayLike, energy_true: ArrayLike, energy: ArrayLike) -> FloatArray:
    """Standard deviation of the reconstructed energy over the true energy.

    Parameters
    ----------
    kernel, energy_true, energy
        As in `bias`.

    Returns
    -------
    numpy.ndarray
        Shape (n, ...); NaN where the row is empty.

    Examples
    --------
    >>> resolution([[0.5, 0.5]], [2.0], [1.0, 3.0])
    array([0.5])
    """
    matrix, center = np.asarray(kernel, dtype=float), np.asarray(energy, dtype=float)
    mean = mean_energy(matrix, center)
    true = np.asarray(energy_true, dtype=float).reshape(-1, *(1,) * (mean.ndim - 1))
    distance = center.reshape(1, -1, *(1,) * (mean.ndim - 1)) - mean[:, np.newaxis]
    total = matrix.sum(axis=1)
    second = (distance**2 * matrix).sum(axis=1)
    variance = np.divide(second, total, out=np.full(total.shape, np.nan), where=total > 0)
    return np.asarray(np.sqrt(variance) / true)


def bias_energy(kernel: ArrayLike, energy_true: ArrayLike, energy: ArrayLike, bias_value: float) -> float:
    """Reconstructed energy above which the bias stays below a value.

    Parameters
    ----------
    kernel
        Probability per bin of reconstructed energy at one position, shape (n, k).
    energy_true, energy
        Centres of the bins in TeV, shapes (n,) and (k,).
    bias_value
        Bias, above 0: 0.1 for 10 per cent.

    Returns
    -------
    float
        Energy in TeV.

    Raises
    ------
    ValueError
        If the value is not positive or no row of the kernel has content.

    Notes
    -----
    The curve of the bias, which rises steeply towards the threshold, is followed from its maximum upwards in
    energy, a power law between centres, to the first energy where it falls below the value. That true energy
    times ``1 + bias_value`` is the result. If the curve lies below the value already, or never falls below
    it, the energy of the maximum is taken.

    Examples
    --------
    >>> true, reco = np.array([1.0, 2.0, 4.0]), np.array([1.4, 2.2, 4.1])
    >>> round(bias_energy(np.eye(3), true, reco, 0.2), 3)
    1.697
    """
    if not bias_value > 0:
        msg = f"bias_value={bias_value!r} must be positive"
        raise ValueError(msg)
    true = np.asarray(energy_true, dtype=float)
    curve = bias(kernel, true, energy)
    if np.isnan(curve).all():
        msg = "the energy dispersion is empty: no true energy leads to a reconstructed energy on the axis"
        raise ValueError(msg)
    first = int(np.nanargmax(curve))
    floor = float(np.finfo(np.float32).tiny)
    # an empty row has lost all of its energy
    log_curve = np.log(np.maximum(np.nan_to_num(curve[first:], nan=-1.0), floor)) - np.log(bias_value)
    log_true = np.log(true[first:])
    below = np.flatnonzero((log_curve[:-1] >= 0) & (log_curve[1:] < 0))
    if not len(below):
        return float(true[first] * (1 + bias_value))
    k = below[0]
    fraction = log_curve[k] / (log_curve[k] - log_curve[k + 1])
    return float(np.exp(log_true[k] + fraction * (log_true[k + 1] - log_true[k])) * (1 + bias_value))


def energy_threshold_edisp_bias(
    edisp: xr.DataArray,
    percent: float = 10.0,
    offset: Any = "0.5 deg",
    energy_true: xr.DataArray | None = None,
    energy: xr.DataArray | None = None,
) -> float:
    """Energy above which the bias of the energy reconstruction stays below some per cent (`bias_energy`).

    Parameters
    ----------
    edisp
        Density per migration, dims (energy_true, migra, offset).
    percent
        Bias in per cent.
    offset
        Offset at which the response is taken.
    energy_true, energy
        Binned axes of the matrix, by default those of `edisp` itself.

    Returns
    -------
    float
        Reconstructed energy in TeV.

    Examples
    --------
    >>> shift = np.where(np.arange(48) < 20, 0.3, 0.01)
    >>> round(energy_threshold_edisp_bias(from_gauss(0.05, shift), percent=10), 3)
    0.315
    """
    true = table_axis(edisp if energy_true is None else energy_true, "energy_true")
    reco = true if energy is None else table_axis(energy, "energy")
    kernel = evaluate_edisp_kernel(edisp, to_value(offset, "deg", "offset"), true.center, reco.edges)
    return bias_energy(kernel, true.center, reco.center, percent / 100)


def from_gauss(
    sigma: Any = 0.2,
    bias_value: Any = 0.0,
    energy_true: xr.DataArray | None = None,
    migra: xr.DataArray | None = None,
    offset_max: Any = "5 deg",
    threshold: float = 1e-6,
) -> xr.DataArray:
    """Make a Gaussian migration table, the same at all offsets.

    Parameters
    ----------
    sigma, bias_value
        Width and shift of the migration, numbers or one per true energy.
    energy_true
        Axis, by default 8 bins per decade from 1 GeV to 1000 TeV.
    migra
        Axis, by default 200 bins from 1/3 to 3.
    offset_max
        Largest offset.
    threshold
        Densities below it are set to 0.

    Returns
    -------
    xarray.DataArray
        Mean density per migration in each bin, dims (energy_true, migra, offset).

    Raises
    ------
    ValueError
        If the width is not positive.

    Examples
    --------
    >>> from_gauss(sigma=0.1).dims
    ('energy_true', 'migra', 'offset')
    """
    if energy_true is None:
        edges = np.geomspace(0.001, 1000, 49)
        energy_true = response_axis("energy_true", edges[:-1], edges[1:])
    if migra is None:
        edges = np.linspace(1 / 3, 3, 201)
        migra = response_axis("migra", edges[:-1], edges[1:])
    width, shift = (np.broadcast_to(np.asarray(v, dtype=float), energy_true.shape) for v in (sigma, bias_value))
    if not (width > 0).all():
        msg = f"sigma={sigma!r} must be positive"
        raise ValueError(msg)
    edges = bin_edges(migra, "migra")
    cumulative = ndtr((edges - 1 - shift[:, np.newaxis]) / width[:, np.newaxis])
    density = np.diff(cumulative, axis=1) / np.diff(edges)
    density[density < threshold] = 0.0
    offset = response_axis("offset", [0.0], [to_value(offset_max, "deg", "offset_max")])
    attrs = {"hduclass": "EDISP_2D", "is_pointlike": 0}
    long_name = "Energy dispersion per migration"
    return response_array(density[..., np.newaxis], [energy_true, migra, offset], "edisp", "", long_name, attrs)


def diagonal_response(energy_true: xr.DataArray, energy: xr.DataArray) -> xr.DataArray:
    """Make the matrix of a perfect energy reconstruction.

    Parameters
    ----------
    energy_true, energy
        Binned axes of these names.

    Returns
    -------
    xarray.DataArray
        Probability, dims (energy_true, energy): the part of each true bin that lies in the reconstructed one.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis
    >>> true = energy_axis(edges=["1 TeV", "3 TeV"], name="energy_true")
    >>> diagonal_response(true, energy_axis(edges=["1 TeV", "2 TeV", "4 TeV"])).values
    array([[0.5, 0.5]])
    """
    true, reco = bin_edges(energy_true, "energy_true"), bin_edges(energy, "energy")
    upper = np.minimum(true[1:, np.newaxis], reco[1:])
    lower = np.maximum(true[:-1, np.newaxis], reco[:-1])
    fraction = np.clip(upper - lower, 0.0, None) / np.diff(true)[:, np.newaxis]
    return response_array(fraction, [energy_true, energy], "edisp", "", "Energy dispersion")
