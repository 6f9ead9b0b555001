"""Counts, exposure, background and responses of runs against a reduction that is written down once more."""

from __future__ import annotations

import astropy.units as u
import brute_force as brute
import numpy as np
import pytest
from astropy.coordinates import EarthLocation, SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

import xgamma as xg
from xgamma.coords.bins import bin_edges
from xgamma.coords.grid import sky_grid
from xgamma.dl3.pointing import Pointing
from xgamma.irf.background import constant_background, powerlaw_background
from xgamma.irf.evaluate import edisp_kernel, point_spread_function

CENTER = SkyCoord(150, -25, unit="deg")
LOG = {"energy": ("0.6 TeV", "30 TeV", 4), "energy_true": ("0.5 TeV", "60 TeV", 5)}


def axis(name, low, high, nbin, **options):
    return xg.energy_axis(low, high, nbin=nbin, name=name, **options)


def make_grid(center=CENTER, width="4 deg", binsize="0.2 deg", frame="icrs", proj="CAR", axes=None, **options):
    if axes is None:
        axes = {n: axis(n, *v) for n, v in LOG.items()}
    return sky_grid(center, width, binsize, frame=frame, proj=proj, **axes, **options)


def run_maps(run, grid, **options):
    """Maps of one run on a grid."""
    return xg.reduce(run, grid, stack=False, **options).compute(scheduler="sync").isel(obs=0)


def check_run(run, cube, wcs, steps=1, fov=None):
    """Compare the maps of one run that fills the whole grid."""
    shape = cube.counts.shape[-2:]
    edges = bin_edges(cube, "energy")
    sky = brute.pixel_centres(wcs, shape)
    on_sky = np.isfinite(sky.spherical.lon.deg)
    sky = SkyCoord(np.nan_to_num(sky.spherical.lon), np.nan_to_num(sky.spherical.lat), frame=sky.frame.name)
    pointing = SkyCoord(*run.pointing.icrs(run.tmid), unit="deg")
    offset = sky.separation(pointing).deg
    assert_array_equal(cube.counts, brute.counts(run.events, wcs, shape, edges))
    exposure = brute.exposure(run.aeff, run.livetime, cube.energy_true.values, offset) * on_sky
    # where the area falls to zero, the last digits of an offset are a larger part of it
    assert_allclose(cube.exposure, exposure, rtol=1e-9, atol=1e-9 * exposure.max())
    lon, lat = fov or brute.field_of_view(sky.icrs, pointing)
    rate = brute.background_rate(run.bkg, edges, lon, lat, offset, steps)
    omega = brute.solid_angle(wcs, shape)
    background = rate * omega * run.ontime * on_sky
    # angles at corners lose digits: 1e-8 of a pixel of 0.2 deg
    inside = np.isfinite(omega)
    assert_allclose(cube.background.values[:, inside], background[:, inside], rtol=1e-7, atol=1e-12)
    return offset


@pytest.mark.parametrize(
    ("frame", "proj", "width"),
    [
        ("icrs", "CAR", "4 deg"),
        ("galactic", "CAR", ("6 deg", "3 deg")),
        ("icrs", "TAN", "1 deg"),
        ("galactic", "TAN", "14 deg"),
        ("icrs", "AIT", "5 deg"),
        ("galactic", "ZEA", "3 deg"),
    ],
)
def test_maps(survey, frame, proj, width):
    grid = make_grid(width=width, frame=frame, proj=proj, binsize="0.2 deg")
    shape = grid.sizes["y"], grid.sizes["x"]
    wcs = brute.make_wcs(CENTER, shape, 0.2, frame, proj)
    run = survey.get(3)
    cube = run_maps(run, grid)
    check_run(run, cube, wcs)
    assert_array_equal(cube.mask_safe, cube.background > 0)
    if width == "14 deg":
        assert float((cube.exposure > 0).mean()) < 0.7
        assert float(cube.counts.sum()) == len(run.events.energy[(run.events.energy >= 0.6) & (run.events.energy < 30)])


@pytest.mark.parametrize("dec", [0.0, 70.0])
def test_map_beside_the_run(make_store, dec):
    run = make_store({"dec": dec}).get(1)
    center = SkyCoord(150, dec, unit="deg").directional_offset_by(60 * u.deg, 3 * u.deg)
    grid = make_grid(center=center, width="3 deg", frame="galactic", binsize="0.1 deg")
    cube = run_maps(run, grid)
    check_run(run, cube, brute.make_wcs(center, (30, 30), 0.1, "galactic", "CAR"))
    assert cube.counts.sum() > 0


@pytest.mark.parametrize(
    "axes",
    [
        {
            "energy": axis("energy", "1 TeV", "21 TeV", 4, interp="lin"),
            "energy_true": axis("energy_true", *LOG["energy_true"]),
        },
        {
            "energy": xg.energy_axis(edges=["0.31 TeV", "0.7 TeV", "5 TeV", "5.5 TeV", "80 TeV"]),
            "energy_true": axis("energy_true", "1 TeV", "21 TeV", 3, interp="lin"),
        },
        {"energy": axis("energy", "1 TeV", "30 TeV", 1), "energy_true": axis("energy_true", "10 GeV", "1000 TeV", 3)},
    ],
    ids=["linear", "uneven", "single"],
)
def test_energy_axes(survey, axes):
    grid = make_grid(axes=axes, width="2 deg")
    run = survey.get(1)
    check_run(run, run_maps(run, grid), brute.make_wcs(CENTER, (10, 10), 0.2, "icrs", "CAR"))


def test_oversampled_background(make_store, sample_irfs):
    bkg = sample_irfs["bkg"]
    curved = bkg.copy(data=bkg.values * np.exp(-0.3 * np.log(bkg.energy.values) ** 2)[:, None, None])
    run = make_store({"irfs": {"bkg": curved}}).get(1)
    axes = {"energy": axis("energy", "1 TeV", "30 TeV", 2), "energy_true": axis("energy_true", *LOG["energy_true"])}
    grid = make_grid(axes=axes)
    wcs = brute.make_wcs(CENTER, (20, 20), 0.2, "icrs", "CAR")
    plain = run_maps(run, grid)
    fine = run_maps(run, grid, background_oversampling=7)
    check_run(run, plain, wcs)
    check_run(run, fine, wcs, steps=7)
    assert float(abs(fine.background / plain.background - 1).max()) > 0.01


def test_closed_form_of_the_background(make_store):
    bkg = powerlaw_background("3e-3 s-1 TeV-1 sr-1", index=2.0)
    run = make_store({"irfs": {"bkg": bkg}, "gti": [(0, 300), (400, 500)]}).get(1)
    grid = make_grid(width="1 deg", axes={"energy": axis("energy", "1 TeV", "10 TeV", 1)})
    cube = run_maps(run, grid, selection=["background"])
    # the integral of a power law, the cosine rule for a pixel of plate carree around the reference point, 400 s
    size = np.deg2rad(0.2)
    native = (np.arange(5) - 2) * size
    omega = size * (np.sin(native + size / 2) - np.sin(native - size / 2))
    expected = 3e-3 * (1 - 0.1) * 400 * omega
    # pixel sides are great circles, not parallels: a part of 1e-7 of the pixel
    assert_allclose(cube.background[0], np.repeat(expected[:, None], 5, axis=1), rtol=3e-6)
    assert set(cube.data_vars) >= {"background", "mask_safe", "livetime"}
    assert "counts" not in cube


def test_background_over_offset(make_store):
    bkg = powerlaw_background("3e-3 s-1 TeV-1 sr-1", index=2.4, sigma="1.5 deg", offset_max="4 deg")
    run = make_store({"irfs": {"bkg": bkg}}).get(1)
    cube = run_maps(run, make_grid(width="8 deg"))
    shape = (40, 40)
    wcs = brute.make_wcs(CENTER, shape, 0.2, "icrs", "CAR")
    offset = brute.pixel_centres(wcs, shape).separation(CENTER).deg
    padded = bkg.pad(offset=1, mode="edge")
    # half a bin beyond the outermost centre on either side the rate stays what it is there
    rate = brute.background_rate(
        bkg, bin_edges(cube, "energy"), None, None, np.clip(offset, *bkg.offset.values[[0, -1]])
    )
    width = float(bkg.offset_max[-1] - bkg.offset_min[-1])
    rate[:, offset > 4 + width] = 0
    assert padded.sizes["offset"] == bkg.sizes["offset"] + 2
    background = rate * brute.solid_angle(wcs, shape) * run.ontime
    assert_allclose(cube.background, background, rtol=1e-7, atol=1e-12)


def test_background_that_turns_with_the_horizon(make_store):
    rng = np.random.default_rng(4)
    bkg = powerlaw_background("3e-3 s-1 TeV-1 sr-1", sigma="1.5 deg", offset_max="4 deg", bins=9, three_d=True)
    bkg = bkg * rng.uniform(0.5, 2.0, bkg.shape[1:])
    bkg.attrs.update(constant_background().attrs, hduclass="BKG_3D", fov_alignment="ALTAZ", units="s-1 TeV-1 sr-1")
    gti = [(0.0, 600.0), (700.0, 1500.0)]
    # the pointing passes close to the zenith, where the field of view turns fast
    store = make_store({"irfs": {"bkg": bkg}, "gti": gti, "ra": 149.0, "dec": -23.5})
    run = store.get(1)
    assert run.bkg.attrs["fov_alignment"] == "ALTAZ"
    grid = make_grid(width="6 deg", binsize="0.5 deg", axes={"energy": axis("energy", "1 TeV", "10 TeV", 2)})
    cube = run_maps(run, grid, selection=["background"])
    sky = brute.pixel_centres(brute.make_wcs(CENTER, (12, 12), 0.5, "icrs", "CAR"), (12, 12))
    pointing = SkyCoord(149.0, -23.5, unit="deg")
    location = EarthLocation.from_geodetic(-70.3 * u.deg, -24.7 * u.deg, 2150 * u.m)
    intervals = np.stack([run.gti.gti_start, run.gti.gti_stop], axis=-1)
    rate = brute.background_rate_altaz(
        run.bkg, bin_edges(cube, "energy"), sky, pointing, location, intervals, sky.separation(pointing).deg, 20.0
    )
    rate = cube.background / xg.solid_angle(grid) / run.ontime / rate
    # steps of one degree against steps of twenty seconds
    assert abs(float(rate.mean()) - 1) < 1e-4
    assert float(abs(rate - 1).max()) < 3e-3


def test_drift(make_store):
    location = (-70.3, -24.7, 2150.0)
    pointing = Pointing("drift", alt=70.0, az=120.0, location=location)
    ra, dec = pointing.icrs(762_528_669.184 + 3000 + 500)
    run = make_store({"ra": ra, "dec": dec, "pointing": pointing}).get(1)
    center = SkyCoord(ra, dec, unit="deg")
    cube = run_maps(run, make_grid(center=center))
    check_run(run, cube, brute.make_wcs(center, (20, 20), 0.2, "icrs", "CAR"))
    assert (float(cube.pointing_lon), float(cube.pointing_lat)) == pytest.approx((ra, dec), abs=1e-9)
    # cut to its second half, the middle of the run lies elsewhere on the sky
    late = run.filter(time=(762_528_669.184 + 3500, 762_528_669.184 + 4000))
    half = run_maps(late, make_grid(center=center))
    check_run(late, half, brute.make_wcs(center, (20, 20), 0.2, "icrs", "CAR"))
    assert float(half.pointing_lon) - ra == pytest.approx(250 / 240, rel=0.01)


def test_time_cut(survey):
    start = survey.get(1).tstart
    run = survey.get(1).filter(time=(start + 100, start + 400))
    cube = run_maps(run, make_grid())
    check_run(run, cube, brute.make_wcs(CENTER, (20, 20), 0.2, "icrs", "CAR"))
    assert float(cube.livetime) == pytest.approx(0.95 * 300)
    assert float(cube.ontime) == pytest.approx(300)
    assert cube.gti_start.values[0] == pytest.approx(start + 100)
    whole = run_maps(survey.get(1), make_grid())
    assert 0 < cube.counts.sum() < whole.counts.sum()
    assert_allclose(cube.background, whole.background * 300 / 1680)


@pytest.mark.parametrize("chunks", [None, {"y": 7, "x": 7}])
@pytest.mark.parametrize("stack", [True, False])
def test_a_run_without_good_time_adds_nothing(survey, chunks, stack):
    start = survey.get(1).tstart
    runs = [survey.get(1).filter(time=(start - 1000, start - 500)), survey.get(2)]
    grid = make_grid(width="3 deg")
    options = {"safe_mask": ["aeff-max", "bkg-peak", "offset-max"], "selection": "all", "offset_max": "2 deg"}
    cube = xg.reduce(runs, grid, stack=stack, chunks=chunks, **options).compute(scheduler="sync")
    alone = xg.reduce(runs[1:], grid, stack=stack, chunks=chunks, **options).compute(scheduler="sync")
    if not stack:
        first = cube.isel(obs=0)
        assert not first.mask_safe.any()
        assert float(first.livetime) == 0
        assert np.isnan(first.gti_start).all()
        assert all(float(first[n].sum()) == 0 for n in ("counts", "exposure", "background", "psf", "edisp"))
        cube, alone = cube.isel(obs=1), alone.isel(obs=0)
    for name in ("counts", "exposure", "background", "mask_safe", "psf", "edisp", "irf_exposure", "livetime"):
        assert_array_equal(cube[name], alone[name], err_msg=name)


def test_good_time_intervals(make_store):
    gti = [(100.0 * k, 100.0 * k + 40 + k) for k in range(10)]
    run = make_store({"gti": gti}).get(1)
    cube = run_maps(run, make_grid(width="1 deg"), max_gti=4)
    expected = sum(b - a for a, b in gti)
    assert float(cube.ontime) == pytest.approx(expected)
    assert float(cube.livetime) == pytest.approx(0.9 * expected)
    # joined over the shortest gaps, which come last
    start = cube.gti_start.values - run.tstart
    stop = cube.gti_stop.values - run.tstart
    assert_allclose(start, [0, 100, 200, 300], atol=1e-6)
    assert_allclose(stop, [40, 141, 242, 949], atol=1e-6)
    many = run_maps(run, make_grid(width="1 deg"), max_gti=12)
    assert int(np.isfinite(many.gti_start).sum()) == 10
    assert_allclose(many.gti_stop.values[:10] - run.tstart, [b for _, b in gti], atol=1e-6)
    with pytest.raises(ValueError, match="max_gti=0 must be a whole number"):
        xg.reduce(run, make_grid(), max_gti=0)
    with pytest.raises(ValueError, match=r"background_oversampling=1\.5 must be a whole number"):
        xg.reduce(run, make_grid(), background_oversampling=1.5)


def test_responses(survey):
    run = survey.get(1)
    grid = make_grid(
        width="3 deg", irf_binsize="0.5 deg", rad=xg.coords.bins.bin_axis("rad", [0, 0.1], [0.1, 0.4], "deg", "lin")
    )
    cube = run_maps(run, grid, selection=["psf", "edisp"])
    pointing = SkyCoord(*run.pointing.icrs(run.tmid), unit="deg")
    wcs = brute.make_wcs(CENTER, (6, 6), 0.5, "icrs", "CAR")
    offset = brute.pixel_centres(wcs, (6, 6)).separation(pointing).deg
    # written down position by position
    for j, i in ((0, 0), (2, 3), (5, 1)):
        theta = f"{float(offset[j, i])!r} deg"
        psf = point_spread_function(run.psf, grid.energy_true, theta, grid.rad)
        assert_allclose(cube.psf[:, j, i], psf, rtol=1e-9)
        assert_allclose(
            cube.edisp[:, :, j, i], edisp_kernel(run.edisp, grid.energy_true, grid.energy, theta), rtol=1e-9
        )
    assert_allclose(
        cube.irf_exposure, brute.exposure(run.aeff, run.livetime, grid.energy_true.values, offset), rtol=1e-9
    )
    annuli = 2 * np.pi * (np.cos(np.deg2rad([0, 0.1])) - np.cos(np.deg2rad([0.1, 0.4])))
    # a table that ends at 0.4 deg holds all of its photons there
    assert_allclose((cube.psf * annuli).sum("rad"), 1.0, rtol=1e-4)
    assert cube.psf.dims == ("energy_true", "irf_y", "irf_x", "rad")
    assert cube.edisp.dims == ("energy_true", "energy", "irf_y", "irf_x")


def test_attributes(survey):
    cube = xg.reduce(survey.observations[:2], make_grid(), selection="all", stack=False, safe_mask="aeff-default")
    units = {n: cube[n].attrs["units"] for n in ("counts", "exposure", "psf", "edisp", "irf_exposure", "livetime")}
    assert units == {
        "counts": "",
        "exposure": "cm2 s",
        "psf": "sr-1",
        "edisp": "",
        "irf_exposure": "cm2 s",
        "livetime": "s",
    }
    assert all(v.dtype in (float, bool) for v in cube.data_vars.values())
    assert cube.obs.values.tolist() == [1, 2]
    text = str(cube.attrs)
    assert "aeff-default" in text
    assert str(xg.__version__) in text
    plain = xg.reduce(survey.observations[:2], make_grid(), selection=["counts"])
    assert "irf_y" not in plain.dims
    assert "energy_true" not in plain.coords
    assert set(plain.data_vars) == {"counts", "mask_safe", "livetime", "ontime", "gti_start", "gti_stop"}
