"""OGIP spectra of other programs, the public ones and what the standard allows, and files that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.io.cube import open_cube
from xgamma.io.describe import describe
from xgamma.io.ogip import read_ogip

E_MIN = np.array([1.0, 2.0, 4.0]) * 1e9
E_MAX = np.array([2.0, 4.0, 8.0]) * 1e9
TRUE_LO, TRUE_HI = np.array([0.5, 2.0]) * 1e9, np.array([2.0, 16.0]) * 1e9
MATRIX = np.array([[0.8, 0.1, 0.0], [0.0, 0.3, 0.6]])


def table(name, columns, **cards):
    """Extension of columns given as name -> array, or (array, unit), or (array, unit, format)."""
    made = []
    for key, value in columns.items():
        array, unit, code = (*value, None, None)[:3] if isinstance(value, tuple) else (value, None, None)
        codes = {"i": "J", "f": "D", "b": "L", "O": "PD()"}
        made.append(fits.Column(key, code or codes[np.asarray(array).dtype.kind], unit=unit, array=array))
    hdu = fits.BinTableHDU.from_columns(made, name=name)
    hdu.header.update(cards)
    return hdu


def write(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)


def ebounds(first=0, e_min=E_MIN, e_max=E_MAX, unit="keV"):
    channel = np.arange(first, first + len(e_min))
    return table("EBOUNDS", {"CHANNEL": channel, "E_MIN": (e_min, unit), "E_MAX": (e_max, unit)})


def pha(columns=None, name="SPECTRUM", drop=(), **cards):
    default = {"CHANNEL": np.arange(3), "COUNTS": np.array([5, 3, 1])}
    header = {"EXPOSURE": 100.0, "OBS_ID": 42, "ANCRFILE": "arf.fits", "RESPFILE": "rmf.fits", "BACKFILE": "bkg.fits"}
    header = {k: v for k, v in {**header, **cards}.items() if k not in drop}
    return table(name, {**default, **(columns or {})}, HDUCLAS1="SPECTRUM", POISSERR=True, **header)


def arf(area=(10.0, 20.0), unit="cm2", lo=TRUE_LO, hi=TRUE_HI, energy_unit="keV"):
    columns = {"ENERG_LO": (lo, energy_unit), "ENERG_HI": (hi, energy_unit), "SPECRESP": (np.array(area), unit)}
    return table("SPECRESP", columns)


def rmf(first=0, tlmin=0, name="MATRIX", matrix=MATRIX, unit=None, **cards):
    start = np.array([[0, 0], [1, 0]]) + first
    columns = {
        "ENERG_LO": (TRUE_LO, "keV"),
        "ENERG_HI": (TRUE_HI, "keV"),
        "N_GRP": np.array([1, 1]),
        "F_CHAN": (start, None, "2J"),
        "N_CHAN": (np.array([[2, 0], [2, 0]]), None, "2J"),
        "MATRIX": (np.array([[m for m in row if m] for row in matrix]), unit, "2D"),
    }
    hdu = table(name, columns, **cards)
    if tlmin is not None:
        hdu.header["TLMIN4"] = tlmin
    return hdu


@pytest.fixture
def folder(tmp_path):
    """A whole set of files: pha.fits, arf.fits, rmf.fits, bkg.fits."""
    write(tmp_path / "pha.fits", pha(), ebounds())
    write(tmp_path / "arf.fits", arf())
    write(tmp_path / "rmf.fits", rmf(), ebounds())
    write(tmp_path / "bkg.fits", pha({"COUNTS": np.array([20, 10, 0])}, BACKSCAL=4.0, HDUCLAS2="BKG"), ebounds())
    return tmp_path


def test_a_plain_set(folder):
    cube = read_ogip(folder / "pha.fits")
    assert cube.counts.values.tolist() == [5, 3, 1]
    assert cube.obs.item() == 42
    assert cube.counts_off.values.tolist() == [20, 10, 0]
    assert cube.acceptance.values.tolist() == [1, 1, 1]
    assert cube.acceptance_off.values.tolist() == [4, 4, 4]
    assert cube.background.values.tolist() == [5, 2.5, 0]
    assert cube.exposure.values.tolist() == [1000, 2000]
    assert cube.exposure.units == "cm2 s"
    np.testing.assert_array_equal(cube.edisp, MATRIX)
    assert cube.mask_safe.all()
    assert cube.livetime.item() == 100
    np.testing.assert_allclose(cube.energy_min, [1, 2, 4], rtol=1e-15)
    np.testing.assert_allclose(cube.energy_true_max, [2, 16], rtol=1e-15)
    assert read_ogip(folder).obs.values.tolist() == [42]


# gammapy 2.1: SpectrumDatasetOnOff.read(path): counts, counts_off, background (sums), number of mask_safe, exposure in
# cm2 s (sum), edisp.get_edisp_kernel().pdf_matrix (sum), unique acceptance_off, livetime in s
GAMMAPY = {
    "fermi": [(578, 39, 1.1700000000000002, 36, 9551272697901.43, 35.743942, 33.33333333, 1.0)],
    "hess": [
        (189, 229, 19.083333333333332, 41, 258896469123492.0, 59.98461, 12.0, 1581.736758410931),
        (199, 217, 18.083333333333336, 43, 243514061519936.1, 59.99545, 12.0, 1572.68672400713),
        (168, 507, 12.675, 43, 163347333417755.16, 57.995243, 40.0, 1578.123517513275),
        (142, 545, 13.625, 41, 172764304925123.06, 57.979626, 40.0, 1581.264640688896),
    ],
    "magic": [
        (482, 778, 111.14285714285712, 55, 57932813742626.95, 79.99605, 7.0, 1180.58743429184),
        (438, 721, 103.0, 55, 53448369361809.4, 79.98749, 7.0, 1176.642738342285),
    ],
    "veritas": [
        (154, 90, 6.428571428571427, 46, 44264994041648.59, 64.8583, 14.0, 1094.651586949825),
        (140, 116, 8.285714285714285, 46, 44110141543265.45, 64.95656, 14.0, 1086.825720846653),
    ],
    "fact": [(691, 2455, 272.7777777777775, 47, 836769552722281.9, 52.998825, 9.0, 36459.69409992667)],
}


@pytest.mark.parametrize("name", GAMMAPY)
def test_the_public_spectra_as_gammapy_reads_them(gammapy_data, name):
    cube = read_ogip(gammapy_data / "joint-crab" / "spectra" / name)
    off, live = cube.acceptance_off, cube.livetime
    assert cube.sizes["obs"] == len(GAMMAPY[name])
    for i, (n_on, n_off, background, safe, exposure, edisp, acceptance_off, livetime) in enumerate(GAMMAPY[name]):
        run = cube.isel(obs=i)
        assert (run.counts.sum(), run.counts_off.sum(), run.mask_safe.sum()) == (n_on, n_off, safe)
        np.testing.assert_allclose(run.background.sum(), background, rtol=1e-14)
        np.testing.assert_allclose(run.exposure.sum(), exposure, rtol=1e-14)
        np.testing.assert_allclose(run.edisp.sum(), edisp, rtol=1e-6)  # gammapy adds up in single precision
        np.testing.assert_allclose(off[i], acceptance_off, rtol=1e-9)
        assert live[i] == livetime
        assert (run.acceptance == 1).all()


def test_labels_of_the_public_spectra(gammapy_data):
    spectra = gammapy_data / "joint-crab" / "spectra"
    assert read_ogip(spectra / "hess").obs.values.tolist() == [23523, 23526, 23559, 23592]
    fact = read_ogip(spectra / "fact" / "pha_stacked.fits")
    assert fact.obs.item() == "stacked"
    assert len(fact.attrs["obs_id"]) == 125
    assert fact.attrs["obs_id"][0] == "20131103093"
    with pytest.raises(ValueError, match=r"other bins of energy \(36 bins.*read them separately"):
        read_ogip([spectra / "hess" / "pha_obs23523.fits", spectra / "fermi" / "pha_obs0.fits"])


def test_files_of_gammapy(gammapy_data):
    # gammapy 2.1: counts 119, counts_off 453, background 37.75, exposure 382242381217214 cm2 s, good time 10128 s
    cube = read_ogip(gammapy_data / "PKS2155-steady" / "pks2155-304_steady.fits.gz")
    assert (cube.counts.sum(), cube.counts_off.sum(), cube.mask_safe.sum()) == (119, 453, 8)
    np.testing.assert_allclose(cube.exposure.sum(), 382242381217214.0, rtol=1e-14)
    np.testing.assert_allclose(cube.background.sum(), 37.75, rtol=1e-6)
    assert cube.region.item() == "icrs;circle(329.7200000000,-30.2200000000,0.1100000000)"
    np.testing.assert_allclose((cube.gti_stop - cube.gti_start).sum(), 10128)
    simulated = gammapy_data / "datasets" / "simulations"
    cube = read_ogip(simulated / "simulated_spectrum_dataset_PL.fits")
    # gammapy 2.1: exposure 9603798173813396 cm2 s (sum); the unit of SPECRESP is 'm2 s h-1'
    np.testing.assert_allclose(cube.exposure.sum(), 9603798173813396.0, rtol=1e-14)
    assert cube.obs.item() == "test_onoff"
    assert cube.counts.sum() == 2281
    with pytest.raises(ValueError, match=r"two spectra have OBS_ID 'test_onoff'"):
        read_ogip(simulated)


def test_scales_of_exposure_and_area(folder):
    """OGIP 92-007: the background scales with BACKSCAL * AREASCAL * EXPOSURE; the area is SPECRESP * AREASCAL."""
    write(folder / "pha.fits", pha(BACKSCAL=0.5, AREASCAL=0.8), ebounds())
    off = pha({"COUNTS": np.array([20, 10, 0]), "BACKSCAL": np.array([4.0, 4.0, 5.0])}, EXPOSURE=300.0, AREASCAL=0.4)
    write(folder / "bkg.fits", off, ebounds())
    cube = read_ogip(folder / "pha.fits")
    expected = np.array([20, 10, 0]) * (100 * 0.8 * 0.5) / (300 * 0.4 * np.array([4, 4, 5]))
    np.testing.assert_allclose(cube.background, expected)
    np.testing.assert_allclose(cube.acceptance / cube.acceptance_off * cube.counts_off, expected)
    np.testing.assert_allclose(cube.exposure, [800, 1600])


def test_area_that_depends_on_the_channel(folder):
    scale = np.array([1.0, 0.5, 0.25])
    write(folder / "pha.fits", pha({"AREASCAL": scale}), ebounds())
    cube = read_ogip(folder / "pha.fits")
    flux = np.array([3.0, 7.0])
    expected = scale * ((flux * [1000, 2000]) @ MATRIX)
    np.testing.assert_allclose((flux * cube.exposure.values) @ cube.edisp.values, expected)


def test_rates_are_counts_again(folder):
    rate = (np.array([5, 3, 1]) / 100).astype(np.float32)
    spectrum = pha({"RATE": (rate, "count/s", "E")}, HDUCLAS3="RATE")
    spectrum.columns.del_col("COUNTS")
    write(folder / "pha.fits", spectrum, ebounds())
    assert read_ogip(folder / "pha.fits").counts.values.tolist() == [5, 3, 1]


def test_quality_in_all_forms(folder):
    for quality in (np.array([1, 0, 5]), np.array([True, False, True])):
        write(folder / "pha.fits", pha({"QUALITY": quality}), ebounds())
        assert read_ogip(folder / "pha.fits").mask_safe.values.tolist() == [False, True, False]
    write(folder / "pha.fits", pha(QUALITY=1), ebounds())
    assert not read_ogip(folder / "pha.fits").mask_safe.any()


@pytest.mark.parametrize(("first", "tlmin"), [(0, 0), (1, 1), (1, None), (0, None), (5, 5)])
def test_channels_from_any_number(folder, first, tlmin):
    write(folder / "pha.fits", pha({"CHANNEL": np.arange(first, first + 3)}), ebounds(first))
    write(folder / "bkg.fits", pha({"CHANNEL": np.arange(first, first + 3)}), ebounds(first))
    write(folder / "rmf.fits", rmf(first, tlmin), ebounds(first))
    np.testing.assert_array_equal(read_ogip(folder / "pha.fits").edisp, MATRIX)


def test_groups_of_channels_and_ragged_rows(folder):
    def ragged(rows, dtype):
        column = np.empty(len(rows), dtype=object)
        column[:] = [np.array(r, dtype=dtype) for r in rows]
        return column

    columns = {
        "ENERG_LO": (TRUE_LO, "keV"),
        "ENERG_HI": (TRUE_HI, "keV"),
        "N_GRP": np.array([2, 0]),
        "F_CHAN": (ragged([[1, 3], []], "i2"), None, "PI(2)"),
        "N_CHAN": (ragged([[1, 1], []], "i2"), None, "PI(2)"),
        "MATRIX": (ragged([[0.25, 0.75], []], "f4"), None, "PE(2)"),
    }
    write(folder / "rmf.fits", table("MATRIX", columns, TLMIN4=1), ebounds())
    np.testing.assert_array_equal(read_ogip(folder / "pha.fits").edisp, [[0.25, 0, 0.75], [0, 0, 0]])


def test_one_group_in_scalar_columns(folder):
    columns = {
        "ENERG_LO": (TRUE_LO, "keV"),
        "ENERG_HI": (TRUE_HI, "keV"),
        "N_GRP": np.array([1, 1]),
        "F_CHAN": np.array([0, 1]),
        "N_CHAN": np.array([2, 2]),
        "MATRIX": (np.array([[0.8, 0.1], [0.3, 0.6]]), None, "2D"),
    }
    write(folder / "rmf.fits", table("SPECRESP MATRIX", columns, TLMIN4=0, HDUCLAS3="REDIST"), ebounds())
    np.testing.assert_array_equal(read_ogip(folder / "pha.fits").edisp, MATRIX)


def test_full_responses(folder):
    area = np.array([[10.0], [20.0]])
    write(folder / "rsp.fits", rmf(name="SPECRESP MATRIX", matrix=MATRIX * area / 1e4, unit="m2"), ebounds())
    write(folder / "pha.fits", pha(drop=("ANCRFILE",), RESPFILE="rsp.fits"), ebounds())
    cube = read_ogip(folder / "pha.fits")
    np.testing.assert_allclose(cube.exposure, [1000 * 0.9, 2000 * 0.9])
    np.testing.assert_allclose(cube.edisp.sum("energy"), 1)
    np.testing.assert_allclose(cube.exposure.values[:, None] * cube.edisp, 100 * area * MATRIX)


def test_without_energy_dispersion(folder):
    write(folder / "pha.fits", pha(drop=("RESPFILE",)), ebounds())
    with pytest.raises(ValueError, match=r"names no RESPFILE, and its channels \(3 bins, 1 to 8 TeV\) are not"):
        read_ogip(folder / "pha.fits")
    write(folder / "arf.fits", arf((1.0, 2.0, 3.0), lo=E_MIN, hi=E_MAX))
    np.testing.assert_array_equal(read_ogip(folder / "pha.fits").edisp, np.eye(3))


def test_without_background(folder):
    for drop, card in ((("BACKFILE",), {}), ((), {"BACKFILE": "none"}), ((), {"BACKFILE": ""})):
        write(folder / "pha.fits", pha(drop=drop, **card), ebounds())
        cube = read_ogip(folder / "pha.fits")
        assert not {"counts_off", "acceptance", "acceptance_off", "background"} & set(cube)


def test_energies_from_the_rmf_and_in_other_units(folder):
    write(folder / "pha.fits", pha())
    write(folder / "rmf.fits", rmf(), ebounds(e_min=E_MIN / 1e6, e_max=E_MAX / 1e6, unit="GeV"))
    np.testing.assert_allclose(read_ogip(folder / "pha.fits").energy_max, [2, 4, 8], rtol=1e-15)
    write(folder / "rmf.fits", rmf(), ebounds(unit=None))  # keV by the standard
    np.testing.assert_allclose(read_ogip(folder / "pha.fits").energy_max, [2, 4, 8], rtol=1e-15)


def test_highest_energy_first(folder):
    down = ebounds(e_min=E_MIN[::-1], e_max=E_MAX[::-1])
    write(folder / "pha.fits", pha({"COUNTS": np.array([1, 3, 5]), "QUALITY": np.array([1, 0, 0])}), down)
    write(folder / "bkg.fits", pha({"COUNTS": np.array([0, 10, 20])}), down)
    write(folder / "rmf.fits", rmf(), down)
    cube = read_ogip(folder / "pha.fits")
    assert cube.counts.values.tolist() == [5, 3, 1]
    assert cube.counts_off.values.tolist() == [20, 10, 0]
    assert cube.mask_safe.values.tolist() == [True, True, False]
    np.testing.assert_array_equal(cube.edisp, MATRIX[:, ::-1])


def test_other_files_than_the_header_names(folder):
    write(folder / "other.fits", arf((1.0, 1.0)))
    cube = read_ogip(folder / "pha.fits", arf=folder / "other.fits")
    assert cube.exposure.values.tolist() == [100, 100]
    with pytest.raises(FileNotFoundError, match=r"rmf='no.fits': there is no file"):
        read_ogip(folder / "pha.fits", rmf="no.fits")
    with pytest.raises(ValueError, match=r"\['arf'\] can be given for a single file only"):
        read_ogip(folder, arf=folder / "other.fits")


def test_files_beside_the_spectrum_whatever_the_path(folder):
    write(folder / "pha.fits", pha(ANCRFILE="/old/place/arf.fits", RESPFILE="rmf.fits[1]"), ebounds())
    (folder / "bkg.fits").rename(folder / "bkg.fits.gz")
    assert read_ogip(folder / "pha.fits").exposure.values.tolist() == [1000, 2000]


def test_folders_in_the_order_of_the_runs(folder):
    for number in (100, 9, 42):
        write(folder / f"run{number}.pha", pha(OBS_ID=str(number)), ebounds())
    (folder / "pha.fits").unlink()
    write(folder / "noise.fits", table("EVENTS", {"TIME": np.zeros(1)}))
    (folder / "text.txt").write_text("nothing")
    cube = read_ogip(folder)
    assert cube.obs.values.tolist() == [9, 42, 100]
    assert cube.counts.dims == ("obs", "energy")
    assert cube.livetime.dims == ("obs",)


def test_runs_with_and_without_background(folder):
    write(folder / "second.fits", pha(drop=("BACKFILE",), OBS_ID=43), ebounds())
    with pytest.raises(ValueError, match=r"second.fits gives no 'acceptance', which others in the list have"):
        read_ogip([folder / "pha.fits", folder / "second.fits"])


def test_good_times_and_positions(folder):
    times = table("GTI", {"START": (np.array([0.0]), "s"), "STOP": (np.array([90.0]), "s")})
    times.header.update({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT"})
    cards = {"RA_PNT": 83.63, "DEC_PNT": 22.5, "ONTIME": 110.0, "TELESCOP": "MAGIC", "INSTRUME": "none"}
    write(folder / "pha.fits", pha(**cards), ebounds(), times)
    write(folder / "second.fits", pha(OBS_ID=43, **cards), ebounds())
    cube = read_ogip(folder)
    np.testing.assert_array_equal(cube.gti_stop, [[90.0], [np.nan]])
    assert cube.pointing_lat.values.tolist() == [22.5, 22.5]
    assert cube.ontime.values.tolist() == [110.0, 110.0]
    assert cube.attrs == {"telescop": "MAGIC"}


def test_what_is_not_applied_is_said(folder):
    columns = {"GROUPING": np.array([1, -1, 1]), "SYS_ERR": np.array([0.1, 0.0, 0.0])}
    write(folder / "pha.fits", pha(columns, CORRFILE="corr.fits", CORRSCAL=1.0), ebounds())
    with pytest.warns(UserWarning, match=r"not applied: GROUPING .*; SYS_ERR .*; CORRFILE"):
        assert read_ogip(folder / "pha.fits").counts.values.tolist() == [5, 3, 1]


def test_errors_of_counts(folder):
    # the root of the counts and Gehrels' formula say nothing new
    for error in (np.sqrt([5, 3, 1]), 1 + np.sqrt(np.array([5, 3, 1]) + 0.75)):
        write(folder / "pha.fits", pha({"STAT_ERR": error}, drop=("POISSERR",)), ebounds())
        fits.setval(folder / "pha.fits", "POISSERR", value=False, ext=1)
        assert read_ogip(folder / "pha.fits").counts.values.tolist() == [5, 3, 1]
    write(folder / "pha.fits", pha({"STAT_ERR": np.array([3.0, 3.0, 3.0])}), ebounds())
    assert read_ogip(folder / "pha.fits").counts.sum() == 9  # POISSERR is T
    fits.setval(folder / "pha.fits", "POISSERR", value=False, ext=1)
    with pytest.raises(ValueError, match="Gaussian errors are not counts"):
        read_ogip(folder / "pha.fits")


BAD = [
    ("pha.fits", lambda: pha(HDUCLAS4="TYPE:II"), "many spectra in one table"),
    ("pha.fits", lambda: pha({"COUNTS": (np.ones((3, 2)), None, "2D")}), "many spectra in one table"),
    ("pha.fits", lambda: pha(HDUCLAS2="NET"), "background-subtracted"),
    ("pha.fits", lambda: pha({"COUNTS": np.array([1.0, np.nan, 2.0])}), "COUNTS holds nan in row 1"),
    ("pha.fits", lambda: pha({"COUNTS": np.array([1, 2, -3])}), "COUNTS holds -3 in row 2; counts are not negative"),
    ("pha.fits", lambda: pha({"CHANNEL": np.array([0, 1, 3])}), "not consecutive: 1 is followed by 3"),
    ("pha.fits", lambda: pha({"CHANNEL": np.array([1, 2, 3])}), "channels 1 to 3, EBOUNDS 0 to 2"),
    ("pha.fits", lambda: pha({"BACKSCAL": np.array([1.0, np.inf, 1.0])}), "BACKSCAL holds inf in row 1"),
    ("pha.fits", lambda: pha(BACKSCAL=-1.0), "BACKSCAL must be at least 0"),
    ("pha.fits", lambda: pha(AREASCAL=0.0), "AREASCAL above 0"),
    ("pha.fits", lambda: pha(drop=("EXPOSURE",)), "EXPOSURE=None should be the livetime"),
    ("pha.fits", lambda: pha(EXPOSURE="long"), "EXPOSURE='long' should be"),
    ("pha.fits", lambda: pha(EXPOSURE=0.0), "EXPOSURE is 100 s, but that of the spectrum is 0"),
    ("pha.fits", lambda: pha(name="OTHER", drop=("HDUCLAS1",)), None),
    (
        "pha.fits",
        lambda: table("SPECTRUM", {"CHANNEL": np.arange(3)}, EXPOSURE=1.0),
        "neither a column COUNTS nor RATE",
    ),
    ("arf.fits", lambda: arf(unit="s"), "SPECRESP .*wrong unit: unit 's' cannot be converted to 'cm2'"),
    ("arf.fits", lambda: arf((1.0, np.nan)), "SPECRESP holds NaN"),
    ("arf.fits", lambda: arf((1.0, -1.0)), "SPECRESP holds negative"),
    ("arf.fits", lambda: arf(energy_unit="m2"), "ENERG_LO .*wrong unit"),
    ("arf.fits", lambda: arf(lo=TRUE_LO * 1.1), r"other bins of true energy .*than its RESPFILE"),
    ("arf.fits", lambda: table("EVENTS", {"A": np.ones(1)}), "no extension SPECRESP, where one is needed"),
    ("rmf.fits", lambda: rmf(unit="s"), "MATRIX has unit 's'"),
    ("rmf.fits", lambda: rmf(matrix=np.where(MATRIX > 0, np.nan, 0)), "MATRIX holds NaN"),
    ("rmf.fits", lambda: rmf(matrix=-MATRIX), "MATRIX holds negative"),
    ("rmf.fits", lambda: rmf(tlmin=1), r"row 0: channels -1 to 0 \(counted from 0\) are not all among the 3"),
]


@pytest.mark.parametrize(("name", "make", "words"), BAD)
def test_what_is_wrong_is_said(folder, name, make, words):
    write(folder / name, make(), *([] if name == "arf.fits" else [ebounds()]))
    if words is None:  # known by its class
        assert read_ogip(folder / "pha.fits").counts.sum() == 9
        return
    with pytest.raises(ValueError, match=words):
        read_ogip(folder / "pha.fits")


def test_energies_that_contradict_one_another(folder):
    write(folder / "rmf.fits", rmf(), ebounds(e_max=E_MAX * 1.01))
    with pytest.raises(ValueError, match=r"its EBOUNDS .* differs from that of its RESPFILE"):
        read_ogip(folder / "pha.fits")
    write(folder / "rmf.fits", rmf(), ebounds(e_min=E_MAX, e_max=E_MIN))
    with pytest.raises(ValueError, match="E_MIN and E_MAX must be finite"):
        read_ogip(folder / "pha.fits")
    write(folder / "pha.fits", pha(drop=("RESPFILE",)))
    with pytest.raises(ValueError, match="no extension EBOUNDS and names no RESPFILE"):
        read_ogip(folder / "pha.fits")


@pytest.mark.parametrize(
    ("name", "card", "argument"),
    [("arf", "ANCRFILE", "arf"), ("rmf", "RESPFILE", "rmf"), ("bkg", "BACKFILE", "background")],
)
def test_missing_files_are_named(folder, name, card, argument):
    (folder / f"{name}.fits").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read_ogip(folder / "pha.fits")
    text = str(caught.value)
    assert f"its card {card} names '{name}.fits'" in text
    assert f"there is no file {folder / name}.fits" in text
    assert f"pass {argument}= with its path" in text


def test_without_effective_area(folder):
    write(folder / "pha.fits", pha(drop=("ANCRFILE",)), ebounds())
    with pytest.raises(ValueError, match="names no ANCRFILE, and its RESPFILE holds no effective area"):
        read_ogip(folder / "pha.fits")


@pytest.mark.parametrize("name", ["pha", "arf", "rmf", "bkg"])
def test_truncated_files(folder, name):
    file = folder / f"{name}.fits"
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(OSError, match=rf"{name}.fits is truncated"):
        read_ogip(folder / "pha.fits")


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_ogip(tmp_path / "no.fits")
    with pytest.raises(FileNotFoundError, match="holds no OGIP spectra"):
        read_ogip(tmp_path)
    with pytest.raises(ValueError, match="the list of files is empty"):
        read_ogip([])


def test_a_spectrum_is_no_cube_of_maps(folder):
    with pytest.raises(ValueError, match=r"holds no sky map.*read with xgamma\.read_ogip"):
        open_cube(folder / "pha.fits")


def test_describe_knows_spectra(folder):
    text = describe(folder / "pha.fits")
    assert "OGIP spectrum" in text
    assert "energy: 3 bins, 1 to 8 TeV" in text
    assert "counts_off" in text
    (folder / "arf.fits").unlink()
    assert "OGIP spectrum that cannot be read" in describe(folder / "pha.fits")


def test_the_result_is_a_plain_dataset(folder):
    cube = read_ogip(folder / "pha.fits")
    assert isinstance(cube, xr.Dataset)
    assert all(v.chunks is None for v in cube.variables.values())
    assert cube.sel(energy=3.0).counts.item() == 3
