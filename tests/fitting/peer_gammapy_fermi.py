"""Makes tests/data/fermi_crab_gammapy.npz with gammapy 2.1: counts per flux that it predicts for the Crab nebula.

Run as ``python peer_gammapy_fermi.py OUT.npz``, with ``$GAMMAPY_DATA`` set. The array ``response`` has dims
(energy_true, y, x): the kernel, convolved with the point spread over the four nearest pixels, times the exposure, in
cm2 s. Energy dispersion comes behind.
"""

import logging
import os
import sys
import warnings

import astropy.units as u
import numpy as np
from gammapy.datasets import MapDataset
from gammapy.modeling.models import Models

FERMI = "$GAMMAPY_DATA/fermi-3fhl-crab/"


def main(out: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    dataset = MapDataset.read(os.path.expandvars(FERMI + "Fermi-LAT-3FHL_data_Fermi-LAT.fits"), name="Fermi-LAT")
    dataset.models = Models.read(os.path.expandvars(FERMI + "Fermi-LAT-3FHL_models.yaml"))
    axis = dataset.exposure.geom.axes["energy_true"]
    dataset.npred_signal()
    evaluator = dataset.evaluators["Crab Nebula"]
    folded = evaluator.apply_exposure(evaluator.compute_flux_psf_convolved())
    spectral = dataset.models["Crab Nebula"].spectral_model
    integral = spectral.integral(axis.edges[:-1], axis.edges[1:])
    target = dataset.counts.geom.to_image().to_cube([axis])
    full = type(folded).from_geom(target)
    full.stack(folded)
    # the fast Fourier transform leaves numbers around 0
    response = np.maximum(full.data / integral.to_value("cm-2 s-1")[:, None, None], 0.0)
    assert np.isfinite(response).all()
    assert u.Unit(folded.unit) == u.dimensionless_unscaled
    np.savez_compressed(out, response=response)


if __name__ == "__main__":
    main(*sys.argv[1:])
