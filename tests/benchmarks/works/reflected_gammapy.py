"""The work of reflected_xgamma.py with gammapy 2.1: CPU seconds of each step and peak memory, as JSON."""

import json
import logging
import resource
import sys
import time
import warnings

import astropy.units as u
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import Datasets, SpectrumDataset
from gammapy.makers import ReflectedRegionsBackgroundMaker, SafeMaskMaker, SpectrumDatasetMaker
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from regions import CircleSkyRegion


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    seconds = {}
    observations = DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1").get_observations([23523, 23526, 23559, 23592])
    center = SkyCoord(83.63, 22.01, unit="deg")
    energy = MapAxis.from_energy_bounds("0.1 TeV", "40 TeV", nbin=10, per_decade=True, name="energy")
    true = MapAxis.from_energy_bounds("0.05 TeV", "100 TeV", nbin=20, per_decade=True, name="energy_true")
    geom = RegionGeom.create(region=CircleSkyRegion(center, 0.11 * u.deg), axes=[energy])
    sky = WcsGeom.create(npix=(150, 150), binsz=0.05, skydir=center, proj="TAN", frame="icrs")
    excluded = CircleSkyRegion(SkyCoord(183.604, -8.708, unit="deg", frame="galactic"), 0.5 * u.deg)
    mask = ~sky.region_mask([excluded])
    empty = SpectrumDataset.create(geom=geom, energy_axis_true=true)
    for step in ("first", "again"):
        start = time.process_time()
        maker = SpectrumDatasetMaker(containment_correction=True, selection=["counts", "exposure", "edisp"])
        background = ReflectedRegionsBackgroundMaker(exclusion_mask=mask)
        safe = SafeMaskMaker(methods=["aeff-max"], aeff_percent=10)
        datasets = Datasets()
        for observation in observations:
            dataset = maker.run(empty.copy(name=str(observation.obs_id)), observation)
            datasets.append(safe.run(background.run(dataset, observation), observation))
        seconds[step] = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = [
        sum(float(getattr(d, name).data[d.mask_safe.data].sum()) for d in datasets) for name in ("counts", "counts_off")
    ]
    json.dump({"seconds": seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main()
