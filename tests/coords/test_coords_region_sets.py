"""Boxes along lines, rings, tiles of boxes; their pixels against the mask of one region."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import (
    CircleAnnulusSkyRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    RectangleAnnulusSkyRegion,
    RectangleSkyRegion,
)

import xgamma as xg
from xgamma.coords.bins import bin_axis
from xgamma.coords.nodes import bins_around_nodes
from xgamma.coords.region_pixels import region_pixels
from xgamma.coords.region_shapes import concentric_annuli, region_boxes, regions_along_line
from xgamma.coords.regions import from_ds9
from xgamma.coords.sky import grid_of


def galactic(lon, lat=0.0):
    return SkyCoord(lon, lat, unit="deg", frame="galactic")


def mask_of(grid, windows):
    mask = np.zeros(grid.shape, bool)
    for window in windows:
        part = window.cut(0, grid.shape[0], 0, grid.shape[1])
        if part is not None:
            mask[part.y : part.y + part.mask.shape[0], part.x : part.x + part.mask.shape[1]] |= part.mask
    return mask


def test_boxes_along_the_plane_tile_it():
    cube = xg.sky_grid(galactic(0), ("10 deg", "4 deg"), "0.1 deg", proj="CAR")
    boxes = regions_along_line(galactic(4), galactic(-4), "2 deg", 16, cube)
    masks = [mask_of(grid_of(cube), w) for w in region_pixels(grid_of(cube), boxes)]
    assert [m.sum() for m in masks] == [5 * 20] * 16
    assert (np.sum(masks, axis=0) <= 1).all()


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
def test_a_slanted_line_is_covered_once(proj):
    cube = xg.sky_grid(galactic(10, 1), "8 deg", "0.05 deg", proj=proj)
    start, end = galactic(11.5, 0), galactic(8.5, 2)
    boxes = regions_along_line(start, end, "1 deg", 7, cube)
    masks = np.array([mask_of(grid_of(cube), w) for w in region_pixels(grid_of(cube), boxes)])
    length = start.separation(end).deg
    assert np.sum(masks, axis=0).max() <= 2
    # neighbours touch: next to no pixel is shared or left out
    assert (masks.sum(axis=0) > 1).sum() < 10
    assert masks.sum() == pytest.approx(length * 1.0 / 0.05**2, rel=0.01)


def test_great_circle_without_a_grid():
    start, end = SkyCoord(10, 60, unit="deg"), SkyCoord(80, 50, unit="deg")
    boxes = regions_along_line(start, end, "1 deg", 5)
    centers = SkyCoord([b.center for b in boxes])
    towards = start.position_angle(end)
    assert np.abs((start.position_angle(centers) - towards).wrap_at("180d").deg).max() < 1e-9
    assert np.allclose(start.separation(centers).deg, start.separation(end).deg * (np.arange(5) + 0.5) / 5)
    # the long side of a wide box points along the line
    ahead = centers[0].directional_offset_by(boxes[0].angle + 90 * u.deg, 1 * u.deg)
    other = centers[0].directional_offset_by(boxes[0].angle - 90 * u.deg, 1 * u.deg)
    assert min(p.separation(start.directional_offset_by(towards, start.separation(centers[0]) + 1 * u.deg)).deg
               for p in (ahead, other)) < 1e-6  # fmt: skip


def test_rings():
    rings = concentric_annuli(galactic(0), "1.5 deg", 10)
    assert isinstance(rings[0], CircleSkyRegion)
    assert [round(float(r.outer_radius.value), 6) for r in rings[1:3]] == [0.3, 0.45]
    first = concentric_annuli(galactic(0), "1.5 deg", 10, radius_min="0.5 deg")[0]
    assert (first.inner_radius.value, round(float(first.outer_radius.value), 6)) == (0.5, 0.6)


def test_boxes_divide_a_map():
    cube = xg.sky_grid(galactic(30, 40), ("4 deg", "3 deg"), "0.1 deg", proj="CAR")
    boxes = region_boxes(cube, ("1 deg", "0.5 deg"))
    masks = [mask_of(grid_of(cube), w) for w in region_pixels(grid_of(cube), boxes)]
    assert len(boxes) == 24
    assert {int(m.sum()) for m in masks} == {50}
    assert (np.sum(masks, axis=0) == 1).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: regions_along_line(galactic(1), galactic(1), "1 deg", 2), "same position"),
        (lambda: regions_along_line(galactic(1), galactic(2), "0 deg", 2), "positive angle"),
        (lambda: regions_along_line(galactic(1), galactic(2), "1 deg", 0), "whole number"),
        (lambda: concentric_annuli(galactic(0), "1 deg", 2, "2 deg"), "radius_min"),
        (lambda: region_boxes(xg.sky_grid(galactic(0), "1 deg", "0.1 deg"), "2 deg"), "does not fit"),
    ],
)
def test_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(("proj", "lat"), [("CAR", 0.0), ("TAN", 60.0)])
def test_pixels_are_those_of_the_mask_of_each_region(proj, lat):
    cube = xg.sky_grid(galactic(50, lat), "6 deg", "0.05 deg", proj=proj)
    grid, rng = grid_of(cube), np.random.default_rng(3)
    regions = []
    for _ in range(6):
        center = galactic(50, lat).directional_offset_by(rng.uniform(0, 360) * u.deg, rng.uniform(0, 2) * u.deg)
        angle = rng.uniform(0, 180) * u.deg
        regions += [
            RectangleSkyRegion(center, 1 * u.deg, 0.4 * u.deg, angle),
            EllipseSkyRegion(center, 1 * u.deg, 0.4 * u.deg, angle),
            CircleSkyRegion(center, 0.4 * u.deg),
            CircleAnnulusSkyRegion(center, 0.2 * u.deg, 0.5 * u.deg),
        ]
    for region, windows in zip(regions, region_pixels(grid, regions), strict=True):
        expected = xg.region_mask(cube, region).values
        # on the rim a pixel may fall to the other side: the scales are differences over a pixel
        assert (mask_of(grid, windows) != expected).sum() <= 2
        assert expected.sum() > 100


@pytest.mark.parametrize(("proj", "lat"), [("CAR", 0.0), ("CAR", -3.5), ("TAN", 60.0)])
def test_boxes_that_are_square_in_pixels_are_not_turned(proj, lat):
    cube = xg.sky_grid(galactic(0, lat), ("6 deg", "4 deg"), "0.05 deg", proj=proj)
    grid = grid_of(cube)
    boxes = xg.region_boxes(cube, "1 deg")
    for box, windows in zip(boxes, region_pixels(grid, boxes), strict=True):
        for mask in (xg.region_mask(cube, box).values, mask_of(grid, windows)):
            rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
            assert (rows.size, columns.size) == (20, 20)
            assert mask.sum() == 400
    ring = RectangleAnnulusSkyRegion(boxes[0].center, *(w * boxes[0].width for w in (0.4, 1)), *(
        h * boxes[0].height for h in (0.4, 1)), boxes[0].angle)  # fmt: skip
    assert xg.region_mask(cube, ring).values.sum() == 400 - 64


@settings(max_examples=25)
@given(lon=st.floats(0, 359.9), radius=st.floats(0.6, 8))
def test_pixels_over_the_seam_of_the_whole_sky(lon, radius):
    cube = xg.sky_grid(galactic(0), ("360 deg", "20 deg"), "1 deg", proj="CAR")
    region = CircleSkyRegion(galactic(lon, 0.3), radius * u.deg)
    [windows] = region_pixels(grid_of(cube), [region])
    assert np.array_equal(mask_of(grid_of(cube), windows), xg.region_mask(cube, region).values)


def test_other_shapes_and_frames():
    cube = xg.sky_grid(galactic(0), "4 deg", "0.1 deg", proj="CAR")
    texts = [
        "galactic;polygon(1, -1, -1, -1, 0, 1)",
        "(galactic;circle(0, 0, 0.5)) & (galactic;circle(0.3, 0, 0.5))",
        "icrs;circle(266.4, -28.9, 0.5)",
        "galactic;point(0.52, 0.31)",
    ]
    for text, windows in zip(texts, region_pixels(grid_of(cube), [from_ds9(t) for t in texts]), strict=True):
        assert np.array_equal(mask_of(grid_of(cube), windows), xg.region_mask(cube, text).values), text


def test_bins_around_nodes():
    nodes = [0.01, 0.02, 0.05]
    axis = bins_around_nodes(bin_axis("energy_true", nodes, nodes, "TeV"))
    assert np.allclose(axis.energy_true_max, [(0.01 * 0.02) ** 0.5, (0.02 * 0.05) ** 0.5, 0.05 * (0.05 / 0.02) ** 0.5])
    assert np.allclose(axis.energy_true, nodes)
    assert bins_around_nodes(axis) is axis
    with pytest.raises(ValueError, match="nodes among"):
        bins_around_nodes(bin_axis("energy_true", [1.0, 2.0], [1.0, 3.0], "TeV"))
