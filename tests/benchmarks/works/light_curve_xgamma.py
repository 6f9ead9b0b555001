"""Light curves of the flare of PKS 2155-304 with xgamma, from raw runs: seconds and peak memory, as JSON."""

import importlib
import json
import resource
import sys
import time
import warnings

import astropy.units as u
from astropy.time import Time

import xgamma as xg
from xgamma.estimators.light_curve import split_runs

#: Libraries that are loaded before the clock starts, on both sides.
for name in ("distributed", "iminuit", "regions", "scipy.optimize", "scipy.stats"):
    importlib.import_module(name)
for name in ("reduce", "light_curve", "SkyModel", "PowerLawSpectralModel", "ReflectedRegions"):
    getattr(xg, name)

RUNS = list(range(33787, 33802))
START = Time("2006-07-29T20:30")
INTERVALS = [(START + i * 10 * u.min, START + (i + 1) * 10 * u.min) for i in range(50)]


class Clock:
    """Seconds of steps, by the wall and of all cores."""

    def __init__(self):
        self.seconds = {}

    def __call__(self, name, work):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.seconds[name] = time.perf_counter() - wall
        self.seconds[f"{name}, CPU"] = time.process_time() - cpu
        return result


def observations():
    return xg.open_store("$GAMMAPY_DATA/hess-dl3-dr1").select(obs_id=RUNS)


def reduce(runs):
    grid = xg.region_grid(
        "icrs;circle(329.71693826, -30.2255890, 0.11)",
        energy=xg.energy_axis("0.4 TeV", "20 TeV", nbin=10),
        energy_true=xg.energy_axis("0.1 TeV", "40 TeV", nbin=20, name="energy_true"),
    )
    cube = xg.reduce(
        runs,
        grid,
        background=xg.ReflectedRegions(),
        selection=["counts", "exposure", "edisp"],
        safe_mask={"aeff-max": {"aeff_percent": 10}},
        containment_correction=True,
        stack=False,
    )
    return cube.load()


def curve(spectra, selection, intervals=None):
    spectral = xg.PowerLawSpectralModel(index=3.4, amplitude="2e-11 cm-2 s-1 TeV-1", reference="1 TeV")
    model = xg.SkyModel(spectral, name="pks2155")
    edges = [0.7, 20] * u.TeV
    return spectra.gamma.light_curve(model, time_intervals=intervals, energy_edges=edges, selection=selection)


def main() -> None:
    warnings.simplefilter("ignore")
    clock = Clock()

    whole = time.perf_counter(), time.process_time()
    parts = clock("spectra of parts", lambda: reduce(split_runs(observations(), INTERVALS)))
    short = clock("10 min, all", lambda: curve(parts, "all", INTERVALS))
    clock.seconds["raw runs to 10 min, all"] = time.perf_counter() - whole[0]
    clock.seconds["raw runs to 10 min, all, CPU"] = time.process_time() - whole[1]
    runs = clock("spectra of runs", lambda: reduce(observations()))
    by_run = clock("runs, all", lambda: curve(runs, "all"))
    clock("10 min, limits", lambda: curve(parts, ["ul"], INTERVALS))
    clock("runs, limits", lambda: curve(runs, ["ul"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = {"parts": parts.sizes["obs"], "counts": float(parts.counts.sum())}
    for name, points in (("short", short), ("runs", by_run)):
        for quantity in ("norm", "norm_err", "norm_ul", "norm_sensitivity"):
            check[f"{name} {quantity}"] = points[quantity].values.ravel().tolist()
    json.dump({"runs": len(RUNS), "seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
