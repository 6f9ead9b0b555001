"""Cutouts: gammapy's pixels, seams, laziness, refusals."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

import xgamma as xg
from xgamma.coords.cutout import cutout, cutout_parts, cutout_slices
from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid, grid_of

#: projection, (nx, ny), pixel size (x, y), position, width (x, y) and (y0, y1, x0, x1), None where there is no overlap.
#: gammapy 2.1: g = WcsGeom.create(skydir=(83.63, 22.01), npix=.., binsz=.., proj=.., frame="icrs");
#: c = g.cutout(SkyCoord(*position, unit="deg"), width * u.deg, mode="trim"); c.cutout_slices(g)["parent-slices"]
GAMMAPY = [
    ("CAR", (66, 76), 0.02, (82.7, 21.84), (0.58, 0.12), (27, 33, 62, 66)),
    ("TAN", (39, 46), 0.05, (83.24, 21.46), (0.11, 2.0), (0, 32, 26, 28)),
    ("AIT", (33, 65), 0.1, (82.77, 21.34), (1.95, 1.8), (17, 35, 15, 33)),
    ("CAR", (75, 79), (0.05, 0.1), (83.57, 21.2), (1.36, 0.13), (31, 32, 25, 52)),
    ("TAN", (87, 58), (0.03, 0.02), (84.02, 21.97), (0.14, 1.36), (0, 58, 29, 34)),
    ("AIT", (28, 80), 0.02, (82.48, 21.83), (1.75, 0.05), (30, 32, 23, 28)),
    ("CAR", (74, 69), 0.05, (83.64, 21.98), (0.88, 0.41), (30, 38, 28, 46)),
    ("TAN", (56, 42), 0.1, (82.87, 21.06), (0.31, 1.4), (5, 19, 34, 37)),
    ("AIT", (60, 51), (0.05, 0.1), (84.13, 20.61), (0.65, 1.6), (4, 20, 14, 27)),
    ("CAR", (56, 55), (0.03, 0.02), (83.66, 20.62), (0.04, 1.87), (0, 5, 27, 28)),
    ("TAN", (80, 26), 0.02, (82.8, 22.53), (1.9, 0.8), (19, 26, 31, 80)),
    ("AIT", (34, 85), 0.05, (84.64, 22.41), (1.49, 1.35), (37, 64, 0, 13)),
    ("TAN", (31, 68), (0.05, 0.1), (83.76, 22.0), (1.6, 0.4), (32, 36, 0, 29)),
]


def cube(chunks=None):
    center = SkyCoord(83.63, 22.01, unit="deg")
    axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    grid = xg.sky_grid(center, ("3 deg", "2 deg"), "0.05 deg", energy=axis, energy_true=axis)
    counts = np.arange(2.0 * 40 * 60).reshape(2, 40, 60)
    counts = counts if chunks is None else da.from_array(counts, chunks=chunks)
    psf = np.ones((2, grid.sizes["irf_y"], grid.sizes["irf_x"], 66))
    return grid.assign(
        counts=(("energy", "y", "x"), counts, {"units": ""}),
        psf=(("energy_true", "irf_y", "irf_x", "rad"), psf, {"units": "sr-1"}),
    )


@pytest.mark.parametrize(("proj", "npix", "size", "position", "width", "expected"), GAMMAPY)
def test_pixels_of_gammapy(proj, npix, size, position, width, expected):
    size = size if isinstance(size, tuple) else (size, size)
    crpix = ((npix[0] + 1) / 2, (npix[1] + 1) / 2)
    frame, (y0, x0) = SkyFrame.centred(83.63, 22.01, size, proj, "icrs", crpix)
    y, x = cutout_slices(SkyGrid(frame, range(y0, y0 + npix[1]), range(x0, x0 + npix[0])), *position, width)
    assert (y.start, y.stop, x.start, x.stop) == expected


class TestSlices:
    grid = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "CAR", "galactic"), range(-90, 91), range(-180, 180))

    def test_none_where_there_is_no_overlap(self):
        small = self.grid.tile(slice(80, 101), slice(170, 191))
        assert cutout_slices(small, 90.0, 0.0, 5.0) is None
        assert cutout_parts(small, 90.0, 0.0, 5.0) == []

    def test_none_on_the_far_side(self):
        tan = SkyGrid(SkyFrame.create(0.0, 0.0, 1.0, "TAN", "icrs"), range(5), range(5))
        assert cutout_slices(tan, 180.0, 0.0, 5.0) is None
        assert cutout_parts(tan, 180.0, 0.0, 5.0) == []

    def test_seam_has_two_parts(self):
        parts = cutout_parts(self.grid, 180.0, 0.0, 10.0)
        assert [(x.start, x.stop) for _, x in parts] == [(0, 5), (355, 360)]
        columns = np.concatenate([np.asarray(self.grid.x)[x] for _, x in parts])
        lon, _ = self.grid.frame.pixel_to_sky(0, columns)
        assert np.abs(lon - 180).max() <= 5

    def test_parts_wider_than_the_sky_do_not_overlap(self):
        parts = cutout_parts(self.grid, 100.0, 0.0, 400.0)
        hits = np.zeros(360, int)
        for _, x in parts:
            hits[x] += 1
        assert (hits == 1).all()

    def test_position_on_another_turn(self):
        plane = SkyGrid(self.grid.frame, range(-5, 6), range(-250, -100))
        _, x = cutout_slices(plane, 200.0, 0.0, 4.0)
        assert np.asarray(plane.x)[x].tolist() == [-202, -201, -200, -199]

    def test_is_fast(self):
        """The plan of a survey asks for each run."""
        import timeit

        cutout_slices(self.grid, 10.0, 0.0, 5.0)
        number = 200
        best = min(timeit.repeat(lambda: cutout_slices(self.grid, 10.0, 0.0, 5.0), number=number, repeat=5)) / number
        assert best < 1e-3  # 20 us on an idle machine; the limit is for busy ones

    @settings(max_examples=100, deadline=None)
    @given(lon=st.floats(0, 359.9), lat=st.floats(-89, 89), width=st.tuples(st.floats(0.1, 300), st.floats(0.1, 100)))
    def test_parts_hold_exactly_the_pixels_of_the_square(self, lon, lat, width):
        mask = np.zeros(self.grid.shape, int)
        for part in cutout_parts(self.grid, lon, lat, width):
            mask[part] += 1
        y, x = (float(v) for v in self.grid.sky_to_pixel(lon, lat))
        ny, nx = (max(1, round(w)) for w in width[::-1])
        rows = [p for p in self.grid.y if np.ceil(y - ny / 2) <= p < np.ceil(y + ny / 2)]
        columns = [
            p
            for p in self.grid.x
            if any(np.ceil(x + t - nx / 2) <= p < np.ceil(x + t + nx / 2) for t in (-360, 0, 360))
        ]
        assert mask.max() <= 1
        assert mask.sum() == len(rows) * len(columns)


class TestCutout:
    def test_is_an_isel_that_stays_lazy(self):
        def raising(*args, **kwargs):
            pytest.fail("computed while the graph was built")

        whole = cube(chunks=(2, 20, 20))
        with dask.config.set(scheduler=raising):
            part = cutout(whole, SkyCoord(84, 22, unit="deg"), ("1 deg", "0.5 deg"))
        assert part.counts.chunks is not None
        y, x = grid_of(part).y, grid_of(part).x
        xr.testing.assert_identical(part.load(), cube().sel(y=list(y), x=list(x)))

    def test_response_grid_is_kept_whole(self):
        part = cutout(cube(), SkyCoord(84, 22, unit="deg"), "0.5 deg")
        assert part.psf.identical(cube().psf)
        assert grid_of(part, "irf_") == grid_of(cube(), "irf_")

    def test_trims_at_the_edges(self):
        part = cutout(cube().counts, SkyCoord(85.2, 23.0, unit="deg"), "1 deg")
        assert part.sizes["x"] < 20
        assert part.sizes["y"] == 10

    def test_position_in_another_frame(self):
        position = SkyCoord(84, 22, unit="deg")
        assert cutout(cube(), position, 0.5 * u.deg).identical(cutout(cube(), position.galactic, "30 arcmin"))

    def test_tiny_width_is_one_pixel(self):
        assert cutout(cube().counts, SkyCoord(84, 22, unit="deg"), "1 arcsec").shape == (2, 1, 1)

    def test_no_overlap_raises_in_words(self):
        with pytest.raises(ValueError, match=r"does not touch the map \(60 x 40 pixels, icrs CAR 0.05 deg\)"):
            cutout(cube(), SkyCoord(90, 22, unit="deg"), "1 deg")

    @pytest.mark.parametrize("width", ["-1 deg", "1 TeV", 1.0, ("1 deg", "1 deg", "1 deg"), "0 deg", [1, 2] * u.deg])
    def test_bad_width(self, width):
        with pytest.raises(ValueError, match="width="):
            cutout(cube(), SkyCoord(84, 22, unit="deg"), width)

    @pytest.mark.parametrize("position", [(84, 22), SkyCoord([84, 85], [22, 22], unit="deg")])
    def test_bad_position(self, position):
        with pytest.raises(TypeError, match="one astropy SkyCoord"):
            cutout(cube(), position, "1 deg")

    @settings(max_examples=25, deadline=None)
    @given(
        shift=st.tuples(st.floats(-1, 1), st.floats(-0.8, 0.8)), other=st.tuples(st.floats(-1, 1), st.floats(-0.8, 0.8))
    )
    def test_random_cutouts_align(self, shift, other):
        whole = cube().counts
        parts = [cutout(whole, SkyCoord(83.63 + s[0], 22.01 + s[1], unit="deg"), "2.5 deg") for s in (shift, other)]
        both = parts[0] + parts[1]
        np.testing.assert_array_equal(both.values, 2 * whole.sel(y=both.y, x=both.x).values)
