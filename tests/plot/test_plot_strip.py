"""A strip of the sky in rows: every pixel is shown once, where the sky says, on one scale."""

from __future__ import annotations

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.plot.strip import plot_strip


def plane(width=60, height=4, binsize="0.5 deg", name="counts", center=10):
    center = SkyCoord(center, 0, unit="deg", frame="galactic")
    grid = xg.sky_grid(center, (f"{width} deg", f"{height} deg"), binsize, frame="galactic")
    values = np.random.default_rng(2).poisson(5.0, (grid.sizes["y"], grid.sizes["x"])).astype(float)
    attrs = {"units": "", "long_name": "Counts"}
    return grid.assign(v=(("y", "x"), values, attrs))["v"].rename(name)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_every_pixel_is_shown_once_in_its_place(rows):
    counts = plane()
    axes = plot_strip(counts, rows)
    assert len(axes) == rows
    shown = np.concatenate([ax.images[0].get_array().filled(np.nan) for ax in axes], axis=1)
    np.testing.assert_array_equal(shown, counts)
    assert len({ax.images[0].norm.vmax for ax in axes}) == 1
    widths = {np.ptp(ax.get_xlim()) for ax in axes}
    assert widths == {-(-counts.sizes["x"] // rows)}
    # the left end of the map, where longitudes are large, is on top
    first = axes[0].wcs.pixel_to_world(axes[0].get_xlim()[0] + 0.5, 0)
    assert first.l.deg == pytest.approx(float(counts.lon[4, 0]), abs=1e-6)
    for ax in axes:
        left, right, *_ = ax.images[0].get_extent()
        position = ax.wcs.pixel_to_world(np.floor(0.5 * (left + right)) + 0.2, 1.2)
        pixel = counts.sel(lon=position.l.deg, lat=position.b.deg, method="nearest")
        array, low = ax.images[0].get_array(), ax.images[0].get_extent()[2]
        x, y = ax.wcs.world_to_pixel(position)
        assert array[int(y - low), int(x - left)] == float(pixel)


def test_number_of_rows_follows_the_shape():
    assert len(plot_strip(plane(60, 4))) == 3
    assert len(plot_strip(plane(10, 10))) == 1


def test_large_maps_are_shown_in_blocks_of_one_size():
    counts = plane(61, 4, "0.1 deg")
    axes = plot_strip(counts, 3, max_pixels=60)
    sizes = [ax.images[0].get_extent() for ax in axes]
    factors = {
        round((right - left) / ax.images[0].get_array().shape[1])
        for ax, (left, right, *_) in zip(axes, sizes, strict=True)
    }
    assert factors == {4}
    assert "mean of 4 × 4 pixels" in axes[0].figure.axes[-1].get_ylabel()


def test_regions_lie_in_their_row_and_move_nothing():
    significance = plane(name="sqrt_ts") - 5
    significance = significance.rename("sqrt_ts")
    bare = plot_strip(significance, 3)
    axes = plot_strip(
        significance, 3, regions=["galactic;circle(30, 0, 1) # text={left}", "galactic;circle(350, 0, 1)"]
    )
    for ax in (*bare, *axes):
        ax.figure.draw_without_rendering()
    for before, after in zip(bare, axes, strict=True):
        np.testing.assert_allclose(before.get_position().bounds, after.get_position().bounds, atol=1e-6)
    # the colours are centred on zero
    assert axes[0].images[0].norm(0.0) == pytest.approx(0.5, abs=0.35)
    assert axes[0].images[0].cmap.name == bare[0].images[0].cmap.name


def test_layout_uses_the_figure():
    axes = plot_strip(plane(), 3)
    axes[0].figure.draw_without_rendering()
    boxes = [ax.get_position() for ax in axes]
    assert min(b.width for b in boxes) > 0.75
    assert sum(b.height for b in boxes) > 0.5


def test_lazy_maps_are_computed_once():
    counts = plane()
    calls = []

    def look(block):
        calls.append(block.shape)
        return block

    lazy = counts.copy(
        data=da.from_array(counts.values, chunks=(8, 30)).map_blocks(look, dtype=float, meta=np.empty((0, 0)))
    )
    plot_strip(lazy, 4)
    assert sorted(calls) == [(8, 30)] * 4


@pytest.mark.parametrize("rows", [0, 2.5, 1000, "a", True])
def test_words(rows):
    with pytest.raises(ValueError, match="must be a whole number between 1 and the 120 pixels"):
        plot_strip(plane(), rows)
