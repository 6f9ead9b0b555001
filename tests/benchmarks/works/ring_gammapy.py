"""The work of ring_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import resource
import sys
import time
import warnings

import astropy.units as u
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import MapDataset, MapDatasetOnOff
from gammapy.estimators import ExcessMapEstimator
from gammapy.makers import DatasetsMaker, MapDatasetMaker, RingBackgroundMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom
from regions import CircleSkyRegion


def main(selection: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    target = SkyCoord(228.32, -59.08, unit="deg")
    seconds = {}
    store = DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1")
    cone = {"type": "sky_circle", "frame": "icrs", "lon": target.ra, "lat": target.dec, "radius": 2.5 * u.deg}
    observations = store.get_observations(store.obs_table.select_observations(cone)["OBS_ID"])
    energy = MapAxis.from_energy_bounds("0.5 TeV", "10 TeV", nbin=10)
    true = MapAxis.from_energy_bounds("0.5 TeV", "10 TeV", nbin=10, name="energy_true")
    geom = WcsGeom.create(skydir=target, width=3, binsz=0.02, frame="icrs", axes=[energy])
    names = ["counts", "exposure", "background", *(["psf", "edisp"] if selection == "all" else [])]

    start = time.perf_counter()
    reference = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2)
    makers = [MapDatasetMaker(selection=names), SafeMaskMaker(methods=["aeff-default"])]
    maker = DatasetsMaker(makers, stack_datasets=False, cutout_mode="trim", cutout_width=5 * u.deg)
    datasets = maker.run(reference, observations)
    seconds["reduce"] = time.perf_counter() - start

    start = time.perf_counter()
    image = geom.to_image().to_cube([energy.squash()])
    exclusion = ~image.region_mask([CircleSkyRegion(target, 0.4 * u.deg)])
    ring = RingBackgroundMaker(r_in="0.5 deg", width="0.3 deg", exclusion_mask=exclusion)
    stacked = MapDatasetOnOff.create(geom=image, energy_axis_true=true, name="stacked")
    for dataset in datasets:
        stacked.stack(ring.run(dataset.to_image()))
    seconds["ring"] = time.perf_counter() - start

    start = time.perf_counter()
    maps = [ExcessMapEstimator(radius * u.deg, selection_optional=[]).run(stacked) for radius in (0.04, 0.1)]
    seconds["excess"] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    check = float(maps[1]["sqrt_ts"].data.max())
    json.dump({"runs": len(datasets), "seconds": seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
