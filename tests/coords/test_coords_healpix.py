"""HEALPix maps: cells, interpolation between rings, counts shared among pixels."""

from __future__ import annotations

import sys

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from xgamma.coords.grid import sky_grid, solid_angle
from xgamma.coords.healpix_ring import ring_neighbours

xdggs = pytest.importorskip("xdggs", reason="needs xgamma[healpix]")

from xgamma.coords.healpix import HealpixGrid, healpix_coords, healpix_grid_of, healpix_solid_angle  # noqa: E402
from xgamma.coords.healpix_project import healpix_to_wcs  # noqa: E402

GC = SkyCoord(0, 0, unit="deg", frame="galactic")
#: Positions, and healpy 1.20.1's get_interp_val of sin(1.7 i) + 2 at NSIDE = 4, cells along rings and nested.
LON = np.array([0, 13.3, 101.7, 222.2, 359.99, 45, 300.5, 77.7])
LAT = np.array([90, 88.9, 41.5, 0.0, -12.3, -90, -86.5, 66.6])
RING = [
    1.9525772565244761, 1.9264129854925591, 1.5517130890051234, 2.5882472211256364,
    2.560685701102034, 1.9157587048697242, 1.7423332247938919, 2.4575561307057514,
]  # fmt: skip
NESTED = [
    2.0781852624824593, 2.1020071783461205, 2.1751856662339164, 2.5735553382481555,
    2.3439533008972058, 1.8269654129965587, 1.7546786230836484, 2.073148655708057,
]  # fmt: skip


def raising(*args, **kwargs):
    msg = "something was computed while the graph was built"
    raise AssertionError(msg)


def sky(level=4, nested=True, frame="galactic", units="cm2 s", planes=2, cells=None, seed=1):
    coords = healpix_coords(level, nested=nested, frame=frame, cells=cells)
    values = np.random.default_rng(seed).random((planes, coords.sizes["cells"])) + 1.0
    return xr.DataArray(values, coords, ("energy", "cells"), name="flux", attrs={"units": units})


@pytest.mark.parametrize(("nested", "expected"), [(False, RING), (True, NESTED)])
def test_interpolation_is_that_of_healpy(nested, expected):
    grid = HealpixGrid(2, nested, "icrs")
    pixels, weights = ring_neighbours(4, LON, LAT)
    values = np.sin(np.arange(grid.size) * 1.7) + 2
    np.testing.assert_allclose((values[grid.from_ring(pixels)] * weights).sum(axis=0), expected, rtol=1e-13)


@pytest.mark.parametrize("level", [0, 1, 3, 6])
@pytest.mark.parametrize("nested", [False, True])
def test_interpolation_is_exact_at_centres(level, nested):
    grid = HealpixGrid(level, nested, "icrs")
    values = np.random.default_rng(0).random(grid.size)
    pixels, weights = ring_neighbours(grid.nside, *grid.centers())
    np.testing.assert_allclose((values[grid.from_ring(pixels)] * weights).sum(axis=0), values, atol=1e-12)


@given(st.floats(0, 360), st.floats(-90, 90), st.integers(0, 12))
@settings(max_examples=150)
def test_weights_are_weights(lon, lat, level):
    pixels, weights = ring_neighbours(1 << level, np.array([lon]), np.array([lat]))
    assert abs(weights.sum() - 1) < 1e-12
    assert weights.min() > -1e-12
    assert pixels.min() >= 0
    assert pixels.max() < 12 << (2 * level)
    # values that go linearly with latitude between rings lie between those of the rings around
    z = HealpixGrid(level, False, "icrs")
    ring_lat = z.info().cell_ids2geographic(pixels.ravel().astype(np.uint64))[1]
    if 89 > abs(lat) > 0 and np.abs(ring_lat).max() < 90 and len(np.unique(np.round(ring_lat, 9))) == 2:
        assert float((weights.ravel() * ring_lat).sum()) == pytest.approx(lat, abs=1e-8)


def test_positions_off_the_sky_have_no_weight():
    _, weights = ring_neighbours(4, np.array([np.nan, 1.0]), np.array([0.0, np.inf]))
    assert np.isnan(weights).all()


def test_coordinates_have_the_index_of_xdggs():
    array = sky(2, nested=False, frame="icrs")
    assert array.dggs.grid_info.indexing_scheme == "ring"
    grid = healpix_grid_of(array)
    assert (grid.level, grid.nested, grid.frame, grid.size) == (2, False, "icrs", 192)
    assert healpix_solid_angle(array) == pytest.approx(4 * np.pi / 192)
    part = array.isel(cells=[5, 3, 100])
    assert healpix_grid_of(part).cells.tolist() == [5, 3, 100]
    assert healpix_grid_of(part).place(np.array([3, 4, 100])).tolist() == [1, -1, 2]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
def test_values_are_interpolated_in_their_frame(nested, frame):
    """A smooth function of the position comes out as at the pixels' positions."""
    array = sky(6, nested, frame, planes=1)
    grid = healpix_grid_of(array)
    axis = SkyCoord(30, 40, unit="deg", frame="icrs")
    centers = SkyCoord(*grid.centers(), unit="deg", frame=frame)
    array = array.copy(data=np.cos(centers.separation(axis).rad)[np.newaxis] + 2)
    target = sky_grid(SkyCoord(100, 20, unit="deg"), "20 deg", "0.5 deg", proj="TAN")
    result = healpix_to_wcs(array, target)
    position = SkyCoord(target.lon.values, target.lat.values, unit="deg")
    # cells of 0.9 deg: the curvature between centres is below (0.9 deg)^2 / 8
    np.testing.assert_allclose(result[0], np.cos(position.separation(axis).rad) + 2, atol=1e-4)
    nearest = healpix_to_wcs(array, target, "nearest")
    assert abs(nearest - result).max() < np.deg2rad(1.0)
    assert abs(nearest - result).max() > 1e-4


@pytest.mark.parametrize(("nested", "level"), [(False, 5), (True, 5), (True, 9)])
def test_counts_are_conserved(nested, level):
    """Cells inside the grid give away all they have, whether larger or smaller than pixels."""
    target = sky_grid(GC, "16 deg", "0.25 deg")
    counts = sky(level, nested, units="", planes=1)
    grid = healpix_grid_of(counts)
    lon, lat = grid.centers()
    inside = (np.abs((lon + 180) % 360 - 180) < 8 - grid.cell_size) & (np.abs(lat) < 8 - grid.cell_size)
    counts = counts.copy(data=np.where(inside, counts.values, 0.0))
    result = healpix_to_wcs(counts, target)
    assert float(result.sum()) == pytest.approx(float(counts.sum()), rel=1e-12)
    assert float(counts.sum()) > 10


def test_equal_density_gives_solid_angles():
    target = sky_grid(GC, "8 deg", "0.25 deg", proj="TAN")
    density = xr.ones_like(sky(5, units=""))
    result = healpix_to_wcs(density, target) * healpix_solid_angle(density)
    np.testing.assert_allclose(result[0], solid_angle(target), rtol=0.02)
    assert float(result[0].sum()) == pytest.approx(float(solid_angle(target).sum()), rel=1e-3)
    finer = healpix_to_wcs(density, target, oversampling=12) * healpix_solid_angle(density)
    assert float(abs(finer[0] / solid_angle(target) - 1).max()) < 0.01


@pytest.mark.parametrize(("frame", "level"), [("galactic", 4), ("icrs", 5), ("galactic", 6)])
@pytest.mark.parametrize("proj", ["CAR", "AIT"])
def test_whole_sky_keeps_its_counts(frame, level, proj):
    """Also at poles, where solid angles change inside a pixel, and over the seam."""
    target = sky_grid(GC, ("360 deg", "180 deg"), "2 deg", proj=proj)
    counts = sky(level, frame=frame, units="", planes=1)
    assert float(healpix_to_wcs(counts, target).sum()) == pytest.approx(float(counts.sum()), rel=1e-12)


@pytest.mark.parametrize("conserve", ["counts", None])
@pytest.mark.parametrize(("proj", "width"), [("CAR", "30 deg"), ("AIT", ("360 deg", "180 deg"))])
def test_lazy_in_lazy_out(conserve, proj, width):
    target = sky_grid(GC, width, "2 deg", proj=proj)
    shape = target.sizes["y"], target.sizes["x"]
    array = sky(4)
    whole = healpix_to_wcs(array, target, conserve=conserve)
    tiled = target.assign(tiles=(("y", "x"), dask.array.zeros(shape, chunks=(40, 70) if proj == "AIT" else (7, 9))))
    for lazy, onto in ((array.chunk(energy=1, cells=500), target), (array, tiled), (array.chunk(energy=1), tiled)):
        with dask.config.set(scheduler=raising):
            result = healpix_to_wcs(lazy, onto, conserve=conserve)
        assert dask.is_dask_collection(result.data)
        np.testing.assert_allclose(result.compute(scheduler="synchronous"), whole, rtol=1e-13)
        assert result.attrs == whole.attrs
    assert healpix_to_wcs(array.chunk(energy=1), tiled).chunks[1:] == tiled.tiles.chunks


def test_a_part_of_the_sky():
    cells = np.flatnonzero(HealpixGrid(5, True, "galactic").centers()[1] > 1.0)
    array = sky(5, cells=cells)
    target = sky_grid(GC, "10 deg", "0.5 deg")
    whole = sky(5)
    whole = whole.copy(data=np.where(np.isin(np.arange(whole.sizes["cells"]), cells), 1.0, np.nan) * whole.values)
    whole.values[:, cells] = array.values
    for options in ({"conserve": None}, {"method": "nearest", "conserve": None}):
        result = healpix_to_wcs(array, target, **options)
        np.testing.assert_allclose(result, healpix_to_wcs(whole, target, **options), rtol=1e-13)
        assert 0 < int(np.isnan(result).sum()) < result.size
    counts = healpix_to_wcs(array.assign_attrs(units=""), target)
    assert np.isnan(counts.sel(y=slice(None, -7))).all()
    assert not np.isnan(counts.sel(y=slice(5, None))).any()


def test_bad_input_is_told_in_words(monkeypatch):
    array, target = sky(1), sky_grid(GC, "4 deg", "1 deg")
    with pytest.raises(ValueError, match="method='cubic'"):
        healpix_to_wcs(array, target, "cubic")
    with pytest.raises(ValueError, match="conserve='flux'"):
        healpix_to_wcs(array, target, conserve="flux")
    with pytest.raises(ValueError, match="oversampling=0"):
        healpix_to_wcs(array, target, oversampling=0)
    with pytest.raises(ValueError, match="no HEALPix map: it has the dims"):
        healpix_to_wcs(array.rename(cells="pixel"), target)
    with pytest.raises(ValueError, match="celestial frame"):
        healpix_to_wcs(array.drop_vars("frame"), target)
    with pytest.raises(ValueError, match="no HEALPix index"):
        healpix_to_wcs(array.drop_indexes("cell_ids"), target)
    with pytest.raises(ValueError, match="not a sky map"):
        healpix_to_wcs(array, array)
    with pytest.raises(ValueError, match="frame='b1950'"):
        healpix_coords(1, frame="b1950")
    with pytest.raises(ValueError, match="level=30"):
        healpix_coords(30)
    with pytest.raises(ValueError, match="those from 0 to 11"):
        healpix_coords(0, cells=[3, 12])
    with pytest.raises(ValueError, match="more than once"):
        healpix_coords(0, cells=[3, 3])
    monkeypatch.setitem(sys.modules, "xdggs", None)
    with pytest.raises(ImportError, match=r"pip install 'xgamma\[healpix\]'"):
        healpix_coords(1)
