"""Spectra written as OGIP files and read again."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xgamma.coords.bins import energy_axis
from xgamma.io.exact import invert
from xgamma.io.ogip import read_ogip
from xgamma.io.ogip_matrix import pack_matrix, unpack_matrix
from xgamma.io.ogip_write import to_ogip

OFF = "icrs;circle(83.9,21.9,0.11)\nicrs;ellipse(84.0,21.8,0.11,0.05,30)"


def make_spectrum(seed: int = 1, energies: int = 9, true: int = 15, onoff: bool = True) -> xr.Dataset:
    """One run: dims (energy,), with all that reduce gives."""
    rng = np.random.default_rng(seed)
    axes = (
        energy_axis("0.1 TeV", "40 TeV", nbin=energies),
        energy_axis("0.05 TeV", "100 TeV", nbin=true, name="energy_true"),
    )
    cube = xr.Dataset(coords=axes[0].coords).assign_coords(axes[1].coords)
    cube["counts"] = "energy", rng.poisson(3, energies).astype(float), {"units": "", "long_name": "Counts"}
    cube["mask_safe"] = "energy", rng.random(energies) > 0.3, {"units": ""}
    cube["exposure"] = "energy_true", 1e12 * rng.random(true), {"units": "cm2 s"}
    edisp = rng.random((true, energies)) * (rng.random((true, energies)) > 0.4)
    cube["edisp"] = ("energy_true", "energy"), edisp / np.maximum(edisp.sum(1, keepdims=True), 1e-9), {"units": ""}
    cube["livetime"] = (), 1581.7367584109306, {"units": "s"}
    cube["ontime"] = (), 1687.25, {"units": "s", "long_name": "Ontime"}
    cube["pointing_lon"] = (), 83.63 + 1e-13, {"units": "deg"}
    cube["pointing_lat"] = (), 22.51, {"units": "deg"}
    cube["gti_start"] = "gti", [1e8, 1e8 + 500.1], {"units": "s", "long_name": "Start of good time, since J2000.0 (TT)"}
    cube["gti_stop"] = "gti", [1e8 + 400.3, 1e8 + 900], {"units": "s", "long_name": "Stop"}
    if onoff:
        cube["counts_off"] = "energy", rng.poisson(9, energies).astype(float), {"units": ""}
        cube["acceptance"] = "energy", 0.5 + rng.random(energies), {"units": ""}
        cube["acceptance_off"] = "energy", 5 * rng.random(energies), {"units": ""}
        cube["background"] = cube.acceptance / cube.acceptance_off * cube.counts_off
        cube["background"].attrs = {"units": "", "long_name": "Background"}
    cube = cube.assign_coords(
        region="icrs;circle(83.63,22.01,0.11)",
        region_lon=((), 83.63, {"units": "deg"}),
        region_lat=((), 22.01, {"units": "deg"}),
        off_regions=OFF,
        n_off_regions=2,
    )
    cube.attrs = {"provenance": {"inputs": ["a.fits", None], "seed": seed}, "telescope": "HESS"}
    return cube


def test_good_times_stay_padded(tmp_path):
    cube = make_spectrum().drop_vars(["gti_start", "gti_stop"])
    for times in ([1e8, np.nan, np.nan], [np.nan, np.nan], [np.nan, 1e8, np.nan, 2e8]):
        padded = cube.assign(gti_start=("gti", times, {"units": "s"}), gti_stop=("gti", times, {"units": "s"}))
        to_ogip(padded, tmp_path / "a.fits", overwrite=True)
        xr.testing.assert_identical(read_ogip(tmp_path / "a.fits"), padded)


def make_runs() -> xr.Dataset:
    """Three runs, not in the order of their numbers, with good times of different number."""
    parts = [make_spectrum(k).assign_coords(obs=k) for k in (7, 30, 12)]
    for i, part in enumerate(parts):
        part.attrs = parts[0].attrs
        part["gti_start"][i:] = np.nan if i == 1 else part.gti_start[i:]
        part["gti_stop"][i:] = np.nan if i == 1 else part.gti_stop[i:]
        part["off_regions"] = OFF if i else ""
    shared = ("region", "region_lon", "region_lat")
    runs = xr.concat([p.drop_vars(shared) for p in parts], "obs", coords="different", compat="equals")
    return runs.assign_coords({n: parts[0][n].variable for n in shared})


def test_one_spectrum_comes_back_identical(tmp_path):
    cube = make_spectrum()
    assert to_ogip(cube, tmp_path / "crab.fits") == [tmp_path / "crab.fits"]
    names = ["crab.fits", "crab_arf.fits", "crab_bkg.fits", "crab_rmf.fits"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    xr.testing.assert_identical(read_ogip(tmp_path / "crab.fits"), cube)


@pytest.mark.parametrize("unit", ["keV", "TeV", "erg"])
def test_runs_come_back_identical_in_any_unit(tmp_path, unit):
    runs = make_runs()
    paths = to_ogip(runs, tmp_path / "spectra", energy_unit=unit)
    assert [p.name for p in paths] == ["pha_obs7.fits", "pha_obs30.fits", "pha_obs12.fits"]
    xr.testing.assert_identical(read_ogip(tmp_path / "spectra"), runs)
    # a list is kept in its order, and one file has no dimension obs
    some = read_ogip([paths[2], str(paths[0])])
    assert some.obs.values.tolist() == [12, 7]
    xr.testing.assert_identical(read_ogip(paths[1]).counts, runs.isel(obs=1).counts)


def test_lazy_runs_are_written_as_they_are(tmp_path):
    runs = make_runs()
    to_ogip(runs.chunk({"obs": 1}), tmp_path / "spectra")
    xr.testing.assert_identical(read_ogip(tmp_path / "spectra"), runs)


def test_regions_are_files_of_their_own(tmp_path):
    runs = make_runs().drop_vars(["region", "region_lon", "region_lat"])
    regions = xr.Variable("region", ["icrs;circle(83.63,22.01,0.1)", "icrs;circle(83.63,22.51,0.1)"])
    both = xr.concat([runs, runs * 1], regions, coords="minimal", compat="override").transpose("obs", "region", ...)
    both["mask_safe"] = both.mask_safe.astype(bool)
    both["counts"][:, 1] += 1
    both["background"] = both.acceptance / both.acceptance_off * both.counts_off
    to_ogip(both, tmp_path / "s")
    assert (tmp_path / "s" / "pha_obs12_region1_bkg.fits").is_file()
    back = read_ogip(tmp_path / "s")
    assert back.counts.dims == ("obs", "region", "energy")
    for name in ("counts", "exposure", "edisp", "mask_safe", "background", "livetime", "region", "off_regions"):
        xr.testing.assert_equal(back[name].variable, both[name].variable)


def test_names_with_labels_and_gzip(tmp_path):
    runs = make_runs()
    paths = to_ogip(runs, tmp_path / "run_{obs}.fits.gz")
    assert [p.name for p in paths] == ["run_7.fits.gz", "run_30.fits.gz", "run_12.fits.gz"]
    assert (tmp_path / "run_7_arf.fits.gz").read_bytes()[:2] == b"\x1f\x8b"
    xr.testing.assert_identical(read_ogip(tmp_path), runs)
    with pytest.raises(ValueError, match=r"3 spectra along 'obs'.*\{obs\}"):
        to_ogip(runs, tmp_path / "all.fits")
    same = runs.assign_coords(obs=["a b", "a_b", "c"])
    with pytest.raises(ValueError, match=r"two spectra would be written to pha_obsa_b\.fits"):
        to_ogip(same, tmp_path / "s")
    with pytest.raises(ValueError, match="must be ASCII"):
        to_ogip(make_spectrum(), tmp_path / "é.fits")


def test_text_labels(tmp_path):
    runs = make_runs().assign_coords(obs=["crab 1", "é", "x"])
    to_ogip(runs, tmp_path / "s")
    assert sorted(p.name for p in (tmp_path / "s").glob("*_arf*"))[0] == "pha_obs__arf.fits"
    xr.testing.assert_identical(read_ogip(tmp_path / "s"), runs)


def test_what_the_columns_hold(tmp_path):
    cube = make_spectrum()
    to_ogip(cube, tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as pha, fits.open(tmp_path / "a_arf.fits") as arf:
        table = pha["SPECTRUM"]
        assert table.columns["COUNTS"].format == "J"
        assert table.columns["QUALITY"].format == "I"
        np.testing.assert_array_equal(table.data["QUALITY"] == 0, cube.mask_safe)
        np.testing.assert_array_equal(table.data["BACKSCAL"], cube.acceptance)
        header = table.header
        assert (header["HDUCLAS1"], header["HDUCLAS3"], header["POISSERR"]) == ("SPECTRUM", "COUNT", True)
        assert (header["ANCRFILE"], header["RESPFILE"], header["BACKFILE"]) == tuple(
            f"a_{k}.fits" for k in ("arf", "rmf", "bkg")
        )
        assert header["EXPOSURE"] == cube.livetime
        assert header["TELESCOP"] == "HESS"
        assert header["RA_PNT"] == 83.63 + 1e-13
        assert pha["EBOUNDS"].columns["E_MIN"].unit == "keV"
        assert arf["SPECRESP"].columns["SPECRESP"].unit == "cm2"
        np.testing.assert_allclose(arf["SPECRESP"].data["SPECRESP"], cube.exposure / cube.livetime, rtol=1e-15)
        np.testing.assert_allclose(arf["SPECRESP"].data["ENERG_LO"], cube.energy_true_min * 1e9, rtol=1e-15)
    with fits.open(tmp_path / "a_bkg.fits") as bkg:
        assert bkg["SPECTRUM"].header["HDUCLAS2"] == "BKG"
        assert bkg["REGION"].data["SHAPE"].tolist() == ["circle", "ellipse"]
        np.testing.assert_array_equal(bkg["SPECTRUM"].data["BACKSCAL"], cube.acceptance_off)


def test_fractions_are_kept_or_refused(tmp_path):
    cube = make_spectrum()
    cube["counts"] = cube.counts + 0.7
    with pytest.raises(ValueError, match=r"counts is .*not a whole number; pass fractional='keep'"):
        to_ogip(cube, tmp_path / "a.fits", fractional="raise")
    to_ogip(cube, tmp_path / "a.fits")
    xr.testing.assert_identical(read_ogip(tmp_path / "a.fits"), cube)
    with pytest.raises(ValueError, match="fractional='cut' must be"):
        to_ogip(cube, tmp_path / "b.fits", fractional="cut")


def test_further_variables_are_columns(tmp_path):
    cube = make_spectrum()
    cube["mask_fit"] = "energy", cube.mask_safe.values & (cube.energy.values > 1), {"units": ""}
    cube["counts_"] = "energy", np.arange(9), {"long_name": "twin of a column"}
    # a background that is not the scaled off counts
    cube["background"] = cube.background * 1.01
    cube["sub_run"] = (), 3
    cube.attrs["name"] = "crab"
    to_ogip(cube, tmp_path / "a.fits")
    xr.testing.assert_identical(read_ogip(tmp_path / "a.fits"), cube)
    with pytest.warns(UserWarning, match=r"not written.*psf \('energy_true', 'rad'\)"):
        to_ogip(cube.assign(psf=(("energy_true", "rad"), np.zeros((15, 2)))), tmp_path / "b.fits")


def test_an_expected_background_is_no_counts(tmp_path):
    cube = make_spectrum(onoff=False).drop_vars(["off_regions", "n_off_regions"])
    to_ogip(cube, tmp_path / "none.fits")
    assert not (tmp_path / "none_bkg.fits").exists()
    xr.testing.assert_identical(read_ogip(tmp_path / "none.fits"), cube)
    cube["background"] = "energy", np.linspace(0.1, 2.3, 9), {"units": ""}
    to_ogip(cube, tmp_path / "known.fits")
    with fits.open(tmp_path / "known_bkg.fits") as bkg:
        assert bkg["SPECTRUM"].header["POISSERR"] is False
        assert not bkg["SPECTRUM"].data["STAT_ERR"].any()
    xr.testing.assert_identical(read_ogip(tmp_path / "known.fits"), cube)
    # also where the scale is 0
    cube["acceptance"] = "energy", np.arange(9.0), {"units": ""}
    to_ogip(cube, tmp_path / "zero.fits")
    xr.testing.assert_identical(read_ogip(tmp_path / "zero.fits"), cube)


def test_without_energy_dispersion(tmp_path):
    cube = make_spectrum()
    with pytest.raises(ValueError, match="has no edisp, and its bins"):
        to_ogip(cube.drop_vars("edisp"), tmp_path / "a.fits")
    true = energy_axis("0.1 TeV", "40 TeV", nbin=9, name="energy_true")
    bare = cube.drop_dims("energy_true").assign_coords(true.coords)
    bare["exposure"] = "energy_true", np.arange(9.0) * 1e10, {"units": "cm2 s"}
    to_ogip(bare, tmp_path / "a.fits")
    with fits.open(tmp_path / "a_rmf.fits") as rmf:
        assert [row.tolist() for row in rmf["MATRIX"].data["F_CHAN"]] == [[i] for i in range(9)]
    xr.testing.assert_identical(read_ogip(tmp_path / "a.fits"), bare)


def test_linear_axes_and_regions_without_a_row(tmp_path):
    cube = make_spectrum().drop_vars(["energy", "energy_min", "energy_max"])
    axis = energy_axis("1 TeV", "10 TeV", nbin=9, interp="lin")
    cube = cube.assign_coords(axis.coords)
    cube = cube.assign_coords(region="(icrs;circle(83.63,22.01,0.11)) & (icrs;circle(83.6,22.1,0.2))")
    to_ogip(cube, tmp_path / "a.fits")
    xr.testing.assert_identical(read_ogip(tmp_path / "a.fits"), cube)


def test_numbers_of_the_tables_count(tmp_path):
    """Somebody has changed the energies by hand: what xgamma had stored is not what holds."""
    cube = make_spectrum()
    to_ogip(cube, tmp_path / "a.fits")
    for name in ("a.fits", "a_rmf.fits"):
        with fits.open(tmp_path / name, mode="update") as hdus:
            for column in ("E_MIN", "E_MAX"):
                hdus["EBOUNDS"].data[column] *= 1.1
    np.testing.assert_allclose(read_ogip(tmp_path / "a.fits").energy_min, 1.1 * cube.energy_min)


def test_overwriting(tmp_path):
    runs, folder = make_runs(), tmp_path / "s"
    folder.mkdir()
    (folder / "note.txt").write_text("mine")
    to_ogip(runs, folder)
    with pytest.raises(FileExistsError, match="holds spectra already"):
        to_ogip(runs.isel(obs=[0]), folder)
    to_ogip(runs.isel(obs=[0]), folder, overwrite=True)
    # spectra of before are gone, what is not ours stays
    assert sorted(p.name for p in folder.iterdir()) == [
        "note.txt",
        "pha_obs7.fits",
        "pha_obs7_arf.fits",
        "pha_obs7_bkg.fits",
        "pha_obs7_rmf.fits",
    ]
    with pytest.raises(FileExistsError, match=r"pha_obs7\.fits exists"):
        to_ogip(runs.isel(obs=0), folder / "pha_obs7.fits")
    with pytest.raises(NotADirectoryError, match="is a file; give a folder"):
        to_ogip(runs, folder / "note.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        to_ogip(runs, tmp_path / "no" / "folder")


def test_an_error_leaves_nothing(tmp_path):
    runs = make_runs()
    to_ogip(runs, tmp_path / "s")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    broken = runs.copy(deep=True)
    broken["counts"][2, 4] = np.nan
    with pytest.raises(ValueError, match=r"spectrum 12: counts is nan in bin \(4,\)"):
        to_ogip(broken, tmp_path / "s", overwrite=True)
    with pytest.raises(ValueError, match="counts is nan"):
        to_ogip(broken, tmp_path / "new")
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    xr.testing.assert_identical(read_ogip(tmp_path / "s"), runs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.drop_vars("livetime"), "no 'livetime'.*assign it, in s"),
        (lambda c: c.drop_vars("exposure"), "no 'exposure'"),
        (lambda c: c.drop_vars("counts"), "no 'counts'"),
        (lambda c: c.drop_vars(["acceptance", "acceptance_off"]), "no acceptance and no acceptance_off"),
        (lambda c: c.assign(counts=c.counts - 99), "counts is -9.* in bin"),
        (lambda c: c.assign(livetime=c.livetime * np.nan), "livetime is nan s"),
        (lambda c: c.assign(livetime=((), 0.0, {"units": "s"})), "livetime is 0, but exposure is not"),
        (lambda c: c.assign(exposure=c.exposure.assign_attrs(units="TeV")), "'exposure' cannot be written.*TeV"),
        (lambda c: c.assign(edisp=c.edisp * np.inf), "edisp is (nan|inf)"),
        (lambda c: c.expand_dims(x=2, y=2), "has pixels"),
        (lambda c: c.isel(energy=slice(0, 0)), "no bins of 'energy'"),
        (lambda c: c.assign(exposure=c.exposure.expand_dims(time=3)), r"dims \['time'\] beside"),
    ],
)
def test_cubes_that_are_no_spectra(tmp_path, change, words):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=words):
        to_ogip(change(make_spectrum()), tmp_path / "a.fits")
    assert not list(tmp_path.iterdir())


def test_a_map_is_no_cube(tmp_path):
    with pytest.raises(TypeError, match="cube of spectra is needed, not DataArray"):
        to_ogip(make_spectrum().counts, tmp_path / "a.fits")


def test_units_are_converted(tmp_path):
    cube = make_spectrum()
    other = cube.assign(
        exposure=(cube.exposure / 1e4 / 3600).assign_attrs(units="m2 h"),
        livetime=(cube.livetime / 60).assign_attrs(units="min"),
    )
    to_ogip(other, tmp_path / "a.fits")
    back = read_ogip(tmp_path / "a.fits")
    np.testing.assert_allclose(back.exposure, cube.exposure, rtol=1e-14)
    np.testing.assert_allclose(back.livetime, cube.livetime, rtol=1e-15)
    assert back.exposure.units == "cm2 s"
    assert back.livetime.units == "s"


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_matrices_come_back(seed, rows, size, filled):
    rng = np.random.default_rng(seed)
    matrix = rng.random((rows, size)) * (rng.random((rows, size)) < filled)
    first, count, values = pack_matrix(matrix)
    np.testing.assert_array_equal(unpack_matrix(first, count, values, size), matrix)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_invert_is_the_inverse(values):
    values = np.array(values)
    np.testing.assert_allclose(invert(values, "keV", "TeV") * 1e-9, values, rtol=2.3e-16)
