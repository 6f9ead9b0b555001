"""How often intervals of fits and flux points hold the truth, on simulated spectra: a table.

Run from the top of the repository with ``PYTHONPATH=tests/fitting python tests/benchmarks/works/coverage.py 2000``.
"""

import sys

import astropy.units as u
import numpy as np
import xarray as xr
from scipy.stats import binom
from simulated_spectra import ENERGY, arrays, cube

import xgamma as xg

INDEX, AMPLITUDE = 2.3, 2e-11
EDGES = ENERGY[1::3]


def model(index, amplitude):
    spectral = xg.PowerLawSpectralModel(index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1")
    return xg.SkyModel(spectral, name="source")


def draw(number, seed=20):
    """Runs drawn side by side from the same expectation, on-off."""
    rng = np.random.default_rng(seed)
    mean = arrays(n_obs=1, amplitude=AMPLITUDE, index=INDEX, asimov=True)
    one = cube(True, n_obs=1, amplitude=AMPLITUDE, index=INDEX, asimov=True)
    for _ in range(number):
        drawn = one.copy()
        for name in ("counts", "counts_off"):
            drawn[name] = one[name].dims, rng.poisson(mean[name]).astype(float), {"units": ""}
        yield drawn


def fits(cubes):
    """Pulls, and which intervals hold the truth: of one standard deviation by error and profile, limits of 95 %."""
    truth, start = np.array([INDEX, AMPLITUDE]), model(2.0, 1e-11)
    rows = []
    for data in cubes:
        result = data.gamma.fit(start)
        best, error = np.array([[p.value, p.error] for p in result.free]).T
        one = np.array([result.confidence(n).interval for n in result.free.names])
        limit = np.array([result.confidence(n, 1.644854).interval[1] for n in result.free.names])
        inside = (one[:, 0] <= truth) & (truth <= one[:, 1])
        rows.append([(best - truth) / error, np.abs(best - truth) < error, inside, limit >= truth])
    return np.array(rows, float)


def points(cubes):
    """The same for norms of the true model in bands: one standard deviation by profile, limits of 95 %."""
    # regions have points of their own: all simulations in one call
    many = xr.concat([c.squeeze("obs", drop=True) for c in cubes], "region")
    many = many.assign_coords(region=[f"{i}" for i in range(many.sizes["region"])])
    found = many.gamma.flux_points(
        model(INDEX, AMPLITUDE), energy_edges=EDGES * u.TeV, n_sigma_ul=1.644854, selection=["errn-errp", "ul"]
    )
    low, high = found.norm - found.norm_errn, found.norm + found.norm_errp
    inside = (low <= 1) & ((high >= 1) | np.isnan(high))
    pulls = (found.norm - 1) / xr.where(found.norm < 1, found.norm_errp, found.norm_errn)
    return found, inside.values, (found.norm_ul >= 1).values, pulls.values


def line(name, held, expected):
    number = len(held)
    low, high = binom.interval(0.95, number, expected)
    share, low, high = 100 * np.mean(held), 100 * low / number, 100 * high / number
    print(f"  {name:20} {share:6.2f} %   (95 % of fair sets: {low:.2f} to {high:.2f})")


def main(number):
    cubes = list(draw(number))
    rows = fits(cubes)
    print(f"{number} spectra, {cubes[0].counts.sum().item():.0f} counts in the first")
    for i, name in enumerate(("index", "amplitude")):
        pulls, error, profile, limit = rows[:, :, i].T
        print(f"{name}: pulls {pulls.mean():+.3f} +- {pulls.std():.3f}")
        line("value +- error", error, 0.682689)
        line("1 sigma by profile", profile, 0.682689)
        line("95 % upper limit", limit, 0.95)
    found, inside, limit, pulls = points(cubes)
    for k, (low, high) in enumerate(zip(found.energy_min.values, found.energy_max.values, strict=True)):
        counts = found.counts.isel(energy=k).mean().item()
        print(f"flux point {low:.2f} - {high:.2f} TeV, {counts:.1f} counts: "
              f"pulls {pulls[:, k].mean():+.3f} +- {pulls[:, k].std():.3f}")  # fmt: skip
        line("1 sigma by profile", inside[:, k], 0.682689)
        line("95 % upper limit", limit[:, k], 0.95)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
