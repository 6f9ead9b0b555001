"""Histogram of significances and its Gaussian."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle
from scipy.stats import norm

from xgamma.plot.distribution import plot_significance_distribution

RNG = np.random.default_rng(7)


def sky(values=None):
    values = RNG.normal(0.1, 1.1, (120, 150)) if values is None else values
    return xr.DataArray(values, dims=("y", "x"), coords={"y": np.arange(values.shape[0])}, name="sqrt_ts")


def with_source():
    sqrt_ts = sky()
    exclusion = xr.ones_like(sqrt_ts, dtype=bool)
    exclusion[:20, :30] = False
    return sqrt_ts.where(exclusion, 15.0), exclusion


def fitted(ax):
    [text] = [t.get_text() for t in ax.get_legend().get_texts() if t.get_text().startswith("fit")]
    return [float(v) for v in re.findall(r"= (-?[0-9.]+)", text)]


def test_histograms_hold_all_pixels_and_those_outside():
    sqrt_ts, exclusion = with_source()
    sqrt_ts[50, 50] = np.nan
    ax = plot_significance_distribution(sqrt_ts, exclusion=exclusion)
    outside = sqrt_ts.values[exclusion.values & np.isfinite(sqrt_ts.values)]
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "all 17999 pixels" in texts
    assert f"{outside.size} pixels outside the exclusion" in texts
    bars = [p for p in ax.patches if isinstance(p, Rectangle)]
    assert sum(p.get_height() for p in bars) == 17999
    assert {round(p.get_width(), 9) for p in bars} == {0.2}
    # edges are multiples of the width, so that zero is one
    assert np.isclose([p.get_x() for p in bars], 0.0).any()
    mean, width = fitted(ax)
    assert (mean, width) == pytest.approx((outside.mean(), outside.std()), abs=0.02)
    assert ax.get_xlim()[1] >= 15.0
    assert ax.get_yscale() == "log"


def test_curves_are_scaled_to_the_pixels_of_the_fit():
    sqrt_ts, exclusion = with_source()
    ax = plot_significance_distribution(sqrt_ts, exclusion=exclusion, bins=0.5, logy=False)
    fit, normal = ax.lines
    number = int(exclusion.sum())
    x = normal.get_xdata()
    assert normal.get_ydata() == pytest.approx(number * 0.5 * norm.pdf(x))
    assert np.trapezoid(fit.get_ydata(), fit.get_xdata()) / 0.5 == pytest.approx(number, rel=1e-3)


def test_fit_in_a_range_is_not_biased_by_the_cut():
    ax = plot_significance_distribution(sky(), fit_range=(-2.0, 1.0))
    assert fitted(ax) == pytest.approx((0.1, 1.1), abs=0.08)
    # the curve describes the whole Gaussian of which a part was fitted
    fit = ax.lines[0]
    assert np.trapezoid(fit.get_ydata(), fit.get_xdata()) / 0.2 == pytest.approx(18000, rel=0.03)


def test_mask_takes_pixels_away_from_both():
    sqrt_ts, exclusion = with_source()
    mask = xr.ones_like(exclusion)
    mask[:, 100:] = False
    ax = plot_significance_distribution(sqrt_ts, mask=mask, exclusion=exclusion)
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "all 12000 pixels" in texts
    assert "11400 pixels outside the exclusion" in texts


def test_an_image_fits_a_map_of_one_energy_and_the_other_way_round():
    sqrt_ts, exclusion = with_source()
    for values, mask in ((sqrt_ts.expand_dims("energy"), exclusion), (sqrt_ts, exclusion.expand_dims("energy"))):
        assert len(plot_significance_distribution(values, exclusion=mask).lines) == 2


def test_lazy_input_is_computed_once():
    count = []

    def block(array):
        count.append(1)
        return array

    sqrt_ts, exclusion = with_source()
    lazy = sqrt_ts.copy(data=sqrt_ts.chunk().data.map_blocks(block, dtype=float, meta=np.empty((0, 0))))
    assert not count
    ax = plot_significance_distribution(lazy, exclusion=exclusion.chunk())
    assert len(count) == 1
    assert fitted(ax) == fitted(plot_significance_distribution(sqrt_ts, exclusion=exclusion))


def test_axes_given_are_used():
    _, ax = plt.subplots()
    assert plot_significance_distribution(sky(), ax=ax, bins=np.linspace(-4, 4, 21)) is ax
    assert len(plt.get_fignums()) == 1
    assert ax.get_xlim() == (-4.0, 4.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 0.0}, "positive width"),
        ({"bins": [3.0, 1.0]}, "ascending edges"),
        ({"bins": 1e-6}, "use wider ones"),
        ({"fit_range": (1.0, -1.0)}, "ascending"),
        ({"fit_range": (60.0, 61.0)}, "lies between"),
    ],
)
def test_bad_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        plot_significance_distribution(sky(), **options)


def test_bad_masks_raise():
    sqrt_ts, exclusion = with_source()
    with pytest.raises(TypeError, match="exclusion must be boolean"):
        plot_significance_distribution(sqrt_ts, exclusion=exclusion.astype(float))
    with pytest.raises(ValueError, match=r"dims \['time'\]"):
        plot_significance_distribution(sqrt_ts, mask=exclusion.expand_dims(time=2))
    with pytest.raises(ValueError, match="y"):
        plot_significance_distribution(sqrt_ts, mask=exclusion.isel(y=slice(5)))
    with pytest.raises(ValueError, match="no finite significance"):
        plot_significance_distribution(sqrt_ts * np.nan)
    with pytest.raises(ValueError, match="no finite significance"):
        plot_significance_distribution(sqrt_ts, exclusion=exclusion & False)
    with pytest.raises(ValueError, match="no Gaussian fits"):
        plot_significance_distribution(xr.ones_like(sqrt_ts))
