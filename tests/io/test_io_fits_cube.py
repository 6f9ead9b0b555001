"""Cubes in gammapy's dataset files: round trips, real files, and files that contradict themselves."""

from __future__ import annotations

import pickle

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import BinIndex, energy_axis
from xgamma.coords.sky import SkyIndex, grid_of
from xgamma.io.cube import open_cube, to_zarr
from xgamma.io.fits_write import to_fits


def raising(dsk, keys, **kwargs):
    msg = "something was computed"
    raise AssertionError(msg)


def no_labels(dataset):
    """Without the labels that FITS has no place for."""
    dataset = dataset.copy()
    for variable in dataset.variables.values():
        variable.attrs.pop("long_name", None)
    return dataset


def change(path, edit):
    """Rewrite a FITS file after `edit` has changed its HDUs."""
    with fits.open(path, memmap=False) as hdus:
        copies = fits.HDUList([h.copy() for h in hdus])
    edit(copies)
    copies.writeto(path, overwrite=True)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@pytest.mark.parametrize("kind", ["cube", "onoff"])
def test_round_trip(kind, suffix, request, tmp_path):
    cube = request.getfixturevalue(kind)
    (path,) = to_fits(cube.assign_coords(obs="23523"), tmp_path / f"a{suffix}")
    assert path.name == f"a{suffix}"
    with dask.config.set(scheduler=raising):
        result = open_cube(path, drop_variables="irf_exposure")
        assert result.psf.chunks is not None
    result = open_cube(path).compute()
    xr.testing.assert_allclose(result.drop_vars("obs"), cube, rtol=1e-15)
    for name in cube.data_vars:
        assert result[name].dims == cube[name].dims
        assert result[name].dtype.isnative
        assert result[name].attrs["units"] == cube[name].attrs["units"]
    for name in ("counts", "mask_safe", "psf", "edisp"):
        np.testing.assert_array_equal(result[name], cube[name])
    assert result.attrs == cube.attrs
    assert result.obs.item() == "23523"
    assert isinstance(result.xindexes["lon"], SkyIndex)
    assert isinstance(result.xindexes["energy"], BinIndex)
    assert grid_of(result, "irf_") == grid_of(cube, "irf_")


def test_lazy_input_equals_input_in_memory(cube, tmp_path):
    to_fits(cube.chunk({"y": 1, "irf_x": 1}), tmp_path / "a.fits")
    xr.testing.assert_allclose(open_cube(tmp_path / "a.fits").compute(), cube, rtol=1e-15)


def test_chunks_on_opening(cube, tmp_path):
    to_fits(cube, tmp_path / "a.fits")
    assert open_cube(tmp_path / "a.fits", chunks={"energy": 1}).counts.chunks[0] == (1, 1)
    assert open_cube(tmp_path / "a.fits", chunks=None).counts.chunks is None
    result = open_cube(tmp_path / "a.fits")
    assert len(pickle.dumps(result.counts.data.dask)) < 20_000


def test_runs_make_a_file_each(runs, tmp_path):
    with pytest.raises(ValueError, match=r"dimension 'obs' \(3\).*cube_\{obs\}\.fits"):
        to_fits(runs, tmp_path / "a.fits")
    paths = to_fits(runs, tmp_path / "run_{obs}.fits")
    assert [p.name for p in paths] == ["run_a.fits", "run_bb.fits", "run_ccc.fits"]
    second = open_cube(paths[1]).compute()
    np.testing.assert_array_equal(second.counts, runs.counts.isel(obs=1))
    assert second.obs.item() == "bb"
    # NaN only fills up the table of good times
    np.testing.assert_array_equal(second.gti_start, [3.0])
    with pytest.raises(FileExistsError):
        to_fits(runs, tmp_path / "run_{obs}.fits")


def test_labels_that_are_no_file_names(cube, tmp_path):
    spectra = cube[["counts"]].isel(y=0, x=0, drop=True).drop_vars(["irf_wcs", "wcs"])
    spectra = xr.concat(
        [spectra, 2 * spectra], xr.Variable("region", ["icrs;circle(83.6,22,0.1)", "icrs;circle(83.6,23,0.1)"])
    )
    spectra.counts.attrs["units"] = ""
    paths = to_fits(spectra, tmp_path / "{region}.fits")
    assert all("/" not in p.name and ";" not in p.name for p in paths)
    result = open_cube(paths[1])
    assert result.region.item().startswith("icrs;circle(83.6000000000,23.0")
    np.testing.assert_array_equal(result.counts, spectra.counts.isel(region=1))


def test_responses_without_pixels(cube, tmp_path):
    single = cube.isel(irf_y=0, irf_x=0, drop=True).drop_vars("irf_wcs")
    to_fits(single, tmp_path / "a.fits")
    xr.testing.assert_allclose(open_cube(tmp_path / "a.fits").compute(), single, rtol=1e-15)


def test_energy_migration(cube, tmp_path):
    from xgamma.coords.bins import bin_axis

    axis = bin_axis("migra", [0.2, 0.5, 1.0], [0.5, 1.0, 3.0], "", interp="lin")
    values = np.random.default_rng(1).random((3, 3, 2, 3))
    wide = cube.drop_vars("edisp").assign_coords(axis.coords)
    wide = wide.assign(edisp=(("energy_true", "migra", "irf_y", "irf_x"), values, {"units": ""}))
    to_fits(wide, tmp_path / "a.fits")
    result = open_cube(tmp_path / "a.fits").compute()
    xr.testing.assert_allclose(result, wide, rtol=1e-15)
    assert result.edisp.dims == ("energy_true", "migra", "irf_y", "irf_x")


@pytest.mark.parametrize("dim", ["energy", "energy_true"])
def test_a_selected_bin_becomes_an_axis_of_one_bin(dim, cube, tmp_path):
    to_fits(cube.isel({dim: 1}), tmp_path / "a.fits")
    xr.testing.assert_allclose(open_cube(tmp_path / "a.fits").compute(), cube.isel({dim: [1]}), rtol=1e-15)


def test_results_of_estimators_keep_their_names(cube, tmp_path):
    maps = (
        cube[["counts"]]
        .rename(counts="sqrt_ts")
        .assign(
            flux=(("energy", "y", "x"), np.ones((2, 4, 5)), {"units": "cm-2 s-1"}),
            is_ul=cube.mask_safe,
            norm=((), 2.0, {"units": ""}),
        )
    )
    to_fits(maps, tmp_path / "a.fits")
    result = open_cube(tmp_path / "a.fits").compute()
    assert result.flux.units == "cm-2 s-1"
    assert result.is_ul.dtype == bool
    assert result.norm.item() == 2
    np.testing.assert_array_equal(result.sqrt_ts, cube.counts)
    to_fits(cube.counts.isel(energy=0, drop=True).rename("image"), tmp_path / "b.fits")
    assert open_cube(tmp_path / "b.fits").image.dims == ("y", "x")


def test_missing_variables_and_exposure_alone(cube, tmp_path):
    for names in (
        ["counts"],
        ["exposure", "irf_exposure"],
        ["psf"],
        ["edisp", "irf_exposure"],
        ["counts", "gti_start", "gti_stop"],
    ):
        part = cube[names]
        to_fits(part, tmp_path / "a.fits", overwrite=True)
        result = open_cube(tmp_path / "a.fits").compute()
        assert set(result.data_vars) == set(names)
        for name in names:
            np.testing.assert_allclose(result[name], part[name], rtol=1e-15)


def test_conversions_to_the_units_inside(cube, tmp_path):
    to_fits(cube, tmp_path / "a.fits")
    header = fits.getheader(tmp_path / "a.fits", "EXPOSURE")
    assert header["BUNIT"] == "m2 s"
    assert header["META"] == '{"livetime": "1234.5 s", "ontime": "1300.0 s"}'

    def edit(hdus):
        hdus["EXPOSURE"].header["BUNIT"] = "km2 h"
        hdus["COUNTS"].header["BUNIT"] = "ct"
        hdus["EXPOSURE"].header["META"] = '{"livetime": "2 h", "other": [1]}'
        hdus["GTI"].header["TIMESYS"] = "utc"
        del hdus["XGAMMA"]

    change(tmp_path / "a.fits", edit)
    result = open_cube(tmp_path / "a.fits").compute()
    np.testing.assert_allclose(result.exposure, cube.exposure * 1e6 * 3600, rtol=1e-14)
    assert result.livetime.item() == 7200
    assert result.exposure.attrs["meta"] == {"other": [1]}
    # the reference 2000-01-01T12:00:00 in UTC is 64.184 s later than in TT
    np.testing.assert_allclose(result.gti_start, cube.gti_start + 64.184, atol=1e-5)


def test_old_files_call_true_energy_energy(cube, tmp_path):
    to_fits(cube[["exposure"]], tmp_path / "a.fits")

    def edit(hdus):
        table = hdus["EXPOSURE_BANDS"]
        for old, new in (("ENERGY_TRUE", "ENERGY"), ("ENERGY_TRUE_MIN", "E_MIN"), ("ENERGY_TRUE_MAX", "E_MAX")):
            table.columns.change_name(old, new)
        for hdu in (table, hdus["EXPOSURE"]):
            hdu.header["AXCOLS1"] = "E_MIN,E_MAX"

    change(tmp_path / "a.fits", edit)
    assert open_cube(tmp_path / "a.fits").exposure.dims == ("energy_true", "y", "x")


def test_two_exposures_of_responses(cube, tmp_path):
    both = cube.assign(psf_exposure=2 * cube.irf_exposure)
    both.psf_exposure.attrs["units"] = "cm2 s"
    to_fits(both, tmp_path / "a.fits")
    result = open_cube(tmp_path / "a.fits").compute()
    np.testing.assert_allclose(result.psf_exposure, both.psf_exposure, rtol=1e-15)
    np.testing.assert_allclose(result.irf_exposure, cube.irf_exposure, rtol=1e-15)
    assert "psf_exposure" not in open_cube(tmp_path / "a.fits", drop_variables=["psf_exposure"])


def test_psf_with_energies_of_its_own(cube, tmp_path):
    axis = energy_axis("1 TeV", "30 TeV", 4, name="psf_energy_true")
    values = np.random.default_rng(0).random((4, 66))
    other = cube.drop_vars("psf").assign_coords(axis.coords)
    other = other.assign(
        psf=(("psf_energy_true", "rad"), values, {"units": "sr-1"}),
        psf_exposure=("psf_energy_true", np.arange(4.0), {"units": "cm2 s"}),
    )
    to_fits(other, tmp_path / "a.fits")
    result = open_cube(tmp_path / "a.fits").compute()
    xr.testing.assert_allclose(result, other, rtol=1e-14)


def test_halves_of_the_sky(cube, tmp_path):
    to_fits(cube[["counts", "psf"]], tmp_path / "a.fits")
    cards = {
        "CTYPE1": "RA---CAR",
        "CTYPE2": "DEC--CAR",
        "CRPIX1": 1.5,
        "CRPIX2": 1.0,
        "CDELT1": -180.0,
        "CDELT2": 180.0,
    }

    def edit(value):
        def inner(hdus):
            header = hdus["PSF"].header
            header.update(
                {**cards, "CRVAL1": 0.0, "CRVAL2": 0.0, "LATPOLE": 90.0, "LONPOLE": 0.0, "WCSSHAPE": "(2,1,66,3)"}
            )
            data = np.ones((3, 66, 1, 2))
            data[2, 3, 0, 1] = value
            hdus["PSF"].data = data

        return inner

    change(tmp_path / "a.fits", edit(1.0))
    result = open_cube(tmp_path / "a.fits")
    assert result.psf.dims == ("energy_true", "rad")
    assert result.psf.sum() == 3 * 66
    change(tmp_path / "a.fits", edit(2.0))
    with pytest.raises(ValueError, match="halves of the sky differ"):
        open_cube(tmp_path / "a.fits").psf.compute()


FAULTS = {
    "another grid": ("BACKGROUND", {"CRVAL1": 84.0}, r"BACKGROUND is on another sky grid.*drop_variables='background'"),
    "no unit": ("EXPOSURE", {"BUNIT": ""}, r"exposure has no unit \(BUNIT\)"),
    "wrong unit": ("EXPOSURE", {"BUNIT": "m2"}, "exposure has unit 'm2'"),
    "unit of a psf": ("PSF", {"BUNIT": "m"}, "psf has unit 'm'"),
    "livetime": ("EXPOSURE", {"META": '{"livetime": "2 m"}'}, "livetime='2 m', which is not a time"),
    "shape": ("COUNTS", {"WCSSHAPE": "(1,2,3)"}, "does not fit the array"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_files_that_contradict_themselves(case, cube, tmp_path):
    hdu, cards, match = FAULTS[case]
    to_fits(cube.drop_vars("livetime"), tmp_path / "a.fits")
    change(tmp_path / "a.fits", lambda hdus: hdus[hdu].header.update(cards))
    with pytest.raises(ValueError, match=match):
        open_cube(tmp_path / "a.fits")


def test_axes_that_differ(cube, tmp_path):
    to_fits(cube, tmp_path / "a.fits")

    def edit(hdus):
        hdus["BACKGROUND_BANDS"].data["E_MAX"][-1] *= 2

    change(tmp_path / "a.fits", edit)
    with pytest.raises(ValueError, match=r"axis 'energy' of BACKGROUND differs from that of COUNTS.*read_map"):
        open_cube(tmp_path / "a.fits")
    assert "background" not in open_cube(tmp_path / "a.fits", drop_variables="background")


def test_gti_needs_a_reference(cube, tmp_path):
    to_fits(cube, tmp_path / "a.fits")

    def edit(hdus):
        del hdus["GTI"].header["MJDREFI"]

    change(tmp_path / "a.fits", edit)
    with pytest.raises(ValueError, match="HDU GTI: the header has no MJDREFI"):
        open_cube(tmp_path / "a.fits")


def test_cubes_that_have_no_place_in_the_file(cube, tmp_path):
    cases = {
        "has no attrs": cube.assign(exposure=cube.exposure.drop_attrs(deep=False)),
        "cannot be converted": cube.assign(psf=cube.psf.assign_attrs(units="m")),
        "holds numbers": cube.assign(text=(("y", "x"), np.full((4, 5), "a"))),
        "FITS needs rad": cube.isel(rad=0, drop=True),
        "every 2th pixel": cube.isel(x=slice(None, None, 2)),
        "cannot be written": cube.assign_attrs(provenance={"x": object()}),
    }
    for match, bad in cases.items():
        with pytest.raises((ValueError, TypeError), match=match):
            to_fits(bad, tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def test_truncated_file(cube, tmp_path):
    to_fits(cube, tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:15_000])
    with pytest.raises(OSError, match="truncated"):
        open_cube(tmp_path / "b.fits")


def test_error_while_computing_leaves_the_old_file(cube, tmp_path):
    to_fits(cube, tmp_path / "a.fits")
    lazy = cube[["counts"]].chunk()
    lazy["counts"] = lazy.counts.copy(
        data=lazy.counts.data.map_blocks(lambda b: 1 / 0, dtype=float, meta=np.empty((0, 0, 0)))
    )
    with pytest.raises(ZeroDivisionError):
        to_fits(lazy, tmp_path / "a.fits", overwrite=True)
    assert [f.name for f in tmp_path.iterdir()] == ["a.fits"]
    assert "psf" in open_cube(tmp_path / "a.fits")


# gammapy 2.1: MapDataset.read(path): shape, data.sum(dtype=float), data[2, 15, 20] or data[2, 0, 0, 0],
# first and last energy in TeV
GC = {
    "counts": ((11, 200, 400), 32684.0, 0.0, 0.011946093503735855, 0.4185468575918362),
    "exposure": ((12, 200, 400), 3.129498700654838e17, 314635485184.0, 0.01, 0.5),
    "background": ((11, 200, 400), 28548.632302860686, 0.013317113742232323, 0.011946093503735855, 0.4185468575918362),
    "mask_safe": ((11, 200, 400), 633600.0, 0.0, 0.011946093503735855, 0.4185468575918362),
    "psf": ((11, 130), 79405057.5302237, 277308.7008471652, 0.01, 0.5),
    "psf_exposure": ((11,), 3587072563694.789, 321069629603.109, 0.01, 0.5),
    "edisp": ((12, 11), 11.000000029802322, 0.0, 0.01, 0.5),
    "irf_exposure": ((12,), 0.0, 0.0, 0.01, 0.5),
}
CRAB = {
    "counts": ((5, 40, 50), 3004.0, 0.0, 0.01698646, 1.1774080498140425),
    "exposure": ((5, 40, 50), 2916306127242266.5, 305492026262.2163, 0.01698646, 1.1774080498140425),
    "background": ((5, 40, 50), 318.2737310405732, 0.004800456051215927, 0.01698646, 1.1774080498140425),
    "mask_safe": ((5, 40, 50), 8280.0, 1.0, 0.01698646, 1.1774080498140425),
    # two equal halves of the sky in the file
    "psf": ((17, 300), 277802307.8506923 / 2, 250878.4893519475, 0.01, 2.0),
    "psf_exposure": ((17,), 10538922246144.0 / 2, 320188514304.0, 0.01, 2.0),
    "edisp": ((5, 5, 20, 25), 2500.0, 0.0, 0.01698646, 1.1774080498140425),
    "irf_exposure": ((5, 20, 25), 0.0, 0.0, 0.01698646, 1.1774080498140425),
}
REAL = {"fermi-3fhl-gc/fermi-3fhl-gc.fits.gz": GC, "fermi-3fhl-crab/Fermi-LAT-3FHL_data_Fermi-LAT.fits": CRAB}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_datasets(name, gammapy_data, tmp_path):
    cube = open_cube(gammapy_data / name).compute()
    for key, (shape, total, one, first, last) in REAL[name].items():
        array = cube[key]
        assert array.shape == shape, key
        assert float(array.sum()) == pytest.approx(total, rel=1e-12), key
        place = dict.fromkeys(array.dims[1:], 0)
        if array.dims[-2:] == ("y", "x"):
            place = {"y": 15, "x": 20}
        assert float(array.isel({array.dims[0]: 2, **place})) == pytest.approx(one, rel=1e-12), key
        axis = array[array.dims[0]]
        assert float(axis[0]) == pytest.approx(first, rel=1e-6), key
        assert float(axis[-1]) == pytest.approx(last, rel=1e-6), key
    assert cube.exposure.units == "cm2 s"
    # node axes stay nodes
    np.testing.assert_array_equal(cube.psf_energy_true_min, cube.psf_energy_true_max)
    np.testing.assert_array_equal(cube.rad_min, cube.rad)
    # and all of it goes to our own form and back
    to_fits(cube, tmp_path / "a.fits")
    xr.testing.assert_allclose(open_cube(tmp_path / "a.fits").compute(), cube, rtol=1e-12)
    to_zarr(cube, tmp_path / "a.zarr")
    xr.testing.assert_identical(open_cube(tmp_path / "a.zarr").compute(), cube)
