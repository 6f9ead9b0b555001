"""The work of joint_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import os
import resource
import sys
import time
import warnings

import astropy.units as u
import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
import numpy as np
from gammapy.datasets import Datasets, FluxPointsDataset, MapDataset, SpectrumDatasetOnOff
from gammapy.estimators import FluxPoints, FluxPointsEstimator
from gammapy.modeling import Fit
from gammapy.modeling.models import Models

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
    logging.disable(logging.WARNING)
    clock = Clock()

    def read():
        fermi = MapDataset.read(os.path.expandvars(FERMI + "Fermi-LAT-3FHL_data_Fermi-LAT.fits"), name="Fermi-LAT")
        runs = [
            SpectrumDatasetOnOff.read(os.path.expandvars(f"{HESS}pha_obs{i}.fits"), name=str(i)) for i in (23523, 23526)
        ]
        hess = Datasets(runs).stack_reduce(name="HESS")
        hawc = FluxPointsDataset(data=FluxPoints.read(os.path.expandvars(HAWC)), name="HAWC")
        return Datasets([fermi, hess, hawc])

    def fit():
        datasets.models = Models.read(os.path.expandvars(FERMI + "Fermi-LAT-3FHL_models.yaml"))
        return Fit().run(datasets)

    def points():
        found = []
        for name, edges in (("Fermi-LAT", np.geomspace(10, 2000, 6) * u.GeV), ("HESS", np.geomspace(1, 15, 7) * u.TeV)):
            estimator = FluxPointsEstimator(energy_edges=edges, source="Crab Nebula", selection_optional="all")
            found.append(estimator.run(Datasets([datasets[name]])))
        return found

    datasets = clock("read", read)
    result = clock("joint fit", fit)
    found = clock("flux points of both, all", points)
    clock("joint fit, again", fit)
    clock("flux points of both, all, again", points)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = {
        "stat": float(result.total_stat),
        "values": [float(p.value) for p in datasets.models.parameters.free_parameters],
        "dnde": [p.dnde.data.ravel().tolist() for p in found],
        "dnde_err": [p.dnde_err.data.ravel().tolist() for p in found],
    }
    json.dump({"runs": 2, "seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
