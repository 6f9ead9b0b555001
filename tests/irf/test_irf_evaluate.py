"""Labelled evaluation: coordinates, units, laziness, chunked equal to unchunked."""

from __future__ import annotations

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr

from xgamma.coords.bins import BinIndex, energy_axis
from xgamma.irf import aeff, background, edisp, psf
from xgamma.irf.evaluate import background_rate, edisp_kernel, effective_area, point_spread_function


def refuse(*args, **kwargs):
    msg = "a graph was computed while it was built"
    raise AssertionError(msg)


TRUE = energy_axis("0.5 TeV", "20 TeV", nbin=4, name="energy_true")
RECO = energy_axis("0.5 TeV", "20 TeV", nbin=3)


@pytest.fixture
def offset():
    values = np.linspace(0, 6, 35).reshape(5, 7)
    coords = {"y": np.arange(5), "x": np.arange(7)}
    return xr.DataArray(values, dims=("y", "x"), coords=coords, attrs={"units": "deg"})


CASES = {
    "aeff": (
        lambda irf, p: effective_area(irf, TRUE, p),
        aeff.from_parametrization(),
        "cm2",
        ("energy_true", "y", "x"),
    ),
    "background": (
        lambda irf, p: background_rate(irf, RECO, p - 2.0 * (p > 9).assign_attrs(units="deg"), 0.2 * p),
        background.powerlaw_background(sigma="2 deg", three_d=True),
        "s-1 sr-1",
        ("energy", "y", "x"),
    ),
    "psf": (
        lambda irf, p: point_spread_function(irf, TRUE, p),
        psf.from_gauss(rad=psf.default_rad_axis()),
        "sr-1",
        ("energy_true", "y", "x", "rad"),
    ),
    "gauss": (
        lambda irf, p: point_spread_function(irf, TRUE, p),
        psf.from_gauss("0.1 deg"),
        "sr-1",
        ("energy_true", "y", "x", "rad"),
    ),
    "edisp": (
        lambda irf, p: edisp_kernel(irf, TRUE, RECO, p),
        edisp.from_gauss(0.2),
        "",
        ("energy_true", "energy", "y", "x"),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_lazy_and_equal(name, offset):
    function, irf, units, dims = CASES[name]
    expected = function(irf, offset)
    assert expected.dims == dims
    assert expected.attrs["units"] == units
    assert expected.attrs["long_name"]
    for dim in set(dims) - {"x", "y"}:
        assert isinstance(expected.xindexes[dim], BinIndex)
    with dask.config.set(scheduler=refuse):
        lazy = function(irf, offset.chunk({"y": 2, "x": 3}))
        lazy_table = function(irf.chunk(), offset)
    for result in (lazy, lazy_table):
        assert dask.is_dask_collection(result)
        xr.testing.assert_identical(result.compute(), expected)


def test_axis_of_a_chunked_cube(offset):
    cube = xr.DataArray(np.zeros((3, 2)), dims=("energy", "t"), coords=RECO.coords).chunk()
    with dask.config.set(scheduler=refuse):
        lazy = edisp_kernel(edisp.from_gauss(0.2), TRUE, cube.energy, offset.chunk())
    xr.testing.assert_identical(lazy.compute(), edisp_kernel(edisp.from_gauss(0.2), TRUE, RECO, offset))


def test_numbers(offset):
    irf = aeff.from_parametrization("CTAO")
    np.testing.assert_array_equal(
        effective_area(irf, TRUE, offset), aeff.evaluate_aeff(irf, TRUE.values, offset.values)
    )
    in_rad = np.deg2rad(offset).assign_attrs(units="rad")
    xr.testing.assert_allclose(effective_area(irf, TRUE, in_rad), effective_area(irf, TRUE, offset))
    points = effective_area(irf, ["1 TeV", "2000 GeV"], ["0.5 deg", "30 arcmin"])
    assert points.dims == ("energy_true", "offset")
    np.testing.assert_array_equal(points.energy_true, [1, 2])
    np.testing.assert_array_equal(points[:, 0], points[:, 1])
    kernel = edisp_kernel(edisp.from_gauss(0.2), TRUE, RECO, offset)
    np.testing.assert_array_equal(
        kernel, edisp.evaluate_edisp_kernel(edisp.from_gauss(0.2), offset.values, TRUE.values, np.geomspace(0.5, 20, 4))
    )


def test_bad_input(offset):
    irf = aeff.from_parametrization()
    with pytest.raises(ValueError, match="energy_true"):
        effective_area(irf, [1.0], "0.5 deg")
    with pytest.raises(ValueError, match="offset"):
        effective_area(irf, TRUE, 0.5)
    with pytest.raises(ValueError, match="no attrs"):
        effective_area(irf, TRUE, offset.drop_attrs())
    with pytest.raises(ValueError, match="energy must be a binned axis"):
        background_rate(background.constant_background(), ["1 TeV", "2 TeV"], "0 deg", "0 deg")
    with pytest.raises(ValueError, match="'energy' have gaps"):
        background_rate(background.constant_background(), RECO[[0, 2]], "0 deg", "0 deg")
    with pytest.raises(ValueError, match="must be a DataArray"):
        effective_area(irf, TRUE, np.ones((2, 2)) * u.deg)
