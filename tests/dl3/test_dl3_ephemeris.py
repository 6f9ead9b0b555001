"""Phases from times: against decimal arithmetic, astropy's time scales and its way to the barycentre."""

from fractions import Fraction

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

import xgamma as xg
from xgamma.dl3.ephemeris import Ephemeris, assign_phases, event_phases
from xgamma.dl3.phases import turned
from xgamma.dl3.pointing import bundled_iers

CRAB = SkyCoord(83.633, 22.0145, unit="deg")
LA_PALMA = EarthLocation.from_geodetic(-17.89, 28.76, 2200.0)
TERMS = (29.946923, -3.77535e-10, 1.1147e-20)


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


def test_turns_against_exact_arithmetic():
    ephemeris = Ephemeris(58000.0, TERMS, phase=0.25, scale="tt")
    seconds = ephemeris.reference_seconds + np.array([0.0, 1e-3, 1.0, 86400.0, 1e7, 3e8, -3e8])
    found = ephemeris.phases(seconds)
    for value, second in zip(found, seconds, strict=True):
        t = Fraction(second) - Fraction(ephemeris.reference_seconds)
        f0, f1, f2 = map(Fraction, TERMS)
        exact = float((Fraction(1, 4) + f0 * t + f1 * t**2 / 2 + f2 * t**3 / 6) % 1)
        # times are known to 1e-7 s, and 1e10 turns to 2e-6
        assert abs((value - exact + 0.5) % 1 - 0.5) < 5e-6


def test_barycentric_dynamical_time():
    times = Time(["2024-01-05", "2024-04-05", "2024-07-05", "2024-10-05"], scale="tt")
    ephemeris = Ephemeris(58000.0, (11.0,))
    reference = Time(58000.0, format="mjd", scale="tdb")
    exact = ((times.tdb - reference).to_value("s") * 11.0) % 1
    assert np.abs((ephemeris.phases(times) - exact + 0.5) % 1 - 0.5).max() < 1e-5
    # terrestrial time is another clock: it differs by up to 1.7 ms over the year
    other = Ephemeris(Time(58000.0, format="mjd", scale="tdb"), (11.0,), scale="tt")
    away = np.abs((other.phases(times) - exact + 0.5) % 1 - 0.5)
    assert 0.01 < away.max() < 0.04


def test_way_to_the_barycentre_against_astropy():
    start = Time("2024-02-01T22:00", scale="utc")
    times = start + np.sort(np.random.default_rng(0).uniform(0, 3600, 5000)) * u.s
    ephemeris = Ephemeris(58000.0, (29.9,), position=CRAB, location=LA_PALMA)
    with bundled_iers():
        there = times.tdb + times.light_travel_time(CRAB, ephemeris="builtin", location=LA_PALMA)
    exact = ((there - Time(58000.0, format="mjd", scale="tdb")).to_value("s") * 29.9) % 1
    # between nodes the way is a straight line: better than a microsecond
    assert np.abs((ephemeris.phases(times) - exact + 0.5) % 1 - 0.5).max() < 3e-5
    # one at a time, without nodes
    assert ephemeris.phases(times[:3]) == pytest.approx(ephemeris.phases(times)[:3], abs=3e-5)
    # within half a year the way changes by minutes
    way = times[0].light_travel_time(CRAB, ephemeris="builtin", location=LA_PALMA).to_value("s")
    later = (times[0] + 182 * u.day).light_travel_time(CRAB, ephemeris="builtin", location=LA_PALMA).to_value("s")
    assert abs(way - later) > 600


def test_a_pulsar_that_moves_is_where_it_has_moved():
    epoch, years = Time(50000.0, format="mjd", scale="tdb"), 20.0
    moving = SkyCoord(CRAB.ra, CRAB.dec, pm_ra_cosdec=900 * u.mas / u.yr, pm_dec=-400 * u.mas / u.yr, obstime=epoch)
    there = CRAB.spherical_offsets_by(years * 900 * u.mas, -years * 400 * u.mas)
    times = epoch + years * u.yr + np.linspace(-0.5, 0.5, 7) * u.h
    settings = {"reference": 58000.0, "frequency": (29.9,), "location": LA_PALMA}
    found, wanted, still = (Ephemeris(position=p, **settings).phases(times) for p in (moving, there, CRAB))
    assert np.abs((found - wanted + 0.5) % 1 - 0.5).max() < 3e-5
    # the motion is worth a good part of a turn
    assert np.abs((found - still + 0.5) % 1 - 0.5).min() > 0.05
    assert repr(Ephemeris(position=moving, **settings)) != repr(Ephemeris(position=CRAB, **settings))
    with pytest.raises(ValueError, match="no time at which it holds"):
        Ephemeris(
            position=SkyCoord(1, 2, unit="deg", pm_ra_cosdec=1 * u.mas / u.yr, pm_dec=0 * u.mas / u.yr), **settings
        )


def test_place_of_the_header_and_laziness():
    events = xr.Dataset({"time": ("event", 7.6e8 + np.linspace(0, 100, 50), {"units": "s"})})
    ephemeris = Ephemeris(58000.0, (1.0,), position=CRAB)
    with pytest.raises(ValueError, match="place of the telescope"):
        event_phases(events, ephemeris)
    with pytest.raises(ValueError, match="place of the telescope"):
        ephemeris.phases(events.time.values)
    placed = events.assign_attrs(geolon=-17.89, geolat=28.76, altitude=2200.0)
    direct = Ephemeris(58000.0, (1.0,), position=CRAB, location=LA_PALMA).phases(events.time.values)
    assert np.allclose(event_phases(placed, ephemeris).phase, direct, atol=1e-9)
    with dask.config.set(scheduler=raising):
        lazy = event_phases(placed.chunk({"event": 10}), ephemeris)
    assert np.allclose(lazy.phase.compute(), direct, atol=1e-7)


def test_phases_come_with_the_events():
    runs = xg.open_store(xg.sample_path("survey")).observations[:2]
    ephemeris = Ephemeris(58000.0, (0.1,), scale="tt")
    folded = assign_phases(runs, ephemeris)
    events = folded[0].events
    assert np.array_equal(events.phase, ephemeris.phases(events.time.values))
    assert folded[0].livetime == runs[0].livetime
    half = folded[0].filter(phase=(0.0, 0.5))
    assert half.events.sizes["event"] == int((events.phase < 0.5).sum())
    assert half.livetime == pytest.approx(0.5 * runs[0].livetime)
    # other ephemerides are other runs in a graph
    again = assign_phases(runs, Ephemeris(58000.0, (0.1 + 1e-12,), scale="tt"))
    tokens = {repr(run.__dask_tokenize__()) for run in (runs[0], folded[0], again[0])}
    assert len(tokens) == 3


@given(st.floats(-0.5, 1.0))
def test_a_turn(phase):
    value = float(turned([phase])[0])
    assert 0 <= value < 1
    assert abs((value - phase + 0.5) % 1 - 0.5) < 1e-12


def test_files_and_words(tmp_path):
    file = tmp_path / "crab.par"
    file.write_text("PSRJ J0534+2200\n# a comment\nF0 29.946923 1 1e-9\nF1 -3.77535D-10\nPEPOCH 48442.5\nUNITS TDB\n")
    ephemeris = Ephemeris.read(file)
    assert ephemeris.frequency == (29.946923, -3.77535e-10)
    assert ephemeris.position is None
    assert ephemeris.reference.mjd == 48442.5
    file.write_text("F0 29.9\nPEPOCH 48442.5\nBINARY ELL1\n")
    with pytest.raises(ValueError, match="BINARY"):
        Ephemeris.read(file)
    file.write_text("F1 29.9\nPEPOCH 48442.5\n")
    with pytest.raises(ValueError, match="no F0"):
        Ephemeris.read(file)
    file.write_text("F0 11.2\nPEPOCH 54000\nPOSEPOCH 51544\nRAJ 08:35:20.6\nDECJ -45:10:35\nPMRA -49.7\nPMDEC 29.9\n")
    vela = Ephemeris.read(file).position
    assert vela.pm_ra_cosdec.to_value("mas / yr") == pytest.approx(-49.7)
    assert vela.pm_dec.to_value("mas / yr") == pytest.approx(29.9)
    assert vela.obstime.mjd == 51544
    # what would be taken for something else
    for card, words in (("UNITS TCB", "TCB"), ("ELONG 83.6", "ecliptic"), ("F1 fast", "F1 fast, which is no number")):
        file.write_text(f"F0 29.9\nPEPOCH 48442.5\n{card}\n")
        with pytest.raises(ValueError, match=words):
            Ephemeris.read(file)
    for phase in (np.nan, "0.5"):
        with pytest.raises(ValueError, match="finite number of turns"):
            Ephemeris(58000.0, (1.0,), phase=phase)
    for bad in ((), (0.0,), (-1.0,), (np.nan,), ("1 m",)):
        with pytest.raises(ValueError, match="frequency"):
            Ephemeris(58000.0, bad)
    with pytest.raises(ValueError, match="scale"):
        Ephemeris(58000.0, (1.0,), scale="utc")
    with pytest.raises(ValueError, match="reference"):
        Ephemeris("soon", (1.0,))
    assert np.isnan(Ephemeris(58000.0, (1.0,)).phases([np.nan])).all()
