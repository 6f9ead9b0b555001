"""The accessor and the public names: each leads to a documented function, on the right kind of object."""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.accessor import Function, GammaDataArray, GammaDataset, GammaDataTree

ROOT = Path(xg.__file__).parents[1]


def functions(accessor):
    """Names of an accessor and what they are, in its own class and the common one."""
    return {n: v for cls in reversed(accessor.__mro__) for n, v in vars(cls).items() if isinstance(v, Function)}


ENTRIES = [(cls, name) for cls in (GammaDataArray, GammaDataset, GammaDataTree) for name in functions(cls)]


@pytest.fixture
def cube():
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "2 deg", "0.1 deg", energy=energy, energy_true=energy)
    shape = ("energy", "y", "x"), np.ones((2, 20, 20)), {"units": ""}
    return grid.assign(counts=shape, background=shape)


@pytest.mark.parametrize(("cls", "name"), ENTRIES, ids=[f"{c.__name__}.{n}" for c, n in ENTRIES])
def test_each_entry_is_a_documented_function_for_its_kind(cls, name):
    function = getattr(cls, name)
    assert callable(function)
    assert inspect.getdoc(function)
    first = next(iter(inspect.signature(function).parameters.values()))
    kind = {GammaDataArray: "DataArray", GammaDataset: "Dataset", GammaDataTree: "DataTree"}[cls]
    # the annotation is text; type variables stand for both kinds
    bounds = {
        "Cubes": "DataTree Dataset",
        "CubeOrTree": "DataTree Dataset",
        "XarrayT": "DataArray Dataset",
        "SkyT": "DataArray Dataset",
        "T": "DataArray Dataset",
    }
    assert kind in bounds.get(str(first.annotation), str(first.annotation)), (name, first.annotation)


def test_methods_are_the_functions(cube):
    assert cube.gamma.stack.__func__ is xg.stack
    assert cube.counts.gamma.cutout.__func__ is xg.cutout
    xr.testing.assert_identical(cube.gamma.to_image(), xg.to_image(cube))
    onoff = cube.gamma.ring_background(r_in="0.3 deg", width="0.2 deg")
    assert "counts_off" in onoff
    assert float(onoff.gamma.excess_map("0.2 deg").sqrt_ts.max()) == pytest.approx(0, abs=1e-6)
    assert cube.counts.gamma.quantity().unit == ""
    for both in (cube, cube.counts):
        assert both.gamma.solid_angle().attrs["units"] == "sr"
        assert bool(both.gamma.region_mask("icrs;circle(83.63, 22.01, 0.3)").any())
        assert both.gamma.to_image().sizes["energy"] == 1
        assert both.gamma.grid().shape == (20, 20)


def test_what_is_listed(cube):
    for obj, cls in ((cube, GammaDataset), (cube.counts, GammaDataArray)):
        assert set(functions(cls)) <= set(dir(obj.gamma))
        text = pydoc.render_doc(obj.gamma, renderer=pydoc.plaintext)
        assert "cutout" in text
    assert "excess_map" not in dir(cube.counts.gamma)
    assert "plot_panels" not in dir(cube.gamma)
    assert pydoc.render_doc(cube.gamma.excess_map, renderer=pydoc.plaintext).count("Parameters") == 1


def test_objects_without_sky_are_refused_in_words():
    for obj in (xr.Dataset({"counts": ("energy", [1.0])}), xr.DataArray([1.0], dims="energy")):
        for call in (
            lambda gamma: gamma.grid(),
            lambda gamma: gamma.solid_angle(),
            lambda gamma: gamma.cutout(SkyCoord(0, 0, unit="deg"), "1 deg"),
            lambda gamma: gamma.region_mask("icrs;circle(1, 1, 1)"),
        ):
            with pytest.raises(ValueError, match=r"sky|pixel|dims|y, x"):
                call(obj.gamma)
    with pytest.raises(AttributeError, match="nothing"):
        _ = xr.Dataset().gamma.nothing


def public_names():
    tree = ast.parse(Path(xg.__file__).with_suffix(".pyi").read_text())
    return {alias.name: f"xgamma.{n.module}" for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names}


def test_public_names_are_those_of_the_stub():
    assert sorted(xg.__all__) == sorted(public_names())
    assert set(xg.__all__) <= set(dir(xg))


@pytest.mark.parametrize(("name", "module"), sorted(public_names().items()))
def test_each_public_name_is_there_and_documented(name, module):
    home = importlib.import_module(module)
    assert getattr(xg, name) is getattr(home, name)
    assert name in getattr(home, "__all__", [name])
    assert inspect.getdoc(getattr(xg, name))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="No xgamma attribute nothing"):
        _ = xg.nothing


def test_functions_are_not_hidden_by_modules():
    """Importing modules must not put them in the place of functions of the same name."""
    code = (
        "import xgamma.reduction.survey, xgamma.reduction.info, xgamma.reduction.stack, xgamma.reduction.rebin\n"
        "import xgamma.coords.cutout, xgamma.coords.reproject, xgamma.coords.downsample, xgamma.dl3.download\n"
        "import types, xgamma as xg\n"
        "print([n for n in xg.__all__ if isinstance(getattr(xg, n), types.ModuleType)])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert output.strip() == "[]"
    assert not {p.stem for p in Path(xg.__file__).parent.iterdir()} & set(xg.__all__)
