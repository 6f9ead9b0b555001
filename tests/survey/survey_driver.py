"""The program that writes the survey, for tests that stop it: survey_driver.py RUNS STORE [LIMIT]."""

from __future__ import annotations

import resource
import signal
import sys
import time

import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.io import marker
from xgamma.reduction.production import write_survey

OPTIONS = {"offset_max": "1.5 deg", "safe_mask": ["offset-max", "aeff-default"], "chunks": {"y": 20, "x": 20}}


def make_grid() -> xr.Dataset:
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=3)
    center = SkyCoord(150.6, -24.5, unit="deg")
    return xg.sky_grid(center, "6 deg", "0.1 deg", proj="TAN", energy=energy, energy_true=energy)


def slowly(write):
    """Write a piece after a pause, so that a test can act in the middle."""

    def write_piece(*args, **kwargs):
        time.sleep(0.3)
        return write(*args, **kwargs)

    return write_piece


def main(runs: str, store: str, limit: str = "") -> None:
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    else:
        marker.write_piece = slowly(marker.write_piece)
    print("begins", flush=True)
    written = write_survey(xg.open_store(runs).observations, make_grid(), store, **OPTIONS)
    print("written", written.n_written, flush=True)


if __name__ == "__main__":
    # a shell that starts programs in the background lets them ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
