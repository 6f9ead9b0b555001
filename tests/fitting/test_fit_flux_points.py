"""Flux points as data of a fit: statistics beside closed forms, scipy and gammapy."""

import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import interp1d
from scipy.special import erfc

import xgamma as xg
from xgamma.coords.bins import bin_axis, energy_axis
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.fit import fit
from xgamma.fitting.own_axes import on_axes_of_cube
from xgamma.fitting.point_statistics import AsymmetricChiSquare, ProfileStatistic
from xgamma.fitting.tree import flux_pred
from xgamma.models.log_parabola import LogParabolaSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel

CRAB = (0.018182745349064267, 5.054833602905273e-05, 1.652368617859867, 0.03921700077803329)
# gammapy 2.1: FluxPointsDataset(data=FluxPoints.read(HAWC19_flux_points.fits), models=Fermi-LAT-3FHL_models.yaml)
#              .stat_array(), the last point being a limit
HAWC = [
    4.87993482e01, 3.58588764e01, 3.09666924e00, 1.07796420e-02, 1.23066328e01,
    3.60290403e01, 2.50721768e01, 1.82932346e00, 5.27503410e00,
]  # fmt: skip


def source(index=2.0, amplitude="1e-12 cm-2 s-1 TeV-1", name="source", **kwargs):
    return SkyModel(PowerLawSpectralModel(index=index, amplitude=amplitude), name=name, **kwargs)


def points(values=(1.1e-12, 2e-13, 6e-14), errors=(1e-13, 4e-14, 1e-14), **more):
    axis = energy_axis("1 TeV", "30 TeV", nbin=3)
    data = xr.Dataset(coords=axis.coords, attrs={"sed_type": "dnde"})
    unit = {"units": "TeV-1 s-1 cm-2"}
    data["dnde"] = "energy", np.array(values), unit
    data["dnde_err"] = "energy", np.array(errors), unit
    for name, array in more.items():
        data[name] = "energy", np.array(array), unit if name.startswith("dnde") else {}
    return data


def stat(data, model, **kwargs):
    return compile_likelihood(data, model, **kwargs).stat(model.parameters.values)


def test_chi2_is_the_sum_of_squares_without_limits():
    data = points(is_ul=[False, False, True], dnde_ul=[1.0, 1.0, 1.0])
    model = source()
    residuals = (data.dnde.values - 1e-12 * data.energy.values**-2.0) / data.dnde_err.values
    assert stat(data, model) == pytest.approx(np.sum(residuals[:2] ** 2), rel=1e-12)
    masked = data.assign(mask_fit=("energy", [False, True, True]))
    assert stat(masked, model) == pytest.approx(residuals[1] ** 2, rel=1e-12)


def test_the_best_amplitude_is_the_weighted_mean():
    data, model = points(), source()
    model.parameters["index"].frozen = True
    shape = data.energy.values**-2.0
    weight = shape**2 / data.dnde_err.values**2
    best, error = np.sum(weight * data.dnde.values / shape) / weight.sum(), weight.sum() ** -0.5
    result = fit(data, model)
    amplitude = result.models["source"].spectral.amplitude
    assert amplitude.value == pytest.approx(best, rel=1e-5)
    assert amplitude.error == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("sed_type", ["dnde", "e2dnde", "flux", "eflux"])
def test_each_quantity_is_compared_with_its_own(sed_type):
    model = source(index=2.3)
    data = points().gamma.to_sed_type(sed_type, reference=2.3)
    low, high = data.energy_min.values, data.energy_max.values
    center = data.energy.values
    erg = 1.602176634
    expected = {
        "dnde": 1e-12 * center**-2.3,
        "e2dnde": erg * 1e-12 * center**-0.3,
        "flux": 1e-12 * (low**-1.3 - high**-1.3) / 1.3,
        "eflux": erg * 1e-12 * (low**-0.3 - high**-0.3) / 0.3,
    }[sed_type]
    np.testing.assert_allclose(flux_pred(data, model).values, expected, rtol=1e-9)
    # with the spectrum of the reference all of them are the same measurement
    assert stat(data, model) == pytest.approx(stat(points(), model), rel=1e-9)


def test_norms_refer_to_their_spectrum():
    model = source(index=2.3)
    norms = points().gamma.to_sed_type("likelihood", reference=2.0)
    assert stat(norms, model) == pytest.approx(stat(points(), model), rel=1e-9)
    with pytest.raises(ValueError, match="ref_dnde"):
        stat(norms.drop_vars("ref_dnde"), model)


def test_asymmetric_errors_and_limits():
    data = points(
        dnde_errn=[1e-13, 3e-14, 1e-14], dnde_errp=[2e-13, 6e-14, 2e-14], dnde_ul=[2e-12, 3e-13, 9e-14],
        is_ul=[False, False, True],
    )  # fmt: skip
    model = source()
    predicted = 1e-12 * data.energy.values**-2.0
    wanted = 0.0
    for i in range(2):
        side = data.dnde_errp if predicted[i] >= data.dnde.values[i] else data.dnde_errn
        wanted += ((predicted[i] - data.dnde.values[i]) / side.values[i]) ** 2
    limit = data.dnde_ul.values[2]
    wanted += 2 * np.log(erfc((limit - predicted[2]) / limit) / erfc(1.0))
    assert stat(data, model, stat="distrib") == pytest.approx(wanted, rel=1e-12)
    assert stat(data.assign_attrs(stat_type="distrib"), model) == pytest.approx(wanted, rel=1e-12)


def test_derivatives_of_the_statistics():
    rng = np.random.default_rng(1)
    limits = np.array([np.nan, np.nan, 2.0, 1.0])
    values, lower, upper = rng.normal(1, 1, 4), rng.uniform(0.5, 1, 4), rng.uniform(1, 2, 4)
    scan = np.tile(np.linspace(-1, 4, 9), (4, 1))
    for statistic in (
        AsymmetricChiSquare(values, lower, upper, limits, np.array([1.0, 2.0, 0.5, 1.0])),
        ProfileStatistic(values, scan, (scan - values[:, None]) ** 2 * (1 + 0.1 * scan)),
    ):
        x = rng.uniform(0, 3, 4)
        for i in range(4):
            step = 1e-6 * (np.arange(4) == i)
            slope = (statistic.deviance(x + step) - statistic.deviance(x - step)) / 2e-6
            assert statistic.derivative(x)[i] == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_profiles_are_interpolated_as_scipy_does():
    norms = np.linspace(0.2, 5.0, 11)
    data = points().gamma.to_sed_type("likelihood", reference=2.0)
    best, width = data.norm.values[:, None], data.norm_err.values[:, None]
    profile = ((norms - best) / width) ** 2 * (1 + 0.05 * (norms - best))
    data = data.assign_coords(norm_scan=("scan", norms))
    data["stat"] = "energy", [3.0, 4.0, 5.0]
    data["stat_scan"] = ("energy", "scan"), profile + data.stat.values[:, None]
    model = source(index=2.1)
    at = 1e-12 * data.energy.values**-2.1 / data.ref_dnde.values
    # the interpolation that gammapy 2.1 takes for stat_type="profile"
    wanted = sum(
        interp1d(norms, np.abs(p), kind="quadratic", bounds_error=False, fill_value="extrapolate")(x)
        for p, x in zip(profile, at, strict=True)
    )
    assert stat(data, model, stat="profile") == pytest.approx(float(wanted), rel=1e-9)
    assert stat(data.gamma.to_sed_type("dnde"), model, stat="profile") == pytest.approx(float(wanted), rel=1e-9)
    with pytest.raises(ValueError, match="stat_scan"):
        stat(points(), model, stat="profile")


def test_hawc_points_as_gammapy(gammapy_data):
    data = xg.read_flux_points(gammapy_data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits")
    amplitude, reference, alpha, beta = CRAB
    model = SkyModel(
        LogParabolaSpectralModel(
            amplitude=f"{amplitude!r} cm-2 s-1 TeV-1", reference=f"{reference!r} TeV", alpha=alpha, beta=beta
        ),
        name="crab",
    )
    likelihood = compile_likelihood(data, model)
    np.testing.assert_allclose(likelihood.datasets[0].stat_per_bin(model.parameters.values), HAWC, rtol=1e-8)
    assert likelihood.stat(model.parameters.values) == pytest.approx(168.2778809184865, rel=1e-12)


def test_points_beside_a_lazy_copy_and_by_name():
    first, second = source(name="one", datasets_names="a"), source(name="two", amplitude="2e-12 cm-2 s-1 TeV-1")
    joint = {"a": points(), "b": points().chunk()}
    values = compile_likelihood(joint, [first, second])
    per = values.stat_per_dataset(xg.Models([first, second]).parameters.values)
    assert per["a"] == pytest.approx(stat(points(), source(amplitude="3e-12 cm-2 s-1 TeV-1")), rel=1e-12)
    assert per["b"] == pytest.approx(stat(points(), source(amplitude="2e-12 cm-2 s-1 TeV-1")), rel=1e-12)


def test_words_for_points_that_cannot_be_fitted():
    with pytest.raises(ValueError, match="no positive error"):
        stat(points(errors=(1e-13, 0.0, 1e-14)), source())
    with pytest.raises(ValueError, match="is not one for flux points"):
        stat(points(), source(), stat="cash")
    with pytest.raises(ValueError, match="none of the datasets"):
        stat({"a": points()}, source(), stat={"b": "chi2"})
    with pytest.raises(ValueError, match="not positive"):
        stat(points(dnde_ul=[0.0, 1.0, 1.0], is_ul=[True, False, False]), source(), stat="distrib")
    with pytest.raises(ValueError, match="nothing to fit"):
        stat(points(mask_fit=[False, False, False]), source())


def test_correlated_parameters_have_the_errors_of_the_normal_equations():
    energy = np.geomspace(1, 100, 12)
    axis = bin_axis("energy", energy * 0.9, energy * 1.1, "TeV", "log", energy)
    rng = np.random.default_rng(2)
    truth = 1e-12 * energy**-2.5
    data = xr.Dataset(coords=axis.coords, attrs={"sed_type": "dnde"})
    data["dnde"] = "energy", truth * (1 + 0.01 * rng.normal(size=12)), {"units": "TeV-1 s-1 cm-2"}
    data["dnde_err"] = "energy", 0.01 * truth, {"units": "TeV-1 s-1 cm-2"}
    # a reference energy far below the data: amplitude and index are correlated by more than 0.999
    model = SkyModel(
        PowerLawSpectralModel(index=2.5, amplitude="1e-2 cm-2 s-1 TeV-1", reference="0.0001 TeV"), name="source"
    )
    best = fit(data, model)
    spectral = best.models["source"].spectral
    value = spectral.amplitude.value * (energy / 1e-4) ** -spectral.index.value
    jacobian = np.stack([-value * np.log(energy / 1e-4), value / spectral.amplitude.value]) / data.dnde_err.values
    errors = np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T)))
    assert [spectral.index.error, spectral.amplitude.error] == pytest.approx(errors, rel=0.02)


def test_responses_with_axes_of_their_own():
    true = energy_axis("0.1 TeV", "10 TeV", nbin=4, name="energy_true")
    own = bin_axis("psf_energy_true", [0.05, 0.5, 20.0], [0.05, 0.5, 20.0], "TeV", "log")
    nodes = np.linspace(0, 3, 7)
    rad = bin_axis("rad", nodes, nodes, "deg", "lin")
    cube = xr.Dataset(coords={**true.coords, **own.coords, **rad.coords})
    table = np.random.default_rng(3).uniform(1, 2, (3, 7))
    cube["psf"] = ("psf_energy_true", "rad"), table, {"units": "sr-1"}
    lazy = on_axes_of_cube("map", cube.chunk())
    assert lazy.psf.chunks is not None
    result = on_axes_of_cube("map", cube)
    np.testing.assert_allclose(lazy.psf.values, result.psf.values)
    at = np.array([[np.interp(np.log(e), np.log(own.values), table[:, k]) for k in range(7)] for e in true.values])
    fine = np.linspace(0, 3, 60001)
    for row, values in zip(result.psf.values, at, strict=True):
        whole = np.trapezoid(2 * np.pi * fine * np.interp(fine, nodes, values), fine)
        assert np.sum(row * np.pi * np.diff(nodes**2)) == pytest.approx(whole, rel=1e-8)
    assert on_axes_of_cube("map", result) is result
    with pytest.raises(ValueError, match="does not cover"):
        on_axes_of_cube("map", cube.isel(psf_energy_true=slice(0, 2)))
