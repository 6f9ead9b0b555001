"""Flux profiles of a survey on disk, each by a process of its own: seconds, peak memory, chunks that were read.

python tests/benchmarks/works/profile_survey.py                              # 6000 x 400 x 24, 1 to 1000 regions
python tests/benchmarks/works/profile_survey.py --columns 1500 --regions 100 --threads 1
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
PIXEL, NBIN = 0.05, 24
#: A box is 6 pixels wide and 60 high.
WIDTH, HEIGHT = 0.3, 3.0
#: Bins at which the 10 bands end.
BANDS = [0, 2, 4, 7, 9, 12, 14, 16, 19, 21, 24]


def make(path: str, columns: int, rows: int, tile: int) -> None:
    """Write a survey tile by tile: Poisson counts (uint16), background and exposure (float32), a safe mask."""
    energy = xg.energy_axis("0.5 TeV", "50 TeV", nbin=NBIN)
    true = xg.energy_axis("0.5 TeV", "50 TeV", nbin=NBIN, name="energy_true")
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    size = (f"{PIXEL * columns} deg", f"{PIXEL * rows} deg")
    cube = xg.sky_grid(center, size, f"{PIXEL} deg", energy=energy, energy_true=true, irf_binsize="5 deg", proj="CAR")
    shape, chunks = (NBIN, rows, columns), (NBIN, tile, tile)
    random = da.random.default_rng(1)
    level = np.geomspace(0.5, 0.002, NBIN)[:, None, None]
    background = (random.uniform(0.8, 1.2, shape, chunks=chunks) * level).astype("float32")
    cube["counts"] = DIMS, random.poisson(background, chunks=chunks).astype("uint16")
    cube["background"] = DIMS, background
    exposure = (random.uniform(1e14, 2e14, shape, chunks=chunks)).astype("float32")
    cube["exposure"] = ("energy_true", "y", "x"), exposure, {"units": "cm2 s"}
    cube["mask_safe"] = DIMS, da.ones(shape, chunks=chunks, dtype=bool)
    distance = np.log(cube.energy_true.values[:, None] / cube.energy.values)
    kernel = np.exp(-0.5 * (distance / 0.15) ** 2)
    kernel = (kernel / kernel.sum(axis=1, keepdims=True))[..., None, None]
    whole = np.broadcast_to(kernel, (NBIN, NBIN, cube.sizes["irf_y"], cube.sizes["irf_x"]))
    cube["edisp"] = ("energy_true", "energy", "irf_y", "irf_x"), whole.astype("float32")
    cube.gamma.to_zarr(path)


def boxes(cube: xr.Dataset, number: int) -> list:
    """Boxes side by side along the Galactic plane, in the middle of the map."""
    # a line goes the shorter way round: two halves may be longer than half a turn
    parts = [n for n in (number // 2, number - number // 2) if n]
    lon, result = 0.5 * WIDTH * number, []
    for part in parts:
        start, end = (SkyCoord(x, 0, unit="deg", frame="galactic") for x in (lon, lon - WIDTH * part))
        result += xg.regions_along_line(start, end, f"{HEIGHT} deg", part, cube)
        lon -= WIDTH * part
    return result


def count_reads() -> set[str]:
    """Note the chunks of maps that are read."""
    from zarr.storage import LocalStore

    seen: set[str] = set()
    get = LocalStore.get

    async def noted(self, key, *args, **kwargs):
        if key.startswith("counts/c/"):
            seen.add(key)
        return await get(self, key, *args, **kwargs)

    LocalStore.get = noted
    return seen


def measure(path: str, number: int, threads: int) -> None:
    """Print what the profile of a number of regions takes."""
    seen = count_reads()
    before = peak_mib()
    start, cpu = time.perf_counter(), time.process_time()
    cube = xg.open_cube(path)
    edges = np.append(cube.energy_min.values, cube.energy_max.values[-1])[BANDS]
    bands = [f"{float(e)!r} TeV" for e in edges]
    lazy = cube.gamma.flux_profile(boxes(cube, number), energy_edges=bands, selection=["errn-errp", "ul"])
    built = time.perf_counter() - start
    assert not seen, "read while the graph was built"
    scheduler = {"scheduler": "threads", "num_workers": threads} if threads > 1 else {"scheduler": "sync"}
    with dask.config.set(scheduler):
        points = lazy.compute()
    result = {
        "regions": number,
        "bands": points.sizes["energy"],
        "graph_s": round(built, 2),
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mib": round(peak_mib()),
        "import_mib": round(before),
        "chunks_read": len(seen),
        "chunks": int(np.prod([len(c) for c in cube.counts.chunks])),
        "pull": round(float((points.norm / points.norm_err).std()), 3),
    }
    print(json.dumps(result))


def main() -> None:
    """Make the survey and measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--columns", type=int, default=6000)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--tile", type=int, default=100)
    parser.add_argument("--regions", type=int, nargs="+", default=[1, 100, 300, 1000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--store", help="where the survey is, or is made; by default a temporary folder")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        measure(args.store, args.measure, args.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or str(Path(folder) / "survey.zarr")
        if not Path(store).exists():
            start = time.perf_counter()
            with dask.config.set(scheduler="threads", num_workers=args.threads):
                make(store, args.columns, args.rows, args.tile)
            size = sum(f.stat().st_size for f in Path(store).rglob("*") if f.is_file()) / 2**20
            shape = f"{args.columns} x {args.rows} x {NBIN}"
            print(f"{shape}, {size:.0f} MiB on disk, written in {time.perf_counter() - start:.1f} s")
        for number in args.regions:
            command = [sys.executable, __file__, "--store", store, "--threads", str(args.threads)]
            done = subprocess.run([*command, "--measure", str(number)], check=True, capture_output=True, text=True)
            print(done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
