"""Spectra at a glance: exposure, energy dispersion, numbers."""

from __future__ import annotations

import numpy as np
import pytest
from made_spectra import made_spectrum
from matplotlib.collections import QuadMesh

from xgamma.plot.peek_spectrum import plot_edisp_matrix, plot_exposure


def panel(fig, label):
    [ax] = [a for a in fig.axes if a.get_ylabel().startswith(label)]
    return ax


def table_of(fig):
    [table] = [t for a in fig.axes for t in a.tables]
    rows = {}
    for (row, column), cell in table.get_celld().items():
        rows.setdefault(row, {})[column] = cell.get_text().get_text()
    return {r[0]: r[1] for r in rows.values()}


def test_runs_side_by_side():
    cube = made_spectrum(n_obs=3)
    cube["exposure"] = cube["exposure"] * np.arange(1, 4)[:, None]
    fig = cube.chunk({"obs": 1}).gamma.peek()
    lines = {line.get_label(): line.get_ydata() for line in panel(fig, "Exposure").lines}
    assert list(lines) == ["11", "12", "13", "Sum"]
    np.testing.assert_allclose(lines["Sum"], 6 * 2e13 * 1e-4)
    assert table_of(fig)["all 3 runs"] == "30.0"
    [mesh] = panel(fig, "Energy").collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()), cube.edisp[0].values.T)
    fig.canvas.draw()


def test_one_spectrum_has_a_table_of_its_numbers():
    cube = made_spectrum()
    rows = table_of(cube.gamma.peek())
    info = cube.gamma.info()
    assert rows["Counts"] == f"{float(info.counts):.0f}"
    assert rows["Significance [σ]"] == f"{float(info.sqrt_ts):.1f}"
    assert rows["Bins inside the masks"] == "5"
    assert rows["Livetime [min]"] == "10.0"


def test_mean_energy_dispersion_is_weighted_by_exposure():
    cube = made_spectrum(n_obs=2)
    cube["edisp"][1] = np.eye(6)
    cube["exposure"][1] *= 3.0
    cube["exposure"][:, 0] = 0.0
    ax = plot_edisp_matrix(cube)
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    shown = np.ma.filled(mesh.get_array(), np.nan)
    expected = (0.25 * cube.edisp[0] + 0.75 * cube.edisp[1]).values.T
    np.testing.assert_allclose(shown[:, 1:], expected[:, 1:])
    assert np.isnan(shown[:, 0]).all()
    ax.figure.canvas.draw()


def test_exposure_of_regions_and_of_many_runs():
    cube = made_spectrum(n_obs=2)
    regions = cube.rename(obs="region").assign_coords(region=["icrs;a", "icrs;b"])
    assert [line.get_label() for line in plot_exposure(regions).lines] == ["region 0", "region 1"]
    many = plot_exposure(made_spectrum(n_obs=20))
    assert len(many.lines) == 1
    assert many.get_legend() is None
    np.testing.assert_allclose(many.lines[0].get_ydata(), 20 * 2e13 * 1e-4)
    empty = made_spectrum()
    empty["exposure"] = 0.0 * empty["exposure"]
    plot_exposure(empty).figure.canvas.draw()


def test_words():
    cube = made_spectrum()
    with pytest.raises(ValueError, match="'exposure' over energy_true is needed; exposure: there is none"):
        plot_exposure(cube.drop_vars("exposure"))
    with pytest.raises(ValueError, match=r"'edisp' over energy_true, energy is needed; edisp: .*'y': 2"):
        plot_edisp_matrix(cube.expand_dims(y=2))
