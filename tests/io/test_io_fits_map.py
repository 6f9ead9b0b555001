"""Single maps in FITS: what files say in many ways, and what they may not say."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits

from xgamma.coords.bins import BinIndex, bin_axis, bin_edges, energy_axis
from xgamma.coords.grid import sky_grid
from xgamma.coords.sky import SkyIndex, grid_of
from xgamma.io.cube import open_cube
from xgamma.io.fits_axes import bands_axes, bands_hdu
from xgamma.io.fits_map import find_maps, load_map, read_map
from xgamma.io.fits_time import reference_seconds
from xgamma.io.fits_write import write_map

WCS_CARDS = {
    "CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRPIX1": 2.0, "CRPIX2": 1.5,
    "CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": -1.0, "CDELT2": 1.0, "CUNIT1": "deg", "CUNIT2": "deg",
}  # fmt: skip


def image(values, **cards):
    return fits.PrimaryHDU(values, fits.Header({**WCS_CARDS, **cards}))


def table(name, **columns):
    items = [
        fits.Column(n, f"{max(1, v.dtype.itemsize // 4)}A" if v.dtype.kind == "U" else "D", array=v, unit=u)
        for n, (v, u) in columns.items()
    ]
    return fits.BinTableHDU.from_columns(items, name=name)


def save(path, *hdus):
    fits.HDUList(list(hdus)).writeto(path)
    return path


def test_map_round_trip_keeps_numbers_axes_and_pixels(cube, tmp_path):
    write_map(cube.counts, tmp_path / "a.fits")
    result = read_map(tmp_path / "a.fits")
    xr.testing.assert_allclose(result.rename("counts"), cube.counts.drop_vars(["irf_wcs"], errors="ignore"), rtol=0)
    assert result.dtype == np.float64
    assert result.dtype.isnative
    assert grid_of(result) == grid_of(cube)
    assert isinstance(result.xindexes["energy"], BinIndex)
    np.testing.assert_allclose(bin_edges(result), bin_edges(cube), rtol=1e-15)


def test_masks_are_masks_again(cube, tmp_path):
    write_map(cube.mask_safe, tmp_path / "a.fits.gz")
    result = read_map(tmp_path / "a.fits.gz")
    assert result.dtype == bool
    assert result.name == "mask_safe"
    np.testing.assert_array_equal(result, cube.mask_safe)
    write_map(cube.mask_safe.rename("good"), tmp_path / "b.fits")
    assert read_map(tmp_path / "b.fits").dtype == bool


def test_lazy_map_is_not_computed_before_the_target_is_checked(cube, tmp_path):
    def raising(dsk, keys, **kwargs):
        msg = "something was computed"
        raise AssertionError(msg)

    (tmp_path / "a.fits").touch()
    with dask.config.set(scheduler=raising), pytest.raises(FileExistsError):
        write_map(cube.counts.chunk(), tmp_path / "a.fits")
    write_map(cube.counts.chunk(), tmp_path / "a.fits", overwrite=True)
    np.testing.assert_array_equal(read_map(tmp_path / "a.fits"), cube.counts)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_up_to_five_axes(number, tmp_path):
    grid = sky_grid(SkyCoord(0, 0, unit="deg", frame="galactic"), "2 deg", "1 deg")
    axes = [bin_axis(f"a{i}", np.arange(i + 2.0), np.arange(i + 2.0) + 1, "m", interp="lin") for i in range(number)]
    for axis in axes:
        grid = grid.assign_coords(axis.coords)
    dims = (*[f"a{i}" for i in range(number)], "y", "x")
    shape = [grid.sizes[d] for d in dims]
    array = grid.assign(a=(dims, np.arange(float(np.prod(shape))).reshape(shape), {"units": ""})).a
    write_map(array, tmp_path / "a.fits")
    result = read_map(tmp_path / "a.fits")
    assert result.dims == dims
    np.testing.assert_array_equal(result, array)
    for i in range(number):
        np.testing.assert_array_equal(result[f"a{i}_min"], array[f"a{i}_min"])


def test_six_axes_are_one_too_many(tmp_path):
    axes = [bin_axis(f"a{i}", [0.0], [1.0], "", interp="lin") for i in range(6)]
    with pytest.raises(ValueError, match="at most 5"):
        bands_hdu(axes, "B")


@pytest.mark.parametrize("order", ["first axis fastest", "numpy meshgrid"])
def test_rows_of_three_axes_in_both_orders(order):
    a, b, c = np.array([3.0, 1.0]), np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0])
    if order == "numpy meshgrid":
        columns = [v.ravel() for v in np.meshgrid(a, b, c)]
    else:
        columns = [v.ravel() for v in np.meshgrid(c, b, a, indexing="ij")[::-1]]
    hdu = table("BANDS", A=(columns[0], ""), B=(columns[1], ""), C=(columns[2], ""))
    header = {"AXCOLS1": "A", "AXCOLS2": "B", "AXCOLS3": "C"}
    with pytest.raises(ValueError, match="edges of axis 'a' must ascend"):
        bands_axes(hdu, header, (2, 3, 2), "file")
    hdu.data["A"] *= -1
    axes = bands_axes(hdu, header, (2, 3, 2), "file")
    for axis, values in zip(axes, (-a, b, c), strict=True):
        np.testing.assert_array_equal(axis.values, values)


def test_nodes_that_differ_by_a_rounding_stay_one(tmp_path):
    energy = np.repeat(np.array([1.0, 2.0], "f4"), 3) * (1 + 1e-7 * np.arange(6) % 3)
    offset = np.tile([0.0, 1.0, 2.0], 2)
    hdu = table("SKYMAP_BANDS", OFFSET=(offset, "deg"), ENERGY_TRUE=(energy, "GeV"))
    offset_axis, energy_axis_ = bands_axes(hdu, {"AXCOLS1": "OFFSET", "AXCOLS2": "ENERGY_TRUE"}, None, "file")
    np.testing.assert_allclose(energy_axis_.values, [0.001, 0.002], rtol=1e-6)
    assert energy_axis_.units == "TeV"
    assert offset_axis.sizes == {"offset": 3}


def test_text_labels_keep_their_planes(tmp_path):
    hdu = table("PRIMARY_BANDS", LAB=(np.array(["b", "a"]), None))
    save(tmp_path / "a.fits", image(np.array([np.ones((2, 3)), np.zeros((2, 3))]), AXCOLS1="LAB"), hdu)
    result = read_map(tmp_path / "a.fits")
    assert result.sel(lab="b").values.sum() == 6
    write_map(result, tmp_path / "b.fits")
    # sorted in the file, for readers that sort the labels but not the planes
    assert fits.getdata(tmp_path / "b.fits", 1)["LAB"].tolist() == ["a", "b"]
    assert read_map(tmp_path / "b.fits").sel(lab="b").values.sum() == 6


def test_time_axis_counts_from_j2000(tmp_path):
    days = np.array([0.0, 10.0]), np.array([5.0, 15.0])
    hdu = table("PRIMARY_BANDS", TIME=(days[0] + 2.5, "d"), TIME_MIN=(days[0], "d"), TIME_MAX=(days[1], "d"))
    hdu.header.update({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "utc"})
    save(tmp_path / "a.fits", image(np.zeros((2, 2, 3)), AXCOLS1="TIME_MIN,TIME_MAX"), hdu)
    result = read_map(tmp_path / "a.fits")
    # TT - UTC was 64.184 s
    np.testing.assert_allclose(result.time_min, days[0] * 86400 + 64.184, atol=1e-6)
    write_map(result, tmp_path / "b.fits")
    np.testing.assert_allclose(read_map(tmp_path / "b.fits").time_max, result.time_max, atol=1e-6)


def test_times_of_any_system():
    assert reference_seconds({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "tt"}) == 0
    assert reference_seconds({"MJDREF": 51544.5}) == 0
    assert reference_seconds({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TAI"}) == pytest.approx(32.184, abs=1e-6)
    assert reference_seconds({"MJDREFI": 55197, "MJDREFF": 0, "TIMESYS": "utc"}) == pytest.approx(
        3652.5 * 86400 + 66.184, abs=1e-5
    )
    with pytest.raises(ValueError, match="not a known time system"):
        reference_seconds({"MJDREFI": 51544, "TIMESYS": "local"})
    with pytest.raises(ValueError, match="no reference"):
        reference_seconds({})


@pytest.mark.parametrize("cards", [{"AXCOLS1": "ENERGY_MIN,ENERGY_MAX"}, {"AXCOLS1": "E_MIN,E_MAX"}, {}])
def test_spellings_of_the_energy_columns(cards, tmp_path):
    names = ("ENERGY_MIN", "ENERGY_MAX") if "ENERGY_MIN" in cards.get("AXCOLS1", "") else ("E_MIN", "E_MAX")
    hdu = table("BANDS", **{names[0]: (np.array([1.0, 2.0]), "GeV"), names[1]: (np.array([2.0, 4.0]), "GeV")})
    hdu.name = "EBOUNDS"
    save(tmp_path / "a.fits", image(np.zeros((2, 2, 3)), UNIT="counts", **cards), hdu)
    result = read_map(tmp_path / "a.fits")
    np.testing.assert_allclose(result.energy_max, [0.002, 0.004])
    assert result.units == ""


def test_fermi_tables_state_no_unit(tmp_path):
    energies = table("ENERGIES", Energy=(np.array([1e3, 1e4]), None))
    gti = table("GTI", START=(np.zeros(1), "s"), STOP=(np.ones(1), "s"))
    save(tmp_path / "template.fits", image(np.zeros((2, 2, 3))), energies)
    save(tmp_path / "exposure.fits", image(np.zeros((2, 2, 3))), energies, gti)
    template, exposure = (read_map(tmp_path / f"{n}.fits") for n in ("template", "exposure"))
    assert template.units == "cm-2 s-1 MeV-1 sr-1"
    assert exposure.units == "cm2 s"
    assert exposure.dims == ("energy_true", "y", "x")
    np.testing.assert_allclose(exposure.energy_true, [1e-3, 1e-2])
    np.testing.assert_array_equal(exposure.energy_true_min, exposure.energy_true_max)


def test_theta_is_rad_and_in_degrees(tmp_path):
    hdu = table("PRIMARY_BANDS", THETA=(np.array([0.0, 0.1]), "rad"))
    save(tmp_path / "a.fits", image(np.zeros((2, 2, 3)), AXCOLS1="THETA"), hdu)
    np.testing.assert_allclose(read_map(tmp_path / "a.fits").rad, [0, np.degrees(0.1)])


def test_integers_old_radecsys_and_other_cards_make_the_same_grid(tmp_path):
    plain = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    save(
        tmp_path / "a.fits", image(np.arange(6, dtype=np.int16).reshape(2, 3), RADECSYS="FK5", EQUINOX=2000.0, **plain)
    )
    save(tmp_path / "b.fits", image(np.ones((2, 3), "f4"), RADESYS="FK5", EQUINOX=2000.0, MJDREF=0.0, **plain))
    first, second = (read_map(tmp_path / f"{n}.fits") for n in "ab")
    assert first.dtype == np.float64
    np.testing.assert_array_equal((first * second).values, np.arange(6.0).reshape(2, 3))
    save(tmp_path / "c.fits", image(np.ones((2, 3)), EQUINOX=2000.0, RADESYS="FK5"))
    save(tmp_path / "d.fits", image(np.ones((2, 3))))
    assert grid_of(read_map(tmp_path / "c.fits")) == grid_of(read_map(tmp_path / "d.fits"))


def test_sparse_maps(tmp_path):
    bands = table("SKYMAP_BANDS", ENERGY=(np.array([1.0, 2.0]), "TeV"))
    columns = {"PIX": [1, 5, 2], "CHANNEL": [0, 1, 1], "VALUE": [3.0, 7.0, 0.5]}
    pixels = table("SKYMAP", **{n: (np.array(v), None) for n, v in columns.items()})
    pixels.header.update({**WCS_CARDS, "WCSSHAPE": "(3,2,2)", "AXCOLS1": "ENERGY", "BANDSHDU": "SKYMAP_BANDS"})
    save(tmp_path / "a.fits", fits.PrimaryHDU(), pixels, bands)
    expected = np.zeros((2, 2, 3))
    expected[0, 0, 1], expected[1, 1, 2], expected[1, 0, 2] = 3, 7, 0.5
    np.testing.assert_array_equal(read_map(tmp_path / "a.fits"), expected)
    pixels.data["PIX"][0] = 600
    save(tmp_path / "b.fits", fits.PrimaryHDU(), pixels, bands)
    with pytest.raises(ValueError, match="beyond the map"):
        read_map(tmp_path / "b.fits")


def test_text_of_headers_is_never_evaluated(tmp_path):
    evil = "__import__('os').system('touch evil')"
    save(tmp_path / "a.fits", image(np.zeros((2, 3)), WCSSHAPE=evil))
    with pytest.raises(ValueError, match="WCSSHAPE"):
        read_map(tmp_path / "a.fits")
    save(tmp_path / "b.fits", image(np.zeros((2, 3)), META=evil))
    with pytest.raises(ValueError, match="META card is not JSON"):
        read_map(tmp_path / "b.fits")
    save(tmp_path / "c.fits", image(np.zeros((2, 3)), META='{"livetime": "1.0 h"}', WCSSHAPE="(3, 2)"))
    assert read_map(tmp_path / "c.fits").attrs["meta"] == {"livetime": "1.0 h"}


def test_choice_of_the_hdu(cube, tmp_path):
    first = fits.ImageHDU(np.zeros((2, 3)), fits.Header(WCS_CARDS), name="TS")
    second = fits.ImageHDU(np.ones((2, 3)), fits.Header(WCS_CARDS), name="SQRT_TS")
    path = save(tmp_path / "a.fits", fits.PrimaryHDU(), first, second)
    with pytest.raises(ValueError, match=r"several maps \(TS, SQRT_TS\)"):
        read_map(path)
    assert read_map(path, "sqrt_ts").sum() == 6
    assert read_map(path, 1).name == "ts"
    with pytest.raises(ValueError, match="no HDU 'FLUX'"):
        read_map(path, "FLUX")
    with pytest.raises(ValueError, match="not a sky map"):
        read_map(path, 0)
    assert set(open_cube(path).data_vars) == {"ts", "sqrt_ts"}


def test_degenerate_axis_without_table_is_dropped_others_raise(tmp_path):
    save(tmp_path / "a.fits", image(np.zeros((1, 2, 3))))
    assert read_map(tmp_path / "a.fits").dims == ("y", "x")
    save(tmp_path / "b.fits", image(np.zeros((2, 2, 3))))
    with pytest.raises(ValueError, match="no table tells its axes"):
        read_map(tmp_path / "b.fits")


BAD = {
    "planes that differ": (
        {"NPIX": (np.full(2, 3.0), None)},
        {"AXCOLS1": "E_MIN,E_MAX"},
        r"planes of different pixel size",
    ),
    "missing column": ({}, {"AXCOLS1": "FOO_MIN,FOO_MAX"}, "AXCOLS names"),
    "missing table": ({}, {"BANDSHDU": "NOWHERE"}, "BANDSHDU names 'NOWHERE'"),
    "rows": ({}, {"AXCOLS1": "E_MIN,E_MAX", "rows": 3}, "2 rows, but the map has"),
}


@pytest.mark.parametrize("case", BAD)
def test_faulty_axis_tables(case, tmp_path):
    extra, cards, match = BAD[case]
    cards = dict(cards)
    rows = cards.pop("rows", 2)
    hdu = table("PRIMARY_BANDS", E_MIN=(np.array([1.0, 2.0]), "TeV"), E_MAX=(np.array([2.0, 4.0]), "TeV"), **extra)
    save(tmp_path / "a.fits", image(np.zeros((rows, 2, 3)), **cards), hdu)
    with pytest.raises(ValueError, match=match):
        read_map(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("unit", "match"), [(None, "has no unit"), ("m", "has unit 'm'"), ("smurf", "has unit 'smurf'")]
)
def test_energies_need_a_unit(unit, match, tmp_path):
    hdu = table("PRIMARY_BANDS", E_MIN=(np.array([1.0]), unit), E_MAX=(np.array([2.0]), unit))
    save(tmp_path / "a.fits", image(np.zeros((1, 2, 3)), AXCOLS1="E_MIN,E_MAX"), hdu)
    with pytest.raises(ValueError, match=match):
        read_map(tmp_path / "a.fits")


def test_files_that_are_no_maps(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_map(tmp_path / "a.fits")
    (tmp_path / "text.fits").write_text("hello")
    with pytest.raises(OSError, match="not a FITS file"):
        read_map(tmp_path / "text.fits")
    save(tmp_path / "whole.fits", image(np.zeros((20, 30))))
    (tmp_path / "cut.fits").write_bytes((tmp_path / "whole.fits").read_bytes()[:4000])
    with pytest.raises(OSError, match="truncated"):
        read_map(tmp_path / "cut.fits")
    save(tmp_path / "empty.fits", fits.PrimaryHDU())
    with pytest.raises(ValueError, match="holds no sky map"):
        read_map(tmp_path / "empty.fits")
    healpix = table("SKYMAP", CHANNEL1=(np.zeros(12), None))
    healpix.header["PIXTYPE"] = "HEALPIX"
    save(tmp_path / "hpx.fits", fits.PrimaryHDU(), healpix)
    with pytest.raises(ValueError, match="HEALPix"):
        read_map(tmp_path / "hpx.fits")
    save(tmp_path / "bad.fits", image(np.zeros((2, 3)), CTYPE1="GLON-XYZ", CTYPE2="GLAT-XYZ"))
    with pytest.raises(ValueError, match="WCS is not usable"):
        read_map(tmp_path / "bad.fits")


def test_axes_that_fits_cannot_hold(cube, tmp_path):
    wide = energy_axis(edges=["1 TeV", "2 TeV", "3 TeV", "4 TeV"])
    grid = sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.5 deg", energy=wide)
    array = grid.assign(a=(("energy", "y", "x"), np.zeros((3, 2, 2)))).a.isel(energy=[0, 2])
    with pytest.raises(ValueError, match="gaps"):
        write_map(array, tmp_path / "a.fits")
    with pytest.raises(ValueError, match="not a sky map"):
        write_map(cube.counts.isel(y=0), tmp_path / "a.fits")
    with pytest.raises(ValueError, match="dimension 'k' has no bins"):
        write_map(cube.counts.isel(energy=0).expand_dims(k=2), tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


REAL = {
    # gammapy 2.1: Map.read(path): shape, unit, data.sum(dtype=float), centre of the last bin or node in TeV
    "fermi-3fhl-gc/fermi-3fhl-gc-counts-cube.fits.gz": ((11, 200, 400), "", 32684.0, 0.4185468575918362),
    "fermi-3fhl-gc/fermi-3fhl-gc-background-cube.fits.gz": ((11, 200, 400), "", 28548.632302860686, 0.4185468575918362),
    "fermi-3fhl-gc/fermi-3fhl-gc-exposure-cube.fits.gz": ((12, 200, 400), "cm2 s", 3.129498700654838e17, 0.5),
    "fermi-3fhl-gc/fermi-3fhl-gc-exposure.fits.gz": ((200, 400), "", 2.5845251420422144e16, None),
    "fermi-3fhl-gc/fermi-3fhl-gc-psf.fits.gz": ((21, 21), "", 0.9999999994397513, None),
    "fermi-3fhl-gc/gll_iem_v06_gc.fits.gz": ((30, 64, 120), "cm-2 s-1 MeV-1 sr-1", 0.11803847221522712, 0.51305615625),
    "fermi-3fhl-crab/Fermi-LAT-3FHL_iem.fits": ((30, 32, 40), "cm-2 MeV-1 s-1 sr-1", 0.0028615277679313, 0.51305615625),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_maps(name, gammapy_data):
    shape, units, total, last = REAL[name]
    result = read_map(gammapy_data / name)
    assert result.shape == shape
    assert result.units == units
    assert float(result.sum()) == pytest.approx(total, rel=1e-12)
    if last is not None:
        assert float(result[result.dims[0]][-1]) == pytest.approx(last, rel=1e-7)
    assert isinstance(result.xindexes["lon"], SkyIndex)
    (layout,) = find_maps(gammapy_data / name)
    np.testing.assert_array_equal(load_map(layout), result)
