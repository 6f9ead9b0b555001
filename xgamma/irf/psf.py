"""Point spread function: tables, sums of Gaussians and King profiles; evaluation and containment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.units import to_value
from xgamma.irf.axes import axis_coords, response_array, response_axis, table_axis
from xgamma.irf.read import IRF_CLASSES
from xgamma.kernels.interp import bin_weights, interp_points, interp_rows

__all__ = [
    "containment",
    "containment_radius",
    "default_rad_axis",
    "evaluate_psf",
    "evaluate_psf_bins",
    "from_gauss",
    "normalise_psf",
]

FloatArray = NDArray[np.float64]
PsfTable = xr.DataArray | xr.Dataset

SQUARE_DEG = np.deg2rad(1.0) ** 2

#: Width in deg that stands for a Gaussian of width 0, which files use to mark "not there".
EMPTY_SIGMA = 1.0

#: A function that integrates to less is what rounding leaves where a continued line ends.
EMPTY_TOTAL = 1e-9

#: Bisection halves the interval so often: a double holds no more.
BISECTIONS = 60


def default_rad_axis() -> xr.DataArray:
    """Return the axis on which cubes hold the point spread function: 66 bins up to 0.66 deg.

    Returns
    -------
    xarray.DataArray
        Dims (rad,), deg.

    Examples
    --------
    >>> default_rad_axis().sizes["rad"]
    66
    """
    edges = np.linspace(0.0, 0.66, 67)
    return response_axis("rad", edges[:-1], edges[1:])


def evaluate_psf(psf: PsfTable, energy_true: ArrayLike, offset: ArrayLike, rad: ArrayLike) -> FloatArray:
    """Evaluate the point spread function at all energies, offsets and separations.

    Parameters
    ----------
    psf
        Table ``psf`` (energy_true, offset, rad) in sr-1, or a Dataset of the parameters of three Gaussians
        (PSF_3GAUSS) or a King profile (PSF_KING), dims (energy_true, offset).
    energy_true
        True energies in TeV, shape (n,).
    offset
        Offsets from the pointing in deg, shape (...).
    rad
        Separations from the source in deg, shape (r,).

    Returns
    -------
    numpy.ndarray
        Probability per solid angle in sr-1, shape (n, ..., r). A table is 0 outside its axes; parameters are
        continued beyond theirs. 0 where there is no function (amplitude or width of 0).

    Notes
    -----
    Tables and parameters are interpolated linearly, energies in their logarithm. Gaussians and the King
    profile integrate to 1 over the plane; before the interpolation a Gaussian's width of 0 is taken as 1 deg.

    Examples
    --------
    >>> psf = from_gauss("0.1 deg")
    >>> evaluate_psf(psf, [1.0], 0.5, [0.0]).round(1)
    array([[52247.5]])
    """
    energy = np.atleast_1d(np.asarray(energy_true, dtype=float))
    theta, r = np.asarray(offset, dtype=float), np.atleast_1d(np.asarray(rad, dtype=float))
    if isinstance(psf, xr.DataArray):
        return _evaluate_table(psf, energy, theta, r)
    if "gamma" in psf:
        gamma, sigma = _parameters(psf, ("gamma", "sigma"), energy, theta)
        return _king(r, gamma[..., np.newaxis], sigma[..., np.newaxis])
    result = np.zeros((*_shape(energy, theta), len(r)))
    for sigma, weight in _gaussians(psf, energy, theta):
        density = np.exp(-0.5 * (r / sigma[..., np.newaxis]) ** 2)
        density *= (weight / (2 * np.pi * SQUARE_DEG * sigma**2))[..., np.newaxis]
        result += density
    return result


def evaluate_psf_bins(psf: PsfTable, energy_true: ArrayLike, offset: ArrayLike, rad_edges: ArrayLike) -> FloatArray:
    """Evaluate the point spread function in the middle of bins and normalise it to 1 over them.

    Parameters
    ----------
    psf, energy_true, offset
        As in `evaluate_psf`.
    rad_edges
        Edges in deg, shape (r + 1,).

    Returns
    -------
    numpy.ndarray
        Probability per solid angle in sr-1, shape (n, ..., r); 0 where there is none.

    Examples
    --------
    >>> values = evaluate_psf_bins(from_gauss("0.1 deg"), [1.0], 0.5, np.linspace(0, 0.66, 67))
    >>> values.shape
    (1, 66)
    """
    edges = np.asarray(rad_edges, dtype=float)
    values = evaluate_psf(psf, energy_true, offset, 0.5 * (edges[1:] + edges[:-1]))
    return normalise_psf(values, edges)


def normalise_psf(values: FloatArray, rad_edges: ArrayLike) -> FloatArray:
    """Scale functions of the separation such that they integrate to 1 over the rings between the edges.

    Parameters
    ----------
    values
        Per solid angle, constant within a bin, shape (..., r).
    rad_edges
        Edges in deg, shape (r + 1,).

    Returns
    -------
    numpy.ndarray
        Shape (..., r) in sr-1; functions without content stay 0.

    Examples
    --------
    >>> values = normalise_psf(np.ones((1, 2)), [0.0, 0.1, 0.2])
    >>> (values @ np.diff(np.pi * np.deg2rad([0.0, 0.1, 0.2]) ** 2)).round(9)
    array([1.])
    """
    total = np.einsum("...r,r->...", values, _ring_areas(rad_edges))
    factor = np.divide(1.0, total, out=np.zeros_like(total), where=total > EMPTY_TOTAL)
    result: FloatArray = values * factor[..., np.newaxis]
    return result


def _ring_areas(rad_edges: ArrayLike) -> FloatArray:
    """Solid angle of the rings between edges, in sr, in the plane."""
    areas: FloatArray = np.pi * np.diff(np.deg2rad(np.asarray(rad_edges, dtype=float)) ** 2)
    return areas


def _shape(energy: FloatArray, offset: FloatArray) -> tuple[int, ...]:
    return (len(energy), *offset.shape)


def _evaluate_table(psf: xr.DataArray, energy: FloatArray, offset: FloatArray, rad: FloatArray) -> FloatArray:
    _check_table(psf)
    axes = [table_axis(psf, name) for name in ("energy_true", "rad", "offset")]
    values = psf.transpose("energy_true", "rad", "offset").values
    values = interp_rows(values, axes[0].weights(energy))
    values = interp_rows(values.swapaxes(0, 1), axes[1].weights(rad))
    # now (rad, energy, offset); bring the separation last while the table is small
    rows = np.ascontiguousarray(values.swapaxes(0, 1)).reshape(-1, values.shape[-1])
    result = interp_points(rows, axes[2].weights(offset.ravel()))
    np.maximum(result, 0.0, out=result)
    result = result.reshape(len(energy), len(rad), -1).swapaxes(1, 2)
    return np.ascontiguousarray(result).reshape(*_shape(energy, offset), len(rad))


def _check_table(psf: xr.DataArray) -> None:
    units = psf.attrs.get("units")
    if units != "sr-1":
        msg = f"the point spread function has units {units!r}; convert it to 'sr-1' first (xgamma.coords.units.to_unit)"
        raise ValueError(msg)


def _parameters(psf: xr.Dataset, names: tuple[str, ...], energy: FloatArray, offset: FloatArray) -> list[FloatArray]:
    """Interpolate parameters to shape (n, ...); beyond the axes the line is continued, but not below 0."""
    missing = [name for name in names if name not in psf]
    if missing:
        msg = f"the point spread function has no parameters {missing}; it has {list(psf.data_vars)}"
        raise ValueError(msg)
    axes = [table_axis(psf, name) for name in ("energy_true", "offset")]
    in_energy = axes[0].weights(energy, bounded=False)
    in_offset = axes[1].weights(offset, bounded=False)
    result = []
    for name in names:
        table = psf[name].transpose("energy_true", "offset").values
        if name.startswith("sigma"):
            table = np.where(table == 0, EMPTY_SIGMA, table)
        values = interp_points(interp_rows(table, in_energy), in_offset)
        result.append(values if name.startswith("ampl") else np.maximum(values, 0.0, out=values))
    return result


def _gaussians(psf: xr.Dataset, energy: FloatArray, offset: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Width in deg and content of each Gaussian, shapes (n, ...); the contents sum to 1, or 0."""
    columns = tuple(column.name for column in IRF_CLASSES["PSF_3GAUSS"].columns)
    parameters = dict(zip(columns, _parameters(psf, columns, energy, offset), strict=True))
    amplitudes = (np.ones_like(parameters["scale"]), parameters["ampl_2"], parameters["ampl_3"])
    present = parameters["scale"] > 0
    result = []
    for number, amplitude in enumerate(amplitudes, start=1):
        sigma = parameters[f"sigma_{number}"]
        content = np.where(present & (sigma > 0), amplitude * sigma**2, 0.0)
        if content.any():
            result.append((np.where(sigma > 0, sigma, EMPTY_SIGMA), content))
    total = sum((content for _, content in result), start=np.zeros(present.shape))
    factor = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return [(sigma, content * factor) for sigma, content in result]


def _king(rad: FloatArray, gamma: FloatArray, sigma: FloatArray) -> FloatArray:
    """King profile in sr-1; it has a finite integral for gamma > 1 only."""
    valid = (gamma > 1) & (sigma > 0)
    g, s = np.where(valid, gamma, 2.0), np.where(valid, sigma, 1.0)
    value = (1 - 1 / g) / (2 * np.pi * SQUARE_DEG * s**2) * (1 + rad**2 / (2 * g * s**2)) ** -g
    result: FloatArray = np.where(valid, value, 0.0)
    return result


def containment(psf: PsfTable, energy_true: ArrayLike, offset: ArrayLike, rad: ArrayLike) -> FloatArray:
    """Fraction of the point spread function within a separation.

    Parameters
    ----------
    psf, energy_true, offset
        As in `evaluate_psf`.
    rad
        Separations in deg, shape (r,).

    Returns
    -------
    numpy.ndarray
        Fraction, shape (n, ..., r). A table counts as constant within a bin; the fraction is that of its
        content, which between a filled and an empty energy is less than 1. 0 where there is no function.

    See Also
    --------
    xgamma.reduction.containment.circle_containment : the correction of a spectrum, which takes a table as it is.

    Notes
    -----
    The densities of a table are means over rings: the sum of density times area is exact at the edges of the rings,
    where an integral over the line that `evaluate_psf` draws between their middles is not.

    Examples
    --------
    >>> containment(from_gauss("0.1 deg"), [1.0], 0.5, [0.1]).round(4)
    array([[0.3935]])
    """
    energy = np.atleast_1d(np.asarray(energy_true, dtype=float))
    theta, r = np.asarray(offset, dtype=float), np.atleast_1d(np.asarray(rad, dtype=float))
    shape = _shape(energy, theta)
    return _containment_function(psf, energy, theta)(np.broadcast_to(r, (*shape, len(r))))


def _containment_function(psf: PsfTable, energy: FloatArray, offset: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return a function from separations (n, ..., r), which may differ between positions, to fractions."""
    if isinstance(psf, xr.DataArray):
        edges, cumulative = _cumulative_table(psf, energy, offset)

        def of_table(rad: FloatArray) -> FloatArray:
            # a constant density makes the fraction linear in the square of the separation
            node, weight, _ = bin_weights(edges**2, np.minimum(rad, edges[-1]) ** 2)
            lower = np.take_along_axis(cumulative, node, axis=-1)
            return np.asarray(lower + weight * (np.take_along_axis(cumulative, node + 1, axis=-1) - lower))

        return of_table
    if "gamma" in psf:
        gamma, sigma = (p[..., np.newaxis] for p in _parameters(psf, ("gamma", "sigma"), energy, offset))
        valid = (gamma > 1) & (sigma > 0)
        g, s = np.where(valid, gamma, 2.0), np.where(valid, sigma, 1.0)
        # expm1 and log1p keep the digits of a small fraction
        return lambda rad: np.where(valid, -np.expm1((1 - g) * np.log1p(rad**2 / (2 * g * s**2))), 0.0)
    components = [(sigma[..., np.newaxis], c[..., np.newaxis]) for sigma, c in _gaussians(psf, energy, offset)]

    def of_gaussians(rad: FloatArray) -> FloatArray:
        result = np.zeros(rad.shape)
        for sigma, content in components:
            result -= content * np.expm1(-0.5 * (rad / sigma) ** 2)
        return result

    return of_gaussians


def _cumulative_table(psf: xr.DataArray, energy: FloatArray, offset: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Edges in deg, shape (r + 1,), and the fraction of the content within each, shape (n, ..., r + 1)."""
    axis = table_axis(psf, "rad")
    values = _evaluate_table(psf, energy, offset, axis.center)
    edges = np.maximum(axis.edges, 0.0)
    cumulative = np.zeros((*values.shape[:-1], len(edges)))
    np.cumsum(values * _ring_areas(edges), axis=-1, out=cumulative[..., 1:])
    total = cumulative[..., -1:]
    return edges, np.divide(cumulative, total, out=np.zeros_like(cumulative), where=total > EMPTY_TOTAL)


def containment_radius(psf: PsfTable, fraction: float, energy_true: ArrayLike, offset: ArrayLike) -> FloatArray:
    """Separation within which a fraction of the point spread function lies.

    Parameters
    ----------
    psf, energy_true, offset
        As in `evaluate_psf`.
    fraction
        Between 0 and 1, both excluded.

    Returns
    -------
    numpy.ndarray
        Separation in deg, shape (n, ...); NaN where there is no function.

    Raises
    ------
    ValueError
        If `fraction` is not between 0 and 1.

    Examples
    --------
    >>> containment_radius(from_gauss("0.1 deg"), 0.68, [1.0], 0.5).round(4)
    array([0.151])
    """
    if not 0 < fraction < 1:
        msg = f"fraction={fraction!r} must lie between 0 and 1"
        raise ValueError(msg)
    energy = np.atleast_1d(np.asarray(energy_true, dtype=float))
    theta = np.asarray(offset, dtype=float)
    within = _containment_function(psf, energy, theta)
    largest = float(table_axis(psf, "rad").edges[-1]) if isinstance(psf, xr.DataArray) else 180.0
    upper = np.full((*_shape(energy, theta), 1), largest)
    lower = np.zeros_like(upper)
    reached = within(upper) >= fraction
    for _ in range(BISECTIONS):
        middle = 0.5 * (lower + upper)
        above = within(middle) >= fraction
        upper, lower = np.where(above, middle, upper), np.where(above, lower, middle)
    return np.asarray(np.where(reached, upper, np.nan)[..., 0])


def from_gauss(
    sigma: Any = "0.1 deg",
    energy_true: xr.DataArray | None = None,
    offset_max: Any = "5 deg",
    rad: xr.DataArray | None = None,
) -> PsfTable:
    """Make a Gaussian point spread function, the same at all offsets.

    Parameters
    ----------
    sigma
        Width, one or one per energy.
    energy_true
        Axis, by default 8 bins per decade from 1 GeV to 1000 TeV.
    offset_max
        Largest offset.
    rad
        Axis of separations; with it the result is a table (PSF_TABLE), else three Gaussians (PSF_3GAUSS).

    Returns
    -------
    xarray.DataArray or xarray.Dataset

    Examples
    --------
    >>> from_gauss("0.1 deg", rad=default_rad_axis()).dims
    ('energy_true', 'offset', 'rad')
    """
    if energy_true is None:
        edges = np.geomspace(0.001, 1000, 49)
        energy_true = response_axis("energy_true", edges[:-1], edges[1:])
    width = np.broadcast_to(to_value(sigma, "deg", "sigma"), energy_true.shape)
    if not (width > 0).all():
        msg = f"sigma={sigma!r} must be positive"
        raise ValueError(msg)
    offset = response_axis("offset", [0.0], [to_value(offset_max, "deg", "offset_max")])
    peak = 1 / (2 * np.pi * SQUARE_DEG * width**2)
    if rad is not None:
        data = peak[:, np.newaxis] * np.exp(-0.5 * (rad.values / width[:, np.newaxis]) ** 2)
        attrs = {"hduclass": "PSF_TABLE", "is_pointlike": 0}
        axes = [energy_true, offset, rad]
        return response_array(data[:, np.newaxis], axes, "psf", "sr-1", "Point spread function", attrs)
    values = {"scale": peak, "sigma_1": width}
    variables = {}
    for column in IRF_CLASSES["PSF_3GAUSS"].columns:
        table = values.get(column.name, np.zeros(width.shape))[:, np.newaxis]
        attrs = {"units": column.units, "long_name": column.long_name}
        variables[column.name] = (("energy_true", "offset"), np.array(table), attrs)
    coords = axis_coords([energy_true, offset])
    return xr.Dataset(variables, coords=coords, attrs={"hduclass": "PSF_3GAUSS", "is_pointlike": 0})
