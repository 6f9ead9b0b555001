"""Stacking, rebinning, images and the table of numbers, against loops by hand and gammapy's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

import xgamma as xg
from xgamma.coords.bins import bin_edges
from xgamma.coords.grid import sky_grid
from xgamma.kernels.stats import cash_excess, wstat_excess
from xgamma.reduction.info import info
from xgamma.reduction.rebin import rebin, to_image
from xgamma.reduction.stack import stack

CENTER = SkyCoord(150, -25, unit="deg")


def make_grid(width="4 deg", binsize="0.1 deg", nbin=6, **options):
    energy = xg.energy_axis("0.2 TeV", "50 TeV", nbin=nbin)
    true = xg.energy_axis("0.2 TeV", "90 TeV", nbin=4, name="energy_true")
    return sky_grid(CENTER, width, binsize, energy=energy, energy_true=true, irf_binsize="0.5 deg", **options)


@pytest.fixture(scope="module")
def runs(survey):
    """Lazy cube of five runs with all variables and masks that differ."""
    return xg.reduce(
        [survey.get(i) for i in (1, 2, 7, 9, 12)],
        make_grid(),
        selection="all",
        offset_max="1.8 deg",
        safe_mask={"offset-max": {"offset_max": "1.7 deg"}, "edisp-bias": {"bias_percent": 5}},
        stack=False,
    )


@pytest.fixture(scope="module")
def loaded(runs):
    return runs.compute(scheduler="sync")


def random_cube(seed=0, n_obs=3, n_energy=4, ny=5, nx=6):
    """On-off cube of a few voxels: masks, empty off counts, no exposure."""
    rng = np.random.default_rng(seed)
    grid = sky_grid(
        CENTER, (f"{nx} deg", f"{ny} deg"), "1 deg", energy=xg.energy_axis("1 TeV", "16 TeV", nbin=n_energy)
    )
    dims, shape = ("obs", "energy", "y", "x"), (n_obs, n_energy, ny, nx)
    cube = grid.assign_coords(obs=np.arange(n_obs))
    for name, mean in (("counts", 3.0), ("counts_off", 2.0)):
        cube[name] = dims, rng.poisson(mean, shape).astype(float), {"units": ""}
    cube["acceptance"] = dims, rng.uniform(0.5, 2, shape), {"units": ""}
    cube["acceptance_off"] = dims, rng.uniform(3, 9, shape) * (rng.random(shape) > 0.2), {"units": ""}
    cube["background"] = cube.acceptance / cube.acceptance_off.where(cube.acceptance_off > 0, np.inf) * cube.counts_off
    cube["background"].attrs["units"] = ""
    # as the ring background does it: nothing is safe without off acceptance
    cube["mask_safe"] = (rng.random(shape) > 0.3) & (cube.acceptance_off > 0)
    cube["livetime"] = "obs", rng.uniform(500, 1500, n_obs), {"units": "s"}
    return cube


def test_stacked_and_stacked_later_are_the_same(runs, survey):
    later = stack(runs, "obs").compute(scheduler="sync")
    at_once = xg.reduce(
        [survey.get(i) for i in (1, 2, 7, 9, 12)],
        make_grid(),
        selection="all",
        offset_max="1.8 deg",
        safe_mask={"offset-max": {"offset_max": "1.7 deg"}, "edisp-bias": {"bias_percent": 5}},
    ).compute(scheduler="sync")
    assert set(later.data_vars) == set(at_once.data_vars)
    for name in later.data_vars:
        assert later[name].dims == at_once[name].dims, name
        assert later[name].attrs == at_once[name].attrs, name
        largest = float(abs(later[name]).max()) if later[name].dtype == float else 1.0
        assert_allclose(at_once[name], later[name], rtol=1e-12, atol=1e-12 * largest, err_msg=name)
    assert_array_equal(at_once.counts, later.counts)
    assert_array_equal(at_once.mask_safe, later.mask_safe)
    assert float(at_once.edisp.sum()) > 0


def test_rules_by_hand(loaded):
    mask = loaded.mask_safe.values
    assert 0 < mask.mean() < 1
    stacked = stack(loaded)
    n, m = mask.shape[0], mask.any(axis=1)
    for name in ("counts", "background"):
        assert_allclose(stacked[name], sum(np.where(mask[k], loaded[name].values[k], 0) for k in range(n)))
    exposure = sum(np.where(m[k], loaded.exposure.values[k], 0) for k in range(n))
    assert_allclose(stacked.exposure, exposure)
    assert_array_equal(stacked.mask_safe, mask.any(axis=0))
    for name in ("livetime", "ontime"):
        assert float(stacked[name]) == pytest.approx(loaded[name].values.sum())
    assert stacked.sizes["gti"] == 5 * loaded.sizes["gti"]
    assert int(np.isfinite(stacked.gti_start).sum()) == 5
    assert "pointing_lon" not in stacked


def test_responses_by_hand(loaded):
    stacked = stack(loaded)
    # the pixel of the map that lies under the middle of each coarse pixel
    y0, x0 = int(loaded.y[0]), int(loaded.x[0])
    for j in range(loaded.sizes["irf_y"]):
        for i in range(loaded.sizes["irf_x"]):
            place = loaded.irf_lon.values[j, i], loaded.irf_lat.values[j, i]
            near = np.hypot((loaded.lon - place[0]) * np.cos(np.deg2rad(place[1])), loaded.lat - place[1])
            at = near.argmin(("y", "x"))
            row, column = int(at["y"]), int(at["x"])
            safe = loaded.mask_safe.values[:, :, row, column].any(axis=1)
            # the middle lies on the corner of four fine pixels: any of them may be taken, all are safe or none
            corner = loaded.mask_safe.values[:, :, row - 1 : row + 2, column - 1 : column + 2].any(axis=1)
            if (corner.any(axis=(1, 2)) != corner.all(axis=(1, 2))).any():
                continue
            weight = loaded.irf_exposure.values[:, :, j, i] * safe[:, None]
            total = weight.sum(axis=0)
            assert_allclose(stacked.irf_exposure.values[:, j, i], total, rtol=1e-12)
            if (total > 0).all():
                psf = (loaded.psf.values[:, :, j, i] * weight[:, :, None]).sum(axis=0) / total[:, None]
                edisp = (loaded.edisp.values[:, :, :, j, i] * weight[:, :, None]).sum(axis=0) / total[:, None]
                assert_allclose(stacked.psf.values[:, j, i], psf, rtol=1e-12)
                assert_allclose(stacked.edisp.values[:, :, j, i], edisp, rtol=1e-12)
    assert (y0, x0) == (int(stacked.y[0]), int(stacked.x[0]))


def test_on_off_keeps_the_background():
    cube = random_cube()
    stacked = stack(cube)
    mask = cube.mask_safe.values
    on, off, acc, acc_off = (
        np.where(mask, cube[n].values, 0) for n in ("counts", "counts_off", "acceptance", "acceptance_off")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        background = np.where(acc_off > 0, acc / acc_off * off, 0).sum(axis=0)
        expected = np.where(background > 0, acc.sum(axis=0) * off.sum(axis=0) / background, acc_off.sum(axis=0))
    assert_allclose(stacked.counts, on.sum(axis=0))
    assert_allclose(stacked.acceptance, acc.sum(axis=0))
    assert_allclose(stacked.acceptance_off, expected)
    assert_allclose(stacked.background, background)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = stacked.acceptance / stacked.acceptance_off
        assert_allclose((alpha * stacked.counts_off).values[background > 0], background[background > 0])


def test_stacking_in_two_steps():
    cube = random_cube(n_obs=4)
    once = stack(cube)
    parts = xr.concat([stack(cube.isel(obs=[0, 1])), stack(cube.isel(obs=[2, 3]))], "obs")
    twice = stack(parts)
    for name in ("counts", "background", "acceptance", "counts_off", "mask_safe", "livetime"):
        assert_allclose(twice[name], once[name], rtol=1e-12, err_msg=name)
    filled = once.background.values > 0
    assert_allclose(twice.acceptance_off.values[filled], once.acceptance_off.values[filled], rtol=1e-12)


def test_stack_without_masks_and_other_dims():
    cube = random_cube().drop_vars("mask_safe").rename(obs="phase")
    stacked = stack(cube, "phase")
    assert_allclose(stacked.counts, cube.counts.sum("phase"))
    assert "phase" not in stacked.dims
    with pytest.raises(ValueError, match="no dimension 'obs' to stack over"):
        stack(cube)
    cube["flux"] = ("phase",), np.ones(3)
    with pytest.raises(ValueError, match="variable 'flux' has no rule to be stacked over 'phase'"):
        stack(cube, "phase")
    bare = xr.Dataset({"psf": (("obs", "rad"), np.ones((2, 3)))})
    with pytest.raises(ValueError, match="needs 'irf_exposure'"):
        stack(bare)


def test_image_of_a_cube(loaded):
    image = to_image(loaded)
    mask = loaded.mask_safe
    for name in ("counts", "background"):
        assert_allclose(image[name][:, 0], loaded[name].where(mask, 0).sum("energy"))
        assert image[name].dims == loaded[name].dims
    assert_array_equal(image.mask_safe[:, 0], mask.any("energy"))
    assert_array_equal(image.exposure, loaded.exposure)
    assert_array_equal(image.psf, loaded.psf)
    assert bin_edges(image, "energy").tolist() == bin_edges(loaded, "energy")[[0, -1]].tolist()
    assert image.counts.attrs == loaded.counts.attrs


def test_energy_dispersion_of_an_image(loaded):
    image = to_image(loaded)
    # well inside of the mask of the first run, its thresholds decide which bins are summed
    safe = loaded.mask_safe.isel(obs=0)
    nearest = loaded.isel(obs=0).irf_exposure.isel(energy_true=1).argmax(("irf_y", "irf_x"))
    inner = {dim: int(place) for dim, place in nearest.items()}
    bins = safe.any(("y", "x"))
    expected = loaded.edisp.isel(obs=0, **inner).where(bins, 0).sum("energy")
    assert 0 < int(bins.sum()) < 6
    assert_allclose(image.edisp.isel(obs=0, energy=0, **inner), expected)
    assert float(expected.max()) > 0.5


@pytest.mark.parametrize("on_off", [True, False])
def test_rebin_in_groups(on_off):
    cube = random_cube()
    if not on_off:
        cube = cube.drop_vars(["counts_off", "acceptance", "acceptance_off"])
    merged = rebin(cube, ["1 TeV", "2 TeV", "16 TeV"])
    mask = cube.mask_safe.values
    groups = [slice(0, 1), slice(1, 4)]
    for g, some in enumerate(groups):
        inside = mask[:, some]
        assert_array_equal(merged.mask_safe.values[:, g], inside.any(axis=1))
        for name in ("counts", "background"):
            assert_allclose(merged[name].values[:, g], np.where(inside, cube[name].values[:, some], 0).sum(axis=1))
        if on_off:
            off = np.where(inside, cube.counts_off.values[:, some], 0).sum(axis=1)
            acceptance = np.where(inside, cube.acceptance.values[:, some], 0).sum(axis=1)
            background = np.where(inside, cube.background.values[:, some], 0).sum(axis=1)
            ratio = np.divide(off, background, out=np.zeros_like(off), where=background > 0)
            kept = np.where(inside, cube.acceptance_off.values[:, some], 0).sum(axis=1)
            assert_allclose(merged.acceptance_off.values[:, g], np.where(background > 0, acceptance * ratio, kept))
    assert bin_edges(merged, "energy") == pytest.approx([1, 2, 16])
    # joining in two steps is joining at once
    assert_allclose(to_image(merged).counts, to_image(cube).counts)
    assert_allclose(to_image(merged).background, to_image(cube).background)


def test_order_of_stacking_and_rebinning():
    cube = random_cube(3)
    first, second = to_image(stack(cube)), stack(to_image(cube))
    for name in ("counts", "background", "counts_off", "acceptance"):
        assert_allclose(first[name], second[name], rtol=1e-12, err_msg=name)


def test_rebin_errors():
    cube = random_cube()
    with pytest.raises(ValueError, match="no energy axis to rebin"):
        rebin(cube.isel(energy=0, drop=True), ["1 TeV", "2 TeV"])
    with pytest.raises(ValueError, match="no energy axis to join"):
        to_image(cube.isel(energy=0, drop=True))
    with pytest.raises(ValueError, match="ascending"):
        rebin(cube, ["4 TeV", "1 TeV"])
    with pytest.raises(ValueError, match="fall onto the same edges"):
        rebin(cube, ["1 TeV", "1.01 TeV"])
    with pytest.warns(UserWarning, match="3 -> 4 TeV"):
        rebin(cube, ["1 TeV", "3 TeV"])
    with pytest.raises(ValueError, match="'flux' depends on energy and cannot be rebinned"):
        rebin(cube.assign(flux=cube.counts), ["1 TeV", "16 TeV"])
    with pytest.raises(ValueError, match="only counts are summed"):
        to_image(cube.counts.assign_attrs(units="cm-2 s-1"))
    assert_array_equal(to_image(cube.counts)[:, 0], cube.counts.sum("energy"))


def test_info_by_hand(loaded):
    table = info(loaded)
    mask = loaded.mask_safe.values
    for k in range(5):
        on, mu = (float(np.where(mask[k], loaded[n].values[k], 0).sum()) for n in ("counts", "background"))
        assert float(table.counts[k]) == on
        assert float(table.background[k]) == pytest.approx(mu)
        assert float(table.excess[k]) == pytest.approx(on - mu)
        assert float(table.sqrt_ts[k]) == pytest.approx(float(cash_excess(np.array(on), np.array(mu)).sqrt_ts))
        exposure = loaded.exposure.values[k]
        assert float(table.exposure_max[k]) == pytest.approx(exposure.max() / 1e4)
        assert float(table.exposure_min[k]) == pytest.approx(exposure[exposure > 0].min() / 1e4)
        assert float(table.counts_rate[k]) == pytest.approx(on / float(loaded.livetime[k]))
        assert int(table.n_fit_bins[k]) == mask[k].sum()
        assert int(table.n_bins[k]) == mask[k].size
    assert table.livetime.attrs["units"] == "s"
    assert table.exposure_max.attrs["units"] == "m2 s"
    assert table.obs.values.tolist() == [1, 2, 7, 9, 12]


def test_info_of_on_off():
    cube = random_cube()
    table = info(cube)
    mask = cube.mask_safe.values
    for k in range(3):
        on, off, background = (
            float(np.where(mask[k], cube[n].values[k], 0).sum()) for n in ("counts", "counts_off", "background")
        )
        alpha = background / off
        assert float(table.alpha[k]) == pytest.approx(alpha)
        expected = wstat_excess(*(np.array(v) for v in (on, off, alpha))).sqrt_ts
        assert float(table.sqrt_ts[k]) == pytest.approx(float(expected))
        assert float(table.counts_off[k]) == off


def test_info_over_growing_sets_of_runs(loaded):
    table = info(loaded, cumulative=True)
    assert table.obs.values.tolist() == [1, 2, 7, 9, 12]
    for k in range(5):
        part = info(stack(loaded.isel(obs=slice(0, k + 1))))
        for name in table.data_vars:
            assert float(table[name][k]) == pytest.approx(float(part[name])), (k, name)
    assert (np.diff(table.livetime) > 0).all()
    with pytest.raises(ValueError, match="needs a cube with dim 'obs'"):
        info(stack(loaded), cumulative=True)
    with pytest.raises(ValueError, match="needs 'counts'"):
        info(xr.Dataset())


@pytest.mark.real_data
def test_numbers_of_gammapy(gammapy_data):
    # gammapy 2.1: MapDatasetMaker and SafeMaskMaker(["aeff-default"]) in a DatasetsMaker with cutouts of 5 deg, then
    # .to_image().info_dict()["counts"] of each dataset
    store = xg.open_store(gammapy_data / "hess-dl3-dr1")
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10)
    true = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10, name="energy_true")
    grid = sky_grid(SkyCoord(228.32, -59.08, unit="deg"), "3 deg", "0.02 deg", energy=energy, energy_true=true)
    runs = xg.reduce(
        store.select(obs_id=[20136, 20301, 20325, 20368]),
        grid,
        offset_max="2.5 deg",
        safe_mask="aeff-default",
        stack=False,
    )
    table = info(to_image(runs)).compute()
    assert table.counts.values.tolist() == [2558, 2178, 2376, 2020]
    assert float(info(stack(to_image(runs))).counts) == 2558 + 2178 + 2376 + 2020
