from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, SkyCoord, SkyOffsetFrame
from scipy import integrate, stats

from xgamma.dl3.gti import gti_table
from xgamma.dl3.pointing import Pointing, bundled_iers
from xgamma.dl3.times import to_time
from xgamma.irf.aeff import evaluate_aeff
from xgamma.irf.axes import response_array, response_axis
from xgamma.irf.edisp import evaluate_edisp_kernel
from xgamma.irf.psf import containment, default_rad_axis, from_gauss
from xgamma.kernels.sphere import field_of_view, separation, to_vectors
from xgamma.simulate import array
from xgamma.simulate.directions import FieldOfView, directions_of
from xgamma.simulate.events import simulate_events
from xgamma.simulate.expected import expected_counts
from xgamma.simulate.response import interp_pairs, prepare_responses
from xgamma.simulate.sources import Disk, ExponentialCutoff, Gaussian, LogParabola, PowerLaw, Source

PVALUE = 1e-3
CENTER = (150.0, -25.0)
RANGE = ("0.3 TeV", "100 TeV")


@pytest.fixture(scope="module")
def irfs():
    return array.responses()


@pytest.fixture(scope="module")
def ready(irfs):
    return prepare_responses(irfs, (0.3, 100.0))


def star(amplitude="1e-11 cm-2 s-1 TeV-1", name="star", position=CENTER, **kwargs):
    return Source(name, position, PowerLaw(amplitude, index=2.3), **kwargs)


def flat_area(offset_max=5.0):
    energy = response_axis("energy_true", *(np.geomspace(0.1, 100, 31)[s] for s in (slice(-1), slice(1, None))))
    offset = response_axis("offset", [0.0], [offset_max])
    attrs = {"hduclass": "AEFF_2D"}
    return response_array(np.full((30, 1), 1e10), [energy, offset], "aeff", "cm2", "Effective area", attrs)


def only_area(**others):
    return {"aeff": flat_area(), "psf": None, "edisp": None, "bkg": None, **others}


def separations(events, position, names=("ra", "dec")):
    center = to_vectors(*(np.asarray(v) for v in position))
    return separation(to_vectors(*(events[n].values for n in names)), center)


# --- numbers of events ------------------------------------------------------------------------------------------


def test_counts_of_many_runs_scatter_around_the_expectation_like_poisson(ready):
    sources = [star(), star("3e-11 cm-2 s-1 TeV-1", "wide", (150.5, -24.0), shape=Gaussian("0.3 deg"))]
    settings = {"ontime": "30 s", "deadtime_fraction": 0.1}
    pointing = (150.0, -24.5)
    expected = np.array(list(expected_counts(pointing, sources, ready, **settings).values()))
    counts = np.array(
        [
            np.bincount(simulate_events(pointing, sources, ready, seed=5, obs_id=i, **settings).mc_id, minlength=3)
            for i in range(200)
        ]
    )
    pulls = (counts - expected) / np.sqrt(expected)
    assert (np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(200)).all()
    # the variance of a variance estimate of Poisson numbers is (2 + 1 / mu) / n
    assert (np.abs(pulls.var(axis=0) - 1) < 4 * np.sqrt((2 + 1 / expected) / 200)).all()
    correlation = np.corrcoef(counts.T)
    assert np.abs(correlation - np.eye(3)).max() < 4 / np.sqrt(200)


@pytest.mark.parametrize(
    "spectrum",
    [
        PowerLaw("1e-11 cm-2 s-1 TeV-1", index=2.6),
        ExponentialCutoff("1e-11 cm-2 s-1 TeV-1", index=1.8, cutoff="6 TeV"),
        LogParabola("1e-11 cm-2 s-1 TeV-1", alpha=2.1, beta=0.2),
    ],
)
def test_expectation_equals_an_integral_by_quadrature(irfs, spectrum):
    edges = np.array([0.3, 100.0])
    offset = 0.7

    def integrand(log_energy):
        energy = np.exp(log_energy)
        inside = evaluate_edisp_kernel(irfs["edisp"], offset, [energy], edges)[0, 0]
        return energy * spectrum(energy) * evaluate_aeff(irfs["aeff"], [energy], offset)[0] * inside

    nodes = np.log(np.concatenate([[0.1], irfs["aeff"].energy_true.values, [160.0]]))
    # Gauss points between the nodes of the interpolation, where the integrand is smooth but for steps of migra
    x, w = np.polynomial.legendre.leggauss(12)
    points = 0.5 * (nodes[1:] + nodes[:-1])[:, np.newaxis] + 0.5 * np.diff(nodes)[:, np.newaxis] * x
    values = np.array([[integrand(p) for p in row] for row in points])
    brute = (values * w * 0.5 * np.diff(nodes)[:, np.newaxis]).sum() * 1680 * 0.95
    pointing = (150.0, -25.0 + offset)
    source = Source("s", CENTER, spectrum)
    found = expected_counts(pointing, [source], irfs, deadtime_fraction=0.05, energy_range=RANGE)["s"]
    assert found == pytest.approx(brute, rel=1e-3)


def test_expectation_of_an_extended_source_averages_over_its_shape(ready):
    source = star(shape=Gaussian("0.4 deg"))
    pointing = (150.0, -23.6)
    found = expected_counts(pointing, [source], ready)["star"]
    field = FieldOfView(to_vectors(*(np.asarray(v) for v in CENTER)), 5.0)
    shape = directions_of(source.model.spatial, field, (0.1, 100.0))
    vectors = shape.sample(np.ones(4000), np.random.default_rng(0))
    offsets = np.linspace(0, 3.2, 17)
    rate = [expected_counts((150.0, -25.0 + o), [star()], ready)["star"] for o in offsets]
    theta = separation(vectors, to_vectors(*(np.asarray(v) for v in pointing)))
    sample = np.interp(theta, offsets, rate)
    assert abs(found - sample.mean()) < 4 * sample.std() / np.sqrt(len(sample)) + 2e-3 * found


#: gammapy 2.1 on run 1 of data/survey: MapDatasetMaker on 6.6 deg at 0.05 deg per pixel, 20 bins of 0.3 to
#: 100 TeV and 128 bins of true energy; background.data.sum() and npred_signal().data.sum() of each source alone.
GAMMAPY = {"background": 3138.830, "bright": 53.828, "extended": 46.485, "faint": 5.6711}


def test_expectation_agrees_with_gammapy(irfs):
    sources = [
        Source("bright", (150.0, -25.0), PowerLaw("1e-11 cm-2 s-1 TeV-1", index=2.3)),
        Source(
            "extended",
            (151.3, -24.2),
            LogParabola("1.2e-11 cm-2 s-1 TeV-1", alpha=2.1, beta=0.15),
            Gaussian("0.15 deg"),
        ),
        Source("faint", (150.3, -23.9), ExponentialCutoff("1.3e-12 cm-2 s-1 TeV-1", index=2.0, cutoff="8 TeV")),
    ]
    found = expected_counts((150.0, -24.4), sources, irfs, deadtime_fraction=0.05, energy_range=RANGE)
    # gammapy sums the background at pixel centres, 6e-4 more than the mean over the pixels, and takes
    # effective area and migration at the centre of bins of true energy, which loses 1.5e-3 at the threshold
    assert found["background"] == pytest.approx(GAMMAPY["background"], rel=1e-3)
    for name in ("bright", "extended", "faint"):
        assert found[name] == pytest.approx(GAMMAPY[name], rel=2.5e-3)


# --- distributions ----------------------------------------------------------------------------------------------


def test_true_energies_follow_flux_times_area(irfs):
    irfs = {**irfs, "edisp": None, "psf": None, "bkg": None}
    events = simulate_events(CENTER, [star("3e-9 cm-2 s-1 TeV-1")], irfs, ontime="10 min", background=False, truth=True)
    assert events.sizes["event"] > 5000
    grid = np.geomspace(0.1, 160, 20_001)
    rate = PowerLaw("1 cm-2 s-1 TeV-1", index=2.3)(grid) * evaluate_aeff(irfs["aeff"], grid, 0.0)
    cumulative = integrate.cumulative_trapezoid(rate, grid, initial=0)
    assert stats.kstest(events.energy_true, lambda e: np.interp(e, grid, cumulative / cumulative[-1])).pvalue > PVALUE
    np.testing.assert_array_equal(events.energy, events.energy_true)
    np.testing.assert_allclose(separations(events, CENTER), 0, atol=1e-6)


def test_reconstructed_energies_follow_the_dispersion(irfs):
    responses = prepare_responses({**irfs, "bkg": None, "psf": None})
    true, offset = 0.93, 0.8
    drawn = responses.reconstruct(np.full(20_000, true), np.full(20_000, offset), np.random.default_rng(3))
    edges = true * np.linspace(0.6, 1.4, 41)
    expected = 20_000 * evaluate_edisp_kernel(irfs["edisp"], offset, [true], edges)[0]
    use = expected > 5
    assert (
        stats.chi2.sf((((np.histogram(drawn, edges)[0] - expected)[use]) ** 2 / expected[use]).sum(), use.sum())
        > PVALUE
    )


def king():
    table = from_gauss("0.1 deg")
    values = {"gamma": ("", 1.7), "sigma": ("deg", 0.06)}
    columns = {
        n: (table["sigma_1"].dims, np.full(table["sigma_1"].shape, v), {"units": k}) for n, (k, v) in values.items()
    }
    return table.drop_vars(list(table.data_vars)).assign(columns).assign_attrs(hduclass="PSF_KING")


@pytest.mark.parametrize("kind", ["3gauss", "table", "king"])
def test_directions_follow_the_point_spread_function(irfs, kind):
    psf = {"3gauss": irfs["psf"], "table": from_gauss("0.08 deg", rad=default_rad_axis()), "king": king()}[kind]
    responses = prepare_responses({**irfs, "bkg": None, "psf": psf})
    energy, offset = 0.8, 0.9
    drawn = responses.separations(np.full(20_000, energy), np.full(20_000, offset), np.random.default_rng(4))
    radii = np.linspace(0.0, 0.6, 61)[1:]
    expected = containment(psf, [energy], offset, radii)[0]
    if kind == "table":
        expected = expected / containment(psf, [energy], offset, [0.66])[0, 0]
    found = (drawn[:, np.newaxis] < radii).mean(axis=0)
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-6) / 20_000)
    # a table is taken as constant within a bin there and as linear here: half a percent of the content
    assert (np.abs(found - expected) < 4 * error + (0.005 if kind == "table" else 0)).all()


def test_radial_profile_of_a_simulated_source_follows_the_containment(irfs):
    irfs = {**irfs, "bkg": None, "edisp": None}
    bright = [star("1e-9 cm-2 s-1 TeV-1")]
    events = simulate_events((150.0, -24.5), bright, irfs, ontime="3 min", background=False, truth=True)
    drawn = separations(events, CENTER)
    energy = events.energy_true.values
    # each event has a function of its own: its containment within the drawn separation is uniform
    some = slice(0, 2000)
    u = [containment(irfs["psf"], [e], 0.5, [r])[0, 0] for e, r in zip(energy[some], drawn[some], strict=True)]
    assert stats.kstest(u, stats.uniform.cdf).pvalue > PVALUE


@pytest.mark.parametrize("shape", [Gaussian("0.3 deg"), Disk("0.5 deg")])
def test_extended_sources_have_their_shape(shape):
    events = simulate_events(
        CENTER, [star("1e-9 cm-2 s-1 TeV-1", shape=shape)], only_area(), ontime="5 min", background=False, truth=True
    )
    found = separations(events, CENTER)
    if isinstance(shape, Disk):
        assert stats.kstest(found**2, stats.uniform(0, 0.25).cdf).pvalue > PVALUE
    else:
        assert stats.kstest(found, stats.rayleigh(scale=0.3).cdf).pvalue > PVALUE
    east, north = (v for v in field_of_view(to_vectors(events.ra.values, events.dec.values), *CENTER))
    assert stats.kstest(np.arctan2(east, north), stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > PVALUE


def test_extended_source_is_brighter_on_the_side_of_the_pointing(irfs):
    irfs = {**irfs, "psf": None, "edisp": None, "bkg": None}
    source = star("1e-9 cm-2 s-1 TeV-1", shape=Disk("1 deg"))
    events = simulate_events((150.0, -23.5), [source], irfs, ontime="10 min", background=False)
    near = float((events.dec > -25.0).mean())
    grid = np.linspace(-1, 1, 201)
    x, y = np.meshgrid(grid, grid)
    inside = np.hypot(x, y) <= 1
    energy = np.geomspace(0.1, 160, 400)
    flux = source.spectrum(energy) * np.gradient(energy)
    rate = np.tensordot(flux, evaluate_aeff(irfs["aeff"], energy, np.hypot(x, 1.5 - y)), 1) * inside
    expected = rate[y > 0].sum() / (rate[y > 0].sum() + rate[y < 0].sum())
    assert near == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(events.sizes["event"]) + 0.002)


def test_times_fill_the_good_time_intervals(ready):
    gti = gti_table([1000.0, 5000.0], [1600.0, 5300.0])
    events = simulate_events(CENTER, irfs=ready, gti=gti)
    time = events.time.values
    assert (np.diff(time) >= 0).all()
    assert (((time >= 1000) & (time <= 1600)) | ((time >= 5000) & (time <= 5300))).all()
    assert ((time < 2000).mean()) == pytest.approx(2 / 3, abs=4 * 0.5 / np.sqrt(len(time)))
    assert events.attrs["ontime"] == 900
    assert (events.attrs["tstart"], events.attrs["tstop"]) == (1000.0, 5300.0)


def test_dead_time_thins_out_sources_but_not_the_background_model(ready):
    alive = expected_counts(CENTER, [star()], ready)
    half = expected_counts(CENTER, [star()], ready, deadtime_fraction=0.5)
    assert half["star"] == pytest.approx(0.5 * alive["star"])
    assert half["background"] == alive["background"]


def test_events_stay_in_the_range_of_energies(irfs):
    events = simulate_events(
        CENTER, [star("1e-9 cm-2 s-1 TeV-1")], irfs, ontime="60 s", energy_range=("1 TeV", "5 TeV")
    )
    assert float(events.energy.min()) >= 1.0
    assert float(events.energy.max()) <= 5.0
    assert set(np.unique(events.mc_id)) == {0, 1}


# --- orientation of the field of view ---------------------------------------------------------------------------


def spot(alignment):
    """A background in one place of the field of view: around longitude 1.5 deg, latitude -0.5 deg."""
    edges = np.linspace(-3, 3, 25)
    lon, lat = (response_axis(n, edges[:-1], edges[1:]) for n in ("fov_lon", "fov_lat"))
    energy = response_axis("energy", [1.0, 3.0], [3.0, 10.0])
    plane = np.exp(-0.5 * ((lon.values[:, np.newaxis] - 1.5) ** 2 + (lat.values + 0.5) ** 2) / 0.2**2)
    attrs = {"hduclass": "BKG_3D", "fov_alignment": alignment}
    data = 800.0 * np.stack([plane, plane])
    return response_array(data, [energy, lon, lat], "background", "s-1 TeV-1 sr-1", "Background rate", attrs)


def assert_at_spot(position, sign=1.0):
    lon, lat = sign * position.lon.wrap_at("180d").deg, position.lat.deg
    error = 4 * 0.25 / np.sqrt(len(lon))
    assert np.mean(lon) == pytest.approx(1.5, abs=error)
    assert np.mean(lat) == pytest.approx(-0.5, abs=error)
    assert max(np.abs(lon - 1.5).max(), np.abs(lat + 0.5).max()) < 1.5


@pytest.mark.parametrize(("alignment", "sign"), [("RADEC", 1.0), ("REVERSE_LON_RADEC", -1.0)])
def test_field_of_view_aligned_with_right_ascension(alignment, sign):
    irfs = only_area(bkg=spot(alignment))
    events = simulate_events((150.0, 60.0), irfs=irfs, ontime="10 min")
    assert events.sizes["event"] > 200
    frame = SkyOffsetFrame(origin=SkyCoord(150.0, 60.0, unit="deg"))
    assert_at_spot(SkyCoord(events.ra, events.dec, unit="deg").transform_to(frame), sign)


def test_field_of_view_aligned_with_the_horizon_turns_with_the_sky():
    irfs = only_area(bkg=spot("ALTAZ"))
    run = Pointing("pointing", 150.0, -15.0, location=array.LOCATION)
    events = simulate_events(run, irfs=irfs, ontime="90 min", start="2024-03-01T03:20:00", obs_id=3)
    some = events.isel(event=slice(None, None, max(events.sizes["event"] // 100, 1)))
    with bundled_iers():
        frame = AltAz(obstime=to_time(some.time.values), location=run.earth_location)
        center = SkyCoord(150.0, -15.0, unit="deg").transform_to(frame)
        place = SkyCoord(some.ra, some.dec, unit="deg").transform_to(frame)
        offset = place.transform_to(SkyOffsetFrame(origin=center))
    assert_at_spot(offset)
    # the field turns by a right angle around the transit: on the sky the spot becomes an arc
    lon, lat = field_of_view(to_vectors(events.ra.values, events.dec.values), 150.0, -15.0)
    assert np.ptp(np.rad2deg(np.unwrap(np.arctan2(lat, lon)))) > 80


def test_drift_run_follows_the_sky():
    irfs = only_area(bkg=spot("RADEC"), aeff=flat_area(1.0))
    run = Pointing("drift", alt=70.0, az=180.0, location=array.LOCATION)
    gti = gti_table([7.6e8], [7.6e8 + 3600.0])
    ra, dec = run.icrs(7.6e8 + np.array([0.0, 1800.0, 3600.0]))
    source = star("2e-11 cm-2 s-1 TeV-1", position=(float(ra[1]), float(dec[1])))
    events = simulate_events(run, [source], irfs, gti=gti)
    some = events.isel(event=np.flatnonzero(events.mc_id == 0)[::10])
    now = SkyCoord(*run.icrs(some.time.values), unit="deg")
    assert_at_spot(SkyCoord(some.ra, some.dec, unit="deg").transform_to(SkyOffsetFrame(origin=now)))
    times = events.time.values[events.mc_id.values == 1]
    # the source crosses the field of 1 deg radius in the middle of the hour
    speed = 15.0 * np.cos(np.deg2rad(dec[1])) / 3600
    assert np.abs(times - 7.6e8 - 1800).max() <= 1.01 / speed
    expected = expected_counts(run, [source], irfs, gti=gti)["star"]
    assert abs(len(times) - expected) < 4 * np.sqrt(expected)
    assert expected > 500
    assert events.attrs["obs_mode"] == "DRIFT"


def test_alignment_with_the_horizon_needs_a_location():
    with pytest.raises(ValueError, match="location of the telescopes"):
        simulate_events(CENTER, irfs=only_area(bkg=spot("ALTAZ")), ontime="10 min")


def test_pole_is_a_valid_pointing(ready):
    events = simulate_events((30.0, 90.0), [star(position=(30.0, 89.5))], ready)
    assert separations(events, (30.0, 90.0)).max() < 4.3
    assert int((events.mc_id == 1).sum()) > 20


# --- random numbers, labels, errors -----------------------------------------------------------------------------


def test_seed_and_run_fix_every_event(ready):
    first, again = (simulate_events(CENTER, [star()], ready, seed=3, obs_id=9, ontime="60 s") for _ in range(2))
    assert first.identical(again)
    for other in ({"seed": 4, "obs_id": 9}, {"seed": 3, "obs_id": 10}):
        assert not np.isin(first.ra, simulate_events(CENTER, [star()], ready, ontime="60 s", **other).ra).any()


def test_one_more_source_leaves_the_other_events_alone(ready):
    one = simulate_events(CENTER, [star()], ready, seed=3, ontime="60 s")
    two = simulate_events(CENTER, [star(), star(name="other", position=(151, -25))], ready, seed=3, ontime="60 s")
    kept = two.where(two.mc_id < 2, drop=True)
    np.testing.assert_array_equal(kept.ra, one.ra)
    np.testing.assert_array_equal(kept.time, one.time)


def test_header_and_columns(ready):
    run = Pointing("pointing", 150.0, -25.0, 70.0, 180.0, array.LOCATION)
    events = simulate_events(run, [star()], ready, obs_id=12, deadtime_fraction=0.25, header={"object": "Star"})
    assert list(events.data_vars) == ["event_id", "time", "ra", "dec", "energy", "mc_id"]
    assert [events[n].attrs["units"] for n in ("time", "ra", "energy", "mc_id")] == ["s", "deg", "TeV", ""]
    expected = {
        "obs_id": 12,
        "ra_pnt": 150.0,
        "alt_pnt": 70.0,
        "geolat": -24.7,
        "ontime": 1680.0,
        "livetime": 1260.0,
        "deadc": 0.75,
        "telescop": "XGAMMA",
        "object": "Star",
        "nmcids": 2,
        "mmn00001": "star",
    }
    assert {k: events.attrs[k] for k in expected} == expected
    assert events.event_id.values.tolist() == list(range(1, events.sizes["event"] + 1))


def test_columns_of_the_truth(ready):
    events = simulate_events(CENTER, [star("1e-10 cm-2 s-1 TeV-1")], ready, truth=True)
    source = events.where(events.mc_id == 1, drop=True)
    np.testing.assert_allclose(separations(source, CENTER, ("ra_true", "dec_true")), 0, atol=1e-6)
    assert np.isnan(events.energy_true.values[events.mc_id.values == 0]).all()
    assert np.std(source.energy / source.energy_true) == pytest.approx(0.11, abs=0.05)


def test_nothing_at_all_is_a_valid_run(irfs):
    events = simulate_events(CENTER, irfs={**irfs, "bkg": None}, background=False, ontime="1 s")
    assert events.sizes["event"] == 0
    with pytest.warns(UserWarning, match=r"\['star'\] lie outside the field of view"):
        far = simulate_events(CENTER, [star(position=(0.0, 40.0))], {**irfs, "bkg": None}, background=False)
    assert far.sizes["event"] == 0


def test_events_where_a_response_is_empty_are_left_out_with_a_warning(irfs):
    psf = irfs["psf"].copy(deep=True)
    psf["scale"].values[:] = 0.0
    with pytest.warns(UserWarning, match="events of source 'star' were left out"):
        events = simulate_events(CENTER, [star()], {**irfs, "psf": psf})
    assert not (events.mc_id == 1).any()


def test_interp_pairs_is_bilinear_between_all_pairs():
    table = np.arange(12.0).reshape(3, 4)
    x, y = (response_axis("offset", np.arange(n), np.arange(n)) for n in (3.0, 4.0))
    from xgamma.irf.axes import table_axis

    wx, wy = table_axis(x, "offset").weights([0.5, 2.0, 9.0]), table_axis(y, "offset").weights([1.5, 3.0, 0.0])
    np.testing.assert_allclose(interp_pairs(table, wx, wy), [3.5, 11.0, 0.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"irfs": {"aeff": None, "psf": None, "edisp": None}}, "response 'bkg' is missing"),
        ({"irfs": {"psf": None, "edisp": None, "bkg": None}}, "response 'aeff' is missing"),
        ({"irfs": {"aef": None}}, r"\['aef'\] are not known"),
        ({"irfs": {"aeff": None, "psf": None, "edisp": None, "bkg": None}}, "no background model"),
        ({"irfs": "no-aeff"}, "no effective area"),
        ({"irfs": "point-like"}, "point-like"),
        ({"ontime": "0 s"}, "ontime"),
        ({"ontime": 1680}, "ontime"),
        ({"start": "tomorrow"}, "not a time"),
        ({"gti": gti_table([0.0], [0.0])}, "no length"),
        ({"deadtime_fraction": 1.0}, "deadtime_fraction"),
        ({"energy_range": ("5 TeV", "1 TeV")}, "must ascend"),
        ({"energy_range": ("200 TeV", "300 TeV")}, "nothing of the energies"),
        ({"energy_range": ("1 TeV", "2 TeV", "3 TeV")}, "two energies"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"obs_id": 1.5}, "obs_id"),
        ({"observation": (0.0, 100.0)}, "not a position"),
        ({"observation": (np.nan, 0.0)}, "NaN"),
        ({"models": [star(), star()]}, "more than once"),
        ({"models": [star(name="background")]}, "'background' is taken"),
    ],
)
def test_bad_arguments_say_what_is_wrong(irfs, change, words):
    arguments = {"observation": CENTER, "irfs": irfs, "models": [star()], **change}
    if arguments["irfs"] == "no-aeff":
        arguments["irfs"] = {**irfs, "aeff": None}
    if arguments["irfs"] == "point-like":
        arguments["irfs"] = {**irfs, "aeff": irfs["aeff"].assign_attrs(is_pointlike=1)}
    with pytest.raises(ValueError, match=words):
        simulate_events(**arguments)


def test_real_responses_of_hess(gammapy_data):
    from xgamma.dl3.store import open_store

    run = open_store(gammapy_data / "hess-dl3-dr1").get(20136)
    irfs = {name: getattr(run, name) for name in ("aeff", "psf", "edisp", "bkg")}
    ra, dec = run.pointing.icrs(run.tmid)
    source = star("2e-11 cm-2 s-1 TeV-1", position=(ra + 0.5, dec))
    with warnings.catch_warnings():
        # H.E.S.S. tables end where showers still come
        warnings.filterwarnings("ignore", message=".*left out")
        events = simulate_events((ra, dec), [source], irfs, gti=run.gti, energy_range=("0.5 TeV", "50 TeV"), seed=1)
    expected = expected_counts((ra, dec), [source], irfs, gti=run.gti, energy_range=("0.5 TeV", "50 TeV"))
    counts = np.bincount(events.mc_id, minlength=2)
    assert (np.abs(counts - list(expected.values())) < 5 * np.sqrt(list(expected.values())) + 2).all()
    real = run.events
    number = int(((real.energy > 0.5) & (real.energy < 50)).sum())
    # the model is an average over runs, which differ from it by tens of percent
    assert counts[0] == pytest.approx(number, rel=0.4)


def test_units_of_positions_are_checked():
    sky = SkyCoord(10 * u.deg, 20 * u.deg, frame="galactic")
    source = star(position=sky)
    assert source.position == pytest.approx((sky.icrs.ra.deg, sky.icrs.dec.deg))
