"""The work of maps_xgamma.py with gammapy 2.1: seconds of each step and peak memory, as JSON."""

import json
import logging
import sys
import time
import warnings

import astropy.units as u
import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
import yaml
from gammapy.analysis import Analysis, AnalysisConfig
from gammapy.modeling import Fit
from gammapy.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    PowerLaw2SpectralModel,
    SkyModel,
)
from peak import peak_mib

CONFIG = """
general: {log: {level: error}, outdir: .}
observations: {datastore: $GAMMAPY_DATA/cta-1dc/index/gps/, obs_ids: [110380, 111140, 111159]}
datasets:
  type: 3d
  stack: true
  geom:
    wcs:
      skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}
      binsize: 0.02 deg
      width: {width: 8 deg, height: 6 deg}
      binsize_irf: 0.2 deg
    selection: {offset_max: 2.5 deg}
    axes:
      energy: {min: 0.1 TeV, max: 10 TeV, nbins: 1}
      energy_true: {min: 0.1 TeV, max: 10 TeV, nbins: 30}
  map_selection: [counts, exposure, background, psf, edisp]
  background: {method: fov_background}
  safe_mask: {methods: [offset-max], parameters: {offset_max: 2.5 deg}}
"""


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


def reduce(bins):
    settings = yaml.safe_load(CONFIG)
    settings["datasets"]["geom"]["axes"]["energy"]["nbins"] = bins
    analysis = Analysis(AnalysisConfig.from_yaml(yaml.safe_dump(settings)))
    analysis.get_observations()
    analysis.get_datasets()
    return analysis.datasets["stacked"]


def spectrum(what):
    if what == "image":
        model = PowerLaw2SpectralModel(amplitude=1e-12 * u.Unit("cm-2 s-1"), index=2, emin=0.1 * u.TeV, emax=10 * u.TeV)
        model.index.frozen = True
        return model
    return ExpCutoffPowerLawSpectralModel(
        amplitude=3e-12 * u.Unit("cm-2 s-1 TeV-1"), index=2.2, lambda_=0.1 * u.Unit("TeV-1"), reference=1 * u.TeV
    )


def main(what: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    clock = Clock()

    def fit():
        place = PointSpatialModel(lon_0=0.02 * u.deg, lat_0=0.01 * u.deg, frame="galactic")
        source = SkyModel(spectral_model=spectrum(what), spatial_model=place, name="gc")
        dataset.models = Models([source, FoVBackgroundModel(dataset_name="stacked")])
        return Fit().run(datasets=[dataset])

    dataset = clock("reduction", lambda: reduce(1 if what == "image" else 10))
    result = clock("fit", fit)
    peak = peak_mib()
    free = dataset.models["gc"].parameters.free_parameters
    check = {
        "counts": float(dataset.counts.data.sum()),
        "bins": int(dataset.mask_safe.data.sum()),
        "stat": float(result.total_stat),
        "values": {p.name: [float(p.value), float(p.error)] for p in free},
        "evaluations": int(result.nfev),
    }
    clock("fit, again", fit)
    json.dump({"seconds": clock.seconds, "peak_mib": peak, "check": check}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
