"""From cubes to likelihoods: responses, masks, names, what is refused."""

import pickle

import dask
import numpy as np
import pytest
import xarray as xr
from simulated_spectra import arrays, cube

from xgamma.coords.bins import energy_axis
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.cubes import named_cubes
from xgamma.fitting.fit import fit
from xgamma.fitting.flux import SpectralFlux
from xgamma.fitting.problem import problem_of
from xgamma.fitting.response import Axes, intersections, response
from xgamma.kernels.stats import wstat
from xgamma.models.cutoff import ExpCutoffPowerLawSpectralModel
from xgamma.models.models import Models
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior
from xgamma.models.sky_model import SkyModel


def source(name="crab", **kwargs):
    spectral = PowerLawSpectralModel(index=2.1, amplitude="3e-12 cm-2 s-1 TeV-1")
    return SkyModel(spectral, name=name, **kwargs)


def flux(low, high, index=2.1, amplitude=3e-12):
    return amplitude * (low ** (1 - index) - high ** (1 - index)) / (index - 1)


# ------------------------------------------------------------------ responses
def test_response_against_loops():
    values = arrays(n_obs=2)
    kept, exposure, edisp = values["mask_safe"], values["exposure"], values["edisp"]
    edges, true = np.geomspace(0.5, 50.0, 11), np.geomspace(0.2, 200.0, 31)
    axes = Axes(edges[:-1], edges[1:], true[:-1], true[1:])
    found = response(axes, kept, exposure, edisp)
    number = 0
    for o in range(2):
        for e in range(10):
            if kept[o, e]:
                row = dict(zip(found.low, found.matrix[number], strict=True))
                for t, low in enumerate(axes.true_low):
                    assert row.get(low, 0.0) == pytest.approx(exposure[o, t] * edisp[o, t, e], rel=1e-14)
                number += 1
    assert number == len(found.matrix)


def test_exact_energies_take_the_overlap_of_the_bins():
    axes = Axes(np.array([1.0, 3.0]), np.array([3.0, 10.0]), np.array([1.0, 2.0, 5.0]), np.array([2.0, 5.0, 10.0]))
    exposure = np.array([1e12, 2e12, 5e12])
    found = response(axes, np.ones(2, bool), exposure, None)
    npred = found.matrix @ flux(found.low, found.high)
    # bin 1 to 3 TeV: 1 to 2 with the first exposure, 2 to 3 with the second
    expected = [1e12 * flux(1, 2) + 2e12 * flux(2, 3), 2e12 * flux(3, 5) + 5e12 * flux(5, 10)]
    np.testing.assert_allclose(npred, expected, rtol=1e-13)


def test_edges_that_differ_in_the_last_digits_make_no_bins():
    axes = Axes(
        np.array([1.0]), np.array([2.0]), np.array([1.0, 2.0 * (1 - 1e-15)]), np.array([2.0 * (1 - 1e-15), 4.0])
    )
    assert intersections(axes)[0].tolist() == [0]


# ------------------------------------------------------------------ the likelihood
def test_likelihood_against_direct_evaluation():
    values, model = arrays(), source()
    likelihood = compile_likelihood(cube(), model)
    low, high = np.geomspace(0.2, 200.0, 31)[:-1], np.geomspace(0.2, 200.0, 31)[1:]
    signal = np.einsum("ot,t,ote->oe", values["exposure"], flux(low, high), values["edisp"])
    bins = wstat(values["counts"], values["counts_off"], values["acceptance"] / values["acceptance_off"], signal)
    kept = values["mask_safe"]
    at = model.parameters.values
    assert likelihood.stat(at) == pytest.approx(bins[kept].sum(), rel=1e-12)
    np.testing.assert_allclose(likelihood.datasets[0].npred_signal(at), signal[kept], rtol=1e-12)
    np.testing.assert_allclose(likelihood.datasets[0].stat_per_bin(at), bins[kept], rtol=1e-9, atol=1e-9)
    per_run = likelihood.stat_per_dataset(at)
    assert list(per_run) == ["11", "12", "13"]
    np.testing.assert_allclose(list(per_run.values()), np.where(kept, bins, 0).sum(axis=1), rtol=1e-12)


def test_statistics_of_gammapy_at_equal_input():
    # gammapy 2.1: Datasets.stat_sum() of the same arrays, SpectrumDatasetOnOff and SpectrumDataset; responses in single
    # precision there
    model = source()
    at = model.parameters.values
    assert compile_likelihood(cube(), model).stat(at) == pytest.approx(28.341714069487004, rel=1e-7)
    plain = compile_likelihood(cube(on_off=False), model)
    assert plain.stat(at) == pytest.approx(-589.5110741582747, rel=1e-7)
    expected = [-46.998953379074244, -196.98270504235313, -345.52941573684734]
    np.testing.assert_allclose(list(plain.stat_per_dataset(at).values()), expected, rtol=1e-7)


def test_what_is_remembered_changes_nothing():
    spectral = ExpCutoffPowerLawSpectralModel(index=2.0, amplitude="3e-12 cm-2 s-1 TeV-1", lambda_="0.1 TeV-1")
    models = Models([SkyModel(spectral, name="crab"), source("other")])
    warm = compile_likelihood(cube(), models)
    rng = np.random.default_rng(3)
    start = models.parameters.values
    points = [start * (1 + 0.1 * rng.standard_normal(start.size) * rng.integers(0, 2, start.size)) for _ in range(15)]
    fresh = [compile_likelihood(cube(), models).deviance(p) for p in points]
    assert [warm.deviance(p) for p in points] == pytest.approx(fresh, rel=1e-12)
    # and again, now that all has been seen
    assert [warm.deviance(p) for p in points[::-1]] == pytest.approx(fresh[::-1], rel=1e-12)


def test_a_norm_only_scales(monkeypatch):
    calls = []
    original = PowerLawSpectralModel.evaluate_integral
    monkeypatch.setattr(
        PowerLawSpectralModel, "evaluate_integral", lambda self, *a: calls.append(1) or original(self, *a)
    )
    model = source()
    likelihood = compile_likelihood(cube(), model)
    at = model.parameters.values
    likelihood.deviance(at)
    before = len(calls)
    for factor in (0.5, 1.5, 3.0):
        moved = at.copy()
        moved[1] *= factor
        likelihood.deviance(moved)
    assert len(calls) == before


def test_a_pickled_likelihood_is_the_same():
    model = source()
    likelihood = compile_likelihood(cube(), model)
    at = model.parameters.values
    assert pickle.loads(pickle.dumps(likelihood)).stat(at) == likelihood.stat(at)


def test_lazy_cubes_are_computed_once_together():
    model, computed = source(), []

    def count(dsk, keys, **kwargs):
        computed.append(1)
        return dask.get(dsk, keys, **kwargs)

    cubes = {"a": cube(n_obs=2).chunk({"obs": 1}), "b": cube(n_obs=2, seed=4).chunk({"obs": 1})}
    with dask.config.set(scheduler=count):
        likelihood = compile_likelihood(cubes, model)
    assert len(computed) == 1
    eager = compile_likelihood({"a": cube(n_obs=2), "b": cube(n_obs=2, seed=4)}, model)
    at = model.parameters.values
    assert likelihood.stat(at) == eager.stat(at)
    assert list(likelihood.stat_per_dataset(at)) == ["a/11", "a/12", "b/11", "b/12"]


def test_gradients_against_differences():
    spectral = ExpCutoffPowerLawSpectralModel(index=2.0, amplitude="3e-12 cm-2 s-1 TeV-1", lambda_="0.1 TeV-1")
    linked = source("other", datasets_names="12")
    linked.spectral.index = spectral.index
    linked.spectral.index.prior = GaussianPrior(2.2, 0.1)
    models = Models([SkyModel(spectral, name="crab"), linked])
    for data in (cube(), cube(on_off=False), {"a": cube(n_obs=2), "b": cube(on_off=False)}):
        problem = problem_of(compile_likelihood(data, models), models.parameters)
        # steps that are neither lost in rounding nor feel the curvature
        moves = 1e-5 * np.eye(problem.start.size)
        ends = [(problem.deviance(problem.start + m), problem.deviance(problem.start - m)) for m in moves]
        expected = [(up - down) / 2e-5 for up, down in ends]
        np.testing.assert_allclose(problem.gradient(problem.start), expected, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------ masks, weights, names
def test_both_masks_choose():
    onoff = cube()
    onoff["mask_fit"] = "energy", np.arange(10) < 6
    likelihood = compile_likelihood(onoff, source())
    assert likelihood.n_bins == int((onoff.mask_safe & onoff.mask_fit).sum())


def test_weights_are_factors_on_the_bins():
    model = source()
    weights = np.linspace(0, 1.5, 10)
    weighted = cube().assign(weights=("energy", weights))
    plain = compile_likelihood(cube(), model).datasets[0]
    found = compile_likelihood(weighted, model)
    at = model.parameters.values
    factor = np.broadcast_to(weights, (3, 10))[plain.kept]
    assert found.stat(at) == pytest.approx(float((factor * plain.stat_per_bin(at)).sum()), rel=1e-12)
    assert found.n_bins == np.count_nonzero(factor)
    # a mask of numbers is the same
    by_mask = cube().assign(mask_fit=("energy", weights))
    assert compile_likelihood(by_mask, model).stat(at) == found.stat(at)


@pytest.mark.parametrize("names", ["12", ["12"], "simulated", ["simulated", "nobody"], None])
def test_models_belong_to_runs_or_cubes_by_name(names):
    model = source(datasets_names=names)
    dataset = compile_likelihood(cube(), model).datasets[0]
    predicted = np.bincount(dataset.part, dataset.npred_signal(model.parameters.values))
    everywhere = names in (None, "simulated") or "simulated" in names
    assert (predicted > 0).tolist() == ([True] * 3 if everywhere else [False, True, False])


def test_names_of_several_cubes():
    model = source(datasets_names=["a", "b/12"])
    likelihood = compile_likelihood({"a": cube(n_obs=1), "b": cube(n_obs=2)}, model)
    values = model.parameters.values
    seen = [np.bincount(d.part, d.npred_signal(values)) > 0 for d in likelihood.datasets]
    assert [s.tolist() for s in seen] == [[True], [False, True]]
    assert list(named_cubes([xr.Dataset(attrs={"name": "x"}), xr.Dataset(attrs={"name": "y"})])) == ["x", "y"]
    with pytest.raises(ValueError, match="two cubes 'x'"):
        named_cubes([xr.Dataset(attrs={"name": "x"})] * 2)
    with pytest.raises(TypeError, match="takes a cube"):
        named_cubes(3)
    with pytest.raises(TypeError, match="'a' must be a cube"):
        named_cubes({"a": np.ones(3)})
    with pytest.raises(ValueError, match="no cube"):
        named_cubes([])


def test_a_tree_of_cubes():
    tree = xr.DataTree.from_dict({"/hess": cube(n_obs=1), "/more/fermi": cube(n_obs=1, seed=2)})
    assert list(named_cubes(tree)) == ["hess", "more/fermi"]


def test_a_model_without_exposure_counts_its_flux():
    model = source(apply_irf={"exposure": False, "edisp": False})
    dataset = compile_likelihood(cube(n_obs=1).drop_vars("exposure"), model).datasets[0]
    edges = np.geomspace(0.5, 50.0, 11)
    expected = flux(edges[:-1], edges[1:])[dataset.kept[0]]
    np.testing.assert_allclose(dataset.npred_signal(model.parameters.values), expected, rtol=1e-12)


def test_regions_and_runs():
    both = xr.concat([cube(n_obs=2), cube(n_obs=2, seed=9)], "region").transpose("obs", "region", ...)
    likelihood = compile_likelihood(both, source())
    assert list(likelihood.stat_per_dataset(source().parameters.values)) == ["11/0", "11/1", "12/0", "12/1"]


def test_shared_responses_broadcast():
    shared = cube(n_obs=3).assign(edisp=cube(n_obs=1).edisp.isel(obs=0, drop=True))
    model = source()
    at = model.parameters.values
    assert compile_likelihood(shared, model).stat(at) == pytest.approx(compile_likelihood(cube(), model).stat(at))


def test_units_of_the_exposure_are_converted():
    model, metres = source(), cube()
    metres["exposure"] = metres.exposure * 1e-4
    metres["exposure"].attrs["units"] = "m2 s"
    at = model.parameters.values
    assert compile_likelihood(metres, model).stat(at) == pytest.approx(compile_likelihood(cube(), model).stat(at))


# ------------------------------------------------------------------ refused, in words
def broken(name, value, where=(0, 5)):
    result = cube()
    array = result[name].values.astype(float)
    array[where] = value
    return result.assign({name: (result[name].dims, array, result[name].attrs)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cube().drop_vars("counts"), "has no 'counts'"),
        (lambda: cube().drop_vars("exposure"), "has no 'exposure'"),
        (lambda: cube().drop_vars("acceptance_off"), r"needs \['acceptance_off'\]"),
        (lambda: broken("counts", np.nan), "'counts' of 'simulated' is not finite in 1 of the 27 bins"),
        (lambda: broken("counts_off", -1.0), "'counts_off' of 'simulated' are negative"),
        (lambda: broken("exposure", np.nan, (0, 9)), "exposure of 'simulated' hold NaN"),
        (lambda: broken("edisp", np.nan, (0, 9, 5)), "edisp of 'simulated' hold NaN"),
        (lambda: cube().assign(mask_fit=("energy", np.zeros(10, bool))), "there is nothing to fit"),
        (lambda: cube().assign(weights=("energy", np.full(10, np.nan))), "weights that are finite"),
        (lambda: cube().assign(edisp=cube().edisp.expand_dims(irf_y=2)), "has dim 'irf_y'"),
        (lambda: cube().expand_dims(y=1, x=1), "has no sky index"),
        (lambda: cube().isel(energy=0), "have no dim 'energy'"),
        (lambda: cube().drop_vars(["energy_true_min", "energy_true_max"]), "energy_true"),
    ],
)
def test_what_cannot_be_fitted_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        compile_likelihood(make(), source())


def test_zero_exposure():
    none = cube()
    none["exposure"] = none.exposure * 0.0
    none["exposure"].attrs["units"] = "cm2 s"
    with pytest.raises(ValueError, match="the exposure of 'simulated' is zero in all bins"):
        compile_likelihood(none, source())
    with pytest.warns(UserWarning, match=r"the exposure of \['12'\] is zero"):
        compile_likelihood(broken("exposure", 0.0, (1,)), source())


def test_energies_beyond_the_true_ones_without_dispersion():
    exact = cube().drop_vars("edisp")
    with pytest.raises(ValueError, match=r"energy_true of 'simulated' must cover .* reaches from 2 to 200 TeV"):
        compile_likelihood(exact.isel(energy_true=slice(10, None)), source())
    assert compile_likelihood(exact, source()).n_bins == 27


def test_runs_without_bins_are_named_and_left_out():
    with pytest.warns(UserWarning, match=r"no bin of \['12'\] is inside the masks"):
        likelihood = compile_likelihood(broken("mask_safe", 0, (1,)), source())
    assert likelihood.stat_per_dataset(source().parameters.values)["12"] == 0.0


def test_bins_without_off_exposure_are_named_and_left_out():
    with pytest.warns(UserWarning, match=r"2 bins of \['12'\] have no off exposure"):
        likelihood = compile_likelihood(broken("acceptance_off", 0.0, (1, slice(4, 6))), source())
    assert likelihood.n_bins == 25


def test_chi_square_needs_errors():
    with pytest.warns(UserWarning, match="have no error, being empty"):
        counted = compile_likelihood(cube(on_off=False, amplitude=1e-13), source(), stat="chi2")
    assert counted.n_bins < 27
    given = cube().drop_vars(["counts_off", "acceptance", "acceptance_off"])
    given["counts_error"] = np.sqrt(given.counts + 1.0)
    model = source()
    likelihood = compile_likelihood(given, model)
    dataset, at = likelihood.datasets[0], model.parameters.values
    kept = dataset.kept
    expected = ((given.counts.values[kept] - dataset.npred_signal(at)) ** 2 / (given.counts.values[kept] + 1)).sum()
    assert likelihood.stat(at) == pytest.approx(expected, rel=1e-12)
    onoff = compile_likelihood(cube(amplitude=4e-11), model, stat="chi2").datasets[0]
    v = cube(amplitude=4e-11)
    excess, error2 = v.counts - 0.1 * v.counts_off, v.counts + 0.01 * v.counts_off
    squares = (excess.values[onoff.kept] - onoff.npred_signal(at)) ** 2 / error2.values[onoff.kept]
    np.testing.assert_allclose(onoff.stat_per_bin(at), squares, rtol=1e-10)


def test_unknown_statistic():
    with pytest.raises(ValueError, match="stat='likelihood' must be one of"):
        fit(cube(), source(), stat="likelihood")


def test_models_that_are_not_for_spectra():
    from xgamma.models.norm import PowerLawNormSpectralModel
    from xgamma.models.sky_model import Model

    class Strange(Model):
        @property
        def components(self):
            return {}

    with pytest.raises(TypeError, match="'odd' is a Strange; spectra are fitted with SkyModel"):
        compile_likelihood(cube(), Strange("odd"))
    with pytest.raises(ValueError, match="is a factor without unit"):
        compile_likelihood(cube(), SkyModel(PowerLawNormSpectralModel(), name="norm"))
    from xgamma.models.temporal_shapes import ExpDecayTemporalModel

    with pytest.raises(ValueError, match=r"varies in time, and .* has no good time intervals"):
        compile_likelihood(cube(), SkyModel(PowerLawSpectralModel(), temporal=ExpDecayTemporalModel()))


def test_a_model_of_no_dataset_is_named():
    with pytest.warns(
        UserWarning, match=r"model 'other' belongs to \['mars'\], none of the datasets \['simulated', '11'"
    ):
        compile_likelihood(cube(), [source(), source("other", datasets_names="mars")])


def test_axes_in_another_unit_are_refused():
    axis = energy_axis("1 TeV", "10 TeV", nbin=2)
    wrong = cube().isel(energy=slice(0, 2)).drop_vars(["energy", "energy_min", "energy_max"])
    wrong = wrong.assign_coords(axis.coords)
    for name in ("energy", "energy_min", "energy_max"):
        wrong[name].attrs["units"] = "GeV"
    with pytest.raises(ValueError, match="must be in TeV, not 'GeV'"):
        compile_likelihood(wrong, source())


def test_a_compound_with_a_parameter_linked_inside_it():
    second = PowerLawSpectralModel(reference="1 GeV", amplitude="1e-9 TeV-1 s-1 cm-2")
    spectral = PowerLawSpectralModel(index=2.3) + second
    spectral.model2.index = spectral.model1.index
    flux = SpectralFlux(spectral, spectral.parameters, np.array([1.0]), np.array([10.0]))
    scale, key = flux.split(spectral.parameters.values)
    expected = spectral.integral("1 TeV", "10 TeV").to_value("s-1 cm-2")
    np.testing.assert_allclose(scale * flux.shape(*key), expected, rtol=1e-12)
