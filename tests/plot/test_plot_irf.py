"""Pictures of responses."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from matplotlib.collections import QuadMesh

from xgamma.irf import aeff as aeff_module
from xgamma.irf import edisp as edisp_module
from xgamma.irf import psf as psf_module
from xgamma.irf.axes import response_array, response_axis
from xgamma.irf.background import powerlaw_background
from xgamma.irf.read import read_irf
from xgamma.plot.irf import peek_irf, plot_aeff, plot_background, plot_edisp, plot_psf, plot_rad_max


def table_aeff():
    """Effective area that falls with the offset."""
    energy = response_axis("energy_true", np.geomspace(0.1, 50, 10)[:-1], np.geomspace(0.1, 50, 10)[1:])
    offset = response_axis("offset", [0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    values = 1e9 * energy.values[:, np.newaxis] / np.array([1.0, 2.0, 4.0])
    return response_array(values, [energy, offset], "aeff", "cm2", "Effective area", {"hduclass": "AEFF_2D"})


def background_3d():
    energy = response_axis("energy", [0.1, 1.0], [1.0, 10.0])
    lon = response_axis("fov_lon", np.arange(-2.0, 2.0), np.arange(-1.0, 3.0))
    lat = response_axis("fov_lat", np.arange(-2.0, 2.0), np.arange(-1.0, 3.0))
    values = np.ones((2, 4, 4)) * np.array([100.0, 1.0])[:, np.newaxis, np.newaxis]
    values[:, 3, 0] *= 7.0
    attrs = {"hduclass": "BKG_3D", "fov_alignment": "RADEC"}
    return response_array(values, [energy, lon, lat], "background", "s-1 TeV-1 sr-1", "Background", attrs)


def mesh_of(ax):
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    return mesh


def test_aeff_curves():
    table = table_aeff()
    ax = plot_aeff(table)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["0.5°", "1.5°", "2.5°"]
    for line, part in zip(ax.lines, (1.0, 2.0, 4.0), strict=True):
        assert line.get_xdata() == pytest.approx(table.energy_true.values)
        # 1e9 cm2 are 1e5 m2
        assert line.get_ydata() == pytest.approx(1e5 * table.energy_true.values / part)
    assert ax.get_ylabel() == r"Effective area [$\mathrm{m^{2}}$]"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlim() == pytest.approx((0.1, 50.0))
    [line] = plot_aeff(table, offsets="60 arcmin").lines
    assert line.get_ydata()[0] == pytest.approx(1e5 * table.energy_true.values[0] * 0.75)


def test_aeff_image():
    table = table_aeff()
    table[0, 2] = 0.0
    ax = plot_aeff(table, kind="image")
    values = mesh_of(ax).get_array()
    assert values.shape == (3, 9)
    assert values[1, 4] == pytest.approx(1e-4 * float(table[4, 1]))
    # nothing is blank, not black
    assert not np.isfinite(np.ma.filled(values, np.nan)[2, 0])
    assert ax.child_axes[0].get_ylabel() == r"Effective area [$\mathrm{m^{2}}$]"
    assert (ax.get_xlabel(), ax.get_ylabel()) == (r"True energy [$\mathrm{TeV}$]", r"Offset [$\mathrm{{}^{\circ}}$]")


def test_bias_and_resolution_of_a_gaussian():
    table = edisp_module.from_gauss(sigma=0.1, bias_value=0.2)
    ax = plot_edisp(table, offsets="1 deg")
    bias, width = ax.lines[:2]
    assert bias.get_ydata() == pytest.approx(0.2, abs=1e-3)
    assert width.get_ydata() == pytest.approx(0.1, abs=1e-3)


def test_migration_is_normalised_and_single_events_do_not_set_the_scale():
    table = edisp_module.from_gauss(sigma=0.1) * 1000.0
    table.attrs.update(hduclass="EDISP_2D")
    table[0] = 0.0
    table[0, 3] = 1e9
    ax = plot_edisp(table, kind="migra", offset="1 deg")
    values = mesh_of(ax).get_array()
    # migra, energy: the peak of a Gaussian of width 0.1
    assert values[:, 20].max() == pytest.approx(1 / (0.1 * np.sqrt(2 * np.pi)), rel=0.02)
    assert mesh_of(ax).norm.vmax == pytest.approx(values[:, 20].max(), rel=0.05)
    assert ax.get_title() == "offset 1°"


def test_matrix_follows_the_diagonal():
    ax = plot_edisp(edisp_module.from_gauss(sigma=0.1), kind="matrix")
    values = mesh_of(ax).get_array()
    assert values.shape[0] == values.shape[1] <= 60
    middle = values[:, 5:-5]
    assert np.array_equal(middle.argmax(axis=0), np.arange(5, values.shape[0] - 5))
    assert ax.get_xlim() == ax.get_ylim()


def test_containment_radii():
    psf = psf_module.from_gauss("0.1 deg")
    ax = plot_psf(psf, fraction=(0.393469, 0.864665))
    assert ax.lines[0].get_ydata() == pytest.approx(0.1, rel=0.02)
    assert ax.lines[len(ax.lines) // 2].get_ydata() == pytest.approx(0.2, rel=0.02)
    assert ax.get_ylabel().startswith("Containment radius (39%, 86%)")
    image = plot_psf(psf, kind="image", fraction=0.393469)
    assert np.asarray(mesh_of(image).get_array()) == pytest.approx(0.1, rel=0.02)


def test_profiles_of_the_psf():
    ax = plot_psf(psf_module.from_gauss("0.1 deg"), kind="profile", energies=["1 TeV", "10 TeV"], offset="0.5 deg")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["1 TeV", "10 TeV"]
    rad = ax.lines[0].get_xdata()
    expected = 1 - np.exp(-0.5 * (rad / 0.1) ** 2)
    assert ax.lines[0].get_ydata() == pytest.approx(expected, abs=0.01)
    assert [t.get_text() for t in plot_psf(psf_module.from_gauss("0.1 deg"), kind="profile").get_legend().get_texts()]


def test_background_spectra_and_field_of_view():
    table = background_3d()
    ax = plot_background(table, kind="image", energy=f"{np.sqrt(0.1)} TeV")
    mesh = mesh_of(ax)
    # x is longitude: the bright bin has the largest longitude and the smallest latitude
    assert mesh.get_array()[0, 3] == pytest.approx(700.0)
    assert np.ma.median(mesh.get_array()) == pytest.approx(100.0)
    corner = mesh.get_coordinates()[0, 3]
    assert tuple(corner) == (1.0, -2.0)
    assert "RADEC" in ax.get_xlabel()
    assert ax.get_title() == "0.316 TeV"
    table[:] = np.array([100.0, 1.0])[:, np.newaxis, np.newaxis]
    spectra = plot_background(table)
    assert all(line.get_ydata() == pytest.approx([100.0, 1.0]) for line in spectra.lines)
    assert len(spectra.lines) == 5


def test_round_background():
    table = powerlaw_background()
    ax = plot_background(table, offsets=["0.5 deg", "1 deg"])
    assert len(ax.lines) == 2
    image = mesh_of(plot_background(table, kind="image")).get_array()
    assert image.shape == (120, 120)
    # outside of the table there is nothing
    assert not np.isfinite(np.ma.filled(image, np.nan)[0, 0])


def test_rad_max():
    energy, offset = response_axis("energy", [0.1, 1.0], [1.0, 10.0]), response_axis("offset", [0.0, 1.0], [1.0, 2.0])
    attrs = {"hduclass": "RAD_MAX_2D"}
    table = response_array([[0.2, 0.3], [0.1, 0.15]], [energy, offset], "rad_max", "deg", "Radius", attrs)
    ax = plot_rad_max(table)
    assert [list(p.get_data().values) for p in ax.patches] == [[0.2, 0.1], [0.3, 0.15]]
    assert [list(p.get_data().values) for p in plot_rad_max(table, offsets="1.9 deg").patches] == [[0.3, 0.15]]
    fixed = plot_rad_max(xr.DataArray(0.1, attrs={"units": "deg"}))
    assert fixed.lines[0].get_ydata()[0] == 0.1
    assert len(peek_irf(table).axes) == 1


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (table_aeff, 2),
        (aeff_module.from_parametrization, 1),
        (edisp_module.from_gauss, 3),
        (psf_module.from_gauss, 2),
        (powerlaw_background, 2),
        (background_3d, 2),
    ],
)
def test_peek_shows_every_class(make, number):
    fig = peek_irf(make())
    assert len(fig.axes) == number
    fig.canvas.draw()
    assert plt.get_fignums() == [fig.number]


def test_unknown_things_raise():
    with pytest.raises(ValueError, match="no class of response"):
        peek_irf(xr.DataArray(1.0))
    with pytest.raises(ValueError, match="kind='matrix' must be one of"):
        plot_aeff(table_aeff(), kind="matrix")
    with pytest.raises(ValueError, match="offsets"):
        plot_aeff(table_aeff(), offsets=0.5)
    with pytest.raises(ValueError, match="no binned axis 'migra'"):
        plot_edisp(table_aeff())


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("hess-dl3-dr1/data/hess_dl3_dr1_obs_id_020136.fits.gz", {"EDISP": 3, "PSF": 3}),
        ("cta-caldb/Prod5-South-20deg-AverageAz-14MSTs37SSTs.180000s-v0.1.fits.gz", {"POINT SPREAD FUNCTION": 3}),
    ],
)
def test_real_responses(gammapy_data, path, numbers):
    with fits.open(gammapy_data / path) as hdus:
        for name, number in numbers.items():
            fig = peek_irf(read_irf(hdus[name]))
            assert len(fig.axes) == number
            fig.canvas.draw()
            plt.close(fig)
