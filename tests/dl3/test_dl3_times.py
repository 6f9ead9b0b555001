"""Times, good time intervals."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time, TimeDelta
from hypothesis import given, settings
from hypothesis import strategies as st

from xgamma.dl3 import gti as g
from xgamma.dl3.times import (
    J2000_HEADER,
    from_tt_seconds,
    reference_seconds,
    time_intervals,
    to_time,
    to_tt_seconds,
    tt_seconds,
)

J2000 = Time("2000-01-01T12:00:00", scale="tt")
HEADERS = {
    "HESS": {"MJDREFI": 51910, "MJDREFF": 0.000742870370370241, "TIMESYS": "TT"},
    "MAGIC": {"MJDREFI": 52706, "MJDREFF": 0.0, "TIMESYS": "utc", "TIMEUNIT": "s"},
    "HAWC": {"MJDREFI": 44244, "MJDREFF": 0.0, "TIMESYS": "TAI"},
    "TDB": {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TDB"},
    "MJDREF": {"MJDREF": 51910.25, "TIMESYS": "tt "},
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", [0.0, 333780072.766974, 6.7e8])
def test_conversion_equals_astropy(name, value):
    header = HEADERS[name]
    whole = header.get("MJDREFI", header.get("MJDREF"))
    reference = Time(whole, header.get("MJDREFF", 0.0), format="mjd", scale=header["TIMESYS"].strip().lower())
    expected = (reference.tt + TimeDelta(value, format="sec", scale="tt") - J2000).to_value("s")
    assert to_tt_seconds([value], header)[0] == pytest.approx(expected, abs=2e-7, rel=0)


@pytest.mark.parametrize("name", HEADERS)
def test_round_trip(name):
    values = np.array([0.0, 1.25, 333780072.766974, 1e9])
    back = from_tt_seconds(to_tt_seconds(values, HEADERS[name]), HEADERS[name])
    np.testing.assert_allclose(back, values, atol=2.4e-7, rtol=0)


def test_leap_seconds_of_magic():
    # the file says DATE-OBS 2013-10-04, TIME-OBS 04:41:09 for this TSTART; three leap seconds since MJDREFI
    start = to_tt_seconds([333780072.766974], HEADERS["MAGIC"])[0]
    assert to_time(start).utc.isot == "2013-10-04T04:41:09.767"


def test_gps_is_19_seconds_from_tai():
    tai = reference_seconds({"MJDREFI": 44244, "TIMESYS": "TAI"})
    assert reference_seconds({"MJDREFI": 44244, "TIMESYS": "GPS"}) - tai == pytest.approx(19.0)


def test_timezero_and_missing_timesys():
    plain = reference_seconds({"MJDREFI": 51910, "MJDREFF": 0.25})
    assert plain == reference_seconds({"MJDREFI": 51910, "MJDREFF": 0.25, "TIMESYS": "TT"})
    assert reference_seconds({"MJDREFI": 51910, "MJDREFF": 0.25, "TIMEZERO": 5.5}) - plain == pytest.approx(5.5)
    day = {"MJDREFI": 51910, "MJDREFF": 0.25, "TIMEZERO": 1.0, "TIMEUNIT": "d"}
    assert reference_seconds(day) - plain == pytest.approx(86400)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({}, "no MJDREFI"),
        ({"MJDREFI": "many"}, "should be numbers"),
        ({"MJDREFI": 51910, "TIMESYS": "MARS"}, "not a known time system"),
        ({"MJDREFI": 51910, "TIMESYS": "LOCAL"}, "not a known time system"),
    ],
)
def test_bad_references(header, words):
    with pytest.raises(ValueError, match=words):
        reference_seconds(header)


@settings(deadline=None)
@given(st.floats(-1e9, 1e9))
def test_time_round_trip(seconds):
    assert float(tt_seconds(to_time(seconds))) == pytest.approx(seconds, abs=2e-7, rel=0)


def test_intervals():
    both = [("2004-03-26", "2004-03-27"), (Time("2004-01-01"), Time("2004-01-02"))]
    table = time_intervals(both)
    assert table.shape == (2, 2)
    assert (np.diff(table, axis=1) == 86400).all()
    assert table[0, 0] < table[1, 0]
    assert time_intervals(Time(["2004-01-01", "2004-01-02"])).shape == (1, 2)
    for bad in ("2004", (1.0,), [], (2.0, 1.0), ("yesterday", "today"), [(1, 2), 3]):
        with pytest.raises(ValueError, match="time"):
            time_intervals(bad)


# good time intervals ------------------------------------------------------------------------

intervals = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 20)).map(lambda p: (p[0], p[0] + p[1])), min_size=1, max_size=8
)


def grid_mask(gti):
    """Brute force: which of the half-second marks are covered."""
    marks = np.arange(0, 130) + 0.5
    starts, stops = gti["gti_start"].values, gti["gti_stop"].values
    return ((marks[:, None] > starts) & (marks[:, None] < stops)).any(axis=1)


def table_of(pairs):
    return g.gti_table(*np.array(pairs, dtype=float).T)


@settings(deadline=None)
@given(intervals, intervals)
def test_union_and_intersection_by_brute_force(a, b):
    first, second = table_of(a), table_of(b)
    union, both = g.gti_union(first, second), g.gti_intersection(first, second)
    np.testing.assert_array_equal(grid_mask(union), grid_mask(first) | grid_mask(second))
    np.testing.assert_array_equal(grid_mask(both), grid_mask(first) & grid_mask(second))
    assert g.gti_duration(union) == grid_mask(union).sum()
    assert g.gti_duration(both) == grid_mask(both).sum()
    assert (union["gti_start"].values[1:] > union["gti_stop"].values[:-1]).all()


@settings(deadline=None)
@given(intervals, intervals)
def test_select_time_and_its_inverse_share_the_time(a, b):
    gti = g.gti_union(table_of(a))
    inside, outside = g.gti_select_time(gti, b), g.gti_select_time(gti, b, inverted=True)
    np.testing.assert_array_equal(grid_mask(inside) ^ grid_mask(outside), grid_mask(gti))
    assert g.gti_duration(inside) + g.gti_duration(outside) == g.gti_duration(gti)
    np.testing.assert_array_equal(grid_mask(g.gti_delete(gti, b)), grid_mask(outside))


@settings(deadline=None)
@given(intervals, st.lists(st.floats(-5, 130), min_size=1, max_size=30))
def test_contains_by_brute_force(a, times):
    gti = table_of(a)
    expected = [any(lo <= t <= hi for lo, hi in a) for t in times]
    np.testing.assert_array_equal(g.gti_contains(gti, np.array(times)), expected)


def test_touching_intervals():
    gti = g.gti_table([0.0, 10.0], [10.0, 20.0])
    assert g.gti_union(gti).sizes["gti"] == 1
    assert g.gti_union(gti, merge_equal=False).sizes["gti"] == 2
    assert g.gti_union().sizes["gti"] == 0
    assert not g.gti_contains(g.gti_table([], []), [1.0]).any()


def test_padded_tables():
    gti = g.gti_table([0.0], [10.0]).pad(gti=(0, 2))
    assert g.gti_duration(gti) == 10.0
    assert g.gti_union(gti).sizes["gti"] == 1


@pytest.mark.parametrize(
    ("start", "stop", "words"), [([1], [0], "before"), ([np.nan], [1], "NaN"), ([0, 1], [2], "long")]
)
def test_bad_tables(start, stop, words):
    with pytest.raises(ValueError, match=words):
        g.gti_table(start, stop)


@pytest.mark.parametrize("header", [None, {**J2000_HEADER}, HEADERS["HESS"], HEADERS["MAGIC"], HEADERS["HAWC"]])
def test_fits_round_trip(header):
    gti = g.gti_table([1e8, 2e8], [1e8 + 10.5, 2e8 + 5])
    hdu = g.gti_to_hdu(gti, header)
    assert hdu.header["TIMESYS"].islower()
    np.testing.assert_allclose(g.read_gti(hdu)["gti_start"], gti["gti_start"], atol=2e-7, rtol=0)
    start, stop = g.gti_to_time(g.read_gti(hdu))
    assert (stop - start).to_value("s") == pytest.approx([10.5, 5], abs=1e-6)
    assert g.gti_duration(g.gti_from_time(start, stop)) == pytest.approx(15.5, abs=1e-6)


def test_read_without_units_and_reference():
    columns = [fits.Column(n, "D", array=np.array([v])) for n, v in (("start", 1.0), ("Stop", 5.0))]
    hdu = fits.BinTableHDU.from_columns(columns)
    assert float(g.read_gti(hdu)["gti_start"][0]) == 1.0
    reference = HEADERS["HESS"]
    assert float(g.read_gti(hdu, reference)["gti_start"][0]) == pytest.approx(1.0 + reference_seconds(reference))
    hdu.columns["START"].unit = "TeV"
    with pytest.raises(ValueError, match=r"GTI of a.fits: column start .* wrong unit"):
        g.read_gti(hdu, where="a.fits")
