"""Writing: every class comes back as it was."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.irf import aeff, background, edisp, psf
from xgamma.irf.rad_max import evaluate_rad_max, rad_max_from_aeff
from xgamma.irf.read import read_irf
from xgamma.irf.write import irf_to_hdu


def king():
    gauss = psf.from_gauss()
    result = xr.Dataset({"gamma": gauss.ampl_2 + 1.5, "sigma": gauss.sigma_1}, coords=gauss.coords)
    result["gamma"].attrs.update(units="", long_name="King profile index")
    result["sigma"].attrs.update(long_name="King profile width")
    return result.assign_attrs(hduclass="PSF_KING", is_pointlike=0)


RESPONSES = {
    "AEFF_2D": aeff.from_parametrization().assign_attrs(lo_thres=0.5, hi_thres=50.0, telescop="TEST"),
    "EDISP_2D": edisp.from_gauss(0.2),
    "PSF_TABLE": psf.from_gauss("0.1 deg", rad=psf.default_rad_axis()),
    "PSF_3GAUSS": psf.from_gauss("0.1 deg"),
    "PSF_KING": king(),
    "BKG_2D": background.powerlaw_background(sigma="2 deg"),
    "BKG_3D": background.powerlaw_background(sigma="2 deg", three_d=True).assign_attrs(fov_alignment="ALTAZ"),
    "RAD_MAX_2D": rad_max_from_aeff(aeff.from_parametrization().assign_attrs(is_pointlike=1, rad_max=0.2)),
}


@pytest.mark.parametrize("name", list(RESPONSES))
def test_round_trip_through_a_file(name):
    response = RESPONSES[name]
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), irf_to_hdu(response)]).writeto(stream)
    with fits.open(io.BytesIO(stream.getvalue())) as hdus:
        assert hdus[1].header["HDUCLAS4"] == name
        assert hdus[1].header["HDUVERS"] == "0.3"
        back = read_irf(hdus[1])
    # the unit conversion may cost a rounding
    xr.testing.assert_allclose(back, response, rtol=1e-15, atol=0)
    assert back.attrs == response.attrs
    assert {n: v.attrs for n, v in back.coords.items()} == {n: v.attrs for n, v in response.coords.items()}


@pytest.mark.parametrize("name", ["hess", "cta", "prod5", "magic", "joint"])
def test_real_responses_come_back_identical(responses, name):
    for hdu in responses[name]["hdus"]:
        response = read_irf(hdu)
        for dtype in ("float64", "float32", None):
            xr.testing.assert_identical(read_irf(irf_to_hdu(response, dtype=dtype)), response)


@pytest.mark.parametrize("name", ["hess", "cta", "magic"])
def test_copies_of_real_responses_keep_the_type_of_their_numbers(responses, name):
    for hdu in responses[name]["hdus"]:
        own = {c.name: c.format[-1] for c in irf_to_hdu(read_irf(hdu)).columns}
        given = {c.name: c.format[-1] for c in hdu.columns}
        assert {n: given[n] for n in own if n in given and given[n] == "E"}.keys() <= {n for n in own if own[n] == "E"}


def test_numbers_that_float32_does_not_hold_are_written_as_float64():
    response = RESPONSES["AEFF_2D"].copy(deep=True)
    response[:] = 2.0**20 * 1e4
    formats = {c.name: c.format[-1] for c in irf_to_hdu(response).columns}
    assert formats["EFFAREA"] == "E"
    response[0, 0] = 1.0 / 3.0
    assert {c.name: c.format[-1] for c in irf_to_hdu(response).columns}["EFFAREA"] == "D"


def test_a_background_next_to_an_empty_bin_is_the_same_in_both_types():
    # gammapy's differs: the smallest number of the column's type takes the place of the zero
    response = background.powerlaw_background(sigma="2 deg", offset_max="4 deg", bins=8, three_d=True)
    response[:, :, -1] = 0.0
    both = [read_irf(irf_to_hdu(response, dtype=dtype)) for dtype in ("float64", "float32")]
    lat = response.fov_lat.values
    between = np.linspace(lat[-2], lat[-1], 7)
    rates = [background.evaluate_background(b, [1.0], np.zeros(7), between) for b in both]
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-6)
    # a line in the logarithm down to the smallest float32, in s-1 MeV-1 sr-1
    here, floor = rates[0][0, 0], float(np.finfo("float32").tiny) * 1e6
    np.testing.assert_allclose(rates[0][0], here * (floor / here) ** np.linspace(0, 1, 7), rtol=1e-6)


def test_nodes_stay_nodes(responses):
    hdu = irf_to_hdu(responses["hess"]["aeff"])
    np.testing.assert_array_equal(hdu.data["THETA_LO"], hdu.data["THETA_HI"])
    assert hdu.columns["EFFAREA"].unit == "m2"
    assert hdu.data["EFFAREA"].shape == (1, 6, 96)


def test_lazy_response_is_written():
    response = RESPONSES["BKG_2D"]
    xr.testing.assert_allclose(read_irf(irf_to_hdu(response.chunk({"energy": 5}))), response, rtol=1e-15)


def test_what_cannot_be_written():
    response = RESPONSES["AEFF_2D"]
    with pytest.raises(ValueError, match=r"hduclass.* is None"):
        irf_to_hdu(response.drop_attrs())
    with pytest.raises(ValueError, match="class BKG_3D has dims"):
        irf_to_hdu(response.assign_attrs(hduclass="BKG_3D"))
    with pytest.raises(ValueError, match="units 'm2' instead of 'cm2'"):
        irf_to_hdu(response.assign_attrs(units="m2"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        irf_to_hdu(response.where(response.energy_true > 1))
    with pytest.raises(ValueError, match="dtype='int16'"):
        irf_to_hdu(response, dtype="int16")
    with pytest.raises(ValueError, match=r"needs the variables \['ampl_2'\]"):
        irf_to_hdu(RESPONSES["PSF_3GAUSS"].drop_vars("ampl_2"))


def test_rad_max(responses):
    magic = responses["magic"]["rad_max"]
    # gammapy 2.1: rad_max.evaluate(method="nearest", energy=[0.02, 0.03, 0.1, 0.17, 0.26, 1.5] TeV, offset=0.4 deg)
    expected = [0.38729835, 0.3, 0.2236068, 0.14142135, 0.14142135, 0.1]
    # at 0.1 TeV, the edge, gammapy takes the bin above or below by a rounding of float32
    energy = [0.02, 0.03, 0.0999, 0.17, 0.24, 1.5]
    np.testing.assert_allclose(evaluate_rad_max(magic, energy, 0.4), expected, rtol=1e-6)
    assert evaluate_rad_max(magic, energy, [[0.1], [0.6]]).shape == (6, 2, 1)
    assert (evaluate_rad_max(magic, energy, 0.5) == 0).all()
    assert (evaluate_rad_max(magic, [0.001, 500.0], 0.4) == 0).all()


def test_rad_max_of_a_keyword(responses):
    table = rad_max_from_aeff(responses["joint"]["aeff"])
    np.testing.assert_allclose(evaluate_rad_max(table, [0.01, 10.0], [0.0, 5.0]), 0.1414213)
    assert rad_max_from_aeff(responses["hess"]["aeff"]) is None
