"""Pulls of fits of simulated maps, two sources on a background: a table.

Run from the top of the repository with ``PYTHONPATH=tests/fitting python tests/benchmarks/works/map_pulls.py 200``.
"""

import sys

import numpy as np
from simulated_maps import background, gauss, map_cube, point

import xgamma as xg
from xgamma.simulate.counts import simulate_counts


def main(number: int) -> None:
    """Simulate and fit."""
    truth = xg.Models([point(amplitude=2e-11), gauss(29.6, -0.2, 0.15), background()])
    cube = map_cube(n_energy=3, background=1.0)
    names = truth.parameters.free.names
    true = truth.parameters.free.values
    pulls = []
    for seed in range(number):
        result = simulate_counts(cube, truth, seed=seed).gamma.fit(truth)
        if result.success:
            errors = np.array([p.error for p in result.free])
            pulls.append((result.free.values - true) / errors)
    table = np.array(pulls)
    print(f"{len(table)} of {number} fits converged")
    print(f"{'parameter':18} {'mean':>7} {'width':>7}   (expected 0 and 1 within {len(table)**-0.5:.2f}, "
          f"{(2 * len(table))**-0.5:.2f})")  # fmt: skip
    for name, row in zip(names, table.T, strict=True):
        print(f"{name:18} {row.mean():7.2f} {row.std():7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
