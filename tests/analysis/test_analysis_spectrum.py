"""Analyses of spectra from a configuration: from runs to a fit, flux points and pictures."""

from __future__ import annotations

import json

import astropy.units as u
import dask
import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

import xgamma as xg
from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import read_config
from xgamma.analysis.products import FIT_FILES, POINTS_FILES, SPECTRUM_FILES
from xgamma.cli import app
from xgamma.io.sample import sample_path

REGION = {"frame": "icrs", "lon": "150 deg", "lat": "-25 deg", "radius": "0.2 deg"}
SOURCES = ["icrs;circle(150, -25, 0.4)", "icrs;circle(151.3, -24.2, 0.4)", "icrs;circle(150.3, -23.9, 0.4)"]
CONFIG = {
    "observations": {"datastore": str(sample_path("survey")), "obs_ids": [1, 2, 3, 4]},
    "datasets": {
        "type": "1d",
        "geom": {
            "axes": {
                "energy": {"min": "0.5 TeV", "max": "50 TeV", "nbins": 8},
                "energy_true": {"min": "0.3 TeV", "max": "100 TeV", "nbins": 20},
            }
        },
        "on_region": REGION,
        "background": {"method": "reflected", "exclusion": SOURCES},
    },
    "fit": {"fit_range": {"min": "0.8 TeV", "max": "30 TeV"}},
    "flux_points": {
        "energy": {"min": "0.8891397050194613 TeV", "max": "28.117066259517454 TeV", "nbins": 3},
        "source": "source",
    },
}
#: Of the source at the centre, as it was simulated.
TRUE_INDEX = 2.3
MODEL = """
components:
- name: source
  type: SkyModel
  spectral:
    type: PowerLawSpectralModel
    parameters:
    - {name: index, value: 2.0}
    - {name: amplitude, value: 1.0e-12, unit: TeV-1 s-1 cm-2}
    - {name: reference, value: 1.0, unit: TeV, frozen: true}
"""


def make(tmp_path, **changes):
    """An analysis whose models lie in a file."""
    from small_analysis import merged

    file = tmp_path / "models.yaml"
    file.write_text(MODEL)
    return Analysis(read_config(merged(CONFIG, {"general": {"models_file": str(file)}, **changes})))


def values(models):
    return [p.value for p in models.parameters]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectrum")
    analysis = make(folder)
    return analysis, folder, analysis.run(folder)


def test_products(done):
    _, folder, result = done
    made = {**SPECTRUM_FILES, **FIT_FILES, **POINTS_FILES}
    assert {name: path.name for name, path in result.files.items()} == made
    # beside the file that was read
    assert sorted(p.name for p in folder.iterdir()) == sorted([*made.values(), "models.yaml"])
    for name in ("spectrum", "sed"):
        assert result.files[name].stat().st_size > 5000


def test_numbers_are_those_of_the_functions(done):
    _, _, result = done
    energy = xg.energy_axis("0.5 TeV", "50 TeV", nbin=8)
    true = xg.energy_axis("0.3 TeV", "100 TeV", nbin=20, name="energy_true")
    grid = xg.region_grid("icrs;circle(150, -25, 0.2)", energy=energy, energy_true=true)
    runs = xg.open_store(sample_path("survey")).select(obs_id=[1, 2, 3, 4])
    cube = xg.reduce(
        runs,
        grid,
        background=xg.ReflectedRegions(exclusion=SOURCES),
        safe_mask="aeff-default",
        containment_correction=True,
    ).load()
    inside = (cube.energy_min >= 0.8) & (cube.energy_max <= 30)
    cube["mask_fit"] = inside.reset_coords(drop=True).broadcast_like(cube.counts)
    expected = cube.gamma.fit(xg.Models.from_yaml(MODEL))
    assert result.fit.total_stat == pytest.approx(expected.total_stat, abs=1e-9)
    assert result.fit.n_bins == int((cube.mask_fit & cube.mask_safe).sum()) < cube.sizes["energy"]
    np.testing.assert_allclose(values(result.fit.models), values(expected.models), rtol=1e-6)
    points = xg.flux_points(
        cube, expected.models, "source", energy_edges=cube.energy_min.values[1:8:2] * u.TeV, selection="all"
    )
    np.testing.assert_allclose(result.flux_points.norm, points.norm, rtol=1e-5)
    np.testing.assert_allclose(result.flux_points.norm_ul, points.norm_ul, rtol=1e-5)
    assert abs(result.fit.models["source"].spectral.index.value - TRUE_INDEX) < 3 * result.fit.parameters["index"].error


def test_files_hold_the_result(done):
    _, _, result = done
    models = xg.Models.read(result.files["models"])
    np.testing.assert_allclose(values(models), values(result.fit.models), rtol=1e-12)
    np.testing.assert_allclose(models.covariance, result.fit.models.covariance, rtol=1e-6)
    table = Table.read(result.files["fit"])
    assert table.meta["total_stat"] == result.fit.total_stat
    assert table.meta["obs_ids"] == [1, 2, 3, 4]
    assert list(table["name"]) == ["index", "amplitude", "reference"]
    points = xg.read_flux_points(result.files["flux_points"])
    np.testing.assert_allclose(
        points.gamma.to_sed_type("dnde").dnde, result.flux_points.gamma.to_sed_type("dnde").dnde, rtol=1e-6
    )
    cube = xg.open_cube(result.files["cube"])
    assert cube.attrs["name"] == "stacked"
    again = xg.read_ogip(result.files["ogip"])
    np.testing.assert_array_equal(np.squeeze(again.counts.values), cube.counts.values)
    info = json.loads(result.files["info"].read_text())
    assert info["numbers"]["counts"]["value"] == float(cube.counts.where(cube.mask_safe).sum())
    assert json.loads(cube.attrs["config"])["datasets"]["on_region"] == REGION
    assert read_config(result.files["config"]) == done[0].config


def test_runs_apart_are_fitted_jointly(tmp_path):
    analysis = make(
        tmp_path, datasets={"stack": False}, flux_points={"energy": {"min": None, "max": None, "nbins": None}}
    )
    result = analysis.run(tmp_path / "out")
    assert set(result.files) == {*SPECTRUM_FILES, *FIT_FILES}
    assert list(result.fit.stat_per_dataset) == ["1", "2", "3", "4"]
    cube = xg.open_cube(result.files["cube"])
    assert cube.counts.dims == ("obs", "energy")
    assert float(result.info.counts) == float(cube.counts.where(cube.mask_safe).sum())
    assert len(list(result.files["ogip"].glob("pha_obs?.fits*"))) == 4


def test_background_model_of_the_responses(tmp_path):
    analysis = make(tmp_path, datasets={"background": {"method": None, "exclusion": None}})
    cube = analysis.reduce()
    assert "counts_off" not in cube
    assert analysis.fit(cube.load()).success


def test_models_from_python(tmp_path):
    analysis = Analysis(read_config(CONFIG))
    assert analysis.models is None
    cube = analysis.reduce().load()
    with pytest.raises(ValueError, match=r"there are no models to fit: name a file in general\.models_file"):
        analysis.fit(cube)
    first = analysis.fit(cube, MODEL)
    assert analysis.models.names == ["source"]
    assert analysis.models.parameters["index"].value == 2.0
    # the fitted models are where a second fit begins
    second = analysis.fit(cube, first.models)
    assert second.total_stat == pytest.approx(first.total_stat, abs=1e-6)
    points = analysis.flux_points(cube, first)
    assert points.sizes["energy"] == 3
    analysis.set_models(xg.SkyModel(xg.PowerLawSpectralModel(), name="other"))
    with pytest.raises(ValueError, match=r"flux_points\.source='source' is none of the models \['other'\]"):
        analysis.flux_points(cube)
    with pytest.raises(ValueError, match=r"flux_points\.source='source' is none of the models \['other'\]"):
        analysis.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_models_that_is_not_there(tmp_path):
    analysis = make(tmp_path, general={"models_file": "nowhere.yaml"})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml \(general\.models_file\) does not exist"):
        analysis.run(tmp_path / "out")


def test_without_models_there_are_no_flux_points(tmp_path, caplog):
    import logging

    with caplog.at_level(logging.INFO, "xgamma"):
        result = Analysis(read_config(CONFIG)).run(tmp_path)
    assert "flux_points: nothing is made, there are no models" in caplog.text
    assert set(result.files) == set(SPECTRUM_FILES)
    assert result.fit is None


def test_overwriting_takes_old_products_away(tmp_path):
    first = make(tmp_path).run(tmp_path)
    assert first.files["sed"].exists()
    with pytest.raises(FileExistsError):
        make(tmp_path).run(tmp_path)
    second = Analysis(read_config(CONFIG)).run(tmp_path, overwrite=True)
    assert not first.files["sed"].exists()
    assert not first.files["models"].exists()
    assert second.files["cube"].exists()
    assert (tmp_path / "models.yaml").exists()


def test_what_is_for_maps_is_refused(tmp_path):
    analysis = make(tmp_path)
    with pytest.raises(ValueError, match="an excess map needs maps"):
        analysis.excess_map()
    with pytest.raises(ValueError, match="a plan is for maps"):
        analysis.plan()
    with pytest.raises(ValueError, match="spectra are written at once"):
        analysis.run(tmp_path / "out", resume=True)


def test_reduction_is_lazy(tmp_path):
    def refuse(*_, **__):
        pytest.fail("computed")

    with dask.config.set(scheduler=refuse):
        cube = make(tmp_path).reduce()
    assert cube.counts.chunks is not None
    assert cube.mask_fit.dims == cube.counts.dims


def test_command_line(tmp_path):
    import yaml
    from small_analysis import merged

    (tmp_path / "models.yaml").write_text(MODEL)
    general = {"models_file": str(tmp_path / "models.yaml"), "outdir": str(tmp_path / "out")}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(merged(CONFIG, {"general": general})))
    result = CliRunner().invoke(app, ["run", str(file)])
    assert result.exit_code == 0, result.output
    assert "success               : True" in result.output
    assert "source.index" in result.output
    assert (tmp_path / "out" / "flux_points.fits").exists()
