"""The sample survey, and small stores made to measure."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xgamma.dl3.gti import gti_table
from xgamma.dl3.store import Store, open_store
from xgamma.dl3.write import write_observation
from xgamma.io.sample import sample_path

#: Start of the runs, seconds since J2000.0 (TT).
START = 762_528_669.184


@pytest.fixture(scope="session")
def survey():
    """The sample survey: twelve runs of 28 minutes around (150, -25) and (151.3, -24.2) deg."""
    return open_store(sample_path("survey"))


@pytest.fixture(scope="session")
def sample_irfs(survey):
    """Responses of the sample survey."""
    run = survey.get(1)
    return {kind: getattr(run, kind).copy(deep=True) for kind in ("aeff", "edisp", "psf", "bkg")}


@pytest.fixture
def make_store(tmp_path, sample_irfs):
    """Factory of stores: each argument is a dict of what one run has (see the function)."""

    def one(
        number, ra=150.0, dec=-25.0, events=None, gti=((0.0, 1000.0),), irfs=None, pointing=None, cards=None, n=400
    ):
        rng = np.random.default_rng(number)
        first = START + 3000.0 * number
        if events is None:
            events = xr.Dataset(
                {
                    "ra": ("event", ra + rng.normal(0, 0.7, n) / max(np.cos(np.deg2rad(dec)), 0.01), {"units": "deg"}),
                    "dec": ("event", np.clip(dec + rng.normal(0, 0.7, n), -89.9, 89.9), {"units": "deg"}),
                    "energy": ("event", 0.5 * (rng.pareto(1.5, n) + 1), {"units": "TeV"}),
                    "time": ("event", first + np.sort(rng.uniform(0, 1000, n)), {"units": "s"}),
                }
            )
        header = {"OBS_ID": number, "DEADC": 0.9, "TELESCOP": "TEST", **(cards or {})}
        header |= {"GEOLON": -70.3, "GEOLAT": -24.7, "ALTITUDE": 2150.0}
        if pointing is None:
            header |= {"RA_PNT": ra, "DEC_PNT": dec}
        times = np.asarray(gti) + first
        path = tmp_path / f"run_{number}.fits"
        write_observation(
            path, events, gti_table(times[:, 0], times[:, 1]), {**sample_irfs, **(irfs or {})}, header, pointing
        )
        return path

    def make(*runs):
        return Store.from_files([one(i + 1, **run) for i, run in enumerate(runs)])

    return make
