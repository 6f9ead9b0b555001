"""Flux profiles: one region after the other, lazy and not, files, words."""

import warnings

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from scipy.optimize import minimize_scalar

import xgamma as xg
from xgamma.coords.bins import rename_axis
from xgamma.estimators.profile import flux_profile, profile_distance
from xgamma.estimators.sed import to_sed_type, to_table
from xgamma.reduction.map_spectrum import to_spectrum


def galactic(lon, lat=0.0):
    return SkyCoord(lon, lat, unit="deg", frame="galactic")


def make_cube(seed=1):
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=4)
    true = rename_axis(energy, "energy_true")
    cube = xg.sky_grid(galactic(20, 5), ("6 deg", "4 deg"), "0.1 deg", energy=energy, energy_true=true)
    maps = (4, cube.sizes["y"], cube.sizes["x"])
    cube["counts"] = ("energy", "y", "x"), rng.poisson(3.0, maps).astype(float)
    cube["background"] = ("energy", "y", "x"), rng.uniform(1, 2, maps)
    cube["exposure"] = ("energy_true", "y", "x"), rng.uniform(1e13, 2e13, maps), {"units": "cm2 s"}
    cube["mask_safe"] = ("energy", "y", "x"), np.ones(maps, bool)
    return cube


REGIONS = [f"galactic;box({lon}, 5, 0.5, 2, 0)" for lon in (18.4, 19, 19.6, 20.2)]


def test_each_region_is_a_flux_point_of_its_own():
    cube = make_cube()
    model = xg.PowerLawSpectralModel(index=2.0)
    edges = np.append(cube.energy_min.values, 10.0)[[0, 2, 4]] * u.TeV
    points = flux_profile(
        cube, REGIONS, model, energy_edges=edges, selection="all", scan_values=np.linspace(0, 900, 31)
    )
    for i, region in enumerate(REGIONS):
        source = xg.SkyModel(model, name="source")
        one = xg.flux_points(
            to_spectrum(cube, region), source, energy_edges=edges, selection="all", scan_values=np.linspace(0, 900, 31)
        )
        for name in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "norm_sensitivity", "ts", "stat_scan"):
            assert np.allclose(points[name][i], one[name], rtol=1e-10), name
        assert np.allclose(points.npred[i], one.npred.sum("dataset"))
    assert np.allclose(points.npred_background + points.npred_excess, points.npred)


def wstat(n, n_off, alpha, signal):
    """Sum over bins of WStat, with the background that fits best, found by scipy."""
    total = 0.0
    for on, off, a, mu in zip(n, n_off, alpha, signal, strict=True):

        def one(b, on=on, off=off, a=a, mu=mu):
            likelihood = 2 * (mu + (1 + a) * b / a - on * np.log(mu + b) - off * np.log(b / a))
            return likelihood - 2 * (on - on * np.log(on) + off - off * np.log(off))

        total += minimize_scalar(one, bounds=(1e-9, 20 * a * (off + on)), method="bounded", options={"xatol": 1e-9}).fun
    return total


def test_off_counts_against_scipy():
    cube = make_cube()
    rng = np.random.default_rng(4)
    maps = cube.counts.dims, cube.counts.shape
    cube = cube.drop_vars("background")
    cube["counts_off"] = maps[0], rng.poisson(12.0, maps[1]).astype(float)
    cube["acceptance"], cube["acceptance_off"] = (maps[0], np.ones(maps[1])), (maps[0], np.full(maps[1], 8.0))
    model = xg.PowerLawSpectralModel(index=2.0, amplitude="1e-10 cm-2 s-1 TeV-1")
    edges = np.append(cube.energy_min.values, 10.0)[[0, 4]] * u.TeV
    points = flux_profile(cube, REGIONS, model, energy_edges=edges, selection=["ul", "errn-errp"])
    spectra = to_spectrum(cube, REGIONS)
    for i in range(len(REGIONS)):
        one = spectra.isel(region=i)
        signal = (
            model.integral(one.energy_min.values * u.TeV, one.energy_max.values * u.TeV).value * one.exposure.values
        )
        alpha = (one.acceptance / one.acceptance_off).values

        def stat(norm, one=one, alpha=alpha, signal=signal):
            return wstat(one.counts.values, one.counts_off.values, alpha, norm * signal)

        best = minimize_scalar(stat, bounds=(1e-3, 20), method="bounded", options={"xatol": 1e-7})
        error = float(points.norm_err[i, 0])
        assert abs(float(points.norm[i, 0]) - best.x) < 1e-3 * error
        for end, rise in (("norm_ul", 4.0), ("norm_errp", 1.0)):
            norm = float(points[end][i, 0]) + (best.x if end == "norm_errp" else 0.0)
            assert stat(norm) - best.fun == pytest.approx(rise, rel=2e-3)
        assert float(points.ts[i, 0]) == pytest.approx(stat(0.0) - best.fun, rel=1e-4)


def test_runs_are_joint():
    cubes = [make_cube(seed) for seed in (1, 2)]
    cube = xr.concat(cubes, "obs", data_vars="all", coords="minimal", compat="override", join="override")
    points = flux_profile(cube.assign_coords(obs=[7, 9]), REGIONS)
    sums = to_spectrum(cube, REGIONS)
    direct = xg.flux_points(sums, xg.SkyModel(spectral=xg.PowerLawSpectralModel(), name="source"))
    assert dict(points.sizes) == {"region": 4, "energy": 4}
    assert np.allclose(points.norm, direct.norm, rtol=1e-9)
    assert np.allclose(points.counts, sums.counts.sum("obs"))
    assert np.allclose(points.npred, direct.npred.sum("dataset"))


def test_on_a_cluster():
    from dask.distributed import Client

    cube = make_cube()
    lazy = flux_profile(cube.chunk({"y": 9, "x": 14}), REGIONS, selection=["ul"])
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        found = lazy.compute()
    xr.testing.assert_allclose(found, flux_profile(cube, REGIONS, selection=["ul"]))


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
@pytest.mark.parametrize("sed_type", ["dnde", "eflux", "likelihood"])
def test_files_come_back_identical(tmp_path, suffix, sed_type):
    points = flux_profile(make_cube(), REGIONS, selection="all", scan_values=np.linspace(0, 900, 5))
    assert {"counts", "stat_scan", "norm_scan", "npred_background", "is_ul"} <= set(points.variables)
    file = points.gamma.to_fits(tmp_path / f"profile.{suffix}", format="profile", sed_type=sed_type)
    again = xg.read_flux_points(file)
    xr.testing.assert_identical(again, to_sed_type(points, sed_type))
    back, expected = to_sed_type(again, "likelihood"), to_sed_type(points, "likelihood")
    assert np.allclose(back.norm, expected.norm, rtol=1e-12)
    assert to_table(points, sed_type=sed_type)["counts"].shape == (4, 4, 1)


def test_lazy_and_the_same():
    cube = make_cube()
    expected = flux_profile(cube, REGIONS, selection=["ul"])
    with dask.config.set(scheduler=raising):
        lazy = flux_profile(cube.chunk({"y": 9, "x": 14}), REGIONS, selection=["ul"])
    assert lazy.norm.chunks is not None
    assert lazy.distance.chunks is None
    xr.testing.assert_allclose(lazy.compute(), expected)


def test_chunks_that_no_region_touches_are_never_read(tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    cube = make_cube()
    cube.chunk({"energy": -1, "energy_true": -1, "y": 10, "x": 10}).gamma.to_zarr(tmp_path / "survey.zarr")
    seen = set()
    get = LocalStore.get

    async def noted(self, key, *args, **kwargs):
        name, _, place = key.partition("/c/")
        if name in ("counts", "background", "exposure", "mask_safe"):
            seen.add((name, tuple(map(int, place.split("/")[-2:]))) if place else name)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "get", noted)
    lazy = xg.open_cube(tmp_path / "survey.zarr")
    points = flux_profile(lazy, REGIONS, selection=["ul"])
    assert not {s for s in seen if isinstance(s, tuple)}, "read while the graph was built"
    points = points.compute(scheduler="sync")
    inside = np.any([xg.region_mask(cube, r).values for r in REGIONS], axis=0)
    tiles = set(zip(*(np.nonzero(inside)[k] // 10 for k in (0, 1)), strict=True))
    assert 0 < len(tiles) < 0.5 * (cube.sizes["y"] // 10) * (cube.sizes["x"] // 10)
    for name in ("counts", "background", "exposure"):
        assert {s[1] for s in seen if isinstance(s, tuple) and s[0] == name} == tiles, name
    xr.testing.assert_allclose(points, flux_profile(cube, REGIONS, selection=["ul"]))


def test_background_of_other_sources():
    cube = make_cube()
    more = (2 * cube.background).rename("npred")
    points = flux_profile(cube, REGIONS, background=more)
    direct = flux_profile(cube.assign(background=2 * cube.background), REGIONS)
    assert np.allclose(points.norm, direct.norm)
    with pytest.raises(ValueError, match="another grid"):
        flux_profile(cube, REGIONS, background=more.isel(y=slice(1, None)))


def test_spectra_can_be_reused():
    cube = make_cube()
    direct = flux_profile(cube, REGIONS)
    xr.testing.assert_allclose(flux_profile(to_spectrum(cube, REGIONS), REGIONS), direct)
    with pytest.raises(ValueError, match="spectra of the 3 regions"):
        flux_profile(to_spectrum(cube, REGIONS), REGIONS[:3])


def test_words_and_warnings():
    cube = make_cube()
    with pytest.raises(ValueError, match="background"):
        flux_profile(cube.drop_vars("background"), REGIONS)
    with pytest.raises(ValueError, match="exposure"):
        flux_profile(cube.drop_vars("exposure"), REGIONS)
    with pytest.raises(ValueError, match="reaches beyond"):
        flux_profile(cube, ["galactic;box(17, 5, 2, 1, 0)"])
    with pytest.warns(UserWarning, match=r"regions 0 and 2 share pixels"):
        flux_profile(cube, [REGIONS[0], REGIONS[2], "galactic;box(18.5, 5, 0.5, 2, 0)"])
    with pytest.warns(UserWarning, match="lie outside of scan_values"):
        flux_profile(cube, REGIONS, selection="scan", scan_values=[0.0, 0.1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flux_profile(cube, REGIONS)


def test_warnings_name_the_line_of_the_user():
    cube, overlapping = make_cube(), [REGIONS[0], "galactic;box(18.5, 5, 0.5, 2, 0)"]
    options = {"selection": "scan", "scan_values": [0.0, 0.1], "energy_edges": [1, 9] * u.TeV}
    for call in (cube.gamma.flux_profile, lambda *a, **k: flux_profile(cube, *a, **k)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            call(overlapping, **options)
        words = " ".join(str(w.message) for w in told)
        assert all(part in words for part in ("share pixels", "moved to the nearest", "lie outside of scan_values"))
        assert {w.filename for w in told} == {__file__}


def test_distances_of_what_does_not_ascend():
    far = [f"galactic;circle({lon}, 0, 0.2)" for lon in (0, 2, 1)]
    from xgamma.coords.regions import as_regions

    coords = profile_distance(as_regions(far))
    assert np.allclose(coords["distance"][1], [0, 2, 1])
    assert np.allclose(coords["distance_min"][1], coords["distance_max"][1])
