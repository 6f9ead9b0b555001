"""What an analysis leaves on disk, and what it does not leave after an error."""

from __future__ import annotations

import json
import logging

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xgamma as xg
from xgamma.analysis import products
from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import read_config
from xgamma.analysis.products import FILES


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def png_text(path):
    """Text chunks of a PNG file."""
    data, position, found = path.read_bytes(), 8, {}
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, chunk = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        if kind == b"tEXt":
            key, _, value = chunk.partition(b"\x00")
            found[key.decode()] = value.decode("latin-1")
        position += 12 + length
    return found


@pytest.fixture
def no_pictures(monkeypatch):
    """Files in place of pictures, which take longest."""
    monkeypatch.setattr(products, "draw_maps", lambda maps, path, **_: path.write_bytes(b"png"))
    monkeypatch.setattr(products, "draw_distribution", lambda maps, path, *_: path.write_bytes(b"png"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Products of the small analysis in two energy groups."""
    from small_analysis import SMALL, merged

    edges = {"energy_edges": {"min": "0.5 TeV", "max": "50 TeV", "nbins": 2}}
    config = read_config(merged(SMALL, {"excess_map": edges}))
    folder = tmp_path_factory.mktemp("analysis") / "deep" / "products"
    return config, folder, Analysis(config).run(folder)


def test_all_products_are_there_and_no_more(done):
    _, folder, result = done
    assert names(folder) == sorted(FILES.values())
    assert {name: path.name for name, path in result.files.items()} == FILES


def test_products_can_be_read_and_agree(done):
    config, _, result = done
    cube = xg.open_cube(result.files["cube"])
    maps = xg.open_cube(result.files["maps"])
    expected = Analysis(config).excess_map()
    xr.testing.assert_allclose(maps.sqrt_ts, expected.sqrt_ts)
    assert maps.sizes["energy"] == 2
    for name in ("excess", "sqrt_ts"):
        image = xg.read_map(result.files[name])
        np.testing.assert_array_equal(image.values, maps[name].values)
    again = xg.open_cube(result.files["cube_fits"])
    np.testing.assert_array_equal(again.counts.values, cube.counts.values)
    np.testing.assert_allclose(again.acceptance_off.values, cube.acceptance_off.values, rtol=1e-6)
    assert float(result.info.counts) == float(cube.counts.where(cube.mask_safe).sum())
    assert read_config(result.files["config"]) == config


def test_resolved_configuration_makes_the_same(done, tmp_path, no_pictures):
    _, _, result = done
    again = Analysis(read_config(result.files["config"])).run(tmp_path / "again")
    first, second = (xg.open_cube(r.files["maps"]).load() for r in (result, again))
    xr.testing.assert_equal(first, second)


def test_provenance(done):
    _, _, result = done
    cube = xg.open_cube(result.files["cube"])
    assert json.loads(cube.attrs["obs_ids"]) == [1, 2, 3]
    assert json.loads(cube.attrs["config"])["datasets"]["background"]["method"] == "ring"
    info = json.loads(result.files["info"].read_text())
    assert info["numbers"]["counts"]["value"] == float(result.info.counts)
    assert info["numbers"]["livetime"]["units"] == "s"
    assert info["provenance"]["obs_ids"] == [1, 2, 3]
    assert "numpy" in info["provenance"]["versions"]
    header = fits.getheader(result.files["sqrt_ts"])
    assert header["CREATOR"].startswith("xgamma")
    assert header["RADIUS"] == "0.2 deg"
    assert "obs_ids: [1, 2, 3]" in str(header["HISTORY"])
    for name in ("picture", "distribution"):
        text = png_text(result.files[name])
        assert text["Software"].startswith("xgamma")
        assert text["Source"] == "[1, 2, 3]"


def test_picture_has_a_row_for_each_energy(done, tmp_path):
    import matplotlib.image

    _, _, result = done
    maps = xg.open_cube(result.files["maps"]).load()
    two = matplotlib.image.imread(result.files["picture"])
    products.draw_maps(maps.isel(energy=[0]), tmp_path / "one.png")
    one = matplotlib.image.imread(tmp_path / "one.png")
    assert abs(two.shape[0] - 2 * one.shape[0]) <= 1
    # the rows show different maps
    height = two.shape[0] // 2
    assert not np.array_equal(two[:height], two[-height:])


def test_empty_planes_are_said_not_drawn(done, tmp_path):
    _, _, result = done
    maps = xg.open_cube(result.files["maps"]).load()
    maps["excess"][0], maps["sqrt_ts"][0] = np.nan, np.nan
    products.draw_maps(maps, tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 1000


def test_nothing_is_replaced_without_asking(done, monkeypatch):
    config, folder, _ = done
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    monkeypatch.setattr(Analysis, "reduce", lambda self: pytest.fail("computed before looking at the folder"))
    with pytest.raises(FileExistsError, match=r"config_resolved\.yaml exists"):
        Analysis(config).run(folder)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_overwriting_replaces_all(small, tmp_path, no_pictures):
    first = Analysis(read_config(small())).run(tmp_path)
    counts = float(first.info.counts)
    second = Analysis(read_config(small(observations={"obs_ids": [1]}))).run(tmp_path, overwrite=True)
    assert 0 < float(second.info.counts) < counts
    assert json.loads(second.files["info"].read_text())["provenance"]["obs_ids"] == [1]
    assert names(tmp_path) == sorted(FILES.values())


@pytest.mark.parametrize("step", ["to_fits", "excess_map", "draw_maps"])
@pytest.mark.parametrize("old", [False, True])
def test_an_error_in_the_middle_leaves_what_was_there(small, tmp_path, monkeypatch, step, old, no_pictures):
    folder = tmp_path / "new" / "products"
    analysis = Analysis(read_config(small()))
    before = {}
    if old:
        analysis.run(folder)
        before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}

    def fail(*_, **__):
        msg = "no space left on device"
        raise OSError(28, msg)

    owner = Analysis if step == "excess_map" else products
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(OSError, match="no space left"):
        analysis.run(folder, overwrite=old)
    if old:
        assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    else:
        assert not (tmp_path / "new").exists()


def test_an_interrupted_run_leaves_nothing(small, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(products, "write_map", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Analysis(read_config(small())).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be(small, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file, not a folder"):
        Analysis(read_config(small())).run(file)
    assert file.read_text() == "mine"


def test_outdir_and_log_file_of_the_configuration(small, tmp_path, no_pictures):
    log = {"level": "info", "filename": str(tmp_path / "run.log"), "format": "%(levelname)s: %(message)s"}
    general = {"outdir": str(tmp_path / "out"), "n_jobs": 1, "log": log}
    result = Analysis(read_config(small(general=general))).run()
    assert result.files["cube"].parent == tmp_path / "out"
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert lines[0] == "INFO: 1 thread (general.n_jobs)"
    assert "INFO: 3 runs selected from" in lines[1]


def test_number_of_threads(small, tmp_path, monkeypatch, no_pictures):
    seen = []
    reduce = Analysis.reduce
    monkeypatch.setattr(
        Analysis, "reduce", lambda self: seen.append(dask.config.get("num_workers", None)) or reduce(self)
    )
    Analysis(read_config(small(general={"n_jobs": 2}))).run(tmp_path / "a")
    Analysis(read_config(small())).run(tmp_path / "b")
    assert seen == [2, None]


def test_no_significance_at_all(small, tmp_path, caplog):
    """Energies at which the safe mask leaves nothing: all products but one, and a word about it."""
    change = {"geom": {"axes": {"energy": {"min": "0.001 TeV", "max": "0.002 TeV", "nbins": 1}}}}
    change["background"] = {"method": None, "parameters": {}, "exclusion": None}
    with caplog.at_level(logging.WARNING, "xgamma"):
        result = Analysis(read_config(small(datasets=change))).run(tmp_path)
    assert "there is no picture of the distribution" in caplog.text
    assert "distribution" not in result.files
    assert not (tmp_path / FILES["distribution"]).exists()
    numbers = json.loads(result.files["info"].read_text())["numbers"]
    assert numbers["n_fit_bins"]["value"] == 0


def test_stack_false_keeps_the_runs(small):
    config = read_config(small(datasets={"stack": False}))
    cube = Analysis(config).reduce()
    assert cube.sizes["obs"] == 3
    stacked = Analysis(read_config(small())).reduce()
    np.testing.assert_allclose(cube.counts.sum("obs").where(stacked.mask_safe, 0), stacked.counts)
    assert "obs" not in Analysis(config).excess_map(cube).dims


def test_steps_are_lazy(small):
    def refuse(*_, **__):
        pytest.fail("computed")

    with dask.config.set(scheduler=refuse):
        analysis = Analysis(read_config(small()))
        maps = analysis.excess_map(analysis.reduce())
    assert maps.sqrt_ts.chunks is not None


def test_cube_without_background_is_refused_early(small, tmp_path):
    change = {"map_selection": ["counts"], "background": {"method": None, "parameters": {}, "exclusion": None}}
    with pytest.raises(ValueError, match=r"datasets\.map_selection lacks \['background'\]"):
        Analysis(read_config(small(datasets=change))).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()
