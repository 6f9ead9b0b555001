"""Flux profiles of the Galactic centre with xgamma: seconds of each step and peak memory, as JSON."""

import importlib
import json
import sys
import time
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

import xgamma as xg

sys.path.insert(0, str(Path(__file__).parent))
from peak import peak_mib

#: Libraries that are loaded before the clock starts, on both sides.
for name in ("regions", "scipy.optimize", "scipy.stats", "scipy.special"):
    importlib.import_module(name)
for name in ("flux_profile", "regions_along_line", "concentric_annuli", "PowerLawSpectralModel"):
    getattr(xg, name)


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


def galactic(lon):
    return SkyCoord(lon, 0, unit="deg", frame="galactic")


def main() -> None:
    # edges are moved to those of the cube, and two rings have their minimum below -1
    warnings.simplefilter("ignore", UserWarning)
    clock = Clock()
    path = "$GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"
    cube = clock("read the cube", lambda: xg.open_cube(path).compute())
    model = xg.PowerLawSpectralModel(index=2.3)
    boxes = xg.regions_along_line(start=galactic(9), end=galactic(351), height="3 deg", nbin=49, grid=cube)
    rings = xg.concentric_annuli(center=galactic(0), radius_max="1.5 deg", nbin=10)

    def linear():
        return cube.gamma.flux_profile(boxes, model, energy_edges=[10, 2000] * u.GeV, selection=["ul"])

    def radial():
        edges, norms = [10, 100, 2000] * u.GeV, np.linspace(-1, 5, 11)
        return cube.gamma.flux_profile(rings, model, energy_edges=edges, selection=["ul", "scan"], scan_values=norms)

    line = clock("49 boxes", linear)
    circles = clock("10 rings, 2 bands, scan", radial)
    clock("49 boxes, again", linear)
    clock("10 rings, 2 bands, scan, again", radial)
    check = {
        "counts": line.counts.values.ravel().tolist(),
        "norm": line.norm.values.ravel().tolist(),
        "norm_err": line.norm_err.values.ravel().tolist(),
        "norm_ul": line.norm_ul.values.ravel().tolist(),
        "ring_norm": circles.norm.values.ravel().tolist(),
        "stat_scan": circles.stat_scan.transpose("region", "energy", "scan").values.ravel().tolist(),
    }
    json.dump({"regions": 59, "seconds": clock.seconds, "peak_mib": peak_mib(), "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
