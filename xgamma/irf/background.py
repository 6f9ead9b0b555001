"""Background rate over the field of view: preparation, evaluation, integration over energy bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xgamma.coords.units import to_value
from xgamma.irf.axes import TableAxis, response_array, response_axis, table_axis
from xgamma.irf.background_rate import RATE_FLOOR, check_background_units, prepare_integral, prepare_rate
from xgamma.kernels.sphere import field_of_view, to_vectors

__all__ = [
    "constant_background",
    "evaluate_background",
    "fov_coordinates",
    "integrate_background",
    "pad_offset",
    "powerlaw_background",
    "prepare_background",
]


def prepare_background(bkg: xr.DataArray, *, interp_missing: bool = True, pad: bool = True) -> xr.DataArray:
    """Fill gaps of a background table, once per run, before it is evaluated.

    Parameters
    ----------
    bkg
        Background, dims (energy, offset) or (energy, fov_lon, fov_lat).
    interp_missing
        Fill bins without rate between two bins with rate in energy (`interp_missing_energy`).
    pad
        Add a bin on either side of an offset axis (`pad_offset`); nothing happens to a table over fov_lon, fov_lat.

    Returns
    -------
    xarray.DataArray
        Same dims; lazy if `bkg` is.

    Examples
    --------
    >>> prepare_background(constant_background()).sizes["offset"]
    3
    """
    check_background_units(bkg)
    if interp_missing:
        bkg = interp_missing_energy(bkg)
    if pad and "offset" in bkg.dims:
        bkg = pad_offset(bkg)
    return bkg


def interp_missing_energy(bkg: xr.DataArray) -> xr.DataArray:
    """Fill bins without rate that have bins with rate below and above them in energy.

    The logarithm of the rate is interpolated linearly in the number of the bin. Bins below the first and
    above the last rate stay empty.

    Examples
    --------
    >>> bkg = constant_background()
    >>> bkg[1] = 0
    >>> float(interp_missing_energy(bkg)[1, 0] / bkg[0, 0])
    1.0
    """
    if isinstance(bkg.data, np.ndarray):
        # what a task holds takes no detour
        axis = bkg.get_axis_num("energy")
        return bkg.copy(deep=False, data=np.moveaxis(_fill_gaps(np.moveaxis(bkg.data, axis, -1)), -1, axis))
    return xr.apply_ufunc(
        _fill_gaps,
        bkg,
        input_core_dims=[["energy"]],
        output_core_dims=[["energy"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[float],
        keep_attrs=True,
    ).transpose(*bkg.dims)


def _fill_gaps(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill the inner zeros along the last axis."""
    number = rate.shape[-1]
    filled = np.isfinite(rate) & (rate != 0)
    position = np.arange(number)
    # for each bin the nearest filled one below and above; -1 and n where there is none
    below = np.maximum.accumulate(np.where(filled, position, -1), axis=-1)
    above = np.minimum.accumulate(np.where(filled, position, number)[..., ::-1], axis=-1)[..., ::-1]
    gap = ~filled & (below >= 0) & (above < number)
    result = np.array(rate, dtype=float)
    if not gap.any():
        return result
    lower, upper, here = below[gap], above[gap], np.broadcast_to(position, rate.shape)[gap]
    flat = result.reshape(-1, number)
    row = np.broadcast_to(np.arange(flat.shape[0]).reshape(*rate.shape[:-1], 1), rate.shape)[gap]
    log_lower, log_upper = (np.log(np.maximum(flat[row, end], RATE_FLOOR)) for end in (lower, upper))
    result[gap] = np.exp(log_lower + (log_upper - log_lower) * (here - lower) / (upper - lower))
    return result


def pad_offset(irf: xr.DataArray) -> xr.DataArray:
    """Add a bin with the outermost values, as wide as the outermost bin, on either side of the offset axis.

    Parameters
    ----------
    irf
        Response with dim ``offset``.

    Returns
    -------
    xarray.DataArray
        Two bins longer along ``offset``.

    Raises
    ------
    ValueError
        If the axis is one node without width.

    Examples
    --------
    >>> pad_offset(constant_background(offset_max="3 deg"))["offset_max"].values
    array([0., 3., 6.])
    """
    axis = table_axis(irf, "offset")
    nodes = np.array_equal(axis.lo, axis.hi)
    if nodes and len(axis.lo) == 1:
        msg = "an offset axis of one node without width cannot be padded; give THETA_LO and THETA_HI different values"
        raise ValueError(msg)
    first = axis.lo[1] - axis.lo[0] if nodes else axis.hi[0] - axis.lo[0]
    last = axis.hi[-1] - axis.hi[-2] if nodes else axis.hi[-1] - axis.lo[-1]
    lo = np.concatenate([[axis.lo[0] - first], axis.lo, [axis.lo[-1] + last if nodes else axis.hi[-1]]])
    hi = np.concatenate([[axis.hi[0] - first if nodes else axis.lo[0]], axis.hi, [axis.hi[-1] + last]])
    offset = response_axis("offset", lo, hi)
    outer = irf.isel(offset=[0, *range(len(axis.lo)), len(axis.lo) - 1])
    return outer.drop_vars(["offset", "offset_min", "offset_max"]).assign_coords(offset.coords)


def evaluate_background(
    bkg: xr.DataArray, energy: ArrayLike, fov_lon: ArrayLike, fov_lat: ArrayLike, offset: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Evaluate the background rate at all energies times all positions.

    Parameters
    ----------
    bkg
        Background in s-1 TeV-1 sr-1, dims (energy, offset) or (energy, fov_lon, fov_lat).
    energy
        Reconstructed energies in TeV, shape (n,).
    fov_lon, fov_lat
        Position in the field of view in deg, shape (...); see `integrate_background`.
    offset
        Separation from the pointing in deg, shape (...); by default it is computed from the position.

    Returns
    -------
    numpy.ndarray
        Rate in s-1 TeV-1 sr-1, shape (n, ...); 0 outside the axes.

    Notes
    -----
    The logarithm of the rate is interpolated, linearly in the logarithm of the energy and in angles.

    Examples
    --------
    >>> evaluate_background(constant_background("2 s-1 TeV-1 sr-1"), [1.0], 0.5, 0.5).round(9)
    array([2.])
    """
    log_rate = prepare_rate(bkg, np.atleast_1d(np.asarray(energy, dtype=float))).log_rate(fov_lon, fov_lat, offset)
    return np.exp(log_rate, out=log_rate)


def integrate_background(
    bkg: xr.DataArray,
    energy_edges: ArrayLike,
    fov_lon: ArrayLike,
    fov_lat: ArrayLike,
    offset: ArrayLike | None = None,
    oversampling: int = 1,
) -> NDArray[np.float64]:
    """Integrate the background rate over bins of reconstructed energy, at all positions.

    Parameters
    ----------
    bkg
        Background in s-1 TeV-1 sr-1, dims (energy, offset) or (energy, fov_lon, fov_lat), as
        `prepare_background` gives it.
    energy_edges
        Edges in TeV, shape (n + 1,).
    fov_lon, fov_lat
        Field-of-view coordinates in deg, shape (...), as `fov_coordinates` makes them: from right ascension and
        declination, or from azimuth and altitude where ``attrs["fov_alignment"]`` is ``"ALTAZ"``. For
        ``"REVERSE_LON_RADEC"`` this function turns the sign of the longitude.
    offset
        Separation from the pointing in deg, shape (...); by default it is computed from the position.
    oversampling
        Number of steps per bin.

    Returns
    -------
    numpy.ndarray
        Rate in s-1 sr-1 per bin, shape (n, ...); 0 in a bin of which an edge lies outside the table's energies.

    Raises
    ------
    ValueError
        If the units are not s-1 TeV-1 sr-1, or `oversampling` is not a positive whole number.

    Examples
    --------
    >>> integrate_background(constant_background("2 s-1 TeV-1 sr-1"), [1.0, 2.0, 4.0], 0.5, 0.5).round(9)
    array([2., 4.])
    """
    return prepare_integral(bkg, energy_edges, oversampling).at(fov_lon, fov_lat, offset)


def fov_coordinates(
    lon: ArrayLike, lat: ArrayLike, lon_pointing: float, lat_pointing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Field-of-view coordinates of positions, given the pointing.

    Parameters
    ----------
    lon, lat
        Right ascension and declination, or azimuth and altitude, in deg; any shape.
    lon_pointing, lat_pointing
        Pointing in the same frame, in deg.

    Returns
    -------
    fov_lon, fov_lat : numpy.ndarray
        Coordinates in deg. The longitude *falls* with right ascension (azimuth): it is minus that of
        astropy's ``SkyOffsetFrame(origin=pointing)``; the latitude is the same.

    References
    ----------
    Data formats for gamma-ray astronomy 0.3, "Field of view coordinates".

    Examples
    --------
    >>> fov_lon, fov_lat = fov_coordinates(84.0, 22.0, 83.0, 22.0)
    >>> round(float(fov_lon), 3), round(float(fov_lat), 3)
    (-0.927, 0.003)
    """
    vectors = to_vectors(*np.broadcast_arrays(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)))
    fov_lon, fov_lat = field_of_view(vectors, lon_pointing, lat_pointing)
    return -fov_lon, fov_lat


def constant_background(
    rate: Any = "1 s-1 TeV-1 sr-1", energy: xr.DataArray | None = None, offset_max: Any = "5 deg", **kwargs: Any
) -> xr.DataArray:
    """Make a background that is the same at all energies and positions; see `powerlaw_background`.

    Parameters
    ----------
    rate, energy, offset_max
        As in `powerlaw_background`.
    **kwargs
        Its other arguments.

    Returns
    -------
    xarray.DataArray
        Dims (energy, offset), s-1 TeV-1 sr-1.

    Examples
    --------
    >>> constant_background().dims
    ('energy', 'offset')
    """
    return powerlaw_background(rate, index=0.0, energy=energy, offset_max=offset_max, **kwargs)


def powerlaw_background(
    rate: Any = "1 s-1 TeV-1 sr-1",
    index: float = 2.7,
    energy: xr.DataArray | None = None,
    offset_max: Any = "5 deg",
    sigma: Any = None,
    bins: int | None = None,
    *,
    three_d: bool = False,
) -> xr.DataArray:
    """Make a background with a power-law spectrum, flat or falling like a Gaussian over the field of view.

    Parameters
    ----------
    rate
        Rate at 1 TeV in the centre.
    index
        Spectral index; the rate goes as ``E**-index``.
    energy
        Axis of reconstructed energy, by default 8 bins per decade from 10 GeV to 100 TeV.
    offset_max
        Largest offset, or half the width of the field of view.
    sigma
        Width of the Gaussian; flat by default.
    bins
        Number of bins in offset, or per side; by default 1 where the background is flat, else 25 or 50.
    three_d
        Make a table over (energy, fov_lon, fov_lat) instead of (energy, offset).

    Returns
    -------
    xarray.DataArray
        Rate in s-1 TeV-1 sr-1 at the centres of the bins.

    Examples
    --------
    >>> bkg = powerlaw_background("3 s-1 TeV-1 sr-1", index=2, sigma="2 deg", three_d=True)
    >>> evaluate_background(bkg, [2.0], 0.0, 0.0).round(2)
    array([0.75])
    """
    if energy is None:
        edges = np.geomspace(0.01, 100, 33)
        energy = response_axis("energy", edges[:-1], edges[1:])
    size = to_value(offset_max, "deg", "offset_max")
    number = bins or (1 if sigma is None else 25) * (2 if three_d else 1)
    edges = np.linspace(-size if three_d else 0.0, size, number + 1)
    names = ["fov_lon", "fov_lat"] if three_d else ["offset"]
    axes = [energy, *(response_axis(n, edges[:-1], edges[1:]) for n in names)]
    shape = _radial(axes[1:], sigma)
    spectrum = to_value(rate, "s-1 TeV-1 sr-1", "rate") * energy.values ** -float(index)
    attrs = {"hduclass": "BKG_3D" if three_d else "BKG_2D", "is_pointlike": 0, "fov_alignment": "RADEC"}
    data = spectrum.reshape(-1, *(1,) * shape.ndim) * shape
    return response_array(data, axes, "background", "s-1 TeV-1 sr-1", "Background rate", attrs)


def _radial(axes: list[xr.DataArray], sigma: Any) -> NDArray[np.float64]:
    """Gaussian in the distance from the centre, on one axis (offset) or two."""
    table: list[TableAxis] = [table_axis(a, str(a.name)) for a in axes]
    distance2 = sum(np.ix_(*(t.center**2 for t in table)), start=np.zeros((1,) * len(table)))
    if sigma is None:
        return np.ones_like(distance2)
    width = to_value(sigma, "deg", "sigma")
    if not width > 0:
        msg = f"sigma={sigma!r} must be positive"
        raise ValueError(msg)
    return np.asarray(np.exp(-0.5 * distance2 / width**2))
