"""Flux profiles of fermi-3fhl-gc with gammapy, as JSON, for a comparison at equal inputs.

A program for the interpreter of an environment with gammapy 2.1: ``python peer_gammapy_profiles.py OUT.json [TOL]``,
with $GAMMAPY_DATA. TOL is the tolerance of minuit; with gammapy's own, 0.1, norms end up to a hundredth of their error
beside the minimum. ``tests/data/profiles_gammapy.json`` holds what it writes with 1e-5, and norms and statistic with
0.1.
"""

import json
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.datasets import MapDataset
from gammapy.estimators import FluxProfileEstimator
from gammapy.modeling import Fit
from gammapy.modeling.models import PowerLawSpectralModel
from gammapy.utils.regions import make_concentric_annulus_sky_regions, make_orthogonal_rectangle_sky_regions

NAMES = ["norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "ts", "stat", "stat_null"]
NAMES += ["npred", "npred_excess", "npred_background", "counts", "stat_scan"]


def galactic(lon):
    """Return a position in the Galactic plane."""
    return SkyCoord(lon, 0, unit="deg", frame="galactic")


def profile(dataset, regions, edges, selection, tol):
    """Return the numbers of a profile, shape (region, energy) each."""
    estimator = FluxProfileEstimator(
        regions=regions,
        spectral_model=PowerLawSpectralModel(index=2.3),
        energy_edges=edges * u.GeV,
        selection_optional=selection,
        fit=Fit(optimize_opts={"tol": tol}),
    )
    estimator.norm.scan_values = np.linspace(-1, 5, 11)
    points = estimator.run(datasets=dataset)
    result = {}
    for name in NAMES:
        if name == "stat_scan" and "scan" not in selection:
            continue
        part = getattr(points, name)
        axes = part.geom.axes.names
        data = part.data[..., 0, 0]  # of axes in reverse order
        order = [n for n in ("projected-distance", "energy", "norm", "dataset") if n in axes]
        data = data.transpose([axes[::-1].index(n) for n in order])
        result[name] = [float(f"{v:.9g}") for v in data.reshape(-1)]
    return result


def main():
    """Write both profiles."""
    tol = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-5
    dataset = MapDataset.read("$GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", name="fermi")
    boxes = make_orthogonal_rectangle_sky_regions(
        start_pos=galactic(9), end_pos=galactic(351), wcs=dataset.counts.geom.wcs, height="3 deg", nbin=49
    )
    rings = make_concentric_annulus_sky_regions(center=galactic(0), radius_max="1.5 deg", nbin=11)
    result = {
        "boxes": profile(dataset, boxes, [10, 2000], ["errn-errp", "ul"], tol),
        "rings": profile(dataset, rings, [10, 100, 2000], ["errn-errp", "ul", "scan"], tol),
    }
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
