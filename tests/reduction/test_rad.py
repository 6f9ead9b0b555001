"""The axis of the PSF of a survey ends where the PSF does, and keeps its shape."""

from __future__ import annotations

import numpy as np
import pytest

import xgamma as xg
from xgamma.coords.bins import bin_edges
from xgamma.irf.psf import containment_radius, evaluate_psf_bins
from xgamma.reduction.rad import containment_rad_axis

ENERGY = xg.energy_axis("1 TeV", "10 TeV", nbin=4)


@pytest.mark.parametrize("fraction", [0.8, 0.95])
@pytest.mark.parametrize("nbin", [8, 24])
def test_it_ends_where_the_widest_psf_does(survey, fraction, nbin):
    runs = survey.observations
    axis = containment_rad_axis(runs, ENERGY, fraction=fraction, nbin=nbin)
    edges = bin_edges(axis, "rad")
    radii = containment_radius(runs[0].psf, fraction, ENERGY.values, np.array([0.0, 1.0, 2.0]))
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(np.nanmax(radii), rel=1e-12)
    assert len(edges) == nbin + 1
    widths = np.diff(edges)
    assert (widths > 0).all()
    assert (np.diff(widths) > -1e-12).all()
    # the bins hold that part of the events and no less, the narrowest bin is inside the core
    assert widths[0] <= np.nanmin(containment_radius(runs[0].psf, 0.2, ENERGY.values, np.array([0.0, 1.0, 2.0])))


def test_a_psf_on_it_keeps_its_containment(survey):
    psf = survey.observations[0].psf
    edges = bin_edges(containment_rad_axis(survey.observations, ENERGY, fraction=0.99, nbin=24), "rad")
    values = evaluate_psf_bins(psf, ENERGY.values, 0.5, edges)
    area = np.pi * np.diff(np.deg2rad(edges) ** 2)
    inside = np.cumsum(values * area, axis=-1)
    r68 = containment_radius(psf, 0.68, ENERGY.values, 0.5)
    found = [np.interp(0.68, row / row[-1], edges[1:]) for row in inside]
    np.testing.assert_allclose(found, r68, rtol=0.03)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"fraction": 1.5}, "between 0 and 1"), ({"nbin": 1}, "at least 2"), ({"observations": []}, "has a PSF")],
)
def test_words(survey, change, words):
    arguments = {"observations": survey.observations, "energy_true": ENERGY} | change
    with pytest.raises(ValueError, match=words):
        containment_rad_axis(**arguments)
