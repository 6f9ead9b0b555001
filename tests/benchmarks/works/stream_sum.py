"""A cube on disk, summed over energy and made into maps, by a process of its own each time: seconds and peak memory.

python tests/benchmarks/works/stream_sum.py                    # 1 GB, and maps of 3000 x 1000 pixels in 12 bins
python tests/benchmarks/works/stream_sum.py --megabytes 100 --no-maps
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from peak import peak_mib

import xgamma as xg

DIMS = ("energy", "y", "x")
WAYS = {
    "xarray.open_zarr": lambda path: xr.open_zarr(path).counts.sum("energy"),
    "engine='xgamma'": lambda path: xr.open_dataset(path, engine="xgamma", chunks={}).counts.sum("energy"),
    "xgamma.open_cube": lambda path: xg.open_cube(path).counts.sum("energy"),
    "excess_map": lambda path: xg.open_cube(path).gamma.excess_map("0.1 deg"),
}


def make(path: str, columns: int, rows: int, nbin: int, tile: int, maps: bool) -> None:
    """Write a cube of Poisson counts, float32, all energies of a tile in one chunk."""
    energy = xg.energy_axis("0.5 TeV", "20 TeV", nbin=nbin)
    size = (f"{0.02 * columns} deg", f"{0.02 * rows} deg")
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    cube = xg.sky_grid(center, size, "0.02 deg", frame="galactic", energy=energy)
    shape, chunks = (nbin, rows, columns), (nbin, tile, tile)
    random = da.random.default_rng(1)
    background = random.uniform(0.01, 0.3, shape, chunks=chunks)
    cube["counts"] = DIMS, random.poisson(background, chunks=chunks).astype(float)
    if maps:
        cube["background"] = DIMS, background
        cube["mask_safe"] = DIMS, random.uniform(size=shape, chunks=chunks) > 0.02
    cube.gamma.to_zarr(path, resume=True)


def measure(path: str, way: str) -> None:
    """Stream what a way gives to disk, and print what that took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = WAYS[way](path)
        written = result.to_dataset(name="counts") if isinstance(result, xr.DataArray) else result
        out = Path(folder) / "out.zarr"
        if way == "xarray.open_zarr":
            written.drop_encoding().to_zarr(out, consolidated=False)
        else:
            written.gamma.to_zarr(out, resume=True)
        seconds = time.perf_counter() - start
        peak = peak_mib()
        total = float(xr.open_zarr(out, consolidated=False).counts.sum(dtype=float))
    json.dump({"seconds": round(seconds, 2), "peak_mib": round(peak), "sum": total}, sys.stdout)


def rows_of(megabytes: int, maps: bool) -> list[dict[str, object]]:
    """Make the cubes and measure each way in a process of its own."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        # 4 bytes x 24 bins x 6000 columns: 576 kB a row of pixels
        shapes = {"sum": (6000, max(1, round(megabytes / 0.576)), 24, 250), "maps": (3000, 1000, 12, 500)}
        for name, shape in shapes.items():
            if name == "maps" and not maps:
                continue
            path = f"{folder}/{name}.zarr"
            numbers = [str(n) for n in (*shape, int(name == "maps"))]
            subprocess.run([sys.executable, __file__, "--make", path, *numbers], check=True)
            for way in (w for w in WAYS if (w == "excess_map") == (name == "maps")):
                command = [sys.executable, __file__, "--measure", path, way]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.append({"way": way, "megabytes": 4e-6 * np.prod(shape[:3]), **json.loads(done.stdout)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the counts in memory")
    parser.add_argument("--no-maps", action="store_true", help="leave out the excess map")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--make", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dask.config.set(scheduler="threads", num_workers=2)
    if arguments.make:
        make(arguments.make[0], *map(int, arguments.make[1:5]), maps=arguments.make[5] == "1")
    elif arguments.measure:
        measure(*arguments.measure)
    else:
        found = rows_of(arguments.megabytes, not arguments.no_maps)
        if arguments.json:
            json.dump(found, sys.stdout)
            return
        print(f"{'':20} {'cube (MB)':>10} {'s':>8} {'peak (MiB)':>11}")
        for row in found:
            print(f"{row['way']:20} {row['megabytes']:10.0f} {row['seconds']:8.1f} {row['peak_mib']:11.0f}")


if __name__ == "__main__":
    main()
