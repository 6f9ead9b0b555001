"""Spectrum of the Crab nebula with xgamma, from raw runs to flux points: seconds and peak memory, as JSON."""

import importlib
import json
import resource
import sys
import time
import warnings

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

import xgamma as xg

#: Libraries that are loaded before the clock starts, on both sides.
for name in ("distributed", "iminuit", "regions", "scipy.optimize", "scipy.stats", "xgamma.fitting.fit"):
    importlib.import_module(name)
for name in ("reduce", "flux_points", "SkyModel", "ExpCutoffPowerLawSpectralModel", "ReflectedRegions"):
    getattr(xg, name)

EDGES = np.geomspace(0.7, 30, 11) * u.TeV


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


def main() -> None:
    warnings.simplefilter("ignore")
    on_region = "icrs;circle(83.63, 22.01, 0.11)"
    place = SkyCoord(183.604, -8.708, unit="deg", frame="galactic")
    exclusion = [f"galactic;circle({place.l.deg}, {place.b.deg}, 0.5)"]
    energy = xg.energy_axis("0.1 TeV", "40 TeV", nbin=10, per_decade=True)
    true = xg.energy_axis("0.05 TeV", "100 TeV", nbin=20, per_decade=True)
    spectral = xg.ExpCutoffPowerLawSpectralModel(
        amplitude="1e-12 cm-2 s-1 TeV-1", index=2, lambda_="0.1 TeV-1", reference="1 TeV"
    )
    model = xg.SkyModel(spectral, name="crab")
    clock = Clock()

    def reduce():
        observations = xg.open_store("$GAMMAPY_DATA/hess-dl3-dr1").select(obs_id=[23523, 23526, 23559, 23592])
        return xg.reduce(
            observations,
            xg.region_grid(on_region, energy=energy, energy_true=true),
            background=xg.ReflectedRegions(exclusion=exclusion),
            safe_mask={"aeff-max": {"aeff_percent": 10}},
            containment_correction=True,
            stack=False,
        ).load()

    def points(models, selection):
        return spectra.gamma.flux_points(models, "crab", energy_edges=EDGES, selection=selection)

    whole = time.perf_counter(), time.process_time()
    spectra = clock("reduction", reduce)
    fit = clock("joint fit", lambda: spectra.gamma.fit(model))
    found = clock("flux points, all", lambda: points(fit.models, "all"))
    clock.seconds["raw runs to flux points"] = time.perf_counter() - whole[0]
    clock.seconds["raw runs to flux points, CPU"] = time.process_time() - whole[1]
    clock("reduction, again", reduce)
    clock("joint fit, again", lambda: spectra.gamma.fit(model))
    clock("flux points, all, again", lambda: points(fit.models, "all"))
    clock("flux points without sensitivity", lambda: points(fit.models, ["errn-errp", "ul", "scan"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = {
        "counts": float(spectra.counts.where(spectra.mask_safe).sum()),
        "stat": fit.total_stat,
        "index": fit.free["crab.index"].value,
        "ts": found.ts.values[:9].tolist(),
        "ul": found.norm_ul.values[:9].tolist(),
        "sensitivity": found.norm_sensitivity.values[:9].tolist(),
    }
    json.dump({"runs": 4, "seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
