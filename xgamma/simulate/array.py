"""Responses of an imaginary array of Cherenkov telescopes: smooth functions, tabulated on compact axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from xgamma.irf.axes import axis_coords, response_array, response_axis

__all__ = ["LOCATION", "effective_area", "psf_radius", "resolution", "responses"]

FloatArray = NDArray[np.float64]

#: Longitude and latitude in deg and height in m of a place without telescopes: Cerro Paranal's southern neighbourhood.
LOCATION = (-70.3, -24.7, 2150.0)
#: Range of reconstructed energies in TeV, which is also the safe range.
ENERGY_RANGE = (0.3, 100.0)
ATTRS = {"telescop": "XGAMMA", "instrume": "SIMULATED", "is_pointlike": 0}
#: Radius in deg at which the cameras end, and how softly.
CAMERA, EDGE = 2.4, 0.15


def _camera(offset: FloatArray) -> FloatArray:
    """Fraction of showers that the cameras still see."""
    return np.asarray(1.0 / (1.0 + np.exp((offset - CAMERA) / EDGE)))


def effective_area(energy: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the effective area in cm2: a threshold, a plateau, and a roll-off over the field of view.

    Examples
    --------
    >>> effective_area(np.array([1.0]), np.array([0.0])).round(-7)
    array([1.35e+09])
    """
    threshold = np.exp(-((0.35 / energy) ** 1.4))
    plateau = 1.7e9 * energy**0.12
    width = 1.7 + 0.25 * np.log10(np.maximum(energy, 0.1))
    return np.asarray(plateau * threshold * np.exp(-0.5 * (offset / width) ** 2) * _camera(offset))


def resolution(energy: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the relative energy resolution: 15 % at the threshold, 6 % at the highest energies.

    Examples
    --------
    >>> resolution(np.array([0.3, 1.0, 100.0]), np.array([0.0])).round(3)
    array([0.148, 0.1  , 0.058])
    """
    return np.asarray(np.minimum(0.055 + 0.045 * energy**-0.6, 0.15) * (1.0 + 0.05 * offset))


def bias(energy: FloatArray) -> FloatArray:
    """Return the relative energy bias: showers below the threshold that trigger look brighter."""
    return np.asarray(0.25 * np.exp(-energy / 0.12))


def psf_radius(energy: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the width in deg of the core of the point spread function.

    Examples
    --------
    >>> psf_radius(np.array([0.3, 10.0]), np.array([0.0])).round(3)
    array([0.053, 0.029])
    """
    return np.asarray((0.024 + 0.016 * energy**-0.5) * (1.0 + 0.04 * offset**2))


def _axes(lo: float, hi: float, number: int, name: str) -> xr.DataArray:
    edges = np.geomspace(lo, hi, number + 1)
    return response_axis(name, edges[:-1], edges[1:])


def _linear(lo: float, hi: float, number: int, name: str) -> xr.DataArray:
    edges = np.linspace(lo, hi, number + 1)
    return response_axis(name, edges[:-1], edges[1:])


def responses() -> dict[str, Any]:
    """Return the responses of the imaginary array.

    Returns
    -------
    dict
        ``aeff`` (AEFF_2D, with the safe range ``lo_thres`` to ``hi_thres``), ``edisp`` (EDISP_2D), ``psf``
        (PSF_3GAUSS) and ``bkg`` (BKG_3D).

    Notes
    -----
    An array of four mid-sized telescopes at an altitude of 2 km could look like this; it is nobody's
    instrument. Effective areas reach 2e9 cm2 above 3 TeV, 68 % of photons are reconstructed
    within 0.1 deg at the threshold and 0.055 deg above 10 TeV, the energy resolution is 15 % to 6 %, and the
    background falls like a Gaussian over the field of view and is 8 % higher on its upper side.

    Examples
    --------
    >>> sorted(responses())
    ['aeff', 'bkg', 'edisp', 'psf']
    """
    energy = _axes(0.1, 160.0, 32, "energy_true")
    offset = np.arange(0.0, 3.1, 0.5)
    nodes = response_axis("offset", offset, offset)
    return {
        "aeff": _aeff(energy, nodes),
        "edisp": _edisp(energy, nodes),
        "psf": _psf(energy, nodes),
        "bkg": _background(),
    }


def _aeff(energy: xr.DataArray, offset: xr.DataArray) -> xr.DataArray:
    data = effective_area(energy.values[:, np.newaxis], offset.values)
    attrs = {"hduclass": "AEFF_2D", "lo_thres": ENERGY_RANGE[0], "hi_thres": ENERGY_RANGE[1], **ATTRS}
    return response_array(data, [energy, offset], "aeff", "cm2", "Effective area", attrs)


def _edisp(energy: xr.DataArray, offset: xr.DataArray) -> xr.DataArray:
    migra = _linear(0.4, 1.9, 60, "migra")
    edges = np.append(migra["migra_min"].values, migra["migra_max"].values[-1])
    shape = (-1, 1, 1)
    center = 1.0 + bias(energy.values).reshape(shape)
    width = resolution(energy.values.reshape(shape), offset.values)
    below = norm.cdf((edges.reshape(shape)[np.newaxis, :, 0] - center) / width)
    content = np.diff(below, axis=1)
    density = content / content.sum(axis=1, keepdims=True) / np.diff(edges).reshape(1, -1, 1)
    attrs = {"hduclass": "EDISP_2D", **ATTRS}
    return response_array(density, [energy, migra, offset], "edisp", "", "Energy dispersion per migration", attrs)


def _psf(energy: xr.DataArray, offset: xr.DataArray) -> xr.Dataset:
    core = psf_radius(energy.values[:, np.newaxis], offset.values)
    sigma = {"sigma_1": core, "sigma_2": 1.8 * core, "sigma_3": 4.0 * core}
    # contents of 70 %, 26 % and 4 %
    height = {"ampl_2": 0.26 / 0.70 / 1.8**2, "ampl_3": 0.04 / 0.70 / 4.0**2}
    scale = 0.70 / (2.0 * np.pi * np.deg2rad(core) ** 2)
    values = {"scale": (scale, "sr-1"), **{n: (v, "deg") for n, v in sigma.items()}}
    values |= {n: (np.full(core.shape, v), "") for n, v in height.items()}
    variables = {n: (("energy_true", "offset"), v, {"units": unit}) for n, (v, unit) in values.items()}
    return xr.Dataset(variables, coords=axis_coords([energy, offset]), attrs={"hduclass": "PSF_3GAUSS", **ATTRS})


def _background() -> xr.DataArray:
    energy = _axes(*ENERGY_RANGE, 20, "energy")
    lon, lat = (_linear(-3.0, 3.0, 24, name) for name in ("fov_lon", "fov_lat"))
    x, y = lon.values[:, np.newaxis], lat.values
    distance = np.hypot(x, y)
    plane = np.exp(-0.5 * (distance / 1.7) ** 2) * _camera(distance) * (1.0 + 0.04 * y)
    spectrum = 1.2e2 * energy.values**-2.7
    attrs = {"hduclass": "BKG_3D", "fov_alignment": "RADEC", **ATTRS}
    data = spectrum[:, np.newaxis, np.newaxis] * plane
    return response_array(data, [energy, lon, lat], "background", "s-1 TeV-1 sr-1", "Background rate", attrs)
