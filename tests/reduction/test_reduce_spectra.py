"""Spectra of regions beside independent answers: the seed's numbers, brute force, the other ways to the same cube."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion, PixCoord, RectangleSkyRegion

import xgamma as xg
from xgamma.background.phase import PhaseBackground
from xgamma.background.reflected import ReflectedRegions
from xgamma.coords.regions import from_ds9
from xgamma.irf import evaluate
from xgamma.irf.psf import containment
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.reduction.stack import stack

D = u.deg
CENTER = SkyCoord(150.3, -25.2, unit="deg")
ENERGY = xg.energy_axis("0.5 TeV", "50 TeV", nbin=6)
TRUE = xg.energy_axis("0.3 TeV", "100 TeV", nbin=10, name="energy_true")
CIRCLE = CircleSkyRegion(CENTER, 0.2 * D)


def grid_of_regions(regions=CIRCLE, energy=ENERGY, energy_true=TRUE):
    return xg.region_grid(regions, energy=energy, energy_true=energy_true)


def reduced(runs, regions=CIRCLE, **options):
    return xg.reduce(runs, grid_of_regions(regions), **{"stack": False, **options}).load(scheduler="sync")


def position(run):
    return SkyCoord(run.ra.values, run.dec.values, unit="deg")


@pytest.mark.real_data
def test_the_crab_of_the_seed(gammapy_data):
    """Table of four runs as gammapy 0.19 printed it; acceptances as gammapy 2.1 sums them."""
    runs = xg.open_store(gammapy_data / "hess-dl3-dr1").select(obs_id=[23523, 23526, 23559, 23592])
    grid = xg.region_grid(
        CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.11 * D),
        energy=xg.energy_axis("0.1 TeV", "40 TeV", nbin=10, per_decade=True),
        energy_true=xg.energy_axis("0.05 TeV", "100 TeV", nbin=20, per_decade=True),
    )
    spectra = xg.reduce(
        runs,
        grid,
        background=ReflectedRegions(exclusion="galactic;circle(183.604, -8.708, 0.5)"),
        safe_mask={"aeff-max": {"aeff_percent": 10}},
        containment_correction=True,
        stack=False,
    ).load(scheduler="sync")
    info = spectra.gamma.info(cumulative=True)
    assert info.counts.values.tolist() == [149, 303, 439, 550]
    assert info.counts_off.values.tolist() == [117, 267, 594, 869]
    assert info.n_fit_bins.values.tolist() == [18, 19, 19, 19]
    assert info.n_bins.values.tolist() == [27] * 4
    np.testing.assert_allclose(info.sqrt_ts, [20.449684, 28.446256, 36.175888, 40.900863], atol=2e-6)
    np.testing.assert_allclose(info.livetime[-1], 6313.8116, atol=1e-3)
    np.testing.assert_allclose(info.background, [9.75, 22.25, 30.2256107, 37.8644986], rtol=1e-7)
    np.testing.assert_allclose(info.exposure_min, [2892003.3, 13397218.6, 19239700.0, 21017610.0], rtol=1e-6)
    np.testing.assert_allclose(info.exposure_max, [841726208, 1572412928, 2077411584, 2635248640], rtol=1e-6)
    assert info.acceptance.values.tolist() == [18, 37, 56, 74]
    np.testing.assert_allclose(info.alpha[-1], 0.0435725, rtol=1e-5)
    np.testing.assert_allclose(info.acceptance_off[:2], [216, 444], rtol=1e-12)
    # gammapy 2.1: Datasets.info_table(cumulative=True) quotes acceptance / alpha; the bins of its stack add up to ours
    np.testing.assert_allclose(info.acceptance / info.alpha, [216, 443.99994, 1100.52368, 1698.31897], rtol=2e-7)
    np.testing.assert_allclose(info.acceptance_off[-1], 1863.658, atol=1e-3)
    assert spectra.n_off_regions.values.tolist() == [12, 12, 41, 36]


@pytest.mark.parametrize("region", [CIRCLE, RectangleSkyRegion(CENTER, 0.5 * D, 0.3 * D, 40 * D)])
def test_counts_by_brute_force(survey, region):
    runs = survey.select(obs_id=[1, 2, 3])
    cube = reduced(runs, region, selection="counts")
    edges = np.append(ENERGY.energy_min.values, ENERGY.energy_max.values[-1])
    frame = xg.sky_grid(CENTER, "1 deg", "0.01 deg", proj="TAN").gamma.grid().frame
    for k, run in enumerate(runs):
        events = run.events
        inside = region.to_pixel(frame.wcs).contains(PixCoord.from_sky(position(events), frame.wcs))
        expected = np.histogram(events.energy.values[inside], edges)[0]
        np.testing.assert_array_equal(cube.counts[k], expected)


def test_responses_are_those_at_the_centre(survey):
    runs = survey.select(obs_id=[1, 7])
    cube = reduced(runs, containment_correction=True)
    plain = reduced(runs)
    assert cube.edisp.dims == ("obs", "energy_true", "energy")
    for k, run in enumerate(runs):
        offset = CENTER.separation(SkyCoord(*run.pointing.icrs(run.tmid), unit="deg"))
        offset = xr.DataArray(offset.deg, attrs={"units": "deg"})
        area = evaluate.effective_area(run.aeff, TRUE, offset) * run.livetime
        np.testing.assert_allclose(plain.exposure[k], area, rtol=1e-12)
        part = containment(run.psf, TRUE.values, float(offset), [0.2])[:, 0]
        np.testing.assert_allclose(cube.exposure[k], area * part, rtol=2e-2)
        kernel = evaluate.edisp_kernel(run.edisp, TRUE, ENERGY, offset)
        np.testing.assert_allclose(cube.edisp[k], kernel, rtol=1e-12, atol=1e-15)


def test_background_model_beside_a_fine_map(survey):
    runs = survey.select(obs_id=[1, 2])
    circle = CircleSkyRegion(CENTER, 0.5 * D)
    cube = reduced(runs, circle, use_region_center=False)
    sky = xg.sky_grid(CENTER, "1.1 deg", "0.01 deg", proj="TAN", energy=ENERGY, energy_true=TRUE)
    maps = xg.reduce(runs, sky, stack=False).load(scheduler="sync")
    inside = xg.region_mask(sky, circle)
    expected = maps.background.where(inside).sum(("y", "x"))
    np.testing.assert_allclose(cube.background, expected, rtol=2e-3)
    weight = xg.solid_angle(sky).where(inside)
    exposure = (maps.exposure * weight).sum(("y", "x")) / weight.sum()
    np.testing.assert_allclose(cube.exposure, exposure, rtol=2e-3)
    # what has no background is not safe
    np.testing.assert_array_equal(cube.mask_safe, cube.background > 0)


def test_energy_dispersion_over_an_area_is_weighted_with_the_exposure(survey):
    runs = survey.select(obs_id=[1])
    circle = CircleSkyRegion(CENTER, 0.5 * D)
    cube = reduced(runs, circle, use_region_center=False, selection=["counts", "edisp", "exposure"])
    sky = xg.sky_grid(CENTER, "1.2 deg", "0.1 deg", proj="TAN", energy=ENERGY, energy_true=TRUE, irf_binsize="0.1 deg")
    maps = xg.reduce(runs, sky, selection=["exposure", "edisp"], stack=False).load(scheduler="sync").isel(obs=0)
    inside = (xg.separation(sky, CENTER, "irf_") < 0.5).values
    weight = maps.irf_exposure.where(xr.DataArray(inside, dims=("irf_y", "irf_x")))
    expected = (maps.edisp * weight).sum(("irf_y", "irf_x")) / weight.sum(("irf_y", "irf_x"))
    # the part of a pixel that lies inside is a weight there
    np.testing.assert_allclose(cube.edisp[0], expected, atol=5e-3)
    np.testing.assert_allclose(cube.edisp[0].sum("energy"), expected.sum("energy"), atol=1e-3)


OPTIONS = {
    "model": {},
    "reflected": {"background": ReflectedRegions(exclusion="icrs;circle(150, -25, 0.2)")},
    "corrected": {"containment_correction": True, "background": ReflectedRegions()},
    "counts": {"selection": "counts"},
    "edisp": {"selection": ["counts", "edisp"]},
}


@pytest.mark.filterwarnings("ignore:run .*no off region", "ignore:run .*no exposure")
@pytest.mark.parametrize("name", list(OPTIONS))
@pytest.mark.parametrize("many", [False, True])
def test_stacked_in_the_tasks_as_after_them(survey, name, many):
    regions = [CIRCLE, CircleSkyRegion(SkyCoord(151.3, -24.2, unit="deg"), 0.3 * D)] if many else CIRCLE
    options = {**OPTIONS[name], "safe_mask": ["aeff-max", "offset-max"], "offset_max": "2 deg"}
    apart = reduced(survey.observations, regions, **options)
    stacked = reduced(survey.observations, regions, stack=True, chunks={"obs": 5}, **options)
    expected = stack(apart)
    assert set(stacked.data_vars) == set(expected.data_vars)
    for kind in expected.data_vars:
        assert stacked[kind].dims == expected[kind].dims
        assert stacked[kind].attrs == expected[kind].attrs
        np.testing.assert_allclose(stacked[kind], expected[kind], rtol=1e-12, atol=1e-14, err_msg=kind)
    assert "off_regions" not in stacked.coords


def test_a_stack_predicts_the_counts_that_it_sums(survey):
    cube = reduced(survey.select(obs_id=[1, 2, 7]), safe_mask={"aeff-max": {"aeff_percent": 60}})
    cube["mask_safe"][0, :3] = False
    stacked = stack(cube)
    each = (cube.exposure * cube.edisp).sum("energy_true").where(cube.mask_safe, 0.0).sum("obs")
    np.testing.assert_allclose((stacked.exposure * stacked.edisp).sum("energy_true"), each, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:run .*no exposure", "ignore:run .*no off region")
def test_many_regions_are_what_each_is(survey):
    rng = np.random.default_rng(5)
    centers = SkyCoord(150.5 + rng.uniform(-1, 1, 12), -24.7 + rng.uniform(-1, 1, 12), unit="deg")
    regions = [CircleSkyRegion(c, r * D) for c, r in zip(centers[:8], rng.uniform(0.05, 0.4, 8), strict=True)]
    regions += [RectangleSkyRegion(c.galactic, 0.3 * D, 0.2 * D, 20 * D) for c in centers[8:]]
    runs = survey.select(obs_id=[1, 2, 9])
    options = {"safe_mask": ["aeff-max", "edisp-bias"], "background": ReflectedRegions(), "use_region_center": False}
    together = reduced(runs, regions, **options)
    for k, region in enumerate(regions):
        one = reduced(runs, region, **options)
        for kind in one.data_vars:
            mine = together[kind].isel(region=k) if "region" in together[kind].dims else together[kind]
            np.testing.assert_allclose(mine, one[kind], rtol=1e-12, atol=1e-15, err_msg=str(kind))
        assert together.off_regions[:, k].values.tolist() == one.off_regions.values.tolist()


@pytest.mark.parametrize("many", [False, True])
def test_cumulative_table_is_that_of_stacks(survey, many):
    regions = [CIRCLE, CircleSkyRegion(SkyCoord(150.8, -24.6, unit="deg"), 0.3 * D)] if many else CIRCLE
    runs = survey.select(obs_id=[1, 2, 3, 7])
    cube = reduced(runs, regions, background=ReflectedRegions(), safe_mask="aeff-max")
    cube.mask_safe.values[1, ..., :2] = False
    table = cube.gamma.info(cumulative=True)
    assert table.counts.dims == (("obs", "region") if many else ("obs",))
    for k in range(4):
        expected = stack(cube.isel(obs=slice(0, k + 1))).gamma.info()
        assert set(expected.data_vars) == set(table.data_vars)
        for name in expected.data_vars:
            np.testing.assert_allclose(table[name].isel(obs=k), expected[name], rtol=1e-12, err_msg=str(name))
    assert table.attrs.keys() == expected.attrs.keys()


def test_tables_grow_with_the_runs_and_not_with_their_square(survey):
    cube = reduced(survey.select(obs_id=[1, 2]), background=ReflectedRegions(), safe_mask="aeff-max")
    tasks = []
    for number in (10, 40):
        runs = xr.concat([cube.isel(obs=[0, 1])] * number, "obs").chunk(obs=2)
        tasks.append(sum(len(layer.dask) for layer in [runs.gamma.info(cumulative=True).counts.data]))
    assert tasks[1] < 6 * tasks[0]


def test_joined_bins(survey):
    cube = reduced(survey.select(obs_id=[1, 2]), background=ReflectedRegions(), safe_mask="aeff-max")
    image = cube.gamma.to_image()
    assert image.edisp.shape == (2, 10, 1)
    np.testing.assert_allclose(image.edisp[..., 0], cube.edisp.where(cube.mask_safe, 0.0).sum("energy"))
    np.testing.assert_allclose(image.background[:, 0], cube.background.where(cube.mask_safe).sum("energy"))


def test_safe_masks_at_the_centre(survey):
    runs = survey.select(obs_id=[1, 7])
    offsets = [CENTER.separation(SkyCoord(*run.pointing.icrs(run.tmid), unit="deg")).deg for run in runs]
    edge = float(np.mean(offsets))
    cube = reduced(runs, safe_mask={"offset-max": {"offset_max": f"{edge} deg"}})
    assert cube.mask_safe.any("energy").values.tolist() == [o < edge for o in offsets]
    # thresholds of a map that has one pixel there
    sky = xg.sky_grid(CENTER, "0.1 deg", "0.1 deg", energy=ENERGY, energy_true=TRUE, irf_binsize="0.1 deg")
    for mask in ("aeff-max", "edisp-bias", "aeff-default", {"aeff-max": {"fixed_offset": "1 deg"}}):
        maps = xg.reduce(runs, sky, safe_mask=mask, stack=False).mask_safe.values[..., 0, 0]
        np.testing.assert_array_equal(reduced(runs, safe_mask=mask).mask_safe, maps, err_msg=str(mask))
    peak = reduced(runs, safe_mask="bkg-peak")
    np.testing.assert_array_equal(peak.mask_safe.argmax("energy"), peak.background.argmax("energy"))


def test_phases(make_store):
    rng = np.random.default_rng(2)
    n = 4000
    phase = rng.uniform(0, 1, n)
    events = xr.Dataset(
        {
            "ra": ("event", 150 + rng.normal(0, 0.3, n), {"units": "deg"}),
            "dec": ("event", -25 + rng.normal(0, 0.3, n), {"units": "deg"}),
            "energy": ("event", rng.uniform(0.5, 50, n), {"units": "TeV"}),
            "time": ("event", 762_531_669.184 + np.sort(rng.uniform(0, 1000, n)), {"units": "s"}),
            "phase": ("event", phase),
        }
    )
    runs = make_store({"events": events}).observations
    background = PhaseBackground(on_phase=(0.9, 0.1), off_phase=[(0.3, 0.5), (0.6, 0.8)])
    cube = reduced(runs, background=background)
    near = position(events).separation(CENTER) < 0.2 * D
    assert float(cube.counts.sum()) == (near & ((phase >= 0.9) | (phase < 0.1))).sum()
    off = ((phase >= 0.3) & (phase < 0.5)) | ((phase >= 0.6) & (phase < 0.8))
    assert float(cube.counts_off.sum()) == (near & off).sum()
    np.testing.assert_allclose(cube.acceptance, 0.2)
    np.testing.assert_allclose(cube.acceptance_off, 0.4)
    np.testing.assert_allclose(cube.background, 0.5 * cube.counts_off)
    with pytest.raises(ValueError, match="no column"):
        reduced(runs, background=PhaseBackground((0, 0.1), (0.2, 0.3), column="PULSE"))


def test_files_keep_spectra(survey, tmp_path):
    lazy = xg.reduce(survey.select(obs_id=[1, 2]), grid_of_regions(), background=ReflectedRegions(), stack=False)
    cube = lazy.load(scheduler="sync")
    for name in ("a.zarr", "a.nc"):
        back = xg.open_cube(xg.write_cube(lazy, tmp_path / name)).load()
        xr.testing.assert_equal(back.drop_vars("off_regions"), cube.drop_vars("off_regions"))
        assert back.off_regions.values.tolist() == cube.off_regions.values.tolist()


def test_off_regions_do_not_reach_the_on_region(survey):
    cube = reduced(survey.select(obs_id=[1, 2, 3]), background=ReflectedRegions())
    for text, lon, lat in zip(cube.off_regions.values, cube.pointing_lon, cube.pointing_lat, strict=True):
        pointing = to_vectors(np.asarray(float(lon)), np.asarray(float(lat)))
        found = [from_ds9(line) for line in text.split("\n")]
        centers = np.array([to_vectors(r.center.ra.deg, r.center.dec.deg) for r in found])
        own = to_vectors(CENTER.ra.deg, CENTER.dec.deg)
        np.testing.assert_allclose(separation(centers, pointing), separation(own, pointing), rtol=1e-8)
        assert separation(centers, own).min() > 0.4
        apart = [separation(np.delete(centers, i, axis=0), c).min() for i, c in enumerate(centers)]
        # the raster of 0.01 deg
        assert min(apart) > 0.4 - 0.02
