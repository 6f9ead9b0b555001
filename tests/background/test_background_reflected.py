"""Off regions beside a search that turns regions of the regions package one by one."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CirclePixelRegion, EllipsePixelRegion, PixCoord, PolygonPixelRegion, RectanglePixelRegion

from xgamma.background.phase import phase_intervals
from xgamma.background.regions_geometry import (
    Raster,
    angular_size,
    count_turned,
    overlapping,
    reflected_turns,
    turn_back,
)
from xgamma.coords.regions import from_ds9
from xgamma.kernels.sphere import to_vectors
from xgamma.reduction.region_plane import TangentPlane
from xgamma.reduction.region_shape import sky_shape, to_plane

POINTING = SkyCoord(83.63, 22.51, unit="deg")
PLANE = TangentPlane.at(to_vectors(np.asarray(POINTING.ra.deg), np.asarray(POINTING.dec.deg)))
SHAPES = {
    "circle": "icrs;circle(83.63, 22.01, 0.11)",
    "large circle": "icrs;circle(83.0, 22.0, 0.4)",
    "ellipse": "icrs;ellipse(84.1, 22.3, 0.2, 0.1, 30)",
    "box": "icrs;box(83.2, 22.9, 0.3, 0.1, 70)",
    "polygon": "icrs;polygon(83.0, 22.0, 83.4, 22.1, 83.2, 22.4)",
    "annulus": "icrs;annulus(83.63, 22.01, 0.05, 0.2)",
}
EXCLUDED = ["icrs;circle(83.9, 22.9, 0.15)", "icrs;box(83.1, 22.6, 0.3, 0.2, 0)"]


def in_plane(text):
    return to_plane(sky_shape(from_ds9(text)), PLANE)


def pixel_region(shape):
    """The same region for the regions package, in units of a degree of the plane."""
    if shape.kind == "circle":
        return CirclePixelRegion(PixCoord(shape.x, shape.y), shape.sizes[0])
    if shape.kind == "polygon":
        return PolygonPixelRegion(PixCoord(shape.corner_x, shape.corner_y))
    kind = {"ellipse": EllipsePixelRegion, "rectangle": RectanglePixelRegion}[shape.kind]
    return kind(PixCoord(shape.x, shape.y), *shape.sizes, Angle(shape.angle, "deg"))


def whole_raster(raster):
    axis = (np.arange(raster.number) - 0.5 * (raster.number - 1)) * raster.binsize
    x, y = np.meshgrid(axis, axis)
    return x.ravel(), y.ravel()


def slow_search(region, raster, excluded, gap, gap_input, increment):
    """Turn a region of the regions package until it has come round."""
    x, y = whole_raster(raster)
    inside = region.contains(PixCoord(x, y))
    angle = np.unwrap(np.sort(np.arctan2(y[inside], x[inside])))
    size = angle.max() - angle.min()
    if size > np.pi:
        angle = np.sort(np.arctan2(y[inside], x[inside]) % (2 * np.pi))
        size = angle.max() - angle.min()
    turns, turn = [], size + gap + gap_input
    while turn < 2 * np.pi - size - gap - gap_input:
        turned = region.rotate(PixCoord(0, 0), turn * u.rad)
        if excluded is not None and turned.contains(PixCoord(*excluded)).any():
            turn += increment
        else:
            turns.append(turn)
            turn += size + gap
    return turns


@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize("name", ["circle", "large circle", "ellipse", "box", "polygon"])
def test_turns_beside_a_slow_search(name, excluding):
    shape = in_plane(SHAPES[name])
    raster = Raster.around(float(np.hypot(shape.x, shape.y)), 0.01)
    x, y = whole_raster(raster)
    bad = np.zeros(len(x), dtype=bool)
    for text in EXCLUDED if excluding else []:
        bad |= in_plane(text).contains(x, y)
    for gap, gap_input, increment in ((0.0, 0.1, 0.1), (0.2, 0.05, 0.03)):
        turns = reflected_turns(
            shape,
            angular_size(shape, raster),
            (x[bad], y[bad]),
            min_distance=gap,
            min_distance_input=gap_input,
            angle_increment=increment,
            max_region_number=100,
        )
        excluded = (x[bad], y[bad]) if excluding else None
        expected = slow_search(pixel_region(shape), raster, excluded, gap, gap_input, increment)
        np.testing.assert_allclose(turns, expected, rtol=1e-12)
        assert len(turns) > 1


@pytest.mark.parametrize("name", list(SHAPES))
def test_off_events_beside_regions_that_are_turned(name):
    shape = in_plane(SHAPES[name])
    turns = np.array([0.9, 1.4, 2.5, 4.0])
    x, y = np.random.default_rng(4).uniform(-1.5, 1.5, (2, 20_000))
    found = count_turned(shape, turns, x, y)
    expected = np.zeros(len(x), dtype=bool)
    if shape.kind.endswith("annulus"):
        cos, sin = np.cos(turns), np.sin(turns)
        for cx, cy in zip(cos * shape.x - sin * shape.y, sin * shape.x + cos * shape.y, strict=True):
            distance = np.hypot(x - cx, y - cy)
            expected |= (distance >= shape.sizes[0]) & (distance < shape.sizes[1])
    else:
        for turn in turns:
            expected |= pixel_region(shape).rotate(PixCoord(0, 0), turn * u.rad).contains(PixCoord(x, y))
    np.testing.assert_array_equal(found, np.flatnonzero(expected))
    assert len(found) > 50


@settings(max_examples=40)
@given(
    distance=st.floats(0.15, 2.5),
    where=st.floats(0, 6.28),
    radius=st.floats(0.03, 0.14),
)
def test_angular_size_of_a_circle(distance, where, radius):
    shape = in_plane("icrs;point(83.63, 22.6)").resized(radius)
    shape = type(shape)(
        "circle", distance * np.cos(where), distance * np.sin(where), np.zeros(1), np.zeros(1), (radius,)
    )
    size = angular_size(shape, Raster.around(distance, 0.005))
    exact = 2 * np.arcsin(radius / distance)
    # pixel centres inside see less than the edge
    assert size <= exact + 1e-12
    assert np.sin(0.5 * size) > (radius - 2 * 0.005) / distance


def test_a_region_around_the_pointing_has_no_angular_size():
    shape = in_plane("icrs;circle(83.63, 22.51, 0.2)")
    assert np.isnan(angular_size(shape, Raster.around(0.0, 0.01)))
    hole = in_plane("icrs;annulus(83.63, 22.41, 0.15, 0.3)")
    # the pointing lies in the hole: seen from there it is everywhere
    assert angular_size(hole, Raster.around(0.1, 0.01)) == pytest.approx(2 * np.pi, abs=0.1)


def test_smaller_than_a_pixel():
    shape = in_plane("icrs;circle(83.63, 22.015, 0.001)")
    size = angular_size(shape, Raster.around(0.495, 0.01))
    assert size == pytest.approx(2 * 0.001 / 0.495, rel=1e-3)


@pytest.mark.parametrize(("number", "overlap"), [(1, False), (3, False), (6, False), (12, False), (14, True)])
def test_overlap_of_equal_parts(number, overlap):
    # thirteen circles of 0.11 deg touch at 0.5 deg: 2 pi / 2 asin(0.22)
    shape = in_plane(SHAPES["circle"])
    turns = 2 * np.pi * np.arange(number + 1) / (number + 1)
    assert overlapping(shape, turns, Raster.around(0.5, 0.01)) is overlap


@given(turn=st.floats(-7, 7), x=st.floats(-3, 3), y=st.floats(-3, 3))
def test_turning_back(turn, x, y):
    back = turn_back(np.asarray(x), np.asarray(y), np.asarray(turn))
    assert complex(*map(float, back)) == pytest.approx(complex(x, y) * np.exp(-1j * turn), abs=1e-12)


def test_the_plane_is_that_of_a_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [83.63, 22.51], [1, 1], [-1, 1]
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    lon, lat = 83.63 + np.linspace(-3, 3, 7), 22.51 + np.linspace(-2, 2, 7)
    x, y = PLANE.project(to_vectors(lon, lat))
    np.testing.assert_allclose([x, y], wcs.world_to_pixel(SkyCoord(lon, lat, unit="deg")), atol=1e-10)


@given(
    start=st.floats(0, 1, exclude_max=True),
    width=st.floats(0.01, 0.98),
)
def test_intervals_of_the_phase_keep_their_width(start, width):
    stop = (start + width) % 1.0
    found = phase_intervals((start, stop), "on_phase")
    assert sum(b - a for a, b in found) == pytest.approx(width, abs=1e-9)
    assert all(0 <= a < b <= 1 for a, b in found)
