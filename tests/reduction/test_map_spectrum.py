"""Spectra of regions of maps against sums over masks, one region after the other."""

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from regions import (
    CircleAnnulusSkyRegion,
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseAnnulusSkyRegion,
    EllipseSkyRegion,
    PixCoord,
    PolygonPixelRegion,
    PolygonSkyRegion,
    RectangleAnnulusSkyRegion,
    RectanglePixelRegion,
    RectangleSkyRegion,
)
from scipy.stats import norm

import xgamma as xg
from xgamma.coords.bins import bin_axis, rename_axis
from xgamma.coords.region_shapes import concentric_annuli, regions_along_line
from xgamma.coords.sky import grid_of
from xgamma.reduction.map_spectrum import to_spectrum

CENTER = SkyCoord(20, 5, unit="deg", frame="galactic")


def make_cube(seed=1, *, on_off=False, uniform=True, irf=True):
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    true = rename_axis(xg.energy_axis("0.5 TeV", "20 TeV", nbin=4), "energy_true")
    cube = xg.sky_grid(CENTER, ("6 deg", "4 deg"), "0.1 deg", energy=energy, energy_true=true, irf_binsize="1 deg")
    ny, nx = cube.sizes["y"], cube.sizes["x"]
    maps = ("energy", "y", "x")
    cube["counts"] = maps, rng.poisson(2.0, (3, ny, nx)).astype(float)
    if on_off:
        cube["acceptance"] = maps, rng.uniform(1, 2, (3, ny, nx))
        cube["acceptance_off"] = maps, rng.uniform(10, 20, (3, ny, nx))
        cube["counts_off"] = maps, rng.poisson(20.0, (3, ny, nx)).astype(float)
    else:
        cube["background"] = maps, rng.uniform(1, 2, (3, ny, nx))
    cube["exposure"] = ("energy_true", "y", "x"), rng.uniform(1e13, 2e13, (4, ny, nx)), {"units": "cm2 s"}
    mask = np.ones((3, ny, nx), bool)
    mask[0] = False
    if not uniform:
        mask[1, :, : nx // 2] = False
    cube["mask_safe"] = maps, mask
    if irf:
        shape = (4, 3, cube.sizes["irf_y"], cube.sizes["irf_x"])
        cube["edisp"] = ("energy_true", "energy", "irf_y", "irf_x"), rng.uniform(0, 0.3, shape)
        cube["irf_exposure"] = ("energy_true", "irf_y", "irf_x"), rng.uniform(1, 2, (4, *shape[2:])), {"units": "cm2 s"}
    return cube


def line(cube, nbin=6):
    start, end = (CENTER.directional_offset_by(a * np.pi / 2, 0.04) for a in (1, -1))
    return regions_along_line(start, end, "1 deg", nbin, cube)


@pytest.mark.parametrize("on_off", [False, True])
def test_sums_over_masks(on_off):
    cube = make_cube(on_off=on_off)
    regions = [*line(cube), *concentric_annuli(CENTER, "1 deg", 3)]
    spectra = to_spectrum(cube, regions)
    assert spectra["counts"].dims == ("region", "energy")
    for i, region in enumerate(regions):
        inside = xg.region_mask(cube, region)
        one = spectra.isel(region=i)
        assert int(one.n_pixels) == int(inside.sum())
        for name in {"counts", "background", "counts_off", "acceptance"} & set(cube.data_vars):
            expected = cube[name].where(inside & cube.mask_safe, 0.0).sum(["y", "x"])
            assert np.allclose(one[name], expected), name
        assert np.allclose(one.exposure, cube.exposure.where(inside).mean(["y", "x"]))
        assert one.mask_safe.values.tolist() == [False, True, True]
        if on_off:
            background = (cube.acceptance / cube.acceptance_off * cube.counts_off).where(inside & cube.mask_safe, 0.0)
            assert np.allclose(one.background, background.sum(["y", "x"]))
            alpha = one.acceptance / one.acceptance_off.where(one.acceptance_off > 0)
            assert np.allclose((alpha * one.counts_off)[1:], one.background[1:])


SHAPES = {
    "circle": CircleSkyRegion(CENTER, 0.52 * u.deg),
    "ellipse": EllipseSkyRegion(CENTER, 1.5 * u.deg, 0.7 * u.deg, 33 * u.deg),
    "box": RectangleSkyRegion(CENTER, 1.5 * u.deg, 0.7 * u.deg, -20 * u.deg),
    "ring": CircleAnnulusSkyRegion(CENTER, 0.33 * u.deg, 0.91 * u.deg),
    "ring of ellipses": EllipseAnnulusSkyRegion(CENTER, 0.5 * u.deg, 1.3 * u.deg, 0.3 * u.deg, 0.9 * u.deg, 50 * u.deg),
    "ring of boxes": RectangleAnnulusSkyRegion(CENTER, 0.5 * u.deg, 1.3 * u.deg, 0.3 * u.deg, 0.9 * u.deg, 50 * u.deg),
    "polygon": PolygonSkyRegion(SkyCoord([19.3, 20.4, 20.9, 20.0], [4.4, 4.2, 5.3, 5.8], unit="deg", frame="galactic")),
    "other frame": RectangleSkyRegion(CENTER.icrs, 1.5 * u.deg, 0.7 * u.deg, 10 * u.deg),
}
SHAPES |= {
    "both": SHAPES["circle"] & SHAPES["polygon"],
    "either": SHAPES["box"] | SHAPES["polygon"],
    "one of two": SHAPES["ellipse"] ^ SHAPES["circle"],
}


@pytest.mark.parametrize("lazy", [False, True])
def test_every_shape_against_each_pixel(lazy):
    """The regions package says of each pixel whether its centre lies inside."""
    cube = make_cube(irf=False)
    spectra = to_spectrum(cube.chunk({"y": 7, "x": 11}) if lazy else cube, list(SHAPES.values())).compute()
    grid = grid_of(cube)
    wcs = WCS(grid.frame.header(grid.y.start, grid.x.start))
    pixels = SkyCoord(cube.lon.values, cube.lat.values, unit="deg", frame="galactic")
    for i, (name, region) in enumerate(SHAPES.items()):
        inside = region.contains(pixels, wcs)
        assert inside.sum() > 30, name
        assert int(spectra.n_pixels[i]) == inside.sum(), name
        safe = inside & cube.mask_safe.values
        for n in ("counts", "background"):
            expected = [sum(map_[s].tolist()) for map_, s in zip(cube[n].values, safe, strict=True)]
            assert np.allclose(spectra[n][i], expected), (name, n)
        assert np.allclose(spectra.exposure[i], cube.exposure.values[:, inside].mean(axis=1)), name


def test_regions_in_pixels():
    cube = make_cube(irf=False)
    x, y = np.meshgrid(np.arange(cube.sizes["x"]), np.arange(cube.sizes["y"]))
    regions = [
        CirclePixelRegion(PixCoord(14.2, 11.4), 5.3),
        RectanglePixelRegion(PixCoord(40.1, 20.3), 9.2, 5.1, 25 * u.deg),
        PolygonPixelRegion(PixCoord([10.2, 20.4, 15.1], [20.3, 21.2, 30.4])),
    ]
    spectra = to_spectrum(cube, regions)
    for i, region in enumerate(regions):
        inside = region.contains(PixCoord(x, y))
        assert int(spectra.n_pixels[i]) == inside.sum()
        assert np.allclose(spectra.counts[i], np.where(cube.mask_safe & inside, cube.counts, 0.0).sum(axis=(1, 2)))
    # positions count from the first pixel of what is left
    cut = to_spectrum(cube.isel(x=slice(3, None), y=slice(2, None)), CirclePixelRegion(PixCoord(11.2, 9.4), 5.3))
    assert np.allclose(cut.counts, spectra.counts[0])


def test_boxes_that_tile_a_map():
    cube = make_cube()
    boxes = xg.region_boxes(cube, "1 deg")
    assert len(boxes) == 24
    spectra = to_spectrum(cube, boxes)
    assert np.allclose(spectra.counts.sum("region"), cube.counts.where(cube.mask_safe, 0.0).sum(["y", "x"]))
    blocks = cube.counts.where(cube.mask_safe, 0.0).values.reshape(3, 4, 10, 6, 10).sum(axis=(2, 4))
    assert np.allclose(spectra.counts.values.T.reshape(3, 4, 6), blocks)


@pytest.mark.parametrize("chunks", [{"y": 7, "x": 11}, {"y": 40, "x": 16, "energy": 1}])
@pytest.mark.parametrize("uniform", [True, False])
def test_chunks_change_nothing(chunks, uniform):
    cube = make_cube(uniform=uniform)
    rng = np.random.default_rng(5)
    regions = [f"galactic;circle({x}, {y}, 0.3)" for x, y in rng.uniform((18, 4), (22, 6), (70, 2))]
    expected = to_spectrum(cube, regions)
    lazy = to_spectrum(cube.chunk(chunks), regions)
    assert lazy.counts.chunks is not None
    assert lazy.counts.chunks[0] == (64, 6)
    xr.testing.assert_allclose(lazy.compute(), expected)


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


def test_only_tiles_with_regions_are_read():
    cube = make_cube()
    touched = []

    def note(block, block_info=None):
        if block_info:
            touched.append(block_info[0]["chunk-location"][1:])
        return block

    lazy = cube.drop_vars(["edisp", "irf_exposure"]).chunk({"y": 10, "x": 10})
    lazy["counts"] = lazy.counts.copy(data=lazy.counts.data.map_blocks(note, dtype=float, meta=np.empty((0, 0, 0))))
    with dask.config.set(scheduler=raising):
        spectra = to_spectrum(lazy, "galactic;circle(22.4, 6.4, 0.3)")
    assert spectra.counts.dims == ("energy",)
    counts = spectra.counts.compute(scheduler="synchronous")
    inside = xg.region_mask(cube, "galactic;circle(22.4, 6.4, 0.3)")
    assert np.allclose(counts, cube.counts.where(inside & cube.mask_safe, 0.0).sum(["y", "x"]))
    ys, xs = np.nonzero(inside.values)
    assert set(touched) == set(zip((ys // 10).tolist(), (xs // 10).tolist(), strict=True))


def test_runs_stay_apart():
    cubes = [make_cube(seed) for seed in (1, 2, 3)]
    cube = xr.concat(cubes, "obs", data_vars=["counts", "background", "mask_safe"], coords="minimal", compat="override")
    cube = cube.assign_coords(obs=[11, 12, 13])
    regions = line(cube)
    together = to_spectrum(cube.chunk({"obs": 1, "y": 10}), regions).compute()
    assert together.counts.dims == ("obs", "region", "energy")
    for i in range(3):
        assert np.allclose(together.counts[i], to_spectrum(cubes[i], regions).counts)


def test_partly_safe_regions_predict_what_is_left():
    """A source of even brightness: pixels that are safe, one by one, give what the spectrum predicts."""
    cube = make_cube(uniform=False)
    region = "galactic;box(20, 5, 2, 1, 0)"
    spectrum = to_spectrum(cube, region)
    inside = xg.region_mask(cube, region)
    edisp = to_spectrum(cube.drop_vars("mask_safe"), region).edisp
    flux = xr.DataArray([4.0, 3.0, 2.0, 1.0], dims="energy_true")
    share = flux / int(inside.sum())
    each = (share * cube.exposure * edisp).sum("energy_true")
    expected = each.where(inside & cube.mask_safe, 0.0).sum(["y", "x"])
    predicted = (flux * spectrum.exposure * spectrum.edisp).sum("energy_true")
    assert spectrum.mask_safe.values.tolist() == [False, True, True]
    assert 0 < float(expected[1]) < 0.9 * float((flux * spectrum.exposure * edisp).sum("energy_true")[1])
    assert np.allclose(predicted[1:], expected[1:])
    # without an energy dispersion nothing can say so: bins that are partly safe are not
    plain = to_spectrum(cube.drop_vars("edisp"), region)
    assert plain.mask_safe.values.tolist() == [False, False, True]


def test_energy_dispersion_at_the_centre_or_averaged():
    cube = make_cube()
    regions = ["galactic;box(20, 5, 3, 2, 0)", "galactic;circle(21, 5.2, 0.3)"]
    at_center = to_spectrum(cube, regions)
    average = to_spectrum(cube, regions, use_region_center=False)
    irf, fine = grid_of(cube, "irf_"), grid_of(cube)
    for i, text in enumerate(regions):
        y, x = irf.sky_to_pixel(*[(20, 5), (21, 5.2)][i])
        place = {"irf_y": int(np.floor(y + 0.5)) - irf.y.start, "irf_x": int(np.floor(x + 0.5)) - irf.x.start}
        safe = cube.mask_safe[:, 0, 0]
        assert np.allclose(at_center.edisp[i], cube.edisp.isel(place) * safe)
        rows, columns = np.nonzero(xg.region_mask(cube, text).values)
        lon, lat = fine.frame.pixel_to_sky(rows + fine.y.start, columns + fine.x.start)
        y, x = irf.sky_to_pixel(lon, lat)
        py, px = (np.floor(v + 0.5).astype(int) - r.start for v, r in ((y, irf.y), (x, irf.x)))
        weight = cube.irf_exposure.values[:, py, px]
        mean = (cube.edisp.values[:, :, py, px] * weight[:, None]).sum(-1) / weight.sum(-1)[:, None]
        assert np.allclose(average.edisp[i], mean * safe.values)


def test_migration_becomes_bins():
    cube = make_cube(irf=False)
    edges = np.linspace(0.2, 5.0, 400)
    migra = bin_axis("migra", edges[:-1], edges[1:], "", interp="lin")
    density = np.exp(-0.5 * ((migra.values - 1) / 0.2) ** 2)
    cube = cube.assign_coords(migra.coords)
    cube["edisp"] = ("energy_true", "migra"), np.tile(density, (4, 1))
    result = to_spectrum(cube.drop_vars("mask_safe"), "galactic;circle(20, 5, 0.5)").edisp
    for t, energy in enumerate(cube.energy_true.values):
        low, high = cube.energy_min.values / energy, cube.energy_max.values / energy
        assert np.allclose(result[t], norm.cdf(high, 1, 0.2) - norm.cdf(low, 1, 0.2), atol=2e-3)


def test_containment_of_a_gaussian():
    cube = make_cube()
    rad = cube["rad_max"].values
    sigma = np.array([0.05, 0.1, 0.15, 0.2])
    low, high = cube["rad_min"].values, rad
    inside = np.exp(-0.5 * (low / sigma[:, None]) ** 2) - np.exp(-0.5 * (high / sigma[:, None]) ** 2)
    ring = 2 * np.pi * (np.cos(np.deg2rad(low)) - np.cos(np.deg2rad(high)))
    cube["psf"] = ("energy_true", "rad"), inside / ring, {"units": "sr-1"}
    text = "galactic;circle(20, 5, 0.2)"
    plain, contained = to_spectrum(cube, text), to_spectrum(cube, text, containment_correction=True)
    total = 1 - np.exp(-0.5 * (rad[-1] / sigma) ** 2)
    expected = (1 - np.exp(-0.5 * (0.2 / sigma) ** 2)) / total
    assert np.allclose(contained.exposure / plain.exposure, expected, rtol=1e-6)
    several = to_spectrum(cube.chunk({"y": 10}), [text, "galactic;circle(21, 5, 0.1)"], containment_correction=True)
    assert np.allclose(several.exposure[0], contained.exposure)
    with pytest.raises(TypeError, match="circles around point sources"):
        to_spectrum(cube, "galactic;box(20, 5, 1, 1, 0)", containment_correction=True)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("galactic;circle(40, 5, 0.3)", "holds no pixel centre"),
        ("galactic;circle(20.0, 5.0, 0.01)", "holds no pixel centre"),
        ("galactic;circle(22.9, 5, 0.5)", "reaches beyond"),
        ("galactic;box(20, 5, 1, 5, 0)", "reaches beyond"),
    ],
)
def test_regions_that_the_map_does_not_hold(region, words):
    with pytest.raises(ValueError, match=words):
        to_spectrum(make_cube(), [region])


def test_cubes_that_cannot_give_spectra():
    cube = make_cube()
    with pytest.raises(ValueError, match="need 'counts'"):
        to_spectrum(cube.drop_vars("counts"), "galactic;circle(20, 5, 0.3)")
    with pytest.raises(ValueError, match="dim energy"):
        to_spectrum(cube[["counts"]].sum("energy"), "galactic;circle(20, 5, 0.3)")
    with pytest.raises(ValueError, match="acceptance_off"):
        to_spectrum(make_cube(on_off=True).drop_vars("acceptance_off"), "galactic;circle(20, 5, 0.3)")
