"""What gammapy 2.1 makes of joint datasets in a folder: statistics, links, priors; it writes them again elsewhere."""

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
from gammapy.datasets import Datasets


def main(source: str, target: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    folder = Path(source)
    datasets = Datasets.read(folder / "datasets.yaml", folder / "models.yaml", checksum=True)
    parameters = datasets.models.parameters
    covariance = np.asarray(datasets.models.covariance.data)
    written = Path(target)
    written.mkdir(parents=True, exist_ok=True)
    datasets.write(
        filename=written / "datasets.yaml", filename_models=written / "models.yaml", overwrite=True, checksum=True
    )
    result = {
        "stat": {d.name: float(d.stat_sum()) for d in datasets},
        "total": float(datasets.stat_sum()),
        "free": len(parameters.free_parameters.unique_parameters),
        "priors": float(parameters.prior_stat_sum()),
        "variances": [float(v) for v in np.diag(covariance)],
        "names": [f"{m.name}.{p.name}" for m in datasets.models for p in m.parameters],
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
