"""Regions as plain numbers: beside the regions package, and beside closed forms."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from regions import (
    CircleAnnulusSkyRegion,
    CircleSkyRegion,
    EllipseAnnulusSkyRegion,
    EllipseSkyRegion,
    LineSkyRegion,
    PixCoord,
    PointSkyRegion,
    PolygonSkyRegion,
    RectangleAnnulusSkyRegion,
    RectangleSkyRegion,
)

from xgamma.coords.regions import from_ds9, region_center
from xgamma.kernels.sphere import from_vectors, to_vectors
from xgamma.reduction.region_plane import TangentPlane
from xgamma.reduction.region_set import events_inside, on_region, sample_region, shape_solid_angle
from xgamma.reduction.region_shape import ds9_texts, sky_shape, to_plane

D = u.deg
CRAB = SkyCoord(83.63, 22.01, unit="deg")
GC = SkyCoord(359.9, 0.1, unit="deg", frame="galactic")
SHAPES = {
    "circle": CircleSkyRegion(CRAB, 0.5 * D),
    "ellipse": EllipseSkyRegion(CRAB, 1 * D, 0.4 * D, 30 * D),
    "rectangle": RectangleSkyRegion(CRAB, 1 * D, 0.4 * D, -50 * D),
    "polygon": PolygonSkyRegion(SkyCoord([83, 84, 84.5, 83.9], [21.8, 21.9, 22.5, 22.1], unit="deg")),
    "annulus": CircleAnnulusSkyRegion(CRAB, 0.3 * D, 0.5 * D),
    "ellipse annulus": EllipseAnnulusSkyRegion(CRAB, 0.3 * D, 0.5 * D, 0.3 * D, 0.6 * D, 20 * D),
    "rectangle annulus": RectangleAnnulusSkyRegion(CRAB, 0.3 * D, 0.5 * D, 0.3 * D, 0.6 * D, 20 * D),
    "galactic rectangle": RectangleSkyRegion(GC, 1 * D, 0.4 * D, -50 * D),
    "seam": CircleSkyRegion(SkyCoord(0.05, -89.0, unit="deg"), 0.4 * D),
}


def tan_wcs(lon, lat, frame="icrs"):
    wcs = WCS(naxis=2)
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [lon, lat], [1, 1], [-0.01, 0.01]
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"] if frame == "galactic" else ["RA---TAN", "DEC--TAN"]
    return wcs


def positions_around(plane, number=20_000, half=1.0):
    return plane.unproject(*np.random.default_rng(1).uniform(-half, half, (2, number)))


@pytest.mark.parametrize("name", list(SHAPES))
def test_inside_as_the_regions_package_has_it(name):
    region = SHAPES[name]
    shape = sky_shape(region)
    vectors = positions_around(shape.plane)
    inside = to_plane(shape, shape.plane).contains(*shape.plane.project(vectors))
    center = region_center(region)
    wcs = tan_wcs(center.spherical.lon.deg, center.spherical.lat.deg, center.frame.name)
    pixels = PixCoord.from_sky(SkyCoord(*from_vectors(vectors), unit="deg"), wcs)
    np.testing.assert_array_equal(inside, region.to_pixel(wcs).contains(pixels))
    assert 100 < inside.sum() < 10_000


def test_compounds_and_the_outside():
    text = "(icrs;circle(83.63, 22.01, 0.5)) & (icrs;circle(83.63, 22.3, 0.5))"
    shape = sky_shape(from_ds9(text))
    vectors = positions_around(shape.plane)
    first, second = (sky_shape(from_ds9(t.strip(" ()") + ")")) for t in text.split("&"))
    each = [to_plane(s, shape.plane).contains(*shape.plane.project(vectors)) for s in (first, second)]
    joined = to_plane(shape, shape.plane)
    np.testing.assert_array_equal(joined.contains(*shape.plane.project(vectors)), each[0] & each[1])
    outside = sky_shape(from_ds9("icrs;-circle(83.63, 22.01, 0.5)"))
    np.testing.assert_array_equal(to_plane(outside, shape.plane).contains(*shape.plane.project(vectors)), ~each[0])


@given(
    lon=st.floats(0, 360),
    lat=st.floats(-89, 89),
    turn=st.floats(0, 6.28),
    distance=st.floats(0.2, 2.5),
    name=st.sampled_from(["circle", "ellipse", "rectangle", "polygon", "annulus", "rectangle annulus"]),
)
def test_a_turned_region_is_read_back_from_its_text(lon, lat, turn, distance, name):
    shape = sky_shape(SHAPES[name])
    # the same shape at any place of the sky, around a pointing nearby
    center = to_vectors(np.asarray(lon), np.asarray(lat))
    own = TangentPlane.at(center)
    flat = to_plane(shape, shape.plane)
    moved = type(shape)(
        shape.kind, center, shape.pole, own.unproject(flat.corner_x, flat.corner_y), shape.sizes, shape.angle
    )
    plane = TangentPlane.at(own.unproject(distance, 0.3))
    back = to_plane(sky_shape(from_ds9(ds9_texts(moved, plane, np.array([turn]))[0])), plane)
    x, y = np.random.default_rng(3).uniform(-1, 1, (2, 500))
    x, y = x + back.x, y + back.y
    cos, sin = np.cos(turn), np.sin(turn)
    expected = to_plane(moved, plane).contains(cos * x + sin * y, cos * y - sin * x)
    # sizes are scaled along another meridian there, digits end: few positions lie between
    assert (back.contains(x, y) != expected).mean() < 0.01


def test_solid_angles():
    def omega(region):
        shape = sky_shape(region)
        return shape_solid_angle(to_plane(shape, shape.plane), shape.plane)

    cap = 2 * np.pi * (1 - np.cos(np.arctan(np.deg2rad(2.0))))
    assert omega(CircleSkyRegion(CRAB, 2 * D)) == pytest.approx(cap, rel=1e-12)
    assert omega(CircleAnnulusSkyRegion(CRAB, 1 * D, 2 * D)) == pytest.approx(
        cap - omega(CircleSkyRegion(CRAB, 1 * D)), rel=1e-12
    )
    # the solid angle of a pyramid
    a, b = np.deg2rad(3.0) / 2, np.deg2rad(5.0) / 2
    pyramid = 4 * np.arcsin(a * b / np.sqrt((1 + a**2) * (1 + b**2)))
    assert omega(RectangleSkyRegion(GC, 3 * D, 5 * D, 33 * D)) == pytest.approx(pyramid, rel=1e-12)
    octant = PolygonSkyRegion(SkyCoord([0, 40, 40, 0], [0, 0, 30, 30], unit="deg"))
    shape = sky_shape(octant)
    side = (np.arange(1000) + 0.5) / 1000 * 90 - 45
    x, y = np.meshgrid(side, side)
    inside = to_plane(shape, shape.plane).contains(x, y)
    sampled = (inside * (1 + np.deg2rad(x) ** 2 + np.deg2rad(y) ** 2) ** -1.5).mean() * np.deg2rad(90) ** 2
    assert omega(octant) == pytest.approx(sampled, rel=1e-3)
    joined = from_ds9("(icrs;circle(10, 0, 1)) | (icrs;circle(12, 0, 0.5))")
    parts = omega(from_ds9("icrs;circle(10, 0, 1)")) + omega(from_ds9("icrs;circle(12, 0, 0.5)"))
    assert omega(joined) == pytest.approx(parts, rel=1e-3)


def test_samples_cover_the_region():
    shape = sky_shape(EllipseSkyRegion(CRAB, 3 * D, 2 * D, 30 * D))
    vectors, weights = sample_region(to_plane(shape, shape.plane), shape.plane)
    assert weights.sum() == pytest.approx(1)
    x, y = shape.plane.project(vectors)
    # second moments of an ellipse with half axes a and b: a^2 / 4, b^2 / 4, and of the pixels themselves
    trace = (weights * (x**2 + y**2)).sum() + 2 * 0.1**2 / 12
    assert trace == pytest.approx((1.5**2 + 1.0**2) / 4, rel=1e-2)
    tiny = sky_shape(CircleSkyRegion(CRAB, 0.001 * D))
    vectors, weights = sample_region(to_plane(tiny, tiny.plane), tiny.plane)
    np.testing.assert_allclose(vectors[0], tiny.center, atol=1e-12)
    assert weights.tolist() == [1.0]


@given(seed=st.integers(0, 10_000), n=st.integers(2, 12), dec=st.sampled_from([-90.0, -89.9, -60.0, 0.0, 45.0]))
def test_many_regions_at_once_hold_what_each_holds(seed, n, dec):
    rng = np.random.default_rng(seed)
    vectors = positions_around(TangentPlane.at(to_vectors(np.asarray(0.0), np.asarray(dec))), 800, 2.0)
    lon, lat = from_vectors(vectors[rng.integers(0, 800, n)])
    sizes = rng.uniform(0.05, 1.0, n)
    shapes = ["icrs;circle({},{},{s})", "icrs;box({},{},{s},0.3,20)", "galactic;circle({},{},{s})"]
    texts = [shapes[i % 3].format(a, b, s=s) for i, (a, b, s) in enumerate(zip(lon, lat, sizes, strict=True))]
    regions = [on_region(from_ds9(text), text) for text in texts]
    for found, region in zip(events_inside(vectors, regions), regions, strict=True):
        np.testing.assert_array_equal(found, np.flatnonzero(region.contains(vectors)))
        np.testing.assert_array_equal(found, events_inside(vectors, [region])[0])


def test_what_is_no_region_is_refused_in_words():
    with pytest.raises(TypeError, match="LineSkyRegion; give a circle"):
        sky_shape(LineSkyRegion(CRAB, GC.icrs))
    with pytest.raises(ValueError, match="outside of a shape"):
        on_region(from_ds9("icrs;-circle(1, 1, 1)"), "text")
    apart = "(icrs;circle(1, 1, 1)) & (icrs;circle(9, 1, 1))"
    with pytest.raises(ValueError, match="holds nothing"):
        on_region(from_ds9(apart), apart)
    assert on_region(PointSkyRegion(CRAB), "p").is_point
