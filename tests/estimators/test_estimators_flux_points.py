"""Flux points against full fits, brute force and loops over what is solved at once."""

import warnings

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq, minimize_scalar

import xgamma as xg
from xgamma.coords.bins import rename_axis
from xgamma.fitting.compile import compile_likelihood

ALL = "all"


def make_cube(seed=1, regions=0, runs=3, on_off=True, name="crab", nbin=12):
    """Spectra with known truth: a power law on a falling background."""
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("1 TeV", "100 TeV", nbin=nbin)
    true = rename_axis(xg.energy_axis("0.5 TeV", "200 TeV", nbin=20), "energy_true")
    lead = {"region": regions} if regions else {}
    lead = {"obs": runs} | lead if runs else lead
    cube = xr.Dataset(attrs={"name": name}).assign_coords(energy.coords).assign_coords(true.coords)
    if runs:
        cube = cube.assign_coords(obs=np.arange(runs) + 100)
    if regions:
        cube = cube.assign_coords(region=[f"icrs;circle({i},0,0.1)" for i in range(regions)])
    sizes = tuple(lead.values())
    exposure = rng.uniform(1e14, 3e14, (*sizes, 1)) * true.values**0.3
    matrix = np.exp(-0.5 * ((np.log(energy.values) - np.log(true.values)[:, None]) / 0.15) ** 2)
    cube["exposure"] = (*lead, "energy_true"), exposure, {"units": "cm2 s"}
    cube["edisp"] = (*lead, "energy_true", "energy"), np.broadcast_to(matrix / 4.0, (*sizes, *matrix.shape)).copy()
    cube["counts"] = (*lead, "energy"), np.zeros((*sizes, nbin))
    signal = xg.npred_signal(cube, source()).values
    background = np.broadcast_to(20.0 * energy.values**-0.9, signal.shape)
    cube["counts"] = (*lead, "energy"), rng.poisson(signal + background).astype(float)
    if on_off:
        cube["acceptance"] = (*lead, "energy"), np.ones(signal.shape)
        cube["acceptance_off"] = (*lead, "energy"), np.full(signal.shape, 7.0)
        cube["counts_off"] = (*lead, "energy"), rng.poisson(7.0 * background).astype(float)
    else:
        cube["background"] = (*lead, "energy"), background.copy()
    mask = np.ones(signal.shape, dtype=bool)
    mask[..., 0] = False
    cube["mask_safe"] = (*lead, "energy"), mask
    return cube


def source(amplitude=3e-12, name="crab", **kwargs):
    spectral = xg.PowerLawSpectralModel(index=2.2, amplitude=f"{amplitude} cm-2 s-1 TeV-1")
    return xg.SkyModel(spectral, name=name, **kwargs)


def edges(cube, *places):
    values = np.append(cube.energy_min.values, cube.energy_max.values[-1])
    return values[list(places)] * u.TeV


def band_statistic(cube, model, low, high):
    """Statistic of one band as a function of the norm, from the likelihood of fits."""
    inside = (cube.energy_min >= low.value * 0.999) & (cube.energy_max <= high.value * 1.001)
    part = cube.assign(mask_fit=(xr.ones_like(cube.counts, dtype=bool) & inside.variable))
    scaled = xg.SkyModel(xg.ScaleSpectralModel(model.spectral), name="crab")
    likelihood = compile_likelihood(part, scaled)
    return lambda norm: likelihood.stat(np.array([norm]))


@pytest.mark.parametrize("on_off", [True, False], ids=["wstat", "cash"])
def test_every_number_against_brute_force(on_off):
    cube = make_cube(on_off=on_off)
    wanted = edges(cube, 1, 4, 8, 12)
    points = xg.flux_points(cube, source(), energy_edges=wanted, selection=ALL, n_sigma_ul=2.0)
    for i in range(3):
        stat = band_statistic(cube, source(), wanted[i], wanted[i + 1])
        best = minimize_scalar(stat, bracket=(0.5, 1.5), options={"xtol": 1e-12})
        point = points.isel(energy=i)
        assert float(point.norm) == pytest.approx(best.x, rel=1e-6)
        assert float(point.stat) == pytest.approx(best.fun, abs=1e-8)
        assert float(point.ts) == pytest.approx(stat(0.0) - best.fun, abs=1e-7)

        def rise(x, height, stat=stat, lowest=best.fun):
            return stat(x) - lowest - height

        upper = brentq(rise, best.x, best.x + 5, args=(1.0,))
        lower = brentq(rise, best.x - 0.9, best.x, args=(1.0,))
        limit = brentq(rise, best.x, best.x + 9, args=(4.0,))
        assert float(point.norm_errp) == pytest.approx(upper - best.x, rel=1e-5)
        assert float(point.norm_errn) == pytest.approx(best.x - lower, rel=1e-5)
        assert float(point.norm_ul) == pytest.approx(limit, rel=1e-6)
        step = 1e-3
        curvature = (stat(best.x + step) - 2 * stat(best.x) + stat(best.x - step)) / step**2
        assert float(point.norm_err) == pytest.approx(np.sqrt(2 / curvature), rel=1e-4)
        assert point.stat_scan.values == pytest.approx([stat(x) for x in point.norm_scan.values], abs=1e-7)
        inside = (
            cube.mask_safe
            & (cube.energy_min >= wanted[i].value * 0.999)
            & (cube.energy_max <= wanted[i + 1].value * 1.001)
        )
        assert point.counts.values == pytest.approx(cube.counts.where(inside, 0.0).sum("energy").values)
        assert int(point.n_dof) == int(inside.sum()) - 1
        excess = xg.npred_signal(cube, source()).where(inside, 0.0).sum("energy").values
        assert point.npred_excess.values == pytest.approx(float(point.norm) * excess)


def test_sensitivity_is_detected_at_its_significance():
    cube = make_cube()
    wanted = edges(cube, 1, 6, 12)
    points = xg.flux_points(cube, source(), energy_edges=wanted, selection=["sensitivity"], n_sigma_sensitivity=3)
    # an Asimov data set with that norm has the significance that was asked for
    for i, norm in enumerate(points.norm_sensitivity.values):
        signal = xg.npred_signal(cube, source()) * norm
        asimov = cube.assign(counts=(cube.counts_off / 7.0 + signal).transpose(*cube.counts.dims))
        again = xg.flux_points(asimov, source(), energy_edges=wanted)
        assert float(again.norm[i]) == pytest.approx(norm, rel=1e-6)
        assert float(again.sqrt_ts[i]) == pytest.approx(3.0, rel=1e-6)


def test_edges_that_are_moved_or_outside_are_told_to_the_caller():
    cube = make_cube()
    with pytest.warns(UserWarning, match="moved to the nearest edges") as caught:
        xg.flux_points(cube, source(), energy_edges=["1.01 TeV", "9 TeV"])
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="lie outside of the energies of the cube"):
        xg.flux_points(cube, source(), energy_edges=["3000 TeV", "4000 TeV"])


def test_regions_of_joint_cubes_must_be_the_same():
    first, second = (make_cube(regions=2, name=name) for name in ("a", "b"))
    assert xg.flux_points([first, second], source()).norm.dims == ("region", "energy")
    second = second.assign_coords(region=second.region.values[::-1])
    with pytest.raises(ValueError, match=r"the regions of 'b', .* are not those of 'a'"):
        xg.flux_points([first, second], source())


def test_regions_are_independent():
    cube = make_cube(regions=3)
    wanted = edges(cube, 1, 5, 12)
    together = xg.flux_points(cube, source(), energy_edges=wanted, selection=ALL)
    assert together.norm.dims == ("region", "energy")
    for k in range(3):
        single = xg.flux_points(cube.isel(region=k), source(), energy_edges=wanted, selection=ALL)
        for name in ("norm", "norm_ul", "stat_scan", "npred", "counts", "norm_sensitivity"):
            np.testing.assert_allclose(together[name].isel(region=k), single[name], rtol=1e-9, err_msg=name)


def test_cubes_with_other_bins_are_joined():
    first, second = make_cube(seed=1, runs=0, name="a"), make_cube(seed=2, runs=0, name="b")
    coarse = second.gamma.rebin(energy_edges=edges(second, 0, 2, 4, 6, 8, 10, 12))
    wanted = edges(first, 2, 6, 12)
    joint = xg.flux_points({"a": first, "b": coarse}, source(), energy_edges=wanted)
    assert joint.dataset.values.tolist() == ["a", "b"]
    parts = {"a": first, "b": coarse}
    for i in range(2):
        functions = [band_statistic(c, source(), wanted[i], wanted[i + 1]) for c in parts.values()]
        best = minimize_scalar(lambda x, f=functions: f[0](x) + f[1](x), bracket=(0.5, 1.5), options={"xtol": 1e-12})
        assert float(joint.norm[i]) == pytest.approx(best.x, rel=1e-6)
        assert float(joint.stat[i]) == pytest.approx(best.fun, abs=1e-8)


def test_lazy_stays_lazy():
    cube = make_cube(regions=4)
    lazy = cube.chunk(region=2, obs=1)

    def fail(*args, **kwargs):
        pytest.fail("computed while the graph was built")

    with dask.config.set(scheduler=fail):
        points = xg.flux_points(lazy, source(), energy_edges=edges(cube, 1, 5, 12), selection=ALL)
    assert all(points[n].chunks for n in ("norm", "stat_scan", "npred", "success"))
    assert points.norm.chunksizes["region"] == (2, 2)
    whole = xg.flux_points(cube, source(), energy_edges=edges(cube, 1, 5, 12), selection=ALL)
    xr.testing.assert_allclose(points.compute(), whole, rtol=1e-12)


def test_other_sources_stay_or_are_fitted_again():
    cube = make_cube()
    other = source(1e-12, name="other")
    models = xg.Models([source(), other])
    wanted = edges(cube, 1, 6, 12)
    fixed = xg.flux_points(cube, models, "crab", energy_edges=wanted)
    half = xg.flux_points(cube, source(), energy_edges=wanted)
    # the other source takes a third of the flux
    np.testing.assert_allclose(fixed.norm, half.norm - 1.0 / 3.0, rtol=1e-6)
    # known to a fifth, the other source adds its own error to that of the norm: a fifth of a third
    models["other"].freeze()
    models["other"].spectral.amplitude.frozen = False
    models["other"].spectral.amplitude.prior = xg.GaussianPrior(1e-12, 0.2e-12)
    again = xg.flux_points(cube, models, "crab", energy_edges=wanted, selection=["errn-errp"], reoptimize=True)
    np.testing.assert_allclose(again.norm, fixed.norm, rtol=2e-3)
    np.testing.assert_allclose(again.norm_err, np.hypot(fixed.norm_err, 0.2 / 3.0), rtol=5e-3)


@pytest.mark.parametrize("on_off", [True, False], ids=["wstat", "cash"])
def test_reoptimized_without_free_parameters_equals_the_kernel(on_off):
    cube = make_cube(on_off=on_off)
    model = source()
    model.freeze()
    wanted = edges(cube, 1, 6, 12)
    a = xg.flux_points(cube, model, energy_edges=wanted, selection=ALL)
    b = xg.flux_points(cube, model, energy_edges=wanted, selection=ALL, reoptimize=True)
    for name in a.data_vars:
        np.testing.assert_allclose(np.asarray(b[name], float), np.asarray(a[name], float), rtol=3e-3, err_msg=name)


@pytest.mark.parametrize("reoptimize", [False, True])
def test_bands_without_counts_have_finite_limits(reoptimize):
    cube = make_cube(runs=0)
    cube["counts"][:] = 0.0
    model = source()
    model.freeze()
    points = xg.flux_points(cube, model, energy_edges=edges(cube, 1, 6, 12), selection="ul", reoptimize=reoptimize)
    assert np.isfinite(points.norm_ul).all()
    assert points.is_ul.all()
    assert points.success.all()
    # off counts say that there is background: the norm is negative, and its limit lies four above that minimum
    for i, (low, high) in enumerate(((1, 6), (6, 12))):
        stat = band_statistic(cube, model, *edges(cube, low, high))
        assert stat(float(points.norm_ul[i])) - float(points.stat[i]) == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("reoptimize", [False, True])
def test_limit_without_counts_and_without_off_counts(reoptimize):
    cube = make_cube(runs=0, on_off=False)
    cube["counts"][:] = 0.0
    points = xg.flux_points(cube, source(), energy_edges=edges(cube, 1, 6, 12), selection="ul", reoptimize=reoptimize)
    signal = xg.npred_signal(cube, source()).where(cube.mask_safe, 0.0)
    for i, (low, high) in enumerate(((1, 6), (6, 12))):
        # a probability of exp(-s) to see nothing: the statistic rises by 2 s
        assert float(points.norm_ul[i]) * float(signal[low:high].sum()) == pytest.approx(2.0, rel=1e-9)


def test_bands_outside_the_masks_are_marked():
    cube = make_cube(runs=0)
    cube["mask_fit"] = cube.energy < 10
    points = xg.flux_points(cube, source(), energy_edges=edges(cube, 1, 6, 12))
    assert points.success.values.tolist() == [True, False]
    assert np.isnan(points.norm[1])


def test_edges_are_moved_with_a_warning():
    cube = make_cube()
    with pytest.warns(UserWarning, match="moved to the nearest"):
        points = xg.flux_points(cube, source(), energy_edges=["2 TeV", "20 TeV"])
    assert float(points.energy_min[0]) in cube.energy_min.values


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "vela"}, "no source 'vela'"),
        ({"selection": ["everything"]}, "is not known"),
        ({"n_sigma": 0}, "n_sigma"),
        ({"scan_values": [2, 1]}, "ascending"),
    ],
)
def test_bad_input_is_told(options, words):
    with pytest.raises(ValueError, match=words):
        xg.flux_points(make_cube(), source(), **options)


def test_which_source_is_asked():
    models = xg.Models([source(), source(name="other")])
    with pytest.raises(ValueError, match="which of the sources"):
        xg.flux_points(make_cube(), models)


def test_norms_outside_of_the_profile_are_told():
    energy = xg.energy_axis("1 TeV", "100 TeV", nbin=2)
    cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    cube["counts"] = "energy", [180.0, 9.0]
    cube["exposure"] = "energy_true", [1e14, 1e14], {"units": "cm2 s"}
    model = xg.SkyModel(xg.PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"), name="source")
    with pytest.warns(UserWarning, match="2 of 2 norms lie outside of scan_values, 5 to 6"):
        xg.flux_points(cube, model, selection="scan", scan_values=[5.0, 6.0])
    points = xg.flux_points(cube, model, selection="scan", scan_values=[0.5, 1.0, 2.5])
    assert points.norm_scan.values.tolist() == [0.5, 1.0, 2.5]
    assert "norm_scan" in points.coords


def test_errors_cover_the_truth():
    """Two thirds of 400 bands lie within their errors, and 95 % below their limits."""
    pulls, below = [], []
    for seed in range(100):
        cube = make_cube(seed=seed, runs=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            points = xg.flux_points(cube, source(), energy_edges=edges(cube, 1, 3, 5, 8, 12), n_sigma_ul=1.6449)
        error = np.where(points.norm < 1, points.norm_errp, points.norm_errn)
        pulls += ((points.norm.values - 1) / error).tolist()
        below += (points.norm_ul.values > 1).tolist()
    inside = np.mean(np.abs(pulls) < 1)
    # binomial: 0.683 +- 0.023, 0.95 +- 0.011 for one-sided limits at 1.645 sigma
    assert abs(inside - 0.683) < 3 * 0.023
    assert abs(np.mean(below) - 0.95) < 3 * 0.011
