"""Systematic errors in predictions and fits: beside brute force, closed forms, and simulations."""

import pickle

import astropy.units as u
import dask
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from simulated_maps import background, expected, gauss, map_cube, point
from simulated_spectra import ENERGY_TRUE, arrays
from simulated_spectra import cube as spectrum_cube

import xgamma as xg
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred, npred_background, npred_signal
from xgamma.fitting.tree import flux_pred
from xgamma.models.log_parabola import LogParabolaSpectralModel
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.systematics import Systematics
from xgamma.plot.spectrum import plot_spectrum

LOW, HIGH = ENERGY_TRUE[:-1], ENERGY_TRUE[1:]


def source(index=2.3, amplitude=4e-12, **kwargs):
    return SkyModel(PowerLawSpectralModel(index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1"), name="crab", **kwargs)


def shifted(name="syst", datasets_names=None, **values):
    """A model of systematic errors at other values than those that change nothing."""
    model = Systematics(**dict.fromkeys(values, 0.1), name=name, datasets_names=datasets_names)
    for key, value in values.items():
        getattr(model.nuisance, key).value = value
    return model


def brute_force(values, energy_scale=1.0, aeff=1.0, aeff_tilt=0.0, index=2.3, amplitude=4e-12):
    """Counts that an instrument sees whose energies are too high: dN/dE' = phi(E' / s) / s, integrated finely."""
    x = np.linspace(0.0, 1.0, 2001)
    energy = LOW[:, None] * (HIGH / LOW)[:, None] ** x
    seen = amplitude * (energy / energy_scale) ** -index / energy_scale
    flux = np.sum(0.5 * (seen[:, 1:] + seen[:, :-1]) * np.diff(energy, axis=1), axis=1)
    exposure = values["exposure"] * aeff * np.sqrt(LOW * HIGH) ** aeff_tilt
    return np.einsum("ot,t,ote->oe", exposure, flux, values["edisp"])


@pytest.mark.parametrize(
    "given",
    [
        {"energy_scale": 1.13},
        {"aeff": 0.8},
        {"aeff_tilt": 0.25},
        {"energy_scale": 0.9, "aeff": 1.2, "aeff_tilt": -0.1},
    ],
)
def test_spectra_beside_brute_force(given):
    cube, models = spectrum_cube(), Models([source(), shifted(**given)])
    wanted = brute_force(arrays(), **given)
    np.testing.assert_allclose(npred_signal(cube, models), wanted, rtol=2e-6)
    dataset = compile_likelihood(cube, models).datasets[0]
    np.testing.assert_allclose(dataset.npred_signal(models.parameters.values), wanted[dataset.kept], rtol=2e-6)


def test_spectra_without_closed_form():
    """A curved spectrum, which is integrated numerically: shifting its energies is shifting its reference."""
    scale, cube = 1.2, spectrum_cube()
    curved = LogParabolaSpectralModel(amplitude="4e-12 cm-2 s-1 TeV-1", alpha=2.3, beta=0.2, reference="1 TeV")
    moved = curved.copy()
    moved.reference.value, moved.amplitude.value = scale, curved.amplitude.value / scale
    models = Models([SkyModel(curved, name="a"), shifted(energy_scale=scale)])
    wanted = npred_signal(cube, SkyModel(moved, name="b")).values
    np.testing.assert_allclose(npred_signal(cube, models), wanted, rtol=1e-9)
    dataset = compile_likelihood(cube, models).datasets[0]
    np.testing.assert_allclose(dataset.npred_signal(models.parameters.values), wanted[dataset.kept], rtol=1e-9)


def test_exact_energies():
    """Without energy dispersion fluxes are integrated over the measured bins."""
    cube = spectrum_cube().drop_vars("edisp")
    models = Models([source(), shifted(energy_scale=1.1)])
    np.testing.assert_allclose(npred_signal(cube, models), 1.1**1.3 * npred_signal(cube, source()), rtol=1e-12)
    dataset = compile_likelihood(cube, models).datasets[0]
    wanted = npred_signal(cube, models).values[dataset.kept]
    np.testing.assert_allclose(dataset.npred_signal(models.parameters.values), wanted, rtol=1e-12)


def test_models_that_bring_no_exposure_have_no_errors_of_it():
    cube = spectrum_cube()
    plain = source(apply_irf={"exposure": False})
    models = Models([plain, shifted(energy_scale=1.1, aeff=0.5)])
    np.testing.assert_array_equal(npred_signal(cube, models), npred_signal(cube, plain))
    with pytest.warns(UserWarning, match="change nothing"):
        dataset = compile_likelihood(cube, models).datasets[0]
    wanted = npred_signal(cube, plain).values[dataset.kept]
    np.testing.assert_allclose(dataset.npred_signal(models.parameters.values), wanted, rtol=1e-12)


def test_runs_with_errors_of_their_own():
    cube = spectrum_cube(n_obs=3)
    own = [shifted("a", ["12"], energy_scale=1.1), shifted("b", ["12", "13"], aeff=0.7)]
    wanted = np.stack(
        [
            brute_force(arrays(n_obs=3))[0],
            brute_force(arrays(n_obs=3), energy_scale=1.1, aeff=0.7)[1],
            brute_force(arrays(n_obs=3), aeff=0.7)[2],
        ]
    )
    models = Models([source(), *own])
    np.testing.assert_allclose(npred_signal(cube, models), wanted, rtol=2e-6)
    likelihood = compile_likelihood(cube, models)
    assert [d.labels for d in likelihood.datasets] == [("11",), ("12",), ("13",)]
    values = models.parameters.values
    for i, dataset in enumerate(likelihood.datasets):
        np.testing.assert_allclose(dataset.npred_signal(values), wanted[i][dataset.kept[0]], rtol=2e-6)
    assert list(likelihood.stat_per_dataset(values)) == ["11", "12", "13"]


def test_regions_and_runs():
    cube = xr.concat([spectrum_cube(seed=1), spectrum_cube(seed=2)], dim="region").assign_coords(region=["a", "b"])
    cube = cube.transpose("obs", "region", ...)
    models = Models([source(), shifted("one", ["12/b"], aeff=0.5)])
    plain = npred_signal(cube, source())
    factor = npred_signal(cube, models) / plain
    np.testing.assert_allclose(factor.isel(energy=3), [[1, 1], [1, 0.5], [1, 1]])
    likelihood = compile_likelihood(cube, models)
    values = models.parameters.values
    assert sorted(likelihood.stat_per_dataset(values)) == ["11/a", "11/b", "12/a", "12/b", "13/a", "13/b"]
    wanted = compile_likelihood(cube.isel(obs=1, region=1), shifted_source(0.5)).datasets[0]
    found = next(d for d in likelihood.datasets if d.labels == ("12/b",))
    assert found.deviance(values) == pytest.approx(wanted.deviance(shifted_source(0.5).parameters.values), rel=1e-12)


def shifted_source(factor):
    return source(amplitude=4e-12 * factor)


@pytest.mark.parametrize("on_off", [True, False])
def test_background(on_off):
    cube = spectrum_cube(on_off=on_off)
    models = Models([source(), shifted(background=1.2)])
    other = (
        cube.assign(background=1.2 * cube.background) if not on_off else cube.assign(acceptance=1.2 * cube.acceptance)
    )
    np.testing.assert_allclose(npred_background(cube, models), npred_background(other, source()), rtol=1e-12)
    np.testing.assert_allclose(npred(cube, models), npred(other, source()), rtol=1e-12)
    likelihood, plain = compile_likelihood(cube, models), compile_likelihood(other, source())
    values = models.parameters.values
    assert likelihood.datasets[0].deviance(values) == pytest.approx(plain.deviance(values[:3]), rel=1e-12)
    np.testing.assert_allclose(likelihood.datasets[0].npred(values), plain.datasets[0].npred(values[:3]), rtol=1e-12)
    sums = [
        sum(d.stat_per_label(v).values())
        for d, v in ((likelihood.datasets[0], values), (plain.datasets[0], values[:3]))
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)


# ---------------------------------------------------------------------- maps
@pytest.mark.parametrize("model", [point(), gauss()])
@pytest.mark.parametrize("given", [{"energy_scale": 1.15}, {"aeff": 0.8}, {"energy_scale": 0.9, "aeff": 1.1}])
def test_maps_with_shifted_energies(model, given):
    """A power law stays one: a shifted scale is another amplitude."""
    cube, models = map_cube(), Models([model, shifted(**given)])
    index = model.spectral.index.value
    factor = given.get("aeff", 1.0) * given.get("energy_scale", 1.0) ** (index - 1.0)
    wanted = factor * npred_signal(cube, model).values
    np.testing.assert_allclose(npred_signal(cube, models), wanted, rtol=1e-10, atol=1e-12)
    dataset = compile_likelihood(cube, models).datasets[0]
    np.testing.assert_allclose(
        dataset.npred_signal(models.parameters.values), wanted[dataset.kept], rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("width", [0.8, 1.0, 1.25])
@pytest.mark.parametrize(("model", "size"), [(point(), (0.0, 0.0)), (gauss(), (0.15, 0.15))])
def test_a_wider_psf_is_a_wider_gaussian(model, size, width):
    sigma = np.array([0.1, 0.09, 0.08, 0.06])
    cube, models = map_cube(sigma=sigma), Models([model, shifted(psf=width)])
    wanted = expected(map_cube(sigma=width * sigma), model, size)
    found = npred_signal(cube, models).values
    # the function is cut off where it holds at least 99.9 %, at an edge of the table as it is stretched
    limit = 2e-3 * wanted.max()
    assert np.abs(npred_signal(map_cube(sigma=width * sigma), model).values - wanted).max() < limit
    assert np.abs(found - wanted).max() < limit
    dataset = compile_likelihood(cube, models).datasets[0]
    np.testing.assert_allclose(
        dataset.npred_signal(models.parameters.values), found[dataset.kept], rtol=1e-3, atol=2e-4 * wanted.max()
    )


def test_lazy_maps_reach_as_far_as_a_wider_psf():
    cube, models = map_cube(), Models([point(), gauss(), shifted(psf=1.3, energy_scale=1.1, background=1.1)])
    lazy = npred(cube.chunk({"y": 10, "x": 15}), models)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_allclose(lazy, npred(cube, models), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("models", [[background()], []])
def test_background_of_a_map(models):
    cube = map_cube()
    own = [point(), *models]
    for model in models:
        model.spectral.norm.value = 1.3
    both = Models([*own, shifted(background=0.9)])
    np.testing.assert_allclose(npred_background(cube, both), 0.9 * npred_background(cube, own), rtol=1e-12)
    cube["counts"] = np.floor(1.1 * npred(cube, both))
    likelihood = compile_likelihood(cube, both)
    dataset, values = likelihood.datasets[0], both.parameters.values
    wanted = npred(cube, both).values
    counts = cube.counts.values
    stat = 2 * np.sum(wanted - counts * np.log(wanted))
    assert dataset.stat(values) == pytest.approx(stat, rel=1e-6)


def test_on_off_maps():
    cube = map_cube().drop_vars("background")
    rng = np.random.default_rng(1)
    dims, shape = cube.counts.dims, cube.counts.shape
    for name, value in {"counts": rng.poisson(3.0, shape), "counts_off": rng.poisson(30.0, shape)}.items():
        cube[name] = dims, value.astype(float)
    cube["acceptance"], cube["acceptance_off"] = (dims, np.ones(shape)), (dims, np.full(shape, 10.0))
    models = Models([point(), shifted(background=1.1)])
    plain = compile_likelihood(cube.assign(acceptance=1.1 * cube.acceptance), point())
    values = models.parameters.values
    dataset = compile_likelihood(cube, models).datasets[0]
    assert dataset.deviance(values) == pytest.approx(plain.deviance(values[:5]), rel=1e-12)
    other = npred_background(cube.assign(acceptance=1.1 * cube.acceptance), point())
    np.testing.assert_allclose(npred_background(cube, models), other, rtol=1e-12)


def cases():
    on_off = map_cube().drop_vars("background")
    for name, value in {"counts": 3.0, "counts_off": 31.0, "acceptance": 1.0, "acceptance_off": 10.0}.items():
        on_off[name] = on_off.counts.dims, np.full(on_off.counts.shape, value)
    counts = map_cube()
    counts["counts"] = np.floor(npred(counts, [point(), gauss()]))
    return {
        "on-off spectra": (spectrum_cube(), [source()]),
        "spectra": (spectrum_cube(on_off=False), [source()]),
        "map": (counts, [point(), gauss(), background()]),
        "map without background model": (counts, [point(), gauss()]),
        "on-off map": (on_off, [point()]),
    }


@pytest.mark.parametrize("case", list(cases()))
def test_derivatives_are_those_of_the_statistic(case):
    cube, models = cases()[case]
    given = {"energy_scale": 1.07, "aeff": 0.95, "aeff_tilt": 0.06, "background": 1.04, "psf": 1.05}
    if "spectra" in case:
        given.pop("psf")
    models = Models([*models, shifted(**given)])
    likelihood = pickle.loads(pickle.dumps(compile_likelihood(cube, models)))
    values = models.parameters.values
    free = [i for i, p in enumerate(models.parameters) if not p.frozen]
    size = np.where(values == 0, 0.1, np.abs(values))
    size = np.where([n.split(".")[1] in ("lon_0", "lat_0") for n in models.parameters.names], 0.1, size)
    slope = likelihood.gradient(values, {i: 1e-4 * size[i] for i in free})
    for i in free:
        ends = [likelihood.deviance(values + side * 1e-4 * size[i] * (np.arange(values.size) == i)) for side in (1, -1)]
        wanted = (ends[0] - ends[1]) / (2e-4 * size[i])
        scale = max(abs(wanted), 1e-2 * abs(likelihood.deviance(values)) / size[i])
        assert slope[i] == pytest.approx(wanted, abs=2e-4 * scale), models.parameters.names[i]


def test_a_linked_factor():
    """An energy scale that two models share, with values in each other's places, has one derivative."""
    cube = spectrum_cube()
    shared = Parameter("energy_scale", 1.05, prior=xg.GaussianPrior(1, 0.1))
    models = Models([source(), Systematics(energy_scale=shared, name="a"), Systematics(energy_scale=shared, name="b")])
    values = models.parameters.values
    likelihood = compile_likelihood(cube, models)
    dataset = likelihood.datasets[0]
    wanted = brute_force(arrays(), energy_scale=1.05**2)[dataset.kept]
    np.testing.assert_allclose(dataset.npred_signal(values), wanted, rtol=2e-6)
    place = models.parameters.index_of(shared)
    ends = [likelihood.deviance(values + side * 1e-4 * (np.arange(values.size) == place)) for side in (1, -1)]
    slope = likelihood.gradient(values, {place: 1e-5})
    assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5)


# ---------------------------------------------------------------------- flux points
@pytest.mark.parametrize("sed_type", ["dnde", "e2dnde", "flux", "eflux"])
def test_flux_points(sed_type):
    """Points of an instrument with a shifted scale: power laws with the amplitude that it would find."""
    axis = xg.energy_axis("1 TeV", "100 TeV", nbin=4)
    dims = {name: ("energy", np.full(4, value)) for name, value in ((sed_type, 1e-12), (f"{sed_type}_err", 1e-13))}
    points = xr.Dataset(dims, axis.coords)
    models = Models([source(), shifted(energy_scale=1.2, aeff=0.9)])
    plain = compile_likelihood(points, source(amplitude=4e-12 * 0.9 * 1.2**1.3))
    moved = compile_likelihood(points, models)
    values = models.parameters.values
    wanted = plain.datasets[0].npred_signal(source(amplitude=4e-12 * 0.9 * 1.2**1.3).parameters.values)
    np.testing.assert_allclose(moved.datasets[0].npred_signal(values), wanted, rtol=1e-9)
    np.testing.assert_allclose(flux_pred(points, models), wanted, rtol=1e-9)


def test_figures_and_tables_know_of_systematic_errors():
    cube = spectrum_cube()
    result = fit(cube, [source(), Systematics(energy_scale=0.1, background=0.02, name="hess")])
    plot_spectrum(cube, result)
    plt.close("all")
    assert "hess.energy_scale" in repr(result)
    assert "nuisance" in set(result.models.to_table()["type"])


@pytest.mark.parametrize("on_off", [True, False])
@pytest.mark.parametrize("reoptimize", [True, False])
def test_bands_know_of_systematic_errors(on_off, reoptimize):
    """Flux points with shifted responses are those of a cube whose responses are right."""
    cube = spectrum_cube(on_off=on_off)
    models = Models([source(), shifted(aeff=0.5, energy_scale=1.05, background=1.1)])
    models["syst"].freeze()
    name = "acceptance" if on_off else "background"
    other = cube.assign({name: 1.1 * cube[name]})
    edges = cube.energy_min.values[::3] * u.TeV
    found = xg.flux_points(cube, models, energy_edges=edges, reoptimize=reoptimize)
    wanted = xg.flux_points(other, source(amplitude=4e-12 * 0.5 * 1.05**1.3), energy_edges=edges, reoptimize=reoptimize)
    for key in ("norm", "norm_err", "stat", "npred", "npred_excess"):
        np.testing.assert_allclose(found[key], wanted[key], rtol=2e-4, err_msg=key)


# ---------------------------------------------------------------------- fits
def test_error_of_an_effective_area():
    """Amplitude and area are one product: their variances add, relative to the values."""
    cube = spectrum_cube()
    models = Models([source(), Systematics(aeff=0.15, name="hess")])
    plain, both = (fit(cube, m, backend="scipy") for m in (source(), models))
    statistical, whole = (r.free["crab.amplitude"] for r in (plain, both))
    assert whole.value == pytest.approx(statistical.value, rel=1e-6)
    wanted = np.hypot(statistical.error, 0.15 * statistical.value)
    assert whole.error == pytest.approx(wanted, rel=1e-5)
    assert both.free["hess.aeff"].error == pytest.approx(0.15, rel=1e-5)
    assert both.free["crab.index"].error == pytest.approx(plain.free["crab.index"].error, rel=1e-5)
    assert "hess.aeff" in both.problem.names
    assert list(both.to_table()["name"]).count("energy_scale") == 1


def test_errors_of_an_energy_scale():
    """A power law seen through a scale s has the amplitude A s^(index - 1)."""
    cube = spectrum_cube(n_obs=6)
    models = Models([source(), Systematics(energy_scale=0.1, name="hess")])
    plain, both = (fit(cube, m, backend="scipy") for m in (source(), models))
    amplitude, index = plain.free["crab.amplitude"], plain.free["crab.index"].value
    wanted = np.hypot(amplitude.error, 0.1 * (index - 1) * amplitude.value)
    assert both.free["crab.amplitude"].error == pytest.approx(wanted, rel=1e-4)
    assert both.free["crab.index"].error == pytest.approx(plain.free["crab.index"].error, rel=1e-4)


def test_psf_of_a_map_is_found():
    cube, truth = map_cube(sigma=0.12), map_cube(sigma=0.12 * 1.1)
    model = point(amplitude=3e-10)
    cube["counts"] = npred(truth, model)
    model.spatial.freeze()
    found = fit(cube, [model, Systematics(psf=xg.UniformPrior(0.5, 2.0), name="hess")])
    assert found.success
    assert found.free["hess.psf"].value == pytest.approx(1.1, rel=2e-3)
    assert found.free["point.amplitude"].value == pytest.approx(3e-10, rel=2e-3)


def pulls(with_systematics, number, seed):
    """Pulls of amplitude and index in data whose energy scale is off by 10 %, each time by another amount."""
    rng = np.random.default_rng(seed)
    cube, result = spectrum_cube(n_obs=8), []
    values = arrays(n_obs=8)
    for _ in range(number):
        signal = brute_force_fast(values, 1.0 + 0.1 * rng.normal())
        cube["counts"] = ("obs", "energy"), rng.poisson(signal + values["background"]).astype(float)
        cube["counts_off"] = ("obs", "energy"), rng.poisson(10.0 * values["background"]).astype(float)
        models = Models([source(), Systematics(energy_scale=0.1, name="hess")] if with_systematics else [source()])
        free = fit(cube.sum("obs").pipe(stacked, cube), models).free
        # an error of the scale multiplies the amplitude: its logarithm is what is normal
        amplitude, index = free["crab.amplitude"], free["crab.index"]
        result.append(
            [(index.value - 2.3) / index.error, np.log(amplitude.value / 4e-12) / (amplitude.error / amplitude.value)]
        )
    return np.array(result)


def stacked(sums, cube):
    """All runs as one: their responses are the same but for a factor."""
    one = cube.isel(obs=0, drop=True)
    return one.assign(counts=sums.counts, counts_off=sums.counts_off, exposure=(
        one.exposure.dims, sums.exposure.values, cube.exposure.attrs))  # fmt: skip


def brute_force_fast(values, scale, index=2.3, amplitude=4e-12):
    low, high = LOW / scale, HIGH / scale
    flux = amplitude * (low ** (1 - index) - high ** (1 - index)) / (index - 1)
    return np.einsum("ot,t,ote->oe", values["exposure"], flux, values["edisp"])


def test_pulls_with_a_shifted_energy_scale():
    """Errors that know of the scale hold the truth; those that do not are too small for the amplitude."""
    number = 150
    known, unknown = pulls(True, number, 1), pulls(False, number, 1)
    # mean within 0 +- 3 / sqrt(n), width within 1 +- 3 / sqrt(2 n)
    assert np.all(np.abs(known.mean(axis=0)) < 3.0 / np.sqrt(number))
    assert np.all(np.abs(known.std(axis=0) - 1.0) < 3.0 / np.sqrt(2 * number))
    assert unknown[:, 1].std() > 1.5


# ---------------------------------------------------------------------- words
def test_errors_that_change_nothing_are_told():
    cube = spectrum_cube()
    with pytest.warns(UserWarning, match=r"\['psf'\] of 'hess' change nothing in all datasets"):
        compile_likelihood(cube, [source(), Systematics(psf=0.1, aeff=0.1, name="hess")])
    with pytest.warns(UserWarning, match=r"\['aeff'\] of 'hess' change nothing in \['hess'\]"):
        compile_likelihood(cube, [source(), Systematics(aeff=0.1, name="hess", datasets_names="hess")])
    with pytest.warns(UserWarning, match=r"\['background'\] of 'hess' change nothing"):
        compile_likelihood(
            spectrum_cube(on_off=False).drop_vars("background"), [source(), Systematics(background=0.1, name="hess")]
        )


def test_impossible_factors_are_refused_by_the_minimiser():
    """A scale of zero or less has no meaning: the statistic is not a number there."""
    models = Models([source(), shifted(energy_scale=1.0)])
    likelihood = compile_likelihood(spectrum_cube(), models)
    values = models.parameters.values
    values[models.parameters.names.index("syst.energy_scale")] = -0.5
    assert not np.isfinite(likelihood.deviance(values))
    cube, models = map_cube(), Models([point(), shifted(psf=1.0)])
    values = models.parameters.values
    values[models.parameters.names.index("syst.psf")] = 0.0
    assert not np.isfinite(compile_likelihood(cube, models).deviance(values))
