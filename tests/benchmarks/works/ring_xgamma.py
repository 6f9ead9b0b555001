"""Ring background and significance map of MSH 15-52 with xgamma: seconds of each step and peak memory, as JSON."""

import json
import resource
import sys
import time

import astropy.units as u
import distributed  # noqa: F401  (dask imports it at the first compute: not a part of the work)
import regions
from astropy.coordinates import SkyCoord

import xgamma as xg


def main(selection: str) -> None:
    target = SkyCoord(228.32, -59.08, unit="deg")
    seconds = {}
    store = xg.open_store("$GAMMAPY_DATA/hess-dl3-dr1")
    observations = store.select(cone=(target, "2.5 deg"))
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=10)
    grid = xg.sky_grid(target, "3 deg", "0.02 deg", energy=energy, energy_true=energy)
    options = {"offset_max": "2.5 deg", "safe_mask": "aeff-default", "stack": False}
    if selection == "all":
        options["selection"] = "all"

    start = time.perf_counter()
    runs = xg.reduce(observations, grid, **options)
    seconds["graph"] = time.perf_counter() - start
    start = time.perf_counter()
    runs = runs.compute()
    seconds["reduce"] = time.perf_counter() - start

    start = time.perf_counter()
    image = runs.gamma.to_image()
    exclusion = ~image.gamma.region_mask(regions.CircleSkyRegion(target, 0.4 * u.deg))
    onoff = image.gamma.ring_background(r_in="0.5 deg", width="0.3 deg", exclusion=exclusion)
    stacked = onoff.gamma.stack("obs")
    seconds["ring"] = time.perf_counter() - start

    start = time.perf_counter()
    maps = [stacked.gamma.excess_map(radius=radius) for radius in ("0.04 deg", "0.1 deg")]
    seconds["excess"] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = float(maps[1].sqrt_ts.max())
    json.dump({"runs": runs.sizes["obs"], "seconds": seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
