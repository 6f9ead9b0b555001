"""Analyses of maps with a field-of-view background: the cube that a fit gets, and the fit."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from small_analysis import SMALL, merged

import xgamma as xg
from xgamma.analysis.analysis import Analysis, with_backgrounds
from xgamma.analysis.config import read_config
from xgamma.analysis.products import FILES, FIT_FILES, RESIDUAL_FILES
from xgamma.io.sample import sample_path
from xgamma.models.background_model import FoVBackgroundModel

MODEL = """
components:
- name: bright
  type: SkyModel
  spatial:
    type: PointSpatialModel
    frame: icrs
    parameters:
    - {name: lon_0, value: 150, unit: deg}
    - {name: lat_0, value: -25, unit: deg}
  spectral:
    type: PowerLawSpectralModel
    parameters:
    - {name: index, value: 2.3}
    - {name: amplitude, value: 1.0e-11, unit: TeV-1 s-1 cm-2}
    - {name: reference, value: 1.0, unit: TeV, frozen: true}
"""
BACKGROUND = {"method": "fov_background", "parameters": {"method": "fit", "min_counts": 5}}


def make(**changes):
    config = merged(SMALL, {"fit": {"fit_range": {"min": "0.4 TeV", "max": "20 TeV"}}})
    config["datasets"]["background"] = {**BACKGROUND, "exclusion": ["icrs;circle(150, -25, 0.4)"]}
    return Analysis(read_config(merged(config, changes)))


def test_cube_is_that_of_reduce():
    analysis = make()
    cube = analysis.reduce()
    section = {"offset_max": "2.5 deg", "safe_mask": "aeff-default", "selection": "all"}
    settings = xg.FoVBackground(method="fit", min_counts=5, exclusion=["icrs;circle(150, -25, 0.4)"])
    runs = xg.open_store(sample_path("survey")).select(obs_id=[1, 2, 3])
    expected = xg.reduce(runs, analysis.grid(), background=settings, **section)
    assert cube.attrs["name"] == "stacked"
    # of four bins up to 50 TeV the last lies beyond the range
    assert cube.mask_fit.dims == cube.counts.dims
    assert cube.mask_fit.all(["y", "x"]).values.tolist() == [True, True, True, False]
    xr.testing.assert_allclose(cube.drop_vars("mask_fit").load(), expected.load())


def test_the_fit_range_is_one_of_fits():
    analysis, whole = make(), make(fit={"fit_range": {"min": None, "max": None}})
    assert "mask_fit" not in whole.reduce()
    xr.testing.assert_identical(analysis.excess_map().sqrt_ts.load(), whole.excess_map().sqrt_ts.load())


def test_everything_is_lazy():
    def refuse(*_, **__):
        pytest.fail("computed")

    with dask.config.set(scheduler=refuse):
        cube = make().reduce()
    assert all(cube[name].chunks is not None for name in cube.data_vars)


def test_plan_and_pieces(tmp_path):
    analysis = make()
    assert analysis.plan().n_runs == 3
    first = analysis.run(tmp_path, resume=True)
    assert set(first.files) == set(FILES)
    assert xg.open_cube(first.files["cube"]).fov_norm.dims == ("run",)


def test_runs_apart_keep_their_norms():
    analysis = make(datasets={"stack": False})
    cube = analysis.reduce().load()
    assert cube.fov_norm.dims == ("obs",)
    assert "name" not in cube.attrs
    models = with_backgrounds(xg.Models.from_yaml(MODEL), cube)
    assert models.names == ["bright", "1-bkg", "2-bkg", "3-bkg"]


def test_background_models_are_added_where_they_lack():
    cube = make().reduce()
    models = with_backgrounds(xg.Models.from_yaml(MODEL), cube)
    assert models.names == ["bright", "stacked-bkg"]
    assert list(models[1].datasets_names) == ["stacked"]
    mine = xg.Models([*xg.Models.from_yaml(MODEL), FoVBackgroundModel(name="mine")])
    assert with_backgrounds(mine, cube) is mine
    onoff = Analysis(read_config(SMALL)).reduce()
    assert with_backgrounds(xg.Models.from_yaml(MODEL), onoff).names == ["bright"]


def test_fit_and_its_products(tmp_path):
    file = tmp_path / "models.yaml"
    file.write_text(MODEL)
    # the responses of a fit need finer energies than an excess map
    true = {"min": "0.2 TeV", "max": "100 TeV", "nbins": 27}
    geom = {"axes": {"energy_true": true}, "wcs": {"binsize": "0.05 deg", "binsize_irf": "0.3 deg"}}
    result = make(general={"models_file": str(file)}, datasets={"geom": geom}).run(tmp_path / "out")
    assert set(result.files) == {*FILES, *FIT_FILES, *RESIDUAL_FILES}
    assert result.fit.success
    source = result.fit.models["bright"]
    # as it was simulated, at (150, -25) deg with 1e-11 cm-2 s-1 TeV-1 and index 2.3
    for parameter, truth in (
        (source.spatial.lon_0, 150.0),
        (source.spatial.lat_0, -25.0),
        (source.spectral.index, 2.3),
        (source.spectral.amplitude, 1e-11),
    ):
        assert abs(parameter.value - truth) < 4 * parameter.error
        assert parameter.error > 0
    assert abs(result.fit.models["stacked-bkg"].spectral.norm.value - 1) < 0.1
    assert result.files["residuals"].stat().st_size > 5000
    models = xg.Models.read(result.files["models"])
    np.testing.assert_allclose([p.value for p in models.parameters], [p.value for p in result.fit.parameters])
