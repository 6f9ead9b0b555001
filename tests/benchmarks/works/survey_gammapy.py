"""The work of survey_xgamma.py with gammapy 2.1, stacked in memory, as JSON: seconds, memory, sums."""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import MapDataset
from gammapy.makers import DatasetsMaker, MapDatasetMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    store = DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1")
    energy = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=12)
    true = MapAxis.from_energy_bounds("0.3 TeV", "30 TeV", nbin=16, name="energy_true")
    center = SkyCoord(340, 0, unit="deg", frame="galactic")
    geom = WcsGeom.create(skydir=center, width=(60, 10), binsz=0.02, frame="galactic", axes=[energy])
    table = store.obs_table
    inside = geom.to_image().contains(SkyCoord(table["RA_PNT"], table["DEC_PNT"], unit="deg"))
    observations = store.get_observations(table["OBS_ID"][inside])

    start = time.perf_counter()
    stacked = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2)
    makers = [
        MapDatasetMaker(selection=["counts", "exposure", "background"]),
        SafeMaskMaker(methods=["offset-max", "aeff-default"], offset_max=2.5 * u.deg),
    ]
    maker = DatasetsMaker(makers, stack_datasets=True, cutout_mode="trim", cutout_width=5 * u.deg)
    stacked = maker.run(stacked, observations)[0]
    seconds = {"reduce and write": time.perf_counter() - start}
    # of this process alone: that of resource includes the process that forked it
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    sums = {n: float(np.nansum(getattr(stacked, n).data, dtype=float)) for n in ("counts", "background", "exposure")}
    sums["exposure"] *= 1e4
    json.dump({"runs": len(observations), "seconds": seconds, "peak_mib": peak, "check": sums}, sys.stdout)


if __name__ == "__main__":
    main()
