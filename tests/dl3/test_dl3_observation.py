"""Runs: numbers equal to gammapy's, files opened once and closed, faults in words."""

from __future__ import annotations

import gzip
import pickle
import threading
from dataclasses import replace

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits

import xgamma.dl3.observation as observation_module
from xgamma.dl3.cache import ByteCache, cache, set_cache_size
from xgamma.dl3.index import HduLocation
from xgamma.dl3.observation import Observation
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.select import event_offset
from xgamma.dl3.store import Store, open_store

#: gammapy 2.1: obs.observation_live_time_duration, obs.gti.time_sum, start and stop (seconds since J2000 TT), number
#: of events, first time, energy and right ascension, obs.get_pointing_icrs(obs.tmid), obs.get_pointing_altaz(obs.tmid)
GAMMAPY = {
    ("hess-dl3-dr1", 20136): (
        *(1521.0268800705694, 1682.0, 133541866.184, 133543548.184, 11243),
        *(133541867.00430201, 0.5589028596878052, 229.23873901367188),
        *(228.6125, -58.771666666667, 51.90394003886109, 196.18985061969252),
    ),
    ("hess-dl3-dr1", 23523): (
        *(1581.736764695497, 1687.0, 155470090.184, 155471777.184, 7613),
        *(155470090.85205483, 10.352010726928711, 84.9796371459961),
        *(83.633333333333, 21.514444444444, 41.950807058227085, 22.558340857925977),
    ),
    ("cta-1dc/index/gps", 110380): (
        *(1764.000034326, 1800.0, 664502400.0, 664504200.0, 106217),
        *(664502403.0454683, 0.039021819829940796, 267.3645935058594),
        *(267.68121338, -29.6075, -8.034757849679231, 232.14493615080949),
    ),
    ("magic/rad_max/data", 5029747): (
        *(1178.0662769214098, 1188.1117618680037, 434132516.619217, 434133704.7309788, 11189),
        *(434132516.69392484, 0.1819460093975067, 84.59456634521484),
        *(83.98333, 22.24389, 69.67894967369615, 103.79111931185756),
    ),
    ("joint-crab/dl3/magic", 5029748): (
        *(1176.6427216688844, 1184.0, 434133736.184, 434134920.184, 5799),
        *(434133737.3887529, 0.1307106614112854, 83.60064697265625),
        *(83.2791666666667, 21.7838888888889, 74.30185511755867, 112.82157132961835),
    ),
}


@pytest.mark.parametrize(("place", "obs_id"), GAMMAPY)
def test_numbers_equal_gammapy(gammapy_data, place, obs_id):
    run = open_store(gammapy_data / place).get(obs_id)
    live, on, start, stop, number, time, energy, ra, *pointing = GAMMAPY[place, obs_id]
    assert run.livetime == pytest.approx(live, rel=1e-12)
    assert run.ontime == pytest.approx(on, rel=1e-12)
    assert (run.tstart, run.tstop) == pytest.approx((start, stop), abs=2e-7, rel=0)
    events = run.events
    assert events.sizes["event"] == number
    assert float(events.time[0]) == pytest.approx(time, abs=2e-7, rel=0)
    # the same float32 numbers of the file
    assert (float(events.energy[0]), float(events.ra[0])) == (energy, ra)
    assert run.pointing.icrs(run.tmid) == tuple(pointing[:2])
    # astropy's Earth orientation tables of two releases differ in UT1 by less than 10 ms
    assert run.pointing.altaz(run.tmid) == pytest.approx(pointing[2:], abs=5e-5)
    assert len(pickle.dumps(run)) < 3000


def test_reversed_background_of_hess(gammapy_data, monkeypatch):
    run = open_store(gammapy_data / "hess-dl3-dr1").get(23523)
    with run.open() as files:
        assert files.hdu("bkg").header["FOVALIGN"] == "RADEC"
        assert files.irf("bkg").attrs["fov_alignment"] == "REVERSE_LON_RADEC"
        assert files.irf("bkg").attrs["fov_alignment"] == "REVERSE_LON_RADEC"  # from the cache
    cta = open_store(gammapy_data / "cta-1dc" / "index" / "gps").get(110380)
    assert cta.bkg.attrs["fov_alignment"] == "RADEC"
    other = dict(run.header, HDUVERS="0.3")
    monkeypatch.setattr(observation_module.ObservationFiles, "header", lambda self, name: other)
    assert run.bkg.attrs["fov_alignment"] == "RADEC"


def test_point_like_radius(gammapy_data):
    magic = open_store(gammapy_data / "magic" / "rad_max" / "data").get(5029747)
    assert magic.rad_max.dims == ("energy", "offset")
    fixed = open_store(gammapy_data / "joint-crab" / "dl3" / "magic").get(5029748)
    assert float(fixed.rad_max.squeeze()) == pytest.approx(0.1414213)
    assert fixed.rad_max.attrs["units"] == "deg"
    hess = open_store(gammapy_data / "hess-dl3-dr1").get(23523)
    with pytest.raises(ValueError, match="neither a RAD_MAX table"):
        _ = hess.rad_max


def test_files_are_opened_once_and_closed(make_store, monkeypatch):
    set_cache_size(0)
    run = open_store(make_store(1)).get(1)
    opened = []
    original = observation_module.open_tables

    def spy(path):
        opened.append(path)
        return original(path)

    monkeypatch.setattr(observation_module, "open_tables", spy)
    try:
        with run.open() as files:
            assert opened == []
            files.events(), files.gti(), files.header("events"), files.irf("aeff"), files.pointing(), files.livetime()
            stream = files._open[opened[0]]
        assert len(opened) == 1
        assert stream.closed
    finally:
        set_cache_size(512 * 1024**2)
    opened.clear()
    for _ in range(3):
        _ = run.aeff, run.gti, run.livetime, run.pointing
    assert len(opened) == 3  # aeff, gti, header: once each, then kept


def test_cache_sees_a_new_file(make_store, make_run):
    folder = make_store(1)
    run = open_store(folder).get(1)
    assert run.livetime == pytest.approx(900)
    make_run(1, folder=folder, DEADC=0.5, name="new.fits")
    (folder / "new.fits").replace(folder / "run_1.fits")
    assert run.livetime == pytest.approx(500)


def test_cached_responses_cannot_be_spoiled(make_store):
    run = open_store(make_store(1)).get(1)
    area = run.aeff
    with pytest.raises(ValueError, match="read-only"):
        area.values[:] = 0
    area.attrs["hduclass"] = "spoiled"
    assert run.aeff.attrs["hduclass"] == "AEFF_2D"
    gti = run.gti
    gti["gti_start"].values[:] = 0
    assert run.tstart > 0


def test_cache_bounds():
    small = ByteCache(100)
    made = []

    def get(key, size):
        return small.get(key, lambda: made.append(key) or bytes(size), len)

    get("a", 60), get("b", 30), get("a", 60), get("c", 60)
    assert made == ["a", "b", "c"]
    assert small.nbytes == 90 or small.nbytes == 60
    get("huge", 1000)
    get("huge", 1000)
    assert made.count("huge") == 2
    small.resize(0)
    assert (small.nbytes, len(small)) == (0, 0)
    with pytest.raises(ValueError, match="negative"):
        small.resize(-1)
    threads = [
        threading.Thread(target=lambda i=i: [ByteCache.get(small, (i, j), lambda: b"x" * 10, len) for j in range(50)])
        for i in range(8)
    ]
    small.resize(200)
    [t.start() for t in threads], [t.join() for t in threads]
    assert small.nbytes == sum(n for _, n in small._items.values()) <= 200
    assert cache().max_bytes == 512 * 1024**2


@pytest.mark.slow
def test_reading_in_another_process_gives_the_same(make_store):
    runs = open_store(make_store(1, 2)).select()
    task = dask.delayed(lambda run: run.events.energy.sum().item())
    parts = [task(run) for run in runs]
    assert dask.compute(*parts, scheduler="processes", num_workers=1) == tuple(
        run.events.energy.sum().item() for run in runs
    )


def test_filters_travel(make_store):
    runs = open_store(make_store(1, 2)).select().filter(energy=("1 TeV", None))
    run = pickle.loads(pickle.dumps(runs))[0]
    assert (run.events.energy >= 1).all()
    half = run.select_time((run.tstart, run.tstart + 500))
    assert half.ontime == pytest.approx(500)
    assert half.livetime == pytest.approx(450)
    assert half.events.time.max() < half.tstop
    assert half.filter(offset="0.2 deg").events.sizes["event"] < half.events.sizes["event"]
    with half.open() as files:
        assert list(files.events(columns=("ra", "energy")).data_vars) == ["ra", "energy"]
    with replace(run, cut=None).select_time((run.tstart, run.tstart + 500)).open() as files:
        few = files.events(columns=("ra",))
    assert list(few.data_vars) == ["ra"]
    assert few.sizes["event"] == 50 - int((replace(run, cut=None).events.time >= run.tstart + 500).sum())
    empty = half.select_time((run.tstart + 600, run.tstart + 700))
    assert empty.events.sizes["event"] == 0
    assert empty.ontime == 0
    assert np.isnan(empty.tmid)


def test_filtered_run_equals_gammapy(gammapy_data):
    run = open_store(gammapy_data / "hess-dl3-dr1").get(23523)
    cut = run.select_time((run.tstart + 100, run.tstart + 600))
    # gammapy 2.1: obs.select_time(Time([tstart + 100 s, tstart + 600 s]))
    assert cut.livetime == pytest.approx(468.80164928734285)
    assert cut.events.sizes["event"] == 2262


# faults ---------------------------------------------------------------------------------------


def test_missing_files_and_hdus(make_store, edit_fits):
    folder = make_store(1)
    run = open_store(folder).get(1)
    with pytest.raises(ValueError, match=r"run 1 has no 'bkg' HDU; its index names \['events', 'gti', 'aeff'\]"):
        _ = run.bkg
    with pytest.raises(ValueError, match="is not a response"), run.open() as files:
        files.irf("events")
    edit_fits(folder / "run_1.fits", lambda hdus: hdus.pop(3))
    with pytest.raises(ValueError, match=r"run 1: the index names HDU 'AEFF' for 'aeff' .*which has"):
        _ = run.aeff
    (folder / "run_1.fits").unlink()
    for name in ("events", "gti", "aeff", "livetime", "pointing"):
        with pytest.raises(FileNotFoundError, match=r"run 1, .*there is no file"):
            getattr(run, name)


@pytest.mark.parametrize("size", [1, 5000, 9000])
def test_truncated_files(make_store, size):
    folder = make_store(1)
    run = open_store(folder).get(1)
    file = folder / "run_1.fits"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(OSError, match=r"run_1.fits is (truncated|not a FITS file)"):
        _ = run.events
    file.write_bytes(gzip.compress(b"SIMPLE" * 1000)[:-20])
    with pytest.raises(OSError, match="damaged or truncated gzip"):
        _ = run.events


def test_bad_events_name_the_file(make_store, edit_fits):
    folder = make_store(1)

    def spoil(hdus):
        hdus[1].data["ENERGY"][:3] = [np.nan, -1, 0]

    edit_fits(folder / "run_1.fits", spoil)
    store = open_store(folder)
    with pytest.raises(ValueError, match=r"3 of 50 events in .*run_1.fits are bad: .*on_bad='drop'"):
        _ = store.get(1).events
    run = store.select(on_bad="drop")[0]
    assert run.events.sizes["event"] == 47
    assert run.events.attrs["n_dropped"] == 3


def test_image_instead_of_table(make_store, edit_fits):
    folder = make_store(1)
    edit_fits(folder / "run_1.fits", lambda hdus: hdus.__setitem__(3, fits.ImageHDU(np.ones((2, 2)), name="AEFF")))
    with pytest.raises(ValueError, match="is no table"):
        _ = open_store(folder).get(1).aeff


def test_bad_response_names_run_and_file(make_store, edit_fits):
    folder = make_store(1)
    edit_fits(folder / "run_1.fits", lambda hdus: hdus[3].columns["EFFAREA"].__setattr__("unit", "parsnip"))
    with pytest.raises(ValueError, match=r"run 1, .*run_1.fits: .*EFFAREA"):
        _ = open_store(folder).get(1).aeff


@pytest.mark.parametrize(
    ("cards", "fraction"),
    [({}, 0.1), ({"DEADC": None, "ONTIME": 1000.0, "LIVETIME": 800.0}, 0.2), ({"DEADC": "0.75"}, 0.25)],
)
def test_dead_time(make_run, edit_fits, cards, fraction):
    path = make_run(1)

    def change(hdus):
        for key, value in cards.items():
            hdus[1].header.pop(key, None)
            if value is not None:
                hdus[1].header[key] = value

    edit_fits(path, change)
    assert Store.from_files([path]).get(1).deadtime_fraction == pytest.approx(fraction)


@pytest.mark.parametrize("value", [1.5, -0.1, "often", None])
def test_bad_dead_time(make_run, edit_fits, value):
    path = make_run(1)

    def change(hdus):
        for key in ("DEADC", "LIVETIME", "ONTIME"):
            hdus[1].header.pop(key, None)
        if value is not None:
            hdus[1].header["DEADC"] = value

    edit_fits(path, change)
    with pytest.raises(ValueError, match=r"run 1: .*DEADC"):
        _ = Store.from_files([path]).get(1).livetime


def test_run_without_gti(make_run):
    path = make_run(1)
    run = Store.from_files([path]).get(1)
    bare = replace(run, hdus=tuple(h for h in run.hdus if h.hdu_type != "gti"))
    xr.testing.assert_allclose(bare.gti, run.gti)


def test_gti_without_reference_borrows_that_of_the_events(make_run, edit_fits):
    path = make_run(1)
    expected = Store.from_files([path]).get(1).tstart
    edit_fits(path, lambda hdus: [hdus[2].header.pop(k) for k in ("MJDREFI", "MJDREFF")])
    assert Store.from_files([path]).get(1).tstart == expected


def test_hdus_by_number_and_class(make_run):
    path = make_run(1)
    run = Store.from_files([path]).get(1)
    for name in (1, "1", "", "events"):
        other = Observation(1, (HduLocation("events", "events", str(path), name),))
        assert other.events.sizes["event"] == 50
    assert Observation(1, (HduLocation("aeff", "", str(path), ""),)).aeff.equals(run.aeff)
    assert Observation(1, (HduLocation("aeff", "", "nowhere", 3, alternative=str(path)),)).aeff.equals(run.aeff)


# pointing -------------------------------------------------------------------------------------


def test_drift():
    cards = {
        "OBS_MODE": "DRIFT_SCAN",
        "ALT_PNT": "70",
        "AZ_PNT": 180.0,
        "GEOLON": "16.5",
        "GEOLAT": -23.27,
        "GEOALT": 1835,
    }
    pointing = Pointing.from_header(cards)
    # gammapy 2.1: FixedPointingInfo.from_fits_header(...).get_icrs(time, location), J2000 + these seconds
    assert pointing.icrs(135435637.184) == pytest.approx((236.81094196074574, -43.256302092123185), abs=1e-4)
    ra, _ = pointing.icrs([135435637.184, 135436000.0])
    assert ra[1] == pytest.approx(238.3265642959571, abs=1e-4)
    assert pointing.altaz(0.0) == (70.0, 180.0)
    assert np.isnan(pointing.ra)


@pytest.mark.parametrize("mode", ["WOBBLE", "SLEWING", "POINTING", "RASTER", "", None])
def test_other_modes_point(mode):
    cards = {"RA_PNT": 83.0, "DEC_PNT": 22.0, **({} if mode is None else {"OBS_MODE": mode})}
    pointing = Pointing.from_header(cards)
    assert pointing.mode == "pointing"
    assert pointing.icrs(5.0) == (83.0, 22.0)
    with pytest.raises(ValueError, match="location"):
        pointing.altaz(0.0)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"RA_PNT": 83.0}, "DEC_PNT"),
        ({"RA_PNT": "x", "DEC_PNT": 2.0}, "RA_PNT"),
        ({"OBS_MODE": "DRIFT", "RA_PNT": 1.0, "DEC_PNT": 2.0}, "ALT_PNT and AZ_PNT"),
        ({"OBS_MODE": "DRIFT", "ALT_PNT": 1.0, "AZ_PNT": 2.0}, "location"),
    ],
)
def test_bad_pointings(cards, words):
    with pytest.raises(ValueError, match=words):
        Pointing.from_header(cards)


def test_pointing_table():
    table = ((0.0, 359.0, 0.0), (10.0, 1.0, 0.0), (20.0, 1.0, 60.0))
    pointing = Pointing("table", table=table)
    ra, dec = pointing.icrs(5.0)
    assert (np.cos(np.deg2rad(ra)), dec) == pytest.approx((1.0, 0.0), abs=1e-15)
    _, dec = pointing.icrs(np.array([0.0, 15.0]))
    assert dec[1] == pytest.approx(30.0)
    with pytest.raises(ValueError, match="outside the pointing table"):
        pointing.icrs(21.0)


def test_offsets_of_a_drift_run_follow_the_sky(make_run):
    run = Store.from_files([make_run(1, OBS_MODE="DRIFT", ALT_PNT=70.0, AZ_PNT=180.0)]).get(1)
    events = run.events
    ra, dec = run.pointing.icrs(events.time.values)
    assert ra[-1] - ra[0] > 3  # a thousand seconds
    sky = SkyCoord(events.ra.values, events.dec.values, unit="deg")
    offset = sky.separation(SkyCoord(ra, dec, unit="deg")).deg
    np.testing.assert_allclose(event_offset(events, run.pointing), offset, rtol=1e-9)
    limit = float(np.median(offset))
    assert run.filter(offset=f"{limit} deg").events.sizes["event"] == (offset < limit).sum() == 25
