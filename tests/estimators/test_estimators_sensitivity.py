"""Sensitivity against closed forms and gammapy's numbers."""

import dask
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq

import xgamma as xg
from xgamma.coords.bins import rename_axis
from xgamma.estimators.sensitivity import expected_spectrum, sensitivity
from xgamma.kernels.stats import li_ma_significance

# gammapy 2.1, SensitivityEstimator as in its tutorial: 50 h, 0.5 deg, 20 bins of 0.03 to 30 TeV, 68 % containment,
# acceptance_off 5; every fourth bin, erg cm-2 s-1. Its radii of containment are multiples of 0.0005 deg.
PROD5 = {
    "Prod5-North-20deg-AverageAz-4LSTs09MSTs": [5.64147e-12, 8.60406e-13, 2.94846e-13, 1.95752e-13, 3.81884e-13],
    "Prod5-South-20deg-AverageAz-14MSTs37SSTs": [5.15606e-11, 8.33999e-13, 2.41734e-13, 1.18413e-13, 1.60639e-13],
}
CRITERIA = {
    "Prod5-North-20deg-AverageAz-4LSTs09MSTs": [2] * 2 + [0] * 14 + [1] * 4,
    "Prod5-South-20deg-AverageAz-14MSTs37SSTs": [0] * 2 + [2] + [0] * 13 + [1] * 4,
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", list(PROD5))
def test_prod5_as_gammapy(gammapy_data, name):
    cube = expected_spectrum(
        gammapy_data / f"cta-caldb/{name}.180000s-v0.1.fits.gz",
        livetime="50 h",
        energy=xg.energy_axis("0.03 TeV", "30 TeV", nbin=20),
        energy_true=xg.energy_axis("0.01 TeV", "100 TeV", nbin=100, name="energy_true"),
        acceptance_off=5,
    )
    curve = sensitivity(cube)
    assert np.allclose(curve.e2dnde[::4], PROD5[name], rtol=0.004)
    assert curve.criterion.values.tolist() == CRITERIA[name]


def make_cube(background=(400.0, 50.0, 1.0, 0.0)):
    energy = xg.energy_axis("1 TeV", "100 TeV", nbin=4)
    cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    cube["background"] = "energy", np.array(background)
    cube["exposure"] = "energy_true", np.array([1e13, 2e13, 3e13, 3e13]), {"units": "cm2 s"}
    return cube


def on_off(cube, acceptance_off=5.0):
    ones = xr.ones_like(cube.background)
    return cube.assign(
        acceptance=ones, acceptance_off=acceptance_off * ones, counts_off=acceptance_off * cube.background
    )


def test_excess_has_the_significance():
    curve = sensitivity(on_off(make_cube()), gamma_min=0, bkg_syst_fraction=0)
    n_off = 5 * make_cube().background.values
    excess = curve.excess.values
    assert np.allclose(li_ma_significance(excess + n_off / 5, n_off, np.full(4, 0.2)), 5.0)
    known = sensitivity(make_cube(), gamma_min=0, bkg_syst_fraction=0)
    assert float(known.excess[3]) == 0.0
    for b, found in zip(make_cube().background.values[:3], known.excess.values[:3], strict=True):
        root = brentq(lambda s, b=b: 2 * ((s + b) * np.log1p(s / b) - s) - 25, 1e-3, 1e3)
        assert found == pytest.approx(root)
    assert (known.excess < curve.excess).all()


def test_criteria_and_fluxes():
    curve = sensitivity(on_off(make_cube()), bkg_syst_fraction=0.5)
    assert curve.criterion.values.tolist() == [2, 0, 0, 1]
    assert float(curve.excess[0]) == 200.0
    assert float(curve.excess[3]) == 10.0
    model = xg.PowerLawSpectralModel()
    source = xg.SkyModel(model, name="source")
    cube = make_cube().assign(counts=make_cube().background)
    for i in range(4):
        factor = float(curve.excess[i] / xg.npred_signal(cube, source)[i])
        at = float(curve.energy[i])
        assert float(curve.dnde[i]) == pytest.approx(factor * 1e-12 * at**-2)
        assert float(curve.e2dnde[i]) == pytest.approx(factor * 1e-12 * 1.602176634)
    other = sensitivity(on_off(make_cube()), xg.PowerLawSpectralModel(index=3.0), bkg_syst_fraction=0.5)
    # without energy dispersion the integral in the bin does not depend on the shape
    assert np.allclose(other.flux, curve.flux)


def test_bins_are_joined():
    cube = on_off(make_cube((400.0, 50.0, 10.0, 3.0)))
    joined = sensitivity(cube, energy_edges=["1 TeV", "10 TeV", "100 TeV"], gamma_min=0, bkg_syst_fraction=0)
    assert np.allclose(joined.background, [450, 13])
    off = np.array([5 * 450.0, 5 * 13.0])
    assert np.allclose(li_ma_significance(joined.excess.values + off / 5, off, np.full(2, 0.2)), 5.0)


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


def test_many_at_once_and_lazily():
    cubes = [on_off(make_cube(np.array((400.0, 50.0, 1.0, 0.2)) * k)) for k in (1, 2, 3)]
    cube = xr.concat(cubes, "region", data_vars=["background", "counts_off"], coords="minimal", compat="override")
    with dask.config.set(scheduler=raising):
        lazy = sensitivity(cube.assign({n: cube[n].chunk({"region": 1}) for n in ("background", "counts_off")}))
    assert lazy.e2dnde.chunks is not None
    assert lazy.e2dnde.dims == ("region", "energy")
    for i, one in enumerate(cubes):
        assert np.allclose(lazy.e2dnde[i], sensitivity(one).e2dnde)
    safe = cube.assign(mask_safe=("energy", [False, True, True, True]))
    assert np.isfinite(sensitivity(safe).e2dnde[:, 1:]).all()


def test_words():
    with pytest.raises(ValueError, match="'background'"):
        sensitivity(make_cube().drop_vars("background"))
    with pytest.raises(ValueError, match="'exposure'"):
        sensitivity(make_cube().drop_vars("exposure"))
    with pytest.raises(ValueError, match="n_sigma"):
        sensitivity(make_cube(), n_sigma=0)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    with pytest.raises(ValueError, match=r"\['aeff', 'edisp', 'psf', 'bkg'\]"):
        expected_spectrum({}, livetime="1 h", energy=energy, energy_true=energy)
