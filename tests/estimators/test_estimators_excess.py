"""Excess maps against sums over pixels and gammapy's numbers; energy groups, masks, laziness, bad input."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

from xgamma.coords.bins import energy_axis, rename_axis
from xgamma.coords.grid import sky_grid
from xgamma.estimators.excess import OPTIONAL, excess_map
from xgamma.estimators.reference import power_law_flux, reference_counts
from xgamma.kernels.limits import wstat_errors
from xgamma.kernels.stats import cash_excess, wstat_excess

DIMS = ("energy", "y", "x")
GROUPS = ["1 TeV", f"{10**0.5} TeV", "10 TeV"]
#: Pixels of the comparisons with gammapy; the first index is the bin or the group.
PIXELS = [(0, 5, 10), (0, 8, 3), (1, 15, 19), (1, 2, 7)]
#: Energy dispersion of the comparisons: gammapy's EDispKernelMap.from_gauss(sigma=0.2, bias=0), rounded.
EDISP = [
    [9.33000e-03, 0.0, 0.0, 0.0],
    [8.28042e-01, 1.91970e-02, 0.0, 0.0],
    [1.17697e-01, 8.44546e-01, 3.59900e-02, 0.0],
    [1.25400e-03, 9.12980e-02, 8.45406e-01, 6.20420e-02],
    [0.0, 8.74000e-04, 7.02750e-02, 8.29685e-01],
    [0.0, 0.0, 5.83000e-04, 5.37830e-02],
]


def refuse(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


def make_cube(on_off=True, exact_energies=False, nbin=4, ny=16, nx=20):
    """Cube of numbers that a formula gives, so that another program can make the same."""
    energy = energy_axis("1 TeV", "10 TeV", nbin=nbin)
    true = (
        rename_axis(energy, "energy_true")
        if exact_energies
        else energy_axis("0.5 TeV", "20 TeV", 6, name="energy_true")
    )
    center = SkyCoord(30, 0, unit="deg")
    cube = sky_grid(center, (f"{0.1 * nx} deg", f"{0.1 * ny} deg"), "0.1 deg", energy=energy, energy_true=true)
    e, y, x = np.meshgrid(np.arange(nbin), np.arange(ny), np.arange(nx), indexing="ij")
    cube["counts"] = DIMS, ((7 * x + 3 * y * y + 5 * e + x * y) % 11 // (2 + e)).astype(float)
    if on_off:
        counts_off = ((5 * x * x + 2 * y + 3 * e + x * y) % 13 // (1 + 3 * e)).astype(float)
        if nbin > 3:
            counts_off[3] *= (x[3] + y[3]) % 3 == 0
        acceptance_off = (3.0 + ((x + 2 * y + e) % 5)) / (1.0 + e)
        acceptance_off[:, 12, 5] = 0.0
        cube["counts_off"] = DIMS, counts_off
        cube["acceptance"] = DIMS, (1.0 + 0.02 * x + 0.01 * y) / (1.0 + e)
        cube["acceptance_off"] = DIMS, acceptance_off
    else:
        cube["background"] = DIMS, (2.0 + 0.1 * x + 0.05 * y) / (1.0 + e) ** 1.5
    mask = (x + 2 * y + 4 * e) % 17 != 0
    mask[:, :, 0] = False
    mask[0, 5:7, 5:7] = False
    cube["mask_safe"] = DIMS, mask
    t = np.arange(true.sizes["energy_true"])[:, None, None]
    exposure = 1e13 * (1.0 + t) * (1.0 + 0.03 * np.arange(nx)) * np.ones((1, ny, 1))
    cube["exposure"] = ("energy_true", "y", "x"), exposure, {"units": "cm2 s"}
    if not exact_energies:
        cube["edisp"] = ("energy_true", "energy"), np.array(EDISP)
    cube.attrs["name"] = "test"
    return cube


def values(maps, name):
    return [float(maps[name].values[p]) for p in PIXELS]


def disc_sum(array, mask, radius=2):
    """Sum over the disc, pixel by pixel."""
    result = np.zeros(array.shape)
    ny, nx = array.shape[-2:]
    yy, xx = np.mgrid[:ny, :nx]
    for y in range(ny):
        for x in range(nx):
            disc = np.hypot(yy - y, xx - x) <= radius + 1e-9
            result[..., y, x] = (np.where(mask, array, 0.0) * disc).sum(axis=(-2, -1))
    return result


def test_background_model_by_hand():
    cube = make_cube(on_off=False)
    maps = excess_map(cube, "0.2 deg")
    mask = cube.mask_safe.values
    counts, background = (disc_sum(cube[n].values, mask) for n in ("counts", "background"))
    expected = cash_excess(counts, background)
    assert_array_equal(maps.counts.values, np.where(mask, counts, np.nan))
    assert_allclose(maps.background.values, np.where(mask, background, np.nan), rtol=1e-12)
    assert_allclose(maps.excess.values, np.where(mask, expected.excess, np.nan), rtol=1e-9, atol=1e-12)
    assert_allclose(maps.sqrt_ts.values, np.where(mask, expected.sqrt_ts, np.nan), rtol=1e-7, atol=1e-9)
    assert_allclose(maps.excess_err.values, np.where(mask, np.sqrt(counts), np.nan), rtol=1e-12)


def test_on_off_by_hand():
    cube = make_cube()
    maps = excess_map(cube, "0.2 deg", selection=["alpha", "counts_off"])
    mask = cube.mask_safe.values
    acceptance_off = cube.acceptance_off.values
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = np.where(acceptance_off > 0, cube.acceptance.values / acceptance_off, 0)
    counts, off = (disc_sum(cube[n].values, mask) for n in ("counts", "counts_off"))
    background = disc_sum(alpha * cube.counts_off.values, mask)
    measured = mask & (off > 0)
    assert (mask & ~measured).sum() > 5
    expected = wstat_excess(counts[measured], off[measured], (background[measured] / off[measured]))
    assert_allclose(maps.sqrt_ts.values[measured], expected.sqrt_ts, rtol=1e-9, atol=1e-9)
    assert_array_equal(maps.counts_off.values[measured], off[measured])
    # without off counts the ratio of the acceptances tells alpha, and the significance stays finite
    without = mask & (off == 0)
    ratio = disc_sum(cube.acceptance.values, mask) / disc_sum(acceptance_off, mask)
    assert_allclose(maps.alpha.values[without], ratio[without], rtol=1e-12)
    assert np.isfinite(maps.sqrt_ts.values[mask]).all()
    assert np.isnan(maps.sqrt_ts.values[~mask]).all()


# gammapy 2.1: ExcessMapEstimator("0.2 deg", energy_edges=..., correlate_off=..., selection_optional="all") on
# MapDatasetOnOff and MapDataset of the same arrays, in float32; norms are relative to a power law of index 2
GAMMAPY = {
    ("on-off", None, False): {
        "counts": [35.0, 31.0, 7.0, 16.0],
        "excess": [29.99, 18.41, 4.9833333, 13.458],
        "sqrt_ts": [2.6808709, 2.3477954, 1.3482852, 2.3534358],
        "norm_err": [0.64229309, 0.72150557, 0.28414022, 0.52257424],
        "norm_errn": [0.7106792, 0.73416457, 0.30241062, 0.54169825],
        "norm_errp": [0.62023379, 0.72155375, 0.29176859, 0.53347057],
        "norm_ul": [3.7297304, 3.2768517, 1.049869, 2.6005671],
        "norm_sensitivity": [6.9604661, 5.023923, 3.2417161, 5.0807755],
        "alpha": [5.0099999, 1.7985715, 2.0166667, 2.542],
        "flux": [1.0874459e-12, 7.9372193e-13, 1.0475489e-13, 3.6520955e-13],
    },
    ("on-off", "groups", False): {
        "counts": [52.0, 52.0, 7.0, 19.0],
        "excess": [42.995278, 29.777778, 4.7350001, 14.733878],
        "sqrt_ts": [3.2514924, 2.5897792, 1.2073885, 2.4430639],
        "norm_errn": [0.49233533, 0.63544405, 0.26607312, 0.53268497],
        "norm_ul": [2.9409096, 2.9742244, 0.85019975, 2.5434799],
        "alpha": [4.5023612, 2.4691358, 2.2649999, 2.1330612],
        "flux": [1.4046692e-12, 1.2122362e-12, 7.1534767e-14, 3.1300386e-13],
    },
    ("on-off", "groups", True): {  # no number where a bin of the plane has no off counts: a NaN fills the plane there
        "counts": [52.0, 52.0, 7.0, 19.0],
        "excess": [33.226212, 26.442049],
        "sqrt_ts": [5.4136541, 3.9180493],
        "norm_errn": [0.34498533, 0.44210006],
        "norm_errp": [0.37369649, 0.47550572],
        "norm_ul": [2.365418, 2.5614175],
        "norm_sensitivity": [1.4422035, 2.0930793],
        "alpha": [0.23764287, 0.28397724],
        "flux": [1.0855107e-12, 1.0764406e-12],
    },
    ("model", None, True): {
        "counts": [35.0, 31.0, 7.0, 16.0],
        "excess": [-4.1500015, 1.0499992, 0.54765081, 5.1989441],
        "sqrt_ts": [-0.67552576, 0.1907577, 0.21265123, 1.4752444],
        "norm_err": [0.49015078, 0.54847884, 0.22597888, 0.4410482],
        "norm_errn": [0.46293132, 0.51614587, 0.19845117, 0.40508637],
        "norm_errp": [0.51814742, 0.58179554, 0.25530236, 0.47854364],
        "norm_ul": [0.74991391, 1.3354869, 0.61910609, 1.6080906],
        "norm_sensitivity": [2.9180402, 3.0805491, 1.4008038, 2.2286723],
        "flux": [-1.5048023e-13, 4.5269278e-14, 1.1512194e-14, 1.4108367e-13],
    },
    ("model", "groups", True): {
        "counts": [52.0, 52.0, 7.0, 19.0],
        "excess": [-2.0876312, 9.6402779, -1.6663876, 8.4744244],
        "sqrt_ts": [-0.28571644, 1.4297563, -0.585823, 2.3441685],
        "norm_ul": [0.65446532, 1.5137471, 0.35175154, 1.8248],
        "flux": [-6.8203568e-14, 3.9245017e-13, -2.5175215e-14, 1.8002915e-13],
    },
}


@pytest.mark.parametrize("case", GAMMAPY)
def test_maps_equal_gammapy(case):
    kind, groups, correlate_off = case
    cube = make_cube(on_off=kind == "on-off")
    edges = GROUPS if groups else None
    maps = excess_map(cube, "0.2 deg", energy_edges=edges, correlate_off=correlate_off, selection="all")
    for name, expected in GAMMAPY[case].items():
        assert_allclose(values(maps, name)[: len(expected)], expected, rtol=2e-5, err_msg=name)


def test_exact_energies_equal_gammapy():
    # gammapy 2.1 as above, without energy dispersion and with equal axes
    maps = excess_map(make_cube(on_off=False, exact_energies=True), "0.2 deg", selection=["norm", "flux", "ul"])
    assert_allclose(values(maps, "norm_err"), [1.037817, 1.1613173, 0.34566313, 0.67463875], rtol=2e-6)
    assert_allclose(values(maps, "norm_ul"), [1.5878244, 2.8276826, 0.94700069, 2.459777], rtol=2e-6)
    assert_allclose(values(maps, "flux"), [-3.1861814e-13, 9.5850548e-14, 1.7609351e-14, 2.1580523e-13], rtol=2e-6)


def test_on_off_is_li_and_ma_in_one_pixel():
    cube = make_cube()
    maps = excess_map(cube, "0.01 deg", selection=["errn-errp"])
    alpha = (cube.acceptance / cube.acceptance_off).values
    inside = cube.mask_safe.values & (cube.counts_off.values > 0) & np.isfinite(alpha)
    n_on, n_off = (cube[n].values[inside] for n in ("counts", "counts_off"))
    assert_allclose(maps.sqrt_ts.values[inside], wstat_excess(n_on, n_off, alpha[inside]).sqrt_ts, rtol=1e-9, atol=1e-9)
    assert_allclose(maps.excess_errn.values[inside], wstat_errors(n_on, n_off, alpha[inside])[0], rtol=1e-7)


def test_a_stored_background_is_used_and_must_agree():
    cube = make_cube()
    background = cube.acceptance / cube.acceptance_off.where(cube.acceptance_off > 0, np.inf) * cube.counts_off
    xr.testing.assert_allclose(excess_map(cube.assign(background=background), "0.2 deg"), excess_map(cube, "0.2 deg"))


@pytest.mark.parametrize("on_off", [True, False])
@pytest.mark.parametrize("chunks", [{"energy": 1, "y": 16, "x": 20}, {"energy": 3, "y": 5, "x": 7}, {"y": 1, "x": 20}])
def test_chunked_equals_unchunked_and_stays_lazy(on_off, chunks):
    cube = make_cube(on_off)
    arguments = {"radius": "0.2 deg", "energy_edges": GROUPS, "selection": "all"}
    # data variables only: Dataset.chunk makes Dask arrays of the small coordinates too
    parts = {n: v.variable.chunk({d: c for d, c in chunks.items() if d in v.dims}) for n, v in cube.items()}
    with dask.config.set(scheduler=refuse):
        lazy = excess_map(cube.assign(parts), **arguments)
    assert all(isinstance(v.data, da.Array) for v in lazy.data_vars.values())
    expected = excess_map(cube, **arguments)
    result = lazy.compute(scheduler="synchronous")
    assert_array_equal(result.counts, expected.counts)
    xr.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


def test_leading_dimensions_are_kept_apart():
    one, other = make_cube(), make_cube()
    other["counts"] = other.counts * 2
    both = xr.concat([one, other], xr.Variable("obs", [1, 2]), coords="minimal", compat="override", data_vars="all")
    maps = excess_map(both, "0.2 deg", selection="flux")
    for i, cube in enumerate((one, other)):
        xr.testing.assert_allclose(maps.isel(obs=i, drop=True), excess_map(cube, "0.2 deg", selection="flux"))


def test_maps_without_energy():
    cube = make_cube(on_off=False).isel(energy=0).drop_vars(["exposure", "edisp"])
    expected = excess_map(make_cube(on_off=False), "0.2 deg").isel(energy=0)
    assert_allclose(excess_map(cube, "0.2 deg").sqrt_ts.values, expected.sqrt_ts.values)
    with pytest.raises(ValueError, match=r"energy axis|exposure"):
        excess_map(cube, "0.2 deg", selection="flux")


def test_masks_add_up():
    cube = make_cube()
    rng = np.random.default_rng(0)
    fit, extra = (rng.random((4, 16, 20)) > 0.2 for _ in range(2))
    extra = extra[0]
    mask = xr.DataArray(extra, dims=("y", "x"), coords=cube.counts.isel(energy=0, drop=True).coords)
    maps = excess_map(cube.assign(mask_fit=(DIMS, fit)), "0.2 deg", mask=mask)
    expected = excess_map(cube.assign(mask_safe=cube.mask_safe & fit & extra), "0.2 deg")
    xr.testing.assert_allclose(maps, expected)
    assert_array_equal(np.isnan(maps.ts.values), ~(cube.mask_safe.values & fit & extra))


@pytest.mark.parametrize("name", ["counts", "background", "counts_off", "acceptance_off"])
def test_pixels_that_are_not_finite_are_masked(name):
    cube = make_cube(on_off=name.endswith("_off"))
    cube[name].values[1, 8, 8] = np.nan
    maps = excess_map(cube, "0.2 deg")
    assert np.isnan(maps.ts.values[1, 8, 8])
    assert np.isfinite(maps.ts.values[1, 8, 9])


def test_expected_counts_are_not_rounded():
    cube = make_cube(on_off=False)
    cube["counts"] = cube.background * 1.5
    maps = excess_map(cube, "0.2 deg")
    assert_allclose(maps.excess, 0.5 * maps.background, rtol=1e-12)


def test_energy_edges_move_with_a_warning():
    cube = make_cube()
    with pytest.warns(UserWarning, match=r"moved to the nearest edges of the cube: 3 -> 3.16228 TeV"):
        maps = excess_map(cube, "0.2 deg", energy_edges=["1 TeV", "3 TeV", "10 TeV"])
    xr.testing.assert_identical(maps, excess_map(cube, "0.2 deg", energy_edges=GROUPS))
    assert_allclose(maps.energy_max, [10**0.5, 10])


def test_selection_says_what_is_made():
    plain = {"counts", "background", "excess", "ts", "sqrt_ts", "excess_err"}
    cube = make_cube()
    assert set(excess_map(cube).data_vars) == plain
    assert set(excess_map(cube, selection="ul").data_vars) == plain | {"excess_ul"}
    assert set(excess_map(cube, selection=("flux",)).data_vars) == plain | {"flux", "flux_err"}
    everything = excess_map(cube, selection="all")
    assert {"norm_errn", "flux_ul", "flux_sensitivity", "acceptance_off", "counts_off"} < set(everything.data_vars)
    assert "alpha" not in excess_map(make_cube(on_off=False), selection="all")
    for name, array in everything.data_vars.items():
        assert array.attrs["units"] == ("cm-2 s-1" if name.startswith("flux") else "")
        assert array.attrs["long_name"]
        assert array.dims == DIMS
    assert everything.attrs["name"] == "test"
    assert everything.attrs["statistic"] == "wstat"
    assert type(everything.xindexes["lon"]).__name__ == "SkyIndex"
    assert len(OPTIONAL) == len(set(OPTIONAL))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"radius": 0.1}, "radius=0.1 must be given in a unit"),
        ({"radius": "0 deg"}, "one positive angle"),
        ({"selection": "upper"}, "not known; choose from"),
        ({"n_sigma": 0}, "n_sigma=0 must be a positive"),
        ({"n_sigma_ul": -1}, "n_sigma_ul=-1 must be a positive"),
        ({"significance": np.nan}, "significance=nan must be a positive"),
        ({"energy_edges": ["10 TeV", "1 TeV"]}, "ascending"),
        ({"energy_edges": ["1 TeV", "1.1 TeV"]}, "same edges"),
        ({"mask": xr.DataArray([1.0])}, "mask must be a DataArray of bools"),
        ({"n_sigma": "one"}, "n_sigma='one' must be a positive number"),
        ({"n_sigma_ul": [1, 2]}, "n_sigma_ul=.* must be a positive number"),
        ({"selection": "flux", "index": "steep"}, "index='steep' must be a number"),
    ],
)
def test_bad_input_raises_in_words(arguments, words):
    with pytest.raises(ValueError, match=words):
        excess_map(make_cube(), **arguments)


def test_cubes_without_what_is_needed_raise():
    with pytest.raises(ValueError, match=r"\['acceptance'\] are missing"):
        excess_map(make_cube().drop_vars("acceptance"))
    with pytest.raises(ValueError, match=r"\['background'\] are missing"):
        excess_map(make_cube(on_off=False).drop_vars("background"))
    with pytest.raises(ValueError, match="on-off cubes only"):
        excess_map(make_cube(on_off=False), selection="alpha")
    with pytest.raises(ValueError, match="norm and flux need 'exposure'"):
        excess_map(make_cube().drop_vars("exposure"), selection="flux")
    mask = make_cube(nx=10).mask_safe
    with pytest.raises(ValueError, match="another grid"):
        excess_map(make_cube(), mask=mask)


def test_flux_of_a_simulated_source_is_recovered():
    rng = np.random.default_rng(8)
    cube = make_cube(on_off=False, exact_energies=True, nbin=1, ny=60, nx=60).drop_vars("mask_safe")
    exposure, flux = 1e13, 5e-12
    in_pixel = 4.0 + flux / 13 * exposure  # the disc has 13 pixels
    cube["exposure"] = cube.exposure.copy(data=np.full(cube.exposure.shape, exposure))
    cube["background"] = cube.counts.copy(data=np.full(cube.counts.shape, 4.0))
    cube["counts"] = cube.counts.copy(data=rng.poisson(in_pixel, cube.counts.shape).astype(float))
    maps = excess_map(cube, "0.2 deg", selection=["flux", "ul"]).isel(y=slice(2, -2), x=slice(2, -2))
    sigma = np.sqrt(13 * in_pixel) / exposure
    # 3600 pixels are 277 independent discs
    assert abs(float(maps.flux.mean()) - flux) < 4 * sigma / np.sqrt(277)
    assert_allclose(maps.flux.std(), sigma, rtol=0.15)
    assert_allclose(maps.flux_err.mean(), sigma, rtol=0.02)
    assert (maps.flux_ul > maps.flux).all()


@pytest.mark.parametrize("index", [0.0, 1.0, 1.0 + 1e-9, 2.0, 3.7])
def test_power_law_integral(index):
    energy = np.geomspace(1.5, 8.0, 20001)
    expected = np.trapezoid(1e-12 * energy**-index, energy)
    assert_allclose(power_law_flux(1.5, 8.0, index), expected, rtol=1e-6)
    assert power_law_flux(3.0, 2.0, index) == 0


def test_reference_counts_with_energy_dispersion_on_a_coarse_grid():
    cube = make_cube()
    expected = np.einsum("tyx,te,t->eyx", cube.exposure.values, EDISP, power_law_flux(
        cube.energy_true_min.values, cube.energy_true_max.values, 2.5
    ))  # fmt: skip
    assert_allclose(reference_counts(cube, 2.5).values, expected, rtol=1e-12)
    coarse = cube.edisp.expand_dims(irf_y=cube.sizes["irf_y"], irf_x=cube.sizes["irf_x"])
    assert_allclose(reference_counts(cube.assign(edisp=coarse), 2.5).values, expected, rtol=1e-12)
    runs = cube.assign(edisp=xr.concat([cube.edisp, 2 * cube.edisp], "obs"))
    both = reference_counts(runs, 2.5)
    assert both.dims == ("obs", *DIMS)
    assert_allclose(both.isel(obs=1).values, 2 * expected, rtol=1e-12)


def test_exact_energies_split_bins_that_overlap():
    cube = make_cube().drop_vars("edisp")
    total = reference_counts(cube, 2.0).values.sum(axis=0)
    lo, hi = np.maximum(cube.energy_true_min.values, 1.0), np.minimum(cube.energy_true_max.values, 10.0)
    expected = np.einsum("tyx,t->yx", cube.exposure.values, power_law_flux(lo, hi, 2.0))
    assert_allclose(total, expected, rtol=1e-12)


def test_input_that_does_not_fit_is_named():
    with pytest.raises(TypeError, match="selection=3 must be names"):
        excess_map(make_cube(), selection=3)
    cube = make_cube()
    mask = cube.mask_safe.isel(energy=slice(0, 3))
    with pytest.raises(ValueError, match=r"'mask' with \{'energy': 3, .*does not fit the counts with \{'energy': 4"):
        excess_map(cube, mask=mask)
    with pytest.raises(ValueError, match=r"'background' with .*'run'.* does not fit the counts"):
        excess_map(make_cube(on_off=False).assign(background=cube.counts.expand_dims(run=2)))


def test_groups_of_single_precision_are_summed_in_double():
    cube = make_cube(on_off=False)
    cube["background"] = cube.background * 1e3 + 1e-3
    stored = cube.astype("float32")
    stored["mask_safe"] = cube.mask_safe
    wanted = excess_map(stored.assign(background=stored.background.astype(float)), "0.2 deg", energy_edges=GROUPS)
    actual = excess_map(stored, "0.2 deg", energy_edges=GROUPS)
    assert_array_equal(actual.background, wanted.background)
    chunked = excess_map(stored.chunk(y=8, x=10), "0.2 deg", energy_edges=GROUPS)
    assert_allclose(chunked.background, wanted.background, rtol=1e-12)


def test_tiles_smaller_than_the_disc_are_joined_and_split_again():
    cube = make_cube()
    lazy = excess_map(cube.chunk(y=3, x=4, energy=1), "0.9 deg")
    assert lazy.sqrt_ts.chunks == cube.chunk(y=3, x=4, energy=1).counts.chunks
    expected = excess_map(cube, "0.9 deg")
    for name in expected.data_vars:
        assert_allclose(lazy[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_large_tiles_are_cut(monkeypatch):
    monkeypatch.setattr("xgamma.background.windows.TASK_BYTES", 6 * 8 * 4 * 100)
    cube = make_cube()
    lazy = excess_map(cube.chunk(), "0.2 deg")
    assert lazy.sqrt_ts.chunks == ((4,), (8, 8), (10, 10))
    expected = excess_map(cube, "0.2 deg")
    for name in expected.data_vars:
        assert_allclose(lazy[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
