"""Light curves: PKS 2155-304 against gammapy, bins against loops, files, words."""

import warnings

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.time import Time

import xgamma as xg
from xgamma.coords.bins import rename_axis
from xgamma.estimators.light_curve import light_curve, split_runs
from xgamma.estimators.rebin_points import rebin_points
from xgamma.estimators.sed import to_fits, to_sed_type

# gammapy 2.1: SpectrumDatasetMaker(containment_correction=True), ReflectedRegionsBackgroundMaker, aeff-max 10 %,
# 10 bins of 0.4 to 20 TeV, 20 of 0.1 to 40 TeV; LightCurveEstimator(energy_edges=[0.7, 20] TeV,
# selection_optional=["ul"]) with a power law of index 3.4; fluxes in cm-2 s-1. Minuit ends up to 0.013 of the error
# away.
STEADY = {
    "flux": [5.1991111e-12, 3.0481795e-12, 3.5445225e-12, 5.4199251e-12, 6.2470321e-12, 9.1638375e-12],
    "flux_err": [1.930251e-12, 1.627972e-12, 1.6976689e-12, 1.9367664e-12, 1.9561593e-12, 2.2397514e-12],
    "flux_ul": [9.632797192e-12, 6.897882004e-12, 7.547821692e-12, 9.870132395e-12, 1.076165588e-11, 1.426225888e-11],
}
FLARE = {
    "flux": [1.348767e-10, 2.4591915e-10, 3.174736e-10, 2.3740277e-10, 1.7149787e-10, 1.4312207e-10],
    "flux_err": [1.12935e-11, 1.0096922e-11, 1.1313471e-11, 9.8714648e-12, 8.4419936e-12, 7.8191396e-12],
    "flux_ul": [1.586778188e-10, 2.666545303e-10, 3.406437031e-10, 2.577714935e-10, 1.890359325e-10, 1.593917764e-10],
}
# the same after observations.select_time of 50 intervals of 10 min from 2006-07-29T20:30 (UTC)
TEN_MINUTES = {
    "flux": [1.2062726e-10, 1.4078648e-10, 2.1194621e-10, 2.1537145e-10, 2.9415856e-10, 2.3265358e-10],
    "flux_err": [1.8257794e-11, 1.9006206e-11, 1.9739604e-11, 1.5896353e-11, 1.8454045e-11, 1.8448791e-11],
    "flux_ul": [1.606049166e-10, 1.822792063e-10, 2.53953851e-10, 2.488388744e-10, 3.327443996e-10, 2.715051183e-10],
}
STEADY_RUNS = [47802, 47803, 47804, 47827, 47828, 47829]
FLARE_RUNS = list(range(33787, 33802))
SELECTION = {"energy_edges": [0.7, 20] * u.TeV, "selection": "ul"}


def pks2155():
    spectral = xg.PowerLawSpectralModel(index=3.4, amplitude="2e-11 cm-2 s-1 TeV-1")
    return xg.SkyModel(spectral, name="pks2155")


def spectra(runs):
    grid = xg.region_grid(
        "icrs;circle(329.71693826, -30.2255890, 0.11)",
        energy=xg.energy_axis("0.4 TeV", "20 TeV", nbin=10),
        energy_true=xg.energy_axis("0.1 TeV", "40 TeV", nbin=20, name="energy_true"),
    )
    cube = xg.reduce(
        runs,
        grid,
        background=xg.ReflectedRegions(),
        selection=["counts", "exposure", "edisp"],
        safe_mask=["aeff-max"],
        containment_correction=True,
        stack=False,
    )
    return cube.compute()


def agrees(curve, reference):
    flux = to_sed_type(curve, "flux")
    error = np.array(reference["flux_err"])
    n = len(error)
    assert np.abs((flux.flux.values[:n, 0] - reference["flux"]) / error).max() < 0.02  # minuit's tolerance
    assert np.abs((flux.flux_err.values[:n, 0] - error) / error).max() < 0.01
    # limits are solved to the end by both
    assert np.allclose(flux.flux_ul.values[:n, 0], reference["flux_ul"], rtol=1e-6)


@pytest.mark.real_data
def test_pks_2155_as_gammapy(gammapy_data, tmp_path):
    store = xg.open_store(gammapy_data / "hess-dl3-dr1")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="energy_edges moved")
        steady = light_curve(spectra(store.select(obs_id=STEADY_RUNS)), pks2155(), **SELECTION)
        flare_runs = store.select(obs_id=FLARE_RUNS)
        flare = light_curve(spectra(flare_runs), pks2155(), **SELECTION)
        start = Time("2006-07-29T20:30")
        bins = [(start + i * 10 * u.min, start + (i + 1) * 10 * u.min) for i in range(50)]
        parts = spectra(split_runs(flare_runs, bins))
        with pytest.warns(UserWarning, match="4 of 50 time intervals hold no run"):
            short = light_curve(parts, pks2155(), time_intervals=bins, **SELECTION)
        whole = spectra(flare_runs)
        nights = light_curve(whole, pks2155(), time_intervals="night", **SELECTION)
    agrees(steady, STEADY)
    agrees(flare, FLARE)
    agrees(short, TEN_MINUTES)
    assert short.sizes["time"] == 46
    assert nights.n_runs.values.tolist() == [15]
    assert float(flare.time_min[0]) == pytest.approx(float(flare.gti_start[0]), abs=1e-6)
    to_fits(short, tmp_path / "flare.fits", sed_type="flux")
    xr.testing.assert_identical(xg.read_flux_points(tmp_path / "flare.fits"), to_sed_type(short, "flux"))


def make_cube(runs=5, regions=0, on_off=True, seed=2, nbin=4):
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("1 TeV", "100 TeV", nbin=nbin)
    cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    cube = cube.assign_coords(obs=np.arange(runs) + 100)
    lead = {"obs": runs} | ({"region": regions} if regions else {})
    if regions:
        cube = cube.assign_coords(region=[f"icrs;circle({i}, 0, 0.1)" for i in range(regions)])
    shape = tuple(lead.values())
    cube["exposure"] = (*lead, "energy_true"), rng.uniform(1e14, 2e14, (*shape, nbin)), {"units": "cm2 s"}
    cube["counts"] = (*lead, "energy"), rng.poisson(60, (*shape, nbin)).astype(float)
    if on_off:
        cube["acceptance"] = (*lead, "energy"), np.ones((*shape, nbin))
        cube["acceptance_off"] = (*lead, "energy"), np.full((*shape, nbin), 5.0)
        cube["counts_off"] = (*lead, "energy"), rng.poisson(100, (*shape, nbin)).astype(float)
    else:
        cube["background"] = (*lead, "energy"), np.full((*shape, nbin), 20.0)
    mask = np.ones((*shape, nbin), bool)
    mask[0, ..., 0] = False
    cube["mask_safe"] = (*lead, "energy"), mask
    start = 1000.0 * np.arange(runs) + np.where(np.arange(runs) > 2, 83400.0, 0.0)
    cube["gti_start"] = ("obs", "gti"), np.stack([start, start + 500, np.full(runs, np.nan)], axis=-1)
    cube["gti_stop"] = ("obs", "gti"), np.stack([start + 400, start + 900, np.full(runs, np.nan)], axis=-1)
    return cube


def source():
    return xg.SkyModel(xg.PowerLawSpectralModel(index=1, amplitude="2e-13 cm-2 s-1 TeV-1"), name="source")


NAMES = ("norm", "norm_err", "norm_ul", "ts", "stat", "stat_null")


@pytest.mark.parametrize("regions", [0, 2])
@pytest.mark.parametrize("on_off", [True, False])
def test_bins_are_flux_points_of_their_runs(regions, on_off):
    cube = make_cube(regions=regions, on_off=on_off)
    curve = light_curve(cube, source(), time_intervals=[(0, 3000), (86000, 87350.0), (87350, 99000)])
    assert curve.norm.dims == (("time", "region", "energy") if regions else ("time", "energy"))
    assert curve.n_runs.values.tolist() == [3, 1, 1]
    assert curve.time_min.values.tolist() == [0, 86000, 87350]
    for i, rows in enumerate(([0, 1, 2], [3], [4])):
        points = xg.flux_points(cube.isel(obs=rows), source())
        for name in NAMES:
            assert np.allclose(curve[name][i], points[name], rtol=1e-9, equal_nan=True), name
        for name in ("npred", "npred_excess", "counts"):
            assert np.allclose(curve[name][i], points[name].sum("dataset", skipna=False), equal_nan=True), name
    assert curve.gti_start.size == 10


def test_runs_nights_and_durations():
    cube = make_cube()
    runs = light_curve(cube, source())
    assert runs.sizes["time"] == 5
    assert np.allclose(runs.time_max - runs.time_min, 900)
    assert light_curve(cube, source(), time_intervals="night").n_runs.values.tolist() == [3, 2]
    by_hour = light_curve(cube, source(), time_intervals="1 h")
    assert by_hour.n_runs.values.tolist() == [3, 2]
    assert np.allclose(by_hour.time_max - by_hour.time_min, 3600)
    shuffled = light_curve(cube.isel(obs=[3, 0, 4, 2, 1]), source())
    assert np.allclose(shuffled.norm, runs.norm, equal_nan=True)


def test_stacked_runs_and_several_cubes():
    cube = make_cube()
    bins = [(0, 3000), (86000, 99000)]
    stacked = light_curve(cube, source(), time_intervals=bins, stack=True)
    direct = xg.flux_points(cube.isel(obs=[0, 1, 2]).gamma.stack("obs"), source())
    assert np.allclose(stacked.norm[0], direct.norm)
    other = make_cube(seed=7).isel(obs=[0, 4])
    both = light_curve({"first": cube, "second": other}, source(), time_intervals=bins)
    points = xg.flux_points({"first": cube.isel(obs=[0, 1, 2]), "second": other.isel(obs=[0])}, source())
    assert np.allclose(both.norm[0], points.norm)
    assert both.n_runs.values.tolist() == [4, 3]
    single = light_curve([cube.isel(obs=i, drop=True) for i in range(5)], source())
    assert np.allclose(single.norm, light_curve(cube, source()).norm, equal_nan=True)


def test_lazy_spectra_give_lazy_curves():
    cube = make_cube()
    tables = {n: cube[n] for n in ("gti_start", "gti_stop")}
    lazy = light_curve(cube.chunk({"obs": 1}).assign(tables), source(), time_intervals=[(0, 3000), (86000, 99000)])
    assert lazy.norm.chunks is not None
    expected = light_curve(cube, source(), time_intervals=[(0, 3000), (86000, 99000)])
    xr.testing.assert_allclose(lazy.compute(), expected)
    # fresh from a reduction, good times are as lazy as counts
    xr.testing.assert_allclose(light_curve(cube.chunk({"obs": 1}), source()).compute(), light_curve(cube, source()))


def test_words_and_warnings():
    cube = make_cube()
    with pytest.raises(ValueError, match="gti_start"):
        light_curve(cube.drop_vars("gti_start"), source())
    with pytest.raises(ValueError, match="intervals 0 and 1 overlap"):
        light_curve(cube, source(), time_intervals=[(0, 2000), (1500, 4000)])
    with pytest.raises(ValueError, match="none of the 5 runs lies inside one of the 1 intervals"):
        light_curve(cube, source(), time_intervals=[(100000, 110000)])
    # counts of a run cannot be divided afterwards
    with pytest.raises(ValueError, match=r"cut 1 of 5 runs: run 100 lasts from 0.000 to 900.000.*split_runs"):
        light_curve(cube, source(), time_intervals=[(100, 200)])
    with pytest.raises(ValueError, match=r"cut 1 of 5 runs: run 101 .*interval from 0.000 to 1500"):
        light_curve(cube, source(), time_intervals=[(0, 1500)])
    with pytest.raises(ValueError, match="cut 5 of 5 runs"):
        light_curve(cube, source(), time_intervals="10 min")
    for bad in ([(0.0, np.inf)], [(-np.inf, 3000.0)]):
        with pytest.raises(ValueError, match="must be finite times"):
            light_curve(cube, source(), time_intervals=bad)
    with pytest.raises(ValueError, match="each stop must lie after its start"):
        light_curve(cube, source(), time_intervals=[(0.0, np.nan)])
    with pytest.raises(ValueError, match="belongs to"):
        light_curve(cube, [source(), xg.SkyModel(source().spectral, name="other", datasets_names=["100"])], "source")
    with pytest.warns(UserWarning, match="1 of 2 time intervals hold no run"):
        light_curve(cube, source(), time_intervals=[(0, 99000), (100000, 110000)])
    with pytest.warns(UserWarning, match="4 of 5 runs lie inside none"):
        light_curve(cube, source(), time_intervals=[(0, 950)])
    with pytest.raises(ValueError, match="positive duration"):
        light_curve(cube, source(), time_intervals="-1 h")
    none = cube.assign(gti_start=xr.full_like(cube.gti_start, np.nan), gti_stop=xr.full_like(cube.gti_stop, np.nan))
    with pytest.raises(ValueError, match="no run has any good time"):
        light_curve(none, source())
    # a run without good time has no place in a curve
    dead = cube.gti_start.where(cube.obs != 100), cube.gti_stop.where(cube.obs != 100)
    with pytest.warns(UserWarning, match="1 of 5 runs lie inside none"):
        curve = light_curve(cube.assign(gti_start=dead[0], gti_stop=dead[1]), source())
    assert curve.sizes["time"] == 4


def test_bins_without_counts_and_with_nothing_safe():
    cube = make_cube(on_off=False)
    empty = cube.assign(counts=cube.counts.where(cube.obs != 101, 0.0), background=cube.background * 0.1)
    curve = light_curve(empty, source(), energy_edges=[1, 100] * u.TeV)
    # no counts: nothing or less, and a finite limit
    assert float(curve.norm[1, 0]) <= 0
    assert np.isfinite(curve.norm_ul[1, 0])
    assert bool(curve.is_ul[1, 0])
    dark = cube.assign(mask_safe=cube.mask_safe & (cube.obs != 101))
    curve = light_curve(dark, source(), energy_edges=[1, 100] * u.TeV)
    assert np.isnan(curve.norm[1, 0])
    assert not bool(curve.success[1, 0])
    assert np.isfinite(curve.norm[[0, 2, 3, 4], 0]).all()


@pytest.fixture(scope="module")
def maps():
    runs = xg.open_store(xg.sample_path("survey")).observations[:3]
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    grid = xg.sky_grid(
        SkyCoord(150.0, -25.0, unit="deg"),
        "1.2 deg",
        "0.04 deg",
        energy=energy,
        energy_true=xg.energy_axis("0.8 TeV", "20 TeV", nbin=6, name="energy_true"),
        irf_binsize="0.4 deg",
    )
    options = {"selection": "all", "offset_max": "2.5 deg", "safe_mask": "offset-max", "stack": False}
    return xg.reduce(runs, grid, **options)


def map_models():
    point = xg.PointSpatialModel(position=SkyCoord(150.0, -25.0, unit="deg"))
    spectral = xg.PowerLawSpectralModel(index=2.3, amplitude="1e-11 cm-2 s-1 TeV-1")
    return [xg.SkyModel(spectral, point, name="bright"), xg.FoVBackgroundModel(datasets_names=["survey"])]


def test_light_curve_of_maps(maps):
    cube = maps.compute().assign_attrs(name="survey")
    options = {"energy_edges": [1, 10] * u.TeV, "selection": ["ul", "scan"]}
    curve = light_curve(cube, map_models(), "bright", **options)
    assert curve.norm.dims == ("time", "energy")
    assert curve.stat_scan.dims == ("time", "energy", "scan")
    assert curve.sizes["time"] == 3
    order = np.argsort(cube.gti_start.min("gti").values)
    for i, row in enumerate(order):
        points = xg.flux_points(cube.isel(obs=[row]), map_models(), "bright", **options)
        for name in (*NAMES, "stat_scan"):
            assert np.allclose(curve[name][i], points[name], rtol=1e-9), name
        assert np.allclose(curve["npred"][i], points["npred"].sum("dataset"))
    start = float(curve.time_min[0])
    bins = [(start - 1, float(curve.time_max[1]) + 1), (float(curve.time_min[2]) - 1, float(curve.time_max[2]) + 1)]
    wide = light_curve(cube, map_models(), "bright", time_intervals=bins, **options)
    assert wide.n_runs.values.tolist() == [2, 1]
    both = xg.flux_points(cube.isel(obs=order[:2]), map_models(), "bright", **options)
    assert np.allclose(wide.norm[0], both.norm)
    # runs added up have one averaged response: close, not the same
    stacked = light_curve(cube, map_models(), "bright", time_intervals=bins, stack=True, **options)
    assert np.allclose(stacked.norm[0], both.norm, atol=0.1 * float(both.norm_err[0]))
    flux = to_sed_type(wide, "flux")
    assert (np.abs(flux.flux - 7.3e-12) < 4 * flux.flux_err).all()


def test_maps_stay_lazy(maps):
    lazy = light_curve(maps.assign_attrs(name="survey"), map_models(), "bright", energy_edges=[1, 10] * u.TeV)
    assert lazy.norm.chunks is not None
    curve = light_curve(
        maps.compute().assign_attrs(name="survey"), map_models(), "bright", energy_edges=[1, 10] * u.TeV
    )
    xr.testing.assert_allclose(lazy.compute(), curve)


def test_parts_of_runs_hold_all_events():
    runs = xg.open_store(xg.sample_path("survey")).observations[:2]
    parts = split_runs(runs, "5 min")
    assert sum(p.ontime for p in parts) == pytest.approx(sum(r.ontime for r in runs))
    assert sum(p.events.sizes["event"] for p in parts) == sum(r.events.sizes["event"] for r in runs)
    with pytest.raises(ValueError, match="none of the 2 runs"):
        split_runs(runs, [(0.0, 1.0)])


@pytest.mark.parametrize("dim", ["time", "energy"])
def test_joined_profiles_are_the_joint_fit(dim):
    cube = make_cube(runs=6)
    norms = np.linspace(0.01, 3, 400)
    curve = light_curve(cube, source(), selection=["ul", "scan"], scan_values=norms)
    joined = rebin_points(curve, dim, group_size=3)
    if dim == "time":
        direct = light_curve(cube, source(), time_intervals=[(0, 3000), (80000, 99000)], selection="ul")
        expected = direct.norm.values, direct.norm_err.values, direct.norm_ul.values, direct.stat.values
    else:
        edges = np.append(cube.energy_min.values, 100.0)[[0, 3, 4]] * u.TeV
        direct = light_curve(cube, source(), energy_edges=edges, selection="ul")
        expected = direct.norm.values, direct.norm_err.values, direct.norm_ul.values, direct.stat.values
        assert np.allclose(joined.ref_flux, direct.ref_flux)
    for name, values in zip(("norm", "norm_err", "norm_ul", "stat"), expected, strict=True):
        assert np.allclose(joined[name], values, rtol=2e-3), name
    # without profiles: means with the inverse variances as weights
    plain = rebin_points(curve.drop_vars(["stat_scan", "norm_scan"]), dim, group_size=3)
    first, weight = curve.isel({dim: slice(0, 3)}), curve.norm_err.isel({dim: slice(0, 3)}) ** -2
    assert np.allclose(plain.norm.isel({dim: 0}), (weight * first.norm).sum(dim) / weight.sum(dim))
    assert np.allclose(plain.norm_err.isel({dim: 0}), weight.sum(dim) ** -0.5)
    assert np.allclose(plain.counts, direct.counts)


def test_joined_by_significance_and_lazily():
    curve = light_curve(make_cube(runs=6), source(), energy_edges=[1, 100] * u.TeV)
    joined = rebin_points(curve, "time", min_significance=1.5 * float(curve.sqrt_ts.max()))
    assert joined.sizes["time"] < 4
    assert (joined.sqrt_ts.values[:-1] > 1.4 * float(curve.sqrt_ts.max())).all()
    lazy = rebin_points(curve.chunk({"time": 2}), "time", group_size=4)
    assert lazy.norm.chunks is not None
    assert np.allclose(lazy.norm, rebin_points(curve, "time", group_size=4).norm)
    flux = rebin_points(to_sed_type(curve, "flux"), "time", group_size=4)
    assert flux.attrs["sed_type"] == "flux"
    with pytest.raises(ValueError, match="either group_size or min_significance"):
        rebin_points(curve, "time")
    with pytest.raises(ValueError, match="must be 'energy' or 'time'"):
        rebin_points(curve, "region", group_size=2)


@pytest.mark.parametrize("region", ["icrs;circle(150, -25, 0.2)", "icrs;box(150, -25, 0.4, 0.3, 20)"])
def test_parts_that_share_a_file_are_what_each_is_alone(region):
    runs = xg.open_store(xg.sample_path("survey")).observations[:3]
    parts = split_runs(runs, "4 min")
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=4)
    grid = xg.region_grid(region, energy=energy, energy_true=rename_axis(energy, "energy_true"))

    def reduced(some, **chunks):
        options = {"background": xg.ReflectedRegions(), "safe_mask": "aeff-max", "stack": False}
        return xg.reduce(some, grid, **options, **chunks).compute()

    together, narrow = reduced(parts), reduced(parts, chunks={"obs": 3})
    alone = xr.concat([reduced([part]) for part in parts], "obs", data_vars="all", coords="minimal", join="override")
    assert len(parts) > 3
    for name in together.data_vars:
        assert np.array_equal(together[name].values, narrow[name].values, equal_nan=together[name].dtype == float), name
        assert np.array_equal(together[name].values, alone[name].values, equal_nan=together[name].dtype == float), name
    # and they add up to the run
    whole = reduced(runs)
    for run in runs:
        mine = together.isel(obs=together.obs.values == run.obs_id)
        for name in ("counts", "counts_off"):
            assert np.array_equal(mine[name].sum("obs"), whole[name].sel(obs=run.obs_id)), name
        assert np.allclose(mine.exposure.sum("obs"), whole.exposure.sel(obs=run.obs_id), rtol=1e-6)
