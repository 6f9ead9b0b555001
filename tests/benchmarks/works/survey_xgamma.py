"""All H.E.S.S. DR1 runs inside a strip of the Galactic plane into one cube on disk, as JSON: seconds, memory, sums."""

import json
import resource
import sys
import tempfile
import time

import distributed
from astropy.coordinates import SkyCoord

import xgamma as xg


def main(scheduler: str) -> None:
    store = xg.open_store("$GAMMAPY_DATA/hess-dl3-dr1")
    grid = xg.sky_grid(
        SkyCoord(340, 0, unit="deg", frame="galactic"),
        ("60 deg", "10 deg"),
        "0.02 deg",
        energy=xg.energy_axis("0.5 TeV", "20 TeV", nbin=12),
        energy_true=xg.energy_axis("0.3 TeV", "30 TeV", nbin=16),
    )
    observations = store.select(inside=grid)
    masks = ["offset-max", "aeff-default"]
    client = None
    if scheduler == "cluster":
        size = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "2GiB"}
        cluster = distributed.LocalCluster(**size, dashboard_address=None)
        client = distributed.Client(cluster)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cube = xg.reduce(observations, grid, offset_max="2.5 deg", safe_mask=masks, chunks={"y": 250, "x": 250})
        cube.gamma.to_zarr(f"{folder}/survey.zarr", resume=True)
        seconds = {"reduce and write": time.perf_counter() - start}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if client is not None:
            peaks = client.run(lambda: __import__("resource").getrusage(0).ru_maxrss / 1024)
            peak = max(peak, *peaks.values())
            client.close()
            cluster.close()
        written = xg.open_cube(f"{folder}/survey.zarr")
        sums = {n: float(written[n].sum(dtype=float)) for n in ("counts", "background", "exposure")}
    json.dump({"runs": len(observations), "seconds": seconds, "peak_mib": peak, "check": sums}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
