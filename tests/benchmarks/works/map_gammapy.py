"""The work of map_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import resource
import time
import warnings

import astropy.units as u
import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import MapDataset
from gammapy.makers import FoVBackgroundMaker, MapDatasetMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom
from gammapy.modeling import Fit
from gammapy.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    PointSpatialModel,
    PowerLaw2SpectralModel,
    SkyModel,
)

RUNS = [110380, 111140, 111159]


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


def reduce(nbin):
    """Three runs, their backgrounds scaled to their counts, stacked."""
    energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=nbin)
    true = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=30, name="energy_true")
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    geom = WcsGeom.create(skydir=center, width=(8, 6), binsz=0.02, frame="galactic", axes=[energy])
    stacked = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2 * u.deg, name="stacked")
    maker = MapDatasetMaker(selection=["counts", "exposure", "background", "psf", "edisp"])
    safe = SafeMaskMaker(methods=["offset-max"], offset_max=2.5 * u.deg)
    scale = FoVBackgroundMaker(method="scale")
    for run in DataStore.from_dir("$GAMMAPY_DATA/cta-1dc/index/gps/").get_observations(RUNS):
        part = stacked.cutout(run.get_pointing_icrs(run.tmid), width=5 * u.deg, name=f"run-{run.obs_id}")
        stacked.stack(scale.run(safe.run(maker.run(part, run), run)))
    return stacked


def models(nbin):
    """A point source in the Galactic centre, and the background."""
    if nbin == 1:
        spectral = PowerLaw2SpectralModel(
            amplitude=1e-12 * u.Unit("cm-2 s-1"), index=2, emin=0.1 * u.TeV, emax=10 * u.TeV
        )
        spectral.index.frozen = True
        lon, lat = 0.02, 0.01
    else:
        spectral = ExpCutoffPowerLawSpectralModel(
            index=2.3, amplitude=3e-12 * u.Unit("cm-2 s-1 TeV-1"), lambda_=0.05 / u.TeV
        )
        lon, lat = -0.05, -0.05
    place = PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic")
    source = SkyModel(spectral_model=spectral, spatial_model=place, name="source")
    return [source, FoVBackgroundModel(dataset_name="stacked")]


def fit(dataset, nbin):
    """One fit from the start."""
    dataset.models = models(nbin)
    return Fit().run([dataset])


def main() -> None:
    """Time both fits."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    clock, check = Clock(), {}
    for name, nbin in (("image", 1), ("cube", 10)):
        dataset = reduce(nbin)
        for again in ("", " again"):
            result = clock(f"fit of the {name}{again}", lambda dataset=dataset, nbin=nbin: fit(dataset, nbin))
        free = dataset.models.parameters.free_parameters
        check[name] = {
            "counts": float(dataset.counts.data.sum()),
            "stat": float(dataset.stat_sum()),
            "calls": int(result.nfev),
            "values": {p.name: float(p.value) for p in free},
            "errors": {p.name: float(p.error) for p in free},
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": clock.seconds, "peak_mib": peak, "check": check}))


if __name__ == "__main__":
    main()
