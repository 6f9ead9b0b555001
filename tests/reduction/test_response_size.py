"""PSF and energy dispersion of a survey are kept small, or a warning says how."""

from __future__ import annotations

import warnings

import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.coords.bins import bin_axis
from xgamma.reduction.response_size import response_numbers, warn_large_responses
from xgamma.reduction.settings import reduce_settings


def settings(width=("130 deg", "20 deg"), selection="all", **options):
    grid = xg.sky_grid(
        SkyCoord(0, 0, unit="deg", frame="galactic"),
        width,
        energy=xg.energy_axis("0.5 TeV", "20 TeV", nbin=12),
        energy_true=xg.energy_axis("0.3 TeV", "30 TeV", nbin=16),
        **options,
    )
    return reduce_settings(grid, selection, None, "2.5 deg", 1, 8)


def test_numbers(survey):
    maps, responses = response_numbers(settings(("3 deg", "2 deg")))
    assert maps == (12 + 12 + 16) * 150 * 100
    assert responses == (16 * 66 + 16 * 12 + 16) * 15 * 10
    assert response_numbers(settings(("3 deg", "2 deg"), "counts")) == (12 * 15000, 0)
    cube = xg.reduce(
        survey.observations[:1],
        xg.sky_grid(
            SkyCoord(150, -25, unit="deg"),
            "2 deg",
            "0.1 deg",
            energy=xg.energy_axis("1 TeV", "10 TeV", nbin=2),
            energy_true=xg.energy_axis("1 TeV", "10 TeV", nbin=3),
        ),
        selection="all",
    )
    assert sum(cube[n].size for n in ("psf", "edisp", "irf_exposure")) == 3 * (66 + 2 + 1) * 10 * 10


def test_a_survey_is_warned_and_the_advice_is_good():
    with pytest.warns(UserWarning, match=r"take 0.61 GiB, 32% of the maps: pass irf_binsize='0.4 deg'"):
        warn_large_responses(settings())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_large_responses(settings(irf_binsize="0.4 deg"))
        warn_large_responses(settings(selection=["counts", "background", "exposure"]))
        # a short rad axis helps as well
        rad = bin_axis("rad", [0, 0.02, 0.05, 0.1], [0.02, 0.05, 0.1, 0.3], "deg", "lin")
        warn_large_responses(settings(rad=rad))
        # one field is small, whatever its share is
        warn_large_responses(settings(("5 deg", "5 deg")))
