"""Region masks against gammapy's and the regions package, DS9 text, centres."""

from __future__ import annotations

import warnings

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from regions import (
    CircleAnnulusSkyRegion,
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseAnnulusSkyRegion,
    EllipseSkyRegion,
    LineSkyRegion,
    PixCoord,
    PointSkyRegion,
    PolygonSkyRegion,
    RectangleAnnulusSkyRegion,
    RectangleSkyRegion,
    TextSkyRegion,
)

import xgamma as xg
from xgamma.coords.frame import SkyFrame
from xgamma.coords.regions import as_regions, from_ds9, region_center, region_mask, to_ds9
from xgamma.coords.sky import SkyGrid, grid_of

CRAB = SkyCoord(83.63, 22.01, unit="deg")
NEAR = SkyCoord(84, 22.3, unit="deg")
DEG = u.deg

REGIONS = {
    "circle": CircleSkyRegion(CRAB, 0.51 * DEG),
    "ellipse": EllipseSkyRegion(NEAR, 1.23 * DEG, 0.71 * DEG, 30 * DEG),
    "rectangle": RectangleSkyRegion(NEAR, 1.03 * DEG, 0.41 * DEG, 25 * DEG),
    "polygon": PolygonSkyRegion(SkyCoord([83, 84.2, 84.4, 83.1], [21.5, 21.6, 22.5, 22.7], unit="deg")),
    "annulus": CircleAnnulusSkyRegion(CRAB, 0.303 * DEG, 0.707 * DEG),
    "eann": EllipseAnnulusSkyRegion(CRAB, 0.31 * DEG, 0.72 * DEG, 0.23 * DEG, 0.64 * DEG, 15 * DEG),
    "rann": RectangleAnnulusSkyRegion(CRAB, 0.31 * DEG, 0.72 * DEG, 0.23 * DEG, 0.64 * DEG, 15 * DEG),
    "galactic": CircleSkyRegion(SkyCoord(184.56, -5.78, unit="deg", frame="galactic"), 0.333 * DEG),
    "partly": CircleSkyRegion(SkyCoord(86.2, 22, unit="deg"), 0.5 * DEG),
}
REGIONS["or"] = REGIONS["circle"] | REGIONS["ellipse"]
REGIONS["and"] = REGIONS["circle"] & REGIONS["ellipse"]
REGIONS["xor"] = REGIONS["circle"] ^ REGIONS["ellipse"]

#: Number of pixels, sum of rows, sum of columns: gammapy 2.1, WcsGeom.create(skydir=(83.63, 22.01), npix=(100, 80),
#: binsz=0.05, proj=.., frame="icrs").region_mask([region]); gammapy takes unions of compound regions only.
GAMMAPY = {
    "TAN": {
        "circle": (332, 13114, 16434), "ellipse": (272, 12292, 11564), "rectangle": (168, 7608, 7159),
        "polygon": (490, 20090, 24106), "annulus": (504, 19908, 24948), "eann": (118, 4661, 5841),
        "rann": (154, 6083, 7623), "galactic": (140, 5552, 6895), "partly": (204, 8076, 984),
        "or": (489, 20351, 22709),
    },
    "CAR": {
        "circle": (332, 13114, 16434), "ellipse": (271, 12254, 11531), "rectangle": (168, 7608, 7159),
        "polygon": (490, 20090, 24106), "annulus": (504, 19908, 24948), "eann": (118, 4661, 5841),
        "rann": (154, 6083, 7623), "galactic": (140, 5552, 6895), "partly": (204, 8076, 984),
        "or": (488, 20313, 22676),
    },
}  # fmt: skip


def grid(proj="TAN"):
    return xg.sky_grid(CRAB, ("5 deg", "4 deg"), "0.05 deg", proj=proj)


def whole_sky():
    sky = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic"), range(-90, 90), range(-180, 180))
    return xr.Dataset(coords=sky.coords())


def galactic(lon, lat=0.0):
    return SkyCoord(lon, lat, unit="deg", frame="galactic")


class TestMask:
    @pytest.mark.parametrize("proj", ["TAN", "CAR"])
    @pytest.mark.parametrize("name", list(GAMMAPY["TAN"]))
    def test_pixels_of_gammapy(self, proj, name):
        rows, columns = np.nonzero(region_mask(grid(proj), REGIONS[name]).values)
        assert (len(rows), rows.sum(), columns.sum()) == GAMMAPY[proj][name]

    @pytest.mark.parametrize("name", list(REGIONS))
    def test_equals_contains_of_the_regions_package(self, name):
        g = grid()
        frame = grid_of(g).frame
        positions = SkyCoord(g.lon.values, g.lat.values, unit="deg")
        expected = REGIONS[name].contains(positions, frame.wcs)
        np.testing.assert_array_equal(region_mask(g, REGIONS[name]).values, expected)

    def test_compound_regions_are_sets(self):
        one, two = (region_mask(grid(), REGIONS[n]) for n in ("circle", "ellipse"))
        for name, expected in (("or", one | two), ("and", one & two), ("xor", one ^ two)):
            np.testing.assert_array_equal(region_mask(grid(), REGIONS[name]), expected)
        np.testing.assert_array_equal(region_mask(grid(), [REGIONS["circle"], REGIONS["ellipse"]]), one | two)

    def test_point_is_the_pixel_that_contains_it(self):
        """gammapy marks the four pixels around the point."""
        mask = region_mask(grid(), PointSkyRegion(NEAR))
        assert int(mask.sum()) == 1
        found = mask.sel(lon=NEAR.ra.deg, lat=NEAR.dec.deg, method="nearest")
        assert bool(found)

    def test_excluded_region_is_its_complement(self):
        inside = region_mask(grid(), "icrs;circle(83.63, 22.01, 0.5)")
        outside = region_mask(grid(), "icrs;-circle(83.63, 22.01, 0.5)")
        np.testing.assert_array_equal(outside, ~inside)

    def test_result_is_a_mask_on_the_grid(self):
        mask = region_mask(grid(), REGIONS["circle"])
        assert mask.dims == ("y", "x")
        assert mask.dtype == bool
        assert mask.attrs["units"] == ""
        assert grid_of(mask) == grid_of(grid())

    def test_cutout_of_the_mask_is_the_mask_of_the_cutout(self):
        part = grid().isel(y=slice(20, 60), x=slice(10, 70))
        whole = region_mask(grid(), REGIONS["rectangle"])
        np.testing.assert_array_equal(region_mask(part, REGIONS["rectangle"]), whole[20:60, 10:70])


class TestSeam:
    @pytest.mark.parametrize("lon", [0.0, 175.0, 180.0, 185.0, 359.5])
    def test_circles_are_whole(self, lon):
        """317 points of a lattice lie within 10.02 of one, 316 of a middle; gammapy loses some at the seam."""
        mask = region_mask(whole_sky(), CircleSkyRegion(galactic(lon), 10.02 * DEG))
        near = SkyCoord(mask.lon.values, mask.lat.values, unit="deg", frame="galactic").separation(galactic(lon)).deg
        assert int(mask.sum()) == (317 if lon == round(lon) else 316)
        assert near[mask.values].max() < 10.2

    def test_polygons_are_whole(self):
        vertices = galactic([170, 190, 190, 170], [-5, -5, 5, 5])
        mask = region_mask(whole_sky(), PolygonSkyRegion(vertices))
        centre = region_mask(whole_sky(), PolygonSkyRegion(galactic([350, 10, 10, 350], [-5, -5, 5, 5])))
        assert int(mask.sum()) == int(centre.sum())
        assert set(mask.lon.values[mask.values]) <= set(np.arange(170.0, 191.0))

    def test_point_and_compound(self):
        assert int(region_mask(whole_sky(), PointSkyRegion(galactic(179.6))).sum()) == 1
        ring = CircleSkyRegion(galactic(180), 10 * DEG) ^ CircleSkyRegion(galactic(180), 5 * DEG)
        circles = [int(region_mask(whole_sky(), CircleSkyRegion(galactic(180), r * DEG)).sum()) for r in (5, 10)]
        assert int(region_mask(whole_sky(), ring).sum()) == circles[1] - circles[0]

    def test_map_beyond_half_a_turn(self):
        plane = SkyGrid(SkyFrame.create(0.0, 0.0, 0.5, "CAR", "galactic"), range(-10, 11), range(-500, -300))
        mask = region_mask(xr.Dataset(coords=plane.coords()), CircleSkyRegion(galactic(200), 2.01 * DEG))
        # 49 points of a lattice lie within 4.02 of one
        assert int(mask.sum()) == 49
        assert np.abs(mask.lon.values[mask.values] - 200).max() <= 2 + 1e-9


class TestOutside:
    far = CircleSkyRegion(SkyCoord(100, 22, unit="deg"), 0.5 * DEG)

    def test_warns_when_eager(self):
        with pytest.warns(UserWarning, match="no pixel centre lies in the regions"):
            mask = region_mask(grid(), self.far)
        assert not mask.any()

    def test_is_silent_when_lazy(self):
        lazy = grid().assign(a=(("y", "x"), np.zeros((80, 100)))).chunk(y=40)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not region_mask(lazy, self.far).values.any()

    def test_far_side_of_the_projection(self):
        behind = CircleSkyRegion(SkyCoord(263.63, -22.01, unit="deg"), 1 * DEG)
        with pytest.warns(UserWarning, match="no pixel centre"):
            assert not region_mask(grid("TAN"), behind).any()
        assert region_mask(grid("TAN"), [behind, REGIONS["circle"]]).sum() == 332

    def test_polygon_half_behind_raises(self):
        half = PolygonSkyRegion(SkyCoord([83, 84, 263], [22, 23, -22], unit="deg"))
        with pytest.raises(ValueError, match="far side of the TAN projection"):
            region_mask(grid("TAN"), half)

    @pytest.mark.parametrize(
        ("regions", "error", "text"),
        [
            ([], ValueError, "list of regions is empty"),
            (CirclePixelRegion(PixCoord(1, 2), 3), TypeError, "not a sky region"),
            (3.0, TypeError, "not a sky region"),
            (CRAB, TypeError, r"\(SkyCoord\) is not a sky region"),
            (np.ones((50, 50), bool), TypeError, r"array.{,40}\(ndarray\) is not a sky region"),
            ("nonsense", ValueError, "not one sky region in DS9 format"),
            ("image;circle(1, 2, 3)", ValueError, "not one sky region"),
            ("icrs;circle(1, 2)", ValueError, "not one sky region"),
            ("(icrs;circle(1, 2, 3)) + (icrs;circle(1, 2, 3))", ValueError, "operators are"),
            (LineSkyRegion(CRAB, NEAR), TypeError, "LineSkyRegion has no area"),
            (TextSkyRegion(CRAB, "Crab"), TypeError, "TextSkyRegion has no area"),
        ],
    )
    def test_bad_regions(self, regions, error, text):
        with pytest.raises(error, match=text):
            region_mask(grid(), regions)


class TestLazy:
    @pytest.mark.parametrize("name", list(REGIONS))
    def test_chunked_equals_unchunked(self, name):
        def raising(*args, **kwargs):
            pytest.fail("computed while the graph was built")

        lazy = grid().assign(a=(("y", "x"), np.zeros((80, 100)))).chunk(y=33, x=40)
        with dask.config.set(scheduler=raising):
            mask = region_mask(lazy, REGIONS[name])
        assert mask.chunks == ((33, 33, 14), (40, 40, 20))
        np.testing.assert_array_equal(mask.values, region_mask(grid(), REGIONS[name]).values)

    def test_two_regions_are_two_graphs(self):
        lazy = grid().assign(a=(("y", "x"), np.zeros((80, 100)))).chunk(y=33, x=40)
        one, two = (region_mask(lazy, REGIONS[n]) for n in ("circle", "annulus"))
        assert one.data.name != two.data.name
        assert int((one & two).sum()) == int((one.compute() & two.compute()).sum())


class TestText:
    @pytest.mark.parametrize("name", list(REGIONS))
    def test_round_trip(self, name):
        text = to_ds9(REGIONS[name])
        assert "\n" not in text
        assert to_ds9(from_ds9(text)) == text
        np.testing.assert_array_equal(region_mask(grid(), text), region_mask(grid(), REGIONS[name]))

    @pytest.mark.parametrize(
        "region", [PointSkyRegion(CRAB), LineSkyRegion(CRAB, NEAR), CircleSkyRegion(CRAB.fk5, 0.1 * DEG)]
    )
    def test_round_trip_of_others(self, region):
        assert to_ds9(from_ds9(to_ds9(region))) == to_ds9(region)

    def test_text_region(self):
        assert from_ds9(to_ds9(TextSkyRegion(CRAB, "a (b); c"))).text == "a (b); c"

    def test_sign_is_kept_names_are_not(self):
        region = CircleSkyRegion(CRAB, 0.1 * DEG, meta={"include": False, "text": "Crab"}, visual={"color": "red"})
        assert to_ds9(region) == "icrs;-circle(83.6300000000,22.0100000000,0.1000000000)"
        assert not from_ds9(to_ds9(region)).meta["include"]

    def test_nested_compound(self):
        nested = (REGIONS["circle"] | REGIONS["ellipse"]) & REGIONS["rectangle"]
        assert to_ds9(from_ds9(to_ds9(nested))) == to_ds9(nested)
        np.testing.assert_array_equal(region_mask(grid(), to_ds9(nested)), region_mask(grid(), nested))

    def test_lists(self):
        assert len(as_regions([REGIONS["circle"], "icrs;circle(1, 2, 3)"])) == 2


class TestCenter:
    def test_kinds(self):
        assert region_center(REGIONS["circle"]) is REGIONS["circle"].center
        assert region_center(REGIONS["polygon"]).separation(SkyCoord(83.68, 22.08, unit="deg")).deg < 0.05
        assert region_center(LineSkyRegion(CRAB, NEAR)).separation(CRAB) < CRAB.separation(NEAR)
        assert region_center(REGIONS["or"]).separation(CRAB) < CRAB.separation(NEAR)

    def test_mean_over_0_h(self):
        region = PolygonSkyRegion(SkyCoord([359, 1, 1, 359], [-1, -1, 1, 1], unit="deg"))
        assert region_center(region).separation(SkyCoord(0, 0, unit="deg")).deg < 1e-9
