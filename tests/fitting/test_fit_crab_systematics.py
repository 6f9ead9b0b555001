"""The published joint fit of the Crab nebula with an energy scale for each instrument (arXiv:1903.06621)."""

import numpy as np
import pytest

import xgamma as xg
from xgamma.fitting.compare import likelihood_ratio
from xgamma.fitting.fit import fit
from xgamma.models.systematics import Systematics

pytestmark = pytest.mark.real_data

#: Ranges of energy in TeV that the paper fits.
RANGES = {
    "fermi": (0.03, 2.0),
    "magic": (0.08, 30.0),
    "veritas": (0.15, 30.0),
    "fact": (0.4, 30.0),
    "hess": (0.66, 30.0),
}
#: Widths of the priors on the energy scales.
WIDTHS = {"fermi": 0.05, "magic": 0.15, "veritas": 0.15, "fact": 0.15, "hess": 0.15}
#: Amplitude (1e-11 cm-2 s-1 TeV-1 at 1 TeV), index and curvature (log10), and their errors, as published.
JOINT = np.array([[3.85, 2.51, 0.24], [0.11, 0.03, 0.02]])
WITH_SCALES = np.array([[3.88, 2.51, 0.24], [0.35, 0.04, 0.03]])


@pytest.fixture(scope="module")
def cubes(gammapy_data):
    found = {}
    for name, (low, high) in RANGES.items():
        folder = gammapy_data / "joint-crab" / "spectra" / name
        cube = xg.read_ogip(sorted(folder.glob("pha*.fits"))).load()
        inside = (cube.energy_min >= low * (1 - 1e-6)) & (cube.energy_max <= high * (1 + 1e-6))
        found[name] = cube.assign(mask_fit=inside.drop_vars(["energy_min", "energy_max"]))
    return found


def crab():
    spectral = xg.LogParabolaSpectralModel.from_log10(
        amplitude="3.8e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.5, beta=0.2
    )
    return xg.SkyModel(spectral, name="crab")


def scales():
    return [
        Systematics(energy_scale=width, name=f"{name}-scale", datasets_names=[name]) for name, width in WIDTHS.items()
    ]


def numbers(result):
    """Values and errors in the units of the paper."""
    chosen = [result.free[f"crab.{name}"] for name in ("amplitude", "alpha", "beta")]
    unit = np.array([1e11, 1.0, np.log(10.0)])
    return np.array([[p.value for p in chosen], [p.error for p in chosen]]) * unit


def test_joint_fit(cubes):
    # the paper rounds to two digits
    assert np.all(np.abs(numbers(fit(cubes, crab())) - JOINT) < 0.0065)


@pytest.mark.parametrize("backend", ["minuit", "scipy"])
def test_joint_fit_with_energy_scales(cubes, backend):
    result = fit(cubes, [crab(), *scales()], backend=backend)
    assert result.success
    assert np.all(np.abs(numbers(result) - WITH_SCALES) < 0.0051)
    found = {name: result.free[f"{name}-scale.energy_scale"] for name in WIDTHS}
    for name, width in WIDTHS.items():
        # no instrument is further off than it says, and the data add to what the priors know
        assert abs(found[name].value - 1.0) < width
        assert found[name].error < width


def test_prior_constants_do_not_make_a_test_statistic(cubes):
    """Nested models have the same priors: the null hypothesis fixes the scales at 1."""
    models = xg.Models([crab(), *scales()])
    alternative = fit(cubes, models)
    models.freeze("nuisance")
    null = fit(cubes, models)
    test = likelihood_ratio(null, alternative)
    assert test.dof == 5
    rise = sum(
        ((alternative.free[f"{name}-scale.energy_scale"].value - 1.0) / width) ** 2 for name, width in WIDTHS.items()
    )
    fall = sum(null.stat_per_dataset.values()) - sum(alternative.stat_per_dataset.values())
    assert test.ts == pytest.approx(fall - rise, abs=1e-9)
    # the instruments agree within what they say
    assert 0 < test.sigma < 3.5
    assert alternative.penalized_stat == pytest.approx(sum(alternative.stat_per_dataset.values()) + rise, abs=1e-9)
    # without models of systematic errors the null hypothesis is the same
    assert likelihood_ratio(fit(cubes, crab()), alternative).ts == pytest.approx(test.ts, abs=1e-6)
