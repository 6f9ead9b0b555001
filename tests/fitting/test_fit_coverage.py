"""Intervals hold the truth as often as they say, on simulated spectra."""

import numpy as np
import pytest
from scipy.stats import binom
from simulated_spectra import arrays, cube

from xgamma.fitting.fit import fit
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel

INDEX, AMPLITUDE = 2.3, 2e-11
#: A fair set fails a check by chance less often than this.
CHANCE = 1e-4


def simulations(number, on_off, seed=20):
    """Cubes of one run that differ by their counts alone."""
    rng = np.random.default_rng(seed)
    data = cube(on_off, n_obs=1, amplitude=AMPLITUDE, index=INDEX, asimov=True)
    off = arrays(n_obs=1, amplitude=AMPLITUDE, index=INDEX, asimov=True)
    for _ in range(number):
        drawn = data.copy()
        for name in ("counts", "counts_off") if on_off else ("counts",):
            drawn[name] = data[name].dims, rng.poisson(off[name]).astype(float), {"units": ""}
        yield drawn


def run(number, on_off, minos):
    """Pulls, how often intervals of 1 and upper limits of 95 % hold the truth, and by MINOS."""
    truth = np.array([INDEX, AMPLITUDE])
    start = SkyModel(PowerLawSpectralModel(index=2.0, amplitude="1e-11 cm-2 s-1 TeV-1"), name="source")
    pulls, profile, limit = [], [], []
    for data in simulations(number, on_off):
        result = fit(data, start)
        assert result.success
        best = np.array([p.value for p in result.free])
        pulls.append((best - truth) / [p.error for p in result.free])
        if minos:
            ends = [result.confidence(n).interval for n in result.free.names]
            profile.append([low <= t <= high for (low, high), t in zip(ends, truth, strict=True)])
            # one-sided 95 %: the profile has risen by 1.645 squared
            limit.append(
                [result.confidence(n, 1.644854).interval[1] >= t for n, t in zip(result.free.names, truth, strict=True)]
            )
    return np.array(pulls), np.array(profile), np.array(limit)


def check(pulls, profile, limit):
    number = len(pulls)
    inside = (np.abs(pulls) < 1).sum(axis=0)
    low, high = binom.interval(1 - CHANCE, number, 0.682689)
    assert np.all((inside >= low) & (inside <= high)), inside / number
    # means within four of their errors; the likelihood is no exact parabola, which biases by a few hundredths
    assert np.all(np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(number) + 0.05), pulls.mean(axis=0)
    assert np.all(np.abs(pulls.std(axis=0) - 1) < 4 / np.sqrt(2 * number)), pulls.std(axis=0)
    if len(profile):
        held = profile.sum(axis=0)
        assert np.all((held >= low) & (held <= high)), held / number
        low, high = binom.interval(1 - CHANCE, number, 0.95)
        held = limit.sum(axis=0)
        assert np.all((held >= low) & (held <= high)), held / number


@pytest.mark.parametrize("on_off", [True, False])
def test_coverage_of_a_few(on_off):
    check(*run(150, on_off, minos=False))


@pytest.mark.slow
@pytest.mark.parametrize("on_off", [True, False])
def test_coverage_of_two_thousand(on_off):
    check(*run(2000, on_off, minos=True))
