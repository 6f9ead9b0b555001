"""What a result tells: tables, intervals, profiles, contours."""

import pickle

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from simulated_spectra import cube

from xgamma.fitting.fit import fit
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior
from xgamma.models.sky_model import SkyModel


def source(name="crab"):
    return SkyModel(PowerLawSpectralModel(index=2.1, amplitude="3e-12 cm-2 s-1 TeV-1"), name=name)


@pytest.fixture(scope="module")
def result():
    return fit(cube(), source(), tol=1e-4)


@pytest.fixture(scope="module")
def second():
    return fit(cube(), source(), backend="scipy")


def profiled(result, index):
    """Brute force: the deviance at an index, minimised over the amplitude."""
    at = result.parameters.values

    def deviance(log_amplitude):
        return result.likelihood.deviance(np.array([index, np.exp(log_amplitude), at[2]]))

    start = np.log(at[1])
    return minimize_scalar(deviance, bounds=(start - 2, start + 2), method="bounded", options={"xatol": 1e-10}).fun


# ------------------------------------------------------------------ numbers and texts
def test_numbers(result):
    assert result.total_stat == pytest.approx(result.likelihood.stat(result.parameters.values), rel=1e-14)
    assert result.dof == 25
    assert 0.5 < result.goodness < 0.9  # 21 of a chi-square of 25
    assert result.backend == "minuit"
    errors = np.sqrt(np.diag(result.covariance))
    np.testing.assert_allclose([p.error for p in result.free], errors)
    np.testing.assert_allclose(result.covariance, result.correlation * np.outer(errors, errors))
    assert np.asarray(result.covariance).shape == (2, 2)
    full = result.models.covariance
    assert full.shape == (3, 3)
    assert full.sel(parameter="crab.reference").values.tolist() == [0.0, 0.0, 0.0]


def test_texts(result):
    table = result.to_table()
    assert list(table["name"]) == ["index", "amplitude", "reference"]
    text, html = repr(result), result._repr_html_()
    for part in ("crab.index", "2.261", "0.093", "migrad", "the fit converged", "27, 2"):
        assert part in text
        assert part in html
    model = source()
    model.spectral.index.prior = GaussianPrior(2, 0.1)
    assert "of which priors" in repr(fit(cube(), model))


def test_pickled(result):
    again = pickle.loads(pickle.dumps(result))
    assert repr(again) == repr(result)
    assert again.confidence("crab.index") == result.confidence("crab.index")


# ------------------------------------------------------------------ intervals
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 3.0])
def test_intervals_against_brute_force(result, second, sigma):
    best = result.parameters["index"].value

    def rise(index):
        return profiled(result, index) - result.deviance - sigma**2

    low, high = brentq(rise, best - 1, best, xtol=1e-9), brentq(rise, best, best + 1, xtol=1e-9)
    width = sigma * result.free["index"].error
    for found in (result, second):
        interval = found.confidence("crab.index", sigma)
        assert interval.success, interval.message
        # MINOS looks for the crossing to a hundredth of a unit of the statistic
        assert interval.interval[0] == pytest.approx(low, abs=0.01 * width)
        assert interval.interval[1] == pytest.approx(high, abs=0.01 * width)
        assert (interval.name, interval.sigma, interval.value) == ("crab.index", sigma, found.free["index"].value)


def test_intervals_of_gammapy(result, second):
    # gammapy 2.1: Fit.confidence(datasets, parameter) of the same arrays
    expected = {"index": (0.09160117083622116, 0.09466508617561165),
                "amplitude": (5.349325419074258e-13, 5.745649044382925e-13)}  # fmt: skip
    for found in (result, second):
        for name, (errn, errp) in expected.items():
            interval = found.confidence(name)
            assert interval.errn == pytest.approx(errn, rel=0.005)
            assert interval.errp == pytest.approx(errp, rel=0.005)


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_an_end_beyond_a_limit_is_named(backend):
    model = source()
    model.spectral.index.max = 2.3
    found = fit(cube(), model, backend=backend).confidence("crab.index")
    assert not found.success
    assert "the upper end lies beyond the limit of crab.index" in found.message
    assert np.isnan(found.errp)
    assert found.errn == pytest.approx(0.0916, rel=0.02)


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_at_a_limit_there_is_one_end(backend):
    model = source()
    model.spectral.index.max = 2.15
    result = fit(cube(), model, backend=backend)
    found = result.confidence("crab.index")
    assert found.message == "the upper end lies beyond the limit of crab.index"
    low = brentq(lambda index: profiled(result, index) - result.deviance - 1, 2.0, 2.15, xtol=1e-9)
    assert found.errn == pytest.approx(2.15 - low, rel=0.01)
    with pytest.raises(ValueError, match=r"no contour of .* was found"):
        result.stat_contour("index", "amplitude")
    with pytest.raises(ValueError, match="no error to scan over"):
        result.stat_profile("index")


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_what_the_data_do_not_tell_has_no_interval(backend):
    twins = [source("first"), source("second")]
    for twin in twins:
        twin.spectral.index.frozen = True
    with pytest.warns(UserWarning, match="not positive definite"):
        result = fit(cube(), twins, backend=backend)
    found = result.confidence("first.amplitude")
    assert not found.success
    assert "was not found" in found.message


def test_an_interval_of_the_only_parameter():
    model = source()
    model.spectral.index.frozen = True
    for backend in ("minuit", "scipy"):
        result = fit(cube(), model, backend=backend)
        found = result.confidence("amplitude")
        at = result.parameters.values

        def rise(amplitude, result=result, at=at):
            return result.likelihood.deviance(np.array([at[0], amplitude, at[2]])) - result.deviance - 1

        assert found.interval[1] == pytest.approx(brentq(rise, at[1], 2 * at[1], xtol=1e-18), rel=1e-3)


# ------------------------------------------------------------------ profiles
def test_profile_against_brute_force(result, second):
    for found in (result, second):
        profile = found.stat_profile("crab.index")
        assert profile.stat.dims == ("index",)
        assert profile.sizes["index"] == 11
        assert bool(profile.success.all())
        expected = [profiled(result, index) for index in profile.index.values]
        np.testing.assert_allclose(profile.stat - result.likelihood.constant, expected, atol=2e-4)
        np.testing.assert_allclose(profile.delta_stat, np.array(expected) - result.deviance, atol=2e-4)
        assert float(profile.delta_stat[5]) == pytest.approx(0, abs=1e-4)
        np.testing.assert_allclose(profile["values"].sel(parameter="crab.index"), profile.index)


def test_slice_of_gammapy(result):
    # gammapy 2.1: Fit.stat_profile(datasets, parameter), which leaves the others as they are unless told otherwise
    gammapy = [30.659381710667, 26.940977016103, 24.2140335951, 22.376623919699, 21.33580108875, 21.006552147759,
               21.310877850665, 22.176995816637, 23.538667704192, 25.33465244243, 27.508284667216]  # fmt: skip
    at = np.linspace(2.074684370266, 2.44655269404, 11)
    found = result.stat_profile("index", at, reoptimize=False).stat
    # the amplitude of both minima agrees to 1e-4 of its error
    np.testing.assert_allclose(found, gammapy, atol=1e-4)


def test_slices_lie_above_profiles(result):
    profile, cut = (result.stat_profile("index", 7, reoptimize=r) for r in (True, False))
    assert np.all(cut.stat >= profile.stat - 1e-4)
    assert float(cut.stat[0]) > float(profile.stat[0]) + 1
    amplitude = cut["values"].sel(parameter="crab.amplitude").values
    np.testing.assert_array_equal(amplitude, amplitude[0])


def test_values_with_units(result):
    profile = result.stat_profile("amplitude", ["4e-8 m-2 s-1 TeV-1", "5e-8 m-2 s-1 TeV-1"])
    np.testing.assert_allclose(profile.amplitude, [4e-12, 5e-12])
    assert profile.amplitude.attrs["units"] == result.free["amplitude"].unit
    assert result.stat_profile("amplitude", [4e-12]).sizes["amplitude"] == 1


def test_scan_settings_of_the_parameter():
    model = source()
    model.spectral.index.scan_min, model.spectral.index.scan_max, model.spectral.index.scan_n_values = 2.0, 2.5, 6
    profile = fit(cube(), model).stat_profile("index")
    np.testing.assert_allclose(profile.index, [2.0, 2.1, 2.2, 2.3, 2.4, 2.5])


def test_surface(result):
    surface = result.stat_surface("index", "amplitude", 5, 4)
    assert surface.stat.dims == ("index", "amplitude")
    for i, j in ((0, 0), (2, 1), (4, 3)):
        at = np.array([surface.index.values[i], surface.amplitude.values[j], 1.0])
        assert float(surface.stat[i, j]) == pytest.approx(result.likelihood.stat(at), rel=1e-12)


def test_surface_with_other_parameters():
    models = [source("first"), source("second")]
    models[1].spectral.index.value, models[1].spectral.index.frozen = 4.0, True
    result = fit(cube(amplitude=2e-11), models)
    surface = result.stat_surface("first.index", "second.amplitude", 4, 3)
    assert surface.stat.dims == ("index", "amplitude")
    assert bool(surface.success.all())
    assert np.all(surface.delta_stat > -1e-3)
    # two amplitudes: their dims have the names of the models
    assert result.stat_surface("first.amplitude", "second.amplitude", 2, 2).stat.dims == (
        "first.amplitude",
        "second.amplitude",
    )


# ------------------------------------------------------------------ contours
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_contour(result, second, sigma):
    for found in (result, second):
        points = found.stat_contour("index", "amplitude", sigma=sigma, n=30)
        assert points.sizes == {"point": 31}
        rise = [
            result.likelihood.deviance(np.array([float(i), float(a), 1.0])) - result.deviance
            for i, a in zip(points["index"], points["amplitude"], strict=True)
        ]
        np.testing.assert_allclose(rise, sigma**2, rtol=0.02)
        interval = result.confidence("index", sigma).interval
        width = interval[1] - interval[0]
        # thirty points do not hit the outermost one
        assert float(points["index"].min()) == pytest.approx(interval[0], abs=0.02 * width)
        assert float(points["index"].max()) == pytest.approx(interval[1], abs=0.02 * width)
        assert points["amplitude"].attrs["units"] == result.free["amplitude"].unit


def test_contours_where_another_parameter_jumps():
    """Two runs with few counts: the curvature has a second minimum, into which MINUIT's walk falls."""
    import xgamma as xg

    runs = xg.open_store(xg.sample_path("survey")).observations[2:4]
    energy = xg.energy_axis("0.5 TeV", "50 TeV", nbin=12)
    true = xg.energy_axis("0.3 TeV", "100 TeV", nbin=30, name="energy_true")
    grid = xg.region_grid("icrs;circle(150.0, -25.0, 0.11)", energy=energy, energy_true=true)
    cube = xg.reduce(runs, grid, background=xg.ReflectedRegions(), containment_correction=True).load()
    spectral = xg.LogParabolaSpectralModel(amplitude="4e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.5, beta=0.1)
    found = cube.gamma.fit(xg.SkyModel(spectral, name="source"))
    points = found.stat_contour("alpha", "amplitude", joint=True)
    for alpha, amplitude in zip(points.alpha.values[:-1], points.amplitude.values[:-1], strict=True):
        at = found.stat_surface("alpha", "amplitude", [alpha], [amplitude])
        assert at.delta_stat.item() == pytest.approx(points.delta_stat, rel=0.02)
    # directions around the minimum follow each other: nothing is crossed
    turns = np.unwrap(
        np.arctan2(
            (points.amplitude - float(found.models["source"].spectral.amplitude.value)) / 1.3e-12,
            (points.alpha - float(found.models["source"].spectral.alpha.value)) / 0.32,
        )
    )
    assert (np.diff(turns) > 0).all()


def test_joint_contours_are_wider(result):
    joint = result.stat_contour("index", "amplitude", joint=True)
    assert joint.attrs["delta_stat"] == pytest.approx(2.2957, rel=1e-4)


# ------------------------------------------------------------------ words
def test_unknown_parameters(result):
    for name in ("crab.reference", "lambda_", "mars.index"):
        with pytest.raises(
            ValueError, match=r"not the name of one free parameter of this fit; they are \['crab.index'"
        ):
            result.confidence(name)
    with pytest.raises(ValueError, match="two parameters are needed"):
        result.stat_contour("index", "crab.index")
    with pytest.raises(ValueError, match="must be positive"):
        result.confidence("index", sigma=0)
    with pytest.raises(ValueError, match="at least 4"):
        result.stat_contour("index", "amplitude", n=2)
    with pytest.raises(ValueError, match="finite numbers"):
        result.stat_profile("index", [np.nan])
    with pytest.raises(ValueError, match="or how many"):
        result.stat_profile("index", 0)
    assert result.confidence(result.models["crab"].spectral.index).name == "crab.index"


def test_no_error_to_scan_over():
    result = fit(cube(), source(), covariance=None)
    with pytest.raises(ValueError, match="no error to scan over"):
        result.stat_profile("index")
    assert result.stat_profile("index", [2.2, 2.3]).sizes["index"] == 2
    assert result.confidence("index").errn == pytest.approx(0.0916, rel=0.01)
