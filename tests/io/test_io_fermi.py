"""Files of the Fermi-LAT tools as one cube: closed forms on small files, and the Galactic centre beside gammapy."""

from __future__ import annotations

import shutil
from itertools import pairwise

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

import xgamma as xg
from xgamma.coords.bins import bin_edges, energy_axis
from xgamma.coords.grid import sky_grid
from xgamma.io.fermi import open_fermi
from xgamma.io.fermi_maps import log_log
from xgamma.io.fermi_psf import ring_means

EDGES = np.geomspace(1e4, 1e6, 5)  # MeV
GC = SkyCoord(0, 0, unit="deg", frame="galactic")
SIGMA = 0.2


def raising(*args, **kwargs):
    msg = "something was computed while the graph was built"
    raise AssertionError(msg)


def wcs_header(nx=20, ny=10, size=0.1):
    return {
        "CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 0.0, "CRVAL2": 0.0, "CUNIT1": "deg", "CUNIT2": "deg",
        "CRPIX1": (nx + 1) / 2, "CRPIX2": (ny + 1) / 2, "CDELT1": -size, "CDELT2": size, "TELESCOP": "GLAST",
    }  # fmt: skip


def column(name, values, form="D", unit=None):
    return fits.Column(name, form, unit=unit, array=np.asarray(values))


def bins_hdu(edges=EDGES, unit="keV", name="EBOUNDS"):
    factor = {"keV": 1e3, "MeV": 1.0, "TeV": 1e-6, "s": 1.0}[unit]
    columns = [column("CHANNEL", np.arange(1, len(edges)), "I")]
    columns += [column("E_MIN", edges[:-1] * factor, "E", unit), column("E_MAX", edges[1:] * factor, "E", unit)]
    return fits.BinTableHDU.from_columns(columns, name=name)


def gti_hdu():
    return fits.BinTableHDU.from_columns(
        [column("START", [3e8, 3.1e8]), column("STOP", [3e8 + 50, 3.1e8 + 7])], name="GTI"
    )


def cube_hdus(values, *tables, **cards):
    primary = fits.PrimaryHDU(values)
    primary.header.update(wcs_header(values.shape[-1], values.shape[-2]) | cards)
    return fits.HDUList([primary, *tables])


def exposure_hdu(nodes, name="ENERGIES"):
    return fits.BinTableHDU.from_columns([column("Energy", nodes)], name=name)


def dss(irfs):
    return {"DSTYP1": "IRF_VERSION", "DSVAL1": irfs}


def psf_hdus(energy, theta, values, exposure=None):
    exposure = np.full(len(energy), 3e11) if exposure is None else exposure
    table = fits.BinTableHDU.from_columns(
        [column("Energy", energy), column("Exposure", exposure), column("Psf", values, f"{len(theta)}D")], name="PSF"
    )
    return fits.HDUList(
        [fits.PrimaryHDU(), table, fits.BinTableHDU.from_columns([column("Theta", theta)], name="THETA")]
    )


def gauss(energy, theta, sigma=SIGMA):
    norm = 2 * np.pi * np.deg2rad(sigma) ** 2
    return np.tile(np.exp(-0.5 * (theta / sigma) ** 2) / norm, (len(energy), 1))


def drm_hdus(matrix, true, *tables, detchans=None, unit=None):
    columns = [column("ENERG_LO", true[:-1], unit=unit), column("ENERG_HI", true[1:], unit=unit)]
    columns += [column("N_GRP", np.ones(len(matrix)), "I"), column("F_CHAN", np.ones(len(matrix)), "I")]
    columns += [column("N_CHAN", np.full(len(matrix), matrix.shape[1]), "I")]
    columns += [column("MATRIX", matrix, f"{matrix.shape[1]}E")]
    table = fits.BinTableHDU.from_columns(columns, name="DRM")
    table.header["DETCHANS"] = matrix.shape[1] if detchans is None else detchans
    return fits.HDUList([fits.PrimaryHDU(), table, *tables])


@pytest.fixture
def files(tmp_path):
    """Counts, exposure that goes with a power of the energy, a Gaussian PSF, an energy dispersion."""
    rng = np.random.default_rng(2)
    paths = {n: tmp_path / f"{n}.fits" for n in ("counts", "exposure", "psf", "edisp", "background")}
    counts = rng.poisson(3.0, (4, 10, 20)).astype(np.float32)
    cube_hdus(counts, bins_hdu(), gti_hdu(), CREATOR="gtbin").writeto(paths["counts"])
    cube_hdus(counts + 0.5, bins_hdu(), gti_hdu(), CREATOR="gtmodel").writeto(paths["background"])
    nodes = np.geomspace(1e4, 1e6, 4)
    plane = 1e11 * (1 + np.arange(200.0).reshape(10, 20) / 100)
    cube_hdus(plane * (nodes / 1e4)[:, None, None] ** -0.3, exposure_hdu(nodes), gti_hdu()).writeto(paths["exposure"])
    theta = np.linspace(0, 1.0, 300) ** 2 * 3.0
    psf_hdus(nodes, theta, gauss(nodes, theta)).writeto(paths["psf"])
    true = np.concatenate([[5e3], EDGES, [2e6]])
    matrix = rng.dirichlet(np.ones(5), 6)[:, :4]
    drm_hdus(matrix, true, bins_hdu()).writeto(paths["edisp"])
    paths["plane"], paths["matrix"], paths["number"] = plane, matrix, counts
    return paths


def test_cube_of_closed_forms(files):
    cube = open_fermi(files["counts"], files["exposure"], files["psf"], "identity", background=files["background"])
    np.testing.assert_array_equal(cube.counts, files["number"])
    np.testing.assert_array_equal(cube.background, files["number"] + 0.5)
    np.testing.assert_allclose(bin_edges(cube), EDGES * 1e-6, rtol=1e-6)
    assert "edisp" not in cube
    # a power of the energy is interpolated exactly
    expected = files["plane"] * (cube.energy_true.values[:, None, None] / 0.01) ** -0.3
    np.testing.assert_allclose(cube.exposure, expected, rtol=1e-12)
    area = np.pi * np.deg2rad(1) ** 2 * (cube.rad_max**2 - cube.rad_min**2)
    np.testing.assert_allclose((cube.psf * area).sum("rad"), 1.0, rtol=1e-13)
    inside = 1 - np.exp(-0.5 * (cube.rad_max.values / SIGMA) ** 2)
    np.testing.assert_allclose((cube.psf * area).cumsum("rad").values, np.tile(inside, (4, 1)), atol=1e-4)
    np.testing.assert_allclose(cube.irf_exposure, 3e11)
    assert cube.ontime == 57.0
    assert cube.exposure.units == cube.irf_exposure.units == "cm2 s"
    assert cube.psf.units == "sr-1"
    assert all(type(cube.xindexes[n]).__name__ == "BinIndex" for n in ("energy", "energy_true", "rad"))


def test_times_count_from_the_mission_epoch(files):
    from astropy.time import Time

    cube = open_fermi(files["counts"])
    epoch = Time("2001-01-01T00:00:00", scale="utc") - Time(2451545.0, format="jd", scale="tt")
    np.testing.assert_allclose(cube.gti_start, np.array([3e8, 3.1e8]) + epoch.to_value("s"), atol=1e-4)


def test_energy_dispersion(files):
    with fits.open(files["exposure"]) as hdus:
        wide = np.geomspace(4e3, 3e6, 5)
        planes = files["plane"] * (wide / 1e4)[:, None, None] ** -0.3
        hdus = cube_hdus(planes, exposure_hdu(wide), gti_hdu())
        hdus.writeto(files["exposure"], overwrite=True)
    cube = open_fermi(files["counts"], files["exposure"], edisp=files["edisp"])
    assert cube.sizes["energy_true"] == 6
    np.testing.assert_allclose(cube.edisp, files["matrix"], rtol=1e-6)
    assert cube.edisp.dims == ("energy_true", "energy")
    np.testing.assert_allclose(cube.energy_true_max[-1], 2.0)
    # without EBOUNDS the measured energies are the inner ones of the true energies
    with fits.open(files["edisp"]) as hdus:
        del hdus["EBOUNDS"]
        hdus.writeto(files["edisp"], overwrite=True)
    assert open_fermi(files["counts"], files["exposure"], edisp=files["edisp"]).equals(cube)


def test_counts_predicted_are_those_of_arithmetic(files):
    """A flat sky: intensity times exposure times solid angle, in each bin, with and without energy dispersion."""
    flat = xg.SkyModel(
        xg.PowerLawSpectralModel(index=2.0, amplitude="1e-9 cm-2 s-1 TeV-1"), xg.ConstantSpatialModel(), name="flat"
    )
    cube = open_fermi(files["counts"], files["exposure"], files["psf"], "identity")
    low, high = cube.energy_min.values, cube.energy_max.values
    flux = 1e-9 * (1 / low - 1 / high)
    expected = flux[:, None, None] * cube.exposure.values * xg.solid_angle(cube).values
    np.testing.assert_allclose(cube.gamma.npred([flat]), expected, rtol=2e-3)  # light from beyond the map is lost


def test_events_are_counted(files, tmp_path):
    rng = np.random.default_rng(1)
    position = SkyCoord(rng.uniform(-1.2, 1.2, 500), rng.uniform(-0.6, 0.6, 500), unit="deg", frame="galactic").icrs
    energy = rng.uniform(5e3, 1.2e6, 500)
    names = (("ENERGY", energy, "MeV"), ("RA", position.ra.deg, "deg"), ("DEC", position.dec.deg, "deg"))
    table = fits.BinTableHDU.from_columns([column(n, v, unit=t) for n, v, t in names], name="EVENTS")
    path = tmp_path / "events.fits"
    fits.HDUList([fits.PrimaryHDU(), table, gti_hdu()]).writeto(path)
    grid = sky_grid(GC, ("2 deg", "1 deg"), "0.1 deg", energy=energy_axis(edges=EDGES * u.MeV))
    cube = open_fermi(path, grid=grid)
    lon, lat = (position.galactic.l.deg + 180) % 360 - 180, position.galactic.b.deg
    expected = np.histogramdd((energy, lat, lon), (EDGES, np.linspace(-0.5, 0.5, 11), np.linspace(-1, 1, 21)))[0]
    np.testing.assert_array_equal(cube.counts, expected[:, :, ::-1])
    assert dask.is_dask_collection(cube.counts.data)
    with pytest.raises(ValueError, match="an event list needs grid="):
        open_fermi(path)
    with pytest.raises(ValueError, match="no axis of measured energy"):
        open_fermi(path, grid=sky_grid(GC, "1 deg"))
    with pytest.raises(ValueError, match="no sky pixels"):
        open_fermi(path, grid=energy_axis("1 TeV", "2 TeV", nbin=1).coords.to_dataset())


def test_healpix_counts_and_exposure(files, tmp_path):
    pytest.importorskip("xdggs", reason="needs xgamma[healpix]")
    from xgamma.coords.bins import bin_axis
    from xgamma.coords.healpix import healpix_coords, healpix_solid_angle
    from xgamma.io.healpix_write import write_healpix

    coords = healpix_coords(5, nested=False)
    energy = energy_axis(edges=EDGES * u.MeV)
    counts = xr.DataArray(
        np.full((4, 12288), 7.0), coords.merge(energy.coords).coords, ("energy", "cells"), attrs={"units": ""}
    )
    nodes = bin_axis("energy_true", [0.01, 1.0], [0.01, 1.0], "TeV", long_name="True energy")
    values = np.array([[1e11], [1e10]]) * np.ones(12288)
    exposure = xr.DataArray(
        values, coords.merge(nodes.coords).coords, ("energy_true", "cells"), attrs={"units": "cm2 s"}
    )
    one = write_healpix(counts, tmp_path / "counts_hpx.fits", layout="fermi-counts")
    two = write_healpix(exposure, tmp_path / "exposure_hpx.fits", layout="fermi-exposure")
    grid = sky_grid(GC, ("2 deg", "1 deg"), "0.1 deg")
    with dask.config.set(scheduler=raising):
        cube = open_fermi(one, two, edisp="identity", grid=grid)
    expected = 7.0 / healpix_solid_angle(counts) * xg.solid_angle(grid)
    np.testing.assert_allclose(cube.counts[2], expected, rtol=1e-2)
    np.testing.assert_allclose(cube.exposure[:, 3, 5], 1e11 * (cube.energy_true / 0.01) ** -0.5, rtol=1e-12)
    with pytest.raises(ValueError, match="HEALPix counts need grid="):
        open_fermi(one)


def test_exposure_on_other_pixels(files):
    grid = sky_grid(GC, ("1 deg", "0.5 deg"), "0.05 deg", energy=energy_axis(edges=EDGES * u.MeV))
    with dask.config.set(scheduler=raising):
        cube = open_fermi(exposure=files["exposure"], grid=grid, edisp="identity")
    # the plane goes linearly with the pixels
    value = 1e11 * (1 + ((cube.lat / 0.1 + 4.5) * 20 + (9.5 - ((cube.lon + 180) % 360 - 180) / 0.1)) / 100)
    np.testing.assert_allclose(cube.exposure[0], value * (cube.energy_true.values[0] / 0.01) ** -0.3, rtol=1e-9)
    with pytest.raises(ValueError, match=r"does not cover \d+ of \d+ pixels"):
        open_fermi(
            exposure=files["exposure"], grid=sky_grid(GC, "3 deg", "0.1 deg", energy=cube.energy), edisp="identity"
        )


def test_lazy_and_chunked(files):
    with dask.config.set(scheduler=raising):
        cube = open_fermi(files["counts"], files["exposure"], files["psf"], "identity", background=files["background"])
        tiles = cube.chunk(y=5, x=7)
        assert all(dask.is_dask_collection(tiles[n].data) for n in ("counts", "exposure", "background"))
    whole = cube.compute()
    for name in ("counts", "exposure", "background"):
        np.testing.assert_array_equal(tiles[name].compute(scheduler="synchronous"), whole[name])
    model = xg.SkyModel(
        xg.PowerLawSpectralModel(amplitude="1e-10 cm-2 s-1 TeV-1"), xg.PointSpatialModel(position=GC), name="a"
    )
    np.testing.assert_allclose(tiles.gamma.npred([model]).compute(), whole.gamma.npred([model]), rtol=1e-12)


def test_a_file_goes_everywhere_a_cube_goes(files, tmp_path):
    cube = open_fermi(
        files["counts"], files["exposure"], files["psf"], "identity", background=files["background"]
    ).load()
    for name in ("a.zarr", "a.nc", "a.fits"):
        cube.gamma.write(tmp_path / name)
        back = xg.open_cube(tmp_path / name).load()
        np.testing.assert_allclose(back.exposure, cube.exposure)
        np.testing.assert_array_equal(back.counts, cube.counts)
    source = xg.SkyModel(
        xg.PowerLawSpectralModel(amplitude="1e-10 cm-2 s-1 TeV-1"), xg.PointSpatialModel(position=GC), name="source"
    )
    spectrum = cube.gamma.to_spectrum("galactic;circle(0, 0, 0.3)")
    assert float(spectrum.counts.sum()) == float(
        cube.counts.where(xg.region_mask(cube, "galactic;circle(0, 0, 0.3)")).sum()
    )
    assert cube.gamma.excess_map("0.1 deg").sizes["y"] == 10
    points = cube.gamma.flux_points([source], "source", energy_edges=EDGES[[0, 2, 4]] * u.MeV)
    assert points.sizes["energy"] == 2
    assert np.isfinite(cube.gamma.ts_map(source, kernel_width="0.3 deg").sqrt_ts).any()


def test_open_cube_knows_single_files(files):
    with dask.config.set(scheduler=raising):
        opened = {n: xg.open_cube(files[n]) for n in ("counts", "background", "exposure", "psf", "edisp")}
    assert opened["counts"].counts.dims == ("energy", "y", "x")
    assert "background" in opened["background"]
    assert opened["exposure"].exposure.dims == ("energy_true", "y", "x")
    assert float(opened["exposure"].energy_true_min[0]) == float(opened["exposure"].energy_true_max[0])
    assert opened["psf"].psf.dims == ("energy_true", "rad")
    assert opened["edisp"].edisp.shape == (6, 4)
    assert "exposure" not in xg.open_cube(files["exposure"], drop_variables="exposure")


def test_energies_that_are_measured_exactly_are_said_so(files):
    with pytest.warns(UserWarning, match="no energy dispersion was given"):
        open_fermi(files["counts"], files["exposure"])


def test_different_response_functions(files, tmp_path):
    for name, irfs in (("exposure", "P8R3_SOURCE_V3"), ("psf", "P8R2_SOURCE_V6")):
        with fits.open(files[name]) as hdus:
            hdus[0].header.update(dss(irfs))
            hdus.writeto(tmp_path / f"{name}2.fits")
    with pytest.warns(UserWarning, match="exposure of P8R3_SOURCE_V3, psf of P8R2_SOURCE_V6"):
        open_fermi(files["counts"], tmp_path / "exposure2.fits", tmp_path / "psf2.fits", "identity")


def test_files_that_are_something_else(files, tmp_path):
    with pytest.raises(ValueError, match=r"psf=.*is an exposure cube.*it should be a point spread function"):
        open_fermi(files["counts"], psf=files["exposure"])
    with pytest.raises(ValueError, match=r"counts=.*is a point spread function"):
        open_fermi(files["psf"])
    with pytest.raises(ValueError, match=r"edisp=.*should be an energy dispersion"):
        open_fermi(files["counts"], edisp=files["counts"])
    with pytest.raises(ValueError, match="give counts, or grid="):
        open_fermi(exposure=files["exposure"])
    with pytest.raises(FileNotFoundError, match="no file"):
        open_fermi(tmp_path / "none.fits")
    shutil.copy(files["exposure"], tmp_path / "cut.fits")
    with (tmp_path / "cut.fits").open("r+b") as stream:
        stream.truncate(5000)
    with pytest.raises(OSError, match="truncated"):
        open_fermi(files["counts"], tmp_path / "cut.fits")
    (tmp_path / "text.fits").write_text("counts")
    with pytest.raises(OSError, match="not a FITS file"):
        open_fermi(tmp_path / "text.fits")


def test_energies_that_do_not_fit(files, tmp_path):
    counts = files["number"]
    other = tmp_path / "other.fits"
    cube_hdus(counts, bins_hdu(EDGES * 2), CREATOR="gtmodel").writeto(other)
    with pytest.raises(ValueError, match=r"4 bins of energy from 0.02 to 2 TeV, the counts has 4 from 0.01 to 1"):
        open_fermi(files["counts"], background=other)
    cube_hdus(counts[:, :5], bins_hdu(), CREATOR="gtmodel").writeto(other, overwrite=True)
    with pytest.raises(ValueError, match="20 x 5 pixels, the counts are on"):
        open_fermi(files["counts"], background=other)
    wide = energy_axis("1 GeV", "1 TeV", nbin=3, name="energy_true")
    with pytest.raises(ValueError, match=r"exposure is given from 0.01 to 1 TeV, which does not cover"):
        open_fermi(files["counts"], files["exposure"], edisp="identity", energy_true=wide)
    with pytest.raises(ValueError, match=r"point spread function is given from 0.01 to 1 TeV, which does not cover"):
        open_fermi(files["counts"], psf=files["psf"], energy_true=wide)
    with pytest.raises(ValueError, match="the energy dispersion has 6 from"):
        open_fermi(files["counts"], edisp=files["edisp"], energy_true=wide)
    cube_hdus(counts, bins_hdu(EDGES * 2)).writeto(other, overwrite=True)
    with pytest.raises(ValueError, match="run gtdrm with the counts cube"):
        open_fermi(other, edisp=files["edisp"])
    with pytest.raises(ValueError, match="counts are on galactic CAR"):
        open_fermi(files["counts"], grid=sky_grid(GC, "1 deg", "0.1 deg"))
    cube_hdus(counts, bins_hdu(unit="s")).writeto(other, overwrite=True)
    with pytest.raises(ValueError, match="unit 's'"):
        open_fermi(other)


def test_numbers_that_are_none(files, tmp_path):
    """Faults of maps are told when they are read, faults of tables when the file is opened."""
    values = files["number"].copy()
    path = tmp_path / "bad.fits"
    for bad, words in ((np.nan, "1 NaN or infinite"), (-1.0, "negative values")):
        values[0, 0, 0] = bad
        cube_hdus(values, bins_hdu()).writeto(path, overwrite=True)
        cube = open_fermi(path)
        with pytest.raises(ValueError, match=words):
            cube.counts.compute()
    nodes, theta = np.array([1e4, 1e6]), np.linspace(0, 3, 30)
    good = gauss(nodes, theta)

    def psf(words, energy=nodes, angle=theta, table=None, exposure=None):
        psf_hdus(energy, angle, good if table is None else table, exposure).writeto(path, overwrite=True)
        with pytest.raises(ValueError, match=words):
            open_fermi(files["counts"], psf=path)

    psf("Energy must be finite numbers that ascend", energy=nodes[::-1])
    psf("Theta must be finite numbers that ascend", angle=theta[::-1])
    psf("Psf holds negative", table=-good)
    psf("Exposure holds NaN", exposure=[np.nan, 1.0])
    psf("is 0 at", table=good * [[0], [1]])
    short = theta / 20
    psf_hdus(nodes, short, gauss(nodes, short)).writeto(path, overwrite=True)
    with pytest.warns(UserWarning, match="integral of the point spread function up to 0.15 deg"):
        open_fermi(files["counts"], psf=path)
    true = np.concatenate([[5e3], EDGES, [2e6]])

    def drm(words, matrix, edges=true, **options):
        drm_hdus(matrix, edges, **options).writeto(path, overwrite=True)
        with pytest.raises(ValueError, match=words):
            open_fermi(files["counts"], edisp=path)

    drm("rows of MATRIX sum up to", files["matrix"] * 3)
    drm("MATRIX holds negative", -files["matrix"])
    drm("MATRIX holds NaN", files["matrix"] * np.nan)
    drm("no EBOUNDS tells", files["matrix"][:5], true[:6])


def test_wrong_units(files, tmp_path):
    path = tmp_path / "bad.fits"
    nodes = np.geomspace(1e4, 1e6, 4)
    cube_hdus(np.ones((4, 10, 20)), exposure_hdu(nodes), gti_hdu(), BUNIT="cm2 sr").writeto(path)
    with pytest.raises(ValueError, match="converts to cm2 s, this map is in 'cm2 sr'"):
        open_fermi(files["counts"], path, edisp="identity")
    cube_hdus(np.ones((4, 10, 20)), bins_hdu(), BUNIT="cm2 s").writeto(path, overwrite=True)
    with pytest.raises(ValueError, match="numbers without unit"):
        open_fermi(path)
    cube_hdus(np.ones((4, 10, 20)), exposure_hdu(nodes), gti_hdu(), BUNIT="m2 s").writeto(path, overwrite=True)
    cube = open_fermi(files["counts"], path, edisp="identity")
    np.testing.assert_allclose(cube.exposure, 1e4)


@given(st.floats(-2, 2), st.integers(2, 9), st.floats(0, 1))
def test_powers_of_the_energy_are_interpolated_exactly(index, number, where):
    nodes = np.geomspace(1.0, 1e3, number)
    energy = np.array([nodes[0], 1e3**where, nodes[-1]])
    np.testing.assert_allclose(log_log(nodes**index, nodes=nodes, energy=energy), energy**index, rtol=1e-11)
    values = np.random.default_rng(number).random(number)
    np.testing.assert_array_equal(log_log(values, nodes=nodes, energy=nodes), values)


def test_zeros_are_interpolated_linearly():
    result = log_log(np.array([0.0, 2.0]), nodes=np.array([1.0, 100.0]), energy=np.array([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(result, [0.0, 1.0, 2.0])


def test_means_over_rings():
    """Against a quadrature of the function that goes linearly between its nodes."""
    from scipy.integrate import quad

    edges, values = np.array([0.0, 0.1, 0.5, 2.0]), np.array([5.0, 3.0, 0.4, 0.1])
    expected = [
        quad(lambda r: np.interp(r, edges, values) * 2 * np.pi * r, a, b)[0] / (np.pi * (b**2 - a**2))
        for a, b in pairwise(edges)
    ]
    np.testing.assert_allclose(ring_means(edges, values), expected, rtol=1e-12)


#: gammapy 2.1: Map.read(...).interp_to_geom(...) of the exposure at voxels (energy; y, x) = (0, 5, 10; ...), cm2 s.
EXPOSURE = {
    (0, 0): [3.1628714e11, 3.2515970e11, 3.1631091e11],
    (100, 200): [3.2267552e11, 3.3103348e11, 3.2244344e11],
    (150, 37): [3.1732960e11, 3.2618889e11, 3.1736655e11],
}
#: gammapy 2.1: PSFMap.read(format="gtpsf").containment_radius(0.68), deg, in steps of about 0.0007 deg.
R68 = [0.14400, 0.12361, 0.11133, 0.10441, 0.10034, 0.09902, 0.09934, 0.09967, 0.09902, 0.09639, 0.09313]
#: gammapy 2.1: containment(rad) at 11.946 GeV; the table, which goes to 9.93 deg, does not end at 1 there.
CONTAINMENT = {0.144: 0.68033764, 0.5: 0.92267359, 1.0: 0.97913417, 5.0: 1.00104893, 9.9: 1.00125225}
#: gammapy 2.1: MapDataset(counts, exposure, psf, edisp diagonal).npred() summed over pixels, for each model below.
NPRED = {
    "source": [250.3632, 136.09984, 74.840147, 41.63474, 22.930012,
               12.497181, 6.7923911, 3.6938994, 2.0132191, 1.0957496, 0.59230634],
    "diffuse": [8057.07, 4521.9429, 2609.8424, 1537.6447, 920.33115,
                570.14907, 362.00268, 228.67308, 144.7188, 91.831324, 59.198815],
    "isotropic": [377.06897, 250.26239, 148.33108, 93.181202, 54.17729,
                  30.946949, 20.017039, 11.152938, 6.8212947, 4.8496032, 3.291765],
}  # fmt: skip
#: gammapy 2.1: Fit().run of the three models where the template is (|l| < 7 deg, |b| < 3.5 deg): value and error.
FIT = {
    "index": (2.778114, 0.114069),
    "amplitude": (4.632043e-10, 9.5683e-11),
    "lon_0": (-0.047887, 0.003562),
    "lat_0": (-0.049008, 0.003682),
    "diffuse": (1.182824, 0.014514),
    "isotropic": (-0.081985, 0.408320),
}
#: Its statistic there.
STAT = 124005.32868


def galactic_centre(gammapy_data):
    folder = gammapy_data / "fermi-3fhl-gc"
    parts = [folder / f"fermi-3fhl-gc-{name}-cube.fits.gz" for name in ("counts", "exposure", "psf")]
    return open_fermi(*parts, "identity", background=folder / "fermi-3fhl-gc-background-cube.fits.gz")


def models_of_the_centre(gammapy_data):
    source = xg.SkyModel(
        xg.PowerLawSpectralModel(index=2.7, amplitude="5.8e-10 cm-2 s-1 TeV-1", reference="100 GeV"),
        xg.PointSpatialModel(lon_0="0 deg", lat_0="0 deg", frame="galactic"),
        name="source",
    )
    diffuse = xg.SkyModel(
        xg.PowerLawNormSpectralModel(),
        xg.TemplateSpatialModel(gammapy_data / "fermi-3fhl-gc" / "gll_iem_v06_gc.fits.gz", normalize=False),
        name="diffuse",
    )
    path = gammapy_data / "fermi_3fhl" / "iso_P8R2_SOURCE_V6_v06.txt"
    return source, diffuse, xg.create_fermi_isotropic_diffuse_model(path, name="isotropic")


@pytest.mark.real_data
def test_galactic_centre_beside_gammapy(gammapy_data):
    cube = galactic_centre(gammapy_data).load()
    prepared = xg.open_cube(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz")
    np.testing.assert_array_equal(cube.counts, prepared.counts)
    np.testing.assert_array_equal(cube.background, prepared.background)
    # gammapy interpolates linearly where here the logarithm is linear
    for (y, x), expected in EXPOSURE.items():
        np.testing.assert_allclose(cube.exposure[[0, 5, 10], y, x], expected, rtol=1e-4)
    edges = np.append(0.0, cube.rad_max)
    area = np.pi * np.deg2rad(1) ** 2 * np.diff(edges**2)
    inside = np.column_stack([np.zeros(11), np.cumsum(cube.psf.values * area, axis=1)])
    np.testing.assert_allclose([np.interp(0.68, row, edges) for row in inside], R68, atol=1e-3)
    for radius, expected in CONTAINMENT.items():
        assert np.interp(radius, edges, inside[0]) == pytest.approx(expected / CONTAINMENT[9.9], abs=1.5e-3)
    # the table says what exposure it was made with
    np.testing.assert_allclose(cube.irf_exposure, cube.exposure[:, 100, 200], rtol=6e-3)


@pytest.mark.real_data
def test_predicted_counts_of_the_centre_beside_gammapy(gammapy_data):
    cube = galactic_centre(gammapy_data).drop_vars("background").load()
    for model in models_of_the_centre(gammapy_data):
        np.testing.assert_allclose(cube.gamma.npred([model]).sum(("y", "x")), NPRED[model.name], rtol=1e-3)


@pytest.mark.real_data
def test_point_source_against_a_quadrature(gammapy_data):
    """Counts of a source in the middle of a pixel, in this pixel: the table of gtpsf integrated over the square."""
    cube = galactic_centre(gammapy_data).drop_vars("background").load()
    source = models_of_the_centre(gammapy_data)[0].copy(
        spatial=xg.PointSpatialModel(lon_0="0.025 deg", lat_0="0.025 deg", frame="galactic"), name="source"
    )
    with fits.open(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc-psf-cube.fits.gz") as hdus:
        energy, table, theta = (
            np.array(hdus[i].data[n], dtype=float) for i, n in ((1, "Energy"), (1, "Psf"), (2, "Theta"))
        )
    step = (np.arange(100) + 0.5) / 100 * 0.05 - 0.025
    radius = np.hypot(*np.meshgrid(step, step))
    predicted = cube.gamma.npred([source])
    for number in (0, 5, 10):
        center = cube.energy_true.values[number] * 1e6
        psf = [np.interp(np.log(center), np.log(energy), table[:, k]) for k in range(theta.size)]
        share = np.interp(radius, theta, psf).mean() * np.deg2rad(0.05) ** 2
        low, high = cube.energy_min.values[number], cube.energy_max.values[number]
        flux = 5.8e-10 * 0.1**2.7 / 1.7 * (low**-1.7 - high**-1.7)
        expected = flux * float(cube.exposure[number, 100, 199]) * share
        assert float(predicted[number, 100, 199]) == pytest.approx(expected, rel=5e-3)


@pytest.mark.real_data
@pytest.mark.slow
def test_fit_of_the_centre_beside_gammapy(gammapy_data):
    cube = galactic_centre(gammapy_data).drop_vars("background").load()
    lon = (cube.lon + 180) % 360 - 180
    inside = (abs(lon) < 7) & (abs(cube.lat) < 3.5)
    cube["mask_fit"] = inside.broadcast_like(cube.counts).transpose("energy", "y", "x")
    result = cube.gamma.fit(list(models_of_the_centre(gammapy_data)))
    assert result.success
    source, diffuse, isotropic = (result.models[n] for n in ("source", "diffuse", "isotropic"))
    found = {"index": source.spectral.index, "amplitude": source.spectral.amplitude}
    found |= {"lon_0": source.spatial.lon_0, "lat_0": source.spatial.lat_0}
    found |= {"diffuse": diffuse.parameters.free[0], "isotropic": isotropic.parameters.free[0]}
    for name, (value, error) in FIT.items():
        assert abs(found[name].value - value) < 0.3 * error, name
        assert found[name].error == pytest.approx(error, rel=0.15), name
    # what is left comes from gammapy's source: between pixels it is shared among the four around it, and blurred so
    for name, (value, _) in FIT.items():
        found[name].value = value
    step = 0.05
    lon_0, lat_0 = FIT["lon_0"][0], FIT["lat_0"][0]
    first = [np.floor(v / step - 0.5) * step + step / 2 for v in (lon_0, lat_0)]
    blurred = cube.gamma.npred([diffuse, isotropic])
    for corner in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (f + step * c for f, c in zip(first, corner, strict=True))
        source.spatial.lon_0.value, source.spatial.lat_0.value = x, y
        weight = (1 - abs(lon_0 - x) / step) * (1 - abs(lat_0 - y) / step)
        blurred = blurred + weight * cube.gamma.npred([source])
    inside = inside.values
    counts, predicted = cube.counts.values[:, inside], blurred.values[:, inside]
    assert 2 * (predicted - counts * np.log(predicted)).sum() == pytest.approx(STAT, abs=0.3)


@pytest.mark.real_data
def test_events_and_healpix_exposure_of_the_centre(gammapy_data):
    pytest.importorskip("xdggs", reason="needs xgamma[healpix]")
    cube = galactic_centre(gammapy_data)
    folder = gammapy_data / "fermi-3fhl-gc"
    other = open_fermi(
        folder / "fermi-3fhl-gc-events.fits.gz",
        gammapy_data / "fermi_3fhl" / "fermi_3fhl_exposure_cube_hpx.fits.gz",
        folder / "fermi-3fhl-gc-psf-cube.fits.gz",
        "identity",
        grid=cube[["counts"]],
    ).load()
    # 52 events lie outside of the good times of the counts cube
    assert float(other.counts.sum()) - float(cube.counts.sum()) == 50
    # positions that gtbin turned to galactic ones differ by up to 1.7 arcsec, 1 % of a pixel on each side
    assert 0 < float(abs(other.counts - cube.counts).sum()) < 0.03 * float(cube.counts.sum())
    ratio = other.exposure / cube.exposure
    assert float(abs(ratio - 1).max()) < 6e-3
    assert abs(float(ratio.mean()) - 1) < 1e-3


@pytest.mark.real_data
def test_old_cube_of_the_crab(gammapy_data):
    """A file of gammapy 0.18 with its quirks: no MIGRA, THETA in rad, exposure in cm2 s, empty GTI."""
    cube = xg.open_cube(gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_data_Fermi-LAT.fits")
    assert cube.counts.shape == (5, 40, 50)
    assert cube.edisp.dims == ("energy_true", "energy", "irf_y", "irf_x")
    assert cube.rad.units == "deg"
    assert cube.psf.dims == ("psf_energy_true", "rad")
    assert float(cube.psf_exposure.max()) > 1e11
