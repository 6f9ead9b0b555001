"""Events of a CTA run on the Galactic centre from models: seconds of each step and peak memory, as JSON."""

import json
import os
import sys
import time

import numpy as np
from peak import peak_mib

import xgamma as xg
from xgamma.simulate.events import simulate_events

MODELS = {"point": "2e-11", "gauss": "4e-11"}


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


def models():
    places = {
        "point": xg.PointSpatialModel(lon_0=0.0, lat_0=0.0, frame="galactic"),
        "gauss": xg.GaussianSpatialModel(lon_0=0.6, lat_0=-0.3, sigma=0.2, frame="galactic"),
    }
    sources = [
        xg.SkyModel(xg.PowerLawSpectralModel(index=2.2, amplitude=f"{flux} cm-2 s-1 TeV-1"), places[name], name=name)
        for name, flux in MODELS.items()
    ]
    return [*sources, xg.FoVBackgroundModel(name="bkg")]


def main() -> None:
    clock = Clock()
    store = xg.open_store(os.path.expandvars("$GAMMAPY_DATA/cta-1dc/index/gps/"))
    run = store.get(110380)
    energies = ("0.1 TeV", "100 TeV")
    events = clock("events", lambda: simulate_events(run, models(), energy_range=energies, seed=1))
    clock("events, again", lambda: simulate_events(run, models(), energy_range=energies, seed=2))
    lon, lat = (events[n].values for n in ("ra", "dec"))
    center = run.pointing.icrs(run.tmid)
    from xgamma.kernels.sphere import separation, to_vectors

    inside = separation(to_vectors(lon, lat), to_vectors(*(np.asarray(v) for v in center))) < 2.4
    counts = np.bincount(events.mc_id.values[inside], minlength=3).tolist()
    json.dump({"seconds": clock.seconds, "peak_mib": peak_mib(), "check": {"counts": counts}}, sys.stdout)


if __name__ == "__main__":
    main()
