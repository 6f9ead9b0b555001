"""Fit three simulated CTA runs of the Galactic centre with gammapy, for a comparison at equal inputs.

A program for the interpreter of an environment with gammapy 2.1: ``python peer_map_fit.py STORE OUT.npz``. It writes
for the cube of all runs and for the runs ``case/stacked`` and ``case/joint``: the statistic, and the name, value and
error of each free parameter; flux points; and what each source makes of a flux of 1 in each bin of true energy.
"""

import json
import sys

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore, EventList
from gammapy.datasets import Datasets, MapDataset
from gammapy.estimators import FluxPointsEstimator
from gammapy.makers import FoVBackgroundMaker, MapDatasetMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom
from gammapy.modeling import Fit
from gammapy.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

RUNS = [110380, 111140, 111159]
#: Whether the point spread function is applied, and the sigma of the extended source in deg. Without it and with one
#: energy dispersion for all pixels both predict the same counts, but for the integral over pixels: gammapy samples the
#: model at their centres. This widens sigma by 6e-5 deg, which does nothing to the statistic at the best sigma.
CASES = {"bare": (False, 0.9407), "fixed": (True, 0.08)}


def reduce(store):
    """Return the cubes of all runs, each with its background scaled to its counts."""
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=10)
    true = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=30, name="energy_true")
    geom = WcsGeom.create(skydir=center, width=(8, 6), binsz=0.02, frame="galactic", proj="CAR", axes=[energy])
    maker = MapDatasetMaker(selection=["counts", "exposure", "background", "psf", "edisp"])
    safe = SafeMaskMaker(methods=["offset-max"], offset_max=2.5 * u.deg)
    scale = FoVBackgroundMaker(method="scale")
    runs = []
    for observation in DataStore.from_dir(store).get_observations(RUNS):
        # float32 positions stay float32 in astropy's transformations, whose rounding moves events over pixel edges
        table = observation.events.table
        for column in ("RA", "DEC"):
            table[column] = table[column].astype("float64")
        observation.events = EventList(table)
        whole = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2, name=str(observation.obs_id))
        one = scale.run(safe.run(maker.run(whole, observation), observation), observation)
        one.background.data *= one.background_model.spectral_model.norm.value if one.background_model else 1.0
        one.models = None
        runs.append(one)
    stacked = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2, name="stacked")
    for one in runs:
        stacked.stack(one)
    return stacked, runs


def models_of(psf, sigma, names):
    """Return the models of a case at their start."""
    point = SkyModel(
        ExpCutoffPowerLawSpectralModel(
            index=2.2, amplitude="3e-12 cm-2 s-1 TeV-1", lambda_="0.1 TeV-1", reference="1 TeV"
        ),
        PointSpatialModel(lon_0="-0.05 deg", lat_0="-0.05 deg", frame="galactic"),
        name="gc",
        apply_irf={"psf": psf, "edisp": True, "exposure": True},
    )
    gauss = SkyModel(
        PowerLawSpectralModel(index=2.3, amplitude="1e-12 cm-2 s-1 TeV-1", reference="1 TeV"),
        GaussianSpatialModel(lon_0="0.87 deg", lat_0="0.09 deg", sigma=f"{sigma} deg", frame="galactic"),
        name="g09",
        apply_irf={"psf": psf, "edisp": True, "exposure": True},
    )
    for source in (point, gauss):
        source.spatial_model.freeze()
    return Models([point, gauss, *(FoVBackgroundModel(dataset_name=n) for n in names)])


def prepared(psf, datasets):
    """Return copies of datasets: those without PSF with one energy dispersion for all pixels."""
    result = []
    for dataset in datasets:
        new = dataset.copy(name=dataset.name)
        if not psf:
            kernel = new.edisp.get_edisp_kernel(position=new.counts.geom.center_skydir)
            new.edisp = type(new.edisp).from_diagonal_response(
                new.edisp.edisp_map.geom.axes["energy"], kernel.axes["energy_true"]
            )
            new.edisp.edisp_map.data[:] = kernel.data[:, :, None, None]
        result.append(new)
    return Datasets(result)


def main(store, out):
    stacked, runs = reduce(store)
    arrays, found = {}, {}
    for dataset in (stacked, *runs):
        arrays[f"{dataset.name}/counts"] = np.array(dataset.counts.data.sum(axis=(1, 2)), float)
        arrays[f"{dataset.name}/background"] = np.array(
            (dataset.background.data * dataset.mask_safe.data).sum(axis=(1, 2)), float
        )
    for name, (psf, sigma) in CASES.items():
        for kind, own in (("stacked", [stacked]), ("joint", runs)):
            datasets = prepared(psf, own)
            datasets.models = models_of(psf, sigma, datasets.names)
            result = Fit().run(datasets)
            free = datasets.models.parameters.free_parameters
            found[f"{name}/{kind}"] = {
                "stat": float(result.total_stat),
                "evaluations": int(result.nfev),
                "values": [[p.name, float(p.value), float(p.error)] for p in free],
            }
            for dataset in datasets:
                dataset.npred()
                for source, evaluator in dataset.evaluators.items():
                    if source not in ("gc", "g09"):
                        continue
                    spatial = evaluator.compute_flux_spatial()
                    spatial = getattr(spatial, "quantity", spatial)
                    unit = (spatial * evaluator.exposure.quantity).to_value("cm2 s")
                    geom, whole = evaluator.exposure.geom.to_image(), dataset.counts.geom.to_image()
                    columns, rows = whole.coord_to_idx(geom.get_coord())
                    key = f"{name}/{kind}/{dataset.name}/{source}"
                    arrays[f"{key}/unit"] = np.broadcast_to(unit, evaluator.exposure.data.shape)
                    arrays[f"{key}/corner"] = np.array([rows.min(), columns.min()])
                    arrays[f"{key}/edisp"] = evaluator.edisp.pdf_matrix
            edges = datasets[0].counts.geom.axes["energy"].edges
            estimator = FluxPointsEstimator(
                energy_edges=edges, source="gc" if psf else "g09", selection_optional=["ul", "errn-errp"]
            )
            points = estimator.run(datasets)
            for quantity in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "ts", "npred"):
                arrays[f"{name}/{kind}/points/{quantity}"] = np.squeeze(getattr(points, quantity).data)
    np.savez_compressed(out, fits=json.dumps(found), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
