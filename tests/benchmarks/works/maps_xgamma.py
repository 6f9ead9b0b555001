"""Three CTA runs with xgamma: an image, a cube and fits of both: seconds and peak memory, as JSON."""

import importlib
import json
import sys
import time
import warnings

import yaml
from peak import peak_mib

import xgamma as xg

#: Libraries that are loaded before the clock starts, on both sides.
for name in ("distributed", "iminuit", "regions", "scipy.optimize", "scipy.stats", "xgamma.fitting.fit"):
    importlib.import_module(name)
for name in ("Analysis", "FoVBackgroundModel", "PointSpatialModel", "SkyModel", "PowerLaw2SpectralModel", "reduce"):
    getattr(xg, name)

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
START = {"lon_0": "0.02 deg", "lat_0": "0.01 deg"}


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
    return xg.Analysis(xg.read_config(yaml.safe_dump(settings))).reduce().load()


def models(spectral):
    source = xg.SkyModel(spectral, xg.PointSpatialModel(**START, frame="galactic"), name="gc")
    return xg.Models([source, xg.FoVBackgroundModel(name="stacked-bkg")])


def check(cube, fit):
    return {
        "counts": float(cube.counts.sum()),
        "bins": int(cube.mask_safe.sum()),
        "stat": fit.total_stat,
        "values": {p.name: [p.value, p.error] for p in fit.models["gc"].parameters.free},
        "evaluations": fit.n_evaluations,
    }


def main(what: str) -> None:
    warnings.simplefilter("ignore")
    clock = Clock()
    if what == "image":
        spectral = xg.PowerLaw2SpectralModel(amplitude="1e-12 cm-2 s-1", index=2, emin="0.1 TeV", emax="10 TeV")
        spectral.index.frozen = True
    else:
        spectral = xg.ExpCutoffPowerLawSpectralModel(
            amplitude="3e-12 cm-2 s-1 TeV-1", index=2.2, lambda_="0.1 TeV-1", reference="1 TeV"
        )
    cube = clock("reduction", lambda: reduce(1 if what == "image" else 10))
    fit = clock("fit", lambda: cube.gamma.fit(models(spectral)))
    peak = peak_mib()
    clock("fit, again", lambda: cube.gamma.fit(models(spectral)))
    json.dump({"seconds": clock.seconds, "peak_mib": peak, "check": check(cube, fit)}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
