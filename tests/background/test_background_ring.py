"""Ring backgrounds against direct sums over pixels and against gammapy's numbers; lazily and across tiles."""

from __future__ import annotations

import astropy.units as u
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal
from regions import CircleSkyRegion

from xgamma.background.correlate import convolve_sky, map_halo, positive_angle
from xgamma.background.ring import adaptive_ring_background, ring_background
from xgamma.coords.bins import energy_axis
from xgamma.coords.grid import sky_grid
from xgamma.coords.regions import region_mask
from xgamma.coords.sky import grid_of
from xgamma.kernels.convolve import Annulus

CENTER = SkyCoord(30, 0, unit="deg")
DIMS = ("energy", "y", "x")
PIXEL = 0.1


def refuse(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


def make_cube(nbin=4, ny=16, nx=20):
    """Cube of numbers that a formula gives, so that another program can make the same."""
    energy = energy_axis("1 TeV", "10 TeV", nbin=nbin)
    cube = sky_grid(CENTER, (f"{nx * PIXEL} deg", f"{ny * PIXEL} deg"), f"{PIXEL} deg", energy=energy)
    e, y, x = np.meshgrid(np.arange(nbin), np.arange(ny), np.arange(nx), indexing="ij")
    cube["counts"] = DIMS, ((7 * x + 3 * y * y + 5 * e + x * y) % 11 // (2 + e)).astype(float), {"units": ""}
    cube["background"] = DIMS, (2.0 + 0.1 * x + 0.05 * y) / (1.0 + e) ** 1.5, {"units": ""}
    mask = (x + 2 * y + 4 * e) % 17 != 0
    mask[:, :, 0] = False
    mask[0, 5:7, 5:7] = False
    cube["mask_safe"] = DIMS, mask
    cube.attrs["name"] = "test"
    return cube


def make_runs(number=3, seed=0):
    """Cube with a dimension obs of Poisson counts on a falling background; nothing beyond a radius."""
    rng = np.random.default_rng(seed)
    cube = make_cube(nbin=1)
    y, x = np.meshgrid(np.arange(16) - 7.5, np.arange(20) - 9.5, indexing="ij")
    background = np.exp(-(x**2 + y**2) / 100) * (np.hypot(x - 3, y) < 11) * 4
    stack = np.array([background * (1 + 0.3 * i) for i in range(number)])[:, None]
    cube["background"] = ("obs", *DIMS), stack
    cube["counts"] = ("obs", *DIMS), rng.poisson(stack).astype(float)
    cube["mask_safe"] = ("obs", *DIMS), stack > 0
    cube["livetime"] = ("obs",), np.arange(number) + 1000.0, {"units": "s"}
    cube["exposure"] = ("obs", "energy_true", "y", "x"), np.ones((number, 2, 16, 20)), {"units": "cm2 s"}
    return cube.assign_coords(obs=[20136 + i for i in range(number)])


def image(cube):
    """Sum over energy of what is safe."""
    result = make_cube(nbin=1)
    safe = cube.mask_safe.values
    for name in ("counts", "background"):
        result[name] = DIMS, (cube[name].values * safe).sum(0, keepdims=True)
    result["mask_safe"] = DIMS, safe.any(0, keepdims=True)
    return result


def pixel_by_pixel(counts, background, usable, r_in, r_out):
    """Sum over the pixels of the ring around each pixel, one after the other."""
    ny, nx = counts.shape
    off, acceptance = np.zeros((ny, nx)), np.zeros((ny, nx))
    yy, xx = np.mgrid[:ny, :nx]
    for y in range(ny):
        for x in range(nx):
            distance = np.hypot(yy - y, xx - x)
            ring = (distance >= r_in - 1e-9) & (distance <= r_out + 1e-9) & usable
            off[y, x], acceptance[y, x] = counts[ring].sum(), background[ring].sum()
    return off, acceptance


def test_ring_is_the_sum_over_its_pixels():
    runs = make_runs()
    exclusion = ~region_mask(runs, CircleSkyRegion(CENTER, 0.25 * u.deg))
    result = ring_background(runs, "0.3 deg", "0.2 deg", exclusion)
    for i in range(3):
        counts, background = (runs[n].values[i, 0] for n in ("counts", "background"))
        usable = exclusion.values & runs.mask_safe.values[i, 0]
        off, acceptance_off = pixel_by_pixel(counts, background, usable, 3, 5)
        assert_array_equal(result.counts_off.values[i, 0], off)
        assert_allclose(result.acceptance_off.values[i, 0], acceptance_off, rtol=1e-12)
        assert_array_equal(result.acceptance_off.values[i, 0] == 0, acceptance_off == 0)
        assert_array_equal(result.acceptance.values[i, 0], background)
        some = acceptance_off > 0
        expected = background[some] / acceptance_off[some] * off[some]
        assert_allclose(result.background.values[i, 0][some], expected, rtol=1e-12)
        assert (result.background.values[i, 0][~some] == 0).all()
        assert_array_equal(result.mask_safe.values[i, 0], runs.mask_safe.values[i, 0] & some)


def test_ring_equals_gammapy():
    # gammapy 2.1: RingBackgroundMaker("0.3 deg", "0.2 deg").run(MapDataset of the same arrays), float32;
    # it uses counts and background outside mask_safe too
    pixels = [(0, 5, 10), (0, 8, 3), (1, 15, 19), (1, 2, 7)]
    result = ring_background(make_cube(), "0.3 deg", "0.2 deg", safe_only=False)
    assert [float(result.counts_off.values[p]) for p in pixels] == [113, 96, 33, 62]
    expected = [182.0, 132.89999389648438, 25.72100830078125, 39.6686897277832]
    assert_allclose([result.acceptance_off.values[p] for p in pixels], expected, rtol=1e-6)


def test_unsafe_pixels_stay_out_of_the_ring():
    cube = make_cube()
    masked = cube.assign({n: cube[n].where(cube.mask_safe, 0.0) for n in ("counts", "background")})
    result = ring_background(cube, "0.3 deg", "0.2 deg")
    expected = ring_background(masked, "0.3 deg", "0.2 deg", safe_only=False)
    for name in ("counts_off", "acceptance_off", "mask_safe"):
        assert_allclose(result[name].values, expected[name].values, rtol=1e-12)
    # an image is masked when it is summed: both are the same there
    again = image(cube)
    first, second = (ring_background(again, "0.3 deg", "0.2 deg", safe_only=s) for s in (True, False))
    assert_allclose(first.background, second.background, rtol=1e-12)


def test_adaptive_ring_equals_gammapy():
    # gammapy 2.1: AdaptiveRingBackgroundMaker("0.2 deg", "0.8 deg", "0.1 deg", stepsize="0.1 deg",
    # threshold_alpha=0.03, theta="0.22 deg", method=...).run(dataset.to_image()). It takes theta times the pixel size,
    # 0.022, for a number of pixels: the disc is one pixel. The same is asked for here.
    pixels = [(8, 10), (5, 3), (10, 15), (0, 0)]
    expected = {
        "fixed_width": ([182, 145, 166, 30], [182.20365602, 124.91023444, 226.7983968, 18.52378464], 16632),
        "fixed_r_in": ([186, 166, 199, 30], [211.92949793, 124.86452313, 251.64709985, 18.52378464], 61981),
    }
    for method, (off, acceptance_off, total) in expected.items():
        result = adaptive_ring_background(
            image(make_cube()), "0.2 deg", "0.8 deg", "0.1 deg", stepsize="0.1 deg", threshold_alpha=0.03,
            theta="0.01 deg", method=method,
        )  # fmt: skip
        assert [float(result.counts_off[0, y, x]) for y, x in pixels] == off
        assert_allclose([result.acceptance_off[0, y, x] for y, x in pixels], acceptance_off, rtol=1e-6)
        assert float(result.counts_off.sum()) == total


def test_adaptive_ring_takes_the_first_that_is_large_enough():
    cube = image(make_cube())
    result = adaptive_ring_background(cube, "0.2 deg", "1.1 deg", "0.2 deg", stepsize="0.1 deg", theta="0.2 deg")
    disc = Annulus(0.0, 0.2, (PIXEL, PIXEL))
    on = convolve_sky(cube.background, disc).values[0]
    counts, background = (cube[n].values[0] for n in ("counts", "background"))
    chosen = np.full(on.shape, -1)
    for i in range(7):
        off, acceptance = pixel_by_pixel(counts, background, cube.mask_safe.values[0], 2 + i, 4 + i)
        take = (chosen < 0) & (on <= 0.1 * acceptance)
        chosen[take] = i
        assert_array_equal(result.counts_off.values[0][take], off[take])
        assert_allclose(result.acceptance_off.values[0][take], acceptance[take], rtol=1e-12)
    assert len(np.unique(chosen)) > 2
    assert_array_equal(result.mask_safe.values[0], cube.mask_safe.values[0] & (chosen >= 0))
    assert_array_equal(result.acceptance.values, cube.background.values)


def test_runs_are_never_mixed():
    runs = make_runs()
    together = ring_background(runs, "0.3 deg", "0.2 deg")
    for i in range(3):
        alone = ring_background(runs.isel(obs=i), "0.3 deg", "0.2 deg")
        xr.testing.assert_allclose(together.isel(obs=i), alone, rtol=1e-14)


@pytest.mark.parametrize("chunks", [{"obs": 1, "y": 16, "x": 20}, {"obs": 2, "y": 7, "x": 6}, {"y": 2, "x": 3}])
@pytest.mark.parametrize("adaptive", [False, True])
def test_chunked_equals_unchunked_and_stays_lazy(chunks, adaptive):
    runs = make_runs()
    exclusion = ~region_mask(runs, CircleSkyRegion(CENTER, 0.25 * u.deg))

    def make(cube):
        if adaptive:
            return adaptive_ring_background(
                cube, "0.3 deg", "0.9 deg", "0.2 deg", stepsize="0.1 deg", exclusion=exclusion
            )
        return ring_background(cube, "0.3 deg", "0.2 deg", exclusion)

    chunked = runs.chunk(chunks)
    with dask.config.set(scheduler=refuse):
        lazy = make(chunked)
    for name in ("counts_off", "acceptance", "acceptance_off", "background", "mask_safe"):
        assert isinstance(lazy[name].data, da.Array)
        assert lazy[name].chunks == chunked.counts.chunks
    expected = make(runs)
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected, rtol=1e-12)
    assert_array_equal(lazy.counts_off.values, expected.counts_off.values)
    assert_array_equal(lazy.mask_safe.values, expected.mask_safe.values)


def test_everything_else_is_kept():
    runs = make_runs()
    result = ring_background(runs, "0.3 deg", "0.2 deg")
    for name in ("counts", "exposure", "livetime"):
        xr.testing.assert_identical(result[name], runs[name])
    assert set(result.coords) == set(runs.coords)
    assert type(result.xindexes["lon"]) is type(runs.xindexes["lon"])
    assert result.attrs["name"] == "test"
    assert result.attrs["background_method"] == "ring_background(r_in=0.3 deg, width=0.2 deg)"
    assert "background_method" not in runs.attrs
    for name in ("counts_off", "acceptance", "acceptance_off", "background"):
        assert result[name].attrs["units"] == ""
        assert result[name].dims == ("obs", *DIMS)


def test_numbers_that_are_not_finite_are_not_used():
    cube = image(make_cube())
    broken = cube.copy(deep=True)
    broken.background.values[0, 4, 4] = np.nan
    broken.counts.values[0, 9, 9] = np.inf
    usable = cube.mask_safe.values[0].copy()
    usable[4, 4] = usable[9, 9] = False
    result = ring_background(broken, "0.3 deg", "0.2 deg")
    off, acceptance = pixel_by_pixel(cube.counts.values[0], cube.background.values[0], usable, 3, 5)
    assert_array_equal(result.counts_off.values[0], off)
    assert_allclose(result.acceptance_off.values[0], acceptance, rtol=1e-12)


def test_exclusion_as_mask_as_region_and_on_another_cutout():
    runs = make_runs()
    region = CircleSkyRegion(CENTER, 0.25 * u.deg)
    mask = ~region_mask(runs, region)
    expected = ring_background(runs, "0.3 deg", "0.2 deg", mask)
    assert not expected.counts_off.equals(ring_background(runs, "0.3 deg", "0.2 deg").counts_off)
    larger = sky_grid(CENTER, ("6 deg", "4 deg"), f"{PIXEL} deg")
    for other in (
        region,
        [region],
        mask.transpose("x", "y"),
        mask.expand_dims(energy=1),
        mask.isel(y=slice(4, 13), x=slice(5, 15)),
        ~region_mask(larger, region),
        (~region_mask(larger, region)).isel(y=slice(15, 30), x=slice(20, 38)),
    ):
        xr.testing.assert_identical(ring_background(runs, "0.3 deg", "0.2 deg", other), expected)


def test_without_a_safe_mask_one_is_made():
    cube = make_cube().drop_vars("mask_safe")
    result = ring_background(cube, "0.3 deg", "0.2 deg")
    assert result.mask_safe.values.all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"r_in": "5 deg"}, ValueError, "larger than the map"),
        ({"r_in": 0.5}, ValueError, "r_in=0.5 must be given in a unit"),
        ({"r_in": "-1 deg"}, ValueError, "r_in='-1 deg' must be one positive angle"),
        ({"width": "0 deg"}, ValueError, "width='0 deg' must be one positive angle"),
        ({"width": "0.05 deg"}, ValueError, "less than a pixel"),
        ({"width": "1 TeV"}, ValueError, "width='1 TeV' must be given in a unit"),
        ({"exclusion": "none"}, ValueError, "leaves|covers the whole map"),
        ({"exclusion": "float"}, ValueError, "exclusion must be bool"),
        ({"exclusion": "dims"}, ValueError, "must have the dims"),
        ({"exclusion": "grid"}, ValueError, "another sky grid"),
        ({"exclusion": "far"}, ValueError, "do not overlap"),
        ({"exclusion": "dataset"}, TypeError, "is a Dataset"),
        ({"exclusion": "array"}, TypeError, "an array without sky"),
        ({"exclusion": "dask"}, TypeError, "an array without sky"),
    ],
)
def test_bad_input_raises_in_words(change, error, words):
    cube = make_cube()
    good = xr.ones_like(cube.mask_safe.isel(energy=0, drop=True))
    far = sky_grid(CENTER, "9 deg", f"{PIXEL} deg").isel(x=slice(0, 20))
    masks = {
        "none": good & False,
        "float": good.astype(float),
        "dims": cube.mask_safe,
        "grid": region_mask(sky_grid(CENTER, "2 deg", "0.05 deg"), CircleSkyRegion(CENTER, 1 * u.deg)),
        "far": xr.DataArray(np.ones((90, 20), dtype=bool), dims=("y", "x"), coords=grid_of(far).coords()),
        "dataset": cube,
        "array": good.values,
        "dask": good.chunk().data,
    }
    arguments = {"r_in": "0.3 deg", "width": "0.2 deg", "exclusion": None, **change}
    arguments["exclusion"] = masks.get(arguments["exclusion"])
    with pytest.raises(error, match=words):
        ring_background(cube, **arguments)


def test_lazy_exclusion_of_everything_raises_when_it_is_computed():
    cube = make_cube()
    everything = f"icrs;circle({CENTER.icrs.ra.deg}, {CENTER.icrs.dec.deg}, 30)"
    for exclusion in (everything, xr.zeros_like(cube.mask_safe.isel(energy=0, drop=True)).chunk(x=10)):
        lazy = ring_background(cube.chunk(y=10), "0.3 deg", "0.2 deg", exclusion)
        with pytest.raises(ValueError, match="covers the whole map"):
            lazy.background.compute()


def test_cubes_without_what_is_needed_raise():
    cube = make_cube()
    with pytest.raises(ValueError, match="on-off cube already"):
        ring_background(ring_background(cube, "0.3 deg", "0.2 deg"), "0.3 deg", "0.2 deg")
    for name in ("counts", "background"):
        with pytest.raises(ValueError, match=f"the ring needs '{name}'"):
            ring_background(cube.drop_vars(name), "0.3 deg", "0.2 deg")
    with pytest.raises(ValueError, match="not a sky map"):
        ring_background(cube.assign(counts=cube.counts.sum(("y", "x"))), "0.3 deg", "0.2 deg")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r_out_max": "0.4 deg"}, "no room for a ring"),
        ({"threshold_alpha": 0.0}, "threshold_alpha=0.0 must be"),
        ({"stepsize": "0 deg"}, "stepsize='0 deg'"),
        ({"theta": 1}, "theta=1 must be given in a unit"),
        ({"method": "both"}, "'fixed_width' or 'fixed_r_in'"),
    ],
)
def test_bad_adaptive_settings_raise(change, words):
    with pytest.raises(ValueError, match=words):
        adaptive_ring_background(
            make_cube(), **{"r_in": "0.3 deg", "r_out_max": "0.8 deg", "width": "0.2 deg", **change}
        )


def test_ring_recovers_the_level_of_a_simulated_background():
    rng = np.random.default_rng(4)
    cube = sky_grid(CENTER, "6 deg", "0.1 deg")
    model = np.full((60, 60), 3.0)
    cube["background"] = ("y", "x"), model
    cube["counts"] = ("y", "x"), rng.poisson(1.25 * model).astype(float)
    result = ring_background(cube, "0.5 deg", "0.5 deg")
    assert abs(float((result.background / result.acceptance).mean()) - 1.25) < 4 * np.sqrt(1.25 / (3 * 3600))


def test_halo_of_functions_and_short_axes():
    array = np.arange(12.0).reshape(3, 4)
    ring = Annulus(0.0, 9.0)
    expected = convolve_sky(xr.Variable(("y", "x"), array), ring)
    for chunks in ((3, 4), (1, 1), (2, 3)):
        lazy = convolve_sky(xr.Variable(("y", "x"), da.from_array(array, chunks=chunks)), ring)
        assert lazy.chunks == da.from_array(array, chunks=chunks).chunks
        assert_array_equal(lazy.values, expected.values)
    assert_array_equal(map_halo(np.negative, da.ones((2, 3)), (0, 0)), -np.ones((2, 3)))


def test_angles_are_read_from_strings_and_quantities():
    assert positive_angle(30 * u.arcmin, "radius") == 0.5
    with pytest.raises(ValueError, match="one positive angle"):
        positive_angle([1, 2] * u.deg, "radius")
