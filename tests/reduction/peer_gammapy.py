"""Reduce runs with gammapy, for a comparison at equal inputs.

A program for the interpreter of an environment with gammapy 2.1: ``python peer_gammapy.py CASE.json OUT.npz``.
It writes the maps of each run on the whole grid: ``<obs_id>_counts`` and so on.
"""

import json
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore, EventList
from gammapy.datasets import MapDataset
from gammapy.makers import DatasetsMaker, MapDatasetMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom


def on_whole_grid(part, whole, unit=None):
    """Put the map of a cutout where it lies in the whole grid."""
    values = part.data if unit is None else part.quantity.to_value(unit)
    full = np.zeros(whole.data.shape, dtype=values.dtype)
    columns, rows = whole.geom.to_image().coord_to_idx(part.geom.to_image().get_coord())
    full[..., rows, columns] = values
    return full


def map_of(dataset, kind):
    """Return one map of a dataset, None where it has none."""
    part = getattr(dataset, kind)
    return part and getattr(part, f"{kind}_map", part)


def reduce(case):
    """Return the maps of all runs."""
    store = DataStore.from_dir(case["store"])
    observations = store.get_observations(case["obs_ids"])
    for observation in observations:
        # float32 positions stay float32 in astropy's transformations, whose rounding moves events over pixel edges
        table = observation.events.table
        for column in ("RA", "DEC"):
            table[column] = table[column].astype("float64")
        observation.events = EventList(table)
    center = SkyCoord(*case["center"], unit="deg", frame=case["frame"])
    low, high, nbin = case["energy"]
    energy = MapAxis.from_energy_bounds(low, high, nbin=nbin)
    low, high, nbin = case["energy_true"]
    true = MapAxis.from_energy_bounds(low, high, nbin=nbin, name="energy_true")
    geom = WcsGeom.create(
        skydir=center,
        width=tuple(case["width"]),
        binsz=case["binsize"],
        frame=case["frame"],
        proj=case.get("proj", "CAR"),
        axes=[energy],
    )
    reference = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2)
    masks = case["masks"]
    options = {k: v * u.deg if k in ("offset_max", "fixed_offset") else v for k, v in case.get("options", {}).items()}
    makers = [MapDatasetMaker(selection=case["selection"]), SafeMaskMaker(methods=masks, **options)]
    maker = DatasetsMaker(
        makers, stack_datasets=False, cutout_mode="trim", cutout_width=2 * case["offset_max"] * u.deg, n_jobs=1
    )
    result = {}
    for data in maker.run(reference, observations):
        name = int(data.meta_table["OBS_ID"][0])
        for kind in ("counts", "exposure", "background", "mask_safe", "psf", "edisp"):
            part = map_of(data, kind)
            if part is not None:
                unit = {"exposure": "cm2 s", "psf": "sr-1"}.get(kind)
                result[f"{name}_{kind}"] = on_whole_grid(part, map_of(reference, kind), unit)
        result[f"{name}_livetime"] = np.array(data.gti.time_sum.to_value("s"))
    return result


if __name__ == "__main__":
    np.savez(sys.argv[2], **reduce(json.loads(Path(sys.argv[1]).read_text())))
