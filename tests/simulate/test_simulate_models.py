"""Events from sky models: the samplers against closed forms, reduced events against predictions."""

from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy import integrate, stats

import xgamma as xg
from xgamma.coords.sky import grid_of
from xgamma.dl3.gti import gti_duration, gti_table
from xgamma.irf.background import constant_background
from xgamma.kernels.sphere import field_of_view, from_vectors, separation, to_vectors
from xgamma.models.spatial_pixels import integrate_geom
from xgamma.simulate import array
from xgamma.simulate.arrival import arrival_of
from xgamma.simulate.directions import FieldOfView, directions_of
from xgamma.simulate.events import simulate_events
from xgamma.simulate.expected import expected_counts

PVALUE = 1e-3
FLUX = u.Unit("cm-2 s-1 TeV-1")
CENTER = (150.0, -25.0)
RANGE = ("0.3 TeV", "100 TeV")
#: Events of a test of a sampler.
NUMBER = 20_000


@pytest.fixture(scope="module")
def irfs():
    return array.responses()


def power_law(amplitude="1e-9 cm-2 s-1 TeV-1", index=2.3):
    return xg.PowerLawSpectralModel(index=index, amplitude=amplitude)


def star(amplitude="1e-9 cm-2 s-1 TeV-1", name="star", lon=150.0, lat=-25.0, **kwargs):
    return xg.SkyModel(power_law(amplitude), xg.PointSpatialModel(lon_0=lon, lat_0=lat), name=name, **kwargs)


def field(radius=3.0, center=CENTER):
    return FieldOfView(to_vectors(*(np.asarray(v) for v in center)), radius)


def draw(model, energy=1.0, number=NUMBER, seed=1, **kwargs):
    found = directions_of(model, field(**kwargs), (0.1, 100.0))
    return found.sample(np.full(number, energy), np.random.default_rng(seed))


def in_plane(vectors, center=CENTER, angle=0.0):
    """Distances in deg along and across a position angle."""
    east, north = field_of_view(vectors, *center)
    a = np.deg2rad(angle)
    return np.cos(a) * north + np.sin(a) * east, np.cos(a) * east - np.sin(a) * north


def angles_at(model_angle, vectors):
    east, north = field_of_view(vectors, *CENTER)
    return np.arctan2(east, north) - np.deg2rad(model_angle)


# --- directions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("e", "phi"), [(0.0, 0.0), (0.6, 30.0), (0.95, -70.0)])
def test_gaussians_are_normal_along_both_axes(e, phi):
    model = xg.GaussianSpatialModel(lon_0=150.0, lat_0=-25.0, sigma=0.2, e=e, phi=phi)
    along, across = in_plane(draw(model), angle=phi)
    assert stats.kstest(along, stats.norm(scale=0.2).cdf).pvalue > PVALUE
    assert stats.kstest(across, stats.norm(scale=0.2 * np.sqrt(1 - e**2)).cdf).pvalue > PVALUE
    assert abs(np.corrcoef(along, across)[0, 1]) < 4 / np.sqrt(NUMBER)


@pytest.mark.parametrize("edge", [0.0, 0.01])
@pytest.mark.parametrize(("e", "phi"), [(0.0, 0.0), (0.8, 40.0)])
def test_disks_are_uniform(edge, e, phi):
    model = xg.DiskSpatialModel(lon_0=150.0, lat_0=-25.0, r_0=0.5, e=e, phi=phi, edge_width=edge)
    along, across = (v / 0.5 for v in in_plane(draw(model), angle=phi))
    radius = along**2 + across**2 / (1 - e**2)
    # the edge of 1 percent moves 0.3 percent of a radius
    assert stats.kstest(radius, stats.uniform.cdf).pvalue > PVALUE
    turn = np.arctan2(across / np.sqrt(1 - e**2), along)
    assert stats.kstest(turn, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > PVALUE


def test_shells_follow_their_projection():
    model = xg.ShellSpatialModel(lon_0=150.0, lat_0=-25.0, radius=0.4, width=0.1)
    drawn = separation(draw(model), field().center)
    inner, outer = 0.4, 0.5

    def below(r):
        rest = np.maximum(outer**2 - r**2, 0) ** 1.5 - np.maximum(inner**2 - r**2, 0) ** 1.5
        return (outer**3 - inner**3 - rest) / (outer**3 - inner**3)

    assert stats.kstest(drawn, below).pvalue > PVALUE


@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
def test_generalized_gaussians_follow_their_profile(eta):
    model = xg.GeneralizedGaussianSpatialModel(lon_0=150.0, lat_0=-25.0, r_0=0.15, eta=eta, e=0.7, phi=20.0)
    along, across = in_plane(draw(model), angle=20.0)
    size = np.hypot(along, across / np.sqrt(1 - 0.49)) / 0.15
    assert stats.kstest(size ** (1 / eta), stats.gamma(2 * eta).cdf).pvalue > PVALUE


def template(center=(150.4, -25.3), energy=False):
    axes = {"energy_true": xg.energy_axis("0.1 TeV", "100 TeV", nbin=6, name="energy_true")} if energy else {}
    grid = xg.sky_grid(SkyCoord(*center, unit="deg"), ("1.6 deg", "1.2 deg"), "0.1 deg", **axes)
    y, x = np.meshgrid(*(grid[d].values - grid[d].values.mean() for d in ("y", "x")), indexing="ij")
    values = np.exp(-0.5 * ((x / 4) ** 2 + (y / 3) ** 2)) + 0.5 * np.exp(-0.5 * ((x - 4) ** 2 + (y + 2) ** 2) / 9)
    if not energy:
        return grid.assign(f=(("y", "x"), values)).f
    e = grid.energy_true.values[:, None, None]
    turned = np.exp(-0.5 * (((x - 2 * np.log10(e)) / 4) ** 2 + (y / 3) ** 2))
    units = {"units": "cm-2 s-1 TeV-1 sr-1"}
    return grid.assign(f=(("energy_true", "y", "x"), 1e-7 * e**-2.3 * turned, units)).f


def chi2_of(drawn, expected):
    """Probability of a chi2 as large, in bins with enough counts, others added up."""
    use = expected > 10
    observed, wanted = drawn[use], expected[use]
    return stats.chi2.sf(((observed - wanted) ** 2 / wanted).sum(), use.sum())


def histogram(vectors, grid):
    lon, lat = from_vectors(vectors)
    y, x = grid.sky_to_pixel(lon, lat)
    (ny, nx), start = grid.shape, (grid.y.start, grid.x.start)
    edges = [np.arange(n + 1) - 0.5 + s for n, s in zip((ny, nx), start, strict=True)]
    return np.histogram2d(y, x, edges)[0]


def test_templates_follow_their_map():
    model = xg.TemplateSpatialModel(template())
    grid = grid_of(xg.sky_grid(SkyCoord(150.4, -25.3, unit="deg"), "1.6 deg", "0.05 deg"))
    fine = grid_of(xg.sky_grid(SkyCoord(150.4, -25.3, unit="deg"), "1.6 deg", "0.0125 deg"))
    expected = integrate_geom(model, fine).reshape(128 // 4, 4, 128 // 4, 4).sum(axis=(1, 3))
    drawn = histogram(draw(model, number=50_000), grid)
    assert chi2_of(drawn, expected / expected.sum() * 50_000) > PVALUE
    found = directions_of(model, field(), (0.1, 100.0))
    assert found.norm(np.ones(1))[0] == pytest.approx(expected.sum(), rel=1e-3)


@pytest.mark.parametrize("energy", [0.5, 20.0])
def test_templates_that_change_with_energy_follow_their_map_at_it(energy):
    model = xg.TemplateSpatialModel(template(energy=True), normalize=False)
    fine = grid_of(xg.sky_grid(SkyCoord(150.4, -25.3, unit="deg"), "1.6 deg", "0.0125 deg"))
    expected = integrate_geom(model, fine, energy=np.array([energy]))[0].reshape(32, 4, 32, 4).sum(axis=(1, 3))
    grid = grid_of(xg.sky_grid(SkyCoord(150.4, -25.3, unit="deg"), "1.6 deg", "0.05 deg"))
    drawn = histogram(draw(model, energy, number=30_000), grid)
    assert chi2_of(drawn, expected / expected.sum() * 30_000) > PVALUE
    found = directions_of(model, field(), (0.1, 100.0))
    assert found.norm(np.array([energy]))[0] == pytest.approx(expected.sum(), rel=2e-3)


def test_what_is_everywhere_fills_the_field_of_view_evenly():
    vectors = draw(xg.ConstantSpatialModel(), radius=3.0)
    away = separation(vectors, field().center)
    inside = away[away < 3.0]
    versine = (1 - np.cos(np.deg2rad(inside))) / (1 - np.cos(np.deg2rad(3.0)))
    assert stats.kstest(versine, stats.uniform.cdf).pvalue > PVALUE
    found = directions_of(xg.ConstantSpatialModel(), field(), (0.1, 100.0))
    share = inside.size / away.size
    cap = 2 * np.pi * (1 - np.cos(np.deg2rad(3.0)))
    assert found.norm(np.ones(1))[0] * share == pytest.approx(cap, rel=5 / np.sqrt(NUMBER))


def test_models_beyond_the_field_of_view_are_not_there():
    for model in (xg.PointSpatialModel(lon_0=10.0, lat_0=0.0), xg.TemplateSpatialModel(template((10.0, 0.0)))):
        assert directions_of(model, field(), (0.1, 100.0)) is None


# --- times ------------------------------------------------------------------------------------------------------

START, STOP = np.array([1000.0, 5000.0]), np.array([2000.0, 5500.0])


def scaled(days):
    """A date some seconds after J2000.0, in days."""
    return (51544.5 + days / 86400.0) * u.d


@pytest.mark.parametrize(
    "model",
    [
        xg.GaussianTemporalModel(t_ref=scaled(1800.0), sigma=300 * u.s.to("d") * u.d, scale="tt"),
        xg.ExpDecayTemporalModel(t0=800 * u.s.to("d") * u.d, t_ref=scaled(1000.0), scale="tt"),
        xg.LinearTemporalModel(alpha=1.0, beta=20.0 / u.d, t_ref=scaled(1000.0), scale="tt"),
        xg.SineTemporalModel(amp=0.8, omega=600.0 * u.rad / u.d, t_ref=scaled(0.0), scale="tt"),
    ],
)
def test_times_follow_the_model_inside_the_intervals(model):
    arrival = arrival_of(model, START, STOP, (0.1, 100.0))
    rng = np.random.default_rng(2)
    times = arrival.sample(np.ones(NUMBER), rng.random(NUMBER), rng)
    grid = np.concatenate([np.linspace(a, b, 4001) for a, b in zip(START, STOP, strict=True)])
    rate = model(grid)
    parts = [integrate.cumulative_trapezoid(rate[s], grid[s], initial=0) for s in (slice(4001), slice(4001, None))]
    below = np.concatenate([parts[0], parts[0][-1] + parts[1]])
    assert stats.kstest(times, lambda t: np.interp(t, grid, below / below[-1])).pvalue > PVALUE
    assert arrival.norm(np.ones(1))[0] == pytest.approx(below[-1] / 1500.0, rel=1e-5)


def test_light_curves_that_change_with_energy():
    time = np.linspace(0.0, 6000.0, 13)
    energy = np.array([0.1, 1.0, 10.0])
    norm = np.exp(-np.outer(np.log10(energy) + 1.5, time / 3000.0))
    coords = {"time": ("time", time, {"units": "s"}), "energy": ("energy", energy, {"units": "TeV"})}
    model = xg.LightCurveTemplateTemporalModel(xr.DataArray(norm, coords, ("energy", "time")))
    arrival = arrival_of(model, START, STOP, (0.1, 10.0))
    rng = np.random.default_rng(3)
    for e, slope in ((0.1, 0.5), (3.0, 1.5 + np.log10(3.0)), (10.0, 2.5)):
        rate = slope / 3000.0
        pieces = np.exp(-rate * START) - np.exp(-rate * STOP)

        def below(t, rate=rate, pieces=pieces):
            part = [np.clip(np.exp(-rate * a) - np.exp(-rate * np.minimum(t, b)), 0, None)
                    for a, b in zip(START, STOP, strict=True)]  # fmt: skip
            return sum(part) / pieces.sum()

        times = arrival.sample(np.full(NUMBER, e), rng.random(NUMBER), rng)
        assert stats.kstest(times, below).pvalue > PVALUE
        assert arrival.norm(np.array([e]))[0] == pytest.approx(pieces.sum() / rate / 1500.0, rel=1e-3)


def test_a_flare_has_as_many_events_as_its_mean_says(irfs):
    gti = gti_table([0.0, 3000.0], [1200.0, 3600.0])
    flare = xg.ExpDecayTemporalModel(t0=600 * u.s.to("d") * u.d, t_ref=scaled(0.0), scale="tt")
    model = star("3e-10 cm-2 s-1 TeV-1", temporal=flare)
    steady = star("3e-10 cm-2 s-1 TeV-1")
    settings = {"irfs": irfs, "gti": gti, "background": False, "energy_range": RANGE}
    mean = float(flare.norm(gti.gti_start.values, gti.gti_stop.values))
    expected = expected_counts((150.0, -24.5), model, **settings)["star"]
    assert expected == pytest.approx(mean * expected_counts((150.0, -24.5), steady, **settings)["star"], rel=1e-9)
    events = simulate_events((150.0, -24.5), model, seed=2, **settings)
    assert abs(events.sizes["event"] - expected) < 4 * np.sqrt(expected)
    assert float((events.time < 600.0).mean()) > 0.55


# --- energies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spectrum",
    [
        xg.GaussianSpectralModel(amplitude="1e-11 cm-2 s-1", mean="2 TeV", sigma="0.01 TeV"),
        xg.SmoothBrokenPowerLawSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1", ebreak="1 TeV"),
        xg.TemplateSpectralModel(energy=[0.5, 1.0, 5.0] * u.TeV, values=[1e-11, 3e-11, 1e-13] * FLUX),
    ],
)  # fmt: skip
def test_any_spectrum_times_the_area_gives_the_energies(irfs, spectrum):
    ideal = {**irfs, "psf": None, "edisp": None, "bkg": None}
    model = xg.SkyModel(spectrum, xg.PointSpatialModel(lon_0=150.0, lat_0=-25.0), name="star")
    settings = {"irfs": ideal, "ontime": "40 h", "background": False}
    events = simulate_events(CENTER, model, seed=4, **settings)
    grid = np.unique(np.concatenate([np.geomspace(0.1, 160, 40_001), np.linspace(1.9, 2.1, 4001)]))
    from xgamma.irf.aeff import evaluate_aeff

    rate = np.nan_to_num(spectrum.evaluate(grid, *spectrum.values)) * evaluate_aeff(irfs["aeff"], grid, 0.0)
    below = integrate.cumulative_trapezoid(rate, grid, initial=0)
    assert stats.kstest(events.energy, lambda e: np.interp(e, grid, below / below[-1])).pvalue > PVALUE
    expected = expected_counts(CENTER, model, **settings)["star"]
    assert expected == pytest.approx(below[-1] * 40 * 3600, rel=1e-3)
    assert abs(events.sizes["event"] - expected) < 4 * np.sqrt(expected)


# --- reduced events against predictions -------------------------------------------------------------------------


def counts_on(cube, events):
    """Events in the bins of a cube."""
    grid = grid_of(cube)
    sky = SkyCoord(events.ra, events.dec, unit="deg").transform_to(grid.frame.name)
    y, x = grid.sky_to_pixel(sky.spherical.lon.deg, sky.spherical.lat.deg)
    edges = [np.append(cube.energy_min, cube.energy_max[-1])]
    edges += [np.arange(len(r) + 1) - 0.5 + r.start for r in (grid.y, grid.x)]
    return np.histogramdd((events.energy.values, y, x), edges)[0]


def all_models(center, frame, scale):
    """A point, an elongated Gaussian, and a template around a position in the frame."""
    lon, lat = center
    stretch = 1 / np.cos(np.deg2rad(lat))
    grid = xg.sky_grid(SkyCoord(lon, lat - 0.5, unit="deg", frame=frame), "1 deg", "0.04 deg")
    y, x = np.meshgrid(*(grid[d].values - grid[d].values.mean() for d in ("y", "x")), indexing="ij")
    image = grid.assign(f=(("y", "x"), np.exp(-0.5 * ((x / 6) ** 2 + (y / 5) ** 2)))).f
    gauss = xg.GaussianSpatialModel(
        lon_0=lon - 0.4 * stretch, lat_0=lat + 0.3, sigma=0.2, e=0.8, phi=30.0, frame=frame
    )  # fmt: skip
    point = xg.PointSpatialModel(lon_0=lon + 0.4 * stretch, lat_0=lat + 0.3, frame=frame)
    amplitude = f"{scale} cm-2 s-1 TeV-1"
    return [
        xg.SkyModel(power_law(amplitude, 2.3), point, name="point"),
        xg.SkyModel(power_law(amplitude, 2.1), gauss, name="gauss"),
        xg.SkyModel(power_law(amplitude, 2.4), xg.TemplateSpatialModel(image), name="image"),
    ]


def assert_as_predicted(counts, predicted, tolerance, parts=1):
    """Energies, and places (blocks of `parts` pixels), within errors and a tolerance for what predictions neglect."""
    shape = counts.shape[0], counts.shape[1] // parts, parts, counts.shape[2] // parts, parts
    counts, predicted = (v.reshape(shape).sum(axis=(2, 4)) for v in (counts, predicted))
    for axes in ((1, 2), (0,)):
        found, wanted = counts.sum(axis=axes), predicted.sum(axis=axes)
        use = wanted > 20
        assert use.sum() > 3
        found, wanted = found[use], wanted[use]
        chi2 = ((found - wanted) ** 2 / (wanted + (tolerance * wanted) ** 2)).sum()
        assert stats.chi2.sf(chi2, use.sum()) > PVALUE, (chi2, use.sum())
    assert counts.sum() == pytest.approx(
        predicted.sum(), abs=4 * np.sqrt(predicted.sum()) + tolerance * predicted.sum()
    )


#: Runs, energies, a scale of fluxes, times by which runs are longer than they were.
REAL = {
    "cta": ("cta-1dc/index/gps", 110380, ("0.1 TeV", "50 TeV"), ("0.05 TeV", "80 TeV"), "1e-10", 3.0),
    "hess": ("hess-dl3-dr1", 20136, ("0.6 TeV", "30 TeV"), ("0.3 TeV", "60 TeV"), "1e-9", 5.0),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", list(REAL))
def test_events_of_real_responses_are_those_predicted(gammapy_data, name):
    folder, obs_id, energies, true, scale, longer = REAL[name]
    run = xg.open_store(gammapy_data / folder).get(obs_id)
    center = SkyCoord(*run.pointing.icrs(run.tmid), unit="deg").galactic
    axes = {
        "energy": xg.energy_axis(*energies, nbin=24),
        "energy_true": xg.energy_axis(*true, nbin=60, name="energy_true"),
    }
    grid = xg.sky_grid(center, "3.2 deg", "0.08 deg", irf_binsize="0.2 deg", **axes)
    cube = xg.reduce([run], grid, selection="all").load()
    models = all_models((center.l.deg, center.b.deg), "galactic", scale)
    start = float(run.gti.gti_start[0])
    gti = gti_table([start], [start + longer * run.ontime])
    settings = {"gti": gti, "energy_range": energies, "seed": 8}
    with warnings.catch_warnings():
        # H.E.S.S. tables end where showers still come
        warnings.filterwarnings("ignore", message=".*left out")
        events = simulate_events(run, models, background=False, truth=True, **settings)
    times = gti_duration(gti) / run.ontime
    for number, model in enumerate(models, start=1):
        own = events.isel(event=np.flatnonzero(events.mc_id.values == number))
        predicted = xg.npred_signal(cube, model).values * times
        # one point spread function and energy dispersion for a source, templates at the centres of pixels
        assert_as_predicted(counts_on(cube, own), predicted, 0.02)
    factor = xg.FoVBackgroundModel(xg.PowerLawNormSpectralModel(norm=1.3, tilt=0.2), name="bkg")
    predicted = xg.npred(cube, factor).values
    only = simulate_events(run, factor, energy_range=energies, seed=9)
    assert_as_predicted(counts_on(cube, only), predicted, 0.01, parts=5)
    assert expected_counts(run, factor, energy_range=energies)["background"] == pytest.approx(
        only.sizes["event"], abs=4 * np.sqrt(only.sizes["event"])
    )


def test_models_leave_out_responses(irfs):
    settings = {"irfs": irfs, "background": False, "truth": True, "energy_range": RANGE, "ontime": "5 min"}
    ideal = simulate_events(CENTER, star(apply_irf={"psf": False, "edisp": False}), **settings)
    np.testing.assert_array_equal(ideal.energy, ideal.energy_true)
    np.testing.assert_allclose(ideal.ra, 150.0, atol=1e-9)
    expected = expected_counts(CENTER, star(apply_irf={"edisp": False}), irfs, energy_range=RANGE, background=False,
                               ontime="5 min")["star"]  # fmt: skip
    assert abs(ideal.sizes["event"] - expected) < 4 * np.sqrt(expected)


# --- background -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_backgrounds_have_norm_tilt_and_shape(irfs, kind):
    bkg = irfs["bkg"] if kind == "3d" else constant_background("10 s-1 TeV-1 sr-1", offset_max="2.5 deg")
    nodes = SkyCoord([148, 152, 148, 152] * u.deg, [-27, -27, -23, -23] * u.deg)
    shape = xg.PiecewiseNormSpatialModel(nodes, norms=[0.5, 1.0, 1.5, 2.0])
    factor = xg.FoVBackgroundModel(xg.PowerLawNormSpectralModel(norm=1.5, tilt=0.5), shape, name="bkg")
    settings = {"irfs": {**irfs, "bkg": bkg}, "energy_range": ("1 TeV", "10 TeV"), "ontime": "3 h"}
    plain, made = (simulate_events(CENTER, m, seed=3, **settings) for m in ((), factor))
    counts = [expected_counts(CENTER, m, **settings)["background"] for m in ((), factor)]
    for events, expected in zip((plain, made), counts, strict=True):
        assert abs(events.sizes["event"] - expected) < 4 * np.sqrt(expected)
    # what was drawn without factors, weighted with them, is what is drawn with them
    places = SkyCoord(plain.ra, plain.dec, unit="deg")
    weight = 1.5 * plain.energy.values**-0.5 * shape(places).value
    assert weight.sum() == pytest.approx(made.sizes["event"], abs=4 * np.sqrt((weight**2).sum() + made.sizes["event"]))
    for name, edges in (("energy", np.geomspace(1, 10, 11)), ("dec", np.linspace(-27.5, -22.5, 11))):
        found = np.histogram(made[name], edges)[0]
        wanted, square = (np.histogram(plain[name], edges, weights=w)[0] for w in (weight, weight**2))
        use = wanted > 20
        chi2 = ((found - wanted) ** 2 / (wanted + square))[use].sum()
        assert stats.chi2.sf(chi2, use.sum()) > PVALUE


# --- several models, names, bad input ---------------------------------------------------------------------------


def test_sources_do_not_move_each_other_and_keep_their_numbers(irfs):
    settings = {"irfs": irfs, "ontime": "2 min", "seed": 6, "energy_range": RANGE}
    cloud = xg.SkyModel(power_law(), xg.GaussianSpatialModel(lon_0=150.5, lat_0=-25, sigma=0.2), name="cloud")
    one = simulate_events(CENTER, star(), **settings)
    two = simulate_events(CENTER, xg.Models([star(), cloud]), **settings)
    np.testing.assert_array_equal(one.ra, two.ra[two.mc_id < 2])
    assert (two.attrs["mmn00001"], two.attrs["mmn00002"], two.attrs["nmcids"]) == ("star", "cloud", 3)
    other = star(name="other", lon=149.5, datasets_names="elsewhere")
    mixed = simulate_events(CENTER, [other, star()], name="here", **settings)
    assert set(np.unique(mixed.mc_id)) == {0, 2}
    own = star(datasets_names=["here"])
    np.testing.assert_array_equal(simulate_events(CENTER, own, name="here", **settings).ra, one.ra)


def cold(**kwargs):
    return xg.SkyModel(power_law(), **kwargs)


def counts_template():
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    grid = xg.sky_grid(SkyCoord(150, -25, unit="deg"), "1 deg", "0.5 deg", energy=energy)
    return grid.assign(c=(("energy", "y", "x"), np.ones((1, 2, 2)), {"units": ""})).c


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        (lambda: cold(name="a"), ValueError, "'a' has no spatial model, so its events have no directions"),
        (lambda: star("-1e-9 cm-2 s-1 TeV-1"), ValueError, "flux of 'star' is negative"),
        (lambda: star(apply_irf={"exposure": False}), ValueError, "exposure: false"),
        (lambda: xg.TemplateNPredModel(counts_template(), name="gas"), TypeError, "'gas' is a TemplateNPredModel"),
        (lambda: cold(spatial=xg.ConstantFluxSpatialModel()), ValueError, "nothing on the sky itself"),
        (lambda: xg.SkyModel(xg.PowerLawNormSpectralModel(), xg.PointSpatialModel()), ValueError, "no flux"),
        (lambda: [star(), star()], ValueError, "more than once"),
        (lambda: star(name="background"), ValueError, "'background' is taken"),
        (lambda: "crab.yaml", TypeError, "crab.yaml"),
        (lambda: [3], TypeError, "3"),
        (lambda: star(datasets_names="stacked"), ValueError, r"\['stacked'\], not to run 1; give name="),
        (lambda: star(temporal=xg.LinearTemporalModel(beta=-1e6 / u.d)), ValueError, "negative or not finite inside"),
        (lambda: xg.FoVBackgroundModel(xg.PowerLawNormSpectralModel(norm=-1.0)), ValueError, "background is negative"),
        (lambda: xg.FoVBackgroundModel(spatial=xg.PiecewiseNormSpatialModel(
            [148, 152, 148, 152] * u.deg, [-27, -27, -23, -23] * u.deg, norms=[-1, 1, -1, 1])), ValueError,
         "negative in the field of view"),
    ],
)  # fmt: skip
def test_bad_models_say_what_is_wrong(irfs, models, error, words):
    with pytest.raises(error, match=words):
        simulate_events(CENTER, models(), irfs, ontime="10 s")


def test_values_that_are_not_finite_cannot_be_given():
    with pytest.raises(ValueError, match="finite"):
        star("nan cm-2 s-1 TeV-1")


def test_sources_outside_are_named(irfs):
    with pytest.warns(UserWarning, match=r"\['far'\] lie outside the field of view"):
        events = simulate_events(CENTER, [star(), star(name="far", lon=10.0)], irfs, ontime="10 s")
    assert not (events.mc_id == 2).any()


def test_pointings_need_responses():
    with pytest.raises(ValueError, match="a pointing has no responses"):
        simulate_events(CENTER, star())


def test_light_curve_of_a_table(irfs):
    header = {"MJDREFI": 60310, "MJDREFF": 0, "TIMESYS": "UTC"}
    table = Table({"TIME": [0.0, 600.0, 601.0, 1200.0] * u.s, "NORM": [1.0, 1.0, 0.0, 0.0]}, meta=header)
    model = star(temporal=xg.LightCurveTemplateTemporalModel(table))
    gti_start = "2024-01-01T00:00:00"
    events = simulate_events(
        CENTER, model, irfs, start=gti_start, ontime="20 min", background=False, energy_range=RANGE
    )
    first = events.attrs["tstart"]
    assert float(events.time.max()) - first < 601.0
    assert stats.kstest((events.time - first) / 600.5, stats.uniform.cdf).pvalue > PVALUE
