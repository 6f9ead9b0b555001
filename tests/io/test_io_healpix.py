"""HEALPix maps in FITS: what gammapy, healpy and the Fermi-LAT tools write, and what is written for them."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import bin_axis, energy_axis
from xgamma.io.cube import open_cube
from xgamma.io.fits_map import read_map

pytest.importorskip("xdggs", reason="needs xgamma[healpix]")

from xgamma.coords.healpix import HealpixGrid, healpix_coords
from xgamma.coords.healpix_project import healpix_to_wcs
from xgamma.io.healpix_fits import open_healpix
from xgamma.io.healpix_write import write_healpix

BINS = energy_axis("1 TeV", "8 TeV", nbin=3)
NODES = bin_axis("energy_true", [1, 2, 4], [1, 2, 4], "TeV", long_name="True energy")


def raising(*args, **kwargs):
    msg = "something was computed while the graph was built"
    raise AssertionError(msg)


def sky(axis=BINS, level=2, nested=True, frame="galactic", cells=None, units=""):
    coords = healpix_coords(level, nested=nested, frame=frame, cells=cells)
    if axis is not None:
        coords = coords.merge(axis.coords).coords
    dims = ((str(axis.name),) if axis is not None else ()) + ("cells",)
    shape = [coords.sizes[d] for d in dims]
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return xr.DataArray(values, coords, dims, name="map", attrs={"units": units})


def table(path, columns, bands=None, name="SKYMAP", **cards):
    """Write a HEALPix table of whatever form."""
    columns = [fits.Column(n, f, array=v) for n, f, v in columns]
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    cards = {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": 2, "COORDSYS": "GAL"} | cards
    hdu.header.update({k: v for k, v in cards.items() if v is not None})
    fits.HDUList([fits.PrimaryHDU(), hdu, *([bands] if bands is not None else [])]).writeto(path, overwrite=True)
    return path


def energies(values=(1000.0, 2000.0), name="ENERGIES"):
    return fits.BinTableHDU.from_columns([fits.Column("Energy", "D", array=np.array(values))], name=name)


@pytest.mark.parametrize("cells", [None, np.array([7, 3, 100])])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    ("layout", "axis", "units"),
    [
        ("gadf", BINS, ""),
        ("gadf", NODES, "cm2 s"),
        ("gadf", None, "sr-1"),
        ("fermi-counts", BINS, ""),
        ("fermi-exposure", NODES, "cm2 s"),
        ("fermi-template", NODES, "cm-2 s-1 MeV-1 sr-1"),
    ],
)
def test_written_and_read(tmp_path, layout, axis, units, cells, nested):
    array = sky(axis, nested=nested, cells=cells, units=units)
    path = write_healpix(array, tmp_path / "a.fits", layout=layout)
    with dask.config.set(scheduler=raising):
        back = open_healpix(path)
    assert dask.is_dask_collection(back.data)
    xr.testing.assert_equal(back.compute(), array)
    assert back.attrs == array.attrs
    assert back.dggs.grid_info == array.dggs.grid_info
    if axis is not None:
        assert back.xindexes[str(axis.name)].equals(array.xindexes[str(axis.name)])


def test_sparse(tmp_path):
    array = sky()
    array.values[:, 5:] = 0.0
    path = write_healpix(array, tmp_path / "a.fits", layout="gadf-sparse")
    xr.testing.assert_equal(open_healpix(path).compute(), array)
    assert fits.getdata(path, 1).size < 16
    image = array.isel(energy=2, drop=True)
    xr.testing.assert_equal(
        open_healpix(write_healpix(image, tmp_path / "b.fits", layout="gadf-sparse")).compute(), image
    )


def test_the_disc_of_gammapy_is_kept(tmp_path):
    """gammapy finds the cells of a part of the sky by HPX_REG alone."""
    whole = HealpixGrid(3, True, "galactic")
    from xgamma.kernels.sphere import separation, to_vectors

    inside = separation(to_vectors(*whole.centers()), to_vectors(np.asarray(110.0), np.asarray(75.0))) < 10
    array = sky(level=3, cells=np.flatnonzero(inside)).assign_attrs(HPX_REG="DISK(110.,75.,10.)")
    path = write_healpix(array, tmp_path / "a.fits")
    assert fits.getheader(path, 1)["HPX_REG"] == "DISK(110.,75.,10.)"
    assert open_healpix(path).attrs["HPX_REG"] == "DISK(110.,75.,10.)"
    assert "HPX_REG" not in fits.getheader(write_healpix(array.isel(cells=[0, 2]), tmp_path / "b.fits"), 1)


def test_forms_of_other_programs(tmp_path):
    values = np.arange(48.0)
    expected = values.copy()
    # healpy: 1024 pixels in a row, UNSEEN
    wide = values.reshape(4, 12).copy()
    wide[0, 5], expected[5] = -1.6375e30, np.nan
    path = table(tmp_path / "healpy.fits", [("TEMPERATURE", "12E", wide)], ORDERING="NESTED")
    np.testing.assert_array_equal(open_healpix(path), expected)
    # without COORDSYS positions are equatorial, exposures have no unit, nodes are in MeV
    columns = [(f"ENERGY{i}", "D", values * i) for i in (1, 2)]
    path = table(tmp_path / "exposure.fits", columns, energies(), "HPXEXPOSURES", COORDSYS=None)
    exposure = open_healpix(path)
    assert (exposure.frame, exposure.units, exposure.dims) == ("icrs", "cm2 s", ("energy_true", "cells"))
    np.testing.assert_allclose(exposure.energy_true, [1e-3, 2e-3])
    path = table(tmp_path / "order.fits", [("MAP", "D", values)], NSIDE=None, ORDER=1, COORDSYS="C")
    assert open_healpix(path).dggs.grid_info.nside == 2


def test_bad_files_are_told_in_words(tmp_path):
    path = tmp_path / "a.fits"
    ones = [("CHANNEL1", "D", np.ones(48))]

    def refused(words, *args, error=ValueError, **kwargs):
        with pytest.raises(error, match=words):
            open_healpix(table(path, *args, **kwargs))

    refused("ORDERING='UNIQ' is not known", ones, ORDERING="UNIQ")
    refused("card ORDERING is missing", ones, ORDERING=None)
    refused("NSIDE=3 is not a power of two", [("A", "D", np.ones(108))], NSIDE=3)
    refused("neither NSIDE nor ORDER", ones, NSIDE=None)
    refused("ORDER=4 contradicts NSIDE=2", ones, ORDER=4)
    refused("COORDSYS='SGAL' is not known", ones, COORDSYS="SGAL")
    refused("47 pixels, but the sky has 48", [("A", "D", np.ones(47))])
    refused("1 columns of values, but ENERGIES tells of 2|has 1 bins|2 rows", ones, energies())
    refused("2 columns of values, but no table", [*ones, ("CHANNEL2", "D", np.ones(48))])
    refused("BANDSHDU names 'X_BANDS'", ones, BANDSHDU="X_BANDS")
    refused("those from 0 to 47", [("PIX", "J", [1, 48]), ("CHANNEL1", "D", [1.0, 2.0])])
    refused("more than once", [("PIX", "J", [1, 1]), ("CHANNEL1", "D", [1.0, 2.0])])
    refused("INDXSCHM='LOCAL'", [("PIX", "J", [1, 2]), ("CHANNEL1", "D", [1.0, 2.0])], INDXSCHM="LOCAL")
    refused("should hold whole numbers", [("PIX", "D", [1.0, 2.0]), ("CHANNEL1", "D", [1.0, 2.0])])
    refused("do not hold plain numbers", [("NAME", "4A", ["a"] * 48)])
    refused("no column with values", [("PIX", "J", [1, 2])])
    refused("needs a column VALUE", [("PIX", "J", [1, 2]), ("CHANNEL", "J", [0, 0])], INDXSCHM="SPARSE")
    fits.PrimaryHDU(np.ones((2, 2))).writeto(path, overwrite=True)
    with pytest.raises(ValueError, match="no HEALPix map"):
        open_healpix(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        open_healpix(tmp_path / "none.fits")
    good = write_healpix(sky(), tmp_path / "good.fits")
    with pytest.raises(ValueError, match="has no HDU 'OTHER'"):
        open_healpix(good, "OTHER")
    (tmp_path / "cut.fits").write_bytes(good.read_bytes()[:6000])
    with pytest.raises(OSError, match="truncated"):
        open_healpix(tmp_path / "cut.fits")
    for opened in (open_cube, read_map):
        with pytest.raises(ValueError, match=r"xgamma.open_healpix"):
            opened(good)


def test_bad_maps_are_not_written(tmp_path):
    path = tmp_path / "a.fits"
    with pytest.raises(ValueError, match="layout='ogip'"):
        write_healpix(sky(), path, layout="ogip")
    with pytest.raises(ValueError, match="this map has bins"):
        write_healpix(sky(), path, layout="fermi-exposure")
    with pytest.raises(ValueError, match="this map has nodes"):
        write_healpix(sky(NODES), path, layout="fermi-counts")
    with pytest.raises(ValueError, match="has energies only"):
        write_healpix(sky(None), path, layout="fermi-counts")
    with pytest.raises(ValueError, match="has no coordinate"):
        write_healpix(sky().drop_vars(["energy", "energy_min", "energy_max"]), path)
    assert not path.exists()
    write_healpix(sky(), path)
    with pytest.raises(FileExistsError):
        write_healpix(sky(), path)


def test_a_changed_file_is_noticed(tmp_path):
    path = write_healpix(sky(None), tmp_path / "a.fits")
    array = open_healpix(path)
    write_healpix(sky(None, level=1), path, overwrite=True)
    with pytest.raises(ValueError, match="has the file changed"):
        array.compute()


@pytest.mark.real_data
def test_the_exposure_of_fermi(gammapy_data):
    """Values at random positions as gammapy 2.1 has them: Map.read(...).interp_by_coord(...), at two nodes."""
    array = open_healpix(gammapy_data / "fermi_3fhl" / "fermi_3fhl_exposure_cube_hpx.fits.gz")
    assert (array.frame, array.units, array.sizes["cells"]) == ("icrs", "cm2 s", 49152)
    lon = [278.624177, 157.996238, 309.095251, 251.05249, 33.903845, 351.224047]
    lat = [31.485274, 34.898794, -48.053794, -5.694724, -14.975379, 58.597711]
    expected = [
        [2.768610138e+11, 3.948008890e+11, 3.399194633e+11, 2.922398701e+11, 2.993181109e+11, 2.877016213e+11],
        [1.677701327e+11, 2.466838766e+11, 2.112721227e+11, 1.782424369e+11, 1.772486241e+11, 1.683946305e+11],
    ]  # fmt: skip
    from astropy.coordinates import SkyCoord

    from xgamma.coords.grid import sky_grid

    ends = array.isel(energy_true=[0, -1]).load()
    for i, (x, y) in enumerate(zip(lon, lat, strict=True)):
        pixel = sky_grid(SkyCoord(x, y, unit="deg", frame="galactic"), "0.1 deg", "0.1 deg")
        np.testing.assert_allclose(healpix_to_wcs(ends, pixel).values.ravel(), [e[i] for e in expected], rtol=1e-8)


@pytest.mark.real_data
def test_the_frame_of_the_exposure(gammapy_data):
    """Another file, made on sky pixels, has the same exposure: positions are equatorial."""
    array = open_healpix(gammapy_data / "fermi_3fhl" / "fermi_3fhl_exposure_cube_hpx.fits.gz").isel(energy_true=0)
    wcs = read_map(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc-exposure-cube.fits.gz").isel(energy_true=0)
    ratio = healpix_to_wcs(array, wcs) / wcs
    assert abs(float(ratio.mean()) - 1) < 1e-4
    assert float(abs(ratio - 1).max()) < 2e-3
