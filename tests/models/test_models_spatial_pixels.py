"""Integrals of spatial models over pixels: against brute force, and in total, however narrow the model."""

from __future__ import annotations

import pickle
import time

import astropy.units as u
import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xgamma as xg
from xgamma.coords.sky import grid_of
from xgamma.kernels.sphere import from_vectors, rotate
from xgamma.models.spatial_disk import DiskSpatialModel, Shell2SpatialModel, ShellSpatialModel
from xgamma.models.spatial_geometry import frame_rotation
from xgamma.models.spatial_pixels import SkyPixels, integrate_geom, spatial_integral
from xgamma.models.spatial_shapes import (
    ConstantFluxSpatialModel,
    ConstantSpatialModel,
    GaussianSpatialModel,
    GeneralizedGaussianSpatialModel,
    PointSpatialModel,
)

BIN = 0.02


def make_grid(lon=0.0, lat=0.0, frame="galactic", proj="CAR", width="1.6 deg", binsize="0.02 deg"):
    return xg.sky_grid(SkyCoord(lon, lat, unit="deg", frame=frame), width, binsize, proj=proj)


def brute(model, grid, parts=40):
    """Integral over pixels of the formula at the centres of many parts, over its integral on the sphere."""
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    y, x = np.meshgrid(
        (np.asarray(grid.y)[:, None] + offsets).ravel(), (np.asarray(grid.x)[:, None] + offsets).ravel(), indexing="ij"
    )
    vectors = grid.frame.icrs_vectors(*grid.frame.pixel_to_sky(y, x))
    lon, lat = from_vectors(rotate(vectors, frame_rotation(model.frame)))
    ny, nx = grid.shape
    means = model.evaluate(lon, lat, *model.values).reshape(ny, parts, nx, parts).mean(axis=(1, 3))
    return means * grid.geometry.solid_angle / model.total(*model.values)


#: Models, and how far a pixel may be from the brute force, as a part of the largest pixel: for smooth models the next
#: order of the expansion of a mean, (h / sigma)^4 / 400; for edges the roundness of parts of pixels.
SHAPES = {
    "gauss of 1.3 pixels": (GaussianSpatialModel(sigma=1.3 * BIN), 2e-4),
    "gauss of 3 pixels": (GaussianSpatialModel(sigma=3.01 * BIN), 3e-4),
    "gauss of half a pixel": (GaussianSpatialModel(sigma=0.5 * BIN), 2e-4),
    "elongated gauss": (GaussianSpatialModel(sigma=5 * BIN, e=0.95, phi=35), 2e-4),
    "exponential": (GeneralizedGaussianSpatialModel(r_0=2 * BIN, eta=1.0), 1e-3),
    "steep": (GeneralizedGaussianSpatialModel(r_0=4 * BIN, eta=0.05), 2e-4),
    "disk of half a pixel": (DiskSpatialModel(r_0=0.5 * BIN), 5e-3),
    "disk of 3 pixels": (DiskSpatialModel(r_0=3 * BIN), 5e-3),
    "disk of 12 pixels": (DiskSpatialModel(r_0=12 * BIN), 2e-2),
    "elongated disk": (DiskSpatialModel(r_0=8 * BIN, e=0.9, phi=-20), 3e-2),
    "smooth disk": (DiskSpatialModel(r_0=10 * BIN, edge_width=0.8), 1e-4),
    "shell": (ShellSpatialModel(radius=8 * BIN, width=3 * BIN), 5e-3),
    "thin shell": (Shell2SpatialModel(r_0=6 * BIN, eta=0.1), 5e-3),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("lat", "proj", "frame"), [(0.3, "CAR", "icrs"), (65.0, "TAN", "galactic")])
def test_pixels_hold_what_brute_force_finds(name, lat, proj, frame):
    model, tolerance = SHAPES[name]
    grid = grid_of(make_grid(40.0, lat, proj=proj, width="0.8 deg"))
    model = model.copy()
    model.frame = frame
    model.position = SkyCoord(40.013, lat - 0.0071, unit="deg", frame="galactic")
    found, expected = integrate_geom(model, grid), brute(model, grid)
    assert np.abs(found - expected).max() < tolerance * expected.max()
    # edges average out: the whole is exact, and so are the moments
    assert found.sum() == pytest.approx(1.0, abs=1e-3 if name == "exponential" else 1e-4)  # of it 2e-4 lie outside
    for axis in (0, 1):
        numbers = np.arange(found.shape[axis])
        middle = [(v.sum(axis=1 - axis) * numbers).sum() / v.sum() for v in (found, expected)]
        assert middle[0] == pytest.approx(middle[1], abs=3e-3)
        pairs = zip((found, expected), middle, strict=True)
        spread = [(v.sum(axis=1 - axis) * (numbers - m) ** 2).sum() / v.sum() for v, m in pairs]
        assert spread[0] == pytest.approx(spread[1], rel=5e-3, abs=1e-3)


#: Makers of models of a size in degrees.
MAKERS = [
    lambda size: GaussianSpatialModel(sigma=size),
    lambda size: GaussianSpatialModel(sigma=size, e=0.98, phi=70),
    lambda size: GeneralizedGaussianSpatialModel(r_0=size, eta=0.9),
    lambda size: GeneralizedGaussianSpatialModel(r_0=size, eta=0.02),
    lambda size: DiskSpatialModel(r_0=size),
    lambda size: DiskSpatialModel(r_0=size, e=0.9, phi=10, edge_width=0.5),
    lambda size: ShellSpatialModel(radius=0.9 * size, width=0.1 * size),
    lambda size: Shell2SpatialModel(r_0=size, eta=0.95),
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    maker=st.sampled_from(MAKERS),
    pixels=st.floats(-3, 0.4),
    dx=st.floats(-0.5, 0.5),
    dy=st.floats(-0.5, 0.5),
    place=st.sampled_from([(0.0, 0.0), (359.995, 1.0), (120.0, 80.0), (200.0, -80.0)]),
    proj=st.sampled_from(["CAR", "TAN", "ZEA"]),
    frames=st.sampled_from([("galactic", "icrs"), ("icrs", "galactic"), ("icrs", "icrs"), ("fk5", "galactic")]),
)
def test_the_whole_is_one(maker, pixels, dx, dy, place, proj, frames):
    model = maker(BIN * 10**pixels)
    grid = grid_of(make_grid(*place, frame=frames[0], proj=proj))
    lon, lat = grid.frame.pixel_to_sky(grid.y[40] + dy, grid.x[40] + dx)
    model.frame = frames[1]
    model.position = SkyCoord(lon, lat, unit="deg", frame=grid.frame.celestial)
    found = integrate_geom(model, grid)
    assert found.sum() == pytest.approx(1.0, abs=1e-4)
    assert found.min() >= -1e-6
    # the centroid is where the model is
    y, x = (np.average(np.arange(80), weights=found.sum(axis=axis)) for axis in (1, 0))
    assert y - 40 == pytest.approx(dy, abs=0.51 if pixels < 0 else 0.3)
    assert x - 40 == pytest.approx(dx, abs=0.51 if pixels < 0 else 0.3)


@pytest.mark.parametrize("size", [0.02 / 50, 0.05, 0.3])
@pytest.mark.parametrize("maker", MAKERS)
def test_parts_of_two_maps_make_the_whole(maker, size):
    # a model on the edge between two maps, and one outside of both
    whole = grid_of(make_grid())
    model = maker(size)
    model.frame = "galactic"
    lon, lat = whole.frame.pixel_to_sky(whole.y[38] + 0.4999, whole.x[41] + 0.3)
    model.position = SkyCoord(lon, lat, unit="deg", frame="galactic")
    complete = integrate_geom(model, whole)
    for cut in (39, 20):
        lower, upper = (whole.tile(part, slice(None)) for part in (slice(0, cut), slice(cut, None)))
        joined = np.concatenate([integrate_geom(model, lower), integrate_geom(model, upper)])
        np.testing.assert_allclose(joined, complete, atol=1e-12)


def test_far_outside_there_is_nothing():
    pixels = SkyPixels(grid_of(make_grid()))
    for maker in (*MAKERS, lambda size: PointSpatialModel()):
        for size in (1e-3, 0.2):
            model = maker(size)
            model.frame = "galactic"
            for place in ((5.0, 0.0), (0.0, 20.0), (180.0, 0.0), (0.0, 90.0)):
                model.position = SkyCoord(*place, unit="deg", frame="galactic")
                window, values = spatial_integral(model, pixels)
                assert values.shape == tuple(w.stop - w.start for w in window)
                assert values.sum() == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("proj", ["CAR", "AIT", "MOL"])
@pytest.mark.parametrize("size", [0.01, 0.3, 3.0])
def test_whole_skies(proj, size):
    # poles, and the edge of the map opposite of its middle
    grid = grid_of(make_grid(width=("360 deg", "180 deg"), binsize="1 deg", proj=proj))
    for place in ((0.3, 0.2), (179.99, 0.4), (180.0, 30.0), (20.0, 89.8), (20.0, -90.0)):
        for model in (GaussianSpatialModel(sigma=size), DiskSpatialModel(r_0=4 * size)):
            model.frame = "galactic"
            model.position = SkyCoord(*place, unit="deg", frame="galactic")
            found = integrate_geom(model, grid)
            # across the edge of the sky broad models are as exact as the areas of pixels that it cuts; at the poles of
            # MOL these are slivers
            pole = abs(place[1]) > 80
            edge = proj != "CAR" and size > 1 and place[0] != 0.3
            assert found.sum() == pytest.approx(1.0, abs=8e-2 if proj == "MOL" and pole else 8e-3 if edge else 5e-4)
            lon, lat = grid.frame.pixel_to_sky(*np.meshgrid(grid.y, grid.x, indexing="ij"))
            away = SkyCoord(np.nan_to_num(lon), np.nan_to_num(lat), unit="deg", frame="galactic").separation(
                model.position
            )
            if not (proj == "MOL" and pole):  # pixels of which are several degrees high there
                assert found[(away.deg > 6 * size + 1.5) & np.isfinite(lon)].sum() < 1e-4


def test_points():
    grid = grid_of(make_grid())
    lon, lat = grid.frame.pixel_to_sky(grid.y[10] + 0.2, grid.x[20] - 0.4)
    model = PointSpatialModel(position=SkyCoord(lon, lat, unit="deg", frame="galactic"), frame="icrs")
    found = integrate_geom(model, grid)
    np.testing.assert_allclose(found[10:12, 19:21], [[0.32, 0.48], [0.08, 0.12]], atol=1e-7)
    assert found.sum() == pytest.approx(1.0)
    # half beside the map
    lon, lat = grid.frame.pixel_to_sky(grid.y[0] - 0.5, grid.x[20])
    model.position = SkyCoord(lon, lat, unit="deg", frame="galactic")
    assert integrate_geom(model, grid).sum() == pytest.approx(0.5)
    # models without a size are points in their pixel
    tiny = GaussianSpatialModel(sigma=0.0, position=model.position)
    assert integrate_geom(tiny, grid).max() in (0.0, 1.0)


def test_constants():
    cube = make_grid()
    model = ConstantSpatialModel(value=2.0)
    np.testing.assert_allclose(model.integrate(cube), 2 * cube.gamma.solid_angle(), rtol=1e-12)
    assert model.integrate(cube).attrs["units"] == ""
    assert (ConstantFluxSpatialModel().integrate(cube) == 1).all()
    assert model.evaluate_on(cube).attrs["units"] == "sr-1"


def test_a_fit_that_moves_a_source_sees_a_smooth_function():
    # sums over a mask along a path of positions: no steps where centres of parts cross an edge
    pixels = SkyPixels(grid_of(make_grid(width="0.8 deg")))
    mask = np.random.default_rng(0).uniform(size=pixels.grid.shape)
    for model in (
        GaussianSpatialModel(sigma=0.01),
        DiskSpatialModel(r_0=0.07),
        ShellSpatialModel(radius=0.1, width=0.03),
    ):
        model.frame = "galactic"
        path = np.linspace(0.0, BIN, 81)
        sums = []
        for lon in path:
            (y, x), values = spatial_integral(model, pixels, (lon, 0.003, *model.values[2:]))
            sums.append((values * mask[y, x]).sum())
        jumps = np.abs(np.diff(sums, 2)).max()
        assert jumps < 0.05 * np.ptp(sums)


@pytest.mark.parametrize("name", ["gauss of 3 pixels", "disk of 12 pixels", "shell"])
def test_tiles_and_windows_agree(name):
    model = SHAPES[name][0].copy()
    grid = grid_of(make_grid(10, 5))
    model.frame = "galactic"
    model.position = SkyCoord(10.1, 5.1, unit="deg", frame="galactic")
    pixels = SkyPixels(grid)
    (y, x), part = spatial_integral(model, pixels)
    whole = integrate_geom(model, pixels)
    np.testing.assert_array_equal(whole[y, x], part)
    assert whole.sum() == pytest.approx(part.sum())
    assert part.size < 0.5 * whole.size


def test_labelled_and_lazy():
    cube = make_grid(83.6, 22.0, frame="icrs")
    model = GaussianSpatialModel(position=SkyCoord("5h34m31s", "22d00m52s"), sigma="0.1 deg")
    eager = model.integrate(cube)
    assert eager.dims == ("y", "x")
    assert eager.attrs["units"] == ""
    assert float(eager.sum()) == pytest.approx(1.0, abs=1e-5)
    chunked = eager.chunk(y=30, x=50)

    def never(*args, **kwargs):
        msg = "computed"
        raise AssertionError(msg)

    with dask.config.set(scheduler=never):
        lazy = model.integrate(chunked)
        density = model.evaluate_on(chunked)
    assert lazy.chunks == chunked.chunks
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), eager, atol=1e-12)
    np.testing.assert_allclose(density.compute(scheduler="sync"), model.evaluate_on(cube), rtol=1e-12)
    assert pickle.loads(pickle.dumps(model)).values == model.values
    place = model.evaluate_on(cube).gamma.solid_angle()
    assert float((model.evaluate_on(cube) * place).sum()) == pytest.approx(1.0, abs=1e-5)


def test_not_finite_values_are_refused():
    with pytest.raises(ValueError, match=r"must be finite, not \['sigma'\]"):
        spatial_integral(GaussianSpatialModel(), SkyPixels(grid_of(make_grid())), (0, 0, np.nan, 0, 0))


def test_fast_enough_for_a_fit():
    # 100 x 100 pixels: about 0.3 ms here; the bound leaves room for busy machines
    pixels = SkyPixels(grid_of(make_grid(width="4 deg")))
    model = GaussianSpatialModel(sigma=0.2, frame="galactic")
    best = np.inf
    for i in range(20):
        start = time.perf_counter()
        _, values = spatial_integral(model, pixels, (0.001 * i, 0.0, 0.2, 0.0, 0.0))
        best = min(best, time.perf_counter() - start)
    assert values.shape[0] >= 100
    assert best < 5e-3


def test_units_of_angles():
    model = GaussianSpatialModel(sigma=12 * u.arcmin, lon_0="0.1 rad")
    assert model.values[2] == pytest.approx(0.2)
    assert model.center(*model.values)[0] == pytest.approx(np.rad2deg(0.1))
