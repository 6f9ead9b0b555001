from __future__ import annotations

import dask
import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from xgamma.dl3.store import open_store
from xgamma.io.fits_file import open_fits
from xgamma.io.sample import sample_path
from xgamma.irf.write import irf_to_hdu
from xgamma.simulate import array, survey
from xgamma.simulate.config import read_responses, read_survey_config, simulate_from_config
from xgamma.simulate.schedule import Schedule, plan_runs
from xgamma.simulate.sources import Disk, Gaussian, PowerLaw, Source, source_from_dict
from xgamma.simulate.survey import simulate_survey
from xgamma.simulate.truth import read_truth

SHORT = Schedule(ontime="60 s", pause="10 s", runs_per_night=2, deadtime_fraction=0.1)
POINTINGS = [(150.0, -24.5), (150.5, -25.0), (149.5, -25.0)]
STAR = Source("star", (150.0, -25.0), PowerLaw("1e-10 cm-2 s-1 TeV-1", index=2.3))


@pytest.fixture(scope="module")
def irfs():
    return array.responses()


@pytest.fixture(scope="module")
def made(tmp_path_factory, irfs):
    path = tmp_path_factory.mktemp("simulated") / "survey"
    truth = simulate_survey(path, POINTINGS, irfs, [STAR], seed=11, schedule=SHORT, location=array.LOCATION)
    return path, truth


def columns(path):
    with open_fits(path) as hdus:
        data = hdus["EVENTS"].data
        return {name: np.array(data[name]) for name in data.names}


# --- what is written --------------------------------------------------------------------------------------------


def test_survey_is_a_store(made, irfs):
    path, truth = made
    store = open_store(path)
    assert store.obs_ids == (1, 2, 3)
    for number, run in enumerate(store.observations):
        assert set(run.available) == {"events", "gti", "aeff", "edisp", "psf", "bkg"}
        assert run.ontime == pytest.approx(60, abs=1e-6)
        assert run.livetime == pytest.approx(54, abs=1e-6)
        assert run.pointing.icrs(run.tmid) == pytest.approx(POINTINGS[number])
        events = run.events
        np.testing.assert_array_equal(np.bincount(events.mc_id, minlength=2), truth.simulated.isel(obs=number))
        assert (events.time >= run.tstart - 1e-6).all()
        assert (events.time <= run.tstop + 1e-6).all()
        np.testing.assert_allclose(run.aeff, irfs["aeff"], rtol=1e-15)
        np.testing.assert_allclose(run.bkg, irfs["bkg"], rtol=1e-15)
        assert run.aeff.attrs["lo_thres"] == 0.3
        # the altitude of the header is that of the middle of the run
        alt, az = run.pointing.altaz(run.tmid)
        assert (run.pointing.alt, run.pointing.az) == pytest.approx((alt, az), abs=1e-3)
        assert run.info["alt_pnt"] == pytest.approx(alt, abs=1e-3)
        assert run.info["event_count"] == events.sizes["event"]


def test_runs_follow_the_schedule(made):
    starts = [run.tstart for run in open_store(made[0]).observations]
    np.testing.assert_allclose(np.diff(starts), [70.0, 86400.0 - 70.0], atol=1e-6)
    with open_fits(made[0] / "data/run_000001.fits.gz") as hdus:
        header = hdus["EVENTS"].header
    assert header["DATE-OBS"] == "2024-03-01"
    assert header["TIME-OBS"].startswith("01:30:00")
    assert header["TIMESYS"] == "TT"
    assert header["CREATOR"] == "xgamma"


def test_truth_beside_the_runs(made):
    path, truth = made
    read = read_truth(path)
    assert read.sources == (STAR,)
    assert read.seed == 11
    assert read.runs == 3
    assert read.energy_range == (0.3, 100.0)
    assert read.simulated == {c: int(truth.simulated.sel(component=c).sum()) for c in ("background", "star")}
    assert read.expected == pytest.approx(
        {c: float(truth.expected.sel(component=c).sum()) for c in ("background", "star")}, rel=1e-4
    )
    table = Table.read(path / "truth.ecsv")
    np.testing.assert_array_equal(table["star_simulated"], truth.simulated.sel(component="star"))


def test_runs_do_not_depend_on_number_order_or_workers(made, irfs, tmp_path):
    path, truth = made
    with dask.config.set(scheduler="synchronous"):
        first = simulate_survey(tmp_path / "one", POINTINGS[:1], irfs, [STAR], seed=11, schedule=SHORT)
    assert first.simulated.isel(obs=0).identical(truth.simulated.isel(obs=0))
    later = Schedule(ontime="60 s", start="2024-03-02T01:30:00", deadtime_fraction=0.1, first_obs_id=3)
    simulate_survey(tmp_path / "two", POINTINGS[2:], irfs, [STAR], seed=11, schedule=later)
    for name, number in (("one", 1), ("two", 3)):
        mine, theirs = (columns(p / f"data/run_{number:06d}.fits.gz") for p in (tmp_path / name, path))
        for column in ("EVENT_ID", "RA", "DEC", "ENERGY", "MC_ID"):
            np.testing.assert_array_equal(mine[column], theirs[column])


def test_batches_make_the_same_files(made, irfs, tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "BATCH", 1)
    truth = simulate_survey(tmp_path / "s", POINTINGS, irfs, [STAR], seed=11, schedule=SHORT, location=array.LOCATION)
    assert truth.identical(made[1])
    for file in sorted(made[0].rglob("*.fits.gz")):
        assert file.read_bytes() == (tmp_path / "s" / file.relative_to(made[0])).read_bytes()


def test_plain_files(irfs, tmp_path):
    simulate_survey(tmp_path / "s", POINTINGS[:1], irfs, [STAR], schedule=SHORT, compress=False)
    assert (tmp_path / "s/data/run_000001.fits").is_file()
    run = open_store(tmp_path / "s").get(1)
    assert run.events.sizes["event"] > 0
    assert run.pointing.location is None


def test_survey_from_responses_of_a_store_and_of_a_file(made, tmp_path):
    stored = read_responses({"store": str(made[0]), "obs_id": 2})
    file = read_responses("responses.fits.gz", made[0])
    assert sorted(stored) == sorted(file) == ["aeff", "bkg", "edisp", "psf"]
    for name in stored:
        assert file[name].identical(stored[name])
    truth = simulate_survey(tmp_path / "s", POINTINGS, file, [STAR], seed=11, schedule=SHORT)
    np.testing.assert_array_equal(truth.simulated, made[1].simulated)


def test_reversed_background_of_hess_survives_the_store(gammapy_data, tmp_path):
    irfs = read_responses({"store": str(gammapy_data / "hess-dl3-dr1"), "obs_id": 20136})
    assert irfs["bkg"].attrs["fov_alignment"] == "REVERSE_LON_RADEC"
    truth = simulate_survey(tmp_path / "s", POINTINGS[:1], irfs, schedule=SHORT, energy_range=("0.5 TeV", "50 TeV"))
    assert float(truth.simulated.sum()) > 10
    again = open_store(tmp_path / "s").get(1).bkg
    assert again.attrs["fov_alignment"] == "REVERSE_LON_RADEC"
    np.testing.assert_allclose(again, irfs["bkg"], rtol=1e-12)


# --- the sample -------------------------------------------------------------------------------------------------


def test_sample_is_what_its_description_makes(tmp_path):
    config = read_survey_config(sample_path("survey.yaml"))
    runs = plan_runs(list(config.pointings), config.schedule, config.location)
    limits = (0.3, 100.0)
    (tmp_path / "data").mkdir()
    irfs = read_responses(config.responses)
    task = survey.make_task(tmp_path, irfs, config.sources, limits, config.seed, config.schedule, compress=True)
    counts = survey.simulate_run(task, runs[6])
    name = "data/run_000007.fits.gz"
    mine, shipped = columns(tmp_path / name), columns(sample_path("survey", name))
    assert list(mine) == list(shipped)
    for column in ("EVENT_ID", "MC_ID"):
        np.testing.assert_array_equal(mine[column], shipped[column])
    for column in ("RA", "DEC", "ENERGY"):
        assert mine[column].dtype.kind == "f"
        # equal on the machine that made the sample; another one may round a logarithm otherwise
        np.testing.assert_array_max_ulp(mine[column], shipped[column], maxulp=1)
    np.testing.assert_allclose(mine["TIME"], shipped["TIME"], rtol=0, atol=2e-6)
    table = Table.read(sample_path("survey", "truth.ecsv"))
    names = ["background", "bright", "extended", "faint"]
    np.testing.assert_array_equal(counts[0], [table[f"{n}_simulated"][6] for n in names])
    np.testing.assert_allclose(counts[1], [table[f"{n}_expected"][6] for n in names], rtol=1e-5)


def test_sample_has_the_events_that_its_truth_says():
    truth = read_truth(sample_path("survey"))
    store = open_store(sample_path("survey"))
    found = sum(np.bincount(run.events.mc_id, minlength=4) for run in store.observations)
    assert dict(zip(truth.simulated, found.tolist(), strict=True)) == truth.simulated
    for name, expected in truth.expected.items():
        assert abs(truth.simulated[name] - expected) < 4 * np.sqrt(expected)
    assert sum(f.stat().st_size for f in sample_path().rglob("*") if f.is_file()) < 2_000_000


def test_readme_of_the_sample_has_its_numbers():
    text = sample_path("README.md").read_text()
    truth = read_truth(sample_path("survey"))
    for name, number in truth.simulated.items():
        assert f"{number} events of background" in text if name == "background" else f"| {number} |" in text
    assert f"({truth.expected['background']:.0f} expected)" in text
    assert str(truth.seed) in text


# --- descriptions -----------------------------------------------------------------------------------------------

CONFIG = {
    "seed": 11,
    "runs": {
        "ontime": "60 s",
        "pause": "10 s",
        "runs_per_night": 2,
        "deadtime_fraction": 0.1,
        "positions": [{"lon": "150 deg", "lat": "-24.5 deg"}],
        "wobble": [{"target": {"lon": "150 deg", "lat": "-25 deg"}, "offset": "0.7 deg", "number": 1}],
        "grid": [{"center": {"lon": "0 deg", "lat": "0 deg", "frame": "galactic"}, "width": "2 deg", "number": 1}],
    },
    "sources": [STAR.to_dict()],
    "location": {"lon": "-70.3 deg", "lat": "-24.7 deg", "height": "2150 m"},
    "energy_range": ["0.3 TeV", "100 TeV"],
}


def write(path, values):
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_description_makes_a_survey(tmp_path, made):
    file = write(tmp_path / "survey.yaml", CONFIG)
    truth = simulate_from_config(file, tmp_path / "out")
    assert truth.simulated.isel(obs=0).identical(made[1].simulated.isel(obs=0))
    assert truth.sizes == {"obs": 3, "component": 2}
    np.testing.assert_allclose(truth.ra_pnt, [150.0, 150.0, 266.40498829])
    with pytest.raises(FileExistsError, match="overwrite=True"):
        simulate_from_config(file, tmp_path / "out")
    assert simulate_from_config(file, tmp_path / "out", overwrite=True).identical(truth)


def changed(*keys, **values):
    """Return the description with some values of one of its parts replaced."""
    result = yaml.safe_load(yaml.safe_dump(CONFIG))
    part = result
    for key in keys:
        part = part[key]
    part.update(values)
    return result


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, r"the survey lacks \['runs'\]"),
        ([1], "must be a mapping"),
        (changed(sede=1), r"unknown keys \['sede'\]"),
        (changed(seed=-1), "seed=-1"),
        (changed(energy_range="1 TeV"), "energy_range"),
        (changed(compress="yes please"), "compress"),
        (changed(sources={}), "sources must be a list"),
        (changed("runs", offset="1 deg"), r"runs has unknown keys \['offset'\]"),
        (changed("runs", ontime="-1 s"), "ontime"),
        (changed("runs", ontime="10 kg"), "ontime"),
        (changed("runs", runs_per_night=100_000), "do not fit into a day"),
        (changed("runs", deadtime_fraction="a"), "runs: "),
        (changed("runs", first_obs_id=-1), "first_obs_id"),
        (changed("runs", start="soon"), "not a time"),
        (changed("runs", positions=[{"lon": "150 deg"}]), "lacks"),
        (changed("runs", wobble=[{"target": {"lon": "1 deg", "lat": "2 deg"}, "width": 1}]), "unknown keys"),
        ({"runs": {"ontime": "28 min"}}, "names no pointings"),
        (changed("location", height="2150 TeV"), "height"),
        (changed("sources", 0, name=""), "needs a name"),
        (changed("sources", 0, flux=1), r"unknown keys \['flux'\]"),
        (changed("sources", 0, spectrum={"type": "powerlaw"}), "one of"),
        (changed("sources", 0, spectrum={"type": "power-law"}), r"lacks \['amplitude'\]"),
        (changed("sources", 0, "spectrum", amplitude="-1e-11 cm-2 s-1 TeV-1"), "must be positive"),
        (changed("sources", 0, "spectrum", amplitude="1e-11 cm-2 s-1"), "amplitude"),
        (changed("sources", 0, "spectrum", sigma="1 deg"), "unknown keys"),
        (changed("sources", 0, shape={"type": "gaussian"}), r"lacks \['sigma'\]"),
        (changed("sources", 0, shape={"type": "disk", "radius": "0 deg"}), "must be positive"),
        (changed("sources", 0, shape={"type": ["disk"]}), "needs a type"),
    ],
)
def test_bad_descriptions_say_what_is_wrong(tmp_path, values, words):
    file = write(tmp_path / "survey.yaml", values)
    with pytest.raises(ValueError, match=words) as caught:
        simulate_from_config(file, tmp_path / "out")
    assert "survey.yaml" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_descriptions(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_survey_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("runs: [1, 2")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_survey_config(tmp_path / "bad.yaml")
    (tmp_path / "evil.yaml").write_text("runs: !!python/object/apply:os.system ['true']")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_survey_config(tmp_path / "evil.yaml")


def test_bad_responses(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(ValueError, match="holds no instrument responses"):
        read_responses("empty.fits", tmp_path)
    with pytest.raises(FileNotFoundError, match="no file"):
        read_responses("none.fits", tmp_path)
    with pytest.raises(ValueError, match="unknown keys"):
        read_responses({"store": "a", "run": 1})
    with pytest.raises(ValueError, match="must be 'array'"):
        read_responses(3)


def test_responses_of_one_file(tmp_path, irfs):
    hdus = [irf_to_hdu(irfs[n]) for n in ("aeff", "bkg")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "some.fits")
    some = read_responses("some.fits", tmp_path)
    assert sorted(some) == ["aeff", "bkg"]
    with pytest.raises(ValueError, match="'psf' is missing"):
        simulate_survey(tmp_path / "s", POINTINGS, some, [STAR], schedule=SHORT)


@pytest.mark.parametrize(
    "source",
    [
        STAR,
        Source("g", (0.1, 0.2), PowerLaw("1e-11 cm-2 s-1 GeV-1", index=2, reference="100 GeV"), Gaussian("3 arcmin")),
        Source("d", (359.9, -89.0), PowerLaw("1e-11 cm-2 s-1 TeV-1"), Disk("1 deg")),
    ],
)
def test_sources_survive_their_description(source):
    again = source_from_dict(yaml.safe_load(yaml.safe_dump(source.to_dict())))
    assert again.name == source.name
    assert again.position == pytest.approx(source.position)
    assert again.spectrum.to_dict() == source.spectrum.to_dict()
    assert again.shape == source.shape


# --- nothing half-written ---------------------------------------------------------------------------------------


def test_folders_of_others_are_left_alone(tmp_path, irfs):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError):
            simulate_survey(tmp_path / "mine", POINTINGS, irfs, overwrite=overwrite, schedule=SHORT)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="no simulated survey"):
        simulate_survey(tmp_path / "file", POINTINGS, irfs, overwrite=True, schedule=SHORT)


def test_failure_leaves_nothing_and_keeps_the_old_survey(tmp_path, irfs, monkeypatch):
    simulate_survey(tmp_path / "s", POINTINGS[:1], irfs, [STAR], schedule=SHORT)
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    run = survey.simulate_run

    def fails(task, planned):
        if planned.obs_id == 2:
            msg = "no space left on device"
            raise OSError(msg)
        return run(task, planned)

    monkeypatch.setattr(survey, "simulate_run", fails)
    for name in ("s", "new"):
        with pytest.raises(OSError, match="no space left"):
            simulate_survey(tmp_path / name, POINTINGS, irfs, [STAR], schedule=SHORT, overwrite=True)
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pointings": []}, "no pointings"),
        ({"pointings": 5}, "must be a list"),
        ({"pointings": [(0, 95)]}, "pointing 0"),
        ({"irfs": {}}, "no background model"),
        ({"seed": -3}, "seed"),
        ({"energy_range": ("2 TeV", "1 TeV")}, "ascending"),
        ({"energy_range": ("500 TeV", "600 TeV")}, "nothing of the energies"),
        ({"sources": [STAR, STAR]}, "more than once"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, irfs, change, words):
    arguments = {"pointings": POINTINGS, "irfs": irfs, "sources": [STAR], "schedule": SHORT, **change}
    with pytest.raises(ValueError, match=words):
        simulate_survey(tmp_path / "s", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_source_that_no_run_sees_is_named(tmp_path, irfs):
    far = Source("far", (10.0, 40.0), PowerLaw("1e-11 cm-2 s-1 TeV-1"))
    with pytest.warns(UserWarning, match=r"\['far'\] lie outside the effective area of all 3 runs"):
        truth = simulate_survey(tmp_path / "s", POINTINGS, irfs, [STAR, far], schedule=SHORT)
    assert int(truth.simulated.sel(component="far").sum()) == 0


def test_truth_that_is_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a simulated survey"):
        read_truth(tmp_path)
    (tmp_path / "truth.yaml").write_text("seed: 1")
    with pytest.raises(ValueError, match="damaged"):
        read_truth(tmp_path)
