"""The five safe masks: by their definitions, against gammapy's numbers, and with options that make no sense."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.coords.grid import sky_grid
from xgamma.irf.aeff import rising_energy
from xgamma.irf.evaluate import edisp_kernel, effective_area
from xgamma.reduction.settings import parse_safe_mask

HESS = (20136, 20301, 20325, 20368)
CTA = (110380, 111140)


def safe(observations, grid, safe_mask, **options):
    """Return the mask of each run, shape (obs, energy, y, x)."""
    cube = xg.reduce(observations, grid, safe_mask=safe_mask, stack=False, **options)
    return cube.mask_safe.compute(scheduler="sync")


def energies(mask):
    """Numbers of the first and last bin that is safe anywhere."""
    inside = np.flatnonzero(mask.any(("y", "x")))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


@pytest.fixture
def grid():
    energy = xg.energy_axis("0.1 TeV", "100 TeV", nbin=30)
    true = xg.energy_axis("0.05 TeV", "150 TeV", nbin=40, name="energy_true")
    return sky_grid(SkyCoord(150, -25, unit="deg"), "3 deg", "0.1 deg", energy=energy, energy_true=true)


def whole_bins(grid, low=-np.inf, high=np.inf):
    """Bins of which both edges lie inside: the rule of all thresholds."""
    return (grid.energy_min.values >= low) & (grid.energy_max.values <= high)


def test_default_thresholds_of_the_file(survey, grid):
    run = survey.get(1)
    assert (run.aeff.attrs["lo_thres"], run.aeff.attrs["hi_thres"]) == (0.3, 100.0)
    mask = safe([run], grid, "aeff-default", selection=["counts"])
    # counts alone: there is no background that could forbid a voxel
    expected = whole_bins(grid, 0.3, 100 * (1 + 1e-12))
    assert 0 < expected.sum() < 30
    np.testing.assert_array_equal(mask.all(("y", "x"))[0], expected)
    np.testing.assert_array_equal(mask.any(("y", "x"))[0], expected)


def test_an_edge_on_the_threshold_is_inside(survey):
    energy = xg.energy_axis(edges=["0.2 TeV", "0.3 TeV", "1 TeV", "100 TeV", "200 TeV"])
    grid = sky_grid(SkyCoord(150, -25, unit="deg"), "1 deg", "0.5 deg", energy=energy)
    mask = safe([survey.get(1)], grid, "aeff-default", selection=["counts"])
    assert mask[0, :, 0, 0].values.tolist() == [False, True, True, False]


@pytest.mark.parametrize("percent", [10.0, 30.0])
@pytest.mark.parametrize("where", ["middle", "offset", "position"])
def test_area_above_a_part_of_its_maximum(survey, grid, percent, where):
    run = survey.get(1)
    pointing = SkyCoord(run.info["ra_pnt"], run.info["dec_pnt"], unit="deg")
    position = SkyCoord(151.2, -25.3, unit="deg")
    options = {"middle": {}, "offset": {"fixed_offset": "1.5 deg"}, "position": {"position": position}}[where]
    mask = safe([run], grid, {"aeff-max": {"aeff_percent": percent, **options}}, selection=["counts"])
    center = SkyCoord(150, -25, unit="deg")
    offset = {"middle": center.separation(pointing), "offset": 1.5, "position": position.separation(pointing)}[where]
    offset = f"{float(getattr(offset, 'deg', offset))!r} deg"
    area = effective_area(run.aeff, grid.energy_true, offset).values
    limit = percent / 100 * area.max()
    # the crossing, by a plain loop
    true = grid.energy_true.values
    k = next(i for i in range(len(true)) if area[i] >= limit and area[: i + 1].max() > 0)
    fraction = np.log(limit / area[k - 1]) / np.log(area[k] / area[k - 1])
    threshold = true[k - 1] * (true[k] / true[k - 1]) ** fraction
    assert threshold == pytest.approx(rising_energy(true, area, percent))
    np.testing.assert_array_equal(mask[0, :, 0, 0], whole_bins(grid, threshold))
    assert (mask.all(("y", "x")) == mask.any(("y", "x"))).all()


def test_bias_of_the_energy(survey, grid):
    run = survey.get(1)
    mask = safe([run], grid, {"edisp-bias": {"bias_percent": 4, "fixed_offset": "1 deg"}}, selection=["counts"])
    kernel = edisp_kernel(run.edisp, grid.energy_true, grid.energy, "1 deg").values
    true, reco = grid.energy_true.values, grid.energy.values
    with np.errstate(invalid="ignore"):
        bias = kernel @ reco / kernel.sum(axis=1) / true - 1
    first = int(np.nanargmax(bias))
    k = next(i for i in range(first, len(true) - 1) if bias[i] >= 0.04 > bias[i + 1])
    after = max(bias[k + 1], float(np.finfo("float32").tiny))
    fraction = np.log(bias[k] / 0.04) / np.log(bias[k] / after)
    threshold = true[k] * (true[k + 1] / true[k]) ** fraction * 1.04
    np.testing.assert_array_equal(mask[0, :, 0, 0], whole_bins(grid, threshold))
    assert 0 < int(mask[0, :, 0, 0].sum()) < 30


def test_offset(survey, grid):
    run = survey.get(1)
    pointing = SkyCoord(run.info["ra_pnt"], run.info["dec_pnt"], unit="deg")
    offset = SkyCoord(grid.lon.values, grid.lat.values, unit="deg").separation(pointing).deg
    for options, limit in (({"offset-max": {"offset_max": "1.1 deg"}}, 1.1), ("offset-max", 3.0)):
        mask = safe([run], grid, options, selection=["counts"])
        np.testing.assert_array_equal(mask[0], np.broadcast_to(offset < limit, (30, 30, 30)))
    # the reduction's own limit is the mask's, where the mask names none
    mask = safe([run], grid, "offset-max", selection=["counts"], offset_max="0.8 deg")
    np.testing.assert_array_equal(mask[0, 0], offset < 0.8)


def test_peak_of_the_background_in_the_whole_footprint(survey, grid):
    runs = [survey.get(1), survey.get(8)]
    mask = safe(runs, grid, "bkg-peak", selection=["counts"], offset_max="1.2 deg")
    tiled = safe(runs, grid, "bkg-peak", selection=["counts"], offset_max="1.2 deg", chunks={"y": 7, "x": 11})
    plain = xg.reduce(runs, grid, selection=["background"], stack=False, offset_max="1.2 deg").background
    for k in range(2):
        peak = int(plain[k].sum(("y", "x")).argmax("energy"))
        filled = plain[k].any("energy").values
        expected = (np.arange(30) >= peak)[:, None, None] & filled
        np.testing.assert_array_equal(mask[k], expected)
    np.testing.assert_array_equal(mask, tiled)


def test_masks_are_combined(survey, grid):
    run = survey.get(3)
    single = [safe([run], grid, m, selection=["counts"]) for m in ("aeff-default", "bkg-peak", "offset-max")]
    both = safe([run], grid, ["aeff-default", "bkg-peak", "offset-max"], selection=["counts"])
    np.testing.assert_array_equal(both, single[0] & single[1] & single[2])
    assert safe([run], grid, None, selection=["counts"]).all()


def test_without_background_nothing_is_safe(survey):
    # the background table ends at 100 TeV: a bin that reaches beyond has none
    energy = xg.energy_axis(edges=["10 TeV", "50 TeV", "300 TeV"])
    grid = sky_grid(SkyCoord(150, -25, unit="deg"), "16 deg", "1 deg", energy=energy)
    cube = xg.reduce([survey.get(1)], grid, selection=["counts", "background"], stack=False).compute()
    np.testing.assert_array_equal(cube.mask_safe, cube.background > 0)
    assert not cube.mask_safe[0, 1].any()
    assert cube.mask_safe[0, 0].any()
    assert not cube.mask_safe[0, 0].all()


def test_empty_responses_leave_nothing_safe(survey, grid):
    for name in ("aeff-max", "edisp-bias"):
        mask = safe([survey.get(1)], grid, {name: {"fixed_offset": "20 deg"}}, selection=["counts"])
        assert not mask.any()


def test_a_curve_that_falls_at_its_end():
    # the last energies of a table lie below the level again: the range begins at its first energy
    assert rising_energy([1.0, 2.0, 4.0, 8.0], [5.0, 9.0, 8.0, 0.1], 10) == pytest.approx(1.0)
    assert rising_energy([1.0, 2.0, 4.0, 8.0], [0.1, 1.0, 10.0, 0.1], 10) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("aeff-min", "safe mask 'aeff-min' is not known; choose from"),
        ({"aeff-max": {"percent": 5}}, r"has no option \['percent'\]; it has \['aeff_percent'"),
        ({"aeff-max": {"aeff_percent": 0}}, "a percentage of 0 is not between 0 and 100"),
        ({"edisp-bias": {"bias_percent": -1}}, "a percentage of -1"),
        ({"offset-max": {"offset_max": "-1 deg"}}, "is negative, or not one angle"),
        ({"offset-max": {"offset_max": 2.5}}, "unit"),
        ({"offset-max": {"offset_max": "2 TeV"}}, "deg"),
        ({"aeff-max": {"position": SkyCoord(0, 0, unit="deg"), "fixed_offset": "1 deg"}}, "not both"),
        ({"aeff-max": {"position": (0, 0)}}, "SkyCoord"),
        (7, "safe_mask=7"),
    ],
)
def test_errors(mask, message):
    with pytest.raises((ValueError, TypeError), match=message):
        parse_safe_mask(mask)


def test_thresholds_need_true_energy(survey):
    grid = sky_grid(SkyCoord(150, -25, unit="deg"), "1 deg", energy=xg.energy_axis("1 TeV", "2 TeV", nbin=1))
    with pytest.raises(ValueError, match=r"\['aeff-max'\] need an axis of true energy"):
        xg.reduce(survey.observations, grid, selection=["counts"], safe_mask="aeff-max")


#: gammapy 2.1: SafeMaskMaker(methods=[name], **options) after MapDatasetMaker in a DatasetsMaker that cuts out 5 deg:
#: number of safe voxels, first and last safe energy bin.
GAMMAPY = [
    ("hess", 20136, "aeff-default", {}, 27000, (10, 39)),
    ("hess", 20368, "aeff-default", {}, 27000, (10, 39)),
    ("hess", 20136, "aeff-max", {}, 29700, (7, 39)),
    ("hess", 20325, "aeff-max", {}, 29700, (7, 39)),
    ("hess", 20301, "aeff-max", {"aeff_percent": 25}, 27900, (9, 39)),
    ("hess", 20368, "aeff-max", {"fixed_offset": "1 deg"}, 29700, (7, 39)),
    ("hess", 20136, "edisp-bias", {}, 27000, (10, 39)),
    ("hess", 20136, "edisp-bias", {"bias_percent": 5, "fixed_offset": "0.7 deg"}, 25200, (12, 39)),
    ("hess", 20301, "edisp-bias", {"bias_percent": 5, "fixed_offset": "0.7 deg"}, 26100, (11, 39)),
    ("hess", 20325, "bkg-peak", {}, 27000, (10, 39)),
    ("hess", 20301, "offset-max", {"offset_max": "1.2 deg"}, 17706, (1, 39)),
    ("cta", 110380, "aeff-default", {}, 51200, (0, 39)),
    ("cta", 111140, "aeff-default", {}, 38400, (0, 39)),
    ("cta", 110380, "aeff-max", {}, 30720, (16, 39)),
    ("cta", 111140, "aeff-max", {"aeff_percent": 25}, 17280, (22, 39)),
    ("cta", 111140, "aeff-max", {"fixed_offset": "1 deg"}, 23040, (16, 39)),
    ("cta", 110380, "edisp-bias", {}, 47360, (3, 39)),
    ("cta", 111140, "edisp-bias", {"bias_percent": 5, "fixed_offset": "0.7 deg"}, 34560, (4, 39)),
    ("cta", 111140, "bkg-peak", {}, 36480, (2, 39)),
    ("cta", 110380, "offset-max", {"offset_max": "1.2 deg"}, 15280, (0, 39)),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("store", "obs_id", "name", "options", "voxels", "bins"), GAMMAPY)
def test_numbers_of_gammapy(gammapy_data, store, obs_id, name, options, voxels, bins):
    folder = {"hess": "hess-dl3-dr1", "cta": "cta-1dc/index/gps"}[store]
    runs = xg.open_store(gammapy_data / folder).select(obs_id=[obs_id])
    ranges = {"hess": ("0.1 TeV", "0.05 TeV"), "cta": ("0.02 TeV", "0.01 TeV")}[store]
    energy = xg.energy_axis(ranges[0], "50 TeV", nbin=40)
    true = xg.energy_axis(ranges[1], "80 TeV", nbin=48, name="energy_true")
    if store == "hess":
        center, width = SkyCoord(228.32, -59.08, unit="deg"), "3 deg"
    else:
        center, width = SkyCoord(0, 0, unit="deg", frame="galactic"), "4 deg"
    grid = sky_grid(center, width, "0.1 deg", energy=energy, energy_true=true)
    mask = safe(runs, grid, {name: options}, offset_max="2.5 deg")[0]
    assert (int(mask.sum()), energies(mask)) == (voxels, bins)
