"""Real responses, read once."""

from __future__ import annotations

import pytest
from astropy.io import fits

FILES = {
    "hess": "hess-dl3-dr1/data/hess_dl3_dr1_obs_id_023523.fits.gz",
    "cta": "cta-1dc/caldb/data/cta/1dc/bcf/South_z20_50h/irf_file.fits",
    "prod5": "cta-caldb/Prod5-South-20deg-AverageAz-14MSTs37SSTs.180000s-v0.1.fits.gz",
    "magic": "magic/rad_max/data/20131004_05029747_DL3_CrabNebula-W0.40+035.fits",
    "joint": "joint-crab/dl3/magic/run_05029748_DL3.fits",
}


@pytest.fixture(scope="session")
def responses(gammapy_data):
    """Responses by instrument and kind; tables by instrument and HDU name under "hdus"."""
    from xgamma.irf.read import IRF_CLASSES, irf_class_of, read_irf

    result = {}
    for name, path in FILES.items():
        with fits.open(gammapy_data / path) as hdus:
            tables = [h.copy() for h in hdus if h.name not in ("PRIMARY", "EVENTS", "GTI")]
        result[name] = {IRF_CLASSES[irf_class_of(h)].kind: read_irf(h) for h in tables}
        result[name]["hdus"] = tables
    return result
