"""Profiles and contours of fits."""

from __future__ import annotations

import numpy as np
import pytest
from made_spectra import MODEL, made_spectrum

from xgamma.plot.fit import plot_contour, plot_profile


@pytest.fixture(scope="module")
def result():
    return made_spectrum(n_obs=2).gamma.fit(MODEL)


def test_profile_is_that_of_the_fit(result):
    ax = plot_profile(result, "index", values=9, label="fit")
    index = result.free["source.index"]
    curve, parabola, best = ax.lines[:3]
    x = np.linspace(index.value - 3 * index.error, index.value + 3 * index.error, 9)
    np.testing.assert_allclose(curve.get_xdata(), x)
    np.testing.assert_allclose(curve.get_ydata(), result.stat_profile("source.index", x).delta_stat)
    np.testing.assert_allclose(parabola.get_ydata(), np.linspace(-3, 3, 9) ** 2, atol=1e-9)
    assert best.get_xdata()[0] == index.value
    marks = [line.get_ydata()[0] for line in ax.lines[3:]]
    assert marks == [1.0, 4.0]
    assert ax.get_xlabel() == "source.index"
    ax.figure.canvas.draw()


def test_profile_over_given_values_and_inside_limits(result):
    ax = plot_profile(result, result.free["source.amplitude"], values=[2e-12, 3e-12, 4e-12])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [2e-12, 3e-12, 4e-12])
    assert "TeV" in ax.get_xlabel()
    limited = MODEL.copy()
    index = result.free["source.index"]
    limited.spectral.index.min = index.value - index.error
    ax = plot_profile(made_spectrum(n_obs=2).gamma.fit(limited), "index", values=5)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(limited.spectral.index.min)


def test_contours_touch_the_intervals(result):
    ax = plot_contour(result, "index", "amplitude", sigma=[2, 1], n=24)
    one, two, cross = ax.lines
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["1 σ", "2 σ"]
    for line, sigma in ((one, 1.0), (two, 2.0)):
        for name, values in (("source.index", line.get_xdata()), ("source.amplitude", line.get_ydata())):
            low, high = result.confidence(name, sigma).interval
            # the ends of a contour along an axis are the interval of that parameter
            assert (values.min(), values.max()) == pytest.approx((low, high), abs=0.02 * (high - low))
    # the smooth curve keeps to the level of the contour
    x, y = one.get_xdata()[::30], one.get_ydata()[::30]
    rises = [
        float(result.stat_surface("source.index", "source.amplitude", [a], [b]).delta_stat.squeeze())
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(rises, 1.0, atol=0.02)
    assert (one.get_xdata()[0], one.get_ydata()[0]) == pytest.approx((one.get_xdata()[-1], one.get_ydata()[-1]))
    assert cross.get_xdata() == [result.free["source.index"].value]
    ax.figure.canvas.draw()


def test_two_fits_on_one_picture(result):
    ax = plot_contour(result, "index", "amplitude", sigma=[1], n=8, label="a")
    assert plot_contour(result, "index", "amplitude", ax, sigma=[1], n=8, label="b", joint=True) is ax
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    # the pair lies in a wider region
    assert np.ptp(ax.lines[2].get_xdata()) > 1.4 * np.ptp(ax.lines[0].get_xdata())


def test_words(result):
    with pytest.raises(ValueError, match="'alpha' is not the name of one free parameter"):
        plot_profile(result, "alpha")
    with pytest.raises(ValueError, match="two parameters"):
        plot_contour(result, "index", "source.index")
