"""Light curves from a configuration."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from small_analysis import merged
from test_analysis_spectrum import CONFIG, MODEL

import xgamma as xg
from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import read_config
from xgamma.analysis.products import CURVE_FILES
from xgamma.dl3.times import to_time

EDGES = {"min": "0.8891397050194613 TeV", "max": "28.117066259517454 TeV", "nbins": 1}
NO_POINTS = {"energy": {"min": None, "max": None, "nbins": None}}


def make(**light_curve):
    changes = {"light_curve": {"energy_edges": EDGES, **light_curve}, "flux_points": NO_POINTS}
    analysis = Analysis(read_config(merged(CONFIG, changes)))
    analysis.set_models(MODEL)
    return analysis


def test_a_bin_for_each_run(tmp_path):
    analysis = make()
    result = analysis.run(tmp_path)
    assert set(CURVE_FILES) < set(result.files)
    assert all(file.exists() for file in result.files.values())
    assert result.light_curve.sizes["time"] == len(analysis.observations) == 4
    energy, true = (
        xg.energy_axis(*e, nbin=n, name=m)
        for e, n, m in ((("0.5 TeV", "50 TeV"), 8, "energy"), (("0.3 TeV", "100 TeV"), 20, "energy_true"))
    )
    grid = xg.region_grid("icrs;circle(150, -25, 0.2)", energy=energy, energy_true=true)
    section = analysis.config.datasets
    runs = xg.reduce(
        analysis.observations,
        grid,
        background=xg.ReflectedRegions(exclusion=section.background.exclusion),
        containment_correction=True,
        safe_mask="aeff-default",
        stack=False,
    ).compute()
    runs["mask_fit"] = (runs.energy_min > 0.8) & (runs.energy_max < 30)
    edges = [EDGES["min"], EDGES["max"]]
    curve = xg.light_curve(runs, result.fit.models, "source", energy_edges=edges, selection="all")
    for name in ("norm", "norm_err", "norm_ul", "sqrt_ts", "counts"):
        np.testing.assert_allclose(result.light_curve[name], curve[name], rtol=1e-6)
    back = xg.read_flux_points(result.files["light_curve"]).gamma.to_sed_type("flux")
    np.testing.assert_allclose(back.flux, curve.gamma.to_sed_type("flux").flux, rtol=1e-6)


def test_runs_are_cut_at_intervals():
    runs = make().observations
    middle = runs[1].tstart + 300.0
    times = to_time([runs[0].tstart, middle, runs[3].tstop]).utc.isot.tolist()
    analysis = make(time_intervals={"start": times[:2], "stop": times[1:]})
    curve = analysis.light_curve().compute()
    assert curve.n_runs.values.tolist() == [2, 3]
    good = float((curve.gti_stop - curve.gti_start).sum())
    assert good == pytest.approx(sum(run.ontime for run in runs), abs=1e-2)


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"light_curve\.source='crab' is none of the models \['source'\]"):
        make(source="crab").run(tmp_path / "out")
    with pytest.raises(ValueError, match=r"light_curve\.parameters\.time_intervals has no place here"):
        make(parameters={"time_intervals": []})


def test_without_models_there_is_no_light_curve(tmp_path, caplog):
    analysis = Analysis(read_config(merged(CONFIG, {"light_curve": {"energy_edges": EDGES}})))
    with caplog.at_level("INFO", logger="xgamma"):
        result = analysis.run(tmp_path)
    assert "light_curve" not in result.files
    assert "light_curve: nothing is made, there are no models" in caplog.text
    assert isinstance(result.info, xr.Dataset)
