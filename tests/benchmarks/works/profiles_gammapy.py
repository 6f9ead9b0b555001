"""The work of profiles_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import astropy.units as u
import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.datasets import MapDataset
from gammapy.estimators import FluxProfileEstimator
from gammapy.modeling.models import PowerLawSpectralModel
from gammapy.utils.regions import make_concentric_annulus_sky_regions, make_orthogonal_rectangle_sky_regions

sys.path.insert(0, str(Path(__file__).parent))
from peak import peak_mib


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


def read():
    """Read all maps, as they are read lazily otherwise."""
    dataset = MapDataset.read("$GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", name="fermi")
    for part in (dataset.counts, dataset.background, dataset.exposure, dataset.psf.psf_map, dataset.edisp.edisp_map):
        part.data.sum()
    return dataset


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    clock = Clock()
    dataset = clock("read the cube", read)
    boxes = make_orthogonal_rectangle_sky_regions(
        start_pos=galactic(9), end_pos=galactic(351), wcs=dataset.counts.geom.wcs, height="3 deg", nbin=49
    )
    rings = make_concentric_annulus_sky_regions(center=galactic(0), radius_max="1.5 deg", nbin=11)

    def profile(regions, edges, selection):
        estimator = FluxProfileEstimator(
            regions=regions,
            spectral_model=PowerLawSpectralModel(index=2.3),
            energy_edges=edges * u.GeV,
            selection_optional=selection,
        )
        estimator.norm.scan_values = np.linspace(-1, 5, 11)
        return estimator.run(datasets=dataset)

    line = clock("49 boxes", lambda: profile(boxes, [10, 2000], ["ul"]))
    circles = clock("10 rings, 2 bands, scan", lambda: profile(rings, [10, 100, 2000], ["ul", "scan"]))
    clock("49 boxes, again", lambda: profile(boxes, [10, 2000], ["ul"]))
    clock("10 rings, 2 bands, scan, again", lambda: profile(rings, [10, 100, 2000], ["ul", "scan"]))
    scan = circles.stat_scan
    order = [scan.geom.axes.names[::-1].index(n) for n in ("projected-distance", "energy", "norm")]
    check = {
        "counts": line.counts.data.ravel().tolist(),
        "norm": line.norm.data.ravel().tolist(),
        "norm_err": line.norm_err.data.ravel().tolist(),
        "norm_ul": line.norm_ul.data.ravel().tolist(),
        "ring_norm": circles.norm.data.ravel().tolist(),
        "stat_scan": scan.data[..., 0, 0].transpose(order).ravel().tolist(),
    }
    json.dump({"regions": 59, "seconds": clock.seconds, "peak_mib": peak_mib(), "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
