"""SkyFrame: projections against astropy and wcslib, rotations, one spelling of a WCS."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from xgamma.coords.frame import SkyFrame, pixel_geometry, pixel_solid_angle
from xgamma.coords.sky import SkyGrid, sky_coords

PROJECTIONS = ["TAN", "SIN", "ZEA", "ARC", "STG", "AIT", "MOL", "SFL", "PAR", "CAR", "CEA", "MER", "HPX"]


def simple(proj, lon=83.63, lat=22.01, size=0.1, frame=("RA", "DEC"), crpix=(1.0, 1.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{n:-<5}{proj}"[:8] if len(n) == 4 else f"{n:-<{5}}{proj}" for n in frame]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [lon, lat], list(crpix), [-size, size]
    return wcs


class TestProjections:
    @pytest.mark.parametrize("proj", PROJECTIONS)
    @pytest.mark.parametrize("lat", [0.0, 22.01])
    def test_equals_astropy(self, proj, lat):
        """Pixels and sky of astropy's own WCS, whose CRPIX is not moved."""
        wcs = simple(proj, lat=lat, crpix=(37.25, 21.5))
        frame, (y0, x0) = SkyFrame.from_wcs(wcs)
        y, x = np.mgrid[0:40:7, 0:70:9].astype(float)
        lon, lat_ = wcs.wcs_pix2world(x, y, 0)
        got = frame.pixel_to_sky(y + y0, x + x0)
        difference = (got[0] - lon + 180) % 360 - 180
        assert np.abs(difference * np.cos(np.deg2rad(lat_))).max() < 1e-9
        np.testing.assert_allclose(got[1], lat_, rtol=0, atol=1e-9)
        back = frame.sky_to_pixel(lon, lat_, near_x=x0 + 35)
        np.testing.assert_allclose(back[0], y + y0, rtol=0, atol=1e-7)
        np.testing.assert_allclose(back[1], x + x0, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("proj", ["TAN", "SIN", "STG"])
    def test_far_side_is_nan(self, proj):
        frame = SkyFrame.create(83.63, 22.01, 0.1, proj, "icrs")
        assert np.isnan(frame.sky_to_pixel(263.63, -22.01)).all()

    def test_corners_of_aitoff_are_nan(self):
        frame = SkyFrame.create(0.0, 0.0, 1.0, "AIT", "galactic")
        lon, lat = frame.pixel_to_sky([80.0, 0.0], [150.0, 150.0])
        np.testing.assert_array_equal(np.isnan(lon), [True, False])
        np.testing.assert_array_equal(np.isnan(lat), [True, False])

    def test_plate_carree_beyond_half_a_turn(self):
        """Maps of the Galactic plane run from l=260 over 0 to 70 and more: wcslib alone refuses l < -180 of CRVAL."""
        frame = SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic")
        lon, lat = frame.pixel_to_sky(0.0, np.array([-179.0, -180.0, -181.0, -300.0, 200.0]))
        np.testing.assert_allclose(lon, [179.0, 180.0, 181.0, 300.0, 160.0])
        assert (lat == 0).all()

    def test_positions_choose_the_turn_of_the_map(self):
        grid = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic"), range(-5, 6), range(-250, -100))
        y, x = grid.sky_to_pixel(200.0, 1.0)
        assert (float(y), float(x)) == pytest.approx((1.0, -200.0))
        assert grid.contains(200.0, 1.0)
        assert not grid.contains(20.0, 1.0)

    @pytest.mark.parametrize("lon", [0.0, 359.99, 180.0, 179.99])
    def test_wrap_at_0_and_180(self, lon):
        for crval in (0.0, 180.0):
            frame = SkyFrame.create(crval, 0.0, 0.02, "CAR", "galactic")
            y, x = frame.sky_to_pixel(lon, 0.0, near_x=0.0)
            assert float(frame.pixel_to_sky(y, x)[0]) == pytest.approx(lon, abs=1e-9)

    def test_oblique_plate_carree_is_periodic_in_its_own_longitude(self):
        frame = SkyFrame.create(83.63, 22.01, 1.0, "CAR", "icrs")
        here, turn = (np.array(frame.pixel_to_sky(10.0, x)) for x in (-170.0, 190.0))
        np.testing.assert_allclose(here, turn, rtol=0, atol=1e-9)

    @pytest.mark.parametrize(
        ("proj", "frame"), [("XXX", "icrs"), ("COE", "icrs"), ("TPV", "icrs"), ("GLS", "icrs"), ("TAN", "horizon")]
    )
    def test_unknown_projection_or_frame_raises(self, proj, frame):
        with pytest.raises(ValueError, match=r"is not a FITS projection|must be one of"):
            SkyFrame.create(0.0, 0.0, 0.1, proj, frame)

    @settings(max_examples=150, deadline=None)
    @given(
        proj=st.sampled_from(PROJECTIONS),
        frame=st.sampled_from(["icrs", "galactic", "fk5"]),
        lon=st.floats(0, 359.9),
        lat=st.floats(-80, 80),
        size=st.floats(0.005, 0.5),
        y=st.floats(-30, 30),
        x=st.floats(-30, 30),
    )
    def test_pixel_sky_pixel(self, proj, frame, lon, lat, size, y, x):
        lat = 0.0 if proj in ("CEA", "MER", "HPX", "MOL", "SFL", "PAR") else lat
        sky = SkyFrame.create(lon, lat, size, proj, frame)
        there = sky.pixel_to_sky(y, x)
        back = sky.sky_to_pixel(*there, near_x=0.0)
        np.testing.assert_allclose([float(v) for v in back], [y, x], rtol=0, atol=1e-6)


class TestCanonical:
    @settings(max_examples=60, deadline=None)
    @given(shift=st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)), part=st.floats(-0.49, 0.5))
    def test_whole_pixels_give_the_same_frame(self, shift, part):
        frame, (y0, x0) = SkyFrame.from_wcs(simple("TAN", crpix=(1 + part, 1)))
        other, (y1, x1) = SkyFrame.from_wcs(simple("TAN", crpix=(1 + part + shift[1], 1 + shift[0])))
        assert frame == other
        assert hash(frame) == hash(other)
        assert (y0 - y1, x0 - x1) == shift

    def test_half_pixels_do_not(self):
        assert SkyFrame.from_wcs(simple("TAN"))[0] != SkyFrame.from_wcs(simple("TAN", crpix=(1.5, 1)))[0]

    def test_cd_pc_and_cdelt_spell_one_frame(self):
        plain = SkyFrame.from_wcs(simple("TAN"))[0]
        header = simple("TAN").to_header()
        for key in ("CDELT1", "CDELT2"):
            header.pop(key, None)
        header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -0.1, 0.0, 0.0, 0.1
        assert SkyFrame.from_wcs(WCS(header))[0] == plain
        header = simple("TAN").to_header()
        header["CDELT1"], header["PC1_1"] = 0.1, -1.0
        assert SkyFrame.from_wcs(WCS(header))[0] == plain

    def test_rotated_maps_keep_their_matrix(self):
        wcs = simple("TAN")
        angle = np.deg2rad(30)
        wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        frame, _ = SkyFrame.from_wcs(wcs)
        for x, y in ((3, 4), (-20, 11)):
            np.testing.assert_allclose(
                [float(v) for v in frame.pixel_to_sky(y, x)], wcs.wcs_pix2world(x, y, 0), rtol=0, atol=1e-10
            )
        assert frame.binsize == pytest.approx((0.1, 0.1))
        assert frame.period is None

    def test_radesys_and_equinox_that_say_nothing(self):
        galactic = simple("CAR", frame=("GLON", "GLAT"))
        with_equinox = simple("CAR", frame=("GLON", "GLAT"))
        with_equinox.wcs.radesys, with_equinox.wcs.equinox = "FK5", 2000.0
        assert SkyFrame.from_wcs(galactic)[0] == SkyFrame.from_wcs(with_equinox)[0]
        icrs, icrs_2000, fk5 = simple("TAN"), simple("TAN"), simple("TAN")
        icrs.wcs.radesys = icrs_2000.wcs.radesys = "ICRS"
        icrs_2000.wcs.equinox = fk5.wcs.equinox = 2000.0
        assert SkyFrame.from_wcs(icrs)[0] == SkyFrame.from_wcs(icrs_2000)[0]
        assert SkyFrame.from_wcs(icrs)[0] != SkyFrame.from_wcs(fk5)[0]
        assert SkyFrame.from_wcs(fk5)[0].name == "fk5"

    def test_negative_crval(self):
        one, two = simple("CAR", lon=-19.0, lat=0.0), simple("CAR", lon=341.0, lat=0.0)
        assert SkyFrame.from_wcs(one)[0] == SkyFrame.from_wcs(two)[0]
        assert float(SkyFrame.from_wcs(one)[0].pixel_to_sky(0, 0)[0]) == pytest.approx(341.0)

    @pytest.mark.parametrize("proj", PROJECTIONS)
    @pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
    def test_header_round_trip(self, proj, frame):
        sky, (y0, x0) = SkyFrame.centred(83.633, 0.0, (0.03, 0.02), proj, frame, (75.5, 50.5))
        header = fits.Header.fromstring(sky.header(y0, x0).tostring())
        assert (header["CRPIX1"], header["CRPIX2"]) == (75.5, 50.5)
        assert SkyFrame.from_wcs(WCS(header)) == (sky, (y0, x0))

    def test_energy_axis_of_a_cube_header_is_left_out(self):
        header = simple("TAN").to_header()
        header["WCSAXES"], header["CTYPE3"], header["CRVAL3"], header["CRPIX3"] = 3, "ENERGY", 1.0, 1.0
        assert SkyFrame.from_wcs(WCS(header))[0] == SkyFrame.from_wcs(simple("TAN"))[0]

    def test_pickle_is_small(self):
        frame = SkyFrame.create(83.63, 22.01, 0.02, "TAN", "icrs")
        assert len(pickle.dumps(frame)) < 600
        assert pickle.loads(pickle.dumps(frame)) == frame


class TestRefusals:
    def test_no_celestial_axes(self):
        with pytest.raises(ValueError, match="no pair of celestial axes"):
            sky_coords(WCS(naxis=2), (3, 3))

    def test_latitude_first(self):
        wcs = simple("TAN")
        wcs.wcs.ctype = ["DEC--TAN", "RA---TAN"]
        with pytest.raises(ValueError, match="transpose the map first"):
            sky_coords(wcs, (3, 3))

    def test_distortion(self):
        header = simple("TAN").to_header()
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header["A_ORDER"], header["B_ORDER"], header["A_2_0"], header["B_0_2"] = 2, 2, 1e-5, 1e-5
        with pytest.raises(ValueError, match="distortion"):
            sky_coords(WCS(header), (3, 3))
        with pytest.raises(ValueError, match="distortion"):
            sky_coords(simple("TPV"), (3, 3))

    def test_position_that_is_none(self):
        with pytest.raises(TypeError, match="must be an astropy SkyCoord"):
            SkyFrame.create(0.0, 0.0, 1.0, "TAN", "icrs").position((83.0, 22.0))


class TestRotation:
    @pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
    def test_equals_skycoord(self, frame):
        rng = np.random.default_rng(1)
        icrs = SkyCoord(rng.uniform(0, 360, 500), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 500))), unit="deg")
        sky = SkyFrame.create(0.0, 0.0, 1.0, "CAR", frame)
        lon, lat = sky.from_icrs(icrs.ra.deg, icrs.dec.deg)
        ours = SkyCoord(lon, lat, unit="deg", frame=frame)
        assert ours.separation(icrs.transform_to(frame)).deg.max() < 1e-10
        back = SkyCoord(*sky.to_icrs(lon, lat), unit="deg")
        assert back.separation(icrs).deg.max() < 1e-10
        assert (lon >= 0).all()
        assert (lon < 360).all()


class TestSolidAngle:
    @staticmethod
    def whole_sky(proj, size):
        frame = SkyFrame.create(0.0, 0.0, size, proj, "galactic")
        n = round(180 / size)
        return SkyGrid(frame, range(-n // 2 - 3, n // 2 + 4), range(-n, n) if frame.period else range(-n, n + 1))

    def test_parallels(self):
        """Closed form (lon2 - lon1)(sin lat2 - sin lat1); our sides are great circles, which differ as size squared."""
        for size in (1.0, 0.1):
            frame, _ = SkyFrame.centred(0.0, 0.0, (size, size), "CAR", "galactic", (1.0, 1.0))
            y = range(round(20 / size), round(70 / size))
            ours = pixel_solid_angle(frame, y, range(3))
            edges = np.deg2rad((np.append(np.asarray(y), y[-1] + 1) - 0.5) * size)
            exact = np.deg2rad(size) * np.diff(np.sin(edges))
            assert np.abs(ours[:, 1] / exact - 1).max() < 1e-4 * size**2

    def test_equator_band_is_a_lune(self):
        """Pixels with a corner at each pole are lunes, whose sides are great circles: exact."""
        frame, (y0, x0) = SkyFrame.centred(0.0, 0.0, (1.0, 90.0), "CAR", "galactic", (1.0, 1.5))
        omega = pixel_solid_angle(frame, range(y0, y0 + 2), range(x0, x0 + 5))
        np.testing.assert_allclose(omega, np.deg2rad(1.0), rtol=1e-12)

    @pytest.mark.parametrize(
        ("proj", "size", "tolerance"),
        [("CAR", 1.0, 1e-8), ("CAR", 0.7, 2e-3), ("AIT", 1.0, 5e-4), ("AIT", 0.5, 2e-4), ("MOL", 1.0, 5e-4),
         ("CEA", 1.0, 5e-4), ("SFL", 1.0, 1e-3)],
    )  # fmt: skip
    def test_whole_sky_is_four_pi(self, proj, size, tolerance):
        """0.7 deg does not divide the turn: the seam has a part of a pixel too much or too little.

        Near the poles of SFL pixels are sheared, and great circles poor sides: 4e-4 of the sky at 1 deg.
        """
        grid = self.whole_sky(proj, size)
        total = pixel_solid_angle(grid.frame, grid.y, grid.x).sum()
        assert total == pytest.approx(4 * np.pi, rel=tolerance)

    def test_poles_within_a_row(self):
        """Rows centred on the poles: half of their pixels are sky."""
        frame = SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic")
        omega = pixel_solid_angle(frame, range(-90, 91), range(-180, 180))
        cap = 1 - np.cos(np.deg2rad(0.5))
        assert omega[-1].sum() == pytest.approx(2 * np.pi * cap, rel=0.01)
        assert omega.sum() == pytest.approx(4 * np.pi, rel=1e-6)

    def test_limb_of_aitoff(self):
        """An equal-area map: each pixel is a square degree at most, and zero outside of the sky."""
        grid = self.whole_sky("AIT", 1.0)
        omega = pixel_solid_angle(grid.frame, grid.y, grid.x)
        assert omega.max() < np.deg2rad(1.0) ** 2 * 1.02
        assert omega[0, 0] == 0
        assert np.isfinite(omega).all()

    def test_small_pixels_keep_all_digits(self):
        frame = SkyFrame.create(10.0, 0.0, 1e-5, "TAN", "icrs")
        omega = pixel_solid_angle(frame, range(-2, 3), range(-2, 3))
        np.testing.assert_allclose(omega, np.deg2rad(1e-5) ** 2, rtol=1e-8)

    def test_gammapy_numbers(self):
        """gammapy 2.1: WcsGeom.create(skydir=(83.63, 22.01), npix=(5, 4), binsz=, proj=, frame="icrs").solid_angle().

        gammapy adds two plane right-angled triangles per pixel, which is less than the sphere by a part that
        falls with the square of the pixel size: 2.4e-4 at 2 deg, 2.4e-6 at 0.2 deg.
        """
        reference = {
            ("TAN", 0.2): ([1.21832377e-05, 1.21839055e-05, 1.21841280e-05, 1.21839051e-05, 1.21832369e-05], 3e-6),
            ("CAR", 2.0): ([0.00121657, 0.00121657, 0.00121657, 0.00121657, 0.00121657], 3e-4),
        }
        for (proj, size), (row, tolerance) in reference.items():
            frame, (y0, x0) = SkyFrame.centred(83.63, 22.01, (size, size), proj, "icrs", (3.0, 2.5))
            omega = pixel_solid_angle(frame, range(y0, y0 + 4), range(x0, x0 + 5))
            np.testing.assert_allclose(omega[0], row, rtol=tolerance)

    def test_geometry_is_made_once_and_read_only(self):
        frame = SkyFrame.create(83.63, 22.01, 0.1, "TAN", "galactic")
        geometry = pixel_geometry(frame, range(5), range(6))
        assert pixel_geometry(frame, range(5), range(6)) is geometry
        center = SkyCoord(83.63, 22.01, unit="deg", frame="galactic").icrs.cartesian.xyz.value
        np.testing.assert_allclose(geometry.vectors[0, 0], center, atol=1e-12)
        with pytest.raises(ValueError, match="read-only"):
            geometry.vectors[0, 0] = 0
