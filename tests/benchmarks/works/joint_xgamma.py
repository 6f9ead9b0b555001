"""Joint fit of the Crab nebula with xgamma, a map, a spectrum and flux points: seconds and memory, as JSON."""

import importlib
import json
import resource
import sys
import time
import warnings

import astropy.units as u
import numpy as np
import xarray as xr

import xgamma as xg

#: Libraries that are loaded before the clock starts, on both sides.
for name in ("distributed", "iminuit", "regions", "scipy.optimize", "scipy.stats", "xgamma.fitting.fit"):
    importlib.import_module(name)
for name in ("open_cube", "read_ogip", "read_flux_points", "flux_points", "read_datasets", "Models"):
    getattr(xg, name)

FERMI = "$GAMMAPY_DATA/fermi-3fhl-crab/"
HESS = "$GAMMAPY_DATA/joint-crab/spectra/hess/"
HAWC = "$GAMMAPY_DATA/hawc/crab_flux/HAWC19_flux_points.fits"


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
    clock = Clock()

    def read():
        models = xg.Models.read(FERMI + "Fermi-LAT-3FHL_models.yaml")
        hess = xg.read_ogip([f"{HESS}pha_obs{i}.fits" for i in (23523, 23526)]).gamma.stack("obs")
        parts = {
            "Fermi-LAT": xg.open_cube(FERMI + "Fermi-LAT-3FHL_data_Fermi-LAT.fits"),
            "HESS": hess,
            "HAWC": xg.read_flux_points(HAWC),
        }
        # a dataset taken out of the tree is known by its name to the models; gammapy reads all numbers here, too
        return xr.DataTree.from_dict({n: d.assign_attrs(name=n).load() for n, d in parts.items()}), models

    def points(models):
        fermi = (
            tree["Fermi-LAT"]
            .to_dataset()
            .gamma.flux_points(
                models, source="Crab Nebula", energy_edges=np.geomspace(10, 2000, 6) * u.GeV, selection="all"
            )
        )
        hess = (
            tree["HESS"]
            .to_dataset()
            .gamma.flux_points(
                models, source="Crab Nebula", energy_edges=np.geomspace(1, 15, 7) * u.TeV, selection="all"
            )
        )
        return fermi.compute(), hess.compute()

    tree, models = clock("read", read)
    result = clock("joint fit", lambda: tree.gamma.fit(models))
    fermi, hess = clock("flux points of both, all", lambda: points(result.models))
    clock("joint fit, again", lambda: tree.gamma.fit(models))
    clock("flux points of both, all, again", lambda: points(result.models))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shown = [p.gamma.to_sed_type("dnde") for p in (fermi, hess)]
    check = {
        "stat": result.total_stat,
        "values": [p.value for p in result.free],
        "dnde": [p.dnde.values.ravel().tolist() for p in shown],
        "dnde_err": [p.dnde_err.values.ravel().tolist() for p in shown],
    }
    json.dump({"runs": 2, "seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
