"""From a stored survey cube to a catalogue: seconds and peak memory for two sizes, each in a process of its own.

python tests/benchmarks/works/ts_stored.py              # 1000 and 3000 x 500 pixels in 8 bins of energy
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

import dask
import dask.array as da
import numpy as np
from astropy.coordinates import SkyCoord
from peak import peak_mib

import xgamma as xg
from xgamma.estimators.catalogue import source_catalogue

ROWS, BINS, TILE = 500, 8, 250


def make(path: str, columns: int) -> None:
    """Write a cube with a source every two degrees."""
    energy = xg.energy_axis("0.5 TeV", "20 TeV", nbin=BINS)
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    size = (f"{0.02 * columns} deg", f"{0.02 * ROWS} deg")
    cube = xg.sky_grid(center, size, "0.02 deg", frame="galactic", energy=energy, energy_true=energy)
    shape, chunks = (BINS, ROWS, columns), (BINS, TILE, TILE)
    rng = da.random.default_rng(1)
    fall = np.geomspace(0.2, 0.002, BINS)[:, None, None]
    background = da.ones(shape, chunks=chunks) * fall
    y, x = np.mgrid[:100, :100]
    spot = np.exp(-0.5 * ((y - 50) ** 2 + (x - 50) ** 2) / 3**2) * fall * 5
    source = da.from_array(np.tile(spot, (1, ROWS // 100, columns // 100)), chunks=chunks)
    dims = ("energy", "y", "x")
    cube["counts"] = dims, rng.poisson(background + source, chunks=chunks).astype(float), {"units": ""}
    cube["background"] = dims, background, {"units": ""}
    cube["mask_safe"] = dims, rng.uniform(size=shape, chunks=chunks) > 0.02
    cube["exposure"] = ("energy_true", "y", "x"), da.full(shape, 1e13, chunks=chunks), {"units": "cm2 s"}
    irf = (cube.sizes["irf_y"], cube.sizes["irf_x"])
    cube["irf_exposure"] = ("energy_true", "irf_y", "irf_x"), np.full((BINS, *irf), 1e13), {"units": "cm2 s"}
    table = np.exp(-0.5 * (cube.rad.values / 0.06) ** 2)
    cube["psf"] = ("energy_true", "irf_y", "irf_x", "rad"), np.broadcast_to(table, (BINS, *irf, len(table))).copy()
    cube.psf.attrs["units"] = "sr-1"
    cube.gamma.to_zarr(path, resume=True)


def measure(path: str) -> None:
    """Make the catalogue and print what that took."""
    dask.config.set(scheduler="threads", num_workers=2)
    cube = xg.open_cube(path)
    start, cpu = time.perf_counter(), time.process_time()
    table = source_catalogue(cube, kernel_width="0.5 deg")
    result = {
        "megabytes": round(cube.nbytes / 1e6),
        "seconds": round(time.perf_counter() - start, 1),
        "of all threads": round(time.process_time() - cpu, 1),
        "peak_mib": round(peak_mib()),
        "sources": len(table),
    }
    json.dump(result, sys.stdout)


def main() -> None:
    for columns in (1000, 3000):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/cube.zarr"
            make(path, columns)
            done = subprocess.run([sys.executable, __file__, path], capture_output=True, text=True, check=True)
            print(f"{columns} x {ROWS} x {BINS}:", done.stdout, flush=True)


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
