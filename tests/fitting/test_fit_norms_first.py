"""Fits on maps that start with norms far off: norms come first, so that sources stay where their photons are."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_maps import background, map_cube, point

import xgamma as xg
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.minimize import Options, minimize
from xgamma.fitting.norms_first import norms_first
from xgamma.fitting.problem import problem_of

#: Starts: offset along longitude and latitude in deg, factors on the point, the background and the diffuse emission.
#: From the first three MINUIT would run away, from the fourth and fifth L-BFGS-B.
STARTS = [
    (0.07, 0.185, 2.44, 0.16, 0.16),
    (0.022, 0.162, 4.56, 0.99, 2.43),
    (-0.114, 0.102, 0.14, 4.56, 8.43),
    (-0.15, 0.17, 0.2, 2.5, 0.1),
    (0.012, 0.004, 8.0, 0.3, 3.0),
    (0.2, -0.2, 1.0, 1.0, 1.0),
]


def diffuse(amplitude=2e-9):
    spectrum = xg.PowerLawSpectralModel(index=2.4, amplitude=f"{amplitude} cm-2 s-1 TeV-1")
    # in two bins of energy the index would say what the norm of the background says
    spectrum.index.frozen = True
    return xg.SkyModel(spectrum, xg.ConstantSpatialModel(value="1 sr-1"), name="diffuse")


@pytest.fixture(scope="module")
def cube():
    found = map_cube(background=3.0)
    mean = found.gamma.npred([point(), background(), diffuse()])
    return found.assign(counts=found.counts.copy(data=np.random.default_rng(5).poisson(mean.values)))


@pytest.fixture(scope="module")
def best(cube):
    return cube.gamma.fit([point(), background(), diffuse()])


def started(dx, dy, source, norm, glow):
    models = [point(30.013 + dx, 0.021 + dy, 1e-11 * source), background(), diffuse(2e-9 * glow)]
    models[1].parameters["norm"].value = norm
    return xg.Models(models)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_the_same_minimum_from_afar(cube, best, start, backend):
    result = cube.gamma.fit(started(*start), backend=backend)
    assert result.success
    assert result.total_stat == pytest.approx(best.total_stat, abs=1e-2)
    errors = [p.error for p in best.free]
    assert np.abs((result.free.values - best.free.values) / errors).max() < 0.05


@pytest.mark.parametrize("start", STARTS)
def test_norms_fit_best_where_the_source_starts(cube, start):
    models = started(*start)
    likelihood = compile_likelihood(cube, models)
    problem = problem_of(likelihood, models.parameters)
    moved, calls = norms_first(problem, models, Options())
    names = ("point.amplitude", "bkg.norm", "diffuse.amplitude")
    others = {n: x for n, x in zip(problem.names, problem.start * problem.scale, strict=True) if n not in names}
    assert calls > 0
    # what does not scale stays
    now = dict(zip(moved.names, moved.start * moved.scale, strict=True))
    assert {n: now[n] for n in others} == pytest.approx(others, rel=1e-15)
    least = minimize(problem.fixed(**others), Options(tol=1e-5)).deviance
    begin = likelihood.deviance(problem.values(problem.start))
    amplitude = dict(zip(problem.names, problem.start * problem.scale, strict=True))["point.amplitude"]
    if now["point.amplitude"] > 0.5001 * amplitude:
        assert least <= likelihood.deviance(moved.values(moved.start)) < least + 2.0 + 1e-3 * (begin - least)
    else:
        # all but what keeps it in sight of its photons
        held = problem.fixed(**others, **{"point.amplitude": now["point.amplitude"]})
        least = minimize(held, Options(tol=1e-5)).deviance
        assert likelihood.deviance(moved.values(moved.start)) < least + 2.0 + 1e-3 * (begin - least)


@pytest.mark.parametrize("start", STARTS[:3])
def test_all_at_once_the_source_leaves_its_photons(cube, best, start):
    models = started(*start)
    problem = problem_of(compile_likelihood(cube, models), models.parameters)
    lost = minimize(problem, Options())
    assert lost.deviance > best.total_stat - compile_likelihood(cube, models).constant + 100
    assert minimize(norms_first(problem, models, Options())[0], Options()).success


def test_nothing_to_do(cube):
    fixed = started(*STARTS[0])
    fixed["point"].spatial.freeze()
    likelihood = compile_likelihood(cube, fixed)
    problem = problem_of(likelihood, fixed.parameters)
    assert norms_first(problem, fixed, Options()) == (problem, 0)
    held = started(*STARTS[0])
    for parameter in held.parameters:
        parameter.frozen = parameter.name in ("norm", "amplitude")
    problem = problem_of(likelihood, held.parameters)
    assert norms_first(problem, held, Options()) == (problem, 0)


def test_a_negative_norm_stays_negative(cube):
    models = started(*STARTS[0])
    models["point"].spectral.amplitude.value *= -1
    problem = problem_of(compile_likelihood(cube, models), models.parameters)
    moved, _ = norms_first(problem, models, Options())
    i = problem.names.index("point.amplitude")
    assert moved.start[i] <= 0.5 * problem.start[i] * (1 - 1e-9)


def test_max_calls_counts_both_parts(cube):
    with pytest.warns(UserWarning, match="raise max_calls"):
        result = cube.gamma.fit(started(*STARTS[1]), max_calls=30, covariance=None)
    # MINUIT looks at the number between its steps
    assert result.n_evaluations < 160
    assert not result.success


@pytest.mark.real_data
def test_the_galactic_centre_from_the_corner_of_four_pixels(gammapy_data):
    """The whole cube: beyond the template's edge the isotropic emission, 18 times that of the start, fills up."""
    folder = gammapy_data / "fermi-3fhl-gc"
    parts = [folder / f"fermi-3fhl-gc-{name}-cube.fits.gz" for name in ("counts", "exposure", "psf")]
    cube = xg.open_fermi(*parts, edisp="identity").load()
    path = gammapy_data / "fermi_3fhl" / "iso_P8R2_SOURCE_V6_v06.txt"
    template = xg.TemplateSpatialModel(folder / "gll_iem_v06_gc.fits.gz", normalize=False)
    spectrum = xg.PowerLawSpectralModel(index=2.7, amplitude="5.8e-10 cm-2 s-1 TeV-1", reference="100 GeV")
    for lon, lat in ((0.0, 0.0), (0.025, 0.025)):
        place = xg.PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", frame="galactic")
        source = xg.SkyModel(spectrum, place, name="source")
        isotropic = xg.create_fermi_isotropic_diffuse_model(path, name="isotropic")
        diffuse = xg.SkyModel(xg.PowerLawNormSpectralModel(), template, name="diffuse")
        result = cube.gamma.fit([source, diffuse, isotropic])
        assert result.success
        found = result.models["source"]
        assert found.spatial.lon_0.value == pytest.approx(-0.0469, abs=5e-4)
        assert found.spatial.lat_0.value == pytest.approx(-0.0488, abs=5e-4)
        assert found.spectral.amplitude.value == pytest.approx(5.0e-10, rel=0.02)
        assert result.n_evaluations < 400
