# ruff: noqa: E501  (scripts for gammapy)
"""Files exchanged with gammapy, which runs in an environment of its own (XGAMMA_GAMMAPY_PYTHON)."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import xarray as xr

from xgamma.coords.bins import bin_axis
from xgamma.io.cube import open_cube
from xgamma.io.fits_map import read_map
from xgamma.io.fits_write import to_fits, write_map

pytestmark = pytest.mark.gammapy


@pytest.fixture
def gammapy(gammapy_python, tmp_path):
    """Run a script with gammapy in `tmp_path`; it gets numpy, gammapy.maps and gammapy.datasets."""
    head = """
import numpy as np, astropy.units as u, regions
from astropy.coordinates import SkyCoord
from astropy.table import Table
from gammapy.data import GTI
from gammapy.datasets import MapDataset, MapDatasetOnOff, SpectrumDataset
from gammapy.maps import LabelMapAxis, Map, MapAxis, WcsGeom
"""

    def run(script):
        return subprocess.run(
            [gammapy_python, "-W", "ignore", "-c", head + script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

    return run


READ = """
result = {}
def keep(prefix, dataset, names):
    for name in names:
        m = getattr(dataset, name)
        result[prefix + name] = m.data
        result[prefix + name + "_unit"] = str(m.unit)
    result[prefix + "psf"] = dataset.psf.psf_map.data
    result[prefix + "psf_exposure"] = dataset.psf.exposure_map.quantity.to_value("cm2 s")
    result[prefix + "edisp"] = dataset.edisp.edisp_map.data
    result[prefix + "edisp_exposure"] = dataset.edisp.exposure_map.quantity.to_value("cm2 s")
    result[prefix + "edges"] = dataset.counts.geom.axes["energy"].edges.to_value("TeV")
    result[prefix + "edges_true"] = dataset.exposure.geom.axes["energy_true"].edges.to_value("TeV")
    result[prefix + "rad"] = dataset.psf.psf_map.geom.axes["rad"].edges.to_value("deg")
    coords = dataset.counts.geom.get_coord()
    result[prefix + "lon"], result[prefix + "lat"] = coords.lon[0].to_value("deg"), coords.lat[0].to_value("deg")
    result[prefix + "gti"] = np.array([(t.tt - __import__("astropy.time").time.Time("2000-01-01T12:00:00", scale="tt")).to_value("s")
                              for t in (dataset.gti.time_start, dataset.gti.time_stop)])
    result[prefix + "livetime"] = dataset.exposure.meta["livetime"].to_value("s")
    result[prefix + "name"] = dataset.name
    position = dataset.counts.geom.center_skydir
    result[prefix + "kernel"] = dataset.psf.get_psf_kernel(dataset.exposure.geom, position=position, max_radius=0.2 * u.deg).data
    result[prefix + "matrix"] = dataset.edisp.get_edisp_kernel(energy_axis=dataset.counts.geom.axes["energy"], position=position).data
names = ["counts", "background", "exposure", "mask_safe", "mask_fit"]
keep("map_", MapDataset.read("map.fits.gz"), names)
onoff = MapDatasetOnOff.read("onoff.fits")
keep("onoff_", onoff, ["counts", "exposure", "mask_safe", "mask_fit", "counts_off", "acceptance", "acceptance_off"])
keep("single_", MapDataset.read("single.fits"), names)
migra = MapDataset.read("migra.fits")
result["migra"] = migra.edisp.edisp_map.data
spectrum = SpectrumDataset.read("spectrum.fits")
result["spectrum"] = spectrum.counts.data
result["spectrum_region"] = [spectrum.counts.geom.region.center.ra.deg, spectrum.counts.geom.region.center.dec.deg,
                             spectrum.counts.geom.region.radius.to_value("deg")]
for name in ("image", "mask", "labels"):
    m = Map.read(name + ".fits")
    result["file_" + name] = m.data
result["labels"] = Map.read("labels.fits").geom.axes["type"].center.astype(str)
np.savez("read.npz", **result)
"""


def test_gammapy_reads_ours(gammapy, cube, onoff, tmp_path):
    axis = bin_axis("migra", [0.2, 0.5, 1.0], [0.5, 1.0, 3.0], "", interp="lin")
    migra = cube.drop_vars("edisp").assign_coords(axis.coords)
    migra = migra.assign(
        edisp=(("energy_true", "migra", "irf_y", "irf_x"), np.random.default_rng(1).random((3, 3, 2, 3)), {"units": ""})
    )
    single = cube.isel(irf_y=0, irf_x=0, drop=True).drop_vars("irf_wcs")
    spectrum = single.isel(y=1, x=1, drop=True).drop_vars("wcs").assign_coords(region="icrs;circle(83.63,22.01,0.1)")
    labels = xr.concat(
        [cube.counts, 2 * cube.counts], xr.Variable("type", ["psf3", "psf1"]), coords="minimal", compat="override"
    )
    for name, data in (
        ("map.fits.gz", cube),
        ("onoff.fits", onoff),
        ("migra.fits", migra),
        ("single.fits", single),
        ("spectrum.fits", spectrum),
    ):
        to_fits(data, tmp_path / name)
    write_map(cube.counts, tmp_path / "image.fits")
    write_map(cube.mask_fit, tmp_path / "mask.fits")
    write_map(labels, tmp_path / "labels.fits")
    gammapy(READ)
    result = np.load(tmp_path / "read.npz")

    for prefix, data in (("map_", cube), ("onoff_", onoff), ("single_", single)):
        for name in ("counts", "background", "mask_safe", "mask_fit", "counts_off", "acceptance", "acceptance_off"):
            if name in data and prefix + name in result:
                np.testing.assert_array_equal(result[prefix + name], data[name], err_msg=prefix + name)
        np.testing.assert_allclose(result[prefix + "exposure"] * 1e4, data.exposure, rtol=1e-15)
        assert result[prefix + "exposure_unit"] == "m2 s"
        assert result[prefix + "mask_safe"].dtype == bool
        psf, edisp = data.psf.transpose("energy_true", "rad", ...).values, data.edisp.values
        exposure = data.irf_exposure.values
        np.testing.assert_array_equal(result[prefix + "psf"].reshape(psf.shape), psf)
        np.testing.assert_array_equal(result[prefix + "edisp"].reshape(edisp.shape), edisp)
        for name in ("psf_exposure", "edisp_exposure"):
            np.testing.assert_allclose(result[prefix + name].reshape(exposure.shape), exposure, rtol=1e-14)
        np.testing.assert_allclose(result[prefix + "edges"], [1, 10**0.5, 10], rtol=1e-14)
        np.testing.assert_allclose(result[prefix + "edges_true"][[0, -1]], [0.5, 20], rtol=1e-14)
        np.testing.assert_allclose(result[prefix + "rad"], np.linspace(0, 0.66, 67), atol=1e-14)
        np.testing.assert_allclose(result[prefix + "lon"], data.lon, atol=1e-9)
        np.testing.assert_allclose(result[prefix + "lat"], data.lat, atol=1e-9)
        np.testing.assert_allclose(result[prefix + "gti"], [data.gti_start, data.gti_stop], atol=1e-5)
        assert result[prefix + "livetime"] == pytest.approx(1234.5)
        assert str(result[prefix + "name"]) == "crab"
        assert np.isfinite(result[prefix + "kernel"]).all()
        assert result[prefix + "matrix"].shape == (3, 2)
    np.testing.assert_array_equal(result["migra"], migra.edisp)
    np.testing.assert_array_equal(result["spectrum"].ravel(), spectrum.counts)
    # the radius goes through pixels, whose size the regions package takes from a finite step
    np.testing.assert_allclose(result["spectrum_region"], [83.63, 22.01, 0.1], rtol=1e-7)
    np.testing.assert_array_equal(result["file_image"], cube.counts)
    np.testing.assert_array_equal(result["file_mask"], cube.mask_fit)
    for label, values in zip(result["labels"], result["file_labels"], strict=True):
        np.testing.assert_array_equal(values, labels.sel(type=label))


WRITE = """
rng = np.random.default_rng(1)
energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
true = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=3, name="energy_true")
geom = WcsGeom.create(skydir=(83.63, 22.01), width=(0.5, 0.4), binsz=0.1, axes=[energy])
def fill(m):
    m.data = rng.random(m.data.shape).astype(m.data.dtype) * 10
def dataset(**kwargs):
    d = MapDataset.create(geom, energy_axis_true=true, name="my data", **kwargs)
    for m in (d.counts, d.background, d.exposure, d.psf.psf_map, d.psf.exposure_map, d.edisp.edisp_map, d.edisp.exposure_map):
        fill(m)
    d.edisp.exposure_map.data = d.psf.exposure_map.data.copy().reshape(d.edisp.exposure_map.data.shape)
    d.mask_safe.data[:, 1:] = True
    d.mask_fit = d.mask_safe.copy()
    d.exposure.meta["livetime"] = 2 * u.h
    d.gti = GTI.create(start=[0, 30] * u.min, stop=[28, 58] * u.min, reference_time="2010-01-01T00:00:00")
    d.meta_table = Table({"TELESCOP": ["HESS"], "OBS_ID": [3]})
    return d
d = dataset(binsz_irf=0.2)
d.write("map.fits.gz")
migra = dataset(binsz_irf=0.2, migra_axis=MapAxis.from_edges(np.linspace(0.2, 3, 8), name="migra"))
migra.write("migra.fits")
off = {n: Map.from_geom(geom, data=rng.random(geom.data_shape)) for n in ("acceptance", "acceptance_off", "counts_off")}
MapDatasetOnOff.from_map_dataset(d, **off).write("onoff.fits")
region = regions.CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.15 * u.deg)
spectrum = d.to_spectrum_dataset(region)
spectrum.write("spectrum.fits")
d.counts.write("sparse.fits", sparse=True)
three = Map.create(npix=(4, 3), binsz=0.5, proj="TAN", frame="galactic", axes=[
    MapAxis.from_edges([0, 1, 3], name="a", unit="deg"), MapAxis.from_nodes([1, 2, 4], name="b", unit="m", interp="log"),
    MapAxis.from_edges([1, 2, 5, 6, 8], name="c")])
fill(three)
three.write("three.fits")
three.data[three.data < 7] = 0
three.write("three_sparse.fits", sparse=True)
result = {n: getattr(d, n).data for n in ("counts", "background", "exposure", "mask_safe", "mask_fit")}
result.update({n: m.data for n, m in off.items()})
result.update(psf=d.psf.psf_map.data, edisp=d.edisp.edisp_map.data, irf_exposure=d.psf.exposure_map.data[:, 0], migra=migra.edisp.edisp_map.data,
              spectrum=spectrum.counts.data.ravel(), three=Map.read("three.fits").data, three_sparse=three.data,
              spectrum_exposure=spectrum.exposure.data.ravel(), lon=geom.to_image().get_coord().lon.to_value("deg"),
              gti=[(t.tt - __import__("astropy.time").time.Time("2000-01-01T12:00:00", scale="tt")).to_value("s") for t in (d.gti.time_start, d.gti.time_stop)])
np.savez("write.npz", **result)
"""


def test_we_read_what_gammapy_writes(gammapy, tmp_path):
    gammapy(WRITE)
    expected = np.load(tmp_path / "write.npz")
    cube, migra, onoff = (open_cube(tmp_path / f"{n}").compute() for n in ("map.fits.gz", "migra.fits", "onoff.fits"))
    for name in ("counts", "background", "mask_safe", "mask_fit", "edisp"):
        np.testing.assert_array_equal(cube[name], expected[name])
    np.testing.assert_array_equal(cube.psf.transpose("energy_true", "rad", ...), expected["psf"])
    np.testing.assert_allclose(cube.exposure, expected["exposure"].astype(float) * 1e4, rtol=1e-14)
    np.testing.assert_allclose(cube.irf_exposure, expected["irf_exposure"].astype(float) * 1e4, rtol=1e-14)
    np.testing.assert_allclose(cube.lon, expected["lon"], atol=1e-9)
    np.testing.assert_allclose([cube.gti_start, cube.gti_stop], expected["gti"], atol=1e-5)
    assert cube.livetime.item() == 7200
    assert cube.attrs["name"] == "my data"
    assert cube.attrs["meta_table"] == {"TELESCOP": ["HESS"], "OBS_ID": [3]}
    np.testing.assert_array_equal(migra.edisp, expected["migra"])
    assert migra.edisp.dims == ("energy_true", "migra", "irf_y", "irf_x")
    for name in ("counts", "counts_off", "acceptance", "acceptance_off"):
        np.testing.assert_array_equal(onoff[name], expected[name])
    spectrum = open_cube(tmp_path / "spectrum.fits").compute()
    np.testing.assert_array_equal(spectrum.counts, expected["spectrum"])
    np.testing.assert_allclose(spectrum.exposure, expected["spectrum_exposure"].astype(float) * 1e4, rtol=1e-14)
    assert spectrum.region.item() == "icrs;circle(83.6300000000,22.0100000000,0.1500000000)"
    np.testing.assert_array_equal(read_map(tmp_path / "sparse.fits"), expected["counts"])
    three = read_map(tmp_path / "three.fits")
    assert three.dims == ("c", "b", "a", "y", "x")
    np.testing.assert_array_equal(three, expected["three"])
    np.testing.assert_allclose(three.c_max, [2, 5, 6, 8])
    np.testing.assert_allclose(three.a_min, [0, 1])
    np.testing.assert_array_equal(read_map(tmp_path / "three_sparse.fits"), expected["three_sparse"])
    # and back to gammapy, unchanged
    to_fits(cube, tmp_path / "again.fits")
    out = gammapy('d, e = (MapDataset.read(n) for n in ("map.fits.gz", "again.fits"))\nprint(np.array_equal(d.psf.psf_map.data, e.psf.psf_map.data), '
                  "d.counts.geom == e.counts.geom, d.psf.psf_map.geom == e.psf.psf_map.geom, d.edisp.edisp_map.geom == e.edisp.edisp_map.geom)")  # fmt: skip
    assert out.stdout.split() == ["True"] * 4
