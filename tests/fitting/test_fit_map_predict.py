"""Predicted counts of maps beside closed forms; laziness, edges, switches, bad input."""

import dask
import numpy as np
import pytest
import xarray as xr
from simulated_maps import SIZE, background, expected, gauss, map_cube, point

import xgamma as xg
from xgamma.fitting.predict import npred, npred_background, npred_signal
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.models.spatial_disk import DiskSpatialModel
from xgamma.models.spatial_shapes import ConstantSpatialModel, PointSpatialModel


def raising(*args, **kwargs):
    msg = "something was computed"
    raise AssertionError(msg)


# the PSF is cut off at 99.9 % and integrates to 1, which its closed form does not know of
CUT = 1.5e-3


@pytest.mark.parametrize(("lon", "lat"), [(30.0, 0.0), (30.025, 0.025), (30.011, -0.017), (29.49, 0.31)])
def test_a_point_is_the_psf_integrated_over_pixels_at_its_true_position(lon, lat):
    cube, model = map_cube(), point(lon, lat)
    values, closed = npred_signal(cube, model).values, expected(cube, model)
    assert np.abs(values - closed).max() < CUT * closed.max()
    # the centroid is that of the source, not of a pixel
    x, y = cube.x.values, cube.y.values
    for axis, pixels in ((2, x), (1, y)):
        other = tuple(a for a in range(3) if a != axis)
        mean, wanted = ((v.sum(axis=other) * pixels).sum() / v.sum() for v in (values, closed))
        assert mean == pytest.approx(wanted, abs=3e-3)


@pytest.mark.parametrize("narrow", [0.02, 0.01])
def test_a_psf_narrower_than_a_pixel(narrow):
    cube = map_cube(sigma=narrow)
    edges = np.append(cube.rad_min.values, cube.rad_max.values[-1])
    # on an axis that resolves it
    rad = xr.Dataset(coords=xg.coords.bins.bin_axis("rad", edges[:-1] / 6, edges[1:] / 6, "deg", interp="lin").coords)
    table = np.exp(-0.5 * (rad.rad.values / narrow) ** 2)
    table /= table @ (np.pi * np.diff(np.deg2rad(edges / 6) ** 2))
    shape = [cube.sizes[d] for d in ("energy_true", "irf_y", "irf_x")]
    cube = cube.drop_vars(["psf", "rad", "rad_min", "rad_max"]).assign_coords(rad.coords)
    psf = np.broadcast_to(table, (*shape, table.size)).copy()
    cube["psf"] = ("energy_true", "irf_y", "irf_x", "rad"), psf, {"units": "sr-1"}
    model = point(30.016, 0.007)
    from scipy.stats import norm

    from xgamma.coords.sky import grid_of

    grid = grid_of(cube)
    y, x = grid.sky_to_pixel(30.016, 0.007)
    parts = [
        np.diff(norm.cdf((np.append(np.asarray(r), r[-1] + 1) - 0.5 - p) * SIZE / narrow))
        for p, r in ((y, grid.y), (x, grid.x))
    ]
    values = npred_signal(cube, model).values
    shape_of = values.sum(axis=0) / values.sum()
    assert np.abs(shape_of - np.outer(*parts)).max() < 3e-3


@pytest.mark.parametrize("sigma", [0.3, 0.15, 0.06, 0.03, 0.01])
def test_a_gaussian_through_a_gaussian_is_a_gaussian(sigma):
    cube, model = map_cube(), gauss(30.017, -0.013, sigma)
    values, closed = npred_signal(cube, model).values, expected(cube, model, (sigma, sigma))
    assert np.abs(values - closed).max() < 2 * CUT * closed.max()


def test_an_elongated_gaussian():
    cube, model = map_cube(), gauss(30.017, -0.013, 0.2, e=0.8, phi="90 deg")
    values, closed = npred_signal(cube, model).values, expected(cube, model, (0.2, 0.12))
    assert np.abs(values - closed).max() < 2 * CUT * closed.max()


def test_a_small_source_is_a_point():
    cube = map_cube()
    small = gauss(30.013, 0.021, 1e-4)
    like = SkyModel(small.spectral, PointSpatialModel(lon_0="30.013 deg", lat_0="0.021 deg"), name="point")
    one, two = (npred_signal(cube, m).values for m in (small, like))
    assert np.abs(one - two).max() < 5e-3 * two.max()


def test_the_exposure_at_the_source_counts():
    cube, model = map_cube(slope=1.5), point(29.61, 0.12)
    values, closed = npred_signal(cube, model).values, expected(cube, model)
    assert np.abs(values - closed).max() < CUT * closed.max()


def test_a_source_on_the_edge_loses_what_lies_outside():
    whole = map_cube(width=("3 deg", "1.5 deg"))
    for model in (point(30.41, 0.1), gauss(30.41, 0.1, 0.15)):
        everything = npred_signal(whole, model)
        left, right = whole.isel(x=slice(0, 22)), whole.isel(x=slice(22, None))
        parts = [npred_signal(part, model) for part in (left, right)]
        joined = xr.concat([p.drop_vars(["lon", "lat", "wcs"]) for p in parts], "x")
        assert np.abs(joined.values - everything.values).max() < 1e-6 * everything.values.max()
        assert 0 < parts[0].sum() < everything.sum()


def test_a_source_beyond_the_map():
    cube = map_cube()
    assert not npred_signal(cube, point(35.0, 0.0)).any()
    # next to the edge its tail is seen
    tail = npred_signal(cube, point(31.1, 0.0)).sum()
    inside = npred_signal(cube, point(30.0, 0.0)).sum()
    assert 0 < tail < 0.2 * inside


def test_a_psf_broader_than_the_map():
    cube, model = map_cube(width="0.3 deg"), point()
    assert np.abs(npred_signal(cube, model).values - expected(cube, model)).max() < CUT * 3
    cube, model = map_cube(width="0.3 deg"), gauss(30.0, 0.0, 0.4)
    values = npred_signal(cube, model).values
    assert np.abs(values - expected(cube, model, (0.4, 0.4))).max() < 3e-3 * values.max()


def test_without_psf_the_four_pixels_around_a_point_share_it():
    cube = map_cube()
    for bare in (cube.drop_vars("psf"), None):
        model = point(30.0, 0.0)
        if bare is None:
            bare, model.apply_irf["psf"] = cube, False
        values = npred_signal(bare, model)
        assert np.count_nonzero(values.sum("energy")) == 4
        assert float(values.sum()) == pytest.approx(float(expected(cube, model).sum()), rel=1e-6)


def test_without_energy_dispersion_energies_are_exact():
    cube, model = map_cube(n_true=6, sigma=0.1).drop_vars("edisp"), point()
    values = npred_signal(cube, model).sum(("y", "x")).values
    low, high = cube.energy_min.values, cube.energy_max.values
    # the exposure changes from bin to bin of true energy
    edges = np.append(cube.energy_true_min.values, cube.energy_true_max.values[-1])
    wanted = []
    for a, b in zip(low, high, strict=True):
        cuts = np.clip(edges, a, b)
        part = model.spectral.evaluate_integral(cuts[:-1], cuts[1:], *model.spectral.values)
        wanted.append(float(np.nan_to_num(part) @ cube.exposure.values[:, 0, 0]))
    np.testing.assert_allclose(values, wanted, rtol=2e-5)


def test_exposure_switched_off_gives_the_flux():
    cube, model = map_cube(), point()
    model.apply_irf["exposure"] = False
    flux = model.spectral.evaluate_integral(
        cube.energy_true_min.values, cube.energy_true_max.values, *model.spectral.values
    )
    wanted = float(flux @ cube.edisp.values[:, :, 0, 0].sum(axis=1))
    assert float(npred_signal(cube, model).sum()) == pytest.approx(wanted, rel=1e-6)


def test_responses_that_are_the_same_everywhere_need_no_coarse_grid():
    cube, model = map_cube(), point()
    plain = cube.drop_vars("irf_exposure")
    for name in ("psf", "edisp"):
        plain[name] = cube[name].isel(irf_y=0, irf_x=0, drop=True)
    np.testing.assert_allclose(npred_signal(plain, model), npred_signal(cube, model), rtol=1e-9, atol=1e-12)


def test_migration_instead_of_a_matrix():
    cube, model = map_cube(), point()
    edges = np.linspace(0.2, 5.0, 2001)
    migra = xg.coords.bins.bin_axis("migra", edges[:-1], edges[1:], "", interp="lin")
    values = np.exp(-0.5 * (np.log(migra.values) / 0.15) ** 2) / migra.values
    shape = [cube.sizes[d] for d in ("energy_true", "irf_y", "irf_x")]
    other = cube.drop_vars("edisp").assign_coords(migra.coords)
    other["edisp"] = (
        ("energy_true", "migra", "irf_y", "irf_x"),
        np.broadcast_to(values[:, None, None], (shape[0], values.size, *shape[1:])),
    )
    assert np.abs(npred_signal(other, model) - npred_signal(cube, model)).max() < 1e-4


def test_lazy_maps_stay_lazy_and_tiles_do_not_matter():
    cube = map_cube(width=("4 deg", "2 deg"), slope=0.5)
    models = Models([point(), gauss(29.2, 0.4), background()])
    models["bkg"].spectral.norm.value = 1.3
    whole = npred(cube, models)
    lazy = cube.chunk(y=15, x=25)
    with dask.config.set(scheduler=raising):
        signal, total = npred_signal(lazy, models), npred(lazy, models)
    models["point"].spectral.amplitude.value *= 2  # a prediction is that of its moment
    assert signal.chunks == lazy.counts.chunks
    assert np.abs(total.compute() - whole).max() < 1e-8 * whole.max()
    # tiles that nothing reaches are no tasks: their chunks are zeros whatever the responses
    far = lazy.assign(exposure=lazy.exposure.copy(data=lazy.exposure.data.map_blocks(raising, dtype=float)))
    empty = npred_signal(far, point(28.1, -0.9)).isel(x=slice(0, 25), y=slice(30, 40))
    assert not empty.compute().any()


def test_runs_have_their_own_responses():
    one, two = map_cube(slope=0.2), map_cube(slope=-0.4)
    runs = xr.concat([one, two], dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    model = point()
    values = npred_signal(runs, model)
    for i, cube in enumerate((one, two)):
        np.testing.assert_allclose(values.values[i], npred_signal(cube, model).values)
    some = SkyModel(model.spectral, model.spatial, name="some", datasets_names="12")
    assert not npred_signal(runs, some).sel(obs=11).any()
    lazy = npred_signal(runs.chunk(obs=1, y=10), model)
    np.testing.assert_allclose(lazy.compute(), values, atol=1e-9)


def test_backgrounds_and_templates():
    cube = map_cube()
    factor = FoVBackgroundModel(PowerLawNormSpectralModel(norm=1.2, tilt=0.3), name="bkg")
    energy = np.sqrt(cube.energy_min.values * cube.energy_max.values)
    wanted = cube.background * xr.DataArray(1.2 * energy**-0.3, dims="energy", coords={"energy": cube.energy})
    np.testing.assert_allclose(npred_background(cube, factor), wanted)
    shape = FoVBackgroundModel(spatial=ConstantSpatialModel(value="0.5 sr-1"), name="half")
    np.testing.assert_allclose(npred_background(cube, shape), 0.5 * cube.background)
    template = (0.5 * cube.background).isel(x=slice(3, 20))
    model = TemplateNPredModel(template, PowerLawNormSpectralModel(norm=2.0), name="gas")
    values = npred_signal(cube, model)
    assert not values.isel(x=slice(0, 3)).any()
    np.testing.assert_allclose(values.isel(x=slice(3, 20)), cube.background.isel(x=slice(3, 20)))
    # a sum below zero is none
    model.spectral.norm.value = -4.0
    assert float(npred(cube, model).min()) == 0.0


def test_without_models_there_is_the_background():
    cube = map_cube()
    np.testing.assert_array_equal(npred(cube), cube.background)
    assert not npred(cube.drop_vars("background")).any()


def test_a_constant_reaches_the_edges():
    cube = map_cube()
    model = SkyModel(PowerLawSpectralModel(amplitude="1e-9 cm-2 s-1 TeV-1"), ConstantSpatialModel(), name="sky")
    values = npred_signal(cube, model).values
    np.testing.assert_allclose(
        values, np.broadcast_to(values.mean(axis=(1, 2), keepdims=True), values.shape), rtol=2e-3
    )


def test_a_seam_of_the_whole_sky():
    from astropy.coordinates import SkyCoord

    kwargs = {"width": ("360 deg", "4 deg"), "frame": "galactic"}
    cube = map_cube(center=SkyCoord(0, 0, unit="deg", frame="galactic"), **kwargs).isel(y=slice(10, 70))
    at = {"frame": "galactic", "lat_0": "0.01 deg"}
    spectral = PowerLawSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1")
    seam, inside = (
        npred_signal(cube, SkyModel(spectral, PointSpatialModel(lon_0=f"{lon} deg", **at), name="s")).values
        for lon in (180.01, 170.01)
    )
    assert seam.sum() == pytest.approx(inside.sum(), rel=1e-6)
    assert seam[..., 0].sum() > 0
    assert seam[..., -1].sum() > 0
    extended = [
        npred_signal(cube, SkyModel(spectral, DiskSpatialModel(lon_0=f"{lon} deg", r_0="0.3 deg", **at), name="s"))
        for lon in (180.01, 170.01)
    ]
    assert float(extended[0].sum()) == pytest.approx(float(extended[1].sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        (lambda c: c, SkyModel(PowerLawSpectralModel(), name="bare"), "'bare' has no spatial model"),
        (lambda c: c.drop_vars("exposure"), point(), "has no 'exposure'"),
        (lambda c: c.drop_vars("background"), background(), "scales a background, which"),
        (lambda c: c.assign(psf=c.psf.expand_dims(phase=2)), point(), "has dim 'phase'"),
        (lambda c: c.assign(psf=c.psf.isel(rad=0, drop=True)), point(), "lacks dim 'rad'"),
        (lambda c: c.drop_vars(["lon", "lat"]), point(), "has no sky index"),
        (lambda c: c, SkyModel(PowerLawNormSpectralModel(), PointSpatialModel(), name="n"), "a factor without unit"),
    ],
)
def test_words_for_bad_input(change, model, message):
    with pytest.raises((ValueError, TypeError), match=message):
        npred(change(map_cube()), model)


def stepped_runs():
    """Two runs that see other halves of a map, whose exposures change along it, and the sum of both."""
    cubes = [map_cube(slope=slope) for slope in (0.4, -0.3)]
    for cube, seen in zip(cubes, (cubes[0].x < 22, cubes[0].x >= 0), strict=True):
        cube["mask_safe"] = cube.mask_safe & seen
    runs = xr.concat(cubes, dim="obs", data_vars="all", coords="minimal").assign_coords(obs=[11, 12])
    return runs, xg.stack(runs)


@pytest.mark.parametrize("model", [point(30.06, 0.013), gauss(30.05, 0.02, 0.1), gauss(30.05, 0.02, 0.02)])
def test_a_sum_of_runs_has_steps_where_they_end(model):
    runs, stacked = stepped_runs()
    step = stacked.exposure.isel(energy_true=0, y=10).diff("x")
    assert float(abs(step).max()) > 0.2 * float(stacked.exposure.max() / 4)
    # what the runs predict where they see something
    wanted = npred_signal(runs, model).where(runs.mask_safe, 0.0).sum("obs")
    found = npred_signal(stacked, model).where(stacked.mask_safe, 0.0)
    assert np.abs(found - wanted).max() < 4e-3 * wanted.max()
    assert float(found.sum()) == pytest.approx(float(wanted.sum()), rel=1e-3)
