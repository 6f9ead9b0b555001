"""Event lists and their selections."""

from __future__ import annotations

import pickle

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import (
    CircleAnnulusSkyRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    PolygonSkyRegion,
    RectangleSkyRegion,
)

from xgamma.coords.bins import bin_axis
from xgamma.dl3.events import read_events, stack_events
from xgamma.dl3.filters import ObservationFilter, PhaseFilter
from xgamma.dl3.gti import gti_duration, gti_table
from xgamma.dl3.select import (
    event_offset,
    event_separation,
    region_contains,
    select_energy,
    select_mask,
    select_offset,
    select_rad_max,
    select_range,
    select_region,
    select_time,
)
from xgamma.dl3.store import open_store
from xgamma.dl3.theta2 import theta2_table
from xgamma.irf.rad_max import evaluate_rad_max

CRAB = SkyCoord(83.633083, 22.0145, unit="deg")


def events_hdu(**changes):
    data = {
        "EVENT_ID": ("K", None, np.arange(4)),
        "TIME": ("D", "s", np.array([1.0, 2.0, 3.0, 4.0])),
        "RA": ("E", "deg", np.array([83.0, 84.0, -1.0, 0.5])),
        "DEC": ("E", "deg", np.array([22.0, 22.5, 0.0, 0.5])),
        "ENERGY": ("E", "GeV", np.array([500.0, 1000.0, 2000.0, 4000.0])),
        **changes,
    }
    columns = [fits.Column(n, f, unit=unit, array=v) for n, (f, unit, v) in data.items() if f]
    hdu = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    hdu.header.update({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "tt", "OBS_ID": 7, "EQUINOX": " ", "TRUE": True})
    return hdu


def test_read():
    hdu = events_hdu(Multip=("I", "", np.array([2, 3, 4, 4])), EVENT_TYPE=("8X", None, np.ones((4, 8), bool)))
    events = read_events(hdu)
    np.testing.assert_array_equal(events.energy, [0.5, 1, 2, 4])
    np.testing.assert_array_equal(events.ra, [83, 84, 359, 0.5])
    np.testing.assert_array_equal(events.time, [1, 2, 3, 4])
    assert events.energy.attrs["units"] == "TeV"
    assert events.time.attrs == {"units": "s", "long_name": "Time", "reference": "J2000.0 (TT)"}
    assert events.multip.values.tolist() == [2, 3, 4, 4]
    assert events.event_type.shape == (4, 8)
    assert events.attrs["obs_id"] == 7
    assert events.attrs["equinox"] == ""
    assert not any(k.startswith(("ttype", "naxis")) for k in events.attrs)
    assert all(v.dtype.isnative for v in events.data_vars.values())
    assert set(read_events(hdu, ("ENERGY", "ra")).data_vars) == {"energy", "ra"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ENERGY": ("", None, None)}, "no column ENERGY"),
        ({"ENERGY": ("E", None, np.ones(4))}, "column ENERGY .* states no unit"),
        ({"RA": ("E", "TeV", np.ones(4))}, "column RA .* wrong unit"),
        ({"ENERGY": ("E", "TeV", np.array([1, np.nan, -1, 0]))}, "3 of 4 events in f.fits are bad: 1 with energy NaN"),
        ({"DEC": ("E", "deg", np.array([1, np.inf, 1, 1]))}, "1 of 4 .* dec NaN or infinite"),
    ],
)
def test_bad_files(change, words):
    with pytest.raises(ValueError, match=words):
        read_events(events_hdu(**change), where="f.fits")


def test_drop_bad_events():
    hdu = events_hdu(ENERGY=("E", "TeV", np.array([1, np.nan, -1, 2])))
    events = read_events(hdu, on_bad="drop")
    assert events.energy.values.tolist() == [1, 2]
    assert events.attrs["n_dropped"] == 2
    with pytest.raises(ValueError, match="on_bad"):
        read_events(hdu, on_bad="ignore")
    with pytest.raises(ValueError, match="no column GAMMANESS"):
        read_events(hdu, ("gammaness",))


def test_time_without_unit_is_in_seconds():
    hdu = events_hdu(TIME=("D", None, np.arange(4.0)))
    np.testing.assert_array_equal(read_events(hdu).time, np.arange(4.0))


def test_empty_list():
    hdu = events_hdu(
        **{
            n: (f, un, np.array([]))
            for n, f, un in (
                ("TIME", "D", "s"),
                ("RA", "E", "deg"),
                ("DEC", "E", "deg"),
                ("ENERGY", "E", "TeV"),
                ("EVENT_ID", "K", None),
            )
        }
    )
    events = read_events(hdu)
    assert events.sizes["event"] == 0
    assert select_energy(events, "1 TeV").sizes["event"] == 0


@pytest.fixture
def events():
    rng = np.random.default_rng(1)
    n = 2000
    return xr.Dataset(
        {
            "ra": ("event", 83.6 + rng.normal(0, 1, n), {"units": "deg"}),
            "dec": ("event", 22 + rng.normal(0, 1, n), {"units": "deg"}),
            "energy": ("event", rng.pareto(1.5, n) + 0.1, {"units": "TeV"}),
            "time": ("event", np.sort(rng.uniform(0, 1000, n)), {"units": "s"}),
            "phase": ("event", rng.uniform(0, 1, n), {"units": ""}),
            "alt": ("event", rng.uniform(40, 60, n), {"units": "deg"}),
        },
        attrs={"obs_id": 1, "ra_pnt": 83.6, "dec_pnt": 22.5},
    )


def test_simple_selections(events):
    energy = events.energy.values
    assert select_energy(events, "1 TeV", 10 * u.TeV).sizes["event"] == ((energy >= 1) & (energy < 10)).sum()
    assert select_range(events, "alt", "50 deg").sizes["event"] == (events.alt.values >= 50).sum()
    assert select_range(events, "alt", upper=50).sizes["event"] == (events.alt.values < 50).sum()
    assert select_time(events, [(0.0, 10.0), (20.0, 30.0)]).sizes["event"] == sum(
        (t <= 10) or (20 <= t <= 30) for t in events.time.values
    )
    assert select_time(events, gti_table([0.0], [10.0])).time.max() <= 10
    for call, words in (
        (lambda: select_energy(events, 1.0), "unit"),
        (lambda: select_range(events, "nothing", 1), "no column 'nothing'"),
        (lambda: select_mask(events, [True]), "bool for each of 2000"),
        (lambda: select_mask(events, np.ones(2000)), "bool"),
        (lambda: select_range(events, "alt", "1 TeV"), "alt"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_selection_of_chunked_events(events):
    lazy = select_energy(events.chunk(event=100), "1 TeV")
    assert lazy.ra.chunks is not None
    xr.testing.assert_equal(lazy.compute(), select_energy(events, "1 TeV"))


def test_angles_equal_astropy(events):
    sky = SkyCoord(events.ra.values, events.dec.values, unit="deg")
    np.testing.assert_allclose(event_separation(events, CRAB.galactic), sky.separation(CRAB).deg, rtol=1e-10)
    pointing = SkyCoord(83.6, 22.5, unit="deg")
    np.testing.assert_allclose(event_offset(events), sky.separation(pointing).deg, rtol=1e-10)
    np.testing.assert_allclose(event_offset(events, CRAB), sky.separation(CRAB).deg, rtol=1e-10)
    offset = sky.separation(pointing).deg
    assert select_offset(events, "0.3 deg", "1 deg").sizes["event"] == ((offset >= 0.3) & (offset < 1)).sum()
    with pytest.raises(ValueError, match="RA_PNT"):
        event_offset(events.drop_attrs())


def test_circles_are_exact(events):
    sky = SkyCoord(events.ra.values, events.dec.values, unit="deg")
    angle = sky.separation(CRAB).deg
    circle = CircleSkyRegion(CRAB, 0.5 * u.deg)
    assert select_region(events, circle).sizes["event"] == (angle < 0.5).sum()
    assert select_region(events, circle, inverted=True).sizes["event"] == (angle >= 0.5).sum()
    ring = CircleAnnulusSkyRegion(CRAB.galactic, 0.5 * u.deg, 1 * u.deg)
    assert select_region(events, ring).sizes["event"] == ((angle >= 0.5) & (angle < 1)).sum()
    both = circle | ring
    assert select_region(events, both).sizes["event"] == (angle < 1).sum()


def test_planar_shapes(events):
    sky = SkyCoord(events.ra.values, events.dec.values, unit="deg")
    # independent: offsets in a frame rotated to the centre, close to the tangential plane for small shapes
    local = sky.transform_to(CRAB.skyoffset_frame())
    x, y = local.lon.wrap_at(180 * u.deg).deg, local.lat.deg
    box = RectangleSkyRegion(CRAB, 0.6 * u.deg, 0.2 * u.deg)
    near = (np.abs(np.abs(x) - 0.3) < 1e-4) | (np.abs(np.abs(y) - 0.1) < 1e-4)
    inside = region_contains(box, events.ra.values, events.dec.values)
    np.testing.assert_array_equal(inside[~near], ((np.abs(x) < 0.3) & (np.abs(y) < 0.1))[~near])
    ellipse = EllipseSkyRegion(CRAB, 0.8 * u.deg, 0.4 * u.deg)
    value = (x / 0.4) ** 2 + (y / 0.2) ** 2
    near = np.abs(value - 1) < 1e-3
    inside = region_contains(ellipse, events.ra.values, events.dec.values)
    np.testing.assert_array_equal(inside[~near], (value < 1)[~near])
    corners = SkyCoord([83.4, 83.9, 83.9, 83.4], [21.8, 21.8, 22.2, 22.2], unit="deg")
    polygon = PolygonSkyRegion(corners)
    ra, dec = events.ra.values, events.dec.values
    expected = (ra > 83.4) & (ra < 83.9) & (dec > 21.8) & (dec < 22.2)
    near = (np.abs(dec - 21.8) < 1e-3) | (np.abs(dec - 22.2) < 1e-3)
    np.testing.assert_array_equal(region_contains(polygon, ra, dec)[~near], expected[~near])


def test_events_on_the_far_side_are_outside():
    box = RectangleSkyRegion(CRAB, 1 * u.deg, 1 * u.deg)
    assert not region_contains(box, np.array([263.6]), np.array([-22.0])).any()
    with pytest.raises(TypeError, match="sky region"):
        region_contains("circle", np.array([0.0]), np.array([0.0]))


def rad_max_table(lo, hi, values):
    energy = bin_axis("energy", [0.1, 1.0], [1.0, 10.0], "TeV")
    offset = bin_axis("offset", lo, hi, "deg", interp="lin")
    return xr.DataArray(values, dims=("energy", "offset"), coords=energy.coords.merge(offset.coords).coords)


def test_rad_max(events):
    table = rad_max_table([0.0, 1.0], [1.0, 2.0], [[0.1, 0.2], [0.3, 0.4]])
    angle, energy = event_separation(events, CRAB).values, events.energy.values
    # the offset of the source counts, 0.5 deg here, not those of the events; energies beyond 10 TeV have no radius
    limit = np.where(energy >= 1, 0.3, 0.1) * (energy >= 0.1) * (energy <= 10)
    assert select_rad_max(events, table, CRAB).sizes["event"] == (angle < limit).sum()
    far = SkyCoord(83.6, 24.0, unit="deg")
    limit = np.where(energy >= 1, 0.4, 0.2) * (energy >= 0.1) * (energy <= 10)
    expected = (event_separation(events, far).values < limit).sum()
    assert select_rad_max(events, table, far).sizes["event"] == expected
    # nodes reach half a step to each side
    nodes = rad_max_table([0.4, 0.8], [0.4, 0.8], [[0.2, 0.5], [0.3, 0.5]])
    limit = np.where(energy >= 1, 0.3, 0.2) * (energy >= 0.1) * (energy <= 10)
    assert select_rad_max(events, nodes, CRAB).sizes["event"] == (angle < limit).sum()
    assert select_rad_max(events, xr.DataArray(0.14), CRAB).sizes["event"] == (angle < 0.14).sum()


def test_rad_max_is_the_one_that_is_evaluated(events):
    table = rad_max_table([0.0, 1.0], [1.0, 2.0], [[0.1, 0.2], [0.3, 0.4]])
    angle = event_separation(events, CRAB).values
    offset = event_separation(xr.Dataset({"ra": ("event", [83.6]), "dec": ("event", [22.5])}), CRAB).item()
    limit = evaluate_rad_max(table, events.energy.values, offset)
    assert (limit == 0).any()
    np.testing.assert_array_equal(select_rad_max(events, table, CRAB).energy, events.energy[angle < limit])


def test_rad_max_where_the_table_ends(events):
    table = rad_max_table([0.3], [0.45], [[0.1], [0.3]])
    with pytest.raises(ValueError, match=r"source lies 0\.4\d+ deg from the pointing.*0\.3 to 0\.45 deg"):
        select_rad_max(events, table, CRAB)
    with pytest.raises(ValueError, match="no RA_PNT and DEC_PNT"):
        select_rad_max(events.drop_attrs(), table, CRAB)


def test_rad_max_of_magic(gammapy_data):
    # gammapy 2.1: observation.events.select_rad_max(observation.rad_max, position=SkyCoord("83.63d", "22.01d"))
    store = open_store(gammapy_data / "magic" / "rad_max" / "data")
    crab = SkyCoord(83.63, 22.01, unit="deg")
    for label, expected in ((5029747, 964), (5029748, 1084)):
        run = store.get(label)
        assert select_rad_max(run.events, run.rad_max, crab).sizes["event"] == expected
    pointing = run.events.attrs["ra_pnt"], run.events.attrs["dec_pnt"]
    # gammapy selects nothing there, without a word
    with pytest.raises(ValueError, match=r"0\.39 to 0\.41 deg"):
        select_rad_max(run.events, run.rad_max, SkyCoord(*pointing, unit="deg"))


def test_theta2(events):
    table = theta2_table(events, CRAB, [0, 0.1, 0.2])
    np.testing.assert_array_equal(table.counts, np.histogram(event_separation(events, CRAB) ** 2, [0, 0.1, 0.2])[0])
    pointing = SkyCoord(83.6, 22.5, unit="deg")
    mirror = pointing.spherical_offsets_by(*(-1 * v for v in pointing.spherical_offsets_to(CRAB)))
    off = theta2_table(events, CRAB, [0, 0.1, 0.2] * u.deg**2, off=SkyCoord([mirror, mirror]))
    np.testing.assert_array_equal(off.counts_off, 2 * table.counts_off)
    np.testing.assert_array_equal(off.excess, table.excess)
    assert table.acceptance_off.values.tolist() == [1, 1]
    with pytest.raises(ValueError, match="off"):
        theta2_table(events.drop_attrs(), CRAB, [0, 1])


def test_stack(events):
    other = events.assign_attrs(obs_id=2).drop_vars("alt")
    stacked = stack_events([events, other])
    assert stacked.sizes["event"] == 4000
    assert "alt" not in stacked
    assert np.bincount(stacked.obs_id).tolist() == [0, 2000, 2000]
    assert stacked.attrs["ra_pnt"] == 83.6
    assert "obs_id" not in stacked.attrs
    gev = other.assign(energy=(other.energy * 1000).assign_attrs(units="GeV"))
    np.testing.assert_allclose(stack_events([events, gev]).energy[2000:], events.energy)
    with pytest.raises(ValueError, match="no event lists"):
        stack_events([])


# filters ------------------------------------------------------------------------------------


def test_filter_applies_everything(events):
    cut = ObservationFilter.create(
        time=[(0.0, 100.0), (500.0, 600.0)],
        energy=("0.5 TeV", None),
        alt=("45 deg", 55),
        offset="1 deg",
        phase=[(0.0, 0.25), (0.5, 0.75)],
        region=CircleSkyRegion(CRAB, 1 * u.deg),
        box=(CRAB, "1 deg", "1 deg"),
    )
    cut = pickle.loads(pickle.dumps(cut))
    assert cut.livetime_fraction == 0.5
    t, e, p, alt = (events[n].values for n in ("time", "energy", "phase", "alt"))
    keep = (t < 100) | ((t >= 500) & (t < 600))
    keep &= (e >= 0.5) & (alt >= 45) & (alt < 55) & (event_offset(events).values < 1)
    keep &= (p < 0.25) | ((p >= 0.5) & (p < 0.75))
    keep &= event_separation(events, CRAB).values < 1
    keep &= (np.abs(events.ra.values - CRAB.ra.deg) <= 0.5) & (np.abs(events.dec.values - CRAB.dec.deg) <= 0.5)
    assert 0 < keep.sum() < 100
    xr.testing.assert_identical(cut.filter_events(events), events.isel(event=keep))
    assert gti_duration(cut.filter_gti(gti_table([50.0], [550.0]))) == 100


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=4))
def test_filters_combine(pairs):
    n = np.arange(100.0)
    events = xr.Dataset({"time": ("event", n)})
    times = [(float(a), float(a + b)) for a, b in pairs]
    first, second = ObservationFilter.create(time=times), ObservationFilter.create(time=(10.0, 30.0))
    both = (first & second).filter_events(events)
    expected = [t for t in n if 10 <= t < 30 and any(a <= t < b for a, b in times)]
    assert both.time.values.tolist() == expected


def test_box_wraps_and_has_a_frame():
    sky = SkyCoord([359.8, 0.2, 1.0], [0, 0, 0], unit="deg", frame="galactic")
    events = xr.Dataset({"ra": ("event", sky.icrs.ra.deg), "dec": ("event", sky.icrs.dec.deg)})
    cut = ObservationFilter.create(box=(SkyCoord(0, 0, unit="deg", frame="galactic"), "1 deg", "1 deg"))
    assert cut.filter_events(events).sizes["event"] == 2


@pytest.mark.parametrize(
    "cuts",
    [
        {"energy": "1 TeV"},
        {"energy": (1, 2)},
        {"phase": (0.5, 0.2)},
        {"phase": [(0, 0.5), (0.4, 0.6)]},
        {"box": CRAB},
        {"offset": 2},
    ],
)
def test_bad_filters(cuts):
    with pytest.raises(ValueError, match=next(iter(cuts))):
        ObservationFilter.create(**cuts)


def test_missing_phase(events):
    with pytest.raises(ValueError, match="phase"):
        PhaseFilter(((0.0, 0.5),)).__call__(events.drop_vars("phase"))
