"""Read and reduce a simulated store with gammapy 2.1: ``peer_simulated_gammapy.py STORE CASE.json OUT.npz``."""

import json
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore, EventList
from gammapy.datasets import MapDataset
from gammapy.makers import MapDatasetMaker
from gammapy.maps import MapAxis, WcsGeom


def main(folder: str, case: dict, out: str) -> None:
    """Stack the counts, and write them with what observations say of themselves."""
    store = DataStore.from_dir(folder)
    observations = store.get_observations()
    energy = MapAxis.from_energy_bounds(*case["energy"][:2], nbin=case["energy"][2])
    true = MapAxis.from_energy_bounds(*case["energy_true"][:2], nbin=case["energy_true"][2], name="energy_true")
    center = SkyCoord(*case["center"], unit="deg")
    geom = WcsGeom.create(skydir=center, width=case["width"], binsz=case["binsize"], frame="icrs", axes=[energy])
    stacked = MapDataset.create(geom, energy_axis_true=true)
    arrays = {}
    for observation in observations:
        table = observation.events.table
        # float32 positions stay float32 in astropy's transformations, whose rounding moves events over pixel edges
        for column in ("RA", "DEC"):
            table[column] = table[column].astype("float64")
        observation.events = EventList(table)
        dataset = MapDatasetMaker(selection=["counts", "exposure", "background"]).run(stacked.copy(), observation)
        stacked.stack(dataset)
        name = observation.obs_id
        arrays[f"{name}_mc_id"] = np.asarray(table["MC_ID"])
        arrays[f"{name}_livetime"] = observation.observation_live_time_duration.to_value(u.s)
        arrays[f"{name}_gti"] = observation.gti.time_sum.to_value("s")
        arrays[f"{name}_time"] = (observation.events.time - observation.gti.time_start[0]).to_value("s")
        arrays[f"{name}_irfs"] = np.array(sorted(observation.available_irfs))
    arrays["counts"], arrays["background"] = stacked.counts.data, stacked.background.data
    arrays["exposure"] = stacked.exposure.quantity.to_value("cm2 s")
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), sys.argv[3])
