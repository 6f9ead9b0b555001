"""TS maps of cubes: against brute-force minimisation of the whole prediction, tiles, runs, several cubes, real data."""

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from scipy.optimize import minimize_scalar

import xgamma as xg
from xgamma.estimators.sed import to_sed_type
from xgamma.estimators.ts_map import ts_map
from xgamma.kernels.ts_psf import radial_kernel
from xgamma.models.spatial_shapes import GaussianSpatialModel, PointSpatialModel

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")
PIXEL = 0.1


def make_cube(seed=1, bins=3, runs=None, coarse=True, width=("4.1 deg", "3.1 deg"), edisp=True, source=True):
    """A cube whose responses change over the map, with a source at pixel (y, x) = (12, 25)."""
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=bins)
    true = xg.energy_axis("0.5 TeV", "20 TeV", nbin=bins + 2, name="energy_true")
    cube = xg.sky_grid(
        CENTER, width, f"{PIXEL} deg", frame="galactic", energy=energy, energy_true=true, irf_binsize="0.5 deg"
    )
    ny, nx, nt = cube.sizes["y"], cube.sizes["x"], bins + 2
    lead, runs_dims = ((runs,), ("obs",)) if runs else ((), ())
    irf = (cube.sizes["irf_y"], cube.sizes["irf_x"])
    fall = np.geomspace(1, 0.1, bins)[:, None, None]
    cube["background"] = (*runs_dims, "energy", "y", "x"), 0.3 * fall * rng.uniform(0.5, 1.5, (*lead, bins, ny, nx))
    exposure = (
        rng.uniform(0.9, 1.1, (*lead, nt, 1, 1)) * 2e13 * np.linspace(0.7, 1.3, nx) * np.linspace(0.8, 1.2, ny)[:, None]
    )
    cube["exposure"] = (*runs_dims, "energy_true", "y", "x"), exposure, {"units": "cm2 s"}
    rad = cube.rad.values
    sigma = np.geomspace(0.15, 0.06, nt)[:, None, None, None] * (
        np.linspace(0.9, 1.2, irf[1])[:, None] if coarse else 1.0
    )
    table = np.exp(-0.5 * (rad / sigma) ** 2) * np.ones((nt, *(irf if coarse else (1, 1)), 1))
    area = np.pi * np.diff(np.deg2rad(np.append(cube.rad_min.values, cube.rad_max.values[-1])) ** 2)
    table = table / (table @ area)[..., None]
    smear = np.exp(-0.5 * ((np.arange(bins) + 1 - np.arange(nt)[:, None]) / 0.6) ** 2)
    smear /= np.maximum(smear.sum(axis=1, keepdims=True), 1)
    if coarse:
        dims = ("energy_true", "irf_y", "irf_x")
        weight = rng.uniform(1e13, 2e13, (nt, *irf))
        weight[:, 0, 0] = 0.0
        cube["irf_exposure"] = dims, weight, {"units": "cm2 s"}
        cube["psf"] = (*dims, "rad"), table, {"units": "sr-1"}
        if edisp:
            cube["edisp"] = ("energy_true", "energy", "irf_y", "irf_x"), smear[..., None, None] * np.ones(irf)
    else:
        cube = cube.drop_vars([n for n in cube.coords if str(n).startswith("irf_")])
        cube["psf"] = ("energy_true", "rad"), table[:, 0, 0], {"units": "sr-1"}
        if edisp:
            cube["edisp"] = ("energy_true", "energy"), smear
    signal = np.zeros((ny, nx))
    yy, xx = np.mgrid[:ny, :nx]
    signal = 1.5 * np.exp(-0.5 * ((yy - 12) ** 2 + (xx - 25) ** 2)) * source
    counts = rng.poisson(cube.background.values + signal * fall)
    cube["counts"] = cube.background.dims, counts.astype(float), {"units": ""}
    mask = rng.uniform(size=(bins, ny, nx)) > 0.1
    mask[:, :3, :5] = False
    cube["mask_safe"] = ("energy", "y", "x"), mask
    return cube


def expected_signal(cube, y, x, half, spectrum_index=2.0, run=None, rows=slice(None), columns=slice(None)):
    """Counts of a point source at pixel (y, x) and norm 1 in each voxel of its window, written out in full."""
    cube = cube if run is None else cube.isel(obs=run)
    lo, hi = cube.energy_true_min.values, cube.energy_true_max.values
    flux = 1e-12 * (lo ** (1 - spectrum_index) - hi ** (1 - spectrum_index)) / (spectrum_index - 1)
    psf, edisp = cube.psf, cube.edisp
    if "irf_y" in psf.dims:
        w = cube.irf_exposure.isel(irf_y=rows, irf_x=columns)
        ebar = w.mean(("irf_y", "irf_x")).values
        psf = ((psf.isel(irf_y=rows, irf_x=columns) * w).sum(("irf_y", "irf_x")) / w.sum(("irf_y", "irf_x"))).transpose(
            "energy_true", "rad"
        )
        edisp = (edisp.isel(irf_y=rows, irf_x=columns) * w).sum(("irf_y", "irf_x")) / w.sum(("irf_y", "irf_x"))
    else:
        ebar = cube.exposure.mean(("y", "x")).values
    edges = np.append(cube.rad_min.values, cube.rad_max.values[-1])
    kernels = radial_kernel(psf.values, cube.rad.values, edges, (half, half), (PIXEL, PIXEL))
    share = flux[:, None] * edisp.transpose("energy_true", "energy").values
    shape = np.einsum("te,t,tyx->eyx", share, ebar, kernels) / np.einsum("te,t->e", share, ebar)[:, None, None]
    here = np.einsum("te,t->e", share, cube.exposure.values[:, y, x])
    return shape * here[:, None, None]


def window(cube, y, x, half, signal):
    """Counts, background and signal of all voxels in the window that are inside map and mask."""
    ny, nx = cube.sizes["y"], cube.sizes["x"]
    here = (slice(None), slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1))
    stamp = (
        slice(None),
        slice(max(0, half - y), min(2 * half + 1, ny - y + half)),
        slice(max(0, half - x), min(2 * half + 1, nx - x + half)),
    )
    mask = cube.mask_safe.values[here]
    return [a[mask] for a in (cube.counts.values[here], cube.background.values[here], signal[stamp])]


def minimum(n, b, s):
    def half_cash(a):
        mu = b + a * s
        if (mu[n > 0] <= 0).any():
            return np.inf
        return np.maximum(mu, 1e-25).sum() - (n[n > 0] * np.log(mu[n > 0])).sum()

    pole = (-b / s)[(n > 0) & (s > 0)].max()
    top = 5 * n.sum() / s.sum() + abs(pole)
    found = minimize_scalar(
        half_cash, bounds=(pole + 1e-12, top), method="bounded", options={"xatol": 1e-12, "maxiter": 3000}
    )
    return found.x, 2 * (half_cash(0.0) - found.fun)


def assert_close(actual, expected, rtol=1e-10, atol=1e-9):
    assert set(actual.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        np.testing.assert_allclose(actual[name].values, expected[name].values, rtol=rtol, atol=atol, err_msg=str(name))


def raising(*args, **kwargs):
    pytest.fail("computed while the graph was built")


PIXELS = [(12, 25), (0, 40), (30, 0), (15, 3), (5, 20), (28, 38)]


def test_pixels_are_minima_of_the_whole_prediction():
    cube = make_cube(coarse=False)
    maps = ts_map(cube, kernel_width="0.9 deg")
    for y, x in PIXELS:
        if not cube.mask_safe.values[:, y, x].any():
            assert np.isnan(maps.norm.values[0, y, x])
            continue
        norm, ts = minimum(*window(cube, y, x, 4, expected_signal(cube, y, x, 4)))
        assert maps.norm.values[0, y, x] == pytest.approx(norm, abs=1e-6)
        assert maps.ts.values[0, y, x] == pytest.approx(ts, abs=1e-6)
    assert maps.sqrt_ts.argmax(...)["y"].item() in (11, 12, 13)
    assert maps.attrs["kernel_pixels"] == "9 x 9"


def test_energy_groups_and_spectrum():
    cube = make_cube(coarse=False)
    spectrum = xg.PowerLawSpectralModel(index=3.0, amplitude="1e-12 cm-2 s-1 TeV-1", reference="1 TeV")
    edges = [cube.energy_min.values[0], cube.energy_max.values[0], cube.energy_max.values[-1]]
    import astropy.units as u

    maps = ts_map(cube, spectrum, kernel_width="0.9 deg", energy_edges=edges * u.TeV)
    assert maps.sizes["energy"] == 2
    y, x = 12, 25
    signal = expected_signal(cube, y, x, 4, spectrum_index=3.0)
    for group, bins in enumerate((slice(0, 1), slice(1, 3))):
        norm, ts = minimum(*window(cube.isel(energy=bins), y, x, 4, signal[bins]))
        assert maps.norm.values[group, y, x] == pytest.approx(norm, abs=1e-6)
        assert maps.ts.values[group, y, x] == pytest.approx(ts, abs=1e-6)
    flux = to_sed_type(maps, "flux")
    lo, hi = maps.energy_min.values[1], maps.energy_max.values[1]
    assert flux.flux.values[1, y, x] / maps.norm.values[1, y, x] == pytest.approx(
        1e-12 * (lo**-2 - hi**-2) / 2, rel=1e-9
    )


def test_zones_have_the_mean_response_of_their_pixels():
    cube = make_cube()
    whole = ts_map(cube, kernel_width="0.9 deg", zone_width=None)
    norm, _ = minimum(*window(cube, 12, 25, 4, expected_signal(cube, 12, 25, 4)))
    assert whole.norm.values[0, 12, 25] == pytest.approx(norm, abs=1e-6)
    # zones of 1.55 x 2.05 deg: pixel (12, 25) is in the first row and the second column
    parts = ts_map(cube, kernel_width="0.9 deg", zone_width="2 deg")
    grid = cube.gamma.grid()
    lon, lat = (cube[f"irf_{n}"].values for n in ("lon", "lat"))
    y, x = grid.frame.sky_to_pixel(lon, lat, near_x=0.0)
    zone_rows = np.flatnonzero(y[:, 0] - grid.y.start < 15.5) if parts.sizes["y"] == 31 else None
    zone_columns = np.flatnonzero(x[0] - grid.x.start >= 19.5)
    signal = expected_signal(cube, 12, 25, 4, rows=zone_rows, columns=zone_columns)
    norm, _ = minimum(*window(cube, 12, 25, 4, signal))
    assert parts.norm.values[0, 12, 25] == pytest.approx(norm, abs=1e-6)
    assert abs(float((parts.norm - whole.norm)[0, 12, 25])) > 1e-4


@pytest.mark.parametrize(
    "chunks", [{"y": 10, "x": 14}, {"y": 31, "x": 41, "energy": 1}, {"y": 7, "x": 7, "irf_y": 2, "irf_x": 3}]
)
@pytest.mark.parametrize("runs", [None, 2])
def test_tiles_are_lazy_and_equal(chunks, runs):
    cube = make_cube(runs=runs)
    options = {"kernel_width": "0.9 deg", "selection": "all", "zone_width": "1.2 deg", "scan_values": [0.0, 1.0]}
    expected = ts_map(cube, **options)
    with dask.config.set(scheduler=raising):
        lazy = ts_map(cube.chunk({d: n for d, n in chunks.items() if d in cube.dims}), **options)
    assert lazy.norm.chunks is not None
    assert lazy.norm.chunksizes["x"][0] == chunks["x"]
    with dask.config.set(scheduler="threads"):
        assert_close(lazy.load(), expected)
    assert expected.stat_scan.dims == ("scan", "energy", "y", "x")
    np.testing.assert_allclose(expected.stat_scan.sel(scan=0), expected.stat_null, rtol=1e-12)


def test_runs_share_a_norm():
    cube = make_cube(runs=3)
    maps = ts_map(cube, kernel_width="0.9 deg", zone_width=None)
    parts = [window(cube.isel(obs=i), 12, 25, 4, expected_signal(cube, 12, 25, 4, run=i)) for i in range(3)]
    norm, ts = minimum(*(np.concatenate(p) for p in zip(*parts, strict=True)))
    assert maps.norm.values[0, 12, 25] == pytest.approx(norm, abs=1e-6)
    assert maps.ts.values[0, 12, 25] == pytest.approx(ts, abs=1e-6)


def test_cubes_with_other_energies_share_a_norm():
    first, second = make_cube(1), make_cube(2, bins=4)
    maps = ts_map({"a": first, "b": second}, kernel_width="0.9 deg", zone_width=None)
    parts = [window(c, 12, 25, 4, expected_signal(c, 12, 25, 4)) for c in (first, second)]
    norm, ts = minimum(*(np.concatenate(p) for p in zip(*parts, strict=True)))
    assert maps.norm.values[0, 12, 25] == pytest.approx(norm, abs=1e-6)
    assert maps.ts.values[0, 12, 25] == pytest.approx(ts, abs=1e-6)
    joint = ts_map([first.assign_attrs(name="a"), first.assign_attrs(name="b")], kernel_width="0.9 deg")
    single = ts_map(first, kernel_width="0.9 deg")
    np.testing.assert_allclose(joint.norm, single.norm, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(joint.ts, 2 * single.ts, rtol=1e-8, atol=1e-9)


def test_extended_sources():
    cube = make_cube(coarse=False)
    model = GaussianSpatialModel(sigma="0.1 deg", frame="galactic")
    maps = ts_map(cube, model, kernel_width="1.5 deg")
    assert maps.attrs["exposure_at"] == "counts"
    point = ts_map(cube, PointSpatialModel(), kernel_width="1.5 deg", exposure="counts")
    assert float(abs(maps.ts - point.ts).max()) > 0.1
    # a Gaussian and a Gaussian point spread function add in squares: the same as a wider point spread function
    wide = cube.copy()
    sigma = np.sqrt(np.geomspace(0.15, 0.06, 5) ** 2 + 0.1**2)[:, None]
    wide["psf"] = cube.psf.copy(data=np.exp(-0.5 * (cube.rad.values / sigma) ** 2))
    same = ts_map(wide, kernel_width="1.5 deg", exposure="counts")
    assert float(abs(same.sqrt_ts - maps.sqrt_ts).max()) < 0.01
    narrow = ts_map(cube, GaussianSpatialModel(sigma="0.005 deg", frame="galactic"), kernel_width="1.5 deg")
    np.testing.assert_allclose(narrow.sqrt_ts, point.sqrt_ts, atol=0.02)


def test_chosen_pixels_only():
    cube = make_cube()
    every = ts_map(cube, kernel_width="0.9 deg")
    where = cube.mask_safe.isel(energy=0, drop=True).copy(data=np.zeros((31, 41), bool))
    where.values[12, 20:26] = True
    some = ts_map(cube, kernel_width="0.9 deg", where=where)
    assert int(np.isfinite(some.norm).sum()) == int(np.isfinite(every.norm.values[0][where.values]).sum()) > 4
    lazy = ts_map(cube.chunk(y=10, x=10), kernel_width="0.9 deg", where=where).load()
    for maps in (some, lazy):
        np.testing.assert_allclose(maps.norm.values[0, 12, 20:26], every.norm.values[0, 12, 20:26], rtol=1e-10)


def test_values_that_are_not_numbers_are_left_out():
    cube = make_cube()
    cube["background"] = cube.background.astype(np.float32)
    cube["counts"] = cube.counts.astype(np.float32)
    reference = cube.copy(deep=True)
    reference.mask_safe[:, 12, 20] = False
    cube.background[:, 12, 20] = np.nan
    assert_close(ts_map(cube, kernel_width="0.9 deg"), ts_map(reference, kernel_width="0.9 deg"))
    keep = reference.mask_safe & (reference.y > -5)
    masked = ts_map(
        reference,
        kernel_width="0.9 deg",
        mask=keep.copy(data=np.broadcast_to(reference.y.values[:, None] > -5, keep.shape)),
    )
    assert_close(masked, ts_map(reference.assign(mask_fit=keep), kernel_width="0.9 deg"))


def test_known_sources_leave_nothing():
    """Their counts are predicted by the code of fits, which integrates responses in another way."""
    cube = make_cube(coarse=False)
    y, x = 12, 25
    before = ts_map(cube, kernel_width="1.3 deg").isel(energy=0, y=y, x=x)
    spectrum = xg.PowerLawSpectralModel(
        index=2, amplitude=f"{float(before.norm) * 1e-12} cm-2 s-1 TeV-1", reference="1 TeV"
    )
    place = PointSpatialModel(
        lon_0=f"{cube.lon.values[y, x]} deg", lat_0=f"{cube.lat.values[y, x]} deg", frame="galactic"
    )
    known = xg.SkyModel(spectrum, place, name="known")
    after = ts_map(cube, kernel_width="1.3 deg", models=known).isel(energy=0, y=y, x=x)
    assert float(before.ts) > 20
    assert abs(float(after.norm)) < 1e-3 * float(before.norm)
    assert float(after.ts) < 1e-3
    with dask.config.set(scheduler=raising):
        lazy = ts_map(cube.chunk(y=16, x=21), kernel_width="1.3 deg", models=known)
    assert float(lazy.norm[0, y, x]) == pytest.approx(float(after.norm), abs=1e-9)


def test_pulls_of_simulated_sources():
    rng = np.random.default_rng(12)
    cube = make_cube(coarse=False, source=False)
    cube["mask_safe"] = cube.mask_safe | True
    y, x, norm = 15, 20, 1.5
    signal = expected_signal(cube, y, x, 10)
    lam = cube.background.values.copy()
    lam[:, 5:26, 10:31] += norm * signal
    where = cube.mask_safe.isel(energy=0, drop=True).copy(data=np.zeros((31, 41), bool))
    where.values[y, x] = True
    pulls, below = [], 0
    for _ in range(200):
        cube["counts"] = cube.background.dims, rng.poisson(lam).astype(float)
        point = ts_map(cube, kernel_width="1.1 deg", where=where, selection="ul").isel(energy=0, y=y, x=x)
        pulls.append(float((point.norm - norm) / point.norm_err))
        below += bool(point.norm_ul > norm)
    assert abs(np.mean(pulls)) < 0.25
    assert abs(np.std(pulls) - 1) < 0.15
    assert below / 200 > 0.93


def bad(change, match, error=ValueError, **options):
    return pytest.param(change, match, error, options, id=match[:30])


@pytest.mark.parametrize(
    ("change", "match", "error", "options"),
    [
        bad(lambda c: c.drop_vars("psf"), "no 'psf'"),
        bad(lambda c: c.drop_vars("exposure"), "exposure"),
        bad(lambda c: c, "larger than the map", kernel_width="5 deg"),
        bad(lambda c: c, "kernel_width", kernel_width="-1 deg"),
        bad(lambda c: c, "not known", selection="sensitivity"),
        bad(lambda c: c, "n_sigma_ul", n_sigma_ul=0),
        bad(lambda c: c, "'source' or 'counts'", exposure="here"),
        bad(lambda c: c, "spectral model", TypeError, model=3),
        bad(lambda c: c, "factor without unit", model=xg.PowerLawNormSpectralModel()),
        bad(lambda c: c, "farther than the map", model=GaussianSpatialModel(sigma="2 deg", frame="galactic")),
        bad(lambda c: [c, c.isel(x=slice(1, None)).assign_attrs(name="b")], "another grid"),
        bad(lambda c: c.expand_dims(time=2), "time"),
        bad(lambda c: c, "list of norms", selection="scan", scan_values=[[1.0]]),
    ],
)
def test_bad_input(change, match, error, options):
    cube = change(make_cube())
    with pytest.raises(error, match=match):
        ts_map(cube, **{"kernel_width": "0.9 deg", **options})


@pytest.mark.real_data
def test_fermi_cube(gammapy_data):
    """The Galactic centre with Fermi, 11 x 200 x 400 voxels: brute force at random pixels, edges of map and mask."""
    cube = xg.open_cube(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz").load()
    # gammapy 2.1: estimate_fit_input_maps of TSMapEstimator with a power law of index 2, exposure at pixel (100, 200)
    gammapy = [
        9.9666588, 6.9534255, 4.88722886, 3.48912199, 2.47008812,
        1.72783212, 1.20469814, 0.84012198, 0.58713013, 0.41016385, 0.28471216,
    ]  # fmt: skip
    from xgamma.estimators import ts_planes

    seen = []
    original = ts_planes.fit_window

    def spy(counts, background, mask, signal, *args):
        seen.append(signal)
        return original(counts, background, mask, signal, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ts_planes, "fit_window", spy)
        maps = ts_map(cube)
        whole = ts_map(cube.drop_vars("mask_safe"))
    np.testing.assert_allclose(seen[0].source[:, 100, 200], gammapy, rtol=1e-7)
    rng = np.random.default_rng(0)
    below = 0
    for found, data in ((maps, cube), (whole, cube.assign(mask_safe=cube.mask_safe | True))):
        pixels = [
            (100, 200),
            (98, 201),
            (0, 0),
            (199, 399),
            (20, 20),
            (179, 379),
            (20, 200),
            *rng.integers((0, 0), (200, 400), (25, 2)).tolist(),
        ]
        for y, x in pixels:
            if not data.mask_safe.values[:, y, x].any():
                assert np.isnan(found.norm.values[0, y, x])
                continue
            signal = seen[0].kernel * seen[0].source[:, y, x, None, None]
            norm, ts = minimum(*window(data, y, x, 10, signal))
            assert found.norm.values[0, y, x] == pytest.approx(norm, abs=1e-6)
            assert found.ts.values[0, y, x] == pytest.approx(ts, abs=1e-6)
            below += norm < -1e-3
    assert below > 10
    # gammapy 2.1, sum_over_energy_groups=False: TS and norm; kernels hold all of a source, made from 4 x 4 points
    for (y, x), ts, norm in (((99, 200), 994.820, 14.2218), ((60, 52), 690.673, 6.0065), ((98, 32), 245.267, 5.8428)):
        assert float(whole.ts[0, y, x]) == pytest.approx(ts, rel=0.01)
        contained = np.average(seen[0].kernel.sum(axis=(1, 2)), weights=seen[0].source[:, y, x])
        assert float(whole.norm[0, y, x]) * contained == pytest.approx(norm, rel=0.01)


def test_importing_loads_no_compiler():
    import subprocess
    import sys

    code = "import sys, xgamma, xgamma.estimators.ts_map, xgamma.estimators.catalogue; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"


def test_maps_of_fluxes_stay_labelled():
    maps = ts_map(make_cube(), kernel_width="0.9 deg")
    assert isinstance(maps, xr.Dataset)
    assert maps.norm.attrs["units"] == ""
    assert maps.ref_flux.attrs["units"] == "s-1 cm-2"
    assert maps.gamma.cutout(CENTER, "1 deg").sizes["x"] in (10, 11)
