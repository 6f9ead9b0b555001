"""Fits: minima, errors, links, priors, limits, and words where something is wrong."""

import copy
import warnings

import numpy as np
import pytest
import xarray as xr
from simulated_spectra import cube

from xgamma.fitting.fit import fit
from xgamma.fitting.hessian import covariance_of_hessian, degenerate, hessian
from xgamma.fitting.minimize import SCIPY_METHODS
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior, UniformPrior
from xgamma.models.sky_model import SkyModel


def source(name="crab", index=2.1, amplitude="3e-12 cm-2 s-1 TeV-1", **kwargs):
    return SkyModel(PowerLawSpectralModel(index=index, amplitude=amplitude), name=name, **kwargs)


def values(result):
    return [p.value for p in result.free]


def errors(result):
    return np.array([p.error for p in result.free])


def assert_within(first, second, sigmas, error):
    """Assert that values lie within a number of standard deviations."""
    distance = np.abs(np.subtract(first, second)) / error
    assert np.all(distance < sigmas), distance


# gammapy 2.1: Fit(optimize_opts={"tol": 1e-4}).run(datasets), same arrays: stat, index, its error, amplitude, its error
GAMMAPY = {
    True: (21.006552147758928, 2.2606185321529284, 0.09296708094343907, 4.352531464975839e-12, 5.544331843554079e-13),
    False: (-597.8024815009164, 2.264090038903453, 0.09111903791311708, 4.405583191501954e-12, 5.468082619165139e-13),
}
# and with GaussianPrior(mu=2.0, sigma=0.05) on the index
GAMMAPY_PRIOR = {
    True: (23.2287379099396, 2.0622224875490067, 0.043330108264564134, 3.4914468847665734e-12, 3.7622810603322806e-13),
    False: (-595.2136489526204, 2.0649916269767457, 0.0430774389113825, 3.545491505162889e-12, 3.7274232908373057e-13),
}


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
@pytest.mark.parametrize("on_off", [True, False])
@pytest.mark.parametrize("prior", [False, True])
def test_the_minimum_of_gammapy(backend, on_off, prior):
    model = source()
    if prior:
        model.spectral.index.prior = GaussianPrior(2.0, 0.05)
    result = fit(cube(on_off), model, backend=backend, tol=1e-4)
    stat, index, index_error, amplitude, amplitude_error = (GAMMAPY_PRIOR if prior else GAMMAPY)[on_off]
    assert result.success
    # a statistic is flat at its minimum: what single precision does to gammapy's responses shows in the second order
    assert result.total_stat == pytest.approx(stat, abs=2e-6)
    assert values(result)[0] == pytest.approx(index, abs=2e-3 * index_error)
    assert values(result)[1] == pytest.approx(amplitude, abs=2e-3 * amplitude_error)
    # HESSE takes second derivatives to some parts in a thousand
    np.testing.assert_allclose(errors(result), [index_error, amplitude_error], rtol=5e-3)


def test_backends_agree():
    # three parameters, the last one weakly told: MIGRAD stops where the statistic is 2e-7 above its minimum, so that
    # parameters lie within sqrt(2e-7) = 5e-4 standard deviations
    spectral = ExpCutoffPowerLawSpectralModel(index=2.0, amplitude="3e-12 cm-2 s-1 TeV-1", lambda_="0.05 TeV-1")
    model = SkyModel(spectral, name="crab")
    first = fit(cube(), model, tol=1e-4)
    for method in SCIPY_METHODS:
        second = fit(cube(), model, backend="scipy", method=method)
        assert second.success, method
        assert second.total_stat == pytest.approx(first.total_stat, abs=1e-6), method
        assert_within(values(second), values(first), 2e-3, errors(first))
        np.testing.assert_allclose(errors(second), errors(first), rtol=5e-3, err_msg=method)


def test_simplex():
    result = fit(cube(), source(), method="simplex")
    assert result.total_stat == pytest.approx(GAMMAPY[True][0], abs=0.01)
    assert "simplex" in repr(result)


def test_the_input_is_not_changed():
    data, model = cube(), source()
    before, parameters = data.copy(deep=True), copy.deepcopy(list(model.parameters))
    result = fit(data, model)
    xr.testing.assert_identical(data, before)
    for mine, old in zip(model.parameters, parameters, strict=True):
        assert (mine.value, mine.error) == (old.value, old.error)
    assert result.models["crab"] is not model
    assert result.models["crab"].spectral.index.error > 0
    np.testing.assert_allclose(result.models["crab"].covariance[:2, :2], result.covariance.values)


def test_joint_fits_add_up():
    data, model = cube(), source()
    together = fit(data, model)
    parts = {str(run): data.sel(obs=[run]) for run in data.obs.values}
    for joint in (parts, [d.assign_attrs(name=n) for n, d in parts.items()], xr.DataTree.from_dict(parts)):
        result = fit(joint, model)
        assert result.total_stat == pytest.approx(together.total_stat, rel=1e-12)
        np.testing.assert_allclose(values(result), values(together), rtol=1e-6)
    assert list(fit(parts, model).stat_per_dataset) == ["11/11", "12/12", "13/13"]


def test_different_kinds_in_one_fit():
    model = source()
    bright = {"amplitude": 4e-11}
    kinds = {
        "onoff": cube(**bright),
        "plain": cube(on_off=False, seed=5, **bright),
        "coarse": cube(seed=6, **bright).isel(energy=slice(3, None)),
    }
    result = fit(kinds, model)
    single = {n: fit(c, model) for n, c in kinds.items()}
    weight = sum(np.linalg.inv(r.covariance.values) for r in single.values())
    mean = sum(np.linalg.inv(r.covariance.values) @ values(r) for r in single.values())
    # near a common minimum, where the likelihoods are parabolas, the joint one is the weighted mean
    assert_within(values(result), np.linalg.solve(weight, mean), 0.1, errors(result))
    assert result.total_stat == pytest.approx(sum(result.stat_per_dataset.values()))
    assert result.n_bins == sum(r.n_bins for r in single.values())


def test_models_for_single_runs():
    first, second = source("first", datasets_names="11"), source("second", datasets_names=["12", "13"])
    result = fit(cube(), [first, second])
    alone = [fit(cube().sel(obs=runs), source()) for runs in ([11], [12, 13])]
    assert_within(values(result), [*values(alone[0]), *values(alone[1])], 0.01, errors(result))
    # what shares no data is not correlated
    assert np.abs(result.correlation.values[:2, 2:]).max() < 0.01


def test_linked_parameters_are_one():
    first, second = source("first", datasets_names="11"), source("second", datasets_names=["12", "13"])
    second.spectral.index = first.spectral.index
    result = fit(cube(), [first, second])
    assert list(result.covariance.parameter.values) == ["first.index", "first.amplitude", "second.amplitude"]
    assert result.models["first"].spectral.index is result.models["second"].spectral.index
    assert result.models["second"].spectral.index.error == result.models["first"].spectral.index.error > 0
    separate = fit(cube(), [source("first", datasets_names="11"), source("second", datasets_names=["12", "13"])])
    assert result.total_stat >= separate.total_stat


def test_frozen_parameters_stay():
    model = source()
    model.spectral.index.frozen = True
    result = fit(cube(), model)
    assert result.models["crab"].spectral.index.value == 2.1
    assert result.covariance.shape == (1, 1)
    both = fit(cube(), source())
    assert result.total_stat > both.total_stat


def test_a_compound_model():
    soft = PowerLawSpectralModel(index=3.5, amplitude="3e-12 cm-2 s-1 TeV-1")
    hard = PowerLawSpectralModel(index=2.0, amplitude="1e-12 cm-2 s-1 TeV-1")
    for model in (soft, hard):
        model.index.frozen = True
    result = fit(cube(n_obs=6, amplitude=2e-11), SkyModel(soft + hard, name="crab"))
    assert result.success
    assert list(result.covariance.parameter.values) == ["crab.amplitude", "crab.amplitude_2"]
    # the same as two sources
    two = fit(cube(n_obs=6, amplitude=2e-11), [SkyModel(soft, name="soft"), SkyModel(hard, name="hard")])
    assert result.total_stat == pytest.approx(two.total_stat, abs=2e-4)
    assert_within(values(result), values(two), 0.01, errors(two))


def test_units_of_the_parameters_do_not_matter():
    plain = fit(cube(), source())
    other = fit(cube(), source(amplitude="3e-11 m-2 s-1 GeV-1"))
    assert other.total_stat == pytest.approx(plain.total_stat, abs=1e-6)
    amplitude = other.models["crab"].spectral.amplitude
    assert amplitude.quantity.to_value("cm-2 s-1 TeV-1") == pytest.approx(values(plain)[1], rel=1e-4)
    assert amplitude.unit == source(amplitude="3e-11 m-2 s-1 GeV-1").spectral.amplitude.unit


@pytest.mark.parametrize("start", ["1e-15 cm-2 s-1 TeV-1", "1e-9 cm-2 s-1 TeV-1", "0 cm-2 s-1 TeV-1"])
def test_far_starts_end_in_the_same_minimum(start):
    expected = fit(cube(), source())
    for backend in ("minuit", "scipy"):
        result = fit(cube(), source(amplitude=start), backend=backend)
        assert result.success
        assert result.total_stat == pytest.approx(expected.total_stat, abs=1e-4)


def test_covariance_can_be_left_out():
    result = fit(cube(), source(), covariance=None)
    assert result.success
    assert np.isnan(result.covariance.values).all()
    assert result.n_evaluations < fit(cube(), source()).n_evaluations


# ------------------------------------------------------------------ limits
@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_a_limit_that_does_not_matter(backend):
    free, model = fit(cube(), source(), backend=backend), source()
    model.spectral.index.min, model.spectral.index.max = 0.0, 10.0
    model.spectral.amplitude.min = 0.0
    result = fit(cube(), model, backend=backend)
    assert_within(values(result), values(free), 0.01, errors(free))
    np.testing.assert_allclose(errors(result), errors(free), rtol=0.01)


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
@pytest.mark.parametrize(("side", "limit"), [("max", 2.15), ("min", 2.4)])
def test_a_parameter_at_its_limit(backend, side, limit):
    model = source(index=2.1 if side == "max" else 2.6)
    setattr(model.spectral.index, side, limit)
    result = fit(cube(), model, backend=backend)
    assert f"crab.index sits at its limit {limit:g} and has no error" in result.message
    assert result.models["crab"].spectral.index.value == pytest.approx(limit, rel=1e-12)
    # the same as with the index frozen there
    frozen = source(index=limit)
    frozen.spectral.index.frozen = True
    expected = fit(cube(), frozen, backend=backend)
    assert result.total_stat == pytest.approx(expected.total_stat, abs=1e-5)
    assert result.models["crab"].spectral.amplitude.error == pytest.approx(errors(expected)[0], rel=0.01)
    assert result.models["crab"].spectral.index.error == 0.0


def test_a_start_at_a_limit():
    model = source(amplitude="0 cm-2 s-1 TeV-1")
    model.spectral.amplitude.min = 0.0
    assert fit(cube(), model).total_stat == pytest.approx(GAMMAPY[True][0], abs=1e-4)


def test_no_source_sits_at_zero():
    model = source()
    model.spectral.amplitude.min = 0.0
    model.spectral.index.frozen = True
    data = cube(amplitude=1e-30, seed=8)
    free = source()
    free.spectral.index.frozen = True
    below = fit(data, free)
    assert values(below)[0] < 0
    result = fit(data, model)
    assert result.models["crab"].spectral.amplitude.value == 0.0
    assert "sits at its limit 0" in result.message


# ------------------------------------------------------------------ priors
def test_priors_add():
    model = source()
    model.spectral.index.prior = GaussianPrior(2.0, 0.05)
    result = fit(cube(), model)
    index = result.models["crab"].spectral.index
    assert result.prior_stat == pytest.approx(float(GaussianPrior(2.0, 0.05)(index.value)))
    assert result.total_stat == pytest.approx(sum(result.stat_per_dataset.values()) + result.prior_stat)
    # data and prior as two measurements
    data = fit(cube(), source())
    weight = [errors(data)[0] ** -2, 0.05**-2]
    assert index.value == pytest.approx(np.average([values(data)[0], 2.0], weights=weight), abs=0.2 * index.error)
    assert index.error == pytest.approx(np.sum(weight) ** -0.5, rel=0.06)


def test_priors_of_frozen_parameters_do_not_count():
    model = source()
    model.spectral.index.prior = GaussianPrior(2.0, 0.05)
    model.spectral.index.frozen = True
    assert fit(cube(), model).prior_stat == 0.0


def test_a_uniform_prior_bounds():
    model = source(index=2.05)
    model.spectral.index.prior = UniformPrior(2.0, 2.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MIGRAD may say that it found no valid minimum at a cliff
        result = fit(cube(), model)
    assert 2.0 <= result.models["crab"].spectral.index.value <= 2.1
    model = source(index=2.5)
    model.spectral.index.prior = UniformPrior(2.0, 2.1)
    with pytest.raises(ValueError, match=r"the priors of \['crab.index'\] is inf at the start"):
        fit(cube(), model)


# ------------------------------------------------------------------ words
def test_nothing_free():
    model = source()
    model.freeze()
    with pytest.raises(ValueError, match="no free parameter to fit: there are no models"):
        fit(cube(), [])
    with pytest.raises(ValueError, match="no free parameter to fit: all are frozen"):
        fit(cube(), model)
    with pytest.warns(UserWarning, match="takes no part"), pytest.raises(ValueError, match="no dataset depends on"):
        fit(cube(), source(datasets_names="mars"))


def test_outside_of_limits():
    model = source()
    model.spectral.index.max = 2.0
    with pytest.raises(ValueError, match=r"crab.index starts at 2.1, outside its limits from nan to 2"):
        fit(cube(), model)
    model.spectral.index.min = model.spectral.index.max = model.spectral.index.value = 2.0
    with pytest.raises(ValueError, match="leave no room"):
        fit(cube(), model)


def test_a_start_without_meaning():
    model = SkyModel(ExpCutoffPowerLawSpectralModel(lambda_="-100 TeV-1", alpha=3), name="crab")
    with pytest.raises(ValueError, match=r"the statistic of datasets \['simulated'\] is (nan|inf) at the start"):
        fit(cube(), model)


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_too_few_calls(backend):
    with pytest.warns(UserWarning, match="the fit has not converged after .* evaluations"):
        result = fit(cube(), source(amplitude="1e-9 cm-2 s-1 TeV-1"), backend=backend, max_calls=10, covariance=None)
    assert not result.success
    assert "has not converged" in result.message


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_degenerate_parameters_are_named(backend):
    # two sources of one spectrum in one region: only the sum of their amplitudes is told
    twins = [source("first"), source("second")]
    for twin in twins:
        twin.spectral.index.frozen = True
    with pytest.warns(UserWarning, match="not positive definite"):
        result = fit(cube(), twins, backend=backend)
    assert not result.success
    assert "['first.amplitude', 'second.amplitude']" in result.message
    assert np.isnan(result.covariance.values).all()
    single = source()
    single.spectral.index.frozen = True
    assert sum(values(result)) == pytest.approx(values(fit(cube(), single))[0], rel=1e-3)


def test_a_free_parameter_without_data_is_named():
    with (
        pytest.warns(UserWarning, match="takes no part"),
        pytest.warns(UserWarning, match=r"free parameters \['away.index', 'away.amplitude'\]"),
    ):
        result = fit(cube(), [source(), source("away", datasets_names="mars")])
    assert list(result.covariance.parameter.values) == ["crab.index", "crab.amplitude"]
    assert result.models["away"].spectral.index.value == 2.1


def test_free_positions_do_not_change_a_spectrum():
    from xgamma.models.component import ParameterField
    from xgamma.models.spatial_model import SpatialModel

    class Point(SpatialModel):
        lon_0 = ParameterField(83.6, "deg")

    model = SkyModel(PowerLawSpectralModel(index=2.1, amplitude="3e-12 cm-2 s-1 TeV-1"), Point(), name="crab")
    with pytest.warns(UserWarning, match=r"no dataset depends on the free parameters \['crab.lon_0'\]"):
        result = fit(cube(), model)
    np.testing.assert_allclose(values(result), values(fit(cube(), source())), rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "sherpa"}, "backend='sherpa' must be"),
        ({"method": "L-BFGS-B"}, "method='L-BFGS-B' of minuit must be one of"),
        ({"backend": "scipy", "method": "migrad"}, "method='migrad' of scipy must be one of"),
        ({"covariance": "fisher"}, "covariance='fisher'"),
        ({"strategy": 5}, "strategy=5"),
        ({"tol": 0.0}, "must be positive"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        fit(cube(), source(), **settings)


def test_methods_without_limits_refuse_them():
    model = source()
    model.spectral.index.min = 0.0
    with pytest.raises(ValueError, match=r"method='BFGS' knows no limits, but \['crab.index'\]"):
        fit(cube(), model, backend="scipy", method="BFGS")


# ------------------------------------------------------------------ second derivatives
def test_hessian_of_a_polynomial():
    matrix = np.array([[2.0, 0.3, 0.1], [0.3, 5.0, -0.4], [0.1, -0.4, 1.0]])
    found = hessian(lambda p: float(0.5 * p @ matrix @ p + p[0] ** 3), np.zeros(3), np.array([0.1, 0.2, 0.05]))
    np.testing.assert_allclose(found, matrix, atol=1e-10)
    np.testing.assert_allclose(covariance_of_hessian(matrix), 2 * np.linalg.inv(matrix), rtol=1e-12)


def test_degenerate_directions():
    assert degenerate(np.diag([1.0, -2.0]), ("a", "b")) == ["b"]
    assert degenerate(np.diag([1.0, np.nan]), ("a", "b")) == ["b"]
    assert degenerate(np.diag([1.0, 1e-12]), ("a", "b")) == []


def test_hessian_of_a_likelihood_against_the_fisher_matrix():
    # with counts as predicted, the second derivatives are sum(dmu/dp dmu/dq / mu) twice
    model = source(index=2.3, amplitude="4e-12 cm-2 s-1 TeV-1")
    result = fit(cube(on_off=False, asimov=True), model, backend="scipy")
    dataset, at = result.likelihood.datasets[0], result.parameters.values
    slopes = []
    for place, step in ((0, 1e-5), (1, 1e-17)):
        move = np.zeros(3)
        move[place] = step
        slopes.append((dataset.npred_signal(at + move) - dataset.npred_signal(at - move)) / (2 * step))
    fisher = np.einsum("ib,jb,b->ij", slopes, slopes, 1 / dataset.npred(at))
    np.testing.assert_allclose(result.covariance.values, np.linalg.inv(fisher), rtol=1e-5)
    np.testing.assert_allclose(values(result), [2.3, 4e-12], rtol=1e-6)


def test_parameters_of_a_fit_may_be_shared_by_the_user():
    shared = Parameter("index", 2.1)
    models = Models([source("first", datasets_names="11"), source("second", datasets_names="12")])
    for model in models:
        model.spectral.index = shared
    result = fit(cube().sel(obs=[11, 12]), models)
    assert shared.value == 2.1
    assert len(result.free) == 3


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_an_index_without_amplitude_has_no_error(backend):
    """At an amplitude of zero the index changes nothing: its second derivative is rounding, not an error of 1e-13."""
    empty = cube()
    empty["counts"] = 0.0 * empty["counts"]
    model = source()
    model.spectral.amplitude.min = 0.0
    with pytest.warns(UserWarning, match=r"do not tell \['crab.index'\].*crab.amplitude sits at its limit 0"):
        result = fit(empty, model, backend=backend)
    assert not result.success
    assert result.models["crab"].spectral.amplitude.value == 0.0
    assert np.isnan(result.covariance.sel(parameter="crab.index", parameter_="crab.index"))


@pytest.mark.parametrize("stat", ["cash", "cstat"])
def test_off_counts_are_not_left_out_in_silence(stat):
    """Without a background, the Cash statistic would take all of the counts for signal."""
    with pytest.raises(ValueError, match=f"stat='{stat}' takes the background as known"):
        fit(cube(), source(), stat=stat)
    known = cube()
    known["background"] = known["acceptance"] / known["acceptance_off"] * known["counts_off"]
    assert fit(known, source(), stat=stat).success
