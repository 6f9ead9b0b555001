"""All H.E.S.S. DR1 runs inside a strip of the Galactic plane into one cube on disk, as JSON: seconds, memory, sums.

Libraries are imported, and the workers of the cluster started, before the clock, as those of survey_gammapy.py are;
responses and events are read, and the store is written, while it runs.
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from astropy.coordinates import SkyCoord

import xgamma as xg

CHUNKS = {"y": 250, "x": 250}


def peak_mib() -> float:
    """Peak of the resident memory of this process alone: that of resource includes the process that forked it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def libraries() -> None:
    """Import what tasks need."""
    import zarr.codecs  # noqa: F401

    import xgamma.io.resume
    import xgamma.reduction.survey
    import xgamma.reduction.tasks  # noqa: F401


def main(scheduler: str) -> None:
    libraries()
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
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        client = None
        if scheduler == "cluster":
            import distributed

            size = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "2GiB"}
            cluster = stack.enter_context(distributed.LocalCluster(**size, dashboard_address=None))
            client = stack.enter_context(distributed.Client(cluster))
            client.run(libraries)
        start = time.perf_counter()
        cube = xg.reduce(observations, grid, offset_max="2.5 deg", safe_mask=masks, chunks=CHUNKS)
        cube.gamma.to_zarr(f"{folder}/survey.zarr", resume=True)
        seconds = {"reduce and write": time.perf_counter() - start}
        peak = peak_mib()
        if client is not None:
            peak = max(peak, *client.run(peak_mib).values())
        written = xg.open_cube(f"{folder}/survey.zarr")
        sums = {n: float(written[n].sum(dtype=float)) for n in ("counts", "background", "exposure")}
    json.dump({"runs": len(observations), "seconds": seconds, "peak_mib": peak, "check": sums}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
