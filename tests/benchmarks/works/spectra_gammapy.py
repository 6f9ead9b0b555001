"""The work of spectra_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import resource
import sys
import time
import warnings

import astropy.units as u
import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import Datasets, SpectrumDataset
from gammapy.estimators import FluxPointsEstimator
from gammapy.makers import ReflectedRegionsBackgroundMaker, SafeMaskMaker, SpectrumDatasetMaker
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from gammapy.modeling import Fit
from gammapy.modeling.models import ExpCutoffPowerLawSpectralModel, SkyModel
from regions import CircleSkyRegion

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
    logging.disable(logging.WARNING)
    target = SkyCoord(83.63, 22.01, unit="deg")
    on_region = CircleSkyRegion(target, 0.11 * u.deg)
    excluded = CircleSkyRegion(SkyCoord(183.604, -8.708, unit="deg", frame="galactic"), 0.5 * u.deg)
    energy = MapAxis.from_energy_bounds(0.1, 40, nbin=10, per_decade=True, unit="TeV", name="energy")
    true = MapAxis.from_energy_bounds(0.05, 100, nbin=20, per_decade=True, unit="TeV", name="energy_true")
    clock = Clock()

    def spectral():
        return ExpCutoffPowerLawSpectralModel(
            amplitude=1e-12 * u.Unit("cm-2 s-1 TeV-1"), index=2, lambda_=0.1 * u.Unit("TeV-1"), reference=1 * u.TeV
        )

    def reduce():
        store = DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1")
        observations = store.get_observations([23523, 23526, 23559, 23592])
        mask = ~WcsGeom.create(
            npix=(150, 150), binsz=0.05, skydir=target.galactic, proj="TAN", frame="icrs"
        ).region_mask([excluded])
        empty = SpectrumDataset.create(RegionGeom.create(on_region, axes=[energy]), energy_axis_true=true)
        maker = SpectrumDatasetMaker(containment_correction=True, selection=["counts", "exposure", "edisp"])
        background = ReflectedRegionsBackgroundMaker(exclusion_mask=mask)
        safe = SafeMaskMaker(methods=["aeff-max"], aeff_percent=10)
        result = Datasets()
        for observation in observations:
            dataset = maker.run(empty.copy(name=str(observation.obs_id)), observation)
            result.append(safe.run(background.run(dataset, observation), observation))
        return result

    def fit():
        datasets.models = [SkyModel(spectral_model=spectral(), name="crab")]
        return Fit().run(datasets=datasets)

    def points(selection):
        estimator = FluxPointsEstimator(energy_edges=EDGES, source="crab", selection_optional=selection)
        return estimator.run(datasets=datasets)

    whole = time.perf_counter(), time.process_time()
    datasets = clock("reduction", reduce)
    result = clock("joint fit", fit)
    found = clock("flux points, all", lambda: points("all"))
    clock.seconds["raw runs to flux points"] = time.perf_counter() - whole[0]
    clock.seconds["raw runs to flux points, CPU"] = time.process_time() - whole[1]
    clock("reduction, again", reduce)
    clock("joint fit, again", fit)
    clock("flux points, all, again", lambda: points("all"))
    clock("flux points without sensitivity", lambda: points(["errn-errp", "ul", "scan"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = {
        "counts": float(sum(d.counts.data[d.mask_safe.data].sum() for d in datasets)),
        "stat": float(result.total_stat),
        "index": float(datasets.models.parameters["index"].value),
        "ts": found.ts.data.ravel()[:9].tolist(),
        "ul": found.norm_ul.data.ravel()[:9].tolist(),
        "sensitivity": found.norm_sensitivity.data.ravel()[:9].tolist(),
    }
    json.dump({"runs": len(datasets), "seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
