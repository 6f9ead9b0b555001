"""TS map of the Galactic centre with gammapy: seconds and peak memory, as JSON."""

import json
import os
import resource
import sys
import time
import warnings

import numpy as np
from gammapy.datasets import MapDataset
from gammapy.estimators import TSMapEstimator
from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel


def main(kind: str) -> None:
    warnings.simplefilter("ignore")
    path = os.path.join(os.environ["GAMMAPY_DATA"], "fermi-3fhl-gc", "fermi-3fhl-gc.fits.gz")
    dataset = MapDataset.read(path, name="fermi")
    model = SkyModel(spatial_model=PointSpatialModel(), spectral_model=PowerLawSpectralModel(index=2))
    estimator = TSMapEstimator(
        model, kernel_width="1 deg", selection_optional=None, sum_over_energy_groups=kind == "image"
    )
    start, cpu = time.perf_counter(), time.process_time()
    maps = estimator.run(dataset)
    seconds = {"ts map": time.perf_counter() - start, "of all threads": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"seconds": seconds, "peak_mib": peak, "check": float(np.nanmax(maps.ts.data))}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
