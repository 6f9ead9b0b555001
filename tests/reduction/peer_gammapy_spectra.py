"""Reduce runs to spectra with gammapy, for a comparison at equal inputs.

A program for the interpreter of an environment with gammapy 2.1: ``python peer_gammapy_spectra.py CASE.json OUT.npz``.
It writes the spectra of each run: ``<obs_id>_counts`` and so on, and those of all runs stacked.
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore, EventList
from gammapy.datasets import Datasets, SpectrumDataset
from gammapy.makers import (
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    SafeMaskMaker,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
)
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from gammapy.utils.regions import compound_region_to_regions
from regions import Regions


def axis(numbers, name):
    """Return an axis of energies in TeV from (low, high, number of bins)."""
    low, high, nbin = numbers
    return MapAxis.from_energy_bounds(low, high, nbin=nbin, unit="TeV", name=name)


def background_maker(case, region):
    """Return the maker of off counts, None for the background model."""
    if case.get("wobble"):
        return ReflectedRegionsBackgroundMaker(region_finder=WobbleRegionsFinder(n_off_regions=case["wobble"]))
    if not case.get("reflected"):
        return None
    mask = None
    if case.get("exclusion"):
        geom = WcsGeom.create(skydir=region.center, width=8, binsz=0.01, proj="TAN", frame="icrs")
        mask = ~geom.region_mask([Regions.parse(text, format="ds9")[0] for text in case["exclusion"]])
    finder = ReflectedRegionsFinder(**case.get("finder", {}))
    return ReflectedRegionsBackgroundMaker(region_finder=finder, exclusion_mask=mask)


def arrays_of(dataset, prefix):
    """Return what a dataset holds."""
    result = {f"{prefix}_mask_safe": dataset.mask_safe.data.ravel()}
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "background"):
        part = getattr(dataset, name, None)
        if part is not None:
            result[f"{prefix}_{name}"] = part.data.ravel()
    if dataset.exposure is not None:
        result[f"{prefix}_exposure"] = dataset.exposure.quantity.to_value("cm2 s").ravel()
    if dataset.edisp is not None:
        result[f"{prefix}_edisp"] = dataset.edisp.get_edisp_kernel().data
    if getattr(dataset, "counts_off", None) is not None and dataset.counts_off.geom.region is not None:
        found = compound_region_to_regions(dataset.counts_off.geom.region)
        result[f"{prefix}_off_centers"] = np.array([[r.center.icrs.ra.deg, r.center.icrs.dec.deg] for r in found])
    return result


def reduce(case):
    """Return the spectra of all runs."""
    store = DataStore.from_dir(case["store"])
    observations = store.get_observations(case["obs_ids"], required_irf=case.get("required_irf", "full-enclosure"))
    region = Regions.parse(case["region"], format="ds9")[0]
    geom = RegionGeom.create(region=region, axes=[axis(case["energy"], "energy")])
    empty = SpectrumDataset.create(geom=geom, energy_axis_true=axis(case["energy_true"], "energy_true"))
    maker = SpectrumDatasetMaker(selection=case["selection"], **case.get("maker", {}))
    off = background_maker(case, region)
    mask = SafeMaskMaker(methods=case["masks"], **case.get("options", {}))
    datasets, result = Datasets(), {}
    for observation in observations:
        # float32 positions stay float32 in astropy's transformations, whose rounding moves events over edges
        table = observation.events.table
        for column in ("RA", "DEC"):
            table[column] = table[column].astype("float64")
        observation.events = EventList(table)
        dataset = maker.run(empty.copy(name=str(observation.obs_id)), observation)
        if off is not None:
            dataset = off.run(dataset, observation)
        dataset = mask.run(dataset, observation)
        datasets.append(dataset)
        result |= arrays_of(dataset, observation.obs_id)
        separation = observation.get_pointing_icrs(observation.tmid).separation(SkyCoord(region.center))
        result[f"{observation.obs_id}_offset"] = np.array(separation.deg)
    return result | arrays_of(datasets.stack_reduce(), "stacked")


if __name__ == "__main__":
    logging.disable()
    np.savez(sys.argv[2], **reduce(json.loads(Path(sys.argv[1]).read_text())))
