"""Trees in one Zarr store or netCDF file: identical, lazy, atomic, refused in words where something is missing."""

import json
import re
import shutil

import dask.array
import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr
from simulated_maps import background, map_cube, point
from simulated_spectra import cube as spectrum_cube

import xgamma as xg
from xgamma.coords.bins import energy_axis
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.stored import open_tree, tree_to_netcdf, tree_to_zarr
from xgamma.io.cube import open_cube, to_zarr
from xgamma.io.describe import describe

WRITERS = {"zarr": tree_to_zarr, "nc": tree_to_netcdf}
both = pytest.mark.parametrize("suffix", WRITERS)


def points(n=3, **attrs):
    data = xr.Dataset(coords=energy_axis("1 TeV", "30 TeV", nbin=n).coords, attrs={"sed_type": "dnde", **attrs})
    unit = {"units": "TeV-1 s-1 cm-2"}
    data["dnde"] = "energy", np.geomspace(1e-12, 1e-14, n), unit
    data["dnde_err"] = "energy", np.geomspace(1e-13, 1e-14, n), unit
    data["is_ul"] = "energy", np.arange(n) == n - 1
    return data


@pytest.fixture(scope="module")
def models():
    source = point()
    source.parameters["index"].prior = xg.GaussianPrior(mu=2.0, sigma=0.3)
    other = source.copy(name="other", datasets_names=["runs"])
    models = xg.Models([source, other, background()])
    models.link("point.index", "other.index")
    number = len(models.parameters)
    root = np.random.default_rng(1).normal(size=(number, number)) * 1e-3
    free = np.array([not p.frozen for p in models.parameters])
    models.set_covariance((root @ root.T) * np.outer(free, free))
    return models


@pytest.fixture
def tree(models):
    """Groups of every kind, of the same dims with other coordinates, nested, empty, with odd attributes."""
    cube = map_cube()
    rng = np.random.default_rng(2)
    cube = cube.assign(counts=cube.counts.copy(data=rng.poisson(3.0, cube.counts.shape).astype(float)))
    cube["mask_fit"] = cube["counts"] > 1
    runs = spectrum_cube(n_obs=2).assign(livetime=("obs", [1800.0, 1700.0], {"units": "s"}))
    along = xr.concat([cube.drop_vars("mask_fit"), 2 * cube.drop_vars("mask_fit")], xr.Variable("obs", [7, 8]))
    sed = spectrum_cube().gamma.flux_points(xg.Models([models["point"]]), "point", selection="all").compute()
    sed["note"] = "energy", np.array([f"bin {i} – é" for i in range(sed.sizes["energy"])])
    groups = {
        "/": xr.Dataset(attrs={"target": "Crab"}),
        "map": cube.assign_attrs(settings={"rad": [0.1, 0.2], "mask": True}, none=None),
        "map of runs": along,
        "runs": runs,
        "spectra/region": spectrum_cube().assign_coords(region="icrs;circle(83.63, 22.01, 0.11)"),
        "spectra/other/deep": points(2),
        "hawc": points(3, stat_type="distrib"),
        "lhaaso": points(5),
        "sed": sed,
    }
    return xr.DataTree.from_dict(groups, name="crab")


@both
def test_comes_back_identical(tree, models, tmp_path, suffix):
    target = WRITERS[suffix](tree, tmp_path / f"joint.{suffix}", models)
    again, read = open_tree(target)
    assert list(again.children) == list(tree.children)
    assert again.name == "crab"
    assert again.identical(tree)
    for node in tree.subtree:
        for name, variable in node.to_dataset().variables.items():
            assert again[node.path].to_dataset().variables[name].dtype == variable.dtype, (node.path, name)
    index = again["map"].to_dataset().xindexes
    assert {type(index[n]).__name__ for n in ("lon", "energy")} == {"SkyIndex", "BinIndex"}
    assert read.to_yaml() == models.to_yaml()
    np.testing.assert_array_equal(read.covariance, models.covariance)
    assert [p.error for p in read.parameters] == [p.error for p in models.parameters]
    assert read["other"].spectral.index is read["point"].spectral.index
    # a copy of what was read, too, and a part of it
    WRITERS[suffix](again, tmp_path / f"again.{suffix}", read)
    assert open_tree(tmp_path / f"again.{suffix}")[0].identical(tree)
    WRITERS[suffix](tree["spectra"], tmp_path / f"part.{suffix}")
    assert list(open_tree(tmp_path / f"part.{suffix}")[0].children) == ["region", "other"]


@both
def test_fits_are_the_same(tmp_path, suffix):
    cube = spectrum_cube(n_obs=2)
    source = xg.SkyModel(xg.PowerLawSpectralModel(index=2.2), name="source")
    tree = xr.DataTree.from_dict({"runs": cube, "hawc": points()})
    first = tree.gamma.fit(source)
    again, models = open_tree(WRITERS[suffix](tree, tmp_path / f"joint.{suffix}", source))
    second = again.gamma.fit(models)
    assert second.total_stat == first.total_stat
    np.testing.assert_array_equal(second.covariance, first.covariance)
    # the result of a fit with what it found
    _, best = open_tree(WRITERS[suffix](tree, tmp_path / f"best.{suffix}", first))
    np.testing.assert_array_equal(best.covariance, first.models.covariance)
    assert compile_likelihood(again, best).stat(best.parameters.values) == pytest.approx(first.total_stat, abs=1e-9)


@both
def test_lazy_both_ways(tree, tmp_path, suffix):
    def raising(*args, **kwargs):
        msg = "computed"
        raise AssertionError(msg)

    target = WRITERS[suffix](tree.chunk(), tmp_path / f"joint.{suffix}")
    with dask.config.set(scheduler=raising):
        again, _ = open_tree(target)
    assert again["map"]["counts"].chunks is not None
    assert again.compute().identical(tree)
    whole, _ = open_tree(target, chunks=None)
    assert whole["map"]["counts"].chunks is None
    one = open_cube(target, group="spectra/region")
    assert one.identical(tree["spectra/region"].to_dataset())


def test_what_groups_share_is_computed_once(tmp_path):
    calls = []

    def count(block):
        calls.append(1)
        return block

    base = xr.DataArray(dask.array.ones((4, 4), chunks=4).map_blocks(count, dtype=float), dims=("a", "b"))
    calls.clear()
    tree_to_zarr({"one": base.to_dataset(name="v"), "two": (base + 1).to_dataset(name="v")}, tmp_path / "t.zarr")
    assert len(calls) == 1


@both
def test_written_whole_or_not_at_all(tree, tmp_path, suffix):
    target = WRITERS[suffix](tree, tmp_path / f"joint.{suffix}")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        WRITERS[suffix](tree, target)

    def fail(block):
        msg = "broken disk"
        raise RuntimeError(msg)

    lazy = dask.array.ones((2, 2), chunks=1).map_blocks(fail, dtype=float, meta=np.ones((0, 0)))
    broken = {"good": points(), "bad": xr.Dataset({"v": (("a", "b"), lazy)})}
    with pytest.raises(RuntimeError, match="broken disk"):
        WRITERS[suffix](broken, target, overwrite=True)
    assert open_tree(target)[0].identical(tree)
    with pytest.raises(RuntimeError, match="broken disk"):
        WRITERS[suffix](broken, tmp_path / f"new.{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    WRITERS[suffix]({"hawc": points()}, target, overwrite=True)
    assert list(open_tree(target)[0].children) == ["hawc"]


@both
def test_words_for_what_cannot_be_written(tmp_path, suffix):
    write = WRITERS[suffix]
    with pytest.raises(TypeError, match=r"group 'a/b'.*timedelta64"):
        write({"a/b": xr.Dataset({"t": ("x", np.array([1, 2], "m8[ns]"))})}, tmp_path / "t")
    with pytest.raises(ValueError, match="cannot have the name 'xgamma_models'"):
        write({"xgamma_models": points()}, tmp_path / "t")
    with pytest.raises(ValueError, match="two cubes 'a'"):
        write([points(name="a"), points(name="a")], tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_words_for_stores_that_are_not_whole(tree, models, tmp_path):
    whole = tree_to_zarr(tree, tmp_path / "whole.zarr", models)

    def copy(name):
        return shutil.copytree(whole, tmp_path / name)

    lost = copy("group.zarr")
    shutil.rmtree(lost / "hawc")
    with pytest.raises(OSError, match=r"chunks of .*group\.zarr are missing"):
        open_tree(lost)
    chunk = copy("chunk.zarr")
    next(p for p in (chunk / "map" / "counts").rglob("*") if p.is_file() and p.name != "zarr.json").unlink()
    with pytest.raises(OSError, match=r"1 of \d+ chunks"):
        open_tree(chunk)
    damaged = copy("damaged.zarr")
    (damaged / "hawc" / "dnde" / "zarr.json").write_text("{")
    with pytest.raises(OSError, match="group 'hawc'"):
        open_tree(damaged)
    head = copy("head.zarr")
    (head / "zarr.json").write_text("{")
    with pytest.raises(OSError, match="is damaged"):
        open_tree(head)
    begun = copy("begun.zarr")
    zarr.open_group(begun).attrs["xgamma_incomplete"] = 1
    with pytest.raises(OSError, match="was not finished"):
        open_tree(begun)
    newer = copy("newer.zarr")
    zarr.open_group(newer).attrs["xgamma_groups"] = json.dumps({"version": 2, "groups": ["/"]})
    with pytest.raises(ValueError, match="newer xgamma"):
        open_tree(newer)
    listed = copy("listed.zarr")
    zarr.open_group(listed).attrs["xgamma_groups"] = "[]"
    with pytest.raises(OSError, match="list of groups"):
        open_tree(listed)
    text = copy("text.zarr")
    zarr.open_group(text)["xgamma_models/yaml"][()] = "components: [{name: a, type: NewModel}]"
    with pytest.raises(ValueError, match=r"models in .*text\.zarr cannot be read.*NewModel"):
        open_tree(text)
    with pytest.raises(FileNotFoundError, match="there is no file or store"):
        open_tree(tmp_path / "nowhere.zarr")
    one = to_zarr(points(), tmp_path / "one.zarr")
    with pytest.raises(ValueError, match=r"xgamma\.open_cube opens a store of one cube"):
        open_tree(one)
    with pytest.raises(ValueError, match=r"xgamma\.open_tree opens it"):
        open_cube(whole)
    with pytest.raises(FileNotFoundError, match="no group 'veritas'"):
        open_cube(whole, group="veritas")


def test_words_for_netcdf_files_that_are_not_whole(tree, tmp_path):
    whole = tree_to_netcdf(tree, tmp_path / "whole.nc")
    cut = tmp_path / "cut.nc"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(OSError, match="damaged or truncated"):
        open_tree(cut)
    renamed = tmp_path / "renamed.nc"
    shutil.copy(whole, renamed)
    with netCDF4.Dataset(renamed, "a") as file:
        file.renameGroup("hawc", "other")
    with pytest.raises(OSError, match="group 'hawc'"):
        open_tree(renamed)
    with pytest.raises(ValueError, match=r"xgamma\.open_tree opens it"):
        open_cube(whole)
    with pytest.raises(FileNotFoundError, match="no group 'veritas'"):
        open_cube(whole, group="veritas")
    points().gamma.to_fits(tmp_path / "points.fits")
    with pytest.raises(ValueError, match="holds no tree"):
        open_tree(tmp_path / "points.fits")


def test_a_store_on_a_server(tree, models, tmp_path):
    target = tree_to_zarr(tree, "memory://joint.zarr", models)
    again, read = open_tree(target)
    assert again.identical(tree)
    assert read.to_yaml() == models.to_yaml()
    with pytest.raises(FileExistsError, match="exists"):
        tree_to_zarr(tree, target)
    tree_to_zarr({"hawc": points()}, target, overwrite=True)
    assert list(open_tree(target)[0].children) == ["hawc"]


@both
def test_described(tree, models, tmp_path, suffix):
    text = describe(WRITERS[suffix](tree, tmp_path / f"joint.{suffix}", models))
    assert re.search(r"^group hawc:$", text, re.MULTILINE)
    assert "models: point, other" in text
    assert "energy: 5 bins" in text


def test_metadata_grow_with_the_groups_alone(tmp_path):
    """Consolidated ones would hold those of all groups, in every group again."""
    sizes = []
    for number in (4, 8):
        target = tree_to_zarr({f"run {i}": points() for i in range(number)}, tmp_path / f"{number}.zarr")
        sizes.append(sum(f.stat().st_size for f in target.rglob("zarr.json")))
        assert "consolidated_metadata" not in (target / "zarr.json").read_text()
    assert sizes[1] < 2 * sizes[0]
