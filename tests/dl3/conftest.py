"""Small synthetic DL3 files for the tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.dl3.gti import gti_table
from xgamma.dl3.store import Store
from xgamma.dl3.write import write_index, write_observation

HEADER = {
    "OBS_ID": 1,
    "DEADC": 0.9,
    "RA_PNT": 83.63,
    "DEC_PNT": 22.01,
    "TELESCOP": "TEST",
    "GEOLON": 16.5,
    "GEOLAT": -23.27,
    "ALTITUDE": 1835.0,
    "MJDREFI": 51910,
    "MJDREFF": 7.428703703703703e-4,
    "TIMESYS": "TT",
    "OBJECT": "Crab",
}
#: Start of the synthetic runs, seconds since J2000.0 (TT).
START = 155_470_090.0


def make_events(number: int = 50, seed: int = 0, start: float = START) -> xr.Dataset:
    """Event list of 1000 s around the Crab nebula."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "ra": ("event", 83.63 + rng.normal(0, 0.5, number), {"units": "deg"}),
            "dec": ("event", 22.01 + rng.normal(0, 0.5, number), {"units": "deg"}),
            "energy": ("event", rng.pareto(1.5, number) + 0.5, {"units": "TeV"}),
            "time": ("event", start + np.sort(rng.uniform(0, 1000, number)), {"units": "s"}),
        }
    )


def aeff_hdu() -> fits.BinTableHDU:
    """Smallest effective area: two energies, two offsets."""
    lo, hi = np.array([[0.1, 1.0]]), np.array([[1.0, 10.0]])
    columns = [
        fits.Column("ENERG_LO", "2E", unit="TeV", array=lo),
        fits.Column("ENERG_HI", "2E", unit="TeV", array=hi),
        fits.Column("THETA_LO", "2E", unit="deg", array=np.array([[0.0, 1.0]])),
        fits.Column("THETA_HI", "2E", unit="deg", array=np.array([[1.0, 2.0]])),
        fits.Column("EFFAREA", "4E", unit="m2", dim="(2,2)", array=np.array([[[1e4, 2e5], [1e3, 1e5]]])),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="AEFF")
    hdu.header.update(
        {"HDUCLAS1": "RESPONSE", "HDUCLAS2": "EFF_AREA", "HDUCLAS3": "FULL-ENCLOSURE", "HDUCLAS4": "AEFF_2D"}
    )
    return hdu


@pytest.fixture
def make_run(tmp_path):
    """Factory of DL3 files."""

    def make(obs_id=1, name=None, folder=None, number=50, responses=True, **cards):
        start = START + 2000.0 * obs_id if isinstance(obs_id, int) else START
        events = make_events(number, seed=abs(hash(obs_id)) % 1000 if isinstance(obs_id, int) else 7, start=start)
        gti = gti_table([start], [start + 1000.0])
        folder = tmp_path if folder is None else folder
        folder.mkdir(exist_ok=True)
        path = folder / (name or f"run_{obs_id}.fits")
        write_observation(path, events, gti, header={**HEADER, "OBS_ID": obs_id, **cards})
        if responses:
            edit(path, lambda hdus: hdus.append(aeff_hdu()))
        return path

    return make


@pytest.fixture
def make_store(make_run, tmp_path):
    """Factory of stores with index files."""

    def make(*obs_ids, **cards):
        folder = tmp_path / "store"
        folder.mkdir(exist_ok=True)
        files = [make_run(i, folder=folder, **cards) for i in obs_ids]
        write_index(folder, Store.from_files(files).observations)
        return folder

    return make


def edit(path, change):
    """Open a FITS file, change its HDUs, write it again."""
    with fits.open(path, memmap=False) as hdus:
        hdus = fits.HDUList([h.copy() for h in hdus])
    change(hdus)
    hdus.writeto(path, overwrite=True)


@pytest.fixture
def edit_fits():
    """Change the HDUs of a file."""
    return edit
