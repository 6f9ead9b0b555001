"""Configurations: layouts old and new, defaults, and words for each mistake."""

from __future__ import annotations

import datetime as dt
import re

import astropy.units as u
import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from small_analysis import SMALL, merged

from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import Config, read_config

#: As gammapy 2.1 prints it (print(AnalysisConfig())), with nulls.
GAMMAPY = """
general:
    log: {level: info, filename: null, filemode: null, format: null, datefmt: null}
    outdir: .
    n_jobs: 1
    datasets_file: null
    models_file: null
observations:
    datastore: $GAMMAPY_DATA/hess-dl3-dr1
    obs_ids: []
    obs_file: null
    obs_cone: {frame: icrs, lon: 228.32 deg, lat: -59.08 deg, radius: 2.5 deg}
    obs_time: {start: null, stop: null}
    required_irf: [aeff, edisp, psf, bkg]
datasets:
    type: 3d
    stack: false
    geom:
        wcs:
            skydir: {frame: icrs, lon: 228.32 deg, lat: -59.08 deg}
            binsize: 0.02 deg
            width: {width: 3.0 deg, height: 3.0 deg}
            binsize_irf: 0.2 deg
        selection: {offset_max: 2.5 deg}
        axes:
            energy: {min: 0.5 TeV, max: 10.0 TeV, nbins: 10}
            energy_true: {min: 0.5 TeV, max: 20.0 TeV, nbins: 16}
    map_selection: [counts, exposure, background, psf, edisp]
    background: {method: null, exclusion: null, parameters: {}}
    safe_mask: {methods: [aeff-default], parameters: {}}
    on_region: {frame: null, lon: null, lat: null, radius: null}
    containment_correction: true
fit:
    fit_range: {min: null, max: null}
flux_points:
    energy: {min: null, max: null, nbins: null}
    source: source
    parameters: {selection_optional: all}
excess_map:
    correlation_radius: 0.1 deg
    parameters: {}
    energy_edges: {min: null, max: null, nbins: null}
light_curve:
    time_intervals: {start: null, stop: null}
    energy_edges: {min: null, max: null, nbins: null}
    source: source
    parameters: {selection_optional: all}
metadata: {creator: Gammapy 2.1, date: '2024-11-22T14:05:01.636689', origin: null}
"""

#: An older layout: fov for width, settings for parameters, fewer keys.
OLDER = """
general:
    log: {level: info, filename: null, filemode: null, format: null, datefmt: null}
    outdir: .
observations:
    datastore: $GAMMAPY_DATA/cta-1dc/index/gps
    obs_ids: [110380, 111140, 111159]
    obs_file: null
    obs_cone: {frame: null, lon: null, lat: null, radius: null}
    obs_time: {start: null, stop: null}
datasets:
    type: 3d
    stack: true
    geom:
        wcs:
            skydir: {frame: galactic, lon: 0.0 deg, lat: 0.0 deg}
            binsize: 0.02 deg
            fov: {width: 8.0 deg, height: 6.0 deg}
            binsize_irf: 0.2 deg
        selection: {offset_max: 2.5 deg}
        axes:
            energy: {min: 0.1 TeV, max: 10.0 TeV, nbins: 1}
            energy_true: {min: 0.1 TeV, max: 10.0 TeV, nbins: 30}
    map_selection: [counts, exposure, background, psf, edisp]
    background: {method: fov_background, exclusion: null, parameters: {}}
    safe_mask:
        methods: [offset-max]
        settings: {offset_max: 2.5 deg}
    on_region: {frame: null, lon: null, lat: null, radius: null}
    containment_correction: true
fit:
    fit_range: {min: 0.1 TeV, max: 30.0 TeV}
flux_points:
    energy: {min: 0.1 TeV, max: 10.0 TeV, nbins: 30}
    source: source
    parameters: {}
"""


def test_layout_of_gammapy():
    config = read_config(GAMMAPY)
    assert config.observations.obs_cone.radius == "2.5 deg"
    assert config.datasets.geom.axes.energy.nbins == 10
    assert config.general.n_jobs == 1
    assert config.metadata["creator"] == "Gammapy 2.1"
    assert Analysis(config).grid().sizes == {
        "y": 150, "x": 150, "energy": 10, "energy_true": 16, "rad": 66, "irf_y": 15, "irf_x": 15
    }  # fmt: skip


def test_older_spellings():
    config = read_config(OLDER)
    assert (config.datasets.geom.wcs.width.width, config.datasets.geom.wcs.width.height) == ("8.0 deg", "6.0 deg")
    assert config.datasets.safe_mask.parameters == {"offset_max": "2.5 deg"}
    assert config.fit.fit_range.max == "30.0 TeV"


def test_light_curves_of_rings_are_refused_in_words():
    rings = merged(SMALL, {"light_curve": {"energy_edges": {"min": "1 TeV", "max": "10 TeV", "nbins": 1}}})
    with pytest.raises(ValueError, match=r"light_curve asks for fits.*background\.method: ring.*fov_background"):
        Analysis(read_config(rings))


@pytest.mark.parametrize("text", ["{}", "general: {}", GAMMAPY, OLDER])
def test_round_trip(text):
    config = read_config(text)
    assert read_config(config.to_yaml()) == config
    assert yaml.safe_load(config.to_yaml())["datasets"]["stack"] is config.datasets.stack


def test_quantities_as_in_a_notebook():
    target = SkyCoord(228.32, -59.08, unit="deg")
    config = read_config(
        {
            "observations": {
                "obs_cone": {"frame": "icrs", "lon": target.ra, "lat": target.dec, "radius": 2.5 * u.deg},
                "obs_ids": [np.int64(3).item()],
                "obs_time": {"start": Time("2024-03-01T01:00:00"), "stop": dt.datetime(2024, 3, 2)},  # noqa: DTZ001
            },
            "datasets": {"geom": {"axes": {"energy": {"min": 500 * u.GeV, "max": 10 * u.TeV, "nbins": np.int64(3)}}}},
        }
    )
    assert config.observations.obs_cone.lon == "228.32 deg"
    assert config.datasets.geom.axes.energy.min == "500.0 GeV"
    start, stop = config.observations.obs_time.pairs()[0]
    assert (stop - start).to_value("h") == pytest.approx(23)
    assert read_config(config.to_yaml()) == config


def test_dates_of_yaml_and_lists_of_them():
    text = "observations: {obs_time: {start: [2024-03-01, 2024-03-03], stop: [2024-03-02, 2024-03-04]}}"
    pairs = read_config(text).observations.obs_time.pairs()
    assert [p[0].isot[:10] for p in pairs] == ["2024-03-01", "2024-03-03"]


def test_angles_in_hours():
    config = read_config("datasets: {geom: {wcs: {skydir: {frame: icrs, lon: 15h13m16.8s, lat: -59d04m48s}}}}")
    grid = Analysis(config).grid()
    assert (grid.wcs.attrs["CRVAL1"], grid.wcs.attrs["CRVAL2"]) == pytest.approx((228.32, -59.08))


@given(st.floats(0.01, 100), st.floats(1.01, 1000), st.integers(1, 200))
def test_energy_axes_keep_their_edges(low, factor, number):
    axis = {"min": f"{low!r} TeV", "max": f"{low * factor!r} TeV", "nbins": number}
    config = read_config({"datasets": {"geom": {"axes": {"energy": axis}}}})
    again = read_config(config.to_yaml())
    assert again == config
    assert u.Quantity(again.datasets.geom.axes.energy.max).to_value("TeV") == pytest.approx(low * factor, rel=1e-15)


WRONG = {
    "dataset: {}": "'dataset' is not known; did you mean 'datasets'",
    "datasets: {geom: {wcs: {binsiz: 1 deg}}}": r"'datasets.geom.wcs.binsiz' is not known; did you mean 'binsize'",
    "datasets: {wcs: {}}": r"'datasets.wcs' is not known; did you mean 'datasets.geom.wcs'",
    "datasets: {zzz: 1}": r"'datasets.zzz' is not known; there are \[",
    "datasets: 3": "datasets must be a section with keys, not 3",
    "[1, 2]": "the configuration must be a section",
    "datasets: {stack: maybe}": "datasets.stack='maybe' must be true or false",
    "datasets: {type: 2d}": "datasets.type='2d' is not known",
    "datasets: {map_selection: counts}": "datasets.map_selection='counts' must be a list",
    "datasets: {map_selection: [count]}": r"datasets.map_selection\[0\]='count' is not known; did you mean 'counts'",
    "datasets: {safe_mask: {methods: [aeff]}}": r"safe_mask.methods\[0\]='aeff' is not known",
    "datasets: {background: {method: rings}}": "datasets.background.method='rings' is not known; did you mean 'ring'",
    "datasets: {background: {parameters: 3}}": "datasets.background.parameters=3 must be a section",
    "datasets: {background: {exclusion: 3}}": "datasets.background.exclusion=3 must be a text",
    "datasets: {background: {exclusion: [3]}}": r"datasets.background.exclusion\[0\]=3 must be a text",
    "datasets: {geom: {wcs: {binsize: 0.02}}}": "wcs.binsize=0.02 must be an angle with its unit",
    "datasets: {geom: {wcs: {binsize: -1 deg}}}": "wcs.binsize='-1 deg' must be larger than 0",
    "datasets: {geom: {wcs: {binsize: 1 TeV}}}": "wcs.binsize='1 TeV' must be an angle",
    "datasets: {geom: {wcs: {fov: {width: 2 deg}, width: {width: 2 deg}}}}": "width is given twice: 'width' is its",
    "datasets: {geom: {wcs: {skydir: {lon: 0 deg}}}}": "skydir.frame is missing",
    "datasets: {geom: {wcs: {skydir: {frame: fk9}}}}": "skydir.frame='fk9' is not known",
    "datasets: {geom: {wcs: {skydir: {frame: icrs, lon: 0 deg, lat: 91 deg}}}}": "skydir.lat='91 deg' must lie between",
    "datasets: {geom: {axes: {energy: {min: 10 TeV, max: 1 TeV}}}}": "axes.energy: min='10 TeV' must be smaller",
    "datasets: {geom: {axes: {energy: {min: 1 deg}}}}": "axes.energy.min='1 deg' must be a positive energy",
    "datasets: {geom: {axes: {energy: {nbins: 0}}}}": "axes.energy.nbins=0 must be a whole number of at least 1",
    "datasets: {geom: {axes: {energy: {nbins: 1.5}}}}": "axes.energy.nbins=1.5 must be a whole number",
    "excess_map: {energy_edges: {min: 1 TeV, max: 10 TeV}}": "excess_map.energy_edges.nbins is missing",
    "excess_map: {correlation_radius: 0 deg}": "excess_map.correlation_radius='0 deg' must be larger than 0",
    "fit: {fit_range: {min: 3 TeV, max: 2 TeV}}": "fit.fit_range: min='3 TeV' must be smaller",
    "observations: {obs_ids: 3}": "observations.obs_ids=3 must be a list",
    "observations: {obs_ids: [1.5]}": r"observations.obs_ids\[0\]=1.5 must be the label of a run",
    "observations: {obs_ids: [1], obs_file: runs.txt}": "obs_ids and observations.obs_file both list runs",
    "observations: {obs_cone: {frame: icrs, lon: 1 deg, lat: 1 deg}}": "observations.obs_cone.radius is missing",
    "observations: {obs_time: {start: 2024-03-01}}": "observations.obs_time.stop is missing",
    "observations: {obs_time: {start: 2024-03-02, stop: 2024-03-01}}": "each start must come before its stop",
    "observations: {obs_time: {start: [2024-03-01], stop: [2024-03-02, 2024-03-03]}}": "as many start as stop times",
    "observations: {obs_time: {start: [], stop: []}}": "not an empty list",
    "observations: {obs_time: {start: never, stop: 2024-03-03}}": "obs_time.start='never' must be a time",
    "observations: {obs_time: {start: 55000, stop: 55001}}": "obs_time.start=55000 must be a time",
    "observations: {required_irf: [area]}": r"required_irf\[0\]='area' is not known",
    "general: {n_jobs: many}": "general.n_jobs='many' must be a whole number",
    "general: {log: {level: loud}}": "general.log.level='loud' is not known",
    "general: {outdir: 3}": "general.outdir=3 must be a text",
    "a: [": "not valid YAML",
}


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_are_named(text):
    with pytest.raises(ValueError, match=WRONG[text]):
        read_config(text)


def test_files(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("general: {outdir: there}")
    assert read_config(path) == read_config(str(path))
    assert read_config(path).general.outdir == "there"
    with pytest.raises(FileNotFoundError, match=re.escape("none.yaml does not exist")):
        read_config("none.yaml")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        read_config(path)
    path.write_text("")
    assert read_config(path) == Config()


def test_defaults_are_not_shared():
    first = read_config("{}")
    first.observations.obs_ids.append(3)
    assert read_config("{}").observations.obs_ids == []
