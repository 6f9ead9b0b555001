"""The xarray engine, and the words about files."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import BinIndex
from xgamma.coords.sky import SkyIndex
from xgamma.io.backend import XgammaBackend
from xgamma.io.cube import write_cube
from xgamma.io.describe import describe

SUFFIXES = [".zarr", ".nc", ".fits", ".fits.gz"]


@pytest.mark.parametrize("chunks", [None, {}, {"energy": 2}])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_engine_restores_the_indexes(suffix, chunks, cube, tmp_path):
    write_cube(cube, tmp_path / f"a{suffix}")
    with xr.open_dataset(tmp_path / f"a{suffix}", engine=XgammaBackend, chunks=chunks) as result:
        assert isinstance(result.xindexes["lon"], SkyIndex)
        assert isinstance(result.xindexes["energy"], BinIndex)
        assert (result.counts.chunks is None) == (chunks is None)
        np.testing.assert_array_equal(result.sel(energy=2).counts, cube.sel(energy=2).counts)
    assert "psf" not in xr.open_dataset(tmp_path / f"a{suffix}", engine=XgammaBackend, drop_variables=["psf"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_engine_by_name(suffix, cube, tmp_path):
    if "xgamma" not in xr.backends.list_engines():
        pytest.skip("the package is not installed, so its entry points are not known")
    write_cube(cube, tmp_path / f"a{suffix}")
    result = xr.open_dataset(tmp_path / f"a{suffix}", engine="xgamma", chunks={})
    assert isinstance(result.xindexes["lon"], SkyIndex)


def test_only_own_files_are_guessed(cube, tmp_path):
    backend = XgammaBackend()
    write_cube(cube, tmp_path / "ours.zarr")
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    assert backend.guess_can_open(tmp_path / "ours.zarr")
    assert backend.guess_can_open("somewhere/a.fits.gz")
    for other in (tmp_path / "other.zarr", tmp_path / "a.nc", tmp_path, "https://example.org/a.fits", 7, b"CDF"):
        assert not backend.guess_can_open(other)
    with pytest.raises(TypeError, match="paths and URLs"):
        backend.open_dataset(b"SIMPLE")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_description_of_a_cube(suffix, cube, tmp_path):
    write_cube(cube, tmp_path / f"a{suffix}")
    text = describe(tmp_path / f"a{suffix}")
    for words in (
        "energy: 2 bins, 1 to 10 TeV",
        "sky grid: icrs TAN, 5 x 4 pixels of 0.1 deg, 0.5 x 0.4 deg around (83.6300, 22.0100)",
        "response grid: icrs TAN, 3 x 2 pixels of 0.2 deg",
        "exposure (energy_true: 3, y: 4, x: 5) float64 [cm2 s], 480 B, 1 chunk of (3, 4, 5)",
        "livetime () = 1234.5 float64 [s]",
        "on disk",
        "name: crab",
        '"inputs": ["a.fits", null]',
    ):
        assert words in text, words


def test_description_of_runs_and_long_attributes(runs, tmp_path):
    write_cube(runs.assign_attrs(text="x" * 1000), tmp_path / "a.zarr")
    text = describe(tmp_path / "a.zarr")
    assert "obs: 3 (a, bb, ccc)" in text
    assert "6 chunks of (1, 2, 2, 5)" in text
    assert "x" * 400 not in text


def test_description_of_other_files(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("ENERGY", "E", unit="TeV", array=np.ones(3))], name="EVENTS")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    text = describe(tmp_path / "a.fits")
    assert "holds no sky map" in text
    assert "1 EVENTS: table of 3 rows: ENERGY [TeV]" in text
    with pytest.raises(FileNotFoundError):
        describe(tmp_path / "b.fits")
    with pytest.raises(IsADirectoryError):
        describe(tmp_path)
