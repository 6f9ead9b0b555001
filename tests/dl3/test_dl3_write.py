"""Writing, checking and fetching DL3 data."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xgamma.dl3.write as write_module
from xgamma.dl3.check import Fault, check_store, summary
from xgamma.dl3.download import data_sets, download, read_registry
from xgamma.dl3.gti import gti_table
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.store import Store, open_store
from xgamma.dl3.write import events_to_hdu, write_index, write_observation

SITE = (16.5, -23.27, 1835.0)


@pytest.fixture
def run(make_run):
    return Store.from_files([make_run(1)]).get(1)


# writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["hess-dl3-dr1", "cta-1dc/index/gps", "magic/rad_max/data"])
def test_real_runs_round_trip(gammapy_data, tmp_path, place):
    run = open_store(gammapy_data / place).observations[0]
    irfs = {n: getattr(run, n) for n in run.available if n not in ("events", "gti")}
    name = "run.fits.gz" if "hess" in place else "run.fits"
    path = write_observation(tmp_path / name, run.events, run.gti, irfs)
    again = Store.from_files([path]).get(run.obs_id)
    events = run.events
    np.testing.assert_allclose(again.events.time, events.time, atol=2e-7, rtol=0)
    xr.testing.assert_equal(again.events.drop_vars("time"), events.drop_vars("time"))  # to the last bit
    np.testing.assert_allclose(again.gti.gti_stop, run.gti.gti_stop, atol=2e-7, rtol=0)
    assert again.livetime == pytest.approx(run.livetime, rel=1e-9)
    assert again.pointing == run.pointing
    assert set(again.available) == {"events", "gti", *irfs}
    for name, irf in irfs.items():
        xr.testing.assert_allclose(getattr(again, name), irf, rtol=1e-12)
    assert all(f.severity == "warning" for f in check_store(path))


def test_times_keep_their_reference(run, tmp_path):
    for number, header in enumerate(
        [{}, {"MJDREFI": 52706, "MJDREFF": 0.0, "TIMESYS": "UTC"}, {"MJDREFI": 44244, "MJDREFF": 0.0, "TIMESYS": "TAI"}]
    ):
        path = write_observation(tmp_path / f"r{number}.fits", run.events, run.gti, header=header)
        again = Store.from_files([path]).get(1)
        np.testing.assert_allclose(again.events.time, run.events.time, atol=3e-7, rtol=0)
        assert again.header["MJDREFI"] == header.get("MJDREFI", 51910)
        assert again.tstart == pytest.approx(run.tstart, abs=3e-7)
    plain = run.events.drop_attrs(deep=False)
    path = write_observation(
        tmp_path / "plain.fits", plain, run.gti, header={"OBS_ID": 5, "DEADC": 1, "RA_PNT": 1, "DEC_PNT": 2}
    )
    again = Store.from_files([path]).get(5)
    assert {k: again.header[k] for k in ("MJDREFI", "MJDREFF", "TIMESYS")} == {
        "MJDREFI": 51544,
        "MJDREFF": 0.5,
        "TIMESYS": "TT",
    }
    np.testing.assert_array_equal(again.events.event_id, run.events.event_id)


def test_dates_in_the_header(run, tmp_path):
    path = write_observation(tmp_path / "a.fits", run.events, gti_table([0.0], [64.0]), header={"TELESCOP": "X" * 20})
    header = fits.getheader(path, "EVENTS")
    # J2000.0 (TT) is 64.184 s earlier in UTC
    assert (header["DATE-OBS"], header["TIME-OBS"]) == ("2000-01-01", "11:58:55.816")
    assert (header["DATE-END"], header["TIME-END"]) == ("2000-01-01", "11:59:59.816")
    assert header["LIVETIME"] == pytest.approx(0.9 * 64)


@pytest.mark.parametrize(
    "pointing",
    [
        Pointing("pointing", 80.0, 20.0, location=SITE),
        Pointing("drift", alt=70.0, az=180.0, location=SITE),
        Pointing("table", 80.0, 20.0, location=SITE, table=((1.55e8, 80.0, 20.0), (1.56e8, 81.0, 21.0))),
    ],
)
def test_pointings_round_trip(run, tmp_path, pointing):
    path = write_observation(tmp_path / "a.fits", run.events, run.gti, pointing=pointing)
    again = Store.from_files([path]).get(1).pointing
    assert again.mode == pointing.mode
    assert again.icrs(1.555e8) == pytest.approx(pointing.icrs(1.555e8), abs=1e-9)
    assert again.location == pytest.approx(SITE)


def test_columns_lose_nothing():
    n = 3
    events = xr.Dataset(
        {
            "time": ("event", np.arange(3.0)),
            "ra": ("event", np.array([0.1, 1 / 3, 2.0]), {"units": "deg"}),
            "dec": ("event", np.array([0.5, 0.25, 2.0]), {"units": "deg"}),
            "energy": ("event", np.ones(n), {"units": "TeV"}),
            "event_type": (("event", "bit"), np.eye(3, 8, dtype=bool)),
            "good": ("event", np.array([True, False, True])),
            "label": ("event", np.array(["a", "bc", ""])),
            "multip": ("event", np.array([2, 3, 4])),
            "hil": (("event", "x", "y"), np.arange(12.0).reshape(3, 2, 2)),
        },
        attrs={"obs_id": 1, "a_very_long_name": 5, "odd": float("nan"), "text": "µ"},
    )
    hdu = events_to_hdu(events)
    formats = {c.name: c.format for c in hdu.columns}
    assert formats["RA"] == "D"
    assert formats["DEC"] == "E"
    assert formats["EVENT_TYPE"] == "8X"
    from xgamma.dl3.events import read_events

    again = read_events(hdu)
    for name in events.data_vars:
        np.testing.assert_array_equal(again[name].values, events[name].values)
    assert hdu.header["A_VERY_LONG_NAME"] == 5
    assert "ODD" not in hdu.header
    with pytest.raises(ValueError, match="no column energy"):
        events_to_hdu(events.drop_vars("energy"))


def test_what_is_missing_is_said(run, tmp_path):
    bare = run.events.drop_attrs(deep=False)
    for header, words in (
        ({}, "OBS_ID and DEADC"),
        ({"OBS_ID": 1, "DEADC": 1}, "RA_PNT and DEC_PNT"),
        ({"OBS_ID": 1, "DEADC": 1, "OBS_MODE": "DRIFT"}, "ALT_PNT and AZ_PNT"),
    ):
        with pytest.raises(ValueError, match=words):
            write_observation(tmp_path / "a.fits", bare, run.gti, header=header)
    with pytest.raises(ValueError, match="at least one good time interval"):
        write_observation(tmp_path / "a.fits", run.events, gti_table([], []))
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        write_observation(tmp_path / "no" / "a.fits", run.events, run.gti)
    assert not (tmp_path / "a.fits").exists()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt("stopped")])
def test_overwriting_and_faults_while_writing(run, tmp_path, monkeypatch, fault):
    folder = tmp_path / "out"
    folder.mkdir()
    path = write_observation(folder / "a.fits", run.events, run.gti)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_observation(path, run.events, run.gti)

    def full(self, data):
        with self.open("wb") as stream:
            stream.write(data[:1000])
        raise fault

    monkeypatch.setattr(write_module.Path, "write_bytes", full)
    for name in ("a.fits", "b.fits"):
        with pytest.raises(type(fault), match=r"No space left|stopped"):
            write_observation(folder / name, run.events, run.gti, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in folder.iterdir()] == ["a.fits"]
    monkeypatch.undo()
    write_observation(path, run.events.isel(event=slice(3)), run.gti, overwrite=True)
    assert Store.from_files([path]).get(1).events.sizes["event"] == 3


def test_equal_content_makes_equal_files(run, tmp_path):
    first, second = (write_observation(tmp_path / f"{i}.fits.gz", run.events, run.gti) for i in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_index_refuses_to_overwrite(make_store):
    folder = make_store(1)
    runs = open_store(folder).observations
    with pytest.raises(FileExistsError, match="overwrite"):
        write_index(folder, runs)
    write_index(folder, runs, overwrite=True)
    assert open_store(folder).obs_ids == (1,)


@pytest.mark.gammapy
def test_gammapy_reads_what_we_write(gammapy_data, gammapy_python, tmp_path):
    store = open_store(gammapy_data / "cta-1dc" / "index" / "gps")
    run = store.get(110380)
    header = {"MJDREFI": 52706, "MJDREFF": 0.0, "TIMESYS": "UTC"}
    irfs = {n: getattr(run, n) for n in ("aeff", "edisp", "psf", "bkg")}
    path = write_observation(tmp_path / "run.fits", run.events, run.gti, irfs, header=header)
    write_index(tmp_path, Store.from_files([path]).observations)
    code = f"""
import warnings; warnings.simplefilter("ignore")
import astropy.units as u
from gammapy.data import DataStore
run = DataStore.from_dir({str(tmp_path)!r}).obs(110380)
print(len(run.events.table), run.observation_live_time_duration.to_value("s"))
print(float(run.events.energy.sum().to_value("TeV")))
print((run.gti.time_start[0].tt.mjd - 51544.5) * 86400)
print((run.events.time[0].tt.mjd - 51544.5) * 86400)
print(float(run.aeff.quantity.astype(float).sum().to_value("cm2")))
print(float(run.bkg.quantity.astype(float).sum().to_value("s-1 TeV-1 sr-1")))
print(float(run.psf.containment(0.1 * u.deg, energy_true=1 * u.TeV, offset=1 * u.deg)))
print(float(run.edisp.quantity.astype(float).sum()), run.get_pointing_icrs(run.tmid).ra.deg)
"""
    result = subprocess.run([gammapy_python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    numbers = [float(v) for v in result.stdout.split()]
    assert numbers[0] == run.events.sizes["event"]
    assert numbers[1] == pytest.approx(run.livetime, rel=1e-9)
    assert numbers[2] == pytest.approx(float(run.events.energy.sum()), rel=1e-6)
    assert numbers[3] == pytest.approx(run.tstart, abs=1e-4)  # a day as one float64
    assert numbers[4] == pytest.approx(float(run.events.time[0]), abs=1e-4)
    assert numbers[5] == pytest.approx(float(run.aeff.sum()), rel=1e-9)
    assert numbers[6] == pytest.approx(float(run.bkg.sum()), rel=1e-9)
    assert 0.5 < numbers[7] <= 1
    assert numbers[8] == pytest.approx(float(run.edisp.sum()), rel=1e-9)
    assert numbers[9] == pytest.approx(267.68121338)


# checking -------------------------------------------------------------------------------------


def test_a_good_store_has_no_faults(make_store):
    assert check_store(make_store(1, 2)) == []
    assert summary([]) == "no faults"


def test_every_fault_is_listed(make_store, edit_fits):
    folder = make_store(1, 2, 3, 4, 5, 6, 7, 8)

    def bad_events(hdus):
        data = hdus["EVENTS"].data
        data["ENERGY"][:3] = [np.nan, -1, 0]
        data["DEC"][0] = 95
        data["TIME"][5] += 5000
        hdus["EVENTS"].columns["RA"].unit = "m"
        for card in ("DEADC", "TELESCOP"):
            hdus["EVENTS"].header.remove(card)
        hdus["EVENTS"].header["OBS_ID"] = 17
        hdus["EVENTS"].header["RA_PNT"] = 80.0

    def bad_gti(hdus):
        table = fits.BinTableHDU(np.repeat(hdus["GTI"].data, 2), hdus["GTI"].header, name="GTI")
        hdus["GTI"] = table

    def reversed_gti(hdus):
        hdus["GTI"].data["STOP"] -= 5000

    def bad_aeff(hdus):
        hdus["AEFF"].data["EFFAREA"][0, 0, 0] = np.nan

    def no_unit(hdus):
        hdus["AEFF"].columns["EFFAREA"].unit = ""
        hdus["AEFF"].header.remove("HDUCLAS2")

    edit_fits(folder / "run_1.fits", bad_events)
    edit_fits(folder / "run_2.fits", bad_gti)
    edit_fits(folder / "run_3.fits", reversed_gti)
    edit_fits(folder / "run_4.fits", bad_aeff)
    (folder / "run_5.fits").unlink()
    (folder / "run_6.fits").write_bytes((folder / "run_6.fits").read_bytes()[:7000])
    edit_fits(folder / "run_7.fits", lambda hdus: hdus.pop(3))
    edit_fits(folder / "run_8.fits", no_unit)
    with fits.open(folder / "hdu-index.fits.gz", memmap=False) as hdus:
        data = hdus[1].data
        rows = np.concatenate([data, data[:1]])
        rows["OBS_ID"][-1] = 99
        rows["HDU_TYPE"][-2] = "magic"
        fits.BinTableHDU(rows, hdus[1].header).writeto(folder / "hdu-index.fits.gz", overwrite=True)
    faults = check_store(folder)
    words = {
        None: ["run 99 is in the HDU index but not in the observation index"],
        1: [
            "1 of 50 events have energy NaN",
            "2 events have an energy that is not positive",
            "1 events have dec outside",
            "1 events lie outside TSTART to TSTOP",
            "1 of 50 events lie outside the good time intervals",
            "column RA in HDU 'EVENTS' has a wrong unit",
            "no DEADC",
            "no TELESCOP",
            "OBS_ID is 17",
            "RA_PNT is 80.00000 in the header, 83.63000",
            "the events are not sorted",
        ],
        2: ["intervals overlap", "ONTIME of the header is 1000 s, the intervals sum up to 2000 s"],
        3: ["stops .* before it starts"],
        4: ["EFFAREA"],
        5: ["there is no file"],
        6: ["truncated"],
        7: ["the file has no HDU 'AEFF'; it has"],
        8: ["'magic' is not known"],
        99: ["the index names no such HDU"],
    }
    for obs_id, texts in words.items():
        of_run = [f.message for f in faults if f.obs_id == obs_id]
        for text in texts:
            assert any(re.search(text, m) for m in of_run), (obs_id, text, of_run)
    files = {Path(f.file).name for f in faults if f.file}
    assert {f"run_{i}.fits" for i in (1, 2, 3, 4, 5, 6, 7)} <= files
    assert all(f.severity in ("error", "warning") for f in faults)
    assert "errors and" in summary(faults)
    assert str(faults[0]).startswith(faults[0].severity)


def test_faults_of_the_store_itself(tmp_path, make_store):
    with pytest.raises(FileNotFoundError):
        check_store(tmp_path / "nothing")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "hdu-index.fits").write_text("nothing")
    assert [f.severity for f in check_store(tmp_path / "bad")] == ["error"]
    folder = make_store(1)
    (folder / "obs-index.fits.gz").unlink()
    (fault,) = check_store(folder)
    assert fault.message.endswith("headers of 1 runs")


def test_check_of_real_stores(gammapy_data):
    magic = check_store(gammapy_data / "magic" / "rad_max" / "data")
    assert {f.severity for f in magic} == {"warning"}
    joint = check_store(gammapy_data / "joint-crab" / "dl3" / "magic")
    missing = [f for f in joint if f.obs_id == 5029747]
    assert [f.hdu for f in missing] == ["events", "gti", "aeff", "edisp"]
    assert all(f.severity == "error" for f in missing)
    assert isinstance(joint[0], Fault)


# fetching -------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """Local stand-in for the public repository: a folder as a file:// address is not known to pooch, HTTP is."""
    import http.server
    import threading

    root = tmp_path / "server"
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "a.txt").write_text("hello")
    (root / "tiny" / "b.txt").write_text("world")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        asked = []

        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *args):
            self.asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", Quiet.asked
        httpd.shutdown()
        thread.join()


def sha(text):
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_download(server, tmp_path, monkeypatch, capsys):
    url, asked = server
    asked.clear()
    registry = {"tiny/a.txt": sha("hello"), "tiny/b.txt": sha("world")}
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path / "data"))
    folder = download("tiny", base_url=url, registry=registry, progress=True)
    assert folder == tmp_path / "data" / "tiny"
    assert (folder / "b.txt").read_text() == "world"
    assert "[2/2] tiny/b.txt" in capsys.readouterr().out
    assert len(asked) == 2
    download("all", base_url=url, registry=registry)
    assert len(asked) == 2  # they are there already


def test_wrong_checksum_is_refused(server, tmp_path):
    url, _ = server
    registry = {"tiny/a.txt": sha("hello"), "tiny/b.txt": sha("something else")}
    with pytest.raises(ValueError, match=r"tiny/b.txt was refused: .*"):
        download("tiny", tmp_path / "data", base_url=url, registry=registry)
    kept = [p.name for p in (tmp_path / "data" / "tiny").iterdir()]
    assert kept == ["a.txt"]


def test_download_faults(server, tmp_path, monkeypatch):
    url, _ = server
    with pytest.raises(ValueError, match=r"no data set 'tin'; there are .*hess-dl3-dr1"):
        download("tin", tmp_path)
    monkeypatch.delenv("GAMMAPY_DATA", raising=False)
    with pytest.raises(ValueError, match="GAMMAPY_DATA"):
        download("hess-dl3-dr1")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        download("hess-dl3-dr1", tmp_path / "file")
    with pytest.raises(OSError, match=r"tiny/c.txt could not be fetched"):
        download("tiny", tmp_path / "data", base_url=url, registry={"tiny/c.txt": sha("x")})


def test_registry(gammapy_data):
    registry = read_registry()
    assert {"hess-dl3-dr1", "cta-1dc", "magic", "joint-crab"} <= set(data_sets())
    assert len(data_sets()["hess-dl3-dr1"]) > 105
    for name in ("hess-dl3-dr1/obs-index.fits.gz", "cta-1dc/index/gps/hdu-index.fits.gz"):
        data = (gammapy_data / name).read_bytes()
        assert registry[name] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    for bad in ("abc  file", f"{'0' * 64}  ../up", f"{'0' * 64}  /etc/passwd", f"{'0' * 64} one-space"):
        with pytest.raises(ValueError, match="line 1 of the registry"):
            read_registry(bad)
