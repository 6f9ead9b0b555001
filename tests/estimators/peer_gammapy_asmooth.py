"""Adaptively smoothed maps of the Fermi cube of the Galactic centre with gammapy 2.1: ``python this.py out.npz``."""

import math
import os
import sys
import warnings

import astropy.units as u
import numpy as np
from astropy.convolution import Gaussian2DKernel
from gammapy.datasets import MapDataset
from gammapy.estimators import ASmoothMapEstimator

SCALES = [0.1, 0.15, 0.2, 0.3]


def centres(scale, **_):
    """A Gaussian at the centres of pixels, cut off at four standard deviations."""
    size = 2 * math.ceil(4 * scale) + 1
    return Gaussian2DKernel(scale, x_size=size, y_size=size, mode="center")


def main(out: str) -> None:
    warnings.simplefilter("ignore")
    path = os.path.join(os.environ["GAMMAPY_DATA"], "fermi-3fhl-gc", "fermi-3fhl-gc.fits.gz")
    dataset = MapDataset.read(path, name="fermi")
    dataset.mask_safe = None
    dataset = dataset.to_image()
    found = {}
    for kernel_name, kernel in (("centres", centres), ("means", Gaussian2DKernel)):
        for method in ("lima", "asmooth"):
            estimator = ASmoothMapEstimator(SCALES * u.deg, kernel=kernel, method=method, threshold=4)
            maps = estimator.run(dataset)
            for name in ("counts", "background", "sqrt_ts", "scale", "flux"):
                found[f"{kernel_name}_{method}_{name}"] = np.squeeze(maps[name].data)
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1])
