"""Labels and colour scales."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import LogNorm, PowerNorm

import xgamma as xg
from xgamma.plot.style import axis_label, bin_label, color_bar, color_scale, label_of, unit_label


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("", ""),
        (None, ""),
        ("m2 s", r"$\mathrm{m^{2}\,s}$"),
        ("TeV", r"$\mathrm{TeV}$"),
        ("s-1 TeV-1 sr-1", r"$\mathrm{TeV^{-1}\,s^{-1}\,sr^{-1}}$"),
        ("photons per $", r"photons per \$"),
    ],
)
def test_unit_label(units, expected):
    assert unit_label(units) == expected


def test_labels():
    assert axis_label("Counts", "") == "Counts"
    assert label_of(xr.DataArray(1.0, name="counts_off")) == "Counts off"
    exposure = xr.DataArray(1.0, name="e", attrs={"units": "m2 s", "long_name": "exposure"})
    assert label_of(exposure) == r"Exposure [$\mathrm{m^{2}\,s}$]"


def test_bin_label_says_the_edges_or_the_value():
    energy = xg.energy_axis("0.5 TeV", "10 TeV", nbin=1)
    assert bin_label(energy.isel(energy=0), "energy") == r"0.5 – 10 $\mathrm{TeV}$"
    runs = xr.DataArray([1.0, 2.0], dims="obs", coords={"obs": ["23523", "23526"]})
    assert bin_label(runs.isel(obs=1), "obs") == "Obs 23526"
    assert bin_label(runs.isel(obs=0), "energy") == ""
    node = xr.DataArray(0.0, coords={"offset": 0.5, "offset_min": 0.5, "offset_max": 0.5})
    node.offset.attrs["units"] = "deg"
    assert bin_label(node, "offset") == r"Offset 0.5 $\mathrm{{}^{\circ}}$"


def test_every_label_can_be_drawn():
    fig, ax = plt.subplots()
    for i, units in enumerate(["cm2 s", "cm-2 s-1 TeV-1", "deg", "deg2", "s-1 TeV-1 sr-1", "no unit at all $"]):
        ax.text(0, i / 10, axis_label("x", units))
    fig.canvas.draw()


def test_default_limits_leave_out_what_is_not_finite():
    scale = color_scale(np.array([np.nan, 1.0, 4.0, np.inf, -np.inf]))
    assert (scale.norm.vmin, scale.norm.vmax) == (1.0, 4.0)
    assert scale.cmap(scale.norm(np.ma.masked_invalid([np.nan])))[0, 3] == 0.0


def test_stretches():
    values = np.array([-1.0, 0.0, 0.5, 16.0])
    assert isinstance(color_scale(values, stretch="log").norm, LogNorm)
    assert color_scale(values, stretch="log").norm.vmin == 0.5
    root = color_scale(values, stretch="sqrt", vmin=0.0).norm
    assert isinstance(root, PowerNorm)
    assert root(4.0) == pytest.approx(0.5)
    arcsinh = color_scale(values, stretch="asinh", vmin=-16.0, vmax=16.0).norm
    expected = 0.5 + 0.5 * np.arcsinh(4 / 1.6) / np.arcsinh(16 / 1.6)
    assert arcsinh(4.0) == pytest.approx(expected)


@given(st.floats(-50, 50), st.floats(0.1, 60), st.floats(0.1, 60))
def test_centre_has_the_middle_colour(center, below, above):
    """And equal distances from it have equally strong colours, also between limits that are not symmetric."""
    scale = color_scale(np.zeros(1), vmin=center - below, vmax=center + above, center=center)
    middle = scale.cmap(scale.norm(center))
    white = plt.get_cmap("RdBu_r")(0.5)
    assert np.allclose(middle, white, atol=0.02)
    reach = max(below, above)
    for value in (-below, above):
        expected = plt.get_cmap("RdBu_r")(0.5 + 0.5 * value / reach)
        # the last colour of a map belongs to its upper limit
        assert np.allclose(scale.cmap(min(float(scale.norm(center + value)), 1.0)), expected, atol=0.03)


def test_one_limit_is_mirrored_at_the_centre():
    values = np.array([-3.0, 20.0])
    assert color_scale(values, center=0.0).norm.vmin == -20.0
    assert color_scale(values, center=0.0, vmax=5.0).norm.vmin == -5.0
    assert color_scale(values, center=1.0, vmin=-4.0).norm.vmax == 6.0


def test_constant_and_empty_images_have_a_scale():
    for values in (np.zeros(4), np.full(4, 7.0), np.full(4, np.nan), np.empty(0)):
        for center in (None, 0.0):
            norm = color_scale(values, center=center).norm
            assert norm.vmin < norm.vmax
    assert color_scale(np.full(3, 2.0), stretch="log").norm.vmin == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stretch": "cube"}, "must be one of"),
        ({"vmin": 2.0, "vmax": 1.0}, r"vmin \(2\) must lie below vmax \(1\)"),
        ({"vmin": 1.0, "vmax": 1.0}, "must lie below"),
        ({"stretch": "log", "vmin": -1.0}, "above 0"),
        ({"stretch": "log", "center": 0.0}, "cannot be centred"),
    ],
)
def test_bad_scales_raise(options, message):
    with pytest.raises(ValueError, match=message):
        color_scale(np.array([1.0, 2.0]), **options)


def test_log_of_nothing_positive_raises():
    with pytest.raises(ValueError, match="needs positive values"):
        color_scale(np.array([0.0, -1.0]), stretch="log")


def test_color_bar_of_an_arcsinh_has_numbers():
    fig, ax = plt.subplots()
    scale = color_scale(np.array([-3.0, 60.0]), stretch="asinh", vmin=-3.0, vmax=60.0)
    bar = color_bar(ax.imshow(np.array([[-3.0, 60.0]]), norm=scale.norm, cmap=scale.cmap), ax)
    fig.canvas.draw()
    shown = [t.get_text() for t in bar.ax.get_yticklabels() if t.get_text() and -3 <= t.get_position()[1] <= 60]
    assert len(shown) >= 4
    assert "0" in shown


def test_color_bar_is_as_high_as_the_axes():
    fig, ax = plt.subplots()
    image = ax.imshow(np.arange(6.0).reshape(2, 3))
    bar = color_bar(image, ax, "Counts")
    fig.canvas.draw()
    axes, colors = ax.get_window_extent(), bar.ax.get_window_extent()
    assert (colors.y0, colors.y1) == pytest.approx((axes.y0, axes.y1))
    assert colors.x0 > axes.x1
    assert bar.ax.get_ylabel() == "Counts"
