"""Spectra of several instruments, corner plots and confidence surfaces: what is drawn, and words for what cannot be."""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.container import ErrorbarContainer
from matplotlib.path import Path as Outline
from scipy.stats import chi2

import xgamma as xg
from xgamma.coords.bins import energy_axis
from xgamma.plot.corner import plot_corner
from xgamma.plot.joint import plot_joint
from xgamma.plot.surface import plot_surface

UNIT = {"units": "TeV-1 s-1 cm-2"}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def points(low="10 TeV", high="1000 TeV", n=4, scale=1.1):
    axis = energy_axis(low, high, nbin=n)
    data = xr.Dataset(coords=axis.coords, attrs={"sed_type": "dnde"})
    data["dnde"] = "energy", scale * 1e-11 * axis.values**-2.0, UNIT
    data["dnde_err"] = 0.1 * data["dnde"]
    data["dnde_err"].attrs = UNIT
    data["dnde_ul"] = 1.3 * data["dnde"]
    data["dnde_ul"].attrs = UNIT
    data["is_ul"] = "energy", np.arange(n) == n - 1
    return data


def spectrum():
    energy, true = energy_axis("1 TeV", "100 TeV", nbin=20), energy_axis("1 TeV", "100 TeV", nbin=20)
    cube = xr.Dataset(coords={**energy.coords, **energy_axis("1 TeV", "100 TeV", nbin=20, name="energy_true").coords})
    flux = 1e-11 * (1 / true.energy_min.values - 1 / true.energy_max.values)
    cube["exposure"] = "energy_true", np.full(20, 1e14), {"units": "cm2 s"}
    cube["counts"] = "energy", np.round(1e14 * flux)
    cube["background"] = "energy", np.full(20, 0.1)
    return cube


@pytest.fixture
def source():
    return xg.SkyModel(xg.PowerLawSpectralModel(index=2, amplitude="1e-11 cm-2 s-1 TeV-1"), name="crab")


@pytest.fixture
def tree():
    return xr.DataTree.from_dict({"ctao": spectrum(), "hawc": points()})


def legend(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def test_points_of_all_groups_and_the_model(tree, source):
    result = tree.gamma.fit(source)
    ax, below = plot_joint(tree, result, points=True)
    assert legend(ax) == ["crab", "ctao", "hawc"]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    # twenty bins over two decades: five bands a decade
    drawn = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    assert len(drawn[0].lines[0].get_xdata()) == 10
    markers = {c.lines[0].get_marker() for c in drawn if c.lines[0] is not None}
    assert {"o", "s"} <= markers
    assert below.get_ylabel() == "Residual [σ]"
    low, high = ax.get_xlim()
    assert low < 1 < 1000 < high


def test_residuals_are_errors_above_the_model(source):
    _, below = plot_joint({"hawc": points(scale=1.1)}, source)
    (drawn,) = [c for c in below.containers if isinstance(c, ErrorbarContainer)]
    # 1.1 of the model with errors of 10 % of the value; the limit is left out
    np.testing.assert_allclose(drawn.lines[0].get_ydata(), np.full(3, 0.1 / 0.11), rtol=1e-9)
    data = points(scale=0.8)
    data["dnde_errn"], data["dnde_errp"] = 0.05 * data.dnde, 0.2 * data.dnde
    for name in ("dnde_errn", "dnde_errp"):
        data[name].attrs = UNIT
    _, below = plot_joint({"hawc": data}, source, sed_type="dnde")
    (drawn,) = [c for c in below.containers if isinstance(c, ErrorbarContainer)]
    # the model lies above: the error to that side
    np.testing.assert_allclose(drawn.lines[0].get_ydata(), np.full(3, -0.2 / 0.16), rtol=1e-9)


def test_points_that_were_computed_before_and_edges(tree, source):
    found = tree["ctao"].to_dataset().gamma.flux_points(source, "crab", selection="all")
    ax, _ = plot_joint(tree, source, points={"ctao": found})
    first = next(c for c in ax.containers if isinstance(c, ErrorbarContainer))
    assert len(first.lines[0].get_xdata()) == 20
    ax, below = plot_joint(tree, source, points={"ctao": tree["ctao"].energy_min.values[::5] * u.TeV}, residuals=False)
    assert below is None
    first = next(c for c in ax.containers if isinstance(c, ErrorbarContainer))
    assert len(first.lines[0].get_xdata()) == 3
    # points alone, in a figure that is there
    fig = plt.figure()
    ax, below = plot_joint(tree, fig=fig)
    assert ax.figure is fig
    assert below is None
    assert legend(ax) == ["hawc"]


def test_words_for_what_cannot_be_drawn(tree, source):
    with pytest.raises(ValueError, match="e2dnde"):
        plot_joint(tree, source, sed_type="flux")
    with pytest.raises(ValueError, match=r"points=\['veritas'\] are no groups"):
        plot_joint(tree, source, points={"veritas": points()})
    with pytest.raises(ValueError, match="give models"):
        plot_joint(tree, points=True)
    with pytest.raises(ValueError, match="are flux points"):
        plot_joint({"ctao": spectrum()}, source)
    with pytest.raises(ValueError, match="must name one of the sources"):
        plot_joint(tree, xg.Models([source, source.copy(name="vela")]))


@pytest.fixture
def result(tree, source):
    return tree.gamma.fit(source)


def test_ellipses_reach_as_far_as_the_errors(result):
    fig = plot_corner(result, sigma=[1, 2])
    pair = fig.axes[1]
    first, second = result.free
    for line, sigma in zip(pair.lines[:2], (1, 2), strict=True):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert 0.5 * np.ptp(x) == pytest.approx(sigma * first.error, rel=1e-3)
        assert 0.5 * np.ptp(y) == pytest.approx(sigma * second.error, rel=1e-3)
        # each point lies on the ellipse of the covariance
        away = np.stack([x - first.value, y - second.value])
        rise = np.einsum("ip,ij,jp->p", away, np.linalg.inv(result.covariance.values), away)
        np.testing.assert_allclose(rise, sigma**2, rtol=1e-6)
    joint = plot_corner(result, sigma=[1], joint=True).axes[1].lines[0]
    assert 0.5 * np.ptp(joint.get_xdata()) == pytest.approx(np.sqrt(chi2.isf(chi2.sf(1, 1), 2)) * first.error, rel=1e-3)


def test_contours_of_samples_hold_their_part():
    rng = np.random.default_rng(1)
    # correlated by 0.99: in coordinates of the parameters the bins would be wider than the distribution
    values = np.linalg.cholesky([[1.0, 0.99], [0.99, 1.0]]) @ rng.normal(size=(2, 40000))
    scaled = (values * np.array([[2e-13], [0.1]]) + np.array([[3e-12], [2.0]])).reshape(2, 4, 10000)
    posterior = xr.Dataset({n: (("chain", "draw"), v) for n, v in zip(("a.amplitude", "a.index"), scaled, strict=True)})
    fig = plot_corner(xr.DataTree.from_dict({"posterior": posterior}), sigma=[1, 2])
    lines = [c for c in fig.axes[1].collections if not c.get_facecolor().size]
    paths = sorted((p for c in lines for p in c.get_paths()), key=lambda p: np.ptp(p.vertices[:, 0]))
    flat = scaled.reshape(2, -1).T
    held = [Outline(polygon).contains_points(flat).mean() for p in paths for polygon in p.to_polygons()]
    wanted = [1 - np.exp(-0.5), 1 - np.exp(-2.0)]
    assert np.max(held) == pytest.approx(wanted[1], abs=0.01)
    assert any(h == pytest.approx(wanted[0], abs=0.01) for h in held)


def test_one_on_top_of_the_other(result):
    rng = np.random.default_rng(2)
    drawn = rng.multivariate_normal([p.value for p in result.free], result.covariance.values, (4, 500))
    samples = xr.Dataset({n: (("chain", "draw"), drawn[..., i]) for i, n in enumerate(result.free.names)})
    fig = plot_corner(samples, label="samples")
    again = plot_corner(result, fig, label="covariance", color="#D55E00")
    assert again is fig
    assert len(fig.axes) == 3
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["samples", "covariance"]
    one = plot_corner(result, parameters=["index"])
    assert len(one.axes) == 1


def test_words_for_corners_that_cannot_be_drawn(result):
    with pytest.raises(TypeError, match="the result of a fit, or samples"):
        plot_corner([1, 2])
    with pytest.raises(ValueError, match="'beta' is not the name"):
        plot_corner(result, parameters=["beta"])
    with pytest.raises(ValueError, match="group 'posterior'"):
        plot_corner(xr.DataTree.from_dict({"prior": xr.Dataset()}))
    with pytest.raises(ValueError, match="has no spread"):
        plot_corner(xr.Dataset({"a": (("chain", "draw"), np.ones((2, 5)))}))
    with pytest.raises(ValueError, match="has 3 panels"):
        plot_corner(result, plot_corner(result), parameters=["index"])


def test_a_surface_with_contours(result):
    surface = result.stat_surface("index", "amplitude", 7, 7)
    ax = plot_surface(surface, sigma=[1, 2])
    assert legend(ax) == ["1 σ", "2 σ"]
    x, y = np.linspace(-4, 4, 15), np.linspace(-3.5, 3.5, 13)
    rise = xr.DataArray(x[:, None] ** 2 + y**2, {"index": x, "norm": y}, name="delta_stat").to_dataset()
    ax = plot_surface(rise, joint=True)
    drawn = [c for c in ax.collections if not hasattr(c, "get_coordinates")]
    radii = [np.hypot(*path.vertices.T).mean() for c in drawn for path in c.get_paths()]
    wanted = [np.sqrt(chi2.isf(chi2.sf(s**2, 1), 2)) for s in (1, 2, 3)]
    np.testing.assert_allclose(sorted(radii), wanted, rtol=2e-3)
    assert plot_surface(rise, sigma=()).get_legend() is None
    with pytest.raises(ValueError, match="over two parameters"):
        plot_surface(result.stat_profile("index", 5))
    for draw in (lambda: plot_surface(rise, sigma=[-1]), lambda: plot_corner(result, sigma=[0.0])):
        with pytest.raises(ValueError, match="positive number of standard deviations"):
            draw()
