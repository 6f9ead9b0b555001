"""TS map of the Galactic centre with xgamma: seconds and peak memory, as JSON."""

import json
import os
import resource
import sys
import time

import numpy as np

import xgamma as xg
from xgamma.estimators.ts_map import ts_map


def main(kind: str) -> None:
    path = os.path.join(os.environ["GAMMAPY_DATA"], "fermi-3fhl-gc", "fermi-3fhl-gc.fits.gz")
    cube = xg.open_cube(path).load()
    start = time.perf_counter()
    maps = ts_map(cube) if kind == "cube" else image_map(cube)
    first = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    maps = ts_map(cube) if kind == "cube" else image_map(cube)
    seconds = {"ts map": time.perf_counter() - start, "of all threads": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"first": first, "seconds": seconds, "peak_mib": peak, "check": float(maps.ts.max())}, sys.stdout)


def image_map(cube):
    """One bin of energy: gammapy sums counts, background and expected signal before it fits."""
    image = cube.drop_vars(["mask_safe", "edisp"]).gamma.to_image()
    image["mask_safe"] = image.counts.copy(data=np.asarray(cube.mask_safe.any("energy").values)[None])
    return ts_map(image)


if __name__ == "__main__":
    main(sys.argv[1])
