"""Adaptive smoothing against sums written out, against gammapy's definitions, in tiles; residual maps."""

import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.signal import convolve2d

import xgamma as xg
from xgamma.estimators.adaptive_smooth import adaptive_smooth
from xgamma.estimators.excess import excess_map
from xgamma.estimators.residuals import residuals
from xgamma.kernels.convolve import disc_kernel
from xgamma.kernels.stats import cash_excess

CENTER = SkyCoord(0, 0, unit="deg")
SCALES = ["0.1 deg", "0.15 deg", "0.2 deg", "0.3 deg"]


def make_cube(masked=True, bins=2):
    rng = np.random.default_rng(5)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=bins)
    cube = xg.sky_grid(CENTER, ("3 deg", "2.5 deg"), "0.05 deg", energy=energy, energy_true=energy)
    y, x = np.mgrid[:50, :60]
    background = rng.uniform(0.3, 0.5, (bins, 50, 60))
    signal = 8 * np.exp(-((y - 20) ** 2 + (x - 35) ** 2) / 2 / 2.5**2)
    cube["counts"] = ("energy", "y", "x"), rng.poisson(background + signal).astype(float), {"units": ""}
    cube["background"] = ("energy", "y", "x"), background, {"units": ""}
    cube["exposure"] = ("energy_true", "y", "x"), np.full((bins, 50, 60), 1e13), {"units": "cm2 s"}
    mask = rng.uniform(size=background.shape) > (0.1 if masked else -1)
    mask[:, :, :4] &= not masked
    cube["mask_safe"] = ("energy", "y", "x"), mask
    return cube


def gauss(sigma):
    k = np.arange(-4 * sigma, 4 * sigma + 1)
    line = np.exp(-0.5 * (k / sigma) ** 2)
    return np.outer(line, line)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # nothing inside the mask: 0 / 0
@pytest.mark.parametrize("method", ["lima", "asmooth"])
@pytest.mark.parametrize("kernel", ["gauss", "disk"])
def test_sums_written_out(method, kernel):
    cube = make_cube()
    maps = adaptive_smooth(cube, SCALES, kernel=kernel, method=method)
    mask = cube.mask_safe.values
    n, b = ((cube[v].values * mask).sum(axis=0) for v in ("counts", "background"))
    inside = mask.any(axis=0).astype(float)
    result = {name: np.full((50, 60), np.nan) for name in ("counts", "background", "sqrt_ts", "scale")}
    for scale in (2, 3, 4, 6):
        weights = gauss(scale) if kernel == "gauss" else disc_kernel(scale)
        total, model, area = (convolve2d(v, weights, mode="same") for v in (n, b, inside))
        significance = (
            cash_excess(total, model).sqrt_ts if method == "lima" else (total - model) / np.sqrt(total + model)
        )
        take = np.isnan(result["scale"]) & (significance > 5) & (inside > 0)
        for name, values in (("counts", total / area), ("background", model / area), ("sqrt_ts", significance)):
            result[name][take] = values[take]
        result["scale"][take] = scale * 0.05
    rest = np.isnan(result["scale"]) & (inside > 0)
    result["counts"][rest], result["background"][rest] = (total / area)[rest], (model / area)[rest]
    assert 100 < np.isfinite(result["scale"]).sum() < 2000
    for name, expected in result.items():
        np.testing.assert_allclose(maps[name].values[0], expected, rtol=1e-9, atol=1e-12, err_msg=name)
    flux = 1e-12 * (1 / 1.0 - 1 / 10.0)
    expected = (result["counts"] - result["background"])[20, 35] / (flux * 1e13 * inside[20, 35])
    fractions = (
        convolve2d(mask[0] * 1.0 * 0.75974693 + mask[1] * 0.24025307, gauss(2), mode="same")[20, 35]
        / convolve2d(inside, gauss(2), mode="same")[20, 35]
    )
    if kernel == "gauss" and maps.scale.values[0, 20, 35] == pytest.approx(0.1):
        assert maps.flux.values[0, 20, 35] == pytest.approx(expected * flux / fractions, rel=1e-6)


def test_tiles_are_lazy_and_equal():
    cube = make_cube()
    edges = [f"{v} TeV" for v in (cube.energy_min.values[0], cube.energy_max.values[0], cube.energy_max.values[1])]
    expected = adaptive_smooth(cube, SCALES, energy_edges=edges)

    def raising(*args, **kwargs):
        pytest.fail("computed while the graph was built")

    for chunks in ({"y": 17, "x": 20}, {"y": 50, "x": 6, "energy": 1}):
        with dask.config.set(scheduler=raising):
            lazy = adaptive_smooth(cube.chunk(chunks), SCALES, energy_edges=edges)
        for name in expected.data_vars:
            np.testing.assert_allclose(lazy[name], expected[name], rtol=1e-9, atol=1e-22, err_msg=name)


def test_definitions_beside_gammapy():
    """gammapy 2.1, ASmoothMapEstimator with Gaussian2DKernel, differs in the sum of the kernel alone."""
    cube = make_cube(masked=False, bins=1)
    cube["background"] = cube.background * 0 + 0.8
    cube["counts"] = cube.counts * 0 + 0.8
    cube.counts[0, 20, 35] = 100.8
    maps = adaptive_smooth(cube, ["0.1 deg"], method="asmooth", threshold=3.0)
    # it smooths with the centres of pixels (2 pi sigma^2 = 25.13 pixels) and multiplies by the sum of a kernel of means
    # over pixels (25.65): significances are 1 % higher at two pixels
    assert maps.counts.values[0, 20, 35] == pytest.approx(0.8 + 100 / gauss(2).sum(), rel=1e-9)
    n, b = 0.8 * gauss(2).sum() + 100, 0.8 * gauss(2).sum()
    assert maps.sqrt_ts.values[0, 20, 35] == pytest.approx((n - b) / np.sqrt(n + b), rel=1e-9)


def test_default_scales_and_bad_input():
    cube = make_cube()
    assert np.nanmin(adaptive_smooth(cube).scale) == pytest.approx(0.1)
    for change, match in (
        ({"scales": ["0.2 deg", "0.1 deg"]}, "ascending"),
        ({"scales": ["9 deg"]}, "wider than the map"),
        ({"kernel": "box"}, "kernel='box'"),
        ({"method": "li"}, "method='li'"),
        ({"threshold": np.inf}, "threshold"),
    ):
        with pytest.raises(ValueError, match=match):
            adaptive_smooth(cube, **change)
    with pytest.raises(ValueError, match="background"):
        adaptive_smooth(cube.drop_vars("background"))
    with pytest.raises(ValueError, match="stack runs"):
        adaptive_smooth(cube.expand_dims(obs=2))


def test_residuals():
    cube = make_cube()
    npred = cube.background * 1.2
    maps = excess_map(cube.assign(background=npred), "0.15 deg", energy_edges=["1 TeV", "10 TeV"])
    n, m = maps.counts.values, maps.background.values
    for method, expected in (
        ("significance", maps.sqrt_ts.values),
        ("diff", n - m),
        ("diff/sqrt(model)", (n - m) / np.sqrt(m)),
        ("diff/model", (n - m) / m),
    ):
        found = residuals(cube, npred, method=method, radius="0.15 deg")
        assert found.name == "residuals"
        assert found.sizes["energy"] == 1
        np.testing.assert_allclose(found.values, expected, rtol=1e-12)
        lazy = residuals(cube.chunk(y=20), npred.chunk(y=20), method=method, radius="0.15 deg")
        assert lazy.chunks is not None
        np.testing.assert_allclose(lazy.values, expected, rtol=1e-9, atol=1e-12)
    assert residuals(cube, radius="0.1 deg", energy_edges=["1 TeV", "10 TeV"]).attrs["units"] == ""
    for change, match in (({"method": "chi"}, "not known"), ({"radius": 3.0}, "radius")):
        with pytest.raises((ValueError, TypeError), match=match):
            residuals(cube, npred, **change)
    with pytest.raises(ValueError, match="no background"):
        residuals(cube.drop_vars("background"))
