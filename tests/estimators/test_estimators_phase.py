"""Phases: a simulated pulsar of known light curve, tests of periodicity against astropy and simulations, real data."""

from itertools import pairwise

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.stats import rayleightest
from astropy.table import Table

import xgamma as xg
from xgamma.dl3.ephemeris import Ephemeris, assign_phases, event_phases
from xgamma.dl3.filters import PhaseFilter
from xgamma.estimators.phase import periodicity, phase_axis, phasogram
from xgamma.estimators.phase_curve import phase_curve, reduce_phases
from xgamma.kernels.periodicity import harmonic_powers
from xgamma.simulate import array

PULSAR = SkyCoord(150.0, -25.0, unit="deg")
#: A pulse of a triangle around 0.3, on a part that is always there: mean 1.
PULSE = Table({"PHASE": [0.0, 0.2, 0.3, 0.4, 1.0], "NORM": [0.4, 0.4, 6.4, 0.4, 0.4]})
EPOCH, F0, F1 = 58000.0, 11.19, -1.5e-11
CIRCLE = "icrs;circle(150.0, -25.0, 0.25)"


def raising(*args, **kwargs):
    msg = "computed while the graph was built"
    raise AssertionError(msg)


@pytest.fixture(scope="module")
def pulsar(tmp_path_factory):
    """Four runs on a pulsar as bright as ten Crab nebulae."""
    folder = tmp_path_factory.mktemp("pulsar")
    PULSE.write(folder / "pulse.ecsv")
    temporal = xg.TemplatePhaseCurveTemporalModel(
        str(folder / "pulse.ecsv"), t_ref=EPOCH, f0=F0, f1=F1, scale="tt", normalize=True
    )
    spectral = xg.PowerLawSpectralModel(index=2.5, amplitude="3e-10 cm-2 s-1 TeV-1")
    source = xg.SkyModel(spectral, xg.PointSpatialModel(position=PULSAR), temporal, name="pulsar")
    places = [(150.0, -25.5), (150.0, -24.5)] * 2
    xg.simulate_survey(folder / "store", places, array.responses(), [source], seed=3)
    return assign_phases(xg.open_store(folder / "store").observations, Ephemeris(EPOCH, (F0, F1), scale="tt")), source


def grid(region=CIRCLE):
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=4)
    true = xg.energy_axis("0.5 TeV", "20 TeV", nbin=12, name="energy_true")
    return xg.region_grid(region, energy=energy, energy_true=true)


def expected(edges):
    """Mean of the pulse in bins of the phase."""
    fine = np.linspace(0, 1, 100_001)
    total = np.concatenate([[0], np.cumsum(np.interp(0.5 * (fine[1:] + fine[:-1]), PULSE["PHASE"], PULSE["NORM"]))])
    held = np.interp(edges, fine, total / total[-1])
    return np.diff(held) / np.diff(edges)


def test_phase_curve_of_a_simulated_pulsar(pulsar):
    runs, source = pulsar
    model = xg.SkyModel(source.spectral, name="pulsar")
    options = {"safe_mask": "aeff-default", "containment_correction": True, "background": xg.ReflectedRegions()}
    cube = reduce_phases(runs, grid(), 20, **options)
    assert cube.counts.chunks is not None
    cube = cube.compute()
    curve = phase_curve(cube, model, energy_edges=[1, 10] * u.TeV)
    assert curve.norm.dims == ("phase", "energy")
    truth = expected(np.linspace(0, 1, 21))
    pull = ((curve.norm.values[:, 0] - truth) / curve.norm_err.values[:, 0]).astype(float)
    assert abs(pull.mean()) < 4 / 20**0.5
    assert 5 < (pull**2).sum() < 45
    assert int(curve.norm.values[:, 0].argmax()) in (5, 6)
    # the bins together are the whole
    whole = xg.reduce(runs, grid(), stack=True, **options).compute()
    assert np.array_equal(cube.counts.sum("phase"), whole.counts)
    assert np.allclose(cube.exposure.sum("phase"), whole.exposure)
    mean = float(xg.flux_points(whole, model, energy_edges=[1, 10] * u.TeV).norm[0])
    assert float(curve.norm.mean()) == pytest.approx(mean, rel=0.01)
    # lazily, and with runs apart
    lazy = phase_curve(reduce_phases(runs, grid(), 20, **options), model, energy_edges=[1, 10] * u.TeV)
    assert lazy.norm.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), curve)
    apart = phase_curve(reduce_phases(runs, grid(), 20, stack=False, **options), model, energy_edges=[1, 10] * u.TeV)
    assert np.allclose(apart.norm, curve.norm, atol=0.1 * float(curve.norm_err.max()))


def test_phase_resolved_spectrum_with_an_off_phase(pulsar):
    runs, source = pulsar
    edges, off = [0.15, 0.2, 0.3, 0.4, 0.45], (0.5, 1.0)
    cube = reduce_phases(runs, grid(), edges, off_phase=off, safe_mask="aeff-default", containment_correction=True)
    cube = cube.compute()
    # the same as one reduction with PhaseBackground for each bin, with the exposure of the bin
    for i, (low, high) in enumerate(pairwise(edges)):
        one = xg.reduce(
            runs,
            grid(),
            background=xg.PhaseBackground((low, high), off, column="phase"),
            selection=["counts", "exposure", "edisp"],
            safe_mask="aeff-default",
            containment_correction=True,
        ).compute()
        for name in ("counts", "counts_off", "background"):
            assert np.allclose(cube[name][i], one[name]), name
        assert np.allclose(cube.exposure[i], one.exposure * (high - low))
    points = phase_curve(cube, xg.SkyModel(source.spectral, name="pulsar"), energy_edges=[1, 10] * u.TeV)
    # what is always there counts as background
    truth = expected(edges) - 0.4 / expected_mean()
    pull = (points.norm.values[:, 0] - truth) / points.norm_err.values[:, 0]
    assert np.abs(pull).max() < 4
    assert points.sqrt_ts.values[1, 0] > 10
    # the spectrum of the pulse
    fit = cube.isel(phase=[1, 2]).gamma.fit(xg.SkyModel(xg.PowerLawSpectralModel(index=2), name="pulse"))
    index = fit.free["pulse.index"]
    assert abs(index.value - 2.5) < 4 * index.error


def expected_mean():
    return float(np.trapezoid(PULSE["NORM"], PULSE["PHASE"]))


def test_maps_in_bins_of_the_phase(pulsar):
    runs, source = pulsar
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    true = xg.energy_axis("0.5 TeV", "20 TeV", nbin=8, name="energy_true")
    sky = xg.sky_grid(PULSAR, "1 deg", "0.05 deg", energy=energy, energy_true=true, irf_binsize="0.5 deg")
    options = {"selection": "all", "offset_max": "2 deg", "safe_mask": "offset-max"}
    cube = reduce_phases(runs[:2], sky, [0.0, 0.2, 0.4, 1.0], **options).compute()
    whole = xg.reduce(runs[:2], sky, **options).compute()
    for name in ("counts", "background", "exposure"):
        assert np.allclose(cube[name].sum("phase"), whole[name]), name
    curve = phase_curve(
        cube, [xg.SkyModel(source.spectral, source.spatial, name="pulsar")], energy_edges=[1, 10] * u.TeV
    )
    pull = (curve.norm.values[:, 0] - expected([0.0, 0.2, 0.4, 1.0])) / curve.norm_err.values[:, 0]
    assert np.abs(pull).max() < 4


def test_phasogram_of_runs(pulsar):
    runs, _ = pulsar
    with dask.config.set(scheduler=raising):
        lazy = phasogram(runs, 20, region=CIRCLE, energy_edges=[1, 3, 10] * u.TeV, off_phase=(0.5, 1.0))
    assert lazy.counts.chunks is not None
    assert lazy.counts.dims == ("obs", "energy", "phase")
    found = lazy.compute()
    for i, run in enumerate(runs):
        events = run.events
        away = SkyCoord(events.ra.values, events.dec.values, unit="deg").separation(PULSAR).deg < 0.25
        for k, (low, high) in enumerate([(1, 3), (3, 10)]):
            mine = events.phase.values[away & (events.energy.values >= low) & (events.energy.values < high)]
            assert np.array_equal(found.counts[i, k], np.histogram(mine, np.linspace(0, 1, 21))[0])
            assert float(found.counts_off[i, k]) == (mine >= 0.5).sum()
    assert np.allclose(found.background, found.counts_off.values[..., None] * 0.05 / 0.5)
    # a list of events, lazily and not
    events = runs[0].events
    direct = phasogram(events, 20, region=CIRCLE)
    assert np.array_equal(direct.counts, phasogram(events.chunk({"event": 100}), 20, region=CIRCLE).counts)
    assert np.array_equal(direct.counts, phasogram(runs[:1], 20, region=CIRCLE).counts[0])


def test_pulsation_is_found_at_its_frequency(pulsar):
    runs, _ = pulsar
    events = runs[0].events
    away = SkyCoord(events.ra.values, events.dec.values, unit="deg").separation(PULSAR).deg < 0.1
    events = events.isel(event=away)
    assert float(periodicity(events).h_p_value) < 1e-10
    trials = F0 + np.arange(-20, 21) * 5e-4
    phases = np.stack([Ephemeris(EPOCH, (f, F1), scale="tt").phases(events.time.values) for f in trials])
    search = periodicity(xr.DataArray(phases, dims=("frequency", "event"), coords={"frequency": trials}))
    assert search.h.dims == ("frequency",)
    # each Fourier step of a run of 28 min is 6e-4 Hz
    assert abs(float(trials[int(search.h.values.argmax())]) - F0) <= 5e-4
    assert float(search.h.max()) > 3 * float(search.h.isel(frequency=slice(0, 10)).max())


def test_powers_against_closed_forms_and_astropy():
    rng = np.random.default_rng(0)
    phases = rng.uniform(size=500)
    powers = harmonic_powers(phases, n_harmonics=5)
    for k in range(1, 6):
        angle = 2 * np.pi * k * phases
        assert powers[k - 1] == pytest.approx(2 / 500 * (np.cos(angle).sum() ** 2 + np.sin(angle).sum() ** 2))
    # the Rayleigh test of astropy has terms beyond exp(-z) of order 1/n
    p_value = rayleightest(2 * np.pi * phases * u.rad)
    assert float(periodicity(xr.DataArray(phases, dims="event")).z2_p_value[0]) == pytest.approx(
        float(p_value), abs=2e-3
    )
    # all events at one phase: 2 n in each harmonic
    assert np.allclose(harmonic_powers(np.full(7, 0.3), n_harmonics=4), 14.0)
    weights = rng.uniform(size=500)
    angle = 2 * np.pi * phases
    direct = 2 / (weights**2).sum() * np.abs((weights * np.exp(1j * angle)).sum()) ** 2
    assert harmonic_powers(phases, weights, 1)[0] == pytest.approx(direct)
    # NaN take no part
    assert np.allclose(harmonic_powers(np.append(phases, np.nan), n_harmonics=5), powers)
    assert np.isnan(harmonic_powers(np.full(3, np.nan), n_harmonics=2)).all()


def test_chance_of_h_and_z2_by_simulation():
    phases = np.random.default_rng(5).uniform(size=(4000, 300))
    result = periodicity(xr.DataArray(phases, dims=("trial", "event")))
    for level in (0.5, 0.1, 0.01):
        spread = 4 * np.sqrt(level * (1 - level) / 4000)
        for n in (1, 2, 10):
            assert abs(float((result.z2_p_value.sel(harmonic=n) < level).mean()) - level) < spread
    # exp(-0.4 H) holds in the tail; it is a fit, good to a tenth of the probability
    for level in (0.1, 0.02):
        assert abs(float((result.h_p_value < level).mean()) - level) < 4 * np.sqrt(level / 4000) + 0.1 * level


def test_periodicity_lazily(pulsar):
    phases = xr.DataArray(np.random.default_rng(1).uniform(size=(3, 1000)), dims=("trial", "event"))
    with dask.config.set(scheduler=raising):
        lazy = periodicity(phases.chunk({"event": 100, "trial": 1}))
    assert all(v.chunks is not None for v in lazy.data_vars.values())
    xr.testing.assert_allclose(lazy.compute(), periodicity(phases))


# gammapy 2.1: SpectrumDatasetMaker(counts, exposure, edisp) on run 111630 of the gps index, circle of 0.25 deg around
# Vela; PhaseBackgroundMaker(on_phase=(0.5, 0.6), off_phase=(0.7, 1.0)); FluxPointsEstimator with bins 1 to 3
# and 4 to 7 and a power law of index 4, 4e-12 at 0.02 TeV; numpy.histogram of PHASE inside the circle.
VELA = {
    "counts": [0, 3, 41, 33, 26, 16, 1, 6, 6, 5, 8, 7],
    "counts_off": [0, 9, 93, 55, 53, 19, 15, 16, 16, 21, 16, 9],
    "norm": [619.194164866286, 21056.637037186392],
    "norm_err": [943.4267092136903, 9922.599684103016],
    "ts": [0.5184626111393698, 5.238985766546342],
    "phases": [56, 51, 55, 66, 60, 51, 60, 59, 46, 71, 66, 89, 58, 59, 43, 61, 62, 45, 60, 59],
}


@pytest.mark.real_data
def test_vela_as_gammapy(gammapy_data):
    run = xg.open_store(gammapy_data / "cta-1dc/index/gps").select(obs_id=[111630])[0]
    region = "icrs;circle(128.83606354, -45.17643181, 0.25)"
    energy = xg.energy_axis("0.01 TeV", "10 TeV", nbin=12)
    true = xg.energy_axis("0.005 TeV", "20 TeV", nbin=24, name="energy_true")
    options = {"selection": ["counts", "exposure", "edisp"], "safe_mask": []}
    sky = xg.region_grid(region, energy=energy, energy_true=true)
    cube = reduce_phases([run], sky, [0.5, 0.6], off_phase=(0.7, 1.0), **options).compute()
    assert cube.counts[0].values.tolist() == VELA["counts"]
    assert cube.counts_off[0].values.tolist() == VELA["counts_off"]
    assert np.array_equal(phasogram([run], 20, region=region).counts[0], VELA["phases"])
    spectral = xg.PowerLawSpectralModel(index=4, amplitude="4e-12 cm-2 s-1 TeV-1", reference="0.02 TeV")
    edges = np.append(energy.energy_min.values, 10.0)[[1, 4, 8]] * u.TeV
    points = phase_curve(cube, xg.SkyModel(spectral, name="vela"), energy_edges=edges)
    # gammapy's exposure is that of the whole period: its norm is ten times smaller
    error = np.array(VELA["norm_err"])
    assert np.abs((0.1 * points.norm.values[0] - VELA["norm"]) / error).max() < 1e-3
    assert np.allclose(0.1 * points.norm_err.values[0], error, rtol=1e-3)
    # where nothing was counted off, gammapy sets the acceptance off to 0: the first bin is left out here
    assert np.allclose(points.ts.values[0], VELA["ts"], rtol=1e-6)


def test_words(pulsar):
    runs, source = pulsar
    for bad in (0, 2.5, [0.0, 0.5, 0.4], [0.0, 1.2], [-0.1, 0.5], [0.3]):
        with pytest.raises(ValueError, match="phase"):
            phase_axis(bad)
    with pytest.raises(ValueError, match="overlaps off_phase"):
        reduce_phases(runs, grid(), [0.0, 0.6], off_phase=(0.5, 1.0))
    with pytest.raises(ValueError, match="leave background out"):
        reduce_phases(runs, grid(), [0.0, 0.4], off_phase=(0.5, 1.0), background=xg.ReflectedRegions())
    with pytest.raises(ValueError, match="dim 'phase'"):
        phase_curve(xr.Dataset({"counts": ("energy", [1.0])}), source)
    with pytest.raises(ValueError, match="no column 'phase'"):
        phasogram(xr.Dataset({"energy": ("event", [1.0])}))
    with pytest.raises(ValueError, match="no runs"):
        phasogram([])
    with pytest.raises(TypeError, match="1 is not a run"):
        phasogram([1, 2])
    with pytest.raises(ValueError, match="two or more edges"):
        phasogram(xr.Dataset({"phase": ("event", [0.1])}), energy_edges="1 TeV")
    for weight in (np.nan, -0.1):
        with pytest.raises(ValueError, match="1 of 2 weights"):
            periodicity(xr.DataArray([0.1, 0.2], dims="event"), weights=xr.DataArray([1.0, weight], dims="event"))
    with pytest.raises(ValueError, match="2 regions"):
        phasogram(runs, region=[CIRCLE, CIRCLE])
    with pytest.raises(ValueError, match="dim 'event'"):
        periodicity(xr.DataArray([0.1], dims="x"))
    with pytest.raises(ValueError, match="n_harmonics"):
        periodicity(xr.DataArray([0.1], dims="event"), n_harmonics=0)
    # phases outside of a turn: nobody knows what they mean
    for phases, what in (([0.1, 180.0], "from 0.1 to 180"), ([0.1, np.nan], "1 are NaN"), ([-0.7, 0.2], "from -0.7")):
        events = xr.Dataset({"phase": ("event", phases)})
        with pytest.raises(ValueError, match=f"1 of 2 phases.*{what}"):
            PhaseFilter(((0.0, 0.5),))(events)
        with pytest.raises(ValueError, match=what):
            phasogram(events)
    # from -0.5 to 0.5 is a turn as well, and 1 is 0
    events = xr.Dataset({"phase": ("event", [-0.25, 0.25, 1.0])})
    assert phasogram(events, 4).counts.values.tolist() == [1, 1, 0, 1]
    assert PhaseFilter(((0.0, 0.1), (0.7, 0.8)))(events).phase.values.tolist() == [-0.25, 1.0]
    with pytest.raises(ValueError, match="'time'"):
        event_phases(xr.Dataset({"energy": ("event", [1.0])}), Ephemeris(EPOCH, (F0,)))
