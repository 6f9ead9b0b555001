"""Profiles and light curves as pictures."""

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.coords.bins import bin_axis, energy_axis
from xgamma.coords.region_shapes import regions_along_line
from xgamma.coords.regions import to_ds9
from xgamma.plot.flux_profile import plot_flux_profile, plot_flux_profile_map
from xgamma.plot.light_curve import plot_light_curve


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def points_over(dim, n=4):
    energy = energy_axis("1 TeV", "100 TeV", nbin=2)
    points = xr.Dataset(coords=energy.coords, attrs={"sed_type": "likelihood"})
    norm = np.linspace(0.5, 3, 2 * n).reshape(n, 2)
    points["norm"] = (dim, "energy"), norm
    points["norm_err"] = (dim, "energy"), np.full((n, 2), 0.2)
    points["norm_ul"] = points.norm + 0.4
    points["is_ul"] = points.norm < 1
    points["stat"] = xr.zeros_like(points.norm)
    points = points.assign_coords(norm_scan=("scan", np.linspace(0, 4, 9)))
    points["stat_scan"] = ((points.norm_scan - points.norm) / 0.2) ** 2
    points["stat_scan"] = points.stat_scan.transpose(dim, "energy", "scan")
    points["counts"] = (dim, "energy"), np.arange(2.0 * n).reshape(n, 2)
    for name, unit in (("ref_dnde", "TeV-1 s-1 cm-2"), ("ref_flux", "s-1 cm-2")):
        points[name] = "energy", [1e-12, 1e-13], {"units": unit}
    return points


def profile():
    points = points_over("region")
    edges = {"distance": np.arange(4) + 0.5, "distance_min": np.arange(4.0), "distance_max": np.arange(1.0, 5.0)}
    return points.assign_coords({k: ("region", v, {"units": "deg"}) for k, v in edges.items()})


def curve():
    start = 2e8 + np.arange(4) * 3600.0
    return points_over("time").assign_coords(bin_axis("time", start, start + 1800, "s", interp="lin").coords)


def test_profile_in_each_quantity():
    ax = plot_flux_profile(profile())
    assert ax.get_xlabel().startswith("Distance")
    assert "Flux" in ax.get_ylabel()
    assert len(ax.get_legend().get_texts()) == 2
    assert "Counts" in plot_flux_profile(profile(), quantity="counts").get_ylabel()
    with pytest.raises(ValueError, match="hold no 'excess'"):
        plot_flux_profile(profile(), quantity="excess")
    with pytest.raises(ValueError, match="distance"):
        plot_flux_profile(points_over("region"))


def test_limits_are_arrows_and_values_points():
    one = profile().isel(energy=[0])
    ax = plot_flux_profile(one, quantity="norm")
    drawn = [c for c in ax.containers if c.lines[0] is not None]
    value, limit = (c.lines[0].get_ydata() for c in drawn)
    assert np.allclose(value, one.norm.values[one.norm.values[:, 0] >= 1, 0])
    assert np.allclose(limit, one.norm_ul.values[one.norm.values[:, 0] < 1, 0])


def test_likelihood_profiles_lie_where_the_statistic_is_low():
    one = profile().isel(energy=[1])
    ax = plot_flux_profile(one, quantity="norm", profiles=True)
    meshes = [c for c in ax.collections if hasattr(c, "get_coordinates")]
    assert len(meshes) == 4
    for i, mesh in enumerate(meshes):
        shades, corners = mesh.get_array(), mesh.get_coordinates()
        assert np.allclose(corners[0, :, 0], [i, i + 1])
        lowest = int(np.ma.argmin(shades))
        assert abs(float(corners[lowest, 0, 1]) - float(one.norm[i, 0])) < 0.1
        assert float(shades.max()) <= 16
    with pytest.raises(ValueError, match="one energy"):
        plot_flux_profile(profile(), profiles=True)
    with pytest.raises(ValueError, match="selection='scan'"):
        plot_flux_profile(one.drop_vars(["stat_scan", "norm_scan"]), profiles=True)


def test_light_curve_has_dates():
    points = curve()
    ax = plot_light_curve(points)
    assert ax.get_xlabel() == "Time (UTC)"
    low, high = (mdates.num2date(v).year for v in ax.get_xlim())
    assert (low, high) == (2006, 2006)
    # texts of the ticks are times of the clock at their places, the date stands beside the axis
    ax.figure.canvas.draw()
    ticks = [(v, label.get_text()) for v, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)]
    shown = [(mdates.num2date(v), text) for v, text in ticks if text and low <= mdates.num2date(v).year <= high]
    assert len(shown) >= 3
    for date, text in shown:
        assert text in (f"{date:%H:%M}", f"{date:%b-%d}", f"{date:%M:%S}", f"{date:%d}"), (date, text)
    assert "2006-May-04" in ax.xaxis.get_offset_text().get_text()
    mjd = plot_light_curve(points.isel(energy=[0]), time_format="mjd", quantity="dnde")
    assert 53859 < mjd.get_xlim()[0] < mjd.get_xlim()[1] < 53860
    with pytest.raises(ValueError, match="time_format"):
        plot_light_curve(points, time_format="jd")


def test_lazy_points_are_drawn():
    assert plot_light_curve(curve().chunk({"energy": 1}), quantity="flux").containers


def test_map_with_regions_above_the_profile():
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    grid = xg.sky_grid(center, "4 deg", "0.1 deg")
    boxes = regions_along_line(*(SkyCoord(lon, 0, unit="deg", frame="galactic") for lon in (1, -1)), "1 deg", 4, grid)
    image = grid.assign(map=(("y", "x"), np.ones((40, 40)), {"units": ""}))["map"]
    points = profile().assign_coords(region=("region", [to_ds9(b) for b in boxes]))
    sky, lower = plot_flux_profile_map(points, image)
    assert sky.get_xlabel() != lower.get_xlabel()
    assert len(sky.patches) >= 4
    with pytest.raises(ValueError, match="hold their regions"):
        plot_flux_profile_map(profile(), image)
