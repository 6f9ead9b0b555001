"""Stores: index tables of all kinds, and what is selected from them."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import dask
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time

import xgamma.dl3.observation as observation_module
import xgamma.dl3.scan as scan_module
from xgamma.coords.grid import sky_grid
from xgamma.dl3.store import Observations, Store, open_store

CRAB = SkyCoord(83.633083, 22.0145, unit="deg")
MSH = SkyCoord(228.32, -59.08, unit="deg")


@pytest.fixture
def no_files(monkeypatch):
    """Fail if any file of a run is opened."""

    def refuse(path):
        msg = f"{path} was opened"
        raise AssertionError(msg)

    monkeypatch.setattr(observation_module, "open_tables", refuse)
    monkeypatch.setattr(scan_module, "open_fits", refuse)


@pytest.fixture
def hess(gammapy_data):
    return open_store(gammapy_data / "hess-dl3-dr1")


# opening --------------------------------------------------------------------------------------


def test_hess(hess, no_files):
    assert len(hess) == 105
    assert hess.obs_ids[:2] == (20136, 20137)
    assert hess.obs_table["tstart"].attrs == {"units": "s", "reference": "J2000.0 (TT)"}
    assert hess.obs_table.attrs["geolon"] == pytest.approx(16.5002222222222)  # text in the file
    assert hess.get(20136).info["tstart"] == pytest.approx(133541866.184, abs=1e-6)  # gammapy 2.1, obs.gti.time_start
    assert set(hess.observations.available.values()) == {("aeff", "bkg", "edisp", "events", "gti", "psf")}
    assert len(hess.observations.having("bkg")) == 105
    assert len(hess.observations.having("rad_max")) == 0
    runs = hess.select(cone=(MSH, "2.5 deg"))
    assert len(runs) == 20
    assert isinstance(runs, Observations)


def test_environment_and_text_path(gammapy_data, monkeypatch):
    monkeypatch.setenv("GAMMAPY_DATA", str(gammapy_data))
    assert len(open_store("$GAMMAPY_DATA/hess-dl3-dr1")) == 105
    assert len(open_store(gammapy_data / "hess-dl3-dr1" / "hdu-index.fits.gz")) == 105


def test_cta(gammapy_data):
    store = open_store(gammapy_data / "cta-1dc" / "index" / "gps")
    run = store.get(110380)
    # the paths climb out of the folder of the index
    assert Path(run.location("aeff").path).resolve() == (
        gammapy_data.resolve() / "cta-1dc/caldb/data/cta/1dc/bcf/South_z20_50h/irf_file.fits"
    )
    assert run.location("psf").hdu_class == "psf_3gauss"
    assert run.events.sizes["event"] == 106217


def test_magic_index_without_time_reference(gammapy_data):
    store = open_store(gammapy_data / "magic" / "rad_max" / "data")
    assert np.isnan(store.obs_table["tstart"]).all()
    assert "MJDREFI" in store.obs_table["tstart"].attrs["note"]
    # chosen by the headers of the files instead
    night = store.select(time=("2013-10-04T04:20:50", "2013-10-04T04:30:00"))
    assert night.obs_ids == (5029747,)
    with pytest.raises(
        ValueError, match=r"the runs were taken between 2013-10-04T04:20:49.435 and 2013-10-04T05:00:56.570"
    ):
        store.select(time=("2014-10-04", "2014-10-05"))


def test_paths_that_do_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="no DL3 store at"):
        open_store(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"neither hdu-index.fits.gz nor DL3 files"):
        open_store(tmp_path)
    with pytest.raises(ValueError, match="NOT_SET_AT_ALL"):
        open_store("$NOT_SET_AT_ALL/x")
    with pytest.raises(FileNotFoundError, match="no HDU index other"):
        open_store(tmp_path, hdu_index="other.fits")


def test_synthetic_store_round_trip(make_store, request):
    folder = make_store(1, 2, 3)
    request.getfixturevalue("no_files")
    store = open_store(folder)
    assert store.obs_ids == (1, 2, 3)
    assert store.get(2).info["object"] == "Crab"
    assert store.get(2).info["event_count"] == 50
    assert store.obs_table.attrs["geolat"] == -23.27
    assert store.get(1).available == ("events", "gti", "aeff")


def test_no_obs_index(make_store):
    folder = make_store(1, 2)
    whole = open_store(folder)
    (folder / "obs-index.fits.gz").unlink()
    with pytest.warns(UserWarning, match="no observation index; its table is built from the headers of 2 runs"):
        store = open_store(folder)
    np.testing.assert_allclose(store.obs_table["tstart"], whole.obs_table["tstart"], atol=1e-6)
    assert store.get(1).livetime == pytest.approx(900, abs=1e-6)


def test_no_index_at_all(make_run, tmp_path):
    folder = tmp_path / "runs"
    for i in (3, 4):
        make_run(i, folder=folder)
    make_run(5, folder=folder / "more", name="packed.fits.gz", responses=False)
    (folder / "notes.fits").write_text("no FITS at all")
    with pytest.warns(UserWarning, match=r"no HDU index; .* 3 files; left out: notes.fits"):
        store = open_store(folder)
    assert sorted(store.obs_ids) == [3, 4, 5]
    assert store.get(4).events.sizes["event"] == 50
    assert store.get(4).aeff.dims == ("energy_true", "offset")
    assert store.get(5).available == ("events", "gti")
    single = open_store(folder / "run_3.fits")
    assert single.obs_ids == (3,)


def test_from_files_with_a_shared_response(make_run, tmp_path):
    bare, full = make_run(1, responses=False), make_run(2)
    store = Store.from_files([bare, full], irfs=full)
    assert store.get(1).location("aeff").path == str(full)
    assert store.get(1).aeff.max() == 2e9
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(ValueError, match="has no EVENTS HDU"):
        Store.from_files([tmp_path / "empty.fits"])
    with pytest.raises(ValueError, match="run 1 is in"):
        Store.from_files([bare, shutil.copy(bare, tmp_path / "again.fits")])
    with pytest.raises(ValueError, match="no DL3 files"):
        Store.from_files([])


def test_calibration_data_base(gammapy_data, monkeypatch):
    file = gammapy_data / "cta-1dc" / "data" / "baseline" / "gps" / "gps_baseline_110380.fits"
    monkeypatch.delenv("CALDB", raising=False)
    assert Store.from_files([file]).get(110380).available == ("events", "gti")
    monkeypatch.setenv("CALDB", str(gammapy_data / "cta-1dc" / "caldb"))
    run = Store.from_files([file]).get(110380)
    assert set(run.available) == {"events", "gti", "aeff", "edisp", "psf", "bkg"}
    assert run.aeff.equals(open_store(gammapy_data / "cta-1dc" / "index" / "gps").get(110380).aeff)


# quirks of index tables -----------------------------------------------------------------------


def write_hdu_index(path, rows, header=None, extra=None, names=("",)):
    """Write an HDU index with one table for each of `names`, unnamed."""
    texts = ("HDU_TYPE", "HDU_CLASS", "FILE_DIR", "FILE_NAME", "HDU_NAME")
    tables = []
    for name in names:
        ids = np.array([r[0] for r in rows])
        columns = [fits.Column("OBS_ID", "K" if ids.dtype.kind == "i" else "30A", array=ids)]
        columns += [fits.Column(n, "60A", array=[f"{r[i + 1]}  " for r in rows]) for i, n in enumerate(texts)]
        columns += [fits.Column(k, "10A", array=[v] * len(rows)) for k, v in (extra or {}).items()]
        table = fits.BinTableHDU.from_columns(columns)
        table.header.update(header or {})
        if name:
            table.header["EV_TYPE"] = name
        tables.append(table)
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path)


def test_index_quirks(make_run, tmp_path, monkeypatch):
    data = tmp_path / "deep" / "data"
    data.parent.mkdir()
    make_run(1, folder=data)
    monkeypatch.setenv("RUNS", str(data))
    monkeypatch.chdir(tmp_path)
    for number, (file_dir, header) in enumerate(
        [
            ("$RUNS", {}),
            (str(data), {"HDUCLASS": "OGIP"}),
            ("deep/data", {}),
            ("../deep/data", {"BASE_DIR": "place"}),
            ("data", {"BASE_DIR": str(data.parent)}),
        ]
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        (folder / "place").mkdir()
        file_dir = f"../{file_dir}" if header.get("BASE_DIR") == "place" else file_dir
        write_hdu_index(
            folder / "hdu-index.fits",
            [(1, "EVENTS", "EVENTS", file_dir, "run_1.fits", "events"), (1, "gti", "gti", file_dir, "run_1.fits", "")],
            header,
        )
        with pytest.warns(UserWarning, match="no observation index"):
            store = open_store(folder)
        assert store.get(1).events.sizes["event"] == 50, file_dir
        assert store.get(1).gti.sizes["gti"] == 1


def test_masked_file_dir(make_run, tmp_path):
    folder = tmp_path / "flat"
    make_run(1, folder=folder)
    for empty in ("", "--", "N/A"):
        write_hdu_index(folder / "hdu-index.fits", [(1, "events", "events", empty, "run_1.fits", "EVENTS")])
        with pytest.warns(UserWarning, match="no observation index"):
            assert open_store(folder).get(1).events.sizes["event"] == 50
        (folder / "hdu-index.fits").unlink()


def test_hawc_like_index(make_run, tmp_path):
    folder = tmp_path / "hawc"
    label = "chunks 103 - 133"
    make_run(label, folder=folder, name="run.fits", TIMESYS="TAI")
    kinds = [f"B{i}C0" for i in range(1, 10)]
    write_hdu_index(
        folder / "hdu-index.fits",
        [
            (label, "events", "events", "", "run.fits", "EVENTS"),
            (label, "gti", "gti", "", "run.fits", "GTI"),
            (label, "psf", "psf_map_reco", "", "run.fits", "PSF"),
            (label, "edisp", "edisp_kernel_map", "", "run.fits", "EDISP"),
            (label, "bkg", "map", "", "run.fits", "BKG"),
        ],
        extra={"EVENT_TYPE": "gamma", "EVENT_CLASS": "std"},
        names=kinds,
    )
    columns = [fits.Column("OBS_ID", "30A", array=[label]), fits.Column("RA_PNT", "D", array=np.zeros(1))]
    fits.BinTableHDU.from_columns(columns).writeto(folder / "obs-index.fits")
    with pytest.raises(ValueError, match=r"9 index tables; choose one with event_type, one of \['B1C0'"):
        open_store(folder)
    with pytest.raises(ValueError, match="no index table for event_type='B17'"):
        open_store(folder, event_type="B17")
    store = open_store(folder, event_type="B3C0")
    assert store.obs_ids == (label,)
    assert open_store(folder, event_type=3).obs_ids == (label,)
    run = store.select(label)[0]
    assert run.events.sizes["event"] == 50
    assert run.available == ("events", "gti", "psf", "edisp", "bkg")
    assert store.observations[label].gti.sizes["gti"] == 1
    with pytest.raises(ValueError, match="the index names HDU 'PSF'"):
        _ = run.psf


def test_duplicates(make_store):
    folder = make_store(1, 2)
    for name in ("hdu-index.fits.gz", "obs-index.fits.gz"):
        with fits.open(folder / name) as hdus:
            data = hdus[1].data
            double = fits.BinTableHDU(data[np.r_[0 : len(data), 0]], hdus[1].header)
            double.writeto(folder / name, overwrite=True)
    with pytest.warns(UserWarning, match="names 1 runs more than once"):
        store = open_store(folder)
    assert store.obs_ids == (1, 2)
    with pytest.warns(UserWarning, match=r"run 1 has several HDUs of type \['events'\]"):
        store.get(1)


def test_vector_and_ragged_columns(make_store):
    folder = make_store(1, 2)
    with fits.open(folder / "obs-index.fits.gz") as hdus:
        ragged = np.empty(2, dtype=object)
        ragged[:] = [np.array([1.0]), np.array([1.0, 2.0])]
        columns = [fits.Column("ANGLES", "3E", array=np.ones((2, 3))), fits.Column("TELS", "PE()", array=ragged)]
        fits.BinTableHDU.from_columns(hdus[1].columns + fits.ColDefs(columns), hdus[1].header).writeto(
            folder / "obs-index.fits.gz", overwrite=True
        )
    store = open_store(folder)
    assert store.obs_table["angles"].shape == (2, 3)
    assert np.isnan(store.obs_table["tels"].values).tolist() == [[False, True], [False, False]]
    assert len(pickle.dumps(store.get(1))) < 3000


def test_not_an_index(tmp_path):
    fits.BinTableHDU.from_columns([fits.Column("X", "E", array=np.zeros(1))]).writeto(tmp_path / "hdu-index.fits")
    with pytest.raises(ValueError, match=r"no index table: no HDU has the columns \['OBS_ID'"):
        open_store(tmp_path)


# selecting ------------------------------------------------------------------------------------


def test_selections_of_hess(hess, no_files):
    # gammapy 2.1: len(obs_table.select_sky_circle(Crab, 2 deg)), len(select_observations(ZEN_PNT in [10, 30] deg))
    assert len(hess.select(cone=(CRAB, "2 deg"))) == 4
    assert len(hess.select(zen_pnt=("10 deg", "30 deg"))) == 45
    assert hess.select([23592, 23523]).obs_ids == (23592, 23523)
    assert hess.select(23523).obs_ids == (23523,)
    table = hess.obs_table
    assert len(hess.select(n_tels=4, object=["MSH15-52", "custom"])) == int(
        ((table["n_tels"] == 4) & table["object"].isin(["MSH15-52", "custom"])).sum()
    )
    assert len(hess.select(livetime=slice("20 min", None))) == int((table["livetime"] >= 1200).sum())
    mask = (table["dec_pnt"] > 0).values
    assert len(hess.select(where=mask)) == len(hess.select(where=lambda t: t["dec_pnt"].values > 0)) == mask.sum()
    box = hess.select(box=(SkyCoord(0, 0, unit="deg", frame="galactic"), "100 deg", "10 deg"))
    lon, lat = (table["glon_pnt"].values + 180) % 360 - 180, table["glat_pnt"].values
    assert len(box) == ((abs(lon) <= 50) & (abs(lat) <= 5)).sum() > 20
    assert len(hess.select(date_obs="2004-03-26")) == 2
    assert len(hess.select(cone=(CRAB, "2 deg")).select(obs_id=23523)) == 1


def test_select_time(hess, no_files):
    start, stop = (hess.obs_table[n].values for n in ("tstart", "tstop"))
    year = Time(["2004-01-01", "2005-01-01"])
    from xgamma.dl3.times import tt_seconds

    lo, hi = tt_seconds(year)
    expected = ((start < hi) & (stop > lo)).sum()
    assert len(hess.select(time=year)) == len(hess.select(time=("2004-01-01", "2005-01-01"))) == expected
    assert len(hess.select(time=[(start[0] - 1, start[0] + 1), (start[5], start[5] + 1)])) == 2


def test_select_inside_a_grid(hess, no_files):
    grid = sky_grid(
        center=SkyCoord(0, 0, unit="deg", frame="galactic"),
        width=("130 deg", "20 deg"),
        binsize="0.5 deg",
        frame="galactic",
    )
    table = hess.obs_table
    lon, lat = (table["glon_pnt"].values + 180) % 360 - 180, table["glat_pnt"].values
    expected = table["obs"].values[(abs(lon) < 65) & (abs(lat) < 10)]
    assert list(hess.select(inside=grid).obs_ids) == expected.tolist()


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"cone": (SkyCoord(10, 10, unit="deg"), "1 deg")}, "the nearest run is 21851, which points 17.13 deg away"),
        ({"cone": CRAB}, r"(?s)cone=.* must be"),
        ({"cone": (CRAB, 2)}, "radius=2 must be given in a unit"),
        ({"box": (CRAB, "1 deg")}, r"(?s)box=.* must be"),
        ({"box": (SkyCoord(10, 10, unit="deg"), "1 deg", "1 deg")}, "nearest run is 21851"),
        ({"time": ("2020-01-01", "2020-02-01")}, "the runs were taken between 2004-03-26T02:56:42.000 and 2008-08"),
        ({"obs_id": 17}, r"runs \[17\] are not in the observation table, which has 20136 ... 47829 \(105 runs\)"),
        ({"obs_id": []}, "an empty list"),
        ({"zen_pnt": ("80 deg", None)}, "zen_pnt is between"),
        ({"object": "Vela"}, "object='Vela'.*object is"),
        ({"magic": 1}, "no column 'magic'; it has"),
        ({"zen_pnt": ("1 TeV", None)}, "zen_pnt='1 TeV' must be given in a unit"),
        ({"required": ("events", "rad_max")}, r"no run has all of the HDU types \['events', 'rad_max'\]"),
        ({"required": "everything"}, "required='everything' must be"),
        ({"where": [True]}, "bool for each of 105"),
        ({"where": lambda t: t["dec_pnt"].values > 100}, "False for all"),
        ({"inside": sky_grid(SkyCoord(10, 10, unit="deg"), "1 deg", "0.1 deg")}, "nearest run is 21851"),
        ({"cone": (CRAB, "2 deg"), "object": "MSH15-52"}, "each condition alone"),
    ],
)
def test_empty_and_bad_selections(hess, conditions, words):
    with pytest.raises(ValueError, match=words):
        hess.select(**conditions)


def test_required_sets(hess, gammapy_data):
    assert len(hess.select(required="full-enclosure")) == 105
    magic = open_store(gammapy_data / "magic" / "rad_max" / "data")
    assert len(magic.select(required="point-like")) == 2
    assert len(magic.select(required="rad_max")) == 2
    with pytest.raises(ValueError, match="no run has all"):
        magic.select(required="full-enclosure")


def test_drift_runs_are_found_where_they_look(make_store, edit_fits):
    folder = make_store(1, 2, OBS_MODE="DRIFT", ALT_PNT=70.0, AZ_PNT=180.0)

    def without_position(hdus):
        for name in ("RA_PNT", "DEC_PNT"):
            hdus[1].data[name] = np.nan

    edit_fits(folder / "obs-index.fits.gz", without_position)
    store = open_store(folder)
    ra, dec = store.get(1).pointing.icrs(store.get(1).tmid)
    assert len(store.select(cone=(SkyCoord(ra, dec, unit="deg"), "0.1 deg"))) == 1
    assert len(store.select(cone=(SkyCoord(ra, dec, unit="deg"), "10 deg"))) == 2


# sequences ------------------------------------------------------------------------------------


def test_observations(make_store):
    runs = open_store(make_store(11, 12, 13)).select()
    assert len(runs) == 3
    assert [r.obs_id for r in runs] == [11, 12, 13]
    assert runs[0].obs_id == 11
    assert runs[-1].obs_id == 13
    assert runs[12].obs_id == 12
    assert runs[1:].obs_ids == (12, 13)
    assert runs.table.sizes["obs"] == 3
    for key in (99, "x", -4):
        with pytest.raises(IndexError, match="there is no run"):
            runs[key]
    again = pickle.loads(pickle.dumps(runs))
    assert again.obs_ids == runs.obs_ids
    assert again[0] == runs[0]
    assert runs.select(object="Crab").obs_ids == (11, 12, 13)
    with pytest.raises(AttributeError):
        runs.table = None


def test_empty_slice_says_so(make_store):
    runs = open_store(make_store(1)).select()[:0]
    assert len(runs) == 0
    with pytest.raises(ValueError, match="no runs to select from"):
        runs.select(1)


def test_reprs(hess):
    text = repr(hess)
    assert "105 runs" in text
    assert "20136  228.61" in text
    assert "... 97 more" in text
    assert len(text.splitlines()) < 15
    html = hess.select(cone=(CRAB, "2 deg"))._repr_html_()
    assert "<th>ra_pnt [deg]</th>" in html
    assert "4 runs" in html
    assert repr(hess.get(23523)) == "<xgamma.Observation 23523: aeff, bkg, edisp, events, gti, psf>"


def test_tokens(hess):
    first, second = hess.select(23523)[0], hess.select(23523)[0]
    assert dask.base.tokenize(first) == dask.base.tokenize(second)
    assert dask.base.tokenize(first) != dask.base.tokenize(hess.get(23526))
    assert dask.base.tokenize(first) != dask.base.tokenize(first.filter(energy=("1 TeV", None)))


def test_copy(make_store, tmp_path):
    store = open_store(make_store(1, 2, 3))
    copied = store.copy([1, 3], tmp_path / "copy")
    assert copied.obs_ids == (1, 3)
    assert sorted(p.name for p in (tmp_path / "copy" / "data").iterdir()) == ["run_1.fits", "run_3.fits"]
    assert copied.get(3).livetime == store.get(3).livetime
    shutil.move(tmp_path / "copy", tmp_path / "moved")
    assert open_store(tmp_path / "moved").get(1).events.equals(store.get(1).events)
    store.copy([1], tmp_path / "again")
    with pytest.raises(FileExistsError, match="overwrite"):
        store.copy([1], tmp_path / "again")
    store.copy([1], tmp_path / "again", overwrite=True)
    Path(store.get(2).location("events").path).unlink()
    with pytest.raises(FileNotFoundError, match="files of these runs are missing"):
        store.copy([1, 2], tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
