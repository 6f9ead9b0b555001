"""Colour pictures: astropy's stretches, colours that stay, tiles, missing pixels, axes of another grid."""

import dask
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.visualization import AsinhStretch, SqrtStretch

import xgamma as xg
from xgamma.plot.rgb import plot_rgb, rgb_composite
from xgamma.plot.sky import sky_axes

CENTER = SkyCoord(83.6, 22, unit="deg")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def make_maps():
    energy = xg.energy_axis("1 TeV", "8 TeV", nbin=3)
    grid = xg.sky_grid(CENTER, ("1.2 deg", "1 deg"), "0.1 deg", energy=energy)
    values = np.random.default_rng(1).gamma(1.0, 2.0, (3, 10, 12))
    values[1, 2, 3] = np.nan
    return grid.assign(flux=(("energy", "y", "x"), values, {"units": "cm-2 s-1"})).flux


@pytest.mark.parametrize(
    ("stretch", "oracle"),
    [("linear", lambda v: v), ("sqrt", SqrtStretch()), ("asinh", AsinhStretch(0.05))],
)
def test_stretches_of_single_bands(stretch, oracle):
    maps = make_maps()
    low, high = np.array([0.0, 0.5, 0.1]), np.array([6.0, 5.0, 4.0])
    rgb = rgb_composite(maps, stretch=stretch, softening=0.05, vmin=low, vmax=high)
    assert rgb.dims == ("y", "x", "rgb")
    assert rgb.rgb.values.tolist() == ["red", "green", "blue"]
    assert rgb.attrs["units"] == ""
    scaled = np.clip((np.moveaxis(maps.values, 0, -1) - low) / (high - low), 0, 1)
    expected = oracle(np.nan_to_num(scaled))
    expected[2, 3] = np.nan
    np.testing.assert_allclose(rgb.values, expected, rtol=1e-12, atol=1e-15)


def test_lupton_keeps_colours():
    maps = make_maps()
    rgb = rgb_composite(maps, stretch="lupton", vmax=10.0).values
    scaled = np.moveaxis(maps.values, 0, -1) / 10.0
    some = np.isfinite(scaled).all(axis=-1)
    assert np.isnan(rgb[2, 3]).all()
    # the ratios of the bands are those of the fluxes, whatever the brightness
    np.testing.assert_allclose(
        rgb[some] / rgb[some].max(axis=-1, keepdims=True), scaled[some] / scaled[some].max(axis=-1, keepdims=True)
    )
    mean = scaled[some].mean(axis=-1)
    faint = rgb[some].max(axis=-1) < 0.999
    np.testing.assert_allclose(rgb[some].mean(axis=-1)[faint], AsinhStretch(0.1)(mean, clip=False)[faint], rtol=1e-12)
    assert 0 < faint.sum() < faint.size
    assert np.nanmax(rgb) <= 1 + 1e-12


def test_three_maps_and_default_limits():
    maps = make_maps()
    bands = [maps.isel(energy=i, drop=True) for i in range(3)]
    rgb = rgb_composite(bands, stretch="linear")
    np.testing.assert_allclose(np.nanmax(rgb.isel(rgb=0)), 1.0)
    np.testing.assert_array_equal(rgb, rgb_composite(maps, stretch="linear"))
    black = rgb_composite([bands[0], bands[0] * 0, bands[0]])
    assert float(black.sel(rgb="green").max()) == 0.0


@pytest.mark.parametrize("stretch", ["linear", "sqrt", "asinh", "lupton"])
@pytest.mark.parametrize("vmax", [None, 3.0])
def test_lazy_and_equal(stretch, vmax):
    maps = make_maps()

    def raising(*args, **kwargs):
        pytest.fail("computed while the graph was built")

    with dask.config.set(scheduler=raising):
        lazy = rgb_composite(maps.chunk(y=4, x=5, energy=1), stretch=stretch, vmax=vmax)
    assert lazy.chunksizes["x"] == (5, 5, 2)
    np.testing.assert_allclose(lazy, rgb_composite(maps, stretch=stretch, vmax=vmax), rtol=1e-12)


def test_pictures():
    rgb = rgb_composite(make_maps())
    ax = plot_rgb(rgb, grid=True)
    shown = ax.images[0].get_array()
    assert shown.shape == (10, 12, 4)
    np.testing.assert_allclose(shown[0, 0, :3], rgb.values[0, 0])
    assert shown[2, 3].tolist() == [0, 0, 0, 0]
    assert "TeV" in ax.get_title()
    assert plot_rgb(rgb, max_pixels=6).images[0].get_array().shape == (5, 6, 4)
    other = xg.sky_grid(CENTER, "1 deg", "0.05 deg", frame="galactic")
    ax = plot_rgb(rgb, sky_axes(other), title="turned")
    assert not ax.images
    assert len(ax.collections) == 1
    ax.figure.canvas.draw()


def test_words():
    maps = make_maps()
    for change, match in (
        (lambda: rgb_composite(maps.isel(energy=slice(2))), "three bins"),
        (lambda: rgb_composite([maps.isel(energy=0)] * 2), "three maps"),
        (lambda: rgb_composite([maps] * 3), r"dims \(y, x\)"),
        (lambda: rgb_composite(maps, stretch="log"), "stretch='log'"),
        (lambda: rgb_composite(maps, vmax=-1.0), "must be above"),
        (lambda: rgb_composite(maps, vmax=[1.0, 2.0]), "one for each band"),
        (lambda: rgb_composite(maps, softening=0), "softening"),
        (lambda: rgb_composite([maps.isel(energy=0)] * 2 + [maps.isel(energy=0, x=slice(3))]), "several grids"),
        (lambda: plot_rgb(maps), "rgb_composite"),
    ):
        with pytest.raises(ValueError, match=match):
            change()
