"""Spectra of the Crab nebula with reflected regions by xgamma: CPU seconds of each step and peak memory, as JSON."""

import json
import resource
import sys
import time

import astropy.units as u
import distributed  # noqa: F401  (dask imports it at the first compute: not a part of the work)
import scipy.special  # noqa: F401
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xgamma as xg


def main() -> None:
    seconds = {}
    runs = xg.open_store("$GAMMAPY_DATA/hess-dl3-dr1").select(obs_id=[23523, 23526, 23559, 23592])
    grid = xg.region_grid(
        CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.11 * u.deg),
        energy=xg.energy_axis("0.1 TeV", "40 TeV", nbin=10, per_decade=True),
        energy_true=xg.energy_axis("0.05 TeV", "100 TeV", nbin=20, per_decade=True),
    )
    exclusion = CircleSkyRegion(SkyCoord(183.604, -8.708, unit="deg", frame="galactic"), 0.5 * u.deg)
    options = {"safe_mask": "aeff-max", "containment_correction": True, "stack": False}
    # modules are loaded when they are first asked for
    _ = xg.reduce, xg.ReflectedRegions
    for step in ("first", "again"):
        start = time.process_time()
        background = xg.ReflectedRegions(exclusion=exclusion)
        spectra = xg.reduce(runs, grid, background=background, **options).load(scheduler="sync")
        seconds[step] = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = [float(spectra[name].where(spectra.mask_safe).sum()) for name in ("counts", "counts_off")]
    json.dump({"seconds": seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
