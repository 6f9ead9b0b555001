"""Pages of cubes and runs."""

from __future__ import annotations

import importlib

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from matplotlib.patches import StepPatch

import xgamma as xg
from xgamma.coords.sky import grid_of
from xgamma.plot.peek import peek_cube, peek_observation

CENTER = SkyCoord(83.63, 22.01, unit="deg")
open_store = importlib.import_module("xgamma.dl3.store").open_store


def make_cube(n_obs=None, on_off=False, seed=0):
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("0.5 TeV", "50 TeV", nbin=4)
    grid = xg.sky_grid(CENTER, "2 deg", "0.1 deg", energy=energy, energy_true=energy)
    shape = (4, 20, 20) if n_obs is None else (n_obs, 4, 20, 20)
    obs = [] if n_obs is None else ["obs"]
    dims = (*obs, "energy", "y", "x")
    variables = {
        "counts": (dims, rng.poisson(3.0, shape).astype(float), {"units": ""}),
        "exposure": ((*obs, "energy_true", "y", "x"), rng.uniform(1e14, 2e14, shape), {"units": "cm2 s"}),
        "mask_safe": (dims, rng.uniform(size=shape) > 0.2, {"units": ""}),
    }
    if on_off:
        for name in ("counts_off", "acceptance", "acceptance_off"):
            variables[name] = (dims, rng.poisson(5.0, shape).astype(float), {"units": ""})
    else:
        variables["background"] = (dims, rng.uniform(2.0, 4.0, shape), {"units": ""})
    cube = grid.assign(variables)
    if n_obs is not None:
        cube = cube.assign(livetime=("obs", 60.0 * np.arange(1, n_obs + 1), {"units": "s"}))
        cube = cube.assign_coords(obs=np.arange(23523, 23523 + n_obs))
    return cube


def panels(fig):
    return {ax.get_title(): ax for ax in fig.axes}


def image_of(ax):
    return np.asarray(ax.images[0].get_array())


def spectrum_axes(fig):
    [ax] = [a for a in fig.axes if a.get_ylabel() == "Counts per bin"]
    return ax


def test_images_are_sums_inside_the_mask():
    cube = make_cube()
    fig = peek_cube(cube, regions="icrs;circle(83.63, 22.01, 0.5)")
    shown = panels(fig)
    assert list(shown) == ["Counts", "Background", "Excess", "Exposure at 0.889 TeV", "Safe mask", ""]
    safe = cube.where(cube.mask_safe, 0.0)
    counts, background = safe.counts.sum("energy"), safe.background.sum("energy")
    assert np.array_equal(image_of(shown["Counts"]), counts)
    assert image_of(shown["Background"]) == pytest.approx(background.values)
    assert image_of(shown["Excess"]) == pytest.approx((counts - background).values)
    assert image_of(shown["Exposure at 0.889 TeV"]) == pytest.approx(1e-4 * cube.exposure[0].values)
    assert image_of(shown["Safe mask"]) == pytest.approx(cube.mask_safe.mean("energy").values)
    excess = shown["Excess"].images[0]
    assert excess.norm.vmin == -excess.norm.vmax
    assert all(len(ax.patches) == 1 for title, ax in shown.items() if title)
    assert shown["Counts"].wcs.wcs.compare(grid_of(cube).frame.wcs.wcs)
    assert r"m^{2}\,s" in shown["Exposure at 0.889 TeV"].child_axes[0].get_ylabel()
    fig.canvas.draw()
    assert plt.get_fignums() == [fig.number]


def test_spectrum_of_counts_and_background():
    cube = make_cube()
    cube["counts"][3] = 0.0
    ax = spectrum_axes(peek_cube(cube))
    safe = cube.where(cube.mask_safe, 0.0)
    [steps] = [p for p in ax.patches if isinstance(p, StepPatch)]
    assert steps.get_data().values == pytest.approx(safe.background.sum(["y", "x"]).values)
    [(points, *_)] = ax.containers
    # a bin without counts has no point on a logarithm
    assert points.get_ydata() == pytest.approx(safe.counts.sum(["y", "x"])[:3].values)
    assert ax.get_xlim() == pytest.approx((0.5, 50.0))
    assert ax.get_xlabel() == r"Energy [$\mathrm{TeV}$]"


def test_background_of_an_on_off_cube_is_the_scaled_off_counts():
    cube = make_cube(on_off=True)
    assert (cube.acceptance_off == 0).any()
    shown = panels(peek_cube(cube))
    n_off, acceptance, acceptance_off = (cube[n].values for n in ("counts_off", "acceptance", "acceptance_off"))
    expected = np.zeros((20, 20))
    for e, i, j in np.ndindex(4, 20, 20):
        if cube.mask_safe.values[e, i, j] and acceptance_off[e, i, j] > 0:
            expected[i, j] += acceptance[e, i, j] / acceptance_off[e, i, j] * n_off[e, i, j]
    assert image_of(shown["Background"]) == pytest.approx(expected)


def test_runs_are_summed_and_listed():
    cube = make_cube(n_obs=3)
    fig = peek_cube(cube)
    safe = cube.where(cube.mask_safe, 0.0)
    assert np.array_equal(image_of(panels(fig)["Counts"]), safe.counts.sum(["obs", "energy"]))
    [table] = [t for ax in fig.axes for t in ax.tables]
    cells = {key: cell.get_text().get_text() for key, cell in table.get_celld().items()}
    assert [cells[0, i] for i in range(4)] == ["Run", "Livetime [min]", "Counts", "Background"]
    assert cells[1, 0] == "all 3 runs"
    assert cells[1, 1] == "6.0"
    assert cells[1, 2] == f"{float(safe.counts.sum()):.0f}"
    assert [cells[3, i] for i in range(3)] == ["23524", "2.0", f"{float(safe.counts[1].sum()):.0f}"]
    fig.canvas.draw()
    [table] = [t for ax in peek_cube(make_cube(n_obs=30)[["counts"]]).axes for t in ax.tables]
    assert "and 6 more" in {c.get_text().get_text() for c in table.get_celld().values()}


def test_significance_within_a_radius():
    cube = make_cube()
    shown = panels(peek_cube(cube, radius="0.3 deg"))
    expected = xg.excess_map(cube, "0.3 deg", energy_edges=["0.5 TeV", "50 TeV"]).sqrt_ts.squeeze()
    assert image_of(shown["Significance within 0.3 deg"]) == pytest.approx(expected.values, nan_ok=True)
    image = shown["Significance within 0.3 deg"].images[0]
    assert image.norm.vmin == -image.norm.vmax
    with pytest.raises(ValueError, match="stack the cube"):
        peek_cube(make_cube(n_obs=2), radius="0.3 deg")


def test_every_block_is_read_once_and_unused_variables_never():
    read = []

    def block(array, label):
        read.append(label)
        return array

    def lazy(name, array):
        meta = np.empty((0,) * array.ndim, array.dtype)
        return array.copy(data=da.from_array(array.values, chunks=array.shape).map_blocks(block, name, meta=meta))

    cube = make_cube(n_obs=2)
    cube["psf"] = cube.counts.isel(obs=0)
    chunked = cube.assign({n: lazy(n, cube[n]) for n in ("counts", "background", "mask_safe", "exposure", "psf")})
    peek_cube(chunked)
    assert sorted(read) == ["background", "counts", "exposure", "mask_safe"]


def test_spectra_of_regions_have_no_images():
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    grid = xg.region_grid(["icrs;circle(83.63, 22.01, 0.1)"], energy=energy)
    dims = ("region", "energy")
    cube = grid.assign(counts=(dims, [[9.0, 3.0, 1.0]]), background=(dims, [[2.0, 1.0, 0.5]]))
    fig = peek_cube(cube)
    assert len(fig.axes) == 1
    assert spectrum_axes(fig).containers[0][0].get_ydata().tolist() == [9.0, 3.0, 1.0]


def test_nothing_to_show_raises():
    with pytest.raises(ValueError, match="nothing to show"):
        peek_cube(xr.Dataset())
    with pytest.raises(TypeError, match="use plot_map"):
        peek_cube(make_cube().counts)


def run_of_events(folder, n):
    """Run without responses: events around a pointing, two good time intervals."""
    rng = np.random.default_rng(3)
    columns = [
        fits.Column("RA", "D", unit="deg", array=83.63 + rng.normal(0, 0.5, n)),
        fits.Column("DEC", "D", unit="deg", array=22.01 + rng.normal(0, 0.5, n)),
        fits.Column("ENERGY", "D", unit="TeV", array=rng.pareto(1.5, n) + 1.0),
        fits.Column("TIME", "D", unit="s", array=np.where(rng.uniform(size=n) < 0.5, 0, 800) + rng.uniform(0, 400, n)),
    ]
    time = {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT", "TIMEUNIT": "s"}
    header = fits.Header({**time, "OBS_ID": 7, "RA_PNT": 83.63, "DEC_PNT": 22.01, "DEADC": 0.9, "TELESCOP": "TEST"})
    header.update({"HDUCLASS": "GADF", "HDUCLAS1": "EVENTS"})
    gti = [fits.Column(n, "D", unit="s", array=[t, t + 800.0]) for n, t in (("START", 0.0), ("STOP", 400.0))]
    gti_header = fits.Header({**time, "HDUCLASS": "GADF", "HDUCLAS1": "GTI"})
    hdus = [
        fits.PrimaryHDU(),
        fits.BinTableHDU.from_columns(columns, header, name="EVENTS"),
        fits.BinTableHDU.from_columns(gti, gti_header, name="GTI"),
    ]
    fits.HDUList(hdus).writeto(folder / "run.fits")
    with pytest.warns(UserWarning, match="no HDU index"):
        [obs] = open_store(folder).observations
    return obs


@pytest.mark.parametrize("n", [500, 1, 0])
def test_page_of_a_run_without_responses(tmp_path, n):
    fig = peek_observation(run_of_events(tmp_path, n))
    sky, energy, rate, offsets = fig.axes
    assert sky.get_title() == "Events (cross: pointing)"
    assert image_of(sky).sum() == pytest.approx(n, abs=0.05 * n)
    # the cross is at the pointing
    [cross] = sky.lines
    position = sky.wcs.pixel_to_world(cross.get_xdata()[0], cross.get_ydata()[0])
    assert position.separation(CENTER).deg == pytest.approx(0.0, abs=1e-6)
    assert energy.get_xlabel() == r"Energy [$\mathrm{TeV}$]"
    assert sum(p.get_data().values.sum() for p in energy.patches) == n
    assert sum(p.get_data().values.sum() for p in offsets.patches) == pytest.approx(n, abs=0.05 * n)
    assert rate.get_xlim() == pytest.approx((0.0, 20.0))
    assert f"{n} events" in fig.get_suptitle()
    assert "13.3 min" in fig.get_suptitle()
    fig.canvas.draw()


def test_rate_counts_the_good_time_of_each_bin(tmp_path):
    rate = peek_observation(run_of_events(tmp_path, 20000)).axes[2]
    [steps] = [p for p in rate.patches if isinstance(p, StepPatch)]
    values, edges, _ = steps.get_data()
    # 20000 events in 800 s of good time, also in bins that are good in part; nothing in the gap
    assert values[np.isfinite(values)] == pytest.approx(25.0, rel=0.2)
    middle = 0.5 * (edges[1:] + edges[:-1])
    gap = (middle > 400 / 60 + 0.7) & (middle < 800 / 60 - 0.7)
    assert np.isnan(values[gap]).all()


@pytest.mark.real_data
def test_page_of_a_real_run(gammapy_data):
    obs = open_store(gammapy_data / "hess-dl3-dr1").select(obs_id=[20136])[0]
    fig = peek_observation(obs)
    titles = [ax.get_title() for ax in fig.axes]
    expected = ["Effective area", "Energy dispersion", "Point spread function", "Background, 1 TeV"]
    assert titles[4:] == expected
    assert "11243 events" in fig.get_suptitle()
    fig.canvas.draw()
    assert plt.get_fignums() == [fig.number]
