"""A field-of-view background inside the pass over the runs: equal to the steps one after the other, also in tiles."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.background.fov import FoVBackground
from xgamma.io.pieces import pieces_of
from xgamma.io.sample import sample_path
from xgamma.reduction import measure_norm as module

CENTER = SkyCoord(150.6, -24.6, unit="deg")
SOURCE = "icrs;circle(150, -25, 0.4)"
OPTIONS = {"offset_max": "1.5 deg", "safe_mask": ["offset-max", "aeff-default"]}
TILES = [None, {"y": 32, "x": 25}, {"y": 9, "x": 60}]


def tilted():
    model = xg.PowerLawNormSpectralModel()
    model.tilt.frozen = False
    return model


SETTINGS = {
    "scale": {"exclusion": SOURCE},
    "fit": {"method": "fit", "exclusion": SOURCE},
    "tilt": {"method": "fit", "spectral": tilted()},
}


def make_grid(width="5 deg", **options):
    energy = xg.energy_axis("0.5 TeV", "50 TeV", nbin=4)
    true = xg.energy_axis("0.3 TeV", "60 TeV", nbin=5, name="energy_true")
    return xg.sky_grid(CENTER, width, "0.1 deg", energy=energy, energy_true=true, irf_binsize="0.5 deg", **options)


def assert_equal(actual, expected, rtol=1e-12):
    assert set(actual.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        assert actual[name].dims == expected[name].dims, name
        assert actual[name].attrs.get("units") == expected[name].attrs.get("units"), name
        # one part in 1e12 of the largest: what is safe nowhere is zero on one side, rounding on the other
        largest = np.nanmax(np.abs(np.asarray(expected[name], dtype=float)))
        np.testing.assert_allclose(actual[name], expected[name], rtol=rtol, atol=rtol * largest, err_msg=str(name))


@pytest.fixture(scope="module")
def runs():
    # five are enough for sums, and two are at the edge
    return list(xg.open_store(sample_path("survey")).observations)[::2]


@pytest.fixture(scope="module")
def apart(runs):
    return xg.reduce(runs, make_grid(), stack=False, **OPTIONS).load()


@pytest.mark.parametrize("chunks", TILES)
@pytest.mark.parametrize("kind", SETTINGS)
def test_stack(runs, apart, chunks, kind):
    expected = apart.gamma.fov_background(**SETTINGS[kind]).gamma.stack("obs")
    cube = xg.reduce(runs, make_grid(), background=FoVBackground(**SETTINGS[kind]), chunks=chunks, **OPTIONS)
    assert_equal(cube.load(), expected)
    assert cube.run.values.tolist() == [run.obs_id for run in runs]
    assert cube.attrs["background_method"] == expected.attrs["background_method"]


@pytest.mark.parametrize("chunks", TILES)
def test_runs_apart(runs, apart, chunks):
    cube = xg.reduce(
        runs, make_grid(), background=FoVBackground(exclusion=SOURCE), chunks=chunks, stack=False, **OPTIONS
    )
    assert_equal(cube.load(), apart.gamma.fov_background(exclusion=SOURCE))
    # runs differ, as their backgrounds were simulated
    assert float(cube.fov_norm.std()) > 0
    np.testing.assert_allclose(cube.fov_norm, 1, atol=0.2)


@pytest.mark.parametrize("chunks", TILES)
@pytest.mark.parametrize("stack", [True, False])
def test_a_run_without_success_leaves_nothing(runs, chunks, stack):
    """Psf and energy dispersion of the stack, too, are those of the other runs alone."""
    numbers = xg.reduce(runs, make_grid(), background=FoVBackground(), **OPTIONS).fov_counts.load()
    limit = float(numbers.min())
    failing = [run.obs_id for run, n in zip(runs, numbers.values, strict=True) if n <= limit]
    assert len(failing) == 1
    others = [run for run in runs if run.obs_id not in failing]
    settings = FoVBackground(min_counts=limit)
    with pytest.warns(UserWarning, match=rf"run {failing[0]}: no background could be made: there are {limit:g} counts"):
        cube = xg.reduce(
            runs, make_grid(), background=settings, chunks=chunks, stack=stack, selection="all", **OPTIONS
        ).load()
    position = [run.obs_id for run in runs].index(failing[0])
    assert cube.fov_success.values.tolist() == [k != position for k in range(len(runs))]
    assert np.isnan(cube.fov_norm[position])
    assert float(cube.fov_counts[position]) == limit
    expected = xg.reduce(others, make_grid(), background=settings, stack=stack, selection="all", **OPTIONS).load()
    if not stack:
        assert not cube.mask_safe[position].any()
        cube = cube.drop_isel(obs=position)
    names = ["counts", "background", "mask_safe", "exposure", "psf", "edisp", "irf_exposure"]
    assert_equal(cube[names], expected[names])


def test_lazy_and_the_same_with_every_scheduler(runs):
    def refuse(*_, **__):
        pytest.fail("computed")

    options = {**OPTIONS, "background": FoVBackground(method="fit", spectral=tilted()), "selection": "all"}
    with dask.config.set(scheduler=refuse):
        lazy = xg.reduce(runs, make_grid(), chunks={"y": 20, "x": 30}, **options)
    assert all(lazy[name].chunks is not None for name in lazy.data_vars)
    cubes = [lazy.compute(scheduler=s) for s in ("synchronous", "threads", "processes")]
    for other in cubes[1:]:
        xr.testing.assert_identical(cubes[0], other)


def test_each_run_is_measured_once(runs, monkeypatch):
    """Tiles, responses and numbers share the norms."""
    seen = []
    original = module._sums
    monkeypatch.setattr(
        module, "_sums", lambda run, *args: seen.append(run.files.observation.obs_id) or original(run, *args)
    )
    xg.reduce(
        runs, make_grid(), background=FoVBackground(), chunks={"y": 20, "x": 20}, selection="all", **OPTIONS
    ).load()
    assert sorted(seen) == sorted(run.obs_id for run in runs)


@pytest.mark.parametrize("chunks", TILES)
def test_exclusion_as_lazy_map(runs, apart, chunks):
    grid = make_grid()
    usable = ~grid.gamma.region_mask(SOURCE)
    expected = apart.gamma.fov_background(exclusion=SOURCE).gamma.stack("obs")
    for mask in (usable, usable.copy(data=da.from_array(usable.values, chunks=(17, 23)))):
        cube = xg.reduce(runs, grid, background=FoVBackground(exclusion=mask), chunks=chunks, **OPTIONS)
        assert_equal(cube.load(), expected)


def test_norms_are_those_of_the_whole_run_on_a_part_of_the_grid_that_is_written(runs, tmp_path):
    """Piece by piece, and with runs added later: pieces that a new run does not touch stay."""
    options = {"background": FoVBackground(exclusion=SOURCE), "chunks": {"y": 13, "x": 13}, **OPTIONS}
    store = tmp_path / "survey.zarr"
    first = xg.write_survey(runs[:-1], make_grid(), store, dtype="float64", **options)
    assert first.n_written == first.n_pieces
    second = xg.write_survey(runs, make_grid(), store, dtype="float64", update=True, **options)
    assert 0 < second.n_written < second.n_pieces
    stored = xg.open_cube(store).load()
    expected = xg.reduce(runs, make_grid(), background=options["background"], **OPTIONS).load()
    np.testing.assert_allclose(stored.background, expected.background, rtol=1e-12)
    np.testing.assert_allclose(stored.fov_norm, expected.fov_norm, rtol=1e-12)


def test_settings_tell_pieces_apart(runs):
    def tokens(**settings):
        cube = xg.reduce(runs, make_grid(), background=FoVBackground(**settings), chunks={"y": 25, "x": 25}, **OPTIONS)
        return [p.token for p in pieces_of(cube)]

    first = tokens(exclusion=SOURCE)
    assert tokens(exclusion=SOURCE) == first
    for other in ({}, {"exclusion": SOURCE, "min_counts": 3}, {"exclusion": "icrs;circle(150, -25, 0.5)"}):
        assert not set(tokens(**other)) & set(first)


def test_all_faulty_runs_are_named(runs, tmp_path):
    """The task that measures a norm leaves the error to those that tell of all runs."""
    folder = tmp_path / "store"
    xg.open_store(sample_path("survey")).copy([1, 2, 3], folder)
    store = xg.open_store(folder)
    for label in (1, 3):
        path = Path(next(h.file for h in store.get(label).hdus if h.hdu_type == "events"))
        path.write_bytes(path.read_bytes()[:3000])
    options = {"background": FoVBackground(), **OPTIONS, "chunks": {"y": 30, "x": 30}}
    with pytest.raises((OSError, ValueError), match=r"run [13] cannot be reduced"):
        xg.reduce(store.observations, make_grid(), **options).load()
    with pytest.raises((OSError, ValueError), match=r"run [13] cannot be reduced"):
        xg.reduce(store.observations, make_grid(), **options).fov_norm.load()
    written = xg.write_survey(
        store.observations, make_grid(), tmp_path / "cube.zarr", on_fault="leave out", dtype="float64", **options
    )
    assert set(written.missing) == {"1", "3"}
    alone = xg.reduce([store.get(2)], make_grid(), **options)
    np.testing.assert_allclose(xg.open_cube(tmp_path / "cube.zarr").background, alone.background, rtol=1e-12)


def test_files_and_tables(runs, tmp_path):
    cube = xg.reduce(runs, make_grid(), background=FoVBackground(), selection="all", **OPTIONS)
    cube.gamma.to_zarr(tmp_path / "cube.zarr")
    cube.gamma.to_netcdf(tmp_path / "cube.nc")
    cube = cube.load()
    for name in ("cube.zarr", "cube.nc"):
        again = xg.open_cube(tmp_path / name)
        np.testing.assert_array_equal(again.fov_norm, cube.fov_norm)
        assert again.fov_success.dtype == bool
        assert again.run.values.tolist() == cube.run.values.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cube.gamma.to_fits(tmp_path / "cube.fits.gz")
    assert float(xg.info(cube).background) == pytest.approx(float(xg.info(cube).counts))
    image = cube.gamma.to_image()
    np.testing.assert_allclose(image.background.sum(), cube.background.where(cube.mask_safe).sum())
    assert np.isfinite(cube.gamma.excess_map("0.2 deg").sqrt_ts).any()


def test_what_cannot_be(runs):
    with pytest.raises(ValueError, match=r"needs \['background'\] in the selection"):
        xg.reduce(runs, make_grid(), background=FoVBackground(), selection=["counts", "exposure"], **OPTIONS)
    with pytest.raises(TypeError, match=r"give a xgamma\.FoVBackground"):
        xg.reduce(runs, make_grid(), background="fov", **OPTIONS)
    grid = xg.region_grid(SOURCE, energy=xg.energy_axis("1 TeV", "10 TeV", nbin=2))
    with pytest.raises(TypeError, match=r"is no background for the spectra of regions"):
        xg.reduce(runs, grid, background=FoVBackground())
    grid = xg.sky_grid(CENTER, "2 deg", "0.1 deg", energy=xg.energy_axis("1 TeV", "10 TeV", nbin=1))
    options = {"background": FoVBackground(method="fit", spectral=tilted()), "selection": ["counts", "background"]}
    with pytest.raises(ValueError, match="too many for 1 energy bins"):
        xg.reduce(runs, grid, **options)


# ---------------------------------------------------------------------- gammapy
#: gammapy 2.1: FoVBackgroundMaker(method, spectral_model=PowerLawNormSpectralModel(), fit=Fit()) with the options of
#: minuit tol=1e-6 and strategy=2, per run on a cutout of 5 deg, positions of events as float64. Columns: norm, its
#: error, tilt.
CTA = {
    "scale": [
        (1.155301467238002, 0.00681525589984068, 0.0),
        (1.14420918412181, 0.006782471561746458, 0.0),
        (1.142982518489246, 0.006778893271326159, 0.0),
    ],
    "fit": [
        (1.1553017717122929, 0.006815254294036222, 0.0),
        (1.1442095688561853, 0.006782472232241672, 0.0),
        (1.1429829138010568, 0.006778894073796741, 0.0),
    ],
    "tilt": [
        (1.5096381846402627, 0.0191675133691274, -0.17533402190202782),
        (1.4643687732536255, 0.01891463692491688, -0.16129131570974392),
        (1.5135554823270396, 0.019167680056844445, -0.18436446988190097),
    ],
}
HESS = {
    "scale": [
        (0.9296050503944772, 0.02393061471329024, 0.0),
        (1.0076912565176075, 0.027937583727322666, 0.0),
        (0.932496351444122, 0.029562121721214446, 0.0),
        (0.9344708646733951, 0.026897513258462798, 0.0),
    ],
    "fit": [
        (0.929604925787999, 0.0239306019176171, 0.0),
        (1.0076913782816574, 0.027937575306472038, 0.0),
        (0.9324963566238159, 0.029562109142049008, 0.0),
        (0.934470453805488, 0.02689749018231497, 0.0),
    ],
    "tilt": [
        (0.8127726781406931, 0.03558573673688525, -0.14429566993458565),
        (0.978241252792105, 0.04585217469175304, -0.03246116570197171),
        (0.8346726873411858, 0.04524893114632391, -0.1194137779847057),
        (0.8301171017381967, 0.04068423905383403, -0.12874355894095443),
    ],
}


def settings_of(kind):
    return {"method": "scale" if kind == "scale" else "fit", "spectral": tilted() if kind == "tilt" else None}


def compare(cube, peer, kind):
    """Closed forms agree to the digits of float32 maps, minima to 1e-4 of the error, errors of two to 0.5 %."""
    norm, error, tilt = np.array(peer).T
    away = 2e-7 * norm if kind == "scale" else 1e-4 * error
    assert np.all(abs(cube.fov_norm - norm) < away)
    np.testing.assert_allclose(cube.fov_norm_err, error, rtol=2e-6 if kind != "tilt" else 5e-3)
    if kind == "tilt":
        assert np.all(abs(cube.fov_tilt - tilt) < 1e-4 * cube.fov_tilt_err)
    else:
        assert not cube.fov_tilt.any()


@pytest.mark.real_data
@pytest.mark.parametrize("kind", CTA)
def test_norms_of_cta_runs_as_gammapy_has_them(gammapy_data, kind):
    runs = xg.open_store(gammapy_data / "cta-1dc/index/gps").select(obs_id=[110380, 111140, 111159])
    grid = xg.sky_grid(
        SkyCoord(0, 0, unit="deg", frame="galactic"),
        ("8 deg", "6 deg"),
        "0.02 deg",
        energy=xg.energy_axis("0.1 TeV", "10 TeV", nbin=10),
    )
    cube = xg.reduce(
        runs,
        grid,
        selection=["counts", "background"],
        offset_max="2.5 deg",
        safe_mask="offset-max",
        background=FoVBackground(**settings_of(kind)),
    ).load()
    assert cube.fov_counts.values.tolist() == [28736, 28460, 28429]
    compare(cube, CTA[kind], kind)
    # norm and tilt of a likelihood, too, leave the sum of events as it is
    assert float(cube.background.sum()) == pytest.approx(85625, rel=1e-12)


@pytest.mark.real_data
@pytest.mark.parametrize("kind", HESS)
def test_norms_of_hess_runs_as_gammapy_has_them(gammapy_data, kind):
    runs = xg.open_store(gammapy_data / "hess-dl3-dr1").select(obs_id=[23523, 23526, 23559, 23592])
    energy = xg.energy_axis("0.6 TeV", "20 TeV", nbin=6)
    true = xg.energy_axis("0.4 TeV", "40 TeV", nbin=12, name="energy_true")
    grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "5 deg", "0.05 deg", energy=energy, energy_true=true)
    cube = xg.reduce(
        runs,
        grid,
        offset_max="2.5 deg",
        safe_mask={"offset-max": {"offset_max": "2 deg"}, "aeff-default": {}},
        background=FoVBackground(exclusion="icrs;circle(83.63, 22.01, 0.4)", **settings_of(kind)),
    ).load()
    compare(cube, HESS[kind], kind)
