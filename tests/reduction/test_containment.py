"""Containment of point spread functions: sums of a table's rings are exact, whatever is drawn between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xgamma.irf.axes import response_array, response_axis
from xgamma.irf.psf import containment, evaluate_psf
from xgamma.reduction.containment import circle_containment

ENERGY = np.array([1.0])
OFFSET = np.array([0.5])
SIGMA = 0.05


def gaussian(rad: np.ndarray) -> np.ndarray:
    """Part of a Gaussian inside a radius."""
    return -np.expm1(-0.5 * (rad / SIGMA) ** 2)


@pytest.fixture
def table():
    """A Gaussian counted in rings of equal area up to where 2 % of it are left, as simulations are."""
    edges = np.sqrt(np.arange(0, 21) * 0.001)
    density = np.diff(gaussian(edges)) / (np.pi * np.diff(np.deg2rad(edges) ** 2))
    axes = [
        response_axis("energy_true", [0.1], [100.0]),
        response_axis("offset", [0.0], [2.0]),
        response_axis("rad", edges[:-1], edges[1:]),
    ]
    return edges, response_array(density[np.newaxis, np.newaxis], axes, "psf", "sr-1", "PSF")


def test_sums_are_exact_at_the_edges_of_rings(table):
    edges, psf = table
    whole = gaussian(edges[-1])
    assert 0.97 < whole < 0.99
    for radius in edges[1:]:
        as_it_is = circle_containment(psf, ENERGY, OFFSET, float(radius))
        np.testing.assert_allclose(as_it_is, gaussian(radius), rtol=1e-12)
    of_itself = containment(psf, ENERGY, OFFSET, edges[1:])[0, 0]
    np.testing.assert_allclose(of_itself, gaussian(edges[1:]) / whole, rtol=1e-12)


def test_inside_a_ring_both_lie_between_its_edges_and_beside_the_truth(table):
    edges, psf = table
    for low, high in itertools.pairwise(edges[3:]):
        middle = 0.5 * (low + high)
        values = [
            float(circle_containment(psf, ENERGY, OFFSET, middle)[0, 0]),
            float(containment(psf, ENERGY, OFFSET, [middle])[0, 0, 0]) * gaussian(edges[-1]),
        ]
        for value in values:
            assert gaussian(low) < value < gaussian(high)
            assert value == pytest.approx(gaussian(middle), rel=0.01)


def test_the_line_between_the_middles_of_rings_does_not_conserve_events(table):
    """Why tables are not integrated along the line by which they are evaluated."""
    edges, psf = table
    fine = np.linspace(0, edges[-1], 40_001)
    density = evaluate_psf(psf, ENERGY, OFFSET, 0.5 * (fine[1:] + fine[:-1]))[0, 0]
    integral = float(density @ (np.pi * np.diff(np.deg2rad(fine) ** 2)))
    assert abs(integral / gaussian(edges[-1]) - 1) > 1e-3
