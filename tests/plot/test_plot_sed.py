"""Flux points, profiles and bands: what the artists hold."""

from __future__ import annotations

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_spectra import MODEL, made_spectrum
from matplotlib.collections import PolyCollection, QuadMesh

import xgamma as xg

EDGES = [1, 10, 100] * u.TeV


@pytest.fixture(scope="module")
def points():
    return made_spectrum(n_obs=2).gamma.flux_points(MODEL, selection="all").isel(energy=slice(1, None))


def container(ax, number=0):
    return ax.containers[number]


def test_points_errors_and_units(points):
    ax = xg.plot_sed(points, label="made")
    shown = points.gamma.to_sed_type("e2dnde")
    seen = ~shown.is_ul.values
    data, _, (horizontal, vertical) = container(ax)
    np.testing.assert_allclose(data.get_xdata(), shown.energy.values[seen])
    np.testing.assert_allclose(data.get_ydata(), shown.e2dnde.values[seen])
    x = np.array([s[:, 0] for s in horizontal.get_segments()])
    np.testing.assert_allclose(x, np.array([shown.energy_min.values, shown.energy_max.values]).T[seen])
    y = np.array([s[:, 1] for s in vertical.get_segments()])
    np.testing.assert_allclose(y[:, 1], (shown.e2dnde + shown.e2dnde_errp).values[seen])
    assert "erg" in ax.get_ylabel()
    assert ax.get_xscale() == ax.get_yscale() == "log"
    # an upper limit for each of the others
    assert (~seen).any()
    limits = container(ax, 1)
    np.testing.assert_allclose(
        np.array(limits[2][0].get_segments())[:, 0, 1], shown.e2dnde_ul.values[~seen]
    )  # the bars of the energies
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["made"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize("kind", ["dnde", "flux", "eflux", "norm"])
def test_other_quantities(points, kind):
    ax = xg.plot_sed(points, sed_type=kind, models=None if kind == "norm" else MODEL)
    shown = points.gamma.to_sed_type("likelihood" if kind == "norm" else kind)
    np.testing.assert_allclose(container(ax)[0].get_ydata(), shown[kind].values[~shown.is_ul.values])
    assert ax.get_yscale() == ("linear" if kind == "norm" else "log")
    if kind in ("flux", "eflux"):
        steps = np.array([line.get_ydata()[0] for line in ax.lines if line.get_color() == "#0072B2"])
        np.testing.assert_allclose(steps, points[f"ref_{kind}"])


def test_points_of_a_file_without_model(points, tmp_path):
    points.gamma.to_fits(tmp_path / "points.fits", sed_type="dnde")
    again = xg.read_flux_points(tmp_path / "points.fits")
    first, second = xg.plot_sed(points, sed_type="dnde"), xg.plot_sed(again, sed_type="dnde")
    np.testing.assert_allclose(container(first)[0].get_ydata(), container(second)[0].get_ydata())
    table = points.gamma.to_sed_type("dnde")[["dnde", "dnde_err"]].assign_attrs(sed_type="dnde")
    ax = xg.plot_sed(table, sed_type="dnde")
    assert len(container(ax)[0].get_ydata()) == np.isfinite(table.dnde).sum()
    assert ax.get_legend() is None


def test_profiles_are_the_rise_of_the_statistic(points):
    ax = xg.plot_sed(points, sed_type="norm", profiles=True)
    meshes = [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert len(meshes) == points.sizes["energy"]
    scan = xg.flux_points(made_spectrum(n_obs=2), MODEL, selection=["scan"], scan_values=np.linspace(0.2, 5, 401)).isel(
        energy=slice(1, None)
    )
    for i, mesh in enumerate(meshes):
        corners = mesh.get_coordinates()
        np.testing.assert_allclose(corners[0, :, 0], [points.energy_min.values[i], points.energy_max.values[i]])
        middle = 0.5 * (corners[:-1, 0, 1] + corners[1:, 0, 1])
        expected = np.interp(middle, np.linspace(0.2, 5, 401), scan.stat_scan[i] - scan.stat[i])
        values = np.ma.filled(mesh.get_array()[:, 0], np.nan)
        near = expected < 9
        # a curve through eleven norms: a few hundredths of a standard deviation
        np.testing.assert_allclose(np.sqrt(values[near]), np.sqrt(expected[near]), atol=0.03)
        assert (np.isnan(values) | (values <= 16)).all()
    ax.figure.canvas.draw()


def test_profiles_scale_with_the_reference(points):
    norm, flux = (xg.plot_sed(points, sed_type=kind, profiles=True) for kind in ("norm", "flux"))
    for i, pair in enumerate(zip(*([c for c in a.collections if isinstance(c, QuadMesh)] for a in (norm, flux)),
                                 strict=True)):  # fmt: skip
        ends = [p.get_coordinates()[[0, -1], 0, 1] for p in pair]
        np.testing.assert_allclose(ends[1], ends[0] * points.ref_flux.values[i])


def test_bands_of_models():
    model = MODEL.copy()
    model.spectral.amplitude.error = 1.5e-12
    ax = xg.plot_spectral_model(model, ("1 TeV", "10 TeV"), sed_type="dnde", n_points=11)
    energy = np.geomspace(1, 10, 11)
    [line] = ax.lines
    np.testing.assert_allclose(line.get_ydata(), 3e-12 * energy**-2.2)
    [band] = [c for c in ax.collections if isinstance(c, PolyCollection)]
    outline = band.get_paths()[0].vertices
    np.testing.assert_allclose(outline[:11, 1], 1.5e-12 * energy**-2.2)
    np.testing.assert_allclose(outline[11:22, 1], 4.5e-12 * energy[::-1] ** -2.2)
    high = ax.get_ylim()[1]
    # the upper side is inside of the picture, the lower side of a large error does not stretch it
    assert high > 4.5e-12
    model.spectral.amplitude.error = 4e-12
    ax = xg.plot_spectral_model(model, ("1 TeV", "10 TeV"), sed_type="dnde", n_points=11)
    assert ax.get_ylim()[0] > 1e-14
    assert not list(xg.plot_spectral_model(model, error=False).collections)
    ax.figure.canvas.draw()


def test_models_without_unit():
    norm = xg.PowerLawNormSpectralModel(norm=2.0)
    ax = xg.plot_spectral_model(norm, ("1 TeV", "10 TeV"))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 2.0)
    assert ax.get_yscale() == "linear"


def test_models_beside_points(points):
    other = xg.SkyModel(xg.PowerLawSpectralModel(index=3.0), name="other")
    ax = xg.plot_sed(points, models=[MODEL, other], label="points")
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"source", "other", "points"}
    ax = xg.plot_sed(points, models=[MODEL, other], source="other")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["other"]
    curves = [line for line in ax.lines if len(line.get_xdata()) == 200]
    assert len(curves) == 1
    ends = curves[0].get_xdata()[[0, -1]]
    assert ends == pytest.approx([float(points.energy_min[0]), float(points.energy_max[-1])])
    assert xg.plot_sed(points, models=MODEL.spectral).get_legend() is None
    fitted = made_spectrum(n_obs=2).gamma.fit(MODEL)
    assert [t.get_text() for t in xg.plot_sed(points, models=fitted).get_legend().get_texts()] == ["source"]


def test_lazy_points_and_single_regions(points):
    lazy = made_spectrum(n_obs=2).chunk({"obs": 1}).gamma.flux_points(MODEL)
    ax = xg.plot_sed(lazy.expand_dims(region=["a"]))
    np.testing.assert_allclose(
        container(ax)[0].get_ydata(),
        (made_spectrum(n_obs=2).gamma.flux_points(MODEL).gamma.to_sed_type("e2dnde")).pipe(
            lambda p: p.e2dnde.values[~p.is_ul.values & np.isfinite(p.e2dnde.values)]
        ),
    )


def test_limits_alone(points):
    """Tables of other instruments may hold nothing else."""
    limits = points.gamma.to_sed_type("dnde")[["dnde_ul"]]
    limits.attrs["sed_type"] = "dnde"
    ax = xg.plot_sed(limits, sed_type="e2dnde", models=MODEL)
    low, high = ax.get_ylim()
    shown = limits.gamma.to_sed_type("e2dnde").e2dnde_ul.values
    assert (shown < high).all()
    assert (shown > low).all()
    plt.close("all")


def test_words(points):
    with pytest.raises(ValueError, match="sed_type='x' must be one of"):
        xg.plot_sed(points, sed_type="x")
    with pytest.raises(ValueError, match=r"several spectra; take one of them: points.isel\(region=0\)"):
        xg.plot_sed(points.expand_dims(region=["a", "b"]))
    with pytest.raises(ValueError, match="no likelihood profiles"):
        xg.plot_sed(points.drop_vars("stat_scan"), profiles=True)
    with pytest.raises(ValueError, match="norms are relative to their model"):
        xg.plot_sed(points, sed_type="norm", models=MODEL)
    with pytest.raises(ValueError, match="no source 'x'"):
        xg.plot_sed(points, models=MODEL, source="x")
    with pytest.raises(ValueError, match="two ascending positive energies"):
        xg.plot_spectral_model(MODEL, ("10 TeV", "1 TeV"))
    with pytest.raises(ValueError, match="sed_type='flux' of a model"):
        xg.plot_spectral_model(MODEL, sed_type="flux")
    plt.close("all")
