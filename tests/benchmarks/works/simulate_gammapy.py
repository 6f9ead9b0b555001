"""The work of simulate_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import sys
import time
import warnings

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import MapDataset, MapDatasetEventSampler
from gammapy.makers import MapDatasetMaker
from gammapy.maps import MapAxis, WcsGeom
from gammapy.modeling.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from peak import peak_mib

MODELS = {"point": 2e-11, "gauss": 4e-11}


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


def models():
    places = {
        "point": PointSpatialModel(lon_0=0 * u.deg, lat_0=0 * u.deg, frame="galactic"),
        "gauss": GaussianSpatialModel(lon_0=0.6 * u.deg, lat_0=-0.3 * u.deg, sigma=0.2 * u.deg, frame="galactic"),
    }
    sources = [
        SkyModel(
            spectral_model=PowerLawSpectralModel(index=2.2, amplitude=flux * u.Unit("cm-2 s-1 TeV-1")),
            spatial_model=places[name],
            name=name,
        )
        for name, flux in MODELS.items()
    ]
    return Models([*sources, FoVBackgroundModel(dataset_name="run")])


def sample(run, seed):
    """The tutorial's way: a dataset with the responses on a grid, of which events are drawn."""
    center = run.get_pointing_icrs(run.tmid)
    energy = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=10, per_decade=True)
    true = MapAxis.from_energy_bounds("0.03 TeV", "300 TeV", nbin=20, per_decade=True, name="energy_true")
    migra = MapAxis.from_bounds(0.5, 2, nbin=150, node_type="edges", name="migra")
    geom = WcsGeom.create(skydir=center, width=(5, 5), binsz=0.02, frame="icrs", axes=[energy])
    empty = MapDataset.create(geom, energy_axis_true=true, migra_axis=migra, name="run")
    dataset = MapDatasetMaker(selection=["exposure", "background", "psf", "edisp"]).run(empty, run)
    dataset.models = models()
    return MapDatasetEventSampler(random_state=seed).run(dataset, run)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    clock = Clock()
    run = DataStore.from_dir("$GAMMAPY_DATA/cta-1dc/index/gps/").get_observations([110380])[0]
    events = clock("events", lambda: sample(run, 1))
    peak = peak_mib()
    clock("events, again", lambda: sample(run, 2))
    table = events.table
    place = SkyCoord(table["RA"], table["DEC"], unit="deg")
    inside = place.separation(run.get_pointing_icrs(run.tmid)).deg < 2.4
    counts = np.bincount(np.asarray(table["MC_ID"])[inside], minlength=3).tolist()
    json.dump({"seconds": clock.seconds, "peak_mib": peak, "check": {"counts": counts}}, sys.stdout)


if __name__ == "__main__":
    main()
