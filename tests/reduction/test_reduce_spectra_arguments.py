"""Bad input of spectra: refused early and in words, or kept and marked."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.background.per_run import RingBackground
from xgamma.background.phase import PhaseBackground
from xgamma.background.reflected import ReflectedRegions, WobbleRegions

ENERGY = xg.energy_axis("0.5 TeV", "50 TeV", nbin=4)
TRUE = xg.energy_axis("0.3 TeV", "100 TeV", nbin=6, name="energy_true")
CIRCLE = "icrs;circle(150.3, -25.2, 0.2)"
POINT = "icrs;point(150.3, -25.2)"


def build(runs, region=CIRCLE, energy=ENERGY, energy_true=TRUE, **options):
    return xg.reduce(
        runs, xg.region_grid(region, energy=energy, energy_true=energy_true), **{"stack": False, **options}
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"energy": None}, "no energy axis"),
        ({"energy_true": None}, r"\['edisp', 'exposure'\] need an axis of true energy"),
        ({"selection": "psf"}, "a spectrum has no psf"),
        ({"selection": "flux"}, "choose from"),
        ({"selection": []}, "choose from"),
        ({"selection": "exposure", "background": ReflectedRegions()}, "needs 'counts'"),
        ({"selection": "counts", "containment_correction": True}, "the selection leaves out"),
        ({"region": "icrs;box(150, -25, 1, 1, 0)", "containment_correction": True}, "is for circles"),
        ({"region": POINT, "selection": ["counts", "background"]}, "cannot be integrated over the point"),
        ({"region": POINT, "selection": "counts", "use_region_center": False}, "which the point"),
        ({"region": "icrs;-circle(150, -25, 1)"}, "outside of a shape"),
        ({"safe_mask": "unknown"}, "is not known"),
        ({"selection": ["counts", "exposure"], "safe_mask": "bkg-peak"}, "needs a background"),
        ({"offset_max": "-1 deg"}, "one positive angle"),
        ({"offset_max": "0.1 deg", "region": "icrs;circle(10, 10, 0.2)"}, "no run points within"),
        ({"chunks": {"y": 10}}, "not dims of spectra"),
        ({"chunks": {"obs": 0}}, "at least one run"),
        ({"max_gti": 0}, "at least 1"),
        ({"background_oversampling": 0}, "at least 1"),
    ],
)
def test_words(survey, options, words):
    with pytest.raises(ValueError, match=words):
        build(survey.observations, **options)


@pytest.mark.parametrize(
    ("background", "words"),
    [
        (RingBackground(r_in="0.3 deg", width="0.2 deg"), "no background for the spectra"),
        (ReflectedRegions, "no background for the spectra"),
        ("reflected", "no background for the spectra"),
        (ReflectedRegions(exclusion=POINT), "excludes nothing"),
        (ReflectedRegions(exclusion=3), "not a sky region"),
        (ReflectedRegions(exclusion=xr.Dataset()), "give one bool map"),
    ],
)
def test_backgrounds_of_other_kinds(survey, background, words):
    with pytest.raises(TypeError, match=words):
        build(survey.observations, background=background)


@pytest.mark.parametrize(
    ("background", "words"),
    [
        (ReflectedRegions(min_distance="-1 deg"), "not negative"),
        (ReflectedRegions(angle_increment="0 deg"), "positive angle"),
        (ReflectedRegions(binsize="1 TeV"), "converts to 'deg'"),
        (ReflectedRegions(max_region_number=0), "at least 1"),
        (ReflectedRegions(max_region_number="many"), "max_region_number='many' must be a whole number"),
        (WobbleRegions(n_off_regions=0), "at least 1"),
        (WobbleRegions(n_off_regions="three"), "n_off_regions='three' must be a whole number"),
        (WobbleRegions(n_off_regions=1.5), "at least 1"),
        (PhaseBackground((0.1, 0.1), (0.2, 0.3)), "must be an interval"),
        (PhaseBackground((0.1, 1.1), (0.2, 0.3)), "must be an interval"),
        (PhaseBackground((0.1, 0.3), (0.2, 0.4)), "overlap"),
        (PhaseBackground([(0.1, 0.3), (0.2, 0.4)], (0.5, 0.6)), "overlap"),
    ],
)
def test_settings_of_backgrounds(survey, background, words):
    with pytest.raises(ValueError, match=words):
        build(survey.observations, background=background)


def test_exclusion_maps(survey):
    sky = xg.sky_grid(SkyCoord(150, -25, unit="deg"), "1 deg", "0.1 deg")
    mask = xg.region_mask(sky, CIRCLE)
    with pytest.raises(ValueError, match="must be bool"):
        build(survey.observations, background=ReflectedRegions(exclusion=mask.astype(float)))
    with pytest.raises(ValueError, match=r"dims \(y, x\)"):
        build(survey.observations, background=ReflectedRegions(exclusion=mask.isel(y=0)))


def test_maps_and_spectra_have_options_of_their_own(survey):
    sky = xg.sky_grid(SkyCoord(150, -25, unit="deg"), "1 deg", "0.1 deg", energy=ENERGY, energy_true=TRUE)
    with pytest.raises(ValueError, match="are for spectra"):
        xg.reduce(survey.observations, sky, containment_correction=True)
    with pytest.raises(TypeError, match=r"ReflectedRegions is a background of spectra; reduce on xgamma\.region_grid"):
        xg.reduce(survey.observations, sky, background=ReflectedRegions())
    with pytest.raises(ValueError, match="no runs to reduce"):
        build(survey.observations[:0])


def test_an_empty_range_of_energy(survey):
    grid = xg.region_grid(CIRCLE, energy=ENERGY, energy_true=TRUE)
    with pytest.raises(ValueError, match="energy axis of the grid is empty"):
        xg.reduce(survey.observations, grid.isel(energy=slice(0, 0)))
    # energies at which nothing was seen are no error
    high = xg.energy_axis("1000 TeV", "2000 TeV", nbin=2)
    cube = build(survey.select(obs_id=[1]), energy=high, background=ReflectedRegions()).load(scheduler="sync")
    assert float(cube.counts.sum()) == float(cube.counts_off.sum()) == 0


def test_runs_without_a_response_are_named(make_store, sample_irfs):
    runs = make_store({}, {}).observations
    lacking = next(run for run in runs if run.obs_id == 2)
    object.__setattr__(lacking, "hdus", tuple(h for h in lacking.hdus if h.hdu_type not in ("psf", "bkg")))
    both = [runs[0], lacking]
    with pytest.warns(UserWarning, match=r"1 of 2 runs have no \['psf'\] and are left out: 2"):
        cube = build(both, containment_correction=True)
    assert cube.obs.values.tolist() == [1]
    # what nobody asks for is not missed: the background is made only where every run has a model
    assert "background" not in build(both)
    with pytest.raises(ValueError, match=r"none of the 1 runs has all of .*'psf'"):
        build([lacking], containment_correction=True)


@pytest.mark.filterwarnings("ignore:run 2")
@pytest.mark.parametrize(
    ("region", "background", "words"),
    [
        ("icrs;circle(150.0, -25.0, 0.2)", ReflectedRegions(), "no off region"),
        ("icrs;circle(150.0, -25.3, 0.5)", ReflectedRegions(), "no off region"),
        ("icrs;circle(150.5, -25.5, 0.2)", ReflectedRegions(exclusion="icrs;circle(150, -25, 3)"), "no off region"),
        ("icrs;circle(150.0, -25.0, 0.2)", WobbleRegions(n_off_regions=1), "no off region"),
    ],
)
def test_a_run_without_room_is_kept_and_marked(make_store, region, background, words):
    runs = make_store({}, {"ra": 150.8}).observations
    cube = build(runs, region, background=background)
    with pytest.warns(UserWarning, match=f"run 1: {words}"):
        cube = cube.load(scheduler="sync")
    assert cube.n_off_regions.values[0] == 0
    assert not cube.acceptance_off.values[0].any()
    assert not cube.counts_off.values[0].any()
    assert not cube.mask_safe.values[0].any()
    assert cube.off_regions.values[0] == ""
    assert np.isfinite(cube.background).all()
    table = cube.gamma.info()
    assert table.n_off_regions.values[0] == table.n_fit_bins.values[0] == 0
    stacked = cube.gamma.stack()
    np.testing.assert_array_equal(stacked.counts, cube.counts.where(cube.mask_safe, 0).sum("obs"))


def test_outside_the_field_of_view(make_store):
    runs = make_store({}, {"dec": -35.0}).observations
    cube = build(runs, background=ReflectedRegions())
    with pytest.warns(UserWarning, match=r"run 2: no exposure .* 9\... deg from its pointing"):
        cube = cube.load(scheduler="sync")
    assert cube.mask_safe.any("energy").values.tolist() == [True, False]
    with pytest.warns(UserWarning, match=r"1 of 2 runs point further than offset_max .*: 2"):
        near = build(runs, background=ReflectedRegions(), offset_max="2 deg")
    assert near.obs.values.tolist() == [1]


def test_a_run_without_good_time(make_store):
    runs = make_store({}, {}).observations
    runs = [runs[0], runs[1].select_time((0.0, 1.0))]
    with pytest.warns(UserWarning, match="run 2: no good time"):
        cube = build(runs, background=ReflectedRegions(), safe_mask="aeff-max").load(scheduler="sync")
    assert cube.mask_safe.any("energy").values.tolist() == [True, False]
    for name in ("counts", "exposure", "edisp", "counts_off"):
        assert np.isfinite(cube[name]).all()
        assert not cube[name].values[1].any()


def test_wobble_regions_that_overlap(make_store):
    runs = make_store({"ra": 150.8}).observations
    cube = build(runs, background=WobbleRegions(n_off_regions=20))
    words = r"run 1 cannot be reduced: 20 off regions .* overlap .* n_off_regions=\d+ or fewer fit"
    with pytest.raises(ValueError, match=words):
        cube.load(scheduler="sync")


def test_points_need_a_radius_of_the_responses(survey):
    with pytest.raises(ValueError, match="a spectrum from a point needs them; give a circle"):
        build(survey.select(obs_id=[1]), POINT, selection="counts").load(scheduler="sync")


def point_like(sample_irfs, rad_max=0.2):
    return {kind: sample_irfs[kind].assign_attrs(is_pointlike=1, rad_max=rad_max) for kind in ("aeff", "edisp")}


def test_point_like_responses_hold_for_their_own_radius(make_store, sample_irfs):
    runs = make_store({"irfs": point_like(sample_irfs)}).observations
    options = {"selection": ["counts", "exposure"], "background": WobbleRegions(n_off_regions=1)}
    point, circle = (build(runs, r, **options).load(scheduler="sync") for r in (POINT, CIRCLE))
    for name in ("counts", "counts_off", "exposure"):
        np.testing.assert_array_equal(point[name], circle[name], err_msg=name)
    with pytest.raises(ValueError, match=r"made with a radius of 0.2 deg; they do not hold for the region"):
        build(runs, "icrs;circle(150.3, -25.2, 0.25)", **options).load(scheduler="sync")
    with pytest.raises(ValueError, match="leave containment_correction out"):
        build(runs, containment_correction=True, **options).load(scheduler="sync")


def test_a_run_without_events(make_store):
    runs = make_store({"n": 0}, {}).observations
    regions = [CIRCLE, "icrs;box(149.6, -25.2, 0.3, 0.2, 10)"]
    for region in (CIRCLE, regions):
        cube = build(runs, region, background=ReflectedRegions()).load(scheduler="sync")
        assert not cube.counts.values[0].any()
        assert not cube.counts_off.values[0].any()
        # nothing was seen where something could have been
        assert (cube.acceptance_off.values[0] > 0).all()
        assert cube.mask_safe.values[0].any()
