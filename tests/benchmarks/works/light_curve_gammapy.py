"""The work of light_curve_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import resource
import sys
import time
import warnings

import astropy.units as u
import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
from astropy.coordinates import SkyCoord
from astropy.time import Time
from gammapy.data import DataStore
from gammapy.datasets import Datasets, SpectrumDataset
from gammapy.estimators import LightCurveEstimator
from gammapy.makers import ReflectedRegionsBackgroundMaker, SafeMaskMaker, SpectrumDatasetMaker
from gammapy.maps import MapAxis, RegionGeom
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel
from regions import CircleSkyRegion

RUNS = list(range(33787, 33802))
START = Time("2006-07-29T20:30")
INTERVALS = [Time([START + i * 10 * u.min, START + (i + 1) * 10 * u.min]) for i in range(50)]


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


def observations():
    return DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1").get_observations(RUNS)


def reduce(runs):
    target = SkyCoord(329.71693826, -30.2255890, unit="deg")
    energy = MapAxis.from_energy_bounds(0.4, 20, nbin=10, unit="TeV", name="energy")
    true = MapAxis.from_energy_bounds(0.1, 40, nbin=20, unit="TeV", name="energy_true")
    geom = RegionGeom.create(CircleSkyRegion(target, 0.11 * u.deg), axes=[energy])
    empty = SpectrumDataset.create(geom, energy_axis_true=true)
    maker = SpectrumDatasetMaker(containment_correction=True, selection=["counts", "exposure", "edisp"])
    background = ReflectedRegionsBackgroundMaker()
    safe = SafeMaskMaker(methods=["aeff-max"], aeff_percent=10)
    result = Datasets()
    for run in runs:
        dataset = background.run(maker.run(empty.copy(), run), run)
        result.append(safe.run(dataset, run))
    return result


def curve(datasets, selection, intervals=None):
    spectral = PowerLawSpectralModel(index=3.4, amplitude=2e-11 * u.Unit("cm-2 s-1 TeV-1"), reference=1 * u.TeV)
    spectral.index.frozen = False
    datasets.models = [SkyModel(spectral_model=spectral, name="pks2155")]
    estimator = LightCurveEstimator(
        energy_edges=[0.7, 20] * u.TeV, source="pks2155", time_intervals=intervals, selection_optional=selection
    )
    return estimator.run(datasets)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    clock = Clock()

    whole = time.perf_counter(), time.process_time()
    parts = clock("spectra of parts", lambda: reduce(observations().select_time(INTERVALS)))
    short = clock("10 min, all", lambda: curve(parts, "all", INTERVALS))
    clock.seconds["raw runs to 10 min, all"] = time.perf_counter() - whole[0]
    clock.seconds["raw runs to 10 min, all, CPU"] = time.process_time() - whole[1]
    runs = clock("spectra of runs", lambda: reduce(observations()))
    by_run = clock("runs, all", lambda: curve(runs, "all"))
    clock("10 min, limits", lambda: curve(parts, ["ul"], INTERVALS))
    clock("runs, limits", lambda: curve(runs, ["ul"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = {"parts": len(parts), "counts": float(sum(d.counts.data.sum() for d in parts))}
    for name, points in (("short", short), ("runs", by_run)):
        for quantity in ("norm", "norm_err", "norm_ul", "norm_sensitivity"):
            check[f"{name} {quantity}"] = getattr(points, quantity).data.ravel().tolist()
    json.dump({"runs": len(RUNS), "seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
