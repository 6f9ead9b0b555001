"""Fits of maps of three simulated CTA runs, an image and ten energies: seconds of each step and memory, as JSON."""

import json
import resource
import time

import iminuit  # noqa: F401  (libraries are loaded before the clock starts, on both sides)
import scipy.fft  # noqa: F401
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.spatial_shapes import PointSpatialModel

RUNS = [110380, 111140, 111159]


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


def reduce(nbin):
    """Three runs, their backgrounds scaled to their counts, stacked."""
    runs = xg.open_store("$GAMMAPY_DATA/cta-1dc/index/gps/").select(obs_id=RUNS)
    grid = xg.sky_grid(
        SkyCoord(0, 0, unit="deg", frame="galactic"),
        ("8 deg", "6 deg"),
        "0.02 deg",
        energy=xg.energy_axis("0.1 TeV", "10 TeV", nbin=nbin),
        energy_true=xg.energy_axis("0.1 TeV", "10 TeV", nbin=30),
    )
    cube = xg.reduce(runs, grid, selection="all", offset_max="2.5 deg", safe_mask="offset-max", stack=False).load()
    sums = [cube[n].where(cube.mask_safe, 0.0).sum(("energy", "y", "x")) for n in ("counts", "background")]
    cube["background"] = (cube.background * (sums[0] / sums[1])).assign_attrs(cube.background.attrs)
    return cube.gamma.stack("obs")


def models(nbin):
    """A point source in the Galactic centre, and the background."""
    if nbin == 1:
        spectral = xg.PowerLaw2SpectralModel(amplitude="1e-12 cm-2 s-1", index=2, emin="0.1 TeV", emax="10 TeV")
        spectral.index.frozen = True
        place = {"lon_0": "0.02 deg", "lat_0": "0.01 deg"}
    else:
        spectral = xg.ExpCutoffPowerLawSpectralModel(index=2.3, amplitude="3e-12 cm-2 s-1 TeV-1", lambda_="0.05 TeV-1")
        place = {"lon_0": "-0.05 deg", "lat_0": "-0.05 deg"}
    source = xg.SkyModel(spectral, PointSpatialModel(frame="galactic", **place), name="source")
    return xg.Models([source, FoVBackgroundModel(name="background")])


def main() -> None:
    """Time both fits."""
    clock, check = Clock(), {}
    for name, nbin in (("image", 1), ("cube", 10)):
        cube = reduce(nbin)
        for again in ("", " again"):
            result = clock(f"fit of the {name}{again}", lambda cube=cube, nbin=nbin: cube.gamma.fit(models(nbin)))
        check[name] = {
            "counts": float(cube.counts.sum()),
            "stat": result.total_stat,
            "calls": result.n_evaluations,
            "values": {n: float(result.parameters[n].value) for n in result.free.names},
            "errors": {n: float(result.parameters[n].error) for n in result.free.names},
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": clock.seconds, "peak_mib": peak, "check": check}))


if __name__ == "__main__":
    main()
