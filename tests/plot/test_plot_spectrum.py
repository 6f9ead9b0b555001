"""Spectra beside models, and off regions: what the artists hold."""

from __future__ import annotations

import dask
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from made_spectra import MODEL, made_spectrum
from matplotlib.patches import StepPatch

import xgamma as xg
from xgamma.kernels.limits import cash_errors, wstat_errors, wstat_upper_limit
from xgamma.kernels.stats import wstat


def steps(ax):
    return {p.get_label(): p.get_data() for p in ax.patches if isinstance(p, StepPatch)}


def bars(ax, label):
    """Points of an errorbar: x, y, ends of the vertical bars."""
    [found] = [c for c in ax.containers if c.get_label() == label]
    data, _, lines = found
    up = np.array([segment[:, 1] for segment in lines[1].get_segments()])
    x = data.get_xdata() if data is not None else np.array([s[0, 0] for s in lines[1].get_segments()])
    return x, (data.get_ydata() if data is not None else None), up


def test_excess_beside_its_model():
    cube = made_spectrum(n_obs=3)
    ax, below = xg.plot_spectrum(cube, MODEL)
    safe = cube.where(cube.mask_safe, 0.0)
    on, off = safe.counts.sum("obs").values[1:], safe.counts_off.sum("obs").values[1:]
    excess = on - off / 5
    errn, errp = wstat_errors(on, off, np.full(5, 0.2))
    seen = excess > 0
    x, y, ends = bars(ax, "Excess")
    np.testing.assert_allclose(x, cube.energy.values[1:][seen])
    np.testing.assert_allclose(y, excess[seen])
    np.testing.assert_allclose(ends[:, 1], (excess + errp)[seen])
    np.testing.assert_allclose(ends[:, 0], np.maximum(excess - errn, 1e-3 * excess)[seen])
    shown = steps(ax)
    np.testing.assert_allclose(shown["Background"].values[1:], off / 5)
    np.testing.assert_allclose(shown["Model"].values[1:], xg.npred_signal(cube, MODEL).sum("obs")[1:])
    # a bin outside of the mask has neither points nor a model, and no place on the axis
    assert np.isnan(shown["Model"].values[0])
    low, high = ax.get_xlim()
    assert 10 ** (1 / 3) > low > 1.5
    assert 100 < high < 130
    assert ax.get_yscale() == "log"
    # a background above the excess is not cut off
    cube["counts_off"] *= 100
    top = xg.plot_spectrum(cube, MODEL)[0].get_ylim()[1]
    assert top > 100 * float((off / 5).max())
    cube["counts_off"] /= 100
    # residuals: the signed root of what the statistic has above its minimum, by brute force over the signal
    signal = xg.npred_signal(cube, MODEL).sum("obs").values[1:]
    alpha = np.full(5, 0.2)
    least = np.array([wstat(on, off, alpha, np.full(5, s)) for s in np.linspace(-3, 60, 60001)]).min(axis=0)
    root = np.sign(excess - signal) * np.sqrt(np.clip(wstat(on, off, alpha, signal) - least, 0, None))
    np.testing.assert_allclose(below.containers[0][0].get_ydata(), root, atol=1e-3)
    assert below.get_ylim()[0] == -below.get_ylim()[1]
    ax.figure.canvas.draw()


def test_bins_without_excess_show_limits():
    cube = made_spectrum()
    cube["counts"][4] = 0.0
    cube["counts_off"][4] = 3.0
    ax, _ = xg.plot_spectrum(cube, MODEL)
    assert float(cube.energy[4]) not in bars(ax, "Excess")[0]
    x, _, ends = bars(ax, "Upper limit (2 σ)")
    np.testing.assert_allclose(x, cube.energy.values[4])
    limit = wstat_upper_limit(np.zeros(1), np.full(1, 3.0), np.full(1, 0.2))
    np.testing.assert_allclose(ends.max(), limit)


@pytest.mark.parametrize("kind", ["diff", "diff/model", "diff/sqrt(model)"])
def test_residuals_of_other_kinds(kind):
    cube = made_spectrum(on_off=False)
    _, below = xg.plot_spectrum(cube, MODEL, residuals=kind)
    model = xg.npred(cube, MODEL).values[1:]
    difference = cube.counts.values[1:] - model
    expected = {"diff": difference, "diff/model": difference / model, "diff/sqrt(model)": difference / np.sqrt(model)}
    np.testing.assert_allclose(below.containers[0][0].get_ydata(), expected[kind])
    ends = below.containers[0][2][1].get_segments()
    # the counts scatter by the root of what is predicted
    widths = {"diff": np.sqrt(model), "diff/model": 1 / np.sqrt(model), "diff/sqrt(model)": np.ones(5)}
    np.testing.assert_allclose([0.5 * (s[1, 1] - s[0, 1]) for s in ends], widths[kind])
    below.figure.canvas.draw()


def test_without_models_counts_and_background():
    cube = made_spectrum(on_off=False)
    ax, below = xg.plot_spectrum(cube)
    assert below is None
    counts = cube.counts.values[1:]
    seen = counts > 0
    _, y, ends = bars(ax, "Counts")
    np.testing.assert_array_equal(y, counts[seen])
    np.testing.assert_allclose(ends[:, 1], (counts + cash_errors(counts)[1])[seen])
    np.testing.assert_allclose(steps(ax)["Background"].values[1:], cube.background.values[1:])


def test_several_sources_are_drawn_with_their_sum():
    other = xg.SkyModel(xg.PowerLawSpectralModel(index=3.0), name="other")
    cube = made_spectrum()
    ax, _ = xg.plot_spectrum(cube, [MODEL, other])
    shown = steps(ax)
    np.testing.assert_allclose(shown["Model"].values[1:], (shown["source"].values + shown["other"].values)[1:])
    np.testing.assert_allclose(shown["other"].values[1:], xg.npred_signal(cube, other)[1:])
    assert [t.get_text() for t in ax.get_legend().get_texts()][:4] == ["Background", "Model", "source", "other"]


def test_result_of_a_fit_and_lazy_cubes():
    cube = made_spectrum(n_obs=2)
    result = cube.gamma.fit(MODEL)
    calls = []

    def scheduler(graph, keys, **kwargs):
        calls.append(keys)
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=scheduler):
        ax, _ = xg.plot_spectrum(cube.chunk({"obs": 1}), result)
    assert len(calls) == 1
    np.testing.assert_allclose(steps(ax)["Model"].values[1:], xg.npred_signal(cube, result.models).sum("obs")[1:])


def test_bins_without_off_regions_take_no_part():
    cube = made_spectrum()
    cube["acceptance_off"][3], cube["counts_off"][3] = 0.0, 0.0
    ax, below = xg.plot_spectrum(cube, MODEL)
    assert np.isnan(steps(ax)["Model"].values[3])
    assert len(below.containers[0][0].get_ydata()) == 4


def test_empty_spectra_are_drawn():
    cube = made_spectrum()
    for name in ("counts", "counts_off"):
        cube[name][:] = 0.0
    for axes in (xg.plot_spectrum(cube), xg.plot_spectrum(cube, MODEL)):
        axes[0].figure.canvas.draw()
    cube["mask_safe"][:] = False
    for axes in (xg.plot_spectrum(cube), xg.plot_spectrum(cube, MODEL)):
        axes[0].figure.canvas.draw()


def test_words_for_what_is_no_spectrum():
    cube = made_spectrum()
    with pytest.raises(ValueError, match="residuals='sigma'"):
        xg.plot_spectrum(cube, MODEL, residuals="sigma")
    with pytest.raises(ValueError, match="counts and no sky pixels"):
        xg.plot_spectrum(cube.drop_vars("counts"))
    with pytest.raises(ValueError, match="counts and no sky pixels"):
        xg.plot_spectrum(cube.expand_dims(y=2, x=2))
    assert not plt.get_fignums()


OFF = ["icrs;circle(84.69, 22.01, 0.11)", "icrs;circle(84.16, 22.51, 0.11)", "icrs;circle(84.16, 21.51, 0.11)"]


def with_regions(joined):
    cube = xr.Dataset(coords={"obs": np.arange(7, 7 + len(joined)), "region": "icrs;circle(83.63, 22.01, 0.11)"})
    cube = cube.assign_coords(off_regions=("obs", np.array(joined, dtype=object)))
    cube["pointing_lon"] = "obs", np.full(len(joined), 84.16), {"units": "deg"}
    cube["pointing_lat"] = "obs", np.full(len(joined), 22.01), {"units": "deg"}
    return cube


def sky_of(ax, patch):
    center = ax.wcs.pixel_to_world(*patch.center)
    return center.ra.deg, center.dec.deg


def test_off_regions_lie_where_they_are():
    ax = xg.plot_off_regions(with_regions(["\n".join(OFF), "", OFF[1]]), exclusion="icrs;circle(84.69, 22.51, 0.2)")
    assert len(ax.patches) == 6
    excluded, *off, on = ax.patches
    assert excluded.get_fill()
    assert not any(p.get_fill() for p in off)
    for patch, place in zip(off, [(84.69, 22.01), (84.16, 22.51), (84.16, 21.51), (84.16, 22.51)], strict=True):
        assert sky_of(ax, patch) == pytest.approx(place, abs=1e-6)
    assert sky_of(ax, on) == pytest.approx((83.63, 22.01), abs=1e-6)
    colors = [p.get_edgecolor() for p in off]
    assert colors[0] == colors[1] == colors[2] != colors[3]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["7 (3)", "8 (0)", "9 (1)"]
    # all regions are inside of the picture, and fill most of it
    x, y = ax.wcs.world_to_pixel(SkyCoord([83.63, 84.69, 84.16, 84.16], [22.01, 22.01, 22.51, 21.51], unit="deg"))
    for values, (low, high) in ((x, ax.get_xlim()), (y, ax.get_ylim())):
        assert low < values.min() < values.max() < high
        assert np.ptp(values) > 0.6 * (high - low)
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert len(stars) == 3
    ax.figure.canvas.draw()


def test_off_regions_of_one_run_of_several_regions_and_on_given_axes():
    one = with_regions([OFF[0]]).isel(obs=0)
    ax = xg.plot_off_regions(one, pointings=False)
    assert ax.get_legend() is None
    assert len(ax.patches) == 2
    assert not [line for line in ax.lines if line.get_marker() == "*"]
    regions = ["icrs;circle(83.63, 22.01, 0.11)", "icrs;circle(84.16, 22.51, 0.11)"]
    two = xr.Dataset(coords={"obs": [7], "region": regions})
    two = two.assign_coords(off_regions=(("obs", "region"), np.array([["\n".join(OFF[:2]), OFF[2]]], dtype=object)))
    from xgamma.plot.sky import sky_axes

    axes = sky_axes(xg.sky_grid(SkyCoord(84.0, 22.0, unit="deg"), "3 deg", "0.05 deg"))
    limits = axes.get_xlim(), axes.get_ylim()
    assert xg.plot_off_regions(two, axes) is axes
    assert len(axes.patches) == 5
    assert (axes.get_xlim(), axes.get_ylim()) == limits


def test_words_for_spectra_without_off_regions():
    with pytest.raises(ValueError, match="no off regions; reduce with background"):
        xg.plot_off_regions(made_spectrum())
    _, ax = plt.subplots()
    with pytest.raises(TypeError, match="sky_axes"):
        xg.plot_off_regions(with_regions(OFF[:1]), ax)
