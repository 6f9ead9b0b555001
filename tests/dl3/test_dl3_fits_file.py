"""Opening FITS files: fast, closed, and with errors that say what is wrong."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits

from xgamma.io.fits_file import expand_path, find_column, open_fits, read_column, read_values


@pytest.fixture
def table():
    columns = [
        fits.Column("Energy", "E", unit="GeV", array=np.array([500.0, 1000.0])),
        fits.Column("NAME", "8A", array=["one", "two  "]),
        fits.Column("COUNT", "J", null=-1, array=np.array([3, -1])),
        fits.Column("SHAPE", "PD()", array=np.array([np.array([1.0]), np.array([1.0, 2.0])], dtype=object)),
        fits.Column("TEL", "PI()", unit="m", array=np.array([np.array([1, 2]), np.array([], int)], dtype=object)),
        fits.Column("WRONG", "E", unit="parsnip", array=np.zeros(2)),
        fits.Column("BARE", "E", array=np.zeros(2)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="T")


@pytest.fixture
def path(tmp_path, table):
    name = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(np.ones((5, 7)), name="IMAGE")]).writeto(name)
    return name


@pytest.mark.parametrize("packed", [False, True])
def test_open(path, packed):
    if packed:
        # a name does not tell: the content does
        path.write_bytes(gzip.compress(path.read_bytes()))
    with open_fits(path) as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "T", "IMAGE"]
        energy, image = read_column(hdus["T"], "ENERGY", unit="TeV"), hdus["IMAGE"].data
    np.testing.assert_array_equal(energy, [0.5, 1.0])
    assert energy.dtype == np.float64
    assert energy.dtype.isnative
    assert image.sum() == 35  # still there after closing


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_raises(path, packed):
    whole = path.read_bytes()
    with fits.open(path) as hdus:
        info = hdus["IMAGE"].fileinfo()
        end = info["datLoc"] + 5 * 7 * 8
    for cut in [1, 100, 2879, 2881, 4000, info["hdrLoc"] + 1, info["hdrLoc"] + 1000, info["datLoc"], end - 1]:
        path.write_bytes(gzip.compress(whole[:cut]) if packed else whole[:cut])
        with pytest.raises(OSError, match=r"a\.fits is (truncated|not a FITS file)"), open_fits(path):
            pass
    # a last block that is not filled up is harmless
    path.write_bytes(whole[:end])
    with open_fits(path) as hdus:
        assert hdus["IMAGE"].data.sum() == 35


def test_truncated_gzip(path):
    packed = gzip.compress(path.read_bytes())
    for data in (packed[: len(packed) // 2], packed[:-4], packed[:50] + b"garbage" + packed[57:]):
        path.write_bytes(data)
        with pytest.raises(OSError, match="damaged or truncated gzip"), open_fits(path):
            pass


def test_not_fits(tmp_path):
    file = tmp_path / "x.fits"
    with pytest.raises(FileNotFoundError, match="there is no file"), open_fits(file):
        pass
    with pytest.raises(IsADirectoryError, match="is a folder"), open_fits(tmp_path):
        pass
    file.write_text("")
    with pytest.raises(OSError, match="an empty file"), open_fits(file):
        pass
    file.write_text("SIMPLE is what I am not" * 300)
    with pytest.raises(OSError, match=r"truncated|valid FITS"), open_fits(file):
        pass
    file.write_text("hello" * 1000)
    with pytest.raises(OSError, match="not a FITS file"), open_fits(file):
        pass


def test_bytes_after_the_last_hdu(path):
    whole = path.read_bytes()
    for extra in (b"\0" * 2880, b"rest", b"\0" * 5000):
        path.write_bytes(whole + extra)
        with open_fits(path) as hdus:
            assert len(hdus) == 3
            assert hdus["T"].data is not None


def test_file_is_closed(path):
    with open_fits(path) as hdus:
        stream = hdus.fileinfo(0)["file"]
        assert not stream.closed
    assert stream.closed


def test_columns(table):
    assert find_column(table, "energy") == "Energy"
    assert find_column(table, "x", "name") == "NAME"
    assert find_column(table, "x") is None
    with pytest.raises(ValueError, match="has no column X or Y; it has"):
        read_column(table, "X", "Y", unit="s")
    with pytest.raises(ValueError, match=r"column Energy in HDU 'T' of f.fits has a wrong unit.*'GeV'.*'s'"):
        read_column(table, "ENERGY", unit="s", where="f.fits")
    with pytest.raises(ValueError, match="parsnip"):
        read_column(table, "WRONG", unit="s")
    with pytest.raises(ValueError, match="states no unit"):
        read_column(table, "BARE", unit="s")
    assert read_column(table, "BARE", unit="s", assume="d").tolist() == [0, 0]
    with pytest.raises(ValueError, match="plain numbers"):
        read_column(table, "NAME", unit="s", assume="s")


def test_any_column(tmp_path, table):
    table.writeto(tmp_path / "t.fits")
    with open_fits(tmp_path / "t.fits") as hdus:
        values = {n: read_values(hdus[1], n) for n in hdus[1].columns.names}
    assert values["NAME"].tolist() == ["one", "two"]
    np.testing.assert_array_equal(values["COUNT"], [3, np.nan])
    np.testing.assert_array_equal(values["SHAPE"], [[1, np.nan], [1, 2]])
    np.testing.assert_array_equal(values["TEL"], [[1, 2], [np.nan, np.nan]])
    assert all(v.dtype.isnative for v in values.values())


def test_expand_path(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_DATA", str(tmp_path))
    assert expand_path("$SOME_DATA/x") == tmp_path / "x"
    assert expand_path("${SOME_DATA}/x") == tmp_path / "x"
    assert expand_path("~/x").is_absolute()
    monkeypatch.delenv("SOME_DATA")
    with pytest.raises(ValueError, match="SOME_DATA, which is not set: export SOME_DATA="):
        expand_path("$SOME_DATA/x")
    with pytest.raises(ValueError, match="empty"):
        expand_path("")
    odd = tmp_path / "a$b.fits"
    odd.touch()
    assert expand_path(odd) == odd
