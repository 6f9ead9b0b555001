"""Maps of sensitivity: integrals written out, the spectra's function at single pixels, tiles, gammapy's numbers."""

import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.optimize import brentq
from scipy.special import erf

import xgamma as xg
from xgamma.estimators.sensitivity import sensitivity
from xgamma.estimators.sensitivity_map import sensitivity_map
from xgamma.kernels.convolve import disc_kernel
from xgamma.kernels.stats import li_ma_significance
from xgamma.models.spatial_shapes import GaussianSpatialModel

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")
SIGMA = np.array([0.12, 0.08, 0.06])
VALUES = ("e2dnde", "dnde", "flux", "excess", "background")


def make_cube(on_off=False):
    rng = np.random.default_rng(4)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    cube = xg.sky_grid(CENTER, ("4.1 deg", "3.1 deg"), "0.1 deg", frame="galactic", energy=energy, energy_true=energy)
    cube = cube.drop_vars([n for n in cube.coords if str(n).startswith("irf_")])
    shape = (3, 31, 41)
    dims = ("energy", "y", "x")
    cube["background"] = dims, rng.uniform(0.5, 1.5, shape) * [[[9.0]], [[2.0]], [[0.2]]], {"units": ""}
    cube["exposure"] = ("energy_true", "y", "x"), rng.uniform(1e13, 2e13, shape), {"units": "cm2 s"}
    cube["psf"] = ("energy_true", "rad"), np.exp(-0.5 * (cube.rad.values / SIGMA[:, None]) ** 2), {"units": "sr-1"}
    mask = rng.uniform(size=shape) > 0.1
    mask[:, :4, :6] = False
    mask[:, 15, 20] = True
    cube["mask_safe"] = dims, mask
    if on_off:
        cube["acceptance"] = dims, np.ones(shape), {"units": ""}
        cube["acceptance_off"] = dims, np.full(shape, 8.0), {"units": ""}
        cube["counts_off"] = dims, 8.0 * cube.background.values, {"units": ""}
    return cube


def in_pixels(sigma, half):
    """A Gaussian in square pixels of 0.1 deg."""
    edges = (np.arange(-half, half + 2) - 0.5) * 0.1
    line = np.diff(0.5 * erf(edges / np.sqrt(2) / sigma))
    return np.outer(line, line)


def written_out(cube, y, x, radius):
    """Background and signal in the disc around a pixel, shape (bins,)."""
    half = round(radius / 0.1)
    disc = disc_kernel(half)
    padded = {n: np.pad(cube[n].values, [(0, 0), (half, half), (half, half)]) for n in ("background", "mask_safe")}
    here = (slice(None), slice(y, y + 2 * half + 1), slice(x, x + 2 * half + 1))
    take = disc * padded["mask_safe"][here]
    lo, hi = cube.energy_min.values, cube.energy_max.values
    flux = 1e-12 * (1 / lo - 1 / hi)
    kernel = np.stack([in_pixels(s, half) for s in SIGMA])
    signal = flux * cube.exposure.values[:, y, x] * (take * kernel).sum(axis=(1, 2))
    return (take * padded["background"][here]).sum(axis=(1, 2)), signal, flux


PIXELS = [(15, 20), (0, 0), (30, 3), (8, 40), (5, 5)]


@pytest.mark.parametrize("on_off", [False, True])
def test_pixels_written_out(on_off):
    cube = make_cube(on_off)
    maps = sensitivity_map(cube, "0.3 deg", gamma_min=0, bkg_syst_fraction=0)
    compared = 0
    for y, x in PIXELS:
        background, signal, flux = written_out(cube, y, x, 0.3)
        found = maps.isel(y=y, x=x)
        for e in range(3):
            if not cube.mask_safe.values[e, y, x]:
                assert np.isnan(found.flux.values[e])
                assert int(found.criterion[e]) == -1
                continue
            compared += 1
            b, excess = background[e], float(found.excess[e])
            assert float(found.background[e]) == pytest.approx(b, rel=1e-9)
            if on_off:
                assert li_ma_significance(excess + b, 8 * b, 0.125) == pytest.approx(5.0, rel=1e-6)
            else:
                root = brentq(lambda s, b=b: 2 * ((s + b) * np.log1p(s / b) - s) - 25, 1e-3, 1e4)
                assert excess == pytest.approx(root, rel=1e-8)
            # the tables of the point spread function have steps: 1e-3 of the containment
            assert float(found.flux[e]) == pytest.approx(excess / signal[e] * flux[e], rel=2e-3)
    assert compared >= 8


def test_as_spectra_of_the_same_pixels():
    """The function for spectra, fed with sums over the disc by hand."""
    cube = make_cube(on_off=True)
    maps = sensitivity_map(cube, "0.3 deg", xg.PowerLawSpectralModel(index=3))
    y, x = 15, 20
    b, signal, flux = written_out(cube, y, x, 0.3)
    fraction = signal / flux / cube.exposure.values[:, y, x]
    one = cube[["exposure", "background"]].isel(y=y, x=x, drop=True)
    one["exposure"] = one.exposure.copy(data=one.exposure.values * fraction)
    one["exposure"].attrs["units"] = "cm2 s"
    for name, values in (("background", b), ("acceptance", 1.0), ("acceptance_off", 8.0), ("counts_off", 8 * b)):
        one[name] = "energy", np.broadcast_to(values, 3).astype(float)
    curve = sensitivity(
        one.drop_vars(["wcs", "lon", "lat", "y", "x"], errors="ignore"), xg.PowerLawSpectralModel(index=3)
    )
    found = maps.isel(y=y, x=x)
    inside = cube.mask_safe.values[:, y, x]
    for name in VALUES:
        np.testing.assert_allclose(found[name].values[inside], curve[name].values[inside], rtol=2e-3, err_msg=name)
        assert found[name].attrs["units"] == curve[name].attrs["units"]
    assert found.criterion.values[inside].tolist() == curve.criterion.values[inside].tolist()


def test_bins_are_joined():
    cube = make_cube()
    edges = ["1 TeV", f"{cube.energy_max.values[1]} TeV", "10 TeV"]
    joined = sensitivity_map(cube, "0.3 deg", energy_edges=edges, gamma_min=0, bkg_syst_fraction=0)
    y, x = 15, 20
    background, signal, flux = written_out(cube, y, x, 0.3)
    assert joined.sizes["energy"] == 2
    found = joined.isel(y=y, x=x)
    assert float(found.background[0]) == pytest.approx(background[:2].sum(), rel=1e-9)
    factor = float(found.excess[0]) / signal[:2].sum()
    assert float(found.flux[0]) == pytest.approx(factor * flux[:2].sum(), rel=2e-3)


def raising(*args, **kwargs):
    pytest.fail("computed while the graph was built")


@pytest.mark.parametrize("on_off", [False, True])
@pytest.mark.parametrize("chunks", [{"y": 10, "x": 14}, {"y": 31, "x": 7, "energy": 1}])
def test_tiles_are_lazy_and_equal(on_off, chunks):
    cube = make_cube(on_off)
    expected = sensitivity_map(cube, "0.3 deg", zone_width="1 deg")
    with dask.config.set(scheduler=raising):
        lazy = sensitivity_map(cube.chunk(chunks), "0.3 deg", zone_width="1 deg")
    assert all(v.chunks is not None for v in lazy.data_vars.values())
    for name in (*VALUES, "criterion"):
        np.testing.assert_allclose(lazy[name], expected[name], rtol=1e-9, err_msg=name)


def test_extended_sources_need_more():
    cube = make_cube()
    point = sensitivity_map(cube, "0.3 deg")
    wide = sensitivity_map(cube, "0.3 deg", GaussianSpatialModel(sigma="0.3 deg", frame="galactic"))
    np.testing.assert_array_equal(point.excess, wide.excess)
    assert float((wide.flux / point.flux).median()) > 1.5


def test_words():
    cube = make_cube()
    for change, match in (
        (lambda c: c.drop_vars("background"), "'background'"),
        (lambda c: c.drop_vars("exposure"), "'exposure'"),
        (lambda c: c.drop_vars("psf"), "no 'psf'"),
        (lambda c: c.expand_dims(obs=2), "stack runs first"),
    ):
        with pytest.raises(ValueError, match=match):
            sensitivity_map(change(cube), "0.3 deg")
    with pytest.raises(ValueError, match="n_sigma"):
        sensitivity_map(cube, "0.3 deg", n_sigma=0)
    with pytest.raises(ValueError, match="radius"):
        sensitivity_map(cube, "-1 deg")


#: gammapy 2.1, at pixels (y, x): MapDataset.to_spectrum_dataset of a circle of 0.301 deg with containment correction,
#: SpectrumDatasetOnOff with an acceptance_off of 10, SensitivityEstimator of a power law of index 2: excess counts,
#: background counts, erg cm-2 s-1.
GAMMAPY = {
    (100, 200): (
        [50.153, 39.3094, 31.2196, 25.2445, 20.76, 17.5447, 15.107, 13.1799, 11.6531, 10.4464, 10.0],
        [74.5427, 43.1881, 25.357, 15.2342, 9.3338, 5.99606, 3.96027, 2.65117, 1.80095, 1.24492, 0.879558],
        [9.45323e-12, 1.0379e-11, 1.15779e-11, 1.30072e-11, 1.5004e-11, 1.80117e-11, 2.21175e-11, 2.75182e-11,
         3.4609e-11, 4.41064e-11, 6.03441e-11],
    ),
    (60, 52): (
        [24.2709, 19.1806, 15.4102, 12.6811, 10.6793, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0],
        [13.8297, 7.60129, 4.19038, 2.35528, 1.3443, 0.793499, 0.477425, 0.288728, 0.177688, 0.112112, 0.0722839],
        [4.63496e-12, 5.13224e-12, 5.78916e-12, 6.61002e-12, 7.80666e-12, 1.03829e-11, 1.48076e-11, 2.11237e-11,
         3.00506e-11, 4.27249e-11, 6.10801e-11],
    ),
}  # fmt: skip


@pytest.mark.real_data
def test_fermi_cube_as_gammapy(gammapy_data):
    """Fluxes differ by up to 2e-3: gammapy takes the containment of a circle, here it is that of the disc's pixels."""
    cube = xg.open_cube(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz").load().drop_vars("mask_safe")
    one = cube.background * 0 + 1
    cube = cube.assign(acceptance=one, acceptance_off=10 * one, counts_off=10 * cube.background)
    maps = sensitivity_map(cube, "0.301 deg")
    for (y, x), numbers in GAMMAPY.items():
        found = maps.isel(y=y, x=x)
        for name, expected, rtol in zip(("excess", "background", "e2dnde"), numbers, (5e-6, 5e-6, 2.5e-3), strict=True):
            np.testing.assert_allclose(found[name], expected, rtol=rtol, err_msg=f"{name} at {y}, {x}")
