"""Point spread function: real responses against gammapy, closed forms, normalisation, containment."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from xgamma.irf.axes import response_axis
from xgamma.irf.psf import (
    containment,
    containment_radius,
    default_rad_axis,
    evaluate_psf,
    evaluate_psf_bins,
    from_gauss,
    normalise_psf,
)

RAD_EDGES = np.linspace(0, 0.66, 67)

# gammapy 2.1: psf.evaluate(energy_true=[0.3, 3] TeV, offset=[0.2, 1.3] deg, rad=[0.005, 0.105, 0.305] deg).to("sr-1")
REFERENCE = {
    "hess": [
        [[63724.9488804226, 24057.4025424569, 978.3706387082], [42934.1132566496, 25587.4299049602, 620.8243133841]],
        [[248920.0030123888, 16095.6381539033, 1073.130885435], [273891.0624966249, 14927.2896672401, 968.2094717488]],
    ],
    "cta": [
        [[1.9214318549e05, 2.5184305012e04, 6.6455474124e-03], [1.8185964696e05, 2.6587650064e04, 1.5838503369e-02]],
        [[5.3001776331e05, 1.8614978989e03, 9.4019598807e-16], [4.7379838520e05, 3.0516207214e03, 1.4162883129e-13]],
    ],
    "prod5": [
        [[1.6229678486e05, 2.9203382718e04, 8.1792883950e-02], [1.6859566225e05, 2.8375451861e04, 4.8288436548e-02]],
        [[6.5980905874e05, 5.6776029109e02, 8.0185393800e-21], [6.3163342946e05, 7.3815417039e02, 1.0210547744e-19]],
    ],
}


def king(gamma, sigma):
    """A King profile, the same at all energies and offsets."""
    gauss = from_gauss()
    psf = xr.Dataset({"gamma": gauss.sigma_1 * 0 + gamma, "sigma": gauss.sigma_1 * 0 + sigma}, coords=gauss.coords)
    psf["gamma"].attrs, psf["sigma"].attrs = {"units": ""}, {"units": "deg"}
    return psf.assign_attrs(hduclass="PSF_KING", is_pointlike=0)


@pytest.mark.parametrize("name", list(REFERENCE))
def test_values_of_gammapy(responses, name):
    result = evaluate_psf(responses[name]["psf"], [0.3, 3.0], [0.2, 1.3], [0.005, 0.105, 0.305])
    # far out in the tail of a Gaussian the float32 widths of gammapy show
    np.testing.assert_allclose(result, REFERENCE[name], rtol=1e-5)


@pytest.mark.parametrize("name", list(REFERENCE))
def test_bins_are_normalised(responses, name):
    offset = np.linspace(0, 2.4, 7).reshape(1, 7)
    values = evaluate_psf_bins(responses[name]["psf"], [0.5, 1.0, 30.0], offset, RAD_EDGES)
    assert values.shape == (3, 1, 7, 66)
    areas = np.pi * np.diff(np.deg2rad(RAD_EDGES) ** 2)
    np.testing.assert_allclose(values @ areas, 1.0, rtol=1e-12)


def test_outside_is_empty_and_stays_so(responses):
    hess = responses["hess"]["psf"]
    assert (evaluate_psf_bins(hess, [1.0, 200.0], [2.8, 3.5], RAD_EDGES) == 0).all()
    # CTA-1DC: amplitudes of 0 above some 300 TeV
    assert (evaluate_psf_bins(responses["cta"]["psf"], [1000.0], [5.9], RAD_EDGES) == 0).all()
    assert np.isnan(containment_radius(hess, 0.68, [200.0], 0.5)).all()
    assert (containment(hess, [200.0], 0.5, [0.1]) == 0).all()
    assert (normalise_psf(np.zeros((2, 66)), RAD_EDGES) == 0).all()


def test_parameters_continue_beyond_the_axes():
    psf = from_gauss("0.1 deg", offset_max="1 deg")
    np.testing.assert_allclose(evaluate_psf(psf, [1e-5], 5.0, [0.0]), evaluate_psf(psf, [1.0], 0.5, [0.0]))


@given(sigma=st.floats(0.01, 1.0), fraction=st.floats(0.01, 0.99))
@settings(max_examples=20, deadline=None)
def test_gaussian_containment(sigma, fraction):
    psf = from_gauss(f"{sigma} deg")
    expected = sigma * np.sqrt(-2 * np.log1p(-fraction))
    assert containment_radius(psf, fraction, [1.0], 0.5).item() == pytest.approx(expected, rel=1e-9)
    assert containment(psf, [1.0], 0.5, [expected]).item() == pytest.approx(fraction, rel=1e-9)


def test_three_gaussians_by_quadrature():
    psf = from_gauss("0.05 deg")
    for name, value in {"ampl_2": 0.3, "sigma_2": 0.1, "ampl_3": 0.02, "sigma_3": 0.3, "scale": 17.0}.items():
        psf[name] = psf[name] * 0 + value

    def density(rad):
        return 2 * np.pi * np.deg2rad(rad) * evaluate_psf(psf, [1.0], 0.5, [rad]).item() * np.deg2rad(1)

    assert quad(density, 0, 3, epsrel=1e-9, limit=200)[0] == pytest.approx(1.0, rel=1e-8)
    for rad in (0.03, 0.12, 0.5):
        expected = quad(density, 0, rad, epsrel=1e-9)[0]
        assert containment(psf, [1.0], 0.5, [rad]).item() == pytest.approx(expected, rel=1e-7)
        assert containment_radius(psf, expected, [1.0], 0.5).item() == pytest.approx(rad, rel=1e-6)


def test_king_profile():
    psf = king(1.505, 0.1)
    # gammapy 2.1: PSFKing with gamma=1.505, sigma=0.1 deg: evaluate(rad=[0, 0.1, 0.4] deg), containment([0.1, 0.4] deg)
    gamma, sigma2 = 1.505, np.deg2rad(0.1) ** 2
    rad = np.deg2rad([0.0, 0.1, 0.4])
    expected = (1 - 1 / gamma) / (2 * np.pi * sigma2) * (1 + rad**2 / (2 * gamma * sigma2)) ** -gamma
    np.testing.assert_allclose(evaluate_psf(psf, [1.0], 0.5, [0, 0.1, 0.4])[0], expected, rtol=1e-12)
    assert containment(psf, [1.0], 0.5, [0.4]).item() == pytest.approx(1 - (1 + 16 / (2 * gamma)) ** (1 - gamma))
    radius = containment_radius(psf, 0.5, [1.0], [0.5, 4.0])
    np.testing.assert_allclose(radius, 0.1 * np.sqrt(2 * gamma * (0.5 ** (1 / (1 - gamma)) - 1)), rtol=1e-9)
    # without a finite integral there is no profile
    assert evaluate_psf(king(0.9, 0.1), [1.0], 0.5, [0.1]).item() == 0


def test_king_values_of_gammapy():
    energy = from_gauss().energy_true
    psf = king(1.5, 0.1)
    psf["gamma"] = (psf["gamma"] + 0.01 * energy).assign_attrs(units="")
    # gammapy 2.1: gamma = 1.5 + 0.01 E / TeV, sigma = 0.1 deg; beyond the last centre the parameter is continued
    expected = [
        [17531.97984880154, 11385.207702749072, 1094.4535261827316],
        [46142.82916278756, 28383.321699143504, 162.5655254188543],
        [49569.42424064629, 30255.37797746429, 60.76932511581537],
    ]
    np.testing.assert_allclose(evaluate_psf(psf, [0.5, 700, 3000], 6.0, [0, 0.1, 0.4]), expected, rtol=1e-6)


def test_table_of_a_gaussian():
    edges = np.linspace(0, 1, 201)
    table = from_gauss("0.1 deg", rad=response_axis("rad", edges[:-1], edges[1:]))
    np.testing.assert_allclose(containment(table, [1.0], 0.5, [0.1, 0.151])[0], [0.39347, 0.68019], atol=2e-4)
    assert containment_radius(table, 0.68, [1.0], 0.5).item() == pytest.approx(0.150959, abs=1e-4)
    assert containment(table, [1.0], 0.5, [5.0]).item() == 1.0
    np.testing.assert_allclose(
        evaluate_psf(table, [1.0], [0.5], [0.2]), evaluate_psf(from_gauss(), [1.0], [0.5], [0.2]), rtol=1e-2
    )


def test_containment_radii_of_gammapy(responses):
    # gammapy 2.1: psf.containment_radius(0.68, energy_true=[1, 10] TeV, offset=[0, 0.7, 2.2] deg); it takes the nearest
    # of points some 3e-4 deg apart (H.E.S.S.) or 5e-4 deg (CTA)
    hess = [[0.12291, 0.12178, 0.15137], [0.10773, 0.11403, 0.16844]]
    cta = [[0.05075, 0.05125, 0.05325], [0.03525, 0.03775, 0.04625]]
    for name, expected in (("hess", hess), ("cta", cta)):
        radius = containment_radius(responses[name]["psf"], 0.68, [1.0, 10.0], [0.0, 0.7, 2.2])
        np.testing.assert_allclose(radius, expected, atol=5e-4)


def test_default_axis_and_errors():
    axis = default_rad_axis()
    assert axis.sizes["rad"] == 66
    assert float(axis["rad_max"][-1]) == pytest.approx(0.66)
    with pytest.raises(ValueError, match="fraction=1"):
        containment_radius(from_gauss(), 1, [1.0], 0.5)
    with pytest.raises(ValueError, match="sigma='-1 deg'"):
        from_gauss("-1 deg")
    with pytest.raises(ValueError, match=r"no parameters \['ampl_2'"):
        evaluate_psf(from_gauss().drop_vars("ampl_2"), [1.0], 0.5, [0.1])
    with pytest.raises(ValueError, match="has units 'deg-2'"):
        evaluate_psf(from_gauss(rad=axis).assign_attrs(units="deg-2"), [1.0], 0.5, [0.1])
